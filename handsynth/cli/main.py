"""The command line: parse, call, print. Results on stdout, progress and errors on stderr; heavy modules are imported inside."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handsynth.core.errors import HandsynthError, UsageError

if TYPE_CHECKING:
    from handsynth.recipe.spec import DatasetSpec

app = typer.Typer(
    help="Labelled images of hands, rendered without a display.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
assets_app = typer.Typer(help="Licensed assets: what is needed, what is here, MANO and HTML to plain files.", no_args_is_help=True)
app.add_typer(assets_app, name="assets")

SpecArg = Annotated[str, typer.Argument(metavar="SPEC", help="manorender, angrender, default, or a YAML file")]
OutArg = Annotated[str, typer.Argument(metavar="OUT", help="folder of the dataset, or an address such as s3://bucket/name")]
SamplesOpt = Annotated[int | None, typer.Option("--samples", help="this many samples, spread evenly over the spec")]
IndicesOpt = Annotated[str | None, typer.Option("--indices", help="A:B or A:B:STEP of the spec's samples")]
SeedOpt = Annotated[int | None, typer.Option("--seed", help="another seed than the spec's")]
ShardSizeOpt = Annotated[int | None, typer.Option("--shard-size", help="samples in a shard")]
PassesOpt = Annotated[str | None, typer.Option("--passes", help="depth,parts,normal,uv: more images of each sample")]
HandOpt = Annotated[str | None, typer.Option("--hand", help="auto, mano, embedded, toy, or a prepared .npz")]
BackgroundsOpt = Annotated[str | None, typer.Option("--backgrounds", help="folder of images, COCO or any; or: scenes")]
TexturesOpt = Annotated[str | None, typer.Option("--textures", help="auto, html, embedded, or a prepared .npz")]
RendererOpt = Annotated[str | None, typer.Option("--renderer", help="moderngl or pyrender")]
NoDerivativesOpt = Annotated[bool, typer.Option("--exclude-no-derivatives", help="leave out COCO images under ND licences")]
AssetsOpt = Annotated[Path | None, typer.Option("--assets", help="folder of prepared assets ($HANDSYNTH_ASSETS)")]
JsonOpt = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def _spec(name: str, **overrides: Any) -> "DatasetSpec":
    """The named spec with the flags that were given."""
    import dataclasses

    from handsynth.recipe.spec import load_spec

    changes = {key: value for key, value in overrides.items() if value is not None and value is not False}
    if "passes" in changes:
        changes["passes"] = tuple(p for p in changes["passes"].split(",") if p)
    if changes.get("backgrounds", "scenes") != "scenes":
        changes["backgrounds"] = str(Path(changes["backgrounds"]).expanduser().absolute())
    return dataclasses.replace(load_spec(name), **changes)


def _assets(folder: Path | None) -> Path:
    from handsynth.assets.store import assets_dir

    return folder or assets_dir()


def _image_path(path: Path, *more: str) -> Path:
    """The path, when its suffix names a format that can be written: checked before any work is done for it."""
    known = (".png", ".jpg", ".jpeg", *more)
    if path.suffix.lower() not in known:
        raise UsageError(f"{path} cannot be written: an image's name ends in {', '.join(known)}")
    return path


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


@app.command()
def doctor(assets: AssetsOpt = None, as_json: JsonOpt = False) -> None:
    """What is here: OpenGL, assets, cores; and what to install if not."""
    from handsynth.doctor import examine

    checks = examine(_assets(assets))
    if as_json:
        _print_json([vars(check) for check in checks])
    else:
        for check in checks:
            typer.echo(f"{'ok  ' if check.good else 'MISS' if check.needed else 'note'}  {check.name}: {check.detail}")
    if any(check.needed and not check.good for check in checks):
        raise typer.Exit(3)


@app.command()
def plan(
    spec: SpecArg,
    samples: SamplesOpt = None,
    indices: IndicesOpt = None,
    passes: PassesOpt = None,
    shard_size: ShardSizeOpt = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="draw the camera positions of a grid into this image")] = None,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="print a shipped spec with its comments, to copy and edit")] = False,
    assets: AssetsOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Counts, shards, bytes and hours of a dataset, before anything is made."""
    from handsynth.dataset.plan import estimate, plot_plan
    from handsynth.dataset.selection import Selection
    from handsynth.recipe.spec import SHIPPED, spec_text

    if as_yaml:
        if spec not in SHIPPED:
            raise UsageError(f"--yaml prints a shipped spec ({', '.join(SHIPPED)}), not {spec!r}")
        typer.echo(spec_text(spec), nl=False)
        return
    chosen = _spec(spec, passes=passes, shard_size=shard_size)
    found = estimate(chosen, Selection(samples, indices))
    if plot is not None:
        plot_plan(_image_path(plot, ".pdf", ".svg"), chosen, _assets(assets))
        found["plot"] = str(plot)
    if as_json:
        _print_json(found)
        return
    typer.echo(
        f"{found['name']}: {found['samples']:,} samples of {found['image_size']} x {found['image_size']} px in {found['shards']} "
        f"shards, about {found['bytes_estimate'] / 1e9:.1f} GB and {found['core_hours_estimate']:.2f} core hours"
    )
    if plot is not None:
        typer.echo(f"camera positions drawn in {plot}")


@app.command()
def recipe(
    spec: SpecArg,
    indices: IndicesOpt = None,
    samples: SamplesOpt = None,
    seed: SeedOpt = None,
    hand: HandOpt = None,
    backgrounds: BackgroundsOpt = None,
    textures: TexturesOpt = None,
    assets: AssetsOpt = None,
) -> None:
    """The decisions of samples, one JSON line each, without rendering."""
    from handsynth.core.shard import canonical_json
    from handsynth.dataset.selection import Selection
    from handsynth.generator import library_of
    from handsynth.recipe.samplers import RecipeSampler

    chosen = _spec(spec, seed=seed, hand=hand, backgrounds=backgrounds, textures=textures)
    selected = Selection(samples, indices).indices(chosen.samples)
    sampler = RecipeSampler(chosen, library_of(chosen, _assets(assets)))
    for index in selected:
        sys.stdout.write(canonical_json(sampler.sample(index).to_dict()).decode() + "\n")


@app.command()
def preview(
    spec: SpecArg,
    sheet: Annotated[Path, typer.Argument(help="image to write, .png or .jpg")],
    number: Annotated[int, typer.Option("-n", help="samples on the sheet")] = 64,
    zoom: Annotated[int, typer.Option("--zoom", min=1, max=4, help="enlargement")] = 1,
    seed: SeedOpt = None,
    hand: HandOpt = None,
    backgrounds: BackgroundsOpt = None,
    textures: TexturesOpt = None,
    renderer: RendererOpt = None,
    no_derivatives: NoDerivativesOpt = False,
    assets: AssetsOpt = None,
) -> None:
    """A contact sheet: half of the samples clean, half with their labels drawn."""
    from handsynth.dataset.selection import Selection
    from handsynth.dataset.statistics import contact_sheet, save_image
    from handsynth.generator import Generator, library_of
    from handsynth.recipe.samplers import RecipeSampler

    chosen = _spec(
        spec, seed=seed, hand=hand, backgrounds=backgrounds, textures=textures, renderer=renderer,
        exclude_no_derivatives=no_derivatives,
    )  # fmt: skip
    _image_path(sheet)
    selected = Selection(samples=number).indices(chosen.samples)
    library = library_of(chosen, _assets(assets))
    library.prepare(lambda text: typer.echo(text, err=True))
    sampler = RecipeSampler(chosen, library)
    made = list(Generator(chosen, library).make_samples([sampler.sample(i) for i in selected]))
    save_image(sheet, contact_sheet(made, zoom))
    typer.echo(f"{len(made)} samples of {chosen.name} in {sheet}")


@app.command()
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
    nnodes: Annotated[
        int, typer.Option("--nnodes", min=1, envvar="SLURM_ARRAY_TASK_COUNT", help="machines that share the work")
    ] = 1,
    node_rank: Annotated[
        int, typer.Option("--node-rank", min=0, envvar="SLURM_ARRAY_TASK_ID", help="number of this one, from 0")
    ] = 0,
    passes: PassesOpt = None,
    hand: HandOpt = None,
    backgrounds: BackgroundsOpt = None,
    textures: TexturesOpt = None,
    renderer: RendererOpt = None,
    no_derivatives: NoDerivativesOpt = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, gpu, or a number that doctor lists: where to draw")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace another dataset in OUT")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="print the share of each stage in the time")] = False,
    assets: AssetsOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Make a dataset, or what is missing of it: killed at any moment, the same command goes on."""
    from handsynth.dataset.generate import RunConfig
    from handsynth.dataset.generate import generate as run_generate
    from handsynth.dataset.selection import Selection

    if node_rank >= nnodes:
        raise UsageError(
            f"--node-rank {node_rank} must be below --nnodes {nnodes}: ranks count from 0 (SLURM: --array=0-{nnodes - 1})"
        )
    if backend not in ("loky", "dask"):
        raise UsageError(f"--backend is loky or dask, not {backend!r}")
    if (backend == "dask") != (scheduler is not None):
        raise UsageError("--backend dask and --scheduler ADDRESS go together: give both or neither")
    if backend == "dask" and jobs > 1:
        raise UsageError("--jobs is for this machine; with --backend dask the cluster's workers are the jobs: leave it out")
    chosen = _spec(
        spec, seed=seed, shard_size=shard_size, passes=passes, hand=hand, backgrounds=backgrounds, textures=textures,
        renderer=renderer, exclude_no_derivatives=no_derivatives,
    )  # fmt: skip
    run = RunConfig(jobs, nnodes, node_rank, overwrite, scheduler, device, profile)
    found = run_generate(chosen, out, Selection(samples, indices), run, _assets(assets))
    if as_json:
        _print_json(found | ({"profile": found["profile"].summary()} if profile else {}))
        return
    state = "complete" if found["complete"] else "not complete yet: other nodes have shards to make"
    typer.echo(f"{out}: {found['made']} of {found['shards']} shards made now ({found['samples']} samples), {state}")
    if profile:
        typer.echo("\n".join(found["profile"].lines()))


@app.command()
def verify(
    out: OutArg,
    replay: Annotated[int, typer.Option("--replay", min=0, help="make this many samples again and compare")] = 0,
    assets: AssetsOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Hashes, schema, gaps, labels against geometry and pixels; exit code 1 on any fault."""
    from handsynth.dataset.verify import verify as run_verify

    findings = run_verify(out, _assets(assets), replay)
    if as_json:
        _print_json(vars(findings))
    else:
        for fault in findings.faults:
            typer.echo(fault)
        checked = f"{findings.samples} samples checked, {findings.silhouettes} silhouettes compared, {findings.replayed} replayed"
        typer.echo(f"{out}: {checked}, {len(findings.faults) or 'no'} fault{'s' * (len(findings.faults) != 1)}")
    if findings.faults:
        raise typer.Exit(1)


@app.command()
def show(
    out: OutArg,
    index: Annotated[int, typer.Argument(metavar="INDEX")],
    save: Annotated[Path | None, typer.Option("--save", help="image to write")] = None,
) -> None:
    """One sample with everything drawn."""
    from handsynth.dataset.statistics import sample_sheet, save_image

    path = _image_path(save or Path(f"sample-{index:09d}.png"))
    save_image(path, sample_sheet(out, index))
    typer.echo(f"sample {index} of {out} drawn in {path}")


@app.command()
def replay(
    out: OutArg,
    index: Annotated[int, typer.Argument(metavar="INDEX")],
    assets: AssetsOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Make one sample again from its stored recipe and compare every member; exit code 1 when they differ."""
    from handsynth.dataset.replay import replay as run_replay

    found = run_replay(out, [index], _assets(assets))[0]
    if as_json:
        _print_json({"index": index, "equal": found.equal, "different": found.different, "same_driver": found.same_driver})
    else:
        where = "the same OpenGL driver" if found.same_driver else "another OpenGL driver, whose pixels may differ"
        equal, different = (", ".join(names) or "none" for names in (found.equal, found.different))
        typer.echo(f"sample {index}, on {where}: equal {equal}; different {different}")
    if not found.faithful:
        raise typer.Exit(1)


@app.command()
def stats(out: OutArg, as_json: JsonOpt = False) -> None:
    """What a dataset holds: views, sizes, visibility, brightness, poses, backgrounds."""
    from handsynth.dataset.statistics import collect_stats

    found = collect_stats(out)
    if as_json:
        _print_json(found)
        return
    for key, value in found.items():
        if isinstance(value, list) and key != "quantiles_percent":
            value = "  ".join(f"{q}%: {v:g}" for q, v in zip(found["quantiles_percent"], value, strict=True))
        if key != "quantiles_percent":
            typer.echo(f"{key:>16}  {value}")


@assets_app.command("list")
def assets_list(assets: AssetsOpt = None, as_json: JsonOpt = False) -> None:
    """Every external asset: what it is, its licence, where to get it, whether it is here."""
    from handsynth.assets.manifest import check_assets

    statuses = check_assets(_assets(assets))
    if as_json:
        _print_json([vars(s.asset) | {"state": s.state, "detail": s.detail} for s in statuses])
        return
    typer.echo(f"asset folder: {_assets(assets)}")
    for status in statuses:
        asset = status.asset
        typer.echo(f"\n{asset.name}: {asset.title} [{status.state}]")
        typer.echo(f"  licence  {asset.licence}\n  get it   {asset.site}\n  prepare  {asset.prepare}\n  without  {asset.instead}")


@assets_app.command("check")
def assets_check(assets: AssetsOpt = None, as_json: JsonOpt = False) -> None:
    """Hash prepared assets again; exit code 3 when one is damaged."""
    from handsynth.assets.manifest import check_assets

    statuses = check_assets(_assets(assets))
    if as_json:
        _print_json([{"name": s.asset.name, "state": s.state, "detail": s.detail} for s in statuses])
    else:
        for status in statuses:
            typer.echo(f"{status.asset.name}: {status.state}. {status.detail}")
    if any(status.state == "damaged" for status in statuses):
        raise typer.Exit(3)


@assets_app.command("prepare")
def assets_prepare(
    mano: Annotated[Path | None, typer.Option("--mano", help="mano_v1_2.zip, its folder, or MANO_RIGHT.pkl")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="HTML's release: its zip or folder")] = None,
    pose_prior: Annotated[
        Path | None, typer.Option("--pose-prior", help="pose_hand_prior.npz: exactly the paper's 895 poses")
    ] = None,
    assets: AssetsOpt = None,
) -> None:
    """Turn licensed files into plain ones that no other program needs a pickle for."""
    from handsynth.assets.hands.mano import prepare_mano
    from handsynth.assets.skins.html import prepare_html

    if mano is None and html is None:
        raise UsageError("say what to prepare: --mano mano_v1_2.zip, --html HTML_release_both_hands, or both")
    if pose_prior is not None and mano is None:
        raise UsageError("--pose-prior goes with --mano: give both")
    folder = _assets(assets)
    prepared = [prepare_mano(mano, folder, pose_prior)] if mano else []
    prepared += [prepare_html(html, folder)] if html else []
    for result in prepared:
        for note in result.notes:
            typer.echo(note)
        for path in result.paths:
            typer.echo(f"wrote {path}")


STOPPED = 130
"""Exit code after Ctrl-C, as shells have it."""


def main() -> None:
    """Entry point: every error that a user can cause is one sentence on stderr and its exit code."""
    try:
        app(prog_name="handsynth")
    except HandsynthError as error:
        print(f"handsynth: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != STOPPED:  # typer turns Ctrl-C into this exit code, silently
            raise
        print("handsynth: stopped; whole shards are kept, the same command goes on", file=sys.stderr)
        sys.exit(STOPPED)
    except OSError as error:
        print(f"handsynth: {f'{error.filename}: {error.strerror}' if error.filename else error}", file=sys.stderr)
        sys.exit(1)
