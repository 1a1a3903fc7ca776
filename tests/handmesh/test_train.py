"""Training: stopped anywhere and resumed it ends with the same bytes; ranks agree; faults stop it and lose nothing."""

import csv
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from killed_training import RUN_FILES, assert_nothing_is_lost, killed_everywhere
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.data import default_collate

from handmesh.data.augment import AugmentSpec
from handmesh.data.crop import lixels_to_camera
from handmesh.data.dataset import Batch, HandDataset
from handmesh.data.sampler import Draw
from handmesh.data.shards import ShardDataset
from handmesh.keypoints import keypoint_regressor
from handmesh.metrics import mean_error_mm
from handmesh.nets.registry import create_net
from handmesh.run_files import CHECKPOINT, CONFIG, WEIGHTS
from handmesh.run_folder import load_run, read_tensors
from handmesh.settings.mesh import (
    PRESETS,
    TrainSpec,
    load_preset,
    parse_spec,
    spec_from_dict,
    spec_to_dict,
    with_flags,
)
from handmesh.training import loop
from handmesh.training import profile as profile_module
from handmesh.training import step as step_module
from handmesh.training.loop import HowRun, Part, Training, parse_part
from handmesh.training.profile import WAITING, Profile
from handmesh.training.progress import learning_rate
from handmesh.training.ranks import Ranks
from handmesh.training.step import joint_errors_mm, make_optimizer
from handmesh.training.weights import RunningMean
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.toy import toy_hand

CPU = torch.device("cpu")
REGRESSOR = keypoint_regressor(toy_hand())
ALONE = Ranks(0, 1, CPU)
SPEC = TrainSpec(net="lite-fast", side=32, batch=4, epochs=2, lr=1e-3, pretrained=False)
"""Three steps an epoch on the twelve samples of `hand_shards`."""
EVERYTHING = dataclasses.replace(
    SPEC, side=64, bin_centres=True, decay_norms=False, weight_decay=0.01, ema=0.9, auxiliary=5.0,
    augment=AugmentSpec(box=0.05, grey=0.2, saturation=0.5, contrast=0.5, sharpness=1.0, amplitude=0.5, erasing=0.5),
)  # fmt: skip
"""All that is off by default."""


def train(
    shards: Path, out: Path, spec: TrainSpec = SPEC, ranks: Ranks = ALONE, start: Path | None = None, **how
) -> list[dict[str, float]]:
    data = ShardDataset(shards)
    return Training(spec, [Part(data, 1.0)], [data], toy_hand(), out, ranks, HowRun(**{"workers": 0, **how}), start).run()


def command(shards: Path, out: Path, *more: object) -> list[str]:
    spec = out.parent / "spec.yaml"
    spec.write_text(json.dumps(spec_to_dict(SPEC)))
    fixed = ["train", "mesh", spec, "--data", shards, "--val", shards, "--out", out, "--workers", 0, "--device", "cpu"]
    return [sys.executable, "-m", "handmesh", *map(str, [*fixed, *more])]


@pytest.fixture(scope="module")
def whole(hand_shards, tmp_path_factory) -> Path:
    """A run that was never stopped."""
    out = tmp_path_factory.mktemp("train") / "whole"
    history = train(hand_shards, out)
    assert [row["epoch"] for row in history] == [1, 2]
    return out


def test_run_folder(whole, hand_shards):
    """A finished run can be used, and says how it was trained, on which data and with what result."""
    run = load_run(whole, CPU)
    assert run.spec == SPEC
    assert run.hand.digest == toy_hand().digest
    assert run.config["datasets"][0]["identity"] == ShardDataset(hand_shards).identity
    with open(whole / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["steps"]) for row in rows] == [3, 6]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    for name in ("curves.png", "validation.png"):
        assert (whole / name).read_bytes()[1:4] == b"PNG"
    assert any((whole / "tensorboard").iterdir())
    assert not run.net.training


@pytest.mark.slow
def test_killed_anywhere(hand_shards, tmp_path):
    """SIGKILL at every file that a training writes: in mid-epoch, at an epoch's end, at its own, before and after checkpoints."""
    rows = killed_everywhere("mesh", tmp_path, hand_shards)
    assert_nothing_is_lost(rows, {*RUN_FILES, "validation.png"})
    assert [row["checkpoint"] for row in rows if row["file"] == CHECKPOINT] == [0, 0, 0, 1]


@pytest.mark.parametrize("stale", [False, True])
def test_a_checkpoint_of_a_finished_epoch_gives_its_weights_back(stale, hand_shards, whole, tmp_path):
    """Runs of earlier versions wrote the checkpoint first: killed then, weights and figures are made from it when resumed."""
    out = shutil.copytree(whole, tmp_path / "run")
    for name in (WEIGHTS, "metrics.csv", "curves.png"):
        (out / name).unlink()
    if stale:
        (out / WEIGHTS).write_bytes(b"of the epoch before")
    assert len(train(hand_shards, out, resume=True)) == 2
    for name in (WEIGHTS, "metrics.csv"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def with_former_names(path: Path) -> None:
    """A safetensors file as an earlier version wrote it: the factors of the heads' deviations were called spread_scale."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = {name.replace("std_scale", "spread_scale"): value for name, value in read_tensors(path)[0].items()}
    assert sum("spread_scale" in name for name in tensors) == 2
    save_file(tensors, path, metadata)


def test_runs_of_the_previous_version_are_read_and_resumed(hand_shards, whole, tmp_path):
    """Their buffers have former names, their settings two that are gone: the net is the same, and so is its training."""
    out = shutil.copytree(whole, tmp_path / "old")
    config = yaml.safe_load((out / CONFIG).read_text())
    config["training"] |= {"first_side": 256, "first_epochs": 0, "early_side": 0, "last_share": 0.25}
    for key in ("bin_centres", "decay_norms", "ema", "auxiliary"):
        del config["training"][key]
    for key in ("box", "grey", "saturation", "contrast", "sharpness"):
        del config["training"]["augment"][key]
    (out / CONFIG).write_text(yaml.safe_dump(config))
    for name in (WEIGHTS, CHECKPOINT):
        with_former_names(out / name)
    old, new = load_run(out, CPU), load_run(whole, CPU)
    assert old.spec == new.spec
    assert all(torch.equal(a, b) for a, b in zip(old.net.state_dict().values(), new.net.state_dict().values(), strict=True))
    assert (new.net.mesh_decoder.head.std_scale != 1).any(0).all()
    train(hand_shards, out, resume=True)
    assert (out / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    for key in ("first_epochs", "early_side"):
        (out / CONFIG).write_text(yaml.safe_dump(config | {"training": config["training"] | {key: 32}}))
        with pytest.raises(UsageError, match=f"started with {key} 32, this command has 0"):
            train(hand_shards, out, resume=True)


def test_started_from_a_run(hand_shards, whole, tmp_path):
    """The first weights are the run's; what they were is kept, and a resumed run must name the same."""
    at_once = dataclasses.replace(SPEC, lr=1e-8, epochs=1)
    train(hand_shards, tmp_path / "next", at_once, start=whole)
    weights = [dict(load_run(run, CPU).net.named_parameters()) for run in (whole, tmp_path / "next")]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-6)
    with pytest.raises(UsageError, match=r"started with start '[0-9a-f]{20}"):
        train(hand_shards, tmp_path / "next", at_once, resume=True)
    assert train(hand_shards, tmp_path / "next", at_once, start=whole, resume=True)
    with pytest.raises(UsageError, match=f"{WEIGHTS} cannot be read"):
        train(hand_shards, tmp_path / "other", start=tmp_path)
    with pytest.raises(UsageError, match="holds weights of lite-fast, not of lite-dwse"):
        train(hand_shards, tmp_path / "other", dataclasses.replace(SPEC, net="lite-dwse"), start=whole)


@pytest.fixture(scope="module")
def whole_on_device(hand_shards, tmp_path_factory) -> Path:
    """The same from images on the device, of which a pixel may differ by a level."""
    out = tmp_path_factory.mktemp("train") / "whole"
    train(hand_shards, out, cache="device")
    return out


@pytest.fixture(scope="module")
def everything(hand_shards, tmp_path_factory) -> Path:
    """A run of `EVERYTHING` that was never stopped."""
    out = tmp_path_factory.mktemp("train") / "everything"
    train(hand_shards, out, EVERYTHING)
    return out


@pytest.mark.parametrize(
    ("stop", "cache", "then", "spec"),
    [
        (2, "none", "memory", SPEC), (3, "memory", "none", SPEC), (4, "none", "none", SPEC),
        (2, "device", "device", SPEC), (3, "device", "device", SPEC),
        (2, "none", "none", EVERYTHING), (3, "none", "memory", EVERYTHING), (4, "memory", "none", EVERYTHING),
        (5, "none", "none", EVERYTHING),
    ],
)  # fmt: skip
def test_stopped_anywhere(stop, cache, then, spec, hand_shards, whole, whole_on_device, everything, tmp_path, monkeypatch):
    """Stopped in mid-epoch, at its end and in the next, with workers or without, images cached or not: as if never stopped."""
    whole = whole_on_device if cache == "device" else everything if spec is EVERYTHING else whole
    step = loop.Training._step

    def stops(self, raw, count, steps):
        if self.progress.steps_done == stop:
            raise KeyboardInterrupt
        return step(self, raw, count, steps)

    monkeypatch.setattr(loop.Training, "_step", stops)
    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        train(hand_shards, out, spec, checkpoint_every=1, cache=cache)
    monkeypatch.undo()
    train(hand_shards, out, spec, resume=True, workers=1, cache=then)
    assert (out / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert (out / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def test_saved_weights_are_the_running_mean(everything):
    """What is saved, and was validated, is the mean; the checkpoint holds it beside the weights that training goes on with."""
    checkpoint, saved = read_tensors(everything / CHECKPOINT)[0], read_tensors(everything / WEIGHTS)[0]
    for name, value in saved.items():
        assert torch.equal(value, checkpoint[f"ema.{name}"]), name
    moved = [name for name in saved if not torch.equal(saved[name], checkpoint[f"net.{name}"])]
    assert {"pose_decoder.narrow.0.weight", "pose_decoder.narrow.1.running_mean"} <= set(moved)
    assert "keypoint_regressor" not in moved


def test_factors_of_axes_become_those_of_points(whole, tmp_path):
    """Weights of versions that had one factor of the deviations for each axis give the same deviations."""
    tensors, metadata = read_tensors(whole / WEIGHTS)
    factors = torch.tensor([2.0, 3.0, 5.0])
    tensors |= {name: factors.clone() for name in tensors if name.endswith("std_scale")}
    out = shutil.copytree(whole, tmp_path / "old")
    save_file(tensors, out / WEIGHTS, metadata)
    for decoder in (load_run(out, CPU).net.pose_decoder, load_run(out, CPU).net.mesh_decoder):
        assert torch.equal(decoder.head.std_scale, factors.expand_as(decoder.head.std_scale))
        assert len(decoder.head.std_scale) > 3


def test_running_mean_is_a_running_mean():
    """Weights w1, w2, ... and batch norm's statistics are averaged by the recursion, early steps faster; other buffers stay."""
    net = create_net("lite-fast", REGRESSOR, pretrained=False)
    mean, expected = RunningMean(net, 0.5), None
    layer, seen = net.pose_decoder.narrow, mean.net.pose_decoder.narrow
    expected = (layer[0].weight[0, 0].item(), 0.0)
    scale = mean.net.pose_decoder.head.std_scale.fill_(7)
    for step in range(20):
        with torch.no_grad():
            layer[0].weight.fill_(step)
            layer[1].running_mean.fill_(-step)
        mean.update(net, step)
        keep = min(0.5, (step + 1) / (step + 10))
        expected = (keep * expected[0] + (1 - keep) * step, keep * expected[1] - (1 - keep) * step)
        assert seen[0].weight[0, 0].item() == pytest.approx(expected[0], rel=1e-5)
        assert seen[1].running_mean[0].item() == pytest.approx(expected[1], rel=1e-5)
    assert (scale == 7).all()
    assert layer[0].weight[0, 0].item() == 19


def test_the_auxiliary_head_is_training_s_alone(everything, hand_shards):
    """It is trained and reported; weights, and the net that is made of them, know nothing of it."""
    net = create_net("lite-fast", REGRESSOR, pretrained=False)
    assert set(read_tensors(everything / WEIGHTS)[0]) == set(net.state_dict())
    assert any(name.startswith("auxiliary.") for name in read_tensors(everything / CHECKPOINT)[0])
    with open(everything / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert all(float(row[f"train_{name}"]) > 0 for row in rows for name in ("rotations", "beta"))
    terms = ("pose_posenet", "pose_meshnet", "vertex", "edge")
    whole = sum(float(rows[0][f"train_{name}"]) for name in terms) + 0.1 * float(rows[0]["train_normal"])
    whole += EVERYTHING.auxiliary * (float(rows[0]["train_rotations"]) + 0.1 * float(rows[0]["train_beta"]))
    assert float(rows[0]["train_loss"]) == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("decay_norms", [True, False])
def test_what_decays(decay_norms):
    """Without gradients a step shrinks what decays, and nothing else: all parameters, or all but norms and biases."""
    net = create_net("lite-fast", REGRESSOR, pretrained=False)
    spec = dataclasses.replace(SPEC, lr=0.1, weight_decay=0.5, decay_norms=decay_norms)
    optimizer = make_optimizer(spec, net, CPU)
    before = {name: value.clone() for name, value in net.named_parameters()}
    for value in net.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    for name, value in net.named_parameters():
        factor = 0.95 if decay_norms or value.ndim > 1 else 1.0
        torch.testing.assert_close(value.detach(), factor * before[name], msg=name)
    assert any(value.ndim == 1 for value in net.parameters())


def test_frozen_early_features_stay(hand_shards, tmp_path):
    """ImageNet's early weights and statistics are those of the trained net, the rest moves; random ones are never frozen."""

    def trained(pretrained: bool) -> dict[str, torch.Tensor]:
        out = tmp_path / str(pretrained)
        train(hand_shards, out, dataclasses.replace(SPEC, epochs=1, freeze_early=True, pretrained=pretrained))
        return load_run(out, CPU).net.pose_backbone.state_dict()

    before, after = create_net("lite-fast", REGRESSOR).pose_backbone.state_dict(), trained(pretrained=True)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("late.") for name in moved)
    assert trained(pretrained=False)["early.0.2.num_batches_tracked"] > 0


@pytest.mark.slow
def test_two_ranks(hand_shards, tmp_path):
    """Two ranks over gloo: over both, each sample once an epoch; and both end with the same net, which is the one saved."""
    script = Path(__file__).with_name("two_ranks.py")
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*run, str(hand_shards), str(tmp_path / "run")], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"rank{k}.json").read_text()) for k in (0, 1))
    for epoch in (0, 1):
        assert sorted(first["seen"][epoch] + second["seen"][epoch]) == list(range(12))
        assert min(len(first["seen"][epoch]), len(second["seen"][epoch])) == 6
    assert first["weights"] == second["weights"]
    assert first["weights"] == {
        name: tensor.double().sum().item() for name, tensor in read_tensors(tmp_path / "run" / WEIGHTS)[0].items()
    }


@pytest.mark.slow
def test_one_rank_and_two_have_the_same_gradients(hand_shards, tmp_path):
    """Of a batch of five, three samples here and two there: gradients and figures of the whole batch, within rounding."""
    script, environment = Path(__file__).with_name("rank_gradients.py"), os.environ | {"OMP_NUM_THREADS": "1"}
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    found = []
    for more, name in (([], "one"), (together, "two")):
        command = [sys.executable, *more, str(script), str(hand_shards), str(tmp_path / name)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(read_tensors(tmp_path / name)[0])
    one, two = found
    assert one.keys() == two.keys()
    largest = max(value.abs().max() for name, value in one.items() if not name.startswith("figure"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6 * largest.item())
    assert largest > 1e-3


class FakeGraph(step_module._Graph):
    """Records what it is to do, and does it when replayed, as a CUDA graph would."""

    def __init__(self, raw, count, device, stream, compute):
        self.inputs, self.count, self.compute, self.replays = step_module.to_device(raw, device), count, compute, 0

    def replay(self):
        self.replays += 1
        self.compute(self.inputs)


def test_steps_as_a_graph_are_the_steps(hand_shards, whole, tmp_path, monkeypatch):
    """Recorded after three steps and replayed from then on, uneven batches launched by themselves: the same weights, to the bit."""
    monkeypatch.setattr(step_module, "_Graph", FakeGraph)
    data, spec = ShardDataset(hand_shards), dataclasses.replace(SPEC, batch=5, epochs=3)  # of 5, 5 and 2 samples
    ends = []
    for graphs in (False, True):
        training = Training(spec, [Part(data, 1.0)], [data], toy_hand(), tmp_path / str(graphs), ALONE, HowRun(workers=0))
        training.step._graphs = graphs
        training.run()
        ends.append((tmp_path / str(graphs) / WEIGHTS).read_bytes())
    assert ends[0] == ends[1]
    assert training.step._graph.replays == 3


def test_a_step_that_cannot_be_recorded_is_launched_by_itself(hand_shards, whole, tmp_path, monkeypatch, capsys):
    """One line on stderr, and the training goes on to the same end."""

    def refuses(*_):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(step_module, "_Graph", refuses)
    data = ShardDataset(hand_shards)
    training = Training(SPEC, [Part(data, 1.0)], [data], toy_hand(), tmp_path / "run", ALONE, HowRun(workers=0))
    training.step._graphs = True
    training.run()
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert (
        capsys.readouterr().err.count("no CUDA graph of a step, each kernel is launched by itself: operation not permitted when")
        == 1
    )


def test_profile_says_where_time_goes(hand_shards, tmp_path, monkeypatch):
    """`--profile` ends with a table of phases; what a slow loader costs is the share that the device waits."""
    done = subprocess.run(command(hand_shards, tmp_path / "run", "--profile", "--cache", "device"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for phase in ("forward", "backward", "AdamW", WAITING):
        assert f"  {phase}\n" in done.stdout + "\n"
    assert re.search(r"^6 steps; the device waits \d+\.\d% of the time$", done.stdout, re.MULTILINE)
    clock = types.SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(profile_module, "time", clock)
    profile = Profile(True, CPU)

    def passes(seconds: float) -> None:
        clock.now += seconds

    for _ in profile.waited(passes(0.03) for _ in range(3)):
        passes(5.0)  # in no phase: not the step's
        with profile.phase("forward"):
            passes(0.01)
    assert profile.waiting() == pytest.approx(0.75)
    assert "    30.00" in profile.table()
    silent = Profile(False, CPU)
    assert list(silent.waited("abc")) == ["a", "b", "c"]
    assert silent.waiting() == 0


@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_errors_on_the_device_are_those_of_the_metrics(angle, hand_shards):
    """Lixels to millimetres without a matrix's inverse: what `lixels_to_camera` and `mean_error_mm` give, turned crops too."""
    data = HandDataset([ShardDataset(hand_shards)], 64, AugmentSpec(rotation_deg=np.rad2deg(angle), rotation_probability=1.0))
    batch = Batch(*default_collate([data[k] for k in range(12)]))
    guess = batch.keypoints + torch.randn(batch.keypoints.shape, generator=torch.Generator().manual_seed(0))
    root, K = batch.root_depth.numpy(), batch.K.numpy()
    found = lixels_to_camera(guess.numpy(), root, K, np.broadcast_to(np.eye(3), K.shape), 64)
    errors = joint_errors_mm(guess, batch)
    assert errors.mean().item() == pytest.approx(mean_error_mm(found, batch.keypoints_m.numpy()), rel=1e-4)
    assert errors.std() > 0.1
    assert joint_errors_mm(batch.keypoints, batch).max() < 1e-2


def test_nan_stops(hand_shards, tmp_path, monkeypatch):
    """A loss that is no longer finite stops the run with its place and a way out, and the last good checkpoint stays."""
    real = step_module.lixel_losses
    calls = []

    def broken(*args):
        calls.append(1)
        return {name: term * (float("nan") if len(calls) == 3 else 1) for name, term in real(*args).items()}

    monkeypatch.setattr(step_module, "lixel_losses", broken)
    with pytest.raises(HandsynthError, match=r"no longer finite at step 3 of epoch 1.*checkpoint.*lower --lr"):
        train(hand_shards, tmp_path / "run", checkpoint_every=1)
    tensors, metadata = read_tensors(tmp_path / "run" / CHECKPOINT)
    assert json.loads(metadata["progress"])["steps_done"] == 2
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_a_step_that_is_not_finite_changes_nothing(hand_shards, tmp_path, monkeypatch):
    """Noticed only at the next reading, and yet it and all steps after it leave weights and moments as they were."""
    monkeypatch.setattr(step_module, "READ_EVERY", 1000)
    data = ShardDataset(hand_shards)
    training = Training(SPEC, [Part(data, 1.0)], [data], toy_hand(), tmp_path / "run", ALONE, HowRun(workers=0))
    training.net.train()
    raws = list(training.loader([[Draw(0, 4 * k + j, 0) for j in range(4)] for k in range(3)]))

    def trained() -> list[torch.Tensor]:
        moments = [value for state in training.optimizer.state.values() for value in state.values()]
        return [value.detach().clone() for value in [*training.net.parameters(), *moments]]

    training.step(raws[0], 4, 1e-3)
    before = trained()
    broken = raws[1].batch._replace(keypoints=raws[1].batch.keypoints * float("nan"), vertices=raws[1].batch.vertices)
    training.step(raws[1]._replace(batch=broken), 4, 1e-3)
    training.step(raws[2], 4, 1e-3)
    assert all(torch.equal(a, b) for a, b in zip(before, trained(), strict=True))
    assert training.step.read()[1:] == (1, False)


def test_folders_are_not_overwritten(hand_shards, whole, tmp_path):
    """A folder that holds something else, or a run, is left alone; a resumed run must have the same settings and data."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    for resume in (False, True):
        with pytest.raises(UsageError, match="not empty"):
            train(hand_shards, tmp_path / "full", resume=resume)
    with pytest.raises(UsageError, match=r"already holds a run: --resume"):
        train(hand_shards, whole)
    with pytest.raises(UsageError, match=r"started with lr 0\.001, this command has 0\.002"):
        train(hand_shards, whole, with_flags(SPEC, {"lr": 0.002}), resume=True)
    before = (whole / WEIGHTS).read_bytes()
    assert len(train(hand_shards, whole, resume=True)) == 2  # nothing is left to do
    assert (whole / WEIGHTS).read_bytes() == before


def test_other_weights(whole, tmp_path, hand_shards):
    """Weights of another net or hand, and files that are none, get one sentence."""
    from handmesh.run_folder import load_weights

    net = create_net("lite-fast", np.ones((21, 50)) / 50, pretrained=False)
    with pytest.raises(UsageError, match="another net or hand"):
        load_weights(net, whole / WEIGHTS, "lite-fast")
    with pytest.raises(UsageError, match="holds weights of lite-fast, not of lite-dw"):
        load_weights(net, whole / WEIGHTS, "lite-dw")
    (tmp_path / "cut").write_bytes((whole / WEIGHTS).read_bytes()[:1000])
    for path in (tmp_path / "cut", tmp_path / "missing"):
        with pytest.raises(HandsynthError, match=f"{path.name} cannot be read"):
            load_weights(net, path, "lite-fast")
    with pytest.raises(UsageError, match=r"is no run folder: it has no config.yaml"):
        load_run(hand_shards, CPU)


def test_paper_recipe():
    """The preset says what section 4 says: Adam, 1e-4, batch 32, 30 epochs, a tenth from the 28th on."""
    paper = load_preset("paper")
    assert (paper.net, paper.side, paper.batch, paper.epochs, paper.weight_decay) == ("lite-dwse", 256, 32, 30, 0)
    rates = [learning_rate(paper, epoch * 100, 100) for epoch in range(30)]
    np.testing.assert_allclose(rates, [1e-4] * 27 + [1e-5] * 3)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_falling_rates(schedule):
    """They warm up linearly, fall all the time after that, and end near zero."""
    spec = TrainSpec(schedule=schedule, warmup_steps=10, epochs=2, lr=1.0)
    rates = [learning_rate(spec, step, 100) for step in range(200)]
    assert rates[0] == pytest.approx(1 / 11)
    assert np.argmax(rates) == 10
    assert (np.diff(rates[10:]) < 0).all()
    assert 0 < rates[-1] < 1e-2


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    """Each can be read, and is the same after being written down."""
    spec = load_preset(name)
    assert spec_from_dict(spec_to_dict(spec), name) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", "unknown key 'epoch'.*did you mean epochs"),
        ("lr: fast", "lr must be a finite number"),
        ("lr: 4e-4", "write 4.0e-4"),
        ("side: 100", "side is 100, expected a multiple of 32"),
        ("augment: {erasing: 2}", "erasing is 2"),
        ("schedule: constant", "expected step, cosine or linear"),
        ("[", "is not YAML"),
    ],
)
def test_bad_preset(text, message):
    with pytest.raises(UsageError, match=message):
        parse_spec(text, "mine.yaml")


def test_unknown_preset():
    with pytest.raises(UsageError, match=r"no preset is called 'papr'.*did you mean 'paper'"):
        load_preset("papr")


def test_weights_of_datasets(hand_shards):
    """FOLDER=WEIGHT mixes; a weight that is no positive number is refused."""
    assert parse_part(str(hand_shards)).weight == 1
    assert parse_part(f"{hand_shards}=0.25").weight == 0.25
    for bad in ("0", "-1", "x", "inf"):
        with pytest.raises(UsageError, match="a positive number"):
            parse_part(f"{hand_shards}={bad}")
