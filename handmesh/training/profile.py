"""Where a step's time goes: seconds of named phases, by the clock on a CPU, by events on a GPU, which nothing waits for."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

WAITING = "waiting for a batch"
"""The host's phase: what the loader does not hide behind the step before."""

IDLE = "the GPU waits"
"""Between two steps, on a GPU's own clock: for batches, launches and readings."""


Item = TypeVar("Item")


class Profile:
    """Adds up the time of phases; switched off it costs nothing to speak of.

    Args:
        on: whether anything is measured.
        device: whose time it is; phases on a GPU begin and end where the stream that runs them says.
    """

    def __init__(self, on: bool, device: torch.device) -> None:
        self.on, self.paused, self._gpu = on, False, device.type == "cuda"
        self._seconds: dict[str, float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)
        self._pending: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._end: torch.cuda.Event | None = None  # of the step before
        self.steps = 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What runs inside is that phase."""
        if not self.on or self.paused:
            yield
        elif self._gpu:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            yield
            end.record()
            self._pending.append((name, start, end))
        else:
            began = time.perf_counter()
            yield
            self._add(name, time.perf_counter() - began)

    def waited(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items; the time that the host waits for each is noted."""
        iterator = iter(items)
        while True:
            began = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            if self.on:
                self._add(WAITING, time.perf_counter() - began)
            yield item

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around what a step gives the device to do."""
        self.steps += 1
        if self.on and self._gpu:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            if self._end:
                self._pending.append((IDLE, self._end, start))
            yield
            end.record()
            self._end = end
        else:
            yield

    def pause(self) -> None:
        """What comes until the next step, validation for one, is no waiting."""
        self._end = None

    def read(self) -> None:
        """Takes up the phases of a GPU that are over; call it where the host has waited for the device anyway."""
        for name, start, end in self._pending:
            end.synchronize()
            self._add(name, start.elapsed_time(end) / 1000)
        self._pending = []

    def waiting(self) -> float:
        """Share of the time in which the device had nothing to do."""
        total = sum(self._seconds.values())
        idle = self._seconds[IDLE if self._gpu else WAITING]
        if self._gpu:  # the host's own waiting is hidden, or is in IDLE already
            total -= self._seconds[WAITING]
        return idle / total if total else 0.0

    def table(self) -> str:
        """Lines: of each phase, milliseconds a step that had it, how many had it, and its share of all."""
        self.read()
        total = sum(self._seconds.values()) or 1.0
        lines = [f"{self.steps} steps; the device waits {self.waiting():.1%} of the time", "ms a step  steps  share  phase"]
        for name, seconds in sorted(self._seconds.items(), key=lambda item: -item[1]):
            count = self._counts[name]
            lines.append(f"{1000 * seconds / count:9.2f}  {count:5d}  {seconds / total:5.1%}  {name}")
        return "\n".join(lines)

    def _add(self, name: str, seconds: float) -> None:
        self._seconds[name] += seconds
        self._counts[name] += 1
