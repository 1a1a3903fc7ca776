"""The program handmesh: its commands together, and its entry. Heavy modules are imported inside the commands."""

import os
from typing import TYPE_CHECKING, Annotated, Any

from handsynth.core.errors import AssetError
from handsynth.core.program import DEBUG, document, run_program, version_line

if TYPE_CHECKING:
    import typer


def main() -> None:
    """Entry point: parse, call, print. Results on stdout, progress and errors on stderr."""
    # Threads that wait sleep instead of spinning: on a machine that does something else besides, that is twice as fast or more.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run_program("handmesh", _work)


def _work() -> None:
    try:
        make_program()(prog_name="handmesh")
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "torchvision"):
            raise
        raise AssetError(f"{error.name} is not installed: pip install 'handsynth[train]'") from None


def make_program() -> Any:
    """The commands as they are called, with their help in groups and with examples."""
    import typer

    from handmesh.cli.help import HELP

    return document(typer.main.get_command(make_app()), HELP)


def make_app() -> "typer.Typer":
    """The commands. Nothing is imported before, so that an error or Ctrl-C at any time ends as `run_program` says."""
    import typer

    from handmesh.cli import mesh, predict
    from handmesh.cli.data import convert_app, submit_app
    from handmesh.cli.kinematics import kinematics_app
    from handmesh.cli.retarget import retarget
    from handmesh.cli.train import train_app
    from handmesh.cli.weights import weights_app

    app = typer.Typer(
        help="From an image of a hand to its mesh.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def print_version(wanted: bool) -> None:
        if wanted:
            typer.echo(version_line("handmesh"))
            raise typer.Exit

    version_option = typer.Option("--version", is_eager=True, callback=print_version, help="print the version")

    @app.callback()
    def options(
        debug: Annotated[bool, typer.Option("--debug", help=f"show the traceback of an error (or {DEBUG}=1)")] = False,
        version: Annotated[bool, version_option] = False,
    ) -> None:
        if debug:
            os.environ[DEBUG] = "1"

    app.command()(mesh.nets)
    app.add_typer(convert_app, name="convert")
    app.add_typer(train_app, name="train")
    app.command()(mesh.evaluate)
    app.add_typer(submit_app, name="submit")
    app.command()(predict.predict)
    app.command()(predict.live)
    app.add_typer(kinematics_app, name="kinematics")
    app.command()(retarget)
    app.command()(mesh.export)
    app.add_typer(weights_app, name="weights")
    return app
