"""Cloth: weaves, knits, stripes, checks and denim as small textures of sleeves, with the shade that their folds bake in.

Whole numbers throughout, so that textures are the same on every machine. Brightness and shares are in 1/256.
"""

from functools import lru_cache

import numpy as np

from handsynth.recipe.wear import VARIANTS, SleeveChoice
from handsynth.render.layers import CLOTH
from handsynth.scene.arm import POLE_M
from handsynth.scene.wear import folds

SIZE = 128
"""Side of a sleeve's texture [px]: 2 mm on a whole sleeve, 1 mm on one that is pushed up."""

SEED = 20_261_205

UNIT = 8000
"""Steps to a metre of the places along a sleeve."""

WALES, COURSE = 32, 72
"""Columns of a knit around, and the length of one of its rows [1 / UNIT m]."""

LEVELS, SHARES = 112, 16
"""Steps of brightness (of 4) and of a second colour's share (of 16) that a texture tells apart."""

_LIGHT = (np.arange(LEVELS, dtype=np.float32) * 4 + 2) / 256

_COLUMNS = np.arange(SIZE, dtype=np.int16)
_TWILL = np.where((_COLUMNS + np.arange(3)[:, None]) % 3 == 0, 270, 250).astype(np.int16)


@lru_cache(maxsize=1)
def grain() -> np.ndarray:
    """(VARIANTS, SIZE, SIZE) int16 noise of mean 0 and deviation 52, without any blur."""
    rng = np.random.default_rng(SEED)
    shape = (VARIANTS, SIZE, SIZE)
    return (rng.integers(-64, 65, shape) + rng.integers(-64, 65, shape)).astype(np.int16)


@lru_cache(maxsize=1)
def clouds() -> np.ndarray:
    """(VARIANTS, SIZE, SIZE) int16 soft patches of mean 0 and deviation 5; periodic."""
    values = grain().astype(np.int64)
    for _ in range(2):
        for axis in (1, 2):
            values = np.sum([np.roll(values, k, axis) for k in range(-4, 5)], 0)
    return (values * 5 // int(values.std() + 1)).astype(np.int16)


@lru_cache(maxsize=1)
def _fold_shades() -> np.ndarray:
    """(VARIANTS, ROWS, 2 SIZE) int16: how dark folds are, 256 in the deepest valley, a third as much below 0 on ridges; twice
    around, so that every turn is a slice.
    """
    columns = np.arange(SIZE) * folds.AROUND / SIZE
    left, part = columns.astype(int), columns % 1
    fields = folds.shades()
    fields = fields[..., left] * (1 - part) + fields[..., (left + 1) % folds.AROUND] * part
    return np.tile(np.rint(np.where(fields > 0, fields, 0.4 * fields) * 256).astype(np.int16), 2)


def words(colours: np.ndarray, finish: int = CLOTH) -> np.ndarray:
    """(..., 3) colours, clipped to 0..255 -> (...) uint32: the four bytes of each texel; alpha is the finish, see render.layers."""
    texels = np.full((*colours.shape[:-1], 4), finish, np.uint8)
    texels[..., :3] = np.clip(colours, 0, 255)
    return texels.view(np.uint32)[..., 0]


_ROLLED = 4
"""Rows before the first that is seen which patterns may look at."""


def sleeve_albedo(choice: SleeveChoice, length_m: float, wall: float, seen_from: int = 0) -> np.ndarray:
    """(SIZE, SIZE, 4) uint8 sRGB; row SIZE - 1 is the cuff's edge.

    Args:
        choice: the sleeve.
        length_m: of the forearm, from rim to the end of the sleeve.
        wall: share of the texture, at its top, for the cloth's inside.
        seen_from: first row of the outside that is seen; those before may be any.
    """
    rows = round(wall * SIZE)
    along = _along(choice, length_m, SIZE - rows)  # (SIZE - rows,) from the cuff [1 / UNIT m], row 0 at the elbow
    end = int(np.searchsorted(-along, -(along[0] - round(0.05 * UNIT))))
    skipped = (seen_from - rows - _ROLLED) // 3 * 3  # the twill has three rows
    if skipped > end:
        along, end = along[skipped:], 0
    else:
        skipped = 0
    variant = (choice.folds * 3 + round(choice.turn * 7)) % VARIANTS
    noise = grain()[variant]
    shade, share = _pattern(choice, along, noise[rows + skipped :])
    dark = _fold_dark(choice, along)
    dark -= clouds()[variant, rows + skipped :]
    shade = shade - dark
    if choice.pattern == "denim":  # paler on ridges and edges, where it is worn
        share = share - dark + np.where(along < 24, 60, 0).astype(np.int16)[:, None]
    _add_hem(choice, along, shade, share)
    # Round the elbow's end everything runs into one point: plain there.
    fade = np.clip((along[:end] - along[end]) * 256 // 320, 0, 256).astype(np.int32)[:, None]
    for field, mean in ((shade, 256), *(() if share is None else ((share, int(share.mean())),))):
        field[:end] += ((mean - field[:end]) * fade >> 8).astype(np.int16)

    first, second = (np.array(c, np.int16) for c in (choice.colour, choice.second))
    shares = SHARES + 1 if share is not None else 1
    mixed = (first + ((second - first) * np.arange(0, 257, 256 // SHARES)[:shares, None] >> 8)).astype(np.float32)
    table = words(mixed[:, None] * _LIGHT[:, None])  # (shares, LEVELS)
    image = np.zeros((SIZE, SIZE), np.uint32)
    index = np.clip(shade >> 2, 0, LEVELS - 1, out=shade)
    if share is not None:
        index += np.clip(share >> 4, 0, SHARES) * np.int16(LEVELS)
    np.take(table.reshape(-1), index, out=image[rows + skipped :], mode="clip")
    # The inside: darker the deeper one looks, and plainer.
    depth = np.linspace(70, 190, rows).astype(np.int16)[:, None] + (noise[:rows] >> 4)
    image[:rows] = table[0][depth >> 2]
    return image.view(np.uint8).reshape(SIZE, SIZE, 4)


def _along(choice: SleeveChoice, length_m: float, rows: int) -> np.ndarray:
    """(rows,) int32 way from the cuff of each texture row [1 / UNIT m]; the last row is the cuff's edge.

    A sleeve's layout gives the way to the elbow the same rows however long it is; see `sleeve._layout`.
    """
    share = (rows - 0.5 - np.arange(rows)) / rows
    elbow = 1 - POLE_M / length_m
    to_elbow = length_m - POLE_M - choice.cuff_m
    way = np.where(share < elbow, share / elbow * to_elbow, to_elbow + (share - elbow) * length_m)
    return np.rint(way * UNIT).astype(np.int32)


def _pattern(choice: SleeveChoice, along: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(rows, SIZE) int16 brightness (256 is the colour's own) and share of the second colour (256 is all; None: nowhere any)."""
    period = max(8, round(choice.period_m * UNIT))
    shade = 256 + (noise >> 3)
    if choice.pattern == "melange":  # fibres of both colours, spun together: short streaks along the sleeve
        return shade, np.clip(60 + (noise + np.roll(noise, 1, 0) + np.roll(noise, 2, 0) >> 2), 0, 160)
    if choice.pattern == "bands":
        return shade, np.repeat(_wave(along, 2 * period)[:, None], SIZE, 1)
    if choice.pattern == "stripes":
        count = 32 if choice.period_m < 0.010 else 16  # whole texels, or widths would differ
        return shade, np.tile(_wave(_COLUMNS * count, SIZE, 1, 4) * np.int16(3) >> 2, (len(along), 1))
    if choice.pattern == "checks":
        count = 8 if choice.period_m < 0.032 else 4
        thin = _wave(_COLUMNS * count + SIZE // 4, SIZE, 1, 24) | _wave(along + period // 4, period, 1, 24)[:, None]
        return shade - (thin >> 3) - (thin >> 5), (_wave(_COLUMNS * count, SIZE) + _wave(along, period)[:, None] >> 4) * np.int16(7)
    if choice.pattern == "denim":
        twill = np.tile(_TWILL, (-(-len(along) // 3), 1))[: len(along)]
        return twill + (noise >> 4), np.clip(26 + (noise + np.roll(noise, 1, 0) + np.roll(noise, 3, 0) >> 2), 0, 110)
    if choice.pattern == "knit":
        wale = _COLUMNS % (SIZE // WALES)
        groove = np.array([210, 262, 272, 262], np.int16)[wale]
        slants = np.array([12, 6, 0, -8, -14, -8, 0, 6], np.int16)
        slant = slants[(np.arange(8)[:, None] + np.where(wale < 2, 0, 4)) % 8][along * 8 // COURSE % 8]
        return groove + slant + (noise >> 4), None
    return shade, None


def _wave(place: np.ndarray, period: int, share: int = 8, of: int = 16) -> np.ndarray:
    """Stripes: 256 on the first `share` / `of` of each period, 0 on the rest; int16."""
    return np.where(place.astype(np.int32) % period * of < period * share, 256, 0).astype(np.int16)


def _fold_dark(choice: SleeveChoice, along: np.ndarray) -> np.ndarray:
    """(rows, SIZE) int16 by how much folds darken: as the sleeve's geometry has them (see `sleeve.Sleeves`)."""
    hem = round(choice.hem_m * UNIT)
    row = np.clip((along - folds.START * hem) // (folds.STEP_M * UNIT), 0, folds.ROWS - 1).astype(int)
    strength = min(round(choice.fold_m * 2 * UNIT), 120)  # whole at 7.5 mm
    factor = (strength * np.clip((along - hem // 2) * 256 // 100, 0, 256) >> 8).astype(np.int16)[:, None]
    shift = folds.turned(choice.turn) * (SIZE // folds.TURNS)
    field = np.take(_fold_shades()[choice.folds, :, shift : shift + SIZE], row, 0)
    field *= factor
    field >>= 7
    return field


def _add_hem(choice: SleeveChoice, along: np.ndarray, shade: np.ndarray, share: np.ndarray | None) -> None:
    """Seams, ribs, a button, and the dark line where two layers of cloth meet; in place."""
    hem = round(choice.hem_m * UNIT)
    first = int(np.searchsorted(-along, -hem))  # the hem's first row
    shade[along < 10] -= 26
    if choice.hem == "ribbed":
        shade[first:] = 252 + np.array([-52, 4, 22, 4], np.int16)[_COLUMNS % 4]
        if share is not None:
            share[first:] = 0
        shade[_line(along, hem, 14)] -= 46
    elif choice.hem == "rolled":
        shade[_line(along, hem, 16)] -= 80
        shade[_line(along, hem // 2, 8)] -= 24
    else:
        stitch = np.where(_COLUMNS % 3 == 0, 12, 34).astype(np.int16)
        seam = hem if choice.hem == "shirt" else round(0.9 * hem)
        shade[_line(along, seam, 7)] -= stitch
        shade[_line(along, seam + 24, 12)] -= 22
        if choice.hem == "shirt":
            shade[_line(along, 40, 7)] -= stitch
            slit = SIZE // 3
            shade[along < 2 * hem, slit] -= 90
            shade[np.abs(along - hem // 2) < 36, slit + 2 : slit + 7] += 60  # a button


def _line(along: np.ndarray, place: int, half: int) -> np.ndarray:
    """(rows,) bool: within `half` of a place along the sleeve, at least one row."""
    away = np.abs(along - place)
    return (away <= half) | (away == away.min())
