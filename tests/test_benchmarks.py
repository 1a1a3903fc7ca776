"""The benchmarks run: every table is printed and written with its origin. Their speed is nobody's business here."""

import argparse
import csv
import dataclasses
import functools
import hashlib
import importlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from photo_labels import photos_content
from tiny import World
from untrained import write_untrained

from handmesh.cli.main import make_app
from handmesh.kinematics.fit import AngleSolver
from handmesh.nets import fast
from handmesh.nets.registry import list_nets
from handmesh.run_files import WEIGHTS, read_config
from handmesh.run_folder import load_run, save_weights
from handmesh.settings.mesh import load_preset
from handsynth.core.hand import pose_hand
from handsynth.core.named_hands import open_hand, open_poses
from handsynth.core.toy import toy_hand
from handsynth.profile import STAGES
from handsynth.recipe.spec import load_spec

FOLDER = Path(__file__).parents[1] / "benchmarks"


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_second_run_in_a_row_counts(monkeypatch: pytest.MonkeyPatch):
    """A variant whose first run after another takes ten times as long is charged for the second; what it notes is sorted alike."""
    monkeypatch.syspath_prepend(str(FOLDER))
    common = importlib.import_module("common")
    clock = types.SimpleNamespace(now=0.0, order=[], process_time=lambda: clock.now, perf_counter=lambda: 2 * clock.now)
    monkeypatch.setattr(common, "time", clock)

    def run(name: str, seconds: float) -> None:
        clock.now += seconds if clock.order[-1:] == [name] else 10 * seconds
        clock.order.append(name)

    variants = {name: functools.partial(run, name, seconds) for name, seconds in (("one", 1.0), ("two", 2.0))}
    assert common.round_robin(variants, 3) == {"one": (1.0, 2.0), "two": (2.0, 4.0)}
    assert clock.order == ["one", "one", "two", "two"] * 4
    assert [*common.counted(range(8))] == [3, 5, 7]  # runs 0 and 1 warmed up


def test_generate_writes_every_table(tiny_world: World, tmp_path: Path):
    """`bench_generate.py --quick`: four tables with positive times, machine, commit and driver; and a figure."""
    command = [sys.executable, FOLDER / "bench_generate.py", "--quick", "--hand", "toy", "--out", tmp_path]
    command += ["--textures", tiny_world.folder / "skin.npz", "--backgrounds", tiny_world.images]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    tables = {path.name.split("-")[0]: rows_of(path) for path in tmp_path.glob("*.csv")}
    assert set(tables) == {"generate_stages", "generate_pipelines", "generate_workers", "generate_start"}
    ours = ["angrender", "manorender", "angrender with passes"]
    assert [(row["pipeline"], row["stage"]) for row in tables["generate_stages"]] == [*itertools.product(ours, (*STAGES, "sum"))]
    baselines = ["naive", "naive, used texels alone", "careful", "careful, used texels alone"]
    assert [row["pipeline"] for row in tables["generate_pipelines"]] == ours + baselines
    assert [row["jobs"] for row in tables["generate_workers"]] == ["1", "2"]
    for row in itertools.chain(*tables.values()):
        assert all(row[key] for key in ("command", "cpu", "cores", "python", "numpy", "commit", "driver"))
        assert all(
            float(value) > 0 for key, value in row.items() if "_ms_" in key or "_speed_" in key or key.endswith(("_s", "_MB"))
        )
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_clips_are_timed_beside_single_images(tiny_world: World, tmp_path: Path):
    """`bench_clips.py --quick`: a row for each pipeline, single images being one."""
    command = [sys.executable, FOLDER / "bench_clips.py", "--quick", "--hand", "toy", "--out", tmp_path]
    command += ["--textures", tiny_world.folder / "skin.npz", "--backgrounds", tiny_world.images]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    (table,) = (rows_of(path) for path in tmp_path.glob("clips-*.csv"))
    found = {row["pipeline"]: row for row in table}
    assert list(found) == ["clips", "clips, sharp", "clips, with flow", "single images"]
    assert all(float(row["cpu_ms_per_sample"]) > 0 for row in table)
    assert float(found["single images"]["cpu_time_over_single_images"]) == 1
    assert float(found["clips"]["exposures_per_sample"]) > float(found["clips, sharp"]["exposures_per_sample"]) == 1


def test_an_older_commit_runs_in_turn_with_this_one(tiny_world: World, tmp_path: Path):
    """`bench_generate.py --against HEAD`: CPU, wall and stages of both for each pipeline, their ratios, and no worktree is left."""
    command = [sys.executable, FOLDER / "bench_generate.py", "--against", "HEAD", "--quick", "--out", tmp_path, "--hand", "toy"]
    command += ["--textures", tiny_world.folder / "skin.npz", "--backgrounds", tiny_world.images]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    tables = {path.name.partition("-")[0]: rows_of(path) for path in tmp_path.glob("*.csv")}
    assert set(tables) == {"generate_against", "generate_against_stages", "generate_workers"}
    pipelines = ["angrender", "manorender", "angrender with passes", "default"]
    assert [row["pipeline"] for row in tables["generate_against"]] == pipelines
    for row in tables["generate_against"]:
        assert row["older"] == "HEAD"
        for kind in ("cpu", "wall"):
            older, this = (float(row[f"{who}_{kind}_ms_per_sample"]) for who in ("older", "this"))
            assert min(older, this) > 0
            assert float(row[f"{kind}_speed_over_older"]) == pytest.approx(older / this, rel=1e-3)
    assert [(row["pipeline"], row["stage"]) for row in tables["generate_against_stages"]] == [*itertools.product(pipelines, STAGES)]
    listed = subprocess.run(["git", "worktree", "list"], capture_output=True, text=True, check=True, cwd=FOLDER)
    assert str(tempfile.gettempdir()) + "/tmp" not in listed.stdout
    unknown = subprocess.run([*map(str, command[:3]), "no-commit"], capture_output=True, text=True, timeout=60, check=False)
    assert unknown.returncode == 1
    assert "--against no-commit: " in unknown.stderr


def test_loader_writes_table_and_figure(tiny_world: World, tmp_path: Path):
    """`bench_loader.py --quick` writes every variant, reading alone and as batches, with positive rates and its origin."""
    tiny_world.generate(tmp_path / "set", "0:12")
    command = [sys.executable, FOLDER / "bench_loader.py", "--quick", "--data", tmp_path / "set", "--side", "64", "--batch", "5"]
    run = functools.partial(subprocess.run, capture_output=True, text=True, timeout=300, check=False)
    done = run([*map(str, command), "--out", str(tmp_path / "out")])
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").glob("*.csv")
    rows = rows_of(path)
    assert [row["work"] for row in rows] == ["reading"] * 4 + ["augmented batches"] * 4
    assert [row["variant"] for row in rows[:4]] == [row["variant"] for row in rows[4:]]
    for row in rows:
        assert all(row[key] for key in ("command", "cpu", "cores", "python", "numpy", "commit", "webdataset"))
        assert all(float(value) > 0 for key, value in row.items() if "_per_" in key)
    assert all(float(row["resident_MB"]) > 0 for row in rows[4:])
    assert path.with_suffix(".png").stat().st_size > 0
    refused = run([*map(str, command[:-6]), "--data", str(tmp_path / "nothing")])
    assert refused.returncode == 2
    assert "nothing holds no index.json" in refused.stderr


def test_loaders_give_the_same_tensors(tiny_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Loose files, webdataset and our reader differ in nothing but how JPEGs are decoded."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import bench_loader
    from plain_readers import unpack

    tiny_world.generate(tmp_path / "set", "0:8")
    unpack(bench_loader.ShardDataset(tmp_path / "set"), tmp_path / "loose")
    loaders = bench_loader.Loaders(tmp_path / "set", tmp_path / "loose", 64, 4)

    def samples(batches):
        return {int(number): [part[k] for part in raw.batch] for raw in batches for k, number in enumerate(raw.batch.sample)}

    ours = samples([loaders.hands.raw(range(8))])
    for variant in bench_loader.VARIANTS[1:]:
        found = samples(loaders.others(variant))
        assert found.keys() == ours.keys()
        for index, item in found.items():
            np.testing.assert_allclose(item[0], ours[index][0], atol=13)  # decoders may round a colour by some units
            for a, b in zip(item[1:], ours[index][1:], strict=True):
                np.testing.assert_array_equal(a, b)


class Answering:
    """A detector that answers what it is given."""

    answer: np.ndarray | None = None

    def landmarks(self, image: np.ndarray) -> np.ndarray | None:
        return self.answer


@pytest.fixture
def detector_bench(monkeypatch: pytest.MonkeyPatch):
    """The detector's benchmark as a module; it needs no mediapipe until a detector is made."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import bench_detector

    return bench_detector


def test_detector_error_is_in_hand_sizes(detector_bench: types.ModuleType, tiny_world: World, tmp_path: Path):
    """Landmarks that are ours plus one tenth of the hand's size have an error of 10 %; hands not found have none."""
    tiny_world.generate(tmp_path / "set", "0:6")

    class Detector:
        def __init__(self) -> None:
            self.answer: np.ndarray | None = None

        def landmarks(self, image: np.ndarray) -> np.ndarray | None:
            return self.answer

    detector, found = Detector(), []
    for number, members in enumerate(detector_bench.read_samples(tmp_path / "set")):
        labels = json.loads(members["json"])
        left, top, right, bottom = labels["bbox_xyxy"]
        shift = [0.06 * max(right - left, bottom - top), 0.08 * max(right - left, bottom - top)]
        detector.answer = np.array(labels["keypoints_xy"]) + shift if number % 2 else None
        found.append(detector_bench.examine(members, detector))
    assert [s["found"] for s in found] == [0, 1, 0, 1, 0, 1]
    whole = detector_bench.by_band(found)[0]
    assert whole["found_percent"] == pytest.approx(50)
    assert whole["error_median_percent"] == pytest.approx(10)
    for group in detector_bench.BANDS:
        assert sum(row["samples"] for row in detector_bench.by_band(found) if row["group"] == group) == len(found), group
    assert [row["band"] for row in detector_bench.by_keypoint(found)] == detector_bench.NAMES


# The trainer's


@dataclass(frozen=True)
class TrainerBench:
    """Runs a benchmark's `main` in this process, `handmesh` in this process too."""

    folder: Path
    patch: pytest.MonkeyPatch
    splits: dict[str, Path]

    def run(self, name: str, *arguments: object) -> None:
        module = self.module(name)
        self.patch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        module.main()

    def module(self, name: str) -> types.ModuleType:
        """The benchmark with twelve toy hands for each of its datasets."""
        module = importlib.import_module(name)
        for each in (module, importlib.import_module("trained_rows")):
            for key, value in (("make_splits", lambda *_: self.splits), ("run_handmesh", self.handmesh)):
                if hasattr(each, key):
                    self.patch.setattr(each, key, value)
        return module

    def handmesh(self, *arguments: object, ranks: int = 1) -> None:
        assert ranks == 1
        make_app()([*map(str, arguments)], standalone_mode=False)

    @property
    def preset(self) -> Path:
        path = self.folder / "tiny.yaml"
        path.write_text("{net: lite-fast, side: 32, batch: 4, epochs: 1, lr: 1.0e-3, pretrained: false}")
        return path


@pytest.fixture(scope="module")
def splits(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    data = tmp_path_factory.mktemp("splits")
    names = (
        "base", "manorender", "angrender", "validation", "heldout", "blended", "basetest", "viewtest", "posetest", "scenetest",
    )  # fmt: skip
    for seed, name in enumerate(names):
        tiny_world.generate(data / name, "0:12", seed=seed, name=name)
    return {name: data / name for name in names}


@pytest.fixture
def trainer_bench(splits: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TrainerBench]:
    monkeypatch.syspath_prepend(str(FOLDER))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield TrainerBench(tmp_path, monkeypatch, splits)
    torch.set_num_threads(threads)


def test_every_split_has_a_folder_of_its_own(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    splits = importlib.import_module("splits")
    assert [spec.name for spec, _, _ in splits.specs().values()] == list(splits.specs())
    assert set(splits.SIZES) == set(splits.specs())


ORIGIN = ("command", "cpu", "cores", "python", "numpy", "commit", "torch")


def test_factors_of_deviations_are_compared(trainer_bench: TrainerBench, tmp_path: Path, monkeypatch):
    """`deviations.py`: on the hands that they were found on, ratios are 1, and a factor for each vertex is likelier."""
    module = trainer_bench.module("deviations")
    monkeypatch.setattr(module, "results_path", lambda name: tmp_path / f"{name}.csv")
    run = write_untrained(tmp_path / "run", toy_hand())
    seen, other = trainer_bench.splits["validation"], trainer_bench.splits["heldout"]
    trainer_bench.run("deviations", run, "--calibration", seen, "--heldout", seen, other, "--device", "cpu")
    rows = rows_of(tmp_path / "deviations.csv")
    assert {(row["a factor for"], row["set"], row["axis"]) for row in rows} == {
        (each, name, axis) for each in (module.AXES, module.POINTS) for name in ("validation", "heldout") for axis in "xyz"
    }
    for row in rows:
        assert float(row["interval_low"]) < float(row["error_over_std"]) < float(row["interval_high"])
        if row["set"] == "validation":
            assert float(row["error_over_std"]) == pytest.approx(1, abs=0.05)
            assert float(row["gain_low"]) > 0 if row["a factor for"] == module.POINTS else float(row["gain_nats"]) == 0
        assert all(row[key] for key in ORIGIN)


def test_starts_of_fits_are_compared_on_unseen_poses(trainer_bench: TrainerBench, tmp_path: Path, monkeypatch):
    """`joint_angles.py`: true meshes have their own angles, errors of others are counted, and gains are over the first start."""
    module = trainer_bench.module("joint_angles")
    hand, bank = open_hand("embedded"), open_poses("embedded")
    theta = np.concatenate([np.zeros((6, 1, 3)), bank.theta[:6]], 1)
    true = pose_hand(hand, theta, np.zeros(hand.num_shapes)).vertices
    solver = AngleSolver(hand)
    exact = solver(true, predicted=False)
    bent = dataclasses.replace(exact, angles=exact.angles + np.deg2rad(2, dtype=np.float32))
    rows = list(module.rows_of({"exact": (exact, exact), "bent": (bent, exact)}, exact.angles, true))
    assert [row["start"] for row in rows] == ["exact", "bent"]
    assert [row["angle_error_deg"] for row in rows] == pytest.approx([0, 2], abs=1e-4)
    assert [row["gain_deg"] for row in rows] == pytest.approx([0, -2], abs=1e-4)
    assert [row["unsteady_percent"] for row in rows] == [0, 100]
    assert rows[0]["pa_mpvpe_mm"] < 1


def test_looks_of_photographs_are_compared_with_the_photographs(trainer_bench: TrainerBench, tmp_path: Path, monkeypatch):
    """`photo_colours.py`: each look reaches the net, the plain one to the bit; its cost is counted against the plain one."""
    module = trainer_bench.module("photo_colours")
    crops = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    seen = {name: module.shown(crops, look) for name, look in module.LOOKS.items()}
    np.testing.assert_array_equal(seen["as they are"], crops)
    assert np.ptp(seen["grey"], axis=-1).max() <= 1
    flat = [np.asarray(seen[name], float).std() for name in ("0.6 times the contrast", "as they are", "1.6 times the contrast")]
    assert flat == sorted(flat)
    edges = [
        np.abs(np.diff(seen[name].astype(float), axis=1)).mean() for name in ("blurred by a pixel", "as they are", "sharpened")
    ]
    assert edges == sorted(edges)
    assert len({image.tobytes() for image in seen.values()}) == len(module.LOOKS)
    (tmp_path / "photos.json").write_text(json.dumps(photos_content()))
    for row in photos_content()["images"]:
        (tmp_path / row["file_name"]).parent.mkdir(exist_ok=True)
        iio.imwrite(tmp_path / row["file_name"], np.random.default_rng(1).integers(0, 256, (80, 80, 3), np.uint8))
    monkeypatch.setattr(module, "results_path", lambda name: tmp_path / f"{name}.csv")
    trainer_bench.run("photo_colours", tmp_path / "photos.json")
    rows = rows_of(tmp_path / "photo_colours.csv")
    assert [row["look"] for row in rows] == list(module.LOOKS)
    for row in rows:
        assert float(row["cost"]) == pytest.approx(float(row["mean"]) - float(rows[0]["mean"]), abs=2e-3 * float(row["mean"]))
        assert float(row["interval_low"]) <= float(row["cost"]) <= float(row["interval_high"])
        assert all(row[key] for key in set(ORIGIN) - {"torch"})
    assert float(rows[0]["cost"]) == 0


def test_table2_writes_every_net(trainer_bench: TrainerBench, tmp_path: Path):
    """`table2.py --quick`: the paper's nets and ours, counts as printed, positive times, the baseline's ratio 1."""
    trainer_bench.run("table2", "--quick", "--out", tmp_path)
    (path,) = tmp_path.glob("table2-1thread-*.csv")
    rows = {row["net"]: row for row in rows_of(path)}
    assert list(rows) == [info.name for info in list_nets()]
    for row in rows.values():
        assert all(row[key] for key in ORIGIN)
        assert all(float(row[key]) > 0 for key in ("wall_ms", "cpu_ms", "gmacs_true", "times_faster_by_cpu"))
        if row["printed_gmacs"]:
            assert float(row["gmacs_as_paper_counts"]) == pytest.approx(float(row["printed_gmacs"]), abs=0.011)
    assert float(rows["i2l-resnet50"]["times_faster_by_wall"]) == 1


def test_hand_layer_is_compared_with_smplx(trainer_bench: TrainerBench, tmp_path: Path):
    """`bench_hand_layer.py --quick`: both layers' times and their ratio for every batch, forward and with gradients."""
    pytest.importorskip("smplx")
    trainer_bench.run("bench_hand_layer", "--quick", "--out", tmp_path)
    (path,) = tmp_path.glob("hand_layer-*.csv")
    rows = rows_of(path)
    assert len({(row["hand"], row["batch"], row["what"]) for row in rows}) == len(rows) == 12
    for row in rows:
        assert all(row[key] for key in ORIGIN)
        assert float(row["times_as_fast"]) == pytest.approx(float(row["smplx_cpu_ms"]) / float(row["own_cpu_ms"]), rel=1e-2)


def test_train_cpu_writes_errors_and_epochs(trainer_bench: TrainerBench, tmp_path: Path):
    """`train_cpu.py` trains, evaluates with joint angles, and writes a row for every group and every epoch, with its origin."""
    run = tmp_path / "run"
    trainer_bench.run("train_cpu", tmp_path, run, "--preset", trainer_bench.preset, "--device", "cpu", "--out", tmp_path / "out")
    (groups,) = (tmp_path / "out").glob("train_cpu-*.csv")
    (epochs,) = (tmp_path / "out").glob("train_cpu_epochs-*.csv")
    first, *others = rows_of(groups)
    assert (first["kind"], first["hands"]) == ("all", "12")
    assert {row["kind"] for row in others} == {"view", "pose", "visible"}
    assert all(float(first[key]) > 0 for key in ("pa_mpjpe_mm", "fitted_pa_mpjpe_mm", "mean_hand_pa_mpjpe_mm"))
    assert [row["epoch"] for row in rows_of(epochs)] == ["1"]
    assert all(row[key] for path in (groups, epochs) for row in rows_of(path) for key in ORIGIN)


def test_train_speed_writes_every_way_to_batches(trainer_bench: TrainerBench, tmp_path: Path):
    """`train_speed.py` trains from files, one by one or not, from memory and device: rates and waiting, with their origin."""
    data = ("--data", trainer_bench.splits["base"], "--preset", trainer_bench.preset)
    trainer_bench.run("train_speed", *data, "--steps", 2, "--rounds", 1, "--workers", 1, "--out", tmp_path)
    (path,) = tmp_path.glob("train_speed-*.csv")
    rows = [row for row in rows_of(path) if row["device"] == "cpu"]
    assert [row["batches"] for row in rows] == ["one by one", "files", "files, no process", "memory", "device"]
    assert [row["workers"] for row in rows] == ["1", "1", "0", "0", "0"]
    for row in rows:
        assert float(row["samples_per_s"]) > 0
        assert 0 <= float(row["waiting"]) < 1
        assert all(row[key] for key in ORIGIN)


@pytest.fixture
def table3(trainer_bench: TrainerBench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> types.ModuleType:
    """The module with two rows of one seed and tables of its own."""
    module = trainer_bench.module("table3")
    monkeypatch.setattr(module, "TABLE", tmp_path / "table3.csv")
    monkeypatch.setattr(module, "SEEDS", (0,))
    monkeypatch.setattr(module, "EPOCHS", 1)
    monkeypatch.setattr(module, "ROWS", {name: module.ROWS[name] for name in ("Base", "Base+MR")})
    monkeypatch.setattr(module, "SETS", {name: module.SETS[name] for name in ("unseen views", "everything new")})
    return module


def test_table3_goes_on_from_one_net_and_writes_what_rows_gain(trainer_bench, table3: types.ModuleType, tmp_path: Path, capsys):
    """`table3.py`: rows start from the base's net, see as many samples, and are compared hand by hand, on photographs too."""
    photos = tmp_path / "photos.json"
    photos.write_text(json.dumps(photos_content()))
    for row in photos_content()["images"]:
        (tmp_path / row["file_name"]).parent.mkdir(exist_ok=True)
        iio.imwrite(tmp_path / row["file_name"], np.full((64, 64, 3), 128, np.uint8))
    options = ("--preset", trainer_bench.preset, "--base-samples", 8, "--samples", 16, "--device", "cpu", "--photos", photos)
    trainer_bench.run("table3", tmp_path, tmp_path / "runs", *options)
    rows = rows_of(table3.TABLE)
    assert [row["row"] for row in rows] == ["Base", "Base+MR"]
    (first,) = [path for path in (tmp_path / "runs").glob("first-*") if path.is_dir()]
    errors = []
    for row in rows:
        assert all(row[key] for key in (*ORIGIN, "digest"))
        run = tmp_path / "runs" / f"{row['row'].lower()}-seed0-{row['digest']}"
        config = read_config(run)
        assert sum(data["weight"] * data["samples"] for data in config["datasets"]) == pytest.approx(16, abs=1e-4)
        assert config["start"]["sha256"] == hashlib.sha256((first / "weights.safetensors").read_bytes()).hexdigest()
        with np.load(run / "errors.npz") as found:
            errors.append(dict(found))
        for title in table3.SETS:
            assert float(row[f"{title}_pa_mpjpe_mm"]) == pytest.approx(errors[-1][title].mean(), rel=1e-3)
        assert len(errors[-1]["photographs"]) == 2
    gains = rows_of(tmp_path / "table3_gains.csv")
    assert [(row["row"], row["set"]) for row in gains] == [("Base+MR", part) for part in (*table3.SETS, "photographs")]
    for row in gains:
        expected = (errors[0][row["set"]] - errors[1][row["set"]]).mean()
        assert float(row["gain"]) == pytest.approx(expected, abs=1e-3, rel=1e-3)
        assert float(row["interval_low"]) <= float(row["gain"]) <= float(row["interval_high"])
    assert "Gained over Base" in capsys.readouterr().out


def test_rows_of_this_net_settings_start_and_data_alone_count(trainer_bench: TrainerBench, tmp_path: Path, monkeypatch):
    """A row is made once; after a change of net, settings, start or data it is made again and the old one replaced."""
    rows_module = trainer_bench.module("trained_rows")
    table, made = tmp_path / "table.csv", []
    sets = trainer_bench.splits

    def make(job):
        made.append(job.name)
        return {"row": job.name, "seed": job.seed, "digest": job.digest, "error": 1.0}

    def run(**changes: Any) -> list[str]:
        made.clear()
        spec = dataclasses.replace(load_preset("cpu64"), **changes.pop("settings", {}))
        weights = {sets["base"]: 0.5, sets[changes.pop("other", "manorender")]: changes.pop("weight", 0.5)}
        jobs = [rows_module.make_job(name, spec, weights, sets["validation"], **changes) for name in ("a", "b")]
        rows_module.fill_table(table, jobs, make, ("row", "seed"), 1)
        return list(made)

    rows_module.write_csv(table, [{"row": "a", "seed": 0, "error": 1.0}, {"row": "other", "seed": 0, "error": 2.0}], {})
    assert run() == ["a", "b"]
    assert run() == []
    assert [row["row"] for row in rows_of(table)] == ["other", "a", "b"]
    for change in ({"settings": {"lr": 1e-3}}, {"weight": 0.25}, {"other": "angrender"}, {"start": Path("runs/first-seed0-0")}):
        assert run(**dict(change)) == ["a", "b"], change
        assert run(**dict(change)) == []
    with monkeypatch.context() as patch:
        patch.setattr(rows_module, "net_digest", lambda name: "changed")
        assert run(**dict(change)) == ["a", "b"]
    assert len(rows_of(table)) == 3


def test_kept_errors_are_of_the_weights_data_and_labels_that_there_are(trainer_bench: TrainerBench, tmp_path: Path, monkeypatch):
    """`errors_of` evaluates a run once; after a change of weights, dataset or photographs' labels, under the same names, again."""
    rows, sets, run, photos = trainer_bench.module("trained_rows"), trainer_bench.splits, tmp_path / "run", tmp_path / "photos.json"
    trainer_bench.handmesh(
        "train", "mesh", trainer_bench.preset, "--data", sets["base"], "--val", sets["validation"], "--out", run, "--device", "cpu"
    )
    content = photos_content()
    photos.write_text(json.dumps(content))
    for row in content["images"]:
        (tmp_path / row["file_name"]).parent.mkdir(exist_ok=True)
        iio.imwrite(tmp_path / row["file_name"], np.full((64, 64, 3), 128, np.uint8))
    options, title, data = argparse.Namespace(device="cpu", workers=0), "hands", tmp_path / "set"
    evaluated: list[Path] = []
    predict = rows.predict
    monkeypatch.setattr(rows, "predict", lambda run, folder, options: evaluated.append(folder) or predict(run, folder, options))

    def errors() -> dict[str, np.ndarray]:
        return rows.errors_of(run, {title: data}, photos, options)

    shutil.copytree(sets["heldout"], data)
    first, again = errors(), errors()
    assert set(first) == set(again) == {title, rows.PHOTOS}
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert evaluated == [data]
    shutil.rmtree(data)
    shutil.copytree(sets["viewtest"], data)
    other = errors()
    assert not np.array_equal(other[title], first[title])
    content["annotations"][0]["keypoints"][0] += 20
    photos.write_text(json.dumps(content))
    moved = errors()
    assert np.array_equal(moved[title], other[title])
    assert not np.array_equal(moved[rows.PHOTOS], other[rows.PHOTOS])
    trained = load_run(run, torch.device("cpu"))
    for parameter in trained.net.parameters():
        parameter.data *= 0.9
    save_weights(trained.net, run / WEIGHTS, trained.spec.net, {})
    assert not np.array_equal(errors()[title], moved[title])
    assert len(evaluated) == 4


def test_ablation_of_the_data_changes_one_thing_in_each_row(trainer_bench: TrainerBench, tmp_path: Path, monkeypatch, capsys):
    """`ablation_data.py`: every change is one that the spec allows and differs from `default`; rows are compared with it."""
    module = trainer_bench.module("ablation_data")
    monkeypatch.setattr(module, "TABLE", tmp_path / "ablation.csv")
    monkeypatch.setattr(module, "EPOCHS", 1)
    generated: list[tuple[Any, str, int]] = []

    def make_set(data, spec, poses, backgrounds, samples, jobs):
        generated.append((spec, backgrounds, samples))
        return trainer_bench.splits["manorender" if "default" in spec.name else "angrender"]

    monkeypatch.setattr(module, "make_set", make_set)
    names = ["nothing held", "no amplitude mixing", "half the images"]
    options = ("--preset", trainer_bench.preset, "--images", 12, "--samples", 16, "--device", "cpu", "--rows", *names)
    trainer_bench.run("ablation_data", tmp_path, tmp_path / "runs", *options)
    rows = rows_of(module.TABLE)
    assert [row["row"] for row in rows] == ["default", *names]
    assert all(row[key] for row in rows for key in (*ORIGIN, "bare hands_pa_mpjpe_mm", "everything_pa_mpjpe_mm"))
    assert [(spec.name, spec.held.probability > 0, samples) for spec, _, samples in generated] == [
        ("ablation-default", True, 12), ("ablation-nothing-held", False, 12), ("ablation-default", True, 12),
        ("ablation-half-the-images", True, 6),
    ]  # fmt: skip
    assert {row["row"] for row in rows_of(tmp_path / "ablation_gains.csv")} == set(names)
    default = load_spec("default")
    for name, change in module.ROWS.items():
        changed = change.spec(default)
        others = change.training or change.scenes != "train" or change.images != 1
        assert (changed != default) != bool(others) or name == "default", name
        if changed != default:
            parts = {f.name for f in dataclasses.fields(default) if getattr(changed, f.name) != getattr(default, f.name)}
            assert len(parts) == 1 or parts in ({"arm", "wear"}, {"alpha_std", "arm"}, {"sensor", "motion"}), (name, parts)
    shown = capsys.readouterr().out.split("Gained over default")[-1]
    assert [line.split("  ")[0] for line in shown.splitlines()[2:]] == [name for name in names for _ in range(2)]


def test_a_nets_digest_is_that_of_its_definition(trainer_bench: TrainerBench, monkeypatch):
    """Comments and docstrings do not change it; code, layers and names do; nets differ."""
    rows = trainer_bench.module("trained_rows")
    text = '''
"""Module."""
LIMIT = 2  # bins
"""Of bins."""
def f(x):
    """Doubles."""
    return x * 2
'''
    same, other = "LIMIT = 2\n\ndef f(x): return x * 2  # as before\n", text.replace("x * 2", "x * 3")
    assert rows.code_text(text) == rows.code_text(same) != rows.code_text(other)
    digest = rows.net_digest.__wrapped__  # without its memory
    before = digest("lite-fast")
    assert digest("lite-fast") == before != digest("lite-dw")
    monkeypatch.setattr(fast, "RANK", 32)
    assert digest("lite-fast") != before


def test_ablation_writes_its_rows_and_goes_on(trainer_bench: TrainerBench, monkeypatch, tmp_path: Path, capsys):
    """`ablation_learning.py`: each row differs from the first in its own thing alone, sees as many samples, and is trained once."""
    module = trainer_bench.module("ablation_learning")
    monkeypatch.setattr(module, "TABLE", tmp_path / "ablation.csv")
    monkeypatch.setattr(module, "SEEDS", (0,))
    names = ["as before", "mean of weights", "box jitter", module.BLENDED]
    options = ("--preset", trainer_bench.preset, "--epochs", 2, "--samples", 16, "--device", "cpu", "--rows")
    trainer_bench.run("ablation_learning", tmp_path, tmp_path / "runs", *options, *names[:2])
    trained = {path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()}
    dates = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("weights.safetensors")}
    trainer_bench.run("ablation_learning", tmp_path, tmp_path / "runs", *options, *names)
    assert all(path.stat().st_mtime_ns == date for path, date in dates.items())
    assert len(dates) == len(trained) == 2
    rows = rows_of(module.TABLE)
    assert [row["row"] for row in rows] == names
    assert [row["side_px"] for row in rows] == ["32"] * 4
    settings = []
    assert any(row[f"jittered_{key}"] != row[key] for row in rows for key in module.METRICS)
    for row in rows:
        assert all(float(row[key]) > 0 for key in (*module.SHOWN, "error_over_std_x", "training_minutes"))
        assert all(row[key] for key in (*ORIGIN, "digest"))
        config = read_config(tmp_path / "runs" / f"{row['row'].replace(' ', '-')}-seed0-{row['digest']}")
        assert sum(data["weight"] * data["samples"] for data in config["datasets"]) == pytest.approx(8, abs=1e-4)
        settings.append(config["training"])
    differ = [{key for key in one if one[key] != settings[0][key]} for one in settings]
    assert differ == [set(), {"ema"}, {"augment"}, set()]
    shown = capsys.readouterr().out.split("Errors on held-out hands [mm]")[-1]
    assert [line.split("  ")[0] for line in shown.splitlines()[2:]] == names
