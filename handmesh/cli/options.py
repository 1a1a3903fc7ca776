"""Arguments and options that several commands share, and how results are printed."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from handsynth.core.errors import UsageError

RunArg = Annotated[
    Path | None,
    typer.Argument(metavar="[RUN]", help="folder of a training run, or name of shipped weights [the default]", show_default=False),
]
DeviceOpt = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
BatchOpt = Annotated[int, typer.Option(help="images at a time", min=1)]
FormatOpt = Annotated[str, typer.Option("--format", help="of meshes: obj, ply or none")]
IKRunOpt = Annotated[
    str,
    typer.Option(
        "--ik-run",
        metavar="own|none|RUN",
        help="where joint angles start: the package's IK net, the mesh, or a run of handmesh train ik (which implies --kinematics)",
    ),
]
ShapeOpt = Annotated[
    Path | None,
    typer.Option("--shape", metavar="FILE", help="JSON with the known shape `beta`, as kinematics fit writes it"),
]
JsonOpt = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def run_and_rest(words: list[Path], count: int | None, usage: str) -> tuple[Path | None, list[Path]]:
    """The words of a command that may begin with a run -> it, or None for the default, and the other words.

    Args:
        words: as given.
        count: of the others; None where any number may follow, and the first word is a run if it looks like one.
        usage: for the message.

    Raises UsageError when too few or too many words are left.
    """
    from handmesh.shipped import is_run

    first = len(words) == count + 1 if count is not None else is_run(words[0])
    run, rest = (words[0], words[1:]) if first else (None, words)
    if not rest or (count is not None and len(rest) != count):
        raise UsageError(f"expected {usage}")
    return run, rest


def print_json(value: Any) -> None:
    """A value for machines, on stdout."""
    typer.echo(json.dumps(value, indent=2))
