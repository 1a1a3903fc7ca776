"""Other people's readers: the libraries webdataset and datasets iterate the shards as they are."""

import io
import json
import tarfile

import numpy as np
import pytest

from handsynth.core.sample import PASSES, SCENE_FACES, SCENE_VERTICES

MEMBERS = {"jpg", "mask.png", "json", "vertices.npy", *(f"{name}.png" for name in PASSES), SCENE_VERTICES, SCENE_FACES}


@pytest.fixture(scope="module")
def shards(toy_dataset) -> list[str]:
    return sorted(str(path) for path in toy_dataset.folder.glob("*.tar"))


@pytest.fixture(scope="module")
def by_hand(shards) -> dict[str, dict[str, bytes]]:
    """Key -> member -> bytes, read with tarfile."""
    found: dict[str, dict[str, bytes]] = {}
    for shard in shards:
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                found.setdefault(key, {})[extension] = tar.extractfile(member).read()
    return found


def test_webdataset_iterates_the_shards(shards, by_hand):
    """Every sample once, in order, with every member's bytes under its extension."""
    import webdataset

    read = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert [sample["__key__"] for sample in read] == list(by_hand)
    for sample in read:
        assert {name for name in sample if not name.startswith("__")} == MEMBERS
        assert {name: sample[name] for name in MEMBERS} == by_hand[sample["__key__"]]


def test_webdataset_decodes_the_members(shards):
    """Its own decoders make arrays of image, mask, labels and vertices."""
    import webdataset

    read = webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8").to_tuple("jpg", "mask.png", "json", "vertices.npy")
    count = 0
    for image, mask, labels, vertices in read:
        size = labels["image_size"]
        assert image.shape == (size, size, 3)
        assert set(np.unique(mask)) == {0, 255}
        assert vertices.dtype == np.float32
        count += 1
    assert count == 48


@pytest.mark.parametrize("how", ["files", "pattern", "folder"])
def test_datasets_loads_the_shards(toy_dataset, shards, by_hand, tmp_path, how):
    """load_dataset("webdataset", data_files=...) and load_dataset(OUT), offline: the same keys, images, labels, vertices.

    With data_dir=OUT alone the library takes every file of the folder for a shard, index.json too, and refuses it.
    """
    import datasets

    arguments = {
        "files": {"path": "webdataset", "data_files": {"train": shards}},
        "pattern": {"path": "webdataset", "data_files": f"{toy_dataset.folder}/*.tar"},
        "folder": {"path": str(toy_dataset.folder)},
    }[how]
    read = datasets.load_dataset(**arguments, split="train", cache_dir=str(tmp_path))
    assert list(read["__key__"]) == list(by_hand)
    assert set(read.column_names) >= MEMBERS
    for row in read.select([0, 17, 47]):
        expected = by_hand[row["__key__"]]
        labels = json.loads(expected["json"])
        for name in ("index", "side", "K", "keypoints_xy", "keypoints_visible", "theta"):
            assert row["json"][name] == labels[name], name
        np.testing.assert_array_equal(np.array(row["vertices.npy"], np.float32), np.load(io.BytesIO(expected["vertices.npy"])))
        assert row["jpg"].size == (labels["image_size"],) * 2
        assert set(np.unique(np.asarray(row["mask.png"]))) == {0, 255}
