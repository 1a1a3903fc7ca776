"""The training of a detector: focal loss of the middles, boxes, sides and directions of hands; see `small_loop`."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from handmesh.data.detection import DetectionShards, Draws
from handmesh.detection_maps import LONGEST_LOG, STRIDE, as_input, find_hands
from handmesh.evaluation.detection import FoundHands, crowd_truth, score_detections
from handmesh.nets.backbones import Backbone
from handmesh.nets.detector_net import DetectorNet
from handmesh.run_files import DETECTOR
from handmesh.settings.detector import DetectorSpec
from handmesh.training.record import RATE_PANEL, Panel
from handmesh.training.small_loop import Sample, SmallTraining

DETECTOR_PANELS = (
    Panel("loss", (("train_loss", "training", "tab:blue"), ("train_middle", "of it, the middles", "tab:orange"))),
    Panel(
        "validation",
        (
            ("val_average_precision", "average precision", "tab:green"),
            ("val_recall", "recall", "tab:blue"),
            ("val_sides_right", "sides right", "tab:purple"),
            ("val_false_share", "false", "tab:red"),
        ),
    ),
    RATE_PANEL,
)

TERMS = {"middle": 1.0, "box": 2.0, "side": 1.5, "direction": 0.5}
"""Terms of the loss and their weights."""

VALIDATION_IMAGES = 150
"""At most, the first of the validation data."""

THRESHOLD = 0.4
"""Score of a found hand in validation."""


def detector_losses(found: Tensor, maps: Sequence[Tensor]) -> dict[str, Tensor]:
    """Terms of the loss of a batch.

    The middles' is the focal loss with soft surroundings (Law and Deng 2018), over the number of hands; boxes have generalised
    intersection over union (Rezatofighi et al. 2019) and the distances' logarithms; all but the first are means over hands.

    Args:
        found: (B, 8, h, w).
        maps: the truth, the parts of `Maps` as tensors with a leading batch axis.
    """
    middle, counts, share, left, box, direction = maps
    hands = share.sum().clamp(min=1)
    probability = found[:, 0].sigmoid()
    is_middle = middle == 1
    hit = (1 - probability) ** 2 * logsigmoid(found[:, 0])
    miss = (1 - middle) ** 4 * probability**2 * logsigmoid(-found[:, 0])
    focal = -(torch.where(is_middle, hit, miss) * counts).sum() / hands
    places = share > 0
    weight = share[places] / hands
    cells = found.permute(0, 2, 3, 1)[places]
    truth, ray = (part.permute(0, 2, 3, 1)[places] for part in (box, direction))
    side = binary_cross_entropy_with_logits(cells[:, 1], left[places], reduction="none")
    logs = cells[:, 2:6].clamp(-LONGEST_LOG, LONGEST_LOG)
    distances = STRIDE * logs.exp()
    row, column = (places.nonzero()[:, axis] for axis in (1, 2))
    centre = STRIDE * (torch.stack([column, row], 1) + 0.5)
    corners = torch.cat([centre - distances[:, :2], centre + distances[:, 2:]], 1)
    true_distances = torch.cat([centre - truth[:, :2], truth[:, 2:] - centre], 1).clamp(min=1.0)
    off = (logs - (true_distances / STRIDE).log()).abs().mean(1)
    length = ray.norm(dim=1)
    cosine = torch.cosine_similarity(cells[:, 6:8], ray, dim=1, eps=1e-6)
    return {
        "middle": focal,
        "box": ((1 - generalised_iou(corners, truth) + 0.3 * off) * weight).sum(),
        "side": (side * weight).sum(),
        "direction": ((1 - cosine) * length * weight).sum(),
    }


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """(N, 4) boxes, pair by pair -> (N,) in [-1, 1]."""

    def area(low: Tensor, high: Tensor) -> Tensor:
        return (high - low).clamp(min=0).prod(1)

    shared = area(torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:]))
    union = area(a[:, :2], a[:, 2:]) + area(b[:, :2], b[:, 2:]) - shared
    around = area(torch.minimum(a[:, :2], b[:, :2]), torch.maximum(a[:, 2:], b[:, 2:]))
    return shared / union.clamp(min=1e-6) - (around - union) / around.clamp(min=1e-6)


class DetectorTraining(SmallTraining):
    """A training under way."""

    KIND = DETECTOR
    PANELS = DETECTOR_PANELS

    spec: DetectorSpec

    def make_net(self, backbone: Backbone) -> DetectorNet:
        """See `SmallTraining`."""
        return DetectorNet(backbone)

    def open_data(self, parts: list[DetectionShards], weights: list[float]) -> None:
        """See `SmallTraining`."""
        self.draws = Draws(parts, weights, self.spec.seed)

    def draw(self, step: int) -> Sample:
        """See `SmallTraining`; the truth are the parts of `Maps`."""
        height, width = self.spec.shapes[step % len(self.spec.shapes)]
        rows = [self.draws.sample(step * self.spec.batch + k, height, width) for k in range(self.spec.batch)]
        image = torch.from_numpy(np.stack([row[0] for row in rows]).transpose(0, 3, 1, 2))
        return image, tuple(torch.from_numpy(np.stack(part)) for part in zip(*(row[1] for row in rows), strict=True))

    def losses(self, found: Tensor, truth: Sequence[Tensor]) -> dict[str, Tensor]:
        """See `SmallTraining`."""
        terms = detector_losses(found, truth)
        return {"loss": torch.stack([TERMS[name] * term for name, term in terms.items()]).sum()} | terms

    def _maps(self, image: np.ndarray) -> np.ndarray:
        maps: np.ndarray = self.mean.net(torch.from_numpy(as_input([image])).to(self.device))[0].float().cpu().numpy()
        return maps

    def figures(self) -> dict[str, float]:
        """See `SmallTraining`."""
        true, found = [], []
        for whole, truth in crowd_truth(self.validation, self.spec.side, VALIDATION_IMAGES):
            true.append(truth)
            hands = find_hands(self._maps, whole, self.spec.side, 0.05)
            found.append(FoundHands(hands.boxes, hands.scores, hands.left > 0.5, hands.angles))
        kept = ("average_precision", "recall", "sides_right", "false_share", "overlap", "angle_deg")
        return {name: value for name, value in score_detections(true, found, THRESHOLD).to_dict().items() if name in kept}

    def told(self, row: dict[str, float]) -> str:
        """See `SmallTraining`."""
        return (
            f"average precision {row['val_average_precision']:.3f}, found {row['val_recall']:.3f}, "
            f"sides right {row['val_sides_right']:.3f}, false {row['val_false_share']:.3f}, "
            f"direction {row['val_angle_deg']:.0f} deg"
        )
