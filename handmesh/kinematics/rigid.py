"""The closed-form rigid motion between two sets of points (Kabsch 1976), and the frame of the palm.

The paper's 23 + 10 parameters hold no global rotation, so it is taken out before and put back after: wrist and five knuckles
are laid upon those of the template (beta = 0), which hardly move against one another when fingers bend.
"""

import torch
from torch import Tensor

from handsynth.core.hand import HandModel, keypoints_from_vertices

PALM_KEYPOINTS = (0, 1, 5, 9, 13, 17)
"""Wrist, the thumb's first joint and four knuckles, in FreiHAND's order."""


def align_rigid(source: Tensor, target: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """R, t that minimise sum_n w_n |R source_n + t - target_n|^2 over proper rotations.

    Args:
        source: (..., N, 3).
        target: (..., N, 3).
        weights: (..., N) not negative; None means equal.

    Returns:
        (..., 3, 3) rotations (determinant 1, also where a reflection would fit better) and (..., 3) translations.
    """
    source, target = torch.broadcast_tensors(source, target)
    share = torch.full_like(source[..., 0], 1.0) if weights is None else weights.expand(source.shape[:-1])
    share = (share / share.sum(-1, keepdim=True).clamp_min(1e-12)).unsqueeze(-1)
    mean_s, mean_t = (share * source).sum(-2), (share * target).sum(-2)
    covariance = (share * (target - mean_t.unsqueeze(-2))).mT @ (source - mean_s.unsqueeze(-2))
    rotation = nearest_rotation(covariance)
    return rotation, mean_t - (rotation @ mean_s.unsqueeze(-1)).squeeze(-1)


def nearest_rotation(matrix: Tensor) -> Tensor:
    """(..., 3, 3) M -> the rotations R with the greatest trace(R^T M): orthogonal Procrustes with determinant 1."""
    u, _, vh = torch.linalg.svd(matrix)
    sign = torch.linalg.det(u @ vh).sign()
    fix = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
    return (u * fix.unsqueeze(-2)) @ vh


def palm_alignment(hand: HandModel, keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 21, 3) keypoints [m] -> (B, 3, 3), (B, 3) [m]: the motion that carries the template's palm onto theirs."""
    template = torch.as_tensor(keypoints_from_vertices(hand, hand.v_template), dtype=keypoints.dtype, device=keypoints.device)
    palm = list(PALM_KEYPOINTS)
    return align_rigid(template[palm], keypoints[:, palm])


def move(points: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """(B, N, 3) -> R p + t."""
    return points @ rotation.mT + translation.unsqueeze(-2)


def move_back(points: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """(B, N, 3) -> R^T (p - t), the inverse of `move`."""
    return (points - translation.unsqueeze(-2)) @ rotation
