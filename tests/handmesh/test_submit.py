"""FreiHAND's challenge: depth from one bone, the zip's layout, and a folder in FreiHAND's layout from end to end."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from freihand_folder import HAND, K, random_hands, write_evaluation, write_training
from untrained import write_untrained

from handmesh.cli.data import submit_freihand
from handmesh.data.freihand import PIXEL_SHIFT, convert_freihand
from handmesh.data.shards import ShardDataset
from handmesh.evaluation.challenge import depth_of_bones, predict_challenge, read_challenge, root_depth_from_scale, write_prediction
from handmesh.evaluation.scores import mean_hand
from handmesh.lixels import depth_to_lixels, pixels_to_lixels
from handmesh.metrics import evaluate_hands
from handmesh.nets.mesh_net import Prediction
from handmesh.settings.mesh import TrainSpec
from handmesh.training.loop import HowRun, Part, Training
from handmesh.training.ranks import Ranks
from handsynth.core.camera import project
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import keypoints_from_vertices, pose_hand
from handsynth.core.toy import toy_hand

COUNT = 5
PROPORTIONS = keypoints_from_vertices(HAND, mean_hand(HAND))


def lines_of(points, root):
    """A perfect prediction: what is left of (N, 21, 3) points when nobody knows the depth (N,) of the wrist."""
    rays = points / points[..., 2:]
    return rays * (points[..., 2] - root[:, None])[..., None], rays


@pytest.fixture(scope="module")
def frei(tmp_path_factory):
    """A folder in FreiHAND's layout, with training and annotated evaluation, and the evaluation's hands."""
    src = tmp_path_factory.mktemp("frei") / "src"
    write_training(src)
    return src, write_evaluation(src, COUNT)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """An untrained net of FreiHAND's hand, as a run."""
    return write_untrained(tmp_path_factory.mktemp("run") / "run", HAND)


# Depth


def test_depth_is_exact_for_perfect_predictions():
    """Over 500 random hands the bone gives the depth back when it alone is used, and to hands of the given proportions anyway."""
    keypoints = random_hands(500, 7)[2].keypoints
    root = keypoints[:, 0, 2]
    scale = np.linalg.norm(keypoints[:, 9] - keypoints[:, 10], axis=1)
    found = root_depth_from_scale(*lines_of(keypoints, root), scale, PROPORTIONS, slack=np.inf)
    np.testing.assert_allclose(found, root, rtol=1e-6)
    held = root_depth_from_scale(*lines_of(keypoints, root), scale, PROPORTIONS)
    assert np.mean(np.abs(held / root - 1) < 1e-6) > 0.6
    for k in range(20):
        own = root_depth_from_scale(*lines_of(keypoints[k : k + 1], root[k : k + 1]), scale[k : k + 1], keypoints[k])
        assert own[0] == pytest.approx(root[k], rel=1e-6)


def test_the_nearer_depth_is_taken_where_it_is_right():
    """Far off the axis the greater of the two depths is wrong for more than one hand in a hundred; the one taken seldom is."""
    rng = np.random.default_rng(0)
    theta = rng.normal(0, 0.3, (4000, 16, 3))
    theta[:, 0] = rng.normal(0, 2, (4000, 3))
    place = rng.uniform([-0.2, -0.2, 0.4], [0.2, 0.2, 0.8], (4000, 3))
    keypoints = pose_hand(HAND, theta, rng.normal(size=(4000, 10)), place).keypoints
    root, bone = keypoints[:, 0, 2], keypoints[:, 9] - keypoints[:, 10]
    offsets, rays = lines_of(keypoints, root)
    found = root_depth_from_scale(offsets, rays, np.linalg.norm(bone, axis=1), PROPORTIONS, slack=np.inf)
    assert np.mean(np.abs(found / root - 1) > 1e-6) < 0.005
    assert np.mean((bone * (rays[:, 9] - rays[:, 10])).sum(1) < 0) > 0.01  # the bone gets shorter with depth: the lesser one


def test_depth_of_bones():
    """Known lengths of all bones give the depth to the steps that are looked through."""
    keypoints = random_hands(50, 8)[2].keypoints
    root = keypoints[:, 0, 2]
    parents = np.array([0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19])
    lengths = np.linalg.norm(keypoints[:, 1:] - keypoints[:, parents], axis=2)
    np.testing.assert_allclose(depth_of_bones(*lines_of(keypoints, root), lengths), root, rtol=0.006)


def test_depth_survives_nonsense():
    """A bone that cannot be so short, one that points at the camera, and noise give depths near that of all bones, never NaN."""
    keypoints = random_hands(200, 9)[2].keypoints
    root = keypoints[:, 0, 2]
    scale = np.linalg.norm(keypoints[:, 9] - keypoints[:, 10], axis=1)
    noisy = keypoints + np.random.default_rng(0).normal(0, 0.003, keypoints.shape)
    noisy[0, 10] = noisy[0, 9] * 1.05  # on one ray
    noisy[1, 10, 2] += 0.1
    offsets, rays = lines_of(noisy, root)
    held, trusted = (root_depth_from_scale(offsets, rays, scale, PROPORTIONS, slack) for slack in (1.1, np.inf))
    assert np.isfinite(held).all()
    assert (held > 0.1).all()
    error, alone = (np.abs(found / root - 1) for found in (held, trusted))
    assert error.max() < 0.6 < 0.9 < alone[:2].min()
    assert np.percentile(error, 90) < 0.8 * np.percentile(alone, 90)


# The zip


def test_zip_has_the_challenges_layout(tmp_path):
    """`pred.json` alone at the root: two lists of as many hands, 21 x 3 and V x 3 numbers, metres; the same bytes each time."""
    posed = random_hands(4, 1)[2]
    for name in ("a.zip", "b.zip"):
        write_prediction(tmp_path / name, posed.keypoints, posed.vertices)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["pred.json"]
        assert archive.infolist()[0].compress_type == zipfile.ZIP_DEFLATED
        xyz, verts = json.loads(archive.read("pred.json"))
    np.testing.assert_allclose(xyz, posed.keypoints, atol=1e-6)
    np.testing.assert_allclose(verts, posed.vertices, atol=1e-6)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip"]


# The folder


class Oracle(torch.nn.Module):
    """In place of a net: the truth as a perfect net would see it in the crops, in their order."""

    def __init__(self, vertices, boxes, side):
        super().__init__()
        self.vertices, self.boxes, self.side, self.at = vertices, boxes, side, 0

    def forward(self, image):
        assert image.shape[1:] == (3, self.side, self.side)
        assert image.max() <= 1
        found = []
        for v, (x0, y0, x1, y1) in zip(*(a[self.at : self.at + len(image)] for a in (self.vertices, self.boxes)), strict=True):
            assert x1 - x0 == y1 - y0
            xy = pixels_to_lixels((project(v, K) + PIXEL_SHIFT - [x0, y0]) * self.side / (x1 - x0), self.side)
            depth = v[:, 2:] - keypoints_from_vertices(HAND, v)[0, 2]
            found.append(np.concatenate([xy, depth_to_lixels(depth)], 1))
        self.at += len(image)
        vertices = torch.as_tensor(np.array(found))
        return Prediction(vertices[:, :21], vertices[:, :21], vertices, vertices)


def test_perfect_net_scores_perfectly(frei):
    """Through crop, half a pixel, lixels, bone and rays, a perfect net's hands come out at their places in space."""
    src, posed = frei
    task = read_challenge(src, HAND)
    centre = np.tile([112 - 65.0, 112 - 65, 112 + 65, 112 + 65], (COUNT, 1))  # 100 px, 1.3 times
    found = predict_challenge(Oracle(posed.vertices, centre, 64), HAND, task, 64, 2, torch.device("cpu"), slack=np.inf)
    np.testing.assert_allclose(found[1], posed.vertices, atol=1e-6)
    np.testing.assert_allclose(found[0], posed.keypoints, atol=1e-6)


def test_boxes(frei, tmp_path):
    """Given boxes are enlarged as in training: a square of 80 px at (60, 70) becomes one of 100 px about the same centre."""
    src, posed = frei
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps([[60, 70, 140, 130]] * COUNT))
    task = read_challenge(src, HAND, path)
    seen = np.tile([50.0, 50, 150, 150], (COUNT, 1))
    _, vertices = predict_challenge(Oracle(posed.vertices, seen, 64), HAND, task, 64, 3, torch.device("cpu"))
    pixels = project(vertices, task.K[0])
    np.testing.assert_allclose(pixels, project(posed.vertices, task.K[0]), atol=1e-6)
    path.write_text(json.dumps([[60, 70, 140, 130]]))
    with pytest.raises(HandsynthError, match=r"boxes\.json has 1 entries, evaluation_K\.json 5"):
        read_challenge(src, HAND, path)
    path.write_text(json.dumps([[60, 70, 140, 130]] * 4 + [[60, 70, 50, 60]]))  # corner and size
    with pytest.raises(UsageError, match="entry 4 is"):
        read_challenge(src, HAND, path)
    with pytest.raises(UsageError, match="does not exist: --boxes"):
        read_challenge(src, HAND, tmp_path / "no.json")


def test_from_end_to_end(frei, tmp_path, capsys):
    """A folder in FreiHAND's layout converts to shards; a net trains on them and submits; the zip holds what is scored."""
    src, posed = frei
    convert_freihand(src, tmp_path / "shards", HAND)
    train, val = (ShardDataset(tmp_path / "shards" / part, HAND) for part in ("train", "val"))
    assert (len(train), len(val)) == (40, 4)
    spec = TrainSpec(net="lite-fast", side=32, batch=20, epochs=1, pretrained=False)
    alone = Ranks(0, 1, torch.device("cpu"))
    history = Training(spec, [Part(train, 1.0)], [val], HAND, tmp_path / "run", alone, HowRun(workers=0)).run()
    assert np.isfinite(history[0]["val_pa_mpjpe_mm"])
    out = tmp_path / "pred.zip"
    submit_freihand([tmp_path / "run", src, out], device="cpu", as_json=True)
    made = json.loads(capsys.readouterr().out)
    assert made["images"] == COUNT
    with zipfile.ZipFile(out) as archive:
        xyz, verts = (np.array(part) for part in json.loads(archive.read("pred.json")))
    assert xyz.shape == (COUNT, 21, 3)
    assert verts.shape == (COUNT, HAND.num_vertices, 3)
    assert made["metrics"] == pytest.approx(evaluate_hands(xyz, verts, posed.keypoints, posed.vertices), abs=1e-3)
    assert (xyz[..., 2] > 0.05).all()


def test_without_annotations_nothing_is_scored(run_folder, tmp_path, capsys):
    """Only the files that are missing are named."""
    write_evaluation(tmp_path / "src", 2, annotated=False)
    for missing in (["evaluation_xyz.json", "evaluation_verts.json"], ["evaluation_verts.json"]):
        submit_freihand([run_folder, tmp_path / "src", tmp_path / "pred.zip"], device="cpu")
        assert f"not scored: {', '.join(missing)} missing" in capsys.readouterr().out
        (tmp_path / "src" / "evaluation_xyz.json").write_text("[]")  # one that is there is not named


def test_missing_parts_are_named(frei, tmp_path):
    """Each part, by name; a hand with other fingertips than FreiHAND's."""
    for part in ("evaluation_K.json", "evaluation_scale.json", "evaluation/rgb"):
        src = tmp_path / part.replace("/", "_")
        shutil.copytree(frei[0], src)
        (shutil.rmtree if (src / part).is_dir() else Path.unlink)(src / part)
        with pytest.raises(UsageError, match=f"no whole FreiHAND evaluation set: {part} missing"):
            read_challenge(src, HAND)
    src = shutil.copytree(frei[0], tmp_path / "image")
    (src / "evaluation/rgb/00000003.jpg").unlink()
    with pytest.raises(UsageError, match=r"lacks 1 of 5 images, the first 00000003\.jpg"):
        read_challenge(src, HAND)
    (src / "evaluation/rgb/00000003.jpg").write_bytes(b"no image")
    with pytest.raises(HandsynthError, match=r"00000003\.jpg is damaged"):
        predict_challenge(torch.nn.Identity(), HAND, read_challenge(src, HAND), 64, 4, torch.device("cpu"))
    (src / "evaluation_scale.json").write_text("[0.03, 0.03]")
    with pytest.raises(HandsynthError, match=r"evaluation_scale\.json has 2 entries, evaluation_K\.json 5"):
        read_challenge(src, HAND)
    with pytest.raises(UsageError, match="challenge needs 'freihand'"):
        read_challenge(src, toy_hand())
