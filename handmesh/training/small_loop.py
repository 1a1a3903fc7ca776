"""What the trainings of the detector and of the net of sides share, from images of hands to a run folder; `--resume` goes on from
the last row of metrics.csv.

Samples are drawn by number (`data.detection.Draws`), so that a step's batch follows from seed and step alone. The backbone's first
layers, up to a quarter of the image's size, keep the weights that they start from, and run with their norms folded into them.
"""

import copy
import itertools
import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from handmesh.data.detection import DetectionShards
from handmesh.nets.backbones import Backbone
from handmesh.nets.efficientnet_lite import efficientnet_lite0
from handmesh.run_files import CHECKPOINT, WEIGHTS
from handmesh.run_folder import load_run, save_weights, write_settings
from handmesh.settings.detector import DetectorSpec, SideSpec
from handmesh.settings.mesh import spec_to_dict
from handmesh.training.progress import Progress, check_folder, load_checkpoint, save_checkpoint
from handmesh.training.record import Panel, Recorder
from handmesh.training.weights import RunningMean, parameter_groups, weights_of
from handsynth.core.errors import HandsynthError, UsageError

Sample = tuple[Tensor, tuple[Tensor, ...]]
"""Of a batch: (B, 3, H, W) uint8 images, and what the loss compares with."""


class SmallNet(Protocol):
    """A net on EfficientNet-Lite0's first layers, as `nets.detector_net` and `nets.side_net` have them."""

    early: nn.Sequential
    mean: Tensor
    std: Tensor

    def after(self, early: Tensor) -> Tensor:
        """From the first layers' maps to what the net finds."""


class Batches(IterableDataset[Sample]):
    """Batches from step `start` on, `make` making that of a step; several loading processes take steps in turn."""

    def __init__(self, make: Any, start: int) -> None:
        self.make, self.start = make, start

    def __iter__(self) -> Iterator[Sample]:
        torch.set_num_threads(1)
        info = torch.utils.data.get_worker_info()
        steps = itertools.count(self.start) if info is None else itertools.count(self.start + info.id, info.num_workers)
        return map(self.make, steps)


class SmallTraining(ABC):
    """The state of a training under way. A subclass says what is drawn, lost, and found in validation.

    Args:
        spec: how to train.
        data: datasets and how often each of their samples is drawn.
        validation: of which `figures` are taken.
        out: folder of the run.
        device: where.
        resume: whether to go on with the run that is there.
        workers: loading processes; 0 draws in this one.
        start: folder of a run of a mesh net on EfficientNet-Lite0, whose PoseNet is the first backbone instead of ImageNet's.

    Raises UsageError when `out` already holds a run and `resume` is not requested, or when it is requested with other settings,
    or when `start` has another backbone.
    """

    KIND: ClassVar[str]
    PANELS: ClassVar[tuple[Panel, ...]]

    def __init__(
        self,
        spec: DetectorSpec | SideSpec,
        data: Sequence[tuple[DetectionShards, float]],
        validation: DetectionShards,
        out: Path,
        device: torch.device,
        resume: bool = False,
        workers: int = 1,
        start: Path | None = None,
    ) -> None:
        self.spec, self.out, self.device, self.workers, self.validation = spec, out, device, workers, validation
        self.config = {
            "kind": self.KIND, "training": spec_to_dict(spec),
            "datasets": [_described(part) | {"weight": weight} for part, weight in data], "validation": [_described(validation)],
        } | ({"start": weights_of(start)} if start else {}) | self.also_decides()  # fmt: skip
        check_folder(out, self.config, resume)
        torch.manual_seed(spec.seed)
        self.net = self.make_net(_backbone(spec.pretrained, start)).to(device, memory_format=torch.channels_last)
        self.keeps_early = spec.pretrained or start is not None
        if self.keeps_early:
            self.net.early.requires_grad_(False)
        self.mean: RunningMean[Any] = RunningMean(self.net, spec.ema)
        groups = parameter_groups(self.net, decay_norms=False)
        self.optimizer = torch.optim.AdamW(groups, lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
        self.kept = {"net": self.net, "ema": self.mean.net}
        self.progress = Progress()
        if resume and (out / CHECKPOINT).exists():
            self.progress = load_checkpoint(out / CHECKPOINT, self.kept, self.optimizer)
        self.early: nn.Module = _folded(self.net.early) if self.keeps_early else self.net.early
        self.open_data([part for part, _ in data], [weight for _, weight in data])

    def also_decides(self) -> dict[str, Any]:
        """What decides the weights besides, as config.yaml names it."""
        return {}

    @abstractmethod
    def make_net(self, backbone: Backbone) -> Any:
        """A module that is a `SmallNet`, of that backbone's layers."""

    @abstractmethod
    def open_data(self, parts: list[DetectionShards], weights: list[float]) -> None:
        """Gets ready to draw from datasets whose samples have these weights, and to validate."""

    @abstractmethod
    def draw(self, step: int) -> Sample:
        """The batch of a step."""

    @abstractmethod
    def losses(self, found: Tensor, truth: Sequence[Tensor]) -> dict[str, Tensor]:
        """What the net finds in a batch, and the truth -> the "loss", and terms of it."""

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """Of the mean net on the validation data."""

    @abstractmethod
    def told(self, row: dict[str, float]) -> str:
        """Those figures in words."""

    @property
    def done(self) -> float:
        """Share of the training that is done."""
        if self.spec.minutes:
            return min(self.progress.seconds / (60 * self.spec.minutes), 1.0)
        return min(self.progress.steps_done / self.spec.steps, 1.0)

    def run(self) -> list[dict[str, float]]:
        """Every step that is left -> the rows of figures. Raises HandsynthError when the loss is no longer finite."""
        write_settings(self.out, self.config)
        progress, recorder = self.progress, Recorder(self.out, self.progress.steps_done, self.PANELS)
        try:
            while self.done < 1:
                row = self._stretch()
                progress.history.append(row)
                progress.epoch += 1
                begin = (
                    f"{time.strftime('%H:%M:%S')} step {row['steps']:.0f} ({100 * self.done:.0f} %): loss {row['train_loss']:.3f}"
                )
                tqdm.write(f"{begin}; validation: {self.told(row)}", file=sys.stderr)
                save_weights(self.mean.net, self.out / WEIGHTS, self.KIND, {"steps": progress.steps_done})
                recorder.epoch(progress.history)
                save_checkpoint(self.out / CHECKPOINT, self.kept, self.optimizer, progress)
        finally:
            recorder.close()
        return progress.history

    def _stretch(self) -> dict[str, float]:
        """The steps until the next row -> the row."""
        spec, progress = self.spec, self.progress
        batches = Batches(self.draw, progress.steps_done)
        loader = iter(DataLoader(batches, batch_size=None, num_workers=self.workers, prefetch_factor=4 if self.workers else None))
        sums: dict[str, float] = {}
        count, last = 0, time.monotonic()
        self.net.train()
        if self.keeps_early:
            self.net.early.eval()
        while count < spec.report_steps and self.done < 1:
            image, truth = next(loader)
            for name, value in self.step(image.to(self.device), [part.to(self.device) for part in truth]).items():
                sums[name] = sums.get(name, 0.0) + value
            if not math.isfinite(sums["loss"]):
                raise HandsynthError(
                    f"the loss is no longer finite at step {progress.steps_done}: training stopped; start again with a lower --lr "
                    f"(it was {spec.lr:g})"
                )
            count += 1
            now = time.monotonic()
            progress.seconds, last = progress.seconds + now - last, now
        row = {"epoch": progress.epoch + 1.0, "steps": float(progress.steps_done), "minutes": progress.seconds / 60}
        row |= {f"train_{name}": value / count for name, value in sums.items()}
        with torch.no_grad():
            row |= {f"val_{name}": value for name, value in self.figures().items()}
        return row | {"lr": self.optimizer.param_groups[0]["lr"]}

    def step(self, image: Tensor, truth: Sequence[Tensor]) -> dict[str, float]:
        """One step of AdamW -> the loss and its terms."""
        spec, step = self.spec, self.progress.steps_done
        for group in self.optimizer.param_groups:
            group["lr"] = spec.lr * min((step + 1) / (spec.warmup_steps + 1), 1.0) * max(1 - self.done, 0.01)
        image = image.to(torch.float32, memory_format=torch.channels_last) / 255
        image = (image - self.net.mean) / self.net.std
        with torch.set_grad_enabled(not self.keeps_early):
            early = self.early(image)
        terms = self.losses(self.net.after(early), truth)
        self.optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), spec.clip)
        self.optimizer.step()
        self.mean.update(self.net, step)
        self.progress.steps_done += 1
        return {name: term.item() for name, term in terms.items()}


def _backbone(pretrained: bool, start: Path | None) -> Backbone:
    """An EfficientNet-Lite0 with ImageNet's or random weights, or with those of a mesh net's PoseNet."""
    if start is None:
        return efficientnet_lite0(pretrained)
    made, found = efficientnet_lite0(False), load_run(start, torch.device("cpu")).net.pose_backbone
    try:
        made.load_state_dict(found.state_dict())
    except RuntimeError:
        raise UsageError(f"--start {start}: its net does not stand on EfficientNet-Lite0, as lite-fast does") from None
    return made


def _folded(early: nn.Sequential) -> nn.Module:
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


def _described(part: DetectionShards) -> dict[str, Any]:
    """A dataset as config.yaml names it."""
    return {"name": part.name, "folder": str(part.folder), "identity": part.identity, "samples": len(part)}
