"""Environment maps: every bad file gets one sentence, a known map gives its analytic light, and samples are lit by it."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from environment_files import indoors, outdoors, panorama, write_exr, write_hdr
from test_schema import rewrite
from tiny import handsynth as run_handsynth
from tiny import make_world

from handsynth import doctor
from handsynth.assets.environments import folder as folder_module
from handsynth.assets.environments import read as read_module
from handsynth.assets.environments.folder import UNKNOWN_LICENCE, open_environments
from handsynth.assets.environments.light_map import LUMINANCE, make_light_map, map_rotation
from handsynth.assets.environments.read import read_map
from handsynth.core.colour import linear_to_srgb
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.harmonics import light_on, terms
from handsynth.core.images import ImageError
from handsynth.core.index import read_index
from handsynth.dataset.generate import RunConfig
from handsynth.dataset.replay import Here, replay
from handsynth.dataset.statistics import collect_stats
from handsynth.dataset.verify import verify
from handsynth.generator import Generator, library_of
from handsynth.recipe.recipe import recipe_from_dict
from handsynth.recipe.samplers import RecipeSampler
from handsynth.recipe.spec import dataset_identity, load_spec, parse_spec
from handsynth.scene.sky import background_sky

SUN = np.array([0.6, 0.64, -0.48])
"""To the right, above, and in the middle half of the panorama."""


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HANDSYNTH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def small() -> np.ndarray:
    return panorama(outdoors(SUN), 16)


# The light of a map


def test_a_uniform_map_lights_everything_alike():
    """No lamp stands out of it: all of its light is the sky's order 0."""
    found = make_light_map(np.full((64, 128, 3), 7.0, np.float32))
    np.testing.assert_allclose(found.lamp_color, 0, atol=1e-4)
    np.testing.assert_allclose(found.sky[0], 1, atol=1e-4)
    np.testing.assert_allclose(found.sky[1:], 0, atol=1e-4)


def test_a_half_sky_has_its_analytic_light():
    """White above the horizon and black below: a surface that faces up has all of it, sideways half, down none."""
    found = make_light_map(panorama(lambda d: (d[..., 1:2] > 0) * np.ones(3), 256))
    rest = 1 - float(LUMINANCE @ found.lamp_color)
    light = terms(np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1], [0, -1, 0]])) @ found.sky
    np.testing.assert_allclose(light, np.outer([2, 1, 1, 0], np.full(3, rest)), atol=0.03)


@pytest.mark.parametrize("sun", [SUN, [-0.6, 0.8, 0], [0, 0.5, 0.87], [0.1, 0.99, 0], [0, -0.6, -0.8]])
@pytest.mark.parametrize("size", [2.0, 6.0])
def test_the_sun_is_the_lamp(sun, size):
    """Its direction within half a cell or a degree, its colour and its share of the light as they follow from its solid angle."""
    sun = np.array(sun) / np.linalg.norm(sun)
    found = make_light_map(panorama(outdoors(sun, 600.0, size), 512))
    assert np.rad2deg(np.arccos(min(1.0, found.lamp_direction @ sun))) < 1.0
    cap = 2 * (1 - np.cos(np.deg2rad(size)))  # solid angle over pi
    lamp = cap * 600 * np.array([1.0, 0.85, 0.6])
    mean = np.array([0.55, 0.55, 0.55]) * [0.6, 0.8, 1.2] / 2 + 0.25 * np.array([0.5, 0.4, 0.3]) / 2
    share = LUMINANCE @ found.lamp_color / (LUMINANCE @ (found.lamp_color + found.sky[0]))
    assert share == pytest.approx(LUMINANCE @ lamp / (LUMINANCE @ (lamp + mean)), abs=0.02)
    assert found.lamp_color[0] > found.lamp_color[1] > found.lamp_color[2]
    assert found.sky[0, 2] > found.sky[0, 0]
    assert LUMINANCE @ (found.lamp_color + found.sky[0]) == pytest.approx(1, abs=1e-3)


def test_lamp_and_sky_together_are_the_map_s_light():
    """A Monte-Carlo integral over the panorama itself, on some surfaces: nothing is lost and nothing counted twice."""
    image = panorama(indoors(np.array([1.0, 0.3, -0.2])), 128)
    found = make_light_map(image)
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(400_000, 3))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    row = np.minimum(np.arccos(drawn[:, 1]) / np.pi * 128, 127).astype(int)
    column = np.minimum((np.arctan2(drawn[:, 0], -drawn[:, 2]) + np.pi) / (2 * np.pi) * 256, 255).astype(int)
    light = image[row, column] @ LUMINANCE
    scale = light.mean() / LUMINANCE.dot(found.sky[0] + found.lamp_color / 4)
    for normal in np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1], [-1, 0, 0], [0, -1, 0]]):
        expected = 4 * (np.maximum(drawn @ normal, 0) * light).mean()
        sky = light_on(found.sky, normal) + max(0, normal @ found.lamp_direction) * found.lamp_color
        assert sky @ LUMINANCE * scale == pytest.approx(expected, rel=0.12, abs=0.02 * scale), normal


def test_a_turned_panorama_is_a_turned_light():
    """Its columns moved by an eighth of a turn to the left are the same map at a yaw of 45 degrees."""
    image = panorama(outdoors(SUN), 128)
    first, moved = make_light_map(image), make_light_map(np.roll(image, -32, 1))
    up = np.array([0.1, -0.97, 0.2])
    one, two = map_rotation(up, 45.0), map_rotation(up, 0.0)
    np.testing.assert_allclose(one @ first.lamp_direction, two @ moved.lamp_direction, atol=1e-3)
    assert np.linalg.det(one) == pytest.approx(1)
    np.testing.assert_allclose(one @ [0, 1, 0], up / np.linalg.norm(up), atol=1e-12)
    straight = map_rotation(np.array([0.0, -1, 0]), 0.0)
    np.testing.assert_allclose(straight @ [0, 0, -1], [0, 0, 1], atol=1e-12)  # its middle is where the camera looks
    np.testing.assert_allclose(straight @ [1, 0, 0], [1, 0, 0], atol=1e-12)  # and what is right of it is on the right


def test_the_size_of_a_map_does_not_matter():
    """The same place in four sizes, one of them not divisible by the cells', within what their pixels can show."""
    maps = [make_light_map(panorama(indoors(SUN), height)) for height in (64, 100, 128, 512)]
    for found in maps[:-1]:
        np.testing.assert_allclose(found.sky, maps[-1].sky, atol=0.05)
        np.testing.assert_allclose(found.lamp_color, maps[-1].lamp_color, atol=0.06)
    assert np.isfinite(make_light_map(panorama(indoors(SUN), 16)).sky).all()


def test_the_bright_side_of_a_background_is_the_bright_side():
    """A surface that faces the image's bright half has more light than one that faces the dark half; a plain image has no side."""
    sides = {"left": ([-1, 0, 0], np.s_[:, :64]), "right": ([1, 0, 0], np.s_[:, 64:])}
    sides |= {"above": ([0, -1, 0], np.s_[:64]), "below": ([0, 1, 0], np.s_[64:])}
    for normal, part in sides.values():
        image = np.full((128, 128, 3), 60, np.uint8)
        image[part] = (220, 200, 180)
        sky = background_sky(image)
        bright, dark = light_on(sky, np.array([normal, np.negative(normal)]))
        assert (bright > 1.8 * dark).all()
        assert (light_on(sky, np.array([0.0, 0, -1])) < bright).all()
    plain = background_sky(np.full((128, 128, 3), (90, 120, 150), np.uint8))
    assert np.abs(plain[1:]).max() < 1e-6
    np.testing.assert_allclose(linear_to_srgb(plain[0]) * 255, [90, 120, 150], atol=0.1)


def test_surroundings_of_a_background_agree_with_a_loop():
    """The slow twin: each direction of a lattice looks its pixel up, in the image or, behind the camera, in its mirror image."""
    rng = np.random.default_rng(1)
    image = np.repeat(np.repeat(rng.integers(0, 256, (4, 4, 3), np.uint8), 32, 0), 32, 1)
    linear = np.where(image / 255 <= 0.04045, image / 255 / 12.92, ((image / 255 + 0.055) / 1.055) ** 2.4)
    mean, expected, count = linear.mean((0, 1)), np.zeros((9, 3)), 40_000
    for k in range(count):
        z = 1 - (2 * k + 1) / count
        x, y = np.sqrt(1 - z * z) * np.array([np.cos(k * 2.399963), np.sin(k * 2.399963)])
        radius, angle = np.sqrt(1 - abs(z)), np.arctan2(y, x)
        a, b = np.cos(angle), np.sin(angle)  # a point of a disc of that radius, in a square
        if abs(a) > abs(b):
            u, v = np.copysign(radius, a), np.arctan(b / a) * 4 / np.pi * np.copysign(radius, a)
        else:
            u, v = np.arctan(a / b) * 4 / np.pi * np.copysign(radius, b), np.copysign(radius, b)
        pixel = linear[min(int((v + 1) * 64), 127), min(int((u + 1) * 64), 127)]
        light = pixel if z > 0 else mean + 0.7 * (pixel - mean)
        scale = np.array([1, 2, 2, 2, 15 / 4, 15 / 4, 15 / 4, 5 / 16, 15 / 16]) / count
        expected += np.outer(scale * [1, x, y, z, x * y, y * z, x * z, 3 * z * z - 1, x * x - y * y], light)
    np.testing.assert_allclose(background_sky(image), expected, atol=0.01)


# Files


def test_both_formats_give_the_same_light(tmp_path):
    """Radiance within its eight bits of mantissa; OpenEXR in halves and floats, with alpha, in separate channels, and grey."""
    pytest.importorskip("OpenEXR")
    light = small()
    half = light.astype(np.float16)
    np.testing.assert_allclose(read_map(write_hdr(tmp_path / "a.hdr", light)), light, rtol=0.02, atol=0.02 * light.max(-1).min())
    np.testing.assert_array_equal(read_map(write_exr(tmp_path / "a.exr", {"RGB": light})), light)
    np.testing.assert_array_equal(read_map(write_exr(tmp_path / "b.exr", {"RGB": half})), half)
    alpha = np.concatenate([light, np.ones_like(light[..., :1])], -1)
    np.testing.assert_array_equal(read_map(write_exr(tmp_path / "c.exr", {"RGBA": alpha})), light)
    grey = read_map(write_exr(tmp_path / "d.exr", {"Y": np.ascontiguousarray(light[..., 0])}))
    np.testing.assert_array_equal(grey, np.repeat(light[..., :1], 3, -1))


def hdr_bytes(tmp_path: Path) -> bytes:
    return write_hdr(tmp_path / "good.hdr", small()).read_bytes()


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new, 1)


BAD_RADIANCE = {
    "empty": (lambda data: b"", "neither Radiance"),
    "text": (lambda data: b"hello " * 20, "neither Radiance"),
    "PNG": (lambda data: b"\x89PNG\r\n\x1a\n" + bytes(100), "8 bits a channel"),
    "JPEG": (lambda data: b"\xff\xd8\xff\xe0" + bytes(100), "8 bits a channel"),
    "no size": (lambda data: replaced(data, b"-Y 16 +X 32", b""), "expected -Y height +X width"),
    "turned": (lambda data: replaced(data, b"-Y 16 +X 32", b"+X 32 -Y 16"), "expected -Y height +X width"),
    "square": (lambda data: replaced(data, b"-Y 16 +X 32", b"-Y 16 +X 16"), "16 x 16, expected an equirectangular"),
    "tiny": (lambda data: replaced(data, b"-Y 16 +X 32", b"-Y 4 +X 8"), "8 x 4, needs 16 px"),
    "huge": (lambda data: replaced(data, b"-Y 16 +X 32", b"-Y 99999 +X 199998"), "million pixels"),
    "larger than its bytes": (lambda data: replaced(data, b"-Y 16 +X 32", b"-Y 4000 +X 8000"), "truncated"),
    "XYZ": (lambda data: replaced(data, b"32-bit_rle_rgbe", b"32-bit_rle_xyze"), "expected 32-bit_rle_rgbe"),
    "truncated": (lambda data: data[: len(data) // 2], "damaged or truncated"),
    "black": (lambda data: data[: data.index(b"+X 32\n") + 6] + bytes(4 * 16 * 32), "it is black"),
}


@pytest.mark.parametrize("name", BAD_RADIANCE)
def test_a_bad_radiance_file_gets_one_sentence(tmp_path, cache, name):
    """The reason names what is wrong; alone in its folder, the command ends with exit code 3 and says what to give."""
    change, reason = BAD_RADIANCE[name]
    path = tmp_path / "maps" / "bad.hdr"
    path.parent.mkdir()
    path.write_bytes(change(hdr_bytes(tmp_path)))
    with pytest.raises(ImageError, match=reason.replace("+", r"\+")):
        read_map(path)
    with pytest.raises(AssetError) as raised:
        open_environments(path.parent)
    message = str(raised.value)
    assert reason in message
    assert "bad.hdr" in message
    assert "--environments" in message
    assert "\n" not in message


def broken(value: float):
    light = small()
    light[7, 9, 1] = value
    return light


BAD_EXR = {
    "NaN": (lambda: {"RGB": broken(np.nan)}, "NaN (row 7)"),
    "infinite": (lambda: {"RGB": broken(np.inf)}, "infinite light (row 7)"),
    "negative": (lambda: {"RGB": broken(-5)}, "negative light (-5)"),
    "black": (lambda: {"RGB": np.zeros((16, 32, 3), np.float32)}, "it is black"),
    "whole numbers": (lambda: {"RGB": (small() * 255).astype(np.uint32)}, "uint32, expected halves or floats"),
    "two channels": (
        lambda: {"R": small()[..., 0].copy(), "G": small()[..., 1].copy()},
        "channels G, R, expected one with R, G, B",
    ),
    "square": (lambda: {"RGB": small()[:, :16].copy()}, "16 x 16, expected an equirectangular"),
    "cropped": (lambda: {"RGB": small()}, "a crop"),
}


@pytest.mark.parametrize("name", BAD_EXR)
def test_a_bad_exr_gets_one_sentence(tmp_path, cache, name):
    pytest.importorskip("OpenEXR")
    make, reason = BAD_EXR[name]
    window = (np.array([0, 0], np.int32), np.array([63, 31], np.int32))
    path = write_exr(tmp_path / "maps" / "bad.exr", make(), **({"displayWindow": window} if name == "cropped" else {}))
    with pytest.raises(AssetError) as raised:
        open_environments(path.parent)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_damaged_exr_gets_one_sentence(tmp_path, cache, capfd):
    """Cut at each tenth of its length; the message shows no path and ends, and no decoder prints anything besides."""
    pytest.importorskip("OpenEXR")
    data = write_exr(tmp_path / "good.exr", {"RGB": small()}).read_bytes()
    path = tmp_path / "maps" / "cut.exr"
    path.parent.mkdir()
    for k in range(1, 10):
        path.write_bytes(data[: len(data) * k // 10])
        with pytest.raises(ImageError) as raised:
            read_map(path)
        assert len(str(raised.value)) < 150
        assert str(tmp_path) not in str(raised.value)
    (path.parent / "cut.hdr").write_bytes(hdr_bytes(tmp_path)[:-30])
    with pytest.raises(ImageError, match="damaged or truncated"):
        read_map(path.parent / "cut.hdr")
    assert capfd.readouterr() == ("", "")


def test_little_negative_light_is_what_resampling_leaves(tmp_path):
    pytest.importorskip("OpenEXR")
    light = small()
    light[7, 9, 1] = -1e-3
    found = read_map(write_exr(tmp_path / "a.exr", {"RGB": light}))
    assert found.min() == 0
    assert (found == np.maximum(light, 0)).all()


def test_without_openexr_the_message_names_it(tmp_path, cache, monkeypatch):
    """And says it of an .exr alone; once it is installed the file is looked at again."""
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "a.exr").write_bytes(b"v/1\x01" + bytes(100))
    write_hdr(tmp_path / "maps" / "b.hdr", small())
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    found = open_environments(tmp_path / "maps")
    assert found.names == ("b.hdr",)
    assert "a.exr (needs the package OpenEXR, which is not installed: pip install 'handsynth[exr]'" in found.notes[0]
    monkeypatch.delitem(sys.modules, "OpenEXR")
    if read_module.openexr_version() is not None:
        assert "a.exr (damaged" in open_environments(tmp_path / "maps").notes[0]


def test_a_folder_without_maps_says_what_to_give(tmp_path, cache):
    """Missing, no folder, empty, and one of 8-bit images."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "sky.jpg").write_bytes(b"x")
    for name, reason in {
        "gone": "does not exist",
        "file": "is not a folder",
        "empty": "no usable",
        "images": "8 bits cut off",
    }.items():
        with pytest.raises(AssetError, match=reason) as raised:
            open_environments(tmp_path / name)
        assert str(raised.value).endswith("give --environments a folder of .hdr or .exr panoramas, or leave it out")


def test_bad_maps_among_good_ones_are_left_out(tmp_path, cache):
    """With a sentence; subfolders and links as for backgrounds; equal folders have equal digests wherever they lie."""
    for place in ("one", "two"):
        write_hdr(tmp_path / place / "b.hdr", small())
        write_hdr(tmp_path / place / "more" / "a.HDR.hdr", panorama(indoors(SUN), 16))
        (tmp_path / place / "c.hdr").write_bytes(b"x")
        (tmp_path / place / "notes.txt").write_text("x")
        (tmp_path / place / "d.hdr").symlink_to(tmp_path / "elsewhere.hdr")
    write_hdr(tmp_path / "elsewhere.hdr", small())
    one, two = open_environments(tmp_path / "one"), open_environments(tmp_path / "two")
    assert one.names == ("b.hdr", "more/a.HDR.hdr")
    assert one.digest == two.digest
    assert "skipped 2 of 4 images" in one.notes[0]
    assert "c.hdr (neither" in one.notes[0]
    write_hdr(tmp_path / "two" / "b.hdr", small() * 2)  # the same light at another brightness, but another file
    assert open_environments(tmp_path / "two").digest != one.digest


def test_the_licence_beside_the_maps_is_recorded(tmp_path, cache):
    """The first line of LICENSE; without one it is not known; another one is another dataset."""
    write_hdr(tmp_path / "maps" / "a.hdr", small())
    before = open_environments(tmp_path / "maps")
    assert before.licence == UNKNOWN_LICENCE
    (tmp_path / "maps" / "LICENSE.txt").write_text("\n  CC0 1.0,   Poly Haven\nmore\n")
    after = open_environments(tmp_path / "maps")
    assert after.licence == "CC0 1.0, Poly Haven"
    assert after.digest != before.digest


def test_maps_are_read_once(tmp_path, cache, monkeypatch):
    """A second start takes all from the cache; a changed file is read again; a damaged cache costs time and nothing else."""
    path = write_hdr(tmp_path / "maps" / "a.hdr", small())
    first, reads = open_environments(path.parent), []
    monkeypatch.setattr(folder_module, "read_map", lambda path: reads.append(path) or read_map(path))
    again = open_environments(path.parent)
    assert not reads
    assert again.digest == first.digest
    np.testing.assert_array_equal(again.maps[0].sky, first.maps[0].sky)
    (entry,) = cache.glob("environments-*.json")
    known = json.loads(entry.read_text())
    for damage in ("x", "[]", entry.read_text().replace('"sky": [', '"sky": ["a", '), json.dumps({"a.hdr": known["a.hdr"][:2]})):
        reads.clear()
        entry.write_text(damage)
        assert open_environments(path.parent).digest == first.digest
        assert len(reads) == 1
    os.utime(path, ns=(1, 1))
    reads.clear()
    open_environments(path.parent)
    assert len(reads) == 1


# Samples


@pytest.fixture(scope="module")
def maps(tmp_path_factory) -> Path:
    """Two maps, outdoors and indoors."""
    root = tmp_path_factory.mktemp("maps")
    write_hdr(root / "a.hdr", panorama(outdoors(SUN), 64))
    write_hdr(root / "b.hdr", panorama(indoors(np.array([-1.0, 0.3, 0.2])), 64))
    (root / "LICENSE").write_text("CC0\n")
    return root


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world") / "tiny")


def samplers(world, maps, **changes):
    """Sampler and library of the tiny spec without and with environments."""
    for place in ("none", maps):
        spec = world.spec(samples=400, environments=place, **changes)
        library = library_of(spec, world.assets)
        yield RecipeSampler(spec, library), library


def test_an_environment_changes_the_light_and_nothing_else(world, maps):
    """Its stream is its own: without environments all is as it was, and with them only lights, ambient and environment differ."""
    (plain, _), (lit, library) = samplers(world, maps)
    chosen = set()
    for index in range(60):
        one, two = plain.sample(index).to_dict(), lit.sample(index).to_dict()
        assert {key for key in two if one.get(key) != two[key]} == {"lights", "ambient", "environment"}
        assert "order" not in one["ambient"]
        assert two["ambient"]["order"] == 2
        assert {key for key in one["ambient"] if one["ambient"][key] != two["ambient"][key]} == {"color"}
        chosen.add(two["environment"]["index"])
        assert recipe_from_dict(json.loads(json.dumps(two)), "again", 10).to_dict() == two
    assert chosen == set(range(len(library.environments)))


def test_the_key_light_is_the_map_s_lamp_turned_by_the_yaw(world, maps):
    """One light, where the map's lamp stands at that yaw, in its colour; and exposed no brighter than lamps that were drawn."""
    (plain, _), (lit, library) = samplers(world, maps)
    for index in range(40):
        recipe, before = lit.sample(index), plain.sample(index)
        found, choice = library.environments.maps[recipe.environment.index], recipe.environment
        (light,) = recipe.lights
        expected = map_rotation(np.array(recipe.ambient.up_cam), choice.yaw_deg) @ found.lamp_direction
        np.testing.assert_allclose(light.direction_cam, expected, atol=2e-6)
        np.testing.assert_allclose(light.color, found.lamp_color * choice.intensity, atol=2e-6)
        assert np.dot(light.direction_cam, recipe.ambient.up_cam) == pytest.approx(found.lamp_direction[1], abs=1e-5)
        total = LUMINANCE @ np.sum([v.color for v in before.lights] + [before.ambient.color], axis=0)
        exposed = LUMINANCE @ (np.array(light.color) + recipe.ambient.color)
        assert total / 1.5 - 1e-4 <= exposed <= total / 0.9 + 1e-4


def test_skin_stays_out_of_clipping(world, maps):
    """Of 32 samples before each map, less than 2 % of the hand's pixels are white."""
    *_, (sampler, library) = samplers(world, maps)
    samples = list(Generator(sampler.spec, library).make_samples(sampler.sample_many(range(32))))
    white = np.mean([(sample.image[sample.mask] >= 254).all(1).mean() for sample in samples])
    assert white < 0.02


@pytest.mark.parametrize("side", [-1, 1])
def test_the_bright_side_of_the_hand_is_that_of_the_map(world, tmp_path, cache, side):
    """With a large window to one side and white skin, pixels whose normal faces it are brighter than those that face away."""
    light = panorama(lambda d: 0.1 + 3.0 * (d[..., :1] * side > 0.2) * np.ones(3), 64)
    write_hdr(tmp_path / "maps" / "a.hdr", light)
    spec = world.spec("normal", samples=60, environments=tmp_path / "maps", light="{background_tint: [0.0, 0.0]}")
    library = library_of(spec, world.assets)
    for recipe in RecipeSampler(spec, library).sample_many(range(16)):
        (sample,) = Generator(spec, library).make_samples([recipe])
        towards = map_rotation(np.array(recipe.ambient.up_cam), recipe.environment.yaw_deg) @ [side, 0, 0]
        facing = (sample.passes["normal"][sample.mask] / 127.5 - 1) @ towards
        value = sample.image[sample.mask].mean(1)
        if (facing > 0.4).sum() > 50 and (facing < -0.4).sum() > 50:
            assert np.median(value[facing > 0.4]) > np.median(value[facing < -0.4])


def test_a_dataset_of_environments_is_verified_and_replayed(world, maps, tmp_path):
    """Digest and licence are in its index; the same bytes for any jobs; where the maps lie elsewhere, it is replayed with them."""
    out, again = tmp_path / "out", tmp_path / "again"
    world.generate(out, "0:12", environments=maps)
    world.generate(again, "0:12", environments=maps, run=RunConfig(jobs=2))
    index = read_index(out)
    assert index["licences"]["environments"] == "CC0"
    assert index["assets"]["environments"] == open_environments(maps).digest
    for entry in index["shards"]:
        assert (out / entry["name"]).read_bytes() == (again / entry["name"]).read_bytes()
    assert verify(out, world.assets, 3).faults == []
    stats = collect_stats(out)
    assert stats["environments"] == 2
    moved = tmp_path / "moved"
    maps.rename(moved)
    try:
        with pytest.raises(AssetError, match="does not exist"):
            replay(out, [3], world.assets)
        assert replay(out, [3], world.assets, Here(environments=str(moved)))[0].faithful
        (moved / "b.hdr").rename(moved / "c.hdr")
        with pytest.raises(UsageError, match="other assets \\(environments\\)"):
            replay(out, [3], world.assets, Here(environments=str(moved)))
        (moved / "c.hdr").rename(moved / "b.hdr")
    finally:
        moved.rename(maps)


WRONG_LIGHT = {
    "sky_used is missing, against the recipe": lambda labels: {key: v for key, v in labels.items() if key != "sky_used"},
    "ambient_used is None, not the light": lambda labels: labels | {"ambient_used": None},
    "not the light of the sample": lambda labels: labels | {"ambient_used": [v / 2 for v in labels["ambient_used"]]},
    "ambient_used is brighter than the recipe's": lambda labels: (
        labels | {"ambient_used": [9.0, 9.0, 9.0], "sky_used": [[9.0, 9.0, 9.0], *labels["sky_used"][1:]]}
    ),
    "field sky_used is not": lambda labels: labels | {"sky_used": labels["sky_used"][:8]},
}


@pytest.mark.parametrize("fault", WRONG_LIGHT)
def test_light_that_is_not_the_recipe_s_is_found(world, maps, tmp_path, fault):
    """Each wrong label of the light is a fault of its sample; a sky where there should be none as well."""
    world.generate(tmp_path / "out", "0:2", environments=maps)
    rewrite(tmp_path / "out", lambda index: None, lambda labels, members: WRONG_LIGHT[fault](labels))
    found = verify(tmp_path / "out", world.assets).faults
    assert len(found) == 2
    assert all(fault in one for one in found)


def test_a_sky_that_the_recipe_does_not_have_is_found(world, tmp_path):
    world.generate(tmp_path / "out", "0:2")
    sky = np.zeros((9, 3)).tolist()
    rewrite(tmp_path / "out", lambda index: None, lambda labels, members: labels | {"sky_used": [labels["ambient_used"], *sky[1:]]})
    assert all("sky_used is there, against the recipe" in fault for fault in verify(tmp_path / "out", world.assets).faults)
    assert len(verify(tmp_path / "out", world.assets).faults) == 2


def test_doctor_says_whether_exr_can_be_read(monkeypatch, tmp_path):
    """A note, and nothing that is needed."""
    for version in ("3.5", None):
        monkeypatch.setattr(doctor, "openexr_version", lambda version=version: version)
        (check,) = (check for check in doctor.examine(tmp_path) if check.name == "OpenEXR")
        assert (check.good, check.needed) == (version is not None, False)
        assert ("3.5" if version else "pip install 'handsynth[exr]'") in check.detail


def test_a_recipe_of_an_environment_that_is_not_there_is_refused(world, maps):
    (plain, library), (lit, _) = samplers(world, maps)
    with pytest.raises(HandsynthError, match="its recipe names environment"):
        list(Generator(plain.spec, library).make_samples([lit.sample(0)]))


def test_the_sky_is_labelled_as_it_is_rendered(world, maps):
    """Order 0 is ambient_used; what is in the label lights the image: the rest follows from map, yaw and background."""
    *_, (sampler, library) = samplers(world, maps, light="{background_tint: [0.0, 0.0]}")
    for sample in Generator(sampler.spec, library).make_samples(sampler.sample_many(range(8))):
        recipe, sky = sample.labels["recipe"], np.array(sample.labels["sky_used"])
        found = library.environments.maps[recipe["environment"]["index"]]
        rotation = map_rotation(np.array(recipe["ambient"]["up_cam"]), recipe["environment"]["yaw_deg"])
        np.testing.assert_array_equal(sky[0], sample.labels["ambient_used"])
        normals = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1], [0.6, 0, -0.8]])
        expected = terms(normals @ rotation) @ found.sky * recipe["environment"]["intensity"]
        np.testing.assert_allclose(terms(normals) @ sky, expected, atol=1e-3)


# Spec and command


def test_ambient_order_2_alone_takes_the_background_s_directions(world, maps):
    """Recipes draw the same; only the label sky_used is added, and it leans to the recipe's `up`."""
    library = library_of(world.spec(), world.assets)
    flat, deep = (world.spec(samples=40, light=f"{{ambient_order: {order}}}") for order in (0, 2))
    for index in range(6):
        one, two = (RecipeSampler(spec, library).sample(index) for spec in (flat, deep))
        assert two.to_dict()["ambient"] == one.to_dict()["ambient"] | {"order": 2}
        (before,), (after,) = (Generator(flat, library).make_samples([one]), Generator(deep, library).make_samples([two]))
        assert set(after.labels) - set(before.labels) == {"sky_used"}
        assert before.labels["ambient_used"] == after.labels["ambient_used"] == after.labels["sky_used"][0]
        assert (np.array(after.labels["sky_used"][1:4]).T @ two.ambient.up_cam).min() > 0
        assert (before.image != after.image).any()


def test_specs_of_the_paper_know_no_directions():
    """manorender and angrender have order 0, which is no part of an identity; default has order 2."""
    assert [load_spec(name).light.ambient_order for name in ("manorender", "angrender", "default")] == [0, 0, 2]
    assert {load_spec(name).environments for name in ("manorender", "angrender", "default")} == {"none"}
    plain, deep = (parse_spec(f"{{name: a, samples: 1, light: {{ambient_order: {order}}}}}", "test") for order in (0, 2))
    assets = {"hand": "h"}
    assert dataset_identity(plain, assets) != dataset_identity(deep, assets)
    assert dataset_identity(parse_spec("{name: a, samples: 1}", "test"), assets) == dataset_identity(plain, assets)
    elsewhere = parse_spec("{name: a, samples: 1, environments: /x}", "test")
    assert dataset_identity(elsewhere, assets) == dataset_identity(plain, assets)
    assert dataset_identity(elsewhere, assets | {"environments": "e"}) != dataset_identity(plain, assets)
    for wrong in (1, 3, -2):
        with pytest.raises(UsageError, match=r"light\.ambient_order must be 0 or 2"):
            parse_spec(f"{{name: a, samples: 1, light: {{ambient_order: {wrong}}}}}", "test")


@pytest.mark.slow
def test_the_command_takes_a_folder_of_maps(world, maps, tmp_path):
    """preview and generate with --environments; a folder of bad ones ends with exit code 3 and one sentence."""
    common = ("--environments", maps, "--assets", world.assets)
    shown = run_handsynth("preview", world.spec_path, tmp_path / "sheet.png", "-n", 4, *common)
    assert shown.returncode == 0, shown.stderr
    made = run_handsynth("generate", world.spec_path, tmp_path / "out", "--samples", 4, *common)
    assert made.returncode == 0, made.stderr
    checked = run_handsynth("verify", tmp_path / "out", "--replay", 2, *common)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.hdr").write_bytes(b"x")
    failed = run_handsynth("preview", world.spec_path, tmp_path / "no.png", "-n", 2, "--environments", tmp_path / "bad")
    assert failed.returncode == 3
    assert len(failed.stderr.strip().splitlines()) == 1
