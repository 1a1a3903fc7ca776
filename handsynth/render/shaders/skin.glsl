// How skin answers light, for corners and for pixels.

// Light that skin carries past the terminator, by colour: (cosine + wrap) / (1 + wrap)^2, which keeps the energy.
const vec3 WRAP = vec3(0.28, 0.12, 0.07);
const vec3 WRAP_SCALE = 1.0 / ((1.0 + WRAP) * (1.0 + WRAP)), WRAP_SHIFT = WRAP * WRAP_SCALE;
const float F0 = 0.028;                    // reflectance of skin at normal incidence (index of refraction 1.4)

vec3 diffuse(float cosine) { return max(cosine * WRAP_SCALE + WRAP_SHIFT, 0.0); }

float skin_fresnel(float grazing) {
    float grazing2 = grazing * grazing;
    return F0 + (0.5 - 0.5 * F0) * grazing2 * grazing2 * grazing;
}

// Two lobes about the mirrored view: oil on the skin and its rough relief (Phong, exponents 10 and 3, normalised).
float skin_gloss(float fresnel, float spread, float cosine) {
    float s2 = spread * spread, s4 = s2 * s2;
    return fresnel * (2.7 * s4 * s4 + 1.05 * spread) * s2 * clamp(cosine * 4.0, 0.0, 1.0);
}
