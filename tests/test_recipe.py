"""Recipes: pure, one stream per purpose, inside the spec's bounds, faithful to the paper's counts, and framed."""

import copy
import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tiny import odd_wrists

from handsynth.assets.library import Library, open_library
from handsynth.core.camera import project
from handsynth.core.conventions import CLOTHING, FINGER_JOINTS, FINGERS, WORN_ON_FOREARM
from handsynth.core.errors import HandsynthError
from handsynth.core.hand import load_hand
from handsynth.core.index import canonical_json
from handsynth.core.locations import EMBEDDED
from handsynth.core.poses import PoseBank
from handsynth.core.rng import stream
from handsynth.core.rotation import rotvec_to_rotmat
from handsynth.core.toy import toy_poses
from handsynth.recipe.proxy import HandProxy, segment_distance
from handsynth.recipe.recipe import ARM_VARIANTS, ArmChoice, Recipe, SensorChoice, recipe_from_dict
from handsynth.recipe.samplers import SWAP_TRIES, TWIST_LIMIT_DEG, UPRIGHT, RecipeSampler, blackbody_rgb, wrist_reach
from handsynth.recipe.spec import (
    SHIPPED,
    WRIST_LIMITS_DEG,
    ArmSpec,
    DatasetSpec,
    OccluderSpec,
    SecondHandSpec,
    WearSpec,
    load_spec,
    recorded_identity,
    spec_to_dict,
)
from handsynth.recipe.wardrobe import sample_glove
from handsynth.recipe.wear import VARIANTS, Worn
from handsynth.render.projection import NEAR_M
from handsynth.scene.arm import make_arm
from handsynth.scene.pose import PoseStage
from handsynth.scene.wear.dress import Dress
from handsynth.visibility import visible_share

NOWHERE = Path("/nonexistent")


def toy_library() -> Library:
    """Toy hand, embedded skin and scenes: a recipe needs their numbers only, so nothing is painted."""
    return open_library("toy", "embedded", "scenes", NOWHERE)


def embedded_library() -> Library:
    """The embedded hand; with the toy hand's poses as long as it has no bank of its own."""
    if (EMBEDDED / "poses.npz").is_file():
        return open_library("embedded", "embedded", "scenes", NOWHERE)
    bank = PoseBank(toy_poses(), tuple(map(str, range(len(toy_poses())))))
    return dataclasses.replace(toy_library(), hand=load_hand(EMBEDDED / "hand.npz"), bank=bank)


@pytest.fixture(params=[toy_library, embedded_library], ids=["toy", "embedded"], scope="module")
def library(request) -> Library:
    return request.param()


@pytest.fixture(scope="module")
def toy() -> Library:
    return toy_library()


def spread(sampler: RecipeSampler, count: int) -> list[Recipe]:
    """`count` recipes, evenly spread over the spec."""
    return [sampler.sample(k * sampler.spec.samples // count) for k in range(count)]


SINGLE = [name for name in SHIPPED if not load_spec(name).is_crowd]
"""Shipped specs whose images show one hand each."""

STILL = [name for name in SINGLE if not load_spec(name).sequence.frames]
"""Specs of single images: those of clips show few people, see test_clips.py."""


def as_bytes(recipe: Recipe) -> bytes:
    return canonical_json(recipe.to_dict())


@pytest.mark.parametrize("name", SINGLE)
def test_a_recipe_is_a_pure_function_of_spec_and_index(name, toy):
    """Any order, any sampler, any neighbour: the same bytes; another index or seed: others."""
    spec = load_spec(name)
    indices = [0, 1, 31, 32, spec.samples // 2, spec.samples - 1]
    first, second = RecipeSampler(spec, toy), RecipeSampler(spec, toy)
    forwards = {i: as_bytes(first.sample(i)) for i in indices}
    backwards = {i: as_bytes(second.sample(i)) for i in reversed(indices)}
    assert forwards == backwards
    assert len(set(forwards.values())) == len(indices)
    other = RecipeSampler(dataclasses.replace(spec, seed=spec.seed + 1), toy)
    assert all(as_bytes(other.sample(i)) != forwards[i] for i in indices)


def test_recipes_made_together_are_those_made_alone(library):
    """Whatever company a sample has, its recipe has the same bytes."""
    for name in SINGLE:
        sampler = RecipeSampler(load_spec(name), library)
        indices = list(range(0, sampler.spec.samples, sampler.spec.samples // 71))
        assert [as_bytes(r) for r in sampler.sample_many(indices)] == [as_bytes(sampler.sample(i)) for i in indices]


def test_a_stream_is_philox_with_key_and_counter():
    """The quick construction gives the numbers of the documented one."""
    for names in (("light",), ("manorender", "light")):
        key = np.frombuffer(hashlib.sha256(("7 " + "\n".join(names)).encode()).digest()[:16], "<u8")
        plain = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, 57279]))
        np.testing.assert_array_equal(stream(7, 57279, *names).random(100), plain.random(100))


def test_specs_of_one_seed_show_different_people(toy):
    """No two specs, whatever else they share, draw one number of any purpose twice at an index: neither bodies nor scenes."""
    specs = [load_spec(name) for name in SINGLE]
    specs = [dataclasses.replace(spec, samples=60000) if spec.sequence.frames else spec for spec in specs]
    specs += [dataclasses.replace(specs[0], name=f"{specs[0].name}2"), dataclasses.replace(specs[0], seed=1)]
    samplers = [RecipeSampler(spec, toy) for spec in specs]
    for index in (0, 31, 57279):
        drawn = [sampler.sample(index).to_dict() for sampler in samplers]
        for key in ("beta", "alpha", "lights", "ambient", "background", "sensor", "camera"):
            assert len({canonical_json(values[key]) for values in drawn}) == len(specs), (index, key)


def test_a_recipe_is_the_same_in_another_process(toy):
    """Nothing of a recipe hangs on this process: not on hash seeds, threads or what was drawn before."""
    code = (
        "from handsynth.assets.library import open_library; from handsynth.recipe.samplers import RecipeSampler\n"
        "from handsynth.recipe.spec import load_spec; from handsynth.core.index import canonical_json; from pathlib import Path\n"
        "s = RecipeSampler(load_spec('default'), open_library('toy', 'embedded', 'scenes', Path('/nonexistent')))\n"
        "print(*[canonical_json(s.sample(i).to_dict()).decode() for i in (99, 7, 4321)], sep='\\n')"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    sampler = RecipeSampler(load_spec("default"), toy)
    assert printed == [as_bytes(sampler.sample(i)).decode() for i in (99, 7, 4321)]


CHANGES = {
    "light": ({"count": (1, 1), "temperature_k": (2000.0, 9000.0)}, {"lights", "ambient"}),
    "camera": ({"roll_std_deg": 10.0, "offset": 0.1}, {"camera"}),
    "background": ({"scale": (0.2, 0.3), "flip": False}, {"background"}),
    "sensor": ({"blur_probability": 0.3, "noise": (0.3, 0.4)}, {"sensor"}),
    # The camera frames the hand, so it follows the pose.
    "pose": ({"swap_probability": 1.0}, {"pose", "theta", "camera"}),
    "beta_std": (0.5, {"beta", "camera"}),
    "alpha_std": (0.5, {"alpha"}),
    "left_fraction": (1.0, {"side"}),
    "motion": ({"probability": 0.5, "camera_share": 0.9}, {"motion"}),
    "arm": (
        {"flexion_std_deg": 12.0, "probability": 0.5, "hair": (0.0, 0.1)},
        {"arm", "worn"},
    ),  # what goes on a forearm goes with it
    "wear": ({"sleeve": 0.9, "rings": 0.0, "varnish": 0.5}, {"worn"}),
}
"""Part of a spec, a change of it -> the fields of a recipe that may follow."""


@pytest.mark.parametrize("part", CHANGES)
def test_a_change_of_one_purpose_leaves_the_others_alone(part, toy):
    """One named stream per purpose: another light moves no camera, pose, background or noise."""
    change, may_change = CHANGES[part]
    spec = dataclasses.replace(alone(), left_fraction=0.5)
    changed = dataclasses.replace(getattr(spec, part), **change) if isinstance(change, dict) else change
    before = spread(RecipeSampler(spec, toy), 40)
    after = spread(RecipeSampler(dataclasses.replace(spec, **{part: changed}), toy), 40)
    followed = {
        f.name for f in dataclasses.fields(Recipe) for a, b in zip(before, after, strict=True) if vars(a)[f.name] != vars(b)[f.name]
    }
    if "camera" in may_change:  # a forearm that would hide the hand from it is drawn again
        followed -= {"arm", "worn"}
    assert followed == may_change


@pytest.mark.parametrize("name", SINGLE)
def test_json_and_back_is_the_same_recipe(name, toy):
    """What a dataset stores of a recipe is the recipe, to the last bit."""
    for recipe in spread(RecipeSampler(load_spec(name), toy), 30):
        assert recipe_from_dict(json.loads(as_bytes(recipe)), "sample", 10) == recipe


def _set(values: dict, path: str, value: object) -> None:
    *owners, leaf = path.split(".")
    for owner in owners:
        values = values[int(owner)] if isinstance(values, list) else values[owner]
    if isinstance(values, list):
        values[int(leaf) : int(leaf) + 1] = [values[0] if value == "the same again" else value]
    else:
        values[leaf] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("theta", [0.0] * 47),
        ("theta", [float("nan")] * 48),
        ("theta", "0" * 48),
        ("beta", [0.0] * 9),
        ("beta", [10**400] + [0] * 9),
        ("trans", [0, 0]),
        ("side", "middle"),
        ("index", -1),
        ("index", "7"),
        ("lights", [{"direction_cam": [0, 0, 1], "color": [1, 1, 1], "temperature_k": 5000}] * 4),
        ("lights", [{}]),
        ("camera.focal_px", 0),
        ("camera.focal_px", float("inf")),
        ("camera.distance_m", -1),
        ("camera.target", None),
        ("background.scale", 0),
        ("background.x", 1.5),
        ("background.y", -0.5),
        ("background.index", -1),
        ("background.flip", 1),
        ("sensor.jpeg_quality", 0),
        ("sensor.jpeg_quality", 101),
        ("sensor.blur_px", 1e9),
        ("sensor.noise", -0.1),
        ("sensor.gains", [1, 1, -1]),
        ("sensor.noise_key", -1),
        ("sensor.background_defocus_px", 21),
        ("sensor.hand_defocus_px", -1),
        ("sensor.vignetting", 1.0),
        ("sensor.source_scale", 0.1),
        ("sensor.source_scale", 1.1),
        ("sensor.enlarging", "lanczos"),
        ("sensor.read_noise", 2.0),
        ("sensor.chroma", "422"),
        ("motion", {"shift_m": [5.0, 0.0, 0.0], "turn_deg": [0.0, 0.0, 0.0], "shake_deg": [0.0, 0.0]}),
        ("motion", {"shift_m": [0.0, 0.0, 0.0], "turn_deg": [0.0, 100.0, 0.0], "shake_deg": [0.0, 0.0]}),
        ("motion", {"shift_m": [0.0, 0.0, 0.0], "turn_deg": [0.0, 0.0, 0.0], "shake_deg": [0.0, -30.0]}),
        ("motion", {"shift_m": [0.1, 0.0, 0.0], "turn_deg": [0.0, 0.0, 0.0], "shake_deg": [0.1, 0.0]}),
        ("motion", {"shift_m": [0.1, 0.0, 0.0]}),
        ("pose.fingers", ["thumb"]),
        ("pose.fingers", {"tail": 3}),
        ("pose.blends", {"tail": [3, 0.5]}),
        ("pose.blends", {"thumb": [3, 1.5]}),
        ("pose.blends", {"thumb": 3}),
        ("pose.bank_index", True),
        ("arm", {}),
        ("arm", True),
        ("arm.flexion_deg", 91),
        ("arm.deviation_deg", float("nan")),
        ("arm.twist_deg", -181),
        ("arm.girth", 1e9),
        ("arm.girth", -1),
        ("arm.variant", -1),
        ("arm.variant", ARM_VARIANTS),
        ("arm.variant", 1.5),
        ("arm.hair", -0.1),
        ("arm.veins", 1.1),
        ("arm.mottling", "much"),
        ("arm.tan", 51),
        ("arm.colour", 1),
        ("arm", None),
        ("worn", {}),
        ("worn", True),
        ("worn.hat", {}),
        ("worn.sleeve", {}),
        ("worn.sleeve.garment", "toga"),
        ("worn.sleeve.hem", "../../hem"),
        ("worn.sleeve.cuff_m", 0.5),
        ("worn.sleeve.cuff_m", float("nan")),
        ("worn.sleeve.folds", VARIANTS),
        ("worn.sleeve.folds", -1),
        ("worn.sleeve.folds", 10**400),
        ("worn.sleeve.period_m", 0),
        ("worn.sleeve.colour", [256, 0, 0]),
        ("worn.sleeve.colour", [0.5, 0, 0]),
        ("worn.sleeve.second", [0, 0]),
        ("worn.watch.strap", "rope"),
        ("worn.watch.style", 4),
        ("worn.watch.radius_m", 0),
        ("worn.watch.hour", 12.5),
        ("worn.bracelet.kind", ["beads"]),
        ("worn.bracelet.tilt_rad", 1e9),
        ("worn.rings", {}),
        ("worn.rings.0", None),
        ("worn.rings.0.finger", "toe"),
        ("worn.rings.0.stone_m", -0.001),
        ("worn.rings.1", "the same again"),
        ("worn.varnish.opacity", 1.5),
        ("worn.glove.grain", 1.0),
        ("worn.glove.reach", -0.1),
        ("__class__", "os.system"),
    ],
)
def test_a_hostile_recipe_is_refused_in_one_sentence(path, value, toy):
    """A stored recipe is input: values that no sampler draws are refused before they reach a renderer."""
    values = json.loads(as_bytes(RecipeSampler(with_arms(), toy).sample(0)))
    everything = (RecipeSampler(with_wear(glove=0), toy).sample(index).to_dict() for index in range(100))
    dressed = next(found["worn"] for found in everything if len(found["worn"]) == 5 and len(found["worn"]["rings"]) == 1)
    values["worn"] = json.loads(json.dumps(dressed | {"glove": vars(sample_glove(np.random.default_rng(0)))}))
    assert recipe_from_dict(copy.deepcopy(values), "sample 0", 10)
    _set(values, path, value)
    with pytest.raises(HandsynthError, match="sample 0: ") as raised:
        recipe_from_dict(values, "sample 0", 10)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("values", [None, [], "recipe", 3, {}])
def test_something_else_than_a_recipe_is_refused(values):
    with pytest.raises(HandsynthError, match="sample 0"):
        recipe_from_dict(values, "sample 0", 10)


@pytest.mark.parametrize("name", STILL)
def test_draws_stay_inside_the_declared_ranges(name, toy):
    """Every drawn value lies in the range that the spec declares, and the draws use most of that range."""
    spec = load_spec(name)
    recipes = spread(RecipeSampler(spec, toy), 400)

    def check(values: list[float], limits: tuple[float, float]) -> None:
        low, high = limits
        assert low - 1e-6 <= min(values) <= low + 0.15 * (high - low)
        assert high - 0.15 * (high - low) <= max(values) <= high + 1e-6

    cameras, sensors = [r.camera for r in recipes], [r.sensor for r in recipes]
    check([c.azimuth_deg for c in cameras], spec.camera.azimuth_deg)
    check([c.elevation_deg for c in cameras], spec.camera.elevation_deg)
    check([c.distance_m for c in cameras], spec.camera.distance_m)
    check([s.noise for s in sensors], spec.sensor.noise)
    check([s.jpeg_quality for s in sensors], spec.sensor.jpeg_quality)
    check([s.blur_px for s in sensors if s.blur_px], spec.sensor.blur_px)
    check([float(np.log2(s.gains[1])) for s in sensors], spec.sensor.exposure_stops)
    check([r.background.scale for r in recipes], spec.background.scale)
    check([light.temperature_k for r in recipes for light in r.lights], spec.light.temperature_k)
    assert {len(r.lights) for r in recipes} == {1, 2, 3}
    assert {r.side for r in recipes} == ({"left", "right"} if spec.left_fraction else {"right"})
    assert all(0 <= r.background.index < len(toy.backgrounds) for r in recipes)
    assert 0.4 < np.mean([r.background.flip for r in recipes]) < 0.6
    assert abs(np.mean([s.blur_px > 0 for s in sensors]) - spec.sensor.blur_probability) < 0.1
    vectors = [v for r in recipes for v in (r.ambient.up_cam, *(light.direction_cam for light in r.lights))]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


EVERYTHING = {
    "background_defocus_probability": 0.5, "hand_defocus_probability": 0.3, "vignetting_probability": 0.6,
    "enlarging_probability": 0.4, "read_noise_probability": 0.7, "fine_chroma_probability": 0.2,
}  # fmt: skip
"""What turns the camera's effects on."""

OWN = {
    "background_defocus_probability": {"background_defocus_px"},
    "hand_defocus_probability": {"hand_defocus_px", "background_defocus_px"},  # one draw decides where the focus lies
    "vignetting_probability": {"vignetting"},
    "enlarging_probability": {"source_scale", "enlarging"},
    "read_noise_probability": {"read_noise"},
    "fine_chroma_probability": {"chroma"},
}
"""Fields of SensorChoice that each of them may change."""


def test_the_cameras_effects_are_as_frequent_and_strong_as_the_spec_says(toy):
    """Shares within five standard errors, sizes within their ranges; focus lies on hand or background, never on neither."""
    spec = load_spec("manorender")
    spec = dataclasses.replace(spec, sensor=dataclasses.replace(spec.sensor, **EVERYTHING))
    sensors, ranges = [r.sensor for r in spread(RecipeSampler(spec, toy), 600)], spec.sensor
    drawn = {
        "background_defocus_px": (0.5, ranges.background_defocus_px),
        "hand_defocus_px": (0.3, ranges.hand_defocus_px),
        "vignetting": (0.6, ranges.vignetting),
        "source_scale": (0.4, ranges.source_scale),
        "read_noise": (0.7, ranges.read_noise),
    }
    for name, (share, (low, high)) in drawn.items():
        values = [value for s in sensors if (value := getattr(s, name)) != (1 if name == "source_scale" else 0)]
        assert abs(len(values) / 600 - share) < 5 * np.sqrt(share * (1 - share) / 600), name
        assert low <= min(values) < low + 0.1 * (high - low), name
        assert high - 0.1 * (high - low) < max(values) <= high, name
    assert not any(s.background_defocus_px and s.hand_defocus_px for s in sensors)
    assert abs(np.mean([s.chroma == "444" for s in sensors]) - 0.2) < 0.1
    assert abs(np.mean([s.enlarging == "cubic" for s in sensors]) - 0.2) < 0.1
    assert all(s.source_scale < 1 for s in sensors if s.enlarging == "cubic")


def test_an_effect_moves_no_other(toy):
    """With one more of them, the others' draws stay, and so does all that the sensor did before."""
    spec = load_spec("manorender")
    plain = spread(RecipeSampler(spec, toy), 40)
    everything = dataclasses.replace(spec, sensor=dataclasses.replace(spec.sensor, **EVERYTHING))
    drawn = spread(RecipeSampler(everything, toy), 40)
    for effect in EVERYTHING:
        without = dataclasses.replace(everything, sensor=dataclasses.replace(everything.sensor, **{effect: 0.0}))
        for none, one, every in zip(plain, spread(RecipeSampler(without, toy), 40), drawn, strict=True):
            for name in {f.name for f in dataclasses.fields(SensorChoice)} - OWN[effect]:
                assert getattr(one.sensor, name) == getattr(every.sensor, name), (effect, name)
            for name in ("gains", "blur_px", "noise", "noise_key", "jpeg_quality"):
                assert getattr(none.sensor, name) == getattr(every.sensor, name)


def test_what_a_camera_does_not_do_is_not_stored(toy):
    """Recipes of specs without effects have the keys that they had before there were any; None of motion is no key."""
    recipe = RecipeSampler(load_spec("angrender"), toy).sample(5).to_dict()
    assert set(recipe["sensor"]) == {"gains", "blur_px", "noise", "noise_key", "jpeg_quality"}
    assert not {"motion", "arm"} & set(recipe)


def test_motions_are_as_the_spec_says(toy):
    """A share of images, of these a share by the camera; lengths within their ranges, without a preferred direction."""
    spec = load_spec("manorender")
    spec = dataclasses.replace(spec, motion=dataclasses.replace(spec.motion, probability=0.8, camera_share=0.4))
    motions = [r.motion for r in spread(RecipeSampler(spec, toy), 600)]
    found = [m for m in motions if m is not None]
    assert abs(len(found) / 600 - 0.8) < 0.1
    shaken, moved = [m for m in found if any(m.shake_deg)], [m for m in found if not any(m.shake_deg)]
    assert abs(len(shaken) / len(found) - 0.4) < 0.12
    assert all(m.shift_m == m.turn_deg == (0.0, 0.0, 0.0) for m in shaken)
    for values, (low, high) in (
        ([m.shake_deg for m in shaken], spec.motion.shake_deg),
        ([m.shift_m for m in moved], spec.motion.shift_m),
        ([m.turn_deg for m in moved], spec.motion.turn_deg),
    ):
        lengths = np.linalg.norm(values, axis=1)
        assert low - 1e-5 <= lengths.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < lengths.max() <= high + 1e-5
        assert np.abs(np.mean(values, 0)).max() < 5 * high / np.sqrt(len(values))


@pytest.mark.parametrize("name", STILL)
def test_shape_and_skin_are_standard_normal(name, toy):
    """beta, alpha ~ N(0, 1): over 300 recipes mean and standard deviation of all coefficients agree within five standard errors."""
    recipes = spread(RecipeSampler(load_spec(name), toy), 300)
    for values in (np.array([r.beta for r in recipes]), np.array([r.alpha for r in recipes])):
        assert abs(values.mean()) < 5 / np.sqrt(values.size)
        assert abs(values.std() - 1) < 5 / np.sqrt(2 * values.size)


def test_random_cameras_are_uniform_in_area(toy):
    """On a sphere the sine of the elevation is uniform: its quartiles are -1/2, 0 and 1/2."""
    sines = np.sin(np.deg2rad([r.camera.elevation_deg for r in spread(RecipeSampler(load_spec("manorender"), toy), 800)]))
    np.testing.assert_allclose(np.quantile(sines, (0.25, 0.5, 0.75)), (-0.5, 0, 0.5), atol=0.1)


def test_draw_zero_is_the_pose_of_the_bank_itself(library):
    """ManoRender: index = pose * 64 + draw; draw 0 of each pose carries its own fifteen finger angles."""
    spec = load_spec("manorender")
    sampler, bank = RecipeSampler(spec, library), library.bank.theta
    for pose in range(0, spec.pose.bank_poses, 41):
        recipe = sampler.sample(pose * spec.pose.draws)
        assert recipe.pose.draw == 0
        assert recipe.pose.fingers == {}
        assert recipe.pose.bank_index == pose * len(bank) // spec.pose.bank_poses
        np.testing.assert_allclose(np.array(recipe.theta).reshape(16, 3)[1:], bank[recipe.pose.bank_index], atol=1e-6)


@pytest.mark.parametrize("poses", [1, 7, 895, 2000])
def test_the_bank_is_used_evenly(library, poses):
    """A bank of another size is thinned or repeated: no row is the base more than once more often than another that is used."""
    spec, size = load_spec("manorender"), len(library.bank.theta)
    spec = dataclasses.replace(spec, samples=poses, pose=dataclasses.replace(spec.pose, bank_poses=poses, draws=1))
    sampler = RecipeSampler(spec, library)
    rows = [sampler.draw_hands([index])[0].pose.bank_index for index in range(poses)]
    counts = np.bincount(rows, minlength=size)
    assert rows == sorted(rows)
    assert np.count_nonzero(counts) == min(poses, size)
    assert counts.max() - counts[counts > 0].min() <= 1
    gaps = np.diff(np.unique(rows))
    assert poses == 1 or gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("order", ["bank", "random"])
def test_bank_poses_limits_the_poses_in_any_order(library, order):
    """Bases and swapped fingers come from the `bank_poses` rows that the spec takes, all of which are seen; from no other."""
    spec = load_spec("manorender")
    pose = dataclasses.replace(spec.pose, order=order, bank_poses=5, draws=200)
    sampler = RecipeSampler(dataclasses.replace(spec, samples=1000, pose=pose), library)
    poses = [sampler.draw_hands([index])[0].pose for index in range(0, 1000, 3)]
    taken = {k * len(library.bank.theta) // 5 for k in range(5)}
    assert {pose.bank_index for pose in poses} == taken
    assert {row for pose in poses for row in pose.fingers.values()} == taken


def _other_draws(sampler: RecipeSampler, count: int) -> list[Recipe]:
    """ManoRender's recipes other than draws 0."""
    return [r for r in spread(sampler, count) if r.pose.draw > 0]


def test_other_draws_swap_whole_fingers_and_never_collide(library):
    """In every draw but 0 some finger comes from another row, joints and all; no two fingers of it run through each other.

    Draws whose every try collided keep the pose itself: fewer than one in twenty.
    """
    sampler = RecipeSampler(load_spec("manorender"), library)
    recipes = _other_draws(sampler, 500)
    assert sum(not r.pose.fingers for r in recipes) < len(recipes) / 20
    for recipe in recipes:
        rows = np.array([recipe.pose.fingers.get(finger, recipe.pose.bank_index) for finger in FINGERS])
        theta = np.array(recipe.theta).reshape(16, 3)
        for finger, row in zip(FINGERS, rows, strict=True):
            joints = np.array(FINGER_JOINTS[finger])
            np.testing.assert_allclose(theta[joints], library.bank.theta[row][joints - 1], atol=1e-6)
        assert not recipe.pose.fingers or not sampler.proxy.collides(rows)


def test_the_collision_test_can_fail(library):
    """A finger put into another's place always collides; of a real bank's combinations, drawn without looking, some do."""
    proxy = HandProxy(library.hand, library.bank.theta)
    rng = np.random.default_rng(0)
    share = np.mean([proxy.collides(rng.integers(len(library.bank.theta), size=5)) for _ in range(300)])
    assert share < 0.9
    assert share > 0.01 or library.hand.name == "toy"  # whose thin fingers stand apart
    assert share**SWAP_TRIES < 0.05
    proxy.chains[:, 1] = proxy.chains[:, 2]
    assert proxy.collides(np.zeros(5, int))


def blending(probability: float = 0.3, **pose: object) -> DatasetSpec:
    """`default` with that probability."""
    spec = load_spec("default")
    return dataclasses.replace(spec, pose=dataclasses.replace(spec.pose, interpolation_probability=probability, **pose))


def test_blended_fingers_are_on_the_way_between_two_poses(library):
    """Each joint of a blended finger is turned by its share of the angle from one row to the other; the rest are the bank's."""
    bank, seen = library.bank.theta, 0
    for recipe in spread(RecipeSampler(blending(), library), 200):
        theta = np.array(recipe.theta).reshape(16, 3)
        for finger in FINGERS:
            joints, row = np.array(FINGER_JOINTS[finger]), recipe.pose.fingers.get(finger, recipe.pose.bank_index)
            found, start = Rotation.from_rotvec(theta[joints]), Rotation.from_rotvec(bank[row][joints - 1])
            if finger not in recipe.pose.blends:
                np.testing.assert_allclose((start.inv() * found).magnitude(), 0, atol=1e-5)
                continue
            other, share = recipe.pose.blends[finger]
            end, seen = Rotation.from_rotvec(bank[other][joints - 1]), seen + 1
            way = (start.inv() * end).magnitude()
            np.testing.assert_allclose((start.inv() * found).magnitude(), share * way, atol=1e-5)
            np.testing.assert_allclose((found.inv() * end).magnitude(), (1 - share) * way, atol=1e-5)
    assert seen > 150


def test_blends_stay_within_the_banks_angles_and_never_collide(library):
    """No joint leaves the range that the bank's poses give it along its own axes, no two fingers run through each other."""
    sampler = RecipeSampler(blending(1.0), library)
    axes, bank = library.hand.joint_axes[1:], library.bank.theta
    angles = np.einsum("jak,njk->nja", axes, bank)
    recipes = spread(sampler, 200)
    assert np.mean([len(recipe.pose.blends) for recipe in recipes]) > 4
    for recipe in recipes:
        theta = np.array(recipe.theta).reshape(16, 3)[1:]
        found = np.einsum("jak,jk->ja", axes, theta)
        assert (found >= angles.min(0) - 1e-5).all()
        assert (found <= angles.max(0) + 1e-5).all()
        rows = np.array([recipe.pose.fingers.get(finger, recipe.pose.bank_index) for finger in FINGERS])
        others = np.array([recipe.pose.blends.get(finger, (row, 0))[0] for finger, row in zip(FINGERS, rows, strict=True)])
        assert not recipe.pose.blends or not sampler.proxy.collides(rows, others, theta)


def test_chains_of_blends_are_those_of_posed_hands(library):
    """Joints and tips that stand for a blended finger are the posed mesh's, to a fifth of a millimetre."""
    proxy = HandProxy(library.hand, library.bank.theta)
    for k in range(0, len(library.bank.theta), 50):
        np.testing.assert_allclose(proxy._chain(library.bank.theta[k]), proxy.chains[k], atol=2e-4)


def test_a_probability_of_zero_draws_and_records_nothing(library):
    """Recipes, their bytes and the dataset's identity are as before there were blends; draw 0 of a bank's pose stays that pose."""
    off = blending(0.0)
    for recipe, other in zip(spread(RecipeSampler(off, library), 30), spread(RecipeSampler(blending(), library), 30), strict=True):
        assert "blends" not in recipe.to_dict()["pose"]
        assert (recipe.pose.bank_index, recipe.pose.fingers, recipe.beta) == (other.pose.bank_index, other.pose.fingers, other.beta)
    spec = spec_to_dict(off)
    index = {"schema": "handsynth/3", "assets": {}, "generator_version": 1, "spec": spec}
    former = index | {"spec": spec | {"pose": {k: v for k, v in spec["pose"].items() if k != "interpolation_probability"}}}
    assert recorded_identity(index) == recorded_identity(former)
    assert recorded_identity(index) != recorded_identity(index | {"spec": spec_to_dict(blending())})
    grid = load_spec("manorender")
    grid = dataclasses.replace(grid, pose=dataclasses.replace(grid.pose, interpolation_probability=1.0))
    sampler = RecipeSampler(grid, library)
    assert not sampler.sample(5 * grid.pose.draws).pose.blends
    assert sampler.sample(5 * grid.pose.draws + 1).pose.blends


def test_segment_distance_is_the_least_over_points_of_both(toy):
    """The closed form equals the least distance over a fine grid of points, crossing, parallel and degenerate cases included."""
    rng = np.random.default_rng(1)
    p0, p1, q0, q1 = rng.normal(size=(4, 200, 3))
    p1[:20], q1[:20] = p0[:20] + np.eye(3)[0], q0[:20] + 2 * np.eye(3)[0]  # parallel
    p1[20:40] = p0[20:40]  # a point
    q0[40:60] = p0[40:60]  # touching
    t = np.linspace(0, 1, 201)
    p, q = p0[:, None] + t[:, None] * (p1 - p0)[:, None], q0[:, None] + t[:, None] * (q1 - q0)[:, None]
    grid = np.array([np.linalg.norm(a[:, None] - b[None], axis=-1).min() for a, b in zip(p, q, strict=True)])
    exact = segment_distance(p0, p1, q0, q1)
    assert (exact <= grid + 1e-9).all()
    np.testing.assert_allclose(exact, grid, atol=0.03)


def test_angrender_visits_each_position_once(toy):
    """0:71424:32 are the 2,232 positions, elevation by elevation, each once; a position's 32 draws share it."""
    sampler = RecipeSampler(load_spec("angrender"), toy)
    recipes = [sampler.sample(i) for i in range(0, 71424, 32 * 31)]  # every 31st: the whole list is the command line's test
    for recipe in recipes:
        elevation, azimuth = divmod(recipe.index // 32, 72)
        assert (recipe.camera.elevation_deg, recipe.camera.azimuth_deg) == (-60 + 5 * elevation, 5 * azimuth)
        assert recipe.camera.roll_deg == 0
    start = 32 * 1000
    assert len({(r.camera.elevation_deg, r.camera.azimuth_deg) for r in map(sampler.sample, range(start, start + 32))}) == 1
    assert [sampler.sample(i).pose.draw for i in range(start, start + 32)] == list(range(32))


def test_angrender_stands_upright(toy):
    """The hand's own rotation is the same in every recipe: the template's fingers (-x) point up (+y), its palm (-y) to +z."""
    for recipe in spread(RecipeSampler(load_spec("angrender"), toy), 20):
        rotation = rotvec_to_rotmat(np.array(recipe.theta[:3]))
        np.testing.assert_allclose(rotation, UPRIGHT, atol=1e-5)
        np.testing.assert_allclose(rotation @ [[-1, 0], [0, -1], [0, 0]], [[0, 0], [1, 0], [0, 1]], atol=1e-5)


@pytest.mark.parametrize("name", STILL)
def test_every_vertex_lies_inside_the_image(name, library):
    """Framing works on a stand-in for the hand; every vertex of the hand itself still projects inside, a pixel from the edge."""
    spec = load_spec(name)
    recipes = spread(RecipeSampler(spec, library), 300)
    hands = PoseStage(library.hand).pose(recipes, spec.image_size)
    for row, recipe in enumerate(recipes):
        xy = project(hands.vertices[row].astype(np.float64), hands.K[row])
        assert xy.min() >= 1, recipe.index
        assert xy.max() <= spec.image_size - 1, recipe.index
        assert hands.vertices[row, :, 2].min() > 0.1, recipe.index
        side = (xy.max(0) - xy.min(0)).max() / spec.image_size
        assert 0.8 * spec.camera.fill[0] < side <= spec.camera.fill[1] + 0.02, recipe.index


def test_an_index_outside_the_spec_is_refused(toy):
    sampler = RecipeSampler(load_spec("angrender"), toy)
    for index in (-1, 71424):
        with pytest.raises(IndexError):
            sampler.sample(index)


def test_a_black_body_reddens_as_it_cools():
    """Luminance is 1 at every temperature; red over blue falls as it gets hotter and is about 1 near 6600 K."""
    temperatures = np.array([1000, 2000, 3000, 4500, 6600, 8000, 12000, 20000])
    colours = np.array([blackbody_rgb(t) for t in temperatures])
    np.testing.assert_allclose(colours @ [0.2126, 0.7152, 0.0722], 1, atol=1e-9)
    ratio = colours[:, 2] / colours[:, 0]
    assert (np.diff(ratio) > 0).all()
    assert abs(ratio[4] - 1) < 0.03


def alone() -> DatasetSpec:
    """The default spec without what finds its place about the hand and its arm: second hands, and things before it."""
    return dataclasses.replace(load_spec("default"), second=SecondHandSpec(), occluder=OccluderSpec())


def with_arms(**changes: Any) -> DatasetSpec:
    """The default spec with other forearms, on which nothing is worn; by default every hand has one."""
    arm = dataclasses.replace(ArmSpec(), **{"probability": 1.0} | changes)
    return dataclasses.replace(alone(), arm=arm, wear=WearSpec())


def with_wear(**changes: float) -> DatasetSpec:
    """The default spec whose hands wear other things; by default everything that they can."""
    wear = WearSpec(**dict.fromkeys(CLOTHING, 1.0) | changes)
    return dataclasses.replace(alone(), wear=wear)


def arms(spec: DatasetSpec, library: Library, count: int) -> list[ArmChoice]:
    return [recipe.arm for recipe in spread(RecipeSampler(spec, library), count) if recipe.arm is not None]


def test_without_arms_every_other_draw_is_as_it_was(library):
    """A probability of 0 leaves no key behind, and what else a recipe holds has the same bytes with an arm and without."""
    for with_arm, without in zip(*(spread(RecipeSampler(with_arms(probability=p), library), 60) for p in (0.9, 0.0)), strict=True):
        assert "arm" not in without.to_dict()
        assert as_bytes(dataclasses.replace(with_arm, arm=None)) == as_bytes(without)


def test_the_probability_is_the_share_of_hands_with_a_forearm(toy):
    """Within five standard errors; fewer than one hand in fifty is left without one because every posture would hide it."""
    for probability in (0.2, 0.9):
        share = len(arms(with_arms(probability=probability), toy, 600)) / 600
        assert abs(share - probability) < 5 * np.sqrt(probability * (1 - probability) / 600) + 0.02
    assert len(arms(with_arms(), toy, 600)) > 588


def test_wrists_stay_within_the_limits_of_people(toy):
    """However wide the distributions: inside the ellipse of the limits, up to near each of them; twists by 80 at most."""
    wide = with_arms(flexion_std_deg=90.0, deviation_std_deg=90.0, twist_std_deg=90.0)
    found = arms(wide, toy, 600)
    assert max(wrist_reach(arm.flexion_deg, arm.deviation_deg) for arm in found) <= 1
    for values, (low, high) in zip(
        ([arm.flexion_deg for arm in found], [arm.deviation_deg for arm in found]), WRIST_LIMITS_DEG, strict=True
    ):
        assert low <= min(values) < 0.85 * low
        assert 0.85 * high < max(values) <= high
    assert max(abs(arm.twist_deg) for arm in found) == TWIST_LIMIT_DEG
    assert [wrist_reach(*posture) for posture in ((70, 0), (-70, 0), (0, 20), (0, -30), (0, 0))] == [1, 1, 1, 1, 0]


def test_forearms_follow_their_distributions(toy):
    """Means and standard deviations of default's forearms, patterns and skins within their ranges, every pattern in use."""
    spec = load_spec("default").arm
    found = arms(with_arms(), toy, 500)
    for name, mean, std in (
        ("flexion_deg", spec.flexion_mean_deg, spec.flexion_std_deg),
        ("deviation_deg", spec.deviation_mean_deg, spec.deviation_std_deg),
        ("twist_deg", 0, spec.twist_std_deg),
        ("girth", 1, spec.girth_std),
        ("tan", 0, spec.tan_std),
    ):
        values = np.array([getattr(arm, name) for arm in found])
        assert abs(values.mean() - mean) < 0.2 * std, name
        assert 0.8 < values.std() / std < 1.15, name
    for name in ("mottling", "veins", "hair"):
        values = [getattr(arm, name) for arm in found]
        low, high = getattr(spec, name)
        assert low <= min(values) < low + 0.05
        assert high - 0.05 < max(values) <= high
    assert {arm.variant for arm in found} == set(range(ARM_VARIANTS))


def test_wrists_bend_independently_of_the_camera(toy):
    """Other cameras leave nine postures in ten as they were; only those behind whose forearm the hand would be hidden change."""
    spec = with_arms()
    other = dataclasses.replace(spec, camera=dataclasses.replace(spec.camera, roll_std_deg=10.0, elevation_deg=(-20.0, 90.0)))
    pairs = list(zip(*(spread(RecipeSampler(s, toy), 300) for s in (spec, other)), strict=True))
    assert np.mean([a.camera == b.camera for a, b in pairs]) == 0
    wrists = [[(recipe.arm.flexion_deg, recipe.arm.deviation_deg) for recipe in pair] for pair in pairs]
    assert np.mean([a == b for a, b in wrists]) > 0.9


def test_no_forearm_holds_the_camera_or_hides_the_hand(library):
    """The whole forearm lies before the near plane; of the hand's silhouette a tenth at least is seen, nearly always half."""
    spec, hand = with_arms(), library.hand
    recipes = [recipe for recipe in spread(RecipeSampler(spec, library), 400) if recipe.arm is not None]
    shares = []
    for start in range(0, len(recipes), 50):
        hands = PoseStage(hand).pose(recipes[start : start + 50], spec.image_size)
        posed = np.array(hands.arms)
        assert posed[..., 2].min() > NEAR_M
        shares.append(visible_share(hands.vertices, posed, hand, hands.K, hands.is_left, spec.image_size))
    found = np.concatenate(shares)
    assert found.min() > 0.1
    assert (found > 0.5).mean() > 0.95
    assert 0.02 < (found < 0.9).mean(), "some hands are hidden in part"


@pytest.mark.parametrize("kind", ["closed", "two holes", "folded"])
def test_a_hand_that_no_forearm_fits_has_none(toy, kind):
    """Its recipes are those of a spec without arms: closed, with a second hole, or with a rim that folds back."""
    hand = odd_wrists()[kind]
    assert make_arm(hand) is None
    library = dataclasses.replace(toy, hand=hand)
    with_arm, without = (spread(RecipeSampler(with_arms(probability=p), library), 20) for p in (1.0, 0.0))
    assert with_arm == without


def worn(spec: DatasetSpec, library: Library, count: int) -> list[Worn]:
    return [recipe.worn or Worn() for recipe in spread(RecipeSampler(spec, library), count)]


def test_who_wears_nothing_has_the_recipe_of_a_spec_without_clothing(library):
    """A probability of 0 leaves no key behind, and what else a recipe holds has the same bytes with clothing and without."""
    specs = with_wear(), dataclasses.replace(with_wear(), wear=WearSpec())
    for dressed, bare in zip(*(spread(RecipeSampler(spec, library), 60) for spec in specs), strict=True):
        assert dressed.worn is not None
        assert "worn" not in bare.to_dict()
        assert as_bytes(dataclasses.replace(dressed, worn=None)) == as_bytes(bare)


@pytest.mark.parametrize("name", CLOTHING)
def test_one_thing_less_leaves_the_others_as_they_were(name, toy):
    """Each has a stream of its own. Only where two things meet does one give way: watch and bracelet move along the forearm or are
    hidden, rings are hidden by a glove, and come back without it."""
    moved = {"sleeve": ("watch", "bracelet"), "glove": ("watch", "bracelet", "rings"), "watch": ("bracelet",)}.get(name, ())
    free = 0
    for every, less in zip(worn(with_wear(), toy, 80), worn(with_wear(**{name: 0.0}), toy, 80), strict=True):
        assert not getattr(less, name)
        for other in set(CLOTHING) - {name}:
            one, two = getattr(every, other), getattr(less, other)
            if one == two:
                free += 1
            elif other == "rings":
                assert other in moved
                assert set(one) < set(two)
            else:
                assert other in moved
                assert one is None or two is None or dataclasses.replace(one, place_m=two.place_m) == two
    assert free > 150


def test_the_probabilities_are_the_shares_of_hands_that_wear_each_thing(toy):
    """Within five standard errors, of hands with a forearm where it takes one; a sleeve may hide a watch or a bracelet."""
    spec = load_spec("default")
    recipes = spread(RecipeSampler(spec, toy), 1200)
    with_arm = [recipe for recipe in recipes if recipe.arm is not None]
    for name, probability in vars(spec.wear).items():
        own = with_arm if name in WORN_ON_FOREARM else recipes
        share = np.mean([recipe.worn is not None and bool(getattr(recipe.worn, name)) for recipe in own])
        error = 5 * np.sqrt(probability * (1 - probability) / len(own))
        assert share < probability + error, name
        assert share > (0.5 if name in ("watch", "bracelet") else 0.95) * probability - error, name


def test_no_sleeve_holds_the_camera_or_hides_the_hand(library):
    """As for forearms: all of it lies before the near plane, and an eighth of the hand's silhouette at least is seen; few sleeves
    are left off for it."""
    spec, hand = with_wear(), library.hand
    recipes = [recipe for recipe in spread(RecipeSampler(spec, library), 500) if recipe.arm is not None]
    poses, shares = PoseStage(hand), []
    dress = Dress(hand, poses.arm)
    for start in range(0, len(recipes), 50):
        some = recipes[start : start + 50]
        hands = poses.pose(some, spec.image_size)
        worn = dress.worn(some, hands)
        assert min(mesh.vertices[:, 2].min() for meshes in worn for mesh in meshes) > NEAR_M
        shares.append(visible_share(hands.vertices, np.array(hands.arms), hand, hands.K, hands.is_left, spec.image_size, worn))
    found = np.concatenate(shares)
    assert found.min() > 0.125
    assert (found > 0.5).mean() > 0.95
    assert np.mean([recipe.worn is not None and recipe.worn.sleeve is None for recipe in recipes]) < 0.05


@pytest.mark.parametrize("kind", ["closed", "two holes", "folded"])
def test_a_hand_without_a_forearm_wears_what_takes_none(toy, kind):
    """On it nobody puts a sleeve, watch or bracelet; rings, varnish and gloves are those that it has anyway."""
    library = dataclasses.replace(toy, hand=odd_wrists()[kind])
    for without, bare in zip(
        worn(with_wear(), library, 40), worn(with_wear(sleeve=0, watch=0, bracelet=0), library, 40), strict=True
    ):
        assert without == bare
        assert without.varnish is not None
        assert without.glove is not None
        assert not any(getattr(without, name) for name in WORN_ON_FOREARM)


def test_clothing_without_a_forearm_is_refused(toy):
    """A stored recipe with a sleeve and no forearm could not be drawn."""
    recipe = next(recipe for recipe in spread(RecipeSampler(with_wear(), toy), 20) if recipe.worn and recipe.worn.sleeve)
    values = json.loads(as_bytes(dataclasses.replace(recipe, arm=None)))
    with pytest.raises(HandsynthError, match=r"sample 0: worn\.sleeve of the recipe takes a forearm"):
        recipe_from_dict(values, "sample 0", 10)
