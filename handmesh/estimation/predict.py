"""`handmesh predict`: every source through the net, and its results into a folder; a bad source stops no other."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from handmesh.estimation import results
from handmesh.estimation.drawing import spread_limits
from handmesh.estimation.hands import Hand, Hands
from handmesh.kinematics.angle_files import angle_lines, limit_lines, plot_angles, write_angles_csv
from handmesh.kinematics.mesh_angles import about_solver
from handmesh.mesh_files import MESH_FORMATS, write_glb, write_mesh
from handmesh.sources import Camera, Source, Video, camera_of, find_sources, read_image
from handsynth.core.errors import HandsynthError, UsageError

LINES, ANGLES = "predictions.jsonl", "angles.csv"
"""Of all images: a line of JSON each, and a row of joint angles for each hand."""


@dataclass(frozen=True, eq=False)
class Request:
    """What a user says of all the images. Raises UsageError for values that no image can have."""

    side: str | None = None  # "right" or "left", of all hands; None: the detector's, and right where there is none
    box: Sequence[float] | None = None  # x0, y0, x1, y1 tight about the hand [px]; None: found in the image
    focal_px: float | None = None
    K: np.ndarray | None = None  # (3, 3) [px]
    root_depth: float | None = None  # of the wrist [m]; None: where the hand has the size of the mean hand
    mesh_format: str = "obj"

    def __post_init__(self) -> None:
        if self.side not in ("right", "left", None):
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

    def look(
        self, hands: Hands, image: np.ndarray, focal_35mm: float | None, time_s: float | None = None, fresh: bool = True
    ) -> tuple[list[Hand], Camera]:
        """The hands of an image and its camera; of a video's frame, the box begins a hand where none is followed (`fresh`)."""
        camera = camera_of(image, focal_35mm, self.focal_px, self.K)
        boxes = None if self.box is None or not fresh else [self.box]
        found = hands(image, boxes=boxes, sides=self.side, K=camera.K, root_depth=self.root_depth, time_s=time_s)
        return found, camera


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


def predict(hands: Hands, paths: Iterable[Path], out: Path, request: Request) -> Done:
    """Finds hands in images, folders and videos, and writes drawings, meshes and JSON.

    For each image `NAME.overlay.png`, `NAME.json`, `NAME.glb` with all its hands, and a mesh of each, `NAME.obj` (`NAME-2.obj`
    for the second); of all images together `predictions.jsonl`, a line each. For each video `NAME.overlay.mp4` and `NAME.jsonl`,
    a line for each frame. With joint angles also the meshes that have them (`NAME.fitted.obj`), and the angles as `angles.csv` of
    all images, `NAME.angles.csv` of a video and their plot `NAME.angles.png`.

    Args:
        hands: in mode "image"; videos are followed by another of the same net.
        paths: what the user has named.
        out: folder, made when missing.
        request: what holds for all of them.

    Raises UsageError when a path is missing, a folder is empty, or results would lie among the sources.
    """
    sources = find_sources(list(paths))
    if any(source.path.resolve().parent == out.resolve() for source in sources):
        raise UsageError(f"{out} holds the images themselves: give another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    writer, done = _Writer(hands, out, request), Done()
    images = sum(not source.is_video for source in sources)
    with tqdm(total=images, desc="images", unit=" images", disable=images < 2, leave=False) as bar:
        for source in sources:
            try:
                done.results.append(writer.video(source) if source.is_video else writer.image(source))
            except HandsynthError as error:
                done.failures.append(_named(error, source))
            bar.update(not source.is_video)
    writer.write_together(done.results)
    return done


class _Writer:
    """Finds and writes; kept together because every step asks for all three."""

    def __init__(self, hands: Hands, out: Path, request: Request) -> None:
        self.hands, self.out, self.request = hands, out, request
        opened, solver = hands.opened, hands.solver
        self.about = {
            "net": opened.name, "runtime": opened.runtime,
            "hand": {"name": opened.hand.name, "digest": opened.hand.digest, "fingertip_table": opened.hand.fingertip_table},
            **({"angles": {key: value for key, value in about_solver(solver).items() if key != "hand"}} if solver else {}),
        }  # fmt: skip
        self.angles_of = opened.hand if solver else None
        self.conventions = results.conventions(solver is not None)

    def image(self, source: Source) -> dict[str, Any]:
        """An image's result. Raises HandsynthError when it cannot be read."""
        image, focal_35mm = read_image(source.path)
        found, camera = self.request.look(self.hands, image, focal_35mm)
        overlay, model = results.overlay_path(self.out, source.name, ".png"), self.hands.hand
        results.write_image(overlay, results.draw_panels(image, found, model))
        described = results.describe_image(image, camera, found, self.request.depth_source, self.angles_of)
        files: dict[str, str | None] = {"overlay": overlay.name, "glb": None}
        if self.request.mesh_format != "none":
            if found:
                files["glb"] = f"{source.name}.glb"
                write_glb(self.out / f"{source.name}.glb", [hand.vertices for hand in found], [hand.side for hand in found], model)
            for k, (hand, value) in enumerate(zip(found, described["hands"], strict=True), 1):
                value |= self._meshes(source.name if k == 1 else f"{source.name}-hand-{k}", hand)
        value = {"schema": results.SCHEMA, "source": str(source.path), **self.about, **described, **files}
        results.write_json(self.out / f"{source.name}.json", value | {"conventions": self.conventions})
        return value

    def _meshes(self, name: str, hand: Hand) -> dict[str, str]:
        """Writes a hand's mesh files; returns their names."""
        files, header = {}, f"{hand.side} hand; metres; camera frame: x right, y down, z forward"
        for key, middle, vertices in (("mesh", "", hand.vertices), ("fitted_mesh", ".fitted", hand.fitted_vertices)):
            if vertices is not None:
                files[key] = f"{name}{middle}.{self.request.mesh_format}"
                write_mesh(self.out / files[key], vertices, self.hands.hand, hand.side, header)
        return files

    def video(self, source: Source) -> dict[str, Any]:
        """The video's result; its frames' are in the JSON lines. Raises HandsynthError when it cannot be read."""
        video = Video(source.path)
        hands = Hands(
            self.hands.opened, mode="video", detector=self.hands.detector, angles=self.hands.solver is not None, fps=video.fps,
            solver=self.hands.solver,
        )  # fmt: skip
        rows: list[dict[str, Any]] = []
        limits: tuple[float, float] | None = None
        followed: list[tuple[int, Hand]] = []
        overlay, lines = results.overlay_path(self.out, source.name, ".mp4"), self.out / f"{source.name}.jsonl"
        progress = tqdm(video.frames(), source.path.name, video.count or None, unit=" frames", leave=False)
        found: list[Hand] = []
        with results.video_writer(overlay, video.fps) as writer:
            for frame in progress:
                found, camera = self.request.look(hands, frame.image, None, frame.time_s, not found)
                if limits is None and found:  # the first hands give the colours of all
                    limits = spread_limits(np.stack([hand.std_mm for hand in found]))
                writer.write(results.draw_frame(frame.image, found, hands.hand, limits or (0.0, 1.0)))
                described = results.describe_image(frame.image, camera, found, self.request.depth_source, self.angles_of)
                rows.append({"frame": len(rows), "time_s": round(frame.time_s, 6), **described})
                followed += [(len(rows) - 1, hand) for hand in found]
        if video.cut:
            print(video.cut, file=sys.stderr)
        results.write_lines(lines, rows)
        files = {"overlay": overlay.name, "lines": lines.name}
        if self.angles_of:
            files |= self._angles(source.name, followed, rows)
        return {
            "schema": results.SCHEMA, "source": str(source.path), **self.about, "frames": len(rows), "fps": video.fps,
            "tracks": sorted({hand.track for _, hand in followed if hand.track is not None}), **files,
            "conventions": self.conventions,
        }  # fmt: skip

    def _angles(self, name: str, followed: list[tuple[int, Hand]], rows: list[dict[str, Any]]) -> dict[str, str]:
        """Writes a video's angles as CSV, and the plot of the hand that is seen in most frames; returns the files' names."""
        described = [(row["frame"], hand["track"], hand["kinematics"]) for row in rows for hand in row["hands"]]
        files = {"angles": f"{name}.angles.csv"}
        keys = [(frame, track) for frame, track, _ in described]
        write_angles_csv(self.out / files["angles"], [value for _, _, value in described], ("frame", "track"), keys)
        if followed:
            tracks = [hand.track for _, hand in followed]
            longest = max(set(tracks), key=tracks.count)
            frames, fits = zip(*[(frame, hand.fit) for frame, hand in followed if hand.track == longest and hand.fit], strict=True)
            files["plot"] = f"{name}.angles.png"
            angles = np.concatenate([fit.angles for fit in fits])
            plot_angles(self.out / files["plot"], self.hands.hand, angles, frames, "frame", f"{name}, hand {longest}")
        return files

    def write_together(self, made: Sequence[dict[str, Any]]) -> None:
        """The files of all images."""
        images = [value for value in made if "frames" not in value]
        if not images:
            return
        results.write_lines(self.out / LINES, images)
        if self.angles_of:
            rows = [(value["source"], k, hand["kinematics"]) for value in images for k, hand in enumerate(value["hands"], 1)]
            keys = [(source, k) for source, k, _ in rows]
            write_angles_csv(self.out / ANGLES, [value for _, _, value in rows], ("image", "hand"), keys)


def summary(result: dict[str, Any], out: Path) -> str:
    """One line for people about one source, one for each hand, and with angles one for each finger."""
    source, overlay = result["source"], out / result["overlay"]
    if "frames" in result:
        hands = len(result["tracks"])
        return f"{source}: {result['frames']} frames, {hands} hand{'s' * (hands != 1)} -> {overlay}, {result['lines']}"
    if not result["hands"]:
        return f"{source}: no hand found -> {overlay}"
    lines = [f"{source} (camera: {result['K_source']}) -> {overlay}"]
    for hand in result["hands"]:
        std = hand["vertices_std_mm"]
        lines.append(
            f"  {hand['side']} hand, wrist {hand['root_depth']:.2f} m away ({hand['root_depth_source']}), "
            f"standard deviation {std['median']:.1f} mm, at worst {std['max']:.1f}"
        )
        if angles := hand.get("kinematics"):
            lines += [*angle_lines(angles), *limit_lines([angles["beyond_limits"]])]
    return "\n".join(lines)


def _named(error: HandsynthError, source: Source) -> HandsynthError:
    """The error, of its own class, with the source in front unless its message has it."""
    return error if str(source.path) in str(error) else type(error)(f"{source.path}: {error}")
