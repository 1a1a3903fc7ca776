"""Files on disk: whole or not at all, and temporary ones that only their dead writer's own machine removes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from handsynth.core import files
from handsynth.core.errors import UsageError
from handsynth.core.files import new_folder, remove_leftovers, replacing, temporary_name, write_atomically, write_file


def leave(folder: Path, name: str = "a.tar") -> Path:
    """A temporary file of a process that has ended."""
    code = f"from handsynth.core.files import *; from pathlib import Path; p = temporary_name(Path({name!r})); p.touch(); print(p)"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True)
    return folder / done.stdout.strip()


def test_leftovers_of_the_dead_go_and_of_the_living_stay(tmp_path):
    """A temporary file goes once its writer is gone; that of a living process, and every other file, stays."""
    assert leave(tmp_path).exists()
    mine, other = temporary_name(tmp_path / "b.tar"), tmp_path / ".tmp-of-someone-else"
    mine.touch()
    other.touch()
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine, other])


@pytest.mark.parametrize("other", ["host of the same name", "container", "machine without /proc"])
def test_writers_elsewhere_are_never_taken_for_dead(tmp_path, monkeypatch, other):
    """On a shared disk, hosts of one name and containers number their processes alike: each leaves the others' files alone."""
    theirs = leave(tmp_path)  # its writer's number is free here: on another machine it may live
    boot, space = tmp_path / "boot_id", tmp_path / "pid"
    if other == "host of the same name":
        boot.write_text("another boot")
        monkeypatch.setattr(files, "_BOOT_ID", boot)
    elif other == "container":
        space.touch()
        monkeypatch.setattr(files, "_PID_SPACE", space)
    else:
        monkeypatch.setattr(files, "_PID_SPACE", tmp_path / "nothing")
    remove_leftovers(tmp_path)
    assert theirs.exists()
    mine = temporary_name(tmp_path / "a.tar")
    assert mine.name.split("-")[1] != theirs.name.split("-")[1]
    monkeypatch.undo()
    remove_leftovers(tmp_path)
    assert not theirs.exists()


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    """Temporary names differ, also within a process; the last to end wins, and each file is whole."""
    path = tmp_path / "a.npz"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        assert {first.suffix, second.suffix} == {".npz"}
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_writer_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "sub" / "a.txt"
    write_atomically(path, lambda temporary: temporary.write_bytes(b"old"))
    write_file(path, b"older")
    for error in (OSError("full"), KeyboardInterrupt()):

        def failing(temporary: Path, error: BaseException = error) -> None:
            temporary.write_bytes(b"half")
            raise error

        with pytest.raises(type(error)):
            write_atomically(path, failing)
        assert path.read_bytes() == b"older"
        assert os.listdir(path.parent) == ["a.txt"]


def test_a_new_folder_is_whole_or_not_there(tmp_path):
    """Under its name at the end alone; after an error nothing is left; what is there is refused before anything is written."""
    place = tmp_path / "deep" / "folder"
    with pytest.raises(ValueError, match="midway"), new_folder(place) as folder:  # noqa: PT012
        (folder / "a").write_text("half")
        assert not place.exists()
        raise ValueError("midway")
    assert list(place.parent.iterdir()) == []
    with new_folder(place) as folder:
        (folder / "a").write_text("whole")
    assert [path.name for path in place.parent.iterdir()] == ["folder"]
    with pytest.raises(UsageError, match="is there already"), new_folder(place):
        pytest.fail("nothing is begun")
    assert (place / "a").read_text() == "whole"


def test_who_comes_second_replaces_no_folder(tmp_path):
    """Two that write the same new folder at once: the first is kept, the second fails, and leaves nothing."""
    place = tmp_path / "folder"
    with pytest.raises(OSError, match="folder"), new_folder(place) as slow:  # noqa: PT012
        (slow / "a").write_text("second")
        with new_folder(place) as quick:
            (quick / "a").write_text("first")
    assert (place / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_leftovers_of_one_name_go_alone(tmp_path):
    """A new folder removes what a dead process left of the same name, files of others and folders of the living stay."""
    other = leave(tmp_path, "another folder")
    same = leave(tmp_path, "folder")
    same.unlink()
    same.mkdir()
    (same / "a").touch()
    mine = temporary_name(tmp_path / "folder")
    mine.mkdir()
    with new_folder(tmp_path / "folder"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([other.name, mine.name, "folder"])
