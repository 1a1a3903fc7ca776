"""Random feasible hands, for the tests of kinematics."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

import handsynth
from handmesh.kinematics.dof import dof_limits, embed, hand_dof_matrix
from handmesh.kinematics.linear import HandState
from handsynth.core.hand import HandModel, PosedHand, load_hand, pose_hand
from handsynth.core.rotation import rotvec_to_rotmat
from handsynth.core.toy import toy_hand

EMBEDDED = Path(handsynth.__file__).parent / "assets" / "embedded"


def hand_of(name: str) -> HandModel:
    return toy_hand() if name == "toy" else load_hand(EMBEDDED / "hand.npz")


class Feasible(NamedTuple):
    """Hands within their limits, of random shape, anywhere."""

    angles: np.ndarray
    beta: np.ndarray
    root: np.ndarray
    trans: np.ndarray
    posed: PosedHand

    def state(self, dtype: DTypeLike = np.float64) -> HandState:
        values = (rotvec_to_rotmat(self.root), self.trans, self.angles, self.beta)
        return HandState(*(value.astype(dtype) for value in values))


def draw_feasible(hand: HandModel, count: int, seed: int = 0) -> Feasible:
    rng = np.random.default_rng(seed)
    limits = dof_limits(hand.joint_limits)
    angles, beta = rng.uniform(limits[:, 0], limits[:, 1], (count, 23)), rng.normal(size=(count, hand.num_shapes))
    root, trans = rng.normal(0, 1.5, (count, 3)), rng.normal((0, 0, 0.6), 0.1, (count, 3))
    theta = np.concatenate([root[:, None], embed(angles, hand_dof_matrix(hand))], 1)
    return Feasible(angles, beta, root, trans, pose_hand(hand, theta, beta, trans))
