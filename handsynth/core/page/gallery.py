"""What a page's gallery shows of one sample: image, labels and mesh, in few bytes."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from handsynth.core.page.render import data_uri

MESH_UNIT_M = 1e-4
"""Meshes in a page are whole numbers of this [m], 16 bits each."""


def packed_mesh(vertices: np.ndarray, origin: np.ndarray, unit_m: float = MESH_UNIT_M) -> str:
    """(V, 3) vertices [m] about an origin (3,) -> little-endian 16-bit numbers as base64."""
    steps = np.clip(np.round((vertices - origin) / unit_m), -32767, 32767)
    return base64.b64encode(steps.astype("<i2").tobytes()).decode()


def gallery_item(
    title: str, about: str, jpeg: bytes, side_px: int, K: np.ndarray, keypoints: np.ndarray, visible: Sequence[int],
    vertices: np.ndarray, facets: Mapping[str, Sequence[str]], facts: Sequence[tuple[str, str]], *, outline: str = "",
    predicted: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """One sample for page.js.

    Args:
        title: short name.
        about: what the image shows, for those who do not see it.
        jpeg: the image as the page shows it, of any size.
        side_px: side of the square image that K is for.
        K: (3, 3) intrinsics [px].
        keypoints: (21, 3) camera frame [m].
        visible: (21,) 1 where a keypoint can be seen.
        vertices: (V, 3) camera frame [m].
        facets: the values by which it is found.
        facts: names and values beside the image.
        outline: of the mask, as the path of an SVG in pixels.
        predicted: keypoints and vertices of a net, camera frame [m].
    """
    origin = np.asarray(keypoints, np.float64)[9]  # the middle finger's first joint: the middle of a hand
    item: dict[str, Any] = {
        "title": title, "about": about, "image": data_uri(jpeg), "side": side_px, "seen": "".join(str(int(v > 0)) for v in visible),
        "K": [round(float(value), 3) for value in (K[0, 0], K[1, 1], K[0, 2], K[1, 2])],
        "origin": [round(float(value), 5) for value in origin], "facets": {key: list(value) for key, value in facets.items()},
        "facts": [list(pair) for pair in facts], "outline": outline, **_hand(keypoints, vertices, origin),
    }  # fmt: skip
    return item if predicted is None else item | {"predicted": _hand(*predicted, origin)}


def _hand(keypoints: np.ndarray, vertices: np.ndarray, origin: np.ndarray) -> dict[str, Any]:
    steps = np.round((np.asarray(keypoints) - origin) / MESH_UNIT_M).astype(int)
    return {"keypoints": steps.ravel().tolist(), "mesh": packed_mesh(np.asarray(vertices), origin)}


def packed_faces(faces: np.ndarray) -> str:
    """(F, 3) faces -> little-endian 16-bit numbers as base64; empty where a mesh has more vertices than that can number."""
    return "" if faces.max(initial=0) > 65535 else base64.b64encode(faces.astype("<u2").tobytes()).decode()
