"""Clips: a human hand over time, read from files of angles or keypoints; a robot's joint positions, written for simulators."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handmesh.kinematics.dof import DOF_NAMES, dof_limits, embed, hand_dof_matrix
from handmesh.kinematics.joint_coordinates import to_joint_coordinates
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.files import write_atomically
from handsynth.core.hand import HandModel, pose_hand
from handsynth.core.mirror import mirror_left

MAX_BYTES = 1 << 30
"""Of a file of angles or keypoints."""

ANGLE_SUFFIXES = (".json", ".jsonl", ".csv", ".npz", ".npy")
"""What is no image and no video."""

SCHEMA = "handmesh-robot-clip/1"


@dataclass(frozen=True, eq=False)
class HumanClip:
    """T frames of one human hand."""

    times: np.ndarray  # (T,) [s], growing
    keypoints: np.ndarray  # (T, 21, 3) [m], FreiHAND's order, any frame
    side: str
    coordinates: np.ndarray | None = None  # (T, 23) joint coordinates [rad], where angles are known
    vertices: np.ndarray | None = None  # (T, V, 3) in the frame of the keypoints
    faces: np.ndarray | None = None  # (F, 3)
    images: Sequence[np.ndarray] | None = None  # (H, W, 3) uint8 each, for drawings


@dataclass(frozen=True, eq=False)
class RobotClip:
    """T frames of a robot's joints."""

    times: np.ndarray  # (T,) [s]
    names: tuple[str, ...]  # (m,)
    positions: np.ndarray  # (T, m) [rad] or [m]
    limits: np.ndarray  # (m, 2)

    @property
    def velocities(self) -> np.ndarray:
        """(T, m) by central differences [rad/s]; zero of a lone frame."""
        if len(self.times) < 2:
            return np.zeros_like(self.positions)
        return np.gradient(self.positions, self.times, axis=0)

    def beyond(self, tolerance: float = 1e-3) -> list[dict[str, Any]]:
        """The joints that leave their limits: name, number of frames, the worst position, and the limits."""
        found = []
        for k, name in enumerate(self.names):
            least, greatest = self.limits[k]
            excess = np.maximum(least - self.positions[:, k], self.positions[:, k] - greatest)
            if (excess > tolerance).any():
                worst = float(self.positions[excess.argmax(), k])
                count = int((excess > tolerance).sum())
                found.append({"name": name, "frames": count, "worst": worst, "limits": [float(least), float(greatest)]})
        return found


def read_clip(path: Path, hand: HandModel, side: str, fps: float) -> HumanClip:
    """A clip of a file that holds no images.

    * .json of `kinematics fit`, `kinematics solve` or `predict`; .jsonl of `predict VIDEO`;
    * .csv with a column `<degree of freedom>_deg` for each of the 23 angles, and perhaps `time_s`;
    * .npz with `angles` (T, 23) [rad], or `qpos` and `joint_names` as `write_robot_clip` writes them, and perhaps `time`;
    * .npz or .npy with `keypoints` (T, 21, 3) [m].

    Args:
        path: the file.
        hand: whose angles they are.
        side: of the hand, where the file does not say.
        fps: frames a second, where the file has no times.

    Raises UsageError when the file is missing or of another kind, HandsynthError naming it when it is damaged.
    """
    readers = {".json": _read_json, ".jsonl": _read_lines, ".csv": _read_csv, ".npz": _read_npz, ".npy": _read_npy}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path} is no clip: expected an image, a video, or {', '.join(ANGLE_SUFFIXES)}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES >> 20} MB")
        found = reader(path)
        return _clip(found, hand, side, fps)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except HandsynthError:
        raise
    except Exception as error:  # numpy, zipfile, json and csv raise many kinds on damaged files
        text = " ".join(str(error).split()) or type(error).__name__
        raise HandsynthError(f"{path} cannot be read as a clip: {ascii(text)[1:-1][:120]}") from None


_Found = dict[str, Any]  # of: angles (T, 23), theta (T, 48), beta (T, S), keypoints (T, 21, 3), coordinates (T, 23), times, side


def _clip(found: _Found, hand: HandModel, side: str, fps: float) -> HumanClip:
    arrays = {key: np.asarray(value, np.float64) for key, value in found.items() if key != "side" and value is not None}
    side = str(found.get("side") or side)
    if side not in ("right", "left"):
        raise ValueError("its side is neither right nor left")
    count = len(next(iter(arrays[key] for key in ("angles", "coordinates", "keypoints", "theta") if key in arrays)))
    shapes = {"angles": (23,), "coordinates": (23,), "keypoints": (21, 3), "theta": (48,), "times": ()}
    for key, array in arrays.items():
        if key in shapes and array.shape != (count, *shapes[key]):
            raise ValueError(f"{key} has shape {array.shape}, expected {(count, *shapes[key])}")
        if not np.isfinite(array).all() or np.abs(array).max(initial=0) > 1e6:
            raise ValueError(f"{key} holds NaN, infinity or numbers that are none of a hand's")
    if not count:
        raise ValueError("it holds no frame")
    times = arrays.get("times", np.arange(count) / fps)
    if count > 1 and np.diff(times).min() <= 0:
        raise ValueError("its times do not grow")
    coordinates = arrays.get("coordinates")
    if "angles" in arrays:
        if np.abs(arrays["angles"]).max() > np.pi:
            raise ValueError("its angles exceed half a turn: are they in degrees?")
        coordinates = to_joint_coordinates(arrays["angles"]).values
    vertices = None
    keypoints = arrays.get("keypoints")
    if keypoints is None:
        if "theta" not in arrays:
            angles = arrays.get("angles")
            if angles is None:  # joint coordinates alone
                assert coordinates is not None
                from handmesh.kinematics.joint_coordinates import from_joint_coordinates

                angles = from_joint_coordinates(coordinates).values
            pose = embed(angles, hand_dof_matrix(hand))
            arrays["theta"] = np.concatenate([np.zeros((count, 1, 3)), pose], 1).reshape(count, 48)
        beta = arrays.get("beta", np.zeros((count, hand.num_shapes)))
        if beta.shape != (count, hand.num_shapes) or np.abs(beta).max() > 100:
            raise ValueError("its beta is none of this hand's")
        posed = pose_hand(hand, arrays["theta"].reshape(count, 16, 3), beta)
        vertices = mirror_left(posed.vertices, [side] * count)
        keypoints = mirror_left(posed.keypoints, [side] * count)
    return HumanClip(times, keypoints, side, coordinates, vertices, hand.faces if vertices is not None else None)


def _read_json(path: Path) -> _Found:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    if "hands" in value:
        hands = value["hands"]
        angles = [[hand["angles_deg"][name] for name in DOF_NAMES] for hand in hands]
        theta = [np.asarray(hand["theta"], np.float64).ravel() for hand in hands]
        sides = {hand.get("side", "right") for hand in hands}
        if len(sides) > 1:
            raise ValueError("it holds hands of both sides")
        return {"angles": np.deg2rad(angles), "theta": theta, "beta": [hand["beta"] for hand in hands], "side": sides.pop()}
    return _of_predictions([value])


def _read_lines(path: Path) -> _Found:
    return _of_predictions([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()])


def _of_predictions(rows: list[dict[str, Any]]) -> _Found:
    """Of the JSON that `predict` writes, a hand each."""
    found: _Found = {"keypoints": [row["keypoints_cam"] for row in rows], "side": rows[0].get("side")}
    if all("kinematics" in row for row in rows):
        found["angles"] = np.deg2rad([[row["kinematics"]["angles_deg"][name] for name in DOF_NAMES] for row in rows])
    if all("time_s" in row for row in rows):
        found["times"] = [row["time_s"] for row in rows]
    return found


def _read_csv(path: Path) -> _Found:
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    if not rows or any(f"{name}_deg" not in rows[0] for name in DOF_NAMES):
        raise ValueError("it lacks columns such as index_mcp_flexion_deg")
    found: _Found = {"angles": np.deg2rad([[float(row[f"{name}_deg"]) for name in DOF_NAMES] for row in rows])}
    if "time_s" in rows[0]:
        found["times"] = [float(row["time_s"]) for row in rows]
    return found


def _read_npz(path: Path) -> _Found:
    with np.load(path, allow_pickle=False) as data:
        held = {name: data[name] for name in ("angles", "keypoints", "qpos", "joint_names", "time", "side") if name in data.files}
    found: _Found = {"times": held.get("time"), "side": str(held["side"]) if "side" in held else None}
    if "angles" in held or "keypoints" in held:
        return found | {name: held[name] for name in ("angles", "keypoints") if name in held}
    if "qpos" not in held or [str(name) for name in held.get("joint_names", ())] != list(DOF_NAMES):
        raise ValueError("it holds none of angles, keypoints, or qpos of the 23 joints with joint_names")
    return found | {"coordinates": held["qpos"]}


def _read_npy(path: Path) -> _Found:
    return {"keypoints": np.load(path, allow_pickle=False)}


def direct_clip(clip: HumanClip, hand: HandModel) -> RobotClip:
    """The clip's own joint coordinates, which the exported hand takes as they are."""
    assert clip.coordinates is not None
    return RobotClip(clip.times, DOF_NAMES, clip.coordinates, dof_limits(hand.joint_limits))


def write_robot_clip(folder: Path, name: str, clip: RobotClip, about: dict[str, Any]) -> dict[str, str]:
    """Writes <name>.npz, .csv and .jsonl, and returns their names by kind.

    The .npz holds MuJoCo's `time`, `qpos`, `qvel` and `joint_names`, and a LeRobot episode's columns: `observation.state`, `action`
    (the next frame's state), `timestamp`, `frame_index`, `episode_index`, `fps`; `limits`, and `about` as JSON.
    """
    velocities, count = clip.velocities, len(clip.times)
    state = clip.positions.astype(np.float32)
    fps = (count - 1) / (clip.times[-1] - clip.times[0]) if count > 1 else 0.0
    columns: dict[str, Any] = {
        "time": clip.times, "qpos": clip.positions, "qvel": velocities, "joint_names": np.array(clip.names), "limits": clip.limits,
        "observation.state": state, "action": np.concatenate([state[1:], state[-1:]]),
        "timestamp": (clip.times - clip.times[0]).astype(np.float32), "frame_index": np.arange(count),
        "episode_index": np.zeros(count, np.int64), "fps": np.float64(fps),
        "about": np.array(json.dumps({"schema": SCHEMA, "units": "radians, metres of sliding joints, seconds", **about})),
    }  # fmt: skip
    held = io.BytesIO()
    np.savez_compressed(held, **columns)
    rows = np.concatenate([clip.times[:, None], clip.positions, velocities], 1)
    heading = ",".join(["time_s", *clip.names, *(f"{joint}_velocity" for joint in clip.names)])
    table = io.StringIO()
    table.write(heading + "\n")
    np.savetxt(table, rows, fmt="%.6g", delimiter=",")
    lines = "".join(
        json.dumps({"frame": t, "time_s": round(float(clip.times[t]), 6), "joints": _rounded(clip.names, clip.positions[t])}) + "\n"
        for t in range(count)
    )
    contents = {"npz": held.getvalue(), "csv": table.getvalue().encode(), "jsonl": lines.encode()}
    for kind, data in contents.items():
        write_atomically(folder / f"{name}.{kind}", lambda temporary, data=data: temporary.write_bytes(data))  # type: ignore[misc]
    return {kind: f"{name}.{kind}" for kind in contents}


def _rounded(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in zip(names, values, strict=True)}
