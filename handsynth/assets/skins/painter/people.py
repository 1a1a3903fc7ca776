"""The people whose hands are painted: what varies from one to the next, and the layer of paint that shows it."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Layer(NamedTuple):
    """One pattern on the skin, and how much of it each person has. A hand is the sum of its layers, as absorbance."""

    pattern: np.ndarray  # (U,) float32
    absorbance: np.ndarray  # (N, 3) red, green, blue


@dataclass(frozen=True, eq=False)
class People:
    """N people. All their traits are near normal, because the PCA draws its alpha from N(0, 1)."""

    lightness: np.ndarray  # (N,) CIELAB L* of the back of the hand
    darkness: np.ndarray  # (N,) 0 for the lightest skin .. 1 for the darkest
    age: np.ndarray  # (N,) standard deviations from the mean
    flush: np.ndarray  # (N,) how red the hand is, standard deviations from the mean

    def __len__(self) -> int:
        return len(self.lightness)


def draw_people(count: int, rng: np.random.Generator) -> People:
    """`count` people; the tones are spread evenly over their distribution rather than left to chance."""
    quantiles = (rng.permutation(count) + rng.uniform(size=count)) / count
    # A flattened bell: more of the very light and the very dark than a normal distribution of that deviation has.
    lightness = 59.0 + 23.0 * (2 * quantiles - 1) * (0.8 + 0.2 * np.abs(2 * quantiles - 1))
    darkness = np.clip((78.0 - lightness) / 50.0, 0.0, 1.0)
    return People(lightness, darkness, rng.normal(size=count), rng.normal(size=count))


def amounts(mean: np.ndarray | float, deviation: float, people: People, rng: np.random.Generator) -> np.ndarray:
    """(N, 1) normal draws about `mean`, never below zero: how much of something each person has."""
    return np.maximum(np.asarray(mean) + deviation * rng.normal(size=len(people)), 0.0)[:, None]


def shifts(deviation: float, people: People, rng: np.random.Generator) -> np.ndarray:
    """(N, 1) normal draws about zero: how far each person departs from the mean, either way."""
    return deviation * rng.normal(size=len(people))[:, None]
