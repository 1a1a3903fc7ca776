"""Where assets and caches lie on disk."""

import hashlib
import os
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
