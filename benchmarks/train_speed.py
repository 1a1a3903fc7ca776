"""How fast a training step is with each way to its batches: samples made one by one by two processes, as training had it once,
and the loader of today from files, from memory and from the device.

    python benchmarks/train_speed.py                 # generates 512 samples first; --data FOLDER takes a dataset that is there

On a CPU at 64 px; where CUDA is there, at 64, 128 and 256 px too. All variants train the same net with the same samples, in turn, a
block of steps each, so that a busy machine slows all of them alike. A block's first steps, in which loading processes start and a
GPU's graph is recorded, do not count. `waiting` is the share of the time in which the device has nothing to do (`--profile`).
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, print_table, provenance, results_path, write_csv
from torch.utils.data import DataLoader

from handmesh.data.cache import cached
from handmesh.data.colours import Colours
from handmesh.data.dataset import Batch, HandDataset, Loader, Raw, quiet_worker
from handmesh.data.sampler import EpochBatches
from handmesh.data.shards import ShardDataset
from handmesh.keypoints import keypoint_regressor
from handmesh.nets.registry import create_net
from handmesh.settings.mesh import TrainSpec, load_preset, with_flags
from handmesh.training.profile import Profile
from handmesh.training.ranks import Ranks
from handmesh.training.step import Step, make_optimizer
from handsynth.core.hand import HandModel
from handsynth.core.named_hands import find_hand

WARM_UP = 6
"""Steps of a block that do not count: a GPU's graph is recorded in the fourth."""

GPU_BATCH = {64: 512, 128: 512, 256: 128}
"""Samples of a step on a GPU, by side."""

ONE_BY_ONE, FILES, FILES_ALONE, MEMORY, DEVICE = "one by one", "files", "files, no process", "memory", "device"

NOTHING = Colours(*(torch.empty(0) for _ in Colours._fields))
"""Of batches whose images are finished."""


def channels_last(raw: Raw) -> Batch:
    """The batch of finished images as nets take it."""
    return raw.batch._replace(image=raw.batch.image.contiguous(memory_format=torch.channels_last))


class Variant:
    """A training whose batches come in one way.

    Args:
        name: of the way.
        shards: the dataset.
        hand: its hand.
        spec: how to train.
        device: where.
        workers: loading processes, where there are any.
    """

    def __init__(
        self, name: str, shards: ShardDataset, hand: HandModel, spec: TrainSpec, device: torch.device, workers: int
    ) -> None:
        self.name, self.spec, self.device, self._epochs = name, spec, device, 0
        data = HandDataset([shards], spec.side, spec.augment, spec.seed)
        where = {MEMORY: "memory", DEVICE: "device"}.get(name, "none")
        self.data = cached(data, where, device, workers)
        alone = name == FILES_ALONE or (where != "none" and device.type == "cpu")
        self.workers = 0 if alone else min(workers, 2) if name == ONE_BY_ONE else workers
        self._loader = None if name == ONE_BY_ONE else Loader(self.data, self.workers, device.type == "cuda")
        torch.manual_seed(0)
        net: Any = create_net(spec.net, keypoint_regressor(hand), pretrained=False)
        net = net.to(device, memory_format=torch.channels_last)
        faces = torch.as_tensor(hand.faces.astype("int64"), device=device)
        self.profile = Profile(True, device)
        finish: Callable[[Raw], Batch] = channels_last if name == ONE_BY_ONE else self.data.finish
        optimizer = make_optimizer(spec, net, device)
        self._step = Step(spec, net, net, optimizer, faces, Ranks(0, 1, device), finish, self.profile)

    def block(self, steps: int) -> float:
        """Trains WARM_UP steps and then so many -> samples a second of these."""
        spec = self.spec
        order: list[Any] = []
        while len(order) < WARM_UP + steps:
            epoch = EpochBatches(self.data.sizes, [1.0], spec.batch, spec.seed, self._epochs)
            order += [draws for draws in epoch if len(draws) == spec.batch]
            self._epochs += 1
        self.profile.on, start = False, 0.0
        self.profile.pause()
        for k, raw in enumerate(self.profile.waited(self._load(order[: WARM_UP + steps]))):
            self._step(raw, spec.batch, spec.lr)
            if k + 1 == WARM_UP:
                self._step.read()
                self.profile.on, start = True, time.perf_counter()
        self._step.read()
        return steps * spec.batch / (time.perf_counter() - start)

    def _load(self, order: Iterable[Any]) -> Iterator[Raw]:
        if self._loader:
            yield from self._loader(order)
            return
        one_by_one: Any = DataLoader(
            self.data,
            batch_sampler=order,  # type: ignore[arg-type]
            num_workers=self.workers,
            worker_init_fn=quiet_worker,
        )
        for batch in one_by_one:
            yield Raw(Batch(*batch), NOTHING, torch.empty(0))


def measure(
    shards: ShardDataset, hand: HandModel, spec: TrainSpec, device: torch.device, workers: int, steps: int, rounds: int
) -> list[dict[str, Any]]:
    """A row for each way to batches: the median rate over rounds."""
    names = [ONE_BY_ONE, FILES, *([FILES_ALONE] if device.type == "cpu" else []), MEMORY, DEVICE]
    variants = [Variant(name, shards, hand, spec, device, workers) for name in names]
    rates: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for variant in variants:
            rates[variant.name].append(variant.block(steps))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    return [
        {"batches": v.name, "device": device_name(device), "side": spec.side, "batch": spec.batch, "workers": v.workers,
         "amplitude": spec.augment.amplitude, "steps": steps, "rounds": rounds, "samples_per_s": medians[v.name],
         "over_one_by_one": medians[v.name] / medians[ONE_BY_ONE], "waiting": v.profile.waiting()}
        for v in variants
    ]  # fmt: skip


def device_name(device: torch.device) -> str:
    """What the device is called."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a dataset of `handsynth generate` (made anew: default, 256 px)")
    parser.add_argument("--samples", type=int, default=512, help="of the dataset that is made (512)")
    parser.add_argument("--preset", default="cpu64", help="net, augmentation and the CPU's side and batch (cpu64)")
    parser.add_argument("--amplitude", type=float, default=0.0, help="share of crops with mixed amplitude spectra (0)")
    parser.add_argument("--workers", type=int, default=Ranks(0, 1, torch.device("cpu")).cores(), help="loading processes (cores)")
    parser.add_argument("--steps", type=int, default=24, help="of a block (24)")
    parser.add_argument("--rounds", type=int, default=5, help="blocks of each variant (5)")
    parser.add_argument("--sides", type=int, nargs="*", default=[*GPU_BATCH], help="on a GPU [px] (64 128 256)")
    parser.add_argument("--gpu-only", action="store_true", help="leave the CPU out")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV (benchmarks/results)")
    options = parser.parse_args()

    spec = with_flags(load_preset(str(options.preset)), {"augment.amplitude": options.amplitude})
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder) / "data"
        if not options.data:
            made = ["generate", "default", data, "--samples", options.samples]
            subprocess.run([sys.executable, "-m", "handsynth", *map(str, made)], check=True)
        shards = ShardDataset(data)
        hand = find_hand(shards.index, shards.source, None)
        rows = []
        if not options.gpu_only:
            rows += measure(shards, hand, spec, torch.device("cpu"), options.workers, options.steps, options.rounds)
        if torch.cuda.is_available():
            torch.backends.cudnn.benchmark = True
            for side in options.sides:
                gpu = with_flags(spec, {"side": side, "batch": min(GPU_BATCH[side], len(shards))})
                rows += measure(shards, hand, gpu, torch.device("cuda"), options.workers, options.steps, options.rounds)
    if not rows:
        parser.error("--gpu-only, and torch sees no CUDA device")
    write_csv(
        options.out / results_path("train_speed").name,
        rows,
        provenance(torch=torch.__version__, net=spec.net, preset=options.preset),
    )
    print_table("training steps", rows)


if __name__ == "__main__":
    main()
