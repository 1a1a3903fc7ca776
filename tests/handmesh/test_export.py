"""Export: the ONNX file computes what the net computes, for any number of images, and says what it is."""

import importlib.util

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from handmesh.estimation import onnx as onnx_module
from handmesh.estimation.backends import OnnxNet
from handmesh.estimation.onnx import INPUT, OUTPUTS, check_onnx, export_onnx
from handmesh.keypoints import keypoint_regressor
from handmesh.nets.mesh_net import HandMeshNet
from handmesh.nets.registry import create_net, list_nets
from handsynth.core.errors import AssetError, HandsynthError
from handsynth.core.toy import toy_hand

HAND = toy_hand()
SIDE = 64


def images(count: int) -> torch.Tensor:
    """Coarse ones, which differ in more than their grain."""
    return torch.nn.functional.interpolate(torch.rand(count, 3, 8, 8), size=(SIDE, SIDE), mode="bilinear")


def lively_net(name: str) -> HandMeshNet:
    """An untrained net whose answers depend on the image: decoders with weights that are not tiny, norms that know images.

    As few passes as will do: an untrained net with all its norms in place turns rounding errors into visible ones.
    """
    torch.manual_seed(0)
    net = create_net(name, keypoint_regressor(HAND), pretrained=False)
    for part in (net.pose_decoder, net.aggregation, net.mesh_decoder):
        for module in part.modules():
            if isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.ConvTranspose1d | torch.nn.ConvTranspose2d):
                torch.nn.init.kaiming_normal_(module.weight)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = 0.5
    image = images(8)
    with torch.no_grad():
        for _ in range(40):
            net.train()(image)
            if net.eval()(image).vertices.std(0).median() > 5e-3:
                return net
    raise AssertionError("it answers the same to every image")


def check(name: str, path) -> None:
    """The file differs from the net by no more than the net from itself when its input is rounded differently."""
    net = lively_net(name)
    export_onnx(net, HAND, name, SIDE, path)
    image = images(5)
    with torch.no_grad():
        wanted = net(image)
        rounded = [net(image + 1e-7 * torch.randn_like(image)).vertices - wanted.vertices for _ in range(4)]
    tolerance = 5 * float(torch.stack(rounded).abs().max()) + 1e-5
    check_onnx(net, SIDE, path, (1, 2, 5), tolerance)
    # Images and vertices differ by much more than that, so that an error would be seen.
    assert wanted.vertices.std(0).median() > 5 * tolerance
    assert wanted.vertices.std(1).min() > 5 * tolerance

    # Once more by hand: `check_onnx` itself may be wrong.
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    keypoints, vertices, vertices_std, keypoints_std = session.run(None, {INPUT: image.numpy()})
    np.testing.assert_allclose(vertices, wanted.vertices, atol=tolerance)
    np.testing.assert_allclose(vertices_std, wanted.vertices_std, atol=tolerance)
    np.testing.assert_allclose(keypoints_std, wanted.keypoints_std, atol=tolerance)
    np.testing.assert_allclose(keypoints, keypoint_regressor(HAND) @ wanted.vertices.numpy(), atol=tolerance)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "fast.onnx"
    check("lite-fast", path)
    return path


def test_lite_fast(exported):
    """The file is one file, valid, and names its inputs, outputs, hand and units."""
    assert [p.name for p in exported.parent.iterdir()] == ["fast.onnx"]
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert [(i.name, i.type.tensor_type.shape.dim[0].dim_param) for i in model.graph.input] == [(INPUT, "batch")]
    assert [o.name for o in model.graph.output] == list(OUTPUTS)
    message = {prop.key: prop.value for prop in model.metadata_props}
    assert (message["net"], message["hand_digest"], message["side_px"]) == ("lite-fast", HAND.digest, str(SIDE))
    assert "z: 64 to 0.3 m" in message["lixels"]


@pytest.mark.long
@pytest.mark.parametrize("name", [info.name for info in list_nets() if info.name != "lite-fast"])
def test_every_net(name, tmp_path):
    check(name, tmp_path / "net.onnx")


def test_another_net_is_noticed(exported):
    """A file whose weights are not the net's is refused."""
    torch.manual_seed(1)
    other = create_net("lite-fast", keypoint_regressor(HAND), pretrained=False).eval()
    with pytest.raises(HandsynthError, match="differs from the net by"):
        check_onnx(other, SIDE, exported)


def test_a_file_whose_graph_takes_other_images_than_it_says_is_damaged(exported, tmp_path):
    """onnxruntime notices it at the first image only: one sentence, as for a file that does not open."""
    model = onnx.load(exported)
    (said,) = (prop for prop in model.metadata_props if prop.key == "side_px")
    said.value = str(SIDE // 2)
    onnx.save(model, tmp_path / "other.onnx")
    net = OnnxNet(tmp_path / "other.onnx")
    with pytest.raises(HandsynthError, match="takes another input than its metadata say") as raised:
        net(np.zeros((1, SIDE // 2, SIDE // 2, 3), np.uint8))
    assert "\n" not in str(raised.value)


def test_missing_packages(monkeypatch, tmp_path):
    """Without ONNX's packages the message says what to type, and nothing is written."""
    find = importlib.util.find_spec
    monkeypatch.setattr(onnx_module.importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else find(name))
    with pytest.raises(AssetError, match=r"pip install 'handsynth\[onnx\]'"):
        export_onnx(lively_net("lite-fast"), HAND, "lite-fast", SIDE, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
