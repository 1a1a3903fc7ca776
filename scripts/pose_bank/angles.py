"""Joint angles of a pose: 23 degrees of freedom, how they make axis-angle vectors, and how they are read back."""

import numpy as np

from handsynth.core.conventions import FINGER_JOINTS
from handsynth.core.hand import HandModel
from handsynth.core.rotation import rotmat_to_rotvec, rotvec_to_rotmat

FLEXION, ABDUCTION, TWIST = 0, 1, 2


def degrees_of_freedom() -> tuple[tuple[int, int], ...]:
    """The 23 (joint, axis) pairs that move, as in MobileHand: four per finger, and seven of the thumb."""
    out = []
    for finger, (first, second, third) in FINGER_JOINTS.items():
        if finger == "thumb":
            out += [(first, axis) for axis in range(3)] + [(second, axis) for axis in range(3)] + [(third, FLEXION)]
        else:
            out += [(first, FLEXION), (first, ABDUCTION), (second, FLEXION), (third, FLEXION)]
    return tuple(out)


def pose_from_angles(model: HandModel, angles: np.ndarray) -> np.ndarray:
    """(..., 16, 3) flexion, abduction, twist [rad] -> (..., 16, 3) axis-angle relative to the flat hand.

    R = R_flexion R_abduction R_twist: flexion about the axis of the parent, twist about the bone itself, abduction about
    the axis between them, the order that the International Society of Biomechanics recommends (Wu et al. 2005).
    """
    about = rotvec_to_rotmat(model.joint_axes * np.asarray(angles)[..., None])  # (..., 16, 3, 3, 3)
    return rotmat_to_rotvec(about[..., FLEXION, :, :] @ about[..., ABDUCTION, :, :] @ about[..., TWIST, :, :])


def angles_from_pose(model: HandModel, theta: np.ndarray) -> np.ndarray:
    """(..., 16, 3) axis-angle -> (..., 16, 3) flexion, abduction, twist [rad]: the inverse, for abduction within 90 degrees."""
    axes = model.joint_axes
    r = axes @ rotvec_to_rotmat(theta) @ np.swapaxes(axes, -1, -2)  # in the frame of the joint's own axes
    flexion = np.arctan2(-r[..., 1, 2], r[..., 2, 2])
    abduction = np.arcsin(np.clip(r[..., 0, 2], -1, 1))
    twist = np.arctan2(-r[..., 0, 1], r[..., 0, 0])
    return np.stack([flexion, abduction, twist], -1)
