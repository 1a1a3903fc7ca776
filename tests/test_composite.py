"""Composite: what coverage 0, coverage 1 and all between mean in linear light, and what the sensor does to that light."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from handsynth.core.colour import LINEAR_OF_BYTE, every_fourth
from handsynth.image.composite import CompositeStage, mean_light
from handsynth.image.motion import ImageMotion
from handsynth.image.scales import KERNEL_STEPS, LIGHT, ROOT, ROOT_OF_LIGHT
from handsynth.image.sensor import NOISE_STEPS, blur, blur_kernel, noise_places
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


def compose(
    compositor: CompositeStage,
    encoded: np.ndarray,
    background: np.ndarray,
    sensor: SensorChoice,
    motion: ImageMotion | None = None,
) -> np.ndarray:
    """One image, of a hand whose window is the whole of it."""
    rows, columns = map(slice, (0, 0), encoded.shape[:2])
    (image,) = compositor.composite([Layers(encoded, encoded[..., 3] > 127, (rows, columns))], [background], [sensor], [motion])
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


def slow_composite(encoded: np.ndarray, background: np.ndarray, sensor: SensorChoice, field: np.ndarray) -> np.ndarray:
    """The readable twin in float64: mix, gains, blur, noise, all in light; then the curve, unrounded. `field`: normal deviates."""
    share = encoded[..., 3:] / 255
    hand = (encoded[..., :3] / 255 / np.maximum(share, 1 / 255)) ** 2 * HEADROOM
    light = (share * hand + (1 - share) * srgb_to_linear(background)) * sensor.gains
    if sensor.blur_px:
        radius = int(np.ceil(4 * sensor.blur_px))
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sensor.blur_px) ** 2)
        weights /= weights.sum()
        for axis in (0, 1):
            ends = [(radius, radius) if k == axis else (0, 0) for k in range(3)]
            padded = np.pad(light, ends, "symmetric")
            light = sum(w * np.take(padded, np.arange(k, k + light.shape[axis]), axis) for k, w in enumerate(weights))
    if sensor.noise:
        for block, place, sign in noise_places(sensor.noise_key, *light.shape[:2]):
            light[block] = np.maximum(np.sqrt(light[block]) + sign * sensor.noise * field[place], 0) ** 2
    return linear_to_srgb(light)


@pytest.mark.parametrize("blur_px", [0.0, 0.35, 0.8, 3.0])
@pytest.mark.parametrize("noise", [0.0, 0.004, 0.05])
@pytest.mark.parametrize("gains", [(1.0, 1.0, 1.0), (1.25, 0.8, 1.1)])
def test_the_stage_is_its_slow_twin(compositor, rng, blur_px, noise, gains):
    """A hand with every coverage over a background with every byte: within a byte and the rounding of a blur's weights."""
    sensor = SensorChoice(gains, blur_px, noise, noise_key=2**30 + 7, jpeg_quality=95)
    background = cv2.resize(rng.integers(0, 256, (16, 12, 3), np.uint8), (96, 128), interpolation=cv2.INTER_CUBIC)
    share = np.clip(np.hypot(*np.meshgrid(np.arange(-48, 48), np.arange(-64, 64))) * -6 + 300, 0, 255)[..., None]
    root = cv2.resize(rng.random((9, 9, 3)), (96, 128)) * 0.7
    encoded = np.round(np.concatenate([share * root, share], 2)).astype(np.uint8)
    field = compositor._sensor._field / NOISE_STEPS
    expected = slow_composite(encoded, background, sensor, field)
    found = compose(compositor, encoded, background, sensor)
    error = np.abs(found - expected)
    bright = expected > 25  # below, the curve is steep, and codes and weights are felt
    assert error[bright].max() < (1.0 if blur_px == 0 else 2.0)
    assert error.max() < 6
    assert error.mean() < 0.4
    assert (np.bincount(encoded[..., 3].ravel(), minlength=256) > 0).mean() > 0.4, "many coverages"


def test_blur_and_noise_come_before_the_curve(compositor):
    """Between black and white a blur meets in half the light, byte 188, and not in half the byte."""
    halves = np.zeros((SIDE, SIDE, 3), np.uint8)
    halves[:, SIDE // 2 :] = 255
    empty = np.zeros((SIDE, SIDE, 4), np.uint8)
    blurred = compose(compositor, empty, halves, replace(NEUTRAL, blur_px=6.0)).astype(int)
    middle = blurred[:, SIDE // 2 - 1 : SIDE // 2 + 1].mean()
    assert abs(middle - linear_to_srgb(np.array(0.5))) < 2
    light = srgb_to_linear(blurred).mean()
    assert light == pytest.approx(0.5, abs=0.003), "a blur keeps the light"


@pytest.mark.parametrize("std_px", [0.3, 0.35, 0.5, 0.8, 2.0, 20.0])
def test_blurs_are_exact(rng, std_px):
    """Each direction is the sum in whole numbers, rounded: no processor can differ. Kernels sample a Gaussian."""
    kernel = blur_kernel(std_px)
    steps = kernel.astype(float) * KERNEL_STEPS
    assert (steps == np.round(steps)).all()
    assert (steps.sum(), steps.min() >= 0) == (KERNEL_STEPS, True)
    np.testing.assert_array_equal(steps, steps[::-1])
    radius = len(kernel) // 2
    variance = (kernel * np.arange(-radius, radius + 1.0) ** 2).sum()
    if std_px >= 0.5:
        assert np.sqrt(variance) == pytest.approx(std_px, rel=0.1)
    expected = np.exp(-0.5 * (np.arange(-radius, radius + 1) / std_px) ** 2)
    np.testing.assert_allclose(steps, KERNEL_STEPS * expected / expected.sum(), atol=1.1)
    codes = rng.integers(0, 1 << 15, (70, 90, 3)).astype(np.int16)
    expected = codes.astype(float)
    for axis in (1, 0):
        ends = [(radius, radius) if k == axis else (0, 0) for k in range(3)]
        padded = np.pad(expected, ends, "symmetric")
        expected = np.rint(
            sum(w * np.take(padded, np.arange(k, k + codes.shape[axis]), axis) for k, w in enumerate(kernel.tolist()))
        )
    blur(codes, std_px)
    np.testing.assert_array_equal(codes, expected)


def test_scales_keep_every_byte():
    """A byte's light as a code of either scale, or of both in turn, is the same byte again; more light is no darker byte."""
    for scale in (LIGHT, ROOT):
        codes = scale.encode(LINEAR_OF_BYTE[None])[0].view(np.uint16)
        np.testing.assert_array_equal(scale.srgb[codes], np.arange(256))
        assert (np.diff(scale.srgb[: 1 << 15].astype(int)) >= 0).all()
        assert not scale.srgb[1 << 15 :].any(), "negative codes are black"
    roots = ROOT_OF_LIGHT[LIGHT.encode(LINEAR_OF_BYTE[None])[0].view(np.uint16)]
    np.testing.assert_array_equal(ROOT.srgb[roots.view(np.uint16)], np.arange(256))


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


def noise_of(compositor: CompositeStage, key: int, size: int, level: int = 128, noise: float = 0.02) -> np.ndarray:
    """What the noise of a key adds to a flat image, in bytes."""
    grey, empty = np.full((size, size, 3), level, np.uint8), np.zeros((size, size, 4), np.uint8)
    return compose(compositor, empty, grey, replace(NEUTRAL, noise=noise, noise_key=key)).astype(float) - level


@pytest.mark.parametrize("size", [64, 256, 1023, 1024, 1025, 2048])
def test_noise_is_white_and_each_keys_own_at_every_size(compositor, size):
    """On mid grey: mean 0, the requested standard deviation, independent of neighbours, other channels and other keys' noise."""
    fields = [noise_of(compositor, key, size) for key in (0, 12345, 2**31 - 1)]
    np.testing.assert_array_equal(fields[0], noise_of(compositor, 0, size))
    sigma = np.hypot(0.02 * 255, np.sqrt(1 / 12))  # rounding to bytes adds its own
    count = fields[0].size

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return float((a * b).mean() / sigma**2)

    for noisy in fields:
        # The field's own 786,432 numbers have a mean and a standard deviation of their own.
        assert abs(noisy.mean()) < 5 * sigma * (1 / np.sqrt(count) + 1 / 887) + 0.03
        assert noisy.std() == pytest.approx(sigma, rel=0.02)
        limit = 5 / np.sqrt(count) + 0.003
        assert abs(correlation(noisy[:, 1:], noisy[:, :-1])) < limit
        assert abs(correlation(noisy[1:], noisy[:-1])) < limit
        assert abs(correlation(noisy[..., 0], noisy[..., 1])) < 2 * limit
        half = size // 2
        assert abs(correlation(noisy[:half], noisy[-half:])) < 2 * limit, "no half repeats the other"
        assert abs(correlation(noisy[:, :half], noisy[:, -half:])) < 2 * limit
        blocks = noisy[: size - size % 8].reshape(size // 8, 8, -1).std((1, 2))
        assert blocks.min() > 0.8 * sigma, "it reaches every row"
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(correlation(fields[one], fields[other])) < 5 / np.sqrt(count) + 0.003


@pytest.mark.parametrize("size", [32, 64, 256, 512, 1023, 1024, 2048])
def test_no_two_keys_share_their_noise(size):
    """Of 20,000 keys, neighbours and random ones, each takes other places of the field or other signs."""
    keys = [*range(10_000), *np.random.default_rng(0).integers(0, 2**31, 10_000).tolist()]
    found = {str([(place, sign) for _, place, sign in noise_places(key, size, size)]) for key in keys}
    assert len(found) == len(set(keys))


@pytest.mark.parametrize("shape", [(1, 1), (2, 700), (700, 2), (129, 257), (513, 1025)])
def test_blocks_of_noise_cover_an_image_once(compositor, shape):
    """Whatever its shape; each block's place lies in the field and has its shape."""
    count = np.zeros(shape, int)
    for block, place, _ in noise_places(5, *shape):
        count[block] += 1
        assert compositor._sensor._field[place].shape[:2] == count[block].shape
    assert (count == 1).all()


def test_noise_is_that_of_photons(compositor):
    """Its strength in the image, over the recipe's: 1 at mid grey, less in the light, more in the shadows, little in black."""

    def strength(level: int) -> float:
        return noise_of(compositor, 3, 256, level, noise=0.012).std() / (0.012 * 255)

    assert strength(128) == pytest.approx(1, abs=0.03)
    assert strength(235) == pytest.approx(0.88, abs=0.03)
    assert strength(40) == pytest.approx(1.2, abs=0.05)
    assert strength(10) == pytest.approx(1.3, abs=0.1)
    assert strength(0) < 0.25


def test_noise_is_exact(compositor, rng):
    """Codes after the noise are the sums in whole numbers, rounded: no processor can differ."""
    codes = rng.integers(0, 5793, (90, 130, 3)).astype(np.int16)
    for noise in (0.0007, 0.012, 0.5, 1.0):
        noisy = codes.copy()
        compositor._sensor._add_noise(noisy, noise * ROOT.white, 99)
        amplitude = round(noise * ROOT.white / NOISE_STEPS * 512) / 512
        expected = codes.astype(float)
        for block, place, sign in noise_places(99, 90, 130):
            expected[block] += sign * amplitude * compositor._sensor._field[place]
        np.testing.assert_array_equal(noisy, np.rint(expected))


def test_noise_clips_at_black_and_white(compositor):
    """Nothing wraps around."""
    empty = np.zeros((SIDE, SIDE, 4), np.uint8)
    for level, test in ((0, lambda p: p.max() < 60), (255, lambda p: p.min() > 195)):
        flat = np.full((SIDE, SIDE, 3), level, np.uint8)
        assert test(compose(compositor, empty, flat, replace(NEUTRAL, noise=0.04)))


def test_blur_keeps_what_is_uniform(compositor, background):
    empty = np.zeros((SIDE, SIDE, 4), np.uint8)
    sensor = replace(NEUTRAL, blur_px=0.9)
    flat = np.full((SIDE, SIDE, 3), 77, np.uint8)
    np.testing.assert_array_equal(compose(compositor, empty, flat, sensor), flat)
    assert compose(compositor, empty, background, sensor).std() < 0.6 * background.std()


def test_arguments_are_left_alone(compositor, background):
    """Neither the layers nor the background, which may be a view of a shared bank, are written to."""
    encoded = np.full((SIDE, SIDE, 4), 200, np.uint8)
    before = encoded.copy(), background.copy()
    background.setflags(write=False)
    compose(compositor, encoded, background, replace(NEUTRAL, noise=0.02, blur_px=0.5))
    np.testing.assert_array_equal(encoded, before[0])
    np.testing.assert_array_equal(background, before[1])


def test_outside_the_hand_an_image_is_its_background(stage, compositor, rng):
    """Rendered hands over noise: every pixel more than a pixel away from the mask keeps its bytes."""
    size = stage.spec.image_size
    background = rng.integers(0, 256, (size, size, 3), np.uint8)
    for view in stage.views[:12]:
        layers = stage.generator.renderer.render(view)
        image = compose(compositor, layers.encoded, background, NEUTRAL)
        away = cv2.dilate(layers.mask.view(np.uint8), np.ones((5, 5), np.uint8)) == 0
        np.testing.assert_array_equal(image[away], background[away])
        assert (image[layers.mask] != background[layers.mask]).any(1).mean() > 0.95


@pytest.mark.parametrize("shape", [(64, 64, 3), (5, 9, 3), (1, 4, 3)])
def test_every_fourth_pixel_is_numpys(shape):
    """And a copy, whose change the image does not see."""
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    few = every_fourth(image)
    np.testing.assert_array_equal(few, image[::4, ::4])
    assert not np.shares_memory(few, image)


def test_mean_light_is_the_mean_in_linear_light():
    """Half black, half white is half the light, not half the byte."""
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[:, 32:] = 255
    np.testing.assert_allclose(mean_light(halves), 0.5, atol=1e-6)
