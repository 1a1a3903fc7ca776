"""What goes into a renderer and what comes out: plain arrays, the same for every backend."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

HEADROOM = 2.0
"""Linear light that the largest value of `Layers.encoded` stands for: highlights up to twice white survive to the sensor."""

RENDER_VERSION = 4
"""Goes up with each change that moves a pixel: of shaders, textures' size, compositing or sensor. It is part of the driver's name:
a replay then expects labels alone to agree."""


@dataclass(frozen=True, eq=False)
class View:
    """One hand before one camera. Camera frame (OpenCV), metres; colours in linear sRGB."""

    vertices: np.ndarray  # (V, 3) float32
    normals: np.ndarray  # (V, 3) float32
    spheres: np.ndarray  # (S, 3) centres of the shading spheres
    albedo: np.ndarray  # (A, A, 4) uint8 sRGB texture, opaque, row 0 at the top
    K: np.ndarray  # (3, 3) [px]
    light_directions: np.ndarray  # (L, 3) unit, towards the lights; L <= 3
    light_colors: np.ndarray  # (L, 3) times intensity
    ambient: np.ndarray  # (3,)
    up: np.ndarray  # (3,) unit
    is_left: bool  # mirrored: the faces' winding is reversed


@dataclass(frozen=True, eq=False)
class Layers:
    """A rendered hand, not yet on a background."""

    encoded: np.ndarray  # (H, W, 4) uint8: square root of linear colour / HEADROOM, times coverage; and coverage
    mask: np.ndarray  # (H, W) bool, the pixel's centre is on the hand
    window: tuple[slice, slice]  # rows and columns beyond which everything is 0
    depth: np.ndarray | None = None  # (H, W) float32 along the axis at pixel centres [m], 0 = background
    parts: np.ndarray | None = None  # (H, W) uint8, 0 = background
    normal: np.ndarray | None = None  # (H, W, 3) uint8
    uv: np.ndarray | None = None  # (H, W, 3) uint16


class Renderer(Protocol):
    """A backend. One per process, made where it is used, kept for its life."""

    driver: str
    """What drew: backend, driver and version, for the dataset's index."""

    def render(self, view: View, passes: tuple[str, ...] = ()) -> Layers:
        """Draws one view, with the requested passes (names of core.sample.PASSES)."""
        ...

    def render_many(self, views: Sequence[View], passes: tuple[str, ...] = ()) -> list[Layers]:
        """The same for some views, in less time than one after the other."""
        ...
