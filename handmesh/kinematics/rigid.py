"""Rotations and rigid motions of numpy arrays and of tensors alike, any leading batch axes: the exponential map of SO(3) with its
left Jacobian, and the closed-form motion between two sets of points (Kabsch 1976).

Training differentiates through some of these in torch, fits run them in numpy where torch need not be installed: one source.
"""

from typing import Any

import numpy as np

Array = Any  # numpy array or tensor, out as it came in


def library(array: Array) -> Any:
    """The module whose functions take that array: numpy or torch. Both agree on the names that are used here."""
    if isinstance(array, np.ndarray):
        return np
    import torch

    return torch


def skew(vector: Array) -> Array:
    """(..., 3) w -> (..., 3, 3) matrix of the cross product with w."""
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    zero = library(vector).zeros_like(x)
    flat = library(vector).stack([zero, -z, y, z, zero, -x, -y, x, zero], -1)
    return flat.reshape((*vector.shape[:-1], 3, 3))


def rotvec_to_rotmat(rotvec: Array) -> Array:
    """(..., 3) axis-angle w [rad] -> (..., 3, 3) R = exp(w); gradients are exact everywhere, at zero too.

    R = I + a K + b K^2 with K = skew(w), a = sin t / t, b = (1 - cos t) / t^2.
    """
    a, b, _, _, _ = _quotients(rotvec)
    k = skew(rotvec)
    return _eye(rotvec) + a[..., None, None] * k + b[..., None, None] * (k @ k)


def exp_and_left_jacobian(rotvec: Array) -> tuple[Array, Array]:
    """(..., 3) axis-angle w [rad] -> (..., 3, 3) R = exp(w) and (..., 3, 3) J with exp(w + dw) = exp(J dw) R to first order.

    R as of `rotvec_to_rotmat`; J = I + b K + c K^2, c = (t - sin t) / t^3.
    """
    a, b, square, safe, t = _quotients(rotvec)
    xp = library(rotvec)
    c = xp.where(square < _SMALL, 1 / 6 - square / 120 * (1 - square / 42 * (1 - square / 72)), (t - xp.sin(t)) / (safe * t))
    k = skew(rotvec)
    kk, eye = k @ k, _eye(rotvec)
    a, b, c = a[..., None, None], b[..., None, None], c[..., None, None]
    return eye + a * k + b * kk, eye + b * k + c * kk


_SMALL = 0.02
"""Of t^2: Taylor series below 0.14 rad, where c loses digits in float32; their next terms are below 1e-12 there."""


def _quotients(rotvec: Array) -> tuple[Array, Array, Array, Array, Array]:
    """(..., 3) w -> a, b, t^2, and t^2 and t that are 1 where t is small; each (...,)."""
    xp = library(rotvec)
    square = (rotvec * rotvec).sum(-1)
    small = square < _SMALL
    safe = xp.where(small, xp.ones_like(square), square)
    t = xp.sqrt(safe)
    a = xp.where(small, 1 - square / 6 * (1 - square / 20 * (1 - square / 42)), xp.sin(t) / t)
    b = xp.where(small, 0.5 - square / 24 * (1 - square / 30 * (1 - square / 56)), (1 - xp.cos(t)) / safe)
    return a, b, square, safe, t


def _eye(like: Array) -> Array:
    return library(like).eye(3, dtype=like.dtype, device=like.device)


def align_rigid(source: Array, target: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """R, t that minimise sum_n w_n |R source_n + t - target_n|^2 over proper rotations.

    Args:
        source: (..., N, 3).
        target: (..., N, 3).
        weights: (..., N) not negative; None means equal.

    Returns:
        (..., 3, 3) rotations (determinant 1, also where a reflection would fit better) and (..., 3) translations.
    """
    xp = library(target)
    share = xp.ones_like((source + target)[..., 0]) if weights is None else weights + xp.zeros_like((source + target)[..., 0])
    share = (share / xp.clip(share.sum(-1)[..., None], 1e-12, None))[..., None]
    mean_s, mean_t = (share * source).sum(-2), (share * target).sum(-2)
    covariance = (share * (target - mean_t[..., None, :])).swapaxes(-1, -2) @ (source - mean_s[..., None, :])
    rotation = nearest_rotation(covariance)
    return rotation, mean_t - (rotation @ mean_s[..., None])[..., 0]


def nearest_rotation(matrix: Array) -> Array:
    """(..., 3, 3) M -> the rotations R with the greatest trace(R^T M): orthogonal Procrustes with determinant 1."""
    xp = library(matrix)
    u, _, vh = xp.linalg.svd(matrix)
    sign = xp.sign(xp.linalg.det(u @ vh))
    fix = xp.stack([xp.ones_like(sign), xp.ones_like(sign), sign], -1)
    return (u * fix[..., None, :]) @ vh


def move(points: Array, rotation: Array, translation: Array) -> Array:
    """(..., N, 3) -> R p + t."""
    return points @ rotation.swapaxes(-1, -2) + translation[..., None, :]
