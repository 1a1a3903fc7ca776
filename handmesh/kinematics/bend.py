"""Equation 3: fingers do not bend backwards.

For the bones b1 = tip - DIP, b2 = DIP - PIP, b3 = PIP - MCP of a finger, (b1 x b2) . (b2 x b3) is negative where the two
joints bend opposite ways. The paper sums relu of its negative over four fingers. Bones are taken at unit length here, so that the
measure is the product of the two joints' sines (times the cosine between their axes) whatever the size of the hand; with raw
bones it is about 1e-7 m^4.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

BEND_CHAINS = ((5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
"""MCP, PIP, DIP and tip of index, middle, ring and pinky, in FreiHAND's order of keypoints."""


def bend_measures(keypoints: Tensor) -> Tensor:
    """(..., 21, 3) keypoints, any unit -> (..., 4) (b1 x b2) . (b2 x b3) of unit bones: index, middle, ring, pinky."""
    (u1, u2, u3), _ = _bones(keypoints)
    return _measure(u1, u2, u3)


def bend_penalty(keypoints: Tensor) -> Tensor:
    """Equation 3. (..., 21, 3) keypoints -> (...) sum over four fingers of relu(-measure)."""
    return torch.relu(-bend_measures(keypoints)).sum(-1)


def has_bend_violation(keypoints: Tensor, tolerance: float = 0.0) -> Tensor:
    """(..., 21, 3) keypoints -> (...) bool: any of the four fingers bends backwards by more than the tolerance."""
    return (bend_measures(keypoints) < -tolerance).any(-1)


BEND_SOFTNESS = 1e-3
"""Sine below which `backward_bend` fades: it has no direction for a finger that is straight at both joints."""


def backward_bend(keypoints: Tensor) -> Tensor:
    """(..., 21, 3) keypoints -> (..., 4) the measure as an angle [rad]: of its sign, about the smaller of the two joints' bends.

    The measure itself is a product of two sines, so flat where the finger is straight that a solver cannot follow it; divided
    by the root of the sum of their squares it has a slope of one.
    """
    (u1, u2, u3), _ = _bones(keypoints)
    return _measure(u1, u2, u3) / _size((u1 * u2).sum(-1), (u2 * u3).sum(-1))


def backward_bend_gradients(keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 21, 3) keypoints -> `backward_bend` (B, 4), and its gradients (B, 4, 4, 3) by finger and MCP, PIP, DIP, tip."""
    (u1, u2, u3), lengths = _bones(keypoints)
    u12, u23 = (u1 * u2).sum(-1, keepdim=True), (u2 * u3).sum(-1, keepdim=True)
    size = _size(u12, u23)
    ratio = _measure(u1, u2, u3).unsqueeze(-1) / size
    # By unit bones: of the measure (u1.u2)(u2.u3) - u1.u3, and of the size, the root of 2 - (u1.u2)^2 - (u2.u3)^2 + softness^2.
    pull = ratio / size
    by_unit = torch.stack(
        [u23 * u2 - u3 + pull * u12 * u2, u23 * u1 + u12 * u3 + pull * (u12 * u1 + u23 * u3), u12 * u2 - u1 + pull * u23 * u2], 2
    ) / size.unsqueeze(2)
    units = torch.stack([u1, u2, u3], 2)
    by_bone = (by_unit - units * (by_unit * units).sum(-1, keepdim=True)) / lengths  # a unit vector only turns
    d1, d2, d3 = by_bone.unbind(2)
    return ratio.squeeze(-1), torch.stack([-d3, d3 - d2, d2 - d1, d1], 2)


def _size(u12: Tensor, u23: Tensor) -> Tensor:
    """Root of the sum of the two joints' squared sines, from their cosines."""
    return ((1 - u12 * u12).clamp_min(0) + (1 - u23 * u23).clamp_min(0) + BEND_SOFTNESS**2).sqrt()


def _bones(keypoints: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Unit bones from tip to palm, (..., 4, 3) each, and their lengths (..., 4, 3, 1)."""
    chains = keypoints[..., torch.tensor(BEND_CHAINS, device=keypoints.device), :]  # (..., finger, point, 3)
    bones = (chains[..., 1:, :] - chains[..., :-1, :]).flip(-2)
    units = normalize(bones, dim=-1)
    return (units[..., 0, :], units[..., 1, :], units[..., 2, :]), torch.linalg.vector_norm(bones, dim=-1, keepdim=True).clamp_min(
        1e-9
    )


def _measure(u1: Tensor, u2: Tensor, u3: Tensor) -> Tensor:
    return (torch.linalg.cross(u1, u2) * torch.linalg.cross(u2, u3)).sum(-1)
