"""The sensor: gains, blur and noise in linear light, then the sRGB curve, once, at the end.

Light is held in int16 codes of two scales: LIGHT, in which it adds up and is blurred, and ROOT, its square root, in which photons'
noise has one strength everywhere. Sums are of numbers that float32 holds exactly, so that processors which add in another order, or
fuse a product with a sum, give the same bytes.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np

from handsynth.core.colour import linear_to_srgb
from handsynth.recipe.recipe import SensorChoice


@dataclass(frozen=True)
class Scale:
    """How codes count light: white * light ** power."""

    white: int
    power: float  # 1 or 1/2

    def encode(self, light: np.ndarray) -> np.ndarray:
        """(M, N) float32 linear light, 0 or more -> int16 codes, rounded and saturated."""
        powered = light if self.power == 1 else np.sqrt(light)
        return cv2.multiply(powered, float(self.white), dtype=cv2.CV_16S)  # type: ignore[call-overload]  # its stub knows no scalars

    @cached_property
    def light(self) -> np.ndarray:
        """(65536,) linear light of all codes, read as uint16: those of negative codes are black."""
        codes = np.arange(1 << 16, dtype=np.uint16).view(np.int16)
        return (np.maximum(codes, 0) / self.white) ** (1 / self.power)

    @cached_property
    def srgb(self) -> np.ndarray:
        """(65536,) sRGB byte of all codes, read as uint16."""
        return np.rint(255 * linear_to_srgb(np.minimum(self.light, 1))).astype(np.uint8)


LIGHT = Scale(1 << 14, 1.0)
"""The darkest sRGB byte above 0 is five codes bright; twice white saturates."""

ROOT = Scale(1 << 12, 0.5)
"""An sRGB byte is 11 codes or more."""

ROOT_OF_LIGHT = ROOT.encode(LIGHT.light.astype(np.float32)[None])[0]
"""(65536,) code in ROOT of each code in LIGHT, read as uint16."""

KERNEL_STEPS = 512
"""A blur's weights are multiples of 1/512: times codes of 15 bits, and summed, they are exact in float32."""

NOISE_STEPS = 64
"""Steps of the noise field to one standard deviation."""

AMPLITUDE_STEPS = 512
"""The noise's amplitude, in codes of ROOT to a step of the field, is a multiple of 1/512."""

FIELD_SIDE = 512
BLOCK = (128, 256)
"""Rows and columns of the blocks that take their noise from one place of the field, at most. An image has two at least."""


class Sensor:
    """Turns codes of light into images. Holds the noise field."""

    def __init__(self) -> None:
        """Draws the noise field (the same on every machine)."""
        rng = np.random.Generator(np.random.Philox(20240229))
        noise = rng.standard_normal((FIELD_SIDE, FIELD_SIDE, 3), np.float32)
        self._field = np.rint(NOISE_STEPS * noise).astype(np.int16)

    def develop(self, codes: np.ndarray, scale: Scale, choice: SensorChoice) -> np.ndarray:
        """(H, W, 3) int16 codes in the scale that `scale_for` gives -> (H, W, 3) uint8 sRGB.

        The noise is that of photons: its variance grows with the light. That is what a constant standard deviation of the
        light's square root gives (Anscombe 1948), and `choice.noise` is that: at mid grey it is the image's own, as a share of
        full scale, in white 0.88 and in deep shadow (byte 10) 1.3 times as much, and next to nothing in black.
        """
        gains = np.array(choice.gains, np.float32)
        codes = cv2.transform(codes, np.diag(gains if scale is LIGHT else np.sqrt(gains)))
        if choice.blur_px > 0:
            blur(codes, choice.blur_px)
        if choice.noise > 0:
            if scale is not ROOT:
                cv2.LUT(codes.view(np.uint16), ROOT_OF_LIGHT, dst=codes)
                scale = ROOT
            self._add_noise(codes, choice)
        return cv2.LUT(codes.view(np.uint16), scale.srgb)

    def _add_noise(self, roots: np.ndarray, choice: SensorChoice) -> None:
        """Adds noise in place: each block of the image takes another place of the field, named by the recipe's key."""
        amplitude = round(choice.noise * ROOT.white / NOISE_STEPS * AMPLITUDE_STEPS) / AMPLITUDE_STEPS
        for block, place, sign in noise_places(choice.noise_key, *roots.shape[:2]):
            cv2.addWeighted(roots[block], 1, self._field[place], sign * amplitude, 0, dst=roots[block])


def scale_for(choice: SensorChoice) -> Scale:
    """The scale in which an image is composed: LIGHT, unless it is not blurred and takes its noise at once."""
    return ROOT if choice.noise > 0 and choice.blur_px == 0 else LIGHT


def noise_places(key: int, height: int, width: int) -> list[tuple[tuple[slice, slice], tuple[slice, slice], int]]:
    """Blocks of an image, each with the place of the noise field that it shows and its sign.

    Keys choose places by a hash. Of two places and signs or more there are over 2^37, so that two of the 2^31 keys share a field as
    good as never, whatever the image's size.
    """
    rows, columns = min(BLOCK[0], -(-height // 2)), min(BLOCK[1], width)
    state, found = _mixed(key), []
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            state = (state + 0x9E3779B97F4A7C15) & _WORD
            bits = _mixed(state)
            h, w = min(rows, height - top), min(columns, width - left)
            y, x = bits % (FIELD_SIDE - h + 1), (bits >> 32) % (FIELD_SIDE - w + 1)
            block = slice(top, top + h), slice(left, left + w)
            found.append((block, (slice(y, y + h), slice(x, x + w)), 1 if bits >> 31 & 1 else -1))
    return found


_WORD = (1 << 64) - 1


def _mixed(value: int) -> int:
    """64 bits that depend on all of 64 bits: SplitMix64's last steps (Steele, Lea and Flood 2014)."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _WORD
    return value ^ (value >> 31)


def blur(codes: np.ndarray, std_px: float) -> None:
    """Blurs (H, W, 3) int16 codes in place by a Gaussian. Each direction is rounded to codes, and exact before that."""
    kernel = blur_kernel(std_px)
    # OpenCV is quick at a kernel (1) down the columns, but along the rows only at symmetric ones of three weights or more.
    cv2.sepFilter2D(codes, -1, kernel, _STILL, dst=codes, borderType=cv2.BORDER_REFLECT)
    cv2.sepFilter2D(codes, -1, _STILL[1:2], kernel, dst=codes, borderType=cv2.BORDER_REFLECT)


_STILL = np.array([0, 1, 0], np.float32)


@lru_cache(maxsize=4096)
def blur_kernel(std_px: float) -> np.ndarray:
    """(2 R + 1,) weights of a Gaussian, whole multiples of 1 / KERNEL_STEPS whose sum is 1.

    It is sampled at pixel centres, as OpenCV does: below half a pixel it blurs less than `std_px` says.
    """
    half = np.exp(-0.5 * (np.arange(np.ceil(3 * std_px) + 1) / std_px) ** 2)
    half *= KERNEL_STEPS / (2 * half.sum() - half[0])
    centre = 2 * round(half[0] / 2)
    # Rounded sums from the centre outwards, so that the remainders go where they arise.
    sums = np.rint((half[0] - centre) / 2 + np.cumsum(half[1:]))
    side = np.diff(sums, prepend=0)
    return np.trim_zeros(np.concatenate([side[::-1], [centre], side])).astype(np.float32) / KERNEL_STEPS
