"""Rotations: axis-angle vectors and matrices. Angles in radians; any leading batch axes."""

import numpy as np

_IDENTITY = np.eye(3)


def rotvec_to_rotmat(rotvec: np.ndarray) -> np.ndarray:
    """Rodrigues' formula. (..., 3) axis-angle [rad] -> (..., 3, 3) rotation matrices, float64."""
    rotvec = np.asarray(rotvec, np.float64)
    x, y, z = rotvec[..., 0], rotvec[..., 1], rotvec[..., 2]
    angle_sq = x * x + y * y + z * z
    small = angle_sq < 1e-8
    angle_sq_safe = np.where(small, 1.0, angle_sq)
    angle = np.sqrt(angle_sq_safe)
    # sin(t)/t and (1-cos(t))/t^2, by their Taylor series near zero where the quotients lose digits.
    sinc = np.where(small, 1.0 - angle_sq / 6.0, np.sin(angle) / angle)
    cosc = np.where(small, 0.5 - angle_sq / 24.0, (1.0 - np.cos(angle)) / angle_sq_safe)
    skew = np.zeros((*rotvec.shape[:-1], 3, 3))
    skew[..., 0, 1], skew[..., 0, 2], skew[..., 1, 2] = -z, y, -x
    skew[..., 1, 0], skew[..., 2, 0], skew[..., 2, 1] = z, -y, x
    return _IDENTITY + sinc[..., None, None] * skew + cosc[..., None, None] * (skew @ skew)


def rotmat_to_rotvec(rotmat: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotation matrices -> (..., 3) axis-angle [rad] of length at most pi, float64.

    Goes through the unit quaternion whose largest component is computed first (Shepperd 1978), so it holds near pi.
    """
    m = np.asarray(rotmat, np.float64)
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    # Four times the outer product of the quaternion (w, x, y, z) with itself; its best-scaled row is the quaternion.
    outer = np.empty((*m.shape[:-2], 4, 4))
    outer[..., 0, 0] = 1 + trace
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        outer[..., i + 1, i + 1] = 1 + 2 * m[..., i, i] - trace
        outer[..., 0, i + 1] = outer[..., i + 1, 0] = m[..., k, j] - m[..., j, k]
        outer[..., j + 1, k + 1] = outer[..., k + 1, j + 1] = m[..., k, j] + m[..., j, k]
    best = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), -1)
    quat = np.take_along_axis(outer, best[..., None, None], -2)[..., 0, :]
    quat = quat / np.linalg.norm(quat, axis=-1, keepdims=True)
    quat = np.where(quat[..., :1] < 0, -quat, quat)
    sin_half = np.linalg.norm(quat[..., 1:], axis=-1)
    half = np.arctan2(sin_half, quat[..., 0])
    small = sin_half < 1e-9
    factor = np.where(small, 2.0, 2.0 * half / np.where(small, 1.0, sin_half))
    return factor[..., None] * quat[..., 1:]


def rotmat_geodesic_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle [rad] of the rotation between (..., 3, 3) `a` and `b`: shape (...)."""
    return np.linalg.norm(rotmat_to_rotvec(np.swapaxes(a, -1, -2) @ b), axis=-1)
