"""The sensor: gains, blur and noise in linear light, then the sRGB curve, once; and what a camera does with the image after it."""

from functools import lru_cache

import cv2
import numpy as np

from handsynth.image.lens import vignette
from handsynth.image.scales import KERNEL_STEPS, LIGHT, ROOT, ROOT_OF_LIGHT, Scale
from handsynth.recipe.recipe import SensorChoice

NOISE_STEPS = 64
"""Steps of the noise field to one standard deviation."""

AMPLITUDE_STEPS = 512
"""The noise's amplitude, in codes to a step of the field, is a multiple of 1/512."""

READ_KEYS = 1 << 31
"""Recipes' keys lie below; the electronics' noise has keys from here on, so that it resembles no photons'."""

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
        full scale, in white 0.88 and in deep shadow (byte 10) 1.3 times as much, and next to nothing in black. `choice.read_noise`
        is that of electronics, as strong in light as in shadow.
        """
        gains = np.array(choice.gains, np.float32)
        codes = cv2.transform(codes, np.diag(gains if scale is LIGHT else np.sqrt(gains)))
        if choice.vignetting > 0:
            vignette(codes, choice.vignetting, scale.power)
        if choice.blur_px > 0:
            blur(codes, choice.blur_px)
        if choice.read_noise > 0:
            self._add_noise(codes, choice.read_noise * LIGHT.white, choice.noise_key + READ_KEYS)
        if choice.noise > 0:
            if scale is not ROOT:
                cv2.LUT(codes.view(np.uint16), ROOT_OF_LIGHT, dst=codes)
                scale = ROOT
            self._add_noise(codes, choice.noise * ROOT.white, choice.noise_key)
        return cv2.LUT(codes.view(np.uint16), scale.srgb)

    def _add_noise(self, codes: np.ndarray, std: float, key: int) -> None:
        """Adds noise of so many codes in place: each block of the image takes another place of the field, named by the key."""
        amplitude = round(std / NOISE_STEPS * AMPLITUDE_STEPS) / AMPLITUDE_STEPS
        for block, place, sign in noise_places(key, *codes.shape[:2]):
            cv2.addWeighted(codes[block], 1, self._field[place], sign * amplitude, 0, dst=codes[block])


def scale_for(choice: SensorChoice) -> Scale:
    """The scale in which an image is composed: LIGHT, unless it takes photons' noise before any other blur or noise."""
    return ROOT if choice.noise > 0 and choice.blur_px == choice.read_noise == 0 else LIGHT


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
    # Few numbers, and other ones for each image: numpy's calls take longer than they.
    first, *others = np.exp(-0.5 * (np.arange(np.ceil(3 * std_px) + 1) / std_px) ** 2).tolist()
    scale = KERNEL_STEPS / (2 * (first + sum(others)) - first)
    first *= scale
    centre = 2 * round(first / 2)
    # Rounded sums from the centre outwards, so that the remainders go where they arise.
    total, before, side = 0.0, 0, []
    for weight in others:
        total += weight * scale
        rounded = round((first - centre) / 2 + total)
        side.append(rounded - before)
        before = rounded
    while side and not side[-1]:
        side.pop()
    return np.array([*side[::-1], centre, *side], np.float32) / KERNEL_STEPS
