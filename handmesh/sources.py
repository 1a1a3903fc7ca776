"""Images, folders and videos that a user names: found, named, read and given a camera."""

import glob
import json
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from handsynth.core.camera import intrinsics
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.images import (
    IMAGE_SUFFIXES,
    MAX_FRAME_PIXELS,
    MIN_SIDE,
    Animation,
    Frame,
    ImageError,
    check_image,
    decode_image,
    focal_35mm,
    is_animation,
)

VIDEO_SUFFIXES = frozenset(".mp4 .mov .avi .mkv .webm .m4v .mpg .mpeg .wmv .asf .flv .ts .mts .m2ts .3gp .ogv".split())
"""What is taken for a video in a folder; a video that is named may end on anything."""

OVERLAY = ".overlay"
"""Before the suffix of the images that `handmesh predict` draws; a folder's are passed over."""

_IMAGE_BRANDS = {b"avif", b"avis", b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"jp2 ", b"jpx "}
_FILM_DIAGONAL_MM = float(np.hypot(36, 24))


@dataclass(frozen=True)
class Source:
    """An image or a video, and what its results are called."""

    path: Path
    name: str  # no other source has it, it has no separators, and it is short
    is_video: bool = False  # by its content, see `is_video`


@dataclass(frozen=True, eq=False)
class Camera:
    """Intrinsics of an image and where they come from."""

    K: np.ndarray  # (3, 3) [px]
    source: str  # "--K", "--focal", "EXIF" or "60 degrees"


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """The images and videos that the paths name, those in folders sorted by name, each once.

    Names of results are the files' own without suffix; where two are alike, letters of either case, later ones get -2, -3, ...
    Raises UsageError when a path is missing or a folder holds neither images nor videos.
    """
    files: dict[Path, Path] = {}
    for path in _expanded(paths):
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
        sources.append(Source(file, name, is_video(file)))
    return sources


def _expanded(paths: Sequence[Path]) -> Iterator[Path]:
    """Paths, and those that patterns match: a shell that leaves them alone, as in quotes, is no reason to fail."""
    for path in paths:
        if path.exists():
            yield path
            continue
        matched = sorted(glob.glob(str(path))) if glob.has_magic(str(path)) else []
        if not matched:
            raise UsageError(f"{path} {'matches no file' if glob.has_magic(str(path)) else 'does not exist'}")
        yield from map(Path, matched)


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
    """(H, W, 3) uint8 sRGB by the rules of core.images, and the focal length for 35 mm film [mm], if EXIF gives it.

    Raises HandsynthError naming the file when it is no image, is damaged, too small or too large.
    """
    try:
        data = path.read_bytes()
        return decode_image(data), focal_35mm(data)
    except ImageError as error:
        raise HandsynthError(f"{path} cannot be read as an image: {error}") from None
    except OSError as error:
        raise HandsynthError(f"{path} cannot be read as an image: {error.strerror}") from None


def is_video(path: Path) -> bool:
    """Whether a file holds a video or an animation, by its content; by its suffix where the content is of no known kind."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    if _container(head) or is_animation(path):
        return True
    return path.suffix.lower() in VIDEO_SUFFIXES and check_image(path) is not None


_HEAD_BYTES = 400


def _container(head: bytes) -> str | None:
    """The kind of video file that begins so. Playlists are none: FFmpeg would open whatever they name."""
    kind = head[4:8]
    if kind == b"ftyp":
        return None if head[8:12] in _IMAGE_BRANDS else "MP4"
    if kind in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):  # QuickTime without a brand
        return "MOV"
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return "AVI"
    for start, period in ((0, 188), (4, 192)):  # of a transport stream, as broadcast and as cameras store it
        if len(head) > start + period and head[start] == head[start + period] == 0x47:
            return "MPEG-TS"
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


_MAGIC = {
    b"\x1a\x45\xdf\xa3": "Matroska",
    b"\0\0\x01\xba": "MPEG",
    b"\0\0\x01\xb3": "MPEG",
    b"FLV\x01": "FLV",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "ASF",
    b"OggS": "Ogg",
}


class Video:
    """Frames of a video or an animation, read one after the other. Raises HandsynthError naming the file when it has none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._reader: Animation | _Capture = Animation(path) if is_animation(path) else _Capture(path)
        except ImageError as error:
            raise HandsynthError(f"{path} cannot be read as an animation: {error}") from None
        self.fps: float = self._reader.fps
        self.count: int = self._reader.count  # as the file has it, 0 if it does not state it
        self.cut: str | None = None  # once all frames are read: a sentence if the file promises more

    def frames(self) -> Iterator[Frame]:
        """Each image with its time, which grows from one to the next whatever the file states."""
        read, last = 0, -1.0
        try:
            for image, time_s in self._reader.frames():
                # Where the container has no time for a frame, OpenCV gives 0.
                last = time_s if time_s > last else last + 1 / self.fps
                read += 1
                yield Frame(image, last)
        except ImageError as error:
            if not read:
                raise HandsynthError(f"{self.path} cannot be read as an animation: {error}") from None
        tolerance = 0 if isinstance(self._reader, Animation) else max(2, self.count // 50)  # some containers only estimate
        if read < self.count - tolerance:
            self.cut = f"{self.path} is cut: {read} of its {self.count} frames can be read"


class _Capture:
    """A video as OpenCV's FFmpeg reads it."""

    def __init__(self, path: Path) -> None:
        try:
            with open(path, "rb") as file:
                known = _container(file.read(_HEAD_BYTES))
        except OSError as error:
            raise HandsynthError(f"{path} cannot be read as a video: {error.strerror}") from None
        if known is None:
            raise HandsynthError(f"{path} cannot be read as a video: its format is unknown")
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")  # it opens no connection
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # one sentence here is enough
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        finally:
            cv2.utils.logging.setLogLevel(level)
        width, height = (int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if self._capture.isOpened() and not (min(width, height) >= MIN_SIDE and width * height <= MAX_FRAME_PIXELS):
            raise HandsynthError(
                f"{path} cannot be read as a video: {width} x {height}, needs {MIN_SIDE} px and at most "
                f"{MAX_FRAME_PIXELS // 1_000_000} million"
            )
        good, self._first = self._read()
        if not good:
            raise HandsynthError(_unreadable(path, known, self._capture))
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps: float = fps if 1 <= fps <= 1000 else 25.0  # some files do not state it
        self.count: int = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)

    def frames(self) -> Iterator[Frame]:
        """(H, W, 3) uint8 sRGB each, with the container's time."""
        good, frame = True, self._first
        while good:
            yield Frame(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            good, frame = self._read()
        self._capture.release()

    def _read(self) -> tuple[bool, np.ndarray]:
        """The next frame, if there is one that OpenCV can decode and has memory for."""
        try:
            good, frame = self._capture.read()
        except cv2.error:
            return False, np.empty(0)
        return good, frame


def _unreadable(path: Path, kind: str, capture: cv2.VideoCapture) -> str:
    """Why no frame of a video can be read, and what to do."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF if capture.isOpened() else 0
    codec = code.to_bytes(4, "little") if code else _codec(path)
    if not codec:
        return f"{path} cannot be read as a video: it is damaged, or this {kind} file has no images"
    name = codec.decode("ascii", "backslashreplace").strip("\0 ")
    command = f"ffmpeg -i {shlex.quote(str(path))} -c:v libx264 -pix_fmt yuv420p {shlex.quote(f'{path.stem}-h264.mp4')}"
    return (
        f"{path} cannot be read as a video: the codec {name!r} of its images is not known here, or they are damaged; try: {command}"
    )


def _codec(path: Path) -> bytes:
    """The four letters of the first codec of images that a container names; empty where none is found."""
    with open(path, "rb") as file:
        start = file.read(_TABLE_BYTES)
        file.seek(max(0, path.stat().st_size - _TABLE_BYTES))
        data = start + file.read(_TABLE_BYTES)
    found = re.search(rb"vids([ -~]{4})|vmhd.{0,400}?stsd.{12}([ -~]{4})|V_([A-Z0-9/_]{3,})", data, re.DOTALL)
    return next((group for group in found.groups() if group), b"") if found else b""


_TABLE_BYTES = 1 << 20
"""Within so many bytes of a video's start or end its tables lie."""


FOCAL_RANGE = (0.1, 100.0)
"""Focal lengths that a camera can have, in diagonals of the image: from 157 degrees across the diagonal down to half a degree."""

VIEW_DEG = 60.0
"""Across the longer side of an image whose camera is not known: a 31 mm lens on film, between a phone's camera and a webcam's."""


def camera_of(
    image: np.ndarray, focal_35mm: float | None = None, focal_px: float | None = None, K: np.ndarray | None = None
) -> Camera:
    """What is known of an image's camera, the best first: K, the focal length in pixels, EXIF's; or VIEW_DEG as a guess.

    The optical axis is taken to meet the image's centre. A wrong focal length f moves the mesh along the axis and leaves it where
    it is in the image: depth grows with f.

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
    guess = intrinsics(max(width, height) / 2 / float(np.tan(np.deg2rad(VIEW_DEG / 2))), centre)
    if focal_35mm:
        focal = focal_35mm * diagonal / _FILM_DIAGONAL_MM
        if least <= focal <= greatest:
            return Camera(intrinsics(focal, centre), "EXIF")
        return Camera(guess, f"{VIEW_DEG:g} degrees, as EXIF's {focal_35mm:g} mm cannot be")
    return Camera(guess, f"{VIEW_DEG:g} degrees")


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
