"""Detectors: what maps mean, labels of crowds, training, scores, the files that are shipped, and hands found without boxes."""

import dataclasses
import hashlib
import json
import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny import handsynth
from typer.testing import CliRunner
from untrained import write_untrained

import handmesh
from handmesh.cli.main import make_app
from handmesh.data import side_crops
from handmesh.data.detection import DetectionShards, Draws, TrueHands, hands_of, true_hands
from handmesh.data.side_crops import SideDraws, box_and_angle, no_hand, upright, usable_crops
from handmesh.detection_maps import (
    GREY,
    MULTIPLE,
    STRIDE,
    Found,
    as_input,
    decode,
    encode,
    find_hands,
    fitted,
    intersections,
    overlaps,
)
from handmesh.estimation.backends import INPUT, MAPS, open_maps, open_session, open_side
from handmesh.estimation.detect import HandDetector, open_detector, overlap
from handmesh.estimation.detector_scores import evaluate_detector, score_detector
from handmesh.estimation.onnx import export_detector, export_side
from handmesh.evaluation.detection import FoundHands, crowd_truth, score_detections
from handmesh.nets.detector_net import DetectorNet
from handmesh.nets.efficientnet_lite import efficientnet_lite0
from handmesh.run_files import DETECTOR, GRAPH, SIDE, WEIGHTS, read_config
from handmesh.run_folder import load_detector, load_run, save_weights, write_settings
from handmesh.settings.detector import DetectorSpec
from handmesh.settings.mesh import spec_to_dict
from handmesh.shipped import find_run
from handmesh.training import side_loop
from handmesh.training.detector_loop import DetectorTraining, generalised_iou
from handsynth.core.camera import project
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.named_hands import open_hand
from handsynth.core.sample import decode_npy
from handsynth.core.shard import read_shard

CPU = torch.device("cpu")
SPEC = DetectorSpec(side=64, train_side=64, batch=4, steps=4, report_steps=2, ema=0.5, warmup_steps=0, pretrained=False)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory) -> DetectionShards:
    """24 images of the shipped spec, whose seed nothing was trained on."""
    out = tmp_path_factory.mktemp("crowd") / "set"
    done = handsynth("generate", "crowd", out, "--indices", "0:24", "--seed", "77123", "--shard-size", "24", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    return DetectionShards(out)


def labels_of(crowd: DetectionShards) -> list[dict]:
    members = read_shard(crowd.folder / crowd.index["shards"][0]["name"])
    return [json.loads(each["json"]) for _, each in sorted(members)]


# What maps mean


def maps_of(boxes: np.ndarray, left: np.ndarray, angles: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps of a net that says exactly what `encode` requests."""
    directions = np.stack([np.sin(angles), -np.cos(angles)], 1)
    truth = encode(boxes, left, directions, np.empty((0, 4)), height, width)
    rows, columns = np.indices(truth.middle.shape)
    centres = STRIDE * (np.stack([columns, rows]) + 0.5)
    distances = np.concatenate([centres - truth.box[:2], truth.box[2:] - centres])
    middle = np.clip(truth.middle, 1e-6, 1 - 1e-6)
    logs = np.log(np.maximum(distances, 0.1) / STRIDE)
    return np.concatenate([np.log(middle / (1 - middle))[None], 8 * truth.left[None] - 4, logs, truth.direction]).astype(np.float32)


def test_hands_are_what_their_maps_say():
    """`decode` of what `encode` requests: the same boxes, sides and angles, also of two that overlap and one of a border."""
    boxes = np.array([[10.0, 20, 70, 110], [60, 30, 130, 100], [200, 0, 256, 40], [20, 150, 36, 170]])
    left, angles = np.array([True, False, True, False]), np.array([0.3, -2.9, 1.6, 0.0])
    found = decode(maps_of(boxes, left, angles, 192, 256), 0.5, 20, 0.5)
    order = [int(overlaps(box, found.boxes).argmax()) for box in boxes]
    assert sorted(order) == [0, 1, 2, 3]
    np.testing.assert_allclose(found.boxes[order], boxes, atol=1e-3)
    np.testing.assert_array_equal(found.left[order] > 0.5, left)
    np.testing.assert_allclose(found.angles[order], angles, atol=1e-5)
    assert (found.scores > 0.99).all()


def slow_decode(maps: np.ndarray, least: float, most: int, overlap_: float) -> list[tuple]:
    """`decode`, cell by cell."""
    _, h, w = maps.shape
    candidates = []
    for row in range(h):
        for column in range(w):
            value = maps[0, row, column]
            around = [
                maps[0, r, c]
                for r in range(max(row - 1, 0), min(row + 2, h))
                for c in range(max(column - 1, 0), min(column + 2, w))
            ]
            score = 1 / (1 + math.exp(-value))
            if value == max(around) and score >= least:
                x, y = 8 * column + 4, 8 * row + 4
                to_left, to_top, to_right, to_bottom = (8 * math.exp(min(max(float(v), -4.5), 4.5)) for v in maps[2:6, row, column])
                box = (x - to_left, y - to_top, x + to_right, y + to_bottom)
                angle = math.atan2(maps[6, row, column], -maps[7, row, column])
                candidates.append((score, box, 1 / (1 + math.exp(-maps[1, row, column])), angle))
    candidates.sort(key=lambda each: -each[0])
    kept: list[tuple] = []
    for candidate in candidates[: 4 * most]:
        if all(overlap(np.array(candidate[1]), np.array(other[1])) < overlap_ for other in kept):
            kept.append(candidate)
    return kept[:most]


@pytest.mark.parametrize("seed", range(4))
def test_decoding_is_what_its_slow_twin_does(seed):
    rng = np.random.default_rng(seed)
    maps = rng.normal(0, 1.5, (8, 9, 13)).astype(np.float32)
    found, slow = decode(maps, 0.6, 6, 0.3), slow_decode(maps, 0.6, 6, 0.3)
    assert len(found.boxes) == len(slow) > 2
    for k, (score, box, left, angle) in enumerate(slow):
        assert found.scores[k] == pytest.approx(score, abs=1e-6)
        assert found.left[k] == pytest.approx(left, abs=1e-6)
        assert found.angles[k] == pytest.approx(angle, abs=1e-5)
        np.testing.assert_allclose(found.boxes[k], box, rtol=1e-5)


def test_large_hands_are_found_in_the_smaller_look_and_counted_once():
    """A net that sees hands of up to 90 px alone: one that fills the image, a small one, and a part of the large one."""
    image = np.zeros((384, 512, 3), np.uint8)
    large, small, part = np.array([40.0, 20, 300, 380]), np.array([400.0, 300, 440, 350]), np.array([60.0, 40, 120, 110])

    def net(look: np.ndarray) -> np.ndarray:
        scale = look.shape[1] / image.shape[1]
        is_fine = look.shape[1] == 256
        seen = scale * np.stack([small, part] if is_fine else [large])
        maps = maps_of(seen, np.zeros(len(seen), bool), np.zeros(len(seen)), *look.shape[:2])
        maps[0] -= 10 * is_fine  # less sure of either
        return maps

    found = find_hands(net, image, 256, 0.5)
    np.testing.assert_allclose(found.boxes, [large, small], atol=1e-3)


def test_images_of_any_shape_fit():
    """Sides are multiples of 32, the image lies at the top left, and boxes return to its own pixels."""
    rng = np.random.default_rng(0)
    for height, width in ((480, 640), (1, 900), (33, 31), (2000, 300)):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        made, scale = fitted(image, 256)
        assert made.shape[0] % MULTIPLE == made.shape[1] % MULTIPLE == 0
        assert max(made.shape) == 256
        inner = np.round(np.array([width, height]) / scale).astype(int)
        np.testing.assert_allclose(inner, np.maximum(np.array([width, height]) * 256 / max(height, width), 1), atol=0.51)
        assert (made[inner[1] :] == GREY).all()
        assert (made[:, inner[0] :] == GREY).all()


# Labels


def test_labels_are_the_crowds(crowd):
    """Boxes of whole hands are `bbox_xyxy`, of cut ones within it; sides and directions are the labels'; a mirror swaps them."""
    seen = 0
    for position, labels in enumerate(labels_of(crowd)):
        labelled = crowd.read(position)
        width, height = labels["image_size"]
        assert labelled.image.shape == (height, width, 3)
        plain = hands_of(labelled, np.eye(2, 3), height, width)
        mirror = hands_of(labelled, np.array([[-1.0, 0, width], [0, 1, 0]]), height, width)
        np.testing.assert_allclose(mirror.boxes, plain.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0], atol=1e-3)
        np.testing.assert_array_equal(mirror.left, ~plain.left)
        np.testing.assert_allclose(mirror.directions, plain.directions * [-1, 1], atol=1e-9)
        assert len(plain.boxes) + len(plain.ignored) == len(labels["hands"])
        for box, left, direction in zip(plain.boxes, plain.left, plain.directions, strict=True):
            boxes = np.clip([hand["bbox_xyxy"] for hand in labels["hands"]], 0, [width, height, width, height])
            k = int(overlaps(box, boxes).argmax())
            assert (box[:2] >= boxes[k][:2] - 0.05).all()  # a cut hand's is about the part of its outline that is in the image
            assert (box[2:] <= boxes[k][2:] + 0.05).all()
            if (boxes[k] == labels["hands"][k]["bbox_xyxy"]).all():
                np.testing.assert_allclose(box, boxes[k], atol=0.05)
            assert left == (labels["hands"][k]["side"] == "left")
            wrist, knuckle = np.array(labels["hands"][k]["keypoints_xy"])[[0, 9]]
            assert direction @ (knuckle - wrist) == pytest.approx(
                np.linalg.norm(direction) * np.linalg.norm(knuckle - wrist), rel=1e-6
            )
            assert labels["hands"][k]["visible_share"] >= 0.35
            seen += 1
    assert seen > 15


def test_boxes_of_turned_images_are_about_the_turned_hands(crowd):
    """Not about turned boxes: at any angle the box is that of the turned vertices, where all of the hand is in the image."""
    checked = 0
    for position, (labels, (_, members)) in enumerate(
        zip(labels_of(crowd), sorted(read_shard(crowd.folder / "shard-000000.tar")), strict=True)
    ):
        labelled, size = crowd.read(position), np.array(labels["image_size"])
        vertices = decode_npy(members["vertices.npy"], "here")
        for k, hand in enumerate(labels["hands"]):
            box = np.array(hand["bbox_xyxy"])
            if (box[:2] < 0).any() or (box[2:] > size).any():
                continue
            one = labelled._replace(hands=(labelled.hands[k],))
            angle = 0.7 + k
            turn = np.array([[np.cos(angle), -np.sin(angle), 400], [np.sin(angle), np.cos(angle), 400]])
            xy = project(vertices[k].astype(float), np.array(labels["K"])) @ turn[:, :2].T + turn[:, 2]
            hands = hands_of(one, turn, 1200, 1200)
            found = np.concatenate([hands.boxes, hands.ignored])[0]
            np.testing.assert_allclose(found, [*xy.min(0), *xy.max(0)], atol=0.01)
            checked += 1
    assert checked > 10


def test_training_samples_follow_from_seed_and_number_alone(crowd):
    """The same number, the same bytes; another number or seed, others. Hands lie where the maps say."""
    draws = Draws([crowd], [1.0], 3)
    first, second = draws.sample(7, 96, 128), Draws([DetectionShards(crowd.folder)], [1.0], 3).sample(7, 96, 128)
    assert all(np.array_equal(a, b) for a, b in zip([first[0], *first[1]], [second[0], *second[1]], strict=True))
    assert not np.array_equal(first[0], draws.sample(8, 96, 128)[0])
    assert not np.array_equal(first[0], Draws([crowd], [1.0], 4).sample(7, 96, 128)[0])
    count = 0
    for number in range(40):
        image, maps = draws.sample(number, 96, 128)
        assert image.shape == (96, 128, 3)
        for row, column in np.argwhere(maps.middle == 1):
            x0, y0, x1, y1 = maps.box[:, row, column]
            assert 0 <= x0 < x1 <= 128
            assert 0 <= y0 < y1 <= 96
            assert max(x1 - x0, y1 - y0) >= 12
            assert abs((x0 + x1) / 2 - 8 * column - 4) <= 4.01
            count += 1
        assert maps.share.sum() == pytest.approx(len(np.unique(maps.box[:, maps.share > 0], axis=1).T), abs=1e-3)
    assert count > 20


# The net and its training


def test_the_net_is_small_and_takes_any_size():
    """Under two million parameters; maps at an eighth of the image; little is a hand before training."""
    net = DetectorNet(efficientnet_lite0(pretrained=False)).eval()
    assert sum(parameter.numel() for parameter in net.parameters()) < 2_000_000
    with torch.inference_mode():
        for height, width in ((64, 96), (192, 256)):
            maps = net(torch.rand(1, 3, height, width))
            assert maps.shape == (1, 8, height // 8, width // 8)


def test_generalised_overlap_is_the_overlap_of_boxes_that_fill_what_is_around_them():
    a = torch.tensor([[0.0, 0, 4, 4], [0, 0, 2, 2], [0, 0, 1, 1]])
    b = torch.tensor([[0.0, 0, 4, 4], [0, 0, 2, 4], [3, 0, 4, 1]])
    np.testing.assert_allclose(generalised_iou(a, b), [1.0, 0.5, -0.5], atol=1e-6)


def test_steps_lower_the_loss_on_a_tiny_set(crowd, tmp_path):
    """On one batch, over and over."""
    training = DetectorTraining(
        dataclasses.replace(SPEC, steps=1000, lr=3e-3), [(crowd, 1.0)], crowd, tmp_path / "run", CPU, False, 0
    )
    image, maps = training.draw(0)
    training.net.train()
    losses = [training.step(image, maps)["loss"] for _ in range(25)]
    assert np.mean(losses[-3:]) < 0.6 * losses[0]


def test_a_resumed_run_is_the_run_that_was_never_stopped(crowd, tmp_path, monkeypatch):
    """Stopped after a row: the same weights at the end; other settings and a second start are refused."""
    data = [(crowd, 1.0)]
    DetectorTraining(SPEC, data, crowd, tmp_path / "whole", CPU, workers=0).run()
    stretch = DetectorTraining._stretch

    def stopped(self):
        if self.progress.epoch:
            raise KeyboardInterrupt
        return stretch(self)

    monkeypatch.setattr(DetectorTraining, "_stretch", stopped)
    with pytest.raises(KeyboardInterrupt):
        DetectorTraining(SPEC, data, crowd, tmp_path / "parts", CPU, workers=0).run()
    monkeypatch.setattr(DetectorTraining, "_stretch", stretch)
    with pytest.raises(UsageError, match="already holds a run"):
        DetectorTraining(SPEC, data, crowd, tmp_path / "parts", CPU, workers=0).run()
    with pytest.raises(UsageError, match="was started with lr"):
        DetectorTraining(dataclasses.replace(SPEC, lr=0.5), data, crowd, tmp_path / "parts", CPU, resume=True, workers=0).run()
    rows = DetectorTraining(SPEC, data, crowd, tmp_path / "parts", CPU, resume=True, workers=0).run()
    assert [row["steps"] for row in rows] == [2, 4]
    assert (tmp_path / "parts" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


def test_a_detector_is_trained_and_evaluated_by_the_commands(crowd, tmp_path):
    """`train detector`, `evaluate` of its run, and `predict --detector RUN`; a mesh net's run is no detector."""
    words = ("train", "detector", "detector-demo", "--no-pretrained", "--workers", 0, "--data", crowd.folder, "--val", crowd.folder)
    assert "4 steps; validation: average precision 0." in call(*words, "--out", tmp_path / "run")
    scores = json.loads(call("evaluate", tmp_path / "run", "--data", crowd.folder, "--out", tmp_path / "scores", "--json"))
    assert scores["data"]["crowd"]["images"] == 24
    assert (tmp_path / "scores" / "detection.csv").read_text().startswith("data,images,hands,average_precision")
    cv2.imwrite(str(tmp_path / "photo.png"), crowd.read(0).image[..., ::-1])
    call("predict", tmp_path / "photo.png", "--detector", tmp_path / "run", "--out", tmp_path / "out")
    with pytest.raises(UsageError, match=r"--detector .*lite.*: expected own, none, MediaPipe's hand_landmarker.task, or a run"):
        open_detector(find_run(None))
    with pytest.raises(UsageError, match="--detector nothing: expected own, none"):
        open_detector("nothing")


def call(*words: object) -> str:
    result = CliRunner().invoke(make_app(), [*map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_what_looks_again_is_trained_and_a_mirror_changes_the_side_alone(crowd, tmp_path):
    """`train side` by the command; of a mirrored crop the logit of a left hand is the negative one, that of a hand the same."""
    words = ("train", "side", "side-demo", "--no-pretrained", "--workers", 0, "--data", crowd.folder, "--val", crowd.folder)
    assert "4 steps; validation: sides right " in call(*words, "--out", tmp_path / "run")
    with pytest.raises(UsageError, match="already holds a run"):
        call(*words, "--out", tmp_path / "run")
    net = load_detector(tmp_path / "run", CPU, SIDE).net
    made = usable_crops(crowd, 8)
    assert 8 <= sum(crop.is_hand for crop in made) < len(made)
    crops = [crop.image for crop in made]
    there = open_side(tmp_path / "run")
    wanted = there([np.ascontiguousarray(crop[:, ::-1]) for crop in crops]) * [-1, 1]
    np.testing.assert_allclose(there(crops), wanted, atol=1e-5)
    export_side(net, tmp_path / "run")
    np.testing.assert_allclose(open_side(tmp_path / "run")(crops), wanted, atol=1e-4)
    with pytest.raises(UsageError, match="is no run of handmesh train detector"):
        open_maps(tmp_path / "run")


def test_what_is_no_hand_is_far_from_every_hand(crowd):
    """Boxes are within the image, overlap no hand by a quarter, and are not within one that hardly shows; a third of the crops."""
    rng = np.random.default_rng(0)
    near = 0
    for position in range(len(crowd)):
        labelled = crowd.read(position)
        hands = np.reshape([box_and_angle(hand)[0] for hand in labelled.hands], (-1, 4))
        found = no_hand(rng, labelled)
        assert found is not None
        assert (found[0] >= 0).all()
        assert (found[0][2:] <= labelled.image.shape[1::-1]).all()
        assert (overlaps(found[0], hands) < 0.25).all()
        near += bool(len(hands) and intersections(found[0], hands).any())
    assert near >= 3
    crops = [SideDraws([crowd], [1.0], 3).sample(number, 32) for number in range(200)]
    assert 100 <= sum(crop.is_hand for crop in crops) <= 160
    assert not any(crop.is_left and not crop.is_hand for crop in crops)


def test_boxes_of_hands_are_found_once_an_image(crowd, monkeypatch):
    """However many boxes without a hand are tried: in images full of hands they are drawn many times."""
    found: list[int] = []
    monkeypatch.setattr(side_crops, "box_and_angle", lambda hand: (found.append(1), box_and_angle(hand))[1])
    one = max((crowd.read(k) for k in range(len(crowd))), key=lambda labelled: len(labelled.hands))
    height, width = one.image.shape[:2]
    corners = np.array([[0.0, 0], [width, 0], [width, height], [0, height]])
    full = one._replace(hands=tuple(hand._replace(outline=corners, is_clear=False) for hand in one.hands))
    assert no_hand(np.random.default_rng(0), full) is None
    assert len(found) == len(full.hands) > 0


@pytest.mark.parametrize("hand_logit", [-30.0, 0.0, 30.0])
def test_a_second_look_decides_what_is_a_hand(hand_logit):
    """Scores are a geometric mean in which the maps count twice; sides are the second look's; what it does not believe in goes."""
    detector = HandDetector(find_run(None, DETECTOR), side=find_run(None, SIDE))
    image = np.zeros((96, 96, 3), np.uint8)
    box, angle = np.array([20.0, 20, 70, 80]), np.zeros(1)
    detector.side_net = lambda crops: np.tile(np.array([4.0, hand_logit], np.float32), (len(crops), 1))
    found = detector._looked_at(image, Found(box[None], np.array([0.729]), np.zeros(1), angle))
    if hand_logit == 30:
        assert found.scores == pytest.approx([0.81])
        assert found.left > 0.9
        np.testing.assert_array_equal(found.boxes[0], box)
    elif hand_logit == 0:
        assert found.scores == pytest.approx([0.81 * 0.5 ** (1 / 3)])
    else:
        assert not len(found.boxes)


def test_the_detector_whose_mistakes_are_learned_is_in_the_runs_record(crowd, tmp_path, monkeypatch):
    """`mistakes`: config.yaml names the shipped detector and its weights, and a run is not gone on with after it has changed."""
    preset = tmp_path / "mistakes.yaml"
    preset.write_text("{mistakes: true, batch: 4, steps: 2, report_steps: 1, pretrained: false}")
    words = ("train", "side", preset, "--workers", 0, "--data", crowd.folder, "--val", crowd.folder, "--out", tmp_path / "run")
    call(*words)
    digest = hashlib.sha256((find_run(None, DETECTOR) / WEIGHTS).read_bytes()).hexdigest()
    assert read_config(tmp_path / "run", SIDE)["detector"] == {"run": find_run(None, DETECTOR).name, "sha256": digest}
    call(*words, "--resume", "--steps", 2)
    other = Path(shutil.copytree(find_run(None, DETECTOR), tmp_path / "other"))
    (other / WEIGHTS).write_bytes(b"another version's")
    monkeypatch.setattr(side_loop, "find_run", lambda *_: other)
    with pytest.raises(UsageError, match=f"started with detector '{digest[:40]}.*resume with the version of the package"):
        call(*words, "--resume")
    call(*words[:2], "side-demo", "--no-pretrained", *words[3:-1], tmp_path / "plain")
    assert "detector" not in read_config(tmp_path / "plain", SIDE)


def test_small_nets_start_from_a_mesh_nets_backbone(crowd, tmp_path):
    """`--start`: its early layers are the mesh net's, which config.yaml names; other backbones are refused."""
    words = ("train", "side", "side-demo", "--workers", 0, "--data", crowd.folder, "--val", crowd.folder)
    call(*words, "--out", tmp_path / "run", "--start", "lite-fast-128")
    net = load_detector(tmp_path / "run", CPU, SIDE).net
    mesh = load_run(find_run("lite-fast-128"), CPU).net.pose_backbone
    for name, value in mesh.early.state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(net.early.state_dict()[name], value, rtol=0, atol=0)
    assert read_config(tmp_path / "run", SIDE)["start"]["run"] == "lite-fast-128"
    other = write_untrained(tmp_path / "other", open_hand("embedded"), "i2l-effb0")
    with pytest.raises(UsageError, match="does not stand on EfficientNet-Lite0"):
        call(*words, "--out", tmp_path / "no", "--start", other)


def test_upright_crops_show_the_hand_upright():
    """A mark where the hand points to is at the top of the crop, at any angle."""
    for angle in (0.0, 1.0, -2.5, np.pi):
        image = np.zeros((200, 200, 3), np.uint8)
        x, y = 100 + 40 * np.sin(angle), 100 - 40 * np.cos(angle)
        cv2.circle(image, (round(x), round(y)), 8, (255, 255, 255), -1)
        crop = upright(image, np.array([50.0, 50, 150, 150]), angle)
        rows, columns = np.nonzero(crop[..., 0] > 128)
        assert abs(columns.mean() - 63.5) < 1
        assert abs(rows.mean() - (63.5 - 40 * 128 / 125)) < 1


# Files


def untrained(folder: Path) -> Path:
    """A detector's run of random weights, with its graph."""
    torch.manual_seed(0)
    net = DetectorNet(efficientnet_lite0(pretrained=False)).eval()
    write_settings(folder, {"kind": DETECTOR, "training": spec_to_dict(SPEC)})
    save_weights(net, folder / WEIGHTS, DETECTOR, {})
    export_detector(net, folder, SPEC.side)
    return folder


def test_the_graph_is_the_net(tmp_path):
    """onnxruntime's maps are torch's, at several sizes and batches."""
    folder = untrained(tmp_path / "run")
    net, session = load_detector(folder, CPU).net, open_session(folder / GRAPH)
    for batch, height, width in ((1, 64, 96), (2, 96, 64), (1, 192, 256)):
        image = np.random.default_rng(0).random((batch, 3, height, width), np.float32)
        with torch.inference_mode():
            wanted = net(torch.from_numpy(image)).numpy()
        np.testing.assert_allclose(session.run([MAPS], {INPUT: image})[0], wanted, atol=1e-3)


@pytest.mark.parametrize("file", [GRAPH, WEIGHTS])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_damaged_detectors_are_refused(tmp_path, file, how):
    """A changed bit, half a file, no file: one sentence with the folder, before anything runs."""
    folder = Path(shutil.copytree(find_run(None, DETECTOR), tmp_path / "weights"))
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / file).write_bytes(data if how == "flipped" else data[: len(data) // 2])
    if how == "gone":
        (folder / file).unlink()
    if (file, how) == (GRAPH, "gone"):  # torch runs the weights
        assert open_maps(folder)[1] == HandDetector(folder).side
        return
    with pytest.raises(HandsynthError) as found:
        HandDetector(folder)
    assert str(folder) in str(found.value)
    assert "\n" not in str(found.value)


# Scores


def found_hands(*hands: tuple) -> FoundHands:
    boxes, scores, left, angles = zip(*hands, strict=True) if hands else ((),) * 4
    return FoundHands(np.reshape(boxes, (-1, 4)), np.array(scores), np.array(left, bool), np.array(angles))


def true_of(*hands: tuple, ignored: tuple = ()) -> TrueHands:
    boxes, left, angles = zip(*hands, strict=True) if hands else ((),) * 3
    return TrueHands(np.reshape(boxes, (-1, 4)), np.array(left, bool), np.array(angles), np.reshape(ignored, (-1, 4)))


A, B, C = (0.0, 0, 10, 10), (20.0, 0, 30, 10), (50.0, 50, 60, 60)


def test_scores_of_detections():
    """Right, of another side, twice, false, ignored, missed: each counts as what it is."""
    truth = [true_of((A, False, 0.0), (B, True, 1.0), ignored=(C,)), true_of((A, True, np.nan)), true_of()]
    found = [
        found_hands((A, 0.9, False, 0.1), (B, 0.8, False, 1.0), (A, 0.7, False, 0.0), (C, 0.95, True, 0.0)),
        found_hands(),
        found_hands((B, 0.1, True, 0.0)),
    ]
    scores = score_detections(truth, found, 0.5)
    assert (scores.images, scores.hands) == (3, 3)
    assert scores.recall == pytest.approx(2 / 3)
    assert scores.sides_right == 0.5
    assert scores.false_share == pytest.approx(1 / 3)  # A's second; C does not count, B of the third image is too unsure
    assert scores.overlap == 1
    assert scores.angle_deg == pytest.approx(np.degrees(0.05))
    assert scores.average_precision == pytest.approx(2 / 3)
    perfect = [FoundHands(hands.boxes, np.ones(len(hands.boxes)), hands.left, hands.angles) for hands in truth]
    assert score_detections(truth, perfect, 0.5).average_precision == 1
    assert score_detections(truth, [found_hands()] * 3, 0.5).recall == 0


def test_false_hands_that_are_surer_than_right_ones_cost_precision():
    """Average precision falls with the rank of a false hand, and not with false ones behind all right ones."""
    truth = [true_of((A, False, 0.0), (B, False, 0.0))]
    scores = [
        score_detections(truth, [found_hands((A, 0.9, False, 0), (B, 0.5, False, 0), (C, at, False, 0))], 0.1).average_precision
        for at in (0.95, 0.7, 0.2)
    ]
    np.testing.assert_allclose(scores, [2 / 3, 5 / 6, 1.0])


# The detector that is shipped


def test_the_shipped_detector_finds_hands_of_crowds(crowd):
    """On 24 images of a seed that nothing was trained on, by onnxruntime."""
    scores = evaluate_detector(find_run(None, DETECTOR), lambda side: crowd_truth(crowd, side), side=find_run(None, SIDE))
    assert scores.average_precision > LEAST_AP
    assert scores.sides_right > LEAST_SIDES


LEAST_AP, LEAST_SIDES = 0.5, 0.6


def test_predict_finds_the_hands_of_an_image_without_boxes(crowd, tmp_path):
    """Each in a box about it; the user's boxes and sides come before the detector's."""
    detector = open_detector()
    sure = [(k, detector(crowd.read(k).image)) for k in range(len(crowd))]
    position, found = max(sure, key=lambda each: min([one.score for one in each[1]], default=0))
    image = crowd.read(position).image
    hands = handmesh.load(angles=False, threads=1)
    made = hands(image)
    assert [hand.side for hand in made] == [one.side for one in found]
    truth = true_hands(crowd.read(position), 256)
    assert all(overlaps(hand.box, truth.boxes).max() > 0.5 for hand in made)
    assert {hand.side for hand in hands(image, sides="left")} == {"left"}
    box, side = truth.boxes[0], "left" if truth.left[0] else "right"
    (given,) = hands(image, boxes=[box], sides=side)
    assert (given.side, given.score) == (side, 1)
    assert overlaps(given.box, box[None]).max() > 0.7
    (whole,) = handmesh.load(angles=False, threads=1, detector="none")(image)
    assert (whole.side, whole.score) == ("right", 1)


def test_no_hand_is_an_empty_list_exit_code_0_and_a_sentence(tmp_path):
    """Of an image that shows none; also where the image is a single colour, or one pixel high."""
    grey = np.full((120, 200, 3), 128, np.uint8)
    assert handmesh.load(angles=False, threads=1)(grey) == []
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    said = call("predict", tmp_path / "grey.png", "--out", tmp_path / "out", "--threads", 1)
    assert "no hand found" in said
    (line,) = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    assert json.loads(line)["hands"] == []


def test_any_detector_can_be_scored(crowd):
    """One that knows the truth is perfect."""
    truth = list(crowd_truth(crowd, 256))
    images = {image.tobytes(): hands for image, hands in truth}

    def knows(image: np.ndarray) -> list[tuple]:
        hands = images[image.tobytes()]
        return [(box, "left" if left else "right", 1.0, None) for box, left in zip(hands.boxes, hands.left, strict=True)]

    scores = score_detector(knows, truth, 0.5)
    assert (scores.average_precision, scores.recall, scores.sides_right, scores.false_share) == (1, 1, 1, 0)
    assert np.isnan(scores.angle_deg)


def test_as_input_is_channels_first_in_unit_range():
    image = np.arange(32 * 32 * 3, dtype=np.uint32).reshape(32, 32, 3).astype(np.uint8)
    made = as_input([image])
    assert made.shape == (1, 3, 32, 32)
    assert made[0, 2, 5, 7] == pytest.approx(image[5, 7, 2] / 255)
