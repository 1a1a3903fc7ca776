"""Images kept in memory or on the device: batches are those of the files, and a training goes on as if it read them."""

import dataclasses
import shutil

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from handmesh.data import cache
from handmesh.data.augment import NO_AUGMENTATION, AugmentSpec
from handmesh.data.cache import CACHES, CachedHands, cached, sample_crops
from handmesh.data.crop import centre_to_centre, crop_affine, shrink, warp
from handmesh.data.dataset import Batch, HandDataset, Loader, load_batches
from handmesh.data.sampler import Draw, EpochBatches
from handmesh.data.shards import ShardDataset, index_shard
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.toy import toy_hand

CPU = torch.device("cpu")
FULL = AugmentSpec(box=0.1, amplitude=0.5, erasing=0.5, rotation_deg=90.0, rotation_probability=1.0)


def hands(folder, side: int = 64, spec: AugmentSpec = FULL, **more) -> HandDataset:
    return HandDataset([ShardDataset(folder, toy_hand()), ShardDataset(folder, toy_hand())], side, spec, 1, **more)


def batches(data: HandDataset, workers: int = 0) -> list[Batch]:
    return list(load_batches(data, EpochBatches(data.sizes, [2.0, 1.0], 7, 1, 1), workers))


def differences(a: list[Batch], b: list[Batch]) -> np.ndarray:
    """Of all pixels [levels]; the labels must be equal to the bit."""
    for x, y in zip(a, b, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(x[1:], y[1:], strict=True))
    return 255 * np.concatenate([(x.image - y.image).abs().numpy().ravel() for x, y in zip(a, b, strict=True)])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("side", [16, 32, 128])
def test_batches_from_memory_are_those_of_the_files(hand_shards, side, workers):
    """To the bit, labels, images and all, whoever reads and whoever loads, of one copy of each image or several."""
    data = hands(hand_shards, side)
    kept = cached(data, "memory", CPU, workers)
    assert differences(batches(kept, workers), batches(data)).max() == 0


@pytest.mark.parametrize("side", [16, 32, 128])
@pytest.mark.parametrize("change", [{}, {"amplitude": 0.0, "erasing": 0.0}, {"amplitude": 1.0}])
def test_batches_of_the_device_are_those_of_the_files(hand_shards, side, change):
    """Labels to the bit, images within two levels and nearly all of their pixels equal, turned and scaled to the limits."""
    data = hands(hand_shards, side, dataclasses.replace(FULL, **change))
    off = differences(batches(cached(data, "device", CPU, 0)), batches(data))
    assert off.max() < 2
    assert np.mean(off > 0.01) < (0.5 if data.spec.amplitude else 1e-3)  # a pixel one level off moves all that are mixed


def test_one_sample_and_many(hand_shards):
    """A sample of the cache by itself is the one of its batch; no cache is the dataset itself."""
    data = hands(hand_shards)
    assert cached(data, "none", CPU, 0) is data
    for where in ("memory", "device"):
        kept = cached(data, where, CPU, 0)
        draws = [Draw(1, 3, 0), Draw(0, 8, 2), Draw(1, 11, 1)]
        alone = Batch(*default_collate([kept[draw] for draw in draws]))
        assert differences([alone], list(load_batches(kept, [draws], 0))).max() < 1e-3
        assert sum(len(kept.read(k)[0].vertices) for k in range(24)) > 0


@pytest.mark.parametrize("size", [(61, 90), (200, 131), (257, 255), (40, 40)])
def test_crops_by_index_are_warps(size):
    """Any affine, images of odd sizes and several, crops that hang out of them: OpenCV's pixels within one level."""
    rng, height, width = np.random.default_rng(0), *size
    images = [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(20)]
    store, places, true, at = [], [], [], 0
    for image in images:
        centre, box = rng.uniform(0, [width, height]), rng.uniform(20, 400)
        A = crop_affine(centre, box, rng.uniform(-3, 3), 48)
        true.append(warp(image, A, 48))
        count, A = shrink(A, width, height)
        for _ in range(count):
            image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
        ringed = np.pad(image, ((1, 1), (1, 1), (0, 0))).reshape(-1, 3)
        store.append(ringed)
        places.append([at, image.shape[1], image.shape[0], *np.linalg.inv(centre_to_centre(A))[:2].ravel()])
        at += len(ringed)
    found = sample_crops(torch.from_numpy(np.concatenate(store)), torch.tensor(places, dtype=torch.float64), 48)
    off = np.abs(found.numpy().astype(int) - np.stack(true))
    assert off.max() <= 1
    assert off.mean() < 0.01
    assert np.mean(np.stack(true) == 0) > 0.1


def test_copies_are_those_that_crops_need(hand_shards):
    """One of each image where crops are all of one size, smaller ones for smaller crops; two where they straddle a halving."""

    def kept(side: int, spec: AugmentSpec) -> CachedHands:
        return CachedHands(hands(hand_shards, side, spec), None, 0)

    small, large = kept(12, NO_AUGMENTATION), kept(128, NO_AUGMENTATION)
    assert len(small._pixels) < len(large._pixels) == 24 * 66**2
    assert (small._halved[:, 0] == small._halved[:, 1]).all()
    assert {*small._halved[:, 0]} >= {1}
    both = kept(16, AugmentSpec(scale=0.25))
    assert (both._halved[:, 0] < both._halved[:, 1]).any()
    assert len(both._pixels) < 1.35 * len(large._pixels)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_sample_is_one_sentence_or_gives_way(hand_shards, tmp_path, workers, capfd):
    """When images are read: named without a traceback; with skip_bad the next one stands in and is counted."""
    copy = shutil.copytree(hand_shards, tmp_path / "copy")
    shard = copy / "shard-000000.tar"
    offset, bytes_ = index_shard(shard, 4)[2, 1], shard.read_bytes()
    shard.write_bytes(bytes_[:offset] + b"\0" * 80 + bytes_[offset + 80 :])
    with pytest.raises(HandsynthError, match=r"shard-000000\.tar, sample 2: the image is damaged") as raised:
        cached(hands(copy), "memory", CPU, workers)
    assert "\n" not in str(raised.value)
    kept = cached(hands(copy, skip_bad=True), "device", CPU, workers)
    assert (int(kept[2].sample), int(kept[2].replaced), int(kept[14].replaced), int(kept[1].replaced)) == (3, 1, 1, 0)
    assert "sample 2: the image is damaged" in capfd.readouterr().err


def test_images_that_do_not_fit_are_refused(hand_shards, monkeypatch):
    """Before memory is full: how much they take, how much there is, and what to type; so is a cache of another name."""
    monkeypatch.setattr(cache, "_free_memory", lambda: 100_000)
    with pytest.raises(UsageError, match=r"the images take 0\.\d GB, and memory has 0\.0 GB free: --cache none"):
        cached(hands(hand_shards, 128), "memory", CPU, 0)
    with pytest.raises(UsageError, match="there is no cache 'disk': use one of device, memory, none"):
        cached(hands(hand_shards), "disk", CPU, 0)
    assert CACHES == ("device", "memory", "none")


def test_loading_processes_hold_no_device_memory(hand_shards):
    """What they get of a cache on the device has no pixels, and still says where these lie."""
    kept = CachedHands(hands(hand_shards), CPU, 0)
    assert kept.for_loading()._pixels is None
    assert kept._pixels is not None
    alone, forked = (list(Loader(kept, workers)([[1, 2, 3], [15, 8]])) for workers in (0, 1))
    for a, b in zip(alone, forked, strict=True):
        assert a.batch.image.numel() == 0
        assert torch.equal(a.place, b.place)
