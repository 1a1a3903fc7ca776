"""What tests of the trainer share: a small dataset of the toy hand, left and right."""

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def hand_shards(tiny_world, tmp_path_factory) -> Path:
    """12 samples of 64 x 64 px in three shards."""
    out = tmp_path_factory.mktemp("shards") / "tiny"
    tiny_world.generate(out, "0:12")
    return out


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Threads that wait for each other on a busy machine cost minutes; and sums have one order."""
    torch.set_num_threads(1)
