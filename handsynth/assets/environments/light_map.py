"""An environment map as light: its strongest lamp, and the rest as spherical harmonics; and how a map stands before a camera."""

import math
from dataclasses import dataclass

import numpy as np

from handsynth.core.harmonics import sky_weights

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""Of linear sRGB."""

CELL_ROWS = 128
"""Maps are averaged into cells of 180 / 128 degrees, or larger ones, before anything is looked for."""

LAMP_DEG, RING_DEG = 15.0, 30.0
"""A lamp is what is brighter, so near to the brightest place, than the ring around it: the sun with its glow, a window."""

_COARSE = 4  # cells to a side of those among which the brightest place is looked for


@dataclass(frozen=True)
class LightMap:
    """A map's light in the map's frame: y up, -z in the middle of the panorama, x to the right of it.

    Scaled so that lamp and mean of the sky together have luminance 1, and half-way to white, as a camera's white balance takes out
    most of a place's colour. Rounded, so that processors that differ in a last bit find the same.
    """

    sky: np.ndarray  # (9, 3) of everything but the lamp, see core.harmonics
    lamp_direction: np.ndarray  # (3,) unit, towards it
    lamp_color: np.ndarray  # (3,) linear; 1 shows a facing surface at its albedo


def make_light_map(panorama: np.ndarray) -> LightMap:
    """(H, W, 3) linear light of an equirectangular panorama, not black -> its light. The map's top row is above."""
    energy, angles, directions = _cells(panorama)
    peak = _brightest(energy, angles, directions)
    for _ in range(3):  # the middle of the lamp, rather than its brightest cell
        glow = np.where(directions @ peak > math.cos(math.radians(LAMP_DEG)), energy @ LUMINANCE, 0)
        peak = _unit(glow @ directions, peak)
    cosine = directions @ peak
    near = cosine > math.cos(math.radians(LAMP_DEG))
    ring = ~near & (cosine > math.cos(math.radians(RING_DEG)))
    around = energy[ring].sum(0) / angles[ring].sum()
    lamp = np.where(near[:, None], np.maximum(energy - around * angles[:, None], 0), 0)
    direction = _unit((lamp @ LUMINANCE) @ directions, peak)
    color = lamp.sum(0) / math.pi
    sky = sky_weights(directions, np.ones(len(directions))) @ (energy - lamp)
    total = color + sky[0]
    luminance = float(total @ LUMINANCE)
    gains = (0.5 + 0.5 * luminance / np.maximum(total, 0.05 * luminance)) / luminance
    scale = 1 / float((total * gains) @ LUMINANCE)
    sky, color = np.round(sky * gains * scale, 4) + 0.0, np.round(color * gains * scale, 4) + 0.0
    return LightMap(sky, np.round(direction, 6) + 0.0, color)


def _cells(panorama: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Panorama -> (N, 3) light times solid angle, (N,) solid angle [sr] and (N, 3) direction of N cells, row by row."""
    height, width = panorama.shape[:2]
    rows = min(CELL_ROWS, height) // _COARSE * _COARSE
    tops, lefts = np.arange(rows + 1) * height // rows, np.arange(2 * rows) * width // (2 * rows)
    edges = np.cos(np.arange(height + 1) * (math.pi / height))
    heights = (edges[:-1] - edges[1:]) * (2 * math.pi / width)  # solid angle of a pixel of each row
    energy = np.empty((rows, len(lefts), 3))
    for k in range(rows):  # a strip at a time, in doubles, without a copy of the whole
        strip = panorama[tops[k] : tops[k + 1]].astype(np.float64)
        columns = (heights[tops[k] : tops[k + 1], None, None] * strip).sum(0)
        energy[k] = np.add.reduceat(columns, lefts)
    counts = np.diff(np.append(lefts, width))
    angles = np.add.reduceat(heights, tops[:-1])[:, None] * counts
    polar = (tops[:-1] + tops[1:]) * (math.pi / 2 / height)
    azimuth = (lefts + counts / 2) * (2 * math.pi / width) - math.pi
    x, z = np.outer(np.sin(polar), np.sin(azimuth)), -np.outer(np.sin(polar), np.cos(azimuth))
    y = np.broadcast_to(np.cos(polar)[:, None], x.shape)
    return energy.reshape(-1, 3), angles.ravel(), np.stack([x, y, z], -1).reshape(-1, 3)


def _brightest(energy: np.ndarray, angles: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(3,) the direction about which, as a lamp of some degrees sees it, most light comes from; of equal ones the highest."""
    rows = math.isqrt(len(angles) // 2)
    shape = (rows // _COARSE, _COARSE, 2 * rows // _COARSE, _COARSE)
    light = (energy @ LUMINANCE).reshape(shape).sum((1, 3)).ravel()
    middle = (directions * angles[:, None]).reshape(*shape, 3).sum((1, 3)).reshape(-1, 3)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    seen = np.exp((middle @ middle.T - 1) / (1 - math.cos(math.radians(LAMP_DEG / 2)))) @ light
    found = middle[np.argmax(np.round(seen / seen.max(), 6))]
    return np.asarray(found)


def _unit(vector: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """The vector's direction, or another where it has none."""
    length = np.linalg.norm(vector)
    return vector / length if length > 1e-12 else otherwise


def map_rotation(up_cam: np.ndarray, yaw_deg: float) -> np.ndarray:
    """(3, 3) from a map's frame to a camera's in which `up_cam` (3,) is up.

    At yaw 0 the middle of the panorama lies behind the hand, as the camera looks; it turns to the left as yaw grows.
    """
    up = up_cam / np.linalg.norm(up_cam)
    ahead = np.array([0.0, 0.0, 1.0]) if abs(up[2]) < 0.99 else np.array([0.0, -1.0, 0.0])
    ahead = _unit(ahead - (ahead @ up) * up, ahead)
    upright = np.stack([np.cross(ahead, up), up, -ahead], 1)
    c, s = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    return upright @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
