"""Makes the video of docs/robots.md: a rendered clip, the mesh that a net finds, its angles over time, and robot hands that follow.

    python scripts/robot_video.py [--net NAME|RUN] [--descriptions dex-urdf/robots/hands] [--seed N] [--out FILE.webp]

The clip is of the spec `clips`, so that the true angles are known and drawn, too. The net is the one that is shipped. The first
robot is an Allegro hand, where descriptions are given; the last is our own exported hand in MuJoCo, its servos under gravity, drawn
by MuJoCo (MUJOCO_GL says how: egl, osmesa).
"""

import argparse
import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")  # read when MuJoCo is imported
os.environ.setdefault("PYOPENGL_PLATFORM", "egl")

import ctypes

import cv2
import numpy as np
import OpenGL.EGL
from PIL import Image

from handmesh.estimation.drawing import draw_mesh, sheet
from handmesh.estimation.hands import load
from handmesh.kinematics.dof import DOF_NAMES, hand_dof_matrix, project
from handmesh.kinematics.joint_coordinates import to_joint_coordinates
from handmesh.robot.articulated import ArticulatedHand, articulate
from handmesh.robot.bridge import HAND, open_target, retarget_clip
from handmesh.robot.clip import HumanClip, RobotClip
from handmesh.robot.draw import bounds_of, draw_view, robot_mesh
from handmesh.robot.export import SCENE, export_articulated
from handmesh.robot.robot_xml import ExportOptions
from handmesh.robot.simulate import simulate
from handmesh.robot.visuals import SHIPPED_SKIN, read_texture
from handsynth.core.conventions import FINGERS
from handsynth.core.locations import assets_dir
from handsynth.generator import Generator, library_of
from handsynth.recipe.samplers import RecipeSampler
from handsynth.recipe.spec import load_spec

if not hasattr(OpenGL.EGL, "EGLDeviceEXT"):  # PyOpenGL 3.1.0, which pyrender wants, lacks a name that MuJoCo's EGL needs
    OpenGL.EGL.EGLDeviceEXT = ctypes.c_void_p

OUT = Path(__file__).parent.parent / ".github/images/robots.webp"
FRAMES, FPS, KEPT = 90, 30, 3
"""Of the clip; every KEPT-th is shown."""

SEED, TILE_PX, PLOT_PX = 7, 300, 190
FONT = cv2.FONT_HERSHEY_SIMPLEX
CURVES = (("knuckle", "mcp_flexion", (80, 170, 255)), ("next joint", "pip_flexion", (255, 150, 60)))
"""Of each finger: title, degree of freedom, RGB. The thumb has an interphalangeal joint in place of the second."""

GREY = (170, 170, 170)
RANGE_DEG = (-30.0, 120.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--net", help="a name of `handmesh weights list`, a run, or an exported file [shipped weights]")
    parser.add_argument("--descriptions", type=Path, help="a checkout of dex-urdf's robots/hands: adds an Allegro hand")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the clip ({SEED})")
    parser.add_argument("--out", type=Path, default=OUT, help="animated WebP")
    parser.add_argument("--sheet", type=Path, help="PNG of six frames, to look at")
    given = parser.parse_args()

    images, labels = rendered(given.seed)
    clip, model, title = estimated(images, labels, given.net)
    tiles = [np.asarray(clip.images)[::KEPT], overlays(clip, labels)]
    titles = ["rendered clip", f"mesh by {title}"]
    if given.descriptions:
        tiles.append(allegro(clip, model, given.descriptions))
        titles.append("Allegro hand, retargeted")
    with open_target(HAND, clip.side, model) as target:
        robot, _ = retarget_clip(target, clip, "own", model)
    hand = articulate(model, None, clip.side, "dex")
    done = simulate(hand, robot)
    tiles.append(simulated(hand, done.clip))
    titles.append("our hand in MuJoCo, with gravity")
    width = sheet([tile[0] for tile in tiles], len(tiles), titles).shape[1]
    plot = Plot(width, clip, true_angles(labels, model))
    pages = [
        np.concatenate([sheet(each, len(tiles), titles), plot.until(KEPT * k)]) for k, each in enumerate(zip(*tiles, strict=True))
    ]
    save(pages, given.out)
    if given.sheet:
        Image.fromarray(np.concatenate(pages[:: max(len(pages) // 6, 1)][:6])).save(given.sheet)
    print(f"{given.out}: {len(pages)} frames, {given.out.stat().st_size / 1e6:.2f} MB")
    print(f"servos {done.error_deg.max():.1f} degrees from the estimated clip at worst")
    for passing in done.passing:
        print(f"the clip has {' and '.join(passing.between)} inside each other, up to {passing.deepest_mm} mm")


def rendered(seed: int) -> tuple[list[np.ndarray], list[dict[str, Any]]]:
    """Images and labels of a clip of a right hand."""
    spec = load_spec("clips")
    sequence = dataclasses.replace(spec.sequence, frames=FRAMES)
    spec = dataclasses.replace(spec, samples=FRAMES, seed=seed, left_fraction=0.0, sequence=sequence, shard_size=FRAMES)
    library = library_of(spec, assets_dir())
    library.prepare(print)
    samples = list(Generator(spec, library).make_samples(RecipeSampler(spec, library).sample_many(range(FRAMES))))
    return [sample.image for sample in samples], [sample.labels for sample in samples]


def estimated(images: list[np.ndarray], labels: list[dict[str, Any]], net: str | None) -> tuple[HumanClip, Any, str]:
    """The clip as a net finds it, followed and filtered; its hand; its name."""
    hands = load(net, mode="video", fps=FPS)
    rows = enumerate(zip(images, labels, strict=True))
    found = [hands(image, sides="right", K=np.asarray(row["K"]), time_s=t / FPS) for t, (image, row) in rows]
    if not all(found):
        raise SystemExit("the net lost the hand: try another --seed")
    first = [each[0] for each in found]
    coordinates = to_joint_coordinates(np.concatenate([hand.fit.angles for hand in first if hand.fit])).values
    keypoints, vertices = (np.stack([getattr(hand, name) for hand in first]) for name in ("keypoints", "vertices"))
    times = np.arange(len(images)) / FPS
    shown = [cv2.resize(image, (TILE_PX, TILE_PX), interpolation=cv2.INTER_CUBIC) for image in images]
    clip = HumanClip(times, keypoints, "right", coordinates, vertices, hands.faces, shown)
    return clip, hands.hand, Path(net).name if net else "the shipped net"


def overlays(clip: HumanClip, labels: list[dict[str, Any]]) -> np.ndarray:
    """The mesh over each image that is shown."""
    assert clip.images is not None
    assert clip.vertices is not None
    assert clip.faces is not None
    side = float(np.asarray(labels[0]["image_size"]).ravel()[0])
    scale = np.diag([TILE_PX / side, TILE_PX / side, 1.0])
    meshes = zip(clip.images[::KEPT], clip.vertices[::KEPT], labels[::KEPT], strict=True)
    return np.stack([draw_mesh(image, mesh, clip.faces, scale @ np.asarray(row["K"]), opacity=0.85) for image, mesh, row in meshes])


def allegro(clip: HumanClip, model: Any, descriptions: Path) -> np.ndarray:
    """The Allegro hand in each frame that is shown, as our least squares moves it."""
    with open_target("allegro", clip.side, model, descriptions=descriptions) as target:
        _, free = retarget_clip(target, clip, "own", model)
        meshes = [robot_mesh(target.robot, target.parts, row) for row in free[::KEPT]]
    bounds = bounds_of([vertices for vertices, _ in meshes])
    drawn = [cv2.resize(draw_view(*mesh, bounds), (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA) for mesh in meshes]
    return np.stack(drawn)


def simulated(hand: ArticulatedHand, clip: RobotClip) -> np.ndarray:
    """The simulated hand in each frame that is shown, from before its palm."""
    import mujoco

    texture = read_texture(SHIPPED_SKIN)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "hand.xml"
        export_articulated(hand, file, "mjcf", ExportOptions(visuals="textured"), texture, file.parent / SCENE)
        mj: Any = mujoco.MjModel.from_xml_path(str(file.parent / SCENE))
    data, camera = mujoco.MjData(mj), mujoco.MjvCamera()
    camera.azimuth, camera.elevation = 155, -12
    camera.distance, camera.lookat[:] = 0.31, (0.01, 0.0, 0.075)
    pixels = 3 * TILE_PX // 2
    drawn = []
    with mujoco.Renderer(mj, pixels, pixels) as renderer:
        for qpos in clip.positions[::KEPT]:
            data.qpos[:] = qpos
            mujoco.mj_forward(mj, data)
            renderer.update_scene(data, camera)
            drawn.append(cv2.resize(renderer.render(), (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA))
    return np.stack(drawn)


def true_angles(labels: list[dict[str, Any]], model: Any) -> np.ndarray:
    """(T, 23) joint coordinates that the clip was rendered with [rad]."""
    theta = np.stack([np.asarray(row["theta"], np.float64).reshape(16, 3)[1:] for row in labels])
    return to_joint_coordinates(project(theta, hand_dof_matrix(model))).values


class Plot:
    """Angles over time, a panel a finger: those found as lines up to now, the true ones thin."""

    def __init__(self, width: int, clip: HumanClip, true: np.ndarray) -> None:
        assert clip.coordinates is not None
        self.found, self.true = np.rad2deg(clip.coordinates), np.rad2deg(true)
        self.gap, self.top, self.bottom, self.left = 4, 26, 20, 34
        self.panel = (width - self.gap) // len(FINGERS) - self.gap
        self.width, self.count = width, len(clip.times)
        self.ground = np.full((PLOT_PX, width, 3), 24, np.uint8)
        for k, finger in enumerate(FINGERS):
            self._frame(k, finger)

    def until(self, t: int) -> np.ndarray:
        """The plot at frame t."""
        page = self.ground.copy()
        for k, finger in enumerate(FINGERS):
            for row, (_, name, colour) in enumerate(CURVES):
                index = DOF_NAMES.index(f"{finger}_{'ip_flexion' if finger == 'thumb' and row else name}")
                faint = tuple(round(0.55 * c) for c in colour)
                self._line(page, k, self.true[:, index], faint, 1)
                self._line(page, k, self.found[: t + 1, index], colour, 2)
            x = round(self._x(k, t))
            cv2.line(page, (x, self.top), (x, PLOT_PX - self.bottom), (150, 150, 150), 1)
        return page

    def _frame(self, k: int, finger: str) -> None:
        left = self.gap + k * (self.panel + self.gap) + 6
        for angle in (0, 45, 90):
            y = round(float(self._y(angle)))
            cv2.line(self.ground, (round(self._x(k, 0)), y), (round(self._x(k, self.count - 1)), y), (58, 58, 58), 1)
            self._write(f"{angle}", (left, y + 4), GREY)
        self._write(finger, (left, 18), (235, 235, 235), 0.48)
        at = left + 62
        for title, _, colour in CURVES:
            self._write(title, (at, 18), colour, 0.4)
            at += cv2.getTextSize(title, FONT, 0.4, 1)[0][0] + 10
        if k == 0:
            self._write("degrees over 3 s; thin: true", (left, PLOT_PX - 6), GREY)

    def _write(self, text: str, at: tuple[int, int], colour: tuple[int, ...], size: float = 0.36) -> None:
        cv2.putText(self.ground, text, at, FONT, size, colour, 1, cv2.LINE_AA)

    def _line(self, page: np.ndarray, k: int, values: np.ndarray, colour: tuple[int, ...], thick: int) -> None:
        points = np.stack([self._x(k, np.arange(len(values))), self._y(values)], 1)
        cv2.polylines(page, [np.round(16 * points).astype(np.int32)], False, colour, thick, cv2.LINE_AA, 4)

    def _x(self, k: int, t: Any) -> Any:
        start = self.gap + k * (self.panel + self.gap) + self.left
        return start + t * (self.panel - self.left - 6) / (self.count - 1)

    def _y(self, degrees: Any) -> Any:
        low, high = RANGE_DEG
        share = (np.clip(degrees, low, high) - low) / (high - low)
        return PLOT_PX - self.bottom - share * (PLOT_PX - self.bottom - self.top)


def save(pages: list[np.ndarray], out: Path) -> None:
    """An animated WebP that repeats."""
    first, *rest = [Image.fromarray(page) for page in pages]
    first.save(out, save_all=True, append_images=rest, duration=1000 * KEPT // FPS, loop=0, quality=72, method=4)


if __name__ == "__main__":
    main()
