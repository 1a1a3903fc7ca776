"""The command line. Results on stdout, progress and errors on stderr; every error has its sentence and its exit code."""

import os
import sys

import typer

from handmesh.cli import mesh
from handmesh.cli.data import convert_app, submit_app
from handmesh.cli.kinematics import kinematics_app
from handmesh.cli.train import train_app
from handsynth.core.errors import AssetError, HandsynthError

app = typer.Typer(
    help="From an image of a hand to its mesh.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(mesh.nets)
app.add_typer(convert_app, name="convert")
app.add_typer(train_app, name="train")
app.command()(mesh.evaluate)
app.add_typer(submit_app, name="submit")
app.command()(mesh.predict)
app.add_typer(kinematics_app, name="kinematics")
app.command()(mesh.export)


def main() -> None:
    """Entry point: every error that a user can cause is one sentence on stderr and its exit code."""
    # Threads that wait sleep instead of spinning: on a machine that does something else besides, that is twice as fast or more.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
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
