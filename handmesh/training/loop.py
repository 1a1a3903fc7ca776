"""The training of a mesh net, from shards to a run folder: killed at any moment, `--resume` goes on as if it never was."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from handmesh.data.augment import NO_AUGMENTATION
from handmesh.data.batches import Raw
from handmesh.data.cache import cached
from handmesh.data.dataset import HandDataset, Loader
from handmesh.data.sampler import EpochBatches, split_weight
from handmesh.data.shards import ShardDataset, check_index
from handmesh.evaluation.inference import Predicted, point_ratios, predict_dataset
from handmesh.keypoints import keypoint_regressor
from handmesh.losses import total_loss
from handmesh.metrics import evaluate_hands
from handmesh.nets.auxiliary import TaughtNet, make_auxiliary
from handmesh.nets.fast import start_smooth
from handmesh.nets.mesh_net import HandMeshNet
from handmesh.nets.registry import create_net
from handmesh.run_files import CHECKPOINT, WEIGHTS
from handmesh.run_folder import load_weights, save_weights, write_run
from handmesh.settings.mesh import TrainSpec, spec_to_dict
from handmesh.training.pace import Pace
from handmesh.training.profile import Profile
from handmesh.training.progress import Progress, check_folder, load_checkpoint, save_checkpoint
from handmesh.training.ranks import Ranks, open_ranks
from handmesh.training.record import Recorder, draw_validation
from handmesh.training.step import READ_EVERY, Step, make_optimizer
from handmesh.training.weights import RunningMean, weights_of
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

    workers: int | None = None  # loading processes of each rank; None: as many as there are cores for it
    cache: str = "none"  # where the training set's images are kept; crops may differ by a level on a device (`data.cache`)
    checkpoint_every: int = 500  # steps
    resume: bool = False
    skip_bad: bool = False
    profile: bool = False  # says where a step's time went


def train_mesh(
    spec: TrainSpec,
    data: Sequence[str],
    val: Sequence[str],
    out: Path,
    device: str,
    how: HowRun,
    hand_file: Path | None = None,
    start: Path | None = None,
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
        start: folder of a run whose weights are the first ones, instead of ImageNet's or random ones.
    """
    parts = [parse_part(text, how.skip_bad) for text in data]
    first = parts[0].data
    hand = find_hand(first.index, first.source, hand_file)
    for part in parts:
        check_index(part.data.index, part.data.source, hand)
    validation = [ShardDataset(folder, hand, how.skip_bad) for folder in val]
    with open_ranks(device) as ranks:
        training = Training(spec, parts, validation, hand, out, ranks, how, start)
        history = training.run()
        if not ranks.first:
            return None
    bad = sum(len(d.bad_shards) for d in [p.data for p in parts] + validation)
    skipped = f"; {bad} damaged shards were left out" if bad else ""
    if not history:
        return f"{out}: nothing was left to do{skipped}"
    last = history[-1]
    profile = f"\n{training.profile.table()}" if how.profile else ""
    return (
        f"{out}: {spec.net}, {last['epoch']:.0f} epochs, validation PA-MPJPE {last['val_pa_mpjpe_mm']:.1f} mm, "
        f"PA-MPVPE {last['val_pa_mpvpe_mm']:.1f} mm; see curves.png and validation.png{skipped}{profile}"
    )


def parse_part(text: str, skip_bad: bool = False) -> Part:
    """WHERE or WHERE=WEIGHT -> an open dataset and its weight. Raises UsageError for a weight that is no positive number."""
    where, weight = split_weight(text)
    return Part(ShardDataset(where, skip_bad=skip_bad), weight)


class Training:
    """A training under way: fills the run folder `out`. The arguments are those of `train_mesh`, opened.

    Raises UsageError when `out` already holds a run and `resume` is not requested, or when it is requested with other settings;
    or when the weights to start from are of another net or hand.
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
        start: Path | None = None,
    ) -> None:
        self.spec, self.parts, self.hand, self.out, self.ranks, self.how = spec, list(parts), hand, out, ranks, how
        if not sum(len(data) for data in validation):
            raise UsageError("the validation set is empty: --val FOLDER needs a dataset with samples")
        self.config = run_config(spec, parts, validation, hand, start)
        check_folder(out, self.config, how.resume)

        torch.manual_seed(spec.seed)
        device = ranks.device
        # Products stay without TF32: bf16 leaves those of coordinates alone.
        # Layers of few channels and large maps, of which these nets are made, are faster with channels last, CPU and GPU.
        imagenet = spec.pretrained and start is None
        net = create_net(spec.net, keypoint_regressor(hand), pretrained=imagenet, bin_centres=spec.bin_centres)
        start_smooth(net, hand)
        if start:
            load_weights(net, start / WEIGHTS, spec.net, hand)
        self.frozen: nn.Module | None = None
        if spec.freeze_early and (imagenet or start):
            self.frozen = net.get_submodule("pose_backbone.early").requires_grad_(False)
        self.net: HandMeshNet = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        head = make_auxiliary(self.net, hand.num_joints, hand.num_shapes).to(device) if spec.auxiliary else None
        taught = TaughtNet(self.net, head)
        self.mean = RunningMean(self.net, spec.ema) if spec.ema else None
        self.kept: dict[str, nn.Module] = {"net": self.net}  # what a checkpoint holds
        self.kept |= {"auxiliary": head} if head else {}
        self.kept |= {"ema": self.mean.net} if self.mean else {}
        self.optimizer = make_optimizer(spec, taught, device)
        self.progress = Progress()
        if how.resume and (out / CHECKPOINT).exists():
            self.progress = load_checkpoint(out / CHECKPOINT, self.kept, self.optimizer)
        self.validation = list(validation)
        self.loading = ranks.cores() if how.workers is None else how.workers
        # A batch of what is in memory costs a CPU less than to hand it over from another process.
        self.workers = 0 if how.workers is None and how.cache != "none" and device.type == "cpu" else self.loading
        data = HandDataset([part.data for part in parts], spec.side, spec.augment, spec.seed, how.skip_bad)
        self.data = cached(data, how.cache, device, self.loading, bar=ranks.first)
        self.loader = Loader(self.data, self.workers, pin=device.type == "cuda")
        self.profile = Profile(how.profile, device)
        faces = torch.as_tensor(hand.faces.astype(np.int64), device=device)
        self.taught = ranks.wrap(taught)
        self.step = Step(spec, taught, self.taught, self.optimizer, faces, ranks, self.data.finish, self.profile)
        self.pace = Pace(spec, self.progress, ranks, -(-sum(map(len, self.validation)) // spec.batch))
        self.first_step = self.progress.steps_done  # of this process
        self.read_samples, self.rate = 0.0, spec.lr  # samples of the epoch when it was last read; the latest rate
        self.recorder: Recorder | None = None

    @property
    def result(self) -> HandMeshNet:
        """The net that is validated and saved: that of the mean weights, where there is one."""
        return self.mean.net if self.mean else self.net

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
            while self.pace.goes_on:
                self._end_of_epoch(self._epoch())
        finally:
            if self.recorder:
                self.recorder.close()
        self.ranks.wait()
        return self.progress.history

    def _epoch(self) -> int:
        """The steps of the epoch under way that are left -> how many it has in all."""
        progress, ranks = self.progress, self.ranks
        first = progress.step
        bounds = self._batches().bounds
        steps = len(bounds)
        self.taught.train()
        if self.frozen:
            self.frozen.eval()  # batch norm's statistics too
        self.step.start(progress.sums)
        self.read_samples = progress.sums.get("samples", 0.0)
        self.profile.pause()
        with tqdm(total=steps, initial=first, desc=self.pace.title(), unit="step", disable=not ranks.first, mininterval=1) as bar:
            loaded = self.profile.waited(self.loader(self._batches()))
            for (start, stop), raw in zip(bounds[first:].tolist(), loaded, strict=True):
                self._step(raw, stop - start, steps)
                bar.update()
                goes_on = self.pace.stepped()
                if progress.step % READ_EVERY == 0 or progress.step == steps or not goes_on:
                    bar.set_postfix_str(self._read())
                if progress.step % self.how.checkpoint_every == 0:
                    self._save_checkpoint()
                if not goes_on:
                    break
        return steps

    def _batches(self) -> EpochBatches:
        """Those of the epoch under way that are left."""
        progress, ranks, weights = self.progress, self.ranks, [p.weight for p in self.parts]
        sizes, spec = [len(p.data) for p in self.parts], self.spec
        return EpochBatches(sizes, weights, spec.batch, spec.seed, progress.epoch, ranks.rank, ranks.world, progress.step)

    def _step(self, raw: Raw, count: int, steps: int) -> None:
        """One step of Adam on a global batch of `count` samples."""
        progress = self.progress
        # Random numbers inside the net (stochastic depth) depend on the step alone, so that a resumed run draws the same.
        torch.manual_seed((self.spec.seed * 1_000_003 + progress.steps_done) * 4099 + self.ranks.rank)
        self.rate = self.pace.rate(progress.steps_done, steps)
        self.step(raw, count, self.rate)
        if self.mean:
            self.mean.update(self.net, progress.steps_done)
        progress.step += 1
        progress.steps_done += 1
        progress.sums["samples"] = progress.sums.get("samples", 0.0) + count

    def _read(self) -> str:
        """Waits for the device and takes over what it has added up -> a line on the epoch so far.

        Raises HandsynthError when a step was not finite.
        """
        progress, before = self.progress, self.progress.sums
        sums, good, fine = self.step.read()
        if not fine:
            self._stop_at_nan(self.first_step + good)
        count = progress.sums["samples"]
        since, self.read_samples = count - self.read_samples, count
        if self.recorder and since:
            means = {name: (value - before.get(name, 0.0)) / since for name, value in sums.items()}
            self.recorder.step(progress.steps_done, means | {"lr": self.rate})
        progress.sums = before | sums
        return f"loss {sums['loss'] / count:.3f}, MPJPE {sums['mpjpe_mm'] / count:.1f} mm"

    def _stop_at_nan(self, good_steps: int) -> None:
        progress = self.progress
        step = good_steps - (progress.steps_done - progress.step) + 1  # readings come later than the fault, in the same epoch
        kept = (
            f"the last good checkpoint is {self.out / CHECKPOINT}"
            if (self.out / CHECKPOINT).exists()
            else "no checkpoint was due yet"
        )
        raise HandsynthError(
            f"loss or gradients are no longer finite at step {step} of epoch {progress.epoch + 1}: training stopped, "
            f"{kept}; start again with a lower --lr (it was {self.spec.lr:g})"
        )

    def _end_of_epoch(self, steps: int) -> None:
        """Validates and notes a row; then writes what the epoch has given, and last the checkpoint that says that it is done.

        Killed anywhere before that, a resumed run does the rest of the epoch again, and ends with the same bytes.
        """
        progress, sums = self.progress, self.progress.sums
        self.ranks.same_buffers(self.taught)
        began = time.monotonic()
        if self.ranks.first:
            validation = HandDataset(self.validation, self.data.side, NO_AUGMENTATION, self.spec.seed, self.how.skip_bad)
            faces, batch, device = self.hand.faces, self.spec.batch, self.ranks.device
            predicted = predict_dataset(self.result, validation, faces, batch, self.workers, device, bar=True)
            self.result.calibrate_std(*map(point_ratios, predicted.squares_over_variance))
            row = {"epoch": float(progress.epoch + 1), "steps": float(progress.steps_done)}
            row |= {f"train_{name}": value / sums["samples"] for name, value in sums.items() if name != "samples"}
            row |= {f"val_{name}": value for name, value in validation_figures(predicted).items()}
            row["lr"] = self.pace.rate(progress.steps_done - 1, steps)  # a resumed run may not have done that step
            progress.history.append(row)
            tqdm.write(_line(row, self.spec), file=sys.stderr)
        self.pace.validated(time.monotonic() - began)
        progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, {}
        if self.ranks.first:
            self._publish()
            if not self.pace.goes_on:
                draw_validation(self.out / "validation.png", validation, predicted, self.hand.faces)
        self._save_checkpoint()

    def _publish(self) -> None:
        """Writes weights and figures of the epochs that are done."""
        more = {"hand": self.hand.digest, "side": self.spec.side, "epoch": self.progress.epoch}
        more["calibrated_on"] = {"datasets": [data.name for data in self.validation], "hands": sum(map(len, self.validation))}
        save_weights(self.result, self.out / WEIGHTS, self.spec.net, more)
        if self.recorder:
            self.recorder.epoch(self.progress.history)

    def _save_checkpoint(self) -> None:
        if self.progress.step:
            self._read()
        self.ranks.same_buffers(self.taught)
        self.pace.note()
        if self.ranks.first:
            save_checkpoint(self.out / CHECKPOINT, self.kept, self.optimizer, self.progress)


def run_config(
    spec: TrainSpec, parts: Sequence[Part], validation: Sequence[ShardDataset], hand: HandModel, start: Path | None = None
) -> dict[str, Any]:
    """What config.yaml says: settings, on which datasets it was trained, and from which weights."""

    def described(data: ShardDataset) -> dict[str, Any]:
        where = data.source if is_address(data.source) else str(data.folder.absolute())
        return {"name": data.name, "identity": data.identity, "samples": len(data), "folder": where}

    return {
        "training": spec_to_dict(spec),
        "hand": {"name": hand.name, "digest": hand.digest, "licence": hand.licence},
        "datasets": [described(p.data) | {"weight": p.weight} for p in parts],
        "validation": [described(data) for data in validation],
    } | ({"start": weights_of(start)} if start else {})


def validation_figures(predicted: Predicted) -> dict[str, float]:
    """Loss of equation 4 [lixels] and the metrics of the paper's tables."""
    terms = {name: torch.as_tensor(values) for name, values in predicted.losses.items()}
    figures = {"loss": float(total_loss(terms))}
    return figures | evaluate_hands(predicted.keypoints, predicted.vertices, predicted.true_keypoints, predicted.true_vertices)


def _line(row: dict[str, float], spec: TrainSpec) -> str:
    of = "" if spec.minutes else f"/{spec.epochs}"
    return (
        f"{time.strftime('%H:%M:%S')} epoch {row['epoch']:.0f}{of}: loss {row['train_loss']:.3f}; validation loss "
        f"{row['val_loss']:.3f}, MPJPE {row['val_mpjpe_mm']:.1f}, PA-MPJPE {row['val_pa_mpjpe_mm']:.1f} mm"
    )
