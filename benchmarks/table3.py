"""Table 3 on synthetic hands: what pose diversity (ManoRender) and view diversity (AngRender) add to a small base set.

    python benchmarks/table3.py DATA RUNS            # makes the data, trains and evaluates the rows that are missing

A base set of few poses and views stands for FreiHAND. It alone, with ManoRender, with AngRender and with both train the same net
for the same number of steps, in equal shares, from three seeds; all are evaluated on held-out hands (`splits.py`) that share
neither pose, scene, skin, shape, light nor camera with any training set. A row goes into results/table3.csv as it ends, with its
own machine and commit; started again, on this machine or another, only rows that are not there yet are trained. A row is there
when its `digest` is that of the net's definition, the preset's settings, the samples seen and the datasets that it would have now:
one of an older net, preset or dataset is trained again, in a folder of its own, and replaced.
"""

import argparse
import ast
import csv
import dataclasses
import functools
import hashlib
import inspect
import json
import os
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from common import RESULTS, print_table, provenance, run_handmesh, write_csv
from splits import DATA_HELP, make_splits

from handmesh.nets.counting import NUM_KEYPOINTS, NUM_VERTICES, count
from handmesh.nets.registry import create_net
from handmesh.settings.mesh import TrainSpec, load_preset, spec_to_dict
from handsynth.core.index import canonical_json, read_index

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
    data = {name: describe_data(folder) for name, folder in folders.items()}
    wanted = [make_job(name, seed, folders, data, options) for seed in SEEDS for name in ROWS]
    kept, digests = read_table(TABLE), {job.digest for job in wanted}
    there = {row.get("digest") for row in kept}
    with ThreadPoolExecutor(options.jobs) as pool:
        for row in pool.map(lambda job: _row(job, options), [job for job in wanted if job.digest not in there]):
            kept = [*(old for old in kept if not _is_replaced(old, row)), row]
            columns = list(dict.fromkeys([*row, *(key for old in kept for key in old)]))
            write_csv(TABLE, [{key: old.get(key, "") for key in columns} for old in kept], {})
    means = list(_means([row for row in kept if row.get("digest") in digests]))
    print_table("Errors on held-out hands [mm], standard deviations over seeds", means)


@dataclass(frozen=True)
class Job:
    """A row of the table before it is trained."""

    name: str
    seed: int
    spec: TrainSpec
    data: list[str]  # --data's values
    folders: dict[str, Path]
    digest: str  # of all that decides its figures


def make_job(name: str, seed: int, folders: dict[str, Path], data: dict[str, dict[str, Any]], options: argparse.Namespace) -> Job:
    """How a row is trained: each part of its data gives an equal share of the samples."""
    spec = dataclasses.replace(load_preset(options.preset), epochs=options.epochs, seed=seed)
    weights = {part: round(options.epoch_samples / len(ROWS[name]) / data[part]["samples"], 6) for part in ROWS[name]}
    decides = {
        "row": name, "net": net_digest(spec.net), "training": spec_to_dict(spec), "weights": weights,
        "data": {key: data[key] for key in (*ROWS[name], "validation", "heldout")},
    }  # fmt: skip
    digest = hashlib.sha256(canonical_json(decides)).hexdigest()[:16]
    return Job(name, seed, spec, [f"--data={folders[part]}={weight}" for part, weight in weights.items()], folders, digest)


def describe_data(folder: Path) -> dict[str, Any]:
    """What a dataset is: its identity, and which samples of its spec it holds."""
    index = read_index(folder)
    return {key: index[key] for key in ("dataset", "selection", "samples")}


@functools.cache
def net_digest(name: str) -> str:
    """Digest of a net's definition: modules, shapes and multiplications, and the code that its modules are written in.

    Comments, docstrings and how code is laid out do not count, nor do modules that the net has none of.
    """
    with torch.device("meta"):
        net = create_net(name, np.zeros((NUM_KEYPOINTS, NUM_VERTICES)), pretrained=False)
        macs = count(net)["total"].macs_true
    shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
    files = {inspect.getfile(type(module)) for module in net.modules() if type(module).__module__.startswith("handmesh.")}
    code = [code_text(Path(file).read_text(encoding="utf-8")) for file in sorted(files)]
    return hashlib.sha256(canonical_json([repr(net), shapes, macs, code])).hexdigest()


def code_text(source: str) -> str:
    """Python without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):  # texts that stand alone: docstrings, and those below constants
            kept = [part for part in body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_replaced(old: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether an old row is of the same place in the table."""
    return all(str(old.get(key)) == str(row[key]) for key in ("row", "seed", "preset", "samples_seen"))


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows that are already there."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _row(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Trains (or goes on) and evaluates one row."""
    run = options.runs / f"{job.spec.net}-{job.name.lower()}-seed{job.seed}-{job.digest}"
    options.runs.mkdir(parents=True, exist_ok=True)
    file = options.runs / f"{run.name}.yaml"
    file.write_text(yaml.safe_dump(spec_to_dict(job.spec), sort_keys=False), encoding="utf-8")
    common = ["--device", options.device, "--workers", str(options.workers)]
    run_handmesh("train", "mesh", file, *job.data, "--val", job.folders["validation"], "--out", run, "--resume", *common)
    run_handmesh("evaluate", run, "--data", job.folders["heldout"], "--out", run / "evaluation", *common)
    evaluated = json.loads((run / "evaluation" / "metrics.json").read_bytes())["groups"][0]
    settings = {"preset": options.preset, "net": job.spec.net, "side_px": job.spec.side}
    settings |= {"samples_seen": options.epochs * options.epoch_samples, "digest": job.digest}
    found = {key: evaluated[key] for key in METRICS}
    return {"row": job.name, "seed": job.seed, **settings, **found, **provenance(torch=torch.__version__, device=options.device)}


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
