"""What the benchmarks share: who measured (machine, commit, command), medians, CSV files, and `handmesh` as a user calls it."""

import csv
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
"""Where the CSV files lie that the tables of README.md are made from."""


def cpu_model() -> str:
    """Name of the processor, from Linux."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def git_commit() -> str:
    """Short commit of the checkout that holds this file, with -dirty when tracked files were changed; "unknown" without git."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=7"],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def provenance(**more: Any) -> dict[str, Any]:
    """Columns that every CSV ends with: command, machine, software and commit. `more` adds what a benchmark knows besides.

    The load average says how quiet the machine was: this process alone is 1.
    """
    import numpy

    arguments = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return {
        **more,
        "command": " ".join(["python", "benchmarks/" + arguments[0], *arguments[1:]]),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "commit": git_commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def results_path(bench: str) -> Path:
    """results/<bench>-<machine>-<commit>.csv."""
    machine = re.sub(r"\(r\)|\(tm\)|processor|\d+-core|cpu|@.*", "", cpu_model().lower())
    return RESULTS / f"{bench}-{'-'.join(re.findall(r'[a-z0-9.]+', machine))}-{git_commit()}.csv"


def write_csv(path: Path, rows: Sequence[dict[str, Any]], origin: dict[str, Any]) -> None:
    """Writes rows of equal keys (units in the names), each with the columns of `origin`; floats with four digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = [row | origin for row in rows]
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(whole[0]), lineterminator="\n")
        writer.writeheader()
        for row in whole:
            writer.writerow({key: f"{v:.4g}" if isinstance(v, float) else v for key, v in row.items()})


def print_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Prints rows of equal keys, columns aligned."""
    cells = [[*map(str, rows[0])]] + [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]))]
    print(f"\n{title}")
    for line in cells:
        print("  ".join(cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, widths, strict=True))))


def round_robin(variants: dict[str, Callable[[], None]], repeats: int) -> dict[str, tuple[float, float]]:
    """Median (CPU seconds, wall seconds) of each variant over `repeats` rounds after one warm-up round.

    Every round runs the variants one after another, so that a machine that slows down slows all of them. Each runs twice and the
    second run counts: the first pays for the caches and the memory that the variant before it took. The CPU time is this
    process's, all threads together.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for round_number in range(repeats + 1):
        for name, run in variants.items():
            run()
            cpu, wall = time.process_time(), time.perf_counter()
            run()
            if round_number:
                times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {name: (statistics.median(c for c, _ in t), statistics.median(w for _, w in t)) for name, t in times.items()}


def paired_interval(differences: np.ndarray, draws: int = 2000) -> tuple[float, float, float]:
    """Mean of (N,) differences, hand by hand, and the ends of its 95 % interval (percentile bootstrap over hands)."""
    rng = np.random.default_rng(0)
    means = differences[rng.integers(len(differences), size=(draws, len(differences)))].mean(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(differences.mean()), float(low), float(high)


def counted(runs: Sequence[Any]) -> Sequence[Any]:
    """Of what a variant noted in each of its runs under `round_robin`: those of the runs that count."""
    return runs[3::2]  # two runs warm up; then every second counts


def run_handmesh(*arguments: Any, ranks: int = 1) -> None:
    """Runs `handmesh ARGUMENTS` as a user would, by this interpreter; with `ranks` under torchrun. Raises CalledProcessError."""
    together = ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"] if ranks > 1 else []
    subprocess.run([sys.executable, "-m", *together, "handmesh", *map(str, arguments)], check=True)
