"""Where assets and caches lie on disk, and how a file is put there whole or not at all."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs

EMBEDDED = Path(__file__).parent / "embedded"
"""Folder of the freely licensed stand-ins that ship with the package."""


def assets_dir() -> Path:
    """Folder of the user's prepared assets: $HANDSYNTH_ASSETS, else the user data folder of the platform."""
    return Path(os.environ.get("HANDSYNTH_ASSETS") or platformdirs.user_data_dir("handsynth"))


def cache_dir() -> Path:
    """Folder of what can be made again: $HANDSYNTH_CACHE, else the user cache folder of the platform."""
    return Path(os.environ.get("HANDSYNTH_CACHE") or platformdirs.user_cache_dir("handsynth"))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary file beside `path` (same suffix), syncs it and renames it over `path`.

    Several processes may do so at once: the last one wins and each file is whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".tmp-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
