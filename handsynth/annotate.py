"""Stage 5, annotate: labels from geometry alone, never from rendered pixels, so that they are equal on every machine."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from handsynth.core.camera import project, projected_bounds
from handsynth.core.conventions import SCHEMA, VISIBLE_TOLERANCE_M
from handsynth.core.hand import mirror_points, mirror_theta
from handsynth.recipe.recipe import Recipe
from handsynth.scene.pose import CameraHands


def depth_at_pixels(vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Depth of the nearest surface behind the centres of some pixels: what a depth image holds there.

    Args:
        vertices: (..., V, 3) camera frame [m].
        faces: (F, 3), of a closed surface.
        K: (..., 3, 3) [px].
        pixels: (..., P, 2) column and row, whole numbers.

    Returns:
        (..., P) depth along the axis [m], infinity where the pixel shows background.
    """
    shape, count = pixels.shape[:-1], pixels.shape[-2]
    xy = project(vertices, K).reshape(-1, vertices.shape[-2], 2)
    pixels, z = pixels.reshape(-1, count, 2), vertices[..., 2].reshape(len(xy), -1)
    first, number = _spans(np.moveaxis(xy, 2, 0)[:, :, faces])
    found = [_near(*one) for one in zip(pixels, first.swapaxes(0, 1), number.swapaxes(0, 1), strict=True)]
    hand = np.repeat(np.arange(len(xy)), [len(places) for places in found])
    point, face = np.divmod(np.concatenate(found), len(faces))
    a, b, c = xy[hand, faces[face].T]
    p = pixels[hand, point] + 0.5
    # Areas of the triangles that the point makes with each edge: barycentric coordinates on the screen.
    areas = np.stack([_cross(c - b, p - b), _cross(a - c, p - c), _cross(b - a, p - a)], 1)
    total = areas.sum(1)
    inside = np.logical_and((areas * np.sign(total)[:, None]).min(1, initial=np.inf) >= 0, total != 0)
    hand, point, face, areas, total = (values[inside] for values in (hand, point, face, areas, total))
    inverse_depth = (areas / total[:, None] / z[hand[:, None], faces[face]]).sum(1)  # 1/z is linear on the screen
    nearest = np.zeros(pixels.shape[:2])
    np.maximum.at(nearest, (hand, point), inverse_depth)
    return np.divide(1.0, nearest, out=np.full(nearest.shape, np.inf), where=nearest > 0).reshape(shape)


_FAR = 1 << 14  # no image is so large [px]


def _spans(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., F, 3) positions of corners along an axis [px] -> (..., F) first pixel whose centre they span, int16; how many, uint16.

    The fewest bytes to compare. What is not a number spans nothing in an image.
    """
    a, b, c = np.moveaxis(corners, -1, 0)
    first, last = np.ceil(np.minimum(np.minimum(a, b), c) - 0.5), np.floor(np.maximum(np.maximum(a, b), c) - 0.5)
    first, last = (np.fmin(np.fmax(end, -_FAR), _FAR).astype(np.int32) for end in (first, last))
    return first.astype(np.int16), (last - first + 1).astype(np.uint16)


def _near(pixels: np.ndarray, first: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Places in (P, F) where the box of a face, (2, F) spans along x and y, holds the centre of a pixel, (P, 2)."""
    columns, rows = pixels.T.astype(np.int16)[..., None]
    # As unsigned numbers, differences below 0 are larger than any span.
    near = (columns - first[0]).view(np.uint16) < number[0]
    near &= (rows - first[1]).view(np.uint16) < number[1]
    return np.flatnonzero(near)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def keypoint_visibility(
    keypoints: np.ndarray, xy: np.ndarray, vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, size: int
) -> np.ndarray:
    """(..., 21) bool: in the image, and no surface more than VISIBLE_TOLERANCE_M in front of it at its pixel."""
    inside = np.asarray(((xy >= 0) & (xy < size)).all(-1))
    pixels = np.floor(np.where(inside[..., None], xy, 0))
    depth = depth_at_pixels(vertices.astype(np.float64), faces, K, pixels)
    return inside & (depth + VISIBLE_TOLERANCE_M >= keypoints[..., 2])


def annotate(
    recipes: Sequence[Recipe],
    hands: CameraHands,
    faces: np.ndarray,
    size: int,
    dataset: str,
    tips: str,
    ambient: np.ndarray,
    backgrounds: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Labels of a batch: the fields of core.sample.FIELDS as plain values, for each sample.

    Args:
        recipes: their decisions.
        hands: the same, posed.
        faces: (F, 3) the closed surface, cap included.
        size: side of the image [px].
        dataset: identity of the dataset.
        tips: name of the fingertip table.
        ambient: (B, 3) ambient light as rendered, linear RGB.
        backgrounds: what is known of each image behind a hand, see FIELDS.
    """
    vertices, keypoints, K = hands.vertices.astype(np.float64), hands.keypoints, np.round(hands.K, 6)
    xy = np.round(project(keypoints, K), 4)
    theta, trans = np.array([r.theta for r in recipes]).reshape(len(recipes), -1, 3), np.array([r.trans for r in recipes])
    theta[hands.is_left], trans[hands.is_left] = mirror_theta(theta[hands.is_left]), mirror_points(trans[hands.is_left])
    columns = {
        "K": K,
        "T_cam_world": np.round(hands.T_cam_world, 9),
        "theta": theta.reshape(len(recipes), -1) + 0.0,
        "trans": trans + 0.0,
        "keypoints_cam": np.round(keypoints, 6),
        "keypoints_xy": xy,
        "keypoints_visible": keypoint_visibility(keypoints, xy, vertices, faces, K, size).astype(int),
        "bbox_xyxy": np.round(projected_bounds(vertices, K), 4),
        "ambient_used": ambient,
    }
    same = {"schema": SCHEMA, "dataset": dataset, "image_size": size, "fingertip_table": tips}
    labels = []
    for recipe, background, *values in zip(recipes, backgrounds, *(column.tolist() for column in columns.values()), strict=True):
        own = {"index": recipe.index, "side": recipe.side, "beta": list(recipe.beta), "recipe": recipe.to_dict()}
        labels.append(same | own | {"background": background} | dict(zip(columns, values, strict=True)))
    return labels
