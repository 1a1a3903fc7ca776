"""A clip of an image or a video: the hand that the net finds in each frame, with joint angles where they are requested."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from handmesh.estimation.hands import Hands
from handmesh.kinematics.joint_coordinates import to_joint_coordinates
from handmesh.robot.clip import HumanClip
from handmesh.sources import Video, camera_of, is_video, read_image
from handsynth.core.errors import HandsynthError

_KEPT_PX = 480  # longest side of the frames that are kept for drawings


def clip_of_images(path: Path, hands: Hands, side: str) -> HumanClip:
    """The hand of an image, or of each frame of a video, with joint angles where `hands` finds them.

    Args:
        path: image, animation or video.
        hands: in mode "video" for a video, which follows and filters the hand.
        side: "right" or "left".

    Raises HandsynthError naming the file when it cannot be read, or shows no hand.
    """
    times, keypoints, vertices, kept, angles = [], [], [], [], []
    for image, time_s, focal_35mm in _frames(path):
        found = hands(image, sides=side, K=camera_of(image, focal_35mm, None, None).K, time_s=time_s)
        if not found:
            continue
        times.append(time_s)
        keypoints.append(found[0].keypoints)
        vertices.append(found[0].vertices)
        kept.append(_smaller(image))
        if found[0].fit:
            angles.append(found[0].fit.angles)
    if not times:
        raise HandsynthError(f"{path} shows no hand")
    coordinates = to_joint_coordinates(np.concatenate(angles)).values if angles else None
    return HumanClip(np.array(times), np.stack(keypoints), side, coordinates, np.stack(vertices), hands.faces, kept)


def _frames(path: Path) -> Iterator[tuple[np.ndarray, float, float | None]]:
    """Each image with its time [s] and, of a photograph, the focal length for 35 mm film [mm]."""
    if is_video(path):
        yield from ((frame.image, frame.time_s, None) for frame in Video(path).frames())
    else:
        image, focal = read_image(path)
        yield image, 0.0, focal


def _smaller(image: np.ndarray) -> np.ndarray:
    scale = min(_KEPT_PX / max(image.shape[:2]), 1.0)
    size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
