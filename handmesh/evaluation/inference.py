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
    error_over_std: np.ndarray  # (N, 2, 3) root mean squares; PoseNet's keypoints and the vertices; x, y and z of the crop
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
        found["error_over_std"].append(error_over_std(prediction, target).cpu().numpy())
        found["dataset"].append(sample.dataset.numpy())
        found["sample"].append(sample.sample.numpy())
    net.train(was_training)
    whole = {name: np.concatenate(parts) for name, parts in found.items()}
    losses = {name.removeprefix("loss "): whole.pop(name) for name in list(whole) if name.startswith("loss ")}
    return Predicted(**whole, losses=losses)


def error_over_std(prediction: Prediction, target: Target) -> Tensor:
    """How sure a net is against how right: 1 where its standard deviations are as large as its errors, less where it is too modest.

    Returns (B, 2, 3) root mean squares over PoseNet's keypoints and over the vertices, along x, y and z; points outside the
    heatmaps, which a net cannot place, are left out: NaN for a hand that has no others.
    """
    found = []
    for position, std, true in zip(prediction[::2], prediction[1::2], target, strict=True):
        seen = inside(true).unsqueeze(-1)
        squares = ((position - true) / std).square() * seen
        found.append((squares.sum(1) / seen.sum(1)).sqrt())
    return torch.stack(found, 1)


def root_mean_square(values: np.ndarray) -> np.ndarray:
    """Over the first axis, without its NaN; 1 where there is nothing else."""
    known = np.isfinite(values)
    squares = np.where(known, np.square(values), 0).sum(0)
    return np.sqrt(np.where(known.any(0), squares / np.maximum(known.sum(0), 1), 1))
