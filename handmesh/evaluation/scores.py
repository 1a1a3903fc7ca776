"""Scores of each hand, and their means over groups: every metric of FreiHAND's is the mean over hands of one hand's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from handmesh.evaluation.baseline import mean_hand, mean_of_hands, place_constant
from handmesh.evaluation.groups import Group
from handmesh.metrics import align_similarity, evaluate_hands, point_errors_mm
from handsynth.core.hand import HandModel

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
