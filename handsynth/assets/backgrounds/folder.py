"""Any folder of images as backgrounds: listed in a fixed order, looked at once, damaged files left out."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from handsynth.assets.store import read_cache, write_cache
from handsynth.core.errors import AssetError
from handsynth.core.images import IMAGE_SUFFIXES, MAX_BYTES, TRANSIENT_REASONS, ImageError, check_image, decode_image
from handsynth.core.locations import cache_dir

ENOUGH_SIDE = 1024
"""JPEGs at least twice as large on the shorter side are decoded at a reduced scale that keeps this many pixels."""

_CACHE_VERSION = 2  # to be raised with the rules of core.images

# The same file may be readable a moment later; to replace it would make two runs differ.
_TRANSIENT_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EINTR, errno.ESTALE, errno.EAGAIN})


@dataclass(frozen=True)
class Listing:
    """What lies in a folder and its subfolders, by names relative to it. Nothing has been opened."""

    root: Path  # absolute
    images: Mapping[str, tuple[int, int]]  # name -> (bytes, mtime [ns]), sorted by name
    skipped: Mapping[str, str]  # image files that cannot serve -> why
    tables: tuple[Path, ...]  # JSON files, which may be annotations


class ImageFolder:
    """The usable images of a folder and its subfolders, in the order of their relative names.

    Each file's header is looked at once; the findings are kept in the cache, so that a second start only lists the folder.
    """

    name = "folder"
    licence = "images of a folder given by the user; their licences are not known to handsynth"

    def __init__(self, listing: Listing) -> None:
        """Raises AssetError when the folder holds no usable image."""
        self.root = listing.root
        self.skipped = dict(listing.skipped)
        self.names: list[str] = []
        rows = []
        for file, reason in _check_all(listing).items():
            if reason is None:
                self.names.append(file)
                rows.append((file, listing.images[file][0], self.licence))
            else:
                self.skipped[file] = reason
        self.notes = skipped_note(self.root, self.skipped, len(self.names))
        if not self.names:
            advice = "give --backgrounds a folder with JPEG or PNG images, or leave it out"
            raise AssetError(f"no usable image in {self.root}{in_brackets(self.notes)}: {advice}")
        self.digest = list_digest(self.name, rows)

    def __len__(self) -> int:
        return len(self.names)

    def label(self, index: int) -> dict[str, Any]:
        """See Backgrounds.label."""
        return {"name": self.names[index], "licence": self.licence}

    def read(self, index: int) -> np.ndarray:
        """See Backgrounds.read."""
        return read_background(self.root, self.names[index])


def read_background(root: Path, name: str) -> np.ndarray:
    """uint8 (H, W, 3) of the file `name` under `root`. Raises ImageError, or AssetError for faults that may pass."""
    try:
        data = (root / name).read_bytes()
    except OSError as error:
        if error.errno in _TRANSIENT_ERRNOS:
            raise AssetError(f"the background {root / name} cannot be read now ({error.strerror}): try again") from error
        raise ImageError(f"{name}: {error.strerror}") from error
    try:
        return decode_image(data, ENOUGH_SIDE)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error


def list_folder(root: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES, what: str = "background") -> Listing:
    """The files under `root`; `what` they are, for messages.

    Images are recognised by the ending of the name; hidden files are ignored; symbolic links count only while they stay inside
    the folder. Raises AssetError when `root` itself cannot be listed.
    """
    root = root.resolve()
    images: dict[str, tuple[int, int]] = {}
    skipped: dict[str, str] = {}
    tables: list[Path] = []

    def stop_at_root(error: OSError) -> None:
        if error.filename == str(root):
            raise AssetError(f"the {what} folder {root} cannot be listed ({error.strerror}): give --{what}s another") from error

    for folder, folders, files in os.walk(root, onerror=stop_at_root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(folder).relative_to(root).as_posix()
        for file in files:
            suffix = os.path.splitext(file)[1].lower()
            if file.startswith(".") or (suffix not in suffixes and suffix != ".json"):
                continue
            path = os.path.join(folder, file)
            reason, status = _look(path, root)
            if suffix == ".json":
                tables += [Path(path)] if status is not None else []
                continue
            name = file if inside == "." else f"{inside}/{file}"
            if reason is None and status is not None:
                images[name] = (status.st_size, status.st_mtime_ns)
            else:
                skipped[name.encode("utf-8", "backslashreplace").decode()] = reason or "is gone"
    return Listing(root, dict(sorted(images.items())), dict(sorted(skipped.items())), tuple(sorted(tables)))


def _look(path: str, root: Path) -> tuple[str | None, os.stat_result | None]:
    """Why the file is out of the question (None if it is not), and its status."""
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            if not Path(path).resolve().is_relative_to(root):
                return "a symbolic link that leaves the folder", None
            status = os.stat(path)
        path.encode("utf-8")
    except OSError as error:
        return error.strerror, None
    except UnicodeEncodeError:
        return "its name is not UTF-8", None
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file", None
    if status.st_size > MAX_BYTES and not path.lower().endswith(".json"):
        return f"{status.st_size >> 20} MB, more than {MAX_BYTES >> 20}", None
    return None, status


def _check_all(listing: Listing) -> dict[str, str | None]:
    """check_image of every file, taken from the cache where size and time of change are the same."""
    key = hashlib.sha256(os.fsencode(listing.root) + f"{PIL.__version__} {_CACHE_VERSION}".encode()).hexdigest()[:16]
    cache = cache_dir() / f"images-{key}.json"
    known = read_cache(cache)
    verdicts: dict[str, str | None] = {}
    entries: dict[str, list[Any]] = {}
    for name, (size, changed) in listing.images.items():
        entry = known.get(name)
        if not (isinstance(entry, list) and len(entry) == 3 and entry[:2] == [size, changed]):
            entry = [size, changed, check_image(listing.root / name)]
        verdicts[name] = entry[2]
        if entry[2] not in TRANSIENT_REASONS:
            entries[name] = entry
    if entries != known:
        write_cache(cache, entries)
    return verdicts


def list_digest(kind: str, rows: Iterable[tuple[str, int | str, str]]) -> str:
    """SHA-256 of an ordered list of (name, bytes or what else identifies the content, licence)."""
    digest = hashlib.sha256(kind.encode())
    for row in rows:
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def skipped_note(root: Path, skipped: Mapping[str, str], usable: int, what: str = "images") -> tuple[str, ...]:
    """A sentence on the files of a folder that cannot serve; none if all can."""
    if not skipped:
        return ()
    shown = [f"{name} ({reason})" for name, reason in list(skipped.items())[:5]]
    rest = len(skipped) - len(shown)
    tail = f" and {rest} more" if rest else ""
    return (f"skipped {len(skipped)} of {len(skipped) + usable} {what} in {root}: {', '.join(shown)}{tail}",)


def in_brackets(notes: Iterable[str]) -> str:
    """Notes as a part of a sentence."""
    text = "; ".join(notes)
    return f" ({text})" if text else ""
