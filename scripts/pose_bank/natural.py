"""Random hands inside human joint ranges, whose joints hang together as tendons and habit tie them."""

import numpy as np

from handsynth.core.conventions import FINGER_JOINTS
from pose_bank.design import DIP_PER_PIP
from pose_bank.target import Target

LONG = ("index", "middle", "ring", "pinky")

NEIGHBOUR = 0.65
"""Correlation of the bending of neighbouring fingers (after the enslaving matrices of Haeger-Ross and Schieber 2000)."""

FAN_DEG = (9.0, 1.0, -6.0, -12.0)
"""How far each finger turns when the hand fans out by one unit."""


def natural_target(rng: np.random.Generator) -> Target:
    """One random pose.

    Its model: a common bend of the hand; fingers that leave it together with their neighbours; a middle joint that is half
    free of the first; a last joint at two thirds of the middle one; a fan that closes as the first joints bend; in four of
    ten hands some fingers are held straight or folded on purpose; a thumb whose root turns inwards (twist) as it opposes.
    """
    angles = np.zeros((16, 3))
    first = _bends(rng) * 95 - 8
    middle = np.clip(0.5 * (first + 8) / 95 + 0.5 * _bends(rng), 0, 1) ** 1.1 * 105
    if rng.random() < 0.4:
        picked = rng.random(4) < 0.5
        target = (rng.uniform(-8, 12), rng.uniform(0, 12)) if rng.random() < 0.6 else (rng.uniform(70, 88), rng.uniform(80, 102))
        first[picked] = target[0] + rng.normal(0, 4, picked.sum())
        middle[picked] = target[1] + rng.normal(0, 4, picked.sum())
    # Ring and little finger share their deep flexor: neither leaves the other far behind. The extensors of the three inner
    # fingers are joined by bands: the middle one and the ring finger do not stand up alone between bent neighbours.
    gap = first[3] - first[2]
    first[2:] += np.array([0.5, -0.5]) * (gap - np.clip(gap, -35, 35))
    for bends, slack in ((first, 8), (middle, 12)):
        for k in (1, 2):
            bends[k] = max(bends[k], min(bends[k - 1], bends[k + 1]) - slack)
    spread = rng.normal(0.4, 0.7)
    for k, finger in enumerate(LONG):
        one, two, three = FINGER_JOINTS[finger]
        open_ = np.cos(np.radians(np.clip(first[k], 0, 80)))
        angles[one, :2] = first[k], (FAN_DEG[k] * spread + rng.normal(0, 2.5)) * open_
        angles[two, 0] = middle[k]
        angles[three, 0] = DIP_PER_PIP * middle[k] + rng.normal(0, 4)
    angles[list(FINGER_JOINTS["thumb"])] = _thumb(rng)
    return Target(np.radians(angles))


def _bends(rng: np.random.Generator) -> np.ndarray:
    """(4,) bend of index to little finger in [0, 1]: a common part and a correlated rest."""
    rest = np.empty(4)
    rest[0] = rng.normal()
    for k in range(1, 4):
        rest[k] = NEIGHBOUR * rest[k - 1] + np.sqrt(1 - NEIGHBOUR**2) * rng.normal()
    return np.clip(rng.uniform(0, 0.9) + 0.03 * np.arange(4) + 0.2 * rest, 0, 1)


def _thumb(rng: np.random.Generator) -> np.ndarray:
    """(3, 3) angles of the thumb [deg]: opposition is one gesture of flexion, palmar abduction and inward twist."""
    opposition = rng.uniform()
    flexion = -14 + 48 * opposition + rng.normal(0, 8)
    abduction = rng.uniform(-16, 32)
    twist = 0.25 * (flexion + abduction) + rng.normal(0, 4)
    bend = rng.beta(1.2, 2.2) * (0.4 + 0.6 * opposition)
    last = 0.6 * bend + 0.4 * rng.beta(1, 2.5)
    return np.array([[flexion, abduction, twist], [60 * bend - 6, 0, 0], [75 * last - 8, 0, 0]])
