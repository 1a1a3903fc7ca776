"""Procedural skin: paints the albedo of many different people onto any hand with texture coordinates, and their PCA."""
