"""Second hands and occluders: placed as one person's, out of each other's flesh, labelled, checked, the same bytes however made."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.ndimage import maximum_filter
from test_verify import repack
from tiny import labelled_samples, make_world

from handsynth.assets.library import open_library
from handsynth.core.camera import project, transform
from handsynth.core.conventions import OCCLUDER_PART, OTHER_HAND_PART
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import keypoints_from_vertices, load_hand, pose_hand
from handsynth.core.index import canonical_json
from handsynth.core.locations import EMBEDDED_HAND
from handsynth.core.mirror import mirror_points, mirror_theta
from handsynth.core.sample import HAND_KEYS
from handsynth.dataset.generate import RunConfig, generate
from handsynth.dataset.selection import Selection
from handsynth.dataset.statistics import collect_stats
from handsynth.dataset.verify import verify
from handsynth.generator import Generator
from handsynth.image.encode import decode_png, encode_sample
from handsynth.recipe.recipe import MAX_OTHERS, recipe_from_dict
from handsynth.recipe.samplers import LEAST_SEEN, RecipeSampler
from handsynth.recipe.second import _dilated
from handsynth.recipe.spec import ArmSpec, HeldSpec, OccluderSpec, PoseSpec, SecondHandSpec, WearSpec, dataset_identity, load_spec
from handsynth.render import gl
from handsynth.scene.arm import make_arm
from handsynth.scene.company import gather
from handsynth.scene.pose import PoseStage
from handsynth.scene.spheres import MAX_SPHERES
from handsynth.scene.upper_arm import whole_faces

HAND = load_hand(EMBEDDED_HAND)
DEEPEST_M = 0.004
"""A second hand presses no deeper into the first, nor the first into it; flesh gives way by so much."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("together") / "world")


def spec_of(world, second=0.8, occluder=0.6, **changes):
    return dataclasses.replace(
        load_spec("default"), name="together", image_size=96, shard_size=4, hand="embedded", textures="embedded",
        backgrounds=str(world.images), passes=("depth", "parts", "normal", "uv", "amodal", "scene"),
        held=HeldSpec(), second=SecondHandSpec(second), occluder=OccluderSpec(occluder), **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def library(world):
    return open_library("embedded", "embedded", str(world.images), world.assets)


@pytest.fixture(scope="module")
def dataset(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "out"
    generate(spec_of(world), out, Selection(slice_text="0:16"), RunConfig(), world.assets)
    return out


@pytest.fixture(scope="module")
def recipes(world, library):
    return RecipeSampler(spec_of(world), library).sample_many(range(64))


def test_datasets_with_second_hands_and_occluders_are_faultless(dataset, world):
    found = verify(dataset, world.assets, replays=4)
    assert not found.faults
    assert found.silhouettes == found.samples == 16
    counts = collect_stats(dataset)
    labels = [labels for _, _, labels in labelled_samples(dataset)]
    assert sum(counts["other_hands"].values()) == sum(len(one["hands"]) for one in labels) >= 8
    assert sum(counts["occluders"].values()) == sum(one["occluder"] is not None for one in labels) >= 4
    assert len(counts["other_hands_visible_share"]) == 5
    parts = [decode_png(members["parts.png"], "parts") for _, members, _ in labelled_samples(dataset)]
    assert sum((part == OTHER_HAND_PART).any() for part in parts) >= 8
    assert sum((part == OCCLUDER_PART).any() for part in parts) >= 4


def test_labels_of_another_hand_are_those_of_a_first_one(dataset):
    """`labels | hands[k]`: posed by the world's one camera they give its keypoints, and these project onto theirs."""
    for _, _, labels in labelled_samples(dataset):
        for hand in labels["hands"]:
            assert set(hand) == set(HAND_KEYS)
            one = labels | hand
            theta, trans, is_left = np.array(one["theta"]).reshape(16, 3), np.array(one["trans"]), one["side"] == "left"
            if is_left:
                theta, trans = mirror_theta(theta), mirror_points(trans)
            vertices = pose_hand(HAND, theta, np.array(one["beta"]), trans).vertices
            vertices = transform(np.array(one["T_cam_world"]), mirror_points(vertices) if is_left else vertices)
            np.testing.assert_allclose(keypoints_from_vertices(HAND, vertices), one["keypoints_cam"], atol=5e-6)
            xy = project(vertices, np.array(one["K"]))
            np.testing.assert_allclose([*xy.min(0), *xy.max(0)], one["bbox_xyxy"], atol=0.05)


def test_the_same_bytes_for_any_jobs_and_order(dataset, world, tmp_path, library):
    """Shards of two workers; and each sample made by itself, last one first."""
    generate(spec_of(world), tmp_path / "out", Selection(slice_text="0:16"), RunConfig(jobs=2), world.assets)
    for path in dataset.glob("shard-*.tar"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    sampler, generator = RecipeSampler(spec_of(world), library), Generator(spec_of(world), library)
    for key, members, _ in list(labelled_samples(dataset))[::-5]:
        (again,) = generator.make_samples([sampler.sample(key)])
        assert encode_sample(again) == members


def test_recipes_do_not_depend_on_their_company(world, library, recipes):
    sampler = RecipeSampler(spec_of(world), library)
    for index in (40, 3, 17, 63):
        assert sampler.sample(index) == recipes[index]


def test_recipes_come_back_from_json(recipes):
    assert sum(len(recipe.others) for recipe in recipes) > 35
    assert sum(recipe.occluder is not None for recipe in recipes) > 20
    for recipe in recipes:
        assert recipe_from_dict(json.loads(canonical_json(recipe.to_dict())), "here", HAND.num_shapes) == recipe


def test_probabilities_of_zero_leave_everything_as_it_was(world, library, recipes):
    """Recipes but for what is new in them, and the identity of what was made before there was any."""
    without = spec_of(world, 0.0, 0.0)
    for before, after in zip(RecipeSampler(without, library).sample_many(range(64)), recipes, strict=True):
        assert "others" not in before.to_dict()
        assert "occluder" not in before.to_dict()
        assert dataclasses.replace(after, others=(), occluder=None) == before
    same = dataclasses.replace(without, second=SecondHandSpec(0.0, touching=0.1), occluder=OccluderSpec(0.0, covered=(0.2, 0.3)))
    assert dataset_identity(without, library.digests) == dataset_identity(same, library.digests)
    assert dataset_identity(without, library.digests) != dataset_identity(spec_of(world), library.digests)


@pytest.fixture(scope="module")
def surfaces(recipes):
    """Meshes of first and second hands and of their forearms, before their cameras."""
    stage, arm = PoseStage(HAND), make_arm(HAND)
    company = gather([recipe for recipe in recipes if recipe.others][:24], 96)
    hands, found = stage.pose(company.recipes, 96), []
    for rows in company.rows:
        pair = []
        for row in rows:
            turn = -1 if hands.is_left[row] else 1
            meshes = [trimesh.Trimesh(hands.vertices[row], HAND.closed_faces[:, ::turn], process=False)]
            if hands.arms[row] is not None:
                meshes.append(trimesh.Trimesh(hands.arms[row], whole_faces(arm)[:, ::turn], process=False))
            pair.append(meshes)
        found.append(pair)
    return found


def deepest(points: np.ndarray, mesh: trimesh.Trimesh) -> float:
    return float(trimesh.proximity.signed_distance(mesh, points).max())  # positive inside


def test_hands_press_into_each_other_by_millimetres_at_most(surfaces):
    """Measured from vertices to the other's surface, both ways; and some of them touch."""
    depths = [max(deepest(a[0].vertices, b[0]), deepest(b[0].vertices, a[0])) for a, b in surfaces]
    assert max(depths) < DEEPEST_M
    assert np.mean(np.array(depths) > -0.001) > 0.25


def test_forearms_stay_out_of_hands_and_of_each_other(surfaces):
    rim = len(HAND.rim)
    for a, b in surfaces:
        for (one, *arm), (other, *beside) in ((a, b), (b, a)):
            for mesh in arm:
                assert deepest(other.vertices, mesh) < 0
                assert deepest(mesh.vertices[rim:], other) < 0
                assert all(deepest(mesh.vertices, its) < 0 for its in beside)
            assert len(one.vertices)


def test_counted_spheres_shade_as_written_out_ones(world, library, recipes, monkeypatch):
    """Two hands' spheres are a loop, which compiles in a tenth of the time, and gives the same image."""
    some, images = [recipe for recipe in recipes if recipe.others][:1], []
    for most in (gl.MOST_UNROLLED, MAX_SPHERES):
        monkeypatch.setattr(gl, "MOST_UNROLLED", most)
        generator = Generator(spec_of(world), library)
        images.append([sample.image for sample in generator.make_samples(some)])
        texts = [program["shading"].value for program in generator.renderer._programs.values() if "shading" in program]
        assert bool(texts) == (most < MAX_SPHERES)
    np.testing.assert_array_equal(*images)


def test_points_come_no_nearer_than_the_highest_cell_about_them():
    heights = np.where(np.random.default_rng(3).random((30, 20)) < 0.6, -np.inf, np.random.default_rng(4).normal(size=(30, 20)))
    np.testing.assert_array_equal(_dilated(_dilated(heights).T).T, maximum_filter(heights, 3))


def test_second_hands_are_of_one_person(recipes):
    """Its shape, skin and clothing; mostly the other side."""
    pairs = [(recipe, other) for recipe in recipes for other in recipe.others]
    for recipe, other in pairs:
        assert other.beta is None
        assert other.alpha is None
        assert (other.arm is None) == (recipe.arm is None)
        if recipe.arm is not None:
            assert other.arm.shirt == recipe.arm.shirt
            assert other.arm.variant == recipe.arm.variant
        if recipe.worn is not None:
            worn = other.worn
            assert (worn and worn.sleeve) == (recipe.worn.sleeve if recipe.arm else None) or not recipe.worn.sleeve
            assert (worn and worn.glove) == recipe.worn.glove
            assert (worn and worn.varnish) == recipe.worn.varnish
    assert np.mean([recipe.side != other.side for recipe, other in pairs]) > 0.7
    assert len({other.pose.bank_index for _, other in pairs}) > 0.8 * len(pairs)


def test_first_hands_stay_in_sight(world):
    """What a second hand, an occluder and the forearm take together leaves about LEAST_SEEN of the hand, and never nothing."""
    out = spec_of(world, 1.0, 1.0)
    found = RecipeSampler(out, open_library("embedded", "embedded", str(world.images), world.assets)).sample_many(range(48))
    made = list(Generator(out, open_library("embedded", "embedded", str(world.images), world.assets)).make_samples(found))
    shares = np.array([sample.labels["visible_share"] for sample in made])
    assert shares.min() > LEAST_SEEN - 0.2
    assert np.mean(shares > LEAST_SEEN) > 0.9
    assert all(sample.mask.any() for sample in made)


def test_occluders_cover_part_of_the_hand(world, library):
    """Alone before a bare hand: from a little to half of it."""
    bare = {"arm": ArmSpec(), "wear": WearSpec(), "pose": PoseSpec()}
    spec = spec_of(world, 0.0, 1.0, **bare)
    found = [recipe for recipe in RecipeSampler(spec, library).sample_many(range(60)) if recipe.occluder]
    assert len(found) > 40
    shares = np.array([sample.labels["visible_share"] for sample in Generator(spec, library).make_samples(found)])
    assert shares.min() > 0.4
    assert shares.max() < 1
    assert shares.mean() < 0.9
    assert len({recipe.occluder.shape for recipe in found}) > 15


EDITS = {
    "a second hand elsewhere": (lambda labels: labels["hands"][0]["trans"].__setitem__(0, 0.5), "do not give the vertices"),
    "other keypoints": (
        lambda labels: labels["hands"][0].update(keypoints_xy=(np.array(labels["hands"][0]["keypoints_xy"]) + 1).tolist()),
        "other hand 0: keypoints_cam projects",
    ),
    "another box": (lambda labels: labels["hands"][0]["bbox_xyxy"].__setitem__(0, 0.0), "other hand 0: bbox_xyxy"),
    "more of it seen": (lambda labels: labels["hands"][0].update(visible_share=2.0), "other hand 0: visible_share"),
    "a little more of it seen": (
        lambda labels: labels["hands"][0].update(visible_share=abs(labels["hands"][0]["visible_share"] - 0.01)),
        "other hand 0: visible_share",
    ),
    "other visibility": (
        lambda labels: labels["hands"][0].update(keypoints_visible=[0] * 21), "other hand 0: keypoints_visible is wrong"
    ),
    "the other side": (
        lambda labels: labels["hands"][0].update(side="left" if labels["hands"][0]["side"] == "right" else "right"),
        "other hand 0: side",
    ),
    "clothed": (lambda labels: labels["hands"][0].update(clothing=["watch"]), "other hand 0: clothing"),
    "no side": (lambda labels: labels["hands"][0].update(side="both"), "other hand 0: field side"),
    "a field less": (lambda labels: labels["hands"][0].pop("beta"), "other hand 0 has not the fields"),
    "a field of another shape": (lambda labels: labels["hands"][0].update(theta=[0.0]), "other hand 0: field theta"),
    "no hands": (lambda labels: labels.update(hands=[]), "20 beside the mask|hands are not the 1 others"),
    "no list": (lambda labels: labels.update(hands={"a": 1}), "field hands is"),
    "no occluder": (lambda labels: labels.update(occluder=None), "21 beside the mask|occluder is not that of the recipe"),
    "an occluder elsewhere": (lambda labels: labels["occluder"].update(scale=0.123), "occluder is not where the recipe has it"),
    "a damaged occluder": (lambda labels: labels["occluder"].update(scale="big"), "field occluder is"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_label_is_found(dataset, world, tmp_path, edit):
    out = Path(shutil.copytree(dataset, tmp_path / "copy"))
    change, message = EDITS[edit]
    place = next(
        k for k, (_, _, labels) in enumerate(labelled_samples(out))
        if labels["hands"] and labels["occluder"] and sum(labels["hands"][0]["keypoints_visible"])
    )  # fmt: skip
    repack(out, lambda labels, members: change(labels), *divmod(place, 4))
    faults = verify(out, world.assets).faults
    assert any(part in fault for fault in faults for part in message.split("|")), faults


def hostile(recipes, change):
    values = json.loads(canonical_json(next(recipe for recipe in recipes if recipe.others and recipe.occluder).to_dict()))
    change(values)
    return values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values["others"][0].update(side="both"), "other hand 0: side"),
        (lambda values: values["others"][0].update(theta=[0.0]), "other hand 0: theta"),
        (lambda values: values["others"][0].update(trans=[1e9, 0, 0]), "other hand 0: trans"),
        (lambda values: values["others"][0].update(beta=[0.0]), "other hand 0: beta"),
        (lambda values: values["others"][0].update(held=None), "unknown key"),
        (lambda values: values["occluder"].update(scale=99.0), r"occluder\.scale"),
        (lambda values: values.update(others=values["others"] * 9), f"at most {MAX_OTHERS}"),
    ],
)
def test_a_hostile_recipe_is_one_sentence(recipes, change, message):
    with pytest.raises(HandsynthError, match=message) as raised:
        recipe_from_dict(hostile(recipes, change), "here", HAND.num_shapes)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"second": SecondHandSpec(1.5)}, r"second\.probability must be between 0 and 1"),
        ({"second": SecondHandSpec(other_side=-1)}, r"second\.other_side must be between 0 and 1"),
        ({"second": SecondHandSpec(touching=math.nan)}, r"second\.touching must be between 0 and 1"),
        ({"second": SecondHandSpec(gap_m=(0.0, 3.0))}, r"second\.gap_m must be within 0 and 0\.3 metres"),
        ({"occluder": OccluderSpec(-0.1)}, r"occluder\.probability must be between 0 and 1"),
        ({"occluder": OccluderSpec(covered=(0.1, 0.9))}, r"occluder\.covered must be within 0 \(excluded\) and 0\.5"),
        ({"occluder": OccluderSpec(covered=(0.4, 0.1))}, "from the lower to the higher"),
    ],
)
def test_a_wrong_spec_is_one_sentence(changes, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(load_spec("default"), **changes)
