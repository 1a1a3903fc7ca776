"""The program handsynth: its commands together, and its entry. Heavy modules are imported inside the commands."""

import os
from typing import TYPE_CHECKING, Annotated, Any

from handsynth.core.program import DEBUG, document, run_program, version_line

if TYPE_CHECKING:
    import typer


def main() -> None:
    """Entry point: parse, call, print. Results on stdout, progress and errors on stderr."""
    run_program("handsynth", lambda: make_program()(prog_name="handsynth"))


def make_program() -> Any:
    """The commands as they are called, with their help in groups and with examples."""
    import typer

    from handsynth.cli.help import HELP

    return document(typer.main.get_command(make_app()), HELP)


def make_app() -> "typer.Typer":
    """The commands. Nothing is imported before, so that an error or Ctrl-C at any time ends as `run_program` says."""
    import typer

    from handsynth.cli import assets, datasets, exports, generate, specs

    app = typer.Typer(
        help="Labelled images of hands, rendered without a display.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def print_version(wanted: bool) -> None:
        if wanted:
            typer.echo(version_line("handsynth"))
            raise typer.Exit

    version_option = typer.Option("--version", is_eager=True, callback=print_version, help="print the version")

    @app.callback()
    def options(
        debug: Annotated[bool, typer.Option("--debug", help=f"show the traceback of an error (or {DEBUG}=1)")] = False,
        version: Annotated[bool, version_option] = False,
    ) -> None:
        if debug:
            os.environ[DEBUG] = "1"

    for command in (
        assets.doctor, specs.plan, specs.recipe, specs.preview, generate.generate, datasets.verify, datasets.show, datasets.replay,
        datasets.stats,
    ):  # fmt: skip
        app.command()(command)
    app.add_typer(exports.export_app, name="export")
    app.add_typer(assets.assets_app, name="assets")
    return app
