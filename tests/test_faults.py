"""What a render farm meets, done to a small dataset: nothing is lost. `benchmarks/faults.py` does the same many times over."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import faults


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> faults.Bench:
    return faults.Bench(tmp_path_factory.mktemp("faults"))


# Kills, nodes that race, clusters, crashes and dropped requests have tests of their own (test_generate, test_workers, test_folder).
@pytest.mark.parametrize(
    ("name", "trials"),
    [("full", 1), ("quota", 2), ("read-only", 1), ("rotten background", 1), ("empty image", 2), ("clock", 2), ("flipped", 4)],
)
def test_nothing_is_lost(bench, name, trials):
    """After the fault only whole shards lie there, the message is one sentence, and the same command ends with the same bytes."""
    done, lost, _ = faults.ROWS[name][0](bench, trials)
    assert (done, lost) == (trials, 0)


def test_a_loss_would_be_counted(bench):
    """The count sees a shard that is damaged, one that is gone, and one that cannot be made again."""
    bench.new()
    assert bench.end() == bench.damaged() == 0
    path = bench.out / "shard-000002.tar"
    path.write_bytes(path.read_bytes()[:-1])
    assert bench.damaged() == 1
    assert bench.end() == 0
    bench.reference["shard-000099.tar"] = b""
    try:
        assert bench.end() == 1
    finally:
        del bench.reference["shard-000099.tar"]


def test_a_worker_does_not_grow(bench):
    """After the first shards the memory of a worker stays, and no file is left open."""
    (bench.folder / "memory").mkdir()
    rows = faults.memory(bench, 480, 40)
    assert len({row["open_files"] for row in rows}) == 1
    assert rows[-1]["resident_MB"] - rows[len(rows) // 2]["resident_MB"] < 4
