"""Annotation: depth at pixels, visibility with hand-made occluders, and labels that follow from one another."""

import numpy as np
import pytest

from handsynth.annotate import annotate, depth_at_pixels, keypoint_visibility
from handsynth.core.camera import intrinsics, project
from handsynth.core.conventions import SCHEMA, VISIBLE_TOLERANCE_M
from handsynth.core.hand import keypoints_from_vertices, mirror_points, mirror_theta, pose_hand
from handsynth.core.sample import FIELDS, field_shapes

SIZE = 256
K = intrinsics(400.0, (128.0, 128.0))


@pytest.fixture(scope="module")
def labels(stage):
    """Labels of every recipe of the stage."""
    ambient = np.array([recipe.ambient.color for recipe in stage.recipes])
    background = {"name": "grey", "licence": "none", "replaced": False}
    backgrounds = [background] * len(stage.recipes)
    return annotate(stage.recipes, stage.hands, stage.closed_faces, SIZE, "identity", "toy", ambient, backgrounds)


def test_depth_at_pixels_is_the_depth_pass(stage):
    """At keypoints and at random pixels, the label's depth is what the renderer's depth pass holds there.

    OpenGL places corners on a grid of 1/256 px, so a pixel in a thousand, at a silhouette, may see another surface.
    """
    rng, wrong, seen = np.random.default_rng(0), 0, 0
    for row, view in enumerate(stage.views):
        depth = stage.generator.renderer.render(view, ("depth",)).depth
        keypoints = np.floor(project(stage.hands.keypoints[row], stage.hands.K[row]))
        low, high = np.floor(project(view.vertices, view.K).min(0)), np.ceil(project(view.vertices, view.K).max(0))
        pixels = np.concatenate([keypoints, rng.integers(low, high, (400, 2))]).astype(int)
        found = depth_at_pixels(view.vertices.astype(np.float64), stage.closed_faces, view.K, pixels)
        expected = depth[pixels[:, 1], pixels[:, 0]].astype(float)
        # As inverse depth, background is 0 and nothing is infinite; 0.5 m and 50 um differ by 2e-4.
        same = np.abs(1 / found - np.divide(1, expected, out=np.zeros_like(expected), where=expected > 0)) < 2e-4
        wrong, seen = wrong + (~same).sum(), seen + (expected > 0).sum()
        assert same[:21].mean() > 0.9
    assert wrong < 0.001 * 421 * len(stage.views)
    assert seen > 2000


def wall(depth: float, x: tuple[float, float], y: tuple[float, float]) -> np.ndarray:
    """(4, 3) corners of a rectangle across the optical axis [m]."""
    return np.array([[x[0], y[0], depth], [x[1], y[0], depth], [x[1], y[1], depth], [x[0], y[1], depth]])


WALL_FACES = np.array([[0, 1, 2], [0, 2, 3]])
POINTS = np.array([[0.0, 0.0, 0.5], [0.08, 0.03, 0.5]])


def visible(vertices: np.ndarray, faces: np.ndarray = WALL_FACES, points: np.ndarray = POINTS) -> list[bool]:
    return keypoint_visibility(points, project(points, K), vertices, faces, K, SIZE).tolist()


@pytest.mark.parametrize("faces", [WALL_FACES, WALL_FACES[:, ::-1]])
def test_an_occluder_hides_from_the_tolerance_on(faces):
    """A wall hides the point behind it when it stands more than the tolerance in front, whichever way it faces."""
    near, far = 0.5 - VISIBLE_TOLERANCE_M - 1e-4, 0.5 - VISIBLE_TOLERANCE_M + 1e-4
    x, y = (-0.02, 0.02), (-0.02, 0.02)
    assert visible(wall(near, x, y), faces) == [False, True]
    assert visible(wall(far, x, y), faces) == [True, True]
    assert visible(wall(0.6, x, y), faces) == [True, True], "what stands behind hides nothing"


def test_of_two_walls_the_nearer_counts():
    """In either order of the faces."""
    both = np.concatenate([wall(0.6, (-1, 1), (-1, 1)), wall(0.3, (-0.02, 0.02), (-0.02, 0.02))])
    faces = np.concatenate([WALL_FACES, WALL_FACES + 4])
    assert visible(both, faces) == visible(both, faces[::-1]) == [False, True]


def test_a_slanted_wall_has_the_depth_of_its_plane():
    """Depth is interpolated in perspective: the plane z = 0.4 + x / 2 met by the ray of a pixel's centre."""
    x = np.array([-0.1, 0.1, 0.1, -0.1])
    corners = np.stack([x, np.array([-0.1, -0.1, 0.1, 0.1]), 0.4 + 0.5 * x], 1)
    pixels = np.array([[100, 120], [128, 128], [190, 90]])
    ray_x = (pixels[:, 0] + 0.5 - K[0, 2]) / K[0, 0]
    np.testing.assert_allclose(depth_at_pixels(corners, WALL_FACES, K, pixels), 0.4 / (1 - 0.5 * ray_x), rtol=1e-12)
    assert np.isinf(depth_at_pixels(corners, WALL_FACES, K, np.array([[2, 2]]))).all()


def test_outside_the_image_nothing_is_visible():
    """A point beyond any border is not visible, one on the first pixel is; nothing in front of it is needed."""
    edge = np.array([[0.0, 0.0], [255.99, 255.99], [-0.01, 9.0], [9.0, -0.01], [256.0, 9.0], [9.0, 256.0]])
    points = np.concatenate([(edge - 128) / 400 * 0.5, np.full((6, 1), 0.5)], 1)
    found = keypoint_visibility(points, edge, wall(0.9, (-0.01, 0.01), (-0.01, 0.01)), WALL_FACES, K, SIZE)
    assert found.tolist() == [True, True, False, False, False, False]


def test_labels_are_the_schema(labels):
    """Every field of the schema, no other, in the shape that it states."""
    for found in labels:
        assert set(found) == set(FIELDS)
        for name, shape in field_shapes(SCHEMA, 10).items():
            assert shape is None or np.shape(found[name]) == shape, name


def test_box_is_tight(labels, stage):
    """Every projected vertex lies in bbox_xyxy and each side touches one, within half of the last decimal."""
    for row, found in enumerate(labels):
        xy = project(stage.hands.vertices[row].astype(float), np.array(found["K"]))
        np.testing.assert_allclose(found["bbox_xyxy"], [*xy.min(0), *xy.max(0)], atol=0.51e-4)


def test_labels_follow_from_theta_beta_and_camera(labels, stage):
    """theta, beta and trans as written, posed as their side says and moved by T_cam_world, give keypoints_cam and vertices.

    A left hand's theta and trans are those of the mirrored right hand. Tolerance: 1e-6 m of the grid on both sides.
    """
    hand, sides = stage.library.hand, set()
    for row, found in enumerate(labels):
        theta, trans, left = np.reshape(found["theta"], (16, 3)), np.array(found["trans"]), found["side"] == "left"
        posed = pose_hand(
            hand, *((mirror_theta(theta), found["beta"], mirror_points(trans)) if left else (theta, found["beta"], trans))
        )
        world = mirror_points(posed.vertices) if left else posed.vertices
        T = np.array(found["T_cam_world"])
        vertices = world @ T[:3, :3].T + T[:3, 3]
        np.testing.assert_allclose(stage.hands.vertices[row], vertices, atol=1e-6)
        tips_and_joints = keypoints_from_vertices(hand, vertices)
        np.testing.assert_allclose(found["keypoints_cam"], tips_and_joints, atol=2e-6)
        sides.add(found["side"])
    assert sides == {"right", "left"}


def test_visibility_is_neither_always_nor_never(labels):
    """Over random views each keypoint is seen in some and hidden in others."""
    share = np.mean([found["keypoints_visible"] for found in labels], 0)
    assert (share > 0.2).all()
    assert 0.5 < share.mean() < 0.98
    assert set(np.unique([found["keypoints_visible"] for found in labels])) == {0, 1}
