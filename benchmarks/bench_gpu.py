"""How fast a GPU makes samples beside this machine's cores alone, and whether its images are the same.

    python benchmarks/bench_gpu.py                       # under five minutes; where EGL has no GPU, or nothing else, it says so
    python benchmarks/bench_gpu.py --reference FOLDER    # angrender of a machine that draws with Mesa's llvmpipe, to compare with

Each row is `handsynth generate` as a user calls it, to a folder that is deleted again. `samples_per_s` leaves out what a command
takes to start: it is what the further samples of a long run take more than those of a short one. `whole_s` is the long run's time
with its start. Images are compared sample by sample: the mean over all pixels of the absolute difference [levels].
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, print_table, provenance, results_path, write_csv

from handmesh.data.shards import ShardDataset
from handsynth.render.context import list_devices

SHORT = 16
"""Samples of each worker in the short run."""


def generate(spec: str, samples: int, jobs: int, device: str, out: Path) -> float:
    """Makes a dataset -> seconds."""
    began = time.perf_counter()
    made = ["generate", spec, out, "--samples", samples, "--jobs", jobs, "--shard-size", 64 if samples >= 64 * jobs else SHORT]
    subprocess.run([sys.executable, "-m", "handsynth", *map(str, made), "--device", device], check=True)
    return time.perf_counter() - began


def rate_of(spec: str, each: int, jobs: int, device: str) -> dict[str, Any]:
    """A row: `each` samples for each worker."""
    with tempfile.TemporaryDirectory() as folder:
        short = generate(spec, SHORT * jobs, jobs, device, Path(folder) / "short")
        whole = generate(spec, each * jobs, jobs, device, Path(folder) / "long")
    return {
        "spec": spec, "device": device, "jobs": jobs, "samples": each * jobs, "whole_s": whole,
        "samples_per_s": (each - SHORT) * jobs / max(whole - short, 1e-3), "difference_levels": "",
    }  # fmt: skip


def compare(reference: Path, device: str) -> dict[str, Any]:
    """A row: the samples of a dataset of angrender that another machine drew, made here."""
    there = ShardDataset(reference)
    with tempfile.TemporaryDirectory() as folder:
        whole = generate("angrender", len(there), 1, device, Path(folder) / "again")
        here = ShardDataset(Path(folder) / "again")
        off = [np.abs(a.image.astype(int) - b.image).mean() for a, b in ((there.read(k), here.read(k)) for k in range(len(there)))]
    print(f"images differ by {np.mean(off):.3f} levels in the mean, by {max(off):.3f} in the sample that differs most")
    return {
        "spec": "angrender", "device": device, "jobs": 1, "samples": len(there), "whole_s": whole, "samples_per_s": "",
        "difference_levels": float(np.mean(off)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--specs", nargs="*", default=["angrender", "manorender", "default"], help="shipped specs")
    parser.add_argument("--jobs", nargs="*", type=int, default=[1, 8, 16], help="numbers of workers (1 8 16)")
    parser.add_argument("--each", type=int, default=512, help="samples of each worker in a long run (512)")
    parser.add_argument("--reference", type=Path, help="dataset of angrender to compare images with, of the same --samples")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV (benchmarks/results)")
    options = parser.parse_args()

    devices = {device.kind: device.driver for device in list_devices() if device.driver}
    if "gpu" not in devices:
        print(f"EGL has no GPU here: {'; '.join(filter(None, devices.values())) or 'nothing at all'}", file=sys.stderr)
    kinds = [kind for kind in ("gpu", "cpu") if kind in devices]
    rows = [rate_of(spec, options.each, jobs, kind) for spec in options.specs for jobs in options.jobs for kind in kinds]
    if options.reference:
        rows += [compare(options.reference, kind) for kind in kinds]
    origin = provenance(**{f"{kind}_driver": devices.get(kind, "none") for kind in ("gpu", "cpu")})
    write_csv(options.out / results_path("bench_gpu").name, rows, origin)
    print_table("samples on a GPU and on cores", rows)


if __name__ == "__main__":
    main()
