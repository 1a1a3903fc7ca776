"""Prediction: perfect lixels come back as the true hand, left and right; files are named apart, and a bad one stops no other."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch
import trimesh
from image_files import animation
from PIL import Image
from typer.testing import CliRunner

from handmesh.cli.main import make_app
from handmesh.data.crop import make_crop
from handmesh.data.shards import ShardDataset
from handmesh.estimation.backends import Opened, TorchNet
from handmesh.estimation.estimate import (
    NEAREST_M,
    Estimate,
    Estimator,
    View,
    crop_of,
    focused,
    mean_palm,
    palm_size,
    place,
    solve_root_depth,
    tight_box,
)
from handmesh.estimation.hands import Hands
from handmesh.estimation.predict import Request, predict
from handmesh.keypoints import keypoint_regressor
from handmesh.nets.mesh_net import Prediction
from handmesh.nets.registry import create_net
from handmesh.run_files import WEIGHTS
from handmesh.run_folder import save_weights, write_run
from handmesh.settings.mesh import TrainSpec
from handmesh.sources import Video, camera_of, find_sources, read_image, read_K
from handsynth.core.camera import intrinsics, project
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import pose_hand
from handsynth.core.mirror import mirror_points
from handsynth.core.toy import toy_hand

HAND = toy_hand()
REGRESSOR = keypoint_regressor(HAND)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def records(hand_shards):
    data = ShardDataset(hand_shards)
    found = [data.read(k) for k in range(len(data))]
    assert {record.side for record in found} == {"right", "left"}
    return found


@pytest.fixture(scope="module")
def estimator() -> Estimator:
    """An untrained net, whose last layers are turned up so that its answers depend on the image."""
    torch.manual_seed(0)
    net = create_net("lite-fast", REGRESSOR, pretrained=False).eval()
    for layer in (net.mesh_decoder.head.x, net.mesh_decoder.head.y, net.mesh_decoder.head.z):
        torch.nn.init.normal_(layer.mix.weight, std=3)
    return Estimator(TorchNet(net, CPU), HAND, 64)


def hands_of(net, *, angles: bool = False) -> Hands:
    """Of a `Net` for crops of the toy hand."""
    return Hands(Opened(net, HAND, 64, "lite-fast", "torch"), angles=angles)


@pytest.fixture(scope="module")
def hands(estimator) -> Hands:
    return hands_of(estimator.net)


@pytest.fixture
def images(tmp_path):
    """Five images of different sizes and formats, three of them of one stem."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    for name, size in (
        ("a.png", (40, 60)),
        ("a.jpg", (64, 64)),
        ("more/A.png", (90, 50)),
        ("b.webp", (32, 32)),
        ("a-2.bmp", (64, 40)),
    ):
        coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)).save(folder / name)
    return folder


# Geometry


def test_crop_is_that_of_training(records):
    """The same image and camera as `make_crop` gives a labelled sample, to the bit."""
    for record in records:
        seen, trained = crop_of(View(record.image, record.K, record.side, record.bbox), 96), make_crop(record, 96)
        np.testing.assert_array_equal(seen.image, trained.image)
        np.testing.assert_array_equal(seen.K, trained.K)
        np.testing.assert_array_equal(seen.R_crop_cam, trained.R_crop_cam)


@pytest.mark.parametrize("depth_known", [True, False])
def test_true_lixels_give_the_true_hand(records, depth_known):
    """Right and left: with the wrist's depth, or with the palm's size from which it is solved."""
    for record in records:
        labelled = make_crop(record, 64)
        crop = crop_of(View(record.image, record.K, record.side, record.bbox), 64)
        found = place(
            labelled.lixels(labelled.vertices), np.ones_like(record.vertices), crop, REGRESSOR,
            palm_m=float(palm_size(REGRESSOR @ record.vertices)), root_depth=labelled.root_depth if depth_known else None,
        )  # fmt: skip
        np.testing.assert_allclose(found.vertices, record.vertices, atol=1e-9)
        # Labels are rounded to a micrometre.
        np.testing.assert_allclose(found.keypoints, record.keypoints, atol=2e-6)


def test_mean_hand_needs_no_depth():
    """A hand of the mean shape in the mean pose, wherever it is and however it is turned, comes back at its true depth."""
    rng = np.random.default_rng(1)
    mean = np.concatenate([np.zeros((1, 3)), HAND.hands_mean])
    for _ in range(20):
        theta = mean.copy()
        theta[0] = rng.normal(0, 1.5, 3)
        wrist = np.array([*rng.uniform(-0.1, 0.1, 2), rng.uniform(0.4, 1.2)])
        keypoints = pose_hand(HAND, theta, np.zeros(10)).keypoints
        keypoints += wrist - keypoints[0]
        rays = keypoints / keypoints[:, 2:]
        offsets = rays * (keypoints[:, 2:] - wrist[2])
        assert solve_root_depth(offsets, rays, mean_palm(HAND)) == pytest.approx(wrist[2], abs=1e-9)


def test_root_depth_against_a_search():
    """The closed form finds the farthest depth at which the palm has its size, and the smallest palm where none is small enough."""
    rng = np.random.default_rng(2)
    z = np.linspace(NEAREST_M, 3, 6000)
    solved = impossible = 0
    for size in (0.02, 0.05):
        for _ in range(20):
            offsets, rays = rng.normal(0, 0.02, (21, 3)), np.ones((21, 3))
            rays[:, :2] = rng.normal(0, 0.08, (21, 2))
            offsets[:, :2] = rays[:, :2] * offsets[:, 2:]
            found = float(solve_root_depth(offsets, rays, size))
            sizes = palm_size(offsets + z[:, None, None] * rays)
            if sizes.min() < size - 1e-4:
                expected = z[np.flatnonzero(sizes <= size)[-1]]
                solved += 1
            else:
                expected = z[sizes.argmin()]
                impossible += 1
            assert found == pytest.approx(max(expected, NEAREST_M - offsets[:, 2].min()), abs=2e-3)
    assert solved > 5
    assert impossible > 5


def test_hand_stays_before_the_camera():
    """Nonsense, however wild, is placed with every keypoint in front of the camera and without a warning."""
    rng = np.random.default_rng(3)
    rays = np.ones((50, 21, 3))
    rays[..., :2] = rng.normal(0, 5, (50, 21, 2))
    offsets = rays * rng.uniform(-0.15, 0.15, (50, 21, 1))
    z = solve_root_depth(offsets, rays, 0.04)
    assert (offsets[..., 2] + z[:, None]).min() >= NEAREST_M - 1e-9
    assert np.isfinite(solve_root_depth(np.zeros((21, 3)), np.ones((21, 3)), 0.04))


def test_spread_is_the_way_that_a_lixel_moves_a_vertex(records):
    """A standard deviation along one axis alone: as far as the vertex moves when its lixel does."""
    record = records[0]
    labelled = make_crop(record, 64)
    lixels, K = labelled.lixels(labelled.vertices), record.K
    crop = crop_of(View(record.image, K, record.side, record.bbox), 64)
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = 1.5
        here, there = (
            place(points, np.tile(step, (len(lixels), 1)), crop, REGRESSOR, 0.04, labelled.root_depth)
            for points in (lixels, lixels + step)
        )
        moved = 1000 * np.abs(there.vertices - here.vertices)[:, axis]
        np.testing.assert_allclose(here.std_mm, moved, rtol=1e-9)
    assert here.std_mm[0] == pytest.approx(1.5 * 4.6875)


def test_mirror(estimator, records):
    """A mirrored image declared to show a left hand gives the mirrored mesh, with the same standard deviation at the same depth."""
    record = records[0]
    width = record.image.shape[1]
    K = intrinsics(200, (width / 2, 32))
    x0, y0, x1, y1 = record.bbox
    right, left = estimator([
        View(record.image, K, "right", record.bbox),
        View(record.image[:, ::-1], K, "left", np.array([width - x1, y0, width - x0, y1])),
    ])  # fmt: skip
    np.testing.assert_allclose(left.vertices, mirror_points(right.vertices), atol=1e-5)
    np.testing.assert_allclose(left.std_mm, right.std_mm, rtol=1e-3)
    assert left.root_depth == pytest.approx(right.root_depth, rel=1e-4)


def test_batches_change_nothing(estimator, records):
    """A view gives the same alone and among others; another image gives another hand."""
    views = [View(r.image, r.K, r.side, r.bbox) for r in records[:5]]
    together = estimator(views)
    for k, view in enumerate(views):
        alone = estimator([view])[0].vertices
        # Of the distance, which for an untrained net is any: float32 rounds x and y with it.
        np.testing.assert_allclose(alone, together[k].vertices, atol=1e-4 * np.abs(alone).max())
    assert np.abs(together[0].vertices - together[1].vertices).max() > 1e-3


def test_second_look(records):
    """Without a box a second look follows, at the tight box of the hand that it has found; a box that fits the hand stays."""
    record, passes = records[0], []
    labelled = make_crop(record, 64)
    truth = torch.from_numpy(labelled.lixels(labelled.vertices)).float()

    def net(image):
        passes.append(len(image))
        return Prediction(
            truth[None, :21], truth[None, :21], truth[None].repeat(len(image), 1, 1), torch.ones(len(image), *truth.shape)
        )

    estimator = Estimator(TorchNet(net, CPU), HAND, 64)
    whole, boxed = View(record.image, record.K, record.side), View(record.image, record.K, record.side, record.bbox)
    (seen, given), (_, estimate) = estimator.find([whole, boxed])
    assert passes == [2, 1]
    np.testing.assert_array_equal(given.box, record.bbox)
    # The true lixels of the tight crop, placed in it, are the hand; its bounds are the box of the labels.
    np.testing.assert_allclose(focused(whole, estimate).box, np.clip(record.bbox, 0, 64), atol=0.01)
    assert seen.box is not None


@pytest.mark.parametrize(("length", "looks"), [(0.8, 2), (0.97, 1), (1.0, 1), (1.05, 1), (1.3, 2)])
def test_a_box_that_does_not_fit_is_laid_anew(records, length, looks):
    """A given box that is longer or shorter than the hand found in it gives way to that hand's, in one more look."""
    record, seen = records[0], []
    middle, half = (record.bbox[:2] + record.bbox[2:]) / 2, length * (record.bbox[2:] - record.bbox[:2]) / 2
    view = View(record.image, record.K, record.side, np.concatenate([middle - half, middle + half]))

    class AlwaysRight(Estimator):
        def __call__(self, views, root_depth=None):
            seen.append([view.box for view in views])
            return [Estimate(record.vertices, record.keypoints, np.ones(len(record.vertices)), 1.0) for _ in views]

    estimator = AlwaysRight(TorchNet(lambda image: None, CPU), HAND, 64)
    estimator.find([view], followed=[True])
    assert len(seen) == 1  # of a video's frames
    seen.clear()
    (found,), _ = estimator.find([view])
    assert len(seen) == looks
    np.testing.assert_allclose(found.box, view.box if looks == 1 else np.clip(record.bbox, 0, 64), atol=0.01)


def test_second_look_needs_a_hand(records):
    """Where the first look has found nothing that could be a hand, the whole image stays."""
    record = records[0]
    view = View(record.image, record.K, record.side)
    for vertices in (record.vertices * [1, 1, -1], record.vertices + np.array([9, 0, 0]), record.vertices * [1, 1, 100]):
        assert focused(view, Estimate(vertices, record.keypoints, np.ones(len(vertices)), 1.0)) is view


def test_net_sees_red_first():
    """The net gets (B, 3, S, S) in [0, 1], channels in the order R, G, B."""
    seen = []

    def net(image):
        seen.append(image)
        points = torch.full((len(image), HAND.num_vertices, 3), 32.0) + torch.rand(HAND.num_vertices, 3)
        return Prediction(points[:, :21], points[:, :21], points, torch.ones_like(points))

    image = np.zeros((50, 50, 3), np.uint8)
    image[..., 0] = 255
    Estimator(TorchNet(net, CPU), HAND, 32)([View(image, intrinsics(100, (25, 25)), "right")])
    assert seen[0].shape == (1, 3, 32, 32)
    np.testing.assert_allclose(seen[0].mean((0, 2, 3)).numpy(), [1, 0, 0], atol=1e-6)


@pytest.mark.parametrize(("width", "height"), [(100, 40), (40, 100), (64, 64)])
def test_whole_image(width, height):
    """Without a box the crop is the square about the image, all of it and no more."""
    view = View(np.full((height, width, 3), 255, np.uint8), intrinsics(100, (width / 2, height / 2)), "right")
    crop = crop_of(view, 64)
    white = (crop.image > 127).all(-1)
    assert white.any(0).sum() == round(64 * width / max(width, height))
    assert white.any(1).sum() == round(64 * height / max(width, height))
    assert crop.K[0, 0] == pytest.approx(100 * 64 / max(width, height))


@pytest.mark.parametrize("box", [(100, 0, 120, 40), (0, -20, 9, 0)])
def test_box_outside(box):
    with pytest.raises(UsageError, match=r"lies outside the image of 100 x 40 px"):
        tight_box(View(np.zeros((40, 100, 3), np.uint8), np.eye(3), "right", np.array(box)))


# Sources


def test_names_never_collide(images):
    """Every source has a name of its own, also where letters' case is lost; folders are sorted; no file comes twice."""
    (images / "notes.txt").write_text("")
    (images / ".hidden.png").write_bytes(b"")
    (images / "a.overlay.png").write_bytes(b"")
    sources = find_sources([images, images / "more" / "A.png", images / "a.png", images / "more"])
    assert [s.path.relative_to(images).as_posix() for s in sources] == ["a-2.bmp", "a.jpg", "a.png", "b.webp", "more/A.png"]
    assert [s.name for s in sources] == ["a-2", "a", "a-3", "b", "A-4"]


@pytest.mark.parametrize("name", ["..jpg", "...png", " .png", "x" * 240 + ".png", "手.png", "a\nb.png", "$(x).png"])
def test_names_stay_in_the_folder(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    stem = find_sources([tmp_path / name])[0].name
    out = tmp_path / "out"
    out.mkdir()
    (out / f"{stem}.overlay.png").write_bytes(b"x")
    assert [path.name for path in out.iterdir()] == [f"{stem}.overlay.png"]
    assert not stem.startswith(".")
    assert stem.isprintable()


def test_missing_sources(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.png does not exist"):
        find_sources([tmp_path / "nowhere.png"])
    with pytest.raises(UsageError, match="holds no image or video"):
        find_sources([tmp_path])


def test_exif(tmp_path):
    """A phone's image is turned upright, and its focal length for 35 mm film gives K."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30, 0] = 255  # red on the left; turned clockwise, it is above
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 26
    Image.fromarray(image).save(tmp_path / "phone.png", exif=exif)
    upright, focal = read_image(tmp_path / "phone.png")
    assert upright.shape == (60, 40, 3)
    assert upright[:30, :, 0].min() == 255
    camera = camera_of(upright, focal)
    assert camera.source == "EXIF"
    # 26 mm before film with a diagonal of 43.27 mm.
    np.testing.assert_allclose(camera.K, intrinsics(26 / np.hypot(36, 24) * np.hypot(40, 60), (20, 30)))


def test_unreadable_images(images):
    whole = (images / "a.png").read_bytes()
    for name, data in {
        "text": b"hello",
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "dot": cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes(),
    }.items():
        path = images / f"{name}.png"
        path.write_bytes(data)
        with pytest.raises(HandsynthError, match=rf"{name}\.png cannot be read as an image"):
            read_image(path)
    with pytest.raises(HandsynthError, match="cannot be read as a video"):
        Video(images / "text.png")


def write_film(path, codec: str, count: int = 8) -> bytes:
    """A video of 80 x 60 px and 10 frames a second, from black to white; returns its bytes."""
    film = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 10, (80, 60))
    for k in range(count):
        film.write(np.full((60, 80, 3), 255 * k // (count - 1), np.uint8))
    film.release()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("codec", "suffix"), [("mp4v", "mp4"), ("MJPG", "avi"), ("VP80", "webm"), ("mp4v", "mkv"), ("FLV1", "flv")]
)
def test_videos_are_known_by_their_content(tmp_path, codec, suffix):
    """Whatever a video is called, it is one; an image that is called a video is an image."""
    data = write_film(tmp_path / f"film.{suffix}", codec)
    for name in (f"film.{suffix}", "film", "film.jpg", "film.dat"):
        (tmp_path / name).write_bytes(data)
        (source,) = find_sources([tmp_path / name])
        assert source.is_video
        assert [round(frame.image.mean() / 255 * 7) for frame in Video(source.path).frames()] == list(range(8))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 40, 3), np.uint8))
    (tmp_path / "a.png").rename(tmp_path / "image.mp4")
    assert not find_sources([tmp_path / "image.mp4"])[0].is_video


def test_frames_carry_the_containers_times(tmp_path):
    """A variable frame rate: the times of a Matroska's blocks, changed one by one, are those of the frames."""
    data = write_film(tmp_path / "film.mkv", "mp4v")
    expected = [0, 100, 250, 300, 900, 1000, 4000, 4001]
    for old, new in sorted(zip(range(0, 800, 100), expected, strict=True), reverse=True):
        block = b"\x81" + old.to_bytes(2, "big")  # track 1, time [ms]
        assert data.count(block) == 1
        data = data.replace(block, b"\x81" + new.to_bytes(2, "big"))
    (tmp_path / "film.mkv").write_bytes(data)
    video = Video(tmp_path / "film.mkv")
    np.testing.assert_allclose([1000 * frame.time_s for frame in video.frames()], expected, atol=0.5)


def test_times_grow_where_the_container_has_none(tmp_path):
    """The last frame of an MPEG stream comes without a time; it still lies after the one before."""
    write_film(tmp_path / "film.mpg", "mpg2")
    np.testing.assert_allclose([frame.time_s for frame in Video(tmp_path / "film.mpg").frames()], np.arange(8) / 10, atol=0.01)


@pytest.mark.parametrize(
    ("suffix", "codec", "old", "new", "name"),
    [("avi", "MJPG", b"MJPG", b"XYZ1", "XYZ1"), ("mkv", "mp4v", b"V_MPEG4/ISO/ASP", b"V_XYZ4/ISO/ASP", "XYZ4/ISO/ASP")],
)
def test_codecs_that_cannot_be_read_are_named(tmp_path, capfd, suffix, codec, old, new, name):
    """The codec, and a command that converts the video; nothing else on stderr."""
    path = tmp_path / f"my film.{suffix}"
    path.write_bytes(write_film(path, codec).replace(old, new.ljust(len(old), b" ")))
    capfd.readouterr()
    with pytest.raises(HandsynthError) as raised:
        Video(path)
    assert str(raised.value).startswith(f"{path} cannot be read as a video: the codec {name!r} of its images")
    assert str(raised.value).endswith(f"try: ffmpeg -i '{path}' -c:v libx264 -pix_fmt yuv420p 'my film-h264.mp4'")
    assert capfd.readouterr().err == ""


def test_playlists_are_no_videos(tmp_path):
    """FFmpeg would open what a playlist names; a known container must begin the file."""
    write_film(tmp_path / "film.mp4", "mp4v")
    for text in ("ffconcat version 1.0\nfile film.mp4\n", f"#EXTM3U\n#EXTINF:1,\n{tmp_path / 'film.mp4'}\n"):
        (tmp_path / "list.mp4").write_text(text)
        with pytest.raises(HandsynthError, match="its format is unknown"):
            Video(tmp_path / "list.mp4")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_are_read_whole(hands, tmp_path, kind):
    """A GIF, WebP or PNG that moves is a video: a line for each image, with its time."""
    (tmp_path / "moving").write_bytes(animation(kind, [0, 80, 160, 240], [100, 400, 50, 100]))
    done = predict(hands, [tmp_path / "moving"], tmp_path / "out", Request())
    done.raise_failures()
    rows = [json.loads(line) for line in (tmp_path / "out" / "moving.jsonl").read_text().splitlines()]
    assert [row["time_s"] for row in rows] == [0, 0.1, 0.5, 0.55]
    assert (done.results[0]["frames"], done.results[0]["fps"]) == (4, 10)


def test_a_cut_animation_is_reported(hands, tmp_path, capsys):
    """What is left of a GIF is read, and how much is missing is reported."""
    noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64), np.uint8)
    first, *rest = [Image.fromarray(image) for image in noise]
    first.save(tmp_path / "moving.gif", save_all=True, append_images=rest)
    whole = (tmp_path / "moving.gif").read_bytes()
    (tmp_path / "moving.gif").write_bytes(whole[: len(whole) * 5 // 6])
    done = predict(hands, [tmp_path / "moving.gif"], tmp_path / "out", Request())
    assert done.results[0]["frames"] == 2
    assert "moving.gif is cut: 2 of its 3 frames can be read" in capsys.readouterr().err


def test_camera(tmp_path):
    """The best that is known of the camera is taken: K, --focal, EXIF, then 60 degrees across the longer side."""
    image, K = np.zeros((30, 40, 3), np.uint8), intrinsics(77, (20, 14))
    np.testing.assert_array_equal(camera_of(image, 26, 90, K).K, K)
    np.testing.assert_array_equal(camera_of(image, 26, 90).K, intrinsics(90, (20, 15)))
    guess = camera_of(image)
    np.testing.assert_allclose(guess.K, intrinsics(20 * np.sqrt(3), (20, 15)))
    np.testing.assert_allclose(camera_of(image.swapaxes(0, 1)).K, intrinsics(20 * np.sqrt(3), (15, 20)))
    assert guess.source == "60 degrees"
    for text in (json.dumps(K.tolist()), json.dumps({"K": K.tolist(), "index": 3})):
        (tmp_path / "K.json").write_text(text)
        np.testing.assert_array_equal(read_K(tmp_path / "K.json"), K)


@pytest.mark.parametrize("focal", [float("nan"), float("inf"), -50.0, 0.0, 1e-3, 4.9, 5001.0, 1e30])
def test_focal_lengths_that_no_camera_has_are_refused(focal):
    """On 40 x 30 px: by --focal and by either of K's, named with what is expected; EXIF's are passed over, and that is stated."""
    image = np.zeros((30, 40, 3), np.uint8)
    with pytest.raises(UsageError, match=r"--focal"):
        camera_of(image, None, Request(focal_px=focal).focal_px)
    for axis in (0, 1):
        K = intrinsics(50, (20, 15))
        K[axis, axis] = focal
        with pytest.raises(UsageError, match=r"--K: no camera has a focal length of .* on 40 x 30 px; expected 5 to 5000"):
            camera_of(image, None, None, K)
    passed = camera_of(image, focal * 43.27 / 50)
    assert passed.source.startswith("60 degrees")
    assert ("EXIF" in passed.source) == (focal != 0)
    np.testing.assert_allclose(passed.K, intrinsics(20 * np.sqrt(3), (20, 15)))


def test_an_absurd_focal_length_is_named_with_its_image(hands, images, tmp_path):
    """It may suit one image and not another, so that it is the image's error."""
    with pytest.raises(UsageError, match=r"a.jpg: --focal: no camera has a focal length of 1e\+06 px"):
        predict(hands, [images / "a.jpg"], tmp_path / "out", Request(focal_px=1e6)).raise_failures()


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "{}", "3", "[[1,0,0],[0,-1,0],[0,0,1]]", "[[1,0,0],[0,1,0],[0,1,1]]", "[[NaN,0,0],[0,1,0],[0,0,1]]"]
)
def test_bad_K(tmp_path, text):
    (tmp_path / "K.json").write_text(text)
    with pytest.raises(UsageError, match=r"K\.json"):
        read_K(tmp_path / "K.json")


# The whole


def test_images(hands, images, tmp_path, capsys):
    """Each image has its drawing, its mesh and its JSON, which agree; a bad image is named, and the others are done."""
    (images / "b2.png").write_bytes(b"no image")
    out = tmp_path / "out"
    done = predict(hands, [images, images / "more"], out, Request(side="left", focal_px=70.0, mesh_format="ply"))
    assert [str(e) for e in done.failures] == [f"{images / 'b2.png'} cannot be read as an image: its format is unknown"]
    with pytest.raises(HandsynthError, match="1 of 6 images and videos could not be done"):
        done.raise_failures()
    assert "b2.png cannot be read" in capsys.readouterr().err
    names = ["a-2", "a", "a-3", "b", "A-4"]
    suffixes = (".overlay.png", ".ply", ".glb", ".json")
    assert sorted(p.name for p in out.iterdir()) == sorted([*(n + s for n in names for s in suffixes), "predictions.jsonl"])
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert lines == json.loads(json.dumps(done.results))
    for name, line in zip(names, lines, strict=True):
        value = json.loads((out / f"{name}.json").read_text())
        assert value.pop("conventions")["units"].startswith("metres")
        assert value == line
        (hand,) = value["hands"]
        keypoints, K = np.array(hand["keypoints_cam"]), np.array(value["K"])
        np.testing.assert_allclose(project(keypoints, K), hand["keypoints_xy_px"], atol=0.01)
        assert (hand["side"], value["K_source"], value["net"], value["runtime"]) == ("left", "--focal", "lite-fast", "torch")
        mesh = trimesh.load(out / f"{name}.ply", process=False)
        np.testing.assert_allclose(REGRESSOR @ mesh.vertices, keypoints, atol=1e-5)
        np.testing.assert_array_equal(mesh.faces, HAND.faces[:, ::-1])
        assert cv2.imread(str(out / f"{name}.overlay.png")) is not None


def test_obj(hands, estimator, images, tmp_path):
    """An OBJ says its units and frame, and holds the estimate; a right hand's faces wind as the model's."""
    predict(hands, [images / "b.webp"], tmp_path / "out", Request(root_depth=0.5))
    assert "metres; camera frame" in (tmp_path / "out" / "b.obj").read_text().splitlines()[0]
    mesh = trimesh.load(tmp_path / "out" / "b.obj", process=False, maintain_order=True)
    image, focal = read_image(images / "b.webp")
    view = View(image, camera_of(image, focal).K, "right")
    np.testing.assert_allclose(mesh.vertices, estimator.find([view], 0.5)[1][0].vertices, atol=1e-5)
    np.testing.assert_array_equal(mesh.faces, HAND.faces)
    assert json.loads((tmp_path / "out" / "b.json").read_text())["hands"][0]["root_depth"] == 0.5


def test_lone_failure_keeps_its_class(hands, images, tmp_path):
    """One image alone: its own error and exit code, with its name."""
    done = predict(hands, [images / "b.webp"], tmp_path / "out", Request(box=(90, 0, 99, 9)))
    with pytest.raises(UsageError, match=r"b\.webp: the box 90 0 99 9 lies outside the image of 32 x 32 px"):
        done.raise_failures()
    assert not list((tmp_path / "out").iterdir())


def test_results_never_among_sources(hands, images):
    with pytest.raises(UsageError, match="another folder with --out"):
        predict(hands, [images], images, Request())


def test_video(hands, tmp_path):
    """A video gives a video of as many frames and a line for each; its frames are those of its images, in their order."""
    film = cv2.VideoWriter(str(tmp_path / "film.mp4"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 12, (80, 60))
    for k in range(11):
        film.write(cv2.resize(np.full((2, 2, 3), 20 * k, np.uint8), (80, 60)))
    film.release()
    frames = [frame.image for frame in Video(tmp_path / "film.mp4").frames()]
    assert [round(frame.mean() / 20) for frame in frames] == list(range(11))

    done = predict(hands, [tmp_path / "film.mp4"], tmp_path / "out", Request())
    done.raise_failures()
    assert (done.results[0]["frames"], done.results[0]["fps"]) == (11, 12)
    rows = [json.loads(line) for line in (tmp_path / "out" / "film.jsonl").read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(11))
    np.testing.assert_allclose([row["time_s"] for row in rows], np.arange(11) / 12, atol=1e-3)
    assert len(list(Video(tmp_path / "out" / "film.overlay.mp4").frames())) == 11
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["film.jsonl", "film.overlay.mp4"]


def test_stopped_video_leaves_nothing(estimator, tmp_path):
    """A video that fails half-way leaves neither a half video nor a temporary file."""
    film = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 12, (64, 64))
    for _ in range(10):
        film.write(np.zeros((64, 64, 3), np.uint8))
    film.release()
    calls = []

    def net(image):
        calls.append(image)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return estimator.net(image)

    with pytest.raises(KeyboardInterrupt):
        predict(hands_of(net), [tmp_path / "film.avi"], tmp_path / "out", Request())
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "values",
    [
        {"side": "both"}, {"mesh_format": "stl"}, {"focal_px": -1.0}, {"root_depth": float("nan")},
        {"focal_px": 9.0, "K": np.eye(3)}, {"box": (5, 5, 5, 9)}, {"box": (9, 5, 5, 9)}, {"box": (0, 0, float("nan"), 9)},
    ],
)  # fmt: skip
def test_nothing_can_be_requested_that_no_image_has(values):
    with pytest.raises(UsageError):
        Request(**values)


# The commands


@pytest.fixture(scope="module")
def run(estimator, tmp_path_factory):
    """A run folder with the untrained net."""
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, {"training": dataclasses.asdict(TrainSpec(net="lite-fast", side=64, pretrained=False))}, HAND)
    save_weights(estimator.net.net, folder / WEIGHTS, "lite-fast", {})
    return folder


def test_predict_command(run, images, estimator):
    """Flags reach the net, results lie in the run's folder, and stdout is their JSON."""
    result = CliRunner().invoke(
        make_app(),
        [
            "predict",
            str(run),
            str(images / "a.jpg"),
            "--left",
            "--box",
            "5",
            "6",
            "50",
            "60",
            "--focal",
            "80",
            "--no-kinematics",
            "--json",
        ],
    )
    assert result.exit_code == 0, result.output
    (value,) = json.loads(result.stdout)
    image, _ = read_image(images / "a.jpg")
    view = View(image, intrinsics(80, (32, 32)), "left", np.array([5, 6, 50, 60]))
    np.testing.assert_allclose(value["hands"][0]["keypoints_cam"], estimator([view])[0].keypoints, rtol=1e-3, atol=1e-4)
    assert value["hand"]["digest"] == HAND.digest
    assert sorted(p.name for p in (run / "predictions").iterdir()) == [
        "a.glb", "a.json", "a.obj", "a.overlay.png", "predictions.jsonl",
    ]  # fmt: skip


def test_export_command(run, tmp_path):
    result = CliRunner().invoke(make_app(), ["export", str(run), str(tmp_path / "model.onnx"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["difference_lixels"] < 1e-2


def test_no_run_folder(images):
    result = CliRunner().invoke(make_app(), ["predict", str(images), "--run", str(images)])
    assert isinstance(result.exception, UsageError)
    assert "is no run folder" in str(result.exception)
