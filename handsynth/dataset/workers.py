"""Workers: joblib's loky processes on this machine or Dask's on a cluster, and what becomes of a task that ends its worker."""

import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

import joblib
from joblib.externals.loky.backend import resource_tracker as loky_tracker

from handsynth.core.errors import AssetError

Task = TypeVar("Task")
Result = TypeVar("Result")

PR_SET_PDEATHSIG = 1  # linux/prctl.h

SCHEDULER_TIMEOUT_S = 10.0
"""So long a Dask scheduler has to answer the first call."""

_OWN_THREAD = ThreadPoolExecutor(1, "handsynth")
"""Of a Dask worker. An OpenGL context belongs to the thread that made it, and a worker may have several."""


def run_in_workers(
    work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int, scheduler: str | None = None
) -> Iterator[tuple[Task, Result | None]]:
    """Yields (task, work(task)) of each task as soon as it is done, in this process when there is one job.

    When a worker dies (killed, or crashed in native code), what it did is done again elsewhere; a task that ends its worker
    every time is yielded with None, and the others go on. Raises whatever `work` raises, AssetError when there is no Dask
    cluster at `scheduler`.
    """
    if not tasks:
        return
    if scheduler is not None:
        yield from _on_cluster(work, tasks, scheduler)
    elif jobs == 1:
        for task in tasks:
            yield task, work(task)
    else:
        yield from _on_this_machine(work, tasks, jobs)


def _on_this_machine(work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Result | None]]:
    """A pool dies as a whole: what it had begun is done again one by one, which shows the culprit, and a new pool does the rest."""
    left = dict(enumerate(tasks))
    while left:
        begun: list[int] = []
        for number, result in _in_pool(work, left, jobs, begun):
            yield left.pop(number), result
        if left:
            print("a worker died: what was begun is made again, one shard at a time", file=sys.stderr, flush=True)
        for number in [number for number in begun if number in left]:
            alone = list(_in_pool(work, {number: left[number]}, 2, []))  # joblib would run one job in this process
            yield left.pop(number), alone[0][1] if alone else None


def _in_pool(
    work: Callable[[Task], Result], tasks: Mapping[int, Task], jobs: int, begun: list[int]
) -> Iterator[tuple[int, Result]]:
    """Does numbered tasks and notes those that were begun; ends early when a worker dies."""

    def calls() -> Iterator[Any]:
        for number, task in list(tasks.items()):
            begun.append(number)
            yield joblib.delayed(_numbered)(number, work, task)

    with joblib.parallel_config(backend="loky", inner_max_num_threads=1), contextlib.suppress(BrokenProcessPool):
        with _interrupts_blocked():
            workers = joblib.Parallel(
                n_jobs=max(2, min(jobs, len(tasks))),
                return_as="generator_unordered",
                batch_size=1,
                pre_dispatch="n_jobs",  # none is begun that no worker is free for
                initializer=_end_with_parent,
                initargs=(os.getpid(),),
            )
            done = workers(calls())
        yield from done


def _numbered(number: int, work: Callable[[Task], Result], task: Task) -> tuple[int, Result]:
    return number, work(task)


def _on_cluster(work: Callable[[Task], Result], tasks: Sequence[Task], scheduler: str) -> Iterator[tuple[Task, Result | None]]:
    """Dask does a lost worker's tasks again on others, also on workers that come later, and gives one up after four deaths.

    joblib's Dask backend is not used: it waits for ever for a task that Dask has given up (joblib 1.6, distributed 2026.8).
    """
    with _client(scheduler) as client:
        given_up = []
        for task, result in _on_workers(client, work, tasks):
            if result is None:
                given_up.append(task)
            else:
                yield task, result
        # Dask also counts the deaths of a worker on which a task only waited: alone, the innocent are done.
        for task in given_up:
            yield from [(task, None)] if len(given_up) == 1 else _on_workers(client, work, [task])


def _on_workers(client: Any, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[Task, Result | None]]:
    """One round of tasks on a cluster; None for those that Dask gives up."""
    from distributed import KilledWorker, as_completed

    futures = {client.submit(_in_own_thread, work, task, pure=False): task for task in tasks}
    for future in as_completed(futures, loop=client.loop):
        try:
            yield futures[future], future.result()
        except KilledWorker:
            yield futures[future], None
        except CancelledError:
            raise AssetError(
                "the Dask scheduler was lost: start it again, then run the same command to go on (whole shards are kept)"
            ) from None


@contextlib.contextmanager
def _client(scheduler: str) -> Iterator[Any]:
    """A connection to a Dask scheduler: an address such as tcp://10.0.0.1:8786, or its scheduler file."""
    try:
        from distributed import Client
    except ImportError:
        raise AssetError("--backend dask needs the library distributed: pip install 'handsynth[farm]'") from None
    where = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    # A client that failed before this one and is collected while this one starts locks both up for ever (distributed's LoopRunner).
    gc.collect()
    collects = gc.isenabled()
    gc.disable()
    try:
        client = Client(**where, timeout=SCHEDULER_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise AssetError(
            f"no Dask scheduler answers at {scheduler} ({reason:.120}): start one with `dask scheduler`, its workers with "
            "`dask worker ADDRESS --nthreads 1`, and give --scheduler that address"
        ) from None
    finally:
        if collects:
            gc.enable()
    with client:
        threads = client.nthreads()
        if not threads:
            print(f"no worker yet: `dask worker {scheduler} --nthreads 1` starts one", file=sys.stderr, flush=True)
        if idle := sum(threads.values()) - len(threads):
            print(f"{idle} threads of the workers will idle: a worker draws in one thread (--nthreads 1)", file=sys.stderr)
        yield client


def _in_own_thread(work: Callable[[Task], Result], task: Task) -> Result:
    """Runs in a Dask worker."""
    return _OWN_THREAD.submit(work, task).result()


def _end_with_parent(parent: int) -> None:
    """Runs in a new worker: Linux shall end it with its parent, whose death it would otherwise outlive by five idle minutes.

    Ctrl-C is for the parent, which then ends its workers; they would print a traceback each.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that
        os._exit(1)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Holds Ctrl-C back for a moment, and for ever from the processes and threads that are started meanwhile.

    Workers inherit that until they ignore it themselves, and so do those that loky's threads start in the place of others.
    """
    resource_tracker.ensure_running()  # the trackers' start ends the blocking
    loky_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
