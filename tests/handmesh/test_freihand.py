"""A tiny folder in FreiHAND's layout, made of synthetic hands: it converts to their poses and meshes, or says what is missing."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from freihand_folder import HAND, ORIGINALS, K, write_training

from handmesh.data.freihand import VERSIONS, _items, convert_freihand
from handmesh.data.shards import ShardDataset
from handsynth.core.camera import project
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import pose_hand, save_hand
from handsynth.core.sample import decode_labels
from handsynth.core.shard import read_shard
from handsynth.core.toy import toy_hand


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, and the (n, 16, 3) poses relative to the flat hand and (n, V, 3) vertices that it was made from."""
    src = tmp_path_factory.mktemp("frei") / "src"
    theta, posed = write_training(src)
    return src, theta, posed.vertices


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return shutil.copytree(made[0], tmp_path / "src")


def test_conversion(made, tmp_path):
    """Every version of every original once, all versions on one side; poses relative to the flat hand that, posed and moved, give
    the very vertices; images untouched; projections half a pixel from FreiHAND's, which count from the first pixel's centre.
    """
    src, theta, vertices = made
    summary = convert_freihand(src, tmp_path, HAND, shard_size=15)
    assert (summary["train"], summary["val"], summary["originals"]) == (40, 4, 11)
    seen, sides = [], {}
    for split in ("train", "val"):
        data = ShardDataset(tmp_path / split, HAND)
        held = [sample for path in sorted((tmp_path / split).glob("*.tar")) for sample in read_shard(path)]
        assert len(data) == len(held) == summary[split]
        for position, (image, members) in enumerate(held):
            record, labels, k = data.read(position), decode_labels(members, "here", data.index), image % ORIGINALS
            assert labels["recipe"] == {"source": "FreiHAND v2", "original": k, "version": VERSIONS[image // ORIGINALS]}
            assert members["jpg"] == (src / f"training/rgb/{image:08d}.jpg").read_bytes()
            np.testing.assert_allclose(np.reshape(labels["theta"], (16, 3)), theta[k], atol=1e-6)
            np.testing.assert_allclose(record.vertices, vertices[k], atol=1e-6)
            posed = pose_hand(HAND, np.reshape(labels["theta"], (16, 3)), labels["beta"], labels["trans"])
            np.testing.assert_allclose(posed.vertices, vertices[k], atol=1e-5)  # labels are rounded to 1e-6
            np.testing.assert_allclose(posed.keypoints, record.keypoints, atol=1e-5)
            np.testing.assert_allclose(project(record.vertices, record.K), project(record.vertices, K) + 0.5, atol=1e-6)
            seen.append(image)
            sides.setdefault(k, set()).add(split)
    assert sorted(seen) == list(range(4 * ORIGINALS))
    assert all(len(where) == 1 for where in sides.values())
    with pytest.raises(UsageError, match="finished dataset already"):
        convert_freihand(src, tmp_path, HAND)


def test_conversion_is_deterministic(made, tmp_path):
    """Twice the same bytes."""
    for name in ("a", "b"):
        convert_freihand(made[0], tmp_path / name, HAND)
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


@pytest.mark.parametrize("part", ["training_verts.json", "training_mano.json", "training/rgb", "training/mask"])
def test_missing_part_is_named(copy, tmp_path, part):
    (shutil.rmtree if (copy / part).is_dir() else Path.unlink)(copy / part)
    with pytest.raises(UsageError, match=f"no whole FreiHAND v2: {part} missing"):
        convert_freihand(copy, tmp_path / "out", HAND)


def test_missing_image_is_named(copy, tmp_path):
    """FreiHAND v1 has one version of each image: that is reported before anything is written."""
    for i in range(ORIGINALS, 4 * ORIGINALS):
        (copy / f"training/rgb/{i:08d}.jpg").unlink()
    with pytest.raises(UsageError, match=r"lacks 33 of 44 images, the first 00000011\.jpg"):
        convert_freihand(copy, tmp_path / "out", HAND)
    assert not (tmp_path / "out").exists()


def test_damaged_labels_are_named(copy, tmp_path):
    path = copy / "training_verts.json"
    whole = path.read_text()
    for spoilt, reason in ((whole[:-1000], ""), ("{}", "no list"), ("[[1, 2]]", "entry 0 is not"), ("[NaN]", "entry 0 is not")):
        path.write_text(spoilt)
        with pytest.raises(HandsynthError, match=rf"training_verts\.json is damaged: .*{reason}"):
            convert_freihand(copy, tmp_path / "out", HAND)
    entries = json.loads(whole)
    path.write_text(json.dumps(entries[:-1]))
    with pytest.raises(HandsynthError, match=r"has 10 entries, training_K\.json 11"):
        convert_freihand(copy, tmp_path / "out", HAND)


def test_another_hand_is_refused(made, tmp_path):
    """A hand with another mean pose or other fingertips than FreiHAND's gives no labels."""
    with pytest.raises(HandsynthError, match=r"mm from training_verts\.json"):
        convert_freihand(made[0], tmp_path, dataclasses.replace(HAND, hands_mean=np.zeros((15, 3))))
    with pytest.raises(UsageError, match="FreiHAND's labels need 'freihand'"):
        convert_freihand(made[0], tmp_path, toy_hand())


def test_list_is_read_in_pieces(tmp_path):
    """Entries longer and shorter than what is read at a time come out as json reads them, as do plain numbers."""
    values = [[0.1] * 400_000, [1], [[2, 3], []], [-1.5e-7] * 7, *[1.5e-7] * 150_000]
    for indent in (None, 1):
        (tmp_path / "list.json").write_text(json.dumps(values, indent=indent))
        assert list(_items(tmp_path / "list.json")) == values


def test_command(made, tmp_path):
    """`handmesh convert freihand SRC OUT` says what it made; a missing folder is a usage error in one sentence."""
    save_hand(tmp_path / "hand.npz", HAND)
    command = [sys.executable, "-m", "handmesh", "convert", "freihand"]
    options = ["--hand", str(tmp_path / "hand.npz"), "--json"]
    run = subprocess.run([*command, str(made[0]), str(tmp_path / "out"), *options], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout)["train"] == 40
    run = subprocess.run([*command, str(tmp_path / "no"), str(tmp_path / "out2"), *options], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.startswith("handmesh: ")
    assert run.stderr.count("\n") == 1
