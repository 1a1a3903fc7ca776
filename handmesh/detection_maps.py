"""What a detector's maps mean: hands of an image to maps of numbers (for training), and maps to hands (for use); numpy alone.

A cell of a map stands for 8 x 8 pixels, and says of the hand whose middle it is near (Zhou et al. 2019, Liu et al. 2020): how
surely it is the middle, whether the hand is a left one, how far the box's sides are from the cell's centre, where the hand points.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

CHANNELS = ("middle", "left hand", "left", "top", "right", "bottom", "x", "y")
"""Logits of the first two; logarithms of distances from the cell's centre, in cells; direction from wrist to middle knuckle."""

STRIDE, MULTIPLE = 8, 32
"""Pixels of a cell's side; sides of images that a detector takes are multiples of the second."""

GREY = 114
"""Level of what lies beyond an image that has not the detector's shape."""

SMALLEST_PX = 12
"""Longer side of the smallest hands that a detector learns to find: one and a half cells."""

SPREAD, SPREAD_PX = 0.09, 1.5
"""Standard deviation of a middle's bump along each side of a box: share of that side, and pixels more."""

NEAR = 0.3
"""Height of the bump from which on cells learn the box, side and direction."""

SIDE_PX = 128
"""Side of the upright crops of hands, from which left and right are told: at 64 px nails and creases hardly show."""

LONGEST_LOG = 4.5
"""No distance is longer than the exponential of this, in cells."""


class Maps(NamedTuple):
    """What the maps of an image should say. h x w cells, float32."""

    middle: np.ndarray  # (h, w) in [0, 1], 1 at the cell that holds a hand's middle
    counts: np.ndarray  # (h, w) 1, or 0 where it does not matter what is found
    share: np.ndarray  # (h, w) weight of the cell for what follows: each hand's cells have 1 together
    left: np.ndarray  # (h, w) 1 for left hands
    box: np.ndarray  # (4, h, w) x0, y0, x1, y1 [px]
    direction: np.ndarray  # (2, h, w) from wrist to middle knuckle, a unit vector; shorter where it is seen from its end


def encode(boxes: np.ndarray, left: np.ndarray, directions: np.ndarray, ignored: np.ndarray, height: int, width: int) -> Maps:
    """Hands of an image as maps.

    Args:
        boxes: (N, 4) x0, y0, x1, y1 within the image [px].
        left: (N,) bool.
        directions: (N, 2), of length 0 to 1.
        ignored: (M, 4) boxes of what is neither a hand to find nor anything else.
        height: of the image [px].
        width: of the image [px].
    """
    h, w = height // STRIDE, width // STRIDE
    middle, counts, share = np.zeros((h, w), np.float32), np.ones((h, w), np.float32), np.zeros((h, w), np.float32)
    owner = np.zeros((h, w), np.int64)
    for x0, y0, x1, y1 in ignored / STRIDE:
        counts[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = 0
    rows, columns = np.arange(h)[:, None], np.arange(w)
    for k, (x0, y0, x1, y1) in enumerate(boxes / STRIDE):
        column, row = min(int((x0 + x1) / 2), w - 1), min(int((y0 + y1) / 2), h - 1)
        sigma_x, sigma_y = (SPREAD * side + SPREAD_PX / STRIDE for side in (x1 - x0, y1 - y0))
        bump = np.exp(-0.5 * (((columns - column) / sigma_x) ** 2 + ((rows - row) / sigma_y) ** 2)).astype(np.float32)
        owns = (bump > middle) & (bump >= NEAR)
        owner[owns], share[owns] = k, bump[owns]
        middle = np.maximum(middle, bump)
    for k in range(len(boxes)):
        mine = (owner == k) & (share > 0)
        share[mine] /= max(float(share[mine].sum()), 1e-6)
    counts[middle >= NEAR] = 1
    if not len(boxes):
        return Maps(middle, counts, share, middle * 0, np.zeros((4, h, w), np.float32), np.zeros((2, h, w), np.float32))
    box, direction = (values[owner].transpose(2, 0, 1).astype(np.float32) for values in (boxes, directions))
    return Maps(middle, counts, share, left[owner].astype(np.float32), box, direction)


class Found(NamedTuple):
    """Hands of an image, the surest first. N hands."""

    boxes: np.ndarray  # (N, 4) x0, y0, x1, y1 [px]
    scores: np.ndarray  # (N,) in [0, 1]
    left: np.ndarray  # (N,) how surely it is a left hand, in [0, 1]
    angles: np.ndarray  # (N,) from upright to the direction from wrist to middle knuckle, clockwise [rad]


def decode(maps: np.ndarray, least: float, most: int, overlap: float) -> Found:
    """(8, h, w) maps -> the hands that they show.

    Args:
        maps: as of `CHANNELS`.
        least: score of a hand.
        most: hands.
        overlap: intersection over union of two boxes, from which on only the surer is a hand.
    """
    middle = maps[0]
    peaks = (middle >= cv2.dilate(middle, np.ones((3, 3)))) & (middle >= np.log(least / (1 - least)))
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-middle[rows, columns], kind="stable")[: 4 * most]
    rows, columns = rows[order], columns[order]
    _, left, *distances, x, y = maps[:, rows, columns].astype(np.float64)
    to_left, to_top, to_right, to_bottom = STRIDE * np.exp(np.clip(distances, -LONGEST_LOG, LONGEST_LOG))
    centre_x, centre_y = STRIDE * (columns + 0.5), STRIDE * (rows + 0.5)
    boxes = np.stack([centre_x - to_left, centre_y - to_top, centre_x + to_right, centre_y + to_bottom], 1)
    kept = suppress(boxes, overlap)[:most]
    rows, columns = rows[kept], columns[kept]
    return Found(boxes[kept], sigmoid(middle[rows, columns].astype(np.float64)), sigmoid(left[kept]), np.arctan2(x, -y)[kept])


MapsNet = Callable[[np.ndarray], np.ndarray]
"""(H, W, 3) uint8 sRGB, sides multiples of 32 -> (8, H/8, W/8) maps."""

LARGEST_PX = 90
"""Longer side of the largest hands that are believed in the first look; larger ones are found in that at half the size."""

PART = 0.85
"""Share of a box that lies within a surer one's, from which on it is a part of that hand."""


def find_hands(net: MapsNet, image: np.ndarray, side: int, least: float, most: int = 20, overlap: float = 0.5) -> Found:
    """The hands of an image, from two looks: at `side` pixels of its longer side, and at half of that, for large hands.

    Args:
        net: gives maps of an image.
        image: (H, W, 3) uint8, sRGB.
        side: [px].
        least: score of a hand.
        most: hands.
        overlap: as of `decode`.

    Returns:
        Boxes in pixels of the image, within it.
    """
    looks = []
    for longest in (side, side // 2):
        fit, scale = fitted(image, longest)
        found = decode(net(fit), least, most, overlap)
        boxes = np.clip(found.boxes, 0, np.tile(image.shape[1::-1] / scale, 2))
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = (sides > 0).all(1) & ((sides.max(1, initial=0) <= LARGEST_PX) | (longest != side))
        looks.append([boxes[kept] * np.tile(scale, 2), *(part[kept] for part in found[1:])])
    boxes, scores, left, angles = (np.concatenate(parts) for parts in zip(*looks, strict=True))
    order = np.argsort(-scores, kind="stable")
    order = order[suppress(boxes[order], overlap, PART)][:most]
    return Found(boxes[order], scores[order], left[order], angles[order])


def suppress(boxes: np.ndarray, overlap: float, part: float = 2.0) -> list[int]:
    """Numbers of the (N, 4) boxes, the surest first, that overlap none before them by so much (intersection over union).

    Nor lie within one before them with so large a share.
    """
    kept: list[int] = []
    for k in range(len(boxes)):
        if kept:
            shared = intersections(boxes[k], boxes[kept]).max()
            if shared >= part * max(float((boxes[k, 2:] - boxes[k, :2]).prod()), 1e-12):
                continue
            if float(overlaps(boxes[k], boxes[kept]).max()) >= overlap:
                continue
        kept.append(k)
    return kept


def intersections(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Areas that a (4,) box shares with (N, 4) others -> (N,)."""
    sides: np.ndarray = np.maximum(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0).prod(1)
    return sides


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a (4,) box and (N, 4) others -> (N,)."""
    shared = intersections(box, boxes)
    whole = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - shared
    return shared / np.maximum(whole, 1e-12)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Of any numbers, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * logits))


def fitted(image: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """An image as a detector takes it: its longer side `longest` pixels, grey added at the right and the bottom.

    Returns:
        (H, W, 3) uint8 with sides that are multiples of 32; and (2,) pixels of the image to one of it, along x and y.
    """
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    inner = [max(1, round(side * scale)) for side in (width, height)]
    made = np.full((*(-(-side // MULTIPLE) * MULTIPLE for side in inner[::-1]), 3), GREY, np.uint8)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    made[: inner[1], : inner[0]] = cv2.resize(image, inner, interpolation=way)
    return made, np.array([width, height]) / inner


def as_input(images: Sequence[np.ndarray]) -> np.ndarray:
    """(H, W, 3) uint8 images of one shape -> (B, 3, H, W) float32 in [0, 1], as the net takes them."""
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2), np.float32) / 255
