"""The farm: which samples go into which shard, workers that make whole shards, resuming, and the merged index."""

import contextlib
import dataclasses
import errno
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import threadpoolctl

import handsynth
from handsynth.assets.backgrounds import describe_skipped
from handsynth.assets.store import file_sha256
from handsynth.core.conventions import DEPTH_UNIT_M, FINGERTIP_TABLES, JOINT_NAMES, KEYPOINT_NAMES, SCHEMA, VISIBLE_TOLERANCE_M
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.sample import FIELDS, PASSES
from handsynth.core.shard import ShardInfo, canonical_json, remove_leftovers, shard_name, write_file, write_shard
from handsynth.encode import encode_sample
from handsynth.pipeline import Studio, library_of
from handsynth.progress import Progress
from handsynth.recipe.sampling import RecipeSampler
from handsynth.recipe.spec import DatasetSpec, dataset_identity, spec_from_dict, spec_to_dict
from handsynth.selection import Selection
from handsynth.workers import run_in_workers

NOTES = ".handsynth"
"""Hidden folder of a dataset: the plan, and one note per finished shard. Readers of the tars never see it."""


@dataclass(frozen=True)
class RunConfig:
    """How a dataset is made. Nothing here changes a byte of it."""

    jobs: int = 1
    nnodes: int = 1
    node_rank: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class ShardTask:
    """One shard to be made: everything a worker needs, as plain values."""

    number: int
    indices: tuple[int, ...]
    spec_json: str
    assets: str
    out: str


def plan_shards(spec: DatasetSpec, selection: Selection) -> list[tuple[int, ...]]:
    """Indices of each shard: the selected ones fill the shards in order."""
    indices = selection.indices(spec.samples)
    return [tuple(indices[k : k + spec.shard_size]) for k in range(0, len(indices), spec.shard_size)]


def generate(spec: DatasetSpec, out: Path, selection: Selection, run: RunConfig, assets: Path) -> dict[str, Any]:
    """Makes what is missing of a dataset in `out` and returns a summary; the index is written once all shards are there.

    Raises UsageError when `out` holds another dataset, HandsynthError when the disk is full or cannot be written to,
    AssetError when an asset or OpenGL is missing. Whatever happens, only whole shards lie under their own names.
    """
    library = library_of(spec, assets)
    if skipped := describe_skipped(library.backgrounds):
        print(skipped, file=sys.stderr)
    identity = dataset_identity(spec, library.digests)
    plan = {
        "schema": SCHEMA,
        "handsynth": handsynth.__version__,
        "name": spec.name,
        "dataset": identity,
        "spec": spec_to_dict(spec),
        "selection": str(selection),
        "assets": library.digests,
        "licences": library.licences,
        "hand": library.hand.name,
        "fingertip_table": library.hand.fingertip_table,
        "fingertips": library.hand.fingertips.tolist(),
        "num_vertices": library.hand.num_vertices,
    }
    shards = plan_shards(spec, selection)
    with _disk_errors(out):
        _claim(out, plan, run.overwrite)
        remove_leftovers(out)
        remove_leftovers(out / NOTES)
        done = {k for k in range(len(shards)) if shard_is_whole(out, k, identity)}
    mine = [k for k in range(run.node_rank, len(shards), run.nnodes) if k not in done]
    if mine:
        library.prepare(lambda text: print(text, file=sys.stderr))  # once here, rather than in every worker
    spec_json = json.dumps(spec_to_dict(spec))
    tasks = [ShardTask(k, shards[k], spec_json, str(assets), str(out)) for k in mine]
    total = sum(len(t.indices) for t in tasks)
    with Progress(total, len(tasks)) as progress, _disk_errors(out):
        for info in run_in_workers(make_shard, tasks, run.jobs):
            progress.add(info.count)
    with _disk_errors(out):
        complete = merge_index(out, plan, len(shards))
    return {"dataset": identity, "shards": len(shards), "made": len(tasks), "samples": total, "complete": complete}


def shard_is_whole(out: Path, number: int, identity: str) -> bool:
    """Whether shard `number` lies in `out` with the very bytes that its note names."""
    note, path = read_note(out, number), out / shard_name(number)
    if not note or note["dataset"] != identity or not path.is_file() or path.stat().st_size != note["bytes"]:
        return False
    return file_sha256(path) == note["sha256"]


def read_note(out: Path, number: int) -> dict[str, Any] | None:
    """The note of a finished shard, or None when there is none or it is damaged."""
    try:
        note = json.loads((out / NOTES / f"{shard_name(number)}.json").read_bytes())
        return note if {"name", "count", "bytes", "sha256", "dataset", "driver"} <= set(note) else None
    except (OSError, ValueError, TypeError):
        return None


def merge_index(out: Path, plan: dict[str, Any], num_shards: int) -> bool:
    """Writes `index.json` from the plan and every shard's note, when all are there; the same bytes whoever writes it."""
    notes = [read_note(out, k) for k in range(num_shards)]
    if not all(note and note["dataset"] == plan["dataset"] for note in notes):
        return False
    whole = [note for note in notes if note]
    index = plan | {
        "samples": sum(note["count"] for note in whole),
        "drivers": sorted({note["driver"] for note in whole}),
        "replaced_backgrounds": sum(note["replaced_backgrounds"] for note in whole),
        "conventions": _conventions(tuple(plan["spec"]["passes"])),
        "shards": [{k: v for k, v in note.items() if k not in ("dataset", "driver")} for note in whole],
    }
    write_file(out / "index.json", json.dumps(index, indent=1, sort_keys=True).encode() + b"\n")
    return True


def _conventions(passes: tuple[str, ...]) -> dict[str, Any]:
    """What a stranger must know to read the numbers, carried in every index."""
    return {
        "fields": {name: text for name, (_, text) in FIELDS.items()},
        "vertices.npy": "float32 (V, 3), camera frame [m]",
        "mask.png": "8-bit PNG, 255 where the pixel's centre is on the hand, 0 elsewhere",
        "passes": {name: PASSES[name] for name in passes},
        "joint_names": list(JOINT_NAMES),
        "keypoint_names": list(KEYPOINT_NAMES),
        "keypoints": "J_regressor on the posed vertices, and the tip vertices of fingertip_table, as FreiHAND has it",
        "visible_tolerance_m": VISIBLE_TOLERANCE_M,
        "depth_unit_m": DEPTH_UNIT_M,
        "mano_fingertip_tables": {name: list(table) for name, table in FINGERTIP_TABLES.items()},
    }


def _claim(out: Path, plan: dict[str, Any], overwrite: bool) -> None:
    """Makes `out` this dataset's folder, or raises UsageError saying what else lies there."""
    plan_path = out / NOTES / "plan.json"
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder")
    if out.exists() and not plan_path.exists() and any(p for p in out.iterdir() if p.name != NOTES):
        raise UsageError(f"{out} holds other files and is no dataset: name an empty or new folder")
    if plan_path.exists():
        found = _read_plan(plan_path)
        if found.get("dataset") == plan["dataset"] and found.get("selection") == plan["selection"]:
            return
        if not overwrite:
            raise UsageError(
                f"{out} holds another dataset ({_difference(found, plan)}): name another folder, or add --overwrite to replace it"
            )
        _remove_dataset(out)
    (out / NOTES).mkdir(parents=True, exist_ok=True)
    write_file(plan_path, canonical_json(plan))


def _read_plan(path: Path) -> dict[str, Any]:
    """The plan that lies in a folder; empty when it is damaged, so that it counts as another dataset's."""
    try:
        plan = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return plan if isinstance(plan, dict) else {}


def _difference(found: dict[str, Any], plan: dict[str, Any]) -> str:
    """The first thing in which two plans differ, for a message."""
    if not found:
        return "its plan is damaged"
    for key in ("name", "selection"):
        if found.get(key) != plan[key]:
            return f"{key} {found.get(key)!r}, not {plan[key]!r}"
    for group in ("spec", "assets"):
        old, new = found.get(group), json.loads(json.dumps(plan[group]))
        if not isinstance(old, dict):
            break
        for key in new:
            if old.get(key) != new[key] and key not in ("hand", "textures", "backgrounds"):
                return f"{group}.{key} {old.get(key)!r:.40}, not {new[key]!r:.40}"
            if group == "assets" and old.get(key) != new[key]:
                return f"other {key}"
    return "made by another version"


def _remove_dataset(out: Path) -> None:
    """Deletes the files of a dataset, and nothing else, from its folder."""
    for path in [*out.glob("shard-[0-9]*.tar"), *out.glob(".tmp-*"), out / "index.json", *(out / NOTES).glob("*.json")]:
        path.unlink(missing_ok=True)


def make_shard(task: ShardTask) -> ShardInfo:
    """Makes one shard and then its note. A pure function of the task: any worker, any order, the same bytes."""
    out = Path(task.out)
    with threadpoolctl.threadpool_limits(1), _disk_errors(out):
        sampler, studio = _worker_state(task.spec_json, task.assets)
        replaced = 0

        def members() -> Iterator[tuple[int, dict[str, bytes]]]:
            nonlocal replaced
            for sample in studio.make_samples([sampler.sample(i) for i in task.indices]):
                replaced += sample.labels["background"]["replaced"]
                yield sample.index, encode_sample(sample)

        info = write_shard(out / shard_name(task.number), members())
        info = dataclasses.replace(info, replaced_backgrounds=replaced)
        note = dataclasses.asdict(info) | {"dataset": studio.dataset, "driver": studio.renderer.driver}
        write_file(out / NOTES / f"{info.name}.json", canonical_json(note))
    return info


@lru_cache(maxsize=1)
def _worker_state(spec_json: str, assets: str) -> tuple[RecipeSampler, Studio]:
    """What this process holds open, made on its first shard and kept."""
    import cv2

    cv2.setNumThreads(1)
    spec = spec_from_dict(json.loads(spec_json), "spec")
    library = library_of(spec, Path(assets))
    return RecipeSampler(spec, library), Studio(spec, library)


@contextlib.contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    """Turns a full or read-only disk, or a folder that cannot be one, into one sentence."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        again = "whole shards are kept: run the same command to go on"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HandsynthError(f"the disk of {out} is full: free some space ({again})") from None
        reason = error.strerror or str(error)
        raise HandsynthError(f"{out} cannot be written to ({reason}): name another folder, or mend this one ({again})") from None
