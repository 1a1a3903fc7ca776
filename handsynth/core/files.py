"""How a file is put on disk: whole or not at all, under a temporary name that tells whether its writer still lives.

And which names from outside stay in their folder.
"""

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from handsynth.core.errors import HandsynthError, UsageError

_PREFIX = ".tmp-"
_BOOT_ID, _PID_SPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
_numbers = itertools.count()


def inner_path(name: str) -> str:
    """A relative path that a foreign file gives, plain. Raises ValueError where it leads out, TypeError where it is no text."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ValueError(f"the file name {name!r:.60} leads out of the folder")
    return path.as_posix()


def check_out_folder(path: Path) -> None:
    """Checks, before any work is done for it, that results can be written into a folder. Nothing is made or left behind.

    Raises UsageError when the folder, or what should hold it, is a file; HandsynthError when the system refuses to write there.
    """
    _check_out(path, path)


def check_out_file(path: Path) -> None:
    """The same for a file to write. Raises UsageError, too, when there is a folder or a device of that name."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the file to write, such as {path / 'NAME'}")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no regular file: give another")
    _check_out(path.parent, path)


def _check_out(folder: Path, path: Path) -> None:
    """Writes something, of which nothing is left, into the folder or the nearest one above it that is there."""
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
        if not there.is_dir():
            raise UsageError(f"{there} is a file: name a folder{'' if there == path else f' in place of {path}'}")
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(4096))  # a full disk takes a file's name, but not its content
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise HandsynthError(f"{path} cannot be written: {error.strerror}") from None


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

    Several processes may do so at once: the last one wins and each file is whole. After an error nothing is left behind; an
    OSError, which tells no name when a write fails, is raised with that of `path`.
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is not None and os.fspath(error.filename) != os.fspath(temporary):
            raise
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; what is put into it is synced and then renamed to `path`, which is new.

    `path` is there whole or not at all. What dead processes left of it is removed first; after an error nothing is left.
    Raises UsageError when there is something of that name, OSError when it cannot be written.
    """
    if os.path.lexists(path):
        raise UsageError(f"{path} is there already: name another place, or remove it first")
    check_out_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, path.name)
    temporary = temporary_name(path)
    temporary.mkdir()
    try:
        yield temporary
        os.sync()  # once: to sync each of a hundred thousand files by itself takes as long as to make them
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def temporary_name(path: Path) -> Path:
    """Where a process writes `path` before renaming it; the name tells a later run on this machine whether the writer is alive."""
    return path.with_name(f"{_PREFIX}{_process_space()}-{os.getpid()}-{next(_numbers)}-{path.name}")


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Deletes temporary files and folders left in `folder` by dead processes of this machine, in this boot and this container.

    With a name only those of the file or folder of that name.

    Of all others, also those that were here before the machine was started anew, nothing tells whether their writer lives.
    """
    space = f"{_PREFIX}{_process_space()}-"
    for path in folder.glob(f"{_PREFIX}*"):
        pid, _, rest = path.name.removeprefix(space).partition("-")
        if path.name.startswith(space) and name in ("", rest.partition("-")[2]) and not _is_alive(pid):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _process_space() -> str:
    """Names where a process id means one process: host, boot and, for containers, pid namespace.

    Hosts of a cluster may share a name, and all of them number their first namespace alike; no two boots share their id.
    """
    try:
        parts = [os.uname().nodename, _BOOT_ID.read_text(encoding="ascii").strip(), str(os.stat(_PID_SPACE).st_ino)]
    except OSError:  # without /proc nobody can be seen to live: a name that no other fits
        parts = [os.urandom(16).hex()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _is_alive(pid: str) -> bool:
    """Whether a process of that id runs; a zombie, which a container without an init keeps for ever, does not."""
    try:
        state = Path(f"/proc/{int(pid)}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, ValueError, IndexError):
        return False
    return state not in (b"Z", b"X")
