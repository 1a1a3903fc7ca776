"""The command export: a finished dataset in formats that others' code reads."""

from pathlib import Path
from typing import Annotated, Any

import typer

from handsynth.cli.options import AssetsOpt, JsonOpt, OutArg, assets_of, echo, print_json
from handsynth.core.errors import Stopped

export_app = typer.Typer(help="A dataset in formats that others' code reads.", no_args_is_help=True)

DestArg = Annotated[str, typer.Argument(metavar="DEST", help="new folder to write")]
ShardSizeOpt = Annotated[int, typer.Option("--shard-size", min=1, help="samples in a tar")]


@export_app.command("freihand")
def export_freihand(
    out: OutArg,
    dest: DestArg,
    hand: Annotated[Path | None, typer.Option("--hand", help="the dataset's hand (.npz), when it is not found by itself")] = None,
    assets: AssetsOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """FreiHAND's folders and JSON lists; left hands are mirrored to right ones."""
    from handsynth.dataset.exports.freihand import export_freihand as run

    _export(run, out, dest, as_json, hand=hand, assets=assets_of(assets))


@export_app.command("coco")
def export_coco(out: OutArg, dest: DestArg, as_json: JsonOpt = False) -> None:
    """COCO's JSON beside its images: keypoints, boxes, run-length masks; for pycocotools, MMPose, Detectron2."""
    from handsynth.dataset.exports.coco import export_coco as run

    _export(run, out, dest, as_json)


@export_app.command("hamer")
def export_hamer(out: OutArg, dest: DestArg, shard_size: ShardSizeOpt = 1000, as_json: JsonOpt = False) -> None:
    """Training tars of HaMeR and WiLoR."""
    from handsynth.dataset.exports.hamer import export_hamer as run

    _export(run, out, dest, as_json, shard_size=shard_size)


@export_app.command("bop")
def export_bop(out: OutArg, dest: DestArg, as_json: JsonOpt = False) -> None:
    """Images, depth, masks and cameras in BOP's layout; of a dataset with depth."""
    from handsynth.dataset.exports.bop import export_bop as run

    _export(run, out, dest, as_json)


@export_app.command("huggingface")
def export_huggingface(out: OutArg, dest: DestArg, shard_size: ShardSizeOpt = 1000, as_json: JsonOpt = False) -> None:
    """A folder with its card, for Hugging Face: datasets.load_dataset(DEST) reads it."""
    from handsynth.dataset.exports.huggingface import export_huggingface as run

    _export(run, out, dest, as_json, shard_size=shard_size)


def _export(run: Any, out: str, dest: str, as_json: bool, **more: Any) -> None:
    """Opens the dataset, exports it, and prints what was written."""
    from handsynth.dataset.exports.source import Source

    try:
        found = run(Source(out), dest, **more)
    except KeyboardInterrupt:
        raise Stopped(f"stopped; nothing of {dest} is left: the same command begins anew") from None
    if as_json:
        print_json({"dest": dest, **found})
    else:
        echo(f"{dest}: " + ", ".join(f"{count} {name}" for name, count in found.items()))
