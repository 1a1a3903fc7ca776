"""The user's own things: meshes of a folder, checked to be closed and of a size that hands hold, with their licences."""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from handsynth.assets.backgrounds.folder import in_brackets, list_digest, list_folder, skipped_note
from handsynth.assets.objects.shapes import SHAPES, Shape
from handsynth.assets.objects.solid import CREASE_COSINE, Solid
from handsynth.assets.store import folder_licence
from handsynth.core.errors import AssetError
from handsynth.core.mesh import face_normals

SUFFIXES = frozenset({".obj", ".ply", ".stl", ".glb"})
"""What is taken for a mesh in a folder."""

PREFIX = "own/"
"""Names of the user's shapes begin with it, so that none is one of the package's."""

MAX_BYTES, MAX_TRIANGLES, MAX_PIECES = 32 << 20, 20_000, 200
"""Larger files are not read; meshes of more triangles would take longer to draw than a hand; nor is a file of more pieces read."""

SIZE_M = (0.008, 0.6)
"""Least and greatest length of a mesh's longest side."""

SCALE = (0.9, 1.1)
"""How far a thing of known size is scaled."""

MATERIALS = ("plastic", "metal", "ceramic", "wood", "paper", "rubber")
"""What they may be of: colours and textures are drawn."""

UNKNOWN = "unknown"
LICENCES = "licences.yaml"
ADVICE = f"give --objects a folder of closed meshes in metres ({', '.join(sorted(SUFFIXES))}), or leave it out"


class MeshError(Exception):
    """Why a file cannot serve."""


@dataclass(frozen=True, eq=False)
class Objects:
    """The things that hands hold, and that may be before them."""

    shapes: tuple[Shape, ...] = SHAPES
    licences: tuple[tuple[str, str], ...] = ()  # of the user's: file and licence
    notes: tuple[str, ...] = ()  # sentences for people: what was left out

    @cached_property
    def of_name(self) -> Mapping[str, Shape]:
        """Shapes by the names that recipes give."""
        return {shape.name: shape for shape in self.shapes}

    @property
    def are_own(self) -> bool:
        """Whether they are the user's."""
        return bool(self.licences)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names, surfaces and licences."""
        return list_digest("objects", [(s.name, s.digest, text) for s, (_, text) in zip(self.shapes, self.licences, strict=True)])

    @property
    def licence(self) -> str:
        """One line: the licence of each file."""
        return "; ".join(f"{name}: {text}" for name, text in self.licences)[:4000]


def open_objects(root: Path) -> Objects:
    """The meshes of a folder and its subfolders, in the order of their names. Raises AssetError when none of them can serve."""
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise AssetError(f"the objects folder {root} {what}: {ADVICE}")
    listing = list_folder(root, SUFFIXES, "object")
    table, beside = _licence_table(listing.root), folder_licence(listing.root, UNKNOWN)
    skipped, shapes, licences = dict(listing.skipped), [], []
    for name in listing.images:
        try:
            solid = read_solid(listing.root / name)
        except MeshError as error:
            skipped[name] = str(error)
            continue
        shapes.append(Shape(name, PREFIX + name, lambda solid=solid: solid, SCALE, MATERIALS))  # type: ignore[misc]
        licences.append((name, table.get(name, beside)))
    notes = skipped_note(listing.root, skipped, len(shapes), "meshes")
    if not shapes:
        raise AssetError(f"no usable mesh in {listing.root}{in_brackets(notes)}: {ADVICE}")
    unknown = [name for name, licence in licences if licence == UNKNOWN]
    if unknown:
        many = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        where = f"a line for each in {LICENCES}, or a LICENSE, beside them says it"
        notes += (f"the licence of {', '.join(unknown[:3])}{many} in {listing.root} is not known: {where}",)
    return Objects(tuple(shapes), tuple(licences), notes)


def _licence_table(root: Path) -> dict[str, str]:
    """File -> licence, of the table beside the meshes; empty without one. Raises AssetError when it is no such table."""
    path = root / LICENCES
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(1 << 16)
        if "&" in text or "*" in text:  # aliases, which grow
            raise ValueError("it has aliases")
        table = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise AssetError(f"{path} cannot be read ({reason:.100}): one line for each mesh, name: licence") from None
    if not isinstance(table, dict) or not all(isinstance(k, str) and isinstance(v, str) for k, v in table.items()):
        raise AssetError(f"{path} is no table of names and licences: one line for each mesh, name: licence")
    return {name: " ".join(licence.split())[:200] for name, licence in table.items()}


def read_solid(path: Path) -> Solid:
    """The closed surface that a file holds, in metres. Raises MeshError with the reason why it cannot serve."""
    vertices, faces = _welded(*_read(path))
    if not len(faces):
        raise MeshError("holds no triangles")
    if len(faces) > MAX_TRIANGLES:
        raise MeshError(f"{len(faces):,} triangles, more than {MAX_TRIANGLES:,}: simplify it")
    longest = float(np.ptp(vertices, axis=0).max())
    if not SIZE_M[0] <= longest <= SIZE_M[1]:
        words = f"{longest:.4g} m long, and hands hold {SIZE_M[0]:g} to {SIZE_M[1]:g} m"
        if SIZE_M[0] <= longest / 1000 <= SIZE_M[1]:
            words += ": it may be in millimetres, give metres (divide by 1000)"
        raise MeshError(words)
    faces = _closed(vertices, faces)
    return _smoothed(vertices, faces)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(V, 3) and (F, 3) of all that a file holds. What a file names beside itself is not looked for."""
    import trimesh

    try:
        size = os.path.getsize(path)
        if size > MAX_BYTES:
            raise MeshError(f"{size >> 20} MB, more than {MAX_BYTES >> 20}")
        data = path.read_bytes()
    except OSError as error:
        raise MeshError(error.strerror or "cannot be read") from None
    kind = path.suffix.lower()[1:]
    options: dict[str, Any] = {"skip_materials": True} if kind == "obj" else {}
    try:
        found = trimesh.load_scene(io.BytesIO(data), file_type=kind, process=False, **options)
        nodes = found.graph.nodes_geometry
        if len(nodes) > MAX_PIECES:
            raise MeshError(f"{len(nodes)} pieces, more than {MAX_PIECES}")
        pieces: list[tuple[np.ndarray, np.ndarray]] = []
        count = 0
        for node in nodes:
            transform, name = found.graph[node]
            mesh = found.geometry[name]
            faces = getattr(mesh, "faces", None)
            if faces is None:
                continue
            faces = np.asarray(faces, np.int64).reshape(-1, 3)
            count += len(faces)
            if count > 4 * MAX_TRIANGLES:
                raise MeshError(f"more than {MAX_TRIANGLES:,} triangles: simplify it")
            points = np.asarray(mesh.vertices, np.float64).reshape(-1, 3)
            pieces.append((points @ np.asarray(transform)[:3, :3].T + np.asarray(transform)[:3, 3], faces))
    except MeshError:
        raise
    except MemoryError:
        raise MeshError("too large for this machine's memory") from None
    except Exception as error:  # foreign bytes make readers raise almost anything
        raise MeshError(f"is damaged or no {kind.upper()} ({type(error).__name__})") from None
    start = np.cumsum([0, *(len(points) for points, _ in pieces)])
    vertices = np.concatenate([np.zeros((0, 3)), *(points for points, _ in pieces)])
    faces = np.concatenate([np.zeros((0, 3), np.int64), *(f + k for (_, f), k in zip(pieces, start, strict=False))])
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise MeshError("is damaged: its triangles name points that it does not have")
    if not np.isfinite(vertices).all() or np.abs(vertices).max(initial=0) > 1e9:
        raise MeshError("is damaged: some of its points are not finite, or beyond all bounds")
    return vertices, faces


def _welded(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points that are in one place as one, and triangles without area left out; in a fixed order."""
    if not len(faces):
        return vertices[:0], faces
    used, faces = np.unique(faces, return_inverse=True)
    vertices, faces = vertices[used], faces.reshape(-1, 3)
    step = 1e-7 * max(float(np.ptp(vertices, axis=0).max()), 1e-12)
    _, first, inverse = np.unique(np.rint(vertices / step), axis=0, return_index=True, return_inverse=True)
    vertices, faces = vertices[first], inverse.ravel()[faces]
    return vertices, faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]


def _closed(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The faces, counter-clockwise seen from outside. Raises MeshError unless each edge has two, one each way."""
    a, b = faces.ravel(), np.roll(faces, -1, 1).ravel()
    along, back = (np.sort(first * len(vertices) + last) for first, last in ((a, b), (b, a)))
    if not np.array_equal(along, back) or (np.diff(along) == 0).any():
        edges, number = np.unique(np.minimum(a, b) * len(vertices) + np.maximum(a, b), return_counts=True)
        odd = int((number != 2).sum())
        if odd:
            raise MeshError(f"is not closed: {odd:,} of {len(edges):,} edges have not two triangles")
        raise MeshError("its triangles are not wound alike: some show their inside")
    corners = vertices[faces]
    volume = float((np.cross(corners[:, 0], corners[:, 1]) * corners[:, 2]).sum()) / 6
    if abs(volume) < 1e-9 * float(np.ptp(vertices, axis=0).max()) ** 3:
        raise MeshError("encloses nothing")
    return faces if volume > 0 else faces[:, ::-1]


def _smoothed(vertices: np.ndarray, faces: np.ndarray) -> Solid:
    """A solid with normals that are smooth but for edges, and a texture that lies on its box's six sides."""
    area = face_normals(vertices, faces)
    length = np.linalg.norm(area, axis=1, keepdims=True)
    unit = area / np.maximum(length, 1e-300)
    # Each pair of corners at a vertex: a corner's normal is the mean of those of the faces that it does not meet at an edge.
    corner = np.argsort(faces.ravel(), kind="stable")
    number = np.bincount(faces.ravel(), minlength=len(vertices))
    normals = np.repeat(unit, 3, 0)
    if float((number.astype(float) ** 2).sum()) < 4e6:
        start = np.cumsum(number) - number
        own = np.repeat(corner, number[faces.ravel()[corner]])
        place = np.arange(len(own)) - np.repeat(np.cumsum(number[faces.ravel()[corner]]) - number[faces.ravel()[corner]],
                                                number[faces.ravel()[corner]])  # fmt: skip
        other = corner[start[faces.ravel()[own]] + place] // 3
        smooth = (unit[own // 3] * unit[other]).sum(1) > CREASE_COSINE
        normals = np.stack([np.bincount(own[smooth], area[other[smooth], k], len(normals)) for k in range(3)], 1)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
        normals = np.where(np.linalg.norm(normals, axis=1, keepdims=True) > 0.5, normals, np.repeat(unit, 3, 0))
    axis = np.repeat(np.abs(unit).argmax(1), 3)
    sign = np.repeat(unit[np.arange(len(unit)), np.abs(unit).argmax(1)] > 0, 3)
    points = vertices[faces.ravel()]
    low, size = vertices.min(0), np.maximum(np.ptp(vertices, axis=0), 1e-9)
    share = (points - low) / size
    row = np.arange(len(points))
    u, w = share[row, (axis + 1) % 3], share[row, (axis + 2) % 3]
    uv = np.where(
        (axis == 2)[:, None],
        np.stack([0.5 * u + np.where(sign, 0.0, 0.5), 0.5 + 0.5 * w], 1),  # front and back fill the upper half, as on boxes
        np.stack([0.5 * u + 0.5 * (axis == 1), 0.5 * w], 1),
    )
    keys = np.concatenate([faces.reshape(-1, 1), np.rint(normals * 1e4), np.rint(uv * 1e6)], 1)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return Solid(points[first], normals[first], inverse.reshape(-1, 3).astype(np.int32), uv[first])
