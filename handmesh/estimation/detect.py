"""Where hands are in an image: what a detector is, our own, boxes that a user gives, MediaPipe's model where that is installed.

A detector is any function of an (H, W, 3) uint8 sRGB image that returns a list of (box, side, score, angle), `Detection` or plain
tuples; an empty list where there is no hand.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from handmesh.data.side_crops import upright
from handmesh.detection_maps import Found, find_hands, overlaps, sigmoid
from handmesh.estimation.backends import NONE, OWN, open_maps, open_side
from handmesh.run_files import DETECTOR, KINDS, SIDE
from handmesh.shipped import find_run
from handsynth.core.errors import AssetError, HandsynthError, UsageError

SIDES = ("right", "left")


class Detection(NamedTuple):
    """A hand that was found."""

    box: np.ndarray  # (4,) x0, y0, x1, y1 tight about the hand [px]
    side: str  # "right" or "left"
    score: float  # in [0, 1]
    angle: float | None = None  # from upright to the direction from wrist to middle finger, clockwise [rad]; None: not known


Detector = Callable[[np.ndarray], Sequence[Any]]
"""(H, W, 3) uint8 sRGB -> detections, or tuples of their four values."""


def detections(found: Iterable[Any]) -> list[Detection]:
    """What a detector has returned, checked. Raises UsageError naming what no detection can have."""
    made = []
    for box, side, score, angle in found:
        corners = np.asarray(box, np.float64)
        if corners.shape != (4,) or not np.isfinite(corners).all() or not (corners[:2] < corners[2:]).all():
            raise UsageError(f"a box is {list(np.ravel(corners))}: expected x0, y0, x1, y1 in pixels, x0 < x1 and y0 < y1")
        if side not in SIDES:
            raise UsageError(f"a hand's side is right or left, not {side!r}")
        made.append(Detection(corners, side, float(score), None if angle is None else float(angle)))
    return made


def given_boxes(boxes: Sequence[Sequence[float]], sides: str | Sequence[str]) -> list[Detection]:
    """Boxes of a user as detections of score 1; one side for all, or one each. Raises UsageError when they do not go together."""
    each = [sides] * len(boxes) if isinstance(sides, str) else list(sides)
    if len(each) != len(boxes):
        raise UsageError(f"{len(boxes)} boxes and {len(each)} sides: give a side for each box, or one for all")
    return detections((box, side, 1.0, None) for box, side in zip(boxes, each, strict=True))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes, (4,) each."""
    return float(overlaps(a, b[None])[0])


def open_detector(what: str | Path = OWN, threads: int | None = None) -> Detector | None:
    """A detector by word, name or file.

    Args:
        what: "own"; "none"; MediaPipe's `hand_landmarker.task`; a run of handmesh train detector, or the name of shipped weights.
        threads: of our own, by onnxruntime; None leaves it to that.

    Raises UsageError when it is none of these, HandsynthError when a file is damaged, AssetError naming what to install.
    """
    if str(what) == NONE:
        return None
    if Path(what).suffix == ".task":
        if not Path(what).exists():
            raise UsageError(f"--detector {what} does not exist")
        return MediaPipeDetector(Path(what))
    try:
        if Path(what).is_file():
            raise UsageError("it is no folder")
        return HandDetector(find_run(None if str(what) == OWN else what, DETECTOR), threads=threads, side=find_run(None, SIDE))
    except UsageError as error:
        expected = f"{OWN}, {NONE}, MediaPipe's hand_landmarker.task, or a run of {KINDS[DETECTOR]}"
        raise UsageError(f"--detector {what}: expected {expected}: {error}") from None


LEAST = 0.48
"""Score from which on our own detector calls something a hand: of 73 photographs it found 95 % with less than 5 % that were none,
which no score from 0.50 on, nor below 0.48, did; crowds differ little between 0.45 and 0.55."""

CANDIDATE, CANDIDATES = 0.3, 10
"""What the maps give such a score, so many of an image at most, is looked at again upright, and may become a hand or not."""


class HandDetector:
    """Our own detector: all hands of an image, of any size and at any turn.

    Args:
        folder: of shipped weights, or of a run.
        least: score of a hand.
        threads: of onnxruntime.
        side: folder of the net that looks again at each upright, whether it is a hand and which; None: the maps' own opinion.

    Raises as `open_detector` does.
    """

    def __init__(self, folder: Path, least: float = LEAST, threads: int | None = None, side: Path | None = None) -> None:
        self.least = least
        self.net, self.side = open_maps(folder, threads)
        self.side_net = None if side is None else open_side(side, threads)

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """As `Detector` has it; boxes end at the image's borders."""
        if not self.side_net:
            found = find_hands(self.net, image, self.side, self.least)
        else:
            found = self._looked_at(image, find_hands(self.net, image, self.side, CANDIDATE, CANDIDATES))
        return [
            Detection(box, SIDES[int(left > 0.5)], float(score), float(angle))
            for box, score, left, angle in zip(*found, strict=True)
        ]

    def _looked_at(self, image: np.ndarray, found: Found) -> Found:
        """What is a hand after a second look at each, the surest first. Of its score's logarithm the maps give two thirds."""
        assert self.side_net is not None
        if not len(found.boxes):
            return found
        crops = [upright(image, box, angle) for box, angle in zip(found.boxes, found.angles, strict=True)]
        left, hand = sigmoid(self.side_net(crops).astype(np.float64)).T
        scores = np.cbrt(found.scores**2 * hand)
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] >= self.least]
        return Found(found.boxes[order], scores[order], left[order], found.angles[order])


class MediaPipeDetector:
    """MediaPipe's hand landmarks as detections; its packages and its model file are Apache-2.0, and neither is shipped.

    Args:
        path: of `hand_landmarker.task`.
        most: hands in an image.
    """

    MARGIN = 0.12
    """Of the landmarks' longer side, beyond each of its sides: they are joints, the box is about the skin."""

    _SELFIE_UNTIL = (0, 10, 15)
    """Versions before that name the side as if every image were a mirrored one, from a front camera (mediapipe-samples#450)."""

    def __init__(self, path: Path, most: int = 4) -> None:
        try:
            import mediapipe
        except ImportError:
            raise AssetError("mediapipe is not installed, which --detector FILE.task needs: pip install mediapipe") from None
        tasks, vision = mediapipe.tasks, mediapipe.tasks.vision
        self._image: Callable[[np.ndarray], Any] = lambda data: mediapipe.Image(
            image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(data)
        )
        numbers = tuple(int(part) for part in str(mediapipe.__version__).split(".")[:3] if part.isdigit())
        self.swaps_sides = numbers < self._SELFIE_UNTIL
        options = vision.HandLandmarkerOptions(base_options=tasks.BaseOptions(model_asset_path=str(path)), num_hands=most)
        try:
            self._landmarker = vision.HandLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise HandsynthError(f"{path} cannot be read as a model of MediaPipe: {' '.join(str(error).split())[:100]}") from None

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """As `Detector` has it."""
        found = self._landmarker.detect(self._image(image))
        size, made = np.array(image.shape[1::-1], np.float64), []
        for landmarks, handedness in zip(found.hand_landmarks, found.handedness, strict=True):
            points = np.array([[point.x, point.y] for point in landmarks]) * size
            low, high = points.min(0), points.max(0)
            margin = self.MARGIN * float((high - low).max())
            side = str(handedness[0].category_name).lower()
            if self.swaps_sides:
                side = SIDES[1 - SIDES.index(side)]
            x, y = points[9] - points[0]
            made.append((np.concatenate([low - margin, high + margin]), side, handedness[0].score, float(np.arctan2(x, -y))))
        return detections(made)
