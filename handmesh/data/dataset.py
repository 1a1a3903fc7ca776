"""Tensors for training: a mix of datasets, cropped, augmented and in lixels, one by one or as batches loaded by other processes."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from handmesh.data.augment import (
    AugmentSpec,
    Drawn,
    Draws,
    augment,
    draw_augmentation,
    low_amplitudes,
    low_frequencies,
    with_moved_box,
)
from handmesh.data.batches import Batch, BatchMaker, Raw, to_device, to_tensors
from handmesh.data.colours import finish_images
from handmesh.data.crop import Placed, crop_pixels, place_record
from handmesh.data.sampler import Draw
from handmesh.data.shards import Record, ShardDataset
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.rng import stream


class Prepared(NamedTuple):
    """A sample of a batch, all decided about it, before its pixels are touched."""

    record: Record  # without an image
    replaced: int  # damaged samples that were passed over to find it
    drawn: Drawn
    placed: Placed


class HandDataset(Dataset[Batch]):
    """A mix of datasets of one hand. Ask with a `Draw` (training), or with a position over all of them in order (validation).

    What a draw gives depends on seed and draw alone. `data[draw]` is the whole sample, made here; batches are made of `raw`
    samples and finished on the device: the same labels, and the same image within rounding (to the bit where no amplitudes are
    mixed).

    Args:
        parts: the datasets, in the order of the mix.
        side: of the crops [px].
        spec: augmentation.
        seed: of the run.
        skip_bad: a damaged sample gives way to the next good one of its dataset, and is named on stderr and counted.

    Raises UsageError when the datasets show different hands.
    """

    _channels = 3  # of the crops that `_crop` writes

    def __init__(self, parts: Sequence[ShardDataset], side: int, spec: AugmentSpec, seed: int = 0, skip_bad: bool = False) -> None:
        if not parts:
            raise UsageError("no dataset given: --data FOLDER")
        for part in parts[1:]:
            if _hand(part) != _hand(parts[0]):
                raise UsageError(f"{part.source} and {parts[0].source} show different hands or fingertips, and cannot be mixed")
        self.parts, self.side, self.spec, self.seed, self.skip_bad = list(parts), side, spec, seed, skip_bad
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def sizes(self) -> list[int]:
        """Number of samples of each dataset."""
        return [len(part) for part in self.parts]

    def __getitem__(self, wanted: Draw | int) -> Batch:
        draw = wanted if isinstance(wanted, Draw) else self._locate(wanted)
        record, replaced = self._read(draw.dataset, draw.position)

        def other(share: float) -> np.ndarray:
            return self._read(draw.dataset, self._partner(draw.dataset, share))[0].image

        crop, image = augment(record, self.side, self.spec, self._draws(draw, record.index), other)
        return to_tensors(crop, image, draw.dataset, record.index, replaced)

    def raw(self, wanted: Sequence[Draw | int]) -> Raw:
        """The samples of a batch but for what the device does with their pixels."""
        maker = BatchMaker(len(wanted), self.side, self.spec, self._channels)
        draws = [one if isinstance(one, Draw) else self._locate(one) for one in wanted]
        for draw, sample in zip(draws, self._prepare(draws), strict=True):
            try:
                place = self._crop(draw, sample, maker.image)
            except HandsynthError:
                if not self.skip_bad:
                    raise
                (sample,) = self._prepare([draw], pixels=True)  # reads images too, and so finds the next good one
                place = self._crop(draw, sample, maker.image)
            record, replaced, drawn, placed = sample
            amplitudes = self._amplitudes(draw.dataset, drawn.partner, drawn.share > 0) if self.spec.amplitude else None
            maker.add(record, placed, drawn, draw.dataset, replaced, amplitudes, place)
        return maker.raw()

    def _prepare(self, draws: Sequence[Draw], pixels: bool = False) -> list[Prepared]:
        """The samples before any of their pixels, step by step.

        What a step takes is in the processor's caches from its second sample on; an image or another step drives it from there,
        and the same work takes twice as long.
        """
        read = [self._read(draw.dataset, draw.position, pixels) for draw in draws]
        drawn = [
            draw_augmentation(self.spec, self.side, self._draws(draw, record.index))
            for draw, (record, _) in zip(draws, read, strict=True)
        ]
        placed = [
            place_record(with_moved_box(record, one.edges), self.side, one.scale, one.angle)
            for (record, _), one in zip(read, drawn, strict=True)
        ]
        return [Prepared(*found, one, place) for found, one, place in zip(read, drawn, placed, strict=True)]

    def finish(self, raw: Raw) -> Batch:
        """The batch with its images, on the device that `raw` is on."""
        return raw.batch._replace(image=finish_images(raw.batch.image, raw.colours, self.spec.amplitude_band))

    def _draws(self, draw: Draw, index: int) -> Draws:
        name = f"{self.parts[draw.dataset].identity} turn {draw.turn} "
        return lambda purpose: stream(self.seed, index, name + purpose)

    def _crop(self, draw: Draw, sample: Prepared, out: np.ndarray) -> np.ndarray:
        """Writes the pixels of the crop -> its row of `Raw.place`. Raises HandsynthError where they are damaged."""
        part, record = self.parts[draw.dataset], sample.record
        image = part.image((draw.position + sample.replaced) % len(part), len(record.image), channels=4)
        crop_pixels(image, record.side, sample.placed, out)
        return np.empty(0)

    def _partner(self, dataset: int, share: float) -> int:
        """Position of the partner that a number in [0, 1) stands for."""
        return int(share * len(self.parts[dataset]))

    def _amplitudes(self, dataset: int, share: float, used: bool) -> np.ndarray:
        """The partner's, zeros when they are not used."""
        if not used:
            return np.zeros((np.count_nonzero(low_frequencies(self.side, self.spec.amplitude_band)), 3), np.float32)
        partner = self._read(dataset, self._partner(dataset, share))[0]
        return low_amplitudes(partner.image, self.side, self.spec.amplitude_band)

    def record(self, position: int) -> Record:
        """The sample at a position over all datasets as it lies in its shard."""
        return self.read(position)[0]

    def read(self, position: int) -> tuple[Record, int]:
        """The same, or the next good sample of its dataset, and how many were passed over."""
        draw = self._locate(position)
        return self._read(draw.dataset, draw.position)

    def for_loading(self) -> Self:
        """What a loading process needs of it."""
        return self

    def _locate(self, position: int) -> Draw:
        if not 0 <= position < len(self):
            raise IndexError(position)
        part = int(np.searchsorted(self._ends, position, "right"))
        return Draw(part, position - int(self._ends[part]) + len(self.parts[part]), 0)

    def _read(self, dataset: int, position: int, pixels: bool = True) -> tuple[Record, int]:
        """The sample, or the next good one, and how many were passed over; `pixels` as of `ShardDataset.read`."""
        part = self.parts[dataset]
        for skipped in range(len(part)):
            try:
                return part.read((position + skipped) % len(part), pixels), skipped
            except HandsynthError as error:
                if not self.skip_bad:
                    raise
                print(f"skipped: {error}", file=sys.stderr)
        raise HandsynthError(f"{part.source} holds no sample that can be read")


Batches = Iterable[Sequence[Draw | int]]
"""Of each batch, what to request of a `HandDataset`."""


class Loader:
    """Batches of a dataset, loaded by processes that stay for as long as this does, or by this process.

    Args:
        data: the samples.
        workers: loading processes; 0 loads in this one.
        pin: whether to keep batches where a GPU copies from.
    """

    def __init__(self, data: HandDataset, workers: int, pin: bool = False) -> None:
        self._order = _Order()
        # A generator of its own: the loader draws from it, and training must not depend on how often it was started.
        self._loader: DataLoader[Any] = DataLoader(
            _BatchesOrError(data.for_loading()),
            batch_sampler=self._order,  # type: ignore[arg-type]
            num_workers=workers,
            worker_init_fn=quiet_worker,
            collate_fn=_as_it_is,
            pin_memory=pin,
            persistent_workers=workers > 0,
            generator=torch.Generator(),
        )

    def __call__(self, batches: Batches) -> Iterator[Raw]:
        """The batches in order.

        Raises what the dataset raises, whoever loads: one sentence, also from another process; HandsynthError when such a process
        dies.
        """
        self._order.batches = batches
        try:
            for loaded in self._loader:
                if isinstance(loaded, HandsynthError):
                    raise loaded
                yield loaded
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            reason = " ".join(str(error).split())
            raise HandsynthError(
                f"a loading process died ({reason:.120}): it may have run out of memory; take fewer --workers or a smaller --batch"
            ) from None


def load_batches(
    data: HandDataset,
    batches: Batches,
    workers: int,
    device: torch.device = torch.device("cpu"),
) -> Iterator[Batch]:
    """The batches in order, finished: images lie on `device`, the rest on the CPU. Raises what `Loader` raises.

    Args:
        data: the samples.
        batches: of each batch, what to request of `data`.
        workers: loading processes; 0 loads in this one.
        device: where images are wanted.
    """
    for raw in Loader(data, workers, device.type == "cuda")(batches):
        image, place = (t.to(device, non_blocking=True) for t in (raw.batch.image, raw.place))
        yield data.finish(Raw(raw.batch._replace(image=image), to_device(raw.colours, device), place))


class _Order:
    """The batches of the epoch under way, as a DataLoader that outlives epochs takes them."""

    batches: Batches = ()

    def __iter__(self) -> Iterator[Sequence[Draw | int]]:
        return iter(self.batches)


class _BatchesOrError(Dataset[Any]):
    """The batch of the samples requested, or the error that one of these gave.

    An exception that leaves a loading process comes out of the DataLoader as its whole traceback: ours are handed over as values.
    """

    def __init__(self, data: HandDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, wanted: Sequence[Draw | int]) -> Raw | HandsynthError:
        try:
            return self.data.raw(wanted)
        except HandsynthError as error:
            return error


def _as_it_is(batch: Any) -> Any:
    return batch


def quiet_worker(_: int) -> None:
    """Start of a loading process: one thread each."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _hand(part: ShardDataset) -> tuple[object, ...]:
    return part.num_vertices, part.index["assets"].get("hand"), part.index["fingertips"]
