"""Composite: what coverage 0, coverage 1 and all between mean in linear light, and what the sensor adds."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from handsynth.image.composite import BYTE_OF_LINEAR, LINEAR_OF_BYTE, CompositeStage, encode_srgb, mean_light
from handsynth.recipe.recipe import SensorChoice
from handsynth.render.layers import HEADROOM, Layers

NEUTRAL = SensorChoice(gains=(1.0, 1.0, 1.0), blur_px=0.0, noise=0.0, noise_key=0, jpeg_quality=95)
SIDE = 64


def srgb_to_linear(srgb: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, bytes -> linear light."""
    srgb = np.asarray(srgb, float) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """The inverse, unrounded bytes, clipped at white."""
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def compose(compositor: CompositeStage, encoded: np.ndarray, background: np.ndarray, sensor: SensorChoice) -> np.ndarray:
    """One image, of a hand whose window is the whole of it."""
    rows, columns = map(slice, (0, 0), encoded.shape[:2])
    (image,) = compositor.composite([Layers(encoded, encoded[..., 3] > 127, (rows, columns))], [background], [sensor])
    return image


@pytest.fixture(scope="module")
def compositor() -> CompositeStage:
    return CompositeStage()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture
def background(rng) -> np.ndarray:
    return rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def test_tables_follow_the_standard():
    """Byte to light is the formula; light to byte within one byte of it, monotone; there and back is the same byte."""
    np.testing.assert_allclose(LINEAR_OF_BYTE, srgb_to_linear(np.arange(256)), atol=1e-7)
    np.testing.assert_array_equal(encode_srgb(LINEAR_OF_BYTE), np.arange(256))
    light = np.linspace(0, 1, 100_001) ** 2  # denser in the shadows
    assert np.abs(encode_srgb(light) - linear_to_srgb(light)).max() < 1
    assert (np.diff(BYTE_OF_LINEAR.astype(int)) >= 0).all()
    np.testing.assert_array_equal(encode_srgb(np.array([-1.0, 7.0])), [0, 255])


def test_coverage_zero_is_the_background(compositor, background):
    """Without a hand a neutral sensor returns the very bytes; with one, those outside it."""
    encoded = np.zeros((SIDE, SIDE, 4), np.uint8)
    np.testing.assert_array_equal(compose(compositor, encoded, background, NEUTRAL), background)
    encoded[20:30, 8:50] = (90, 80, 70, 255)
    image = compose(compositor, encoded, background, NEUTRAL)
    outside = encoded[..., 3] == 0
    np.testing.assert_array_equal(image[outside], background[outside])


def test_coverage_one_is_the_hand(compositor, background, rng):
    """Where coverage is full the image shows the encoded light within a byte, whatever is behind; over-bright is white."""
    encoded = rng.integers(0, 256, (SIDE, SIDE, 4), np.uint8)
    encoded[..., 3] = 255
    light = (encoded[..., :3] / 255) ** 2 * HEADROOM
    image = compose(compositor, encoded, background, NEUTRAL)
    assert np.abs(image - linear_to_srgb(light)).max() < 1
    assert (image[light >= 1] == 255).all()


def test_light_adds_up_linearly_between(compositor):
    """A uniform hand over a uniform background: light is share * hand + (1 - share) * background for all 256 shares.

    The tolerance is that of the encoding: a square root in 255 steps, multiplied by the share.
    """
    coverage = np.arange(256)
    share = coverage[:, None] / 255
    for hand_light, behind in (((0.5, 0.3, 0.2), (20, 60, 200)), ((1.4, 0.05, 0.0), (255, 0, 128))):
        root = np.sqrt(np.array(hand_light) / HEADROOM)
        encoded = np.round(255 * np.concatenate([share * root, share], 1)).astype(np.uint8)[None]
        image = compose(compositor, encoded, np.full((1, 256, 3), behind, np.uint8), NEUTRAL)[0]
        expected = share * hand_light + (1 - share) * srgb_to_linear(behind)
        # d(e^2 H / share) for half a step of e, and half a byte of the image.
        tolerance = HEADROOM * (2 * share * root * 0.5 / 255 + (0.5 / 255) ** 2) / np.maximum(share, 1 / 255)
        low, high = (np.floor(linear_to_srgb(expected - tolerance)) - 1, np.ceil(linear_to_srgb(expected + tolerance)) + 1)
        assert ((image >= low) & (image <= high)).all()
        assert np.ptp(high - low) < 60, "the tolerance still says something"


def test_gains_scale_light(compositor, background):
    """Exposure and white balance multiply the light of hand and background alike, channel by channel, up to white."""
    gains = (1.3, 0.8, 1.0)
    encoded = np.zeros((SIDE, SIDE, 4), np.uint8)
    encoded[:, 32:] = (120, 100, 90, 255)
    image = compose(compositor, encoded, background, replace(NEUTRAL, gains=gains))
    light = np.where(encoded[..., 3:] > 0, (encoded[..., :3] / 255) ** 2 * HEADROOM, srgb_to_linear(background)) * gains
    assert np.abs(image - linear_to_srgb(light)).max() < 1


def test_noise_is_white_zero_mean_and_named_by_its_key(compositor):
    """On mid grey: mean 0, the requested deviation, independent of its neighbours; a key names one field."""
    grey, empty = np.full((256, 256, 3), 128, np.uint8), np.zeros((256, 256, 4), np.uint8)
    fields = []
    for key in (0, 12345, 2**31 - 1):
        noisy = compose(compositor, empty, grey, replace(NEUTRAL, noise=0.02, noise_key=key)).astype(float) - 128
        again = compose(compositor, empty, grey, replace(NEUTRAL, noise=0.02, noise_key=key)).astype(float) - 128
        np.testing.assert_array_equal(noisy, again)
        sigma = np.hypot(0.02 * 255, np.sqrt(1 / 12))  # rounding to bytes adds its own
        assert abs(noisy.mean()) < 4 * sigma / np.sqrt(noisy.size)
        assert noisy.std() == pytest.approx(sigma, rel=0.02)
        assert abs((noisy[:, 1:] * noisy[:, :-1]).mean()) < 0.02 * sigma**2
        fields.append(noisy)
    assert not (fields[0] == fields[1]).all()
    assert not (fields[1] == fields[2]).all()


@pytest.mark.parametrize("size", [1024, 1025, 1500])
def test_noise_reaches_every_pixel_of_large_images(compositor, size):
    """Images larger than the noise field are covered too."""
    grey = np.full((size, size, 3), 128, np.uint8)
    noisy = compose(compositor, np.zeros((size, size, 4), np.uint8), grey, replace(NEUTRAL, noise=0.02, noise_key=77))
    assert noisy[-50:, -50:].std() > 4
    assert noisy.shape == grey.shape


def test_noise_clips_at_black_and_white(compositor):
    """Nothing wraps around."""
    empty = np.zeros((SIDE, SIDE, 4), np.uint8)
    for level, test in ((0, lambda p: p.max() < 60), (255, lambda p: p.min() > 195)):
        flat = np.full((SIDE, SIDE, 3), level, np.uint8)
        assert test(compose(compositor, empty, flat, replace(NEUTRAL, noise=0.04)))


def test_blur_keeps_what_is_uniform_and_the_mean(compositor, background):
    empty = np.zeros((SIDE, SIDE, 4), np.uint8)
    sensor = replace(NEUTRAL, blur_px=0.9)
    flat = np.full((SIDE, SIDE, 3), 77, np.uint8)
    np.testing.assert_array_equal(compose(compositor, empty, flat, sensor), flat)
    blurred = compose(compositor, empty, background, sensor)
    assert abs(blurred.mean() - background.mean()) < 1
    assert blurred.std() < 0.6 * background.std()


def test_arguments_are_left_alone(compositor, background):
    """Neither the layers nor the background, which may be a view of a shared bank, are written to."""
    encoded = np.full((SIDE, SIDE, 4), 200, np.uint8)
    before = encoded.copy(), background.copy()
    background.setflags(write=False)
    compose(compositor, encoded, background, replace(NEUTRAL, noise=0.02, blur_px=0.5))
    np.testing.assert_array_equal(encoded, before[0])
    np.testing.assert_array_equal(background, before[1])


def test_outside_the_hand_a_image_is_its_background(stage, compositor, rng):
    """Rendered hands over noise: every pixel more than a pixel away from the mask keeps its bytes."""
    size = stage.spec.image_size
    background = rng.integers(0, 256, (size, size, 3), np.uint8)
    for view in stage.views[:12]:
        layers = stage.generator.renderer.render(view)
        image = compose(compositor, layers.encoded, background, NEUTRAL)
        away = cv2.dilate(layers.mask.view(np.uint8), np.ones((5, 5), np.uint8)) == 0
        np.testing.assert_array_equal(image[away], background[away])
        assert (image[layers.mask] != background[layers.mask]).any(1).mean() > 0.95


def test_mean_light_is_the_mean_in_linear_light():
    """Half black, half white is half the light, not half the byte."""
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[:, 32:] = 255
    np.testing.assert_allclose(mean_light(halves), 0.5, atol=1e-6)
