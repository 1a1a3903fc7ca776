"""Random streams: one private generator per spec, sample and purpose."""

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence


def stream(seed: int, index: int, *names: str) -> np.random.Generator:
    """Generator of sample `index` for what `names` name together: a spec and a purpose ("camera", "light", ...).

    Independent of every other (seed, index, names), so that samples can be made alone and in any order, a new draw for one
    purpose moves no other, and two specs of one seed show different people. Philox is counter-based (Salmon et al. 2011):
    seed and names make the key, the index is the highest word of the counter, and 2^192 numbers lie between two indices.
    """
    key: Any = _key(seed, names)  # numpy's stub knows no seeds but its own
    counter = np.zeros(4, np.uint64)  # as an array: to convert a list takes twice as long as all the rest
    counter[3] = index
    return np.random.Generator(np.random.Philox(key, counter=counter))


class _Key(ISeedSequence):
    """A Philox key in the place of a seed: given as `key`, numpy asks the operating system for a seed besides, and drops it."""

    def __init__(self, key: np.ndarray) -> None:
        self._words = key

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> np.ndarray:
        """The two words that Philox asks for."""
        return self._words


@lru_cache(maxsize=256)
def _key(seed: int, names: tuple[str, ...]) -> _Key:
    """Key of a seed and names: two uint64. SHA-256, because Python's own hash() of text is salted."""
    text = f"{seed} " + "\n".join(names)  # no name holds a line break, so that no two lists make one text
    return _Key(np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], "<u8"))
