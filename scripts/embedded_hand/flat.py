"""Step 2: lay every sampled hand flat and equal in pose, in MANO's template frame and at a human size."""

from dataclasses import dataclass

import numpy as np

from embedded_hand.posing import blend_dual_quaternion, joint_transforms, rotation_between
from embedded_hand.source import SourceHands
from handsynth.core.conventions import FINGER_JOINTS

WRIST = np.array([0.0957, 0.0064, 0.0062])
"""Where MANO's template has its wrist [m], so that ours sits where code written for MANO expects it."""

HAND_LENGTH_M = 0.184
"""Wrist joint to middle fingertip: a hand of 0.19 m from the crease, the mean of adults (Buryanov and Kotiuk 2010)."""

SPREAD = 0.75
"""Part of the source's finger spread that the flat hand keeps."""

THUMB_LIFT = np.radians(14)
"""The source's relaxed thumb hangs below the palm; the flat hand's lies this much nearer to the palm's plane."""


@dataclass(frozen=True)
class FlatHands:
    """S flat hands in MANO's frame [m]; hand 0 is the template."""

    vertices: np.ndarray  # (S, N, 3)
    joints: np.ndarray  # (S, 16, 3)
    tips: np.ndarray  # (5,) source vertices at the tips: index, middle, pinky, ring, thumb (order of FINGER_JOINTS)


def flatten_hands(source: SourceHands) -> FlatHands:
    """All hands get the same bone directions, and the palms are laid upon each other; sizes stay as they are."""
    vertices, joints = _to_palm_frame(source.vertices, source.joints)
    tips = _find_tips(vertices[0], joints[0], source.weights)
    directions = _flat_directions(joints[0], vertices[0, tips])
    rotations = np.broadcast_to(np.eye(3), (len(vertices), 16, 3, 3)).copy()
    for finger, (members, tip) in enumerate(zip(FINGER_JOINTS.values(), tips, strict=True)):
        chain = [joints[:, j] for j in members] + [vertices[:, tip]]
        turned = np.broadcast_to(np.eye(3), (len(vertices), 3, 3))
        for k, j in enumerate(members):
            bone = (turned @ (chain[k + 1] - chain[k])[..., None])[..., 0]
            step = rotation_between(bone, np.broadcast_to(directions[finger, k], bone.shape))
            rotations[:, j] = np.swapaxes(turned, -1, -2) @ step @ turned
            turned = step @ turned
    rot, shift = joint_transforms(rotations, joints)
    flat = blend_dual_quaternion(vertices, source.weights, rot, shift)
    joints = (rot @ joints[..., None])[..., 0] + shift
    palm = source.weights[:, 0] > 0.9
    flat, joints = _align(flat, joints, palm)
    scale = HAND_LENGTH_M / np.linalg.norm(flat[0, tips[1]] - joints[0, 0])
    origin = joints[0, 0].copy()
    return FlatHands((flat - origin) * scale + WRIST, (joints - origin) * scale + WRIST, tips)


def _to_palm_frame(vertices: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turns each hand so that wrist to middle knuckle is -x, and the knuckles' line lies in the xz plane."""
    wrist, index, middle, pinky = (joints[:, j] for j in (0, 1, 4, 7))
    x = wrist - middle
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    z = index - pinky
    z -= x * (x * z).sum(-1, keepdims=True)
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    frame = np.stack([x, np.cross(z, x), z], 1)  # rows: x, y, z
    return (vertices - wrist[:, None]) @ np.swapaxes(frame, 1, 2), (joints - wrist[:, None]) @ np.swapaxes(frame, 1, 2)


def _find_tips(vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The vertex of each finger farthest along its last bone, as seen from the last joint but one."""
    tips = []
    for members in FINGER_JOINTS.values():
        own = np.flatnonzero(weights[:, members[2]] > 0.5)
        axis = vertices[own].mean(0) - joints[members[2]]
        tips.append(own[np.argmax((vertices[own] - joints[members[2]]) @ axis)])
    return np.array(tips)


def _flat_directions(joints: np.ndarray, tip_points: np.ndarray) -> np.ndarray:
    """(5, 3, 3) direction of each bone in the flat hand, from the template's own bones."""
    out = np.empty((5, 3, 3))
    for finger, members in enumerate(FINGER_JOINTS.values()):
        chain = np.array([*joints[list(members)], tip_points[finger]])
        if finger < 4:
            whole = chain[3] - chain[0]
            angle = SPREAD * np.arctan2(whole[2], -whole[0])
            out[finger] = [-np.cos(angle), 0, np.sin(angle)]
        else:
            bones = np.diff(chain, axis=0)
            bones /= np.linalg.norm(bones, axis=1, keepdims=True)
            # Lift about the axis in the palm's plane that is square to the thumb.
            level = np.cross([0, 1, 0], bones[1])
            level /= np.linalg.norm(level)
            c, s = np.cos(-THUMB_LIFT), np.sin(-THUMB_LIFT)
            out[finger] = bones * c + np.cross(level, bones) * s + np.outer(bones @ level, level) * (1 - c)
    return out


def _align(vertices: np.ndarray, joints: np.ndarray, palm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moves each hand rigidly so that its palm fits hand 0's best (Kabsch), sizes untouched."""
    goal = vertices[0, palm]
    centre = goal.mean(0)
    means = vertices[:, palm].mean(1, keepdims=True)
    u, _, vt = np.linalg.svd(np.swapaxes(vertices[:, palm] - means, 1, 2) @ (goal - centre))
    sign = np.linalg.det(u @ vt)
    u[..., -1] *= sign[:, None]
    turn = u @ vt  # row vectors times turn
    return (vertices - means) @ turn + centre, (joints - means) @ turn + centre
