"""Tensors for training: a mix of datasets, cropped, augmented and in lixels."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from handmesh.data.augment import AugmentSpec, augment
from handmesh.data.crop import LabelledCrop
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
    replaced: Tensor  # (B,) damaged samples that were passed over to find this one

    @property
    def target(self) -> Target:
        """What the losses ask for; points outside the heatmaps are masked there, by `losses.inside`."""
        return Target(self.keypoints, self.vertices)


class HandDataset(Dataset[Batch]):
    """A mix of datasets of one hand. Ask with a `Draw` (training), or with a position over all of them in order (validation).

    What a draw gives depends on seed and draw alone.

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
        part = self.parts[draw.dataset]
        record, replaced = self._read(part, draw.position)
        name = f"{part.identity} turn {draw.turn} "
        crop, image = augment(
            record, self.side, self.spec, lambda purpose: stream(self.seed, record.index, name + purpose), self._other(part)
        )
        return to_tensors(crop, image, draw.dataset, record.index, replaced)

    def record(self, position: int) -> Record:
        """The sample at a position over all datasets as it lies in its shard."""
        draw = self._locate(position)
        return self._read(self.parts[draw.dataset], draw.position)[0]

    def _locate(self, position: int) -> Draw:
        if not 0 <= position < len(self):
            raise IndexError(position)
        part = int(np.searchsorted(self._ends, position, "right"))
        return Draw(part, position - int(self._ends[part]) + len(self.parts[part]), 0)

    def _read(self, part: ShardDataset, position: int) -> tuple[Record, int]:
        """The sample, or the next good one, and how many were passed over."""
        for skipped in range(len(part)):
            try:
                return part.read((position + skipped) % len(part)), skipped
            except HandsynthError as error:
                if not self.skip_bad:
                    raise
                print(f"skipped: {error}", file=sys.stderr)
        raise HandsynthError(f"{part.source} holds no sample that can be read")

    def _other(self, part: ShardDataset) -> Callable[[np.random.Generator], np.ndarray]:
        def other(rng: np.random.Generator) -> np.ndarray:
            return self._read(part, int(rng.integers(len(part))))[0].image

        return other


def load_batches(data: HandDataset, batches: Iterable[Sequence[Draw | int]], workers: int, pin: bool = False) -> Iterator[Batch]:
    """The batches in order, loaded by so many processes, or by this one (0).

    Args:
        data: the samples.
        batches: of each batch, what to request of `data`.
        workers: loading processes.
        pin: whether to keep them where a GPU copies from.

    Raises what `data` raises, whoever loads: one sentence, also from another process; HandsynthError when such a process dies.
    """
    # A generator of its own: the loader draws from it, and training must not depend on how often it was started.
    loader: DataLoader[Any] = DataLoader(
        _SamplesOrError(data),
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=workers,
        worker_init_fn=_quiet_worker,
        collate_fn=_collate,
        pin_memory=pin,
        generator=torch.Generator(),
    )
    try:
        for loaded in loader:
            if isinstance(loaded, HandsynthError):
                raise loaded
            yield Batch(*loaded)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        reason = " ".join(str(error).split())
        raise HandsynthError(
            f"a loading process died ({reason:.120}): it may have run out of memory; take fewer --workers or a smaller --batch"
        ) from None


class _SamplesOrError(Dataset[Any]):
    """The samples of a batch, or the error that one of them gave.

    An exception that leaves a loading process comes out of the DataLoader as its whole traceback: ours are handed over as values.
    """

    def __init__(self, data: HandDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, wanted: Sequence[Draw | int]) -> list[Batch] | HandsynthError:
        try:
            return [self.data[one] for one in wanted]
        except HandsynthError as error:
            return error


def _collate(samples: list[Batch] | HandsynthError) -> Any:
    return samples if isinstance(samples, HandsynthError) else default_collate(samples)


def _quiet_worker(_: int) -> None:
    """Start of a loading process: one thread each."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _hand(part: ShardDataset) -> tuple[object, ...]:
    return part.num_vertices, part.index["assets"].get("hand"), part.index["fingertips"]


def to_tensors(crop: LabelledCrop, image: np.ndarray, dataset: int, index: int, replaced: int) -> Batch:
    """A single sample of what `augment` gave, with the numbers that `Batch` keeps of it."""

    def tensor(array: np.ndarray | float) -> Tensor:
        return torch.from_numpy(np.asarray(array, np.float32, order="C"))

    points, keypoints = np.concatenate([crop.keypoints, crop.vertices]), len(crop.keypoints)
    lixels = crop.lixels(points)  # of both at once: small arrays cost by their number
    return Batch(
        image=tensor(image.transpose(2, 0, 1)),
        keypoints=tensor(lixels[:keypoints]),
        vertices=tensor(lixels[keypoints:]),
        keypoints_m=tensor(crop.keypoints),
        vertices_m=tensor(crop.vertices),
        root_depth=tensor(crop.root_depth),
        K=tensor(crop.K),
        R_crop_cam=tensor(crop.R_crop_cam),
        dataset=torch.tensor(dataset),
        sample=torch.tensor(index),
        replaced=torch.tensor(replaced),
    )
