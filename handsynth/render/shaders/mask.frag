#version 330 core
// Marks the pixels whose centre is on the hand.

layout(location = 0) out float mask;

void main() { mask = 1.0; }
