"""A net over a whole dataset: predictions, truth and losses in the samples' own cameras, as arrays."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from handmesh.data.crop import lixels_to_camera
from handmesh.data.dataset import HandDataset, load_batches
from handmesh.losses import Target, inside, lixel_losses
from handmesh.nets.mesh_net import HandMeshNet, Prediction
from handsynth.core.errors import UsageError


@dataclass(frozen=True, eq=False)
class Predicted:
    """N samples in the order of their dataset; camera frame of each sample [m], left hands as left hands."""

    keypoints: np.ndarray  # (N, 21, 3) regressed from the vertices
    vertices: np.ndarray  # (N, V, 3)
    true_keypoints: np.ndarray  # (N, 21, 3)
    true_vertices: np.ndarray  # (N, V, 3)
    squares_over_variance: tuple[np.ndarray, np.ndarray]  # (N, 21, 3) and (N, V, 3), see that function
    dataset: np.ndarray  # (N,) number of the dataset in the mix
    sample: np.ndarray  # (N,) number of the sample in its spec
    losses: dict[str, np.ndarray]  # terms of equation 4 by name, (N,) each


@torch.no_grad()
def predict_dataset(
    net: HandMeshNet, data: HandDataset, faces: np.ndarray, batch: int, workers: int, device: torch.device, bar: bool = False
) -> Predicted:
    """Runs the net over every sample of `data`, which should crop plainly (NO_AUGMENTATION). The net's mode is kept.

    The depth of the wrist is the true one, as in the original's evaluation: the nets are relative to it.

    Args:
        net: on `device`.
        data: the samples.
        faces: (F, 3) of the hand.
        batch: samples at a time.
        workers: loading processes; 0 loads in this one.
        device: where the net is.
        bar: shows progress on stderr.

    Raises UsageError when there is no sample, HandsynthError when one is damaged (unless the data skip those).
    """
    if not len(data):
        raise UsageError("there is no sample to evaluate: the dataset is empty")
    was_training = net.training
    net.eval()
    triangles = torch.as_tensor(faces.astype(np.int64), device=device)
    batches = [range(start, min(start + batch, len(data))) for start in range(0, len(data), batch)]
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    loaded = load_batches(data, batches, workers, device)
    for sample in tqdm(loaded, "evaluating", len(batches), disable=not bar, unit="batch"):
        prediction = net(sample.image)  # channels last, as the net is
        keypoints = net.regress_keypoints(prediction.vertices)
        target = Target(*(t.to(device) for t in sample.target))
        for name, term in lixel_losses(prediction, keypoints, target, triangles).items():
            found["loss " + name].append(term.cpu().numpy())

        root, K, R = (t.numpy().astype(np.float64) for t in (sample.root_depth, sample.K, sample.R_crop_cam))
        vertices = lixels_to_camera(prediction.vertices.cpu().numpy(), root, K, R, data.side)
        found["vertices"].append(vertices)
        found["keypoints"].append(np.einsum("pv,bvc->bpc", net.keypoint_regressor.cpu().numpy(), vertices))
        found["true_keypoints"].append(sample.keypoints_m.numpy() @ R)
        found["true_vertices"].append(sample.vertices_m.numpy() @ R)
        for name, squares in zip(("keypoint squares", "vertex squares"), squares_over_variance(prediction, target), strict=True):
            found[name].append(squares.cpu().numpy())
        found["dataset"].append(sample.dataset.numpy())
        found["sample"].append(sample.sample.numpy())
    net.train(was_training)
    whole = {name: np.concatenate(parts) for name, parts in found.items()}
    losses = {name.removeprefix("loss "): whole.pop(name) for name in list(whole) if name.startswith("loss ")}
    squares_of_both = whole.pop("keypoint squares"), whole.pop("vertex squares")
    return Predicted(**whole, squares_over_variance=squares_of_both, losses=losses)


def squares_over_variance(prediction: Prediction, target: Target) -> tuple[Tensor, Tensor]:
    """How sure a net is against how right: squares of its errors over its variances, 1 at the mean where these are as large.

    Returns (B, 21, 3) of PoseNet's keypoints and (B, V, 3) of the vertices, along x, y and z of the crop; NaN for points outside
    the heatmaps, which a net cannot place.
    """
    pairs = (prediction.keypoints, prediction.keypoints_std), (prediction.vertices, prediction.vertices_std)
    keypoints, vertices = (
        ((position - true) / std).square().masked_fill(inside(true).unsqueeze(-1) == 0, torch.nan)
        for (position, std), true in zip(pairs, target, strict=True)
    )
    return keypoints, vertices


def axis_ratios(squares: np.ndarray) -> np.ndarray:
    """(N, P, 3) squares over variances -> (3,) errors over standard deviations: root mean squares, in which hands count alike."""
    return _root(_mean(_mean(squares, 1), 0))


def point_ratios(squares: np.ndarray) -> np.ndarray:
    """(N, P, 3) squares over variances -> (P, 3) errors over standard deviations of each point: root mean squares over hands."""
    return _root(_mean(squares, 0))


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Without NaN; NaN where there is nothing else."""
    known = np.isfinite(values)
    counts = known.sum(axis)
    sums = np.where(known, values, 0).sum(axis, dtype=np.float64)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def _root(values: np.ndarray) -> np.ndarray:
    """1 where nothing is known."""
    return np.sqrt(np.where(np.isnan(values), 1, values))
