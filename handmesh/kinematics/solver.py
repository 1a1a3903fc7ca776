"""Batched Levenberg-Marquardt: damped Gauss-Newton steps, each hand with its own damping, and hands leave when they are done."""

import torch
from torch import Tensor

from handmesh.kinematics.bend import has_bend_violation
from handmesh.kinematics.energy import FitEnergy, NormalEquations, Targets
from handmesh.kinematics.linear import HandState

DAMPING = 1e-3
"""At the start, a share of the Hessian's diagonal (Marquardt 1963). Divided by 10 after a good step, times 10 after a bad one."""

LEAST_DAMPING = 1e-4
"""No less, or a hand whose step fails has too many to try before a shorter one succeeds."""

TOLERANCE = 0.1
"""A hand is done when its quadratic model foretells a decrease of E below this: E is a log-likelihood, which 0.1 does not move,
and the last step, which is still taken, leaves a small part of it."""

BEND_ROUNDS = 3
"""Times that the weight on backward bends grows for the fingers that still bend backwards."""


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
