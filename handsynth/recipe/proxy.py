"""A light stand-in for the posed hand, quick enough to frame it and to see whether fingers collide while deciding."""

import math

import numpy as np

from handsynth.core.conventions import FINGER_JOINTS, FINGERS
from handsynth.core.hand import HandModel, pose_hand, turn_joints
from handsynth.core.rotation import rotvec_to_rotmat

HULL_POINTS = 192
"""Vertices that stand for the whole surface when a hand is framed. The others stuck out of their box by 7 mm at most on 4,500
draws of the shipped specs (by 15 mm with 64 points): less than FRAME_MARGIN_M."""

SOFTNESS = 0.75
"""Two fingers collide when their axes come nearer than this share of the sum of their radii: flesh gives way a little."""


_LAST_JOINTS = [FINGER_JOINTS[finger][-1] for finger in FINGERS]


class HandProxy:
    """Rigid points on bones for framing, and capsules along phalanges for collisions."""

    def __init__(self, model: HandModel, bank_theta: np.ndarray) -> None:
        """Precomputes from the model and from (N, 15, 3) finger angles of a pose bank [rad]."""
        self.model = model
        ends = [(model.v_template @ model.joint_axes[j, 2] * (model.weights[:, j] > 0.5)).argmax() for j in _LAST_JOINTS]
        self.hull = _farthest_points(model.v_template, HULL_POINTS, start=np.array(ends))
        self._hull_template = model.v_template[self.hull]
        self._hull_shapedirs = model.shapedirs[self.hull].reshape(3 * len(self.hull), model.num_shapes)
        self._joint_shapedirs = model.joint_shapedirs.reshape(3 * model.num_joints, model.num_shapes)
        self.hull_joint = model.weights[self.hull].argmax(1)
        self._hull_of_joint = [np.flatnonzero(self.hull_joint == j) for j in range(model.num_joints)]
        theta = np.concatenate([np.zeros((len(bank_theta), 1, 3)), bank_theta], 1)
        posed = pose_hand(model, theta, np.zeros(model.num_shapes))
        tips = posed.vertices[:, model.fingertips]  # (N, 5, 3)
        chains = [posed.joints[:, list(FINGER_JOINTS[f])] for f in FINGERS]
        self.chains = np.stack([np.concatenate([c, tips[:, k : k + 1]], 1) for k, c in enumerate(chains)], 1)  # (N, 5, 4, 3)
        radii = np.array([_radius(model, j) for f in FINGERS for j in FINGER_JOINTS[f]])  # (15,)
        # Phalanges that touch in a pose of the bank may touch as closely in a mixture of poses: the mesh allowed it.
        soft = SOFTNESS * (radii[_PAIRS[:, 0]] + radii[_PAIRS[:, 1]])
        self.least_gap = np.minimum(soft, np.stack([_gaps(chain) for chain in self.chains]) - 1e-9)  # (N, P)

    def points(self, theta: np.ndarray, beta: np.ndarray) -> np.ndarray:
        """(B, 16, 3) theta [rad], (B, S) beta -> (B, HULL_POINTS, 3) world points [m], each carried rigidly by its joint.

        Products are made hand by hand, so that no digit depends on the batch.
        """
        model, batch = self.model, len(theta)
        rest = model.rest_joints + (self._joint_shapedirs @ beta[..., None]).reshape(batch, -1, 3)
        rotation, joints = turn_joints(model, rotvec_to_rotmat(theta), rest)
        surface = self._hull_template + (self._hull_shapedirs @ beta[..., None]).reshape(batch, -1, 3)
        shift = joints - (rotation @ rest[..., None])[..., 0]
        turned = np.empty_like(surface)
        for joint, own in enumerate(self._hull_of_joint):
            turned[:, own] = surface[:, own] @ rotation[:, joint].swapaxes(1, 2)
        return turned + shift[:, self.hull_joint]

    def collides(self, rows: np.ndarray, others: np.ndarray | None = None, theta: np.ndarray | None = None) -> bool:
        """Whether any two fingers run through each other.

        Args:
            rows: (5,) row of the bank for each finger, in the order of FINGERS.
            others: (5,) second rows, of fingers that are blends of two; where they are as `rows`, the finger is the bank's.
            theta: (15, 3) finger angles of the hand that has such blends [rad].
        """
        least = self._least(rows)
        chain = self.chains[rows, np.arange(5)]
        if others is not None and theta is not None:
            least = np.minimum(least, self._least(others))
            chain = np.where((rows == others)[:, None, None], chain, self._chain(theta))
        return bool((_gaps(chain) < least).any())

    def _least(self, rows: np.ndarray) -> np.ndarray:
        """(P,) least gap of each pair of phalanges, as in the poses that they come from."""
        donors, pair = rows[_PAIRS // 3], np.arange(len(_PAIRS))
        return np.minimum(self.least_gap[donors[:, 0], pair], self.least_gap[donors[:, 1], pair])

    def _chain(self, theta: np.ndarray) -> np.ndarray:
        """(15, 3) finger angles [rad] -> (5, 4, 3) joints and tip of each finger of the mean shape, tips carried rigidly [m]."""
        model = self.model
        rotation, joints = turn_joints(model, rotvec_to_rotmat(np.concatenate([np.zeros((1, 3)), theta])), model.rest_joints)
        out = (rotation[_LAST_JOINTS] @ (model.v_template[model.fingertips] - model.rest_joints[_LAST_JOINTS])[..., None])[..., 0]
        chain = joints[[list(FINGER_JOINTS[finger]) for finger in FINGERS]]
        return np.concatenate([chain, (chain[:, -1] + out)[:, None]], 1)


FOREARM_RADII = np.array([1.0, 1.05, 1.15, 1.3, 1.45, 1.6, 1.7, 1.6, 1.4])
"""Radii of the balls that stand for a forearm, evenly from wrist to elbow, over the wrist's own."""

UPPER_ARM_M = np.array([[0.06], [0.13], [0.20], [0.27]])
"""Places of the balls that stand for an upper arm, from the elbow on, as thick as the last of the forearm's [m]."""

HANDS_ACROSS = 2.0
"""No image is wider than so many hands, as far as upper arms are concerned."""

NEAREST_FOREARM_M = 0.1
"""No part of an arm comes nearer to the camera than this along its axis: it must neither hold it nor reach behind it [m]."""


class ForearmProxy:
    """Balls from wrist to elbow, for whether a forearm stands between camera and hand."""

    def __init__(self, model: HandModel, root: np.ndarray) -> None:
        """For hands whose root is turned by `root` (3, 3), template to world; of the mean shape."""
        rim = model.v_template[model.rim]
        self._root, self._wrist = root, model.rest_joints[0] + root @ (rim.mean(0) - model.rest_joints[0])
        self._radius = FOREARM_RADII * float(np.ptp(rim, axis=0)[1:].mean() / 2)
        self._place = np.linspace(0, model.forearm_length_m, len(FOREARM_RADII))[:, None]

    def seen_share(
        self,
        points: np.ndarray,
        T_cam_world: np.ndarray,
        flexion: float,
        deviation: float,
        cuff_m: float = 0.0,
        cloth_m: float = 0.0,
    ) -> float:
        """Share of `points` (N, 3) [m, world] that the forearm leaves to the camera; 0 where it comes too near to the camera.

        Flexion and deviation of the wrist in radians, as in `scene.arm`. Beyond `cuff_m` from the wrist it is thicker by `cloth_m`.
        """
        radius = self._radius + cloth_m * (self._place[:, 0] >= cuff_m)
        bend = max(math.hypot(flexion, deviation), 1e-9)
        out = math.sin(bend) / bend
        balls = self._wrist + self._place * (self._root @ (math.cos(bend), -flexion * out, deviation * out))
        rotation, shift = T_cam_world[:3, :3], T_cam_world[:3, 3]
        seen, balls = points @ rotation.T + shift, balls @ rotation.T + shift
        if (balls[:, 2] - radius).min() < NEAREST_FOREARM_M:
            return 0.0
        # The ball's centre and the point on its ray that is nearest to it: t of the way to the point that is looked at.
        squared = (seen * seen).sum(1)
        t = balls @ seen.T / squared
        beside = (balls * balls).sum(1)[:, None] - t * t * squared
        hidden = (beside < (radius**2)[:, None]) & (t < 1)
        return 1 - float(hidden.any(0).mean())

    def upper_arm_fits(
        self, points: np.ndarray, T_cam_world: np.ndarray, flexion: float, deviation: float, twist: float, elbow: float
    ) -> bool:
        """Whether the upper arm stays out of the image where it is before the hand, of `points` (N, 3) [m, world]: no one stands
        there. Twist and the elbow's angle in radians, as in `scene.arm` and `scene.upper_arm`.
        """
        bend = max(math.hypot(flexion, deviation), 1e-9)
        cos, sin = math.cos(bend), math.sin(bend)
        y, z = -flexion / bend, deviation / bend  # where the wrist bends to
        # The upper arm's direction before the wrist bends; then what of it lies along (y, z) turns with x.
        straight, beside = math.cos(elbow), math.sin(elbow)
        own_y, own_z = -beside * math.sin(twist), beside * math.cos(twist)
        towards = own_y * y + own_z * z
        turned, along = cos * towards + sin * straight - towards, cos * straight - sin * towards
        ends = self._root @ np.array(((cos, along), (sin * y, own_y + turned * y), (sin * z, own_z + turned * z)))
        rotation, shift = T_cam_world[:3, :3], T_cam_world[:3, 3]
        balls = (self._wrist + self._place[-1] * ends[:, 0] + UPPER_ARM_M * ends[:, 1]) @ rotation.T + shift
        seen, radius = points @ rotation.T + shift, self._radius[-1]
        nearest = balls[:, 2] - radius
        if nearest.min() < NEAREST_FOREARM_M:
            return False
        place = seen[:, :2] / seen[:, 2:]
        low, high = place.min(0), place.max(0)
        aside = np.abs(balls[:, :2] / balls[:, 2:] - (low + high) / 2).max(1) - radius / balls[:, 2]
        return not ((nearest < seen[:, 2].mean()) & (aside < HANDS_ACROSS / 2 * (high - low).max())).any()


def _phalanx_pairs() -> np.ndarray:
    """(P, 2) pairs of phalanges of different fingers, leaving out pairs of proximal ones, whose roots share the palm."""
    pairs = [(a, b) for a in range(15) for b in range(a + 1, 15) if a // 3 != b // 3 and not (a % 3 == 0 and b % 3 == 0)]
    return np.array(pairs)


_PAIRS = _phalanx_pairs()


def _gaps(chain: np.ndarray) -> np.ndarray:
    """(5, 4, 3) joints and tip of each finger -> (P,) distance between the axes of each pair of phalanges."""
    starts, ends = chain[:, :-1].reshape(-1, 3), chain[:, 1:].reshape(-1, 3)  # 15 phalanges
    first, second = _PAIRS.T
    return segment_distance(starts[first], ends[first], starts[second], ends[second])


def segment_distance(p0: np.ndarray, p1: np.ndarray, q0: np.ndarray, q1: np.ndarray) -> np.ndarray:
    """Least distance between segments p0-p1 and q0-q1, each (N, 3) -> (N,) (Ericson, Real-Time Collision Detection, 5.1.9)."""
    d1, d2, r = p1 - p0, q1 - q0, p0 - q0
    a, e = np.maximum((d1 * d1).sum(-1), 1e-12), np.maximum((d2 * d2).sum(-1), 1e-12)
    b, c, f = (d1 * d2).sum(-1), (d1 * r).sum(-1), (d2 * r).sum(-1)
    denominator = a * e - b * b
    parallel = denominator < 1e-9 * a * e
    s = np.where(parallel, 0.0, np.clip((b * f - c * e) / np.where(parallel, 1.0, denominator), 0, 1))
    t = np.clip((b * s + f) / e, 0, 1)
    s = np.clip((b * t - c) / a, 0, 1)
    return np.linalg.norm(r + s[:, None] * d1 - t[:, None] * d2, axis=-1)


def _radius(model: HandModel, joint: int) -> float:
    """Median distance [m] of a phalanx's vertices from its axis."""
    own = model.v_template[model.weights.argmax(1) == joint]
    start = model.rest_joints[joint]
    children = np.flatnonzero(model.parents == joint)
    end = model.rest_joints[children[0]] if len(children) else own[np.argmax(np.linalg.norm(own - start, axis=1))]
    axis = (end - start) / np.linalg.norm(end - start)
    along = (own - start) @ axis
    return float(np.median(np.linalg.norm(own - start - along[:, None] * axis, axis=1)))


def _farthest_points(points: np.ndarray, count: int, start: np.ndarray) -> np.ndarray:
    """Indices of `count` points that are far from each other, beginning with `start`."""
    chosen = [int(i) for i in start]
    distance = np.linalg.norm(points[:, None] - points[chosen], axis=-1).min(1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=-1))
    return np.array(chosen)
