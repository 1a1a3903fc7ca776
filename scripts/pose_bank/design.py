"""How designed poses are written down: angles in degrees per finger, contacts, and variations of them."""

from dataclasses import dataclass, replace

import numpy as np

from handsynth.core.conventions import FINGER_JOINTS
from pose_bank.target import Contact, Target

DIP_PER_PIP = 2 / 3
"""The last joint follows the middle one through the oblique ligament and the common tendon (Rijpkema and Girard 1991)."""

Finger = tuple[float, ...]
"""(first joint, middle joint[, abduction to the thumb[, last joint]]) of a finger [deg]."""

Thumb = tuple[float, float, float, float, float]
"""Flexion, palmar abduction and twist of the root, then flexion of the middle and the last joint [deg]."""

STRAIGHT: Finger = (2, 3)
CURLED: Finger = (82, 98)
EASY: Finger = (28, 34)

OUT: Thumb = (-4, 2, 0, 0, 4)  # off the hand's side
SIDE: Thumb = (22, -10, 0, 4, 4)  # along the index finger
TUCKED: Thumb = (36, 14, 12, 42, 34)  # across the palm
FIST: Thumb = (24, 22, 6, 34, 48)  # over the curled fingers
ROUND: Thumb = (22, 26, 14, 14, 22)  # facing the fingers


@dataclass(frozen=True)
class Design:
    """A posture as a person would describe it."""

    name: str
    thumb: Thumb = OUT
    index: Finger = STRAIGHT
    middle: Finger = STRAIGHT
    ring: Finger = STRAIGHT
    pinky: Finger = STRAIGHT
    contacts: tuple[tuple[str, str], ...] = ()
    ball: float = 0.0  # radius of what is held between the contacts [mm]
    team: tuple[str, ...] = ()  # fingers that bend together
    under: bool = False  # the thumb lies under the fingers

    def target(self) -> Target:
        """The same in radians, the last joint tied to the middle one unless it is given."""
        angles = np.zeros((16, 3))
        first, second, third = FINGER_JOINTS["thumb"]
        angles[first], angles[second, 0], angles[third, 0] = self.thumb[:3], self.thumb[3], self.thumb[4]
        for finger in ("index", "middle", "ring", "pinky"):
            values = getattr(self, finger)
            first, second, third = FINGER_JOINTS[finger]
            angles[first, 0], angles[second, 0] = values[:2]
            angles[first, 1] = values[2] if len(values) > 2 else 0.0
            angles[third, 0] = values[3] if len(values) > 3 else DIP_PER_PIP * values[1]
        contacts = tuple(Contact(a, b, self.ball * 1e-3) for a, b in self.contacts)
        return Target(np.radians(angles), contacts, team=self.team, under=self.under)


def varied(target: Target, rng: np.random.Generator, amount: float) -> Target:
    """A target as another person, or the same one a minute later, would do it.

    Args:
        target: the designed pose.
        rng: random numbers.
        amount: typical change of a finger's first and middle joint [deg].
    """
    angles = target.angles.copy()
    common, spread = rng.normal(0, amount, 2)
    for finger, (first, second, third) in FINGER_JOINTS.items():
        if finger == "thumb":
            angles[first] += np.radians(rng.normal(0, [0.5 * amount, 0.5 * amount, 0.3 * amount]))
            change = rng.normal(0, 0.7 * amount)
            angles[second, 0] += np.radians(change)
            angles[third, 0] += np.radians(0.6 * change + rng.normal(0, 0.5 * amount))
            continue
        # Neighbours share tendons and habit: half of the change is common to all fingers.
        one, two = 0.5 * common + rng.normal(0, 0.6 * amount), 0.5 * common + rng.normal(0, 0.7 * amount)
        angles[first, 0] += np.radians(one)
        angles[second, 0] += np.radians(two)
        angles[third, 0] += np.radians(DIP_PER_PIP * two + rng.normal(0, 0.2 * amount))
        fan = {"index": 0.3, "middle": 0.0, "ring": -0.2, "pinky": -0.5}[finger]
        room = np.cos(np.clip(angles[first, 0], 0, np.pi / 2))  # a bent knuckle leaves no room to spread
        angles[first, 1] += np.radians(room * (fan * spread + rng.normal(0, 0.2 * amount)))
    return replace(target, angles=angles)
