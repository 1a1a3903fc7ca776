"""Equation 3's measure, its sign by geometry and its gradients."""

import numpy as np
import pytest
import torch
from hands import hand_of
from torch.autograd.functional import jacobian

from handmesh.kinematics.dof import DOF_NAMES, embed, hand_dof_matrix
from handmesh.kinematics.energy import (
    BEND_CHAINS,
    backward_bend,
    backward_bend_gradients,
    bend_measures,
    bend_penalty,
    has_bend_violation,
)
from handsynth.core.hand import pose_hand

FINGERS = ("index", "middle", "ring", "pinky")


def keypoints_of(angles_deg: dict[str, float]) -> torch.Tensor:
    """(21, 3) keypoints of the toy hand, whose fingers are straight at zero."""
    hand = hand_of("toy")
    angles = np.zeros(23)
    for name, angle in angles_deg.items():
        angles[DOF_NAMES.index(name)] = np.deg2rad(angle)
    theta = np.concatenate([np.zeros((1, 3)), embed(angles, hand_dof_matrix(hand))])
    return torch.tensor(pose_hand(hand, theta, np.zeros(hand.num_shapes)).keypoints)


@pytest.mark.parametrize("finger", FINGERS)
def test_sign_is_that_of_the_two_joints(finger):
    """Both forward: positive, the product of the sines. One backward: negative, for that finger alone."""
    k = FINGERS.index(finger)
    for pip, dip in ((40, 20), (40, -20), (-20, 40), (-15, -15)):
        keypoints = keypoints_of({f"{finger}_pip_flexion": pip, f"{finger}_dip_flexion": dip})
        measure = bend_measures(keypoints)
        assert measure[k].item() == pytest.approx(np.sin(np.deg2rad(pip)) * np.sin(np.deg2rad(dip)), abs=0.03)
        backward = pip * dip < 0
        assert bool(has_bend_violation(keypoints, 1e-4)) == backward
        assert bend_penalty(keypoints).item() == pytest.approx(-measure[k].item() if backward else 0, abs=1e-4)
        assert np.sign(backward_bend(keypoints)[k].item()) == np.sign(measure[k].item())


def test_measure_has_no_scale_and_no_place():
    """Turned, moved and ten times as large, a hand bends as much."""
    keypoints = keypoints_of({"index_pip_flexion": 30, "index_dip_flexion": -10})
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    moved = 10 * keypoints @ (turn * torch.linalg.det(turn)) + 3
    torch.testing.assert_close(bend_measures(moved), bend_measures(keypoints))


def test_backward_bend_is_about_the_smaller_angle():
    keypoints = keypoints_of({"ring_pip_flexion": 50, "ring_dip_flexion": -3})
    assert np.rad2deg(backward_bend(keypoints)[2].item()) == pytest.approx(-3, abs=0.6)


def test_gradients_are_exact():
    """Against automatic differentiation, for random keypoints and for fingers straight to a hair."""
    generator = torch.Generator().manual_seed(0)
    straight = keypoints_of({}) + 1e-5 * torch.randn(21, 3, dtype=torch.float64, generator=generator)
    keypoints = torch.stack([torch.randn(21, 3, dtype=torch.float64, generator=generator), straight])
    by_keypoint = jacobian(lambda x: backward_bend(x).sum(0), keypoints)  # (4, B, 21, 3)
    expected = torch.stack([by_keypoint[f][:, list(chain)] for f, chain in enumerate(BEND_CHAINS)], 1)
    measure, found = backward_bend_gradients(keypoints)
    torch.testing.assert_close(measure, backward_bend(keypoints))
    torch.testing.assert_close(found, expected)
