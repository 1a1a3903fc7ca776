"""Shards: deterministic WebDataset tars, written whole or not at all, and read without trust."""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from handsynth.core.errors import HandsynthError
from handsynth.core.files import replacing

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
    driver: str = ""  # OpenGL driver that drew its images; empty when nothing was drawn, or when an older version wrote the index


def shard_name(number: int) -> str:
    """File name of shard `number`."""
    return f"shard-{number:06d}.tar"


def write_shard(path: Path, samples: Iterable[tuple[int, Members]]) -> ShardInfo:
    """Writes samples as a tar with fixed owner, mode and time; the same samples give the same bytes.

    Members are named `000000123.jpg` and so on: nine digits, no dot in the key. The file appears under its own name only
    when it is whole and on disk.
    """
    digest, count, size, indices = hashlib.sha256(), 0, 0, []
    with replacing(path) as temporary, open(temporary, "wb", buffering=1 << 20) as file:

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
