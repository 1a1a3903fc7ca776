"""Held things in datasets: drawn where recipes say, the same bytes however made, labelled, checked, and refused in one sentence."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_verify import repack
from tiny import handsynth, labelled_samples, make_world

from handsynth.assets.library import open_library
from handsynth.assets.objects import table as module
from handsynth.assets.objects.holding import HandField, PalmarRegions, exact_depth, surface_samples
from handsynth.assets.objects.shapes import SHAPE_OF_NAME, SHAPES
from handsynth.assets.objects.table import (
    BLOCK,
    load_table,
    make_table,
    table_identity,
)
from handsynth.core.conventions import OBJECT_PART
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import load_hand, save_hand
from handsynth.core.locations import EMBEDDED_HAND, EMBEDDED_POSES
from handsynth.core.poses import PoseBank, load_poses, save_poses
from handsynth.core.sample import decode_npy
from handsynth.dataset.generate import RunConfig, generate
from handsynth.dataset.selection import Selection
from handsynth.dataset.verify import verify
from handsynth.image.encode import decode_png
from handsynth.recipe.proxy import hidden_behind, perhaps_behind
from handsynth.recipe.recipe import recipe_from_dict
from handsynth.recipe.samplers import RecipeSampler
from handsynth.recipe.spec import HeldSpec, dataset_identity, load_spec

HAND, BANK = load_hand(EMBEDDED_HAND), load_poses(EMBEDDED_POSES)
ROWS = [BANK.names.index(name) for name in ("grasp: medium wrap 5", "grasp: tripod 2", "grasp: power sphere 5")]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("held") / "world")


def spec_of(world, **changes):
    spec = load_spec("default")
    return dataclasses.replace(
        spec, name="held", image_size=128, shard_size=4, hand="embedded", textures="embedded", backgrounds=str(world.images),
        passes=("depth", "parts", "normal", "amodal", "scene"), held=HeldSpec(1.0), **changes,
    )  # fmt: skip


def library(world, holds=True):
    return open_library("embedded", "embedded", str(world.images), world.assets, holds=holds)


@pytest.fixture(scope="module")
def dataset(world, holdings, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "out"
    generate(spec_of(world), out, Selection(slice_text="0:12"), RunConfig(), world.assets)
    return out


def test_what_is_held_is_labelled_drawn_and_verified(dataset, world):
    assert not verify(dataset, world.assets, replays=3).faults
    shown = 0
    for _, members, labels in labelled_samples(dataset):
        thing = labels["object"]
        if thing is None:
            continue
        shape = SHAPE_OF_NAME[thing["shape"]]
        assert (thing["kind"], thing["mesh"]) == (shape.family, shape.digest)
        assert thing["mirrored"] == (labels["side"] == "left")
        rotation = np.array(thing["T_cam_object"])[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
        assert np.linalg.det(rotation) > 0
        # The scaled (and for left hands mirrored) mesh, moved by the label, is the one of the pass `scene`.
        vertices = shape.solid.vertices * thing["scale"] * [-1 if thing["mirrored"] else 1, 1, 1]
        moved = vertices @ rotation.T + np.array(thing["T_cam_object"])[:3, 3]
        scene, faces = (decode_npy(members[name], name) for name in ("scene.vertices.npy", "scene.faces.npy"))
        own = scene[np.unique(faces[faces[:, 3] == OBJECT_PART][:, :3])]
        assert np.abs(own[:, None] - moved[None]).max(-1).min(1).max() < 5e-6
        shown += (decode_png(members["parts.png"], "parts") == OBJECT_PART).any()
    assert shown >= 6


def test_the_same_bytes_for_any_jobs_and_order(dataset, world, tmp_path):
    generate(spec_of(world), tmp_path / "out", Selection(slice_text="0:12"), RunConfig(jobs=2), world.assets)
    for path in dataset.glob("shard-*.tar"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_hands_hold_what_their_pose_can_and_no_finger_is_swapped(world, holdings):
    sampler = RecipeSampler(spec_of(world), library(world))
    recipes = sampler.sample_many(range(40))
    held = [recipe for recipe in recipes if recipe.held]
    assert len(held) >= 25
    for recipe in held:
        assert recipe.pose.bank_index in holdings.poses
        assert not recipe.pose.fingers
        assert not recipe.pose.blends
        assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict())), "here", HAND.num_shapes) == recipe
    assert len({recipe.held.shape for recipe in held}) >= 5


def test_nothing_beside_a_thing_is_behind_it():
    """Of things of any size, also at the image's border, where rays are oblique."""
    rng, found = np.random.default_rng(0), []
    for shape in SHAPES * 4:
        place, scale = rng.uniform((-0.3, -0.3, 0.25), (0.3, 0.3, 0.7)), rng.uniform(0.5, 2)
        surface = scale * surface_samples(shape.solid).points + place
        points = place + rng.normal(0, 0.06, (500, 3)) + (0, 0, 0.05)
        behind, perhaps = (which(points, surface, 0.01 * scale) for which in (hidden_behind, perhaps_behind))
        assert not (behind & ~perhaps).any()
        found.append((behind.mean(), perhaps.mean()))
    behind, perhaps = np.mean(found, 0)
    assert 0.1 < behind < perhaps < 0.9


def test_a_probability_of_zero_leaves_everything_as_it_was(world, holdings):
    """Recipes, and the identity of what was made before things were held."""
    spec = spec_of(world)
    without = dataclasses.replace(spec, held=HeldSpec(0.0))
    before = RecipeSampler(without, library(world, holds=False)).sample_many(range(12))
    assert all(recipe.held is None and "held" not in recipe.to_dict() for recipe in before)
    after = RecipeSampler(spec, library(world)).sample_many(range(12))
    for one, other in zip(before, after, strict=True):
        assert (one.alpha, one.beta, one.lights, one.background, one.sensor) == (
            other.alpha, other.beta, other.lights, other.background, other.sensor,
        )  # fmt: skip
    digests = library(world, holds=False).digests
    assert dataset_identity(without, digests) != dataset_identity(spec, library(world).digests)
    assert "holdings" not in digests


EDITS = {
    "another scale": (lambda thing: thing | {"scale": 2 * thing["scale"]}, "object is not where the recipe has it"),
    "elsewhere": (
        lambda thing: thing | {"T_cam_object": (np.array(thing["T_cam_object"]) + 0.001 * np.eye(4, k=3)).tolist()},
        "object is not where the recipe has it",
    ),
    "none": (lambda thing: None, "pass parts: 19 beside the mask"),
    "damaged": (lambda thing: thing | {"T_cam_object": [1, 2, 3]}, "field object is"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_label_is_found(dataset, world, tmp_path, edit):
    out = Path(shutil.copytree(dataset, tmp_path / "copy"))
    change, message = EDITS[edit]
    place = next(k for k, (_, _, labels) in enumerate(labelled_samples(out)) if labels["object"] is not None)

    def edited(labels, members):
        labels["object"] = change(labels["object"])

    repack(out, edited, *divmod(place, 4))
    faults = verify(out, world.assets).faults
    assert any(message in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", "anvil"),
        ("scale", 40.0),
        ("offset", [3.0, 0.0, 0.0]),
        ("material", "gold"),
        ("colour", [1, 2, 300]),
        ("variant", 99),
    ],
)
def test_a_hostile_recipe_is_one_sentence(world, holdings, key, value):
    recipes = RecipeSampler(spec_of(world), library(world)).sample_many(range(12))
    values = json.loads(json.dumps(next(recipe for recipe in recipes if recipe.held).to_dict()))
    values["held"][key] = value
    with pytest.raises(HandsynthError, match=rf"held\.{key}"):
        recipe_from_dict(values, "here", HAND.num_shapes)


def test_a_hand_that_was_never_searched_holds_nothing_and_that_is_said(world, tmp_path, capsys):
    spec = dataclasses.replace(spec_of(world), hand="toy", samples=2)
    generate(spec, tmp_path / "out", Selection(), RunConfig(), world.assets)
    said = capsys.readouterr().err
    assert "hands hold nothing in this dataset" in said
    assert "`handsynth assets holdings --hand toy`" in said


def test_poses_of_the_shipped_bank_need_no_search(world, holdings, tmp_path):
    """In whatever order they stand in a bank of the user's own, they hold what the shipped table says."""
    assert holdings.identity == table_identity(HAND, BANK)
    rows = [ROWS[2], ROWS[0], 3, ROWS[2]]
    save_hand(tmp_path / "hand.npz", HAND)
    save_poses(tmp_path / "poses.npz", BANK.rows(np.array(rows)))
    mine = open_library(str(tmp_path / "hand.npz"), "embedded", str(world.images), world.assets, holds=True).holdings
    for own, row in enumerate(rows):
        numbers, theirs = mine.of_pose(own), holdings.of_pose(row)
        assert len(numbers) == len(theirs)
        for name in ("shape", "rotvec", "offset", "scale", "score"):
            np.testing.assert_array_equal(getattr(mine, name)[numbers], getattr(holdings, name)[theirs])
    save_poses(tmp_path / "poses.npz", PoseBank(BANK.theta[:2] + 0.01, BANK.names[:2]))
    assert open_library(str(tmp_path / "hand.npz"), "embedded", str(world.images), world.assets, holds=True).holdings is None


def test_the_shipped_table_is_worth_having(holdings):
    """At least 250 of the 895 poses hold something, every family occurs, and flesh is nowhere entered by more than 5 mm."""
    assert len(holdings.poses) >= 250
    assert {SHAPES[k].family for k in holdings.shape} == {shape.family for shape in SHAPES}
    regions = PalmarRegions(HAND)
    for row in holdings.poses[::10]:
        field = HandField(HAND, regions, BANK.theta[row])
        for number in holdings.of_pose(row):
            points = surface_samples(SHAPES[holdings.shape[number]].solid).points
            assert exact_depth(field, points, holdings.placement(number)) <= 0.005


def test_a_probability_beyond_one_is_a_usage_error():
    with pytest.raises(UsageError, match=r"held\.probability must be between 0 and 1"):
        dataclasses.replace(load_spec("default"), held=HeldSpec(1.5))


def test_a_search_that_was_stopped_goes_on(monkeypatch, tmp_path):
    """What was found is kept after each block, and not searched again."""
    monkeypatch.setenv("HANDSYNTH_CACHE", str(tmp_path))
    bank = BANK.rows(np.array([ROWS[0]] * (BLOCK + 1)))
    shapes = tuple(SHAPE_OF_NAME[name] for name in ("soap",))
    told = []

    def stop(done):
        told.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_table(HAND, bank, 1, stop, shapes)
    searched = []
    search = module.search_poses
    monkeypatch.setattr(
        module, "search_poses", lambda model, bank, rows, *rest: searched.append(rows) or search(model, bank, rows, *rest)
    )
    path = make_table(HAND, bank, 1, told.append, shapes)
    assert searched == [range(BLOCK, BLOCK + 1)]
    assert told == [BLOCK, BLOCK, BLOCK + 1]
    assert load_table(path).identity == table_identity(HAND, bank, shapes)
    assert not path.with_suffix(".parts").exists()


def test_assets_holdings_says_what_it_found(tmp_path):
    """The toy hand's few poses; its fingers are too rough to hold much, and that is an answer too."""
    done = handsynth("assets", "holdings", "--hand", "toy", env=os.environ | {"HANDSYNTH_CACHE": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "poses hold something" in done.stdout
    assert len(list(tmp_path.glob("holdings-*.npz"))) == 1
