"""A thing between camera and hand: which one, how it lies, and how much of the hand it takes from the camera."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from handsynth.assets.objects.holding import Placement, surface_samples
from handsynth.assets.objects.shapes import Shape
from handsynth.assets.objects.solid import Solid
from handsynth.core.rotation import rotmat_to_rotvec, rotvec_to_rotmat
from handsynth.recipe.held import FARTHEST_M, ObjectChoice
from handsynth.recipe.holder import choose_look
from handsynth.recipe.proxy import NEAREST_FOREARM_M, UPRIGHT, ArmBalls, distances, hidden_behind
from handsynth.recipe.spec import OccluderSpec

TRIES = 8
"""Places that are tried before the hand goes without."""

BEFORE_M = (0.01, 0.22)
"""How far it is before the nearest of the hand's points."""

CLEAR_M = 0.006
"""What is left between it and all else."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What an occluder must know. World frame of the first hand, not mirrored [m]."""

    points: np.ndarray  # (P, 3) that stand for the hand
    hidden: np.ndarray  # (P,) bool, those that something else already hides
    T_cam_world: np.ndarray  # (4, 4)
    root: np.ndarray  # (3,) the wrist joint
    solid: np.ndarray  # (N, 3) points of what it must not run into
    arms: tuple[ArmBalls, ...]  # likewise


def sample_occluder(
    rng: np.random.Generator, spec: OccluderSpec, shapes: Sequence[Shape], least_seen: float, seen: Seen
) -> ObjectChoice | None:
    """One of some shapes before a hand; None where it finds no place. `least_seen` of the hand's points stay visible."""
    T = seen.T_cam_world
    hand = seen.points @ T[:3, :3].T + T[:3, 3]
    solid = seen.solid @ T[:3, :3].T + T[:3, 3]
    arms = [arm._replace(centres=arm.centres @ T[:3, :3].T + T[:3, 3]) for arm in seen.arms]
    families = sorted({shape.family for shape in shapes})
    tree = cKDTree(solid, compact_nodes=False, balanced_tree=False) if len(solid) else None
    for _ in range(TRIES):
        family = families[rng.integers(len(families))]
        own = [shape for shape in shapes if shape.family == family]
        shape = own[rng.integers(len(own))]
        scale = rng.uniform(*shape.scale)
        turn = rotvec_to_rotmat(rng.normal(0, 2, 3))
        points = scale * surface_samples(shape.solid).points @ turn.T
        aim, before = hand[rng.integers(len(hand))], rng.uniform(*BEFORE_M)
        sideways = rng.uniform(-0.5, 0.5, 2) * np.ptp(points.T.copy(), axis=1)[:2]  # numpy is slow along many short rows
        depth = hand[:, 2].min() - before - points[:, 2].max()
        if depth + points[:, 2].min() < NEAREST_FOREARM_M:
            continue
        # On the ray of the point that is aimed at, and so far beside it that part of the thing is on it.
        middle = aim * (depth / aim[2])
        middle[:2] += sideways
        points = points + middle
        covered = hidden_behind(hand, points, scale * _spacing(shape.solid))
        if not spec.covered[0] <= covered.mean() <= spec.covered[1] or (covered | seen.hidden).mean() > 1 - least_seen:
            continue
        if tree is not None and tree.query(points, distance_upper_bound=CLEAR_M)[0].min() < CLEAR_M:
            continue
        if any((distances(points, arm.centres) - arm.radii).min() < CLEAR_M for arm in arms):
            continue
        # In the frame of the hand neither turned nor shifted, as what it holds.
        placed_at = UPRIGHT.T @ (T[:3, :3].T @ (middle - T[:3, 3]) - seen.root) + seen.root
        if np.abs(placed_at).max() > FARTHEST_M:
            continue
        rotation = UPRIGHT.T @ T[:3, :3].T @ turn
        return choose_look(rng, shape, Placement(rotmat_to_rotvec(rotation), placed_at, scale, 0.0))
    return None


@lru_cache(maxsize=256)
def _spacing(solid: Solid) -> float:
    """Distance between the points of its surface that are looked up [m]."""
    corners = solid.vertices[solid.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    return 1.3 * float(np.sqrt(area / len(surface_samples(solid).points)))
