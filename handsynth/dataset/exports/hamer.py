"""HaMeR's training tars (Pavlakos et al. 2024), which WiLoR reads too: jpg, data.pyd and detection.npz of each image.

`data.pyd` is a pickle because its readers ask for one. Ours holds dictionaries, numbers and arrays made by numpy.array from plain
lists, so that any version of numpy reads it, and a restricted unpickler can.
"""

import io
import pickle
from typing import Any

import numpy as np

from handsynth.core.shard import Members, shard_name
from handsynth.dataset.exports.source import PIXEL_CENTRE, SHARD_SIZE, Source, Stored, camera_theta, write_shards

BOX_SCALE = 2.0
"""Boxes are so many times as large as the hand: what HaMeR's demo and evaluation make of a detector's box."""

_UNIT_PX = 200.0  # of `scale`


def export_hamer(source: Source, dest: str, shard_size: int = SHARD_SIZE) -> dict[str, Any]:
    """Writes `dest` and returns how many images and shards it has.

    Left hands stay left, as HaMeR has them (`right` is 0). MANO's parameters count, by `has_hand_pose` and `has_betas`, where the
    hand is MANO's; else they are there, and are left out of the losses.

    Raises UsageError when the place is taken, or the hand has not ten shape coefficients.
    """
    source.check_shapes("hamer")
    with source.into(dest) as folder:
        count, shards = write_shards(source, folder, shard_size, lambda sample: members_of(sample, source.is_mano))
        source.write_readme(folder, f"{source.index['name']} for HaMeR", *_notes(source, shards))
    return {"images": count, "shards": shards}


def members_of(sample: Stored, is_mano: bool) -> Members:
    """What HaMeR's loader takes of an image. A hand whose own mask is not known has all of the image, as hands without one have."""
    width, height = sample.size
    hands = sample.hands()
    masks = io.BytesIO()
    all_of_it = np.ones((height, width), bool)
    stack = np.reshape([all_of_it if hand.mask is None else hand.mask for hand in hands], (len(hands), height, width))
    np.savez_compressed(masks, masks=stack.astype(bool))
    rows = [_hand(hand.labels, sample.size, number, is_mano) for number, hand in enumerate(hands)]
    return {"jpg": sample.jpg(), "data.pyd": plain_pickle(rows), "detection.npz": masks.getvalue()}


def _hand(labels: dict[str, Any], size: tuple[int, int], number: int, is_mano: bool) -> dict[str, Any]:
    """A hand's labels by HaMeR's names: positions count from the centre of the first pixel."""
    xy, xyz = np.array(labels["keypoints_xy"]), np.array(labels["keypoints_cam"])
    inside = np.all((xy >= 0) & (xy < size), axis=1)
    x0, y0, x1, y1 = labels["bbox_xyxy"]
    known = np.array(float(is_mano), np.float32)
    return {
        "keypoints_2d": np.concatenate([xy - PIXEL_CENTRE, inside.reshape(-1, 1)], 1).astype(np.float32),
        "keypoints_3d": np.concatenate([xyz, np.ones((len(xyz), 1))], 1).astype(np.float32),
        "center": np.array([(x0 + x1) / 2, (y0 + y1) / 2], np.float32) - np.float32(PIXEL_CENTRE),
        "scale": (BOX_SCALE * np.array([x1 - x0, y1 - y0]) / _UNIT_PX).astype(np.float32),
        "hand_pose": camera_theta(labels).ravel().astype(np.float32),
        "betas": np.array(labels["beta"], np.float32),
        "has_hand_pose": known,
        "has_betas": known,
        "right": np.array(float(labels["side"] == "right"), np.float32),
        "extra_info": {"detection_npz_idx": number},
    }


class _PlainPickler(pickle.Pickler):
    """Arrays as calls of numpy.array: numpy's own way names modules that its versions do not share."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return np.array, (value.tolist(), value.dtype.str)
        return NotImplemented


def plain_pickle(value: Any) -> bytes:
    """Bytes of a pickle that any numpy reads."""
    buffer = io.BytesIO()
    _PlainPickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def _notes(source: Source, shards: int) -> tuple[str, ...]:
    """How to train with it, and what differs."""
    urls = f"{shard_name(0)[:-4]}..{shard_name(max(shards - 1, 0))[6:-4]}".replace("shard-", "shard-{", 1) + "}.tar"
    parameters = "count" if source.is_mano else "do not count (`has_hand_pose` and `has_betas` are 0)"
    return (
        f"For `hamer/configs/datasets_tar.yaml`: `TYPE: ImageDataset`, `URLS: {urls}` in this folder. Each image has `jpg`, "
        "`data.pyd` (a list with one dictionary for each hand) and `detection.npz` (`masks`, of what is seen of each hand).",
        f"`scale` is {BOX_SCALE:g} times the box about the hand, over 200; keypoints are in OpenPose's order, `keypoints_2d` "
        "counted from the centre of the first pixel and of confidence 0 outside the image, `keypoints_3d` in metres in the "
        f"camera frame; fingertips are the vertices of the table `{source.index.get('fingertip_table')}`. `hand_pose` is "
        f"relative to the flat hand, its first three numbers in the camera frame. MANO's parameters {parameters}.",
        source.hand_note(),
    )
