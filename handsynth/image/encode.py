"""Stage 6, encode: samples -> the members of a shard, and back for those who look at them. Nothing is encoded anywhere else."""

import platform
import re
import struct
from collections.abc import Sequence

import cv2
import isal
import numpy as np
import simplejpeg
from isal import isal_zlib

from handsynth.core.conventions import DEPTH_UNIT_M
from handsynth.core.errors import HandsynthError
from handsynth.core.index import canonical_json
from handsynth.core.sample import FLOW, FLOW_STEPS, FLOW_ZERO, SCENE_FACES, SCENE_VERTICES, Sample, encode_npy
from handsynth.core.shard import Members

_PNG_RUNS = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
PNG_SMOOTH = [*_PNG_RUNS, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
"""For images whose rows resemble the row above. Trying every filter on every row, as OpenCV does by itself, takes more than twice
as long for files that are no smaller."""
PNG_FLAT = [*_PNG_RUNS, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
"""For masks, whose rows are runs of one value."""


def codecs() -> str:
    """The libraries that decide the bytes of an image beside the renderer, with their versions, for the dataset's index.

    simplejpeg's version says which libjpeg-turbo it holds. OpenCV also decodes, resizes and blurs. ISA-L compresses the rendered
    passes: to the same bytes on every x86-64 processor with SSE4.2, to others on ARM.
    """
    beneath = dict(re.findall(r"^ *(PNG|ZLib): .*\(ver ([^)]*)\)", cv2.getBuildInformation(), re.MULTILINE))
    names = {"PNG": "libpng", "ZLib": "zlib"}
    inside = ", ".join(f"{names[key]} {beneath[key]}" for key in names if key in beneath)
    opencv = f"OpenCV {cv2.__version__}" + (f" with {inside}" if inside else "")
    return f"simplejpeg {simplejpeg.__version__}; {opencv}; isal {isal.__version__} on {platform.machine()}"


def encode_jpeg(image: np.ndarray, quality: int, chroma: str = "420") -> bytes:
    """(H, W, 3) uint8 sRGB -> JPEG bytes; with chroma "420" four pixels share a colour, with "444" each has its own."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", chroma)


def chroma_of(data: bytes, where: str) -> str:
    """Which chroma JPEG bytes have: "420", "444" or another of that kind. Raises HandsynthError naming `where`."""
    try:
        return simplejpeg.decode_jpeg_header(data)[3]
    except ValueError as error:
        raise HandsynthError(f"{where}: the JPEG is damaged: {error}") from None


def decode_jpeg(data: bytes, where: str) -> np.ndarray:
    """JPEG bytes -> (H, W, 3) uint8 sRGB. Raises HandsynthError naming `where`."""
    try:
        return simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        raise HandsynthError(f"{where}: the JPEG is damaged: {error}") from None


def encode_png(image: np.ndarray, settings: list[int] = PNG_SMOOTH) -> bytes:
    """(H, W) or (H, W, 3) RGB, uint8 or uint16 -> PNG bytes, quick rather than small."""
    if image.ndim == 3:
        image = image[..., ::-1]  # OpenCV writes BGR
    return cv2.imencode(".png", np.ascontiguousarray(image), settings)[1].tobytes()


def decode_png(data: bytes, where: str) -> np.ndarray:
    """PNG bytes -> array of the same depth and channels (RGB). Raises HandsynthError naming `where`."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if image is None:
        raise HandsynthError(f"{where}: the PNG is damaged")
    return image[..., ::-1] if image.ndim == 3 else image


_SIGNATURE, _GREY, _COLOUR = b"\x89PNG\r\n\x1a\n", 0, 2
_AS_ABOVE = 2
"""Of PNG's filters: each byte less the one above it."""


def encode_layer(layer: np.ndarray, smooth: bool) -> bytes:
    """(H, W) or (H, W, 3) RGB, uint8 or uint16 -> PNG bytes in a quarter of OpenCV's time; most of them of an image that is empty.

    `smooth`: rows resemble the row above; else they are runs of one value.
    """
    height, width = layer.shape[:2]
    values = np.ascontiguousarray(layer, layer.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    rows = np.empty((height, 1 + values.shape[1]), np.uint8)
    rows[:, 0] = _AS_ABOVE if smooth else 0
    if smooth:
        rows[0, 1:] = values[0]
        np.subtract(values[1:], values[:-1], out=rows[1:, 1:])
    else:
        rows[:, 1:] = values
    header = struct.pack(">IIBBBBB", width, height, 8 * layer.dtype.itemsize, _COLOUR if layer.ndim == 3 else _GREY, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", isal_zlib.compress(rows, 1)), (b"IEND", b""))
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", isal_zlib.crc32(data, isal_zlib.crc32(kind)))
        for kind, data in chunks
    )


def encode_pass(name: str, layer: np.ndarray) -> bytes:
    """A rendered pass -> the PNG that core.sample.PASSES or CLIP_PASSES describes."""
    if name == "depth":
        layer = np.round(layer / np.float32(DEPTH_UNIT_M)).astype(np.uint16)
    if name == FLOW:
        layer = encode_flow(layer)
    if name == "amodal":
        layer = layer.view(np.uint8) * np.uint8(255)
    return encode_layer(layer, name not in ("parts", "amodal"))


def _grey(mask: np.ndarray) -> np.ndarray:
    """A mask as it is stored: 255 for true; numbers of hands as they are."""
    return mask.view(np.uint8) * np.uint8(255) if mask.dtype == bool else mask


FLOW_LIMIT_PX = (FLOW_ZERO - 1) / FLOW_STEPS
"""Movements that are longer along an axis are not stored: they count as unknown."""


def encode_flow(flow: np.ndarray) -> np.ndarray:
    """(H, W, 2) movement to the right and down [px], NaN where unknown -> (H, W, 3) uint16 as CLIP_PASSES has it."""
    known = (np.abs(flow) <= FLOW_LIMIT_PX).all(-1)
    levels = np.rint(np.where(known[..., None], flow, 0) * FLOW_STEPS) + FLOW_ZERO
    return np.where(known[..., None], np.concatenate([levels, np.ones_like(levels[..., :1])], -1), 0).astype(np.uint16)


def decode_flow(layer: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint16 of that pass -> (H, W, 2) float32 movement to the right and down [px], NaN where unknown."""
    flow = (layer[..., :2].astype(np.float32) - FLOW_ZERO) / FLOW_STEPS
    return np.where(layer[..., 2:] > 0, flow, np.float32(np.nan))


def encode_sample(sample: Sample) -> Members:
    """A sample -> its members, in the order in which they stand in the shard."""
    return encode_samples([sample])[0]


def encode_samples(samples: Sequence[Sample]) -> list[Members]:
    """Samples -> their members; one kind after the other, so that each finds its code and tables in the processor's cache."""
    sensors = [sample.labels["recipe"]["sensor"] for sample in samples]
    jpgs = [
        encode_jpeg(sample.image, sensor["jpeg_quality"], sensor.get("chroma", "420"))
        for sample, sensor in zip(samples, sensors, strict=True)
    ]
    masks = [encode_layer(_grey(sample.mask), smooth=False) for sample in samples]
    labels = [canonical_json(sample.labels) for sample in samples]
    vertices = [encode_npy(sample.vertices) for sample in samples]
    return [
        {"jpg": jpg, "mask.png": mask, "json": label, "vertices.npy": points}
        | {f"{name}.png": encode_pass(name, layer) for name, layer in sample.passes.items()}
        | ({SCENE_VERTICES: encode_npy(sample.scene[0]), SCENE_FACES: encode_npy(sample.scene[1])} if sample.scene else {})
        for sample, jpg, mask, label, points in zip(samples, jpgs, masks, labels, vertices, strict=True)
    ]
