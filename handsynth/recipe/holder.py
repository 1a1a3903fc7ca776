"""Holds things: what a hand in a pose of the bank holds, fitted to its shape, with material, pattern and colours."""

from functools import lru_cache

import numpy as np

from handsynth.assets.objects.holding import PalmarRegions, Placement, refit, surface_samples
from handsynth.assets.objects.own import Objects
from handsynth.assets.objects.shapes import Shape
from handsynth.assets.objects.table import HoldingTable
from handsynth.core.hand import POSES_KEPT, BankHands
from handsynth.core.rotation import rotvec_to_rotmat
from handsynth.recipe.draws import DECIMALS, rounded
from handsynth.recipe.held import PATTERNS, VARIANTS, ObjectChoice
from handsynth.recipe.wardrobe import Palette, jittered, pick_colour

TRIES = 4
"""Placements that are tried on a hand before it goes empty."""

OBJECT_COLOURS: Palette = (
    (0.16, (36, 36, 38)), (0.16, (232, 231, 227)), (0.07, (130, 132, 134)), (0.10, (186, 44, 42)), (0.10, (44, 86, 160)),
    (0.06, (58, 132, 84)), (0.07, (232, 186, 58)), (0.06, (226, 122, 48)), (0.04, (128, 82, 150)), (0.05, (222, 132, 160)),
    (0.06, (72, 158, 176)), (0.07, (212, 200, 176)),
)  # fmt: skip
"""Shares and sRGB of things of shops and desks: a third black or white, the others more coloured than cloth."""

MATERIAL_COLOURS: dict[str, Palette] = {
    "metal": ((0.7, (176, 178, 182)), (0.1, (200, 168, 110)), (0.1, (58, 60, 64)), (0.1, (186, 50, 48))),
    "wood": ((0.4, (190, 148, 98)), (0.3, (142, 98, 60)), (0.2, (92, 60, 40)), (0.1, (216, 188, 148))),
    "ceramic": ((0.5, (234, 232, 226)), (0.15, (60, 78, 112)), (0.15, (172, 98, 66)), (0.2, (110, 134, 126))),
    "skin": ((0.4, (182, 44, 38)), (0.25, (226, 190, 62)), (0.2, (132, 162, 62)), (0.15, (232, 138, 46))),
}
"""Those of some materials; the others take OBJECT_COLOURS."""


class Holder:
    """What a bank's poses can hold, and the samplers of it."""

    def __init__(self, hands: BankHands, table: HoldingTable, objects: Objects) -> None:
        self._hands, self._model, self._table, self._objects = hands, hands.model, table, objects
        self._regions = PalmarRegions(hands.model)
        self._size = _palm_length(hands.model.rest_joints)
        self._of_family = lru_cache(maxsize=POSES_KEPT)(self._numbers_of_families)
        self._rows: dict[tuple[int, int], np.ndarray] = {}

    def sample(self, rng: np.random.Generator, row: int, beta: np.ndarray) -> ObjectChoice | None:
        """A thing in a hand of that pose of the bank and that shape; None when it can hold none.

        Families are equally likely among those that the pose holds, so that boxes, of which there are many, do not crowd out cups.
        """
        of_family = self._of_family(row)
        if not of_family:
            return None
        families = sorted(of_family)
        hand, growth, root = self._shaped(row, beta)
        for _ in range(TRIES):
            own = of_family[families[rng.integers(len(families))]]
            number = own[rng.integers(len(own))]
            shape = self._objects.shapes[self._table.shape[number]]
            surface, placement = surface_samples(shape.solid), self._table.placement(number)
            placed = refit(self._model, self._regions, hand, growth, root, surface, placement)
            if placed is not None:
                return choose_look(rng, shape, placed)
        return None

    def draw_pose(self, rng: np.random.Generator, taken: int, size: int) -> int | None:
        """A row of the bank that holds something, among `taken` rows spread evenly over its `size`."""
        rows = self._rows.get((taken, size))
        if rows is None:
            rows = self._rows[taken, size] = np.intersect1d(self._table.poses, np.arange(taken) * size // taken)
        return int(rows[rng.integers(len(rows))]) if len(rows) else None

    def surface(self, held: ObjectChoice) -> np.ndarray:
        """(N, 3) points of a thing's surface, in the frame of its choice [m]."""
        points = surface_samples(self._objects.of_name[held.shape].solid).points
        return held.scale * points @ rotvec_to_rotmat(np.array(held.rotvec)).T + held.offset

    def _numbers_of_families(self, row: int) -> dict[str, list[int]]:
        """Family -> the table's placements of its shapes in a pose."""
        found: dict[str, list[int]] = {}
        for number in self._table.of_pose(row).tolist():
            found.setdefault(self._objects.shapes[self._table.shape[number]].family, []).append(number)
        return found

    def _shaped(self, row: int, beta: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        """Vertices of the pose in a shape [m], its size over the mean one's, and its wrist joint."""
        rest = self._model.rest_joints + self._model.joint_shapedirs @ beta
        return self._hands.vertices(row, beta), _palm_length(rest) / self._size, rest[0]


def _palm_length(joints: np.ndarray) -> float:
    """From the wrist to the middle finger of (J, 3) joints."""
    return float(np.linalg.norm(joints[4] - joints[0]))


def choose_look(rng: np.random.Generator, shape: Shape, placed: Placement) -> ObjectChoice:
    """Material, pattern and colours of a thing that has its place."""
    material = shape.materials[rng.integers(len(shape.materials))]
    patterns = PATTERNS[material]
    colours = MATERIAL_COLOURS.get(material, OBJECT_COLOURS)
    colour = jittered(rng, pick_colour(rng, colours))
    other = pick_colour(rng, OBJECT_COLOURS)
    second = jittered(rng, colour, 22.0) if material in ("wood", "skin") else jittered(rng, other)
    return ObjectChoice(
        shape.name,
        rounded(placed.rotvec),
        rounded(placed.offset),
        round(placed.scale, DECIMALS) + 0.0,
        material,
        patterns[rng.integers(len(patterns))],
        colour,
        second,
        int(rng.integers(VARIANTS)),
    )
