"""Hands fitted to meshes: the 23 angles and the shape of the feasible hand nearest to given joints and vertices.

`fit_hands` is the one way to the solver, for ground truth (section 3.3) and for post-optimisation (section 3.4, figure 6B); the
settings say what kind of meshes are given. `AngleSolver` is what the commands use: an IK net, or the mesh itself, gives a first
guess, `fit_hands` the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
from threadpoolctl import ThreadpoolController

from handmesh.keypoints import keypoint_regressor
from handmesh.kinematics.check import check_arrays, check_mesh
from handmesh.kinematics.dof import dof_limits, embed, hand_dof_matrix, project
from handmesh.kinematics.energy import EnergySettings, FitEnergy, Targets
from handmesh.kinematics.linear import linear_hand
from handmesh.kinematics.solver import minimise_adam, solve_feasible, state_from_mesh, state_from_pose
from handsynth.core.errors import UsageError
from handsynth.core.hand import HandModel
from handsynth.core.rotation import rotmat_to_rotvec

GROUND_TRUTH = EnergySettings(noise_m=1e-3, bend=False)
"""Clean meshes of a 45-angle hand, which the 23 angles meet to about a millimetre; what they are is not to be corrected."""

EXACT = replace(GROUND_TRUTH, limit_deg=10.0)
"""For meshes that are taken as they are: an angle beyond its limits is found and reported, not pulled back."""

PREDICTED = EnergySettings(noise_m=5e-3)
"""Meshes that are 5 mm off, each vertex by itself: they lean on the prior of shapes, and fingers do not bend backwards."""

OF_A_NET = replace(PREDICTED, noise_m=0.02)
"""For meshes of a net, whose errors go together, part by part: hundreds of vertices tell little more than sixteen joints would.

Taken as independent at their true size they would outweigh the prior of shapes, and the fit would follow the noise.
"""

BESIDE_IK_NET = replace(OF_A_NET, noise_m=0.06, angle_std_deg=3.0)
"""The same where an IK net has found angles: it knows which hands there are, so they are a prior besides the first guess.

Chosen on poses that the IK net was not trained on, with noise of 4 to 11 mm a part (benchmarks/README.md, Table 4): without the
prior, the fit draws hands back to their meshes' errors and is worse than the IK net alone.
"""

LEAST_STD_MM = 2.0
"""A vertex whose standard deviation is less counts as if it were this: heatmaps are narrower than their errors."""

ITERATIONS = 20
"""Steps at most: the paper's."""

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
    angles: np.ndarray | None = None,
    beta: np.ndarray | None = None,
    *,
    frozen_shape: bool = False,
    weights: np.ndarray | None = None,
    settings: EnergySettings = GROUND_TRUTH,
    iterations: int = ITERATIONS,
    method: Method = "gauss-newton",
    check: bool = True,
) -> FitResult:
    """Fits the 23-angle hand to meshes, global motion included.

    Args:
        hand: the model, in whose order of vertices the meshes are.
        vertices: (N, V, 3) right hands, any frame [m].
        keypoints: (N, 21, 3) in FreiHAND's order [m]; None regresses them from the vertices.
        angles: (N, 23) to start from, as `dof.project` or an IK net gives it [rad], and the prior where the settings have one;
            None reads the pose off the mesh.
        beta: (N, S) shape to start from; None starts from the mean shape.
        frozen_shape: keeps beta as it is given (the paper's experiments with known shape).
        weights: (N, V) of vertices, not negative (the inverse square of a lixel's standard deviation, say); scaled to a mean of 1.
            None: equal.
        settings: of the energy; `noise_m` should be what the meshes are off by.
        iterations: steps at most.
        method: "gauss-newton", or "adam" as HandTailor refines.
        check: refuse what cannot be a right hand in metres; a net's mesh may be anything of the right shape without NaN.

    Raises:
        UsageError, HandsynthError: as `check.check_mesh` does, or for arrays that do not go with the vertices.
    """
    vertices = np.asarray(vertices)
    (check_mesh if check else check_arrays)(hand, vertices)
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
    energy = FitEnergy(linear, dof_limits(hand.joint_limits), settings, frozen_shape)
    parts = []
    for start in range(0, len(vertices), BLOCK):
        rows = slice(start, start + BLOCK)
        block = {name: None if value is None else value[rows].astype(linear.dtype) for name, value in arrays.items()}
        centred = (vertices[rows] - centres[rows]).astype(linear.dtype)
        targets = _targets(hand, centred, block["keypoints"], block["weights"], block["angles"])
        # Of a hand's small matrices, threads that wait for each other cost more than they save.
        with _libraries().limit(limits=1, user_api="blas"):
            parts.append(_solve_block(hand, energy, targets, block["angles"], block["beta"], iterations, method))
    if not parts:
        raise UsageError("there is no hand to fit: give at least one mesh")
    fields = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for name, offsets in {"vertices": centres, "keypoints": centres, "translation": centres[:, 0]}.items():
        fields[name] = (fields[name] + offsets).astype(np.float32)
    return FitResult(**fields)


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    """Those whose threads can be limited; finding them takes as long as a fit."""
    return ThreadpoolController()


def _solve_block(
    hand: HandModel,
    energy: FitEnergy,
    targets: Targets,
    angles: np.ndarray | None,
    beta: np.ndarray | None,
    iterations: int,
    method: Method,
) -> dict[str, np.ndarray]:
    """The fields of a FitResult for up to BLOCK hands."""
    linear, count = energy.linear, len(targets.vertices)
    if angles is None:
        state = state_from_mesh(hand, linear, targets, beta)
    else:
        state = state_from_pose(
            linear, targets, angles, np.zeros((count, linear.num_shapes), linear.dtype) if beta is None else beta
        )
    if method == "gauss-newton":
        state, used = solve_feasible(energy, state, targets, iterations)
    else:
        state, used = minimise_adam(energy, state, targets, iterations), np.full(count, iterations)
    vertices, keypoints = linear.points(state)
    root = rotmat_to_rotvec(state.rotation)[:, None]
    fingers = embed(state.angles, hand_dof_matrix(hand))
    return {
        **state._asdict(),
        "theta": np.concatenate([root, fingers], 1).astype(np.float32),
        "vertices": vertices,
        "keypoints": keypoints,
        "vertex_errors_m": np.linalg.norm(vertices - targets.vertices, axis=-1),
        "keypoint_errors_m": np.linalg.norm(keypoints - targets.keypoints, axis=-1),
        "iterations": used,
    }


def _targets(
    hand: HandModel,
    vertices: np.ndarray,
    keypoints: np.ndarray | None,
    weights: np.ndarray | None,
    angles: np.ndarray | None,
) -> Targets:
    if keypoints is None:
        keypoints = linear_hand(hand).keypoint_regressor @ vertices
    if weights is not None:
        weights = weights / weights.mean(1, keepdims=True)
    return Targets(vertices, keypoints, weights, angles)


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


class FirstGuess(Protocol):
    """What a fit may start from: an IK net, in whatever library it runs."""

    dofs: int  # 23, or 45 that are projected upon them
    known_shape: bool  # whether it asks for beta

    def guess(self, keypoints: np.ndarray, beta: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """(N, 21, 3) keypoints [m] and, where it asks for it, (N, S) beta -> (N, 15, 3) axis-angles [rad] and (N, S) beta."""


@dataclass(frozen=True, eq=False)
class AngleSolver:
    """How angles are found. Raises UsageError when net and shape do not go together."""

    hand: HandModel
    net: FirstGuess | None = None  # None starts from the nearest pose of each part of the mesh
    shape: np.ndarray | None = None  # (S,) known beta, which is kept; None finds it
    iterations: int = ITERATIONS  # of the post-optimisation
    noise_m: float | None = None  # of the targets [m]; None: as EXACT, OF_A_NET and BESIDE_IK_NET have it

    def __post_init__(self) -> None:
        if self.shape is not None and np.shape(self.shape) != (self.hand.num_shapes,):
            raise UsageError(f"the shape has {np.size(self.shape)} numbers, the {self.hand.name} hand's has {self.hand.num_shapes}")
        if self.net is not None and self.net.known_shape and self.shape is None:
            raise UsageError("this IK net was trained with known shapes: give the hand's with --shape")

    def __call__(
        self,
        vertices: np.ndarray,
        weights: np.ndarray | None = None,
        *,
        predicted: bool,
        names: Sequence[str] | None = None,
        start: FitResult | None = None,
    ) -> FitResult:
        """Angles of (N, V, 3) right hands, any frame [m].

        Args:
            vertices: the meshes.
            weights: (N, V) of vertices; None means equal.
            predicted: by a mesh net, so some millimetres off: fitted less closely, and fingers do not bend backwards. Other
                meshes are checked, and met as they are.
            names: (N,) of the meshes in messages; None: "hand 0", ...
            start: of the same hands a moment before, from which to go on; where an IK net says the angles, its shapes.

        Raises:
            UsageError, HandsynthError: as `check_mesh`.
        """
        vertices = np.asarray(vertices, np.float64)
        (check_arrays if predicted else check_mesh)(self.hand, vertices, names)
        settings = EXACT if not predicted else OF_A_NET if self.net is None else BESIDE_IK_NET
        if self.noise_m is not None:
            settings = replace(settings, noise_m=self.noise_m)
        keypoints = keypoint_regressor(self.hand) @ vertices
        beta = None if self.shape is None else np.broadcast_to(self.shape, (len(vertices), len(self.shape)))
        angles = None
        if self.net is not None:
            angles, guessed = self._guess(self.net, keypoints, beta)
            beta = guessed if start is None or self.shape is not None else start.beta
        elif start is not None:
            angles, beta = start.angles, start.beta if beta is None else beta
        return fit_hands(
            self.hand, vertices, keypoints, angles, beta, frozen_shape=self.shape is not None, weights=weights, settings=settings,
            iterations=self.iterations, check=False,
        )  # fmt: skip

    def _guess(self, net: FirstGuess, keypoints: np.ndarray, beta: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """(N, 23) angles and (N, S) beta of the net; of a net of 45 angles, their projection."""
        theta, found = net.guess(keypoints, beta if net.known_shape else None)
        return project(theta, hand_dof_matrix(self.hand)), found if beta is None else beta


def std_weights(std_mm: np.ndarray) -> np.ndarray:
    """(..., V) standard deviations of a mesh net's vertices [mm] -> weights: the inverse square, with a floor."""
    return np.maximum(np.nan_to_num(std_mm, nan=np.inf), LEAST_STD_MM) ** -2
