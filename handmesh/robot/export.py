"""An articulated hand on disk: the description file, and one STL for each link in a folder `meshes` beside it."""

from pathlib import Path

import numpy as np
from trimesh.exchange.stl import export_stl

from handmesh.robot.articulated import ArticulatedHand
from handmesh.robot.mjcf import mjcf
from handmesh.robot.robot_xml import MESH_SUFFIX, to_text
from handmesh.robot.urdf import urdf
from handsynth.core.errors import UsageError
from handsynth.core.files import check_out_file, write_atomically

FORMATS = {"urdf": urdf, "mjcf": mjcf}


def export_articulated(model: ArticulatedHand, out: Path, format: str) -> list[Path]:
    """Writes `out` and meshes/<stem of out>/<link>.stl beside it: models of other names may share the folder.

    Returns the paths of the meshes, in the order of the links. Raises UsageError for an unknown format, and as
    `core.files.check_out_file` does.
    """
    if format not in FORMATS:
        raise UsageError(f"no format is called {format!r}: use {' or '.join(FORMATS)}")
    check_out_file(out)
    folder = Path("meshes") / out.stem
    document = to_text(FORMATS[format](model, folder.as_posix()))
    paths = [out.parent / folder / f"{link.name}{MESH_SUFFIX}" for link in model.links]
    for link, path in zip(model.links, paths, strict=True):
        stl = export_stl(link.mesh)
        write_atomically(path, lambda temporary, stl=stl: temporary.write_bytes(stl))  # type: ignore[misc]
    write_atomically(out, lambda temporary: temporary.write_text(document, encoding="utf-8"))
    return paths


def read_beta(text: str) -> np.ndarray:
    """Numbers of a text such as "0.5,-1". Raises UsageError when they are none."""
    try:
        return np.array([float(part) for part in text.split(",")])
    except ValueError:
        raise UsageError(f"--beta takes numbers with commas between them, such as 0.5,-1, and not {text!r}") from None
