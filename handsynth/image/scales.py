"""Scales of light: int16 codes in which it adds up, is blurred and takes noise.

In LIGHT it adds up and is blurred; in ROOT, its square root, photons' noise has one strength everywhere. Sums are of numbers that
float32 holds exactly, so that processors which add in another order, or fuse a product with a sum, give the same bytes.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from handsynth.core.colour import linear_to_srgb


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
