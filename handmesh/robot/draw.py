"""Robot and human hand side by side, seen from before the palm."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import trimesh

from handmesh.estimation.drawing import draw_mesh, sheet
from handmesh.robot.description import Visual
from handmesh.robot.kinematics import RobotHand
from handsynth.core.conventions import KEYPOINT_PARENTS
from handsynth.core.rotation import rotvec_to_rotmat

PANEL_PX = 360
_GROUND = 245  # grey level behind the hands
_MAX_FACES = 12_000  # of a robot: the drawing is numpy's
_STICK_M = 0.006  # half width of a link without a mesh
_FROM_ASIDE = 0.45  # [rad] the camera stands this far to the thumb's side

Parts = list[tuple[str, np.ndarray, np.ndarray]]  # link, (N, 3) vertices in its frame [m], (F, 3) faces


def robot_parts(robot: RobotHand) -> Parts:
    """The meshes of a robot's links that can be read and are there; empty for MJCF, and for a URDF without its meshes."""
    visuals = robot.description.visuals
    parts = [part for visual in visuals if (part := _read_visual(visual, _MAX_FACES // max(len(visuals), 1)))]
    return parts


def _read_visual(visual: Visual, max_faces: int) -> tuple[str, np.ndarray, np.ndarray] | None:
    try:
        mesh: Any = trimesh.load(_plain(visual.file), force="mesh", process=False, skip_materials=True)
        vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces)
        if not len(faces) or not np.isfinite(vertices).all():
            return None
    except Exception:  # a mesh that cannot be read is not drawn: readers of ten formats raise anything
        return None
    vertices, faces = _coarser(vertices, faces, max_faces)
    roll, pitch, yaw = visual.turn
    x, y, z = rotvec_to_rotmat(np.diag([roll, pitch, yaw]))
    return visual.link, (vertices * visual.scale) @ (z @ y @ x).T + visual.position, faces


def _plain(file: Path) -> str:
    if file.suffix.lower() not in (".stl", ".obj", ".glb", ".ply"):  # formats that name no further files for their shape
        raise ValueError
    return str(file)


def _coarser(vertices: np.ndarray, faces: np.ndarray, max_faces: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices merged in cells that grow until few faces are left."""
    size = float(np.linalg.norm(np.ptp(vertices, axis=0))) or 1.0
    for cells in (400, 200, 100, 60, 40, 25, 15):
        keys, index = np.unique(np.floor(vertices / (size / cells)).astype(np.int64), axis=0, return_inverse=True)
        index = index.reshape(-1)
        merged = np.stack([np.bincount(index, vertices[:, c], len(keys)) for c in range(3)], 1) / np.bincount(index)[:, None]
        left = index[faces]
        left = left[(left[:, 0] != left[:, 1]) & (left[:, 1] != left[:, 2]) & (left[:, 2] != left[:, 0])]
        if len(left) <= max_faces:
            break
    return merged, left


def robot_mesh(robot: RobotHand, parts: Parts, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) free joints -> the whole robot's vertices (V, 3) [m] and faces; sticks between joints where there are no meshes."""
    poses = robot.body_poses(free)
    pieces = [(vertices @ poses[link][1].T + poses[link][0], faces) for link, vertices, faces in parts if link in poses]
    if not pieces:
        pieces = [_stick(poses[parent][0], poses[child][0]) for child, parent in robot.bones()]
    return joined([piece for piece in pieces if len(piece[0])])


def joined(pieces: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Meshes as one."""
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in pieces)])
    faces = [faces + start for (_, faces), start in zip(pieces, starts, strict=False)]
    return np.concatenate([vertices for vertices, _ in pieces]), np.concatenate(faces)


def _stick(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if np.linalg.norm(end - start) < 1e-6:
        return np.zeros((0, 3)), np.zeros((0, 3), int)
    mesh = trimesh.creation.cylinder(radius=_STICK_M, segment=[start, end], sections=10)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def skeleton_mesh(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(21, 3) keypoints -> the bones as sticks."""
    return joined([_stick(keypoints[parent], keypoints[k]) for k, parent in enumerate(KEYPOINT_PARENTS) if parent >= 0])


def draw_panels(
    meshes: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], titles: Sequence[str], image: np.ndarray | None = None
) -> np.ndarray:
    """Panels of meshes in the wrist's frame, each seen from before its palm.

    Args:
        meshes: (V, 3) vertices [m], (F, 3) faces, and (2, 3) bounds that the panel shall hold.
        titles: above the panels.
        image: (H, W, 3) uint8 that they are made from, as the first panel.

    Returns:
        (H, W, 3) uint8, its sides even numbers.
    """
    tiles = [draw_view(*mesh) for mesh in meshes]
    if image is not None:
        scale = PANEL_PX / max(image.shape[:2])
        size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
        tiles.insert(0, cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC))
        titles = ["image", *titles]
    page = sheet(tiles, len(tiles), titles)
    return np.pad(page, [(0, page.shape[0] % 2), (0, page.shape[1] % 2), (0, 0)], "edge")


def draw_view(vertices: np.ndarray, faces: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(PANEL_PX, PANEL_PX, 3): a mesh in the wrist's frame on light ground."""
    cos, sin = np.cos(_FROM_ASIDE), np.sin(_FROM_ASIDE)
    towards = np.array([-cos, -sin, 0.0])
    down = np.array([0.0, 0.0, -1.0])
    rotation = np.stack([np.cross(down, towards), down, towards])
    middle, size = bounds.mean(0), float(np.linalg.norm(np.ptp(bounds, axis=0)))
    far = 3.0 * size
    focal = 0.95 * PANEL_PX * far / size
    K = np.array([[focal, 0, PANEL_PX / 2], [0, focal, PANEL_PX / 2], [0, 0, 1.0]])
    seen = (vertices - middle) @ rotation.T + (0, 0, far)
    canvas = np.full((PANEL_PX, PANEL_PX, 3), _GROUND, np.uint8)
    return draw_mesh(canvas, seen, faces, K, opacity=1.0)


def bounds_of(clouds: Sequence[np.ndarray]) -> np.ndarray:
    """(2, 3) least and greatest coordinates over point sets."""
    return np.stack([np.min([cloud.min(0) for cloud in clouds], 0), np.max([cloud.max(0) for cloud in clouds], 0)])
