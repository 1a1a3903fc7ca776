"""Ground truth by fitting: the 23 angles and the shape of the feasible hand nearest to given joints and vertices (section 3.3)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from handmesh.keypoints import keypoint_regressor
from handmesh.kinematics.adam import minimise_adam
from handmesh.kinematics.check import check_arrays, check_mesh
from handmesh.kinematics.dof import dof_limits, embed, hand_dof_matrix
from handmesh.kinematics.energy import EnergySettings, FitEnergy, Targets
from handmesh.kinematics.linear import HandState, linear_hand
from handmesh.kinematics.solver import solve_feasible
from handmesh.kinematics.start import state_from_mesh, state_from_pose
from handsynth.core.errors import UsageError
from handsynth.core.hand import HandModel
from handsynth.core.rotation import rotmat_to_rotvec

GROUND_TRUTH = EnergySettings(noise_m=1e-3, bend=False)
"""Clean meshes of a 45-angle hand, which the 23 angles meet to about a millimetre; what they are is not to be corrected."""

ITERATIONS = 20

BLOCK = 1024
"""Hands at a time: bounds the memory."""

Method = Literal["gauss-newton", "adam"]


@dataclass(frozen=True, eq=False)
class FitResult:
    """Feasible hands fitted to N meshes; float32 numpy arrays. Frame and unit of the targets (metres)."""

    angles: np.ndarray  # (N, 23) [rad], names in `dof.DOF_NAMES`
    beta: np.ndarray  # (N, S) [standard deviations]
    rotation: np.ndarray  # (N, 3, 3) of the whole hand about its wrist
    translation: np.ndarray  # (N, 3) [m], as `trans` of `core.hand.pose_hand`
    theta: np.ndarray  # (N, 16, 3) the same pose as `pose_hand` takes it [rad]
    vertices: np.ndarray  # (N, V, 3) [m]
    keypoints: np.ndarray  # (N, 21, 3) FreiHAND's order [m]
    vertex_errors_m: np.ndarray  # (N, V) distance from each target vertex
    keypoint_errors_m: np.ndarray  # (N, 21) distance from each target keypoint
    iterations: np.ndarray  # (N,) int64, steps tried


def fit_hands(
    hand: HandModel,
    vertices: np.ndarray,
    keypoints: np.ndarray | None = None,
    *,
    angles: np.ndarray | None = None,
    beta: np.ndarray | None = None,
    frozen_shape: bool = False,
    weights: np.ndarray | None = None,
    settings: EnergySettings = GROUND_TRUTH,
    iterations: int = ITERATIONS,
) -> FitResult:
    """Fits the 23-angle hand to meshes, global motion included.

    Args:
        hand: the model, in whose order of vertices the meshes are.
        vertices: (N, V, 3) right hands, any frame [m].
        keypoints: (N, 21, 3) in FreiHAND's order [m]; None regresses them from the vertices.
        angles: (N, 23) to start from, as `dof.project` gives it [rad]; None reads the pose off the mesh.
        beta: (N, S) shape to start from; None starts from the mean shape.
        frozen_shape: keeps beta as it is given.
        weights: (N, V) of vertices, not negative (the inverse square of a lixel's standard deviation, say); scaled to a mean of 1.
            None: equal.
        settings: of the energy.
        iterations: steps at most.

    Raises:
        UsageError, HandsynthError: as `check.check_mesh` does, or for arrays that do not go with the vertices.
    """
    check_mesh(hand, np.asarray(vertices))
    return solve(
        hand, vertices, keypoints, angles=angles, beta=beta, frozen_shape=frozen_shape, weights=weights, settings=settings,
        iterations=iterations, method="gauss-newton",
    )  # fmt: skip


def solve(
    hand: HandModel,
    vertices: np.ndarray,
    keypoints: np.ndarray | None,
    *,
    angles: np.ndarray | None,
    beta: np.ndarray | None,
    frozen_shape: bool,
    weights: np.ndarray | None,
    settings: EnergySettings,
    iterations: int,
    method: Method,
) -> FitResult:
    """What `fit_hands` and `refine` share; arguments as there. Meshes are only checked for their shape and NaN."""
    vertices = np.asarray(vertices)
    check_arrays(hand, vertices)
    given = {
        "keypoints": (keypoints, (21, 3)), "angles": (angles, (len(dof_limits()),)), "beta": (beta, (hand.num_shapes,)),
        "weights": (weights, (hand.num_vertices,)),
    }  # fmt: skip
    arrays = {name: _checked(name, value, (len(vertices), *shape)) for name, (value, shape) in given.items()}
    if frozen_shape and beta is None:
        raise UsageError("a frozen shape needs a beta: give it")
    # Solved about each mesh's centre, or single precision is lost on hands that are far from the origin.
    centres = vertices.mean(1, keepdims=True, dtype=np.float64)  # (N, 1, 3)
    if arrays["keypoints"] is not None:
        arrays["keypoints"] = arrays["keypoints"] - centres
    linear = linear_hand(hand)
    energy = FitEnergy(linear, torch.tensor(dof_limits(hand.joint_limits)), settings, frozen_shape)
    parts = []
    for start in range(0, len(vertices), BLOCK):
        rows = slice(start, start + BLOCK)
        block = {name: None if value is None else torch.tensor(value[rows], dtype=linear.dtype) for name, value in arrays.items()}
        centred = torch.tensor(vertices[rows] - centres[rows], dtype=linear.dtype)
        targets = _targets(hand, centred, block["keypoints"], block["weights"])
        parts.append(_solve_block(hand, energy, targets, block["angles"], block["beta"], iterations, method))
    if not parts:
        raise UsageError("there is no hand to fit: give at least one mesh")
    fields = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for name, offsets in {"vertices": centres, "keypoints": centres, "translation": centres[:, 0]}.items():
        fields[name] = (fields[name] + offsets).astype(np.float32)
    return FitResult(**fields)


def _solve_block(
    hand: HandModel,
    energy: FitEnergy,
    targets: Targets,
    angles: Tensor | None,
    beta: Tensor | None,
    iterations: int,
    method: Method,
) -> dict[str, np.ndarray]:
    """The fields of a FitResult for up to BLOCK hands."""
    linear, count = energy.linear, len(targets.vertices)
    with torch.no_grad():
        if angles is None:
            state = state_from_mesh(hand, linear, targets, beta)
        else:
            state = state_from_pose(linear, targets, angles, torch.zeros(count, linear.num_shapes) if beta is None else beta)
        if method == "gauss-newton":
            state, used = solve_feasible(energy, state, targets, iterations)
    if method == "adam":
        state, used = minimise_adam(energy, state, targets, iterations), torch.full((count,), iterations)
    return _fields(hand, energy, state, targets, used)


def _fields(hand: HandModel, energy: FitEnergy, state: HandState, targets: Targets, used: Tensor) -> dict[str, np.ndarray]:
    with torch.no_grad():
        vertices, keypoints = energy.linear.points(state)
        tensors = {
            **state._asdict(),
            "vertices": vertices,
            "keypoints": keypoints,
            "vertex_errors_m": (vertices - targets.vertices).norm(dim=-1),
            "keypoint_errors_m": (keypoints - targets.keypoints).norm(dim=-1),
            "iterations": used,
        }
    fields = {name: value.numpy() for name, value in tensors.items()}
    root = rotmat_to_rotvec(fields["rotation"])[:, None]
    fingers = embed(fields["angles"], hand_dof_matrix(hand))
    return {**fields, "theta": np.concatenate([root, fingers], 1).astype(np.float32)}


def _targets(hand: HandModel, vertices: Tensor, keypoints: Tensor | None, weights: Tensor | None) -> Targets:
    if keypoints is None:
        keypoints = torch.tensor(keypoint_regressor(hand), dtype=vertices.dtype) @ vertices
    if weights is not None:
        weights = weights / weights.mean(1, keepdim=True)
    return Targets(vertices, keypoints, weights)


def _checked(name: str, value: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array, or UsageError when its shape, its numbers or (of weights) their signs are wrong."""
    if value is None:
        return None
    value = np.asarray(value)
    if value.shape != shape:
        raise UsageError(f"{name} have shape {value.shape}, the vertices ask for {shape}")
    if not np.isfinite(value).all():
        raise UsageError(f"{name} hold NaN or infinity")
    if name == "weights" and ((value < 0).any() or (value.sum(1) <= 0).any()):
        raise UsageError("weights hold negative numbers, or nothing but zeros for a hand")
    return value
