"""An articulated hand as URDF (wiki.ros.org/urdf/XML): a revolute joint a degree of freedom, a fixed frame for each fingertip.

URDF's joints have one axis, so that the revolute joints of one anatomical joint are separated by small links, carriers. Every link
has an inertia, carriers and fingertips too: PyBullet takes one that has none for a kilogram. What they weigh is taken from the link
that they belong to, so that the hand keeps its mass and, at zero, its inertia. URDF knows no capsule: a cylinder and two balls make
one.
"""

from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np

from handmesh.robot.articulated import ArticulatedHand, Link, RevoluteJoint
from handmesh.robot.links import Capsule
from handmesh.robot.robot_xml import MESH_SUFFIX, SKIN, about, numbers

SMALL_SHARE = 0.02
"""Mass of a carrier or a fingertip, as a share of its link's: 0.1 g of a finger's bone."""

CARRIER_RADIUS, TIP_RADIUS = 0.005, 0.003
"""Carriers and fingertips are solid balls [m]; neither is drawn, nor touches anything."""

DAMPING_RATE = 15.0
"""Damping of a joint [N m s/rad] against the inertia of its own link about it [kg m^2]: a limp hand comes to rest within seconds.

Simulators such as PyBullet integrate damping explicitly, which diverges where damping times step exceeds twice the inertia that the
joint meets. In a chain that is down to a twentieth of the link's own, over all poses, so that 15 / s bears steps of 1/150 s;
PyBullet's are 1/240 s. The damping that suits a servo, as in MJCF, would fling the fingers about for ever.
"""

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
        carriers = [_ball(f"{joint.name}_link", link, np.zeros(3), CARRIER_RADIUS) for joint in link.joints[:-1]]
        tips = [_ball(link.tip[0], link, link.tip[1], TIP_RADIUS)] if link.tip else []
        for small in (*carriers, *tips):
            _inertial(ET.SubElement(root, "link", name=small.name), small._replace(centre=np.zeros(3)))
        _link(root, link, _remainder(link, [*carriers, *tips]), mesh_folder)
        parent, position = link.parent, link.position
        for joint, child in zip(link.joints, [*(carrier.name for carrier in carriers), link.name], strict=False):
            _revolute(root, joint, link, str(parent), child, position)
            parent, position = child, np.zeros(3)
        for tip in tips:
            fixed = _joint(root, f"{tip.name}_fixed", "fixed", link.name, tip.name)
            ET.SubElement(fixed, "origin", xyz=numbers(tip.centre))
    return root


class _Body(NamedTuple):
    """A rigid body in the frame of a link."""

    name: str
    mass: float  # [kg]
    centre: np.ndarray  # (3,) [m]
    inertia: np.ndarray  # (3, 3) about the centre [kg m^2]

    def about_origin(self) -> np.ndarray:
        """(3, 3) inertia about the frame's origin [kg m^2]."""
        return self.inertia + self.mass * _steiner(self.centre)


def _ball(name: str, link: Link, centre: np.ndarray, radius: float) -> _Body:
    """A solid ball of a small share of the link's mass."""
    mass = SMALL_SHARE * link.mass
    return _Body(name, mass, centre, 0.4 * mass * radius**2 * np.eye(3))


def _remainder(link: Link, parts: list[_Body]) -> _Body:
    """The link without its parts: together they have its mass, its centre and its inertia."""
    whole = _Body(link.name, link.mass, link.centre, link.inertia)
    mass = whole.mass - sum(part.mass for part in parts)
    centre = (whole.mass * whole.centre - sum((part.mass * part.centre for part in parts), np.zeros(3))) / mass
    inertia = whole.about_origin() - sum((part.about_origin() for part in parts), np.zeros((3, 3))) - mass * _steiner(centre)
    return _Body(link.name, mass, centre, inertia)


def _steiner(offset: np.ndarray) -> np.ndarray:
    """(3,) -> (3, 3) inertia about the origin of a unit mass at that place."""
    return offset @ offset * np.eye(3) - np.outer(offset, offset)


def _link(root: ET.Element, link: Link, body: _Body, mesh_folder: str) -> None:
    element = ET.SubElement(root, "link", name=link.name)
    _inertial(element, body)
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


def _inertial(element: ET.Element, body: _Body) -> None:
    inertial = ET.SubElement(element, "inertial")
    ET.SubElement(inertial, "origin", xyz=numbers(body.centre))
    ET.SubElement(inertial, "mass", value=numbers([body.mass]))
    entries = {f"i{'xyz'[a]}{'xyz'[b]}": numbers([body.inertia[a, b]]) for a in range(3) for b in range(a, 3)}
    ET.SubElement(inertial, "inertia", entries)


def _joint(root: ET.Element, name: str, kind: str, parent: str, child: str) -> ET.Element:
    joint = ET.SubElement(root, "joint", name=name, type=kind)
    ET.SubElement(joint, "parent", link=parent)
    ET.SubElement(joint, "child", link=child)
    return joint


def _revolute(root: ET.Element, joint: RevoluteJoint, link: Link, parent: str, child: str, position: np.ndarray) -> None:
    damping = DAMPING_RATE * joint.axis @ _Body(link.name, link.mass, link.centre, link.inertia).about_origin() @ joint.axis
    element = _joint(root, joint.name, "revolute", parent, child)
    ET.SubElement(element, "origin", xyz=numbers(position))
    ET.SubElement(element, "axis", xyz=numbers(joint.axis))
    ET.SubElement(element, "dynamics", damping=numbers([damping]))
    low, high = (numbers([value]) for value in joint.limits)
    ET.SubElement(element, "limit", lower=low, upper=high, effort=numbers([MAX_EFFORT]), velocity=numbers([MAX_VELOCITY]))
