"""IK nets: what goes in and comes out, what they are trained on, and that training works and can be repeated."""

import csv
import dataclasses
import shutil

import numpy as np
import pytest
import torch
from hands import EMBEDDED, draw_feasible, hand_of
from killed_training import RUN_FILES, assert_nothing_is_lost, killed_everywhere
from untrained import write_untrained

from handmesh.estimation import first_guess
from handmesh.estimation.backends import NONE, OWN
from handmesh.estimation.first_guess import OnnxGuess, open_guess
from handmesh.keypoints import keypoint_hand
from handmesh.kinematics.dof import DOFS, NUM_DOFS, embed, hand_dof_matrix
from handmesh.kinematics.fit import AngleSolver
from handmesh.kinematics.ik_net import NUM_FEATURES, IKNet, IKPrediction, bone_features, ik_losses, load_ik_run
from handmesh.run_files import WEIGHTS
from handmesh.run_folder import load_run
from handmesh.settings.ik import IK_PRESETS, IKSpec, ik_spec_from_dict, load_ik_preset
from handmesh.settings.mesh import spec_to_dict
from handmesh.shipped import find_run
from handmesh.training import ik_loop
from handmesh.training.ik_hands import HandDraws, fitted_angles, split_poses
from handmesh.training.ik_loop import IKData, train_ik
from handmesh.training.progress import learning_rate
from handsynth.core.conventions import KEYPOINT_PARENTS
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.hand import pose_hand
from handsynth.core.named_hands import open_hand, open_poses
from handsynth.core.poses import PoseBank, load_poses
from handsynth.core.toy import toy_hand

CPU = torch.device("cpu")
SPEC = IKSpec(widths=(64, 64, 32), batch=32, epochs=2, epoch_hands=960, lr=3e-3, milestones=(2,))


def keypoints_of(name: str, count: int) -> torch.Tensor:
    return torch.tensor(draw_feasible(hand_of(name), count).posed.keypoints, dtype=torch.float32)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("dofs", [23, 45])
def test_shapes(dofs, known):
    """80 numbers in, 23 or 45 and 10 out; theta of a 23-angle net is alpha Z; a known shape comes back as it was given."""
    hand = hand_of("toy")
    net = IKNet(hand, dofs, known, (16, 16, 8)).eval()
    keypoints, beta = keypoints_of("toy", 5), torch.randn(5, 10)
    assert NUM_FEATURES == 80
    assert bone_features(keypoints).shape == (5, 80)
    found = net(keypoints, beta if known else None)
    assert found.pose.shape == (5, dofs)
    assert found.beta.shape == (5, 10)
    theta = net.theta(found.pose)
    assert theta.shape == (5, 16, 3)
    assert not theta[:, 0].any()
    pose = found.pose.detach().double().numpy()
    expected = embed(pose, hand_dof_matrix(hand)) if dofs == 23 else pose.reshape(5, 15, 3)
    np.testing.assert_allclose(theta[:, 1:].detach(), expected, atol=1e-6)
    if known:
        assert found.beta is beta
        assert (net(keypoints, beta + 1).pose != found.pose).any()
    with pytest.raises(UsageError, match="give it beta" if known else "finds beta itself"):
        net(keypoints, None if known else beta)


def test_only_23_or_45():
    with pytest.raises(UsageError, match="23 or 45 degrees of freedom, not 30"):
        IKNet(hand_of("toy"), 30)


def test_features_are_directions_and_lengths():
    """Against a loop over the bones."""
    keypoints = keypoints_of("embedded", 3)
    features = bone_features(keypoints).numpy()
    for n in range(3):
        bones = [keypoints[n, k] - keypoints[n, parent] for k, parent in enumerate(KEYPOINT_PARENTS) if parent >= 0]
        for b, bone in enumerate(bones):
            np.testing.assert_allclose(features[n, 3 * b : 3 * b + 3], bone / bone.norm(), atol=1e-5)
            assert features[n, 60 + b] == pytest.approx(10 * bone.norm().item(), abs=1e-5)


@pytest.mark.parametrize("name", ["toy", "embedded"])
def test_turned_and_moved_hands_are_the_same(name):
    """The angles do not depend on where the hand is and how it is turned."""
    net = IKNet(hand_of(name), widths=(32, 32, 16)).eval()
    keypoints = keypoints_of(name, 20)
    turn = torch.linalg.qr(torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(0)))[0]
    turn = turn * torch.linalg.det(turn)[:, None, None]
    moved = keypoints @ turn.mT + torch.randn(20, 1, 3)
    for here, there in zip(net(keypoints), net(moved), strict=True):
        torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)
    mirrored = net(keypoints * torch.tensor([-1.0, 1, 1]))
    assert (mirrored.pose - net(keypoints).pose).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["toy", "embedded"])
def test_hand_of_keypoints_has_the_same(name):
    """Left with the vertices that keypoints need, a hand poses the same keypoints."""
    hand = hand_of(name)
    small, drawn = keypoint_hand(hand), draw_feasible(hand, 4)
    assert small.num_vertices < hand.num_vertices / 2
    theta = np.concatenate([drawn.root[:, None], embed(drawn.angles, hand_dof_matrix(hand))], 1)
    np.testing.assert_allclose(pose_hand(small, theta, drawn.beta, drawn.trans).keypoints, drawn.posed.keypoints, atol=1e-12)


def test_losses_by_hand():
    """Equations 6 to 8 on numbers that can be checked; joints do not mind a rigid motion; a known shape costs nothing."""
    hands = keypoints_of("toy", 2)
    pose, beta = torch.zeros(2, 23), torch.zeros(2, 10)
    turned = hands.flip(-1) * torch.tensor([1.0, 1.0, -1.0])  # a rotation by 90 degrees about y
    terms = ik_losses(IKPrediction(pose + 0.1, beta - 0.5), turned + 1, pose, beta, hands, 0.01)
    assert terms["angles"] == pytest.approx(0.1)
    assert terms["shape"] == pytest.approx(0.5)
    assert terms["joints"] < 1e-4
    stretched = hands.mean(1, keepdim=True) + 1.1 * (hands - hands.mean(1, keepdim=True))
    expected = 0.1 * (hands - hands.mean(1, keepdim=True)).abs().mean() / 0.01
    found = ik_losses(IKPrediction(pose, beta), stretched, pose, beta, hands, 0.01)
    assert found["joints"] == pytest.approx(expected.item(), rel=1e-3)
    assert found["shape"] == 0


def draws(spec: IKSpec, purpose: str = "training") -> HandDraws:
    hand, poses = open_hand("toy"), open_poses("toy")
    return HandDraws(hand, poses.theta, fitted_angles(hand, poses.theta), spec, purpose)


def test_fingers_are_swapped_whole():
    """Every finger's angles, true and fitted, are those of one pose of the bank; the toy bank is feasible, so both agree."""
    spec = dataclasses.replace(SPEC, swap_probability=1.0)
    source = draws(spec)
    batch = source.batch(3, 50)
    np.testing.assert_allclose(embed(batch.pose.numpy(), source.matrix), batch.theta[:, 1:], atol=0.02)
    mixed = 0
    for angles in batch.pose.numpy():
        rows = []
        for finger in ("thumb", "index", "middle", "ring", "pinky"):
            own = [k for k, dof in enumerate(DOFS) if dof.finger == finger]
            match = np.flatnonzero((np.abs(source.angles[:, own] - angles[own]) < 1e-6).all(1))
            assert len(match)
            rows.append(match[0])
        mixed += len(set(rows)) > 1
    assert mixed > 40
    whole = draws(dataclasses.replace(SPEC, swap_probability=0.0)).batch(3, 50).pose.numpy()
    assert (np.abs(whole[:, None] - source.angles).max(-1).min(1) < 1e-6).all()


def test_draws_depend_on_seed_and_number_alone():
    """Drawn in any order; noise is within what is requested; jitter moves truth and hand alike and keeps to the limits."""
    source = draws(dataclasses.replace(SPEC, jitter_deg=10.0))
    later, first = source.batch(7, 20), source.batch(2, 20)
    again = draws(dataclasses.replace(SPEC, jitter_deg=10.0)).batch(7, 20)
    assert all(torch.equal(a, b) for a, b in zip(later, again, strict=True))
    assert not torch.equal(later.pose, first.pose)
    np.testing.assert_allclose(embed(later.pose.numpy(), source.matrix), later.theta[:, 1:], atol=0.02)
    least = np.minimum(source.limits[:, 0], source.angles.min(0))
    assert (later.pose.numpy() > least - 1e-5).all()
    noise = (later.keypoints - later.true_keypoints).flatten(1).std(1)
    assert 0 < noise.min() < noise.max() < 0.0065
    clean = draws(dataclasses.replace(SPEC, noise_mm=0.0)).batch(0, 8)
    assert torch.equal(clean.keypoints, clean.true_keypoints)


def test_banks_are_split_by_gesture():
    """Variants of a gesture stay together; names that only count are split one by one; a single pose is refused."""

    def bank(names: list[str]) -> PoseBank:
        return PoseBank(np.zeros((len(names), 15, 3)), tuple(names))

    train, held = split_poses(bank([f"g{g} {v}" for g in range(30) for v in range(3)]))
    assert len(held.names) == 9
    assert not {name.split()[0] for name in train.names} & {name.split()[0] for name in held.names}
    train, held = split_poses(bank([f"mano_{k:04d}" for k in range(50)]))
    assert (len(train.names), len(held.names)) == (45, 5)
    train, held = split_poses(load_poses(EMBEDDED / "poses.npz"))
    assert 60 < len(held.names) < 120
    with pytest.raises(AssetError, match="holds one pose"):
        split_poses(bank(["flat"]))


def test_bad_banks_are_named(tmp_path):
    with pytest.raises(AssetError, match="does not exist"):
        load_poses(tmp_path / "none.npz")
    for theta, message in ((np.zeros((3, 16, 3)), r"shape \(3, 16, 3\)"), (np.full((3, 15, 3), 90.0), "degrees")):
        np.savez(tmp_path / "bad.npz", theta=theta, names=np.array(["a", "b", "c"]))
        with pytest.raises(AssetError, match=message):
            load_poses(tmp_path / "bad.npz")
    with pytest.raises(AssetError, match="no hand is called 'mono'"):
        open_hand("mono")


def data_of(name: str) -> IKData:
    """60 feasible poses."""
    hand = hand_of(name)
    theta = embed(draw_feasible(hand, 60, seed=9).angles, hand_dof_matrix(hand))
    bank = PoseBank(theta, tuple(f"drawn {k}" for k in range(60)))
    return IKData(hand, *split_poses(bank), bank)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of two epochs on the toy hand."""
    out = tmp_path_factory.mktemp("ik") / "whole"
    return out, train_ik(SPEC, data_of("toy"), out, CPU)


def test_training_learns(whole):
    """The loss falls, angles and meshes get nearer, and the record says so."""
    out, history = whole
    assert history[1]["train_loss"] < 0.9 * history[0]["train_loss"]
    assert history[1]["val_loss"] < history[0]["val_loss"]
    assert [row["lr"] for row in history] == pytest.approx([3e-3, 3e-4])
    with open(out / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["steps"]) for row in rows] == [30, 60]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    assert (out / "curves.png").read_bytes()[1:4] == b"PNG"


def test_training_on_smplx_is_the_same_up_to_rounding(whole, tmp_path):
    """The layer decides no figure: those of two epochs differ by less than 0.1 %; an unknown layer is named."""
    pytest.importorskip("smplx")
    history = train_ik(SPEC, data_of("toy"), tmp_path / "smplx", CPU, layer=ik_loop.layer_named("smplx"))
    for ours, theirs in zip(whole[1], history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    with pytest.raises(UsageError, match="no hand layer 'mano': use own or smplx"):
        ik_loop.layer_named("mano")


def test_runs_are_read_back_and_told_apart(whole, tmp_path):
    """An IK run gives its net; where a mesh run is needed it is refused by name, and the other way round."""
    run = load_ik_run(whole[0])
    assert run.spec == SPEC
    assert run.hand.digest == hand_of("toy").digest
    assert not run.net.training
    with pytest.raises(UsageError, match="whole is a run of handmesh train ik, where one of handmesh train mesh is needed"):
        load_run(whole[0], CPU)
    mesh = write_untrained(tmp_path / "mesh", hand_of("toy"))
    with pytest.raises(UsageError, match="mesh is a run of handmesh train mesh, where one of handmesh train ik is needed"):
        load_ik_run(mesh)
    with pytest.raises(UsageError, match=r"is no run folder: it has no config.yaml: handmesh train ik makes one"):
        load_ik_run(tmp_path)


def test_stopped_and_resumed(whole, tmp_path, monkeypatch):
    """Stopped in the second epoch and resumed: the same weights, bit for bit; with other settings it is refused."""
    step = ik_loop.IKTraining._step

    def stops(self, steps):
        if self.progress.steps_done == 40:
            raise KeyboardInterrupt
        return step(self, steps)

    out = tmp_path / "stopped"
    monkeypatch.setattr(ik_loop.IKTraining, "_step", stops)
    with pytest.raises(KeyboardInterrupt):
        train_ik(SPEC, data_of("toy"), out, CPU)
    monkeypatch.setattr(ik_loop.IKTraining, "_step", step)
    with pytest.raises(UsageError, match="already holds a run"):
        train_ik(SPEC, data_of("toy"), out, CPU)
    with pytest.raises(UsageError, match=r"started with noise_mm 5.0, this command has 2.0"):
        train_ik(dataclasses.replace(SPEC, noise_mm=2.0), data_of("toy"), out, CPU, resume=True)
    train_ik(SPEC, data_of("toy"), out, CPU, resume=True)
    assert (out / WEIGHTS).read_bytes() == (whole[0] / WEIGHTS).read_bytes()
    assert (out / "metrics.csv").read_text() == (whole[0] / "metrics.csv").read_text()


@pytest.mark.slow
def test_killed_anywhere(tmp_path):
    """SIGKILL at every file that an IK training writes, the end of an epoch and its own included: nothing is lost."""
    assert_nothing_is_lost(killed_everywhere("ik", tmp_path), RUN_FILES)


@pytest.mark.parametrize("dofs", [23, 45])
def test_known_shape_is_trained(dofs, tmp_path):
    spec = dataclasses.replace(SPEC, dofs=dofs, known_shape=True, epoch_hands=320)
    history = train_ik(spec, data_of("toy"), tmp_path / "run", CPU)
    assert history[1]["val_loss"] < history[0]["val_loss"]
    assert history[1]["val_shape"] == 0
    run = load_ik_run(tmp_path / "run")
    assert run.net.known_shape
    with pytest.raises(UsageError, match="give the hand's with --shape"):
        AngleSolver(run.hand, run.net)


@pytest.mark.parametrize("name", ["toy", "embedded"])
def test_mesh_to_angles_to_mesh(name, whole, tmp_path):
    """Random feasible hands through a net that has hardly learned and 20 iterations: 0.1 mm, and a degree at the median."""
    out = whole[0]
    if name == "embedded":
        out = tmp_path / "run"
        train_ik(dataclasses.replace(SPEC, epoch_hands=640), data_of("embedded"), out, CPU)
    run, drawn = load_ik_run(out), draw_feasible(hand_of(name), 60, seed=4)
    raw = AngleSolver(run.hand, run.net, iterations=0)(drawn.posed.vertices, predicted=False)
    fit = AngleSolver(run.hand, run.net)(drawn.posed.vertices, predicted=False)
    errors = 1000 * fit.vertex_errors_m.mean(1)
    assert np.quantile(errors, 0.99) < 0.1
    assert np.median(np.rad2deg(np.abs(fit.angles - drawn.angles))) < 1
    assert 1000 * raw.vertex_errors_m.mean() > errors.mean()


def test_paper_recipe():
    """40 epochs of batches of 32, a tenth from the 30th and again from the 35th; the defaults are the preset's."""
    paper = load_ik_preset("ik-paper")
    assert paper == IKSpec()
    assert (paper.epochs, paper.batch, paper.dofs) == (40, 32, NUM_DOFS)
    rates = [learning_rate(paper, epoch * 100, 100) for epoch in range(40)]
    np.testing.assert_allclose(rates, [1e-3] * 29 + [1e-4] * 5 + [1e-5] * 6)


@pytest.mark.parametrize("name", IK_PRESETS)
def test_presets(name):
    spec = load_ik_preset(name)
    assert ik_spec_from_dict(spec_to_dict(spec), name) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dofs: 22", "dofs is 22, expected 23 or 45"),
        ("width: [3]", "unknown key 'width'.*did you mean widths"),
        ("widths: []", "expected numbers of neurons"),
        ("noise_mm: -1", "noise_mm is -1"),
        ("schedule: constant", "expected step, cosine or linear"),
        ("epoch_hands: 8", "less than a batch"),
        ("[", "is not YAML"),
    ],
)
def test_bad_preset(text, message, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_ik_preset(str(tmp_path / "mine.yaml"))


def test_unknown_preset():
    with pytest.raises(UsageError, match=r"no preset is called 'ik-cup'.*did you mean 'ik-cpu'"):
        load_ik_preset("ik-cup")


def test_runtimes_of_the_shipped_net_agree():
    """Its graph finds what torch finds, of hands that are turned and far away; one whose weights were changed is refused."""
    hand = open_hand("embedded")
    graph = open_guess(OWN, hand)
    assert isinstance(graph, OnnxGuess)
    net = load_ik_run(find_run(None, "ik")).net
    assert (graph.dofs, graph.known_shape) == (net.dofs, net.known_shape)
    keypoints = draw_feasible(hand, 40).posed.keypoints + np.array([0.1, -0.2, 0.8])
    for ours, whole in zip(graph.guess(keypoints, None), net.guess(keypoints, None), strict=True):
        assert len(ours) == 40
        np.testing.assert_allclose(ours, whole, atol=1e-3)


def test_a_start_is_of_the_hand_that_is_fitted(tmp_path):
    """The package's net is for its own hand: others have none, and a run of another hand is refused."""
    embedded, toy = open_hand("embedded"), toy_hand()
    assert open_guess(OWN, toy) is None
    assert open_guess(NONE, embedded) is open_guess(None, embedded) is None
    with pytest.raises(UsageError, match="was trained on hand model 'embedded', the meshes are of another, 'toy'"):
        open_guess("ik-23", toy)
    with pytest.raises(UsageError, match="neither a folder nor the name"):
        open_guess("nothing", embedded)
    damaged = shutil.copytree(find_run(None, "ik"), tmp_path / "ik")
    (damaged / WEIGHTS).write_bytes((damaged / WEIGHTS).read_bytes()[:-4] + b"1234")
    with pytest.raises(HandsynthError, match="is damaged"):
        open_guess(damaged, embedded)


def test_a_graph_that_finds_other_arrays_is_damaged(monkeypatch):
    """A file whose outputs are those of another hand is said to be damaged, before a fit meets them."""
    hand = open_hand("embedded")
    graph = open_guess(OWN, hand)
    monkeypatch.setattr(first_guess, "run_graph", lambda *_: [np.zeros((1, 14, 3)), np.zeros((1, 10))])
    with pytest.raises(HandsynthError, match=r"finds arrays of shape \(1, 14, 3\), not \(1, 15, 3\)"):
        graph.guess(np.zeros((1, 21, 3)), None)


def test_fits_that_start_from_the_net_find_better_angles():
    """Of meshes with errors of 8 mm that go together, part by part, in poses that the net has not seen."""
    hand = open_hand("embedded")
    _, unseen = split_poses(open_poses("embedded"))
    theta = np.concatenate([np.zeros((len(unseen.theta), 1, 3)), unseen.theta], 1)
    true = pose_hand(hand, theta, np.zeros(hand.num_shapes)).vertices
    angles = AngleSolver(hand)(true, predicted=False).angles
    share = hand.weights / hand.weights.sum(1, keepdims=True)
    found = true + share @ np.random.default_rng(0).normal(0, 0.008, (len(true), hand.num_joints, 3))
    errors = [np.abs(AngleSolver(hand, open_guess(ik, hand))(found, predicted=True).angles - angles).mean() for ik in (NONE, OWN)]
    assert errors[1] < 0.85 * errors[0]


def test_a_fit_goes_on_from_the_net_s_angles_and_the_last_frame_s_shape():
    """In a video the net says the angles of each frame, and the shape is kept."""
    hand = open_hand("embedded")
    solver, drawn = AngleSolver(hand, open_guess(OWN, hand), iterations=0), draw_feasible(hand, 3).posed
    first = solver(drawn.vertices, predicted=True)
    later = solver(drawn.vertices, predicted=True, start=dataclasses.replace(first, beta=first.beta + 1, angles=0 * first.angles))
    np.testing.assert_array_equal(later.angles, first.angles)
    np.testing.assert_allclose(later.beta, first.beta + 1)
