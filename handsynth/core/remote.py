"""Files behind an address such as s3://bucket/name: each request is repeated when it fails, and then says so in one sentence."""

import errno
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.secrets import hide_secrets, learn_secrets

Result = TypeVar("Result")

TRIES = 3
"""So often a remote folder is queried before it counts as lost; s3fs and its library try about five times each time."""

FIRST_WAIT_S = 1.0
"""Pause after the first failure; the next is twice as long."""


def is_address(where: Path | str) -> bool:
    """Whether it names a remote folder rather than one of this machine's file systems, which file:// does too."""
    return isinstance(where, str) and "://" in where and not where.startswith("file://")


class RemoteFiles:
    """A folder that fsspec reaches, and its files by name.

    Addresses and secrets come from the environment of the library beneath (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...).

    Args:
        url: the address.
        url_to_fs: opens it, as `fsspec.url_to_fs` does -> file system and path in it; the core itself imports no fsspec.

    Raises UsageError for an address of an unknown kind, AssetError when the library for its kind is not installed.
    """

    def __init__(self, url: str, url_to_fs: Callable[[str], tuple[Any, str]]) -> None:
        self.address = url
        learn_secrets(url)
        kind, _, place = url.partition("://")
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*", kind) or not place.strip("/"):
            raise UsageError(f"{self} is neither a folder nor an address such as s3://bucket/name")
        try:
            self._files, root = url_to_fs(url)
        except ImportError as error:
            raise AssetError(
                f"{kind}:// needs a library that is not here: {error} (for s3: pip install 'handsynth[farm]')"
            ) from None
        except ValueError as error:
            raise UsageError(f"{self} is neither a folder nor an address that fsspec knows: {error}") from None
        except OSError as error:  # some kinds connect at once
            raise self._failure("opened", error) from None
        self._root = root.rstrip("/")

    def __str__(self) -> str:
        """The address without the secrets that it may hold."""
        return hide_secrets(self.address)

    def read(self, name: str) -> bytes:
        """A file. Raises FileNotFoundError, or HandsynthError when the folder does not answer."""
        return self._ask("read", lambda: self._files.cat_file(f"{self._root}/{name}"))

    def fetch(self, name: str, path: Path) -> None:
        """Copies a file to this machine. Raises as `read`, and OSError when the disk of `path` is full."""
        full: list[OSError] = []

        def get() -> None:
            try:
                self._files.get_file(f"{self._root}/{name}", str(path))
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                full.append(error)  # another try would not help

        self._ask("read", get)
        if full:
            raise full[0]

    def _change(self, done: str, request: Callable[[], Any]) -> None:
        """A request after which something is there: that a bucket is missing is then no answer but a failure."""
        try:
            self._ask(done, request)
        except FileNotFoundError as error:
            raise self._failure(done, error) from None

    def _ask(self, done: str, request: Callable[[], Result]) -> Result:
        """The answer to a request, which is repeated when it fails. Raises FileNotFoundError, or HandsynthError in the end."""
        for attempt in range(TRIES):
            try:
                return request()
            except FileNotFoundError:
                raise
            except PermissionError as error:
                raise self._failure(done, error) from None
            except Exception as error:  # each kind of storage has its own
                if attempt == TRIES - 1:
                    raise self._failure(done, error) from None
                time.sleep(FIRST_WAIT_S * 2**attempt)
        raise AssertionError("TRIES is positive")

    def _failure(self, done: str, error: Exception) -> HandsynthError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return HandsynthError(
            f"{self} cannot be {done} ({reason:.200}): check address, keys and network (whole shards are kept: run the same "
            "command to go on)"
        )
