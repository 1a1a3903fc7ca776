"""What a prediction leaves behind: drawings, a mesh file, and JSON that names its units."""

import errno
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from handmesh.estimation.drawing import draw_meshes, draw_skeletons, legend, sheet, spread_limits
from handmesh.estimation.hands import Hand
from handmesh.kinematics import angle_files
from handmesh.sources import OVERLAY, Camera
from handsynth.core.conventions import KEYPOINT_NAMES
from handsynth.core.errors import AssetError, HandsynthError
from handsynth.core.files import replacing, write_file
from handsynth.core.hand import HandModel

SCHEMA = "handmesh-prediction/2"
"""Name and version of the JSON; a name stays with its meaning, a new meaning is a new version."""

CONVENTIONS = {
    "frame": "camera of the image, OpenCV's: x right, y down, z forward; the corner of the top-left pixel is (0, 0)",
    "units": "metres; _px pixels of the image as it is looked at (EXIF's orientation applied); _mm millimetres",
    "keypoints": " ".join(KEYPOINT_NAMES),
    "hands": "those that were found, none where a detector sees none; of a video, `track` is the same number for the same hand",
    "score": "the detector's, 0 to 1; 1 for boxes that were given and where the whole image was looked at",
    "box_px": "x0, y0, x1, y1 about the hand, as the net looked at it last: a box that was loose is laid anew",
    "std": "one standard deviation of a vertex's place, the three axes together, scaled to validation errors at true root depth",
    "time_s": "of a frame of a video: seconds from its beginning, as the container or the animation has it",
    "depth": "relative depths are the net's; root_depth, of the wrist, is known as well as the focal length and the hand's size",
}
"""What the fields of the JSON mean."""


def conventions(kinematics: bool) -> dict[str, str]:
    """CONVENTIONS, with those of joint angles where there are any."""
    return CONVENTIONS | (
        {f"hands.kinematics.{name}": text for name, text in angle_files.CONVENTIONS.items()} if kinematics else {}
    )


_PANEL_PX = (384, 1024)  # longest side of a drawn image: smaller ones are enlarged, larger ones reduced
_CODECS = ("vp09", "mp4v")  # the first plays in browsers, the second is in every build of FFmpeg
_COORDINATE_DIGITS = 6  # micrometres and millionths of a pixel


def describe_image(
    image: np.ndarray, camera: Camera, hands: Sequence[Hand], depth_source: str, angles: HandModel | None
) -> dict[str, Any]:
    """The JSON of an image or a frame, but for what the file and the run add; `angles` is the model of the joint angles, if any."""
    return {
        "image_size_px": [image.shape[1], image.shape[0]],
        "K": _rounded(camera.K),
        "K_source": camera.source,
        "hands": [_describe_hand(hand, depth_source, angles) for hand in hands],
    }


def _describe_hand(hand: Hand, depth_source: str, angles: HandModel | None) -> dict[str, Any]:
    fitted = {} if hand.fit is None or angles is None else {"kinematics": angle_files.describe(angles, hand.fit)[0]}
    return {
        **({} if hand.track is None else {"track": hand.track}),
        "side": hand.side,
        "score": round(hand.score, 4),
        "box_px": _rounded(hand.box),
        "root_depth": round(hand.root_depth, _COORDINATE_DIGITS),
        "root_depth_source": depth_source,
        "keypoints_xy_px": _rounded(hand.keypoints_xy),
        "keypoints_cam": _rounded(hand.keypoints),
        "vertices_std_mm": {
            "median": round(float(np.median(hand.std_mm)), 3),
            "p90": round(float(np.percentile(hand.std_mm, 90)), 3),
            "max": round(float(hand.std_mm.max()), 3),
        },
        **fitted,
    }


def write_json(path: Path, value: dict[str, Any]) -> None:
    """A field on each line; a whole file or none."""
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(field)}" for name, field in value.items())
    write_file(path, f"{{\n{lines}\n}}\n".encode())


def write_image(path: Path, image: np.ndarray) -> None:
    """(H, W, 3) uint8 as PNG; a whole file or none."""
    write_file(path, cv2.imencode(".png", image[..., ::-1])[1].tobytes())


def draw_panels(image: np.ndarray, hands: Sequence[Hand], model: HandModel) -> np.ndarray:
    """Keypoints, meshes, fitted hands if there are any, and meshes coloured by uncertainty with its scale, side by side."""
    zoom = _zoom(image)
    if not hands:
        return draw_skeletons(image, [], zoom=zoom)
    K, meshes, stds = hands[0].K, [hand.vertices for hand in hands], [hand.std_mm for hand in hands]
    limits = spread_limits(np.stack(stds))
    panels = [
        draw_skeletons(image, [hand.keypoints_xy for hand in hands], zoom=zoom),
        draw_meshes(image, meshes, model.faces, K, zoom=zoom),
        draw_meshes(image, meshes, model.faces, K, stds, zoom=zoom, limits_mm=limits),
    ]
    titles: tuple[str, ...] = ()
    fitted = [hand.fitted_vertices for hand in hands if hand.fitted_vertices is not None]
    if fitted:
        panels.insert(2, draw_meshes(image, fitted, model.faces, K, zoom=zoom))
        titles = ("keypoints", "mesh", "fitted, 23 angles", "mesh and its standard deviation")
    page = sheet(panels, len(panels), titles)
    strip = legend(panels[-1].shape[1], limits)
    below = np.full((len(strip), page.shape[1], 3), strip[0, 0], np.uint8)
    below[:, -strip.shape[1] :] = strip
    return np.concatenate([page, below])


def draw_frame(image: np.ndarray, hands: Sequence[Hand], model: HandModel, limits_mm: tuple[float, float]) -> np.ndarray:
    """One frame of a video: meshes over the image, coloured by uncertainty, with its scale below. Sides are even numbers."""
    zoom = _zoom(image)
    meshes, stds = [hand.vertices for hand in hands], [hand.std_mm for hand in hands]
    K = hands[0].K if hands else np.eye(3)
    drawn = draw_meshes(image, meshes, model.faces, K, stds, zoom=zoom, limits_mm=limits_mm)
    return even(np.concatenate([drawn, legend(drawn.shape[1], limits_mm)]))


def even(page: np.ndarray) -> np.ndarray:
    """An image with sides of even numbers of pixels, as codecs ask for."""
    return np.pad(page, [(0, page.shape[0] % 2), (0, page.shape[1] % 2), (0, 0)], "edge")


@contextmanager
def video_writer(path: Path, fps: float) -> Iterator["VideoWriter"]:
    """A video that appears under its name when the block ends well, and not at all otherwise."""
    with replacing(path) as temporary:
        writer = VideoWriter(temporary, fps)
        try:
            yield writer
        finally:
            writer.close()
        if writer.frames != count_frames(temporary):
            raise OSError(errno.ENOSPC, "not all frames could be written, as when the disk is full", str(path))


def count_frames(path: Path) -> int:
    """Frames of a video file, as its index says: 0 when it has none, because it was cut off."""
    with _quiet_opencv():
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        return max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0) if capture.isOpened() else 0


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Silences OpenCV's own lines on stderr, one for each frame that finds no place on a full disk."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


class VideoWriter:
    """Frames of one size into an MP4, opened with the first. Raises AssetError when OpenCV has no codec for it.

    OpenCV does not say when a frame cannot be written: `frames` counts those that were given.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps, self.frames = path, fps, 0
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, frame: np.ndarray) -> None:
        """(H, W, 3) uint8 sRGB. Raises HandsynthError when its size is not the first's."""
        size = frame.shape[1], frame.shape[0]
        if self._writer is None:
            self._writer, self._size = self._open(size), size
        if size != self._size:
            raise HandsynthError(f"a frame of {size[0]} x {size[1]} px in a video of {self._size[0]} x {self._size[1]}")
        with _quiet_opencv():
            self._writer.write(np.ascontiguousarray(frame[..., ::-1]))
        self.frames += 1

    def close(self) -> None:
        """Ends the file."""
        if self._writer is not None:
            with _quiet_opencv():
                self._writer.release()

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        for codec in _CODECS:
            writer = cv2.VideoWriter(str(self.path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), self.fps, size)
            if writer.isOpened():
                return writer
        raise AssetError("OpenCV cannot write MP4 here: pip install --force-reinstall opencv-python-headless")


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """JSON lines; a whole file or none."""
    write_file(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def overlay_path(out: Path, name: str, suffix: str) -> Path:
    """Where a drawing goes."""
    return out / f"{name}{OVERLAY}{suffix}"


def _zoom(image: np.ndarray) -> float:
    """Factor that brings an image to a size that is good to look at."""
    side = max(image.shape[:2])
    return float(np.clip(side, *_PANEL_PX)) / side


def _rounded(values: np.ndarray) -> list:
    return np.round(values, _COORDINATE_DIGITS).tolist()
