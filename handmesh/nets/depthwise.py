"""Depthwise convolutions whose weight gradients are cheap on small maps, on a CPU.

PyTorch's CPU library computes the weight gradient of a depthwise convolution on maps of 2 x 2 and 4 x 4 ten times slower than the
convolution itself: a quarter of a training step of EfficientNet-Lite0 on crops of 64 px. A sum for each tap of the kernel is four
to ten times faster there. Values are the same but for the order of summation; other maps and other devices go PyTorch's way.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, pad

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
