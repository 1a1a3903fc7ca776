"""The one reader of images: every format and kind of pixel becomes what it shows, by rules that hold wherever it comes in."""

import struct
from pathlib import Path

import numpy as np
import pytest
from image_files import animation, close, jpeg, png_that_claims, saved, smooth, tiff
from PIL import Image

from handmesh.sources import read_image
from handsynth.core.errors import HandsynthError
from handsynth.core.images import MIN_SIDE, Animation, ImageError, check_image, decode_image, focal_35mm, is_animation

RAMP = np.linspace(0, 1, 64)[None].repeat(40, 0)  # black to white


def grey(data: bytes) -> np.ndarray:
    """(H, W) of an image without colour."""
    image = decode_image(data)
    np.testing.assert_array_equal(image, image[:, :, :1].repeat(3, 2))
    return image[:, :, 0]


MODES = {
    "JPEG": "RGB CMYK YCbCr",
    "PNG": "RGB RGBA P",
    "TIFF": "RGB RGBA P CMYK YCbCr",
    "BMP": "RGB RGBA P",
    "WEBP": "RGB RGBA P",
    "GIF": "RGB P",
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in MODES.items() for mode in modes.split()])
def test_colour_survives_every_format_and_mode(kind, mode):
    """An image comes back as itself, whatever mode and format it was saved in."""
    image = Image.fromarray(smooth())
    image = image.quantize(256) if mode == "P" else image.convert(mode)
    data = saved(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    # 256 colours for the 3,072 of the image cost a few levels.
    assert close(decode_image(data), smooth(), 6 if mode == "P" or kind == "GIF" else 3)


def test_white_cmyk_jpeg_is_white():
    """Adobe's inverted CMYK is put right: no ink is white, all black ink is black."""
    for ink, tone in ((0, 255), (255, 0)):
        image = Image.merge("CMYK", [Image.new("L", (40, 40), value) for value in (0, 0, 0, ink)])
        assert np.abs(decode_image(saved(image, "JPEG")).astype(int) - tone).max() <= 2


def test_sixteen_bits_are_scaled_not_cut():
    """A 16-bit grey ramp over the whole range becomes the 8-bit ramp."""
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(40, 0)
    for kind in ("PNG", "TIFF"):
        image = decode_image(saved(Image.fromarray(ramp), kind))
        assert np.array_equal(image, np.rint(ramp / 257).astype(np.uint8)[:, :, None].repeat(3, 2))


def test_grey_becomes_three_equal_channels_and_transparency_white():
    """Grey JPEG and PNG have R = G = B; fully transparent pixels are white, whatever colour hides below."""
    grey = smooth()[:, :, 0]
    for data in (jpeg(grey), saved(Image.fromarray(grey), "PNG")):
        image = decode_image(data)
        assert close(image[:, :, 0], grey)
        assert np.array_equal(image[:, :, 0], image[:, :, 1])
        assert np.array_equal(image[:, :, 0], image[:, :, 2])
    hidden = np.concatenate([smooth(), np.zeros((48, 64, 1), np.uint8)], axis=2)
    assert (decode_image(saved(Image.fromarray(hidden), "PNG")) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation):
    """A JPEG whose pixels are stored turned, and tagged so, is seen upright."""
    stored = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1]}
    stored |= {5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a), 7: lambda a: a.swapaxes(0, 1)[::-1, ::-1]}
    stored |= {8: lambda a: np.rot90(a, 3)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(np.ascontiguousarray(stored[orientation](smooth())), exif=exif)
    assert close(decode_image(data), smooth())


def test_floats_are_shares_of_white():
    """A float TIFF in 0..1 is the same image as in 8 bits, not a black one; what resampling adds beyond is cut off."""
    for slack in (0, 0.05):
        values = (RAMP * (1 + 2 * slack) - slack).astype(np.float32)
        np.testing.assert_array_equal(grey(saved(Image.fromarray(values), "TIFF")), np.rint(255 * values.clip(0, 1)))


@pytest.mark.parametrize("values", [RAMP * 255, RAMP - 0.5, RAMP * np.nan, np.where(RAMP > 0.9, np.inf, RAMP)])
def test_floats_of_another_range_are_refused(values, tmp_path):
    """White is unknown in 0..255, below 0, or beside NaN: refused by both ways of looking, never guessed."""
    data = saved(Image.fromarray(values.astype(np.float32)), "TIFF")
    with pytest.raises(ImageError, match=r"float pixels from .* to .*, expected 0 to 1"):
        decode_image(data)
    (tmp_path / "a.tif").write_bytes(data)
    assert check_image(tmp_path / "a.tif").startswith("float pixels")


def test_deep_greys_of_tiff():
    """12 bits are scaled by 4095; where zero is white the image is inverted, in 12, 16 and 32 bits as in 8."""
    levels = np.rint(RAMP * 4095).astype(np.uint16)
    pairs = levels.reshape(-1, 2).astype(np.uint32)
    packed = ((pairs[:, 0] << 12) | pairs[:, 1]).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    expected = np.rint(255 * (levels / 4095)).astype(np.uint8)
    np.testing.assert_array_equal(grey(tiff(packed, 64, 40, 12)), expected)
    sixteen, eight = np.rint(RAMP * 65535).astype("<u2"), np.rint(RAMP * 255).astype(np.uint8)
    for raw, bits, kind in ((eight, 8, 1), (sixteen, 16, 1), (RAMP.astype("<f4"), 32, 3)):
        straight, inverted = (
            grey(tiff(raw.tobytes(), 64, 40, bits, sample_format=kind, zero_is_white=white)) for white in (False, True)
        )
        np.testing.assert_allclose(straight, 255 * RAMP, atol=0.51)
        np.testing.assert_array_equal(inverted, 255 - straight)


@pytest.mark.parametrize(("dtype", "kind"), [("<i4", 2), ("<u4", 1), ("<i2", 2)])
def test_numbers_without_a_white_are_refused(dtype, kind):
    """Whole numbers of 32 bits, or with a sign, may end at any level."""
    raw = np.arange(40 * 64).astype(dtype).tobytes()
    with pytest.raises(ImageError, match="save it with 8 or 16 bits"):
        decode_image(tiff(raw, 64, 40, 8 * np.dtype(dtype).itemsize, sample_format=kind))


def test_colour_of_floats_is_refused_by_name():
    """A TIFF that Pillow does not know is called one, not "no image"."""
    raw = np.ones((40, 64, 3), "<f4").tobytes()
    with pytest.raises(ImageError, match=r"TIFF.*save it with 8 or 16 bits"):
        decode_image(tiff(raw, 64, 40, 32, sample_format=3, channels=3))
    with pytest.raises(ImageError, match="HEIC, which is not read: save it as JPEG"):
        decode_image(b"\0\0\0\x18ftypheic" + bytes(100))


def test_transparency_is_white_in_every_kind():
    """RGBA, grey with alpha, a palette's and a 16-bit PNG's transparent level: laid over white, and half of it half."""
    black = np.zeros((40, 64), np.uint8)
    half = np.where(np.arange(64) < 32, 128, 0)[None].repeat(40, 0).astype(np.uint8)
    expected = np.where(half, 127, 255)
    for mode, bands in (("RGBA", 3), ("LA", 1)):
        image = Image.merge(mode, [Image.fromarray(band) for band in [black] * bands + [half]])
        np.testing.assert_array_equal(grey(saved(image, "PNG")), expected)
    palette = Image.fromarray((half > 0).astype(np.uint8), "P")
    palette.putpalette([9, 9, 9, 0, 0, 0])
    np.testing.assert_array_equal(grey(saved(palette, "PNG", transparency=0)), np.where(half, 0, 255))
    deep = Image.fromarray(np.where(half, 0, 500).astype(np.uint16))
    np.testing.assert_array_equal(grey(saved(deep, "PNG", transparency=500)), np.where(half, 0, 255))


def test_xmp_orientation_is_honoured():
    """The turn that only XMP requests, as some editors write it."""
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="3"/></x:xmpmeta>'
    data = jpeg(np.ascontiguousarray(smooth()[::-1, ::-1]))
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp + data[2:]
    assert close(decode_image(turned), smooth())


def test_a_damaged_exif_block_does_not_make_the_pixels_worse():
    """The image is read as it lies, and has no focal length."""
    exif = Image.Exif()
    exif[0x0112] = 1
    exif.get_ifd(0x8769)[0xA405] = 28
    for kind in ("JPEG", "PNG", "WEBP"):
        data = saved(Image.fromarray(smooth()), kind, exif=exif)
        assert focal_35mm(data) == 28
        at = data.index(b"MM\0*" if b"MM\0*" in data else b"II*\0")
        damaged = data[: at + 4] + b"\xff" * 8 + data[at + 12 :]
        if kind != "PNG":  # whose checksum finds the damage first
            assert decode_image(damaged).shape == (48, 64, 3)
            assert focal_35mm(damaged) is None


@pytest.mark.parametrize("side", [1, MIN_SIDE - 1, MIN_SIDE])
def test_the_least_side(side):
    """One limit for all: below it an image shows neither a hand nor a background."""
    for data in (saved(Image.new("RGB", (side, 100)), "PNG"), jpeg(np.zeros((100, side, 3), np.uint8))):
        if side < MIN_SIDE:
            with pytest.raises(ImageError, match=f"{side} x 100, needs {MIN_SIDE} px"):
                decode_image(data)
        else:
            assert decode_image(data).shape == (100, side, 3)


def test_decompression_bombs_are_refused_by_their_header():
    """Beyond 100 million pixels nothing is decoded, however Pillow would warn."""
    for width, height in ((10_001, 10_000), (14_000, 14_000), (60_000, 60_000)):
        with pytest.raises(ImageError, match="more than 100 million pixels"):
            decode_image(png_that_claims(width, height))


FILES = {
    "rgb.png": saved(Image.fromarray(smooth()), "PNG"),
    "photo.jpg": jpeg(smooth()),
    "cmyk.jpg": saved(Image.fromarray(smooth()).convert("CMYK"), "JPEG"),
    "alpha.png": saved(
        Image.merge("RGBA", [*Image.fromarray(smooth()).split(), Image.linear_gradient("L").resize((64, 48))]), "PNG"
    ),
    "float.tif": saved(Image.fromarray(RAMP.astype(np.float32)), "TIFF"),
    "float255.tif": saved(Image.fromarray((255 * RAMP).astype(np.float32)), "TIFF"),
    "deep.png": saved(Image.fromarray((65535 * RAMP).astype(np.uint16)), "PNG"),
    "dot.png": saved(Image.new("RGB", (1, 1)), "PNG"),
    "bomb.png": png_that_claims(60_000, 60_000),
    "cut.jpg": jpeg(smooth())[:-500],
    "text.png": b"no image",
    "moving.gif": animation("GIF", [10, 200]),
    "script.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
}


@pytest.mark.parametrize("name", FILES)
def test_backgrounds_and_predict_agree(name, tmp_path):
    """What the one takes the other takes, with the same pixels; what one refuses the other refuses for the same reason."""
    path = tmp_path / name
    path.write_bytes(FILES[name])
    reason = check_image(path)
    if reason is None:
        np.testing.assert_array_equal(read_image(path)[0], decode_image(FILES[name]))
    else:
        with pytest.raises(HandsynthError) as raised:
            read_image(path)
        assert str(raised.value) == f"{path} cannot be read as an image: {reason}"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_are_read_whole_with_their_times(kind, tmp_path):
    """Each image once, at the sum of the durations before it; read as one image it is the first."""
    levels, durations = [20, 90, 160, 230], [100, 400, 50, 100]
    path = tmp_path / "moving"
    path.write_bytes(animation(kind, levels, durations, **({"lossless": True} if kind == "WEBP" else {})))
    assert is_animation(path)
    moving = Animation(path)
    assert (moving.count, moving.fps) == (4, 10)
    frames = list(moving.frames())
    assert [frame.image.shape for frame in frames] == [(40, 40, 3)] * 4
    np.testing.assert_allclose([frame.image.mean() for frame in frames], levels, atol=1)
    np.testing.assert_allclose([frame.time_s for frame in frames], [0, 0.1, 0.5, 0.55])
    np.testing.assert_array_equal(decode_image(path.read_bytes()), frames[0].image)


def test_frames_have_a_lower_limit(tmp_path):
    """Of an animation several images are held at a time: beyond 40 million pixels each it is refused by its header."""
    small = animation("GIF", [10, 20])
    for width, height, refused in ((8000, 5000, False), (8000, 5001, True)):
        (tmp_path / "a.gif").write_bytes(small[:6] + struct.pack("<HH", width, height) + small[10:])
        if refused:
            with pytest.raises(ImageError, match="8000 x 5001, more than 40 million pixels"):
                Animation(tmp_path / "a.gif")
        else:
            assert Animation(tmp_path / "a.gif").count == 2


def test_what_is_no_animation(tmp_path):
    """A still image, the pages of a TIFF, a text and nothing."""
    (tmp_path / "still.gif").write_bytes(animation("GIF", [10]))
    (tmp_path / "pages.tif").write_bytes(animation("TIFF", [10, 20]))
    (tmp_path / "text.gif").write_bytes(b"GIF")
    for name in ("still.gif", "pages.tif", "text.gif", "gone.gif"):
        assert not is_animation(tmp_path / name)
    assert decode_image((tmp_path / "pages.tif").read_bytes()).mean() == 10


def test_the_stand_in_of_an_animated_png_is_no_frame(tmp_path):
    """Programs that know no animation show another image, which is not part of it."""
    path: Path = tmp_path / "a.png"
    path.write_bytes(animation("PNG", [0, 100, 200], default_image=True))
    assert [round(frame.image.mean()) for frame in Animation(path).frames()] == [100, 200]
