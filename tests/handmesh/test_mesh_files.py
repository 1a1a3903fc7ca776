"""Mesh files: the vertices are what a file lists, whatever else is in it and however it is written."""

import io
import struct

import numpy as np
import pytest
import trimesh
from trimesh.exchange.ply import export_ply

from handmesh.mesh_files import read_mesh
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.toy import toy_hand

HAND = toy_hand()
VERTICES = HAND.v_template.astype(np.float32)
SHORT = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
XYZ = [(axis, "float") for axis in "xyz"]


def obj(vertices: np.ndarray = SHORT, more: str = "", before: str = "") -> bytes:
    return (before + "".join(f"v {x:.9g} {y:.9g} {z:.9g}\n" for x, y, z in vertices) + more).encode()


OBJS = {
    "no faces": obj(),
    "only a group": obj(more="o hand\ng fingers\ns 1\n"),
    "triangles": obj(more="f 1 2 3\nf -1 -2 -3\n"),
    "polygons and lines": obj(more="f 1 2 3 4 5\nl 1 2 3\np 1\n"),
    "corners of a texture": obj(more="vt 0 0\nvt 1 1\nvn 0 0 1\nf 1/1/1 2/2/1 3/1/1\nf 1/2/1 2/1/1 3/2/1\n"),
    "materials": obj(before="mtllib ../../secret.mtl\nusemtl a\n", more="usemtl a\nf 1 2 3\nusemtl b\nf 3 4 5\n"),
    "faces of vertices that are not there": obj(more="f 1 2 99\nf 0 1 2\n"),
    "comments, tabs and blanks": b"# a hand\n\n" + obj().replace(b"v ", b" v\t", 2) + b"\t\n# end",
    "Windows' lines": obj(more="f 1 2 3\n").replace(b"\n", b"\r\n"),
    "lines that go on": obj().replace(b" ", b" \\\n", 3),
    "weights": obj().replace(b"\n", b" 1.0\n"),
    "colours": obj().replace(b"\n", b" 0.1 0.2 0.3\n"),
    "the same vertex twice": obj(np.concatenate([SHORT[:5], SHORT[:1]])),
    "vertices after faces": b"f 1 2 3\n" + obj(),
    "a name that is no UTF-8": b"o \xff\xfe\n" + obj(),
}


@pytest.mark.parametrize("name", OBJS)
def test_obj(tmp_path, name):
    """Every line `v` is a vertex, in its order."""
    (tmp_path / "a.obj").write_bytes(OBJS[name])
    expected = np.concatenate([SHORT[:5], SHORT[:1]]) if "twice" in name else SHORT
    np.testing.assert_allclose(read_mesh(tmp_path / "a.obj"), expected, rtol=1e-6)


Rows = list[tuple]
FACES = ("face", [("vertex_indices", "list uchar int")], [([0, 1, 2],), ([3, 4, 5],)])
ELEMENTS: dict[str, list[tuple[str, list[tuple[str, str]], Rows]]] = {
    "no faces": [],
    "an empty table of faces": [("face", FACES[1], [])],
    "triangles": [FACES],
    "triangles and polygons": [("face", FACES[1], [([0, 1, 2],), ([0, 1, 2, 3],), ([0, 1, 2, 3, 4],)])],
    "corners of a texture": [
        ("face", [*FACES[1], ("texcoord", "list uchar float")], [([0, 1, 2], [0.0] * 6), ([0, 1, 2], [1.0] * 6)])
    ],
    "a colour for each face": [("face", [*FACES[1], ("red", "uchar")], [([0, 1, 2], 9)])],
    "strips": [("tristrips", [("vertex_indices", "list int int")], [([0, 1, 2, -1, 3],)])],
    "edges and a camera": [FACES, ("edge", [("vertex1", "int")], [(0,)]), ("camera", [("view_px", "float")], [(0.5,)])],
    "faces of vertices that are not there": [("face", FACES[1], [([0, 1, 99],)])],
}
CODES = {"uchar": "B", "int": "i", "float": "f", "double": "d"}


def ply(kind: str, elements: list[tuple[str, list[tuple[str, str]], Rows]]) -> bytes:
    """A PLY of these tables, as text or in either byte order."""
    order = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}[kind]
    head, body = [f"ply\nformat {kind} 1.0\ncomment TextureFile ../secret.png\n"], b""
    for name, columns, rows in elements:
        head.append(f"element {name} {len(rows)}\n" + "".join(f"property {type_} {column}\n" for column, type_ in columns))
        for row in rows:
            words = []
            for value, (_, type_) in zip(row, columns, strict=True):
                *_, length, item = ["", *type_.split()] if type_.startswith("list") else ["", "", type_]
                values = value if isinstance(value, list) else [value]
                words += [str(len(values))] * bool(length) + [f"{v:.9g}" for v in values]
                if order:
                    body += struct.pack(order + CODES[length], len(values)) if length else b""
                    body += struct.pack(f"{order}{len(values)}{CODES[item]}", *values)
            body += b"" if order else (" ".join(words) + "\n").encode()
    return "".join([*head, "end_header\n"]).encode() + body


def table(vertices: np.ndarray = SHORT, columns: list[tuple[str, str]] = XYZ) -> tuple[str, list[tuple[str, str]], Rows]:
    return ("vertex", columns, [tuple(float(v) for v in row) for row in vertices])


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("name", ELEMENTS)
def test_ply(tmp_path, kind, name):
    """Every row of `vertex` is a vertex, whatever stands before and behind it."""
    for elements in ([table(), *ELEMENTS[name]], [*ELEMENTS[name], table()]):
        (tmp_path / "a.ply").write_bytes(ply(kind, elements))
        np.testing.assert_allclose(read_mesh(tmp_path / "a.ply"), SHORT, rtol=1e-6)


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_columns_are_found_by_name(tmp_path, kind):
    """Normals, colours, texture coordinates and another order of the axes."""
    columns = [("nx", "float"), ("z", "double"), ("red", "uchar"), ("x", "float"), ("y", "float"), ("s", "float")]
    rows = [(0.5, float(z), 200, float(x), float(y), 0.1) for x, y, z in SHORT]
    (tmp_path / "a.ply").write_bytes(ply(kind, [("vertex", columns, rows)]))
    np.testing.assert_allclose(read_mesh(tmp_path / "a.ply"), SHORT, rtol=1e-6)


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian", "obj"])
def test_trimesh_as_the_oracle(tmp_path, encoding):
    """A whole hand as trimesh writes it comes back as trimesh reads it; by its content, not by its name."""
    mesh = trimesh.Trimesh(VERTICES, HAND.faces, process=False)
    data = mesh.export(file_type="obj").encode() if encoding == "obj" else export_ply(mesh, encoding=encoding.partition("_")[0])
    again = trimesh.load(io.BytesIO(data), file_type=encoding if encoding == "obj" else "ply", process=False, maintain_order=True)
    for name in ("a.obj", "a.ply"):
        (tmp_path / name).write_bytes(data)
        np.testing.assert_allclose(read_mesh(tmp_path / name), again.vertices, atol=1e-7)
        assert len(again.vertices) == len(VERTICES)


BAD = {
    "no vertices": (b"f 1 2 3\n", "it holds no vertices"),
    "two coordinates": (b"v 1 2\n", "fewer than three coordinates"),
    "words": (b"v a b c\n", "could not convert"),
    "NaN": (b"v 1 2 nan\n", "NaN or infinite"),
    "an endless vertex": (b"v 1 2 1e999\n", "NaN or infinite"),
    "no table of vertices": (ply("ascii", [FACES]), "it holds no vertices"),
    "an empty table of vertices": (ply("ascii", [table(SHORT[:0])]), "it holds no vertices"),
    "no z": (ply("ascii", [table(SHORT[:, :2], XYZ[:2])]), "x, y and z"),
    "x as a list": (ply("ascii", [("vertex", [("x", "list uchar float"), *XYZ[1:]], [([1.0], 2.0, 3.0)])]), "x, y and z"),
    "cut text": (ply("ascii", [table()])[:-60], "it ends after|index out of range"),
    "cut rows": (ply("binary_big_endian", [table()])[:-1], "it ends before its 6 vertices do"),
    "a lying count": (ply("binary_big_endian", [table()]).replace(b"vertex 6", b"vertex 9999999999999"), "it ends before"),
    "another format": (ply("ascii", [table()]).replace(b"ascii", b"octal"), "its format 'octal' is unknown"),
    "no end of its header": (b"ply\nformat ascii 1.0\nelement vertex 1\n", "not found"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_mesh_is_one_sentence(tmp_path, name):
    data, message = BAD[name]
    path = tmp_path / "bad.ply"
    path.write_bytes(data)
    with pytest.raises(HandsynthError, match=rf"bad\.ply cannot be read as a mesh: .*({message})") as raised:
        read_mesh(path)
    assert "\n" not in str(raised.value)


def test_missing_files(tmp_path):
    with pytest.raises(UsageError, match=r"none\.obj does not exist"):
        read_mesh(tmp_path / "none.obj")
    (tmp_path / "folder.obj").mkdir()
    with pytest.raises(HandsynthError, match=r"folder\.obj cannot be read: Is a directory"):
        read_mesh(tmp_path / "folder.obj")
