"""Samplers: from (spec, library, index) to every decision of one sample, and the distribution of each. Pure: no order, no clock."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from handsynth.assets.environments.folder import Environments
from handsynth.assets.environments.light_map import LUMINANCE, map_rotation
from handsynth.assets.library import Library
from handsynth.core.camera import intrinsics, orbit_T_cam_world
from handsynth.core.colour import srgb_value_to_linear
from handsynth.core.conventions import FINGER_JOINTS, FINGERS
from handsynth.core.rng import stream
from handsynth.core.rotation import rotmat_to_rotvec
from handsynth.recipe.draws import DECIMALS, rounded, rounded_few, uniform
from handsynth.recipe.interpolation import FingerBlender
from handsynth.recipe.proxy import ForearmProxy, HandProxy
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
from handsynth.recipe.spec import (
    SENSOR_EFFECTS,
    WRIST_LIMITS_DEG,
    ArmSpec,
    BackgroundSpec,
    CameraSpec,
    DatasetSpec,
    LightSpec,
    MotionSpec,
    PoseSpec,
    SensorSpec,
    grid_axes,
)
from handsynth.recipe.wardrobe import sample_worn
from handsynth.recipe.wear import SleeveChoice, Worn

UPRIGHT = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]).T
"""Turns the template (fingers -x, palm -y, thumb +z) upright in the world: fingers +y, palm +z, thumb +x."""

SWAP_TRIES = 32
"""Draws of swapped fingers before the unswapped pose is kept; about one draw in five collides."""

ARM_TRIES, TWIST_LIMIT_DEG, ELBOW_LIMITS_DEG = 32, 80.0, (5.0, 130.0)
"""Draws of an arm's posture before the hand is left without; how far a forearm twists in either direction (as WRIST_LIMITS_DEG),
and the elbow's least and greatest angle (150 degrees there, of which flesh leaves 130).
"""

EXPOSED = 1.4, (1.2, 0.3)
"""A camera exposes for what falls on the hand: so many times an environment's sky, and so many times its lamp, more before the hand
and less behind it (depth of its direction). Lamps of our own stand here and there and count once; with these figures as few pixels
of skin are clipped, 2 to 3 %."""

LEAST_SEEN = 0.35
"""Share of the hand's points that no forearm, and no sleeve on it, may take from the camera."""

CLOTH_GAP_M = 0.003
"""How much further than by its own measures a sleeve is away from the arm, about [m]."""

FEW_POINTS = 32
"""So many points, the first of which are far from each other, say where the hand is."""

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
        self.forearm = ForearmProxy(library.hand, UPRIGHT) if library.hand.rim_turns and spec.arm.probability > 0 else None

    def sample(self, index: int) -> Recipe:
        """The recipe of sample `index`, 0 <= index < spec.samples."""
        return self.sample_many([index])[0]

    def sample_many(self, indices: Sequence[int]) -> list[Recipe]:
        """The recipes of some samples; hands are posed BATCH at a time, and no digit depends on their company.

        One named random stream per spec and purpose: a new draw for lights leaves every camera where it was.
        """
        recipes: list[Recipe] = []
        for start in range(0, len(indices), BATCH):
            hands = [self._draw_hand(index) for index in indices[start : start + BATCH]]
            points = self.proxy.points(np.array([h.theta for h in hands]), np.array([h.beta for h in hands]))
            recipes += [self._finish(hand, seen) for hand, seen in zip(hands, points, strict=True)]
        return recipes

    def _stream(self, index: int, purpose: str) -> np.random.Generator:
        """Specs of other names draw other numbers: datasets that are mixed show other people, lights and backgrounds."""
        return stream(self.spec.seed, index, self.spec.name, purpose)

    def _draw_hand(self, index: int) -> "_Hand":
        """Pose and shape of one sample."""
        spec, library = self.spec, self.library
        if not 0 <= index < spec.samples:
            raise IndexError(f"sample {index} of {spec.samples}")
        draw = index % (spec.camera.draws if spec.camera.order == "grid" else spec.pose.draws)
        pose = sample_pose(self._stream(index, "pose"), spec.pose, self.proxy, len(library.bank.theta), index, draw)
        theta = np.empty((library.hand.num_joints, 3))
        theta[0], theta[1:] = self.upright, library.bank.theta[pose.bank_index]
        for name, row in pose.fingers.items():
            joints = np.array(FINGER_JOINTS[name])
            theta[joints] = library.bank.theta[row][joints - 1]
        if self.blender and not (spec.pose.order == "bank" and draw == 0):
            rows = np.array([pose.fingers.get(name, pose.bank_index) for name in FINGERS])
            blends, theta[1:] = self.blender.draw(self._stream(index, "interpolation"), rows)
            pose = replace(pose, blends=blends)
        beta = self._stream(index, "shape").normal(0, spec.beta_std, library.hand.num_shapes)
        return _Hand(index, pose, theta, beta)

    def _finish(self, hand: "_Hand", points: np.ndarray) -> Recipe:
        """Everything else; the camera frames `points` (N, 3) [m, world]."""
        spec, library, index = self.spec, self.library, hand.index
        alpha = self._stream(index, "skin").normal(0, spec.alpha_std, library.skin_source.num_components)
        lights, ambient = sample_lights(self._stream(index, "light"), spec.light)
        environment = None
        if library.environments is not None:
            rng = self._stream(index, "environment")
            environment, lights, ambient = sample_environment(rng, library.environments, lights, ambient)
        left = uniform(self._stream(index, "side"), (0, 1)) < spec.left_fraction
        camera = sample_camera(self._stream(index, "camera"), spec.camera, points, spec.image_size, index, FRAME_MARGIN_M)
        arm = self._draw_arm(index, points, camera)
        return Recipe(
            index=index,
            side="left" if left else "right",
            theta=rounded(hand.theta),
            beta=rounded(hand.beta),
            trans=(0.0, 0.0, 0.0),
            alpha=rounded(alpha),
            pose=hand.pose,
            camera=camera,
            lights=lights,
            ambient=ambient,
            background=sample_background(self._stream(index, "background"), spec.background, len(library.backgrounds)),
            sensor=sample_sensor(self._stream(index, "sensor"), spec.sensor),
            arm=arm,
            worn=self._draw_worn(index, points, camera, arm),
            environment=environment,
            motion=sample_motion(self._stream(index, "motion"), spec.motion) if spec.motion.probability > 0 else None,
        )

    def _draw_arm(self, index: int, points: np.ndarray, camera: CameraChoice) -> ArmChoice | None:
        """The forearm of a hand whose surface is at `points` (N, 3) [m, world]."""
        if self.forearm is None:
            return None
        forearm, T = self.forearm, camera_matrices(camera)[1]

        def is_seen(flexion: float, deviation: float) -> bool:
            return forearm.seen_share(points, T, flexion, deviation) >= LEAST_SEEN

        fits = partial(forearm.upper_arm_fits, points[:FEW_POINTS], T)
        return sample_arm(self._stream(index, "arm"), self.spec.arm, is_seen, fits)

    def _draw_worn(self, index: int, points: np.ndarray, camera: CameraChoice, arm: ArmChoice | None) -> Worn | None:
        """What a hand wears whose surface is at `points` (N, 3) [m, world]; no sleeve that hides it."""
        if not any(vars(self.spec.wear).values()):
            return None
        forearm, length = self.forearm, self.library.hand.forearm_length_m if arm is not None else None

        def is_seen(sleeve: SleeveChoice) -> bool:
            assert forearm is not None
            assert arm is not None
            cloth = CLOTH_GAP_M + sleeve.ease_m + sleeve.thickness_m + sleeve.fold_m
            posture = math.radians(arm.flexion_deg), math.radians(arm.deviation_deg)
            return forearm.seen_share(points, camera_matrices(camera)[1], *posture, sleeve.cuff_m, cloth) >= LEAST_SEEN

        return sample_worn(self.spec.wear, lambda name: self._stream(index, name), length, is_seen)


@dataclass(frozen=True, eq=False)
class _Hand:
    """A hand that is not framed yet."""

    index: int
    pose: PoseChoice
    theta: np.ndarray  # (16, 3) [rad]
    beta: np.ndarray  # (S,)


def sample_pose(rng: np.random.Generator, spec: PoseSpec, proxy: HandProxy, bank_size: int, index: int, draw: int) -> PoseChoice:
    """A pose of the bank, some of whose fingers come from other poses, none running through each other.

    All of them are among the `bank_poses` rows that the spec takes, evenly spread over the bank. With order "bank", sample `index`
    shows pose index // draws; its draw 0 is the pose itself and in every other draw at least one finger is swapped (section
    3.2.3, after Zhou et al. 2020).
    """
    taken = min(spec.bank_poses, bank_size)  # number k of them is row k * bank_size // taken
    if spec.order == "bank":
        base = (index // spec.draws) * bank_size // spec.bank_poses
        least = 1
        if draw == 0:
            return PoseChoice(base, draw, {})
    else:
        base = int(rng.integers(taken)) * bank_size // taken
        least = 0
    for _ in range(SWAP_TRIES):
        swapped = rng.random(5) < spec.swap_probability
        if least and not swapped.any():
            swapped[rng.integers(5)] = True
        rows = np.where(swapped, rng.integers(taken, size=5) * bank_size // taken, base)
        if not swapped.any() or not proxy.collides(rows):
            return PoseChoice(base, draw, {name: int(rows[k]) for k, name in enumerate(FINGERS) if swapped[k]})
    return PoseChoice(base, draw, {})


def sample_camera(
    rng: np.random.Generator, spec: CameraSpec, points: np.ndarray, image_size: int, index: int, margin: float
) -> CameraChoice:
    """A camera that sees all of `points` (N, 3) [m, world], framed by its focal length and principal point.

    `margin` [m] is added around the points for the surface between them.
    """
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
    offset = rng.uniform(-spec.offset, spec.offset, 2)

    columns = np.ascontiguousarray(points.T)  # of x, y and z
    target = np.round((columns.min(1) + columns.max(1)) / 2, DECIMALS)
    T = orbit_T_cam_world(math.radians(elevation), math.radians(azimuth), math.radians(roll), distance, target)
    x, y, z = T[:3, :3] @ columns + T[:3, 3:]
    pad = margin / z
    spans = []  # of the hand on the image plane at focal length 1
    for u in (x / z, y / z):
        spans.append((float((u - pad).min()), float((u + pad).max())))
    focal = fill * image_size / max(high - low for low, high in spans)
    principal = []
    for (low, high), shift in zip(spans, offset.tolist(), strict=True):
        room = (image_size - focal * (high - low)) / 2  # on each side of the hand in the middle
        principal.append(image_size / 2 - focal * (low + high) / 2 + shift * room)
    place = rounded(target), round(focal, DECIMALS), rounded_few(*principal)
    return CameraChoice(elevation, azimuth, roll, distance, *place)


_axes = lru_cache(maxsize=8)(grid_axes)


def camera_matrices(camera: CameraChoice) -> tuple[np.ndarray, np.ndarray]:
    """K (3, 3) [px] and T_cam_world (4, 4) of a camera choice."""
    elevation, azimuth, roll = map(math.radians, (camera.elevation_deg, camera.azimuth_deg, camera.roll_deg))
    T = orbit_T_cam_world(elevation, azimuth, roll, camera.distance_m, np.array(camera.target))
    return intrinsics(camera.focal_px, camera.principal_xy), T


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


def sample_arm(
    rng: np.random.Generator,
    spec: ArmSpec,
    is_seen: Callable[[float, float], bool],
    fits: Callable[[float, float, float, float], bool],
) -> ArmChoice | None:
    """An arm, or none.

    Args:
        rng: its stream.
        spec: its distributions.
        is_seen: takes flexion and deviation of the wrist [rad] and says whether the hand is then seen.
        fits: takes these, the twist and the elbow's angle [rad], and says whether the upper arm has room.
    """
    if rng.random() >= spec.probability:
        return None
    mottling, veins, hair = (uniform(rng, limits) for limits in (spec.mottling, spec.veins, spec.hair))
    variant, tan = int(rng.integers(ARM_VARIANTS)), round(float(np.clip(rng.normal(0, 1), -4, 4)) * spec.tan_std, DECIMALS)
    girth = round(min(max(rng.normal(1, spec.girth_std), 0.3), 1.8), DECIMALS)
    twist = round(min(max(rng.normal(0, spec.twist_std_deg), -TWIST_LIMIT_DEG), TWIST_LIMIT_DEG), DECIMALS)
    shirt, (straight, bent) = int(rng.integers(SHIRTS)), ELBOW_LIMITS_DEG
    for _ in range(ARM_TRIES):
        flexion = round(rng.normal(spec.flexion_mean_deg, spec.flexion_std_deg), DECIMALS)
        deviation = round(rng.normal(spec.deviation_mean_deg, spec.deviation_std_deg), DECIMALS)
        wrist = math.radians(flexion), math.radians(deviation)
        if wrist_reach(flexion, deviation) > 1 or not is_seen(*wrist):
            continue
        for _ in range(ARM_TRIES):
            elbow = round(min(max(rng.normal(spec.elbow_mean_deg, spec.elbow_std_deg), straight), bent), DECIMALS)
            if fits(*wrist, math.radians(twist), math.radians(elbow)):
                posture = flexion + 0.0, deviation + 0.0, twist + 0.0
                return ArmChoice(*posture, girth, variant, mottling, veins, hair, tan + 0.0, elbow, shirt)
    return None


def wrist_reach(flexion_deg: float, deviation_deg: float) -> float:
    """How far a wrist goes towards its limits: 1 on the ellipse through the four of them, less inside."""
    shares = (
        value / (low if value < 0 else high)
        for value, (low, high) in zip((flexion_deg, deviation_deg), WRIST_LIMITS_DEG, strict=True)
    )
    return math.hypot(*shares)
