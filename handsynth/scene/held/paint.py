"""Textures of held things: plastic, metal, wood, prints. Whole numbers throughout, so that they are the same on every machine."""

from functools import lru_cache

import numpy as np

from handsynth.recipe.held import VARIANTS, ObjectChoice
from handsynth.render.layers import LACQUER, LEATHER, METAL, PLASTIC
from handsynth.scene.wear.cloth import clouds, grain

SIZE = 128
"""Side of a texture [px]."""

SEED = 20_261_127

FINISHES = {
    "metal": METAL, "ceramic": LACQUER, "skin": 88, "plastic": PLASTIC, "wood": LEATHER, "rubber": 176, "paper": 196,
}  # fmt: skip
"""How smooth each material is: the alpha of its texels (render.layers)."""

_ROWS, _COLUMNS = np.arange(SIZE)[:, None], np.arange(SIZE)[None]


def object_albedo(choice: ObjectChoice) -> np.ndarray:
    """(SIZE, SIZE, 4) uint8 sRGB, row 0 at v = 1."""
    k = choice.variant
    first, second = np.array(choice.colour, np.int32), np.array(choice.second, np.int32)
    shade, share = np.full((SIZE, SIZE), 256, np.int32), np.zeros((SIZE, SIZE), np.int32)
    if choice.pattern == "print":
        return _finished(_print(k, first, second) * (256 + (grain()[k] >> 5))[..., None] >> 8, choice.material)
    if choice.pattern == "band":
        low = 24 + 9 * k
        share += 256 * ((_ROWS >= low) & (_ROWS < low + 14 + 5 * (k % 4)))
    elif choice.pattern == "speckled":
        share += np.clip((grain()[k].astype(np.int32) - 74) * 12, 0, 256)
    elif choice.pattern == "brushed":
        shade += _streaks()[k]
    elif choice.pattern == "grain":
        rings = (3 * _COLUMNS + (clouds()[k].astype(np.int32) * 3) + (_streaks()[k] >> 1)) % 24
        shade += _streaks()[k].T - 40 * (rings < 5) - 14 * (rings < 9)
    elif choice.pattern == "fruit":
        share += np.clip(96 + 14 * clouds()[k].astype(np.int32) + np.abs(_ROWS - SIZE // 2), 0, 256) >> 1
        shade += 46 * (grain()[k] > 112) - 30 * (_ROWS < 4) - 60 * (_ROWS > SIZE - 4)
    shade += (clouds()[k].astype(np.int32) >> 1) + (grain()[k].astype(np.int32) >> (4 if choice.material == "paper" else 5))
    mixed = first + ((second - first) * share[..., None] >> 8)
    return _finished(mixed * shade[..., None] >> 8, choice.material)


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


def _print(variant: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(SIZE, SIZE, 3) int32: a package with fields of colour, lines of text and badges."""
    light, dark = np.array([238, 236, 230], np.int32), np.array([34, 34, 40], np.int32)
    inks = (second, light if first.sum() < 400 else dark, (first + second) >> 1, second)
    image = np.broadcast_to(first, (SIZE, SIZE, 3)).copy()
    for top, left, height, width, ink, kind in _blocks()[variant]:
        field = (slice(top, top + height), slice(left, left + width))
        if kind == 0:
            image[field] = inks[ink]
        elif kind == 1:
            lines = (_ROWS[: min(height, SIZE - top)] % 5 < 2) & (
                (_COLUMNS[:, :width] * 7 + _ROWS[: min(height, SIZE - top)] // 5 * 31) % 23 > 4
            )
            image[field][lines] = inks[1]
        else:
            y, x = _ROWS[: min(height, SIZE - top)] - height // 2, _COLUMNS[:, :width] - width // 2
            image[field][y * y + x * x < (min(height, width) // 2) ** 2] = inks[ink]
    return image


def _finished(colours: np.ndarray, material: str) -> np.ndarray:
    texels = np.full((SIZE, SIZE, 4), FINISHES[material], np.uint8)
    texels[..., :3] = np.clip(colours, 0, 255)
    return texels
