"""A clip of an image or a video: the hand that the net finds in each frame, with joint angles where they are requested."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from handmesh.estimation.estimate import Estimator
from handmesh.estimation.predict import BATCH, Request, fit_estimates
from handmesh.kinematics.fit import AngleSolver
from handmesh.kinematics.joint_coordinates import to_joint_coordinates
from handmesh.robot.clip import HumanClip
from handmesh.sources import Video, is_video, read_image

_KEPT_PX = 480  # longest side of the frames that are kept for drawings


def clip_of_images(path: Path, estimator: Estimator, request: Request, solver: AngleSolver | None = None) -> HumanClip:
    """The hand of an image, or of each frame of a video.

    Args:
        path: image, animation or video.
        estimator: net and hand.
        request: side, box, camera.
        solver: finds joint angles; None leaves them out.

    Raises HandsynthError naming the file when it cannot be read.
    """
    frames = _frames(path)
    times, keypoints, vertices, kept, angles = [], [], [], [], []
    while batch := list(islice(frames, BATCH)):
        requested = [request.view(image, focal)[0] for image, _, focal in batch]
        views, estimates = estimator.find(requested, request.root_depth)
        times += [time for _, time, _ in batch]
        keypoints += [estimate.keypoints for estimate in estimates]
        vertices += [estimate.vertices for estimate in estimates]
        kept += [_smaller(view.image) for view in views]
        if solver:
            angles += [fitted.angles for fitted in fit_estimates(solver, views, estimates)]
    coordinates = to_joint_coordinates(np.stack(angles)).values if angles else None
    faces = estimator.hand.faces
    return HumanClip(np.array(times), np.stack(keypoints), request.side, coordinates, np.stack(vertices), faces, kept)


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
