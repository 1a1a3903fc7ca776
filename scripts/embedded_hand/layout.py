"""Step 4: the texture layout: the back and the palm of the hand unrolled, side by side in the unit square."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import factorized

from handsynth.core.conventions import FINGER_JOINTS
from handsynth.core.mesh import boundary_loop

ROUNDS = 150
"""Local-global rounds of the unrolling; it has solved long before."""


def unroll(
    points: np.ndarray,
    faces: np.ndarray,
    start: np.ndarray,
    pins: np.ndarray,
    goals: np.ndarray,
    pull: np.ndarray,
    rounds: int = ROUNDS,
) -> np.ndarray:
    """As-rigid-as-possible flattening (Liu et al. 2008) of one island.

    Args:
        points: (N, 3) island's vertices [m].
        faces: (M, 3).
        start: (N, 2) a first layout without flips [m].
        pins: (K,) vertices drawn towards `goals` (K, 2) with weights `pull` (K,), a vertex' own edges weighing about six.

    Returns:
        (N, 2) layout in metres.
    """
    corner = points[faces]
    x1 = np.linalg.norm(corner[:, 1] - corner[:, 0], axis=1)
    along = (corner[:, 1] - corner[:, 0]) / x1[:, None]
    third = corner[:, 2] - corner[:, 0]
    x2 = (third * along).sum(1)
    y2 = np.linalg.norm(third - x2[:, None] * along, axis=1)
    flat = np.zeros((len(faces), 3, 2))
    flat[:, 1, 0], flat[:, 2, 0], flat[:, 2, 1] = x1, x2, y2
    # cotangents of the angle opposite to each edge k -> k + 1
    cot = np.empty((len(faces), 3))
    for k in range(3):
        a, b = flat[:, k] - flat[:, (k + 2) % 3], flat[:, (k + 1) % 3] - flat[:, (k + 2) % 3]
        cot[:, k] = (a * b).sum(1) / np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    cot = np.clip(cot, 0.05, 10)
    n = len(points)
    i, j = faces.ravel(), np.roll(faces, -1, 1).ravel()
    w = cot.ravel()
    matrix = coo_matrix((np.r_[w, w, -w, -w], (np.r_[i, j, i, j], np.r_[i, j, j, i])), shape=(n, n)).tolil()
    for p, weight in zip(pins, pull, strict=True):
        matrix[p, p] += weight
    matrix[0, 0] += 1e-9
    solve = factorized(matrix.tocsc())
    edge_flat = np.roll(flat, -1, 1) - flat  # (M, 3, 2)
    layout = start.copy()
    for _ in range(rounds):
        edge_now = np.roll(layout[faces], -1, 1) - layout[faces]
        spread = np.einsum("mk,mka,mkb->mab", cot, edge_now, edge_flat)
        u, _, vt = np.linalg.svd(spread)
        u[:, :, 1] *= np.linalg.det(u @ vt)[:, None]
        want = (edge_flat @ np.swapaxes(u @ vt, 1, 2)) * cot[..., None]
        right = np.zeros((n, 2))
        np.add.at(right, i, -want.reshape(-1, 2))
        np.add.at(right, j, want.reshape(-1, 2))
        right[pins] += pull[:, None] * goals
        layout = np.stack([solve(right[:, 0]), solve(right[:, 1])], 1)
    return layout


def signed_areas(layout: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F,) areas of the faces in the layout, positive when counter-clockwise."""
    a, b, c = (layout[faces[:, k]] for k in range(3))
    return 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])


FINGER_LEAN_DEG = (
    {"index": 10, "middle": 0, "ring": -10, "pinky": -26, "thumb": 12},  # back
    {"index": 2, "middle": 4, "ring": -7, "pinky": -24, "thumb": 30},  # palm
)
"""How far each finger leans from upright in the layout, positive to the thumb: together, so that little is wasted, yet apart."""

GAP = 0.012
"""Least distance between the islands and to the border, as a part of the square: six texels of 512 for the gutter."""


FINGER_GAP_M = 0.0013
"""Least distance between neighbouring fingers in the layout: three texels of 512."""

PARTING_ROUNDS = 120
"""Rounds of pushing neighbours apart."""

PARTING_PULL = 3.0
"""Weight of a pushed vertex; a vertex' own edges weigh about six."""


def lay_out(
    vertices: np.ndarray, faces: np.ndarray, side: np.ndarray, joints: np.ndarray, tips: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates of the whole hand.

    Args:
        vertices: (V, 3) flat hand in MANO's frame [m].
        faces: (F, 3).
        side: (F,) 0 for the back, 1 for the palm.
        joints: (16, 3).
        tips: (5,) tip vertices in the order of FINGER_JOINTS.

    Returns:
        (T, 2) coordinates in the unit square, v up, and (F, 3) rows of them for each face.
    """
    islands, rows_of = [], []
    for which in (0, 1):
        own = faces[side == which]
        ids = np.unique(own)
        rows = np.full(len(vertices), -1)
        rows[ids] = np.arange(len(ids))
        islands.append(_unroll_upright(vertices[ids], rows[own], which, joints, rows[tips]))
        rows_of.append(rows)
    left, right = _pack(islands[0], islands[1], rows_of[0][faces[side == 0]], rows_of[1][faces[side == 1]])
    uv = np.concatenate([left, right])
    uv_faces = np.where((side == 0)[:, None], rows_of[0][faces], rows_of[1][faces] + len(left))
    return uv, uv_faces.astype(np.int32)


def _unroll_upright(points: np.ndarray, faces: np.ndarray, which: int, joints: np.ndarray, tips: np.ndarray) -> np.ndarray:
    """Unrolls an island freely, then once more with the fingers drawn upright."""
    towards_thumb = -1.0 if which == 0 else 1.0  # seen from outside, fingers up: left on the back, right on the palm
    start = np.stack([points[:, 2] * towards_thumb, -points[:, 0]], 1)
    free = unroll(points, faces, start, np.zeros(0, int), np.zeros((0, 2)), np.zeros(0))
    middle = free[tips[1]] - free[_nearest(points, joints[4])]
    turn = np.arctan2(middle[0], middle[1])
    free = free @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    goals = []
    for (finger, members), tip in zip(FINGER_JOINTS.items(), tips, strict=True):
        base = free[_nearest(points, joints[members[1 if finger == "thumb" else 0]])]
        length = np.linalg.norm(free[tip] - base)
        lean = np.radians(FINGER_LEAN_DEG[which][finger]) * towards_thumb
        goals.append(base + length * np.array([np.sin(lean), np.cos(lean)]))
    upright = unroll(points, faces, free, tips, np.array(goals), np.full(5, 5.0))
    parted = _part_fingers(points, faces, upright, tips, np.array(goals))
    return _smooth_crossings(points, faces, parted)


def _part_fingers(points: np.ndarray, faces: np.ndarray, layout: np.ndarray, tips: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Pushes stretches of the border apart that lie nearer than FINGER_GAP_M, or across each other, at the webs."""
    loop = boundary_loop(faces)
    ahead = np.roll(loop, -1)
    steps = np.linalg.norm(layout[ahead] - layout[loop], axis=1)
    along, total = np.r_[0, np.cumsum(steps)[:-1]], steps.sum()
    apart = np.abs(along[:, None] - along[None])
    apart = np.minimum(apart, total - apart)
    apart = np.minimum(apart, np.roll(apart, -1, 1))  # (vertex, edge)
    for _ in range(PARTING_ROUNDS):
        a, b = layout[loop], layout[ahead]
        edge = b - a
        square = (edge**2).sum(1)
        t = np.clip(((a[:, None] - a[None]) * edge).sum(2) / square, 0, 1)
        off = a[:, None] - (a[None] + t[..., None] * edge)
        outward = np.stack([edge[:, 1], -edge[:, 0]], 1) / np.sqrt(square)[:, None]
        depth = (off * outward).sum(2)
        near = (np.linalg.norm(off, axis=2) < 2 * FINGER_GAP_M) & (depth < FINGER_GAP_M) & (apart > 2 * FINGER_GAP_M)
        if not near.any():
            break
        push, count = np.zeros_like(layout), np.zeros(len(layout))
        for v, e in zip(*np.nonzero(near), strict=True):
            step = outward[e] * (FINGER_GAP_M - depth[v, e]) / 2
            for who, move in ((loop[v], step), (loop[e], -step), (ahead[e], -step)):
                push[who] += move
                count[who] += 1
        moved = np.flatnonzero(count)
        pins = np.r_[tips, moved]
        pulls = np.r_[np.full(len(tips), 1.0), np.full(len(moved), PARTING_PULL)]
        layout = unroll(
            points, faces, layout, pins, np.r_[goals, layout[moved] + push[moved] / count[moved, None]], pulls, rounds=4
        )
    return layout


def _nearest(points: np.ndarray, goal: np.ndarray) -> int:
    return int(np.argmin(np.linalg.norm(points - goal, axis=1)))


def _smooth_crossings(points: np.ndarray, faces: np.ndarray, layout: np.ndarray) -> np.ndarray:
    """Draws the border smooth where it still crosses itself, in the bottom of a web. Raises RuntimeError if that fails."""
    loop = boundary_loop(faces)
    count = len(loop)
    for strength in range(1, PARTING_ROUNDS):
        a, b = layout[loop], layout[np.roll(loop, -1)]
        far = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
        first, second = np.nonzero(_cross(a, b) & (np.minimum(far, count - far) > 1))
        if not len(first) and (signed_areas(layout, faces) > 0).all():
            return layout
        arc: list[int] = []
        for i, j in zip(first.tolist(), second.tolist(), strict=True):
            steps = (j - i) % count
            if steps <= count // 2:
                arc += [(i + k) % count for k in range(steps + 2)]
        pins = np.unique(np.array(arc, int))
        goals = 0.5 * (layout[loop[pins - 1]] + layout[loop[(pins + 1) % count]])
        layout = unroll(points, faces, layout, loop[pins], goals, np.full(len(pins), strength * PARTING_PULL), rounds=4)
    raise RuntimeError("the texture layout overlaps itself")


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(K, K) whether segment a[i] b[i] crosses segment a[j] b[j]."""

    def turn(p, q, r):
        return (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])

    p, q, r, s = a[:, None], b[:, None], a[None], b[None]
    return (turn(p, q, r) * turn(p, q, s) < 0) & (turn(r, s, p) * turn(r, s, q) < 0)


def _pack(back: np.ndarray, palm: np.ndarray, back_faces: np.ndarray, palm_faces: np.ndarray) -> list[np.ndarray]:
    """Turns both islands, slides the palm beside the back as near as it goes, and fits the pair into the square.

    Of all tries, the one that fills most once stretched to the square wins, a stretch counting against it.
    """
    outlines = [_outline(p, f) for p, f in ((back, back_faces), (palm, palm_faces))]
    gap = GAP * 0.28  # the square stands for about 0.28 m
    best, choice = np.inf, (0.0, 0.0, np.zeros(2))
    for first in np.radians(range(-30, 31, 10)):
        still = outlines[0] @ _turn(first)
        for second in np.radians(range(0, 360, 10)):
            moving = outlines[1] @ _turn(second)
            level = np.array([0.0, still[:, 1].min() - moving[:, 1].min()])
            for lift in np.linspace(-0.06, 0.06, 13):
                shift = level + np.array([0.0, lift])
                shift[0] = _slide(still, moving + shift, gap)
                size = np.ptp(np.concatenate([still, moving + shift]), axis=0)
                cost = size.prod() * (size.max() / size.min()) ** 0.3
                if cost < best:
                    best, choice = cost, (first, second, shift)
    first, second, shift = choice
    pair = [back @ _turn(first), palm @ _turn(second) + shift]
    low, high = (op(np.concatenate(pair), 0) for op in (np.min, np.max))
    return [GAP + (p - low) / (high - low) * (1 - 2 * GAP) for p in pair]


def _turn(angle: float) -> np.ndarray:
    """(2, 2) matrix that turns row vectors counter-clockwise."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _outline(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(K, 2) points 1 mm apart or less along the border of an island."""
    loop = points[boundary_loop(faces)]
    steps = np.linspace(0, 1, 16, endpoint=False)[:, None, None]
    return (loop * (1 - steps) + np.roll(loop, -1, 0) * steps).reshape(-1, 2)


def _slide(still: np.ndarray, moving: np.ndarray, gap: float) -> float:
    """Least shift of `moving` along x that keeps it `gap` to the right of `still` at every height."""
    low = min(still[:, 1].min(), moving[:, 1].min())
    bins = int((max(still[:, 1].max(), moving[:, 1].max()) - low) / gap) + 3
    right, left = np.full(bins, -np.inf), np.full(bins, np.inf)
    np.maximum.at(right, ((still[:, 1] - low) / gap).astype(int) + 1, still[:, 0])
    np.minimum.at(left, ((moving[:, 1] - low) / gap).astype(int) + 1, moving[:, 0])
    right[1:-1] = np.maximum(right[1:-1], np.maximum(right[:-2], right[2:]))  # a gap above and below as well
    need = right - left
    return float(need[np.isfinite(need)].max(initial=0.0) + gap)
