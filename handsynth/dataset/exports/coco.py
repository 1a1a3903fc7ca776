"""COCO's layout: images, and one JSON of hands with 21 keypoints, boxes and run-length masks, as pycocotools and MMPose read it."""

import json
import shutil
from typing import Any

import numpy as np

from handsynth.core.conventions import KEYPOINT_NAMES, KEYPOINT_PARENTS
from handsynth.dataset.exports.source import PIXEL_CENTRE, Hand, Source, Stored, centred

ANNOTATIONS = "annotations.json"
HIDDEN, SEEN = 1, 2  # COCO's visibility flags; 0 is a keypoint that is not labelled

CATEGORY = {
    "id": 1,
    "name": "hand",
    "supercategory": "person",
    "keypoints": list(KEYPOINT_NAMES),
    "skeleton": [[parent + 1, k + 1] for k, parent in enumerate(KEYPOINT_PARENTS) if parent >= 0],
}


def export_coco(source: Source, dest: str) -> dict[str, Any]:
    """Writes `dest` and returns how many images and hands it has.

    Keypoints count from the centre of the first pixel, as COCO's do, boxes from its corner, as COCO's do. A keypoint outside the
    image is not labelled. Hands of which the image shows nothing have no annotation, and their images stay.

    Raises UsageError when the place is taken.
    """
    images = hands = 0
    licences: dict[str, int] = {}
    with source.into(dest) as folder:
        (folder / "images").mkdir()
        rows = folder / "annotations.rows"
        with open(folder / ANNOTATIONS, "w", encoding="utf-8") as file, open(rows, "w+", encoding="utf-8") as second:
            file.write('{"images":[')
            for sample in source:
                image = _image(sample, licences)
                (folder / image["file_name"]).write_bytes(sample.jpg())
                file.write(("," if images else "") + "\n" + _json(image))
                images += 1
                for hand in hands_of(sample):
                    hands += 1
                    second.write(("," if hands > 1 else "") + "\n" + _json({"id": hands, "image_id": image["id"]} | hand))
            file.write('],\n"annotations":[')
            second.seek(0)
            shutil.copyfileobj(second, file)
            about = {
                "categories": [CATEGORY],
                "licenses": [{"id": number, "name": text, "url": ""} for text, number in licences.items()],
                "info": {"description": f"{source.index['name']}, made by handsynth", "dataset": source.index["dataset"]},
            }
            file.write("],\n" + _json(about)[1:] + "\n")
        rows.unlink()
        source.write_readme(folder, f"{source.index['name']} in COCO's layout", *_NOTES)
    return {"images": images, "hands": hands}


def hands_of(sample: Stored) -> list[dict[str, Any]]:
    """The annotations of a sample's hands, without ids."""
    return [row for hand in sample.hands() if (row := _hand(hand, sample.size))]


def _hand(hand: Hand, size: tuple[int, int]) -> dict[str, Any] | None:
    """An annotation; None where nothing of the hand is seen."""
    labels, mask = hand.labels, hand.mask
    (x0, y0), (x1, y1) = np.clip(np.reshape(labels["bbox_xyxy"], (2, 2)), 0, size).tolist()
    hidden = not mask.any() if mask is not None else labels.get("visible_share") == 0
    if x1 <= x0 or y1 <= y0 or hidden:
        return None
    xy = np.array(labels["keypoints_xy"])
    inside = np.all((xy >= 0) & (xy < size), axis=1)
    flags = np.where(inside, np.where(np.array(labels["keypoints_visible"], bool), SEEN, HIDDEN), 0)
    keypoints = np.concatenate([np.where(inside[:, None], xy - PIXEL_CENTRE, 0).round(4), flags[:, None]], 1)
    return {
        "category_id": CATEGORY["id"],
        "iscrowd": 0,
        "side": labels["side"],
        "bbox": np.round([x0, y0, x1 - x0, y1 - y0], 4).tolist(),
        "area": int(mask.sum()) if mask is not None else round((x1 - x0) * (y1 - y0), 2),
        "segmentation": run_lengths(mask) if mask is not None else [],
        "num_keypoints": int(inside.sum()),
        "keypoints": [int(v) if k % 3 == 2 else v for k, v in enumerate(keypoints.ravel().tolist())],
        "keypoints_3d": labels["keypoints_cam"],
    }


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """(H, W) bool -> COCO's run-length code: lengths of runs, column by column, the first of zeros."""
    flat = mask.ravel(order="F")
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    counts = np.diff(ends, prepend=0).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def _image(sample: Stored, licences: dict[str, int]) -> dict[str, Any]:
    """The image's row; its background's licence gets a number."""
    labels = sample.labels
    licence = (labels.get("background") or {}).get("licence", "not recorded")
    return {
        "id": labels["index"],
        "file_name": f"images/{labels['index']:09d}.jpg",
        "width": sample.size[0],
        "height": sample.size[1],
        "license": licences.setdefault(f"background: {licence}", len(licences) + 1),
        "K": centred(labels["K"]).round(6).tolist(),
    }


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


_NOTES = (
    f"`{ANNOTATIONS}` names images relative to this folder. The category `hand` has 21 keypoints (wrist, then thumb to little "
    "finger, each from base to tip) with a skeleton; `v` is 2 for a keypoint that is seen, 1 for one that is hidden, and 0, with "
    "x = y = 0, for one outside the image. Masks are run-length coded, of what is seen of the hand without its forearm; boxes are "
    "about the whole hand, hidden parts too, as far as the image goes. A hand of which nothing is seen is left out. Where the "
    "dataset keeps the first hand's mask alone, `segmentation` of others is an empty list, and their `area` is the box's.",
    "Beyond COCO: `side` (`right` or `left`), `keypoints_3d` (21 x 3, camera frame, metres), and an image's `K`. Keypoints and `K` "
    "count from the centre of the top-left pixel, boxes from its corner.",
)
