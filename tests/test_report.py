"""Images and numbers about datasets: contact sheets, one sample drawn, camera plots, statistics, plans."""

import dataclasses
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from tiny import World

from handsynth.core.conventions import CLOTHING
from handsynth.core.errors import UsageError
from handsynth.core.index import read_index
from handsynth.core.sample import OTHER_PASSES, Sample
from handsynth.core.sample import PASSES as ALL_IMAGES
from handsynth.core.shard import read_shard
from handsynth.dataset.draw import draw_labels
from handsynth.dataset.plan import estimate, plot_plan
from handsynth.dataset.selection import Selection
from handsynth.dataset.statistics import GAP, collect_stats, contact_sheet, sample_sheet, save_image
from handsynth.generator import Generator, library_of
from handsynth.image.encode import decode_jpeg, decode_png
from handsynth.recipe.samplers import RecipeSampler
from handsynth.recipe.spec import load_spec

PASSES = "depth, parts, normal, uv"


@pytest.fixture(scope="module")
def samples(tiny_world: World) -> list[Sample]:
    spec = tiny_world.spec()
    library = library_of(spec, tiny_world.assets)
    sampler = RecipeSampler(spec, library)
    return list(Generator(spec, library).make_samples([sampler.sample(i) for i in range(7)]))


@pytest.fixture(scope="module")
def made(tiny_world, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "out"
    tiny_world.generate(out, "0:12", passes=PASSES)
    return out


def tile(sheet: np.ndarray, k: int, columns: int, side: int) -> np.ndarray:
    y, x = (GAP + n * (side + GAP) for n in divmod(k, columns))
    return sheet[y : y + side, x : x + side]


@pytest.mark.parametrize("zoom", [1, 2])
@pytest.mark.parametrize(("number", "columns", "rows"), [(1, 1, 1), (4, 2, 2), (5, 3, 2), (7, 3, 3)])
def test_a_contact_sheet_shows_every_sample(samples, number, columns, rows, zoom):
    """The nearest square of tiles with white gaps; chequered, clean images to the pixel and drawn ones that differ."""
    sheet, side = contact_sheet(samples[:number], zoom), 64 * zoom
    assert sheet.shape == (rows * (side + GAP) + GAP, columns * (side + GAP) + GAP, 3)
    assert (sheet[:GAP] == 255).all()
    assert (sheet[:, -GAP:] == 255).all()
    for k, sample in enumerate(samples[:number]):
        image = sample.image.repeat(zoom, 0).repeat(zoom, 1)
        clean = (k // columns + k % columns) % 2 == 0
        assert np.array_equal(tile(sheet, k, columns, side), image) == clean
    for k in range(number, rows * columns):
        assert (tile(sheet, k, columns, side) == 255).all()


def test_labels_are_drawn_where_they_are(samples):
    """Over a black image, colour stands at every visible keypoint and on the box, and only near the hand."""
    sample, zoom = samples[0], 4
    drawn = draw_labels(np.zeros((64, 64, 3), np.uint8), sample.labels, None, zoom)
    assert drawn.shape == (256, 256, 3)
    xy = np.array(sample.labels["keypoints_xy"])[np.array(sample.labels["keypoints_visible"], bool)]
    columns, rows = np.round(xy * zoom - 0.5).astype(int).T
    assert drawn[rows, columns].any(1).all()
    x0, y0, x1, y1 = np.array(sample.labels["bbox_xyxy"]) * zoom
    assert drawn[int((y0 + y1) / 2), round(x0)].any()
    rows, columns = np.nonzero(drawn.any(2))
    assert columns.min() >= x0 - 3 * zoom
    assert columns.max() <= x1 + 3 * zoom
    assert rows.min() >= y0 - 3 * zoom
    assert rows.max() <= y1 + 3 * zoom


def test_one_sample_drawn_shows_every_pass(made):
    """Image, labels, mask and the four passes, side by side, none of them black."""
    sheet = sample_sheet(made, 5, zoom=1)
    assert sheet.shape == (64, 7 * 64, 3)
    parts = sheet.reshape(64, 7, 64, 3).swapaxes(0, 1)
    assert all(part.any() for part in parts)
    assert set(np.unique(parts[2])) == {0, 255}
    hand = parts[2][..., 0] > 0
    assert (parts[4][hand].any(-1)).all()
    assert not parts[4][~hand].any()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_images_are_saved_as_they_are(samples, tmp_path, suffix):
    """PNG to the pixel, JPEG nearly; folders are made on the way."""
    sheet = contact_sheet(samples[:4], 1)
    path = tmp_path / "a" / "b" / f"sheet{suffix}"
    save_image(path, sheet)
    again = cv2.imread(str(path))[..., ::-1]
    assert again.shape == sheet.shape
    difference = np.abs(again.astype(int) - sheet)
    assert difference.max() == 0 if suffix == ".png" else difference.mean() < 15


def test_stats_count_what_is_there(made):
    """Every number of `stats` follows from the stored labels."""
    stats, index = collect_stats(made), read_index(made)
    assert json.loads(json.dumps(stats)) == stats
    members = [m for entry in index["shards"] for _, m in read_shard(made / entry["name"])]
    labels = [json.loads(m["json"]) for m in members]
    assert (stats["samples"], stats["shards"], stats["dataset"]) == (12, 3, index["dataset"])
    assert stats["bytes"] == sum(path.stat().st_size for path in made.glob("*.tar"))
    assert stats["sides"] == {side: sum(sample["side"] == side for sample in labels) for side in stats["sides"]}
    assert sum(stats["sides"].values()) == 12
    assert stats["backgrounds"] == len({sample["recipe"]["background"]["index"] for sample in labels})
    assert stats["bank_poses"] == len({sample["recipe"]["pose"]["bank_index"] for sample in labels})
    assert stats["clothing"] == dict.fromkeys(CLOTHING, 0)
    assert stats["arms"] == sum(sample["arm"] is not None for sample in labels)
    images = [(decode_jpeg(m["jpg"], ""), decode_png(m["mask.png"], "") > 0) for m in members]
    boxes = np.array([sample["bbox_xyxy"] for sample in labels])
    columns = {
        "elevation_deg": [sample["recipe"]["camera"]["elevation_deg"] for sample in labels],
        "azimuth_deg": [sample["recipe"]["camera"]["azimuth_deg"] for sample in labels],
        "distance_m": [sample["recipe"]["camera"]["distance_m"] for sample in labels],
        "hand_px": (boxes[:, 2:] - boxes[:, :2]).max(1),
        "mask_share": [mask.sum() / 64**2 for _, mask in images],
        "visible": [sum(sample["keypoints_visible"]) / 21 for sample in labels],
        "visible_share": [sample["visible_share"] for sample in labels],
        "hand_brightness": [image[mask].sum() / (3 * mask.sum()) for image, mask in images],
    }
    assert stats["quantiles_percent"] == [0, 5, 50, 95, 100]
    for name, values in columns.items():
        low, *_, high = ordered = sorted(values)
        # Of twelve values, 5 % lies 0.55 of the way from the first to the second, and the median between the sixth and the seventh.
        fifth, last_fifth = ordered[0] + 0.55 * (ordered[1] - ordered[0]), ordered[-1] - 0.55 * (ordered[-1] - ordered[-2])
        expected = [low, fifth, (ordered[5] + ordered[6]) / 2, last_fifth, high]
        np.testing.assert_allclose(stats[name], expected, atol=1e-3, err_msg=name)
    assert 0 < stats["mask_share"][0] < stats["mask_share"][-1] < 1


def test_stats_count_what_is_worn(tiny_world, tmp_path):
    """How many hands wear each thing, whatever else they wear."""
    tiny_world.generate(tmp_path / "out", arm="{probability: 0.8}", wear="{sleeve: 0.7, rings: 0.5, varnish: 1.0}")
    labels = [json.loads(m["json"]) for path in sorted((tmp_path / "out").glob("*.tar")) for _, m in read_shard(path)]
    counts = collect_stats(tmp_path / "out")["clothing"]
    assert counts == {name: sum(name in sample["clothing"] for sample in labels) for name in CLOTHING}
    assert counts["varnish"] == 12
    assert 0 < counts["rings"] < 12
    assert 0 < counts["sleeve"] <= collect_stats(tmp_path / "out")["arms"]
    assert counts["watch"] == counts["bracelet"] == counts["glove"] == 0


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_camera_positions_are_drawn(tmp_path, suffix):
    """`plan angrender --plot` writes the figure: an image with the whole scale of elevations' colours on white."""
    path = tmp_path / "figures" / f"cameras{suffix}"
    plot_plan(path, dataclasses.replace(load_spec("angrender"), hand="toy"), tmp_path)
    if suffix == ".pdf":
        assert path.read_bytes().startswith(b"%PDF")
        return
    image = cv2.imread(str(path))
    assert min(image.shape[:2]) > 500
    assert (image == 255).all(2).mean() > 0.3
    hues = np.unique(cv2.cvtColor(image, cv2.COLOR_BGR2HSV)[image.std(2) > 30][:, 0])
    assert len(hues) > 60


def test_a_plot_leaves_matplotlib_as_it_was(tmp_path):
    """Neither the caller's backend nor the caller's figures are touched."""
    code = """
import sys, pathlib, matplotlib
from matplotlib import pyplot
matplotlib.use("svg")
mine = pyplot.figure()
from handsynth.dataset.plan import plot_plan
from handsynth.recipe.spec import load_spec
plot_plan(pathlib.Path("cameras.png"), load_spec("angrender"), pathlib.Path("none"))
assert matplotlib.get_backend() == "svg"
assert pyplot.get_fignums() == [mine.number]
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "cameras.png").stat().st_size > 10_000


def test_random_cameras_are_not_drawn(tmp_path):
    with pytest.raises(UsageError, match="--plot is for grids"):
        plot_plan(tmp_path / "x.png", load_spec("manorender"), tmp_path)


def test_estimates_grow_with_what_is_asked():
    """Twice the samples cost twice; every pass and every pixel costs more."""
    spec = load_spec("angrender")
    one, two = (estimate(spec, Selection(samples=n)) for n in (1000, 2000))
    assert two["bytes_estimate"] == 2 * one["bytes_estimate"]
    larger = estimate(dataclasses.replace(spec, image_size=512), Selection(samples=1000))
    assert larger["bytes_estimate"] > 2 * one["bytes_estimate"]
    for name in (*ALL_IMAGES, *OTHER_PASSES):
        more = estimate(dataclasses.replace(spec, passes=(name,)), Selection(samples=1000))
        assert more["bytes_estimate"] > one["bytes_estimate"]
        assert more["core_hours_estimate"] > 0
