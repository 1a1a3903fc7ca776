"""Depth, as BOP's datasets have it (Hodan et al. 2018): scenes with rgb, depth, mask_visib, and a camera for each image."""

import json
from typing import Any

import numpy as np

from handsynth.core.conventions import DEPTH_UNIT_M
from handsynth.core.errors import UsageError
from handsynth.core.rotation import rotvec_to_rotmat
from handsynth.dataset.exports.source import Source, Stored, camera_theta, centred
from handsynth.image.encode import PNG_FLAT, encode_png

SPLIT, SCENE_SIZE, HAND_ID = "train_pbr", 1000, 1


def export_bop(source: Source, dest: str, scene_size: int = SCENE_SIZE) -> dict[str, Any]:
    """Writes `dest` and returns how many images and scenes it has.

    BOP's objects are rigid, and the hand is not: its pose is its wrist's.

    Raises UsageError when the place is taken, or the dataset has no depth.
    """
    if "depth" not in source.index["spec"].get("passes", ()):
        raise UsageError(f"{source.folder} has no depth: handsynth generate ... --passes depth makes a dataset that has")
    count = scenes = 0
    with source.into(dest) as folder:
        cameras: dict[str, Any] = {}
        poses: dict[str, Any] = {}
        for sample in source:
            sample.check_first("bop")
            scenes, number = divmod(count, scene_size)
            scene = folder / SPLIT / f"{scenes:06d}"
            if number == 0:
                for kind in ("rgb", "depth", "mask_visib"):
                    (scene / kind).mkdir(parents=True)
                cameras, poses = {}, {}
            (scene / "rgb" / f"{number:06d}.jpg").write_bytes(sample.jpg())
            (scene / "depth" / f"{number:06d}.png").write_bytes(sample.members["depth.png"])
            mask = np.where(sample.mask(), np.uint8(255), np.uint8(0))
            (scene / "mask_visib" / f"{number:06d}_000000.png").write_bytes(encode_png(mask, PNG_FLAT))
            cameras[str(number)] = _camera(sample)
            poses[str(number)] = [_pose(sample)]
            count += 1
            if count % scene_size == 0 or count == source.index["samples"]:
                (scene / "scene_camera.json").write_text(json.dumps(cameras), encoding="utf-8")
                (scene / "scene_gt.json").write_text(json.dumps(poses), encoding="utf-8")
        source.write_readme(folder, f"{source.index['name']} with depth in BOP's layout", *_NOTES)
    return {"images": count, "scenes": scenes + bool(count)}


def _camera(sample: Stored) -> dict[str, Any]:
    """Intrinsics, what a grey level of depth is in millimetres, and the camera in the world [mm]."""
    T = np.array(sample.labels["T_cam_world"])
    return {
        "cam_K": centred(sample.labels["K"]).round(6).ravel().tolist(),
        "depth_scale": round(1000 * DEPTH_UNIT_M, 6),
        "cam_R_w2c": T[:3, :3].ravel().tolist(),
        "cam_t_w2c": (1000 * T[:3, 3]).round(3).tolist(),
    }


def _pose(sample: Stored) -> dict[str, Any]:
    """Where the wrist is and how it is turned [mm]."""
    rotation = rotvec_to_rotmat(camera_theta(sample.labels)[0])
    wrist = 1000 * np.array(sample.labels["keypoints_cam"][0])
    return {"obj_id": HAND_ID, "cam_R_m2c": rotation.ravel().round(9).tolist(), "cam_t_m2c": wrist.round(3).tolist()}


_NOTES = (
    f"`{SPLIT}/%06d/` are scenes of up to {SCENE_SIZE} images: `rgb`, `depth` (16 bits; times `depth_scale` it is millimetres "
    "along the optical axis; 0 is background), `mask_visib`, `scene_camera.json` and `scene_gt.json`.",
    f"The hand is object {HAND_ID}. It is not rigid: its pose is that of the wrist, from the template's frame, and there is no "
    "model file. Depth shows all that is drawn, forearm and clothing too. `cam_K` counts from the centre of the top-left "
    "pixel. Left hands are mirror images: what turns is their mirrored template.",
)
