"""Random streams: one private generator per sample and per purpose."""

import hashlib
from functools import lru_cache

import numpy as np


def stream(seed: int, index: int, name: str) -> np.random.Generator:
    """Generator of sample `index` for the purpose `name` ("camera", "light", ...).

    Independent of every other (seed, index, name), so that samples can be made alone and in any order, and a new draw
    for one purpose moves no other. Philox is counter-based (Salmon et al. 2011): seed and name make the key, the index
    is the highest word of the counter, and 2^192 numbers lie between two indices.
    """
    return np.random.Generator(np.random.Philox(key=_key(seed, name), counter=[0, 0, 0, index]))


@lru_cache(maxsize=256)
def _key(seed: int, name: str) -> np.ndarray:
    """(2,) uint64 key of a seed and a purpose. SHA-256, because Python's own hash() of text is salted."""
    return np.frombuffer(hashlib.sha256(f"{seed} {name}".encode()).digest()[:16], "<u8")
