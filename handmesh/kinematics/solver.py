"""How an energy is made small, in batches: where a fit starts, Levenberg-Marquardt from there, and Adam for comparison.

Levenberg-Marquardt here is damped Gauss-Newton steps, each hand with its own damping, and hands leave when they are done.
"""

import numpy as np

from handmesh.kinematics.dof import dof_limits, hand_dof_matrix, project
from handmesh.kinematics.energy import FitEnergy, NormalEquations, Targets, has_bend_violation
from handmesh.kinematics.linear import ROTATION, TRANSLATION, HandState, Index, LinearHand
from handmesh.kinematics.rigid import align_rigid, exp_and_left_jacobian, move, nearest_rotation
from handsynth.core.hand import HandModel
from handsynth.core.rotation import rotmat_to_rotvec

DAMPING = 1e-3
"""At the start, a share of the Hessian's diagonal (Marquardt 1963). Divided by 10 after a good step, times 10 after a bad one."""

LEAST_DAMPING = 1e-4
"""No less, or a hand whose step fails has too many to try before a shorter one succeeds."""

TOLERANCE = 0.1
"""A hand is done when its quadratic model foretells a decrease of E below this: E is a log-likelihood, which 0.1 does not move,
and the last step, which is still taken, leaves a small part of it."""

BEND_ROUNDS = 3
"""Times that the weight on backward bends grows for the fingers that still bend backwards."""

_RATE, _BETAS = 0.03, (0.5, 0.5)  # of Adam, as HandTailor has them
_TRANSLATION_UNIT_M = 0.1  # so that a step of 0.03 is 3 mm; the other unknowns are radians and standard deviations


def state_from_mesh(hand: HandModel, linear: LinearHand, targets: Targets, beta: np.ndarray | None = None) -> HandState:
    """The nearest feasible pose of each part's own best rotation, laid upon the mesh; within the limits, as a start is no result.

    Each joint's vertices are aligned with the template's, weighted by skinning (Kabsch); rotations against the parents give
    45 angles, and the projection 23 of them. `beta` None starts from the mean shape.
    """
    shares = linear.weights / linear.weights.sum(1, keepdims=True)  # (J, V)
    template = linear.template.reshape(3, -1).T
    centred = template - (shares @ template)[:, None]  # (J, V, 3) about each part's own centre
    # sum_v w (y - mean y) (x - mean x)^T = sum_v w y (x - mean x)^T, for all parts at once.
    spread = (shares[..., None] * centred).transpose(1, 0, 2).reshape(len(template), -1)  # (V, 3 J)
    covariance = (targets.vertices.swapaxes(1, 2) @ spread).reshape(len(targets.vertices), 3, -1, 3).swapaxes(1, 2)
    rotations = nearest_rotation(covariance.astype(np.float64))
    parents = hand.parents[1:]
    theta = rotmat_to_rotvec(np.swapaxes(rotations[:, parents], -1, -2) @ rotations[:, 1:])  # (B, J - 1, 3)
    limits = dof_limits(hand.joint_limits)
    angles = np.clip(project(theta, hand_dof_matrix(hand)), limits[:, 0], limits[:, 1]).astype(linear.dtype)
    return state_from_pose(
        linear, targets, angles, np.zeros((len(angles), linear.num_shapes), linear.dtype) if beta is None else beta
    )


def state_from_pose(linear: LinearHand, targets: Targets, angles: np.ndarray, beta: np.ndarray) -> HandState:
    """(B, 23) angles and (B, S) beta, turned and moved rigidly upon the target vertices."""
    eye = np.broadcast_to(np.eye(3, dtype=linear.dtype), (len(angles), 3, 3))
    standing = HandState(eye, np.zeros((len(angles), 3), linear.dtype), angles, beta)
    vertices, _ = linear.points(standing)
    rotation, translation = align_rigid(vertices, targets.vertices, targets.weights)
    # R x + t turns about the origin, a state about its wrist: the wrist itself goes to R w + t.
    wrist = linear.rest_joints[0] + beta @ linear.joint_shapedirs[0].T
    return HandState(rotation, move(wrist[:, None], rotation, translation)[:, 0] - wrist, angles, beta)


def solve_feasible(energy: FitEnergy, state: HandState, targets: Targets, iterations: int) -> tuple[HandState, np.ndarray]:
    """`minimise`, and again with a stiffer bend term for hands that still bend backwards, within the same `iterations`.

    Returns:
        The states, and (B,) how many steps each hand tried.
    """
    state, used = minimise(energy, state, targets, np.full(len(state.angles), iterations))
    for _ in range(BEND_ROUNDS if energy.settings.bend else 0):
        left = np.where(has_bend_violation(energy.linear.points(state)[1]), iterations - used, 0)
        bent = left.nonzero()[0]
        if not len(bent):
            break
        energy = energy.stiffer()
        again, more = minimise(energy, state.at(bent), targets.at(bent), left[bent])
        _write(state, again, bent, slice(None))
        used[bent] += more
    return state, used


def minimise(energy: FitEnergy, state: HandState, targets: Targets, iterations: np.ndarray) -> tuple[HandState, np.ndarray]:
    """Levenberg-Marquardt from (B,) states, at most (B,) `iterations` steps each. A step that does not decrease E is taken back.

    Returns:
        The states, and (B,) how many steps each hand tried.
    """
    state = HandState(*(value.copy() for value in state))
    current = energy.normal_equations(state, targets)
    count = len(state.angles)
    damping, used, active = np.full(count, DAMPING), np.zeros(count, np.int64), np.arange(count)
    for _ in range(int(iterations.max())):
        step, foretold = _damped_step(current, active, damping)
        used[active] += 1
        trial = state.at(active).stepped(step.astype(energy.linear.dtype))
        last = foretold < TOLERANCE
        _write(state, trial, active[last], last)
        active, trial = active[~last], trial.at(~last)
        if not len(active):
            break
        found = energy.normal_equations(trial, targets.at(active))
        better = found.value < current.value[active]  # False for NaN
        _write(state, trial, active[better], better)
        _write(current, found, active[better], better)
        damping[active] = np.clip(damping[active] * np.where(better, 0.1, 10.0), LEAST_DAMPING, 1e6)
        active = active[used[active] < iterations[active]]
    return state, used


def _damped_step(current: NormalEquations, active: np.ndarray, damping: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(A, U) steps of the active hands and (A,) the decrease of E that their quadratic models foretell; float64."""
    hessian, gradient = current.hessian[active], current.gradient[active]
    diagonal = np.einsum("buu->bu", hessian)  # a view of the copy that indexing has made
    ridge = damping[active, None] * np.maximum(diagonal, 1e-9)
    diagonal += ridge
    step = -np.linalg.solve(hessian, gradient[..., None])[..., 0]
    return step, 0.5 * (step * (ridge * step - gradient)).sum(-1)


def _write(values: tuple[np.ndarray, ...], new: tuple[np.ndarray, ...], index: np.ndarray, chosen: Index) -> None:
    """values[index] = new[chosen] for each array of two tuples."""
    for old, value in zip(values, new, strict=True):
        old[index] = value[chosen]


def minimise_adam(energy: FitEnergy, state: HandState, targets: Targets, iterations: int) -> HandState:
    """`iterations` steps of Adam (Kingma and Ba 2015) from (B,) states, all unknowns in one vector beside the start.

    Kept for comparison, as the paper's family does it (HandTailor, Lv et al. 2021): `minimise` is nearer after as many steps.
    """
    linear, free = energy.linear, energy.num_unknowns
    unit = np.ones(free, linear.dtype)
    unit[TRANSLATION] = _TRANSLATION_UNIT_M
    step, first, second = (np.zeros((len(state.angles), free), linear.dtype) for _ in range(3))
    for k in range(1, iterations + 1):
        gradient = energy.normal_equations(state.stepped(step * unit), targets).gradient
        # Normal equations speak of a turn after the one that is made: exp(w + dw) = exp(J dw) exp(w).
        _, left = exp_and_left_jacobian(step[:, ROTATION])
        gradient[:, ROTATION] = (left.swapaxes(1, 2) @ gradient[:, ROTATION, None])[..., 0]
        gradient = (gradient * unit).astype(linear.dtype)
        first += (1 - _BETAS[0]) * (gradient - first)
        second += (1 - _BETAS[1]) * (gradient**2 - second)
        step -= _RATE * (first / (1 - _BETAS[0] ** k)) / (np.sqrt(second / (1 - _BETAS[1] ** k)) + 1e-8)
    return state.stepped(step * unit)
