"""Progress on stderr: a bar on a terminal, a plain line now and then in a log."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

LINE_EVERY_S = 30.0
"""Seconds between two lines when there is no terminal."""


class Progress:
    """Counts samples of finished shards; shows the rate and the time left."""

    def __init__(self, total: int, shards: int) -> None:
        """`total` samples in `shards` shards lie ahead."""
        self._total, self._shards = total, shards
        self._count = self._done_shards = 0
        self._start = self._last = time.monotonic()
        self._bar = tqdm(total=total, unit=" samples", file=sys.stderr, smoothing=0.1) if sys.stderr.isatty() else None

    def add(self, count: int) -> None:
        """One more shard, of `count` samples, is whole."""
        self._count += count
        self._done_shards += 1
        if self._bar is not None:
            self._bar.set_postfix_str(f"{self._done_shards}/{self._shards} shards", refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._last >= LINE_EVERY_S or self._count == self._total:
            self._last = time.monotonic()
            rate = self._count / max(self._last - self._start, 1e-9)
            left = (self._total - self._count) / rate
            print(
                f"{self._done_shards}/{self._shards} shards, {self._count}/{self._total} samples, "
                f"{rate:.1f} samples/s, {left / 60:.1f} min left",
                file=sys.stderr,
                flush=True,
            )

    def __enter__(self) -> "Progress":
        """Nothing to prepare."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.close()
