"""The spec: everything that decides the pixels of a dataset, as frozen dataclasses read from YAML."""

import dataclasses
import difflib
import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from handsynth.core.conventions import GENERATOR_VERSION, READABLE_SCHEMAS, SCHEMA, WORN_ON_FOREARM
from handsynth.core.errors import UsageError
from handsynth.core.fields import build
from handsynth.core.index import canonical_json
from handsynth.core.sample import CLIP_PASSES, OTHER_PASSES, PASSES

Range = tuple[float, float]
"""Least and greatest value of a uniform draw."""


@dataclass(frozen=True)
class PoseSpec:
    """Which pose a sample shows."""

    order: str = "random"  # "bank": pose = (index // draws) of the bank, "random": a pose of the bank drawn for each sample
    bank_poses: int = 895  # poses taken from the bank, for fingers too; one of another size is thinned or repeated evenly
    draws: int = 64  # samples of each pose when order is "bank"; draw 0 is the pose itself
    swap_probability: float = 0.5  # each finger takes its angles from another pose of the bank with this probability
    interpolation_probability: float = 0.0  # each finger is turned part of the way to another pose of the bank; 0 draws nothing


@dataclass(frozen=True)
class CameraSpec:
    """Where the camera stands and what it sees."""

    order: str = "random"  # "grid": position given by the index, "random": drawn over the sphere, uniform in area
    draws: int = 32  # samples of each grid position
    elevation_deg: Range = (-90.0, 90.0)  # limits, both included in a grid
    azimuth_deg: Range = (0.0, 360.0)  # limits, the upper one excluded in a grid
    step_deg: float = 5.0  # of the grid, see grid_axes; one that does not divide the range leaves a smaller last step
    roll_std_deg: float = 0.0  # turn of the camera about its axis, normal
    distance_m: Range = (0.45, 0.9)  # from the camera to the middle of the hand
    fill: Range = (0.55, 0.85)  # longer side of the hand's box as a share of the image's side; sets the focal length
    offset: float = 0.5  # 0: hand in the middle, 1: anywhere as long as it stays inside the image


@dataclass(frozen=True)
class LightSpec:
    """One to a few distant lights and an ambient term."""

    count: tuple[int, int] = (1, 3)
    key_intensity: Range = (0.6, 1.3)  # of the first light, beside the others
    fill_intensity: Range = (0.1, 0.6)  # of each further light
    temperature_k: Range = (3000.0, 7500.0)  # colour of each light, black body
    ambient: Range = (0.25, 0.6)  # light from everywhere, more from above
    total: Range = (1.0, 1.9)  # all of it together is scaled to this, as a camera's exposure does
    background_tint: Range = (0.2, 0.8)  # how far the ambient light takes the background's mean colour
    ambient_order: int = 0  # 2: ambient light differs by direction, as the background has it; 0: only by height


@dataclass(frozen=True)
class BackgroundSpec:
    """How a square is cut from a background image."""

    scale: Range = (0.45, 1.0)  # side of the square as a share of the image's shorter side
    flip: bool = True  # mirrored with probability 1/2


@dataclass(frozen=True)
class SensorSpec:
    """What a camera does to an image."""

    exposure_stops: Range = (-0.3, 0.3)
    white_balance: float = 0.06  # standard deviation of the gains of red and blue
    blur_probability: float = 0.5
    blur_px: Range = (0.3, 0.9)  # standard deviation of the blur
    noise: Range = (0.0, 0.02)  # standard deviation at mid grey, of full scale
    jpeg_quality: tuple[int, int] = (88, 97)
    # A probability of 0 does nothing.
    background_defocus_probability: float = 0.0
    background_defocus_px: Range = (1.0, 7.0)  # radius of the disc that a point becomes
    hand_defocus_probability: float = 0.0  # the focus lies on the background instead
    hand_defocus_px: Range = (0.6, 2.0)
    vignetting_probability: float = 0.0
    vignetting: Range = (0.05, 0.3)  # share of the light that the corners lose
    enlarging_probability: float = 0.0  # of an image that was smaller, by a linear or a cubic kernel
    source_scale: Range = (0.5, 1.0)  # side of that image as a share of this one's
    read_noise_probability: float = 0.0
    read_noise: Range = (0.0002, 0.0012)  # standard deviation in linear light, 1 is white
    fine_chroma_probability: float = 0.0  # a JPEG in which each pixel has its own colour (4:4:4); in others four share one (4:2:0)


@dataclass(frozen=True)
class MotionSpec:
    """How often, and how far, the hand or the camera moves during the exposure; labels are those of its middle."""

    probability: float = 0.0  # 0 draws nothing
    camera_share: float = 0.3  # of these the camera moves, and all of the image with it
    shift_m: Range = (0.0, 0.008)  # way of the hand; half a metre a second for 1/60 second are 8 mm
    turn_deg: Range = (0.0, 4.0)  # turn of the hand about its wrist
    shake_deg: Range = (0.03, 0.3)  # turn of the camera, to a side or up and down


@dataclass(frozen=True)
class ArmSpec:
    """How often a hand has its forearm, how its wrist stands, and what the forearm looks like.

    Wrists stay within an ellipse of WRIST_LIMITS_DEG, and are drawn independently of the camera, but for those behind whose forearm
    the hand would be hidden: these are drawn again.
    """

    probability: float = 0.0  # 0 draws nothing: a bare wrist, as in the paper
    flexion_mean_deg: float = -12.0  # positive towards the palm; in use and at rest wrists are a little extended
    flexion_std_deg: float = 24.0
    deviation_mean_deg: float = -5.0  # positive towards the thumb; the same wrists lean a little to the other side
    deviation_std_deg: float = 10.0
    twist_std_deg: float = 35.0  # of the elbow against the wrist: a forearm pronates and supinates by 80 degrees
    elbow_mean_deg: float = 70.0  # of the elbow, 0 is straight; it bends by 140 degrees
    elbow_std_deg: float = 35.0
    girth_std: float = 0.2  # of the growth from wrist to elbow, 1 is the mean
    mottling: Range = (0.2, 0.8)
    veins: Range = (0.0, 0.7)
    hair: Range = (0.0, 0.8)
    tan_std: float = 3.0  # how much darker or lighter than the hand, in hundredths of its tone


@dataclass(frozen=True)
class WearSpec:
    """How often a hand wears each thing, independently of the others. What goes on a forearm is worn by hands that have one."""

    sleeve: float = 0.0
    watch: float = 0.0
    bracelet: float = 0.0
    rings: float = 0.0  # at least one
    varnish: float = 0.0
    glove: float = 0.0


SENSOR_EFFECTS: dict[str, tuple[str, ...]] = {
    "background_defocus_probability": ("background_defocus_px",),
    "hand_defocus_probability": ("hand_defocus_px",),
    "vignetting_probability": ("vignetting",),
    "enlarging_probability": ("source_scale",),
    "read_noise_probability": ("read_noise",),
    "fine_chroma_probability": (),
}
"""Keys of SensorSpec that turn an effect on -> those that matter only then."""


@dataclass(frozen=True)
class HeldSpec:
    """How often a hand holds a thing. The pose is then one of the bank that can hold any, and no finger of it is swapped."""

    probability: float = 0.0


@dataclass(frozen=True)
class SecondHandSpec:
    """How often a second hand of the same person is in the image, near the first one, touching it, behind or before it."""

    probability: float = 0.0  # 0 draws nothing
    other_side: float = 0.9  # share of left hands beside right ones and right beside left; the rest are of one side
    touching: float = 0.5  # share of those that come as near as it goes; others keep a distance
    gap_m: Range = (0.005, 0.06)  # that they keep


@dataclass(frozen=True)
class OccluderSpec:
    """How often a thing that nobody holds is between camera and hand, and covers part of it."""

    probability: float = 0.0  # 0 draws nothing
    covered: Range = (0.05, 0.5)  # share of the hand that it may take from the camera


MAX_HANDS, MAX_CROWDS = 8, 60_000_000
"""No image of a crowd has more hands, and no spec more such images: each hand has a number of its own, below 1e9."""


@dataclass(frozen=True)
class CrowdSpec:
    """Images of several hands of different people, for training detectors. Where `hands` ends with 0 every image shows one hand.

    The image is the middle of a square of `image_size`: as wide, and `height` high. Of `camera`, elevation, azimuth and roll count.
    """

    hands: tuple[int, int] = (0, 0)  # least and greatest number, of images that are not empty
    empty: float = 0.2  # share of images without any hand
    height: int = 288  # of the image [px]
    size: Range = (0.08, 0.9)  # longer side of a hand's box over the image's height, log-uniform; less where there is no room
    view_deg: Range = (42.0, 75.0)  # angle of view across the image
    cut: float = 0.15  # share of hands that a border of the image cuts
    overlap: float = 0.25  # share of hands that are before or behind another person's hand, where there is one and they do not meet
    arms: float = 0.2  # share of images with the arm of a hand that is outside; twice as many of those without hands
    things: float = 0.25  # the same of a thing that nobody holds


@dataclass(frozen=True)
class SequenceSpec:
    """Clips: frames of one person in one light, before one background, in which fingers, hand, wrist and camera move.

    Sample `index` is frame index % frames of clip index // frames. Fingers go from pose to pose of the bank, each as quickly as it
    is drawn, from rest to rest; hand and camera sway. A hand that holds something keeps its fingers still.
    """

    frames: int = 0  # of a clip; 0: single images, and nothing below is used
    fps: float = 30.0
    pause_s: Range = (0.0, 0.3)  # between two movements of the fingers
    finger_deg_s: Range = (100.0, 400.0)  # greatest speed of a movement: of the joint that turns fastest
    hand_turn_deg: Range = (5.0, 40.0)  # how far the hand turns to each side; the forearm takes part in it as wrists let it
    hand_way_m: Range = (0.01, 0.08)  # how far the wrist goes to each side
    hand_hz: Range = (0.3, 1.2)  # how often it does both
    camera_turn_deg: Range = (0.2, 3.0)  # how far the camera goes about the hand, to each side
    camera_way_m: Range = (0.0, 0.02)  # how far what it looks at goes
    camera_hz: Range = (0.15, 0.6)
    shutter: Range = (0.0, 0.0)  # share of the time between frames during which light falls on an image; above 0 what moves blurs


WRIST_LIMITS_DEG = ((-70.0, 70.0), (-30.0, 20.0))
"""Least and greatest flexion and deviation of the wrist: American Academy of Orthopaedic Surgeons, Joint Motion, 1965 (extension
70, radial 20, ulnar 30 degrees); of the 80 degrees of flexion there, the 70 to which the forearm's surface is sound (scene.arm)."""


TWIST_LIMIT_DEG, ELBOW_LIMITS_DEG = 80.0, (5.0, 130.0)
"""How far a forearm twists in either direction (from the same source); the elbow's least and greatest angle (150 degrees there, of
which flesh leaves 130).
"""


def wrist_reach(flexion_deg: float, deviation_deg: float) -> float:
    """How far a wrist goes towards its limits: 1 on the ellipse through the four of them, less inside."""
    shares = (
        value / (low if value < 0 else high)
        for value, (low, high) in zip((flexion_deg, deviation_deg), WRIST_LIMITS_DEG, strict=True)
    )
    return math.hypot(*shares)


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset: distributions, counts, sizes, assets. What is here, and only that, decides its bytes."""

    name: str
    samples: int
    seed: int = 0
    image_size: int = 256
    shard_size: int = 512
    left_fraction: float = 0.0  # share of left hands, made by mirroring
    beta_std: float = 1.0  # shape coefficients ~ N(0, beta_std^2)
    alpha_std: float = 1.0  # skin coefficients ~ N(0, alpha_std^2), section 3.2.3
    # Files and folders of a YAML file are looked for where it lies.
    hand: str = "auto"  # "auto" (MANO when prepared, else embedded), "mano", "embedded", "toy" or a file
    textures: str = "auto"  # "auto" (HTML when prepared and the hand is MANO, else embedded), "html", "embedded" or a file
    backgrounds: str = "scenes"  # "scenes" (embedded) or a folder of images
    annotations: str = "auto"  # COCO annotations of a folder: "auto" (looked for), "none" (people are not left out) or a file
    environments: str = "none"  # a folder of .hdr or .exr panoramas whose light is used, see assets.environments; or "none"
    objects: str = "shapes"  # what is held: "shapes" (the package's) or a folder of meshes in metres, see assets.objects.own
    exclude_no_derivatives: bool = False  # leave out backgrounds whose licence forbids derivatives
    renderer: str = "moderngl"
    passes: tuple[str, ...] = ()
    pose: PoseSpec = field(default_factory=PoseSpec)
    camera: CameraSpec = field(default_factory=CameraSpec)
    light: LightSpec = field(default_factory=LightSpec)
    background: BackgroundSpec = field(default_factory=BackgroundSpec)
    sensor: SensorSpec = field(default_factory=SensorSpec)
    arm: ArmSpec = field(default_factory=ArmSpec)
    wear: WearSpec = field(default_factory=WearSpec)
    motion: MotionSpec = field(default_factory=MotionSpec)
    held: HeldSpec = field(default_factory=HeldSpec)
    second: SecondHandSpec = field(default_factory=SecondHandSpec)
    occluder: OccluderSpec = field(default_factory=OccluderSpec)
    crowd: CrowdSpec = field(default_factory=CrowdSpec)
    sequence: SequenceSpec = field(default_factory=SequenceSpec)

    @property
    def is_crowd(self) -> bool:
        """Whether images show any number of hands, and have the labels of crowds."""
        return self.crowd.hands[1] > 0

    @property
    def together(self) -> int:
        """How many samples belong together, from a multiple of it on: the frames of a clip, or 1."""
        return max(1, self.sequence.frames)

    def __post_init__(self) -> None:
        """Raises UsageError naming the key whose value is out of range."""
        _check(self)


ASSET_NAMES = {
    "hand": {"auto", "mano", "embedded", "toy"}, "textures": {"auto", "html", "embedded"}, "backgrounds": {"scenes"},
    "annotations": {"auto", "none"}, "environments": {"none"}, "objects": {"shapes"},
}  # fmt: skip
"""Keys of a spec that say where assets come from, and the words that are no path there."""

MAX_SPEC_CHARS, MAX_SPEC_DEPTH = 1 << 16, 8
"""The shipped specs have 2,000 characters and three levels; a YAML reader's time grows with the square of both."""

SHIPPED = ("manorender", "angrender", "default", "crowd", "clips")
"""Specs that come with the package."""


def load_spec(name_or_path: str) -> DatasetSpec:
    """A shipped spec by name, or a YAML file. Raises UsageError naming what is unknown, and what is known."""
    if name_or_path in SHIPPED:
        return parse_spec(spec_text(name_or_path), f"spec {name_or_path}")
    path = Path(name_or_path)
    if not path.suffix and not path.exists():
        close = difflib.get_close_matches(name_or_path, SHIPPED, 1)
        hint = f"did you mean {close[0]!r}?" if close else "a YAML file ends in .yaml"
        raise UsageError(f"no spec is called {name_or_path!r}: there are {', '.join(SHIPPED)}; {hint}")
    try:
        text = path.read_text(encoding="utf-8-sig")  # whatever the locale; Windows' editors begin with a mark
    except UnicodeDecodeError as error:
        raise UsageError(f"spec {path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    except (OSError, ValueError) as error:  # a path may hold a NUL
        raise UsageError(f"spec {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return _from_folder(parse_spec(text, f"spec {path}"), path.parent)


def _from_folder(spec: DatasetSpec, folder: Path) -> DatasetSpec:
    """The spec whose relative paths mean files of `folder`, wherever the command runs."""
    paths: dict[str, Any] = {}
    for key, words in ASSET_NAMES.items():
        if (given := getattr(spec, key)) not in words:
            paths[key] = str(folder.absolute() / os.path.expanduser(given))
    return dataclasses.replace(spec, **paths)


def spec_text(name: str) -> str:
    """The YAML text of a shipped spec, with its comments."""
    return (resources.files("handsynth.recipe") / "specs" / f"{name}.yaml").read_text(encoding="utf-8")


def parse_spec(text: str, where: str) -> DatasetSpec:
    """YAML text -> spec. `where` names it in errors. Raises UsageError."""
    _refuse_bombs(text, where)
    try:
        values = yaml.load(text, Loader=_SpecLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{where} is not a mapping of keys to values")
    return spec_from_dict(values, where)


class _SpecLoader(yaml.SafeLoader):
    """Plain values only, and no key twice: YAML would silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.YAMLError(f"the key {key.value!r:.60} stands there twice: keep one of the two")
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return super().construct_mapping(node, deep)


def _refuse_bombs(text: str, where: str) -> None:
    """Refuses YAML that costs far more to read than to write: long, deep, or with aliases."""
    if len(text) > MAX_SPEC_CHARS:
        raise UsageError(f"{where} is longer than {MAX_SPEC_CHARS:,} characters, which a spec never needs")
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > MAX_SPEC_DEPTH:
                raise UsageError(f"{where} uses YAML aliases or more than {MAX_SPEC_DEPTH} levels, which a spec never needs")
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{where} is not YAML: {' '.join(str(error).split())}") from None


def spec_to_dict(spec: DatasetSpec) -> dict[str, Any]:
    """The spec as plain JSON values; `spec_from_dict` is its inverse."""
    return dataclasses.asdict(spec)


def spec_from_dict(values: dict[str, Any], where: str) -> DatasetSpec:
    """Plain JSON values -> spec, checked like YAML. Raises UsageError."""
    return build(DatasetSpec, _without_minus_zero(values), where, UsageError)


def _without_minus_zero(value: Any, levels: int = 3) -> Any:
    """-0.0 means 0.0, and must be hashed as such; numpy would not take it for a standard deviation. A spec has three levels."""
    if levels and isinstance(value, dict):
        return {key: _without_minus_zero(v, levels - 1) for key, v in value.items()}
    if levels and isinstance(value, list):
        return [_without_minus_zero(v, levels - 1) for v in value]
    return value + 0 if isinstance(value, float) else value


def dataset_identity(spec: DatasetSpec, assets: dict[str, str]) -> str:
    """SHA-256 over schema, generator's version, spec and asset digests: equal ones mean equal samples (on one driver and codec).

    ASSET_NAMES do not count, what they led to does: `assets` maps "hand", "poses", "skin", "backgrounds", and
    "environments", "holdings" and "objects" where there are any, to digests.
    """
    code = {"schema": SCHEMA, "generator_version": GENERATOR_VERSION}
    return recorded_identity(code | {"spec": spec_to_dict(spec), "assets": assets})


def recorded_identity(index: Mapping[str, Any]) -> str:
    """The identity that follows from what an index records of its dataset, of any readable schema."""
    keys = ("schema", "assets") if index["schema"] == READABLE_SCHEMAS[0] else ("schema", "assets", "generator_version")
    spec = {key: value for key, value in index["spec"].items() if key not in ASSET_NAMES}
    for name in ("arm", "motion", "held", "second", "occluder"):
        if not spec.get(name, {"probability": 0})["probability"]:
            spec.pop(name, None)  # what is never drawn decides nothing
    if not spec.get("crowd", {"hands": [0, 0]})["hands"][1]:
        spec.pop("crowd", None)
    if not spec.get("sequence", {"frames": 0})["frames"]:
        spec.pop("sequence", None)
    if not any(spec.get("wear", {}).values()):
        spec.pop("wear", None)
    if isinstance(spec.get("light"), dict) and not spec["light"].get("ambient_order"):
        spec["light"] = {key: value for key, value in spec["light"].items() if key != "ambient_order"}
    if isinstance(spec.get("pose"), dict) and not spec["pose"].get("interpolation_probability"):
        spec["pose"] = {key: value for key, value in spec["pose"].items() if key != "interpolation_probability"}
    sensor = spec.get("sensor", {})
    off = {key for key in SENSOR_EFFECTS if not sensor.get(key)}
    off |= {key for effect in off for key in SENSOR_EFFECTS[effect]}
    if off & sensor.keys():
        spec["sensor"] = {key: value for key, value in sensor.items() if key not in off}
    return hashlib.sha256(canonical_json({key: index[key] for key in keys} | {"spec": spec})).hexdigest()


def _check(spec: DatasetSpec) -> None:
    """Bounds that keep every later stage meaningful."""

    def require(condition: bool, key: str, what: str) -> None:
        if not condition:
            value: Any = spec
            for part in key.split("."):
                value = getattr(value, part)
            raise UsageError(f"spec {spec.name}: {key} must be {what}, found {value!r:.60}")

    ranges = (
        spec.pose, spec.camera, spec.light, spec.background, spec.sensor, spec.arm, spec.motion, spec.second, spec.occluder,
        spec.crowd, spec.sequence,
    )  # fmt: skip
    for owner in (spec, *ranges):
        for f in dataclasses.fields(owner):
            value = getattr(owner, f.name)
            if isinstance(value, tuple) and len(value) == 2 and not isinstance(value[0], str) and value[0] > value[1]:
                raise UsageError(f"spec {spec.name}: {f.name} must go from the lower to the higher value, found {list(value)}")
    require(bool(spec.name) and all(c.isalnum() or c in "-_" for c in spec.name), "name", "letters, digits, '-' and '_'")
    require(0 < spec.samples < 10**9, "samples", "between 1 and 999,999,999")
    require(0 <= spec.seed < 2**63, "seed", "a whole number from 0")
    require(32 <= spec.image_size <= 2048, "image_size", "between 32 and 2048 pixels")
    require(0 < spec.shard_size <= 100_000, "shard_size", "between 1 and 100,000")
    require(0 <= spec.left_fraction <= 1, "left_fraction", "between 0 and 1")
    require(0 <= spec.beta_std <= 5, "beta_std", "between 0 and 5")
    require(0 <= spec.alpha_std <= 5, "alpha_std", "between 0 and 5")
    require(spec.renderer in ("moderngl", "pyrender"), "renderer", "moderngl or pyrender")
    known = (*PASSES, *CLIP_PASSES, *OTHER_PASSES)
    require(set(spec.passes) <= set(known), "passes", f"among {', '.join(known)}")
    require(len(set(spec.passes)) == len(spec.passes), "passes", "free of repetitions")
    require(spec.pose.order in ("bank", "random"), "pose.order", "bank or random")
    require(spec.pose.bank_poses > 0, "pose.bank_poses", "positive")
    require(spec.pose.draws > 0, "pose.draws", "positive")
    for key in ("swap_probability", "interpolation_probability"):
        require(0 <= getattr(spec.pose, key) <= 1, f"pose.{key}", "between 0 and 1")
    camera = spec.camera
    require(camera.order in ("grid", "random"), "camera.order", "grid or random")
    require(camera.draws > 0, "camera.draws", "positive")
    require(-90 <= camera.elevation_deg[0] <= camera.elevation_deg[1] <= 90, "camera.elevation_deg", "within -90 and 90")
    require(-720 <= camera.azimuth_deg[0] and camera.azimuth_deg[1] <= 720, "camera.azimuth_deg", "within -720 and 720")
    require(camera.step_deg >= 0.1, "camera.step_deg", "at least 0.1")
    require(
        camera.order != "grid" or camera.azimuth_deg[1] - camera.azimuth_deg[0] <= 360,
        "camera.azimuth_deg", "one turn at most, 360 degrees, in a grid",
    )  # fmt: skip
    require(0 <= camera.roll_std_deg <= 360, "camera.roll_std_deg", "between 0 and 360")
    # A 16-bit depth image ends at 6.55 m.
    require(0.3 <= camera.distance_m[0] and camera.distance_m[1] <= 6, "camera.distance_m", "within 0.3 and 6 metres")
    require(0.05 <= camera.fill[0] and camera.fill[1] <= 0.95, "camera.fill", "within 0.05 and 0.95")
    require(0 <= camera.offset <= 1, "camera.offset", "between 0 and 1")
    require(1 <= spec.light.count[0] and spec.light.count[1] <= 3, "light.count", "within 1 and 3")
    require(
        1000 <= spec.light.temperature_k[0] and spec.light.temperature_k[1] <= 20000, "light.temperature_k", "within 1000 and 20000"
    )
    for key in ("key_intensity", "fill_intensity", "ambient", "total"):
        require(0 <= getattr(spec.light, key)[0] and getattr(spec.light, key)[1] <= 10, f"light.{key}", "within 0 and 10")
    require(spec.light.ambient_order in (0, 2), "light.ambient_order", "0 or 2")
    require(0 <= spec.light.background_tint[0] and spec.light.background_tint[1] <= 1, "light.background_tint", "within 0 and 1")
    require(0 < spec.background.scale[0] and spec.background.scale[1] <= 1, "background.scale", "within 0 (excluded) and 1")
    require(
        abs(spec.sensor.exposure_stops[0]) <= 4 and abs(spec.sensor.exposure_stops[1]) <= 4,
        "sensor.exposure_stops",
        "within -4 and 4",
    )
    require(0 <= spec.sensor.white_balance <= 0.5, "sensor.white_balance", "between 0 and 0.5")
    require(0 <= spec.sensor.blur_probability <= 1, "sensor.blur_probability", "between 0 and 1")
    require(0 < spec.sensor.blur_px[0] and spec.sensor.blur_px[1] <= 20, "sensor.blur_px", "within 0 (excluded) and 20 pixels")
    require(0 <= spec.sensor.noise[0] and spec.sensor.noise[1] <= 0.5, "sensor.noise", "within 0 and 0.5")
    require(1 <= spec.sensor.jpeg_quality[0] and spec.sensor.jpeg_quality[1] <= 100, "sensor.jpeg_quality", "within 1 and 100")
    for key in SENSOR_EFFECTS:
        require(0 <= getattr(spec.sensor, key) <= 1, f"sensor.{key}", "between 0 and 1")
    require(
        spec.sensor.background_defocus_probability + spec.sensor.hand_defocus_probability <= 1,
        "sensor.hand_defocus_probability", "at most 1 together with background_defocus_probability",
    )  # fmt: skip
    for key in ("background_defocus_px", "hand_defocus_px"):
        least, most = getattr(spec.sensor, key)
        require(0 < least and most <= 20, f"sensor.{key}", "within 0 (excluded) and 20 pixels")
    require(0 <= spec.sensor.vignetting[0] and spec.sensor.vignetting[1] <= 0.9, "sensor.vignetting", "within 0 and 0.9")
    require(0.5 <= spec.sensor.source_scale[0] and spec.sensor.source_scale[1] <= 1, "sensor.source_scale", "within 0.5 and 1")
    require(0 <= spec.sensor.read_noise[0] and spec.sensor.read_noise[1] <= 0.1, "sensor.read_noise", "within 0 and 0.1")
    require(0 <= spec.motion.probability <= 1, "motion.probability", "between 0 and 1")
    require(0 <= spec.motion.camera_share <= 1, "motion.camera_share", "between 0 and 1")
    for key, bound, unit in (("shift_m", 0.5, "metres"), ("turn_deg", 45, "degrees"), ("shake_deg", 10, "degrees")):
        least, most = getattr(spec.motion, key)
        require(0 <= least and most <= bound, f"motion.{key}", f"within 0 and {bound} {unit}")
    arm, (flexion, deviation) = spec.arm, WRIST_LIMITS_DEG
    require(0 <= arm.probability <= 1, "arm.probability", "between 0 and 1")
    require(flexion[0] < arm.flexion_mean_deg < flexion[1], "arm.flexion_mean_deg", "between {:g} and {:g}".format(*flexion))
    require(
        deviation[0] < arm.deviation_mean_deg < deviation[1], "arm.deviation_mean_deg", "between {:g} and {:g}".format(*deviation)
    )
    for key in ("flexion_std_deg", "deviation_std_deg", "twist_std_deg"):
        require(0 <= getattr(arm, key) <= 90, f"arm.{key}", "between 0 and 90")
    require(0 <= arm.elbow_mean_deg <= 130, "arm.elbow_mean_deg", "between 0 and 130")
    require(0 <= arm.girth_std <= 0.5, "arm.girth_std", "between 0 and 0.5")
    for key in ("mottling", "veins", "hair"):
        require(0 <= getattr(arm, key)[0] and getattr(arm, key)[1] <= 1, f"arm.{key}", "within 0 and 1")
    require(0 <= arm.tan_std <= 10, "arm.tan_std", "between 0 and 10")
    for key, chance in {
        "held.probability": spec.held.probability,
        "second.probability": spec.second.probability,
        "second.other_side": spec.second.other_side,
        "second.touching": spec.second.touching,
        "occluder.probability": spec.occluder.probability,
    }.items():
        require(0 <= chance <= 1, key, "between 0 and 1")
    require(0 <= spec.second.gap_m[0] and spec.second.gap_m[1] <= 0.3, "second.gap_m", "within 0 and 0.3 metres")
    require(0 < spec.occluder.covered[0] and spec.occluder.covered[1] <= 0.5, "occluder.covered", "within 0 (excluded) and 0.5")
    for key, probability in vars(spec.wear).items():
        require(0 <= probability <= 1, f"wear.{key}", "between 0 and 1")
    for key in WORN_ON_FOREARM:
        if getattr(spec.wear, key) > 0 and arm.probability == 0:
            raise UsageError(f"spec {spec.name}: wear.{key} takes a forearm: set arm.probability above 0, or wear.{key} to 0")
    _check_crowd(spec, require)
    _check_sequence(spec, require)
    capacity = spec_capacity(spec)
    require(capacity is None or spec.samples == capacity, "samples", f"{capacity} ({_counts(spec)})")


def _check_crowd(spec: DatasetSpec, require: Callable[[bool, str, str], None]) -> None:
    """Bounds of images of several hands."""
    crowd, width = spec.crowd, spec.image_size
    require(0 <= crowd.hands[0] and crowd.hands[1] <= MAX_HANDS, "crowd.hands", f"within 0 and {MAX_HANDS}")
    for key in ("empty", "cut", "overlap", "arms", "things"):
        require(0 <= getattr(crowd, key) <= 1, f"crowd.{key}", "between 0 and 1")
    require(0.05 <= crowd.size[0] and crowd.size[1] <= 1, "crowd.size", "within 0.05 and 1")
    require(20 <= crowd.view_deg[0] and crowd.view_deg[1] <= 100, "crowd.view_deg", "within 20 and 100 degrees")
    if not spec.is_crowd:
        return
    require(1 <= crowd.hands[0], "crowd.hands", f"within 1 and {MAX_HANDS} (crowd.empty is the share of images without hands)")
    require(spec.samples <= MAX_CROWDS, "samples", f"at most {MAX_CROWDS:,} of a crowd")
    require(width / 2 <= crowd.height <= width, "crowd.height", f"between half of image_size, {width}, and all of it")
    parity = "even" if width % 2 == 0 else "odd"
    require((width - crowd.height) % 2 == 0, "crowd.height", f"{parity}, as image_size is")
    require(not spec.passes, "passes", "empty: crowds have none")
    for name in ("second", "occluder"):
        require(getattr(spec, name).probability == 0, f"{name}.probability", "0: crowds have hands and things of their own")
    require(spec.pose.order == "random", "pose.order", "random: crowds count no poses")
    require(spec.camera.order == "random", "camera.order", "random: crowds have no grid of cameras")
    if crowd.hands[1] * crowd.size[0] ** 2 * crowd.height > width:
        raise UsageError(
            f"spec {spec.name}: {crowd.hands[1]} hands of {100 * crowd.size[0]:g} % of the image's height or more do not fit into "
            f"{width} x {crowd.height} pixels: give fewer crowd.hands or a smaller crowd.size"
        )


def _check_sequence(spec: DatasetSpec, require: Callable[[bool, str, str], None]) -> None:
    """Bounds of clips; and what does not go with them."""
    sequence = spec.sequence
    require(0 <= sequence.frames <= 100_000, "sequence.frames", "between 0 and 100,000")
    if not sequence.frames:
        if found := set(CLIP_PASSES) & set(spec.passes):
            raise UsageError(f"spec {spec.name}: the pass {min(found)} takes clips: set sequence.frames above 0, or leave it out")
        return
    for key, least, most in (
        ("pause_s", 0, 60), ("finger_deg_s", 1, 1000), ("hand_turn_deg", 0, 60), ("hand_way_m", 0, 0.3), ("hand_hz", 0.01, 3),
        ("camera_turn_deg", 0, 15), ("camera_way_m", 0, 0.1), ("camera_hz", 0.01, 3), ("shutter", 0, 1),
    ):  # fmt: skip
        low, high = getattr(sequence, key)
        require(least <= low and high <= most, f"sequence.{key}", f"within {least:g} and {most:g}")
    require(1 <= sequence.fps <= 1000, "sequence.fps", "between 1 and 1000")
    if sequence.frames > spec.shard_size:
        raise UsageError(
            f"spec {spec.name}: a clip of {sequence.frames} frames is longer than a shard of {spec.shard_size} samples, and a "
            f"shard never splits a clip: set shard_size to {sequence.frames} or more, or sequence.frames lower"
        )
    require(spec.samples % sequence.frames == 0, "samples", f"a multiple of sequence.frames, {sequence.frames}")
    for key, value in (("pose.order", spec.pose.order), ("camera.order", spec.camera.order)):
        require(value == "random", key, "random where there are clips")
    require(
        spec.pose.interpolation_probability == 0,
        "pose.interpolation_probability", "0 where there are clips, whose fingers are on the way between poses anyway",
    )  # fmt: skip
    require(
        spec.motion.probability == 0, "motion.probability", "0 where there are clips, which blur by sequence.shutter as they move"
    )
    require(not spec.is_crowd, "crowd.hands", "[0, 0] where there are clips, which show one hand")
    for key, chance in (("second.probability", spec.second.probability), ("occluder.probability", spec.occluder.probability)):
        require(chance == 0, key, "0 where there are clips, whose one hand moves with what it wears and holds")


SAME_STEP = 0.02
"""A range that is within this share of a step of a whole number of steps is divided evenly: 1080 times 0.3333333 are a turn."""


def grid_axes(camera: CameraSpec) -> tuple[list[float], list[float]]:
    """Elevations (both limits included) and azimuths (upper limit excluded: there the turn is closed) of a camera grid [deg].

    A step that does not divide the range is kept as it is: steps of 7 from 0 to 360 end at 357, 3 degrees before 0, and those of
    elevations end below the upper limit.
    """
    return _places(camera.elevation_deg, camera.step_deg, True), _places(camera.azimuth_deg, camera.step_deg, False)


def _places(limits: Range, step: float, closed: bool) -> list[float]:
    """From the lower limit on in steps [deg], with the upper limit when it is reached and `closed`; at least one place."""
    low, high = limits
    steps = (high - low) / step
    divides = abs(steps - round(steps)) <= SAME_STEP
    whole = round(steps) if divides else math.floor(steps)
    length = (high - low) / max(whole, 1) if divides else step
    return [round(low + k * length, 6) for k in range(max(1, whole + (closed or not divides)))]


def _counts(spec: DatasetSpec) -> str:
    """What a spec's orders count, for a message."""
    if spec.camera.order != "grid":
        return f"{spec.pose.bank_poses} poses x {spec.pose.draws} draws"
    elevations, azimuths = grid_axes(spec.camera)
    text = f"{len(elevations)} elevations x {len(azimuths)} azimuths x {spec.camera.draws} draws"
    end, step = spec.camera.azimuth_deg[1], spec.camera.step_deg
    uneven = end - azimuths[-1] < (1 - SAME_STEP) * step
    return text + (f"; steps of {step:g} degrees end {end - azimuths[-1]:g} before azimuth {end:g}" if uneven else "")


def spec_capacity(spec: DatasetSpec) -> int | None:
    """How many samples the spec's orders count: 895 x 64, or 31 x 72 x 32; None when everything is drawn."""
    counts = set()
    if spec.pose.order == "bank":
        counts.add(spec.pose.bank_poses * spec.pose.draws)
    if spec.camera.order == "grid":
        elevations, azimuths = grid_axes(spec.camera)
        counts.add(len(elevations) * len(azimuths) * spec.camera.draws)
    if len(counts) > 1:
        raise UsageError(f"spec {spec.name}: pose.order bank and camera.order grid count differently: {sorted(counts)} samples")
    return counts.pop() if counts else None
