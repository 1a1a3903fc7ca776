"""What each way of learning more from a sample is worth: lite-fast on crops of 64 px, the same samples and seeds in every row.

    OMP_NUM_THREADS=1 python benchmarks/ablation_learning.py DATA RUNS --jobs 2

The first row is a training as the earlier versions had it; every other has one thing more, the last all of them but the colours of
other cameras, which are for photographs. Each is trained from two seeds on the same number of samples, half of ManoRender, half of
AngRender (`splits.py`), and evaluated on held-out hands, once about the labels' boxes and once about boxes that are off as a
detector's are. A row goes into results/ablation_learning.csv as it ends, with its machine and commit; started again, a row that was
under way goes on, and rows that are there are not trained again. A row is there when its `digest` is that of the net's definition,
the settings and the datasets that it would have now.
"""

import argparse
import dataclasses
import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, print_table, provenance
from splits import make_splits
from trained_rows import CAMERAS, NO_CAMERAS, Job, add_training_options, describe_data, fill_table, make_job, predict, train

from handmesh.data.augment import NO_AUGMENTATION
from handmesh.device import pick_device
from handmesh.evaluation.inference import axis_ratios
from handmesh.metrics import evaluate_hands
from handmesh.run_folder import load_run
from handmesh.settings.mesh import load_preset, with_flags

OFF = {
    "bin_centres": False, "decay_norms": True, "ema": 0.0, "auxiliary": 0.0,
    "augment.box": 0.0, "augment.amplitude": 0.0, **NO_CAMERAS,
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
    "other cameras' colours": CAMERAS,
    "no decay of norms": {"decay_norms": False},
    "mean of weights": {"ema": 0.99},  # over the last 100 of some 600 steps
    "auxiliary head": {"auxiliary": 5.0},
    BLENDED: {},
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
    add_training_options(parser, 20_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="these alone")
    options = parser.parse_args()
    names = ("manorender", "angrender", "validation", "heldout", *(("blended",) if BLENDED in options.rows else ()))
    folders = make_splits(options.data, os.cpu_count() or 1, names)
    jobs = [make_row(name, seed, folders, options) for seed in SEEDS for name in options.rows]
    found = fill_table(TABLE, jobs, lambda job: evaluated(job, folders, options), PLACE, options.jobs)
    print_table("Errors on held-out hands [mm], standard deviations over seeds", list(means(found, options.rows)))


def make_row(name: str, seed: int, folders: dict[str, Path], options: argparse.Namespace) -> Job:
    """How a row is trained: each of its two datasets gives half of the samples."""
    spec = with_flags(load_preset(options.preset), {**OFF, **ROWS[name], "epochs": options.epochs, "seed": seed})
    parts = [folders[part] for part in ("blended" if name == BLENDED else "manorender", "angrender")]
    data = {part: round(options.samples / options.epochs / 2 / describe_data(part)["samples"], 6) for part in parts}
    return make_job(name, spec, data, folders["validation"], [folders["heldout"]])


def evaluated(job: Job, folders: dict[str, Path], options: argparse.Namespace) -> dict[str, Any]:
    """Trains (or goes on) and evaluates one row."""
    run, minutes = train(job, options)
    settings = {"preset": options.preset, "side_px": job.spec.side, "samples_seen": options.samples, "digest": job.digest}
    found = evaluate(run, folders["heldout"], options) | {"training_minutes": minutes}
    return {"row": job.name, "seed": job.seed, **settings, **found, **provenance(torch=torch.__version__, device=options.device)}


def evaluate(folder: Path, heldout: Path, options: argparse.Namespace) -> dict[str, float]:
    """Errors about true boxes and about those of a detector, and how the former compare with the net's deviations."""
    run = load_run(folder, pick_device(options.device))
    found = {}
    for prefix, spec in (("", NO_AUGMENTATION), ("jittered_", dataclasses.replace(NO_AUGMENTATION, box=BOX))):
        predicted = predict(run, heldout, options, spec)
        hands = predicted.keypoints, predicted.vertices, predicted.true_keypoints, predicted.true_vertices
        found |= {prefix + key: float(value) for key, value in evaluate_hands(*hands).items() if key in METRICS}
        if not prefix:
            ratios = axis_ratios(predicted.squares_over_variance[1])
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
