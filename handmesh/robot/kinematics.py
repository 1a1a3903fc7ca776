"""A robot hand's kinematics by MuJoCo: places of named frames and their derivatives, for clips of joint positions.

Needs MuJoCo (`pip install 'handsynth[robots]'`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from handmesh.robot.description import FREE_BASE, Description
from handsynth.core.errors import AssetError, HandsynthError, UsageError

_HINGE, _SLIDE = 3, 2  # mjtJoint
_UNLIMITED = (-2 * np.pi, 2 * np.pi)


class RobotHand:
    """A robot whose free joints, (n,) in the order of `names`, put all its links into place.

    Args:
        description: of the robot.
        moving: names of the joints that are to be found; None means all that follow no other. The rest stay at zero, or at the
            limit that is nearest to it.

    Raises AssetError without MuJoCo, HandsynthError for what MuJoCo refuses, UsageError for unknown names.
    """

    def __init__(self, description: Description, moving: Sequence[str] | None = None) -> None:
        try:
            import mujoco
        except ImportError:
            raise AssetError("retargeting needs MuJoCo: pip install 'handsynth[robots]'") from None
        try:
            self._model = mujoco.MjModel.from_xml_string(description.kinematics)
        except (ValueError, mujoco.FatalError) as error:
            text = " ".join(str(error).split()).removeprefix("Error: ")
            raise HandsynthError(f"{description.path}: MuJoCo refuses it: {text[:160]}") from None
        self.description, self._mujoco, self._data = description, mujoco, mujoco.MjData(self._model)
        kinds = self._model.jnt_type
        if self._model.nv != self._model.njnt or not np.isin(kinds, (_HINGE, _SLIDE)).all():
            raise HandsynthError(f"{description.path} has ball or free joints: fix its base, or give a description without them")
        self.all_names = tuple(self._model.joint(k).name for k in range(self._model.njnt))
        """(m,) every joint, in the order of `qpos`."""
        limits = np.where(self._model.jnt_limited[:, None] > 0, self._model.jnt_range, _UNLIMITED)
        self._follow(description, moving, limits)
        bodies = {self._model.body(k).name: ("body", k) for k in range(self._model.nbody)}
        sites = {self._model.site(k).name: ("site", k) for k in range(self._model.nsite)}
        self._frames = {name: frame for name, frame in {**sites, **bodies}.items() if name}

    def _follow(self, description: Description, moving: Sequence[str] | None, limits: np.ndarray) -> None:
        """Which joints are free, and how the others follow: qpos = matrix @ free + offset."""
        followers = {mimic.joint: mimic for mimic in description.mimics}
        for name in [*followers, *(mimic.leader for mimic in followers.values()), *(moving or ())]:
            if name not in self.all_names:
                raise UsageError(f"{description.path} has no joint {name!r}: it has {', '.join(self.all_names)[:400]}")
        wanted = set(self.all_names) if moving is None else {*moving, *FREE_BASE}
        self.names = tuple(name for name in self.all_names if name in wanted and name not in followers)
        """(n,) the free joints."""
        index = {name: k for k, name in enumerate(self.all_names)}
        free = {name: k for k, name in enumerate(self.names)}
        matrix = np.zeros((len(self.all_names), len(self.names)))
        offset = np.clip(0.0, limits[:, 0], limits[:, 1])
        for name, k in index.items():
            factor, shift, leader = 1.0, 0.0, name
            for _ in range(len(followers) + 1):
                if leader not in followers:
                    break
                law = followers[leader]
                factor, shift, leader = factor * law.factor, shift + factor * law.offset, law.leader
            else:
                raise HandsynthError(f"{description.path}: joint {name!r} follows itself")
            if leader in free:
                matrix[k, free[leader]], offset[k] = factor, shift
        self._matrix, self._offset = matrix, offset
        self.limits = limits[[index[name] for name in self.names]].reshape(-1, 2)
        """(n, 2) least and greatest positions of the free joints [rad] or [m]."""
        self.all_limits = limits
        """(m, 2) of every joint."""

    def expand(self, free: np.ndarray) -> np.ndarray:
        """(..., n) free joints -> (..., m) every joint."""
        return np.asarray(free) @ self._matrix.T + self._offset

    def check_frames(self, frames: Sequence[str]) -> None:
        """Raises UsageError for a name that is neither a link's nor a site's."""
        for name in frames:
            if name not in self._frames:
                raise UsageError(f"{self.description.path} has no link or site {name!r}: it has {', '.join(self._frames)[:400]}")

    def places(self, free: np.ndarray, frames: Sequence[str], derivatives: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Where frames are.

        Args:
            free: (T, n) free joints.
            frames: K names of links or sites.
            derivatives: whether they are wanted.

        Returns:
            (T, K, 3) places in the robot's base frame [m], and their (T, K, 3, n) derivatives, or an empty array.
        """
        mujoco, model, data = self._mujoco, self._model, self._data
        found = [self._frames[name] for name in frames]
        places = np.empty((len(free), len(frames), 3))
        jacobians = np.empty((len(free), len(frames), 3, model.nv) if derivatives else 0)
        jacobian = np.empty((3, model.nv))
        for t, qpos in enumerate(self.expand(free)):
            data.qpos[:] = qpos
            mujoco.mj_kinematics(model, data)
            if derivatives:
                mujoco.mj_comPos(model, data)
            for k, (kind, number) in enumerate(found):
                places[t, k] = data.xpos[number] if kind == "body" else data.site_xpos[number]
                if derivatives:
                    (mujoco.mj_jacBody if kind == "body" else mujoco.mj_jacSite)(model, data, jacobian, None, number)
                    jacobians[t, k] = jacobian
        return places, jacobians @ self._matrix if derivatives else jacobians

    def body_poses(self, free: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """(n,) free joints -> place (3,) and rotation (3, 3) of each link."""
        self._data.qpos[:] = self.expand(free)
        self._mujoco.mj_kinematics(self._model, self._data)
        model, data = self._model, self._data
        return {model.body(k).name: (data.xpos[k].copy(), data.xmat[k].reshape(3, 3).copy()) for k in range(model.nbody)}

    def bones(self) -> list[tuple[str, str]]:
        """Names of each link and its parent, but for the world's children."""
        model: Any = self._model
        parents = [(k, int(model.body_parentid[k])) for k in range(1, model.nbody)]
        return [(model.body(k).name, model.body(parent).name) for k, parent in parents if parent]
