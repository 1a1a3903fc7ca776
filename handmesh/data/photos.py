"""Labelled photographs: COCO-style annotations of hands with 21 keypoints, read from a JSON file beside its images.

Each image has `id` and `file_name` (and, where known, `K`); each annotation `image_id`, `side`, `bbox` (x, y, width, height, about
the hand [px]), `keypoints` (21 times x, y [px] and v: 0 not labelled, 1 hidden, 2 seen; FreiHAND's order), and, where known,
`keypoints_3d` (21 times x, y, z, camera frame [m]) and `tags`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.files import inner_path

KEYPOINTS = 21

MAX_COORDINATE = 1e6
"""No keypoint or box is farther away: pixels, or metres."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A labelled hand of a photograph."""

    annotation: int  # its id
    image: int  # id of the image
    file: Path
    side: str  # "right" or "left"
    box: np.ndarray  # (4,) x0, y0, x1, y1 about the hand [px]
    keypoints_xy: np.ndarray  # (21, 2) [px]; 0 where they are not labelled
    visibility: np.ndarray  # (21,) 0 not labelled, 1 hidden, 2 seen
    keypoints_m: np.ndarray | None  # (21, 3) camera frame
    K: np.ndarray | None  # (3, 3) [px]
    tags: tuple[str, ...]

    @property
    def labelled(self) -> np.ndarray:
        """(21,) bool."""
        return self.visibility > 0

    @property
    def size_px(self) -> float:
        """The hand's size: the longer side of the box of its labelled keypoints."""
        points = self.keypoints_xy[self.labelled]
        return float(np.ptp(points, axis=0).max())


def read_photos(path: Path) -> list[Photo]:
    """The annotated hands of a file, by id. Raises UsageError when it cannot be read, HandsynthError naming what is wrong in it."""
    value = read_json(path)
    if not isinstance(value, dict) or not all(isinstance(value.get(key), list) for key in ("images", "annotations")):
        raise HandsynthError(f"{path} is no COCO-style file of photographs: it needs the lists images and annotations")
    try:
        images = {_whole(row["id"]): row for row in value["images"]}
    except (KeyError, TypeError, ValueError):
        raise HandsynthError(f"{path}: each of its images needs an id, a whole number") from None
    photos = [_photo(path, images, row, number) for number, row in enumerate(value["annotations"])]
    if not photos:
        raise HandsynthError(f"{path} has no annotations")
    if len({photo.annotation for photo in photos}) < len(photos):
        raise HandsynthError(f"{path}: two annotations have one id")
    return sorted(photos, key=lambda photo: photo.annotation)


def read_json(path: Path) -> Any:
    """The value of a JSON file of the user. Raises UsageError when it cannot be read or is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON ({' '.join(str(error).split())[:80]})") from None


def _photo(path: Path, images: dict[int, Any], row: Any, number: int) -> Photo:
    """One annotation."""
    where = f"{path}: annotation {number + 1}"
    try:
        where = f"{path}: annotation {_whole(row['id'])}"
        image = images[_whole(row["image_id"])]
        x, y, width, height = numbers(row["bbox"], (4,))
        points = numbers(row["keypoints"], (3 * KEYPOINTS,)).reshape(KEYPOINTS, 3)
        truth = None if row.get("keypoints_3d") is None else numbers(row["keypoints_3d"], (KEYPOINTS, 3), flat=True)
        K = None if image.get("K") is None else numbers(image["K"], (3, 3))
        photo = Photo(
            row["id"], row["image_id"], path.parent / inner_path(image["file_name"]), str(row["side"]),
            np.array([x, y, x + width, y + height]), points[:, :2], points[:, 2].astype(int), truth, K,
            tuple(str(tag) for tag in row.get("tags") or ()),
        )  # fmt: skip
    except KeyError as error:
        key = error.args[0]
        what = f"image_id {key} is not among the images" if isinstance(key, int) else f"{key} is missing"
        raise HandsynthError(f"{where}: {what}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise HandsynthError(f"{where} is damaged ({' '.join(str(error).split())[:100]})") from None
    if photo.side not in ("right", "left"):
        raise HandsynthError(f"{where}: side is {photo.side!r:.40}, expected right or left")
    if width <= 0 or height <= 0 or photo.labelled.sum() < 2 or photo.size_px <= 0:
        raise HandsynthError(f"{where}: the box is empty, or fewer than two keypoints are labelled")
    if K is not None and (K[0, 0] <= 0 or K[1, 1] <= 0):
        raise HandsynthError(f"{where}: K has no positive focal lengths")
    return photo


def numbers(value: Any, shape: tuple[int, ...], flat: bool = False) -> np.ndarray:
    """Finite numbers of a shape, or as a flat list of as many where `flat`. Raises ValueError."""
    array = np.array(value, np.float64)
    if flat and array.ndim == 1 and array.size == np.prod(shape):
        array = array.reshape(shape)
    if array.shape != shape or not np.isfinite(array).all() or np.abs(array).max() > MAX_COORDINATE:
        raise ValueError(f"{array.shape} numbers, expected {shape} finite ones")
    return array


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r:.40} is no whole number")
    return value
