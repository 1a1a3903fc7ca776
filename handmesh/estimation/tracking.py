"""Hands over time: which hand of a frame is which of the last, and where to look next."""

from dataclasses import dataclass

import numpy as np

from handmesh.estimation.detect import Detection, overlap
from handmesh.estimation.estimate import Estimate, View, focused
from handmesh.estimation.smoothing import Smoother
from handmesh.kinematics.fit import FitResult
from handsynth.core.camera import project
from handsynth.core.hand import HandModel

REDETECT_S = 1.0
"""The detector is asked again after so long, for hands that have come and gone."""

MISSED = 2
"""Times in a row that the detector may not see a tracked hand before it is given up."""

SAME = 0.3
"""Overlap (intersection over union) from which a detection and a tracked hand are one."""

GROWTH = 1.2
"""The next box is so many times as large as the last mesh: nets draw hands smaller than they are, a tenth in the median of the
shipped one's held-out images, and a crop about such a mesh gets smaller from frame to frame. With 1.1 it still does for a quarter
of photographs, with 1.2 the median stays at 0.96 of the true size after eight frames."""

DRIFT = 1.5
"""A hand that was found by a look at the whole image is sought so again when its box has grown or shrunk by this factor."""

UNSURE = 2.5
"""A hand is lost when the net's standard deviation is so many times as large as it used to be."""


@dataclass(eq=False)
class Track:
    """A hand that is followed. Its side was decided when it came, and stays."""

    number: int
    side: str
    score: float
    box: np.ndarray | None  # (4,) where to look next [px]; None: somewhere in the image
    smoother: Smoother
    turns: bool = False  # whether its crop is turned upright
    turn: float = 0.0  # as `View.turn`
    fit: FitResult | None = None  # of the last frame, not filtered: where the next starts
    missed: int = 0
    usual_mm: float = 0.0  # median standard deviation, over time
    whole_px: float = 0.0  # longer side of the hand when the whole image was last looked at; 0: a box was given

    @property
    def followed(self) -> bool:
        """Whether its box is about the hand as an earlier frame had it, not a detector's or a person's."""
        return self.usual_mm > 0

    def view(self, image: np.ndarray, K: np.ndarray) -> View:
        """The frame as the estimator takes it."""
        return View(image, K, self.side, self.box, self.turn if self.turns else 0.0)

    def follow(self, view: View, estimate: Estimate) -> bool:
        """Looks where the hand is now; False when it is lost: behind the camera, out of the image, or unlike what it was."""
        median = float(np.median(estimate.std_mm))
        self.usual_mm = median if not self.usual_mm else self.usual_mm + 0.1 * (median - self.usual_mm)
        new = focused(View(view.image, view.K, view.side), estimate).box
        if new is None or not np.isfinite(median) or median > UNSURE * self.usual_mm:
            return False
        size = float((new[2:] - new[:2]).max())
        if self.box is None:
            self.whole_px = size
        drifted = self.whole_px > 0 and not 1 / DRIFT < size / self.whole_px < DRIFT
        self.box = (
            None
            if drifted
            else np.concatenate(
                [new[:2] + new[2:] - GROWTH * (new[2:] - new[:2]), new[:2] + new[2:] + GROWTH * (new[2:] - new[:2])]
            )
            / 2
        )
        if self.turns and estimate.keypoints[[0, 9], 2].min() > 0:
            wrist, middle = project(estimate.keypoints[[0, 9]], view.K)
            self.turn = -float(np.arctan2(middle[0] - wrist[0], wrist[1] - middle[1]))
        return True


class Tracker:
    """The hands that are followed, and when the detector is needed."""

    def __init__(self, hand: HandModel) -> None:
        self.hand = hand
        self.tracks: list[Track] = []
        self._next, self._last_detection_s = 1, -np.inf

    def needs_detector(self, time_s: float) -> bool:
        """Whether nothing is followed, or the last look over the whole image was long ago."""
        return not self.tracks or time_s - self._last_detection_s >= REDETECT_S

    def begin(self, detection: Detection | None, side: str = "right") -> Track:
        """A new hand; without a detection it is somewhere in the image."""
        smoother = Smoother(self.hand)
        if detection is None:
            track = Track(self._next, side, 1.0, None, smoother)
        else:
            angle = detection.angle
            track = Track(self._next, detection.side, detection.score, detection.box, smoother, angle is not None, -(angle or 0.0))
        self._next += 1
        self.tracks.append(track)
        return track

    def match(self, found: list[Detection], time_s: float) -> None:
        """Detections of a frame: those of hands that are followed confirm them, others begin, and hands missed too often end.

        The pairs that overlap most come first, so that two hands that pass each other keep their numbers.
        """
        self._last_detection_s = time_s
        pairs = [
            (overlap(track.box, detection.box) + 0.1 * (track.side == detection.side), t, d)
            for t, track in enumerate(self.tracks) if track.box is not None
            for d, detection in enumerate(found)
        ]  # fmt: skip
        seen: set[int] = set()
        used: set[int] = set()
        for share, t, d in sorted(pairs, reverse=True):
            if share >= SAME and t not in seen and d not in used:
                seen.add(t)
                used.add(d)
                self.tracks[t].score, self.tracks[t].missed = found[d].score, 0
        for t, track in enumerate(self.tracks):
            track.missed += t not in seen
        self.tracks = [track for track in self.tracks if track.missed < MISSED]
        for d, detection in enumerate(found):
            if d not in used:
                self.begin(detection)

    def end(self, lost: list[Track]) -> None:
        """Gives up hands, and of two that have become one the younger."""
        kept: list[Track] = []
        for track in self.tracks:
            twin = any(
                other.side == track.side and track.box is not None and other.box is not None and overlap(track.box, other.box) > 0.8
                for other in kept
            )
            if track not in lost and not twin:
                kept.append(track)
        self.tracks = kept
