"""How fast a training step is with each way to its batches: samples made one by one by two processes, as training had it once,
and the loader of today from files, from memory and from the device.

    python benchmarks/train_speed.py                 # generates 1,024 samples first; --data FOLDER takes a dataset that is there

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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, print_table, provenance, results_path, write_csv
from torch.utils.data import DataLoader

from handmesh.data.batches import Batch, Raw
from handmesh.data.colours import Colours
from handmesh.data.dataset import quiet_worker
from handmesh.data.sampler import EpochBatches
from handmesh.data.shards import ShardDataset
from handmesh.settings.mesh import TrainSpec, load_preset, with_flags
from handmesh.training.loop import HowRun, Part, Training
from handmesh.training.ranks import Ranks
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
        data: folder of the dataset.
        spec: how to train.
        device: where.
        workers: loading processes, where there are any.
        out: a folder for the training, which stays empty.
    """

    def __init__(self, name: str, data: Path, spec: TrainSpec, device: torch.device, workers: int, out: Path) -> None:
        shards = ShardDataset(data)
        hand = find_hand(shards.index, shards.source, None)
        cache = {MEMORY: "memory", DEVICE: "device"}.get(name, "none")
        alone = name == FILES_ALONE or (cache != "none" and device.type == "cpu")
        self.workers = 0 if alone else min(workers, 2) if name == ONE_BY_ONE else workers
        how = HowRun(workers=self.workers, cache=cache, profile=True)
        self._training = Training(spec, [Part(shards, 1.0)], [shards], hand, out, Ranks(0, 1, device), how)
        self._training.net.train()
        if name == ONE_BY_ONE:
            self._training.step.finish = channels_last
        self.name, self.spec, self.profile, self._epochs = name, spec, self._training.profile, 0

    def block(self, steps: int) -> float:
        """Trains WARM_UP steps and then so many -> samples a second of these."""
        spec = self.spec
        order: list[Any] = []
        while len(order) < WARM_UP + steps:
            epoch = EpochBatches(self._training.data.sizes, [1.0], spec.batch, spec.seed, self._epochs)
            order += [draws for draws in epoch if len(draws) == spec.batch]
            self._epochs += 1
        self.profile.on, start = False, 0.0
        self.profile.pause()
        for k, raw in enumerate(self.profile.waited(self._load(order[: WARM_UP + steps]))):
            self._training.step(raw, spec.batch, spec.lr)
            if k + 1 == WARM_UP:
                self._training.step.read()
                self.profile.on, start = True, time.perf_counter()
        self._training.step.read()
        return steps * spec.batch / (time.perf_counter() - start)

    def _load(self, order: Iterable[Any]) -> Iterator[Raw]:
        if self.name != ONE_BY_ONE:
            yield from self._training.loader(order)
            return
        one_by_one: Any = DataLoader(
            self._training.data,
            batch_sampler=order,  # type: ignore[arg-type]
            num_workers=self.workers,
            worker_init_fn=quiet_worker,
        )
        for batch in one_by_one:
            yield Raw(Batch(*batch), NOTHING, torch.empty(0))


def measure(data: Path, spec: TrainSpec, device: torch.device, workers: int, steps: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each way to batches: the median rate over rounds."""
    names = [ONE_BY_ONE, FILES, *([FILES_ALONE] if device.type == "cpu" else []), MEMORY, DEVICE]
    with tempfile.TemporaryDirectory() as folder:
        variants = [Variant(name, data, spec, device, workers, Path(folder) / "run") for name in names]
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
    parser.add_argument("--samples", type=int, default=1024, help="of the dataset that is made (1024)")
    parser.add_argument("--preset", default="cpu64", help="net, augmentation and the CPU's side and batch (cpu64)")
    parser.add_argument("--amplitude", type=float, default=0.0, help="share of crops with mixed amplitude spectra (0)")
    parser.add_argument("--workers", type=int, default=Ranks(0, 1, torch.device("cpu")).cores(), help="loading processes (cores)")
    parser.add_argument("--steps", type=int, default=24, help="of a block (24)")
    parser.add_argument("--rounds", type=int, default=5, help="blocks of each variant (5)")
    parser.add_argument("--sides", type=int, nargs="*", default=[*GPU_BATCH], help="on a GPU [px] (64 128 256)")
    parser.add_argument("--no-pretrained", action="store_true", help="random weights, where ImageNet's are not installed")
    parser.add_argument("--gpu-only", action="store_true", help="leave the CPU out")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV (benchmarks/results)")
    options = parser.parse_args()

    spec = with_flags(load_preset(str(options.preset)), {"augment.amplitude": options.amplitude})
    spec = with_flags(spec, {"pretrained": False} if options.no_pretrained else {})
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder) / "data"
        if not options.data:
            made = ["generate", "default", data, "--samples", options.samples]
            subprocess.run([sys.executable, "-m", "handsynth", *map(str, made)], check=True)
        rows = []
        if not options.gpu_only:
            rows += measure(data, spec, torch.device("cpu"), options.workers, options.steps, options.rounds)
        if torch.cuda.is_available():
            for side in options.sides:
                gpu = with_flags(spec, {"side": side, "batch": min(GPU_BATCH[side], len(ShardDataset(data)))})
                rows += measure(data, gpu, torch.device("cuda"), options.workers, options.steps, options.rounds)
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
