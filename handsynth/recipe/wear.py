"""What people wear on arms and hands: each thing's choice as plain values, and which values a stored recipe may hold."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from handsynth.core.conventions import CLOTHING, FINGERS

Colour = tuple[int, int, int]

VARIANTS = 8
"""Fold fields, weaves and the like to choose from."""

LONGEST_CUFF_M = 0.18
"""No sleeve is pushed up further [m]: the shortest forearm is longer."""


@dataclass(frozen=True)
class SleeveChoice:
    """A sleeve from its cuff to the elbow."""

    garment: str  # shirt, jersey, sweater, hoodie, jacket
    cuff_m: float  # place of its edge from the rim, along the forearm
    ease_m: float  # mean gap between arm and cloth, away from the hem
    thickness_m: float
    hem: str  # of HEMS
    hem_m: float  # its length
    fold_m: float  # height of the highest folds
    folds: int  # 0 .. VARIANTS - 1
    turn: float  # by how much of a round the folds are turned, 0..1
    hang_rad: float  # the side, about the axis, on which the cloth hangs (0: the palm's, pi/2: the thumb's)
    pattern: str  # plain, melange, stripes, bands, checks, denim, knit
    colour: Colour
    second: Colour
    period_m: float  # of stripes, bands and checks


@dataclass(frozen=True)
class WatchChoice:
    """A watch: strap and case."""

    strap: str  # leather, rubber, metal, fabric
    case: str  # round, square
    place_m: float  # of its middle from the rim
    side: str  # back, palm: where the case is
    radius_m: float  # of the case
    height_m: float
    width_m: float  # of the strap
    strap_colour: Colour
    case_colour: Colour
    dial_colour: Colour
    style: int  # 0 hands and strokes, 1 hands and dots, 2 small dials besides, 3 figures lit on black
    hour: float  # what it shows, 0..12


@dataclass(frozen=True)
class BraceletChoice:
    """A band, bangle or string of beads about the wrist."""

    kind: str  # band, bangle, cord, beads
    place_m: float
    width_m: float  # along the forearm
    thickness_m: float
    slack_m: float  # how much wider than the wrist its radius is
    hang_rad: float  # the side to which it hangs
    tilt_rad: float  # of its plane
    colour: Colour
    second: Colour


@dataclass(frozen=True)
class RingChoice:
    """A ring on a finger's first phalanx."""

    finger: str
    share: float  # place along the phalanx
    width_m: float  # along the finger
    thickness_m: float
    stone_m: float  # diameter of its stone, 0 for none
    colour: Colour
    stone: Colour


@dataclass(frozen=True)
class VarnishChoice:
    """Nail varnish on all five nails."""

    style: str  # plain; french: white free edges
    colour: Colour
    opacity: float  # 0..1
    worn: float  # 0..1: how much of it has chipped away at the free edge


@dataclass(frozen=True)
class GloveChoice:
    """A knitted or leather glove without fingers: it covers palm, back, wrist and a share of the first phalanges."""

    material: str  # cloth, leather
    reach: float  # share of the first phalanges that it covers
    cuff_m: float  # how far it comes up the forearm
    colour: Colour
    grain: int  # 0 .. VARIANTS - 1


@dataclass(frozen=True)
class Worn:
    """All that one hand and its forearm wear; None in a recipe stands for nothing at all."""

    sleeve: SleeveChoice | None = None
    watch: WatchChoice | None = None
    bracelet: BraceletChoice | None = None
    rings: tuple[RingChoice, ...] = ()  # each on a finger of its own
    varnish: VarnishChoice | None = None
    glove: GloveChoice | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON. What is not worn is left out."""
        single = {name: vars(choice) for name, choice in vars(self).items() if name != "rings" and choice is not None}
        return single | ({"rings": [vars(ring) for ring in self.rings]} if self.rings else {})

    @property
    def clothing(self) -> list[str]:
        """What labels say of it: the names of CLOTHING that are worn, in their order."""
        return [name for name in CLOTHING if getattr(self, name)]


HEMS = ("stitched", "ribbed", "shirt", "rolled")
"""Ends of sleeves: a plain seam, a knit cuff, a shirt's stiff one, and a rolled up one."""

WORDS: dict[tuple[type, str], tuple[str, ...]] = {
    (SleeveChoice, "garment"): ("shirt", "jersey", "sweater", "hoodie", "jacket"),
    (SleeveChoice, "hem"): HEMS,
    (SleeveChoice, "pattern"): ("plain", "melange", "stripes", "bands", "checks", "denim", "knit"),
    (WatchChoice, "strap"): ("leather", "rubber", "metal", "fabric"),
    (WatchChoice, "case"): ("round", "square"),
    (WatchChoice, "side"): ("back", "palm"),
    (BraceletChoice, "kind"): ("band", "bangle", "cord", "beads"),
    (RingChoice, "finger"): FINGERS,
    (VarnishChoice, "style"): ("plain", "french"),
    (GloveChoice, "material"): ("cloth", "leather"),
}
"""What a stored recipe may name."""

LIMITS: dict[tuple[type, str], tuple[float, float]] = {
    (SleeveChoice, "cuff_m"): (0, LONGEST_CUFF_M),
    (SleeveChoice, "ease_m"): (0, 0.03),
    (SleeveChoice, "thickness_m"): (0, 0.01),
    (SleeveChoice, "hem_m"): (0, 0.1),
    (SleeveChoice, "fold_m"): (0, 0.03),
    (SleeveChoice, "folds"): (0, VARIANTS - 1),
    (SleeveChoice, "turn"): (0, 1),
    (SleeveChoice, "hang_rad"): (-7, 7),
    (SleeveChoice, "period_m"): (0.001, 0.1),
    (WatchChoice, "place_m"): (0, 0.2),
    (WatchChoice, "radius_m"): (0.005, 0.04),
    (WatchChoice, "height_m"): (0, 0.03),
    (WatchChoice, "width_m"): (0.005, 0.05),
    (WatchChoice, "style"): (0, 3),
    (WatchChoice, "hour"): (0, 12),
    (BraceletChoice, "place_m"): (0, 0.2),
    (BraceletChoice, "width_m"): (0.001, 0.05),
    (BraceletChoice, "thickness_m"): (0, 0.02),
    (BraceletChoice, "slack_m"): (0, 0.03),
    (BraceletChoice, "hang_rad"): (-7, 7),
    (BraceletChoice, "tilt_rad"): (-0.5, 0.5),
    (RingChoice, "share"): (0, 1),
    (RingChoice, "width_m"): (0, 0.02),
    (RingChoice, "thickness_m"): (0, 0.01),
    (RingChoice, "stone_m"): (0, 0.03),
    (VarnishChoice, "opacity"): (0, 1),
    (VarnishChoice, "worn"): (0, 1),
    (GloveChoice, "reach"): (0, 1),
    (GloveChoice, "cuff_m"): (0, 0.2),
    (GloveChoice, "grain"): (0, VARIANTS - 1),
}
"""Least and greatest number of each kind in a stored recipe: a little beyond all that is drawn."""


def out_of_range(worn: Worn) -> Iterator[str]:
    """Names of the values of a stored recipe that no one could wear: `watch.place_m`, `rings 1.finger`."""
    choices = {name: choice for name, choice in vars(worn).items() if name != "rings" and choice is not None}
    for name, choice in (choices | {f"rings {k}": ring for k, ring in enumerate(worn.rings)}).items():
        for key, value in vars(choice).items():
            if isinstance(value, tuple):
                good = all(0 <= level <= 255 for level in value)
            elif isinstance(value, str):
                good = value in WORDS[type(choice), key]
            else:
                low, high = LIMITS[type(choice), key]
                good = low <= value <= high
            if not good:
                yield f"{name}.{key}"
    if len({ring.finger for ring in worn.rings}) != len(worn.rings):
        yield "rings (two of them on one finger)"
