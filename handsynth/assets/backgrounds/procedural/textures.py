"""Tileable textures for the embedded scenes: coloured noise, wood, cloth, tiles, stone, leaves and lines of writing."""

import cv2
import numpy as np

TILE = 1024
"""Side of each texture [texels]; a power of two, so that a bit mask wraps an index."""


def make_textures(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """uint8 (1024, 1024) each, 128 in the middle and 64 to a standard deviation or so (grain: 40); all of them wrap around."""
    fine, pink, cloud = (_noise(rng, exponent) for exponent in (0.5, 1.0, 1.5))
    streaks = _noise(rng, 1.1, stretch=14)
    v, u = np.mgrid[0:TILE, 0:TILE] * (2 * np.pi / TILE)
    rings = np.sin(14 * v + 5 * _noise(rng, 1.9, stretch=5))
    weave = np.sin(128 * u) * np.sin(128 * v) + 0.5 * np.sin(64 * (u + v)) * np.sin(64 * (u - v))
    return {
        "fine": _bytes(fine),
        "pink": _bytes(pink),
        "cloud": _bytes(cloud),
        "wood": _bytes(0.55 * rings + 0.7 * streaks + 0.15 * fine),
        "cloth": _bytes(0.7 * weave + 0.4 * pink + 0.2 * fine),
        "brushed": _bytes(streaks),
        "stone": _bytes(0.8 * pink + 1.2 * (np.abs(_noise(rng, 1.2)) < 0.08) + 0.4 * fine),
        "tiles": _bytes(_tiles(rng, 64, 64, 3, False) + 0.35 * pink),
        "bricks": _bytes(_tiles(rng, 64, 32, 3, True) + 0.45 * pink),
        "planks": _bytes(0.8 * _tiles(rng, 512, 64, 2, True) + 0.6 * streaks),
        "writing": _writing(rng),
        "leaves": _leaves(rng),
        "grain": _bytes(_noise(rng, 0.25), unit=40),
    }


def _bytes(values: np.ndarray, unit: float = 64) -> np.ndarray:
    centred = values - values.mean()
    return np.clip(np.rint(128 + unit * centred / max(float(centred.std()), 1e-9)), 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, exponent: float, stretch: float = 1.0) -> np.ndarray:
    """Noise of unit variance whose amplitude falls as frequency ** -exponent; `stretch` draws it out along the rows."""
    fy = np.fft.fftfreq(TILE)[:, None]
    fx = np.fft.rfftfreq(TILE)[None, :] * stretch
    radius = np.sqrt(fx * fx + fy * fy)
    radius[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE))) * np.maximum(radius, 4 / TILE) ** -exponent
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(TILE, TILE))
    return field / field.std()


def _tiles(rng: np.random.Generator, width: int, height: int, gap: int, staggered: bool) -> np.ndarray:
    """Rectangles with a tone each, and dark joints of `gap` texels between them."""
    rows, columns = np.arange(TILE)[:, None], np.arange(TILE)[None, :]
    row = rows // height
    shifted = columns + (row % 2) * (width // 2 if staggered else 0)
    tones = rng.standard_normal((TILE // height, TILE // width)) * 0.6
    joint = (rows % height < gap) | (shifted % width < gap)
    return np.where(joint, -2.5, tones[row, (shifted // width) % (TILE // width)])


def _writing(rng: np.random.Generator) -> np.ndarray:
    """Lines of dark marks of a letter's size, in words and paragraphs, on a light ground."""
    page = np.full((TILE, TILE), 150, np.uint8)
    ink = rng.integers(0, 3, (TILE, TILE // 2)).repeat(2, axis=1)  # strokes two texels wide
    pitch = 16
    for top in range(0, TILE, pitch):
        left = int(rng.integers(0, 12))
        end = TILE if rng.random() < 0.8 else int(rng.integers(TILE // 4, TILE))
        while left < end - 12:
            right = min(end, left + int(rng.integers(8, 60)))
            page[top + 4 : top + 11, left:right] = np.where(ink[top + 4 : top + 11, left:right] == 0, 150, 20)
            left = right + 7
    return page


def _leaves(rng: np.random.Generator) -> np.ndarray:
    """Small overlapping ellipses of all tones: foliage, gravel or a crowd seen from afar."""
    page = np.full((TILE, TILE), 60, np.uint8)
    for _ in range(9000):
        x, y = (int(value) for value in rng.integers(0, TILE, 2))
        long = int(3 + 4 / (0.15 + rng.random()))
        axes, angle, tone = (
            (long, max(2, int(long * (0.25 + 0.4 * rng.random())))),
            float(rng.integers(0, 180)),
            int(rng.integers(20, 236)),
        )
        for dx in (0, -TILE if x > TILE // 2 else TILE):
            for dy in (0, -TILE if y > TILE // 2 else TILE):
                if -40 < x + dx < TILE + 40 and -40 < y + dy < TILE + 40:
                    cv2.ellipse(page, (x + dx, y + dy), axes, angle, 0, 360, tone, -1, cv2.LINE_AA)
    return page
