"""The embedded backgrounds: procedural scenes, painted once into the cache."""
