"""Vertices of a feasible hand and their exact Jacobian, in batches: what the Gauss-Newton solver runs on.

Posing is the paper's M(alpha Z, beta) as in `core.hand.pose_hand`. The Jacobian uses the structure of skinning instead of
automatic differentiation: a joint turns everything below it rigidly, so that a vertex moves by the cross product of the joint's
axis with its arm, weighted by skinning; the blend shapes of shape and pose move the rest vertices, which the blended
rotations carry along. Skinning is `HandLayer`'s, and as there coordinates come before vertices in memory, (B, 3, V).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from handmesh.kinematics.dof import DOFS, NUM_DOFS, hand_dof_matrix
from handmesh.kinematics.hand_layer import HandLayer, pose_feature
from handmesh.kinematics.rigid import exp_and_left_jacobian, skew
from handsynth.core.hand import HandModel

ROTATION, TRANSLATION, ANGLES = slice(0, 3), slice(3, 6), slice(6, 6 + NUM_DOFS)
"""Columns of a step; the rest is beta."""

BETA = slice(6 + NUM_DOFS, None)


class HandState(NamedTuple):
    """The unknowns of B hands."""

    rotation: Tensor  # (B, 3, 3) of the whole hand about its wrist
    translation: Tensor  # (B, 3) [m]
    angles: Tensor  # (B, 23) [rad]
    beta: Tensor  # (B, S) [standard deviations]

    def stepped(self, step: Tensor) -> "HandState":
        """The state after (B, 29 + S) steps, or (B, 29) that leave beta; exp of the rotation's part multiplies from the left."""
        turn, _ = exp_and_left_jacobian(step[:, ROTATION])
        beta = self.beta + step[:, BETA] if step.shape[1] > BETA.start else self.beta
        return HandState(turn @ self.rotation, self.translation + step[:, TRANSLATION], self.angles + step[:, ANGLES], beta)

    def at(self, index: Tensor | slice) -> "HandState":
        """The hands of that index."""
        return HandState(*(value[index] for value in self))


class LinearHand:
    """A hand model's arrays, arranged for `points` and `linearise`. Made once per model and type; see `linear_hand`."""

    def __init__(self, hand: HandModel, dtype: torch.dtype = torch.float32) -> None:
        def tensor(array: np.ndarray) -> Tensor:
            return torch.tensor(np.ascontiguousarray(array), dtype=dtype)

        self.layer = HandLayer(hand, dtype)
        self.dtype, self.num_vertices, self.num_shapes, num_j = dtype, hand.num_vertices, hand.num_shapes, hand.num_joints
        self.num_unknowns = 6 + NUM_DOFS + self.num_shapes
        self.dof_matrix = tensor(hand_dof_matrix(hand))
        self.weights = self.layer.weights  # (J, V)
        self.shapedirs = self.layer.directions[: self.num_shapes].unflatten(1, (3, -1))  # (S, 3, V)
        nodes = np.array([dof.node for dof in DOFS])
        self.dof_nodes = torch.tensor(nodes)
        self.dof_axes = tensor(hand_dof_matrix(hand).reshape(NUM_DOFS, -1, 3)[np.arange(NUM_DOFS), nodes - 1])  # (23, 3)
        self.dof_posedirs = self.layer.directions[self.num_shapes :].unflatten(0, (-1, 9))[nodes - 1]  # (23, 9, 3 V)
        self.rest_joints = tensor(hand.rest_joints)  # (J, 3)
        self.joint_shapedirs = tensor(hand.joint_shapedirs)  # (J, 3, S)
        self.parents = torch.tensor(hand.parents)
        # Joints by their depth in the tree: those of one level are posed together, fingers side by side.
        self.levels = [level.tolist() for level, _ in hand.levels]
        # (J - 1, V) share of each vertex that joints 1.. and all below them carry.
        below = np.eye(num_j, dtype=bool)
        for j in range(num_j - 1, 0, -1):
            below[hand.parents[j]] |= below[j]
        self.carried = tensor((below.astype(float) @ hand.weights.T)[1:])

    def points(self, state: HandState) -> tuple[Tensor, Tensor]:
        """(B, V, 3) vertices and (B, 21, 3) keypoints [m]."""
        skeleton = self.skeleton(state)
        vertices, _, _ = self.layer.skin(skeleton.feature, skeleton.transforms)
        vertices = (vertices + skeleton.translation.unsqueeze(-1)).mT
        return vertices, self.layer.keypoint_regressor @ vertices

    def skeleton(self, state: HandState) -> "Skeleton":
        """Everything about (B,) states that does not grow with the vertices: small, so for the whole batch at once."""
        count = len(state.angles)
        local, left = exp_and_left_jacobian((state.angles @ self.dof_matrix).unflatten(-1, (-1, 3)))  # (B, J - 1, 3, 3)
        feature = torch.cat([state.beta, pose_feature(local)], 1)
        rest_joints = self.rest_joints + (state.beta @ self.joint_shapedirs.flatten(0, 1).T).view(count, -1, 3)

        rotations, joints = torch.empty(count, len(self.parents), 3, 3, dtype=self.dtype), torch.empty_like(rest_joints)
        moved = torch.empty(*joints.shape, self.num_shapes, dtype=self.dtype)  # derivative of the joints by beta
        rotations[:, 0], joints[:, 0], moved[:, 0] = state.rotation, rest_joints[:, 0], self.joint_shapedirs[0]
        for level in self.levels:
            parents = self.parents[level]
            turned = rotations[:, parents]
            rotations[:, level] = turned @ local[:, [j - 1 for j in level]]
            bones = rest_joints[:, level] - rest_joints[:, parents]
            joints[:, level] = joints[:, parents] + (turned @ bones.unsqueeze(-1)).squeeze(-1)
            moved[:, level] = moved[:, parents] + turned @ (self.joint_shapedirs[level] - self.joint_shapedirs[parents])

        offsets = joints - (rotations @ rest_joints.unsqueeze(-1)).squeeze(-1)
        axes = (left[:, self.dof_nodes - 1] @ self.dof_axes.unsqueeze(-1)).squeeze(-1)  # in the parent's frame
        return Skeleton(
            translation=state.translation,
            feature=feature,
            joints=joints,
            transforms=torch.cat([rotations, offsets.unsqueeze(-1)], -1),
            feature_by_angles=(skew(axes) @ local[:, self.dof_nodes - 1]).flatten(2),
            axes=(rotations[:, self.parents[self.dof_nodes]] @ axes.unsqueeze(-1)).squeeze(-1),
            offsets_by_beta=moved - rotations @ self.joint_shapedirs,
        )

    def linearise(self, skeleton: "Skeleton", out: Tensor) -> Tensor:
        """(B, 3, V) vertices; `out` (B, U, 3, V) gets their derivatives by rotation, translation, angles and beta.

        U is 29 + S, or 29 to leave beta as it is. The caller brings the memory, as it is large and used again and again.
        """
        count, num_v, jacobian = len(out), self.num_vertices, out
        vertices, rest, blended = self.layer.skin(skeleton.feature, skeleton.transforms)

        _basis_crosses(vertices - skeleton.joints[:, 0, :, None], jacobian[:, ROTATION])  # about the wrist
        jacobian[:, TRANSLATION] = torch.eye(3, dtype=self.dtype)[:, :, None]

        # Blend shapes: the derivative of the rest vertices, carried along by the blended rotation.
        rest_by_angles = torch.bmm(skeleton.feature_by_angles.transpose(0, 1), self.dof_posedirs)  # (23, B, 3 V)
        _rotate(blended, rest_by_angles.unflatten(-1, (3, num_v)).transpose(0, 1), jacobian[:, ANGLES])
        # Turning a joint: axis x arm.
        _add_crosses(skeleton.axes, self._arms(skeleton, rest)[:, self.dof_nodes - 1], jacobian[:, ANGLES])

        if jacobian.shape[1] > BETA.start:
            # Shape moves the joints too, and with them what they carry.
            _rotate(blended, self.shapedirs.expand(count, -1, -1, -1), jacobian[:, BETA])
            offsets = skeleton.offsets_by_beta.permute(0, 3, 2, 1).reshape(-1, len(self.parents))
            jacobian[:, BETA] += (offsets @ self.weights).view(count, -1, 3, num_v)
        return vertices + skeleton.translation.unsqueeze(-1)

    def _arms(self, skeleton: "Skeleton", rest: Tensor) -> Tensor:
        """(B, J - 1, 3, V) from each joint 1.. to what it carries: places under its and its children's transforms, by weight."""
        homogeneous = torch.cat([rest, torch.ones_like(rest[:, :1])], 1)  # (B, 4, V)
        arms = (skeleton.transforms[:, 1:].flatten(1, 2) @ homogeneous).unflatten(1, (-1, 3))
        arms *= self.weights[1:, None]
        for level in reversed(self.levels[1:]):
            for j in level:
                arms[:, self.parents[j] - 1] += arms[:, j - 1]
        return arms.addcmul_(self.carried[:, None], skeleton.joints[:, 1:, :, None], value=-1)


class Skeleton(NamedTuple):
    """B posed hands without their vertices. Positions are without the translation."""

    translation: Tensor  # (B, 3)
    feature: Tensor  # (B, S + 9 (J - 1)) coefficients of the blend shapes
    joints: Tensor  # (B, J, 3)
    transforms: Tensor  # (B, J, 3, 4) rest -> posed
    feature_by_angles: Tensor  # (B, 23, 9) derivative of each degree of freedom's own rotation, row-major
    axes: Tensor  # (B, 23, 3) of each degree of freedom
    offsets_by_beta: Tensor  # (B, J, 3, S) derivative of the transforms' last column

    def at(self, index: slice) -> "Skeleton":
        """The hands of that slice."""
        return Skeleton(*(value[index] for value in self))


def _rotate(rotation: Tensor, vectors: Tensor, out: Tensor) -> None:
    """out[b, k, :, v] = rotation[b, :, :, v] vectors[b, k, :, v]."""
    for c in range(3):
        torch.mul(vectors[:, :, 0], rotation[:, None, c, 0], out=out[:, :, c])
        out[:, :, c].addcmul_(vectors[:, :, 1], rotation[:, None, c, 1])
        out[:, :, c].addcmul_(vectors[:, :, 2], rotation[:, None, c, 2])


def _add_crosses(axes: Tensor, arms: Tensor, out: Tensor) -> None:
    """out[b, k, :, v] += axes[b, k] x arms[b, k, :, v]."""
    for c in range(3):
        d, e = (c + 1) % 3, (c + 2) % 3
        out[:, :, c].addcmul_(axes[:, :, d, None], arms[:, :, e]).addcmul_(axes[:, :, e, None], arms[:, :, d], value=-1)


def _basis_crosses(arm: Tensor, out: Tensor) -> None:
    """out[b, k, :, v] = e_k x arm[b, :, v]."""
    out.zero_()
    for k in range(3):
        d, e = (k + 1) % 3, (k + 2) % 3
        out[:, k, d], out[:, k, e] = -arm[:, e], arm[:, d]


@lru_cache(maxsize=4)
def linear_hand(hand: HandModel, dtype: torch.dtype = torch.float32) -> LinearHand:
    """The arranged arrays of a hand model, made once per model and type."""
    return LinearHand(hand, dtype)
