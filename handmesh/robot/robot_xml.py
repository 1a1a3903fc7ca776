"""What the written models share: how a hand is exported, numbers as text, the comment that says where a model comes from."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast
from xml.etree import ElementTree as ET

import numpy as np

from handmesh.kinematics.dof import DOF_NAMES, DOFS
from handmesh.robot.articulated import ArticulatedHand
from handsynth.core.errors import UsageError

DAMPING = 0.1
"""Of the joints [N m s/rad]: with a servo's greatest torque a joint turns at 5 rad/s, as a quick hand does, and does not swing."""

STIFFNESS = 2.0
"""Of the servos [N m/rad]: a level finger's own weight, about 0.01 N m at the knuckle, bends it by a third of a degree."""

MAX_TORQUE = 0.5
"""Of the servos [N m]: 5 N at a fingertip, a light grip; with more, fingers that meet press into each other."""

SKIN = "0.87 0.68 0.57 1"
"""RGBA of the links."""

COUPLING = 2 / 3
"""Turn of a finger's last joint for one of the joint before, where they are coupled: their tendons share one muscle."""

COUPLED = {f"{dof.finger}_dip_flexion": f"{dof.finger}_pip_flexion" for dof in DOFS if dof.joint == "dip"}
"""Each coupled joint, and the joint that leads it."""

COLLISIONS = ("capsules", "convex")
VISUALS = ("plain", "textured")


@dataclass(frozen=True)
class ExportOptions:
    """How a hand is written. Raises UsageError for names that are none."""

    floating: bool = False  # the palm moves freely; otherwise it is fixed
    coupled: bool = False  # a finger's last joint follows the one before
    collision: str = "capsules"  # of COLLISIONS
    visuals: str = "plain"  # of VISUALS: STL of one colour, or the skin's texture
    mesh_prefix: str = ""  # before the mesh's path in URDF, such as "package://hand_description"
    keyframes: tuple[tuple[str, np.ndarray], ...] = ()  # names and (23,) joint coordinates [rad], for MJCF

    def __post_init__(self) -> None:
        for flag, value, known in (("--collision", self.collision, COLLISIONS), ("--visuals", self.visuals, VISUALS)):
            if value not in known:
                raise UsageError(f"{flag} {value}: use {' or '.join(known)}")
        if re.search(r"[\x00-\x20\x7f<>\"]", self.mesh_prefix):
            raise UsageError(
                f"--mesh-prefix {self.mesh_prefix!r}: expected a start of paths without spaces, such as package://NAME"
            )

    @property
    def actuated(self) -> tuple[str, ...]:
        """Joints that have a servo, DOFS' order: all, or those that follow no other."""
        return tuple(name for name in DOF_NAMES if not (self.coupled and name in COUPLED))

    def with_coupling(self, coordinates: np.ndarray) -> np.ndarray:
        """(..., 23) joint coordinates, coupled joints where their leaders put them."""
        coordinates = np.array(coordinates, np.float64)
        if self.coupled:
            for name, leader in COUPLED.items():
                coordinates[..., DOF_NAMES.index(name)] = COUPLING * coordinates[..., DOF_NAMES.index(leader)]
        return coordinates


def numbers(values: Iterable[float]) -> str:
    """Numbers as an attribute: nine digits, a thousandth of a micrometre or less on a hand."""
    return " ".join(f"{float(value) + 0.0:.9g}" for value in values)


def about_text(model: ArticulatedHand) -> str:
    """Which hand, its shape, its licence, units and frame."""
    axes = (
        "x out of the palm, z to the middle finger's knuckle"
        if model.frame == "dex"
        else f"fingers along {'-x' if model.side == 'right' else '+x'}, palm towards -y, thumb towards +z"
    )
    return (
        f"{model.side} hand of the model {model.hand}, beta = ({numbers(model.beta)}); licence of the hand: {model.licence}. "
        f"Metres, radians, kilograms. At zero the hand is flat: origin in the wrist, {axes}. "
        "Positive flexion bends to the palm, positive abduction turns to the thumb. Made by handmesh kinematics export."
    )


def comment(text: str) -> ET.Element:
    """A comment of any text: XML allows no "--" and no control character in one, and a hand's own texts come from a file."""
    clean = re.sub(r"-{2,}", "-", "".join(c if c.isprintable() else " " for c in text))
    return cast(ET.Element, ET.Comment(f" {clean} "))


def to_text(root: ET.Element) -> str:
    """The whole document."""
    ET.indent(root)
    return '<?xml version="1.0"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
