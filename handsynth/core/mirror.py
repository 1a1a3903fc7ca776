"""The one mirror, x = 0: it turns right hands into left ones, in the template, in the world and in the camera frame, and back."""

from collections.abc import Sequence

import numpy as np

MIRROR_POINT = np.array([-1.0, 1.0, 1.0])
"""Signs of a point, or of a direction."""

MIRROR_TURN = np.array([1.0, -1.0, -1.0])
"""Signs of an axis-angle vector."""

MIRROR = np.diag([*MIRROR_POINT, 1.0])
"""(4, 4) of homogeneous points. A camera's T_cam_world becomes MIRROR @ T @ MIRROR."""


def mirror_theta(theta: np.ndarray) -> np.ndarray:
    """(..., 3) axis-angle of a right hand -> that of its mirror image in x = 0 (a left hand), and back."""
    return np.asarray(theta) * MIRROR_TURN


def mirror_points(points: np.ndarray) -> np.ndarray:
    """(..., 3) points of a right hand -> those of its mirror image in x = 0, and back."""
    return np.asarray(points) * MIRROR_POINT


def mirror_left(points: np.ndarray, sides: Sequence[str]) -> np.ndarray:
    """(N, P, 3) points of N hands, left ones mirrored to right hands; and back."""
    left = np.array([side == "left" for side in sides])
    return np.where(left[:, None, None], mirror_points(points), points)


def mirrored(K: np.ndarray, width: float) -> np.ndarray:
    """K of the image flipped left to right, for points mirrored in x = 0 of the camera frame."""
    flipped = K.copy()
    flipped[0, 2] = width - K[0, 2]
    return flipped
