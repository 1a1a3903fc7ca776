"""Where results go: checked before any work, and an error that names file and reason when a disk is full in the end."""

import errno
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hands import draw_feasible, hand_of
from typer.testing import CliRunner
from untrained import write_untrained

from handmesh.cli.main import make_app
from handmesh.estimation.estimate import Estimator
from handmesh.estimation.results import video_writer
from handmesh.evaluation import challenge, evaluate
from handmesh.kinematics.fit import AngleSolver
from handmesh.robot import export
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.files import check_out_file, check_out_folder, replacing

HAND = hand_of("toy")
RUN, IMAGE, MESHES, SHARDS = "RUN", "IMAGE", "MESHES", "SHARDS"

FOLDERS = {
    "predict": ("predict", RUN, IMAGE, "--detector", "none", "--out"),
    "evaluate": ("evaluate", RUN, "--data", SHARDS, "--out"),
    "kinematics fit": ("kinematics", "fit", MESHES, "--hand", "toy", "--out"),
    "train mesh": ("train", "mesh", "cpu64", "--data", SHARDS, "--val", SHARDS, "--no-pretrained", "--out"),
    "train ik": ("train", "ik", "ik-demo", "--hand", "toy", "--out"),
    "convert freihand": ("convert", "freihand", "nowhere", "--hand", "nowhere.npz"),
}
FILES = {
    "export": ("export", RUN),
    "kinematics export": ("kinematics", "export", "--format", "urdf"),
    "submit freihand": ("submit", "freihand", RUN, "nowhere"),
}
"""Commands that write into a folder, or one file; where it is comes last."""


@pytest.fixture(scope="module")
def given(tmp_path_factory, hand_shards) -> dict[str, str]:
    """What the commands are given in place of the names above."""
    folder = tmp_path_factory.mktemp("given")
    cv2.imwrite(str(folder / "hand.png"), np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    np.save(folder / "six.npy", draw_feasible(HAND, 6).posed.vertices)
    places = {RUN: write_untrained(folder / "run", HAND), IMAGE: folder / "hand.png", MESHES: folder / "six.npy"}
    return {name: str(path) for name, path in (places | {SHARDS: hand_shards}).items()}


@pytest.fixture
def no_work(monkeypatch):
    """Whoever begins to work fails."""

    def work(*_, **__):
        raise AssertionError("work was done for results that cannot be written")

    workers = (Estimator, "find"), (AngleSolver, "__call__"), (torch.optim.Optimizer, "__init__"), (torch.onnx, "export")
    for owner, name in (*workers, (evaluate, "predict_dataset"), (challenge, "read_challenge"), (export, "export_stl")):
        monkeypatch.setattr(owner, name, work)


def run(command: tuple[str, ...], given: dict[str, str], out: Path) -> None:
    """The command's error is raised."""
    result = CliRunner().invoke(make_app(), [*(given.get(word, word) for word in command), str(out)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_for_results_is_checked_before_any_work(name, given, tmp_path, no_work):
    """A file in its place or above it, and a folder that takes no files: one sentence with its path; the file is as it was."""
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "deep" / "out"):
        with pytest.raises(UsageError, match=f"^{file} is a file: name a folder"):
            run(FOLDERS[name], given, out)
    with pytest.raises(HandsynthError, match=r"^/proc/results cannot be written: \w"):
        run(FOLDERS[name], given, Path("/proc/results"))
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", FILES)
def test_a_file_for_results_is_checked_before_any_work(name, given, tmp_path, no_work):
    """A folder or a device of that name, a file where its folder should be, a folder that takes no files."""
    file = tmp_path / "file"
    file.write_text("mine")
    for out, message in (
        (tmp_path, f"^{tmp_path} is a folder: give the file to write"),
        (Path("/dev/null"), "^/dev/null is no regular file"),
        (file / "x.bin", f"^{file} is a file: name a folder"),
    ):
        with pytest.raises(UsageError, match=message):
            run(FILES[name], given, out)
    with pytest.raises(HandsynthError, match=r"^/proc/x.bin cannot be written: \w"):
        run(FILES[name], given, Path("/proc/x.bin"))
    assert list(tmp_path.iterdir()) == [file]


def test_checks_leave_nothing_and_find_a_full_disk(tmp_path):
    """Neither folder is made; a disk that takes a name but no content is found."""
    check_out_folder(tmp_path / "a" / "b")
    check_out_file(tmp_path / "a" / "b.json")
    with no_room(1000), pytest.raises(HandsynthError, match=r"b cannot be written: File too large"):
        check_out_folder(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


@contextmanager
def no_room(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond `size` bytes: writing fails as on a full disk, with another reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def left_in(folder: Path) -> list[Path]:
    """Files that were being written."""
    return [path for path in folder.rglob("*") if ".tmp-" in path.name]


@pytest.mark.parametrize(
    ("command", "out", "size"),
    [
        (FOLDERS["predict"], "out", 6_000),
        (FOLDERS["kinematics fit"], "out", 10_000),
        (FOLDERS["kinematics fit"], "out", 30_000),
        (FOLDERS["train ik"], "out", 50_000),
        ((*FOLDERS["train ik"][:-1], "--epochs", "1", "--epoch-hands", "64", "--out"), "out", 620_000),
        (FILES["export"], "model.onnx", 100_000),
        (FILES["kinematics export"], "hand.urdf", 9_000),
    ],
)
def test_a_full_disk_is_named_with_the_file(command, out, size, given, tmp_path):
    """At the end of long work too: the error has path and reason, and nothing half-written is left."""
    with no_room(size), pytest.raises(OSError, match="File too large") as found:
        run(command, given, tmp_path / out)
    assert found.value.errno == errno.EFBIG
    assert Path(found.value.filename).is_relative_to(tmp_path)
    assert ".tmp-" not in found.value.filename
    assert not left_in(tmp_path)


def test_a_video_that_was_cut_off_is_no_result(tmp_path):
    """OpenCV does not say that frames could not be written; the file is looked at before it gets its name."""

    def write_video() -> None:
        rng = np.random.default_rng(0)
        with video_writer(tmp_path / "drawn.mp4", 25) as writer:
            for _ in range(12):
                writer.write(rng.integers(0, 255, (128, 128, 3), np.uint8))

    with no_room(20_000), pytest.raises(OSError, match="not all frames could be written") as found:
        write_video()
    assert found.value.filename == str(tmp_path / "drawn.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError("1000 requested and 10 written")], ids=["write", "tofile"]
)
def test_errors_without_a_name_get_the_files(error, tmp_path):
    """As they come from a file's `write`, and from numpy's `tofile`, which tells no number either."""
    with pytest.raises(OSError, match=str(error.strerror or error)) as found, replacing(tmp_path / "x.npy"):
        raise error
    assert found.value.filename == str(tmp_path / "x.npy")
    assert found.value.strerror == (error.strerror or str(error))


def test_programs_end_with_one_sentence(tmp_path):
    """`python -m handmesh` on a disk without room: exit code 1, and a line that names file and reason."""
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); from handmesh.cli.main import main; main()"
    command = [sys.executable, "-c", code, "kinematics", "export", "--format", "mjcf", str(tmp_path / "hand.xml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"handmesh: {tmp_path}/")
    assert done.stderr.endswith(": File too large\n")
    assert done.stderr.count("\n") == 1


def test_results_are_written_where_there_is_room(given, tmp_path):
    """The check itself stops nobody: a new folder two levels deep gets what it should."""
    run(FOLDERS["kinematics fit"], given, tmp_path / "deep" / "out")
    assert len(json.loads((tmp_path / "deep" / "out" / "six.angles.json").read_text())["hands"]) == 6
