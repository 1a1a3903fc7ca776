"""The reader of shards: it gives what lies in them, and names what is wrong with them."""

import contextlib
import dataclasses
import errno
import io
import json
import pickle
import shutil
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import simplejpeg
from object_store import object_store

from handmesh.cli.main import main
from handmesh.data.remote import open_files
from handmesh.data.shards import ShardDataset, index_shard, without_recipe
from handmesh.run_files import WEIGHTS, read_config
from handmesh.settings.mesh import TrainSpec
from handmesh.training.loop import Part, run_config
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.index import canonical_json
from handsynth.core.remote import RemoteFiles
from handsynth.core.shard import read_shard, shard_name
from handsynth.core.toy import toy_hand
from handsynth.dataset.folder import open_folder
from handsynth.dataset.generate import RunConfig


@pytest.fixture
def copy(hand_shards, tmp_path):
    """A dataset that a test may spoil."""
    return shutil.copytree(hand_shards, tmp_path / "copy")


def edit_index(folder, **changes):
    path = folder / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_gives_what_the_shards_hold(hand_shards):
    """Every sample, in order, with the image, labels and vertices that tarfile and json find there; both sides occur."""
    data = ShardDataset(hand_shards, toy_hand())
    held = [sample for path in sorted(hand_shards.glob("*.tar")) for sample in read_shard(path)]
    assert len(data) == len(held) == 12
    sides = set()
    for position, (index, members) in enumerate(held):
        record, labels = data.read(position), json.loads(members["json"])
        assert (record.index, record.side, record.dataset) == (index, labels["side"], labels["dataset"])
        np.testing.assert_array_equal(record.image, simplejpeg.decode_jpeg(members["jpg"], "RGB"))
        np.testing.assert_array_equal(record.vertices, np.load(io.BytesIO(members["vertices.npy"])))
        for name, found in (("K", record.K), ("keypoints_cam", record.keypoints), ("bbox_xyxy", record.bbox)):
            np.testing.assert_array_equal(found, labels[name])
        sides.add(record.side)
    assert sides == {"right", "left"}


def test_labels_and_image_are_read_one_without_the_other(hand_shards):
    """The record without its image is the whole one but for that, of whose size it is; the image by itself, of three channels or
    four, has its colours, in rows that libjpeg-turbo does not write past the caches: none at a multiple of 32 bytes."""
    data = ShardDataset(hand_shards, toy_hand())
    for position in range(len(data)):
        whole, labels = data.read(position), data.read(position, pixels=False)
        assert labels.image.shape == (*whole.image.shape[:2], 0)
        for field in dataclasses.fields(whole):
            if field.name != "image":
                np.testing.assert_array_equal(getattr(labels, field.name), getattr(whole, field.name))
        for channels in (3, 4):
            image = data.image(position, len(labels.image), channels)
            np.testing.assert_array_equal(image[..., :3], whole.image)
            assert image.shape[2] == channels
            assert image.ctypes.data % 32
    with pytest.raises(HandsynthError, match=r"sample 0: the image is damaged: .* its labels say 9 x 9"):
        data.image(0, 9)


@pytest.mark.parametrize("size", ["-9", "0", "65536", "9" * 30])
def test_a_size_that_no_image_has_is_named(copy, size):
    """In labels that are read with their image or without it, and before anything so large is made."""
    shard = copy / "shard-000000.tar"
    whole, (offset, length) = shard.read_bytes(), index_shard(shard, 4)[0, 3:5].tolist()
    labels = json.loads(whole[offset : offset + length]) | {"image_size": int(size), "recipe": None}
    shard.write_bytes(whole[:offset] + json.dumps(labels).ljust(length).encode() + whole[offset + length :])
    for pixels in (True, False):
        with pytest.raises(HandsynthError, match=rf"shard-000000\.tar, sample 0: image_size is {size}, expected 1 to 65535"):
            ShardDataset(copy).read(0, pixels)


def test_survives_pickling(hand_shards):
    """A reader sent to another process after use reads the same there."""
    data = ShardDataset(hand_shards)
    first = data.read(5)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data)).read(5).image, first.image)


def test_truncated_shard_is_named_or_skipped(copy):
    """Cut anywhere before its end mark, a shard is refused by name; with skip_bad the others are read."""
    shard = copy / "shard-000001.tar"
    whole, table = shard.read_bytes(), index_shard(shard, 4)
    end = int(-(-table[-1, 5:].sum() // 512) * 512)  # of the last member, vertices.npy, with its padding
    for keep in (0, 300, 512, 5000, int(table[-1, 3]), int(table[-1, 5:].sum()) - 1, end):
        shard.write_bytes(whole[:keep])
        with pytest.raises(HandsynthError, match=r"shard-000001\.tar is (truncated|damaged).*--skip-bad"):
            ShardDataset(copy)
    data = ShardDataset(copy, skip_bad=True)
    assert len(data) == 8
    assert list(data.bad_shards) == ["shard-000001.tar"]
    shard.write_bytes(whole[: end + 512])  # the end mark's first block is there: nothing is missing
    assert len(ShardDataset(copy)) == 12


def test_missing_shard_is_named(copy):
    (copy / "shard-000002.tar").unlink()
    with pytest.raises(HandsynthError, match=r"shard-000002\.tar cannot be read"):
        ShardDataset(copy)


def test_any_damaged_header_is_noticed(hand_shards):
    """A header with any one byte of its first 160 flipped is refused, or names the same member (bytes that tar ignores)."""
    path = hand_shards / "shard-000000.tar"
    whole = index_shard(path, 4)
    data = bytearray(path.read_bytes())
    spoilt = hand_shards.parent / "spoilt.tar"
    for at in range(160):
        changed = bytearray(data)
        changed[at] ^= 0x11
        spoilt.write_bytes(changed[:])
        try:
            np.testing.assert_array_equal(index_shard(spoilt, 4), whole)
            assert 148 <= at < 156, f"byte {at} went unnoticed"  # only the writing of the checksum itself has variants
        except HandsynthError:
            pass


def test_damaged_member_names_shard_and_sample(copy):
    """Headers whole, contents not: the image, the labels and the vertices are each checked when read."""
    shard = copy / "shard-000000.tar"
    whole, table = shard.read_bytes(), index_shard(shard, 4)
    for kind, reason in ((0, "image is damaged"), (1, "JSON is missing or damaged"), (2, "npy is damaged")):
        offset = table[1, 1 + 2 * kind]
        shard.write_bytes(whole[:offset] + b"\xee" * 60 + whole[offset + 60 :])
        data = ShardDataset(copy)
        data.read(0)
        with pytest.raises(HandsynthError, match=rf"shard-000000\.tar, sample {table[1, 0]}: .*{reason}"):
            data.read(1)


def test_labels_are_read_without_their_recipe(hand_shards):
    """What is left of a sample's JSON is its JSON with null for the recipe; it is left whole where it is written otherwise."""
    for path in sorted(hand_shards.glob("*.tar")):
        for _, members in read_shard(path):
            labels, cut = json.loads(members["json"]), without_recipe(members["json"])
            assert len(cut) < 0.7 * len(members["json"])
            assert json.loads(cut) == labels | {"recipe": None}
            quoting = labels | {"background": labels["background"] | {"name": ',"recipe":{"a":1},"schema":"b"'}}
            assert json.loads(without_recipe(canonical_json(quoting))) == quoting | {"recipe": None}
            assert without_recipe(json.dumps(labels).encode()) == json.dumps(labels).encode()
            nested = canonical_json(labels | {"background": labels["background"] | {"recipe": {}}})
            with pytest.raises(ValueError):
                json.loads(without_recipe(nested))


def test_a_sample_is_read_whatever_its_json_looks_like(copy):
    """Spaced, in another order, or with an object that has a recipe too: the same record as of the JSON as it was written."""
    shard, (_, members), before = (
        copy / "shard-000000.tar",
        next(iter(read_shard(copy / "shard-000000.tar"))),
        ShardDataset(copy).read(0),
    )
    labels, whole, (offset, size) = json.loads(members["json"]), shard.read_bytes(), index_shard(shard, 4)[0, 3:5].tolist()
    less = labels | {"recipe": {"a": 1}}
    nested = less | {"background": labels["background"] | {"recipe": {}}}
    for text in (json.dumps(less), json.dumps(dict(reversed(less.items()))), canonical_json(nested).decode()):
        shard.write_bytes(whole[:offset] + text.ljust(size).encode() + whole[offset + size :])
        assert len(text) <= size
        after = ShardDataset(copy).read(0)
        for field in dataclasses.fields(after):
            np.testing.assert_array_equal(getattr(after, field.name), getattr(before, field.name))


def test_a_damaged_recipe_stops_who_reads_it(copy):
    """Training does not read recipes, and goes on; `labels` names shard and sample."""
    shard = copy / "shard-000000.tar"
    whole, (offset, size) = shard.read_bytes(), index_shard(shard, 4)[0, 3:5].tolist()
    at = whole.index(b'"recipe":{', offset) + 20
    assert at < offset + size
    shard.write_bytes(whole[:at] + b"\xee" * 9 + whole[at + 9 :])
    data = ShardDataset(copy)
    assert data.read(0).index == index_shard(shard, 4)[0, 0]
    with pytest.raises(HandsynthError, match=r"shard-000000\.tar, sample 0: .*JSON is missing or damaged"):
        data.labels(0)


def test_shard_of_another_dataset_is_noticed(copy):
    """A shard that strayed in from another dataset is not taken for ours."""
    edit_index(copy, dataset="0" * 64)
    with pytest.raises(HandsynthError, match="of dataset"):
        ShardDataset(copy).read(0)


def test_another_hand_is_refused(copy):
    """Vertices, fingertips and every array of the hand must be those that the net was made for."""
    hand = toy_hand()
    with pytest.raises(UsageError, match="another digest"):
        ShardDataset(copy, dataclasses.replace(hand, v_template=hand.v_template * 1.01))
    with pytest.raises(UsageError, match="fingertips"):
        ShardDataset(copy, dataclasses.replace(hand, fingertips=hand.fingertips[::-1].copy()))
    edit_index(copy, num_vertices=778)
    with pytest.raises(UsageError, match="778 vertices"):
        ShardDataset(copy, hand)


def test_another_schema_is_refused(copy):
    edit_index(copy, schema="handsynth/9")
    with pytest.raises(HandsynthError, match=r"handsynth/9.*this version reads"):
        ShardDataset(copy)


# Behind an address


@pytest.fixture(scope="module")
def store() -> Iterator[None]:
    """An object store that drops one request in ten."""
    with object_store(10) as (env, _), pytest.MonkeyPatch.context() as patch:
        for key, value in env.items():
            patch.setenv(key, value)
        yield


@pytest.fixture(params=["memory", "s3"])
def address(request, tiny_world, tmp_path, monkeypatch) -> str:
    """Samples 0:12 behind an address of each kind, and an empty cache."""
    monkeypatch.setenv("HANDSYNTH_CACHE", str(tmp_path / "cache"))
    if request.param == "s3":
        request.getfixturevalue("store")
    where = f"{request.param}://bucket/{uuid.uuid4()}/out"
    tiny_world.generate(where)
    return where


@pytest.fixture
def fetched(monkeypatch) -> list[str]:
    """Names of the files that are fetched."""
    names: list[str] = []
    fetch = RemoteFiles.fetch

    def noting(self, name, path):
        names.append(name)
        fetch(self, name, path)

    monkeypatch.setattr(RemoteFiles, "fetch", noting)
    return names


def test_a_dataset_behind_an_address_reads_like_a_folder(address, hand_shards, fetched):
    """The same samples in the same order; each shard is fetched once, also for readers at the same time, and never again."""
    with ThreadPoolExecutor(3) as pool:
        readers = list(pool.map(lambda _: ShardDataset(address, toy_hand()), range(3)))
    assert sorted(fetched) == [shard_name(k) for k in range(3)]
    local = ShardDataset(hand_shards)
    for data in [*readers, ShardDataset(address)]:
        assert (data.identity, data.source, len(data)) == (local.identity, address, 12)
        for position in range(12):
            a, b = data.read(position), local.read(position)
            np.testing.assert_array_equal(a.image, b.image)
            np.testing.assert_array_equal(a.vertices, b.vertices)
    assert len(fetched) == 3


def test_a_fetch_that_was_stopped_is_gone_on_with(address, fetched, monkeypatch):
    """Shards that were fetched are kept, half of one is not; a shard that was cut in the cache is fetched again."""
    noting = RemoteFiles.fetch

    def stops(self, name, path):
        if name == shard_name(2):
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        noting(self, name, path)

    with monkeypatch.context() as patch:
        patch.setattr(RemoteFiles, "fetch", stops)
        with pytest.raises(KeyboardInterrupt):
            ShardDataset(address)
    assert sorted(fetched) == [shard_name(0), shard_name(1)]
    data = ShardDataset(address)
    assert fetched[2:] == [shard_name(2)]
    (data.folder / shard_name(1)).write_bytes(b"cut")
    assert len(ShardDataset(address)) == 12
    assert fetched[3:] == [shard_name(1)]


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_bad_remote_shard_is_named_or_left_out(address, damage):
    """A shard that is missing, or whose bytes are not those of the index, is never taken for good, in the cache neither."""
    folder, name = open_folder(address), shard_name(1)
    good = folder.read(name)
    folder.remove(name)
    if damage == "changed":
        folder.write(name, good[:600] + b"!" + good[601:])
    reason = {"gone": "cannot be read: it does not exist", "changed": "is damaged: its SHA-256 is"}[damage]
    for _ in range(2):
        with pytest.raises(HandsynthError, match=rf"{address}/{name} {reason}"):
            ShardDataset(address)
        data = ShardDataset(address, skip_bad=True)
        assert len(data) == 8
        assert reason in data.bad_shards[name]
    folder.write(name, good)
    assert len(ShardDataset(address)) == 12


def test_a_dataset_that_is_made_anew_is_fetched_anew(address, tiny_world):
    """Other samples at the same address: the copy of the former ones is not taken for them."""
    before = ShardDataset(address)
    tiny_world.generate(address, seed=1, run=RunConfig(overwrite=True))
    after = ShardDataset(address)
    assert before.folder != after.folder
    assert before.identity != after.identity


@pytest.mark.usefixtures("store")
def test_what_is_no_dataset_behind_an_address(tmp_path, monkeypatch):
    """One sentence each: nothing there, no such bucket, no such kind of address, no library for it."""
    monkeypatch.setenv("HANDSYNTH_CACHE", str(tmp_path / "cache"))
    for where in ("s3://bucket/nothing", "s3://nobody/set", "memory://nothing/here"):
        with pytest.raises(HandsynthError, match=rf"{where} holds no index\.json"):
            ShardDataset(where)
    with pytest.raises(UsageError, match="Protocol not known: nope"):
        ShardDataset("nope://bucket/x")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(AssetError, match=r"s3:// needs a library .*pip install 'handsynth\[farm\]'"):
        ShardDataset("s3://bucket/x")


@pytest.mark.parametrize("address", ["memory"], indirect=True)
def test_a_cache_without_room_is_named_before_anything_is_fetched(address, fetched, tmp_path, monkeypatch):
    """A cache whose disk is smaller than the dataset, or that cannot be written to: HANDSYNTH_CACHE is what to set."""
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(HandsynthError, match=r"GB to fetch, .* free: set HANDSYNTH_CACHE to a folder on a larger disk"):
            ShardDataset(address)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HANDSYNTH_CACHE", str(tmp_path / "file"))
    with pytest.raises(AssetError, match="HANDSYNTH_CACHE"):
        ShardDataset(address)
    assert fetched == []


@pytest.mark.parametrize("address", ["memory"], indirect=True)
def test_a_full_disk_is_named_at_once(address, monkeypatch):
    """Full while a shard is fetched: nothing is requested again, as that would not help."""
    requested: list[str] = []

    def full(self, name, path):
        requested.append(name)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(open_files(address)._files), "get_file", full)
    with pytest.raises(HandsynthError, match=rf"{address} does not fit into .*: set HANDSYNTH_CACHE"):
        ShardDataset(address)
    assert len(requested) == len(set(requested))


@pytest.mark.parametrize("address", ["s3"], indirect=True)
def test_commands_train_and_evaluate_from_an_object_store(address, hand_shards, tmp_path, monkeypatch, capsys):
    """`handmesh train mesh` and `evaluate` take addresses: the weights are those of the same dataset on a disk, bit for bit."""
    spec = tmp_path / "spec.yaml"
    spec.write_text("{net: lite-fast, side: 32, batch: 4, epochs: 1, pretrained: false}")
    how = ("--workers", "1", "--device", "cpu")

    def handmesh(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["handmesh", *map(str, arguments), *how])
        with contextlib.suppress(SystemExit):
            main()
        return capsys.readouterr().out

    for where, out in ((address, tmp_path / "remote"), (str(hand_shards), tmp_path / "local")):
        assert "1 epochs" in handmesh("train", "mesh", spec, "--data", f"{where}=0.5", "--val", where, "--out", out)
    assert (tmp_path / "remote" / WEIGHTS).read_bytes() == (tmp_path / "local" / WEIGHTS).read_bytes()
    assert read_config(tmp_path / "remote")["datasets"][0]["folder"] == address
    found = json.loads(handmesh("evaluate", tmp_path / "remote", "--data", address, "--json"))
    assert found["datasets"][0] == {
        "folder": address, "name": "tiny", "identity": ShardDataset(hand_shards).identity, "hands": 12,
    }  # fmt: skip


def test_no_record_holds_the_secrets_of_an_address(tiny_world, tmp_path, monkeypatch):
    """A run trained from an address with a password says where its data lay, without it."""
    monkeypatch.setenv("HANDSYNTH_CACHE", str(tmp_path / "cache"))
    where = f"memory://me:hunter2secret@bucket/{uuid.uuid4()}?token=hunter2secret"
    tiny_world.generate(where, "0:4")
    data = ShardDataset(where)
    assert data.source.startswith("memory://***@bucket/")
    config = run_config(TrainSpec(), [Part(data, 1.0)], [data], toy_hand())
    assert data.source == config["datasets"][0]["folder"]
    assert "hunter2" not in repr(config)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
