"""What training adds to a mesh net and inference never sees: a head for joint rotations and shape, which the labels hold.

Vertices say where the skin is, theta and beta why. A head that must tell them from the deepest features teaches both backbones
which hands there are. It is no part of `HandMeshNet`: neither weights that are saved nor the parameters of Table 2 know it.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from handmesh.nets.mesh_net import HandMeshNet, Prediction

WIDTH = 256
"""Of the one hidden layer."""


class PoseAndShape(NamedTuple):
    """Theta and beta of B right hands."""

    rotations: Tensor  # (B, J, 3, 3) from the template to the crop's camera frame, then of each joint in its parent
    beta: Tensor  # (B, S)


class AuxiliaryHead(nn.Module):
    """(B, C, h, w) features of both stages -> `PoseAndShape`. Starts at the flat hand of the mean shape.

    Rotations come as two columns, made orthonormal: 6 numbers, continuous in the rotation (Zhou et al. 2019).
    """

    def __init__(self, channels: int, num_joints: int, num_shapes: int) -> None:
        super().__init__()
        self.num_joints = num_joints
        self.trunk = nn.Sequential(nn.Linear(channels, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(inplace=True))
        self.last = nn.Linear(WIDTH, 6 * num_joints + num_shapes)
        nn.init.normal_(self.last.weight, std=0.01)
        with torch.no_grad():
            self.last.bias.zero_()
            self.last.bias[: 6 * num_joints] = torch.eye(3)[:2].flatten().repeat(num_joints)

    def forward(self, deepest: tuple[Tensor, Tensor]) -> PoseAndShape:
        """Maps of PoseNet and of MeshNet, C channels together."""
        pooled = torch.cat([maps.mean((2, 3)) for maps in deepest], 1)
        found = self.last(self.trunk(pooled)).float()
        columns, beta = found.split([6 * self.num_joints, found.shape[1] - 6 * self.num_joints], 1)
        return PoseAndShape(rotations_of(columns.unflatten(1, (self.num_joints, 2, 3))), beta)


def rotations_of(columns: Tensor) -> Tensor:
    """(..., 2, 3) any two vectors -> (..., 3, 3) rotations: the first along the first column, the second in the plane of two."""
    first = normalize(columns[..., 0, :], dim=-1)
    second = columns[..., 1, :]
    second = normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


class TaughtNet(nn.Module):
    """A mesh net as it is trained: with its auxiliary head, or without."""

    def __init__(self, net: HandMeshNet, auxiliary: AuxiliaryHead | None) -> None:
        super().__init__()
        self.net, self.auxiliary = net, auxiliary

    def forward(self, image: Tensor) -> tuple[Prediction, PoseAndShape | None]:
        """(B, 3, S, S) images as of `HandMeshNet` -> what the net predicts and what the head says."""
        prediction, deepest = self.net.look(image)
        return prediction, self.auxiliary(deepest) if self.auxiliary else None


def make_auxiliary(net: HandMeshNet, num_joints: int, num_shapes: int) -> AuxiliaryHead:
    """A head for that net's features and a hand of so many joints and shape coefficients."""
    pose, mesh = (int(backbone.channels[-1]) for backbone in (net.pose_backbone, net.mesh_backbone))  # type: ignore[index, arg-type]
    return AuxiliaryHead(pose + mesh, num_joints, num_shapes)
