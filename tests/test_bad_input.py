"""Bad input from end to end: folders of damaged images, stored recipes and specs that lie, files that are something else."""

import dataclasses
import json
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny import World, dataset_bytes

from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.hand import save_hand
from handsynth.core.index import canonical_json, read_index
from handsynth.core.sample import decode_labels
from handsynth.core.shard import read_shard, write_shard
from handsynth.core.toy import toy_hand
from handsynth.dataset.generate import RunConfig
from handsynth.dataset.replay import replay
from handsynth.dataset.statistics import collect_stats
from handsynth.dataset.verify import verify


@pytest.fixture
def world(tiny_world, tmp_path) -> World:
    """A copy of the tiny world, its spec pointing at its own images."""
    world = World(tmp_path / "world")
    world.images.mkdir(parents=True)
    world.assets.mkdir()
    shutil.copy(tiny_world.folder / "skin.npz", world.folder / "skin.npz")
    return world


def noise(height: int, width: int, channels: int = 3, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width, channels), dtype).squeeze()


def fill_folder(folder: Path) -> dict[str, str]:
    """Images of every bad kind among good ones; returns the message about those that cannot serve from their headers alone."""
    for k in range(3):
        cv2.imwrite(str(folder / f"good{k}.jpg"), noise(64, 80, seed=k))
    whole = (folder / "good0.jpg").read_bytes()
    (folder / "a-truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "b-grey.png").write_bytes(cv2.imencode(".png", noise(50, 50, 1))[1].tobytes())
    Image.fromarray(noise(50, 60, 4), "CMYK").save(folder / "c-cmyk.jpg")
    cv2.imwrite(str(folder / "d-deep.png"), noise(50, 50, 1, np.uint16))
    cv2.imwrite(str(folder / "e-dot.png"), noise(1, 1).reshape(1, 1, 3))
    (folder / "f-text.jpg").write_text("this is no image")
    (folder / "g-empty.png").touch()
    (folder / "h-notes.txt").write_text("not even called an image")
    (folder / "i-outside.png").symlink_to("/etc/passwd")
    # Its header and its end are good and its middle is not: found out only when it is read.
    (folder / "j-rotten.png").write_bytes(_rotten((folder / "b-grey.png").read_bytes()))
    return {
        "a-truncated.jpg": "damaged",
        "e-dot.png": "1 x 1",
        "f-text.jpg": "its format is unknown",
        "g-empty.png": "",
        "i-outside.png": "",
    }


def _rotten(png: bytes) -> bytes:
    return png[:200] + bytes(reversed(png[200:-200])) + png[-200:]


def test_images_that_cannot_serve_are_skipped_named_and_replaced(world, tmp_path, capsys):
    """Grey, CMYK and 16-bit images serve; the others are named and counted; the same replacement is chosen on every run."""
    skipped = fill_folder(world.images)
    world.generate(tmp_path / "first", "0:40", shard_size=5)
    message = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped "))
    assert message.startswith(f"skipped {len(skipped)} of 12 images in {world.images}: ")
    assert all(name in message and reason in message for name, reason in skipped.items())

    index = read_index(tmp_path / "first")
    labels = [json.loads(m["json"]) for e in index["shards"] for _, m in read_shard(tmp_path / "first" / e["name"])]
    used = {sample["background"]["name"] for sample in labels}
    assert used == {"b-grey.png", "c-cmyk.jpg", "d-deep.png", "good0.jpg", "good1.jpg", "good2.jpg"}
    replaced = [sample for sample in labels if sample["background"]["replaced"]]
    assert 0 < len(replaced) == index["replaced_backgrounds"] == sum(e["replaced_backgrounds"] for e in index["shards"])
    # The one that rots in its middle comes after good2 in the list, which is a ring: the next is the first.
    assert {sample["background"]["name"] for sample in replaced} == {"b-grey.png"}

    world.generate(tmp_path / "second", "0:40", shard_size=5, run=RunConfig(jobs=2))
    assert dataset_bytes(tmp_path / "second") == dataset_bytes(tmp_path / "first")
    assert verify(tmp_path / "first", world.assets, replays=40).faults == []


@pytest.mark.parametrize("kind", ["empty", "no images", "only bad ones", "a file", "nothing"])
def test_a_background_folder_without_a_usable_image(world, tmp_path, kind):
    """Nothing is begun; the sentence names the folder and what to type."""
    folder = world.images
    if kind == "no images":
        (folder / "notes.txt").touch()
    elif kind == "only bad ones":
        (folder / "dot.png").write_bytes(cv2.imencode(".png", noise(1, 1).reshape(1, 1, 3))[1].tobytes())
    elif kind in ("a file", "nothing"):
        folder.rmdir()
        if kind == "a file":
            folder.touch()
    with pytest.raises(AssetError, match=f"{folder}.*--backgrounds") as raised:
        world.generate(tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_images_that_all_rot_are_one_sentence(world, tmp_path):
    """When every header promises an image and none can be read, the run ends in a sentence, not in a search without end."""
    for k in range(3):
        (world.images / f"{k}.png").write_bytes(_rotten(cv2.imencode(".png", noise(50, 50, seed=k))[1].tobytes()))
    with pytest.raises(AssetError, match=r"none of 3 backgrounds .* can be read"):
        world.generate(tmp_path / "out")
    assert dataset_bytes(tmp_path / "out") == {}


@pytest.fixture
def made(tiny_world, tmp_path) -> Path:
    tiny_world.generate(tmp_path / "made", "0:4")
    return tmp_path / "made"


def edit_recipe(out: Path, key: str, value: object) -> None:
    """Changes one decision of the first sample's stored recipe."""
    samples = [(index, dict(members)) for index, members in read_shard(out / "shard-000000.tar")]
    labels = json.loads(samples[0][1]["json"])
    owner = labels["recipe"]
    *path, leaf = key.split(".")
    for part in path:
        owner = owner[part]
    owner[leaf] = value
    samples[0][1]["json"] = canonical_json(labels)
    write_shard(out / "shard-000000.tar", samples)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("theta", [0]),
        ("alpha", [0.0]),
        ("alpha", []),
        ("beta", []),
        ("camera.focal_px", 1e-300),
        ("camera.target", [1e308, 0, 0]),
        ("camera.distance_m", 1e-9),
        ("trans", [0, 0, 1e9]),
        ("trans", [0, 0, 900.0]),
        ("trans", [0.4, 0, 0]),
        ("camera.target", [0, 0, 0.5]),
        ("camera.principal_xy", [1e9, 0]),
        ("camera.roll_deg", 1e300),
        ("ambient.color", [-1, 0, 0]),
        ("background.index", 10**30),
        ("sensor.noise_key", 10**30),
        ("sensor.blur_px", -1),
        ("sensor.gains", [1e300, 1, 1]),
        ("lights", []),
        ("ambient", None),
    ],
)
def test_a_stored_recipe_that_lies_never_ends_in_a_traceback(made, tiny_world, key, value):
    """A replay of an edited recipe is refused in a sentence, or differs; no value of it can crash or hang the renderer."""
    edit_recipe(made, key, value)
    try:
        (found,) = replay(made, [0], tiny_world.assets)
    except HandsynthError as error:
        sentence = str(error)
    else:
        sentence = "" if not found.faithful else "equal"
    assert "\n" not in sentence
    assert sentence != "equal" or key == "background.index"


@pytest.mark.parametrize("value", [64.0, True, "64", "x" * 100_000, None, [64]])
def test_an_image_size_that_is_no_whole_number_is_refused(made, value):
    """64.0 equals the image's size, and is no size to make an array of; a long text is not repeated."""
    index, (_, members) = read_index(made), next(iter(read_shard(made / "shard-000000.tar")))
    labels = json.loads(members["json"]) | {"image_size": value}
    with pytest.raises(HandsynthError, match=r"field image_size is .*, expected a whole number") as raised:
        decode_labels({"json": canonical_json(labels)}, "sample", index)
    assert len(str(raised.value)) < 150


@pytest.mark.parametrize("key", ["camera", "pose", "bank_index"])
def test_stats_of_an_edited_dataset_are_one_sentence(made, key):
    """A recipe without what stats count is damage, reported in a sentence."""
    edit_recipe(made, "pose.bank_index" if key == "bank_index" else key, None)
    if key == "bank_index":
        edit_recipe(made, "pose", {})
    with pytest.raises(HandsynthError, match=r"shard-000000\.tar, sample 0"):
        collect_stats(made)


def test_another_hand_than_the_skin_was_made_for(tiny_world, tmp_path):
    """A skin for a hand of other faces is refused before anything is rendered."""
    hand = toy_hand()
    fewer = dataclasses.replace(hand, faces=hand.faces[:-1], uv_faces=hand.uv_faces[:-1])
    save_hand(tmp_path / "hand.npz", fewer)
    with pytest.raises(AssetError, match=r"skin\.npz belongs to another hand"):
        tiny_world.generate(tmp_path / "out", hand=tmp_path / "hand.npz")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04cos\nsystem\n(S'touch run'\ntR.", b"name: x\n"])
@pytest.mark.parametrize("role", ["hand", "textures"])
def test_files_that_are_something_else(tiny_world, tmp_path, monkeypatch, role, content):
    """A hand or skin that is empty, a pickle or a text is refused by name, and nothing in it is run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.npz").write_bytes(content)
    with pytest.raises(AssetError, match=r"file\.npz"):
        tiny_world.generate(tmp_path / "out", **{role: tmp_path / "file.npz"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.npz"]


@pytest.mark.parametrize(("role", "array"), [("hand", "v_template"), ("textures", "mean")])
def test_an_archive_whose_array_is_something_else(tiny_world, tmp_path, role, array):
    """What lies in an .npz under an array's name and is no array, which numpy gives as bytes, is refused by name."""
    save_hand(tmp_path / "hand.npz", toy_hand())
    good = {"hand": tmp_path / "hand.npz", "textures": tiny_world.folder / "skin.npz"}[role]
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(tmp_path / "file.npz", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"no array" if name == f"{array}.npy" else old.read(name))
    with pytest.raises(AssetError, match=r"file\.npz is damaged or is not"):
        tiny_world.generate(tmp_path / "out", **{role: tmp_path / "file.npz"})


@pytest.mark.parametrize(
    "spec", [{"image_size": 31}, {"image_size": 2049}, {"samples": 10**9}, {"shard_size": 0}, {"left_fraction": 2}, {"name": '""'}]
)
def test_specs_out_of_bounds(tiny_world, tmp_path, spec):
    with pytest.raises(UsageError, match=next(iter(spec))):
        tiny_world.generate(tmp_path / "out", **spec)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [32, 33, 257])
def test_the_least_and_odd_image_sizes_work(tiny_world, tmp_path, size):
    """Every size that a spec allows gives a sound dataset."""
    tiny_world.generate(tmp_path / "out", "0:4", image_size=size, passes="depth, parts, normal, uv")
    assert verify(tmp_path / "out", tiny_world.assets, replays=1).faults == []
