"""Solids: closed surfaces with normals and texture coordinates, built by turning, rounding and sweeping."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

AROUND = 28
"""Vertices of a circle."""

BEVEL_STEPS = 3
"""Rows of vertices from one side of a rounded edge to the other, less one."""

CREASE_COSINE = float(np.cos(np.radians(35)))
"""A profile that turns by more than this has an edge."""


@dataclass(frozen=True, eq=False)
class Solid:
    """A closed surface in its own frame [m]. V vertices (several at an edge or a seam), F faces."""

    vertices: np.ndarray  # (V, 3) float64
    normals: np.ndarray  # (V, 3) unit, outwards
    faces: np.ndarray  # (F, 3) int32, counter-clockwise seen from outside
    uv: np.ndarray  # (V, 2) in [0, 1], v up

    def moved(self, offset: Sequence[float], rotation: np.ndarray | None = None) -> "Solid":
        """The solid turned by a (3, 3) rotation, then shifted [m]."""
        turn = np.eye(3) if rotation is None else rotation
        return Solid(self.vertices @ turn.T + np.asarray(offset), self.normals @ turn.T, self.faces, self.uv)


def joined(*solids: Solid) -> Solid:
    """Solids that stand in each other, as one."""
    first = np.cumsum([0, *(len(s.vertices) for s in solids)])
    return Solid(
        np.concatenate([s.vertices for s in solids]),
        np.concatenate([s.normals for s in solids]),
        np.concatenate([s.faces + k for s, k in zip(solids, first, strict=False)]).astype(np.int32),
        np.concatenate([s.uv for s in solids]),
    )


def turned(profile: Sequence[tuple[float, float]], around: int = AROUND) -> Solid:
    """A profile of (radius, height) [m] from the axis below to the axis above, turned about z; it runs outside upwards."""
    points = np.asarray(profile, float)
    steps = np.diff(points, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    tangents = steps / lengths[:, None]
    outwards = np.stack([tangents[:, 1], -tangents[:, 0]], 1)  # (r, z)
    v = np.concatenate([[0], np.cumsum(lengths)])
    v /= v[-1]
    smooth = (tangents[1:] * tangents[:-1]).sum(1) > CREASE_COSINE
    angle = np.linspace(0, 2 * np.pi, around + 1)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    pieces, start = [], 0
    for end in [*(np.flatnonzero(~smooth) + 1).tolist(), len(points) - 1]:
        normal = np.zeros((end - start + 1, 2))
        normal[:-1] += outwards[start:end]
        normal[1:] += outwards[start:end]
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        ring = points[start : end + 1]
        vertices = np.concatenate([ring[:, None, :1] * circle, np.broadcast_to(ring[:, None, 1:], (len(ring), around + 1, 1))], -1)
        normals = np.concatenate([normal[:, None, :1] * circle, np.broadcast_to(normal[:, None, 1:], vertices[..., :1].shape)], -1)
        uv = np.stack(np.broadcast_arrays(angle / (2 * np.pi), v[start : end + 1, None]), -1)
        pieces.append(_grid(vertices, normals, uv))
        start = end
    return joined(*pieces)


def rounded_box(size: Sequence[float], radius: float) -> Solid:
    """A box of (x, y, z) sides [m] with round edges; its front and back (z) fill the texture's upper half, its sides the lower."""
    half = np.asarray(size, float) / 2
    inner = half - radius
    pieces = []
    for axis in range(3):
        for sign in (1.0, -1.0):
            i, j = (axis + 1) % 3, (axis + 2) % 3
            # Bevels are parts of cylinders and corners of balls, cut along the diagonals: directions (tan a, tan b, 1).
            bevel = np.tan(np.linspace(0, np.pi / 4, BEVEL_STEPS))
            lean_a, lean_b = (np.concatenate([-bevel[::-1], bevel]) for _ in range(2))
            place_a, place_b = (np.repeat([-inner[k], inner[k]], BEVEL_STEPS) for k in (i, j))
            core, normals = np.zeros((2, 2 * BEVEL_STEPS, 2 * BEVEL_STEPS, 3))
            core[..., i], core[..., j] = np.meshgrid(place_a, place_b, indexing="ij")
            core[..., axis] = sign * inner[axis]
            normals[..., i], normals[..., j] = np.meshgrid(lean_a, lean_b, indexing="ij")
            normals[..., axis] = sign
            normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
            vertices = core + radius * normals
            u, w = (vertices[..., k] / (2 * half[k]) + 0.5 for k in (i, j))
            if axis == 2:  # x across, y up
                uv = np.stack([0.5 * u + (0.0 if sign > 0 else 0.5), 0.5 + 0.5 * w], -1)
            else:
                uv = np.stack([0.5 * u + 0.5 * (axis == 1), 0.5 * w], -1)
            pieces.append(_grid(vertices, normals, uv, flip=sign > 0))
    return joined(*pieces)


def ellipsoid(radii: Sequence[float], power: float = 1.0, rows: int = 16) -> Solid:
    """A superquadric of (x, y, z) radii [m]: power 1 is an ellipsoid, below 1 it is boxy (Barr 1981)."""
    lat, lon = np.linspace(-np.pi / 2, np.pi / 2, rows + 1), np.linspace(0, 2 * np.pi, AROUND + 1)
    lat, lon = np.meshgrid(lat, lon, indexing="ij")

    def rounded(x: np.ndarray, e: float) -> np.ndarray:
        return np.sign(x) * np.abs(np.where(np.abs(x) < 1e-12, 0, x)) ** e

    def point(e: float) -> np.ndarray:
        flat = rounded(np.cos(lat), e)
        return np.stack([flat * rounded(np.cos(lon), e), flat * rounded(np.sin(lon), e), rounded(np.sin(lat), e)], -1)

    normals = point(2 - power) / np.asarray(radii, float)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    uv = np.stack([lon / (2 * np.pi), lat / np.pi + 0.5], -1)
    return _grid(point(power) * np.asarray(radii, float), normals, uv)


def swept(path: np.ndarray, radius: Sequence[float] | float, around: int = 14, closed: bool = False) -> Solid:
    """A round tube along (N, 3) points [m] of a plane curve; open ends are closed by a point."""
    path = np.asarray(path, float)
    if closed:
        tangent = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    else:
        tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    spread = np.linalg.svd(path - path.mean(0))[2]
    side = np.broadcast_to(spread[2], path.shape)  # normal of the curve's plane, or of any plane through a straight one
    up = np.cross(tangent, side)
    radii = np.broadcast_to(np.asarray(radius, float), len(path))
    angle = np.linspace(0, 2 * np.pi, around + 1)
    normals = np.cos(angle)[:, None] * up[:, None] + np.sin(angle)[:, None] * side[:, None]
    vertices = path[:, None] + radii[:, None, None] * normals
    if closed:
        vertices, normals = (np.concatenate([a, a[:1]]) for a in (vertices, normals))
    else:
        ends = [np.broadcast_to(path[k], (1, around + 1, 3)) for k in (0, -1)]
        caps = [np.broadcast_to(s * tangent[k], (1, around + 1, 3)) for s, k in ((-1, 0), (1, -1))]
        vertices, normals = np.concatenate([ends[0], vertices, ends[1]]), np.concatenate([caps[0], normals, caps[1]])
    v = np.linspace(0, 1, len(vertices))
    uv = np.stack(np.broadcast_arrays(angle / (2 * np.pi), v[:, None]), -1)
    return _grid(vertices, normals, uv, flip=True)


def _grid(vertices: np.ndarray, normals: np.ndarray, uv: np.ndarray, flip: bool = False) -> Solid:
    """(R, C, ...) rows and columns of vertices, sewn into quads; triangles without area are left out.

    Columns run counter-clockwise about the rows' direction as seen from its end, unless `flip`.
    """
    rows, columns = vertices.shape[:2]
    k, i = (a.ravel() for a in np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij"))
    a, b, c, d = (r * columns + s for r, s in ((k, i), (k, i + 1), (k + 1, i + 1), (k + 1, i)))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    points = vertices.reshape(-1, 3)
    area = np.linalg.norm(np.cross(points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]]), axis=1)
    faces = faces[area > 1e-12]
    return Solid(
        points.copy(), normals.reshape(-1, 3).copy(), (faces[:, ::-1] if flip else faces).astype(np.int32), uv.reshape(-1, 2).copy()
    )
