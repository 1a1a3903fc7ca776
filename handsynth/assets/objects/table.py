"""The table of a pose bank: which poses hold which shapes, and how. Searched once for a hand and its bank, and kept."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from handsynth.assets.objects.holding import Placement, holdings
from handsynth.assets.objects.shapes import SHAPES, Shape
from handsynth.core.arrays import read_typed
from handsynth.core.errors import AssetError
from handsynth.core.hand import HandModel
from handsynth.core.poses import PoseBank

TABLE_VERSION = 1
"""Goes up with every change of the shapes or of the search."""


@dataclass(frozen=True, eq=False)
class HoldingTable:
    """N placements, by pose."""

    identity: str  # of the hand, bank and shapes that it was made for
    pose: np.ndarray  # (N,) int32 row of the bank, ascending
    shape: np.ndarray  # (N,) int32 number of the shape
    rotvec: np.ndarray  # (N, 3) [rad]
    offset: np.ndarray  # (N, 3) [m]
    scale: np.ndarray  # (N,)
    score: np.ndarray  # (N,)

    @cached_property
    def poses(self) -> np.ndarray:
        """Rows of the bank that hold anything, ascending."""
        return np.unique(self.pose)

    def of_pose(self, row: int) -> np.ndarray:
        """Numbers of a pose's placements."""
        return np.arange(*np.searchsorted(self.pose, [row, row + 1]))

    def placement(self, number: int) -> Placement:
        """One placement."""
        return Placement(self.rotvec[number], self.offset[number], float(self.scale[number]), float(self.score[number]))


def table_identity(model: HandModel, bank: PoseBank, shapes: tuple[Shape, ...] = SHAPES) -> str:
    """SHA-256 of what a table depends on."""
    text = f"{TABLE_VERSION} {model.digest} {bank.digest} " + " ".join(f"{s.family}/{s.name} {s.scale}" for s in shapes)
    return hashlib.sha256(text.encode()).hexdigest()


def search_poses(
    model: HandModel, bank: PoseBank, rows: range, shapes: tuple[Shape, ...] = SHAPES, jobs: int = 1
) -> Iterator[HoldingTable]:
    """What each of some rows of the bank holds, one table a row: some seconds of one core each, the same for any number of jobs."""
    identity = table_identity(model, bank, shapes)
    search = Parallel(n_jobs=jobs, return_as="generator")
    found = search(delayed(_of_pose)(model, bank.theta[row], shapes, row) for row in rows)
    for row, held in zip(rows, found, strict=True):
        placements = [placement for _, placement in held]
        yield HoldingTable(
            identity,
            np.full(len(held), row, np.int32),
            np.array([number for number, _ in held], np.int32),
            np.array([p.rotvec for p in placements], np.float32).reshape(-1, 3),
            np.array([p.offset for p in placements], np.float32).reshape(-1, 3),
            np.array([p.scale for p in placements], np.float32),
            np.array([p.score for p in placements], np.float32),
        )


def joined_tables(tables: Sequence[HoldingTable]) -> HoldingTable:
    """Tables of one hand and bank, in order of their poses, as one."""
    arrays = [name for name in vars(tables[0]) if name not in ("identity", "poses")]
    return HoldingTable(tables[0].identity, *(np.concatenate([getattr(t, name) for t in tables]) for name in arrays))


def _of_pose(model: HandModel, theta: np.ndarray, shapes: tuple[Shape, ...], row: int) -> list[tuple[int, Placement]]:
    with threadpool_limits(1):
        return list(holdings(model, theta, shapes, row))


def save_table(path: Path, table: HoldingTable) -> None:
    """Writes a plain compressed `.npz`."""
    values = {name: np.array(value) for name, value in vars(table).items() if name != "poses"}
    np.savez_compressed(path, **values)  # type: ignore[arg-type]


def load_table(path: Path) -> HoldingTable:
    """Reads what `save_table` wrote. Raises AssetError."""
    kinds: dict[str, type] = {"identity": str, "pose": np.int32, "shape": np.int32, "rotvec": np.float64, "offset": np.float64,
                              "scale": np.float64, "score": np.float64}  # fmt: skip
    table = HoldingTable(**read_typed(path, kinds, "a table of holdings"))
    count = len(table.pose)
    right = {"pose": (count,), "shape": (count,), "rotvec": (count, 3), "offset": (count, 3), "scale": (count,), "score": (count,)}
    for name, shape in right.items():
        if getattr(table, name).shape != shape or not np.isfinite(getattr(table, name)).all():
            raise AssetError(f"{path}: {name} has shape {getattr(table, name).shape} or holds NaN, expected {shape}")
    if count and ((np.diff(table.pose) < 0).any() or table.pose[0] < 0 or table.shape.min() < 0 or table.scale.min() <= 0):
        raise AssetError(f"{path}: rows are out of order or out of range")
    return table
