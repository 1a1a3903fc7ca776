"""Every image of a training set decoded once and kept as bytes: in memory, or on the device, which then makes the crops itself.

What is kept of an image are its copies, halved as often as crops need (`crop.shrink`; one or two copies, at 64 px a quarter of the
image), mirrored where it shows a left hand. So a crop reads the pixels that it would read from the file: to the bit in memory,
where OpenCV warps as ever, within one level on the device. Labels are made as without a cache, from arrays.
"""

import copy
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from handmesh.data.augment import low_amplitudes, scale_range
from handmesh.data.batches import Batch, Raw, to_device
from handmesh.data.crop import centre_to_centre, halve, place_crop, shrink, warp_halved
from handmesh.data.dataset import HandDataset, Prepared, quiet_worker
from handmesh.data.sampler import Draw
from handmesh.data.shards import Record
from handsynth.core.errors import HandsynthError, UsageError

CACHES = ("device", "memory", "none")
"""Where images may be kept."""

_CHUNK = 128  # samples that are decoded at a time
_RING = 1  # black pixels about each copy, which samples outside of it see


def cached(data: HandDataset, where: str, device: torch.device, workers: int, bar: bool = False) -> HandDataset:
    """The dataset with its images kept "device" (on `device`), in "memory", or not at all ("none": as it is).

    Args:
        data: the samples.
        where: one of CACHES.
        device: of the training.
        workers: processes that decode; 0 decodes in this one.
        bar: shows progress on stderr.

    Raises UsageError when they do not fit, HandsynthError when a sample is damaged (unless the data skip those).
    """
    if where not in CACHES:
        raise UsageError(f"there is no cache {where!r:.40}: use one of {', '.join(CACHES)}")
    return data if where == "none" else CachedHands(data, device if where == "device" else None, workers, bar)


class CachedHands(HandDataset):
    """The samples of `data`, made from arrays that are read once; arguments as of `cached`, `device` None for memory."""

    def __init__(self, data: HandDataset, device: torch.device | None, workers: int, bar: bool = False) -> None:
        super().__init__(data.parts, data.side, data.spec, data.seed, data.skip_bad)
        self.device = device
        self._channels = 3 if device is None else 0  # the device makes its crops itself
        chunks: list[_Chunk] = []
        for chunk in tqdm(_read_chunks(data, workers), "reading images", -(-len(data) // _CHUNK), unit="chunk", disable=not bar):
            if not chunks:
                _check_room(len(chunk.pixels) * 3 * len(data) // len(chunk.replaced), device)
            chunks.append(chunk)
        sizes = [len(chunk.pixels) for chunk in chunks]
        starts = np.cumsum([0, *sizes[:-1]])
        self._first = np.concatenate([chunk.first + start for chunk, start in zip(chunks, starts, strict=True)])  # (N,)
        self._halved = np.concatenate([chunk.halved for chunk in chunks])  # (N, 2) how often the finest and the coarsest copy are
        self._size = np.concatenate([chunk.size for chunk in chunks])  # (N, 2) width and height of the image
        self._replaced = np.concatenate([chunk.replaced for chunk in chunks])
        self._partners = np.concatenate([chunk.amplitudes for chunk in chunks])  # (N, L, 3), L = 0 without mixing
        self._labels = {name: np.concatenate([chunk.labels[name] for chunk in chunks]) for name in chunks[0].labels}
        self._pixels: Tensor | None = torch.empty((sum(sizes), 3), dtype=torch.uint8, device=device)
        for chunk, start in zip(chunks, starts, strict=True):  # one by one: never twice all of them
            self._pixels[start : start + len(chunk.pixels)] = torch.from_numpy(chunk.pixels)
            chunk.pixels = chunk.pixels[:0]

    def __getitem__(self, wanted: Draw | int) -> Batch:
        raw = self.raw([wanted])
        batch = self.finish(to_device(raw, self.device) if self.device else raw)
        return Batch(*(tensor[0].cpu() for tensor in batch))

    def finish(self, raw: Raw) -> Batch:
        """The batch with its images; where `place` says so, from the pixels on the device."""
        if raw.place.shape[1]:
            assert self._pixels is not None, "a loading process has no pixels of the device"
            crops = sample_crops(self._pixels, raw.place, self.side)
            raw = raw._replace(batch=raw.batch._replace(image=crops))
        return super().finish(raw)

    def for_loading(self) -> Self:
        """What a loading process needs: not the device's memory."""
        if self.device is None:
            return self
        light = copy.copy(self)
        light._pixels = None
        return light

    def _read(self, dataset: int, position: int, pixels: bool = False) -> tuple[Record, int]:
        """The sample with an image of its size, but without a pixel, whatever is requested."""
        row = self._row(dataset, position)
        width, height = self._size[row]
        labels = {name: values[row] for name, values in self._labels.items()}
        labels |= {"dataset": str(labels["dataset"]), "side": str(labels["side"]), "index": int(labels["index"])}
        return Record(image=np.empty((height, width, 0), np.uint8), **labels), int(self._replaced[row])

    def _row(self, dataset: int, position: int) -> int:
        return int(self._ends[dataset]) - len(self.parts[dataset]) + position

    def _crop(self, draw: Draw, sample: Prepared, out: np.ndarray) -> np.ndarray:
        row = self._row(draw.dataset, draw.position)
        height, width, _ = sample.record.image.shape
        least, most = self._halved[row].tolist()
        count, A = shrink(sample.placed.A, width, height, least, most)
        at = int(self._first[row]) + sum(_ringed(width >> k, height >> k) for k in range(least, count))
        width, height = width >> count, height >> count
        if self.device is not None:
            return np.array([at, width, height, *np.linalg.inv(centre_to_centre(A))[:2].ravel()])
        assert self._pixels is not None
        kept = self._pixels[at : at + _ringed(width, height)].numpy().reshape(height + 2 * _RING, width + 2 * _RING, 3)
        warp_halved(kept[_RING:-_RING, _RING:-_RING], A, self.side, out)
        return np.empty(0)

    def _amplitudes(self, dataset: int, share: float, used: bool) -> np.ndarray:
        return self._partners[self._row(dataset, self._partner(dataset, share))]  # used or not, as it costs nothing


def sample_crops(pixels: Tensor, place: Tensor, side: int) -> Tensor:
    """The crops of B samples, bilinear, as OpenCV's `warpAffine` gives them but for the last rounding -> (B, side, side, 3) uint8.

    By indices into all pixels at once: `grid_sample` would want the images of a batch in one tensor, of one size, as floats.

    Args:
        pixels: (M, 3) uint8, copies of images with a black ring, row by row.
        place: (B, 9) float64: where the copy starts, its width and height without the ring, and the (2, 3) affine from centres of
            pixels of the crop to those of the copy, row by row.
        side: of the crops [px].
    """
    start, width, height = place[:, :3].long().T[..., None, None]
    m = place[:, 3:].float().T[..., None, None]  # (6, B, 1, 1)
    along = torch.arange(side, device=pixels.device, dtype=torch.float32)
    row, column = along[:, None], along
    x, y = column * m[0] + (row * m[1] + m[2]), column * m[3] + (row * m[4] + m[5])
    left, top = x.floor(), y.floor()
    right_share, low_share = (x - left).unsqueeze(-1), (y - top).unsqueeze(-1)
    stride = width + 2 * _RING

    def rows(offset: int) -> Tensor:
        return start + ((top.long() + (offset + _RING)).clamp_min(0).minimum(height + _RING)) * stride

    def columns(offset: int) -> Tensor:
        return (left.long() + (offset + _RING)).clamp_min(0).minimum(width + _RING)

    def across(line: Tensor) -> Tensor:
        """Between left and right, at one line of pixels."""
        a, b = (pixels[line + columns(offset)].float() for offset in (0, 1))
        return a + right_share * (b - a)

    upper, lower = across(rows(0)), across(rows(1))
    return (upper + low_share * (lower - upper)).round().byte()


@dataclasses.dataclass(eq=False)
class _Chunk:
    """What is kept of n samples. M pixels."""

    pixels: np.ndarray  # (M, 3) uint8
    first: np.ndarray  # (n,) where each sample's finest copy starts
    halved: np.ndarray  # (n, 2)
    size: np.ndarray  # (n, 2)
    replaced: np.ndarray  # (n,)
    amplitudes: np.ndarray  # (n, L, 3)
    labels: dict[str, np.ndarray]  # fields of `Record` but for the image, (n, ...) each


class _Chunks(Dataset[Any]):
    """Chunks by the positions that they hold; errors of ours as values, as `dataset.Loader` has them."""

    def __init__(self, data: HandDataset) -> None:
        self.data = data

    def __getitem__(self, positions: Sequence[int]) -> "_Chunk | HandsynthError":
        try:
            return _make_chunk(self.data, positions)
        except HandsynthError as error:
            return error


def _read_chunks(data: HandDataset, workers: int) -> Iterator[_Chunk]:
    positions = [range(start, min(start + _CHUNK, len(data))) for start in range(0, len(data), _CHUNK)]
    loader: DataLoader[Any] = DataLoader(
        _Chunks(data),
        batch_size=None,
        sampler=positions,  # type: ignore[arg-type]
        num_workers=min(workers, len(positions)),
        worker_init_fn=quiet_worker,
        collate_fn=_as_it_is,
        generator=torch.Generator(),
    )
    for chunk in loader:
        if isinstance(chunk, HandsynthError):
            raise chunk
        yield chunk


def _as_it_is(chunk: Any) -> Any:
    return chunk


def _make_chunk(data: HandDataset, positions: Sequence[int]) -> _Chunk:
    spec, side = data.spec, data.side
    copies: list[np.ndarray] = []
    first, halved, size, replaced, amplitudes, records, at = [], [], [], [], [], [], 0
    for position in positions:
        record, passed_over = data.read(position)
        height, width = record.image.shape[:2]
        counts = [
            shrink(place_crop(width, height, record.K, record.side, record.bbox, side, scale).A, width, height)[0]
            for scale in scale_range(spec)
        ]
        first.append(at)
        image = np.ascontiguousarray(record.image[:, ::-1]) if record.side == "left" else record.image
        for count in range(counts[1] + 1):
            if count >= counts[0]:
                copies.append(np.pad(image, ((_RING, _RING), (_RING, _RING), (0, 0))).reshape(-1, 3))
                at += len(copies[-1])
            image = halve(image) if count < counts[1] else image
        if spec.amplitude:
            amplitudes.append(low_amplitudes(record.image, side, spec.amplitude_band))
        halved.append(counts)
        size.append((width, height))
        replaced.append(passed_over)
        records.append(record)
    names = [field.name for field in dataclasses.fields(Record) if field.name != "image"]
    return _Chunk(
        pixels=np.concatenate(copies),
        first=np.array(first),
        halved=np.array(halved),
        size=np.array(size),
        replaced=np.array(replaced),
        amplitudes=np.stack(amplitudes) if amplitudes else np.empty((len(first), 0, 3), np.float32),
        labels={name: np.array([getattr(record, name) for record in records]) for name in names} | {"vertices": _vertices(records)},
    )


def _vertices(records: Sequence[Record]) -> np.ndarray:
    """(n, V, 3), as float32 where that loses nothing: shards hold such, and they are most of the labels."""
    values = np.array([record.vertices for record in records])
    small = values.astype(np.float32)
    return small if np.array_equal(small, values) else values


def _ringed(width: int, height: int) -> int:
    """Pixels of a copy with its ring."""
    return (width + 2 * _RING) * (height + 2 * _RING)


def _check_room(wanted: int, device: torch.device | None) -> None:
    """Raises UsageError when so many bytes do not fit."""
    gpu = device is not None and device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if gpu else _free_memory()
    if wanted > 0.9 * free:
        instead = "--cache memory or --cache none" if gpu else "--cache none"
        raise UsageError(
            f"the images take {wanted / 1e9:.1f} GB, and {device if gpu else 'memory'} has {free / 1e9:.1f} GB free: {instead}"
        )


def _free_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its container."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        limit, used = ((Path("/sys/fs/cgroup") / name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
        free = min(free, int(limit) - int(used))
    except (OSError, ValueError, StopIteration):  # another system, no container, or one without a limit ("max")
        pass
    return free
