"""The command line: parse, call, print. Results on stdout, progress and errors on stderr; heavy rooms are imported inside."""

import json
import sys
from typing import Annotated, Any

import typer

from handsynth.core.errors import AssetError, HandsynthError

app = typer.Typer(
    help="From a picture of a hand to its mesh.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

JsonOpt = Annotated[bool, typer.Option("--json", help="machine-readable output")]


@app.callback()
def _commands() -> None:
    """Keeps `nets` a command even while it is the only one."""


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
