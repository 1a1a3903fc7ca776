"""The command generate, and what it reads of SLURM."""

import os
from typing import Annotated

import typer

from handsynth.cli.options import (
    AnnotationsOpt,
    AssetsOpt,
    BackgroundsOpt,
    DeviceOpt,
    EnvironmentsOpt,
    HandOpt,
    IndicesOpt,
    JsonOpt,
    NoDerivativesOpt,
    ObjectsOpt,
    OutArg,
    PassesOpt,
    RendererOpt,
    SamplesOpt,
    SeedOpt,
    ShardSizeOpt,
    SpecArg,
    TexturesOpt,
    assets_of,
    echo,
    print_json,
    spec_of,
)
from handsynth.core.errors import Stopped, UsageError


def generate(
    spec: SpecArg,
    out: OutArg,
    samples: SamplesOpt = None,
    indices: IndicesOpt = None,
    seed: SeedOpt = None,
    shard_size: ShardSizeOpt = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="workers on this machine")] = 1,
    backend: Annotated[str, typer.Option("--backend", help="loky (this machine) or dask (a cluster)")] = "loky",
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="address or file of the Dask scheduler")] = None,
    nnodes: Annotated[int | None, typer.Option("--nnodes", min=1, help="machines that share the work [1]")] = None,
    node_rank: Annotated[int | None, typer.Option("--node-rank", min=0, help="number of this one, from 0")] = None,
    slurm: Annotated[bool, typer.Option("--slurm", help="each task of this SLURM array is one of the machines")] = False,
    passes: PassesOpt = None,
    hand: HandOpt = None,
    backgrounds: BackgroundsOpt = None,
    annotations: AnnotationsOpt = None,
    environments: EnvironmentsOpt = None,
    objects: ObjectsOpt = None,
    textures: TexturesOpt = None,
    renderer: RendererOpt = None,
    no_derivatives: NoDerivativesOpt = False,
    device: DeviceOpt = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace another dataset in OUT")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="print the share of each stage in the time")] = False,
    assets: AssetsOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Make a dataset, or what is missing of it: killed at any moment, the same command goes on."""
    from handsynth.dataset.generate import RunConfig
    from handsynth.dataset.generate import generate as run_generate
    from handsynth.dataset.selection import Selection

    rank, nodes = _place(nnodes, node_rank, slurm)
    if backend not in ("loky", "dask"):
        raise UsageError(f"--backend is loky or dask, not {backend!r}")
    if (backend == "dask") != (scheduler is not None):
        raise UsageError("--backend dask and --scheduler ADDRESS go together: give both or neither")
    if backend == "dask" and jobs > 1:
        raise UsageError("--jobs is for this machine; with --backend dask the cluster's workers are the jobs: leave it out")
    chosen = spec_of(
        spec, seed=seed, shard_size=shard_size, passes=passes, hand=hand, backgrounds=backgrounds,
        annotations=annotations, environments=environments, objects=objects, textures=textures, renderer=renderer,
        exclude_no_derivatives=no_derivatives,
    )  # fmt: skip
    run = RunConfig(jobs, nodes, rank, overwrite, scheduler, device, profile)
    try:
        found = run_generate(chosen, out, Selection(samples, indices), run, assets_of(assets))
    except KeyboardInterrupt:
        raise Stopped("stopped; whole shards are kept, the same command goes on") from None
    if as_json:
        print_json(found | ({"profile": found["profile"].summary()} if profile else {}))
        return
    state = "complete" if found["complete"] else "not complete yet: other nodes have shards to make"
    echo(f"{out}: {found['made']} of {found['shards']} shards made now ({found['samples']} samples), {state}")
    if profile:
        echo("\n".join(found["profile"].lines()))


def _place(nnodes: int | None, node_rank: int | None, slurm: bool) -> tuple[int, int]:
    """This machine's rank, and how many there are. What was given by hand stands; SLURM is looked at only with --slurm."""
    if slurm and nnodes is None and node_rank is None:
        return _slurm_place()
    if slurm and (nnodes is None or node_rank is None):
        raise UsageError("--slurm knows both --nnodes and --node-rank: give neither of them, or both in the array's place")
    nodes, rank = nnodes or 1, node_rank or 0
    if rank >= nodes:
        raise UsageError(
            f"--node-rank {rank} must be below --nnodes {nodes}: ranks count from 0, and --nnodes says how many machines there are"
        )
    return rank, nodes


def _slurm_place() -> tuple[int, int]:
    """Rank and number of nodes by the variables of a SLURM array. Raises UsageError unless it counts 0, 1, 2, ..."""
    values = {}
    for name, default in (("ID", ""), ("COUNT", ""), ("MIN", "0"), ("STEP", "1")):
        text = os.environ.get(f"SLURM_ARRAY_TASK_{name}", default)
        if not (text.isascii() and text.isdigit()):
            raise UsageError(
                f"--slurm: this is no task of a SLURM array (SLURM_ARRAY_TASK_{name} is {text!r}): submit scripts/generate.slurm "
                "with sbatch --array=0-15, or leave --slurm out"
            )
        values[name] = int(text)
    rank, nodes = values["ID"], values["COUNT"]
    if values["MIN"] != 0 or values["STEP"] != 1 or rank >= nodes:
        raise UsageError(
            f"--slurm: this is task {rank} of an array of {nodes} that counts from {values['MIN']} by {values['STEP']}, and ranks "
            f"count from 0 without gaps: sbatch --array=0-{nodes - 1}, or give --nnodes and --node-rank by hand"
        )
    return rank, nodes
