"""Work for tests of workers, some of which ends its worker. Light to import: each worker that takes a dead one's place does."""

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any


def crash() -> None:
    """As native code crashes: SIGSEGV, which no `except` sees."""
    ctypes.string_at(0)


def square_unless_3(number: int) -> int:
    if number == 3:
        crash()
    return number**2


def square_at_second_try(task: tuple[int, str]) -> int:
    """Dies by SIGKILL where no earlier try left a mark."""
    number, folder = task
    mark = Path(folder) / str(number)
    if number == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def refuse_3(number: int) -> int:
    from handsynth.core.errors import UsageError

    if number == 3:
        raise UsageError("three is refused")
    return number


def make_or_crash(task: Any) -> Any:
    from handsynth.dataset.generate import make_shard

    if task.number == 1:
        crash()
    return make_shard(task)


def make_slowly(task: Any) -> Any:
    from handsynth.dataset.generate import make_shard

    time.sleep(0.5)
    return make_shard(task)
