"""Table 3 on synthetic hands: what pose diversity (ManoRender) and view diversity (AngRender) add to a small base set.

    python benchmarks/table3.py DATA RUNS            # makes the data, trains what is missing, judges, writes the CSV

A base set of few poses and views stands for FreiHAND. It alone, with ManoRender, with AngRender and with both train the same net
for the same number of steps, in equal shares, from three seeds; all are judged on held-out hands (`worlds.py`) that share neither
pose, scene, skin, shape, light nor camera with any training set. Each row is kept as it ends; started again, the rest goes on.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from common import print_table, provenance, results_path, write_csv
from worlds import SIZES, make_worlds

from handmesh.training.spec import load_preset, spec_to_dict

ROWS = {
    "Base": ("base",),
    "Base+MR": ("base", "manorender"),
    "Base+AR": ("base", "angrender"),
    "Base+MR+AR": ("base", "manorender", "angrender"),
}
"""The paper's rows, with Base for Frei."""

SEEDS = (0, 1, 2)
METRICS = ("pa_mpjpe_mm", "pa_mpvpe_mm", "f_at_5", "f_at_15")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the datasets, about 400 MB")
    parser.add_argument("runs", type=Path, help="folder of the runs, 160 MB each")
    parser.add_argument("--net", default="lite-fast")
    parser.add_argument("--side", type=int, default=64, help="of the crops [px]")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--epoch-samples", type=int, default=4000, help="seen in an epoch, whatever the row")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0, help="loading processes")
    options = parser.parse_args()
    folders = make_worlds(options.data, os.cpu_count() or 1)

    rows = []
    for seed in SEEDS:
        for name in ROWS:
            rows.append(_row(name, seed, folders, options))
            _write(rows, options)
    print_table("PA-MPJPE on held-out hands, mean of the seeds [mm]", _means(rows))


def _row(name: str, seed: int, folders: dict[str, Path], options: argparse.Namespace) -> dict[str, Any]:
    """Trains and judges one row, or reads what is already there."""
    parts = ROWS[name]
    run = options.runs / f"{name.lower()}-seed{seed}"
    share = options.epoch_samples / len(parts)
    data = [f"--data={folders[part]}={share / SIZES[part]:.6f}" for part in parts]
    preset = dataclasses.replace(
        load_preset("cpu"), net=options.net, side=options.side, first_epochs=0, epochs=options.epochs, seed=seed
    )
    options.runs.mkdir(parents=True, exist_ok=True)
    file = options.runs / f"{run.name}.yaml"
    file.write_text(yaml.safe_dump(spec_to_dict(preset), sort_keys=False))
    summary = run / "evaluation-heldout" / "metrics.json"
    if not summary.exists():
        common = ["--device", options.device, "--workers", str(options.workers)]
        _handmesh("train", "mesh", file, *data, "--val", folders["validation"], "--out", run, "--resume", *common)
        _handmesh("evaluate", run, "--data", folders["heldout"], *common)
    found = json.loads(summary.read_text())
    judged = found["groups"][0]
    return {
        "row": name, "seed": seed, "net": options.net, "side_px": options.side,
        "samples_seen": options.epochs * options.epoch_samples, **{key: judged[key] for key in METRICS},
        "mean_hand_pa_mpjpe_mm": judged["mean_hand_pa_mpjpe_mm"],
    }  # fmt: skip


def _handmesh(*arguments: Any) -> None:
    subprocess.run([sys.executable, "-m", "handmesh", *map(str, arguments)], check=True)


def _write(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    write_csv(results_path("table3"), rows, provenance(torch=_torch(), device=options.device))


def _torch() -> str:
    import torch

    return torch.__version__


def _means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    table = []
    for name in ROWS:
        found = [row["pa_mpjpe_mm"] for row in rows if row["row"] == name]
        spread = statistics.stdev(found) if len(found) > 1 else float("nan")
        mesh = statistics.mean(row["pa_mpvpe_mm"] for row in rows if row["row"] == name)
        table.append({"data": name, "PA-MPJPE": statistics.mean(found), "standard deviation": spread, "PA-MPVPE": mesh})
    return table


if __name__ == "__main__":
    main()
