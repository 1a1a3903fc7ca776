"""Table 3 on synthetic hands: what pose diversity (ManoRender) and view diversity (AngRender) add to a small base set.

    python benchmarks/table3.py DATA RUNS            # makes the data, trains and evaluates the rows that are missing

A base set of few poses and views stands for FreiHAND. It alone, with ManoRender, with AngRender and with both train the same net
for the same number of steps, in equal shares, from three seeds; all are evaluated on held-out hands (`splits.py`) that share
neither pose, scene, skin, shape, light nor camera with any training set. A row goes into results/table3.csv as it ends, with its
own machine and commit; started again, on this machine or another, only rows that are not there yet are trained.
"""

import argparse
import csv
import dataclasses
import json
import os
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import yaml
from common import RESULTS, print_table, provenance, run_handmesh, write_csv
from splits import DATA_HELP, SIZES, make_splits

from handmesh.settings.mesh import load_preset, spec_to_dict

ROWS = {
    "Base": ("base",),
    "Base+MR": ("base", "manorender"),
    "Base+AR": ("base", "angrender"),
    "Base+MR+AR": ("base", "manorender", "angrender"),
}
"""The paper's rows, with Base for Frei."""

SEEDS = (0, 1, 2)
METRICS = ("pa_mpjpe_mm", "pa_mpvpe_mm", "f_at_5", "f_at_15", "mpjpe_mm", "mean_hand_pa_mpjpe_mm")
TABLE = RESULTS / "table3.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help=DATA_HELP)
    parser.add_argument("runs", type=Path, help="folder of the runs, 130 MB each")
    parser.add_argument("--preset", default="cpu64", help="how every row is trained")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--epoch-samples", type=int, default=4000, help="seen in an epoch, whatever the row")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0, help="loading processes of each row")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time; on a CPU set OMP_NUM_THREADS=1 with it")
    options = parser.parse_args()
    folders = make_splits(options.data, os.cpu_count() or 1)
    kept = read_table()
    missing = [(name, seed) for seed in SEEDS for name in ROWS if not any(_is(row, name, seed, options) for row in kept)]
    with ThreadPoolExecutor(options.jobs) as pool:
        for row in pool.map(lambda wanted: _row(*wanted, folders, options), missing):
            kept.append(row)
            write_csv(TABLE, kept, {})
    print_table(
        "Errors on held-out hands [mm], standard deviations over seeds", list(_means([row for row in kept if _asked(row, options)]))
    )


def read_table() -> list[dict[str, Any]]:
    """The rows that are already there."""
    if not TABLE.exists():
        return []
    with open(TABLE, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _asked(row: dict[str, Any], options: argparse.Namespace) -> bool:
    """Whether a row was trained as this command trains."""
    return (row["preset"], int(row["samples_seen"])) == (options.preset, options.epochs * options.epoch_samples)


def _is(row: dict[str, Any], name: str, seed: int, options: argparse.Namespace) -> bool:
    return (row["row"], int(row["seed"])) == (name, seed) and _asked(row, options)


def _row(name: str, seed: int, folders: dict[str, Path], options: argparse.Namespace) -> dict[str, Any]:
    """Trains (or goes on) and evaluates one row."""
    parts = ROWS[name]
    run = options.runs / f"{options.preset}-{name.lower()}-seed{seed}"
    share = options.epoch_samples / len(parts)
    data = [f"--data={folders[part]}={share / SIZES[part]:.6f}" for part in parts]
    preset = dataclasses.replace(load_preset(options.preset), epochs=options.epochs, seed=seed)
    options.runs.mkdir(parents=True, exist_ok=True)
    file = options.runs / f"{run.name}.yaml"
    file.write_text(yaml.safe_dump(spec_to_dict(preset), sort_keys=False), encoding="utf-8")
    common = ["--device", options.device, "--workers", str(options.workers)]
    run_handmesh("train", "mesh", file, *data, "--val", folders["validation"], "--out", run, "--resume", *common)
    run_handmesh("evaluate", run, "--data", folders["heldout"], *common)
    evaluated = json.loads((run / "evaluation-heldout" / "metrics.json").read_text(encoding="utf-8"))["groups"][0]
    settings = {"preset": options.preset, "net": preset.net, "side_px": preset.side}
    settings["samples_seen"] = options.epochs * options.epoch_samples
    found = {key: evaluated[key] for key in METRICS}
    return {"row": name, "seed": seed, **settings, **found, **provenance(torch=torch.__version__, device=options.device)}


def _means(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A line for every row of the paper's table that has at least one seed."""
    for name in ROWS:
        found = {key: [float(row[key]) for row in rows if row["row"] == name] for key in METRICS}
        if not (seeds := len(found["pa_mpjpe_mm"])):
            continue
        line: dict[str, Any] = {"data": name, "seeds": seeds}
        for key, title in (("pa_mpjpe_mm", "PA-MPJPE"), ("pa_mpvpe_mm", "PA-MPVPE"), ("mpjpe_mm", "MPJPE")):
            line[title] = statistics.mean(found[key])
            line[f"{title} deviation"] = statistics.stdev(found[key]) if seeds > 1 else float("nan")
        yield line


if __name__ == "__main__":
    main()
