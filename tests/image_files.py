"""Image files made by code, for tests of whatever reads foreign images."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def smooth(height: int = 48, width: int = 64, phase: float = 0.0) -> np.ndarray:
    """An image that survives JPEG: uint8 (height, width, 3)."""
    y, x = np.mgrid[0:height, 0:width] / 64
    return np.stack([127 + 100 * np.sin(x + phase), 127 + 100 * np.cos(y), 90 + 60 * np.sin(x + y)], axis=2).astype(np.uint8)


def jpeg(image: np.ndarray, **options) -> bytes:
    return saved(Image.fromarray(image), "JPEG", quality=95, **options)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def close(a: np.ndarray, b: np.ndarray, tolerance: float = 3.0) -> bool:
    """Equal but for what a JPEG of quality 95 loses, in the mean."""
    return a.shape == b.shape and float(np.abs(a.astype(float) - b).mean()) < tolerance


def png_that_claims(width: int, height: int) -> bytes:
    """A small PNG file whose header promises width x height pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def tiff(raw: bytes, width: int, height: int, bits: int, *, sample_format: int = 1, zero_is_white: bool = False, channels: int = 1):
    """An uncompressed TIFF of any kind of pixel: `sample_format` 1 whole, 2 with a sign, 3 float."""
    photometric = 2 if channels == 3 else int(not zero_is_white)
    tags = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, photometric), (273, 4, 1, 0),
        (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(raw)), (339, 3, 1, sample_format),
    ]  # fmt: skip
    after = 8 + 2 + 12 * len(tags) + 4
    extra = b""
    if channels > 1:  # more than two values lie behind the table
        for tag, value in ((258, bits), (339, sample_format)):
            row = next(k for k, entry in enumerate(tags) if entry[0] == tag)
            tags[row] = (tag, 3, channels, after + len(extra))
            extra += struct.pack(f"<{channels}H", *[value] * channels)
    tags[5] = (273, 4, 1, after + len(extra))
    table = b"".join(struct.pack("<HHII", *entry) for entry in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + table + struct.pack("<I", 0) + extra + raw


def animation(kind: str, levels: list[int], duration_ms: list[int] | int = 100, side: int = 40, **options) -> bytes:
    """Grey images of these levels, shown for so long each."""
    first, *rest = [Image.new("RGB", (side, side), (level,) * 3) for level in levels]
    return saved(first, kind, save_all=True, append_images=rest, duration=duration_ms, **options)
