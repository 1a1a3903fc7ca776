#version 330 core
// Places a corner of the hand for the mask and the passes.

uniform mat4 clip_from_camera;

in vec3 in_position;   // [m, camera frame]
in vec3 in_normal;
in vec2 in_uv;

invariant gl_Position;                  // mask and passes cover the same pixels

out float depth;
out vec3 normal;
out vec2 uv;

void main() {
    gl_Position = clip_from_camera * vec4(in_position, 1.0);
    depth = in_position.z;
    normal = in_normal;
    uv = vec2(in_uv.x, 1.0 - in_uv.y);     // labels have v up
}
