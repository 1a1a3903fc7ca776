"""Samplers: from (spec, library, index) to every decision of one sample, and the distribution of each. Pure: no order, no clock."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from handsynth.assets.environments.folder import Environments
from handsynth.assets.environments.light_map import LUMINANCE, map_rotation
from handsynth.assets.library import Library
from handsynth.assets.objects.holding import SAMPLE_M
from handsynth.core.camera import intrinsics, orbit_T_cam_world
from handsynth.core.colour import srgb_value_to_linear
from handsynth.core.conventions import FINGER_JOINTS, FINGERS
from handsynth.core.hand import BankHands
from handsynth.core.rng import stream
from handsynth.core.rotation import rotmat_to_rotvec
from handsynth.recipe.draws import DECIMALS, rounded, rounded_few, uniform
from handsynth.recipe.held import ObjectChoice
from handsynth.recipe.holder import Holder
from handsynth.recipe.interpolation import FingerBlender
from handsynth.recipe.occluder import Seen, sample_occluder
from handsynth.recipe.proxy import (
    NEAREST_FOREARM_M,
    UPRIGHT,
    ForearmProxy,
    HandProxy,
    hidden_behind,
    hidden_by_balls,
    perhaps_behind,
)
from handsynth.recipe.recipe import (
    ARM_VARIANTS,
    BATCH,
    SHIRTS,
    Ambient,
    ArmChoice,
    BackgroundChoice,
    CameraChoice,
    EnvironmentChoice,
    Light,
    MotionChoice,
    PoseChoice,
    Recipe,
    SensorChoice,
)
from handsynth.recipe.second import FirstHand, SecondHands
from handsynth.recipe.spec import (
    ELBOW_LIMITS_DEG,
    SENSOR_EFFECTS,
    TWIST_LIMIT_DEG,
    ArmSpec,
    BackgroundSpec,
    CameraSpec,
    DatasetSpec,
    LightSpec,
    MotionSpec,
    PoseSpec,
    SensorSpec,
    grid_axes,
    wrist_reach,
)
from handsynth.recipe.wardrobe import sample_worn, worn_together
from handsynth.recipe.wear import Worn

_JOINTS = np.array([FINGER_JOINTS[finger] for finger in FINGERS])  # (5, 3)

SWAP_TRIES = 32
"""Draws of swapped fingers before the unswapped pose is kept; about one draw in five collides."""

ARM_TRIES = 32
"""Draws of an arm's posture before the hand is left without."""

EXPOSED = 1.4, (1.2, 0.3)
"""A camera exposes for what falls on the hand: so many times an environment's sky, and so many times its lamp, more before the hand
and less behind it (depth of its direction). Lamps of our own stand here and there and count once; with these figures as few pixels
of skin are clipped, 2 to 3 %."""

LEAST_SEEN = 0.35
"""Share of the hand's points that no forearm, and no sleeve on it, may take from the camera."""

WORN_M = 0.01
"""What a watch or a bracelet adds to the radius of a wrist, about [m]."""

CLOTH_GAP_M = 0.003
"""How much further than by its own measures a sleeve is away from the arm, about [m]."""

FRAME_MARGIN_M = 0.008
"""Surface between the proxy's points that framing must not cut off [m]; a test holds every vertex inside the image."""


class RecipeSampler:
    """Holds what all samples of a dataset share; `sample(index)` is a pure function of it."""

    def __init__(self, spec: DatasetSpec, library: Library) -> None:
        """Precomputes the proxy hand from the library's hand and pose bank."""
        self.spec, self.library = spec, library
        self.proxy = HandProxy(library.hand, library.bank.theta)
        self.upright = rotmat_to_rotvec(UPRIGHT)
        self.blender = FingerBlender(library, self.proxy, spec.pose) if spec.pose.interpolation_probability else None
        hands = BankHands(library.hand, library.bank.theta)
        self.holder = None
        if library.holdings is not None and spec.held.probability > 0:
            self.holder = Holder(hands, library.holdings, library.objects)
        self.forearm = ForearmProxy(library.hand, UPRIGHT) if library.hand.rim_turns and spec.arm.probability > 0 else None
        self.seconds = None
        if spec.second.probability > 0:
            self.seconds = SecondHands(hands, self.proxy.hull, self.forearm)
        self._clips = None
        if spec.sequence.frames:
            from handsynth.recipe.clips import ClipSampler  # which is built of this module's parts

            self._clips = ClipSampler(self)

    def sample(self, index: int) -> Recipe:
        """The recipe of sample `index`, 0 <= index < spec.samples."""
        return self.sample_many([index])[0]

    def sample_many(self, indices: Sequence[int]) -> list[Recipe]:
        """The recipes of some samples; hands are posed BATCH at a time, and no digit depends on their company.

        One named random stream per spec and purpose: a new draw for lights leaves every camera where it was.
        """
        if self._clips is not None:
            return [self._clips.sample(index) for index in indices]
        recipes: list[Recipe] = []
        for start in range(0, len(indices), BATCH):
            hands = self.draw_hands(indices[start : start + BATCH])
            points = self.proxy.points(np.array([h.theta for h in hands]), np.array([h.beta for h in hands]))
            recipes += self._finish(hands, points)
        return recipes

    def stream(self, index: int, purpose: str) -> np.random.Generator:
        """Specs of other names draw other numbers: datasets that are mixed show other people, lights and backgrounds."""
        return stream(self.spec.seed, index, self.spec.name, purpose)

    def draw_hands(self, indices: Sequence[int]) -> "list[Hand]":
        """Poses and shapes of some samples."""
        spec, library = self.spec, self.library
        for index in indices:
            if not 0 <= index < spec.samples:
                raise IndexError(f"sample {index} of {spec.samples}")
        draws = [index % (spec.camera.draws if spec.camera.order == "grid" else spec.pose.draws) for index in indices]
        streams = [self.stream(index, "pose") for index in indices]
        poses = sample_poses(streams, spec.pose, self.proxy, len(library.bank.theta), indices, draws)
        rows = np.array([[pose.fingers.get(name, pose.bank_index) for name in FINGERS] for pose in poses])
        theta = np.empty((len(indices), library.hand.num_joints, 3))
        theta[:, 0], theta[:, _JOINTS] = self.upright, library.bank.theta[rows[..., None], _JOINTS - 1]
        if self.blender:
            some = [k for k, draw in enumerate(draws) if not (spec.pose.order == "bank" and draw == 0)]
            blends, theta[some, 1:] = self.blender.draw([self.stream(indices[k], "interpolation") for k in some], rows[some])
            for k, blend in zip(some, blends, strict=True):
                poses[k] = replace(poses[k], blends=blend)
        betas = [self.stream(index, "shape").normal(0, spec.beta_std, library.hand.num_shapes) for index in indices]
        things: list[ObjectChoice | None] = [None] * len(indices)
        for k, index in enumerate(indices):
            if (held := self._draw_held(index, poses[k], rounded(betas[k]))) is not None:
                poses[k], things[k] = held
                theta[k, 1:] = library.bank.theta[poses[k].bank_index]
        return [Hand(*values) for values in zip(indices, poses, theta, betas, things, strict=True)]

    def _draw_held(self, index: int, pose: PoseChoice, beta: tuple[float, ...]) -> tuple[PoseChoice, ObjectChoice] | None:
        """What a hand of that shape holds, and the pose in which it does: the drawn one where the index says which, else any."""
        if self.holder is None:
            return None
        rng = self.stream(index, "held")
        if rng.random() >= self.spec.held.probability:
            return None
        size = len(self.library.bank.theta)
        row = (
            pose.bank_index
            if self.spec.pose.order == "bank"
            else self.holder.draw_pose(rng, min(self.spec.pose.bank_poses, size), size)
        )
        choice = None if row is None else self.holder.sample(rng, row, np.array(beta))
        return None if choice is None or row is None else (PoseChoice(row, pose.draw, {}), choice)

    def _finish(self, hands: "Sequence[Hand]", points: np.ndarray) -> list[Recipe]:
        """Everything else of B hands; each camera frames the hand's `points` (B, N, 3) [m, world]."""
        spec, indices = self.spec, [hand.index for hand in hands]
        cameras = [
            sample_camera(self.stream(index, "camera"), spec.camera, seen, spec.image_size, index, FRAME_MARGIN_M)
            for index, seen in zip(indices, points, strict=True)
        ]
        arms: list[ArmChoice | None] = [None] * len(hands)
        if self.forearm is not None:
            T_cam_world = np.array([camera_matrices(camera)[1] for camera in cameras])
            arms = self._draw_arms(self.forearm, indices, points, T_cam_world)
        worn, held = self.carried(hands, points, cameras, arms)
        values = zip(hands, cameras, arms, worn, held, points, strict=True)
        return [self._in_company(self.recipe(*decided), seen) for *decided, seen in values]

    def carried(
        self, hands: "Sequence[Hand]", points: np.ndarray, cameras: Sequence[CameraChoice], arms: Sequence[ArmChoice | None]
    ) -> tuple[list[Worn | None], list[ObjectChoice | None]]:
        """What B hands wear, and what they hold, that are at `points` (B, N, 3) [m, world] before cameras."""
        spec, indices = self.spec, [hand.index for hand in hands]
        worn: list[Worn | None] = [None] * len(hands)
        if any(vars(spec.wear).values()):
            things = [self._draw_worn(index, arm) for index, arm in zip(indices, arms, strict=True)]
            if self.forearm is not None:
                T_cam_world = np.array([camera_matrices(camera)[1] for camera in cameras])
                things = self._without_hiding_sleeves(self.forearm, points, T_cam_world, arms, things)
            worn = [worn_together(every) for every in things]
        held = [
            None if hand.held is None or self.hidden_by_held(hand.held, hand.beta, seen, camera_matrices(camera)[1]) else hand.held
            for hand, seen, camera in zip(hands, points, cameras, strict=True)
        ]
        return worn, held

    def _in_company(self, recipe: Recipe, points: np.ndarray) -> Recipe:
        """A hand's recipe, with a second hand and an occluder where it has any; its `points` (P, 3) [m, world] stand for it."""
        spec, chances = self.spec, []
        for name, owner in (("second", spec.second), ("occluder", spec.occluder)):
            rng = self.stream(recipe.index, name) if owner.probability > 0 else None
            chances.append(rng if rng is not None and rng.random() < owner.probability else None)
        if chances == [None, None]:
            return recipe
        first, second, model = self._first_hand(recipe, points), None, self.library.hand
        if self.seconds is not None and chances[0] is not None:
            taken = min(spec.pose.bank_poses, len(self.library.bank.theta))
            second = self.seconds.sample(chances[0], spec.second, spec.arm, taken, LEAST_SEEN, first)
            if second is not None:
                recipe = replace(recipe, others=(second.choice(recipe.side, recipe.worn),))
        if chances[1] is not None:
            solid = [] if first.held is None else [first.held]
            arms = [] if first.balls is None else [first.balls]
            if second is not None:
                solid.append(second.solid)
                arms += [] if second.balls is None else [second.balls]
            seen = Seen(
                points,
                first.hidden if second is None else second.hidden,
                first.T_cam_world,
                model.rest_joints[0] + model.joint_shapedirs[0] @ first.beta,
                np.concatenate(solid) if solid else np.empty((0, 3)),
                tuple(arms),
            )
            occluder = sample_occluder(chances[1], spec.occluder, self.library.objects.shapes, LEAST_SEEN, seen)
            recipe = replace(recipe, occluder=occluder)
        return recipe

    def _first_hand(self, recipe: Recipe, points: np.ndarray) -> FirstHand:
        """What others must know of a hand."""
        beta = np.array(recipe.beta)
        K, T = camera_matrices(recipe.camera)
        hidden, balls, held = np.zeros(len(points), bool), None, None
        if recipe.arm is not None and self.forearm is not None:
            arm, sleeve = recipe.arm, recipe.worn.sleeve if recipe.worn else None
            posture = [np.deg2rad([angle]) for angle in (arm.flexion_deg, arm.deviation_deg, arm.twist_deg, arm.elbow_deg)]
            cuff, cloth = (0.0, WORN_M) if recipe.worn and (recipe.worn.watch or recipe.worn.bracelet) else (0.0, 0.0)
            if sleeve is not None:
                cuff, cloth = sleeve.cuff_m, CLOTH_GAP_M + sleeve.ease_m + sleeve.thickness_m + sleeve.fold_m
            flexion, deviation, twist, elbow = posture
            every = self.forearm.balls(flexion, deviation, twist, elbow, cuff, cloth)
            balls = every._replace(centres=every.centres[0])
            hidden = hidden_by_balls(points @ T[:3, :3].T + T[:3, 3], balls.centres @ T[:3, :3].T + T[:3, 3], balls.radii)
        if recipe.held is not None and self.holder is not None:
            held = self._in_world(self.holder.surface(recipe.held), beta)
            spacing = recipe.held.scale * SAMPLE_M
            hidden = hidden | hidden_behind(points @ T[:3, :3].T + T[:3, 3], held @ T[:3, :3].T + T[:3, 3], spacing)
        theta = np.array(recipe.theta).reshape(-1, 3)
        return FirstHand(self.library.hand, theta, points, hidden, T, K, self.spec.image_size, beta, recipe.arm, balls, held)

    def _in_world(self, points: np.ndarray, beta: np.ndarray) -> np.ndarray:
        """(N, 3) points beside a hand that is neither turned nor shifted [m] -> beside the upright one."""
        root = self.library.hand.rest_joints[0] + self.library.hand.joint_shapedirs[0] @ beta
        return (points - root) @ UPRIGHT.T + root

    def is_left(self, index: int) -> bool:
        """Whether a hand is a left one."""
        return uniform(self.stream(index, "side"), (0, 1)) < self.spec.left_fraction

    def recipe(
        self, hand: "Hand", camera: CameraChoice, arm: ArmChoice | None, worn: Worn | None, held: ObjectChoice | None
    ) -> Recipe:
        """One sample's recipe, with what depends on nothing else."""
        spec, library, index = self.spec, self.library, hand.index
        alpha = self.stream(index, "skin").normal(0, spec.alpha_std, library.skin_source.num_components)
        lights, ambient = sample_lights(self.stream(index, "light"), spec.light)
        environment = None
        if library.environments is not None:
            rng = self.stream(index, "environment")
            environment, lights, ambient = sample_environment(rng, library.environments, lights, ambient)
        return Recipe(
            index=index,
            side="left" if self.is_left(index) else "right",
            theta=rounded(hand.theta),
            beta=rounded(hand.beta),
            trans=(0.0, 0.0, 0.0),
            alpha=rounded(alpha),
            pose=hand.pose,
            camera=camera,
            lights=lights,
            ambient=ambient,
            background=sample_background(self.stream(index, "background"), spec.background, len(library.backgrounds)),
            sensor=sample_sensor(self.stream(index, "sensor"), spec.sensor),
            arm=arm,
            worn=worn,
            environment=environment,
            motion=sample_motion(self.stream(index, "motion"), spec.motion) if spec.motion.probability > 0 else None,
            held=held,
        )

    def hidden_by_held(self, held: ObjectChoice, beta: np.ndarray, points: np.ndarray, T: np.ndarray) -> bool:
        """Whether a held thing leaves the camera, which T (4, 4) leads to, too little of the hand's `points` (N, 3) [m, world]."""
        assert self.holder is not None
        surface = self._in_world(self.holder.surface(held), beta)
        hand_cam, thing = (p @ T[:3, :3].T + T[:3, 3] for p in (points, surface))
        if thing[:, 2].min() < NEAREST_FOREARM_M:
            return True
        # The outline decides four times in five.
        return all(
            1 - float(hides(hand_cam, thing, held.scale * SAMPLE_M).mean()) < LEAST_SEEN
            for hides in (perhaps_behind, hidden_behind)
        )

    def _draw_arms(
        self, forearm: ForearmProxy, indices: Sequence[int], points: np.ndarray, T_cam_world: np.ndarray
    ) -> list[ArmChoice | None]:
        """The arms of B hands whose surfaces are at `points` (B, N, 3) [m, world]."""

        def is_seen(rows: list[int], *wrist: np.ndarray) -> np.ndarray:
            return forearm.seen_share(points[rows], T_cam_world[rows], *wrist) >= LEAST_SEEN

        def fits(rows: list[int], *posture: np.ndarray) -> np.ndarray:
            return forearm.upper_arm_fits(points[rows], T_cam_world[rows], *posture)

        return sample_arms([self.stream(index, "arm") for index in indices], self.spec.arm, is_seen, fits)

    def _draw_worn(self, index: int, arm: ArmChoice | None) -> Worn:
        """What one hand wears, each thing by itself."""
        length = self.library.hand.forearm_length_m if arm is not None else None
        return sample_worn(self.spec.wear, lambda name: self.stream(index, name), length)

    @staticmethod
    def _without_hiding_sleeves(
        forearm: ForearmProxy, points: np.ndarray, T_cam_world: np.ndarray, arms: Sequence[ArmChoice | None], worn: Sequence[Worn]
    ) -> list[Worn]:
        """What B hands wear that are at `points` (B, N, 3) [m, world], without the sleeves that hide them."""
        found = list(worn)
        pairs = zip(arms, worn, strict=True)
        sleeved = [(row, arm, things.sleeve) for row, (arm, things) in enumerate(pairs) if arm and things.sleeve]
        if sleeved:
            rows = [row for row, _, _ in sleeved]
            wrists = np.deg2rad([(arm.flexion_deg, arm.deviation_deg) for _, arm, _ in sleeved])
            cloth = np.array([CLOTH_GAP_M + sleeve.ease_m + sleeve.thickness_m + sleeve.fold_m for _, _, sleeve in sleeved])
            cuffs = np.array([sleeve.cuff_m for _, _, sleeve in sleeved])
            shares = forearm.seen_share(points[rows], T_cam_world[rows], wrists[:, 0], wrists[:, 1], cuffs, cloth)
            for row in np.array(rows)[shares < LEAST_SEEN].tolist():
                found[row] = replace(found[row], sleeve=None)
        return found


@dataclass(frozen=True, eq=False)
class Hand:
    """A hand that is not framed yet."""

    index: int
    pose: PoseChoice
    theta: np.ndarray  # (16, 3) [rad]
    beta: np.ndarray  # (S,)
    held: ObjectChoice | None


def sample_poses(
    streams: Sequence[np.random.Generator],
    spec: PoseSpec,
    proxy: HandProxy,
    bank_size: int,
    indices: Sequence[int],
    draws: Sequence[int],
) -> list[PoseChoice]:
    """Poses of the bank, some of whose fingers come from other poses, none running through each other; each from its own stream.

    All of them are among the `bank_poses` rows that the spec takes, evenly spread over the bank. With order "bank", sample `index`
    shows pose index // draws; its draw 0 is the pose itself and in every other draw at least one finger is swapped (section
    3.2.3, after Zhou et al. 2020).
    """
    taken = min(spec.bank_poses, bank_size)  # number k of them is row k * bank_size // taken
    in_order = spec.order == "bank"
    if in_order:
        bases = [(index // spec.draws) * bank_size // spec.bank_poses for index in indices]
    else:
        bases = [int(rng.integers(taken)) * bank_size // taken for rng in streams]
    found = [PoseChoice(base, draw, {}) for base, draw in zip(bases, draws, strict=True)]
    waiting = [k for k, draw in enumerate(draws) if not (in_order and draw == 0)]
    for _ in range(SWAP_TRIES):
        if not waiting:
            break
        drawn, swaps = np.empty((len(waiting), 5), int), np.empty((len(waiting), 5), bool)
        for numbers, swapped, k in zip(drawn, swaps, waiting, strict=True):
            rng = streams[k]
            swapped[:] = rng.random(5) < spec.swap_probability
            if in_order and not swapped.any():
                swapped[rng.integers(5)] = True
            numbers[:] = rng.integers(taken, size=5)
        tried = np.where(swaps, drawn * bank_size // taken, np.array([bases[k] for k in waiting])[:, None])
        collided = swaps.any(1) & proxy.collides(tried)
        for k, rows, others, again in zip(waiting, tried.tolist(), swaps.tolist(), collided.tolist(), strict=True):
            if not again:
                fingers = {name: row for name, row, other in zip(FINGERS, rows, others, strict=True) if other}
                found[k] = PoseChoice(bases[k], draws[k], fingers)
        waiting = [k for k, again in zip(waiting, collided.tolist(), strict=True) if again]
    return found


def sample_camera(
    rng: np.random.Generator, spec: CameraSpec, points: np.ndarray, image_size: int, index: int, margin: float
) -> CameraChoice:
    """A camera that sees all of `points` (N, 3) [m, world], framed by its focal length and principal point.

    `margin` [m] is added around the points for the surface between them.
    """
    elevation, azimuth, roll, distance, fill, offset = place_camera(rng, spec, index)
    columns = np.ascontiguousarray(points.T)  # of x, y and z
    target = np.round((columns.min(1) + columns.max(1)) / 2, DECIMALS)
    T = orbit_T_cam_world(math.radians(elevation), math.radians(azimuth), math.radians(roll), distance, target)
    x, y, z = T[:3, :3] @ columns + T[:3, 3:]
    focal, principal = frame_spans(x, y, z, fill, offset, image_size, margin)
    return CameraChoice(elevation, azimuth, roll, distance, rounded(target), focal, principal)


def place_camera(
    rng: np.random.Generator, spec: CameraSpec, index: int
) -> tuple[float, float, float, float, float, tuple[float, float]]:
    """Elevation, azimuth and roll [deg], distance [m], fill, and offset to the right and down."""
    if spec.order == "grid":
        elevations, azimuths = _axes(spec)
        position = index // spec.draws
        elevation, azimuth = elevations[position // len(azimuths)], azimuths[position % len(azimuths)]
    else:
        low, high = (math.sin(math.radians(limit)) for limit in spec.elevation_deg)
        elevation = round(math.degrees(math.asin(rng.uniform(low, high))), DECIMALS)
        azimuth = uniform(rng, spec.azimuth_deg)
    roll = round(float(rng.normal(0, 1) * spec.roll_std_deg), DECIMALS)
    distance = uniform(rng, spec.distance_m)
    fill = rng.uniform(*spec.fill)
    right, down = rng.uniform(-spec.offset, spec.offset, 2).tolist()
    return elevation, azimuth, roll, distance, fill, (right, down)


def frame_spans(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, fill: float, offset: tuple[float, float], image_size: int, margin: float
) -> tuple[float, tuple[float, float]]:
    """Focal length and principal point [px] with which points (N,) [m, camera frame] fill that share of the image.

    `margin` [m] is added around them.
    """
    pad = margin / z
    spans = []  # of the hand on the image plane at focal length 1
    for u in (x / z, y / z):
        spans.append((float((u - pad).min()), float((u + pad).max())))
    focal = fill * image_size / max(high - low for low, high in spans)
    principal = []
    for (low, high), shift in zip(spans, offset, strict=True):
        room = (image_size - focal * (high - low)) / 2  # on each side of the hand in the middle
        principal.append(image_size / 2 - focal * (low + high) / 2 + shift * room)
    return round(focal, DECIMALS), rounded_few(*principal)


_axes = lru_cache(maxsize=8)(grid_axes)


@lru_cache(maxsize=4 * BATCH)
def camera_matrices(camera: CameraChoice) -> tuple[np.ndarray, np.ndarray]:
    """K (3, 3) [px] and T_cam_world (4, 4) of a camera choice; kept, for arms, clothes, things and labels all ask for them."""
    elevation, azimuth, roll = map(math.radians, (camera.elevation_deg, camera.azimuth_deg, camera.roll_deg))
    T = orbit_T_cam_world(elevation, azimuth, roll, camera.distance_m, np.array(camera.target))
    K = intrinsics(camera.focal_px, camera.principal_xy)
    K.flags.writeable = T.flags.writeable = False
    return K, T


def blackbody_rgb(temperature_k: float) -> tuple[float, float, float]:
    """Linear sRGB of a black body, scaled to a luminance of 1; 6600 K is nearly white.

    Helland's fit (2012) to Mitchell Charity's black-body table, 1000 to 40000 K, sRGB-decoded.
    """
    t = temperature_k / 100
    red = 255.0 if t <= 66 else 329.698727446 * (t - 60) ** -0.1332047592
    green = 99.4708025861 * math.log(t) - 161.1195681661 if t <= 66 else 288.1221695283 * (t - 60) ** -0.0755148492
    blue = 255.0 if t >= 66 else (0.0 if t <= 19 else 138.5177312231 * math.log(t - 10) - 305.0447927307)
    linear = [srgb_value_to_linear(min(max(c / 255, 0.0), 1.0)) for c in (red, green, blue)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return linear[0] / luminance, linear[1] / luminance, linear[2] / luminance


def sample_lights(rng: np.random.Generator, spec: LightSpec) -> tuple[tuple[Light, ...], Ambient]:
    """Lights from above and before the hand first, then from anywhere in front or at the side; and the ambient term."""
    count = int(rng.integers(spec.count[0], spec.count[1] + 1))
    ambient = rng.uniform(*spec.ambient)
    strengths = [rng.uniform(*(spec.fill_intensity if k else spec.key_intensity)) for k in range(count)]
    scale = rng.uniform(*spec.total) / max(ambient + sum(strengths), 1e-6)
    lights = []
    for k, strength in enumerate(strengths):
        # Angle from the viewing axis, and clock position around it (-90 degrees is up in the image).
        away = math.radians(rng.uniform(25, 115) if k else rng.uniform(15, 75))
        clock = math.radians(rng.uniform(-180, 180) if k else rng.normal(-90, 50))
        across = math.sin(away)
        direction = rounded_few(across * math.cos(clock), across * math.sin(clock), -math.cos(away))
        temperature = uniform(rng, spec.temperature_k)
        lights.append(Light(direction, _lamp_color(temperature, scale * strength), temperature))
    x, y, z = rng.normal(0, 0.35, 3).tolist()
    length = math.hypot(x, y - 1, z)
    color = _lamp_color(rng.uniform(*spec.temperature_k), scale * ambient)
    up = rounded_few(x / length, (y - 1) / length, z / length)
    return tuple(lights), Ambient(color, up, uniform(rng, spec.background_tint), spec.ambient_order)


def sample_environment(
    rng: np.random.Generator, environments: Environments, lights: Sequence[Light], ambient: Ambient
) -> tuple[EnvironmentChoice, tuple[Light, ...], Ambient]:
    """One of the maps, turned about the vertical; its lamp and its mean light in the place of those that were drawn.

    What of it falls on the hand is as bright as these together, see EXPOSED.
    """
    choice, yaw = int(rng.integers(len(environments))), uniform(rng, (0, 360))
    found = environments.maps[choice]
    total = float(np.sum([ambient.color, *(light.color for light in lights)], axis=0) @ LUMINANCE)
    x, y, z = (map_rotation(np.array(ambient.up_cam), yaw) @ found.lamp_direction).tolist()
    of_sky, (of_lamp, less_behind) = EXPOSED
    received = of_sky * float(LUMINANCE @ found.sky[0]) + (of_lamp - less_behind * z) * float(LUMINANCE @ found.lamp_color)
    intensity = round(total / received, DECIMALS)
    lamp = Light(rounded_few(x, y, z), rounded(found.lamp_color * intensity), 0.0)
    own = dataclasses.replace(ambient, color=rounded(found.sky[0] * intensity), order=2)
    return EnvironmentChoice(choice, yaw, intensity), (lamp,), own


def _lamp_color(temperature_k: float, intensity: float) -> Any:
    """Rounded linear RGB of a lamp, half-way to white: a camera's white balance takes out most of a lamp's colour."""
    return rounded_few(*(intensity * (0.5 + 0.5 * c) for c in blackbody_rgb(temperature_k)))


def sample_background(rng: np.random.Generator, spec: BackgroundSpec, count: int) -> BackgroundChoice:
    """One of `count` images and a random square of it."""
    index = int(rng.integers(count))
    flip = bool(rng.random() < 0.5) and spec.flip
    return BackgroundChoice(index, uniform(rng, spec.scale), uniform(rng, (0, 1)), uniform(rng, (0, 1)), flip)


def sample_sensor(rng: np.random.Generator, spec: SensorSpec) -> SensorChoice:
    """Exposure, white balance, blur, noise and JPEG quality of one image; then what else the spec turns on."""
    exposure = 2.0 ** rng.uniform(*spec.exposure_stops)
    red, blue = (math.exp(shift) for shift in rng.normal(0, spec.white_balance, 2).tolist())
    blurred = rng.random() < spec.blur_probability
    blur = uniform(rng, spec.blur_px)
    quality = int(rng.integers(spec.jpeg_quality[0], spec.jpeg_quality[1] + 1))
    noise = uniform(rng, spec.noise)
    gains = rounded_few(exposure * red, exposure, exposure * blue)
    what = gains, blur if blurred else 0.0, noise, int(rng.integers(2**31)), quality
    if not any(getattr(spec, key) for key in SENSOR_EFFECTS):
        return SensorChoice(*what)
    # One draw for each chance and each size, whatever happens, so that no effect moves another.
    focus, vignetted, enlarged, noisy, fine, cubic, *sizes = rng.random(10).tolist()
    limits = (_focus(spec, focus), spec.vignetting, spec.source_scale, spec.read_noise)
    radius, loss, scale, read_noise = (
        round(low + share * (high - low), DECIMALS) for share, (low, high) in zip(sizes, limits, strict=True)
    )
    is_hand, is_enlarged = focus < spec.hand_defocus_probability, enlarged < spec.enlarging_probability
    return SensorChoice(
        *what,
        background_defocus_px=0.0 if is_hand else radius,
        hand_defocus_px=radius if is_hand else 0.0,
        vignetting=loss if vignetted < spec.vignetting_probability else 0.0,
        source_scale=scale if is_enlarged else 1.0,
        enlarging="cubic" if is_enlarged and cubic < 0.5 else "linear",
        read_noise=read_noise if noisy < spec.read_noise_probability else 0.0,
        chroma="444" if fine < spec.fine_chroma_probability else "420",
    )


def _focus(spec: SensorSpec, chance: float) -> tuple[float, float]:
    """The radii [px] among which a chance in [0, 1) draws: the hand's, the background's, or none."""
    if chance < spec.hand_defocus_probability:
        return spec.hand_defocus_px
    if chance < spec.hand_defocus_probability + spec.background_defocus_probability:
        return spec.background_defocus_px
    return 0.0, 0.0


def sample_motion(rng: np.random.Generator, spec: MotionSpec) -> MotionChoice | None:
    """A motion of the hand, or of the camera, in a direction without preference; or none."""
    moves, of_camera, clock, *sizes = rng.random(6).tolist()
    if moves >= spec.probability:
        return None
    way, angle, shake = (
        low + share * (high - low) for share, (low, high) in zip(sizes, (spec.shift_m, spec.turn_deg, spec.shake_deg), strict=True)
    )
    if of_camera < spec.camera_share:
        turn = 2 * math.pi * clock
        return MotionChoice((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), rounded_few(shake * math.cos(turn), shake * math.sin(turn)))
    directions = rng.normal(0, 1, (2, 3))
    directions *= np.array([[way], [angle]]) / np.sqrt((directions**2).sum(1, keepdims=True))
    return MotionChoice(rounded(directions[0]), rounded(directions[1]), (0.0, 0.0))


def sample_arms(
    streams: Sequence[np.random.Generator], spec: ArmSpec, is_seen: Callable[..., np.ndarray], fits: Callable[..., np.ndarray]
) -> list[ArmChoice | None]:
    """An arm, or none, from each stream; no arm depends on the others.

    Args:
        streams: of B hands.
        spec: the distributions.
        is_seen: takes N rows of the hands, and flexion and deviation (N,) of their wrists [rad], and says which hands are then
            seen.
        fits: takes these, (N,) twists and (N, E) angles of the elbow [rad], and says which upper arms have room.
    """
    found: list[ArmChoice | None] = [None] * len(streams)
    people = {row: arms_person(rng, spec) for row, rng in enumerate(streams) if rng.random() < spec.probability}
    waiting = list(people)
    for _ in range(ARM_TRIES):
        wrists = {row: _wrist(streams[row], spec) for row in waiting}
        rows = [row for row in waiting if wrist_reach(*wrists[row]) <= 1]
        if rows:
            rows = _where(rows, is_seen(rows, *np.deg2rad([wrists[row] for row in rows]).T))
        if rows:
            elbows = dict(zip(rows, _elbows([streams[row] for row in rows], spec), strict=True))
            # Most have room at the first; of the others all that they have drawn are tried together.
            for tried in (slice(1), slice(1, None)):
                postures = np.deg2rad([(*wrists[row], people[row].twist_deg, *elbows[row][tried]) for row in rows])
                has_room = fits(rows, *postures[:, :3].T, postures[:, 3:])
                some = np.asarray(has_room.any(1))
                for row, number in zip(_where(rows, some), has_room[some].argmax(1).tolist(), strict=True):
                    flexion, deviation = wrists[row]
                    posture = {
                        "flexion_deg": flexion + 0.0,
                        "deviation_deg": deviation + 0.0,
                        "elbow_deg": elbows[row][tried][number],
                    }
                    found[row] = replace(people[row], **posture)
                rows = _where(rows, ~some)
                if not rows:
                    break
        waiting = [row for row in waiting if found[row] is None]
        if not waiting:
            break
    return found


def arms_person(rng: np.random.Generator, spec: ArmSpec) -> ArmChoice:
    """An arm whose wrist and elbow are not bent yet."""
    mottling, veins, hair = (uniform(rng, limits) for limits in (spec.mottling, spec.veins, spec.hair))
    variant, tan = int(rng.integers(ARM_VARIANTS)), round(min(max(rng.normal(0, 1), -4.0), 4.0) * spec.tan_std, DECIMALS)
    girth = round(min(max(rng.normal(1, spec.girth_std), 0.3), 1.8), DECIMALS)
    twist = round(min(max(rng.normal(0, spec.twist_std_deg), -TWIST_LIMIT_DEG), TWIST_LIMIT_DEG), DECIMALS)
    shirt = int(rng.integers(SHIRTS))
    return ArmChoice(0.0, 0.0, twist + 0.0, girth, variant, mottling, veins, hair, tan + 0.0, 0.0, shirt)


def _wrist(rng: np.random.Generator, spec: ArmSpec) -> tuple[float, float]:
    """Flexion and deviation in degrees."""
    flexion = round(rng.normal(spec.flexion_mean_deg, spec.flexion_std_deg), DECIMALS)
    return flexion, round(rng.normal(spec.deviation_mean_deg, spec.deviation_std_deg), DECIMALS)


def _elbows(streams: Sequence[np.random.Generator], spec: ArmSpec) -> list[list[float]]:
    """ARM_TRIES angles in degrees from each stream, of which the first is taken that leaves room."""
    drawn = np.array([rng.normal(spec.elbow_mean_deg, spec.elbow_std_deg, ARM_TRIES) for rng in streams])
    angles: list[list[float]] = np.round(np.clip(drawn, *ELBOW_LIMITS_DEG), DECIMALS).tolist()
    return angles


def _where(values: list[Any], which: np.ndarray) -> list[Any]:
    """Those of some values for which it holds."""
    return [value for value, holds in zip(values, which.tolist(), strict=True) if holds]
