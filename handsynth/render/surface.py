"""The hand's surface as a renderer draws it: corners split at texture seams, triangles in drawing order, the wrist's cap."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse.csgraph

from handsynth.core.hand import HandModel
from handsynth.core.mesh import cap_fan


@dataclass(frozen=True, eq=False)
class Surface:
    """Static arrays of one hand model with one texture layout. C corners, V vertices."""

    corner_vertex: np.ndarray  # (C,) int32 vertex of each corner
    corner_uv: np.ndarray  # (C, 2) float32 texture coordinates, v DOWN: row 0 of the texture is v = 0
    corner_part: np.ndarray  # (C,) int32 joint that moves the corner most
    triangles: np.ndarray  # (F + cap, 3) int32 corners; the cap comes last
    triangle_part: np.ndarray  # (F + cap,) uint8 value in the parts pass
    num_cap_corners: int  # the last corners belong to the cap
    rim: np.ndarray  # (R,) vertices around the wrist


def make_surface(model: HandModel, uv: np.ndarray, uv_faces: np.ndarray) -> Surface:
    """Builds the drawing arrays. `uv` (T, 2) has v up, `uv_faces` (F, 3) is aligned with `model.faces`."""
    pairs = np.stack([model.faces.ravel(), uv_faces.ravel()], 1)
    corners, triangles = np.unique(pairs, axis=0, return_inverse=True)
    corners, triangles, parts = _in_drawing_order(corners, triangles.reshape(-1, 3), model.parts)
    corner_uv = uv[corners[:, 1]] * [1, -1] + [0, 1]

    rim = model.rim
    fan = cap_fan(len(rim))
    # One texture coordinate for the whole cap: a fan across the atlas would cross foreign islands.
    rim_corner = np.flatnonzero(corners[:, 0] == rim[0])[0]
    corner_vertex = np.concatenate([corners[:, 0], rim])
    return Surface(
        corner_vertex=corner_vertex.astype(np.int32),
        corner_uv=np.concatenate([corner_uv, np.tile(corner_uv[rim_corner], (len(rim), 1))]).astype(np.float32),
        corner_part=model.weights.argmax(1)[corner_vertex].astype(np.int32),
        triangles=np.concatenate([triangles, fan + len(corners)]).astype(np.int32),
        triangle_part=np.concatenate([parts + 1, np.ones(len(fan), int)]).astype(np.uint8),
        num_cap_corners=len(rim),
        rim=rim,
    )


def _in_drawing_order(corners: np.ndarray, triangles: np.ndarray, parts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners, triangles and their parts, neighbours next to each other: drivers keep few shaded corners at a time."""
    a, b = triangles.ravel(), np.roll(triangles, 1, 1).ravel()
    graph = scipy.sparse.csr_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), shape=(len(corners),) * 2)
    order = scipy.sparse.csgraph.reverse_cuthill_mckee(graph, symmetric_mode=True)
    triangles = np.argsort(order)[triangles]
    first = np.argsort(triangles.min(1), kind="stable")
    return corners[order], triangles[first], parts[first]


def corner_arrays(surface: Surface, vertices: np.ndarray, normals: np.ndarray, is_left: np.ndarray) -> np.ndarray:
    """Positions and normals of the corners of B hands: (B, V, 3) each, (B,) bool -> (B, C, 6) float32.

    The cap's corners share one normal, that of its plane, bulged a little.
    """
    corners = np.take(np.concatenate([vertices, normals], -1), surface.corner_vertex, 1, mode="clip")
    rim = vertices[:, surface.rim].astype(np.float64)
    radial = rim - rim.mean(1, keepdims=True)
    # Newell's normal of the rim's polygon: the sum of the cross products of neighbours.
    products = np.roll(radial, -1, 1).swapaxes(1, 2) @ radial
    normal = np.stack([products[:, i, j] - products[:, j, i] for i, j in ((1, 2), (2, 0), (0, 1))], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) * np.where(is_left, -1, 1)[:, None]
    bulged = normal[:, None] + 0.6 * radial / np.linalg.norm(radial, axis=-1, keepdims=True)
    corners[:, -surface.num_cap_corners :, 3:] = bulged / np.linalg.norm(bulged, axis=-1, keepdims=True)
    return corners
