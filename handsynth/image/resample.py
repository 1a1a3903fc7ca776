"""Images of other sizes, the same on every processor: a camera's smaller image, and how phones enlarge it."""

from functools import lru_cache

import cv2
import numpy as np

SMOOTHED = 0.75
"""Images that get smaller than this share of their side are smoothed before."""

TAP_STEPS_LOG2 = 6
"""An enlarged image's weights are multiples of 1/64: times bytes, and summed, they fit into 16 bits."""

SHARPNESS = -0.5
"""Keys' cubic kernel (1981) that meets parabolas exactly."""


def source_side(side: int, scale: float) -> int:
    """Side of the smaller image [px] that is enlarged to `side`."""
    return round(scale * side)


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """(S, S, C) uint8 -> (side, side, C), side S / 2 or more: interpolated, and smoothed before where patterns would beat."""
    if side < SMOOTHED * len(image):
        image = cv2.GaussianBlur(image, (3, 3), 0)  # 1, 2, 1 in fixed point
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR_EXACT)


def enlarge(image: np.ndarray, side: int, kernel: str) -> np.ndarray:
    """(s, s, 3) uint8 -> (side, side, 3) uint8 with the kernel "linear" or "cubic"."""
    if kernel == "linear":
        return cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR_EXACT)
    tall = _enlarge_columns(image.astype(np.int16), side)
    return cv2.transpose(_enlarge_columns(cv2.transpose(tall), side).astype(np.uint8))


def _enlarge_columns(values: np.ndarray, height: int) -> np.ndarray:
    """(h, w, 3) int16 bytes -> (height, w, 3) int16 bytes, by the cubic kernel; rounded."""
    rows = values.reshape(len(values), -1)
    total = np.full((height, rows.shape[1]), 1 << TAP_STEPS_LOG2 - 1, np.int16)
    part = np.empty_like(total)
    for place, weight in zip(*taps(len(values), height), strict=True):
        np.take(rows, place, 0, out=part, mode="clip")
        part *= weight[:, None]
        total += part
    total >>= TAP_STEPS_LOG2
    return np.clip(total, 0, 255, out=total).reshape(height, *values.shape[1:])


@lru_cache(maxsize=256)
def taps(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """(4, after) places among `before` pixels and their int16 weights in steps, for each pixel of a longer row: Keys' cubic.

    Places beyond the ends are the ends.
    """
    middle = (np.arange(after) + 0.5) * (before / after) - 0.5
    place = np.floor(middle).astype(int) + np.arange(-1, 3)[:, None]
    far = np.abs(place - middle)
    near = ((SHARPNESS + 2) * far - (SHARPNESS + 3)) * far * far + 1
    weight = np.where(far <= 1, near, SHARPNESS * (((far - 5) * far + 8) * far - 4))
    steps = np.rint(weight * (1 << TAP_STEPS_LOG2)).astype(np.int16)
    steps[np.argmax(steps, 0), np.arange(after)] += (1 << TAP_STEPS_LOG2) - steps.sum(0, dtype=np.int16)
    return np.clip(place, 0, before - 1), steps
