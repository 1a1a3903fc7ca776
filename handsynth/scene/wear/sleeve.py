"""Sleeves: a tube of cloth around the forearm from its cuff to beyond the elbow, with folds and an inner wall behind the cuff."""

from collections.abc import Sequence

import numpy as np

from handsynth.recipe.wear import SleeveChoice
from handsynth.scene.arm import ELBOW, MAX_FLEXION, POLE_M, Arm, ArmShape, PosedArms, bend_rate, smooth
from handsynth.scene.wear import cloth, folds
from handsynth.scene.wear.tube import ArmSections, Layout, Sewing, loop_uv

AROUND, OUTER = 24, 20
"""Vertices of a ring, and rings of the outer wall from cuff to elbow."""

CROWDING = 1.35
"""Rings lie at shares (k / OUTER) ** CROWDING of the length: close at the cuff, where folds are close."""

WALL = (3, 2, 1, 0)
"""Outer rings at whose places the inner wall's rings lie, from deep inside to the cuff's edge."""

CLEAR_M, CLEAR_BENT_M = 0.00185, 0.0009
"""Least gap between arm and cloth at the rings, and what a wrist bent as far as it goes adds: between rings, cloth is straight and
the arm is round. It leaves 1 mm everywhere.
"""

MAX_FOLD_M = 0.014
"""Height of the highest folds, however the wrist bends."""

SEAL_M = 0.0010
"""How far the wall's hidden end reaches into the arm, so that no one who looks into the cuff sees past it."""

ROOM = 0.72
"""Share of the inside radius of the wrist's bend that cloth may fill."""

WALL_ROWS = 1 / 16
"""Share of the texture that shows the inner wall, at its top."""

DRAWN_RINGS = (4, 8, 12, 16, OUTER)
"""Sleeves that leave the image are drawn up to one of so many outer rings, so that there are few layouts."""

_SHARE = (np.arange(OUTER) / (OUTER - 1)) ** CROWDING


class Sleeves:
    """Sleeves for one model's forearms."""

    def __init__(self, arm: Arm) -> None:
        self._arm, self._sections = arm, ArmSections(arm, AROUND)
        self.layout = _layout(arm)
        self.num_vertices = int(self.layout.faces.max()) + 1

    def vertices(self, choices: Sequence[SleeveChoice], shapes: Sequence[ArmShape], posed: PosedArms) -> np.ndarray:
        """(B, V, 3) of B sleeves on B forearms, in their frame [m]."""
        arm = self._arm
        cuff, ease, thickness, fold, hem, hang = (
            np.array([getattr(c, name) for c in choices])[:, None]
            for name in ("cuff_m", "ease_m", "thickness_m", "fold_m", "hem_m", "hang_rad")
        )
        # Places of the outer rings, then of the elbow's.
        places = cuff + _SHARE * (arm.length_m - cuff)
        beyond = np.broadcast_to([arm.length_m + more for more, _ in ELBOW], (len(choices), len(ELBOW)))
        sections = self._sections.at(posed, np.concatenate([places, beyond], 1))

        gap, wall = self._gaps(choices, places, sections.radius[:, :OUTER], shapes, (cuff, ease, fold, hem, hang))
        thick = thickness[..., None] * self._thicker(choices, places - cuff)[..., None]
        gap, wall, thick = (values.astype(posed.vertices.dtype) for values in (gap, wall, thick))
        outer = sections.points[:, :OUTER] + (gap + thick)[..., None] * sections.out[:, :OUTER]
        inner = sections.points[:, WALL] + wall[..., None] * sections.out[:, WALL]
        seal = sections.points[:, WALL[:1]] - SEAL_M * sections.out[:, WALL[:1]]
        # The cuff's edge is rounded: a ring half-way through the cloth, a little in front of both walls.
        edge = (inner[:, -1] + outer[:, 0]) / 2 - (0.5 * thick[:, 0])[..., None] * sections.axis[:, :1]

        # Round the elbow's end the gap turns from across to along the axis.
        last = (gap + thick)[:, -1:]
        end = sections.points[:, OUTER:] + last[..., None] * (
            _ACROSS[:, None, None] * sections.out[:, OUTER:] + _ALONG[:, None, None] * sections.axis[:, OUTER:, None]
        )
        pole = posed.vertices[:, -1:] + last.mean(-1)[..., None] * sections.axis[:, -1:]
        batch = len(choices)
        parts = (
            seal.reshape(batch, -1, 3),
            inner.reshape(batch, -1, 3),
            edge,
            outer.reshape(batch, -1, 3),
            end.reshape(batch, -1, 3),
            pole,
        )
        return np.concatenate(parts, 1)

    def _gaps(
        self, choices: Sequence[SleeveChoice], places: np.ndarray, radius: np.ndarray, shapes: Sequence[ArmShape], columns: tuple
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B, OUTER, AROUND) from the arm to the cloth's inside, and (B, len(WALL), AROUND) to the wall that is seen of it [m]."""
        cuff, ease, fold, hem, hang = columns
        angle = 2 * np.pi * np.arange(AROUND) / AROUND
        along = places - cuff  # (B, OUTER) from the edge
        tight = np.array([HEM_EASE[c.hem] for c in choices])[:, None]  # share of the ease that the hem has
        swell = np.array([HEM_SWELL[c.hem] for c in choices])[:, None]  # how fast cloth widens behind it
        share = tight + (1 - tight) * smooth((along - hem) / swell)
        # Cloth bridges the forearm's flat sides, and hangs.
        slack = (ease * share)[..., None] * (1 + 0.55 * np.cos(angle - hang)[:, None])
        slack += 0.3 * np.minimum(share, ease / 0.008)[..., None] * (radius.max(-1, keepdims=True) - radius)

        # Folds begin behind the hem; where the wrist bends they are deeper, above all on its inside.
        flexion, deviation = (np.array([getattr(s, name) for s in shapes])[:, None] for name in ("flexion", "deviation"))
        bend = np.sqrt(flexion * flexion + deviation * deviation)
        inside = (np.cos(angle) * flexion + np.sin(angle) * deviation) / np.maximum(bend, 1e-9)
        behind = smooth((along - np.where(tight > 0.99, 0.5 * hem, hem) + 0.004) / 0.012)
        near = 1 + 0.5 * (1 - smooth(along / 0.10)) + 0.9 * smooth((along - (self._arm.length_m - cuff) + 0.06) / 0.06)
        rows = np.minimum((along - folds.START * hem).clip(0) / folds.STEP_M, folds.ROWS - 1.001)
        first, part = rows.astype(int), (rows % 1)[..., None]
        shift = np.array([folds.turned(c.turn) for c in choices])[:, None]
        column = (np.arange(AROUND) * (folds.AROUND // AROUND) + shift * (folds.AROUND // folds.TURNS)) % folds.AROUND
        field = folds.heights()
        variant = np.array([c.folds for c in choices])[:, None, None]
        ridges = (
            field[variant, first[..., None], column[:, None]] * (1 - part)
            + part * field[variant, first[..., None] + 1, column[:, None]]
        )
        deep = (
            1
            + np.minimum(1.2 * bend, 1.0)[..., None]
            * (0.4 + 0.6 * inside[:, None])
            * (1 - smooth((places - 0.02) / 0.08))[..., None]
        )
        gap = slack + np.minimum((fold * behind * near)[..., None] * deep, MAX_FOLD_M) * ridges

        # On the inside of the wrist's bend there is only so much room before rings run through each other.
        curve = bend * bend_rate(places)  # (B, OUTER) [1/m]
        facing = curve[..., None] * np.maximum(inside, 0.0)[:, None]
        room = ROOM / np.maximum(facing, 1e-3) - radius
        clear = (CLEAR_M + CLEAR_BENT_M * np.minimum(bend / MAX_FLEXION, 1))[..., None]
        gap = clear + np.minimum(gap, np.maximum(room - clear, 0.0003))

        # The wall never leaves the cloth that it belongs to, and comes down to the arm deep inside.
        least = np.minimum.accumulate(gap, 1)[:, WALL]
        wall = clear + (least - clear) * np.linspace(0, 1, len(WALL))[:, None] ** 0.7
        return gap, wall

    @staticmethod
    def _thicker(choices: Sequence[SleeveChoice], along: np.ndarray) -> np.ndarray:
        """(B, OUTER) how much thicker than plain cloth it is: a rolled cuff is many layers, the rest one."""
        rolled = np.array([c.hem == "rolled" for c in choices])[:, None]
        hem = np.array([c.hem_m for c in choices])[:, None]
        plain = 0.3 * rolled + 1.0 * ~rolled
        return plain + (1 - plain) * (1 - smooth((along - hem) / 0.004))

    def hidden_from(self, choice: SleeveChoice) -> float:
        """Place on the forearm from which on the sleeve hides it from every side [m]: where the wall's end is sealed."""
        return choice.cuff_m + float(_SHARE[WALL[0]]) * (self._arm.length_m - choice.cuff_m)

    def piece(self, choice: SleeveChoice) -> Layout:
        """As it is drawn."""
        return self.layout

    def albedo(self, choice: SleeveChoice, rings: int = OUTER + len(ELBOW)) -> np.ndarray:
        """(cloth.SIZE, cloth.SIZE, 4) uint8 sRGB; the cuff is at the bottom, the inner wall at the top. Of the outside, at least
        what the first `rings` show.
        """
        length = self._arm.length_m
        last = _rows(length)[rings - 1] if rings <= OUTER else 1.0
        seen_from = int((1 - last) * cloth.SIZE) - 1  # filters look at half a row more
        return cloth.sleeve_albedo(choice, length + POLE_M, WALL_ROWS, max(seen_from, 0))


def end_of_ring(rings: int) -> int:
    """How many of a sleeve's vertices lie before the end of so many outer rings."""
    return (len(WALL) + 2 + rings) * AROUND


def outer_rings(vertices: np.ndarray) -> np.ndarray:
    """(B, V, 3) sleeves -> (B, R, AROUND, 3) the rings of their outer walls and round ends in order, the pole as one too."""
    rings = vertices[:, end_of_ring(0) : -1].reshape(len(vertices), -1, AROUND, 3)
    return np.concatenate([rings, np.repeat(vertices[:, -1:, None], AROUND, 2)], 1)


HEM_EASE = {"stitched": 1.0, "ribbed": 0.06, "shirt": 0.75, "rolled": 0.5}
HEM_SWELL = {"stitched": 0.02, "ribbed": 0.022, "shirt": 0.012, "rolled": 0.006}
"""Looseness of hems over the sleeve's, and the length over which it widens behind them [m]."""


def _elbow_directions() -> tuple[np.ndarray, np.ndarray]:
    """(len(ELBOW),) parts across and along the axis of the directions in which the elbow's rings are moved outward."""
    size = np.array([1.0, *(s for _, s in ELBOW), 0.0]) * 0.035  # about a forearm's radius
    place = np.array([0.0, *(p for p, _ in ELBOW), POLE_M])
    slope = (size[:-2] - size[2:]) / (place[2:] - place[:-2])
    length = np.sqrt(1 + slope * slope)
    return 1 / length, slope / length


_ACROSS, _ALONG = _elbow_directions()


def _rows(length_m: float) -> np.ndarray:
    """(OUTER + len(ELBOW),) v of outer rings: equal lengths of cloth on a sleeve of the whole arm's length; the elbow's follow at
    its rate.
    """
    places = np.concatenate([_SHARE * length_m, [length_m + more for more, _ in ELBOW]])
    return places / (length_m + POLE_M) * (1 - WALL_ROWS - 0.02) + 0.004


def _layout(arm: Arm) -> Layout:
    """Seal and inner wall, edge, outer wall, elbow, pole. v of the outer wall is its share of the way, which `cloth` undoes."""
    inner = np.arange((1 + len(WALL)) * AROUND).reshape(-1, AROUND)
    edge = inner.size + np.arange(AROUND)
    outer = edge[-1] + 1 + np.arange((OUTER + len(ELBOW)) * AROUND).reshape(-1, AROUND)
    pole = int(outer[-1, -1]) + 1
    sewing, top = Sewing(), 1 - WALL_ROWS
    v = _rows(arm.length_m)
    sewing.tube(np.concatenate([inner, edge[None]]), [*np.linspace(0.995, top + 0.01, 1 + len(WALL)), top + 0.008])
    sewing.tube(np.stack([edge, outer[0]]), [0.004, 0.004])
    sewing.tube(outer, v)
    sewing.fan(outer[-1], pole, loop_uv(AROUND, float(v[-1])), (0.5, top - 0.016))
    return sewing.layout()
