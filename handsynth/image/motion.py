"""Motion during the exposure: of the hand or the camera, as a movement of the image; and the blur that it leaves, in exact sums."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from handsynth.core.camera import project
from handsynth.recipe.recipe import MotionChoice

SINGLE_PX = 16
"""Ways up to so long are averaged at once, longer ones in two steps."""

MAX_WAY_PX = 512.0
"""Longer ways are cut to this."""

DECIMALS = 4
"""Of a movement [px], so that processors that differ in the last bit move by the same."""

EVEN_PX = 1.0
"""Where the ways of wrist and tips differ by less, all of the hand moves alike [px]."""

PIVOT_PX = 4.0
"""Keypoints nearer than this to the wrist, in the image, say little of how a turn moves the others."""


@dataclass(frozen=True)
class ImageMotion:
    """How far the image of a thing moves during the exposure [px]: `shift` at the wrist and behind it, and `growth` more for each
    pixel from there along the hand.
    """

    shift: tuple[float, float]
    growth: tuple[float, float]
    wrist_xy: tuple[float, float]  # [px]
    along: tuple[float, float]  # unit vector from the wrist to the fingers
    whole: bool  # the camera moves: what is behind the hand does so too

    def scaled(self, scale: float) -> "ImageMotion":
        """The same in an image of another size."""
        (a, b), (x, y) = self.shift, self.wrist_xy
        return replace(self, shift=(a * scale, b * scale), wrist_xy=(x * scale, y * scale))

    def beyond(self, rows: slice, columns: slice) -> np.ndarray:
        """(H, W) int16: how far beyond the wrist the pixels of a window lie, in whole pixels."""
        x, y = (
            (np.arange(part.start, part.stop, dtype=np.float32) + np.float32(0.5 - wrist)) * np.float32(along)
            for part, wrist, along in zip((columns, rows), self.wrist_xy, self.along, strict=True)
        )
        return np.maximum(y[:, None] + x, 0).astype(np.int16)

    def reach(self, rows: slice, columns: slice) -> float:
        """The longest way of a pixel of the window, or a little more [px]."""
        corners = [(x, y) for x in (columns.start, columns.stop) for y in (rows.start, rows.stop)]
        beyond = max(sum(a * (p - w) for a, p, w in zip(self.along, corner, self.wrist_xy, strict=True)) for corner in corners)
        (x, y), (a, b) = self.shift, self.growth
        return max(math.hypot(x + a * far, y + b * far) for far in (0.0, max(beyond, 0.0)))


def image_motion(choice: MotionChoice, keypoints: np.ndarray, K: np.ndarray) -> ImageMotion:
    """What a motion does to the image of a hand.

    Args:
        choice: the motion.
        keypoints: (21, 3) of the hand in the middle of the exposure, wrist first, camera frame [m].
        K: (3, 3) [px].
    """
    focal = float(K[0, 0])
    if any(choice.shake_deg):  # far or near, all moves against the camera's turn; the small difference at the sides is left out
        right, down = (-round(focal * math.radians(angle), DECIMALS) + 0.0 for angle in choice.shake_deg)
        return ImageMotion((right, down), (0.0, 0.0), (0.0, 0.0), (1.0, 0.0), whole=True)
    (a, b, c), (x, y, z) = (math.radians(angle) for angle in choice.turn_deg), (keypoints - keypoints[0]).T
    way = np.stack([b * z - c * y, c * x - a * z, a * y - b * x], 1) + choice.shift_m
    xy, depth = project(keypoints, K), np.maximum(keypoints[:, 2:], 1e-3)
    moved = (focal * way[:, :2] - (xy - K[:2, 2]) * way[:, 2:]) / depth  # (21, 2) the projection's derivative
    away = xy - xy[0]
    middle = away.mean(0)
    along = middle / max(math.hypot(*middle.tolist()), 1e-6)
    beyond = np.maximum(away @ along, 0)
    growth = (beyond[:, None] * (moved - moved[0])).sum(0) / ((beyond**2).sum() + len(beyond) * PIVOT_PX**2)
    if math.hypot(*growth.tolist()) * float(beyond.max()) < EVEN_PX:
        growth = np.zeros(2)
    shift = moved[0] + (moved - moved[0] - growth * beyond[:, None]).mean(0)
    return ImageMotion(_rounded(shift), _rounded(growth), _rounded(xy[0]), _rounded(along), whole=False)


def _rounded(values: np.ndarray) -> tuple[float, float]:
    x, y = (np.round(values, DECIMALS) + 0.0).tolist()
    return x, y


def smear(codes: np.ndarray, motion: ImageMotion, rows: slice, columns: slice) -> np.ndarray:
    """(H, W, C) int16 codes of light, 0 or more, in a window of the image -> the same as the exposure sees them, in motion.

    The mean of some moments, in each of which a pixel shows the nearest pixel of the middle of the exposure: at most a pixel apart,
    and of short ways less. For long ways two means follow one another: of such moments, and of such means, each of which overlaps
    with the next by half, so that rounding leaves no gaps; at both ends the exposure then rises and falls as a shutter's does. The
    numbers of moments are odd, so that nothing moves on the whole. Beyond the window all is as at its border. C is 4 where the
    movement is not the same everywhere.
    """
    reach = motion.reach(rows, columns)
    cut = min(1.0, MAX_WAY_PX / max(reach, 1))
    beyond = None if motion.growth == (0, 0) else motion.beyond(rows, columns)
    far = np.arange(1 if beyond is None else int(beyond.max()) + 1)
    ways = np.array([start + more * far for start, more in zip(motion.shift, motion.growth, strict=True)]) * cut  # x and y
    first, second = _moments(reach * cut)
    for count, step in ((first, 2 / (first * (second + 1))), (second, 1 / (second + 1))):
        if count > 1:
            times = (np.arange(count) - count // 2) * step
            codes = _mean_of_moments(codes, np.rint(times[:, None, None] * ways).astype(np.int32), beyond)
    return codes


def _moments(reach: float) -> tuple[int, int]:
    """Of how many moments the first mean of a way [px] is, and of how many such means the second."""
    if reach <= SINGLE_PX:
        return _odd(max(min(2 * reach, 7), reach)), 1
    first = _odd(math.sqrt(2 * reach))
    return first, _odd(2 * reach / first - 1)


def _odd(least: float) -> int:
    """The smallest odd number from `least` on, and 1."""
    return 2 * max(math.ceil((least - 1) / 2), 0) + 1


def _mean_of_moments(codes: np.ndarray, ways: np.ndarray, beyond: np.ndarray | None) -> np.ndarray:
    """One of the two means of `smear`.

    Args:
        codes: (H, W, C) int16.
        ways: (M, 2, D) x and y of the movement by whole pixels, at each moment and distance from the wrist.
        beyond: (H, W) that distance; None where D is 1.
    """
    height, width = codes.shape[:2]
    pad = int(np.abs(ways).max())
    padded = cv2.copyMakeBorder(codes, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    total = np.zeros(codes.shape, np.float32)
    if beyond is None:
        for x, y in pad - ways[..., 0]:
            cv2.accumulate(padded[y : y + height, x : x + width].view(np.uint16), total)
    else:
        stride = width + 2 * pad
        middle = (np.arange(height, dtype=np.int32)[:, None] + pad) * stride + np.arange(width, dtype=np.int32) + pad
        words, seen, place = padded.view(np.uint64).reshape(-1), np.empty(beyond.shape, np.uint64), np.empty_like(middle)
        way = np.zeros(1 << 16, np.int32)  # as OpenCV's look-up takes it, in half of numpy's time
        for across, down in ways:
            way[: len(across)] = stride * down + across
            cv2.LUT(beyond.view(np.uint16), way, dst=place)
            np.subtract(middle, place, out=place)
            np.take(words, place, out=seen, mode="clip")
            cv2.accumulate(seen.view(np.uint16).reshape(total.shape), total)
    total *= np.float32(1 / len(ways))
    return np.rint(total, out=total).astype(np.int16)
