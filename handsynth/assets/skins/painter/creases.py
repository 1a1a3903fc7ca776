"""Lines of the skin: palm creases, flexion creases of the fingers, wrinkles over the knuckles, and the fine net between them."""

import numpy as np

from handsynth.assets.skins.painter.frames import Finger, Frames
from handsynth.assets.skins.painter.noise import bump, noise, ridges, smoothstep, stroke, warp
from handsynth.assets.skins.painter.people import Layer, People, amounts
from handsynth.assets.skins.painter.pigments import BLOOD, FURROW, MELANIN

# Paths of the palm's creases: (share of wrist-to-middle-knuckle, share of the knuckles' breadth from the palm's middle line;
# +0.5 is the index knuckle, -0.5 the little finger's).
_Path = tuple[tuple[float, float], ...]
_MAIN_CREASES: tuple[_Path, ...] = (
    (
        (0.80, -0.82),
        (0.87, -0.55),
        (0.93, -0.25),
        (1.00, 0.05),
        (1.12, 0.24),
        (1.20, 0.30),
    ),  # distal: from the little finger's side
    ((0.93, 0.80), (0.90, 0.60), (0.84, 0.30), (0.76, 0.00), (0.66, -0.30), (0.58, -0.52)),  # proximal: across the palm
    ((0.95, 0.80), (0.90, 0.58), (0.77, 0.33), (0.58, 0.13), (0.38, 0.03), (0.20, 0.02), (0.10, 0.06)),  # around the thumb's ball
)
_MINOR_CREASES: tuple[_Path, ...] = (
    ((0.12, -0.05), (0.35, -0.10), (0.60, -0.08), (0.85, -0.02)),  # towards the middle finger
    ((0.30, -0.30), (0.50, -0.36), (0.70, -0.45), (0.84, -0.50)),
    ((0.70, -0.85), (0.69, -0.65), (0.72, -0.50)),
    ((1.06, 0.20), (1.09, 0.00), (1.07, -0.20)),  # below the middle and ring fingers
    ((0.50, 0.62), (0.42, 0.42), (0.30, 0.25)),  # over the thumb's ball
    ((0.68, 0.75), (0.60, 0.52), (0.50, 0.34)),
)


def crease_layers(frames: Frames, palm: np.ndarray, nail: np.ndarray, people: People, rng: np.random.Generator) -> list[Layer]:
    """All lines. `palm` and `nail` are (U,) shares of palm skin and of nail plate."""
    skin = 1.0 - nail
    return (
        _palm_creases(frames, palm * skin, people, rng)
        + _finger_creases(frames, palm * skin, people, rng)
        + _knuckle_wrinkles(frames, (1.0 - palm) * skin, people, rng)
        + _fine_lines(frames, palm * skin, (1.0 - palm) * skin, people, rng)
    )


def _furrow(pattern: np.ndarray, mean: np.ndarray | float, deviation: float, people: People, rng: np.random.Generator) -> Layer:
    """A line: darker at its bottom, on dark skin more so because pigment gathers there."""
    strength = amounts(mean * (0.85 + 0.5 * people.darkness), deviation, people, rng)
    return Layer(pattern.astype(np.float32), strength * FURROW)


def _palm_creases(frames: Frames, palm: np.ndarray, people: People, rng: np.random.Generator) -> list[Layer]:
    """The three great creases one by one, each with a soft red shoulder, and minor lines in groups."""
    plane = warp(frames.palm, 0.012, 0.0011, rng)
    thumb = frames.fingers[0].member * smoothstep(
        frames.fingers[0].along, 0.3 * frames.fingers[0].joints[1], frames.fingers[0].joints[1]
    )
    where = smoothstep(frames.palmar, 0.05, 0.45) * palm * frames.hand_body * (1 - thumb)
    layers = []
    for path in _MAIN_CREASES:
        points = frames.palm_path(path)
        layers.append(_furrow(stroke(plane, points, 0.00065, 0.2) * where, 0.42, 0.11, people, rng))
        layers.append(
            Layer((stroke(plane, points, 0.0022, 0.2) * where).astype(np.float32), amounts(0.6, 0.25, people, rng) * BLOOD)
        )
    for path in _MINOR_CREASES:
        line = stroke(plane, frames.palm_path(path), 0.0005, 0.45) * where
        layers.append(_furrow(line, 0.14, 0.09, people, rng))
    for _ in range(5):  # short crossing lines, different in everyone
        lines = np.zeros(len(palm), np.float32)
        for _ in range(22):
            start = np.array([rng.uniform(0.1, 1.15), rng.uniform(-0.75, 0.7)])
            heading, length = rng.uniform(0, np.pi), rng.uniform(0.08, 0.28)
            bend = rng.normal(0, 0.03, 2)
            step = length * np.array([np.cos(heading), np.sin(heading)])
            points = frames.palm_path([tuple(start), tuple(start + step / 2 + bend), tuple(start + step)])
            lines = np.maximum(lines, rng.uniform(0.4, 1.0) * stroke(plane, points, 0.00045, 0.5))
        layers.append(_furrow(lines * where, 0.10, 0.07, people, rng))
    return layers


def _across_line(finger: Finger, along: np.ndarray, place: float, width: float, bow: float = 0.0) -> np.ndarray:
    """(U,) a line across the finger at `place` [m along it]; `bow` moves its ends towards the tip [m]."""
    return finger.member * bump(along - place - bow * np.square(np.clip(finger.side, -1.2, 1.2)), width)


def _finger_creases(frames: Frames, palm: np.ndarray, people: People, rng: np.random.Generator) -> list[Layer]:
    """Flexion creases: one at a finger's root, a pair at the middle joint, one at the last; the thumb's likewise."""
    position = frames.surface.position
    wobble = 0.0006 * noise(position, 0.006, rng) + 0.0003 * noise(position, 0.0025, rng)
    roots, middles, lasts, seconds, soft = (np.zeros(len(palm)) for _ in range(5))
    minor = [np.zeros(len(palm)) for _ in range(3)]
    for finger in frames.fingers:
        first, second, third = finger.joints
        along = finger.along + wobble
        where = smoothstep(finger.palmar, -0.15, 0.25)
        thumb = finger.name == "thumb"
        root = first + (0.95 if thumb else 0.50) * (second - first)
        roots += where * _across_line(finger, along, root, 0.00075, 0.001)
        if not thumb:
            middles += where * _across_line(finger, along, second - 0.0022, 0.0007, 0.0006)
            seconds += where * _across_line(finger, along, second + 0.0012, 0.0006, 0.0004)
        lasts += where * _across_line(finger, along, third - 0.0022, 0.0007, 0.0006)
        soft += where * (
            _across_line(finger, along, third - 0.002, 0.0024)
            + (0 if thumb else _across_line(finger, along, second - 0.001, 0.003))
        )
        for lines in minor:
            for _ in range(7):
                place = rng.uniform(root + 0.003, finger.end - 0.008)
                side = rng.uniform(-0.5, 0.5)
                lines += (
                    where
                    * rng.uniform(0.3, 1.0)
                    * _across_line(finger, along, place, 0.0005, rng.uniform(-0.001, 0.001))
                    * bump(finger.side - side, 0.35)
                )
    layers = [
        _furrow(roots * palm, 0.26, 0.08, people, rng),
        _furrow(middles * palm, 0.32, 0.09, people, rng),
        _furrow(seconds * palm, 0.20, 0.08, people, rng),
        _furrow(lasts * palm, 0.28, 0.08, people, rng),
        Layer((soft * palm).astype(np.float32), amounts(0.5, 0.2, people, rng) * BLOOD),
        Layer((soft * palm).astype(np.float32), amounts(0.18 * people.darkness, 0.03, people, rng) * MELANIN),
    ]
    return layers + [_furrow(lines * palm, 0.09, 0.06, people, rng) for lines in minor]


def _knuckle_wrinkles(frames: Frames, back: np.ndarray, people: People, rng: np.random.Generator) -> list[Layer]:
    """Folds across the backs of the finger joints, more and deeper with age."""
    position = frames.surface.position
    wobble = 0.0007 * noise(position, 0.007, rng) + 0.0003 * noise(position, 0.0025, rng)
    middle_folds, middle_fine, last_folds = (np.zeros(len(back)) for _ in range(3))
    for finger in frames.fingers:
        _, second, third = finger.joints
        where = smoothstep(finger.palmar, 0.1, -0.35) * bump(finger.side, 0.62)
        along = finger.along + wobble
        main = ((-0.0045, 0.6), (-0.0020, 1.0), (0.0006, 1.0), (0.0034, 0.75))
        for offset, strength in main:
            # Folds curve around the knuckle's middle, like brackets.
            middle_folds += where * strength * _across_line(finger, along, second + offset, 0.0006, 0.5 * offset)
        for offset in (-0.0068, -0.0056, -0.0033, -0.0008, 0.0021, 0.0048, 0.0062):
            middle_fine += where * _across_line(finger, along, second + offset, 0.00045, 0.4 * offset)
        for offset, strength in ((-0.0018, 0.8), (0.0002, 1.0), (0.0020, 0.6)):
            last_folds += where * strength * _across_line(finger, along, third + offset, 0.0005, 0.3 * offset)
    age = people.age
    knuckles = np.zeros(len(back))
    for k in range(1, 5):
        knuckles += bump(np.linalg.norm(frames.palm - frames.palm_knuckles[k], axis=1), 0.010)
    net = ridges(warp(position, 0.01, 0.001, rng), (0.0020, 0.0035, 0.0035), rng) * knuckles * frames.hand_body
    return [
        _furrow(middle_folds * back, 0.46 + 0.07 * age, 0.08, people, rng),
        _furrow(middle_fine * back, 0.22 + 0.06 * age, 0.05, people, rng),
        _furrow(last_folds * back, 0.33 + 0.05 * age, 0.06, people, rng),
        _furrow(net * back, 0.15 + 0.04 * age, 0.04, people, rng),
    ]


def _fine_lines(frames: Frames, palm: np.ndarray, back: np.ndarray, people: People, rng: np.random.Generator) -> list[Layer]:
    """The net of furrows everywhere: across the fingers and, on the back of the hand, in long rhombs; stronger with age."""
    position = frames.surface.position
    layers = []
    for _ in range(3):
        net = ridges(warp(position, 0.02, 0.002, rng), (0.0021, 0.0040, 0.0040), rng)
        layers.append(_furrow(net * back, 0.045 + 0.02 * people.age, 0.03, people, rng))
        net = ridges(warp(position, 0.02, 0.002, rng), (0.0045, 0.0030, 0.0022), rng)
        layers.append(_furrow(net * palm, 0.035 + 0.01 * people.age, 0.025, people, rng))
    return layers
