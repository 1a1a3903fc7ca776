"""Workers on this machine: joblib's loky processes, and what becomes of them on Ctrl-C, or when they or their parent die."""

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import joblib

from handsynth.core.errors import HandsynthError

Task = TypeVar("Task")
Result = TypeVar("Result")

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def run_in_workers(work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int) -> Iterator[Result]:
    """Yields work(task) of each task as soon as it is done; in this process when there is one job or one task.

    Raises HandsynthError when a worker is killed, and whatever `work` raises.
    """
    if jobs == 1 or len(tasks) < 2:
        yield from map(work, tasks)
        return
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        try:
            with _interrupts_ignored():  # inherited by the workers, which start here
                workers = joblib.Parallel(
                    n_jobs=min(jobs, len(tasks)),
                    return_as="generator_unordered",
                    batch_size=1,
                    initializer=_end_with_parent,
                    initargs=(os.getpid(),),
                )
                done = workers(joblib.delayed(work)(task) for task in tasks)
            yield from done
        except BrokenProcessPool:
            raise HandsynthError(
                "a worker was killed, most often for want of memory: run the same command with fewer --jobs (whole shards are kept)"
            ) from None


def _end_with_parent(parent: int) -> None:
    """Runs in a new worker: Linux shall end it with its parent, whose death it would otherwise outlive by five idle minutes."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that
        os._exit(1)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C is the parent's affair, which then ends its workers; they would print a traceback each."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
