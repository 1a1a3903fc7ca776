"""The training of the net that tells left hands from right ones, from images of hands to a run folder; see `detector_loop`."""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from handmesh.data.detection import DetectionShards
from handmesh.data.side_crops import SideDraws, usable_crops
from handmesh.detection_maps import as_input
from handmesh.nets.side_net import SideNet
from handmesh.run_files import CHECKPOINT, SIDE, WEIGHTS
from handmesh.run_folder import save_weights, write_settings
from handmesh.settings.detector import SideSpec
from handmesh.settings.mesh import spec_to_dict
from handmesh.training.detector_loop import described, folded, own_steps
from handmesh.training.progress import Progress, check_folder, load_checkpoint, save_checkpoint
from handmesh.training.record import RATE_PANEL, Panel, Recorder
from handmesh.training.weights import RunningMean, parameter_groups
from handsynth.core.errors import HandsynthError

SIDE_PANELS = (
    Panel("loss", (("train_loss", "training", "tab:blue"),)),
    Panel("validation", (("val_sides_right", "sides right", "tab:purple"),)),
    RATE_PANEL,
)

VALIDATION_HANDS = 400
"""At most, of the first images of the validation data."""


class _Batches(IterableDataset[tuple[Tensor, Tensor]]):
    """Batches from step `start` on: (B, 3, S, S) uint8 and (B,) 1 for left hands."""

    def __init__(self, draws: SideDraws, spec: SideSpec, start: int) -> None:
        self.draws, self.spec, self.start = draws, spec, start

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for step in own_steps(self.start):
            rows = [self.draws.sample(step * self.spec.batch + k, self.spec.side) for k in range(self.spec.batch)]
            images, left = zip(*rows, strict=True)
            yield torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2)), torch.tensor(left, dtype=torch.float32)


def train_side(
    spec: SideSpec,
    data: Sequence[DetectionShards],
    validation: DetectionShards,
    out: Path,
    device: torch.device,
    resume: bool = False,
    workers: int = 1,
) -> list[dict[str, float]]:
    """Trains the net and fills the run folder `out` -> its rows of figures. Raises as `train_detector` does."""
    config: dict[str, Any] = {
        "kind": SIDE, "training": spec_to_dict(spec), "datasets": [described(part) | {"weight": 1.0} for part in data],
        "validation": [described(validation)],
    }  # fmt: skip
    check_folder(out, config, resume)
    torch.manual_seed(spec.seed)
    net = SideNet(spec.pretrained).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if spec.pretrained:
        net.early.requires_grad_(False)
    mean = RunningMean(net, spec.ema)
    groups = parameter_groups(net, decay_norms=False)
    optimizer = torch.optim.AdamW(groups, lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
    kept, progress = {"net": net, "ema": mean.net}, Progress()
    if resume and (out / CHECKPOINT).exists():
        progress = load_checkpoint(out / CHECKPOINT, kept, optimizer)
    early: nn.Module = folded(net.early) if spec.pretrained else net.early
    draws, (images, sides) = SideDraws(list(data), spec.seed), usable_crops(validation, VALIDATION_HANDS, spec.side)
    crops = as_input(images)
    write_settings(out, config)
    recorder = Recorder(out, progress.steps_done, SIDE_PANELS)

    def done() -> float:
        share = progress.seconds / (60 * spec.minutes) if spec.minutes else progress.steps_done / spec.steps
        return min(share, 1.0)

    try:
        while done() < 1:
            batches = _Batches(draws, spec, progress.steps_done)
            loader = iter(DataLoader(batches, batch_size=None, num_workers=workers))
            total, count, last = 0.0, 0, time.monotonic()
            net.train()
            if spec.pretrained:
                net.early.eval()
            while count < spec.report_steps and done() < 1:
                image, left = next(loader)
                for group in optimizer.param_groups:
                    warm = min((progress.steps_done + 1) / (spec.warmup_steps + 1), 1.0)
                    group["lr"] = spec.lr * warm * max(1 - done(), 0.01)
                pixels = image.to(device).to(torch.float32, memory_format=torch.channels_last) / 255
                pixels = (pixels - net.mean) / net.std
                with torch.set_grad_enabled(not spec.pretrained):
                    features = early(pixels)
                loss = binary_cross_entropy_with_logits(net.after(features), left.to(device))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), spec.clip)
                optimizer.step()
                mean.update(net, progress.steps_done)
                progress.steps_done += 1
                total, count = total + loss.item(), count + 1
                if not math.isfinite(total):
                    raise HandsynthError(
                        f"the loss is no longer finite at step {progress.steps_done}: training stopped; start again with a lower "
                        f"--lr (it was {spec.lr:g})"
                    )
                now = time.monotonic()
                progress.seconds, last = progress.seconds + now - last, now
            with torch.inference_mode():
                logits = torch.cat([mean.net(part.to(device)) for part in torch.from_numpy(crops).split(64)]).cpu().numpy()
            row = {
                "epoch": progress.epoch + 1.0, "steps": float(progress.steps_done), "minutes": progress.seconds / 60,
                "train_loss": total / count, "val_sides_right": float(((logits > 0) == sides).mean()),
                "lr": optimizer.param_groups[0]["lr"],
            }  # fmt: skip
            progress.history.append(row)
            progress.epoch += 1
            right = 100 * row["val_sides_right"]
            line = f"{time.strftime('%H:%M:%S')} step {row['steps']:.0f} ({100 * done():.0f} %): loss {row['train_loss']:.3f}; "
            tqdm.write(f"{line}validation: sides right {right:.1f} %", file=sys.stderr)
            save_weights(mean.net, out / WEIGHTS, SIDE, {"steps": progress.steps_done})
            recorder.epoch(progress.history)
            save_checkpoint(out / CHECKPOINT, kept, optimizer, progress)
    finally:
        recorder.close()
    return progress.history
