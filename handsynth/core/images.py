"""The one reader of images of unknown origin: backgrounds and photographs become plain 8-bit sRGB, or an error in one sentence.

The rules are the same wherever an image comes in:

* Size: the shorter side has MIN_SIDE pixels or more, the whole at most MAX_PIXELS, the file at most MAX_BYTES; looked up in the
  header, before anything is decoded. A truncated or damaged file is refused, never filled with grey.
* Turned as its EXIF tag (or XMP's) requests; a damaged tag is passed over. Colour profiles are not applied.
* Grey, palette, CMYK (Adobe's inverted one too) and YCbCr are converted; transparent pixels are laid over white.
* 16-bit pixels are scaled from 0..65535, those of a 12-bit TIFF from 0..4095. Whole numbers of 32 bits are refused: nothing
  states which of them is white.
* Floats are shares of white, 0..1 in sRGB; what resampling adds (FLOAT_SLACK) is cut off, any other range is refused.
* Of an animation or of several pages the first image is taken; `Animation` reads them all.

The formats are named, for Pillow would otherwise try every one that it knows, and one of them starts another program (EPS).
Pillow and simplejpeg are what this module needs beside numpy; it is the only way from foreign pixels into both packages.
"""

import functools
import io
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import simplejpeg
from PIL import Image

from handsynth.core.errors import HandsynthError

MIN_SIDE = 32
"""Least shorter side of a usable image [px]: less shows neither a hand nor a background."""
MAX_PIXELS = 100_000_000
"""More pixels than this are taken for a decompression bomb."""
MAX_FRAME_PIXELS = 40_000_000
"""As many of one image of an animation or a video, of which several are held at a time; 8K has 33 million."""
MAX_BYTES = 256 << 20
"""A longer file is not read into memory."""
FLOAT_SLACK = 0.1
"""So far may floats lie outside 0..1."""
TAIL = 4096
"""An intact JPEG or PNG states within so many last bytes that it has ended; otherwise it is decoded to find out."""

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".gif", ".jp2", ".avif"}
)
"""What is taken for an image in a folder; an image that is named may end on anything."""

TRANSIENT_REASONS = ("may not be read", "is gone")
"""Reasons that do not concern the file's content, and so are not remembered."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF", "JPEG2000", "AVIF")
_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
_SIXTEEN_BIT = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_MODES = (
    frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "F", "I"}) | _SIXTEEN_BIT
)
_STRIP_PIXELS = 1 << 22
_TIFF_BITS, _TIFF_PHOTOMETRIC, _ORIENTATION = 258, 262, 0x0112
_EXIF, _FOCAL_35MM = 0x8769, 0xA405
_HEIC = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1"}
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


T = TypeVar("T")


class ImageError(HandsynthError):
    """An image cannot be used; the message is the reason, without the file's name."""


def _quiet(function: Callable[..., T]) -> Callable[..., T]:
    """Without Pillow's warnings: of bombs, where _refusal is stricter, and of damaged EXIF blocks, which are passed over."""

    @functools.wraps(function)
    def quiet(*arguments: Any) -> T:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments)

    return quiet


def decode_image(data: bytes, enough_side: int | None = None) -> np.ndarray:
    """A file's first image as uint8 (H, W, 3) sRGB, by the rules of this module.

    With `enough_side`, a JPEG at least twice as large on the shorter side is decoded, fast, at a reduced scale that keeps so
    many pixels: the size of the result still depends on the file alone. Raises ImageError with the reason.
    """
    if len(data) > MAX_BYTES:
        raise ImageError(_too_long(len(data)))
    image = _decode_plain_jpeg(data, enough_side) if data[:2] == b"\xff\xd8" else None
    if image is None:
        with _opened(io.BytesIO(data)) as opened:
            image = _to_rgb(opened)
    if min(image.shape[:2]) < MIN_SIDE:
        raise ImageError(_too_small(image.shape[1], image.shape[0]))
    return image


def check_image(path: Path) -> str | None:
    """Why decode_image would refuse a file, from its header and its end alone where these suffice; None if it would not."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            return _too_long(size)
        with _opened(path) as image:
            kind, is_float = image.format, image.mode == "F"
        if is_float or not _has_end(path, size, kind):
            decode_image(path.read_bytes())
    except ImageError as error:
        return str(error)
    except Exception as error:  # of the file system
        return _reason(error, b"")
    return None


@_quiet
def focal_35mm(data: bytes) -> float | None:
    """The focal length for 35 mm film [mm] that a file's EXIF block gives; None where it gives none, or nonsense."""
    try:
        with _opened(io.BytesIO(data)) as image:
            focal = float(image.getexif().get_ifd(_EXIF).get(_FOCAL_35MM, 0))
    except Exception:  # a damaged EXIF block does not make the pixels worse
        return None
    return focal if math.isfinite(focal) and focal > 0 else None


class Frame(NamedTuple):
    """One image of several."""

    image: np.ndarray  # (H, W, 3) uint8 sRGB
    time_s: float  # from the beginning


def is_animation(path: Path) -> bool:
    """Whether a file holds several images to be shown one after the other: GIF, WebP, PNG or AVIF. False for what is no image."""
    try:
        with _opened(path) as image:
            return image.format in _ANIMATED and bool(getattr(image, "is_animated", False))
    except (ImageError, OSError):
        return False


class Animation:
    """The images of an animation with their times. Raises ImageError when there is none to read."""

    def __init__(self, path: Path) -> None:
        """Looks at the header alone; `count` and `fps` (of the first image) may be what only the header claims."""
        self.path = path
        with _opened(path) as image:
            if image.width * image.height > MAX_FRAME_PIXELS:
                raise ImageError(_too_large(image.width, image.height, MAX_FRAME_PIXELS))
            # Pillow counts a PNG's stand-in, for programs that know no animation, among the frames.
            self._first = int(bool(image.info.get("default_image")))
            self.count: int = getattr(image, "n_frames", 1) - self._first
            image.seek(self._first)
            image.load()
            self.fps: float = 1 / _duration_s(image)

    def frames(self) -> Iterator[Frame]:
        """Each image by the rules of this module. Raises ImageError at the first that is damaged."""
        time_s = 0.0
        with _opened(self.path) as image:
            for number in range(self._first, self._first + self.count):
                image.seek(number)
                yield Frame(_to_rgb(image), time_s)
                time_s += _duration_s(image)


def _duration_s(image: Image.Image) -> float:
    """How long the present image of an animation is shown; 0 or nothing means 0.1 s, as browsers have it."""
    duration = image.info.get("duration", 0)
    return duration / 1000 if isinstance(duration, int | float) and 0 < duration < 1e6 else 0.1


@contextmanager
def _opened(source: Path | io.BytesIO) -> Iterator[Image.Image]:
    """An image whose header is good. Raises ImageError, also for whatever happens in the block."""
    try:
        with _open(source) as image:
            reason = _refusal(image)
            if reason is not None:
                raise ImageError(reason)
            yield image
    except ImageError:
        raise
    except Exception as error:  # a hostile file can make the decoders raise almost anything
        raise ImageError(_reason(error, _head(source))) from error


@_quiet
def _open(source: Path | io.BytesIO) -> Image.Image:
    Image.init()
    return Image.open(source, formats=[name for name in _FORMATS if name in Image.OPEN])


def _head(source: Path | io.BytesIO) -> bytes:
    """The first bytes of a file, for a message."""
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:16]
    try:
        with open(source, "rb") as file:
            return file.read(16)
    except OSError:
        return b""


def _has_end(path: Path, size: int, kind: str | None) -> bool:
    """False if the end marker of the format is not where it should be: truncated, or followed by something long."""
    marker = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}.get(kind or "")
    if marker is None:
        return True
    with open(path, "rb") as file:
        file.seek(max(0, size - TAIL))
        return marker in file.read()


def _decode_plain_jpeg(data: bytes, enough_side: int | None) -> np.ndarray | None:
    """The common JPEG, quickly and strictly; None where Pillow has to look: CMYK, or a header that simplejpeg does not know."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if colorspace not in ("YCbCr", "RGB", "Gray"):
        return None
    if height * width > MAX_PIXELS:
        raise ImageError(_too_large(width, height))
    fast = enough_side is not None
    least = enough_side if enough_side is not None and min(height, width) >= 2 * enough_side else 0
    try:
        image = simplejpeg.decode_jpeg(data, "RGB", fastdct=fast, fastupsample=fast, min_height=least, min_width=least)
    except ValueError as error:  # Pillow would fill what is missing with grey
        raise ImageError(_reason(error, data[:16])) from error
    return np.ascontiguousarray(_UPRIGHT[_orientation(data)](image))


# What EXIF's orientation tag requests, by its value.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a),
}


def _orientation(data: bytes) -> int:
    """A JPEG's orientation tag; Pillow looks only where there can be one."""
    if data.find(b"Exif\0\0", 0, 1 << 16) < 0 and data.find(b"tiff:Orientation", 0, 1 << 16) < 0:
        return 1
    try:
        with _open(io.BytesIO(data)) as image:
            return _orientation_tag(image)
    except Exception:  # Pillow cannot read the header, which simplejpeg has read
        return 1


@_quiet
def _orientation_tag(image: Image.Image) -> int:
    """The turn that an opened image requests; a damaged EXIF block does not make the pixels worse."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
        return value if value in _UPRIGHT else 1
    except Exception:
        return 1


@_quiet
def _to_rgb(image: Image.Image) -> np.ndarray:
    """The present image of an opened file, as uint8 (H, W, 3); a strip at a time, so that the largest need no second copy."""
    image.load()
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    strips = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
    if image.mode == "F":
        ends = [(float(part.min()), float(part.max())) for part in (np.asarray(image.crop(strip)) for strip in strips)]
        low, high = (float(np.array(ends).min()), float(np.array(ends).max()))
        if not (-FLOAT_SLACK <= low and high <= 1 + FLOAT_SLACK):  # also NaN
            raise ImageError(f"float pixels from {low:.3g} to {high:.3g}, expected 0 to 1: save it with 8 or 16 bits")
    rgb, white = np.empty((height, width, 3), np.uint8), _white(image)
    for strip in strips:
        part = image.crop(strip)
        rgb[strip[1] : strip[3]] = _plain(part) if white is None else _deep(part, image, white)
    # A TIFF has been turned by Pillow, which then removes the tag.
    return np.ascontiguousarray(_UPRIGHT[_orientation_tag(image)](rgb))


def _plain(image: Image.Image) -> np.ndarray:
    """(H, W, 3) of 8-bit pixels of any kind, over white."""
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _deep(part: Image.Image, image: Image.Image, white: float) -> np.ndarray:
    """(H, W, 1) of a part of an image of one deep channel."""
    values = np.asarray(part)
    shares = values.astype(np.float32)  # exact for 16 bits
    shares *= 255 / white
    shares = shares.clip(0, 255)
    if _tiff_tag(image, _TIFF_PHOTOMETRIC) == 0:  # zero is white, which Pillow minds in 8 bits only
        shares = 255 - shares
    see_through = image.info.get("transparency")
    if isinstance(see_through, int):  # the one level of a 16-bit PNG that is transparent
        shares[values == see_through] = 255
    return np.rint(shares).astype(np.uint8)[:, :, None]


def _white(image: Image.Image) -> float | None:
    """What stands for white in an image of one deep channel; None for all that Pillow converts by itself."""
    if image.mode == "F":
        return 1.0
    if image.mode not in _SIXTEEN_BIT and image.mode != "I":
        return None
    bits = _tiff_tag(image, _TIFF_BITS)
    return 2.0 ** (bits[0] if isinstance(bits, tuple) and bits[:1] == (12,) else 16) - 1


def _tiff_tag(image: Image.Image, tag: int) -> object:
    """A tag of a TIFF, None where there is none."""
    return getattr(image, "tag_v2", {}).get(tag)


def _refusal(image: Image.Image) -> str | None:
    """Why an image is refused for what its header states; None if it is not."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        return _too_large(width, height)
    if min(width, height) < MIN_SIDE:
        return _too_small(width, height)
    if image.mode not in _MODES:
        return f"pixels of kind {image.mode}, which cannot be turned into RGB"
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # there they are 16 bits, scaled by Pillow
        return "whole numbers of 32 bits, or with a sign, whose white is unknown: save it with 8 or 16 bits"
    return None


def _too_small(width: int, height: int) -> str:
    return f"{width} x {height}, needs {MIN_SIDE} px"


def _too_large(width: int, height: int, limit: int = MAX_PIXELS) -> str:
    return f"{width} x {height}, more than {limit // 1_000_000} million pixels"


def _too_long(size: int) -> str:
    return f"{size >> 20} MB, more than {MAX_BYTES >> 20}"


def _reason(error: Exception, head: bytes) -> str:
    """Why decoding ended, in a few words."""
    if isinstance(error, PermissionError):
        return TRANSIENT_REASONS[0]
    if isinstance(error, FileNotFoundError):
        return TRANSIENT_REASONS[1]
    if isinstance(error, Image.UnidentifiedImageError):
        if head[4:8] == b"ftyp" and head[8:12] in _HEIC:
            return "HEIC, which is not read: save it as JPEG"
        if head[:4] in _TIFF:
            return "a damaged TIFF, or one with pixels of a kind that is not read: save it with 8 or 16 bits"
        return "its format is unknown"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS // 1_000_000} million pixels"
    text = " ".join(str(error).split())[:80]
    return f"damaged ({text or type(error).__name__})"
