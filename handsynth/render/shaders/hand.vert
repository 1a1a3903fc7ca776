#version 330 core
// Places a corner of the hand and gathers, per vertex, how much of the sky and of each light other fingers hide.

const int MAX_SPHERES = 64;
const int MAX_LIGHTS = 3;

uniform mat4 clip_from_camera;
uniform int num_spheres;
uniform vec4 spheres[MAX_SPHERES];        // centre [m, camera frame], radius [m]
uniform int num_lights;
uniform vec3 light_directions[MAX_LIGHTS];

in vec3 in_position;   // [m, camera frame]
in vec3 in_normal;
in vec2 in_uv;
in uvec2 in_foreign;   // bit s is set when sphere s belongs to another part of the hand than this corner

out vec3 position;
out vec3 normal;
out vec2 uv;
out float sky;
out vec3 lit;

void main() {
    gl_Position = clip_from_camera * vec4(in_position, 1.0);
    position = in_position;
    normal = in_normal;
    uv = in_uv;
    sky = 1.0;
    lit = vec3(1.0);
    for (int s = 0; s < num_spheres; ++s) {
        uint word = s < 32 ? in_foreign.x : in_foreign.y;
        if ((word >> uint(s & 31) & 1u) == 0u) continue;
        vec3 towards = spheres[s].xyz - in_position;
        float radius = spheres[s].w;
        float distance2 = max(dot(towards, towards), radius * radius);
        // Share of the sky that a sphere hides (Quilez, sphere ambient occlusion).
        float facing = dot(in_normal, towards) * inversesqrt(distance2);
        sky *= 1.0 - 0.75 * clamp(facing + 0.15, 0.0, 1.0) * radius * radius / distance2;
        for (int k = 0; k < num_lights; ++k) {
            float along = dot(towards, light_directions[k]);
            if (along <= 0.0) continue;
            // A lamp is not a point: the shadow of a sphere softens with its distance.
            float across = sqrt(max(distance2 - along * along, 0.0));
            lit[k] *= smoothstep(radius * 0.55, radius * 1.15 + 0.25 * along, across);
        }
    }
}
