"""What `handmesh predict --kinematics` adds: the joint angles of predicted hands, and the hands that have them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from handmesh.estimation.estimate import Estimate, View
from handmesh.kinematics.angle_files import describe
from handmesh.kinematics.angle_solver import AngleSolver, spread_weights
from handmesh.kinematics.mesh_angles import about_solver
from handsynth.core.mirror import mirror_left


class Fitted(NamedTuple):
    """The feasible hand nearest to an estimate."""

    vertices: np.ndarray  # (V, 3) camera frame of the view [m], left hands as left hands
    angles: np.ndarray  # (23,) [rad]
    description: dict[str, Any]  # the JSON


def fit_estimates(solver: AngleSolver, views: Sequence[View], estimates: Sequence[Estimate]) -> list[Fitted]:
    """The angles of estimates, each vertex weighted by how sure the net is of it."""
    sides = [view.side for view in views]
    vertices = mirror_left(np.stack([estimate.vertices for estimate in estimates]), sides)
    weights = spread_weights(np.stack([estimate.std_mm for estimate in estimates]))
    fit = solver(vertices, weights, predicted=True)
    found = mirror_left(fit.vertices, sides)
    description = [{**about_solver(solver), **hand} for hand in describe(solver.hand, fit)]
    return [Fitted(*each) for each in zip(found, fit.angles, description, strict=True)]
