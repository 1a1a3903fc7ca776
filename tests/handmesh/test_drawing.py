"""Drawing: the mesh covers the true mask, the nearest surface is seen, and nothing is drawn where nothing is."""

import cv2
import numpy as np
import pytest

from handmesh.data.shards import ShardDataset
from handmesh.estimation.drawing import (
    FINGER_COLOURS,
    draw_mesh,
    draw_outline,
    draw_skeleton,
    legend,
    mesh_mask,
    sheet,
    spread_colours,
    spread_limits,
)
from handsynth.core.camera import intrinsics, project, resized
from handsynth.core.hand import pose_hand
from handsynth.core.mirror import mirror_points, mirrored
from handsynth.core.shard import read_shard
from handsynth.core.toy import toy_hand

HAND = toy_hand()
K = intrinsics(200, (32, 32))
GREY = np.full((64, 64, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def vertices() -> np.ndarray:
    theta = np.random.default_rng(3).normal(0, 0.3, (16, 3))
    return pose_hand(HAND, theta, np.zeros(10), np.array([0.03, 0, 0.6])).vertices


def test_mesh_covers_the_true_mask(hand_shards):
    """Drawn with the labels of a sample, left or right, the mesh covers the very pixels of the dataset's mask."""
    masks = {}
    for shard in hand_shards.glob("*.tar"):
        for index, members in read_shard(shard):
            masks[index] = cv2.imdecode(np.frombuffer(members["mask.png"], np.uint8), cv2.IMREAD_GRAYSCALE) > 0
    data = ShardDataset(hand_shards)
    records = [data.read(k) for k in range(len(data))]
    assert {record.side for record in records} == {"right", "left"}
    for record in records:
        drawn, true = mesh_mask(record.vertices, HAND.faces, record.K, 64, 64), masks[record.index]
        assert (drawn & true).sum() / (drawn | true).sum() > 0.99


def test_nearest_surface_is_seen():
    """Where two triangles cross, each pixel shows the nearer one, in whatever order they come."""
    far_left = [[-0.3, -0.3, 1.4], [0.3, -0.3, 0.8], [0, 0.4, 1.1]]  # red: nearer on the right
    far_right = [[-0.3, -0.3, 0.8], [0.3, -0.3, 1.4], [0, 0.4, 1.1]]  # blue: nearer on the left
    vertices = np.array(far_left + far_right)
    std = np.repeat([100.0, 0.0], 3)
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    images = [draw_mesh(GREY, vertices, f, K, std, opacity=1) for f in (faces, faces[::-1], faces[:, ::-1])]
    for drawn in images[1:]:
        np.testing.assert_array_equal(drawn, images[0])
    red, blue = (images[0][..., c].astype(int) for c in (0, 2))
    row = 20
    inside = np.flatnonzero((images[0][row] != 90).any(-1))
    assert len(inside) > 30
    assert (red > blue)[row, inside[inside > 33]].all()
    assert (red < blue)[row, inside[inside < 30]].all()


def test_colour_is_perspective_correct():
    """The middle of an edge in space, not that of its image, shows the mean of the colours at its ends."""
    near, far, up = np.array([-0.1, 0, 0.5]), np.array([0.4, 0, 2.0]), np.array([0, -0.05, 0])
    vertices, std = np.stack([near + up, far + up, far - up, near - up]), np.array([0.0, 20.0, 20.0, 0.0])
    drawn = draw_mesh(GREY, vertices, np.array([[0, 1, 2], [0, 2, 3]]), K, std, zoom=4, opacity=1, limits_mm=(0, 20))
    x, y = project((near + far) / 2, resized(K, 4)).astype(int)
    mean = spread_colours(np.array([0.0, 20.0]), (0, 20)).mean(0)
    np.testing.assert_allclose(drawn[y, x] / drawn[y, x].max(), mean / mean.max(), atol=0.03)  # the quad is shaded evenly


def test_winding_and_side_do_not_matter(vertices):
    """Faces turned inside out give the same image; a mirrored hand covers the mirrored pixels."""
    drawn = draw_mesh(GREY, vertices, HAND.faces, K)
    np.testing.assert_array_equal(draw_mesh(GREY, vertices, HAND.faces[:, ::-1], K), drawn)
    mask = mesh_mask(vertices, HAND.faces, K, 64, 64)
    flipped = mesh_mask(mirror_points(vertices), HAND.faces, mirrored(K, 64), 64, 64)
    np.testing.assert_array_equal(flipped[:, ::-1], mask)
    assert 200 < mask.sum() < 3000


def test_only_the_mesh_is_drawn(vertices):
    """Pixels away from the mesh keep their value, opacity 0 changes nothing, and the given image is never written to."""
    before = GREY.copy()
    drawn = draw_mesh(GREY, vertices, HAND.faces, K)
    near = cv2.dilate(mesh_mask(vertices, HAND.faces, K, 64, 64).astype(np.uint8), np.ones((3, 3))) > 0
    assert (drawn[~near] == 90).all()
    assert (drawn[mesh_mask(vertices, HAND.faces, K, 64, 64)] != 90).any(-1).mean() > 0.99
    np.testing.assert_array_equal(draw_mesh(GREY, vertices, HAND.faces, K, opacity=0), GREY)
    draw_outline(GREY, vertices, HAND.faces, K)
    draw_skeleton(GREY, np.full((21, 2), 20.0))
    np.testing.assert_array_equal(GREY, before)


@pytest.mark.parametrize("shift", [[0, 0, -2], [9, 0, 0], [0, -9, 0]])
def test_nothing_to_see(vertices, shift):
    """A mesh behind the camera or outside the image leaves it as it is."""
    np.testing.assert_array_equal(draw_mesh(GREY, vertices + shift, HAND.faces, K), GREY)
    np.testing.assert_array_equal(draw_outline(GREY, vertices + shift, HAND.faces, K), GREY)


def test_wild_predictions_are_drawn(vertices):
    """NaN, points in the camera's plane and a mesh that fills the image: the rest is drawn, and quickly."""
    wild = vertices.copy()
    wild[3], wild[50] = np.nan, [0.1, 0.1, 0]
    assert (draw_mesh(GREY, wild, HAND.faces, K) != 90).any()
    huge = draw_mesh(np.full((1200, 1200, 3), 90, np.uint8), vertices * [1, 1, 0.1], HAND.faces, resized(K, 18))
    assert (huge != 90).any(-1).mean() > 0.3


def test_zoom_draws_at_the_larger_size(vertices):
    large = draw_mesh(GREY, vertices, HAND.faces, K, zoom=3)
    np.testing.assert_array_equal(large, draw_mesh(np.full((192, 192, 3), 90, np.uint8), vertices, HAND.faces, resized(K, 3)))
    mask = mesh_mask(vertices, HAND.faces, resized(K, 3), 192, 192)
    outline = (draw_outline(GREY, vertices, HAND.faces, K, zoom=3) != 90).any(-1)
    border = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    assert (outline & border).sum() > 0.9 * (border & mask).sum()


def test_spread_colours():
    """The scale runs from blue to red; what lies beyond an end has its colour, and the unknown is red."""
    blue, below, red, above, unknown = spread_colours(np.array([10.0, 0.0, 20.0, 500.0, np.nan]), (10, 20)).astype(int)
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert (blue == below).all()
    assert (red == above).all()
    assert (red == unknown).all()
    assert legend(300, (10, 20)).shape[1] == 300


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (3.2, 3.9), (152.9, 185.5), (0.4, 900.0), (7.0, 7.0)])
def test_spread_limits(low, high):
    """Round figures about nearly all values, and never a scale of no length."""
    found = spread_limits(np.append(np.linspace(low, high, 500), np.nan))
    assert found[0] <= low + 0.03 * (high - low)
    assert found[1] >= high - 0.03 * (high - low)
    assert found[0] < found[1]
    assert found[1] - found[0] <= 3 * max(high - low, 1e-2)
    assert all(float(f"{end:.3g}") == pytest.approx(end) for end in found)


def test_skeleton(vertices):
    """Each keypoint shows its finger's colour."""
    points = np.random.default_rng(0).permutation(25)[:21]
    xy = np.stack([20 + 40 * (points % 5), 20 + 40 * (points // 5)], 1) + 0.5
    drawn = draw_skeleton(np.zeros((220, 220, 3), np.uint8), xy)
    for k in range(21):
        x, y = xy[k].astype(int)
        assert tuple(drawn[y, x]) == FINGER_COLOURS[(k + 3) // 4]


def test_sheet():
    """Tiles stand in reading order, in cells as large as the largest."""
    tiles = [np.full((10 + k, 20, 3), 40 * (k + 1), np.uint8) for k in range(5)]
    page = sheet(tiles, 2, gap=3)
    assert page.shape == (3 + 3 * 17, 3 + 2 * 23, 3)
    for k in range(5):
        row, column = divmod(k, 2)
        assert (page[3 + 17 * row + 7, 3 + 23 * column : 23 + 23 * column] == 40 * (k + 1)).all()
        assert (page == 40 * (k + 1)).all(-1).sum() == (10 + k) * 20
    assert sheet(tiles, 2, titles=["left", "right"]).shape[0] > sheet(tiles, 2).shape[0]
    with pytest.raises(ValueError, match="at least one"):
        sheet([], 2)
