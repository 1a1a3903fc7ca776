"""Weights that come with the package."""

from typing import Annotated

import typer

from handmesh.cli.options import JsonOpt, print_json

weights_app = typer.Typer(help="Weights that come with the package; RUN takes their names.", no_args_is_help=True)


@weights_app.command("list")
def weights_list(as_json: JsonOpt = False) -> None:
    """Names, sizes and what each is; the defaults are marked."""
    from handmesh.shipped import list_shipped

    found = [weights.about() for weights in list_shipped()]
    if as_json:
        print_json(found)
        return
    for about in found:
        mark = f"default of {about['kind']}" if about["is_default"] else about["kind"]
        typer.echo(f"{about['name']} ({mark}, {about['bytes'] / 1e6:.1f} MB): {about['summary']}")


@weights_app.command("path")
def weights_path(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="of shipped weights [the default mesh net]")] = None,
) -> None:
    """The run folder of shipped weights, with their model card, CARD.md."""
    from handmesh.shipped import list_shipped
    from handsynth.core.errors import UsageError

    shipped = list_shipped()
    for weights in shipped:
        if weights.name == name or (name is None and weights.is_default and weights.kind == "mesh"):
            typer.echo(weights.folder)
            return
    raise UsageError(f"no weights are called {name}: there are {', '.join(weights.name for weights in shipped)}")
