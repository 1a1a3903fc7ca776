"""Fingers between two poses of the bank: their joints turned part of the way, where no finger runs through another."""

from collections.abc import Sequence

import numpy as np

from handsynth.assets.library import Library
from handsynth.core.conventions import FINGER_JOINTS, FINGERS
from handsynth.recipe.draws import DECIMALS
from handsynth.recipe.proxy import HandProxy
from handsynth.recipe.spec import PoseSpec

BLEND_TRIES = 16
"""Draws of blended fingers before the hand is left as it is."""

Blends = dict[str, tuple[int, float]]
"""Finger -> row of the bank towards which it is turned, and how far: 0 leaves it, 1 is that row's finger."""

_JOINTS = np.array([FINGER_JOINTS[finger] for finger in FINGERS]) - 1  # (5, 3) rows of the bank's theta


class FingerBlender:
    """Draws blends for the poses of one bank. Angles stay between the least and the greatest that any pose of it has.

    Args:
        library: the hand and its bank.
        proxy: of both.
        spec: how often, and how many poses of the bank.
    """

    def __init__(self, library: Library, proxy: HandProxy, spec: PoseSpec) -> None:
        self._bank, self._axes, self._proxy = library.bank.theta, library.hand.joint_axes[1:], proxy
        self._quaternions = rotvec_to_quaternion(self._bank)
        self._probability = spec.interpolation_probability
        size = len(self._bank)
        taken = min(spec.bank_poses, size)
        self._choices = np.arange(taken) * size // taken
        angles = self._angles(self._bank)
        self._low, self._high = angles.min(0) - 1e-9, angles.max(0) + 1e-9

    def draw(self, streams: Sequence[np.random.Generator], rows: np.ndarray) -> tuple[list[Blends], np.ndarray]:
        """Blends of B hands, each drawn again while its fingers collide or leave the bank's angles.

        Args:
            streams: B, for these draws alone.
            rows: (B, 5) row of the bank that each finger has now, in the order of FINGERS.

        Returns:
            The blends of each, which may be none, and (B, 15, 3) finger angles [rad].
        """
        theta = self.fingers_of(rows)
        found: list[Blends] = [{} for _ in rows]
        waiting = np.arange(len(rows))
        for _ in range(BLEND_TRIES):
            if not len(waiting):
                break
            draws = [_drawn(streams[row], len(self._choices)) for row in waiting.tolist()]
            chances, others, shares = (np.array(values).reshape(-1, 5) for values in zip(*draws, strict=True))
            blended = chances < self._probability
            some = blended.any(1)
            waiting, blended = waiting[some], blended[some]
            others, shares = self._choices[others[some]], np.round(shares[some], DECIMALS)
            tried, bad = self.turned(theta[waiting], rows[waiting], others, shares, blended)
            theta[waiting[~bad]] = tried[~bad]
            for k in np.flatnonzero(~bad).tolist():
                found[waiting[k]] = {FINGERS[f]: (int(others[k, f]), float(shares[k, f])) for f in np.flatnonzero(blended[k])}
            waiting = waiting[bad]
        return found, theta

    def turned(
        self, theta: np.ndarray, rows: np.ndarray, others: np.ndarray, shares: np.ndarray, blended: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """B hands with some fingers part of the way to another pose.

        Args:
            theta: (B, 15, 3) finger angles of the poses that they come from [rad].
            rows: (B, 5) row of the bank of each finger of these, in the order of FINGERS.
            others: (B, 5) row towards which each is turned.
            shares: (B, 5) how far.
            blended: (B, 5) whether it is.

        Returns:
            (B, 15, 3) finger angles, and (B,) whether fingers collide or leave the bank's angles.
        """
        tried = theta.copy()
        hand, finger = np.nonzero(blended)
        joints = _JOINTS[finger]
        start, end = (self._quaternions[which[hand, finger, None], joints] for which in (rows, others))
        tried[hand[:, None], joints] = quaternion_to_rotvec(slerp(start, end, shares[hand, finger, None]))
        angles = self._angles(tried)
        bad = ((angles < self._low) | (angles > self._high)).any((1, 2))
        bad |= self._proxy.collides(rows, np.where(blended, others, rows), tried)
        return tried, bad

    def fingers_of(self, rows: np.ndarray) -> np.ndarray:
        """(..., 5) rows of the bank, in the order of FINGERS -> (..., 15, 3) finger angles [rad]."""
        theta = np.empty((*rows.shape[:-1], *self._bank.shape[1:]))
        theta[..., _JOINTS, :] = self._bank[rows[..., None], _JOINTS]
        return theta

    def angle_between(self, start: np.ndarray, end: np.ndarray) -> float:
        """The greatest angle by which any joint turns on the way from (5,) rows to (5,) others [rad]."""
        one, two = (self._quaternions[rows[:, None], _JOINTS] for rows in (start, end))
        return float(2 * np.arccos(np.minimum(np.abs((one * two).sum(-1)), 1)).max())

    def _angles(self, theta: np.ndarray) -> np.ndarray:
        """(..., 15, 3) axis-angle -> its components along each joint's own axes."""
        return (self._axes @ theta[..., None])[..., 0]


def _drawn(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(5,) chances, rows of so many, and shares of one try."""
    return rng.random(5), rng.integers(size, size=5), rng.random(5)


def slerp(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    """`share` (...) of the shortest way from one rotation to another, (..., 4) unit quaternions (Shoemake 1985) -> (..., 4)."""
    cosine = (start * end).sum(-1, keepdims=True)
    end, cosine = np.where(cosine < 0, -end, end), np.minimum(np.abs(cosine), 1)
    half, share = np.arccos(cosine), share[..., None]
    sine = np.maximum(np.sin(half), 1e-9)
    far = half > 1e-6  # nearer, a straight line is as good
    first = np.where(far, np.sin((1 - share) * half) / sine, 1 - share)
    return first * start + np.where(far, np.sin(share * half) / sine, share) * end


def rotvec_to_quaternion(rotvec: np.ndarray) -> np.ndarray:
    """(..., 3) axis-angle [rad] -> (..., 4) unit quaternions, real part first."""
    angle = np.linalg.norm(rotvec, axis=-1, keepdims=True)
    return np.concatenate([np.cos(angle / 2), rotvec * np.sinc(angle / (2 * np.pi)) / 2], -1)


def quaternion_to_rotvec(quaternion: np.ndarray) -> np.ndarray:
    """(..., 4) unit quaternions -> (..., 3) axis-angle of length at most pi [rad]."""
    quaternion = np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    imaginary = quaternion[..., 1:]
    sine = np.sqrt((imaginary * imaginary).sum(-1, keepdims=True))
    return imaginary * np.where(sine < 1e-9, 2.0, 2 * np.arctan2(sine, quaternion[..., :1]) / np.maximum(sine, 1e-9))
