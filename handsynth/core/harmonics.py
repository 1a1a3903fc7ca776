"""Ambient light as spherical harmonics of order 2: what it is on a surface, where it comes from, and how it turns.

A *sky* is a (9, C) array: the light that arrives on a matt surface, as a polynomial of the surface's unit normal (x, y, z),

    E(n) = s[0] + s[1] x + s[2] y + s[3] z + s[4] xy + s[5] yz + s[6] xz + s[7] (3 z^2 - 1) + s[8] (x^2 - y^2),

per colour channel, linear, and such that light of 1 from everywhere gives E = 1: a surface then shows its albedo. Constants of the
harmonics and the cosine's convolution are in the coefficients (Ramamoorthi and Hanrahan, An Efficient Representation for
Irradiance Environment Maps, SIGGRAPH 2001: 1, 2/3 and 1/4 for the three orders). s[0] is the mean over all directions.
"""

import numpy as np

TERMS = 9
"""Of a sky: one of order 0, three of order 1, five of order 2."""

# Square of each harmonic's constant, times what the clamped cosine leaves of its order.
_SCALE = np.array([1, 2, 2, 2, 15 / 4, 15 / 4, 15 / 4, 5 / 16, 15 / 16]) / (4 * np.pi)


def terms(directions: np.ndarray) -> np.ndarray:
    """(..., 3) unit vectors -> (..., 9) the polynomials above."""
    x, y, z = np.moveaxis(np.asarray(directions, np.float64), -1, 0)
    return np.stack([np.ones_like(x), x, y, z, x * y, y * z, x * z, 3 * z * z - 1, x * x - y * y], -1)


def sky_weights(directions: np.ndarray, solid_angles: np.ndarray) -> np.ndarray:
    """(N, 3) unit vectors, (N,) [sr] -> (9, N): times the (N, C) light that comes from there, the sky."""
    return (terms(directions) * np.asarray(solid_angles)[:, None] * _SCALE).T


def light_on(sky: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(9, C) and (..., 3) unit normals -> (..., C) light on a matt surface; where the polynomial falls below 0, 0."""
    return np.maximum(terms(normals) @ sky, 0)


def turned(sky: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """(9, C) of one frame -> (9, C) of another, into which `rotation` (3, 3) takes vectors.

    Order 1 turns as a vector, order 2 as a symmetric matrix without trace.
    """
    xy, yz, xz, zz, diff = sky[4:] / 2
    matrix = np.array([[2 * diff - 2 * zz, xy, xz], [xy, -2 * diff - 2 * zz, yz], [xz, yz, 4 * zz]])
    matrix = np.einsum("ij,jkc,lk->ilc", rotation, matrix, rotation)
    second = [2 * matrix[0, 1], 2 * matrix[1, 2], 2 * matrix[0, 2], matrix[2, 2] / 2, (matrix[0, 0] - matrix[1, 1]) / 2]
    return np.concatenate([sky[:1], rotation @ sky[1:4], np.array(second)])


def split(sky: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(9, 3) -> light from everywhere (3,), and a lamp: direction (3,) and colour (3,): what a renderer without harmonics can show.

    Together they have the sky's order 0, and of its order 1 what lies along the lamp, whose direction is that of the channels' sum:
    a lamp's clamped cosine has 1/4 of its colour in order 0 and 1/2 in order 1. Neither part is negative.
    """
    pull = sky[1:4].sum(1)
    length = np.linalg.norm(pull)
    direction = pull / length if length > 1e-9 else np.array([0.0, -1.0, 0.0])
    color = np.clip(2 * direction @ sky[1:4], 0, 4 * np.maximum(sky[0], 0))
    return np.maximum(sky[0], 0) - color / 4, direction, color
