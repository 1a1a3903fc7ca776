"""Hands over time: which hand of a frame is which of the last, where to look next, and what of a change is movement.

A hand's pose, shape, turn and place are filtered by One Euro filters (Casiez et al. 2012: a low-pass whose cutoff grows with
speed), each change trusted less where the net is less sure than it was. The camera is filtered as image position and logarithm of
depth: depth is by far the least certain, and its filter leaves the overlay where the hand is.
"""

from dataclasses import dataclass, field

import numpy as np

from handmesh.estimation.detect import Detection, overlap
from handmesh.estimation.estimate import Estimate, View, focused
from handmesh.kinematics.dof import DOFS
from handmesh.kinematics.fit import FitResult
from handmesh.kinematics.linear import HandState, LinearHand
from handsynth.core.camera import project
from handsynth.core.rotation import rotmat_to_rotvec, rotvec_to_rotmat

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

PAUSE_S = 0.5
"""After a longer time without frames nothing is filtered: the hand starts anew where it is."""

SPEED_CUTOFF_HZ = 1.0
"""Of the low-pass on speeds: Casiez et al.'s."""

LEAST_TRUST = 0.1


@dataclass
class OneEuro:
    """A filter of changes: of angles, of turns, of anything that is added up."""

    cutoff_hz: float  # at rest
    per_speed: float  # Hz that a unit a second adds
    together: bool = False  # one cutoff for the vector, by its length, rather than one for each component
    _speed: np.ndarray | float = field(default=0.0, init=False)

    def __call__(self, change: np.ndarray, dt: float, trust: np.ndarray | float = 1.0) -> np.ndarray:
        """The part of a change, from the filtered value to the measured one `dt` seconds later, that is followed."""
        self._speed += _share(dt, SPEED_CUTOFF_HZ) * (change / dt - self._speed)
        speed = np.asarray(np.linalg.norm(self._speed) if self.together else np.abs(self._speed))
        share = _share(dt, self.cutoff_hz + self.per_speed * speed)
        return change * (share * trust / (1 - share + share * trust))


def _share(dt: float, cutoff_hz: np.ndarray | float) -> np.ndarray | float:
    """Of a first-order low-pass in one step."""
    return dt / (dt + 1 / (2 * np.pi * cutoff_hz))


class Smoother:
    """One hand's filters. States are of one right hand (B = 1), camera frame [m]."""

    def __init__(self, linear: LinearHand) -> None:
        self.linear = linear
        # Beta hardly changes in truth; angles and turn in rad/s, image positions in rad/s about the camera, depth in 1/s.
        self._angles, self._turn = OneEuro(1.5, 3.0), OneEuro(1.5, 3.0, together=True)
        self._place, self._depth = OneEuro(2.0, 60.0, together=True), OneEuro(0.8, 4.0)
        self._beta = OneEuro(0.1, 0.0)
        self._state: HandState | None = None
        self._usual: np.ndarray | None = None  # (23,) standard deviation about each angle [mm], over time
        nodes = [dof.node for dof in DOFS]
        shares = linear.weights[nodes]
        self._shares = shares / shares.sum(1, keepdims=True)  # (23, V)

    def __call__(self, found: HandState, std_mm: np.ndarray, dt: float) -> HandState:
        """The state to show for one that was found, `dt` seconds after the last; (V,) standard deviations of the net."""
        std = self._shares @ std_mm
        if self._state is None or dt > PAUSE_S:
            self._state, self._usual = found, std
            return found
        last, usual = self._state, self._usual
        assert usual is not None
        trust = np.clip((usual / np.maximum(std, 1e-9)) ** 2, LEAST_TRUST, 1.0)
        all_trust = float(trust.mean())
        self._usual = usual + _share(dt, 0.2) * (std - usual)

        beta = last.beta + self._beta(found.beta - last.beta, dt, all_trust)
        angles = last.angles + self._angles(found.angles - last.angles, dt, trust)
        turn = self._turn(rotmat_to_rotvec(found.rotation @ last.rotation.swapaxes(1, 2)), dt, all_trust)
        was, now = self._camera(last), self._camera(found)
        camera = was.copy()
        camera[:, :2] += self._place(now[:, :2] - was[:, :2], dt, all_trust)
        camera[:, 2:] += self._depth(now[:, 2:] - was[:, 2:], dt, all_trust)
        depth = np.exp(camera[:, 2:])
        wrist = np.concatenate([camera[:, :2] * depth, depth], 1)
        self._state = HandState(rotvec_to_rotmat(turn) @ last.rotation, wrist - self._rest_wrist(beta), angles, beta)
        return self._state

    def _rest_wrist(self, beta: np.ndarray) -> np.ndarray:
        return self.linear.rest_joints[0] + beta @ self.linear.joint_shapedirs[0].T

    def _camera(self, state: HandState) -> np.ndarray:
        """(1, 3) of the wrist: x / z, y / z, log z."""
        x, y, z = (state.translation + self._rest_wrist(state.beta)).T
        z = np.maximum(z, 1e-3)
        return np.stack([x / z, y / z, np.log(z)], 1)


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

    def __init__(self, linear: LinearHand) -> None:
        self.linear = linear
        self.tracks: list[Track] = []
        self._next, self._last_detection_s = 1, -np.inf

    def needs_detector(self, time_s: float) -> bool:
        """Whether nothing is followed, or the last look over the whole image was long ago."""
        return not self.tracks or time_s - self._last_detection_s >= REDETECT_S

    def begin(self, detection: Detection | None, side: str = "right") -> Track:
        """A new hand; without a detection it is somewhere in the image."""
        smoother = Smoother(self.linear)
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
