"""The same energy by Adam, as the paper's family does it: 20 steps of 0.03 with both betas 0.5 (HandTailor, Lv et al. 2021).

Kept for comparison; `solver.minimise` is nearer after as many steps, in less time.
"""

import torch

from handmesh.kinematics.energy import FitEnergy, Targets
from handmesh.kinematics.linear import TRANSLATION, HandState

RATE = 0.03
BETAS = (0.5, 0.5)

_TRANSLATION_UNIT_M = 0.1  # so that a step of 0.03 is 3 mm; the other unknowns are radians and standard deviations
_HANDS = 64  # of a batch at once: the least time per hand, measured from 8 to 256


def minimise_adam(energy: FitEnergy, state: HandState, targets: Targets, iterations: int) -> HandState:
    """`iterations` steps of Adam from (B,) states; gradients by automatic differentiation."""
    blocks = [slice(start, start + _HANDS) for start in range(0, len(state.angles), _HANDS)]
    parts = [_descend(energy, state.at(block), targets.at(block), iterations) for block in blocks]
    return HandState(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _descend(energy: FitEnergy, start: HandState, targets: Targets, iterations: int) -> HandState:
    unit = torch.ones(energy.linear.num_unknowns, dtype=energy.linear.dtype)
    unit[TRANSLATION] = _TRANSLATION_UNIT_M
    unit[energy.num_unknowns :] = 0  # a frozen shape
    step = torch.zeros(len(start.angles), len(unit), dtype=energy.linear.dtype, requires_grad=True)
    optimiser = torch.optim.Adam([step], lr=RATE, betas=BETAS)
    for _ in range(iterations):
        optimiser.zero_grad()
        state = start.stepped(step * unit)
        energy.value(*energy.linear.points(state), state.angles, state.beta, targets).sum().backward()
        optimiser.step()
    return start.stepped(step.detach() * unit)
