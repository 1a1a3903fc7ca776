"""Photographs evaluated: a net on each of them, a table, and what is left of it: figures, and overlays with the worst first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import imageio.v3 as iio
import numpy as np

from handmesh.data.photos import Photo
from handmesh.estimation.drawing import draw_mesh, draw_skeleton, sheet
from handmesh.estimation.estimate import Estimate, Estimator, View
from handmesh.evaluation.keypoint_tables import KeypointTable, adapted, fit_table
from handmesh.evaluation.photo_scores import THRESHOLDS, Found, scores
from handmesh.evaluation.report import csv_bytes
from handmesh.nets.counting import aligned_columns
from handmesh.sources import camera_of, read_image
from handsynth.core.camera import project
from handsynth.core.errors import HandsynthError
from handsynth.core.files import write_file
from handsynth.core.hand import HandModel

BATCH = 16
TILE = 224
"""Side of a tile of the sheet [px]."""


def estimate_photos(estimator: Estimator, photos: Sequence[Photo]) -> tuple[list[View], list[Estimate]]:
    """A net's estimates about the labels' boxes (`Estimator.find`). Raises HandsynthError when an image cannot be read."""
    views: list[View] = []
    estimates: list[Estimate] = []
    for start in range(0, len(photos), BATCH):
        some, found = estimator.find([_view(photo) for photo in photos[start : start + BATCH]])
        views += some
        estimates += found
    return views, estimates


def found_of(views: Sequence[View], estimates: Sequence[Estimate], matrices: Sequence[np.ndarray] | None = None) -> list[Found]:
    """Keypoints of estimates, in the image and in space: the hand model's own, or those of each one's (21, V) matrix."""
    if matrices is None:
        points = [e.keypoints for e in estimates]
    else:
        points = [matrix @ e.vertices for matrix, e in zip(matrices, estimates, strict=True)]
    return [Found(project(p, v.K), p) for v, p in zip(views, points, strict=True)]


def adapted_to(
    name: str, hand: HandModel, photos: Sequence[Photo], views: Sequence[View], estimates: Sequence[Estimate]
) -> tuple[KeypointTable, list[np.ndarray]]:
    """The table of keypoints fitted to the labels of all photographs, and for each hand the matrix fitted to others than it.

    In space where every label has truth, else in the images.
    """
    labelled = np.array([photo.labelled for photo in photos])
    truth = [photo.keypoints_m for photo in photos if photo.keypoints_m is not None]
    if len(truth) == len(photos):
        vertices, labels = [e.vertices for e in estimates], truth
    else:
        vertices = [project(e.vertices, v.K) for v, e in zip(views, estimates, strict=True)]
        labels = [photo.keypoints_xy for photo in photos]
    about = f"{len(photos)} hands of {photos[0].file.parent.name}, labels in {'space' if len(truth) == len(photos) else 'images'}"
    return fit_table(name, hand, vertices, labels, labelled, about), adapted(hand, vertices, labels, labelled)


def photos_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The groups' rows for people; errors in per cent of the hand's size."""
    with_truth = any("pa_mpjpe_mm" in row for row in rows)
    headings = ["group", "method", "hands", "found", "median 2-D error %", *(f"PCK@{t:g} %" for t in THRESHOLDS), "AUC"]
    lines = [headings + ["PA-MPJPE mm"] * with_truth]
    for row in rows:
        shares = [f"{100 * row[key]:.1f}" for key in ("median_error_2d", *(f"pck_{t:g}" for t in THRESHOLDS))]
        line = [row["group"], row["method"], str(row["hands"]), str(row["found"]), *shares, f"{row['auc']:.3f}"]
        lines.append(line + [f"{row['pa_mpjpe_mm']:.2f}" if "pa_mpjpe_mm" in row else ""] * with_truth)
    return aligned_columns([[*line, ""] for line in lines])


def write_photos_report(
    out: Path,
    photos: Sequence[Photo],
    methods: Mapping[str, Sequence[Found | None]],
    rows: Sequence[Mapping[str, Any]],
    views: Sequence[View],
    estimates: Sequence[Estimate],
    faces: np.ndarray,
) -> None:
    """Writes photos.csv (groups), photo_errors.csv (a row a hand and method, the net's worst first) and overlays.jpg, worst first.

    The first of `methods` is the net's. Raises HandsynthError when something cannot be written.
    """
    each = {name: scores(photos, found) for name, found in methods.items()}
    order = np.argsort([-row["error_2d"] for row in next(iter(each.values()))], kind="stable").tolist()
    columns = list(dict.fromkeys(key for found in each.values() for row in found for key in row))
    lines: list[list[Any]] = [["file", "annotation", "side", "size_px", "method", *columns]]
    for k in order:
        photo = photos[k]
        for name, found in each.items():
            values = [f"{found[k][key]:.6g}" if key in found[k] else "" for key in columns]
            lines.append([photo.file.name, photo.annotation, photo.side, f"{photo.size_px:.1f}", name, *values])
    keys = list(dict.fromkeys(key for row in rows for key in row))
    table = [keys, *([f"{row[k]:.6g}" if isinstance(row.get(k), float) else row.get(k, "") for k in keys] for row in rows)]
    tiles = []
    for k in order:
        tiles += _tiles(photos[k], views[k], estimates[k], faces)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_file(out / "photos.csv", csv_bytes(table))
        write_file(out / "photo_errors.csv", csv_bytes(lines))
        page = sheet(tiles, 9, ["photograph", "labels", "mesh"] * 3)
        write_file(out / "overlays.jpg", iio.imwrite("<bytes>", page, extension=".jpg", quality=90))
    except OSError as error:
        raise HandsynthError(f"{out} cannot be written: {error.strerror}; --out DIR writes elsewhere") from None


def _view(photo: Photo) -> View:
    image, focal = read_image(photo.file)
    return View(image, camera_of(image, focal, None, photo.K).K, photo.side, photo.box)


def _tiles(photo: Photo, view: View, estimate: Estimate, faces: np.ndarray) -> list[np.ndarray]:
    """The hand, its labels, and the net's mesh, cut out and made one size."""
    zoom = TILE / (1.3 * float((photo.box[2:] - photo.box[:2]).max()))
    corner = (photo.box[:2] + photo.box[2:]) / 2 - TILE / (2 * zoom)
    K = view.K.copy()
    K[:2, 2] -= corner
    K[:2] *= zoom
    move = np.array([[zoom, 0, -zoom * corner[0] + zoom / 2 - 0.5], [0, zoom, -zoom * corner[1] + zoom / 2 - 0.5]])
    flags = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    plain = cv2.warpAffine(view.image, move, (TILE, TILE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    labels = draw_skeleton(plain, (photo.keypoints_xy - corner) * zoom)
    return [plain, labels, draw_mesh(plain, estimate.vertices, faces, K)]
