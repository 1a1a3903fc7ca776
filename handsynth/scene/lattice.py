"""What meshes cover, and how near they are, at the centres of every k-th pixel of every k-th row: many images at once."""

from functools import lru_cache

import numpy as np

_FAR = 1 << 14  # no image is so large [px]


@lru_cache(maxsize=8)
def _edges(faces: bytes) -> np.ndarray:
    """(E, 4) first and last vertex of each edge, the face that runs along it and the one that runs against it; -1 for none.

    `faces` are those of (F, 3) int32.
    """
    triangles = np.frombuffer(faces, np.int32).reshape(-1, 3).tolist()
    edges: list[list[int]] = []
    waiting: dict[tuple[int, int], list[int]] = {}  # (first, last) -> edges that no face runs against yet
    for face, (a, b, c) in enumerate(triangles):
        for first, last in ((a, b), (b, c), (c, a)):
            if waiting.get((last, first)):
                edges[waiting[last, first].pop()][3] = face
            else:
                waiting.setdefault((first, last), []).append(len(edges))
                edges.append([first, last, face, -1])
    return np.array(edges, np.intp).reshape(-1, 4)


class _Fronts:
    """What is nearest at such pixels, of meshes before B cameras.

    In single precision, which is four decimals of a pixel; the reference is `front_at_pixels`.
    """

    _batch: int
    _count: int  # rows and columns of the lattice
    _x: np.ndarray  # of vertices, on the lattice: point (r, c) is at (c, r)
    _y: np.ndarray
    _nearness: np.ndarray  # 1 / depth
    _is_left: np.ndarray | None

    def _per_vertex(self, values: np.ndarray) -> np.ndarray:
        """(B,) of images -> of their vertices, in the shape of `_x` or as numpy broadcasts to it."""
        raise NotImplementedError

    def _corners(self, beside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the faces whose vertices' bits `beside` have none in common: (3, N) places of their corners in `_x`, and (N,) the
        images.
        """
        raise NotImplementedError

    def front(self, where: np.ndarray | None = None, farthest: np.ndarray | None = None) -> np.ndarray:
        """(B, N, N) the inverse depth of the nearest face that counts, 0 for none; with `where`, a mask, 0 elsewhere too, and with
        `farthest` (B,) [m] without faces that lie wholly beyond.
        """
        count, batch = self._count, self._batch
        # Left, top, right and bottom of what matters of each image.
        limits = np.tile(np.array([[0], [0], [count - 1], [count - 1]], np.float32), batch)
        if where is not None:
            for axis in (0, 1):
                holds = np.asarray(where.any(1 + axis))  # columns, or rows, with such a point
                limits[axis], limits[2 + axis] = holds.argmax(1), count - 1 - holds[:, ::-1].argmax(1)
            limits[2:, ~holds.any(1)] = -_FAR
        # Most faces lie wholly on one side of that.
        left, top, right, bottom = (self._per_vertex(values) for values in limits)
        beside = (self._x < left) | ((self._x > right).view(np.uint8) << 1)
        beside |= ((self._y < top).view(np.uint8) << 2) | ((self._y > bottom).view(np.uint8) << 3)
        if farthest is not None:
            beside |= (self._nearness < self._per_vertex((1 / farthest).astype(np.float32))).view(np.uint8) << 4
        corner, sample = self._corners(beside)
        x, y = np.take(self._x.ravel(), corner), np.take(self._y.ravel(), corner)
        area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])  # twice the areas
        counts = area != 0
        if self._is_left is not None:
            counts &= (area > 0) == self._is_left[sample]
        shown = np.flatnonzero(counts)
        x, y, corner = (np.take(values, shown, 1) for values in (x, y, corner))  # quicker than brackets, by far
        area, sample = np.take(area, shown), np.take(sample, shown)
        left, top = (np.ceil(np.minimum(np.minimum(a, b), c)) for a, b, c in (x, y))
        right, bottom = (np.floor(np.maximum(np.maximum(a, b), c)) for a, b, c in (x, y))
        least_x, least_y, most_x, most_y = np.take(limits, sample, 1)
        left, top, right, bottom = (
            np.minimum(np.maximum(a, b), c).astype(np.int32)  # of what lies outside, the last is before the first
            for a, b, c in (
                (left, least_x, most_x + 1),
                (top, least_y, most_y + 1),
                (right, least_x - 1, most_x),
                (bottom, least_y - 1, most_y),
            )
        )
        drawn = np.flatnonzero((right >= left) & (bottom >= top))
        x, y, corner = (np.take(values, drawn, 1) for values in (x, y, corner))
        sample, area, left, top, right, bottom = (np.take(values, drawn) for values in (sample, area, left, top, right, bottom))
        # Shares of the corners at a point (c, r) from the bounds' first, and the inverse depth that follows: linear in both.
        x, y = x - left.astype(np.float32), y - top.astype(np.float32)
        (xa, xb), (ya, yb) = ((values[[1, 2, 0]], values[[2, 0, 1]]) for values in (x, y))
        nearness = np.take(self._nearness.ravel(), corner)
        linear = []
        for shares in (xa * yb - xb * ya, ya - yb, xb - xa):
            shares /= area
            linear.append((*shares, (shares * nearness).sum(0)))
        # A row for each of these faces and each point of the lattice in its bounds.
        width, height = right - left + 1, bottom - top + 1
        number = width * height
        own = np.repeat(np.arange(len(number), dtype=np.int32), number)
        before = np.cumsum(number, dtype=np.int32) - number
        row, column = np.divmod(np.arange(len(own), dtype=np.int32) - np.take(before, own), np.take(width, own))
        first = (sample * count + top) * count + left
        cell = np.take(first, own) + (row * np.int32(count) + column)
        if where is not None:
            matters = np.flatnonzero(np.take(where.ravel(), cell))
            own, row, column, cell = (np.take(values, matters) for values in (own, row, column, cell))
        row, column = row.astype(np.float32), column.astype(np.float32)
        # Most points of the bounds lie outside the face: one share after the other leaves fewer for the next.
        for start, along, down in zip(*(shares[:3] for shares in linear), strict=True):
            inside = np.flatnonzero(_linear(start, along, down, own, column, row) >= 0)
            own, row, column, cell = (np.take(values, inside) for values in (own, row, column, cell))
        start, along, down = (shares[3] for shares in linear)
        front = np.zeros(batch * count * count, np.float32)
        np.maximum.at(front, cell, _linear(start, along, down, own, column, row))
        return front.reshape(batch, count, count)


class Lattice(_Fronts):
    """Meshes of equal faces, each before a camera of its own.

    Arrays have a row for each vertex or face, and the batch along it: long rows are quick.
    """

    def __init__(
        self, vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, size: int, step: int, is_left: np.ndarray | None = None
    ) -> None:
        """Of (B, V, 3) vertices in the camera frame [m], (F, 3) faces, (B, 3, 3) cameras of images of a side [px].

        With `is_left` (B,) bool, faces count that show the camera their outside, without it all.
        """
        self._faces, self._count, self._batch = faces, len(range(step // 2, size, step)), len(vertices)
        self._x, self._y, self._nearness = _on_lattice(np.ascontiguousarray(vertices.T), K.transpose(1, 2, 0), step)  # (V, B)
        self._is_left = is_left

    def _per_vertex(self, values: np.ndarray) -> np.ndarray:
        return values

    def _corners(self, beside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b, c = (np.take(beside, column, 0) for column in self._faces.T)
        some = np.flatnonzero((a & b & c) == 0).astype(np.int32)  # of which divisions take half the time
        face, sample = np.divmod(some, np.int32(self._batch))
        return np.take(self._faces.T.astype(np.intp) * self._batch, face, 1) + sample, sample

    def _shown(self) -> np.ndarray:
        """(F, B) which faces count."""
        (xa, xb, xc), (ya, yb, yc) = ([np.take(values, self._faces[:, k], 0) for k in range(3)] for values in (self._x, self._y))
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)  # twice the areas
        if self._is_left is None:
            return area != 0
        # y is down: what is wound counter-clockwise has a negative area
        return ((area > 0) == self._is_left) & (area != 0)

    def covered(self) -> np.ndarray:
        """(B, N, N) bool: points before which a face that counts lies.

        Edges between two such faces need no look: the others wind around a point as often as such faces cover it.
        """
        edges = _edges(np.ascontiguousarray(self._faces, np.int32).tobytes())
        shown = np.concatenate([self._shown(), np.zeros((1, self._x.shape[1]), bool)])  # row -1: no face
        along = shown[edges[:, 2]]
        some = np.flatnonzero(along != shown[edges[:, 3]])
        edge, batch = np.divmod(some, shown.shape[1])
        turn = np.where(along.ravel()[some], 1, -1).astype(np.int8)
        (xa, ya), (xb, yb) = (
            (self._x[rows, batch].astype(np.float64), self._y[rows, batch].astype(np.float64)) for rows in edges[edge, :2].T
        )
        # Rows that an edge crosses hold their upper end, not their lower one, so that each is crossed as often down as up.
        first, last = np.ceil(np.minimum(ya, yb)), np.ceil(np.maximum(ya, yb))
        first, last = (np.clip(value, 0, self._count).astype(np.intp) for value in (first, last))
        turn *= np.where(yb > ya, 1, -1).astype(np.int8)
        number = last - first
        own = np.repeat(np.arange(len(edge)), number)
        row = np.arange(len(own)) - np.repeat(np.cumsum(number) - number - first, number)
        x = xa[own] + (row - ya[own]) * ((xb - xa) / np.where(number > 0, yb - ya, 1))[own]
        column = np.clip(np.ceil(x), 0, self._count).astype(np.intp)
        steps = np.zeros((shown.shape[1], self._count, self._count + 1), np.int8)
        np.add.at(steps, (batch[own], row, column), turn[own])
        return np.cumsum(steps[..., :-1], 2, dtype=np.int8) != 0


class MixedLattice(_Fronts):
    """Meshes of any faces, several or none before each camera, all as one."""

    def __init__(
        self,
        vertices: np.ndarray,
        faces: np.ndarray,
        image: np.ndarray,
        K: np.ndarray,
        size: int,
        step: int,
        is_left: np.ndarray | None = None,
    ) -> None:
        """Of (V, 3) vertices [m], (F, 3) faces and the image (V,) that each vertex is in; else as Lattice."""
        self._faces, self._count, self._batch = faces, len(range(step // 2, size, step)), len(K)
        self._image = image
        self._x, self._y, self._nearness = _on_lattice(np.ascontiguousarray(vertices.T), K.transpose(1, 2, 0)[..., image], step)
        self._is_left = is_left

    def _per_vertex(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values[self._image])

    def _corners(self, beside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b, c = (np.take(beside, column) for column in self._faces.T)
        corners = np.take(self._faces.T.astype(np.intp), np.flatnonzero((a & b & c) == 0), 1)
        return corners, np.take(self._image, corners[0])


def _linear(
    start: np.ndarray, along: np.ndarray, down: np.ndarray, own: np.ndarray, column: np.ndarray, row: np.ndarray
) -> np.ndarray:
    """(N,) what changes linearly over faces, for each of N points of them: `own` are their faces."""
    found = np.take(start, own)
    found += np.take(along, own) * column
    found += np.take(down, own) * row
    return found


def _on_lattice(points: np.ndarray, K: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(3, ...) points [m], and (3, 3, ...) K of their cameras, -> places on the lattice along x and y, and 1 / depth; float32."""
    X, Y, z = points
    z = np.maximum(z, 1e-3)
    x, y = (
        np.clip(((K[k, 0] * X + K[k, 1] * Y) / z + K[k, 2] - 0.5 - step // 2) / step, -_FAR, _FAR).astype(np.float32)
        for k in (0, 1)
    )
    return x, y, (1 / z).astype(np.float32)
