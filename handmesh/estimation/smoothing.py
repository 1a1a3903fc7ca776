"""The filter of a hand over time: what of a change is movement, and what is noise of the net.

Each value is followed by a Kalman filter that knows its speed and acceleration. Unlike a low-pass it does not stay behind what
moves steadily. A hand's size does not change: its shape is averaged over seconds, and depth, by far the least certain, is followed
in sizes of the hand, as an image shows no more than that. So the overlay stays on the hand, and an error of the size in one frame
is none of the depth.
"""

from math import factorial
from typing import NamedTuple

import numpy as np

from handmesh.kinematics.dof import DOFS, NUM_DOFS, dof_limits
from handmesh.kinematics.linear import HandState, linear_hand
from handsynth.core.hand import HandModel
from handsynth.core.rotation import rotmat_to_rotvec, rotvec_to_rotmat

PAUSE_S = 0.5
"""After a longer time without frames nothing is filtered: the hand starts anew where it is."""

LEAST_TRUST = 0.1
"""Of a change where the net is far less sure than it was."""

USUAL_HZ = 0.2
"""Of the average that tells how sure the net used to be."""


class Cutoffs(NamedTuple):
    """Up to which frequency each part of a hand is followed [Hz]: higher ones follow quick turns sooner and average less."""

    angles: float = 2.0
    turn: float = 2.25
    place: float = 4.0  # in the image, where the net is most certain
    depth: float = 1.75
    depth_per_speed: float = 1.5  # Hz more where the depth changes by the whole of itself in a second
    shape: float = 0.03  # which in truth does not change


class Follower:
    """A Kalman filter of N values, each of which is driven by white noise of its highest derivative.

    The scale of measurements does not matter, only the ratio of that noise to theirs; it is such that the filter's poles lie at
    `cutoff_hz`, whatever the frame rate. The first frames are averaged evenly, later ones with the weights of that frequency.
    """

    def __init__(self, cutoff_hz: np.ndarray, per_speed: np.ndarray | float = 0.0, derivatives: int = 2) -> None:
        """(N,) cutoffs, to which a unit a second adds (N,) or the same Hz; 2: speed and acceleration, 0: the value alone."""
        self.cutoff_hz, self.per_speed, self.order = cutoff_hz, per_speed, 1 + derivatives
        self._state = np.zeros((len(cutoff_hz), self.order))  # from the value that was shown last
        self._variance: np.ndarray | None = None  # (N, order, order)

    def __call__(self, change: np.ndarray, dt: float, trust: np.ndarray | float = 1.0) -> np.ndarray:
        """The part that is followed of a change (N,), from the value shown last to the one measured `dt` seconds later.

        `trust` (N,) or one for all is 1 for a measurement as good as usual, and less in proportion to a larger variance.
        """
        if self._variance is None:
            first = (2 * np.pi * self.cutoff_hz[:, None]) ** (2 * np.arange(self.order) + 1)
            first[:, 0] = 1 / dt
            self._variance = first[:, None] * np.eye(self.order)
        cutoff = self.cutoff_hz + self.per_speed * np.abs(self._state[:, 1]) if self.order > 1 else self.cutoff_hz
        driven = dt * (2 * np.pi * cutoff) ** (2 * self.order)
        step = np.array(
            [[dt ** (k - j) / factorial(k - j) if k >= j else 0.0 for k in range(self.order)] for j in range(self.order)]
        )
        state = self._state @ step.T
        variance = step @ self._variance @ step.T + driven[:, None, None] * np.outer(step[:, -1], step[:, -1])
        gain = variance[:, :, 0] / (variance[:, 0, 0] + 1 / (dt * trust))[:, None]
        self._variance = variance - gain[:, :, None] * variance[:, :1]
        state += gain * (change - state[:, 0])[:, None]
        followed = state[:, 0].copy()
        state[:, 0] = 0
        self._state = state
        return followed


class Smoother:
    """One hand's filters. States are of one right hand (B = 1), camera frame [m]."""

    def __init__(self, hand: HandModel, cutoffs: Cutoffs = Cutoffs()) -> None:
        self.linear, self.cutoffs = linear_hand(hand), cutoffs
        self._least, self._greatest = dof_limits(hand.joint_limits).T
        shares = self.linear.weights[[dof.node for dof in DOFS]]
        self._shares = shares / shares.sum(1, keepdims=True)  # (23, V)
        self._state: HandState | None = None
        self._usual = np.zeros(NUM_DOFS)  # (23,) standard deviation about each angle [mm], over time

    def _begin(self, found: HandState, std: np.ndarray) -> None:
        self._state, self._usual, cutoffs = found, std, self.cutoffs
        counts = (NUM_DOFS, 3, 2, 1)
        self._motion = Follower(
            np.repeat([cutoffs.angles, cutoffs.turn, cutoffs.place, cutoffs.depth], counts),
            np.repeat([0, 0, 0, cutoffs.depth_per_speed], counts),
        )
        self._shape = Follower(np.full(found.beta.shape[1], cutoffs.shape), derivatives=0)
        self._usually = Follower(np.full(NUM_DOFS, USUAL_HZ), derivatives=0)

    def __call__(self, found: HandState, std_mm: np.ndarray, dt: float) -> HandState:
        """The state to show for one that was found, `dt` seconds after the last; (V,) standard deviations of the net."""
        std = self._shares @ std_mm  # (23,) about each angle
        if self._state is None or dt > PAUSE_S:
            self._begin(found, std)
            return found
        last = self._state
        trust = np.clip((self._usual / np.maximum(std, 1e-9)) ** 2, LEAST_TRUST, 1.0)
        whole = trust.mean()
        self._usual = self._usual + self._usually(std - self._usual, dt)

        beta = last.beta + self._shape(found.beta[0] - last.beta[0], dt, whole)
        turn = rotmat_to_rotvec(found.rotation @ last.rotation.swapaxes(1, 2))[0]
        camera = self._camera(last)
        change = np.concatenate([found.angles[0] - last.angles[0], turn, self._camera(found) - camera])
        moved, turned, shifted = np.split(self._motion(change, dt, np.append(trust, [whole] * 6)), [NUM_DOFS, NUM_DOFS + 3])
        # Beyond its limits a joint may be found, and is not carried there by its speed.
        angles = np.clip(last.angles + moved, np.minimum(self._least, found.angles), np.maximum(self._greatest, found.angles))
        x, y, logarithm = camera + shifted
        wrist = np.exp(logarithm) * self._size(beta) * np.array([[x, y, 1.0]])
        self._state = HandState(rotvec_to_rotmat(turned[None]) @ last.rotation, wrist - self._rest(beta)[0], angles, beta)
        return self._state

    def _rest(self, beta: np.ndarray) -> np.ndarray:
        """(1, S) -> (J, 3) joints of the hand of that shape at rest."""
        return self.linear.rest_joints + self.linear.joint_shapedirs @ beta[0]

    def _size(self, beta: np.ndarray) -> float:
        """Mean distance of the joints from the wrist [m]."""
        joints = self._rest(beta)
        return float(np.linalg.norm(joints[1:] - joints[0], axis=1).mean())

    def _camera(self, state: HandState) -> np.ndarray:
        """(3,) of the wrist: x / z, y / z, and the logarithm of z in sizes of the hand."""
        x, y, z = state.translation[0] + self._rest(state.beta)[0]
        z = max(z, 1e-3)
        return np.array([x / z, y / z, np.log(z / self._size(state.beta))])
