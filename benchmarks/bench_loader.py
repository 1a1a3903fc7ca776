"""How fast one core turns shards into augmented batches, beside a plain folder of files and `webdataset` on the same shards.

    python benchmarks/bench_loader.py                # generates 1,500 samples first; --data FOLDER takes a dataset that is there

One process, one thread, no loading processes. The variants' epochs run side by side, each giving a batch in turn, so that a busy
machine slows all of them alike; a first epoch warms up caches and the files' pages: disks are not measured. Ours is what training
on a CPU takes; crop, augmentation, labels and collation are the same functions in the same steps for all, so that they differ by
reading alone.
"""

import argparse
import functools
import importlib.util
import itertools
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from common import RESULTS, print_table, provenance, results_path, write_csv
from plain_readers import LooseFiles, WebShards, unpack
from threadpoolctl import threadpool_limits

from handmesh.data.augment import AugmentSpec, draw_augmentation, with_moved_box
from handmesh.data.batches import BatchMaker, Raw
from handmesh.data.crop import crop_pixels, place_record
from handmesh.data.dataset import HandDataset, load_batches
from handmesh.data.sampler import EpochBatches
from handmesh.data.shards import Record, ShardDataset
from handsynth.core.rng import stream

GOAL = 1000
"""Augmented samples a second that one core is to reach at 256 px."""

OURS, LOOSE, WEB, WEB_SIMPLEJPEG = "handmesh", "loose files, Pillow", "webdataset, rgb8", "webdataset, simplejpeg"
VARIANTS = (OURS, LOOSE, WEB, WEB_SIMPLEJPEG)
READING, BATCHES = "reading", "augmented batches"


def augmented(records: Iterable[Record], most: int, side: int) -> Raw:
    """What `HandDataset.raw` makes of at most `most` records when they are first drawn, for the other readers.

    Step by step, as it does: one record after the other they would take 4 to 7 % longer.
    """
    spec, maker, taken = AugmentSpec(), BatchMaker(most, side, AugmentSpec()), list(records)
    drawn = [draw_augmentation(spec, side, functools.partial(draws, record)) for record in taken]
    placed = [
        place_record(with_moved_box(record, one.edges), side, one.scale, one.angle)
        for record, one in zip(taken, drawn, strict=True)
    ]
    for sample in zip(taken, placed, drawn, strict=True):
        record, place, _ = sample
        crop_pixels(record.image, record.side, place, maker.image)
        maker.add(*sample)
    return maker.raw()


def draws(record: Record, purpose: str) -> np.random.Generator:
    """As `augment.Draws` of a record that is first drawn in a run of seed 0."""
    return stream(0, record.index, f"{record.dataset} turn 0 {purpose}")


class Loaders:
    """Epochs of each variant, over one dataset.

    Args:
        data: folder of the dataset.
        loose: folder of the same samples as loose files.
        side: of the crops [px].
        batch: samples of a batch.
    """

    def __init__(self, data: Path, loose: Path, side: int, batch: int) -> None:
        self.shards, self.side, self.batch, self._epochs = ShardDataset(data), side, batch, itertools.count()
        self.hands = HandDataset([self.shards], side, AugmentSpec())
        self.loose = LooseFiles(loose)
        self.web = {WEB: WebShards(self.shards), WEB_SIMPLEJPEG: WebShards(self.shards, "simplejpeg")}

    def read(self, variant: str) -> Iterator[Record]:
        """An epoch, shuffled and decoded."""
        if variant in self.web:
            return iter(self.web[variant])
        order = np.random.default_rng(next(self._epochs)).permutation(len(self.shards)).tolist()
        return map(self.shards.read if variant == OURS else self.loose.read, order)

    def records(self, variant: str) -> Iterator[list[int]]:
        """An epoch, shuffled and decoded -> numbers of the samples, `batch` at a time."""
        records = self.read(variant)
        while some := [record.index for record in itertools.islice(records, self.batch)]:
            yield some

    def batches(self, variant: str) -> Iterator[list[int]]:
        """An epoch, shuffled, augmented and collated -> numbers of the samples of each batch.

        Ours through the `DataLoader` of training; records of the others become batches as they are read, with nothing between.
        """
        if variant == OURS:
            order = EpochBatches([len(self.shards)], [1.0], self.batch, next(self._epochs), 0)
            finished = load_batches(self.hands, order, 0)
        else:
            finished = map(self.hands.finish, self.others(variant))
        for batch in finished:
            yield batch.sample.tolist()

    def others(self, variant: str) -> Iterator[Raw]:
        """Batches of a reader that is not ours."""
        records, left = self.read(variant), len(self.shards)
        while left > 0:
            yield augmented(itertools.islice(records, self.batch), self.batch, self.side)
            left -= self.batch

    def check(self, variant: str, seen: list[int]) -> None:
        """AssertionError unless each sample came once."""
        assert sorted(seen) == sorted(self.shards.indices().tolist()), f"{variant} did not give every sample once"


def side_by_side(loaders: Loaders, work: str) -> dict[str, list[tuple[int, float, float]]]:
    """An epoch of every variant, a batch of each in turn -> samples, CPU and wall seconds of each batch."""
    give = loaders.records if work == READING else loaders.batches
    running = {variant: give(variant) for variant in VARIANTS}
    times: dict[str, list[tuple[int, float, float]]] = {variant: [] for variant in VARIANTS}
    seen: dict[str, list[int]] = {variant: [] for variant in VARIANTS}
    while running:
        for variant in list(running):
            cpu, wall = time.process_time(), time.perf_counter()
            numbers = next(running[variant], None)
            if numbers is None:
                loaders.check(variant, seen[variant])
                del running[variant]
            else:
                times[variant].append((len(numbers), time.process_time() - cpu, time.perf_counter() - wall))
                seen[variant] += numbers
    return times


def resident_mb(make: Callable[[], Loaders], variant: str) -> float:
    """Memory of this process after an epoch of batches."""
    for _ in make().batches(variant):
        pass
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def one_thread() -> None:
    """One thread per library."""
    threadpool_limits(1)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def measure(make: Callable[[], Loaders], rounds: int) -> list[dict[str, Any]]:
    """A row for each variant, reading alone and as batches; memory is that of a process that did nothing else, libraries and all.

    Rates are of whole epochs, with what filling a shuffle buffer costs; the median is over batches.
    """
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        memory = {variant: pool.apply(resident_mb, (make, variant)) for variant in VARIANTS}
    loaders, rows = make(), []
    for work in (READING, BATCHES):
        epochs = [side_by_side(loaders, work) for _ in range(rounds + 1)][1:]
        of = {variant: [batch for epoch in epochs for batch in epoch[variant]] for variant in VARIANTS}
        count = sum(n for n, _, _ in of[WEB])
        cpu = {variant: sum(c for _, c, _ in batches) for variant, batches in of.items()}
        rows += [
            {"variant": variant, "work": work, "samples": len(loaders.shards), "rounds": rounds,
             "samples_per_cpu_s": count / cpu[variant], "samples_per_wall_s": count / sum(w for _, _, w in batches),
             "median_cpu_ms_per_sample": 1e3 * statistics.median(c / n for n, c, _ in batches),
             "cpu_speed_over_webdataset": cpu[WEB] / cpu[variant],
             "resident_MB": memory[variant] if work == BATCHES else ""}
            for variant, batches in of.items()
        ]  # fmt: skip
    return rows


def plot(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    """Writes a PNG: samples a CPU second of each variant, reading alone and as batches, beside the goal."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for offset, (work, colour) in zip((0.19, -0.19), ((READING, "#8fb3d9"), (BATCHES, "#27415f")), strict=True):
        rates = [next(r["samples_per_cpu_s"] for r in rows if (r["variant"], r["work"]) == (v, work)) for v in VARIANTS]
        bars = axes.barh(np.arange(len(VARIANTS)) + offset, rates, 0.36, color=colour, label=work)
        axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=9)
    axes.axvline(GOAL, color="#c0392b", linestyle=":", linewidth=1, label=f"goal for batches: {GOAL}")
    axes.set_yticks(range(len(VARIANTS)), VARIANTS)
    axes.invert_yaxis()
    axes.set_xlabel("samples per CPU second, one core")
    axes.margins(x=0.1)
    axes.legend(fontsize=9)
    axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=120, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a dataset of `handsynth generate` (made anew: AngRender, 256 px)")
    parser.add_argument("--samples", type=int, default=1500, help="of the dataset that is made (1500)")
    parser.add_argument("--side", type=int, default=256, help="of the crops [px] (256)")
    parser.add_argument("--batch", type=int, default=32, help="samples of a batch (32)")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each variant, after one that warms up (5)")
    parser.add_argument("--quick", action="store_true", help="one round: shows that it runs, measures nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of CSV and figure (benchmarks/results)")
    options = parser.parse_args()
    if importlib.util.find_spec("webdataset") is None:
        parser.error("webdataset is not installed, and it is what the loader is compared with: pip install webdataset")
    if options.data and not (options.data / "index.json").exists():
        parser.error(f"{options.data} holds no index.json: --data takes a folder that `handsynth generate` finished")

    one_thread()
    with tempfile.TemporaryDirectory() as folder:
        data, loose = options.data or Path(folder) / "data", Path(folder) / "loose"
        if not options.data:
            made = ["generate", "angrender", data, "--samples", options.samples, "--shard-size", 250, "--jobs", 1]
            subprocess.run([sys.executable, "-m", "handsynth", *map(str, made)], check=True)
        unpack(ShardDataset(data), loose)
        rows = measure(functools.partial(Loaders, data, loose, options.side, options.batch), 1 if options.quick else options.rounds)
    import webdataset

    path = options.out / results_path("loader").name
    origin = provenance(
        side_px=options.side,
        batch=options.batch,
        torch=torch.__version__,
        opencv=cv2.__version__,
        webdataset=webdataset.__version__,
    )
    write_csv(path, rows, origin)
    plot(rows, path.with_suffix(".png"), f"{rows[0]['samples']} samples, crops of {options.side} px, files in the page cache")
    print_table("shards to batches on one core", rows)


if __name__ == "__main__":
    main()
