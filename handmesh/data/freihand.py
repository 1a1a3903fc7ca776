"""FreiHAND v2 (Zimmermann et al. 2019) into our shards, once: OUT/train and OUT/val, nine to one by original image.

What lies in the folder: images `training/rgb/%08d.jpg`, n originals in four versions (n = 32,560, so 130,240 of them),
`training/mask` of the originals, and lists of n labels in JSON: `training_K`, `_xyz`, `_verts` (camera frame, metres) and `_mano`.
Image i shows original i mod n. JPEGs are copied byte for byte.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from tqdm import tqdm

from handsynth.core.camera import project
from handsynth.core.conventions import FINGERTIP_TABLES, JOINT_NAMES, KEYPOINT_NAMES, LABEL_GRID_M, SCHEMA
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.files import write_file
from handsynth.core.hand import HandModel, keypoints_from_vertices, pose_hand
from handsynth.core.index import canonical_json
from handsynth.core.rng import stream
from handsynth.core.sample import FIELDS, encode_npy
from handsynth.core.shard import Members, shard_name, write_shard

VERSIONS = ("gs", "hom", "sample", "auto")
"""Versions of an image in the order of their numbers: as taken before green, and three with other backgrounds and colours."""

ROOT_KEYPOINT = 9
"""Keypoint that FreiHAND's pose parameters put in its place: the middle finger's first."""

PIXEL_SHIFT = 0.5
"""Added to the principal point: FreiHAND's code draws projections on pixel centres as integers, we count from the corner [px]."""

VAL_SHARE = 0.1
MISFIT_LIMIT_M = 5e-3
"""Mean distance above which labels are not those of the given hand; even meshes of v1 and v2 part by 0.6 mm on average."""

LICENCE = "FreiHAND: for research only, not for commercial use, no redistribution"
_LONGEST_ENTRY = 1 << 24  # characters; 778 vertices take 50,000
_LABELS = ("K", "mano", "xyz", "verts")
_DECIMALS = round(-np.log10(LABEL_GRID_M))


@dataclass(frozen=True, eq=False)
class FreihandLabels:
    """Labels of the n originals, camera frame. The pose is already ours: relative to the flat hand."""

    K: np.ndarray  # (n, 3, 3) [px], corner of the top-left pixel is (0, 0)
    theta: np.ndarray  # (n, 16, 3) [rad]
    beta: np.ndarray  # (n, 10)
    keypoints: np.ndarray  # (n, 21, 3) [m]
    vertices: np.ndarray  # (n, V, 3) float32 [m]
    digest: str  # SHA-256 over the label files

    def __len__(self) -> int:
        return len(self.K)


def convert_freihand(src: Path, out: Path, hand: HandModel, shard_size: int = 1000) -> dict[str, Any]:
    """Writes OUT/train and OUT/val and returns how many samples each has. All versions of an original are on one side.

    Args:
        src: FreiHAND v2's folder.
        out: a new or unfinished folder.
        hand: MANO v1.2's right hand with FreiHAND's fingertips.
        shard_size: samples of a shard.

    Raises:
        UsageError: a part of `src` is missing, the hand has other fingertips, or `out` is finished already.
        HandsynthError: a file is damaged or cannot be written, or the labels are not those of this hand.
    """
    if hand.fingertip_table != "freihand":
        raise UsageError(f"the hand {hand.name!r} has the fingertips {hand.fingertip_table!r}, FreiHAND's labels need 'freihand'")
    parts = [src / f"training_{name}.json" for name in _LABELS] + [src / "training" / "rgb", src / "training" / "mask"]
    if missing := [str(p.relative_to(src)) for p in parts if not p.exists()]:
        raise UsageError(f"{src} is no whole FreiHAND v2: {', '.join(missing)} missing; unpack FreiHAND_pub_v2.zip there")
    for split in ("train", "val"):
        if (out / split / "index.json").exists():
            raise UsageError(f"{out / split} holds a finished dataset already; name another folder or delete it")
    labels = read_labels(src, hand)
    check_images(src / "training" / "rgb", len(VERSIONS) * len(labels))
    check_images(src / "training" / "mask", len(labels))
    val = set(stream(0, 0, "freihand split").permutation(len(labels))[: max(round(VAL_SHARE * len(labels)), 1)].tolist())
    counts = {}
    for split in ("train", "val"):
        originals = [k for k in range(len(labels)) if (k in val) == (split == "val")]
        try:
            counts[split] = _write_split(src, out / split, split, labels, originals, hand, shard_size)
        except OSError as error:
            raise HandsynthError(f"{out / split} cannot be written: {error.strerror}") from None
    return {"out": str(out), "originals": len(labels), **counts}


def read_labels(src: Path, hand: HandModel) -> FreihandLabels:
    """Reads and checks the label files. Raises HandsynthError when they are damaged, of unequal length or another hand's."""
    shapes = {"K": (3, 3), "mano": (61,), "xyz": (21, 3), "verts": (hand.num_vertices, 3)}
    digest, arrays = hashlib.sha256(), {}
    for name in _LABELS:
        path = src / f"training_{name}.json"
        arrays[name] = read_rows(path, shapes[name], np.float32 if name == "verts" else np.float64)
        digest.update(arrays[name].tobytes())
        if len(arrays[name]) != len(arrays["K"]):
            raise HandsynthError(f"{path} has {len(arrays[name])} entries, training_K.json {len(arrays['K'])}: a part is missing")
    theta = arrays["mano"][:, :48].reshape(-1, 16, 3).copy()
    theta[:, 1:] += hand.hands_mean  # FreiHAND's poses are relative to MANO's mean pose, ours to the flat hand
    K = arrays["K"].copy()
    K[:, :2, 2] += PIXEL_SHIFT
    some = slice(None, None, max(len(K) // 500, 1))
    found = keypoints_from_vertices(hand, arrays["verts"][some].astype(np.float64))
    misfit = np.linalg.norm(found - arrays["xyz"][some], axis=-1).mean()
    if misfit > MISFIT_LIMIT_M:
        raise HandsynthError(
            f"training_xyz.json is {1000 * misfit:.1f} mm from the keypoints of training_verts.json: "
            f"{hand.name!r} is not FreiHAND's hand"
        )
    return FreihandLabels(K, theta, arrays["mano"][:, 48:58], arrays["xyz"], arrays["verts"], digest.hexdigest())


def read_rows(path: Path, shape: tuple[int, ...], dtype: type[np.floating] = np.float64) -> np.ndarray:
    """(n, *shape) numbers of one of FreiHAND's JSON lists. Raises HandsynthError when it is damaged or empty."""
    rows = []
    for k, value in enumerate(_items(path)):
        try:
            rows.append(np.array(value, dtype).reshape(shape))
        except (ValueError, TypeError):
            raise HandsynthError(f"{path} is damaged: entry {k} is not {shape} numbers") from None
        if not np.isfinite(rows[-1]).all():
            raise HandsynthError(f"{path} is damaged: entry {k} holds NaN or infinity")
    if not rows:
        raise HandsynthError(f"{path} is an empty list")
    return np.array(rows)


def check_images(folder: Path, count: int) -> None:
    """Raises UsageError naming the first of `count` numbered images that is missing from `folder`."""
    there = {path.name for path in folder.iterdir()}
    lacking = [name for name in (f"{i:08d}.jpg" for i in range(count)) if name not in there]
    if lacking:
        raise UsageError(f"{folder} lacks {len(lacking)} of {count} images, the first {lacking[0]}")


def _items(path: Path) -> Iterator[Any]:
    """Entries of a JSON list, one at a time: the vertices of all hands are gigabytes as Python's numbers."""
    decoder, text, at = json.JSONDecoder(), "", 0
    try:
        with open(path, encoding="utf-8") as file:
            if file.read(1) != "[":
                raise ValueError("it is no list")
            while True:
                while at < len(text) and text[at] in " \n\r\t,":
                    at += 1
                if text.startswith("]", at):
                    return
                try:
                    value, end = decoder.raw_decode(text, at)
                    if text[end : end + 1] not in (*" \n\r\t,", "]"):  # a number may go on in what has not been read
                        raise ValueError(f"no comma after {text[max(end - 20, 0) : end]}")
                except ValueError:  # the entry goes on in what has not been read
                    chunk = file.read(1 << 20)
                    if not chunk or len(text) - at > _LONGEST_ENTRY:
                        raise
                    text, at = text[at:] + chunk, 0
                    continue
                at = end
                yield value
    except (OSError, ValueError, RecursionError) as error:
        raise HandsynthError(f"{path} is damaged: {error}") from None


def _write_split(
    src: Path, out: Path, split: str, labels: FreihandLabels, originals: list[int], hand: HandModel, shard_size: int
) -> int:
    """Writes the shards and the index of one split; returns its number of samples."""
    out.mkdir(parents=True, exist_ok=True)
    spec = {"source": "FreiHAND v2", "split": split, "labels": labels.digest, "pixel_shift": PIXEL_SHIFT}
    identity = hashlib.sha256(canonical_json({"schema": SCHEMA, "spec": spec, "hand": hand.digest})).hexdigest()
    images = [version * len(labels) + k for version in range(len(VERSIONS)) for k in originals]
    shards = []
    with tqdm(total=len(images), desc=split, unit="sample") as bar:
        for number, start in enumerate(range(0, len(images), shard_size)):
            chosen = images[start : start + shard_size]
            translations = _translations(labels, [i % len(labels) for i in chosen], hand)

            def samples(chosen: list[int] = chosen, trans: np.ndarray = translations) -> Iterator[tuple[int, Members]]:
                for image, moved in zip(chosen, trans, strict=True):
                    yield image, _members(src, labels, image, moved, identity)
                    bar.update()

            shards.append(vars(write_shard(out / shard_name(number), samples())))
    index = {
        "schema": SCHEMA,
        "name": f"freihand-{split}",
        "dataset": identity,
        "spec": spec,
        "selection": "all",
        "assets": {"hand": hand.digest},
        "licences": {"hand": hand.licence, "images": LICENCE},
        "hand": hand.name,
        "fingertip_table": hand.fingertip_table,
        "fingertips": hand.fingertips.tolist(),
        "num_vertices": hand.num_vertices,
        "num_shapes": hand.num_shapes,
        "samples": len(images),
        "drivers": [],
        "replaced_backgrounds": 0,
        "conventions": _conventions(),
        "shards": shards,
    }
    write_file(out / "index.json", json.dumps(index, indent=1, sort_keys=True).encode() + b"\n")
    return len(images)


def _conventions() -> dict[str, Any]:
    """What an external reader must know to read the numbers."""
    return {
        "fields": {name: text for name, (_, text) in FIELDS.items()}
        | {"keypoints_visible": "1 when in the image; FreiHAND does not say what is hidden"},
        "vertices.npy": "float32 (V, 3), camera frame [m]",
        "mask.png": "FreiHAND's mask of the original image, 255 on the hand, 0 elsewhere",
        "joint_names": list(JOINT_NAMES),
        "keypoint_names": list(KEYPOINT_NAMES),
        "keypoints": "FreiHAND's own",
        "mano_fingertip_tables": {"freihand": list(FINGERTIP_TABLES["freihand"])},
    }


def _translations(labels: FreihandLabels, originals: list[int], hand: HandModel) -> np.ndarray:
    """(N, 3) where the posed hands must be moved for their root keypoint to lie where FreiHAND has it [m]."""
    posed = pose_hand(hand, labels.theta[originals], labels.beta[originals])
    trans = labels.keypoints[originals, ROOT_KEYPOINT] - posed.keypoints[:, ROOT_KEYPOINT]
    misfit = np.linalg.norm(posed.vertices + trans[:, None] - labels.vertices[originals], axis=-1).mean()
    if misfit > MISFIT_LIMIT_M:
        raise HandsynthError(
            f"training_mano.json, posed with the hand {hand.name!r}, is {1000 * misfit:.1f} mm from training_verts.json: "
            "FreiHAND v2 needs MANO v1.2's right hand"
        )
    return trans


def _members(src: Path, labels: FreihandLabels, image: int, trans: np.ndarray, identity: str) -> Members:
    """The encoded sample of one image."""
    version, k = divmod(image, len(labels))
    path, mask_path = (src / "training" / kind / f"{i:08d}.jpg" for kind, i in (("rgb", image), ("mask", k)))
    try:
        jpg = path.read_bytes()
        height, width = simplejpeg.decode_jpeg_header(jpg)[:2]
        mask = simplejpeg.decode_jpeg(mask_path.read_bytes(), "GRAY")[..., 0]
    except (OSError, ValueError) as error:
        raise HandsynthError(f"{path} or its mask {mask_path.name} is damaged: {error}") from None
    if height != width or mask.shape != (height, width):
        raise HandsynthError(f"{path} is {width} x {height} px, its mask {mask.shape[1]} x {mask.shape[0]}; one square is expected")
    xy = project(labels.keypoints[k], labels.K[k])
    outline = project(labels.vertices[k].astype(np.float64), labels.K[k])
    metadata = {
        "schema": SCHEMA,
        "index": image,
        "dataset": identity,
        "side": "right",
        "image_size": width,
        "K": labels.K[k].round(6).tolist(),
        "T_cam_world": np.eye(4).tolist(),
        "theta": labels.theta[k].ravel().round(6).tolist(),
        "beta": labels.beta[k].round(6).tolist(),
        "trans": trans.round(_DECIMALS).tolist(),
        "keypoints_cam": labels.keypoints[k].round(_DECIMALS).tolist(),
        "keypoints_xy": xy.round(4).tolist(),
        "keypoints_visible": ((xy >= 0) & (xy < width)).all(1).astype(int).tolist(),
        "visible_share": None,
        "bbox_xyxy": np.concatenate([outline.min(0), outline.max(0)]).round(4).tolist(),
        "fingertip_table": "freihand",
        "ambient_used": None,
        "background": {"name": f"FreiHAND {VERSIONS[version]}", "licence": LICENCE, "replaced": False},
        "arm": None,
        "clothing": None,
        "object": None,
        "hands": None,
        "occluder": None,
        "recipe": {"source": "FreiHAND v2", "original": k, "version": VERSIONS[version]},
    }
    return {
        "jpg": jpg,
        "mask.png": cv2.imencode(".png", np.where(mask > 127, 255, 0).astype(np.uint8))[1].tobytes(),
        "json": canonical_json(metadata),
        "vertices.npy": encode_npy(labels.vertices[k]),
    }
