"""Equation 3's measure, its sign by geometry and its gradients."""

import numpy as np
import pytest
from hands import hand_of

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
from handsynth.core.rotation import rotvec_to_rotmat

FINGERS = ("index", "middle", "ring", "pinky")


def keypoints_of(angles_deg: dict[str, float]) -> np.ndarray:
    """(21, 3) keypoints of the toy hand, whose fingers are straight at zero."""
    hand = hand_of("toy")
    angles = np.zeros(23)
    for name, angle in angles_deg.items():
        angles[DOF_NAMES.index(name)] = np.deg2rad(angle)
    theta = np.concatenate([np.zeros((1, 3)), embed(angles, hand_dof_matrix(hand))])
    return pose_hand(hand, theta, np.zeros(hand.num_shapes)).keypoints


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
    moved = 10 * keypoints @ rotvec_to_rotmat([1.0, -2.0, 0.5]) + 3
    np.testing.assert_allclose(bend_measures(moved), bend_measures(keypoints), atol=1e-12)


def test_backward_bend_is_about_the_smaller_angle():
    keypoints = keypoints_of({"ring_pip_flexion": 50, "ring_dip_flexion": -3})
    assert np.rad2deg(backward_bend(keypoints)[2].item()) == pytest.approx(-3, abs=0.6)


def test_gradients_are_exact():
    """Against differences, for random keypoints and for fingers nearly straight."""
    rng = np.random.default_rng(0)
    straight = keypoints_of({}) + 1e-3 * rng.normal(size=(21, 3))
    keypoints = np.stack([rng.normal(size=(21, 3)), straight])
    measure, found = backward_bend_gradients(keypoints)
    np.testing.assert_allclose(measure, backward_bend(keypoints), atol=1e-12)
    for finger, chain in enumerate(BEND_CHAINS):
        for place, point in enumerate(chain):
            for axis in range(3):
                step = np.zeros((21, 3))
                step[point, axis] = 1e-7
                change = (backward_bend(keypoints + step) - backward_bend(keypoints - step))[:, finger] / 2e-7
                np.testing.assert_allclose(found[:, finger, place, axis], change, rtol=1e-5, atol=1e-5)
