"""Triangle meshes: faces, vertex normals, boundary loops, and caps that close them."""

import numpy as np


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(..., V, 3) vertices, (F, 3) faces -> (..., F, 3) outward normals, of length twice the triangle's area."""
    a, b, c = (vertices[..., faces[:, k], :] for k in range(3))
    return np.cross(b - a, c - a)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(..., V, 3) vertices, (F, 3) faces -> (..., V, 3) unit normals, area-weighted over the faces around each vertex.

    The slow readable twin of the sparse product in `scene/pose.py`.
    """
    normals = np.zeros_like(vertices)
    per_face = face_normals(vertices, faces)
    for k in range(3):
        for f, v in enumerate(faces[:, k]):
            normals[..., v, :] += per_face[..., f, :]
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return normals / np.where(length > 0, length, 1.0)


def boundary_loop(faces: np.ndarray) -> np.ndarray:
    """(F, 3) faces of a mesh with one hole -> vertex indices around it, in the order of the faces' own edges.

    Raises ValueError when the mesh is closed or has more than one hole.
    """
    loops = boundary_loops(faces)
    if len(loops) != 1:
        raise ValueError(f"the mesh has {len(loops)} holes, expected one" if loops else "the mesh is closed: it has no boundary")
    return loops[0]


def boundary_loops(faces: np.ndarray) -> list[np.ndarray]:
    """(F, 3) faces -> the vertices around each hole, in the order of the faces' own edges; the longest loop first."""
    directed = {(int(a), int(b)) for f in faces for a, b in ((f[0], f[1]), (f[1], f[2]), (f[2], f[0]))}
    following = {a: b for a, b in directed if (b, a) not in directed}
    loops = []
    while following:
        loop = [min(following)]
        while (nxt := following.pop(loop[-1], loop[0])) != loop[0]:
            loop.append(nxt)
        loops.append(np.array(loop))
    return sorted(loops, key=len, reverse=True)


def cap_fan(num_rim: int) -> np.ndarray:
    """(R - 2, 3) rows of a `boundary_loop` of R vertices: a fan that closes its hole, wound like the faces around it."""
    return np.stack([np.zeros(max(num_rim - 2, 0), int), np.arange(2, num_rim), np.arange(1, num_rim - 1)], 1)
