"""Augmentation: how crop and colours are drawn. Labels move with the crop alone; the rest touches colours only."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import fft

from handmesh.data.crop import LabelledCrop, make_crop
from handmesh.data.shards import Record
from handsynth.core.errors import UsageError

Draws = Callable[[str], np.random.Generator]
"""Gives the generator of a purpose ("crop", "colour", ...): switching one augmentation on or off moves no other."""


@dataclass(frozen=True)
class AugmentSpec:
    """What is drawn. The defaults are the original's (Moon and Lee 2020, facing FreiHAND); zero switches a part off."""

    scale: float = 0.25  # the box grows by the factor 1 + scale * clip(N(0, 1), -1, 1)
    rotation_deg: float = 30.0  # the image turns by rotation_deg * clip(N(0, 1), -2, 2)
    rotation_probability: float = 0.6
    colour: float = 0.2  # each channel is multiplied by U[1 - colour, 1 + colour]
    amplitude: float = 0.0  # probability of mixing amplitude spectra with another image
    amplitude_strength: float = 1.0  # the other's share is U[0, amplitude_strength]
    amplitude_band: float = 0.1  # frequencies mixed, as a share of the highest along each axis
    erasing: float = 0.0  # probability of erasing a rectangle
    erasing_area: tuple[float, float] = (0.02, 0.2)  # share of the crop (Zhong et al. 2020, their greatest halved: hands are small)

    def __post_init__(self) -> None:
        """Raises UsageError naming the first value out of range."""
        for name in ("rotation_probability", "colour", "amplitude", "amplitude_strength", "amplitude_band", "erasing"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"augmentation: {name} is {getattr(self, name)}, expected 0 to 1")
        if not 0 <= self.scale < 1 or not 0 <= self.rotation_deg <= 90:
            raise UsageError(f"augmentation: scale {self.scale} must be in [0, 1), rotation_deg {self.rotation_deg} in [0, 90]")
        if not 0 < self.erasing_area[0] <= self.erasing_area[1] <= 1:
            raise UsageError(f"augmentation: erasing_area is {self.erasing_area}, expected 0 < least <= greatest <= 1")


NO_AUGMENTATION = AugmentSpec(scale=0.0, rotation_deg=0.0, rotation_probability=0.0, colour=0.0)
"""The plain crop, for validation."""


def augment(
    record: Record, side: int, spec: AugmentSpec, draws: Draws, other: Callable[[np.random.Generator], np.ndarray]
) -> tuple[LabelledCrop, np.ndarray]:
    """Crops and augments a sample: a function of its arguments, whoever calls it and when.

    Args:
        record: the sample.
        side: of the crop [px].
        spec: what is drawn.
        draws: generator of each purpose.
        other: gives an (H, W, 3) uint8 image, drawn with the generator it gets; called for amplitude mixing only.

    Returns:
        The crop with its labels, its colours untouched, and the (side, side, 3) float32 image in [0, 1] that a net gets.
    """
    rng = draws("crop")
    scale = 1 + spec.scale * min(max(rng.standard_normal(), -1.0), 1.0)
    turns = rng.random() < spec.rotation_probability
    angle = math.radians(spec.rotation_deg) * min(max(rng.standard_normal(), -2.0), 2.0) if turns else 0.0
    crop = make_crop(record, side, scale, angle)
    gains = np.ones(3, np.float32)
    if spec.colour:
        gains = draws("colour").uniform(1 - spec.colour, 1 + spec.colour, 3).astype(np.float32)
    image = None
    if spec.amplitude:
        rng = draws("amplitude")
        if rng.random() < spec.amplitude:
            share = spec.amplitude_strength * rng.random()
            partner = cv2.resize(other(rng), (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
            mixed = mix_amplitudes(crop.image.astype(np.float32) / 255, partner, share, spec.amplitude_band)
            image = np.clip(mixed * gains, 0, 1)
    if image is None:
        image = apply_gains(crop.image, gains)
    if spec.erasing:
        rng = draws("erasing")
        if rng.random() < spec.erasing:
            image = erase_rectangle(image, spec.erasing_area, rng)
    return crop, image


def apply_gains(image: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8 image, (3,) float32 gains -> (S, S, 3) float32: clip(image / 255 * gains, 0, 1).

    A byte has 256 values, so a table of them does for all pixels, to the bit. Channels lie one after the other, as nets want them.
    """
    tables = np.clip(np.arange(256, dtype=np.float32) / 255 * gains[:, None], 0, 1)
    planes = np.empty((3, *image.shape[:2]), np.float32)
    for channel, table, plane in zip(cv2.split(image), tables, planes, strict=True):
        cv2.LUT(channel, table, plane)
    return planes.transpose(1, 2, 0)


def mix_amplitudes(image: np.ndarray, partner: np.ndarray, share: float, band: float) -> np.ndarray:
    """Image with its phases, and at low frequencies `share` of the partner's amplitudes: its style, not its shapes.

    Args:
        image: (S, S, 3) float32 in [0, 1].
        partner: (S, S, 3) float32 in [0, 1].
        share: 0 keeps the image, 1 takes the partner's amplitudes.
        band: frequencies mixed, as a share of the highest along each axis; those at 0, the mean colours, always are.

    After Yang and Soatto 2020 (swapped low frequencies) and Xu et al. 2021 (mixed amplitudes).
    """
    spectrum, other = fft.rfft2(image, axes=(0, 1)), fft.rfft2(partner, axes=(0, 1))
    high, wide = fft.fftfreq(len(image)), fft.rfftfreq(len(image))
    low = (np.abs(high)[:, None] <= band / 2) & (wide <= band / 2)  # frequencies end at 1/2 a pixel
    amplitude = np.abs(spectrum[low])
    factor = np.where(amplitude > 0, (1 - share) + share * np.abs(other[low]) / np.maximum(amplitude, 1e-12), 1)
    spectrum[low] *= factor
    return np.clip(fft.irfft2(spectrum, image.shape[:2], axes=(0, 1)), 0, 1).astype(np.float32)


def erase_rectangle(image: np.ndarray, area: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """(S, S, 3) image with noise in a rectangle (Zhong et al. 2020): area U[*area] of it, sides in the ratio 0.3 to 1 / 0.3."""
    side = len(image)
    share, ratio = rng.uniform(*area), np.exp(rng.uniform(np.log(0.3), -np.log(0.3)))
    height = int(np.clip(round(side * np.sqrt(share * ratio)), 1, side))
    width = int(np.clip(round(side * np.sqrt(share / ratio)), 1, side))
    top, left = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
    erased = image.copy(order="K")
    erased[top : top + height, left : left + width] = rng.random((height, width, 3), np.float32)
    return erased
