"""Joint angles of a pose: 23 degrees of freedom, and how they make axis-angle vectors."""

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
