"""A light stand-in for the posed hand, quick enough to frame it and to see whether fingers collide while deciding."""

from typing import NamedTuple

import numpy as np

from handsynth.core.conventions import FINGER_JOINTS, FINGERS
from handsynth.core.hand import HandModel, pose_points, turn_joints
from handsynth.core.rotation import rotvec_to_rotmat

UPRIGHT = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]).T
"""Turns the template (fingers -x, palm -y, thumb +z) upright in the world: fingers +y, palm +z, thumb +x."""

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
        tips, joints = pose_points(model, theta, np.zeros((len(theta), model.num_shapes)), model.fingertips)  # (N, 5, 3)
        chains = [joints[:, list(FINGER_JOINTS[f])] for f in FINGERS]
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

    def collides(self, rows: np.ndarray, others: np.ndarray | None = None, theta: np.ndarray | None = None) -> np.ndarray:
        """Whether any two fingers run through each other: (...) bool of so many hands.

        Args:
            rows: (..., 5) row of the bank for each finger, in the order of FINGERS.
            others: (..., 5) second rows, of fingers that are blends of two; where they are as `rows`, the finger is the bank's.
            theta: (..., 15, 3) finger angles of the hands that have such blends [rad].
        """
        least = self._least(rows)
        chain = self.chains[rows, np.arange(5)]
        if others is not None and theta is not None:
            least = np.minimum(least, self._least(others))
            chain = np.where((rows == others)[..., None, None], chain, self._chain(theta))
        return np.asarray((_gaps(chain) < least).any(-1))

    def _least(self, rows: np.ndarray) -> np.ndarray:
        """(..., P) least gap of each pair of phalanges, as in the poses that they come from."""
        (first, second), pair = _PAIRS.T // 3, np.arange(len(_PAIRS))
        return np.minimum(self.least_gap[rows[..., first], pair], self.least_gap[rows[..., second], pair])

    def _chain(self, theta: np.ndarray) -> np.ndarray:
        """(..., 15, 3) finger angles [rad] -> (..., 5, 4, 3) joints and tip of each finger of the mean shape, tips carried rigidly
        [m].
        """
        model, rest = self.model, self.model.rest_joints
        rotmat = rotvec_to_rotmat(np.concatenate([np.zeros((*theta.shape[:-2], 1, 3)), theta], -2))
        rotation, joints = turn_joints(model, rotmat, np.broadcast_to(rest, (*theta.shape[:-2], *rest.shape)))
        out = (rotation[..., _LAST_JOINTS, :, :] @ (model.v_template[model.fingertips] - rest[_LAST_JOINTS])[..., None])[..., 0]
        chain = joints[..., [list(FINGER_JOINTS[finger]) for finger in FINGERS], :]
        return np.concatenate([chain, (chain[..., -1, :] + out)[..., None, :]], -2)


FOREARM_RADII = np.array([1.0, 1.05, 1.15, 1.3, 1.45, 1.6, 1.7, 1.6, 1.4])
"""Radii of the balls that stand for a forearm, evenly from wrist to elbow, over the wrist's own."""

UPPER_ARM_M = np.array([[0.06], [0.13], [0.20], [0.27]])
"""Places of the balls that stand for an upper arm, from the elbow on, as thick as the last of the forearm's [m]."""

HANDS_ACROSS = 2.0
"""No image is wider than so many hands, as far as upper arms are concerned."""

FEW_POINTS = 32
"""So many of the hand's points, the first of which are far from each other, say where it is."""

MARGIN = 1.15
"""By so much are the balls thicker that keep arms out of hands: sections are flat."""

NEAREST_FOREARM_M = 0.1
"""No part of an arm comes nearer to the camera than this along its axis: it must neither hold it nor reach behind it [m]."""


class ArmBalls(NamedTuple):
    """Balls that stand for arms, the last one at the shoulder."""

    centres: np.ndarray  # (..., M, 3) [m]
    radii: np.ndarray  # (M,) [m]


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
        flexion: np.ndarray,
        deviation: np.ndarray,
        cuff_m: np.ndarray | float = 0.0,
        cloth_m: np.ndarray | float = 0.0,
    ) -> np.ndarray:
        """(B,) share of `points` (B, N, 3) [m, world] that B forearms leave to the camera; 0 where one comes too near to it.

        Flexion and deviation (B,) of the wrist in radians, as in `scene.arm`. Beyond `cuff_m` (B,) from the wrist a forearm is
        thicker by `cloth_m` (B,).
        """
        hidden, too_near = self.hidden(points, T_cam_world, flexion, deviation, cuff_m, cloth_m)
        return np.where(too_near, 0.0, 1 - hidden.mean(-1))

    def hidden(
        self,
        points: np.ndarray,
        T_cam_world: np.ndarray,
        flexion: np.ndarray,
        deviation: np.ndarray,
        cuff_m: np.ndarray | float = 0.0,
        cloth_m: np.ndarray | float = 0.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B, N) which points B forearms take from the camera, and (B,) whether one comes too near to it. See `seen_share`."""
        cuff, cloth = (np.broadcast_to(value, len(points))[:, None] for value in (cuff_m, cloth_m))
        radius = self._radius + cloth * (self._place[:, 0] >= cuff)  # (B, 9)
        bend = np.maximum(np.hypot(flexion, deviation), 1e-9)
        out = np.sin(bend) / bend
        ahead = self._turned(np.cos(bend), -flexion * out, deviation * out)
        rotation, shift = T_cam_world[:, :3, :3].swapaxes(1, 2), T_cam_world[:, None, :3, 3]
        seen, balls = points @ rotation + shift, (self._wrist + self._place * ahead[:, None]) @ rotation + shift
        return hidden_by_balls(seen, balls, radius), (balls[..., 2] - radius).min(-1) < NEAREST_FOREARM_M

    def balls(
        self,
        flexion: np.ndarray,
        deviation: np.ndarray,
        twist: np.ndarray,
        elbow: np.ndarray,
        cuff_m: float = 0.0,
        cloth_m: float = 0.0,
    ) -> ArmBalls:
        """(B, M, 3) of B whole arms beside the upright hand [m, world], thicker by sleeve and margin; angles (B,) in radians."""
        ahead, upper = self._directions(flexion[:, None], deviation[:, None], twist[:, None], elbow[:, None])
        lower = self._wrist + self._place * ahead
        balls = np.concatenate([lower, lower[:, -1:] + UPPER_ARM_M * upper], 1)
        place = np.concatenate([self._place, self._place[-1] + UPPER_ARM_M])[:, 0]
        radius = np.concatenate([self._radius, np.full(len(UPPER_ARM_M), self._radius[-1])])
        return ArmBalls(balls, MARGIN * radius + cloth_m * (place >= cuff_m))

    def upper_arm_fits(
        self,
        points: np.ndarray,
        T_cam_world: np.ndarray,
        flexion: np.ndarray,
        deviation: np.ndarray,
        twist: np.ndarray,
        elbow: np.ndarray,
    ) -> np.ndarray:
        """(B, E) whether upper arms stay out of the image where they are before the hand, of `points` (B, N, 3) [m, world]: no one
        stands there. Twists (B,) and E angles of each elbow (B, E) in radians, as in `scene.arm` and `scene.upper_arm`.
        """
        ahead, upper = self._directions(flexion[:, None], deviation[:, None], twist[:, None], elbow)
        rotation, shift = T_cam_world[:, :3, :3].swapaxes(1, 2), T_cam_world[:, None, :3, 3]
        balls = (self._wrist + self._place[-1] * ahead)[:, :, None] + UPPER_ARM_M * upper[:, :, None]  # (B, E, 4, 3)
        balls = balls @ rotation[:, None] + shift[:, None]
        seen, radius = points[:, :FEW_POINTS] @ rotation + shift, self._radius[-1]
        place = seen[..., :2] / seen[..., 2:]
        low, high = place.min(1), place.max(1)
        depth = balls[..., 2]
        nearest, middle = depth - radius, (low + high) / 2
        aside = np.maximum(np.abs(balls[..., 0] / depth - middle[:, :1, None]), np.abs(balls[..., 1] / depth - middle[:, 1:, None]))
        before = nearest < seen[..., 2].mean(-1)[:, None, None]
        within = before & (aside - radius / depth < HANDS_ACROSS / 2 * (high - low).max(-1)[:, None, None])
        return np.asarray((nearest.min(-1) >= NEAREST_FOREARM_M) & ~within.any(-1))

    def _directions(
        self, flexion: np.ndarray, deviation: np.ndarray, twist: np.ndarray, elbow: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B, 1) angles of wrists and forearms and (B, E) of elbows [rad] -> (B, 1, 3) and (B, E, 3) directions of forearms and
        upper arms, away from the hand, in the world.
        """
        bend = np.maximum(np.hypot(flexion, deviation), 1e-9)
        cos, sin = np.cos(bend), np.sin(bend)
        y, z = -flexion / bend, deviation / bend  # where the wrist bends to
        # The upper arm's direction before the wrist bends; then what of it lies along (y, z) turns with x.
        straight, beside = np.cos(elbow), np.sin(elbow)
        own_y, own_z = -beside * np.sin(twist), beside * np.cos(twist)
        towards = own_y * y + own_z * z
        turned, along = cos * towards + sin * straight - towards, cos * straight - sin * towards
        return self._turned(cos, sin * y, sin * z), self._turned(along, own_y + turned * y, own_z + turned * z)

    def _turned(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """(...) each -> (..., 3) from the template's frame to the world's."""
        return (self._root @ np.stack([x, y, z], -1)[..., None])[..., 0]


def hidden_by_balls(points: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(..., N) which of (..., N, 3) points are behind one of (..., M, 3) balls of radii (..., M) [m, camera frame]."""
    # The ball's centre and the point on its ray that is nearest to it: t of the way to the point that is looked at.
    squared = squared_lengths(points)[..., None, :]
    t = centres @ points.swapaxes(-1, -2) / squared
    beside = squared_lengths(centres)[..., None] - t * t * squared
    return np.asarray(((beside < (radii**2)[..., None]) & (t < 1)).any(-2))


NEAR_SHARE = 0.75
"""A ray is hidden by a surface when it passes one of its points at less than this share of the distance between them."""


def hidden_behind(points: np.ndarray, surface: np.ndarray, reach_m: float) -> np.ndarray:
    """(N,) which of `points` (N, 3) [m, camera frame] are behind a thing whose `surface` is (M, 3) points `reach_m` apart."""
    # A point is hidden when one of the surface's lies before it and near its ray: of those, along the unit vector to the point.
    length = np.sqrt(squared_lengths(points))
    along = surface @ (points / length[:, None]).T
    least = np.sqrt(np.maximum(squared_lengths(surface) - (NEAR_SHARE * reach_m) ** 2, 0))  # of what is so near to a ray
    return np.asarray(((along > least[:, None]) & (along < 0.97 * length)).any(0))


def perhaps_behind(points: np.ndarray, surface: np.ndarray, reach_m: float) -> np.ndarray:
    """(N,) which of `points` are within the outline of a thing: no other is behind it, and to know that is a fifth of the work.

    Arguments as of `hidden_behind`; the surface is farther from the camera than `reach_m`.
    """
    (x, y), (column, row) = (those[:, :2].T / those[:, 2] for those in (points, surface))
    left, right, top, bottom = column.min(), column.max(), row.min(), row.max()
    # By so much does a ray that is hidden pass a point of the surface at most, in the image of focal length 1.
    near = NEAR_SHARE * reach_m
    margin = near * (1 + max(right, -left, bottom, -top)) / (surface[:, 2].min() - near)
    return np.asarray((x > left - margin) & (x < right + margin) & (y > top - margin) & (y < bottom + margin))


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 3) and (M, 3) points -> (N, M) how far they are from each other."""
    between = a.T[:, :, None] - b.T[:, None]
    return np.sqrt(_dots(between, between))


def squared_lengths(vectors: np.ndarray) -> np.ndarray:
    """(..., 3) -> (...): numpy's sums over so short rows are slow."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.asarray(x * x + y * y + z * z)


def _phalanx_pairs() -> np.ndarray:
    """(P, 2) pairs of phalanges of different fingers, leaving out pairs of proximal ones, whose roots share the palm."""
    pairs = [(a, b) for a in range(15) for b in range(a + 1, 15) if a // 3 != b // 3 and not (a % 3 == 0 and b % 3 == 0)]
    return np.array(pairs)


_PAIRS = _phalanx_pairs()


def _gaps(chain: np.ndarray) -> np.ndarray:
    """(..., 5, 4, 3) joints and tip of each finger -> (..., P) distance between the axes of each pair of phalanges."""
    chain = np.moveaxis(chain, -1, 0)
    joints = np.ascontiguousarray(chain[..., :-1]).reshape(*chain.shape[:-2], 15)
    bones = (chain[..., 1:] - chain[..., :-1]).reshape(joints.shape)
    squared = _dots(bones, bones)
    first, second = _PAIRS.T
    starts, d1, d2 = joints[..., first], bones[..., first], bones[..., second]
    return _distance(d1, d2, starts - joints[..., second], squared[..., first], squared[..., second])


def segment_distance(p0: np.ndarray, p1: np.ndarray, q0: np.ndarray, q1: np.ndarray) -> np.ndarray:
    """Least distance between segments p0-p1 and q0-q1, each (..., 3) -> (...)."""
    d1, d2, r = (np.moveaxis(d, -1, 0) for d in (p1 - p0, q1 - q0, p0 - q0))
    return _distance(d1, d2, r, _dots(d1, d1), _dots(d2, d2))


def _distance(d1: np.ndarray, d2: np.ndarray, r: np.ndarray, a: np.ndarray, e: np.ndarray) -> np.ndarray:
    """(...) least distance between segments along d1 and d2 (3, ...), `a` and `e` their squared lengths, whose starts are `r`
    (3, ...) apart (Ericson, Real-Time Collision Detection, 5.1.9).
    """
    a, e = np.maximum(a, 1e-12), np.maximum(e, 1e-12)
    b, c, f = _dots(d1, d2), _dots(d1, r), _dots(d2, r)
    denominator = a * e - b * b
    parallel = denominator < 1e-9 * a * e
    s = np.where(parallel, 0.0, _unit(b * f - c * e, np.where(parallel, 1.0, denominator)))
    t = _unit(b * s + f, e)
    s = _unit(b * t - c, a)
    between = r + s * d1 - t * d2
    return np.sqrt(_dots(between, between))


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(3, ...) and (3, ...) -> (...) dot products."""
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def _unit(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """A quotient, between 0 and 1."""
    return np.minimum(np.maximum(over / under, 0), 1)


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
