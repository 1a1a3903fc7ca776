"""Mesh files of hands: read without following their links, written whole or not at all."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
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
    """(V, 3) float64 vertices of an OBJ or PLY as the file lists them, one for each of its lines or rows.

    Faces are not looked at: seams of a texture (corners with coordinates of their own), materials, polygons or no faces at all
    change neither number nor order. Which of the two formats it is, its content decides.

    Raises UsageError when there is no such file, HandsynthError naming it when it is no mesh.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except OSError as error:
        raise HandsynthError(f"{path} cannot be read: {error.strerror}") from None
    try:
        vertices = _ply_vertices(data) if data[:3] == b"ply" else _obj_vertices(data)
        if not len(vertices):
            raise ValueError("it holds no vertices")
        if not np.isfinite(vertices).all():
            raise ValueError("a vertex is NaN or infinite")
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error) as error:
        raise HandsynthError(f"{path} cannot be read as a mesh: {ascii(str(error))[1:-1][:80]}") from None
    return vertices


def _obj_vertices(data: bytes) -> np.ndarray:
    """(V, 3) of the lines `v x y z`; a weight or a colour may follow."""
    lines = data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").splitlines()
    rows = [words[1:4] for words in (line.split(None, 4) for line in lines) if words[:1] == [b"v"]]
    if any(len(row) < 3 for row in rows):
        raise ValueError("a vertex has fewer than three coordinates")
    return np.array([[float(word) for word in row] for row in rows], np.float64).reshape(-1, 3)


# PLY's names of types, old and new.
_PLY_TYPES = {
    **{name: code for code, names in {
        "i1": "char int8", "u1": "uchar uint8", "i2": "short int16", "u2": "ushort uint16",
        "i4": "int int32", "u4": "uint uint32", "f4": "float float32", "f8": "double float64",
    }.items() for name in names.split()},
}  # fmt: skip


@dataclass
class _Element:
    """One of the tables of a PLY: its rows and what is in each."""

    name: str
    count: int
    columns: list[tuple[str, str, str | None]] = field(default_factory=list)  # name, type, type of a list's length


def _ply_vertices(data: bytes) -> np.ndarray:
    """(V, 3) of a PLY's element `vertex`, in either byte order or as text."""
    format_, elements, body = _ply_header(data)
    before: list[_Element] = []
    for element in elements:
        if element.name == "vertex":
            break
        before.append(element)
    else:
        raise ValueError("it holds no vertices")
    names = [name for name, _, length in element.columns if length is None]
    if len(names) < len(element.columns) or not {"x", "y", "z"} <= set(names) or len(set(names)) < len(names):
        raise ValueError("its vertices are not rows of numbers with x, y and z")
    if format_ == "ascii":
        lines = [line.split() for line in body.splitlines() if line.strip()]
        first = sum(other.count for other in before if other.columns)
        rows = lines[first : first + element.count]
        places = [names.index(axis) for axis in "xyz"]
        if len(rows) < element.count:
            raise ValueError(f"it ends after {len(rows)} of {element.count} vertices")
        return np.array([[float(row[place]) for place in places] for row in rows], np.float64).reshape(-1, 3)
    order = "<" if format_ == "binary_little_endian" else ">"
    start = 0
    for other in before:
        start = _skip(body, start, other, order)
    row_type = np.dtype([(name, order + code) for name, code, _ in element.columns])
    if len(body) - start < element.count * row_type.itemsize:
        raise ValueError(f"it ends before its {element.count} vertices do")
    table = np.frombuffer(body, row_type, element.count, start)
    return np.stack([table[axis].astype(np.float64) for axis in "xyz"], 1)


def _ply_header(data: bytes) -> tuple[str, list[_Element], bytes]:
    """Format, elements in order, and what follows the header."""
    end = data.index(b"end_header")
    after = data.index(b"\n", end) + 1
    format_, elements = "", []
    for line in data[:end].decode("ascii", "replace").splitlines():
        match line.split():
            case ["format", format_, _]:
                pass
            case ["element", name, count]:
                elements.append(_Element(name, int(count)))
                if elements[-1].count < 0:
                    raise ValueError("an element has fewer than no rows")
            case ["property", "list", length, kind, name]:
                elements[-1].columns.append((name, _PLY_TYPES[kind], _PLY_TYPES[length]))
            case ["property", kind, name]:
                elements[-1].columns.append((name, _PLY_TYPES[kind], None))
    if format_ not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise ValueError(f"its format {format_!r:.40} is unknown")
    return format_, elements, data[after:]


def _skip(body: bytes, start: int, element: _Element, order: str) -> int:
    """Where a binary element that begins at `start` ends."""
    if all(length is None for _, _, length in element.columns):
        return start + element.count * sum(np.dtype(kind).itemsize for _, kind, _ in element.columns)
    for _ in range(element.count):
        for _, kind, length in element.columns:
            size = np.dtype(kind).itemsize
            if length is not None:
                size *= int(np.frombuffer(body, order + length, 1, start)[0])
                start += np.dtype(length).itemsize
            if size < 0:
                raise ValueError("a list is shorter than nothing")
            start += size
    return start


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


def write_glb(path: Path, meshes: Sequence[np.ndarray], sides: Sequence[str], hand: HandModel) -> None:
    """One binary glTF with a node for each hand, "right hand 1", ...; whole or not at all.

    Positions are those of the camera frame [m] as they are given; each node turns them into glTF's frame (y up, the camera looks
    along -z), so that viewers show the hands as the camera saw them.

    Args:
        path: of the file.
        meshes: (V, 3) each, camera frame [m].
        sides: "right" or "left", of each.
        hand: whose faces they have.
    """
    import trimesh
    from trimesh.exchange.gltf import export_glb

    scene = trimesh.Scene()
    for k, (vertices, side) in enumerate(zip(meshes, sides, strict=True), 1):
        mesh = trimesh.Trimesh(vertices, hand.faces if side == "right" else hand.faces[:, ::-1], process=False)
        name = f"{side} hand {k}"
        scene.add_geometry(mesh, node_name=name, geom_name=name, transform=np.diag([1.0, -1.0, -1.0, 1.0]))
    write_file(path, export_glb(scene, include_normals=True))
