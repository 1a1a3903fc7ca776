"""Stage 5, annotate: labels from geometry alone, never from the picture, so that they are equal on every machine."""

from typing import Any

import numpy as np

from handsynth.core.camera import project, projected_bounds
from handsynth.core.conventions import SCHEMA, VISIBLE_TOLERANCE_M
from handsynth.core.hand import mirror_points, mirror_theta
from handsynth.pose import CameraHands
from handsynth.recipe.recipe import Recipe


def depth_at_pixels(vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Depth of the nearest surface behind the centres of some pixels: what a depth picture holds there.

    Args:
        vertices: (V, 3) camera frame [m].
        faces: (F, 3), of a closed surface.
        K: (3, 3) [px].
        pixels: (P, 2) column and row, whole numbers.

    Returns:
        (P,) depth along the axis [m], infinity where the pixel shows background.
    """
    xy = project(vertices, K)
    x, y = np.ascontiguousarray(xy.T)
    columns, rows = pixels.T.astype(np.float32)
    near = _spans(x[faces], columns)
    near &= _spans(y[faces], rows)
    point, face = np.divmod(np.flatnonzero(near), len(faces))
    a, b, c = xy[faces[face].T]
    p = pixels[point] + 0.5
    # Areas of the triangles that the point makes with each edge: barycentric coordinates on the screen.
    areas = np.stack([_cross(c - b, p - b), _cross(a - c, p - c), _cross(b - a, p - a)], 1)
    total = areas.sum(1)
    inside = np.logical_and((areas * np.sign(total)[:, None]).min(1, initial=np.inf) >= 0, total != 0)
    point, face, areas, total = (found[inside] for found in (point, face, areas, total))
    inverse_depth = (areas / total[:, None] / vertices[faces[face], 2]).sum(1)  # 1/z is linear on the screen
    nearest = np.zeros(len(pixels))
    np.maximum.at(nearest, point, inverse_depth)
    return np.divide(1.0, nearest, out=np.full(len(pixels), np.inf), where=nearest > 0)


def _spans(corners: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(F, 3) positions of corners along an axis [px] and (P,) whole pixels -> (P, F) whether the corners span the pixel's centre.

    In whole numbers, which float32 holds: half as much to compare as in float64.
    """
    a, b, c = corners.T
    first = np.ceil(np.minimum(np.minimum(a, b), c) - 0.5).astype(np.float32)
    last = np.floor(np.maximum(np.maximum(a, b), c) - 0.5).astype(np.float32)
    return (pixels[:, None] >= first) & (pixels[:, None] <= last)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def keypoint_visibility(
    keypoints: np.ndarray, xy: np.ndarray, vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, size: int
) -> np.ndarray:
    """(21,) bool: in the picture, and no surface more than VISIBLE_TOLERANCE_M in front of it at its pixel."""
    inside = np.asarray(((xy >= 0) & (xy < size)).all(1))
    pixels = np.floor(np.where(inside[:, None], xy, 0))
    depth = depth_at_pixels(vertices.astype(np.float64), faces, K, pixels)
    return inside & (depth + VISIBLE_TOLERANCE_M >= keypoints[:, 2])


def annotate(recipe: Recipe, hands: CameraHands, row: int, faces: np.ndarray, size: int, dataset: str, tips: str) -> dict[str, Any]:
    """Labels of one sample, row `row` of the batch: the fields of core.sample.FIELDS as plain values.

    Args:
        recipe: its decisions.
        hands: the posed batch.
        row: which of the batch.
        faces: (F, 3) the closed surface, cap included.
        size: side of the picture [px].
        dataset: identity of the dataset.
        tips: name of the fingertip table.
    """
    vertices, keypoints, K = hands.vertices[row], hands.keypoints[row], np.round(hands.K[row], 6)
    xy = np.round(project(keypoints, K), 4)
    theta, trans = np.array(recipe.theta).reshape(-1, 3), np.array(recipe.trans)
    if recipe.side == "left":
        theta, trans = mirror_theta(theta), mirror_points(trans)
    return {
        "schema": SCHEMA,
        "index": recipe.index,
        "dataset": dataset,
        "side": recipe.side,
        "image_size": size,
        "K": K.tolist(),
        "T_cam_world": np.round(hands.T_cam_world[row], 9).tolist(),
        "theta": (theta.ravel() + 0.0).tolist(),
        "beta": list(recipe.beta),
        "trans": (trans + 0.0).tolist(),
        "keypoints_cam": np.round(keypoints, 6).tolist(),
        "keypoints_xy": xy.tolist(),
        "keypoints_visible": keypoint_visibility(keypoints, xy, vertices, faces, K, size).astype(int).tolist(),
        "bbox_xyxy": np.round(projected_bounds(vertices.astype(np.float64), K), 4).tolist(),
        "fingertip_table": tips,
        "recipe": recipe.to_dict(),
    }
