"""The training of the net that tells left hands from right ones, on upright crops; see `small_loop`."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from handmesh.data.detection import DetectionShards
from handmesh.data.side_crops import SideDraws, usable_crops
from handmesh.detection_maps import as_input
from handmesh.nets.backbones import Backbone
from handmesh.nets.side_net import SideNet
from handmesh.run_files import SIDE
from handmesh.settings.detector import SideSpec
from handmesh.training.record import RATE_PANEL, Panel
from handmesh.training.small_loop import Sample, SmallTraining

SIDE_PANELS = (
    Panel("loss", (("train_loss", "training", "tab:blue"),)),
    Panel("validation", (("val_sides_right", "sides right", "tab:purple"),)),
    RATE_PANEL,
)

VALIDATION_HANDS = 400
"""At most, of the first images of the validation data."""


class SideTraining(SmallTraining):
    """A training under way."""

    KIND = SIDE
    PANELS = SIDE_PANELS

    spec: SideSpec

    def make_net(self, backbone: Backbone) -> SideNet:
        """See `SmallTraining`."""
        return SideNet(backbone)

    def open_data(self, parts: list[DetectionShards], weights: list[float]) -> None:
        """See `SmallTraining`."""
        self.draws = SideDraws(parts, weights, self.spec.seed)
        images, self._left = usable_crops(self.validation, VALIDATION_HANDS, self.spec.side)
        self._crops = torch.from_numpy(as_input(images))

    def draw(self, step: int) -> Sample:
        """See `SmallTraining`; the truth is (B,), 1 for left hands."""
        rows = [self.draws.sample(step * self.spec.batch + k, self.spec.side) for k in range(self.spec.batch)]
        images, left = zip(*rows, strict=True)
        return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2)), (torch.tensor(left, dtype=torch.float32),)

    def losses(self, found: Tensor, truth: Sequence[Tensor]) -> dict[str, Tensor]:
        """See `SmallTraining`."""
        return {"loss": binary_cross_entropy_with_logits(found, truth[0])}

    def figures(self) -> dict[str, float]:
        """See `SmallTraining`."""
        logits = torch.cat([self.mean.net(part.to(self.device)) for part in self._crops.split(64)]).cpu().numpy()
        return {"sides_right": float(((logits > 0) == self._left).mean())}

    def told(self, row: dict[str, float]) -> str:
        """See `SmallTraining`."""
        return f"sides right {100 * row['val_sides_right']:.1f} %"
