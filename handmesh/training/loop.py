"""The training of a mesh net, from shards to a run folder: killed at any moment, `--resume` goes on as if it never was."""

import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from handmesh.data.augment import NO_AUGMENTATION
from handmesh.data.crop import lixels_to_camera
from handmesh.data.dataset import Batch, HandDataset, load_batches
from handmesh.data.sampler import EpochBatches
from handmesh.data.shards import ShardDataset, check_index
from handmesh.evaluation.inference import Predicted, predict_dataset, root_mean_square
from handmesh.keypoints import keypoint_regressor
from handmesh.losses import Target, lixel_losses, total_loss
from handmesh.metrics import evaluate_hands, mean_error_mm
from handmesh.nets.fast import start_smooth
from handmesh.nets.mesh_net import HandMeshNet, Prediction
from handmesh.nets.registry import create_net
from handmesh.run_folder import CHECKPOINT, WEIGHTS, save_weights, write_run
from handmesh.settings.mesh import TrainSpec, spec_to_dict
from handmesh.training.progress import Progress, check_folder, learning_rate, load_checkpoint, save_checkpoint
from handmesh.training.ranks import Ranks, open_ranks
from handmesh.training.record import Recorder, draw_validation
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import HandModel
from handsynth.core.named_hands import find_hand
from handsynth.core.remote import is_address


class Part(NamedTuple):
    """A dataset of the mix."""

    data: ShardDataset
    weight: float  # how often each sample is seen in an epoch


@dataclass(frozen=True)
class HowRun:
    """What never changes a weight."""

    workers: int = 2  # loading processes of each rank
    checkpoint_every: int = 500  # steps
    resume: bool = False
    skip_bad: bool = False


def train_mesh(
    spec: TrainSpec,
    data: Sequence[str],
    val: Sequence[str],
    out: Path,
    device: str,
    how: HowRun,
    hand_file: Path | None = None,
) -> str | None:
    """Opens the datasets, finds their hand and trains, alone or as one of torchrun's ranks -> the closing line, on the first rank.

    Args:
        spec: how to train.
        data: folder or address, or either with =WEIGHT, each as of `parse_part`.
        val: folders or addresses to validate on.
        out: folder of the run.
        device: as of `pick_device`.
        how: what changes no weight.
        hand_file: the datasets' hand (.npz), when it is not found by itself.
    """
    parts = [parse_part(text, how.skip_bad) for text in data]
    first = parts[0].data
    hand = find_hand(first.index, first.source, hand_file)
    for part in parts:
        check_index(part.data.index, part.data.source, hand)
    validation = [ShardDataset(folder, hand, how.skip_bad) for folder in val]
    with open_ranks(device) as ranks:
        history = Training(spec, parts, validation, hand, out, ranks, how).run()
        if not ranks.first:
            return None
    bad = sum(len(d.bad_shards) for d in [p.data for p in parts] + validation)
    skipped = f"; {bad} damaged shards were left out" if bad else ""
    if not history:
        return f"{out}: nothing was left to do{skipped}"
    last = history[-1]
    return (
        f"{out}: {spec.net}, {last['epoch']:.0f} epochs, validation PA-MPJPE {last['val_pa_mpjpe_mm']:.1f} mm, "
        f"PA-MPVPE {last['val_pa_mpvpe_mm']:.1f} mm; see curves.png and validation.png{skipped}"
    )


def parse_part(text: str, skip_bad: bool = False) -> Part:
    """WHERE or WHERE=WEIGHT -> an open dataset and its weight. Raises UsageError for a weight that is no positive number."""
    where, mark, weight = text.rpartition("=")
    if not mark or "/" in weight or os.path.exists(text):  # a name may hold "=" too
        return Part(ShardDataset(text, skip_bad=skip_bad), 1.0)
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"--data {text}: after = comes the dataset's weight, a positive number")
    return Part(ShardDataset(where, skip_bad=skip_bad), value)


class Training:
    """A training under way: fills the run folder `out`.

    Raises UsageError when `out` already holds a run and `resume` is not requested, or when it is requested with other settings.
    """

    def __init__(
        self,
        spec: TrainSpec,
        parts: Sequence[Part],
        validation: Sequence[ShardDataset],
        hand: HandModel,
        out: Path,
        ranks: Ranks,
        how: HowRun,
    ) -> None:
        self.spec, self.parts, self.hand, self.out, self.ranks, self.how = spec, list(parts), hand, out, ranks, how
        if not sum(len(data) for data in validation):
            raise UsageError("the validation set is empty: --val FOLDER needs a dataset with samples")
        self.config = run_config(spec, parts, validation, hand)
        check_folder(out, self.config, how.resume)

        torch.manual_seed(spec.seed)
        device = ranks.device
        # Layers of few channels and large maps, of which these nets are made, are faster with channels last, CPU and GPU.
        net = create_net(spec.net, keypoint_regressor(hand), pretrained=spec.pretrained)
        start_smooth(net, hand)
        self.frozen: nn.Module | None = None
        if spec.freeze_early and spec.pretrained:
            self.frozen = net.get_submodule("pose_backbone.early").requires_grad_(False)
        self.net: HandMeshNet = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
        self.progress = Progress()
        if how.resume and (out / CHECKPOINT).exists():
            self.progress = load_checkpoint(out / CHECKPOINT, self.net, self.optimizer)
        self.model = ranks.wrap(self.net)
        self.faces = torch.as_tensor(hand.faces.astype(np.int64), device=device)
        self.validation = HandDataset(validation, spec.side, NO_AUGMENTATION, spec.seed, how.skip_bad)
        self.recorder: Recorder | None = None

    def run(self) -> list[dict[str, float]]:
        """Every epoch that is left -> one row of figures an epoch (what metrics.csv shows).

        Raises HandsynthError when the loss is no longer finite (the last checkpoint stays) or a sample is damaged.
        """
        if self.ranks.first:
            write_run(self.out, self.config, self.hand)
            self.recorder = Recorder(self.out, self.progress.steps_done)
            if self.progress.history and not self.progress.step:
                self._publish()  # an earlier version wrote them after the checkpoint, and could be killed between the two
        try:
            while self.progress.epoch < self.spec.epochs:
                self._end_of_epoch(self._epoch())
        finally:
            if self.recorder:
                self.recorder.close()
        self.ranks.wait()
        return self.progress.history

    def _epoch(self) -> int:
        """The steps of the epoch under way that are left -> how many it has in all."""
        progress, spec, ranks = self.progress, self.spec, self.ranks
        data = HandDataset([p.data for p in self.parts], spec.side, spec.augment, spec.seed, self.how.skip_bad)
        weights, step = [p.weight for p in self.parts], progress.step
        batches = EpochBatches(data.sizes, weights, spec.batch, spec.seed, progress.epoch, ranks.rank, ranks.world, step)
        steps = len(batches.bounds)
        self.model.train()
        if self.frozen:
            self.frozen.eval()  # batch norm's statistics too
        title = f"epoch {progress.epoch + 1}/{spec.epochs}"
        with tqdm(total=steps, initial=progress.step, desc=title, unit="step", disable=not ranks.first, mininterval=1) as bar:
            for batch in load_batches(data, batches, self.how.workers, pin=ranks.device.type == "cuda"):
                start, stop = batches.bounds[progress.step].tolist()
                values = self._step(batch, stop - start, steps)
                for name, value in values.items():
                    progress.sums[name] = progress.sums.get(name, 0.0) + value
                progress.step += 1
                progress.steps_done += 1
                seen = progress.sums["samples"]
                bar.set_postfix_str(f"loss {progress.sums['loss'] / seen:.3f}, MPJPE {progress.sums['mpjpe_mm'] / seen:.1f} mm")
                bar.update()
                if self.recorder:
                    count = values["samples"]
                    self.recorder.step(progress.steps_done, {k: v / count for k, v in values.items() if k != "samples"})
                if progress.step % self.how.checkpoint_every == 0:
                    self._save_checkpoint()
        return steps

    def _step(self, batch: Batch, count: int, steps: int) -> dict[str, float]:
        """One step of Adam on a global batch of `count` samples -> sums over that batch."""
        spec, progress, device = self.spec, self.progress, self.ranks.device
        lr = learning_rate(spec, progress.steps_done, steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        # Random numbers inside the net (stochastic depth) depend on the step alone, so that a resumed run draws the same.
        torch.manual_seed((spec.seed * 1_000_003 + progress.steps_done) * 4099 + self.ranks.rank)
        image = batch.image.to(device, memory_format=torch.channels_last, non_blocking=True)
        target = Target(*(t.to(device, non_blocking=True) for t in batch.target))
        with torch.autocast("cuda", torch.bfloat16, enabled=spec.bf16 and device.type == "cuda"):
            prediction: Prediction = self.model(image)
        keypoints = self.net.regress_keypoints(prediction.vertices)
        # Each rank's share of the mean over the global batch; DDP averages gradients, hence the factor.
        terms = {name: t.sum() / count for name, t in lixel_losses(prediction, keypoints, target, self.faces).items()}
        loss = total_loss(terms)
        self.optimizer.zero_grad(set_to_none=True)
        (loss * self.ranks.world).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), spec.clip)

        error = len(image) * _error_mm(keypoints, batch, image.shape[-1])
        local = torch.tensor([loss.item() * count, *(t.item() * count for t in terms.values()), error], dtype=torch.float64)
        summed = self.ranks.total(local.to(device, torch.float64 if device.type == "cpu" else torch.float32)).tolist()
        if not (math.isfinite(summed[0]) and math.isfinite(norm.item())):
            self._stop_at_nan()
        self.optimizer.step()
        return dict(zip(("loss", *terms, "mpjpe_mm"), summed, strict=True)) | {"samples": count, "lr": lr * count}

    def _stop_at_nan(self) -> None:
        progress = self.progress
        kept = (
            f"the last good checkpoint is {self.out / CHECKPOINT}"
            if (self.out / CHECKPOINT).exists()
            else "no checkpoint was due yet"
        )
        raise HandsynthError(
            f"loss or gradients are no longer finite at step {progress.step + 1} of epoch {progress.epoch + 1}: training stopped, "
            f"{kept}; start again with a lower --lr (it was {self.spec.lr:g})"
        )

    def _end_of_epoch(self, steps: int) -> None:
        """Validates and notes a row; then writes what the epoch has given, and last the checkpoint that says that it is done.

        Killed anywhere before that, a resumed run does the rest of the epoch again, and ends with the same bytes.
        """
        progress, sums = self.progress, self.progress.sums
        self.ranks.same_buffers(self.net)
        if self.ranks.first:
            predicted = predict_dataset(
                self.net, self.validation, self.hand.faces, self.spec.batch, self.how.workers, self.ranks.device, bar=True
            )
            self.net.calibrate_std(torch.from_numpy(root_mean_square(predicted.error_over_std)))
            row = {"epoch": float(progress.epoch + 1), "steps": float(progress.steps_done)}
            row |= {f"train_{name}": value / sums["samples"] for name, value in sums.items() if name not in ("samples", "lr")}
            row |= {f"val_{name}": value for name, value in validation_figures(predicted).items()}
            row["lr"] = learning_rate(self.spec, progress.steps_done - 1, steps)  # a resumed run may not have done that step
            progress.history.append(row)
            tqdm.write(_line(row, self.spec.epochs), file=sys.stderr)
        progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, {}
        if self.ranks.first:
            self._publish()
            if progress.epoch == self.spec.epochs:
                draw_validation(self.out / "validation.png", self.validation, predicted, self.hand.faces)
        self._save_checkpoint()

    def _publish(self) -> None:
        """Writes weights and figures of the epochs that are done."""
        more = {"hand": self.hand.digest, "side": self.spec.side, "epoch": self.progress.epoch}
        save_weights(self.net, self.out / WEIGHTS, self.spec.net, more)
        if self.recorder:
            self.recorder.epoch(self.progress.history)

    def _save_checkpoint(self) -> None:
        self.ranks.same_buffers(self.net)
        if self.ranks.first:
            save_checkpoint(self.out / CHECKPOINT, self.net, self.optimizer, self.progress)


def run_config(spec: TrainSpec, parts: Sequence[Part], validation: Sequence[ShardDataset], hand: HandModel) -> dict[str, Any]:
    """What config.yaml says: settings, and which datasets it was trained on."""

    def described(data: ShardDataset) -> dict[str, Any]:
        where = data.source if is_address(data.source) else str(data.folder.absolute())
        return {"name": data.name, "identity": data.identity, "samples": len(data), "folder": where}

    return {
        "training": spec_to_dict(spec),
        "hand": {"name": hand.name, "digest": hand.digest, "licence": hand.licence},
        "datasets": [described(p.data) | {"weight": p.weight} for p in parts],
        "validation": [described(data) for data in validation],
    }


def validation_figures(predicted: Predicted) -> dict[str, float]:
    """Loss of equation 4 [lixels] and the metrics of the paper's tables."""
    terms = {name: torch.as_tensor(values) for name, values in predicted.losses.items()}
    figures = {"loss": float(total_loss(terms))}
    return figures | evaluate_hands(predicted.keypoints, predicted.vertices, predicted.true_keypoints, predicted.true_vertices)


def _error_mm(keypoints: Tensor, batch: Batch, side: int) -> float:
    """Mean distance of (B, 21, 3) predicted keypoints [lixels] from the true ones in the crop's camera [mm]."""
    here = np.broadcast_to(np.eye(3), (len(keypoints), 3, 3))
    found = lixels_to_camera(keypoints.detach().cpu().numpy(), batch.root_depth.numpy(), batch.K.numpy(), here, side)
    return mean_error_mm(found, batch.keypoints_m.numpy())


def _line(row: dict[str, float], epochs: int) -> str:
    return (
        f"{time.strftime('%H:%M:%S')} epoch {row['epoch']:.0f}/{epochs}: loss {row['train_loss']:.3f}; validation loss "
        f"{row['val_loss']:.3f}, MPJPE {row['val_mpjpe_mm']:.1f}, PA-MPJPE {row['val_pa_mpjpe_mm']:.1f} mm"
    )
