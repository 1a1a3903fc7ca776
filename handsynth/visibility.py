"""What stands in front of what, from geometry alone: surfaces behind pixels, visible keypoints, and how much of a hand is seen."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from handsynth.core.conventions import (
    ARM_PART,
    KEYPOINT_PARTS,
    OCCLUDER_GAP_M,
    OTHER_PARTS,
    READABLE_SCHEMAS,
    SCHEMA,
    VISIBLE_TOLERANCE_M,
)
from handsynth.core.hand import HandModel
from handsynth.scene.arm import make_arm
from handsynth.scene.lattice import Lattice, MixedLattice
from handsynth.scene.upper_arm import whole_faces


class Surface(Protocol):
    """Something that a hand wears or holds, or that is beside it, before the camera: closed, as far as anyone sees it."""

    @property
    def vertices(self) -> np.ndarray:
        """(V, 3) camera frame [m]; of a left hand mirrored."""

    @property
    def faces(self) -> np.ndarray:
        """(F, 3), wound as the hand's are."""

    @property
    def part(self) -> int:
        """Its value in the parts pass."""


Beside = Sequence[Sequence[Surface]]
"""What is beside each hand of a batch: what it wears and holds, other hands, and what hides it."""


class _Mixed(NamedTuple):
    """Surfaces beside the hands of a batch, all as one mesh."""

    vertices: np.ndarray  # (V, 3) camera frame [m]
    faces: np.ndarray  # (F, 3) of these
    image: np.ndarray  # (V,) the hand that each vertex is beside
    part: np.ndarray  # (F,) value in the parts pass


def _mixed(beside: Beside, part: int | None = None) -> _Mixed | None:
    """What is beside the hands of a batch, or what of it has that value in the parts pass; None for nothing."""
    found = [(row, surface) for row, every in enumerate(beside) for surface in every if part is None or surface.part == part]
    if not found:
        return None
    counts = [len(surface.vertices) for _, surface in found]
    starts = np.cumsum([0, *counts[:-1]], dtype=np.int32)
    faces = [surface.faces + start for (_, surface), start in zip(found, starts, strict=True)]
    return _Mixed(
        np.concatenate([surface.vertices for _, surface in found]).astype(np.float64),
        np.concatenate(faces),
        np.repeat([row for row, _ in found], counts),
        np.repeat([surface.part for _, surface in found], [len(surface.faces) for _, surface in found]),
    )


def beside_hand(model: HandModel, arm: np.ndarray | None, beside: Sequence[Surface] = ()) -> tuple[np.ndarray, np.ndarray]:
    """What stands beside a hand, as one mesh: the pass `scene`.

    Args:
        model: the hand.
        arm: (A, 3) its forearm, camera frame [m]; None for a bare wrist.
        beside: what else is beside it.

    Returns:
        (N, 3) float32 vertices [m]; and (F, 4) int32: three of them, and the value in the parts pass.
    """
    meshes = [] if arm is None else [(arm, _faces_of_arm(model), ARM_PART)]
    meshes += [(surface.vertices, surface.faces, surface.part) for surface in beside]
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
    shape, pixels = pixels.shape[:-1], pixels.reshape(-1, *pixels.shape[-2:])
    found = _candidates(vertices.reshape(len(pixels), -1, 3), faces, K.reshape(-1, 3, 3), pixels)
    depth, number = _front(found, pixels)
    return depth.reshape(shape), np.append(found.face, -1)[number].reshape(shape)


class _Candidates(NamedTuple):
    """N pairs of a face and a pixel before whose centre it may lie."""

    cell: np.ndarray  # (N,) of the pixels of all images, one after the other
    face: np.ndarray  # (N,) of its mesh
    corners: np.ndarray  # (3, 3, N) x and y [px], and depth [m], of the face's corners


def _front(found: _Candidates, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, P) depth [m] and number of the candidate that is nearest at the centres of (B, P, 2) pixels; infinity and -1 for none."""
    px, py = (pixels.reshape(-1, 2)[found.cell] + 0.5).T
    (ax, bx, cx), (ay, by, cy) = found.corners[0] - px, found.corners[1] - py
    # Areas of the triangles that the point makes with each edge: barycentric coordinates on the screen.
    areas = np.stack([bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx])
    total = areas.sum(0)
    a, b, c = areas * np.sign(total)
    inside = np.flatnonzero((a >= 0) & (b >= 0) & (c >= 0) & (total != 0))
    # 1/z is linear on the screen.
    inverse_depth = (np.take(areas, inside, 1) / total[inside] / np.take(found.corners[2], inside, 1)).sum(0)
    # The last one written stays: the nearest, and of two as near the first.
    order = np.lexsort((-inside, inverse_depth))
    cell, shape = found.cell[inside[order]], pixels.shape[:2]
    depth, front = np.full(shape[0] * shape[1], np.inf), np.full(shape[0] * shape[1], -1)
    depth[cell], front[cell] = 1 / inverse_depth[order], inside[order]
    return depth.reshape(shape), front.reshape(shape)


def _candidates(vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, pixels: np.ndarray) -> _Candidates:
    """Faces of (B, V, 3) vertices [m] and (B, P, 2) pixels: all whose bounds hold the pixel's centre, by image and face."""
    count = pixels.shape[1]
    points = np.ascontiguousarray(np.moveaxis(vertices, -1, 1))  # (B, 3, V): long rows are quick
    found = K @ points
    places = found[:, 0] / found[:, 2], found[:, 1] / found[:, 2], points[:, 2]
    ranks = np.empty((*places[0].shape, 4), _rank_kind(count))
    image = np.arange(len(pixels))[:, None]
    columns, rows = (_ranks(places[k], pixels[..., k], ranks[..., 2 * k : 2 * k + 2], image) for k in (0, 1))
    a, b, c = (np.take(ranks, corner, 1) for corner in faces.T)
    some, bounds = _bounds(np.minimum(np.minimum(a, b), c).reshape(-1, 4), count)
    image, face = np.divmod(some, len(faces))
    own, cell = _within(bounds, image, columns, rows)
    image, face = image[own], face[own]
    corners = np.take(faces, face, 0).T + image * vertices.shape[1]
    return _Candidates(cell, face, np.stack([np.take(at, corners) for at in places]))


def _mixed_candidates(mixed: _Mixed, K: np.ndarray, pixels: np.ndarray) -> _Candidates:
    """The same of several meshes of any faces, or none, beside each hand."""
    count = pixels.shape[1]
    points = np.ascontiguousarray(mixed.vertices.T)
    cameras = (np.take(row, mixed.image, 1) for row in np.ascontiguousarray(K[:, :2].transpose(1, 2, 0)))
    x, y = ((camera * points).sum(0) / points[2] for camera in cameras)
    ranks: np.ndarray = np.empty((len(x), 4), _rank_kind(count))
    columns, rows = (_ranks(at, pixels[..., k], ranks[..., 2 * k : 2 * k + 2], mixed.image) for k, at in enumerate((x, y)))
    a, b, c = (np.take(ranks, corner, 0) for corner in mixed.faces.T)
    face, bounds = _bounds(np.minimum(np.minimum(a, b), c), count)
    own, cell = _within(bounds, mixed.image[mixed.faces[face, 0]], columns, rows)
    face = face[own]
    corners = mixed.faces[face].T
    return _Candidates(cell, face, np.stack([np.take(at, corners) for at in (x, y, points[2])]))


def _rank_kind(count: int) -> type:
    return np.uint8 if count < 256 else np.int32  # of many faces, small numbers are quick


def _bounds(ranks: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(F, 4) of `_ranks` of faces, the least of their corners -> (N,) the faces whose bounds hold some of so many pixels, and
    (4, N) which, of those ordered by column and by row: first and last column, first and last row.
    """
    if ranks.dtype == np.uint8:  # the four as one word: sums of its pairs of bytes, and then a bit of each that is set at `count`
        words = np.ascontiguousarray(ranks).view(np.uint32)[:, 0]
        sums = (words & np.uint32(0x00FF00FF)) + (words >> np.uint32(8) & np.uint32(0x00FF00FF))
        sums += np.uint32((0x8000 - count) * 0x10001)
        some = np.flatnonzero((sums & np.uint32(0x80008000)) == 0)
    else:
        some = np.flatnonzero((ranks[:, 0] + ranks[:, 1] < count) & (ranks[:, 2] + ranks[:, 3] < count))
    left, right, top, bottom = np.take(ranks, some, 0).T.astype(np.intp)
    return some, np.stack([left, count - right, top, count - bottom])


def _within(bounds: np.ndarray, image: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of N faces, with `bounds` of `_bounds` and their images (N,), and pixels, with `columns` and `rows` (B, P) of `_ranks`:
    number of the face and cell of each.
    """
    left, right, first, last = bounds
    images, count = columns.shape
    # A row for each of these faces and each pixel on its rows, in the order of their rows.
    number = last - first
    own = np.repeat(np.arange(len(number)), number)
    place = np.arange(len(own)) + (first + count * image - np.cumsum(number) + number)[own]
    cell = (rows.argsort(1, kind="stable") + count * np.arange(images)[:, None]).ravel()[place]
    rank = columns.ravel()[cell]
    near = np.flatnonzero((left[own] <= rank) & (rank < right[own]))
    return own[near], cell[near]


_FAR = 1 << 14  # no image is so large [px]


def _ranks(places: np.ndarray, pixels: np.ndarray, ranks: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Where (...) positions along an axis [px], each of an `image` (as numpy broadcasts), are among (B, P) pixels along it, whole
    numbers.

    Writes to `ranks` (..., 2) how many of an image's pixels lie before each position, and how many do not lie behind it, from P
    downwards; what is not a number lies behind all. Returns (B, P) how many lie before each pixel.
    """
    pixels = np.clip(pixels, -_FAR, _FAR).astype(np.intp)
    least, most = int(pixels.min(initial=_FAR)), int(pixels.max(initial=-_FAR))
    own = pixels - least
    before = np.zeros((len(pixels), most - least + 2), np.intp)  # [b, r]: how many lie before least + r
    np.add.at(before, (np.arange(len(pixels))[:, None], own + 1), 1)
    before = before.cumsum(1)
    # Of place r, a whole number: how many lie before it, and how many not behind it, from r = -1 to the last but one past the end.
    most_r, table = most - least + 1, before.astype(ranks.dtype)
    lower, upper = table[:, np.r_[0, 0 : most_r + 1]], table.max(initial=0) - table[:, np.r_[0 : most_r + 1, most_r]]
    with np.errstate(invalid="ignore"):
        places = places - (0.5 + least)
        np.fmin(places, most_r, out=places)
        np.fmax(places, -1, out=places)
        floor = np.floor(places)
    cell = floor.astype(np.int32)
    cell += (lower.shape[1] * image + 1).astype(np.int32)
    ranks[..., 1] = np.take(upper, cell)
    cell += places > floor  # its ceiling
    ranks[..., 0] = np.take(lower, cell)
    return np.take_along_axis(before, own, 1)


_MAY_STAND_IN_FRONT = np.full((len(KEYPOINT_PARTS), max(OTHER_PARTS)), OCCLUDER_GAP_M)
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
    beside: Beside = (),
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
        beside: what is beside each hand, the dimensions before the last ones as one; nothing for hands that are bare.
    """
    inside = np.asarray(((xy >= 0) & (xy < size)).all(-1))
    pixels = np.floor(np.where(inside[..., None], xy, 0))
    shape, pixels, K = inside.shape, pixels.reshape(-1, *pixels.shape[-2:]), K.reshape(-1, 3, 3)
    faces, parts = (model.closed_faces, model.closed_parts) if arms is None else (model.faces, model.parts)
    meshes = [_candidates(vertices.reshape(len(pixels), -1, 3).astype(np.float64), faces, K, pixels)]
    part_of = [parts[meshes[0].face]]
    if arms is not None:
        meshes.append(_candidates(arms.reshape(len(pixels), -1, 3).astype(np.float64), _faces_of_arm(model), K, pixels))
        part_of.append(np.full(len(meshes[-1].face), ARM_PART - 1, parts.dtype))
    if (mixed := _mixed(beside)) is not None:
        meshes.append(_mixed_candidates(mixed, K, pixels))
        part_of.append(mixed.part[meshes[-1].face].astype(parts.dtype) - 1)
    depth, number = _front(_Candidates(*(np.concatenate(arrays, -1) for arrays in zip(*meshes, strict=True))), pixels)
    part = np.append(np.concatenate(part_of), 0)[number]
    return inside, clearance(keypoints[..., 2], depth.reshape(shape), part.reshape(shape), schema)


LATTICE = 64
"""Least number of rows and columns of the pixels at which `visible_share` looks."""


def visible_share(
    vertices: np.ndarray,
    arms: np.ndarray | None,
    model: HandModel,
    K: np.ndarray,
    is_left: np.ndarray,
    size: int,
    beside: Beside = (),
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
        beside: what is beside each hand, as of `keypoint_clearance`.

    Returns:
        (B,) share of the hand's silhouette within the image; 1 where none of it is.
    """
    whole, seen = seen_pixels(vertices, arms, model, K, is_left, size, beside, max(1, size // LATTICE))
    count = whole.sum((1, 2))
    return np.where(count > 0, seen.sum((1, 2)) / np.maximum(count, 1), 1.0)


def seen_pixels(
    vertices: np.ndarray,
    arms: np.ndarray | None,
    model: HandModel,
    K: np.ndarray,
    is_left: np.ndarray,
    size: int,
    beside: Beside = (),
    step: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """(B, N, N) bool: pixels on B hands, hidden or not; and those of them that forearms, and what is worn, leave to the camera.

    These are every `step`-th of every `step`-th row, from number step // 2 on; other arguments are those of `visible_share`.
    """
    # Closed by its cap, the hand shows its outside in front, which is half of its faces; the cap itself lies within the arm.
    hand = Lattice(vertices, model.closed_faces, K, size, step, is_left)
    whole = hand.covered()
    # Depths decide where something else is too, which is a small part of either.
    before, farthest = np.zeros(whole.shape, np.float32), vertices[..., 2].max(1)
    for other in _before_hand(arms, model, K, is_left, size, step, _mixed(beside)):
        np.maximum(before, other.front(whole, farthest), out=before)
    return whole, whole & ~(hand.front(before > 0) < before)


def covered_pixels(
    vertices: np.ndarray | None, arm: np.ndarray | None, model: HandModel, K: np.ndarray, size: int, worn: Sequence[Surface] = ()
) -> np.ndarray:
    """(N, N) bool: pixels on a hand, its forearm or what it wears or holds.

    Args:
        vertices: (V, 3) camera frame [m]; None where only the rest is there.
        arm: (A, 3) the same; None for a bare wrist.
        model: the hand.
        K: (3, 3) [px].
        size: N, the side of the image [px].
        worn: surfaces.
    """
    meshes = [] if vertices is None else [(vertices, model.closed_faces)]
    meshes += [] if arm is None else [(arm, _faces_of_arm(model))]
    meshes += [(surface.vertices, surface.faces) for surface in worn]
    found = np.zeros((size, size), bool)
    for points, faces in meshes:
        found |= Lattice(points[None].astype(np.float64), faces, K[None], size, 1).front()[0] > 0
    return found


def fronts(
    vertices: np.ndarray,
    arms: np.ndarray | None,
    model: HandModel,
    K: np.ndarray,
    is_left: np.ndarray,
    size: int,
    beside: Beside = (),
) -> dict[int, np.ndarray]:
    """(B, H, W) inverse depths [1/m] at every pixel of hands (key 0) and of each of OTHER_PARTS, each alone; 0 = nothing.

    Hands with a forearm have no cap. Arguments are those of `visible_share`.
    """
    # Of the forearm, which the hand closes, what is in front is its outside; through its open wrist, the hand shows its inside.
    faces = model.faces if arms is not None else model.closed_faces
    hand = Lattice(vertices, faces, K, size, 1).front()
    found = {part: np.zeros_like(hand) for part in OTHER_PARTS}
    for other in _before_hand(arms, model, K, is_left, size, 1):
        found[ARM_PART] = other.front()
    for part in OTHER_PARTS:
        for other in _before_hand(None, model, K, is_left, size, 1, _mixed(beside, part)):
            found[part] = np.maximum(found[part], other.front())
    return {0: hand} | found


def _before_hand(
    arms: np.ndarray | None,
    model: HandModel,
    K: np.ndarray,
    is_left: np.ndarray,
    size: int,
    step: int,
    mixed: _Mixed | None = None,
) -> Iterator[Lattice | MixedLattice]:
    """Forearms, and what is beside the hands, on a lattice."""
    if arms is not None:
        yield Lattice(arms, _faces_of_arm(model), K, size, step, is_left)
    if mixed is not None:
        yield MixedLattice(mixed.vertices, mixed.faces, mixed.image, K, size, step, is_left)


def _faces_of_arm(model: HandModel) -> np.ndarray:
    """(F, 3) of forearm and upper arm of a hand that has them."""
    arm = make_arm(model)
    assert arm is not None  # it was posed
    return whole_faces(arm)
