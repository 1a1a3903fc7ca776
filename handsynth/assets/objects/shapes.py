"""The family of things that hands hold: their measures in metres, their materials and how far each may be scaled."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from handsynth.assets.objects.solid import Solid, ellipsoid, joined, rounded_box, swept, turned

Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Shape:
    """A thing of a family, at its usual size."""

    family: str
    name: str
    make: Callable[[], Solid]
    scale: Range  # least and greatest size over the usual one
    materials: tuple[str, ...]  # of "plastic", "metal", "ceramic", "wood", "paper", "rubber", "skin" (of fruit)

    @cached_property
    def solid(self) -> Solid:
        """Its surface; the origin is the middle of its box."""
        made = self.make()
        return made.moved(-(made.vertices.min(0) + made.vertices.max(0)) / 2)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its vertices, to a micrometre, and faces."""
        solid = self.solid
        data = np.rint(solid.vertices * 1e6).astype("<i4").tobytes() + solid.faces.astype("<i4").tobytes()
        return hashlib.sha256(data).hexdigest()


def _tube(radius: float, height: float, bevel: float = 0.0015) -> Solid:
    """A cylinder with round edges."""
    return turned([(0, 0), (radius - bevel, 0), (radius, bevel), (radius, height - bevel), (radius - bevel, height), (0, height)])


def _can(radius: float, height: float) -> Solid:
    """A drinks can: narrowed at both ends, with rims."""
    r, h = radius, height
    return turned(
        [(0, 0.004), (r * 0.66, 0.004), (r * 0.72, 0), (r * 0.78, 0), (r, 0.012), (r, h - 0.014), (r * 0.82, h - 0.002),
         (r * 0.82, h), (r * 0.79, h), (r * 0.78, h - 0.004), (0, h - 0.004)]
    )  # fmt: skip


def _jar(radius: float, height: float) -> Solid:
    """A jar with its lid."""
    r, h = radius, height
    return turned(
        [(0, 0), (r - 0.004, 0), (r, 0.004), (r, h - 0.026), (r * 0.9, h - 0.018), (r * 0.93, h - 0.0175), (r * 0.93, h - 0.001),
         (r * 0.91, h), (0, h)]
    )  # fmt: skip


def _bottle(radius: float, height: float, neck: float, shoulder: float) -> Solid:
    """A bottle with its cap; `shoulder` is where it begins to narrow, as a share of the height."""
    r, h, s = radius, height, shoulder * height
    slope = np.linspace(0, 1, 7)
    curve = [(float(r + (neck - r) * (3 * t * t - 2 * t**3)), float(s + (0.88 * h - s) * t)) for t in slope]
    cap = neck * 1.25
    return turned(
        [(0, 0.003), (r * 0.7, 0.003), (r - 0.004, 0), (r, 0.005), *curve, (neck, 0.905 * h), (cap, 0.906 * h), (cap, h - 0.001),
         (cap - 0.001, h), (0, h)]
    )  # fmt: skip


def _cup(low: float, high: float, height: float, wall: float = 0.003, handle: bool = False) -> Solid:
    """An open cup, wider or not towards its rim; hollow."""
    h = height
    cup = turned(
        [(0, 0), (low - 0.002, 0), (low, 0.002), (high, h - wall / 3), (high - wall / 2, h), (high - wall, h - wall / 3),
         (low - wall, 0.006), (0, 0.006)]
    )  # fmt: skip
    if not handle:
        return cup
    turn = np.linspace(-np.pi / 2, np.pi / 2, 13)
    path = np.stack([high - 0.004 + 0.030 * np.cos(turn), 0 * turn, h * 0.52 + 0.30 * h * np.sin(turn)], 1)
    return joined(cup, swept(path, 0.0055))


def _pen(radius: float, length: float, tip: float) -> Solid:
    """A pen standing on its point."""
    r, end = radius, length
    return turned(
        [(0, 0), (0.0006, 0), (r * 0.45, tip * 0.45), (r, tip), (r, 0.6 * end), (r * 1.1, 0.601 * end), (r * 1.1, end - 0.002),
         (r * 0.9, end), (0, end)],
        20,
    )  # fmt: skip


def _screwdriver() -> Solid:
    handle = [(0, 0), (0.010, 0), (0.0145, 0.006), (0.0155, 0.03), (0.0135, 0.07), (0.0155, 0.092), (0.008, 0.104), (0.006, 0.105)]
    return turned([*handle, (0.003, 0.1052), (0.003, 0.205), (0.0018, 0.212), (0, 0.212)], 20)


def _hammer() -> Solid:
    handle = turned([(0, 0), (0.012, 0), (0.0155, 0.01), (0.0165, 0.06), (0.0135, 0.12), (0.0105, 0.27), (0, 0.27)], 20)
    return joined(handle, rounded_box((0.028, 0.105, 0.030), 0.004).moved((0, 0, 0.262)))


def _spoon() -> Solid:
    handle = rounded_box((0.009, 0.125, 0.0028), 0.0012)
    return joined(handle, ellipsoid((0.019, 0.029, 0.005)).moved((0, 0.087, 0)))


def _toothbrush() -> Solid:
    handle = rounded_box((0.012, 0.155, 0.009), 0.004)
    return joined(handle, rounded_box((0.011, 0.030, 0.016), 0.002).moved((0, 0.088, 0.005)))


def _paintbrush() -> Solid:
    z = [(0, 0), (0.003, 0), (0.005, 0.03), (0.0065, 0.09), (0.006, 0.125), (0.0085, 0.1252), (0.0085, 0.155), (0.0082, 0.1552)]
    return turned([*z, (0.0095, 0.175), (0.002, 0.198), (0, 0.199)], 20)


def _hoop(radius: float, thickness: float) -> Solid:
    turn = np.linspace(0, 2 * np.pi, 37)[:-1]
    return swept(radius * np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1), thickness, closed=True)


def _fruit(radius: float, height: float, dent: float) -> Solid:
    """An apple or a tomato."""
    turn = np.linspace(0, np.pi, 17)
    r = radius * np.sin(turn) ** 0.9
    z = -height / 2 * np.cos(turn)
    pole = np.exp(-((np.minimum(turn, np.pi - turn) / 0.45) ** 2))
    z += dent * pole * np.where(turn < np.pi / 2, 0.6, -1.0)
    r[[0, -1]] = 0
    return turned(list(zip(r.tolist(), z.tolist(), strict=True)))


SHAPES: tuple[Shape, ...] = (
    Shape("ball", "ball", lambda: ellipsoid((0.033, 0.033, 0.033)), (0.30, 1.5), ("rubber", "plastic", "paper")),
    Shape("ball", "egg", lambda: ellipsoid((0.022, 0.022, 0.029)), (0.7, 1.4), ("ceramic", "plastic")),
    Shape("ball", "stone", lambda: ellipsoid((0.030, 0.022, 0.014), 0.9), (0.6, 1.7), ("ceramic", "rubber")),
    Shape("fruit", "apple", lambda: _fruit(0.037, 0.068, 0.012), (0.55, 1.2), ("skin",)),
    Shape("fruit", "lemon", lambda: ellipsoid((0.027, 0.027, 0.037)), (0.7, 1.3), ("skin",)),
    Shape("box", "cube", lambda: rounded_box((0.045, 0.045, 0.045), 0.003), (0.35, 1.35), ("wood", "plastic", "paper")),
    Shape("box", "packet", lambda: rounded_box((0.057, 0.088, 0.023), 0.002), (0.7, 1.25), ("paper",)),
    Shape("box", "matchbox", lambda: rounded_box((0.036, 0.054, 0.015), 0.001), (0.7, 1.3), ("paper",)),
    Shape("box", "soap", lambda: ellipsoid((0.043, 0.028, 0.014), 0.45), (0.75, 1.2), ("ceramic", "plastic")),
    Shape("box", "carton", lambda: rounded_box((0.062, 0.062, 0.15), 0.002), (0.75, 1.2), ("paper",)),
    Shape("box", "block", lambda: rounded_box((0.03, 0.12, 0.03), 0.002), (0.6, 1.3), ("wood", "plastic", "metal")),
    Shape("phone", "phone", lambda: rounded_box((0.072, 0.148, 0.0085), 0.0035), (0.9, 1.08), ("plastic",)),
    Shape("phone", "remote", lambda: rounded_box((0.045, 0.160, 0.018), 0.006), (0.8, 1.1), ("plastic",)),
    Shape("card", "card", lambda: rounded_box((0.0856, 0.054, 0.0014), 0.0006), (0.95, 1.05), ("plastic", "paper")),
    Shape("card", "notebook", lambda: rounded_box((0.10, 0.148, 0.010), 0.001), (0.8, 1.1), ("paper",)),
    Shape("can", "can", lambda: _can(0.033, 0.115), (0.88, 1.08), ("metal",)),
    Shape("can", "slim can", lambda: _can(0.0265, 0.134), (0.88, 1.08), ("metal",)),
    Shape("can", "jar", lambda: _jar(0.036, 0.09), (0.7, 1.2), ("ceramic", "plastic")),
    Shape("can", "spray", lambda: _bottle(0.022, 0.15, 0.014, 0.86), (0.8, 1.2), ("metal",)),
    Shape("bottle", "bottle", lambda: _bottle(0.032, 0.215, 0.012, 0.66), (0.8, 1.15), ("plastic",)),
    Shape("bottle", "flask", lambda: _bottle(0.024, 0.12, 0.008, 0.7), (0.6, 1.3), ("plastic", "ceramic")),
    Shape("cup", "mug", lambda: _cup(0.038, 0.040, 0.094, 0.004, True), (0.85, 1.1), ("ceramic",)),
    Shape("cup", "tumbler", lambda: _cup(0.028, 0.036, 0.11), (0.75, 1.1), ("ceramic", "plastic")),
    Shape("cup", "paper cup", lambda: _cup(0.027, 0.042, 0.105, 0.0015), (0.75, 1.1), ("paper",)),
    Shape("pen", "pen", lambda: _pen(0.0048, 0.144, 0.016), (0.9, 1.1), ("plastic", "metal")),
    Shape("pen", "pencil", lambda: _pen(0.0036, 0.165, 0.014), (0.8, 1.1), ("wood",)),
    Shape("pen", "marker", lambda: _pen(0.0085, 0.136, 0.02), (0.8, 1.2), ("plastic",)),
    Shape("rod", "rod", lambda: _tube(0.0125, 0.32), (0.45, 2.0), ("wood", "metal", "plastic")),
    Shape("rod", "stick", lambda: _tube(0.006, 0.24), (0.5, 1.6), ("wood", "metal")),
    Shape("tool", "screwdriver", _screwdriver, (0.85, 1.2), ("plastic",)),
    Shape("tool", "hammer", _hammer, (0.8, 1.15), ("wood", "rubber")),
    Shape("tool", "paintbrush", _paintbrush, (0.8, 1.25), ("wood",)),
    Shape("tool", "toothbrush", _toothbrush, (0.9, 1.1), ("plastic",)),
    Shape("tool", "spoon", _spoon, (0.85, 1.2), ("metal", "plastic", "wood")),
    Shape("ring", "hoop", lambda: _hoop(0.035, 0.006), (0.6, 1.6), ("metal", "wood", "plastic")),
    Shape("ring", "roll of tape", lambda: _hoop(0.033, 0.013), (0.8, 1.3), ("paper", "plastic")),
    Shape("disc", "lid", lambda: _tube(0.038, 0.014, 0.002), (0.5, 1.35), ("metal", "plastic")),
    Shape("disc", "coin", lambda: _tube(0.013, 0.0022, 0.0004), (0.8, 1.5), ("metal",)),
)
"""Sizes of the usual things of shops and desks; a pose takes those that fit between its fingers."""

SHAPE_OF_NAME = {shape.name: shape for shape in SHAPES}
"""By the name that recipes give."""
