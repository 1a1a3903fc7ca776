"""Arguments and options that several commands share, and how results are printed."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

RunArg = Annotated[Path, typer.Argument(metavar="RUN", help="folder of a training run", show_default=False)]
DeviceOpt = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
BatchOpt = Annotated[int, typer.Option(help="images at a time", min=1)]
FormatOpt = Annotated[str, typer.Option("--format", help="of meshes: obj, ply or none")]
IKRunOpt = Annotated[
    Path | None, typer.Option("--ik-run", metavar="IK_RUN", help="of handmesh train ik, to start from; implies --kinematics")
]
ShapeOpt = Annotated[
    Path | None,
    typer.Option("--shape", metavar="FILE", help="JSON with the known shape `beta`, as kinematics fit writes it"),
]
JsonOpt = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def print_json(value: Any) -> None:
    """A value for machines, on stdout."""
    typer.echo(json.dumps(value, indent=2))
