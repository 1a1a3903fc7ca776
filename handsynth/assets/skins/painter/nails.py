"""Fingernails: plate, lunula, free edge, and the fold of skin around them."""

from typing import NamedTuple

import numpy as np

from handsynth.assets.skins.painter.frames import Finger, Frames
from handsynth.assets.skins.painter.noise import noise, smoothstep
from handsynth.assets.skins.painter.people import Layer, People, amounts, shifts
from handsynth.assets.skins.painter.pigments import BLOOD, CAROTENE, FURROW, MELANIN, PALLOR, tone_absorbance

# Proportions of a nail, after an adult index finger: last joint to tip 26 mm, nail 12 mm long and 11 mm wide on a finger of 15 mm.
_START = 0.45  # way from the last joint to the tip where the plate begins
_HALF_WIDTH = 0.70  # of the finger's half width
_ROUND = 0.0045  # how far the plate's ends bulge [m]


class NailMasks(NamedTuple):
    """(U,) float32 each, 0..1."""

    plate: np.ndarray
    lunula: np.ndarray
    free_edge: np.ndarray
    fold: np.ndarray  # shadowy line round the plate, deepest at the sides
    cuticle: np.ndarray  # pale seam at the plate's root


def nail_masks(frames: Frames) -> NailMasks:
    """Where the nails of all five fingers lie."""
    total = [np.zeros(len(frames.palmar), np.float32) for _ in NailMasks._fields]
    for finger in frames.fingers:
        for mask, more in zip(total, _one_nail(finger), strict=True):
            np.maximum(mask, more, out=mask)
    return NailMasks(*total)


def _one_nail(finger: Finger) -> NailMasks:
    """Masks of one finger, from the distance to the plate's outline: negative inside [m]."""
    half = _HALF_WIDTH * finger.half_width
    bow = np.square(np.clip(finger.side / _HALF_WIDTH, -1.3, 1.3))
    third = finger.joints[2]
    start = third + _START * (finger.end - third)
    root = start + _ROUND * 0.75 * bow - finger.along  # > 0 before the root
    tip = finger.along - (finger.end - 0.0006 - 0.8 * _ROUND * bow)  # > 0 beyond the free edge
    flank = (np.abs(finger.side) - _HALF_WIDTH) * finger.half_width
    outline = _smooth_max(_smooth_max(root, flank, 0.0022), tip, 0.0016)
    back = finger.last * smoothstep(finger.palmar, 0.45, 0.2)
    plate = smoothstep(outline, 0.00035, -0.00035) * back
    lunula = plate * smoothstep(finger.along - start, 0.0034, 0.0020) * smoothstep(np.abs(finger.side), 0.62, 0.40)
    free_edge = plate * smoothstep(tip, -0.0017, -0.0009)
    round_it = smoothstep(np.abs(outline), 0.0013, 0.0002) * back
    fold = round_it * (0.55 + 0.45 * smoothstep(root, 0.0010, -0.001)) * smoothstep(tip, 0.0006, -0.0006)
    cuticle = smoothstep(np.abs(root - 0.0006), 0.0008, 0.0002) * smoothstep(flank, 0.0, -0.001) * back
    shrunk = 1.0 if half > 0.002 else 0.0  # a finger thinner than 6 mm has no room for a nail
    return NailMasks(*((shrunk * m).astype(np.float32) for m in (plate, lunula, free_edge, fold, cuticle)))


def nail_layers(frames: Frames, masks: NailMasks, people: People, rng: np.random.Generator) -> list[Layer]:
    """Layers of the nails: the plate replaces the skin under it, the rest is laid upon it."""
    plate_tone = tone_absorbance(people.lightness * 0.42 + 41.0)
    lines = noise(_stretched(frames), (0.0011, 0.0011, 0.05), rng)
    bed = masks.plate * (1.0 - masks.free_edge)
    return [
        Layer(masks.plate, plate_tone - amounts(0.6, 0.25, people, rng) * CAROTENE),
        Layer(bed, amounts(1.0 + 0.3 * people.flush, 0.5, people, rng) * BLOOD),
        Layer(masks.lunula * bed, amounts(0.7, 0.4, people, rng) * PALLOR - 0.6 * BLOOD),
        Layer(masks.free_edge, amounts(1.1, 0.45, people, rng) * PALLOR + amounts(0.6, 0.3, people, rng) * CAROTENE),
        Layer(masks.fold, amounts(0.16, 0.05, people, rng) * FURROW + amounts(1.0, 0.4, people, rng) * BLOOD),
        Layer(masks.fold, amounts(0.22 * people.darkness, 0.05, people, rng) * MELANIN),
        Layer(masks.cuticle, amounts(0.5, 0.3, people, rng) * PALLOR),
        Layer(lines * bed, shifts(0.035, people, rng) * FURROW),
        Layer(noise(frames.surface.position, 0.005, rng) * bed, shifts(0.5, people, rng) * BLOOD),
    ]


def _stretched(frames: Frames) -> np.ndarray:
    """(U, 3) across, palmar height and along of the finger each texel belongs to: a noise there can run along the fingers."""
    points = np.zeros((len(frames.palmar), 3))
    for k, finger in enumerate(frames.fingers):
        mine = finger.member > 0.5
        points[mine] = np.stack([finger.across[mine], np.full(mine.sum(), 0.1 * k), finger.along[mine]], 1)
    return points


def _smooth_max(a: np.ndarray, b: np.ndarray, blend: float) -> np.ndarray:
    """Greater of two distances with the corner rounded over `blend` [m]."""
    h = np.clip(0.5 + 0.5 * (a - b) / blend, 0.0, 1.0)
    return b + (a - b) * h + blend * h * (1.0 - h)
