"""Where assets and caches lie on disk."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from handsynth.core.files import write_atomically

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
