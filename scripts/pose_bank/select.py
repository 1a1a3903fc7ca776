"""Choosing poses that lie far apart, so that few of them cover much."""

import numpy as np

from handsynth.core.hand import HandModel, pose_hand
from pose_bank.angles import pose_from_angles


def keypoints(model: HandModel, angles: np.ndarray) -> np.ndarray:
    """(N, 16, 3) angles [rad] -> (N, 21, 3) keypoints with the wrist in place [m]: where poses are compared."""
    return pose_hand(model, pose_from_angles(model, angles), np.zeros(model.num_shapes)).keypoints


def spread_out(points: np.ndarray, taken: np.ndarray, count: int) -> np.ndarray:
    """Farthest-point sampling: rows of (N, ...) `points`, each as far as can be from (M, ...) `taken` and those before it."""
    flat, there = points.reshape(len(points), -1), taken.reshape(len(taken), -1)
    distance = np.sqrt(np.maximum((flat**2).sum(1)[:, None] + (there**2).sum(1) - 2 * flat @ there.T, 0)).min(1)
    chosen = []
    for _ in range(min(count, len(points))):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(flat - flat[chosen[-1]], axis=1))
    return np.array(chosen)
