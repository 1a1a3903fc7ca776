"""The named gestures of the embedded pose bank as joint coordinates of any hand: keyframes of models, targets of tests."""

import re

import numpy as np

from handmesh.kinematics.dof import dof_limits, hand_dof_matrix, project
from handmesh.kinematics.joint_coordinates import to_joint_coordinates
from handsynth.core.hand import HandModel
from handsynth.core.named_hands import open_hand, open_poses

_FIRST = re.compile(r"gesture: (.+) 1")  # each gesture is there in four variants


def named_gestures(hand: HandModel) -> tuple[tuple[str, np.ndarray], ...]:
    """Names such as "point_thumb_out", and (23,) joint coordinates [rad] within the hand's limits; the flat hand is the first.

    Angles say the same of every hand: those of the bank are read by the embedded hand's axes, and hold for others.
    """
    bank, limits = open_poses("embedded"), dof_limits(hand.joint_limits)
    found = {"flat": np.zeros((15, 3))}
    for name, theta in zip(bank.names, bank.theta, strict=True):
        if match := _FIRST.fullmatch(name):
            found[re.sub(r"\W+", "_", match[1]).strip("_").lower()] = theta
    angles = project(np.stack(list(found.values())), hand_dof_matrix(open_hand("embedded")))
    coordinates = np.clip(to_joint_coordinates(angles).values, limits[:, 0], limits[:, 1])
    return tuple(zip(found, coordinates, strict=True))
