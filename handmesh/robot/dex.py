"""Retargeting by the package dex-retargeting (MIT), where it is installed, on the same descriptions and tasks as our own."""

import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np

from handmesh.robot.kinematics import RobotHand
from handmesh.robot.retarget import human_vectors
from handmesh.robot.task import Task
from handsynth.core.errors import AssetError, HandsynthError, UsageError


def dex_retarget(robot: RobotHand, task: Task, keypoints: np.ndarray) -> np.ndarray:
    """Joint positions for a clip, frame by frame, without its low-pass filter, which lags.

    Args, result: as of `retarget.retarget`. Raises AssetError when the package is missing, UsageError for MJCF, HandsynthError for
    what the package refuses.
    """
    try:
        from dex_retargeting.retargeting_config import RetargetingConfig
    except ImportError:
        raise AssetError("--method dex needs dex-retargeting: pip install 'handsynth[robots]'") from None
    description = robot.description
    if description.format != "urdf":
        raise UsageError(f"--method dex reads URDF alone, and {description.path} is MJCF: use --method own")
    config = {key: value for key, value in (task.config or {}).items() if key != "urdf_path"}
    # It prints; what it reads is the checked description without meshes, and the base's joints are there already.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        file = Path(folder) / "robot.urdf"
        file.write_text(_with_mimics(robot), encoding="utf-8")
        joints = {"target_joint_names": list(robot.names)}
        override = {"urdf_path": str(file), "low_pass_alpha": 1, "add_dummy_free_joint": False, **joints}
        if task.mode != "position":
            override["scaling_factor"] = task.scale
        try:
            retargeting = RetargetingConfig.from_dict(dict(config), override).build()
            reference = human_vectors(task, keypoints)
            rows = np.stack([retargeting.retarget(frame) for frame in reference])
        except (ValueError, RuntimeError, KeyError, TypeError, AssertionError) as error:
            raise HandsynthError(f"dex-retargeting refuses {description.path}: {' '.join(str(error).split())[:160]}") from None
    columns = [list(retargeting.joint_names).index(name) for name in robot.names]
    return np.clip(rows[:, columns], robot.limits[:, 0], robot.limits[:, 1])


def _with_mimics(robot: RobotHand) -> str:
    """The description's links and joints, with the laws that our own reader keeps apart."""
    from xml.etree import ElementTree as ET

    root = ET.fromstring(robot.description.kinematics)  # our own text
    for extension in root.findall("mujoco"):
        root.remove(extension)
    for law in robot.description.mimics:
        for joint in root.findall("joint"):
            if joint.get("name") == law.joint:
                ET.SubElement(joint, "mimic", joint=law.leader, multiplier=repr(law.factor), offset=repr(law.offset))
    return ET.tostring(root, encoding="unicode")
