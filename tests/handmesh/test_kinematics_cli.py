"""The commands `kinematics fit` and `solve`, and `predict --kinematics`: files in, angles out, and one sentence for what is bad."""

import csv
import importlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from clips import render_clip, write_clip
from hands import draw_feasible, hand_of
from typer.testing import CliRunner
from untrained import write_untrained

from handmesh.cli.main import make_app
from handmesh.data import shards
from handmesh.data.shards import ShardDataset
from handmesh.kinematics import angle_files, mesh_angles
from handmesh.kinematics.dof import DOF_NAMES, dof_limits, embed, hand_dof_matrix
from handmesh.kinematics.fit import AngleSolver
from handmesh.kinematics.ik_net import IKNet, load_ik_run
from handmesh.kinematics.joint_coordinates import from_joint_coordinates
from handmesh.mesh_files import read_mesh, write_mesh
from handmesh.run_files import WEIGHTS
from handmesh.run_folder import save_weights, write_run
from handmesh.settings.ik import IKSpec
from handmesh.settings.mesh import spec_to_dict
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import pose_hand
from handsynth.core.mirror import mirror_points

HAND = hand_of("toy")
DRAWN = draw_feasible(HAND, 6, seed=1)


def handmesh(*arguments: object) -> str:
    """Stdout of a command; its error is raised."""
    result = CliRunner().invoke(make_app(), [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def fit(*arguments: object) -> str:
    return handmesh("kinematics", "fit", *arguments, "--hand", "toy")


@pytest.fixture(scope="module")
def meshes(tmp_path_factory):
    """A right hand as OBJ, a left one as PLY, six right ones as an array."""
    folder = tmp_path_factory.mktemp("meshes")
    write_mesh(folder / "one.obj", DRAWN.posed.vertices[0], HAND, "right", "metres")
    write_mesh(folder / "left.ply", mirror_points(DRAWN.posed.vertices[1]), HAND, "left", "metres")
    np.save(folder / "six.npy", DRAWN.posed.vertices)
    return folder


def ik_run(folder, known_shape=False, dofs=23):
    """A run of an IK net that has learned nothing."""
    spec = IKSpec(dofs=dofs, widths=(16, 16, 8), known_shape=known_shape)
    torch.manual_seed(0)
    write_run(folder, {"kind": "ik", "training": spec_to_dict(spec)}, HAND)
    save_weights(IKNet(HAND, spec.dofs, known_shape, spec.widths), folder / WEIGHTS, spec.net, {})
    return folder


def angles_of(path) -> np.ndarray:
    return np.array([list(hand["angles_deg"].values()) for hand in json.loads(path.read_text())["hands"]])


def test_mesh_files(meshes, tmp_path):
    """OBJ, and a left PLY with --left: the angles that made them within a degree, and meshes within 0.1 mm, on their own side."""
    for name, number, flag in (("one.obj", 0, ()), ("left.ply", 1, ("--left",))):
        output = fit(meshes / name, *flag, "--out", tmp_path)
        stem = name.split(".")[0]
        degrees = angles_of(tmp_path / f"{stem}.angles.json")[0]
        assert np.abs(degrees - np.rad2deg(DRAWN.angles[number])).max() < 1
        given, fitted = read_mesh(meshes / name), read_mesh(tmp_path / f"{stem}.fitted.obj")
        assert 1000 * np.linalg.norm(given - fitted, axis=1).mean() < 0.1
        assert f"{'left' if flag else 'right'} hand, fitted to 0.0" in output
        assert f"mcp flexion {degrees[1]:6.1f}" in output


def test_json_is_enough(meshes, tmp_path):
    """theta, beta and trans pose the fitted mesh; joint coordinates are the same pose; every angle is named and the conventions
    given.
    """
    (output,) = json.loads(fit(meshes / "one.obj", "--out", tmp_path, "--json"))
    value = json.loads((tmp_path / "one.angles.json").read_text())
    assert value["schema"] == angle_files.SCHEMA
    assert value["hands"] == output["hands"]
    (hand,) = value["hands"]
    assert tuple(hand["angles_deg"]) == tuple(hand["joint_coordinates_deg"]) == DOF_NAMES
    posed = pose_hand(HAND, np.array(hand["theta"]), np.array(hand["beta"]), np.array(hand["trans"]))
    np.testing.assert_allclose(posed.vertices, read_mesh(tmp_path / "one.fitted.obj"), atol=1e-5)
    back = np.rad2deg(from_joint_coordinates(np.deg2rad(list(hand["joint_coordinates_deg"].values()))).values)
    assert np.abs(back - list(hand["angles_deg"].values())).max() <= max(hand["joint_coordinates_residual_deg"].values()) + 0.01
    assert set(value["files"].values()) == {p.name for p in tmp_path.iterdir()}


def test_arrays_are_sequences(meshes, tmp_path):
    """A row a hand in the CSV, with units in the heading; a plot over time; the fitted meshes as an array."""
    output = fit(meshes / "six.npy", "--out", tmp_path)
    assert "6 hands, fitted to 0.0" in output
    with open(tmp_path / "six.angles.csv") as file:
        rows = list(csv.DictReader(file))
    found = np.array([[float(row[f"{name}_deg"]) for name in DOF_NAMES] for row in rows])
    assert np.median(np.abs(found - np.rad2deg(DRAWN.angles))) < 1
    assert [row["row"] for row in rows] == list("012345")
    assert (tmp_path / "six.angles.png").read_bytes()[1:4] == b"PNG"
    np.testing.assert_allclose(np.load(tmp_path / "six.fitted.npy"), DRAWN.posed.vertices, atol=1e-3)


def test_datasets(hand_shards, tmp_path):
    """Left and right samples by their numbers, with the dataset's own hand, found by itself."""
    output = handmesh("kinematics", "fit", hand_shards, "--indices", "2:10:2", "--out", tmp_path, "--json")
    (value,) = json.loads(output)
    assert [hand["sample"] for hand in value["hands"]] == [2, 4, 6, 8]
    assert {hand["side"] for hand in value["hands"]} == {"left", "right"}
    assert all(hand["error_mm"]["mean"] < 0.2 for hand in value["hands"])
    with pytest.raises(UsageError, match="holds none of the requested samples: it has 0 to 11"):
        handmesh("kinematics", "fit", hand_shards, "--indices", "20:30", "--out", tmp_path)


def test_a_datasets_images_are_never_decoded(hand_shards, tmp_path, monkeypatch):
    """Vertices are all that a fit reads: of ManoRender's 57,280 samples the decoded images would take 11 GB."""

    def decode(*_):
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(shards, "decode_jpg", decode)
    (value,) = json.loads(handmesh("kinematics", "fit", hand_shards, "--out", tmp_path, "--json"))
    assert [hand["sample"] for hand in value["hands"]] == list(range(12))


def test_a_source_is_read_and_fitted_in_blocks(hand_shards, tmp_path, monkeypatch):
    """No more than a block's meshes are held, left ones among them, and the files are those of one block."""
    for size, folder in ((1024, "whole"), (5, "blocks")):
        monkeypatch.setattr(mesh_angles, "BLOCK", size)
        solve, counts = AngleSolver.__call__, []

        def counted(self, vertices, *arguments, solve=solve, counts=counts, **named):
            counts.append(len(vertices))
            return solve(self, vertices, *arguments, **named)

        with monkeypatch.context() as patch:
            patch.setattr(AngleSolver, "__call__", counted)
            handmesh("kinematics", "fit", hand_shards, "--out", tmp_path / folder)
        assert counts == ([12] if size == 1024 else [5, 5, 2])
    whole, blocks = (json.loads((tmp_path / folder / "tiny.angles.json").read_text()) for folder in ("whole", "blocks"))
    assert whole.keys() == blocks.keys()
    assert [hand["side"] for hand in whole["hands"]] == [hand["side"] for hand in blocks["hands"]]
    np.testing.assert_allclose(*([list(h["angles_deg"].values()) for h in v["hands"]] for v in (whole, blocks)), atol=0.1)
    tables = [list(csv.DictReader(open(tmp_path / folder / "tiny.angles.csv"))) for folder in ("whole", "blocks")]
    assert [row["sample"] for row in tables[0]] == [row["sample"] for row in tables[1]] == [str(n) for n in range(12)]
    fitted, again = (np.load(tmp_path / folder / "tiny.fitted.npy") for folder in ("whole", "blocks"))
    assert fitted.dtype == np.float32
    np.testing.assert_allclose(fitted, again, atol=1e-4)
    np.testing.assert_allclose(fitted, [ShardDataset(hand_shards).read(k).vertices for k in range(12)], atol=1e-3)


def test_a_bad_hand_in_a_later_block_leaves_no_files(tmp_path, monkeypatch):
    """It is named by its own number, and of the whole source nothing is written."""
    monkeypatch.setattr(mesh_angles, "BLOCK", 2)
    vertices = DRAWN.posed.vertices.copy()
    vertices[4, 7] = np.nan
    np.save(tmp_path / "six.npy", vertices)
    with pytest.raises(HandsynthError, match=r"six.npy: hand 4: 1 of 391 vertices hold NaN"):
        fit(tmp_path / "six.npy", "--out", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_hand_of_the_other_side_is_named(meshes, tmp_path):
    """A left hand without --left, a right one with it: one sentence each, which says what to type; a row of an array too."""
    out = ("--out", tmp_path / "out")
    with pytest.raises(UsageError, match=r"left.ply is a left hand: give --left$"):
        fit(meshes / "left.ply", *out)
    with pytest.raises(UsageError, match=r"one.obj is a right hand: leave out --left$"):
        fit(meshes / "one.obj", "--left", *out)
    with pytest.raises(UsageError, match=r"six.npy, hand 0, is a right hand: leave out --left$"):
        fit(meshes / "six.npy", "--left", *out)
    both = DRAWN.posed.vertices.copy()
    both[3] = mirror_points(both[3])
    np.save(tmp_path / "both.npy", both)
    with pytest.raises(UsageError, match=r"both.npy, hand 3, is a left hand: give --left$"):
        fit(tmp_path / "both.npy", *out)
    with pytest.raises(UsageError, match="is a left hand: give --left"):
        handmesh("kinematics", "solve", ik_run(tmp_path / "ik"), meshes / "left.ply", *out)
    assert not (tmp_path / "out").exists()


def test_a_sample_of_the_other_side_than_its_labels_say_is_damaged(hand_shards, tmp_path, monkeypatch):
    labels = ShardDataset.labels
    monkeypatch.setattr(ShardDataset, "labels", lambda self, k: labels(self, k) | {"side": "right"})
    with pytest.raises(HandsynthError, match=r"sample \d+ is a mirror image of the hand that its labels name"):
        handmesh("kinematics", "fit", hand_shards, "--out", tmp_path / "out")


def test_limits_are_reported_by_name(tmp_path):
    """An angle beyond its limits is found as it is, and named in JSON, CSV and on stdout."""
    angles = np.zeros((2, 23))
    angles[1, DOF_NAMES.index("ring_pip_flexion")] = dof_limits(HAND.joint_limits)[10, 1] + np.deg2rad(15)
    theta = np.concatenate([np.zeros((2, 1, 3)), embed(angles, hand_dof_matrix(HAND))], 1)
    np.save(tmp_path / "bent.npy", pose_hand(HAND, theta, np.zeros((2, 10))).vertices)
    output = fit(tmp_path / "bent.npy", "--out", tmp_path / "out")
    assert "beyond its limits in 1 of 2 hands, at worst: ring_pip_flexion is 104." in output
    assert "outside -1 to 90" in output
    straight, bent = json.loads((tmp_path / "out" / "bent.angles.json").read_text())["hands"]
    assert not straight["beyond_limits"]
    assert [found["name"] for found in bent["beyond_limits"]] == ["ring_pip_flexion"]
    with open(tmp_path / "out" / "bent.angles.csv") as file:
        assert [row["beyond_limits"] for row in csv.DictReader(file)] == ["", "ring_pip_flexion"]


def test_solve(meshes, tmp_path):
    """From an IK net's guess, however poor, 20 iterations reach the mesh; with none the guess itself is laid upon it."""
    run = ik_run(tmp_path / "ik")
    handmesh("kinematics", "solve", run, meshes / "one.obj", "--out", tmp_path / "out", "--format", "ply")
    assert 1000 * np.abs(read_mesh(tmp_path / "out" / "one.fitted.ply") - DRAWN.posed.vertices[0]).mean() < 0.1
    output = json.loads(
        handmesh("kinematics", "solve", run, meshes / "one.obj", "--out", tmp_path / "raw", "--refine", 0, "--json")
    )
    assert output[0]["start"] == "IK net of 23 angles"
    assert output[0]["hands"][0]["error_mm"]["mean"] > 1


def test_known_shape(meshes, tmp_path):
    """--shape takes what `fit` wrote of a hand and keeps it; a net with known shapes asks for it."""
    fit(meshes / "one.obj", "--out", tmp_path)
    shape = tmp_path / "one.angles.json"
    output = json.loads(fit(meshes / "six.npy", "--shape", shape, "--out", tmp_path / "out", "--json"))
    beta = json.loads(shape.read_text())["hands"][0]["beta"]
    assert output[0]["shape"] == "known"
    np.testing.assert_allclose([hand["beta"] for hand in output[0]["hands"]], [beta] * 6, atol=1e-5)
    run = ik_run(tmp_path / "ik", known_shape=True)
    with pytest.raises(UsageError, match="give the hand's with --shape"):
        handmesh("kinematics", "solve", run, meshes / "one.obj", "--out", tmp_path / "out")
    handmesh("kinematics", "solve", run, meshes / "one.obj", "--shape", shape, "--out", tmp_path / "out")
    (tmp_path / "bad.json").write_text("[1, 2]")
    with pytest.raises(UsageError, match=r"expected JSON with 10 numbers as `beta`"):
        fit(meshes / "one.obj", "--shape", tmp_path / "bad.json", "--out", tmp_path)


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda v: 1000 * v, UsageError, r"bad.npy: hand 0 is .* looks like millimetres"),
        (lambda v: v[:, :-1], UsageError, "bad.npy: the mesh has 390 vertices, hand model 'toy' has 391"),
        (lambda v: np.where(np.arange(391)[:, None] == 7, np.nan, v), HandsynthError, "hand 0: 1 of 391 vertices hold NaN"),
        (lambda v: mirror_points(v), UsageError, "bad.npy, hand 0, is a left hand: give --left"),
        (lambda v: v[:, np.random.default_rng(0).permutation(391)], UsageError, "vertices are in another order"),
        (lambda v: v[..., :2], UsageError, r"shape \(6, 391, 2\)"),
        (lambda v: v.astype(int), UsageError, "expected floats of shape"),
        (lambda v: v[:0], UsageError, "expected floats of shape"),
    ],
)
def test_bad_meshes(spoil, error, message, tmp_path):
    """One sentence that names the file; nothing is written."""
    np.save(tmp_path / "bad.npy", spoil(DRAWN.posed.vertices))
    with pytest.raises(error, match=message):
        fit(tmp_path / "bad.npy", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_files(meshes, tmp_path):
    """No mesh, no file, a pickle, an image, results among the sources, a strange range, two of a name."""
    out = ("--out", tmp_path / "out")
    for name, content in (
        ("text.obj", b"hello"),
        ("cut.ply", (meshes / "left.ply").read_bytes()[:2000]),
        ("noise.ply", b"\0" * 99),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(HandsynthError, match=f"{name} cannot be read as a mesh"):
            fit(tmp_path / name, *out)
    np.save(tmp_path / "pickle.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(HandsynthError, match=r"pickle.npy cannot be read as an array"):
        fit(tmp_path / "pickle.npy", *out)
    for name in ("none.obj", "none.npy"):
        with pytest.raises(UsageError, match=f"{name} does not exist"):
            fit(tmp_path / name, *out)
    with pytest.raises(UsageError, match=r"hand.jpg is no mesh .*handmesh predict IMAGE"):
        fit(tmp_path / "hand.jpg", *out)
    with pytest.raises(UsageError, match="--mesh-run"):
        handmesh("kinematics", "solve", ik_run(tmp_path / "ik"), tmp_path / "hand.jpg", *out)
    with pytest.raises(UsageError, match="where the results go"):
        fit(meshes / "one.obj", "--out", meshes)
    for text in ("5", "4:2", "0:9:0", "-1:2", "a:b"):
        with pytest.raises(UsageError, match="expected A:B"):
            fit(meshes / "one.obj", "--indices", text, *out)
    with pytest.raises(UsageError, match="no mesh format 'stl'"):
        fit(meshes / "one.obj", "--format", "stl", *out)


def test_another_hand(meshes, tmp_path):
    """The embedded hand's model takes no mesh of the toy hand."""
    with pytest.raises(UsageError, match=r"one.obj: the mesh has 391 vertices, hand model 'embedded' has 778"):
        handmesh("kinematics", "fit", meshes / "one.obj", "--hand", "embedded", "--out", tmp_path)


def test_obj_with_textures_keeps_its_order(meshes, tmp_path):
    """Texture coordinates, normals and a material that is not there neither split nor reorder the vertices."""
    lines = (meshes / "one.obj").read_text().splitlines()
    faces = [line.split()[1:] for line in lines if line.startswith("f ")]
    lines = [line for line in lines if not line.startswith("f ")]
    lines = ["mtllib ../../secret.mtl", "usemtl skin", *lines, "vt 0 0", "vt 1 1", "vn 0 0 1"]
    lines += ["f " + " ".join(f"{corner.split('/')[0]}/{1 + k % 2}/1" for k, corner in enumerate(face)) for face in faces]
    (tmp_path / "textured.obj").write_text("\n".join(lines) + "\n")
    np.testing.assert_allclose(read_mesh(tmp_path / "textured.obj"), read_mesh(meshes / "one.obj"), atol=1e-6)


# Images


@pytest.fixture(scope="module")
def image(hand_shards, tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "hand.png"
    cv2.imwrite(str(path), ShardDataset(hand_shards).read(0).image[..., ::-1])
    return path


@pytest.mark.parametrize("side", ["right", "left"])
def test_predict_kinematics(side, image, tmp_path):
    """Angles in JSON and CSV, the fitted mesh and its panel beside the others; the predicted mesh is what it is without."""
    run = write_untrained(tmp_path / "run", HAND)
    # An untrained net's palm is a point, which would be kilometres away, where float32 holds no hundredth of a millimetre.
    flags = ("--detector", "none", "--root-depth", 0.6, *(("--left",) if side == "left" else ()))
    (plain,) = json.loads(handmesh("predict", run, image, *flags, "--no-kinematics", "--out", tmp_path / "plain", "--json"))
    (value,) = json.loads(handmesh("predict", run, image, *flags, "--out", tmp_path / "out", "--json"))
    (plain_hand,), (hand,) = plain["hands"], value["hands"]
    assert plain_hand["keypoints_cam"] == hand["keypoints_cam"]
    assert "kinematics" not in plain_hand
    assert tuple(hand["kinematics"]["angles_deg"]) == DOF_NAMES
    names = {"hand.json", "hand.glb", "hand.obj", "hand.overlay.png", "hand.fitted.obj", "angles.csv", "predictions.jsonl"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    narrow, wide = (cv2.imread(str(tmp_path / folder / "hand.overlay.png")).shape for folder in ("plain", "out"))
    assert wide[1] > 1.3 * narrow[1]
    given, fitted = read_mesh(tmp_path / "out" / "hand.obj"), read_mesh(tmp_path / "out" / "hand.fitted.obj")
    error = 1000 * np.linalg.norm(given - fitted, axis=1).mean()
    assert error == pytest.approx(hand["kinematics"]["error_mm"]["mean"], abs=0.01)
    with open(tmp_path / "out" / "angles.csv") as file:
        (row,) = csv.DictReader(file)
    assert (row["image"], row["hand"]) == (str(image), "1")
    assert float(row["index_pip_flexion_deg"]) == hand["kinematics"]["angles_deg"]["index_pip_flexion"]


def test_images_through_both_nets(image, meshes, tmp_path):
    """`kinematics solve --mesh-run` takes images beside meshes; an IK run of another kind or hand is refused."""
    run, ik = write_untrained(tmp_path / "run", HAND), ik_run(tmp_path / "ik")
    output = handmesh("kinematics", "solve", ik, image, meshes / "one.obj", "--mesh-run", run, "--out", tmp_path / "out")
    assert "hand.overlay.png" in output
    assert "one.angles.csv" in output
    value = json.loads((tmp_path / "out" / "hand.json").read_text())
    assert value["angles"]["start"] == "IK net of 23 angles"
    with pytest.raises(UsageError, match="is a run of handmesh train mesh, where one of handmesh train ik is needed"):
        handmesh("predict", run, image, "--ik-run", run, "--out", tmp_path / "out")
    with pytest.raises(UsageError, match="is a run of handmesh train ik, where one of handmesh train mesh is needed"):
        handmesh("predict", ik, image, "--out", tmp_path / "out")
    other = write_untrained(tmp_path / "other", hand_of("embedded"))
    with pytest.raises(UsageError, match="trained on hand model 'toy', the meshes are of another, 'embedded'"):
        handmesh("predict", other, image, "--ik-run", ik, "--out", tmp_path / "out")


def test_evaluate_starts_from_an_ik_net(hand_shards, tmp_path):
    """`evaluate --ik-run` implies --kinematics and says where angles start; a run of another kind is refused, nothing is made."""
    run, ik = write_untrained(tmp_path / "run", HAND), ik_run(tmp_path / "ik")
    requested = ("evaluate", run, "--data", hand_shards, "--device", "cpu", "--out", tmp_path / "out", "--json", "--ik-run")
    with pytest.raises(UsageError, match="is a run of handmesh train mesh, where one of handmesh train ik is needed"):
        handmesh(*requested, run)
    assert not (tmp_path / "out").exists()
    found = json.loads(handmesh(*requested, ik))
    assert found["kinematics"]["start"] == "IK net of 23 angles"
    assert found["groups"][0]["fitted_pa_mpjpe_mm"] > 0


def test_table4_evaluates_a_mesh_nets_meshes(hand_shards, tmp_path, monkeypatch):
    """`benchmarks/table4.py --mesh-run`: left hands become right ones, and every row of the table is evaluated on them."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    table4 = importlib.import_module("table4")
    data = ShardDataset(hand_shards, HAND)
    meshes = table4._predicted(write_untrained(tmp_path / "run", HAND), hand_shards, HAND)
    for true, record in zip(meshes.true_vertices, (data.read(k) for k in range(12)), strict=True):
        expected = mirror_points(record.vertices) if record.side == "left" else record.vertices
        np.testing.assert_allclose(true, expected, atol=1e-6)
    kinds = {"ik-45": (45, False), "ik-45-known": (45, True), "ik-23": (23, False), "ik-23-known": (23, True)}
    runs = {name: load_ik_run(ik_run(tmp_path / name, known, dofs)) for name, (dofs, known) in kinds.items()}
    rows = table4._evaluate(HAND, meshes, runs)
    assert {row["row"] for row in rows} >= {"the mesh itself", *table4.PAPER}
    assert all(row["hands"] == 12 and np.isfinite(row["pa_mpjpe_mm"]) for row in rows)


def test_videos(tmp_path):
    """A row a frame in the CSV, a plot over time, and angles in the JSON lines."""
    write_clip(tmp_path / "film.mp4", render_clip(3))
    handmesh("predict", tmp_path / "film.mp4", "--detector", "none", "--out", tmp_path / "out")
    names = {"film.jsonl", "film.overlay.mp4", "film.angles.csv", "film.angles.png"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    rows = [json.loads(line) for line in (tmp_path / "out" / "film.jsonl").read_text().splitlines()]
    with open(tmp_path / "out" / "film.angles.csv") as file:
        output = list(csv.DictReader(file))
    assert [(int(row["frame"]), row["track"]) for row in output] == [(0, "1"), (1, "1"), (2, "1")]
    for row, line in zip(output, rows, strict=True):
        (hand,) = line["hands"]
        assert float(row["index_pip_flexion_deg"]) == hand["kinematics"]["angles_deg"]["index_pip_flexion"]


def test_train_ik_command(tmp_path):
    """Flags reach the training, and the closing line says what came of it."""
    (tmp_path / "small.yaml").write_text("widths: [8, 8, 8]\nepochs: 1\nepoch_hands: 64\n")
    output = handmesh(
        "train", "ik", tmp_path / "small.yaml", "--hand", "toy", "--dof", 45, "--out", tmp_path / "run", "--device", "cpu"
    )
    assert "ik-45 of the toy hand, 1 epochs; on 1 validation poses" in output
