"""The sample: its fields with shape, unit and frame, and how it becomes the members of a shard and back."""

import io
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from handsynth.core.conventions import SCHEMA
from handsynth.core.errors import HandsynthError
from handsynth.core.shard import Members

FIELDS: dict[str, tuple[tuple[int, ...] | None, str]] = {
    "schema": (None, "name and version of this schema"),
    "index": (None, "number of the sample in its spec"),
    "dataset": (None, "identity: SHA-256 over spec and assets"),
    "side": (None, "'right' or 'left'"),
    "image_size": (None, "side of the square image [px]"),
    "K": ((3, 3), "intrinsics [px]; corner of the top-left pixel is (0, 0)"),
    "T_cam_world": ((4, 4), "world to camera; OpenCV frame: x right, y down, z forward [m]"),
    "theta": ((48,), "16 axis-angles relative to the flat hand [rad], MANO's joint order; the first turns the whole hand"),
    "beta": ((10,), "shape [standard deviations]"),
    "trans": ((3,), "added after posing, world frame [m]"),
    "keypoints_cam": ((21, 3), "FreiHAND's order, camera frame [m]"),
    "keypoints_xy": ((21, 2), "their projections [px]"),
    "keypoints_visible": (
        (21,),
        "1 when in the image and not hidden by another part, or by its own beyond the tolerance, else 0",
    ),
    "bbox_xyxy": ((4,), "bounds of the projected vertices [px]"),
    "fingertip_table": (None, "name of the vertices that serve as fingertips"),
    "recipe": (None, "every decision behind the sample"),
}
"""Keys of a sample's JSON: shape of the numbers (None: not an array) and meaning."""

PASSES: dict[str, str] = {
    "depth": "16-bit PNG, depth along the optical axis in 0.1 mm, 0 = background",
    "parts": "8-bit PNG, 0 = background, j + 1 = joint j (MANO's order) that moves the surface most",
    "normal": "8-bit RGB PNG, unit normal n of the camera frame as (n + 1) / 2, 0 = background",
    "uv": "16-bit RGB PNG, R = u, G = v (up) of 65535, B = 65535 on the hand and 0 elsewhere",
}
"""Optional images of a sample and how they are encoded."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One labelled image, as arrays: what the stages make and what is then encoded. `labels` has the keys of FIELDS."""

    labels: dict[str, Any]
    image: np.ndarray  # (H, W, 3) uint8 sRGB
    mask: np.ndarray  # (H, W) bool, the pixel's centre is on the hand
    vertices: np.ndarray  # (V, 3) float32, camera frame [m]
    passes: dict[str, np.ndarray]  # name of PASSES -> (H, W, ...) as rendered: depth is float32 [m], the others as in their files

    @property
    def index(self) -> int:
        """Number of the sample in its spec."""
        return self.labels["index"]


def encode_npy(array: np.ndarray) -> bytes:
    """Bytes of a `.npy` file, as np.save writes it, for an array in C order."""
    return _npy_header(array.shape, array.dtype.str) + array.tobytes()


@lru_cache(maxsize=64)
def _npy_header(shape: tuple[int, ...], descr: str) -> bytes:
    """The bytes before the numbers. To make them takes ten times as long as to copy a hand's vertices."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def decode_npy(data: bytes, where: str) -> np.ndarray:
    """Array of a `.npy` file; no pickle is ever run. Raises HandsynthError naming `where` on damage."""
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # a damaged header makes numpy raise almost anything, MemoryError included
        raise HandsynthError(f"{where}: the .npy is damaged: {' '.join(str(error).split()):.100}") from None
    if not isinstance(array, np.ndarray):
        raise HandsynthError(f"{where}: the .npy is a zip archive")
    return array


def decode_labels(members: Members, where: str) -> dict[str, Any]:
    """Labels of an encoded sample, checked against FIELDS. `where` names the sample in errors.

    Raises HandsynthError naming the field that is missing, of another shape, or not finite.
    """
    try:
        labels = json.loads(members["json"])
    except (KeyError, ValueError, RecursionError) as error:
        raise HandsynthError(f"{where}: its JSON is missing or damaged ({error!r:.100})") from None
    if not isinstance(labels, dict) or labels.get("schema") != SCHEMA:
        found = labels.get("schema") if isinstance(labels, dict) else None
        raise HandsynthError(f"{where}: schema is {found!r:.60}, this version reads {SCHEMA!r}")
    for name, (shape, _) in FIELDS.items():
        if name not in labels:
            raise HandsynthError(f"{where}: field {name} is missing")
        if shape is not None:
            try:
                value = np.asarray(labels[name])
            except ValueError:
                value = np.empty(0)
            if value.shape != shape or value.dtype.kind not in "biuf" or not np.isfinite(value).all():
                raise HandsynthError(f"{where}: field {name} is not {shape} finite numbers")
    return labels
