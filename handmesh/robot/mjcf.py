"""An articulated hand as MJCF (mujoco.readthedocs.io), and a scene about it.

A position servo for each degree of freedom; those of one anatomical joint share a body. Contacts are stiff, and begin half a
millimetre before capsules meet: fingers that are driven into each other stay apart.
"""

from xml.etree import ElementTree as ET

import numpy as np

from handmesh.kinematics.dof import DOF_NAMES
from handmesh.robot.articulated import ArticulatedHand, Link
from handmesh.robot.robot_xml import (
    COUPLED,
    COUPLING,
    DAMPING,
    MAX_TORQUE,
    SKIN,
    STIFFNESS,
    ExportOptions,
    about_text,
    comment,
    numbers,
)

ARMATURE = 1e-4
"""Inertia of each servo [kg m^2]: that of a finger about its knuckle. It keeps the last links steady at steps of 2 ms."""

FREE_JOINT = "base"
"""Name of the joint of a floating hand."""

_HARD = {"solref": "0.004 1", "solimp": "0.99 0.999 0.0005"}  # two steps, the shortest time that MuJoCo's solver bears
_HARD_LIMIT = {"solreflimit": "0.004 1", "solimplimit": "0.99 0.999 0.001"}
_MARGIN = 0.0005  # [m]
_PAD_MARGIN = 0.001  # a pad reaches this far beyond where contacts begin [m]
_MADE_BY = "Made by handmesh kinematics export."


def mjcf(model: ArticulatedHand, mesh_folder: str, options: ExportOptions | None = None) -> ET.Element:
    """The document's root.

    Args:
        model: the hand.
        mesh_folder: of the links' files, from the file's own folder.
        options: None means the defaults.
    """
    options = options or ExportOptions()
    root = ET.Element("mujoco", model=f"{model.side}_hand")
    root.append(comment(about_text(model)))
    ET.SubElement(root, "compiler", angle="radian", meshdir=mesh_folder, texturedir=mesh_folder, autolimits="true")
    ET.SubElement(root, "option", integrator="implicitfast", timestep="0.002")
    _defaults(ET.SubElement(root, "default"), options)

    asset, world = ET.SubElement(root, "asset"), ET.SubElement(root, "worldbody")
    if options.visuals == "textured":
        ET.SubElement(asset, "texture", name="skin", type="2d", file="skin.png")
        ET.SubElement(asset, "material", name="skin", texture="skin", specular="0.2", shininess="0.2")
    contact = ET.SubElement(root, "contact")
    bodies: dict[str | None, ET.Element] = {None: world}
    for link in model.links:
        suffix = ".obj" if options.visuals == "textured" else ".stl"
        ET.SubElement(asset, "mesh", name=link.name, file=f"{link.name}{suffix}")
        if options.collision == "convex":
            ET.SubElement(asset, "mesh", name=f"{link.name}_hull", file=f"{link.name}_hull.stl")
        bodies[link.name] = _body(bodies[link.parent], link, options)
    for first, second in _excluded(model, options):
        ET.SubElement(contact, "exclude", body1=first, body2=second)
    if options.coupled:
        equality = ET.SubElement(root, "equality")
        for name, leader in COUPLED.items():
            law = {"polycoef": numbers([0, COUPLING, 0, 0, 0]), "solref": "0.004 1"}
            ET.SubElement(equality, "joint", law, name=f"{name}_coupling", joint1=name, joint2=leader)
    actuator, sensor = ET.SubElement(root, "actuator"), ET.SubElement(root, "sensor")
    for joint in (joint for link in model.links for joint in link.joints if joint.name in options.actuated):
        ET.SubElement(actuator, "position", name=joint.name, joint=joint.name, ctrlrange=numbers(joint.limits))
    for link in model.links:
        if link.pad:
            ET.SubElement(sensor, "touch", name=f"{link.name}_touch", site=f"{link.name}_pad")
    if options.keyframes:
        _keyframes(ET.SubElement(root, "keyframe"), options)
    return root


def scene(model: ArticulatedHand, file: str) -> ET.Element:
    """A scene's root: the hand of `file`, in the same folder, over a floor in the light."""
    low, high = _bounds(model)
    middle, extent = (low + high) / 2, float(np.linalg.norm(high - low))
    root = ET.Element("mujoco", model=f"{model.side}_hand scene")
    root.append(comment(f"Floor and light about {file}. {_MADE_BY}"))
    ET.SubElement(root, "include", file=file)
    ET.SubElement(root, "statistic", center=numbers(middle), extent=numbers([extent]))
    visual = ET.SubElement(root, "visual")
    ET.SubElement(visual, "headlight", diffuse="0.5 0.5 0.5", ambient="0.3 0.3 0.3", specular="0 0 0")
    ET.SubElement(visual, "global", azimuth="130", elevation="-25", offwidth="1280", offheight="960")
    asset = ET.SubElement(root, "asset")
    ET.SubElement(asset, "texture", type="skybox", builtin="gradient", rgb1="0.4 0.5 0.6", rgb2="0 0 0", width="256", height="1536")
    squares = {"builtin": "checker", "rgb1": "0.25 0.27 0.3", "rgb2": "0.3 0.32 0.35", "width": "256", "height": "256"}
    ET.SubElement(asset, "texture", squares, name="floor", type="2d")
    ET.SubElement(asset, "material", name="floor", texture="floor", texuniform="true", texrepeat="10 10", reflectance="0.1")
    world = ET.SubElement(root, "worldbody")
    ET.SubElement(world, "light", pos=numbers(middle + np.array([0.0, 0.0, 1.0])), dir="0 0 -1", directional="true")
    # Below the hand however it bends: no finger is longer than the hand is wide and high together.
    depth = low[2] - 0.6 * extent
    ET.SubElement(world, "geom", name="floor", type="plane", size="0 0 0.05", pos=numbers([0, 0, depth]), material="floor")
    return root


def is_scene(text: str) -> bool:
    """Whether a file is a scene that `scene` has made."""
    return "Floor and light about " in text and _MADE_BY in text


def _defaults(default: ET.Element, options: ExportOptions) -> None:
    law = {"damping": numbers([DAMPING]), "armature": numbers([ARMATURE]), **_HARD_LIMIT}
    ET.SubElement(default, "joint", law, type="hinge")
    ET.SubElement(default, "position", kp=numbers([STIFFNESS]), forcerange=numbers([-MAX_TORQUE, MAX_TORQUE]))
    visual = ET.SubElement(default, "default", {"class": "visual"})
    look = {"material": "skin"} if options.visuals == "textured" else {"rgba": SKIN}
    ET.SubElement(visual, "geom", look, type="mesh", contype="0", conaffinity="0", group="2")
    collision = ET.SubElement(default, "default", {"class": "collision"})
    kind = "capsule" if options.collision == "capsules" else "mesh"
    touch = {"condim": "4", "friction": "1 0.005 0.0001", "margin": numbers([_MARGIN]), **_HARD}
    ET.SubElement(collision, "geom", touch, type=kind, group="3")
    pad = ET.SubElement(default, "default", {"class": "pad"})
    ET.SubElement(pad, "site", type="capsule", group="4", rgba="0.9 0.3 0.3 0.3")


def _body(parent: ET.Element, link: Link, options: ExportOptions) -> ET.Element:
    body = ET.SubElement(parent, "body", name=link.name, pos=numbers(link.position))
    if link.parent is None and options.floating:
        ET.SubElement(body, "freejoint", name=FREE_JOINT)
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
    if options.collision == "convex":
        ET.SubElement(body, "geom", {"class": "collision", "mesh": f"{link.name}_hull"})
    else:
        for capsule in link.capsules:
            fromto = numbers([*capsule.start, *capsule.end])
            ET.SubElement(body, "geom", {"class": "collision", "fromto": fromto, "size": numbers([capsule.radius])})
    if link.pad:
        fromto, size = numbers([*link.pad.start, *link.pad.end]), numbers([link.pad.radius + _PAD_MARGIN])
        ET.SubElement(body, "site", {"class": "pad", "name": f"{link.name}_pad", "fromto": fromto, "size": size})
    if link.tip:
        name, place = link.tip
        ET.SubElement(body, "site", name=name, pos=numbers(place), size="0.002")
    return body


def _excluded(model: ArticulatedHand, options: ExportOptions) -> list[tuple[str, str]]:
    """Pairs of links that never touch: neighbours in a chain; of convex links, which fill the webs, also those one further.

    MuJoCo leaves out contacts of parent and child by itself, but not where the parent stands still: the palm.
    """
    parent = {link.name: link.parent for link in model.links}
    pairs = [(above, name) for name, above in parent.items() if above]
    if options.collision == "convex":
        pairs += [(str(parent[above]), name) for above, name in pairs if parent[above]]
        first = [name for name, above in parent.items() if above == model.links[0].name]
        pairs += [(a, b) for k, a in enumerate(first) for b in first[k + 1 :]]
    return pairs


def _keyframes(element: ET.Element, options: ExportOptions) -> None:
    """Poses by name: `qpos` is the pose, `ctrl` holds it; a floating hand is where it was."""
    base = [0, 0, 0, 1, 0, 0, 0] if options.floating else []
    for name, pose in options.keyframes:
        coordinates = options.with_coupling(pose)
        control = [coordinates[DOF_NAMES.index(joint)] for joint in options.actuated]
        ET.SubElement(element, "key", name=name, qpos=numbers([*base, *coordinates]), ctrl=numbers(control))


def _bounds(model: ArticulatedHand) -> tuple[np.ndarray, np.ndarray]:
    """(3,) least and (3,) greatest coordinates of the flat hand [m]."""
    places: dict[str | None, np.ndarray] = {None: np.zeros(3)}
    corners = []
    for link in model.links:
        places[link.name] = places[link.parent] + link.position
        corners.append(link.mesh.bounds + places[link.name])
    return np.min(corners, axis=(0, 1)), np.max(corners, axis=(0, 1))
