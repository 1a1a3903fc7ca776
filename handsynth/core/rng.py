"""Random streams: one private generator per sample and per purpose."""

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence


def stream(seed: int, index: int, name: str) -> np.random.Generator:
    """Generator of sample `index` for the purpose `name` ("camera", "light", ...).

    Independent of every other (seed, index, name), so that samples can be made alone and in any order, and a new draw
    for one purpose moves no other. Philox is counter-based (Salmon et al. 2011): seed and name make the key, the index
    is the highest word of the counter, and 2^192 numbers lie between two indices.
    """
    key: Any = _key(seed, name)  # numpy's stub knows no seeds but its own
    return np.random.Generator(np.random.Philox(key, counter=[0, 0, 0, index]))


class _Key(ISeedSequence):
    """A Philox key in the place of a seed: given as `key`, numpy asks the operating system for a seed besides, and drops it."""

    def __init__(self, key: np.ndarray) -> None:
        self._words = key

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> np.ndarray:
        """The two words that Philox asks for."""
        return self._words


@lru_cache(maxsize=256)
def _key(seed: int, name: str) -> _Key:
    """Key of a seed and a purpose: two uint64. SHA-256, because Python's own hash() of text is salted."""
    return _Key(np.frombuffer(hashlib.sha256(f"{seed} {name}".encode()).digest()[:16], "<u8"))
