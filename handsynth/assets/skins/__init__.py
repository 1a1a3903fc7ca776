"""Skin textures: the model, HTML's, and the embedded painter."""
