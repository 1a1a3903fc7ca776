"""Human keypoints over time -> joint positions of a robot hand: least squares on MuJoCo's kinematics, a whole clip at once.

The objective is dex-retargeting's: vectors between the robot's links shall equal scaled human ones, errors counted by Huber's law,
and steps between frames cost. There the cost holds back each frame against the one before; here it is one problem over all frames,
so that smoothing delays nothing. Limits hold exactly.
"""

import numpy as np
from scipy.linalg import LinAlgError, solveh_banded

from handmesh.robot.kinematics import RobotHand
from handmesh.robot.task import Task
from handsynth.core.errors import HandsynthError

_ITERATIONS = 60
_CHANGE = 1e-5  # of the objective, at which a clip is done
_CHUNK = 400  # frames that are solved together; each chunk follows on the one before
_CLOSED_M, _APART_M = 1e-4, 3e-2  # DexPilot: distance of touching fingertips, from the thumb and from each other
_TOUCH = (200.0, 400.0)  # DexPilot: weights of the same


def human_vectors(task: Task, keypoints: np.ndarray) -> np.ndarray:
    """(T, 21, 3) keypoints [m] -> (T, K, 3) the task's human vectors, not scaled."""
    padded = np.concatenate([keypoints, np.zeros_like(keypoints[:, :1])], 1)  # -1, the last, is the origin
    return padded[:, task.human[1]] - padded[:, task.human[0]]


def targets(task: Task, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, K, 3) vectors that the robot shall have [m], and their (T, K) weights.

    DexPilot's fingertips that come near the thumb's shall touch it, until they are clearly away.
    """
    vectors = human_vectors(task, keypoints)
    wanted, weights = task.scale * vectors, np.ones(vectors.shape[:2])
    if task.mode == "dexpilot":
        to_thumb, pairs = task.fingers - 1, task.fingers * (task.fingers - 1) // 2
        distance = np.linalg.norm(vectors[:, :pairs], axis=-1)
        touching = np.zeros((len(vectors), pairs), bool)
        state = np.zeros(to_thumb, bool)
        others = [(a, b) for b in range(to_thumb) for a in range(b + 1, to_thumb)]
        for t in range(len(vectors)):
            near = distance[t, :to_thumb]
            state = (state | (near < task.project_m)) & ~(near > task.escape_m)
            touching[t, :to_thumb] = state
            touching[t, to_thumb:] = [state[a] and state[b] for a, b in others]
        touching[:, to_thumb:] &= distance[:, to_thumb:] <= _APART_M
        closed = np.repeat([_CLOSED_M, _APART_M], [to_thumb, pairs - to_thumb])
        touch = np.repeat(_TOUCH, [to_thumb, pairs - to_thumb])
        directions = vectors[:, :pairs] / (distance[..., None] + 1e-6)
        wanted[:, :pairs] = np.where(touching[..., None], directions * closed[:, None], wanted[:, :pairs])
        weights[:, :pairs] = np.where(touching, touch, 1.0)
        weights[:, pairs:] = pairs + task.fingers
    return wanted, weights


def retarget(robot: RobotHand, task: Task, keypoints: np.ndarray) -> np.ndarray:
    """Joint positions for a clip.

    Args:
        robot: whose free joints are found.
        task: what shall be taken over.
        keypoints: (T, 21, 3) of the human hand in the wrist's frame, or for positions in the world's [m].

    Returns:
        (T, n) positions of `robot.names` within their limits. Raises HandsynthError for keypoints that are not finite.
    """
    if not len(keypoints) or not np.isfinite(keypoints).all():
        raise HandsynthError("keypoints are missing, NaN or infinite: there is nothing to retarget")
    robot.check_frames([name for name in (*task.origins, *task.ends) if name is not None])
    wanted, weights = targets(task, np.asarray(keypoints, np.float64))
    found = np.empty((len(wanted), len(robot.names)))
    before = None
    for first in range(0, len(wanted), _CHUNK):
        rows = slice(first, first + _CHUNK)
        problem = _Problem(robot, task, wanted[rows], weights[rows], before)
        starts = [before] if before is not None else [robot.limits.mean(1), np.clip(0.0, *robot.limits.T)]
        found[rows] = min((problem.solve(start) for start in starts), key=problem.cost)
        before = found[rows][-1]
    return found


class _Problem:
    """Frames that are solved together: their objective, its derivatives, and damped Gauss-Newton steps within the limits."""

    def __init__(self, robot: RobotHand, task: Task, wanted: np.ndarray, weights: np.ndarray, before: np.ndarray | None) -> None:
        self.robot, self.task, self.wanted, self.before = robot, task, wanted, before
        names = dict.fromkeys(name for name in (*task.origins, *task.ends) if name is not None)
        self.frames = tuple(names)
        place = {name: k for k, name in enumerate(names)}
        # (K, frames): a vector is its end less its origin.
        self.difference = np.zeros((len(task.ends), len(names)))
        for k, (origin, end) in enumerate(zip(task.origins, task.ends, strict=True)):
            self.difference[k, place[end]] += 1
            if origin is not None:
                self.difference[k, place[origin]] -= 1
        # As dex-retargeting counts: the mean over vectors, of positions over coordinates.
        self.weights = weights / len(task.ends) / (3 if task.mode == "position" else 1)

    def _errors(self, q: np.ndarray, derivatives: bool) -> tuple[np.ndarray, np.ndarray]:
        places, jacobians = self.robot.places(q, self.frames, derivatives)
        errors = np.matmul(self.difference, places) - self.wanted
        if not derivatives:
            return errors, jacobians
        frames, joints = len(self.frames), q.shape[1]
        return errors, np.matmul(self.difference, jacobians.reshape(len(q), frames, 3 * joints)).reshape(len(q), -1, 3, joints)

    def _steps(self, q: np.ndarray) -> np.ndarray:
        return np.diff(q, axis=0, prepend=q[:1] if self.before is None else self.before[None])

    def cost(self, q: np.ndarray) -> float:
        """The objective over all frames."""
        distance, delta = np.linalg.norm(self._errors(q, False)[0], axis=-1), self.task.huber_m
        huber = np.where(distance < delta, 0.5 * distance**2 / delta, distance - 0.5 * delta)
        return float((self.weights * huber).sum() + self.task.smooth * (self._steps(q) ** 2).sum())

    def solve(self, start: np.ndarray) -> np.ndarray:
        """(T, n) from (n,) joint positions at every frame."""
        low, high = self.robot.limits.T
        q = np.repeat(np.clip(start, low, high)[None], len(self.wanted), 0)
        cost, damping = self.cost(q), 1e-3
        for _ in range(_ITERATIONS):
            gradient, blocks = self._normal_equations(q)
            fixed = ((q <= low) & (gradient > 0)) | ((q >= high) & (gradient < 0))
            for _ in range(8):
                trial = np.clip(q + self._step(gradient, blocks, fixed, damping), low, high)
                if (trial_cost := self.cost(trial)) < cost:
                    break
                damping *= 6
            else:
                break
            change, q, cost, damping = cost - trial_cost, trial, trial_cost, max(damping / 4, 1e-7)
            if change < _CHANGE * cost + 1e-12:
                break
        return q

    def _normal_equations(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(T, n) gradient and (T, n, n) diagonal blocks of the Hessian."""
        errors, jacobians = self._errors(q, True)
        distance, delta = np.linalg.norm(errors, axis=-1), self.task.huber_m
        weights = self.weights / np.maximum(distance, delta)
        frames, joints = q.shape
        flat = jacobians.reshape(frames, -1, joints)
        weighted = (jacobians * weights[..., None, None]).reshape(frames, -1, joints)
        gradient = np.matmul(errors.reshape(frames, 1, -1), weighted)[:, 0]
        blocks = np.matmul(flat.transpose(0, 2, 1), weighted)
        steps, smooth = self._steps(q), 2 * self.task.smooth
        gradient += smooth * steps
        gradient[:-1] -= smooth * steps[1:]
        blocks[:, np.arange(joints), np.arange(joints)] += smooth * self._neighbours(frames)[:, None]
        return gradient, blocks

    def _neighbours(self, frames: int) -> np.ndarray:
        """(T,) frames before and after each one that it is tied to."""
        count = np.full(frames, 2.0)
        count[-1] -= 1
        if self.before is None:
            count[0] -= 1
        return count

    def _step(self, gradient: np.ndarray, blocks: np.ndarray, fixed: np.ndarray, damping: float) -> np.ndarray:
        """(T, n) damped Gauss-Newton step that leaves `fixed` joints alone: a banded system over all frames."""
        frames, joints = gradient.shape
        free = ~fixed
        blocks = blocks * (free[:, :, None] & free[:, None, :])
        diagonal = np.arange(joints)
        blocks[:, diagonal, diagonal] += damping * (1.0 + blocks[:, diagonal, diagonal]) + fixed
        band = np.zeros((joints + 1, frames, joints))
        for d in range(joints):
            band[d, :, : joints - d] = blocks[:, diagonal[d:], diagonal[: joints - d]]
        band[joints, :-1] = -2 * self.task.smooth * (free[:-1] & free[1:])
        try:
            step = solveh_banded(band.reshape(joints + 1, -1), -(gradient * free).ravel(), lower=True, check_finite=False)
        except LinAlgError:
            return -gradient * free / (1 + damping)
        return step.reshape(frames, joints)


def vector_errors(robot: RobotHand, task: Task, keypoints: np.ndarray, free: np.ndarray) -> np.ndarray:
    """(T, K) distance of the robot's vectors from the scaled human ones [m]."""
    wanted = task.scale * human_vectors(task, np.asarray(keypoints, np.float64))
    return np.linalg.norm(robot_vectors(robot, task, free) - wanted, axis=-1)


def robot_vectors(robot: RobotHand, task: Task, free: np.ndarray) -> np.ndarray:
    """(T, K, 3) the task's vectors of the robot [m]."""
    ends = robot.places(free, task.ends)[0]
    begin = [name for name in task.origins if name is not None]
    return ends - robot.places(free, begin)[0] if begin else ends
