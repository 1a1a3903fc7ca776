"""The differentiable hands, the layer and the solver's, against the numpy reference, smplx and finite differences."""

import dataclasses

import numpy as np
import pytest
import torch
from hands import draw_feasible, hand_of

from handmesh.kinematics.dof import embed, hand_dof_matrix
from handmesh.kinematics.hand_layer import HandLayer
from handmesh.kinematics.linear import HandState, linear_hand
from handmesh.kinematics.rigid import exp_and_left_jacobian, rotvec_to_rotmat, skew
from handmesh.kinematics.smplx_layer import SmplxLayer
from handsynth.core.hand import HandModel, pose_hand


def random_theta(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.5, (count, 16, 3))


@pytest.mark.parametrize("name", ["toy", "embedded"])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-6), (torch.float64, 1e-7)])
@pytest.mark.parametrize("layer", [HandLayer, SmplxLayer])
def test_layer_poses_as_the_reference(layer, name, dtype, atol):
    """Vertices, joints and keypoints of any theta, beta and translation, to a micrometre; whole batches and one hand."""
    if layer is SmplxLayer:
        pytest.importorskip("smplx")
    hand = hand_of(name)
    theta, rng = random_theta(5), np.random.default_rng(1)
    beta, trans = rng.normal(size=(5, hand.num_shapes)), rng.normal(0, 0.3, (5, 3))
    theta[0] = 0
    for rows in (slice(None), slice(3, 4)):
        found = layer(hand, dtype)(*(torch.tensor(a[rows], dtype=dtype) for a in (theta, beta, trans)))
        expected = pose_hand(hand, theta[rows], beta[rows], trans[rows])
        for key in ("vertices", "joints", "keypoints"):
            assert getattr(found, key).dtype == dtype
            np.testing.assert_allclose(getattr(found, key).numpy(), getattr(expected, key), atol=atol, err_msg=key)


def test_layer_gradients_are_those_of_finite_differences():
    """d (random projection of the vertices) / d (theta, beta, trans), central differences of the *numpy* reference."""
    hand = hand_of("toy")
    rng = np.random.default_rng(0)
    theta, beta, trans = random_theta(1), rng.normal(size=(1, hand.num_shapes)), rng.normal(size=(1, 3))
    pull = rng.normal(size=(hand.num_vertices, 3))
    arrays = [theta, beta, trans]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    (HandLayer(hand, torch.float64)(*tensors).vertices[0] * torch.tensor(pull)).sum().backward()
    for a, (array, tensor) in enumerate(zip(arrays, tensors, strict=True)):
        expected = np.zeros_like(array)
        for i in np.ndindex(array.shape):
            ends = []
            for sign in (1, -1):
                moved = [other.copy() for other in arrays]
                moved[a][i] += sign * 1e-6
                ends.append((pose_hand(hand, *moved).vertices[0] * pull).sum())
            expected[i] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["toy", "embedded"])
@pytest.mark.parametrize(("dtype", "of_largest"), [(torch.float32, 1e-4), (torch.float64, 1e-6)])
def test_layer_equals_smplx_forward_and_backward(name, dtype, of_largest):
    """On the same arrays: places to 1e-6 m, gradients of a random projection of vertices, joints and keypoints by every argument.

    `of_largest` of each gradient's largest entry: rounding of float32 sums over 778 vertices; and in float64 smplx's own error, who
    adds 1e-8 rad to every angle.
    """
    pytest.importorskip("smplx")
    hand = hand_of(name)
    found, expected = (posed_with_gradients(layer(hand, dtype), hand, dtype) for layer in (HandLayer, SmplxLayer))
    for ours, theirs in zip(found[0], expected[0], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    for ours, theirs in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(ours, theirs, atol=of_largest * float(theirs.abs().max()), rtol=0)


def test_comparison_with_smplx_can_fail():
    """A hand without pose blend shapes is seen as another."""
    pytest.importorskip("smplx")
    hand = hand_of("toy")
    other = dataclasses.replace(hand, posedirs=np.zeros_like(hand.posedirs))
    found, expected = (
        posed_with_gradients(layer(h, torch.float64), h, torch.float64) for layer, h in ((HandLayer, hand), (SmplxLayer, other))
    )
    assert (found[0][0] - expected[0][0]).abs().max() > 1e-5
    assert (found[1][0] - expected[1][0]).abs().max() > 1e-4 * expected[1][0].abs().max()


def posed_with_gradients(layer: HandLayer, hand: HandModel, dtype: torch.dtype) -> tuple[tuple, tuple]:
    """What a layer makes of 5 random hands, and the gradients of a random projection of it by theta, beta and translation."""
    rng = np.random.default_rng(3)
    arguments = random_theta(5, 2), rng.normal(size=(5, hand.num_shapes)), rng.normal(0, 0.3, (5, 3))
    tensors = [torch.tensor(a, dtype=dtype, requires_grad=True) for a in arguments]
    posed = layer(*tensors)
    pulls = [torch.tensor(rng.normal(size=tuple(part.shape)), dtype=dtype) for part in posed]
    sum((part * pull).sum() for part, pull in zip(posed, pulls, strict=True)).backward()
    return tuple(part.detach() for part in posed), tuple(t.grad for t in tensors)


@pytest.mark.parametrize("name", ["toy", "embedded"])
def test_linear_hand_poses_as_the_reference(name):
    """The solver's own skinning of (rotation, translation, angles, beta), in both precisions."""
    hand = hand_of(name)
    drawn = draw_feasible(hand, 4)
    for dtype, atol in ((np.float32, 1e-6), (np.float64, 1e-7)):
        vertices, keypoints = linear_hand(hand, dtype).points(drawn.state(dtype))
        np.testing.assert_allclose(vertices, drawn.posed.vertices, atol=atol)
        np.testing.assert_allclose(keypoints, drawn.posed.keypoints, atol=atol)


@pytest.mark.parametrize("name", ["toy", "embedded"])
def test_jacobian_is_exact(name):
    """Every column equals the difference of posed hands: at bent ones, and at the flat one, where rotations are zero."""
    hand = hand_of(name)
    linear, state = linear_hand(hand, np.float64), draw_feasible(hand, 3).state()
    state.angles[0] = 0
    found = np.empty((3, linear.num_unknowns, 3, hand.num_vertices))
    vertices = linear.linearise(linear.skeleton(state), found)
    np.testing.assert_allclose(vertices.swapaxes(1, 2), linear.points(state)[0], atol=1e-12)
    for k in range(linear.num_unknowns):
        step = np.zeros((3, linear.num_unknowns))
        step[:, k] = 1e-6
        change = (linear.points(state.stepped(step))[0] - linear.points(state.stepped(-step))[0]) / 2e-6
        # The embedded hand's stored weights sum to 1 within 1e-7.
        np.testing.assert_allclose(found[:, k].swapaxes(1, 2), change, atol=1e-6)


def test_frozen_shape_leaves_the_other_columns():
    hand = hand_of("toy")
    linear, state = linear_hand(hand, np.float64), draw_feasible(hand, 2).state()
    whole, part = (np.empty((2, count, 3, hand.num_vertices)) for count in (linear.num_unknowns, 29))
    linear.linearise(linear.skeleton(state), whole)
    linear.linearise(linear.skeleton(state), part)
    np.testing.assert_allclose(part, whole[:, :29])
    np.testing.assert_array_equal(state.stepped(np.full((2, 29), 0.1)).beta, state.beta)


def test_layer_and_linear_hand_agree():
    """The layer on embedded angles is the solver's hand at the identity."""
    hand = hand_of("embedded")
    drawn = draw_feasible(hand, 3)
    layer, linear = HandLayer(hand, torch.float64), linear_hand(hand, np.float64)
    state = HandState(np.broadcast_to(np.eye(3), (3, 3, 3)), np.zeros((3, 3)), drawn.angles, drawn.beta)
    theta = np.concatenate([np.zeros((3, 1, 3)), embed(drawn.angles, hand_dof_matrix(hand))], 1)
    found = layer(torch.tensor(theta), torch.tensor(drawn.beta))
    np.testing.assert_allclose(found.vertices, linear.points(state)[0], atol=1e-7)


def test_gradients_at_the_flat_hand_are_finite_and_right():
    """At theta = 0, where every angle is zero: the gradient is that of a hand turned by very little."""
    hand = hand_of("toy")
    layer, beta = HandLayer(hand, torch.float64), torch.zeros(1, hand.num_shapes, dtype=torch.float64)
    pull = torch.randn(1, hand.num_vertices, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for size in (0.0, 1e-7):
        theta = torch.full((1, 16, 3), size, dtype=torch.float64, requires_grad=True)
        (layer(theta, beta).vertices * pull).sum().backward()
        gradients.append(theta.grad)
    assert gradients[0].abs().max() > 0.1
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=0)


def test_exponential_and_its_jacobian():
    """exp is the matrix exponential, and exp(w + d) = exp(J d) exp(w) to first order, from 1e-9 rad to beyond pi."""
    generator = torch.Generator().manual_seed(0)
    w = torch.nn.functional.normalize(torch.randn(60, 3, dtype=torch.float64, generator=generator), dim=-1)
    w = w * torch.logspace(-9, 0.6, 60, dtype=torch.float64)[:, None]
    rotation, left = exp_and_left_jacobian(w)
    torch.testing.assert_close(rotation, torch.matrix_exp(skew(w)), atol=1e-12, rtol=0)
    assert torch.equal(rotation, rotvec_to_rotmat(w))
    for k in range(3):
        d = torch.zeros(3, dtype=torch.float64)
        d[k] = 1e-6
        change = (exp_and_left_jacobian(w + d)[0] - exp_and_left_jacobian(w - d)[0]) / 2e-6
        torch.testing.assert_close(change, skew(left[:, :, k]) @ rotation, atol=1e-8, rtol=0)
