"""Plain `.npz` files from outside: their arrays, and never a pickle."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from handsynth.core.errors import AssetError


def read_arrays(path: Path, names: Iterable[str], what: str) -> dict[str, np.ndarray]:
    """The arrays called `names` of an `.npz`. Raises AssetError in one sentence when it is missing, damaged or something else.

    Args:
        path: the file.
        names: arrays that it must hold.
        what: what the file should be, for the message ("a hand model").
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in names}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # numpy gives what is no .npy as bytes
            raise ValueError
        return arrays
    except FileNotFoundError:
        raise AssetError(f"{path} does not exist: give {what} that `handsynth assets prepare` wrote") from None
    except Exception as error:  # numpy and zipfile raise many kinds on damaged files, some with advice to load them unsafely
        raise AssetError(f"{path} is damaged or is not {what} of `handsynth assets prepare` ({type(error).__name__})") from None
