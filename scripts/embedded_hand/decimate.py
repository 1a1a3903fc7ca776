"""Step 3: thin the source mesh to MANO's counts by quadric edge collapses that keep seams, tips and bending places.

Garland and Heckbert's quadrics (1997), summed over several poses of the same hand so that what matters when a finger is
bent costs as much as what matters flat. A collapse moves one vertex onto another, so that every array of the source
(shapes, weights) carries over by plain indexing.
"""

import heapq
from dataclasses import dataclass

import numpy as np

SHORT_EDGE = 2e-3
"""Weight of an edge's squared length against its squared distance from the planes: keeps triangles even on flat ground."""

LEAST_COSINE = 0.3
"""A triangle may turn by no more than this in any collapse (cosine), in any pose."""

LEAST_SHAPE = 0.12
"""Least area over longest edge squared, relative to an equilateral triangle, that a collapse may make."""


WALL = 0.3
"""Weight of the walls that stand on seams and rim: less than one, so that the seam comes out smooth rather than exact."""

JOINT_RADIUS_M = 0.010
"""Errors weigh up to five times as much this near to a joint: fingers bend there."""


@dataclass(frozen=True)
class Thinned:
    """The smaller mesh: rows of the source that stay, and faces between them."""

    kept: np.ndarray  # (V,) rows of the source
    faces: np.ndarray  # (F, 3) rows of `kept`


def importance(vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N,) how much each source vertex' error counts: more at joints, less on the palm and the back, which stay rigid."""
    distance = np.linalg.norm(vertices[:, None] - joints[None, 1:], axis=2).min(1)
    return (1 + 4 * np.exp(-((distance / JOINT_RADIUS_M) ** 2))) * np.where(weights[:, 0] > 0.8, 0.6, 1.0)


def thin_mesh(
    poses: np.ndarray,
    faces: np.ndarray,
    weight: np.ndarray,
    path: np.ndarray,
    rim: np.ndarray,
    locked: np.ndarray,
    rim_count: int,
    count: int,
) -> Thinned:
    """Collapses edges until `count` vertices and `rim_count` of them on the rim remain.

    Args:
        poses: (P, N, 3) the same mesh in several poses [m].
        faces: (M, 3).
        weight: (N,) factor on each vertex' error.
        path: (L,) vertices along a curve (the seam) that must survive as a curve; its vertices slide along it only.
        rim: (R,) vertices around the opening, in order.
        locked: vertices that stay.
        rim_count, count: how many vertices remain on the rim, and in all.
    """
    mesh = _Mesh(poses, faces, weight.copy(), np.stack([path[:-1], path[1:]], 1), rim, locked)
    mesh.collapse_until(lambda: len(mesh.rim) <= rim_count, on_rim=True)
    mesh.collapse_until(lambda: len(mesh.alive) <= count, on_rim=False)
    kept = np.array(sorted(mesh.alive))
    rows = np.full(poses.shape[1], -1)
    rows[kept] = np.arange(len(kept))
    left = np.array(list(mesh.faces.values()))
    return Thinned(kept, rows[left])


class _Mesh:
    """Faces that change under collapses, with the costs of those to come in a heap."""

    def __init__(self, poses, faces, importance, lines, rim, locked):
        self.points = poses.transpose(1, 0, 2)  # (N, P, 3)
        self.faces = {i: (int(a), int(b), int(c)) for i, (a, b, c) in enumerate(faces)}
        self.importance = importance
        self.rim = {int(v) for v in rim}
        self.rim_edges = {frozenset((int(a), int(b))) for a, b in zip(rim, np.roll(rim, -1), strict=True)}
        self.line_edges = {frozenset((int(a), int(b))) for a, b in lines}
        ends = [int(v) for e in lines for v in e]
        self.on_line = set(ends)
        # Where curves end or meet, and where requested, nothing moves.
        self.locked = {int(v) for v in locked} | {v for v in self.on_line if ends.count(v) != 2}
        self.around: list[set[int]] = [set() for _ in range(len(self.points))]
        for i, f in self.faces.items():
            for v in f:
                self.around[v].add(i)
        self.alive = {v for v in range(len(self.points)) if self.around[v]}
        self.quadrics = self._first_quadrics()
        self.version = [0] * len(self.points)

    def _first_quadrics(self):
        """(N, P, 4, 4): squared distance to the planes around each vertex, and to walls standing on lines and rim."""
        quadrics = np.zeros((*self.points.shape[:2], 4, 4))
        for f in self.faces.values():
            a, b, c = (self.points[v] for v in f)
            normal = np.cross(b - a, c - a)
            area = np.linalg.norm(normal, axis=1, keepdims=True)
            plane = _plane(normal / area, a)
            for v in f:
                quadrics[v] += area[..., None] * plane
            for k in range(3):
                u, v = f[k], f[(k + 1) % 3]
                if frozenset((u, v)) in self.line_edges or frozenset((u, v)) in self.rim_edges:
                    edge = self.points[v] - self.points[u]
                    wall = np.cross(edge, normal / area)
                    length = np.linalg.norm(wall, axis=1, keepdims=True)
                    for w in (u, v):
                        quadrics[w] += WALL * (length**2)[..., None] * _plane(wall / length, self.points[u])
        return quadrics

    def collapse_until(self, done, on_rim: bool) -> None:
        heap: list[tuple[float, int, int, tuple[int, int]]] = []
        for u in self.alive:
            self._push(heap, u, on_rim)
        while not done():
            if not heap:
                raise RuntimeError("no collapse is left that keeps the mesh whole")
            _, u, v, seen = heapq.heappop(heap)
            if seen != (self.version[u], self.version[v]) or u not in self.alive or v not in self.alive or not self._allowed(u, v):
                continue
            for w in self._collapse(u, v):
                self.version[w] += 1
            for w in self._neighbours(v) | {v}:
                self._push(heap, w, on_rim)
                for x in self._neighbours(w):
                    self._push(heap, x, on_rim, only=w)

    def _push(self, heap, u, on_rim, only=None):
        for v in [only] if only is not None else self._neighbours(u):
            if self._movable(u, v, on_rim):
                heapq.heappush(heap, (self._cost(u, v), u, v, (self.version[u], self.version[v])))

    def _movable(self, u, v, on_rim):
        if u in self.locked or (u in self.rim) != on_rim:
            return False
        edge = frozenset((u, v))
        if on_rim:
            return edge in self.rim_edges and v in self.rim
        return u not in self.on_line or edge in self.line_edges

    def _cost(self, u, v):
        p = np.concatenate([self.points[v], np.ones((len(self.points[v]), 1))], 1)
        error = np.einsum("pa,pab,pb->", p, self.quadrics[u] + self.quadrics[v], p) / len(p)
        length = np.sum((self.points[u, 0] - self.points[v, 0]) ** 2)
        return float(self.importance[u] * (error + SHORT_EDGE * length * length))

    def _neighbours(self, u):
        return {w for i in self.around[u] for w in self.faces[i]} - {u}

    def _allowed(self, u, v):
        shared = self.around[u] & self.around[v]
        if len(self._neighbours(u) & self._neighbours(v)) != len(shared):
            return False  # the link condition: otherwise the surface would pinch
        if len(self._neighbours(u) | self._neighbours(v)) - 2 > 10:
            return False  # stars shade badly
        for i in self.around[u] - shared:
            f = self.faces[i]
            moved = tuple(v if w == u else w for w in f)
            if frozenset(moved) & self.on_line == frozenset(moved) and u not in self.on_line:
                # A face with all corners on seams would bridge them and pinch an island shut.
                return False
            for p in range(self.points.shape[1]):
                before, after = _normal(self.points[:, p], f), _normal(self.points[:, p], moved)
                size = np.linalg.norm(after)
                if before @ after < LEAST_COSINE * np.linalg.norm(before) * size:
                    return False
                if p == 0:
                    corner = self.points[list(moved), 0]
                    longest = max(np.sum((corner - np.roll(corner, 1, 0)) ** 2, 1))
                    if size < LEAST_SHAPE * longest * 0.866:
                        return False
        return True

    def _collapse(self, u, v):
        touched = self._neighbours(u) | {u, v}
        for edges in (self.line_edges, self.rim_edges):
            for edge in [e for e in edges if u in e]:
                edges.discard(edge)
                (other,) = edge - {u}
                if other != v:
                    edges.add(frozenset((v, other)))
        for i in list(self.around[u]):
            f = self.faces[i]
            for w in f:
                self.around[w].discard(i)
            if v in f:
                del self.faces[i]
            else:
                a, b, c = (v if w == u else w for w in f)
                self.faces[i] = (a, b, c)
                for w in self.faces[i]:
                    self.around[w].add(i)
        self.quadrics[v] += self.quadrics[u]
        self.importance[v] = max(self.importance[u], self.importance[v]) if u in self.on_line else self.importance[v]
        self.alive.discard(u)
        self.rim.discard(u)
        self.on_line.discard(u)
        return touched


def _plane(normal, point):
    """(P, 3) unit normals and points -> (P, 4, 4) quadrics of squared distance."""
    plane = np.concatenate([normal, -(normal * point).sum(1, keepdims=True)], 1)
    return plane[:, :, None] * plane[:, None, :]


def _normal(points, face):
    a, b, c = points[face[0]], points[face[1]], points[face[2]]
    return np.cross(b - a, c - a)
