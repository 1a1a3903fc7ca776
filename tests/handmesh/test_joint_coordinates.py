"""Joint coordinates: composed rotations against the paper's sums, and the forward kinematics of rigid links."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from hands import EMBEDDED, draw_feasible, hand_of

from handmesh.kinematics.dof import DOF_NAMES, DOFS, dof_limits, embed, hand_dof_matrix, project
from handmesh.kinematics.joint_coordinates import (
    KNUCKLE_NAMES,
    NODE_DOFS,
    from_joint_coordinates,
    revolute_axes,
    revolute_kinematics,
    revolute_rotations,
    rigid_keypoints,
    to_joint_coordinates,
)
from handsynth.core.conventions import FINGER_JOINTS, KEYPOINT_NAMES
from handsynth.core.hand import pose_hand
from handsynth.core.rotation import rotmat_geodesic_distance, rotvec_to_rotmat

ONE = [rows[0] for rows in NODE_DOFS.values() if len(rows) == 1]
TWO = [rows for rows in NODE_DOFS.values() if len(rows) == 2]
THREE = [rows for rows in NODE_DOFS.values() if len(rows) == 3]
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", params=["embedded", "toy"])
def hand(request):
    return hand_of(request.param)


def sums(hand, angles):
    """(..., 15, 3, 3) rotations of the paper's hand."""
    return rotvec_to_rotmat(embed(angles, hand_dof_matrix(hand)))


def left_over(hand, angles, coordinates):
    """(..., 15) angle between the paper's joint and the revolute joints [deg], measured and not derived."""
    return np.rad2deg(rotmat_geodesic_distance(sums(hand, angles), revolute_rotations(hand, coordinates)))


def test_axes_of_a_joint_are_a_right_handed_frame(hand):
    """What makes the conversion independent of the hand: orthonormal, and the third is the product of the first two."""
    axes = revolute_axes(hand)
    assert sorted(map(len, NODE_DOFS.values())) == [1] * 9 + [2] * 4 + [3] * 2
    for first, second in TWO:
        assert abs(axes[first] @ axes[second]) < 1e-12
    for first, second, third in THREE:
        np.testing.assert_allclose(np.cross(axes[first], axes[second]), axes[third], atol=1e-12)


def test_one_and_three_axes_are_exact(hand):
    """The revolute joints make the very rotation of the sum, and the way back gives the same angles, far beyond the limits too."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(-1.5, 1.5, (3, 50, 23))
    coordinates, _ = to_joint_coordinates(angles)
    exact = [DOFS[rows[0]].node - 1 for rows in NODE_DOFS.values() if len(rows) != 2]
    assert left_over(hand, angles, coordinates)[..., exact].max() < 1e-5
    np.testing.assert_array_equal(coordinates[..., ONE], angles[..., ONE])
    for rows in THREE:
        assert np.abs(coordinates - angles)[..., rows].max() > 0.1  # they are not the same numbers
        np.testing.assert_allclose(from_joint_coordinates(coordinates).values[..., rows], angles[..., rows], atol=1e-9)


def test_gimbal_lock_is_no_exception():
    """Where the middle revolute joint stands at a right angle the rotation is still met."""
    hand, coordinates = hand_of("toy"), np.zeros((1, 23))
    coordinates[0, THREE[0]] = 0.4, np.pi / 2, -0.3
    again = to_joint_coordinates(from_joint_coordinates(coordinates).values).values
    assert rotmat_geodesic_distance(revolute_rotations(hand, coordinates), revolute_rotations(hand, again)).max() < 1e-6


def test_flat_and_single_motions_are_the_same(hand):
    """One degree of freedom at a time: a sum of one is a product of one, and nothing is left."""
    angles = np.concatenate([np.zeros((1, 23)), 0.7 * np.eye(23)])
    for converted in (to_joint_coordinates(angles), from_joint_coordinates(angles)):
        np.testing.assert_allclose(converted.values, angles, atol=1e-12)
        assert converted.residual_deg.max() < 1e-5


def test_residual_is_the_angle_between_the_rotations(hand):
    """Both ways, of each knuckle by its name."""
    values = draw_feasible(hand, 40).angles
    nodes = [FINGER_JOINTS[name.removesuffix("_mcp")][0] - 1 for name in KNUCKLE_NAMES]
    coordinates, residual = to_joint_coordinates(values)
    np.testing.assert_allclose(left_over(hand, values, coordinates)[:, nodes], residual, atol=1e-5)
    assert residual.max() > 5
    angles, residual = from_joint_coordinates(values)
    np.testing.assert_allclose(left_over(hand, angles, values)[:, nodes], residual, atol=1e-5)


@pytest.mark.parametrize("back", [False, True], ids=["to coordinates", "from coordinates"])
def test_no_other_knuckle_is_nearer(back):
    """Least rotation distance: a fine search over both angles finds nothing better than the closed form."""
    hand = hand_of("toy")
    given = np.zeros((6, 23))
    given[:, TWO[0]] = np.random.default_rng(1).uniform((-0.6, -0.4), (0.6, 1.6), (6, 2))
    found = (from_joint_coordinates if back else to_joint_coordinates)(given)
    grid = np.zeros((101, 101, 23))
    grid[..., TWO[0]] = np.stack(np.meshgrid(np.linspace(-1, 1, 101), np.linspace(-0.6, 2.2, 101), indexing="ij"), -1)
    node = DOFS[TWO[0][0]].node - 1
    targets = (revolute_rotations if back else sums)(hand, given)[:, node]
    reachable = (sums if back else revolute_rotations)(hand, grid)[..., node, :, :]
    for target, value, residual in zip(targets, found.values[:, TWO[0]], found.residual_deg[:, 0], strict=True):
        distance = np.rad2deg(rotmat_geodesic_distance(target, reachable))
        assert distance.min() > residual - 1e-6
        assert distance.min() < residual + 1.2  # the grid has 1.1 and 1.6 degrees
        best = np.unravel_index(distance.argmin(), distance.shape)
        assert np.abs(grid[(*best, TWO[0])] - value).max() < 0.15


def test_kinematics_is_posing_without_the_skin(hand):
    """With the paper's rotations the rigid hand's joints are `pose_hand`'s nodes; the tips are rest vertices, carried along."""
    drawn = draw_feasible(hand, 5)
    theta = np.concatenate([np.zeros((5, 1, 3)), embed(drawn.angles, hand_dof_matrix(hand))], 1)
    for angles, beta, pose in zip(drawn.angles, drawn.beta, theta, strict=True):
        points = rigid_keypoints(hand, beta, sums(hand, angles))
        joints = pose_hand(hand, pose, beta).joints
        nodes = [k for k, name in enumerate(KEYPOINT_NAMES) if not name.endswith("_tip")]
        np.testing.assert_allclose(points[nodes], joints[[0, 13, 14, 15, 1, 2, 3, 4, 5, 6, 10, 11, 12, 7, 8, 9]], atol=1e-12)
    flat = pose_hand(hand, np.zeros((16, 3)), drawn.beta[0])
    at_rest = revolute_kinematics(hand, drawn.beta[0], np.zeros(23))
    tips = [k for k, name in enumerate(KEYPOINT_NAMES) if name.endswith("_tip")]
    np.testing.assert_allclose(at_rest[tips], flat.keypoints[tips], atol=1e-12)


def test_links_are_rigid_and_batches_agree(hand):
    """Bones keep their lengths in any pose, and a batch is its hands one by one."""
    drawn = draw_feasible(hand, 6)
    many = revolute_kinematics(hand, drawn.beta[0], drawn.angles.reshape(2, 3, 23)).reshape(6, 21, 3)
    flat = revolute_kinematics(hand, drawn.beta[0], np.zeros(23))
    for coordinates, points in zip(drawn.angles, many, strict=True):
        np.testing.assert_allclose(revolute_kinematics(hand, drawn.beta[0], coordinates), points, atol=1e-12)
        for finger in range(5):
            chain = [0, *range(1 + 4 * finger, 5 + 4 * finger)]
            np.testing.assert_allclose(
                np.linalg.norm(np.diff(points[chain], axis=0), axis=1), np.linalg.norm(np.diff(flat[chain], axis=0), axis=1)
            )


def test_abduction_is_the_joint_at_the_palm():
    """Bending a knuckle does not change the axis of its abduction; abduction carries the axis of flexion along."""
    hand = hand_of("toy")
    abduction, flexion = DOF_NAMES.index("index_mcp_abduction"), DOF_NAMES.index("index_mcp_flexion")
    coordinates = np.zeros((2, 23))
    coordinates[:, flexion] = 0.9
    coordinates[1, abduction] = 0.3
    bent, turned = revolute_rotations(hand, coordinates)[:, DOFS[flexion].node - 1]
    np.testing.assert_allclose(turned @ bent.T, rotvec_to_rotmat(0.3 * revolute_axes(hand)[abduction]), atol=1e-12)


def test_benchmark_measures_the_bank(tmp_path, monkeypatch):
    """`benchmarks/joint_coordinates.py` on a few poses: the residuals are the conversion's, a flat hand has none, rows have their
    origin.
    """
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import joint_coordinates as benchmark

    hand, flat = hand_of("embedded"), np.zeros((2, 23))
    for row in benchmark.compare(hand, flat, "flat"):
        assert max(row[key] for key in row if key.endswith(("_deg", "_mm", "_percent"))) < 1e-4
    theta = np.load(EMBEDDED / "poses.npz")["theta"][::150].astype(float)
    residual = to_joint_coordinates(project(theta, hand_dof_matrix(hand))).residual_deg
    monkeypatch.setattr(sys, "argv", ["joint_coordinates.py", "--every", "150", "--out", str(tmp_path / "h.csv")])
    benchmark.main()
    rows = list(csv.DictReader(open(tmp_path / "h.csv", newline="")))
    bank = {row["finger"]: row for row in rows if row["poses"] == "bank"}
    assert float(bank["index"]["mcp_residual_mean_deg"]) == pytest.approx(residual[:, 0].mean(), rel=1e-3)
    assert float(bank["thumb"]["mcp_residual_max_deg"]) == 0
    assert all(row["command"] and row["commit"] for row in rows)


def test_limits_hold_along_each_axis(hand):
    """An angle at the limit of one axis is a joint coordinate at the same limit: why one table serves both."""
    limits = dof_limits(hand.joint_limits)
    for k in range(23):
        angles = np.zeros((2, 23))
        angles[:, k] = limits[k]
        np.testing.assert_allclose(to_joint_coordinates(angles).values, angles, atol=1e-12)
