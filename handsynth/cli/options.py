"""Arguments and options that several commands share, what they mean, and how results are printed."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handsynth.core.errors import UsageError

if TYPE_CHECKING:
    from handsynth.assets.library import Library
    from handsynth.recipe.spec import DatasetSpec

SpecArg = Annotated[str, typer.Argument(metavar="SPEC", help="manorender, angrender, default, clips, or a YAML file")]
OutArg = Annotated[str, typer.Argument(metavar="OUT", help="folder of the dataset, or an address such as s3://bucket/name")]
IndexArg = Annotated[int, typer.Argument(metavar="INDEX", help="number of the sample in its spec")]
SamplesOpt = Annotated[int | None, typer.Option("--samples", help="this many samples, spread evenly over the spec")]
IndicesOpt = Annotated[str | None, typer.Option("--indices", help="A:B[:STEP] of the spec's samples")]
SeedOpt = Annotated[int | None, typer.Option("--seed", help="another seed than the spec's")]
ShardSizeOpt = Annotated[int | None, typer.Option("--shard-size", help="samples in a shard")]
PassesOpt = Annotated[str | None, typer.Option("--passes", help="depth,parts,normal,uv,amodal,scene,flow: more of each sample")]
HandOpt = Annotated[str | None, typer.Option("--hand", help="auto, mano, embedded, toy, or a prepared .npz")]
BackgroundsOpt = Annotated[str | None, typer.Option("--backgrounds", help="folder of images, COCO or any; or: scenes")]
EnvironmentsOpt = Annotated[str | None, typer.Option("--environments", help="light: folder of .hdr or .exr maps, or: none")]
ObjectsOpt = Annotated[
    str | None, typer.Option("--objects", help="what is held: folder of .obj, .ply, .stl or .glb in metres, or: shapes")
]
AnnotationsOpt = Annotated[
    str | None, typer.Option("--annotations", help="COCO annotations of the backgrounds: auto (looked for), none, or a file")
]
TexturesOpt = Annotated[str | None, typer.Option("--textures", help="auto, html, embedded, or a prepared .npz")]
RendererOpt = Annotated[str | None, typer.Option("--renderer", help="moderngl or pyrender")]
NoDerivativesOpt = Annotated[bool, typer.Option("--exclude-no-derivatives", help="leave out COCO images under ND licences")]
DeviceOpt = Annotated[str, typer.Option("--device", help="auto, cpu, gpu, or a number that doctor lists: where to draw")]
AssetsOpt = Annotated[Path | None, typer.Option("--assets", help="folder of prepared assets ($HANDSYNTH_ASSETS)")]
JsonOpt = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def spec_of(name: str, **overrides: Any) -> "DatasetSpec":
    """The named spec with the flags that were given."""
    import dataclasses

    from handsynth.recipe.spec import load_spec

    changes = {key: value for key, value in overrides.items() if value is not None and value is not False}
    if "passes" in changes:
        changes["passes"] = tuple(p for p in changes["passes"].split(",") if p)
    for key in ("backgrounds", "annotations", "environments", "objects"):
        changes |= {key: place(key, changes[key])} if key in changes else {}
    return dataclasses.replace(load_spec(name), **changes)


def place(key: str, text: str) -> str:
    """What --backgrounds, --annotations, --environments or --objects mean, whoever reads it: a word or a whole path."""
    from handsynth.recipe.spec import ASSET_NAMES

    if text in ASSET_NAMES[key]:
        return text
    try:
        return str(Path(text).expanduser().absolute())
    except RuntimeError as error:  # no home folder
        raise UsageError(f"--{key} {text}: {error}: give the path without ~") from None


def show_notes(library: "Library") -> None:
    """What was found beside backgrounds and environments, and which of them are left out, on stderr."""
    for note in library.notes:
        echo(note, err=True)


def assets_of(folder: Path | None) -> Path:
    """The asset folder that was given, or the user's."""
    from handsynth.core.locations import assets_dir

    return folder or assets_dir()


def image_path(path: Path, *more: str) -> Path:
    """The path, when its suffix names a format that can be written: checked before any work is done for it."""
    known = (".png", ".jpg", ".jpeg", *more)
    if path.suffix.lower() not in known:
        raise UsageError(f"{path} cannot be written: an image's name ends in {', '.join(known)}")
    return path


def echo(text: str, *, err: bool = False) -> None:
    """A line on stdout or stderr, in which an address shows no secret."""
    from handsynth.core.secrets import hide_secrets

    typer.echo(hide_secrets(text), err=err)


def print_json(value: Any) -> None:
    """A value for machines, on stdout."""
    echo(json.dumps(value, indent=2))
