"""Joint coordinates: the 23 degrees of freedom as a chain of revolute joints, as robots have them, beside the paper's sums.

The paper's hand turns an anatomical joint by exp(sum_k alpha_k a_k), a sum of axis-angles; a mechanism turns it by
exp(q_1 a_1) exp(q_2 a_2) ..., one revolute joint an axis, the first nearest to the palm. The order is that of `DOFS`: abduction
before flexion at a knuckle, as robot hands are built; twist, abduction, flexion at the thumb's two lower joints. Since the axes of
one joint are orthonormal and, in this order, right-handed, the conversion does not depend on the hand: in the joint's own frame
they are x, y and z.

* One axis (PIP, DIP, IP): both say the same.
* Three axes (thumb's CMC and MCP): Euler angles of the same rotation, exact.
* Two axes (MCP): a sum reaches rotations that two revolute joints do not, and the other way round. Both ways give the values of
  least rotation distance, in closed form, and the angle that is left; there and back is not the same value.

Limits of the angles serve as limits of the joint coordinates; they agree along each axis, and about two axes at once only nearly.
"""

from typing import NamedTuple

import numpy as np

from handmesh.kinematics.dof import DOFS, NUM_DOFS, hand_dof_matrix
from handsynth.core.conventions import FINGER_JOINTS, FINGERS, KEYPOINT_SOURCE
from handsynth.core.hand import HandModel, turn_joints
from handsynth.core.rotation import rotmat_to_rotvec, rotvec_to_rotmat

NODE_DOFS = {dof.node: [k for k, other in enumerate(DOFS) if other.node == dof.node] for dof in DOFS}
"""Degrees of freedom of each joint of the kinematic tree, from the palm outwards: indices of DOFS."""

_KNUCKLES = np.array([rows for rows in NODE_DOFS.values() if len(rows) == 2])  # (4, 2) abduction and flexion
_BALLS = np.array([rows for rows in NODE_DOFS.values() if len(rows) == 3])  # (2, 3) twist, abduction, flexion

KNUCKLE_NAMES = tuple(f"{DOFS[k].finger}_{DOFS[k].joint}" for k in _KNUCKLES[:, 0])
"""Of the columns of `residual_deg`: "index_mcp", ..."""


class Converted(NamedTuple):
    """Values of the 23 degrees of freedom in the other convention."""

    values: np.ndarray  # (..., 23) [rad], DOFS' order
    residual_deg: np.ndarray  # (..., 4) angle between the two rotations of each knuckle, KNUCKLE_NAMES' order


def to_joint_coordinates(angles: np.ndarray) -> Converted:
    """Angles -> joint coordinates.

    Args:
        angles: (..., 23) [rad], less than half a turn at each joint.

    Two revolute joints about x and y make the unit quaternions (w, x, y, z) whose matrix [[w, y], [x, z]] is
    (cos q1/2, sin q1/2) (cos q2/2, sin q2/2)^T, of rank one; the nearest to another is given by its leading singular vectors,
    which for 2 x 2 are two arctangents.
    """
    angles = np.asarray(angles, np.float64)
    coordinates = angles.copy()
    coordinates[..., _BALLS] = _rotmat_to_euler(rotvec_to_rotmat(angles[..., _BALLS]))
    turn = angles[..., _KNUCKLES]
    half = np.linalg.norm(turn, axis=-1) / 2
    x, y = np.moveaxis(turn * np.sinc(half / np.pi)[..., None] / 2, -1, 0)
    total, difference = np.arctan2(x + y, np.cos(half)), np.arctan2(x - y, np.cos(half))
    coordinates[..., _KNUCKLES] = np.stack([total + difference, total - difference], -1)
    # The singular values have squares that sum to 1 and the product |x y|: cosine and sine of half the angle left.
    return Converted(coordinates, np.rad2deg(np.arcsin(np.minimum(2 * np.abs(x * y), 1.0))))


def from_joint_coordinates(coordinates: np.ndarray) -> Converted:
    """Joint coordinates -> angles.

    Args:
        coordinates: (..., 23) [rad], less than half a turn each and at each joint.

    Sums of turns about x and y are the unit quaternions with z = 0: the nearest to another is itself without its z.
    """
    coordinates = np.asarray(coordinates, np.float64)
    angles = coordinates.copy()
    first, second, third = np.moveaxis(rotvec_to_rotmat(coordinates[..., _BALLS, None] * np.eye(3)), -3, 0)
    angles[..., _BALLS] = rotmat_to_rotvec(first @ second @ third)
    (cos1, cos2), (sin1, sin2) = (np.moveaxis(f(coordinates[..., _KNUCKLES] / 2), -1, 0) for f in (np.cos, np.sin))
    xy = np.stack([sin1 * cos2, cos1 * sin2], -1)
    half = np.arctan2(np.linalg.norm(xy, axis=-1), cos1 * cos2)
    # |xy| / sin(half) is the length of (w, x, y), by which xy is divided to make it a unit quaternion's.
    length = np.hypot(np.linalg.norm(xy, axis=-1), cos1 * cos2)
    angles[..., _KNUCKLES] = 2 * xy / (length * np.sinc(half / np.pi))[..., None]
    return Converted(angles, np.rad2deg(2 * np.arcsin(np.minimum(np.abs(sin1 * sin2), 1.0))))


def revolute_axes(hand: HandModel) -> np.ndarray:
    """(23, 3) unit axes of the revolute joints on the flat right hand, template frame."""
    matrix = hand_dof_matrix(hand).reshape(NUM_DOFS, -1, 3)
    return np.array([matrix[k, dof.node - 1] for k, dof in enumerate(DOFS)])


def revolute_rotations(hand: HandModel, coordinates: np.ndarray) -> np.ndarray:
    """(..., 23) joint coordinates [rad] -> (..., 15, 3, 3) rotation of each joint 1.. against its parent."""
    turns = rotvec_to_rotmat(np.asarray(coordinates, np.float64)[..., None] * revolute_axes(hand))
    rotations = np.broadcast_to(np.eye(3), (*turns.shape[:-3], hand.num_joints - 1, 3, 3)).copy()
    for k, dof in enumerate(DOFS):
        rotations[..., dof.node - 1, :, :] = rotations[..., dof.node - 1, :, :] @ turns[..., k, :, :]
    return rotations


def rigid_keypoints(hand: HandModel, beta: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Forward kinematics of rigid links on the flat hand of a shape.

    Args:
        hand: the right hand.
        beta: (S,) shape [standard deviations].
        rotations: (..., 15, 3, 3) of joints 1.. against their parents.

    Returns:
        (..., 21, 3) [m], FreiHAND's order, template frame, the wrist at rest: the joints are nodes of the kinematic tree, the tips
        are fixed points of the last links. MANO's tips and FreiHAND's joints are points of a skin that skinning and pose blend
        shapes deform, so they differ (benchmarks/joint_coordinates.py: by how much).
    """
    beta = np.asarray(beta, np.float64)
    rest = hand.rest_joints + hand.joint_shapedirs @ beta
    tips = hand.v_template[hand.fingertips] + hand.shapedirs[hand.fingertips] @ beta
    batch = rotations.shape[:-3]
    wrist = np.broadcast_to(np.eye(3), (*batch, 1, 3, 3))
    rest_joints = np.broadcast_to(rest, (*batch, *rest.shape))
    turned, joints = turn_joints(hand, np.concatenate([wrist, rotations], -3), rest_joints)
    last = [FINGER_JOINTS[finger][-1] for finger in FINGERS]
    ends = joints[..., last, :] + (turned[..., last, :, :] @ (tips - rest[last])[..., None])[..., 0]
    return np.concatenate([joints, ends], -2)[..., KEYPOINT_SOURCE, :]


def revolute_kinematics(hand: HandModel, beta: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """(..., 23) joint coordinates [rad] and (S,) shape -> (..., 21, 3) keypoints [m] of rigid links, as of `rigid_keypoints`."""
    return rigid_keypoints(hand, beta, revolute_rotations(hand, coordinates))


def _rotmat_to_euler(rotmat: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> (..., 3) angles with rotmat = Rx(q1) Ry(q2) Rz(q3), q2 within a quarter turn; holds at gimbal lock too."""
    first = np.arctan2(-rotmat[..., 1, 2], rotmat[..., 2, 2])
    second = np.arctan2(rotmat[..., 0, 2], np.hypot(rotmat[..., 1, 2], rotmat[..., 2, 2]))
    # The middle row of Rx(-q1) rotmat is (sin q3, cos q3, 0), whatever q2 is.
    middle = np.cos(first)[..., None] * rotmat[..., 1, :] + np.sin(first)[..., None] * rotmat[..., 2, :]
    return np.stack([first, second, np.arctan2(middle[..., 0], middle[..., 1])], -1)
