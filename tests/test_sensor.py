"""The camera's effects: each against its slow twin or a property, exact on every processor, and nothing where it is off."""

import itertools
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from test_composite import NEUTRAL, SIDE, compose, linear_to_srgb, srgb_to_linear

from handsynth.core.camera import project
from handsynth.image.composite import CompositeStage
from handsynth.image.lens import defocus, disc, vignette
from handsynth.image.motion import ImageMotion, image_motion, smear
from handsynth.image.resample import enlarge, shrink, taps
from handsynth.image.scales import KERNEL_STEPS, LIGHT
from handsynth.recipe.recipe import MotionChoice, SensorChoice
from handsynth.render.layers import HEADROOM, Layers

STILL = (0.0, 0.0, 0.0)


def moving(x: float, y: float, *, whole: bool = False) -> ImageMotion:
    """All moves by (x, y) pixels."""
    return ImageMotion((x, y), (0.0, 0.0), (0.0, 0.0), (1.0, 0.0), whole)


@pytest.fixture(scope="module")
def compositor() -> CompositeStage:
    return CompositeStage()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture
def encoded() -> np.ndarray:
    """A bright round hand with a soft border, (SIDE, SIDE, 4) as renderers give it."""
    share = np.clip(20 - np.hypot(*np.meshgrid(*2 * [np.arange(SIDE) - SIDE / 2 + 0.5])), 0, 1)[..., None]
    return np.round(255 * np.concatenate([share * np.sqrt(np.array([0.6, 0.4, 0.3]) / HEADROOM), share], 2)).astype(np.uint8)


def empty() -> np.ndarray:
    return np.zeros((SIDE, SIDE, 4), np.uint8)


def light_of(image: np.ndarray) -> np.ndarray:
    return srgb_to_linear(image)


EFFECTS = {
    "background out of focus": {"background_defocus_px": 3.0},
    "hand out of focus": {"hand_defocus_px": 1.5},
    "smaller, linear": {"source_scale": 0.7},
    "smaller, cubic": {"source_scale": 0.7, "enlarging": "cubic"},
    "half, cubic": {"source_scale": 0.5, "enlarging": "cubic"},
}
MOTIONS = {
    "hand moves": moving(5.3, -2.2),
    "camera moves": moving(-3.0, 4.1, whole=True),
    "hand turns": ImageMotion((1.0, 0.5), (0.1, -0.15), (20.0, 40.0), (0.6, -0.8), whole=False),
}


@pytest.mark.parametrize("level", [0, 1, 9, 77, 200, 255])
@pytest.mark.parametrize("name", [*EFFECTS, *MOTIONS])
def test_what_is_uniform_stays_uniform(compositor, name, level):
    """A background of one byte, and a hand that has its light, are that byte everywhere: no halo at any border."""
    grey = np.full((SIDE, SIDE, 3), level, np.uint8)
    sensor, motion = replace(NEUTRAL, **EFFECTS.get(name, {})), MOTIONS.get(name)
    np.testing.assert_array_equal(compose(compositor, empty(), grey, sensor, motion), grey)
    same = np.full((SIDE, SIDE, 4), 255, np.uint8)
    same[..., :3] = np.round(255 * np.sqrt(srgb_to_linear(level) / HEADROOM))
    flat = compose(compositor, same, grey, NEUTRAL)
    half = same.copy()
    half[:, : SIDE // 2] = 0  # a hand over the right half, whose light is that of the background but for its encoding's steps
    low, high = sorted((int(flat[0, 0, 0]), level))
    image = compose(compositor, half, grey, sensor, motion)
    assert low - 1 <= image.min() <= image.max() <= high + 1


@pytest.mark.parametrize("name", [*EFFECTS, *MOTIONS])
def test_light_is_kept(compositor, encoded, name, rng):
    """No effect makes light or takes it: the mean of the image's linear light stays, within the rounding to bytes."""
    background = cv2.resize(rng.integers(40, 200, (8, 8, 3), np.uint8), (SIDE, SIDE))
    sharp = light_of(compose(compositor, encoded, background, NEUTRAL)).mean()
    image = compose(compositor, encoded, background, replace(NEUTRAL, **EFFECTS.get(name, {})), MOTIONS.get(name))
    assert light_of(image).mean() == pytest.approx(sharp, rel=0.02)
    assert (image != compose(compositor, encoded, background, NEUTRAL)).any()


def test_an_effect_that_is_off_is_nothing(compositor, encoded, rng):
    """With the values that recipes leave out, and no motion or one of less than half a pixel, every byte is as without them."""
    background = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    plain = replace(NEUTRAL, noise=0.01, blur_px=0.5)
    off = {f.name: f.default for f in fields(SensorChoice) if f.default is not f.default_factory}
    expected = compose(compositor, encoded, background, plain)
    np.testing.assert_array_equal(compose(compositor, encoded, background, replace(plain, **off)), expected)
    still = compose(compositor, encoded, background, plain, moving(0.0, 0.0, whole=True))
    np.testing.assert_array_equal(still, expected)
    soft = compose(compositor, encoded, background, plain, moving(0.1, 0.0)).astype(int)
    assert np.abs(soft - expected).max() <= 3, "of two ways to lay a hand over a background"


@pytest.mark.parametrize("radius", [0.25, 0.625, 1.0, 1.5, 2.75, 3.5])
def test_small_discs_are_their_slow_twin(rng, radius):
    """A disc's weights are its shares of pixels; the sum is that of whole numbers, rounded, on every processor."""
    kernel = disc(radius)
    steps = kernel.astype(float) * KERNEL_STEPS
    assert (steps == np.round(steps)).all()
    assert steps.sum() == KERNEL_STEPS
    reach = len(kernel) // 2
    fine = (np.arange(100 * (2 * reach + 1)) + 0.5) / 100 - reach - 0.5
    inside = (fine[:, None] ** 2 + fine**2 <= max(radius, 0.5) ** 2).reshape(2 * reach + 1, 100, 2 * reach + 1, 100)
    np.testing.assert_allclose(kernel, inside.mean((1, 3)) / inside.mean((1, 3)).sum(), atol=0.01)
    codes = rng.integers(0, 1 << 15, (37, 50, 4)).astype(np.int16)
    np.testing.assert_array_equal(defocus(codes, radius, cv2.BORDER_REFLECT), filtered(codes, kernel))


def filtered(codes: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The slow sum in float64, rounded; mirrored beyond the border."""
    reach, (height, width) = len(kernel) // 2, codes.shape[:2]
    padded = np.pad(codes.astype(float), [(reach, reach), (reach, reach), (0, 0)], "symmetric")
    places = itertools.product(range(len(kernel)), repeat=2)
    return np.rint(sum(float(kernel[y, x]) * padded[y : y + height, x : x + width] for y, x in places))


@pytest.mark.parametrize("radius", [1.0, 2.0, 3.4, 3.6, 4.5, 7.0, 12.0, 20.0])
@pytest.mark.parametrize("size", [160, 163])
def test_a_point_becomes_a_disc_of_the_radius(radius, size):
    """Its light and its middle stay, and its spread is a disc's: in each direction the radius over 2, standard deviation."""
    variances = []
    for start in range(60, 68):  # where it lies among the pixels of a reduced image matters little
        block = np.zeros((size, size, 3), np.int16)
        block[start : start + 8, start : start + 8] = 30000  # so large that rounding loses nothing
        spread = defocus(block, radius, cv2.BORDER_REFLECT)[..., 0].astype(float)
        assert spread.sum() == pytest.approx(64 * 30000, rel=0.02)
        weight, place = spread.sum(0) / spread.sum(), np.arange(size) + 0.5
        mean = (weight * place).sum()
        assert mean == pytest.approx(start + 4, abs=0.1)
        variances.append((weight * (place - mean) ** 2).sum() - (64 - 1) / 12)
    assert np.sqrt(np.mean(variances)) == pytest.approx(np.sqrt(radius**2 / 4 + 1 / 12), rel=0.1), "and a pixel's own"
    assert np.ptp(variances) < 0.35 * np.mean(variances)


def test_large_discs_are_exact(rng):
    """Reduced by two, filtered and brought back, all in whole numbers: the slow twin in float64 rounds alike."""
    codes = rng.integers(0, 1 << 15, (64, 96, 3)).astype(np.int16)
    small = np.floor(codes.reshape(32, 2, 48, 2, 3).astype(float).mean((1, 3)) + 0.5)
    small = filtered(small, disc(round(32 * np.sqrt(2.0**2 - 1)) / 32))
    padded = np.pad(small, [(1, 1), (1, 1), (0, 0)], "edge")
    rows = np.stack([0.25 * padded[:-2] + 0.75 * padded[1:-1], 0.75 * padded[1:-1] + 0.25 * padded[2:]], 1).reshape(64, 50, 3)
    expected = np.stack([0.25 * rows[:, :-2] + 0.75 * rows[:, 1:-1], 0.75 * rows[:, 1:-1] + 0.25 * rows[:, 2:]], 2)
    np.testing.assert_array_equal(defocus(codes, 4.0, cv2.BORDER_REFLECT), np.rint(expected.reshape(64, 96, 3)))


def test_a_background_out_of_focus_leaves_the_hand_sharp(compositor, encoded):
    """The hand's bytes are those without; beside it, what is behind is blurred as if no hand were there: no halo of its light."""
    halves = np.zeros((SIDE, SIDE, 3), np.uint8)
    halves[:, SIDE // 2 :] = 200
    sensor = replace(NEUTRAL, background_defocus_px=4.0)
    image, sharp = compose(compositor, encoded, halves, sensor), compose(compositor, encoded, halves, NEUTRAL)
    np.testing.assert_array_equal(image[encoded[..., 3] == 255], sharp[encoded[..., 3] == 255])
    alone = compose(compositor, empty(), halves, sensor)
    np.testing.assert_array_equal(image[encoded[..., 3] == 0], alone[encoded[..., 3] == 0])
    assert len(np.unique(alone[0, :, 0])) > 6, "an edge became a ramp"


def slow_smear(light: np.ndarray, motion: ImageMotion, moments: int = 400) -> np.ndarray:
    """The readable twin: the mean of many moments, each interpolated between pixels; the border goes on."""
    height, width = light.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float64)
    far = (x + 0.5 - motion.wrist_xy[0]) * motion.along[0] + (y + 0.5 - motion.wrist_xy[1]) * motion.along[1]
    ways = [start + more * np.maximum(far, 0) for start, more in zip(motion.shift, motion.growth, strict=True)]
    total = np.zeros(light.shape)
    for time in (np.arange(moments) + 0.5) / moments - 0.5:
        place = [(at - time * way).astype(np.float32) for at, way in zip((x, y), ways, strict=True)]
        total += cv2.remap(light.astype(np.float32), *place, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return total / moments


@pytest.mark.parametrize("name", [*MOTIONS, "far"])
def test_motion_is_its_slow_twin(rng, name):
    """Within a few hundredths of white of the mean of 400 moments, on a smooth image with an edge."""
    motion = MOTIONS.get(name) or moving(23.0, 9.0)
    light = cv2.resize(rng.random((12, 12, 4)), (96, 80), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    light[:, :48] *= 0.3
    codes = np.round(light * LIGHT.white).astype(np.int16)
    found = smear(codes, motion, slice(0, 80), slice(0, 96)) / LIGHT.white
    error = np.abs(found - slow_smear(light, motion))
    assert error.mean() < 0.015
    assert np.quantile(error, 0.999) < 0.08


@pytest.mark.parametrize(
    "way", [(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (0.0, -3.5), (6.0, 0.0), (6.0, 6.0), (11.0, 4.0), (-30.0, 17.0)]
)
def test_a_point_in_motion_becomes_a_line(way):
    """Its light stays and its middle stays; the line is as long as the way, straight, without gaps and a pixel wide."""
    codes = np.zeros((81, 81, 3), np.int16)
    codes[40, 40] = 32000
    line = smear(codes, moving(*way), slice(0, 81), slice(0, 81))[..., 0].astype(float)
    assert line.sum() == pytest.approx(32000, rel=0.01)
    y, x = np.mgrid[:81, :81] - 40.0
    weight, length = line / line.sum(), np.hypot(*way)
    assert (weight * x).sum() == pytest.approx(0, abs=1e-6)
    assert (weight * y).sum() == pytest.approx(0, abs=1e-6)
    along = np.array(way) / max(length, 1e-9)
    lengthwise, across = x * along[0] + y * along[1], y * along[0] - x * along[1]
    assert np.sqrt((weight * lengthwise**2).sum() * 12) == pytest.approx(length, abs=1.0, rel=0.13)
    assert np.sqrt((weight * across**2).sum()) < 0.65
    longest = np.abs(way).argmax()
    profile = weight.sum(longest)  # over the other axis
    seen = np.flatnonzero(profile)
    assert len(seen) == seen[-1] - seen[0] + 1, "no gap"
    if length > 5:
        inner = profile[seen[len(seen) // 6 + 1 : -(len(seen) // 6) - 1]]  # long ways rise and fall at the ends
        assert inner.max() < 4.1 * inner.min(), "an even line"


@pytest.mark.parametrize(
    ("way", "times"), [((10.0, 4.0), [np.arange(-5, 6) / 11]), ((31.0, 12.3), [np.arange(-4, 5) * (1 / 36), np.arange(-3, 4) / 8])]
)
def test_motion_is_exact(rng, way, times):
    """Means of whole codes, rounded once, or once for each of two steps: bytes follow from whole numbers alone."""
    codes = rng.integers(0, 1 << 15, (40, 50, 4)).astype(np.int16)
    expected = codes.astype(float)
    for moments in times:
        padded, total = np.pad(expected, [(40, 40), (40, 40), (0, 0)], "edge"), np.zeros(codes.shape)
        for x, y in np.rint(np.outer(moments, way)).astype(int):
            total += padded[40 - y : 80 - y, 40 - x : 90 - x]
        expected = np.rint((total.astype(np.float32) * np.float32(1 / len(moments))).astype(float))
    window = slice(0, 40), slice(0, 50)
    np.testing.assert_array_equal(smear(codes, moving(*way), *window), expected)
    alike = replace(moving(*way), growth=(1e-12, 0.0))  # by the way of movements that vary
    np.testing.assert_array_equal(smear(codes, alike, *window), expected)


def test_a_moving_hand_leaves_the_background_sharp(compositor, encoded, rng):
    """Where the hand never is, the background keeps its bytes; a moving camera blurs it; both move the hand's light alike."""
    background = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    image = compose(compositor, encoded, background, NEUTRAL, moving(6.0, 0.0))
    away = cv2.dilate(encoded[..., 3], np.ones((3, 11), np.uint8)) == 0
    np.testing.assert_array_equal(image[away], background[away])
    shaken = compose(compositor, encoded, background, NEUTRAL, moving(6.0, 0.0, whole=True))
    assert shaken[away].std() < 0.6 * background[away].std()


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(
    ("shift", "turn"), [((0.004, 0.002, 0.0), STILL), (STILL, (0.0, 0.0, 3.0)), ((0.002, -0.003, 0.004), (2.0, -1.0, 2.0))]
)
def test_the_image_moves_as_the_hand_does(stage, shift, turn, left):
    """The movement at the keypoints is that of keypoints moved in space and projected; shared out along the hand."""
    rows = [row for row, recipe in enumerate(stage.recipes) if (recipe.side == "left") == left][:12]
    choice, errors, ways = MotionChoice(shift, turn, (0.0, 0.0)), [], []
    for row in rows:
        points, K = stage.hands.keypoints[row], stage.hands.K[row]
        motion = image_motion(choice, points, K)
        ends = []
        for time in (-0.5, 0.5):
            rotation = cv2.Rodrigues(np.radians(turn) * time)[0]
            ends.append(project(points[0] + (points - points[0]) @ rotation.T + np.array(shift) * time, K))
        expected = ends[1] - ends[0]
        xy = project(points, K)
        far = np.maximum((xy - motion.wrist_xy) @ np.array(motion.along), 0)[:, None]
        errors.append(np.hypot(*(np.array(motion.shift) + far * motion.growth - expected).T))
        ways.append(np.hypot(*expected.T))
    assert np.mean(errors) < 0.3 * np.mean(ways), "low-order"
    if turn == STILL:
        assert np.mean(errors) < 0.1 * np.mean(ways)


def test_a_shaking_camera_moves_all_by_its_turn():
    """Far points move by focal length times angle, against the camera's turn."""
    K = np.array([[600.0, 0, 128], [0, 600, 128], [0, 0, 1]])
    motion = image_motion(MotionChoice(STILL, STILL, (0.3, -0.1)), np.ones((21, 3)), K)
    assert motion.whole
    np.testing.assert_allclose(motion.shift, (-600 * np.radians(0.3), 600 * np.radians(0.1)), atol=1e-4)


@pytest.mark.parametrize("way", [1e3, 1e9])
def test_no_motion_needs_much_memory(way):
    """However far a stored recipe moves its hand: longer ways than images have are cut."""
    codes = np.full((32, 32, 4), 500, np.int16)
    for motion in (moving(way, -way), replace(moving(1.0, 1.0), growth=(way, way))):
        np.testing.assert_array_equal(smear(codes, motion, slice(0, 32), slice(0, 32)), codes)


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("loss", [0.05, 0.25, 0.6])
@pytest.mark.parametrize("shape", [(64, 64), (65, 65), (64, 97)])
def test_vignetting_is_a_cosine_to_the_fourth(loss, noise, shape):
    """Light falls from the middle, where it stays, to the corners, which lose the share; the same in both scales of codes."""
    height, width = shape
    y, x = np.mgrid[:height, :width] + 0.5
    squared = ((x - width / 2) ** 2 + (y - height / 2) ** 2) / ((width / 2) ** 2 + (height / 2) ** 2)
    angle = np.arctan(np.sqrt(squared * (1 / np.sqrt(1 - loss) - 1)))
    assert np.cos(np.arctan(np.sqrt(1 / np.sqrt(1 - loss) - 1))) ** 4 == pytest.approx(1 - loss)
    power = 0.5 if noise else 1.0
    codes = np.full((height, width, 3), 12000, np.int16)
    vignette(codes, loss, power)
    expected = 12000 * np.cos(angle) ** (4 * power)
    np.testing.assert_allclose(codes[..., 1], expected, atol=1.5)


def test_vignetting_darkens_images_in_linear_light(compositor):
    grey = np.full((SIDE, SIDE, 3), 180, np.uint8)
    for noise in (0.0, 1e-6):  # composed in either scale
        image = compose(compositor, empty(), grey, replace(NEUTRAL, vignetting=0.3, noise=noise))
        assert abs(int(image[SIDE // 2, SIDE // 2, 0]) - 180) <= 1
        assert abs(image[0, 0, 0] - linear_to_srgb(0.7 * srgb_to_linear(180))) < 2


@pytest.mark.parametrize("std", [0.0003, 0.001, 0.01])
@pytest.mark.parametrize("level", [60, 128, 235])
def test_read_noise_is_as_strong_in_light_as_in_shadow(compositor, std, level):
    """Its standard deviation in linear light is the recipe's, whatever the light; and it is a key's own."""
    grey = np.full((256, 256, 3), level, np.uint8)
    codes = np.full((256, 256, 3), LIGHT.encode(np.float32([[srgb_to_linear(level)]]))[0, 0], np.int16)
    before = codes.copy()
    compositor._sensor._add_noise(codes, std * LIGHT.white, (1 << 31) + 5)
    assert (codes - before).std() / LIGHT.white == pytest.approx(std, rel=0.05, abs=0.3 / LIGHT.white)
    sensor = replace(NEUTRAL, read_noise=std, noise_key=5)
    blank = np.zeros((256, 256, 4), np.uint8)
    one, two = (compose(compositor, blank, grey, replace(sensor, noise_key=key)) for key in (5, 6))
    if std >= 0.01:
        assert (one != two).mean() > 0.3
        assert light_of(one).std() == pytest.approx(std, rel=0.1)


def test_read_noise_is_none_of_the_photons(compositor):
    """With both, variances add up: the two resemble each other in no way."""
    grey, blank = np.full((256, 256, 3), 128, np.uint8), np.zeros((256, 256, 4), np.uint8)
    both, photons, electrons = (
        light_of(compose(compositor, blank, grey, replace(NEUTRAL, noise=noise, read_noise=read, noise_key=7)))
        - srgb_to_linear(128)
        for noise, read in ((0.02, 0.012), (0.02, 0.0), (0.0, 0.012))
    )
    assert both.var() == pytest.approx(photons.var() + electrons.var(), rel=0.05)
    assert abs((photons * electrons).mean() / (photons.std() * electrons.std())) < 0.02


@pytest.mark.parametrize("side", [64, 90, 121, 127])
@pytest.mark.parametrize("kernel", ["linear", "cubic"])
def test_an_enlarged_image_is_interpolated(rng, side, kernel):
    """Pixel centres are kept: a ramp stays that ramp, within the rounding of weights; sums are of whole numbers."""
    x = np.arange(side) + 0.5
    ramp = np.clip(np.rint(np.add.outer(x, 0.5 * x) * 250 / (1.5 * side)), 0, 255).astype(np.uint8)
    found = enlarge(np.repeat(ramp[..., None], 3, 2), 128, kernel).astype(float)
    y = (np.arange(128) + 0.5) * side / 128
    expected = np.add.outer(y, 0.5 * y) * 250 / (1.5 * side)
    assert np.abs(found[4:-4, 4:-4, 0] - expected[4:-4, 4:-4]).max() < 2.6
    image = rng.integers(0, 256, (side, side, 3), np.uint8)
    assert enlarge(image, 128, kernel).shape == (128, 128, 3)
    if kernel == "cubic":
        place, weight = taps(side, 128)
        rows = np.clip((np.einsum("to,towc->owc", weight.astype(int), image[place].astype(int)) + 32) >> 6, 0, 255)
        both = np.clip((np.einsum("to,htoc->hoc", weight.astype(int), rows[:, place]) + 32) >> 6, 0, 255)
        np.testing.assert_array_equal(enlarge(image, 128, kernel), both)
        assert (weight.sum(0) == 64).all()


def test_cubic_enlarging_is_sharper_than_linear(rng):
    image = cv2.resize(rng.integers(0, 256, (16, 16, 3), np.uint8), (64, 64), interpolation=cv2.INTER_NEAREST)
    steps = [np.abs(np.diff(enlarge(image, 128, kernel).astype(float), axis=1)).max() for kernel in ("linear", "cubic")]
    assert steps[1] > 1.1 * steps[0]


def test_a_smaller_source_leaves_out_detail(compositor, encoded, rng):
    """What only a full-size image can show is gone, the hand stays where it is, and labels' size is that of the image."""
    fine = np.zeros((SIDE, SIDE, 3), np.uint8)
    fine[::2] = 255
    image = compose(compositor, empty(), fine, replace(NEUTRAL, source_scale=0.5))
    assert image.shape == fine.shape
    assert image[4:-4].std() < 5
    grey = np.full((SIDE, SIDE, 3), 30, np.uint8)
    sharp, soft = (light_of(compose(compositor, encoded, grey, replace(NEUTRAL, source_scale=scale))) for scale in (1.0, 0.6))
    place = np.arange(SIDE)
    for axis in (0, 1):
        middles = [((light - light.min()).sum((axis, 2)) * place).sum() / (light - light.min()).sum() for light in (sharp, soft)]
        assert middles[0] == pytest.approx(middles[1], abs=0.1)
    assert shrink(np.zeros((64, 64, 4), np.uint8), 40).shape == (40, 40, 4)


@pytest.mark.parametrize("side", [64, 70, 90, 100, 120])
def test_shrinking_makes_no_patterns(rng, side):
    """Stripes of two pixels, which the smaller image cannot show, leave no beat of theirs; sums are of whole numbers."""
    stripes = np.repeat((np.arange(128) % 2 * 200)[:, None], 128, 1).astype(np.uint8)[..., None].repeat(3, 2)
    small = shrink(stripes, side).astype(float)
    if side < 96:
        assert small[2:-2].std() < 2
    image = rng.integers(0, 256, (128, 128, 4), np.uint8)
    if side == 64:  # and in whole numbers: half a pixel between two
        padded = np.pad(image.astype(int), [(1, 1), (1, 1), (0, 0)], "reflect")
        rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
        smooth = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:] + 8) >> 4
        found = shrink(image, side)
        np.testing.assert_allclose(found, smooth.reshape(64, 2, 64, 2, 4).mean((1, 3)), atol=0.51)
    optimised = shrink(image, side)
    cv2.setUseOptimized(False)
    try:
        np.testing.assert_array_equal(shrink(image, side), optimised)
    finally:
        cv2.setUseOptimized(True)


def test_noise_of_a_smaller_source_is_coarse(compositor):
    """Neighbours of an enlarged image resemble each other, as in enlarged photographs."""
    grey, blank = np.full((256, 256, 3), 128, np.uint8), np.zeros((256, 256, 4), np.uint8)

    def resemblance(scale: float) -> float:
        noise = compose(compositor, blank, grey, replace(NEUTRAL, noise=0.03, source_scale=scale)).astype(float) - 128
        return float((noise[:, 1:] * noise[:, :-1]).mean() / noise.var())

    assert abs(resemblance(1.0)) < 0.03
    assert resemblance(0.5) > 0.5


def test_arguments_are_left_alone(compositor, encoded, rng):
    """With everything on, neither layers nor background are written to, and sizes in turn do not disturb one another."""
    background, before = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8), encoded.copy()
    background.setflags(write=False)
    sensor = replace(NEUTRAL, noise=0.01, read_noise=0.001, vignetting=0.2, hand_defocus_px=1.0, source_scale=0.8)
    window = slice(0, SIDE), slice(0, SIDE)
    layer = Layers(encoded, encoded[..., 3] > 127, window)
    sensors, motions = [sensor, NEUTRAL, sensor], [moving(3.0, 1.0), None, moving(3.0, 1.0)]
    first, plain, second = compositor.composite([layer] * 3, [background] * 3, sensors, motions)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(encoded, before)
    np.testing.assert_array_equal(plain, compose(compositor, encoded, background, NEUTRAL))
