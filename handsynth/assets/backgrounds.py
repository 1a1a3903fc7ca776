"""Backgrounds: the interface that every source of pictures has, the choice between them, and folders of pictures."""

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import PIL

from handsynth.assets.pictures import MAX_BYTES, PASSING_REASONS, SUFFIXES, BackgroundError, check_picture, decode_picture
from handsynth.assets.store import cache_dir
from handsynth.core.errors import AssetError, UsageError
from handsynth.core.files import write_atomically

MAX_TRIES = 100
"""So many pictures in a row are tried before a folder is given up."""
SHARP_RATIO = 1.5
"""Crops up to so many times the size wanted are interpolated, larger ones averaged."""
# The same file may be readable a moment later; to replace it would make two runs differ.
_PASSING_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EINTR, errno.ESTALE, errno.EAGAIN})


class Backgrounds(Protocol):
    """A fixed, ordered list of pictures."""

    name: str
    """"scenes", "folder" or "coco"."""
    licence: str
    """One line for a dataset's index.json."""
    digest: str
    """SHA-256 of what identifies the list: names, sizes and licences, or the generator's version and parameters."""

    def __len__(self) -> int: ...

    def label(self, index: int) -> dict[str, Any]:
        """What a sample records of picture `index`: its name, its licence and, for COCO, its id."""
        ...

    def read(self, index: int) -> np.ndarray:
        """uint8 (H, W, 3) sRGB. Raises BackgroundError when the picture cannot be read."""
        ...


def open_backgrounds(path: Path | None, *, annotations: Path | None = None, exclude_no_derivatives: bool = False) -> Backgrounds:
    """Embedded scenes for None, COCO where its annotations are given or found, else any folder of pictures.

    `annotations` is a COCO instances_*.json or a folder of them; without it they are looked for in folders `annotations`
    inside, beside and above `path`. Raises AssetError when there is no usable picture, UsageError for options that do not apply.
    """
    if path is None:
        if annotations is not None or exclude_no_derivatives:
            raise UsageError("COCO annotations were given without their pictures: add --backgrounds and the folder train2017")
        from handsynth.assets.scenes import Scenes

        return Scenes()
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise AssetError(f"the background folder {path} {what}: give --backgrounds a folder of pictures, or leave it out")
    from handsynth.assets.coco import CocoFolder, find_annotations

    files = find_annotations(path, annotations)
    if files:
        return CocoFolder(path, files, exclude_no_derivatives)
    if exclude_no_derivatives:
        raise UsageError(
            f"licences are known for COCO only, and no annotations/instances_*.json lies in, beside or above {path}: "
            "put it there, or leave out --exclude-no-derivatives"
        )
    return PictureFolder(path)


def read_usable(backgrounds: Backgrounds, index: int) -> tuple[np.ndarray, int]:
    """Picture `index` and its number, or the next one in the list that can be read: the same one on every run.

    The list is a ring. Raises AssetError when none of MAX_TRIES (or all) pictures in a row can be read.
    """
    count = len(backgrounds)
    tries = min(count, MAX_TRIES)
    for step in range(tries):
        used = (index + step) % count
        try:
            return backgrounds.read(used), used
        except BackgroundError as error:
            last = error
    raise AssetError(
        f"none of {tries} backgrounds from number {index} on can be read (the last: {last}): give --backgrounds another folder"
    )


def crop_background(picture: np.ndarray, box: Mapping[str, Any], size: int) -> np.ndarray:
    """The square that `box` cuts from `picture` (uint8 (H, W, 3)), as uint8 (size, size, 3).

    box["scale"] in (0, 1] is the square's side as a fraction of the shorter side; box["x"], box["y"] in 0..1 place it within
    the room that is left; box["flip"] mirrors it. Bigger squares are averaged down, smaller ones interpolated.
    """
    scale, x, y = float(box["scale"]), float(box["x"]), float(box["y"])
    if not (0 < scale <= 1 and 0 <= x <= 1 and 0 <= y <= 1):
        raise UsageError(f"a background's crop needs scale in (0, 1] and x, y in 0..1, not {dict(box)}")
    height, width = picture.shape[:2]
    side = max(1, round(scale * min(height, width)))
    left, top = round(x * (width - side)), round(y * (height - side))
    square = picture[top : top + side, left : left + side]
    if side != size:
        # Averaging takes six times as long as interpolation, which is as good until every other pixel would be left out.
        averaged = side > SHARP_RATIO * size
        square = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if averaged else cv2.INTER_LINEAR)
    return cv2.flip(square, 1) if box["flip"] else np.ascontiguousarray(square)


def describe_skipped(backgrounds: Backgrounds) -> str | None:
    """One sentence on the files of a folder that cannot serve, None if all can: a caller shows it on stderr."""
    skipped: Mapping[str, str] = getattr(backgrounds, "skipped", {})
    if not skipped:
        return None
    shown = [f"{name} ({reason})" for name, reason in list(skipped.items())[:5]]
    rest = len(skipped) - len(shown)
    tail = f" and {rest} more" if rest else ""
    root = getattr(backgrounds, "root", "")
    return f"skipped {len(skipped)} of {len(skipped) + len(backgrounds)} pictures in {root}: {', '.join(shown)}{tail}"


class PictureFolder:
    """The usable pictures of a folder and its subfolders, in the order of their relative names.

    Each file's header is looked at once; the findings are kept in the cache, so that a second start only lists the folder.
    """

    name = "folder"
    licence = "pictures of a folder given by the user; their licences are not known to handsynth"

    def __init__(self, root: Path) -> None:
        """Raises AssetError when the folder cannot be listed or holds no usable picture."""
        self.root = root.resolve()
        found, self.skipped = list_pictures(self.root)
        self.names: list[str] = []
        rows = []
        for file, reason in _check_all(self.root, found).items():
            if reason is None:
                self.names.append(file)
                rows.append((file, found[file][0], self.licence))
            else:
                self.skipped[file] = reason
        require_some(self, f"no usable picture in {root}", "give --backgrounds a folder with JPEG or PNG pictures, or leave it out")
        self.digest = list_digest(self.name, rows)

    def __len__(self) -> int:
        return len(self.names)

    def label(self, index: int) -> dict[str, Any]:
        """See Backgrounds.label."""
        return {"name": self.names[index], "licence": self.licence}

    def read(self, index: int) -> np.ndarray:
        """See Backgrounds.read."""
        return read_picture(self.root, self.names[index])


def read_picture(root: Path, name: str) -> np.ndarray:
    """uint8 (H, W, 3) of the file `name` under `root`. Raises BackgroundError, or AssetError for faults that may pass."""
    try:
        data = (root / name).read_bytes()
    except OSError as error:
        if error.errno in _PASSING_ERRORS:
            raise AssetError(f"the background {root / name} cannot be read now ({error.strerror}): try again") from error
        raise BackgroundError(f"{name}: {error.strerror}") from error
    try:
        return decode_picture(data)
    except BackgroundError as error:
        raise BackgroundError(f"{name}: {error}") from error


def list_pictures(root: Path) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """Picture files under `root`: {relative name: (bytes, mtime [ns])} sorted by name, and {name: reason} of those left out.

    Judged by the ending of the name; hidden files are ignored; symbolic links count only while they stay inside the folder.
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
    """check_picture of every file, taken from the cache where size and time of change are the same."""
    key = hashlib.sha256(os.fsencode(root) + PIL.__version__.encode()).hexdigest()[:16]
    cache = cache_dir() / f"pictures-{key}.json"
    known = read_cache(cache)
    verdicts: dict[str, str | None] = {}
    entries: dict[str, list[Any]] = {}
    for name, (size, changed) in found.items():
        entry = known.get(name)
        if not (isinstance(entry, list) and len(entry) == 3 and entry[:2] == [size, changed]):
            entry = [size, changed, check_picture(root / name)]
        verdicts[name] = entry[2]
        if entry[2] not in PASSING_REASONS:
            entries[name] = entry
    if entries != known:
        write_cache(cache, entries)
    return verdicts


def read_cache(path: Path) -> dict[str, Any]:
    """A JSON object kept in the cache; empty if it is not there or is damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def write_cache(path: Path, content: Mapping[str, Any]) -> None:
    """Keeps a JSON object; a cache that cannot be written only costs time."""

    def write(temporary: Path) -> None:
        temporary.write_text(json.dumps(content), encoding="utf-8")

    with contextlib.suppress(OSError):
        write_atomically(path, write)


def list_digest(kind: str, rows: Iterable[tuple[str, int, str]]) -> str:
    """SHA-256 of an ordered list of (name, bytes, licence)."""
    digest = hashlib.sha256(kind.encode())
    for row in rows:
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def require_some(backgrounds: PictureFolder, problem: str, advice: str) -> None:
    """Raises AssetError with both sentences and what was skipped, unless there is a picture."""
    if len(backgrounds) == 0:
        skipped = describe_skipped(backgrounds)
        raise AssetError(f"{problem}{f' ({skipped})' if skipped else ''}: {advice}")
