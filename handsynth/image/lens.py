"""The lens: what is out of focus becomes discs of light, and corners get less of it. In exact sums of whole codes of light."""

import math
from functools import lru_cache

import cv2
import numpy as np

from handsynth.image.scales import KERNEL_STEPS

MAX_DISC_PX = 3.5
"""Radius of the largest disc that is drawn as it is: 7 x 7 weights. Larger ones are drawn on images reduced by a power of two.

Of 50 weights or more OpenCV may take Fourier's way, whose sums are not exact.
"""

RADIUS_STEPS = 32
"""Discs' radii are multiples of 1/32 pixel, so that there are few."""

_SUBPIXELS = 16


def defocus(codes: np.ndarray, radius_px: float, border: int) -> np.ndarray:
    """(H, W, C) int16 codes of light, 0 or more -> the same, each point spread over a disc of this radius.

    `border` is OpenCV's word for what lies beyond the image.
    """
    height, width = codes.shape[:2]
    factor = 1
    while radius_px > MAX_DISC_PX * factor:
        factor *= 2
    radius_px /= factor
    if factor > 1:
        if height % factor or width % factor:
            codes = cv2.copyMakeBorder(codes, 0, -height % factor, 0, -width % factor, border)
        size = codes.shape[1] // factor, codes.shape[0] // factor
        codes = cv2.resize(codes, size, interpolation=cv2.INTER_AREA)
        # Means of areas, and the linear steps back, spread light by themselves: together as a disc of one pixel's radius does.
        radius_px = math.sqrt(radius_px**2 - 1)
    kernel = disc(round(RADIUS_STEPS * radius_px) / RADIUS_STEPS)
    spread: np.ndarray = np.rint(cv2.filter2D(codes.astype(np.float32), -1, kernel, borderType=border))
    if factor > 1:  # by a power of two, and as floats: weights are multiples of 1 / (2 factor), so that these sums are exact too
        size = codes.shape[1] * factor, codes.shape[0] * factor
        spread = np.rint(cv2.resize(spread, size, interpolation=cv2.INTER_LINEAR)[:height, :width])
    return spread.astype(np.int16)


@lru_cache(maxsize=256)
def disc(radius_px: float) -> np.ndarray:
    """(2 R + 1, 2 R + 1) shares of a disc in the pixels around its middle, multiples of 1 / KERNEL_STEPS whose sum is 1.

    A disc of less than half a pixel is one pixel.
    """
    reach = max(0, int(np.ceil(radius_px - 0.5)))
    side = (2 * reach + 1) * _SUBPIXELS
    place = ((np.arange(side) + 0.5) / _SUBPIXELS - reach - 0.5) ** 2
    inside = place[:, None] + place <= max(radius_px, 0.5) ** 2
    share = inside.reshape(2 * reach + 1, _SUBPIXELS, -1, _SUBPIXELS).sum((1, 3)).ravel()
    # Rounded down, and the remainder to those that lost most.
    steps, lost = np.divmod(share * KERNEL_STEPS, share.sum())
    steps[np.argsort(-lost, kind="stable")[: KERNEL_STEPS - steps.sum()]] += 1
    return steps.reshape(2 * reach + 1, -1).astype(np.float32) / np.float32(KERNEL_STEPS)


GAIN_STEPS = 1 << 14


def vignette(codes: np.ndarray, loss: float, power: float) -> None:
    """Takes light from (H, W, 3) int16 codes, in place: none in the middle, the share `loss` in the corners.

    It follows the fourth power of a cosine, as the light of a simple lens does with the angle from its axis. `power` is that of the
    scale that the codes are in.
    """
    tangent = np.float32(1 / np.sqrt(1 - loss) - 1)  # squared, at the corners
    height, width = codes.shape[:2]
    gain = 1 / (1 + tangent * _from_middle(height, width)) ** (2 * power)
    gain = np.rint(gain * GAIN_STEPS).astype(np.int16)
    half = np.concatenate([gain, gain[: height // 2][::-1]])  # an odd middle is there once
    whole = cv2.merge([np.concatenate([half, half[:, : width // 2][:, ::-1]], 1)] * 3)
    cv2.multiply(codes, whole, dst=codes, scale=1 / GAIN_STEPS)  # one rounding to float32, alike everywhere


@lru_cache(maxsize=4)
def _from_middle(height: int, width: int) -> np.ndarray:
    """Squared distances of the pixels of an image's first quarter from its middle; those of its corners are about 1."""
    y, x = ((np.arange((side + 1) // 2) + 0.5 - side / 2) ** 2 for side in (height, width))
    return ((y[:, None] + x) / ((height**2 + width**2) / 4)).astype(np.float32)
