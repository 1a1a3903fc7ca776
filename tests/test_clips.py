"""Clips: one person in one light, hands that move as hands do, flow and blur that are true, whole clips in every shard."""

import dataclasses
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from test_verify import repack
from tiny import dataset_bytes, handsynth

from handsynth.assets.library import open_library
from handsynth.core.camera import project
from handsynth.core.colour import LINEAR_OF_BYTE
from handsynth.core.conventions import FINGERS
from handsynth.core.errors import UsageError
from handsynth.core.hand import pose_hand
from handsynth.core.index import canonical_json, read_index
from handsynth.core.mirror import MIRROR_POINT
from handsynth.core.rotation import rotmat_geodesic_distance, rotvec_to_rotmat
from handsynth.core.sample import CLIP_PASSES, decode_labels, decode_npy
from handsynth.core.shard import read_shard, shard_name
from handsynth.dataset.exports.huggingface import export_huggingface
from handsynth.dataset.exports.source import Source
from handsynth.dataset.generate import RunConfig, ShardTask, make_shard, plan_shards
from handsynth.dataset.selection import Selection
from handsynth.dataset.verify import verify
from handsynth.generator import Generator, far_flow, library_of
from handsynth.image.crop import crop_background, cut_surroundings, see_surroundings
from handsynth.image.encode import FLOW_LIMIT_PX, decode_flow, decode_jpeg, decode_png, encode_flow
from handsynth.recipe.clips import TURN_SHARES, wrist_path
from handsynth.recipe.moments import exposure_shares, far_homography, moment_at, turn_since_facing
from handsynth.recipe.recipe import Recipe, recipe_from_dict
from handsynth.recipe.samplers import TWIST_LIMIT_DEG, RecipeSampler, camera_matrices, wrist_reach
from handsynth.recipe.spec import (
    HeldSpec,
    SequenceSpec,
    dataset_identity,
    load_spec,
    parse_spec,
    spec_from_dict,
    spec_text,
    spec_to_dict,
)
from handsynth.visibility import front_at_pixels

FRAMES = 30
CLIP = "{frames: 4, fps: 25, shutter: [0.5, 0.5], hand_hz: [1, 1.5]}"
DRESSED = {"arm": "{probability: 0.8}", "wear": "{sleeve: 0.4, watch: 0.4, rings: 0.4}"}


@pytest.fixture(scope="module")
def spec():
    return load_spec("clips")


@pytest.fixture(scope="module")
def sampler(spec, tiny_world):
    return RecipeSampler(spec, library_of(spec, tiny_world.assets))


@pytest.fixture(scope="module")
def clips(sampler, spec) -> list[list[Recipe]]:
    """All ten of the shipped spec."""
    recipes = sampler.sample_many(range(spec.samples))
    return [recipes[start : start + FRAMES] for start in range(0, spec.samples, FRAMES)]


@pytest.fixture(scope="module")
def made(tiny_world, tmp_path_factory) -> Path:
    """Six clips of four frames, in two shards of three, with flow, depth, parts and scene."""
    out = tmp_path_factory.mktemp("clips") / "out"
    _generate(tiny_world, out)
    return out


def _generate(world, out, selection="0:24", run=None, passes="flow, depth, parts, scene"):
    return world.generate(out, selection, passes=passes, run=run, sequence=CLIP, image_size=128, shard_size=15, **DRESSED)


def _samples(out):
    index = read_index(out)
    for number in range(len(index["shards"])):
        for key, members in read_shard(out / shard_name(number)):
            yield key, members, decode_labels(members, str(key), index)


# What the spec may say.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sequence": {"frames": 5}}, "a clip of 5 frames is longer than a shard of 4 samples.*set shard_size to 5 or more"),
        ({"sequence": {"frames": 3}}, "samples must be a multiple of sequence.frames, 3, found 40"),
        ({"motion": {"probability": 0.1}}, "motion.probability must be 0 where there are clips"),
        ({"pose": {"interpolation_probability": 0.1}}, "interpolation_probability must be 0 where there are clips"),
        ({"second": {"probability": 0.1}}, "second.probability must be 0 where there are clips"),
        ({"crowd": {"hands": [1, 2], "height": 64}}, r"crowd.hands must be \[0, 0\] where there are clips"),
        ({"occluder": {"probability": 0.1}}, "occluder.probability must be 0 where there are clips"),
        ({"pose": {"order": "bank"}}, "pose.order must be random where there are clips"),
        ({"camera": {"order": "grid"}}, "camera.order must be random where there are clips"),
        ({"sequence": {"fps": 0}}, "sequence.fps must be between 1 and 1000"),
        ({"sequence": {"hand_hz": [0, 1]}}, "sequence.hand_hz must be within 0.01 and 3"),
        ({"sequence": {"shutter": [0.5, 1.5]}}, "sequence.shutter must be within 0 and 1"),
        ({"sequence": {"pause_s": [2, 1]}}, "pause_s must go from the lower to the higher"),
        ({"sequence": {"frames": 0}, "passes": ["flow"]}, "the pass flow takes clips: set sequence.frames above 0"),
    ],
)
def test_what_does_not_go_with_clips_is_refused_in_one_sentence(tiny_world, changes, words):
    values = spec_to_dict(tiny_world.spec(sequence=CLIP))
    for key, change in changes.items():
        values[key] = values[key] | change if isinstance(change, dict) else change
    with pytest.raises(UsageError, match=words) as found:
        spec_from_dict(values, "tiny")
    assert "\n" not in str(found.value)


def test_a_spec_without_clips_keeps_its_identity(tiny_world):
    """What no frame is drawn by decides nothing; what clips are drawn by does."""
    plain = tiny_world.spec()
    assert dataset_identity(dataclasses.replace(plain, sequence=SequenceSpec(fps=60)), {}) == dataset_identity(plain, {})
    clips = [dataclasses.replace(plain, sequence=SequenceSpec(frames=4, fps=fps)) for fps in (30, 60)]
    assert len({dataset_identity(one, {}) for one in (plain, *clips)}) == 3


# What a clip is.


def test_every_frame_can_be_made_alone(spec, sampler, clips, tiny_world):
    """A recipe is a function of the clip's and the frame's number: in any order and company, from any sampler."""
    order = np.random.default_rng(0).permutation(spec.samples)[:40]
    for index in order.tolist():
        assert sampler.sample(index) == clips[index // FRAMES][index % FRAMES]
    other = RecipeSampler(spec, library_of(spec, tiny_world.assets))
    assert other.sample(137) == clips[4][17]
    longer = RecipeSampler(dataclasses.replace(spec, samples=3000), other.library)
    assert longer.sample(137) == clips[4][17]


def test_recipes_of_clips_are_stored_as_they_are(clips):
    """Through JSON and back, nothing is lost."""
    for clip in clips:
        for recipe in (clip[0], clip[-1]):
            assert recipe_from_dict(json.loads(canonical_json(recipe.to_dict())), "here", len(recipe.beta)) == recipe


def test_identity_is_constant_in_a_clip_and_differs_between_clips(clips):
    def identity(recipe: Recipe):
        arm = recipe.arm and dataclasses.replace(recipe.arm, flexion_deg=0, deviation_deg=0, twist_deg=0)
        sensor, camera = dataclasses.replace(recipe.sensor, noise_key=0), recipe.camera
        lens = camera.focal_px, camera.principal_xy, camera.distance_m
        return recipe.side, recipe.beta, recipe.alpha, arm, recipe.worn, recipe.held, recipe.background, sensor, lens

    assert len({identity(recipe) for clip in clips for recipe in clip}) == len(clips)
    assert all(len({recipe.sensor.noise_key for recipe in clip}) == FRAMES for clip in clips)
    for number, clip in enumerate(clips):
        for frame, recipe in enumerate(clip):
            assert (recipe.clip.number, recipe.clip.frame, recipe.clip.last) == (number, frame, frame == FRAMES - 1)
            assert recipe.clip.time_s == round(frame / 30, 6)


def test_lights_stay_where_they_are_while_the_camera_turns(clips):
    """Taken back to the world that labels have, every lamp and the sky's zenith is where it was."""
    turned = 0.0
    for clip in clips:
        found = []
        for recipe in clip:
            T = camera_matrices(recipe.camera)[1][:3, :3]
            if recipe.side == "left":
                T = np.diag(MIRROR_POINT) @ T @ np.diag(MIRROR_POINT)
            found.append([T.T @ light.direction_cam for light in recipe.lights] + [T.T @ recipe.ambient.up_cam])
            turned = max(turned, np.abs(np.subtract(recipe.ambient.up_cam, clip[0].ambient.up_cam)).max())
        assert np.ptp(found, axis=0).max() < 1e-5
        assert len({tuple(light.color for light in recipe.lights) for recipe in clip}) == 1
    assert turned > 0.02


def test_an_environment_stays_where_it_is_while_the_camera_turns():
    """The map's frame, seen from the world, does not move."""
    from handsynth.assets.environments.light_map import map_rotation
    from handsynth.recipe.clips import _turned_light
    from handsynth.recipe.recipe import Ambient, EnvironmentChoice

    rng = np.random.default_rng(0)
    for _ in range(20):
        up = rng.normal(0, 1, 3)
        up /= np.linalg.norm(up)
        turn = rotvec_to_rotmat(rng.normal(0, 0.2, 3))

        class Base:
            lights = ()
            ambient = Ambient((1.0, 1.0, 1.0), tuple(up.tolist()), 0.5, 2)
            environment = EnvironmentChoice(0, float(rng.uniform(0, 360)), 1.0)

        _, ambient, environment = _turned_light(Base, turn)
        before = map_rotation(up, Base.environment.yaw_deg)
        np.testing.assert_allclose(map_rotation(np.array(ambient.up_cam), environment.yaw_deg), turn @ before, atol=1e-5)


# How things move.


def _world(sampler, clip):
    theta = np.array([recipe.theta for recipe in clip]).reshape(len(clip), -1, 3)
    betas, trans = np.array([recipe.beta for recipe in clip]), np.array([recipe.trans for recipe in clip])
    return theta, pose_hand(sampler.library.hand, theta, betas, trans).vertices


def test_hands_move_as_hands_do(sampler, clips, spec):
    """No joint turns faster than the spec lets it, no point of the hand is quicker than hands are, and nothing jerks; all move."""
    fps = spec.sequence.fps
    for clip in clips:
        theta, vertices = _world(sampler, clip)
        rotations = rotvec_to_rotmat(theta)
        fingers = np.rad2deg(rotmat_geodesic_distance(rotations[:-1, 1:], rotations[1:, 1:])) * fps
        assert fingers.max() <= spec.sequence.finger_deg_s[1] + 1
        velocity = np.diff(vertices, axis=0) * fps
        assert 0.05 < np.linalg.norm(velocity, axis=-1).max() < 2
        assert np.linalg.norm(np.diff(velocity, axis=0), axis=-1).max() * fps < 25  # m/s^2; a quick gesture has 20
        assert np.abs(np.diff([recipe.camera.azimuth_deg for recipe in clip])).max() * fps < 60
    assert sum(np.ptp(_world(sampler, clip)[0][:, 1:], axis=0).max() > 0.1 for clip in clips) >= 7


def test_no_finger_runs_through_another_on_its_way(sampler, clips):
    """In every frame the fingers, posed anew, are as far apart as phalanges of the bank's poses."""
    proxy, moving = sampler.proxy, 0
    for clip in clips:
        rows = np.array([[recipe.pose.fingers.get(name, recipe.pose.bank_index) for name in FINGERS] for recipe in clip])
        others = np.array([[recipe.pose.blends.get(name, (row, 0))[0] for name, row in zip(FINGERS, own, strict=True)]
                           for recipe, own in zip(clip, rows.tolist(), strict=True)])  # fmt: skip
        theta = np.array([recipe.theta for recipe in clip]).reshape(len(clip), -1, 3)[:, 1:]
        assert not proxy.collides(rows, others, theta).any()
        moving += (rows != others).any(1).sum()
    assert moving > 100


def test_a_clip_goes_on_from_frame_to_frame(clips):
    """What a recipe says of the time of the next frame is what the next recipe says."""
    for clip in clips:
        for recipe, following in pairwise(clip):
            after, arm = recipe.clip.after, following.arm
            wrist = arm and (arm.flexion_deg, arm.deviation_deg, arm.twist_deg)
            assert (after.theta, after.trans, after.camera) == (following.theta, following.trans, following.camera)
            assert after.wrist_deg == wrist
            there = moment_at(recipe, 1)
            both = (rotvec_to_rotmat(np.array(one.theta).reshape(-1, 3)) for one in (there, following))
            assert rotmat_geodesic_distance(*both).max() < 1e-6
            np.testing.assert_allclose(there.trans, following.trans, atol=1e-12)
            np.testing.assert_allclose(there.camera.target, following.camera.target, atol=1e-12)
            assert moment_at(recipe, 0).camera == recipe.camera


def test_hands_stay_inside_the_image(sampler, clips, spec):
    """Every vertex of every frame."""
    for clip in clips:
        _, vertices = _world(sampler, clip)
        for recipe, points in zip(clip, vertices, strict=True):
            K, T = camera_matrices(recipe.camera)
            xy = project(points @ T[:3, :3].T + T[:3, 3], K)
            assert xy.min() >= 0
            assert xy.max() <= spec.image_size


def test_wrists_stay_within_their_limits_and_keep_the_forearm_where_it_is(clips):
    """A wrist takes the hand's turn as far as its limits let it; where it takes all of it, the forearm does not move."""
    for clip in clips:
        for recipe in clip:
            if recipe.arm is not None:
                assert wrist_reach(recipe.arm.flexion_deg, recipe.arm.deviation_deg) <= 1 + 1e-6
                assert abs(recipe.arm.twist_deg) <= TWIST_LIMIT_DEG + 1e-6
    turn = np.zeros((9, 3))
    turn[:, 2] = np.linspace(-20, 20, 9)
    directions = []
    for (flexion, deviation, _), own in zip(wrist_path(-10, 0, 5, turn), turn, strict=True):
        bend = rotvec_to_rotmat(np.deg2rad([0, -deviation, -flexion]))  # of the forearm against the hand, see recipe.proxy
        directions.append(rotvec_to_rotmat(np.deg2rad(own)) @ bend @ [1, 0, 0])
    assert np.ptp(directions, axis=0).max() < 1e-9
    far = wrist_path(-60, 0, 75, np.tile([[20.0, 0, 15], [-20, 0, -15]], (5, 1)) / TURN_SHARES.max())
    assert max(wrist_reach(flexion, deviation) for flexion, deviation, _ in far) <= 1
    assert np.abs(far[:, 2]).max() <= TWIST_LIMIT_DEG


def test_backgrounds_have_room_for_what_the_camera_sees(clips, spec):
    """No frame shows anything beyond the image, which is at least as wide as it is high."""
    size = spec.image_size
    corners = np.array([(x, y, 1.0) for x in (0, size) for y in (0, size)])
    moved = 0.0
    for clip in clips:
        for recipe in clip:
            K = camera_matrices(recipe.camera)[0].copy()
            if recipe.side == "left":
                K[0, 2] = size - K[0, 2]
            seen = corners @ far_homography(K, turn_since_facing(recipe).T).T
            seen = seen[:, :2] / seen[:, 2:] / size
            moved = max(moved, np.abs(seen - corners[:, :2] / size).max())
            box = recipe.background
            if box.flip:
                seen[:, 0] = 1 - seen[:, 0]
            whole = box.scale * seen + np.array([box.x, box.y]) * (1 - box.scale)  # in shares of a square image's side
            assert whole.min() > -0.002
            assert whole.max() < 1.002
    assert moved > 0.05


def test_held_things_stay_fixed_in_the_hand(tiny_world):
    """Fingers that hold something keep their pose, and the thing its place in the hand, while hand and camera move."""
    clips = load_spec("clips")
    spec = dataclasses.replace(
        clips, hand="embedded", textures="embedded", backgrounds=str(tiny_world.images), held=HeldSpec(1.0), image_size=128,
        samples=240, shard_size=64, sequence=dataclasses.replace(clips.sequence, frames=8),
    )  # fmt: skip
    library = open_library("embedded", "embedded", str(tiny_world.images), tiny_world.assets, holds=True)
    sampler, generator = RecipeSampler(spec, library), Generator(spec, library)
    shown = 0
    for number in range(10):
        recipes = sampler.sample_many(range(8 * number, 8 * number + 8))
        if recipes[0].held is None:
            continue
        shown += 1
        assert len({recipe.theta[3:] for recipe in recipes}) == len({recipe.held for recipe in recipes}) == 1
        assert len({recipe.theta[:3] for recipe in recipes}) == 8
        found = []
        for sample in generator.make_samples(recipes):
            labels = sample.labels
            T_cam_hand = np.array(labels["T_cam_world"])[:3, :3] @ rotvec_to_rotmat(np.array(labels["theta"][:3]))
            thing, wrist = np.array(labels["object"]["T_cam_object"]), np.array(labels["keypoints_cam"])[0]
            found.append(np.column_stack([T_cam_hand.T @ thing[:3, :3], T_cam_hand.T @ (thing[:3, 3] - wrist)]))
        assert np.ptp(found, axis=0).max() < 2e-5
    assert shown >= 3


# Flow and blur.


def _decoded(members):
    return decode_flow(decode_png(members["flow.png"], "flow")), decode_npy(members["vertices.npy"], "vertices").astype(float)


def test_flow_moves_every_visible_vertex_onto_the_next_frame(made, tiny_world):
    """What a pixel shows of a face, carried along by the face, is where flow leads, within 0.02 px; and so is, within 0.1 px, every
    vertex about which pixels say enough: as it is a sum of their centres, it moves by the same sum of their flows.
    """
    hand = library_of(tiny_world.spec(), tiny_world.assets).hand
    checked = 0
    for (key, members, labels), (_, following, others) in pairwise(_samples(made)):
        flow, vertices = _decoded(members)
        if labels["clip"]["number"] != others["clip"]["number"]:
            assert np.isnan(flow).all()
            continue
        assert np.isfinite(flow).all()
        K, next_K, after = np.array(labels["K"]), np.array(others["K"]), _decoded(following)[1]
        xy, to = project(vertices, K), project(after, next_K)
        pixels = np.argwhere(decode_png(members["mask.png"], "mask") > 0)[:, ::-1]
        _, face = front_at_pixels(vertices, hand.closed_faces, K, pixels)
        pixels, face = pixels[face >= 0], face[face >= 0]
        corners = hand.closed_faces[face]
        edges = (xy[corners[:, 1:]] - xy[corners[:, :1]]).swapaxes(1, 2)
        b, c = np.linalg.solve(edges, (pixels + 0.5 - xy[corners[:, 0]])[..., None])[..., 0].T
        shares = np.stack([1 - b - c, b, c], 1)
        inside = shares.min(1) > 0.02  # nearer to an edge OpenGL may show the face beside, as it moves corners by 1/256 px
        pixels, face, corners, shares = pixels[inside], face[inside], corners[inside], shares[inside]
        going = pixels + 0.5 + flow[pixels[:, 1], pixels[:, 0]]
        shares = shares / vertices[corners, 2]  # linear on the screen; on the surface they sum to 1
        there = ((shares / shares.sum(1, keepdims=True))[..., None] * after[corners]).sum(1)
        assert np.linalg.norm(project(there, next_K) - going, axis=1).max() < 0.02, key
        for number in np.unique(face):
            own, vertex = face == number, hand.closed_faces[number]
            centres = np.column_stack([pixels[own] + 0.5, np.ones(own.sum())])
            target = np.column_stack([xy[vertex], np.ones(3)])
            weights = target @ np.linalg.pinv(centres)
            known = (np.abs(weights @ centres - target).max(1) < 1e-6) & (np.abs(weights).sum(1) < 3)
            assert np.linalg.norm(weights @ going[own] - to[vertex], axis=1)[known].max(initial=0) < 0.1, (key, number)
            checked += known.sum()
    assert checked > 500


def test_flow_of_arm_and_clothing_is_theirs(made):
    """Where a vertex of the pass scene lies before all else, flow leads to where the next frame has the same vertex."""
    samples, checked = list(_samples(made)), 0
    for (_, members, labels), (_, following, others) in pairwise(samples):
        if labels["clip"]["number"] != others["clip"]["number"] or labels["arm"] is None:
            continue
        flow, _ = _decoded(members)
        beside, after = (decode_npy(one["scene.vertices.npy"], "scene").astype(float) for one in (members, following))
        K, depth, parts = np.array(labels["K"]), decode_png(members["depth.png"], "d") * 1e-4, decode_png(members["parts.png"], "p")
        xy, to = project(beside, K), project(after, np.array(others["K"]))
        column, row = np.floor(xy).astype(int).T
        inside = (xy >= 1).all(1) & (xy < 127).all(1) & (beside[:, 2] > 0)
        column, row = np.where(inside, column, 1), np.where(inside, row, 1)
        seen = inside & (np.abs(depth[row, column] - beside[:, 2]) < 0.002) & (parts[row, column] > 16)
        error = np.linalg.norm(flow[row, column] - (to - xy), axis=1)[seen]
        assert np.quantile(error, 0.9) < 0.5
        assert np.median(error) < 0.1
        checked += seen.sum()
    assert checked > 200


def test_flow_of_the_background_is_that_of_its_pixels():
    """A camera that turns sees at a pixel what it then sees where the flow leads."""
    y, x = np.mgrid[:300, :400]
    image = np.stack([x * (255 / 400), y * (255 / 300), np.full_like(x, 90)], -1).astype(np.uint8)
    size, K = 96, np.array([[150.0, 0, 40], [0, 150, 52], [0, 0, 1]])
    one, two = (rotvec_to_rotmat(np.array(v)) for v in ([0.02, -0.03, 0.01], [-0.03, 0.01, 0.05]))
    for flip in (False, True):
        box = {"scale": 0.6, "x": 0.4, "y": 0.5, "flip": flip}
        around = cut_surroundings(image, box, size)
        first, second = (see_surroundings(around, far_homography(K, turn.T), size).astype(float) for turn in (one, two))
        flow = far_flow(far_homography(K, two @ one.T), size)
        column, row = (np.indices((size, size))[::-1] + np.moveaxis(flow, -1, 0)).astype(np.float32)
        there = cv2.remap(second, column, row, cv2.INTER_LINEAR)
        inside = (column > 2) & (column < size - 3) & (row > 2) & (row < size - 3)
        assert inside.sum() > 4000
        assert np.abs(flow).max() > 3
        assert np.abs(there - first)[inside].max() < 2.5
        # A camera that is not turned sees the square that was cut, as single images do.
        still = see_surroundings(around, np.eye(3), size).astype(float)
        assert np.abs(still - crop_background(image, box, size)).max() < 3


def test_flow_is_stored_to_a_hundredth_of_a_pixel_and_what_is_unknown_as_such():
    rng = np.random.default_rng(0)
    flow = rng.normal(0, 20, (40, 50, 2)).astype(np.float32)
    flow[3, 4], flow[5, 6, 1], flow[7, 8] = np.nan, FLOW_LIMIT_PX + 1, (-FLOW_LIMIT_PX, FLOW_LIMIT_PX)
    stored = encode_flow(flow)
    assert stored.dtype == np.uint16
    found = decode_flow(stored)
    unknown = np.zeros((40, 50), bool)
    unknown[3, 4] = unknown[5, 6] = True
    assert (np.isnan(found).all(-1) == unknown).all()
    assert np.abs(found - flow)[~unknown].max() <= 0.5 / 64 + 1e-5
    assert not stored[unknown].any()


def test_blur_is_the_mean_of_the_moments_of_the_exposure(sampler, spec, tiny_world):
    """A blurred frame is, in linear light, the mean of sharp images of its moments; and its labels are those of the middle one."""
    spec = tiny_world.spec(sequence=CLIP, image_size=128, **DRESSED)
    library = library_of(spec, tiny_world.assets)
    generator, blurred = Generator(spec, library), 0
    for recipe in RecipeSampler(spec, library).sample_many(range(24)):
        clip = recipe.clip
        if clip.exposures == 1:
            continue
        plain = dataclasses.replace(recipe.sensor, gains=(0.45, 0.45, 0.45), blur_px=0.0, noise=0.0)
        recipe = dataclasses.replace(recipe, sensor=plain)
        shares = exposure_shares(clip)
        assert len(shares) == clip.exposures
        assert shares[len(shares) // 2] == 0
        assert max(shares) - min(shares) == pytest.approx(clip.shutter * (1 - 1 / clip.exposures))
        sharp = dataclasses.replace(clip, exposures=1)
        moments = [dataclasses.replace(moment_at(recipe, share), clip=sharp) for share in shares]
        image, *sharps = generator.make_samples([recipe, *moments])
        light = np.mean([LINEAR_OF_BYTE[one.image] for one in sharps], 0)
        # Nothing is brighter than white; half a level of rounding in each of the images, where a level is most light.
        assert np.abs(LINEAR_OF_BYTE[image.image] - light).max() < 0.01
        middle = sharps[len(sharps) // 2]
        np.testing.assert_array_equal(image.mask, middle.mask)
        np.testing.assert_array_equal(image.vertices, middle.vertices)
        assert image.labels["keypoints_xy"] == middle.labels["keypoints_xy"]
        assert np.abs(LINEAR_OF_BYTE[image.image] - LINEAR_OF_BYTE[middle.image]).max() > 0.025
        blurred += 1
    assert blurred >= 5


def test_moments_of_an_exposure_are_near_to_each_other(sampler, clips):
    """No point of the hand goes further than two pixels between two of them."""
    for clip in clips:
        for recipe in clip:
            shares = exposure_shares(recipe.clip)
            ends = [moment_at(recipe, share) for share in (shares[0], shares[-1])]
            _, vertices = _world(sampler, ends)
            views = [camera_matrices(one.camera) for one in ends]
            one, two = (project(v @ T[:3, :3].T + T[:3, 3], K) for v, (K, T) in zip(vertices, views, strict=True))
            assert np.linalg.norm(one - two, axis=1).max() / max(1, len(shares) - 1) < 2


# Datasets of clips.


def test_a_shard_never_splits_a_clip(made, tiny_world, spec):
    """However large the shard: of 15 samples it holds three clips of four frames."""
    index = read_index(made)
    assert [(entry["first"], entry["last"]) for entry in index["shards"]] == [(0, 11), (12, 23)]
    for size in (4, 5, 7, 11, 39):
        found = tiny_world.spec(sequence=CLIP, shard_size=size)
        shards = plan_shards(found, Selection())
        assert [i for shard in shards for i in shard] == list(range(40))
        assert all(shard[0] % 4 == 0 and len(shard) % 4 == 0 and len(shard) <= size for shard in shards)
    assert len(plan_shards(dataclasses.replace(spec, samples=3000), Selection())) == 6


def test_selections_hold_whole_clips(spec):
    """N samples are N / frames clips spread evenly; what would split one is refused in one sentence."""
    found = list(Selection(samples=90).indices(300, 30))
    assert found == [*range(30), *range(90, 120), *range(180, 210)]
    assert list(Selection(samples=90).indices(300, 30)[30:60]) == list(range(90, 120))
    assert list(Selection(slice_text="60:120").indices(300, 30)) == list(range(60, 120))
    for selection, words in (
        (Selection(samples=40), "--samples 40 would split a clip: give a multiple of 30"),
        (Selection(slice_text="10:60"), "--indices 10:60 would split clips"),
        (Selection(slice_text="0:50"), "--indices 0:50 would split clips"),
        (Selection(slice_text="0:60:2"), "--indices 0:60:2 would split clips"),
    ):
        with pytest.raises(UsageError, match=words):
            plan_shards(spec, selection)


def test_clips_have_the_same_bytes_however_they_are_made(made, tiny_world, tmp_path):
    """By one worker or two, by nodes, last shard first, or finished after a kill that left part of it."""
    expected = dataset_bytes(made)
    _generate(tiny_world, tmp_path / "jobs", run=RunConfig(jobs=2))
    assert dataset_bytes(tmp_path / "jobs") == expected
    for rank in (1, 0):
        _generate(tiny_world, tmp_path / "nodes", run=RunConfig(nnodes=2, node_rank=rank))
    assert dataset_bytes(tmp_path / "nodes") == expected
    killed = tmp_path / "killed"
    shutil.copytree(made, killed)
    (killed / shard_name(0)).unlink()
    (killed / "index.json").unlink()
    (killed / ".tmp-left").write_bytes(expected[shard_name(0)][:5000])
    assert _generate(tiny_world, killed)["made"] == 1
    assert dataset_bytes(killed) == expected
    index = read_index(made)
    spec = tiny_world.spec("flow, depth, parts, scene", sequence=CLIP, image_size=128, shard_size=15, **DRESSED)
    (tmp_path / "order").mkdir()
    for number in (1, 0):
        indices = plan_shards(spec, Selection(slice_text="0:24"))[number]
        task = ShardTask(
            number, indices, json.dumps(spec_to_dict(spec)), str(tiny_world.assets), str(tmp_path / "order"), index["dataset"]
        )
        make_shard(task)
        assert (tmp_path / "order" / shard_name(number)).read_bytes() == expected[shard_name(number)]


def test_clips_are_verified_and_every_frame_is_replayed_alone(made, tiny_world):
    found = verify(made, tiny_world.assets, replays=12)
    assert not found.faults
    assert found.replayed == 12
    for key, members, labels in _samples(made):
        assert labels["clip"] == {"number": key // 4, "frame": key % 4, "time_s": round(key % 4 / 25, 6)}
        assert decode_jpeg(members["jpg"], "jpg").shape == (128, 128, 3)


def _other_beta(labels, members):
    labels["beta"][0] += 0.5


def _other_number(labels, members):
    labels["clip"]["number"] += 1


def _no_clip(labels, members):
    del labels["clip"]


def _elsewhere(labels, members):
    labels["recipe"]["clip"]["after"]["trans"][0] += 0.01


def _other_skin(labels, members):
    labels["recipe"]["alpha"][0] += 1


def _no_flow(labels, members):
    flow = decode_flow(decode_png(members["flow.png"], "flow"))
    members["flow.png"] = cv2.imencode(".png", encode_flow(flow + 0.5)[..., ::-1])[1].tobytes()


def _torn_flow(labels, members):
    stored = decode_png(members["flow.png"], "flow").copy()
    stored[0, 0, 2] = 0
    members["flow.png"] = cv2.imencode(".png", stored[..., ::-1])[1].tobytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_other_beta, "beta is not that of the frame before, in the same clip"),
        (_other_number, "clip is .* expected"),
        (_no_clip, "clip is None, expected"),
        (_elsewhere, "hand or camera are not where the frame before leads to"),
        (_other_skin, "skin, clothing, object or sensor are not those of the frame before"),
        (_no_flow, "pass flow is not the movement until the next frame"),
        (_torn_flow, "pass flow: its third channel"),
    ],
)
def test_verify_notices(made, tiny_world, tmp_path, change, words):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    repack(out, change, position=2)
    faults = verify(out, tiny_world.assets).faults
    assert any(re.search(words, fault) for fault in faults), faults


def test_readers_of_others_read_clips(made, tmp_path):
    """webdataset and datasets: every frame once and in order, clips whole, with flow."""
    import datasets
    import webdataset

    shards = sorted(map(str, made.glob("*.tar")))
    read = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8").to_tuple("json", "jpg", "vertices.npy"))
    assert [labels["clip"]["number"] * 4 + labels["clip"]["frame"] for labels, *_ in read] == list(range(24))
    table = datasets.load_dataset("webdataset", data_files={"train": shards}, split="train", cache_dir=str(tmp_path))
    assert [(row["clip"]["number"], row["clip"]["frame"]) for row in table["json"]] == [divmod(k, 4) for k in range(24)]
    assert table[3]["flow.png"].size == (128, 128)


def test_what_flow_means_is_stated_wherever_it_is(made, tmp_path):
    """In the index; and in the card of an export to Hugging Face, whose tars have it."""
    index = read_index(made)
    assert set(index["conventions"]["passes"]) == set(index["spec"]["passes"]) == {"flow", "depth", "parts", "scene"}
    export_huggingface(Source(made), str(tmp_path / "hub"))
    assert f"| `flow.png` | {CLIP_PASSES['flow']} |" in (tmp_path / "hub" / "README.md").read_text()
    for path in (tmp_path / "hub" / "data").glob("*.tar"):
        assert {"flow.png", "depth.png"} <= set.intersection(*(set(members) for _, members in read_shard(path.read_bytes())))


def test_stats_count_clips(made):
    found = handsynth("stats", made, "--json")
    assert json.loads(found.stdout)["clips"] == 6


# Sheets.


@pytest.fixture(scope="module")
def spec_file(tiny_world) -> Path:
    path = tiny_world.folder / "moving.yaml"
    text = tiny_world.spec_path.read_text()
    path.write_text(text + f"sequence: {CLIP}\n")
    return path


@pytest.mark.parametrize("suffix", ["webp", "gif", "mp4"])
def test_sheets_of_clips_move(spec_file, tiny_world, tmp_path, suffix):
    """A sheet has the frames of a clip, one after the other, each with all clips, at the clips' rate."""
    import imageio.v3 as iio

    sheet = tmp_path / f"sheet.{suffix}"
    done = handsynth("preview", spec_file, sheet, "-n", 4, "--assets", tiny_world.assets)
    assert done.returncode == 0, done.stderr
    assert "4 clips of tiny" in done.stdout
    if suffix == "mp4":
        video = cv2.VideoCapture(str(sheet))
        assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (4, 25)
        assert video.read()[1].shape == (146, 146, 3)
        return
    frames = iio.imread(sheet, index=...)
    assert frames.shape[:3] == (4, 146, 146)
    with Image.open(sheet) as animation:
        animation.seek(1)
        animation.load()
        assert animation.info["duration"] == 40
    assert np.abs(frames[0].astype(int) - frames[3]).max() > 40


def test_still_sheets_show_film_strips_and_single_images_do_not_move(spec_file, tiny_world, tmp_path):
    done = handsynth("preview", spec_file, tmp_path / "sheet.png", "-n", 3, "--assets", tiny_world.assets)
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (3 * 70 + 6, 4 * 70 + 6, 3)
    refused = handsynth("preview", tiny_world.spec_path, tmp_path / "sheet.webp", "--assets", tiny_world.assets)
    assert refused.returncode == 2
    assert "spec tiny has no clips: name an image, .png or .jpg" in refused.stderr
    assert not (tmp_path / "sheet.webp").exists()


def test_the_shipped_spec_has_ten_clips_of_a_second(spec):
    assert (spec.samples, spec.sequence.frames, spec.sequence.fps) == (300, 30, 30)
    assert parse_spec(spec_text("clips"), "clips") == spec
