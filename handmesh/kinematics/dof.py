"""The 23 degrees of freedom of a hand: their names, signs and limits, the matrix Z between them and 45 axis-angles, and which
angles lie beyond their limits.

theta (15, 3) = alpha Z: a pose is a *sum* of axis-angles about fixed axes (Lim et al., MobileHand, ICONIP 2020; section 3.3 of
the paper), not a composition of rotations. All angles at zero are the flat hand; no mean pose is added. The rows of Z are
orthonormal, so that Z's transpose is its inverse on feasible poses and drops the rest: twist of the knuckles, twist and abduction
of the joints that only bend.

Which axes rule: those that the hand model carries (`HandModel.joint_axes`). For MANO and the toy hand these are MobileHand's
own construction from the rest joints (`core.anatomy.joint_axes`, with MANO's thumbnail), so Z is the paper's. The embedded
hand was built with axes from its nails and bones, which differ from that construction by 2 to 14 degrees at the fingers, and
its poses turn about them: its own axes drop 0.4 degrees of rotation a joint over the bank, MobileHand's 4 degrees.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from handsynth.core import anatomy
from handsynth.core.conventions import FINGER_JOINTS
from handsynth.core.errors import AssetError
from handsynth.core.hand import HandModel

FLEXION, ABDUCTION, TWIST = 0, 1, 2
"""Rows of `joint_axes`."""

_FINGER_MOTIONS = (("mcp", "abduction"), ("mcp", "flexion"), ("pip", "flexion"), ("dip", "flexion"))
_THUMB_MOTIONS = (
    ("cmc", "twist"), ("cmc", "abduction"), ("cmc", "flexion"), ("mcp", "twist"), ("mcp", "abduction"), ("mcp", "flexion"),
    ("ip", "flexion"),
)  # fmt: skip
_ROWS = {"flexion": FLEXION, "abduction": ABDUCTION, "twist": TWIST}
_LEVELS = {"cmc": 0, "mcp": 0, "pip": 1, "dip": 2}
_THUMB_LEVELS = {"cmc": 0, "mcp": 1, "ip": 2}


class Dof(NamedTuple):
    """One degree of freedom."""

    finger: str
    joint: str  # anatomical: mcp, pip, dip of a finger; cmc, mcp, ip of the thumb
    motion: str  # flexion: to the palm; abduction: to the thumb's side; twist: about -1 times the bone
    node: int  # joint of the kinematic tree, MANO's order
    row: int  # of `joint_axes[node]`
    sign: int  # the axis is sign times that row

    @property
    def name(self) -> str:
        """As in JSON, CSV and robot files: "index_mcp_flexion"."""
        return f"{self.finger}_{self.joint}_{self.motion}"


def _make(finger: str, joint: str, motion: str) -> Dof:
    levels = _THUMB_LEVELS if finger == "thumb" else _LEVELS
    # MobileHand turns the thumb about x, y, z of the template; the bones point along -x, hence the sign of the twist.
    return Dof(finger, joint, motion, FINGER_JOINTS[finger][levels[joint]], _ROWS[motion], -1 if motion == "twist" else 1)


DOFS: tuple[Dof, ...] = tuple(
    _make(finger, *motion)
    for finger in ("index", "middle", "ring", "pinky", "thumb")
    for motion in (_THUMB_MOTIONS if finger == "thumb" else _FINGER_MOTIONS)
)
"""In the order of the angles: index, middle, ring, pinky, thumb. (MANO's joints have the pinky before the ring.)"""

DOF_NAMES: tuple[str, ...] = tuple(dof.name for dof in DOFS)

NUM_DOFS = len(DOFS)


def dof_matrix(rest_joints: np.ndarray, thumbnail_sides: np.ndarray | None = None) -> np.ndarray:
    """Z of any hand from its rest joints, by MobileHand's construction.

    Args:
        rest_joints: (16, 3) joints of the flat hand, beta = 0, MANO's order and template frame [m].
        thumbnail_sides: (2, 3) points on the thumbnail's two sides; None means `anatomy.THUMB_ROLL_DEG`.

    Returns:
        (23, 45) float64, orthonormal rows; columns are the axis-angles of joints 1 to 15.
    """
    return _matrix(anatomy.joint_axes(np.asarray(rest_joints, np.float64), thumbnail_sides))


@lru_cache(maxsize=8)
def hand_dof_matrix(hand: HandModel) -> np.ndarray:
    """Z of a hand model, (23, 45), about the axes that it carries: found once, and not to be written into.

    Raises AssetError when they are not orthonormal.

    The axes are stored in float32; the nearest orthonormal ones are taken, so that Z Z^T = I to rounding.
    """
    u, singular, vt = np.linalg.svd(np.asarray(hand.joint_axes, np.float64))
    if np.abs(singular - 1).max() > 1e-3:
        raise AssetError(f"hand model {hand.name!r}: joint_axes are not orthonormal: prepare the hand again")
    matrix = _matrix(u @ vt)
    matrix.flags.writeable = False
    return matrix


def _matrix(axes: np.ndarray) -> np.ndarray:
    """(16, 3, 3) axes -> (23, 45)."""
    matrix = np.zeros((NUM_DOFS, len(axes) - 1, 3))
    for k, dof in enumerate(DOFS):
        matrix[k, dof.node - 1] = dof.sign * axes[dof.node, dof.row]
    return matrix.reshape(NUM_DOFS, -1)


def dof_limits(joint_limits: np.ndarray | None = None) -> np.ndarray:
    """(23, 2) least and greatest angles [rad].

    Args:
        joint_limits: (16, 3, 2) of a hand model [rad]; None means MobileHand's table, which MANO and the toy hand carry.
    """
    limits = anatomy.joint_limits() if joint_limits is None else joint_limits
    return np.array([sorted(dof.sign * limits[dof.node, dof.row]) for dof in DOFS])


def project(theta: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """45 -> 23: (..., 15, 3) axis-angles relative to the flat hand [rad] -> (..., 23) nearest angles [rad].

    Theta is absolute: where a dataset's is relative to a mean pose (FreiHAND's), that pose is added first.
    """
    theta = np.asarray(theta)
    return theta.reshape(*theta.shape[:-2], -1) @ matrix.T


def embed(angles: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """23 -> 45: (..., 23) angles [rad] -> (..., 15, 3) axis-angles relative to the flat hand [rad]."""
    flat = np.asarray(angles) @ matrix
    return flat.reshape(*flat.shape[:-1], -1, 3)


TOLERANCE_DEG = 0.01
"""Of `limit_violations`: rounding is no violation."""


class LimitViolation(NamedTuple):
    """One angle of one hand that no hand should take."""

    hand: int  # row of the batch
    name: str  # of the degree of freedom
    angle_deg: float
    least_deg: float
    greatest_deg: float

    def __str__(self) -> str:
        return f"hand {self.hand}: {self.name} is {self.angle_deg:.1f} degrees, outside {self.least_deg:g} to {self.greatest_deg:g}"


def limit_violations(hand: HandModel, angles: np.ndarray, tolerance_deg: float = TOLERANCE_DEG) -> list[LimitViolation]:
    """(N, 23) angles [rad] -> every angle that lies beyond the hand's limits by more than the tolerance."""
    degrees, limits = np.rad2deg(np.asarray(angles, np.float64)), np.rad2deg(dof_limits(hand.joint_limits))
    outside = (degrees < limits[:, 0] - tolerance_deg) | (degrees > limits[:, 1] + tolerance_deg)
    return [LimitViolation(int(n), DOF_NAMES[k], float(degrees[n, k]), *map(float, limits[k])) for n, k in np.argwhere(outside)]
