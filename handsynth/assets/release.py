"""Finding one file of a release: given as itself, somewhere in a folder, or in a zip archive, however that was packed."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from handsynth.core.errors import AssetError

MAX_DEPTH = 5
"""Folders below the given one that are searched: models/, smplx/models/mano/ and what people put around them."""
MAX_ENTRIES = 20_000
"""Names that are looked at in a folder: nobody keeps a release in a larger one, and a home folder is not searched for minutes."""


class Found(NamedTuple):
    """A file of a release."""

    path: Path  # where it can be read
    name: str  # its path in the release


@contextmanager
def release_file(source: Path, names: Sequence[str], limit_bytes: int) -> Iterator[Found | None]:
    """Yields the first of `names` that `source` holds, or None when it holds none of them.

    Args:
        source: the file itself, a folder somewhere above it, or a zip archive, recognised by its content.
        names: file names, with as many of the folders above them as distinguish them, best first. A file matches
            when its path ends so, whatever is above; of several the one least deep counts. Upper and lower case are the same.
        limit_bytes: a bigger member of an archive is refused unread.

    A member of an archive is copied to a temporary file of our own naming for as long as the context lasts, so no path of the
    archive ever reaches the disk. Raises AssetError when `source` is missing, damaged or unreadable.
    """
    if source.is_dir():
        paths = {str(source.absolute() / name): name for name in _files(source)}
        best = _best(names, paths)
        yield Found(Path(best), paths[best]) if best else None
    elif source.is_file() and _best([PurePosixPath(name).name for name in names], [source.name]):
        yield Found(source, source.name)
    elif is_zip(source):
        with tempfile.TemporaryDirectory(prefix="handsynth-") as folder:
            yield _from_zip(source, names, limit_bytes, Path(folder) / "member")
    elif source.suffix.lower() == ".zip" and source.is_file():
        raise AssetError(f"{source} cannot be unpacked (it is no zip archive, or is cut); download it again")
    elif source.exists():
        yield None
    else:
        raise AssetError(f"{source} does not exist; give the downloaded file, its folder or its zip")


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip archive does, which an .npz is too."""
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"PK"
    except OSError:
        return False


def _best(names: Sequence[str], paths: Iterable[str]) -> str | None:
    """The least deep of the paths that end in the first of `names` in which any ends."""
    parts = [(path, [part.casefold() for part in PurePosixPath(path).parts]) for path in paths]
    for name in names:
        wanted = [part.casefold() for part in PurePosixPath(name).parts]
        fitting = [(len(own), path) for path, own in parts if own[-len(wanted) :] == wanted]
        if fitting:
            return min(fitting)[1]
    return None


def _files(folder: Path) -> list[str]:
    """Files below a folder, relative to it, the least deep first; hidden folders and links to folders are not entered."""
    found: list[str] = []
    level = [""]
    for _ in range(MAX_DEPTH + 1):
        below: list[str] = []
        for inside in level:
            try:
                with os.scandir(folder / inside) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            below += [] if entry.name.startswith(".") else [f"{inside}{entry.name}/"]
                        elif entry.is_file():
                            found.append(f"{inside}{entry.name}")
            except OSError:  # a folder that may not be listed
                continue
            if len(found) + len(below) > MAX_ENTRIES:
                return sorted(found)
        level = sorted(below)
    return sorted(found)


def _from_zip(archive: Path, names: Sequence[str], limit_bytes: int, target: Path) -> Found | None:
    """Copies the first of `names` that an archive holds to `target`."""
    try:
        with zipfile.ZipFile(archive) as file:
            members = {member.filename: member for member in file.infolist() if not member.is_dir()}
            best = _best(names, members)
            if best is None:
                return None
            member = members[best]
            if member.file_size > limit_bytes:
                raise AssetError(f"{archive}: {ascii(best)[1:-1]} unpacks to {member.file_size:,} bytes, more than {limit_bytes:,}")
            with file.open(member) as packed, open(target, "wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)  # stops with an error past the declared size
            return Found(target, best)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise AssetError(f"{archive} cannot be unpacked ({_line(error)}); download it again") from None
    except Exception as error:  # zlib and lzma raise their own kinds
        if isinstance(error, AssetError):
            raise
        raise AssetError(f"{archive} is damaged ({_line(error)}); download it again") from None


def _line(error: Exception) -> str:
    """An error as a part of a sentence; a member's name may hold anything."""
    return ascii(str(error))[1:-1][:120]
