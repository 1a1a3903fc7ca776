"""What a robot hand shall take over from a human one: a small YAML of correspondences, in dex-retargeting's format.

retargeting:
  type: vector                                  # or position, DexPilot
  target_origin_link_names: [palm, palm]        # vectors between the robot's links ...
  target_task_link_names: [thumb_tip, index_tip]
  target_link_human_indices: [[0, 0], [4, 8]]   # ... and between the 21 keypoints
  scaling_factor: 1.6                           # robot's vectors per human ones
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from handsynth.core.errors import HandsynthError, UsageError

MODES = ("vector", "position", "dexpilot")
ROBOTS = ("allegro", "shadow", "leap", "inspire", "ability")
"""Those of `robots.yaml`, beside this file."""

_HUBER = {"vector": 0.02, "position": 0.02, "dexpilot": 0.03}  # [m], dex-retargeting's
_MAX_BYTES = 1 << 20
_KNOWN = {
    "type", "urdf_path", "add_dummy_free_joint", "target_link_human_indices", "wrist_link_name", "target_link_names",
    "target_joint_names", "target_origin_link_names", "target_task_link_names", "finger_tip_link_names", "scaling_factor",
    "normal_delta", "huber_delta", "project_dist", "escape_dist", "has_joint_limits", "ignore_mimic_joint", "low_pass_alpha",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Task:
    """K vectors of the robot that shall equal human ones times `scale`; positions are vectors from the world's origin."""

    mode: str  # of MODES
    origins: tuple[str | None, ...]  # (K,) links where the vectors begin; None: the origin
    ends: tuple[str, ...]  # (K,) links where they end
    human: np.ndarray  # (2, K) keypoints where the human ones begin and end; -1: the origin
    scale: float
    joints: tuple[str, ...] | None  # that move; None: all
    huber_m: float  # beyond this an error counts linearly
    smooth: float  # weight of steps between frames [1/rad^2], against vectors' errors as dex-retargeting counts them
    project_m: float = 0.03  # DexPilot: fingers nearer to the thumb than this shall touch ...
    escape_m: float = 0.05  # ... until they are farther than this
    fingers: int = 0  # DexPilot: number of fingertips
    config: dict[str, Any] | None = None  # as read, for dex-retargeting

    @property
    def tips(self) -> np.ndarray:
        """Rows of the vectors that end in a human fingertip and begin in the wrist or the origin."""
        return np.flatnonzero(np.isin(self.human[1], (4, 8, 12, 16, 20)) & (self.human[0] <= 0))


def named_config(robot: str, mode: str, side: str) -> tuple[dict[str, Any], str]:
    """Correspondences of one of ROBOTS, and the path of its description below a folder of descriptions.

    Raises UsageError for a robot or a mode that is not there.
    """
    if mode not in MODES:
        raise UsageError(f"--mode {mode}: use {', '.join(MODES)}")
    table = yaml.safe_load((Path(__file__).parent / "robots.yaml").read_text(encoding="utf-8"))
    if robot not in table:
        raise UsageError(
            f"--robot {robot}: no robot is called so and no such file exists: use {', '.join(ROBOTS)}, hand, or a file"
        )
    about = table[robot]
    tips, middles = (about.get(f"{key}_{side}", about.get(key, [])) for key in ("tips", "middles"))
    keypoints = [4, 8, 12, 16, 20][: len(tips)]
    config: dict[str, Any] = {"type": mode, "scaling_factor": about["scale"]}
    if "joints" in about:
        config["target_joint_names"] = about["joints"]
    knuckles = [2, 6, 10, 14, 18][: len(middles)]
    if mode == "vector":
        ends, human = (tips + middles, keypoints + knuckles) if about.get("middles_in_vectors") else (tips, keypoints)
        config |= {"target_origin_link_names": [about["palm"]] * len(ends), "target_task_link_names": ends}
        config |= {"target_link_human_indices": [[0] * len(ends), human]}
    elif mode == "position":
        config |= {"target_link_names": tips + middles, "target_link_human_indices": keypoints + knuckles}
        config |= {"add_dummy_free_joint": True}
    else:
        config |= {"wrist_link_name": about["wrist"], "finger_tip_link_names": tips}
    return config, about["description"].format(side=side)


def read_config(path: Path) -> dict[str, Any]:
    """Correspondences of a YAML file. Raises UsageError without the file, HandsynthError naming it when it is none."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("it has more than a megabyte")
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        config = found.get("retargeting", found) if isinstance(found, dict) else None
        if not isinstance(config, dict):
            raise ValueError("expected a table `retargeting`")
        unknown = [str(key) for key in config if key not in _KNOWN]
        if unknown:
            raise ValueError(f"unknown {', '.join(unknown)[:60]}; known are {', '.join(sorted(_KNOWN))}")
        make_task(config)
        return config
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist: give a YAML file of correspondences") from None
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise HandsynthError(f"{path} cannot be read as correspondences: {ascii(text)[1:-1][:300]}") from None


def make_task(config: dict[str, Any], scale: float | None = None) -> Task:
    """The task of a configuration. Raises ValueError or TypeError for what cannot be one.

    Args:
        config: as `read_config` gives it.
        scale: in place of its own.
    """
    mode = str(config.get("type", "")).lower()
    if mode not in MODES:
        raise ValueError(f"type is {config.get('type')!r:.40}: use {', '.join(MODES)}")
    joints = config.get("target_joint_names")
    scaling = float(config.get("scaling_factor", 1.0) if scale is None else scale)
    smooth, huber = float(config.get("normal_delta", 4e-3)), float(config.get("huber_delta", _HUBER[mode]))
    if not (0 < scaling < 100 and 0 <= smooth < np.inf and 0 < huber < np.inf):
        raise ValueError("scaling_factor and huber_delta are above 0, normal_delta is not below")
    task = Task(mode, (), (), np.zeros((2, 0), int), scaling, None, huber, smooth, config=config)
    if joints is not None:
        task = replace(task, joints=_names(joints, "target_joint_names"))
    given = config.get("target_link_human_indices")
    origins: tuple[str | None, ...]
    if mode == "vector":
        origins = _names(config.get("target_origin_link_names"), "target_origin_link_names")
        ends = _names(config.get("target_task_link_names"), "target_task_link_names")
        return replace(task, origins=origins, ends=ends, human=_rows(given, (2, len(ends)), len(origins)))
    if mode == "position":
        ends = _names(config.get("target_link_names"), "target_link_names")
        human = np.stack([np.full(len(ends), -1), _rows(given, (len(ends),), len(ends))])
        # dex-retargeting scales no positions.
        return replace(task, origins=(None,) * len(ends), ends=ends, human=human, scale=1.0 if scale is None else scaling)
    tips = _names(config.get("finger_tip_link_names"), "finger_tip_link_names")
    wrist = config.get("wrist_link_name")
    if not 2 <= len(tips) <= 5 or not isinstance(wrist, str):
        raise ValueError("DexPilot needs finger_tip_link_names of 2 to 5 fingers, the thumb's first, and wrist_link_name")
    links, count = (wrist, *tips), len(tips)
    pairs = [(j, i) for i in range(1, count) for j in range(i + 1, count + 1)] + [(0, i) for i in range(1, count + 1)]
    human = 4 * np.array(pairs).T if given is None else _rows(given, (2, len(pairs)), len(pairs))
    near, far = float(config.get("project_dist", 0.03)), float(config.get("escape_dist", 0.05))
    return replace(
        task,
        origins=tuple(links[a] for a, _ in pairs),
        ends=tuple(links[b] for _, b in pairs),
        human=human,
        project_m=near,
        escape_m=far,
        fingers=count,
    )


def _names(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value) or len(value) > 100:
        raise ValueError(f"{key} must be a list of names")
    return tuple(value)


def _rows(value: Any, shape: tuple[int, ...], count: int) -> np.ndarray:
    rows = np.asarray(value)
    if rows.shape != shape or shape[-1] != count or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() > 20:
        raise ValueError(f"target_link_human_indices must be keypoints 0 to 20 of shape {shape}, one for each link")
    return rows.astype(int)
