"""How an energy is made small, in batches: where a fit starts, Levenberg-Marquardt from there, and Adam for comparison.

Levenberg-Marquardt here is damped Gauss-Newton steps, each hand with its own damping, and hands leave when they are done.
"""

import numpy as np
import torch
from torch import Tensor

from handmesh.kinematics.dof import dof_limits, hand_dof_matrix, project
from handmesh.kinematics.energy import FitEnergy, NormalEquations, Targets, has_bend_violation
from handmesh.kinematics.linear import TRANSLATION, HandState, LinearHand
from handmesh.kinematics.rigid import align_rigid, move, nearest_rotation
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
_HANDS = 64  # of a batch at once: the least time per hand, measured from 8 to 256


def state_from_mesh(hand: HandModel, linear: LinearHand, targets: Targets, beta: Tensor | None = None) -> HandState:
    """The nearest feasible pose of each part's own best rotation, laid upon the mesh; within the limits, as a start is no result.

    Each joint's vertices are aligned with the template's, weighted by skinning (Kabsch); rotations against the parents give
    45 angles, and the projection 23 of them. `beta` None starts from the mean shape.
    """
    weights = torch.tensor(hand.weights.T, dtype=linear.dtype)  # (J, V)
    template = torch.tensor(hand.v_template, dtype=linear.dtype)
    shares = weights / weights.sum(1, keepdim=True)
    centred = template - (shares @ template).unsqueeze(1)  # (J, V, 3) about each part's own centre
    # sum_v w (y - mean y) (x - mean x)^T = sum_v w y (x - mean x)^T, for all parts at once.
    covariance = torch.einsum("bvc,jvd->bjcd", targets.vertices, shares.unsqueeze(-1) * centred)
    rotations = nearest_rotation(covariance).double().numpy()
    parents = hand.parents[1:]
    theta = rotmat_to_rotvec(np.swapaxes(rotations[:, parents], -1, -2) @ rotations[:, 1:])  # (B, J - 1, 3)
    limits = dof_limits(hand.joint_limits)
    angles = np.clip(project(theta, hand_dof_matrix(hand)), limits[:, 0], limits[:, 1])
    beta = torch.zeros(len(angles), linear.num_shapes, dtype=linear.dtype) if beta is None else beta
    return state_from_pose(linear, targets, torch.tensor(angles, dtype=linear.dtype), beta)


def state_from_pose(linear: LinearHand, targets: Targets, angles: Tensor, beta: Tensor) -> HandState:
    """(B, 23) angles and (B, S) beta, turned and moved rigidly upon the target vertices."""
    eye = torch.eye(3, dtype=linear.dtype).expand(len(angles), 3, 3)
    standing = HandState(eye, torch.zeros(len(angles), 3, dtype=linear.dtype), angles, beta)
    vertices, _ = linear.points(standing)
    rotation, translation = align_rigid(vertices, targets.vertices, targets.weights)
    # R x + t turns about the origin, a state about its wrist: the wrist itself goes to R w + t.
    wrist = linear.rest_joints[0] + beta @ linear.joint_shapedirs[0].T
    return HandState(rotation, move(wrist.unsqueeze(1), rotation, translation).squeeze(1) - wrist, angles, beta)


def solve_feasible(energy: FitEnergy, state: HandState, targets: Targets, iterations: int) -> tuple[HandState, Tensor]:
    """`minimise`, and again with a stiffer bend term for hands that still bend backwards, within the same `iterations`.

    Returns:
        The states, and (B,) how many steps each hand tried.
    """
    state, used = minimise(energy, state, targets, torch.full((len(state.angles),), iterations))
    for _ in range(BEND_ROUNDS if energy.settings.bend else 0):
        left = torch.where(has_bend_violation(energy.linear.points(state)[1]), iterations - used, 0)
        bent = left.nonzero().squeeze(1)
        if not len(bent):
            break
        energy = energy.stiffer()
        again, more = minimise(energy, state.at(bent), targets.at(bent), left[bent])
        _write(state, again, bent, slice(None))
        used[bent] += more
    return state, used


def minimise(energy: FitEnergy, state: HandState, targets: Targets, iterations: Tensor) -> tuple[HandState, Tensor]:
    """Levenberg-Marquardt from (B,) states, at most (B,) `iterations` steps each. A step that does not decrease E is taken back.

    Returns:
        The states, and (B,) how many steps each hand tried.
    """
    state = HandState(*(value.clone() for value in state))
    current = energy.normal_equations(state, targets)
    count = len(state.angles)
    damping = torch.full((count,), DAMPING, dtype=torch.float64)
    used = torch.zeros(count, dtype=torch.long)
    active = torch.arange(count)
    for _ in range(int(iterations.max())):
        step, foretold = _damped_step(current, active, damping)
        used[active] += 1
        trial = state.at(active).stepped(step.to(energy.linear.dtype))
        last = foretold < TOLERANCE
        _write(state, trial, active[last], last)
        active, trial = active[~last], trial.at(~last)
        if not len(active):
            break
        found = energy.normal_equations(trial, targets.at(active))
        better = found.value < current.value[active]  # False for NaN
        _write(state, trial, active[better], better)
        _write(current, found, active[better], better)
        damping[active] = (damping[active] * torch.where(better, 0.1, 10.0)).clamp(LEAST_DAMPING, 1e6)
        active = active[used[active] < iterations[active]]
    return state, used


def _damped_step(current: NormalEquations, active: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
    """(A, U) steps of the active hands and (A,) the decrease of E that their quadratic models foretell; float64."""
    hessian, gradient = current.hessian[active], current.gradient[active]
    ridge = damping[active, None] * hessian.diagonal(dim1=1, dim2=2).clamp_min(1e-9)
    factor, _ = torch.linalg.cholesky_ex(hessian + torch.diag_embed(ridge))
    step = -torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)
    return step, 0.5 * (step * (ridge * step - gradient)).sum(-1)


def _write(values: tuple[Tensor, ...], new: tuple[Tensor, ...], index: Tensor, chosen: Tensor | slice) -> None:
    """values[index] = new[chosen] for each tensor of two tuples."""
    for old, value in zip(values, new, strict=True):
        old[index] = value[chosen]


def minimise_adam(energy: FitEnergy, state: HandState, targets: Targets, iterations: int) -> HandState:
    """`iterations` steps of Adam from (B,) states; gradients by automatic differentiation.

    Kept for comparison, as the paper's family does it (HandTailor, Lv et al. 2021): `minimise` is nearer after as many steps, in
    less time.
    """
    blocks = [slice(start, start + _HANDS) for start in range(0, len(state.angles), _HANDS)]
    parts = [_descend(energy, state.at(block), targets.at(block), iterations) for block in blocks]
    return HandState(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _descend(energy: FitEnergy, start: HandState, targets: Targets, iterations: int) -> HandState:
    unit = torch.ones(energy.linear.num_unknowns, dtype=energy.linear.dtype)
    unit[TRANSLATION] = _TRANSLATION_UNIT_M
    unit[energy.num_unknowns :] = 0  # a frozen shape
    step = torch.zeros(len(start.angles), len(unit), dtype=energy.linear.dtype, requires_grad=True)
    optimiser = torch.optim.Adam([step], lr=_RATE, betas=_BETAS)
    for _ in range(iterations):
        optimiser.zero_grad()
        state = start.stepped(step * unit)
        energy.value(*energy.linear.points(state), state.angles, state.beta, targets).sum().backward()
        optimiser.step()
    return start.stepped(step.detach() * unit)
