"""Video and `handmesh live`: hands keep their numbers and sides, files are written whole."""

import csv
import json
import struct

import cv2
import numpy as np
import pytest
from clips import render_clip, write_clip
from typer.testing import CliRunner

import handmesh
from handmesh.cli.main import make_app
from handmesh.estimation.detect import Detection
from handmesh.estimation.hands import Hands
from handmesh.estimation.live import CameraFrames, LiveRequest, live, open_frames
from handmesh.estimation.tracking import Tracker
from handmesh.shipped import find_run
from handmesh.sources import Video
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.named_hands import open_hand


@pytest.fixture(scope="module")
def clip():
    return render_clip(30)


def box_of(points: np.ndarray, K: np.ndarray) -> np.ndarray:
    xy = (points / points[:, 2:] @ K.T)[:, :2]
    return np.concatenate([xy.min(0), xy.max(0)])


def test_hands_keep_their_numbers():
    """Matched by overlap whatever the order; a side stays when a detector errs; a hand missed twice ends, a new one begins."""
    tracker = Tracker(open_hand("embedded"))
    a, b = np.array([0, 0, 50, 50.0]), np.array([100, 0, 150, 50.0])
    tracker.match([Detection(a, "right", 0.9), Detection(b, "left", 0.8)], 0.0)
    assert not tracker.needs_detector(0.5)
    tracker.match([Detection(b + 5, "right", 0.7), Detection(a + 5, "right", 0.6)], 1.0)
    assert [(t.number, t.side, t.score) for t in tracker.tracks] == [(1, "right", 0.6), (2, "left", 0.7)]
    tracker.match([Detection(a, "right", 0.9)], 2.0)
    tracker.match([Detection(a, "right", 0.9), Detection(b + 300, "left", 0.9)], 3.0)
    assert [(t.number, t.side) for t in tracker.tracks] == [(1, "right"), (3, "left")]
    assert tracker.needs_detector(4.1)


def test_a_number_never_changes_its_side():
    """Whatever a detector finds, in which order, and of which side: as long as a hand has its number, it has its side."""
    rng, tracker, sides = np.random.default_rng(0), Tracker(open_hand("embedded")), {}
    for frame in range(300):
        corners = rng.uniform(0, 120, (int(rng.integers(5)), 2))
        found = [Detection(np.append(xy, xy + 60), str(rng.choice(["left", "right"])), float(rng.random())) for xy in corners]
        tracker.match(found, float(frame))
        tracker.end([track for track in tracker.tracks if rng.random() < 0.05])
        for track in tracker.tracks:
            assert sides.setdefault(track.number, track.side) == track.side
    assert set(sides.values()) == {"left", "right"}


def test_a_clip_is_followed_without_a_detector(clip):
    """One hand, one number, its side throughout; the box stays about the hand; times must grow."""
    hands = handmesh.load(mode="video", detector=None, threads=1)
    for image, vertices in zip(clip.images, clip.vertices, strict=True):
        (hand,) = hands(image, K=clip.K)
        true = box_of(vertices, clip.K)
        size = (hand.box[2:] - hand.box[:2]).max() / (true[2:] - true[:2]).max()
        assert 0.6 < size < 1.7
        assert (hand.track, hand.side) == (1, "right")
        np.testing.assert_array_equal(hand.vertices, hand.fitted_vertices)
    with pytest.raises(UsageError, match="times must grow"):
        hands(clip.images[0], time_s=0.1)
    hands.reset()
    assert hands(clip.images[0], time_s=0.1)[0].track == 1


def test_two_hands_and_their_sides(clip):
    """Side by side, the left one a mirror image: two numbers, two sides, and neither flips; the detector is asked once a second."""
    asked = []

    def detector(image):
        asked.append(1)
        k = len(asked) - 1
        box, width = box_of(clip.vertices[k * 30 if k * 30 < 30 else 29], clip.K), clip.images[0].shape[1]
        mirrored = np.array([2 * width - box[2], box[1], 2 * width - box[0], box[3]])
        return [(box, "right", 0.9, None), (mirrored, "left", 0.9, None)]

    hands = handmesh.load(mode="video", threads=1, detector=detector)
    for image in clip.images[:12]:
        both = np.concatenate([image, image[:, ::-1]], 1)
        assert sorted((hand.track, hand.side) for hand in hands(both)) == [(1, "right"), (2, "left")]
    assert len(asked) == 1


def test_a_lost_hand_ends():
    """When the image is empty for a detector, the hand ends after it was missed twice; no hand is an empty list."""
    clip, seen = render_clip(2), [True]
    box = box_of(clip.vertices[0], clip.K)
    hands = handmesh.load(mode="video", threads=1, detector=lambda image: [(box, "right", 1.0, None)] if seen[0] else [])
    assert len(hands(clip.images[0], time_s=0.0)) == 1
    seen[0] = False
    for time_s in (1.1, 2.2, 3.3):
        found = hands(clip.images[1], time_s=time_s)
    assert found == []


@pytest.mark.slow
def test_live_writes_overlay_and_angles_of_a_clip_of_300_frames(tmp_path):
    """By the command, without a display: as many frames as the clip, a row a frame, a plot; and the mesh is drawn."""
    clip = render_clip(300, 160, 120)
    write_clip(tmp_path / "clip.mp4", clip)
    words = [
        "live",
        str(tmp_path / "clip.mp4"),
        "--no-display",
        "--detector",
        "none",
        "--out",
        str(tmp_path / "out"),
        "--threads",
        "1",
        "--json",
    ]
    done = CliRunner().invoke(make_app(), words, catch_exceptions=False)
    result = json.loads(done.stdout)
    assert result["frames"] == 300
    assert result["fps"] > 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"live.overlay.mp4", "live.angles.csv", "live.angles.png"}
    frames = [frame.image for frame in Video(tmp_path / "out" / "live.overlay.mp4").frames()]
    assert len(frames) == 300
    assert frames[0].shape == (120, 160 + 240, 3)
    assert np.abs(frames[100][:, :160].astype(int) - clip.images[100]).mean() > 5
    with open(tmp_path / "out" / "live.angles.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 250
    times = [float(row["time_s"]) for row in rows]
    assert times == sorted(times)
    assert (tmp_path / "out" / "live.angles.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


class Window:
    """Takes the place of OpenCV's window; `q` is typed at the third image."""

    def __init__(self, monkeypatch) -> None:
        self.shown: list[np.ndarray] = []
        monkeypatch.setattr(cv2, "imshow", lambda name, image: self.shown.append(image))
        monkeypatch.setattr(cv2, "waitKey", lambda _: ord("q") if len(self.shown) == 3 else -1)
        monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)


def test_q_ends_and_keeps_what_was_made(clip, tmp_path, monkeypatch):
    write_clip(tmp_path / "clip.mp4", clip)
    window = Window(monkeypatch)
    hands = handmesh.load(mode="video", detector=None, threads=1)
    result = live(hands, str(tmp_path / "clip.mp4"), LiveRequest(out=tmp_path / "out", style="skeleton"))
    assert (result["frames"], len(window.shown)) == (3, 3)
    assert len(list(Video(tmp_path / "out" / "live.overlay.mp4").frames())) == 3


class FakeCamera:
    """Takes the place of a camera: three frames, then it is pulled out."""

    def __init__(self, images, opened: bool = True) -> None:
        self.images, self.opened, self.real = list(images), opened, cv2.VideoCapture

    def __call__(self, source, *backend):
        return self.real(source, *backend) if backend else self

    def isOpened(self):
        return self.opened

    def read(self):
        return (True, self.images.pop(0)[..., ::-1].copy()) if self.images else (False, None)

    def get(self, key):
        return 0.0

    def release(self):
        pass


def test_a_camera_is_read_until_it_goes_away(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera(clip.images[:3]))
    result = live(handmesh.load(mode="video", detector=None, threads=1), "0", LiveRequest(display=False, out=tmp_path / "out"))
    assert result["frames"] == 3
    assert result["tracks"] == [1]


# What bad input gets


def message_of(*words: str, code: int) -> str:
    """The one sentence of a command that fails with that exit code."""
    done = CliRunner().invoke(make_app(), [*words])
    assert isinstance(done.exception, HandsynthError), done.output
    assert done.exception.exit_code == code
    assert "\n" not in str(done.exception)
    return str(done.exception)


def test_a_camera_that_is_not_there(monkeypatch):
    for camera in (FakeCamera([], opened=False), FakeCamera([])):
        monkeypatch.setattr(cv2, "VideoCapture", camera)
        with pytest.raises(AssetError, match="camera 7 is not here or is in use: give another number, or a video file"):
            CameraFrames(7)
    assert message_of("live", "7", code=3).startswith("camera 7 is not here")


def test_live_has_nothing_to_show_or_keep(tmp_path):
    assert "give one of them" in message_of("live", "0", "--no-display", code=2)
    assert "no style 'wire': use mesh" in message_of("live", "0", "--style", "wire", code=2)
    assert "neither the number of a camera nor a video file" in message_of("live", str(tmp_path / "none.mp4"), code=2)


def test_a_window_that_cannot_open_says_what_to_install(clip, tmp_path, monkeypatch):
    write_clip(tmp_path / "clip.mp4", clip._replace(images=clip.images[:3]))

    def fail(*_):
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(cv2, "imshow", fail)
    assert "pip install opencv-python, or --no-display --out DIR" in message_of("live", str(tmp_path / "clip.mp4"), code=3)


def test_a_video_that_ends_in_mid_frame(clip, tmp_path, monkeypatch, capsys):
    """What can be read is done, and how much is missing is reported."""
    film = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 30, (320, 240))
    for image in clip.images[:10]:
        film.write(image[..., ::-1])
    film.release()
    data = (tmp_path / "film.avi").read_bytes()
    (tmp_path / "film.avi").write_bytes(data[: len(data) // 2])
    result = live(
        handmesh.load(mode="video", detector=None, threads=1), str(tmp_path / "film.avi"), LiveRequest(False, tmp_path / "out")
    )
    assert 2 <= result["frames"] < 10
    assert "film.avi is cut: " in result["cut"]


def test_a_video_without_frames(clip, tmp_path):
    write_clip(tmp_path / "clip.mp4", clip._replace(images=clip.images[:2]))
    data = (tmp_path / "clip.mp4").read_bytes()
    at = data.index(b"mdat")
    (tmp_path / "clip.mp4").write_bytes(data[: at + 4])
    assert "cannot be read as a video" in message_of("live", str(tmp_path / "clip.mp4"), "--no-display", "--out", "x", code=1)
    (tmp_path / "text.mp4").write_text("no video")
    assert "its format is unknown" in message_of("live", str(tmp_path / "text.mp4"), "--no-display", "--out", "x", code=1)


def test_a_phones_video_is_turned_upright(clip, tmp_path):
    """The matrix in an MP4's track header that turns by 90 degrees: frames come upright, as phones store them."""
    write_clip(tmp_path / "clip.mp4", clip._replace(images=clip.images[:3]))
    data = bytearray((tmp_path / "clip.mp4").read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix of nine follows 40 bytes
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    assert data[at : at + 36] == identity
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 240 << 16, 0, 1 << 30)
    (tmp_path / "phone.mp4").write_bytes(data)
    (first, *_) = open_frames(str(tmp_path / "phone.mp4")).frames()
    (plain, *_) = open_frames(str(tmp_path / "clip.mp4")).frames()
    assert np.abs(first.image.astype(int) - np.rot90(plain.image, -1)).mean() < 3


def test_modes_are_named():
    with pytest.raises(UsageError, match="no mode 'film': use image or video"):
        handmesh.load(mode="film")
    with pytest.raises(UsageError, match="fps is 0"):
        handmesh.load(fps=0)
    assert isinstance(handmesh.load(find_run(None)), Hands)
