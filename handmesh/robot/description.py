"""A robot's description, URDF or MJCF, read for its kinematics: foreign text is checked, and only links and joints are kept.

What is drawn or touched stays away from MuJoCo: meshes of any format, or none, load alike, and no file beside the description is
opened but those that an MJCF includes from its own folder.
"""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from xml.parsers import expat

from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.files import inner_path

MAX_BYTES = 16 << 20
"""Of a description; the largest of mujoco_menagerie have a megabyte."""

_MAX_ELEMENTS, _MAX_DEPTH, _MAX_FILES = 100_000, 200, 64
_MJCF_KEPT = {"compiler", "default", "worldbody", "body", "frame", "joint", "freejoint", "inertial", "site", "option"}
_COMPILER_KEPT = {"angle", "eulerseq", "autolimits", "coordinate"}

FREE_BASE = tuple(f"base_{axis}_{kind}" for kind in ("position", "turn") for axis in "xyz")
"""Joints that let the whole hand move, where they are requested."""


@dataclass(frozen=True)
class Mimic:
    """A joint that follows another: factor times the leader's position, plus an offset."""

    joint: str
    leader: str
    factor: float
    offset: float


@dataclass(frozen=True, eq=False)
class Visual:
    """A mesh file of a link, as URDF has them."""

    link: str
    file: Path
    position: tuple[float, ...]  # (3,) [m]
    turn: tuple[float, ...]  # (3,) roll, pitch, yaw [rad]
    scale: tuple[float, ...]  # (3,)


@dataclass(frozen=True, eq=False)
class Description:
    """What is left of a robot's description."""

    path: Path
    format: str  # "urdf" or "mjcf"
    kinematics: str  # the same format, with links and joints alone
    mimics: tuple[Mimic, ...]
    visuals: tuple[Visual, ...]  # of URDF, those whose files are there


def read_description(path: Path, free_base: bool = False) -> Description:
    """Reads a description.

    Args:
        path: URDF or MJCF, which its root element decides.
        free_base: adds FREE_BASE's six joints between the world and the robot.

    Raises UsageError when there is no such file, HandsynthError naming it when it is no description, declares entities, is too
    large, or includes files outside its own folder.
    """
    try:
        root = _parse(path)
        if root.tag == "robot":
            return _read_urdf(path, root, free_base)
        if root.tag == "mujoco":
            return _read_mjcf(path, root, free_base)
        raise ValueError(f"its root is {root.tag[:40]!r}, neither robot (URDF) nor mujoco (MJCF)")
    except (ValueError, TypeError, expat.ExpatError) as error:
        raise HandsynthError(f"{path} cannot be read as a robot's description: {ascii(str(error))[1:-1][:120]}") from None


def _parse(path: Path) -> ET.Element:
    """The document's root. Entities are refused before one is expanded; ValueError and ExpatError are for the caller."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES >> 20} MB")
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist: give a robot's URDF or MJCF file") from None
    except OSError as error:
        raise HandsynthError(f"{path} cannot be read: {error.strerror}") from None
    builder, parser = ET.TreeBuilder(), expat.ParserCreate()
    depth = count = 0

    def refuse(*_: Any) -> None:
        raise ValueError("it declares a document type or entities, which no description needs")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        if depth > _MAX_DEPTH or count > _MAX_ELEMENTS:
            raise ValueError(f"it has more than {_MAX_ELEMENTS} elements, or {_MAX_DEPTH} inside each other")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.Parse(data, True)
    return builder.close()


def _read_urdf(path: Path, root: ET.Element, free_base: bool) -> Description:
    clean = ET.Element("robot", name="robot")
    # Bodies without mass are as good as others for kinematics, but MuJoCo wants them to have one.
    settings = {"fusestatic": "false", "discardvisual": "true", "boundmass": "0.001", "boundinertia": "1e-6", "angle": "radian"}
    ET.SubElement(ET.SubElement(clean, "mujoco"), "compiler", settings)
    mimics, children = [], set()
    for link in root.findall("link"):
        ET.SubElement(clean, "link", name=_name(link))
    for joint in root.findall("joint"):
        name = _name(joint)
        kept = ET.SubElement(clean, "joint", name=name, type=joint.get("type", ""))
        for part in ("origin", "parent", "child", "axis", "limit"):
            found = joint.find(part)
            if found is not None:
                ET.SubElement(kept, part, found.attrib)
        child = joint.find("child")
        if child is not None:
            children.add(child.get("link"))
        law = joint.find("mimic")
        if law is not None:
            mimics.append(Mimic(name, law.get("joint", ""), float(law.get("multiplier", 1)), float(law.get("offset", 0))))
    names = [_name(link) for link in clean.findall("link")]
    roots = [name for name in names if name not in children]
    if len(roots) != 1:
        raise ValueError(f"{len(roots)} links are no joint's child: a robot has one root")
    if free_base:
        _free_urdf(clean, roots[0])
    return Description(path, "urdf", ET.tostring(clean, encoding="unicode"), tuple(mimics), tuple(_visuals(path, root)))


def _free_urdf(clean: ET.Element, root: str) -> None:
    parent = "handmesh_world"
    ET.SubElement(clean, "link", name=parent)
    for k, name in enumerate(FREE_BASE):
        child = root if k == len(FREE_BASE) - 1 else f"{name}_link"
        if child != root:
            ET.SubElement(clean, "link", name=child)
        joint = ET.SubElement(clean, "joint", name=name, type="prismatic" if k < 3 else "revolute")
        ET.SubElement(joint, "parent", link=parent)
        ET.SubElement(joint, "child", link=child)
        ET.SubElement(joint, "axis", xyz=" ".join("1" if k % 3 == axis else "0" for axis in range(3)))
        reach = "10" if k < 3 else "6.3"
        ET.SubElement(joint, "limit", lower=f"-{reach}", upper=reach, effort="1", velocity="1")
        parent = child


def _visuals(path: Path, root: ET.Element) -> Iterator[Visual]:
    """Mesh files of a URDF that lie below its folder and are there; others are not drawn."""
    for link in root.findall("link"):
        for visual in link.findall("visual"):
            mesh = visual.find("geometry/mesh")
            if mesh is None:
                continue
            name = mesh.get("filename", "").removeprefix("file://")
            if name.startswith("package://"):  # the package's own name stands for a folder at or above the description's
                name = name.removeprefix("package://").partition("/")[2]
            try:
                inner = inner_path(posixpath.normpath(name) if name else name)
            except ValueError:
                continue
            origin = visual.find("origin")
            place = origin.attrib if origin is not None else {}
            file = path.parent / inner
            if file.is_file() and file.resolve().is_relative_to(path.parent.resolve()):
                numbers = (place.get("xyz", "0 0 0"), place.get("rpy", "0 0 0"), mesh.get("scale", "1 1 1"))
                yield Visual(_name(link), file, *(_three(text) for text in numbers))


def _read_mjcf(path: Path, root: ET.Element, free_base: bool) -> Description:
    left = [_MAX_FILES]
    _include(root, path.parent, left)
    mimics = []
    for law in root.iterfind("equality/joint"):
        if law.get("joint2"):
            factors = [*(float(word) for word in law.get("polycoef", "0 1 0 0 0").split()), 0.0, 0.0]
            if any(factors[2:]):
                raise ValueError("an equality of joints is not linear")
            mimics.append(Mimic(law.get("joint1", ""), law.get("joint2", ""), factors[1], factors[0]))
    clean = _kept(root)
    compiler = clean.find("compiler")
    compiler = ET.SubElement(clean, "compiler") if compiler is None else compiler
    compiler.attrib = {key: value for key, value in compiler.attrib.items() if key in _COMPILER_KEPT}
    compiler.attrib |= {"boundmass": "0.001", "boundinertia": "1e-6"}
    if free_base:
        _free_mjcf(clean)
    return Description(path, "mjcf", ET.tostring(clean, encoding="unicode"), tuple(mimics), ())


def _include(root: ET.Element, folder: Path, left: list[int]) -> None:
    """Puts the content of included files, which lie below the folder, in place of the elements that name them."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "include":
                left[0] -= 1
                file = folder / inner_path(child.get("file", ""))
                if left[0] < 0 or not file.resolve().is_relative_to(folder.resolve()):
                    raise ValueError("it includes itself, too many files, or one outside its folder")
                try:
                    included = _parse(file)
                except UsageError:
                    raise ValueError(f"it includes {child.get('file')!r:.60}, which is not there") from None
                _include(included, folder, left)
                place = list(parent).index(child)
                parent.remove(child)
                for k, element in enumerate(included):
                    parent.insert(place + k, element)


def _kept(element: ET.Element) -> ET.Element:
    copy = ET.Element(element.tag, element.attrib)
    for child in element:
        if child.tag in _MJCF_KEPT:
            copy.append(_kept(child))
    if copy.tag == "default":  # defaults of what is left out would name materials and meshes
        for child in list(copy):
            if child.tag not in ("default", "joint"):
                copy.remove(child)
    return copy


def _free_mjcf(clean: ET.Element) -> None:
    world = clean.find("worldbody")
    if world is None:
        raise ValueError("it has no worldbody")
    for body in world.iter("body"):
        for joint in [*body.findall("freejoint"), *(j for j in body.findall("joint") if j.get("type") == "free")]:
            body.remove(joint)
    moved = list(world)
    base = ET.Element("body", name="handmesh_base")
    for k, name in enumerate(FREE_BASE):
        axis = " ".join("1" if k % 3 == axis else "0" for axis in range(3))
        ET.SubElement(base, "joint", name=name, type="slide" if k < 3 else "hinge", axis=axis, limited="false")
    ET.SubElement(base, "inertial", pos="0 0 0", mass="0.001", diaginertia="1e-6 1e-6 1e-6")
    for child in moved:
        world.remove(child)
        base.append(child)
    world.append(base)


def _name(element: ET.Element) -> str:
    name = element.get("name")
    if not name:
        raise ValueError(f"a {element.tag} has no name")
    return name


def _three(text: str) -> tuple[float, ...]:
    values = tuple(float(word) for word in text.split())
    if len(values) != 3:
        raise ValueError(f"{text!r:.40} is no three numbers")
    return values
