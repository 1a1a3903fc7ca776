"""Environment maps for tests, made by code: what lies where on the sphere, and files of them."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

Light = Callable[[np.ndarray], np.ndarray]
"""(..., 3) directions in the map's frame (y up, -z in the middle of the panorama) -> (..., 3) linear light."""


def panorama(light: Light, height: int = 128) -> np.ndarray:
    """(H, 2 H, 3) float32 of it."""
    polar = (np.arange(height) + 0.5) * np.pi / height
    azimuth = (np.arange(2 * height) + 0.5) * np.pi / height - np.pi
    polar, azimuth = np.meshgrid(polar, azimuth, indexing="ij")
    directions = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), -np.sin(polar) * np.cos(azimuth)], -1)
    return light(directions).astype(np.float32)


def outdoors(sun: np.ndarray, sun_light: float = 600.0, size_deg: float = 3.0) -> Light:
    """Blue above, brown below, and a warm sun."""
    sun = sun / np.linalg.norm(sun)

    def light(directions: np.ndarray) -> np.ndarray:
        up = directions[..., 1:2]
        base = np.where(up > 0, 0.4 + 0.3 * up, 0.25) * np.where(up > 0, np.array([0.6, 0.8, 1.2]), np.array([0.5, 0.4, 0.3]))
        disc = (directions @ sun > np.cos(np.deg2rad(size_deg)))[..., None]
        return base + disc * sun_light * np.array([1.0, 0.85, 0.6])

    return light


def indoors(window: np.ndarray) -> Light:
    """A grey room with a window of 40 degrees, and a lamp at the ceiling."""
    window = window / np.linalg.norm(window)

    def light(directions: np.ndarray) -> np.ndarray:
        through = np.clip((directions @ window - 0.9) * 20, 0, 1)[..., None]
        ceiling = (directions[..., 1:2] > 0.98) * 8.0 * np.array([1.0, 0.7, 0.4])
        return 0.15 * np.array([1.0, 0.9, 0.8]) + through * np.array([3.0, 3.4, 4.0]) + ceiling

    return light


def write_hdr(path: Path, light: np.ndarray) -> Path:
    """A Radiance file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.ascontiguousarray(light[..., ::-1]))
    return path


def write_exr(path: Path, channels: dict[str, np.ndarray], **header: object) -> Path:
    """An OpenEXR file."""
    import OpenEXR

    path.parent.mkdir(parents=True, exist_ok=True)
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage} | header, channels).write(str(path))
    return path
