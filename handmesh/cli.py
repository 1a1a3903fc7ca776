"""The command line: parse, call, print. Results on stdout, progress and errors on stderr; heavy rooms are imported inside."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from handsynth.core.errors import AssetError, HandsynthError

app = typer.Typer(
    help="From a picture of a hand to its mesh.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

convert_app = typer.Typer(help="Foreign data into our shards, once.", no_args_is_help=True)
app.add_typer(convert_app, name="convert")

JsonOpt = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


@app.command()
def nets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="one net, per module")] = None, as_json: JsonOpt = False
) -> None:
    """Parameters and multiply-accumulates of the nets, as the paper counts and truly, beside the paper's figures."""
    from handmesh.nets.registry import list_nets, net_info
    from handmesh.nets.summary import module_table, net_table, summarise

    chosen = [net_info(name)] if name else list_nets()
    found = [summarise(info) for info in chosen]
    if as_json:
        _print_json(found)
    else:
        typer.echo(module_table(found[0]) if name else net_table(found))


@convert_app.command("freihand")
def convert_freihand(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="FreiHAND v2's folder", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder for OUT/train and OUT/val", show_default=False)],
    hand: Annotated[Path, typer.Option(help="MANO's right hand as `handsynth assets prepare` wrote it (.npz)", show_default=False)],
    shard_size: Annotated[int, typer.Option(help="samples of a shard", min=1)] = 1000,
    as_json: JsonOpt = False,
) -> None:
    """FreiHAND v2 -> shards: every version of every picture, nine tenths to train on, one tenth to validate."""
    from handmesh.data import freihand
    from handsynth.core.hand import load_hand

    made = freihand.convert_freihand(src, out, load_hand(hand), shard_size)
    if as_json:
        _print_json(made)
    else:
        typer.echo(f"{out}: {made['train']} samples in train, {made['val']} in val, of {made['originals']} originals")


def main() -> None:
    """Entry point: every error that a user can cause is one sentence on stderr and its exit code."""
    try:
        try:
            app()
        except ModuleNotFoundError as error:
            if error.name not in ("torch", "torchvision"):
                raise
            raise AssetError(f"{error.name} is not installed: pip install 'handsynth[train]'") from None
    except HandsynthError as error:
        print(f"handmesh: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("handmesh: stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
