"""The forearm's skin: it begins with the colours that the hand's own texture has at the rim, and fades into its tone.

Works with any skin (painted, HTML's): what it needs of the hand is its finished albedo and where the rim lies in it. Patterns
(pores, mottling, veins, hair) are made once from fixed integers, so that they are the same on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from handsynth.recipe.recipe import ARM_VARIANTS
from handsynth.scene.arm import POLE_M, Arm, smooth

ALONG, AROUND = 192, 96
"""Texels from the wrist to the elbow, and around: 1.3 mm and 1.7 mm, about the hand's own in a 256 px image."""

FADE_M, GRAIN_FADE_M = 0.030, 0.006
"""Lengths over which the rim's colours give way to the tone, and the grain among them to the arm's own [m]."""

HARMONICS = 8
"""Of the rim's colours around: the finer ones are grain."""

SEED = 20_261_127
"""Of all patterns."""

SHIRT_COLOURS = (
    (238, 236, 230), (32, 33, 38), (44, 58, 92), (150, 30, 36), (120, 124, 130), (86, 104, 74), (176, 158, 128), (92, 140, 180),
)  # fmt: skip
"""Of short sleeves, sRGB: white, black, navy, red, grey, olive, sand, light blue."""

SHIRT_ROWS = 4
"""Rows at the texture's end that have it; no part of the forearm shows them."""

INSET = (0.03, 0.10, 0.18)
"""Where the rim's colours are read: shares of the way from the rim's edges into their faces, away from the gutter."""


PORES, MOTTLING, HAIR, VEIN = 0.032, (0.018, 0.045), 0.26, (0.085, 0.035, 0.015)
"""Strengths: of pores; of mottling, on every arm and at its greatest; of hair; of veins, which take most of the red."""

_VEIN = np.array(VEIN, np.float32)[:, None, None]


@dataclass(frozen=True)
class ArmSkin:
    """What a person's forearm shows; see `recipe.ArmChoice`."""

    variant: int  # 0 .. ARM_VARIANTS - 1
    mottling: float  # amounts, about 0 to 1
    veins: float
    hair: float
    tan: float  # how much darker (positive) than the hand the forearm is, in hundredths of its tone
    shirt: tuple[int, int, int] = SHIRT_COLOURS[0]  # of the sleeve on the upper arm, sRGB


class ArmTexture:
    """Makes albedos of forearms; kept by a worker."""

    def __init__(self, arm: Arm, faces: np.ndarray, uv: np.ndarray, uv_faces: np.ndarray, size: int) -> None:
        """For one hand and one texture layout: `uv` (T, 2) v up, `uv_faces` (F, 3) aligned with the hand's `faces`, of `size`
        texels.
        """
        self._texels = _rim_texels(arm, faces, uv, uv_faces, size)  # (len(INSET), AROUND)
        total = arm.length_m + POLE_M
        place = np.arange(ALONG) * total / ALONG
        self._fade, grain = (smooth(place / length)[:, None].astype(np.float32) for length in (FADE_M, GRAIN_FADE_M))
        self._own = 1 - grain
        self._near = int(np.searchsorted(place, FADE_M))  # rows that still show the rim's own colours
        # Marks begin behind the rim; where the elbow's end runs into one point, they would become rays.
        end = smooth((total - place) / POLE_M)[:, None].astype(np.float32)
        pores, mottling, veins, hair = _patterns()
        self._marks = pores * grain * end, mottling * self._fade * end, veins * grain * end, hair * grain * end
        self._kernels = _smoothing(HARMONICS), _smoothing(2)

    def albedos(
        self, hands: np.ndarray, rows: Sequence[int], skins: Sequence[ArmSkin], shown: Sequence[int] | None = None
    ) -> np.ndarray:
        """(B, A, A, 4) uint8 sRGB albedos of hands -> (N, ALONG, AROUND, 4) of the forearms of its `rows`, row 0 at the wrist.

        `shown`: how many rows of each will be seen, where a sleeve hides the others; those are white.
        """
        # As words, of which indexing is quicker than of bytes: (N, len(INSET), AROUND, 4).
        words = hands.view(np.uint32).reshape(len(hands), -1)[np.asarray(rows)[:, None, None], self._texels]
        rim = words[..., None].view(np.uint8)[..., :3].sum(1, dtype=np.float64)  # (N, AROUND, 3)
        harmonics, tone = ((kernel @ rim).astype(np.float32) / len(INSET) for kernel in self._kernels)
        rim = rim.astype(np.float32) / len(INSET)
        images = np.empty((len(rows), ALONG, AROUND, 4), np.uint8)
        near = self._near
        ends = [ALONG] * len(rows) if shown is None else [min(max(end, near), ALONG) for end in shown]
        # Of the three channels one after the other: long rows are what numpy is quick at.
        rim, harmonics, tone = (np.ascontiguousarray(values.transpose(0, 2, 1))[:, :, None] for values in (rim, harmonics, tone))
        at_rim = harmonics + self._own[:near] * (rim - harmonics) + self._fade[:near] * (tone - harmonics)  # (N, 3, near, AROUND)
        opaque = np.full((ALONG, AROUND), 255, np.uint8)
        for image, mark, plain, skin, end in zip(images, at_rim, tone, skins, ends, strict=True):
            pores, mottling, veins, hair = (pattern[skin.variant, :end] for pattern in self._marks)
            shade = 1 + PORES * pores
            shade += (MOTTLING[0] + MOTTLING[1] * skin.mottling) * mottling
            shade *= 1 - 0.01 * skin.tan * self._fade[:end]
            shade -= (HAIR * skin.hair) * hair
            colour = _VEIN * (skin.veins * veins)  # (3, end, AROUND)
            np.subtract(1, colour, out=colour)
            colour *= shade
            colour[:, near:] *= plain
            colour[:, :near] *= mark
            # OpenCV rounds and saturates in one vectorised pass; numpy needs three.
            texels = cv2.add(colour.reshape(-1, AROUND), 0.0, dtype=cv2.CV_8U)  # type: ignore[call-overload]  # its stub knows no scalars
            cv2.merge([*texels.reshape(3, end, AROUND), opaque[:end]], image[:end])
            image[end:] = 255
            image[-SHIRT_ROWS:, :, :3] = skin.shirt
        return images


def _rim_texels(arm: Arm, faces: np.ndarray, uv: np.ndarray, uv_faces: np.ndarray, size: int) -> np.ndarray:
    """(len(INSET), AROUND) row-major texels of the hand's texture that lie along the rim, at equal steps of the arm's u."""
    edges = {}
    for face, corners in zip(faces.tolist(), uv_faces.tolist(), strict=True):
        for k in range(3):
            edges[face[k], face[(k + 1) % 3]] = (corners[k], corners[(k + 1) % 3], corners[(k + 2) % 3])
    start = arm.angle[::2] / (2 * np.pi)
    turn = np.sign(start[1] - start[0])
    u = np.append(start, start[0] + turn)
    targets = u[0] + turn * (((np.arange(AROUND) + 0.5) / AROUND - u[0]) * turn % 1.0)  # within one turn from the first vertex
    segment = np.clip(np.searchsorted(u * turn, targets * turn, side="right") - 1, 0, len(start) - 1)
    share = (targets - u[segment]) / (u[segment + 1] - u[segment])
    rows = np.empty((len(INSET), AROUND), np.intp)
    for column, (k, t) in enumerate(zip(segment.tolist(), share.tolist(), strict=True)):
        a, b, c = (uv[i] for i in edges[int(arm.rim[k]), int(arm.rim[(k + 1) % len(arm.rim)])])
        for row, inset in enumerate(INSET):
            x, y = (1 - inset) * ((1 - t) * a + t * b) + inset * c
            rows[row, column] = min(int((1 - y) * size), size - 1) * size + min(int(x * size), size - 1)
    return rows


def _smoothing(harmonics: int) -> np.ndarray:
    """(AROUND, AROUND) matrix that drops the finer harmonics of colours around the rim; two are the tones of palm's side and back.

    On a grid where every product and sum is exact, whatever the order and the processor.
    """
    step = 2 * np.pi / AROUND * np.subtract.outer(np.arange(AROUND), np.arange(AROUND))
    kernel = (1 + 2 * sum(np.cos(k * step) for k in range(1, harmonics + 1))) / AROUND
    return np.rint(kernel * 2**16) / 2**16


def _patterns() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(ARM_VARIANTS, ALONG, AROUND) float32 each: pores and mottling (standard deviation 1), veins and hair (0..1)."""
    rng = np.random.default_rng(SEED)
    shape = (ARM_VARIANTS, ALONG, AROUND)
    pores = _blurred(rng.integers(-100, 101, shape), 1) * 2 + rng.integers(-100, 101, shape) * 9
    mottling = np.sum([_blurred(rng.integers(-100, 101, shape), size) * size for size in (3, 7, 15)], 0)
    veins, hair = (np.stack([draw(rng) for _ in range(ARM_VARIANTS)]) for draw in (_veins, _hair))
    return _unit(pores), _unit(mottling), veins, hair


def _unit(pattern: np.ndarray) -> np.ndarray:
    pattern = pattern - pattern.mean((1, 2), keepdims=True)
    # Steps of 1/64 hide what differs in the last digit of a sum from one processor to the next.
    return (np.rint(np.clip(pattern / pattern.std((1, 2), keepdims=True), -3, 3) * 64) / 64).astype(np.float32)


def _blurred(values: np.ndarray, radius: int) -> np.ndarray:
    """Sums over squares of 2 radius + 1 texels, twice; whole numbers, so exact. Wraps around both axes."""
    for _ in range(2):
        for axis in (1, 2):
            values = np.sum([np.roll(values, k, axis) for k in range(-radius, radius + 1)], 0)
    return values


def _veins(rng: np.random.Generator) -> np.ndarray:
    """Some wandering lines along the palm's side and the back, soft."""
    drawn = np.zeros((1, ALONG, AROUND), np.int64)
    for _ in range(int(rng.integers(5, 9))):
        place, heading = float(rng.uniform(0, AROUND)), float(rng.uniform(-0.35, 0.35))
        first, last = sorted(int(v) for v in rng.integers(0, ALONG, 2))
        for row in range(first, min(last + 60, ALONG)):
            heading = 0.96 * heading + float(rng.normal(0, 0.06))
            place += heading
            drawn[0, row, int(place) % AROUND] += 100
    soft = _blurred(drawn, 1)[0]
    return (np.rint(np.clip(soft / 2400, 0, 1) * 256) / 256).astype(np.float32)


def _hair(rng: np.random.Generator) -> np.ndarray:
    """Fine strokes that slant towards the elbow's outside, dense on the back and the thumb's side, none on the palm's side."""
    drawn = np.zeros((ALONG, AROUND), np.float32)
    for _ in range(2600):
        row, column = float(rng.uniform(0, ALONG)), float(rng.uniform(0, AROUND))
        back = 0.5 - 0.5 * np.cos(2 * np.pi * column / AROUND)  # u = 0 is the palm's side
        if rng.random() > back * back * min(1.0, 0.15 + row / 70):
            continue
        slant, strength, length = float(rng.normal(0.35, 0.2)), float(rng.uniform(0.15, 0.75)), int(rng.integers(5, 11))
        for step in range(length):
            place = column + slant * step
            left, share = int(np.floor(place)), place % 1
            r = int(row) + step
            if r < ALONG:
                # Thin towards its tip, and never one texel sharp: a hair is far finer.
                for c, part in ((left, 1 - share), (left + 1, share)):
                    cover = strength * part * (1 - 0.6 * step / length)
                    drawn[r, c % AROUND] += cover * (1 - drawn[r, c % AROUND])
    return (np.rint(drawn * 256) / 256).astype(np.float32)
