"""Plain `.npz` files from outside: their arrays, and never a pickle."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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


def read_typed(path: Path, kinds: Mapping[str, type], what: str) -> dict[str, Any]:
    """The arrays of an `.npz`, each as the type that `kinds` has for its name: `str` for one text, else numbers of that dtype.

    Raises AssetError in one sentence as `read_arrays` does, or naming the array that holds no numbers.
    """
    values: dict[str, Any] = dict(read_arrays(path, kinds, what))
    for name, kind in kinds.items():
        if kind is str:
            values[name] = str(values[name])
        elif values[name].dtype.kind not in "fiu":
            raise AssetError(f"{path}: {name} holds {values[name].dtype}, expected numbers")
        else:
            values[name] = values[name].astype(kind)
    return values
