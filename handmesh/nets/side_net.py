"""From an upright crop of a hand to its side: the first layers of EfficientNet-Lite0 and a mean over the crop."""

import torch
from torch import Tensor, nn

from handmesh.nets.efficientnet_lite import PIXEL_MEAN, PIXEL_STD, efficientnet_lite0

KEPT = (2, 2, 2)
"""Blocks of the backbone's stages of strides 8, 16 and 16."""


class SideNet(nn.Module):
    """(B, 3, S, S) sRGB in [0, 1] -> (B,) logit of a left hand; that of the mirrored crop is its negative.

    Args:
        pretrained: the backbone starts from ImageNet's weights; AssetError when they cannot be had.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, pretrained: bool) -> None:
        super().__init__()
        whole = efficientnet_lite0(pretrained)
        self.early = whole.early
        self.late = nn.Sequential(
            *(nn.Sequential(*list(stage.children())[:kept]) for stage, kept in zip(whole.late, KEPT, strict=False))
        )
        channels = whole.channels[2]
        self.head = nn.Sequential(nn.Conv2d(channels, 128, 4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(128, 1))
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(PIXEL_STD).view(3, 1, 1), persistent=False)

    def one_way(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B,) what it is for the crop alone."""
        return self.after(self.early((image - self.mean) / self.std))

    def after(self, early: Tensor) -> Tensor:
        """(B, 24, S / 4, S / 4) of the first layers -> (B,)."""
        maps = self.head(self.late(early))
        logit: Tensor = maps[:, 0]
        return logit

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        return (self.one_way(image) - self.one_way(image.flip(3))) / 2
