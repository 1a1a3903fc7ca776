"""How good a detector is: average precision, sides, directions, and what it finds that is no hand.

A found hand is right when it overlaps a true one, that no surer found hand has taken, by half or more (intersection over union);
average precision is the area below precision over recall (Everingham et al. 2010, at every found hand). Hands that do not count
(hardly seen, very small) are neither missed nor false when they are found.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from handmesh.data.detection import DetectionShards, TrueHands, true_hands
from handmesh.data.photos import Photo
from handmesh.detection_maps import overlaps
from handmesh.nets.counting import aligned_columns
from handmesh.sources import read_image

ENOUGH = 0.5
"""Intersection over union of a found hand and a true one."""


class FoundHands(NamedTuple):
    """Of an image. N hands, in any order."""

    boxes: np.ndarray  # (N, 4) [px]
    scores: np.ndarray  # (N,)
    left: np.ndarray  # (N,) bool
    angles: np.ndarray  # (N,) as of `TrueHands`


@dataclass(frozen=True)
class DetectionScores:
    """Of a detector on some images; shares in [0, 1]."""

    images: int
    hands: int
    average_precision: float  # of all found hands, however unsure
    threshold: float  # score from which on a found hand counts for what follows
    recall: float  # hands that were found
    sides_right: float  # of these
    false_share: float  # of the found ones, those that are no hand
    false_per_image: float
    overlap: float  # mean intersection over union of the hands that were found
    angle_deg: float  # median error of the direction

    def to_dict(self) -> dict[str, float]:
        """For files."""
        return asdict(self)


def score_detections(true: Sequence[TrueHands], found: Sequence[FoundHands], threshold: float) -> DetectionScores:
    """Scores of a detector from what it has found, whose scores may be low, in images with true hands."""
    hits: list[tuple[float, bool]] = []  # of every found hand that counts: score, whether it is a hand
    matched: list[tuple[bool, float, float]] = []  # of true hands found at the threshold: side right, overlap, error of the angle
    for truth, seen in zip(true, found, strict=True):
        free = np.ones(len(truth.boxes), bool)
        for k in np.argsort(-seen.scores, kind="stable"):
            shares = np.where(free, overlaps(seen.boxes[k], truth.boxes), -1.0)
            best = int(shares.argmax()) if len(shares) else -1
            score = float(seen.scores[k])
            if best >= 0 and shares[best] >= ENOUGH:
                free[best] = False
                hits.append((score, True))
                if score >= threshold:
                    error = (seen.angles[k] - truth.angles[best] + np.pi) % (2 * np.pi) - np.pi
                    matched.append((bool(seen.left[k] == truth.left[best]), float(shares[best]), abs(float(error))))
            elif not len(truth.ignored) or _covered(seen.boxes[k], truth.ignored) < ENOUGH:
                hits.append((score, False))
    count = sum(len(truth.boxes) for truth in true)
    kept = [is_hand for score, is_hand in hits if score >= threshold]
    false = kept.count(False)
    sides, shares_found, errors = np.reshape(np.array(matched, float), (-1, 3)).T
    return DetectionScores(
        images=len(true), hands=count, average_precision=average_precision(hits, count), threshold=threshold,
        recall=len(matched) / count if count else float("nan"), sides_right=_mean(sides),
        false_share=false / len(kept) if kept else 0.0, false_per_image=false / max(len(true), 1), overlap=_mean(shares_found),
        angle_deg=float(np.degrees(np.nanmedian(errors))) if len(errors) and not np.isnan(errors).all() else float("nan"),
    )  # fmt: skip


def scores_table(rows: Mapping[str, DetectionScores]) -> str:
    """Scores by name of what they are of, for people."""
    lines = [["", "images", "hands", "AP@0.5", "found %", "sides right %", "false %", "overlap", "direction deg", ""]]
    for name, s in rows.items():
        shares = [f"{100 * value:.1f}" for value in (s.recall, s.sides_right, s.false_share)]
        numbers = [f"{s.average_precision:.3f}", *shares, f"{s.overlap:.2f}", f"{s.angle_deg:.0f}"]
        lines.append([name, str(s.images), str(s.hands), *numbers, ""])
    return aligned_columns(lines)


def crowd_truth(data: DetectionShards, side: int, most: int | None = None) -> Iterator[tuple[np.ndarray, TrueHands]]:
    """Images of a dataset, (H, W, 3) uint8, with their hands, for a detector that sees `side` pixels of the longer side."""
    for position in range(min(len(data), most or len(data))):
        labelled = data.read(position)
        yield labelled.image, true_hands(labelled, side)


def photo_truth(photos: Sequence[Photo]) -> Iterator[tuple[np.ndarray, TrueHands]]:
    """Labelled photographs, each image once with all its hands."""
    for number in sorted({photo.image for photo in photos}):
        hands = [photo for photo in photos if photo.image == number]
        rays = [np.diff(p.keypoints_xy[[0, 9]], axis=0)[0] if p.labelled[[0, 9]].all() else (np.nan, np.nan) for p in hands]
        yield read_image(hands[0].file)[0], TrueHands(
            np.stack([photo.box for photo in hands]), np.array([photo.side == "left" for photo in hands]),
            np.array([np.arctan2(x, -y) for x, y in rays]), np.empty((0, 4)),
        )  # fmt: skip


def average_precision(hits: Sequence[tuple[float, bool]], count: int) -> float:
    """Area below precision over recall, precision made monotone; (score, whether it is a hand) of each found one, `count` true."""
    if not count:
        return float("nan")
    order = sorted(hits, key=lambda hit: -hit[0])
    right = np.cumsum([is_hand for _, is_hand in order]) if order else np.zeros(0)
    precision = right / np.arange(1, len(order) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(sum(best[k] for k, (_, is_hand) in enumerate(order) if is_hand) / count)


def _covered(box: np.ndarray, ignored: np.ndarray) -> float:
    """Greatest share of a box, or overlap with it, that a hand which does not count has."""
    sides = np.maximum(np.minimum(box[2:], ignored[:, 2:]) - np.maximum(box[:2], ignored[:, :2]), 0)
    return float((sides.prod(1) / max(float((box[2:] - box[:2]).prod()), 1e-9)).max())


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
