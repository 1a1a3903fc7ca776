"""Folders of datasets: a local one, or one behind an address such as s3://bucket/name; a file in either is whole or not there."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.files import remove_leftovers, write_file
from handsynth.core.remote import RemoteFiles
from handsynth.core.shard import Members, ShardInfo, read_shard, write_shard


class Folder(Protocol):
    """Where a dataset lies. Names are relative, with "/" between folder and file.

    What cannot be listed, written or removed raises HandsynthError in one sentence that names the folder and says what to do.
    """

    def __str__(self) -> str: ...  # for messages: as the user gave it, without secrets

    @property
    def address(self) -> str:
        """What `open_folder` opens again in a process elsewhere."""
        ...

    def list(self, sub: str = "") -> dict[str, int]:
        """{name: bytes} of what lies in the folder or in its folder `sub`, sorted; empty when there is no such folder."""
        ...

    def read(self, name: str) -> bytes:
        """A file. Raises FileNotFoundError and other OSErrors, or HandsynthError when a remote folder does not answer."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Replaces a file; whoever reads it meanwhile finds the old one or the new one."""
        ...

    def write_shard(self, name: str, samples: Iterable[tuple[int, Members]]) -> ShardInfo:
        """core.shard.write_shard into this folder. Errors of `samples` stay what they are, OSErrors too."""
        ...

    def remove(self, name: str) -> None:
        """Deletes a file, if it is there."""
        ...

    def remove_leftovers(self, sub: str = "") -> None:
        """Deletes what dead writers of this machine left half-written."""
        ...


def open_folder(where: Path | str) -> Folder:
    """The folder behind a path or an address. Nothing is made or queried yet.

    Raises UsageError for an address of an unknown kind, AssetError when the library for its kind is not installed.
    """
    text = str(where)
    if isinstance(where, Path) or "://" not in text:
        return LocalFolder(Path(where))
    if text.startswith("file://"):
        return LocalFolder(Path(text.removeprefix("file://")))
    return RemoteFolder(text)


def read_samples(folder: Folder, name: str) -> Iterator[tuple[int, Members]]:
    """core.shard.read_shard of a shard in a folder. Raises HandsynthError naming it when it cannot be read or is damaged."""
    yield from read_shard(read_file(folder, name), name)


def read_file(folder: Folder, name: str) -> bytes:
    """The bytes of a file. Raises HandsynthError naming it when it cannot be read."""
    try:
        return folder.read(name)
    except OSError as error:
        raise HandsynthError(f"{name} in {folder} cannot be read: {error.strerror or error}") from None


class _OfSamples(Exception):
    """Carries an error of the samples of a shard past the handlers of the disk that it is written to."""

    def __init__(self, error: OSError) -> None:
        self.error = error


def _marked(samples: Iterable[tuple[int, Members]]) -> Iterator[tuple[int, Members]]:
    try:
        yield from samples
    except OSError as error:
        raise _OfSamples(error) from error


def _write_shard(path: Path, samples: Iterable[tuple[int, Members]], blame: Callable[[OSError], HandsynthError]) -> ShardInfo:
    """core.shard.write_shard, with `blame` making the error of the disk at `path`."""
    try:
        return write_shard(path, _marked(samples))
    except _OfSamples as carrier:
        raise carrier.error from None
    except OSError as error:
        raise blame(error) from None


@dataclass(frozen=True)
class LocalFolder:
    """A folder of a file system. Files are written under a temporary name, synced and renamed."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def address(self) -> str:
        """See Folder.address."""
        return str(self.path.absolute())

    def list(self, sub: str = "") -> dict[str, int]:
        """See Folder.list. Raises UsageError when the folder is a file."""
        found = {}
        with self._errors("listed"), contextlib.suppress(FileNotFoundError):
            try:
                entries = sorted(os.scandir(self.path / sub), key=lambda entry: entry.name)
            except NotADirectoryError:
                if self.path.is_file():
                    raise UsageError(f"{self} is a file: name a folder") from None
                raise
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # it was another writer's, and has been renamed
                    found[entry.name] = entry.stat().st_size
        return found

    def read(self, name: str) -> bytes:
        """See Folder.read."""
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """See Folder.write."""
        with self._errors():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            write_file(self.path / name, data)

    def write_shard(self, name: str, samples: Iterable[tuple[int, Members]]) -> ShardInfo:
        """See Folder.write_shard."""
        return _write_shard(self.path / name, samples, self._failure)

    def remove(self, name: str) -> None:
        """See Folder.remove."""
        with self._errors():
            (self.path / name).unlink(missing_ok=True)

    def remove_leftovers(self, sub: str = "") -> None:
        """See Folder.remove_leftovers."""
        with self._errors():
            remove_leftovers(self.path / sub)

    @contextlib.contextmanager
    def _errors(self, done: str = "written to") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failure(error, done) from None

    def _failure(self, error: OSError, done: str = "written to") -> HandsynthError:
        again = "whole shards are kept: run the same command to go on"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return HandsynthError(f"the disk of {self} is full: free some space ({again})")
        reason = error.strerror or str(error)
        return HandsynthError(f"{self} cannot be {done} ({reason}): name another folder, or repair this one ({again})")


class RemoteFolder(RemoteFiles):
    """A folder that fsspec reaches. An object store puts an object whole or not at all.

    Where a kind of storage does not (sftp, smb), a shard that was cut off has other bytes than its sidecar says, and is made
    again.
    """

    def __init__(self, url: str) -> None:
        """See open_folder."""

        def url_to_fs(url: str) -> tuple[Any, str]:
            import fsspec

            return fsspec.url_to_fs(url, use_listings_cache=False)

        super().__init__(url, url_to_fs)

    def list(self, sub: str = "") -> dict[str, int]:
        """See Folder.list."""
        place = f"{self._root}/{sub}".rstrip("/")
        try:
            entries = self._ask("listed", lambda: self._files.ls(place, detail=True))
        except FileNotFoundError:
            return {}
        names = {entry["name"].rstrip("/").removeprefix(f"{place}/"): int(entry["size"] or 0) for entry in entries}
        return {name: names[name] for name in sorted(names) if name != place}  # a store may list the folder in itself

    def write(self, name: str, data: bytes) -> None:
        """See Folder.write."""
        self._change("written to", lambda: self._files.pipe_file(f"{self._root}/{name}", data))

    def write_shard(self, name: str, samples: Iterable[tuple[int, Members]]) -> ShardInfo:
        """See Folder.write_shard. The shard is made in this machine's temporary folder first ($TMPDIR)."""
        with tempfile.TemporaryDirectory(prefix="handsynth-") as folder:
            path = Path(folder) / name
            info = _write_shard(path, samples, self._on_the_way)
            self._change("written to", lambda: self._files.put_file(str(path), f"{self._root}/{name}"))
        return info

    def _on_the_way(self, error: OSError) -> HandsynthError:
        place = tempfile.gettempdir()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return HandsynthError(f"{place} has no room for a shard on its way to {self}: set TMPDIR to a larger disk")
        reason = error.strerror or str(error)
        return HandsynthError(f"{place}, for a shard on its way to {self}, cannot be written to ({reason}): set TMPDIR to another")

    def remove(self, name: str) -> None:
        """See Folder.remove."""
        with contextlib.suppress(FileNotFoundError):
            self._ask("written to", lambda: self._files.rm_file(f"{self._root}/{name}"))

    def remove_leftovers(self, sub: str = "") -> None:
        """See Folder.remove_leftovers: there are none."""
