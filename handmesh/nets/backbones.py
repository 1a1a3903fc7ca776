"""torchvision's backbones without their classifiers, cut in two: early features that both stages see, and the rest."""

from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

from torch import Tensor, nn

from handmesh.nets.torchvision_import import models
from handsynth.core.errors import AssetError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB in [0, 1]: what torchvision's weights were trained with."""

Levels = tuple[Tensor, ...]
"""Feature maps from fine to coarse: (B, C, h, w) of strides 4, ..., 32. The first is what a second stage may replace."""


class Backbone(nn.Module):
    """A classification net as `early` and `late` parts.

    Args:
        early: (B, 3, H, W) -> (B, C0, H/4, W/4).
        late: that, at any resolution -> down to 1/8 of it.
        taps: children of `late` whose outputs are kept, ascending; the last is the deepest features.
        channels: of the early features and of every tap.
    """

    def __init__(self, early: nn.Sequential, late: nn.Sequential, taps: tuple[int, ...], channels: tuple[int, ...]):
        super().__init__()
        self.early, self.late = early, late
        self.taps, self.channels = taps, channels

    def forward(self, image: Tensor) -> Levels:
        """(B, 3, H, W) -> early features at H/4 and one map for every tap."""
        return _levels(self.early(image), self.late, self.taps)


def first_blocks(backbone: Backbone, kept: tuple[int, ...]) -> list[nn.Sequential]:
    """Of each stage of the late part so many of its blocks: residual ones may be left out, as each only adds to what is there."""
    return [nn.Sequential(*list(stage.children())[:count]) for stage, count in zip(backbone.late, kept, strict=False)]


class SecondStage(nn.Module):
    """A backbone entered behind its early part.

    The paper's second stages keep the early part that they skip and count its parameters. With `keep_skipped` it is kept here
    for those counts, and frozen: nothing flows through it, and `DistributedDataParallel` would wait for its gradients.
    """

    def __init__(self, backbone: Backbone, keep_skipped: bool = True):
        super().__init__()
        self.late, self.taps, self.channels = backbone.late, backbone.taps, backbone.channels
        self.skipped = backbone.early.requires_grad_(False) if keep_skipped else None

    def forward(self, features: Tensor) -> Levels:
        """(B, C0, h, w), at any resolution -> the same and one map for every tap."""
        return _levels(features, self.late, self.taps)


def _levels(features: Tensor, late: nn.Sequential, taps: tuple[int, ...]) -> Levels:
    levels = [features]
    for index, part in enumerate(late):
        features = part(features)
        if index in taps:
            levels.append(features)
    return tuple(levels)


def resnet50(pretrained: bool) -> Backbone:
    """ResNet-50 (He et al. 2016). Early: stem and max-pool."""
    net = _load(models.resnet50, models.ResNet50_Weights.IMAGENET1K_V1, pretrained)
    early = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    return Backbone(early, nn.Sequential(net.layer1, net.layer2, net.layer3, net.layer4), (1, 2, 3), (64, 512, 1024, 2048))


def efficientnet_b0(pretrained: bool) -> Backbone:
    """EfficientNet-B0 (Tan and Le 2019). Early: stem and two stages; late: the rest with its 1280-channel head."""
    features = _load(models.efficientnet_b0, models.EfficientNet_B0_Weights.IMAGENET1K_V1, pretrained).features
    return Backbone(features[:3], features[3:], (0, 2, 5), (24, 40, 112, 1280))


def _load(make: Callable[[], nn.Module], weights: Any, pretrained: bool) -> Any:
    """The torchvision net with random or ImageNet weights. Raises AssetError when these cannot be had."""
    net = make()
    if pretrained:
        file = weights.url.rsplit("/", 1)[-1]
        try:
            net.load_state_dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
        except (OSError, RuntimeError, EOFError, UnpicklingError) as error:  # no network, no space, or another file's content
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise AssetError(
                f"ImageNet weights {file} could not be loaded from $TORCH_HOME/hub/checkpoints (~/.cache/torch/hub/checkpoints) or "
                f"{weights.url} ({reason}): put the file there, or start from random weights with --no-pretrained"
            ) from None
    return net
