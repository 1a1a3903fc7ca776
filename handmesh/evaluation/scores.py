"""Scores of each hand, their means over groups, and the constant hands that are scored beside a net.

Every metric of FreiHAND's is the mean over hands of one hand's.

A constant hand stands in place of a net: what a net gains over it, it has seen in the images. There are two. `mean_hand` is the
hand model's own, in its mean pose: it needs no data and is the same in every table. `mean_of_hands` is the mean of the very
hands that are evaluated: no other constant fits their vertices better in the least squares that Procrustes minimises, so that
it is as a rule the stricter one, and the number to beat where hands are many (of one hand alone it is that hand). On the
embedded hand's 895 poses, PA-MPJPE is 17.0 mm for the one and 15.0 mm for the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from handmesh.evaluation.groups import Group
from handmesh.metrics import align_similarity, evaluate_hands, point_errors_mm
from handsynth.core.hand import HandModel, keypoints_from_vertices, pose_hand

HEADINGS = {
    "mpjpe_mm": "MPJPE [mm]",
    "mpvpe_mm": "MPVPE [mm]",
    "pa_mpjpe_mm": "PA-MPJPE [mm]",
    "pa_mpvpe_mm": "PA-MPVPE [mm]",
    "f_at_5": "F@5",
    "f_at_15": "F@15",
    "auc_joints": "AUC",
    "pa_auc_joints": "PA-AUC",
    "pa_auc_vertices": "PA-AUC mesh",
}
"""Metrics of `evaluate_hands` as people read them."""

TITLES = {"net": "net", "fitted": "net, then angles", "mean_hand": "mean hand", "mean_of_hands": "mean of these hands"}
"""Who predicts: the net, the hand of 23 angles nearest to its mesh (if requested), and the two constant hands of `baseline`."""

Scores = dict[str, np.ndarray]
"""Metric -> (N,) of each hand alone, with the names of `evaluate_hands`."""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """N hands as one predictor sees them."""

    scores: Scores
    joint_errors_mm: np.ndarray  # (N, 21)
    pa_joint_errors_mm: np.ndarray  # (N, 21) after alignment


def evaluate_points(
    keypoints: np.ndarray, vertices: np.ndarray, true_keypoints: np.ndarray, true_vertices: np.ndarray
) -> Evaluated:
    """Scores of each of N hands: (N, 21, 3) keypoints and (N, V, 3) vertices, camera frame [m]."""
    hands = zip(keypoints, vertices, true_keypoints, true_vertices, strict=True)
    rows = [evaluate_hands(*(points[None] for points in hand)) for hand in hands]
    return Evaluated(
        {name: np.array([row[name] for row in rows]) for name in HEADINGS},
        point_errors_mm(keypoints, true_keypoints),
        point_errors_mm(align_similarity(keypoints, true_keypoints), true_keypoints),
    )


def evaluate_all(
    predictions: Mapping[str, tuple[np.ndarray, np.ndarray]], true_keypoints: np.ndarray, true_vertices: np.ndarray, hand: HandModel
) -> dict[str, Evaluated]:
    """Predictions and both constant hands, by the keys of TITLES.

    Args:
        predictions: keypoints and vertices, as of `evaluate_points`, by predictor.
        true_keypoints: as of `evaluate_points`.
        true_vertices: as of `evaluate_points`.
        hand: the model, which makes the constant hands.
    """
    evaluated = {name: evaluate_points(*points, true_keypoints, true_vertices) for name, points in predictions.items()}
    for name, constant in (("mean_hand", mean_hand(hand)), ("mean_of_hands", mean_of_hands(true_vertices))):
        evaluated[name] = evaluate_points(*place_constant(constant, true_vertices, hand), true_keypoints, true_vertices)
    return evaluated


def mean_scores(scores: Mapping[str, np.ndarray], members: np.ndarray) -> dict[str, float]:
    """Means over the hands of which `members` (N,) is true: what `evaluate_hands` gives for those."""
    return {name: float(values[members].mean()) for name, values in scores.items()}


def correct_share(errors_mm: np.ndarray, thresholds_mm: np.ndarray) -> np.ndarray:
    """(N, P) errors and (T,) thresholds [mm] -> (T,) share of all points whose error is at most the threshold."""
    return np.searchsorted(np.sort(errors_mm.ravel()), thresholds_mm, "right") / errors_mm.size


def column(predictor: str, metric: str) -> str:
    """How a row calls a metric: the net's by its own name, another's with that in front."""
    return metric if predictor == "net" else f"{predictor}_{metric}"


def group_rows(evaluated: Mapping[str, Evaluated], groups: list[Group]) -> list[dict[str, Any]]:
    """One row a group: `kind`, `name`, `hands` (how many), and every `column`."""
    rows = []
    for group in groups:
        row: dict[str, Any] = {"kind": group.kind, "name": group.name, "hands": int(group.members.sum())}
        for predictor, found in evaluated.items():
            row |= {column(predictor, name): value for name, value in mean_scores(found.scores, group.members).items()}
        rows.append(row)
    return rows


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
