"""Relaxation: the pose nearest to a wanted one whose flesh stays out of flesh, and whose contacts touch."""

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from handsynth.core.conventions import FINGER_JOINTS
from handsynth.core.hand import HandModel, pose_hand
from handsynth.core.rotation import rotvec_to_rotmat
from pose_bank.angles import ABDUCTION, FLEXION, degrees_of_freedom, pose_from_angles
from pose_bank.flesh import Flesh
from pose_bank.landmarks import Landmarks
from pose_bank.target import Target

SQUEEZE_M = 0.0012
"""Flesh may give way by so much before the solver pushes back; the bounds below are what a pose must keep in the end [m]."""

FINGER_BOUND_M, PALM_BOUND_M = 0.002, 0.003
"""Greatest depth of a finger in another finger, and of skin in the palm or in its own finger, which are softer [m]."""

NEAR_M, TOUCH_M = 0.009, 0.0035
"""Two places touch when they are nearer than the first, and vertices of their phalanges nearer than the second [m]."""

FIRM = 0.35
"""Fingers that keep their angles give way by this share of the usual."""

STEPS = 25  # most steps of a relaxation

STIFFNESS_DEG = {FLEXION: 14.0, ABDUCTION: 5.0}
"""How readily a finger leaves the wanted angle: a larger number gives way more [deg]."""

THUMB_STIFFNESS_DEG = {1: (12.0, 12.0, 8.0), 2: (14.0, 3.0, 3.0), 3: (12.0, 1.0, 1.0)}
"""The same for the thumb's joints: flexion, abduction, twist."""

COUPLING_DEG = 3.0
"""How far the last joint may leave its tie to the middle one (two thirds of its change) [deg]."""

TEAM_DEG = 2.5
"""How far fingers that act together may part [deg]."""

STEP_DEG = 12.0
"""Greatest change of an angle in one step [deg]: beyond it the contacts found are no longer those that matter."""

THUMB_INSIDE_M = 0.003
THUMB_OPEN_DEG = {(1, FLEXION): -5.0, (1, ABDUCTION): 32.0, (2, FLEXION): 0.0, (3, FLEXION): 5.0}
"""When the thumb starts deeper than this in a finger, it starts from here: off the palm, so that it closes last."""

CLOSED_DEG = 78.0  # a finger bent so far at its knuckle has no thumb under it

DOF = degrees_of_freedom()
THUMB = 1 + list(FINGER_JOINTS).index("thumb")  # its number among the parts of the flesh


class Relaxer:
    """Damped Gauss-Newton over the 23 angles, within the joint limits."""

    def __init__(self, model: HandModel) -> None:
        """Prepares the parts, the places and which vertices each angle carries."""
        self.model, self.flesh, self.places = model, Flesh(model), Landmarks(model)
        joints = np.array([j for j, _ in DOF])
        below = np.eye(model.num_joints, dtype=bool)
        for j in range(1, model.num_joints):
            below[j] |= below[model.parents[j]]  # below[j, a]: joint a is j or leads to it
        self.carried = model.weights @ below[:, joints].astype(float)  # (V, D) share of a vertex that an angle moves
        self.rows = joints, np.array([a for _, a in DOF])
        limits = model.joint_limits[self.rows]
        self.low, self.high = limits[:, 0], limits[:, 1]
        self.is_thumb = np.isin(joints, FINGER_JOINTS["thumb"])
        self.owner = model.weights.argmax(1)
        self.stiffness = np.radians([_stiffness(j, a) for j, a in DOF])
        index = {d: k for k, d in enumerate(DOF)}
        self.bend = {f: [index[j, FLEXION] for j in members] for f, members in FINGER_JOINTS.items()}
        self.coupled = np.array([bend[1:] for f, bend in self.bend.items() if f != "thumb"])

    def vertices(self, angles: np.ndarray) -> np.ndarray:
        """(16, 3) angles -> (V, 3) vertices of the mean hand [m]."""
        return pose_hand(self.model, pose_from_angles(self.model, angles), np.zeros(self.model.num_shapes)).vertices

    def depths(self, vertices: np.ndarray) -> tuple[float, float]:
        """(V, 3) -> greatest depth [m] of a finger in a finger, and of anything in the palm or in its own finger."""
        over = self.flesh.overlaps(vertices)
        return float(over.depth[~over.palm].max(initial=0)), float(over.depth[over.palm].max(initial=0))

    def is_free(self, vertices: np.ndarray) -> bool:
        """Whether flesh gives way no more than the bounds allow."""
        finger, palm = self.depths(vertices)
        return finger <= FINGER_BOUND_M and palm <= PALM_BOUND_M

    def solve(self, target: Target, start: np.ndarray | None = None) -> np.ndarray | None:
        """A target -> (16, 3) angles [rad] near it whose flesh is free and whose contacts touch, or None where none is found.

        Args:
            target: what is wanted.
            start: (16, 3) angles to start from [rad]; None starts from the target itself, and when the thumb would start inside
                the fingers, closes the fingers first and then the thumb over them.
        """
        if start is None and self._thumb_inside(self._clipped(target.angles)) > THUMB_INSIDE_M:
            start, _ = self.relax(replace(target, angles=self._opened(target), contacts=()))
            if target.contacts and not target.under:
                angles = start.copy()
                angles[list(FINGER_JOINTS["thumb"])] = target.angles[list(FINGER_JOINTS["thumb"])]
                target = replace(target, angles=angles, firm=True)
        angles = target.angles if start is None else start
        for squeeze in (1.0, 0.8, 0.5, 0.2):
            angles, _ = self.relax(target, angles, squeeze, rough=squeeze == 1.0)
            vertices = self.vertices(angles)
            if self.is_free(vertices) and self.touches(target, vertices):
                return angles
        return None

    def touches(self, target: Target, vertices: np.ndarray) -> bool:
        """Whether every contact of the target is one: the places are near, and skin of the two phalanges meets."""
        normals = self.flesh.normals(vertices)
        for c in target.contacts:
            a, b = self.places[c.first], self.places[c.second]
            if np.linalg.norm(vertices[a] - vertices[b] + c.radius * (normals[a] - normals[b])) > NEAR_M:
                return False
            near_a, near_b = (vertices[self.owner == self.owner[v]] for v in (a, b))
            if c.radius == 0 and cKDTree(near_a).query(near_b)[0].min() > TOUCH_M:
                return False
        return True

    def relax(
        self, target: Target, start: np.ndarray | None = None, squeeze: float = 1.0, rough: bool = True
    ) -> tuple[np.ndarray, float]:
        """A target -> (16, 3) angles [rad] near it, and how bad they are; `squeeze` scales how far flesh may give way."""
        q0 = self._clipped(target.angles)[self.rows]
        q = q0.copy() if start is None else self._clipped(start)[self.rows]
        steps = STEPS if rough else STEPS // 2
        best, least, since, limit = q, np.inf, 0, np.radians(STEP_DEG)
        for step in range(steps + 1):
            angles = self._spread(q)
            vertices = self.vertices(angles)
            jacobian, residual, badness = self._system(target, q, q0, angles, vertices, squeeze, rough)
            # Keep the best pose seen: contacts come and go, and the last step need not be the best.
            if badness < least:
                since = 0 if badness < 0.97 * least else since + 1
                best, least = q.copy(), badness
            else:
                since += 1
                limit *= 0.7  # overshot: contacts and overlaps are anything but linear
            if step == steps or since > 6:
                break
            low, high = np.maximum(self.low - q, -limit), np.minimum(self.high - q, limit)
            move = bounded_step(jacobian, -residual, low, high)
            q = np.clip(q + move, self.low, self.high)
            if np.abs(move).max() < 1e-3:
                break
        return self._spread(best), least

    def _thumb_inside(self, angles: np.ndarray) -> float:
        """How deep the thumb and another finger lie in each other [m]."""
        over = self.flesh.overlaps(self.vertices(angles))
        owners = self.flesh.point_owner[[over.point, over.other[:, 0]]]
        return float(over.depth[(owners == THUMB).any(0) & ~over.palm].max(initial=0))

    def _clipped(self, angles: np.ndarray) -> np.ndarray:
        """(16, 3) angles within the limits [rad]."""
        return self._spread(np.clip(angles[self.rows], self.low, self.high))

    def _opened(self, target: Target) -> np.ndarray:
        """The wanted angles with the thumb out of the way, or with the fingers half open when the thumb goes under them."""
        angles = target.angles.copy()
        if target.under:
            for finger, members in FINGER_JOINTS.items():
                if finger != "thumb" and angles[members[0], FLEXION] < np.radians(CLOSED_DEG):
                    angles[list(members), FLEXION] *= 0.55
            return angles
        for (joint, axis), degrees in THUMB_OPEN_DEG.items():
            angles[FINGER_JOINTS["thumb"][joint - 1], axis] = np.radians(degrees)
        return angles

    def _spread(self, q: np.ndarray) -> np.ndarray:
        angles = np.zeros((self.model.num_joints, 3))
        angles[self.rows] = q
        return angles

    def _motion(self, points: np.ndarray, carried: np.ndarray, frames: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """(N, 3) points and (N, D) shares -> (N, 3, D) how they move with each angle [m / rad]."""
        axes, pivots = frames
        arm = points[:, None] - pivots[None]
        return np.moveaxis(np.cross(axes[None], arm) * carried[..., None], 1, 2)

    def _frames(self, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(D, 3) world axis and (D, 3) pivot of every angle [m]."""
        model = self.model
        about = rotvec_to_rotmat(model.joint_axes * angles[..., None])
        local = about[:, 0] @ about[:, 1] @ about[:, 2]
        world, pivot = local.copy(), model.rest_joints.copy()
        axes = np.empty((model.num_joints, 3, 3))
        for j, p in enumerate(model.parents):
            before = np.eye(3) if p < 0 else world[p]
            if p >= 0:
                pivot[j] = pivot[p] + before @ (model.rest_joints[j] - model.rest_joints[p])
            world[j] = before @ local[j]
            axes[j, 0] = before @ model.joint_axes[j, 0]
            axes[j, 1] = before @ about[j, 0] @ model.joint_axes[j, 1]
            axes[j, 2] = before @ about[j, 0] @ about[j, 1] @ model.joint_axes[j, 2]
        return axes[self.rows], pivot[self.rows[0]]

    def _system(
        self, target: Target, q: np.ndarray, q0: np.ndarray, angles: np.ndarray, vertices: np.ndarray, squeeze: float, rough: bool
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Jacobian and residual of everything wanted, and how bad the pose is: overlap, gaps, and distance from the target."""
        frames = self._frames(angles)
        stiffness = np.where(target.firm & ~self.is_thumb, FIRM * self.stiffness, self.stiffness)
        jacobians, residuals = [np.diag(1 / stiffness)], [(q - q0) / stiffness]
        middle, last = self.coupled.T
        tie = np.zeros((len(middle), len(q)))
        tie[np.arange(len(middle)), last], tie[np.arange(len(middle)), middle] = 1, -2 / 3
        jacobians.append(tie / np.radians(COUPLING_DEG))
        residuals.append(tie @ (q - q0) / np.radians(COUPLING_DEG))
        if len(target.team) > 1:
            bend = np.array([self.bend[f] for f in target.team])  # (T, 3)
            rows, one, two = np.arange(bend[1:].size), bend[:-1].ravel(), bend[1:].ravel()
            tie = np.zeros((len(rows), len(q)))
            tie[rows, one], tie[rows, two] = 1, -1
            jacobians.append(tie / np.radians(TEAM_DEG))
            residuals.append(tie @ (q - q0) / np.radians(TEAM_DEG))
        badness = 0.05 * float((residuals[0] ** 2).sum())

        over = self.flesh.overlaps(vertices, rough)
        slack = np.where(over.palm, SQUEEZE_M + PALM_BOUND_M - FINGER_BOUND_M, SQUEEZE_M) * squeeze
        badness += 4 * float((np.maximum(over.depth - slack, 0) * 1e3).max(initial=0)) ** 2
        deep = over.depth > 0.8 * slack
        if deep.any():
            own, other = self.flesh.corners[over.point[deep]], over.other[deep]
            j = self._moved(vertices, own, np.full(own.shape, 1 / 3), frames) - self._moved(vertices, other, over.mix[deep], frames)
            away = np.einsum("kc,kcd->kd", over.normal[deep], j)
            wanted = over.depth[deep] - 0.8 * slack[deep]
            strength = 1 / 0.0004 / np.sqrt(1 + 0.1 * deep.sum())
            jacobians.append(away * strength)
            residuals.append(-wanted * strength)

        normals = self.flesh.normals(vertices) if target.contacts else np.empty(0)
        for c in target.contacts:
            pair = np.array([self.places[c.first], self.places[c.second]])
            at, n, carried = vertices[pair], normals[pair], self.carried[pair]
            turn = np.moveaxis(np.cross(frames[0][None], n[:, None]) * carried[..., None], 1, 2)  # (2, 3, D)
            move = self._motion(at, carried, frames) + c.radius * turn
            gap = at[0] - at[1] + c.radius * (n[0] - n[1])
            facing = 2.0 + 60 * c.radius  # the larger the ball, the farther a wrong direction puts the finger
            jacobians += [(move[0] - move[1]) / 0.001, facing * (turn[0] + turn[1])]
            residuals += [gap / 0.001, facing * (n[0] + n[1])]
            badness += 0.25 * float((gap**2).sum()) * 1e6 + 0.025 * facing**2 * float(((n[0] + n[1]) ** 2).sum())

        if target.object is not None:
            j, r, bad = self._held(target, vertices, frames)
            jacobians.append(j)
            residuals.append(r)
            badness += bad
        return np.concatenate(jacobians), np.concatenate(residuals), badness

    def _moved(self, vertices: np.ndarray, corners: np.ndarray, mix: np.ndarray, frames: tuple) -> np.ndarray:
        """How (K, 3) mixes of vertices move: (K, 3, D)."""
        points = (mix[..., None] * vertices[corners]).sum(1)
        return self._motion(points, (mix[..., None] * self.carried[corners]).sum(1), frames)

    def _held(self, target: Target, vertices: np.ndarray, frames: tuple) -> tuple[np.ndarray, np.ndarray, float]:
        """Skin outside the held thing, and the gripping places on it."""
        assert target.object is not None
        distance = target.object(vertices)
        grip = np.array([self.places[g] for g in target.grip], int)
        inside = np.flatnonzero((distance < -SQUEEZE_M) & (self.carried.max(1) > 0.5))
        rows = np.concatenate([inside, grip])
        points, h = vertices[rows], 1e-4
        gradient = np.stack([target.object(points + h * e) - target.object(points - h * e) for e in np.eye(3)], 1) / (2 * h)
        away = np.einsum("kc,kcd->kd", gradient, self._motion(points, self.carried[rows], frames))
        wanted = distance[rows] + SQUEEZE_M / 2
        firm, soft = 1 / (0.001 * np.sqrt(1 + 0.1 * len(inside))), 1 / 0.004
        strength = np.repeat([firm, soft], [len(inside), len(grip)])
        loose = np.minimum(wanted[len(inside) :] * 1e3, 20.0)
        bad = 0.05 * float(loose @ loose) / max(len(grip), 1)
        bad += float(np.maximum(-distance[inside] * 1e3, 0).max(initial=0))
        return away * strength[:, None], wanted * strength, bad


def bounded_step(jacobian: np.ndarray, target: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Least-squares solution of (N, D) jacobian x = target with low <= x <= high: angles that hit a bound are fixed there."""
    x, open_ = np.zeros(len(low)), np.ones(len(low), bool)
    gram, right = jacobian.T @ jacobian, jacobian.T @ target
    for _ in range(len(low)):
        rest = right[open_] - gram[np.ix_(open_, ~open_)] @ x[~open_]
        x[open_] = np.linalg.solve(gram[np.ix_(open_, open_)], rest)
        out = open_ & ((x < low) | (x > high))
        if not out.any():
            break
        x, open_ = np.clip(x, low, high), open_ & ~out
        if not open_.any():
            break
    return x


def _stiffness(joint: int, axis: int) -> float:
    """Degrees that one unit of displeasure costs."""
    if joint in FINGER_JOINTS["thumb"]:
        return THUMB_STIFFNESS_DEG[joint - FINGER_JOINTS["thumb"][0] + 1][axis]
    return STIFFNESS_DEG[axis]
