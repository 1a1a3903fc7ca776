"""Detectors put to the test: any of them on images with their hands."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from handmesh.data.detection import TrueHands
from handmesh.estimation.detect import LEAST, Detector, HandDetector, detections
from handmesh.evaluation.detection import DetectionScores, FoundHands, score_detections

Truth = Callable[[int], Iterable[tuple[np.ndarray, TrueHands]]]
"""Longer side of the images that a detector sees [px] -> images with their hands."""


def evaluate_detector(folder: Path, truth: Truth, threads: int | None = None, side: Path | None = None) -> DetectionScores:
    """Scores of our own detector; it counts what it finds from its usual score on, and average precision all that it has seen."""
    detector = HandDetector(folder, 0.05, threads, side)
    return score_detector(detector, truth(detector.side), LEAST)


def score_detector(detector: Detector, truth: Iterable[tuple[np.ndarray, TrueHands]], threshold: float) -> DetectionScores:
    """Scores of any detector on images with their hands."""
    true, seen = [], []
    for image, hands in truth:
        found = detections(detector(image))
        true.append(hands)
        angles = [np.nan if one.angle is None else one.angle for one in found]
        boxes, scores = np.reshape([one.box for one in found], (-1, 4)), np.array([one.score for one in found])
        seen.append(FoundHands(boxes, scores, np.array([one.side == "left" for one in found], bool), np.array(angles)))
    return score_detections(true, seen, threshold)
