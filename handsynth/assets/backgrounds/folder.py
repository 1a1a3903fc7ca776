"""Any folder of images as backgrounds: listed in a fixed order, looked at once, damaged files left out."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from handsynth.assets.backgrounds.images import MAX_BYTES, SUFFIXES, TRANSIENT_ERRORS, BackgroundError, check_image, decode_image
from handsynth.assets.backgrounds.protocol import Backgrounds
from handsynth.assets.store import read_cache, write_cache
from handsynth.core.errors import AssetError
from handsynth.core.locations import cache_dir

# The same file may be readable a moment later; to replace it would make two runs differ.
_TRANSIENT_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EINTR, errno.ESTALE, errno.EAGAIN})


def describe_skipped(backgrounds: Backgrounds) -> str | None:
    """One sentence on the files of a folder that cannot serve, None if all can: a caller shows it on stderr."""
    skipped: Mapping[str, str] = getattr(backgrounds, "skipped", {})
    if not skipped:
        return None
    shown = [f"{name} ({reason})" for name, reason in list(skipped.items())[:5]]
    rest = len(skipped) - len(shown)
    tail = f" and {rest} more" if rest else ""
    root = getattr(backgrounds, "root", "")
    return f"skipped {len(skipped)} of {len(skipped) + len(backgrounds)} images in {root}: {', '.join(shown)}{tail}"


class ImageFolder:
    """The usable images of a folder and its subfolders, in the order of their relative names.

    Each file's header is looked at once; the findings are kept in the cache, so that a second start only lists the folder.
    """

    name = "folder"
    licence = "images of a folder given by the user; their licences are not known to handsynth"

    def __init__(self, root: Path) -> None:
        """Raises AssetError when the folder cannot be listed or holds no usable image."""
        self.root = root.resolve()
        found, self.skipped = list_images(self.root)
        self.names: list[str] = []
        rows = []
        for file, reason in _check_all(self.root, found).items():
            if reason is None:
                self.names.append(file)
                rows.append((file, found[file][0], self.licence))
            else:
                self.skipped[file] = reason
        require_some(self, f"no usable image in {root}", "give --backgrounds a folder with JPEG or PNG images, or leave it out")
        self.digest = list_digest(self.name, rows)

    def __len__(self) -> int:
        return len(self.names)

    def label(self, index: int) -> dict[str, Any]:
        """See Backgrounds.label."""
        return {"name": self.names[index], "licence": self.licence}

    def read(self, index: int) -> np.ndarray:
        """See Backgrounds.read."""
        return read_image(self.root, self.names[index])


def read_image(root: Path, name: str) -> np.ndarray:
    """uint8 (H, W, 3) of the file `name` under `root`. Raises BackgroundError, or AssetError for faults that may pass."""
    try:
        data = (root / name).read_bytes()
    except OSError as error:
        if error.errno in _TRANSIENT_ERRNOS:
            raise AssetError(f"the background {root / name} cannot be read now ({error.strerror}): try again") from error
        raise BackgroundError(f"{name}: {error.strerror}") from error
    try:
        return decode_image(data)
    except BackgroundError as error:
        raise BackgroundError(f"{name}: {error}") from error


def list_images(root: Path) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """Image files under `root`: {relative name: (bytes, mtime [ns])} sorted by name, and {name: reason} of those left out.

    Recognised by the ending of the name; hidden files are ignored; symbolic links count only while they stay inside the folder.
    Raises AssetError when `root` itself cannot be listed.
    """
    found: dict[str, tuple[int, int]] = {}
    skipped: dict[str, str] = {}

    def stop_at_root(error: OSError) -> None:
        if error.filename == str(root):
            raise AssetError(
                f"the background folder {root} cannot be listed ({error.strerror}): give --backgrounds another"
            ) from error

    for folder, folders, files in os.walk(root, onerror=stop_at_root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in files:
            path = Path(folder, file)
            if file.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            name = path.relative_to(root).as_posix()
            reason, status = _look(path, root)
            if reason is None and status is not None:
                found[name] = (status.st_size, status.st_mtime_ns)
            else:
                skipped[name.encode("utf-8", "backslashreplace").decode()] = reason or "is gone"
    return dict(sorted(found.items())), dict(sorted(skipped.items()))


def _look(path: Path, root: Path) -> tuple[str | None, os.stat_result | None]:
    """Why the file is out of the question (None if it is not), and its status."""
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            if not path.resolve().is_relative_to(root):
                return "a symbolic link that leaves the folder", None
            status = path.stat()
        str(path).encode("utf-8")
    except OSError as error:
        return error.strerror, None
    except UnicodeEncodeError:
        return "its name is not UTF-8", None
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file", None
    if status.st_size > MAX_BYTES:
        return f"{status.st_size >> 20} MB, more than {MAX_BYTES >> 20}", None
    return None, status


def _check_all(root: Path, found: Mapping[str, tuple[int, int]]) -> dict[str, str | None]:
    """check_image of every file, taken from the cache where size and time of change are the same."""
    key = hashlib.sha256(os.fsencode(root) + PIL.__version__.encode()).hexdigest()[:16]
    cache = cache_dir() / f"images-{key}.json"
    known = read_cache(cache)
    verdicts: dict[str, str | None] = {}
    entries: dict[str, list[Any]] = {}
    for name, (size, changed) in found.items():
        entry = known.get(name)
        if not (isinstance(entry, list) and len(entry) == 3 and entry[:2] == [size, changed]):
            entry = [size, changed, check_image(root / name)]
        verdicts[name] = entry[2]
        if entry[2] not in TRANSIENT_ERRORS:
            entries[name] = entry
    if entries != known:
        write_cache(cache, entries)
    return verdicts


def list_digest(kind: str, rows: Iterable[tuple[str, int, str]]) -> str:
    """SHA-256 of an ordered list of (name, bytes, licence)."""
    digest = hashlib.sha256(kind.encode())
    for row in rows:
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def require_some(backgrounds: ImageFolder, problem: str, advice: str) -> None:
    """Raises AssetError with both sentences and what was skipped, unless there is an image."""
    if len(backgrounds) == 0:
        skipped = describe_skipped(backgrounds)
        raise AssetError(f"{problem}{f' ({skipped})' if skipped else ''}: {advice}")
