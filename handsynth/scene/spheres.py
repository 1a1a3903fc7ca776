"""The spheres that stand for the flesh of hand and forearm when it shades other parts: where, how large, and whom they shade."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from handsynth.core.hand import HandModel
from handsynth.scene.arm import Arm

SPHERES_PER_BONE = ((0.35, 0.75), (0.3, 0.75), (0.5,))
"""Places of the shading spheres along metacarpals, first phalanges and the others, as shares of the bone."""

ARM_SPHERES = (0.25, 0.55, 0.85)
"""Places of the forearm's, as shares of its length."""

ARM_JOINT = 0
"""The forearm's spheres and surface count as the wrist's, so that shading is the same on both sides of the seam."""

MAX_SPHERES = 64
"""Bits in a corner's set of foreign spheres."""


@dataclass(frozen=True, eq=False)
class ShadingSpheres:
    """S spheres on the bones of one hand model."""

    bone_start: np.ndarray  # (S,) joint at the start of each sphere's bone, which moves it
    bone_end: np.ndarray  # (S,) row of [joints, fingertips] at its end
    bone_share: np.ndarray  # (S,) place along the bone
    radius: np.ndarray  # (S,) [m], beta = 0


@lru_cache(maxsize=4)
def make_spheres(model: HandModel) -> ShadingSpheres:
    """The spheres of a hand, each as large as the flesh around its place; kept, for each layout asks for them."""
    nodes = np.concatenate([model.rest_joints, model.v_template[model.fingertips]])
    tip_of = {int(model.weights[v].argmax()): model.num_joints + k for k, v in enumerate(model.fingertips)}
    rows: list[tuple[int, int, float, float]] = []  # joint at the start, node at the end, share of the bone, radius
    dominant = model.weights.argmax(1)
    for j in range(model.num_joints):
        children = [int(c) for c in np.flatnonzero(model.parents == j)] or [tip_of[j]]
        for child in children:
            a, b = nodes[j], nodes[child]
            own = model.v_template[dominant == j] if j else model.v_template
            for s in SPHERES_PER_BONE[min(_depth(model, j), 2)]:
                centre = a + s * (b - a)
                # The nearest tenth of the flesh: of the palm, this is its thickness and not its width.
                distance = np.sort(np.linalg.norm(own - centre, axis=1))
                nearest = distance[: max(6, len(own) // 10)] if j else distance[:12]
                rows.append((j, child, s, 0.95 * nearest.mean()))
    start, end, share, radius = (np.array(column) for column in zip(*rows, strict=True))
    return ShadingSpheres(start, end, share, radius)


def _depth(model: HandModel, joint: int) -> int:
    """How many joints lie between a joint and the wrist, the wrist counted: 0 for the wrist, 1 for knuckles, 2 and 3 beyond."""
    return 0 if joint == 0 else 1 + _depth(model, int(model.parents[joint]))


def sphere_centres(spheres: ShadingSpheres, joints: np.ndarray, tips: np.ndarray) -> np.ndarray:
    """(..., J, 3) posed joints and (..., 5, 3) tips -> (..., S, 3) centres of the shading spheres, same frame and unit."""
    nodes = np.concatenate([joints, tips], -2)
    a, b = nodes[..., spheres.bone_start, :], nodes[..., spheres.bone_end, :]
    return a + spheres.bone_share[:, None] * (b - a)


def arm_spheres(arm: Arm, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, A or more, 3) posed arms -> (B, N, 3) centres of the forearms' shading spheres and (B, N) radii, same frame and unit."""
    rows = np.array([np.abs(arm.places - share * arm.length_m).argmin() for share in ARM_SPHERES])
    rings = (
        vertices[:, len(arm.rim) : arm.num_vertices - 1].reshape(len(vertices), len(arm.places), -1, 3)[:, rows].astype(np.float64)
    )
    centres = rings.mean(2)
    return centres, 0.95 * np.linalg.norm(rings - centres[:, :, None], axis=-1).min(2)


def foreign_bits(model: HandModel, sphere_part: np.ndarray, corner_part: np.ndarray) -> np.ndarray:
    """(S,) and (C,) parts -> (C, 2) uint32: bit s says that sphere s belongs neither to the corner's part nor to a neighbour."""
    related = np.eye(model.num_joints, dtype=bool)
    for j, parent in enumerate(model.parents):
        if parent >= 0:
            related[j, parent] = related[parent, j] = True
    foreign = ~related[corner_part][:, sphere_part]  # (C, S)
    padded = np.zeros((len(foreign), MAX_SPHERES), bool)
    padded[:, : foreign.shape[1]] = foreign
    return np.packbits(padded, axis=1, bitorder="little").view("<u4").astype(np.uint32)
