"""Stage 5, annotate: labels from geometry alone, never from rendered pixels, so that they are equal on every machine."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from handsynth.core.camera import project, projected_bounds
from handsynth.core.conventions import JOINT_NAMES, KEYPOINT_PARTS, OCCLUDER_GAP_M, READABLE_SCHEMAS, SCHEMA, VISIBLE_TOLERANCE_M
from handsynth.core.hand import HandModel
from handsynth.core.mirror import mirror_points, mirror_theta
from handsynth.recipe.recipe import Recipe
from handsynth.scene.pose import CameraHands


def front_at_pixels(vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest surface behind the centres of some pixels: what depth and parts images hold there.

    Args:
        vertices: (..., V, 3) camera frame [m].
        faces: (F, 3), of a closed surface.
        K: (..., 3, 3) [px].
        pixels: (..., P, 2) column and row, whole numbers.

    Returns:
        (..., P) depth along the axis [m], infinity where the pixel shows background, and (..., P) the face, there -1.
    """
    shape, count = pixels.shape[:-1], pixels.shape[-2]
    pixels = pixels.reshape(-1, count, 2)
    points = np.ascontiguousarray(np.moveaxis(vertices.reshape(len(pixels), -1, 3), -1, 1))  # (B, 3, V): long rows are quick
    xy, z = K.reshape(-1, 3, 3) @ points, points[:, 2]
    xy = xy[:, :2] / xy[:, 2:]
    hand, point, face = _candidates(xy, faces, pixels)
    a, b, c = xy[hand, :, faces[face].T]
    p = pixels[hand, point] + 0.5
    # Areas of the triangles that the point makes with each edge: barycentric coordinates on the screen.
    areas = np.stack([_cross(c - b, p - b), _cross(a - c, p - c), _cross(b - a, p - a)], 1)
    total = areas.sum(1)
    inside = np.logical_and((areas * np.sign(total)[:, None]).min(1, initial=np.inf) >= 0, total != 0)
    hand, point, face, areas, total = (values[inside] for values in (hand, point, face, areas, total))
    inverse_depth = (areas / total[:, None] / z[hand[:, None], faces[face]]).sum(1)  # 1/z is linear on the screen
    # The last one written stays: the nearest, and of two as near the one of the lower number.
    order = np.lexsort((-face, inverse_depth))
    cell = (hand * count + point)[order]
    depth, front = np.full(len(pixels) * count, np.inf), np.full(len(pixels) * count, -1)
    depth[cell], front[cell] = 1 / inverse_depth[order], face[order]
    return depth.reshape(shape), front.reshape(shape)


_FAR = 1 << 14  # no image is so large [px]


def _candidates(xy: np.ndarray, faces: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(B, 2, V) [px], (F, 3), (B, P, 2) -> rows of hand, pixel and face: all whose bounds hold the pixel's centre, and no others.

    The rows that a face spans are looked up in a table of how many of the hand's pixels lie above each row: few faces have any.
    """
    columns, rows = np.moveaxis(np.clip(pixels, -_FAR, _FAR).astype(np.int32), -1, 0)
    order = rows.argsort(1, kind="stable")
    least, most = int(rows.min(initial=_FAR)), int(rows.max(initial=-_FAR))
    above = np.zeros((len(xy), most - least + 2), np.int32)  # [h, r]: how many pixels of hand h lie above row least + r
    np.add.at(above, (np.arange(len(xy))[:, None], rows - least + 1), 1)
    above = above.cumsum(1, dtype=np.int32) + np.int32(pixels.shape[1]) * np.arange(len(xy), dtype=np.int32)[:, None]
    (left, right), (top, bottom) = (_spans(xy[:, axis], faces) for axis in (0, 1))
    start, stop = (np.take_along_axis(above, np.clip(row - least, 0, most - least + 1), 1).ravel() for row in (top, bottom + 1))
    some = np.flatnonzero(stop > start)
    number = (stop - start)[some]
    # A row for each of these faces and each pixel on its rows; pixels count through all hands, in order of their rows.
    row = np.repeat(np.arange(len(some)), number)
    pixel = np.arange(len(row)) + (start[some] - np.cumsum(number) + number)[row]
    column = np.take_along_axis(columns, order, 1).ravel()[pixel]
    near = np.flatnonzero((left.ravel()[some][row] <= column) & (column <= right.ravel()[some][row]))
    hand, face = np.divmod(some[row[near]], len(faces))
    return hand, order.ravel()[pixel[near]], face


def _spans(places: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, V) positions along an axis [px], (F, 3) -> (B, F) first and last pixel whose centre each face spans, int32.

    What is not a number spans nothing in an image.
    """
    with np.errstate(invalid="ignore"):
        places = np.fmax(np.fmin(places - 0.5, _FAR), -_FAR)
    first, last = np.ceil(places).astype(np.int32), np.floor(places).astype(np.int32)
    a, b, c = faces.T
    first = np.minimum(np.minimum(np.take(first, a, 1), np.take(first, b, 1)), np.take(first, c, 1))
    return first, np.maximum(np.maximum(np.take(last, a, 1), np.take(last, b, 1)), np.take(last, c, 1))


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


_MAY_STAND_IN_FRONT = np.full((len(KEYPOINT_PARTS), len(JOINT_NAMES)), OCCLUDER_GAP_M)
"""[k, p]: how far a surface of part p may lie in front of keypoint k without hiding it [m]."""
for _keypoint, _parts in enumerate(KEYPOINT_PARTS):
    _MAY_STAND_IN_FRONT[_keypoint, _parts] = VISIBLE_TOLERANCE_M


def clearance(keypoints_z: np.ndarray, depth: np.ndarray, part: np.ndarray, schema: str = SCHEMA) -> np.ndarray:
    """How much nearer the surface in front of each keypoint could come before it hides the keypoint; negative where it does.

    Args:
        keypoints_z: (..., 21) depths of the keypoints [m].
        depth: (..., 21) depth of the nearest surface at their pixels [m], infinity for background.
        part: (..., 21) joint that moves that surface most; any for background.
        schema: of the labels: the first one took VISIBLE_TOLERANCE_M whatever the part.

    Returns:
        (..., 21) [m].
    """
    if schema == READABLE_SCHEMAS[0]:
        return depth + VISIBLE_TOLERANCE_M - keypoints_z
    return depth + _MAY_STAND_IN_FRONT[np.arange(len(KEYPOINT_PARTS)), part] - keypoints_z


def keypoint_clearance(
    keypoints: np.ndarray, xy: np.ndarray, vertices: np.ndarray, model: HandModel, K: np.ndarray, size: int, schema: str = SCHEMA
) -> tuple[np.ndarray, np.ndarray]:
    """(..., 21) bool, in the image; and (..., 21) `clearance` [m] before the hand's surface. Visible: in the image, and >= 0.

    Args:
        keypoints: (..., 21, 3) camera frame [m].
        xy: (..., 21, 2) their projections [px].
        vertices: (..., V, 3) camera frame [m].
        model: the hand that they are of.
        K: (..., 3, 3) [px].
        size: side of the image [px].
        schema: as of `clearance`.
    """
    inside = np.asarray(((xy >= 0) & (xy < size)).all(-1))
    pixels = np.floor(np.where(inside[..., None], xy, 0))
    depth, face = front_at_pixels(vertices.astype(np.float64), model.closed_faces, K, pixels)
    return inside, clearance(keypoints[..., 2], depth, model.closed_parts[face], schema)


def annotate(
    recipes: Sequence[Recipe],
    hands: CameraHands,
    model: HandModel,
    size: int,
    dataset: str,
    ambient: np.ndarray,
    backgrounds: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Labels of a batch: the fields of core.sample.FIELDS as plain values, for each sample.

    Args:
        recipes: their decisions.
        hands: the same, posed.
        model: the hand that was posed.
        size: side of the image [px].
        dataset: identity of the dataset.
        ambient: (B, 3) ambient light as rendered, linear RGB.
        backgrounds: what is known of each image behind a hand, see FIELDS.
    """
    vertices, keypoints, K = hands.vertices.astype(np.float64), hands.keypoints, np.round(hands.K, 6)
    xy = np.round(project(keypoints, K), 4)
    inside, clear = keypoint_clearance(keypoints, xy, vertices, model, K, size)
    theta, trans = np.array([r.theta for r in recipes]).reshape(len(recipes), -1, 3), np.array([r.trans for r in recipes])
    theta[hands.is_left], trans[hands.is_left] = mirror_theta(theta[hands.is_left]), mirror_points(trans[hands.is_left])
    columns = {
        "K": K,
        "T_cam_world": np.round(hands.T_cam_world, 9),
        "theta": theta.reshape(len(recipes), -1) + 0.0,
        "trans": trans + 0.0,
        "keypoints_cam": np.round(keypoints, 6),
        "keypoints_xy": xy,
        "keypoints_visible": (inside & (clear >= 0)).astype(int),
        "bbox_xyxy": np.round(projected_bounds(vertices, K), 4),
        "ambient_used": ambient,
    }
    same = {"schema": SCHEMA, "dataset": dataset, "image_size": size, "fingertip_table": model.fingertip_table}
    labels = []
    for recipe, background, *values in zip(recipes, backgrounds, *(column.tolist() for column in columns.values()), strict=True):
        own = {"index": recipe.index, "side": recipe.side, "beta": list(recipe.beta), "recipe": recipe.to_dict()}
        labels.append(same | own | {"background": background} | dict(zip(columns, values, strict=True)))
    return labels
