"""Marks on the back of the hand: veins, tendons, freckles, age spots, moles, hair."""

import numpy as np

from handsynth.assets.skins.painter.frames import Frames
from handsynth.assets.skins.painter.noise import noise, ridges, rough_noise, smoothstep, spots, stroke, warp
from handsynth.assets.skins.painter.people import Layer, People, amounts, shifts
from handsynth.assets.skins.painter.pigments import DEEP_VEIN, MELANIN, PALLOR

# Courses of veins over the back, from between the knuckles to the wrist, in the units of creases.py.
_VEINS = (
    (((1.02, 0.22), (0.80, 0.20), (0.58, 0.10), (0.35, 0.14), (0.10, 0.22)), ((0.95, -0.20), (0.75, -0.12), (0.58, 0.10))),
    (((0.95, -0.36), (0.72, -0.33), (0.50, -0.25), (0.28, -0.28), (0.08, -0.22)), ((0.72, -0.33), (0.60, -0.08), (0.40, 0.02))),
    (
        ((0.98, 0.00), (0.80, -0.04), (0.62, -0.18), (0.40, -0.12), (0.12, -0.02)),
        ((0.85, 0.50), (0.62, 0.38), (0.38, 0.36), (0.12, 0.30)),
    ),
)


def mark_layers(frames: Frames, palm: np.ndarray, nail: np.ndarray, people: People, rng: np.random.Generator) -> list[Layer]:
    """All marks. `palm` and `nail` are (U,) shares of palm skin and of nail plate."""
    back = (1.0 - palm) * (1.0 - nail) * frames.away_from_rim
    return (
        _veins_and_tendons(frames, back, people, rng) + _spots(frames, palm, back, people, rng) + _hair(frames, back, people, rng)
    )


def _veins_and_tendons(frames: Frames, back: np.ndarray, people: People, rng: np.random.Generator) -> list[Layer]:
    """Soft bluish courses of the veins, and paler skin where tendons stretch it."""
    plane = warp(frames.palm, 0.014, 0.0020, rng)
    where = back * frames.hand_body * smoothstep(frames.palmar, -0.35, -0.75)
    layers = []
    for branches in _VEINS:
        veins = np.max([stroke(plane, frames.palm_path(path), 0.0017, 0.25) for path in branches], axis=0)
        strength = amounts(0.45 * (1.1 - 0.6 * people.darkness) + 0.12 * people.age, 0.22, people, rng)
        layers.append(Layer((veins * where).astype(np.float32), strength * DEEP_VEIN))
    tendons = np.zeros(len(back), np.float32)
    for knuckle in frames.palm_knuckles[1:]:
        wrist = np.array([0.05 * frames.palm_length, 0.25 * knuckle[1]])
        tendons = np.maximum(tendons, stroke(frames.palm, np.stack([wrist, 0.5 * (wrist + knuckle), knuckle]), 0.0022, 0.3))
    layers.append(Layer(tendons * where, amounts(0.35, 0.25, people, rng) * PALLOR))
    return layers


def _spots(frames: Frames, palm: np.ndarray, back: np.ndarray, people: People, rng: np.random.Generator) -> list[Layer]:
    """Freckles in sets, age spots and moles in smaller ones; freckles on light skin, age spots on old."""
    position = frames.surface.position
    light = 1.0 - people.darkness
    sun = back * (0.25 + 0.75 * frames.hand_body) * smoothstep(frames.palmar, 0.0, -0.6)
    layers = []
    for _ in range(4):
        patchy = sun * np.exp(0.8 * noise(position, 0.02, rng))
        layers.append(
            Layer(spots(position, patchy, (0.0006, 0.0012), 130, rng) * back, amounts(0.10 * light, 0.06, people, rng) * MELANIN)
        )
    for _ in range(4):
        ragged = warp(position, 0.003, 0.0007, rng)
        pattern = spots(ragged, sun, (0.0012, 0.0032), 14, rng) * back
        layers.append(Layer(pattern, amounts(0.05 + 0.08 * np.maximum(people.age, 0), 0.05, people, rng) * MELANIN))
    for _ in range(4):
        pattern = spots(position, back + 0.15 * palm, (0.0006, 0.0012), 4, rng)
        layers.append(Layer(pattern * (1 - 0.5 * palm), amounts(0.25, 0.2, people, rng) * MELANIN))
    return layers


def _hair(frames: Frames, back: np.ndarray, people: People, rng: np.random.Generator) -> list[Layer]:
    """Hair of the back of the hand and the first bones of the fingers, too thin to see one by one: a fine dark streaking."""
    grows = frames.hand_body * smoothstep(frames.palm[:, 0], 0.95 * frames.palm_length, 0.2 * frames.palm_length)
    for finger in frames.fingers[1:]:
        first, second, _ = finger.joints
        grows = grows + 0.7 * finger.member * smoothstep(np.abs(finger.along - 0.62 * (first + second)), 0.009, 0.005)
    where = (
        back
        * grows
        * smoothstep(frames.palmar, -0.1, -0.6)
        * np.clip(0.6 + 0.4 * rough_noise(frames.surface.position, 0.01, rng), 0, 2)
    )
    layers = []
    for _ in range(2):
        streaks = ridges(warp(frames.surface.position, 0.01, 0.002, rng), (0.010, 0.003, 0.0016), rng)
        layers.append(
            Layer(
                (streaks * where).astype(np.float32),
                amounts(0.05, 0.07, people, rng) * MELANIN + shifts(0.01, people, rng) * MELANIN,
            )
        )
    return layers
