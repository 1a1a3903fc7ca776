"""Blocks that double the resolution: the original's, and the paper's Fig. 3 A, B and C.

Fig. 3 leaves open where norms and activations stand. They stand here where all six printed figures of Table 2 (MACs and
parameters of three nets) come out to the last digit; one of several such choices, not the authors' code.
"""

from collections.abc import Callable

from torch import Tensor, nn

UpBlock = Callable[[int, int], nn.Module]
"""(channels in, channels out) -> a module that maps (B, in, H, W) to (B, out, 2H, 2W)."""


class SqueezeExcite(nn.Module):
    """Squeeze and excitation (Hu et al. 2018): channels weighed by two 1x1 layers on their means, squeezed by 16."""

    def __init__(self, channels: int, squeeze: int = 16):
        super().__init__()
        inner = channels // squeeze
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, inner, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return maps * self.weigh(maps)


def pointwise(channels_in: int, channels_out: int) -> nn.Sequential:
    """1x1 convolution with bias, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1), nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


def depthwise_up(channels: int) -> nn.ConvTranspose2d:
    """Depthwise transposed convolution, kernel 4, stride 2, no bias."""
    return nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, groups=channels, bias=False)


def full_up(channels_in: int, channels_out: int) -> nn.Module:
    """The original's: a full transposed convolution, batch norm, ReLU."""
    deconvolution = nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(deconvolution, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


def separable_up(channels_in: int, channels_out: int) -> nn.Module:
    """Fig. 3 A: depthwise transposed convolution, then pointwise."""
    return nn.Sequential(depthwise_up(channels_in), pointwise(channels_in, channels_out))


def mbconv_up(channels_in: int, channels_out: int) -> nn.Module:
    """Fig. 3 B: A with batch norm, Swish and squeeze-and-excitation between its two."""
    return nn.Sequential(
        depthwise_up(channels_in), nn.BatchNorm2d(channels_in), nn.SiLU(inplace=True), SqueezeExcite(channels_in),
        pointwise(channels_in, channels_out),
    )  # fmt: skip


def excited_up(channels_in: int, channels_out: int) -> nn.Module:
    """Fig. 3 C: B without its pointwise convolution, which stays only where the width changes (before the excitation)."""
    if channels_in != channels_out:
        return nn.Sequential(depthwise_up(channels_in), pointwise(channels_in, channels_out), SqueezeExcite(channels_out))
    return nn.Sequential(depthwise_up(channels_in), nn.BatchNorm2d(channels_in), nn.SiLU(inplace=True), SqueezeExcite(channels_in))


def upsampler(block: UpBlock, channels: int, width: int = 256) -> nn.Sequential:
    """Three blocks, 8 times the resolution: channels -> width -> width -> width."""
    return nn.Sequential(block(channels, width), block(width, width), block(width, width))
