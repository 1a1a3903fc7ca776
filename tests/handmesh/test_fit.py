"""Ground truth by fitting: feasible hands come back, the bank is met, and what is no hand is named."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hands import EMBEDDED, draw_feasible, hand_of

from handmesh.kinematics.check import check_mesh
from handmesh.kinematics.dof import DOF_NAMES, dof_limits, embed, hand_dof_matrix, limit_violations, project
from handmesh.kinematics.energy import EnergySettings, FitEnergy, Targets
from handmesh.kinematics.fit import FitResult, fit_hands
from handmesh.kinematics.linear import linear_hand
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import pose_hand
from handsynth.core.mirror import mirror_points


@pytest.mark.parametrize("frozen", [False, True])
def test_normal_equations_are_the_energys(frozen):
    """Value and gradient equal the readable energy's and its differences, with every term at work."""
    hand = hand_of("toy")
    linear, state = linear_hand(hand, np.float64), draw_feasible(hand, 4).state()
    rng = np.random.default_rng(0)
    vertices, keypoints = linear.points(state.stepped(0.2 * rng.normal(size=(4, linear.num_unknowns))))
    weights = rng.random((4, hand.num_vertices))
    targets = Targets(vertices, keypoints + 0.003, weights, state.angles + 0.1 * rng.random((4, 23)))
    # A margin that every finger falls short of.
    settings = EnergySettings(keypoint_weight=2.0, angle_std_deg=2.0, bend_margin_deg=60.0)
    energy = FitEnergy(linear, 0.5 * dof_limits(), settings, frozen)
    found = energy.normal_equations(state, targets)
    np.testing.assert_allclose(found.value, energy.value(state, targets))
    tolerance = 1e-6 * np.abs(found.gradient).max()
    for k in range(energy.num_unknowns):
        step = np.zeros((4, energy.num_unknowns))
        step[:, k] = 1e-7
        change = (energy.value(state.stepped(step), targets) - energy.value(state.stepped(-step), targets)) / 2e-7
        np.testing.assert_allclose(found.gradient[:, k], change, rtol=1e-6, atol=tolerance)
    assert (np.linalg.eigvalsh(found.hessian) > -1e-6).all()


def mean_errors_mm(fit: FitResult) -> np.ndarray:
    """(N,) mean distance of each hand's vertices from its targets."""
    return 1000 * fit.vertex_errors_m.mean(1)


def fit_feasible(name: str, count: int) -> tuple[np.ndarray, np.ndarray, FitResult]:
    """Mean vertex errors [mm] and angle errors [deg] of random feasible hands fitted from their meshes alone."""
    hand = hand_of(name)
    drawn = draw_feasible(hand, count)
    fit = fit_hands(hand, drawn.posed.vertices)
    return mean_errors_mm(fit), np.rad2deg(np.abs(fit.angles - drawn.angles)), fit


@pytest.mark.parametrize("name", ["toy", "embedded"])
def test_feasible_hands_come_back(name):
    """Random angles, shape and place, from the mesh alone: 0.1 mm and a degree."""
    errors, angles, _ = fit_feasible(name, 60)
    assert np.quantile(errors, 0.99) < 0.1
    assert np.median(angles.max(1)) < 1


def test_far_hands_lose_nothing():
    """A kilometre from the origin, where float32 holds 0.06 mm, the same angles and errors are found."""
    hand = hand_of("toy")
    vertices = draw_feasible(hand, 8).posed.vertices.astype(np.float64) + 0.002 * np.random.default_rng(0).normal(size=(8, 1, 3))
    offset = np.array((600.0, -500.0, 700.0))
    here, far = fit_hands(hand, vertices), fit_hands(hand, vertices + offset)
    np.testing.assert_allclose(far.angles, here.angles, atol=1e-4)
    np.testing.assert_allclose(far.vertex_errors_m, here.vertex_errors_m, atol=1e-6)
    np.testing.assert_allclose(far.translation - here.translation, np.tile(offset, (8, 1)), atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["toy", "embedded"])
def test_a_thousand_feasible_hands_come_back(name):
    errors, angles, _ = fit_feasible(name, 1000)
    assert (errors < 0.1).mean() >= 0.99
    assert np.median(angles) < 1


def test_result_is_a_pose_of_the_reference():
    """theta, beta and translation of the result pose the same vertices and keypoints with `pose_hand`."""
    hand = hand_of("toy")
    _, _, fit = fit_feasible("toy", 5)
    posed = pose_hand(hand, fit.theta, fit.beta, fit.translation)
    np.testing.assert_allclose(fit.vertices, posed.vertices, atol=1e-6)
    np.testing.assert_allclose(fit.keypoints, posed.keypoints, atol=1e-6)


def fit_bank(poses: slice) -> tuple[FitResult, np.ndarray]:
    hand = hand_of("embedded")
    theta = np.load(EMBEDDED / "poses.npz")["theta"][poses].astype(float)
    vertices = pose_hand(hand, np.concatenate([np.zeros((len(theta), 1, 3)), theta], 1), np.zeros((len(theta), 10))).vertices
    angles = project(theta, hand_dof_matrix(hand))
    return fit_hands(hand, vertices, angles=angles, beta=np.zeros((len(theta), 10)), frozen_shape=True), vertices


def test_bank_is_met_better_than_by_projection():
    """45-angle poses: the fitted hand is nearer than the projected one, and none is far off."""
    fit, vertices = fit_bank(slice(0, 895, 30))
    hand = hand_of("embedded")
    theta = np.load(EMBEDDED / "poses.npz")["theta"][::30].astype(float)
    matrix = hand_dof_matrix(hand)
    flat = np.concatenate([np.zeros((len(theta), 1, 3)), embed(project(theta, matrix), matrix)], 1)
    projected = 1000 * np.linalg.norm(pose_hand(hand, flat, np.zeros((len(theta), 10))).vertices - vertices, axis=-1).mean()
    assert mean_errors_mm(fit).mean() < 0.75 * projected
    assert mean_errors_mm(fit).max() < 2.5


def test_errors_are_summed_up_and_drawn(tmp_path, monkeypatch):
    """`benchmarks/fit_bank.py`: quantiles of the mean error of a hand, vertices and keypoints, and a plot of them."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    benchmark = importlib.import_module("fit_bank")
    fit, _ = fit_bank(slice(0, 895, 90))
    known = replace(fit, vertex_errors_m=np.arange(1, 11)[:, None] * np.full((1, 778), 1e-3))
    summary = benchmark.error_summary(known)
    assert (summary["hands"], summary["vertices_mean_mm"]) == (10, pytest.approx(5.5))
    assert [summary[f"vertices_p{q}_mm"] for q in (50, 90, 100)] == pytest.approx([5.5, 9.1, 10])
    assert 0 < summary["keypoints_p50_mm"] < 2
    benchmark.plot_errors(fit, tmp_path / "errors.png", "ten poses")
    assert (tmp_path / "errors.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
def test_whole_bank():
    """All 895 poses to 0.5 mm on average; `benchmarks/fit_bank.py` times it."""
    fit, _ = fit_bank(slice(None))
    assert mean_errors_mm(fit).mean() < 0.5
    assert np.quantile(mean_errors_mm(fit), 0.99) < 2


def test_frozen_shape_stays_and_weights_choose():
    """A frozen beta is returned bit by bit; vertices without weight are not looked at."""
    hand = hand_of("toy")
    drawn = draw_feasible(hand, 4)
    fit = fit_hands(hand, drawn.posed.vertices, beta=drawn.beta, frozen_shape=True)
    np.testing.assert_array_equal(fit.beta, drawn.beta.astype(np.float32))
    assert mean_errors_mm(fit).max() < 0.1
    spoilt, weights = drawn.posed.vertices.copy(), np.ones((4, hand.num_vertices))
    spoilt[:, ::5] += 0.01
    weights[:, ::5] = 0
    keypoints = drawn.posed.keypoints
    fit = fit_hands(hand, spoilt, keypoints, weights=weights)
    assert 1000 * np.linalg.norm(fit.vertices - drawn.posed.vertices, axis=-1).mean() < 0.1


def test_bad_arrays_are_named():
    hand = hand_of("toy")
    drawn = draw_feasible(hand, 2)
    vertices = drawn.posed.vertices
    with pytest.raises(UsageError, match=r"angles have shape \(2, 22\)"):
        fit_hands(hand, vertices, angles=np.zeros((2, 22)))
    with pytest.raises(UsageError, match="weights hold negative"):
        fit_hands(hand, vertices, weights=-np.ones((2, hand.num_vertices)))
    with pytest.raises(UsageError, match="frozen shape needs a beta"):
        fit_hands(hand, vertices, frozen_shape=True)
    with pytest.raises(UsageError, match="no hand to fit"):
        fit_hands(hand, vertices[:0])
    with pytest.raises(UsageError, match="noise_m is 0"):
        EnergySettings(noise_m=0)


@pytest.mark.parametrize("name", ["toy", "embedded"])
def test_no_good_mesh_is_refused(name):
    """Any feasible hand passes, with 5 mm of noise too."""
    hand = hand_of(name)
    vertices = draw_feasible(hand, 200, seed=5).posed.vertices
    check_mesh(hand, vertices)
    check_mesh(hand, vertices + np.random.default_rng(0).normal(0, 5e-3, vertices.shape))


def spoil(vertices: np.ndarray, how: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    spoilt = vertices.copy()
    if how == "count":
        return vertices[:, :-3]
    if how == "flat array":
        return vertices[0]
    if how == "order":
        spoilt[1] = spoilt[1, rng.permutation(vertices.shape[1])]
    elif how == "nan":
        spoilt[1, 7, 2] = np.nan
    elif how == "millimetres":
        spoilt = 1000 * spoilt
    elif how == "giant":
        spoilt[1] *= 3.3
    elif how == "point":
        spoilt[1] = spoilt[1, :1]
    elif how == "plane":
        spoilt[1, :, 2] = 0.5
    elif how == "left":
        spoilt[1] = mirror_points(spoilt[1])
    return spoilt


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("count", UsageError, "the mesh has .* vertices, hand model '.*' has .*: give the model"),
        ("flat array", UsageError, r"vertices have shape \(\d+, 3\): give \(hands, "),
        ("order", UsageError, "hand 1: neighbouring vertices lie .* times too far apart: its vertices are in another order"),
        ("nan", HandsynthError, "hand 1: 1 of .* vertices hold NaN or infinity"),
        ("millimetres", UsageError, "hand 0 is .* times as large as a hand in metres: it looks like millimetres, divide by 1000"),
        ("giant", UsageError, "hand 1 is .* times as large as a hand in metres$"),
        ("point", HandsynthError, "hand 1: all vertices lie in one point"),
        ("plane", HandsynthError, "hand 1 is flat or folded into itself"),
        ("left", UsageError, "hand 1 is mirrored, a left hand: mirror it"),
    ],
)
@pytest.mark.parametrize("name", ["toy", "embedded"])
def test_what_is_no_hand_is_named(name, how, error, message):
    hand = hand_of(name)
    vertices = draw_feasible(hand, 2, seed=3).posed.vertices
    with pytest.raises(error, match=message):
        fit_hands(hand, spoil(vertices, how))


def test_angles_beyond_limits_are_named():
    """Each by name with its limits in degrees; none within them."""
    hand = hand_of("toy")
    angles = draw_feasible(hand, 3).angles
    assert limit_violations(hand, angles) == []
    angles[2, DOF_NAMES.index("ring_pip_flexion")] = np.deg2rad(-12)
    (found,) = limit_violations(hand, angles)
    assert str(found) == "hand 2: ring_pip_flexion is -12.0 degrees, outside -1 to 90"
