"""Dresses a batch: from recipes and posed hands to meshes of what they wear before the camera, and layers on their skin."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from handsynth.assets.skins.skin import SkinModel
from handsynth.core.hand import HandModel
from handsynth.core.mirror import mirror_left, mirror_points
from handsynth.recipe.recipe import Recipe
from handsynth.recipe.wear import RingChoice, SleeveChoice
from handsynth.render.layers import Layout, Mesh
from handsynth.scene.arm import Arm, PosedArms
from handsynth.scene.layouts import worn_layout
from handsynth.scene.normals import faces_around, normal_sums, unit_rows
from handsynth.scene.pose import CameraHands, arm_shape, to_label_grid
from handsynth.scene.sight import rings_in_sight
from handsynth.scene.spheres import ARM_JOINT
from handsynth.scene.wear import tube
from handsynth.scene.wear.contact import ArmContact, RingContact
from handsynth.scene.wear.finger_ring import PHALANX, FingerRings
from handsynth.scene.wear.glove import Gloves
from handsynth.scene.wear.sleeve import DRAWN_RINGS, Sleeves, end_of_ring, outer_rings
from handsynth.scene.wear.varnish import Varnish
from handsynth.scene.wear.wrist import Bracelets, Watches

HIDDEN_M = 0.003
"""How far a forearm is drawn into a sleeve beyond what can be seen of it."""


@dataclass(frozen=True, eq=False)
class WornMesh:
    """A thing that is worn, before a camera: camera frame, metres, mirrored like its hand."""

    layout: Layout
    vertices: np.ndarray  # (V, 3) float32 on the label grid
    normals: np.ndarray  # (V, 3) float32
    faces: np.ndarray  # (F, 3) int32 of its vertices, counter-clockwise seen from outside, before mirroring
    paint: Callable[..., np.ndarray]  # makes its albedo; of a sleeve, what so many rings show

    @property
    def part(self) -> int:
        """Its value in the parts pass."""
        return int(self.layout.triangle_part[0])

    def mesh(self) -> Mesh:
        """As a renderer takes it."""
        return Mesh(self.layout, self.vertices, self.normals, self.paint())


class _Piece(NamedTuple):
    """One thing of one sample, to be placed with the others of its kind."""

    row: int
    choice: Any


class _Kind:
    """What all things of one kind share."""

    def __init__(self, maker: Any, material: str, model: HandModel) -> None:
        """`maker` has a layout, of which things of a choice have a piece, and makes albedos."""
        whole: tube.Layout = maker.layout
        self.maker = maker
        self._layouts: dict[tuple[tube.Layout, int], Layout] = {}
        self._begun: dict[int, Layout] = {}
        self._make = partial(worn_layout, model, material=material)
        self._faces, self._around = whole.faces, faces_around(whole.faces, maker.num_vertices).astype(np.float32)

    def layout(self, choice: Any, joint: int) -> tuple[Layout, np.ndarray]:
        """Of one thing where a joint moves the flesh, and its (F, 3) faces; made once."""
        piece: tube.Layout = self.maker.piece(choice)
        if (piece, joint) not in self._layouts:
            self._layouts[piece, joint] = self._make(piece, joint)
        return self._layouts[piece, joint], piece.faces

    def layout_of(self, end: int) -> Layout:
        """Of the first `end` vertices of the whole on a forearm; made once."""
        if end not in self._begun:
            self._begun[end] = self._make(self.maker.layout, ARM_JOINT, end=end)
        return self._begun[end]

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """(B, V, 3) of as many vertices."""
        return unit_rows(normal_sums((vertices - vertices[:, :1]).astype(np.float32), self._faces, self._around))


class Dress:
    """Dresses hands of one model in one skin. Whatever no recipe asks for is never made."""

    def __init__(self, model: HandModel, arm: Arm | None, skin: SkinModel | None = None) -> None:
        """`arm`: the model's, None where none fits. `skin` as hands are drawn with it, of the size of their albedos; None where
        nothing is drawn.
        """
        self._model, self._own_arm, self._own_skin = model, arm, skin

    def worn(self, recipes: Sequence[Recipe], hands: CameraHands) -> list[tuple[WornMesh, ...]]:
        """Meshes of what B posed hands wear, for each sample."""
        found: list[list[WornMesh]] = [[] for _ in recipes]
        worn = {row: recipe.worn for row, recipe in enumerate(recipes) if recipe.worn is not None}
        for name in ("sleeve", "watch", "bracelet"):
            pieces = [_Piece(row, getattr(things, name)) for row, things in worn.items() if getattr(things, name) is not None]
            if pieces:
                self._add(found, pieces, getattr(self, f"_{name}"), self._on_arms(name, pieces, recipes, hands), hands.is_left)
        rings = [_Piece(row, ring) for row, things in worn.items() for ring in things.rings]
        if rings:
            self._add(found, rings, self._ring, self._on_fingers(rings, hands), hands.is_left)
        return [tuple(things) for things in found]

    def paint(self, recipes: Sequence[Recipe], albedos: np.ndarray, arm_albedos: Sequence[np.ndarray | None]) -> None:
        """Lays varnish, gloves, and the shade of what is worn upon the albedos of B hands and forearms, in place."""
        for recipe, hand, arm in zip(recipes, albedos, arm_albedos, strict=True):
            worn = recipe.worn
            if worn is None:
                continue
            if worn.varnish is not None:
                self._varnish.paint(hand, worn.varnish)
            for ring in worn.rings:
                self._ring_contact.paint(hand, ring)
            if worn.glove is not None:
                self._gloves.paint(hand, arm, worn.glove)
            if arm is not None:
                if worn.watch is not None:
                    self._arm_contact.below_watch(arm, worn.watch)
                if worn.bracelet is not None:
                    self._arm_contact.below_bracelet(arm, worn.bracelet)
                if worn.sleeve is not None:
                    self._arm_contact.below_sleeve(arm, worn.sleeve)

    def sleeves_in_sight(self, sleeves: Sequence[WornMesh], K: np.ndarray, image_size: int) -> list[int | None]:
        """How many of their outer rings hold all of B sleeves that images of a side [px] can show; None for all. K is (B, 3, 3)."""
        if not sleeves:
            return []
        found = rings_in_sight(outer_rings(np.array([sleeve.vertices for sleeve in sleeves])), K, image_size)
        return [next((drawn for drawn in DRAWN_RINGS if drawn >= count), None) for count in found.tolist()]

    def sleeve_mesh(self, sleeve: WornMesh, rings: int) -> Mesh:
        """A sleeve's first `rings` of the outer wall, and all before them."""
        end = end_of_ring(rings)
        return Mesh(self._sleeve.layout_of(end), sleeve.vertices[:end], sleeve.normals[:end], sleeve.paint(rings))

    def rings_shown(self, sleeve: SleeveChoice) -> int:
        """How many rings of a forearm, from the rim on, a sleeve leaves to be drawn."""
        places = self._arm.places
        return min(int(np.searchsorted(places, self._sleeve.maker.hidden_from(sleeve) + HIDDEN_M)) + 1, len(places))

    def _on_arms(self, name: str, pieces: list[_Piece], recipes: Sequence[Recipe], hands: CameraHands) -> np.ndarray:
        """(N, V, 3) vertices of things on forearms, not mirrored."""
        number = np.cumsum([arm is not None for arm in hands.arms]) - 1  # of each sample's forearm among those that were posed
        posed = hands.posed_arms
        assert posed is not None  # recipes whose hands have no forearm wear nothing on it
        rows = number[[piece.row for piece in pieces]]
        # Single precision is a tenth of the label grid here, and takes half the time.
        vertices, centre, frame, outline = (
            values[rows].astype(np.float32) for values in (posed.vertices, posed.centre, posed.frame, posed.outline[:, :0])
        )
        posed = PosedArms(vertices, posed.places, centre, frame, outline)
        choices = [piece.choice for piece in pieces]
        if name == "sleeve":
            return self._sleeve.maker.vertices(choices, [arm_shape(recipes[piece.row]) for piece in pieces], posed)
        return getattr(self, f"_{name}").maker.vertices(choices, posed)

    def _on_fingers(self, pieces: list[_Piece], hands: CameraHands) -> np.ndarray:
        """(N, V, 3) vertices of rings, not mirrored."""
        rows = [piece.row for piece in pieces]
        sides = ["left" if left else "right" for left in hands.is_left[rows]]
        vertices, joints = (mirror_left(points[rows].astype(np.float64), sides) for points in (hands.vertices, hands.joints))
        return self._ring.maker.vertices([piece.choice for piece in pieces], vertices, joints)

    def _add(
        self, found: list[list[WornMesh]], pieces: list[_Piece], kind: _Kind, vertices: np.ndarray, is_left: np.ndarray
    ) -> None:
        """Meshes of pieces of one kind, each to its sample."""
        normals = kind.normals(vertices)
        left = is_left[[piece.row for piece in pieces]]
        for array in (vertices, normals):
            array[left] = mirror_points(array[left])
        vertices, normals = to_label_grid(vertices).astype(np.float32), normals.astype(np.float32)
        for piece, points, directions in zip(pieces, vertices, normals, strict=True):
            choice = piece.choice
            joint = PHALANX[choice.finger][0] if isinstance(choice, RingChoice) else ARM_JOINT
            layout, faces = kind.layout(choice, joint)
            mesh = WornMesh(layout, points, directions, faces, partial(kind.maker.albedo, choice))
            found[piece.row].append(mesh)

    @property
    def _arm(self) -> Arm:
        assert self._own_arm is not None  # the pose stage refuses recipes with a forearm
        return self._own_arm

    @property
    def _skin(self) -> SkinModel:
        assert self._own_skin is not None  # what is drawn has one
        return self._own_skin

    @cached_property
    def _sleeve(self) -> _Kind:
        return _Kind(Sleeves(self._arm), "cloth", self._model)

    @cached_property
    def _watch(self) -> _Kind:
        return _Kind(Watches(self._arm), "finished", self._model)

    @cached_property
    def _bracelet(self) -> _Kind:
        return _Kind(Bracelets(self._arm), "finished", self._model)

    @cached_property
    def _ring(self) -> _Kind:
        return _Kind(FingerRings(self._model), "finished", self._model)

    @cached_property
    def _varnish(self) -> Varnish:
        return Varnish(self._model, self._skin)

    @cached_property
    def _gloves(self) -> Gloves:
        return Gloves(self._model, self._skin, self._own_arm)

    @cached_property
    def _arm_contact(self) -> ArmContact:
        return ArmContact(self._arm)

    @cached_property
    def _ring_contact(self) -> RingContact:
        return RingContact(self._model, self._skin)
