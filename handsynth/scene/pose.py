"""Stage 1, pose: recipes and the hand model -> vertices, normals and keypoints in the camera frame, a batch at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from handsynth.core.conventions import LABEL_GRID_M
from handsynth.core.hand import HandModel, keypoints_from_vertices, pose_hand
from handsynth.core.mirror import MIRROR, mirror_points, mirrored
from handsynth.recipe.recipe import Recipe
from handsynth.recipe.samplers import camera_matrices


@dataclass(frozen=True, eq=False)
class CameraHands:
    """B posed hands as their cameras see them (OpenCV frame, metres). Left hands are already mirrored."""

    vertices: np.ndarray  # (B, V, 3) float32 on the label grid: what is rendered is what is written
    normals: np.ndarray  # (B, V, 3) float32 unit, outward
    joints: np.ndarray  # (B, J, 3) nodes of the kinematic tree
    keypoints: np.ndarray  # (B, 21, 3) float64 on the label grid
    K: np.ndarray  # (B, 3, 3) [px]
    T_cam_world: np.ndarray  # (B, 4, 4)
    is_left: np.ndarray  # (B,) bool


class PoseStage:
    """Poses batches of recipes on one hand model."""

    def __init__(self, model: HandModel) -> None:
        """Prepares the sparse sum that turns face normals into vertex normals."""
        self.model = model
        faces = model.faces
        rows, columns = faces.ravel(), np.repeat(np.arange(len(faces)), 3)
        shape = (model.num_vertices, len(faces))
        self._around = scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)

    def pose(self, recipes: Sequence[Recipe], image_size: int) -> CameraHands:
        """B recipes -> B hands in the camera frame."""
        theta = np.array([r.theta for r in recipes]).reshape(len(recipes), -1, 3)
        world = pose_hand(self.model, theta, np.array([r.beta for r in recipes]), np.array([r.trans for r in recipes]))
        K, T = (np.stack(m) for m in zip(*(camera_matrices(r.camera) for r in recipes), strict=True))
        rotation, shift = np.swapaxes(T[:, :3, :3], 1, 2), T[:, None, :3, 3]
        vertices, joints = world.vertices @ rotation + shift, world.joints @ rotation + shift
        normals = self._vertex_normals(vertices)

        is_left = np.array([r.side == "left" for r in recipes])
        if is_left.any():
            for array in (vertices, joints, normals):
                array[is_left] = mirror_points(array[is_left])
            K[is_left] = [mirrored(k, image_size) for k in K[is_left]]
            T[is_left] = MIRROR @ T[is_left] @ MIRROR

        vertices = to_label_grid(vertices).astype(np.float32)
        keypoints = to_label_grid(keypoints_from_vertices(self.model, vertices.astype(np.float64)))
        return CameraHands(vertices, normals.astype(np.float32), joints, keypoints, K, T, is_left)

    def _vertex_normals(self, vertices: np.ndarray) -> np.ndarray:
        """(B, V, 3) -> unit normals; the fast twin of core.mesh.vertex_normals.

        One coordinate after the other, and the batch along rows: long rows are what numpy and the sparse product are quick at.
        """
        a, b, c = (np.ascontiguousarray(vertices.T)[:, self.model.faces[:, k]] for k in range(3))  # (3, F, B) each
        b -= a
        c -= a
        normals = np.empty((3, vertices.shape[1], len(vertices)))
        for k in range(3):
            i, j = (k + 1) % 3, (k + 2) % 3
            normals[k] = self._around @ (b[i] * c[j] - b[j] * c[i])
        length = np.sqrt((normals * normals).sum(0))
        normals /= np.where(length > 0, length, 1.0)
        return np.ascontiguousarray(normals.T)


def to_label_grid(points: np.ndarray) -> np.ndarray:
    """Rounds metres to the grid on which labels are written."""
    return np.round(points / LABEL_GRID_M) * LABEL_GRID_M
