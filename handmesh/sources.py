"""Images, folders and videos that a user names: found, named, read and given a camera."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from handsynth.core.camera import intrinsics
from handsynth.core.errors import HandsynthError, UsageError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".jp2", ".avif"}
"""What is taken from a folder; an image that is named may end on anything."""

VIDEO_SUFFIXES = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}
"""What is read as a video."""

OVERLAY = ".overlay"
"""Before the suffix of the images that `handmesh predict` draws; a folder's are passed over."""

_FORMATS = {"JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF"}  # none that runs programs, as EPS does
_EXIF, _FOCAL_35MM = 0x8769, 0xA405
_FILM_DIAGONAL_MM = float(np.hypot(36, 24))


@dataclass(frozen=True)
class Source:
    """An image or a video, and what its results are called."""

    path: Path
    name: str  # no other source has it, it has no separators, and it is short

    @property
    def is_video(self) -> bool:
        """By its suffix."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True, eq=False)
class Camera:
    """Intrinsics of an image and where they come from."""

    K: np.ndarray  # (3, 3) [px]
    source: str  # "--K", "--focal", "EXIF" or "image's diagonal"


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """The images and videos that the paths name, those in folders sorted by name, each once.

    Names of results are the files' own without suffix; where two are alike, letters of either case, later ones get -2, -3, ...
    Raises UsageError when a path is missing or a folder holds neither images nor videos.
    """
    files: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist")
        found = _in_folder(path) if path.is_dir() else [path]
        if not found:
            raise UsageError(f"{path} holds no image or video ({' '.join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))})")
        for file in found:
            files.setdefault(file.resolve(), file)
    stems = [re.sub(r"[^\w.+-]+", "_", file.stem).strip("._")[:60] or "image" for file in files.values()]
    own, taken, sources = {stem.casefold() for stem in stems}, set(), []
    for file, stem in zip(files.values(), stems, strict=True):
        name, count = stem, 1
        while name.casefold() in taken or (count > 1 and name.casefold() in own):
            count += 1
            name = f"{stem}-{count}"
        taken.add(name.casefold())
        sources.append(Source(file, name))
    return sources


def _in_folder(folder: Path) -> list[Path]:
    return [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES
        and not file.name.startswith(".")
        and not file.stem.endswith(OVERLAY)
        and file.is_file()
    ]


def read_image(path: Path) -> tuple[np.ndarray, float | None]:
    """(H, W, 3) uint8 sRGB as it is meant to be looked at (EXIF's orientation), and the focal length for 35 mm film [mm], if given.

    Raises HandsynthError naming the file when it is no image or is damaged.
    """
    try:
        Image.init()
        with Image.open(path, formats=sorted(_FORMATS & Image.OPEN.keys())) as image:
            focal = image.getexif().get_ifd(_EXIF).get(_FOCAL_35MM)
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip at 255
                upright = Image.fromarray((np.asarray(upright) >> 8).clip(0, 255).astype(np.uint8))
            return np.array(upright.convert("RGB")), float(focal) if focal else None
    except Image.UnidentifiedImageError:
        raise HandsynthError(f"{path} cannot be read as an image: its format is unknown") from None
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError) as error:
        raise HandsynthError(f"{path} cannot be read as an image: {error}") from None


class Video:
    """Frames of a video, read one after the other. Raises HandsynthError naming the file when it has none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")  # a playlist opens no connection
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        good, self._first = self._capture.read()
        if not good:
            raise HandsynthError(f"{path} cannot be read as a video")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps: float = fps if 1 <= fps <= 1000 else 25.0  # some files do not say
        self.count: int = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)  # as the file says, 0 if it does not

    def frames(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 sRGB each."""
        good, frame = True, self._first
        while good:
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            good, frame = self._capture.read()
        self._capture.release()


FOCAL_RANGE = (0.1, 100.0)
"""Focal lengths that a camera can have, in diagonals of the image: from 157 degrees across the diagonal down to half a degree."""


def camera_of(
    image: np.ndarray, focal_35mm: float | None = None, focal_px: float | None = None, K: np.ndarray | None = None
) -> Camera:
    """What is known of an image's camera, the best first: K, the focal length in pixels, EXIF's; or a guess.

    The guess is a focal length as long as the image's diagonal, as a 43 mm lens has on film, 53 degrees across the diagonal
    (Li et al. 2022, CLIFF; Kissos et al. 2020). The optical axis is taken to meet the image's centre. A wrong focal length f
    moves the mesh along the axis and leaves it where it is in the image: depth grows with f.

    Raises UsageError when a focal length that the user gave is beyond FOCAL_RANGE. One of EXIF's, where many files have nonsense,
    is passed over, and the camera's source says so.
    """
    height, width = image.shape[:2]
    diagonal, centre = float(np.hypot(width, height)), (width / 2, height / 2)
    least, greatest = (share * diagonal for share in FOCAL_RANGE)
    given = intrinsics(focal_px, centre) if K is None and focal_px is not None else K
    if given is not None:
        name = "--focal" if K is None else "--K"
        for focal in given[[0, 1], [0, 1]]:
            if not least <= focal <= greatest:
                raise UsageError(
                    f"{name}: no camera has a focal length of {focal:g} px on {width} x {height} px; expected {least:.0f} to "
                    f"{greatest:.0f}"
                )
        return Camera(given, name)
    if focal_35mm:
        focal = focal_35mm * diagonal / _FILM_DIAGONAL_MM
        if least <= focal <= greatest:
            return Camera(intrinsics(focal, centre), "EXIF")
        return Camera(intrinsics(diagonal, centre), f"image's diagonal, as EXIF's {focal_35mm:g} mm cannot be")
    return Camera(intrinsics(diagonal, centre), "image's diagonal")


def read_K(path: Path) -> np.ndarray:
    """(3, 3) intrinsics [px] from JSON: three rows of three, or an object that holds them as `K`, as a sample's labels do.

    Raises UsageError when the file holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        K = np.array(value["K"] if isinstance(value, dict) else value, np.float64)
        if K.shape != (3, 3) or not np.isfinite(K).all() or K[0, 0] <= 0 or K[1, 1] <= 0 or K[0, 1] or K[1, 0]:
            raise ValueError
        if (K[2] != [0, 0, 1]).any():
            raise ValueError
    except OSError as error:
        raise UsageError(f"--K {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"--K {path}: expected JSON with [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels") from None
    return K
