"""The reader of shards: it gives what lies in them, and names what is wrong with them."""

import dataclasses
import io
import json
import pickle
import shutil

import numpy as np
import pytest
import simplejpeg

from handmesh.data.shards import ShardDataset, index_shard
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.shard import read_shard
from handsynth.core.toy import toy_hand


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
