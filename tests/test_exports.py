"""Exports, read back as users of each format read it: equal keypoints, cameras, masks; whole or not there, one shard in memory."""

import ast
import dataclasses
import io
import json
import os
import pickletools
import shutil
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny import dataset_bytes
from tiny import handsynth as run_handsynth

from handsynth.core.camera import project
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.hand import HandModel, load_hand, pose_hand, save_hand
from handsynth.core.index import index_bytes, read_index
from handsynth.core.mirror import mirror_points, mirror_theta
from handsynth.core.shard import read_shard, write_shard
from handsynth.core.toy import toy_hand
from handsynth.dataset.exports.bop import export_bop
from handsynth.dataset.exports.coco import export_coco, hands_of, run_lengths
from handsynth.dataset.exports.freihand import export_freihand
from handsynth.dataset.exports.hamer import export_hamer, members_of
from handsynth.dataset.exports.huggingface import export_huggingface
from handsynth.dataset.exports.source import Source, Stored
from handsynth.image.encode import encode_png

EXPORTS = {
    "freihand": export_freihand,
    "coco": export_coco,
    "hamer": export_hamer,
    "bop": export_bop,
    "huggingface": export_huggingface,
}
CENTRE = 0.5  # others count from the centre of the first pixel


@pytest.fixture(scope="module")
def hand(tmp_path_factory) -> Path:
    """A hand whose mean pose is far from flat, so that forgetting it shows."""
    path = tmp_path_factory.mktemp("hand") / "bent.npz"
    save_hand(path, dataclasses.replace(toy_hand(), hands_mean=np.random.default_rng(1).normal(0, 0.3, (15, 3))))
    return path


@pytest.fixture(scope="module")
def made(tiny_world, tmp_path_factory, hand) -> Path:
    """Twelve samples of it in three shards, left and right hands, with depth."""
    out = tmp_path_factory.mktemp("exports") / "out"
    tiny_world.generate(out, "0:12", passes="depth", hand=hand)
    return out


@pytest.fixture(scope="module")
def stored(made) -> list[tuple[dict, dict, np.ndarray]]:
    """Labels, members and mask of each sample."""
    samples = [members for path in sorted(made.glob("*.tar")) for _, members in read_shard(path)]
    masks = [cv2.imdecode(np.frombuffer(members["mask.png"], np.uint8), cv2.IMREAD_UNCHANGED) > 0 for members in samples]
    return [(json.loads(members["json"]), members, mask) for members, mask in zip(samples, masks, strict=True)]


def test_the_dataset_has_both_sides(stored):
    """Else what follows would not see a side mixed up."""
    assert {labels["side"] for labels, _, _ in stored} == {"left", "right"}


def changed(made: Path, out: Path, change) -> Path:
    """A copy of the dataset whose labels went through `change`."""
    shutil.copytree(made, out)
    index = read_index(out)
    for entry in index["shards"]:
        samples = []
        for number, members in read_shard(out / entry["name"]):
            labels = json.loads(members["json"])
            change(labels)
            samples.append((number, members | {"json": json.dumps(labels).encode()}))
        entry |= vars(write_shard(out / entry["name"], samples))
    (out / "index.json").write_bytes(index_bytes(index))
    return out


# FreiHAND ---------------------------------------------------------------------------------------------------------------------


def freihand_parameters(hand: HandModel, mano: np.ndarray, K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and keypoints as FreiHAND's own code makes them of an entry of training_mano: pose relative to the mean, and
    `uv_root` and `scale` that put keypoint 9 where it is, at the focal length's mean.
    """
    pose, shape, uv_root, scale = np.split(mano[0], [48, 58, 60])
    focal = 0.5 * (K[0, 0] + K[1, 1])
    root = np.append(uv_root - K[:2, 2], focal) / scale
    theta = pose.reshape(16, 3).copy()
    theta[1:] += hand.hands_mean
    posed = pose_hand(hand, theta, shape)
    moved = root - posed.keypoints[9]
    return posed.vertices + moved, posed.keypoints + moved


def test_freihand_is_read_as_its_readme_says(made, stored, hand, tmp_path):
    """Lists of one entry an image; keypoints are where image and camera have them; parameters, vertices and masks agree; left hands
    are mirror images.
    """
    found = export_freihand(Source(made), str(tmp_path / "to"))
    to, model = tmp_path / "to", load_hand(hand)
    assert found == {"images": 12, "mirrored": sum(labels["side"] == "left" for labels, _, _ in stored)}
    lists = {
        name: json.loads((to / f"training_{name}.json").read_text()) for name in ("K", "mano", "xyz", "verts", "scale", "sample")
    }
    assert {len(entries) for entries in lists.values()} == {12}
    assert lists["sample"] == [labels["index"] for labels, _, _ in stored]
    for i, (labels, members, mask) in enumerate(stored):
        K, mano, xyz, verts = (np.array(lists[name][i]) for name in ("K", "mano", "xyz", "verts"))
        assert (K.shape, mano.shape, xyz.shape, verts.shape) == ((3, 3), (1, 61), (21, 3), (model.num_vertices, 3))
        uv = (xyz @ K.T)[:, :2] / (xyz @ K.T)[:, 2:]
        expected = np.array(labels["keypoints_xy"])
        rgb, msk = (cv2.imread(str(to / "training" / kind / f"{i:08d}.jpg")) for kind in ("rgb", "mask"))
        image = cv2.imdecode(np.frombuffer(members["jpg"], np.uint8), cv2.IMREAD_COLOR)
        if labels["side"] == "left":
            expected[:, 0] = labels["image_size"] - expected[:, 0]
            assert np.abs(rgb.astype(int) - image[:, ::-1]).mean() < 0.2 * np.abs(rgb.astype(int) - image).mean()
            mask = mask[:, ::-1]
        else:
            assert (rgb == image).all()
        np.testing.assert_allclose(uv, expected - CENTRE, atol=2e-3)
        assert ((msk > 127) == mask[..., None]).all()
        posed = freihand_parameters(model, mano, K)
        np.testing.assert_allclose(posed[0], verts, atol=2e-5)
        np.testing.assert_allclose(posed[1], xyz, atol=2e-5)
        assert lists["scale"][i] == pytest.approx(np.linalg.norm(xyz[9] - xyz[10]), abs=2e-6)
    assert "'toy', not MANO" in (to / "README.md").read_text()
    assert json.loads((to / "faces.json").read_text()) == model.faces.tolist()


def test_freihand_says_which_hand_it_needs(made, tmp_path, hand):
    """A hand that is not here, and another than the dataset's: nothing is written."""
    moved = tmp_path / "moved"
    shutil.copytree(made, moved)
    index = read_index(moved)
    index["spec"]["hand"] = "/nowhere/hand.npz"
    (moved / "index.json").write_bytes(index_bytes(index))
    with pytest.raises(AssetError, match=r"which is not prepared on this machine: give its \.npz with --hand"):
        export_freihand(Source(moved), str(tmp_path / "to"))
    save_hand(tmp_path / "other.npz", toy_hand())
    with pytest.raises(UsageError, match="is not the hand that"):
        export_freihand(Source(moved), str(tmp_path / "to"), tmp_path / "other.npz")
    assert not (tmp_path / "to").exists()
    assert export_freihand(Source(moved), str(tmp_path / "to"), hand)["images"] == 12


# COCO -------------------------------------------------------------------------------------------------------------------------


def test_coco_is_read_by_pycocotools(made, stored, tmp_path):
    """Every image and hand; keypoints and flags as labelled; masks, areas and boxes as pycocotools makes them of our masks."""
    from pycocotools import mask as rle
    from pycocotools.coco import COCO

    assert export_coco(Source(made), str(tmp_path / "to")) == {"images": 12, "hands": 12}
    coco = COCO(str(tmp_path / "to" / "annotations.json"))
    assert coco.getImgIds() == [labels["index"] for labels, _, _ in stored]
    for labels, members, mask in stored:
        image = coco.loadImgs([labels["index"]])[0]
        assert (tmp_path / "to" / image["file_name"]).read_bytes() == members["jpg"]
        (row,) = coco.loadAnns(coco.getAnnIds([labels["index"]], catIds=coco.getCatIds(["hand"])))
        points = np.reshape(row["keypoints"], (21, 3))
        xy = np.array(labels["keypoints_xy"])
        inside = ((xy >= 0) & (xy < labels["image_size"])).all(1)
        np.testing.assert_allclose(points[inside, :2], xy[inside] - CENTRE, atol=1e-4)
        assert points[:, 2].tolist() == np.where(inside, 1 + np.array(labels["keypoints_visible"]), 0).tolist()
        assert row["num_keypoints"] == inside.sum()
        np.testing.assert_allclose(project(np.array(row["keypoints_3d"]), np.array(image["K"])), xy - CENTRE, atol=2e-3)
        assert (coco.annToMask(row) == mask).all()
        assert row["area"] == rle.area(coco.annToRLE(row)) == mask.sum()
        x, y, width, height = rle.toBbox(coco.annToRLE(row))
        left, top, w, h = row["bbox"]
        assert left <= x + 1
        assert top <= y + 1
        assert x + width <= left + w + 1
        assert y + height <= top + h + 1
        assert row["side"] == labels["side"]
    (category,) = coco.loadCats(coco.getCatIds())
    assert len(category["keypoints"]) == 21
    assert len(category["skeleton"]) == 20
    assert {coco.imgs[i]["license"] for i in coco.imgs} == {row["id"] for row in coco.dataset["licenses"]}


def test_coco_keeps_images_that_show_no_hand(made, tmp_path):
    """A hand that lies outside its image has no annotation; the image stays."""

    def move(labels: dict) -> None:
        if labels["index"] % 2:
            labels["bbox_xyxy"] = (np.array(labels["bbox_xyxy"]) + 10 * labels["image_size"]).tolist()

    out = changed(made, tmp_path / "out", move)
    assert export_coco(Source(out), str(tmp_path / "to")) == {"images": 12, "hands": 6}
    found = json.loads((tmp_path / "to" / "annotations.json").read_text())
    assert {row["image_id"] % 2 for row in found["annotations"]} == {0}
    assert [row["id"] for row in found["annotations"]] == list(range(1, 7))


HAND_KEYS = (
    "side", "theta", "beta", "trans", "keypoints_cam", "keypoints_xy", "keypoints_visible", "visible_share", "bbox_xyxy", "arm",
    "clothing", "object",
)  # fmt: skip


def with_second_hand(labels: dict) -> None:
    """A copy of the hand as another one, four pixels to the right, of the other side."""
    other = {key: labels[key] for key in HAND_KEYS}
    other["side"] = "left" if labels["side"] == "right" else "right"
    other["keypoints_xy"] = np.add(labels["keypoints_xy"], [4, 0]).tolist()
    other["bbox_xyxy"] = np.add(labels["bbox_xyxy"], [4, 0, 4, 0]).tolist()
    labels["hands"] = [other]


def test_every_hand_of_an_image_is_exported(made, stored, tmp_path):
    """Other hands of an image have annotations of their own, by COCO and HaMeR; without a mask, which the dataset has of the first
    alone. One that is hidden all over has none in COCO.
    """
    from pycocotools.coco import COCO

    def change(labels: dict) -> None:
        with_second_hand(labels)
        if labels["index"] % 2:
            labels["hands"][0]["visible_share"] = 0.0

    out = changed(made, tmp_path / "out", change)
    assert export_coco(Source(out), str(tmp_path / "coco")) == {"images": 12, "hands": 18}
    coco = COCO(str(tmp_path / "coco" / "annotations.json"))
    export_hamer(Source(out), str(tmp_path / "hamer"))
    items = list(hamer_items([str(path) for path in (tmp_path / "hamer").glob("*.tar")]))
    assert len(items) == 24
    for labels, _, mask in stored:
        first, *others = coco.loadAnns(coco.getAnnIds([labels["index"]]))
        assert (coco.annToMask(first) == mask).all()
        assert len(others) == (labels["index"] % 2 == 0)
        for other in others:
            assert other["side"] != first["side"]
            assert other["segmentation"] == []
            seen = (np.reshape(first["keypoints"], (21, 3))[:, 2] > 0) & (np.reshape(other["keypoints"], (21, 3))[:, 2] > 0)
            moved = np.reshape(other["keypoints"], (21, 3))[seen, :2] - np.reshape(first["keypoints"], (21, 3))[seen, :2]
            np.testing.assert_allclose(moved, np.tile([4.0, 0.0], (seen.sum(), 1)), atol=1e-3)
        (_, rgba, one, _), (_, other_rgba, two, _) = [item for item in items if int(item[0]) == labels["index"]]
        np.testing.assert_allclose(two["keypoints_2d"][:, 0] - one["keypoints_2d"][:, 0], 4, atol=1e-3)
        assert one["right"] + two["right"] == 1
        assert (rgba[..., 3] > 0).tolist() == mask.tolist()
        assert (other_rgba[..., 3] == 255).all()


def many_hands(stored, count: int) -> Stored:
    """An image of 96 x 64 px whose labels list its hands, each with a number of its own in the mask."""
    labels = stored[0][0]
    hands = [{key: labels[key] for key in (*HAND_KEYS, "T_cam_world")} for _ in range(count)]
    top = {key: value for key, value in labels.items() if key not in (*HAND_KEYS, "T_cam_world")}
    mask = np.zeros((64, 96), np.uint8)
    for k in range(count):
        mask[10 + k, k : 50 + k] = k + 1
    members = {"jpg": b"", "mask.png": encode_png(mask)}
    return Stored("here", top | {"image_size": [96, 64], "hands": hands}, members)


def test_images_of_any_number_of_hands(stored):
    """None, one or several hands: an annotation and an item for each, with its own mask, in an image that is no square; formats of
    one hand an image refuse them.
    """
    from pycocotools import mask as rle

    for count in (0, 1, 3):
        sample = many_hands(stored, count)
        rows = hands_of(sample)
        assert len(rows) == count
        for k, row in enumerate(rows):
            found = rle.decode(rle.frPyObjects(row["segmentation"], *row["segmentation"]["size"]))
            assert np.argwhere(found).tolist() == [[10 + k, x] for x in range(k, 50 + k)]
        members = members_of(sample, is_mano=False)
        masks = np.load(io.BytesIO(members["detection.npz"]))["masks"]
        assert masks.shape == (count, 64, 96)
        assert masks.dtype == bool
        assert [mask.sum() for mask in masks] == [50] * count
        with pytest.raises(UsageError, match="here shows any number of hands, and freihand has one an image: export coco or hamer"):
            sample.check_first("freihand")


@pytest.mark.parametrize("kind", ["empty", "full", "first pixel", "last pixel", "noise", "wide"])
def test_run_lengths_are_cocos(kind):
    """Any mask comes back from pycocotools as it was."""
    from pycocotools import mask as rle

    mask = np.random.default_rng(0).random((7, 19) if kind == "wide" else (13, 11)) < 0.5
    mask[:] = {"empty": False, "full": True}.get(kind, mask)
    if "pixel" in kind:
        mask[:] = False
        mask.ravel(order="A")[0 if kind == "first pixel" else -1] = True
    code = run_lengths(mask)
    assert sum(code["counts"]) == mask.size
    assert (rle.decode(rle.frPyObjects(code, *code["size"])) == mask).all()


# HaMeR ------------------------------------------------------------------------------------------------------------------------


def hamer_items(urls: list[str]):
    """What HaMeR's loader makes of its tars (`ImageDataset.load_tars_as_webdataset`): an item for each hand of each image."""
    import webdataset

    data = webdataset.WebDataset(urls, shardshuffle=False, nodesplitter=webdataset.split_by_node)
    for item in data.decode("rgb8").rename(jpg="jpg;jpeg;png"):
        for hand in item["data.pyd"]:
            mask = item["detection.npz"]["masks"][hand["extra_info"]["detection_npz_idx"]]
            fitting = hand.get("extra_info", {}).get("fitting_loss", np.array({})).item()
            assert fitting.get("reprojection_loss") is None
            assert hand["scale"].min().item() * 200 > 1
            has = {"hand_pose": hand["has_hand_pose"].copy(), "betas": hand["has_betas"].copy()}
            rgba = np.concatenate([item["jpg"], mask.astype(np.uint8)[:, :, None] * 255], axis=2)
            yield item["__key__"], rgba, hand, has


def test_hamer_is_read_by_its_pipeline(made, stored, hand, tmp_path):
    """Its fields, types and shapes; keypoints as labelled; parameters that pose the hand where its keypoints are, left ones too."""
    assert export_hamer(Source(made), str(tmp_path / "to"), shard_size=5) == {"images": 12, "shards": 3}
    model = load_hand(hand)
    items = list(hamer_items([str(path) for path in sorted((tmp_path / "to").glob("*.tar"))]))
    assert len(items) == 12
    for (labels, members, mask), (key, rgba, found, has) in zip(stored, items, strict=True):
        assert int(key) == labels["index"]
        assert (rgba[..., :3] == cv2.imdecode(np.frombuffer(members["jpg"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]).mean() > 0.99
        assert (rgba[..., 3] == 255 * mask).all()
        shapes = {
            "keypoints_2d": (21, 3), "keypoints_3d": (21, 4), "center": (2,), "scale": (2,), "hand_pose": (48,), "betas": (10,),
            "has_hand_pose": (), "has_betas": (), "right": (),
        }  # fmt: skip
        assert {name: found[name].shape for name in shapes} == shapes
        assert all(found[name].dtype == np.float32 for name in shapes)
        xy = np.array(labels["keypoints_xy"])
        np.testing.assert_allclose(found["keypoints_2d"][:, :2], xy - CENTRE, atol=1e-3)
        assert found["keypoints_2d"][:, 2].tolist() == ((xy >= 0) & (xy < labels["image_size"])).all(1).tolist()
        np.testing.assert_allclose(found["keypoints_3d"][:, :3], labels["keypoints_cam"], atol=1e-6)
        assert (found["keypoints_3d"][:, 3] == 1).all()
        assert found["right"] == (labels["side"] == "right")
        theta = found["hand_pose"].reshape(16, 3).astype(float)
        if labels["side"] == "left":
            theta = mirror_theta(theta)
        keypoints = pose_hand(model, theta, found["betas"]).keypoints
        if labels["side"] == "left":
            keypoints = mirror_points(keypoints)
        relative = found["keypoints_3d"][:, :3] - found["keypoints_3d"][0, :3]
        np.testing.assert_allclose(keypoints - keypoints[0], relative, atol=2e-5)
        x0, y0, x1, y1 = labels["bbox_xyxy"]
        np.testing.assert_allclose(found["center"], [(x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2], rtol=1e-4)
        np.testing.assert_allclose(found["scale"] * 200, [2 * (x1 - x0), 2 * (y1 - y0)], rtol=1e-4)
        assert has == {"hand_pose": 0, "betas": 0}  # the hand is not MANO


def test_parameters_count_where_the_hand_is_mano(made, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    index = read_index(out)
    index["hand"] = "mano"
    (out / "index.json").write_bytes(index_bytes(index))
    export_hamer(Source(out), str(tmp_path / "to"))
    items = list(hamer_items([str(path) for path in (tmp_path / "to").glob("*.tar")]))
    assert {float(found[name]) for _, _, found, _ in items for name in ("has_hand_pose", "has_betas")} == {1.0}
    assert "MANO's parameters count" in (tmp_path / "to" / "README.md").read_text()


def test_pickles_hold_arrays_and_nothing_else(made, tmp_path):
    """The only name that a reader must know is numpy.array, which every version of numpy has."""
    export_hamer(Source(made), str(tmp_path / "to"))
    for path in (tmp_path / "to").glob("*.tar"):
        for _, members in tar_members(path):
            names = {argument for code, argument, _ in pickletools.genops(members["data.pyd"]) if "GLOBAL" in code.name}
            assert names == {"numpy array"}


def tar_members(path: Path):
    import tarfile

    with tarfile.open(path) as tar:
        found: dict[str, dict[str, bytes]] = {}
        for entry in tar:
            key, _, extension = entry.name.partition(".")
            found.setdefault(key, {})[extension] = tar.extractfile(entry).read()
    return found.items()


# BOP --------------------------------------------------------------------------------------------------------------------------


def test_bop_depth_is_that_of_the_surface(made, stored, tmp_path):
    """Depth times its scale is in millimetres; a visible fingertip lies on it; the wrist's pose turns the template's axes."""
    assert export_bop(Source(made), str(tmp_path / "to")) == {"images": 12, "scenes": 1}
    scene = tmp_path / "to" / "train_pbr" / "000000"
    cameras, poses = (json.loads((scene / f"scene_{name}.json").read_text()) for name in ("camera", "gt"))
    near = []
    for number, (labels, _, mask) in enumerate(stored):
        camera, (pose,) = cameras[str(number)], poses[str(number)]
        depth = cv2.imread(str(scene / "depth" / f"{number:06d}.png"), cv2.IMREAD_UNCHANGED) * camera["depth_scale"]
        K = np.reshape(camera["cam_K"], (3, 3))
        seen = cv2.imread(str(scene / "mask_visib" / f"{number:06d}_000000.png"), cv2.IMREAD_UNCHANGED) > 0
        assert (seen == mask).all()
        assert (depth[mask] > 0).all()
        points = np.array(labels["keypoints_cam"])
        columns, rows = np.round(project(points, K)).astype(int).T
        inside = (
            (columns >= 0)
            & (rows >= 0)
            & (columns < len(depth))
            & (rows < len(depth))
            & np.array(labels["keypoints_visible"], bool)
        )
        surface = depth[rows[inside], columns[inside]]
        near += (1000 * points[inside, 2] - surface)[surface > 0].tolist()
        np.testing.assert_allclose(pose["cam_t_m2c"], 1000 * points[0], atol=1e-2)
        rotation = np.reshape(pose["cam_R_m2c"], (3, 3))
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    assert 0 < np.median(near) < 20  # keypoints lie in the flesh, behind the surface


def test_bop_needs_depth(tiny_world, tmp_path):
    tiny_world.generate(tmp_path / "out", "0:4")
    with pytest.raises(UsageError, match=r"has no depth: handsynth generate \.\.\. --passes depth"):
        export_bop(Source(tmp_path / "out"), str(tmp_path / "to"))
    assert not (tmp_path / "to").exists()


# Hugging Face -----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_huggingface_loads_without_arguments(made, stored, tmp_path, monkeypatch):
    """load_dataset(FOLDER): images decode, types are those of the card, numbers equal, also while streaming; the card is one."""
    import datasets
    import huggingface_hub

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert export_huggingface(Source(made), str(tmp_path / "to"), shard_size=5) == {"images": 12, "shards": 3}
    data = datasets.load_dataset(str(tmp_path / "to"))["train"]
    assert len(data) == 12
    for row, (labels, members, mask) in zip(data, stored, strict=True):
        assert row["json"]["index"] == labels["index"]
        assert row["jpg"].size == (labels["image_size"],) * 2
        assert (np.asarray(row["mask.png"]) > 0).tolist() == mask.tolist()
        depth = cv2.imdecode(np.frombuffer(members["depth.png"], np.uint8), cv2.IMREAD_UNCHANGED)
        assert (np.asarray(row["depth.png"]) == depth).all()
        for name in ("K", "T_cam_world", "theta", "beta", "keypoints_cam", "keypoints_xy", "keypoints_visible", "bbox_xyxy"):
            assert np.asarray(row["json"][name]).tolist() == labels[name], name
        assert row["json"]["side"] == labels["side"]
        assert json.loads(row["json"]["labels"]) == labels
        assert np.asarray(row["vertices.npy"], np.float32).tobytes() in members["vertices.npy"]
    streamed = datasets.load_dataset(str(tmp_path / "to"), streaming=True)["train"]
    assert [row["json"]["index"] for row in streamed] == [labels["index"] for labels, _, _ in stored]
    card = huggingface_hub.DatasetCard.load(tmp_path / "to" / "README.md")
    assert card.data.size_categories == ["n<1K"]
    assert card.data.license == "other"


@pytest.mark.slow
def test_huggingface_takes_labels_that_are_unknown(made, tmp_path, monkeypatch):
    """Photographs have no ambient light and no visible share: columns that are null in every row."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    out = changed(made, tmp_path / "out", lambda labels: labels.update(visible_share=None, ambient_used=None))
    export_huggingface(Source(out), str(tmp_path / "to"))
    data = datasets.load_dataset(str(tmp_path / "to"))["train"]
    assert [row["json"]["visible_share"] for row in data] == [None] * 12


# All of them ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPORTS)
def test_every_export_says_where_it_is_from(made, tmp_path, name):
    """A page with the dataset's identity and licences."""
    EXPORTS[name](Source(made), str(tmp_path / "to"))
    page, index = (tmp_path / "to" / "README.md").read_text(), read_index(made)
    assert index["dataset"] in page
    assert all(text in page for text in index["licences"].values())


@pytest.mark.parametrize("name", EXPORTS)
def test_the_same_dataset_gives_the_same_files(made, tmp_path, name):
    for to in ("a", "b"):
        EXPORTS[name](Source(made), str(tmp_path / to))
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "b") for path in (tmp_path / "b").rglob("*") if path.is_file())
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("there", ["file", "folder", "empty folder", "dangling link"])
def test_what_is_there_is_refused_and_untouched(made, tmp_path, name, there):
    to = tmp_path / "to"
    if there == "file":
        to.write_text("mine")
    elif there == "dangling link":
        to.symlink_to(tmp_path / "nowhere")
    else:
        to.mkdir()
        if there == "folder":
            (to / "a").write_text("mine")
    with pytest.raises(UsageError, match="is there already: name another place"):
        EXPORTS[name](Source(made), str(to))
    assert to.is_symlink() or to.exists()
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"] * (there in ("file", "folder"))


@pytest.mark.parametrize("place", ["out", "out/export", "out/../out/a", "s3://bucket/name"])
def test_places_that_cannot_be_are_refused(made, tmp_path, place, monkeypatch):
    """Within the dataset, which stays as it was, and addresses."""
    out = Path(shutil.copytree(made, tmp_path / "out"))
    before = dataset_bytes(out)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"is within the dataset itself|is an address"):
        export_coco(Source(out), place)
    assert dataset_bytes(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_datasets_behind_addresses_are_exported(made, tmp_path):
    """As from a folder of this machine, file for file."""
    import fsspec

    files = fsspec.filesystem("memory")
    for name, data in dataset_bytes(made).items():
        files.pipe_file(f"/exports/out/{name}", data)
    for name, out in (("a", "memory://exports/out"), ("b", made)):
        export_coco(Source(out), str(tmp_path / name))
    assert (tmp_path / "a" / "annotations.json").read_bytes() == (tmp_path / "b" / "annotations.json").read_bytes()


KILLED = """
import os, signal, sys
from handsynth.dataset.exports.source import Stored
jpg, count = Stored.jpg, 0
def dying(self):
    global count
    count += 1
    if count == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return jpg(self)
Stored.jpg = dying
from handsynth.cli.main import main
sys.argv = sys.argv[1:]
main()
"""


@pytest.mark.parametrize("name", EXPORTS)
def test_a_killed_export_leaves_nothing_that_looks_whole(made, tmp_path, name):
    """Nothing of that name; the same command then begins anew, ends well, and removes what was left."""
    command = [sys.executable, "-c", KILLED, "handsynth", "export", name, str(made), str(tmp_path / "to")]
    assert subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".tmp-")
    EXPORTS[name](Source(made), str(tmp_path / "to"))
    assert [path.name for path in tmp_path.iterdir()] == ["to"]


@pytest.mark.parametrize("name", EXPORTS)
def test_a_damaged_shard_ends_the_export_with_nothing_left(made, tmp_path, name):
    out = Path(shutil.copytree(made, tmp_path / "out"))
    path = sorted(out.glob("*.tar"))[-1]
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(HandsynthError, match=f"{path.name} in .* is not as index.json has it: handsynth verify"):
        EXPORTS[name](Source(out), str(tmp_path / "to"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTS)
def test_no_export_holds_the_whole_dataset_in_memory(made, tmp_path, name):
    """Ten times as many shards, no more memory."""
    entry = read_index(made)["shards"][0]
    peaks = []
    for copies in (2, 20):
        out = tmp_path / f"out{copies}"
        out.mkdir()
        shards = [entry | {"name": f"shard-{k:06d}.tar"} for k in range(copies)]
        for shard in shards:
            shutil.copy(made / entry["name"], out / shard["name"])
        (out / "index.json").write_bytes(index_bytes(read_index(made) | {"shards": shards, "samples": copies * entry["count"]}))
        more = {key: entry["count"] for key in {"bop": ["scene_size"], "coco": [], "freihand": []}.get(name, ["shard_size"])}
        tracemalloc.start()
        EXPORTS[name](Source(out), str(tmp_path / f"to{copies}"), **more)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    growth = peaks[1] - peaks[0]
    assert growth < 2 * entry["bytes"], peaks  # eighteen shards more


@pytest.mark.parametrize("name", ["freihand", "hamer"])
def test_formats_of_ten_shapes_refuse_other_hands(made, tmp_path, name):
    out = Path(shutil.copytree(made, tmp_path / "out"))
    (out / "index.json").write_bytes(index_bytes(read_index(made) | {"num_shapes": 4}))
    with pytest.raises(UsageError, match=f"{name} holds 10 shape coefficients, the hand of .* has 4: use coco"):
        EXPORTS[name](Source(out), str(tmp_path / "to"))
    assert not (tmp_path / "to").exists()


def test_the_command_prints_what_was_written(made, tmp_path):
    """Text and JSON on stdout; one sentence on stderr and exit code 2 for a place that is taken; Ctrl-C leaves nothing."""
    shown = run_handsynth("export", "coco", made, tmp_path / "to")
    assert (shown.returncode, shown.stdout) == (0, f"{tmp_path / 'to'}: 12 images, 12 hands\n")
    shown = run_handsynth("export", "hamer", made, tmp_path / "tars", "--shard-size", 6, "--json")
    assert json.loads(shown.stdout) == {"dest": str(tmp_path / "tars"), "images": 12, "shards": 2}
    shown = run_handsynth("export", "coco", made, tmp_path / "to")
    assert (shown.returncode, shown.stdout, len(shown.stderr.splitlines())) == (2, "", 1)
    assert "is there already" in shown.stderr
    stopped = KILLED.replace("SIGKILL", "SIGINT")
    command = [sys.executable, "-c", stopped, "handsynth", "export", "coco", str(made), str(tmp_path / "new")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 130
    assert "nothing of" in ended.stderr
    assert sorted(os.listdir(tmp_path)) == ["tars", "to"]


def test_no_export_imports_what_only_tests_have():
    """pycocotools, webdataset and datasets read exports; none is needed to write one."""
    folder = Path(__file__).parents[1] / "handsynth" / "dataset" / "exports"
    found = {
        (node.module or "").partition(".")[0] if isinstance(node, ast.ImportFrom) else node.names[0].name.partition(".")[0]
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert "handsynth" in found
    assert not found & {"pycocotools", "webdataset", "datasets", "huggingface_hub", "pyarrow"}
