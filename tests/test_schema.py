"""The schema: datasets of older ones stay readable and are never continued; what a hand decides is the hand's."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handmesh.data.shards import ShardDataset
from handsynth.core.conventions import GENERATOR_VERSION, READABLE_SCHEMAS, SCHEMA
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import save_hand
from handsynth.core.index import canonical_json, index_bytes, read_index
from handsynth.core.sample import ADDED, decode_npy
from handsynth.core.shard import read_shard, write_shard
from handsynth.core.toy import toy_hand
from handsynth.dataset.folder import open_folder
from handsynth.dataset.generate import RunConfig
from handsynth.dataset.replay import replay
from handsynth.dataset.sidecars import PLAN, SIDECAR_DIR, write_sidecar
from handsynth.dataset.statistics import collect_stats, sample_sheet
from handsynth.dataset.verify import verify
from handsynth.recipe.spec import recorded_identity
from handsynth.visibility import keypoint_clearance

PASSES = "depth, parts"
NOT_IN_PLAN = {"samples", "drivers", "replaced_backgrounds", "shards"}
"""Keys of an index that its shards add."""


def rewrite(out: Path, change_index: Any, change_labels: Any = lambda labels, members: labels) -> None:
    """Changes index and labels of a dataset, and makes shards, sidecars and plan agree with them."""
    index, folder = json.loads((out / "index.json").read_bytes()), open_folder(out)
    change_index(index)
    index["dataset"] = recorded_identity(index)
    entries = []
    shutil.rmtree(out / SIDECAR_DIR)
    for entry in index["shards"]:
        samples = []
        for number, members in read_shard(out / entry["name"]):
            labels = json.loads(members["json"]) | {"schema": index["schema"], "dataset": index["dataset"]}
            samples.append((number, members | {"json": canonical_json(change_labels(labels, members))}))
        entries.append(dataclasses.replace(write_shard(out / entry["name"], samples), driver=index["drivers"][0]))
        write_sidecar(folder, entries[-1], index["dataset"])
    index["shards"] = [dataclasses.asdict(entry) for entry in entries]
    (out / PLAN).write_bytes(canonical_json({key: value for key, value in index.items() if key not in NOT_IN_PLAN}))
    (out / "index.json").write_bytes(index_bytes(index))


def to_first_schema(out: Path) -> None:
    """Makes of a dataset what handsynth 0.1 wrote: schema 1 knows neither versions, shapes, nor the light that was used, and calls
    keypoints visible whatever part of the hand is less than the tolerance in front of them.
    """

    def change(index: dict[str, Any]) -> None:
        index["schema"] = READABLE_SCHEMAS[0]
        for key in ("generator_version", "num_shapes"):
            del index[key]
        index["spec"]["camera"]["azimuth_deg"] = [-720.0, 720.0]  # in a grid no longer taken
        index["spec"]["camera"]["order"] = "grid"

    def change_labels(labels: dict[str, Any], members: dict[str, bytes]) -> dict[str, Any]:
        vertices = decode_npy(members["vertices.npy"], "here")
        places = np.array(labels["keypoints_cam"]), np.array(labels["keypoints_xy"]), vertices
        inside, clear = keypoint_clearance(*places, toy_hand(), np.array(labels["K"]), labels["image_size"], READABLE_SCHEMAS[0])
        kept = {key: value for key, value in labels.items() if key not in ADDED or key == "background"}
        return kept | {"keypoints_visible": (inside & (clear >= 0)).astype(int).tolist()}

    rewrite(out, change, change_labels)


def to_second_schema(out: Path) -> None:
    """Makes of a dataset what handsynth wrote before hands had forearms."""

    def change(index: dict[str, Any]) -> None:
        index["schema"], index["generator_version"] = READABLE_SCHEMAS[1], 1
        del index["spec"]["arm"]

    newer = {key for key, schema in ADDED.items() if schema == SCHEMA}
    rewrite(out, change, lambda labels, members: {key: value for key, value in labels.items() if key not in newer})


def to_another_generator(out: Path) -> None:
    rewrite(out, lambda index: index.update(generator_version=GENERATOR_VERSION + 1))


@pytest.fixture(scope="module")
def made(tiny_world, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("schema") / "out"
    tiny_world.generate(out, passes=PASSES)
    return out


@pytest.fixture(params=[to_first_schema, to_second_schema, to_another_generator])
def old(made, tmp_path, request) -> Path:
    """A dataset that other code made."""
    out = Path(shutil.copytree(made, tmp_path / "old"))
    request.param(out)
    return out


def test_a_dataset_of_older_code_is_read_everywhere(old, made, tiny_world):
    """It is verified without a fault, described, shown, and trained on, with the numbers that it was made with."""
    findings = verify(old, tiny_world.assets)
    assert (findings.faults, findings.samples, findings.silhouettes) == ([], 12, 12)
    before, after = collect_stats(made), collect_stats(old)
    changed = {key for key in before if before[key] != after.get(key)}
    assert changed <= {"dataset", "bytes"} | ({"visible"} if read_index(old)["schema"] == READABLE_SCHEMAS[0] else set()) | (
        {"visible_share"} if read_index(old)["schema"] != SCHEMA else set()
    )
    assert sample_sheet(old, 5).shape == sample_sheet(made, 5).shape
    for position, data in enumerate([ShardDataset(made), ShardDataset(old)]):
        assert len(data) == 12, position
    np.testing.assert_array_equal(ShardDataset(made).read(7).vertices, ShardDataset(old).read(7).vertices)


def test_a_dataset_of_older_code_is_neither_continued_nor_replayed(old, tiny_world):
    """One sentence that names both versions, and no byte of it is touched; --overwrite replaces it."""
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    schema = read_index(old)["schema"]
    found, here = ((f"'{schema}'", f"'{SCHEMA}'"), (str(GENERATOR_VERSION + 1), str(GENERATOR_VERSION)))[schema == SCHEMA]
    with pytest.raises(UsageError, match=f"holds another dataset .*{found}, not {here}.*--overwrite") as refused:
        tiny_world.generate(old, passes=PASSES)
    assert "\n" not in str(refused.value)
    for call in (lambda: replay(old, [5], tiny_world.assets), lambda: verify(old, tiny_world.assets, replays=2)):
        with pytest.raises(UsageError, match=f"made by handsynth .* {schema}.*a replay needs the version that made it"):
            call()
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before
    tiny_world.generate(old, passes=PASSES, run=RunConfig(overwrite=True))
    assert verify(old, tiny_world.assets, replays=2).faults == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "handsynth/99"}, "schema is 'handsynth/99', this version reads handsynth/1, handsynth/2, handsynth/3"),
        ({"schema": "handsynth/02"}, "this version reads"),
        ({"num_shapes": None}, "num_shapes is None"),
        ({"num_shapes": -1}, "num_shapes is -1"),
        ({"num_shapes": 10.0}, "num_shapes is 10.0"),
        ({"num_shapes": True}, "num_shapes is True"),
    ],
)
def test_an_index_that_cannot_be_read_is_refused_by_every_reader(made, tmp_path, tiny_world, changes, message):
    """One sentence that names the file, wherever it is opened."""
    out = Path(shutil.copytree(made, tmp_path / "copy"))
    (out / "index.json").write_bytes(index_bytes(json.loads((out / "index.json").read_bytes()) | changes))
    for read in (read_index, ShardDataset, collect_stats, lambda folder: verify(folder, tiny_world.assets)):
        with pytest.raises(HandsynthError, match=f"index.json.*{re.escape(message)}"):
            read(out)


@pytest.mark.parametrize("shapes", [0, 3, 12])
def test_a_hand_of_any_number_of_shapes_is_generated_and_read(tiny_world, tmp_path, shapes):
    """beta is as long as the hand says, in recipe, labels and index; every reader takes it, replay gives the same bytes."""
    hand, rng = toy_hand(), np.random.default_rng(0)
    more = rng.normal(0, 1e-4, (hand.num_vertices, 3, 2))
    shapedirs = np.concatenate([hand.shapedirs, more], 2)[..., :shapes]
    (tmp_path / "hand").mkdir()
    save_hand(tmp_path / "hand" / "hand.npz", dataclasses.replace(hand, name="other", shapedirs=shapedirs))
    out = tmp_path / "out"
    tiny_world.generate(out, "0:6", hand=tmp_path / "hand" / "hand.npz")
    assert read_index(out)["num_shapes"] == shapes
    assert verify(out, tiny_world.assets, replays=6).faults == []
    assert all(result.different == () for result in replay(out, [0, 5], tiny_world.assets))
    assert collect_stats(out)["samples"] == 6
    data = ShardDataset(out)
    for position in range(len(data)):
        labels = data.labels(position)
        assert len(labels["beta"]) == len(labels["recipe"]["beta"]) == shapes
        assert data.read(position).vertices.shape == (hand.num_vertices, 3)


def test_the_light_that_was_used_is_recorded(made):
    """ambient_used lies between the recipe's own colour and the same brightness in the background's, by the recipe's share."""
    for path in sorted(made.glob("*.tar")):
        for _, members in read_shard(path):
            labels = json.loads(members["json"])
            own, tint = np.array(labels["recipe"]["ambient"]["color"]), labels["recipe"]["ambient"]["background_tint"]
            used = np.array(labels["ambient_used"])
            assert abs(used.mean() - own.mean()) < 2e-4  # the brightness is the recipe's
            behind = own + (used - own) / tint
            assert (behind >= -1e-3).all()
            assert np.abs(used - own).max() > 1e-3
            assert set(labels["background"]) == {"name", "licence", "replaced"}


def test_on_another_driver_measured_light_may_differ_and_no_other_label(made, tmp_path, tiny_world):
    """ambient_used is measured on decoded backgrounds, whose last bits are a codec's: only on the same driver must it be equal."""
    out = Path(shutil.copytree(made, tmp_path / "copy"))
    rewrite(out, lambda index: None, lambda labels, members: labels | {"ambient_used": [v + 1e-4 for v in labels["ambient_used"]]})
    (found,) = replay(out, [5], tiny_world.assets)
    assert (found.different, found.same_driver, found.faithful) == (("json",), True, False)
    rewrite(out, lambda index: index.update(drivers=["another one"]))
    (found,) = replay(out, [5], tiny_world.assets)
    assert (found.different, found.same_driver, found.faithful) == ((), False, True)
    rewrite(out, lambda index: None, lambda labels, members: labels | {"beta": [value + 1e-6 for value in labels["beta"]]})
    assert not replay(out, [5], tiny_world.assets)[0].faithful
