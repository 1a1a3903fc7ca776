"""Where a fit starts: the pose read off a mesh part by part, or a given one laid upon the mesh."""

import numpy as np
import torch
from torch import Tensor

from handmesh.kinematics.dof import dof_limits, hand_dof_matrix, project
from handmesh.kinematics.energy import Targets
from handmesh.kinematics.linear import HandState, LinearHand
from handmesh.kinematics.rigid import align_rigid, move, nearest_rotation
from handsynth.core.hand import HandModel
from handsynth.core.rotation import rotmat_to_rotvec


def state_from_mesh(hand: HandModel, linear: LinearHand, targets: Targets, beta: Tensor | None = None) -> HandState:
    """The nearest feasible pose of each part's own best rotation, laid upon the mesh; within the limits, as a start is no result.

    Each joint's vertices are aligned with the template's, weighted by skinning (Kabsch); rotations against the parents give
    45 angles, and the projection 23 of them. `beta` None starts from the mean shape.
    """
    weights = torch.tensor(hand.weights.T, dtype=linear.dtype)  # (J, V)
    template = torch.tensor(hand.v_template, dtype=linear.dtype)
    shares = weights / weights.sum(1, keepdim=True)
    centred = template - (shares @ template).unsqueeze(1)  # (J, V, 3) about each part's own centre
    # sum_v w (y - mean y) (x - mean x)^T = sum_v w y (x - mean x)^T, for all parts at once.
    covariance = torch.einsum("bvc,jvd->bjcd", targets.vertices, shares.unsqueeze(-1) * centred)
    rotations = nearest_rotation(covariance).double().numpy()
    parents = hand.parents[1:]
    theta = rotmat_to_rotvec(np.swapaxes(rotations[:, parents], -1, -2) @ rotations[:, 1:])  # (B, J - 1, 3)
    limits = dof_limits(hand.joint_limits)
    angles = np.clip(project(theta, hand_dof_matrix(hand)), limits[:, 0], limits[:, 1])
    beta = torch.zeros(len(angles), linear.num_shapes, dtype=linear.dtype) if beta is None else beta
    return state_from_pose(linear, targets, torch.tensor(angles, dtype=linear.dtype), beta)


def state_from_pose(linear: LinearHand, targets: Targets, angles: Tensor, beta: Tensor) -> HandState:
    """(B, 23) angles and (B, S) beta, turned and moved rigidly upon the target vertices."""
    eye = torch.eye(3, dtype=linear.dtype).expand(len(angles), 3, 3)
    standing = HandState(eye, torch.zeros(len(angles), 3, dtype=linear.dtype), angles, beta)
    vertices, _ = linear.points(standing)
    rotation, translation = align_rigid(vertices, targets.vertices, targets.weights)
    # R x + t turns about the origin, a state about its wrist: the wrist itself goes to R w + t.
    wrist = linear.rest_joints[0] + beta @ linear.joint_shapedirs[0].T
    return HandState(rotation, move(wrist.unsqueeze(1), rotation, translation).squeeze(1) - wrist, angles, beta)
