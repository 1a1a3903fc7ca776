"""scripts/full_run.sh: sizes that fit the machine, a usage that is said, and once, small, the whole of it."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny import load_script

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "full_run.py"


@pytest.fixture(scope="module")
def full_run():
    return load_script("full_run")


def test_sizes_grow_with_the_minutes_up_to_all(full_run, monkeypatch):
    """Never fewer than a few, never more than all; with a GPU all, and 1,000 hands to evaluate on whenever all are made."""
    monkeypatch.setattr(full_run.os, "cpu_count", lambda: 2)
    made = [full_run.sizes(minutes, False) for minutes in (0.1, 10, 60, 600, 6000)]
    for fewer, more in itertools.pairwise(made):
        assert all(fewer[name] <= more[name] for name in more)
    assert min(made[0].values()) >= 64
    assert sum(made[1][name] for name in full_run.FULL) == pytest.approx(
        12_000, rel=0.01
    )  # seen twice in ten minutes at 40 a second
    assert made[-1] == full_run.sizes(10, True) == full_run.FULL | {"validation": 1000, "heldout": 1000}


def test_every_set_of_a_size_has_a_spec(full_run):
    """A name without one would end a run of hours before its first image."""
    import splits

    assert set(splits.SIZES) == set(splits.specs())
    assert set(full_run.sizes(10, False)) <= set(splits.SIZES)


def test_usage_is_stated_before_anything_is_installed(tmp_path):
    """--help, and a flag without its value, install nothing."""
    (tmp_path / "scripts").mkdir()
    for name in ("full_run.sh", "setup.sh"):
        (tmp_path / "scripts" / name).write_bytes((ROOT / "scripts" / name).read_bytes())
    for arguments, code, stream in ((["--help"], 0, "stdout"), (["out", "--minutes"], 1, "stderr")):
        done = subprocess.run(
            ["bash", tmp_path / "scripts" / "full_run.sh", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == code
        assert "usage: bash scripts/full_run.sh OUT --minutes N" in getattr(done, stream)
    assert not (tmp_path / ".venv").exists()


@pytest.mark.long
def test_the_folder_is_complete_and_a_second_run_changes_no_weight(tmp_path):
    """A tenth of a minute: images, run, evaluation, ONNX, IK net, weights with cards, the record; again, everything is kept."""
    command = [sys.executable, SCRIPT, tmp_path / "out", "--minutes", "0.1", "--device", "cpu", "--jobs", "1"]
    subprocess.run(command, check=True, cwd=tmp_path)
    out = tmp_path / "out"
    files = [
        "record.yaml", "run/metrics.csv", "run/curves.png", "run/validation.png", "run/weights.safetensors",
        "evaluation/metrics.csv",
        "lite-fast.onnx", "ik/weights.safetensors", "weights/lite-fast/CARD.md", "weights/ik-23/CARD.md", "weights/defaults.yaml",
    ]  # fmt: skip
    assert not [name for name in files if not (out / name).exists()]
    assert {"machine", "commit", "minutes", "sizes"} <= set(yaml.safe_load((out / "record.yaml").read_text()))
    before = (out / "weights" / "lite-fast" / "weights.safetensors").read_bytes()
    subprocess.run(command, check=True, cwd=tmp_path)
    assert (out / "weights" / "lite-fast" / "weights.safetensors").read_bytes() == before
