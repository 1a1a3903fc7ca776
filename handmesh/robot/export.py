"""An articulated hand on disk: the description file, the links' meshes in a folder `meshes` beside it, and a scene for MuJoCo."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from trimesh.exchange.stl import export_stl

from handmesh.robot.articulated import ArticulatedHand, Link
from handmesh.robot.mjcf import is_scene, mjcf, scene
from handmesh.robot.robot_xml import ExportOptions, to_text
from handmesh.robot.urdf import urdf
from handmesh.robot.usd import write_usd
from handmesh.robot.visuals import glb, obj, png
from handsynth.core.errors import UsageError
from handsynth.core.files import check_out_file, write_atomically

FORMATS = {"urdf": urdf, "mjcf": mjcf}
"""XML formats. USD, the third, is binary: `usd.write_usd`."""

SCENE = "scene.xml"


def export_articulated(
    model: ArticulatedHand,
    out: Path,
    format: str,
    options: ExportOptions | None = None,
    texture: np.ndarray | None = None,
    scene_file: Path | None = None,
) -> list[Path]:
    """Writes `out` and meshes/<stem of out>/<link>.<suffix> beside it: models of other names may share the folder.

    Args:
        model: the hand.
        out: file to write.
        format: "urdf", "mjcf" or "usd", which holds its meshes itself.
        options: None means the defaults.
        texture: (H, W, 3) uint8 sRGB in the hand's layout, for textured visuals.
        scene_file: MJCF only: a scene with floor and light, in the folder of `out`; None writes none.

    Returns the paths of the meshes, in the order of the links. Raises UsageError for an unknown format, for textured visuals
    without texture or coordinates, for a scene elsewhere or in place of a file that is none of ours, and as
    `core.files.check_out_file` does; AssetError for USD where it is not installed.
    """
    options = options or ExportOptions()
    if format not in (*FORMATS, "usd"):
        raise UsageError(f"no format is called {format!r}: use {', '.join(FORMATS)} or usd")
    if options.mesh_prefix and format != "urdf":
        raise UsageError(f"--mesh-prefix is for URDF: {format} names its meshes relative to its own file")
    if options.visuals == "textured" and (texture is None or model.links[0].surface is None):
        raise UsageError(f"--visuals textured: the hand {model.hand!r} has no texture coordinates or no texture: leave it out")
    if scene_file and format != "mjcf":
        raise UsageError("--scene is for MJCF: give --format mjcf, or leave it out")
    check_out_file(out)
    if scene_file:
        _check_scene(scene_file, out)
    folder = Path("meshes") / out.stem
    skin = folder / "skin.png"
    if options.visuals == "textured" and format != "urdf":
        assert texture is not None
        _write(out.parent / skin, png(texture))
    if format == "usd":
        write_atomically(out, lambda temporary: write_usd(model, temporary, options, f"./{skin.as_posix()}"))
        return []
    document = to_text(FORMATS[format](model, folder.as_posix(), options))
    paths = []
    for link in model.links:
        for name, data in _mesh_files(link, format, options, texture):
            paths.append(out.parent / folder / name)
            _write(paths[-1], data())
    _write(out, document.encode())
    if scene_file:
        _write(scene_file, to_text(scene(model, out.name)).encode())
    return paths


def _mesh_files(
    link: Link, format: str, options: ExportOptions, texture: np.ndarray | None
) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Names of a link's files, and what makes them."""
    if options.visuals == "plain":
        yield f"{link.name}.stl", lambda: bytes(export_stl(link.mesh))
    elif link.surface is not None and texture is not None:
        surface = link.surface
        if format == "mjcf":
            yield f"{link.name}.obj", lambda: obj(surface)
        else:
            yield f"{link.name}.glb", lambda: glb(surface, texture)
    if options.collision == "convex":
        yield f"{link.name}_hull.stl", lambda: bytes(export_stl(link.hull))


def _write(path: Path, data: bytes) -> None:
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def _check_scene(path: Path, out: Path) -> None:
    if path.resolve().parent != out.resolve().parent or path.resolve() == out.resolve():
        raise UsageError(f"--scene {path}: expected another name in the folder of {out}, which it includes")
    if path.exists() and not is_scene(path.read_text(encoding="utf-8", errors="replace")):
        raise UsageError(f"{path} exists and was not made by handmesh kinematics export: give another name with --scene")
    check_out_file(path)


def read_beta(text: str) -> np.ndarray:
    """Numbers of a text such as "0.5,-1". Raises UsageError when they are none."""
    try:
        return np.array([float(part) for part in text.split(",")])
    except ValueError:
        raise UsageError(f"--beta takes numbers with commas between them, such as 0.5,-1, and not {text!r}") from None
