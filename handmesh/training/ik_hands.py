"""Hands that IK nets train on, drawn on the fly: fingers swapped between poses of a bank, random shapes, noisy keypoints.

Some of the bank's poses are kept to validate on (`split_poses`).
"""

import re
from collections import Counter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from handmesh.keypoints import keypoint_hand
from handmesh.kinematics.dof import DOFS, dof_limits, embed, hand_dof_matrix, project
from handmesh.kinematics.fit import fit_hands
from handmesh.kinematics.hand_layer import HandLayer
from handmesh.settings.ik import IKSpec
from handsynth.core.conventions import FINGER_JOINTS, FINGERS
from handsynth.core.errors import AssetError
from handsynth.core.hand import HandModel, pose_hand
from handsynth.core.poses import PoseBank
from handsynth.core.rng import stream

_FINGER_OF_JOINT = np.array([next(k for k, name in enumerate(FINGERS) if j in FINGER_JOINTS[name]) for j in range(1, 16)])
_FINGER_OF_DOF = np.array([FINGERS.index(dof.finger) for dof in DOFS])


class IKBatch(NamedTuple):
    """B hands, float32. Metres, wrist turn and translation zero."""

    keypoints: Tensor  # (B, 21, 3) with noise: what the net sees
    true_keypoints: Tensor  # (B, 21, 3) P of equation 8
    pose: Tensor  # (B, 23) angles, or (B, 45) axis-angles [rad]
    beta: Tensor  # (B, S)
    theta: Tensor  # (B, 16, 3) axis-angles that made the hand; of a bank, more than 23 angles can say [rad]


def split_poses(poses: PoseBank, every: int = 10) -> tuple[PoseBank, PoseBank]:
    """Poses to train on and to validate on: every tenth gesture is held out, all its variants together ("fist 1", "fist 2", ...).

    Raises AssetError when there is only one pose.
    """
    stems = [re.sub(r"[\s_]*\d+$", "", name) for name in poses.names]
    sizes = Counter(stems)
    # A stem that a tenth of the bank shares is a way to count poses ("random 17"), no gesture.
    gestures = [stem if sizes[stem] < len(stems) / every else name for stem, name in zip(stems, poses.names, strict=True)]
    order = list(dict.fromkeys(gestures))
    if len(order) < 2:
        raise AssetError("the pose bank holds one pose, none is left to validate on: give another with --poses")
    held = set(order[every // 2 :: every] or order[-1:])
    kept = np.array([gesture in held for gesture in gestures])
    return poses.rows(np.flatnonzero(~kept)), poses.rows(np.flatnonzero(kept))


def fitted_angles(hand: HandModel, theta: np.ndarray) -> np.ndarray:
    """(N, 15, 3) poses of 45 angles -> (N, 23) angles of the feasible hands that fit them best, of the mean shape [rad].

    Ground truth as section 3.3 has it: projected, then fitted to vertices and joints with the whole hand free to turn.
    """
    flat = np.zeros((len(theta), hand.num_shapes))
    vertices = pose_hand(hand, np.concatenate([np.zeros((len(theta), 1, 3)), theta], 1), flat).vertices
    return fit_hands(hand, vertices, angles=project(theta, hand_dof_matrix(hand)), beta=flat, frozen_shape=True).angles


class HandDraws:
    """Batches by number: what a batch holds depends on seed and number alone.

    A drawn hand's fingers come from up to five poses of the bank, and its true angles from the same poses' fits, finger by
    finger: fingers share no joint, and the fit of one hardly moves another. Fingers may run through each other, which
    generated images avoid: keypoints do not mind, and the net sees more combinations.

    Args:
        hand: the model.
        theta: (N, 15, 3) bank [rad].
        angles: (N, 23) `fitted_angles` of it [rad].
        spec: swaps, shapes, jitter and noise; how many angles the truth has.
        purpose: of the random stream; training and validation differ.
    """

    def __init__(self, hand: HandModel, theta: np.ndarray, angles: np.ndarray, spec: IKSpec, purpose: str) -> None:
        self.theta, self.angles, self.spec, self.purpose = theta, angles, spec, purpose
        self.layer = HandLayer(keypoint_hand(hand))
        self.matrix, self.num_shapes = hand_dof_matrix(hand), hand.num_shapes
        self.limits = dof_limits(hand.joint_limits)

    def batch(self, number: int, count: int) -> IKBatch:
        """The hands of one step, on the CPU."""
        spec, rng = self.spec, stream(self.spec.seed, number, f"ik {self.purpose}")
        size = len(self.theta)
        swapped = rng.random((count, 5)) < spec.swap_probability
        rows = np.where(swapped, rng.integers(size, size=(count, 5)), rng.integers(size, size=(count, 1)))
        theta = self.theta[rows[:, _FINGER_OF_JOINT], np.arange(15)]
        angles = self.angles[rows[:, _FINGER_OF_DOF], np.arange(len(DOFS))]
        beta = rng.normal(0, spec.beta_std, (count, self.num_shapes))
        if spec.jitter_deg:
            least, greatest = np.minimum(self.limits[:, 0], angles), np.maximum(self.limits[:, 1], angles)
            moved = np.clip(angles + rng.normal(0, np.deg2rad(spec.jitter_deg), angles.shape), least, greatest)
            theta, angles = theta + embed(moved - angles, self.matrix), moved
        noise = rng.normal(size=(count, 21, 3)) * rng.uniform(0, spec.noise_mm / 1000, (count, 1, 1))

        full = torch.tensor(np.concatenate([np.zeros((count, 1, 3)), theta], 1), dtype=torch.float32)
        shape = torch.tensor(beta, dtype=torch.float32)
        with torch.no_grad():
            keypoints = self.layer(full, shape).keypoints
        pose = angles if spec.dofs == len(DOFS) else theta.reshape(count, -1)
        return IKBatch(keypoints + torch.tensor(noise, dtype=torch.float32), keypoints, torch.tensor(pose).float(), shape, full)
