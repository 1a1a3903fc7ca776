"""The profile of a run: the share of each stage in its CPU and wall time, summed over workers."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

STAGES = ("recipe", "pose", "texture", "background", "render", "composite", "annotate", "encode", "write")
"""In the order of the pipeline. "write" is what remains of making a shard: tar, checksum, sync and sidecar."""

START = "start"
"""Opening assets and OpenGL, once in each worker: named, but no part of a sample."""


class Profile:
    """Seconds of each stage. A stage within another stops the other's clock, so that every moment is charged once.

    CPU seconds are the process's, threads of drivers and libraries included. What is timed must run in one thread.
    """

    def __init__(self) -> None:
        """Nothing timed yet."""
        self.samples = 0
        self.cpu_s = dict.fromkeys((*STAGES, START), 0.0)
        self.wall_s = dict.fromkeys((*STAGES, START), 0.0)
        self._open: list[str] = []
        self._since = (0.0, 0.0)

    @contextlib.contextmanager
    def _running(self, stage: str) -> Iterator[None]:
        self._charge()
        self._open.append(stage)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def stage(self, stage: str) -> contextlib.AbstractContextManager[None]:
        """What runs within is charged to this stage."""
        return self._running(stage)

    def _charge(self) -> None:
        """The time since the last change goes to the innermost open stage."""
        now = time.process_time(), time.perf_counter()
        if self._open:
            self.cpu_s[self._open[-1]] += now[0] - self._since[0]
            self.wall_s[self._open[-1]] += now[1] - self._since[1]
        self._since = now

    def add(self, other: "Profile") -> None:
        """Adds another worker's, or another shard's."""
        self.samples += other.samples
        for own, others in ((self.cpu_s, other.cpu_s), (self.wall_s, other.wall_s)):
            for stage, seconds in others.items():
                own[stage] += seconds

    def rows(self) -> list[dict[str, Any]]:
        """One row for each stage; none before a sample is made."""
        if not self.samples:
            return []
        whole = sum(self.cpu_s[stage] for stage in STAGES)
        return [
            {
                "stage": stage,
                "cpu_ms_per_sample": 1e3 * self.cpu_s[stage] / self.samples,
                "wall_ms_per_sample": 1e3 * self.wall_s[stage] / self.samples,
                "cpu_share": self.cpu_s[stage] / whole,
            }
            for stage in STAGES
        ]

    def summary(self) -> dict[str, Any]:
        """The rows and their sums, for machines. Times without start-up, but for `start_cpu_s`."""
        rows = self.rows()
        cpu, wall = (sum(row[f"{kind}_ms_per_sample"] for row in rows) for kind in ("cpu", "wall"))
        return {
            "samples": self.samples,
            "cpu_ms_per_sample": cpu,
            "wall_ms_per_sample": wall,  # of one worker
            "samples_per_cpu_s": 1e3 / cpu if cpu else 0.0,
            "start_cpu_s": self.cpu_s[START],
            "stages": rows,
        }

    def lines(self) -> Iterable[str]:
        """The table for people."""
        if not self.samples:
            yield "no sample was made now: there is nothing to profile"
            return
        found = self.summary()
        yield f"{'stage':12}{'CPU ms/sample':>14}{'share':>8}{'wall ms/sample':>16}"
        for row in found["stages"]:
            share = f"{100 * row['cpu_share']:.1f} %"
            yield f"{row['stage']:12}{row['cpu_ms_per_sample']:14.3f}{share:>8}{row['wall_ms_per_sample']:16.3f}"
        yield f"{'sum':12}{found['cpu_ms_per_sample']:14.3f}{'100 %':>8}{found['wall_ms_per_sample']:16.3f}"
        yield (
            f"{found['samples_per_cpu_s']:.1f} samples per CPU second; start-up took {found['start_cpu_s']:.1f} CPU seconds "
            "and is not counted"
        )


class _Off(Profile):
    """Times nothing, and costs next to nothing."""

    _NOTHING = contextlib.nullcontext()

    def stage(self, stage: str) -> contextlib.AbstractContextManager[None]:
        """Charges nobody."""
        return self._NOTHING


OFF = _Off()
"""For runs without a profile."""
