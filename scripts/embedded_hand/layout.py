"""Step 4: the texture layout: the back and the palm of the hand unrolled, side by side in the unit square."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import factorized

from handsynth.core.conventions import FINGER_JOINTS

ROUNDS = 150
"""Local-global rounds of the unrolling; it has settled long before."""


def unroll(points: np.ndarray, faces: np.ndarray, start: np.ndarray, pins: np.ndarray, goals: np.ndarray, pull: float) -> np.ndarray:
    """As-rigid-as-possible flattening (Liu et al. 2008) of one island.

    Args:
        points: (N, 3) island's vertices [m].
        faces: (M, 3).
        start: (N, 2) a first layout without flips [m].
        pins: (K,) vertices drawn towards `goals` (K, 2) with weight `pull` relative to a vertex' own edges.

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
    for p in pins:
        matrix[p, p] += pull
    matrix[0, 0] += 1e-9
    solve = factorized(matrix.tocsc())
    edge_flat = np.roll(flat, -1, 1) - flat  # (M, 3, 2)
    layout = start.copy()
    for _ in range(ROUNDS):
        edge_now = np.roll(layout[faces], -1, 1) - layout[faces]
        spread = np.einsum("mk,mka,mkb->mab", cot, edge_now, edge_flat)
        u, _, vt = np.linalg.svd(spread)
        u[:, :, 1] *= np.linalg.det(u @ vt)[:, None]
        want = (edge_flat @ np.swapaxes(u @ vt, 1, 2)) * cot[..., None]
        right = np.zeros((n, 2))
        np.add.at(right, i, -want.reshape(-1, 2))
        np.add.at(right, j, want.reshape(-1, 2))
        right[pins] += pull * goals
        layout = np.stack([solve(right[:, 0]), solve(right[:, 1])], 1)
    return layout


def signed_areas(layout: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F,) areas of the faces in the layout, positive when counter-clockwise."""
    a, b, c = (layout[faces[:, k]] for k in range(3))
    return 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])


FINGER_LEAN_DEG = (
    {"index": 13, "middle": 1, "ring": -11, "pinky": -32, "thumb": 20},  # back
    {"index": 0, "middle": 4, "ring": -9, "pinky": -26, "thumb": 32},  # palm
)
"""How far each finger leans from upright in the layout, positive to the thumb: together, so that little is wasted, yet apart."""

GAP = 0.012
"""Least distance between the islands and to the border, as a part of the square: six texels of 512 for the gutter."""


def lay_out(vertices: np.ndarray, faces: np.ndarray, side: np.ndarray, joints: np.ndarray, tips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
    left, right = _pack(islands[0], islands[1], faces[side == 0], rows_of[0], faces[side == 1], rows_of[1])
    uv = np.concatenate([left, right])
    uv_faces = np.where((side == 0)[:, None], rows_of[0][faces], rows_of[1][faces] + len(left))
    return uv, uv_faces.astype(np.int32)


def _unroll_upright(points: np.ndarray, faces: np.ndarray, which: int, joints: np.ndarray, tips: np.ndarray) -> np.ndarray:
    """Unrolls an island freely, then once more with the fingers drawn upright."""
    towards_thumb = -1.0 if which == 0 else 1.0  # seen from outside, fingers up: left on the back, right on the palm
    start = np.stack([points[:, 2] * towards_thumb, -points[:, 0]], 1)
    free = unroll(points, faces, start, np.zeros(0, int), np.zeros((0, 2)), 0.0)
    middle = free[tips[1]] - free[_nearest(points, joints[4])]
    turn = np.arctan2(middle[0], middle[1])
    free = free @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    goals = []
    for (finger, members), tip in zip(FINGER_JOINTS.items(), tips, strict=True):
        base = free[_nearest(points, joints[members[1 if finger == "thumb" else 0]])]
        length = np.linalg.norm(free[tip] - base)
        lean = np.radians(FINGER_LEAN_DEG[which][finger]) * towards_thumb
        goals.append(base + length * np.array([np.sin(lean), np.cos(lean)]))
    return unroll(points, faces, free, tips, np.array(goals), 5.0)


def _nearest(points: np.ndarray, goal: np.ndarray) -> int:
    return int(np.argmin(np.linalg.norm(points - goal, axis=1)))


def _pack(back, palm, back_faces, back_rows, palm_faces, palm_rows):
    """Slides the palm beside the back (upright or turned about), as near as it goes, and fits both into the square."""
    best = None
    gap = GAP * 0.28  # the square stands for about 0.28 m
    for turned in (False, True):
        for palm_first in (False, True):
            other = -palm if turned else palm
            pair = [other, back] if palm_first else [back, other]
            pair_faces = [palm_rows[palm_faces], back_rows[back_faces]]
            pair_faces = pair_faces if palm_first else pair_faces[::-1]
            pair = [p - p.min(0) for p in pair]
            pair[1] = pair[1] + [_slide(pair[0], pair_faces[0], pair[1], pair_faces[1], gap), 0]
            size = np.concatenate(pair).max(0)
            if best is None or size.max() * size.prod() < best[0]:
                best = (size.max() * size.prod(), pair, palm_first, size)
    _, pair, palm_first, size = best
    scaled = [GAP + p / size * (1 - 2 * GAP) for p in pair]
    return scaled[::-1] if palm_first else scaled


def _slide(first, first_faces, second, second_faces, gap) -> float:
    """Least shift of `second` along x that keeps it `gap` to the right of `first` at every height."""
    rows = np.linspace(0, max(first[:, 1].max(), second[:, 1].max()), 400)

    def profile(points, faces, sign):
        best = np.full(len(rows), -np.inf)
        for f in faces:
            for k in range(3):
                a, b = points[f[k]], points[f[(k + 1) % 3]]
                low, high = sorted((a[1], b[1]))
                hit = (rows >= low - gap) & (rows <= high + gap)
                t = np.clip((rows[hit] - a[1]) / (b[1] - a[1] if b[1] != a[1] else 1), 0, 1)
                best[hit] = np.maximum(best[hit], sign * (a[0] + t * (b[0] - a[0])))
        return best

    need = profile(first, first_faces, 1) + profile(second, second_faces, -1)
    return float(need[np.isfinite(need)].max() + gap)
