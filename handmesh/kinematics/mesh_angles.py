"""The joint angles of meshes that a user names: `handmesh kinematics fit` and `solve`.

Mesh files, arrays and datasets are read and mirrored to right hands, their angles found, and the results written.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handmesh.data.shards import ShardDataset
from handmesh.kinematics import angle_files
from handmesh.kinematics.fit import ITERATIONS, AngleSolver, FitResult
from handmesh.kinematics.ik_net import load_ik_run
from handmesh.mesh_files import MESH_FORMATS, MESH_SUFFIXES, read_mesh, write_mesh
from handmesh.sources import Source, find_sources
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.files import write_atomically
from handsynth.core.hand import HandModel, mirror_left, mirror_points
from handsynth.core.index import read_index
from handsynth.core.named_hands import find_hand, open_hand


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


def angles_of_meshes(
    solver: AngleSolver,
    sources: Sequence[Source],
    out: Path,
    *,
    left: bool = False,
    samples: range | None = None,
    mesh_format: str = "obj",
) -> list[dict[str, Any]]:
    """Writes the angles of each source into the folder `out` -> a summary of each (`hands` and the names of its files).

    `NAME.angles.json` and `.csv`; of one hand the fitted mesh `NAME.fitted.obj` or `.ply`, of several `NAME.fitted.npy` and the
    plot `NAME.angles.png`.

    Raises UsageError or HandsynthError, naming the source, when one cannot be read or is no such hand.
    """
    if mesh_format not in MESH_FORMATS:
        raise UsageError(f"there is no mesh format {mesh_format!r}: use {', '.join(MESH_FORMATS)}")
    results = []
    for source in sources:
        if source.path.resolve().parent == out.resolve():
            raise UsageError(f"{source.path} lies in {out}, where the results go: give another folder with --out")
        hands = read_hands(source.path, source.name, solver.hand, left, samples)
        try:
            fit = solver(hands.vertices, predicted=False)
        except HandsynthError as error:
            raise type(error)(f"{source.path}: {error}") from None
        results.append(_write(out, hands, fit, solver, mesh_format))
    return results


def make_solver(hand: HandModel, ik_run: Path | None, shape: Path | None, iterations: int = ITERATIONS) -> AngleSolver:
    """The solver that a user asks for, for meshes of `hand`.

    Raises UsageError when the IK run is none or of another hand, or when the shape is not one of this hand or is missing.
    """
    beta = read_shape(shape, hand) if shape else None
    if ik_run is None:
        return AngleSolver(hand, None, beta, iterations)
    run = load_ik_run(ik_run)
    if run.hand.digest != hand.digest:
        raise UsageError(f"{ik_run} was trained on hand model {run.hand.name!r}, the meshes are of another, {hand.name!r}")
    return AngleSolver(hand, run.net, beta, iterations)


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


def summary(results: dict[str, Any], out: Path) -> str:
    """Lines for people about one source."""
    hands = results["hands"]
    errors = [hand["error_mm"]["mean"] for hand in hands]
    first = f"{results['source']}: {len(hands)} hands, " if len(hands) > 1 else f"{results['source']}: {hands[0]['side']} hand, "
    first += f"fitted to {np.mean(errors):.2f} mm" + (f", the worst to {max(errors):.2f}" if len(hands) > 1 else "")
    lines = [f"{first} -> {out / results['files']['csv']}"]
    lines += angle_files.angle_lines(hands[0]) if len(hands) == 1 else []
    return "\n".join(lines + angle_files.limit_lines(hands))


def _write(out: Path, hands: Hands, fit: FitResult, solver: AngleSolver, mesh_format: str) -> dict[str, Any]:
    axis = "sample" if hands.source.is_dir() else "row"
    placed = zip(hands.numbers.tolist(), hands.sides, angle_files.describe(solver.hand, fit), strict=True)
    described = [{axis: number, "side": side, **hand} for number, side, hand in placed]
    vertices = hands.as_given(fit.vertices)
    files = {"json": f"{hands.name}.angles.json", "csv": f"{hands.name}.angles.csv"}
    out.mkdir(parents=True, exist_ok=True)
    if hands.sequence:
        files["plot"] = f"{hands.name}.angles.png"
        title = f"{hands.name}: {len(described)} hands"
        angle_files.plot_angles(out / files["plot"], solver.hand, fit.angles, hands.numbers.tolist(), axis, title)
    if mesh_format != "none" and hands.sequence:
        files["mesh"] = f"{hands.name}.fitted.npy"
        write_atomically(out / files["mesh"], lambda path: np.save(path, vertices))
    elif mesh_format != "none":
        files["mesh"] = f"{hands.name}.fitted.{mesh_format}"
        header = f"{hands.sides[0]} hand, fitted with 23 angles; metres; frame of the input"
        write_mesh(out / files["mesh"], vertices[0], solver.hand, hands.sides[0], header)
    angle_files.write_angles_csv(out / files["csv"], described, axis, hands.numbers.tolist())
    about = {"source": str(hands.source), **about_solver(solver), "files": files}
    angle_files.write_angles_json(out / files["json"], about, described)
    return {**about, "hands": described}
