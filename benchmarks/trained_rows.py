"""Tables whose every row is a training: each is trained once, goes on after a kill, and is compared with others hand by hand.

A row goes into its table as it ends, with its machine and commit. A row is there when its `digest` is that of the net's definition,
the settings, the start and the datasets that it would have now; one of an older net or dataset is trained again, in a folder of its
own, and replaced. So a table can be filled over several nights, on this machine or another.
"""

import argparse
import ast
import csv
import functools
import hashlib
import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from common import paired_interval, print_table, provenance, run_handmesh, write_csv
from splits import DATA_HELP

from handmesh.data.augment import NO_AUGMENTATION, AugmentSpec
from handmesh.data.dataset import HandDataset
from handmesh.data.photos import read_photos
from handmesh.data.shards import ShardDataset
from handmesh.device import pick_device
from handmesh.estimation.backends import TorchNet
from handmesh.estimation.estimate import Estimator
from handmesh.estimation.photos import estimate_photos, found_of
from handmesh.evaluation.inference import Predicted, predict_dataset
from handmesh.evaluation.photo_scores import scores
from handmesh.metrics import align_similarity, point_errors_mm
from handmesh.nets.counting import NUM_KEYPOINTS, NUM_VERTICES, count
from handmesh.nets.registry import create_net
from handmesh.run_files import WEIGHTS
from handmesh.run_folder import Run, load_run
from handmesh.settings.mesh import TrainSpec, spec_to_dict
from handsynth.core.index import canonical_json, read_index

PHOTOS = "photographs"
"""The set whose errors are 2-D ones, in hundredths of the hand's size; others' are PA-MPJPE [mm]."""


ORIGIN = "made of"
"""Of kept errors: digest of all that decides them."""

CAMERAS = {"augment.grey": 0.15, "augment.saturation": 0.7, "augment.contrast": 0.5, "augment.sharpness": 1.5}
"""Colours and sharpness of other cameras, as presets draw them, by the keys of `with_flags`."""

NO_CAMERAS = dict.fromkeys(CAMERAS, 0.0)


@dataclass(frozen=True)
class Job:
    """A row of a table, of one seed, before it is trained."""

    name: str
    seed: int
    spec: TrainSpec
    data: dict[Path, float]  # dataset -> weight
    validation: Path
    start: Path | None  # run whose weights it starts from
    digest: str  # of all that decides its figures


def make_job(
    name: str, spec: TrainSpec, data: Mapping[Path, float], validation: Path, others: Sequence[Path] = (), start: Path | None = None
) -> Job:
    """A row and its digest. `others` are the sets that it is evaluated on."""
    decides = {
        "row": name, "net": net_digest(spec.net), "training": spec_to_dict(spec), "start": start.name if start else None,
        "weights": {folder.name: weight for folder, weight in data.items()},
        "data": {folder.name: describe_data(folder) for folder in (*data, validation, *others)},
    }  # fmt: skip
    digest = hashlib.sha256(canonical_json(decides)).hexdigest()[:16]
    return Job(name, spec.seed, spec, dict(data), validation, start, digest)


def run_of(job: Job, runs: Path) -> Path:
    """Folder of a row's run."""
    return runs / f"{job.name.lower().replace(' ', '-')}-seed{job.seed}-{job.digest}"


def train(job: Job, options: argparse.Namespace) -> tuple[Path, float]:
    """Trains (or goes on) -> the run's folder and the minutes that it took now."""
    run = run_of(job, options.runs)
    options.runs.mkdir(parents=True, exist_ok=True)
    file = options.runs / f"{run.name}.yaml"
    file.write_text(yaml.safe_dump(spec_to_dict(job.spec), sort_keys=False), encoding="utf-8")
    begin = time.time()
    run_handmesh(
        "train", "mesh", file, *(f"--data={folder}={weight}" for folder, weight in job.data.items()), "--val", job.validation,
        *(("--start", job.start) if job.start else ()), "--out", run, "--resume", "--device", options.device,
        "--workers", options.workers, "--cache", options.cache,
    )  # fmt: skip
    return run, (time.time() - begin) / 60


def add_training_options(parser: argparse.ArgumentParser, samples: int, photos: bool = False) -> None:
    """What all such tables take; `samples` of each row by default, `photos` for those that `compare` rows."""
    parser.add_argument("data", type=Path, help=DATA_HELP)
    parser.add_argument("runs", type=Path, help="folder of the runs, 130 MB each")
    parser.add_argument("--preset", default="cpu64", help="how every row is trained")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0, help="loading processes of each row")
    parser.add_argument("--cache", default="none", choices=("none", "memory", "device"))
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time; on a CPU set OMP_NUM_THREADS=1 with it")
    parser.add_argument("--samples", type=int, default=samples, help="seen by each row")
    if photos:
        parser.add_argument("--photos", type=Path, help="labelled photographs to evaluate on, too")


def fill_table(
    table: Path, jobs: Sequence[Job], make_row: Callable[[Job], dict[str, Any]], place: Sequence[str], at_once: int
) -> list[dict[str, Any]]:
    """Trains the rows that are missing and writes the table after each -> the rows of these jobs.

    Args:
        table: the CSV file; it may have other rows, which are kept.
        jobs: the rows wanted.
        make_row: trains and evaluates one; the row has its `digest`.
        place: keys that say which row of the table it is; an older one of the same place is replaced.
        at_once: rows trained at a time.
    """
    kept, digests = read_table(table), {job.digest for job in jobs}
    there = {row.get("digest") for row in kept}
    with ThreadPoolExecutor(at_once) as pool:
        for row in pool.map(make_row, [job for job in jobs if job.digest not in there]):
            kept = [*(old for old in kept if any(str(old.get(key)) != str(row[key]) for key in place)), row]
            columns = list(dict.fromkeys([*row, *(key for old in kept for key in old)]))
            write_csv(table, [{key: old.get(key, "") for key in columns} for old in kept], {})
    return [row for row in kept if row.get("digest") in digests]


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows that are already there."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def predict(run: Run, folder: Path, options: argparse.Namespace, spec: AugmentSpec = NO_AUGMENTATION) -> Predicted:
    """A run's net on a dataset, about the labels' boxes unless `spec` moves them."""
    data = HandDataset([ShardDataset(folder, run.hand)], run.spec.side, spec)
    return predict_dataset(run.net, data, run.hand.faces, 32, options.workers, pick_device(options.device))


def errors_of(folder: Path, sets: Mapping[str, Path], photos: Path | None, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Errors of a run hand by hand: (N,) PA-MPJPE of each set [mm], and on photographs 2-D ones [%].

    They are kept in the run's folder until its weights, a dataset or the photographs' labels are others.

    Args:
        folder: of the run.
        sets: datasets by name.
        photos: labelled photographs, or None.
        options: `device` and `workers`.
    """
    file = folder / "errors.npz"
    made_of = {
        "weights": file_digest(folder / WEIGHTS), "sets": {name: describe_data(data) for name, data in sets.items()},
        "photographs": file_digest(photos) if photos else None,
    }  # fmt: skip
    origin = hashlib.sha256(canonical_json(made_of)).hexdigest()
    if file.exists():
        with np.load(file) as there:
            kept = dict(there)
        if str(kept.pop(ORIGIN, "")) == origin:
            return kept
    device = pick_device(options.device)
    run = load_run(folder, device)
    found = {}
    for name, data in sets.items():
        predicted = predict(run, data, options)
        aligned = align_similarity(predicted.keypoints, predicted.true_keypoints)
        found[name] = point_errors_mm(aligned, predicted.true_keypoints).mean(1)
    if photos:
        hands = read_photos(photos)
        seen = found_of(*estimate_photos(Estimator(TorchNet(run.net, device), run.hand, run.spec.side), hands))
        found[PHOTOS] = np.array([100 * row["error_2d"] for row in scores(hands, seen)])
    np.savez(file, **found, **{ORIGIN: np.array(origin)})  # type: ignore[arg-type]
    return found


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def evaluated(job: Job, sets: Mapping[str, Path], options: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """Trains (or goes on) and evaluates a row -> what the table has of it: settings, `more`, each set's mean error, its origin."""
    run, minutes = train(job, options)
    errors = errors_of(run, sets, options.photos, options)
    settings = {"preset": options.preset, "net": job.spec.net, "side_px": job.spec.side, "samples_seen": options.samples} | more
    means: dict[str, Any] = {f"{title}_pa_mpjpe_mm": float(errors[title].mean()) for title in sets}
    means |= {"photographs_error_percent": float(errors[PHOTOS].mean()) if PHOTOS in errors else ""}
    origin = provenance(torch=torch.__version__, device=options.device)
    return {"row": job.name, "seed": job.seed, **settings, **means, "digest": job.digest, "training_minutes": minutes, **origin}


def compare(
    table: Path, place: Sequence[str], jobs: Sequence[Job], sets: Mapping[str, Path], options: argparse.Namespace, **more: Any
) -> None:
    """Fills a table, and writes and prints what each row gains over the first, beside it as NAME_gains.csv.

    Args:
        table: as of `fill_table`.
        place: as of `fill_table`.
        jobs: as of `fill_table`; that of the first row, which others are compared with, is the first.
        sets: what rows are evaluated on, by name.
        options: of `add_training_options`, with `photos`.
        more: columns, as of `evaluated`.
    """
    fill_table(table, jobs, lambda job: evaluated(job, sets, options, **more), place, options.jobs)
    errors = {(job.name, job.seed): errors_of(run_of(job, options.runs), sets, options.photos, options) for job in jobs}
    reference = jobs[0].name
    found = list(gains(errors, reference, list(dict.fromkeys(job.name for job in jobs))))
    if found:
        write_csv(table.with_stem(f"{table.stem}_gains"), found, provenance(torch=torch.__version__, device=options.device))
        units = "mm PA-MPJPE; photographs: % of the hand's size"
        print_table(f"Gained over {reference} [{units}], 95 % intervals over hands", found)


def gains(
    errors: Mapping[tuple[str, int], Mapping[str, np.ndarray]], reference: str, names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """For each row but the reference and each set: how much lower its error is, with a 95 % interval over hands.

    Pairs are the same hand under both rows, each row's error its mean over the seeds that both have.

    Args:
        errors: (row, seed) -> set -> (N,) errors, as of `errors_of`.
        reference: the row that others are compared with.
        names: of the rows.
    """
    for name in names:
        seeds = [seed for row, seed in errors if row == name and (reference, seed) in errors]
        if name == reference or not seeds:
            continue
        for part in errors[name, seeds[0]]:
            ours, theirs = (np.mean([errors[row, seed][part] for seed in seeds], axis=0) for row in (name, reference))
            mean, low, high = paired_interval(theirs - ours)
            who = {"row": name, "over": reference, "set": part, "seeds": len(seeds), "hands": len(ours)}
            yield who | {"error": float(ours.mean()), "gain": mean, "interval_low": low, "interval_high": high}


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
