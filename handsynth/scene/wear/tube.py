"""Tubes: grids of vertices sewn into surfaces with texture coordinates, and where the forearm's surface lies inside them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from handsynth.scene.arm import Arm, PosedArms

Rect = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Layout:
    """Static arrays of a piece. F faces, T texture coordinates."""

    faces: np.ndarray  # (F, 3) int32 rows of the piece's vertices, counter-clockwise seen from outside
    uv: np.ndarray  # (T, 2) in [0, 1], v up: row 0 of the texture is v = 1
    uv_faces: np.ndarray  # (F, 3) int32 rows of uv, aligned with faces
    unseen: np.ndarray | None = None  # (V,) bool vertices between which no face is ever seen, and none is drawn; None for none


class Sewing:
    """Collects surfaces into one layout."""

    def __init__(self) -> None:
        self._faces: list[np.ndarray] = []
        self._uv: list[np.ndarray] = []
        self._uv_faces: list[np.ndarray] = []
        self._rows = 0

    def tube(
        self, rings: np.ndarray, rows: Sequence[float] | np.ndarray, columns: tuple[float, float] = (0.0, 1.0), out: bool = True
    ) -> None:
        """Rings (K, N) of vertices, each closed, joined to the next; `rows` (K,) are their v, `columns` the u of first and last.

        Rings run counter-clockwise for one who looks along them from first to last; the faces then look away from the axis, and
        towards it where `out` is false.
        """
        count, around = rings.shape
        u = np.linspace(*columns, around + 1)
        uv = np.stack(np.broadcast_arrays(u, np.asarray(rows, float)[:, None]), -1).reshape(-1, 2)
        k, i = (a.ravel() for a in np.meshgrid(np.arange(count - 1), np.arange(around), indexing="ij"))
        j = (i + 1) % around
        a, b, c, d = rings[k, i], rings[k, j], rings[k + 1, j], rings[k + 1, i]
        step = around + 1
        p, q, r, s = k * step + i, k * step + i + 1, (k + 1) * step + i + 1, (k + 1) * step + i
        self._add(np.stack([a, b, c, a, c, d], 1).reshape(-1, 3), np.stack([p, q, r, p, r, s], 1).reshape(-1, 3), uv, out)

    def fan(self, ring: np.ndarray, pole: int, uv: np.ndarray, uv_pole: Sequence[float], out: bool = True) -> None:
        """A ring (N,) closed by a vertex beyond it; `uv` (N + 1, 2) of the ring, its first vertex twice, and of the pole."""
        i = np.arange(len(ring))
        faces = np.stack([ring, np.roll(ring, -1), np.full(len(ring), pole)], 1)
        corners = np.stack([i, i + 1, np.full(len(ring), len(uv))], 1)
        self._add(faces, corners, np.concatenate([uv, [uv_pole]]), out)

    def strip(self, first: np.ndarray, second: np.ndarray, uv_first: np.ndarray, uv_second: np.ndarray) -> None:
        """Two rings (N,) joined, each with its own (N + 1, 2) texture coordinates; see `tube`."""
        i, step = np.arange(len(first)), len(first) + 1
        j = np.roll(i, -1)
        faces = np.stack([first[i], first[j], second[j], first[i], second[j], second[i]], 1).reshape(-1, 3)
        corners = np.stack([i, i + 1, i + 1 + step, i, i + 1 + step, i + step], 1).reshape(-1, 3)
        self._add(faces, corners, np.concatenate([uv_first, uv_second]), True)

    def polygon(self, ring: np.ndarray, uv: np.ndarray) -> None:
        """A convex ring (N,) closed by itself, with (N, 2) texture coordinates."""
        i = np.arange(1, len(ring) - 1)
        corners = np.stack([np.zeros(len(i), int), i, i + 1], 1)
        self._add(ring[corners], corners, uv, True)

    def _add(self, faces: np.ndarray, uv_faces: np.ndarray, uv: np.ndarray, out: bool) -> None:
        order = slice(None, None, -1) if out else slice(None)
        self._faces.append(faces[:, order])
        self._uv_faces.append(uv_faces[:, order] + self._rows)
        self._uv.append(uv)
        self._rows += len(uv)

    def layout(self) -> Layout:
        """All that was added."""
        return Layout(
            np.concatenate(self._faces).astype(np.int32), np.concatenate(self._uv), np.concatenate(self._uv_faces).astype(np.int32)
        )


def dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., 3) and (..., 3) -> (...) dot products; sums over so short an axis are what numpy is slow at."""
    return np.asarray(a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2])


def loop_uv(count: int, v: float, columns: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """(count + 1, 2) texture coordinates of a ring whose first vertex comes twice."""
    return np.stack([np.linspace(*columns, count + 1), np.full(count + 1, v)], 1)


def disc_uv(count: int, centre: tuple[float, float], radius: tuple[float, float], turn: float = 0.0) -> np.ndarray:
    """(count + 1, 2) texture coordinates of a ring as a circle in the texture."""
    angle = 2 * np.pi * (np.arange(count + 1) / count) + turn
    return np.stack([centre[0] + radius[0] * np.cos(angle), centre[1] + radius[1] * np.sin(angle)], 1)


@dataclass(frozen=True, eq=False)
class Sections:
    """The forearm's surface at M places of B forearms, at N equal steps of the angle from the palm's side to the thumb's."""

    points: np.ndarray  # (B, M, N, 3) on the surface
    out: np.ndarray  # (B, M, N, 3) unit vectors away from the axis
    radius: np.ndarray  # (B, M, N) distance from the axis [m]
    centre: np.ndarray  # (B, M, 3) of the axis
    axis: np.ndarray  # (B, M, 3) its direction, towards the elbow
    palm: np.ndarray  # (B, M, 3) unit vector to the palm's side, across the axis
    thumb: np.ndarray  # (B, M, 3) to the thumb's


class ArmSections:
    """Finds sections of one model's forearms with a fixed number of points around."""

    def __init__(self, arm: Arm, around: int) -> None:
        self._arm = arm
        start = arm.angle / (2 * np.pi)
        turn = np.sign(start[1] - start[0])
        u = np.append(start, start[0] + turn) * turn
        target = u[0] + (np.arange(around) / around * turn - u[0]) % 1.0
        at = np.clip(np.searchsorted(u, target, side="right") - 1, 0, len(start) - 1)
        self._before, self._after = at, (at + 1) % len(start)
        self._share = ((target - u[at]) / (u[at + 1] - u[at]))[:, None]

    def at(self, posed: PosedArms, places: np.ndarray) -> Sections:
        """(B, M) places [m] between rim (0) and the last ring; others are moved to the nearest end. In the precision of `posed`."""
        arm, batch = self._arm, len(posed.vertices)
        around, rim = len(arm.angle), len(arm.rim)
        edge = np.matmul(arm.outline, posed.vertices[:, :rim]).astype(posed.vertices.dtype)[:, None]
        rings = np.concatenate([edge, posed.vertices[:, rim:-1].reshape(batch, -1, around, 3)], 1)
        weight = self._share.astype(rings.dtype)
        rings = rings[:, :, self._before] * (1 - weight) + rings[:, :, self._after] * weight
        stops = np.concatenate([[0.0], posed.places])
        at = np.clip(np.searchsorted(stops, places, side="right") - 1, 0, len(stops) - 2)
        share = np.clip((places - stops[at]) / (stops[at + 1] - stops[at]), 0, 1)[..., None].astype(rings.dtype)
        rows = np.arange(batch)[:, None]

        def between(values: np.ndarray) -> np.ndarray:
            weight = share.reshape(share.shape[:2] + (1,) * (values.ndim - 2))
            return values[rows, at] * (1 - weight) + values[rows, at + 1] * weight

        points = between(rings)
        first = edge.mean(2)
        centre = between(np.concatenate([first, posed.centre], 1))
        frame = between(np.concatenate([posed.frame[:, :1], posed.frame], 1))
        frame /= np.sqrt((frame * frame).sum(-2, keepdims=True))
        axis = np.ascontiguousarray(frame[..., 0])
        away = points - centre[:, :, None]
        away -= dots(away, axis[:, :, None])[..., None] * axis[:, :, None]
        radius = np.sqrt(dots(away, away))
        return Sections(points, away / radius[..., None], radius, centre, axis, -frame[..., 1], frame[..., 2])
