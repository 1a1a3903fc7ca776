"""FreiHAND's metrics (Zimmermann et al. 2019, `lmb-freiburg/freihand:eval.py`), in numpy, so that anybody's files can be evaluated.

Inputs are in metres and errors in millimetres; the published code reports centimetres. N hands, P points each.
"""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

AUC_LIMIT_MM = 50.0
"""Largest error of the PCK curve."""

AUC_STEPS = 100
"""Thresholds of the PCK curve, from 0 to AUC_LIMIT_MM."""


def align_similarity(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N, P, 3) predicted points moved, turned and scaled onto (N, P, 3) true ones, in the least-squares sense.

    As published: both sets are centred and divided by their Frobenius norm, rotation and scale come from the orthogonal
    Procrustes problem, and reflections are not excluded.
    """
    mean_t, mean_p = truth.mean(1, keepdims=True), predicted.mean(1, keepdims=True)
    centred_t, centred_p = truth - mean_t, predicted - mean_p
    norm_t = np.linalg.norm(centred_t, axis=(1, 2), keepdims=True) + 1e-8
    norm_p = np.linalg.norm(centred_p, axis=(1, 2), keepdims=True) + 1e-8
    a, b = centred_t / norm_t, centred_p / norm_p
    u, singular, vt = np.linalg.svd(np.swapaxes(a, 1, 2) @ b)
    rotation, scale = u @ vt, singular.sum(-1)[:, None, None]
    return (b @ np.swapaxes(rotation, 1, 2)) * scale * norm_t + mean_t


def point_errors_mm(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N, P, 3) and (N, P, 3) [m] -> (N, P) Euclidean distances [mm]."""
    return 1000 * np.linalg.norm(predicted - truth, axis=-1)


def mean_error_mm(predicted: np.ndarray, truth: np.ndarray) -> float:
    """MPJPE of joints, MPVPE of vertices [mm]: the mean over points of the mean over hands."""
    return float(point_errors_mm(predicted, truth).mean(0).mean())


def auc(errors_mm: np.ndarray) -> float:
    """(N, P) errors [mm] -> area under the curve of correct keypoints from 0 to 50 mm, 1 at best, averaged over points."""
    thresholds = np.linspace(0, AUC_LIMIT_MM, AUC_STEPS)
    curve = (errors_mm[..., None] <= thresholds).mean(0)  # (P, thresholds)
    widths = np.diff(thresholds)
    areas = ((curve[:, 1:] + curve[:, :-1]) / 2 * widths).sum(-1) / AUC_LIMIT_MM
    return float(areas.mean())


def f_scores(predicted: np.ndarray, truth: np.ndarray, thresholds_mm: Sequence[float] = (5.0, 15.0)) -> tuple[float, ...]:
    """F-score of vertex clouds at each threshold (Knapitsch et al. 2017), the mean over hands.

    Args:
        predicted: (N, V, 3) [m].
        truth: (N, V, 3) [m].
        thresholds_mm: distances below which a vertex counts as found.
    """
    scores = np.zeros((len(truth), len(thresholds_mm)))
    for n, (p, t) in enumerate(zip(predicted, truth, strict=True)):
        to_truth = 1000 * cKDTree(t).query(p)[0]
        to_predicted = 1000 * cKDTree(p).query(t)[0]
        for k, threshold in enumerate(thresholds_mm):
            precision, recall = (to_truth < threshold).mean(), (to_predicted < threshold).mean()
            scores[n, k] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return tuple(float(s) for s in scores.mean(0))


def evaluate_hands(
    keypoints: np.ndarray, vertices: np.ndarray, true_keypoints: np.ndarray, true_vertices: np.ndarray
) -> dict[str, float]:
    """Every number of the paper's tables for N hands: (N, 21, 3) keypoints and (N, V, 3) vertices, camera frame [m].

    Joints and vertices are aligned independently, each on its own points; F@5 and F@15 are those of aligned vertices.
    """
    aligned_k = align_similarity(keypoints, true_keypoints)
    aligned_v = align_similarity(vertices, true_vertices)
    f5, f15 = f_scores(aligned_v, true_vertices)
    return {
        "mpjpe_mm": mean_error_mm(keypoints, true_keypoints),
        "mpvpe_mm": mean_error_mm(vertices, true_vertices),
        "pa_mpjpe_mm": mean_error_mm(aligned_k, true_keypoints),
        "pa_mpvpe_mm": mean_error_mm(aligned_v, true_vertices),
        "f_at_5": f5,
        "f_at_15": f15,
        "auc_joints": auc(point_errors_mm(keypoints, true_keypoints)),
        "pa_auc_joints": auc(point_errors_mm(aligned_k, true_keypoints)),
        "pa_auc_vertices": auc(point_errors_mm(aligned_v, true_vertices)),
    }
