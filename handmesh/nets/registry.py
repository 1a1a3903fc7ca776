"""The nets by name: the paper's five, and lite-fast; each for any hand's counts."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from handmesh.lixels import LIXELS
from handmesh.nets.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backbone,
    SecondStage,
    efficientnet_b0,
    resnet50,
)
from handmesh.nets.blocks import UpBlock, excited_up, full_up, mbconv_up, separable_up, upsampler
from handmesh.nets.efficientnet_lite import PIXEL_MEAN, PIXEL_STD, efficientnet_lite0
from handmesh.nets.fast import FastDecoder, SeparableAggregation, SmoothLines
from handmesh.nets.lixel import CENTRE, EDGE, LixelDecoder, VolumeAggregation, set_bins
from handmesh.nets.mesh_net import HandMeshNet
from handsynth.core.errors import UsageError

Builder = Callable[[Tensor, bool], HandMeshNet]
"""((P, V) keypoint regressor, whether to load ImageNet weights) -> net."""

_AS_IT_COMES = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # the original divides by 255 and no more, in spite of ImageNet weights
_IMAGENET = IMAGENET_MEAN, IMAGENET_STD  # the paper is silent for EfficientNet; this is what its weights expect


@dataclass(frozen=True)
class NetInfo:
    """A net before it is built, with what the paper prints of it."""

    name: str
    title: str
    build: Builder
    paper_gmacs: float | None = None  # Table 2
    paper_millions: float | None = None  # Table 2, parameters
    paper_module_gmacs: tuple[float, ...] | None = None  # Table 1, in the order of `counting.MODULES`
    remark: str | None = None


def list_nets() -> list[NetInfo]:
    """Every net, in the order of Table 2, ours last."""
    return list(_NETS)


def net_info(name: str) -> NetInfo:
    """The net of that name. Raises UsageError that names the known ones."""
    for info in _NETS:
        if info.name == name:
            return info
    raise UsageError(f"there is no net {name!r}: choose one of {', '.join(info.name for info in _NETS)}")


def create_net(name: str, keypoint_regressor: np.ndarray, *, pretrained: bool = True, bin_centres: bool = False) -> HandMeshNet:
    """Builds a net for the hand whose (P, V) regressor is given (`handmesh.keypoints.keypoint_regressor`).

    It finds P keypoints and V vertices. With `bin_centres` the bins of its heatmaps stand for their middles, otherwise for their
    lower ends, as in the original: weights belong to the one that they were trained with. With `pretrained` its backbones start
    from ImageNet weights, through torchvision's cache or the network. Random weights come from torch's global generator: seed it.

    Raises UsageError for an unknown name or a regressor that is no matrix, AssetError when the weights cannot be had.
    """
    info = net_info(name)
    if keypoint_regressor.ndim != 2:
        raise UsageError(f"a keypoint regressor is a matrix (keypoints, vertices), not of shape {keypoint_regressor.shape}")
    net = info.build(torch.as_tensor(keypoint_regressor, dtype=torch.float32), pretrained)
    set_bins(net, CENTRE if bin_centres else EDGE)
    return net


def _original_init(module: nn.Module) -> None:
    """Initial weights of the original outside its backbones (1-D layers keep PyTorch's)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=0.001)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _original_mix(channels_in: int, channels_out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


def _paper(backbone: Callable[[bool], Backbone], up: UpBlock, mix: UpBlock, pixels: tuple, original_init: bool) -> Builder:
    """A net of the paper: two like backbones, decoders of `up` blocks, one `mix` block to aggregate the heatmaps."""

    def build(regressor: Tensor, pretrained: bool) -> HandMeshNet:
        num_keypoints, num_vertices = regressor.shape
        pose, mesh = backbone(pretrained), backbone(pretrained)
        early, deepest = pose.channels[0], pose.channels[-1]
        pose_decoder = LixelDecoder(upsampler(up, deepest), deepest, num_keypoints)
        mesh_decoder = LixelDecoder(upsampler(up, deepest), deepest, num_vertices)
        aggregation = VolumeAggregation(mix(early + num_keypoints * LIXELS, early))
        if original_init:
            for module in (pose_decoder, mesh_decoder, aggregation):
                module.apply(_original_init)
        return HandMeshNet(pose, pose_decoder, aggregation, SecondStage(mesh), mesh_decoder, regressor, *pixels)

    return build


def _lite_fast(regressor: Tensor, pretrained: bool) -> HandMeshNet:
    """Ours: see `fast`."""
    num_keypoints, num_vertices = regressor.shape
    pose, mesh = efficientnet_lite0(pretrained), SecondStage(efficientnet_lite0(pretrained), keep_skipped=False)
    width = 128
    return HandMeshNet(
        pose,
        FastDecoder(pose.channels, num_keypoints, width),
        SeparableAggregation(mesh.channels[0], width, num_keypoints),
        mesh,
        FastDecoder(mesh.channels, num_vertices, width, SmoothLines),
        regressor,
        PIXEL_MEAN,
        PIXEL_STD,
    )


_NETS = (
    NetInfo(
        "i2l-resnet50", "baseline: I2L-MeshNet, two ResNet-50", _paper(resnet50, full_up, _original_mix, _AS_IT_COMES, True),
        29.06, 136.63, (5.38, 7.55, 3.32, 5.22, 7.59),
    ),
    NetInfo(
        "i2l-effb0", "Ef-B0 Bb.: two EfficientNet-B0", _paper(efficientnet_b0, full_up, _original_mix, _IMAGENET, True),
        15.66, 66.65, remark="Table 2 prints one million parameters too many",
    ),
    NetInfo("lite-dw", "+ Dw Dec., Fig. 3 A", _paper(efficientnet_b0, separable_up, separable_up, _IMAGENET, False), 5.43, 51.71),
    NetInfo("lite-mbconv", "+ MBConv Dec., Fig. 3 B", _paper(efficientnet_b0, mbconv_up, mbconv_up, _IMAGENET, False), 5.53, 52.40),
    NetInfo("lite-dwse", "+ Dw SE Dec., Fig. 3 C", _paper(efficientnet_b0, excited_up, excited_up, _IMAGENET, False), 3.75, 51.49),
    NetInfo("lite-fast", "ours: light in time as well", _lite_fast),
)  # fmt: skip
