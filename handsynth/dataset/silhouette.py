"""Silhouettes by scan lines: which pixel centres a hand's triangles cover, without OpenGL: what `verify` holds masks against."""

import numpy as np


def silhouette(xy: np.ndarray, faces: np.ndarray, size: int) -> np.ndarray:
    """(V, 2) projected vertices [px] and (F, 3) faces -> (size, size) bool, true where a pixel's centre lies in a triangle.

    Each triangle is cut by the lines through the rows' centres; the cut's two ends bound the columns that it covers.
    """
    corners = xy[faces]
    corners = np.take_along_axis(corners, corners[..., 1].argsort(1)[..., None], 1)  # top, middle, bottom
    rows = np.clip(np.ceil(corners[..., 1] - 0.5), 0, size).astype(int)  # first row whose centre is not above the corner
    height = rows[:, 2] - rows[:, 0]
    triangle = np.repeat(np.arange(len(faces)), height)
    row = np.arange(height.sum()) - np.repeat(np.cumsum(height) - height, height) + rows[triangle, 0]
    y = row + 0.5
    top, middle, bottom = corners[triangle].swapaxes(0, 1)
    upper = (y < middle[:, 1])[:, None]
    ends = np.stack([_cut(top, bottom, y), _cut(np.where(upper, top, middle), np.where(upper, middle, bottom), y)])
    start, stop = np.clip(np.ceil(np.sort(ends, 0) - 0.5), 0, size).astype(int)
    steps = np.zeros((size, size + 1), int)
    np.add.at(steps, (row, start), 1)
    np.add.at(steps, (row, stop), -1)
    return steps.cumsum(1)[:, :size] > 0


def _cut(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(N,) x at height y on the edges a-b, (N, 2) each."""
    rise = b[:, 1] - a[:, 1]
    return a[:, 0] + (b[:, 0] - a[:, 0]) * (y - a[:, 1]) / np.where(rise > 0, rise, 1.0)
