"""The layers of lite-fast that save time: depthwise gradients on small maps, and heatmaps mixed from few lines."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d

from handmesh.keypoints import keypoint_regressor
from handmesh.nets.efficientnet_lite import DepthwiseConv2d
from handmesh.nets.fast import RANK, SmoothLines, skinning_functions, start_smooth
from handmesh.nets.registry import create_net
from handsynth.core.hand import load_hand, pose_hand
from handsynth.core.locations import EMBEDDED
from handsynth.core.toy import toy_hand


@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "contiguous"])
@pytest.mark.parametrize("shape", [(2, 2), (4, 4), (1, 3), (2, 4), (1, 1), (8, 8)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_gradients_are_pytorchs(kernel, shape, last):
    """In training, values and both gradients are those of `conv2d` to rounding; in evaluation the values to the bit."""
    generator = torch.Generator().manual_seed(0)
    layer = DepthwiseConv2d(6, kernel, padding=kernel // 2)
    maps = torch.randn(3, 6, *shape, generator=generator)
    maps = maps.to(memory_format=torch.channels_last) if last else maps
    weigh = torch.randn(3, 6, *shape, generator=generator)

    def gradients(values: torch.Tensor, looked_at: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad((values * weigh).sum(), (looked_at, layer.weight))

    ours, theirs = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    expected = conv2d(theirs, layer.weight, padding=kernel // 2, groups=6)
    for found, wanted in zip(gradients(layer(ours), ours), gradients(expected, theirs), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert torch.equal(layer.eval()(maps), expected)


def test_depthwise_with_a_stride():
    """Strides go PyTorch's way, whatever the size of the map."""
    layer, maps = DepthwiseConv2d(4, 3, stride=2), torch.rand(1, 4, 4, 4)
    torch.testing.assert_close(layer(maps), conv2d(maps, layer.weight, stride=2, groups=4))


def test_posed_hands_are_sums_of_skinning_functions():
    """Any pose of a hand without shape or pose correctives is a sum of the 64 functions; with them all but a millimetre is."""
    hand, rng = load_hand(EMBEDDED / "hand.npz"), np.random.default_rng(0)
    functions = skinning_functions(hand, RANK).double().numpy()
    np.testing.assert_allclose(functions.T @ functions / hand.num_vertices, np.eye(RANK), atol=1e-5)
    theta = rng.normal(scale=0.5, size=(8, hand.num_joints, 3))
    left = {}
    for name, scale in (("plain", 0.0), ("whole", 1.0)):
        kind = dataclasses.replace(hand, posedirs=scale * hand.posedirs)
        beta = scale * rng.normal(size=(8, hand.num_shapes))
        vertices = pose_hand(kind, theta, beta).vertices
        rest = vertices - functions @ (functions.T @ vertices / hand.num_vertices)
        left[name] = np.linalg.norm(rest, axis=-1).mean()
    assert left["plain"] < 1e-7
    assert 1e-5 < left["whole"] < 2e-3


def test_smooth_lines_start_from_the_hand_they_are_for():
    """Mixtures are set, and nothing else; a hand with fewer vertices than functions has as many lines as vertices."""
    hand = toy_hand()
    torch.manual_seed(0)
    net = create_net("lite-fast", keypoint_regressor(hand), pretrained=False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    start_smooth(net, hand)
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"mesh_decoder.head.{axis}.mix.weight" for axis in "xyz"}
    mixed = net.mesh_decoder.head.z.mix.weight[..., 0]
    torch.testing.assert_close(mixed.square().sum(1).mean(), torch.tensor(1.0))  # lines of unit variance stay so
    assert SmoothLines(8, 50)(torch.zeros(2, 8, 64)).shape == (2, 50, 64)
