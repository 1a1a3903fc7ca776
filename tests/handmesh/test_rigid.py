"""Closed-form rigid alignment, and the palm's frame."""

import numpy as np
import pytest
import torch
from hands import draw_feasible, hand_of

from handmesh.keypoints import PALM_KEYPOINTS
from handmesh.kinematics.rigid import align_rigid, exp_and_left_jacobian, move, nearest_rotation
from handsynth.core.hand import keypoints_from_vertices
from handsynth.core.rotation import rotmat_geodesic_distance, rotvec_to_rotmat


def random_motion(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    points, rotvec, translation = rng.normal(size=(count, 12, 3)), rng.normal(0, 2, (count, 3)), rng.normal(size=(count, 3))
    return torch.tensor(points), torch.tensor(rotvec_to_rotmat(rotvec)), torch.tensor(translation)


def test_motion_is_found_and_undone():
    points, rotation, translation = random_motion(6)
    moved = move(points, rotation, translation)
    found_r, found_t = align_rigid(points, moved)
    torch.testing.assert_close(found_r, rotation, atol=1e-12, rtol=0)
    torch.testing.assert_close(found_t, translation, atol=1e-12, rtol=0)
    back_r, back_t = align_rigid(moved, points)
    torch.testing.assert_close(move(moved, back_r, back_t), points, atol=1e-12, rtol=0)


def test_mirrored_points_get_a_rotation():
    """Where a reflection fits better, the answer is still a proper rotation, and no rotation nearby is better."""
    points, _, _ = random_motion(4)
    target = points * torch.tensor([-1.0, 1, 1])
    rotation, translation = align_rigid(points, target)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(4, dtype=torch.float64))
    residual = (move(points, rotation, translation) - target).square().sum((1, 2))
    for seed in range(20):
        turn = torch.tensor(rotvec_to_rotmat(np.random.default_rng(seed).normal(0, 0.1, 3)))
        other = turn @ rotation
        centred = (points - points.mean(1, keepdim=True)) @ other.mT - (target - target.mean(1, keepdim=True))
        assert (centred.square().sum((1, 2)) >= residual - 1e-9).all()


def test_weights_count_as_repetition():
    """A point of weight 3 weighs as three points; of weight 0 as none."""
    points, rotation, translation = random_motion(1)
    target = move(points, rotation, translation) + 0.1 * torch.randn(1, 12, 3, dtype=torch.float64)
    weights = torch.ones(1, 12, dtype=torch.float64)
    weights[0, 0], weights[0, 1] = 3, 0
    rows = [0, 0, 0, *range(2, 12)]
    for found, expected in zip(align_rigid(points, target, weights), align_rigid(points[:, rows], target[:, rows]), strict=True):
        torch.testing.assert_close(found, expected)


def test_nearest_rotation_leaves_rotations():
    _, rotation, _ = random_motion(5)
    torch.testing.assert_close(nearest_rotation(3 * rotation), rotation, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["toy", "embedded"])
def test_palm_gives_the_global_rotation(name):
    """Whatever fingers and shape do, wrist and knuckles give the hand's rotation to a few degrees."""
    hand = hand_of(name)
    drawn = draw_feasible(hand, 100)
    palm = list(PALM_KEYPOINTS)
    template = keypoints_from_vertices(hand, hand.v_template)[palm]
    rotation, _ = align_rigid(torch.tensor(template), torch.tensor(drawn.posed.keypoints[:, palm]))
    apart = np.rad2deg(rotmat_geodesic_distance(rotation.numpy(), rotvec_to_rotmat(drawn.root)))
    assert np.median(apart) < 6
    assert apart.max() < 20


def test_both_libraries_give_the_same():
    """The same source in numpy and in torch: to the bit's neighbourhood, with weights and without."""
    points, rotation, translation = random_motion(3)
    target = move(points, rotation, translation) + 0.1
    weights = torch.linspace(0, 1, 12, dtype=torch.float64).expand(3, 12)
    for given in ((points, target), (points, target, weights)):
        for found, expected in zip(align_rigid(*(t.numpy() for t in given)), align_rigid(*given), strict=True):
            np.testing.assert_allclose(found, expected.numpy(), atol=1e-12)
    turns = torch.tensor(np.random.default_rng(0).normal(0, 2, (20, 3)))
    for found, expected in zip(exp_and_left_jacobian(turns.numpy()), exp_and_left_jacobian(turns), strict=True):
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-12)
