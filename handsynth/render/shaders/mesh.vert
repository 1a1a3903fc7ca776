// Places a corner of a mesh and gathers, per corner, how much of the sky and of each light other flesh hides.
// gl.py defines LIGHTS, SPHERES and EACH_SPHERE(f), which is f(place in `spheres`, bit in `in_foreign`) for each sphere that shades
// the mesh, unless there are so many that they are counted; PASSES when passes are drawn; MATT and CORNERS for cloth and skin that
// are lit here; FINISHED for surfaces that mirror; and SKY when ambient light comes as spherical harmonics: then it differs from
// corner to corner, and AMBIENT, how it is passed on, is `smooth`, not `flat`. Mesa's CPU driver fetches a uniform anew for each
// pixel, but a flat input once a triangle: lights reach the fragment shader as inputs.

uniform mat4 clip_from_camera;
uniform vec4 spheres[SPHERES];            // centre [m, camera frame], radius [m]
#ifndef EACH_SPHERE
uniform int shading;                      // how many there are
#endif
uniform vec3 light_directions[LIGHTS];
uniform vec3 light_colors[LIGHTS];        // as shares of the brightest light that is encoded
#ifdef SKY
uniform vec3 sky_light[9];                // likewise, see core/harmonics.py
#else
uniform vec3 ambient_color;               // likewise
uniform vec3 up;                          // unit vector, camera frame
#endif

in vec3 in_position;   // [m, camera frame]
in vec3 in_normal;
in vec2 in_uv;
in uvec2 in_foreign;   // bit s is set when sphere s shades this corner: it belongs to another part of the body

out vec3 normal;
out vec2 uv;
#ifdef MATT
out vec3 cloth_light;  // all that arrives at cloth: what does not shine can be lit at corners, in half of the time
#endif
#ifdef CORNERS
out vec3 scattered;        // light that skin scatters, and that it mirrors: where it has no creases, corners are close enough
out vec3 mirrored;
#endif
out vec3 view;         // unit vector to the camera
out vec2 sky;          // ambient light that arrives here: on rough skin, and mirrored
out float lit[LIGHTS]; // share of each light that other flesh lets pass
out float normal_light[LIGHTS];  // dot products with the lights: linear between corners, as the vectors are
out float view_light[LIGHTS];
flat out vec3 lamp[LIGHTS];
AMBIENT out vec3 ambient;
#ifdef FINISHED
flat out vec3 zenith;  // where most of it comes from
#endif
#ifdef PASSES
out float depth;
#endif

// What one sphere hides of the sky and of the lights.
void hide(vec4 sphere, uint foreign_bit, inout float open, inout float passing[LIGHTS]) {
    float foreign = float(foreign_bit & 1u), radius = sphere.w;
    vec3 towards = sphere.xyz - in_position;
    float distance2 = max(dot(towards, towards), radius * radius);
    // Share of the sky that a sphere hides (Quilez, sphere ambient occlusion).
    float facing = dot(in_normal, towards) * inversesqrt(distance2);
    open *= 1.0 - foreign * 0.75 * clamp(facing + 0.15, 0.0, 1.0) * radius * radius / distance2;
    // A lamp is not a point: the shadow of a sphere softens with its distance. Behind the corner it casts none.
    for (int k = 0; k < LIGHTS; ++k) {
        float along = dot(towards, light_directions[k]);
        float across = sqrt(max(distance2 - along * along, 0.0));
        float free = smoothstep(radius * 0.55, radius * 1.15 + 0.25 * max(along, 0.0), across);
        passing[k] *= 1.0 - foreign * step(0.0, along) * (1.0 - free);
    }
}

#ifdef FLOW
in vec3 in_moved;   // where the corner is at the next frame, in its camera's frame
out vec3 moved;
#endif

void main() {
    gl_Position = clip_from_camera * vec4(in_position, 1.0);
    view = normalize(-in_position);
    normal = in_normal;
    uv = in_uv;
    float open = 1.0, passing[LIGHTS];
    for (int k = 0; k < LIGHTS; ++k) passing[k] = 1.0;
#define HIDE(k, s) hide(spheres[k], (s < 32 ? in_foreign.x : in_foreign.y) >> (s & 31), open, passing);
#ifdef EACH_SPHERE
    EACH_SPHERE(HIDE)
#else
    for (int s = 0; s < shading; s += 4) { HIDE(s, s) HIDE(s + 1, s + 1) HIDE(s + 2, s + 2) HIDE(s + 3, s + 3) }
#endif
#ifdef SKY
    vec3 n = in_normal;
    ambient = sky_light[0] + sky_light[1] * n.x + sky_light[2] * n.y + sky_light[3] * n.z + sky_light[4] * (n.x * n.y)
        + sky_light[5] * (n.y * n.z) + sky_light[6] * (n.x * n.z) + sky_light[7] * (3.0 * n.z * n.z - 1.0)
        + sky_light[8] * (n.x * n.x - n.y * n.y);
    ambient = max(ambient, 0.0);
    sky = open * vec2(1.0, 0.6);
#else
    ambient = ambient_color;
    float above = 0.5 + 0.5 * dot(in_normal, up);
    sky = open * vec2(mix(0.55, 1.15, above), 0.6);
#endif
    for (int k = 0; k < LIGHTS; ++k) {
        lit[k] = passing[k];
        normal_light[k] = dot(in_normal, light_directions[k]);
        view_light[k] = dot(view, light_directions[k]);
        lamp[k] = light_colors[k];
    }
#ifdef FINISHED
#ifdef SKY
    const vec3 grey = vec3(1.0 / 3.0);
    zenith = vec3(dot(sky_light[1], grey), dot(sky_light[2], grey), dot(sky_light[3], grey));
    zenith *= inversesqrt(max(dot(zenith, zenith), 1e-8));
#else
    zenith = up;
#endif
#endif
#ifdef MATT
    float outline = 1.0 - clamp(dot(in_normal, view), 0.0, 1.0);
    cloth_light = ambient * sky.x;
    for (int k = 0; k < LIGHTS; ++k) cloth_light += light_colors[k] * (passing[k] * max(normal_light[k] * 0.92 + 0.04, 0.0));
    cloth_light *= 1.0 + 0.35 * outline * outline * outline;  // fibres catch light along the outline
#endif
#ifdef CORNERS
    float facing = dot(in_normal, view), fresnel = skin_fresnel(1.0 - clamp(facing, 0.0, 1.0));
    scattered = ambient * sky.x;
    mirrored = ambient * (fresnel * sky.y);
    for (int k = 0; k < LIGHTS; ++k) {
        float cosine = normal_light[k], spread = max(2.0 * facing * cosine - view_light[k], 0.0);
        scattered += light_colors[k] * (passing[k] * diffuse(cosine));
        mirrored += light_colors[k] * (passing[k] * skin_gloss(fresnel, spread, cosine));
    }
#endif
#ifdef PASSES
    depth = in_position.z;
#endif
#ifdef FLOW
    moved = in_moved;
#endif
}
