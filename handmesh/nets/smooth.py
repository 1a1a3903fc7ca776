"""Heatmaps of all vertices as mixtures of a few, which start from the hand's skinning: vertices of one bone move together.

A 1x1 convolution from features to 778 lines learns each vertex alone. Here it makes 64 lines, and a second one mixes them for every
vertex. Linear blend skinning says with which weights: a vertex is sum_j w_j (R_j v + t_j), so whatever the pose, each of its
coordinates is a sum of the functions w_j v_x, w_j v_y, w_j v_z and w_j on the mesh: 64 of them for 16 joints. The mixture starts
there and is trained like all else. A third of the multiplications, and meshes crumple less while little is learned.
"""

import torch
from torch import Tensor, nn

from handsynth.core.hand import HandModel

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
