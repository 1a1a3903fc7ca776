"""Which samples of a spec are meant: all of them, N spread evenly, or a slice A:B:STEP. None of them is ever listed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

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

    def indices(self, total: int, together: int = 1) -> Sequence[int]:
        """The selected indices of a spec of `total` samples, ascending, as a sequence that takes no memory for its members.

        `together`: so many, from a multiple of it on, are selected together or not at all: the frames of a clip.

        Raises UsageError when there is none or too many.
        """
        if self.samples is not None:
            if self.samples > total:
                raise UsageError(f"--samples {self.samples} is more than the spec's {total}: lower it")
            if self.samples % together:
                raise UsageError(f"--samples {self.samples} would split a clip: give a multiple of {together}, the frames of one")
            return Spread(total // together, self.samples // together, range(self.samples), together)
        if self.slice_text is None:
            return range(total)
        chosen = self._slice()
        if chosen.stop is not None and chosen.stop > total:
            raise UsageError(f"--indices {self.slice_text} goes beyond the spec's {total} samples")
        found = range(total)[chosen]
        if together > 1 and (chosen.step not in (None, 1) or found.start % together or found.stop % together):
            raise UsageError(
                f"--indices {self.slice_text} would split clips: give A:B that are multiples of {together}, their frames"
            )
        if not found:
            raise UsageError(f"--indices {self.slice_text} selects nothing of the spec's {total} samples")
        return found

    def __str__(self) -> str:
        """The selection as it is recorded: "all", "even:N" or the slice."""
        if self.samples is not None:
            return f"even:{self.samples}"
        return self.slice_text or "all"


@dataclass(frozen=True)
class Spread(Sequence[int]):
    """Some of `samples` blocks that are evenly spread over 0 .. total - 1, each of `together` indices: of these the ones numbered
    `places`, computed when asked for.
    """

    total: int
    samples: int
    places: range
    together: int = 1

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> int: ...

    @overload
    def __getitem__(self, place: slice) -> "Spread": ...

    def __getitem__(self, place: int | slice) -> "int | Spread":
        if isinstance(place, slice):
            return Spread(self.total, self.samples, self.places[place], self.together)
        block, one = divmod(self.places[place], self.together)
        return block * self.total // self.samples * self.together + one


@dataclass(frozen=True)
class Shards(Sequence[Sequence[int]]):
    """The indices of each shard: the selected ones fill shards of `size` samples in order, the last with what is left."""

    indices: Sequence[int]
    size: int

    def __len__(self) -> int:
        return -(-len(self.indices) // self.size)

    @overload
    def __getitem__(self, number: int) -> Sequence[int]: ...

    @overload
    def __getitem__(self, number: slice) -> "list[Sequence[int]]": ...

    def __getitem__(self, number: int | slice) -> "Sequence[int] | list[Sequence[int]]":
        if isinstance(number, slice):
            return [self[k] for k in range(len(self))[number]]
        first = range(len(self))[number] * self.size
        return self.indices[first : first + self.size]


def parse_selection(text: str) -> Selection:
    """The inverse of str(selection). Raises UsageError."""
    if text == "all":
        return Selection()
    if text.startswith("even:") and text[5:].isdigit():
        return Selection(samples=int(text[5:]))
    return Selection(slice_text=text)
