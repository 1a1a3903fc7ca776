"""Augmentation: how crop and colours are drawn. Labels move with the crop alone; the rest touches colours only."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from scipy import fft

from handmesh.data.crop import LabelledCrop, make_crop
from handmesh.data.shards import Record
from handmesh.data.tones import apply_gains, retoned, sharpened, tone
from handsynth.core.errors import UsageError

Draws = Callable[[str], np.random.Generator]
"""Gives the generator of a purpose ("crop", "colour", ...): switching one augmentation on or off moves no other."""


@dataclass(frozen=True)
class AugmentSpec:
    """What is drawn. The defaults are the original's (Moon and Lee 2020, facing FreiHAND); zero switches a part off."""

    scale: float = 0.25  # the box grows by the factor 1 + scale * clip(N(0, 1), -1, 1)
    box: float = 0.0  # each edge of the tight box moves by box * clip(N(0, 1), -2, 2) of its longer side: no detector's is perfect
    rotation_deg: float = 30.0  # the image turns by rotation_deg * clip(N(0, 1), -2, 2)
    rotation_probability: float = 0.6
    colour: float = 0.2  # each channel is multiplied by U[1 - colour, 1 + colour]
    grey: float = 0.0  # probability of an image without colours
    saturation: float = 0.0  # colours' distance from grey is multiplied by U[1 - saturation, 1 + saturation]
    contrast: float = 0.0  # values' distance from the middle is multiplied by exp(U[-contrast, contrast])
    sharpness: float = 0.0  # U[-min(sharpness, 1), sharpness] of what a blur of one pixel takes away is added: -1 blurs
    amplitude: float = 0.0  # probability of mixing amplitude spectra with another image
    amplitude_strength: float = 1.0  # the other's share is U[0, amplitude_strength]
    amplitude_band: float = 0.1  # frequencies mixed, as a share of the highest along each axis
    erasing: float = 0.0  # probability of erasing a rectangle
    erasing_area: tuple[float, float] = (0.02, 0.2)  # share of the crop (Zhong et al. 2020, their greatest halved: hands are small)

    def __post_init__(self) -> None:
        """Raises UsageError naming the first value out of range."""
        shares = (
            "rotation_probability", "colour", "grey", "saturation", "amplitude", "amplitude_strength", "amplitude_band", "erasing",
        )  # fmt: skip
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"augmentation: {name} is {getattr(self, name)}, expected 0 to 1")
        if not 0 <= self.scale < 1 or not 0 <= self.rotation_deg <= 90:
            raise UsageError(f"augmentation: scale {self.scale} must be in [0, 1), rotation_deg {self.rotation_deg} in [0, 90]")
        if not 0 <= self.contrast <= 2 or not 0 <= self.sharpness <= 3:
            raise UsageError(f"augmentation: contrast {self.contrast} must be in [0, 2], sharpness {self.sharpness} in [0, 3]")
        if not 0 <= self.box <= 0.2:
            raise UsageError(f"augmentation: box is {self.box}, expected 0 to 0.2")
        if not 0 < self.erasing_area[0] <= self.erasing_area[1] <= 1:
            raise UsageError(f"augmentation: erasing_area is {self.erasing_area}, expected 0 < least <= greatest <= 1")

    @property
    def retones(self) -> bool:
        """Whether colours are drawn beyond the gains of channels."""
        return bool(self.grey or self.saturation or self.contrast)


NO_AUGMENTATION = AugmentSpec(scale=0.0, rotation_deg=0.0, rotation_probability=0.0, colour=0.0)
"""The plain crop, for validation."""


class Drawn(NamedTuple):
    """What was drawn for one appearance of a sample: whoever applies it, in numpy here or in torch (`colours`), does the same."""

    edges: np.ndarray  # (4,) by which those of the tight box move, x0, y0, x1, y1, as shares of its longer side
    scale: float  # of the box
    angle: float  # by which the image turns [rad]
    gains: np.ndarray  # (3,) float32, of the channels
    tone: np.ndarray  # (3, 4) float32, affine map of r, g, b, 1 after the gains
    sharpness: float  # as of `tones.sharpened`
    share: float  # of the partner's amplitudes; 0 mixes none
    partner: float  # in [0, 1): which sample of the same dataset the partner is
    erased: tuple[int, int, int, int]  # top, left, height and width of the rectangle [px]; of height 0: none
    noise: int  # place in `noise` where what fills it starts


def draw_augmentation(spec: AugmentSpec, side: int, draws: Draws) -> Drawn:
    """Every decision about one appearance of a sample, for a crop of `side` pixels."""
    edges = np.zeros(4)
    if spec.box:
        edges = spec.box * np.clip(draws("box").standard_normal(4), -2, 2)
    rng = draws("crop")
    scale = 1 + spec.scale * min(max(rng.standard_normal(), -1.0), 1.0)
    turns = rng.random() < spec.rotation_probability
    angle = math.radians(spec.rotation_deg) * min(max(rng.standard_normal(), -2.0), 2.0) if turns else 0.0
    gains = np.ones(3, np.float32)
    if spec.colour:
        gains = draws("colour").uniform(1 - spec.colour, 1 + spec.colour, 3).astype(np.float32)
    toned = draw_tone(spec, draws("tone")) if spec.retones else _SAME
    sharpness = draws("sharpness").uniform(-min(spec.sharpness, 1.0), spec.sharpness) if spec.sharpness else 0.0
    share, partner = 0.0, 0.0
    if spec.amplitude:
        rng = draws("amplitude")
        if rng.random() < spec.amplitude:
            share, partner = spec.amplitude_strength * rng.random(), rng.random()
    erased, start = (0, 0, 0, 0), 0
    if spec.erasing:
        rng = draws("erasing")
        if rng.random() < spec.erasing:
            erased, start = draw_rectangle(side, spec.erasing_area, rng), int(rng.integers(NOISE_STARTS))
    return Drawn(edges, scale, angle, gains, toned, sharpness, share, partner, erased, start)


_SAME = np.eye(3, 4, dtype=np.float32)


def draw_tone(spec: AugmentSpec, rng: np.random.Generator) -> np.ndarray:
    """`tone` with the colours and the contrast that are drawn.

    Photographs differ from renders in these more than renders do from each other, and a net that has learned what colour skin has
    looks for that colour: of weights trained without, images without colours raised the errors on photographs by three quarters.
    """
    is_grey, saturation, contrast = rng.random(3)
    colour = 0.0 if is_grey < spec.grey else 1 + spec.saturation * (2 * saturation - 1)
    return tone(colour, math.exp(spec.contrast * (2 * contrast - 1)))


def scale_range(spec: AugmentSpec) -> tuple[float, float]:
    """Least and greatest factor by which the side of a sample's box may be multiplied."""
    jitter = 4 * spec.box  # both edges of a side, two deviations each
    return (1 - spec.scale) * (1 - jitter), (1 + spec.scale) * (1 + jitter)


def with_moved_box(record: Record, edges: np.ndarray) -> Record:
    """The sample as a detector would have it: with a tight box whose edges are off by `Drawn.edges`."""
    if not edges.any():
        return record
    longer = float((record.bbox[2:] - record.bbox[:2]).max())
    return dataclasses.replace(record, bbox=record.bbox + edges * longer)


def augment(
    record: Record, side: int, spec: AugmentSpec, draws: Draws, other: Callable[[float], np.ndarray]
) -> tuple[LabelledCrop, np.ndarray]:
    """Crops and augments a sample: a function of its arguments, whoever calls it and when.

    Training does the same to whole batches (`dataset.HandDataset.raw`, then `colours`); this is its slow twin.

    Args:
        record: the sample.
        side: of the crop [px].
        spec: what is drawn.
        draws: generator of each purpose.
        other: gives the partner, an (H, W, 3) uint8 image, of a number in [0, 1); called for amplitude mixing only.

    Returns:
        The crop with its labels, its colours untouched, and the (side, side, 3) float32 image in [0, 1] that a net gets.
    """
    drawn = draw_augmentation(spec, side, draws)
    crop = make_crop(with_moved_box(record, drawn.edges), side, drawn.scale, drawn.angle)
    if drawn.share:
        amplitudes = low_amplitudes(other(drawn.partner), side, spec.amplitude_band)
        mixed = mix_amplitudes(crop.image.astype(np.float32) / 255, amplitudes, drawn.share, spec.amplitude_band)
        image = np.clip(mixed * drawn.gains, 0, 1)
    else:
        image = apply_gains(crop.image, drawn.gains)
    if spec.retones:
        image = retoned(image, drawn.tone)
    if spec.sharpness:
        image = sharpened(image, drawn.sharpness)
    if drawn.erased[2]:
        image = erase_rectangle(image, drawn.erased, drawn.noise)
    return crop, image


@lru_cache(maxsize=8)
def low_frequencies(side: int, band: float) -> np.ndarray:
    """(side, side // 2 + 1) mask of the spectrum that `rfft2` gives: frequencies up to `band` of the highest along each axis."""
    high, wide = fft.fftfreq(side), fft.rfftfreq(side)
    return (np.abs(high)[:, None] <= band / 2) & (wide <= band / 2)  # frequencies end at 1/2 a pixel


def low_amplitudes(image: np.ndarray, side: int, band: float) -> np.ndarray:
    """(H, W, 3) uint8 image -> (L, 3) float32 amplitudes at the L low frequencies of its copy of `side` pixels, values in [0, 1].

    All that mixing takes of a partner: a few hundred bytes, which can be kept for every sample.
    """
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return np.abs(fft.rfft2(small, axes=(0, 1))[low_frequencies(side, band)]).astype(np.float32)


def mix_amplitudes(image: np.ndarray, amplitudes: np.ndarray, share: float, band: float) -> np.ndarray:
    """Image with its phases, and at low frequencies `share` of the partner's amplitudes: its style, not its shapes.

    Args:
        image: (S, S, 3) float32 in [0, 1].
        amplitudes: (L, 3) of the partner, as of `low_amplitudes`.
        share: 0 keeps the image, 1 takes the partner's amplitudes.
        band: frequencies mixed, as a share of the highest along each axis; those at 0, the mean colours, always are.

    After Yang and Soatto 2020 (swapped low frequencies) and Xu et al. 2021 (mixed amplitudes).
    """
    spectrum, low = fft.rfft2(image, axes=(0, 1)), low_frequencies(len(image), band)
    own = np.abs(spectrum[low])
    spectrum[low] *= np.where(own > 0, (1 - share) + share * amplitudes / np.maximum(own, 1e-12), 1)
    return np.clip(fft.irfft2(spectrum, image.shape[:2], axes=(0, 1)), 0, 1).astype(np.float32)


NOISE_STARTS = 1 << 16
"""Places in `noise` where a sample's own may start."""


@lru_cache(maxsize=4)
def noise(side: int) -> np.ndarray:
    """(3 side^2 + NOISE_STARTS - 1,) float32 in [0, 1), always the same: what fills erased rectangles, wherever that is done.

    The S * S * 3 numbers from a start on are the noise of one crop. Those of a small side begin as those of a larger one do.
    """
    return np.random.Generator(np.random.Philox(0)).random(3 * side**2 + NOISE_STARTS - 1, np.float32)


def draw_rectangle(side: int, area: tuple[float, float], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a rectangle in a square: area U[*area] of it, sides in the ratio 0.3 to 1 / 0.3.

    After Zhong et al. 2020.
    """
    share, ratio = rng.uniform(*area), np.exp(rng.uniform(np.log(0.3), -np.log(0.3)))
    height = int(np.clip(round(side * np.sqrt(share * ratio)), 1, side))
    width = int(np.clip(round(side * np.sqrt(share / ratio)), 1, side))
    return int(rng.integers(0, side - height + 1)), int(rng.integers(0, side - width + 1)), height, width


def erase_rectangle(image: np.ndarray, rectangle: tuple[int, int, int, int], start: int) -> np.ndarray:
    """(S, S, 3) image with noise in a rectangle (top, left, height, width); `start` says which."""
    top, left, height, width = rectangle
    inside = slice(top, top + height), slice(left, left + width)
    erased = image.copy(order="K")
    erased[inside] = noise(len(image))[start : start + image.size].reshape(image.shape)[inside]
    return erased
