"""What goes into a renderer and what comes out: plain arrays, the same for every backend."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

HEADROOM = 2.0
"""Linear light that the largest value of `Layers.encoded` stands for: highlights up to twice white survive to the sensor."""

RENDER_VERSION = 7
"""Goes up with each change that moves a pixel: of shaders, textures' size, compositing or sensor. It is part of the driver's name:
a replay then expects labels alone to agree."""

METAL, LACQUER, PLASTIC, LEATHER, CLOTH, SKIN = 0, 64, 112, 160, 208, 255
"""What the alpha of a texel says of its finish, in the materials "finished" and "layered skin": the less, the smoother. Glass and
nail varnish are lacquer."""


@dataclass(frozen=True, eq=False)
class Layout:
    """What never changes of a kind of mesh: made once, and uploaded once by a renderer, which knows it by identity.

    C corners (vertices split at texture seams), F triangles in drawing order.
    """

    corner_vertex: np.ndarray  # (C,) int32 vertex of each corner
    corner_uv: np.ndarray  # (C, 2) float32 texture coordinates, v DOWN: row 0 of the texture is v = 0; they repeat beyond 0..1
    foreign: np.ndarray  # (C, 2) uint32: bit s says that sphere s of the view shades the corner
    triangles: np.ndarray  # (F, 3) int32 corners, counter-clockwise seen from outside
    triangle_part: np.ndarray  # (F,) uint8 value in the parts pass
    cap_rim: np.ndarray  # (R,) vertices around an opening that the last R corners and R - 2 triangles close; (0,) without a cap
    turned: bool = False  # of a mesh of a hand of the other side than the labelled one: `triangles` are wound accordingly
    material: str = "skin"  # or "smooth skin", lit at corners; "layered skin", "cloth", "finished": see `Mesh.albedo`


@dataclass(frozen=True, eq=False)
class Mesh:
    """One thing before a camera. Camera frame (OpenCV), metres."""

    layout: Layout
    vertices: np.ndarray  # (V, 3) float32
    normals: np.ndarray  # (V, 3) float32
    albedo: np.ndarray  # (h, w, 4) uint8 sRGB texture, row 0 at the top; alpha is the finish, where the material knows any
    spheres: np.ndarray | None = None  # (S, 4) centres and radii of spheres that shade it in the place of the view's
    moved: np.ndarray | None = None  # (V, 3) float32 where the vertices are at the next frame, in its camera's frame; for "flow"


@dataclass(frozen=True, eq=False)
class View:
    """Some meshes before one camera. Camera frame (OpenCV), metres; colours in linear sRGB."""

    meshes: tuple[Mesh, ...]  # the first is the one that is labelled, and no other has its layout; the image does not
    # depend on the order, but for the lowest bit of blue
    spheres: np.ndarray  # (S, 3) centres of the shading spheres of all meshes
    sphere_radius: np.ndarray  # (S,)
    K: np.ndarray  # (3, 3) [px]
    light_directions: np.ndarray  # (L, 3) unit, towards the lights; L <= 3
    light_colors: np.ndarray  # (L, 3) times intensity
    ambient: np.ndarray  # (3,) light from everywhere, a little more from `up`; where there is a sky, that takes its place
    up: np.ndarray  # (3,) unit
    is_left: bool  # mirrored: the triangles' winding is reversed
    sky: np.ndarray | None = None  # (9, 3) ambient light by direction, see core.harmonics


@dataclass(frozen=True, eq=False)
class Layers:
    """A rendered view, not yet on a background."""

    encoded: np.ndarray  # (H, W, 4) uint8: square root of linear colour / HEADROOM, times coverage; and coverage
    mask: np.ndarray  # (H, W) bool, the pixel's centre shows the first mesh
    window: tuple[slice, slice]  # rows and columns beyond which everything is 0
    amodal: np.ndarray | None = None  # (H, W) bool, the pixel's centre is on the first mesh, hidden or not, its inside included
    depth: np.ndarray | None = None  # (H, W) float32 along the axis at pixel centres [m], of what is nearest, 0 = background
    parts: np.ndarray | None = None  # (H, W) uint8, 0 = background
    normal: np.ndarray | None = None  # (H, W, 3) uint8
    uv: np.ndarray | None = None  # (H, W, 3) uint16, of the first mesh alone
    flow: np.ndarray | None = None  # (H, W, 2) float32 movement to the right and down until the next frame [px], NaN beside meshes


class Renderer(Protocol):
    """A backend. One per process, made where it is used, kept for its life."""

    driver: str
    """What drew: backend, driver and version, for the dataset's index."""

    def render(self, view: View, passes: tuple[str, ...] = ()) -> Layers:
        """Draws one view, with the requested passes (names of core.sample.PASSES and CLIP_PASSES)."""
        ...

    def render_many(self, views: Sequence[View], passes: tuple[str, ...] = ()) -> list[Layers]:
        """The same for some views, in less time than one after the other."""
        ...
