"""Makes the embedded bank of poses: designed postures, natural draws, and the relaxation that keeps flesh out of flesh."""
