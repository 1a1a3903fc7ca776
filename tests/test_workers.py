"""Workers that die: what they were making is made again, what kills every worker is reported, and everything else is done."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import dask
import pytest
from distributed import LocalCluster
from dying import make_or_crash, make_slowly, refuse_3, square_at_second_try, square_unless_3
from tiny import dataset_bytes

from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.shard import shard_name
from handsynth.dataset import generate as generate_module
from handsynth.dataset import workers
from handsynth.dataset.generate import RunConfig, ShardTask, make_shard
from handsynth.dataset.workers import run_in_workers


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers of two threads each, which are started again when they die; a task has two lives."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None, silence_logs=50) as cluster,
    ):
        yield cluster


@pytest.fixture(params=["loky", "dask"])
def scheduler(request) -> str | None:
    """None for processes of this machine, else a cluster's address."""
    return None if request.param == "loky" else request.getfixturevalue("cluster").scheduler_address


def test_a_task_that_kills_every_worker_is_reported_and_the_others_are_done(scheduler):
    """A crash in native code costs its own task and no other."""
    done = dict(run_in_workers(square_unless_3, list(range(5)), 2, scheduler))
    assert done == {k: None if k == 3 else k**2 for k in range(5)}


def test_a_task_whose_worker_is_killed_once_is_done_again(scheduler, tmp_path):
    """A worker lost to the operating system loses nothing."""
    tasks = [(k, str(tmp_path)) for k in range(6)]
    done = {task[0]: result for task, result in run_in_workers(square_at_second_try, tasks, 2, scheduler)}
    assert done == {k: k**2 for k in range(6)}
    assert {path.name for path in tmp_path.iterdir()} == {"1"}


def test_errors_keep_their_kind(scheduler):
    with pytest.raises(UsageError, match="three is refused"):
        list(run_in_workers(refuse_3, list(range(5)), 2, scheduler))


def test_one_job_is_this_process(tmp_path):
    assert list(run_in_workers(os.path.basename, ["a/b"], 1)) == [("a/b", "b")]
    assert list(run_in_workers(square_unless_3, [], 2)) == []


@pytest.fixture(scope="module")
def reference(tiny_world, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("reference") / "out"
    tiny_world.generate(out, "0:24")
    return dataset_bytes(out)


def test_a_shard_that_crashes_its_workers_is_named_and_the_rest_is_made(tiny_world, tmp_path, reference, monkeypatch):
    """One sentence names the shard; every other one lies there; without the crash the same command goes on to the same bytes."""
    out = tmp_path / "out"
    monkeypatch.setattr(generate_module, "make_shard", make_or_crash)
    with pytest.raises(HandsynthError, match=r"1 of 6 shards could not be made, shard-000001\.tar: .* run the same command"):
        tiny_world.generate(out, "0:24", run=RunConfig(jobs=2))
    assert dataset_bytes(out) == {name: data for name, data in reference.items() if name not in (shard_name(1), "index.json")}
    monkeypatch.undo()
    assert tiny_world.generate(out, "0:24")["made"] == 1
    assert dataset_bytes(out) == reference


def test_when_every_shard_crashes_the_run_stops(tiny_world, tmp_path, monkeypatch):
    """A broken driver is not tried on every shard of a large dataset."""
    monkeypatch.setattr(generate_module, "run_in_workers", lambda work, tasks, *_: ((task, None) for task in tasks))
    monkeypatch.setattr(generate_module, "MAX_LOST", 2)
    with pytest.raises(HandsynthError, match="2 of 6 shards could not be made"):
        tiny_world.generate(tmp_path / "out", "0:24")


def test_a_cluster_makes_the_same_bytes(tiny_world, tmp_path, reference, cluster, capsys):
    """Workers of a Dask cluster, which have several threads and one OpenGL context, make what one process makes."""
    while len(cluster.scheduler.workers) < 2:  # one may just be starting again
        time.sleep(0.05)
    run = RunConfig(scheduler=cluster.scheduler_address)
    assert tiny_world.generate(tmp_path / "out", "0:24", run=run)["complete"]
    assert dataset_bytes(tmp_path / "out") == reference
    assert "2 threads of the workers will idle" in capsys.readouterr().err


def test_a_worker_of_the_cluster_killed_on_the_way(tiny_world, tmp_path, reference, cluster, monkeypatch):
    """SIGKILL to a worker in the middle of a run: the others, and the one that takes its place, make the same bytes."""
    monkeypatch.setattr(generate_module, "make_shard", make_slowly)
    out = tmp_path / "out"

    def kill() -> None:
        while not any(out.glob("shard-*")):
            time.sleep(0.01)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = tiny_world.generate(out, "0:24", run=RunConfig(scheduler=cluster.scheduler_address))
    killer.join()
    assert summary["complete"]
    assert dataset_bytes(out) == reference
    assert not list(out.rglob(".tmp-*"))


def test_a_worker_with_other_assets_makes_nothing(tiny_world, tmp_path):
    """A shard of another identity than the run's is refused where it would be made."""
    task = ShardTask(0, (0,), "", str(tiny_world.assets), str(tmp_path), "another identity")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate_module, "_worker_state", lambda *_: (None, type("Generator", (), {"dataset": "this identity"})))
        with pytest.raises(AssetError, match=r"has other assets .* than the machine that the run was started on"):
            make_shard(task)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "no address", "tcp://:", "http://127.0.0.1:1", ""])
def test_no_scheduler_is_one_sentence(tiny_world, tmp_path, monkeypatch, address):
    """Exit code 3, the address, and how to start a scheduler."""
    monkeypatch.setattr(workers, "SCHEDULER_TIMEOUT_S", 0.3)
    with pytest.raises(AssetError, match=r"no Dask scheduler answers at .* start one with `dask scheduler`") as raised:
        tiny_world.generate(tmp_path / "out", run=RunConfig(scheduler=address))
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 3


def test_without_distributed_it_says_what_to_install(tiny_world, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(AssetError, match=r"pip install 'handsynth\[farm\]'"):
        tiny_world.generate(tmp_path / "out", run=RunConfig(scheduler="tcp://127.0.0.1:1"))


@pytest.mark.slow
def test_a_lost_scheduler_is_one_sentence(monkeypatch):
    """When the scheduler goes and does not come back, the run ends instead of waiting for ever."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set({"distributed.comm.timeouts.connect": "1s"}))
        cluster = stack.enter_context(LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=50))
        results = run_in_workers(time.sleep, [0.0, 5.0], 1, cluster.scheduler_address)
        assert next(results) == (0.0, None)
        cluster.close()
        with pytest.raises(AssetError, match="the Dask scheduler was lost: start it again"):
            next(results)
