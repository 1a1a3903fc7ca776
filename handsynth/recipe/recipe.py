"""The recipe: every decision behind one sample, as values that JSON can hold. Rendering draws no random number."""

from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from handsynth.core.conventions import FINGERS, WORN_ON_FOREARM
from handsynth.core.errors import HandsynthError
from handsynth.core.fields import build
from handsynth.recipe.held import ObjectChoice, object_out_of_range
from handsynth.recipe.wear import Worn, out_of_range

Vector = tuple[float, float, float]

BATCH = 64
"""Samples that pass through the stages together: large enough for matrix products, small enough for the processor's cache."""

ARM_VARIANTS, SHIRTS = 6, 8
"""Patterns of each kind that a forearm's skin may choose from, and colours of short sleeves."""

MAX_BLUR_PX = 20.0
"""No blur's standard deviation, and no disc's radius, is larger."""

ENLARGING = ("linear", "cubic")
"""Kernels with which a smaller source is enlarged."""

MAX_NUMBER = 1000.0
"""No angle, coefficient, place [m], gain or light of a stored recipe is larger: far above all that is drawn."""


@dataclass(frozen=True)
class PoseChoice:
    """Where the finger angles come from. `theta` of the recipe is what counts; this says why."""

    bank_index: int  # row of the pose bank
    draw: int  # number of the draw among those of this pose or camera position
    fingers: dict[str, int]  # finger -> row of the bank from which it was taken instead
    blends: dict[str, tuple[int, float]] = field(default_factory=dict)  # finger -> row towards which it was turned, and how far


@dataclass(frozen=True)
class CameraChoice:
    """A camera on a sphere around the hand (see core.camera.orbit_T_cam_world)."""

    elevation_deg: float
    azimuth_deg: float
    roll_deg: float
    distance_m: float
    target: Vector  # middle of the hand, world frame [m]
    focal_px: float
    principal_xy: tuple[float, float]  # [px]


@dataclass(frozen=True)
class Light:
    """A distant light."""

    direction_cam: Vector  # unit vector towards the light, camera frame
    color: Vector  # linear RGB times intensity; 1 shows a facing surface at its albedo
    temperature_k: float  # 0 for the lamp of an environment


@dataclass(frozen=True)
class Ambient:
    """Light from everywhere, stronger from above."""

    color: Vector  # linear RGB times intensity
    up_cam: Vector  # unit vector, camera frame
    background_tint: float  # 0: own colour, 1: the background's mean colour at the same brightness
    order: int = 0  # 2: its colour differs by direction, as environment and background have it; 0: only with height


@dataclass(frozen=True)
class EnvironmentChoice:
    """A measured light (see assets.environments); None in a recipe stands for lamps and background alone.

    Its lamp is the recipe's only light.
    """

    index: int
    yaw_deg: float  # how far its panorama is turned to the left
    intensity: float  # of a map whose light is 1 in all


@dataclass(frozen=True)
class BackgroundChoice:
    """A square cut from a background image (see assets.backgrounds.crop_background)."""

    index: int
    scale: float
    x: float
    y: float
    flip: bool


@dataclass(frozen=True)
class SensorChoice:
    """What the camera does to the image. In this order: focus, (motion,) gains, vignetting, source's size, blur, noise, JPEG."""

    gains: Vector  # linear RGB: exposure and white balance
    blur_px: float  # standard deviation, 0 for none [px of the source]
    noise: float  # standard deviation at mid grey, of full scale
    noise_key: int  # names the noise field
    jpeg_quality: int
    # What has these values is not done, and left out of what is stored.
    background_defocus_px: float = 0.0  # radius of the disc that a point becomes
    hand_defocus_px: float = 0.0  # the same, of the hand and all that is drawn with it
    vignetting: float = 0.0  # share of the light that the corners lose
    source_scale: float = 1.0  # side of the source as a share of the image's, to which it is enlarged
    enlarging: str = "linear"  # kernel, or "cubic"
    read_noise: float = 0.0  # standard deviation in linear light, 1 is white
    chroma: str = "420"  # of the JPEG: four pixels share a colour; or "444"


@dataclass(frozen=True)
class MotionChoice:
    """What moves during the exposure; None in a recipe: nothing. Labels are those of its middle. Camera frame, as it is seen."""

    shift_m: Vector  # way of the hand
    turn_deg: Vector  # rotation vector of the hand about its wrist
    shake_deg: tuple[float, float]  # turn of the camera to the right and down; then the hand does not move


@dataclass(frozen=True)
class Moment:
    """What moves in a clip, at the time of the next frame; lengths of metres and angles as in a Recipe."""

    theta: tuple[float, ...]  # (48,)
    trans: Vector
    camera: CameraChoice
    wrist_deg: Vector | None  # flexion, deviation and twist of the arm, where there is one


@dataclass(frozen=True)
class ClipChoice:
    """Which frame of which clip a recipe shows, and how it goes on; None in a recipe: it is no clip's."""

    number: int
    frame: int
    time_s: float  # since the first frame
    last: bool  # no frame follows
    shutter: float  # share of the time until the next frame during which light falls on the image, half of it before this moment
    exposures: int  # moments of that time, evenly apart, whose mean the image is; odd, so that the middle one is this
    facing_deg: Vector  # elevation, azimuth and roll of a camera before which the background stands as it was cut
    after: Moment


MAX_EXPOSURES = 25
"""Of one frame."""


@dataclass(frozen=True)
class ArmChoice:
    """The forearm and its skin; None in a recipe stands for a bare wrist (see scene.arm)."""

    flexion_deg: float  # of the wrist, positive towards the palm
    deviation_deg: float  # of the wrist, positive towards the thumb
    twist_deg: float  # of the elbow against the wrist, about the forearm
    girth: float  # growth of the sections over the mean forearm's, 1 is the mean
    variant: int  # of the skin's patterns
    mottling: float
    veins: float
    hair: float
    tan: float  # hundredths of the tone that the forearm is darker than the hand
    elbow_deg: float = 0.0  # of the elbow, 0 is straight
    shirt: int = 0  # colour of the short sleeve on the upper arm


@dataclass(frozen=True)
class OtherHand:
    """A further hand in the image. As in a Recipe, it is a right one in a world of its own, mirrored when `side` is left."""

    side: str
    theta: tuple[float, ...]  # (48,) of the right hand, before mirroring; the first turns it about its wrist
    trans: Vector
    pose: PoseChoice
    arm: ArmChoice | None = None
    worn: Worn | None = None
    beta: tuple[float, ...] | None = None  # None: the first hand's, as all of the skin is
    alpha: tuple[float, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what it does not have is left out."""
        values: dict[str, Any] = {"side": self.side, "theta": self.theta, "trans": self.trans, "pose": _pose_to_dict(self.pose)}
        values |= {"arm": vars(self.arm)} if self.arm else {}
        values |= {"worn": self.worn.to_dict()} if self.worn else {}
        return values | {key: own for key in ("beta", "alpha") if (own := getattr(self, key)) is not None}


MAX_OTHERS = 3
"""No image shows more hands beside the first."""


@dataclass(frozen=True)
class Recipe:
    """One sample, decided. Angles in radians, lengths in metres, unless the name says otherwise."""

    index: int
    side: str
    theta: tuple[float, ...]  # (48,) of the right hand, before mirroring
    beta: tuple[float, ...]  # (S,), as many as the hand has shape coefficients
    trans: Vector
    alpha: tuple[float, ...]  # skin coefficients [standard deviations]
    pose: PoseChoice
    camera: CameraChoice
    lights: tuple[Light, ...]
    ambient: Ambient
    background: BackgroundChoice
    sensor: SensorChoice
    arm: ArmChoice | None = None
    worn: Worn | None = None
    environment: EnvironmentChoice | None = None
    motion: MotionChoice | None = None
    held: ObjectChoice | None = None
    others: tuple[OtherHand, ...] = ()
    occluder: ObjectChoice | None = None  # between camera and hand, in the frame of the hand as what it holds
    clip: ClipChoice | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `recipe_from_dict` is the inverse. What a recipe does not have is left out."""
        parts = {name: vars(getattr(self, name)) for name in ("camera", "ambient", "background")} | {
            "pose": _pose_to_dict(self.pose)
        }
        parts["sensor"] = {key: value for key, value in vars(self.sensor).items() if value != _LEFT_OUT.get(key)}
        values = vars(self) | parts | {"lights": [vars(light) for light in self.lights]}
        if not self.ambient.order:
            values["ambient"] = {key: value for key, value in vars(self.ambient).items() if key != "order"}
        for name in ("arm", "worn", "environment", "motion", "held", "others", "occluder", "clip"):
            del values[name]
        values |= {"arm": vars(self.arm)} if self.arm else {}
        values |= {"motion": vars(self.motion)} if self.motion else {}
        values |= {"environment": vars(self.environment)} if self.environment else {}
        values |= {"held": vars(self.held)} if self.held else {}
        values |= {"others": [other.to_dict() for other in self.others]} if self.others else {}
        values |= {"occluder": vars(self.occluder)} if self.occluder else {}
        if self.clip:
            after = vars(self.clip.after) | {"camera": vars(self.clip.after.camera)}
            values["clip"] = vars(self.clip) | {"after": after}
        return values | ({"worn": self.worn.to_dict()} if self.worn else {})


def _pose_to_dict(pose: PoseChoice) -> dict[str, Any]:
    """Plain values, without blends where there are none."""
    return {name: value for name, value in vars(pose).items() if name != "blends" or value}


_LEFT_OUT = {f.name: f.default for f in fields(SensorChoice) if f.default is not MISSING}
"""Values of what a sensor does not do."""


def recipe_from_dict(values: Any, where: str, num_shapes: int) -> Recipe:
    """Plain values -> Recipe of a hand of `num_shapes` shape coefficients, every key and type checked. Raises HandsynthError."""
    recipe = build(Recipe, values, where, HandsynthError)
    _check_values(recipe, where, num_shapes)
    if len(recipe.others) > MAX_OTHERS:
        raise HandsynthError(f"{where}: the recipe has {len(recipe.others)} other hands, at most {MAX_OTHERS} are made")
    for number, other in enumerate(recipe.others):
        _check_values(recipe_of(other, recipe), f"{where}, other hand {number}", num_shapes)
    return recipe


def recipe_of(other: OtherHand, recipe: Recipe) -> Recipe:
    """Another hand of an image, as the first of one that is else the same; the camera is still the first hand's."""
    own = {name: value for name, value in vars(other).items() if value is not None or name in ("arm", "worn")}
    return replace(recipe, **own, held=None, occluder=None, others=())


def _check_values(recipe: Recipe, where: str, num_shapes: int) -> None:
    """Raises HandsynthError naming the value of a recipe that is out of range; its other hands are not looked at."""
    sensor, camera, background = recipe.sensor, recipe.camera, recipe.background
    sane = {
        "index": recipe.index >= 0,
        "side": recipe.side in ("right", "left"),
        "theta": len(recipe.theta) == 48,
        "beta": len(recipe.beta) == num_shapes,
        "lights": len(recipe.lights) <= 3,
        "ambient.order": recipe.ambient.order in (0, 2),
        "pose": set(recipe.pose.fingers) | set(recipe.pose.blends) <= set(FINGERS),
        "pose.blends": all(row >= 0 and 0 <= share <= 1 for row, share in recipe.pose.blends.values()),
        "camera": 0 < camera.focal_px < 1e6 and 0 < camera.distance_m < 100,
        "background": 0 < background.scale <= 1 and 0 <= background.x <= 1 and 0 <= background.y <= 1 and background.index >= 0,
        "sensor": 1 <= sensor.jpeg_quality <= 100 and 0 <= sensor.blur_px <= MAX_BLUR_PX and 0 <= sensor.noise <= 1,
        "sensor.gains": min(sensor.gains) >= 0 and sensor.noise_key >= 0,
        "sensor.background_defocus_px": 0 <= sensor.background_defocus_px <= MAX_BLUR_PX,
        "sensor.hand_defocus_px": 0 <= sensor.hand_defocus_px <= MAX_BLUR_PX,
        "sensor.vignetting": 0 <= sensor.vignetting <= 0.9,
        "sensor.source_scale": 0.5 <= sensor.source_scale <= 1,
        "sensor.enlarging": sensor.enlarging in ENLARGING,
        "sensor.read_noise": 0 <= sensor.read_noise <= 0.5,
        "sensor.chroma": sensor.chroma in ("420", "444"),
    }
    if environment := recipe.environment:
        sane |= {"environment": environment.index >= 0 and recipe.ambient.order == 2 and abs(environment.yaw_deg) <= 360}
        sane |= {"environment.intensity": 0 <= environment.intensity <= MAX_NUMBER}
    if motion := recipe.motion:
        sane |= {
            "motion.shift_m": max(map(abs, motion.shift_m)) <= 1,
            "motion.turn_deg": max(map(abs, motion.turn_deg)) <= 90,
            "motion.shake_deg": max(map(abs, motion.shake_deg)) <= 20,
            "motion": not any(motion.shake_deg) or not any(motion.shift_m + motion.turn_deg),
        }
    if clip := recipe.clip:
        after = clip.after
        sane |= {
            "clip": clip.number >= 0
            and clip.frame >= 0
            and 0 <= clip.time_s <= 1e9
            and max(map(abs, clip.facing_deg)) <= MAX_NUMBER,
            "clip.shutter": 0 <= clip.shutter <= 1,
            "clip.exposures": 0 < clip.exposures <= MAX_EXPOSURES and clip.exposures % 2 == 1,
            "clip.after": len(after.theta) == 48 and max(map(abs, after.theta + after.trans + after.camera.target)) <= MAX_NUMBER,
            "clip.after.camera": 0 < after.camera.focal_px < 1e6 and 0 < after.camera.distance_m < 100,
            "clip.after.wrist_deg": (after.wrist_deg is None) == (recipe.arm is None)
            and max(map(abs, after.wrist_deg or (0,))) <= 180,
        }
    if arm := recipe.arm:
        sane |= {
            "arm": max(abs(arm.flexion_deg), abs(arm.deviation_deg)) <= 90 and abs(arm.twist_deg) <= 180,
            "arm.girth": 0 <= arm.girth <= 3,
            "arm.variant": 0 <= arm.variant < ARM_VARIANTS,
            "arm.shirt": 0 <= arm.shirt < SHIRTS,
            "arm.elbow_deg": 0 <= arm.elbow_deg <= 150,
            "arm.tan": abs(arm.tan) <= 50,
        }
        sane |= {f"arm.{name}": 0 <= getattr(arm, name) <= 1 for name in ("mottling", "veins", "hair")}
    if worn := recipe.worn:
        sane |= {"worn": bool(worn.clothing)} | {f"worn.{key}": False for key in out_of_range(worn)}
        for name in WORN_ON_FOREARM:
            if getattr(worn, name) is not None and recipe.arm is None:
                raise HandsynthError(f"{where}: worn.{name} of the recipe takes a forearm, and the recipe has none")
    if recipe.held:
        sane |= {f"held.{key}": False for key in object_out_of_range(recipe.held)}
    if recipe.occluder:
        sane |= {f"occluder.{key}": False for key in object_out_of_range(recipe.occluder)}
    numbers = {"theta": recipe.theta, "beta": recipe.beta, "alpha": recipe.alpha, "trans": recipe.trans, "camera": camera.target}
    numbers |= {"sensor.gains": sensor.gains, "ambient": recipe.ambient.color + recipe.ambient.up_cam}
    numbers |= {f"light {k}": light.color + light.direction_cam for k, light in enumerate(recipe.lights)}
    sane |= {key: sane.get(key, True) and max(map(abs, values), default=0) <= MAX_NUMBER for key, values in numbers.items()}
    for key, good in sane.items():
        if not good:
            raise HandsynthError(f"{where}: {key} of the recipe is out of range")
