"""What the embedded scenes show: rooms, tables, shelves, foliage, landscapes, streets, lights at night, and plain surfaces."""

import math
from collections.abc import Callable

import numpy as np

from handsynth.assets.backgrounds.procedural.layers import HEIGHT, WIDTH, Painter, ellipse, rounded_box
from handsynth.assets.backgrounds.procedural.objects import (
    COARSE,
    SMOOTH,
    fill,
    paint_books,
    paint_facade,
    paint_frame,
    paint_furniture,
    paint_plant,
    paint_scrap,
    paint_sky,
    paint_sprig,
    paint_thing,
    paint_tree,
    paint_wall,
    paint_window,
    skyline,
)


def paint_scene(painter: Painter, kind: str) -> np.ndarray:
    """One finished scene, uint8 (360, 480, 3), of a kind named in KINDS."""
    KINDS[kind](painter)
    return painter.finish()


def _room(p: Painter) -> None:
    wall, floor = p.uniform(0.5, 0.85) * HEIGHT, p.uniform(0.3, 0.5)
    p.keystone = (p.uniform(-0.0008, 0.0008), wall)
    paint_wall(p, p.colour("neutral" if p.chance(0.7) else None))
    for _ in range(p.rng.integers(0, 3)):
        paint_window(p, p.uniform(0, WIDTH), p.uniform(0.05, 0.3) * HEIGHT, p.uniform(40, 110), p.uniform(50, 110))
    for _ in range(p.rng.integers(0, 5)):
        paint_frame(p, p.uniform(0, WIDTH), p.uniform(20, wall * 0.7), p.uniform(12, 45))
    if p.chance(0.5):
        paint_books(p, p.uniform(-50, WIDTH * 0.6), p.uniform(60, wall - 20), p.uniform(80, 250), p.uniform(24, 60))
    p.plane(wall, p.colour("earth" if p.chance(0.5) else "neutral"), "planks" if p.chance(0.5) else "cloth", 0.25, floor)
    p.shape(rounded_box(WIDTH / 2, wall, WIDTH, p.uniform(2, 7)), p.colour("neutral"), slope=0)
    for _ in range(p.rng.integers(3, 10)):
        paint_furniture(p, wall)
    if p.chance(0.5):
        paint_plant(p, p.uniform(0, WIDTH), wall + p.uniform(-20, 60), p.uniform(50, 130))
    if p.chance(0.6):
        p.glow(p.uniform(0, WIDTH), p.uniform(0, wall), p.uniform(15, 60), np.array([1, 0.85, 0.6]), p.uniform(0.2, 0.7))
    _focus(p, 5)


def _table(p: Painter) -> None:
    top = p.rng.choice(("wood", "cloth", "pink", "brushed", "planks", "stone"))
    if p.chance(0.5):
        paint_wall(p, p.colour())
        paint_furniture(p, 120)
        p.blur(p.uniform(3, 8))
        p.plane(
            p.uniform(-150, 120),
            p.colour("earth" if p.chance(0.5) else None),
            top,
            p.uniform(0.1, 0.3),
            p.uniform(0.3, 0.8),
        )
    else:
        fill(p, p.colour("earth" if p.chance(0.5) else None), top, p.uniform(0.08, 0.25))
    turn = p.uniform(-0.3, 0.3)
    for _ in range(p.rng.integers(6, 26)):
        x, y, angle = (
            p.uniform(0, WIDTH),
            p.uniform(0, HEIGHT),
            turn + p.rng.normal() * 0.25 + (math.pi / 2 if p.chance(0.3) else 0),
        )
        paint_thing(p, x, y, p.power_law(10, 110, 1.2), angle)
    _focus(p, 3)


def _shelves(p: Painter) -> None:
    back = p.colour("earth" if p.chance(0.4) else "neutral")
    paint_wall(p, back)
    y, p.keystone = p.uniform(-20, 30), (p.uniform(-0.0015, 0.0015), p.uniform(0, HEIGHT))
    while y < HEIGHT + 100:
        height = p.uniform(45, 130)
        p.shape(rounded_box(WIDTH / 2, y - height / 2, WIDTH, height / 2), back * p.uniform(0.25, 0.6), slope=0.3)
        paint_books(p, p.uniform(-60, 40), y, p.uniform(350, 560), height * 0.88)
        p.shape(rounded_box(WIDTH / 2, y + 3, WIDTH, 4), back, texture="wood", shadow=0.5)
        y += height + 8
    _focus(p, 5)


def _foliage(p: Painter) -> None:
    base = p.colour("green")
    fill(p, base * 0.45, "leaves", 0.45)
    for _ in range(p.rng.integers(0, 10)):
        p.glow(p.uniform(0, WIDTH), p.uniform(0, HEIGHT * 0.6), p.uniform(8, 50), np.array([0.8, 0.9, 0.7]), p.uniform(0.1, 0.4))
    p.blur(p.uniform(2, 6))
    size, slender, bloom = p.power_law(18, 70, 1.0), p.uniform(0.08, 0.3), p.colour("vivid")
    for layer in range(3):
        for _ in range(p.rng.integers(6, 15)):
            x, y, angle = p.uniform(-30, WIDTH + 30), p.uniform(0, HEIGHT + 60), -math.pi / 2 + p.rng.normal() * 0.7
            paint_sprig(p, x, y, angle, size * p.uniform(0.6, 1.3), slender, base * (0.55 + 0.3 * layer) * p.uniform(0.7, 1.25))
        for _ in range(p.rng.integers(0, 12) if p.chance(0.3) else 0):
            p.shape(ellipse(p.uniform(0, WIDTH), p.uniform(0, HEIGHT), size * 0.2, size * 0.17), bloom, bulge=0.5, shadow=0.2)
        if layer < 2:
            p.blur(p.uniform(0.8, 2.5))
    _focus(p, 2.5)


def _landscape(p: Painter) -> None:
    horizon = p.uniform(0.25, 0.7) * HEIGHT
    paint_sky(p)
    colour = p.colour("green" if p.chance(0.6) else "blue") * 0.6 + 0.25
    for ridge in range(p.rng.integers(1, 5)):
        level = horizon - p.uniform(0, 70) + 15 * ridge
        colour = np.clip(colour * p.uniform(0.65, 0.9), 0, 1)
        p.shape(skyline(p, level, p.uniform(10, 60)), colour, texture="leaves" if ridge else "pink", strength=0.1 + 0.08 * ridge)
    p.plane(
        horizon + 20,
        p.colour("green" if p.chance(0.6) else "earth"),
        str(p.rng.choice(("leaves", "pink", "fine", "stone"))),
        0.3,
        p.uniform(0.8, 2.0),
    )
    base, height = p.colour("green"), p.power_law(15, 90, 1.0)
    for depth in np.sort(p.rng.random(int(p.rng.integers(2, 20)))):
        paint_tree(p, p.uniform(0, WIDTH), horizon + 15 + 70 * depth, height * (0.4 + 1.6 * depth), base * p.uniform(0.7, 1.3))
    _focus(p, 4, 0.3)


def _street(p: Painter) -> None:
    paint_sky(p)
    ground, x = p.uniform(0.55, 0.85) * HEIGHT, -40.0
    p.keystone = (p.uniform(-0.0018, 0.0018), ground)
    while x < WIDTH:
        width = p.uniform(50, 170)
        paint_facade(p, x, x + width, ground - p.uniform(90, 320), ground + 30)
        x += width
    p.plane(ground + 15, p.colour("neutral") * 0.6, "fine", 0.15, p.uniform(0.8, 1.6))
    for _ in range(p.rng.integers(0, 5)):
        paint_tree(p, p.uniform(0, WIDTH), ground + 20, p.uniform(60, 160), p.colour("green"))
    for _ in range(p.rng.integers(3, 12)):
        paint_furniture(p, ground)
    for _ in range(p.rng.integers(0, 4)):
        p.shape(rounded_box(p.uniform(0, WIDTH), ground - 90, p.uniform(1.5, 4), 120), p.colour("dark"))
    _focus(p, 5, 0.3)


def _night(p: Painter) -> None:
    fill(p, p.colour("dark") + 0.05, "cloud", 0.4)
    for _ in range(p.rng.integers(8, 30)):
        paint_thing(
            p, p.uniform(0, WIDTH), p.uniform(0, HEIGHT), p.power_law(20, 140, 1.0), p.uniform(-0.2, 0.2), dim=p.uniform(0.2, 0.6)
        )
    p.blur(p.uniform(3, 9))
    radius = p.power_law(3, 16, 1.0)
    for _ in range(p.rng.integers(10, 70)):
        colour = np.array([1.0, p.uniform(0.6, 1), p.uniform(0.25, 1)]) if p.chance(0.75) else p.colour("vivid") + 0.2
        outline = ellipse(p.uniform(0, WIDTH), p.uniform(0, HEIGHT), radius * p.uniform(0.8, 1.2), radius * p.uniform(0.8, 1.2))
        p.shape(outline, np.clip(colour, 0, 1), slope=0, bulge=-0.2, opacity=p.uniform(0.15, 0.85))
    p.blur(p.uniform(0.4, 1.6))


def _clutter(p: Painter) -> None:
    """Dead leaves: textured things of all sizes, each in front of the last."""
    fill(p, p.colour(), "pink", 0.2)
    for sigma in (p.uniform(1, 4), 0.0):
        for _ in range(p.rng.integers(80, 190)):
            size, x, y = p.power_law(7, 150, 1.5), p.uniform(-20, WIDTH + 20), p.uniform(-20, HEIGHT + 20)
            paint_scrap(p, x, y, size, p.colour())
        p.blur(sigma)
    _focus(p, 4)


def _surface(p: Painter) -> None:
    name = str(p.rng.choice(COARSE + SMOOTH + ("bricks", "planks")))
    fill(p, p.colour(), name, p.uniform(0.1, 0.35))
    p.canvas *= (
        1 + np.float32(p.uniform(0.05, 0.25)) * p.texture("cloud", np.s_[0:HEIGHT, 0:WIDTH], p.uniform(0, 3), 0.8)[:, :, None]
    )
    for _ in range(p.rng.integers(0, 5)):
        paint_thing(p, p.uniform(0, WIDTH), p.uniform(0, HEIGHT), p.power_law(15, 120, 1.0), p.uniform(0, 6))
    _focus(p, 4)


def _haze(p: Painter) -> None:
    """Far out of focus: another scene, or no more than coloured 1/f noise between a few tones."""
    if p.chance(0.6):
        KINDS[str(p.rng.choice(("room", "table", "shelves", "foliage", "street", "clutter")))](p)
        p.blur(p.uniform(1.5, 6))
        return
    box = np.s_[0:HEIGHT, 0:WIDTH]
    fields = [
        p.texture("cloud" if p.chance(0.5) else "pink", box, p.uniform(0, 6), p.uniform(0.6, 1.2))[:, :, None] for _ in range(3)
    ]
    p.canvas = np.zeros((HEIGHT, WIDTH, 3), np.float32) + p.colour().astype(np.float32)
    for field in fields[:2]:
        p.canvas += np.clip(0.5 + 0.3 * field, 0, 1) * (p.colour().astype(np.float32) - p.canvas)
    p.canvas *= 1 + np.float32(0.12) * fields[2]
    _focus(p, 4)


def _focus(p: Painter, most: float, rough: float = 1.0) -> None:
    """The surfaces' fine detail, then the blur of a lens that is mostly well focused and at most `most` [px] out."""
    p.detail(rough * p.power_law(0.03, 0.1, 0.7))
    p.blur(p.power_law(0.25, most, 2.0))


KINDS: dict[str, Callable[[Painter], None]] = {
    "room": _room,
    "table": _table,
    "shelves": _shelves,
    "foliage": _foliage,
    "landscape": _landscape,
    "street": _street,
    "night": _night,
    "clutter": _clutter,
    "surface": _surface,
    "haze": _haze,
}
