"""Which part of a background is seen."""

from collections.abc import Mapping
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
    scale, x, y = float(box["scale"]), float(box["x"]), float(box["y"])
    if not (0 < scale <= 1 and 0 <= x <= 1 and 0 <= y <= 1):
        raise UsageError(f"a background's crop needs scale in (0, 1] and x, y in 0..1, not {dict(box)}")
    height, width = image.shape[:2]
    side = max(1, round(scale * min(height, width)))
    left, top = round(x * (width - side)), round(y * (height - side))
    square = image[top : top + side, left : left + side]
    if side != size:
        # Averaging takes six times as long as interpolation, which is as good until every other pixel would be left out.
        averaged = side > SHARP_RATIO * size
        square = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if averaged else cv2.INTER_LINEAR)
    return cv2.flip(square, 1) if box["flip"] else np.ascontiguousarray(square)
