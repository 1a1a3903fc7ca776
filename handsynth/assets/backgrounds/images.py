"""Reading one image file of unknown origin as plain 8-bit sRGB, or saying why it cannot serve."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

from handsynth.core.errors import HandsynthError

MIN_SIDE = 32
"""Least shorter side of a usable image [px]: less is a smear once it fills a background."""
MAX_PIXELS = 100_000_000
"""More pixels than this are taken for a decompression bomb; no camera in common use makes them."""
MAX_BYTES = 256 << 20
"""A longer file is not read into memory."""
ENOUGH_SIDE = 1024
"""JPEGs at least twice as large on the shorter side are decoded at a reduced scale that keeps this many pixels."""
TAIL = 4096
"""An intact JPEG or PNG says within so many last bytes that it has ended; otherwise it is decoded to find out."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".gif"})
# Named, because Pillow would otherwise try every format it knows, one of which starts an external program (EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
_SIXTEEN_BIT = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}) | _SIXTEEN_BIT

TRANSIENT_ERRORS = ("may not be read", "is gone")
"""Reasons that say nothing about the file's content, and so are not remembered."""


class BackgroundError(HandsynthError):
    """An image cannot be read; another can take its place."""


def decode_image(data: bytes) -> np.ndarray:
    """The file's first image as uint8 (H, W, 3) sRGB, turned as its EXIF tag says.

    Grey, palette, CMYK and 16-bit pixels are converted, transparent ones laid over white; colour profiles are not applied.
    The size of the result depends on the file alone (see ENOUGH_SIDE). Raises BackgroundError with the reason.
    """
    image = _decode_plain_jpeg(data) if data[:2] == b"\xff\xd8" else None
    if image is None:
        image = _decode_with_pillow(data)
    if min(image.shape[:2]) < MIN_SIDE:
        raise BackgroundError(_too_small(image.shape[1], image.shape[0]))
    return image


def check_image(path: Path) -> str | None:
    """Why the file cannot serve as a background, from its header and its end alone where these suffice; None if it can."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            return f"{size >> 20} MB, more than {MAX_BYTES >> 20}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bomb warning; _refusal is stricter
            with Image.open(path, formats=_FORMATS) as image:
                kind, reason = image.format, _refusal(image)
        if reason is None and not _has_end(path, size, kind):
            decode_image(path.read_bytes())
        return reason
    except BackgroundError as error:
        return str(error)
    except Exception as error:  # a hostile file can make the decoders raise almost anything
        return _reason(error)


def _has_end(path: Path, size: int, kind: str | None) -> bool:
    """False if the end marker that the format asks for is not where it should be: truncated, or followed by something long."""
    marker = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}.get(kind or "")
    if marker is None:
        return True
    with open(path, "rb") as file:
        file.seek(max(0, size - TAIL))
        return marker in file.read()


def _decode_plain_jpeg(data: bytes) -> np.ndarray | None:
    """The common JPEG, quickly and strictly; None where Pillow has to look: CMYK, or a header that simplejpeg does not know."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if colorspace not in ("YCbCr", "RGB", "Gray"):
        return None
    if height * width > MAX_PIXELS:
        raise BackgroundError(_too_large(width, height))
    least = ENOUGH_SIDE if min(height, width) >= 2 * ENOUGH_SIDE else 0
    try:
        image = simplejpeg.decode_jpeg(data, "RGB", fastdct=True, fastupsample=True, min_height=least, min_width=least)
    except ValueError as error:  # Pillow would fill what is missing with grey
        raise BackgroundError(_reason(error)) from error
    return np.ascontiguousarray(_UPRIGHT[_orientation(data)](image))


# What EXIF's orientation tag asks for, by its value.
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
    if data.find(b"Exif\0\0", 0, 1 << 16) < 0:
        return 1
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            value = image.getexif().get(0x0112, 1)
    except Exception:  # a damaged EXIF block does not make the pixels worse
        return 1
    return value if value in _UPRIGHT else 1


def _decode_with_pillow(data: bytes) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                reason = _refusal(image)
                if reason is not None:
                    raise BackgroundError(reason)
                return _to_rgb(image)
    except BackgroundError:
        raise
    except Exception as error:  # a hostile file can make the decoders raise almost anything
        raise BackgroundError(_reason(error)) from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    turned = _turn_upright(image)
    if turned.mode in _SIXTEEN_BIT:
        deep = np.clip(np.asarray(turned).astype(np.int64), 0, 65535)
        grey = ((deep * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if turned.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in turned.info:
        turned = turned.convert("LA" if turned.mode == "La" else "RGBA").convert("RGBA")
        paper = Image.new("RGBA", turned.size, "white")
        turned = Image.alpha_composite(paper, turned)
    return np.array(turned.convert("RGB"))


def _turn_upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block does not make the pixels worse
        return image


def _refusal(image: Image.Image) -> str | None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        return _too_large(width, height)
    if min(width, height) < MIN_SIDE:
        return _too_small(width, height)
    if image.mode not in _MODES:
        return f"pixels of kind {image.mode}, which cannot be turned into RGB"
    return None


def _too_small(width: int, height: int) -> str:
    return f"{width} x {height}, needs {MIN_SIDE} px"


def _too_large(width: int, height: int) -> str:
    return f"{width} x {height}, more than {MAX_PIXELS // 1_000_000} million pixels"


def _reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return TRANSIENT_ERRORS[0]
    if isinstance(error, FileNotFoundError):
        return TRANSIENT_ERRORS[1]
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS // 1_000_000} million pixels"
    text = " ".join(str(error).split())[:80]
    return f"damaged ({text or type(error).__name__})"
