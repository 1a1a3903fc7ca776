"""What stands about in the embedded scenes: walls, skies, windows, books, furniture, plants, houses, and things on a table."""

import math

import numpy as np

from handsynth.assets.backgrounds.procedural.layers import HEIGHT, WIDTH, Painter, X, Y, ellipse, leaf, ribbon, rounded_box

SMOOTH = ("pink", "cloud", "brushed", "fine")
COARSE = ("stone", "cloth", "wood", "leaves", "tiles")


def fill(p: Painter, colour: np.ndarray, texture: str, strength: float) -> None:
    """Covers the image with a colour and a texture at a random angle; `strength` is the texture's contrast."""
    grain = p.texture(texture, np.s_[0:HEIGHT, 0:WIDTH], p.uniform(0, 2 * math.pi), p.uniform(0.6, 1.6))
    p.canvas = (1 + np.float32(strength) * grain)[:, :, None] * colour.astype(np.float32)


def paint_wall(p: Painter, colour: np.ndarray) -> None:
    """Covers the image with a plastered or brick wall whose light falls off downwards and to a side."""
    fill(p, colour, "bricks" if p.chance(0.1) else "pink", p.uniform(0.01, 0.05))
    p.canvas *= (1 - np.float32(p.uniform(0, 0.35)) * (Y / HEIGHT) + np.float32(p.uniform(-0.2, 0.2)) * (X / WIDTH))[:, :, None]


def paint_sky(p: Painter) -> None:
    """Covers the image with a clear, cloudy or grey sky, paler towards the horizon."""
    zenith = np.array([0.35, 0.5, 0.75]) * p.uniform(0.6, 1.1) if p.chance(0.6) else p.colour("neutral") * 0.5 + 0.35
    rim = zenith * 0.4 + np.array([0.55, 0.53, 0.5])
    t = (Y / HEIGHT)[:, :, None]
    clouds = np.clip(
        p.texture("cloud", np.s_[0:HEIGHT, 0:WIDTH], p.uniform(-0.2, 0.2), p.uniform(0.7, 1.4)) - p.uniform(-0.5, 1.2), 0, 1
    )
    p.canvas = (1 - t) * zenith.astype(np.float32) + t * rim.astype(np.float32)
    p.canvas += (0.8 * clouds)[:, :, None] * (np.float32(p.uniform(0.6, 0.95)) - p.canvas)


def skyline(p: Painter, level: float, height: float) -> np.ndarray:
    """Polygon (62, 2) of hills whose ridge runs about the row `level` [px] and varies by `height`."""
    x = np.linspace(-10, WIDTH + 10, 60)
    y = sum(p.rng.normal() / k * np.sin(x * (k * 0.006) + p.uniform(0, 6.3)) for k in range(1, 20))
    return np.concatenate([np.stack([x, level - height * y * 0.5], 1), [[WIDTH + 10, HEIGHT + 50], [-10, HEIGHT + 50]]])


def paint_window(p: Painter, x: float, top: float, a: float, b: float) -> None:
    """A window with its frame, bright panes, greenery outside and now and then curtains; half sizes a, b [px]."""
    pane = np.clip(np.array([0.8, 0.88, 0.98]) * p.uniform(0.8, 1.2), 0, 1.2)
    y = top + b
    p.shape(rounded_box(x, y, a + 6, b + 6), p.colour("neutral"), shadow=0.2)
    p.shape(rounded_box(x, y, a, b), pane, texture="cloud", strength=0.12, slope=0.1)
    p.shape(rounded_box(x, y + b * 0.6, a, b * 0.4), p.colour("green"), texture="leaves", strength=0.35, opacity=0.8)
    for k in range(1, int(p.rng.integers(2, 4))):
        p.shape(rounded_box(x - a + k * a, y, 3, b), p.colour("neutral"))
    p.shape(rounded_box(x, y, a, 2.5), p.colour("neutral"))
    if p.chance(0.4):
        for side in (-1, 1):
            p.shape(rounded_box(x + side * a, y, a * 0.35, b * 1.15), p.colour(), texture="brushed", angle=1.57, strength=0.25)


def paint_frame(p: Painter, x: float, y: float, size: float) -> None:
    """A framed picture on a wall."""
    a, b = size * p.uniform(0.6, 1.1), size * p.uniform(0.6, 1.1)
    p.shape(rounded_box(x, y, a + 4, b + 4), p.colour(), shadow=0.35)
    p.shape(rounded_box(x, y, a, b), p.colour(), texture=str(p.rng.choice(("cloud", "leaves", "stone"))), strength=0.4)


def paint_books(p: Painter, x: float, y: float, length: float, height: float) -> None:
    """A row of books or packets on the row `y` [px], up to `height` tall, with gaps and leaning ones."""
    end = x + length
    while x < end:
        width, tall = p.uniform(5, 20), height * p.uniform(0.6, 1.0)
        lean = p.uniform(0.05, 0.25) if p.chance(0.08) else 0.0
        colour = p.colour(None if p.chance(0.7) else "vivid")
        p.shape(
            rounded_box(x + width / 2, y - tall / 2, width / 2, tall / 2, lean, 1), colour, slope=0.3, texture="pink", strength=0.08
        )
        if p.chance(0.7):
            mark = rounded_box(x + width / 2, y - tall * p.uniform(0.3, 0.8), width * 0.3, tall * p.uniform(0.05, 0.25), lean)
            p.shape(mark, p.colour(), texture="writing", angle=1.57, strength=0.5, opacity=0.8)
        x += width + (p.uniform(0, 60) if p.chance(0.06) else 0.5)


def paint_furniture(p: Painter, floor: float) -> None:
    """A box-like thing that stands near the row `floor` [px]: front, top side and legs, cushions or drawers."""
    x, a, b = p.uniform(-30, WIDTH + 30), p.power_law(18, 130, 0.8), p.power_law(15, 90, 0.8)
    y, colour = floor + p.uniform(-10, 70) - b, p.colour()
    name, corner = (
        str(p.rng.choice(("wood", "cloth", "pink", "brushed"))),
        p.uniform(0, 0.5) * min(a, b) * (0.3 if p.chance(0.6) else 1),
    )
    p.shape(ellipse(x + 4, y + b, a * 1.15, max(3, b * 0.12)), np.zeros(3), opacity=0.4)
    p.shape(rounded_box(x, y, a, b, 0, corner), colour, texture=name, strength=0.15, slope=p.uniform(0, 0.3), shadow=0.3)
    p.shape(rounded_box(x, y - b, a * 1.03, max(2, b * 0.1)), np.clip(colour * 1.35, 0, 1), texture=name, strength=0.1)
    for k in range(int(p.rng.integers(0, 4))):
        piece = rounded_box(
            x + p.uniform(-0.5, 0.5) * a, y + (k - 1) * 0.5 * b, a * p.uniform(0.2, 0.45), b * p.uniform(0.1, 0.22), 0, corner * 0.3
        )
        p.shape(piece, np.clip(colour * p.uniform(0.6, 1.3), 0, 1), texture=name, shadow=0.2)
    if p.chance(0.5):
        paint_thing(p, x + p.uniform(-0.5, 0.5) * a, y - b - 8, p.uniform(8, 20), 0)


def paint_plant(p: Painter, x: float, y: float, size: float) -> None:
    """A pot with narrow leaves that spread upwards from (x, y)."""
    base = p.colour("green")
    for _ in range(p.rng.integers(15, 50)):
        angle, length = -math.pi / 2 + p.rng.normal() * 0.8, size * p.uniform(0.4, 1)
        outline = leaf(x, y - size * 0.2, length, length * p.uniform(0.05, 0.16), angle)
        p.shape(outline, np.clip(base * p.uniform(0.5, 1.5), 0, 1), texture="brushed", slope=0.3)
    p.shape(rounded_box(x, y, size * 0.22, size * 0.2, 0, size * 0.05), p.colour(), bulge=0.3, shadow=0.3)


def paint_sprig(p: Painter, x: float, y: float, angle: float, size: float, slender: float, colour: np.ndarray) -> None:
    """A bent stem with leaves on both sides."""
    count, bend = int(p.rng.integers(4, 9)), p.rng.normal() * 0.15
    spine = [(x, y)]
    for _ in range(count):
        angle += bend
        x, y = x + math.cos(angle) * size * 0.45, y + math.sin(angle) * size * 0.45
        spine.append((x, y))
    p.shape(ribbon(np.array(spine), max(1.2, size * 0.04)), np.clip(colour * 0.7, 0, 1))
    for step, (u, v) in enumerate(spine[1:]):
        for side in (-1, 1):
            length = size * p.uniform(0.7, 1.1) * (1 - 0.4 * step / count)
            outline = leaf(u, v, length, length * slender, angle + side * p.uniform(0.5, 1.1))
            tone = np.clip(colour * p.uniform(0.75, 1.25), 0, 1)
            p.shape(outline, tone, texture="brushed", strength=0.12, slope=0.3, shadow=0.3 if p.chance(0.4) else 0)


def paint_tree(p: Painter, x: float, y: float, size: float, base: np.ndarray) -> None:
    """A tree that stands at (x, y), `size` [px] high, of the foliage colour `base`."""
    p.shape(rounded_box(x, y - size * 0.2, max(1, size * 0.03), size * 0.25), p.colour("earth") * 0.6, texture="brushed")
    for height in np.sort(p.rng.random(int(p.rng.integers(14, 36)))):  # lower, darker leaves first
        spread = 0.34 * math.sqrt(max(0.05, height * (1.1 - height)) * 4)
        dx, dy, r = p.uniform(-spread, spread) * size, -(0.3 + 0.65 * height) * size, size * p.uniform(0.07, 0.17)
        colour = np.clip(base * (0.5 + 0.6 * height) * p.uniform(0.8, 1.25), 0, 1)
        p.shape(ellipse(x + dx, y + dy, r * 1.2, r, 0, 14), colour, texture="leaves", scale=1.7, strength=0.5, slope=0.3)


def paint_facade(p: Painter, left: float, right: float, top: float, bottom: float) -> None:
    """A house front with rows of windows."""
    x, y, a, b = (left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2
    wall = p.colour("neutral" if p.chance(0.6) else "earth")
    p.shape(rounded_box(x, y, a, b), wall, texture="bricks" if p.chance(0.4) else "pink", strength=0.12)
    step_x, step_y, tall = p.uniform(14, 40), p.uniform(20, 50), p.uniform(0.25, 0.4)
    pane, trim = 0.5 * wall + 0.4 * p.colour("dark" if p.chance(0.6) else "blue"), np.clip(wall * p.uniform(0.8, 1.25), 0, 1)
    for row in np.arange(top + step_y * 0.6, bottom - step_y * 0.5, step_y):
        p.shape(rounded_box(x, row + step_y * 0.42, a, 1.2), trim)
        for column in np.arange(left + step_x * 0.7, right - step_x * 0.5, step_x):
            glass = pane * p.uniform(0.5, 1.3) if p.chance(0.93) else np.array([0.8, 0.75, 0.6])
            p.shape(rounded_box(column, row, step_x * 0.3, step_y * tall + 1), trim)
            p.shape(
                rounded_box(column, row, step_x * 0.24, step_y * tall - 1),
                glass,
                slope=p.uniform(0, 0.5),
                texture="cloud",
                strength=0.2,
            )


def paint_scrap(p: Painter, x: float, y: float, size: float, colour: np.ndarray) -> None:
    """One piece of clutter: a disc, a box, a polygon or a strip of any texture."""
    name, angle, thin = str(p.rng.choice(SMOOTH + COARSE)), p.uniform(0, 2 * math.pi), p.uniform(0.3, 1)
    pick = p.rng.random()
    bulge = 0.0
    if pick < 0.3:
        outline, bulge = ellipse(x, y, size, size * thin, angle), p.uniform(0, 0.5)
    elif pick < 0.6:
        outline = rounded_box(x, y, size, size * thin, angle * (p.chance(0.4)), size * p.uniform(0, 0.3))
    elif pick < 0.85:
        turns = np.sort(p.rng.random(int(p.rng.integers(3, 8)))) * (2 * math.pi)
        outline = np.stack([x + size * np.cos(turns), y + size * thin * np.sin(turns)], 1)
    else:
        outline, colour = rounded_box(x, y, size * 1.6, size * p.uniform(0.04, 0.15), angle), colour * 0.8
    shadow = p.uniform(0.1, 0.5) if p.chance(0.5) else 0.0
    p.shape(
        outline,
        colour,
        texture=name,
        strength=p.uniform(0.05, 0.3),
        angle=angle,
        slope=p.uniform(0, 0.35),
        bulge=bulge,
        shadow=shadow,
    )


def paint_thing(p: Painter, x: float, y: float, size: float, angle: float, dim: float = 1.0) -> None:
    """Something that lies or stands about: paper, a book, a plate or cup, a box, a screen, a cable, a keyboard."""
    colour, pick = p.colour() * dim, p.rng.random()
    a, b = size, size * p.uniform(0.5, 0.9)
    if pick < 0.2:
        p.shape(rounded_box(x, y, a, b, angle), np.array([0.88, 0.87, 0.84]) * dim * p.uniform(0.75, 1.05), shadow=0.25, slope=0.08)
        p.shape(
            rounded_box(x, y, a * 0.8, b * 0.8, angle),
            np.array([0.8, 0.8, 0.78]) * dim,
            texture="writing",
            angle=angle,
            strength=0.35,
            slope=0,
        )
    elif pick < 0.4:
        p.shape(rounded_box(x, y, a, b, angle, 2), colour, texture="pink", shadow=0.4)
        p.shape(
            rounded_box(x, y, a * p.uniform(0.3, 0.8), b * p.uniform(0.1, 0.5), angle),
            p.colour() * dim,
            texture="writing",
            angle=angle,
            strength=0.4,
        )
    elif pick < 0.58:
        p.shape(ellipse(x, y, a * 0.6, a * 0.6), colour, shadow=0.45, bulge=0.15, slope=0.25)
        p.shape(
            ellipse(x, y, a * 0.5, a * 0.5),
            np.clip(colour * p.uniform(0.4, 1.2), 0, 1),
            slope=-0.25,
            texture="cloud",
            strength=0.08,
        )
    elif pick < 0.75:
        p.shape(rounded_box(x, y, a, b, angle, size * 0.12), colour, texture=str(p.rng.choice(SMOOTH)), shadow=0.4, slope=0.3)
        p.shape(rounded_box(x, y, a * 0.85, b * 0.8, angle, size * 0.05), np.clip(colour * p.uniform(0.3, 1.4), 0, 1), slope=0.4)
    elif pick < 0.87:
        t = np.linspace(-1, 1, 24)
        spine = np.stack(
            [x + 1.5 * size * t, y + size * 0.5 * np.sin(3 * t + p.uniform(0, 6)) + size * 0.3 * p.rng.normal() * t * t], 1
        )
        p.shape(ribbon(spine, p.uniform(1.5, 4)), p.colour("dark" if p.chance(0.6) else "neutral") * dim, shadow=0.3)
    else:
        p.shape(rounded_box(x, y, a, a * 0.4, angle, 4), colour * 0.6, shadow=0.4)
        c, s, step = math.cos(angle), math.sin(angle), max(5.0, a / 8)
        for u in np.arange(-a + step, a - step * 0.5, step):
            for v in np.arange(-a * 0.4 + step, a * 0.4 - step * 0.5, step):
                p.shape(
                    rounded_box(x + c * u - s * v, y + s * u + c * v, step * 0.4, step * 0.4, angle, 1),
                    np.clip(colour + 0.12, 0, 1),
                )
