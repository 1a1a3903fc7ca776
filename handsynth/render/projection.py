"""The one place where an OpenCV K becomes an OpenGL clip matrix."""

import numpy as np

NEAR_M, FAR_M = 0.05, 15.0
"""Depths that are drawn [m]."""


def clip_from_camera(K: np.ndarray, width: np.ndarray | int, height: np.ndarray | int) -> np.ndarray:
    """(..., 4, 4) float32 matrix from the OpenCV camera frame to clip space, for (..., 3, 3) K and (...) sizes of images [px].

    Rows of the framebuffer run down the image (v = 0 is row 0), so read-back needs no flip; in return triangles that are
    counter-clockwise seen from outside are clockwise in the framebuffer.
    """
    matrix = np.zeros((*K.shape[:-2], 4, 4))
    matrix[..., 0, 0], matrix[..., 0, 2] = 2 * K[..., 0, 0] / width, 2 * K[..., 0, 2] / width - 1
    matrix[..., 1, 1], matrix[..., 1, 2] = 2 * K[..., 1, 1] / height, 2 * K[..., 1, 2] / height - 1
    matrix[..., 2, 2], matrix[..., 2, 3] = (FAR_M + NEAR_M) / (FAR_M - NEAR_M), -2 * FAR_M * NEAR_M / (FAR_M - NEAR_M)
    matrix[..., 3, 2] = 1
    return matrix.astype(np.float32)
