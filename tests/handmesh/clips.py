"""Rendered clips of the embedded hand, whose every frame is known: it turns, moves and bends its fingers before a still room."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from handmesh.estimation.drawing import draw_mesh
from handmesh.estimation.results import video_writer
from handmesh.sources import VIEW_DEG
from handsynth.core.camera import intrinsics
from handsynth.core.hand import pose_hand
from handsynth.core.mirror import mirror_points
from handsynth.core.named_hands import open_hand, open_poses

FPS = 30.0


class Clip(NamedTuple):
    """Frames with their truth."""

    images: list[np.ndarray]  # (H, W, 3) uint8
    vertices: np.ndarray  # (N, V, 3) camera frame [m]
    keypoints: np.ndarray  # (N, 21, 3)
    K: np.ndarray  # (3, 3) [px]


def render_clip(count: int, width: int = 320, height: int = 240, side: str = "right", seconds_a_pose: float = 1.0) -> Clip:
    """`count` frames at FPS; the camera is as wide as `handmesh.sources` takes an unknown one to be."""
    hand, bank = open_hand("embedded"), open_poses("embedded").theta
    K = intrinsics(max(width, height) / 2 / np.tan(np.deg2rad(VIEW_DEG / 2)), (width / 2, height / 2))
    time = np.arange(count) / FPS
    poses = bank[[0, 40, 200, 420, 610, 800]]
    place, share = np.divmod(time / seconds_a_pose, 1)
    ease = (share - np.sin(2 * np.pi * share) / (2 * np.pi))[:, None, None]
    first, second = (poses[(place.astype(int) + k) % len(poses)] for k in (0, 1))
    fingers = first + ease * (second - first)
    # Fingers up, the palm to the camera, rocking.
    upright = np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]])
    turns = [cv2.Rodrigues(np.array([0.2 * np.sin(1.1 * t), 0.5 * np.sin(0.7 * t), 0.2 * np.sin(1.7 * t)]))[0] for t in time]
    root = np.stack([cv2.Rodrigues(turn @ upright)[0][:, 0] for turn in turns])
    theta = np.concatenate([root[:, None], fingers], 1)
    posed = pose_hand(hand, theta, np.zeros(hand.num_shapes))
    centre = np.stack([0.03 * np.sin(0.9 * time), 0.02 * np.sin(1.3 * time), 0.27 + 0.02 * np.sin(0.5 * time)], 1)
    shift = (centre - posed.vertices.mean(1))[:, None]
    vertices, keypoints = posed.vertices + shift, posed.keypoints + shift
    if side == "left":
        vertices, keypoints = mirror_points(vertices), mirror_points(keypoints)
    room = cv2.resize(
        np.random.default_rng(0).integers(40, 140, (6, 8, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    images = [_skin(room, v, hand.faces, K) for v in vertices]
    return Clip(images, vertices, keypoints, K)


def _skin(room: np.ndarray, vertices: np.ndarray, faces: np.ndarray, K: np.ndarray) -> np.ndarray:
    """The hand drawn in the colour of skin."""
    drawn = draw_mesh(room, vertices, faces, K, opacity=1.0)
    changed = (drawn != room).any(2)
    light = drawn[..., 2:].astype(np.float32) / 255  # the drawing's colour is strongest in blue
    drawn[changed] = np.clip(light * (225, 172, 150), 0, 255).astype(np.uint8)[changed]
    return drawn


def write_clip(path: Path, clip: Clip) -> None:
    """The clip as a video file."""
    with video_writer(path, FPS) as writer:
        for image in clip.images:
            writer.write(image)
