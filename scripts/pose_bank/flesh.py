"""How deep the flesh of a posed hand runs into itself: each finger against the other fingers and the palm."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from handsynth.core.conventions import FINGER_JOINTS
from handsynth.core.hand import HandModel
from handsynth.core.mesh import face_normals

WEB_M = 0.014
"""Skin nearer than this along the surface to another part belongs to the web or crease between them, and may touch it [m]."""

CREASE_M = 0.026
"""The same for parts of one finger and its root in the palm, where folding skin touches itself [m]."""

REACH_M = 0.012
"""Farther from a part's surface than this nothing can be inside it: more than a finger is thick to its bone [m]."""


ALIGNED = 0.7
"""A point inside a closed surface lies straight below the nearest point; parts are open shells, and this cosine tells."""

DOUBT_M = 0.002
"""A point so little above the tangent plane of the nearest vertex may still lie inside a nearby triangle [m]."""


@dataclass(frozen=True, eq=False)
class Overlap:
    """K points that lie inside another part."""

    point: np.ndarray  # (K,) row of the sampled points that is inside
    other: np.ndarray  # (K, 3) vertices of the triangle that is nearest on the other part
    mix: np.ndarray  # (K, 3) barycentric coordinates of the nearest point
    normal: np.ndarray  # (K, 3) outward unit normal there
    depth: np.ndarray  # (K,) distance to the surface [m]
    palm: np.ndarray  # (K,) bool: one of the two parts is the palm, or both are of one finger


class Flesh:
    """The parts of a hand (palm with the ball of the thumb, fingers, first phalanges), and which skin must stay out of which."""

    def __init__(self, model: HandModel) -> None:
        """Precomputes the parts, the distances along the flat hand's skin, and the points that are tested."""
        faces, num_v = model.faces, model.num_vertices
        self.faces = faces
        owner = np.zeros(model.num_joints, int)  # 0 palm, 1.. finger
        rank = np.zeros(model.num_joints, int)  # place in the finger
        for k, members in enumerate(FINGER_JOINTS.values(), 1):
            owner[list(members)] = k
            rank[list(members)] = (1, 2, 3)
        owner[FINGER_JOINTS["thumb"][0]] = 0  # the ball of the thumb is soft, and a part of the palm
        part = owner[model.parts]
        rows, cols = np.repeat(np.arange(len(faces)), 3), faces.ravel()
        self.around = scipy.sparse.csr_matrix((np.ones(len(rows)), (cols, rows)), shape=(num_v, len(faces)))
        # Tested points: vertices and centres of faces, each a mix of three vertices.
        self.corners = np.concatenate([np.repeat(np.arange(num_v)[:, None], 3, 1), faces])
        joint = np.concatenate([model.weights.argmax(1), model.parts])
        self.point_owner, point_rank = owner[joint], rank[joint]

        self.bodies = [np.flatnonzero(part == k) for k in range(6)]
        self.bodies += [np.flatnonzero((part == k) & (rank[model.parts] == 1)) for k in range(1, 6)]
        self.bodies = [b for b in self.bodies if len(b)]  # the thumb's first bone lies in the palm
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        length = np.linalg.norm(model.v_template[edges[:, 0]] - model.v_template[edges[:, 1]], axis=1)
        graph = scipy.sparse.csr_matrix((length, edges.T), shape=(num_v, num_v))
        self.body_vertices, self.tested, self.tables, self.rims = [], [], [], []
        for b, body in enumerate(self.bodies):
            own = np.unique(faces[body])
            skin = dijkstra(graph, directed=False, indices=own, min_only=True)[self.corners].mean(1)
            k = b if b < 6 else b - 5
            same = self.point_owner == k
            if b == 0:
                mask = (self.point_owner > 0) & (skin > CREASE_M)
            elif b < 6:
                mask = ~same & (self.point_owner > 0) & (skin > WEB_M)
            else:
                mask = same & (point_rank == 3) & (skin > CREASE_M / 2)
            self.body_vertices.append(own)
            self.tested.append(np.flatnonzero(mask))
            self.tables.append(_incident_faces(faces, body, num_v))
            self.rims.append(_rim(faces[body], num_v))

    def points(self, vertices: np.ndarray) -> np.ndarray:
        """(V, 3) -> (P, 3) the tested points."""
        return np.concatenate([vertices, vertices[self.faces].mean(1)])

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """(V, 3) unit normals."""
        n = self.around @ face_normals(vertices, self.faces)
        return n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-12)

    def overlaps(self, vertices: np.ndarray, rough: bool = False) -> Overlap:
        """(V, 3) posed vertices [m] -> the points that lie inside another part.

        `rough` tests vertices only, against the tangent plane of the nearest vertex: quick enough for every step of a solver.
        """
        points, normals = (vertices if rough else self.points(vertices)), self.normals(vertices)
        found: list[tuple] = []
        for b, own in enumerate(self.body_vertices):
            surface = vertices[own]
            rows = self.tested[b]
            rows = rows[: np.searchsorted(rows, len(points))]
            p = points[rows]
            rows = rows[((p > surface.min(0)) & (p < surface.max(0))).all(1)]
            if not len(rows):
                continue
            distance, first = cKDTree(surface).query(points[rows])
            first = own[first]
            height = ((points[rows] - vertices[first]) * normals[first]).sum(1)
            # At an open rim the nearest surface tells nothing about inside and outside.
            keep = (distance < REACH_M) & ~self.rims[b][first] & (height < (-ALIGNED * distance if rough else DOUBT_M))
            rows, first, height = rows[keep], first[keep], height[keep]
            if rough:
                corner, mix = np.repeat(first[:, None], 3, 1), np.full((len(rows), 3), 1 / 3)
                normal, depth = normals[first], -height
            else:
                corner, mix, normal, depth = self._nearest(vertices, normals, points[rows], self.tables[b][first])
                inside = depth > 0
                rows, corner, mix, normal, depth = rows[inside], corner[inside], mix[inside], normal[inside], depth[inside]
            found.append((rows, corner, mix, normal, depth, np.full(len(rows), b == 0 or b > 5)))
        if not found:
            empty = np.zeros((0, 3))
            return Overlap(np.zeros(0, int), np.zeros((0, 3), int), empty, empty, np.zeros(0), np.zeros(0, bool))
        return Overlap(*(np.concatenate(column) for column in zip(*found, strict=True)))

    def _nearest(self, vertices: np.ndarray, normals: np.ndarray, p: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, ...]:
        """(K, 3) points, (K, N) triangles (-1 for none) -> corners, barycentric mix, normal and depth of the nearest point."""
        corners = self.faces[triangles]
        mix = _closest(p[:, None], *(vertices[corners[..., c]] for c in range(3)))
        at = (mix[..., None] * vertices[corners]).sum(-2)
        distance = np.where(triangles < 0, np.inf, np.linalg.norm(p[:, None] - at, axis=-1))
        pick = np.arange(len(p)), distance.argmin(1)
        corner, weight = corners[pick], mix[pick]
        normal = (weight[..., None] * normals[corner]).sum(1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        depth = distance[pick]
        return corner, weight, normal, np.where(((p - at[pick]) * normal).sum(1) < -ALIGNED * depth, depth, 0.0)


def _incident_faces(faces: np.ndarray, body: np.ndarray, num_v: int) -> np.ndarray:
    """(V, N) the body's faces around each vertex, padded with -1."""
    around: list[list[int]] = [[] for _ in range(num_v)]
    for f in body:
        for v in faces[f]:
            around[v].append(int(f))
    table = np.full((num_v, max(map(len, around))), -1)
    for v, row in enumerate(around):
        table[v, : len(row)] = row
    return table


def _rim(faces: np.ndarray, num_v: int) -> np.ndarray:
    """(V,) bool: vertices on the open edges of a part."""
    directed = {(int(a), int(b)) for f in faces for a, b in ((f[0], f[1]), (f[1], f[2]), (f[2], f[0]))}
    out = np.zeros(num_v, bool)
    for a, b in directed:
        if (b, a) not in directed:
            out[[a, b]] = True
    return out


def _closest(p: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Barycentric coordinates of the point of triangle abc nearest to p (Ericson, Real-Time Collision Detection, 5.1.5)."""
    ab, ac, bc = b - a, c - a, c - b
    d1, d2 = (ab * (p - a)).sum(-1), (ac * (p - a)).sum(-1)
    d3, d4 = (ab * (p - b)).sum(-1), (ac * (p - b)).sum(-1)
    d5, d6 = (ab * (p - c)).sum(-1), (ac * (p - c)).sum(-1)
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    total = np.maximum(va + vb + vc, 1e-18)
    inner = np.stack([va, vb, vc], -1) / total[..., None]
    # Outside the triangle's prism the nearest point is on an edge: the best of three clamped feet.
    zero = np.zeros_like(d1)
    feet = []
    for foot, (i, j, k) in (
        ((p - a, ab), (0, 1, 2)), ((p - a, ac), (0, 2, 1)), ((p - b, bc), (1, 2, 0)),
    ):  # fmt: skip
        t = np.clip((foot[0] * foot[1]).sum(-1) / np.maximum((foot[1] ** 2).sum(-1), 1e-18), 0, 1)
        mix = [zero] * 3
        mix[i], mix[j], mix[k] = 1 - t, t, zero
        feet.append(np.stack(mix, -1))
    corners = np.stack([a, b, c], -2)
    away = [(((m[..., None] * corners).sum(-2) - p) ** 2).sum(-1) for m in feet]
    edge = np.take_along_axis(np.stack(feet, 0), np.argmin(away, 0)[None, ..., None], 0)[0]
    return np.where((np.stack([va, vb, vc], -1) >= 0).all(-1, keepdims=True), inner, edge)
