"""Stage 3, render: posed, textured hands -> colour, coverage and passes. Knows arrays only: no recipe, no file, no licence."""
