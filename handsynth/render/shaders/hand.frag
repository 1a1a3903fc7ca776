#version 330 core
// Skin in linear light: wrapped diffuse whose red reaches past the terminator, and a soft highlight with Fresnel.

uniform sampler2D albedo;                  // sRGB
uniform mat3 light_directions;             // a column a light
uniform mat3 light_colors;                 // black where there is no light
uniform vec3 ambient;
uniform float headroom;

in vec3 normal;
in vec2 uv;
in vec3 view;
in vec2 sky;
in vec3 lit;

layout(location = 0) out vec4 encoded;     // square root of linear colour, and coverage
#ifdef PASSES
in float depth;
uniform sampler2D triangle_part;           // (F, 1): part of each triangle / 255
layout(location = 1) out vec4 geometry;    // depth [m], u, v, 1 on the hand
layout(location = 2) out vec4 surface;     // normal as (n + 1) / 2, part / 255
#endif

// Light that skin carries past the terminator, by colour: (cosine + wrap) / (1 + wrap)^2, which keeps the energy.
const vec3 WRAP = vec3(0.28, 0.12, 0.07);
const vec3 WRAP_SCALE = 1.0 / ((1.0 + WRAP) * (1.0 + WRAP)), WRAP_SHIFT = WRAP * WRAP_SCALE;
const float F0 = 0.028;                    // reflectance of skin at normal incidence (index of refraction 1.4)

// sRGB to linear, within 0.2 % of the standard's curve (Chapman's polynomial).
vec3 to_linear(vec3 c) { return c * (c * (c * 0.305306011 + 0.682171111) + 0.012522878); }

vec3 diffuse(float cosine) { return max(cosine * WRAP_SCALE + WRAP_SHIFT, 0.0); }

void main() {
    vec3 color = to_linear(texture(albedo, uv).rgb);
    vec3 n = normalize(normal);
    vec3 mirrored = reflect(-view, n);
    float grazing = 1.0 - clamp(dot(n, view), 0.0, 1.0);
    float grazing2 = grazing * grazing;
    float fresnel = F0 + (0.5 - 0.5 * F0) * grazing2 * grazing2 * grazing;

    vec3 light = ambient * (color * sky.x + fresnel * sky.y);
    vec3 cosine = n * light_directions;
    // Two lobes: oil on the skin and its rough relief (Phong, exponents 10 and 3, normalised).
    vec3 spread = max(mirrored * light_directions, 0.0), s2 = spread * spread, s4 = s2 * s2;
    vec3 gloss = fresnel * (2.7 * s4 * s4 + 1.05 * spread) * s2 * clamp(cosine * 4.0, 0.0, 1.0);
    light += light_colors[0] * lit.x * (color * diffuse(cosine.x) + gloss.x);
    light += light_colors[1] * lit.y * (color * diffuse(cosine.y) + gloss.y);
    light += light_colors[2] * lit.z * (color * diffuse(cosine.z) + gloss.z);
    encoded = vec4(sqrt(clamp(light / headroom, 0.0, 1.0)), 1.0);
#ifdef PASSES
    geometry = vec4(depth, uv.x, 1.0 - uv.y, 1.0);   // labels have v up
    surface = vec4(normalize(normal) * 0.5 + 0.5, texelFetch(triangle_part, ivec2(gl_PrimitiveID, 0), 0).r);
#endif
}
