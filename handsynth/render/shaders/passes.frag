#version 330 core
// Every label of a pixel in one draw, at the pixel's centre and without antialiasing.

uniform sampler2D triangle_part;           // (F, 1): part of each triangle / 255

in float depth;
in vec3 normal;
in vec2 uv;

layout(location = 0) out vec4 geometry;    // depth [m], u, v, 1 on the hand
layout(location = 1) out vec4 surface;     // normal as (n + 1) / 2, part / 255

void main() {
    geometry = vec4(depth, uv, 1.0);
    surface = vec4(normalize(normal) * 0.5 + 0.5, texelFetch(triangle_part, ivec2(gl_PrimitiveID, 0), 0).r);
}
