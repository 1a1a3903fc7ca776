"""The sample: its fields with shape, unit and frame, and how it becomes the members of a shard and back."""

import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np

from handsynth.core.conventions import CLOTHING, READABLE_SCHEMAS, check_schema
from handsynth.core.errors import HandsynthError
from handsynth.core.harmonics import TERMS
from handsynth.core.index import is_crowd
from handsynth.core.shard import Members

SHAPES = -1
"""In the shapes of FIELDS: as many as the hand has shape coefficients, which the index records as `num_shapes`."""

FIELDS: dict[str, tuple[tuple[int, ...] | None, str]] = {
    "schema": (None, "name and version of this schema"),
    "index": (None, "number of the sample in its spec"),
    "dataset": (None, "identity: SHA-256 over spec and assets"),
    "side": (None, "'right' or 'left'"),
    "image_size": (None, "side of the square image [px]"),
    "K": ((3, 3), "intrinsics [px]; corner of the top-left pixel is (0, 0)"),
    "T_cam_world": ((4, 4), "world to camera; OpenCV frame: x right, y down, z forward [m]"),
    "theta": ((48,), "16 axis-angles relative to the flat hand [rad], MANO's joint order; the first turns the whole hand"),
    "beta": ((SHAPES,), "shape [standard deviations]; as many as the hand has shape coefficients"),
    "trans": ((3,), "added after posing, world frame [m]"),
    "keypoints_cam": ((21, 3), "FreiHAND's order, camera frame [m]"),
    "keypoints_xy": ((21, 2), "their projections [px]"),
    "keypoints_visible": (
        (21,),
        "1 when in the image and not hidden by another part, or by its own beyond the tolerance, else 0",
    ),
    "visible_share": (
        (),
        "share of the hand's silhouette in the image that nothing else hides, counted on a lattice of pixels; null in photos",
    ),
    "bbox_xyxy": ((4,), "bounds of the projected vertices [px]"),
    "fingertip_table": (None, "name of the vertices that serve as fingertips"),
    "ambient_used": ((3,), "ambient light as rendered, after the background's tint: linear RGB times intensity; null in photos"),
    "sky_used": (
        (TERMS, 3),
        "ambient light by direction as rendered, see core.harmonics: camera frame, linear RGB; only where it has directions",
    ),
    "background": (
        None,
        "image behind the hand: name, licence, replaced (the drawn one could not be read), coco_id if any",
    ),
    "arm": (
        None,
        "null, or the arm's flexion_deg (positive towards the palm), deviation_deg (towards the thumb), twist_deg and elbow_deg",
    ),
    "clothing": (None, "names of what is worn, in the order of CLOTHING; null in photos"),
    "object": (
        None,
        "null, or what the hand holds: kind, shape, mesh (SHA-256), scale, mirrored, T_cam_object (4x4, of the scaled mesh)",
    ),
    "hands": (None, "the other hands in the image, each with HAND_KEYS as they stand here for the first; null in photos"),
    "occluder": (None, "null, or what is between camera and hand and held by nobody, in the words of object"),
    "clip": (None, "number of the clip, frame in it (from 0), and time_s since its first; only where the dataset has clips"),
    "recipe": (None, "every decision behind the sample"),
}
"""Keys of a sample's JSON: shape of the numbers (None: not an array) and meaning."""

HAND_KEYS = (
    "side", "theta", "beta", "trans", "keypoints_cam", "keypoints_xy", "keypoints_visible", "visible_share", "bbox_xyxy", "arm",
    "clothing", "object",
)  # fmt: skip
"""Fields that are one hand's own; all others are the image's. `labels | labels["hands"][k]` are labels of another hand."""

ADDED: dict[str, str] = {
    "ambient_used": "handsynth/2",
    "background": "handsynth/2",
    "visible_share": "handsynth/3",
    "arm": "handsynth/3",
    "clothing": "handsynth/3",
    "object": "handsynth/3",
    "hands": "handsynth/3",
    "occluder": "handsynth/3",
    "sky_used": "handsynth/3",
    "clip": "handsynth/3",
}
"""Fields that came after the first schema: labels of an older one may lack them."""

NULLABLE = {"ambient_used", "visible_share", "bbox_visible_xyxy"}
"""Fields that may be null: what is not known of a photograph, and bounds of what is not seen."""

OPTIONAL = {"sky_used", "clip"}
"""Fields that labels lack where there is nothing to state."""

MEASURED = {"ambient_used", "sky_used"}
"""Fields that are measured on decoded images: equal with the same codecs, where all others are equal on every machine."""

_FIRST_SHAPES = 10
"""Every hand of schema handsynth/1 has so many shape coefficients: its indices do not say."""

CROWD_HAND_KEYS = (*HAND_KEYS, "T_cam_world", "bbox_visible_xyxy")
"""Keys of each of `hands` of a crowd."""

CROWD_FIELDS: dict[str, str] = {
    **{name: FIELDS[name][1] for name in ("schema", "index", "dataset")},
    "image_size": "width and height of the image [px]",
    "K": "intrinsics of the image and of all hands in it [px]; corner of the top-left pixel is (0, 0)",
    **{name: FIELDS[name][1] for name in ("fingertip_table", "ambient_used", "sky_used", "background", "recipe")},
    "hands": f"list of the hands in the image, none to many, each with {', '.join(CROWD_HAND_KEYS)}: as a single hand has "
    "them, each in a world of its own; bbox_xyxy bounds all of the hand, hidden or not, also beyond the image; bbox_visible_xyxy "
    "bounds the pixels that are seen of it, null when there are none",
}
"""Keys of the JSON of an image of a crowd, and their meaning."""

CROWD_MEMBERS = {
    "vertices.npy": "float32 (N, V, 3), of the N hands in the order of `hands`, camera frame [m]",
    "mask.png": "8-bit PNG, k + 1 where the pixel's centre is on number k of `hands` and nothing hides it, 0 elsewhere",
}
"""Members of such a sample that differ from those of a single hand."""

PASSES: dict[str, str] = {
    "depth": "16-bit PNG, depth along the optical axis in 0.1 mm, 0 = background",
    "parts": "8-bit PNG, 0 = background, j + 1 = joint j (MANO's order) that moves most, 17 = arm, 18 = clothing, 19 = object, "
    "20 = another hand with all it wears, 21 = occluder",
    "normal": "8-bit RGB PNG, unit normal n of the camera frame as (n + 1) / 2, 0 = background",
    "uv": "16-bit RGB PNG, R = u, G = v (up) of 65535, B = 65535 on the hand and 0 elsewhere",
    "amodal": "8-bit PNG, 255 where a pixel's centre is on the hand, whether it is hidden or not, else 0",
}
"""Optional images of a sample and how they are encoded."""

FLOW = "flow"
FLOW_STEPS, FLOW_ZERO = 64, 1 << 15
"""In the files of that pass a movement of one pixel is so many grey levels, and none this one."""

CLIP_PASSES: dict[str, str] = {
    FLOW: f"16-bit RGB PNG as KITTI's: R and G = {FLOW_ZERO} + {FLOW_STEPS} times how far what a pixel's centre shows moves to the "
    "right and down until the next frame [px], B = 1; all 0 where that is unknown: in a clip's last frame",
}
"""Optional images of the samples of clips."""

SCENE = "scene"
SCENE_VERTICES, SCENE_FACES = "scene.vertices.npy", "scene.faces.npy"
OTHER_PASSES: dict[str, str] = {
    SCENE: f"what is drawn beside the hand, as one mesh: {SCENE_VERTICES}, float32 (N, 3), camera frame [m]; {SCENE_FACES}, int32 "
    "(F, 4), three rows of these, counter-clockwise seen from outside (of a left hand clockwise), and the value in parts",
}
"""What may be asked for like a pass and is no image; members of a sample."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One labelled image, as arrays: what the stages make and what is then encoded. `labels` has the keys of FIELDS."""

    labels: dict[str, Any]
    image: np.ndarray  # (H, W, 3) uint8 sRGB
    # (H, W) bool, the pixel's centre is on the hand, and nothing hides it there; uint8 numbers of hands of a crowd.
    mask: np.ndarray
    vertices: np.ndarray  # (V, 3) float32, camera frame [m]; (N, V, 3) of a crowd
    # Of PASSES and CLIP_PASSES, (H, W, ...) as rendered: depth is float32 [m], flow float32 [px], amodal bool, others as in files.
    passes: dict[str, np.ndarray]
    scene: tuple[np.ndarray, np.ndarray] | None = None  # (N, 3) float32 and (F, 4) int32 as of OTHER_PASSES, where asked for

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
    known = _known_header(data[: 10 + int.from_bytes(data[8:10], "little")])
    if known is not None and len(data) == known[2]:
        shape, dtype, _ = known
        return np.frombuffer(data, dtype, offset=len(data) - dtype.itemsize * math.prod(shape)).reshape(shape).copy()
    try:
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except SystemError:  # Python 3.11 miscounts where two threads parse at once, here the header (python/cpython#106905)
            array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # a damaged header makes numpy raise almost anything, MemoryError included
        raise HandsynthError(f"{where}: the .npy is damaged: {' '.join(str(error).split()):.100}") from None
    if not isinstance(array, np.ndarray):
        raise HandsynthError(f"{where}: the .npy is a zip archive")
    return array


_PLAIN_HEADER = re.compile(rb"\{'descr': '([<|][biuf]\d)', 'fortran_order': False, 'shape': \(((?:\d{1,9},? ?)*)\), \} *\n")


@lru_cache(maxsize=64)
def _known_header(header: bytes) -> tuple[tuple[int, ...], np.dtype, int] | None:
    """Shape, type and size of the file of a plain header as `encode_npy` writes it; None of any other: np.load sees to those.

    np.load compiles the text of every header anew, which takes as long as the rest of a hand's labels.
    """
    found = _PLAIN_HEADER.fullmatch(header[10:])
    if found is None:
        return None
    descr, shape = found[1].decode(), tuple(int(size) for size in found[2].split(b",") if size.strip())
    try:
        if header != _npy_header(shape, descr):
            return None
        dtype = np.dtype(descr)
    except (TypeError, ValueError):
        return None
    return shape, dtype, len(header) + dtype.itemsize * math.prod(shape)


def decode_labels(members: Members, where: str, index: Mapping[str, Any]) -> dict[str, Any]:
    """Labels of an encoded sample, checked against FIELDS as the dataset's schema has them.

    Args:
        members: of the sample.
        where: names the sample in errors.
        index: the dataset's, for its schema and the hand's number of shape coefficients (see core.shard.read_index).

    Raises HandsynthError naming the field that is missing, of another shape, or not finite.
    """
    try:
        labels = json.loads(members["json"])
    except (KeyError, ValueError, RecursionError) as error:
        raise HandsynthError(f"{where}: its JSON is missing or damaged ({error!r:.100})") from None
    schema = labels.get("schema") if isinstance(labels, dict) else None
    check_schema(schema, where)
    if schema != index["schema"]:
        raise HandsynthError(f"{where}: schema is {schema!r}, its dataset's is {index['schema']!r:.60}")
    if is_crowd(index):
        _check_crowd(labels, index["num_shapes"], where)
        return labels
    shapes = field_shapes(schema, index.get("num_shapes", _FIRST_SHAPES))
    _check_shapes(labels, shapes, where)
    _check_hand(labels, where)
    if labels.get("hands") is not None:
        if not isinstance(labels["hands"], list) or not all(isinstance(hand, dict) for hand in labels["hands"]):
            raise HandsynthError(f"{where}: field hands is {labels['hands']!r:.60}, expected a list of hands")
        own = {name: shapes[name] for name in HAND_KEYS}
        for number, hand in enumerate(labels["hands"]):
            if set(hand) != set(HAND_KEYS):
                raise HandsynthError(f"{where}: other hand {number} has not the fields {', '.join(HAND_KEYS)}")
            _check_shapes(hand, own, f"{where}, other hand {number}")
            _check_hand(hand, f"{where}, other hand {number}")
    if type(labels["image_size"]) is not int:  # 64.0 would equal the size of the image
        raise HandsynthError(f"{where}: field image_size is {labels['image_size']!r:.40}, expected a whole number")
    if "background" in labels and not _is_background(labels["background"]):
        raise HandsynthError(f"{where}: field background is {labels['background']!r:.60}, expected name, licence and replaced")
    if labels.get("occluder") is not None and not _is_object(labels["occluder"]):
        raise HandsynthError(f"{where}: field occluder is {labels['occluder']!r:.60}, expected null or {', '.join(OBJECT_KEYS)}")
    return labels


def _check_shapes(labels: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...] | None], where: str) -> None:
    """Raises HandsynthError naming the field that is missing, of another shape, or not finite."""
    if _are_good(labels, shapes):
        return
    for name, shape in shapes.items():
        if name not in labels:
            if name in OPTIONAL:
                continue
            raise HandsynthError(f"{where}: field {name} is missing")
        if shape is not None and not (labels[name] is None and name in NULLABLE):
            try:
                value = np.asarray(labels[name])
            except ValueError:
                value = np.empty(0)
            # A sum is finite where all numbers are, but where it overflows, and quicker to look at than each of them.
            finite = value.dtype.kind in "biuf" and (math.isfinite(value.sum()) or np.isfinite(value).all())
            if value.shape != shape or not finite:
                raise HandsynthError(f"{where}: field {name} is not {shape} finite numbers")


def _are_good(labels: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...] | None]) -> bool:
    """Whether all fields are there and of their shapes, all numbers finite; where it is False, some may still be good.

    One array of the numbers of all fields takes a third of the time of an array of each.
    """
    numbers: list[Any] = []
    try:
        for name, shape in shapes.items():
            value: Any = labels.get(name) if name in OPTIONAL else labels[name]
            if shape is None or (value is None and (name in NULLABLE or name not in labels)):
                continue
            if not shape:
                numbers.append(value)
            elif len(value) != shape[0]:
                return False
            elif len(shape) == 1:
                numbers += value
            elif {*map(len, value)} == {shape[1]}:
                numbers += chain.from_iterable(value)
            else:
                return False
        flat = np.array(numbers)
    except (KeyError, TypeError, ValueError):
        return False
    return flat.ndim == 1 and flat.dtype.kind in "biuf" and math.isfinite(flat.sum())


def _check_hand(labels: Mapping[str, Any], where: str) -> None:
    """Raises HandsynthError where forearm, clothing or held thing of one hand are not described as they should be."""
    if labels["side"] not in ("right", "left"):
        raise HandsynthError(f"{where}: field side is {labels['side']!r:.40}, expected right or left")
    if labels.get("arm") is not None and not _is_arm(labels["arm"]):
        raise HandsynthError(f"{where}: field arm is {labels['arm']!r:.60}, expected null or {', '.join(ARM_ANGLES)}")
    if labels.get("object") is not None and not _is_object(labels["object"]):
        raise HandsynthError(f"{where}: field object is {labels['object']!r:.60}, expected null or {', '.join(OBJECT_KEYS)}")
    if "clip" in labels and not _is_clip(labels["clip"]):
        raise HandsynthError(f"{where}: field clip is {labels['clip']!r:.60}, expected number, frame and time_s")
    if labels.get("clothing") is not None and not _is_clothing(labels["clothing"]):
        raise HandsynthError(
            f"{where}: field clothing is {labels['clothing']!r:.60}, expected names among {', '.join(CLOTHING)}, in order"
        )


def _check_crowd(labels: dict[str, Any], num_shapes: int, where: str) -> None:
    """Labels of an image of a crowd against CROWD_FIELDS and CROWD_HAND_KEYS."""
    of_schema = field_shapes(labels["schema"], num_shapes)
    _check_shapes(labels, {name: of_schema.get(name) for name in CROWD_FIELDS}, where)
    size, hands = labels["image_size"], labels["hands"]
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise HandsynthError(f"{where}: field image_size is {size!r:.40}, expected width and height")
    if not _is_background(labels["background"]):
        raise HandsynthError(f"{where}: field background is {labels['background']!r:.60}, expected name, licence and replaced")
    if not isinstance(hands, list) or not all(isinstance(hand, dict) for hand in hands):
        raise HandsynthError(f"{where}: field hands is {hands!r:.60}, expected a list of hands")
    shapes = {name: of_schema.get(name) for name in CROWD_HAND_KEYS} | {"bbox_visible_xyxy": (4,)}
    for number, hand in enumerate(hands):
        _check_shapes(hand, shapes, f"{where}, hand {number}")
        _check_hand(hand, f"{where}, hand {number}")


@lru_cache(maxsize=16)
def field_shapes(schema: str, num_shapes: int) -> dict[str, tuple[int, ...] | None]:
    """The fields that labels of a schema must have, with the shape of each for a hand of `num_shapes` shape coefficients."""
    age = READABLE_SCHEMAS.index(schema)
    return {
        name: shape and tuple(num_shapes if size == SHAPES else size for size in shape)
        for name, (shape, _) in FIELDS.items()
        if READABLE_SCHEMAS.index(ADDED.get(name, READABLE_SCHEMAS[0])) <= age
    }


ARM_ANGLES = ("flexion_deg", "deviation_deg", "twist_deg", "elbow_deg")
"""What labels say of an arm."""


def _is_arm(value: Any) -> bool:
    """Whether it has the angles, each of half a turn at most."""
    if not isinstance(value, dict) or set(value) != set(ARM_ANGLES):
        return False
    return all(type(angle) in (int, float) and abs(angle) <= 180 for angle in value.values())


OBJECT_KEYS = ("kind", "shape", "mesh", "scale", "mirrored", "T_cam_object")
"""What labels say of a held thing."""


def _is_object(value: Any) -> bool:
    """Texts, a positive size, and a rigid transform's twelve numbers."""
    if not isinstance(value, dict) or set(value) != set(OBJECT_KEYS) or not isinstance(value["mirrored"], bool):
        return False
    if not all(isinstance(value[key], str) for key in ("kind", "shape", "mesh")):
        return False
    scale = value["scale"]
    if not isinstance(scale, int | float) or isinstance(scale, bool) or not 0 < scale < float("inf"):
        return False
    try:
        transform = np.array(value["T_cam_object"])
    except (TypeError, ValueError):
        return False
    return transform.shape == (4, 4) and transform.dtype.kind in "if" and bool(np.isfinite(transform).all())


def _is_clip(value: Any) -> bool:
    """Two whole numbers and a time, none of them negative."""
    if not isinstance(value, dict) or set(value) != {"number", "frame", "time_s"}:
        return False
    counts = type(value["number"]) is int and type(value["frame"]) is int and min(value["number"], value["frame"]) >= 0
    return counts and type(value["time_s"]) in (int, float) and 0 <= value["time_s"] < float("inf")


def _is_clothing(value: Any) -> bool:
    """Whether it is a list of some of the names, each once and in order."""
    return isinstance(value, list) and value == [name for name in CLOTHING if name in value]


def _is_background(value: Any) -> bool:
    """Whether it has the provenance that every background has: Backgrounds.label, and whether it is a replacement."""
    if not isinstance(value, dict) or not isinstance(value.get("coco_id", 0), int | str):
        return False
    return all(type(value.get(key)) is kind for key, kind in {"name": str, "licence": str, "replaced": bool}.items())
