"""How long a training goes on: for its epochs, or as many steps as fit into given minutes.

With minutes, the number of steps is planned from what a step takes, and planned anew while the training goes on, so that a machine
that slows down still ends in time; the learning rate follows the plan and is zero at its end. Time counts from the first step,
validation included; on a GPU from the step on that is recorded, as choosing kernels takes half a minute. What a killed run had used
is in its checkpoint, and it goes on with the rest.
"""

import time

import torch

from handmesh.settings.mesh import TrainSpec
from handmesh.training.progress import Progress, learning_rate
from handmesh.training.ranks import Ranks

FIRST = 4
"""Steps of a process before it first plans: the very first ones compile and fill caches."""

PLAN_EVERY = 50
"""Steps between plans, at most; towards the end they come closer."""

VALIDATION_SHARE = 0.5
"""Of a step's time, what a batch of validation takes until one has been measured; more than it is."""


class Pace:
    """The steps of a training under way.

    Args:
        spec: whose `minutes`, if any, or `epochs` it keeps to.
        progress: whose `seconds` and `planned` it notes.
        ranks: all follow the first one's clock.
        validation_batches: of a validation.
    """

    def __init__(self, spec: TrainSpec, progress: Progress, ranks: Ranks, validation_batches: int) -> None:
        self.spec, self.progress, self.ranks = spec, progress, ranks
        self._began = time.monotonic() - progress.seconds
        self._batches, self._validation_s = validation_batches, 0.0
        self._steps, self._next = 0, FIRST  # of this process; when it plans next
        self._mark = time.monotonic(), 0  # time and step of the latest plan or validation

    @property
    def goes_on(self) -> bool:
        """Whether anything is left to do, by epochs or by the plan."""
        if not self.spec.minutes:
            return self.progress.epoch < self.spec.epochs
        return not self.progress.planned or self.progress.steps_done < self.progress.planned

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of step `step` of the whole run, epochs having `steps`; until there is a plan, that of the beginning."""
        if not self.spec.minutes:
            return learning_rate(self.spec, step, steps)
        return learning_rate(self.spec, step, (self.progress.planned or 1e12) / self.spec.epochs)

    def title(self) -> str:
        """Of the epoch under way."""
        if not self.spec.minutes:
            return f"epoch {self.progress.epoch + 1}/{self.spec.epochs}"
        return f"epoch {self.progress.epoch + 1}, {self._elapsed() / 60:.0f} of {self.spec.minutes:g} minutes"

    def stepped(self) -> bool:
        """Notes that a step is done -> whether the epoch goes on."""
        if not self.spec.minutes:
            return True
        self._steps += 1
        if self._steps == FIRST and self.ranks.device.type == "cuda":
            torch.cuda.synchronize(self.ranks.device)
            self._began = time.monotonic() - self.progress.seconds
            self._mark, self._next = (time.monotonic(), FIRST), 2 * FIRST
        elif self._steps == self._next:
            self._plan()
            left = self.progress.planned - self.progress.steps_done
            self._next = self._steps + min(max(left // 8, 1), self._steps, PLAN_EVERY)
        return self.goes_on

    def validated(self, seconds: float) -> None:
        """Notes what a validation took: the last one has to fit in."""
        self._validation_s = max(self._validation_s, seconds)
        self._mark = time.monotonic(), self._steps

    def note(self) -> None:
        """Writes the time into the progress, for a checkpoint."""
        if self.spec.minutes:
            self.progress.seconds = self._elapsed()

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _plan(self) -> None:
        device = self.ranks.device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now, (before, steps) = time.monotonic(), self._mark
        self._mark = now, self._steps
        step_s = max((now - before) / (self._steps - steps), 1e-9) if self._steps > steps else 1.0
        validation_s = self._validation_s or VALIDATION_SHARE * self._batches * step_s
        left = max(60 * self.spec.minutes - self._elapsed() - validation_s, 0.0)
        self.progress.planned = self._agreed(self.progress.steps_done + int(left / step_s))
        self.note()

    def _agreed(self, planned: int) -> int:
        """The first rank's number, on every rank."""
        if self.ranks.world == 1:
            return planned
        mine = torch.tensor([planned if self.ranks.first else 0], dtype=torch.float64, device=self.ranks.device)
        return int(self.ranks.total(mine))
