#version 330 core
// Skin in linear light: wrapped diffuse whose red reaches past the terminator, and a soft highlight with Fresnel.

uniform sampler2D albedo;                  // sRGB

in vec3 normal;
in vec2 uv;
in vec3 view;
in vec2 sky;
in float lit[LIGHTS];
in float normal_light[LIGHTS];
in float view_light[LIGHTS];
flat in vec3 lamp[LIGHTS];
AMBIENT in vec3 ambient;

layout(location = 0) out vec4 encoded;     // square root of linear colour, and coverage
#ifdef PASSES
in float depth;
uniform sampler2D triangle_part;           // (F, 1): part of each triangle / 255
layout(location = 1) out float distance_m; // depth [m]
layout(location = 2) out vec2 texel;       // u, v
layout(location = 3) out vec4 surface;     // normal as (n + 1) / 2, part / 255
#endif
#ifdef OWNER
uniform vec2 own;                          // number of the mesh from 1, / 255; and whether its whole is drawn, see gl.py
layout(location = OWNER) out vec2 owner;   // the same
#endif

// Light that skin carries past the terminator, by colour: (cosine + wrap) / (1 + wrap)^2, which keeps the energy.
const vec3 WRAP = vec3(0.28, 0.12, 0.07);
const vec3 WRAP_SCALE = 1.0 / ((1.0 + WRAP) * (1.0 + WRAP)), WRAP_SHIFT = WRAP * WRAP_SCALE;
const float F0 = 0.028;                    // reflectance of skin at normal incidence (index of refraction 1.4)

// sRGB to linear, within 0.2 % of the standard's curve (Chapman's polynomial).
vec3 to_linear(vec3 c) { return c * (c * (c * 0.305306011 + 0.682171111) + 0.012522878); }

vec3 diffuse(float cosine) { return max(cosine * WRAP_SCALE + WRAP_SHIFT, 0.0); }

void main() {
    vec3 color = to_linear(textureLod(albedo, uv, 0.0).rgb);  // there is one level
    float unit = inversesqrt(dot(normal, normal));
    float facing = dot(normal, view) * unit;
    float grazing = 1.0 - clamp(facing, 0.0, 1.0);
    float grazing2 = grazing * grazing;
    float fresnel = F0 + (0.5 - 0.5 * F0) * grazing2 * grazing2 * grazing;

    vec3 light = ambient * (color * sky.x + fresnel * sky.y);
    for (int k = 0; k < LIGHTS; ++k) {
        float cosine = normal_light[k] * unit;
        // Two lobes about the mirrored view: oil on the skin and its rough relief (Phong, exponents 10 and 3, normalised).
        float spread = max(2.0 * facing * cosine - view_light[k], 0.0), s2 = spread * spread, s4 = s2 * s2;
        float gloss = fresnel * (2.7 * s4 * s4 + 1.05 * spread) * s2 * clamp(cosine * 4.0, 0.0, 1.0);
        light += lamp[k] * lit[k] * (color * diffuse(cosine) + gloss);
    }
    encoded = vec4(sqrt(clamp(light, 0.0, 1.0)), 1.0);
#ifdef PASSES
    distance_m = depth;
    texel = vec2(uv.x, 1.0 - uv.y);   // labels have v up
    surface = vec4(normal * (unit * 0.5) + 0.5, texelFetch(triangle_part, ivec2(gl_PrimitiveID, 0), 0).r);
#ifdef OWNER
    texel *= float(own.x < 1.5 / 255.0);  // of the first mesh alone
#endif
#endif
#ifdef OWNER
    owner = own;
#endif
}
