"""Which samples of a spec are meant: all of them, N spread evenly, or a slice A:B:STEP."""

from dataclasses import dataclass

from handsynth.core.errors import UsageError


@dataclass(frozen=True)
class Selection:
    """Either nothing (all), or a number of samples, or a slice as text."""

    samples: int | None = None
    slice_text: str | None = None

    def __post_init__(self) -> None:
        """Raises UsageError when the two are given together or the slice is malformed."""
        if self.samples is not None and self.slice_text is not None:
            raise UsageError("--samples and --indices exclude each other: give one of them")
        if self.samples is not None and self.samples < 1:
            raise UsageError(f"--samples must be at least 1, found {self.samples}")
        if self.slice_text is not None:
            self._slice()

    def _slice(self) -> slice:
        parts = (self.slice_text or "").split(":")
        try:
            numbers = [int(p) if p else None for p in parts]
        except ValueError:
            numbers = []
        if not 2 <= len(numbers) <= 3 or any(n is not None and n < 0 for n in numbers) or (len(numbers) == 3 and numbers[2] == 0):
            raise UsageError(f"--indices must be A:B or A:B:STEP with whole numbers from 0, found {self.slice_text!r}")
        return slice(*numbers)

    def indices(self, total: int) -> list[int]:
        """The selected indices of a spec of `total` samples, ascending. Raises UsageError when there is none or too many."""
        if self.samples is not None:
            if self.samples > total:
                raise UsageError(f"--samples {self.samples} is more than the spec's {total}: lower it")
            return [k * total // self.samples for k in range(self.samples)]
        if self.slice_text is None:
            return list(range(total))
        chosen = self._slice()
        if chosen.stop is not None and chosen.stop > total:
            raise UsageError(f"--indices {self.slice_text} goes beyond the spec's {total} samples")
        found = list(range(total)[chosen])
        if not found:
            raise UsageError(f"--indices {self.slice_text} selects nothing of the spec's {total} samples")
        return found

    def __str__(self) -> str:
        """The selection as it is recorded: "all", "even:N" or the slice."""
        if self.samples is not None:
            return f"even:{self.samples}"
        return self.slice_text or "all"


def parse_selection(text: str) -> Selection:
    """The inverse of str(selection). Raises UsageError."""
    if text == "all":
        return Selection()
    if text.startswith("even:") and text[5:].isdigit():
        return Selection(samples=int(text[5:]))
    return Selection(slice_text=text)
