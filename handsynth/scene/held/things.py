"""Held things before the camera: the surface of each, placed as its recipe says in the hand that holds it."""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from handsynth.assets.objects.shapes import SHAPE_OF_NAME, Shape
from handsynth.assets.objects.solid import Solid
from handsynth.core.conventions import OBJECT_PART, OCCLUDER_PART
from handsynth.core.errors import AssetError
from handsynth.core.hand import HandModel
from handsynth.core.mirror import MIRROR, mirror_points
from handsynth.core.rotation import rotvec_to_rotmat
from handsynth.recipe.held import ObjectChoice
from handsynth.recipe.recipe import Recipe
from handsynth.render.layers import Layout
from handsynth.scene.held.paint import object_albedo
from handsynth.scene.layouts import held_layout
from handsynth.scene.pose import CameraHands, to_label_grid
from handsynth.scene.wear.dress import WornMesh

WELD_M = 1e-7
"""Vertices of a solid that are nearer to each other are one: edges and seams have several."""


class Things:
    """Places what hands of one model hold. A shape's layout is made when a recipe first asks for it."""

    def __init__(self, model: HandModel, shapes: Mapping[str, Shape] = SHAPE_OF_NAME) -> None:
        """`shapes`: by the names that recipes give."""
        self._model, self._shapes = model, shapes
        self._layouts: dict[tuple[str, int], Layout] = {}

    def held(self, recipes: Sequence[Recipe], hands: CameraHands) -> list[tuple[WornMesh, ...]]:
        """What each of B posed hands holds, and what is before it: a mesh of each, or none."""
        return [
            tuple(
                self._mesh(recipe, thing, hands.T_cam_world[row], part)
                for thing, part in ((recipe.held, OBJECT_PART), (recipe.occluder, OCCLUDER_PART))
                if thing is not None
            )
            for row, recipe in enumerate(recipes)
        ]

    def object_label(self, recipe: Recipe, T_cam_world: np.ndarray) -> dict[str, Any] | None:
        """What labels say of the thing that a hand before a camera holds."""
        return None if recipe.held is None else self._label(recipe, recipe.held, T_cam_world)

    def occluder_label(self, recipe: Recipe, T_cam_world: np.ndarray) -> dict[str, Any] | None:
        """The same of what is between the camera and the hand."""
        return None if recipe.occluder is None else self._label(recipe, recipe.occluder, T_cam_world)

    def _label(self, recipe: Recipe, thing: ObjectChoice, T_cam_world: np.ndarray) -> dict[str, Any]:
        """A thing's kind, its mesh and how that lies before the camera."""
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = world_from_object(self._model, recipe, thing)
        if recipe.side == "left":  # of the mirrored mesh in the mirrored world
            T = MIRROR @ T @ MIRROR
        shape = self.shape(thing)
        return {
            "kind": shape.family,
            "shape": shape.name,
            "mesh": shape.digest,
            "scale": thing.scale,
            "mirrored": recipe.side == "left",
            "T_cam_object": (np.round(T_cam_world @ T, 6) + 0.0).tolist(),
        }

    def knows(self, name: str) -> bool:
        """Whether a shape is among those that it has."""
        return name in self._shapes

    def shape(self, thing: ObjectChoice) -> Shape:
        """Its shape. Raises AssetError when it is not among the shapes."""
        if thing.shape not in self._shapes:
            raise AssetError(f"object {thing.shape!r} is not among the objects here: give --objects the folder that it came from")
        return self._shapes[thing.shape]

    def _mesh(self, recipe: Recipe, held: ObjectChoice, T_cam_world: np.ndarray, part: int) -> WornMesh:
        solid = self.shape(held).solid
        R, t = world_from_object(self._model, recipe, held)
        vertices, normals = held.scale * solid.vertices @ R.T + t, solid.normals @ R.T
        if recipe.side == "left":  # mirrored with the world, as the camera is
            vertices, normals = mirror_points(vertices), mirror_points(normals)
        rotation, shift = T_cam_world[:3, :3], T_cam_world[:3, 3]
        vertices = to_label_grid(vertices @ rotation.T + shift).astype(np.float32)
        if (held.shape, part) not in self._layouts:
            self._layouts[held.shape, part] = held_layout(self._model, solid.faces, solid.uv, part)
        layout = self._layouts[held.shape, part]
        return WornMesh(layout, vertices, (normals @ rotation.T).astype(np.float32), welded(solid), partial(object_albedo, held))


def world_from_object(model: HandModel, recipe: Recipe, held: ObjectChoice) -> tuple[np.ndarray, np.ndarray]:
    """(3, 3) rotation and (3,) offset [m] from the shape's frame, scaled, to the world of the right hand."""
    root = model.rest_joints[0] + model.joint_shapedirs[0] @ np.array(recipe.beta)
    turn, own = rotvec_to_rotmat(np.array([recipe.theta[:3], held.rotvec]))
    return turn @ own, turn @ (np.array(held.offset) - root) + root + np.array(recipe.trans)


@lru_cache(maxsize=256)
def welded(solid: Solid) -> np.ndarray:
    """(F, 3) faces of a solid whose coincident vertices are one: closed."""
    _, first, inverse = np.unique(np.rint(solid.vertices / WELD_M), axis=0, return_index=True, return_inverse=True)
    return first[inverse.ravel()][solid.faces].astype(np.int32)
