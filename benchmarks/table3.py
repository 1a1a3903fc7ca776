"""Table 3 on synthetic hands: what pose diversity (ManoRender) and view diversity (AngRender) add to a base set.

    OMP_NUM_THREADS=1 python benchmarks/table3.py DATA RUNS --jobs 2 --photos photos.json

The base set stands for FreiHAND: 12,000 images of 100 gestures from a cone of views, in a world of its own style. One net learns it
first. From that net every row goes on, for equally many samples and to a rate of zero: with the base alone, with ManoRender, with
AngRender, with both, in equal shares. They are evaluated in the base's world with unseen gestures, with unseen views and with
unseen poses; on held-out hands that share nothing with any of the sets; and, where given, on labelled photographs. What a row gains
over the base alone has a 95 % interval (paired bootstrap over hands). Three hours of two cores; rows that are there are kept.
"""

import argparse
import dataclasses
import os
from pathlib import Path

from common import RESULTS
from splits import make_splits
from trained_rows import Job, add_training_options, compare, describe_data, make_job, read_table, run_of, train

from handmesh.settings.mesh import load_preset

ROWS = {
    "Base": ("base",),
    "Base+MR": ("base", "manorender"),
    "Base+AR": ("base", "angrender"),
    "Base+MR+AR": ("base", "manorender", "angrender"),
}
"""The paper's rows, with Base for Frei."""

SETS = {"base's world": "basetest", "unseen views": "viewtest", "unseen poses": "posetest", "everything new": "heldout"}
"""What the rows are evaluated on."""

EPOCHS = 4
SEEDS = (0, 1)
PLACE = ("row", "seed", "preset", "samples_seen")
TABLE = RESULTS / "table3.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_training_options(parser, 100_000, photos=True)
    parser.add_argument("--base-samples", type=int, default=150_000, help="seen before the rows part")
    parser.add_argument("--lr", type=float, default=1e-3, help="rate from which the rows go on to zero")
    options = parser.parse_args()
    folders = make_splits(options.data, os.cpu_count() or 1, ("base", "manorender", "angrender", "validation", *SETS.values()))
    first = make_base(folders, options)
    jobs = [make_row(name, seed, folders, first, options) for seed in SEEDS for name in ROWS]
    there = {row.get("digest") for row in read_table(TABLE)}
    if any(job.digest not in there for job in jobs):
        train(first, options)
    sets = {title: folders[name] for title, name in SETS.items()}
    compare(TABLE, PLACE, jobs, sets, options)


def make_base(folders: dict[str, Path], options: argparse.Namespace) -> Job:
    """The net that learns the base set first."""
    spec = load_preset(options.preset)
    weight = options.base_samples / spec.epochs / describe_data(folders["base"])["samples"]
    return make_job("first", spec, {folders["base"]: round(weight, 6)}, folders["validation"])


def make_row(name: str, seed: int, folders: dict[str, Path], first: Job, options: argparse.Namespace) -> Job:
    """How a row is trained: each part of its data gives an equal share of the samples."""
    spec = dataclasses.replace(load_preset(options.preset), lr=options.lr, schedule="linear", epochs=EPOCHS, seed=seed)
    each = options.samples / EPOCHS / len(ROWS[name])
    data = {folders[part]: round(each / describe_data(folders[part])["samples"], 6) for part in ROWS[name]}
    return make_job(name, spec, data, folders["validation"], [folders[part] for part in SETS.values()], run_of(first, options.runs))


if __name__ == "__main__":
    main()
