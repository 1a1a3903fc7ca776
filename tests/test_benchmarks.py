"""The benchmarks run: every table is printed and written with its origin. Their speed is nobody's business here."""

import csv
import functools
import importlib
import itertools
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from tiny import World

from handsynth.profile import STAGES

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
    ours = {int(item.sample): item for item in map(loaders.hands.__getitem__, range(8))}
    for reader in (map(loaders.loose.__getitem__, range(8)), *loaders.web.values()):
        found = {int(item.sample): item for item in reader}
        assert found.keys() == ours.keys()
        for index, item in found.items():
            np.testing.assert_allclose(item.image, ours[index].image, atol=0.05)  # decoders may round a colour by some units
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
