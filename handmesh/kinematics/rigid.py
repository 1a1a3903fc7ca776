"""Rotations and rigid motions in torch, any leading batch axes: the exponential map of SO(3) with its left Jacobian, and the
closed-form motion between two sets of points (Kabsch 1976).
"""

import torch
from torch import Tensor


def skew(vector: Tensor) -> Tensor:
    """(..., 3) w -> (..., 3, 3) matrix of the cross product with w."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def rotvec_to_rotmat(rotvec: Tensor) -> Tensor:
    """(..., 3) axis-angle w [rad] -> (..., 3, 3) R = exp(w); gradients are exact everywhere, at zero too.

    R = I + a K + b K^2 with K = skew(w), a = sin t / t, b = (1 - cos t) / t^2.
    """
    a, b, _, _, _ = _quotients(rotvec)
    k = skew(rotvec)
    return _eye(rotvec) + a[..., None, None] * k + b[..., None, None] * (k @ k)


def exp_and_left_jacobian(rotvec: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 3) axis-angle w [rad] -> (..., 3, 3) R = exp(w) and (..., 3, 3) J with exp(w + dw) = exp(J dw) R to first order.

    R as of `rotvec_to_rotmat`; J = I + b K + c K^2, c = (t - sin t) / t^3.
    """
    a, b, square, safe, t = _quotients(rotvec)
    c = torch.where(square < _SMALL, 1 / 6 - square / 120 * (1 - square / 42 * (1 - square / 72)), (t - t.sin()) / (safe * t))
    k = skew(rotvec)
    kk, eye = k @ k, _eye(rotvec)
    a, b, c = a[..., None, None], b[..., None, None], c[..., None, None]
    return eye + a * k + b * kk, eye + b * k + c * kk


_SMALL = 0.02
"""Of t^2: Taylor series below 0.14 rad, where c loses digits in float32; their next terms are below 1e-12 there."""


def _quotients(rotvec: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(..., 3) w -> a, b, t^2, and t^2 and t that are 1 where t is small; each (...,)."""
    square = (rotvec * rotvec).sum(-1)
    small = square < _SMALL
    safe = torch.where(small, torch.ones_like(square), square)
    t = safe.sqrt()
    a = torch.where(small, 1 - square / 6 * (1 - square / 20 * (1 - square / 42)), t.sin() / t)
    b = torch.where(small, 0.5 - square / 24 * (1 - square / 30 * (1 - square / 56)), (1 - t.cos()) / safe)
    return a, b, square, safe, t


def _eye(rotvec: Tensor) -> Tensor:
    return torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)


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


def move(points: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """(B, N, 3) -> R p + t."""
    return points @ rotation.mT + translation.unsqueeze(-2)
