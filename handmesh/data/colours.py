"""What augmentation does to pixels, for whole batches where the net is: the torch twin of `augment`, from the same draws.

Crops travel to the device as bytes, a quarter of what floats take, with a few numbers each. Nothing here waits for the device.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from handmesh.data.augment import AugmentSpec, Drawn, low_frequencies, noise
from handmesh.data.tones import BLUR


class Colours(NamedTuple):
    """What is still to be done with the pixels of B crops; a single one has no B. Parts that are switched off have no columns."""

    gains: Tensor  # (B, 3) float32
    tone: Tensor  # (B, 3, 4) float32, affine maps of r, g, b, 1; (B, 0, 4) where they stay
    sharpness: Tensor  # (B, 1) float32, as of `tones.sharpened`; (B, 0) where it stays
    share: Tensor  # (B,) float32, of the partner's amplitudes; 0 mixes none
    amplitudes: Tensor  # (B, L, 3) float32, the partner's, as of `augment.low_amplitudes`; L = 0 without mixing
    erased: Tensor  # (B, 5) int64: top, left, height and width of the rectangle, start of its noise; (B, 0) without erasing


def to_colours(spec: AugmentSpec, drawn: Sequence[Drawn], amplitudes: Sequence[np.ndarray | None]) -> Colours:
    """Of B samples, and the amplitudes of each one's partner: None of all where the spec mixes none."""
    partners = np.array(amplitudes) if spec.amplitude else np.empty((len(drawn), 0, 3), np.float32)
    tones = np.array([one.tone for one in drawn]) if spec.retones else np.empty((len(drawn), 0, 4), np.float32)
    sharpness = np.array([[one.sharpness] if spec.sharpness else [] for one in drawn], np.float32)
    erased = np.array([[*one.erased, one.noise] for one in drawn] if spec.erasing else [[]] * len(drawn), np.int64)
    return Colours(
        gains=torch.from_numpy(np.array([one.gains for one in drawn])),
        tone=torch.from_numpy(tones),
        sharpness=torch.from_numpy(sharpness),
        share=torch.tensor([one.share for one in drawn], dtype=torch.float32),
        amplitudes=torch.from_numpy(partners),
        erased=torch.from_numpy(erased),
    )


def finish_images(crops: Tensor, colours: Colours, band: float) -> Tensor:
    """(B, S, S, 3) uint8 crops and what is to be done with them -> (B, 3, S, S) float32 in [0, 1], channels last in memory.

    `band` is the spec's `amplitude_band`.
    """
    if crops.device.type == "cpu" and not colours.amplitudes.shape[1]:
        image = _gained(crops.numpy(), colours.gains.numpy())
    else:
        image = crops.permute(0, 3, 1, 2).float() / 255
        if colours.amplitudes.shape[1]:
            mixed = mix_amplitudes(image, colours.amplitudes, colours.share, band)
            image = torch.where(colours.share[:, None, None, None] > 0, mixed, image)
        image = (image * colours.gains[:, :, None, None]).clamp(0, 1)
    if colours.tone.shape[1]:
        image = retone(image, colours.tone)
    if colours.sharpness.shape[1]:
        image = sharpen(image, colours.sharpness)
    if colours.erased.shape[1]:
        image = erase_rectangles(image, colours.erased)
    return image.contiguous(memory_format=torch.channels_last)


def _gained(crops: np.ndarray, gains: np.ndarray) -> Tensor:
    """(B, S, S, 3) uint8 and (B, 3) float32 -> (B, 3, S, S) float32 clip(crops / 255 * gains, 0, 1), channels last in memory.

    On a CPU one pass through tables of the 256 bytes takes a third of the time that torch's four passes take, to the same bit.
    """
    tables = np.clip((np.arange(256, dtype=np.float32) / 255)[:, None] * gains[:, None], 0, 1)  # (B, 256, 3)
    image = np.empty(crops.shape, np.float32)
    for crop, table, out in zip(crops, tables, image, strict=True):
        cv2.LUT(crop, table[None], dst=out)
    return torch.from_numpy(image).permute(0, 3, 1, 2)


def retone(image: Tensor, tone: Tensor) -> Tensor:
    """As `tones.retoned`, of (B, 3, S, S) images and (B, 3, 4) maps."""
    flat = torch.baddbmm(tone[:, :, 3:], tone[:, :, :3], image.flatten(2))
    return flat.unflatten(2, image.shape[2:]).clamp(0, 1)


def sharpen(image: Tensor, amount: Tensor) -> Tensor:
    """As `tones.sharpened`, of (B, 3, S, S) images and (B, 1) amounts."""
    line = _blur(image.device)
    blurred = functional.pad(image, (2, 2, 2, 2), "reflect")
    blurred = functional.conv2d(functional.conv2d(blurred, line[:, :, None], groups=3), line[..., None], groups=3)
    return (image + amount[..., None, None] * (image - blurred)).clamp(0, 1)


def mix_amplitudes(image: Tensor, amplitudes: Tensor, share: Tensor, band: float) -> Tensor:
    """As `augment.mix_amplitudes`, of (B, 3, S, S) images, (B, L, 3) amplitudes and (B,) shares."""
    side = image.shape[-1]
    low = _low_places(side, band, image.device)
    spectrum = torch.fft.rfft2(image).flatten(2)
    part = spectrum[:, :, low]
    own, share = part.abs(), share[:, None, None]
    part = part * torch.where(own > 0, (1 - share) + share * amplitudes.transpose(1, 2) / own.clamp_min(1e-12), 1)
    spectrum = spectrum.index_copy(2, low, part).unflatten(2, (side, -1))
    return torch.fft.irfft2(spectrum, (side, side)).clamp(0, 1)


def erase_rectangles(image: Tensor, erased: Tensor) -> Tensor:
    """As `augment.erase_rectangle`, of (B, 3, S, S) images and (B, 5) rectangles with their starts."""
    side = image.shape[-1]
    top, left, height, width, start = erased[:, :, None].unbind(1)
    places = torch.arange(side, device=image.device)
    rows, columns = (places >= top) & (places < top + height), (places >= left) & (places < left + width)
    filled = _noise(side, image.device).unfold(0, 3 * side**2, 1)[start[:, 0]].view(-1, side, side, 3).permute(0, 3, 1, 2)
    return torch.where((rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1), filled, image)


@lru_cache(maxsize=8)
def _low_places(side: int, band: float, device: torch.device) -> Tensor:
    """(L,) places of the low frequencies in a flat spectrum: a mask would make the host wait for their number."""
    return torch.from_numpy(np.flatnonzero(low_frequencies(side, band))).to(device)


@lru_cache(maxsize=8)
def _blur(device: torch.device) -> Tensor:
    """(3, 1, 5) `tones.BLUR` for each channel."""
    return torch.from_numpy(BLUR).to(device).repeat(3, 1)[:, None]


@lru_cache(maxsize=8)
def _noise(side: int, device: torch.device) -> Tensor:
    return torch.from_numpy(noise(side)).to(device)
