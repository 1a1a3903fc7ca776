"""Folds of cloth as fields of heights over a sleeve: what its surface and its shading are both made from."""

from functools import lru_cache

import numpy as np

from handsynth.recipe.wear import VARIANTS

AROUND, STEP_M = 96, 0.002
"""Columns around, and the length of a row along the sleeve [m]."""

ROWS = 180
"""From the hem on; what lies beyond has the last row's folds."""

START = 0.35
"""Share of the hem at which the field begins: behind a hem there are folds at once, and none on it."""

TURNS = 32
"""Steps in which a field may be turned about the arm: whole columns of it, of the geometry and of the texture."""

SEED = 20_261_204
_ARM_M = 0.038  # radius by which angles become lengths


def turned(turn: float) -> int:
    """A share of a round as a number of TURNS, 0 .. TURNS - 1."""
    return round(turn * TURNS) % TURNS


@lru_cache(maxsize=1)
def heights() -> np.ndarray:
    """(VARIANTS, ROWS, AROUND) float32 in 0..1, in steps of 1/256: 0 lies on the arm's side. Periodic around."""
    fields = np.stack([_field(np.random.default_rng((SEED, k))) for k in range(VARIANTS)])
    return (np.rint(fields * 256) / 256).astype(np.float32)


@lru_cache(maxsize=1)
def shades() -> np.ndarray:
    """(VARIANTS, ROWS, AROUND) float32 about -1..1, in steps of 1/256: positive in valleys, negative on ridges."""
    fields = heights().astype(np.float64)
    wide = fields
    for radius in (3, 4):
        wide = _mean(wide, radius)
    shade = (wide - fields) * 2.2
    return (np.rint(np.clip(shade, -1, 1) * 256) / 256).astype(np.float32)


def _field(rng: np.random.Generator) -> np.ndarray:
    """Creases that run askew around the arm, close and lively near the hem, longer and wider towards the elbow."""
    x = (np.arange(ROWS) * STEP_M)[:, None]
    angle = 2 * np.pi * np.arange(AROUND) / AROUND
    field = np.zeros((ROWS, AROUND))
    place = float(rng.uniform(0.006, 0.014))
    while place < ROWS * STEP_M + 0.03:
        near = max(0.0, 1 - place / 0.10)  # 1 at the hem
        for _ in range(int(rng.integers(1, 3))):
            _add_crease(field, x, angle, place + float(rng.normal(0, 0.004)), near, rng)
        place += float(rng.uniform(0.009, 0.016)) * (2.0 - near)
    for _ in range(7):  # long ones, from the elbow's inside towards the wrist
        _add_crease(field, x, angle, float(rng.uniform(0.03, ROWS * STEP_M)), 0.0, rng, long=True)
    swell = sum(
        float(rng.uniform(0.5, 1)) * np.cos(m * angle + float(rng.uniform(0, 6.3)) + n * x * 2 * np.pi / 0.36)
        for m, n in ((1, 1), (2, 1), (2, -2), (3, 2), (1, -3))
    )  # fmt: skip
    field = np.maximum(field, 0.0) + 0.07 * (np.asarray(swell) + 2.0)
    for radius in (1, 1):
        field = _mean(field, radius)
    return np.clip(field / np.percentile(field, 99.5), 0, 1)


def _add_crease(
    field: np.ndarray, x: np.ndarray, angle: np.ndarray, place: float, near: float, rng: np.random.Generator, long: bool = False
) -> None:
    """One ridge: a line x(angle) with a sharp crest, fading out towards both of its ends."""
    middle, half = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.7, 1.6) + 1.2 * near * rng.random())
    slope = float(rng.normal(0, 0.28 if near > 0.3 else 0.55)) * _ARM_M
    if long:
        half, slope = float(rng.uniform(0.5, 1.1)), float(rng.choice([-1, 1]) * rng.uniform(1.0, 2.4)) * _ARM_M
    bow = float(rng.normal(0, 0.15)) * _ARM_M
    width = float(rng.uniform(0.0055, 0.0085)) * (1.7 - 0.7 * near) * (1.25 if long else 1.0)
    height = float(rng.uniform(0.45, 1.0)) * (0.75 + 0.25 * near)
    away = (angle - middle + np.pi) % (2 * np.pi) - np.pi
    extent = np.clip(1 - (away / half) ** 2, 0, 1)
    offset = (x - place - slope * away - bow * away * away) / (width * (0.6 + 0.4 * extent))
    skew = float(rng.uniform(-0.25, 0.25))
    crest = np.clip(1 - np.abs(offset) / (1 + skew * np.sign(offset)), 0, 1)
    crest = crest * crest * (1.6 - 0.6 * crest)
    ridge = height * extent * crest
    np.maximum(field, ridge + 0.35 * np.minimum(field, ridge), out=field)


def _mean(values: np.ndarray, radius: int) -> np.ndarray:
    """Mean over squares of 2 radius + 1; wraps around the columns, keeps the first and last rows."""
    count, rows = 2 * radius + 1, values.shape[-2]
    values = np.sum([np.roll(values, k, -1) for k in range(-radius, radius + 1)], 0) / count
    padded = np.concatenate([values[..., :1, :]] * radius + [values] + [values[..., -1:, :]] * radius, -2)
    return np.asarray(np.sum([padded[..., k : k + rows, :] for k in range(count)], 0) / count)
