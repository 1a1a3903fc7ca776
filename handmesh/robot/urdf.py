"""An articulated hand as URDF (wiki.ros.org/urdf/XML): a revolute joint a degree of freedom, a fixed frame for each fingertip.

URDF's joints have one axis, so that the revolute joints of one anatomical joint are separated by links of nearly nothing. It knows
no capsule: a cylinder and two balls make one.
"""

from xml.etree import ElementTree as ET

import numpy as np

from handmesh.robot.articulated import ArticulatedHand, Link, RevoluteJoint
from handmesh.robot.links import Capsule
from handmesh.robot.robot_xml import DAMPING, MESH_SUFFIX, SKIN, about, numbers

CARRIER_MASS, CARRIER_RADIUS = 1e-4, 0.005
"""A link between two revolute joints of one joint is a ball of a tenth of a gram [kg], [m]: a hundredth of a finger's bone."""

MAX_EFFORT, MAX_VELOCITY = 5.0, 20.0
"""Of every revolute joint, as URDF asks: about a strong knuckle's torque [N m] and a fast tap's speed [rad/s]."""


def urdf(model: ArticulatedHand, mesh_folder: str) -> ET.Element:
    """The document's root.

    Args:
        model: the hand.
        mesh_folder: of the links' STL files, from the URDF's own folder.
    """
    root = ET.Element("robot", name=f"{model.side}_hand")
    root.append(about(model))
    # MuJoCo's own: without it, its reader would drop the meshes and melt the fingertips into the last links.
    extension = ET.SubElement(root, "mujoco")
    ET.SubElement(extension, "compiler", discardvisual="false", fusestatic="false", strippath="false")
    ET.SubElement(ET.SubElement(root, "material", name="skin"), "color", rgba=SKIN)
    for link in model.links:
        carrier, position = link.parent, link.position
        for k, joint in enumerate(link.joints):
            last = k == len(link.joints) - 1
            child = link.name if last else f"{joint.name}_link"
            if not last:
                _inertial(ET.SubElement(root, "link", name=child), CARRIER_MASS, np.zeros(3), _ball(CARRIER_MASS, CARRIER_RADIUS))
            _revolute(root, joint, str(carrier), child, position)
            carrier, position = child, np.zeros(3)
        _link(root, link, mesh_folder)
        if link.tip:
            name, place = link.tip
            ET.SubElement(root, "link", name=name)
            fixed = _joint(root, f"{name}_fixed", "fixed", link.name, name)
            ET.SubElement(fixed, "origin", xyz=numbers(place))
    return root


def _link(root: ET.Element, link: Link, mesh_folder: str) -> None:
    element = ET.SubElement(root, "link", name=link.name)
    _inertial(element, link.mass, link.centre, link.inertia)
    visual = ET.SubElement(element, "visual")
    ET.SubElement(ET.SubElement(visual, "geometry"), "mesh", filename=f"{mesh_folder}/{link.name}{MESH_SUFFIX}")
    ET.SubElement(visual, "material", name="skin")
    for capsule in link.capsules:
        _capsule(element, capsule)


def _capsule(element: ET.Element, capsule: Capsule) -> None:
    along, radius = capsule.end - capsule.start, numbers([capsule.radius])
    x, y, z = along
    shapes = [
        ("cylinder", {"radius": radius, "length": numbers([float(np.linalg.norm(along))])}, (capsule.start + capsule.end) / 2),
        ("sphere", {"radius": radius}, capsule.start),
        ("sphere", {"radius": radius}, capsule.end),
    ]
    for shape, size, centre in shapes:
        collision = ET.SubElement(element, "collision")
        # A cylinder stands along z: pitch and yaw turn it along the bone; balls do not mind.
        turn = (0.0, np.arctan2(np.hypot(x, y), z), np.arctan2(y, x)) if shape == "cylinder" else (0.0, 0.0, 0.0)
        ET.SubElement(collision, "origin", xyz=numbers(centre), rpy=numbers(turn))
        ET.SubElement(ET.SubElement(collision, "geometry"), shape, size)


def _inertial(element: ET.Element, mass: float, centre: np.ndarray, inertia: np.ndarray) -> None:
    inertial = ET.SubElement(element, "inertial")
    ET.SubElement(inertial, "origin", xyz=numbers(centre))
    ET.SubElement(inertial, "mass", value=numbers([mass]))
    entries = {f"i{'xyz'[a]}{'xyz'[b]}": numbers([inertia[a, b]]) for a in range(3) for b in range(a, 3)}
    ET.SubElement(inertial, "inertia", entries)


def _ball(mass: float, radius: float) -> np.ndarray:
    """(3, 3) inertia of a solid ball about its middle [kg m^2]."""
    return 0.4 * mass * radius**2 * np.eye(3)


def _joint(root: ET.Element, name: str, kind: str, parent: str, child: str) -> ET.Element:
    joint = ET.SubElement(root, "joint", name=name, type=kind)
    ET.SubElement(joint, "parent", link=parent)
    ET.SubElement(joint, "child", link=child)
    return joint


def _revolute(root: ET.Element, joint: RevoluteJoint, parent: str, child: str, position: np.ndarray) -> None:
    element = _joint(root, joint.name, "revolute", parent, child)
    ET.SubElement(element, "origin", xyz=numbers(position))
    ET.SubElement(element, "axis", xyz=numbers(joint.axis))
    ET.SubElement(element, "dynamics", damping=numbers([DAMPING]))
    low, high = (numbers([value]) for value in joint.limits)
    ET.SubElement(element, "limit", lower=low, upper=high, effort=numbers([MAX_EFFORT]), velocity=numbers([MAX_VELOCITY]))
