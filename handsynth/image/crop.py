"""Which part of a background is seen, and what a camera that turns sees of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from handsynth.core.errors import UsageError

SHARP_RATIO = 1.5
"""Crops up to so many times the size wanted are interpolated, larger ones averaged."""


def crop_background(image: np.ndarray, box: Mapping[str, Any], size: int) -> np.ndarray:
    """The square that `box` cuts from `image` (uint8 (H, W, 3)), as uint8 (size, size, 3).

    box["scale"] in (0, 1] is the square's side as a fraction of the shorter side; box["x"], box["y"] in 0..1 place it within
    the room that is left; box["flip"] mirrors it. Bigger squares are averaged down, smaller ones interpolated.
    """
    left, top, side = _square(image, box)
    square = image[top : top + side, left : left + side]
    if side != size:
        # Averaging takes six times as long as interpolation, which is as good until every other pixel would be left out.
        averaged = side > SHARP_RATIO * size
        square = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if averaged else cv2.INTER_LINEAR)
    return cv2.flip(square, 1) if box["flip"] else np.ascontiguousarray(square)


def _square(image: np.ndarray, box: Mapping[str, Any]) -> tuple[int, int, int]:
    """Left, top and side [px] of the square that `box` cuts."""
    scale, x, y = float(box["scale"]), float(box["x"]), float(box["y"])
    if not (0 < scale <= 1 and 0 <= x <= 1 and 0 <= y <= 1):
        raise UsageError(f"a background's crop needs scale in (0, 1] and x, y in 0..1, not {dict(box)}")
    height, width = image.shape[:2]
    side = max(1, round(scale * min(height, width)))
    return round(x * (width - side)), round(y * (height - side)), side


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A background before a camera that turns: more of it than one image shows."""

    image: np.ndarray  # (h, w, 3) uint8, no finer than what is seen of it
    place: np.ndarray  # (3, 3) homography from pixels of the square that was cut to those of `image`


def cut_surroundings(image: np.ndarray, box: Mapping[str, Any], size: int) -> Surroundings:
    """What lies about the square that `box` cuts from `image` (uint8 (H, W, 3)) for images of a side [px]; see crop_background."""
    left, top, side = _square(image, box)
    place = np.array([[side / size, 0, left], [0, side / size, top], [0, 0, 1]])
    if box["flip"]:
        place = place @ np.array([[-1.0, 0, size], [0, 1, 0], [0, 0, 1]])
    if side > SHARP_RATIO * size:
        height, width = (max(1, round(length * size / side)) for length in image.shape[:2])
        place = np.diag([width / image.shape[1], height / image.shape[0], 1]) @ place
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return Surroundings(image, place)


def see_surroundings(around: Surroundings, homography: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) uint8 of a camera whose pixels `homography` (3, 3) takes to those of the square that was cut.

    Corners of pixels are whole numbers; beyond the image it is mirrored.
    """
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV's pixels have their centres there
    matrix = np.linalg.inv(half) @ around.place @ homography @ half
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(around.image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT)
