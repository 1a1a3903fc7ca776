"""The table of a pose bank: which poses hold which shapes, and how. Searched once for a hand and its bank, and kept."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from handsynth.assets.objects.holding import Placement, holdings
from handsynth.assets.objects.shapes import SHAPES, Shape
from handsynth.core.arrays import read_typed
from handsynth.core.errors import AssetError
from handsynth.core.files import write_atomically
from handsynth.core.hand import HandModel
from handsynth.core.locations import cache_dir
from handsynth.core.poses import PoseBank

BLOCK = 20
"""Poses that are searched before what was found is kept."""

TABLE_VERSION = 2
"""Goes up with every change of the shapes or of the search."""


_PLACEMENT = ("shape", "rotvec", "offset", "scale", "score")


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
    def digest(self) -> str:
        """SHA-256 of its content."""
        found = hashlib.sha256(self.identity.encode())
        for name in ("pose", "shape", "rotvec", "offset", "scale"):
            found.update(np.ascontiguousarray(getattr(self, name), "<f8").tobytes())
        return found.hexdigest()

    @cached_property
    def poses(self) -> np.ndarray:
        """Rows of the bank that hold anything, ascending."""
        return np.unique(self.pose)

    def of_pose(self, row: int) -> np.ndarray:
        """Numbers of a pose's placements."""
        return np.arange(*np.searchsorted(self.pose, [row, row + 1]))

    def of_rows(self, rows: Sequence[int], identity: str) -> "HoldingTable":
        """The table of a bank that consists of those rows of this one's, in any order."""
        numbers = [self.of_pose(row) for row in rows]
        chosen = np.concatenate([np.zeros(0, int), *numbers])
        pose = np.repeat(np.arange(len(rows), dtype=np.int32), [len(found) for found in numbers])
        return replace(self, identity=identity, pose=pose, **{name: getattr(self, name)[chosen] for name in _PLACEMENT})

    def placement(self, number: int) -> Placement:
        """One placement."""
        return Placement(self.rotvec[number], self.offset[number], float(self.scale[number]), float(self.score[number]))


def table_identity(model: HandModel, bank: PoseBank, shapes: tuple[Shape, ...] = SHAPES) -> str:
    """SHA-256 of what a table depends on."""
    parts = [f"{s.family}/{s.name} {s.scale}" if s in SHAPES else f"{s.name} {s.scale} {s.digest}" for s in shapes]
    text = f"{TABLE_VERSION} {model.digest} {bank.digest} " + " ".join(parts)
    return hashlib.sha256(text.encode()).hexdigest()


def holdings_path(identity: str) -> Path:
    """Where the table of a user's own hand and bank is kept."""
    return cache_dir() / f"holdings-{identity[:16]}.npz"


def make_table(
    model: HandModel,
    bank: PoseBank,
    jobs: int,
    done: Callable[[int], None] = lambda poses: None,
    shapes: tuple[Shape, ...] = SHAPES,
) -> Path:
    """Searches what is missing of a hand's table, and keeps it in the cache: a run that was stopped goes on where it was.

    `done` is told after each BLOCK how many poses have been searched. Returns where the table is.
    """
    path = holdings_path(table_identity(model, bank, shapes))
    parts = path.with_suffix(".parts")
    parts.mkdir(parents=True, exist_ok=True)
    tables = []
    for start in range(0, len(bank.theta), BLOCK):
        part, rows = parts / f"{start:05d}.npz", range(start, min(start + BLOCK, len(bank.theta)))
        if not part.exists():
            found = joined_tables(list(search_poses(model, bank, rows, shapes, jobs)))
            write_atomically(part, partial(save_table, table=found))
        tables.append(load_table(part))
        done(rows.stop)
    write_atomically(path, partial(save_table, table=joined_tables(tables)))
    shutil.rmtree(parts)
    return path


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
    arrays = [f.name for f in fields(HoldingTable) if f.name != "identity"]
    return HoldingTable(tables[0].identity, *(np.concatenate([getattr(t, name) for t in tables]) for name in arrays))


def _of_pose(model: HandModel, theta: np.ndarray, shapes: tuple[Shape, ...], row: int) -> list[tuple[int, Placement]]:
    with threadpool_limits(1):
        return list(holdings(model, theta, shapes, row))


def save_table(path: Path, table: HoldingTable) -> None:
    """Writes a plain compressed `.npz`."""
    values = {f.name: np.array(getattr(table, f.name)) for f in fields(HoldingTable)}
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
