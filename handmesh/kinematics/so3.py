"""Rotations in torch: the exponential map of SO(3) and its left Jacobian, any leading batch axes."""

import torch
from torch import Tensor


def skew(vector: Tensor) -> Tensor:
    """(..., 3) w -> (..., 3, 3) matrix of the cross product with w."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def exp_and_left_jacobian(rotvec: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 3) axis-angle w [rad] -> (..., 3, 3) R = exp(w) and (..., 3, 3) J with exp(w + dw) = exp(J dw) R to first order.

    R = I + a K + b K^2, J = I + b K + c K^2 with K = skew(w), a = sin t / t, b = (1 - cos t) / t^2, c = (t - sin t) / t^3.
    """
    square = (rotvec * rotvec).sum(-1)
    # Taylor series below 0.14 rad, where c loses digits in float32; their next terms are below 1e-12 there.
    small = square < 0.02
    safe = torch.where(small, torch.ones_like(square), square)
    t = safe.sqrt()
    a = torch.where(small, 1 - square / 6 * (1 - square / 20 * (1 - square / 42)), t.sin() / t)
    b = torch.where(small, 0.5 - square / 24 * (1 - square / 30 * (1 - square / 56)), (1 - t.cos()) / safe)
    c = torch.where(small, 1 / 6 - square / 120 * (1 - square / 42 * (1 - square / 72)), (t - t.sin()) / (safe * t))
    k = skew(rotvec)
    kk = k @ k
    eye = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    a, b, c = a[..., None, None], b[..., None, None], c[..., None, None]
    return eye + a * k + b * kk, eye + b * k + c * kk
