"""Meshes that a user names: mesh files, arrays of meshes, datasets; read, mirrored to right hands, and named."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handmesh.data.shards import ShardDataset
from handmesh.mesh_files import MESH_SUFFIXES, read_mesh
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import HandModel
from handsynth.core.mirror import mirror_left, mirror_points


@dataclass(frozen=True, eq=False)
class Hands:
    """One hand, or several in a row. N hands, V vertices."""

    source: Path
    name: str  # of the results
    vertices: np.ndarray  # (N, V, 3) as right hands [m]
    sides: tuple[str, ...]  # (N,) "right" or "left": what they were
    numbers: np.ndarray  # (N,) row of the array, or sample of the dataset
    sequence: bool  # whether they are results over time rather than one hand

    def as_given(self, points: np.ndarray) -> np.ndarray:
        """(N, P, 3) points of the right hands -> of the hands as they were."""
        return mirror_left(points, self.sides)


def is_mesh_source(path: Path) -> bool:
    """Whether the path names meshes; anything else is for a mesh net."""
    return path.suffix.lower() in {*MESH_SUFFIXES, ".npy"} or (path / "index.json").exists()


def read_hands(path: Path, name: str, hand: HandModel, left: bool = False, samples: range | None = None) -> Hands:
    """The hands of a mesh file, an array or a dataset.

    Args:
        path: .obj or .ply with the hand's own vertices in order; .npy (V, 3) or (N, V, 3); a dataset's folder. Metres.
        name: of the results.
        hand: whose meshes they should be.
        left: files show left hands; datasets say so themselves.
        samples: of a dataset, by their numbers in its spec; None means all.

    Raises:
        UsageError: no such file, or the dataset shows another hand or holds none of the samples.
        HandsynthError: the file is damaged.
    """
    if path.is_dir():
        return _read_dataset(path, name, hand, samples)
    vertices = _read_array(path) if path.suffix.lower() == ".npy" else read_mesh(path)[None]
    vertices = vertices if vertices.ndim == 3 else vertices[None]
    sides = ("left" if left else "right",) * len(vertices)
    points = mirror_points(vertices) if left and vertices.shape[-1] == 3 else vertices
    return Hands(path, name, points, sides, np.arange(len(vertices)), len(vertices) > 1)


def _read_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except (OSError, ValueError, EOFError) as error:
        raise HandsynthError(f"{path} cannot be read as an array ({type(error).__name__})") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim not in (2, 3) or not len(array):
        raise UsageError(f"{path}: expected floats of shape (hands, vertices, 3) or (vertices, 3)")
    return array.astype(np.float64)


def _read_dataset(path: Path, name: str, hand: HandModel, samples: range | None) -> Hands:
    data = ShardDataset(path, hand)
    numbers = data.indices()
    positions = [k for k, number in enumerate(numbers) if samples is None or int(number) in samples]
    if not positions:
        raise UsageError(f"{path} holds none of the requested samples: it has {numbers.min()} to {numbers.max()}")
    records = [data.read(k) for k in positions]
    sides = tuple(record.side for record in records)
    vertices = mirror_left(np.stack([record.vertices for record in records]), sides)
    return Hands(path, name, vertices, sides, numbers[positions], True)


def parse_samples(text: str | None) -> range | None:
    """A:B[:STEP] -> the numbers A, A + STEP, ... below B. Raises UsageError for anything else."""
    if text is None:
        return None
    try:
        parts = [int(part) for part in text.split(":")]
        if not 2 <= len(parts) <= 3 or parts[0] < 0 or parts[1] <= parts[0] or parts[2:] == [0] or min(parts) < 0:
            raise ValueError
    except ValueError:
        raise UsageError(f"--indices {text}: expected A:B or A:B:STEP with whole numbers, A < B") from None
    return range(*parts)
