"""Verify and replay: no fault in a sound dataset, and every kind of damage found, named and repaired."""

import dataclasses
import hashlib
import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import dataset_bytes

from handsynth.core.camera import project
from handsynth.core.conventions import CLOTHING
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.hand import save_hand
from handsynth.core.index import canonical_json, index_bytes
from handsynth.core.sample import decode_npy, encode_npy
from handsynth.core.shard import read_shard, shard_name, write_shard
from handsynth.core.toy import toy_hand
from handsynth.dataset.replay import Here, find_sample, replay
from handsynth.dataset.sidecars import SIDECAR_DIR
from handsynth.dataset.silhouette import silhouette
from handsynth.dataset.verify import MAX_FAULTS, verify
from handsynth.image.encode import decode_jpeg, decode_png, encode_jpeg, encode_png
from handsynth.visibility import front_at_pixels

STRAIGHT = dict.fromkeys(("flexion_deg", "deviation_deg", "twist_deg", "elbow_deg"), 0.0)
"""The posture of a straight arm."""

PASSES = "depth, parts, normal, uv, amodal"


@pytest.fixture(scope="module")
def made(tiny_world, tmp_path_factory) -> Path:
    """Samples 0:12 in three shards, with every pass."""
    out = tmp_path_factory.mktemp("verify") / "out"
    tiny_world.generate(out, passes=PASSES)
    return out


@pytest.fixture
def out(made, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture
def faults(out, tiny_world) -> Callable[[], list[str]]:
    return lambda: verify(out, tiny_world.assets).faults


def test_a_sound_dataset_has_no_fault(made, tiny_world):
    """Every sample is read, posed anew and compared with its silhouette; samples made again are equal."""
    findings = verify(made, tiny_world.assets, replays=5)
    assert findings.faults == []
    assert (findings.samples, findings.silhouettes, findings.replayed) == (12, 12, 5)


def tree(out: Path) -> dict[str, bytes]:
    """Every file of a dataset, hidden ones too."""
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["shard-*.tar", "index.json", f"{SIDECAR_DIR}/plan.json", f"{SIDECAR_DIR}/shard-*.json"])
def test_one_flipped_byte_is_found_named_and_mended(out, faults, made, tiny_world, kind, seed):
    """A single changed byte anywhere in any file is found, that file is named, and `generate` repairs it and nothing else."""
    rng = random.Random(seed)
    path = rng.choice(sorted(out.glob(kind)))
    data = bytearray(path.read_bytes())
    position = rng.randrange(len(data))
    data[position] = rng.choice([b for b in range(256) if b != data[position]])
    path.write_bytes(data)
    number = path.name.split(".")[0]
    try:
        found = faults()
    except HandsynthError as error:
        found = [str(error)]
    assert found
    assert all((number if kind.endswith(("tar", "shard-*.json")) else path.name) in sentence for sentence in found)
    before = {p.name: p.stat().st_ino for p in out.glob("*.tar")}
    assert tiny_world.generate(out, passes=PASSES)["made"] == (1 if number.startswith("shard-") else 0)
    assert {p.name for p in out.glob("*.tar") if p.stat().st_ino != before[p.name]} <= {f"{number}.tar"}
    assert faults() == []
    assert tree(out) == tree(made)


def test_missing_extra_and_swapped_shards_are_named(out, faults, made, tiny_world):
    """A shard that is gone, one too many, and two that changed places are each named; `generate` repairs gone and swapped."""
    first, second = out / shard_name(0), out / shard_name(1)
    second.unlink()
    assert any(shard_name(1) in fault and "cannot be read" in fault for fault in faults())
    shutil.copy(made / shard_name(1), second)
    shutil.copy(first, out / shard_name(7))
    assert faults() == [f"{shard_name(7)} lies in the folder but not in index.json: it is no part of the dataset, delete it"]
    (out / shard_name(7)).unlink()
    first.rename(out / "swap")
    second.rename(first)
    (out / "swap").rename(second)
    assert [fault.split()[0] for fault in faults()] == [shard_name(0), shard_name(1)]
    assert tiny_world.generate(out, passes=PASSES)["made"] == 2
    assert faults() == []


def edit_index(out: Path, change: Callable[[dict], None]) -> None:
    index = json.loads((out / "index.json").read_bytes())
    change(index)
    (out / "index.json").write_bytes(index_bytes(index))


def repack(out: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None], number: int = 1, position: int = 2) -> None:
    """Changes one sample's labels or members and writes its shard anew; no hash tells it: the index agrees, the sidecars go."""
    shutil.rmtree(out / SIDECAR_DIR, ignore_errors=True)
    path = out / shard_name(number)
    samples = [(index, dict(members)) for index, members in read_shard(path)]
    labels = json.loads(samples[position][1]["json"])
    change(labels, samples[position][1])
    if "json" in samples[position][1]:
        samples[position][1]["json"] = canonical_json(labels)
    info = write_shard(path, samples)
    driver = json.loads((out / "index.json").read_bytes())["shards"][number]["driver"]
    edit_index(out, lambda index: index["shards"][number].update(dataclasses.asdict(dataclasses.replace(info, driver=driver))))


def test_repacking_itself_is_no_fault(out, faults, made):
    """A shard read and written again has the same bytes: what the next test finds is what it changed."""
    repack(out, lambda labels, members: None)
    assert (out / shard_name(1)).read_bytes() == (made / shard_name(1)).read_bytes()
    assert faults() == []


def _shift(name: str, by: float) -> Callable[[dict, dict], None]:
    def change(labels: dict, members: dict) -> None:
        labels[name] = (np.array(labels[name]) + by).tolist()

    return change


def _first(name: str, change: Callable[[Any], Any]) -> Callable[[dict, dict], None]:
    def apply(labels: dict, members: dict) -> None:
        labels[name][0] = change(labels[name][0])

    return apply


def _keypoints_together(labels: dict, members: dict) -> None:
    """One keypoint, no fingertip, moved consistently in space and in the image."""
    point = np.array(labels["keypoints_cam"][6]) + 0.0002 * np.eye(3)[0]  # too little to change what hides it
    labels["keypoints_cam"][6] = point.tolist()
    labels["keypoints_xy"][6] = project(point[None], np.array(labels["K"]))[0].tolist()


def _vertices(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict, dict], None]:
    def apply(labels: dict, members: dict) -> None:
        members["vertices.npy"] = encode_npy(change(decode_npy(members["vertices.npy"], "")))

    return apply


def _image(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict, dict], None]:
    def apply(labels: dict, members: dict) -> None:
        members[name] = encode_png(np.ascontiguousarray(change(decode_png(members[name], ""))))

    return apply


def _without(name: str) -> Callable[[dict, dict], None]:
    return lambda labels, members: members.pop(name)  # type: ignore[return-value]


def _set(name: str, value: Any) -> Callable[[dict, dict], None]:
    return lambda labels, members: labels.update({name: value})


def _member(name: str, data: bytes) -> Callable[[dict, dict], None]:
    return lambda labels, members: members.update({name: data})


def _nudged(vertices: np.ndarray) -> np.ndarray:
    vertices[100] += np.float32(1e-4)
    return vertices


def _nearest(depth: np.ndarray) -> np.ndarray:
    """The hand as a flat wall at the depth of its nearest pixel."""
    return np.where(depth > 0, depth[depth > 0].min(), 0).astype(np.uint16)


def _with_a_hole(layer: np.ndarray) -> np.ndarray:
    """One pixel in the middle of what is not 0 becomes 0."""
    changed = layer.copy()
    rows, columns = np.nonzero(layer.reshape(*layer.shape[:2], -1).any(2))
    changed[rows[len(rows) // 2], columns[len(rows) // 2]] = 0
    return changed


EDITS: dict[str, tuple[Callable[[dict, dict], Any], str]] = {
    "keypoints_xy shifted": (_shift("keypoints_xy", 0.02), "px away from keypoints_xy"),
    "keypoints_cam shifted": (_shift("keypoints_cam", 0.0005), "px away from keypoints_xy"),
    "one keypoint moved in both": (_keypoints_together, "keypoints_cam are not those of the vertices"),
    "K changed": (lambda l, m: l["K"][0].__setitem__(0, l["K"][0][0] * 1.01), "px away from keypoints_xy"),
    "bbox grown": (_first("bbox_xyxy", lambda x: x - 1), "bbox_xyxy does not bound"),
    "visible flipped": (_first("keypoints_visible", lambda v: 1 - v), "keypoints_visible"),
    "all visible flipped": (lambda l, m: l.update(keypoints_visible=[1 - v for v in l["keypoints_visible"]]), "keypoints_visible"),
    "theta of a finger": (lambda l, m: l["theta"].__setitem__(20, l["theta"][20] + 0.01), "do not give the vertices"),
    "beta": (_first("beta", lambda b: b + 0.1), "do not give the vertices"),
    "trans": (_first("trans", lambda t: t + 0.001), "do not give the vertices"),
    "camera moved": (lambda l, m: l["T_cam_world"][2].__setitem__(3, l["T_cam_world"][2][3] + 0.01), "do not give the vertices"),
    "other side": (lambda l, m: l.update(side={"left": "right", "right": "left"}[l["side"]]), "not that of the recipe"),
    "another index": (_set("index", 3), "is another sample"),
    "another dataset": (_set("dataset", "0" * 64), "belongs to another dataset"),
    "another schema": (_set("schema", "handsynth/99"), "schema is 'handsynth/99'"),
    "field gone": (lambda l, m: l.pop("beta"), "field beta is missing"),
    "field of another shape": (_set("keypoints_xy", [[1, 2]]), "field keypoints_xy is not"),
    "number too long": (_set("trans", [10**400, 0, 0]), "field trans is not"),
    "mask rolled": (_image("mask.png", lambda mask: np.roll(mask, 1, 1)), "mask"),
    "mask inverted": (_image("mask.png", lambda mask: 255 - mask), "mask"),
    "mask empty": (_image("mask.png", np.zeros_like), "mask is empty"),
    "mask grey": (_image("mask.png", lambda mask: mask // 2), "not 0/255"),
    "mask of another size": (_image("mask.png", lambda mask: mask[:-1]), "is not 64 px wide"),
    "depth all as near as the nearest": (_image("depth.png", _nearest), "disagrees with the depth and parts passes"),
    "depth nearer": (_image("depth.png", lambda depth: depth // 2), "leaves the depths of the vertices"),
    "depth farther": (_image("depth.png", lambda depth: depth * 2), "leaves the depths of the vertices"),
    "depth beyond the hand": (_image("depth.png", lambda depth: np.maximum(depth, 1)), "pass depth and the mask differ"),
    "depth gone": (_without("depth.png"), "depth: the PNG is damaged"),
    "depth of 8 bits": (_image("depth.png", lambda depth: (depth >> 8).astype(np.uint8)), "pass depth has shape"),
    "parts cut": (_image("parts.png", lambda parts: parts[:, :-1]), "pass parts has shape"),
    "parts of three channels": (_image("parts.png", lambda parts: np.repeat(parts[..., None], 3, 2)), "pass parts has shape"),
    "parts with a hole": (_image("parts.png", _with_a_hole), "pass parts and the mask differ in 1 pixels"),
    "parts beyond the hand": (_image("parts.png", lambda parts: np.maximum(parts, 1)), "pass parts and the mask differ"),
    "parts without a joint": (_image("parts.png", lambda parts: np.where(parts == 1, np.uint8(17), parts)), "17 is no part of a"),
    "parts all another finger's": (_image("parts.png", lambda parts: np.where(parts > 0, np.uint8(16), parts)), "and parts passes"),
    "normals with a hole": (_image("normal.png", _with_a_hole), "pass normal and the mask differ in 1 pixels"),
    "normals beyond the hand": (_image("normal.png", lambda n: np.maximum(n, 1)), "pass normal and the mask differ"),
    "normals too short": (_image("normal.png", lambda n: np.where(n > 0, n // 2 + 64, 0).astype(np.uint8)), "length of a normal"),
    "normals of one channel": (_image("normal.png", lambda n: n[..., 0]), "pass normal has shape"),
    "uv with a hole": (_image("uv.png", _with_a_hole), "pass uv and the mask differ in 1 pixels"),
    "uv beyond the hand": (_image("uv.png", lambda uv: np.maximum(uv, 1)), "pass uv and the mask differ"),
    "uv half covered": (_image("uv.png", lambda uv: uv // np.array([1, 1, 2], np.uint16)), "third channel holds 32767"),
    "uv of 8 bits": (_image("uv.png", lambda uv: (uv >> 8).astype(np.uint8)), "pass uv has shape"),
    "amodal with a hole": (_image("amodal.png", _with_a_hole), "pass amodal and the mask differ in 1 pixels"),
    "amodal beyond the hand": (_image("amodal.png", np.ones_like), "pass amodal and the mask differ"),
    "amodal grey": (_image("amodal.png", lambda amodal: amodal // 2), "it holds 127, not 0 and 255"),
    "amodal of 16 bits": (_image("amodal.png", lambda amodal: amodal.astype(np.uint16)), "pass amodal has shape"),
    "a share of a whole hand": (_set("visible_share", 0.999), "visible_share is 0.999, expected 1"),
    "a share of nothing": (_set("visible_share", None), "visible_share is None, expected 1"),
    "a share of text": (_set("visible_share", "1"), "field visible_share is not"),
    "an arm of text": (_set("arm", "long"), "field arm is 'long'"),
    "an arm without a twist": (_set("arm", {"flexion_deg": 0.0, "deviation_deg": 0.0}), "field arm is"),
    "an arm out of range": (_set("arm", STRAIGHT | {"flexion_deg": 10**400}), "field arm is"),
    "an arm from nowhere": (_set("arm", STRAIGHT), "not that of the recipe"),
    "clothing of text": (_set("clothing", "rings"), "field clothing is 'rings'"),
    "clothing that is not known": (_set("clothing", ["hat"]), "field clothing is ['hat'], expected names among bracelet"),
    "clothing twice": (_set("clothing", ["rings", "rings"]), "field clothing is"),
    "clothing out of order": (_set("clothing", ["watch", "bracelet"]), "field clothing is"),
    "clothing from nowhere": (_set("clothing", ["rings"]), "clothing is ['rings'], not that of the recipe"),
    "clothing of a photograph": (_set("clothing", None), "clothing is None, not that of the recipe"),
    "a hostile recipe": (lambda l, m: l["recipe"].update(theta=[0]), "theta of the recipe is out of range"),
    "vertices scaled": (_vertices(lambda v: v * np.float32(1.001)), "fingertips are not the vertices"),
    "a vertex nudged": (_vertices(_nudged), "do not give the vertices"),
    "vertices of double precision": (_vertices(lambda v: v.astype(np.float64)), "finite float32"),
    "vertices with NaN": (_vertices(lambda v: v * np.float32("nan")), "finite float32"),
    "a vertex too few": (_vertices(lambda v: v[:-1]), "finite float32"),
    "vertices behind the camera": (_vertices(lambda v: -v), "behind the camera"),
    "vertices gone": (_without("vertices.npy"), "npy is damaged"),
    "vertices a pickle": (_member("vertices.npy", b"\x80\x04cos\nsystem\n."), "npy is damaged"),
    "image gone": (_without("jpg"), "JPEG is damaged"),
    "image truncated": (lambda l, m: m.update(jpg=m["jpg"][:200]), "JPEG is damaged"),
    "image with a colour for each pixel": (
        lambda l, m: m.update(jpg=encode_jpeg(decode_jpeg(m["jpg"], ""), 95, "444")),
        "chroma is 444",
    ),
    "image a PNG": (lambda l, m: m.update(jpg=m["mask.png"]), "JPEG is damaged"),
    "labels gone": (_without("json"), "JSON is missing or damaged"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_edited_labels_are_caught_though_every_hash_agrees(out, faults, edit):
    """Each edit of one sample is found, and that sample named, by what its labels, geometry and pixels say of each other."""
    change, message = EDITS[edit]
    repack(out, change)
    found = faults()
    assert len(found) == 1
    assert found[0].startswith(f"{shard_name(1)}, sample 6: ") or found[0].startswith(f"{shard_name(1)}, sample 6, ")
    assert message in found[0]


@pytest.fixture(scope="module")
def armed(tiny_world, tmp_path_factory) -> Path:
    """Samples 0:12 of right and left hands with forearms, larger than the others, with every pass."""
    out = tmp_path_factory.mktemp("armed") / "out"
    tiny_world.generate(out, passes=PASSES + ", scene", arm="{probability: 1.0}", image_size=128)
    return out


def test_a_sound_dataset_of_forearms_has_no_fault(armed, tiny_world):
    """Masks, passes, shares and visibility are those of hand and forearm posed anew; of some hands a part is hidden."""
    findings = verify(armed, tiny_world.assets, replays=5)
    assert findings.faults == []
    assert (findings.samples, findings.silhouettes, findings.replayed) == (12, 12, 5)
    samples = [members for path in sorted(armed.glob("*.tar")) for _, members in read_shard(path)]
    labels = [json.loads(members["json"]) for members in samples]
    assert all(found["arm"] for found in labels)
    assert {found["side"] for found in labels} == {"right", "left"}
    assert min(found["visible_share"] for found in labels) < 0.98
    assert any((decode_png(m["mask.png"], "") != decode_png(m["amodal.png"], "")).any() for m in samples)
    assert all((decode_png(m["parts.png"], "") == 17).any() for m in samples)


def _everywhere(name: str, change: Callable[[np.ndarray, np.ndarray], np.ndarray], part: int = 17) -> Callable[[dict, dict], None]:
    """Changes a pass where its sample's forearm, or another part, is seen: `change` takes the pass and that part of the image."""

    def apply(labels: dict, members: dict) -> None:
        parts = decode_png(members["parts.png"], "") == part
        members[name] = encode_png(np.ascontiguousarray(change(decode_png(members[name], ""), parts)))

    return apply


def _cut_off(part: int) -> Callable[[dict, dict], None]:
    """A forearm or clothing that passes show before the hand alone."""

    def apply(labels: dict, members: dict) -> None:
        other = (decode_png(members["parts.png"], "") == part) & (decode_png(members["amodal.png"], "") == 0)
        for name in ("depth.png", "parts.png", "normal.png"):
            layer = decode_png(members[name], "").copy()
            layer[other] = 0
            members[name] = encode_png(layer)

    return apply


def _bent(labels: dict, members: dict) -> None:
    """Another posture, of which labels and recipe agree."""
    for owner in (labels["arm"], labels["recipe"]["arm"]):
        owner["flexion_deg"] = -owner["flexion_deg"] + 20.0


def _scene(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict, dict], None]:
    """Changes one of the arrays that hold the mesh beside the hand."""
    member = f"scene.{name}.npy"
    return lambda labels, members: members.update(
        {member: encode_npy(np.ascontiguousarray(change(decode_npy(members[member], ""))))}
    )


def _pickled(labels: dict, members: dict) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], object), allow_pickle=True)
    members["scene.faces.npy"] = buffer.getvalue()


def _with_a_corner(amodal: np.ndarray) -> np.ndarray:
    grown = amodal.copy()
    grown[:6, :6] = 255 - grown[:6, :6]
    return grown


def _amodal_as_mask(labels: dict, members: dict) -> None:
    members["mask.png"] = members["amodal.png"]


ARM_EDITS: dict[str, tuple[Callable[[dict, dict], Any], str]] = {
    "the arm is not named": (_set("arm", None), "differ in"),
    "another angle": (lambda l, m: l["arm"].update(twist_deg=l["arm"]["twist_deg"] + 1), "arm is not that of the recipe"),
    "another posture in both": (_bent, "do not cover the same pixels"),
    "another girth": (lambda l, m: l["recipe"]["arm"].update(girth=1.9), "do not cover the same pixels"),
    "another camera in the recipe": (lambda l, m: l["recipe"]["camera"].update(roll_deg=3.0), "recipe does not give the vertices"),
    "the share off": (_set("visible_share", 0.25), "visible_share is 0.25, mask and amodal give"),
    "the share a little off": (lambda l, m: l.update(visible_share=l["visible_share"] - 0.003), "geometry gives"),
    "the share above 1": (_set("visible_share", 1.01), "visible_share is 1.01, expected 0 to 1"),
    "the whole hand as the mask": (_amodal_as_mask, "leaves the depths of the vertices"),
    "amodal as the mask": (lambda l, m: m.update({"amodal.png": m["mask.png"]}), "mask and amodal give 1.0000"),
    "amodal grown": (_image("amodal.png", _with_a_corner), "pass amodal and projected vertices"),
    "amodal without the mask": (_image("amodal.png", np.zeros_like), "pass amodal and the mask differ"),
    "an arm of another part": (
        _everywhere("parts.png", lambda parts, arm: np.where(arm, 16, parts).astype(np.uint8)), "16 beside the mask"
    ),
    "an arm of no part": (
        _everywhere("parts.png", lambda parts, arm: np.where(arm, 18, parts).astype(np.uint8)), "18 beside the mask"
    ),
    "an arm on the hand": (
        _image("parts.png", lambda parts: np.where(parts == 1, 17, parts).astype(np.uint8)), "17 is no part of a hand"
    ),
    "an arm in parts alone": (
        _everywhere("depth.png", lambda depth, arm: np.where(arm, 0, depth).astype(np.uint16)), "cover different pixels"
    ),
    "an arm cut off in every pass": (_cut_off(17), "beside the mask and the projected forearm and clothing"),
    "an arm too near": (
        _everywhere("depth.png", lambda depth, arm: np.where(arm, depth - 30, depth).astype(np.uint16)), "is not that of forearm"
    ),
    "an arm with uv": (
        _everywhere("uv.png", lambda uv, arm: np.where(arm[..., None], np.uint16(65535), uv)), "pass uv and the mask differ"
    ),
    "no mesh": (lambda l, m: m.pop("scene.faces.npy"), "scene.faces.npy: the .npy is damaged"),
    "a mesh that runs code": (_pickled, "scene.faces.npy: the .npy is damaged"),
    "another mesh": (_scene("vertices", lambda v: v + np.float32(1e-4)), "what stands beside the hand by the recipe"),
    "a mesh of another part": (_scene("faces", lambda f: f + np.int32([0, 0, 0, 1])), "what stands beside the hand by the recipe"),
    "a mesh with a hole": (_scene("faces", lambda f: f[:-1]), "what stands beside the hand by the recipe"),
    "a mesh without end": (_scene("faces", lambda f: f + np.int32([1, 0, 0, 0]) * 9999), "names vertices that"),
    "a mesh before its start": (_scene("faces", lambda f: f - np.int32(1)), "names vertices that"),
    "a mesh that is nowhere": (_scene("vertices", lambda v: v * np.float32(np.nan)), "not a list of finite"),
    "a mesh in double precision": (_scene("vertices", lambda v: v.astype(float)), "not a list of finite"),
    "a mesh of triangles alone": (_scene("faces", lambda f: f[:, :3]), "not a list of four int32"),
    "an arm with short normals": (
        _everywhere("normal.png", lambda n, arm: np.where(arm[..., None], n // 2 + 64, n).astype(np.uint8)), "length of a normal"
    ),
}  # fmt: skip


@pytest.mark.parametrize("edit", ARM_EDITS)
def test_edited_forearms_are_caught_though_every_hash_agrees(armed, tmp_path, tiny_world, edit):
    """Whatever labels and passes say of a forearm is held against its geometry, of the sample that it hides most."""
    out = Path(shutil.copytree(armed, tmp_path / "copy"))
    shares = {
        (number, position): json.loads(members["json"])["visible_share"]
        for number in range(3)
        for position, (_, members) in enumerate(read_shard(armed / shard_name(number)))
    }
    number, position = min(shares, key=lambda place: shares[place])
    change, message = ARM_EDITS[edit]
    repack(out, change, number, position)
    found = verify(out, tiny_world.assets).faults
    assert len(found) == 1
    assert found[0].startswith(f"{shard_name(number)}, sample {4 * number + position}")
    assert message in found[0]


@pytest.fixture(scope="module")
def dressed(tiny_world, tmp_path_factory) -> Path:
    """Samples 0:12 of hands that wear things, most of them with forearms, larger than the others, with every pass."""
    out = tmp_path_factory.mktemp("dressed") / "out"
    wear = "{sleeve: 0.5, watch: 0.6, bracelet: 0.9, rings: 0.7, varnish: 0.5, glove: 0.2}"
    tiny_world.generate(out, passes=PASSES, arm="{probability: 0.8}", wear=wear, image_size=128)
    return out


def test_a_sound_dataset_of_clothing_has_no_fault(dressed, tiny_world):
    """What is worn is where its geometry is, made anew from the recipe, with forearms and without; replays wear the same."""
    findings = verify(dressed, tiny_world.assets, replays=5)
    assert findings.faults == []
    assert (findings.samples, findings.silhouettes, findings.replayed) == (12, 12, 5)
    samples = [members for path in sorted(dressed.glob("*.tar")) for _, members in read_shard(path)]
    labels = [json.loads(members["json"]) for members in samples]
    assert {name for found in labels for name in found["clothing"]} == set(CLOTHING)
    for found, members in zip(labels, samples, strict=True):
        assert (set(found["clothing"]) <= {"glove", "varnish"}) <= (not (decode_png(members["parts.png"], "") == 18).any())
    assert any(found["arm"] is None and "rings" in found["clothing"] for found in labels)


def _worn(name: str, **changes: Any) -> Callable[[dict, dict], None]:
    """Another choice in the recipe."""
    return lambda labels, members: labels["recipe"]["worn"][name].update(changes)


def _undressed(labels: dict, members: dict) -> None:
    """Neither labels nor recipe know of clothing."""
    labels["clothing"] = []
    del labels["recipe"]["worn"]


def _one_thing_less(labels: dict, members: dict) -> None:
    """Labels and recipe without the sleeve that is shown."""
    labels["clothing"].remove("sleeve")
    del labels["recipe"]["worn"]["sleeve"]


WEAR_EDITS: dict[str, tuple[Callable[[dict, dict], Any], str]] = {
    "clothing is not named": (_set("clothing", []), "18 beside the mask, where only 17 may be"),
    "every name there is": (_set("clothing", list(CLOTHING)), "not that of the recipe"),
    "nothing is worn": (_undressed, "18 beside the mask, where only 17 may be"),
    "no sleeve is worn": (_one_thing_less, "18 beside the mask, where only 17 may be"),
    "a sleeve that begins elsewhere": (
        lambda l, m: l["recipe"]["worn"]["sleeve"].update(cuff_m=l["recipe"]["worn"]["sleeve"]["cuff_m"] + 0.03), "same pixels"
    ),
    "a wider sleeve": (_worn("sleeve", ease_m=0.03), "do not cover the same pixels"),
    "a sleeve of no cloth": (_worn("sleeve", pattern="tartan"), "worn.sleeve.pattern of the recipe is out of range"),
    "a sleeve on no forearm": (lambda l, m: l["recipe"].update(arm=None), "sleeve of the recipe takes a forearm"),
    "clothing as forearm": (
        _everywhere("parts.png", lambda parts, worn: np.where(worn, 17, parts).astype(np.uint8), 18), "the projected forearm"
    ),
    "forearm as clothing": (
        _everywhere("parts.png", lambda parts, arm: np.where(arm, 18, parts).astype(np.uint8)), "pass parts and the projected"
    ),
    "clothing on the hand": (
        _image("parts.png", lambda parts: np.where(parts == 1, 18, parts).astype(np.uint8)), "18 is no part of a hand"
    ),
    "clothing of no part": (
        _everywhere("parts.png", lambda parts, worn: np.where(worn, 19, parts).astype(np.uint8), 18), "19 beside the mask"
    ),
    "clothing cut off in every pass": (_cut_off(18), "beside the mask and the projected forearm and clothing"),
    "clothing too near": (
        _everywhere("depth.png", lambda depth, worn: np.where(worn, depth - 30, depth).astype(np.uint16), 18), "is not that of"
    ),
    "clothing with uv": (
        _everywhere("uv.png", lambda uv, worn: np.where(worn[..., None], np.uint16(65535), uv), 18), "pass uv and the mask differ"
    ),
    "the share a little off": (lambda l, m: l.update(visible_share=round(l["visible_share"] - 0.003, 4)), "geometry gives"),
}  # fmt: skip


@pytest.mark.parametrize("edit", WEAR_EDITS)
def test_edited_clothing_is_caught_though_every_hash_agrees(dressed, tmp_path, tiny_world, edit):
    """Whatever labels, recipe and passes say of clothing is held against its geometry, of the sleeve that shows most."""
    out = Path(shutil.copytree(dressed, tmp_path / "copy"))
    shown = {}
    for number in range(3):
        for position, (_, members) in enumerate(read_shard(dressed / shard_name(number))):
            parts = decode_png(members["parts.png"], "")
            if "sleeve" in json.loads(members["json"])["clothing"] and (parts == 17).sum() > 20:
                shown[number, position] = (parts == 18).sum()
    number, position = max(shown, key=lambda place: shown[place])
    change, message = WEAR_EDITS[edit]
    repack(out, change, number, position)
    found = verify(out, tiny_world.assets).faults
    assert len(found) == 1
    assert found[0].startswith(f"{shard_name(number)}, sample {4 * number + position}: ")
    assert message in found[0]


def test_a_sample_too_few_too_many_or_out_of_place_is_found(out, faults):
    """A shard must hold the samples that its place asks for."""
    path = out / shard_name(2)
    samples = list(read_shard(path))
    for changed in (samples[:-1], [*samples[1:], samples[0]], [samples[0], *samples]):
        info = write_shard(path, changed)
        edit_index(out, lambda index, i=info: index["shards"][2].update(dataclasses.asdict(i) | {"count": 4}))
        assert any(shard_name(2) in fault for fault in faults())


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.pop("shards"),
        lambda index: index.update(shards=[3]),
        lambda index: index["shards"][0].pop("sha256"),
        lambda index: index["shards"][0].update(count="4"),
        lambda index: index["shards"][0].update(count=-4),
        lambda index: index["shards"][0].update(name="../../etc/passwd"),
        lambda index: index.update(schema="handsynth/99"),
        lambda index: index.update(selection="0:9999"),
        lambda index: index.update(selection="x"),
        lambda index: index["spec"].update(colour=1),
        lambda index: index["spec"].pop("name"),
        lambda index: index["spec"].update(seed=float("nan")),
        lambda index: index["assets"].update(hand=float("inf")),
        lambda index: index.update(samples="many"),
        lambda index: index.update(fingertips=[0, 1, 2, 3, 10**9]),
        lambda index: index.update(num_vertices=None),
        lambda index: index.update(assets=[]),
    ],
)
def test_a_damaged_index_is_one_sentence(out, faults, change):
    """An index that cannot be believed stops verify with one sentence that names it."""
    edit_index(out, change)
    with pytest.raises(HandsynthError, match=r"index\.json") as raised:
        faults()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index["spec"].update(seed=5),
        lambda index: index["assets"].update(hand="0" * 64),
        lambda index: index.update(assets={}),
        lambda index: index.update(dataset="0" * 64),
        lambda index: index["shards"].reverse(),
        lambda index: index["shards"][0].update(bytes=7),
        lambda index: index["shards"][0].update(sha256=hashlib.sha256(b"").hexdigest()),
        lambda index: index["shards"][1].update(count=5) or index["shards"][2].update(count=3),
    ],
)
def test_an_index_that_lies_is_found_and_mended(out, faults, change, made, tiny_world):
    """Spec, assets, identity, order, sizes, hashes and counts are each checked; `generate` writes the index anew."""
    edit_index(out, change)
    assert faults()
    tiny_world.generate(out, passes=PASSES)
    assert faults() == []
    assert dataset_bytes(out) == dataset_bytes(made)


def test_the_search_stops_after_many_faults(out, faults, monkeypatch):
    monkeypatch.setattr("handsynth.dataset.verify.MAX_FAULTS", 2)
    assert MAX_FAULTS > 2
    for path in out.glob("*.tar"):
        path.write_bytes(b"")
    assert len(faults()) == 2


def test_an_unfinished_dataset_says_so(out, faults):
    (out / "index.json").unlink()
    with pytest.raises(HandsynthError, match=r"no finished dataset; run `handsynth generate"):
        faults()


def test_a_stranger_without_notes_can_verify(out, faults, tiny_world):
    """Shards and index are the dataset: without the hidden folder everything is checked just the same."""
    shutil.rmtree(out / SIDECAR_DIR)
    assert faults() == []
    assert all(r.faithful for r in replay(out, [0, 11], tiny_world.assets))


def reencoded(jpg: bytes) -> bytes:
    """The same image in other bytes."""
    return encode_jpeg(decode_jpeg(jpg, "here"), 50)


def test_replay_finds_a_changed_image_and_a_changed_recipe(out, made, tiny_world):
    """A sample made again from its recipe equals the stored one in every member; an edited member is named."""
    names = ("amodal.png", "depth.png", "jpg", "json", "mask.png", "normal.png", "parts.png", "uv.png", "vertices.npy")
    assert [r.equal for r in replay(made, [0, 6, 11], tiny_world.assets)] == [names] * 3
    repack(out, lambda labels, members: members.update(jpg=reencoded(members["jpg"])))
    (found,) = replay(out, [6], tiny_world.assets)
    assert (found.different, found.faithful, found.same_driver) == (("jpg",), False, True)
    repack(out, lambda labels, members: labels["recipe"]["camera"].update(roll_deg=30.0))
    (found,) = replay(out, [6], tiny_world.assets)
    assert not found.faithful
    assert {"jpg", "json", "vertices.npy"} <= set(found.different)
    assert any("sample 6 made again differs" in f for f in verify(out, tiny_world.assets, replays=12).faults)


def drawn_by(driver: str, *numbers: int) -> Callable[[dict], None]:
    """Makes the index say that these shards were drawn by another driver."""

    def change(index: dict) -> None:
        for number in numbers:
            index["shards"][number]["driver"] = driver
        index["drivers"] = sorted({entry["driver"] for entry in index["shards"]})

    return change


def test_on_another_driver_pixels_may_differ_and_labels_may_not(out, tiny_world):
    """Pixels are promised on one OpenGL driver; labels and vertices on every one."""
    repack(out, lambda labels, members: members.update(jpg=members["jpg"] + b"\0"))
    edit_index(out, drawn_by("another one", 0, 1, 2))
    (found,) = replay(out, [6], tiny_world.assets)
    assert (found.different, found.faithful, found.same_driver) == (("jpg",), True, False)
    repack(out, lambda labels, members: labels.update(keypoints_visible=[1 - v for v in labels["keypoints_visible"]]))
    edit_index(out, drawn_by("another one", 1))
    assert not replay(out, [6], tiny_world.assets)[0].faithful


def test_each_shard_is_compared_by_its_own_driver(out, tiny_world):
    """Made by nodes of two drivers, a sound dataset has no fault; a changed image is one where the driver is this machine's."""
    repack(out, lambda labels, members: members.update(jpg=members["jpg"] + b"\0"), number=1)
    edit_index(out, drawn_by("another one", 1))
    assert verify(out, tiny_world.assets, replays=12).faults == []
    assert [r.same_driver for r in replay(out, [0, 6, 11], tiny_world.assets)] == [True, False, True]
    repack(out, lambda labels, members: members.update(jpg=members["jpg"] + b"\0"), number=2)
    edit_index(out, lambda index: index["shards"][2].update(driver=index["shards"][0]["driver"]))
    assert [fault.split(" made again")[0] for fault in verify(out, tiny_world.assets, replays=12).faults] == ["sample 10"]


@pytest.mark.parametrize("drivers", ["one", "two"])
def test_an_index_without_drivers_by_shard_is_read(out, tiny_world, drivers):
    """As older versions wrote it: one driver is every shard's; which of two drew a shard is not known, so labels are compared."""

    def older(index: dict) -> None:
        for entry in index["shards"]:
            del entry["driver"]
        index["drivers"] += ["another one"] if drivers == "two" else []

    edit_index(out, older)
    if drivers == "one":
        assert verify(out, tiny_world.assets, replays=3).faults == []
    assert [r.same_driver for r in replay(out, [0, 11], tiny_world.assets)] == [drivers == "one"] * 2
    edit_index(out, lambda index: index["shards"][0].update(driver=7))
    with pytest.raises(HandsynthError, match="describes a shard as"):
        replay(out, [0], tiny_world.assets)


def test_a_dataset_is_replayed_where_its_assets_lie_elsewhere(out, tiny_world, tmp_path):
    """With the same assets under other names, every byte is equal; digests decide; what is missing is named with its flag."""
    shutil.rmtree(out / SIDECAR_DIR)
    shutil.copytree(tiny_world.images, tmp_path / "other images")
    shutil.copy(tiny_world.folder / "skin.npz", tmp_path / "other.npz")
    gone = {"hand": "/gone/hand.npz", "textures": "/gone/skin.npz", "backgrounds": "/gone/images"}
    edit_index(out, lambda index: index["spec"].update(gone))
    with pytest.raises(
        AssetError,
        match=r"/gone/hand\.npz.*--hand, --textures, --backgrounds, --annotations, --environments and --objects say where",
    ):
        replay(out, [0], tiny_world.assets)
    here = Here("toy", str(tmp_path / "other.npz"), str(tmp_path / "other images"))
    assert all(r.faithful and r.same_driver for r in replay(out, [0, 11], tiny_world.assets, here))
    assert verify(out, tiny_world.assets, 3, here).faults == []
    with pytest.raises(UsageError, match=r"made with other assets \(skin\).*--textures"):
        replay(out, [0], tiny_world.assets, dataclasses.replace(here, textures="embedded"))
    with pytest.raises(UsageError, match="--device is auto, cpu, gpu"):
        replay(out, [0], tiny_world.assets, dataclasses.replace(here, device="cuda"))


def test_a_hand_by_file_is_found_or_missed_aloud(out, tiny_world, tmp_path):
    """Labels are posed with the hand that the dataset was made with, from its file; where it is gone, a note says so."""
    hand = dataclasses.replace(toy_hand(), name="mine", v_template=toy_hand().v_template * 1.01)
    save_hand(tmp_path / "mine.npz", hand)
    made = tmp_path / "made"
    tiny_world.generate(made, hand=tmp_path / "mine.npz")
    found = verify(made, tiny_world.assets)
    assert (found.faults, found.notes, found.silhouettes) == ([], [], 12)
    (tmp_path / "mine.npz").rename(tmp_path / "moved.npz")
    found = verify(made, tiny_world.assets)
    assert (found.faults, found.silhouettes) == ([], 0)
    (note,) = found.notes
    assert "no silhouette was compared" in note
    assert "mine.npz" in note
    assert "--hand" in note
    found = verify(made, tiny_world.assets, here=Here(hand=str(tmp_path / "moved.npz")))
    assert (found.faults, found.notes, found.silhouettes) == ([], [], 12)
    with pytest.raises(UsageError, match="--hand embedded is not the hand 'mine' that"):
        verify(made, tiny_world.assets, here=Here(hand="embedded"))


def test_replay_with_other_assets_is_refused(out, tiny_world):
    edit_index(out, lambda index: index["assets"].update(skin="0" * 64))
    with pytest.raises(UsageError, match=r"made with other assets \(skin\)"):
        replay(out, [0], tiny_world.assets)


def test_a_sample_that_is_not_there(made):
    for index in (-1, 12, 10**12):
        with pytest.raises(UsageError, match=rf"holds no sample {index}: its selection is '0:12', its last index 11"):
            find_sample(made, index)
    assert [find_sample(made, index)[0] for index in (0, 11)] == ["shard-000000.tar, sample 0", "shard-000002.tar, sample 11"]


def test_silhouettes_are_the_pixel_centres_inside_triangles(made):
    """The scan lines agree with the barycentric test of every pixel's centre."""
    faces = toy_hand().closed_faces
    for _, members in list(read_shard(made / shard_name(0)))[:3]:
        vertices, K = decode_npy(members["vertices.npy"], "").astype(np.float64), np.array(json.loads(members["json"])["K"])
        pixels = np.stack(np.meshgrid(np.arange(64), np.arange(64)), -1).reshape(-1, 2)
        slow = np.isfinite(front_at_pixels(vertices, faces, K, pixels)[0]).reshape(64, 64)
        np.testing.assert_array_equal(silhouette(project(vertices, K), faces, 64), slow)


def test_silhouettes_of_simple_triangles():
    """A right triangle by hand; parts outside the image are cut; degenerate triangles cover nothing; winding is nothing."""
    corners = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [-9.0, -9.0], [20.0, 1.5], [2.0, 2.0]])
    expected = np.add.outer(np.arange(6) + 0.5, np.arange(6) + 0.5) < 4
    for face in ([0, 1, 2], [2, 1, 0]):
        drawn = silhouette(corners, np.array([face]), 6)
        assert (drawn ^ expected).sum() <= 4  # centres on the edge itself may go either way
        assert not (drawn & ~(np.add.outer(np.arange(6) + 0.5, np.arange(6) + 0.5) <= 4)).any()
    assert not silhouette(corners, np.array([[0, 0, 1], [1, 1, 1], [0, 5, 5]]), 6).any()
    assert silhouette(corners, np.array([[3, 4, 2]]), 6).any()
