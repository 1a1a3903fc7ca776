"""The joint angles of meshes that a user names: `handmesh kinematics fit` and `solve`.

Mesh files, arrays and datasets are read and mirrored to right hands, their angles found, and the results written.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from handmesh.data.shards import ShardDataset
from handmesh.kinematics import angle_files
from handmesh.kinematics.check import MirroredError
from handmesh.kinematics.fit import BLOCK, ITERATIONS, AngleSolver, FirstGuess, FitResult
from handmesh.mesh_files import MESH_FORMATS, MESH_SUFFIXES, read_mesh, write_mesh
from handmesh.sources import Source, find_sources
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.files import check_out_folder
from handsynth.core.hand import HandModel
from handsynth.core.index import read_index
from handsynth.core.mirror import mirror_left
from handsynth.core.named_hands import find_hand, open_hand


@dataclass(frozen=True, eq=False)
class Meshes:
    """The meshes of one source, N hands of V vertices, which are read a block at a time: datasets are larger than memories."""

    source: Path
    name: str  # of the results
    numbers: np.ndarray  # (N,) row of the array, or sample of the dataset
    sequence: bool  # whether they are results over time rather than one hand
    read: Callable[[slice], tuple[np.ndarray, Sequence[str]]]  # rows -> (B, V, 3) as given [m], and each one's side

    @property
    def key(self) -> str:
        """What the numbers are."""
        return "sample" if self.source.is_dir() else "row"


def is_mesh_source(path: Path) -> bool:
    """Whether the path names meshes; anything else is for a mesh net."""
    return path.suffix.lower() in {*MESH_SUFFIXES, ".npy"} or (path / "index.json").exists()


def open_meshes(path: Path, name: str, hand: HandModel, left: bool = False, samples: range | None = None) -> Meshes:
    """The meshes of a mesh file, an array or a dataset; of a dataset no image is decoded.

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
        return _open_dataset(path, name, hand, samples)
    vertices = _open_array(path) if path.suffix.lower() == ".npy" else read_mesh(path)[None]
    vertices = vertices if vertices.ndim == 3 else vertices[None]
    side = "left" if left else "right"
    return Meshes(
        path, name, np.arange(len(vertices)), len(vertices) > 1, lambda rows: (vertices[rows], [side] * len(vertices[rows]))
    )


def _open_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except (OSError, ValueError, EOFError) as error:
        raise HandsynthError(f"{path} cannot be read as an array ({type(error).__name__})") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim not in (2, 3) or not len(array):
        raise UsageError(f"{path}: expected floats of shape (hands, vertices, 3) or (vertices, 3)")
    return array


def _open_dataset(path: Path, name: str, hand: HandModel, samples: range | None) -> Meshes:
    data = ShardDataset(path, hand)
    numbers = data.indices()
    positions = [k for k, number in enumerate(numbers) if samples is None or int(number) in samples]
    if not positions:
        raise UsageError(f"{path} holds none of the requested samples: it has {numbers.min()} to {numbers.max()}")

    def read(rows: slice) -> tuple[np.ndarray, list[str]]:
        return np.stack([data.vertices(k) for k in positions[rows]]), [data.labels(k)["side"] for k in positions[rows]]

    return Meshes(path, name, numbers[positions], True, read)


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


@dataclass(frozen=True, eq=False)
class Found:
    """What was found of one source, but for the hands themselves, which are in its files."""

    about: dict[str, Any]  # what the JSON says of all hands
    first: dict[str, Any]  # the first hand, as in the JSON
    errors_mm: np.ndarray  # (N,) mean distance of each hand's vertices
    beyond: list[list[dict[str, Any]]]  # (N,) `beyond_limits` of each hand

    def read(self, out: Path) -> dict[str, Any]:
        """All of it, read from the files in `out`."""
        value = json.loads((out / self.about["files"]["json"]).read_text(encoding="utf-8"))
        return {key: value[key] for key in (*self.about, "hands")}


def angles_of_meshes(
    solver: AngleSolver,
    sources: Sequence[Source],
    out: Path,
    *,
    left: bool = False,
    samples: range | None = None,
    mesh_format: str = "obj",
) -> list[Found]:
    """Writes the angles of each source into the folder `out` -> what was found of each.

    `NAME.angles.json` and `.csv`; of one hand the fitted mesh `NAME.fitted.obj` or `.ply`, of several `NAME.fitted.npy` (float32)
    and the plot `NAME.angles.png`. A source's files appear together, when all its hands are fitted.

    Raises UsageError or HandsynthError, naming the source, when one cannot be read or is no such hand; or `out`, when nothing can
    be written there.
    """
    if mesh_format not in MESH_FORMATS:
        raise UsageError(f"there is no mesh format {mesh_format!r}: use {', '.join(MESH_FORMATS)}")
    check_out_folder(out)
    for source in sources:
        if source.path.resolve().parent == out.resolve():
            raise UsageError(f"{source.path} lies in {out}, where the results go: give another folder with --out")
    opened = [open_meshes(source.path, source.name, solver.hand, left, samples) for source in sources]
    return [_find_angles(out, meshes, solver, mesh_format) for meshes in opened]


def make_solver(
    hand: HandModel, net: FirstGuess | None = None, shape: Path | None = None, iterations: int = ITERATIONS
) -> AngleSolver:
    """The solver that a user asks for, for meshes of `hand`; `net` finds where it starts.

    Raises UsageError when the shape is not one of this hand or is missing.
    """
    return AngleSolver(hand, net, read_shape(shape, hand) if shape else None, iterations)


def hand_of_sources(name: str | None, sources: Sequence[Source]) -> HandModel:
    """The hand by name, else that of the first dataset among the sources, else what `open_hand` calls "auto"."""
    datasets = [source.path for source in sources if source.path.is_dir()]
    if name is None and datasets:
        return find_hand(read_index(datasets[0]), datasets[0])
    return open_hand(name or "auto")


def refuse_images(paths: Sequence[Path], instead: str) -> None:
    """Raises UsageError when there is any path that is no mesh, array or dataset."""
    if paths:
        raise UsageError(f"{paths[0]} is no mesh (.obj, .ply), array (.npy) or dataset; if it is an image: {instead}")


def about_solver(solver: AngleSolver) -> dict[str, Any]:
    """What the JSON says of how angles were found."""
    hand = solver.hand
    return {
        "hand": {"name": hand.name, "digest": hand.digest},
        "start": "nearest pose of each part" if solver.net is None else f"IK net of {solver.net.dofs} angles",
        "iterations": solver.iterations,
        "shape": "free" if solver.shape is None else "known",
    }


def mesh_sources(paths: Sequence[Path]) -> tuple[list[Source], list[Path]]:
    """The sources of meshes among the paths, named, and the other paths, which are for a mesh net.

    Raises UsageError when a path does not exist.
    """
    folders = [path for path in paths if path.is_dir() and is_mesh_source(path)]
    files = [path for path in paths if path not in folders and is_mesh_source(path)]
    sources = [Source(path, path.resolve().name) for path in folders] + (find_sources(files) if files else [])
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the results of two inputs would be called {name}: give them in two commands")
    return sources, [path for path in paths if path not in folders and path not in files]


def read_shape(path: Path, hand: HandModel) -> np.ndarray:
    """(S,) beta from JSON: a list, an object with `beta`, or what these commands write of one hand. Raises UsageError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            value = value["hands"][0]["beta"] if len(value.get("hands", [])) == 1 else value["beta"]
        beta = np.array(value, np.float64)
        if beta.shape != (hand.num_shapes,) or not np.isfinite(beta).all():
            raise ValueError
    except OSError as error:
        raise UsageError(f"--shape {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise UsageError(
            f"--shape {path}: expected JSON with {hand.num_shapes} numbers as `beta`, as `handmesh kinematics fit` writes it"
        ) from None
    return beta


def summary(found: Found, out: Path) -> str:
    """Lines for people about one source."""
    several = len(found.errors_mm) > 1
    line = f"{found.about['source']}: " + (f"{len(found.errors_mm)} hands, " if several else f"{found.first['side']} hand, ")
    line += f"fitted to {found.errors_mm.mean():.2f} mm" + (f", the worst to {found.errors_mm.max():.2f}" if several else "")
    lines = [f"{line} -> {out / found.about['files']['csv']}", *([] if several else angle_files.angle_lines(found.first))]
    return "\n".join(lines + angle_files.limit_lines(found.beyond))


def _find_angles(out: Path, meshes: Meshes, solver: AngleSolver, mesh_format: str) -> Found:
    """Fits the meshes of a source block by block and writes its files."""
    hand, name = solver.hand, meshes.name
    files = {"json": f"{name}.angles.json", "csv": f"{name}.angles.csv"}
    files |= {"plot": f"{name}.angles.png"} if meshes.sequence else {}
    files |= {"mesh": f"{name}.fitted.{'npy' if meshes.sequence else mesh_format}"} if mesh_format != "none" else {}
    about = {"source": str(meshes.source), **about_solver(solver), "files": files}
    first: dict[str, Any] = {}
    errors, beyond, angles = [], [], []
    blocks = _fit_blocks(meshes, solver)
    ahead = next(blocks)  # before there is any file: what is wrong with meshes is mostly wrong with the first
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        add = stack.enter_context(angle_files.angle_writer(out / files["json"], out / files["csv"], about, meshes.key))
        add_meshes = stack.enter_context(_mesh_writer(out / files["mesh"], meshes, hand)) if "mesh" in files else None
        for numbers, sides, fit in itertools.chain([ahead], blocks):
            placed = zip(numbers, sides, angle_files.describe(hand, fit), strict=True)
            described = [{meshes.key: number, "side": side, **each} for number, side, each in placed]
            add(described)
            if add_meshes:
                add_meshes(mirror_left(fit.vertices, sides), sides)
            first = first or described[0]
            errors += [each["error_mm"]["mean"] for each in described]
            beyond += [each["beyond_limits"] for each in described]
            angles.append(fit.angles)
        if meshes.sequence:
            title = f"{name}: {len(errors)} hands"
            angle_files.plot_angles(out / files["plot"], hand, np.concatenate(angles), meshes.numbers.tolist(), meshes.key, title)
    return Found(about, first, np.array(errors), beyond)


def _fit_blocks(meshes: Meshes, solver: AngleSolver) -> Iterator[tuple[list[int], Sequence[str], FitResult]]:
    """Numbers and sides of a block of hands, and their fit as right hands. Raises HandsynthError naming source and hand."""
    count = len(meshes.numbers)
    with tqdm(total=count, desc=meshes.source.name, unit=" hands", disable=count <= BLOCK, leave=False) as bar:
        for start in range(0, count, BLOCK):
            rows = slice(start, start + BLOCK)
            vertices, sides = meshes.read(rows)
            numbers = meshes.numbers[rows].tolist()
            names = [f"sample {number}" if meshes.key == "sample" else f"hand {number}" for number in numbers]
            try:
                right = mirror_left(vertices, sides) if vertices.shape[-1] == 3 else vertices
                fit = solver(right, predicted=False, names=names)
            except MirroredError as error:
                raise _wrong_side(meshes, error.what, sides[0]) from None
            except HandsynthError as error:
                raise type(error)(f"{meshes.source}: {error}") from None
            yield numbers, sides, fit
            bar.update(len(numbers))


def _wrong_side(meshes: Meshes, what: str, side: str) -> HandsynthError:
    """The error for a mesh that is not of its side, which the user has given for files and the labels give for samples."""
    if meshes.key == "sample":
        return HandsynthError(f"{meshes.source}: {what} is a mirror image of the hand that its labels name: the dataset is damaged")
    where = f"{meshes.source}, {what}," if meshes.sequence else str(meshes.source)
    if side == "right":
        return UsageError(f"{where} is a left hand: give --left")
    return UsageError(f"{where} is a right hand: leave out --left")


@contextmanager
def _mesh_writer(path: Path, meshes: Meshes, hand: HandModel) -> Iterator[Callable[[np.ndarray, Sequence[str]], None]]:
    """Yields what writes the fitted meshes of a block, given with their sides: an array of all, or a mesh file of the only one."""
    if meshes.sequence:
        with angle_files.array_writer(path, (len(meshes.numbers), hand.num_vertices, 3)) as add:
            yield lambda vertices, sides: add(vertices)
    else:
        header = "{} hand, fitted with 23 angles; metres; frame of the input"
        yield lambda vertices, sides: write_mesh(path, vertices[0], hand, sides[0], header.format(sides[0]))
