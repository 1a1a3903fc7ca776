"""FreiHAND's layout (Zimmermann et al. 2019): training/rgb, training/mask, and a JSON list for each kind of label."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from handsynth.core.hand import HandModel
from handsynth.core.mirror import mirror_points, mirror_theta, mirrored
from handsynth.core.named_hands import find_hand
from handsynth.dataset.exports.source import Source, Stored, camera_theta, centred, json_list
from handsynth.image.encode import encode_jpeg

ROOT_KEYPOINT = 9
"""The keypoint that `uv_root` and `scale` of the parameters put in its place: the middle finger's first."""

SCALE_BONE = (9, 10)
"""Keypoints whose distance is a hand's scale in FreiHAND: the middle finger's first phalanx."""

_QUALITY = 95  # of images that are mirrored, and of masks
_LISTS = ("K", "xyz", "verts", "mano", "scale", "sample")


def export_freihand(source: Source, dest: str, hand: Path | None = None, assets: Path | None = None) -> dict[str, Any]:
    """Writes `dest` and returns how many images it has.

    FreiHAND has right hands only: left ones are mirrored, image and labels. Its poses are relative to MANO's mean pose, and its
    image positions count from the centre of the first pixel: both are changed. A sample has one hand, the labelled one.

    Args:
        source: the dataset.
        dest: new folder.
        hand: the dataset's hand (.npz), when it is not found by itself: its mean pose is needed.
        assets: the user's asset folder.

    Raises:
        UsageError: the place is taken, or the hand has not ten shape coefficients.
        AssetError: the dataset's hand is not on this machine.
    """
    source.check_shapes("freihand")
    model = find_hand(source.index, source.folder, hand, assets)
    count = left = 0
    with source.into(dest) as folder:
        for kind in ("rgb", "mask"):
            (folder / "training" / kind).mkdir(parents=True)
        with contextlib.ExitStack() as stack:
            add = {name: stack.enter_context(json_list(folder / f"training_{name}.json")) for name in _LISTS}
            for number, sample in enumerate(source):
                sample.check_first("freihand")
                flip = sample.labels["side"] == "left"
                for kind, data in _images(sample, flip).items():
                    (folder / "training" / kind / f"{number:08d}.jpg").write_bytes(data)
                for name, value in _labels(sample, flip, model).items():
                    add[name](value)
                count, left = count + 1, left + flip
        if not source.is_mano:
            with json_list(folder / "faces.json") as add_face:
                for face in model.faces.tolist():
                    add_face(face)
        source.write_readme(folder, f"{source.index['name']} in FreiHAND's layout", *_notes(source, count, left))
    return {"images": count, "mirrored": left}


def _images(sample: Stored, flip: bool) -> dict[str, bytes]:
    """The image, byte for byte unless it is mirrored, and the mask as an image of three equal channels."""
    mask = np.repeat(np.where(sample.mask(), np.uint8(255), np.uint8(0))[..., None], 3, 2)
    if not flip:
        return {"rgb": sample.jpg(), "mask": encode_jpeg(mask, _QUALITY)}
    chroma = simplejpeg.decode_jpeg_header(sample.jpg())[3]
    return {
        "rgb": encode_jpeg(sample.image()[:, ::-1], _QUALITY, "444" if chroma == "444" else "420"),
        "mask": encode_jpeg(mask[:, ::-1], _QUALITY),
    }


def _labels(sample: Stored, flip: bool, hand: HandModel) -> dict[str, Any]:
    """An entry of each list."""
    labels = sample.labels
    K, xyz, verts = np.array(labels["K"]), np.array(labels["keypoints_cam"]), sample.vertices().astype(np.float64)
    theta = camera_theta(labels)
    if flip:
        K, xyz, verts, theta = mirrored(K, labels["image_size"]), mirror_points(xyz), mirror_points(verts), mirror_theta(theta)
    K = centred(K)
    theta[1:] -= hand.hands_mean
    x, y, z = xyz[ROOT_KEYPOINT]
    scale = 0.5 * (K[0, 0] + K[1, 1]) / z  # pixels for a metre at the root's depth
    mano = np.concatenate([theta.ravel(), labels["beta"], K[:2, 2] + scale * np.array([x, y]), [scale]])
    return {
        "K": K.round(6).tolist(),
        "xyz": xyz.round(6).tolist(),
        "verts": verts.round(6).tolist(),
        "mano": [mano.round(6).tolist()],
        "scale": round(float(np.linalg.norm(xyz[SCALE_BONE[0]] - xyz[SCALE_BONE[1]])), 6),
        "sample": labels["index"],
    }


def _notes(source: Source, count: int, left: int) -> tuple[str, ...]:
    """What differs from FreiHAND."""
    size = f"The {count} images have the size of the dataset's, not FreiHAND's 224 px"
    return (
        "`training/rgb/%08d.jpg` and `training/mask/%08d.jpg`; entry i of `training_K.json`, `training_xyz.json` (21 keypoints, "
        "camera frame, metres), `training_verts.json`, `training_mano.json` (48 pose parameters relative to the mean pose, 10 of "
        "shape, 2 + 1 for the root as FreiHAND's code takes them) and `training_scale.json` belongs to image i, and is sample "
        "`training_sample.json[i]` of the dataset.",
        f"{size}; each hand is there once, not in four versions (`sample_version.gs` finds them, with `db_size` set to {count}); "
        f"{left} left hands are mirrored to right ones. Masks show what is seen of the hand, without its forearm.",
        source.hand_note() + ("" if source.is_mano else " Its faces are in `faces.json`."),
    )
