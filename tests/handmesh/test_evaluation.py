"""Evaluation: groups hold the hands they should, a group's numbers are those of its hands, and the mean hand is one."""

import csv
import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from untrained import write_untrained

from handmesh.cli.mesh import evaluate
from handmesh.data.shards import ShardDataset
from handmesh.evaluation.evaluate import default_folder, evaluate_predicted
from handmesh.evaluation.groups import make_groups
from handmesh.evaluation.inference import Predicted, axis_ratios, point_ratios, squares_over_variance
from handmesh.evaluation.report import metrics_table
from handmesh.evaluation.scores import (
    correct_share,
    evaluate_all,
    evaluate_points,
    mean_hand,
    mean_of_hands,
    mean_scores,
    place_constant,
)
from handmesh.keypoints import keypoint_regressor
from handmesh.kinematics.fit import AngleSolver
from handmesh.losses import Target
from handmesh.metrics import AUC_LIMIT_MM, align_similarity, auc, evaluate_hands, mean_error_mm
from handmesh.nets.mesh_net import Prediction
from handmesh.run_files import WEIGHTS
from handmesh.run_folder import read_tensors
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.grouping import FLEXION_EDGES_DEG, bins, flexion_deg, view_angles_deg
from handsynth.core.hand import pose_hand
from handsynth.core.mirror import mirror_points
from handsynth.core.rotation import rotvec_to_rotmat
from handsynth.core.toy import toy_hand, toy_poses

HAND = toy_hand()


def pa_mpjpe(points, truth) -> float:
    return mean_error_mm(align_similarity(np.broadcast_to(points, truth.shape), truth), truth)


@pytest.fixture(scope="module")
def hands():
    """30 toy hands in random poses, shapes and turns, somewhere before the camera."""
    rng = np.random.default_rng(5)
    theta = np.concatenate([rng.normal(size=(30, 1, 3)), toy_poses()[np.arange(30) % 6]], 1)
    return pose_hand(HAND, theta, rng.normal(size=(30, 10)), rng.uniform([-0.1, -0.1, 0.4], [0.1, 0.1, 0.9], (30, 3)))


# The mean hand


def test_mean_hand_scores_zero_against_itself(hands):
    """A hand that is the mean hand, wherever it is, scores 0; others do not, and similarities of the mean hand change nothing."""
    mean, rng = mean_hand(HAND), np.random.default_rng(0)
    turned = 1.3 * mean @ rotvec_to_rotmat(rng.normal(size=3)).T + rng.normal(size=3)
    assert pa_mpjpe(mean, turned[None]) < 1e-4
    assert pa_mpjpe(mean, hands.vertices) > 5
    assert pa_mpjpe(turned, hands.vertices) == pytest.approx(pa_mpjpe(mean, hands.vertices), rel=1e-5)


def test_mean_hand_is_in_the_mean_pose():
    """Posing with hands_mean as pose, by another way: the difference to the flat hand's pose is that pose alone."""
    theta = np.zeros((16, 3))
    theta[1:] = HAND.hands_mean
    np.testing.assert_array_equal(mean_hand(HAND), pose_hand(HAND, theta, np.zeros(10)).vertices)
    assert np.abs(mean_hand(HAND) - HAND.v_template).max() > 0.01


def test_mean_of_hands_is_the_best_constant(hands):
    """No other constant tried fits the hands better: neither the mean hand, nor one of them, nor the mean changed a little."""
    mean = mean_of_hands(hands.vertices)
    others = [mean_hand(HAND), *hands.vertices]
    others += [mean + change for change in np.random.default_rng(1).normal(0, 0.001, (5, *mean.shape))]

    def misfit(constant) -> float:
        """What Procrustes minimises: squared distances of hands of unit size."""
        centred = hands.vertices - hands.vertices.mean(1, keepdims=True)
        unit = centred / np.linalg.norm(centred, axis=(1, 2), keepdims=True)
        return float(((align_similarity(np.broadcast_to(constant, unit.shape), unit) - unit) ** 2).sum())

    assert misfit(mean) < min(misfit(other) for other in others)
    assert np.linalg.norm(mean - mean.mean(0)) == pytest.approx(
        np.linalg.norm(hands.vertices - hands.vertices.mean(1, keepdims=True), axis=(1, 2)).mean()
    )


def test_mean_of_left_and_right_hands(hands):
    """Mirroring half of the hands leaves their mean as good as it was."""
    mixed = hands.vertices.copy()
    mixed[::2] = mirror_points(mixed[::2])
    assert pa_mpjpe(mean_of_hands(mixed), mixed) == pytest.approx(pa_mpjpe(mean_of_hands(hands.vertices), hands.vertices), rel=1e-6)


def test_placed_hand(hands):
    """It has the constant's size, the true wrist, and the aligned error of the constant; left hands are met by left ones."""
    for truth in (hands.vertices, mirror_points(hands.vertices)):
        keypoints, vertices = place_constant(mean_hand(HAND), truth, HAND)
        np.testing.assert_allclose(keypoints, keypoint_regressor(HAND) @ vertices, atol=1e-12)
        np.testing.assert_allclose(keypoints[:, 0], (keypoint_regressor(HAND) @ truth)[:, 0], atol=1e-12)
        for placed in vertices[:3]:
            assert pa_mpjpe(mean_hand(HAND), placed[None]) < 1e-4
            assert np.linalg.norm(placed[0] - placed[-1]) == pytest.approx(np.linalg.norm(mean_hand(HAND)[0] - mean_hand(HAND)[-1]))
        assert mean_error_mm(align_similarity(vertices, truth), truth) == pytest.approx(pa_mpjpe(mean_hand(HAND), truth), rel=1e-5)
        assert mean_error_mm(vertices, truth) < 60


# Groups


@pytest.mark.parametrize("left", [False, True])
def test_view_angle(left):
    """Turned about the line of its fingers from palm to camera, a flat hand is seen under the angle that it was turned by."""
    flat = pose_hand(HAND, np.zeros((16, 3)), np.zeros(10)).keypoints
    flat -= flat[[0, 5, 17]].mean(0)
    angles = np.arange(0, 181, 15)
    to_camera = rotvec_to_rotmat(np.array([np.pi / 2, 0, 0]))  # the palm, towards -y, turns to -z: into the camera
    seen = []
    for angle in np.deg2rad(angles):
        R = rotvec_to_rotmat(np.array([angle, 0, 0])) @ to_camera
        points = flat @ R.T + [0, 0, 0.6]
        seen.append(mirror_points(points) if left else points)
    found = view_angles_deg(np.array(seen), np.full(len(seen), left))
    tilt = view_angles_deg(np.array(seen[:1]), np.array([left]))[0]  # of the toy's palm, whose knuckles lie a little lower
    assert tilt < 10
    np.testing.assert_allclose(found, angles, atol=tilt + 1e-6)


def test_view_angle_is_the_hands_own():
    """Turning camera or hand about the line of sight, and moving along it, changes nothing; neither does bending fingers."""
    rng = np.random.default_rng(2)
    theta = np.zeros((6, 16, 3))
    theta[:, 0], theta[:, 1:] = rng.normal(size=3), toy_poses()
    keypoints = pose_hand(HAND, theta, np.zeros(10), np.array([0.05, 0.02, 0.5])).keypoints
    angles = view_angles_deg(keypoints, np.zeros(6, bool))
    assert np.ptp(angles) < 8  # the pose moves the knuckles' regressed points a little
    turned = keypoints @ rotvec_to_rotmat(np.array([0, 0, 1.0])).T
    np.testing.assert_allclose(view_angles_deg(turned, np.zeros(6, bool)), angles)
    np.testing.assert_allclose(view_angles_deg(mirror_points(keypoints), np.ones(6, bool)), angles)


def test_flexion():
    """A flat hand is extended, a fist bent, and bending every joint of four fingers by 0.3 rad is seen as about that."""
    theta = np.pad(toy_poses(), ((0, 0), (1, 0), (0, 0)))
    flat, relaxed, _, _, _, fist = flexion_deg(pose_hand(HAND, theta, np.zeros(10)).keypoints)
    assert bins(np.array([flat, fist]), FLEXION_EDGES_DEG).tolist() == [0, 2]
    assert relaxed - flat == pytest.approx(np.rad2deg(0.3), abs=6)
    assert fist == pytest.approx(np.rad2deg(1.3), abs=12)


def test_bins():
    assert bins(np.array([0, 29.99, 30, 179, 180]), (0, 30, 60, 180)).tolist() == [0, 0, 1, 2, 2]


def test_groups_divide_the_hands():
    """Within a kind every hand is in one group; empty groups are not listed; fully visible hands are a group."""
    rng = np.random.default_rng(0)
    visible = rng.integers(0, 22, 50) / 21
    visible[0] = 1
    groups = make_groups(np.arange(50) % 2, ["a", "b"], rng.uniform(0, 89, 50), rng.uniform(0, 90, 50), visible)
    for kind in ("all", "dataset", "view", "pose", "visible"):
        assert (sum(g.members.astype(int) for g in groups if g.kind == kind) == 1).all()
    assert [g.name for g in groups if g.kind == "view"] == ["palm 0-30 deg", "30-60 deg", "60-90 deg"]
    (whole,) = (g for g in groups if g.kind == "visible" and g.name == "all")
    np.testing.assert_array_equal(whole.members, visible == 1)
    assert not any(g.kind == "dataset" for g in make_groups(np.zeros(3, int), ["a"], *np.ones((3, 3))))


# Scores


def test_group_scores_are_those_of_its_hands(hands):
    """Means of single hands' scores equal `evaluate_hands` on those hands, for every metric."""
    rng = np.random.default_rng(3)
    vertices = hands.vertices + rng.normal(0, 0.01, (30, 1, 1)) * rng.normal(size=hands.vertices.shape)
    keypoints = keypoint_regressor(HAND) @ vertices
    found = evaluate_points(keypoints, vertices, hands.keypoints, hands.vertices)
    for members in (np.ones(30, bool), np.arange(30) % 3 == 0):
        whole = evaluate_hands(*(a[members] for a in (keypoints, vertices, hands.keypoints, hands.vertices)))
        assert mean_scores(found.scores, members) == pytest.approx(whole, rel=1e-9)


def test_curve_has_the_area_that_is_reported():
    """The curve drawn, integrated, is the metric's area: all points have as many hands."""
    errors = np.random.default_rng(0).uniform(0, 70, (40, 21))
    thresholds = np.linspace(0, AUC_LIMIT_MM, 100)
    area = np.trapezoid(correct_share(errors, thresholds), thresholds) / AUC_LIMIT_MM
    assert area == pytest.approx(auc(errors))


def test_constants_are_evaluated_beside_the_net(hands):
    """A perfect net scores 0 where constants do not, which score what `evaluate_hands` gives them."""
    evaluated = evaluate_all({"net": (hands.keypoints, hands.vertices)}, hands.keypoints, hands.vertices, HAND)
    assert evaluated["net"].scores["pa_mpvpe_mm"].max() < 1e-3
    placed = place_constant(mean_hand(HAND), hands.vertices, HAND)
    expected = evaluate_hands(*placed, hands.keypoints, hands.vertices)
    assert mean_scores(evaluated["mean_hand"].scores, np.ones(30, bool)) == pytest.approx(expected, rel=1e-9)
    assert 1 < evaluated["mean_of_hands"].scores["pa_mpvpe_mm"].mean() != expected["pa_mpvpe_mm"]


# A dataset, and the command


def exact_prediction(data: ShardDataset, shift_m) -> Predicted:
    """The truth of every sample, moved by (N, 3)."""

    def squares(ratio: list[float], points: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.square(ratio), points.shape)

    records = [data.read(k) for k in range(len(data))]
    vertices = np.stack([r.vertices for r in records])
    true_keypoints = np.stack([r.keypoints for r in records])
    return Predicted(
        keypoints=true_keypoints + shift_m[:, None],
        vertices=vertices + shift_m[:, None],
        true_keypoints=true_keypoints,
        true_vertices=vertices,
        squares_over_variance=(squares([1, 2, 3], true_keypoints), squares([4, 5, 6], vertices)),
        dataset=np.zeros(len(data), int),
        sample=data.indices(),
        losses={},
    )


def test_known_errors_pass_through(hand_shards):
    """Hands moved by k mm have an MPJPE of k mm in errors.csv's columns and the groups' means, and none once aligned."""
    data = ShardDataset(hand_shards, HAND)
    shift = np.zeros((12, 3))
    shift[:, 1] = np.arange(12) / 1000
    found = evaluate_predicted(exact_prediction(data, shift), [data], HAND)
    np.testing.assert_allclose(found.per_hand["mpjpe_mm"], np.arange(12), atol=1e-9)
    assert found.per_hand["index"] == list(range(12))
    assert max(found.per_hand["pa_mpjpe_mm"]) < 1e-3
    labels = [data.labels(k) for k in range(12)]
    assert found.per_hand["visible_share"] == pytest.approx([np.mean(one["keypoints_visible"]) for one in labels])
    for row in found.summary["groups"]:
        assert 0 < row["hands"] <= 12
    assert found.summary["groups"][0]["mpjpe_mm"] == pytest.approx(5.5)
    assert found.summary["error_over_std"] == {"keypoints": [1, 2, 3], "vertices": [4, 5, 6]}
    views = [row for row in found.summary["groups"] if row["kind"] == "view"]
    assert sum(row["hands"] * row["mpjpe_mm"] for row in views) == pytest.approx(66)
    angles = np.array(found.per_hand["view_angle_deg"])
    inside = (angles >= 60) & (angles < 90)
    (row,) = (row for row in views if row["name"] == "60-90 deg")
    assert row["mpjpe_mm"] == pytest.approx(np.arange(12)[inside].mean())


def test_stand_ins_count_once(hand_shards):
    """A sample that stands in for a damaged one is evaluated once, and the lost one is counted."""
    data = ShardDataset(hand_shards, HAND)
    whole = exact_prediction(data, np.zeros((12, 3)))
    order = np.array([0, 1, 3, 3, *range(4, 12)])
    arrays = {name: value[order] for name, value in vars(whole).items() if isinstance(value, np.ndarray)}
    squares = tuple(part[order] for part in whole.squares_over_variance)
    found = evaluate_predicted(Predicted(**arrays, squares_over_variance=squares, losses={}), [data], HAND)
    assert found.per_hand["index"] == [0, 1, 3, *range(4, 12)]
    assert (found.summary["left_out"], found.summary["groups"][0]["hands"]) == (1, 11)


def test_fitted_hands_are_evaluated_beside_the_net(hand_shards):
    """Meshes with noise at every vertex: the hands of their angles, left ones too, are nearer to the truth than the meshes."""
    data = ShardDataset(hand_shards, HAND)
    exact = exact_prediction(data, np.zeros((12, 3)))
    noise = 0.02 * np.random.default_rng(0).normal(size=exact.vertices.shape)
    vertices = exact.vertices + noise
    noisy = dataclasses.replace(exact, vertices=vertices, keypoints=keypoint_regressor(HAND) @ vertices)
    found = evaluate_predicted(noisy, [data], HAND, AngleSolver(HAND))
    assert {data.labels(k)["side"] for k in range(12)} == {"left", "right"}
    for metric in ("mpvpe_mm", "pa_mpvpe_mm"):
        assert (found.evaluated["fitted"].scores[metric] < 0.5 * found.evaluated["net"].scores[metric]).all()
    overall = found.summary["groups"][0]
    assert overall["fitted_pa_mpvpe_mm"] == pytest.approx(found.evaluated["fitted"].scores["pa_mpvpe_mm"].mean())
    assert found.summary["kinematics"]["hand"]["name"] == "toy"
    assert "net, then angles" in metrics_table(found.summary["groups"])
    assert "net, then angles" not in metrics_table(evaluate_predicted(noisy, [data], HAND).summary["groups"])


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """An untrained net of the toy hand, as a run."""
    return write_untrained(tmp_path_factory.mktemp("run") / "run", HAND)


def handmesh(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "handmesh", *map(str, arguments)], capture_output=True, text=True)


def test_command(run_folder, hand_shards, tmp_path):
    """`handmesh evaluate` prints JSON, and leaves tables and images that say the same."""
    options = ("--out", tmp_path / "out", "--json", "--device", "cpu", "--kinematics")
    done = handmesh("evaluate", run_folder, "--data", hand_shards, *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["net"] == "lite-fast"
    assert found["datasets"][0] | {"folder": ""} == {
        "folder": "", "name": "tiny", "identity": ShardDataset(hand_shards).identity, "hands": 12,
    }  # fmt: skip
    names = {path.name for path in (tmp_path / "out").iterdir()}
    images = {"pck.png", "error_by_view.png", "error_by_pose.png", "error_by_visibility.png"}
    assert names == {"metrics.json", "metrics.csv", "errors.csv", *images}
    with open(tmp_path / "out" / "errors.csv") as file:
        errors = list(csv.DictReader(file))
    with open(tmp_path / "out" / "metrics.csv") as file:
        groups = list(csv.DictReader(file))
    overall = found["groups"][0]
    assert len(errors) == 12
    assert np.mean([float(row["pa_mpjpe_mm"]) for row in errors]) == pytest.approx(overall["pa_mpjpe_mm"], rel=1e-4)
    assert [row["name"] for row in groups] == [row["name"] for row in found["groups"]]
    assert float(groups[0]["mean_hand_pa_mpjpe_mm"]) == pytest.approx(found["groups"][0]["mean_hand_pa_mpjpe_mm"], rel=1e-4)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["groups"] == found["groups"]
    assert found["kinematics"]["start"] == "nearest pose of each part"
    assert 0 < float(groups[0]["fitted_pa_mpjpe_mm"]) == pytest.approx(overall["fitted_pa_mpjpe_mm"], rel=1e-4)


def test_calibrate_keeps_the_factors_in_the_run(run_folder, hand_shards, tmp_path, capsys):
    """Evaluated again, errors are as large as the standard deviations at every point; no other number of the run has moved."""
    run = shutil.copytree(run_folder, tmp_path / "run")
    options = {"out": tmp_path / "out", "device": "cpu", "as_json": True}

    def ratios(**more) -> dict[str, list[float]]:
        capsys.readouterr()
        evaluate(run, [str(hand_shards)], **options, **more)
        return json.loads(capsys.readouterr().out)["error_over_std"]

    before = ratios(calibrate=True)
    assert np.abs(np.log(before["vertices"])).max() > 0.2
    for found in ratios().values():
        np.testing.assert_allclose(found, 1, rtol=0.05)  # hands of which few points are seen count like others
    old, new = (read_tensors(folder / WEIGHTS) for folder in (run_folder, run))
    changed = {name for name, value in old[0].items() if not torch.equal(value, new[0][name])}
    assert changed == {"pose_decoder.head.std_scale", "mesh_decoder.head.std_scale"}
    about = json.loads(new[1]["handmesh"])
    assert about["calibrated_on"] == {"datasets": ["tiny"], "hands": 12}
    assert about["net"] == json.loads(old[1]["handmesh"])["net"]
    with pytest.raises(UsageError, match="--calibrate takes --data"):
        evaluate(run, photos=tmp_path / "photos.json", calibrate=True)


def test_hands_out_of_sight_say_nothing_of_deviations():
    """A hand of which the heatmaps can show no point is left out of errors over deviations, rather than counted as perfect."""
    position, std = torch.full((2, 3, 3), 30.0), torch.ones(2, 3, 3)
    prediction, far = Prediction(position, std, position, std), torch.full((1, 3, 3), 99.0)
    true = torch.cat([position[:1] + 2, far])
    for squares in squares_over_variance(prediction, Target(true, true)):
        found = squares.numpy()
        assert np.isnan(found[1]).all()
        for ratios in (axis_ratios, point_ratios):
            np.testing.assert_allclose(ratios(found), 2)
            np.testing.assert_allclose(ratios(found[1:]), 1)


def test_bad_input_gets_a_sentence(run_folder, hand_shards, tmp_path):
    """No run, a dataset of another hand, no dataset: the error names it, and nothing is written."""
    other = shutil.copytree(hand_shards, tmp_path / "other")
    index = json.loads((other / "index.json").read_text())
    (other / "index.json").write_text(json.dumps(index | {"num_vertices": 778}))
    for run, data, error, message in (
        (tmp_path, hand_shards, UsageError, "is no run folder"),
        (run_folder, other, UsageError, "shows a hand of 778 vertices"),
        (run_folder, tmp_path, HandsynthError, "holds no index.json"),
    ):
        with pytest.raises(error, match=message):
            evaluate(run, [data], out=tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_default_folder_stays_in_the_run(hand_shards, tmp_path):
    """A dataset's name comes from a file: whatever it is, the folder lies in the run."""
    data = ShardDataset(hand_shards)
    assert default_folder(tmp_path, [data, data]) == tmp_path / "evaluation-tiny+tiny"
    data.name = "../../x y"
    assert default_folder(tmp_path, [data]) == tmp_path / "evaluation-.._.._x_y"
