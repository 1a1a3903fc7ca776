"""Drawing labels on an image, for people: bones, keypoints, the mask's outline, the box."""

from typing import Any

import cv2
import numpy as np

from handsynth.core.conventions import KEYPOINT_PARENTS

FINGER_COLORS = ((255, 255, 255), (255, 96, 80), (255, 190, 60), (110, 220, 90), (80, 170, 255), (200, 120, 255))
"""RGB of the wrist, thumb, index, middle, ring and pinky."""

_FINE = 4  # bits behind the point of OpenCV's drawing coordinates


def draw_labels(image: np.ndarray, labels: dict[str, Any], mask: np.ndarray | None = None, zoom: int = 2) -> np.ndarray:
    """(H, W, 3) RGB image -> (zoom H, zoom W, 3) with labels drawn. Keypoints that are not visible are hollow.

    `mask` is as of `Sample`. Hands of a crowd have the box of all of them in grey, and that of what is seen of them in white.
    """
    canvas = cv2.resize(image, (image.shape[1] * zoom, image.shape[0] * zoom), interpolation=cv2.INTER_CUBIC)
    if "keypoints_xy" in labels:
        _draw_hand(canvas, labels, mask, zoom)
        _draw_box(canvas, labels["bbox_xyxy"], (255, 255, 255), zoom)
        return canvas
    for number, hand in enumerate(labels["hands"]):
        _draw_hand(canvas, hand, None if mask is None else mask == number + 1, zoom)
        _draw_box(canvas, hand["bbox_xyxy"], (150, 150, 150), zoom)
        if hand["bbox_visible_xyxy"] is not None:
            _draw_box(canvas, hand["bbox_visible_xyxy"], (255, 255, 255), zoom)
    return canvas


def _draw_hand(canvas: np.ndarray, labels: dict[str, Any], mask: np.ndarray | None, zoom: int) -> None:
    """Outline, bones and keypoints of one hand."""
    if mask is not None:
        large = cv2.resize(mask.astype(np.uint8), canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, outlines, -1, (0, 255, 255), 1, cv2.LINE_AA)
    points = np.round((np.array(labels["keypoints_xy"]) * zoom - 0.5) * (1 << _FINE)).astype(int)
    left, top, right, bottom = labels["bbox_xyxy"]
    radius = max(1.0, min(2.0 * zoom, max(right - left, bottom - top) * zoom / 40))  # small hands stay visible under theirs
    visible = labels["keypoints_visible"]
    for k, parent in enumerate(KEYPOINT_PARENTS):
        if parent >= 0:
            color = FINGER_COLORS[(k - 1) // 4 + 1]
            cv2.line(canvas, points[parent].tolist(), points[k].tolist(), color, zoom if visible[k] else 1, cv2.LINE_AA, _FINE)
    for k in range(21):
        color = FINGER_COLORS[(k + 3) // 4]
        thickness = cv2.FILLED if visible[k] else 1
        cv2.circle(canvas, points[k].tolist(), round(radius * (1 << _FINE)), color, thickness, cv2.LINE_AA, _FINE)


def _draw_box(canvas: np.ndarray, box: list[float], color: tuple[int, int, int], zoom: int) -> None:
    """One box."""
    x0, y0, x1, y1 = np.round(np.array(box) * zoom).astype(int).tolist()
    cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), color, 1)
