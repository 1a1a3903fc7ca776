"""How much of a tube the image can show: nothing that is left out reaches into it, and little that does not is kept."""

import numpy as np
import pytest

from handsynth.core.camera import project
from handsynth.scene.sight import rings_in_sight

SIZE = 64
K = np.array([[100.0, 0, 30], [0, 100, 33], [0, 0, 1]])


def tubes(seed: int, count: int) -> np.ndarray:
    """(B, 9, 8, 3) straight tubes in any direction, half a metre before the camera where they begin."""
    rng = np.random.default_rng(seed)
    turn = 2 * np.pi * np.arange(8) / 8
    found = []
    for _ in range(count):
        frame, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        section = 0.03 * np.stack([0 * turn, np.cos(turn), np.sin(turn)], -1)
        start = np.array([*rng.uniform(-0.2, 0.2, 2), 0.5])
        along = np.linspace(0, 0.4, 9)[:, None, None] * [1.0, 0, 0]
        found.append(start + (section + along) @ frame.T)
    return np.array(found)


def surface(tube: np.ndarray) -> np.ndarray:
    """(R - 1, M, 3) points of the surface between each ring and the next."""
    share = np.linspace(0, 1, 9)[:, None, None, None]
    around = share * np.roll(tube, -1, 1) + (1 - share) * tube  # (9, R, N, 3)
    between = share[:, None] * around[:, 1:] + (1 - share[:, None]) * around[:, :-1]
    return np.moveaxis(between, 2, 0).reshape(len(tube) - 1, -1, 3)


def test_nothing_that_the_image_shows_is_left_out():
    some = tubes(1, 200)
    counts = rings_in_sight(some, np.tile(K, (len(some), 1, 1)), SIZE)
    assert len(set(counts.tolist())) > 5
    for tube, count in zip(some, counts, strict=True):
        beyond = surface(tube)[max(count - 1, 0) :].reshape(-1, 3)
        beyond = beyond[beyond[:, 2] > 0.011]
        xy = project(beyond, K)
        assert not ((xy > 0) & (xy < SIZE)).all(-1).any()


RING = np.array([[0, 0.02, 0], [0, 0, 0.02], [0, -0.02, 0], [0, 0, -0.02]])


@pytest.mark.parametrize(("x", "expected"), [(0.0, 2), (0.6, 0), (-2.0, 0)])
def test_no_more_rings_are_kept_than_the_image_shows(x, expected):
    """A tube that leads to the right, out of the image after its first ring; and tubes wholly beside it."""
    places = np.array([[x + 0.4 * step, 0, 0.5] for step in range(3)])
    tube = RING + places[None, :, None]
    assert rings_in_sight(tube, K[None], SIZE).tolist() == [expected]


def test_a_tube_that_reaches_behind_the_camera_is_kept_that_far():
    places = np.array([[0.9, 0, 0.5 - 0.2 * step] for step in range(6)])
    assert rings_in_sight(RING + places[None, :, None], K[None], SIZE).tolist() == [6]
