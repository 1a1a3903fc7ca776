"""Photographs: labels are read or refused in one sentence; perfect predictions score perfectly, known errors as computed."""

import copy
import json

import numpy as np
import pytest
import torch
from photo_labels import photos_content
from pycocotools.coco import COCO
from typer.testing import CliRunner
from untrained import write_untrained

from handmesh.cli.main import make_app
from handmesh.data.photos import read_photos
from handmesh.estimation.photos import photos_table
from handmesh.evaluation.photo_scores import Found, group_rows, read_predictions, scores
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.toy import toy_hand


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "photos.json"
    path.write_text(json.dumps(photos_content()))
    return path


def test_photos_are_read_as_pycocotools_reads_them(file):
    coco = COCO(str(file))
    for photo in read_photos(file):
        row = coco.loadAnns(photo.annotation)[0]
        x, y, width, height = row["bbox"]
        assert photo.box.tolist() == [x, y, x + width, y + height]
        np.testing.assert_array_equal(photo.keypoints_xy.ravel(), np.reshape(row["keypoints"], (21, 3))[:, :2].ravel())
        assert photo.file == file.parent / coco.loadImgs(row["image_id"])[0]["file_name"]
    first, second = read_photos(file)
    assert (first.side, second.side) == ("right", "left")
    assert first.K[0, 0] == 60
    assert first.keypoints_m.shape == (21, 3)
    assert second.keypoints_m is None


def damage(**changes):
    value = copy.deepcopy(photos_content())
    value["annotations"][0] |= changes
    return value


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([], "is no COCO-style file of photographs"),
        ({"images": [], "annotations": []}, "has no annotations"),
        (damage(image_id=9), "annotation 5: image_id 9 is not among the images"),
        (damage(side="up"), "annotation 5: side is 'up', expected right or left"),
        (damage(bbox=[1, 2, 0, 4]), "the box is empty"),
        (damage(bbox=[1, 2, float("nan"), 4]), "annotation 5 is damaged"),
        (damage(keypoints=[1, 2, 2]), "annotation 5 is damaged"),
        (damage(keypoints=[0, 0, 0] * 21), "fewer than two keypoints are labelled"),
        (damage(id=6), "two annotations have one id"),
    ],
)
def test_bad_photos_get_one_sentence(file, value, sentence):
    file.write_text(json.dumps(value))
    with pytest.raises(HandsynthError, match=sentence):
        read_photos(file)


def test_no_path_leads_out_of_the_folder(file):
    value = photos_content()
    value["images"][0]["file_name"] = "../../etc/passwd"
    file.write_text(json.dumps(value))
    with pytest.raises(HandsynthError, match="leads out of the folder"):
        read_photos(file)


def test_what_is_no_json_is_a_usage_error(file):
    file.write_text("{")
    with pytest.raises(UsageError, match="is no JSON"):
        read_photos(file)
    with pytest.raises(UsageError, match="cannot be read"):
        read_photos(file.with_name("absent.json"))


def test_perfect_predictions_score_perfectly_and_known_errors_as_computed(file):
    photos = read_photos(file)
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    points = [photo.keypoints_m for photo in photos]
    points[0] = points[0] + rng.normal(0, 0.02, (21, 3))
    photos[0] = type(photos[0])(**(vars(photos[0]) | {"keypoints_m": points[0]}))
    perfect = [Found(p.keypoints_xy, None if p.keypoints_m is None else 3 * p.keypoints_m @ turn + 1) for p in photos]
    for row in scores(photos, perfect):
        assert row["error_2d"] == 0
        assert row["pck_0.05"] == row["auc"] == 1
        assert row.get("pa_mpjpe_mm", 0) < 1e-4
    # A tenth of the hand's size to the right, and a little more: correct at 0.15 only.
    off = [Found(p.keypoints_xy + np.array([0.101 * p.size_px, 0]), None) for p in photos]
    for row in scores(photos, off):
        assert row["error_2d"] == pytest.approx(0.101)
        assert (row["pck_0.05"], row["pck_0.1"], row["pck_0.15"]) == (0, 0, 1)
    rows = group_rows(photos, {"perfect": perfect, "missing": [None, perfect[1]]})
    by_key = {(row["group"], row["method"]): row for row in rows}
    assert by_key["all", "missing"]["found"] == 1
    assert by_key["all", "missing"]["pck_0.1"] == 0.5
    assert by_key["side: left", "missing"]["pck_0.1"] == 1
    assert "tag: grasp" in photos_table(rows)


def test_hidden_labels_do_not_count(file):
    value = photos_content()
    value["annotations"][0]["keypoints"][0:3] = [900, 900, 0]
    file.write_text(json.dumps(value))
    photo = read_photos(file)[0]
    assert photo.labelled.sum() == 20
    assert photo.size_px < 100
    found = photo.keypoints_xy.copy()
    found[0] = -5
    assert scores([photo], [Found(found, None)])[0]["error_2d"] == 0


def test_predictions_of_another_method_are_matched_by_annotation_or_image(file, tmp_path):
    photos = read_photos(file)
    points = np.arange(42.0).reshape(21, 2)
    other = tmp_path / "other.json"
    other.write_text(json.dumps([{"image_id": 2, "keypoints": points.tolist()}]))
    first, second = read_predictions(other, photos)
    assert first is None
    np.testing.assert_array_equal(second.keypoints_xy, points)
    other.write_text(json.dumps([{"annotation_id": 77, "keypoints": points.tolist()}]))
    with pytest.raises(HandsynthError, match="prediction 1: 77 is missing, or not among the photographs"):
        read_predictions(other, photos)


def test_evaluate_takes_photographs_and_writes_worst_first(tmp_path):
    run = write_untrained(tmp_path / "run", toy_hand())
    photos = tmp_path / "photos"
    photos.mkdir()
    value = photos_content()
    value["images"][1]["file_name"] = "c.png"
    from PIL import Image

    for row in value["images"]:
        Image.fromarray(np.random.default_rng(row["id"]).integers(0, 255, (64, 80, 3), np.uint8)).save(photos / row["file_name"])
    (photos / "labels.json").write_text(json.dumps(value))
    torch.set_num_threads(1)
    app, runner = make_app(), CliRunner()
    given = ["evaluate", str(run), "--photos", str(photos / "labels.json"), "--json"]
    done = runner.invoke(app, given)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["groups"][0]["hands"] == 2
    lines = (run / "evaluation-labels" / "photo_errors.csv").read_text().splitlines()
    errors = [float(line.split(",")[lines[0].split(",").index("error_2d")]) for line in lines[1:]]
    assert errors == sorted(errors, reverse=True)
    assert (run / "evaluation-labels" / "overlays.jpg").stat().st_size > 1000
    assert runner.invoke(app, ["evaluate", str(run)]).exception is not None
