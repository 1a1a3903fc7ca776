"""What a machine without a GPU can train: `handmesh train mesh cpu` on ManoRender and AngRender, evaluated on held-out hands.

    python benchmarks/train_cpu.py DATA RUN          # makes the data, trains (or goes on), evaluates, writes two CSV files

One file has the errors on the held-out hands, overall and by group, beside those of the feasible hands that are nearest to the
net's and of the mean hand; the other every epoch's losses, which show whether training and validation part.
"""

import argparse
import csv
import json
import os
from pathlib import Path

import torch
from common import RESULTS, print_table, provenance, results_path, run_handmesh, write_csv
from splits import DATA_HELP, make_splits

SHOWN = ("kind", "name", "hands", "mpjpe_mm", "pa_mpjpe_mm", "fitted_pa_mpjpe_mm", "mean_hand_pa_mpjpe_mm", "pa_mpvpe_mm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help=DATA_HELP)
    parser.add_argument("run", type=Path, help="folder of the run, 160 MB")
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0, help="loading processes")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the tables")
    parser.add_argument("--ranks", type=int, default=1, help="processes that share the preset's batch: one for each core")
    options = parser.parse_args()

    folders = make_splits(options.data, os.cpu_count() or 1)
    common = ["--device", options.device, "--workers", str(options.workers)]
    data = [f"--data={folders[name]}" for name in ("manorender", "angrender")]
    training = ["train", "mesh", options.preset, *data, "--val", folders["validation"], "--out", options.run, "--resume", *common]
    run_handmesh(*training, ranks=options.ranks)
    run_handmesh("evaluate", options.run, "--data", folders["heldout"], "--kinematics", *common)

    summary = json.loads((options.run / "evaluation-heldout" / "metrics.json").read_text(encoding="utf-8"))
    with open(options.run / "metrics.csv", encoding="utf-8") as file:
        epochs = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    origin = provenance(torch=torch.__version__, device=options.device)
    write_csv(options.out / results_path("train_cpu").name, summary["groups"], origin)
    write_csv(options.out / results_path("train_cpu_epochs").name, epochs, origin)
    print_table("Held-out hands", [{k: g[k] for k in SHOWN} for g in summary["groups"]])


if __name__ == "__main__":
    main()
