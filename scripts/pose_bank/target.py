"""What a pose shall be: angles to aim at, and what shall touch."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Contact:
    """Two places that shall touch, facing each other, or hold a ball between them."""

    first: str
    second: str
    radius: float = 0.0  # of the ball that both touch [m]


@dataclass(frozen=True)
class Target:
    """A pose to aim at."""

    angles: np.ndarray  # (16, 3) flexion, abduction, twist [rad]
    contacts: tuple[Contact, ...] = ()
    object: Callable[[np.ndarray], np.ndarray] | None = None  # (N, 3) points -> (N,) signed distance to a held thing [m]
    grip: tuple[str, ...] = ()  # places that shall touch the held thing
    team: tuple[str, ...] = ()  # fingers that bend together, as around one thing
    under: bool = False  # the thumb lies under the fingers and closes before them
    firm: bool = False  # the fingers keep their angles, and the thumb does the touching
