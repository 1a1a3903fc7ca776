"""The slow readable twin of the renderer's passes: every triangle, every pixel centre, in numpy and float64."""

from dataclasses import dataclass

import numpy as np

from handsynth.render.layers import Layout


@dataclass(frozen=True, eq=False)
class Raster:
    """What lies behind each pixel's centre."""

    depth: np.ndarray  # (H, W) [m], 0 = background
    parts: np.ndarray  # (H, W) uint8, 0 = background
    uv: np.ndarray  # (H, W, 2), v up
    normal: np.ndarray  # (H, W, 3) unit, interpolated between vertices


def rasterise(layout: Layout, vertices: np.ndarray, normals: np.ndarray, K: np.ndarray, size: int) -> Raster:
    """Draws the closed surface into a square of `size` pixels; vertices (V, 3) in the camera frame [m], normals (V, 3)."""
    corner = vertices[layout.corner_vertex].astype(np.float64)
    homogeneous = corner @ K.T
    xy, z = homogeneous[:, :2] / homogeneous[:, 2:], corner[:, 2]
    attributes = np.concatenate([layout.corner_uv * [1, -1] + [0, 1], normals[layout.corner_vertex]], 1)
    depth, parts, found = np.full((size, size), np.inf), np.zeros((size, size), np.uint8), np.zeros((size, size, 5))
    for triangle, part in zip(layout.triangles, layout.triangle_part, strict=True):
        p = xy[triangle]
        (x0, y0), (x1, y1) = np.floor(p.min(0)).astype(int), np.ceil(p.max(0)).astype(int)
        columns, rows = np.arange(max(x0, 0), min(x1, size)), np.arange(max(y0, 0), min(y1, size))
        if not len(columns) or not len(rows):
            continue
        centre = np.stack(np.meshgrid(columns + 0.5, rows + 0.5), -1)
        # Barycentric coordinates on the screen: the point is their weighted mean of the corners.
        edges = np.stack([p[1] - p[0], p[2] - p[0]], 1)
        if abs(np.linalg.det(edges)) < 1e-12:
            continue
        b, c = np.moveaxis((centre - p[0]) @ np.linalg.inv(edges).T, -1, 0)
        weights = np.stack([1 - b - c, b, c], -1)
        # 1/z and attribute/z are linear on the screen (perspective-correct interpolation).
        share = weights / z[triangle]
        here = 1 / share.sum(-1)
        box = np.ix_(rows, columns)
        nearer = (weights >= 0).all(-1) & (here < depth[box])
        depth[box] = np.where(nearer, here, depth[box])
        parts[box] = np.where(nearer, part, parts[box])
        found[box] = np.where(nearer[..., None], share @ attributes[triangle] * here[..., None], found[box])
    length = np.linalg.norm(found[..., 2:], axis=-1, keepdims=True)
    return Raster(np.where(np.isfinite(depth), depth, 0), parts, found[..., :2], found[..., 2:] / np.maximum(length, 1e-12))
