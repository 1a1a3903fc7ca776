"""The pose stage: its fast paths against slow twins, the label grid, and left hands as mirrored right ones."""

from dataclasses import replace

import numpy as np
import pytest

from handsynth.core.camera import project
from handsynth.core.conventions import LABEL_GRID_M
from handsynth.core.hand import keypoints_from_vertices, pose_hand
from handsynth.core.mesh import vertex_normals
from handsynth.core.mirror import MIRROR, mirror_points
from handsynth.recipe.samplers import camera_matrices
from handsynth.scene.normals import faces_around, normal_sums, unit_rows
from handsynth.scene.pose import PoseStage, to_label_grid

SIZE = 256


@pytest.fixture(scope="module")
def both_sides(stage):
    """The same recipes posed as right and as left hands."""
    poses = PoseStage(stage.library.hand)
    return [poses.pose([replace(r, side=side) for r in stage.recipes], SIZE) for side in ("right", "left")]


def test_fast_normals_are_the_slow_ones(stage):
    """The sparse product gives core.mesh.vertex_normals, to rounding, on random surfaces."""
    hand = stage.library.hand
    vertices = hand.v_template + np.random.default_rng(0).normal(0, 0.002, (4, hand.num_vertices, 3))
    fast = unit_rows(normal_sums(vertices, hand.faces, faces_around(hand.faces, hand.num_vertices)))
    np.testing.assert_allclose(fast, vertex_normals(vertices, hand.faces), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(fast, axis=-1), 1, atol=1e-12)


def test_points_lie_on_the_label_grid(stage):
    """What is rendered is what is written: vertices are the float32 nearest to the grid, keypoints whole micrometres."""
    vertices, keypoints = stage.hands.vertices, stage.hands.keypoints
    assert vertices.dtype == np.float32
    np.testing.assert_array_equal(to_label_grid(vertices.astype(np.float64)).astype(np.float32), vertices)
    np.testing.assert_allclose(np.round(keypoints, 6), keypoints, rtol=0, atol=1e-15)  # six decimals in JSON lose nothing
    off_grid = np.abs(keypoints / LABEL_GRID_M - np.round(keypoints / LABEL_GRID_M))
    assert off_grid.max() < 1e-6


def test_the_stage_is_posing_then_the_camera(both_sides, stage):
    """Right hands: pose_hand in the world, moved by T_cam_world, within the grid's half step and float32."""
    right, _ = both_sides
    for row, recipe in enumerate(stage.recipes):
        posed = pose_hand(stage.library.hand, np.reshape(recipe.theta, (16, 3)), recipe.beta, recipe.trans)
        K, T = camera_matrices(recipe.camera)
        np.testing.assert_allclose(right.vertices[row], posed.vertices @ T[:3, :3].T + T[:3, 3], atol=6e-7)
        np.testing.assert_allclose(right.keypoints[row], posed.keypoints @ T[:3, :3].T + T[:3, 3], atol=2e-6)
        np.testing.assert_array_equal(right.K[row], K)
        np.testing.assert_array_equal(right.T_cam_world[row], T)


def test_left_is_the_mirror_of_right(both_sides):
    """Points are mirrored in x = 0 of the camera frame, the image at its middle, and the camera stays a rotation."""
    right, left = both_sides
    np.testing.assert_array_equal(left.vertices, mirror_points(right.vertices).astype(np.float32))
    np.testing.assert_array_equal(left.normals, mirror_points(right.normals).astype(np.float32))
    np.testing.assert_allclose(left.keypoints, mirror_points(right.keypoints), atol=1e-12)
    for row in range(len(left.K)):
        xy, flipped = project(right.keypoints[row], right.K[row]), project(left.keypoints[row], left.K[row])
        np.testing.assert_allclose(flipped, np.stack([SIZE - xy[:, 0], xy[:, 1]], 1), atol=1e-9)
        assert np.linalg.det(left.T_cam_world[row, :3, :3]) == pytest.approx(1)
        np.testing.assert_allclose(left.T_cam_world[row], MIRROR @ right.T_cam_world[row] @ MIRROR, atol=1e-15)
    assert left.is_left.all()
    assert not right.is_left.any()


def test_keypoints_are_those_of_the_written_vertices(stage):
    """Regressed from vertices.npy as a reader has it, not from some unrounded surface."""
    expected = keypoints_from_vertices(stage.library.hand, stage.hands.vertices.astype(np.float64))
    np.testing.assert_allclose(stage.hands.keypoints, expected, atol=LABEL_GRID_M / 2 + 1e-12)


def test_a_batch_is_its_rows(stage):
    """A sample posed alone has the bytes that it has in a batch."""
    poses = PoseStage(stage.library.hand)
    for row in (0, 5, 31):
        alone = poses.pose(stage.recipes[row : row + 1], SIZE)
        for name in ("vertices", "normals", "keypoints", "K", "T_cam_world"):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(stage.hands, name)[row], name)


def test_recipes_hold_both_sides(stage):
    """The tests above and those of rendering see right and left hands."""
    assert 10 < stage.hands.is_left.sum() < len(stage.recipes) - 10
