"""Post-optimisation (section 3.4, figure 6B): a predicted mesh and a first guess of its angles become one feasible hand."""

import numpy as np

from handmesh.kinematics.energy import EnergySettings
from handmesh.kinematics.fit import ITERATIONS, FitResult, Method, solve
from handsynth.core.hand import HandModel

PREDICTED = EnergySettings(noise_m=5e-3)
"""Meshes of a net, 5 mm off: they lean on the prior of shapes, and fingers do not bend backwards."""


def refine(
    hand: HandModel,
    vertices: np.ndarray,
    keypoints: np.ndarray | None,
    angles: np.ndarray,
    beta: np.ndarray,
    *,
    frozen_shape: bool = False,
    weights: np.ndarray | None = None,
    settings: EnergySettings = PREDICTED,
    iterations: int = ITERATIONS,
    method: Method = "gauss-newton",
) -> FitResult:
    """Moves (angles, beta) of the IK net so that the hand meets the net's joints and vertices, at most `iterations` steps.

    Global rotation and translation are free, and start from the closed-form alignment of the first guess.

    Args:
        hand: the model.
        vertices: (N, V, 3) predicted meshes, any frame [m].
        keypoints: (N, 21, 3) predicted joints in FreiHAND's order [m]; None regresses them from the vertices.
        angles: (N, 23) first guess [rad].
        beta: (N, S) first guess, or the known shape.
        frozen_shape: keeps beta (the paper's experiments with known shape).
        weights: (N, V) of vertices, not negative; scaled to a mean of 1. None: equal.
        settings: of the energy; `noise_m` should be what the mesh net is off by.
        iterations: the paper's 20.
        method: "gauss-newton", or "adam" as HandTailor refines.

    Raises:
        UsageError, HandsynthError: for arrays of a wrong shape, or with NaN.
    """
    return solve(
        hand, vertices, keypoints, angles=angles, beta=beta, frozen_shape=frozen_shape, weights=weights, settings=settings,
        iterations=iterations, method=method,
    )  # fmt: skip
