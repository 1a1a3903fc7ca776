"""Batches: each sample once an epoch over ranks and workers, resumed where it stopped, and the same whoever loads it."""

import dataclasses
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate
from untrained import write_untrained

from handmesh.cli.main import main
from handmesh.data.augment import NO_AUGMENTATION, AugmentSpec
from handmesh.data.crop import lixels_to_camera
from handmesh.data.dataset import Batch, HandDataset, Loader, load_batches
from handmesh.data.sampler import Draw, EpochBatches, batch_bounds, epoch_order, rank_places
from handmesh.data.shards import ShardDataset, index_shard
from handmesh.keypoints import keypoint_regressor
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.toy import toy_hand

FULL = AugmentSpec(box=0.1, amplitude=0.5, erasing=0.5)
TONED = {"grey": 0.3, "saturation": 0.8, "contrast": 0.6, "sharpness": 1.5}


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("batch", [7, 8, 32])
@pytest.mark.parametrize("samples", [7, 8, 15, 33, 100, 101])
def test_ranks_see_every_place_once(samples, batch, world):
    """Over the ranks each place of an order occurs exactly once, and every rank has at least one in each batch."""
    bounds = batch_bounds(samples, batch, world)
    taken = [[list(rank_places(a, b, rank, world)) for a, b in bounds] for rank in range(world)]
    assert sorted(k for rank in taken for places in rank for k in places) == list(range(samples))
    assert all(places for rank in taken for places in rank)
    assert max(b - a for a, b in bounds) < batch + 2 * world
    if len(bounds) > 1:
        assert min(len(places) for rank in taken for places in rank) >= min(2, batch // world)


def test_more_ranks_than_samples():
    with pytest.raises(UsageError, match="8 ranks for 7 samples"):
        batch_bounds(7, 32, 8)
    with pytest.raises(UsageError, match="3 ranks for 7 samples in batches of 2"):
        batch_bounds(7, 2, 3)


def test_epoch_order_is_a_true_shuffle():
    """Each sample once an epoch, anew in every epoch and seed, the same for the same; neighbours do not stay neighbours."""
    orders = [epoch_order([500], [1.0], seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    for epoch, order in zip((0, 1, 0), orders, strict=True):
        assert sorted(order[:, 1]) == list(range(500))
        assert (order[:, 2] == epoch).all()
    assert len({order.tobytes() for order in orders}) == 3
    np.testing.assert_array_equal(orders[1], epoch_order([500], [1.0], 0, 1))
    assert np.mean(np.abs(np.diff(orders[0][:, 1])) == 1) < 0.02  # 1 in 250 by chance


def test_weights():
    """Weight 2: each sample twice an epoch, at different turns. Weight 1/3: each once in three epochs. No draw comes twice."""
    epochs = [epoch_order([10, 30], [2.0, 1 / 3], 5, epoch) for epoch in range(3)]
    for order in epochs:
        assert np.bincount(order[order[:, 0] == 0, 1]).tolist() == [2] * 10
    together = np.concatenate(epochs)
    assert np.bincount(together[together[:, 0] == 1, 1]).tolist() == [1] * 30
    assert len(np.unique(together, axis=0)) == len(together)
    halves = [set(epoch_order([30], [0.5], 5, epoch)[:, 1].tolist()) for epoch in range(4)]
    assert halves[0] | halves[1] == halves[2] | halves[3] == set(range(30))
    assert halves[2] not in halves[:2]  # divided anew each time round
    with pytest.raises(UsageError, match="weight"):
        epoch_order([10], [0.0], 0, 0)


def test_resume_goes_on_where_it_stopped():
    """From step k on, the batches are the rest of the epoch's."""
    whole = list(EpochBatches([40, 13], [1.0, 0.5], 8, 3, 2, rank=1, world=2))
    rest = EpochBatches([40, 13], [1.0, 0.5], 8, 3, 2, rank=1, world=2, first_step=4)
    assert list(rest) == whole[4:]
    assert len(rest) == len(whole) - 4 > 0


def load(folder, workers: int, **options) -> list[Batch]:
    data = HandDataset([ShardDataset(folder, toy_hand())], 64, FULL, seed=1)
    return list(load_batches(data, EpochBatches(data.sizes, [1.0], 4, 1, 3, **options), workers))


@pytest.mark.parametrize("change", [{}, {"amplitude": 0.0}, {"erasing": 0.0}, {"amplitude": 1.0, "amplitude_band": 0.4}, TONED])
def test_batches_are_the_samples_one_by_one(change, hand_shards):
    """What the device makes of a batch of bytes is what `augment` makes of each sample: labels to the bit, and images too where
    gains alone change colours; else within a thousandth of a level."""
    spec, exact = dataclasses.replace(FULL, **change), 0
    data = HandDataset([ShardDataset(hand_shards, toy_hand())], 64, spec, seed=1)
    order = list(EpochBatches(data.sizes, [3.0], 9, 1, 0))
    for batch, draws in zip(load_batches(data, order, 0), order, strict=True):
        slow = Batch(*default_collate([data[draw] for draw in draws]))
        assert all(torch.equal(a, b) for a, b in zip(batch[1:], slow[1:], strict=True))
        assert batch.image.is_contiguous(memory_format=torch.channels_last)
        exact += sum(torch.equal(a, b) for a, b in zip(batch.image, slow.image, strict=True))
        assert (batch.image - slow.image).abs().max() < 1e-3 / 255
    mixed = 36 if spec.retones else spec.amplitude * 36
    assert abs(36 - exact - mixed) <= (9 if 0 < mixed < 36 else 0)  # three standard deviations of 36 draws


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_workers_ranks_and_resume_change_no_sample(hand_shards):
    """The batches of no workers and of two are equal bit for bit, as are a resumed epoch's and, put together, two ranks'."""
    alone = load(hand_shards, 0)
    assert sorted(int(i) for b in alone for i in b.sample) == list(range(12))
    with_workers = load(hand_shards, 2)
    assert all(same(a, b) for a, b in zip(alone, with_workers, strict=True))
    assert all(same(a, b) for a, b in zip(alone[1:], load(hand_shards, 0, first_step=1), strict=True))
    ranks = [load(hand_shards, 0, rank=rank, world=2) for rank in range(2)]
    for whole, even, odd in zip(alone, *ranks, strict=True):
        for x, a, b in zip(whole, even, odd, strict=True):
            assert torch.equal(x[0::2], a)
            assert torch.equal(x[1::2], b)


def test_batch(hand_shards):
    """Shapes and ranges; keypoints are the regressor's of the vertices; lixels lead back to the labels in the shards."""
    source, hand = ShardDataset(hand_shards, toy_hand()), toy_hand()
    data = HandDataset([source], 48, AugmentSpec())
    batch = next(iter(DataLoader(data, batch_size=len(data))))
    assert batch.image.shape == (12, 3, 48, 48)
    assert batch.image.dtype == torch.float32
    assert 0 <= batch.image.min() < 0.3
    assert 0.7 < batch.image.max() <= 1
    regressed = keypoint_regressor(hand) @ batch.vertices_m.double().numpy()
    np.testing.assert_allclose(regressed, batch.keypoints_m, atol=1e-5)  # labels are rounded to a micrometre
    lixels, K, R = (t.double().numpy() for t in (batch.target.vertices, batch.K, batch.R_crop_cam))
    found = lixels_to_camera(lixels, batch.root_depth.double().numpy(), K, R, 48)
    true = np.stack([source.read(k).vertices for k in range(12)])
    np.testing.assert_allclose(found, true, atol=2e-6)  # float32 of a depth of a metre is good to 1e-7


def test_turns_differ_and_repeat(hand_shards):
    """Each appearance of a sample is augmented anew, and always alike; another seed does it otherwise."""
    parts = [ShardDataset(hand_shards)]
    data, other = HandDataset(parts, 32, FULL, seed=0), HandDataset(parts, 32, FULL, seed=1)
    first, second = data[Draw(0, 4, 0)], data[Draw(0, 4, 1)]
    assert not torch.equal(first.image, second.image)
    assert torch.equal(first.sample, second.sample)
    assert same(first, data[Draw(0, 4, 0)])
    assert not torch.equal(first.image, other[Draw(0, 4, 0)].image)


def test_datasets_of_different_hands_do_not_mix(hand_shards, tmp_path):
    """A mix of one hand's datasets is numbered through; a dataset of another hand is refused, both being named."""
    parts = [ShardDataset(hand_shards), ShardDataset(hand_shards)]
    data = HandDataset(parts, 32, NO_AUGMENTATION)
    assert len(data) == 24
    assert int(data[13].dataset) == 1
    assert int(data[13].sample) == int(data[1].sample)
    with pytest.raises(IndexError):
        data[24]
    copy = shutil.copytree(hand_shards, tmp_path / "other")
    index = json.loads((copy / "index.json").read_text())
    index["fingertips"] = index["fingertips"][::-1]
    (copy / "index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match="different hands"):
        HandDataset([parts[0], ShardDataset(copy)], 32, NO_AUGMENTATION)
    with pytest.raises(UsageError, match="--data"):
        HandDataset([], 32, NO_AUGMENTATION)


@pytest.fixture
def damaged(hand_shards, tmp_path):
    """A copy of the dataset in which the image of sample 2 is damaged."""
    copy = shutil.copytree(hand_shards, tmp_path / "copy")
    shard = copy / "shard-000000.tar"
    offset = index_shard(shard, 4)[2, 1]
    bytes_ = shard.read_bytes()
    shard.write_bytes(bytes_[:offset] + b"\0" * 80 + bytes_[offset + 80 :])
    return copy


def test_damaged_sample_stops_or_gives_way(damaged, capsys):
    """A damaged image stops the run by name; with skip_bad the next sample stands in, and it is counted and reported."""
    part = ShardDataset(damaged)
    with pytest.raises(HandsynthError, match=r"shard-000000\.tar, sample 2: the image is damaged"):
        HandDataset([part], 32, NO_AUGMENTATION)[2]
    data = HandDataset([part], 32, NO_AUGMENTATION, skip_bad=True)
    assert (int(data[2].sample), int(data[2].replaced), int(data[1].replaced)) == (3, 1, 0)
    assert "sample 2: the image is damaged" in capsys.readouterr().err


def test_batches_pass_over_damaged_samples(damaged, capsys):
    """Whatever of a sample is damaged, the next good one stands in, also over the end: as one by one, and each named."""
    last = damaged / "shard-000002.tar"
    table, bytes_ = index_shard(last, 4), last.read_bytes()
    for row, member in ((2, 5), (3, 3), (1, 1)):  # vertices of sample 10, labels of 11, the image of 9
        offset = table[row, member]
        bytes_ = bytes_[:offset] + b"\xee" * 80 + bytes_[offset + 80 :]
    last.write_bytes(bytes_)
    data = HandDataset([ShardDataset(damaged)], 64, FULL, seed=1, skip_bad=True)
    draws = [Draw(0, position, turn) for turn in range(2) for position in range(12)]
    slow = Batch(*default_collate([data[draw] for draw in draws]))
    capsys.readouterr()
    (batch,) = load_batches(data, [draws], 0)
    assert batch.sample.tolist() == [0, 1, 3, 3, 4, 5, 6, 7, 8, 0, 0, 0] * 2
    assert batch.replaced.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 2, 1] * 2
    assert all(torch.equal(a, b) for a, b in zip(batch[1:], slow[1:], strict=True))
    assert (batch.image - slow.image).abs().max() < 1e-3 / 255
    reported = capsys.readouterr().err
    for sample, reason in ((2, "the image is"), (9, "the image is"), (10, "the .npy is"), (11, "its JSON is missing or")):
        assert f", sample {sample}: {reason} damaged" in reported


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_sample_is_one_sentence_whoever_loads(damaged, workers):
    """Loading processes or none: the batches before it, then the same error, without a traceback in its message."""
    data = HandDataset([ShardDataset(damaged)], 32, NO_AUGMENTATION)
    batches = load_batches(data, [[0, 1], [4, 5], [2, 3], [6, 7]], workers)
    assert [next(batches).sample.tolist() for _ in range(2)] == [[0, 1], [4, 5]]
    with pytest.raises(HandsynthError, match=r"shard-000000\.tar, sample 2: the image is damaged") as raised:
        next(batches)
    assert "\n" not in str(raised.value)
    assert type(raised.value) is HandsynthError


def test_loading_processes_stay(hand_shards):
    """Those of the first epoch load the second, and the batches of both are those of no processes."""
    data = HandDataset([ShardDataset(hand_shards)], 32, FULL)
    loader, alone = Loader(data, 2), Loader(data, 0)
    before: set[int | None] = set()
    for epoch in range(2):
        batches = list(EpochBatches(data.sizes, [1.0], 4, 1, epoch))
        for a, b in zip(loader(batches), alone(batches), strict=True):
            assert same(a.batch, b.batch)
            assert same(a.colours, b.colours)
        now = {child.pid for child in multiprocessing.active_children()}
        assert len(now) == 2
        assert now == (before or now)
        before = now


def test_a_loading_process_that_dies_is_one_sentence(hand_shards):
    """Killed, as by a machine that is out of memory: what happened and what to do."""

    class Deadly(HandDataset):
        def raw(self, wanted):
            os.kill(os.getpid(), signal.SIGKILL)

    data = Deadly([ShardDataset(hand_shards)], 32, NO_AUGMENTATION)
    with pytest.raises(HandsynthError, match=r"a loading process died .*: .* fewer --workers or a smaller --batch") as raised:
        next(load_batches(data, [[0, 1]], 1))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_commands_name_a_damaged_sample(damaged, tmp_path, workers, monkeypatch, capsys):
    """`train` and `evaluate` with loading processes or none: one sentence on stderr, exit code 1."""
    spec = tmp_path / "spec.yaml"
    spec.write_text("{net: lite-fast, side: 32, batch: 4, epochs: 1, pretrained: false}")
    run = write_untrained(tmp_path / "run", toy_hand())
    for command in (
        ("train", "mesh", spec, "--data", damaged, "--val", damaged, "--out", tmp_path / "out"),
        ("evaluate", run, "--data", damaged),
    ):
        arguments = [*map(str, command), "--workers", str(workers), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["handmesh", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 1
        printed = capsys.readouterr().err
        assert "Traceback" not in printed
        assert re.fullmatch(r"handmesh: .*shard-000000\.tar, sample 2: the image is damaged.*", printed.splitlines()[-1])
