"""`handmesh predict`: every source through the net in batches, and its results into a folder; a bad source stops no other."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from handmesh.estimation import results
from handmesh.estimation.drawing import spread_limits
from handmesh.estimation.estimate import Estimate, Estimator, View, tight_box
from handmesh.kinematics.angle_files import angle_lines, describe, limit_lines, plot_angles, write_angles_csv
from handmesh.kinematics.fit import AngleSolver, std_weights
from handmesh.kinematics.mesh_angles import about_solver
from handmesh.mesh_files import MESH_FORMATS, write_mesh
from handmesh.sources import Camera, Source, Video, camera_of, find_sources, read_image
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import HandModel
from handsynth.core.mirror import mirror_left

BATCH = 8
"""Images that go through the net together."""

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Request:
    """What a user says of all the images. Raises UsageError for values that no image can have."""

    side: str = "right"
    box: Sequence[float] | None = None  # x0, y0, x1, y1 tight about the hand [px]; None: found in the image
    focal_px: float | None = None
    K: np.ndarray | None = None  # (3, 3) [px]
    root_depth: float | None = None  # of the wrist [m]; None: where the hand has the size of the mean hand
    mesh_format: str = "obj"

    def __post_init__(self) -> None:
        if self.side not in ("right", "left"):
            raise UsageError(f"a hand's side is right or left, not {self.side!r}")
        if self.mesh_format not in MESH_FORMATS:
            raise UsageError(f"there is no mesh format {self.mesh_format!r}: use {', '.join(MESH_FORMATS)}")
        if self.focal_px is not None and self.K is not None:
            raise UsageError("--focal and --K both give the focal length: leave one out")
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            if not (-np.inf < x0 < x1 < np.inf and -np.inf < y0 < y1 < np.inf):
                raise UsageError(f"--box {x0:g} {y0:g} {x1:g} {y1:g}: expected X0 Y0 X1 Y1 in pixels, X0 < X1 and Y0 < Y1")
        for name, value in (("--focal", self.focal_px), ("--root-depth", self.root_depth)):
            if value is not None and not 0 < value < np.inf:
                raise UsageError(f"{name} {value:g}: expected a number above 0")

    @property
    def depth_source(self) -> str:
        """Where the wrist's depth comes from."""
        return "palm as large as the mean hand's" if self.root_depth is None else "--root-depth"

    def view(self, image: np.ndarray, focal_35mm: float | None = None) -> tuple[View, Camera]:
        """An image as the estimator takes it."""
        camera = camera_of(image, focal_35mm, self.focal_px, self.K)
        return View(image, camera.K, self.side, None if self.box is None else np.array(self.box)), camera


@dataclass
class Done:
    """What was made: a JSON object for each source, and the errors of the sources that failed, in the order of the sources."""

    results: list[dict[str, Any]] = field(default_factory=list)
    failures: list[HandsynthError] = field(default_factory=list)

    def raise_failures(self) -> None:
        """Nothing when all went well; a lone source's own error; else each on stderr, and HandsynthError with their number."""
        if not self.failures:
            return
        if not self.results and len(self.failures) == 1:
            raise self.failures[0]
        for failure in self.failures:
            print(failure, file=sys.stderr)
        count = len(self.results) + len(self.failures)
        raise HandsynthError(f"{len(self.failures)} of {count} images and videos could not be done, see above; the others are")


def predict(
    estimator: Estimator,
    about: dict[str, Any],
    paths: Iterable[Path],
    out: Path,
    request: Request,
    solver: AngleSolver | None = None,
) -> Done:
    """Finds hands in images, folders and videos, and writes drawings, meshes and JSON.

    For each image `NAME.overlay.png`, `NAME.json` and the mesh `NAME.obj` or `.ply`; for each video `NAME.overlay.mp4` and
    `NAME.jsonl`, a line for each frame. With a solver also the joint angles, in the JSON and as `NAME.angles.csv`, and the
    mesh that has them: `NAME.fitted.obj` or `.ply` of an image, the plot `NAME.angles.png` of a video.

    Args:
        estimator: net and hand.
        about: what the JSON says of the run: names of net and hand.
        paths: what the user has named.
        out: folder, made when missing.
        request: what holds for all of them.
        solver: finds joint angles; None leaves them out.

    Raises UsageError when a path is missing, a folder is empty, or results would lie among the sources.
    """
    sources = find_sources(list(paths))
    for source in sources:
        if source.path.resolve().parent == out.resolve():
            raise UsageError(f"{source.path} lies in {out}, where the results go: give another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    writer = _Writer(estimator, about, out, request, solver)
    made: dict[str, dict[str, Any] | HandsynthError] = {}
    for batch in _batches([source for source in sources if not source.is_video], BATCH, "images"):
        made |= writer.images(batch)
    for source in sources:
        if source.is_video:
            try:
                made[source.name] = writer.video(source)
            except HandsynthError as error:
                made[source.name] = _named(error, source)
    done = Done()
    for source in sources:
        result = made[source.name]
        if isinstance(result, HandsynthError):
            done.failures.append(result)
        else:
            done.results.append(result)
    return done


class Fitted(NamedTuple):
    """The feasible hand nearest to an estimate, for `--kinematics`."""

    vertices: np.ndarray  # (V, 3) camera frame of the view [m], left hands as left hands
    angles: np.ndarray  # (23,) [rad]
    description: dict[str, Any]  # the JSON


def fit_estimates(solver: AngleSolver, views: Sequence[View], estimates: Sequence[Estimate]) -> list[Fitted]:
    """The angles of estimates, each vertex weighted by how sure the net is of it."""
    sides = [view.side for view in views]
    vertices = mirror_left(np.stack([estimate.vertices for estimate in estimates]), sides)
    weights = std_weights(np.stack([estimate.std_mm for estimate in estimates]))
    fit = solver(vertices, weights, predicted=True)
    found = mirror_left(fit.vertices, sides)
    description = [{**about_solver(solver), **hand} for hand in describe(solver.hand, fit)]
    return [Fitted(*each) for each in zip(found, fit.angles, description, strict=True)]


class _Writer:
    """Estimates and writes; kept together because every step asks for all five."""

    def __init__(
        self, estimator: Estimator, about: dict[str, Any], out: Path, request: Request, solver: AngleSolver | None
    ) -> None:
        self.estimator, self.about, self.out, self.request, self.solver = estimator, about, out, request, solver

    def images(self, sources: list[Source]) -> dict[str, dict[str, Any] | HandsynthError]:
        """What became of each, by name."""
        made: dict[str, dict[str, Any] | HandsynthError] = {}
        requested: list[tuple[Source, View, Camera]] = []
        for source in sources:
            try:
                view, camera = self.request.view(*read_image(source.path))
                tight_box(view)
                requested.append((source, view, camera))
            except HandsynthError as error:
                made[source.name] = _named(error, source)
        if not requested:
            return made
        views, estimates = self.estimator.find([view for _, view, _ in requested], self.request.root_depth)
        found = zip(requested, views, estimates, self._fit(views, estimates), strict=True)
        for (source, _, camera), view, estimate, fitted in found:
            made[source.name] = self._image(source, view, camera, estimate, fitted)
        return made

    def _fit(self, views: list[View], estimates: list[Estimate]) -> Sequence[Fitted | None]:
        """The feasible hands of a batch, where they are requested."""
        return fit_estimates(self.solver, views, estimates) if self.solver else [None] * len(estimates)

    def _image(self, source: Source, view: View, camera: Camera, estimate: Estimate, fitted: Fitted | None) -> dict[str, Any]:
        hand = self.estimator.hand
        overlay = results.overlay_path(self.out, source.name, ".png")
        results.write_image(overlay, results.draw_panels(view, estimate, hand, fitted.vertices if fitted else None))
        files: dict[str, str | None] = {"overlay": overlay.name, "mesh": None}
        meshes = {"mesh": estimate.vertices} | ({"fitted_mesh": fitted.vertices} if fitted else {})
        if self.request.mesh_format != "none":
            for key, vertices in meshes.items():
                name = f"{source.name}{'.fitted' if key == 'fitted_mesh' else ''}.{self.request.mesh_format}"
                files[key] = name
                header = f"{view.side} hand; metres; camera frame: x right, y down, z forward"
                write_mesh(self.out / name, vertices, hand, view.side, header)
        if fitted:
            files["angles"] = f"{source.name}.angles.csv"
            write_angles_csv(self.out / f"{source.name}.angles.csv", [fitted.description], "image", [source.path.name])
        value = {
            "schema": results.SCHEMA, "source": str(source.path), **self.about,
            **results.describe(view, camera, estimate, self.request.depth_source),
            **({"kinematics": fitted.description} if fitted else {}),
            **files, "conventions": results.conventions(self.solver is not None),
        }  # fmt: skip
        results.write_json(self.out / f"{source.name}.json", value)
        return value

    def video(self, source: Source) -> dict[str, Any]:
        """The video's result; its frames' are in the JSON lines. Raises HandsynthError when it cannot be read."""
        video = Video(source.path)
        rows: list[dict[str, Any]] = []
        angles: list[np.ndarray] = []
        overlay, lines = results.overlay_path(self.out, source.name, ".mp4"), self.out / f"{source.name}.jsonl"
        with results.video_writer(overlay, video.fps) as writer:
            for batch in _batches(video.frames(), BATCH, source.path.name, video.count):
                requested = [self.request.view(frame.image) for frame in batch]
                views, estimates = self.estimator.find([view for view, _ in requested], self.request.root_depth)
                if not rows:  # the first frames give the colours of all
                    limits = spread_limits(np.stack([estimate.std_mm for estimate in estimates]))
                found = zip(requested, views, estimates, self._fit(views, estimates), strict=True)
                for frame, ((_, camera), view, estimate, fitted) in zip(batch, found, strict=True):
                    writer.write(results.draw_frame(view, estimate, self.estimator.hand, limits))
                    row = {"frame": len(rows), "time_s": round(frame.time_s, 6)} | results.describe(
                        view, camera, estimate, self.request.depth_source
                    )
                    rows.append(row | ({"kinematics": fitted.description} if fitted else {}))
                    angles += [fitted.angles] if fitted else []
        if video.cut:
            print(video.cut, file=sys.stderr)
        results.write_lines(lines, rows)
        files = {"overlay": overlay.name, "lines": lines.name}
        if angles:
            frames, description = list(range(len(rows))), [row["kinematics"] for row in rows]
            files |= {"angles": f"{source.name}.angles.csv", "plot": f"{source.name}.angles.png"}
            write_angles_csv(self.out / files["angles"], description, "frame", frames)
            plot_angles(self.out / files["plot"], self.estimator.hand, np.stack(angles), frames, "frame", source.name)
        return {
            "schema": results.SCHEMA, "source": str(source.path), **self.about, "frames": len(rows), "fps": video.fps,
            **files, "conventions": results.conventions(self.solver is not None),
        }  # fmt: skip


def about_run(net: str, hand: HandModel) -> dict[str, Any]:
    """What the JSON says of a run."""
    return {"net": net, "hand": {"name": hand.name, "digest": hand.digest, "fingertip_table": hand.fingertip_table}}


def summary(result: dict[str, Any], out: Path) -> str:
    """One line for people about one source, and with angles one for each finger."""
    if "frames" in result:
        return f"{result['source']}: {result['frames']} frames -> {out / result['overlay']}, {result['lines']}"
    std = result["vertices_std_mm"]
    line = (
        f"{result['source']}: {result['side']} hand, wrist {result['root_depth']:.2f} m away ({result['root_depth_source']}), "
        f"standard deviation {std['median']:.1f} mm, at worst {std['max']:.1f} -> {out / result['overlay']}"
    )
    angles = result.get("kinematics")
    return "\n".join([line, *angle_lines(angles), *limit_lines([angles["beyond_limits"]])] if angles else [line])


def _named(error: HandsynthError, source: Source) -> HandsynthError:
    """The error, of its own class, with the source in front unless its message has it."""
    return error if str(source.path) in str(error) else type(error)(f"{source.path}: {error}")


def _batches(items: Iterable[_T], size: int, what: str, total: int | None = None) -> Iterator[list[_T]]:
    """Lists of up to `size`, with progress on stderr."""
    total = len(items) if isinstance(items, list) else total or None
    left = iter(items)
    with tqdm(total=total, desc=what, unit=" images", disable=total == 0, leave=False) as bar:
        while batch := list(islice(left, size)):
            yield batch
            bar.update(len(batch))
