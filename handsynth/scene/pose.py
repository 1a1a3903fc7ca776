"""Stage 1, pose: recipes and the hand model -> vertices, normals and keypoints in the camera frame, a batch at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from handsynth.core.conventions import LABEL_GRID_M
from handsynth.core.errors import UsageError
from handsynth.core.hand import HandModel, keypoints_from_vertices, pose_hand
from handsynth.core.mirror import MIRROR, mirror_points, mirrored
from handsynth.core.rotation import rotvec_to_rotmat
from handsynth.recipe.recipe import Recipe
from handsynth.recipe.samplers import camera_matrices
from handsynth.scene.arm import ArmShape, PosedArms, make_arm, pose_arms
from handsynth.scene.normals import faces_around, normal_sums, unit_rows
from handsynth.scene.upper_arm import pose_upper_arms, whole_faces


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
    arms: tuple[np.ndarray | None, ...]  # (A + U, 3) float32 on the label grid: forearms, the rim's vertices first, and upper arms
    arm_normals: tuple[np.ndarray | None, ...]  # (A + U, 3) float32 unit; at the rim those of hand and forearm sewn together
    posed_arms: PosedArms | None  # of the samples that have one, in their order, with their axes; not mirrored yet


class PoseStage:
    """Poses batches of recipes on one hand model."""

    def __init__(self, model: HandModel) -> None:
        """Prepares the forearm, and the sparse sums that turn face normals into vertex normals."""
        self.model, self.arm = model, make_arm(model)
        self._around = faces_around(model.faces, model.num_vertices)
        self._arm_faces = np.zeros((0, 3), np.int32) if self.arm is None else whole_faces(self.arm)
        self._around_arm = faces_around(self._arm_faces, int(self._arm_faces.max(initial=-1)) + 1).astype(np.float32)

    def pose(self, recipes: Sequence[Recipe], image_size: int) -> CameraHands:
        """B recipes -> B hands in the camera frame. Raises UsageError when a forearm is requested that the hand cannot have."""
        theta = np.array([r.theta for r in recipes]).reshape(len(recipes), -1, 3)
        world = pose_hand(self.model, theta, np.array([r.beta for r in recipes]), np.array([r.trans for r in recipes]))
        K, T = (np.stack(m) for m in zip(*(camera_matrices(r.camera) for r in recipes), strict=True))
        rotation, shift = np.swapaxes(T[:, :3, :3], 1, 2), T[:, None, :3, 3]
        vertices, joints = world.vertices @ rotation + shift, world.joints @ rotation + shift
        sums = normal_sums(vertices, self.model.faces, self._around)
        with_arm = [row for row, recipe in enumerate(recipes) if recipe.arm is not None]
        arms = arm_normals = np.empty((0, 0, 3))
        posed_arms = None
        if with_arm:
            posed_arms = self._pose_arms(recipes, with_arm, vertices, rotation.swapaxes(1, 2) @ rotvec_to_rotmat(theta[:, 0]))
            assert self.arm is not None  # or it would not have been posed
            elbows = np.deg2rad([recipes[row].arm.elbow_deg for row in with_arm])  # type: ignore[union-attr]
            upper = pose_upper_arms(self.arm, posed_arms, elbows, np.array([sleeve_thickness(recipes[row]) for row in with_arm]))
            arms = np.concatenate([posed_arms.vertices, upper], 1)
            arm_normals = self._sew(sums, arms, with_arm)
        normals = unit_rows(sums)

        is_left = np.array([r.side == "left" for r in recipes])
        if is_left.any():
            for array in (vertices, joints, normals):
                array[is_left] = mirror_points(array[is_left])
            left_arms = is_left[with_arm]
            for array in (arms, arm_normals):
                array[left_arms] = mirror_points(array[left_arms])
            K[is_left] = [mirrored(k, image_size) for k in K[is_left]]
            T[is_left] = MIRROR @ T[is_left] @ MIRROR

        vertices = to_label_grid(vertices).astype(np.float32)
        keypoints = to_label_grid(keypoints_from_vertices(self.model, vertices.astype(np.float64)))
        arms = to_label_grid(arms).astype(np.float32)
        return CameraHands(
            vertices, normals.astype(np.float32), joints, keypoints, K, T, is_left,
            arms=_at(with_arm, arms, len(recipes)), arm_normals=_at(with_arm, arm_normals.astype(np.float32), len(recipes)),
            posed_arms=posed_arms,
        )  # fmt: skip

    def _pose_arms(self, recipes: Sequence[Recipe], rows: list[int], vertices: np.ndarray, rotation: np.ndarray) -> PosedArms:
        """N forearms of the recipes `rows`, which have one; `rotation` (B, 3, 3) turns the hand's frame to that of `vertices`."""
        if self.arm is None:
            raise UsageError(f"the hand model {self.model.name!r} has no open wrist that a forearm fits: set arm.probability to 0")
        shapes = [arm_shape(recipes[row]) for row in rows]
        return pose_arms(self.arm, vertices[rows][:, self.arm.rim], rotation[rows], shapes)

    def _sew(self, sums: np.ndarray, arms: np.ndarray, rows: list[int]) -> np.ndarray:
        """Adds the forearms' faces to the hands' `sums` (3, V, B) at the rim, in place -> (N, A + U, 3) normals of the arms."""
        assert self.arm is not None
        # Normals are only drawn: single precision about a point of each arm will do.
        own = normal_sums((arms - arms[:, :1]).astype(np.float32), self._arm_faces, self._around_arm)
        count = len(self.arm.rim)
        place = np.ix_(np.arange(3), self.arm.rim, np.array(rows))
        sums[place] += own[:, :count]
        normals = unit_rows(own)
        normals[:, :count] = unit_rows(sums[place])
        return normals


def arm_shape(recipe: Recipe) -> ArmShape:
    """The forearm of a recipe that has one."""
    choice = recipe.arm
    assert choice is not None
    flexion, deviation, twist = np.deg2rad([choice.flexion_deg, choice.deviation_deg, choice.twist_deg]).tolist()
    return ArmShape(flexion, deviation, twist, choice.girth)


def sleeve_thickness(recipe: Recipe) -> float:
    """What a sleeve adds to an arm's radius beyond the elbow [m]."""
    sleeve = recipe.worn.sleeve if recipe.worn else None
    return sleeve.ease_m + 0.5 * sleeve.fold_m if sleeve else 0.0


def _at(rows: list[int], arrays: np.ndarray, count: int) -> tuple[np.ndarray | None, ...]:
    """`arrays` at `rows` of so many, and None elsewhere."""
    found: list[np.ndarray | None] = [None] * count
    for row, array in zip(rows, arrays, strict=True):
        found[row] = array
    return tuple(found)


def to_label_grid(points: np.ndarray) -> np.ndarray:
    """Rounds metres to the grid on which labels are written."""
    return np.round(points / LABEL_GRID_M) * LABEL_GRID_M
