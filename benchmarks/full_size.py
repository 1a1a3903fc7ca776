"""The paper's two datasets whole, 128,704 samples: how long they take, how large they are, what `handsynth verify` says of them.

    python benchmarks/full_size.py OUT             # needs 6 GB; started again, it makes and times only what is missing

A row for each dataset; `samples_per_s` counts the samples that this command made, over the whole command's time.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import print_table, provenance, results_path, write_csv

SPECS = ("manorender", "angrender")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of both datasets")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--replay", type=int, default=64, help="samples of each dataset that verify makes again")
    parser.add_argument("--samples", type=int, help="of each dataset, spread evenly, to try this out")
    options = parser.parse_args()
    rows = [full_row(name, options.out / name, options) for name in SPECS]
    print_table("Datasets", rows)
    if options.samples is None:
        write_csv(results_path("full_size"), rows, provenance(jobs=options.jobs))


def full_row(name: str, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Makes a dataset and verifies it."""
    some = [] if options.samples is None else ["--samples", str(options.samples)]
    made, generate_s = _handsynth("generate", name, out, "--jobs", options.jobs, "--json", *some)
    found, verify_s = _handsynth("verify", out, "--replay", options.replay, "--json")
    files = [path for path in out.rglob("*") if path.is_file()]
    index = json.loads((out / "index.json").read_text(encoding="utf-8"))
    return {
        "dataset": name,
        "samples": found["samples"],
        "shards": made["shards"],
        "made_now": made["samples"],
        "generate_s": generate_s,
        "samples_per_s": made["samples"] / generate_s,
        "MB": sum(path.stat().st_size for path in files) / 1e6,
        "verify_s": verify_s,
        "silhouettes": found["silhouettes"],
        "replayed": found["replayed"],
        "faults": len(found["faults"]),
        "identity": index["dataset"],
        "driver": re.sub(r"\s+", " ", "; ".join(sorted(set(index["drivers"])))),
    }


def _handsynth(*arguments: Any) -> tuple[dict[str, Any], float]:
    """What a command says as JSON, and how many seconds it took; its progress goes to the terminal."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "handsynth", *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    if not done.stdout.strip():
        sys.exit(done.returncode or 1)
    return json.loads(done.stdout), time.perf_counter() - start


if __name__ == "__main__":
    main()
