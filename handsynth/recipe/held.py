"""What a hand holds: the choice as plain values, and what a stored one may be."""

from collections.abc import Iterator
from dataclasses import dataclass

from handsynth.assets.objects.own import PREFIX
from handsynth.assets.objects.shapes import SHAPE_OF_NAME
from handsynth.recipe.wear import Colour

Vector = tuple[float, float, float]

VARIANTS = 8
"""Grains, prints and the like to choose from."""

PATTERNS = {
    "plastic": ("plain", "plain", "band", "print"),
    "metal": ("brushed", "plain", "print"),
    "ceramic": ("plain", "plain", "band", "speckled"),
    "wood": ("grain",),
    "paper": ("print", "print", "plain", "band"),
    "rubber": ("plain", "speckled"),
    "skin": ("fruit",),
}
"""Patterns of each material, equally likely."""


@dataclass(frozen=True)
class ObjectChoice:
    """A held thing and where it lies: x -> R (scale x) + offset, in the frame of its hand neither turned nor shifted."""

    shape: str  # name of assets.objects.shapes
    rotvec: Vector  # R, axis-angle [rad]
    offset: Vector  # [m]
    scale: float  # over the shape's usual size
    material: str
    pattern: str
    colour: Colour
    second: Colour
    variant: int


FARTHEST_M, SCALE = 0.4, (0.1, 4.0)
"""How far from the hand's origin a held thing's middle lies at most, and what sizes a stored choice may have."""


def object_out_of_range(held: ObjectChoice) -> Iterator[str]:
    """Names of the values of a stored choice that no hand could hold."""
    sane = {
        "shape": held.shape in SHAPE_OF_NAME or (held.shape.startswith(PREFIX) and len(held.shape) < 300),
        "rotvec": max(map(abs, held.rotvec)) <= 7,
        "offset": max(map(abs, held.offset)) <= FARTHEST_M,
        "scale": SCALE[0] <= held.scale <= SCALE[1],
        "material": held.material in PATTERNS,
        "pattern": held.pattern in PATTERNS.get(held.material, ()),
        "colour": all(0 <= level <= 255 for level in held.colour),
        "second": all(0 <= level <= 255 for level in held.second),
        "variant": 0 <= held.variant < VARIANTS,
    }
    yield from (name for name, good in sane.items() if not good)
