"""An articulated hand as URDF (wiki.ros.org/urdf/XML): a revolute joint a degree of freedom, a fixed frame for each fingertip.

The root, `base` or `world`, is a frame without inertia (KDL refuses any other); the palm is fixed to it, or floats. Every other
link has an inertia, carriers and fingertips too: PyBullet takes one that has none for a kilogram. URDF knows no capsule: a cylinder
and two balls make one.
"""

from xml.etree import ElementTree as ET

import numpy as np

from handmesh.robot.articulated import ArticulatedHand, RevoluteJoint
from handmesh.robot.chain import Body, chain, inertia_about_origin
from handmesh.robot.links import Capsule
from handmesh.robot.robot_xml import COUPLED, COUPLING, SKIN, ExportOptions, about_text, comment, numbers

BASE, WORLD = "base", "world"
"""Names of the root: of a fixed hand and of a floating one, which MuJoCo and Gazebo take for the world itself."""

DAMPING_RATE = 15.0
"""Damping of a joint [N m s/rad] against the inertia of its own link about it [kg m^2]: a limp hand comes to rest within seconds.

Simulators such as PyBullet integrate damping explicitly, which diverges where damping times step exceeds twice the inertia that the
joint meets. In a chain that is down to a twentieth of the link's own, over all poses, so that 15 / s bears steps of 1/150 s;
PyBullet's are 1/240 s. The damping that suits a servo, as in MJCF, would fling the fingers about for ever.
"""

MAX_EFFORT, MAX_VELOCITY = 5.0, 20.0
"""Of every revolute joint, as URDF asks: about a strong knuckle's torque [N m] and a fast tap's speed [rad/s]."""


def urdf(model: ArticulatedHand, mesh_folder: str, options: ExportOptions | None = None) -> ET.Element:
    """The document's root.

    Args:
        model: the hand.
        mesh_folder: of the links' files, from the URDF's own folder.
        options: None means the defaults.
    """
    options = options or ExportOptions()
    folder = "/".join(part for part in (options.mesh_prefix.rstrip("/") if options.mesh_prefix else "", mesh_folder) if part)
    root = ET.Element("robot", name=f"{model.side}_hand")
    root.append(comment(about_text(model)))
    # MuJoCo's own: without it, its reader would drop the meshes and melt the fingertips into the last links.
    extension = ET.SubElement(root, "mujoco")
    ET.SubElement(extension, "compiler", discardvisual="false", fusestatic="false", strippath="false")
    ET.SubElement(ET.SubElement(root, "material", name="skin"), "color", rgba=SKIN)
    base = WORLD if options.floating else BASE
    ET.SubElement(root, "link", name=base)
    for body in chain(model):
        element = ET.SubElement(root, "link", name=body.name)
        _inertial(element, body)
        if body.is_link:
            _shapes(element, body, folder, options)
        if body.joint:
            _revolute(root, body.joint, body, base, options)
        else:
            name = "base_joint" if body.parent is None else f"{body.name}_fixed"
            kind = "floating" if body.parent is None and options.floating else "fixed"
            joint = _joint(root, name, kind, body, base)
            ET.SubElement(joint, "origin", xyz=numbers(body.position), rpy="0 0 0")
    return root


def _shapes(element: ET.Element, body: Body, folder: str, options: ExportOptions) -> None:
    textured = options.visuals == "textured"
    visual = ET.SubElement(element, "visual")
    file = f"{folder}/{body.name}{'.glb' if textured else '.stl'}"
    ET.SubElement(ET.SubElement(visual, "geometry"), "mesh", filename=file)
    if not textured:
        ET.SubElement(visual, "material", name="skin")
    if options.collision == "convex":
        geometry = ET.SubElement(ET.SubElement(element, "collision"), "geometry")
        ET.SubElement(geometry, "mesh", filename=f"{folder}/{body.name}_hull.stl")
    else:
        for capsule in body.link.capsules:
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


def _inertial(element: ET.Element, body: Body) -> None:
    inertial = ET.SubElement(element, "inertial")
    ET.SubElement(inertial, "origin", xyz=numbers(body.centre), rpy="0 0 0")
    ET.SubElement(inertial, "mass", value=numbers([body.mass]))
    entries = {f"i{'xyz'[a]}{'xyz'[b]}": numbers([body.inertia[a, b]]) for a in range(3) for b in range(a, 3)}
    ET.SubElement(inertial, "inertia", entries)


def _joint(root: ET.Element, name: str, kind: str, body: Body, base: str) -> ET.Element:
    joint = ET.SubElement(root, "joint", name=name, type=kind)
    ET.SubElement(joint, "parent", link=body.parent or base)
    ET.SubElement(joint, "child", link=body.name)
    return joint


def _revolute(root: ET.Element, joint: RevoluteJoint, body: Body, base: str, options: ExportOptions) -> None:
    link = body.link
    damping = DAMPING_RATE * joint.axis @ inertia_about_origin(link.mass, link.centre, link.inertia) @ joint.axis
    element = _joint(root, joint.name, "revolute", body, base)
    ET.SubElement(element, "origin", xyz=numbers(body.position), rpy="0 0 0")
    ET.SubElement(element, "axis", xyz=numbers(joint.axis))
    ET.SubElement(element, "dynamics", damping=numbers([damping]))
    low, high = (numbers([value]) for value in joint.limits)
    ET.SubElement(element, "limit", lower=low, upper=high, effort=numbers([MAX_EFFORT]), velocity=numbers([MAX_VELOCITY]))
    if options.coupled and joint.name in COUPLED:
        ET.SubElement(element, "mimic", joint=COUPLED[joint.name], multiplier=numbers([COUPLING]), offset="0")
