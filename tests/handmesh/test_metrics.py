"""The metrics equal FreiHAND's published formulas, and are what their names say."""

import numpy as np
import pytest

from handmesh.metrics import align_similarity, auc, evaluate_hands, f_scores, mean_error_mm, point_errors_mm
from handsynth.core.rotation import rotvec_to_rotmat


def _similar(points, rng):
    """A random similarity of each of (N, P, 3)."""
    rotation = rotvec_to_rotmat(rng.normal(size=(len(points), 3)))
    return rng.uniform(0.5, 2, (len(points), 1, 1)) * points @ np.swapaxes(rotation, 1, 2) + rng.normal(size=(len(points), 1, 3))


def _published_alignment(truth, predicted):
    """One hand, step by step as the published script describes it: centre, normalise, Procrustes, put back."""
    from scipy.linalg import orthogonal_procrustes

    mean_1, mean_2 = truth.mean(0), predicted.mean(0)
    first, second = truth - mean_1, predicted - mean_2
    size_1, size_2 = np.linalg.norm(first) + 1e-8, np.linalg.norm(second) + 1e-8
    first, second = first / size_1, second / size_2
    rotation, scale = orthogonal_procrustes(first, second)
    return second @ rotation.T * scale * size_1 + mean_1


@pytest.fixture
def hands():
    rng = np.random.default_rng(3)
    truth = rng.normal(0, 0.05, (12, 21, 3))
    return truth, truth + rng.normal(0, 0.01, truth.shape)


def test_alignment_equals_the_published_steps(hands):
    """On random hands, to 1e-9 m."""
    truth, predicted = hands
    expected = np.stack([_published_alignment(t, p) for t, p in zip(truth, predicted, strict=True)])
    np.testing.assert_allclose(align_similarity(predicted, truth), expected, atol=1e-9)


def test_aligned_error_does_not_see_similarities(hands):
    """Turning, scaling and moving a prediction leaves its aligned error alone, and moves the plain one."""
    truth, predicted = hands
    moved = _similar(predicted, np.random.default_rng(4))
    before = mean_error_mm(align_similarity(predicted, truth), truth)
    assert mean_error_mm(align_similarity(moved, truth), truth) == pytest.approx(before, rel=1e-5)
    assert mean_error_mm(moved, truth) > 10 * before


def test_zero_on_truth(hands):
    """The truth itself scores no error, full F and full area."""
    truth, _ = hands
    scores = evaluate_hands(truth, truth, truth, truth)
    assert scores["mpjpe_mm"] == 0
    assert scores["pa_mpvpe_mm"] < 1e-4  # the published 1e-8 in the norms shrinks the aligned hand a little
    assert scores["f_at_5"] == scores["f_at_15"] == 1
    assert scores["auc_joints"] == 1


def test_three_points_by_hand():
    """Errors of 3, 4 and 5 mm: mean 4 mm; area and F as counted by hand."""
    truth = np.array([[[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]]], float)
    predicted = truth + np.array([[[0.003, 0, 0], [0, 0.004, 0], [0, 0, 0.005]]])
    assert mean_error_mm(predicted, truth) == pytest.approx(4)
    # F at 4.5 mm: two of three points are near, both ways: precision = recall = 2/3.
    assert f_scores(predicted, truth, (4.5, 15.0)) == pytest.approx((2 / 3, 1.0))
    thresholds = np.linspace(0, 50, 100)
    expected = np.mean([np.trapezoid((e <= thresholds).astype(float), thresholds) / 50 for e in (3, 4, 5)])
    assert auc(point_errors_mm(predicted, truth)) == pytest.approx(expected)


def test_threshold_is_strict():
    """FreiHAND counts distances below the threshold, not at it."""
    truth = np.zeros((1, 1, 3))
    predicted = truth + np.array([0.005, 0, 0])
    assert f_scores(predicted, truth, (5.0, 5.001)) == (0.0, 1.0)
