"""Reads one environment map: an equirectangular panorama of linear light, Radiance (.hdr) or OpenEXR (.exr).

* The content decides, not the name. Sizes are looked up in the header, before anything is decoded: twice as wide as high,
  MIN_HEIGHT rows or more, at most MAX_FRAME_PIXELS pixels.
* Radiance: RGBE with rows from the top and columns from the left, by OpenCV. OpenEXR: channels R, G, B (or Y alone), halves or
  floats, in one part, by OpenEXR (BSD-3-Clause; OpenCV's wheels are built without it), which the extra `exr` installs.
* NaN, infinity, a black map and negative light are refused, but for what resampling leaves (NEGATIVE_SLACK), which is cut off.
"""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np

from handsynth.core.images import MAX_BYTES, MAX_FRAME_PIXELS, TRANSIENT_REASONS, ImageError

SUFFIXES = frozenset({".hdr", ".exr"})
"""What is taken for an environment map in a folder."""
MIN_HEIGHT = 16
"""Least height of a map [px]: harmonics of order 2 need no more."""
NEGATIVE_SLACK = 0.01
"""Light may be so much below 0, as a share of the map's mean."""
NEEDS_OPENEXR = "needs the package OpenEXR, which is not installed: pip install 'handsynth[exr]', or save it as .hdr"
"""The reason that is no fault of the file."""

_HEADER = 1 << 16
_EXR_MAGIC = b"v/1\x01"
_RADIANCE = (b"#?RADIANCE", b"#?RGBE")
_EIGHT_BITS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")
_SMALLEST_RLE = 20
"""No RGBE file has more pixels to a byte: runs are 127 values long at most."""


def read_map(path: Path) -> np.ndarray:
    """(H, 2 H, 3) float32 linear light of a file, finite and not negative. Raises ImageError with the reason."""
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            head = file.read(_HEADER)
    except OSError as error:
        raise ImageError(TRANSIENT_REASONS[not isinstance(error, PermissionError)]) from None
    if size > MAX_BYTES:
        raise ImageError(f"{size >> 20} MB, more than {MAX_BYTES >> 20}")
    if head.startswith(_EXR_MAGIC):
        light = _read_exr(path)
    elif head.startswith(_RADIANCE):
        light = _read_radiance(path, head, size)
    elif head.startswith(_EIGHT_BITS):
        raise ImageError("8 bits a channel, which cut off lamps and the sun: give linear light as .hdr or .exr")
    else:
        raise ImageError("neither Radiance (.hdr) nor OpenEXR (.exr)")
    return _checked(light)


def _check_size(width: int, height: int) -> None:
    """Raises ImageError unless a header's size is that of a panorama."""
    if height < MIN_HEIGHT or width < MIN_HEIGHT:
        raise ImageError(f"{width} x {height}, needs {MIN_HEIGHT} px")
    if width != 2 * height:
        raise ImageError(f"{width} x {height}, expected an equirectangular panorama, twice as wide as high")
    if width * height > MAX_FRAME_PIXELS:
        raise ImageError(f"{width} x {height}, more than {MAX_FRAME_PIXELS // 1_000_000} million pixels: save it smaller")


def _read_radiance(path: Path, head: bytes, size: int) -> np.ndarray:
    """(H, W, 3) RGB of a Radiance file."""
    found = re.search(rb"\n\n([^\n]{1,100})\n", head)
    header, line = (head[: found.start()], found[1]) if found else (head, b"")
    axes = re.fullmatch(rb"-Y (\d{1,9}) \+X (\d{1,9})", line)
    if axes is None:
        text = line.decode("ascii", "replace")
        raise ImageError(f"rows and columns are given as {text!r:.40}, expected -Y height +X width")
    if form := re.search(rb"\nFORMAT=([^\n]*)", header):
        if form[1].strip() != b"32-bit_rle_rgbe":
            raise ImageError(f"pixels are {form[1].decode('ascii', 'replace')!r:.40}, expected 32-bit_rle_rgbe")
    height, width = int(axes[1]), int(axes[2])
    _check_size(width, height)
    if size * _SMALLEST_RLE < width * height:
        raise ImageError("truncated")
    try:
        with _silent():
            image = cv2.imread(str(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    except Exception:  # a damaged file makes OpenCV raise almost anything
        image = None
    if image is None or image.dtype != np.float32 or image.shape != (height, width, 3):
        raise ImageError("damaged or truncated")
    return image[..., ::-1]


def _read_exr(path: Path) -> np.ndarray:
    """(H, W, 3) RGB of an OpenEXR file."""
    try:
        import OpenEXR
    except ImportError:
        raise ImageError(NEEDS_OPENEXR) from None
    try:
        with _silent(), OpenEXR.File(str(path), header_only=True) as file:
            header, parts = file.header(), len(file.parts)
            (left, top), (right, bottom) = ([int(v) for v in corner] for corner in header["dataWindow"])
            shown = [[int(v) for v in corner] for corner in header["displayWindow"]]
            channels = {channel.name: channel for channel in header["channels"]}
        whole = shown == [[left, top], [right, bottom]]
        sampled = all(channel.xSampling == channel.ySampling == 1 for channel in channels.values())
        kind = header.get("type", OpenEXR.scanlineimage)
    except Exception as error:  # a damaged header makes OpenEXR raise almost anything
        raise ImageError(_reason(error)) from None
    _check_size(right - left + 1, bottom - top + 1)
    names = set(channels)
    if parts != 1 or not ({"R", "G", "B"} <= names <= {"R", "G", "B", "A"} or names in ({"Y"}, {"Y", "A"})):
        listed = ", ".join(sorted(names))
        raise ImageError(f"{parts} part{'s' * (parts != 1)} with channels {listed:.60}, expected one with R, G, B")
    if not whole or not sampled or kind not in (OpenEXR.scanlineimage, OpenEXR.tiledimage):
        raise ImageError("a crop, subsampled or deep, expected a plain panorama")
    try:
        with _silent(), OpenEXR.File(str(path), separate_channels=True) as file:
            planes = [file.channels()[name].pixels for name in ("RGB" if "R" in names else "YYY")] if file.parts else []
    except Exception as error:
        raise ImageError(_reason(error)) from None
    if not planes:  # OpenEXR lets parts go whose pixels it cannot read
        raise ImageError("damaged or truncated")
    if any(plane.dtype not in (np.float16, np.float32) for plane in planes):
        raise ImageError(f"pixels of type {planes[0].dtype}, expected halves or floats")
    return np.stack(planes, -1).astype(np.float32, copy=False)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Hides what decoders print of damaged files: their C code on file descriptor 2, OpenEXR's binding on stdout."""
    with contextlib.redirect_stdout(io.StringIO()), open(os.devnull, "wb") as nothing:
        kept = os.dup(2)
        try:
            os.dup2(nothing.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _reason(error: Exception) -> str:
    """Why OpenEXR refused a file, in a few words."""
    text = re.sub(r"['\"]?/\S*", "", " ".join(str(error).split()))
    return f"damaged ({text or type(error).__name__:.80})"


def _checked(light: np.ndarray) -> np.ndarray:
    """Light that can be summed; a strip of rows at a time."""
    lowest, total, strips = 0.0, 0.0, range(0, len(light), 64)
    for row in strips:
        strip = light[row : row + 64]
        if not np.isfinite(strip).all():
            kind = "NaN" if np.isnan(strip).any() else "infinite light"
            where = row + int(np.argmin(np.isfinite(strip).all((1, 2))))
            raise ImageError(f"it holds {kind} (row {where}): repair it, or leave it out")
        lowest, total = min(lowest, float(strip.min())), total + float(strip.sum(dtype=np.float64))
    mean = total / light.size
    if lowest < -NEGATIVE_SLACK * max(mean, 0.0):
        raise ImageError(f"it holds negative light ({lowest:.3g}): repair it, or leave it out")
    if mean < 1e-12:
        raise ImageError("it is black: there is no light in it")
    return np.maximum(light, 0) if lowest < 0 else light


def openexr_version() -> str | None:
    """The version of the package that reads .exr, None where it is not installed."""
    try:
        return metadata.version("OpenEXR")
    except metadata.PackageNotFoundError:
        return None
