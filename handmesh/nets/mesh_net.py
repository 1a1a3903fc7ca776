"""Image to lixels: PoseNet finds keypoints, MeshNet sees them with early features and finds vertices (paper, section 3.2)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from handsynth.core.errors import UsageError

STRIDE = 32
"""The sides of an image must be multiples of this: the backbones halve five times."""


LEAST_RATIO = 1e-3
"""No standard deviation is made smaller than so much of what it was: of a point that was never off, as the wrist's depth, it would
become zero.
"""


class Prediction(NamedTuple):
    """What a mesh net sees in B images. Lixels of the frame that `handmesh.lixels` describes; axes x, y, z; float32."""

    keypoints: Tensor  # (B, P, 3) PoseNet's; those of the mesh come from HandMeshNet.regress_keypoints(vertices)
    keypoints_std: Tensor  # (B, P, 3) one standard deviation: how sure the net is
    vertices: Tensor  # (B, V, 3)
    vertices_std: Tensor  # (B, V, 3)


class HandMeshNet(nn.Module):
    """Table 1's five modules in a row, and nothing learned besides.

    Args:
        pose_backbone: (B, 3, S, S) -> its `Levels`.
        pose_decoder: levels -> `Points`, the keypoints.
        aggregation: (the finest level, those points) -> what the mesh backbone looks at.
        mesh_backbone: that -> its levels.
        mesh_decoder: levels -> `Points`, the vertices.
        keypoint_regressor: (P, V) matrix from vertices to keypoints; a buffer, so that weights tell their hand.
        pixel_mean: three, of RGB in [0, 1], taken out before the backbone.
        pixel_std: three, likewise.
    """

    keypoint_regressor: Tensor
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        pose_backbone: nn.Module,
        pose_decoder: nn.Module,
        aggregation: nn.Module,
        mesh_backbone: nn.Module,
        mesh_decoder: nn.Module,
        keypoint_regressor: Tensor,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ):
        super().__init__()
        self.pose_backbone, self.pose_decoder = pose_backbone, pose_decoder
        self.aggregation = aggregation
        self.mesh_backbone, self.mesh_decoder = mesh_backbone, mesh_decoder
        self.register_buffer("keypoint_regressor", keypoint_regressor)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Prediction:
        """(B, 3, S, S) sRGB in [0, 1] of the square crop, S a multiple of 32 -> keypoints and vertices in lixels.

        Raises UsageError for another shape.
        """
        return self.look(image)[0]

    def look(self, image: Tensor) -> tuple[Prediction, tuple[Tensor, Tensor]]:
        """As `forward`, and what both stages know at their deepest: (B, C, h, w) features of PoseNet's and MeshNet's backbones."""
        if image.ndim != 4 or image.shape[1] != 3 or image.shape[2] != image.shape[3] or image.shape[2] % STRIDE:
            raise UsageError(f"mesh nets take (B, 3, S, S) images, S a multiple of {STRIDE}, not {tuple(image.shape)}")
        levels = self.pose_backbone((image - self.pixel_mean) / self.pixel_std)
        keypoints = self.pose_decoder(levels)
        mesh_levels = self.mesh_backbone(self.aggregation(levels[0], keypoints))
        vertices = self.mesh_decoder(mesh_levels)
        prediction = Prediction(keypoints.position, keypoints.std, vertices.position, vertices.std)
        return prediction, (levels[-1], mesh_levels[-1])

    @torch.no_grad()
    def calibrate_std(self, keypoints: np.ndarray, vertices: np.ndarray) -> None:
        """Scales the standard deviations so that they are as large as the errors.

        Args:
            keypoints: (P, 3) errors over standard deviations found so far, of each point along x, y and z.
            vertices: (V, 3) the same of the vertices.
        """
        for decoder, ratios in ((self.pose_decoder, keypoints), (self.mesh_decoder, vertices)):
            scale: Tensor = decoder.head.std_scale  # type: ignore[union-attr, assignment]
            scale.mul_(torch.from_numpy(np.maximum(ratios, LEAST_RATIO)).to(scale))

    def regress_keypoints(self, vertices: Tensor) -> Tensor:
        """(B, V, 3) vertices in any affine frame -> (B, P, 3) keypoints in the same; float32 under autocast too."""
        with torch.autocast(vertices.device.type, enabled=False):
            return torch.einsum("pv,bvc->bpc", self.keypoint_regressor, vertices.float())
