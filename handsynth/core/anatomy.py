"""Anatomical axes and ranges of a hand's joints, from its rest joints: the construction of MobileHand's 23 angles.

Source: Lim, Jatesiktat, Ang, "MobileHand: real-time 3D hand shape and pose estimation from color image", ICONIP 2020,
and its published code. It holds for every right hand in MANO's template frame: fingers along -x, palm towards -y, thumb side +z.
"""

import numpy as np

from handsynth.core.conventions import FINGER_JOINTS, PARENTS

FREE = (-180.0, 180.0)
FIXED = (0.0, 0.0)
_REVOLUTE = ((-1.0, 90.0), FIXED, FIXED)
_THUMB_BALL = ((-45.0, 45.0), (-45.0, 45.0), (-45.0, 45.0))

JOINT_LIMITS_DEG = (
    (FREE, FREE, FREE),  # wrist: the turn of the whole hand
    ((-10.0, 90.0), (-20.0, 30.0), FIXED), _REVOLUTE, _REVOLUTE,  # index
    ((-10.0, 90.0), (-20.0, 10.0), FIXED), _REVOLUTE, _REVOLUTE,  # middle
    ((-10.0, 90.0), (-30.0, 20.0), FIXED), _REVOLUTE, _REVOLUTE,  # pinky
    ((-10.0, 90.0), (-20.0, 10.0), FIXED), _REVOLUTE, _REVOLUTE,  # ring
    _THUMB_BALL, _THUMB_BALL, _REVOLUTE,  # thumb
)  # fmt: skip
"""(flexion, abduction, twist) x (least, greatest) of each joint in MANO's order [deg]: MobileHand's table.

FIXED marks the axes that are no degree of freedom: of the 45 angles, 23 are left.
"""

FOREARM_OF_HAND = 1.38
"""Wrist to elbow over wrist to tip of the middle finger (NASA, Anthropometric Source Book, 1978: radiale-stylion, hand length)."""

THUMB_ROLL_DEG = -45.0
"""Roll of the thumb's last flexion axis when the nail's sides are unknown [deg].

On a flat hand the thumbnail faces about half-way between the back of the hand (0) and the thumb's side (-90).
"""


def joint_limits() -> np.ndarray:
    """(16, 3, 2) least and greatest angle about the rows of `joint_axes` [rad]."""
    return np.deg2rad(np.array(JOINT_LIMITS_DEG))


def joint_axes(rest_joints: np.ndarray, thumbnail_sides: np.ndarray | None = None) -> np.ndarray:
    """Axes of flexion, abduction and twist for each joint.

    Args:
        rest_joints: (16, 3) joints of the flat hand, beta = 0, MANO's order and template frame [m].
        thumbnail_sides: (2, 3) points on the two sides of the thumbnail, which roll the last thumb joint's flexion axis
            (MobileHand takes MANO's vertices 747 and 720); None means THUMB_ROLL_DEG.

    Returns:
        (16, 3, 3): rows are unit vectors of the template frame, a right-handed frame per joint. A positive turn about
        row 0 bends towards the palm (-y), about row 1 moves towards the thumb's side (+z), row 2 points along the bone.

    Each finger joint takes the direction of the bone that leads to it, seen from above (in the xz-plane). The wrist and
    the first two thumb joints take the template's own axes (z, y, -x).
    """
    axes = np.tile(np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]), (len(PARENTS), 1, 1))
    revolute = [j for finger, chain in FINGER_JOINTS.items() for j in (chain if finger != "thumb" else chain[2:])]
    for j in revolute:
        bone = rest_joints[j] - rest_joints[PARENTS[j]]
        # The angle of MobileHand's arctan(dz / dx), which for bones along -x this equals without its jump at dx = 0.
        heading = np.arctan2(-bone[2], -bone[0])
        sin, cos = np.sin(heading), np.cos(heading)
        across, along = np.array([-sin, 0.0, cos]), np.array([-cos, 0.0, -sin])
        roll = _thumb_roll(thumbnail_sides) if j == FINGER_JOINTS["thumb"][2] else 0.0
        flexion = np.cos(roll) * across + np.sin(roll) * np.array([0.0, 1.0, 0.0])
        axes[j] = flexion, np.cross(along, flexion), along
    return axes


def _thumb_roll(thumbnail_sides: np.ndarray | None) -> float:
    """Angle between the thumb's last flexion axis and the plane of the palm [rad]."""
    if thumbnail_sides is None:
        return float(np.deg2rad(THUMB_ROLL_DEG))
    across = np.asarray(thumbnail_sides[0]) - np.asarray(thumbnail_sides[1])
    return float(np.arctan(across[1] / across[2])) if across[2] else -np.pi / 2
