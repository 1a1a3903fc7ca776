#version 330 core
// Places a corner of the hand and gathers, per vertex, how much of the sky and of each light other fingers hide.

const int MAX_SPHERES = 64;

uniform mat4 clip_from_camera;
uniform int num_spheres;
uniform vec4 spheres[MAX_SPHERES];        // centre [m, camera frame], radius [m]
uniform mat3 light_directions;            // a column a light; lights that are not there have no colour
uniform vec3 up;                          // unit vector, camera frame

in vec3 in_position;   // [m, camera frame]
in vec3 in_normal;
in vec2 in_uv;
in uvec2 in_foreign;   // bit s is set when sphere s belongs to another part of the hand than this corner

out vec3 normal;
out vec2 uv;
out vec3 view;    // unit vector to the camera
out vec2 sky;     // ambient light that arrives here: on rough skin, and mirrored
out vec3 lit;     // share of each light that other fingers let pass
#ifdef PASSES
out float depth;
#endif

void main() {
    gl_Position = clip_from_camera * vec4(in_position, 1.0);
    view = normalize(-in_position);
    normal = in_normal;
    uv = in_uv;
    float open = 1.0;
    lit = vec3(1.0);
    for (int s = 0; s < num_spheres; ++s) {
        uint word = s < 32 ? in_foreign.x : in_foreign.y;
        float foreign = float(word >> uint(s & 31) & 1u);
        vec3 towards = spheres[s].xyz - in_position;
        float radius = spheres[s].w;
        float distance2 = max(dot(towards, towards), radius * radius);
        // Share of the sky that a sphere hides (Quilez, sphere ambient occlusion).
        float facing = dot(in_normal, towards) * inversesqrt(distance2);
        open *= 1.0 - foreign * 0.75 * clamp(facing + 0.15, 0.0, 1.0) * radius * radius / distance2;
        // A lamp is not a point: the shadow of a sphere softens with its distance. Behind the corner it casts none.
        vec3 along = towards * light_directions;
        vec3 across = sqrt(max(distance2 - along * along, 0.0));
        vec3 passing = smoothstep(vec3(radius * 0.55), radius * 1.15 + 0.25 * max(along, 0.0), across);
        lit *= 1.0 - foreign * step(0.0, along) * (1.0 - passing);
    }
    float above = 0.5 + 0.5 * dot(in_normal, up);
    sky = open * vec2(mix(0.55, 1.15, above), 0.6);
#ifdef PASSES
    depth = in_position.z;
#endif
}
