"""Textures of held things: plastic, metal, wood, prints. Whole numbers throughout, so that they are the same on every machine."""

from functools import lru_cache

import numpy as np

from handsynth.recipe.held import VARIANTS, ObjectChoice
from handsynth.render.layers import LACQUER, LEATHER, METAL, PLASTIC
from handsynth.scene.wear.cloth import clouds, grain, words

SIZE = 128
"""Side of a texture [px]."""

SEED = 20_261_127

FINISHES = {
    "metal": METAL, "ceramic": LACQUER, "skin": 88, "plastic": PLASTIC, "wood": LEATHER, "rubber": 176, "paper": 196,
}  # fmt: skip
"""How smooth each material is: the alpha of its texels (render.layers)."""

SHARES, BRIGHTNESS = 16, 512
"""Steps of a second colour's share, and of brightness (256 is the colour's own), that a texture tells apart."""

_ROWS, _COLUMNS = np.arange(SIZE)[:, None], np.arange(SIZE)[None]
_LEVELS = np.arange(BRIGHTNESS, dtype=np.int32)[:, None]
_STEPS = np.arange(SHARES + 1, dtype=np.int32)[:, None] * (256 // SHARES)


def object_albedo(choice: ObjectChoice) -> np.ndarray:
    """(SIZE, SIZE, 4) uint8 sRGB, row 0 at v = 1: for each texel its place in a table of colours and brightness."""
    k = choice.variant
    first, second = np.array(choice.colour, np.int32), np.array(choice.second, np.int32)
    if choice.pattern == "print":
        light, dark = np.array([238, 236, 230], np.int32), np.array([34, 34, 40], np.int32)
        colours = np.array([first, second, light if first.sum() < 400 else dark, (first + second) >> 1, second])
        place = _print(k)
    else:
        share, shade = _pattern(choice.pattern, k)
        colours = first + ((second - first) * _STEPS[: 1 if share is None else None] >> 8)
        shade = np.clip(shade + _relief(choice.material == "paper")[k], 0, BRIGHTNESS - 1)
        place = shade if share is None else share + shade
    table = words(colours[:, None] * _LEVELS >> 8, FINISHES[choice.material]).reshape(-1)
    image: np.ndarray = np.take(table, place, mode="clip")
    return image.view(np.uint8).reshape(SIZE, SIZE, 4)


@lru_cache(maxsize=64)
def _pattern(pattern: str, variant: int) -> tuple[np.ndarray | None, np.ndarray]:
    """(SIZE, SIZE) int16 share of the second colour in steps of SHARES, times BRIGHTNESS (None: nowhere any), and brightness."""
    k, shade = variant, np.full((SIZE, SIZE), 256, np.int32)
    share = None
    if pattern == "band":
        low = 24 + 9 * k
        share = np.where((low <= _ROWS) & (low + 14 + 5 * (k % 4) > _ROWS), 256, 0) + 0 * _COLUMNS
    elif pattern == "speckled":
        share = np.clip((grain()[k].astype(np.int32) - 74) * 12, 0, 256)
    elif pattern == "brushed":
        shade += _streaks()[k]
    elif pattern == "grain":
        rings = (3 * _COLUMNS + (clouds()[k].astype(np.int32) * 3) + (_streaks()[k] >> 1)) % 24
        shade += _streaks()[k].T - 40 * (rings < 5) - 14 * (rings < 9)
    elif pattern == "fruit":
        share = np.clip(96 + 14 * clouds()[k].astype(np.int32) + np.abs(_ROWS - SIZE // 2), 0, 256) >> 1
        shade += 46 * (grain()[k] > 112) - 30 * (_ROWS < 4) - 60 * (_ROWS > SIZE - 4)
    steps = None if share is None else ((share * SHARES + 128 >> 8) * BRIGHTNESS).astype(np.int16)
    return steps, shade.astype(np.int16)


@lru_cache(maxsize=2)
def _relief(rough: bool) -> np.ndarray:
    """(VARIANTS, SIZE, SIZE) int16 brightness of patches and grain; rough as paper's, or as that of other materials."""
    return (clouds() >> 1) + (grain() >> (4 if rough else 5))


@lru_cache(maxsize=1)
def _streaks() -> np.ndarray:
    """(VARIANTS, SIZE, SIZE) int32 streaks along rows, deviation about 12."""
    values = grain().astype(np.int64)
    for reach in (3, 5, 9):
        values = np.sum([np.roll(values, k, 2) for k in range(-reach, reach + 1)], 0)
    return (values * 12 // int(values.std() + 1)).astype(np.int32)


@lru_cache(maxsize=1)
def _blocks() -> list[list[tuple[int, int, int, int, int, int]]]:
    """Per variant: top, left, height, width, colour (of four) and kind (0 plain, 1 lines of text, 2 a disc) of printed blocks."""
    rng, found = np.random.Generator(np.random.Philox(SEED)), []
    for _ in range(VARIANTS):
        blocks = []
        for half in range(2):
            for _ in range(7):
                height, width = int(rng.integers(6, 40)), int(rng.integers(12, 60))
                top, left = 64 * half + int(rng.integers(0, max(1, 64 - height))), int(rng.integers(0, SIZE - width))
                blocks.append((top, left, height, width, int(rng.integers(4)), int(rng.integers(3))))
        found.append(blocks)
    return found


@lru_cache(maxsize=VARIANTS)
def _print(variant: int) -> np.ndarray:
    """(SIZE, SIZE) int16 of a package with fields of colour, lines of text and badges: number of the ink (0 the ground's) times
    BRIGHTNESS, and brightness.
    """
    image = np.zeros((SIZE, SIZE), np.int16)
    for top, left, height, width, ink, kind in _blocks()[variant]:
        field = (slice(top, top + height), slice(left, left + width))
        if kind == 0:
            image[field] = 1 + ink
        elif kind == 1:
            lines = (_ROWS[: min(height, SIZE - top)] % 5 < 2) & (
                (_COLUMNS[:, :width] * 7 + _ROWS[: min(height, SIZE - top)] // 5 * 31) % 23 > 4
            )
            image[field][lines] = 2
        else:
            y, x = _ROWS[: min(height, SIZE - top)] - height // 2, _COLUMNS[:, :width] - width // 2
            image[field][y * y + x * x < (min(height, width) // 2) ** 2] = 1 + ink
    return image * np.int16(BRIGHTNESS) + (256 + (grain()[variant] >> 5))
