"""Layers to an image: the crop behind, the composite, the sensor, the encoding."""
