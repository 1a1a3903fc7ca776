// Surfaces in linear light, by what gl.py defines:
//   SKIN       wrapped diffuse whose red reaches past the terminator, and a soft highlight with Fresnel;
//   CORNERS    the same, lit at corners;
//   FINISHED   texels say by their alpha how they shine, from cloth to metal; with SKIN, opaque ones are bare skin;
//   MATT       cloth, lit at corners.

uniform sampler2D albedo;                  // sRGB, and with FINISHED the finish, see render/layers.py

in vec3 normal;
in vec2 uv;
#ifdef MATT
in vec3 cloth_light;
#endif
#ifdef CORNERS
in vec3 scattered;
in vec3 mirrored;
#endif
in vec3 view;
in vec2 sky;
in float lit[LIGHTS];
in float normal_light[LIGHTS];
in float view_light[LIGHTS];
flat in vec3 lamp[LIGHTS];
AMBIENT in vec3 ambient;
#ifdef FINISHED
flat in vec3 zenith;
#endif

layout(location = 0) out vec4 encoded;     // square root of linear colour, and coverage
#ifdef PASSES
in float depth;
uniform sampler2D triangle_part;           // (F, 1): part of each triangle / 255
layout(location = 1) out float distance_m; // depth [m]
layout(location = 2) out vec2 texel;       // u, v of the first mesh
layout(location = 3) out vec4 surface;     // normal as (n + 1) / 2, part / 255
#endif
#ifdef FLOW
in vec3 moved;
uniform vec4 pinhole;                      // focal lengths and principal point [px]
uniform vec3 sample_place;                 // samples to a pixel, and the first of a row's and column's place [px]
layout(location = FLOW) out vec2 flow;     // movement until the next frame [px]
#endif
#ifdef WHOLE
layout(location = WHOLE) out float whole;  // 1; gl.py lets it through when it draws the whole of the first mesh
#endif

// sRGB to linear, within 0.2 % of the standard's curve (Chapman's polynomial).
vec3 to_linear(vec3 c) { return c * (c * (c * 0.305306011 + 0.682171111) + 0.012522878); }

#ifdef SKIN
// Skin; with FINISHED, the share `layer` of it lies below something that shines as much as `shine`.
vec3 skin(vec3 color, float layer, float shine) {
    float unit = inversesqrt(dot(normal, normal));
    float facing = dot(normal, view) * unit;
    float grazing = 1.0 - clamp(facing, 0.0, 1.0);
    float fresnel = skin_fresnel(grazing);

#ifdef FINISHED
    float grazing2 = grazing * grazing;
    float smooth_fresnel = layer * shine * (0.04 + 0.6 * grazing2 * grazing2 * grazing);
    fresnel *= 1.0 - layer;
    vec3 light = ambient * (color * sky.x + (fresnel + smooth_fresnel) * sky.y);
#else
    vec3 light = ambient * (color * sky.x + fresnel * sky.y);
#endif
    for (int k = 0; k < LIGHTS; ++k) {
        float cosine = normal_light[k] * unit;
        float spread = max(2.0 * facing * cosine - view_light[k], 0.0);
        float gloss = skin_gloss(fresnel, spread, cosine);
#ifdef FINISHED
        float s2 = spread * spread, s4 = s2 * s2;
        float s16 = s4 * s4 * s4 * s4;
        gloss += smooth_fresnel * 16.0 * s16 * s16 * s16 * clamp(cosine * 4.0, 0.0, 1.0);
#endif
        light += lamp[k] * lit[k] * (color * diffuse(cosine) + gloss);
    }
    return light;
}
#endif

#if defined(FINISHED) && !defined(SKIN)
// Leather to metal by what shines: 0 for cloth, 1/3 leather, 2/3 plastic, 1 lacquer, glass and metal.
vec3 finished(vec3 color, float shine, float metal) {
    float unit = inversesqrt(dot(normal, normal));
    float facing = dot(normal, view) * unit;
    float grazing = 1.0 - clamp(facing, 0.0, 1.0), grazing2 = grazing * grazing;
    float rise = grazing2 * grazing2 * grazing;
    vec3 mirrored = mix(vec3(0.04), color, metal);
    mirrored += (1.0 - mirrored) * (rise * (0.2 + 0.6 * shine));
    vec3 own = color * (1.0 - 0.85 * metal);
    // What a surface mirrors is a bright sky over dark ground: the smoother it is, the sharper the horizon.
    float high = 2.0 * facing * dot(normal, zenith) * unit - dot(view, zenith);
    float width = mix(1.2, 0.25, shine);
    float around = sky.y * mix(0.45, 1.9, smoothstep(-width, width, high + 0.1)) * (0.35 + 0.65 * shine);
    vec3 light = ambient * (own * sky.x + mirrored * around);
    float sharp = shine * shine;
    for (int k = 0; k < LIGHTS; ++k) {
        float cosine = normal_light[k] * unit;
        // Lobes of Phong's exponents 8 and 48, normalised.
        float spread = max(2.0 * facing * cosine - view_light[k], 0.0), s2 = spread * spread, s4 = s2 * s2, s8 = s4 * s4;
        float s16 = s8 * s8;
        float gloss = (2.4 * (1.0 - sharp) * s8 + 16.0 * sharp * s16 * s16 * s16) * shine * clamp(cosine * 4.0, 0.0, 1.0);
        light += lamp[k] * lit[k] * (own * max(cosine * 0.92 + 0.04, 0.0) + mirrored * gloss);
    }
    return light;
}
#endif

void main() {
#ifdef FINISHED
    vec4 found = textureLod(albedo, uv, 0.0);  // there is one level
    vec3 color = to_linear(found.rgb);
    float shine = clamp((CLOTH - found.a) / (CLOTH - LACQUER), 0.0, 1.0);
#ifdef SKIN
    vec3 light = skin(color, clamp((1.0 - found.a) / (1.0 - CLOTH), 0.0, 1.0), shine);
#else
    vec3 light = finished(color, shine, clamp(1.0 - found.a / LACQUER, 0.0, 1.0));
#endif
#else
    vec3 color = to_linear(textureLod(albedo, uv, 0.0).rgb);
#if defined(CORNERS)
    vec3 light = scattered * color + mirrored;
#elif defined(SKIN)
    vec3 light = skin(color, 0.0, 0.0);
#else
    vec3 light = cloth_light * color;
#endif
#endif
    encoded = vec4(sqrt(clamp(light, 0.0, 1.0)), 1.0);
#ifdef OWN
    // Where there are several meshes, the lowest bit of blue says whether a sample is the first one's: a target of its own for
    // that would take a tenth of the time.
    encoded.b = (2.0 * floor(min(encoded.b * 127.5 + 0.5 - 0.5 * OWN, 127.0)) + OWN) / 255.0;
#endif
#ifdef PASSES
    distance_m = depth;
#ifdef OWN
    texel = OWN * vec2(uv.x, 1.0 - uv.y);
#else
    texel = vec2(uv.x, 1.0 - uv.y);   // labels have v up
#endif
    surface = vec4(normal * (inversesqrt(dot(normal, normal)) * 0.5) + 0.5, texelFetch(triangle_part, ivec2(gl_PrimitiveID, 0), 0).r);
#endif
#ifdef FLOW
    flow = moved.xy / moved.z * pinhole.xy + pinhole.zw - ((gl_FragCoord.xy - 0.5) / sample_place.x + sample_place.yz);
#endif
#ifdef WHOLE
    whole = 1.0;
#endif
}
