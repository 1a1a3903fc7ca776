"""1-D heatmaps ("lixels"): read by heads, one line of bins per axis for every point, and drawn anew for MeshNet to look at."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from handmesh.lixels import LIXELS
from handmesh.nets.backbones import Levels


def soft_argmax_1d(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(..., D) logits -> mean (...) and standard deviation (...) of the softmaxed bin indices 0..D-1, in bins, float32.

    Temperature 1. The standard deviation is floored at 1e-3 bins, so that its gradient stays finite at a sharp peak.
    """
    probability = torch.softmax(logits.float(), dim=-1)
    bins = torch.arange(logits.shape[-1], device=logits.device, dtype=probability.dtype)
    mean = (probability * bins).sum(-1)
    variance = (probability * (bins - mean.unsqueeze(-1)).square()).sum(-1)
    return mean, variance.clamp_min(1e-6).sqrt()


EDGE, CENTRE = 0.0, 0.5
"""Where in a bin its place is, in bins from its lower end: at that end as in the original, or in the middle of what it covers."""


class Binned(nn.Module):
    """A module that reads lines of bins, or draws them: bin i of D is at (i + bin_offset) * 64 / D lixels.

    At EDGE a line of 16 bins ends at lixel 60, and maps, whose pixels cover bins from end to end, see half a bin (2 lixels) less
    than they have to say. It is no weight: `set_bins` sets it for a whole net, and a run's settings keep it.
    """

    bin_offset: float = EDGE


def set_bins(net: nn.Module, offset: float) -> None:
    """Every module of a net agrees on the place of its bins, EDGE or CENTRE."""
    for module in net.modules():
        if isinstance(module, Binned):
            module.bin_offset = offset


class Points(NamedTuple):
    """What a decoder finds: N points, and the maps that it read them from."""

    position: Tensor  # (B, N, 3) lixels, axes x, y, z
    std: Tensor  # (B, N, 3) lixels, one standard deviation: the heatmap's times the point's `std_scale`
    maps: Tensor  # (B, C, H, W)


Lines = Callable[[int, int], nn.Module]
"""(channels, N) -> a module from (B, channels, D) features to (B, N, D) logits."""


def pointwise_lines(channels: int, num_points: int) -> nn.Module:
    """Each point's own: a 1x1 convolution."""
    return nn.Conv1d(channels, num_points, 1)


def line_means(maps: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) -> (B, C, W) means over columns and (B, C, H) means over rows."""
    return _LineMeans.apply(maps) if maps.requires_grad else (maps.mean(2), maps.mean(3))


class _LineMeans(torch.autograd.Function):
    """Means whose gradient lies in memory as the maps do.

    PyTorch's own comes with channels first, whatever the maps; the layers before it then meet two layouts at once, and the
    gradients of Swish and batch norm take seven times as long on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> tuple[Tensor, Tensor]:
        ctx.size = maps.shape[2:]
        ctx.channels_last = maps.is_contiguous(memory_format=torch.channels_last)
        return maps.mean(2), maps.mean(3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_columns: Tensor, to_rows: Tensor) -> Tensor:
        height, width = ctx.size
        to_columns, to_rows = to_columns / height, to_rows / width
        if not ctx.channels_last:
            return to_columns.unsqueeze(2) + to_rows.unsqueeze(3)
        to_columns, to_rows = to_columns.transpose(1, 2).contiguous(), to_rows.transpose(1, 2).contiguous()
        return (to_columns.unsqueeze(1) + to_rows.unsqueeze(2)).permute(0, 3, 1, 2)


class LixelHead(Binned):
    """Three layers over lines of features (`lines`): averaged along y for x, along x for y, and a line of depth for z.

    Args:
        num_points: N.
        map_channels: of the maps.
        depth_channels: of the line of depth.
        gain: multiplies the averages; the paper's nets have 1.
        lines: (channels, num_points) -> the layer from features to lines; the paper's nets have a 1x1 convolution.

    Nothing in equation 4 asks a heatmap to be as wide as its error. In practice it is several times wider, and widest where points
    are easiest: at the palm, and not at the fingertips. So each point has a factor for each axis, 1 until
    `HandMeshNet.calibrate_std` sets it.
    """

    std_scale: Tensor

    def __init__(self, num_points: int, map_channels: int, depth_channels: int, gain: float = 1.0, lines: Lines = pointwise_lines):
        super().__init__()
        self.gain = gain
        self.x, self.y = lines(map_channels, num_points), lines(map_channels, num_points)
        self.z = lines(depth_channels, num_points)
        self.register_buffer("std_scale", torch.ones(num_points, 3))

    def forward(self, maps: Tensor, depth: Tensor) -> Points:
        """(B, map_channels, H, W) and (B, depth_channels, D) -> N points; x has W bins, y has H, z has D."""
        along_x, along_y = line_means(maps)
        lines = self.x(self.gain * along_x), self.y(self.gain * along_y), self.z(depth)
        found = [soft_argmax_1d(line) for line in lines]
        scale = [LIXELS / line.shape[-1] for line in lines]  # bins of whatever number span the same 64 lixels
        position = torch.stack([(mean + self.bin_offset) * s for (mean, _), s in zip(found, scale, strict=True)], -1)
        std = torch.stack([deviation * s for (_, deviation), s in zip(found, scale, strict=True)], -1)
        return Points(position, std * self.std_scale, maps)


class DepthLayer(nn.Module):
    """Pooled features to a line of depth bins, as in the original: one 1x1 convolution makes all width x bins values."""

    def __init__(self, channels: int, width: int = 256, bins: int = LIXELS):
        super().__init__()
        self.width = width
        self.expand = nn.Sequential(nn.Conv1d(channels, width * bins, 1), nn.BatchNorm1d(width * bins), nn.ReLU(inplace=True))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, width, bins), channel-major with the bin fastest."""
        pooled = features.mean((2, 3)).unsqueeze(-1)
        return self.expand(pooled).squeeze(-1).unflatten(1, (self.width, -1))


class LixelDecoder(nn.Module):
    """The paper's decoder: the deepest features, upsampled, give x and y; pooled, they give z.

    Args:
        upsample: (B, C, h, w) -> (B, 256, H, W).
        channels: C.
        num_points: N, points to find.
    """

    def __init__(self, upsample: nn.Module, channels: int, num_points: int, width: int = 256):
        super().__init__()
        self.upsample, self.depth = upsample, DepthLayer(channels, width)
        self.head = LixelHead(num_points, width, width)

    def forward(self, levels: Levels) -> Points:
        """Feature maps, of which the last is looked at -> N points."""
        return self.head(self.upsample(levels[-1]), self.depth(levels[-1]))


SIGMA_LIXELS = 2.5
"""Standard deviation of the Gaussians (Moon and Lee 2020)."""


def gaussian_line(position: Tensor, bins: int, offset: float = EDGE) -> Tensor:
    """(B, P) positions [lixels] -> (B, P, bins) Gaussians of peak 1, sampled at the bins' places (`Binned`)."""
    places = (torch.arange(bins, device=position.device, dtype=position.dtype) + offset) * (LIXELS / bins)
    return torch.exp((places - position.unsqueeze(-1)).square() * (-0.5 / SIGMA_LIXELS**2))


def gaussian_volume(keypoints: Tensor, height: int, width: int, offset: float = EDGE) -> Tensor:
    """(B, P, 3) keypoints [lixels] -> (B, P * 64, height, width), keypoint-major, depth inside: the product of three lines."""
    x, y, z = (gaussian_line(keypoints[..., axis], bins, offset) for axis, bins in enumerate((width, height, LIXELS)))
    plane = y.unsqueeze(-1) * x.unsqueeze(-2)  # (B, P, H, W)
    return (z[..., None, None] * plane.unsqueeze(2)).flatten(1, 2)


class VolumeAggregation(Binned):
    """The paper's: the Gaussian volume and the early features, concatenated and taken through one block.

    The block sees early_channels + 64 P channels; the lite nets' double the resolution, the original's keeps it.
    """

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, early: Tensor, found: Points) -> Tensor:
        """(B, C, H, W) early features and what PoseNet found -> (B, C', H', W'). The keypoints are detached, as in the original."""
        height, width = early.shape[2:]
        volume = gaussian_volume(found.position.detach(), height, width, self.bin_offset).to(early.dtype)
        return self.block(torch.cat([early, volume], 1))
