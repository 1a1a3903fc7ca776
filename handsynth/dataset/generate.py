"""Generation: which samples go into which shard, workers that make whole shards, resuming, and the merged index."""

import contextlib
import dataclasses
import gc
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import threadpoolctl

import handsynth
from handsynth.core.conventions import GENERATOR_VERSION, SCHEMA, WORN_ON_FOREARM
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.index import canonical_json
from handsynth.core.sample import Sample
from handsynth.core.shard import Members, ShardInfo, shard_name
from handsynth.crowds import AnyGenerator, AnySampler, open_generator, open_sampler
from handsynth.dataset.folder import Folder, open_folder
from handsynth.dataset.progress import Progress
from handsynth.dataset.selection import Selection, Shards
from handsynth.dataset.sidecars import (
    PLAN,
    SIDECAR_DIR,
    conventions,
    merge_index,
    parse_object,
    read_if_there,
    read_sidecars,
    sidecar_of,
    whole_shards,
    write_sidecar,
)
from handsynth.dataset.workers import run_in_workers
from handsynth.generator import library_of
from handsynth.image.encode import encode_samples
from handsynth.profile import OFF, START, Profile
from handsynth.recipe.recipe import BATCH
from handsynth.recipe.spec import ASSET_NAMES, DatasetSpec, dataset_identity, spec_from_dict, spec_to_dict
from handsynth.render.context import AUTO, check_device

MAX_LOST = 8
"""After so many shards that end their workers the run stops: then it is not the shards."""


@dataclass(frozen=True)
class RunConfig:
    """How a dataset is made. Nothing here changes a byte of it, but that pixels are a driver's, which the index names."""

    jobs: int = 1
    nnodes: int = 1
    node_rank: int = 0
    overwrite: bool = False
    scheduler: str | None = None  # address of a Dask cluster, whose workers then take the place of `jobs`
    device: str = AUTO  # which EGL device of its machine a worker draws on, see render.context.find_device
    profile: bool = False  # time the stages


@dataclass(frozen=True)
class ShardTask:
    """One shard to be made: everything a worker needs, as plain values."""

    number: int
    indices: Sequence[int]  # lazy, see Selection.indices
    spec_json: str
    assets: str
    out: str = field(repr=False)  # may hold a secret, and a cluster's log shows the tasks that failed
    dataset: str  # the identity that spec and assets must have where the worker is
    device: str = AUTO
    profile: bool = False


@dataclass(frozen=True)
class MadeShard:
    """What a worker answers: the shard, and the time that its stages took if that was requested."""

    info: ShardInfo
    profile: Profile


def plan_shards(spec: DatasetSpec, selection: Selection) -> Shards:
    """Indices of each shard: the selected ones fill the shards in order, and no clip is in two."""
    return Shards(selection.indices(spec.samples, spec.together), spec.shard_size // spec.together * spec.together)


def generate(spec: DatasetSpec, out: Path | str, selection: Selection, run: RunConfig, assets: Path) -> dict[str, Any]:
    """Makes what is missing of a dataset in `out` and returns a summary; the index is written once all shards are there.

    The summary holds the run's Profile under "profile" if that was requested.

    `out` is a folder or an address that fsspec knows, such as s3://bucket/name. Any number of nodes may do this at once. Raises
    UsageError when `out` holds another dataset or `run.device` names no kind of device, HandsynthError when the disk is full or
    cannot be written to or when a shard ended its workers every time, AssetError when an asset, OpenGL or the device is missing.
    Whatever happens, only whole shards lie under their own names.
    """
    check_device(run.device)
    folder = open_folder(out)
    library = library_of(spec, assets)
    for note in library.notes:
        print(note, file=sys.stderr)
    if spec.arm.probability > 0 and library.hand.rim_turns is None:
        besides = "".join(f", and without {name}" for name in WORN_ON_FOREARM if getattr(spec.wear, name) > 0)
        print(f"the hand {library.hand.name!r} has no open wrist that a forearm fits: it is made without{besides}", file=sys.stderr)
    if spec.held.probability > 0 and library.holdings is None:
        print(
            f"hands hold nothing in this dataset: what the poses of {library.hand.name!r} can hold has not been searched yet; type "
            f"`handsynth assets holdings --hand {spec.hand}`, once (an hour of one core), and generate again",
            file=sys.stderr,
        )
    plan = {
        "schema": SCHEMA,
        "handsynth": handsynth.__version__,
        "generator_version": GENERATOR_VERSION,
        "name": spec.name,
        "dataset": dataset_identity(spec, library.digests),
        "spec": spec_to_dict(spec),
        "selection": str(selection),
        "assets": library.digests,
        "licences": library.licences,
        "hand": library.hand.name,
        "fingertip_table": library.hand.fingertip_table,
        "fingertips": library.hand.fingertips.tolist(),
        "num_vertices": library.hand.num_vertices,
        "num_shapes": library.hand.num_shapes,
        "conventions": conventions(spec.passes, spec.is_crowd),
    }
    shards = plan_shards(spec, selection)
    names = [shard_name(k) for k in range(len(shards))]
    _claim(folder, plan, run)
    _remove_leftovers(folder)
    whole = whole_shards(folder, plan["dataset"], names)
    doubtful = set(folder.list()).intersection(names) - whole
    mine = [k for k in range(run.node_rank, len(shards), run.nnodes) if names[k] not in whole]
    if mine:
        library.prepare(lambda text: print(text, file=sys.stderr))  # once here, rather than in every worker
    spec_json = json.dumps(spec_to_dict(spec) | _absolute_paths(spec))
    common = (spec_json, str(assets.absolute()), folder.address, plan["dataset"], run.device, run.profile)
    tasks = [ShardTask(k, shards[k], *common) for k in mine]
    total = sum(len(t.indices) for t in tasks)
    lost: list[str] = []
    profile = Profile()
    with Progress(total, len(tasks)) as progress:
        for task, made in run_in_workers(make_shard, tasks, run.jobs, run.scheduler):
            if made is None:
                lost.append(names[task.number])
            else:
                progress.add(made.info.count)
                profile.add(made.profile)
            if len(lost) == MAX_LOST:
                break
        _remove_leftovers(folder)  # of workers that died on the way
    if lost:
        raise HandsynthError(
            f"{len(lost)} of {len(tasks)} shards could not be made, {', '.join(sorted(lost))[:200]}: each of them ended its "
            "workers every time, for lack of memory or by a crash in native code; what else was made is whole: run the same "
            "command with fewer --jobs, or with other --backgrounds"
        )
    complete = merge_index(folder, plan, len(shards), doubtful)
    summary = {"dataset": plan["dataset"], "shards": len(shards), "made": len(tasks), "samples": total, "complete": complete}
    return summary | ({"profile": profile} if run.profile else {})


def _absolute_paths(spec: DatasetSpec) -> dict[str, str]:
    """The files and folders that a spec names, as a worker in another working directory finds them; identities ignore paths."""
    named = {key: getattr(spec, key) for key in ASSET_NAMES}
    return {key: str(Path(name).absolute()) for key, name in named.items() if name not in ASSET_NAMES[key]}


_OF_THE_SYSTEM = re.compile(
    r"lost\+found|\.snapshots?|\.zfs|\.nfs.*|\.directory|\.Trash.*|\.DS_Store|\._.*|\.fseventsd|\.Spotlight-V100|\.TemporaryItems|"
    r"Thumbs\.db|desktop\.ini|\$RECYCLE\.BIN|System Volume Information|@eaDir|#recycle|#snapshot",
    re.IGNORECASE,
)
"""What file systems and file managers put into folders by themselves: a folder with nothing else counts as empty."""


def _claim(folder: Folder, plan: dict[str, Any], run: RunConfig) -> None:
    """Makes `folder` this dataset's, or raises UsageError saying what else lies there.

    Plan and index both say whose it is, so that either may be damaged.
    """
    files = set(folder.list())  # before the plan is looked for: another node may be making this dataset just now
    data = read_if_there(folder, PLAN)
    found, index = parse_object(data), parse_object(read_if_there(folder, "index.json"))
    if not any(all(message.get(key) == plan[key] for key in ("dataset", "selection")) for message in (found, index)):
        if data is None and not all(name == SIDECAR_DIR or _OF_THE_SYSTEM.fullmatch(name) for name in files):
            raise UsageError(f"{folder} holds other files and is no dataset: name an empty or new folder")
        if data is not None:
            _replace(folder, _difference(found, plan), run)
    if data != canonical_json(plan):
        folder.write(PLAN, canonical_json(plan))


def _replace(folder: Folder, difference: str, run: RunConfig) -> None:
    """Deletes the other dataset that lies in `folder`, or raises UsageError when that is not wanted."""
    if not run.overwrite:
        raise UsageError(f"{folder} holds another dataset ({difference}): name another folder, or add --overwrite to replace it")
    if run.nnodes > 1:
        raise UsageError(
            f"{folder} holds another dataset ({difference}), and with --overwrite a node that starts later would delete what the "
            "first have made: delete the folder yourself, or name another"
        )
    _remove_dataset(folder)


def _difference(found: dict[str, Any], plan: dict[str, Any]) -> str:
    """The first thing in which two plans differ, for a message."""
    if not found:
        return "its plan is damaged"
    for key in ("schema", "generator_version", "name", "selection"):
        if found.get(key) != plan[key]:
            return f"{key.replace('_', ' ')} {found.get(key)!r}, not {plan[key]!r}"
    for group in ("spec", "assets"):
        old, new = found.get(group), json.loads(json.dumps(plan[group]))
        if not isinstance(old, dict):
            break
        for key in new:
            if old.get(key) != new[key] and key not in ASSET_NAMES:
                return f"{group}.{key} {old.get(key)!r:.40}, not {new[key]!r:.40}"
            if group == "assets" and old.get(key) != new[key]:
                return f"other {key}"
    return "made by another version"


def _remove_leftovers(folder: Folder) -> None:
    folder.remove_leftovers()
    folder.remove_leftovers(SIDECAR_DIR)


def _remove_dataset(folder: Folder) -> None:
    """Deletes the files of a dataset, and nothing else, from its folder; the index first, which says that they are there."""
    notes = [f"{SIDECAR_DIR}/{name}" for name in folder.list(SIDECAR_DIR)]
    for name in ["index.json", *folder.list(), *notes]:
        if re.fullmatch(
            rf"index\.json|shard-[0-9]+\.tar|({re.escape(SIDECAR_DIR)}/)?\.tmp-.*|{re.escape(SIDECAR_DIR)}/.*\.json", name
        ):
            folder.remove(name)


def make_shard(task: ShardTask) -> MadeShard:
    """Makes one shard and then its sidecar. A pure function of the task: any worker, any order, the same bytes.

    Raises AssetError when this machine's assets are not those of the dataset, or when it has no such device.
    """
    folder, name = open_folder(task.out), shard_name(task.number)
    profile = Profile() if task.profile else OFF
    with profile.stage("write"), threadpoolctl.threadpool_limits(1):
        made = read_sidecars(folder, task.dataset, name).get(name, [])
        if found := sidecar_of(folder, name, folder.list().get(name), made):  # another node's, or of a worker that then died
            return MadeShard(ShardInfo(**{f.name: found[f.name] for f in dataclasses.fields(ShardInfo)}), OFF)
        with profile.stage(START):
            sampler, generator = _worker_state(task.spec_json, task.assets, task.device)
        if generator.dataset != task.dataset:
            raise AssetError(
                f"{os.uname().nodename} has other assets or another version of handsynth than the machine that the run was started "
                f"on (looked in {task.assets}): give every worker the same ones"
            )
        replaced = 0

        def members() -> Iterator[tuple[int, Members]]:
            nonlocal replaced
            for sample, encoded in make_members(sampler, generator, task.indices, profile):
                replaced += sample.labels["background"]["replaced"]
                yield sample.index, encoded

        info = folder.write_shard(name, members())
        info = dataclasses.replace(info, replaced_backgrounds=replaced, driver=generator.driver)
        write_sidecar(folder, info, generator.dataset)
    if task.profile:
        profile.samples = info.count
    return MadeShard(info, profile)


def make_members(
    sampler: AnySampler, generator: AnyGenerator, indices: Sequence[int], profile: Profile = OFF
) -> Iterator[tuple[Sample, Members]]:
    """Yields the samples of some indices, in order, each with its members of a shard."""
    with _only_new_garbage():
        for start in range(0, len(indices), BATCH):
            with profile.stage("recipe"):
                recipes = sampler.sample_many(indices[start : start + BATCH])
            for samples in generator.make_batches(recipes, profile):
                with profile.stage("encode"):
                    members = encode_samples(samples)
                yield from zip(samples, members, strict=True)


@contextlib.contextmanager
def _only_new_garbage() -> Iterator[None]:
    """Python looks for cyclic garbage among what is made meanwhile alone: to look through all modules took a tenth of the time."""
    is_ours = gc.get_freeze_count() == 0  # what the program has set aside itself stays there
    gc.freeze()
    try:
        yield
    finally:
        if is_ours:
            gc.unfreeze()


@lru_cache(maxsize=1)
def _worker_state(spec_json: str, assets: str, device: str) -> tuple[AnySampler, AnyGenerator]:
    """What this process holds open, made on its first shard and kept."""
    import cv2

    cv2.setNumThreads(1)
    spec = spec_from_dict(json.loads(spec_json), "spec")
    library = library_of(spec, Path(assets))
    return open_sampler(spec, library), open_generator(spec, library, device)
