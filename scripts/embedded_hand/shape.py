"""Step 5: how hands differ: principal components of the sampled hands, and the joints as averages of vertices."""

import numpy as np
from scipy.optimize import nnls

COMPONENTS = 10
"""MANO's number of shape components."""

REACH = 1.6
"""A joint is an average of the vertices within this many times the distance of the twentieth nearest."""


def shape_components(vertices: np.ndarray) -> np.ndarray:
    """(S, V, 3) aligned hands -> (V, 3, 10) directions per standard deviation [m].

    The template (hand 0) takes the place of the mean, so that beta = 0 is exactly the template; signs are such that the
    first component makes hands larger, and the others add to the first vertex that they move most.
    """
    offsets = (vertices[1:] - vertices[1:].mean(0)).reshape(len(vertices) - 1, -1)
    _, s, vt = np.linalg.svd(offsets, full_matrices=False)
    directions = vt[:COMPONENTS] * (s[:COMPONENTS, None] / np.sqrt(len(offsets) - 1))
    spread = vertices[0] - vertices[0].mean(0)
    sign = np.sign(directions[np.arange(COMPONENTS), np.abs(directions).argmax(1)])
    sign[0] = np.sign((directions[0].reshape(-1, 3) * spread).sum())
    directions *= sign[:, None]
    return directions.T.reshape(vertices.shape[1], 3, COMPONENTS)


def fit_regressor(vertices: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(S, V, 3) hands and their (S, 16, 3) joints -> (16, V) weights, none negative, few not zero, rows summing to one."""
    out = np.zeros((joints.shape[1], vertices.shape[1]))
    some = np.linspace(0, len(vertices) - 1, min(len(vertices), 80)).astype(int)  # hand 0 is among them
    weight = np.where(some == 0, 20.0, 1.0)  # the template's own joints matter most
    for j in range(joints.shape[1]):
        distance = np.linalg.norm(vertices[0] - joints[0, j], axis=1)
        near = np.flatnonzero(distance < REACH * np.sort(distance)[19])
        a = (vertices[some][:, near] - joints[some, j][:, None]) * weight[:, None, None]  # (T, n, 3): must average to zero
        a = a.transpose(0, 2, 1).reshape(-1, len(near))
        unit = 10.0  # of metres: makes the sum's row outweigh the distances
        spread = 2e-4 * np.eye(len(near))  # many small weights rather than few large ones
        solution, _ = nnls(
            np.concatenate([a, unit * np.ones((1, len(near))), spread]), np.r_[np.zeros(len(a)), unit, np.zeros(len(near))]
        )
        out[j, near] = solution / solution.sum()
    return out
