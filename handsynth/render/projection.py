"""The one place where an OpenCV K becomes an OpenGL clip matrix."""

import numpy as np

NEAR_M, FAR_M = 0.05, 15.0
"""Depths that are drawn [m]."""


def clip_from_camera(K: np.ndarray, width: int, height: int) -> np.ndarray:
    """(4, 4) float32 matrix from the OpenCV camera frame to clip space, for a picture of `width` x `height` pixels.

    Rows of the framebuffer run down the picture (v = 0 is row 0), so read-back needs no flip; in return triangles that are
    counter-clockwise seen from outside are clockwise in the framebuffer.
    """
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    matrix = np.zeros((4, 4))
    matrix[0, 0], matrix[0, 2] = 2 * fx / width, 2 * cx / width - 1
    matrix[1, 1], matrix[1, 2] = 2 * fy / height, 2 * cy / height - 1
    matrix[2, 2], matrix[2, 3] = (FAR_M + NEAR_M) / (FAR_M - NEAR_M), -2 * FAR_M * NEAR_M / (FAR_M - NEAR_M)
    matrix[3, 2] = 1
    return matrix.astype(np.float32)
