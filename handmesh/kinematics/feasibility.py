"""Angles beyond their limits, by name and in degrees: reported, never clamped in silence."""

from typing import NamedTuple

import numpy as np

from handmesh.kinematics.dof import DOF_NAMES, dof_limits
from handsynth.core.hand import HandModel

TOLERANCE_DEG = 0.01


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
