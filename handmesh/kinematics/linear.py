"""Vertices of a feasible hand and their exact Jacobian, in batches: what the Gauss-Newton solver runs on. Numpy, no torch.

Posing is the paper's M(alpha Z, beta) as in `core.hand.pose_hand`. The Jacobian uses the structure of skinning instead of
automatic differentiation: a joint turns everything below it rigidly, so that a vertex moves by the cross product of the joint's
axis with its arm, weighted by skinning; the blend shapes of shape and pose move the rest vertices, which the blended
rotations carry along. Coordinates come before vertices in memory, (B, 3, V), so that all arithmetic runs along V.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from handmesh.keypoints import keypoint_regressor
from handmesh.kinematics.dof import DOFS, NUM_DOFS, hand_dof_matrix
from handmesh.kinematics.rigid import exp_and_left_jacobian, skew
from handsynth.core.hand import HandModel

ROTATION, TRANSLATION, ANGLES = slice(0, 3), slice(3, 6), slice(6, 6 + NUM_DOFS)
"""Columns of a step; the rest is beta."""

BETA = slice(6 + NUM_DOFS, None)

Index = np.ndarray | slice


class HandState(NamedTuple):
    """The unknowns of B hands."""

    rotation: np.ndarray  # (B, 3, 3) of the whole hand about its wrist
    translation: np.ndarray  # (B, 3) [m]
    angles: np.ndarray  # (B, 23) [rad]
    beta: np.ndarray  # (B, S) [standard deviations]

    def stepped(self, step: np.ndarray) -> "HandState":
        """The state after (B, 29 + S) steps, or (B, 29) that leave beta; exp of the rotation's part multiplies from the left."""
        turn, _ = exp_and_left_jacobian(step[:, ROTATION])
        beta = self.beta + step[:, BETA] if step.shape[1] > BETA.start else self.beta
        return HandState(turn @ self.rotation, self.translation + step[:, TRANSLATION], self.angles + step[:, ANGLES], beta)

    def at(self, index: Index) -> "HandState":
        """The hands of that index."""
        return HandState(*(value[index] for value in self))


class LinearHand:
    """A hand model's arrays, arranged for `points` and `linearise`. Made once per model and type; see `linear_hand`."""

    def __init__(self, hand: HandModel, dtype: DTypeLike = np.float32) -> None:
        def typed(array: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(array, dtype)

        self.dtype, self.num_vertices, self.num_shapes = np.dtype(dtype), hand.num_vertices, hand.num_shapes
        self.num_unknowns = 6 + NUM_DOFS + self.num_shapes
        self.dof_matrix = typed(hand_dof_matrix(hand))
        self.template = typed(hand.v_template.T.reshape(-1))  # (3 V,)
        directions = np.concatenate([hand.shapedirs, hand.posedirs], 2).transpose(2, 1, 0).reshape(-1, hand.v_template.size)
        self.directions = typed(directions)  # (S + 9 (J - 1), 3 V) blend shapes of beta, then of the pose
        self.weights = typed(hand.weights.T)  # (J, V)
        self.keypoint_regressor = typed(keypoint_regressor(hand))  # (21, V)
        self.shapedirs = self.directions[: self.num_shapes].reshape(self.num_shapes, 3, -1)  # (S, 3, V)
        nodes = np.array([dof.node for dof in DOFS])
        self.dof_nodes = nodes
        self.dof_axes = typed(hand_dof_matrix(hand).reshape(NUM_DOFS, -1, 3)[np.arange(NUM_DOFS), nodes - 1])  # (23, 3)
        pose_directions = self.directions[self.num_shapes :].reshape(hand.num_joints - 1, 9, -1)
        self.dof_posedirs = pose_directions[nodes - 1]  # (23, 9, 3 V)
        self.rest_joints = typed(hand.rest_joints)  # (J, 3)
        self.joint_shapedirs = typed(hand.joint_shapedirs)  # (J, 3, S)
        self.parents = hand.parents
        # Joints by their depth in the tree: those of one level are posed together, fingers side by side.
        self.levels = [level for level, _ in hand.levels]
        # (J - 1, V) share of each vertex that joints 1.. and all below them carry.
        below = np.eye(hand.num_joints, dtype=bool)
        for j in range(hand.num_joints - 1, 0, -1):
            below[hand.parents[j]] |= below[j]
        self.carried = typed((below.astype(float) @ hand.weights.T)[1:])

    def points(self, state: HandState) -> tuple[np.ndarray, np.ndarray]:
        """(B, V, 3) vertices and (B, 21, 3) keypoints [m]."""
        skeleton = self.skeleton(state)
        vertices, _, _ = self._skin(skeleton)
        vertices += skeleton.translation[..., None]
        return vertices.swapaxes(1, 2), self.regress(vertices)

    def regress(self, vertices: np.ndarray) -> np.ndarray:
        """(B, 3, V) vertices -> (B, 21, 3) keypoints."""
        return (vertices @ self.keypoint_regressor.T).swapaxes(1, 2)

    def skeleton(self, state: HandState) -> "Skeleton":
        """Everything about (B,) states that does not grow with the vertices: small, so for the whole batch at once."""
        count = len(state.angles)
        local, left = exp_and_left_jacobian((state.angles @ self.dof_matrix).reshape(count, -1, 3))  # (B, J - 1, 3, 3)
        pose_feature = (local - np.eye(3, dtype=self.dtype)).reshape(count, -1)
        rest_joints = self.rest_joints + (state.beta @ self.joint_shapedirs.reshape(-1, self.num_shapes).T).reshape(count, -1, 3)

        rotations, joints = np.empty((count, len(self.parents), 3, 3), self.dtype), np.empty_like(rest_joints)
        moved = np.empty((*joints.shape, self.num_shapes), self.dtype)  # derivative of the joints by beta
        rotations[:, 0], joints[:, 0], moved[:, 0] = state.rotation, rest_joints[:, 0], self.joint_shapedirs[0]
        for level in self.levels:
            parents = self.parents[level]
            turned = rotations[:, parents]
            rotations[:, level] = turned @ local[:, level - 1]
            bones = rest_joints[:, level] - rest_joints[:, parents]
            joints[:, level] = joints[:, parents] + (turned @ bones[..., None])[..., 0]
            moved[:, level] = moved[:, parents] + turned @ (self.joint_shapedirs[level] - self.joint_shapedirs[parents])

        offsets = joints - (rotations @ rest_joints[..., None])[..., 0]
        axes = (left[:, self.dof_nodes - 1] @ self.dof_axes[..., None])[..., 0]  # in the parent's frame
        return Skeleton(
            translation=state.translation,
            feature=np.concatenate([state.beta, pose_feature], 1),
            joints=joints,
            transforms=np.concatenate([rotations, offsets[..., None]], -1),
            feature_by_angles=(skew(axes) @ local[:, self.dof_nodes - 1]).reshape(count, NUM_DOFS, 9),
            axes=(rotations[:, self.parents[self.dof_nodes]] @ axes[..., None])[..., 0],
            offsets_by_beta=moved - rotations @ self.joint_shapedirs,
        )

    def linearise(self, skeleton: "Skeleton", out: np.ndarray) -> np.ndarray:
        """(B, 3, V) vertices; `out` (B, U, 3, V) gets their derivatives by rotation, translation, angles and beta.

        U is 29 + S, or 29 to leave beta as it is. The caller brings the memory, as it is large and used again and again.
        """
        count, num_v, jacobian = len(out), self.num_vertices, out
        vertices, rest, blended = self._skin(skeleton)

        _basis_crosses(vertices - skeleton.joints[:, 0, :, None], jacobian[:, ROTATION])  # about the wrist
        jacobian[:, TRANSLATION] = np.eye(3, dtype=self.dtype)[:, :, None]

        # Blend shapes: the derivative of the rest vertices, carried along by the blended rotation.
        rest_by_angles = skeleton.feature_by_angles.swapaxes(0, 1) @ self.dof_posedirs  # (23, B, 3 V)
        _rotate(blended, rest_by_angles.reshape(NUM_DOFS, count, 3, num_v).swapaxes(0, 1), jacobian[:, ANGLES])
        # Turning a joint: axis x arm.
        _add_crosses(skeleton.axes, self._arms(skeleton, rest)[:, self.dof_nodes - 1], jacobian[:, ANGLES])

        if jacobian.shape[1] > BETA.start:
            # Shape moves the joints too, and with them what they carry.
            _rotate(blended, np.broadcast_to(self.shapedirs, (count, *self.shapedirs.shape)), jacobian[:, BETA])
            offsets = skeleton.offsets_by_beta.transpose(0, 3, 2, 1).reshape(-1, len(self.parents))
            jacobian[:, BETA] += (offsets @ self.weights).reshape(count, -1, 3, num_v)
        return vertices + skeleton.translation[..., None]

    def _skin(self, skeleton: "Skeleton") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Linear blend skinning, without the translation.

        Returns:
            (B, 3, V) vertices, (B, 3, V) rest vertices with their blend shapes, (B, 3, 3, V) blended rotations.
        """
        count, num_j = len(skeleton.feature), len(self.parents)
        rest = (skeleton.feature @ self.directions + self.template).reshape(count, 3, -1)
        transforms = skeleton.transforms.reshape(count, num_j, 12).swapaxes(1, 2).reshape(-1, num_j)
        blended = (transforms @ self.weights).reshape(count, 3, 4, -1)
        vertices = blended[:, :, 3].copy()
        for c in range(3):
            vertices += blended[:, :, c] * rest[:, None, c]
        return vertices, rest, blended[:, :, :3]

    def _arms(self, skeleton: "Skeleton", rest: np.ndarray) -> np.ndarray:
        """(B, J - 1, 3, V) from each joint 1.. to what it carries: places under its and its children's transforms, by weight."""
        count = len(rest)
        homogeneous = np.concatenate([rest, np.ones_like(rest[:, :1])], 1)  # (B, 4, V)
        arms = (skeleton.transforms[:, 1:].reshape(count, -1, 4) @ homogeneous).reshape(count, -1, 3, self.num_vertices)
        arms *= self.weights[1:, None]
        for level in reversed(self.levels[1:]):
            for j in level:
                arms[:, self.parents[j] - 1] += arms[:, j - 1]
        arms -= self.carried[:, None] * skeleton.joints[:, 1:, :, None]
        return arms


class Skeleton(NamedTuple):
    """B posed hands without their vertices. Positions are without the translation."""

    translation: np.ndarray  # (B, 3)
    feature: np.ndarray  # (B, S + 9 (J - 1)) coefficients of the blend shapes
    joints: np.ndarray  # (B, J, 3)
    transforms: np.ndarray  # (B, J, 3, 4) rest -> posed
    feature_by_angles: np.ndarray  # (B, 23, 9) derivative of each degree of freedom's own rotation, row-major
    axes: np.ndarray  # (B, 23, 3) of each degree of freedom
    offsets_by_beta: np.ndarray  # (B, J, 3, S) derivative of the transforms' last column

    def at(self, index: slice) -> "Skeleton":
        """The hands of that slice."""
        return Skeleton(*(value[index] for value in self))


def _rotate(rotation: np.ndarray, vectors: np.ndarray, out: np.ndarray) -> None:
    """out[b, k, :, v] = rotation[b, :, :, v] vectors[b, k, :, v]."""
    part = np.empty_like(out[:, :, 0])
    for c in range(3):
        np.multiply(vectors[:, :, 0], rotation[:, None, c, 0], out=out[:, :, c])
        for d in (1, 2):
            np.multiply(vectors[:, :, d], rotation[:, None, c, d], out=part)
            out[:, :, c] += part


def _add_crosses(axes: np.ndarray, arms: np.ndarray, out: np.ndarray) -> None:
    """out[b, k, :, v] += axes[b, k] x arms[b, k, :, v]."""
    part = np.empty_like(out[:, :, 0])
    for c in range(3):
        d, e = (c + 1) % 3, (c + 2) % 3
        np.multiply(axes[:, :, d, None], arms[:, :, e], out=part)
        out[:, :, c] += part
        np.multiply(axes[:, :, e, None], arms[:, :, d], out=part)
        out[:, :, c] -= part


def _basis_crosses(arm: np.ndarray, out: np.ndarray) -> None:
    """out[b, k, :, v] = e_k x arm[b, :, v]."""
    out[:] = 0
    for k in range(3):
        d, e = (k + 1) % 3, (k + 2) % 3
        out[:, k, d], out[:, k, e] = -arm[:, e], arm[:, d]


@lru_cache(maxsize=4)
def linear_hand(hand: HandModel, dtype: DTypeLike = np.float32) -> LinearHand:
    """The arranged arrays of a hand model, made once per model and type."""
    return LinearHand(hand, dtype)
