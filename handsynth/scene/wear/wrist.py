"""Watches and bracelets: rings that follow the outline of the forearm near the wrist, and a case upon one."""

import math
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache

import numpy as np

from handsynth.recipe.wear import BraceletChoice, WatchChoice
from handsynth.render.layers import CLOTH, LACQUER, LEATHER, METAL, PLASTIC
from handsynth.scene.arm import Arm, PosedArms, smooth
from handsynth.scene.wear.cloth import words
from handsynth.scene.wear.tube import ArmSections, Layout, Sections, Sewing, disc_uv, dots

STRAP_AROUND, CASE_AROUND = 32, 24
BRACELET_AROUND, BRACELET_PROFILE = 96, 6
"""Vertices around; of a bracelet also around its own section. Four of the former make a bead."""

BEADS, SMOOTH_STEP = BRACELET_AROUND // 4, 3
"""Of bracelets without beads every third ring is enough."""

CLEAR_M = 0.0005
"""Between skin and strap: a strap is pulled tight."""

BENDS = {"band": 1.0, "bangle": 0.0, "cord": 1.0, "beads": 0.6}
"""How closely bracelets follow the wrist's outline: 0 stays an oval."""

STRAP_M = {"leather": 0.0024, "rubber": 0.0030, "metal": 0.0030, "fabric": 0.0016}
"""Thickness of straps."""

STRAP_FINISH = {"leather": LEATHER, "rubber": PLASTIC, "metal": METAL, "fabric": CLOTH}
BRACELET_FINISH = {"band": LEATHER, "bangle": METAL, "cord": CLOTH, "beads": PLASTIC}

SIZE = 128
"""Width of a watch's texture [px]: the strap in its lowest quarter, the case's side above it, the dial in the upper half."""

_STRAP_V, _SIDE_V, _DIAL_V = 0.25, 0.34, 0.5
_DIAL_CENTRE, _DIAL_RADIUS = (0.25, 0.75), (0.245, 0.245)
_BACK_CENTRE = (0.75, 0.75)  # plain metal, for bezel and crown


class Watches:
    """Watches for one model's forearms."""

    def __init__(self, arm: Arm) -> None:
        self._sections = ArmSections(arm, STRAP_AROUND)
        self.layout = _watch_layout()
        self.num_vertices = int(self.layout.faces.max()) + 1

    def vertices(self, choices: Sequence[WatchChoice], posed: PosedArms) -> np.ndarray:
        """(B, V, 3) of B watches on B forearms, in their frame [m]."""
        place, radius, height, width = (
            np.array([getattr(c, name) for c in choices])[:, None] for name in ("place_m", "radius_m", "height_m", "width_m")
        )
        thick = np.array([STRAP_M[c.strap] for c in choices])[:, None]
        # Sections below the case's ends, and below both edges and the middle of the strap.
        five = self._sections.at(posed, place + np.concatenate([-0.9 * radius, -width / 2, 0 * width, width / 2, 0.9 * radius], 1))
        sections = Sections(*(getattr(five, f.name)[:, 1:4] for f in fields(Sections)))
        side = np.array([np.pi if c.side == "back" else 0.0 for c in choices])[:, None]

        # The case lies on the highest skin below it, along the slope between its ends.
        up = (sections.palm[:, 1] * np.cos(side) + sections.thumb[:, 1] * np.sin(side))[:, None]  # (B, 1, 3)
        axis = sections.axis[:, 1:2]
        across = np.cross(axis, up)
        below = five.points - sections.centre[:, 1:2, None]
        lift, lateral = dots(below, up[:, None]), np.abs(dots(below, across[:, None]))  # (B, 5, STRAP_AROUND)
        ends = np.where((lateral < 0.6 * radius[..., None]) & (lift > 0), lift, 0.0).max(-1)
        slope = np.clip((ends[:, -1:] - ends[:, :1]) / (1.8 * radius), -0.6, 0.6)[..., None]
        length = np.sqrt(1 + slope * slope)
        case_axis, case_up = (axis + slope * up) / length, (up - slope * axis) / length
        lift = dots(below, case_up[:, None])
        top = np.where((lateral < 0.6 * radius[..., None]) & (lift > 0), lift, 0.0).max((1, 2))[:, None]  # (B, 1)

        # Beside the case the strap leaves the skin for the lugs, and is never above the case's middle.
        sine, cosine = sections.out[:, 1] @ across[:, 0, :, None], sections.out[:, 1] @ up[:, 0, :, None]
        beside, aloft = np.abs(sine[..., 0]), cosine[..., 0]
        lug = (top + 0.30 * height) / np.maximum(aloft, 0.2)  # distance from the axis at which the lugs' level is met
        reach = np.maximum(sections.radius, np.where(aloft > 0.2, np.minimum(lug, sections.radius[:, 1] + 0.0035), 0.0)[:, None])
        near = smooth(1 - (beside * sections.radius[:, 1] - radius) / 0.008)[:, None] * (aloft > 0)[:, None]
        base = sections.radius + (reach - sections.radius) * near + CLEAR_M
        inner = sections.centre[:, :, None] + base[..., None] * sections.out + _along(sections)
        outer = inner + thick[:, :, None, None] * sections.out * np.array([0.75, 1.0, 0.75])[:, None, None]
        strap = np.stack([inner[:, 1], inner[:, 0], outer[:, 0], outer[:, 1], outer[:, 2], inner[:, 2]], 1)

        round_it = 2 * np.pi * np.arange(CASE_AROUND) / CASE_AROUND
        power = np.array([4.5 if c.case == "square" else 2.0 for c in choices])[:, None]
        cos, sin = np.cos(round_it), np.sin(round_it)
        size = radius / (np.abs(cos) ** power + np.abs(sin) ** power) ** (1 / power)  # (B, CASE_AROUND)
        flat = (cos * size)[..., None] * case_axis + (sin * size)[..., None] * across  # (B, CASE_AROUND, 3)
        middle = sections.centre[:, 1:2] + (top + CLEAR_M)[..., None] * case_up
        levels = ((-0.0045, 0.93), (0.0, 1.0), (0.72, 1.0), (1.0, 0.90), (0.94, 0.84))
        rings = [middle + flat * scale + (level * height[..., None] if level > 0 else level) * case_up for level, scale in levels]
        dial = middle + 0.94 * height[..., None] * case_up

        # The crown: a small box at the side that is nearer to the hand or the elbow, as watches have it at three o'clock.
        towards = -case_axis
        crown_size = 0.09 * radius[..., None]
        corner = np.array([(a, b, c) for a in (0.0, 1.0) for b, c in ((-1, -1), (-1, 1), (1, 1), (1, -1))], float)
        edge = middle + 0.45 * height[..., None] * case_up + 0.985 * radius[..., None] * towards
        crown = (
            edge
            + 1.6 * crown_size * corner[:, :1] * towards
            + 1.2 * crown_size * corner[:, 1:2] * across
            + crown_size * corner[:, 2:] * case_up
        )
        batch = len(choices)
        parts = [strap.reshape(batch, -1, 3), *rings, dial, crown]
        return np.concatenate(parts, 1)

    def piece(self, choice: WatchChoice) -> Layout:
        """As it is drawn."""
        return self.layout

    @staticmethod
    def albedo(choice: WatchChoice) -> np.ndarray:
        """(SIZE, SIZE, 4) uint8 sRGB."""
        return _paint_watch(choice)


def _along(sections: Sections) -> np.ndarray:
    """(B, M, N, 3) what the surface's points have along the axis beyond their section's centre."""
    away = sections.points - sections.centre[:, :, None]
    return dots(away, sections.axis[:, :, None])[..., None] * sections.axis[:, :, None]


def _watch_layout() -> Layout:
    sewing = Sewing()
    strap = np.arange(6 * STRAP_AROUND).reshape(6, -1)
    sewing.tube(strap, [0.004, 0.004, 0.02, _STRAP_V / 2, _STRAP_V - 0.02, _STRAP_V - 0.004])
    sewing.tube(strap[[5, 0]], [0.004, 0.004])
    # The case's rings run counter-clockwise about `up`, which looks out of the wrist.
    case = strap.size + np.arange(5 * CASE_AROUND).reshape(5, -1)
    dial = strap.size + case.size
    sewing.tube(case[:3], [_STRAP_V + 0.02, _STRAP_V + 0.03, _SIDE_V])
    bezel = disc_uv(CASE_AROUND, _BACK_CENTRE, (0.2, 0.2))
    outer, inner = disc_uv(CASE_AROUND, _BACK_CENTRE, (0.24, 0.24)), disc_uv(CASE_AROUND, _BACK_CENTRE, (0.17, 0.17))
    sewing.strip(case[2], case[3], outer, bezel)
    sewing.strip(case[3], case[4], bezel, inner)
    sewing.fan(case[4], dial, disc_uv(CASE_AROUND, _DIAL_CENTRE, _DIAL_RADIUS), _DIAL_CENTRE)
    crown = dial + 1 + np.arange(8).reshape(2, 4)
    plain = np.tile([[_BACK_CENTRE[0], _BACK_CENTRE[1]]], (5, 1))
    sewing.strip(crown[0], crown[1], plain, plain)
    sewing.polygon(crown[1], plain[:4])
    return sewing.layout()


def _paint_watch(choice: WatchChoice) -> np.ndarray:
    """Strap at the bottom, the case's side above it, the dial and plain metal at the top."""
    finish = STRAP_FINISH[choice.strap]
    strap, case = np.array(choice.strap_colour, np.int32), np.array(choice.case_colour, np.int32)
    levels = np.arange(384)[:, None]
    rows, half = round(SIZE * _STRAP_V), SIZE // 2
    image = np.empty((SIZE, SIZE), np.uint32)
    image[SIZE - rows :] = words(strap * levels >> 8, finish)[_strap_shade(choice.strap)]
    if choice.strap == "fabric":  # a stripe along its middle
        image[SIZE - rows // 2 - 4 : SIZE - rows // 2 + 4] = words(strap // 2 + 90, finish)
    brushed = 244 + (_streaks() >> 2)
    image[half : SIZE - rows] = words(case * levels >> 8, METAL)[brushed]
    bezel = case if choice.style != 3 else case // 3
    image[:half, half:] = words(bezel * levels >> 8, METAL)[brushed[half:]]
    image[:half, :half] = _dial(choice, half)
    return image.view(np.uint8).reshape(SIZE, SIZE, 4)


@lru_cache(maxsize=1)
def _streaks() -> np.ndarray:
    """(SIZE,) int32 soft noise of deviation about 32, periodic."""
    values = np.random.default_rng(20_261_206).integers(-100, 101, SIZE)
    soft = np.sum([np.roll(values, k) for k in range(-3, 4)], 0)
    return (soft * 32 // int(soft.std())).astype(np.int32)


@lru_cache(maxsize=8)
def _strap_shade(strap: str) -> np.ndarray:
    """(rows, SIZE) int32 brightness of a strap, 256 for its colour's own; first row towards the elbow."""
    rows, columns = np.arange(round(SIZE * _STRAP_V))[:, None], np.arange(SIZE)[None]
    noise = np.random.default_rng(20_261_207).integers(-16, 17, (len(rows), SIZE))
    edge = np.minimum(rows, len(rows) - 1 - rows)
    if strap == "leather":
        shade = 250 + noise - np.where(edge < 3, 60, 0) + np.where((edge == 5) & (columns % 4 < 2), 70, 0)
    elif strap == "rubber":
        shade = 246 + noise // 4 - np.where((columns % 6 == 0) & (edge > 5), 46, 0) - np.where(edge < 2, 40, 0)
    elif strap == "metal":
        middle = edge > len(rows) // 3
        groove = np.where(
            (columns + np.where(middle, 3, 0)) % 6 == 0, -120, np.where((columns + np.where(middle, 3, 0)) % 6 == 3, 26, 0)
        )
        shade = 236 + groove + np.where(middle, 14, -8) - np.where(edge == len(rows) // 3, 90, 0) + noise // 4
    else:
        shade = 250 + noise - np.where(columns % 2 == 0, 14, 0) - np.where(edge < 2, 30, 0)
    return np.clip(shade, 0, 383).astype(np.int16)


def _dial(choice: WatchChoice, size: int) -> np.ndarray:
    """(size, size) words: face, marks and hands below glass; 12 lies to the left, away from the thumb's side on a wrist's back."""
    face, cover, x, y = _dial_marks(choice.style, size)
    ground = np.array(choice.dial_colour, np.int32)
    ink = np.array((150, 200, 190) if choice.style == 3 else (236, 236, 230) if ground.sum() < 380 else (34, 34, 38), np.int32)
    if choice.style != 3:
        minute = choice.hour % 1.0
        for turn, length, half in ((choice.hour / 12, 0.50, 0.045), (minute, 0.74, 0.030), (minute * 7 % 1, 0.80, 0.012)):
            dx, dy = (np.float32(-f(2 * math.pi * turn)) for f in (math.cos, math.sin))
            along = x * dx + y * dy
            line = np.clip((half - np.abs(x * dy - y * dx)) * (128 * size) + 128, 0, 256) * ((along > -0.12) & (along < length))
            cover = np.maximum(cover, line.astype(np.int16))
    mixed = ground + ((ink - ground) * np.arange(0, 257, 8)[:, None] >> 8)
    return words(mixed[:, None] * np.arange(0, 288, 2)[:, None] >> 8, LACQUER)[cover >> 3, face >> 1]


@lru_cache(maxsize=8)
def _dial_marks(style: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(size, size) each: brightness of the face and cover of the marks (256 for one), and x, y in -1..1."""
    grid = ((np.arange(size) + 0.5) / size * 2 - 1) / (2 * _DIAL_RADIUS[0] * 2)
    x, y = np.meshgrid(grid, grid)
    radius, turn = np.hypot(x, y), (np.arctan2(-y, -x) / (2 * np.pi)) % 1
    face = 256 - np.where(radius > 0.93, 60, 0) + np.rint(12 * np.cos(4 * np.pi * turn)).astype(int)
    pixel = 2.0 / size
    if style == 3:
        # Lines of figures on a black screen.
        inside = (np.abs(x) < 0.62) & (np.abs(y) < 0.55)
        lines = (np.floor((x + 0.62) / 0.31) % 2 == 0) & (np.floor((y + 0.55) / 0.085) % 3 != 2)
        noise = np.random.default_rng(20_261_208).random((size, size)) < 0.7
        return np.full_like(face, 256), np.where(inside & lines & noise, 200, 0), x, y
    hour = np.abs((turn * 12 + 0.5) % 1 - 0.5) / 12 * 2 * np.pi * radius  # way to the nearest hour's ray
    if style == 1:
        cover = np.clip((0.055 - np.hypot(hour, radius - 0.78)) / pixel + 0.5, 0, 1)
    else:
        cover = np.clip((0.028 - hour) / pixel + 0.5, 0, 1) * ((radius > 0.70) & (radius < 0.88))
    if style == 2:
        for cx, cy in ((0.0, -0.40), (0.0, 0.40), (0.40, 0.0)):
            ring = np.abs(np.hypot(x - cx, y - cy) - 0.20)
            cover = np.maximum(cover, 0.6 * np.clip((0.02 - ring) / pixel + 0.7, 0, 1))
    return face.astype(np.int16), np.rint(cover * 256).astype(np.int16), x.astype(np.float32), y.astype(np.float32)


class Bracelets:
    """Bracelets for one model's forearms."""

    def __init__(self, arm: Arm) -> None:
        self._sections = ArmSections(arm, BRACELET_AROUND)
        rings = np.arange(BRACELET_AROUND * BRACELET_PROFILE).reshape(BRACELET_AROUND, -1)
        self.layout, self._smooth = (_closed(rings[::step]) for step in (1, SMOOTH_STEP))
        self.num_vertices = rings.size
        angle = 2 * np.pi * np.arange(BRACELET_AROUND) / BRACELET_AROUND
        waves = np.stack([np.ones_like(angle), *(f(k * angle) * 2**0.5 for k in (1, 2, 3) for f in (np.cos, np.sin))])
        self._angle, self._stiff = angle, waves.T @ waves / BRACELET_AROUND  # the projection on what stiff bands can follow

    def vertices(self, choices: Sequence[BraceletChoice], posed: PosedArms) -> np.ndarray:
        """(B, V, 3) of B bracelets on B forearms, in their frame [m]."""
        place, width, thick, slack, hang, tilt = (
            np.array([getattr(c, name) for c in choices])[:, None]
            for name in ("place_m", "width_m", "thickness_m", "slack_m", "hang_rad", "tilt_rad")
        )
        reach = np.maximum(width / 2, 0.040 * np.abs(tilt)) + 0.002
        sections = self._sections.at(posed, place + reach * np.array([-1.0, 0.0, 1.0]))
        # Away from the section's middle the tilted band meets another girth.
        shift = tilt * sections.radius[:, 1] * np.sin(self._angle - hang)
        part = np.clip(shift / reach, -1, 1)
        low, mid, high = (sections.radius[:, k] for k in range(3))
        radius = np.maximum(np.maximum(low, high), mid) + np.maximum(np.where(part > 0, high - mid, low - mid) * np.abs(part), 0)
        stiff = np.matmul(radius[:, None], self._stiff)[:, 0]  # arm by arm: the same in any batch
        stiff = stiff + (radius - stiff).max(1, keepdims=True)
        bends = np.array([BENDS[c.kind] for c in choices])[:, None]
        radius = bends * radius + (1 - bends) * stiff + CLEAR_M + slack * (1 + np.cos(self._angle - hang)) + thick / 2
        beads = np.array([c.kind == "beads" for c in choices])
        size = np.where(beads[:, None], np.tile([0.32, 0.86, 1.0, 0.86], BEADS), 1.0)[..., None, None]
        turn = 2 * np.pi * (np.arange(BRACELET_PROFILE) + 0.5) / BRACELET_PROFILE
        # Bands are flat, all else is round.
        cos, sin = np.cos(turn) / np.cos(np.pi / BRACELET_PROFILE), np.sin(turn)
        flat = np.array([c.kind in ("band", "bangle") for c in choices])[:, None, None]
        sin = np.where(flat, np.sign(sin) * np.abs(sin) ** 0.4, sin)
        out, axis = sections.out[:, 1, :, None], sections.axis[:, 1, None, None]
        middle = sections.centre[:, 1, None, None] + radius[..., None, None] * out
        middle = middle + (_along(sections)[:, 1] + shift[..., None] * sections.axis[:, 1:2])[:, :, None]
        # On the inside of a bent wrist there is less room along the arm: bands crumple.
        span = dots(sections.points[:, 2] - sections.points[:, 0], sections.axis[:, 1:2]) / (2 * reach)
        half = size * thick[..., None, None] / 2, size * (width * np.clip(span, 0.3, 1))[..., None, None] / 2
        rings = middle + half[0] * cos[:, None] * out - half[1] * sin[..., None] * axis
        return rings.reshape(len(choices), -1, 3)

    def piece(self, choice: BraceletChoice) -> Layout:
        """As it is drawn."""
        return self.layout if choice.kind == "beads" else self._smooth

    @staticmethod
    def albedo(choice: BraceletChoice) -> np.ndarray:
        """(BRACELET_AROUND, 16, 4) uint8 sRGB: rows go around."""
        first, second = np.array(choice.colour, np.int32), np.array(choice.second, np.int32)
        row, column = np.arange(BRACELET_AROUND)[:, None], np.arange(16)[None]
        soft = (_streaks()[:BRACELET_AROUND, None] >> 3) + 0 * column
        colour = np.broadcast_to(first, (BRACELET_AROUND, 16, 3))
        if choice.kind == "beads":
            # Beads lie about rows 2, 6, ... of four; every fourth may be another, and the string between them is dark.
            bead = row // 4
            colour = np.where((bead % 4 == 0)[..., None], second, colour)
            shade = 250 + (_streaks()[bead * 5 % SIZE] >> 1) - np.where(row % 4 == 0, 110, 0) + 0 * column
        elif choice.kind == "cord":
            shade = 250 + soft - np.where((row + column // 2) % 4 == 0, 80, 0)
        elif choice.kind == "band":
            shade = 248 + soft * 2 - np.where((column % 8 < 2), 40, 0)
        else:
            shade = 250 + soft
        image = np.full((BRACELET_AROUND, 16, 4), BRACELET_FINISH[choice.kind], np.uint8)
        image[..., :3] = np.clip(colour * shade[..., None] >> 8, 0, 255)
        return image


def _closed(rings: np.ndarray) -> Layout:
    """Rings (K, N) of vertices, each joined to the next and the last to the first."""
    sewing = Sewing()
    sewing.tube(np.concatenate([rings, rings[:1]]), np.linspace(0, 1, len(rings) + 1))
    return sewing.layout()
