"""The embedded scenes: the same everywhere, made once, and with the statistics of photographs."""

import errno
import os
import pickle
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest

from handsynth.assets.backgrounds.open import open_backgrounds, read_usable
from handsynth.assets.backgrounds.procedural import scenes as module
from handsynth.assets.backgrounds.procedural.kinds import KINDS
from handsynth.assets.backgrounds.procedural.layers import HEIGHT, WIDTH, _box_widths
from handsynth.assets.backgrounds.procedural.scenes import Scenes, paint_scenes
from handsynth.core.errors import AssetError, UsageError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HANDSYNTH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def painted() -> np.ndarray:
    """Two scenes of each kind: uint8 (20, 360, 480, 3)."""
    return np.stack(list(paint_scenes(2 * len(KINDS))))


@pytest.fixture
def cheap(monkeypatch, painted):
    """The bank without the painting."""
    made = []

    def stored(count, start=0):
        made.append(count)
        yield from painted[start : start + count]

    monkeypatch.setattr(module, "paint_scenes", stored)
    return made


def test_a_scene_depends_on_its_number_alone(painted):
    """Painted apart from the others, in another order, a scene is the same."""
    for index in (7, 3):
        (alone,) = paint_scenes(1, index)
        assert np.array_equal(alone, painted[index])


def test_a_scene_does_not_depend_on_the_processor(painted):
    """With the vector instructions of numpy and OpenCV switched off, every byte is the same."""
    module = "handsynth.assets.backgrounds.procedural.scenes"
    code = f"import zlib; from {module} import paint_scenes; print(*(zlib.crc32(s.tobytes()) for s in paint_scenes(6)))"
    slow = {"NPY_DISABLE_CPU_FEATURES": _dispatched_features(), "OPENCV_CPU_DISABLE": "SSE4.1,SSE4.2,AVX,FP16,AVX2,AVX512-SKX"}
    result = subprocess.run([sys.executable, "-c", code], env=os.environ | slow, capture_output=True, text=True, check=True)
    assert [int(word) for word in result.stdout.split()] == [zlib.crc32(scene.tobytes()) for scene in painted[:6]]


def _dispatched_features() -> str:
    """The features that numpy would use here and can be disabled."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return " ".join(feature for feature in __cpu_dispatch__ if __cpu_features__.get(feature))


def test_power_falls_with_frequency_as_in_photographs(painted):
    """The mean radial power spectrum follows frequency ** -2 within 0.4 over 1.5 decades, the law of natural images."""
    radius = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None, :])
    edges = np.geomspace(0.012, 0.4, 14)  # [cycles per pixel]
    ring, window = np.digitize(radius, edges), np.outer(np.hanning(256), np.hanning(256))
    total = np.zeros(13)
    for scene in painted:
        grey = scene[52:308, 112:368] @ np.array([0.3, 0.6, 0.1])
        power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
        rings = np.array([power[ring == k].mean() for k in range(1, 14)])
        total += rings / rings.sum()
    slope = np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(total), 1)[0]
    assert -2.4 < slope < -1.6


def test_brightness_contrast_and_colour_are_those_of_photographs(painted):
    """Means spread around the middle, nothing is flat or burnt out, colours are mostly quiet, skin's tones are rare."""
    pixels = painted[:, ::3, ::3].reshape(len(painted), -1, 3).astype(float)
    grey = pixels @ np.array([0.3, 0.6, 0.1])
    assert 90 < grey.mean() < 130
    assert 15 < grey.mean(axis=1).std() < 45
    assert (grey.std(axis=1) > 8).all()
    assert 30 < np.median(grey.std(axis=1)) < 65
    assert (pixels >= 254).mean() < 0.02
    saturation = (pixels.max(2) - pixels.min(2)) / (pixels.max(2) + 1)
    assert 0.1 < saturation.mean() < 0.4
    red, green, blue = (pixels[:, :, k] for k in range(3))
    skin = (red > 120) & (red > 1.12 * green) & (green > 1.08 * blue) & (red < 2.2 * blue)
    assert skin.mean() < 0.12


def test_kinds_differ_and_none_repeats(painted):
    """No two scenes are alike, even of one kind: a quarter of their size, they differ by more than their grain."""
    small = painted.reshape(len(painted), 90, 4, 120, 4, 3).mean(axis=(2, 4))
    for a in range(len(small)):
        for b in range(a):
            assert np.abs(small[a] - small[b]).mean() > 8


@pytest.mark.parametrize("sigma", [0.3, 1.0, 1.3, 2.0, 5.0, 12.0])
def test_box_filters_add_up_to_the_blur_asked_for(sigma):
    """The variance of the boxes is sigma ** 2, to half a box step."""
    widths, part = _box_widths(sigma)
    assert all(width % 2 == 1 for width in widths)
    assert (part * sum((width**2 - 1) / 12 for width in widths)) ** 0.5 == pytest.approx(sigma, rel=0.1)


def test_the_bank_is_made_once_and_mapped(cheap, painted):
    """The first read makes the bank, later ones and other processes only map it; images and labels agree."""
    first = Scenes(count=6)
    assert not first.path.exists()  # labels and digest need no bank
    assert first.label(5) == {"name": "scene-000005", "licence": first.licence}
    assert np.array_equal(first.read(4), painted[4])
    other = pickle.loads(pickle.dumps(first))
    assert len(pickle.dumps(first)) < 1000
    assert np.array_equal(read_usable(other, 5)[0], painted[5])
    assert cheap == [6]
    assert isinstance(first._bank, np.memmap)
    assert not first.read(0).flags.writeable


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00", None])
def test_a_damaged_bank_is_made_again(cheap, painted, damage):
    """A bank that is empty, cut short or no array at all is replaced."""
    Scenes(count=3).prepare()
    path = Scenes(count=3).path
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    assert np.array_equal(Scenes(count=3).read(2), painted[2])


def test_workers_that_race_make_one_bank(cheap, painted):
    """Of several that start at once, one paints and the others wait for it."""
    start, results = threading.Barrier(4), []

    def work():
        scenes = Scenes(count=4)
        start.wait()
        results.append(int(scenes.read(3).sum()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [int(painted[3].sum())] * 4
    assert cheap == [4]


def test_progress_counts_to_the_end(cheap):
    """prepare() reports every scene once, and nothing when the bank is there."""
    seen = []
    Scenes(count=5).prepare(lambda done, count: seen.append((done, count)))
    Scenes(count=5).prepare(lambda done, count: seen.append((done, count)))
    assert seen == [(k, 5) for k in range(1, 6)]


def test_a_full_disk_is_found_before_the_bank_is_mapped(monkeypatch):
    """Room is taken at once: a mapped file on a full disk would end the process by SIGBUS."""

    def full(handle: int, offset: int, size: int) -> None:
        assert size > 2 * 360 * 480 * 3
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(module, "paint_scenes", None)  # not called
    with pytest.raises(AssetError, match=r"the cache .*No space left on device.*HANDSYNTH_CACHE"):
        Scenes(2).prepare()


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path, monkeypatch):
    """A cache folder that is a file: an AssetError that names HANDSYNTH_CACHE and the room needed."""
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("HANDSYNTH_CACHE", str(tmp_path / "taken"))
    with pytest.raises(AssetError, match="HANDSYNTH_CACHE to a folder with 300 MB free"):
        open_backgrounds(None).read(0)


def test_the_digest_is_that_of_version_and_parameters(monkeypatch):
    """Equal for equal parameters; another count, version or seed is another identity."""
    digest = open_backgrounds(None).digest
    assert digest == Scenes().digest
    assert digest != Scenes(count=383).digest
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    assert digest != Scenes().digest


def test_scenes_take_no_annotations(tmp_path):
    """COCO's annotations without its images are a usage error."""
    with pytest.raises(UsageError, match="train2017"):
        open_backgrounds(None, annotations=str(tmp_path))


def test_the_scenes_fill_their_size(painted):
    """Each is uint8 (360, 480, 3)."""
    assert painted.shape[1:] == (HEIGHT, WIDTH, 3)
    assert painted.dtype == np.uint8
