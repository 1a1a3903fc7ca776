"""`handmesh retarget`: a clip to a robot, its files, figures and drawings."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handmesh.estimation.results import video_writer, write_image
from handmesh.robot.articulated import ArticulatedHand, articulate
from handmesh.robot.clip import HumanClip, RobotClip, direct_clip, write_robot_clip
from handmesh.robot.description import read_description
from handmesh.robot.dex import dex_retarget
from handmesh.robot.draw import Parts, bounds_of, draw_panels, joined, robot_mesh, robot_parts, skeleton_mesh
from handmesh.robot.export import export_articulated
from handmesh.robot.kinematics import RobotHand
from handmesh.robot.retarget import human_vectors, retarget, robot_vectors
from handmesh.robot.simulate import Simulated, simulate
from handmesh.robot.task import ROBOTS, Task, make_task, named_config, read_config
from handmesh.robot.wrist_frame import to_wrist_frame, wrist_axes
from handsynth.core.conventions import FINGERS
from handsynth.core.errors import AssetError, UsageError
from handsynth.core.hand import HandModel

HAND = "hand"
"""The robot that is the exported hand itself."""

METHODS = ("own", "dex")
_TIP_NAMES = dict(zip((4, 8, 12, 16, 20), FINGERS, strict=True))


@dataclass(frozen=True, eq=False)
class Target:
    """A robot that is ready for clips."""

    name: str
    robot: RobotHand
    task: Task
    parts: Parts  # for drawings
    model: ArticulatedHand | None = None  # of the exported hand


@contextmanager
def open_target(
    robot: str,
    side: str,
    hand: HandModel,
    mode: str | None = None,
    correspondences: Path | None = None,
    descriptions: Path | None = None,
    scale: float | None = None,
) -> Iterator[Target]:
    """A robot by name or description file, and what it shall take over.

    Args:
        robot: one of ROBOTS, "hand", or a URDF or MJCF file.
        side: of hand and robot.
        hand: the human hand model, which "hand" is made of.
        mode: of `task.MODES`; None means vector, or what the correspondences say.
        correspondences: YAML, needed for a file; None takes the named robot's own.
        descriptions: folder with the named robots' descriptions, such as dex-urdf's robots/hands.
        scale: robot's vectors per human ones, in place of the correspondences'.

    Raises UsageError, AssetError (descriptions that are not here) and HandsynthError as the readers do.
    """
    if robot == HAND:
        with tempfile.TemporaryDirectory() as folder:
            model = articulate(hand, None, side, "dex")
            file = Path(folder) / "hand.urdf"
            export_articulated(model, file, "urdf")
            task = make_task(read_config(correspondences) if correspondences else _hand_config(mode), scale)
            opened = RobotHand(read_description(file, task.mode == "position"), task.joints)
            yield Target(robot, opened, task, robot_parts(opened), model)
        return
    if robot in ROBOTS:
        config, inside = named_config(robot, mode or "vector", side)
        if descriptions is None or not (descriptions / inside).is_file():
            place = "" if descriptions is None else f"; looked for {descriptions / inside}"
            raise AssetError(
                f"the description of {robot} is not here{place}: give a folder that holds {inside}, such as dex-urdf's "
                "robots/hands, with --descriptions DIR"
            )
        file = descriptions / inside
        config = read_config(correspondences) if correspondences else config
    else:
        file = Path(robot)
        if not file.exists():
            raise UsageError(
                f"--robot {robot}: no such file, and no robot is called so: use {', '.join((HAND, *ROBOTS))}, or a file"
            )
        if correspondences is None:
            raise UsageError(f"--robot {robot}: say which links stand for which keypoints with --correspondences FILE.yaml")
        config = read_config(correspondences)
        if mode and mode != str(config.get("type", "")).lower():
            raise UsageError(f"--mode {mode}: {correspondences} is for {config.get('type')}: leave --mode out")
    task = make_task(config, scale)
    opened = RobotHand(read_description(file, task.mode == "position"), task.joints)
    opened.check_frames([name for name in (*task.origins, *task.ends) if name is not None])
    yield Target(robot, opened, task, robot_parts(opened))


def _hand_config(mode: str | None) -> dict[str, Any]:
    """Fingertips and the joints before the last ones of the exported hand."""
    tips = [f"{finger}_tip" for finger in FINGERS]
    middles = [f"{finger}_{'proximal' if finger == 'thumb' else 'middle'}" for finger in FINGERS]
    human = [[4, 8, 12, 16, 20], [2, 6, 10, 14, 18]]
    if mode == "dexpilot":
        return {"type": mode, "wrist_link_name": "palm", "finger_tip_link_names": tips}
    if mode == "position":
        return {"type": mode, "target_link_names": tips + middles, "target_link_human_indices": [*human[0], *human[1]]}
    config = {"type": mode or "vector", "target_origin_link_names": ["palm"] * 10, "target_task_link_names": tips + middles}
    return config | {"target_link_human_indices": [[0] * 10, [*human[0], *human[1]]]}


def retarget_clip(target: Target, clip: HumanClip, method: str, hand: HandModel) -> tuple[RobotClip, np.ndarray]:
    """The robot's clip, every joint, and (T, n) its free ones. Angles go to the exported hand as they are."""
    if method not in METHODS:
        raise UsageError(f"--method {method}: use {' or '.join(METHODS)}")
    robot, task = target.robot, target.task
    if target.model and clip.coordinates is not None and method == "own" and task.mode == "vector":
        direct = direct_clip(clip, hand)
        order = [direct.names.index(name) for name in robot.names]
        return direct, direct.positions[:, order]
    keypoints = clip.keypoints if task.mode == "position" else to_wrist_frame(clip.keypoints, clip.side)
    free = (retarget if method == "own" else dex_retarget)(robot, task, keypoints)
    return RobotClip(clip.times, robot.all_names, robot.expand(free), robot.all_limits), free


def tip_errors(target: Target, clip: HumanClip, free: np.ndarray) -> dict[str, Any]:
    """How far fingertip vectors are from the scaled human ones [mm]: median, 95th percentile, and each finger's median."""
    task = target.task
    keypoints = clip.keypoints if task.mode == "position" else to_wrist_frame(clip.keypoints, clip.side)
    wanted = task.scale * human_vectors(task, keypoints)
    errors = 1000 * np.linalg.norm(robot_vectors(target.robot, task, free) - wanted, axis=-1)[:, task.tips]
    if not errors.size:
        return {}
    fingers = {_TIP_NAMES[int(task.human[1, k])]: round(float(np.median(errors[:, i])), 2) for i, k in enumerate(task.tips)}
    return {
        "median_mm": round(float(np.median(errors)), 2),
        "p95_mm": round(float(np.quantile(errors, 0.95)), 2),
        "fingers": fingers,
    }


def write_results(
    target: Target, clip: HumanClip, robot: RobotClip, free: np.ndarray, out: Path, about: dict[str, Any], draw: bool, play: bool
) -> dict[str, Any]:
    """Writes the clip, drawings and, with `play`, the simulated hand; returns what the command prints. See `open_target`."""
    if play and target.model is None:
        raise UsageError("--simulate is for --robot hand, whose servos we know: leave it out for other robots")
    result: dict[str, Any] = {**about, "frames": len(robot.times), "fingertips": tip_errors(target, clip, free)}
    result["beyond_limits"] = robot.beyond()
    result["files"] = write_robot_clip(out, "robot", robot, about)
    human = _human_meshes(clip)
    if draw:
        meshes = [robot_mesh(target.robot, target.parts, row) for row in _levelled(target, clip, free)]
        result["files"]["comparison"] = _write_drawings(out, "comparison", clip, human, meshes, target.name)
    if play:
        assert target.model is not None
        done = simulate(target.model, robot)
        result["simulated"] = _about_simulated(done)
        result["files"]["simulated"] = write_robot_clip(out, "simulated", done.clip, about)["npz"]
        if draw:
            links = [(link.name, link.mesh) for link in target.model.links]
            meshes = [joined([(m.vertices @ pose[n][1].T + pose[n][0], m.faces) for n, m in links]) for pose in done.links]
            result["files"]["simulation"] = _write_drawings(out, "simulation", clip, human, meshes, "simulated, under gravity")
    return result


def _about_simulated(done: Simulated) -> dict[str, Any]:
    return {
        "error_deg": {"median": round(float(np.median(done.error_deg)), 2), "max": round(float(done.error_deg.max()), 2)},
        "greatest_touch_n": round(float(done.touch_n.max()), 2),
        "warnings": done.warnings,
        "passing": [asdict(passing) for passing in done.passing],
        "too_fast": list(done.too_fast),
    }


def _levelled(target: Target, clip: HumanClip, free: np.ndarray) -> np.ndarray:
    """Free joints with a moving base at rest, as drawings show the hand from before its palm."""
    moving = np.array([name.startswith("base_") for name in target.robot.names])
    return np.where(moving, 0.0, free) if target.task.mode == "position" else free


def _human_meshes(clip: HumanClip) -> list[tuple[np.ndarray, np.ndarray]]:
    """The human hand of each frame in its wrist's frame: its mesh, or bones."""
    axes, wrists = wrist_axes(clip.keypoints, clip.side), clip.keypoints[:, :1]
    if clip.vertices is not None and clip.faces is not None:
        return [(vertices, clip.faces) for vertices in (clip.vertices - wrists) @ axes]
    return [skeleton_mesh(points) for points in (clip.keypoints - wrists) @ axes]


def _write_drawings(out: Path, name: str, clip: HumanClip, human: list, robot: list, title: str) -> str:
    """An image, or a video of several frames; returns its name."""
    bounds = [bounds_of([vertices for vertices, _ in meshes]) for meshes in (human, robot)]

    def frame(t: int) -> np.ndarray:
        image = None if clip.images is None else clip.images[t]
        return draw_panels([(*human[t], bounds[0]), (*robot[t], bounds[1])], ["human hand", title], image)

    if len(human) == 1:
        write_image(out / f"{name}.png", frame(0))
        return f"{name}.png"
    fps = float(np.clip((len(clip.times) - 1) / (clip.times[-1] - clip.times[0]), 1, 60))
    with video_writer(out / f"{name}.mp4", fps) as writer:
        for t in range(len(human)):
            writer.write(frame(t))
    return f"{name}.mp4"
