"""Posing by two deformers: linear blending, which the model uses, and dual quaternions, which keep volume in a twist."""

import numpy as np

from handsynth.core.conventions import PARENTS
from handsynth.core.rotation import rotmat_to_rotvec, rotvec_to_rotmat


def joint_transforms(rotations: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., 16, 3, 3) local rotations about (..., 16, 3) rest joints -> the maps x -> R x + t of every joint (R, t)."""
    rot = np.broadcast_to(np.eye(3), rotations.shape).copy()
    pos = np.empty(rotations.shape[:-1])
    for j, p in enumerate(PARENTS):
        if p < 0:
            rot[..., j, :, :], pos[..., j, :] = rotations[..., j, :, :], joints[..., j, :]
        else:
            rot[..., j, :, :] = rot[..., p, :, :] @ rotations[..., j, :, :]
            bone = joints[..., j, :] - joints[..., p, :]
            pos[..., j, :] = pos[..., p, :] + (rot[..., p, :, :] @ bone[..., None])[..., 0]
    return rot, pos - (rot @ joints[..., None])[..., 0]


def blend_linear(vertices: np.ndarray, weights: np.ndarray, rot: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Linear blend skinning of (..., N, 3) vertices."""
    mixed = np.einsum("nj,...jab->...nab", weights, rot)
    return (mixed @ vertices[..., None])[..., 0] + weights @ shift


def blend_dual_quaternion(vertices: np.ndarray, weights: np.ndarray, rot: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Dual quaternion skinning (Kavan et al. 2007) of (..., N, 3) vertices."""
    real = _quaternions(rot)
    # Take neighbours in the tree to the same hemisphere, so that their blend goes the short way.
    for j, p in enumerate(PARENTS):
        if p >= 0:
            real[..., j, :] *= np.where((real[..., j, :] * real[..., p, :]).sum(-1, keepdims=True) < 0, -1.0, 1.0)
    dual = 0.5 * _product(np.concatenate([np.zeros((*shift.shape[:-1], 1)), shift], -1), real)
    real, dual = weights @ real, weights @ dual
    length = np.linalg.norm(real, axis=-1, keepdims=True)
    real, dual = real / length, dual / length
    w, u = real[..., :1], real[..., 1:]
    turned = vertices + 2 * np.cross(u, np.cross(u, vertices) + w * vertices)
    return turned + 2 * (w * dual[..., 1:] - dual[..., :1] * u + np.cross(u, dual[..., 1:]))


def _quaternions(rot: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> (..., 4) unit quaternions, real part first."""
    rotvec = rotmat_to_rotvec(rot)
    half = np.linalg.norm(rotvec, axis=-1, keepdims=True) / 2
    return np.concatenate([np.cos(half), rotvec * np.sinc(half / np.pi) / 2], -1)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton's product of (..., 4) quaternions."""
    w = a[..., :1] * b[..., :1] - (a[..., 1:] * b[..., 1:]).sum(-1, keepdims=True)
    return np.concatenate([w, a[..., :1] * b[..., 1:] + b[..., :1] * a[..., 1:] + np.cross(a[..., 1:], b[..., 1:])], -1)


def rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., 3) directions a, b -> (..., 3, 3) smallest rotation that takes a to b."""
    a, b = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, (a * b).sum(-1, keepdims=True))
    return rotvec_to_rotmat(axis / np.maximum(sine, 1e-12) * angle)
