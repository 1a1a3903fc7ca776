"""The training of a detector, from images of hands to a run folder; `--resume` goes on from the last row of metrics.csv.

Samples are drawn by number (`data.detection.Draws`), so that a step's batch follows from seed and step alone. The backbone's first
layers, up to a quarter of the image's size, keep ImageNet's weights, and run with their norms folded into them.
"""

import copy
import itertools
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from handmesh.data.detection import DetectionShards, Draws
from handmesh.detection_maps import LONGEST_LOG, STRIDE, Maps, as_input, find_hands
from handmesh.evaluation.detection import DetectionScores, FoundHands, crowd_truth, score_detections
from handmesh.nets.detector_net import DetectorNet
from handmesh.run_files import CHECKPOINT, DETECTOR, WEIGHTS
from handmesh.run_folder import save_weights, write_settings
from handmesh.settings.detector import DetectorSpec
from handmesh.settings.mesh import spec_to_dict
from handmesh.training.progress import Progress, check_folder, load_checkpoint, save_checkpoint
from handmesh.training.record import RATE_PANEL, Panel, Recorder
from handmesh.training.weights import RunningMean, parameter_groups
from handsynth.core.errors import HandsynthError

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


def detector_losses(found: Tensor, maps: Maps) -> dict[str, Tensor]:
    """Terms of the loss of a batch.

    The middles' is the focal loss with soft surroundings (Law and Deng 2018), over the number of hands; boxes have generalised
    intersection over union (Rezatofighi et al. 2019) and the distances' logarithms; all but the first are means over hands.

    Args:
        found: (B, 8, h, w).
        maps: the truth as tensors with a leading batch axis.
    """
    middle, counts, share, left, box, direction = (torch.as_tensor(part) for part in maps)
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


def own_steps(start: int) -> Iterator[int]:
    """Steps from `start` on whose batches this loading process makes: all of them, or every so many where there are several."""
    torch.set_num_threads(1)
    info = torch.utils.data.get_worker_info()
    return itertools.count(start) if info is None else itertools.count(start + info.id, info.num_workers)


class _Batches(IterableDataset[tuple[Tensor, Maps]]):
    """Batches from step `start` on; image (B, 3, H, W) uint8."""

    def __init__(self, draws: Draws, spec: DetectorSpec, start: int) -> None:
        self.draws, self.spec, self.start = draws, spec, start

    def __iter__(self) -> Iterator[tuple[Tensor, Maps]]:
        for step in own_steps(self.start):
            height, width = self.spec.shapes[step % len(self.spec.shapes)]
            rows = [self.draws.sample(step * self.spec.batch + k, height, width) for k in range(self.spec.batch)]
            image = torch.from_numpy(np.stack([row[0] for row in rows]).transpose(0, 3, 1, 2))
            stacked: Any = [torch.from_numpy(np.stack(part)) for part in zip(*(row[1] for row in rows), strict=True)]
            yield image, Maps(*stacked)


def folded(early: nn.Sequential) -> nn.Module:
    """A copy of frozen layers with norms folded into the convolutions before them: the same function, a good half of the time."""
    made = copy.deepcopy(early).eval().requires_grad_(False)
    for module in made.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for k in range(len(module) - 1):
            convolution, norm = module[k], module[k + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[k], module[k + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    return made


def train_detector(
    spec: DetectorSpec,
    data: Sequence[tuple[DetectionShards, float]],
    validation: DetectionShards,
    out: Path,
    device: torch.device,
    resume: bool = False,
    workers: int = 1,
) -> list[dict[str, float]]:
    """Trains a detector and fills the run folder `out` -> its rows of figures.

    Raises UsageError when `out` already holds a run and `resume` is not requested, or when it is requested with other settings;
    HandsynthError when the loss is no longer finite.
    """
    return DetectorTraining(spec, data, validation, out, device, resume, workers).run()


class DetectorTraining:
    """The state of a training under way; arguments as of `train_detector`."""

    def __init__(
        self,
        spec: DetectorSpec,
        data: Sequence[tuple[DetectionShards, float]],
        validation: DetectionShards,
        out: Path,
        device: torch.device,
        resume: bool,
        workers: int,
    ) -> None:
        self.spec, self.out, self.device, self.workers, self.validation = spec, out, device, workers, validation
        self.config = run_config(spec, data, validation)
        check_folder(out, self.config, resume)
        torch.manual_seed(spec.seed)
        self.net = DetectorNet(spec.pretrained).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if spec.pretrained:
            self.net.early.requires_grad_(False)
        self.mean = RunningMean(self.net, spec.ema)
        groups = parameter_groups(self.net, decay_norms=False)
        self.optimizer = torch.optim.AdamW(groups, lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
        self.kept = {"net": self.net, "ema": self.mean.net}
        self.progress = Progress()
        if resume and (out / CHECKPOINT).exists():
            self.progress = load_checkpoint(out / CHECKPOINT, self.kept, self.optimizer)
        self.early: nn.Module = folded(self.net.early) if spec.pretrained else self.net.early
        self.draws = Draws([part for part, _ in data], [weight for _, weight in data], spec.seed)

    @property
    def done(self) -> float:
        """Share of the training that is done."""
        if self.spec.minutes:
            return min(self.progress.seconds / (60 * self.spec.minutes), 1.0)
        return min(self.progress.steps_done / self.spec.steps, 1.0)

    def run(self) -> list[dict[str, float]]:
        """Every step that is left."""
        write_settings(self.out, self.config)
        recorder = Recorder(self.out, self.progress.steps_done, DETECTOR_PANELS)
        try:
            while self.done < 1:
                row = self._stretch()
                self.progress.history.append(row)
                self.progress.epoch += 1
                tqdm.write(_line(row, self.done), file=sys.stderr)
                save_weights(self.mean.net, self.out / WEIGHTS, DETECTOR, {"steps": self.progress.steps_done})
                recorder.epoch(self.progress.history)
                save_checkpoint(self.out / CHECKPOINT, self.kept, self.optimizer, self.progress)
        finally:
            recorder.close()
        return self.progress.history

    def _stretch(self) -> dict[str, float]:
        """The steps until the next row -> the row."""
        spec, progress = self.spec, self.progress
        batches = _Batches(self.draws, spec, progress.steps_done)
        loader = iter(DataLoader(batches, batch_size=None, num_workers=self.workers, prefetch_factor=4 if self.workers else None))
        sums, count, last = dict.fromkeys(("loss", *TERMS), 0.0), 0, time.monotonic()
        self.net.train()
        if spec.pretrained:
            self.net.early.eval()
        while count < spec.report_steps and self.done < 1:
            image, maps = next(loader)
            for name, value in self._step(image.to(self.device), Maps(*(part.to(self.device) for part in maps))).items():
                sums[name] += value
            if not math.isfinite(sums["loss"]):
                raise HandsynthError(
                    f"the loss is no longer finite at step {progress.steps_done}: training stopped; start again with a lower --lr "
                    f"(it was {spec.lr:g})"
                )
            count += 1
            now = time.monotonic()
            progress.seconds, last = progress.seconds + now - last, now
        scores = self.validate()
        row = {"epoch": progress.epoch + 1.0, "steps": float(progress.steps_done), "minutes": progress.seconds / 60}
        row |= {f"train_{name}": value / count for name, value in sums.items()}
        kept = ("average_precision", "recall", "sides_right", "false_share", "overlap", "angle_deg")
        row |= {f"val_{name}": value for name, value in scores.to_dict().items() if name in kept}
        return row | {"lr": self.optimizer.param_groups[0]["lr"]}

    def _step(self, image: Tensor, maps: Maps) -> dict[str, float]:
        """One step of AdamW -> the loss and its terms."""
        spec, step = self.spec, self.progress.steps_done
        for group in self.optimizer.param_groups:
            group["lr"] = spec.lr * min((step + 1) / (spec.warmup_steps + 1), 1.0) * max(1 - self.done, 0.01)
        image = image.to(torch.float32, memory_format=torch.channels_last) / 255
        image = (image - self.net.mean) / self.net.std
        if spec.pretrained:
            with torch.no_grad():
                early = self.early(image)
        else:
            early = self.early(image)
        terms = detector_losses(self.net.after(early), maps)
        loss = torch.stack([TERMS[name] * term for name, term in terms.items()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), spec.clip)
        self.optimizer.step()
        self.mean.update(self.net, step)
        self.progress.steps_done += 1
        return {"loss": loss.item()} | {name: term.item() for name, term in terms.items()}

    def _maps(self, image: np.ndarray) -> np.ndarray:
        maps: np.ndarray = self.mean.net(torch.from_numpy(as_input([image])).to(self.device))[0].float().cpu().numpy()
        return maps

    @torch.no_grad()
    def validate(self) -> DetectionScores:
        """Scores of the mean net on the validation images."""
        true, found = [], []
        for whole, truth in crowd_truth(self.validation, self.spec.side, VALIDATION_IMAGES):
            true.append(truth)
            hands = find_hands(self._maps, whole, self.spec.side, 0.05)
            found.append(FoundHands(hands.boxes, hands.scores, hands.left > 0.5, hands.angles))
        return score_detections(true, found, THRESHOLD)


def described(part: DetectionShards) -> dict[str, Any]:
    """A dataset as config.yaml names it."""
    return {"name": part.name, "folder": str(part.folder), "identity": part.identity, "samples": len(part)}


def run_config(spec: DetectorSpec, data: Sequence[tuple[DetectionShards, float]], validation: DetectionShards) -> dict[str, Any]:
    """What config.yaml says: settings and data."""
    return {
        "kind": DETECTOR,
        "training": spec_to_dict(spec),
        "datasets": [described(part) | {"weight": weight} for part, weight in data],
        "validation": [described(validation)],
    }


def _line(row: dict[str, float], done: float) -> str:
    return (
        f"{time.strftime('%H:%M:%S')} step {row['steps']:.0f} ({100 * done:.0f} %): loss {row['train_loss']:.3f}; validation: "
        f"average precision {row['val_average_precision']:.3f}, found {row['val_recall']:.3f}, "
        f"sides right {row['val_sides_right']:.3f}, false {row['val_false_share']:.3f}, direction {row['val_angle_deg']:.0f} deg"
    )
