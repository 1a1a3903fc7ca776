"""Photographs labelled by others as the file that `evaluate --photos` reads: FreiHAND's evaluation set, HO-3D, mmpose's files.

FreiHAND (Zimmermann et al. 2019): `evaluation/rgb/%08d.jpg`; `evaluation_K`, `evaluation_xyz` and, for boxes, `evaluation_verts`.
HO-3D v2 and v3 (Hampali et al. 2020): `evaluation.txt` lists SEQUENCE/FRAME; `evaluation/SEQUENCE/rgb/FRAME.png` (v3: .jpg),
cameras in `meta/FRAME.pkl`, truth in `evaluation_xyz.json`; y points up and z to the camera, joints in MANO's order.
mmpose's files of hands are COCO's with 21 keypoints in FreiHAND's order (FreiHAND, OneHand10K, Panoptic).

Images stay where they are and are named relative to the file that is written. Pickles are read without being run.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from handmesh.data.freihand import PIXEL_SHIFT, check_images, read_rows
from handmesh.data.photos import KEYPOINTS, numbers, read_json
from handsynth.core.camera import project
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.files import inner_path, write_file
from handsynth.core.unpickle import read_pickle

BOX_MARGIN = 0.1
"""What a hand's outline has beyond its keypoints on each side, of the longer side of their box: mean of the embedded hand's 895
poses seen from random sides."""

HO3D_ORDER = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
"""HO-3D's joints in our order (`shreyashampali/ho3d:vis_HO3D.py`, `jointsMapManoToSimple`)."""

_TO_CAMERA = np.array([1.0, -1.0, -1.0])  # HO-3D's y points up, its z towards the camera
_META_BYTES = 1 << 20  # HO-3D's pickles of a frame have a few kilobytes
_OUTSIDE = 0.5  # of all keypoints may lie outside their images before the truth is taken for another set's

Row = tuple[str, dict[str, Any], dict[str, Any]]
"""File of an image within the set's folder, what its image has, what its annotation has."""


def convert_photos(kind: str, src: Path, out: Path, every: int = 1, images: Path | None = None, side: str | None = None) -> int:
    """Writes labelled photographs as one JSON file, which `read_photos` reads.

    Args:
        kind: one of `SETS`.
        src: folder of FreiHAND or HO-3D, or mmpose's JSON file.
        out: the file, in the folder of the images or above it.
        every: takes the first of so many hands.
        images: folder of mmpose's images, where it is not that of its file.
        side: of all hands of a file that does not say: "right" or "left".

    Returns:
        How many hands it has.

    Raises:
        UsageError: parts of the set are missing, or `out` is beside the images' folder.
        HandsynthError: a file is damaged or cannot be written.
    """
    folder = src if kind != "mmpose" else images or src.parent
    if not folder.is_dir() or (kind == "mmpose" and not src.is_file()):
        raise UsageError(f"{src if folder.is_dir() else folder} is not there: give {SETS[kind][0]}")
    above = out.resolve().parent
    if not folder.resolve().is_relative_to(above):
        raise UsageError(f"{out} must lie in the folder of the images or above it, so that it can name them: {folder / out.name}")
    prefix = folder.resolve().relative_to(above)
    value: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
    numbers_of: dict[str, int] = {}
    for name, image, hand in SETS[kind][1](src, folder, every, side):
        number = numbers_of.setdefault(name, len(numbers_of))
        if number == len(value["images"]):
            value["images"].append({"id": number, "file_name": (prefix / name).as_posix()} | image)
        value["annotations"].append({"id": len(value["annotations"]), "image_id": number} | hand)
    if not value["annotations"]:
        raise HandsynthError(f"{src} has no labelled hand")
    try:
        write_file(out, json.dumps(value).encode())
    except OSError as error:
        raise HandsynthError(f"{out} cannot be written: {error.strerror}") from None
    return len(value["annotations"])


def _freihand(src: Path, _folder: Path, every: int, _side: str | None) -> Iterator[Row]:
    """FreiHAND's evaluation set; all are right hands."""
    _require(src, "evaluation_K.json", "evaluation_xyz.json", "evaluation/rgb")
    K = read_rows(src / "evaluation_K.json", (3, 3))
    xyz = read_rows(src / "evaluation_xyz.json", (KEYPOINTS, 3))
    outlines = src / "evaluation_verts.json"
    verts = read_rows(outlines, (778, 3)) if outlines.exists() else None
    for name, rows in (("evaluation_xyz.json", xyz), ("evaluation_verts.json", verts)):
        if rows is not None and len(rows) != len(K):
            raise HandsynthError(f"{src / name} has {len(rows)} entries, evaluation_K.json {len(K)}: a part is missing")
    check_images(src / "evaluation" / "rgb", len(K))
    K[:, :2, 2] += PIXEL_SHIFT
    for k in range(0, len(K), every):
        outline = None if verts is None else project(verts[k], K[k])
        yield f"evaluation/rgb/{k:08d}.jpg", {"K": K[k].tolist()}, _in_space(src, xyz[k], K[k], "right", outline)


def _ho3d(src: Path, _folder: Path, every: int, _side: str | None) -> Iterator[Row]:
    """HO-3D's evaluation set; all are right hands. Only frames whose truth is published are there."""
    _require(src, "evaluation.txt", "evaluation_xyz.json", "evaluation")
    xyz = read_rows(src / "evaluation_xyz.json", (KEYPOINTS, 3))
    try:
        frames = (src / "evaluation.txt").read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise HandsynthError(f"{src / 'evaluation.txt'} cannot be read: {error}") from None
    truth = src / "evaluation_xyz.json"
    if len(frames) != len(xyz):
        raise HandsynthError(f"{truth} has {len(xyz)} entries, evaluation.txt {len(frames)}: a part is missing")
    outside = []
    for frame, joints in list(zip(frames, xyz, strict=True))[::every]:
        sequence, _, number = frame.partition("/")
        try:
            base = inner_path(f"evaluation/{sequence}")
            inner_path(number)
        except ValueError as error:
            raise HandsynthError(f"{src / 'evaluation.txt'}: {frame!r:.60} is no SEQUENCE/FRAME ({error})") from None
        files = [f"{base}/rgb/{number}{ending}" for ending in (".png", ".jpg")]
        found = [file for file in files if os.path.isfile(src / file)]
        if not found:
            raise UsageError(f"{src / base / 'rgb'} lacks the image {number:.40}.png (or .jpg): unpack HO-3D there")
        meta = src / base / "meta" / f"{number}.pkl"
        K = read_pickle(meta, "HO-3D frame", ("camMat",), _META_BYTES)["camMat"].astype(np.float64)
        if K.shape != (3, 3) or not np.isfinite(K).all() or min(K[0, 0], K[1, 1]) <= 0:
            raise HandsynthError(f"{meta} is damaged: camMat is no camera")
        K = K + np.array([[0, 0, PIXEL_SHIFT], [0, 0, PIXEL_SHIFT], [0, 0, 0]])
        hand = _in_space(src, joints[list(HO3D_ORDER)] * _TO_CAMERA, K, "right", None)
        points = np.reshape(hand["keypoints"], (KEYPOINTS, 3))[:, :2]
        outside.append(float(((points < 0) | (points > 2 * K[:2, 2])).any(1).mean()))
        yield found[0], {"K": K.tolist()}, hand
    if np.mean(outside) > _OUTSIDE:
        raise HandsynthError(f"{truth}: most keypoints lie outside the images, so they are not of these frames")


def _mmpose(src: Path, folder: Path, every: int, side: str | None) -> Iterator[Row]:
    """A file of mmpose's: an annotation is a hand, its side from `hand_type`, its image's ending (`_l`, `_r`) or the argument."""
    value = read_json(src)
    try:
        files = {row["id"]: str(row["file_name"]) for row in value["images"]}
        hands = list(value["annotations"])
    except (KeyError, TypeError) as error:
        raise HandsynthError(f"{src} is no file of mmpose's hands ({' '.join(str(error).split())[:80]})") from None
    for k, row in list(enumerate(hands))[::every]:
        where = f"{src}: annotation {k + 1}"
        try:
            name = str(inner_path(files[row["image_id"]]))
            points = numbers(row["keypoints"], (3 * KEYPOINTS,)).reshape(KEYPOINTS, 3)
            box = numbers(row["bbox"], (4,))
            known = str(row.get("hand_type") or {"_l": "left", "_r": "right"}.get(Path(name).stem[-2:]) or side or "")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise HandsynthError(f"{where} is damaged ({' '.join(str(error).split())[:100]})") from None
        if known not in ("right", "left"):
            raise UsageError(f"{where} does not say which hand it is: give --side right or --side left")
        if (points[:, 2] > 0).sum() < 2:  # nothing that could be compared
            continue
        if not os.path.isfile(folder / name):  # false for a name that no file can have, too
            raise UsageError(f"{folder} lacks the image {name:.80}: give --images DIR")
        seen = np.where(points[:, 2] > 0, 2, 0)  # 1 means labelled in some of these files, hidden in none
        labels = np.where(seen[:, None] > 0, points[:, :2], 0)
        yield name, {}, {"side": known, "bbox": box.tolist(), "keypoints": np.c_[labels, seen].ravel().tolist()}


def _in_space(src: Path, joints: np.ndarray, K: np.ndarray, side: str, outline: np.ndarray | None) -> dict[str, Any]:
    """The annotation of a hand whose (21, 3) keypoints [m] are known in the camera frame; all count as seen, as nobody says."""
    if joints[:, 2].min() <= 0:
        raise HandsynthError(f"{src}: keypoints behind the camera")
    points = project(joints, K)
    if outline is None:
        margin = BOX_MARGIN * np.ptp(points, axis=0).max()
        low, high = points.min(0) - margin, points.max(0) + margin
    else:
        low, high = outline.min(0), outline.max(0)
    return {
        "side": side,
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "keypoints": np.c_[points, np.full(KEYPOINTS, 2)].ravel().tolist(),
        "keypoints_3d": joints.tolist(),
    }


def _require(src: Path, *parts: str) -> None:
    if missing := [part for part in parts if not (src / part).exists()]:
        raise UsageError(f"{src} is not whole: {', '.join(missing)} missing; unpack the set and its published truth there")


SETS: dict[str, tuple[str, Callable[[Path, Path, int, str | None], Iterator[Row]]]] = {
    "freihand": ("FreiHAND's folder, with evaluation_xyz.json", _freihand),
    "ho3d": ("HO-3D's folder, with evaluation_xyz.json", _ho3d),
    "mmpose": ("a JSON file of hands in mmpose's layout", _mmpose),
}
"""What each set is made from, and its hands."""
