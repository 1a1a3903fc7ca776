"""The detector's net: the first layers of EfficientNet-Lite0, a small feature pyramid, and maps of hands at an eighth of the image.

Fully convolutional: it takes images of any size, and hands of all sizes are seen in one map. Of each stage of the backbone the
first blocks are kept, with ImageNet's weights; residual blocks may be left out, as each only adds to what is there. Fine details
hardly matter to where a hand is, so that the coarse half of the pyramid has most of the layers.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from handmesh.detection_maps import CHANNELS
from handmesh.nets.backbones import Backbone, first_blocks
from handmesh.nets.efficientnet_lite import PIXEL_MEAN, PIXEL_STD, DepthwiseConv2d

KEPT = (2, 2, 1, 2)
"""Blocks of the backbone's stages of strides 8, 16, 16 and 32."""

WIDTH = 64
"""Channels of the pyramid."""

_RARE = -4.0
"""Logit of the heatmap at first: few places are the middle of a hand."""


def _separable(channels: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        DepthwiseConv2d(channels, kernel, padding=kernel // 2),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class DetectorNet(nn.Module):
    """(B, 3, H, W) sRGB in [0, 1], sides multiples of 32 -> (B, 8, H/8, W/8) maps, see `handmesh.detection_maps`.

    Args:
        backbone: an EfficientNet-Lite0, whose blocks become this net's: ImageNet's, or PoseNet's of a trained mesh net.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.early = backbone.early
        stages = first_blocks(backbone, KEPT)
        self.eighth, self.sixteenth, self.last = stages[0], nn.Sequential(*stages[1:3]), stages[3]
        _, finest, middle, _ = backbone.channels
        deepest = 192
        self.far = _separable(WIDTH, 5)
        self.deep, self.mid, self.fine = (
            nn.Sequential(nn.Conv2d(channels, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH))
            for channels in (deepest, middle, finest)
        )
        self.join_mid, self.join_fine = _separable(WIDTH, 5), _separable(WIDTH, 5)
        self.head = nn.Sequential(_separable(WIDTH, 5), _separable(WIDTH), nn.Conv2d(WIDTH, len(CHANNELS), 1))
        last = self.head[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.normal_(last.weight, std=0.01)
        with torch.no_grad():
            last.bias.zero_()
            last.bias[0] = _RARE
            last.bias[2:6] = 1.0  # e times 8 px from the middle to each side
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(PIXEL_STD).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        return self.after(self.early((image - self.mean) / self.std))

    def after(self, early: Tensor) -> Tensor:
        """(B, 24, H/4, W/4) of the first layers -> the maps."""
        eighth = self.eighth(early)
        sixteenth = self.sixteenth(eighth)
        maps = self.deep(self.last(sixteenth))
        maps = maps + self.far(maps)
        maps = self.join_mid(interpolate(maps, scale_factor=2.0) + self.mid(sixteenth))
        maps = self.join_fine(interpolate(maps, scale_factor=2.0) + self.fine(eighth))
        found: Tensor = self.head(maps)
        return found
