"""The parts of lite-fast: the paper's ideas where they save time as well as multiplications.

The paper's lite nets spend their time on wide maps at high resolution: 1,368 channels doubled to 128 x 128, a second backbone
that runs at twice its resolution, 1,280 channels doubled before they are narrowed; and 82 % of their weights on two depth layers.
Here every map stays at its native resolution. What fine maps gave comes through lateral connections from the backbone instead,
and MeshNet sees PoseNet's maps besides its keypoints. Both backbones are EfficientNet-Lite0: the paper's
EfficientNet-B0 made for small machines, without its 1,280-channel head.

Heatmaps of all vertices are mixtures of a few (`SmoothLines`), which start from the hand's skinning: vertices of one bone move
together. A 1x1 convolution from features to 778 lines learns each vertex alone. Here it makes 64 lines, and a second one mixes
them for every vertex. Linear blend skinning says with which weights: a vertex is sum_j w_j (R_j v + t_j), so whatever the pose,
each of its coordinates is a sum of the functions w_j v_x, w_j v_y, w_j v_z and w_j on the mesh: 64 of them for 16 joints. The
mixture starts there and is trained like all else. A third of the multiplications, and meshes crumple less while little is
learned.
"""

import torch
from torch import Tensor, nn

from handmesh.lixels import LIXELS
from handmesh.nets.backbones import Levels
from handmesh.nets.blocks import SqueezeExcite, depthwise_up, pointwise
from handmesh.nets.lixel import Binned, Lines, LixelHead, Points, gaussian_line, pointwise_lines
from handsynth.core.hand import HandModel

_GAIN = 8.0
"""Of averages over lines: a finger fills two bins of sixteen, and is diluted so much; heads that see it undiluted learn x and y as
soon as z (measured: the loss of step 250 is reached at step 210)."""


class FactorisedDepth(nn.Module):
    """Pooled features to a line of depth bins: a coarse line from one layer, then doubled three times by depthwise deconvolution.

    What the maps' decoder does along x and y, along z: an eighth of the weights of `DepthLayer`, and neighbouring bins share them.
    """

    def __init__(self, channels: int, width: int, bins: int = LIXELS):
        super().__init__()
        self.width = width
        coarse = width * (bins // 8)
        self.expand = nn.Sequential(nn.Conv1d(channels, coarse, 1), nn.BatchNorm1d(coarse), nn.ReLU(inplace=True))
        self.refine = nn.Sequential(*(layer for _ in range(3) for layer in self._double(width)))

    @staticmethod
    def _double(width: int) -> tuple[nn.Module, ...]:
        up = nn.ConvTranspose1d(width, width, 4, stride=2, padding=1, groups=width, bias=False)
        return up, nn.BatchNorm1d(width), nn.SiLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, width, bins)."""
        pooled = features.mean((2, 3)).unsqueeze(-1)
        return self.refine(self.expand(pooled).squeeze(-1).unflatten(1, (self.width, -1)))


class LateralUp(nn.Module):
    """Fig. 3 C with a lateral connection: depthwise deconvolution, plus the backbone's map of that resolution, norm, Swish, SE.

    Before SE a 1x1 convolution mixes the channels, which depthwise layers keep apart, with norm and Swish of its own. 128 mixed
    channels learn faster than 256 unmixed ones, and cost less time (benchmarks/README.md).
    """

    def __init__(self, width: int, lateral_channels: int):
        super().__init__()
        self.up, self.lateral = depthwise_up(width), nn.Conv2d(lateral_channels, width, 1, bias=False)
        self.finish = nn.Sequential(
            nn.BatchNorm2d(width), nn.SiLU(inplace=True),
            nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.SiLU(inplace=True),
            SqueezeExcite(width),
        )  # fmt: skip

    def forward(self, maps: Tensor, lateral: Tensor) -> Tensor:
        """(B, width, h, w) and (B, lateral_channels, 2h, 2w) -> (B, width, 2h, 2w)."""
        return self.finish(self.up(maps).add_(self.lateral(lateral)))  # in place: one large map fewer


class FastDecoder(nn.Module):
    """Four levels of features to points: narrowed where they are coarsest, then doubled three times with lateral connections."""

    def __init__(self, channels: tuple[int, ...], num_points: int, width: int, lines: Lines = pointwise_lines):
        super().__init__()
        *finer, deepest = channels
        self.narrow = pointwise(deepest, width)
        self.blocks = nn.ModuleList([LateralUp(width, lateral) for lateral in reversed(finer)])
        self.depth = FactorisedDepth(deepest, width)
        self.head = LixelHead(num_points, width, width, _GAIN, lines)

    def forward(self, levels: Levels) -> Points:
        """Feature maps of strides 4, 8, 16 and 32 -> N points, with as many x and y bins as the finest map."""
        *finer, deepest = levels
        maps = self.narrow(deepest)
        for block, lateral in zip(self.blocks, reversed(finer), strict=True):
            maps = block(maps, lateral)
        return self.head(maps, self.depth(deepest))


class SeparableAggregation(Binned):
    """Adds PoseNet's maps and the keypoints' Gaussians to the early features, each by a 1x1 convolution.

    What is added starts at zero, so that MeshNet's backbone first sees the features that its ImageNet weights know (measured: after
    13,000 samples PA-MPJPE is 19.6 mm, and 21.2 where the early features are mixed anew). The Gaussian volume is never made. It is
    a product of three lines, so a 1x1 convolution over its P x 64 channels is
    sum_p (sum_d W[c, p, d] gz[p, d]) gy[p, y] gx[p, x]: first 64 depths to one number for each keypoint, then P planes.
    The same function for a sixty-fourth of the multiplications, and no map wider than P.
    """

    def __init__(self, channels: int, map_channels: int, num_keypoints: int):
        super().__init__()
        self.maps = nn.Conv2d(map_channels, channels, 1, bias=False)
        # A keypoint touches about six of its depths (sqrt(2 pi) sigma): unit variance of what the Gaussians add.
        self.gaussians = nn.Parameter(torch.randn(channels, num_keypoints, LIXELS) / 6**0.5)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, early: Tensor, found: Points) -> Tensor:
        """(B, C, H, W) early features and what PoseNet found -> the same shape."""
        mixed = self.mix(found.position.detach(), *early.shape[2:]).to(early.dtype)
        return early + self.norm(self.maps(found.maps) + mixed)

    def mix(self, keypoints: Tensor, height: int, width: int) -> Tensor:
        """(B, P, 3) keypoints [lixels] -> (B, C, height, width): the 1x1 convolution over their Gaussian volume."""
        bins = (width, height, LIXELS)
        x, y, z = (gaussian_line(keypoints[..., axis], count, self.bin_offset) for axis, count in enumerate(bins))
        weights = torch.einsum("cpd,bpd->bcp", self.gaussians, z)
        planes = y.unsqueeze(-1) * x.unsqueeze(-2)  # (B, P, H, W)
        return torch.bmm(weights, planes.flatten(2)).unflatten(2, (height, width))


RANK = 64
"""Lines that are mixed: 16 joints times 4."""


class SmoothLines(nn.Module):
    """(B, channels, D) -> (B, N, D), a line for each of N points, as mixtures of `RANK` lines, or of N where that is less."""

    def __init__(self, channels: int, num_points: int):
        super().__init__()
        rank = min(RANK, num_points)
        # No biases: a constant along a line is nothing to its softmax.
        self.few = nn.Conv1d(channels, rank, 1, bias=False)
        self.mix = nn.Conv1d(rank, num_points, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, D) -> (B, N, D)."""
        return self.mix(self.few(features))


@torch.no_grad()
def start_smooth(net: nn.Module, hand: HandModel) -> None:
    """Starts every `SmoothLines` of a net for that hand from its skinning; other nets stay as they are."""
    for module in net.modules():
        if isinstance(module, SmoothLines):
            rank = module.mix.weight.shape[1]
            module.mix.weight.copy_(skinning_functions(hand, rank).unsqueeze(-1) / rank**0.5)


def skinning_functions(hand: HandModel, count: int) -> Tensor:
    """What posed meshes of the mean shape are sums of -> (V, count) float32, orthogonal columns of unit mean square.

    The span of w_j v_x, w_j v_y, w_j v_z and w_j, over joints j, of the rest vertices v; the columns that matter most first. Where
    the hand has fewer than `count` such functions, the rest are any orthogonal ones.
    """
    vertices = torch.from_numpy(hand.v_template).double()
    vertices = (vertices - vertices.mean(0)) / vertices.std()
    homogeneous = torch.cat([vertices, torch.ones(len(vertices), 1, dtype=torch.float64)], 1)
    functions = torch.from_numpy(hand.weights).double().unsqueeze(2) * homogeneous.unsqueeze(1)  # (V, J, 4)
    columns = torch.linalg.svd(functions.flatten(1)).U[:, :count]
    largest = columns.abs().argmax(0, keepdim=True)
    columns = columns * columns.gather(0, largest).sign()  # a sign of its own for each, whatever LAPACK found
    return (columns * len(vertices) ** 0.5).float()
