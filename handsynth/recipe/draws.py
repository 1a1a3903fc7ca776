"""Rounded draws: every number of a recipe has so many decimals, so that what JSON stores is exactly what is used."""

from typing import Any

import numpy as np

DECIMALS = 6
"""Decimals kept of every drawn number."""


def rounded(values: np.ndarray) -> Any:
    """Tuple of plain floats with DECIMALS decimals; -0.0 becomes 0.0."""
    return tuple((np.round(values, DECIMALS) + 0.0).ravel().tolist())


def rounded_few(*values: float) -> Any:
    """The same for a few numbers, for which numpy's calls take longer than the numbers."""
    return tuple([round(value, DECIMALS) + 0.0 for value in values])


def uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """One rounded draw between two limits: what numpy's `uniform` draws, whose call takes longer than the number."""
    low, high = limits
    return round(low + (high - low) * rng.random(), DECIMALS)
