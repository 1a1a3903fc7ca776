"""What stands in front of what, from geometry alone: surfaces behind pixels, visible keypoints, and how much of a hand is seen."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from handsynth.core.conventions import (
    ARM_PART,
    CLOTHING_PART,
    KEYPOINT_PARTS,
    OCCLUDER_GAP_M,
    READABLE_SCHEMAS,
    SCHEMA,
    VISIBLE_TOLERANCE_M,
)
from handsynth.core.hand import HandModel
from handsynth.scene.arm import make_arm
from handsynth.scene.lattice import Lattice
from handsynth.scene.upper_arm import whole_faces


class Surface(Protocol):
    """Something that a hand or its forearm wears, before the camera: closed, as far as anyone sees it."""

    @property
    def vertices(self) -> np.ndarray:
        """(V, 3) camera frame [m]; of a left hand mirrored."""

    @property
    def faces(self) -> np.ndarray:
        """(F, 3), wound as the hand's are. One array for all of a kind: those are then looked at together."""


Worn = Sequence[Sequence[Surface]]
"""What each hand of a batch wears."""


def _alike(worn: Worn) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(N,) rows, (N, V, 3) vertices and the faces of those surfaces of a batch that share them; a row may come more than once."""
    kinds: dict[int, tuple[np.ndarray, list[tuple[int, np.ndarray]]]] = {}
    for row, surfaces in enumerate(worn):
        for surface in surfaces:
            faces = surface.faces
            kinds.setdefault(id(faces), (faces, []))[1].append((row, surface.vertices))
    for faces, found in kinds.values():
        rows, vertices = zip(*found, strict=True)
        yield np.array(rows), np.array(vertices, np.float64), faces


def beside_hand(model: HandModel, arm: np.ndarray | None, worn: Sequence[Surface] = ()) -> tuple[np.ndarray, np.ndarray]:
    """What stands beside a hand, as one mesh: the pass `scene`.

    Args:
        model: the hand.
        arm: (A, 3) its forearm, camera frame [m]; None for a bare wrist.
        worn: what it wears.

    Returns:
        (N, 3) float32 vertices [m]; and (F, 4) int32: three of them, and the value in the parts pass.
    """
    meshes = [] if arm is None else [(arm, _faces_of_arm(model), ARM_PART)]
    meshes += [(surface.vertices, surface.faces, CLOTHING_PART) for surface in worn]
    vertices, faces, start = [np.zeros((0, 3), np.float32)], [np.zeros((0, 4), np.int32)], 0
    for points, corners, part in meshes:
        vertices.append(points.astype(np.float32))
        faces.append(np.concatenate([corners + start, np.full((len(corners), 1), part)], 1).astype(np.int32))
        start += len(points)
    return np.concatenate(vertices), np.concatenate(faces)


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
    shape = pixels.shape[:-1]
    pixels = pixels.reshape(-1, *pixels.shape[-2:])
    mesh = _near_faces(vertices.reshape(len(pixels), -1, 3), faces, K.reshape(-1, 3, 3), pixels)
    depth, triangle = _front(mesh, pixels)
    face = np.append(mesh.face, -1)[triangle]
    return depth.reshape(shape), face.reshape(shape)


_FAR = 1 << 14  # no image is so large [px]


class _Triangles(NamedTuple):
    """T triangles before the cameras of a batch, some of each image; N vertices."""

    points: np.ndarray  # (3, N) places in the image [px], and depths [m]
    corners: np.ndarray  # (3, T) of `points`
    image: np.ndarray  # (T,)
    face: np.ndarray  # (T,) of its mesh


def _near_faces(
    vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, pixels: np.ndarray, deepest: np.ndarray | None = None
) -> _Triangles:
    """Faces of (B, V, 3) vertices [m] that do not lie wholly on one side of all (B, P, 2) pixels, or beyond depths (B,) [m]."""
    points = np.ascontiguousarray(np.moveaxis(vertices, -1, 1))  # (B, 3, V): long rows are quick
    found = K @ points
    found[:, :2] /= found[:, 2:].copy()
    found[:, 2] = points[:, 2]
    x, y, z = found[:, 0], found[:, 1], found[:, 2]
    (left, top), (right, bottom) = (((limit + 0.5).T)[..., None] for limit in (pixels.min(1), pixels.max(1)))
    beside = (x < left) | ((x > right).view(np.uint8) << 1) | ((y < top).view(np.uint8) << 2) | ((y > bottom).view(np.uint8) << 3)
    if deepest is not None:
        beside |= (z > deepest[:, None]).view(np.uint8) << 4
    a, b, c = (np.take(beside, column, 1) for column in faces.T)
    image, face = np.divmod(np.flatnonzero((a & b & c) == 0), len(faces))
    return _Triangles(np.moveaxis(found, 1, 0).reshape(3, -1), faces.T[:, face] + image * vertices.shape[1], image, face)


def _joined(meshes: Sequence[_Triangles]) -> _Triangles:
    """Several as one, in their order."""
    starts = np.cumsum([0, *(mesh.points.shape[1] for mesh in meshes)])[:-1]
    corners = [mesh.corners + start for mesh, start in zip(meshes, starts, strict=True)]
    points, image, face = ([mesh[k] for mesh in meshes] for k in (0, 2, 3))
    return _Triangles(np.concatenate(points, 1), np.concatenate(corners, 1), np.concatenate(image), np.concatenate(face))


def _front(mesh: _Triangles, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, P) depth [m] and number of the nearest triangle at the centres of (B, P, 2) pixels; infinity and -1 for none."""
    count, (x, y, z) = pixels.shape[1], mesh.points
    triangle, cell = _candidates(mesh, pixels)
    corners = mesh.corners[:, triangle]
    p, q = (pixels.reshape(-1, 2)[cell] + 0.5).T
    (ax, bx, cx), (ay, by, cy) = x[corners] - p, y[corners] - q
    # Areas of the triangles that the point makes with each edge: barycentric coordinates on the screen.
    areas = np.stack([bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx])
    total = areas.sum(0)
    inside = np.flatnonzero(np.logical_and((areas * np.sign(total)).min(0, initial=np.inf) >= 0, total != 0))
    triangle, cell = triangle[inside], cell[inside]
    inverse_depth = (areas[:, inside] / total[inside] / z[corners[:, inside]]).sum(0)  # 1/z is linear on the screen
    # The last one written stays: the nearest, and of two as near the one of the lower number.
    order = np.lexsort((-triangle, inverse_depth))
    depth, front = np.full(len(pixels) * count, np.inf), np.full(len(pixels) * count, -1)
    depth[cell[order]], front[cell[order]] = 1 / inverse_depth[order], triangle[order]
    return depth.reshape(-1, count), front.reshape(-1, count)


def _candidates(mesh: _Triangles, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of triangles and of (B, P, 2) pixels: all whose bounds hold the pixel's centre, and no others.

    The rows that a triangle spans are looked up in a table of how many of its image's pixels lie above each row: few have any.
    """
    images, count = pixels.shape[:2]
    columns, rows = np.moveaxis(np.clip(pixels, -_FAR, _FAR).astype(np.int32), -1, 0)
    order = rows.argsort(1, kind="stable")
    least, most = int(rows.min(initial=_FAR)), int(rows.max(initial=-_FAR))
    above = np.zeros((images, most - least + 2), np.int32)  # [h, r]: how many pixels of image h lie above row least + r
    np.add.at(above, (np.arange(images)[:, None], rows - least + 1), 1)
    above = above.cumsum(1, dtype=np.int32) + np.int32(count) * np.arange(images, dtype=np.int32)[:, None]
    top, bottom = _span(mesh.points[1], mesh.corners)
    start, stop = (above[mesh.image, np.clip(row - least, 0, most - least + 1)] for row in (top, bottom + 1))
    some = np.flatnonzero(stop > start)
    number = (stop - start)[some]
    # A row for each of these triangles and each pixel on its rows; pixels count through all images, in order of their rows.
    row = np.repeat(np.arange(len(some)), number)
    pixel = np.arange(len(row)) + (start[some] - np.cumsum(number) + number)[row]
    column = np.take_along_axis(columns, order, 1).ravel()[pixel]
    left, right = _span(mesh.points[0], mesh.corners[:, some])
    near = np.flatnonzero((left[row] <= column) & (column <= right[row]))
    return some[row[near]], (order + count * np.arange(images)[:, None]).ravel()[pixel[near]]


def _span(places: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) positions along an axis [px], (3, T) -> (T,) first and last pixel whose centre each triangle spans, int32.

    What is not a number spans nothing in an image.
    """
    with np.errstate(invalid="ignore"):
        a, b, c = np.take(np.fmax(np.fmin(places - 0.5, _FAR), -_FAR), corners)
    first, last = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    return np.ceil(first).astype(np.int32), np.floor(last).astype(np.int32)


_MAY_STAND_IN_FRONT = np.full((len(KEYPOINT_PARTS), CLOTHING_PART), OCCLUDER_GAP_M)
"""[k, p]: how far a surface of part p may lie in front of keypoint k without hiding it [m]."""
for _keypoint, _parts in enumerate(KEYPOINT_PARTS):
    _MAY_STAND_IN_FRONT[_keypoint, _parts] = VISIBLE_TOLERANCE_M


def clearance(keypoints_z: np.ndarray, depth: np.ndarray, part: np.ndarray, schema: str = SCHEMA) -> np.ndarray:
    """How much nearer the surface in front of each keypoint could come before it hides the keypoint; negative where it does.

    Args:
        keypoints_z: (..., 21) depths of the keypoints [m].
        depth: (..., 21) depth of the nearest surface at their pixels [m], infinity for background.
        part: (..., 21) joint that moves that surface most, for forearm and clothing their part less one; any for background.
        schema: of the labels: the first one took VISIBLE_TOLERANCE_M whatever the part.

    Returns:
        (..., 21) [m].
    """
    if schema == READABLE_SCHEMAS[0]:
        return depth + VISIBLE_TOLERANCE_M - keypoints_z
    return depth + _MAY_STAND_IN_FRONT[np.arange(len(KEYPOINT_PARTS)), part] - keypoints_z


def keypoint_clearance(
    keypoints: np.ndarray,
    xy: np.ndarray,
    vertices: np.ndarray,
    model: HandModel,
    K: np.ndarray,
    size: int,
    schema: str = SCHEMA,
    arms: np.ndarray | None = None,
    worn: Worn = (),
) -> tuple[np.ndarray, np.ndarray]:
    """(..., 21) bool, in the image; and (..., 21) `clearance` [m] before hand, arm and clothing. Visible: in the image, and >= 0.

    Args:
        keypoints: (..., 21, 3) camera frame [m].
        xy: (..., 21, 2) their projections [px].
        vertices: (..., V, 3) camera frame [m].
        model: the hand that they are of.
        K: (..., 3, 3) [px].
        size: side of the image [px].
        schema: as of `clearance`.
        arms: (..., A, 3) vertices of the forearms [m]; None for bare wrists, which are closed.
        worn: what each hand wears, the dimensions before the last ones as one; nothing for hands that are bare.
    """
    inside = np.asarray(((xy >= 0) & (xy < size)).all(-1))
    pixels = np.floor(np.where(inside[..., None], xy, 0))
    shape, pixels, K = inside.shape, pixels.reshape(-1, *pixels.shape[-2:]), K.reshape(-1, 3, 3)
    depths = keypoints[..., 2].reshape(len(pixels), -1)
    faces, parts = (model.closed_faces, model.closed_parts) if arms is None else (model.faces, model.parts)
    meshes = [_near_faces(vertices.reshape(len(pixels), -1, 3).astype(np.float64), faces, K, pixels)]
    found = [parts[meshes[0].face]]
    # What lies behind all keypoints hides none.
    others = [] if arms is None else [(np.arange(len(pixels)), arms.reshape(len(pixels), -1, 3), _faces_of_arm(model), ARM_PART)]
    others += [(rows, surfaces, faces, CLOTHING_PART) for rows, surfaces, faces in _alike(worn)]
    for rows, surfaces, faces, part in others:
        near = _near_faces(surfaces.astype(np.float64), faces, K[rows], pixels[rows], depths[rows].max(1))
        meshes.append(near._replace(image=rows[near.image]))
        found.append(np.full(len(near.face), part - 1, np.int32))
    depth, triangle = _front(_joined(meshes) if others else meshes[0], pixels)
    part_of = np.append(np.concatenate(found), 0)[triangle]
    return inside, clearance(keypoints[..., 2], depth.reshape(shape), part_of.reshape(shape), schema)


LATTICE = 64
"""Least number of rows and columns of the pixels at which `visible_share` looks."""


def visible_share(
    vertices: np.ndarray,
    arms: np.ndarray | None,
    model: HandModel,
    K: np.ndarray,
    is_left: np.ndarray,
    size: int,
    worn: Worn = (),
) -> np.ndarray:
    """How much of each hand its forearm, and what it wears, leave to the camera.

    Counted at the centres of every k-th pixel of every k-th row, k = size // LATTICE but at least 1, from row and column k // 2 on.
    It differs from what all pixels give by 0.002 (standard deviation; by 0.008 at most on 288 samples of `default`).

    Args:
        vertices: (B, V, 3) camera frame [m].
        arms: (B, A, 3) the same; None for bare wrists.
        model: the hand.
        K: (B, 3, 3) [px].
        is_left: (B,) bool.
        size: side of the image [px].
        worn: what each hand wears, as of `keypoint_clearance`.

    Returns:
        (B,) share of the hand's silhouette within the image; 1 where none of it is.
    """
    step = max(1, size // LATTICE)
    # Closed by its cap, the hand shows its outside in front, which is half of its faces; the cap itself lies within the arm.
    hand = Lattice(vertices, model.closed_faces, K, size, step, is_left)
    whole = hand.covered()
    # Depths decide where something else is too, which is a small part of either.
    before = np.zeros(whole.shape, np.float32)
    for _, rows, other in _before_hand(arms, model, K, is_left, size, worn, step):
        for row, near in zip(rows, other.front(whole[rows]), strict=True):
            np.maximum(before[row], near, out=before[row])
    hidden, count = (hand.front(before > 0) < before).sum((1, 2)), whole.sum((1, 2))
    return np.where(count > 0, (count - hidden) / np.maximum(count, 1), 1.0)


def fronts(
    vertices: np.ndarray,
    arms: np.ndarray | None,
    model: HandModel,
    K: np.ndarray,
    is_left: np.ndarray,
    size: int,
    worn: Worn = (),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(B, H, W) inverse depths [1/m] at every pixel of hands, forearms and clothing, each alone; 0 = nothing.

    Hands with a forearm have no cap. Arguments are those of `visible_share`.
    """
    # Of the forearm, which the hand closes, what is in front is its outside; through its open wrist, the hand shows its inside.
    faces = model.faces if arms is not None else model.closed_faces
    hand = Lattice(vertices, faces, K, size, 1).front()
    found = {ARM_PART: np.zeros_like(hand), CLOTHING_PART: np.zeros_like(hand)}
    for part, rows, other in _before_hand(arms, model, K, is_left, size, worn, 1):
        for row, near in zip(rows, other.front(), strict=True):
            np.maximum(found[part][row], near, out=found[part][row])
    return hand, found[ARM_PART], found[CLOTHING_PART]


def _before_hand(
    arms: np.ndarray | None, model: HandModel, K: np.ndarray, is_left: np.ndarray, size: int, worn: Worn, step: int
) -> Iterator[tuple[int, np.ndarray, Lattice]]:
    """Forearms and what is worn, on a lattice: value in the parts pass, the hands that have it, and it."""
    if arms is not None:
        yield ARM_PART, np.arange(len(arms)), Lattice(arms, _faces_of_arm(model), K, size, step, is_left)
    for rows, surfaces, faces in _alike(worn):
        yield CLOTHING_PART, rows, Lattice(surfaces, faces, K[rows], size, step, is_left[rows])


def _faces_of_arm(model: HandModel) -> np.ndarray:
    """(F, 3) of forearm and upper arm of a hand that has them."""
    arm = make_arm(model)
    assert arm is not None  # it was posed
    return whole_faces(arm)
