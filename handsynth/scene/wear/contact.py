"""Contact: how what is worn darkens the skin beside it, painted on the albedos of forearm and hand.

It keeps light from everywhere out of the gap between skin and cloth, strap or ring; that the skin then looks redder is light that
has gone through it.
"""

import numpy as np

from handsynth.assets.skins.skin import SkinModel
from handsynth.core.conventions import FINGERS
from handsynth.core.hand import HandModel
from handsynth.recipe.wear import BraceletChoice, RingChoice, SleeveChoice, WatchChoice
from handsynth.scene.arm import POLE_M, Arm, smooth
from handsynth.scene.arm_skin import ALONG, AROUND
from handsynth.scene.wear.texels import find_texels

RED = 0.80
"""Darkening of red over that of green and blue."""

DEEP = 0.25
"""What is left of the light deep in a sleeve."""

WRIST_M = 0.028
"""Radius by which angles about the wrist become lengths."""

RING_REACH_M = 0.0022

_ANGLE = 2 * np.pi * (np.arange(AROUND) + 0.5) / AROUND
"""Of the texture's columns about the forearm, from the palm's side to the thumb's."""


class ArmContact:
    """Darkens albedos of forearms."""

    def __init__(self, arm: Arm) -> None:
        self._place = ((np.arange(ALONG) + 0.5) * (arm.length_m + POLE_M) / ALONG)[:, None]

    def below_sleeve(self, albedo: np.ndarray, sleeve: SleeveChoice) -> None:
        """Darkens an (ALONG, AROUND, 4) albedo before the cuff and inside the sleeve, in place."""
        gap = 0.002 + sleeve.ease_m
        rows = self._rows(0.0, sleeve.cuff_m + 5 * gap)
        inside = (self._place[rows] - sleeve.cuff_m) / gap  # in gaps
        before, within = np.exp(2.0 * np.minimum(inside, 0)), np.exp(-0.9 * np.maximum(inside, 0))
        shade = np.where(inside < 0, 0.32 * before, 1 - DEEP - (1 - DEEP - 0.32) * within)
        # The hand, which is not darkened, begins at the rim.
        _darken(albedo[rows], 1 - shade * smooth(self._place[rows] / min(sleeve.cuff_m, 0.012)))

    def below_watch(self, albedo: np.ndarray, watch: WatchChoice) -> None:
        """Darkens it beside strap and case, in place."""
        rows = self._rows(watch.place_m - watch.radius_m - 0.012, watch.place_m + watch.radius_m + 0.012)
        away = np.abs(self._place[rows] - watch.place_m)
        strap = 0.45 * np.exp(-np.maximum(away - watch.width_m / 2, 0) / 0.0025)
        across = WRIST_M * np.abs(_turned(_ANGLE - (np.pi if watch.side == "back" else 0.0)))
        case = 0.5 * np.exp(-np.maximum(np.hypot(away, across) - watch.radius_m, 0) / (0.5 * watch.height_m))
        _darken(albedo[rows], 1 - np.maximum(strap, case))

    def below_bracelet(self, albedo: np.ndarray, bracelet: BraceletChoice) -> None:
        """Darkens it along the bracelet, the less the farther it hangs from the skin; in place."""
        half = bracelet.width_m / 2 + WRIST_M * abs(bracelet.tilt_rad)
        rows = self._rows(bracelet.place_m - half - 0.012, bracelet.place_m + half + 0.012)
        turn = _ANGLE - bracelet.hang_rad
        away = np.abs(self._place[rows] - bracelet.place_m - bracelet.tilt_rad * WRIST_M * np.sin(turn))
        gap = bracelet.slack_m * (1 + np.cos(turn))
        _darken(albedo[rows], 1 - 0.5 / (1 + gap / 0.002) * np.exp(-np.maximum(away - bracelet.width_m / 2, 0) / (0.002 + gap)))

    def _rows(self, first_m: float, last_m: float) -> slice:
        """Rows of the texture between two places."""
        first, last = np.searchsorted(self._place[:, 0], [first_m, last_m])
        return slice(int(first), int(last))


class RingContact:
    """Darkens fingers beside rings, on albedos of one hand in one texture layout."""

    def __init__(self, model: HandModel, skin: SkinModel) -> None:
        number, start, length = find_texels(model, skin).phalanges()
        self._fingers = []
        for finger in range(len(FINGERS)):
            mine = np.flatnonzero((number == finger) & (start > 0.2 * length) & (start < 1.1 * length))
            self._fingers.append((mine, start[mine], length[mine]))

    def paint(self, albedo: np.ndarray, ring: RingChoice) -> None:
        """Darkens a (size, size, 4) albedo beside a ring, in place."""
        texels, start, length = self._fingers[FINGERS.index(ring.finger)]
        away = np.abs(start - ring.share * length) - ring.width_m / 2
        near = np.flatnonzero(away < 3 * RING_REACH_M)
        words, texels = albedo.view(np.uint32).reshape(-1), texels[near]
        found = np.take(words, texels)
        _darken(found.view(np.uint8).reshape(-1, 4), 1 - 0.5 * np.exp(-np.maximum(away[near], 0) / RING_REACH_M))
        words[texels] = found


def _darken(albedo: np.ndarray, light: np.ndarray) -> None:
    """(..., 4) uint8 times shares of the light, as numpy broadcasts them to (...); of red a little more is left; in place."""
    kept = np.full((*light.shape, 4), 256, np.uint16)
    kept[..., 0] = np.rint(256 - (1 - light) * (256 * RED))
    kept[..., 1:3] = np.rint(256 - (1 - light) * 256)[..., None]
    # Four channels as one word: numpy is slow at rows of four.
    words = np.broadcast_to(kept.view(np.uint64)[..., 0], albedo.shape[:-1])
    product = albedo.astype(np.uint16)
    product *= np.ascontiguousarray(words).view(np.uint16).reshape(albedo.shape)
    product >>= 8
    albedo[...] = product


def _turned(angle: np.ndarray) -> np.ndarray:
    """Angles within half a turn of 0."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
