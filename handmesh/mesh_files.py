"""Mesh files of hands: read without following their links, written whole or not at all."""

from pathlib import Path

import numpy as np

from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.files import write_file
from handsynth.core.hand import HandModel

MESH_SUFFIXES = (".obj", ".ply")
"""Wavefront OBJ and Stanford PLY."""

MESH_FORMATS = ("obj", "ply", "none")
"""What commands write of meshes, as `--format` names it."""


def read_mesh(path: Path) -> np.ndarray:
    """(V, 3) vertices of an OBJ or PLY in the file's order; materials and textures are not looked for.

    Raises UsageError when there is no such file, HandsynthError naming it when it is no mesh.
    """
    import trimesh

    if not path.exists():
        raise UsageError(f"{path} does not exist")
    try:
        with open(path, "rb") as file:
            kind = path.suffix[1:].lower()
            mesh = trimesh.load_mesh(file, file_type=kind, process=False, maintain_order=True, skip_materials=True)
        vertices = np.asarray(mesh.vertices, np.float64)
    except OSError as error:
        raise HandsynthError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # trimesh raises many kinds on damaged files
        raise HandsynthError(f"{path} cannot be read as a mesh ({type(error).__name__})") from None
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not len(vertices):
        raise HandsynthError(f"{path} cannot be read as a mesh: it holds no vertices")
    return vertices


def write_mesh(path: Path, vertices: np.ndarray, hand: HandModel, side: str, header: str) -> None:
    """OBJ or PLY by the suffix, faces counter-clockwise from outside.

    Args:
        path: file to write.
        vertices: (V, 3) of a right or left hand.
        hand: whose faces they have.
        side: "right" or "left".
        header: a line about units and frame, kept in OBJ files.
    """
    import trimesh
    from trimesh.exchange.obj import export_obj
    from trimesh.exchange.ply import export_ply

    faces = hand.faces if side == "right" else hand.faces[:, ::-1]
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    write_file(path, export_obj(mesh, header=header).encode() if path.suffix == ".obj" else export_ply(mesh))
