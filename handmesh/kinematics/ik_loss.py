"""Equations 5 to 8: what an IK net is trained to make small."""

import torch
from torch import Tensor

from handmesh.kinematics.ik_net import IKPrediction
from handmesh.kinematics.rigid import align_rigid, move


def ik_losses(
    found: IKPrediction, keypoints: Tensor, pose: Tensor, beta: Tensor, true_keypoints: Tensor, joint_unit_m: float
) -> dict[str, Tensor]:
    """The terms of equation 5, scalars: mean absolute differences over hands and components; their sum is the loss.

    Args:
        found: the net's.
        keypoints: (B, 21, 3) J(M(found)), regressed from the posed vertices [m].
        pose: (B, 23 or 45) true angles [rad]: equation 6.
        beta: (B, S) true shape [standard deviations]: equation 7, zero where the net was given it.
        true_keypoints: (B, 21, 3) P of equation 8 [m].
        joint_unit_m: unit of equation 8's term [m].

    The paper gives no weight, unit or frame. Here all weights are 1, and joints are compared after the closed-form rigid alignment
    of the found hand upon the true one, since the net says nothing about the global motion; it counts as constant in gradients.
    """
    with torch.no_grad():
        rotation, translation = align_rigid(keypoints, true_keypoints)
    return {
        "angles": (found.pose - pose).abs().mean(),
        "shape": (found.beta - beta).abs().mean(),
        "joints": (move(keypoints, rotation, translation) - true_keypoints).abs().mean() / joint_unit_m,
    }
