"""Held things before the camera: the surface of each, placed as its recipe says in the hand that holds it."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from handsynth.assets.objects.shapes import SHAPE_OF_NAME
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

    def __init__(self, model: HandModel) -> None:
        self._model = model
        self._layouts: dict[str, Layout] = {}

    def held(self, recipes: Sequence[Recipe], hands: CameraHands) -> list[tuple[WornMesh, ...]]:
        """What each of B posed hands holds: one mesh, or none."""
        found: list[tuple[WornMesh, ...]] = []
        for row, recipe in enumerate(recipes):
            found.append(() if recipe.held is None else (self._mesh(recipe, recipe.held, hands.T_cam_world[row]),))
        return found

    def _mesh(self, recipe: Recipe, held: ObjectChoice, T_cam_world: np.ndarray) -> WornMesh:
        solid = SHAPE_OF_NAME[held.shape].solid
        R, t = world_from_object(self._model, recipe, held)
        vertices, normals = held.scale * solid.vertices @ R.T + t, solid.normals @ R.T
        if recipe.side == "left":  # mirrored with the world, as the camera is
            vertices, normals = mirror_points(vertices), mirror_points(normals)
        rotation, shift = T_cam_world[:3, :3], T_cam_world[:3, 3]
        vertices = to_label_grid(vertices @ rotation.T + shift).astype(np.float32)
        if held.shape not in self._layouts:
            self._layouts[held.shape] = held_layout(self._model, solid.faces, solid.uv)
        layout = self._layouts[held.shape]
        return WornMesh(
            layout, vertices, (normals @ rotation.T).astype(np.float32), welded(held.shape), partial(object_albedo, held)
        )


def world_from_object(model: HandModel, recipe: Recipe, held: ObjectChoice) -> tuple[np.ndarray, np.ndarray]:
    """(3, 3) rotation and (3,) offset [m] from the shape's frame, scaled, to the world of the right hand."""
    root = model.rest_joints[0] + model.joint_shapedirs[0] @ np.array(recipe.beta)
    turn = rotvec_to_rotmat(np.array(recipe.theta[:3]))
    return turn @ rotvec_to_rotmat(np.array(held.rotvec)), turn @ (np.array(held.offset) - root) + root + np.array(recipe.trans)


def object_label(model: HandModel, recipe: Recipe, T_cam_world: np.ndarray) -> dict[str, Any] | None:
    """What labels say of the thing that is held: its kind, its mesh and how that lies before the camera."""
    held = recipe.held
    if held is None:
        return None
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = world_from_object(model, recipe, held)
    if recipe.side == "left":  # of the mirrored mesh in the mirrored world
        T = MIRROR @ T @ MIRROR
    shape = SHAPE_OF_NAME[held.shape]
    return {
        "kind": shape.family,
        "shape": shape.name,
        "mesh": shape.digest,
        "scale": held.scale,
        "mirrored": recipe.side == "left",
        "T_cam_object": (np.round(T_cam_world @ T, 6) + 0.0).tolist(),
    }


@lru_cache(maxsize=256)
def welded(shape: str) -> np.ndarray:
    """(F, 3) faces of a shape whose coincident vertices are one: closed."""
    solid = SHAPE_OF_NAME[shape].solid
    _, first, inverse = np.unique(np.rint(solid.vertices / WELD_M), axis=0, return_index=True, return_inverse=True)
    return first[inverse.ravel()][solid.faces].astype(np.int32)
