"""Samples crowds: how many hands an image shows, how large each is, where it is, where its arm goes and what hides it."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from handsynth.assets.library import Library
from handsynth.assets.objects.holding import Placement
from handsynth.assets.objects.shapes import SHAPES
from handsynth.core.camera import orbit_T_cam_world
from handsynth.core.rng import stream
from handsynth.recipe.crowd import CrowdRecipe, Thing, nobody, scene_camera
from handsynth.recipe.draws import DECIMALS, rounded, rounded_few, uniform
from handsynth.recipe.held import ObjectChoice
from handsynth.recipe.holder import choose_look
from handsynth.recipe.proxy import NEAREST_FOREARM_M, hidden_by_balls
from handsynth.recipe.recipe import BATCH, ArmChoice, CameraChoice, MotionChoice, Recipe, SensorChoice
from handsynth.recipe.samplers import (
    ELBOW_LIMITS_DEG,
    FRAME_MARGIN_M,
    LEAST_SEEN,
    Hand,
    RecipeSampler,
    arms_person,
    sample_background,
    sample_environment,
    sample_lights,
    sample_motion,
    sample_sensor,
    wrist_reach,
)
from handsynth.recipe.spec import MAX_CROWDS, CrowdSpec, DatasetSpec

SLOTS, ARM_SLOT = 16, 8
"""Random streams of an image's hands: sample 5's third hand has number 5 * SLOTS + 2, its first arm 5 * SLOTS + ARM_SLOT."""

TRIES, TRIES_AT_ONCE = 48, 8
"""Places, turns and postures that are tried for each hand. From half of them on it may be smaller than drawn."""

NEAREST_M, FARTHEST_M = 0.22, 6.0
"""Depths of hands [m]; a hand that would be nearer is smaller than drawn instead."""

CUT = 0.12, 0.6
"""Share of a hand's box, along one side, that lies beyond a border that cuts it."""

OUTSIDE_PX = 8.0
"""Hands that are outside are so far away from the image at most [px]."""

ARM_SHOWN, UPPER_BALLS = 3, 4
"""So many balls of an arm whose hand is outside are in the image; and so many are those of the upper arm."""

MOST_OF_HEIGHT = 0.22
"""No arm's radius is larger on the image, over its height."""

ARMS_ONLY_SIZE, THING_SIZE = (0.2, 0.8), (0.1, 0.6)
"""Sizes over the image's height: of hands that are outside, and of things."""

NOBODYS_SHARE = 2.0
"""How much oftener images without hands have arms and things."""

POINTS, POINT_M, CLOTH_M = 40, 0.015, 0.015
"""Points of a hand that stand for it, with the radius of each; and what clothing adds to an arm's radius at most [m]."""

LEAST_HAND_SEEN = 0.4
"""Share of these points, of those inside the image, that other people may leave to the camera."""

MAX_DEFOCUS_PX, MAX_DEFOCUS, HAND_M = 4.0, 0.06, 0.18
"""Hands are blurred by so much at most, and by such a share of a hand's length [m]: what is beyond has no label that anyone could
see.
"""

THING_TRIES = 6
"""Places that are tried for each thing."""


@dataclass(frozen=True, eq=False)
class _Placed:
    """A hand, or an arm, that has its place: balls on the image. D balls, those of the hand first."""

    depth: float  # of the hand's middle [m]: layers are painted in this order
    xy: np.ndarray  # (D, 2) [px]
    radius: np.ndarray  # (D,) [px]
    near: np.ndarray  # (D,) [m]
    far: np.ndarray  # (D,) [m]
    counted: np.ndarray  # (D,) bool, the hand's that the image shows
    hidden: np.ndarray  # (D,) bool, by those placed later too


@dataclass(frozen=True, eq=False)
class _Layers:
    """T tries of a hand's place, as _Placed has one: a row each."""

    depth: np.ndarray
    xy: np.ndarray
    radius: np.ndarray
    near: np.ndarray
    far: np.ndarray
    counted: np.ndarray

    @property
    def shows(self) -> np.ndarray:
        """(T,) whether the image shows any of the hand."""
        return np.asarray(self.counted.any(1))

    def beside(self, other: _Placed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(T,) whether any of it that lies before or behind another's is not so, or not wholly; (T, P) which balls of the other it
        hides; and (T, D) which of its own the other hides.
        """
        x, y = (self.xy[:, :, None, k] - other.xy[:, k] for k in range(2))
        apart = x * x + y * y  # (T, D, P), squared
        nearer = (self.depth < other.depth)[:, None]
        touching = apart < (self.radius[:, :, None] + other.radius) ** 2
        wrong = np.where(nearer[..., None], self.far[:, :, None] > other.near, self.near[:, :, None] < other.far)
        covers = (apart < (self.radius**2)[:, :, None]).any(1) & nearer
        return np.asarray((touching & wrong).any((1, 2))), covers, (apart < other.radius**2).any(2) & ~nearer

    def at(self, t: int, hidden: np.ndarray) -> _Placed:
        """One of them, of whose balls (D,) are hidden."""
        own = self.xy[t], self.radius[t], self.near[t], self.far[t], self.counted[t]
        return _Placed(float(self.depth[t]), *own, hidden)


def _join(layers: _Layers, good: np.ndarray, placed: list[_Placed], may_overlap: bool) -> int | None:
    """The first of T tries that are `good` (T,) and agree with what is placed, which it then joins; None where there is none.

    None meets another, and none hides, or is hidden by, more of a hand than may be.
    """
    limit = 1 - LEAST_HAND_SEEN if may_overlap else 0.0
    covered, hidden = [], np.zeros_like(layers.counted)
    for other in placed:
        meets, covers, hides = layers.beside(other)
        hidden |= hides
        covered.append(other.hidden | covers)
        share = (covered[-1] & other.counted).sum(1) / max(int(other.counted.sum()), 1)
        good = good & ~meets & (~(covers & other.counted & ~other.hidden).any(1) | (share <= limit))
    good = good & ((hidden & layers.counted).sum(1) <= limit * layers.counted.sum(1))
    if not good.any():
        return None
    t = int(good.argmax())
    placed[:] = [replace(other, hidden=over[t]) for other, over in zip(placed, covered, strict=True)]
    placed.append(layers.at(t, hidden[t]))
    return t


@dataclass(frozen=True, eq=False)
class _Draws:
    """What is drawn for a hand's place: a row for each of T tries."""

    may_overlap: bool
    is_cut: bool
    chosen: float  # among those that are placed, where it may overlap
    person: ArmChoice | None  # an arm that is not bent yet
    size: np.ndarray  # (T,) over the image's height
    elevation: np.ndarray  # (T,) [deg]
    azimuth: np.ndarray
    roll: np.ndarray
    across: np.ndarray  # (T, 2) place in the room that is left
    beyond: np.ndarray  # (T,) share of a box that a border cuts
    side: np.ndarray  # (T,) the border: left, top, right, bottom
    wrist: np.ndarray  # (T, 2) flexion and deviation [deg]
    elbow: np.ndarray  # (T,) [deg]

    def part(self, rows: slice) -> "_Draws":
        """Some of the tries."""
        own: dict[str, Any] = {name: value[rows] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return replace(self, **own)


@dataclass(frozen=True, eq=False)
class _Aim:
    """The box of another hand, as this one's side sees it."""

    centre: np.ndarray  # (2,) from the image's centre [px]
    half: np.ndarray  # (2,) of its sides [px]


@dataclass(frozen=True, eq=False)
class _Request:
    """What is to be placed."""

    hand: Hand
    points: np.ndarray  # (N, 3) [m, world]
    is_left: bool
    is_arm: bool  # its hand is to be outside
    size: float
    rng: np.random.Generator


class CrowdSampler:
    """Holds what all images of a crowd share; `sample(index)` is a pure function of it, as RecipeSampler's is."""

    def __init__(self, spec: DatasetSpec, library: Library) -> None:
        """`spec` is a crowd's."""
        self.spec, self.library, self.crowd = spec, library, spec.crowd
        self.single = RecipeSampler(dataclasses.replace(spec, crowd=CrowdSpec(), samples=SLOTS * MAX_CROWDS), library)

    def sample(self, index: int) -> CrowdRecipe:
        """The recipe of sample `index`, 0 <= index < spec.samples."""
        return self.sample_many([index])[0]

    def sample_many(self, indices: Sequence[int]) -> list[CrowdRecipe]:
        """The recipes of some samples; no digit depends on their company."""
        return [recipe for k in range(0, len(indices), BATCH) for recipe in self._sample_batch(indices[k : k + BATCH])]

    def _stream(self, index: int, purpose: str) -> np.random.Generator:
        return stream(self.spec.seed, index, self.spec.name, f"crowd {purpose}")

    def _sample_batch(self, indices: Sequence[int]) -> list[CrowdRecipe]:
        slots: list[tuple[int, int]] = []  # number of the image in the batch, and of the hand
        for row, index in enumerate(indices):
            if not 0 <= index < self.spec.samples:
                raise IndexError(f"sample {index} of {self.spec.samples}")
            hands, arms, _ = self._counts(index)
            slots += [(row, index * SLOTS + slot) for slot in (*range(hands), *range(ARM_SLOT, ARM_SLOT + arms))]
        hands_drawn: list[Hand] = []
        points = np.empty((0, 0, 3))
        if slots:
            hands_drawn = self.single.draw_hands([number for _, number in slots])
            theta, beta = np.array([h.theta for h in hands_drawn]), np.array([h.beta for h in hands_drawn])
            points = self.single.proxy.points(theta, beta)
        own: list[list[int]] = [[] for _ in indices]
        for place, (row, _) in enumerate(slots):
            own[row].append(place)
        return [
            self._image(index, [hands_drawn[place] for place in places], [points[place] for place in places])
            for index, places in zip(indices, own, strict=True)
        ]

    def _counts(self, index: int) -> tuple[int, int, int]:
        """Of hands, of arms whose hand is outside, and of things."""
        crowd, rng = self.crowd, self._stream(index, "counts")
        empty, arm, things = (rng.random() for _ in range(3))
        hands = int(rng.integers(crowd.hands[0], crowd.hands[1] + 1))
        more, some = int(rng.integers(1, 3)), int(rng.integers(1, 4))
        oftener = NOBODYS_SHARE if empty < crowd.empty else 1.0
        hands = 0 if empty < crowd.empty else hands
        can_have = self.single.forearm is not None
        return hands, more * (can_have and arm < oftener * crowd.arms), some * (things < oftener * crowd.things)

    def _image(self, index: int, hands: list[Hand], points: list[np.ndarray]) -> CrowdRecipe:
        spec, rng = self.spec, self._stream(index, "camera")
        angle = math.radians(uniform(rng, self.crowd.view_deg))
        focal = round(spec.image_size / 2 / math.tan(angle / 2), DECIMALS)
        requests = [self._request(hand, own) for hand, own in zip(hands, points, strict=True)]
        placed: list[_Placed] = []
        found: list[tuple[_Request, CameraChoice, ArmChoice | None]] = []
        for request in sorted(requests, key=lambda r: -r.size):  # the largest first: small ones find room beside them
            if (place := self._place(request, focal, placed)) is not None:
                found.append((request, *place))
        found.sort(key=lambda one: one[0].hand.index)
        things = self._things(index, focal, placed)
        sensor, radii = self._focus(index, focal, [camera.distance_m for _, camera, _ in found] + [c.distance_m for _, c in things])
        scene = self._scene(index, focal, sensor)
        recipes = self._recipes(found, scene, radii[: len(found)])
        return CrowdRecipe(
            scene,
            tuple(recipe for recipe, (request, _, _) in zip(recipes, found, strict=True) if not request.is_arm),
            tuple(recipe for recipe, (request, _, _) in zip(recipes, found, strict=True) if request.is_arm),
            tuple(Thing(held, camera, radius) for (held, camera), radius in zip(things, radii[len(found) :], strict=True)),
        )

    def _request(self, hand: Hand, points: np.ndarray) -> _Request:
        rng = self._stream(hand.index, "place")
        is_arm = hand.index % SLOTS >= ARM_SLOT
        low, high = ARMS_ONLY_SIZE if is_arm else self.crowd.size
        size = low * (high / low) ** rng.random()
        return _Request(hand, points, self.single.is_left(hand.index), is_arm, size, rng)

    def _scene(self, index: int, focal: float, sensor: SensorChoice) -> Recipe:
        spec, library = self.spec, self.library
        lights, ambient = sample_lights(self._stream(index, "light"), spec.light)
        environment = None
        if library.environments is not None:
            environment, lights, ambient = sample_environment(
                self._stream(index, "environment"), library.environments, lights, ambient
            )
        background = sample_background(self._stream(index, "background"), spec.background, len(library.backgrounds))
        motion = self._motion(self._stream(index, "shake"))
        shake = motion if motion and any(motion.shake_deg) else None
        camera = scene_camera(focal, spec.image_size)
        return nobody(index, library.hand.num_shapes, camera, lights, ambient, background, sensor, environment, shake)

    def _motion(self, rng: np.random.Generator) -> MotionChoice | None:
        return sample_motion(rng, self.spec.motion) if self.spec.motion.probability > 0 else None

    def _recipes(
        self, found: Sequence[tuple[_Request, CameraChoice, ArmChoice | None]], scene: Recipe, radii: Sequence[float]
    ) -> list[Recipe]:
        """Recipes of what was placed in one image."""
        if not found:
            return []
        hands, points = [request.hand for request, _, _ in found], np.array([request.points for request, _, _ in found])
        cameras, arms = [camera for _, camera, _ in found], [arm for _, _, arm in found]
        worn, held = self.single.carried(hands, points, cameras, arms)
        recipes = []
        for hand, radius, *own in zip(hands, radii, cameras, arms, worn, held, strict=True):
            motion = scene.motion or self._motion(self._stream(hand.index, "motion"))
            if motion is not scene.motion and motion is not None and any(motion.shake_deg):
                motion = None  # a shaking camera shakes everything
            recipe = self.single.recipe(hand, *own)
            recipes.append(
                replace(
                    recipe,
                    index=scene.index,
                    lights=scene.lights,
                    ambient=scene.ambient,
                    background=scene.background,
                    environment=scene.environment,
                    sensor=replace(scene.sensor, hand_defocus_px=radius),
                    motion=motion,
                )
            )
        return recipes

    def _focus(self, index: int, focal: float, depths: Sequence[float]) -> tuple[SensorChoice, list[float]]:
        """The sensor, and the radius of the disc that a point of each layer becomes: that of a thin lens.

        Where the background is out of focus the lens is set to one of the layers, mostly to a near one, else to infinity.
        """
        rng = self._stream(index, "sensor")
        sensor = sample_sensor(rng, self.spec.sensor)
        chosen = rng.random()
        if not depths:
            return replace(sensor, hand_defocus_px=0.0), []
        order, radii = sorted(depths), [0.0] * len(depths)
        if sensor.background_defocus_px > 0:
            focus = order[int(len(order) * chosen * chosen)]
            radii = [sensor.background_defocus_px * abs(focus / depth - 1) for depth in depths]
        elif sensor.hand_defocus_px > 0:
            radii = [sensor.hand_defocus_px * order[0] / depth for depth in depths]
        most = [min(MAX_DEFOCUS_PX, MAX_DEFOCUS * HAND_M * focal / depth) for depth in depths]
        radii = [round(min(pair), DECIMALS) for pair in zip(radii, most, strict=True)]
        return replace(sensor, hand_defocus_px=0.0), radii

    def _things(self, index: int, focal: float, placed: list[_Placed]) -> list[tuple[ObjectChoice, CameraChoice]]:
        """Things that nobody holds, each with its camera; `placed`: hands and arms, which they join."""
        rng, found, size = self._stream(index, "things"), [], (self.spec.image_size, self.crowd.height)
        for _ in range(self._counts(index)[2]):
            shape, may_overlap = SHAPES[rng.integers(len(SHAPES))], bool(rng.random() < self.crowd.overlap)
            turn = rng.normal(size=4)
            turn *= math.copysign(1 / np.linalg.norm(turn), turn[0])  # a quaternion, uniform
            half = math.acos(min(float(turn[0]), 1.0))
            rotvec = turn[1:] * (2 * half / max(math.sin(half), 1e-9))
            held = choose_look(rng, shape, Placement(rotvec, np.zeros(3), uniform(rng, shape.scale), 0.0))
            radius = held.scale * float(np.linalg.norm(shape.solid.vertices, axis=1).max())
            low, high = THING_SIZE
            depth = 2 * radius * focal / (size[1] * low * (high / low) ** rng.random(THING_TRIES))
            depth = np.clip(depth, NEAREST_M + radius, FARTHEST_M)
            xy = (rng.random((THING_TRIES, 2)) - 0.5) * size
            ball, none = np.full((THING_TRIES, 1), radius), np.zeros((THING_TRIES, 1), bool)
            near, far = depth[:, None] - ball, depth[:, None] + ball
            layers = _Layers(depth, (xy + np.array(size) / 2)[:, None], ball * focal / depth[:, None], near, far, none)
            if (t := _join(layers, np.ones(THING_TRIES, bool), placed, may_overlap)) is not None:
                place = np.array([*(xy[t] * depth[t] / focal), depth[t]])
                found.append((held, _camera(np.zeros(3), 0.0, 0.0, 0.0, place, focal, size[0])))
        return found

    def _place(self, request: _Request, focal: float, placed: list[_Placed]) -> tuple[CameraChoice, ArmChoice | None] | None:
        """A camera and an arm for one hand that agree with what is placed, which it then joins; None where there is no room."""
        draws = self._draws(request)
        if request.is_arm and draws.person is None:
            return None
        middle = np.round((request.points.min(0) + request.points.max(0)) / 2, DECIMALS)
        for start in range(0, TRIES, TRIES_AT_ONCE):
            tries = draws.part(slice(start, start + TRIES_AT_ONCE))
            aim = self._aim(request, draws, placed) if start < TRIES / 2 else None
            place, balls, radius, good = self._tried(request, tries, middle, focal, aim)
            layer = self._before_camera(request, place[:, 2], balls, radius, focal)
            good &= layer.shows | request.is_arm
            if (t := _join(layer, good, placed, draws.may_overlap)) is None:
                continue
            turn = float(tries.elevation[t]), float(tries.azimuth[t]), float(tries.roll[t])
            camera = _camera(middle, *turn, place[t], focal, self.spec.image_size)
            if (person := draws.person) is not None:
                flexion, deviation = tries.wrist[t].tolist()
                person = replace(person, flexion_deg=flexion, deviation_deg=deviation, elbow_deg=float(tries.elbow[t]))
            return camera, person
        return None

    def _aim(self, request: _Request, draws: _Draws, placed: Sequence[_Placed]) -> _Aim | None:
        """Another hand that a hand is to be before or behind; None where it may be anywhere."""
        hands = [other for other in placed if other.counted.any()]
        if request.is_arm or draws.is_cut or not draws.may_overlap or not hands:
            return None
        own = hands[int(len(hands) * draws.chosen)].xy[:POINTS]
        centre = (own.min(0) + own.max(0)) / 2 - (self.spec.image_size / 2, self.crowd.height / 2)
        return _Aim(centre * (-1, 1) if request.is_left else centre, np.ptp(own, axis=0) / 2)

    def _draws(self, request: _Request) -> _Draws:
        """Every random number of one hand's place."""
        rng, arm_rng, crowd, spec = request.rng, self._stream(request.hand.index, "arm"), self.crowd, self.spec
        low, high = (math.sin(math.radians(limit)) for limit in spec.camera.elevation_deg)
        shrunk = np.where(np.arange(TRIES) < TRIES / 2, 1.0, rng.uniform(0.4, 1, TRIES))
        has_arm = self.single.forearm is not None and arm_rng.random() < spec.arm.probability
        arm = spec.arm
        return _Draws(
            may_overlap=bool(rng.random() < crowd.overlap),
            is_cut=bool(rng.random() < crowd.cut),
            chosen=rng.random(),
            person=arms_person(arm_rng, arm) if has_arm else None,
            size=np.maximum(request.size * shrunk, crowd.size[0]),
            elevation=np.round(np.degrees(np.arcsin(rng.uniform(low, high, TRIES))), DECIMALS) + 0.0,
            azimuth=np.round(rng.uniform(*spec.camera.azimuth_deg, TRIES), DECIMALS) + 0.0,
            roll=np.round(rng.normal(0, spec.camera.roll_std_deg, TRIES), DECIMALS) + 0.0,
            across=rng.random((TRIES, 2)),
            beyond=rng.uniform(*CUT, TRIES),
            side=rng.integers(4, size=TRIES),
            wrist=np.round(
                arm_rng.normal(
                    (arm.flexion_mean_deg, arm.deviation_mean_deg), (arm.flexion_std_deg, arm.deviation_std_deg), (TRIES, 2)
                ),
                DECIMALS,
            )
            + 0.0,
            elbow=np.round(np.clip(arm_rng.normal(arm.elbow_mean_deg, arm.elbow_std_deg, TRIES), *ELBOW_LIMITS_DEG), DECIMALS),
        )

    def _tried(
        self, request: _Request, tries: _Draws, middle: np.ndarray, focal: float, aim: _Aim | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Places, postures and what stands for hand and arm.

        Returns:
            (T, 3) places of the hand's `middle` before the camera [m]; (T, D, 3) balls of hand and arm there, and (D,) their radii
            [m]; and (T,) whether the hand is where it may be and its arm leaves the image without hiding it.
        """
        size = self.spec.image_size, self.crowd.height
        angles = zip(tries.elevation.tolist(), tries.azimuth.tolist(), tries.roll.tolist(), strict=True)
        rotation = np.array([_rotation(*turn) for turn in angles])
        seen = (request.points - middle) @ rotation.swapaxes(1, 2)  # (T, N, 3)
        place = _framed(seen, focal, tries, size, request.is_arm, aim)
        seen += place[:, None]
        good = (place[:, 2] <= FARTHEST_M) & (seen[..., 2].min(1) > NEAREST_FOREARM_M)
        balls, radii = seen[:, :POINTS], np.full(POINTS, POINT_M)
        forearm = self.single.forearm
        if tries.person is None or forearm is None:
            return place, balls, radii, good
        T_cam_world = np.tile(np.eye(4), (len(place), 1, 1))
        T_cam_world[:, :3, :3], T_cam_world[:, :3, 3] = rotation, place - rotation @ middle
        (flexion, deviation), twist = np.radians(tries.wrist).T, np.full(len(place), math.radians(tries.person.twist_deg))
        arms, radius = forearm.balls(flexion, deviation, twist, np.radians(tries.elbow), cloth_m=CLOTH_M)
        arms = arms @ rotation.swapaxes(1, 2) + T_cam_world[:, None, :3, 3]
        good &= np.array([wrist_reach(*wrist) <= 1 for wrist in tries.wrist.tolist()])
        good &= (arms[..., 2] - radius).min(1) > NEAREST_FOREARM_M
        # No one stands in the image: arms leave it. Close by, they would fill it.
        where, size_px = _project(arms, focal, size), radius * focal / np.maximum(arms[..., 2], NEAREST_FOREARM_M)
        good &= _outside(where, size_px, size)[:, -1]
        good &= (_outside(where, size_px, size) | (size_px < MOST_OF_HEIGHT * size[1])).all(1)
        if request.is_arm:
            good &= (~_outside(where, -size_px / 2, size)).sum(1) >= ARM_SHOWN
        else:
            points = np.broadcast_to(request.points, (len(place), *request.points.shape))
            good &= forearm.seen_share(points, T_cam_world, flexion, deviation) >= LEAST_SEEN
            upper = slice(len(radius) - UPPER_BALLS, None)
            good &= hidden_by_balls(balls, arms[:, upper], radius[upper]).mean(-1) <= 1 - LEAST_SEEN
        return place, np.concatenate([balls, arms], 1), np.concatenate([radii, radius]), good

    def _before_camera(
        self, request: _Request, distance: np.ndarray, balls: np.ndarray, radius: np.ndarray, focal: float
    ) -> _Layers:
        """What was tried as it is seen: a left hand is mirrored."""
        size = self.spec.image_size, self.crowd.height
        xy, depth = _project(balls, focal, size), balls[..., 2]
        if request.is_left:
            xy = xy * (-1, 1) + (size[0], 0)
        counted = ~_outside(xy, np.zeros(()), size)
        counted[:, 0 if request.is_arm else POINTS :] = False
        return _Layers(distance, xy, radius * focal / np.maximum(depth, NEAREST_FOREARM_M), depth - radius, depth + radius, counted)


def _rotation(elevation: float, azimuth: float, roll: float) -> np.ndarray:
    """(3, 3) from the world to a camera of these angles [deg]."""
    angles = math.radians(elevation), math.radians(azimuth), math.radians(roll)
    return orbit_T_cam_world(*angles, 1.0, np.zeros(3))[:3, :3]


def _camera(
    middle: np.ndarray, elevation: float, azimuth: float, roll: float, place: np.ndarray, focal: float, side: int
) -> CameraChoice:
    """The camera that has the point `middle` (3,) of the world at `place` (3,) of its frame [m]."""
    rotation = _rotation(elevation, azimuth, roll)
    x, y, z = place.tolist()
    target = rounded(middle - rotation.T @ np.array([x, y, 0.0]))
    return CameraChoice(elevation, azimuth, roll, round(z, DECIMALS), target, focal, rounded_few(side / 2, side / 2))


def _project(points: np.ndarray, focal: float, size: tuple[int, int]) -> np.ndarray:
    """(..., 3) [m, camera frame] -> (..., 2) on the image [px]."""
    return focal * points[..., :2] / np.maximum(points[..., 2:], NEAREST_FOREARM_M) + np.array(size) / 2


def _outside(xy: np.ndarray, radius: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(...) whether balls of (...) radii about (..., 2) places [px] lie outside the image."""
    beyond = np.maximum(-xy, xy - size)
    return np.asarray((beyond > radius[..., None]).any(-1))


def _framed(seen: np.ndarray, focal: float, tries: _Draws, size: tuple[int, int], is_outside: bool, aim: _Aim | None) -> np.ndarray:
    """(T, 3) places of hands before the camera [m], so that each one's box has its size and place on the image; nearly.

    `seen` (T, N, 3) are their points about their middle, turned as the camera sees them [m].
    """
    length = tries.size * size[1]
    z = np.maximum(focal * (np.ptp(seen[..., :2], axis=1).max(1) + 2 * FRAME_MARGIN_M) / length, NEAREST_M)
    place = np.stack([0 * z, 0 * z, z], 1)
    for _ in range(3):
        at = seen + place[:, None]
        xy = focal * at[..., :2] / np.maximum(at[..., 2:], NEAREST_FOREARM_M)
        margin = (focal * FRAME_MARGIN_M / z)[:, None]
        low, high = xy.min(1) - margin, xy.max(1) + margin
        half = (high - low) / 2
        z = np.maximum(z * 2 * half.max(1) / length, NEAREST_M)
        shift = _centres(half, tries, size, is_outside, aim) - (low + high) / 2
        place = np.column_stack([(place[:, :2] / place[:, 2:] + shift / focal) * z[:, None], z])
    return place


def _centres(half: np.ndarray, tries: _Draws, size: tuple[int, int], is_outside: bool, aim: _Aim | None) -> np.ndarray:
    """(T, 2) centres of boxes from the image's centre [px], half of whose sides are (T, 2): inside, cut, or just outside;
    those inside at `aim`, where there is any.
    """
    frame = np.array(size) / 2
    room = np.maximum(frame - half, 0)
    centre = (2 * tries.across - 1) * room
    if aim is not None:
        return np.clip(aim.centre + (2 * tries.across - 1) * aim.half, -room, room)
    if not (tries.is_cut or is_outside):
        return centre
    rows, axis, sign = np.arange(len(half)), tries.side % 2, np.where(tries.side < 2, -1, 1)
    own = half[rows, axis]
    inside = -OUTSIDE_PX * tries.across[rows, axis] - 2 if is_outside else 2 * own * (1 - tries.beyond)
    centre[rows, axis] = sign * (frame[axis] + own - inside)
    return centre
