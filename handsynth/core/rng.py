"""Random streams: one private generator per sample and per purpose."""

import zlib

import numpy as np


def stream(seed: int, index: int, name: str) -> np.random.Generator:
    """Generator of sample `index` for the purpose `name` ("camera", "light", ...).

    Independent of every other (seed, index, name), so that samples can be made alone and in any order, and a new draw
    for one purpose moves no other. Names are hashed with CRC-32, never with Python's salted hash().
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(index, zlib.crc32(name.encode())))
    return np.random.Generator(np.random.Philox(sequence))
