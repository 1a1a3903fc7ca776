"""The exported hand in MuJoCo following a clip: its servos take the clip's angles under gravity, and what it does is recorded.

Two things keep a hand from where its clip has it, and both are removed here:

* A servo against damping lags by damping / stiffness seconds: its target leads the clip by as much.
* The fingers of a clip may pass through each other: estimates err, and between two gestures of which each is possible interpolated
  angles may take a finger through its neighbour. A rigid hand cannot do that: the finger hooks behind the other one and stays
  there. Contacts between two fingers are off while the clip has one inside the other, and reported.
"""

import tempfile
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from handmesh.robot.articulated import ArticulatedHand
from handmesh.robot.clip import RobotClip
from handmesh.robot.export import export_articulated
from handmesh.robot.robot_xml import DAMPING, MAX_TORQUE, STIFFNESS
from handsynth.core.conventions import FINGERS
from handsynth.core.errors import AssetError

_SETTLE_S = 0.5  # before the clip begins the hand takes its first pose
_LEAD_S = DAMPING / STIFFNESS
FASTEST = MAX_TORQUE / DAMPING
"""Speed at which a servo's whole torque goes into damping [rad/s]: joints that shall turn faster lag."""

_EVERY = 5  # steps of 2 ms between two looks at what passes through what
# Parts that are no deeper inside each other press, and contacts hold them; the thumb presses on purpose.
_INSIDE_M, _PINCH_M = 0.0005, 0.002
_AROUND_S = 0.1  # before and after they pass


@dataclass(frozen=True)
class Passing:
    """Two fingers, or a finger and the palm, that the clip has inside each other."""

    between: tuple[str, str]
    seconds: float  # that contacts between them are off
    deepest_mm: float  # of their firm cores


@dataclass(frozen=True, eq=False)
class Simulated:
    """What the hand did, at the clip's times."""

    clip: RobotClip
    links: list[dict[str, tuple[np.ndarray, np.ndarray]]]  # place (3,) and rotation (3, 3) of each link, for each frame
    error_deg: np.ndarray  # (T, 23) how far each joint is from where the clip has it
    touch_n: np.ndarray  # (T, 15) forces on the pads [N]
    warnings: int  # MuJoCo's own
    passing: tuple[Passing, ...] = ()  # what the clip does that no hand can
    too_fast: tuple[str, ...] = ()  # joints that the clip turns faster than FASTEST


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
    times = clip.times - clip.times[0]
    places, speeds = np.clip(clip.positions, *mj.jnt_range.T), clip.velocities
    step = mj.opt.timestep
    fine = np.arange(0, times[-1] + _EVERY * step, _EVERY * step)
    contacts = _Contacts(mujoco, mj)
    depth = contacts.depths(_interpolated(fine, times, places))
    through = _through(depth, contacts.inside, round(_AROUND_S / (_EVERY * step)))

    mujoco.mj_resetData(mj, data)
    data.qpos[:] = data.ctrl[:] = places[0]
    contacts.let_through(data, through[0])
    for _ in range(round(_SETTLE_S / step)):
        mujoco.mj_step(mj, data)
    steps, positions, touch, links = 0, [], [], []
    for time in times:
        while steps * step < time - step / 2:
            if steps % _EVERY == 0:
                contacts.let_through(data, through[steps // _EVERY])
            now = np.array([steps * step])
            data.ctrl[:] = (_interpolated(now, times, places) + _LEAD_S * _interpolated(now, times, speeds))[0]
            mujoco.mj_step(mj, data)
            steps += 1
        positions.append(data.qpos.copy())
        touch.append(data.sensordata.copy())
        poses = ((data.xpos[body].copy(), data.xmat[body].reshape(3, 3).copy()) for body in bodies)
        links.append(dict(zip(names, poses, strict=True)))
    found = RobotClip(clip.times, clip.names, np.stack(positions), clip.limits)
    error = np.rad2deg(np.abs(found.positions - np.clip(clip.positions, clip.limits[:, 0], clip.limits[:, 1])))
    passing = tuple(
        Passing(pair, round(float(through[:, k].sum() * _EVERY * step), 2), round(1000 * float(depth[:, k].max()), 1))
        for k, pair in enumerate(contacts.pairs)
        if through[:, k].any()
    )
    too_fast = tuple(name for name, speed in zip(clip.names, np.abs(speeds).max(0), strict=True) if speed > FASTEST)
    return Simulated(found, links, error, np.stack(touch), sum(warning.number for warning in data.warning), passing, too_fast)


def _interpolated(at: np.ndarray, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(T, m) values at times -> (N, m) at others."""
    return np.stack([np.interp(at, times, column) for column in values.T], 1)


def _through(depth: np.ndarray, inside: np.ndarray, around: int) -> np.ndarray:
    """Whether contacts are off: from before two parts meet until after they part, if they go deep.

    Args:
        depth: (N, pairs) [m].
        inside: (pairs,) depths that count as deep [m].
        around: rows before and after.

    Returns:
        (N, pairs).
    """
    found = np.zeros(depth.shape, bool)
    for k in np.flatnonzero((depth > inside).any(0)):
        edges = np.flatnonzero(np.diff(np.r_[False, depth[:, k] > 0, False]))
        for first, end in edges.reshape(-1, 2):
            if depth[first:end, k].max() > inside[k]:
                found[max(first - around, 0) : end + around, k] = True
    return found


class _Contacts:
    """Contacts of each two parts of the hand, palm and fingers, which can be switched off: a bit for each pair, in MuJoCo's masks.

    A part has the bits of all its pairs, so that two parts share one bit, and links of one finger many.
    """

    def __init__(self, mujoco: Any, mj: Any) -> None:
        self._mujoco, self._mj = mujoco, mj
        solid = np.flatnonzero(mj.geom_contype)
        parts = [mj.body(body).name.split("_")[0] for body in mj.geom_bodyid]
        self.pairs = tuple(combinations(("palm", *FINGERS), 2))
        self.inside = np.array([_PINCH_M if "thumb" in pair else _INSIDE_M for pair in self.pairs])
        self._geoms = {part: [k for k in solid if parts[k] == part] for part in ("palm", *FINGERS)}
        self._index = {frozenset(pair): k for k, pair in enumerate(self.pairs)}
        self._parts = parts
        self._off = np.zeros(len(self.pairs), bool)
        self._set(self._off)

    def depths(self, positions: np.ndarray) -> np.ndarray:
        """(N, 23) joint positions -> (N, pairs) how deep parts are inside each other, 0 where they are not [m]."""
        data, found = self._mujoco.MjData(self._mj), np.zeros((len(positions), len(self.pairs)))
        for row, qpos in zip(found, positions, strict=True):
            data.qpos[:] = qpos
            self._mujoco.mj_kinematics(self._mj, data)
            self._collide(data, row)
        return found

    def let_through(self, data: Any, off: np.ndarray) -> None:
        """Switches contacts of the pairs off, and others on again once the hand itself is out of them."""
        if (self._off & ~off).any():
            self._set(off)
            depth = np.zeros(len(self.pairs))
            self._collide(data, depth)
            off = off | (self._off & (depth > self.inside))
        self._set(off)

    def _collide(self, data: Any, depth: np.ndarray) -> None:
        """Fills in (pairs,) depths, of contacts that are on."""
        self._mujoco.mj_collision(self._mj, data)
        for contact in data.contact:
            k = self._index.get(frozenset(self._parts[geom] for geom in contact.geom))
            if k is not None:
                depth[k] = max(depth[k], -contact.dist)

    def _set(self, off: np.ndarray) -> None:
        for part, geoms in self._geoms.items():
            mask = sum(1 << k for k, pair in enumerate(self.pairs) if part in pair and not off[k])
            self._mj.geom_contype[geoms] = self._mj.geom_conaffinity[geoms] = mask
        self._off = off.copy()
