"""Hands that share images: the rows of a batch that belong to one image, and what stands beside each hand of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from handsynth.core.conventions import OCCLUDER_PART, OTHER_HAND_PART
from handsynth.core.hand import HandModel
from handsynth.recipe.others import hand_recipes
from handsynth.recipe.recipe import Recipe
from handsynth.render.layers import Layout
from handsynth.scene.arm import make_arm
from handsynth.scene.pose import CameraHands
from handsynth.scene.spheres import MAX_SPHERES
from handsynth.scene.upper_arm import whole_faces
from handsynth.scene.wear.dress import WornMesh


@dataclass(frozen=True, eq=False)
class Company:
    """All hands of some images as rows: the first hand of each image in their order, and after these all others."""

    recipes: tuple[Recipe, ...]  # (R,) each hand as the first of an image of its own
    image: tuple[int, ...]  # (R,) the image that each row is in

    @cached_property
    def rows(self) -> list[list[int]]:
        """Rows of each image, its first hand's first."""
        found: list[list[int]] = [[] for _ in set(self.image)]
        for row, image in enumerate(self.image):
            found[image].append(row)
        return found


def gather(recipes: Sequence[Recipe], image_size: int) -> Company:
    """The hands of images of a side [px]."""
    others = [(own, image) for image, recipe in enumerate(recipes) for own in hand_recipes(recipe, image_size)]
    return Company((*recipes, *(own for own, _ in others)), (*range(len(recipes)), *(image for _, image in others)))


class Standing(NamedTuple):
    """A surface beside a hand (see visibility.Surface)."""

    vertices: np.ndarray  # (V, 3) camera frame [m]
    faces: np.ndarray  # (F, 3)
    part: int


def surroundings(
    company: Company, hands: CameraHands, worn: Sequence[tuple[WornMesh, ...]], model: HandModel
) -> list[tuple[WornMesh | Standing, ...]]:
    """What is beside each of R hands but its forearm: what it wears and holds, the other hands of its image with all that is
    theirs, and what hides them. Faces are wound as those of the row's own hand.
    """
    found: list[tuple[WornMesh | Standing, ...]] = list(worn)
    for rows in company.rows:
        if len(rows) > 1:
            for row in rows:
                beside = [thing for other in rows if other != row for thing in _all_of(other, row, hands, worn, model)]
                found[row] = (*worn[row], *beside)
    return found


def _all_of(row: int, seen_from: int, hands: CameraHands, worn: Sequence[tuple[WornMesh, ...]], model: HandModel) -> list[Standing]:
    """One hand and all that is around it, beside another."""
    arm = hands.arms[row]
    found = [Standing(hands.vertices[row], model.closed_faces if arm is None else model.faces, OTHER_HAND_PART)]
    if arm is not None:
        shape = make_arm(model)
        assert shape is not None  # it was posed
        found.append(Standing(arm, whole_faces(shape), OTHER_HAND_PART))
    found += [Standing(t.vertices, t.faces, OCCLUDER_PART if t.part == OCCLUDER_PART else OTHER_HAND_PART) for t in worn[row]]
    if hands.is_left[row] == hands.is_left[seen_from]:
        return found
    return [thing._replace(faces=_reversed(thing.faces)) for thing in found]


_REVERSED: dict[int, tuple[np.ndarray, np.ndarray]] = {}
"""By identity of faces, these, so that the identity stays theirs, and the same wound the other way round."""


def _reversed(faces: np.ndarray) -> np.ndarray:
    """(F, 3) faces of a hand of the other side; one array for all of a kind, like the faces themselves."""
    if id(faces) not in _REVERSED:
        _REVERSED[id(faces)] = faces, np.ascontiguousarray(faces[:, ::-1])
    return _REVERSED[id(faces)][1]


SHADING = 24
"""So many spheres of other hands, the nearest, shade a hand beside its own."""


class Layouts:
    """Layouts of what is before a camera with other hands, made once of the layouts of a hand that is alone."""

    def __init__(self, own_spheres: int) -> None:
        """`own_spheres`: so many a hand and its forearm have; those of others follow."""
        self.own_spheres = own_spheres
        self._made: dict[tuple[Layout, int, bool], Layout] = {}
        number = np.arange(MAX_SPHERES)
        bits = np.packbits((number >= own_spheres) & (number < own_spheres + SHADING), bitorder="little")
        self._others = bits.view("<u4").astype(np.uint32)

    def of(self, layout: Layout, place: int, turned: bool) -> Layout:
        """Of a mesh of hand number `place` of an image, from 0; `turned` where its side is not that of the first."""
        key = layout, place, turned
        if key not in self._made:
            made = replace(layout, foreign=layout.foreign | self._others)
            if place and layout.triangle_part[0] != OCCLUDER_PART:
                made = replace(made, triangle_part=np.full_like(layout.triangle_part, OTHER_HAND_PART))
            if turned:
                made = replace(made, triangles=np.ascontiguousarray(layout.triangles[:, ::-1]), turned=True)
            self._made[key] = made
        return self._made[key]


def nearest_spheres(centres: Sequence[np.ndarray], radii: Sequence[np.ndarray], number: int) -> tuple[np.ndarray, np.ndarray]:
    """Of some hands' spheres, (S, 3) and (S,) each, the (SHADING, 3) and (SHADING,) of others that are nearest to hand `number`;
    spheres of no size where there are fewer.
    """
    others = [k for k in range(len(centres)) if k != number]
    centre, radius = np.concatenate([centres[k] for k in others]), np.concatenate([radii[k] for k in others])
    away = np.linalg.norm(centre[:, None] - centres[number], axis=-1).min(1)
    order = np.argsort(away, kind="stable")[:SHADING]
    found, size = np.zeros((SHADING, 3)), np.zeros(SHADING)
    found[: len(order)], size[: len(order)] = centre[order], radius[order]
    return found, size
