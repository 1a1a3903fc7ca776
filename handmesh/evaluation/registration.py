"""One hand model laid into the skin of another, in several poses, so that the other's keypoints become a table of its vertices.

FreiHAND's keypoints are MANO's joints and five of its vertices. A net of another hand model finds the same skin, but not the same
points. Where MANO is prepared, the two skins are registered: the other hand takes MANO's poses, is drawn onto MANO's skin, part by
part, with as little bending as that needs (non-rigid ICP: Amberg et al. 2007, here with displacements, along normals, from stiff to
soft), and MANO's keypoints are expressed in its vertices (`keypoint_tables.fit_table`).
"""

import numpy as np
from scipy.sparse import block_diag, coo_array, csc_array, eye_array, kron
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from handmesh.evaluation.keypoint_tables import KeypointTable, fit_table
from handmesh.keypoints import keypoint_regressor
from handsynth.core.errors import UsageError
from handsynth.core.hand import HandModel, pose_hand
from handsynth.core.mesh import vertex_normals
from handsynth.core.rng import stream

POSES = 6
"""Of the other hand: from flat to bent, each joint a little otherwise."""

SPREAD_RAD = 0.15
"""Standard deviation of what each joint has besides."""

STIFFNESS = np.geomspace(30, 0.3, 8)
"""Of the displacements' Laplacian against distances from the skin, in each round."""

FAR_M = 0.02
"""Skin that is farther away than this is not a vertex's counterpart: another hand's wrist may end earlier."""

PRIOR_HANDS = 0.5
"""So much do the model's own keypoints count here, where every label is exact."""

_DAMPING = 1e-3  # of displacements along the skin, which no distance tells of


def table_of_hand(hand: HandModel, other: HandModel, name: str) -> KeypointTable:
    """The other model's keypoints as a table for `hand`. Raises UsageError when it has not the same sixteen joints."""
    if list(hand.parents) != list(other.parents):
        raise UsageError(f"the hand {other.name!r} has other joints than {hand.name!r}: nothing says which finger is which")
    theta = _poses(other)
    posed = pose_hand(other, theta, np.zeros((POSES, other.num_shapes)))
    registered = register(hand, other, theta, posed.vertices)
    about = f"keypoints of the hand {other.name!r} ({other.digest:.12}), registered to {hand.name!r} in {POSES} poses"
    every = np.ones((POSES, len(posed.keypoints[0])), bool)
    return fit_table(name, hand, list(registered), list(posed.keypoints), every, about, PRIOR_HANDS)


def register(hand: HandModel, other: HandModel, theta: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Vertices of `hand` on the other's skin.

    Args:
        hand: the model to be laid into the other.
        other: whose skin it is; its rest pose is about that of `hand`, flat and in the same frame.
        theta: (N, 16, 3) the other's poses [rad].
        vertices: (N, W, 3) of these poses [m].

    Returns:
        (N, V, 3) [m]; where the other has no skin nearby, where the fitted hand's is.
    """
    start = pose_hand(hand, theta, np.zeros((len(theta), hand.num_shapes)))
    target = keypoint_regressor(other) @ vertices
    middle, centre = start.keypoints.mean(1, keepdims=True), target.mean(1, keepdims=True)
    scale = np.linalg.norm(target - centre) / np.linalg.norm(start.keypoints - middle)
    laid = scale * (start.vertices - middle) + centre
    bending = kron(_laplacian(hand), eye_array(3)).tocsc()
    bending = (bending.T @ bending).tocsc()
    for stiffness in STIFFNESS:
        for k, skin in enumerate(vertices):
            laid[k] += _drawn(hand, other, laid[k], skin, stiffness * bending)
    return laid


def _poses(hand: HandModel) -> np.ndarray:
    """(POSES, 16, 3) from the flat hand to one that is bent half as much again as the mean pose."""
    theta = np.zeros((POSES, hand.num_joints, 3))
    theta[:, 1:] = np.linspace(0, 1.5, POSES)[:, None, None] * hand.hands_mean
    theta[:, 1:] += stream(0, 0, "registration").normal(0, SPREAD_RAD, theta[:, 1:].shape)
    return theta


def _laplacian(hand: HandModel) -> csc_array:
    """(V, V) each vertex less the mean of its neighbours."""
    edges = np.concatenate([hand.faces[:, [0, 1]], hand.faces[:, [1, 2]], hand.faces[:, [2, 0]]])
    both = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    count = np.bincount(both[:, 0], minlength=hand.num_vertices)
    around = coo_array((1 / count[both[:, 0]], (both[:, 0], both[:, 1])), (hand.num_vertices,) * 2)
    return csc_array(eye_array(hand.num_vertices) - around)


def _drawn(hand: HandModel, other: HandModel, points: np.ndarray, skin: np.ndarray, bending: csc_array) -> np.ndarray:
    """(V, 3) displacements that draw points onto the (W, 3) skin, of the same part of the hand or the next, along its normals."""
    ours, theirs = hand.weights.argmax(1), other.weights.argmax(1)
    normals, normal, offset = vertex_normals(skin, other.faces), np.zeros_like(points), np.zeros_like(points)
    for part in np.unique(ours):
        rows = np.flatnonzero(ours == part)
        near = np.flatnonzero(np.isin(theirs, [part, hand.parents[part], *np.flatnonzero(hand.parents == part)]))
        distance, index = cKDTree(skin[near]).query(points[rows])
        close = distance < FAR_M
        normal[rows[close]] = normals[near[index]][close]
        offset[rows] = skin[near[index]] - points[rows]
    along = block_diag(normal[:, :, None] * normal[:, None], format="csc")  # the normal's part of each displacement
    size = along.shape[0]
    system = along + bending + _DAMPING * eye_array(size)
    return splu(csc_array(system)).solve(along @ offset.ravel()).reshape(-1, 3)
