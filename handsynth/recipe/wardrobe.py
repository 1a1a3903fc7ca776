"""The wardrobe: the distributions from which what people wear is drawn, and what of it goes together.

Sizes are those of shops and streets as far as anyone counts them, and plain guesses otherwise: they are meant to cover what
photographs show, not to match a census. How often a thing is worn is a matter of the spec.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from handsynth.core.conventions import FINGERS, WORN_ON_FOREARM
from handsynth.recipe.draws import DECIMALS, uniform
from handsynth.recipe.spec import WearSpec
from handsynth.recipe.wear import (
    LONGEST_CUFF_M,
    VARIANTS,
    BraceletChoice,
    Colour,
    GloveChoice,
    RingChoice,
    SleeveChoice,
    VarnishChoice,
    WatchChoice,
    Worn,
)

Palette = tuple[tuple[float, Colour], ...]
Choice = TypeVar("Choice")
Band = TypeVar("Band", WatchChoice, BraceletChoice)


@dataclass(frozen=True)
class Garment:
    """Ranges of one kind of sleeve; lengths in metres."""

    share: float  # of all sleeves
    ease_m: tuple[float, float]  # gap over the arm
    thickness_m: tuple[float, float]
    hem: str
    hem_m: tuple[float, float]
    fold_m: tuple[float, float]
    patterns: tuple[str, ...]  # equally likely
    pushed_up: float  # chance that it is pushed (a shirt: rolled) up the forearm rather than worn down to the wrist


GARMENTS = {
    "shirt": Garment(
        0.26,
        (0.006, 0.014),
        (0.0008, 0.0012),
        "shirt",
        (0.055, 0.068),
        (0.0025, 0.0060),
        ("plain", "plain", "stripes", "checks"),
        0.25,
    ),
    "jersey": Garment(
        0.26,
        (0.002, 0.006),
        (0.0008, 0.0012),
        "stitched",
        (0.018, 0.026),
        (0.0012, 0.0035),
        ("plain", "plain", "melange", "bands"),
        0.3,
    ),
    "sweater": Garment(
        0.20,
        (0.005, 0.012),
        (0.0020, 0.0035),
        "ribbed",
        (0.045, 0.070),
        (0.0030, 0.0065),
        ("knit", "knit", "melange", "bands"),
        0.35,
    ),
    "hoodie": Garment(
        0.14, (0.009, 0.018), (0.0018, 0.0028), "ribbed", (0.055, 0.075), (0.0050, 0.0090), ("plain", "melange"), 0.3
    ),
    "jacket": Garment(
        0.14, (0.009, 0.018), (0.0018, 0.0030), "stitched", (0.018, 0.035), (0.0040, 0.0080), ("plain", "denim", "denim"), 0.08
    ),
}
"""Kinds of sleeves."""

CLOTH_COLOURS: Palette = (
    (0.19, (30, 30, 33)), (0.12, (228, 227, 222)), (0.09, (120, 121, 124)), (0.06, (72, 73, 78)), (0.05, (176, 177, 178)),
    (0.10, (36, 44, 70)), (0.05, (58, 84, 136)), (0.05, (138, 168, 204)), (0.04, (200, 186, 160)), (0.03, (134, 108, 82)),
    (0.03, (84, 62, 48)), (0.05, (150, 38, 44)), (0.02, (96, 28, 42)), (0.03, (74, 84, 56)), (0.02, (44, 92, 72)),
    (0.02, (216, 168, 176)), (0.02, (206, 160, 62)), (0.01, (196, 98, 52)), (0.01, (104, 74, 128)), (0.01, (60, 140, 150)),
)  # fmt: skip
"""Shares and sRGB of cloth: half of what is worn is black, white or grey, a fifth blue."""

DENIM_COLOURS: Palette = (
    (0.45, (62, 82, 118)),
    (0.3, (38, 48, 76)),
    (0.2, (120, 142, 172)),
    (0.05, (40, 40, 44)),
)
STRAP_COLOURS: dict[str, Palette] = {
    "leather": ((0.35, (34, 30, 29)), (0.35, (92, 58, 36)), (0.2, (140, 94, 58)), (0.1, (58, 40, 36))),
    "rubber": ((0.6, (28, 28, 30)), (0.12, (52, 60, 84)), (0.1, (196, 196, 194)), (0.08, (120, 40, 40)), (0.1, (84, 92, 84))),
    "metal": ((0.62, (178, 180, 184)), (0.2, (198, 166, 104)), (0.1, (54, 54, 58)), (0.08, (202, 160, 138))),
    "fabric": ((0.4, (44, 54, 78)), (0.3, (92, 88, 70)), (0.3, (60, 60, 62))),
}  # fmt: skip
METAL_COLOURS: Palette = (
    (0.45, (188, 190, 194)),
    (0.40, (206, 172, 104)),
    (0.10, (206, 164, 142)),
    (0.05, (62, 62, 66)),
)
"""Silver, steel and white gold; yellow gold; red gold; blackened."""

STONE_COLOURS: Palette = (
    (0.5, (226, 234, 240)),
    (0.15, (30, 52, 120)),
    (0.15, (140, 22, 44)),
    (0.1, (24, 104, 72)),
    (0.1, (28, 28, 30)),
)
BEAD_COLOURS: Palette = (
    (0.3, (86, 56, 36)), (0.25, (34, 32, 34)), (0.1, (224, 220, 210)), (0.1, (52, 84, 128)), (0.1, (150, 44, 44)),
    (0.15, (118, 138, 122)),
)  # fmt: skip
DIAL_COLOURS: Palette = ((0.45, (232, 230, 224)), (0.35, (28, 28, 30)), (0.12, (38, 50, 84)), (0.08, (206, 200, 184)))
VARNISH_COLOURS: Palette = (
    (0.26, (164, 22, 40)), (0.10, (104, 16, 36)), (0.18, (222, 160, 158)), (0.12, (206, 84, 112)), (0.08, (32, 28, 32)),
    (0.07, (232, 228, 226)), (0.05, (46, 62, 116)), (0.04, (50, 122, 104)), (0.04, (112, 82, 134)), (0.03, (214, 140, 60)),
    (0.03, (150, 146, 150)),
)  # fmt: skip


def sample_worn(spec: WearSpec, stream: Callable[[str], np.random.Generator], forearm_m: float | None) -> Worn:
    """What one hand wears, before `worn_together`.

    Each thing has a stream of its own, from which it is drawn whatever else is worn.

    Args:
        spec: how often.
        stream: a thing's name -> its random stream.
        forearm_m: length of the forearm from rim to elbow [m]; None for a hand without one.
    """

    def drawn(name: str, sample: Callable[[np.random.Generator], Choice]) -> Choice | None:
        probability = getattr(spec, name)
        if probability == 0 or (forearm_m is None and name in WORN_ON_FOREARM):
            return None
        rng = stream(name)
        return sample(rng) if rng.random() < probability else None

    return Worn(
        drawn("sleeve", lambda rng: sample_sleeve(rng, forearm_m or 0.0)),
        drawn("watch", sample_watch),
        drawn("bracelet", sample_bracelet),
        drawn("rings", sample_rings) or (),
        drawn("varnish", sample_varnish),
        drawn("glove", sample_glove),
    )


def worn_together(worn: Worn) -> Worn | None:
    """The same where nothing meets; None for nothing.

    What meets is moved apart, or left out where another thing hides it; so a sleeve may move a watch, and a watch a bracelet, but
    nothing else depends on another.
    """
    sleeve, watch, bracelet, rings, glove = worn.sleeve, worn.watch, worn.bracelet, worn.rings, worn.glove
    if sleeve is not None:
        watch, bracelet = watch and beside_sleeve(sleeve, watch), bracelet and beside_sleeve(sleeve, bracelet)
    if glove is not None:  # it is worn over them
        rings = tuple(ring for ring in rings if ring.share > glove.reach + 0.1)
        watch, bracelet = watch and beside_glove(glove, watch), bracelet and beside_glove(glove, bracelet)
    if watch is not None and bracelet is not None:
        bracelet = beside_watch(watch, bracelet)
        if sleeve is not None and beside_sleeve(sleeve, bracelet) != bracelet:
            bracelet = None
    together = Worn(sleeve, watch, bracelet, rings, worn.varnish, glove)
    return together if together.clothing else None


def sample_sleeve(rng: np.random.Generator, length_m: float) -> SleeveChoice:
    """A sleeve for a forearm of `length_m` from rim to elbow."""
    names = list(GARMENTS)
    name = names[_pick(rng, [GARMENTS[name].share for name in names])]
    kind = GARMENTS[name]
    hem, hem_m, thickness = kind.hem, kind.hem_m, kind.thickness_m
    pushed = rng.random() < kind.pushed_up
    cuff = min(rng.uniform(0.25, 0.62) * length_m, LONGEST_CUFF_M) if pushed else 0.008 + 0.028 * rng.random() ** 1.5
    height = rng.uniform(*kind.fold_m) * (1.5 if pushed else 1.0)
    if pushed and name == "shirt":
        hem, hem_m, thickness = "rolled", (0.040, 0.065), (0.0030, 0.0048)
    pattern = kind.patterns[int(rng.integers(len(kind.patterns)))]
    colour = jittered(rng, pick_colour(rng, DENIM_COLOURS if pattern == "denim" else CLOTH_COLOURS))
    return SleeveChoice(
        garment=name,
        cuff_m=_round(cuff),
        ease_m=uniform(rng, kind.ease_m),
        thickness_m=uniform(rng, thickness),
        hem=hem,
        hem_m=uniform(rng, hem_m),
        fold_m=_round(height),
        folds=int(rng.integers(VARIANTS)),
        turn=uniform(rng, (0, 1)),
        hang_rad=uniform(rng, (0, 2 * math.pi)),
        pattern=pattern,
        colour=colour,
        second=_second_colour(rng, colour, pattern),
        period_m=uniform(rng, (0.018, 0.045) if pattern == "checks" else (0.006, 0.022)),
    )


def sample_watch(rng: np.random.Generator) -> WatchChoice:
    """A watch; three in ten are square and dark, as those that tell steps are."""
    smart = rng.random() < 0.3
    shares = {"rubber": 0.85, "fabric": 0.15} if smart else {"leather": 0.42, "metal": 0.38, "rubber": 0.14, "fabric": 0.06}
    strap = list(shares)[_pick(rng, list(shares.values()))]
    radius = uniform(rng, (0.0165, 0.0200) if smart else (0.0135, 0.0215))
    case_colour = jittered(rng, pick_colour(rng, STRAP_COLOURS["metal"]), 6)
    strap_colour = case_colour if strap == "metal" else jittered(rng, pick_colour(rng, STRAP_COLOURS[strap]), 8)
    dial = (18, 18, 20) if smart else pick_colour(rng, DIAL_COLOURS)
    return WatchChoice(
        strap=strap,
        case="square" if smart else "round",
        place_m=uniform(rng, (0.022, 0.042)),
        side="palm" if rng.random() < 0.05 else "back",
        radius_m=radius,
        height_m=uniform(rng, (0.0065, 0.0110)),
        width_m=_round(radius * rng.uniform(0.92, 1.12)),
        strap_colour=strap_colour,
        case_colour=case_colour,
        dial_colour=dial,
        style=3 if smart else int(rng.integers(3)),
        hour=uniform(rng, (0, 12)),
    )


def sample_bracelet(rng: np.random.Generator) -> BraceletChoice:
    """A bracelet."""
    kind = ("band", "bangle", "cord", "beads")[_pick(rng, (0.2, 0.3, 0.2, 0.3))]
    width, thickness, slack = {
        "band": ((0.008, 0.018), (0.0014, 0.0022), (0.0, 0.0012)),
        "bangle": ((0.0025, 0.007), (0.0020, 0.0035), (0.003, 0.009)),
        "cord": ((0.0025, 0.0045), (0.0018, 0.0028), (0.0, 0.0012)),
        "beads": ((0.0055, 0.0085), (0.0055, 0.0085), (0.0003, 0.0025)),
    }[kind]
    first = {"band": STRAP_COLOURS["leather"], "bangle": METAL_COLOURS, "cord": CLOTH_COLOURS, "beads": BEAD_COLOURS}[kind]
    width_m = uniform(rng, width)
    return BraceletChoice(
        kind=kind,
        place_m=uniform(rng, (0.012, 0.045)),
        width_m=width_m,
        thickness_m=width_m if kind == "beads" else uniform(rng, thickness),
        slack_m=uniform(rng, slack),
        hang_rad=uniform(rng, (0, 2 * math.pi)),
        tilt_rad=uniform(rng, (-0.12, 0.12)),
        colour=jittered(rng, pick_colour(rng, first)),
        second=jittered(rng, pick_colour(rng, BEAD_COLOURS if kind == "beads" else METAL_COLOURS)),
    )


def sample_rings(rng: np.random.Generator) -> tuple[RingChoice, ...]:
    """One to three rings, each on a finger of its own: most on the ring finger, few on thumbs."""
    count = 1 + _pick(rng, (0.68, 0.22, 0.10))
    weights = dict(zip(FINGERS, (0.07, 0.20, 0.18, 0.43, 0.12), strict=True))
    colour = jittered(rng, pick_colour(rng, METAL_COLOURS), 6)
    rings = []
    for _ in range(count):
        names = list(weights)
        finger = names[_pick(rng, list(weights.values()))]
        del weights[finger]
        stone = uniform(rng, (0.0035, 0.0090)) if rng.random() < 0.3 else 0.0
        width = uniform(rng, (0.0016, 0.0035)) if stone else uniform(rng, (0.0018, 0.0070))
        rings.append(
            RingChoice(
                finger,
                uniform(rng, (0.58, 0.70)),
                width,
                uniform(rng, (0.0012, 0.0020)),
                stone,
                colour,
                pick_colour(rng, STONE_COLOURS),
            )
        )
    return tuple(rings)


def sample_varnish(rng: np.random.Generator) -> VarnishChoice:
    """Nail varnish."""
    french = rng.random() < 0.1
    colour = (230, 186, 178) if french else jittered(rng, pick_colour(rng, VARNISH_COLOURS))
    opacity = uniform(rng, (0.35, 0.6) if french else (0.82, 1.0))
    worn = uniform(rng, (0.2, 1.0)) if rng.random() < 0.15 else 0.0
    return VarnishChoice("french" if french else "plain", colour, opacity, worn)


def sample_glove(rng: np.random.Generator) -> GloveChoice:
    """A glove without fingers."""
    leather = rng.random() < 0.3
    colours = STRAP_COLOURS["leather"] if leather else CLOTH_COLOURS
    return GloveChoice(
        "leather" if leather else "cloth",
        uniform(rng, (0.45, 0.9)),
        uniform(rng, (0.02, 0.07)),
        jittered(rng, pick_colour(rng, colours)),
        int(rng.integers(VARIANTS)),
    )


def beside_sleeve(sleeve: SleeveChoice, thing: Band) -> Band | None:
    """A watch or bracelet where a sleeve leaves room for it: moved towards the hand, or None when the sleeve hides it."""
    width = thing.radius_m * 2 if isinstance(thing, WatchChoice) else thing.width_m
    place = min(thing.place_m, sleeve.cuff_m - width / 2 - 0.004)
    return replace(thing, place_m=_round(place)) if place >= width / 2 + 0.004 else None


def beside_glove(glove: GloveChoice, thing: Band) -> Band | None:
    """A watch or bracelet that a glove leaves free; None when its cuff covers it."""
    width = thing.radius_m * 2 if isinstance(thing, WatchChoice) else thing.width_m
    return thing if thing.place_m - width / 2 > glove.cuff_m + 0.004 else None


def beside_watch(watch: WatchChoice, bracelet: BraceletChoice) -> BraceletChoice:
    """A bracelet that is worn with a watch: moved to its elbow's side where they would meet."""
    half = watch.radius_m + bracelet.width_m / 2 + 0.004
    if abs(bracelet.place_m - watch.place_m) >= half:
        return bracelet
    return replace(bracelet, place_m=_round(watch.place_m + half))


def pick_colour(rng: np.random.Generator, colours: Palette) -> Colour:
    """One of some weighted colours."""
    return colours[_pick(rng, [share for share, _ in colours])][1]


def jittered(rng: np.random.Generator, colour: Colour, levels: float = 10.0) -> Colour:
    """A colour nearby: mostly lighter or darker, a little of another hue."""
    lighter = rng.normal(0, levels)
    shift = rng.normal(0, 0.35 * levels, 3).tolist()
    return tuple(min(max(round(c + (lighter + own)), 6), 244) for c, own in zip(colour, shift, strict=True))  # type: ignore[return-value]


def _second_colour(rng: np.random.Generator, colour: Colour, pattern: str) -> Colour:
    """What goes with it: of a melange its own in another lightness; else half of the time white or black, or any."""
    if pattern in ("melange", "denim"):
        towards = 235 if sum(colour) < 500 else 60
        return tuple(int(v) for v in np.rint(0.45 * np.array(colour) + 0.55 * towards))  # type: ignore[return-value]
    if rng.random() < 0.55:
        return (226, 226, 222) if sum(colour) < 330 else (40, 42, 52)
    return jittered(rng, pick_colour(rng, CLOTH_COLOURS))


def _pick(rng: np.random.Generator, weights: list[float] | tuple[float, ...]) -> int:
    """Index drawn by weight."""
    limit, total = rng.random() * sum(weights), 0.0
    for k, weight in enumerate(weights):
        total += weight
        if limit < total:
            return k
    return len(weights) - 1


def _round(value: float) -> float:
    return round(float(value), DECIMALS) + 0.0
