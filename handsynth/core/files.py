"""How a file is put on disk: whole or not at all, under a temporary name that tells whether its writer still lives."""

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

_PREFIX = ".tmp-"
_BOOT_ID, _PID_SPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
_numbers = itertools.count()


def write_file(path: Path, data: bytes) -> None:
    """Puts `data` at `path` (see `replacing`)."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file that takes the place of `path` (see `replacing`); its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        write(temporary)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`, with its suffix; what is written there is synced and renamed over `path` at the end.

    Several processes may do so at once: the last one wins and each file is whole. After an error nothing is left behind.
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Where a process writes `path` before renaming it; the name tells a later run on this machine whether the writer is alive."""
    return path.with_name(f"{_PREFIX}{_process_space()}-{os.getpid()}-{next(_numbers)}-{path.name}")


def remove_leftovers(folder: Path) -> None:
    """Deletes temporary files left in `folder` by dead processes of this machine, in this boot and this container.

    Of all others, also those that were here before the machine was started anew, nothing tells whether their writer lives.
    """
    space = f"{_PREFIX}{_process_space()}-"
    for path in folder.glob(f"{_PREFIX}*"):
        if path.name.startswith(space) and not _is_alive(path.name.removeprefix(space).split("-")[0]):
            path.unlink(missing_ok=True)


def _process_space() -> str:
    """Names where a process id means one process: host, boot and, for containers, pid namespace.

    Hosts of a cluster may share a name, and all of them number their first namespace alike; no two boots share their id.
    """
    try:
        parts = [os.uname().nodename, _BOOT_ID.read_text(encoding="ascii").strip(), str(os.stat(_PID_SPACE).st_ino)]
    except OSError:  # without /proc nobody's life can be told: a name that no other fits
        parts = [os.urandom(16).hex()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _is_alive(pid: str) -> bool:
    """Whether a process of that id runs; a zombie, which a container without an init keeps for ever, does not."""
    try:
        state = Path(f"/proc/{int(pid)}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, ValueError, IndexError):
        return False
    return state not in (b"Z", b"X")
