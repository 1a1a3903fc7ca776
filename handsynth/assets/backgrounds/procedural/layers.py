"""The brushes of the embedded scenes: shapes with shading, shadow and texture, depth blur, and the camera's own marks.

Every step is either an elementwise IEEE operation, an integer filter, or is rounded to bytes soon after, so that the
images do not depend on the processor's vector instructions.
"""

import colorsys
import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from handsynth.assets.backgrounds.procedural.textures import TILE

HEIGHT, WIDTH = 360, 480
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
SHIFT = 4  # bits of sub-pixel position in cv2.fillPoly


@dataclass
class Painter:
    """An image in the making: float32 (360, 480, 3), 0..1, gamma-coded."""

    rng: np.random.Generator
    textures: dict[str, np.ndarray]
    canvas: np.ndarray = field(default_factory=lambda: np.full((HEIGHT, WIDTH, 3), 0.5, np.float32))
    light: tuple[float, float] = (0.6, 0.8)
    keystone: tuple[float, float] = (0.0, HEIGHT / 2)
    """Heights grow by this much per pixel to the right, about this row [px]: a wall seen at a slant."""

    def __post_init__(self) -> None:
        angle = self.uniform(0.2, math.pi - 0.2)  # light from above
        self.light = (math.cos(angle), math.sin(angle))
        self.tint, self.tinted = draw_colour(self.rng, "neutral"), self.uniform(0.03, 0.25)
        self.chroma = self.uniform(0.5, 1.15)

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.rng.random()

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.rng.random() < probability

    def colour(self, kind: str | None = None) -> np.ndarray:
        """A surface's colour (3,) in this scene's light: things that stand together are lit alike."""
        colour = draw_colour(self.rng, kind)
        grey = colour @ (0.3, 0.6, 0.1)
        colour = grey + self.chroma * (colour - grey)
        return np.clip(colour * (1 - self.tinted) + self.tint * self.tinted * (0.3 + grey), 0, 1)

    def power_law(self, low: float, high: float, exponent: float = 2.0) -> float:
        """A size with density ~ size ** -(exponent + 1): photographs hold many more small things than large ones."""
        a, b = low**-exponent, high**-exponent
        return float((a + (b - a) * self.rng.random()) ** (-1 / exponent))

    def texture(self, name: str, box: tuple[slice, slice], angle: float = 0.0, scale: float = 1.0) -> np.ndarray:
        """float32 patch of a texture, about -1..1, seen turned by `angle` [rad] and with `scale` texels to a pixel."""
        tile = self.textures[name]
        one = 1 << 12
        c, s = round(math.cos(angle) * scale * one), round(math.sin(angle) * scale * one)
        u0, v0 = (int(value) for value in self.rng.integers(0, TILE * one, 2))
        rows = np.arange(box[0].start, box[0].stop, dtype=np.int32)[:, None]
        columns = np.arange(box[1].start, box[1].stop, dtype=np.int32)[None, :]
        u, v = (u0 + c * columns) - s * rows, (v0 + s * columns) + c * rows
        texels = tile.take(((v >> 12) & (TILE - 1)) * TILE + ((u >> 12) & (TILE - 1)))
        return (texels.astype(np.float32) - 128) * np.float32(1 / 64)

    def shape(
        self,
        points: np.ndarray,
        colour: np.ndarray,
        *,
        texture: str | None = None,
        strength: float = 0.1,
        angle: float = 0.0,
        scale: float = 1.0,
        slope: float = 0.15,
        bulge: float = 0.0,
        shadow: float = 0.0,
        opacity: float = 1.0,
    ) -> None:
        """Fills a polygon (n, 2) [px]; `slope` lights it from the scene's side, `bulge` darkens its rim, `shadow` falls aside."""
        growth, row = self.keystone
        if growth:
            points = np.stack([points[:, 0], row + (points[:, 1] - row) * (1 + growth * (points[:, 0] - WIDTH / 2))], axis=1)
        low, high = points.min(axis=0), points.max(axis=0)
        if shadow > 0:
            self._cast(points, shadow, float(min(12.0, 2 + 0.08 * (high - low).max())))
        box = _box(low, high)
        if box is None:
            return
        alpha = _coverage(points, box)[:, :, None] * np.float32(opacity)
        centre, radius = (low + high) / 2, np.maximum((high - low) / 2, 1)
        x = (X[:1, box[1]] - np.float32(centre[0])) * np.float32(1 / radius[0])
        y = (Y[box[0], :1] - np.float32(centre[1])) * np.float32(1 / radius[1])
        shade = (1 - np.float32(slope * self.light[0]) * x) - np.float32(slope * self.light[1]) * y
        if bulge:
            shade *= 1 - np.float32(bulge) * np.minimum(x * x + y * y, 1)
        if texture is not None:
            shade *= 1 + np.float32(strength) * self.texture(texture, box, angle, scale)
        part = self.canvas[box]
        part += alpha * (shade[:, :, None] * colour.astype(np.float32) - part)

    def _cast(self, points: np.ndarray, strength: float, reach: float) -> None:
        moved = points + np.array(self.light) * reach
        box = _box(moved.min(axis=0) - 2 * reach, moved.max(axis=0) + 2 * reach)
        if box is not None:
            soft = _coverage(moved, box, blur=round(reach) | 1)
            self.canvas[box] *= (1 - np.float32(strength) * soft)[:, :, None]

    def glow(self, x: float, y: float, radius: float, colour: np.ndarray, strength: float) -> None:
        """Adds light that falls off from a point as 1 / (1 + d^2), with d in `radius` [px]."""
        d2 = ((X - np.float32(x)) ** 2 + (Y - np.float32(y)) ** 2) * np.float32(1 / radius**2)
        self.canvas += (np.float32(strength) / (1 + d2))[:, :, None] * colour.astype(np.float32)

    def plane(self, horizon: float, colour: np.ndarray, name: str, strength: float, scale: float) -> None:
        """A textured floor or table top that runs from the lower edge to the row `horizon` [px]."""
        top = max(0, math.ceil(horizon))
        if top >= HEIGHT:
            return
        depth = np.float32(HEIGHT) / (np.arange(top, HEIGHT, dtype=np.float32) - np.float32(horizon) + 6)[:, None]
        offset = self.rng.integers(0, TILE, 2)
        u = ((X[top:] - WIDTH / 2) * depth * np.float32(scale)).astype(np.int32) + int(offset[0])
        v = np.broadcast_to((depth * np.float32(300 * scale)).astype(np.int32) + int(offset[1]), u.shape)
        grain = (self.textures[name][v & (TILE - 1), u & (TILE - 1)].astype(np.float32) - 128) * np.float32(1 / 64)
        shade = 1 + np.float32(strength) * grain / np.maximum(1, depth * np.float32(0.5 * scale))  # fades before it aliases
        shade *= 1 + np.float32(self.uniform(-0.25, 0.35)) * (Y[top:] - top) / max(1, HEIGHT - top)
        self.canvas[top:] = shade[:, :, None] * colour.astype(np.float32)

    def blur(self, sigma: float) -> None:
        """Puts everything painted so far out of focus: three box filters on 16-bit integers, nearly a Gaussian."""
        if sigma < 0.1:
            return
        widths, part = _box_widths(sigma)
        self.canvas += np.float32(part) * (_averaged(self.canvas, widths) - self.canvas)

    def detail(self, strength: float) -> None:
        """The fine unevenness that every real surface has, over everything painted so far."""
        grain = self.texture("fine", np.s_[0:HEIGHT, 0:WIDTH], self.uniform(0, 6))
        self.canvas *= (1 + np.float32(strength) * grain)[:, :, None]

    def finish(self) -> np.ndarray:
        """uint8 (360, 480, 3): uneven light, vignette, exposure, white balance, and the sensor's grain."""
        x, y = (X - WIDTH / 2) * np.float32(2 / WIDTH), (Y - HEIGHT / 2) * np.float32(2 / HEIGHT)
        light = 1 - np.float32(self.uniform(0, 0.2)) * (np.float32(self.light[0]) * x + np.float32(self.light[1]) * y)
        light *= 1 - np.float32(self.uniform(0, 0.14)) * (x * x + y * y)
        balance = np.array([self.uniform(0.92, 1.1), 1.0, self.uniform(0.86, 1.08)], np.float32)
        image = np.clip(self.canvas * light[:, :, None] * balance, 0, 2)
        # A photographer exposes for the middle: pull the mean towards a target that varies as that of photographs does.
        mean = float(np.mean(image, dtype=np.float64))
        target = min(0.75, max(0.12, 0.48 + 0.12 * float(self.rng.normal())))
        image *= np.float32(round((target / max(mean, 0.02)) ** 0.7, 4))
        image = image / (1 + np.maximum(image - np.float32(0.8), 0))  # highlights roll off instead of clipping hard
        image += np.float32(self.uniform(0.3, 1.3)) * (image - _averaged(image, (3,)))  # as cameras sharpen
        grain = self.textures["grain"]
        sigma = self.power_law(0.004, 0.03, 1.0)
        offsets = self.rng.integers(0, TILE, (3, 2))
        for channel, (row, column) in enumerate(offsets):
            rows, columns = (np.arange(HEIGHT) + row) & (TILE - 1), (np.arange(WIDTH) + column) & (TILE - 1)
            noise = grain[rows[:, None], columns[None, :]].astype(np.float32) - 128
            image[:, :, channel] += noise * np.float32(sigma / 40)
        return (np.clip(image, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def _averaged(image: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    """Box filters of these widths [px], one after the other, on 16-bit integers."""
    whole = (np.clip(image, 0, 1.6) * np.float32(40000) + np.float32(0.5)).astype(np.uint16)
    for width in widths:
        whole = cv2.blur(whole, (width, width), borderType=cv2.BORDER_REFLECT_101)
    return whole.astype(np.float32) * np.float32(1 / 40000)


def _box_widths(sigma: float) -> tuple[tuple[int, ...], float]:
    """Widths [px] of box filters whose squared widths add up to a Gaussian's variance, and how much of the result to mix in."""
    variance = sigma * sigma
    if variance < 4 / 3:
        return (3, 3), variance * 0.75
    even = math.sqrt(4 * variance + 1)  # width of three equal boxes
    low = int(even - 1) // 2 * 2 + 1
    wider = round((12 * variance + 3 - 3 * low * low) / (4 * low + 4))
    return tuple(low + 2 if step < wider else low for step in range(3)), 1.0


def _box(low: np.ndarray, high: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of the canvas that a rectangle (x, y) touches; None outside."""
    left, top = max(0, math.floor(low[0]) - 1), max(0, math.floor(low[1]) - 1)
    right, bottom = min(WIDTH, math.ceil(high[0]) + 2), min(HEIGHT, math.ceil(high[1]) + 2)
    return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


def _coverage(points: np.ndarray, box: tuple[slice, slice], blur: int = 0) -> np.ndarray:
    """float32 0..1: how much of each pixel of the box lies in the polygon, softened over `blur` [px]."""
    mask = np.zeros((box[0].stop - box[0].start, box[1].stop - box[1].start), np.uint8)
    corners = np.round((points - (box[1].start + 0.5, box[0].start + 0.5)) * (1 << SHIFT)).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, SHIFT)
    if blur > 1:
        mask = cv2.blur(cv2.blur(mask, (blur, blur)), (blur, blur))
    return mask.astype(np.float32) * np.float32(1 / 255)


def ellipse(x: float, y: float, a: float, b: float, angle: float = 0.0, count: int = 28) -> np.ndarray:
    """Polygon (count, 2) of an ellipse with half axes a, b, turned by `angle` [rad]."""
    t = np.arange(count) * (2 * math.pi / count)
    return turned(np.stack([a * np.cos(t), b * np.sin(t)], axis=1), x, y, angle)


def rounded_box(x: float, y: float, a: float, b: float, angle: float = 0.0, corner: float = 0.0) -> np.ndarray:
    """Polygon of a rectangle with half sides a, b, whose corners are rounded with the radius `corner`."""
    if corner <= 0:
        return turned(np.array([[-a, -b], [a, -b], [a, b], [-a, b]], float), x, y, angle)
    r = min(corner, a, b)
    corners = []
    for quarter, (side_x, side_y) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        t = (quarter + np.arange(4) / 3) * (math.pi / 2)
        corners.append(np.stack([side_x * (a - r) + r * np.cos(t), side_y * (b - r) + r * np.sin(t)], axis=1))
    return turned(np.concatenate(corners), x, y, angle)


def leaf(x: float, y: float, length: float, width: float, angle: float) -> np.ndarray:
    """Polygon of a pointed leaf that starts at (x, y)."""
    t = np.linspace(0, 1, 12)
    side = width * np.sin(math.pi * t**0.8)
    outline = np.concatenate([np.stack([t * length, side], 1), np.stack([t[::-1] * length, -side[::-1]], 1)])
    return turned(outline, x, y, angle)


def ribbon(spine: np.ndarray, width: float) -> np.ndarray:
    """Polygon of constant width along a line of points (n, 2): a cable, a stem, a strap."""
    along = np.gradient(spine, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1) / np.maximum(np.sqrt((along**2).sum(1, keepdims=True)), 1e-6)
    return np.concatenate([spine + across * (width / 2), (spine - across * (width / 2))[::-1]])


def turned(points: np.ndarray, x: float, y: float, angle: float) -> np.ndarray:
    """Points (n, 2) turned about the origin and moved to (x, y)."""
    c, s = math.cos(angle), math.sin(angle)
    return points @ np.array([[c, s], [-s, c]]) + (x, y)


def draw_colour(rng: np.random.Generator, kind: str | None = None) -> np.ndarray:
    """One surface colour (3,) as things in photographs have them: mostly greys and earths, some greens and blues, few vivid."""
    kinds = ("neutral", "earth", "green", "blue", "vivid", "dark")
    kind = kind or str(rng.choice(kinds, p=(0.40, 0.17, 0.13, 0.12, 0.09, 0.09)))
    u, v, w = rng.random(3)
    if kind == "neutral":
        hue, saturation, value = (0.09 + 0.06 * u if rng.random() < 0.6 else 0.55 + 0.1 * u), 0.02 + 0.14 * v * v, 0.2 + 0.75 * w
    elif kind == "earth":
        hue, saturation, value = 0.055 + 0.06 * u, 0.3 + 0.35 * v, 0.15 + 0.38 * w
    elif kind == "green":
        hue, saturation, value = 0.17 + 0.16 * u, 0.25 + 0.35 * v, 0.12 + 0.48 * w
    elif kind == "blue":
        hue, saturation, value = 0.54 + 0.1 * u, 0.15 + 0.45 * v, 0.2 + 0.55 * w
    elif kind == "vivid":  # what people paint and print: reds and yellows first, purple and lime hardly ever
        hue = float(rng.choice((0.99, 0.11, 0.14, 0.36, 0.5, 0.6, 0.93), p=(0.3, 0.12, 0.15, 0.12, 0.1, 0.15, 0.06))) + 0.02 * u
        saturation, value = 0.5 + 0.35 * v, 0.25 + 0.5 * w
    else:
        hue, saturation, value = u, 0.25 * v, 0.03 + 0.13 * w
    if 0.02 < hue < 0.11 and 0.18 < saturation < 0.7 and value > 0.5:
        saturation *= 0.4  # the tones of skin are left to the hand
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value))
