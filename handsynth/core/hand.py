"""The hand model: arrays in MANO's layout, and how they make posed vertices, joints and keypoints."""

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from handsynth.core.anatomy import FOREARM_OF_HAND
from handsynth.core.arrays import read_typed
from handsynth.core.conventions import KEYPOINT_SOURCE
from handsynth.core.errors import AssetError
from handsynth.core.mesh import boundary_loops, cap_fan
from handsynth.core.rotation import rotvec_to_rotmat


@dataclass(frozen=True, eq=False)
class HandModel:
    """A right hand in MANO's layout (Romero et al. 2017). V vertices, F faces, J = 16 joints, S shape components.

    Frame: the template's own, metres; fingers along -x, palm towards -y, thumb side +z. Left hands are mirrored
    right ones and exist only at the border (`core/mirror.py`).
    """

    name: str  # "embedded", "mano", "toy"
    licence: str  # one line, carried into every dataset
    v_template: np.ndarray  # (V, 3) rest vertices [m]
    shapedirs: np.ndarray  # (V, 3, S) offsets per standard deviation of beta [m]
    posedirs: np.ndarray  # (V, 3, 9 (J - 1)) offsets per entry of R - I, joints 1.., row-major [m]
    J_regressor: np.ndarray  # (J, V) rows sum to 1
    weights: np.ndarray  # (V, J) skinning weights, rows sum to 1
    parents: np.ndarray  # (J,) parent of each joint, -1 for the root
    faces: np.ndarray  # (F, 3) int32, counter-clockwise seen from outside
    hands_mean: np.ndarray  # (J - 1, 3) axis-angle of the mean pose relative to the flat hand [rad]
    fingertips: np.ndarray  # (5,) tip vertices of thumb, index, middle, ring, pinky
    fingertip_table: str  # name of that set of vertices
    joint_axes: np.ndarray  # (J, 3, 3) rows: flexion (positive bends to the palm), abduction (positive to the thumb), twist
    joint_limits: np.ndarray  # (J, 3, 2) least and greatest angle about those axes [rad]
    uv: np.ndarray  # (T, 2) texture coordinates in [0, 1], v up; (0, 2) where the model has none
    uv_faces: np.ndarray  # (F, 3) int32 rows of `uv`, aligned with `faces`; (0, 3) where the model has none

    def __post_init__(self) -> None:
        """Raises AssetError naming the first array whose shape, type or content cannot be a hand."""
        check_hand(self)

    @property
    def num_vertices(self) -> int:
        """V."""
        return len(self.v_template)

    @property
    def num_joints(self) -> int:
        """J."""
        return len(self.parents)

    @property
    def num_shapes(self) -> int:
        """S."""
        return self.shapedirs.shape[2]

    @cached_property
    def rest_joints(self) -> np.ndarray:
        """(J, 3) joints of the template, beta = 0 [m]."""
        return self.J_regressor @ self.v_template

    @cached_property
    def joint_shapedirs(self) -> np.ndarray:
        """(J, 3, S) how the rest joints move with beta [m]."""
        return np.einsum("jv,vcs->jcs", self.J_regressor, self.shapedirs)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every array: the identity of the hand, whatever file it came from."""
        digest = hashlib.sha256()
        for f in fields(self):
            if f.name not in _TEXT:
                value = getattr(self, f.name)
                digest.update(f"{f.name} {value.shape};".encode())
                digest.update(value.astype("<i4" if f.name in _INTEGER else "<f4").tobytes())
        return digest.hexdigest()

    @cached_property
    def parts(self) -> np.ndarray:
        """(F,) joint that moves each face most: the labels of the parts pass are these plus one."""
        return self.weights[self.faces].sum(1).argmax(1).astype(np.int32)

    @cached_property
    def levels(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Joints of one distance from the root and their parents, from 1 outwards."""
        depth = np.zeros(self.num_joints, int)
        for j, parent in enumerate(self.parents[1:], 1):
            depth[j] = depth[parent] + 1
        found = [np.flatnonzero(depth == d) for d in range(1, depth.max() + 1)]
        return [(level, self.parents[level]) for level in found]

    @cached_property
    def rim(self) -> np.ndarray:
        """(R,) vertices around the open wrist, the largest hole, in the order of the faces' own edges; (0,) without a hole."""
        return self._holes[0] if self._holes else np.empty(0, int)

    @cached_property
    def _holes(self) -> list[np.ndarray]:
        return boundary_loops(self.faces)

    @cached_property
    def rim_turns(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(R,) angles of the rim's vertices about the wrist's axis, 0 at the palm's side and pi/2 at the thumb's, and (R,) steps
        from each to the next [rad]; None when the rim does not go round once in one direction, or is not the only hole: then
        no forearm fits it.
        """
        if len(self._holes) != 1:
            return None
        points = self.v_template[self.rim, 1:]
        # Of a flat wrist, angles as an ellipse has them: stretched to a circle.
        y, z = ((points - points.mean(0)) / np.ptp(points, axis=0)).T
        angle = np.unwrap(np.arctan2(z, -y))
        step = np.append(np.diff(angle), angle[0] - angle[-1])
        step = (step + np.pi) % (2 * np.pi) - np.pi
        once = abs(abs(step.sum()) - 2 * np.pi) < 1e-6 and bool((step * step.sum() > 0).all())
        return (angle, step) if once else None

    @cached_property
    def forearm_length_m(self) -> float:
        """Rim to elbow of the mean shape [m]."""
        return FOREARM_OF_HAND * float(np.linalg.norm(self.rest_joints[0] - self.v_template[self.fingertips[2]]))

    @cached_property
    def closed_faces(self) -> np.ndarray:
        """(F + R - 2, 3) int32 faces of a hand without an arm as it is drawn: the wrist is closed by a cap, which comes last."""
        return np.concatenate([self.faces, self.rim[cap_fan(len(self.rim))]]).astype(np.int32)

    @cached_property
    def closed_parts(self) -> np.ndarray:
        """(F + R - 2,) `parts` of `closed_faces`; the cap belongs to the wrist."""
        return np.concatenate([self.parts, np.zeros(max(len(self.rim) - 2, 0), np.int32)])


@dataclass(frozen=True)
class PosedHand:
    """What posing gives. Metres, in the frame that `trans` is in (the world, unless stated otherwise)."""

    vertices: np.ndarray  # (..., V, 3)
    joints: np.ndarray  # (..., J, 3) nodes of the kinematic tree
    keypoints: np.ndarray  # (..., 21, 3) FreiHAND's points: J_regressor on the posed vertices, and the tip vertices


def pose_hand(model: HandModel, theta: np.ndarray, beta: np.ndarray, trans: np.ndarray | None = None) -> PosedHand:
    """Linear blend skinning with shape and pose blend shapes: equations 1 and 2 of the paper, MANO's M(theta, beta).

    Args:
        model: the hand.
        theta: (..., J, 3) axis-angle relative to the flat hand [rad]; row 0 turns the whole hand about its wrist.
        beta: (..., S) shape [standard deviations].
        trans: (..., 3) added after posing [m]; None means zero.

    Float64 throughout; agrees with smplx's MANO layer (flat_hand_mean=True) on the same arrays.
    """
    theta, beta = np.asarray(theta, np.float64), np.asarray(beta, np.float64)
    batch = theta.shape[:-2]
    theta = theta.reshape((-1, *theta.shape[-2:]))
    beta = np.broadcast_to(beta, batch + beta.shape[-1:]).reshape(len(theta), beta.shape[-1])
    vertices, joints = _skin(model, theta, beta, slice(None))

    if trans is not None:
        shift = np.broadcast_to(np.asarray(trans, np.float64), (*batch, 3)).reshape(-1, 1, 3)
        vertices, joints = vertices + shift, joints + shift
    keypoints = keypoints_from_vertices(model, vertices)
    return PosedHand(*(a.reshape(batch + a.shape[1:]) for a in (vertices, joints, keypoints)))


def pose_points(model: HandModel, theta: np.ndarray, beta: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`pose_hand` of some vertices alone: (B, J, 3) and (B, S) -> (B, len(rows), 3) vertices and (B, J, 3) joints [m]."""
    return _skin(model, theta, beta, rows)


POSES_KEPT = 1024
"""So many poses of a bank are kept at most, 20 kB each."""


class BankHands:
    """Hands of one model in poses of one bank: what of posing depends on the pose alone is kept, for other shapes of it."""

    def __init__(self, model: HandModel, bank_theta: np.ndarray) -> None:
        """`bank_theta` (N, 15, 3) finger angles [rad]; the hands are neither turned nor shifted."""
        self.model, self.theta = model, bank_theta
        self._turned = lru_cache(maxsize=POSES_KEPT)(self._turn)

    def vertices(self, row: int, beta: np.ndarray) -> np.ndarray:
        """(V, 3) of a row of the bank in the shape (S,) [m]: to the last digit `pose_hand`'s of that hand alone."""
        return _shaped(self.model, self._turned(row), beta[None], slice(None))[0][0]

    def _turn(self, row: int) -> "_Turned":
        return _turned(self.model, np.concatenate([np.zeros((1, 3)), self.theta[row]])[None], slice(None))


class _Turned(NamedTuple):
    """What of posing B hands depends on angles alone."""

    rotation: np.ndarray  # (B, J, 3, 3) of joints, in the hand's frame
    bulge: np.ndarray  # (B, V, 3) how pose blend shapes move vertices at rest [m]


def _skin(model: HandModel, theta: np.ndarray, beta: np.ndarray, rows: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
    """Vertices `rows` and joints of B posed hands."""
    return _shaped(model, _turned(model, theta, rows), beta, rows)


def _turned(model: HandModel, theta: np.ndarray, rows: np.ndarray | slice) -> _Turned:
    """Of (B, J, 3) angles."""
    rotmat = rotvec_to_rotmat(theta)  # (B, J, 3, 3)
    pose_feature = (rotmat[:, 1:] - np.eye(3)).reshape(len(theta), -1)  # (B, 9 (J - 1))
    return _Turned(_chained(model, rotmat), _blend(model.posedirs[rows], pose_feature))


def _shaped(model: HandModel, turned: _Turned, beta: np.ndarray, rows: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
    """Vertices `rows` and joints of B hands that are turned, in shapes (B, S)."""
    rotation, count = turned.rotation, len(beta)
    v_rest = model.v_template[rows] + _blend(model.shapedirs[rows], beta) + turned.bulge  # (B, V, 3)
    rest_joints = model.rest_joints + _blend(model.joint_shapedirs, beta)  # (B, J, 3)
    joints = _placed(model, rotation, rest_joints)

    # Skinning: blend the 3 x 4 transforms that carry rest points to posed points.
    offset = joints - (rotation @ rest_joints[..., None])[..., 0]  # (B, J, 3)
    transform = np.concatenate([rotation, offset[..., None]], -1).reshape(count, model.num_joints, 12)
    blended = (model.weights[rows] @ transform).reshape(count, v_rest.shape[1], 3, 4)
    return (blended[..., :3] @ v_rest[..., None])[..., 0] + blended[..., 3], joints


def turn_joints(model: HandModel, rotmat: np.ndarray, rest_joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Forward kinematics: each joint turned against its parent, from the root outwards.

    Args:
        model: the hand.
        rotmat: (..., J, 3, 3) rotation of each joint against its parent.
        rest_joints: (..., J, 3) joints of the flat hand [m].

    Returns:
        (..., J, 3, 3) rotations and (..., J, 3) places [m] in the hand's frame; the root stays where it is.
    """
    rotation = _chained(model, rotmat)
    return rotation, _placed(model, rotation, rest_joints)


def _chained(model: HandModel, rotmat: np.ndarray) -> np.ndarray:
    """(..., J, 3, 3) rotations against the parents -> rotations in the hand's frame."""
    rotation = rotmat.copy()
    for level, parents in model.levels:
        rotation[..., level, :, :] = np.take(rotation, parents, -3) @ np.take(rotmat, level, -3)
    return rotation


def _placed(model: HandModel, rotation: np.ndarray, rest_joints: np.ndarray) -> np.ndarray:
    """(..., J, 3) places of joints that have these rotations in the hand's frame [m]."""
    above, joints = model.parents[1:], rest_joints.copy()
    bones = rest_joints[..., 1:, :] - np.take(rest_joints, above, -2)
    joints[..., 1:, :] = (np.take(rotation, above, -3) @ bones[..., None])[..., 0]
    for level, parents in model.levels:
        joints[..., level, :] += joints[..., parents, :]
    return joints


def keypoints_from_vertices(model: HandModel, vertices: np.ndarray) -> np.ndarray:
    """(..., V, 3) posed vertices -> (..., 21, 3) keypoints as FreiHAND defines them, in the same unit and frame."""
    points = np.concatenate([model.J_regressor @ vertices, vertices[..., model.fingertips, :]], -2)
    return points[..., KEYPOINT_SOURCE, :]


def _blend(directions: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """(N, 3, C) directions times (B, C) coefficients -> (B, N, 3), as one matrix product."""
    flat = directions.reshape(3 * len(directions), directions.shape[-1])
    return (coefficients @ flat.T).reshape(len(coefficients), -1, 3)


def check_hand(model: HandModel) -> None:
    """Raises AssetError naming the first array whose shape or content cannot be a hand."""
    num_v, num_j, num_f, num_s = len(model.v_template), len(model.parents), len(model.faces), model.shapedirs.shape[-1]
    expected = {
        "v_template": (num_v, 3), "shapedirs": (num_v, 3, num_s), "posedirs": (num_v, 3, 9 * (num_j - 1)),
        "J_regressor": (num_j, num_v), "weights": (num_v, num_j), "faces": (num_f, 3), "hands_mean": (num_j - 1, 3),
        "fingertips": (5,), "joint_axes": (num_j, 3, 3), "joint_limits": (num_j, 3, 2),
    }  # fmt: skip
    for name, shape in expected.items():
        found = getattr(model, name)
        if found.shape != shape:
            raise AssetError(f"hand model {model.name!r}: {name} has shape {found.shape}, expected {shape}")
        if not np.isfinite(found).all():
            raise AssetError(f"hand model {model.name!r}: {name} holds NaN or infinity")
    for name in ("v_template", "shapedirs", "posedirs"):
        try:
            check_metres(name, getattr(model, name))
        except ValueError as error:
            raise AssetError(f"hand model {model.name!r}: {error}") from None
    if num_j != len(KEYPOINT_SOURCE) - 5:
        raise AssetError(f"hand model {model.name!r}: {num_j} joints, expected 16 (MANO's layout)")
    for name, limit in (("faces", num_v), ("fingertips", num_v), ("uv_faces", max(len(model.uv), 1))):
        found = getattr(model, name)
        if found.size and (found.min() < 0 or found.max() >= limit):
            raise AssetError(f"hand model {model.name!r}: {name} points outside its {limit} rows")
    if len(model.uv_faces) not in (0, num_f):
        raise AssetError(f"hand model {model.name!r}: uv_faces has {len(model.uv_faces)} rows, expected {num_f} or none")
    for name, rows in (("weights", model.weights), ("J_regressor", model.J_regressor)):
        if np.abs(rows.sum(1) - 1).max() > 1e-3:
            raise AssetError(f"hand model {model.name!r}: the rows of {name} do not sum to 1")
    if model.parents[0] != -1 or any(not 0 <= p < j for j, p in enumerate(model.parents) if j):
        raise AssetError(f"hand model {model.name!r}: parents is not a tree in MANO's order (root first, parents before children)")


HAND_LENGTH_M = (0.05, 0.5)
"""Longest side of a hand's box, between an infant's and a giant's: nothing in millimetres, centimetres or inches is between."""
LARGEST_OFFSET_M = 0.1
"""What a standard deviation of shape, or a quarter turn, moves a vertex at most; of the hands we know, by 0.02."""


def check_metres(name: str, array: np.ndarray) -> None:
    """Raises ValueError when (V, 3, ...) vertices, or offsets of them, cannot be a hand's in metres. Units are never guessed."""
    if name == "v_template":
        low, high = HAND_LENGTH_M
        length = float(np.ptp(array, axis=0).max())
        if not low <= length <= high:
            raise ValueError(f"v_template is {length:.3g} long, expected {low} to {high} metres (is it in other units?)")
    elif array.size and np.abs(array).max() > LARGEST_OFFSET_M:
        largest = float(np.abs(array).max())
        raise ValueError(
            f"{name} moves a vertex by {largest:.3g}, expected at most {LARGEST_OFFSET_M} metres (is it in other units?)"
        )


_TEXT = {"name", "licence", "fingertip_table"}
_INTEGER = {"faces": np.int32, "uv_faces": np.int32, "fingertips": np.int64, "parents": np.int64}


def load_hand(path: Path) -> HandModel:
    """Reads a plain `.npz` written by `save_hand`; no pickle is ever run. Raises AssetError when it is not a hand."""
    kinds = {f.name: str if f.name in _TEXT else _INTEGER.get(f.name, np.float64) for f in fields(HandModel)}
    return HandModel(**read_typed(path, kinds, "a hand model"))


def save_hand(path: Path, model: HandModel) -> None:
    """Writes the model as a compressed `.npz` of plain arrays (float32, indices as int32)."""
    values = {}
    for f in fields(HandModel):
        value = getattr(model, f.name)
        values[f.name] = np.array(value) if f.name in _TEXT else value.astype(np.int32 if f.name in _INTEGER else np.float32)
    np.savez_compressed(path, **values)  # type: ignore[arg-type]
