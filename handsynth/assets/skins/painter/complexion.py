"""Colour of the skin at large: tone, palms, redness over knuckles and pads, blotches and grain."""

import numpy as np

from handsynth.assets.skins.painter.frames import Frames
from handsynth.assets.skins.painter.noise import bump, noise, rough_noise, smoothstep
from handsynth.assets.skins.painter.people import Layer, People, amounts, shifts
from handsynth.assets.skins.painter.pigments import BLOOD, CAROTENE, FURROW, MELANIN, PALLOR, tone_absorbance


def palm_skin(frames: Frames, rng: np.random.Generator) -> np.ndarray:
    """(U,) 1 on the thick, pale skin of palm and pads, 0 on the back; the border runs along the sides, not quite straight."""
    border = 0.08 * rough_noise(frames.surface.position, 0.012, rng)
    for finger in frames.fingers:
        # On the last bone the palm's skin comes round to the nail.
        border = border + 0.30 * finger.last * smoothstep(finger.along, finger.joints[2], finger.end)
    skin = smoothstep(frames.palmar + border, -0.15, 0.45)
    wrist = smoothstep(frames.palm[:, 0], -0.15 * frames.palm_length, 0.20 * frames.palm_length)
    wrist = np.maximum(wrist, 1 - frames.hand_body)
    return (skin * (0.45 + 0.55 * wrist)).astype(np.float32)


def complexion_layers(frames: Frames, palm: np.ndarray, nail: np.ndarray, people: People, rng: np.random.Generator) -> list[Layer]:
    """Layers of tone and redness. `palm` and `nail` are (U,) shares of palm skin and of nail plate."""
    skin = 1.0 - nail
    back = (1.0 - palm) * skin
    layers = [
        Layer(back, tone_absorbance(people.lightness)),
        # Palms of all peoples are pale: at L* 33 on the back about 54, at 75 about 69.
        Layer(palm * skin, tone_absorbance(people.lightness * 0.34 + 43.5) + shifts(0.05, people, rng) * MELANIN),
        Layer(palm * skin, (0.30 + 0.15 * people.flush[:, None] + shifts(0.15, people, rng)) * BLOOD),
        Layer(skin, (0.15 + 0.20 * people.flush[:, None] + shifts(0.1, people, rng)) * BLOOD),
        Layer(skin, shifts(0.25, people, rng) * CAROTENE),
        # A tan, or its lack: the back alone, against the sides.
        Layer(back * smoothstep(frames.palmar, 0.0, -0.8), shifts(0.06, people, rng) * MELANIN),
        Layer(back * (1 - frames.hand_body), shifts(0.04, people, rng) * MELANIN),
    ]
    layers += _redness(frames, palm * skin, back, people, rng)
    layers += _blotches(frames, palm * skin, back, people, rng)
    return layers


def _redness(frames: Frames, palm: np.ndarray, back: np.ndarray, people: People, rng: np.random.Generator) -> list[Layer]:
    """Blood over knuckles, tips and pads; on dark skin the knuckles are darker besides."""
    position = frames.surface.position
    uneven = 1.0 + 0.35 * rough_noise(position, 0.008, rng)
    pip, dip, tips_back, tips_palm, middles = (np.zeros(len(palm)) for _ in range(5))
    knuckles = np.zeros(len(palm))
    for k, finger in enumerate(frames.fingers):
        first, second, third = finger.joints
        thumb = finger.name == "thumb"
        pip += finger.member * bump(finger.along - second, 0.0065) * (0.4 if thumb else 1.0)
        dip += finger.member * bump(finger.along - third, 0.0042)
        tips_back += finger.member * smoothstep(finger.along, third, finger.end)
        tips_palm += finger.member * smoothstep(finger.along, third - 0.002, finger.end - 0.004)
        middles += finger.member * (
            bump(finger.along - 0.5 * (first + second) - 0.002, 0.007) + bump(finger.along - 0.5 * (second + third), 0.005)
        )
        if not thumb:  # whose first joint lies deep in the palm
            away = np.linalg.norm(frames.palm - frames.palm_knuckles[k], axis=1)
            knuckles += bump(away, 0.009) * np.maximum(frames.hand_body, 0.3)
    length, width = frames.palm_length, frames.palm_width
    along, across = frames.palm[:, 0] / length, frames.palm[:, 1] / width
    body = frames.hand_body
    thenar = bump(np.hypot((along - 0.42) / 1.3, across - 0.52), 0.22)
    hypothenar = bump(np.hypot((along - 0.38) / 1.6, across + 0.52), 0.20) * body
    mounts = bump(along - 1.02, 0.10) * body
    hollow = bump(np.hypot(along - 0.58, across + 0.05), 0.20) * body

    def blood(pattern: np.ndarray, mean: float, deviation: float, follows: float = 0.2) -> Layer:
        strength = amounts(mean + follows * people.flush, deviation, people, rng)
        return Layer((pattern * uneven).astype(np.float32), strength * BLOOD)

    dark = people.darkness
    return [
        blood(pip * back, 0.6, 0.3),
        blood(dip * back, 0.45, 0.25),
        blood(knuckles * back, 0.7, 0.35),
        blood(tips_back * back, 0.7, 0.3),
        blood(tips_palm * palm, 0.9, 0.4),
        blood(thenar * palm, 0.6, 0.3),
        blood(hypothenar * palm, 0.75, 0.35),
        blood(mounts * palm, 0.6, 0.3),
        Layer((hollow * palm * uneven).astype(np.float32), amounts(0.3, 0.2, people, rng) * PALLOR),
        Layer((middles * palm * uneven).astype(np.float32), amounts(0.3, 0.2, people, rng) * PALLOR),
        Layer(((pip + 0.8 * dip) * back * uneven).astype(np.float32), amounts(0.02 + 0.13 * dark, 0.04, people, rng) * MELANIN),
        Layer((knuckles * back * uneven).astype(np.float32), amounts(0.01 + 0.12 * dark, 0.04, people, rng) * MELANIN),
        Layer((tips_back * back).astype(np.float32), amounts(0.01 + 0.06 * dark, 0.04, people, rng) * MELANIN),
    ]


def _blotches(frames: Frames, palm: np.ndarray, back: np.ndarray, people: People, rng: np.random.Generator) -> list[Layer]:
    """Mottling at several scales: blood and pigment unevenly spread, and the grain that keeps skin from looking like plastic."""
    position = frames.surface.position
    layers = []
    for cell, count, blood, pigment in ((0.030, 4, 0.08, 0.010), (0.014, 5, 0.065, 0.008), (0.007, 5, 0.06, 0.007)):
        for _ in range(count):
            layers.append(Layer(noise(position, cell, rng) * (palm + 0.75 * back), shifts(blood, people, rng) * BLOOD))
            layers.append(Layer(noise(position, cell, rng) * back, shifts(pigment, people, rng) * MELANIN))
    for _ in range(4):  # white and red marbling of the palm
        marble = np.tanh(1.5 * rough_noise(position, 0.0065, rng))
        layers.append(
            Layer((marble * palm).astype(np.float32), shifts(0.09, people, rng) * BLOOD + shifts(0.03, people, rng) * PALLOR)
        )
    for _ in range(5):
        layers.append(
            Layer(noise(position, 0.0030, rng) * back, shifts(0.012, people, rng) * MELANIN + shifts(0.06, people, rng) * BLOOD)
        )
        layers.append(
            Layer(noise(position, 0.0028, rng) * palm, shifts(0.02, people, rng) * FURROW + shifts(0.1, people, rng) * BLOOD)
        )
    for _ in range(4):
        layers.append(Layer(noise(position, 0.0014, rng) * (palm + back), shifts(0.025, people, rng) * FURROW))
    # Everyone has some grain: this one goes into the mean.
    layers.append(Layer(rough_noise(position, 0.0032, rng) * back, amounts(0.05, 0.02, people, rng) * FURROW))
    layers.append(Layer(rough_noise(position, 0.0032, rng) * palm, amounts(0.035, 0.015, people, rng) * FURROW))
    return layers
