"""Heatmap aggregation: PoseNet's keypoints as Gaussians beside early image features, for MeshNet to look at."""

import torch
from torch import Tensor, nn

from handmesh.lixels import LIXELS
from handmesh.nets.lixel import Points

SIGMA_LIXELS = 2.5
"""Standard deviation of the Gaussians (Moon and Lee 2020)."""


def gaussian_line(position: Tensor, bins: int) -> Tensor:
    """(B, P) positions [lixels] -> (B, P, bins) Gaussians of peak 1, sampled at the bins' lixels."""
    places = torch.arange(bins, device=position.device, dtype=position.dtype) * (LIXELS / bins)
    return torch.exp((places - position.unsqueeze(-1)).square() * (-0.5 / SIGMA_LIXELS**2))


def gaussian_volume(keypoints: Tensor, height: int, width: int) -> Tensor:
    """(B, P, 3) keypoints [lixels] -> (B, P * 64, height, width), keypoint-major, depth inside: the product of three lines."""
    x, y, z = (gaussian_line(keypoints[..., axis], bins) for axis, bins in enumerate((width, height, LIXELS)))
    plane = y.unsqueeze(-1) * x.unsqueeze(-2)  # (B, P, H, W)
    return (z[..., None, None] * plane.unsqueeze(2)).flatten(1, 2)


class VolumeAggregation(nn.Module):
    """The paper's: the Gaussian volume and the early features, concatenated and taken through one block.

    The block sees early_channels + 64 P channels; the lite nets' double the resolution, the original's keeps it.
    """

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, early: Tensor, found: Points) -> Tensor:
        """(B, C, H, W) early features and what PoseNet found -> (B, C', H', W'). The keypoints are detached, as in the original."""
        volume = gaussian_volume(found.position.detach(), *early.shape[2:]).to(early.dtype)
        return self.block(torch.cat([early, volume], 1))
