"""Rotations and cameras: round trips where they hurt, and what mirrors, scales and orbits do to points."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from handsynth.core.camera import (
    intrinsics,
    orbit_T_cam_world,
    project,
    projected_bounds,
    resized,
    transform,
    unproject,
)
from handsynth.core.mirror import MIRROR, mirrored
from handsynth.core.rotation import rotmat_geodesic_distance, rotmat_to_rotvec, rotvec_to_rotmat
from handsynth.recipe.samplers import UPRIGHT

RNG_SEED = 7
NEAR_ZERO = (0.0, 1e-12, 1e-9, 1e-7, 9e-5, 1.1e-4, 1e-3)  # the series takes over from Rodrigues' quotients at 1e-4
NEAR_PI = (np.pi - 1e-3, np.pi - 1e-6, np.pi - 1e-9)


def axes(count: int = 200) -> np.ndarray:
    """Random unit vectors, and the coordinate axes with both signs."""
    drawn = np.random.default_rng(RNG_SEED).normal(size=(count, 3))
    return np.concatenate([drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.eye(3), -np.eye(3)])


def points(count: int = 100) -> np.ndarray:
    """Points before a camera, 0.3 to 1 m away."""
    return np.random.default_rng(RNG_SEED).uniform([-0.2, -0.2, 0.3], [0.2, 0.2, 1.0], (count, 3))


K = intrinsics(480.0, (117.25, 140.5))


@pytest.mark.parametrize("angle", [*NEAR_ZERO, 0.1, 1.0, 3.0, *NEAR_PI])
def test_axis_angle_survives_the_matrix(angle):
    """rotmat_to_rotvec inverts rotvec_to_rotmat from zero to pi."""
    rotvec = angle * axes()
    np.testing.assert_allclose(rotmat_to_rotvec(rotvec_to_rotmat(rotvec)), rotvec, atol=2e-8 if angle > 3.1 else 1e-12)


def test_half_a_turn_keeps_its_axis_up_to_sign():
    """At pi exactly the matrix comes back, though the axis may point the other way."""
    rotmat = rotvec_to_rotmat(np.pi * axes())
    again = rotmat_to_rotvec(rotmat)
    np.testing.assert_allclose(np.linalg.norm(again, axis=1), np.pi, atol=1e-7)
    np.testing.assert_allclose(rotvec_to_rotmat(again), rotmat, atol=1e-7)


@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 2)])
def test_rotations_equal_scipys_in_every_batch_shape(shape):
    """Both maps are scipy's, also beyond pi, and results are proper rotations."""
    rotvec = np.random.default_rng(RNG_SEED).normal(0, 3, (*shape, 3))
    flat = rotvec.reshape(-1, 3)
    rotmat = rotvec_to_rotmat(rotvec)
    np.testing.assert_allclose(rotmat.reshape(-1, 3, 3), Rotation.from_rotvec(flat).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(rotmat @ np.swapaxes(rotmat, -1, -2), np.broadcast_to(np.eye(3), rotmat.shape), atol=1e-12)
    np.testing.assert_allclose(
        rotmat_to_rotvec(rotmat).reshape(-1, 3), Rotation.from_matrix(rotmat.reshape(-1, 3, 3)).as_rotvec(), atol=1e-9
    )


def test_geodesic_distance_is_the_angle_between():
    """d(R, R exp(v)) = |v|, d is symmetric and zero on equal rotations."""
    base, turn = rotvec_to_rotmat(2 * axes()), 0.7 * axes()[::-1]
    other = base @ rotvec_to_rotmat(turn)
    np.testing.assert_allclose(rotmat_geodesic_distance(base, other), 0.7, atol=1e-12)
    np.testing.assert_allclose(rotmat_geodesic_distance(other, base), 0.7, atol=1e-12)
    np.testing.assert_allclose(rotmat_geodesic_distance(base, base), 0, atol=1e-7)


def test_unproject_inverts_project():
    """unproject(project(p), depth of p) = p, and the optical axis meets the principal point."""
    p = points()
    np.testing.assert_allclose(unproject(project(p, K), p[:, 2], K), p, atol=1e-12)
    np.testing.assert_allclose(project(np.array([[0, 0, 0.4]]), K), [[117.25, 140.5]])
    assert (project(np.array([[0.1, 0.1, 0.4]]), K) > [117.25, 140.5]).all(), "x runs right and y down"


@pytest.mark.parametrize("scale", [0.25, 0.5, 3.0])
def test_resizing_acts_as_on_points(scale):
    """Projecting with the resized K scales the projection, exactly."""
    np.testing.assert_allclose(project(points(), resized(K, scale)), scale * project(points(), K), rtol=1e-13)


def test_mirroring_acts_as_on_points():
    """Mirrored points through the mirrored K land at W - x; twice is nothing."""
    width, flipped = 256, transform(MIRROR, points())
    xy = project(points(), K)
    np.testing.assert_allclose(project(flipped, mirrored(K, width)), np.stack([width - xy[:, 0], xy[:, 1]], 1), atol=1e-11)
    np.testing.assert_array_equal(mirrored(mirrored(K, width), width), K)
    assert K[0, 2] == 117.25, "the argument is left alone"


TARGET = np.array([0.03, -0.02, 0.11])


def orbit(elevation_deg: float, azimuth_deg: float, roll_deg: float = 0.0, distance: float = 0.7) -> np.ndarray:
    return orbit_T_cam_world(np.deg2rad(elevation_deg), np.deg2rad(azimuth_deg), np.deg2rad(roll_deg), distance, TARGET)


def position(T: np.ndarray) -> np.ndarray:
    """Where the camera stands in the world."""
    return -T[:3, :3].T @ T[:3, 3]


@pytest.mark.parametrize("elevation", range(-90, 91, 15))
@pytest.mark.parametrize("roll", [0, 40])
def test_the_orbit_stands_where_it_is_told_and_looks_at_the_target(elevation, roll):
    """Elevation, azimuth and distance come back from the camera's position; the target is straight ahead."""
    for azimuth in range(0, 360, 15):
        T = orbit(elevation, azimuth, roll)
        R, offset = T[:3, :3], position(T) - TARGET
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(R) == pytest.approx(1)
        np.testing.assert_allclose(transform(T, TARGET[None]), [[0, 0, 0.7]], atol=1e-12)
        assert np.rad2deg(np.arcsin(np.clip(offset[1] / 0.7, -1, 1))) == pytest.approx(elevation, abs=1e-5)
        if abs(elevation) < 90:
            turned = np.rad2deg(np.arctan2(offset[0], offset[2])) - azimuth
            assert (turned + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)
            up_in_image = (R @ [0, 1, 0])[1]
            assert up_in_image < 0 or roll, "without roll the world's up is up in the image"


@pytest.mark.parametrize(("elevation", "sign"), [(90, -1), (-90, 1)])
def test_at_the_poles_azimuth_is_roll(elevation, sign):
    """Straight above and below, cameras of different azimuth stand in one place and differ by a roll of that angle."""
    for azimuth in range(0, 360, 5):
        np.testing.assert_allclose(orbit(elevation, azimuth), orbit(elevation, 0, sign * azimuth), atol=1e-12)


def test_the_orbit_is_continuous_at_the_pole():
    """A hair below the pole the camera is the one at the pole: no up vector flips."""
    for azimuth in (0, 77, 180, 301):
        np.testing.assert_allclose(orbit(90, azimuth), orbit(90 - 1e-7, azimuth), atol=1e-8)


def test_positive_roll_turns_the_image_counter_clockwise():
    """A point at the right of the image moves up."""
    right = TARGET + np.array([0.1, 0, 0])
    (x0, y0), (x1, y1) = (project(transform(orbit(0, 0, roll), right[None]), np.eye(3))[0] for roll in (0, 10))
    assert x0 > 0
    assert abs(y0) < 1e-12
    assert 0 < x1 < x0
    assert y1 < 0


def test_azimuth_zero_sees_the_palm_of_an_upright_hand():
    """The upright hand shows its palm to azimuth 0, fingers up, a right thumb at the right; azimuth 180 sees its back."""
    fingers, palm, thumb = (UPRIGHT @ axis for axis in ([-1.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0]))
    front, back = orbit(0, 0), orbit(0, 180)
    assert palm @ (position(front) - TARGET) == pytest.approx(0.7)
    assert palm @ (position(back) - TARGET) == pytest.approx(-0.7)
    np.testing.assert_allclose(front[:3, :3] @ fingers, [0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(front[:3, :3] @ thumb, [1, 0, 0], atol=1e-12)
    assert np.linalg.det(UPRIGHT) == pytest.approx(1)


def test_projected_bounds_bound_the_projections():
    rng = np.random.default_rng(3)
    for _ in range(20):
        points, K = rng.normal([0, 0, 0.7], 0.05, (50, 3)), intrinsics(rng.uniform(100, 900), tuple(rng.uniform(0, 256, 2)))
        xy = project(points, K)
        np.testing.assert_allclose(projected_bounds(points, K), [*xy.min(0), *xy.max(0)], rtol=1e-12, atol=1e-9)
