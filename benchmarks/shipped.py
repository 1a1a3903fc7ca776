"""Errors of the weights that come with the package on 1,000 held-out hands (`splits.py`), by view, pose and visibility.

    python benchmarks/shipped.py DATA [NAME]

No pose, scene or seed of the held-out hands is in what the weights were trained on (their card: `handmesh weights list`).
"""

import argparse
import os
import tempfile
from pathlib import Path

from common import RESULTS, print_table, provenance, results_path, run_handmesh, write_csv
from splits import DATA_HELP, make_splits
from trained_rows import read_table

METRICS = ("mpjpe_mm", "mpvpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm", "f_at_5", "f_at_15")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help=DATA_HELP)
    parser.add_argument("name", nargs="?", default="lite-fast-128", help="of shipped weights, or a run (lite-fast-128)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV (benchmarks/results)")
    options = parser.parse_args()
    heldout = make_splits(options.data, os.cpu_count() or 1, ("heldout",))["heldout"]
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "evaluation"
        run_handmesh("evaluate", options.name, "--data", heldout, "--out", found, "--device", options.device)
        groups = read_table(found / "metrics.csv")
    columns = ("hands", *METRICS, *(f"mean_hand_{name}" for name in METRICS[:4]))
    rows = [
        {
            "net": Path(options.name).name,
            "kind": group["kind"],
            "name": group["name"],
            **{name: float(group[name]) for name in columns},
        }
        for group in groups
    ]
    write_csv(options.out / results_path("shipped").name, rows, provenance())
    print_table("held-out hands", rows)


if __name__ == "__main__":
    main()
