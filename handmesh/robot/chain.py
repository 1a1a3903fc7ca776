"""An articulated hand as rigid bodies with one axis each, as URDF and USD have them.

The revolute joints of one anatomical joint are separated by small bodies, carriers; fingertips are small bodies too. Every one has
an inertia: simulators take what has none for a kilogram, or guess. What the small ones weigh is taken from the link that they
belong to, so that the hand keeps its mass and, at zero, its inertia.
"""

from dataclasses import dataclass

import numpy as np

from handmesh.robot.articulated import ArticulatedHand, Link, RevoluteJoint

SMALL_SHARE = 0.02
"""Mass of a carrier or a fingertip, as a share of its link's: 0.1 g of a finger's bone."""

CARRIER_RADIUS, TIP_RADIUS = 0.005, 0.003
"""Carriers and fingertips are solid balls [m]; neither is drawn, nor touches anything."""


@dataclass(frozen=True)
class Body:
    """One rigid body, and how it hangs on its parent. Lengths in metres."""

    name: str
    parent: str | None
    position: np.ndarray  # (3,) of its origin in the parent's frame
    joint: RevoluteJoint | None  # None: fixed to the parent, or the palm
    link: Link  # whose it is
    is_link: bool  # whether it carries the link's meshes; else it is a carrier or a fingertip
    mass: float  # [kg]
    centre: np.ndarray  # (3,) of mass
    inertia: np.ndarray  # (3, 3) about the centre [kg m^2]


def chain(model: ArticulatedHand) -> list[Body]:
    """The bodies, parents before children: of each link its carriers, itself and its fingertip."""
    bodies = []
    for link in model.links:
        names = [*(f"{joint.name}_link" for joint in link.joints[:-1]), link.name]
        small = [_ball(link, np.zeros(3), CARRIER_RADIUS)] * (len(names) - 1)
        small += [_ball(link, link.tip[1], TIP_RADIUS)] if link.tip else []
        rest = _remainder(link, small)
        parent, position = link.parent, link.position
        joints = link.joints or (None,)
        for name, joint in zip(names, joints, strict=True):
            mass = rest if name == link.name else (small[0][0], np.zeros(3), small[0][2])
            bodies.append(Body(name, parent, position, joint, link, name == link.name, *mass))
            parent, position = name, np.zeros(3)
        if link.tip:
            bodies.append(Body(link.tip[0], link.name, link.tip[1], None, link, False, small[-1][0], np.zeros(3), small[-1][2]))
    return bodies


def inertia_about_origin(mass: float, centre: np.ndarray, inertia: np.ndarray) -> np.ndarray:
    """(3, 3) inertia about the frame's origin [kg m^2]."""
    return inertia + mass * (centre @ centre * np.eye(3) - np.outer(centre, centre))


_Mass = tuple[float, np.ndarray, np.ndarray]  # mass, (3,) centre and (3, 3) inertia about it, in a link's frame


def _ball(link: Link, centre: np.ndarray, radius: float) -> _Mass:
    """A solid ball of a small share of the link's mass."""
    mass = SMALL_SHARE * link.mass
    return mass, centre, 0.4 * mass * radius**2 * np.eye(3)


def _remainder(link: Link, parts: list[_Mass]) -> _Mass:
    """The link without its parts: together they have its mass, its centre and its inertia."""
    mass = link.mass - sum(part[0] for part in parts)
    centre = (link.mass * link.centre - sum((part[0] * part[1] for part in parts), np.zeros(3))) / mass
    whole = inertia_about_origin(link.mass, link.centre, link.inertia)
    about_origin = whole - sum((inertia_about_origin(*part) for part in parts), np.zeros((3, 3)))
    return mass, centre, about_origin - inertia_about_origin(mass, centre, np.zeros((3, 3)))
