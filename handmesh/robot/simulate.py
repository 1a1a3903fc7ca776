"""The exported hand in MuJoCo following a clip: its servos take the clip's angles under gravity, and what it does is recorded."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handmesh.robot.articulated import ArticulatedHand
from handmesh.robot.clip import RobotClip
from handmesh.robot.export import export_articulated
from handsynth.core.errors import AssetError

_SETTLE_S = 0.5  # before the clip begins the hand takes its first pose


@dataclass(frozen=True, eq=False)
class Simulated:
    """What the hand did, at the clip's times."""

    clip: RobotClip
    links: list[dict[str, tuple[np.ndarray, np.ndarray]]]  # place (3,) and rotation (3, 3) of each link, for each frame
    error_deg: np.ndarray  # (T, 23) how far each joint is from where the clip has it
    touch_n: np.ndarray  # (T, 15) forces on the pads [N]
    warnings: int  # MuJoCo's own


def simulate(model: ArticulatedHand, clip: RobotClip) -> Simulated:
    """Plays a clip of the 23 joints. Raises AssetError without MuJoCo."""
    try:
        import mujoco
    except ImportError:
        raise AssetError("--simulate needs MuJoCo: pip install 'handsynth[robots]'") from None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "hand.xml"
        export_articulated(model, file, "mjcf")
        mj: Any = mujoco.MjModel.from_xml_path(str(file))
    data, names = mujoco.MjData(mj), [link.name for link in model.links]
    bodies = [mj.body(name).id for name in names]
    data.qpos[:] = np.clip(clip.positions[0], *mj.jnt_range.T)
    data.ctrl[:] = data.qpos
    times = clip.times - clip.times[0]
    for _ in range(round(_SETTLE_S / mj.opt.timestep)):
        mujoco.mj_step(mj, data)
    start, positions, touch, links = data.time, [], [], []
    for time in times:
        while data.time - start < time - mj.opt.timestep / 2:
            now = data.time - start
            data.ctrl[:] = [np.interp(now, times, column) for column in clip.positions.T]
            mujoco.mj_step(mj, data)
        positions.append(data.qpos.copy())
        touch.append(data.sensordata.copy())
        poses = ((data.xpos[body].copy(), data.xmat[body].reshape(3, 3).copy()) for body in bodies)
        links.append(dict(zip(names, poses, strict=True)))
    found = RobotClip(clip.times, clip.names, np.stack(positions), clip.limits)
    error = np.rad2deg(np.abs(found.positions - np.clip(clip.positions, clip.limits[:, 0], clip.limits[:, 1])))
    return Simulated(found, links, error, np.stack(touch), sum(warning.number for warning in data.warning))
