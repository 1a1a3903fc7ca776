#version 330 core
// Skin in linear light: wrapped diffuse whose red reaches past the terminator, and a soft highlight with Fresnel.

const int MAX_LIGHTS = 3;

uniform sampler2D albedo;                  // sRGB
uniform int num_lights;
uniform vec3 light_directions[MAX_LIGHTS];
uniform vec3 light_colors[MAX_LIGHTS];
uniform vec3 ambient;
uniform vec3 up;
uniform float headroom;

in vec3 position;
in vec3 normal;
in vec2 uv;
in float sky;
in vec3 lit;

layout(location = 0) out vec4 encoded;     // square root of linear colour, and coverage

const vec3 WRAP = vec3(0.28, 0.12, 0.07);  // light that skin carries past the terminator, by colour
const float F0 = 0.028;                    // reflectance of skin at normal incidence (index of refraction 1.4)
const float BUMP = 0.0006;                 // depth of creases that a dark texel stands for [m]

// sRGB to linear, within 0.2 % of the standard's curve (Chapman's polynomial).
vec3 to_linear(vec3 c) { return c * (c * (c * 0.305306011 + 0.682171111) + 0.012522878); }

void main() {
    vec3 color = to_linear(texture(albedo, uv).rgb);
    vec3 n = normalize(normal);
    vec3 view = normalize(-position);

    // Creases are darker than the skin around them: their slope tilts the normal (Mikkelsen 2010, surface gradient).
    float height = BUMP * sqrt(dot(color, vec3(0.2126, 0.7152, 0.0722)));
    vec3 dx = dFdx(position), dy = dFdy(position);
    vec3 rx = cross(dy, n), ry = cross(n, dx);
    float det = dot(dx, rx);
    if (abs(det) > 1e-16) n = normalize(abs(det) * n - sign(det) * (dFdx(height) * rx + dFdy(height) * ry));

    float facing = clamp(dot(n, view), 0.0, 1.0);
    float grazing = 1.0 - facing;
    float fresnel = F0 + (1.0 - F0) * grazing * grazing * grazing * grazing * grazing * 0.5;

    float above = 0.5 + 0.5 * dot(n, up);
    vec3 light = color * ambient * mix(0.55, 1.15, above) * sky;
    light += fresnel * ambient * 0.6 * sky;
    for (int k = 0; k < num_lights; ++k) {
        float cosine = dot(n, light_directions[k]);
        vec3 diffuse = max((cosine + WRAP) / ((1.0 + WRAP) * (1.0 + WRAP)), 0.0);
        vec3 halfway = normalize(light_directions[k] + view);
        float spread = max(dot(n, halfway), 0.0);
        // Two lobes: oil on the skin and its rough relief (normalised Blinn-Phong).
        float s2 = spread * spread, s4 = s2 * s2, s8 = s4 * s4, s16 = s8 * s8;
        float gloss = 2.7 * s16 * s16 * s8 + 1.05 * s8 * s2 * spread;   // exponents 40 and 11
        light += light_colors[k] * lit[k] * (color * diffuse + fresnel * gloss * clamp(cosine * 4.0, 0.0, 1.0));
    }
    encoded = vec4(sqrt(clamp(light / headroom, 0.0, 1.0)), 1.0);
}
