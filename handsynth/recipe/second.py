"""A second hand of the same person: its pose, and a place beside, before or behind the first, near it or touching it."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from handsynth.assets.objects.holding import HandSurface, PalmarRegions
from handsynth.core.hand import BankHands, HandModel, pose_hand
from handsynth.core.mirror import MIRROR
from handsynth.core.rotation import rotmat_to_rotvec, rotvec_to_rotmat
from handsynth.recipe.draws import DECIMALS, rounded
from handsynth.recipe.proxy import (
    NEAREST_FOREARM_M,
    UPRIGHT,
    ArmBalls,
    ForearmProxy,
    distances,
    hidden_behind,
    hidden_by_balls,
    squared_lengths,
)
from handsynth.recipe.recipe import ArmChoice, OtherHand, PoseChoice
from handsynth.recipe.spec import ELBOW_LIMITS_DEG, TWIST_LIMIT_DEG, ArmSpec, SecondHandSpec, wrist_reach
from handsynth.recipe.wear import Worn

TRIES, CANDIDATES = 6, 40
"""Places that are tried before the hand stays alone; turns and postures of the arm that are looked at for each."""

PRESSED_M = 0.001
"""Hands that touch press so deep into each other's flesh."""

PATCH_M, CELL_M = 0.004, 0.005
"""Up to how far beside a point of a surface that point's plane is the surface; and side of the cells in which the first contact is
looked for."""

REACH_M, QUERIES, STEPS, SAME_M = 0.03, 160, 24, 2e-4
"""What is farther than this from a surface is only known to be; so many of a hand's points, the nearest, are looked up in a step;
steps at most; and when the wanted distance is reached."""

ARM_GAP_M = 0.004
"""What is left between one hand's forearm and the other hand with its own."""

BETWEEN_DEG, BETWEEN_STD_DEG = 65.0, 35.0
"""Angle between the two hands' directions, fingers to wrist, and its standard deviation: elbows are apart where hands meet."""

SHOULDERS_M = (0.26, 0.46)
"""Least and greatest distance between the shoulders of the two arms: 0.36 m between their joints, and what shoulders can move."""

IN_IMAGE, LEAST_SHOWN = 0.4, 0.15
"""Shares of the second hand's points that are in the image, and that the first hand leaves to the camera there."""

POINTS_APART_M = 0.013
"""So far apart are the points that stand for a hand."""


@dataclass(frozen=True, eq=False)
class FirstHand:
    """What a second one must know of the first. World frame of the first, neither mirrored [m]."""

    model: HandModel
    theta: np.ndarray  # (J, 3) [rad]
    points: np.ndarray  # (P, 3) that stand for it
    hidden: np.ndarray  # (P,) bool, those that something else already hides
    T_cam_world: np.ndarray  # (4, 4)
    K: np.ndarray  # (3, 3)
    image_size: int
    beta: np.ndarray  # (S,)
    arm: ArmChoice | None
    balls: ArmBalls | None  # of its arm, with what it wears
    held: np.ndarray | None  # (N, 3) surface of what it holds

    @cached_property
    def vertices(self) -> np.ndarray:
        """(V, 3), posed by itself so that no digit depends on its company."""
        return pose_hand(self.model, self.theta, self.beta).vertices

    @cached_property
    def seen(self) -> np.ndarray:
        """(P, 3) its points in the camera's frame [m]."""
        return self.points @ self.T_cam_world[:3, :3].T + self.T_cam_world[:3, 3]


@dataclass(frozen=True, eq=False)
class Placed:
    """A second hand that has its place, in the first hand's world [m]."""

    opposite: bool  # it is of the other side
    theta: np.ndarray  # (48,)
    trans: np.ndarray  # (3,)
    row: int  # of the bank
    arm: ArmChoice | None
    hidden: np.ndarray  # (P,) bool, points of the first hand that it, or what hid them before, hides
    solid: np.ndarray  # (N, 3) points of its surface
    balls: ArmBalls | None

    def choice(self, side: str, worn: Worn | None) -> OtherHand:
        """For the recipe, beside a first hand of a side with its clothing: of what that wears, sleeve, gloves and varnish."""
        own = ("left" if side == "right" else "right") if self.opposite else side
        clothes = None if worn is None else Worn(sleeve=worn.sleeve if self.arm else None, varnish=worn.varnish, glove=worn.glove)
        pose = PoseChoice(self.row, 0, {})
        worn = clothes if clothes is not None and clothes.clothing else None
        return OtherHand(own, rounded(self.theta), rounded(self.trans), pose, self.arm, worn)


class _Field(HandSurface):
    """Clearance from the surface of a hand, and of what it holds."""

    def __init__(self, model: HandModel, regions: PalmarRegions, vertices: np.ndarray, held: np.ndarray | None) -> None:
        super().__init__(model, regions, vertices)
        self._held = None if held is None else cKDTree(held, compact_nodes=False, balanced_tree=False)

    def clearance(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) -> (N,) how far outside they are [m], negative in the flesh; of held things, from points of their surface."""
        distance, nearest = self._tree.query(points, distance_upper_bound=REACH_M)
        near = np.flatnonzero(np.isfinite(distance))
        found, nearest = np.full(len(points), REACH_M), nearest[near]
        above = ((points[near] - self._points[nearest]) * self._normals[nearest]).sum(1)
        found[near] = np.where(distance[near] ** 2 - above**2 <= PATCH_M**2, above, distance[near])
        if self._held is None:
            return found
        # What is held counts as a little thicker than its points, which are apart.
        return np.minimum(found, self._held.query(points, distance_upper_bound=REACH_M + PATCH_M)[0] - PATCH_M)

    def ways(self, points: np.ndarray, towards: np.ndarray) -> np.ndarray:
        """(N,) how far each of (N, 3) points goes, against the unit vector `towards`, until it is at the surface, or a little less
        [m]: negative for points behind it, infinity for those that pass it by.
        """
        own = self._points if self._held is None else np.concatenate([self._points, self._held.data])
        across = _across(towards)
        place, other = (np.ascontiguousarray((those @ across).T) for those in (own, points))  # (2, N) each
        first = place.min(1, keepdims=True) - 2 * CELL_M
        column, row = ((place - first) / CELL_M).astype(np.intp)
        size = column.max() + 3, row.max() + 3
        height = np.full(size, -np.inf)
        np.maximum.at(height.ravel(), column * size[1] + row, own @ towards)  # with one number a cell it is much faster
        height = _dilated(_dilated(height).T).T
        column, row = np.clip((other - first) / CELL_M, 0, np.array(size)[:, None] - 1).astype(np.intp)
        return points @ towards - height[column, row] - PATCH_M


def _dilated(heights: np.ndarray) -> np.ndarray:
    """(N, M) the greatest of each row and the ones beside it: a filter of scipy's takes five times as long."""
    found = heights.copy()
    np.maximum(found[1:], heights[:-1], out=found[1:])
    np.maximum(found[:-1], heights[1:], out=found[:-1])
    return found


def _across(direction: np.ndarray) -> np.ndarray:
    """(3, 2) two unit vectors across a direction and each other."""
    least = np.eye(3)[np.abs(direction).argmin()]
    first = _cross(direction, least)
    first /= math.sqrt(first @ first)
    return np.stack([first, _cross(direction, first)], 1)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of two vectors: numpy's takes ten times as long."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


class SecondHands:
    """Places second hands of one bank beside first ones."""

    def __init__(self, hands: BankHands, hull: np.ndarray, forearm: ForearmProxy | None) -> None:
        """`hull`: vertices that stand for a hand; `forearm`: where hands have one."""
        self._hands, self._model, self._hull, self._forearm = hands, hands.model, hull, forearm
        self._regions = PalmarRegions(hands.model)

    def sample(
        self, rng: np.random.Generator, spec: SecondHandSpec, arms: ArmSpec, taken: int, least_seen: float, first: FirstHand
    ) -> Placed | None:
        """A second hand beside a first, in a pose of `taken` rows spread evenly over the bank; None where none has room.

        `least_seen` is the share of the first hand's points that stays visible.
        """
        model = self._model
        opposite = bool(rng.random() < spec.other_side)
        row = int(rng.integers(taken)) * len(self._hands.theta) // taken
        touches = bool(rng.random() < spec.touching)
        gap = 0.0 if touches else rng.uniform(*spec.gap_m)
        field = _Field(model, self._regions, first.vertices, first.held)
        root = model.rest_joints[0] + model.joint_shapedirs[0] @ first.beta
        posed = self._hands.vertices(row, first.beta) - root
        # A hand of the other side is the mirror image of a right one, in a mirrored world.
        mirror = MIRROR[:3, :3] if opposite else np.eye(3)
        own = posed @ mirror
        a, b, c = self._regions.corners_of(own)
        surface = np.concatenate([own, (a + b + c) / 3])
        turns, postures, local = self._candidates(rng, arms, first)
        seen_turns = mirror @ turns @ mirror
        for _ in range(TRIES):
            aim, at = first.vertices[rng.integers(len(own))], own[rng.integers(len(own))]
            towards = first.T_cam_world[:3, :3].T @ _direction(rng)
            wrists = aim - seen_turns @ at
            arm_points = None if local is None else local.centres @ turns.swapaxes(1, 2) @ mirror + wrists[:, None]
            radii = None if local is None else local.radii
            number = _plausible(arm_points, radii, postures, first.balls, opposite)
            if number is None:
                continue
            turned = surface @ seen_turns[number].T + aim - seen_turns[number] @ at
            arm_centres = None if arm_points is None else arm_points[number]
            ways = field.ways(turned, towards)
            # Where they first may touch decides in most cases: to find where they do takes as long as everything else.
            near = -float(ways.min()) + gap
            if self._placed(first, least_seen, turned[: len(own)], arm_centres, radii, near * towards) is None:
                continue
            way = _advance(field, turned, towards, ways) + gap
            placed = self._placed(first, least_seen, turned[: len(own)], arm_centres, radii, way * towards)
            if placed is None:
                continue
            solid, (hidden, balls) = turned + way * towards, placed
            theta = np.concatenate([rotmat_to_rotvec(turns[number])[None], self._hands.theta[row]])
            wrist = mirror @ (wrists[number] + way * towards)
            posture = None if postures is None else _posture(first, postures[number])
            return Placed(opposite, theta.ravel(), wrist - root, row, posture, hidden, solid, balls)
        return None

    def _candidates(
        self, rng: np.random.Generator, spec: ArmSpec, first: FirstHand
    ) -> tuple[np.ndarray, np.ndarray | None, ArmBalls | None]:
        """(N, 3, 3) turns from the template; N postures of the arm, (N, 4) flexion, deviation, twist and angle of the elbow [deg];
        and the balls (N, M, 3) of the arms, from the wrist's joint, in the template's frame. Without a forearm None of both.
        """
        away = np.deg2rad(np.clip(rng.normal(BETWEEN_DEG, BETWEEN_STD_DEG, CANDIDATES), 0, 150))
        around, roll = rng.uniform(0, 2 * math.pi, (2, CANDIDATES))
        # The first hand is upright: its wrist is below its fingers. So much is the second one turned from that.
        axis = np.stack([np.cos(around), np.zeros(CANDIDATES), np.sin(around)], 1)
        turns = rotvec_to_rotmat(away[:, None] * axis) @ rotvec_to_rotmat(roll[:, None] * np.array([0.0, 1.0, 0.0])) @ UPRIGHT
        if first.arm is None or first.balls is None or self._forearm is None:
            return turns, None, None
        flexion = rng.normal(spec.flexion_mean_deg, spec.flexion_std_deg, CANDIDATES)
        deviation = rng.normal(spec.deviation_mean_deg, spec.deviation_std_deg, CANDIDATES)
        twist = np.clip(rng.normal(0, spec.twist_std_deg, CANDIDATES), -TWIST_LIMIT_DEG, TWIST_LIMIT_DEG)
        elbow = np.clip(rng.normal(spec.elbow_mean_deg, spec.elbow_std_deg, CANDIDATES), *ELBOW_LIMITS_DEG)
        postures = np.round(np.stack([flexion, deviation, twist, elbow], 1), DECIMALS) + 0.0
        balls = self._forearm.balls(*np.deg2rad(postures).T)
        centres = (balls.centres - self._model.rest_joints[0]) @ UPRIGHT  # from the upright hand's world back to the template
        return turns, postures, ArmBalls(centres, first.balls.radii)

    def _placed(
        self,
        first: FirstHand,
        least_seen: float,
        hand: np.ndarray,
        arm: np.ndarray | None,
        radii: np.ndarray | None,
        shift: np.ndarray,
    ) -> tuple[np.ndarray, ArmBalls | None] | None:
        """(P,) bool, which of the first hand's points are then hidden, and the balls of the second one's arm; None where it can not
        be, its vertices `hand` (V, 3) and `arm` (M, 3) shifted by `shift` (3,) [m].
        """
        hand = hand + shift
        balls = None if arm is None or radii is None else ArmBalls(arm + shift, radii)
        hidden = self._hidden(first, hand, balls)
        if hidden is None or hidden.mean() > 1 - least_seen or not _arms_are_clear(balls, first.balls, hand, first.vertices):
            return None
        return hidden, balls

    def _hidden(self, first: FirstHand, hand: np.ndarray, balls: ArmBalls | None) -> np.ndarray | None:
        """(P,) bool, which of the first hand's points are hidden; None where the second is too near or not in sight."""
        T, K, size = first.T_cam_world, first.K, first.image_size
        points, few = first.seen, hand[self._hull] @ T[:3, :3].T + T[:3, 3]
        if few[:, 2].min() < NEAREST_FOREARM_M:
            return None
        x, y = (K[k, k] * few[:, k] / few[:, 2] + K[k, 2] for k in (0, 1))
        inside = (x > 0) & (x < size) & (y > 0) & (y < size)
        if inside.mean() < IN_IMAGE or (inside & ~hidden_behind(few, points, POINTS_APART_M)).mean() < LEAST_SHOWN:
            return None
        hidden = first.hidden | hidden_behind(points, few, POINTS_APART_M)
        if balls is None:
            return hidden
        centres = balls.centres @ T[:3, :3].T + T[:3, 3]
        if (centres[:, 2] - balls.radii).min() < NEAREST_FOREARM_M:
            return None
        return hidden | hidden_by_balls(points, centres, balls.radii)


def _advance(field: _Field, surface: np.ndarray, towards: np.ndarray, ways: np.ndarray) -> float:
    """How far (N, 3) points of a surface are moved along `towards` [m] so that coming from there they press by PRESSED_M; `ways` of
    `_Field.ways`.
    """
    way = -float(ways.min())  # none of them touches before
    for _ in range(STEPS):
        # Only points that would arrive within REACH_M can touch on that stretch; no nearer than `bound` are they to touching.
        near, rest = np.flatnonzero(ways + way < REACH_M), REACH_M
        bound = field.clearance(surface[near] + way * towards)
        while rest > 0:
            step = float(bound.min()) + PRESSED_M
            if step < SAME_M:
                return way
            way -= step
            rest -= step
            bound -= step
            nearest = np.argpartition(bound, QUERIES)[:QUERIES] if len(bound) > QUERIES else slice(None)
            bound[nearest] = field.clearance(surface[near[nearest]] + way * towards)
    return way


def _direction(rng: np.random.Generator) -> np.ndarray:
    """From where a hand comes, camera frame: from all sides, from before and behind less than from beside."""
    z, around = rng.triangular(-1, 0, 1), rng.uniform(0, 2 * math.pi)
    level = math.sqrt(1 - z * z)
    return np.array([level * math.cos(around), level * math.sin(around), z])


def _posture(first: FirstHand, posture: np.ndarray) -> ArmChoice:
    """The first hand's arm in another posture."""
    assert first.arm is not None  # or there was none to choose
    flexion, deviation, twist, elbow = posture.tolist()
    return replace(first.arm, flexion_deg=flexion, deviation_deg=deviation, twist_deg=twist, elbow_deg=elbow)


def _plausible(
    arms: np.ndarray | None, radii: np.ndarray | None, postures: np.ndarray | None, other: ArmBalls | None, opposite: bool
) -> int | None:
    """The first of (N, M, 3) arms in (N, 4) postures [deg] that a wrist reaches, that does not run through the other one and whose
    shoulders may be one person's; or None.
    """
    if arms is None or radii is None or postures is None or other is None:
        return 0
    apart = np.sqrt(squared_lengths(arms[:, -1] - other.centres[-1]))
    good = (apart > SHOULDERS_M[0]) & ((apart < SHOULDERS_M[1]) | (not opposite))
    for number in np.flatnonzero(good).tolist():
        flexion, deviation = postures[number, :2].tolist()
        if wrist_reach(flexion, deviation) <= 1 and _apart(arms[number], radii, other) > 0:
            return number
    return None


def _arms_are_clear(balls: ArmBalls | None, other: ArmBalls | None, own: np.ndarray, vertices: np.ndarray) -> bool:
    """Whether no arm runs into the other hand or its arm."""
    pairs = [(balls, vertices), (other, own)]
    for arm, hand in pairs:
        if arm is not None:
            squared = squared_lengths(hand)[:, None] + squared_lengths(arm.centres) - 2 * hand @ arm.centres.T
            away = np.sqrt(np.maximum(squared, 0)) - arm.radii
            if away.min() < ARM_GAP_M:
                return False
    if balls is None or other is None:
        return True
    return _apart(balls.centres, balls.radii, other) > ARM_GAP_M


def _apart(centres: np.ndarray, radii: np.ndarray, other: ArmBalls) -> float:
    """Least distance between (M, 3) balls and those of another arm [m]; negative where they run into each other."""
    return float((distances(centres, other.centres) - radii[:, None] - other.radii).min())
