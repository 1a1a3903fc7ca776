"""Tensors for training: a mix of datasets, cropped, augmented and in lixels, one by one or as batches loaded by other processes."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from handmesh.data.augment import AugmentSpec, Draws, augment, draw_augmentation, low_amplitudes, low_frequencies, with_moved_box
from handmesh.data.colours import Colours, finish_images, to_colours
from handmesh.data.crop import LabelledCrop, make_crop
from handmesh.data.sampler import Draw
from handmesh.data.shards import Record, ShardDataset
from handmesh.losses import Target
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.rng import stream


class Batch(NamedTuple):
    """Samples with a leading batch axis B; a single sample has none. Side S, V vertices, float32."""

    image: Tensor  # (B, 3, S, S) sRGB in [0, 1]
    keypoints: Tensor  # (B, 21, 3) lixels
    vertices: Tensor  # (B, V, 3) lixels
    keypoints_m: Tensor  # (B, 21, 3) camera frame of the crop [m]
    vertices_m: Tensor  # (B, V, 3) camera frame of the crop [m]
    root_depth: Tensor  # (B,) depth of the wrist [m]
    K: Tensor  # (B, 3, 3) of the crop [px]
    R_crop_cam: Tensor  # (B, 3, 3) from the camera frame of the sample to that of the crop; mirrors left hands
    dataset: Tensor  # (B,) number of the dataset in the mix
    sample: Tensor  # (B,) number of the sample in its spec (its JSON's index)
    rotations: Tensor  # (B, 16, 3, 3) as of `LabelledCrop`
    beta: Tensor  # (B, S)
    replaced: Tensor  # (B,) damaged samples that were passed over to find this one

    @property
    def target(self) -> Target:
        """What the losses ask for; points outside the heatmaps are masked there, by `losses.inside`."""
        return Target(self.keypoints, self.vertices)


class Raw(NamedTuple):
    """A batch on its way: labels done, pixels still to be finished on the device (`HandDataset.finish`)."""

    batch: Batch  # but for the image: (B, S, S, 3) uint8, or (B, S, S, 0) where the device has the pixels
    colours: Colours
    place: Tensor  # (B, 9) float64: where the device finds the pixels (`cache.CachedHands`); (B, 0) where they are in the batch


Tree = TypeVar("Tree", bound=tuple[Any, ...])


def to_device(tree: Tree, device: torch.device) -> Tree:
    """A NamedTuple of tensors, or of such tuples, on the device, without waiting for it."""
    made: Any = type(tree)
    return made(*(to_device(v, device) if isinstance(v, tuple) else v.to(device, non_blocking=True) for v in tree))  # type: ignore[no-any-return]


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

    def raw(self, wanted: Draw | int) -> Raw:
        """The sample but for what the device does with its pixels."""
        draw = wanted if isinstance(wanted, Draw) else self._locate(wanted)
        record, replaced = self._read(draw.dataset, draw.position)
        drawn = draw_augmentation(self.spec, self.side, self._draws(draw, record.index))
        crop, place = self._crop(draw, with_moved_box(record, drawn.edges), drawn.scale, drawn.angle)
        amplitudes = self._amplitudes(draw.dataset, drawn.partner, drawn.share > 0) if self.spec.amplitude else None
        batch = to_tensors(crop, crop.image, draw.dataset, record.index, replaced)
        return Raw(batch, to_colours(self.spec, drawn, amplitudes), torch.from_numpy(place))

    def finish(self, raw: Raw) -> Batch:
        """The batch with its images, on the device that `raw` is on."""
        return raw.batch._replace(image=finish_images(raw.batch.image, raw.colours, self.spec.amplitude_band))

    def _draws(self, draw: Draw, index: int) -> Draws:
        name = f"{self.parts[draw.dataset].identity} turn {draw.turn} "
        return lambda purpose: stream(self.seed, index, name + purpose)

    def _crop(self, draw: Draw, record: Record, scale: float, angle: float) -> tuple[LabelledCrop, np.ndarray]:
        """The crop, and its row of `Raw.place`."""
        return make_crop(record, self.side, scale, angle), np.empty(0)

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

    def _read(self, dataset: int, position: int) -> tuple[Record, int]:
        """The sample, or the next good one, and how many were passed over."""
        part = self.parts[dataset]
        for skipped in range(len(part)):
            try:
                return part.read((position + skipped) % len(part)), skipped
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
            _SamplesOrError(data.for_loading()),
            batch_sampler=self._order,  # type: ignore[arg-type]
            num_workers=workers,
            worker_init_fn=quiet_worker,
            collate_fn=_collate,
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


class _SamplesOrError(Dataset[Any]):
    """The samples of a batch, or the error that one of them gave.

    An exception that leaves a loading process comes out of the DataLoader as its whole traceback: ours are handed over as values.
    """

    def __init__(self, data: HandDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, wanted: Sequence[Draw | int]) -> list[Raw] | HandsynthError:
        try:
            return [self.data.raw(one) for one in wanted]
        except HandsynthError as error:
            return error


def _collate(samples: list[Raw] | HandsynthError) -> Any:
    return samples if isinstance(samples, HandsynthError) else default_collate(samples)


def quiet_worker(_: int) -> None:
    """Start of a loading process: one thread each."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _hand(part: ShardDataset) -> tuple[object, ...]:
    return part.num_vertices, part.index["assets"].get("hand"), part.index["fingertips"]


def to_tensors(crop: LabelledCrop, image: np.ndarray, dataset: int, index: int, replaced: int) -> Batch:
    """A single sample with the numbers that `Batch` keeps of it.

    A float image, as of `augment`, gets its channels first; a uint8 one stays as it is.
    """

    def tensor(array: np.ndarray | float) -> Tensor:
        return torch.from_numpy(np.asarray(array, np.float32, order="C"))

    points, keypoints = np.concatenate([crop.keypoints, crop.vertices]), len(crop.keypoints)
    lixels = crop.lixels(points)  # of both at once: small arrays cost by their number
    return Batch(
        image=torch.from_numpy(image) if image.dtype == np.uint8 else tensor(image.transpose(2, 0, 1)),
        keypoints=tensor(lixels[:keypoints]),
        vertices=tensor(lixels[keypoints:]),
        keypoints_m=tensor(crop.keypoints),
        vertices_m=tensor(crop.vertices),
        root_depth=tensor(crop.root_depth),
        K=tensor(crop.K),
        R_crop_cam=tensor(crop.R_crop_cam),
        rotations=tensor(crop.rotations),
        beta=tensor(crop.beta),
        dataset=torch.tensor(dataset),
        sample=torch.tensor(index),
        replaced=torch.tensor(replaced),
    )
