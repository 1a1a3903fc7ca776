"""Encoding: images, passes and labels come back from a shard's bytes as they were, and damage is one sentence."""

import io
import json
import platform
from dataclasses import replace

import isal
import numpy as np
import pytest
from PIL import Image

from handsynth.core.conventions import ARM_PART, DEPTH_UNIT_M, SCHEMA
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.sample import PASSES, decode_labels, decode_npy
from handsynth.generator import Generator
from handsynth.image.encode import (
    chroma_of,
    codecs,
    decode_jpeg,
    decode_png,
    encode_jpeg,
    encode_layer,
    encode_pass,
    encode_png,
    encode_sample,
)
from handsynth.recipe.recipe import ArmChoice
from handsynth.recipe.spec import SHIPPED, load_spec
from handsynth.scene.arm import make_arm
from handsynth.scene.upper_arm import whole_faces


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3), (1, 1)])
def test_png_is_lossless(rng, dtype, shape):
    """Every depth and channel count comes back, also from arrays that are not contiguous."""
    image = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    for array in (image, image[::-1]):
        again = decode_png(encode_png(array), "here")
        np.testing.assert_array_equal(again, array)
        assert again.dtype == dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3), (1, 1), (256, 256, 3)])
@pytest.mark.parametrize("smooth", [False, True])
def test_passes_are_png_for_everyone(rng, dtype, shape, smooth):
    """OpenCV and Pillow read what our own writer of passes wrote, of every depth and channel count, also of views."""
    layer = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    layer[layer.shape[0] // 2 :] = layer[-1]
    for array in (layer, layer[::-1], np.zeros_like(layer)):
        data = encode_layer(array, smooth)
        again = decode_png(data, "here")
        np.testing.assert_array_equal(again, array)
        assert again.dtype == dtype
        with Image.open(io.BytesIO(data)) as image:
            image.load()  # checks each chunk's checksum
            assert image.size == shape[1::-1]
            if dtype == np.uint8:
                np.testing.assert_array_equal(np.asarray(image), array)


def test_the_driver_names_what_compresses_passes():
    """Its bytes follow from ISA-L's version and the kind of processor."""
    assert f"isal {isal.__version__} on {platform.machine()}" in codecs()


def test_png_is_rgb_for_others(rng):
    """Pillow reads the channels in our order."""
    image = rng.integers(0, 256, (5, 6, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(image)))), image)


def test_jpeg_is_rgb_and_near(rng):
    """A smooth image survives quality 95 within a few levels, here and in Pillow, red as red; less quality, fewer bytes."""
    x, y = np.meshgrid(np.arange(64), np.arange(64))
    image = np.stack([200 - x, 40 + y, 3 * ((x + y) // 4)], -1).astype(np.uint8)
    data = encode_jpeg(image, 95)
    for again in (decode_jpeg(data, "here"), np.asarray(Image.open(io.BytesIO(data)))):
        assert np.abs(again.astype(int) - image).mean() < 2
    noise = rng.integers(0, 256, (64, 64, 3), np.uint8)
    assert len(encode_jpeg(noise, 50)) < len(encode_jpeg(noise, 95))


def test_chroma_stands_in_the_jpegs_header(rng):
    """4:4:4 keeps the colour of single pixels, 4:2:0 shares one among four; Pillow reads which."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[::2, :, 0], image[1::2, :, 2] = 220, 220
    errors = {}
    for chroma, layers in (("420", [(2, 2), (1, 1), (1, 1)]), ("444", [(1, 1)] * 3)):
        data = encode_jpeg(image, 95, chroma)
        assert chroma_of(data, "here") == chroma
        assert [layer[1:3] for layer in Image.open(io.BytesIO(data)).layer] == layers
        errors[chroma] = np.abs(decode_jpeg(data, "here").astype(int) - image).mean()
    assert errors["444"] < 0.2 * errors["420"]
    assert encode_jpeg(image, 95) == encode_jpeg(image, 95, "420")
    with pytest.raises(HandsynthError, match="shard-000003"):
        chroma_of(b"no image", "shard-000003")


def test_a_recipes_chroma_is_its_files(stage):
    """What the recipe says is how the image is encoded."""
    for chroma in ("420", "444"):
        recipe = replace(stage.recipes[0], sensor=replace(stage.recipes[0].sensor, chroma=chroma))
        (sample,) = stage.generator.make_samples([recipe])
        assert chroma_of(encode_sample(sample)["jpg"], "here") == chroma


@pytest.mark.parametrize("decode", [decode_jpeg, decode_png])
@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff\xe0\0\0", b"\x89PNG\r\n\x1a\n\0\0"])
def test_damaged_images_name_their_place(decode, data):
    with pytest.raises(HandsynthError, match="shard-000003"):
        decode(data, "shard-000003, sample 5")


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY\x01\0", b"junk"])
def test_damaged_arrays_are_one_sentence(data):
    with pytest.raises(HandsynthError, match="shard-000003"):
        decode_npy(data, "shard-000003, sample 5")


def test_arrays_never_unpickle():
    """An object array in a .npy member is refused, not run."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(HandsynthError):
        decode_npy(buffer.getvalue(), "here")


def test_depth_is_written_in_tenths_of_a_millimetre(rng):
    """Half a unit is the greatest error, 0 stays 0."""
    depth = rng.uniform(0.2, 1.5, (8, 8)).astype(np.float32)
    depth[0] = 0
    encoded = decode_png(encode_pass("depth", depth), "here")
    assert encoded.dtype == np.uint16
    assert np.abs(encoded * DEPTH_UNIT_M - depth).max() <= 0.51 * DEPTH_UNIT_M
    assert not encoded[0].any()


@pytest.mark.parametrize("name", SHIPPED)
def test_depth_never_overflows(name):
    """The farthest camera that a spec may ask for, and a hand's length behind its middle, fit into 16 bits."""
    with pytest.raises(UsageError, match=r"camera\.distance_m"):
        replace(load_spec(name), camera=replace(load_spec(name).camera, distance_m=(0.5, 6.01)))
    assert (6.0 + 0.3) / DEPTH_UNIT_M < 65535


def test_a_sample_comes_back_from_its_members(stage):
    """Image, mask, labels, vertices and passes, decoded, are the sample's, in the order in which shards hold them."""
    for sample in stage.generator.make_samples(stage.recipes[:4]):
        members = encode_sample(sample)
        assert list(members) == ["jpg", "mask.png", "json", "vertices.npy", *(f"{name}.png" for name in PASSES)]
        assert members["jpg"] == encode_jpeg(sample.image, sample.labels["recipe"]["sensor"]["jpeg_quality"], "420")
        np.testing.assert_array_equal(decode_png(members["mask.png"], ""), sample.mask * np.uint8(255))
        assert decode_labels(members, "here", {"schema": SCHEMA, "num_shapes": 10}) == json.loads(json.dumps(sample.labels))
        vertices = decode_npy(members["vertices.npy"], "here")
        np.testing.assert_array_equal(vertices, sample.vertices)
        assert vertices.dtype == np.float32
        for name in PASSES:
            expected = sample.passes[name]
            if name == "depth":
                expected = np.round(expected / np.float32(DEPTH_UNIT_M))
            if name == "amodal":
                expected = expected * np.uint8(255)
            np.testing.assert_array_equal(decode_png(members[f"{name}.png"], ""), expected)


def test_what_stands_beside_the_hand_comes_back_as_one_mesh(stage):
    """`scene` gives two arrays that numpy reads without unpickling; bare hands have empty ones, and without it there are none."""
    arm = ArmChoice(20.0, 5.0, 10.0, 1.0, 0, 0.5, 0.5, 0.5, 0.0)
    recipes = [replace(stage.recipes[0], arm=arm), stage.recipes[1]]
    generator = Generator(replace(stage.spec, passes=("depth", "scene")), stage.library)
    with_arm, bare = generator.make_samples(recipes)
    names = ["jpg", "mask.png", "json", "vertices.npy", "depth.png", "scene.vertices.npy", "scene.faces.npy"]
    for sample, count in ((with_arm, len(whole_faces(make_arm(stage.library.hand)))), (bare, 0)):
        members = encode_sample(sample)
        assert list(members) == names
        vertices, faces = (np.load(io.BytesIO(members[name]), allow_pickle=False) for name in names[-2:])
        assert (vertices.dtype, vertices.shape[1]) == (np.float32, 3)
        assert (faces.dtype, faces.shape) == (np.int32, (count, 4))
        assert (faces[:, 3] == ARM_PART).all()
    assert "scene.faces.npy" not in encode_sample(next(stage.generator.make_samples(recipes[:1])))


def test_stages_yield_arrays(stage):
    """A sample holds nothing encoded: image and passes are arrays of pixels, depth in metres."""
    (sample,) = stage.generator.make_samples(stage.recipes[:1])
    size = stage.spec.image_size
    assert (sample.image.shape, sample.image.dtype) == ((size, size, 3), np.uint8)
    assert sample.passes["depth"].dtype == np.float32
    hand = sample.passes["depth"][sample.mask]
    assert sample.vertices[:, 2].min() - 1e-4 <= hand.min() <= hand.max() <= sample.vertices[:, 2].max() + 1e-4


def test_samples_are_made_alike_in_any_batch(stage):
    """The members of a sample have the same bytes alone, in a batch and in another order."""
    together = {s.index: encode_sample(s) for s in stage.generator.make_samples(stage.recipes[:6])}
    backwards = {s.index: encode_sample(s) for s in stage.generator.make_samples(stage.recipes[5:0:-1])}
    for index, members in backwards.items():
        assert members == together[index]
    (alone,) = stage.generator.make_samples(stage.recipes[3:4])
    assert encode_sample(alone) == together[alone.index]
