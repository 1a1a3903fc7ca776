"""The terms of equation 4 against sums made by hand, their masks and their gradients."""

import math

import pytest
import torch

from handmesh.losses import Target, edge_loss, inside, lixel_losses, normal_loss, point_loss, total_loss
from handmesh.nets.mesh_net import Prediction

FACES = torch.tensor([[0, 1, 2]])
TRIANGLE = torch.tensor([[[10.0, 10, 10], [13, 10, 10], [10, 14, 10]]])  # edges 3, 4, 5 in the plane z = 10
ALL = torch.ones(1, 3)


def test_point_loss_by_hand():
    """Mean of absolute coordinate differences over all elements; a masked point adds zero and still divides."""
    predicted = TRIANGLE + torch.tensor([[[1.0, 0, 0], [0, -2, 0], [0, 0, 6]]])
    assert point_loss(predicted, TRIANGLE, ALL).tolist() == pytest.approx([9 / 9])
    assert point_loss(predicted, TRIANGLE, torch.tensor([[1.0, 1, 0]])).tolist() == pytest.approx([3 / 9])


def test_edge_loss_by_hand():
    """Twice the triangle: edges 6, 8, 10 against 3, 4, 5; with a vertex masked, only the edge between the others counts."""
    assert edge_loss(2 * TRIANGLE, TRIANGLE, FACES, ALL).tolist() == pytest.approx([(3 + 4 + 5) / 3])
    assert edge_loss(2 * TRIANGLE, TRIANGLE, FACES, torch.tensor([[0.0, 1, 1]])).tolist() == pytest.approx([5 / 3])
    twice = FACES.repeat(2, 1)
    assert edge_loss(2 * TRIANGLE, TRIANGLE, twice, ALL).tolist() == pytest.approx([(3 + 4 + 5) / 3])


def test_normal_loss_by_hand():
    """Zero in the true plane, however the triangle lies there; one vertex lifted by 3 tilts two edges by known angles."""
    assert normal_loss(TRIANGLE[:, [1, 2, 0]] * 0.7, TRIANGLE, FACES, ALL).item() == pytest.approx(0, abs=1e-6)
    lifted = TRIANGLE + torch.tensor([[[0.0, 0, 0], [0, 0, 3], [0, 0, 0]]])
    expected = (3 / math.hypot(3, 3) + 3 / math.hypot(5, 3)) / 3  # edges 0-1, 1-2; edge 0-2 stays in the plane
    assert normal_loss(lifted, TRIANGLE, FACES, ALL).item() == pytest.approx(expected, rel=1e-5)
    assert normal_loss(lifted, TRIANGLE, FACES, torch.tensor([[1.0, 1, 0]])).item() == 0


def test_each_sample_has_its_own_loss():
    """(B,): a second sample with no error has none, whatever the first has."""
    target = TRIANGLE.expand(2, 3, 3)
    predicted = target.clone()
    predicted[0] *= 2
    mask = torch.ones(2, 3)
    for losses in (point_loss(predicted, target, mask), edge_loss(predicted, target, FACES, mask)):
        assert losses.shape == (2,)
        assert losses[0] > 1
        assert losses[1].item() == pytest.approx(0, abs=1e-6)


def test_inside():
    """The heatmaps' range is half open on every axis."""
    points = torch.tensor([[[0.0, 0, 0], [63.99, 63, 63], [64, 5, 5], [5, -0.01, 5], [5, 5, 64]]])
    assert inside(points).tolist() == [[1, 1, 0, 0, 0]]


def test_points_outside_teach_nothing():
    """No gradient reaches a vertex whose truth lies outside the heatmaps, by any term."""
    target = TRIANGLE.clone()
    target[0, 2, 2] = 64.0
    vertices = (TRIANGLE + torch.rand(1, 3, 3, generator=torch.Generator().manual_seed(0))).requires_grad_()
    unused = torch.zeros(1, 3, 3)
    prediction = Prediction(unused, unused, vertices, unused)
    terms = lixel_losses(prediction, unused, Target(unused, target), FACES)
    total_loss(terms).backward()
    assert vertices.grad is not None
    assert vertices.grad[0, 2].abs().max() == 0
    assert vertices.grad[0, :2].abs().max() > 0


def test_gradients_are_finite_where_edges_have_no_length():
    """All vertices in one place, as untrained nets predict them, predicted or true: every term and gradient is finite."""
    point = torch.full((1, 3, 3), 31.5)
    for predicted, target in ((point, TRIANGLE), (TRIANGLE, point), (point, point)):
        vertices = predicted.clone().requires_grad_()
        prediction = Prediction(vertices, vertices, vertices, vertices)
        loss = total_loss(lixel_losses(prediction, vertices, Target(target, target), FACES))
        loss.backward()
        assert torch.isfinite(loss)
        assert vertices.grad is not None
        assert torch.isfinite(vertices.grad).all()


def test_equation_4_weighs_its_terms():
    """The sum of the five terms, the normals' by a tenth."""
    names = ("pose_posenet", "pose_meshnet", "vertex", "edge", "normal")
    terms = {name: torch.full((2,), 10.0**k) for k, name in enumerate(names)}
    assert total_loss(terms).item() == pytest.approx(1 + 10 + 100 + 1000 + 0.1 * 10000)
