"""Finding one file of a release: given as itself, in a folder, or inside the release's own zip archive."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from handsynth.core.errors import AssetError


class Found(NamedTuple):
    """A file of a release."""

    path: Path  # where it can be read
    name: str  # its path in the release


@contextmanager
def release_file(source: Path, names: Sequence[str], limit_bytes: int) -> Iterator[Found | None]:
    """Yields the first of `names` that `source` holds, or None when it holds none of them.

    Args:
        source: the file itself, a folder somewhere above it, or a zip archive of that folder.
        names: paths as the release has them ("models/MANO_RIGHT.pkl"), best first; a file matches when its path ends in
            one of them, or, in a folder, when it lies there directly under its last part.
        limit_bytes: a bigger member of an archive is refused unread.

    A member of an archive is copied to a temporary file of our own naming for as long as the context lasts, so no path of the
    archive ever reaches the disk. Raises AssetError when `source` is missing, damaged or unreadable.
    """
    if source.is_dir():
        yield _in_folder(source, names)
    elif source.suffix.lower() == ".zip" and source.is_file():
        with tempfile.TemporaryDirectory(prefix="handsynth-") as folder:
            yield _from_zip(source, names, limit_bytes, Path(folder) / "member")
    elif source.exists():
        yield Found(source, str(source)) if source.name in {PurePosixPath(name).name for name in names} else None
    else:
        raise AssetError(f"{source} does not exist; give the downloaded file, its folder or its zip")


def _in_folder(folder: Path, names: Sequence[str]) -> Found | None:
    """First of `names` below a folder: in the release's place, directly, or deeper down."""
    for name in names:
        for candidate in (folder / name, folder / PurePosixPath(name).name):
            if candidate.is_file():
                return Found(candidate, name)
        deeper = sorted(p for p in folder.glob(f"*/{name}") if p.is_file())
        if deeper:
            return Found(deeper[0], name)
    return None


def _from_zip(archive: Path, names: Sequence[str], limit_bytes: int, target: Path) -> Found | None:
    """Copies the first of `names` that an archive holds to `target`."""
    try:
        with zipfile.ZipFile(archive) as file:
            members = sorted(file.infolist(), key=lambda m: (m.filename.count("/"), m.filename))
            for name in names:
                wanted = PurePosixPath(name).parts
                for member in members:
                    if member.is_dir() or PurePosixPath(member.filename).parts[-len(wanted) :] != wanted:
                        continue
                    if member.file_size > limit_bytes:
                        raise AssetError(
                            f"{archive}: {member.filename} unpacks to {member.file_size:,} bytes, more than {limit_bytes:,}"
                        )
                    with file.open(member) as packed, open(target, "wb") as unpacked:
                        shutil.copyfileobj(packed, unpacked, 1 << 20)  # stops with an error past the declared size
                    return Found(target, member.filename)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise AssetError(f"{archive} cannot be unpacked ({error}); download it again") from None
    except Exception as error:  # zlib and lzma raise their own kinds
        if isinstance(error, AssetError):
            raise
        raise AssetError(f"{archive} is damaged ({error}); download it again") from None
    return None
