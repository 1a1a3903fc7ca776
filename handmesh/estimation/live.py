"""`handmesh live`: a camera or a video frame by frame, drawn with its hands and their joint angles, in a window or into files."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from handmesh.estimation import results
from handmesh.estimation.drawing import FINGER_COLOURS
from handmesh.estimation.hands import STYLES, Hand, Hands
from handmesh.kinematics.angle_files import describe, plot_angles, write_angles_csv
from handmesh.kinematics.dof import DOFS, dof_limits
from handmesh.sources import Camera, Video, camera_of
from handsynth.core.conventions import FINGERS
from handsynth.core.errors import AssetError, UsageError
from handsynth.core.images import Frame

VIDEO, ANGLES, PLOT = "live.overlay.mp4", "live.angles.csv", "live.angles.png"
"""Files in the folder for results."""

SECONDS = 5.0
"""Of joint angles beside the image."""

_PANEL_PX = 240  # width
_INK, _GROUND = (235, 235, 235), 24
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WINDOW = "handmesh live (q ends)"


@dataclass(frozen=True)
class LiveRequest:
    """What a user asks for. Raises UsageError when nothing would come of it."""

    display: bool = True  # in a window
    out: Path | None = None  # folder for files
    style: str = "mesh"  # of `hands.STYLES`
    side: str | None = None  # of all hands; None: the detector's, and right where there is none
    focal_px: float | None = None
    most_frames: int | None = None

    def __post_init__(self) -> None:
        if not self.display and self.out is None:
            raise UsageError("--no-display without --out DIR shows nothing and keeps nothing: give one of them")
        if self.style not in STYLES:
            raise UsageError(f"there is no style {self.style!r}: use {', '.join(STYLES)}")


class CameraFrames:
    """Frames of a camera, with the time at which they came. Raises AssetError when there is no such camera."""

    def __init__(self, number: int) -> None:
        self._first: np.ndarray
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            self._capture = cv2.VideoCapture(number)
            good, self._first = self._capture.read() if self._capture.isOpened() else (False, np.empty(0))
        finally:
            cv2.utils.logging.setLogLevel(level)
        if not good:
            raise AssetError(f"camera {number} is not here or is in use: give another number, or a video file")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps: float = fps if 1 <= fps <= 240 else 30.0
        self.cut: str | None = None

    def frames(self) -> Iterator[Frame]:
        """Until the camera is taken away or the reader has enough."""
        start, good, frame = time.monotonic(), True, self._first
        while good:
            yield Frame(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), time.monotonic() - start)
            good, frame = self._capture.read()
        self._capture.release()


def open_frames(source: str) -> CameraFrames | Video:
    """A camera by its number, or a video or animation by its path. Raises as these do, UsageError when there is no such file."""
    if source.isdecimal():
        return CameraFrames(int(source))
    if not Path(source).exists():
        raise UsageError(f"{source} is neither the number of a camera nor a video file that exists")
    return Video(Path(source))


def live(hands: Hands, source: str, request: LiveRequest) -> dict[str, Any]:
    """Runs until the source ends or the user types q or Ctrl-C; what was made until then is kept.

    Args:
        hands: in mode "video".
        source: number of a camera, or a video file.
        request: what to show and to keep.

    Returns:
        Frames, frames a second as they were worked on, tracks, and the files that were written, by name.

    Raises AssetError when the camera or a window is missing, HandsynthError when the video cannot be read.
    """
    frames = open_frames(source)
    panel = AnglePanel(hands)
    kept: list[tuple[int, float, Hand]] = []
    rates: deque[float] = deque(maxlen=30)
    count, written, started = 0, 0, time.perf_counter()
    with ExitStack() as stack:
        writer = None
        if request.out is not None:
            request.out.mkdir(parents=True, exist_ok=True)
            writer = stack.enter_context(results.video_writer(request.out / VIDEO, frames.fps))
        window = stack.enter_context(_window()) if request.display else None
        try:
            for frame in frames.frames():
                began = time.perf_counter()
                camera: Camera = camera_of(frame.image, None, request.focal_px)
                found = hands(frame.image, sides=request.side, K=camera.K, time_s=frame.time_s)
                panel.add(frame.time_s, found)
                kept += [(count, frame.time_s, hand) for hand in found]
                count += 1
                rate = len(rates) / sum(rates) if rates else 0.0
                page = _page(hands.render(frame.image, found, request.style), panel, rate, found)
                if writer is not None:
                    # A camera's frames come as fast as they are worked on: the video keeps their time.
                    times = max(1, round(frame.time_s * frames.fps) - written) if isinstance(frames, CameraFrames) else 1
                    for _ in range(times):
                        writer.write(page)
                    written += times
                rates.append(time.perf_counter() - began)
                if (window is not None and window(page)) or count == request.most_frames:
                    break
        except KeyboardInterrupt:
            pass  # the other way to end it
    files = {} if request.out is None else _write_angles(hands, request.out, kept) | {"overlay": VIDEO}
    seconds = time.perf_counter() - started
    tracks = sorted({hand.track for _, _, hand in kept if hand.track is not None})
    return {"source": source, "frames": count, "fps": round(count / seconds, 2), "tracks": tracks, "cut": frames.cut, **files}


@contextmanager
def _window() -> Iterator[Any]:
    """Yields a function that shows an image and tells whether the user wants to end. Raises AssetError without windows."""

    def show(page: np.ndarray) -> bool:
        try:
            cv2.imshow(_WINDOW, np.ascontiguousarray(page[..., ::-1]))
            return (cv2.waitKey(1) & 0xFF) in (ord("q"), 27)
        except cv2.error:
            raise AssetError(
                "OpenCV has no windows here (opencv-python-headless, or no display): "
                "pip install opencv-python, or --no-display --out DIR"
            ) from None

    try:
        yield show
    finally:
        try:
            cv2.destroyAllWindows()
        except cv2.error:
            pass


def _write_angles(hands: Hands, out: Path, kept: list[tuple[int, float, Hand]]) -> dict[str, str]:
    """Joint angles of all frames as CSV, and the plot of the hand that was seen longest; names of the files."""
    fitted = [(number, time_s, hand.track, hand.fit) for number, time_s, hand in kept if hand.fit is not None]
    if hands.solver is None or not fitted:
        return {}
    rows = [describe(hands.hand, fit)[0] for *_, fit in fitted]
    write_angles_csv(out / ANGLES, rows, ("frame", "time_s", "track"), [(n, f"{t:.3f}", track) for n, t, track, _ in fitted])
    tracks = [track for _, _, track, _ in fitted]
    longest = max(set(tracks), key=tracks.count)
    chosen = [(number, fit) for number, _, track, fit in fitted if track == longest]
    angles = np.concatenate([fit.angles for _, fit in chosen])
    plot_angles(out / PLOT, hands.hand, angles, [number for number, _ in chosen], "frame", f"hand {longest}")
    return {"angles": ANGLES, "plot": PLOT}


def _page(drawn: np.ndarray, panel: "AnglePanel", rate: float, hands: list[Hand]) -> np.ndarray:
    """The drawn frame with frames a second and names of hands on it, and the angles beside it."""
    text = f"{rate:.0f} fps" if rate else ""
    _label(drawn, text, (8, 22))
    for hand in hands:
        x, y = np.clip(hand.box[:2], 4, [drawn.shape[1] - 60, drawn.shape[0] - 8]).astype(int)
        _label(drawn, f"{hand.side} {hand.track}", (int(x), max(int(y), 40)))
    return results.even(np.concatenate([drawn, panel.draw(drawn.shape[0])], 1))


def _label(page: np.ndarray, text: str, at: tuple[int, int]) -> None:
    cv2.putText(page, text, at, _FONT, 0.6, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(page, text, at, _FONT, 0.6, (255, 255, 255), 1, cv2.LINE_AA)


class AnglePanel:
    """The flexions of one hand over the last seconds, a strip a finger, drawn fast enough for every frame."""

    def __init__(self, hands: Hands) -> None:
        limits = dof_limits(hands.hand.joint_limits)
        self._rows = [[k for k, dof in enumerate(DOFS) if dof.finger == finger and dof.motion == "flexion"] for finger in FINGERS]
        self._ends = [(float(limits[rows, 0].min()), float(limits[rows, 1].max())) for rows in self._rows]
        self._values: deque[tuple[float, np.ndarray]] = deque()
        self._track: int | None = None

    def add(self, time_s: float, hands: list[Hand]) -> None:
        """The angles of a frame; of several hands, of the one that was drawn before or else the first."""
        chosen = next((hand for hand in hands if hand.track == self._track), hands[0] if hands else None)
        if chosen is not None and chosen.fit is not None:
            if chosen.track != self._track:
                self._values.clear()
            self._track = chosen.track
            self._values.append((time_s, chosen.fit.angles[0]))
        while self._values and self._values[0][0] < time_s - SECONDS:
            self._values.popleft()

    def draw(self, height: int) -> np.ndarray:
        """(height, width, 3) panel."""
        page = np.full((height, _PANEL_PX, 3), _GROUND, np.uint8)
        strip = height // len(FINGERS)
        for k, finger in enumerate(FINGERS):
            top = k * strip
            cv2.putText(page, finger, (6, top + 14), _FONT, 0.4, FINGER_COLOURS[k + 1], 1, cv2.LINE_AA)
            cv2.line(page, (0, top + strip - 1), (_PANEL_PX, top + strip - 1), (70, 70, 70), 1)
            if len(self._values) < 2:
                continue
            times = np.array([time_s for time_s, _ in self._values])
            angles = np.stack([angles for _, angles in self._values])[:, self._rows[k]]
            least, greatest = self._ends[k]
            x = _PANEL_PX - 1 - (times[-1] - times) / SECONDS * (_PANEL_PX - 1)
            y = top + strip - 4 - (np.clip(angles, least, greatest) - least) / (greatest - least) * (strip - 8)
            for j in range(angles.shape[1]):
                colour = tuple(int(c * (1 - 0.25 * j)) for c in FINGER_COLOURS[k + 1])
                cv2.polylines(page, [np.stack([x, y[:, j]], 1).round().astype(np.int32)], False, colour, 1, cv2.LINE_AA)
        if self._values:
            latest = np.rad2deg(self._values[-1][1])
            for k, rows in enumerate(self._rows):
                text = " ".join(f"{latest[row]:.0f}" for row in rows)
                cv2.putText(page, text, (_PANEL_PX - 90, k * strip + 14), _FONT, 0.4, _INK, 1, cv2.LINE_AA)
        return page
