"""Post-optimisation: noise is fitted away, nothing bends backwards, and Gauss-Newton is nearer than Adam."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hands import Feasible, draw_feasible, hand_of

from handmesh.kinematics.energy import has_bend_violation
from handmesh.kinematics.fit import BESIDE_IK_NET, GROUND_TRUTH, OF_A_NET, PREDICTED, FitResult, fit_hands
from handsynth.core.errors import HandsynthError
from handsynth.core.hand import HandModel

refine = partial(fit_hands, settings=PREDICTED, check=False)


def first_guess(drawn: Feasible) -> tuple[np.ndarray, np.ndarray]:
    """What a poor IK net would say: angles off by 11 degrees, shapes by half a standard deviation."""
    rng = np.random.default_rng(1)
    return drawn.angles + rng.normal(0, 0.2, drawn.angles.shape), drawn.beta + rng.normal(0, 0.5, drawn.beta.shape)


def distance_mm(fit: FitResult, drawn: Feasible) -> np.ndarray:
    """(N,) mean distance of a hand's vertices from the true ones."""
    return 1000 * np.linalg.norm(fit.vertices - drawn.posed.vertices, axis=-1).mean(1)


def noisy(hand: HandModel, drawn: Feasible) -> np.ndarray:
    return drawn.posed.vertices + np.random.default_rng(2).normal(0, 5e-3, drawn.posed.vertices.shape)


@pytest.mark.parametrize("name", ["toy", "embedded"])
def test_clean_meshes_are_met_from_a_poor_guess(name):
    """20 iterations end within 0.1 mm."""
    hand = hand_of(name)
    drawn = draw_feasible(hand, 40)
    fit = refine(hand, drawn.posed.vertices, drawn.posed.keypoints, *first_guess(drawn), settings=GROUND_TRUTH)
    assert np.quantile(distance_mm(fit, drawn), 0.99) < 0.1
    assert fit.iterations.max() <= 20


def check_noise(count: int) -> None:
    hand = hand_of("embedded")
    drawn = draw_feasible(hand, count)
    fit = refine(hand, noisy(hand, drawn), None, *first_guess(drawn))
    assert distance_mm(fit, drawn).mean() < 1.0
    assert not has_bend_violation(fit.keypoints).any()


def test_noise_is_fitted_away():
    """5 mm on every coordinate of every vertex: within 1 mm of the truth, and no finger bends backwards."""
    check_noise(60)


@pytest.mark.slow
def test_noise_of_a_thousand_hands_is_fitted_away():
    check_noise(1000)


def test_no_finger_bends_backwards_where_straight_ones_are_common():
    """The toy hand's fingers are straight at zero, so that noise alone would bend every other hand backwards somewhere."""
    hand = hand_of("toy")
    drawn = draw_feasible(hand, 120)
    vertices = noisy(hand, drawn)
    free = refine(hand, vertices, None, *first_guess(drawn), settings=GROUND_TRUTH)
    fit = refine(hand, vertices, None, *first_guess(drawn))
    assert has_bend_violation(free.keypoints).mean() > 0.1
    assert not has_bend_violation(fit.keypoints).any()


@pytest.mark.parametrize("frozen", [False, True])
def test_gauss_newton_is_nearer_than_adam(frozen):
    """On the same hands, from the same guess, with the same energy and 20 steps: less than half the error, shape free or known."""
    hand = hand_of("embedded")
    drawn = draw_feasible(hand, 24)
    angles, beta = first_guess(drawn)
    errors = {
        method: distance_mm(
            refine(hand, noisy(hand, drawn), None, angles, drawn.beta if frozen else beta, frozen_shape=frozen, method=method),
            drawn,
        ).mean()
        for method in ("gauss-newton", "adam")
    }
    assert errors["gauss-newton"] < 0.5 * errors["adam"]
    assert errors["adam"] < 3


def test_known_shape_helps():
    hand = hand_of("embedded")
    drawn = draw_feasible(hand, 60)
    angles, beta = first_guess(drawn)
    known = refine(hand, noisy(hand, drawn), None, angles, drawn.beta, frozen_shape=True)
    free = refine(hand, noisy(hand, drawn), None, angles, beta)
    assert distance_mm(known, drawn).mean() < distance_mm(free, drawn).mean()
    np.testing.assert_array_equal(known.beta, drawn.beta.astype(np.float32))


def test_angles_of_a_net_are_a_prior():
    """Where a mesh's errors go together part by part, a fit beside good angles is nearer than either alone."""
    hand = hand_of("embedded")
    drawn = draw_feasible(hand, 60)
    rng = np.random.default_rng(0)
    angles = drawn.angles + rng.normal(0, np.deg2rad(6), drawn.angles.shape)
    parts = rng.normal(0, 0.008, (60, hand.num_joints, 3))
    vertices = drawn.posed.vertices + hand.weights @ parts
    beside = distance_mm(refine(hand, vertices, None, angles, settings=BESIDE_IK_NET), drawn)
    follows = distance_mm(refine(hand, vertices, None, angles, settings=OF_A_NET), drawn)
    alone = distance_mm(refine(hand, vertices, None, angles, settings=replace(BESIDE_IK_NET, angle_std_deg=0.1)), drawn)
    assert beside.mean() < 0.95 * follows.mean()
    assert beside.mean() < 0.95 * alone.mean()


def test_spread_weights_the_vertices():
    """Vertices that are known to be worse count less: with the right weights the fit is nearer than with equal ones."""
    hand = hand_of("embedded")
    drawn = draw_feasible(hand, 30)
    rng = np.random.default_rng(0)
    std = np.where(rng.uniform(size=drawn.posed.vertices.shape[:2]) < 0.5, 1e-3, 1e-2)
    vertices = drawn.posed.vertices + rng.normal(size=drawn.posed.vertices.shape) * std[..., None]
    equal = refine(hand, vertices, None, *first_guess(drawn))
    weighted = refine(hand, vertices, None, *first_guess(drawn), weights=std**-2)
    assert distance_mm(weighted, drawn).mean() < 0.5 * distance_mm(equal, drawn).mean()


def test_a_hand_does_not_depend_on_its_batch():
    """Refined alone or among others, a hand is the same to rounding."""
    hand = hand_of("toy")
    drawn = draw_feasible(hand, 20)
    vertices, (angles, beta) = noisy(hand, drawn), first_guess(drawn)
    together = refine(hand, vertices, None, angles, beta)
    alone = refine(hand, vertices[13:14], None, angles[13:14], beta[13:14])
    np.testing.assert_allclose(together.vertices[13], alone.vertices[0], atol=2e-5)


def test_nan_is_named():
    hand = hand_of("toy")
    drawn = draw_feasible(hand, 2)
    drawn.posed.vertices[0, 0] = np.nan
    with pytest.raises(HandsynthError, match="hand 0: 1 of 391 vertices hold NaN"):
        refine(hand, drawn.posed.vertices, None, *first_guess(drawn))
