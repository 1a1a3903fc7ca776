"""From an upright crop to whether it shows a hand, and which: most of EfficientNet-Lite0, and a layer over all places of a map."""

import torch
from torch import Tensor, nn

from handmesh.detection_maps import SIDE_PX
from handmesh.nets.backbones import Backbone, first_blocks
from handmesh.nets.efficientnet_lite import PIXEL_MEAN, PIXEL_STD

KEPT = (2, 3, 3, 2)
"""Blocks of the backbone's stages of strides 8, 16, 16 and 32."""

LAST = 192
"""Channels of the last of these."""

WIDTH = 128
"""Channels after the look at all places."""


class SideNet(nn.Module):
    """(B, 3, SIDE_PX, SIDE_PX) sRGB in [0, 1] -> (B, 2) logits: of a left hand if it is one, and of its being one.

    Mirroring the crop changes the sign of the first, and nothing of the second.

    Args:
        backbone: an EfficientNet-Lite0, whose blocks become this net's: ImageNet's, or PoseNet's of a trained mesh net.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.early = backbone.early
        self.late = nn.Sequential(*first_blocks(backbone, KEPT))
        look = nn.Conv2d(LAST, WIDTH, SIDE_PX // 32)
        self.head = nn.Sequential(look, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(WIDTH, 2))
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(PIXEL_STD).view(3, 1, 1), persistent=False)

    def one_way(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 2) what it is for the crop alone."""
        return self.after(self.early((image - self.mean) / self.std))

    def after(self, early: Tensor) -> Tensor:
        """(B, 24, S / 4, S / 4) of the first layers -> (B, 2)."""
        logits: Tensor = self.head(self.late(early))
        return logits

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        there, mirrored = self.one_way(image), self.one_way(image.flip(3))
        return torch.stack([there[:, 0] - mirrored[:, 0], there[:, 1] + mirrored[:, 1]], 1) / 2
