"""Scores of keypoints on photographs, of any method: 2-D errors as shares of the hand's size, and 3-D ones where there is truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handmesh.data.photos import KEYPOINTS, Photo, numbers, read_json
from handmesh.metrics import align_similarity, point_errors_mm
from handsynth.core.errors import HandsynthError
from handsynth.core.grouping import divide, flexion_deg, view_angles_deg

THRESHOLDS = (0.05, 0.1, 0.15)
"""Shares of the hand's size within which a keypoint is correct."""

AUC_LIMIT, AUC_STEPS = 0.3, 61
"""Largest threshold of the area under the curve, as a share of the hand's size, and how many there are."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a method says of a photograph's hand."""

    keypoints_xy: np.ndarray  # (21, 2) [px]
    keypoints_m: np.ndarray | None  # (21, 3) in any turn, place and size


def read_predictions(path: Path, photos: Sequence[Photo]) -> list[Found | None]:
    """Another method's keypoints for each photograph, None where it found no hand.

    The file is a JSON list of objects with `annotation_id` (or `image_id`, where an image has one hand), `keypoints` (21 times
    x, y [px], FreiHAND's order) and, where the method has them, `keypoints_3d` (21 times x, y, z, any frame and unit).
    """
    value = read_json(path)
    if not isinstance(value, list):
        raise HandsynthError(f"{path}: expected a list of predictions")
    of_image: dict[int, list[int]] = {}
    for row, photo in enumerate(photos):
        of_image.setdefault(photo.image, []).append(row)
    of_annotation = {photo.annotation: row for row, photo in enumerate(photos)}
    found: list[Found | None] = [None] * len(photos)
    for number, one in enumerate(value):
        where = f"{path}: prediction {number + 1}"
        try:
            points = np.array(one["keypoints"], np.float64)
            points = points.reshape(KEYPOINTS, points.size // KEYPOINTS)[:, :2]
            space = one.get("keypoints_3d")
            hand = Found(numbers(points, (KEYPOINTS, 2)), None if space is None else numbers(space, (KEYPOINTS, 3), flat=True))
            rows = [of_annotation[one["annotation_id"]]] if "annotation_id" in one else of_image[one["image_id"]]
        except KeyError as error:
            raise HandsynthError(f"{where}: {error.args[0]} is missing, or not among the photographs") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise HandsynthError(f"{where} is damaged ({' '.join(str(error).split())[:100]})") from None
        if len(rows) > 1:
            raise HandsynthError(f"{where}: image {photos[rows[0]].image} has {len(rows)} hands: give annotation_id")
        found[rows[0]] = hand
    return found


def scores(photos: Sequence[Photo], found: Sequence[Found | None]) -> list[dict[str, float]]:
    """For each photograph `error_2d` (mean, a share of the hand's size), `pck_*`, `auc`, and with truth `pa_mpjpe_mm`.

    A hand that was not found has infinite errors and no correct keypoint.
    """
    rows = []
    for photo, hand in zip(photos, found, strict=True):
        use = photo.labelled
        if hand is None:
            error = np.full(use.sum(), np.inf)
        else:
            error = np.linalg.norm(hand.keypoints_xy[use] - photo.keypoints_xy[use], axis=1) / photo.size_px
        row = {"error_2d": float(error.mean())}
        row |= {f"pck_{limit:g}": float((error <= limit).mean()) for limit in THRESHOLDS}
        row["auc"] = float(np.mean([(error <= limit).mean() for limit in np.linspace(0, AUC_LIMIT, AUC_STEPS)]))
        if photo.keypoints_m is not None:
            row["pa_mpjpe_mm"] = np.inf
            if hand is not None and hand.keypoints_m is not None:
                aligned = align_similarity(hand.keypoints_m[None], photo.keypoints_m[None])
                row["pa_mpjpe_mm"] = float(point_errors_mm(aligned, photo.keypoints_m[None]).mean())
        rows.append(row)
    return rows


def groups_of(photos: Sequence[Photo]) -> dict[str, np.ndarray]:
    """Group -> (N,) bool: all, each side, each tag, hands with hidden keypoints, small and large ones, views and poses.

    Views and poses are those of `core.grouping`, of the hands whose keypoints are known in space.
    """
    size = np.array([photo.size_px for photo in photos])
    found = {"all": np.ones(len(photos), bool)}
    for side in ("right", "left"):
        found[f"side: {side}"] = np.array([photo.side == side for photo in photos])
    for tag in sorted({tag for photo in photos for tag in photo.tags}):
        found[f"tag: {tag}"] = np.array([tag in photo.tags for photo in photos])
    found["some keypoints hidden"] = np.array([bool((photo.visibility < 2).any()) for photo in photos])
    median = float(np.median(size))
    found[f"smaller than {median:.0f} px"] = size < median
    found[f"{median:.0f} px and more"] = size >= median
    known = np.array([photo.keypoints_m is not None for photo in photos])
    if known.any():
        space = np.array([photo.keypoints_m for photo in photos if photo.keypoints_m is not None])
        left = np.array([photo.side == "left" for photo in photos])[known]
        divided = divide(view_angles_deg(space, left), flexion_deg(space), np.ones(len(space)))
        for kind in ("view", "pose"):
            number, names = divided[kind]
            for k, name in enumerate(names):
                found[f"{kind}: {name}"] = np.zeros(len(photos), bool)
                found[f"{kind}: {name}"][known] = number == k
    return {name: members for name, members in found.items() if members.any()}


def group_rows(photos: Sequence[Photo], methods: Mapping[str, Sequence[Found | None]]) -> list[dict[str, Any]]:
    """A row for each group and method: how many hands, how many found, median 2-D error, mean PCK and AUC, mean PA-MPJPE."""
    rows = []
    each = {name: scores(photos, found) for name, found in methods.items()}
    for group, members in groups_of(photos).items():
        for name, found in methods.items():
            own = [row for row, member in zip(each[name], members, strict=True) if member]
            aligned = [row["pa_mpjpe_mm"] for row in own if "pa_mpjpe_mm" in row]
            missed = sum(hand is None for hand, member in zip(found, members, strict=True) if member)
            rows.append(
                {"group": group, "method": name, "hands": len(own), "found": len(own) - missed,
                 "median_error_2d": float(np.median([row["error_2d"] for row in own])),
                 **{key: float(np.mean([row[key] for row in own])) for key in [f"pck_{t:g}" for t in THRESHOLDS] + ["auc"]},
                 **({"pa_mpjpe_mm": float(np.mean(aligned))} if aligned else {})}
            )  # fmt: skip
    return rows
