"""From meshes of hands to their joint angles: an IK net, or the mesh itself, gives a first guess, post-optimisation the rest."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from handmesh.keypoints import keypoint_regressor
from handmesh.kinematics.check import check_mesh
from handmesh.kinematics.dof import hand_dof_matrix, project
from handmesh.kinematics.fit import GROUND_TRUTH, ITERATIONS, FitResult, solve
from handmesh.kinematics.ik_net import IKNet
from handmesh.kinematics.refine import PREDICTED
from handsynth.core.errors import UsageError
from handsynth.core.hand import HandModel

EXACT = replace(GROUND_TRUTH, limit_deg=10.0)
"""For meshes that are taken as they are: an angle beyond its limits is found and reported, not pulled back."""

OF_A_NET = replace(PREDICTED, noise_m=0.02)
"""For meshes of a net, whose errors go together, part by part: hundreds of vertices tell little more than sixteen joints would.

Taken as independent at their true size they would outweigh the prior of shapes, and the fit would follow the noise.
"""

LEAST_SPREAD_MM = 2.0
"""A vertex whose standard deviation is less counts as if it were this: heatmaps are narrower than their errors."""


@dataclass(frozen=True, eq=False)
class AngleSolver:
    """How angles are found. Raises UsageError when net and shape do not go together."""

    hand: HandModel
    net: IKNet | None = None  # in evaluation mode, on the CPU; None starts from the nearest pose of each part of the mesh
    shape: np.ndarray | None = None  # (S,) known beta, which is kept; None finds it
    iterations: int = ITERATIONS  # of the post-optimisation
    noise_m: float | None = None  # of the targets [m]; None: as EXACT and OF_A_NET have it

    def __post_init__(self) -> None:
        if self.shape is not None and np.shape(self.shape) != (self.hand.num_shapes,):
            raise UsageError(f"the shape has {np.size(self.shape)} numbers, the {self.hand.name} hand's has {self.hand.num_shapes}")
        if self.net is not None and self.net.known_shape and self.shape is None:
            raise UsageError("this IK net was trained with known shapes: give the hand's with --shape")

    def __call__(self, vertices: np.ndarray, weights: np.ndarray | None = None, *, predicted: bool) -> FitResult:
        """Angles of (N, V, 3) right hands, any frame [m].

        Args:
            vertices: the meshes.
            weights: (N, V) of vertices; None means equal.
            predicted: by a mesh net, so some millimetres off: fitted less closely, and fingers do not bend backwards. Other
                meshes are checked, and met as they are.

        Raises:
            UsageError, HandsynthError: as `check_mesh`.
        """
        vertices = np.asarray(vertices, np.float64)
        settings = OF_A_NET if predicted else EXACT
        if self.noise_m is not None:
            settings = replace(settings, noise_m=self.noise_m)
        if not predicted:
            check_mesh(self.hand, vertices)
        keypoints = np.einsum("pv,nvc->npc", keypoint_regressor(self.hand), vertices)
        beta = None if self.shape is None else np.broadcast_to(self.shape, (len(vertices), len(self.shape)))
        angles, beta = (None, beta) if self.net is None else self._guess(self.net, keypoints, beta)
        return solve(
            self.hand, vertices, keypoints, angles=angles, beta=beta, frozen_shape=self.shape is not None, weights=weights,
            settings=settings, iterations=self.iterations, method="gauss-newton",
        )  # fmt: skip

    def _guess(self, net: IKNet, keypoints: np.ndarray, beta: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """(N, 23) angles and (N, S) beta of the net; of a net of 45 angles, their projection."""
        with torch.inference_mode():
            given = torch.tensor(beta, dtype=torch.float32) if beta is not None and net.known_shape else None
            found = net(torch.tensor(keypoints, dtype=torch.float32), given)
            theta = net.theta(found.pose)[:, 1:]
        angles = project(theta.numpy(), hand_dof_matrix(self.hand))
        return angles, found.beta.numpy() if beta is None else beta


def spread_weights(std_mm: np.ndarray) -> np.ndarray:
    """(..., V) standard deviations of a mesh net's vertices [mm] -> weights: the inverse square, with a floor."""
    return np.maximum(np.nan_to_num(std_mm, nan=np.inf), LEAST_SPREAD_MM) ** -2
