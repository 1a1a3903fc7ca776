"""How nets are trained: every setting that decides a weight, and the presets."""
