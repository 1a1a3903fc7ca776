"""The training of the net that looks again at what a detector has found, on upright crops: a hand, and which? See `small_loop`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from handmesh.data.detection import DetectionShards
from handmesh.data.side_crops import SideDraws, usable_crops
from handmesh.detection_maps import Found, MapsNet, as_input, find_hands
from handmesh.estimation.backends import open_maps
from handmesh.nets.backbones import Backbone
from handmesh.nets.side_net import SideNet
from handmesh.run_files import DETECTOR, SIDE
from handmesh.settings.detector import SideSpec
from handmesh.shipped import find_run
from handmesh.training.record import RATE_PANEL, Panel
from handmesh.training.small_loop import Sample, SmallTraining
from handmesh.training.weights import weights_of

SIDE_PANELS = (
    Panel("loss", (("train_loss", "training", "tab:blue"),)),
    Panel(
        "validation", (("val_sides_right", "sides right", "tab:purple"), ("val_hands_right", "hands and others told", "tab:green"))
    ),
    RATE_PANEL,
)

VALIDATION_HANDS = 400
"""At most, of the first images of the validation data."""


class Candidates:
    """What the shipped detector takes for hands, with the scores that are looked at again, and lower ones."""

    LEAST = 0.15

    def __init__(self) -> None:
        self._opened: tuple[MapsNet, int] | None = None

    def __call__(self, image: np.ndarray) -> Found:
        """As `Finder` has it. The net is opened at the first call: each loading process has its own."""
        self._opened = self._opened or open_maps(find_run(None, DETECTOR), threads=1)
        return find_hands(self._opened[0], image, self._opened[1], self.LEAST)


class SideTraining(SmallTraining):
    """A training under way."""

    KIND = SIDE
    PANELS = SIDE_PANELS

    spec: SideSpec

    def also_decides(self) -> dict[str, Any]:
        """See `SmallTraining`; the detector whose mistakes are learned."""
        return {"detector": weights_of(find_run(None, DETECTOR))} if self.spec.mistakes else {}

    def make_net(self, backbone: Backbone) -> SideNet:
        """See `SmallTraining`."""
        return SideNet(backbone)

    def open_data(self, parts: list[DetectionShards], weights: list[float]) -> None:
        """See `SmallTraining`."""
        self.draws = SideDraws(parts, weights, self.spec.seed, Candidates() if self.spec.mistakes else None)
        crops = usable_crops(self.validation, VALIDATION_HANDS, self.spec.side)
        self._crops = torch.from_numpy(as_input([crop.image for crop in crops]))
        self._truth = np.array([(crop.is_left, crop.is_hand) for crop in crops], bool)

    def draw(self, step: int) -> Sample:
        """See `SmallTraining`; the truth are (B,) 1 for left hands and (B,) 1 for hands."""
        crops = [self.draws.sample(step * self.spec.batch + k, self.spec.side) for k in range(self.spec.batch)]
        images = torch.from_numpy(np.stack([crop.image for crop in crops]).transpose(0, 3, 1, 2))
        left, hand = (torch.tensor([crop[k] for crop in crops], dtype=torch.float32) for k in (1, 2))
        return images, (left, hand)

    def losses(self, found: Tensor, truth: Sequence[Tensor]) -> dict[str, Tensor]:
        """See `SmallTraining`; what is no hand has no side."""
        left, hand = truth
        each = binary_cross_entropy_with_logits(found[:, 0], left, reduction="none")
        terms = {"side": (each * hand).sum() / hand.sum().clamp(min=1), "hand": binary_cross_entropy_with_logits(found[:, 1], hand)}
        return {"loss": terms["side"] + terms["hand"]} | terms

    def figures(self) -> dict[str, float]:
        """See `SmallTraining`."""
        logits = torch.cat([self.mean.net(part.to(self.device)) for part in self._crops.split(64)]).cpu().numpy()
        right = (logits > 0) == self._truth
        return {"sides_right": float(right[self._truth[:, 1], 0].mean()), "hands_right": float(right[:, 1].mean())}

    def told(self, row: dict[str, float]) -> str:
        """See `SmallTraining`."""
        return f"sides right {100 * row['val_sides_right']:.1f} %, hands and others {100 * row['val_hands_right']:.1f} %"
