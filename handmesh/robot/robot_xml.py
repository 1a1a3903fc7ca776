"""What URDF and MJCF share: numbers as text, the comment that says where a model comes from, and where its meshes lie."""

import re
from collections.abc import Iterable
from typing import cast
from xml.etree import ElementTree as ET

from handmesh.robot.articulated import ArticulatedHand

MESH_SUFFIX = ".stl"

DAMPING = 0.01
"""Of the joints [N m s/rad]: near critical for a whole finger, 6e-5 kg m^2 about its knuckle, on a servo of 0.5 N m/rad."""

SKIN = "0.87 0.68 0.57 1"
"""RGBA of the links."""


def numbers(values: Iterable[float]) -> str:
    """Numbers as an attribute: nine digits, a thousandth of a micrometre or less on a hand."""
    return " ".join(f"{float(value) + 0.0:.9g}" for value in values)


def about(model: ArticulatedHand) -> ET.Element:
    """The comment at the head of a file: which hand, its shape, its licence, units and frame."""
    text = (
        f"{model.side} hand of the model {model.hand}, beta = ({numbers(model.beta)}); licence of the hand: {model.licence}. "
        "Metres, radians, kilograms. At zero the hand is flat: origin in the wrist, "
        f"fingers along {'-x' if model.side == 'right' else '+x'}, palm towards -y, thumb towards +z. "
        "Positive flexion bends to the palm, positive abduction turns to the thumb. Made by handmesh kinematics export."
    )
    # XML allows no "--" and no control character in a comment, and a hand's own texts come from a file.
    clean = re.sub(r"-{2,}", "-", "".join(c if c.isprintable() else " " for c in text))
    return cast(ET.Element, ET.Comment(f" {clean} "))


def to_text(root: ET.Element) -> str:
    """The whole document."""
    ET.indent(root)
    return '<?xml version="1.0"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
