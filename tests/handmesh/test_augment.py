"""Augmentation: image, camera and points move as one, and each part does what its flag says."""

import dataclasses
import itertools

import cv2
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from handmesh.data.augment import (
    NO_AUGMENTATION,
    AugmentSpec,
    augment,
    draw_augmentation,
    draw_rectangle,
    draw_tone,
    erase_rectangle,
    low_amplitudes,
    mix_amplitudes,
    with_moved_box,
)
from handmesh.data.crop import Crop, crop_affine, crop_pixels, label_crops, lixels_to_camera, make_crop, place_crop, warp
from handmesh.data.shards import Record, ShardDataset
from handmesh.data.tones import apply_gains, coloured, sharpened
from handmesh.lixels import LIXELS
from handsynth.core.camera import project
from handsynth.core.errors import UsageError
from handsynth.core.hand import pose_hand
from handsynth.core.rng import stream
from handsynth.core.toy import toy_hand

SIZE = 240
ANGLES = (0.0, 0.3, -1.0, np.pi / 2)


def spotted(seed: int, side: str) -> Record:
    """A record whose image is black but for one smooth spot where its first keypoint projects to."""
    rng = np.random.default_rng(seed)
    K = np.array([[400, 0, 118.3], [0, 400, 123.9], [0, 0, 1]])
    points = rng.uniform([-0.06, -0.06, 0.45], [0.06, 0.06, 0.55], (21, 3))
    points[0, :2] *= 0.3
    xy = project(points, K)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    spot = np.exp(-((x - xy[0, 0]) ** 2 + (y - xy[0, 1]) ** 2) / (2 * 5.0**2))
    image = np.repeat((255 * spot)[..., None], 3, 2).round().astype(np.uint8)
    box = np.concatenate([xy.min(0), xy.max(0)])
    return Record("d", seed, side, image, K, points, points, box, np.zeros((16, 3)), np.eye(3), np.zeros(10))


def centroid(image: np.ndarray) -> np.ndarray:
    """(2,) centre of brightness [px], from the image's corner."""
    weight = image[..., 0].astype(float)
    y, x = np.mgrid[: weight.shape[0], : weight.shape[1]] + 0.5
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize(("size", "scale"), [(256, 1.0), (128, 1.25), (128, 0.75), (48, 1.2)])
def test_points_stay_on_their_pixels(side, angle, size, scale):
    """project(points of the crop, K of the crop) is where the image shows the point: turned, mirrored, enlarged, shrunk."""
    crop = make_crop(spotted(3, side), size, scale, angle)
    np.testing.assert_allclose(centroid(crop.image), project(crop.keypoints, crop.K)[0], atol=0.06)


def test_crop_shifted_by_half_a_pixel_is_noticed():
    """The tolerance above tells pixel centres from pixel corners."""
    crop = make_crop(spotted(3, "right"), 128)
    assert np.abs(centroid(crop.image) + 0.5 - project(crop.keypoints, crop.K)[0]).min() > 0.3


@pytest.mark.parametrize("angle", ANGLES)
def test_camera_of_a_crop_is_a_plain_one(angle):
    """Square pixels and no skew, whatever the turn: the turn is in the points, whose distances it keeps."""
    record = spotted(1, "left")
    crop = make_crop(record, 128, 1.1, angle)
    assert crop.K[0, 0] == pytest.approx(crop.K[1, 1])
    assert abs(crop.K[0, 1]) + abs(crop.K[1, 0]) < 1e-9
    np.testing.assert_allclose(np.linalg.norm(crop.keypoints, axis=1), np.linalg.norm(record.keypoints, axis=1))
    np.testing.assert_allclose(record.keypoints @ crop.R_crop_cam.T, crop.keypoints, atol=1e-12)
    assert np.linalg.det(crop.R_crop_cam) == pytest.approx(-1)


@pytest.mark.parametrize("side", ["right", "left"])
def test_lixels_lead_back_to_the_camera(side):
    """Lixels and the wrist's depth give the sample's own points in metres, one by one and as a batch."""
    records = [spotted(seed, side) for seed in range(3)]
    crops = [make_crop(r, 128, 1 + 0.1 * k, 0.4 * k) for k, r in enumerate(records)]
    found = lixels_to_camera(
        np.stack([c.lixels(c.keypoints) for c in crops]),
        np.array([c.root_depth for c in crops]),
        np.stack([c.K for c in crops]),
        np.stack([c.R_crop_cam for c in crops]),
        128,
    )
    np.testing.assert_allclose(found, np.stack([r.keypoints for r in records]), atol=1e-12)
    one = lixels_to_camera(crops[1].lixels(crops[1].keypoints), crops[1].root_depth, crops[1].K, crops[1].R_crop_cam, 128)
    np.testing.assert_allclose(one, found[1], atol=1e-12)


@pytest.mark.parametrize("side", ["right", "left"])
def test_crop_holds_the_hand_with_a_margin(side):
    """Unaugmented, the longer side of the tight box fills 1 / 1.25 of the crop, in its middle; the wrist lies at z = 32."""
    record = spotted(2, side)
    crop = make_crop(record, 128)
    lixels = crop.lixels(crop.keypoints)
    low, high = lixels[:, :2].min(0), lixels[:, :2].max(0)
    np.testing.assert_allclose((low + high) / 2, LIXELS / 2, atol=1e-9)
    assert (high - low).max() == pytest.approx(LIXELS / 1.25)
    assert lixels[0, 2] == pytest.approx(LIXELS / 2)


def test_shrinking_averages():
    """Noise shrunk to an eighth is nearly flat, as 64 pixels make one; bilinear sampling alone would average four."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    small = warp(noise, np.diag([0.125, 0.125, 1.0]), 32)
    assert small.std() < 1.5 * noise.std() / 8


def test_mirrored_left_hand_is_a_right_hand(hand_shards):
    """The crop of either side shows the right hand that its recipe posed, turned and moved; a left hand itself is no such one."""
    data, misfit = ShardDataset(hand_shards), {"right": [0.0], "left": [0.0]}
    for k in range(len(data)):
        record, recipe = data.read(k), data.labels(k)["recipe"]
        posed = pose_hand(toy_hand(), np.reshape(recipe["theta"], (16, 3)), recipe["beta"]).keypoints
        in_crop, as_seen = (
            Rotation.align_vectors(posed - posed.mean(0), points - points.mean(0))[1]  # no reflection is tried [m]
            for points in (make_crop(record, 64).keypoints, record.keypoints)
        )
        assert in_crop < 2e-5
        misfit[record.side].append(as_seen)
    assert max(misfit["right"]) < 2e-5 < 1e-3 < max(misfit["left"])  # a flat hand is nearly its own mirror image
    assert min(map(len, misfit.values())) > 2


@pytest.mark.parametrize("count", [1, 2, 7])
def test_labels_of_many_crops_are_those_of_each(count):
    """Both sides, any angle and number of vertices: to the bit, in the numbers of the arithmetic, not only of the batch."""
    rng = np.random.default_rng(count)
    for side, vertices in itertools.product(([0], [1], [0, 1]), (5, 778)):
        records = [spotted(k, ("right", "left")[side[k % len(side)]]) for k in range(count)]
        records = [
            dataclasses.replace(
                record,
                vertices=rng.normal([0, 0, 0.6], 0.05, (vertices, 3)),
                theta=rng.normal(0, 0.5, (16, 3)),
                R_cam_world=Rotation.random(rng=rng).as_matrix(),
            )
            for record in records
        ]
        crops = [make_crop(record, 96, rng.uniform(0.75, 1.25), rng.uniform(-1, 1)) for record in records]
        columns = zip(*((r.keypoints, r.vertices, r.rotations, r.side == "left") for r in records), strict=True)
        K, R = (np.stack([getattr(crop, name) for crop in crops]) for name in ("K", "R_crop_cam"))
        found = label_crops(*map(np.array, columns), K, R, 96)
        for name in ("keypoints", "vertices", "rotations"):
            np.testing.assert_array_equal(getattr(found, name), np.stack([getattr(crop, name) for crop in crops]))
        alone = [crop.lixels(np.concatenate([crop.keypoints, crop.vertices])) for crop in crops]
        np.testing.assert_array_equal(found.lixels, np.stack(alone))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("width", "height"), [(240, 240), (241, 239), (67, 130)])
def test_a_fourth_channel_changes_no_crop(side, width, height):
    """Whatever it holds: enlarged, shrunk and halved up to twice, turned and mirrored, to the bit."""
    rng = np.random.default_rng(width)
    image = rng.integers(0, 256, (height, width, 4), np.uint8)
    for size, angle in itertools.product((256, 96, 24), ANGLES):
        placed = place_crop(width, height, np.eye(3), side, np.array([9.0, 8, width - 9, height - 8]), size, 1.1, angle)
        three, four = (
            crop_pixels(given, side, placed, np.empty((size, size, 3), np.uint8))
            for given in (np.ascontiguousarray(image[..., :3]), image)
        )
        np.testing.assert_array_equal(three, four)
        assert three.any()


@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_rotations_of_a_crop_pose_its_hand(hand_shards, angle):
    """Posed with the crop's rotations and beta, the right hand's template is the crop's hand, for left samples too."""
    data, sides = ShardDataset(hand_shards), set()
    for k in range(len(data)):
        record = data.read(k)
        crop = make_crop(record, 64, 1.0, angle)
        np.testing.assert_allclose(np.linalg.det(crop.rotations), 1, atol=1e-9)
        posed = pose_hand(toy_hand(), Rotation.from_matrix(crop.rotations).as_rotvec(), crop.beta).vertices
        np.testing.assert_allclose(posed - posed.mean(0), crop.vertices - crop.vertices.mean(0), atol=2e-5)
        sides.add(record.side)
    assert sides == {"right", "left"}


def run(record: Record, spec: AugmentSpec, seed: int = 0) -> tuple[Crop, np.ndarray]:
    partner = np.random.default_rng(9).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    return augment(record, 64, spec, lambda purpose: stream(seed, record.index, purpose), lambda rng: partner)


def test_ranges():
    """Scale, turn and gains stay in their stated ranges, reach near their ends, and four in ten images are not turned."""
    record = dataclasses.replace(spotted(0, "right"), image=np.full((SIZE, SIZE, 3), 200, np.uint8))
    plain = make_crop(record, 64).K[0, 0]
    found = [run(record, AugmentSpec(colour=0.1), seed) for seed in range(400)]
    scales = np.array([plain / crop.K[0, 0] for crop, _ in found])
    angles = np.array([np.rad2deg(np.arctan2(crop.R_crop_cam[1, 0], crop.R_crop_cam[0, 0])) for crop, _ in found])
    gains = np.array([image[32, 32] / (200 / 255) for _, image in found])
    assert 0.75 - 1e-9 <= scales.min() < 0.76
    assert 1.24 < scales.max() <= 1.25 + 1e-9
    assert np.abs(angles).max() <= 60 + 1e-9
    assert angles.min() < -50
    assert angles.max() > 50
    assert np.mean(angles == 0) == pytest.approx(0.4, abs=0.08)  # 3 standard deviations of 400 draws
    assert 0.9 - 1e-3 <= gains.min() < 0.91
    assert 1.09 < gains.max() <= 1.1 + 1e-3


def test_flags_are_independent():
    """Off is off; and the crop and gains drawn are the same whichever other parts are on."""
    record = spotted(5, "right")
    crop, image = run(record, NO_AUGMENTATION)
    np.testing.assert_array_equal(image, make_crop(record, 64).image / np.float32(255))
    base = run(record, AugmentSpec())
    for change in ({"amplitude": 1.0}, {"erasing": 1.0}, {"grey": 1.0}, {"saturation": 1.0}, {"contrast": 1.0}, {"sharpness": 1.0}):
        crop, image = run(record, AugmentSpec(**change))
        np.testing.assert_array_equal(crop.K, base[0].K)
        assert not np.array_equal(image, base[1])
        assert image.min() >= 0
        assert image.max() <= 1


@pytest.mark.parametrize("side", ["right", "left"])
def test_jittered_boxes(side):
    """Every edge moves by its own draw, two deviations of the longer side at most; image, labels and camera go along."""
    record, spec = spotted(4, side), dataclasses.replace(NO_AUGMENTATION, box=0.05)
    longer = (record.bbox[2:] - record.bbox[:2]).max()
    drawn = (draw_augmentation(spec, 64, lambda purpose, k=k: stream(k, 0, purpose)).edges for k in range(2000))
    moved = np.array([with_moved_box(record, edges).bbox - record.bbox for edges in drawn]) / longer
    assert np.abs(moved).max() == pytest.approx(0.1)
    np.testing.assert_allclose(moved.mean(0), 0, atol=0.004)
    np.testing.assert_allclose(np.cov(moved.T), np.diag([0.0481**2] * 4), atol=0.0003)  # 0.0481: of a normal clipped at two
    crops = [run(record, spec, seed)[0] for seed in range(20)]
    assert len({crop.K.tobytes() for crop in crops}) == 20
    for crop in crops:
        np.testing.assert_allclose(centroid(crop.image), project(crop.keypoints, crop.K)[0], atol=0.15)
        assert crop.lixels(crop.keypoints)[0, 2] == pytest.approx(LIXELS / 2)
    assert np.array_equal(run(record, NO_AUGMENTATION)[0].K, make_crop(record, 64).K)


def test_gains_by_table_are_gains():
    """The table gives what the formula gives, to the bit, for every byte in every channel; channels lie one after the other."""
    image = np.random.default_rng(0).permutation(np.repeat(np.arange(256), 48).astype(np.uint8)).reshape(64, 64, 3)
    gains = np.array([0.8, 1.2, 1.0], np.float32)
    found = apply_gains(image, gains)
    np.testing.assert_array_equal(found, np.clip(image.astype(np.float32) / 255 * gains, 0, 1))
    assert found.transpose(2, 0, 1).flags.c_contiguous


def test_tones():
    """Grey leaves brightness alone; saturation keeps greys, contrast the middle; what is drawn fills its range."""
    draws = [np.random.default_rng(seed) for seed in range(400)]
    colour = np.array([0.9, 0.2, 0.4, 1.0])
    luma = colour[:3] @ [0.299, 0.587, 0.114]
    for rng in draws[:9]:
        np.testing.assert_allclose(draw_tone(AugmentSpec(grey=1.0), rng) @ colour, luma, atol=1e-6)
    tones = np.array([draw_tone(AugmentSpec(saturation=0.7), rng) for rng in draws])
    np.testing.assert_allclose(tones @ [0.3, 0.3, 0.3, 1.0], 0.3, atol=1e-6)
    strengths = (tones @ colour - luma)[:, 0] / (0.9 - luma)
    assert 0.3 <= strengths.min() < 0.32 < 1.68 < strengths.max() <= 1.7
    tones = np.array([draw_tone(AugmentSpec(contrast=0.5), rng) for rng in draws])
    np.testing.assert_allclose(tones @ [0.5, 0.5, 0.5, 1.0], 0.5, atol=1e-6)
    steps = np.log(tones[:, 0, 0])
    assert -0.5 <= steps.min() < -0.48 < 0.48 < steps.max() <= 0.5
    assert np.mean([draw_tone(AugmentSpec(grey=0.3), rng)[0, 1] > 0.5 for rng in draws]) == pytest.approx(0.3, abs=0.07)


def test_whole_images_are_toned_as_crops_are():
    """Detectors' images that are neither blurred, noisy nor compressed: gains and a gamma, then a tone; some are grey."""
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    greys = plain = 0
    for seed in range(400):
        draws = np.random.default_rng(seed).random(6)
        if draws[0] < 0.2 or draws[3] < 0.2 or draws[4] < 0.25:
            continue
        rng = np.random.default_rng(seed)
        rng.random(6)
        gains = np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.08, 3))
        lit = np.clip(image / 255 * gains, 0, 1) ** np.exp(rng.normal(0, 0.2))
        contrast = np.exp(rng.normal(0, 0.15))
        colour = 1.0 if draws[1] >= 0.4 else 0.0 if draws[2] < 0.15 else rng.uniform(0.3, 1.3)
        luma = lit @ [0.299, 0.587, 0.114]
        toned = np.clip(0.5 + contrast * (luma[..., None] + colour * (lit - luma[..., None]) - 0.5), 0, 1)
        found = coloured(np.random.default_rng(seed), image)
        assert np.abs(found - 255 * toned).max() < 0.51
        assert (colour == 0) == (np.ptp(found, axis=-1).max() <= 1)
        greys, plain = greys + (colour == 0), plain + (colour == 1)
    assert 3 <= greys < plain


def test_sharpened():
    """-1 is the blurred image, 0 the image, 1 as far from it the other way; flat images stay, and values keep to [0, 1]."""
    image = np.random.default_rng(0).uniform(0.4, 0.6, (32, 32, 3)).astype(np.float32)
    blurred = image
    for axis in (0, 1):
        blurred = ndimage.convolve1d(blurred, np.array([1, 4, 6, 4, 1]) / 16, axis, mode="mirror")
    np.testing.assert_allclose(sharpened(image, -1.0), blurred, atol=1e-6)
    np.testing.assert_array_equal(sharpened(image, 0.0), image)
    np.testing.assert_allclose(sharpened(image, 1.0), 2 * image - blurred, atol=1e-6)
    np.testing.assert_allclose(sharpened(np.full((8, 8, 3), 0.7, np.float32), 2.0), 0.7, atol=1e-6)
    wild = sharpened(np.random.default_rng(1).random((32, 32, 3), np.float32), 3.0)
    assert (wild.min(), wild.max()) == (0, 1)


@pytest.mark.parametrize("side", ["right", "left"])
def test_warp_is_bilinear_sampling(side):
    """Each pixel is the bilinear mean of the image about where the inverse affine leads; outside it is black."""
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (40, 50, 3), np.uint8), (0, 0), 2)
    if side == "left":
        image = image[:, ::-1]  # memory order must not matter
    A = crop_affine(np.array([30.0, 18.0]), 30.0, 0.4, 48)
    y, x = np.mgrid[:48, :48] + 0.5
    u, v = np.moveaxis(np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(A)[:2].T, -1, 0)
    true = [
        ndimage.map_coordinates(image[..., c].astype(float), [v - 0.5, u - 0.5], order=1, mode="grid-constant") for c in range(3)
    ]
    found = warp(image, A, 48)
    inside = (u > 1) & (v > 1) & (u < 49) & (v < 39)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(found[inside], np.stack(true, -1)[inside], atol=1.5)  # OpenCV counts in 1/32 px, and rounds
    assert not found[(u < -1) | (v < -1) | (u > 51) | (v > 41)].any()


def test_amplitudes_are_mixed_at_low_frequencies_only():
    """Low frequencies get the mixed amplitudes and keep their phases; high ones stay. Share 0 is the image itself."""
    rng = np.random.default_rng(0)
    image, partner = (rng.integers(90, 160, (32, 32, 3), np.uint8) for _ in range(2))
    image, amplitudes = image.astype(np.float32) / 255, low_amplitudes(partner, 32, 0.3)
    np.testing.assert_allclose(mix_amplitudes(image, amplitudes, 0.0, 0.3), image, atol=1e-6)
    mixed = mix_amplitudes(image, amplitudes, 0.7, 0.3)
    a, b, m = (np.fft.fft2(p, axes=(0, 1)) for p in (image, partner / 255, mixed))
    f = np.abs(np.fft.fftfreq(32))
    low = (f[:, None] <= 0.15) & (f <= 0.15)
    np.testing.assert_allclose(np.abs(m[low]), 0.3 * np.abs(a[low]) + 0.7 * np.abs(b[low]), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(m[low] / np.abs(m[low]), a[low] / np.abs(a[low]), atol=1e-2)
    np.testing.assert_allclose(m[~low], a[~low], atol=1e-3)


def test_erasing_touches_one_rectangle():
    """Its area lies in the stated range, up to its sides' rounding, and nothing outside changes; each has noise of its own."""
    seen = set()
    for seed in range(50):
        rectangle = draw_rectangle(64, (0.05, 0.2), np.random.default_rng(seed))
        erased = erase_rectangle(np.full((64, 64, 3), 2, np.float32), rectangle, 101 * seed)
        changed = (erased != 2).all(-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert changed.sum() == len(rows) * len(columns) == np.ptp(rows) * np.ptp(columns) + len(rows) + len(columns) - 1
        assert 0.05 * 0.85 <= changed.mean() <= 0.2 * 1.15
        assert abs(erased[changed].mean() - 0.5) < 0.05
        assert 0 <= erased[changed].min() < erased[changed].max() < 1
        seen.add(erased[changed][0].tobytes())
    assert len(seen) == 50


@pytest.mark.parametrize(
    "change",
    [
        {"amplitude": 1.5},
        {"box": 0.3},
        {"scale": 1.0},
        {"erasing_area": (0.3, 0.1)},
        {"rotation_deg": -1.0},
        {"grey": 1.1},
        {"saturation": 2.0},
        {"contrast": -0.1},
        {"sharpness": 4.0},
    ],
)
def test_values_out_of_range_are_refused(change):
    with pytest.raises(UsageError, match=next(iter(change))):
        AugmentSpec(**change)
