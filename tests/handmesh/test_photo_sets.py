"""Photographs that others labelled become labels for evaluations: keypoints lie where their set has them, bad sets are refused."""

import json
import shutil

import numpy as np
import pytest
from photo_labels import CAMERA, mmpose_content, photos_content, set_keypoints, write_sets
from typer.testing import CliRunner

from handmesh.cli.main import make_app
from handmesh.data.photo_sets import convert_photos
from handmesh.data.photos import read_photos
from handmesh.evaluation.photo_scores import groups_of
from handsynth.core.errors import AssetError, HandsynthError, UsageError


@pytest.fixture
def folder(tmp_path):
    write_sets(tmp_path)
    return tmp_path


def as_ho3d(folder):
    shutil.move(folder / "ho3d_xyz.json", folder / "evaluation_xyz.json")
    return folder


def check_space(photos):
    """Keypoints are the sets' own, and lie where their camera shows them."""
    assert [photo.side for photo in photos] == ["right", "right"]
    K = np.array(CAMERA)
    for photo, expected in zip(photos, np.array(set_keypoints()), strict=True):
        np.testing.assert_allclose(photo.keypoints_m, expected, atol=1e-12)
        seen = expected @ K.T
        np.testing.assert_allclose(photo.keypoints_xy, seen[:, :2] / seen[:, 2:] + 0.5, atol=1e-9)
        assert (photo.keypoints_xy > photo.box[:2]).all()
        assert (photo.keypoints_xy < photo.box[2:]).all()
        assert photo.file.is_file()


def test_freihands_evaluation_set_keeps_its_keypoints_and_cameras(folder):
    assert convert_photos("freihand", folder, folder / "photos.json") == 2
    photos = read_photos(folder / "photos.json")
    check_space(photos)
    assert photos[1].file == folder / "evaluation/rgb/00000001.jpg"


def test_boxes_are_those_of_the_meshes_where_they_are_published(folder):
    verts = np.full((2, 778, 3), [0.0, 0.0, 0.6])
    verts[:, 0, :2] = -0.1
    verts[:, 1, :2] = 0.2
    (folder / "evaluation_verts.json").write_text(json.dumps(verts.tolist()))
    convert_photos("freihand", folder, folder / "photos.json")
    assert read_photos(folder / "photos.json")[0].box == pytest.approx([22.5, 14.5, 52.5, 44.5])


def test_ho3ds_joints_are_reordered_and_turned_into_the_cameras_frame(folder):
    assert convert_photos("ho3d", as_ho3d(folder), folder / "photos.json") == 2
    check_space(read_photos(folder / "photos.json"))


def test_truth_of_another_set_is_not_taken_for_ho3ds(folder):
    with pytest.raises(HandsynthError, match="behind the camera"):  # FreiHAND's list: y down, z away from the camera
        convert_photos("ho3d", folder, folder / "photos.json")
    far = np.array(json.loads((folder / "ho3d_xyz.json").read_text())) + np.array([3.0, 0, 0])
    (folder / "evaluation_xyz.json").write_text(json.dumps(far.tolist()))
    with pytest.raises(HandsynthError, match="not of these frames"):
        convert_photos("ho3d", folder, folder / "photos.json")


def test_mmposes_hands_have_the_side_of_their_label_their_image_or_the_option(folder):
    with pytest.raises(UsageError, match="annotation 3 does not say which hand it is: give --side"):
        convert_photos("mmpose", folder / "mmpose.json", folder / "photos.json")
    assert convert_photos("mmpose", folder / "mmpose.json", folder / "photos.json", side="left") == 3
    photos = read_photos(folder / "photos.json")
    assert [photo.side for photo in photos] == ["left", "right", "left"]
    assert photos[0].visibility.tolist() == [2] * 4 + [0] + [2] * 16
    assert photos[0].box.tolist() == [1, 2, 51, 42]
    expected = np.reshape(mmpose_content()["annotations"][0]["keypoints"], (21, 3))[:, :2]
    np.testing.assert_array_equal(photos[0].keypoints_xy, expected)


def test_every_takes_the_first_of_so_many(folder):
    assert convert_photos("freihand", folder, folder / "photos.json", every=2) == 1
    assert read_photos(folder / "photos.json")[0].file.name == "00000000.jpg"


@pytest.mark.parametrize(
    ("spoil", "kind", "error", "sentence"),
    [
        (lambda f: (f / "evaluation_K.json").unlink(), "freihand", UsageError, "evaluation_K.json missing"),
        (lambda f: (f / "evaluation_K.json").write_text(json.dumps([CAMERA])), "freihand", HandsynthError, "a part is missing"),
        (lambda f: (f / "evaluation_xyz.json").write_text("[[1]]"), "freihand", HandsynthError, "entry 0 is not"),
        (lambda f: (f / "evaluation/rgb/00000001.jpg").unlink(), "freihand", UsageError, "lacks 1 of 2 images"),
        (lambda f: (as_ho3d(f) / "evaluation.txt").write_text("SM1/0000"), "ho3d", HandsynthError, "a part is missing"),
        (lambda f: (as_ho3d(f) / "evaluation.txt").write_text("../SM1/0000 a/b"), "ho3d", HandsynthError, "is no SEQUENCE/FRAME"),
        (lambda f: (as_ho3d(f) / "evaluation/SM1/rgb/0001.png").unlink(), "ho3d", UsageError, "lacks the image 0001.png"),
        (lambda f: (as_ho3d(f) / "evaluation/SM1/meta/0000.pkl").write_bytes(b"cos\nsystem\n."), "ho3d", AssetError, "0000.pkl"),
        (lambda f: (f / "two.jpg").unlink(), "mmpose", UsageError, "lacks the image two.jpg"),
        (lambda f: (f / "mmpose.json").write_text("[]"), "mmpose", HandsynthError, "is no file of mmpose's hands"),
        (lambda f: (f / "mmpose.json").unlink(), "mmpose", UsageError, "mmpose.json is not there"),
    ],
)  # fmt: skip
def test_bad_sets_get_one_sentence_and_nothing_is_written(folder, spoil, kind, error, sentence):
    spoil(folder)
    with pytest.raises(error, match=sentence) as raised:
        convert_photos(kind, folder / "mmpose.json" if kind == "mmpose" else folder, folder / "photos.json", side="left")
    assert "\n" not in str(raised.value)
    assert not (folder / "photos.json").exists()


def test_a_file_beside_the_images_folder_is_refused_with_a_place_that_serves(folder):
    with pytest.raises(UsageError, match="must lie in the folder of the images or above it"):
        convert_photos("freihand", folder / "evaluation" / "..", folder.parent / "elsewhere" / "photos.json")


def test_the_command_says_what_to_type_next(folder):
    out = CliRunner().invoke(make_app(), ["convert", "photos", "freihand", str(folder), str(folder / "photos.json")])
    assert out.exit_code == 0, out.output
    assert f"2 hands; evaluate a net with: handmesh evaluate --photos {folder / 'photos.json'}" in " ".join(out.output.split())


def test_views_and_poses_are_groups_of_the_hands_that_are_known_in_space(folder):
    convert_photos("freihand", folder, folder / "photos.json")
    photos = read_photos(folder / "photos.json")
    groups = groups_of(photos)
    for kind in ("view", "pose"):
        members = [rows for name, rows in groups.items() if name.startswith(f"{kind}: ")]
        assert np.sum(members, axis=0).tolist() == [1, 1]
    (folder / "some.json").write_text(json.dumps(photos_content()))
    groups = groups_of(read_photos(folder / "some.json"))
    assert np.sum([rows for name, rows in groups.items() if name.startswith("view: ")], axis=0).tolist() == [1, 0]
