"""A hand cut into rigid links: for each joint its share of the skin as a closed mesh, and capsules.

A skinned hand has no borders between its bones. They are laid where the joints of a chain change over: where a joint, with all
joints after it, holds half of the skinning weight. (The largest single weight would leave the thumb's metacarpal almost nothing:
its weight fades into the palm's on one side and the next bone's on the other.)
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
import trimesh

from handsynth.core.hand import HandModel

_CLEAR = 0.02  # vertices this near to a border (weight) are moved beyond it, so that cutting leaves no slivers
_RINGS = 3  # of a dome
_FIRM = 0.2  # share of the skin that a capsule may leave inside: flesh gives way when pressed
# Radius of a capsule as a share of the one with that share of the skin inside. Neighbouring fingers press each other flat: with
# this core every gesture of the embedded bank is reached to 3 degrees; with the whole radius fists miss by 15.
_CORE = 0.68
_SLENDER = 0.3  # largest radius of a capsule, as a share of its bone's length


class Piece(NamedTuple):
    """A link's part of the skin, open where it was cut."""

    vertices: np.ndarray  # (N, 3) [m]
    faces: np.ndarray  # (F, 3)
    cut: np.ndarray  # (N,) whether a vertex was made by cutting
    uv: np.ndarray | None = None  # (N, 2) texture coordinates, v up; vertices on seams are there once for each side


class Capsule(NamedTuple):
    """All points within `radius` of a segment [m]."""

    start: np.ndarray  # (3,)
    end: np.ndarray  # (3,)
    radius: float


def chain_weights(hand: HandModel) -> np.ndarray:
    """(V, J) share of each vertex's skinning weight that a joint and all joints after it hold."""
    share = np.array(hand.weights)
    for j in range(hand.num_joints - 1, 0, -1):
        share[:, hand.parents[j]] += share[:, j]
    return share


def cut_links(hand: HandModel, vertices: np.ndarray) -> list[Piece]:
    """(V, 3) vertices of the flat hand -> the piece of each joint. Together they are the hand's surface, without overlap."""
    return _cut(hand, np.concatenate([vertices, _levels(hand)], 1), hand.faces)


def cut_textured(hand: HandModel, vertices: np.ndarray) -> list[Piece]:
    """As `cut_links`, with texture coordinates. The hand must have them (`uv_faces`)."""
    corners = np.stack([hand.faces, hand.uv_faces], -1).reshape(-1, 2)
    wedges, faces = np.unique(corners, axis=0, return_inverse=True)
    whole = np.concatenate([vertices, _levels(hand)], 1)[wedges[:, 0]]
    return _cut(hand, np.concatenate([whole, hand.uv[wedges[:, 1]]], 1), faces.reshape(-1, 3))


def _levels(hand: HandModel) -> np.ndarray:
    """(V, J) fields that are positive on a joint's own side of its border."""
    share = chain_weights(hand) - 0.5
    return np.where(np.abs(share) < _CLEAR, _CLEAR, share)


def _cut(hand: HandModel, whole: np.ndarray, faces: np.ndarray) -> list[Piece]:
    """(N, 3 + J [+ 2]) places, levels and texture coordinates of vertices -> the piece of each joint."""
    pieces = []
    for j in range(hand.num_joints):
        points, left = _clip(whole, faces, whole[:, 3 + j])
        for child in np.flatnonzero(hand.parents == j):
            points, left = _clip(points, left, -points[:, 3 + child])
        used, left = np.unique(left, return_inverse=True)
        uv = points[used, 3 + hand.num_joints :] if whole.shape[1] > 3 + hand.num_joints else None
        pieces.append(Piece(points[used, :3], left.reshape(-1, 3), used >= len(whole), uv))
    return pieces


def _clip(points: np.ndarray, faces: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a surface where a field is positive, cut through the triangles.

    Args:
        points: (N, C) vertices with whatever belongs to them; new ones are appended, interpolated.
        faces: (F, 3).
        level: (N,) the field; linear on each face.
    """
    inside = level > 0
    made: dict[tuple[int, int], int] = {}
    added: list[np.ndarray] = []
    kept = [faces[inside[faces].all(1)]]
    for face in faces[inside[faces].any(1) & ~inside[faces].all(1)]:
        polygon: list[int] = []
        for a, b in zip(face.tolist(), np.roll(face, -1).tolist(), strict=True):
            if inside[a]:
                polygon.append(a)
            if inside[a] != inside[b]:
                low, high = min(a, b), max(a, b)
                if (low, high) not in made:
                    made[low, high] = len(points) + len(added)
                    added.append((points[low] * level[high] - points[high] * level[low]) / (level[high] - level[low]))
                polygon.append(made[low, high])
        kept.append(np.array([(polygon[0], polygon[k], polygon[k + 1]) for k in range(1, len(polygon) - 1)]))
    return np.concatenate([points, *(row[None] for row in added)]), np.concatenate(kept)


def closed_mesh(piece: Piece, domes: bool) -> trimesh.Trimesh:
    """A piece with its holes closed: by flat fans, or by domes where it was cut.

    The domes of two neighbours are balls about one middle, the joint's, so that the links reach into each other and a bent joint
    shows no gap. With flat fans the volumes of all pieces add up to the hand's.
    """
    points, triangles = [piece.vertices], [piece.faces]
    count = len(piece.vertices)
    for loop in _boundary_loops(piece.faces):
        rim = piece.vertices[loop]
        middle = rim.mean(0)
        following = np.roll(rim, -1, 0)
        outwards = -np.cross(rim - middle, following - middle).sum(0)
        outwards /= max(float(np.linalg.norm(outwards)), 1e-12)
        radius = np.linalg.norm(rim - middle, axis=1).min() if domes and piece.cut[loop].all() else 0.0
        ring = np.array(loop)
        for k in range(1, _RINGS if radius else 1):
            angle = k / _RINGS * np.pi / 2
            points.append(middle + np.cos(angle) * (rim - middle) + np.sin(angle) * radius * outwards)
            upper = count + np.arange(len(loop))
            a, b = np.roll(ring, -1), np.roll(upper, -1)
            triangles += [np.stack([a, ring, upper], 1), np.stack([a, upper, b], 1)]
            ring, count = upper, count + len(loop)
        points.append((middle + radius * outwards)[None])
        triangles.append(np.stack([np.roll(ring, -1), ring, np.full(len(loop), count)], 1))
        count += 1
    return trimesh.Trimesh(np.concatenate(points), np.concatenate(triangles), process=False)


def _boundary_loops(faces: np.ndarray) -> list[list[int]]:
    """Vertices around each hole, in the direction of the faces' own edges. Loops that touch in a vertex are parted there."""
    edges = {(int(f[k - 1]), int(f[k])) for f in faces for k in range(3)}
    following: dict[int, list[int]] = defaultdict(list)
    for a, b in sorted(edges):
        if (b, a) not in edges:
            following[a].append(b)
    loops = []
    for start in list(following):
        path = [start]
        while following[path[-1]]:
            vertex = following[path[-1]].pop()
            if vertex in path:  # as many edges leave a vertex as reach it, so that every walk comes back
                loops.append(path[path.index(vertex) :])
                path = path[: path.index(vertex)]
            path.append(vertex)
    return loops


def bone_capsule(points: np.ndarray, start: np.ndarray, end: np.ndarray, room: bool) -> Capsule:
    """The capsule along a bone that has most of `points`, (N, 3), outside or on it.

    Round ends of the whole radius would touch `start` and `end`; with `room` it stops a radius before the end, so that a next bone
    as thick may bend by a right angle without touching this one. (Simulators leave out contacts of neighbours, but not across a
    joint of several axes.)
    """
    length = float(np.linalg.norm(end - start))
    along = (end - start) / length
    radius = min(float(np.quantile(segment_distance(points, start, end), _FIRM)), _SLENDER * length)
    return Capsule(start + radius * along, end - (2 if room else 1) * radius * along, _CORE * radius)


def segment_distance(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(N, 3) -> (N,) distance from a segment."""
    along = end - start
    place = np.clip((points - start) @ along / (along @ along), 0.0, 1.0)
    return np.linalg.norm(points - start - place[:, None] * along, axis=1)
