"""Where on a hand each texel lies, in words of anatomy: along and across fingers and palm, palmar or dorsal, near the rim."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from handsynth.assets.skins.painter.noise import smoothstep
from handsynth.assets.skins.painter.surface import Surface
from handsynth.core.conventions import FINGER_JOINTS, FINGERS
from handsynth.core.hand import HandModel
from handsynth.core.mesh import boundary_loop


@dataclass(frozen=True, eq=False)
class Finger:
    """Coordinates of every texel relative to one finger; they mean something where `member` is above 0."""

    name: str
    member: np.ndarray  # (U,) share of the finger's three joints in the skinning, 0..1
    last: np.ndarray  # (U,) share of the last joint alone
    along: np.ndarray  # (U,) way along the bones from the first joint, negative before it [m]
    across: np.ndarray  # (U,) sideways from the bones' middle line; towards the thumb on a finger [m]
    side: np.ndarray  # (U,) across / half width there, -1..1
    palmar: np.ndarray  # (U,) cosine between the normal and the palmar direction of the finger
    joints: np.ndarray  # (3,) `along` of its joints [m]
    end: float  # `along` of the foremost flesh [m]
    half_width: float  # at the last joint [m]


@dataclass(frozen=True, eq=False)
class Frames:
    """Coordinates of every texel of a surface."""

    surface: Surface
    fingers: tuple[Finger, ...]  # in FINGERS' order
    palm: np.ndarray  # (U, 2) plane of the palm: from the wrist to the middle knuckle; towards the thumb from the middle line [m]
    palm_length: float  # wrist to middle knuckle [m]
    palm_width: float  # index knuckle to little finger's knuckle [m]
    palm_knuckles: np.ndarray  # (5, 2) first joints of FINGERS in the palm's plane [m]
    palmar: np.ndarray  # (U,) -1 on the back of the hand and fingers, +1 on the palm and pads
    hand_body: np.ndarray  # (U,) 1 on palm, back and finger roots, falling to 0 beyond the fingers' first joints
    away_from_rim: np.ndarray  # (U,) 0 at the wrist's rim, 1 from 14 mm on

    def palm_path(self, points: Sequence[tuple[float, float]]) -> np.ndarray:
        """(K, 2) of (share of palm_length, share of palm_width) -> (K, 2) points in the plane of the palm [m]."""
        return np.array(points) * [self.palm_length, self.palm_width]


def hand_frames(hand: HandModel, surface: Surface) -> Frames:
    """Frames of a hand in MANO's template frame: fingers along -x, palm towards -y, thumb side +z."""
    fingers, palmar = [], surface.weights[:, 0:1] * np.array([0.0, -1.0, 0.0])
    for name, tip in zip(FINGERS, hand.fingertips, strict=True):
        chain = FINGER_JOINTS[name]
        finger, directions = _finger(name, np.concatenate([hand.rest_joints[list(chain)], hand.v_template[[tip]]]), hand, surface)
        fingers.append(finger)
        palmar = palmar + surface.weights[:, chain] @ directions
    palmar /= np.maximum(np.linalg.norm(palmar, axis=1, keepdims=True), 1e-9)

    joints = hand.rest_joints
    forward, right = _palm_axes(joints)
    origin = joints[0]
    middle = 0.5 * (joints[FINGER_JOINTS["index"][0]] + joints[FINGER_JOINTS["pinky"][0]])
    axes = np.stack([forward, right], 1)  # (3, 2)
    shift = np.array([0.0, (middle - origin) @ right])
    beyond = sum(surface.weights[:, FINGER_JOINTS[name][1:]].sum(1) for name in FINGERS)
    knuckles = joints[[FINGER_JOINTS[name][0] for name in FINGERS]]
    return Frames(
        surface=surface,
        fingers=tuple(fingers),
        palm=((surface.position - origin) @ axes - shift).astype(np.float32),
        palm_length=float(np.linalg.norm(joints[FINGER_JOINTS["middle"][0]] - origin)),
        palm_width=float(np.linalg.norm(joints[FINGER_JOINTS["index"][0]] - joints[FINGER_JOINTS["pinky"][0]])),
        palm_knuckles=(knuckles - origin) @ axes - shift,
        palmar=np.einsum("uc,uc->u", surface.normal, palmar).astype(np.float32),
        hand_body=smoothstep(beyond, 0.6, 0.05).astype(np.float32),
        away_from_rim=_away_from_rim(hand, surface),
    )


def _palm_axes(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors in the palm's plane: wrist to middle knuckle, and across it towards the thumb."""
    forward = joints[FINGER_JOINTS["middle"][0]] - joints[0]
    forward = forward / np.linalg.norm(forward)
    right = joints[FINGER_JOINTS["index"][0]] - joints[FINGER_JOINTS["pinky"][0]]
    right = right - forward * (right @ forward)
    return forward, right / np.linalg.norm(right)


def _finger(name: str, nodes: np.ndarray, hand: HandModel, surface: Surface) -> tuple[Finger, np.ndarray]:
    """The finger whose three joints and tip are `nodes` (4, 3), and (3, 3) palmar direction of its three bones."""
    chain = FINGER_JOINTS[name]
    flexion_axis = hand.joint_axes[chain[2], 0]
    bones = np.diff(nodes, axis=0)
    lengths = np.linalg.norm(bones, axis=1)
    bones = bones / lengths[:, None]
    palmar_directions = np.cross(flexion_axis, bones)
    palmar_directions /= np.linalg.norm(palmar_directions, axis=1, keepdims=True)

    # Sum of clipped projections on the bones: grows steadily along a finger, bent or not.
    position = surface.position
    along, axis = np.zeros(len(position)), np.tile(nodes[0], (len(position), 1))
    palmar = np.zeros((len(position), 3))
    for k in range(3):
        t = (position - nodes[k]) @ bones[k]
        t = np.clip(t, 0.0 if k else None, lengths[k] if k < 2 else None)
        along += t
        axis += t[:, None] * bones[k]
        share = smoothstep(along, lengths[:k].sum() - 0.003, lengths[:k].sum() + 0.003) if k else 1.0
        palmar += np.reshape(share, (-1, 1)) * (palmar_directions[k] - (palmar_directions[k - 1] if k else 0.0))
    across = (position - axis) @ flexion_axis
    member = surface.weights[:, chain].sum(1)
    joints = np.concatenate([[0.0], np.cumsum(lengths[:2])])
    flesh = member > 0.5
    end = float(along[flesh].max()) if flesh.any() else float(lengths.sum())
    middle, half = _widths(along[flesh], across[flesh], end)
    palmar /= np.maximum(np.linalg.norm(palmar, axis=1, keepdims=True), 1e-9)
    half_here = np.interp(along, middle[0], half)
    finger = Finger(
        name=name,
        member=member.astype(np.float32),
        last=surface.weights[:, chain[2]],
        along=along.astype(np.float32),
        across=across.astype(np.float32),
        side=((across - np.interp(along, *middle)) / half_here).astype(np.float32),
        palmar=np.einsum("uc,uc->u", surface.normal, palmar).astype(np.float32),
        joints=joints,
        end=end,
        half_width=float(np.interp(joints[2], middle[0], half)),
    )
    return finger, palmar_directions


def _widths(along: np.ndarray, across: np.ndarray, end: float) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """((places along, middle of the flesh there), half width there) of a finger, in 16 sections; the last ones keep their width."""
    edges = np.linspace(0.0, end, 17)
    centres, middle, half = 0.5 * (edges[1:] + edges[:-1]), np.zeros(16), np.zeros(16)
    for k in range(16):
        inside = across[(along >= edges[k]) & (along <= edges[k + 1])]
        low, high = (np.percentile(inside, 2), np.percentile(inside, 98)) if len(inside) > 4 else (-0.008, 0.008)
        middle[k], half[k] = 0.5 * (low + high), max(0.5 * (high - low), 0.002)
    # The rounded end is no narrower finger: a nail keeps its width up to its free edge.
    half[14:], middle[14:] = half[13], middle[13]
    return (centres, middle), half


def _away_from_rim(hand: HandModel, surface: Surface) -> np.ndarray:
    """(U,) 0 at the open wrist, 1 from 14 mm on; all 1 on a closed mesh."""
    try:
        rim = hand.v_template[boundary_loop(hand.faces)]
    except ValueError:
        return np.ones(len(surface.texels), np.float32)
    dense = np.concatenate([rim + t * (np.roll(rim, -1, 0) - rim) for t in np.linspace(0, 1, 8, endpoint=False)])
    return smoothstep(cKDTree(dense).query(surface.position)[0], 0.003, 0.014).astype(np.float32)
