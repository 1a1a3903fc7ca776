"""Drawing labels on an image, for people: bones, keypoints, the mask's outline, the box."""

from typing import Any

import cv2
import numpy as np

from handsynth.core.conventions import KEYPOINT_PARENTS

FINGER_COLORS = ((255, 255, 255), (255, 96, 80), (255, 190, 60), (110, 220, 90), (80, 170, 255), (200, 120, 255))
"""RGB of the wrist, thumb, index, middle, ring and pinky."""

_FINE = 4  # bits behind the point of OpenCV's drawing coordinates


def draw_labels(image: np.ndarray, labels: dict[str, Any], mask: np.ndarray | None = None, zoom: int = 2) -> np.ndarray:
    """(H, W, 3) RGB image -> (zoom H, zoom W, 3) with labels drawn. Keypoints that are not visible are hollow."""
    size = image.shape[1] * zoom
    canvas = cv2.resize(image, (size, image.shape[0] * zoom), interpolation=cv2.INTER_CUBIC)
    if mask is not None:
        large = cv2.resize(mask.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, outlines, -1, (0, 255, 255), 1, cv2.LINE_AA)
    points = np.round((np.array(labels["keypoints_xy"]) * zoom - 0.5) * (1 << _FINE)).astype(int)
    visible = labels["keypoints_visible"]
    for k, parent in enumerate(KEYPOINT_PARENTS):
        if parent >= 0:
            color = FINGER_COLORS[(k - 1) // 4 + 1]
            cv2.line(canvas, points[parent].tolist(), points[k].tolist(), color, zoom if visible[k] else 1, cv2.LINE_AA, _FINE)
    for k in range(21):
        color = FINGER_COLORS[(k + 3) // 4]
        thickness = cv2.FILLED if visible[k] else 1
        cv2.circle(canvas, points[k].tolist(), 2 * zoom << _FINE, color, thickness, cv2.LINE_AA, _FINE)
    x0, y0, x1, y1 = np.round(np.array(labels["bbox_xyxy"]) * zoom).astype(int).tolist()
    cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), (255, 255, 255), 1)
    return canvas
