"""The hand as a differentiable layer in torch: smplx's linear blend skinning on our hand model's arrays.

smplx (Pavlakos et al. 2019) is licensed for non-commercial use; nothing outside this file needs it. The numpy reference is
`core.hand.pose_hand`; tests hold the two together to 1e-6 m, and the gradients to finite differences.
"""

from typing import NamedTuple

import torch
from smplx.lbs import lbs
from torch import Tensor, nn

from handmesh.keypoints import keypoint_regressor
from handmesh.kinematics.dof import hand_dof_matrix
from handsynth.core.hand import HandModel


class PosedTensors(NamedTuple):
    """What posing gives. Metres, in the frame of the translation."""

    vertices: Tensor  # (B, V, 3)
    joints: Tensor  # (B, J, 3) nodes of the kinematic tree
    keypoints: Tensor  # (B, 21, 3) FreiHAND's points, regressed from the posed vertices


class HandLayer(nn.Module):
    """Poses a batch of hands; gradients flow to every argument. The hand's arrays are buffers, so `.to()` moves them."""

    v_template: Tensor
    shapedirs: Tensor
    posedirs: Tensor
    J_regressor: Tensor
    weights: Tensor
    keypoint_regressor: Tensor
    parents: Tensor
    dof_matrix: Tensor

    def __init__(self, hand: HandModel, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        arrays = {
            "v_template": hand.v_template[None],
            "shapedirs": hand.shapedirs,
            "posedirs": hand.posedirs.reshape(-1, hand.posedirs.shape[-1]).T,  # (9 (J - 1), 3 V), as smplx wants them
            "J_regressor": hand.J_regressor,
            "weights": hand.weights,
            "keypoint_regressor": keypoint_regressor(hand),
            "dof_matrix": hand_dof_matrix(hand),
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.tensor(array, dtype=dtype), persistent=False)
        self.register_buffer("parents", torch.tensor(hand.parents, dtype=torch.long), persistent=False)

    def forward(self, theta: Tensor, beta: Tensor, trans: Tensor | None = None) -> PosedTensors:
        """Equations 1 and 2 of the paper.

        Args:
            theta: (B, 16, 3) axis-angle relative to the flat hand [rad]; row 0 turns the whole hand about its wrist.
            beta: (B, S) shape [standard deviations].
            trans: (B, 3) added after posing [m]; None means zero.
        """
        vertices, joints = lbs(
            beta, theta.flatten(1), self.v_template, self.shapedirs, self.posedirs, self.J_regressor, self.parents, self.weights
        )
        if trans is not None:
            vertices, joints = vertices + trans[:, None], joints + trans[:, None]
        return PosedTensors(vertices, joints, self.keypoint_regressor @ vertices)

    def embed(self, angles: Tensor, root: Tensor | None = None) -> Tensor:
        """(B, 23) angles and (B, 3) axis-angle of the whole hand (None: zero) [rad] -> (B, 16, 3) theta for `forward`."""
        fingers = (angles @ self.dof_matrix).unflatten(-1, (-1, 3))
        root = torch.zeros_like(fingers[:, 0]) if root is None else root
        return torch.cat([root[:, None], fingers], 1)
