"""What each way of learning more from a sample is worth: lite-fast on crops of 64 px, the same samples and seeds in every row.

    OMP_NUM_THREADS=1 python benchmarks/ablation_learning.py DATA RUNS --jobs 2

The first row is a training as the earlier versions had it; every other has one thing more, the last all of them but the larger
crops. Each is trained from two seeds on the same number of samples, half of ManoRender, half of AngRender (`splits.py`), and
evaluated on held-out hands, once about the labels' boxes and once about boxes that are off as a detector's are. A row goes into
results/ablation_learning.csv as it ends, with its machine and commit; started again, a row that was under way goes on, and rows
that are there are not trained again. A row is there when its `digest` is that of the net's definition, the settings and the
datasets that it would have now.
"""

import argparse
import dataclasses
import hashlib
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from common import RESULTS, print_table, provenance, run_handmesh, write_csv
from splits import DATA_HELP, make_splits
from table3 import describe_data, net_digest, read_table

from handmesh.data.augment import NO_AUGMENTATION
from handmesh.data.dataset import HandDataset
from handmesh.data.shards import ShardDataset
from handmesh.device import pick_device
from handmesh.evaluation.inference import predict_dataset, root_mean_square
from handmesh.metrics import evaluate_hands
from handmesh.run_folder import load_run
from handmesh.settings.mesh import TrainSpec, load_preset, spec_to_dict, with_flags
from handsynth.core.index import canonical_json

OFF = {
    "bin_centres": False, "decay_norms": True, "ema": 0.0, "auxiliary": 0.0, "early_side": 0,
    "augment.box": 0.0, "augment.amplitude": 0.0,
}  # fmt: skip
"""A training of the earlier versions, on top of the preset."""

BOX = 0.06
"""Standard deviation of the edges of a detector's box, of its longer side."""

BLENDED = "blended poses"
"""The row whose half of ManoRender has fingers between two poses."""

ROWS: dict[str, dict[str, Any]] = {
    "as before": {},
    "bin centres": {"bin_centres": True},
    "box jitter": {"augment.box": BOX},
    "amplitude mixing": {"augment.amplitude": 0.5},
    "no decay of norms": {"decay_norms": False},
    "mean of weights": {"ema": 0.99},  # over the last 100 of some 600 steps
    "auxiliary head": {"auxiliary": 5.0},
    BLENDED: {},
    "larger crops at the end": {"early_side": 64, "side": 128, "last_share": 0.2},
    "all at 64 px": {
        "bin_centres": True, "augment.box": BOX, "augment.amplitude": 0.5, "decay_norms": False, "ema": 0.99, "auxiliary": 5.0,
    },
}  # fmt: skip
"""What each row has besides, by the keys of `with_flags`."""

SEEDS = (0, 1)
PLACE = ("row", "seed", "preset", "samples_seen")
METRICS = ("mpjpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm")
SHOWN = (*METRICS, "jittered_pa_mpjpe_mm")
TABLE = RESULTS / "ablation_learning.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help=DATA_HELP)
    parser.add_argument("runs", type=Path, help="folder of the runs, 130 MB each")
    parser.add_argument("--preset", default="cpu64", help="how every row is trained")
    parser.add_argument("--samples", type=int, default=20_000, help="seen by each row")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="these alone")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0, help="loading processes of each row")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time; on a CPU set OMP_NUM_THREADS=1 with it")
    options = parser.parse_args()
    names = ("manorender", "angrender", "validation", "heldout", *(("blended",) if BLENDED in options.rows else ()))
    folders = make_splits(options.data, os.cpu_count() or 1, names)
    wanted = [make_job(name, seed, folders, options) for seed in SEEDS for name in options.rows]
    kept, digests = read_table(TABLE), {job.digest for job in wanted}
    there = {row["digest"] for row in kept}
    with ThreadPoolExecutor(options.jobs) as pool:
        for row in pool.map(lambda job: train_row(job, options), [job for job in wanted if job.digest not in there]):
            kept = [*(old for old in kept if any(str(old[key]) != str(row[key]) for key in PLACE)), row]
            columns = list(dict.fromkeys([*row, *(key for old in kept for key in old)]))
            write_csv(TABLE, [{key: old.get(key, "") for key in columns} for old in kept], {})
    found = [row for row in kept if row["digest"] in digests]
    print_table("Errors on held-out hands [mm], standard deviations over seeds", list(means(found, options.rows)))


@dataclass(frozen=True)
class Job:
    """A row of the table, of one seed, before it is trained."""

    name: str
    seed: int
    spec: TrainSpec
    data: list[str]  # --data's values
    folders: dict[str, Path]
    digest: str  # of all that decides its figures


def make_job(name: str, seed: int, folders: dict[str, Path], options: argparse.Namespace) -> Job:
    """How a row is trained: each of its two datasets gives half of the samples."""
    spec = with_flags(load_preset(options.preset), {**OFF, **ROWS[name], "epochs": options.epochs, "seed": seed})
    parts = ("blended" if name == BLENDED else "manorender", "angrender")
    described = {part: describe_data(folders[part]) for part in (*parts, "validation", "heldout")}
    weights = {part: round(options.samples / options.epochs / 2 / described[part]["samples"], 6) for part in parts}
    decides = {"row": name, "net": net_digest(spec.net), "training": spec_to_dict(spec), "weights": weights, "data": described}
    digest = hashlib.sha256(canonical_json(decides)).hexdigest()[:16]
    return Job(name, seed, spec, [f"--data={folders[part]}={weight}" for part, weight in weights.items()], folders, digest)


def train_row(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Trains (or goes on) and evaluates one row."""
    run = options.runs / f"{job.name.replace(' ', '-')}-seed{job.seed}-{job.digest}"
    options.runs.mkdir(parents=True, exist_ok=True)
    file = options.runs / f"{run.name}.yaml"
    file.write_text(yaml.safe_dump(spec_to_dict(job.spec), sort_keys=False), encoding="utf-8")
    common = ["--device", options.device, "--workers", str(options.workers)]
    start = time.time()
    run_handmesh("train", "mesh", file, *job.data, "--val", job.folders["validation"], "--out", run, "--resume", *common)
    minutes = (time.time() - start) / 60
    settings = {"preset": options.preset, "side_px": job.spec.side, "samples_seen": options.samples, "digest": job.digest}
    found = evaluate(run, job.folders["heldout"], options) | {"training_minutes": minutes}
    return {"row": job.name, "seed": job.seed, **settings, **found, **provenance(torch=torch.__version__, device=options.device)}


def evaluate(run: Path, heldout: Path, options: argparse.Namespace) -> dict[str, float]:
    """Errors about true boxes and about those of a detector, and how the former compare with the net's deviations."""
    device = pick_device(options.device)
    opened = load_run(run, device)
    found = {}
    for prefix, spec in (("", NO_AUGMENTATION), ("jittered_", dataclasses.replace(NO_AUGMENTATION, box=BOX))):
        data = HandDataset([ShardDataset(heldout, opened.hand)], opened.spec.side, spec)
        predicted = predict_dataset(opened.net, data, opened.hand.faces, 32, options.workers, device)
        hands = predicted.keypoints, predicted.vertices, predicted.true_keypoints, predicted.true_vertices
        found |= {prefix + key: float(value) for key, value in evaluate_hands(*hands).items() if key in METRICS}
        if not prefix:
            ratios = root_mean_square(predicted.error_over_std)[1]
            found |= {f"error_over_std_{axis}": float(ratio) for axis, ratio in zip("xyz", ratios, strict=True)}
    return found


def means(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A line for every row that has at least one seed, with what it gains over the first row of the same seeds."""
    first = {str(row["seed"]): float(row["pa_mpjpe_mm"]) for row in rows if row["row"] == next(iter(ROWS))}
    for name in names:
        own = [row for row in rows if row["row"] == name]
        if not own:
            continue
        line: dict[str, Any] = {"row": name, "seeds": len(own)}
        for key in SHOWN:
            values = [float(row[key]) for row in own]
            line |= {key: statistics.mean(values), f"{key} std": statistics.stdev(values) if len(values) > 1 else float("nan")}
        gains = [first[seed] - float(row["pa_mpjpe_mm"]) for row in own if (seed := str(row["seed"])) in first]
        yield line | {"gain_mm": statistics.mean(gains) if gains else float("nan")}


if __name__ == "__main__":
    main()
