"""Which sample comes when: pure integer functions of seed, epoch, rank and world, and the batches made of them.

An epoch is one global order, cut into global batches, each dealt over the ranks; workers take whole batches. So neither the
number of ranks nor that of workers changes which samples make up a step, or when a sample is seen.
"""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from handsynth.core.errors import UsageError


class Draw(NamedTuple):
    """One appearance of a sample: what a dataset is requested."""

    dataset: int  # number of the dataset in the mix
    position: int  # of the sample in it
    turn: int  # how often the sample has been drawn before in the run; its augmentation is drawn anew each time


def split_weight(text: str) -> tuple[str, float]:
    """WHERE or WHERE=WEIGHT -> folder or address, and the weight, 1 where none is given.

    Raises UsageError for a weight that is no positive number.
    """
    where, mark, weight = text.rpartition("=")
    if not mark or "/" in weight or os.path.exists(text):  # a name may hold "=" too
        return text, 1.0
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"--data {text}: after = comes the dataset's weight, a positive number")
    return where, value


def epoch_order(sizes: Sequence[int], weights: Sequence[float], seed: int, epoch: int) -> np.ndarray:
    """(n, 3) int64 rows of `Draw`: every appearance of an epoch, truly shuffled over all datasets.

    A dataset of weight w gives round(w size) samples an epoch: each once at 1, each twice at 2, and at 0.5 one half of them, the
    other half in the next epoch. For that each dataset is an endless row of permutations, of which each epoch takes the next part.

    Raises UsageError when a weight is not positive.
    """
    for weight in weights:
        if not 0 < weight < float("inf"):
            raise UsageError(f"a dataset's weight is {weight}, expected a positive number")
    parts = []
    for d, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        quota = round(size * weight)
        turns, places = np.divmod(np.arange(epoch * quota, (epoch + 1) * quota), size)
        positions = np.empty(quota, np.int64)
        for turn in np.unique(turns):
            chosen = turns == turn
            positions[chosen] = _rng(seed, 0, d, int(turn)).permutation(size)[places[chosen]]
        parts.append(np.stack([np.full(quota, d), positions, turns], 1))
    order = np.concatenate(parts)
    return order[_rng(seed, 1, epoch).permutation(len(order))]


def batch_bounds(samples: int, batch: int, world: int = 1) -> np.ndarray:
    """(steps, 2) first and past-the-last place of each global batch in an order of `samples`.

    Every batch has `batch` samples over all ranks, but the last: the uneven rest is a batch of its own where it gives every rank
    two samples or more (batch norm needs two), and joins the batch before it otherwise. Nothing is dropped or seen twice.
    Ranks may so differ by one sample in a batch: a loss summed on each and divided by the global count is the mean over the batch.

    Raises UsageError when there are more ranks than samples or than a batch holds.
    """
    if batch < 1:
        raise UsageError(f"a batch of {batch} samples: it needs at least one")
    if samples < world or batch < world:
        raise UsageError(f"{world} ranks for {samples} samples in batches of {batch}: each rank needs a sample of every batch")
    starts = np.arange(0, samples, batch)
    if len(starts) > 1 and samples - starts[-1] < 2 * world:
        starts = starts[:-1]
    return np.stack([starts, np.append(starts[1:], samples)], 1)


def rank_places(start: int, stop: int, rank: int, world: int) -> range:
    """Places of the global batch [start, stop) that `rank` of `world` takes; over the ranks, each exactly once."""
    return range(start + rank, stop, world)


class EpochBatches:
    """The batches of one epoch for one rank, as a torch DataLoader takes them for `batch_sampler`.

    Args:
        sizes: of the datasets.
        weights: of the datasets, as in `epoch_order`.
        batch: samples of a batch over all ranks.
        seed: of the run.
        epoch: counted from 0.
        rank: this one.
        world: number of ranks.
        first_step: where to go on in mid-epoch; earlier batches are not touched.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        weights: Sequence[float],
        batch: int,
        seed: int,
        epoch: int,
        rank: int = 0,
        world: int = 1,
        first_step: int = 0,
    ) -> None:
        self.order = epoch_order(sizes, weights, seed, epoch)
        self.bounds = batch_bounds(len(self.order), batch, world)
        self.rank, self.world, self.first_step = rank, world, first_step

    def __len__(self) -> int:
        return max(len(self.bounds) - self.first_step, 0)

    def __iter__(self) -> Iterator[list[Draw]]:
        for start, stop in self.bounds[self.first_step :].tolist():
            yield [Draw(*self.order[k].tolist()) for k in rank_places(start, stop, self.rank, self.world)]


def _rng(seed: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))
