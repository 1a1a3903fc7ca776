"""Shards: deterministic WebDataset tars, written whole or not at all, and the index beside them."""

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from handsynth.core.conventions import READABLE_SCHEMAS, check_schema
from handsynth.core.errors import HandsynthError

Members = dict[str, bytes]
"""One encoded sample: file extension ("jpg", "mask.png", "json", "vertices.npy", ...) -> bytes."""

_MEMBER_NAME = re.compile(r"[0-9]{9}(\.[a-z]+)+")

MAX_MEMBER_BYTES = 1 << 26
"""A member of a shard above this size (64 MiB) is taken for damage or malice, and refused."""


@dataclass(frozen=True)
class ShardInfo:
    """What the index says of one shard."""

    name: str
    count: int
    bytes: int
    sha256: str
    first: int  # dataset index of the first sample
    last: int  # dataset index of the last sample
    replaced_backgrounds: int = 0


def shard_name(number: int) -> str:
    """File name of shard `number`."""
    return f"shard-{number:06d}.tar"


def temporary_name(path: Path) -> Path:
    """Where a process writes `path` before renaming it; the process id lets a later run know leftovers by their dead owner."""
    return path.with_name(f"{_process_space()}{os.getpid()}-{path.name}")


def _process_space() -> str:
    """Prefix of temporary names within which process ids mean something: machine and, for containers, pid namespace."""
    return f".tmp-{os.uname().nodename}-{os.stat('/proc/self/ns/pid').st_ino}-"


def remove_leftovers(folder: Path) -> None:
    """Deletes temporary files left in `folder` by processes of this machine that are no longer alive."""
    space = _process_space()
    for path in folder.glob(".tmp-*"):
        if path.name.startswith(space):
            pid = path.name.removeprefix(space).split("-")[0]
            if not _is_alive(pid):
                path.unlink(missing_ok=True)


def _is_alive(pid: str) -> bool:
    """Whether a process of that id runs; a zombie, which a container without an init keeps for ever, does not."""
    try:
        return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, ValueError, IndexError):
        return False


def write_file(path: Path, data: bytes) -> None:
    """Writes `data` under a temporary name, syncs it and renames it to `path`."""
    temporary = temporary_name(path)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_shard(path: Path, samples: Iterable[tuple[int, Members]]) -> ShardInfo:
    """Writes samples as a tar with fixed owner, mode and time; the same samples give the same bytes.

    Members are named `000000123.jpg` and so on: nine digits, no dot in the key. The file appears under its own name only
    when it is whole and on disk.
    """
    temporary = temporary_name(path)
    digest, count, size, indices = hashlib.sha256(), 0, 0, []
    try:
        with open(temporary, "wb", buffering=1 << 20) as file:

            def put(data: bytes) -> None:
                nonlocal size
                digest.update(data)
                file.write(data)
                size += len(data)

            for index, members in samples:
                for extension, data in members.items():
                    put(_header(f"{index:09d}.{extension}", len(data)))
                    put(data)
                    put(bytes(-len(data) % tarfile.BLOCKSIZE))
                count += 1
                indices.append(index)
            end = 2 * tarfile.BLOCKSIZE
            put(b"\0" * (end + -(size + end) % tarfile.RECORDSIZE))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return ShardInfo(path.name, count, size, digest.hexdigest(), indices[0], indices[-1])


def _header(name: str, size: int) -> bytes:
    """The USTAR header of a member, as tarfile writes it, in a tenth of the time. `name` is ASCII, at most 100 characters."""
    block = bytearray(_HEADER)
    block[: len(name)] = name.encode("ascii")
    block[124:135] = b"%011o" % size
    block[148:154] = b"%06o" % sum(block)  # with spaces in its own place
    block[154] = 0
    return bytes(block)


def _blank_header() -> bytes:
    """A header without name and size, and with spaces for its checksum."""
    info = tarfile.TarInfo()
    info.mode, info.uname, info.gname = 0o444, "hand", "hand"
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[148:156] = b" " * 8
    return bytes(block)


_HEADER = _blank_header()


def read_shard(source: Path | bytes, name: str = "shard") -> Iterator[tuple[int, Members]]:
    """Yields (index, members) of each sample of a shard, in order. Reads names and bytes only: nothing is extracted.

    `source` is its file or its content; `name` is what messages call the latter. Raises HandsynthError naming the shard when
    it is truncated, is not a tar, or holds what no shard of ours holds.
    """
    name = source.name if isinstance(source, Path) else name
    key: str | None = None
    members: Members = {}
    try:
        opened = tarfile.open(source, "r:") if isinstance(source, Path) else tarfile.open(fileobj=io.BytesIO(source), mode="r:")
        with opened as tar:
            for entry in tar:
                stem, _, extension = entry.name.partition(".")
                if not (entry.isreg() and _MEMBER_NAME.fullmatch(entry.name)) or entry.size > MAX_MEMBER_BYTES:
                    raise HandsynthError(f"{name} holds {entry.name[:80]!r}, which is no sample of a handsynth shard")
                if key is not None and stem != key:
                    yield int(key), members
                    members = {}
                key = stem
                data = tar.extractfile(entry).read()  # type: ignore[union-attr]
                if len(data) != entry.size or extension in members:
                    raise HandsynthError(f"{name} is damaged at {entry.name}")
                members[extension] = data
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise HandsynthError(f"{name} is truncated or is not a tar: {error}") from None
    if key is not None:
        yield int(key), members


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes. Refuses NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def index_bytes(index: dict[str, Any]) -> bytes:
    """`index.json` as it is written: for people too, and so that equal values give equal bytes."""
    return json.dumps(index, indent=1, sort_keys=True).encode() + b"\n"


class Readable(Protocol):
    """A folder that is not a path: it gives the bytes of a file by name, or raises FileNotFoundError."""

    def read(self, name: str) -> bytes:
        """The file's bytes."""
        ...


def read_index(folder: Path | Readable) -> dict[str, Any]:
    """Reads `index.json` of a dataset. Raises HandsynthError in one sentence when it is missing, damaged or of another schema."""
    path = f"{folder}/index.json"
    try:
        index = json.loads((folder / "index.json").read_bytes() if isinstance(folder, Path) else folder.read("index.json"))
        canonical_json(index)  # refuses NaN and infinity
    except FileNotFoundError:
        raise HandsynthError(
            f"{folder} holds no index.json: it is no finished dataset; run `handsynth generate SPEC {folder}` to finish it"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise HandsynthError(f"{path} is damaged: {error}; `handsynth generate` with the same arguments writes it again") from None
    if not isinstance(index, dict) or not all(isinstance(index.get(key), kind) for key, kind in _INDEX_KEYS.items()):
        raise HandsynthError(f"{path} is no index of a handsynth dataset")
    check_schema(index["schema"], path)
    if index["schema"] != READABLE_SCHEMAS[0] and not (type(index.get("num_shapes")) is int and index["num_shapes"] >= 0):
        raise HandsynthError(f"{path} is damaged: num_shapes is {index.get('num_shapes')!r:.40}")
    for entry in index["shards"]:
        good = isinstance(entry, dict) and all(type(entry.get(key)) is kind for key, kind in _SHARD_KEYS.items())
        if not good or not _SHARD_NAME.fullmatch(entry["name"]):
            raise HandsynthError(f"{path} is damaged: it describes a shard as {entry!r:.100}")
    return index


_SHARD_NAME = re.compile(r"shard-\d{6,9}\.tar", re.ASCII)
_SHARD_KEYS = {f.name: f.type for f in fields(ShardInfo)}
_INDEX_KEYS: dict[str, type] = {
    "schema": str, "name": str, "dataset": str, "spec": dict, "selection": str, "assets": dict, "drivers": list,
    "samples": int, "num_vertices": int, "fingertips": list, "shards": list,
}  # fmt: skip
