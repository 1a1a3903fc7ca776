"""The hand of a given shape as an articulated model: 16 links, 23 revolute joints with limits, and what simulators need of them.

Frames: each link's origin lies in its joint (the palm's in the wrist), and its axes are parallel to the template's when all joint
coordinates are zero, the flat hand: right-handed, metres; fingers along -x (a left hand's along +x), palm towards -y.
Positive angles bend to the palm and turn to the thumb on both hands. Fingertips are fixed points of the last links.
"""

from dataclasses import dataclass, replace

import numpy as np
import trimesh

from handmesh.kinematics.check import check_mesh
from handmesh.kinematics.dof import DOF_NAMES, DOFS, dof_limits
from handmesh.kinematics.joint_coordinates import NODE_DOFS, revolute_axes
from handmesh.robot.links import Capsule, bone_capsule, closed_mesh, cut_links, cut_textured, segment_distance
from handmesh.robot.visuals import Surface, textured_surface
from handmesh.robot.wrist_frame import wrist_axes
from handsynth.core.conventions import FINGER_JOINTS, FINGERS
from handsynth.core.errors import UsageError
from handsynth.core.hand import HandModel
from handsynth.core.mirror import mirror_points, mirror_theta

SIDES = ("right", "left")

FRAMES = ("mano", "dex")
"""Of the links' axes at zero: the template's, or the wrist's (x out of the palm, z to the middle finger; `wrist_frame`)."""

DENSITY = 1050.0
"""Of soft tissue [kg/m^3]: muscle has 1,060, fat 920, skin 1,100, and bone is a small part of a hand."""


@dataclass(frozen=True)
class RevoluteJoint:
    """One degree of freedom, about an axis through its link's origin."""

    name: str  # of DOF_NAMES
    axis: np.ndarray  # (3,) unit vector in the link's frame at angle zero
    limits: tuple[float, float]  # least and greatest angle [rad]


@dataclass(frozen=True)
class Link:
    """One rigid body. Lengths in metres, in the link's own frame unless stated otherwise."""

    name: str  # of LINK_NAMES: "palm", "index_proximal", ...
    parent: str | None
    position: np.ndarray  # (3,) of its joint in the parent's frame
    joints: tuple[RevoluteJoint, ...]  # the first is nearest to the parent
    mesh: trimesh.Trimesh  # closed; reaches into its neighbours
    surface: Surface | None  # the same with texture coordinates; None where the hand has none
    hull: trimesh.Trimesh  # convex, about the link's own share of the hand
    capsules: tuple[Capsule, ...]  # for collisions; do not reach into neighbours at angle zero
    pad: Capsule | None  # what touches: about the capsule's palm side; None of the palm
    mass: float  # [kg] of the link's own share of the hand, without overlap
    centre: np.ndarray  # (3,) of mass
    inertia: np.ndarray  # (3, 3) about the centre [kg m^2]
    tip: tuple[str, np.ndarray] | None  # name and (3,) position of the fingertip


@dataclass(frozen=True)
class ArticulatedHand:
    """The whole model. The palm comes first, then the links, and with them their joints, in the order of DOFS."""

    hand: str  # name of the hand model
    licence: str
    side: str
    beta: tuple[float, ...]
    links: tuple[Link, ...]
    frame: str = "mano"  # of FRAMES

    @property
    def mass(self) -> float:
        """[kg]."""
        return sum(link.mass for link in self.links)


LINK_NAMES = {0: "palm"} | {
    FINGER_JOINTS[finger][level]: f"{finger}_{bone}"
    for finger in dict.fromkeys(dof.finger for dof in DOFS)
    for level, bone in enumerate(("metacarpal", "proximal", "distal") if finger == "thumb" else ("proximal", "middle", "distal"))
}
"""Link of each node of the kinematic tree, in the order of DOFS."""


def articulate(hand: HandModel, beta: np.ndarray | None = None, side: str = "right", frame: str = "mano") -> ArticulatedHand:
    """The articulated model of a hand.

    Args:
        hand: the (right) hand model.
        beta: at most S values of shape [standard deviations]; the rest, and None, mean zero.
        side: "right", or "left" for its mirror image in x = 0.
        frame: of FRAMES.

    Raises UsageError for another side or frame, too many values or not finite ones, and (or HandsynthError) when the shape is no
    hand's or leaves a link without volume.
    """
    if side not in SIDES:
        raise UsageError(f"a hand is right or left, not {side!r}")
    if frame not in FRAMES:
        raise UsageError(f"no frame is called {frame!r}: use {' or '.join(FRAMES)}")
    shape = _full_beta(hand, beta)
    vertices = hand.v_template + hand.shapedirs @ shape
    check_mesh(hand, vertices[None])
    joints = hand.rest_joints + hand.joint_shapedirs @ shape
    axes = revolute_axes(hand)
    pieces = [piece._replace(vertices=piece.vertices - joints[j]) for j, piece in enumerate(cut_links(hand, vertices))]
    solids, shells = ([closed_mesh(piece, domes) for piece in pieces] for domes in (False, True))
    surfaces: list[Surface | None] = [None] * len(pieces)
    if len(hand.uv_faces):
        textured = [piece._replace(vertices=piece.vertices - joints[j]) for j, piece in enumerate(cut_textured(hand, vertices))]
        surfaces = [textured_surface(*each) for each in zip(textured, pieces, shells, strict=True)]
    if side == "left":
        vertices, joints, axes = mirror_points(vertices), mirror_points(joints), mirror_theta(axes)
        solids, shells = [_mirrored(mesh) for mesh in solids], [_mirrored(mesh) for mesh in shells]
        surfaces = [surface and surface.mirrored() for surface in surfaces]
    limits = dof_limits(hand.joint_limits)
    tips = {FINGER_JOINTS[finger][-1]: (f"{finger}_tip", hand.fingertips[k]) for k, finger in enumerate(FINGERS)}
    links = []
    for j, name in LINK_NAMES.items():
        parent, children = int(hand.parents[j]), np.flatnonzero(hand.parents == j).tolist()
        tip = (tips[j][0], vertices[tips[j][1]] - joints[j]) if j in tips else None
        ends = joints[children] - joints[j] if tip is None else tip[1][None]
        mass, centre, inertia = _mass_properties(solids[j], name)
        capsules = _capsules(solids[j], ends, [len(NODE_DOFS[c]) > 1 for c in children] or [False])
        links.append(
            Link(
                name=name,
                parent=None if parent < 0 else LINK_NAMES[parent],
                position=np.zeros(3) if parent < 0 else joints[j] - joints[parent],
                joints=tuple(
                    RevoluteJoint(DOF_NAMES[k], axes[k], (float(limits[k, 0]), float(limits[k, 1]))) for k in NODE_DOFS.get(j, ())
                ),
                mesh=shells[j],
                surface=surfaces[j],
                hull=solids[j].convex_hull,
                capsules=capsules,
                pad=_pad(capsules[0], axes[NODE_DOFS[j][-1]]) if j in NODE_DOFS else None,
                mass=mass,
                centre=centre,
                inertia=inertia,
                tip=tip,
            )
        )
    model = ArticulatedHand(hand.name, hand.licence, side, tuple(shape.tolist()), tuple(links))
    return model if frame == "mano" else _in_wrist_frame(model, joints)


def _pad(capsule: Capsule, axis: np.ndarray) -> Capsule:
    """As large as the bone's capsule and moved to where positive flexion, about `axis`, takes its end: about its palm side."""
    aside = np.cross(axis, capsule.end - capsule.start)
    aside *= _PAD_OFFSET * capsule.radius / np.linalg.norm(aside)
    return Capsule(capsule.start + aside, capsule.end + aside, capsule.radius)


_PAD_OFFSET = 0.75  # of a pad, in radii: it then holds the quarter of the capsule's surface on either side of its palmar line


def _in_wrist_frame(model: ArticulatedHand, joints: np.ndarray) -> ArticulatedHand:
    """The model with the axes of the flat hand's wrist. `joints` is (16, 3), in the template's frame of its side."""
    keypoints = np.zeros((21, 3))
    keypoints[[0, 5, 9]] = joints[[0, FINGER_JOINTS["index"][0], FINGER_JOINTS["middle"][0]]]
    axes = wrist_axes(keypoints, model.side)

    def turned(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
        return trimesh.Trimesh(mesh.vertices @ axes, mesh.faces, process=False)

    def moved(capsule: Capsule) -> Capsule:
        return Capsule(capsule.start @ axes, capsule.end @ axes, capsule.radius)

    links = tuple(
        replace(
            link,
            position=link.position @ axes,
            joints=tuple(replace(joint, axis=joint.axis @ axes) for joint in link.joints),
            mesh=turned(link.mesh),
            surface=link.surface and link.surface.turned(axes),
            hull=turned(link.hull),
            capsules=tuple(moved(capsule) for capsule in link.capsules),
            pad=link.pad and moved(link.pad),
            centre=link.centre @ axes,
            inertia=axes.T @ link.inertia @ axes,
            tip=link.tip and (link.tip[0], link.tip[1] @ axes),
        )
        for link in model.links
    )
    return replace(model, links=links, frame="dex")


def _full_beta(hand: HandModel, beta: np.ndarray | None) -> np.ndarray:
    """(S,) shape, filled with zeros."""
    given = np.zeros(0) if beta is None else np.asarray(beta, np.float64)
    if given.ndim != 1 or len(given) > hand.num_shapes:
        raise UsageError(f"the hand {hand.name!r} takes at most {hand.num_shapes} values of beta, not {given.size}")
    if not np.isfinite(given).all():
        raise UsageError("beta holds NaN or infinity: give numbers, such as 0.5,-1")
    return np.pad(given, (0, hand.num_shapes - len(given)))


def _mirrored(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mirror image in x = 0, its faces outside again."""
    return trimesh.Trimesh(mirror_points(mesh.vertices), mesh.faces[:, ::-1], process=False)


def _mass_properties(solid: trimesh.Trimesh, name: str) -> tuple[float, np.ndarray, np.ndarray]:
    """Mass [kg], centre (3,) [m] and inertia (3, 3) about it [kg m^2]. Raises UsageError when no body can have them."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = trimesh.triangles.mass_properties(solid.triangles, density=DENSITY)
    inertia = np.asarray(found.inertia, np.float64)
    least, middle, most = np.linalg.eigvalsh(inertia) if np.isfinite(inertia).all() else np.zeros(3)
    if not found.mass > 0 or least <= 0 or least + middle < most:
        raise UsageError(f"{name} has no volume, or is folded into itself: give smaller values of beta, or another hand")
    return float(found.mass), np.asarray(found.center_mass), inertia


def _capsules(solid: trimesh.Trimesh, ends: np.ndarray, room: list[bool]) -> tuple[Capsule, ...]:
    """One from the link's origin to each of (K, 3) ends, about the vertices that are nearest to it."""
    nearest = np.stack([segment_distance(solid.vertices, np.zeros(3), end) for end in ends]).argmin(0)
    return tuple(bone_capsule(solid.vertices[nearest == k], np.zeros(3), ends[k], room[k]) for k in range(len(ends)))
