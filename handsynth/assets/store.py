"""What is kept in the cache: large files that are made once, and what is known of files that were looked at."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from handsynth.core.files import write_atomically
from handsynth.core.locations import cache_error, check_cache


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_cached(path: Path, make: Callable[[Path], object]) -> None:
    """Lets `make` fill a temporary file that becomes `path`, a file of the cache.

    Raises AssetError naming HANDSYNTH_CACHE when the cache cannot be written to, before `make` is called, and when it is full.
    """
    check_cache()
    with cache_errors():
        write_atomically(path, make)


@contextlib.contextmanager
def cache_errors() -> Iterator[None]:
    """Turns errors of the cache's disk into one sentence that names HANDSYNTH_CACHE, and no other folder."""
    try:
        yield
    except OSError as error:
        raise cache_error(error) from None


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


_LICENCE_NAMES = ("licence", "license", "licence.txt", "license.txt", "licence.md", "license.md")


def folder_licence(root: Path, unknown: str) -> str:
    """The first line of the licence that lies in a folder; `unknown` where there is none."""
    for file in sorted(root.iterdir()):
        if file.name.lower() in _LICENCE_NAMES and file.is_file():
            try:
                with open(file, encoding="utf-8", errors="replace") as text:
                    lines = text.read(1 << 12).split("\n")
            except OSError:
                continue
            if line := next((" ".join(line.split())[:200] for line in lines if line.strip()), ""):
                return line
    return unknown
