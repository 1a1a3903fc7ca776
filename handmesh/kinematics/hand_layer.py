"""The hand as a differentiable layer in torch: the twin of `core.hand.pose_hand`, in batches, on any device.

Tests hold it to the numpy reference and to smplx (Pavlakos et al. 2019), values and gradients. smplx's licence is non-commercial,
so nothing here needs it; who has MANO's licence may choose it instead (`smplx_layer`).

Inside, coordinates come before vertices, (B, 3, V), so that all arithmetic runs along V.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from handmesh.keypoints import keypoint_regressor
from handmesh.kinematics.rigid import rotvec_to_rotmat
from handsynth.core.hand import HandModel


class PosedTensors(NamedTuple):
    """What posing gives. Metres, in the frame of the translation."""

    vertices: Tensor  # (B, V, 3)
    joints: Tensor  # (B, J, 3) nodes of the kinematic tree
    keypoints: Tensor  # (B, 21, 3) FreiHAND's points, regressed from the posed vertices


class HandLayer(nn.Module):
    """Poses a batch of hands; gradients flow to every argument. The hand's arrays are buffers, so `.to()` moves them."""

    template: Tensor  # (3 V,)
    directions: Tensor  # (S + 9 (J - 1), 3 V) blend shapes of beta, then of the pose
    weights: Tensor  # (J, V)
    rest: Tensor  # (6 J,) joints of the flat hand, and each from its parent
    rest_directions: Tensor  # (S, 6 J) how they move with beta
    keypoint_regressor: Tensor  # (21, V)
    in_order: Tensor  # (J,) where joints 0, 1, ... stand among those of level 0, level 1, ...

    def __init__(self, hand: HandModel, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.num_joints, self.num_levels = hand.num_joints, len(hand.levels)
        joints = np.concatenate([hand.rest_joints[..., None], hand.joint_shapedirs], 2)  # (J, 3, 1 + S)
        bones = joints - np.where(hand.parents[:, None, None] >= 0, joints[hand.parents], 0)
        rest = np.concatenate([joints, bones]).reshape(6 * hand.num_joints, -1)
        arrays = {
            "template": hand.v_template.T.reshape(-1),
            "directions": np.concatenate([hand.shapedirs, hand.posedirs], 2).transpose(2, 1, 0).reshape(-1, hand.v_template.size),
            "weights": hand.weights.T,
            "rest": rest[:, 0],
            "rest_directions": rest[:, 1:].T,
            "keypoint_regressor": keypoint_regressor(hand),
        }
        before = np.array([0])
        for k, (level, parents) in enumerate(hand.levels):
            arrays |= {f"level_{k}": level, f"parents_{k}": np.searchsorted(before, parents)}
            before = level
        arrays["in_order"] = np.argsort(np.concatenate([[0], *(level for level, _ in hand.levels)]))
        for name, array in arrays.items():
            kind = torch.long if array.dtype.kind == "i" else dtype
            self.register_buffer(name, torch.tensor(np.ascontiguousarray(array), dtype=kind), persistent=False)

    def forward(self, theta: Tensor, beta: Tensor, trans: Tensor | None = None) -> PosedTensors:
        """Equations 1 and 2 of the paper.

        Args:
            theta: (B, 16, 3) axis-angle relative to the flat hand [rad]; row 0 turns the whole hand about its wrist.
            beta: (B, S) shape [standard deviations].
            trans: (B, 3) added after posing [m]; None means zero.
        """
        vertices, joints = self.skin_and_joints(theta, beta)
        if trans is not None:
            vertices, joints = vertices + trans[:, None], joints + trans[:, None]
        return PosedTensors(vertices, joints, self.keypoint_regressor @ vertices)

    def skin_and_joints(self, theta: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 16, 3) theta and (B, S) beta -> (B, V, 3) vertices and (B, J, 3) joints without translation."""
        local = rotvec_to_rotmat(theta)
        joints, bones = torch.addmm(self.rest, beta, self.rest_directions).view(len(beta), 2, -1, 3, 1).unbind(1)
        placed = self._place(torch.cat([local, bones], -1))
        rotations, at = placed[..., :3], placed[..., 3:]
        transforms = torch.cat([rotations, at - rotations @ joints], -1)
        feature = (local[:, 1:] - torch.eye(3, dtype=local.dtype, device=local.device)).flatten(1)
        vertices = self._skin(torch.cat([beta, feature], 1), transforms)
        return vertices.mT, at.squeeze(-1)

    def _place(self, local: Tensor) -> Tensor:
        """Forward kinematics, level by level: (B, J, 3, 4) motions of the joints against their parents -> against the hand."""
        levels = [local[:, :1]]
        for k in range(self.num_levels):
            above = levels[-1].index_select(1, getattr(self, f"parents_{k}"))
            moved = above[..., :3] @ local.index_select(1, getattr(self, f"level_{k}"))
            levels.append(torch.cat([moved[..., :3], moved[..., 3:] + above[..., 3:]], -1))
        return torch.cat(levels, 1).index_select(1, self.in_order)

    def _skin(self, feature: Tensor, transforms: Tensor) -> Tensor:
        """Linear blend skinning.

        Args:
            feature: (B, S + 9 (J - 1)) coefficients of the blend shapes: beta, and the entries of R - I of joints 1..
            transforms: (B, J, 3, 4) rest -> posed, of each joint.

        Returns:
            (B, 3, V) vertices.
        """
        count = len(feature)
        rest = torch.addmm(self.template, feature, self.directions).view(count, 3, -1)
        blended = (transforms.flatten(2).mT.reshape(-1, self.num_joints) @ self.weights).view(count, 3, 4, -1)
        *columns, vertices = blended.unbind(2)  # gradients of several indexings would each be as large as the whole
        for column, coordinate in zip(columns, rest.unsqueeze(1).unbind(2), strict=True):
            vertices = torch.addcmul(vertices, column, coordinate)
        return vertices
