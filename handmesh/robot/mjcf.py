"""An articulated hand as MJCF (mujoco.readthedocs.io): a position servo for each degree of freedom; those of one anatomical joint
share a body.
"""

from xml.etree import ElementTree as ET

from handmesh.robot.articulated import ArticulatedHand, Link
from handmesh.robot.robot_xml import DAMPING, MESH_SUFFIX, SKIN, about, numbers

STIFFNESS = 0.5
"""Of the servos [N m/rad]: a level finger's own weight, about 0.01 N m at the knuckle, bends it by one degree."""

ARMATURE = 1e-5
"""Inertia of each servo [kg m^2]: keeps the last links, a tenth of that, steady at steps of 2 ms."""


def mjcf(model: ArticulatedHand, mesh_folder: str) -> ET.Element:
    """The document's root.

    Args:
        model: the hand.
        mesh_folder: of the links' STL files, from the file's own folder.
    """
    root = ET.Element("mujoco", model=f"{model.side}_hand")
    root.append(about(model))
    ET.SubElement(root, "compiler", angle="radian", meshdir=mesh_folder, autolimits="true")
    ET.SubElement(root, "option", integrator="implicitfast")
    default = ET.SubElement(root, "default")
    ET.SubElement(default, "joint", type="hinge", damping=numbers([DAMPING]), armature=numbers([ARMATURE]))
    ET.SubElement(default, "position", kp=numbers([STIFFNESS]))
    visual = ET.SubElement(default, "default", {"class": "visual"})
    ET.SubElement(visual, "geom", type="mesh", contype="0", conaffinity="0", group="2", rgba=SKIN)
    collision = ET.SubElement(default, "default", {"class": "collision"})
    ET.SubElement(collision, "geom", type="capsule", group="3")

    asset, world = ET.SubElement(root, "asset"), ET.SubElement(root, "worldbody")
    contact, actuator = ET.SubElement(root, "contact"), ET.SubElement(root, "actuator")
    bodies: dict[str | None, ET.Element] = {None: world}
    for link in model.links:
        ET.SubElement(asset, "mesh", name=link.name, file=f"{link.name}{MESH_SUFFIX}")
        bodies[link.name] = _body(bodies[link.parent], link)
        if link.parent:
            # MuJoCo leaves out contacts of parent and child by itself, but not where the parent stands still: the palm.
            ET.SubElement(contact, "exclude", body1=link.parent, body2=link.name)
        for joint in link.joints:
            ET.SubElement(actuator, "position", name=joint.name, joint=joint.name, ctrlrange=numbers(joint.limits))
    return root


def _body(parent: ET.Element, link: Link) -> ET.Element:
    body = ET.SubElement(parent, "body", name=link.name, pos=numbers(link.position))
    matrix = link.inertia
    ET.SubElement(
        body,
        "inertial",
        pos=numbers(link.centre),
        mass=numbers([link.mass]),
        fullinertia=numbers(matrix[a, b] for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))),
    )
    for joint in link.joints:
        ET.SubElement(body, "joint", name=joint.name, axis=numbers(joint.axis), range=numbers(joint.limits))
    ET.SubElement(body, "geom", {"class": "visual", "name": link.name, "mesh": link.name})
    for capsule in link.capsules:
        fromto = numbers([*capsule.start, *capsule.end])
        ET.SubElement(body, "geom", {"class": "collision", "fromto": fromto, "size": numbers([capsule.radius])})
    if link.tip:
        name, place = link.tip
        ET.SubElement(body, "site", name=name, pos=numbers(place), size="0.002")
    return body
