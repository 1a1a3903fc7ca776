"""What each thing in the images is worth: the same training on `default` with one thing less, or one thing more, in every row.

    OMP_NUM_THREADS=1 python benchmarks/ablation_data.py DATA RUNS --jobs 2 --photos photos.json

The first row is `default` as it ships. Each other row generates as many images with one change of the spec, or trains on the first
row's images in another way, sees as many samples, and is evaluated on held-out bare hands, on held-out scenes with everything in
them and, where given, on labelled photographs. What a row loses or gains against the first has a 95 % interval (paired bootstrap
over hands). A row goes into results/ablation_data.csv as it ends; killed, it goes on. With 20,000 images a row takes five minutes
of two cores to generate and, with 60,000 samples seen, fifteen minutes of one core to train; `--start RUN` lets all rows start
from weights, best of bare hands alone: those that have seen a thing forget it slowly.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common import RESULTS
from splits import make_set, make_splits, split_bank
from trained_rows import NO_CAMERAS, Job, add_training_options, compare, describe_data, make_job

from handmesh.settings.mesh import load_preset, with_flags
from handmesh.shipped import find_run
from handsynth.core.locations import EMBEDDED
from handsynth.core.poses import load_poses
from handsynth.recipe.spec import DatasetSpec, LightSpec, SensorSpec, WearSpec, load_spec

ALL = "default"
"""The row that others are compared with."""


@dataclass(frozen=True)
class Change:
    """What a row has other than `default`."""

    spec: Callable[[DatasetSpec], DatasetSpec] = lambda spec: spec
    training: dict[str, Any] | None = None  # by the keys of `with_flags`
    scenes: str = "train"
    images: float = 1.0  # share of the images of the other rows; as many samples are seen


def _poses(share: float) -> Change:
    """So many of the training poses, for fingers too, spread evenly over them."""

    def fewer(spec: DatasetSpec) -> DatasetSpec:
        bank = split_bank(load_poses(EMBEDDED / "poses.npz"))["train"]
        return replace(spec, pose=replace(spec.pose, bank_poses=round(share * len(bank.names))))

    return Change(fewer)


EVEN_LIGHT = LightSpec(
    count=(1, 1), temperature_k=(5500, 5500), ambient=(0.5, 0.5), total=(1.4, 1.4), background_tint=(0.0, 0.0)
)  # fmt: skip
CLEAN_SENSOR = SensorSpec(
    exposure_stops=(0.0, 0.0), white_balance=0.0, blur_probability=0.0, noise=(0.0, 0.0), jpeg_quality=(95, 95)
)  # fmt: skip

ROWS = {
    ALL: Change(),
    "bare wrist": Change(
        lambda s: replace(s, arm=replace(s.arm, probability=0.0), wear=replace(s.wear, sleeve=0.0, watch=0.0, bracelet=0.0))
    ),
    "no clothing": Change(lambda s: replace(s, wear=WearSpec())),
    "nothing held": Change(lambda s: replace(s, held=replace(s.held, probability=0.0))),
    "more held": Change(lambda s: replace(s, held=replace(s.held, probability=0.6))),
    "no second hand": Change(lambda s: replace(s, second=replace(s.second, probability=0.0))),
    "no occluder": Change(lambda s: replace(s, occluder=replace(s.occluder, probability=0.0))),
    "no amplitude mixing": Change(training={"augment.amplitude": 0.0}),
    "no other cameras' colours": Change(training=NO_CAMERAS),
    "one skin": Change(lambda s: replace(s, alpha_std=0.0, arm=replace(s.arm, tan_std=0.0))),
    "few backgrounds": Change(scenes="base"),
    "even light": Change(lambda s: replace(s, light=EVEN_LIGHT)),
    "clean sensor": Change(lambda s: replace(s, motion=replace(s.motion, probability=0.0), sensor=CLEAN_SENSOR)),
    "20 % of the poses": _poses(0.2),
    "40 % of the poses": _poses(0.4),
    "no swapped fingers": Change(lambda s: replace(s, pose=replace(s.pose, swap_probability=0.0))),
    "no blended fingers": Change(lambda s: replace(s, pose=replace(s.pose, interpolation_probability=0.0))),
    "one shape": Change(lambda s: replace(s, beta_std=0.0)),
    "half the images": Change(images=0.5),
    "a quarter of the images": Change(images=0.25),
}

SETS = {"bare hands": "heldout", "everything": "scenetest"}
"""What the rows are evaluated on."""

EPOCHS = 4
PLACE = ("row", "seed", "preset", "samples_seen", "start")
TABLE = RESULTS / "ablation_data.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_training_options(parser, 60_000, photos=True)
    parser.add_argument("--images", type=int, default=20_000, help="of each row")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--start", help="run or shipped weights that all rows start from [ImageNet's]")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="these alone")
    options = parser.parse_args()
    folders = make_splits(options.data, os.cpu_count() or 1, ("validation", *SETS.values()))
    names = [ALL, *(name for name in options.rows if name != ALL)]
    jobs = [make_row(name, seed, folders, options) for seed in range(options.seeds) for name in names]
    sets = {title: folders[name] for title, name in SETS.items()}
    compare(TABLE, PLACE, jobs, sets, options, start=options.start or "ImageNet")


def make_row(name: str, seed: int, folders: dict[str, Path], options: argparse.Namespace) -> Job:
    """The images of a row, which are made where they are missing, and how it is trained on them."""
    change = ROWS[name]
    spec = change.spec(load_spec("default"))
    images = round(options.images * change.images)
    # The first row's images, used otherwise.
    plain = (spec, change.scenes, images) == (load_spec("default"), "train", options.images)
    title = f"ablation {ALL if plain else name}".replace(" %", "").replace(" ", "-")
    data = make_set(options.data, replace(spec, name=title), "train", change.scenes, images, os.cpu_count() or 1)
    flags = {**(change.training or {}), "epochs": EPOCHS, "seed": seed}
    weight = options.samples / EPOCHS / describe_data(data)["samples"]
    return make_job(
        name, with_flags(load_preset(options.preset), flags), {data: round(weight, 6)}, folders["validation"],
        [folders[part] for part in SETS.values()], find_run(options.start) if options.start else None,
    )  # fmt: skip


if __name__ == "__main__":
    main()
