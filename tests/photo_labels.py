"""Labels of photographs as users have them, small."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CAMERA = [[60.0, 0.0, 32.0], [0.0, 60.0, 24.0], [0.0, 0.0, 1.0]]
"""Of the sets' images, which are 64 x 48 px; the middle of the top-left pixel is (0, 0), as these sets have it."""


def photos_content() -> dict[str, Any]:
    """Labelled photographs: one hand with truth in space and a camera, one without."""
    points = [[10.0 * (k % 5) + 3, 8.0 * (k // 5) + 4, 2] for k in range(21)]
    hand = {
        "image_id": 1,
        "side": "right",
        "bbox": [0, 0, 60, 50],
        "keypoints": [value for point in points for value in point],
        "tags": ["grasp"],
    }
    space = [[0.01 * k, 0.02, 0.5] for k in range(21)]
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "K": [[60, 0, 32], [0, 60, 32], [0, 0, 1]]}, {"id": 2, "file_name": "b/c.jpg"}],
        "annotations": [hand | {"id": 5, "keypoints_3d": space}, hand | {"id": 6, "image_id": 2, "side": "left"}],
    }


def predictions_content() -> list[dict[str, Any]]:
    """Another method's keypoints of those photographs."""
    hand = photos_content()["annotations"][0]
    return [{"annotation_id": 5, "keypoints": hand["keypoints"], "keypoints_3d": hand["keypoints_3d"]}]


def set_keypoints(hands: int = 2) -> list[list[list[float]]]:
    """Keypoints of hands in the camera frame [m], our order."""
    return [[[0.004 * k - 0.04, 0.003 * (k % 5), 0.4 + 0.002 * (k % 3) + 0.1 * hand] for k in range(21)] for hand in range(hands)]


def mmpose_content() -> dict[str, Any]:
    """A file of hands in mmpose's layout: one says by its image's name which hand it is, one by `hand_type`, one not at all."""
    points = [[10.0 * (k % 5) + 3, 8.0 * (k // 5) + 4, 1] for k in range(21)]
    points[4] = [0.0, 0.0, 0]
    hand = {"bbox": [1, 2, 50, 40], "keypoints": [value for point in points for value in point], "category_id": 1, "iscrowd": 0}
    names = ("one_l.jpg", "two.jpg", "three.jpg")
    return {
        "images": [{"id": 10 + k, "file_name": name, "width": 64, "height": 48} for k, name in enumerate(names)],
        "annotations": [hand | {"id": k, "image_id": 10 + k} | ({"hand_type": "right"} if k == 1 else {}) for k in range(3)],
    }


def write_sets(folder: Path) -> None:
    """FreiHAND's evaluation set and HO-3D v2's with their published truth, two hands each, and mmpose's file, in one folder."""
    ours = np.array(set_keypoints())
    theirs = np.empty_like(ours)  # MANO's joints, then the tips of thumb, index, middle, ring and little finger
    theirs[:, [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]] = ours * [1, -1, -1]
    images = ["evaluation/rgb/00000000.jpg", "evaluation/rgb/00000001.jpg", "one_l.jpg", "two.jpg", "three.jpg"]
    for number in range(2):
        images.append(f"evaluation/SM1/rgb/000{number}.png")
        meta = folder / "evaluation" / "SM1" / "meta" / f"000{number}.pkl"
        meta.parent.mkdir(parents=True, exist_ok=True)
        meta.write_bytes(pickle.dumps({"camMat": np.array(CAMERA), "objName": "003_cracker_box", "objTrans": np.zeros(3)}))
    for name in images:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(folder / name)
    (folder / "evaluation_K.json").write_text(json.dumps([CAMERA, CAMERA]))
    (folder / "evaluation_xyz.json").write_text(json.dumps(ours.tolist()))
    (folder / "ho3d_xyz.json").write_text(json.dumps(theirs.tolist()))  # evaluation_xyz.json, where the folder is HO-3D's
    (folder / "evaluation.txt").write_text("SM1/0000\nSM1/0001\n")
    (folder / "mmpose.json").write_text(json.dumps(mmpose_content()))
