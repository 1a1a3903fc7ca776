"""Where the texture is cut: one curve along the sides of the hand, from rim to rim over all five tips."""

from itertools import pairwise

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra

SIDE_PULL = 5.0
"""How much dearer an edge is that faces up or down than one that faces sideways."""


def side_seam(
    vertices: np.ndarray, normals: np.ndarray, dorsal: np.ndarray, faces: np.ndarray, tips: np.ndarray, rim: np.ndarray
) -> np.ndarray:
    """Cheapest path of edges: rim (thumb side), thumb, index, middle, ring, pinky tip, rim (little-finger side).

    Args:
        vertices, normals, dorsal: (N, 3) points, unit normals, and the direction of the back of the hand at each.
        faces: (M, 3).
        tips: (5,) index, middle, pinky, ring, thumb.
        rim: vertices around the opening.

    Returns:
        (L,) vertices along the path.
    """
    facing = np.abs((normals * dorsal).sum(1))
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    cost = length * (1 + SIDE_PULL * (facing[edges].mean(1)) ** 2)
    # The rim itself is no way.
    rim_set = np.isin(edges, rim).all(1)
    cost = cost[~rim_set]
    edges = edges[~rim_set]
    key = np.unique(np.sort(edges, 1), axis=0, return_index=True)[1]
    both = np.concatenate([edges[key], edges[key][:, ::-1]])
    graph = csr_matrix((np.tile(cost[key], 2), (both[:, 0], both[:, 1])), shape=(len(vertices),) * 2)
    index, middle, pinky, ring, thumb = tips
    middle_of_rim = vertices[rim].mean(0)
    first = rim[np.argmax((vertices[rim] - middle_of_rim)[:, 2])]
    last = rim[np.argmin((vertices[rim] - middle_of_rim)[:, 2])]
    stops = [first, thumb, index, middle, ring, pinky, last]
    path = [int(first)]
    for a, b in pairwise(stops):
        banned = np.setdiff1d(np.array(path[:-1], int), [a, b])
        free = graph.copy().tolil()
        if len(banned):
            free[banned] = 0
            free[:, banned] = 0
        _, before = dijkstra(free.tocsr(), indices=int(a), return_predecessors=True)
        leg = [int(b)]
        while leg[-1] != a:
            leg.append(int(before[leg[-1]]))
        path += leg[::-1][1:]
    return np.array(path)


def split_faces(faces: np.ndarray, seam: np.ndarray) -> np.ndarray:
    """(F,) 0 or 1: the side of the seam that each face lies on; the caller says which is which."""
    cut = {frozenset((int(a), int(b))) for a, b in pairwise(seam)}
    owner: dict[frozenset[int], int] = {}
    pairs = []
    for i, f in enumerate(faces):
        for k in range(3):
            edge = frozenset((int(f[k]), int(f[(k + 1) % 3])))
            if edge in cut:
                continue
            if edge in owner:
                pairs.append((owner[edge], i))
            owner[edge] = i
    rows, cols = np.array(pairs).T
    count, label = connected_components(csr_matrix((np.ones(len(rows)), (rows, cols)), shape=(len(faces),) * 2), directed=False)
    if count != 2:
        raise RuntimeError(f"the seam cuts the hand into {count} pieces instead of 2")
    return label
