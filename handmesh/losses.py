"""Equation 4: the losses of the lixel nets, each one function, with the original's definitions (Moon and Lee 2020).

Besides it, the losses of an auxiliary head (`nets.auxiliary`), which the paper does not have.

Every function gives one number per sample, (B,), in lixels (the normal loss: no unit); their mean over the batch is the
original's loss. A mean runs over *every* element, those masked out counting as zero, as there. Masks are (B, N), 1 where a point
counts. Lengths are sqrt(e . e + 1e-6 lixel^2): exact to 1e-3 lixel, and their gradients stay finite where an edge has none.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from handmesh.lixels import LIXELS
from handmesh.nets.auxiliary import PoseAndShape
from handmesh.nets.mesh_net import Prediction

WEIGHTS = {"pose_posenet": 1.0, "pose_meshnet": 1.0, "vertex": 1.0, "edge": 1.0, "normal": 0.1}
"""Of the terms of equation 4."""

AUXILIARY_WEIGHTS = {"rotations": 1.0, "beta": 0.1}
"""Of the auxiliary terms, before `TrainSpec.auxiliary`. Crops hardly show the shape's size: its term stays near 0.8, its value for
a net that knows nothing."""

_LENGTH_FLOOR = 1e-6  # [lixel^2]


class Target(NamedTuple):
    """Where the points truly are, in the lixels of `handmesh.lixels`."""

    keypoints: Tensor  # (B, P, 3)
    vertices: Tensor  # (B, V, 3)


def inside(points: Tensor) -> Tensor:
    """(B, N, 3) lixels -> (B, N) mask: 1 where the heatmaps can show the point, 0 <= x, y, z < 64."""
    return ((points >= 0) & (points < LIXELS)).all(-1).to(points.dtype)


def point_loss(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """L_pose and L_vertex. (B, N, 3) twice and a (B, N) mask -> (B,) mean absolute difference of coordinates [lixels]."""
    return ((predicted - target).abs() * mask.unsqueeze(-1)).mean((1, 2))


def edge_loss(predicted: Tensor, target: Tensor, faces: Tensor, mask: Tensor) -> Tensor:
    """L_edge: (B, V, 3) vertices twice, (F, 3) faces, (B, V) mask -> (B,) mean absolute difference of edge lengths [lixels].

    Three edges a face, so that an edge between two faces counts twice; an edge counts when both its vertices do.
    """
    lengths = _length(_edges(predicted, faces)) - _length(_edges(target, faces))
    ends = mask[:, faces]  # (B, F, 3)
    kept = torch.stack([ends[..., a] * ends[..., b] for a, b in _EDGES], 2)
    return (lengths.abs() * kept).mean((1, 2))


def normal_loss(predicted: Tensor, target: Tensor, faces: Tensor, mask: Tensor) -> Tensor:
    """L_normal: (B, V, 3) vertices twice, (F, 3) faces, (B, V) mask -> (B,) mean |cosine| of predicted edges and true normals.

    Zero where every predicted edge lies in its face's true plane. A face counts when its three vertices do.
    """
    true = _edges(target, faces)
    normals = normalize(torch.linalg.cross(normalize(true[:, :, 0], dim=-1), normalize(true[:, :, 1], dim=-1)), dim=-1)
    edges = _edges(predicted, faces)
    cosines = (edges * normals.unsqueeze(2)).sum(-1) / _length(edges)  # (B, F, 3)
    return (cosines.abs() * mask[:, faces].prod(-1, keepdim=True)).mean((1, 2))


def lixel_losses(prediction: Prediction, mesh_keypoints: Tensor, target: Target, faces: Tensor) -> dict[str, Tensor]:
    """Every term of equation 4, unweighted, (B,) each, by the names of WEIGHTS.

    Args:
        prediction: the net's.
        mesh_keypoints: (B, P, 3), `net.regress_keypoints(prediction.vertices)` [lixels].
        target: the truth; points of it outside the heatmaps are masked.
        faces: (F, 3) int64.
    """
    seen_keypoints, seen = inside(target.keypoints), inside(target.vertices)
    return {
        "pose_posenet": point_loss(prediction.keypoints, target.keypoints, seen_keypoints),
        "pose_meshnet": point_loss(mesh_keypoints, target.keypoints, seen_keypoints),
        "vertex": point_loss(prediction.vertices, target.vertices, seen),
        "edge": edge_loss(prediction.vertices, target.vertices, faces, seen),
        "normal": normal_loss(prediction.vertices, target.vertices, faces, seen),
    }


def auxiliary_losses(found: PoseAndShape, true: PoseAndShape) -> dict[str, Tensor]:
    """Mean absolute differences of the entries of rotation matrices and of shape coefficients, (B,) each."""
    return {
        "rotations": (found.rotations - true.rotations).abs().mean((1, 2, 3)),
        "beta": (found.beta - true.beta).abs().mean(1),
    }


def total_loss(terms: dict[str, Tensor], auxiliary: float = 0.0) -> Tensor:
    """Equation 4: the weighted terms, summed, and averaged over the batch -> a scalar. Auxiliary terms count `auxiliary` times."""
    weights = WEIGHTS | {name: auxiliary * weight for name, weight in AUXILIARY_WEIGHTS.items()}
    return torch.stack([weights[name] * term.mean() for name, term in terms.items()]).sum()


_EDGES = ((0, 1), (0, 2), (1, 2))  # corners of a face that its three edges join


def _edges(vertices: Tensor, faces: Tensor) -> Tensor:
    """(B, V, 3), (F, 3) -> (B, F, 3 edges, 3)."""
    corners = vertices[:, faces]  # (B, F, 3 corners, 3)
    return torch.stack([corners[:, :, b] - corners[:, :, a] for a, b in _EDGES], 2)


def _length(vectors: Tensor) -> Tensor:
    return (vectors.square().sum(-1) + _LENGTH_FLOOR).sqrt()
