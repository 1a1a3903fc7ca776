"""Which point of the hand each texel shows: the UV layout rasterised, with position, normal and skinning weights."""

from dataclasses import dataclass

import numpy as np

from handsynth.core.errors import AssetError
from handsynth.core.hand import HandModel
from handsynth.core.mesh import vertex_normals


@dataclass(frozen=True, eq=False)
class Surface:
    """U used texels of a (size, size) texture, in ascending order of `texels`."""

    size: int
    texels: np.ndarray  # (U,) int32 row-major index, row 0 at the top
    face: np.ndarray  # (U,) int32 face that covers the texel's centre
    barycentric: np.ndarray  # (U, 3) float32
    position: np.ndarray  # (U, 3) float32, template frame, beta = 0 [m]
    normal: np.ndarray  # (U, 3) float32 unit
    weights: np.ndarray  # (U, J) float32 skinning weights


def rasterise_surface(hand: HandModel, size: int) -> Surface:
    """Surface of the hand's own layout. Raises AssetError when the hand has none, or a layout too small for `size`."""
    if not len(hand.uv_faces):
        raise AssetError(f"hand model {hand.name!r} has no texture coordinates: a skin cannot be painted on it")
    face, barycentric = rasterise_layout(hand.uv, hand.uv_faces, size)
    texels = np.flatnonzero(face >= 0).astype(np.int32)
    if not len(texels):
        raise AssetError(f"hand model {hand.name!r}: its texture layout covers no texel of a {size} x {size} image")
    face, barycentric = face[texels], barycentric[texels]
    corners = hand.faces[face]

    def at_texels(per_vertex: np.ndarray) -> np.ndarray:
        return np.einsum("uk,ukc->uc", barycentric, per_vertex[corners].astype(np.float32))

    normal = at_texels(vertex_normals(hand.v_template, hand.faces))
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    return Surface(size, texels, face, barycentric, at_texels(hand.v_template), normal, at_texels(hand.weights))


def rasterise_layout(uv: np.ndarray, uv_faces: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which face covers the centre of each texel.

    Args:
        uv: (T, 2) texture coordinates in [0, 1], v up.
        uv_faces: (F, 3) rows of `uv`.
        size: side of the texture [px].

    Returns:
        (size * size,) int32 face, -1 where none; (size * size, 3) float32 barycentric coordinates.
        Where two faces share an edge through a centre, the first takes the texel.
    """
    face = np.full((size, size), -1, np.int32)
    barycentric = np.zeros((size, size, 3), np.float32)
    # Column and row such that texel (r, c) has its centre at exactly (c, r).
    points = np.stack([uv[:, 0] * size - 0.5, (1.0 - uv[:, 1]) * size - 0.5], 1)[uv_faces]
    low = np.clip(np.ceil(points.min(1)).astype(int), 0, size - 1)
    high = np.clip(np.floor(points.max(1)).astype(int), 0, size - 1)
    for f, (a, b, c) in enumerate(points):
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        columns, rows = np.arange(low[f, 0], high[f, 0] + 1), np.arange(low[f, 1], high[f, 1] + 1)
        if area == 0 or not len(columns) or not len(rows):
            continue
        x, y = columns[None, :], rows[:, None]
        wb = ((x - a[0]) * (c[1] - a[1]) - (y - a[1]) * (c[0] - a[0])) / area
        wc = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / area
        weights = np.stack([1.0 - wb - wc, wb, wc], -1)
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        inside = (weights >= -1e-6).all(-1) & (face[window] < 0)
        face[window][inside] = f
        barycentric[window][inside] = weights[inside]
    return face.reshape(-1), barycentric.reshape(-1, 3)
