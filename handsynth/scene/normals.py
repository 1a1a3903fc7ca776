"""Vertex normals of batches of posed meshes: sums over the faces around each vertex, by one sparse product."""

import numpy as np
import scipy.sparse


def faces_around(faces: np.ndarray, num_vertices: int) -> scipy.sparse.csr_matrix:
    """(V, F) 1 where a face has a vertex."""
    rows, columns = faces.ravel(), np.repeat(np.arange(len(faces)), 3)
    return scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(num_vertices, len(faces)))


def normal_sums(vertices: np.ndarray, faces: np.ndarray, around: scipy.sparse.csr_matrix) -> np.ndarray:
    """(B, V, 3) -> (3, V, B) sums of the normals of the faces around each vertex, each as long as twice the face's area.

    One coordinate after the other, and the batch along rows: long rows are what numpy and the sparse product are quick at.
    """
    a, b, c = (np.ascontiguousarray(vertices.T)[:, faces[:, k]] for k in range(3))  # (3, F, B) each
    b -= a
    c -= a
    sums = np.empty((3, vertices.shape[1], len(vertices)), vertices.dtype)
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        sums[k] = around @ (b[i] * c[j] - b[j] * c[i])
    return sums


def unit_rows(sums: np.ndarray) -> np.ndarray:
    """(3, V, B) -> (B, V, 3) of length 1."""
    length = np.sqrt((sums * sums).sum(0))
    return np.ascontiguousarray((sums / np.where(length > 0, length, 1.0)).T)
