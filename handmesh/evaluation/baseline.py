"""The mean hand: one constant hand in place of a net. What a net gains over it, it has seen in the images.

There are two. `mean_hand` is the hand model's own, in its mean pose: it needs no data and is the same in every table.
`mean_of_hands` is the mean of the very hands that are evaluated: no other constant fits their vertices better in the least squares
that Procrustes minimises, so that it is as a rule the stricter one, and the number to beat where hands are many (of one hand
alone it is that hand). On the embedded hand's 895 poses, PA-MPJPE is 17.0 mm for the one and 15.0 mm for the other.
"""

import numpy as np

from handmesh.metrics import align_similarity
from handsynth.core.hand import HandModel, keypoints_from_vertices, pose_hand

_ROUNDS = 10  # of the Procrustes mean; on 895 poses the second moves it by 1.6 mm, the sixth by less than a millionth of that


def mean_hand(hand: HandModel) -> np.ndarray:
    """(V, 3) vertices of the mean shape in the mean pose (`hands_mean`), template frame [m]."""
    theta = np.concatenate([np.zeros((1, 3)), hand.hands_mean])
    return pose_hand(hand, theta, np.zeros(hand.num_shapes)).vertices


def mean_of_hands(vertices: np.ndarray) -> np.ndarray:
    """(N, V, 3) hands [m] -> (V, 3) their Procrustes mean about its centre, turned as the first, of the hands' mean size [m].

    All are moved, turned and scaled onto the mean, whose mean they then make anew (Gower 1975). As in FreiHAND's metrics,
    reflections are allowed, so that left hands join right ones.
    """
    pieces = np.array_split(vertices, -(-len(vertices) // 1000))  # aligned copies of all at once would be gigabytes
    size = sum(np.linalg.norm(v - v.mean(1, keepdims=True), axis=(1, 2)).sum() for v in pieces) / len(vertices)
    mean = vertices[0]
    for _ in range(_ROUNDS):
        total = sum(align_similarity(v, np.broadcast_to(mean, v.shape)).sum(0) for v in pieces)
        mean = total - total.mean(0)
        mean *= size / np.linalg.norm(mean)
    return mean


def place_constant(constant: np.ndarray, true_vertices: np.ndarray, hand: HandModel) -> tuple[np.ndarray, np.ndarray]:
    """A constant hand before N cameras, as a prediction that the metrics can evaluate.

    It is turned (left hands: mirrored) as Procrustes would turn it, keeps its own size, and its wrist lies at the true one. Which
    way to turn takes it from the truth, as a hand in one fixed turn would be no rival; so its unaligned errors are those of
    pose and shape alone, and its aligned ones do not depend on the placing.

    Args:
        constant: (V, 3) [m].
        true_vertices: (N, V, 3) camera frame [m].
        hand: whose joint regressor and fingertips make the keypoints.

    Returns:
        keypoints (N, 21, 3) and vertices (N, V, 3), camera frame [m].
    """
    aligned = align_similarity(np.broadcast_to(constant, true_vertices.shape), true_vertices)
    std = np.linalg.norm(aligned - aligned.mean(1, keepdims=True), axis=(1, 2), keepdims=True)
    vertices = aligned * (np.linalg.norm(constant - constant.mean(0)) / std)
    true_wrist = keypoints_from_vertices(hand, true_vertices)[:, :1]
    vertices += true_wrist - keypoints_from_vertices(hand, vertices)[:, :1]
    return keypoints_from_vertices(hand, vertices), vertices
