"""Datasets behind an address such as s3://bucket/name: fetched into the cache once, checked, and read from there.

Training reads samples in random order, epoch after epoch. By byte ranges that would be hundreds of requests a second to an object
store, each of some tens of milliseconds; a copy takes one request a shard, and later epochs and runs none. It needs as much disk as
the dataset: $HANDSYNTH_CACHE says where, and the copy may be deleted at any time.
"""

import contextlib
import errno
import fcntl
import hashlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm import tqdm

from handsynth.core.errors import HandsynthError
from handsynth.core.files import remove_leftovers, replacing, write_file
from handsynth.core.index import index_bytes, read_index
from handsynth.core.locations import CACHE_VARIABLE, cache_dir, cache_error, check_cache
from handsynth.core.remote import RemoteFiles

AT_ONCE = 4
"""Shards that are fetched at a time."""


def open_files(address: str) -> RemoteFiles:
    """The files behind an address. Raises UsageError for an unknown kind, AssetError when the library for its kind is missing."""

    def url_to_fs(url: str) -> tuple[Any, str]:
        import fsspec

        return fsspec.url_to_fs(url, use_listings_cache=False)

    return RemoteFiles(address, url_to_fs)


def fetch_dataset(files: RemoteFiles, skip_bad: bool = False) -> tuple[Path, dict[str, str]]:
    """Copies index and shards of a dataset into the cache -> the folder there, and why shards are missing from it.

    The folder is named by the index, which names every shard's SHA-256: a dataset that is made anew gets another, and no shard is
    kept under its name whose bytes were not those. Several processes may open one dataset: the first fetches, the others wait.

    Args:
        files: the dataset's.
        skip_bad: leave shards out that are missing or are not what the index says, rather than stop.

    Raises HandsynthError when the folder holds no dataset, does not answer or a shard is bad; AssetError when the cache cannot be
    written to.
    """
    index = read_index(files)
    check_cache()
    data = index_bytes(index)
    folder = cache_dir() / "datasets" / hashlib.sha256(data).hexdigest()[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            remove_leftovers(folder)
            bad = _fetch_shards(files, folder, index["shards"], skip_bad)
            write_file(folder / "index.json", data)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(f"{files} does not fit into {folder}") from None
        raise cache_error(error) from None
    return folder, bad


def _no_room(what: str) -> HandsynthError:
    return HandsynthError(f"{what}: set {CACHE_VARIABLE} to a folder on a larger disk")


def _fetch_shards(files: RemoteFiles, folder: Path, entries: list[dict[str, Any]], skip_bad: bool) -> dict[str, str]:
    missing = [entry for entry in entries if not _is_there(folder / entry["name"], entry)]
    total = sum(entry["bytes"] for entry in missing)
    free = shutil.disk_usage(folder).free
    if total > free:
        raise _no_room(f"{files} has {total / 1e9:.1f} GB to fetch, {folder} has {free / 1e9:.1f} GB free")
    bad: dict[str, str] = {}
    if not missing:
        return bad
    with (
        tqdm(total=total, desc=f"fetching {files}", unit="B", unit_scale=True) as bar,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):

        def fetch(entry: dict[str, Any]) -> None:
            try:
                _fetch_shard(files, folder / entry["name"], entry)
            except HandsynthError as error:
                if not skip_bad:
                    raise
                bad[entry["name"]] = str(error)
            bar.update(entry["bytes"])

        futures = [pool.submit(fetch, entry) for entry in missing]
        try:
            for future in as_completed(futures):
                future.result()
        finally:  # after a bad shard, those that have not begun are not fetched
            pool.shutdown(cancel_futures=True)
    return bad


def _fetch_shard(files: RemoteFiles, path: Path, entry: dict[str, Any]) -> None:
    """Raises HandsynthError when it is not there or is not the shard that the index describes."""
    with replacing(path) as temporary:
        try:
            files.fetch(path.name, temporary)
        except FileNotFoundError:
            raise HandsynthError(f"{files}/{path.name} cannot be read: it does not exist") from None
        with open(temporary, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != entry["sha256"]:
            raise HandsynthError(
                f"{files}/{path.name} is damaged: its SHA-256 is {digest:.12}, the index says {entry['sha256']:.12}; "
                f"`handsynth generate` with the same arguments makes it again"
            )


def _is_there(path: Path, entry: dict[str, Any]) -> bool:
    return path.exists() and path.stat().st_size == entry["bytes"]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process of this machine fetches into the folder."""
    with open(folder.with_suffix(".lock"), "wb") as file:
        with contextlib.suppress(OSError):  # a file system without locks: whoever comes second fetches too
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
