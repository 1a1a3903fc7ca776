"""Sidecars and the index that is their merge: one shard, one truth, however many wrote it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from handsynth.core.conventions import SCHEMA
from handsynth.core.index import canonical_json, read_index
from handsynth.core.shard import read_shard, shard_name
from handsynth.dataset.folder import LocalFolder
from handsynth.dataset.sidecars import SIDECAR_DIR, merge_index, read_sidecars, whole_shards, write_sidecar

PLAN: dict[str, Any] = {
    "schema": SCHEMA, "name": "n", "dataset": "d", "spec": {}, "selection": "all", "assets": {}, "num_vertices": 1, "num_shapes": 1,
    "fingertips": [],
}  # fmt: skip


def publish(folder: LocalFolder, number: int, driver: str, dataset: str = "d") -> None:
    """A shard whose bytes depend on the driver, as pixels do, and whose size does not."""
    info = folder.write_shard(shard_name(number), [(number, {"jpg": driver.encode()})])
    write_sidecar(folder, dataclasses.replace(info, driver=driver), dataset)


@pytest.fixture
def folder(tmp_path) -> LocalFolder:
    return LocalFolder(tmp_path)


def listed_and_there(folder: LocalFolder) -> tuple[list[str], list[str]]:
    """Drivers by the index, of the whole and of each shard, and by the shards themselves, whose hashes the index must have."""
    index = read_index(folder)
    names = [entry["name"] for entry in index["shards"]]
    assert whole_shards(folder, "d", names) == set(names)
    drivers = [members["jpg"].decode() for name in names for _, members in read_shard(folder.path / name)]
    assert [entry["driver"] for entry in index["shards"]] == drivers
    return index["drivers"], sorted(set(drivers))


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_two_drivers_that_race_leave_one_shard_and_its_own_sidecar(folder, order):
    """The index tells of the shard that lies there, and not of the one that it replaced, though both have the same size."""
    for driver in order:
        publish(folder, 0, driver)
    publish(folder, 1, "a")
    assert merge_index(folder, PLAN, 2, set())
    message, there = listed_and_there(folder)
    assert message == there == sorted({order[1], "a"})
    before = (folder.path / "index.json").read_bytes()
    assert merge_index(folder, PLAN, 2, set())
    assert (folder.path / "index.json").read_bytes() == before


def test_a_shard_replaced_while_the_index_is_written_ends_in_it(folder):
    """What another node does between reading the sidecars and writing the index is seen by the look afterwards."""
    publish(folder, 0, "a")

    others = ["b", "c"]

    class Raced(LocalFolder):
        def write(self, name: str, data: bytes) -> None:
            if others:
                publish(folder, 0, others.pop(0))
                assert merge_index(folder, PLAN, 1, set())
            super().write(name, data)

    assert merge_index(Raced(folder.path), PLAN, 1, set())
    message, there = listed_and_there(folder)
    assert message == there == ["c"]


@pytest.mark.parametrize("missing", ["shard", "sidecar", "both"])
def test_no_index_before_every_shard_is_there(folder, missing):
    """A shard without sidecar, or a sidecar without shard, is no shard."""
    publish(folder, 0, "a")
    publish(folder, 1, "a")
    if missing in ("shard", "both"):
        (folder.path / shard_name(1)).unlink()
    if missing in ("sidecar", "both"):
        next((folder.path / SIDECAR_DIR).glob(f"{shard_name(1)}.*")).unlink()
    assert not merge_index(folder, PLAN, 2, set())
    assert "index.json" not in folder.list()
    publish(folder, 1, "a")
    assert merge_index(folder, PLAN, 2, set())


def test_another_datasets_shards_do_not_count(folder):
    publish(folder, 0, "a", dataset="other")
    assert not merge_index(folder, PLAN, 1, set())
    assert whole_shards(folder, "d", [shard_name(0)]) == set()
    assert whole_shards(folder, "other", [shard_name(0)]) == {shard_name(0)}


def test_a_doubtful_shard_is_read(folder):
    """A shard of the right size and with other bytes is found where there is doubt."""
    publish(folder, 0, "a")
    data = bytearray((folder.path / shard_name(0)).read_bytes())
    data[600] ^= 1
    (folder.path / shard_name(0)).write_bytes(data)
    assert not merge_index(folder, PLAN, 1, {shard_name(0)})


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"[" * 100_000, b"\xff", b'{"name": 1}', b'{"name": "shard-000000.tar", "count": true}']
)
def test_damaged_sidecars_are_none(folder, content):
    """Whatever lies where a sidecar should be, under its name or one that fits it, is passed over."""
    publish(folder, 0, "a")
    (path,) = (folder.path / SIDECAR_DIR).glob("shard-*")
    path.write_bytes(content)
    (folder.path / SIDECAR_DIR / f"{shard_name(0)}.json").write_bytes(content)
    (folder.path / SIDECAR_DIR / f"{shard_name(0)}.0123456789abcdef.json").mkdir()
    assert read_sidecars(folder, "d") == {}


def test_a_sidecar_of_an_older_version_counts(folder):
    """Before sidecars had their digest in their name they were called after their shard alone."""
    info = folder.write_shard(shard_name(0), [(0, {"jpg": b"x"})])
    note = dataclasses.asdict(info) | {"dataset": "d", "driver": "a"}
    folder.write(f"{SIDECAR_DIR}/{info.name}.json", canonical_json(note))
    assert read_sidecars(folder, "d") == {info.name: [json.loads(canonical_json(note))]}
    assert merge_index(folder, PLAN, 1, set())


def test_leftovers_and_strangers_are_passed_over(folder: LocalFolder, tmp_path: Path):
    (tmp_path / SIDECAR_DIR).mkdir()
    for name in (".tmp-x-1-2-shard-000000.tar.json", "plan.json", "shard-1.tar.json", "notes.txt"):
        (tmp_path / SIDECAR_DIR / name).write_text("{}")
    assert read_sidecars(folder, "d") == {}
