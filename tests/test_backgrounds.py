"""Folders of images as backgrounds: which files serve, what they become, and what takes the place of a bad one."""

import errno
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from image_files import close, jpeg, png_that_claims, saved, smooth
from PIL import Image

from handsynth.assets.backgrounds import folder as module
from handsynth.assets.backgrounds.folder import ENOUGH_SIDE, ImageFolder, list_folder
from handsynth.assets.backgrounds.open import open_backgrounds, read_usable
from handsynth.core.errors import AssetError, UsageError
from handsynth.core.images import ImageError, decode_image
from handsynth.image.crop import crop_background


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HANDSYNTH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    return path


def test_large_jpegs_are_decoded_smaller_but_large_enough():
    """A 2,200 px JPEG comes back reduced, with at least ENOUGH_SIDE px, and shows the same."""
    large = smooth(220, 240).repeat(10, 0).repeat(10, 1)
    small = decode_image(jpeg(large), ENOUGH_SIDE)
    assert ENOUGH_SIDE <= min(small.shape[:2]) < 2200
    assert abs(small.shape[1] / small.shape[0] - 2400 / 2200) < 0.01
    assert np.abs(small.mean((0, 1)) - smooth(220, 240).mean((0, 1))).max() < 1


def fill_with_faults(folder: Path) -> None:
    good = jpeg(smooth(200, 300))
    (folder / "cut.jpg").write_bytes(good[: len(good) // 2])
    (folder / "cut.png").write_bytes(saved(Image.fromarray(smooth()), "PNG")[:-2000])
    (folder / "dot.png").write_bytes(saved(Image.new("RGB", (1, 1)), "PNG"))
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "float.tif").write_bytes(saved(Image.fromarray(np.full((40, 40), 214, np.float32)), "TIFF"))
    (folder / "bomb.png").write_bytes(png_that_claims(60_000, 60_000))
    (folder / "large.png").write_bytes(png_that_claims(11_000, 11_000))
    (folder / "text.jpg").write_text("not an image")
    (folder / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n")
    (folder / "outside.jpg").symlink_to("/etc/hostname")
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / ".hidden.jpg").write_bytes(good)
    (folder / "notes.txt").write_text("a caption")


def test_files_that_cannot_serve_are_skipped_counted_and_named(folder):
    """Every fault is named with its reason, hidden files and other endings are not images, and the good ones remain."""
    fill_with_faults(folder)
    (folder / "sub").mkdir()
    (folder / "sub" / "Z.JPG").write_bytes(jpeg(smooth()))
    (folder / "b.png").write_bytes(saved(Image.fromarray(smooth()), "PNG"))
    (folder / "link.jpg").symlink_to(folder / "sub" / "Z.JPG")
    backgrounds = open_backgrounds(folder)
    assert isinstance(backgrounds, ImageFolder)
    assert [backgrounds.label(i)["name"] for i in range(len(backgrounds))] == ["b.png", "link.jpg", "sub/Z.JPG"]
    skipped = backgrounds.skipped
    expected = "bomb.png cut.jpg cut.png dot.png empty.jpg float.tif gone.jpg large.png outside.jpg pipe.jpg script.png text.jpg"
    assert sorted(skipped) == expected.split()
    assert skipped["dot.png"] == "1 x 1, needs 32 px"
    assert skipped["outside.jpg"] == "a symbolic link that leaves the folder"
    assert skipped["pipe.jpg"] == "not a regular file"
    assert skipped["float.tif"].startswith("float pixels from 214 to 214")
    assert "million pixels" in skipped["bomb.png"]
    assert "million pixels" in skipped["large.png"]
    assert skipped["text.jpg"] == skipped["script.png"] == "its format is unknown"
    (sentence,) = backgrounds.notes
    assert sentence.startswith(f"skipped 12 of 15 images in {folder}: ")
    assert sentence.endswith(" and 7 more")
    for index in range(len(backgrounds)):
        assert close(backgrounds.read(index), smooth())


def test_a_folder_without_a_usable_image_is_refused(folder, tmp_path):
    """Missing, empty, not a folder, or full of faults: an AssetError that names the folder and says what to type."""
    (tmp_path / "file.jpg").write_bytes(jpeg(smooth()))
    for path in (folder, tmp_path / "nowhere", tmp_path / "file.jpg"):
        with pytest.raises(AssetError, match=f"{path}.*--backgrounds"):
            open_backgrounds(path)
    fill_with_faults(folder)
    with pytest.raises(AssetError, match="skipped 12 of 12 images"):
        open_backgrounds(folder)


def test_a_second_start_looks_at_changed_files_only(folder, monkeypatch):
    """With the cache, unchanged files are not opened again, a changed one is, and the list stays the same."""
    for name in ("a.jpg", "b.jpg", "c.png"):
        (folder / name).write_bytes(jpeg(smooth()))
    (folder / "c.png").write_text("not an image")
    first = ImageFolder(list_folder(folder))
    looked: list[str] = []
    monkeypatch.setattr(module, "check_image", lambda path: looked.append(path.name))
    second = ImageFolder(list_folder(folder))
    assert looked == []
    assert (second.names, second.skipped, second.digest) == (first.names, first.skipped, first.digest)
    (folder / "b.jpg").write_bytes(jpeg(smooth(50, 50)))
    open_backgrounds(folder)
    assert looked == ["b.jpg"]


@pytest.mark.parametrize("damage", [b"{", b"[1]", b"\xff\xfe", b'{"a.jpg": 3}', b"[" * 100_000])
def test_a_damaged_cache_only_costs_time(folder, tmp_path, damage):
    """Whatever the cache file holds, the list is made again and is the same."""
    (folder / "a.jpg").write_bytes(jpeg(smooth()))
    first = open_backgrounds(folder)
    (file,) = (tmp_path / "cache").glob("images-*.json")
    file.write_bytes(damage)
    assert open_backgrounds(folder).digest == first.digest


def test_the_digest_identifies_names_and_sizes(folder):
    """It is the same for the same files at another time, and changes with a name, a size, or one file more."""
    (folder / "a.jpg").write_bytes(jpeg(smooth()))
    digests = [open_backgrounds(folder).digest]
    os.utime(folder / "a.jpg", ns=(1, 1))
    assert open_backgrounds(folder).digest == digests[0]
    (folder / "a.jpg").rename(folder / "b.jpg")
    digests.append(open_backgrounds(folder).digest)
    (folder / "b.jpg").write_bytes(jpeg(smooth()) + b"\0")
    digests.append(open_backgrounds(folder).digest)
    (folder / "c.jpg").write_bytes(jpeg(smooth()))
    digests.append(open_backgrounds(folder).digest)
    assert len(set(digests)) == 4


def test_a_image_that_breaks_is_replaced_by_the_next_one_always(folder):
    """A JPEG that passes the look at its header but not the decoder gives way to the next good one, over the end of the list."""
    whole = jpeg(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8))
    for name, phase in (("a.jpg", 0.0), ("c.jpg", 1.0)):
        (folder / name).write_bytes(jpeg(smooth(phase=phase)))
    for name in ("b.jpg", "d.jpg", "e.jpg"):
        (folder / name).write_bytes(whole[: len(whole) // 3] + b"\xff\xd9")
    for backgrounds in (open_backgrounds(folder), pickle.loads(pickle.dumps(open_backgrounds(folder)))):
        assert len(backgrounds) == 5
        with pytest.raises(ImageError, match=r"^b\.jpg: damaged"):
            backgrounds.read(1)
        used = [read_usable(backgrounds, index) for index in range(5)]
        assert [index for _, index in used] == [0, 2, 2, 0, 0]
        assert close(used[1][0], smooth(phase=1.0))
        assert close(used[4][0], smooth())


def test_faults_that_may_pass_are_not_replaced(folder, monkeypatch):
    """A file that is gone is replaced; a machine out of file handles, or an I/O error, stops the run instead."""
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(jpeg(smooth()))
    backgrounds = open_backgrounds(folder)
    (folder / "a.jpg").unlink()
    assert read_usable(backgrounds, 0)[1] == 1
    for code in (errno.EMFILE, errno.EIO):

        def fail(self: Path, code: int = code) -> bytes:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(Path, "read_bytes", fail)
        with pytest.raises(AssetError, match="try again"):
            read_usable(backgrounds, 1)


def test_read_usable_gives_up_after_all(folder):
    """When no image is left, the error counts them and says what to type."""
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(jpeg(smooth()))
    backgrounds = open_backgrounds(folder)
    for name in ("a.jpg", "b.jpg"):
        (folder / name).unlink()
    with pytest.raises(AssetError, match=r"none of 2 backgrounds from number 1 on can be read.*--backgrounds"):
        read_usable(backgrounds, 1)


def test_crop_places_the_square():
    """x and y run from one border to the other, flip mirrors, and a crop of the wanted size is a copy."""
    image = np.random.default_rng(1).integers(0, 255, (60, 100, 3), np.uint8)
    box = {"scale": 0.5, "x": 0.0, "y": 0.0, "flip": False}
    assert np.array_equal(crop_background(image, box, 30), image[:30, :30])
    assert np.array_equal(crop_background(image, box | {"x": 1.0, "y": 1.0}, 30), image[30:, 70:])
    assert np.array_equal(crop_background(image, box | {"x": 0.5, "flip": True}, 30), image[:30, 35:65][:, ::-1])


@pytest.mark.parametrize("side", [32, 200, 256, 300, 700])
def test_crop_always_fills_the_square_and_keeps_the_mean(side):
    """Whatever the image's size, the result is (256, 256, 3), contiguous, and as bright as the image."""
    image = smooth(side, side + 50)
    square = crop_background(image, {"scale": 1.0, "x": 0.3, "y": 0.9, "flip": False}, 256)
    assert square.shape == (256, 256, 3)
    assert square.dtype == np.uint8
    assert square.flags.c_contiguous
    left = round(0.3 * 50)
    assert np.abs(square.mean((0, 1)) - image[:, left : left + side].mean((0, 1))).max() < 1


@pytest.mark.parametrize("fault", [{"scale": 0.0}, {"scale": 1.1}, {"x": -0.1}, {"y": 1.5}, {"scale": float("nan")}])
def test_crop_refuses_a_box_outside_the_image(fault):
    """A damaged recipe is a UsageError, not a crash deep inside."""
    with pytest.raises(UsageError, match="crop"):
        crop_background(smooth(), {"scale": 0.5, "x": 0.5, "y": 0.5, "flip": False} | fault, 32)


def test_options_of_coco_are_refused_elsewhere(folder):
    """--exclude-no-derivatives has no meaning without known licences, and says so rather than doing nothing."""
    (folder / "a.jpg").write_bytes(jpeg(smooth()))
    with pytest.raises(UsageError, match="exclude-no-derivatives"):
        open_backgrounds(folder, exclude_no_derivatives=True)
    with pytest.raises(UsageError, match="--backgrounds"):
        open_backgrounds(None, exclude_no_derivatives=True)
