"""Crowds: images of none to many hands, each labelled and boxed, before one camera; and what every reader does with them."""

import dataclasses
import io
import json
import math
import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny import World, dataset_bytes

from handmesh.cli.main import main as handmesh_main
from handmesh.data.shards import ShardDataset
from handsynth.annotate import annotate
from handsynth.assets.library import Library
from handsynth.cli.main import main as handsynth_main
from handsynth.core.camera import project
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.index import canonical_json, index_bytes, read_index
from handsynth.core.sample import CROWD_FIELDS, CROWD_HAND_KEYS, Sample, decode_labels, decode_npy
from handsynth.core.shard import read_shard, write_shard
from handsynth.crowd_labels import CrowdLabeller, PosedCrowds, painted
from handsynth.crowds import CrowdGenerator, open_generator, open_sampler
from handsynth.dataset.folder import open_folder
from handsynth.dataset.generate import RunConfig, generate
from handsynth.dataset.replay import replay
from handsynth.dataset.selection import Selection
from handsynth.dataset.sidecars import SIDECAR_DIR, write_sidecar
from handsynth.dataset.silhouette import silhouette
from handsynth.dataset.statistics import collect_stats
from handsynth.dataset.verify import verify
from handsynth.generator import library_of
from handsynth.image.encode import decode_jpeg, decode_png
from handsynth.recipe.crowd import CrowdRecipe, crowd_recipe_from_dict
from handsynth.recipe.crowd_sampler import CrowdSampler
from handsynth.recipe.spec import CrowdSpec, DatasetSpec, load_spec
from handsynth.scene.arm import make_arm
from handsynth.scene.held.things import Things
from handsynth.scene.lattice import Lattice
from handsynth.scene.pose import PoseStage
from handsynth.scene.upper_arm import whole_faces
from handsynth.scene.wear.dress import Dress

WIDTH, HEIGHT = 128, 96


def crowd_spec(world: World, **changes: Any) -> DatasetSpec:
    """`crowd` with the toy hand in small images; some of its `crowd` changed."""
    shipped = load_spec("crowd")
    assets = {"hand": "toy", "textures": str(world.folder / "skin.npz"), "backgrounds": str(world.images)}
    crowd = dataclasses.replace(shipped.crowd, height=HEIGHT, **changes)
    return dataclasses.replace(shipped, image_size=WIDTH, samples=1000, shard_size=8, crowd=crowd, **assets)


@pytest.fixture(scope="module")
def spec(tiny_world) -> DatasetSpec:
    return crowd_spec(tiny_world)


@pytest.fixture(scope="module")
def library(spec, tiny_world) -> Library:
    return library_of(spec, tiny_world.assets)


@pytest.fixture(scope="module")
def sampler(spec, library) -> CrowdSampler:
    return CrowdSampler(spec, library)


@pytest.fixture(scope="module")
def recipes(sampler) -> list[CrowdRecipe]:
    return sampler.sample_many(range(300))


@pytest.fixture(scope="module")
def labeller(library, spec) -> CrowdLabeller:
    generator = open_generator(spec, library)
    assert isinstance(generator, CrowdGenerator)
    return generator.labeller


@pytest.fixture(scope="module")
def posed(labeller, recipes) -> PosedCrowds:
    return labeller.pose(recipes)


@pytest.fixture(scope="module")
def samples(spec, library, recipes) -> list[Sample]:
    return list(open_generator(spec, library).make_samples(recipes[:80]))


@pytest.fixture(scope="module")
def out(spec, tiny_world) -> Path:
    """40 images in five shards."""
    folder = tiny_world.folder / "crowd"
    generate(spec, folder, Selection(slice_text="0:40"), RunConfig(), tiny_world.assets)
    return folder


@pytest.fixture(scope="module")
def few(spec, tiny_world) -> Path:
    """Six images in one shard."""
    folder = tiny_world.folder / "few"
    generate(spec, folder, Selection(slice_text="0:6"), RunConfig(), tiny_world.assets)
    return folder


def as_bytes(recipe: CrowdRecipe) -> bytes:
    return canonical_json(recipe.to_dict())


def boxes(posed: PosedCrowds) -> np.ndarray:
    """(N, 4) of all labelled hands, from their vertices, as the image has them [px]."""
    found = []
    for crowd, stack in zip(posed.batch, posed.stacks, strict=True):
        for layer in stack[: len(crowd.hands)]:
            xy = project(layer.vertices.astype(np.float64), layer.K) - (0, (WIDTH - HEIGHT) / 2)
            found.append([*xy.min(0), *xy.max(0)])
    return np.array(found)


def test_a_recipe_is_a_function_of_seed_and_number(spec, library, recipes):
    """Whatever comes before it, or beside it, and whoever draws it; another number or seed gives another."""
    other = CrowdSampler(spec, library)
    indices = [299, 3, 40, 41, 7]
    assert [as_bytes(other.sample(i)) for i in indices] == [as_bytes(recipes[i]) for i in indices]
    assert [as_bytes(r) for r in other.sample_many([40, 3])] == [as_bytes(recipes[i]) for i in (40, 3)]
    assert len({as_bytes(recipe) for recipe in recipes}) == len(recipes)
    changed = CrowdSampler(dataclasses.replace(spec, seed=1), library)
    assert all(as_bytes(changed.sample(i)) != as_bytes(recipes[i]) for i in indices)
    with pytest.raises(IndexError):
        other.sample(spec.samples)


def test_a_recipe_comes_back_from_json(recipes, library):
    """To the last bit; what an image does not have is left out of it."""
    kinds = set()
    for recipe in recipes:
        values = json.loads(as_bytes(recipe))
        assert crowd_recipe_from_dict(values, "sample", library.hand.num_shapes, WIDTH) == recipe
        kinds |= {key for key in ("hands", "arms", "things", "shake") if key in values}
        assert [key for key in ("hands", "arms", "things") if values.get(key) == []] == []
    assert kinds == {"hands", "arms", "things", "shake"}


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ((), [], "must be a mapping"),
        (("colour",), 3, "unknown key 'colour'"),
        (("hands",), {}, "hands of the recipe must be a list of 8 at most"),
        (("hands",), [{}] * 9, "hands of the recipe must be a list of 8 at most"),
        (("hands", 0, "lights"), [], "lights is the image's"),
        (("hands", 0, "camera", "focal_px"), 77.0, "another camera than the image"),
        (("hands", 0, "theta"), [0.0], "theta"),
        (("hands", 0, "defocus_px"), 99.0, "hand_defocus_px"),
        (("focal_px",), -3.0, "camera"),
        (("focal_px",), "wide", "focal_px"),
        (("background", "scale"), 7.0, "background"),
        (("sensor",), None, "sensor"),
        (("things",), [{"held": None}], "keys held"),
    ],
)
def test_a_damaged_recipe_is_refused_in_one_sentence(recipes, library, path, value, sentence):
    values: Any = json.loads(as_bytes(next(r for r in recipes if r.hands)))
    if not path:
        values = value
    else:
        owner = values
        for key in path[:-1]:
            owner = owner[key]
        owner[path[-1]] = value
    with pytest.raises(HandsynthError, match="sample 3") as error:
        crowd_recipe_from_dict(values, "sample 3", library.hand.num_shapes, WIDTH)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_one_image_in_five_is_empty_and_the_others_have_one_to_four_hands(sampler):
    """Shares and numbers are those of the spec within four standard errors; images without hands have things on them oftener."""
    counts = [sampler._counts(index) for index in range(1000)]
    hands = np.array([count[0] for count in counts])
    assert abs((hands == 0).mean() - 0.2) < 4 * math.sqrt(0.2 * 0.8 / len(hands))
    for number in range(1, 5):
        assert abs((hands == number).mean() - 0.2) < 4 * math.sqrt(0.2 * 0.8 / len(hands))
    arms, things = (np.array([count[k] for count in counts]) > 0 for k in (1, 2))
    assert abs(arms[hands > 0].mean() - 0.2) < 0.06
    assert abs(arms[hands == 0].mean() - 0.4) < 0.14
    assert abs(things[hands > 0].mean() - 0.25) < 0.07
    assert abs(things[hands == 0].mean() - 0.5) < 0.14


def test_nearly_every_hand_finds_its_place(recipes, sampler):
    placed, drawn = sum(len(r.hands) for r in recipes), sum(sampler._counts(r.index)[0] for r in recipes)
    assert 0.98 * drawn <= placed <= drawn


def test_sizes_are_log_uniform(tiny_world, library):
    """Of images of one hand: quartiles of the box's longer side over the height are those of the spec's range."""
    spec = crowd_spec(tiny_world, hands=(1, 1), empty=0.0, cut=0.0, arms=0.0, things=0.0)
    recipes = CrowdSampler(spec, library).sample_many(range(400))
    own = CrowdLabeller(PoseStage(library.hand), Dress(library.hand, make_arm(library.hand)), Things(library.hand), (WIDTH, HEIGHT))
    found = boxes(own.pose(recipes))
    share = (found[:, 2:] - found[:, :2]).max(1) / HEIGHT
    low, high = spec.crowd.size
    assert 0.8 * low < share.min()
    assert share.max() < 1.02 * high
    quartiles = np.log(np.quantile(share, (0.25, 0.5, 0.75)) / low) / math.log(high / low)
    np.testing.assert_allclose(quartiles, (0.25, 0.5, 0.75), atol=0.09)
    inside = (found[:, :2] >= 0).all(1) & (found[:, 2:] <= (WIDTH, HEIGHT)).all(1)
    assert inside.mean() > 0.99


def test_borders_cut_as_many_hands_as_the_spec_says(posed, spec):
    found = boxes(posed)
    cut = (found[:, :2] < -1).any(1) | (found[:, 2:] > (WIDTH + 1, HEIGHT + 1)).any(1)
    assert abs(cut.mean() - spec.crowd.cut) < 4 * math.sqrt(0.15 * 0.85 / len(cut)) + 0.01
    outside = (found[:, :2] >= (WIDTH, HEIGHT)).any(1) | (found[:, 2:] <= 0).any(1)
    assert not outside.any()


def test_arms_leave_the_image(posed):
    """The shoulder's end of every arm is outside: no arm ends in the air. Of a hand that is outside the arm is seen alone."""
    down, ends, alone = (WIDTH - HEIGHT) / 2, 0, 0
    for crowd, stack in zip(posed.batch, posed.stacks, strict=True):
        for number, layer in enumerate(stack[: len(crowd.hands) + len(crowd.arms)]):
            end = project(layer.arm[-18:-2].astype(np.float64), layer.K) - (0, down)  # the last ring, before both poles
            inside = ((end > 0) & (end < (WIDTH, HEIGHT))).all(1)
            ends += 1
            assert inside.mean() < 0.6, crowd.index
            if number >= len(crowd.hands):
                alone += 1
                hand = project(layer.vertices.astype(np.float64), layer.K) - (0, down)
                assert (hand.max(0) < 0).any() or (hand.min(0) > (WIDTH, HEIGHT)).any(), crowd.index
                assert ((project(layer.arm.astype(np.float64), layer.K) - (0, down) > 0).all(1)).any()
    assert ends > 400
    assert alone > 40


def test_overlapping_hands_are_painted_in_the_order_of_their_depths(posed, labeller):
    """At every pixel that two layers cover, the one that is painted later is nearer: none runs through another."""
    both = wrong = 0
    for stack in posed.stacks[:150]:
        nearest = []
        for k in painted(stack):
            layer = stack[k]
            meshes = [] if layer.vertices is None else [(layer.vertices, labeller.model.closed_faces)]
            meshes += [(surface.vertices, surface.faces) for surface in layer.surfaces]
            if layer.arm is not None:
                meshes.append((layer.arm, whole_faces(make_arm(labeller.model))))
            fronts = [Lattice(v[None].astype(np.float64), f, layer.K[None], WIDTH, 1).front()[0] for v, f in meshes]
            nearest.append(np.maximum.reduce(fronts))
        for k, later in enumerate(nearest):
            for earlier in nearest[:k]:
                overlap = (later > 0) & (earlier > 0)
                both += int(overlap.sum())
                wrong += int((later < earlier)[overlap].sum())
    assert both > 2000
    assert wrong < 0.01 * both


def test_labels_are_those_of_the_fields_and_keys(samples):
    for sample in samples:
        assert set(sample.labels) | {"sky_used"} == set(CROWD_FIELDS)
        assert sample.labels["image_size"] == [WIDTH, HEIGHT]
        assert sample.image.shape == (HEIGHT, WIDTH, 3)
        assert sample.mask.shape == (HEIGHT, WIDTH)
        assert len(sample.labels["hands"]) == len(sample.vertices)
        for hand in sample.labels["hands"]:
            assert set(hand) == set(CROWD_HAND_KEYS)
    assert {len(sample.labels["hands"]) for sample in samples} == {0, 1, 2, 3, 4}
    empty = next(sample for sample in samples if not sample.labels["hands"])
    assert empty.labels["hands"] == []
    assert empty.vertices.shape == (0, empty.vertices.shape[1], 3)
    assert not empty.mask.any()


def test_one_K_holds_for_all_hands_of_an_image(samples):
    """Vertices and keypoints of every hand, through the image's one K, are where its labels say; it has square pixels and the
    middle of the image for its principal point.
    """
    for sample in samples:
        K = np.array(sample.labels["K"])
        assert K[0, 0] == K[1, 1] > 0
        np.testing.assert_array_equal(K[:2, 2], (WIDTH / 2, HEIGHT / 2))
        for hand, vertices in zip(sample.labels["hands"], sample.vertices, strict=True):
            np.testing.assert_allclose(project(np.array(hand["keypoints_cam"]), K), hand["keypoints_xy"], atol=0.01)
            xy = project(vertices.astype(np.float64), K)
            np.testing.assert_allclose([*xy.min(0), *xy.max(0)], hand["bbox_xyxy"], atol=0.001)


def test_visible_boxes_and_shares_are_those_of_the_pixels(samples, library):
    """The box around a hand's pixels in the mask, and their share of the silhouette's, found by scan lines."""
    compared = hidden = 0
    for sample in samples:
        K = np.array(sample.labels["K"])
        for number, (hand, vertices) in enumerate(zip(sample.labels["hands"], sample.vertices, strict=True)):
            rows, columns = np.nonzero(sample.mask == number + 1)
            if not len(rows):
                assert hand["visible_share"] < 0.1
                continue
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert np.abs(np.subtract(box, hand["bbox_visible_xyxy"])).max() <= 1, sample.index
            whole = silhouette(project(vertices.astype(np.float64), K), library.hand.closed_faces, WIDTH)[:HEIGHT]
            share = len(rows) / max(int(whole.sum()), 1)
            compared += 1
            hidden += hand["visible_share"] < 0.95
            assert abs(share - hand["visible_share"]) < 0.01 + 4 / whole.sum(), sample.index
    assert compared > 100
    assert hidden > 8


def test_a_keypoint_behind_another_person_is_hidden(samples, posed, labeller):
    """Keypoints that are called visible show the hand in the mask, or lie within a pixel of it; alone on its canvas a hand that is
    partly hidden has more of them.
    """
    fewer = 0
    for sample, crowd, stack in zip(samples, posed.batch, posed.stacks, strict=False):
        for number, hand in enumerate(sample.labels["hands"]):
            near = cv2.dilate((sample.mask == number + 1).astype(np.uint8), np.ones((5, 5), np.uint8))
            for (x, y), visible in zip(hand["keypoints_xy"], hand["keypoints_visible"], strict=True):
                if visible:
                    assert 0 <= x < WIDTH
                    assert 0 <= y < HEIGHT
                    wrist_or_arm = hand["arm"] is not None and [x, y] == hand["keypoints_xy"][0]
                    assert near[int(y), int(x)] or wrist_or_arm, (crowd.index, number)
            layer = stack[number]
            alone = labeller.hand_labels(labeller.pose([dataclasses.replace(crowd, hands=(layer.recipe,), arms=(), things=())]))[0][
                0
            ]
            assert sum(alone["keypoints_visible"]) >= sum(hand["keypoints_visible"])
            fewer += sum(alone["keypoints_visible"]) > sum(hand["keypoints_visible"])
    assert fewer > 3


def test_a_hand_alone_in_a_crowd_has_the_labels_of_a_single_hand(posed, labeller):
    """Those of its canvas, moved by what the image cuts from it."""
    crowd = next(crowd for crowd in posed.batch if len(crowd.layers) == len(crowd.hands) == 1)
    own = labeller.pose([crowd])
    (alone,) = annotate(crowd.hands, own.hands, labeller.model, WIDTH, "", np.zeros((1, 3)), [{}], own.worn)
    (hand,) = labeller.hand_labels(own)[0]
    for key in ("side", "theta", "beta", "trans", "T_cam_world", "keypoints_cam", "arm", "clothing", "object"):
        assert hand[key] == alone[key], key
    np.testing.assert_allclose(np.add(hand["keypoints_xy"], (0, (WIDTH - HEIGHT) / 2)), alone["keypoints_xy"], atol=1e-4)


@pytest.mark.parametrize("how", [RunConfig(jobs=2), RunConfig(nnodes=2)])
def test_crowds_have_the_same_bytes_however_they_are_made(out, spec, tiny_world, tmp_path, how):
    """By one process or two, by nodes in any order, and when a shard was lost: byte for byte."""
    ranks = reversed(range(how.nnodes))
    for rank in ranks:
        generate(spec, tmp_path / "set", Selection(slice_text="0:40"), dataclasses.replace(how, node_rank=rank), tiny_world.assets)
    assert dataset_bytes(tmp_path / "set") == dataset_bytes(out)
    os.remove(tmp_path / "set" / "shard-000002.tar")
    generate(spec, tmp_path / "set", Selection(slice_text="0:40"), RunConfig(), tiny_world.assets)
    assert dataset_bytes(tmp_path / "set") == dataset_bytes(out)


def test_images_of_other_batches_have_the_same_bytes(spec, library, samples):
    """A sample depends on no other."""
    sampler = open_sampler(spec, library)
    again = list(open_generator(spec, library).make_samples([sampler.sample(k) for k in (33, 2, 61)]))
    for sample, k in zip(again, (33, 2, 61), strict=True):
        np.testing.assert_array_equal(sample.image, samples[k].image)
        np.testing.assert_array_equal(sample.mask, samples[k].mask)
        assert canonical_json(sample.labels) == canonical_json(samples[k].labels)


def test_verify_finds_no_fault_and_replays(out, tiny_world):
    findings = verify(out, tiny_world.assets, replays=5)
    assert findings.faults == []
    assert findings.samples == 40
    assert findings.silhouettes > 50
    assert findings.replayed == 5
    assert all(result.faithful for result in replay(out, [0, 39], tiny_world.assets))


def _members(out: Path) -> list[tuple[int, dict[str, bytes]]]:
    return [(index, dict(members)) for path in sorted(out.glob("*.tar")) for index, members in read_shard(path)]


def _tampered(out: Path, folder: Path, change: Any) -> Path:
    """A copy where `change` altered the members of the first image with a hand, and the index and its notes know the bytes."""
    shutil.copytree(out, folder)
    name, index = "shard-000000.tar", read_index(out)
    members = [(number, dict(found)) for number, found in read_shard(folder / name)]
    own = next(found for _, found in members if json.loads(found["json"])["hands"])
    labels = json.loads(own["json"])
    change(labels, own)
    own["json"] = canonical_json(labels)
    info = dataclasses.replace(write_shard(folder / name, members), driver=index["shards"][0]["driver"])
    index["shards"][0] |= vars(info)
    (folder / "index.json").write_bytes(index_bytes(index))
    for path in (folder / SIDECAR_DIR).glob(f"{name}*"):
        path.unlink()
    write_sidecar(open_folder(folder), info, index["dataset"])
    return folder


def _hand(key: str, value: Any) -> Any:
    def change(labels: dict[str, Any], own: dict[str, bytes]) -> None:
        labels["hands"][0][key] = value(labels["hands"][0][key])

    return change


def _mask(labels: dict[str, Any], own: dict[str, bytes]) -> None:
    mask = decode_png(own["mask.png"], "")
    moved = np.zeros_like(mask)
    moved[:, 4:] = mask[:, :-4]
    own["mask.png"] = cv2.imencode(".png", moved)[1].tobytes()


def _number(labels: dict[str, Any], own: dict[str, bytes]) -> None:
    mask = decode_png(own["mask.png"], "").copy()
    mask[0, 0] = 77
    own["mask.png"] = cv2.imencode(".png", mask)[1].tobytes()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_hand("side", lambda s: {"left": "right", "right": "left"}[s]), "side"),
        (_hand("bbox_xyxy", lambda b: [b[0] + 2, *b[1:]]), "bbox_xyxy does not bound"),
        (_hand("bbox_visible_xyxy", lambda b: [b[0] + 3, *b[1:]]), "bbox_visible_xyxy"),
        (_hand("bbox_visible_xyxy", lambda b: None), "visible_share"),
        (_hand("visible_share", lambda v: v / 2), "visible_share"),
        (_hand("keypoints_visible", lambda v: [1 - x for x in v]), "keypoint"),
        (_hand("keypoints_xy", lambda v: [[x + 1, y] for x, y in v]), "away from keypoints_xy"),
        (_hand("T_cam_world", lambda v: [[*v[0][:3], v[0][3] + 0.01], *v[1:]]), "do not give the vertices"),
        (_hand("arm", lambda v: v | {"elbow_deg": 3.0}), "arm is not that of the recipe"),
        (_hand("clothing", lambda v: ["watch"] if "watch" not in v else []), "clothing"),
        (lambda labels, own: labels["hands"].pop(), "hands"),
        (lambda labels, own: labels.update(K=[[100.0, 0, 64], [0, 100.0, 48], [0, 0, 1]]), "K is not that of the recipe"),
        (lambda labels, own: labels.update(image_size=[96, 96]), "image_size"),
        (lambda labels, own: labels["recipe"].pop("hands"), "the recipe has 0 hands"),
        (_mask, "mask"),
        (_number, "the mask holds 77"),
    ],
)
def test_verify_finds_what_is_wrong_with_a_crowd(few, tiny_world, tmp_path, change, sentence):
    """Each fault in one sentence that names shard and sample."""
    findings = verify(_tampered(few, tmp_path / "set", change), tiny_world.assets)
    assert len(findings.faults) == 1
    assert "shard-000000.tar, sample" in findings.faults[0]
    assert sentence in findings.faults[0]
    assert "\n" not in findings.faults[0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda labels: labels.pop("hands"), "field hands is missing"),
        (lambda labels: labels.update(hands=3), "expected a list of hands"),
        (lambda labels: labels.update(hands=[3]), "expected a list of hands"),
        (lambda labels: labels.update(image_size=128), "expected width and height"),
        (lambda labels: labels.update(background=None), "background"),
        (lambda labels: labels["hands"][0].pop("theta"), "hand 0: field theta is missing"),
        (lambda labels: labels["hands"][0].update(beta=[1.0]), "hand 0: field beta is not"),
        (lambda labels: labels["hands"][0].update(side="both"), "hand 0: field side is 'both'"),
        (lambda labels: labels["hands"][0].update(arm=3), "hand 0: field arm"),
    ],
)
def test_damaged_labels_of_a_crowd_are_refused(out, change, sentence):
    labels = next(found for _, members in _members(out) if (found := json.loads(members["json"]))["hands"])
    change(labels)
    with pytest.raises(HandsynthError) as error:
        decode_labels({"json": canonical_json(labels)}, "sample 5", read_index(out))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_statistics_count_hands(out):
    found, stored = collect_stats(out), [json.loads(members["json"]) for _, members in _members(out)]
    assert found["samples"] == sum(found["hands"].values()) == 40
    for number, count in found["hands"].items():
        assert count == sum(len(labels["hands"]) == int(number) for labels in stored)
    assert sum(found["sides"].values()) == sum(len(labels["hands"]) for labels in stored)
    assert 0.05 < found["hand_share"][0] < found["hand_share"][-1] < 0.95


@pytest.fixture
def command(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs a program's main in this process with some arguments: its exit code, stdout and stderr."""

    def run(main: Callable[[], None], program: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        return code, *capsys.readouterr()

    return run


def test_the_trainer_refuses_crowds_in_one_sentence(out, command, tmp_path):
    """Whoever wants images of one hand each says so: `train mesh` ends with 2 before it does anything."""
    with pytest.raises(UsageError, match=r"holds crowds .* give a dataset of another spec") as error:
        ShardDataset(out)
    assert "\n" not in str(error.value)
    code, _, stderr = command(
        handmesh_main, "handmesh", "train", "mesh", "demo", "--data", out, "--val", out, "--out", tmp_path / "run"
    )
    assert code == 2
    assert stderr.count("\n") == 1
    assert "holds crowds" in stderr
    assert not (tmp_path / "run").exists()


def test_commands_take_crowds(out, spec, command, tiny_world, tmp_path):
    """plan, recipe, preview, show and stats."""
    path = tiny_world.folder / "crowd.yaml"
    path.write_text(
        f"name: crowd\nsamples: 1000\nimage_size: {WIDTH}\nhand: toy\ntextures: {spec.textures}\nbackgrounds: {spec.backgrounds}\n"
        f"arm: {{probability: 1}}\ncrowd: {{hands: [1, 4], height: {HEIGHT}}}\n"
    )

    def run(*arguments: object) -> str:
        code, stdout, stderr = command(handsynth_main, "handsynth", *arguments)
        assert code == 0, stderr
        return stdout

    assets = ("--assets", tiny_world.assets)
    run("preview", path, tmp_path / "sheet.png", "-n", 9, *assets)
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (3 * (HEIGHT + 6) + 6, 3 * (WIDTH + 6) + 6, 3)
    assert f"{WIDTH} x {HEIGHT} px" in run("plan", path)
    assert [json.loads(line)["index"] for line in run("recipe", path, "--indices", "0:3", *assets).splitlines()] == [0, 1, 2]
    run("show", out, 3, "--save", tmp_path / "three.png")
    assert cv2.imread(str(tmp_path / "three.png")).shape == (2 * HEIGHT, 3 * 2 * WIDTH, 3)
    assert json.loads(run("stats", out, "--json"))["samples"] == 40


def test_webdataset_and_datasets_load_crowds(out, tmp_path):
    """Also where the first image shows no hand: lists of hands and arrays of vertices are as long as each other."""
    import datasets
    import webdataset

    shards, members = sorted(str(path) for path in out.glob("*.tar")), _members(out)
    read = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"))
    assert len(read) == 40
    for sample, (_, own) in zip(read, members, strict=True):
        labels = json.loads(own["json"])
        assert sample["jpg"].shape == (HEIGHT, WIDTH, 3)
        assert sample["vertices.npy"].shape[0] == len(sample["json"]["hands"]) == len(labels["hands"])
    first = next(k for k, (_, own) in enumerate(members) if not json.loads(own["json"])["hands"])
    write_shard(tmp_path / "shard-000000.tar", members[first:])
    loaded = datasets.load_dataset(
        "webdataset", data_files=str(tmp_path / "*.tar"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(loaded) == 40 - first
    for row, (_, own) in zip(loaded, members[first:], strict=True):
        labels = json.loads(own["json"])
        assert [hand["bbox_xyxy"] for hand in row["json"]["hands"]] == [hand["bbox_xyxy"] for hand in labels["hands"]]
        assert len(row["vertices.npy"]) == len(labels["hands"])
        assert row["jpg"].size == (WIDTH, HEIGHT)


def test_the_index_says_what_a_crowd_is(out):
    """Its fields and members are those of crowds, in words."""
    conventions = read_index(out)["conventions"]
    assert conventions["fields"] == CROWD_FIELDS
    assert "number k of `hands`" in conventions["mask.png"]
    assert "(N, V, 3)" in conventions["vertices.npy"]
    image = decode_jpeg(_members(out)[0][1]["jpg"], "")
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert decode_npy(_members(out)[0][1]["vertices.npy"], "").ndim == 3
    with tarfile.open(fileobj=io.BytesIO((out / "shard-000000.tar").read_bytes())) as tar:
        assert {name.split(".", 1)[1] for name in tar.getnames()} == {"jpg", "mask.png", "json", "vertices.npy"}
    assert CrowdSpec() == dataclasses.replace(load_spec("default").crowd)
