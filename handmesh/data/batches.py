"""Batches as training takes them: one sample as tensors, and many, put one by one into the arrays of a batch."""

from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from handmesh.data.augment import AugmentSpec, Drawn
from handmesh.data.colours import Colours, to_colours
from handmesh.data.crop import LabelledCrop, Placed, label_crops
from handmesh.data.shards import Record, rotations_before_camera
from handmesh.losses import Target


class Batch(NamedTuple):
    """Samples with a leading batch axis B; a single sample has none. Side S, V vertices, float32."""

    image: Tensor  # (B, 3, S, S) sRGB in [0, 1]
    keypoints: Tensor  # (B, 21, 3) lixels
    vertices: Tensor  # (B, V, 3) lixels
    keypoints_m: Tensor  # (B, 21, 3) camera frame of the crop [m]
    vertices_m: Tensor  # (B, V, 3) camera frame of the crop [m]
    root_depth: Tensor  # (B,) depth of the wrist [m]
    K: Tensor  # (B, 3, 3) of the crop [px]
    R_crop_cam: Tensor  # (B, 3, 3) from the camera frame of the sample to that of the crop; mirrors left hands
    dataset: Tensor  # (B,) number of the dataset in the mix
    sample: Tensor  # (B,) number of the sample in its spec (its JSON's index)
    rotations: Tensor  # (B, 16, 3, 3) as of `LabelledCrop`
    beta: Tensor  # (B, S)
    replaced: Tensor  # (B,) damaged samples that were passed over to find this one

    @property
    def target(self) -> Target:
        """What the losses ask for; points outside the heatmaps are masked there, by `losses.inside`."""
        return Target(self.keypoints, self.vertices)


class Raw(NamedTuple):
    """A batch on its way: labels done, pixels still to be finished on the device (`HandDataset.finish`)."""

    batch: Batch  # but for the image: (B, S, S, 3) uint8, or (B, S, S, 0) where the device has the pixels
    colours: Colours
    place: Tensor  # (B, 9) float64: where the device finds the pixels (`cache.CachedHands`); (B, 0) where they are in the batch


Tree = TypeVar("Tree", bound=tuple[Any, ...])


def to_device(tree: Tree, device: torch.device) -> Tree:
    """A NamedTuple of tensors, or of such tuples, on the device, without waiting for it."""
    made: Any = type(tree)
    return made(*(to_device(v, device) if isinstance(v, tuple) else v.to(device, non_blocking=True) for v in tree))  # type: ignore[no-any-return]


class BatchMaker:
    """A batch in the making, of at most `size` samples: crops of `side` pixels in `channels` channels, 0 for none.

    Only pixels are worked on while samples come, each while its image lies in the processor's cache. Labels are made of all
    samples at once by `raw`, since arithmetic on arrays as small as one sample's costs by the number of arrays.
    """

    def __init__(self, size: int, side: int, spec: AugmentSpec, channels: int = 3) -> None:
        self.side, self._spec = side, spec
        self._images = np.empty((size, side, side, channels), np.uint8)
        self._rows: list[tuple[Any, ...]] = []

    @property
    def image(self) -> np.ndarray:
        """(side, side, channels) uint8: where the pixels of the next sample go, whoever writes them."""
        return self._images[len(self._rows)]

    def add(
        self,
        record: Record,
        placed: Placed,
        drawn: Drawn,
        dataset: int = 0,
        replaced: int = 0,
        amplitudes: np.ndarray | None = None,
        place: np.ndarray = np.empty(0),
    ) -> None:
        """Takes a sample, whose pixels are in `image`: the last four as of `Batch`, `colours.Colours` and `Raw`."""
        labels = record.keypoints, record.vertices, record.theta, record.R_cam_world, record.beta, record.side == "left"
        self._rows.append((*labels, placed.K, placed.R_crop_cam, drawn, dataset, record.index, replaced, amplitudes, place))

    def raw(self) -> Raw:
        """The samples taken, in their order."""
        *arrays, drawn, dataset, sample, replaced, amplitudes, place = zip(*self._rows, strict=True)
        keypoints, vertices, theta, R_cam_world, beta, left, K, R_crop_cam = (np.array(column) for column in arrays)
        rotations = rotations_before_camera(theta, R_cam_world)
        labels = label_crops(keypoints, vertices, rotations, left, K, R_crop_cam, self.side)
        batch = Batch(
            image=torch.from_numpy(self._images[: len(self._rows)]),
            keypoints=_floats(labels.lixels[:, : keypoints.shape[1]]),
            vertices=_floats(labels.lixels[:, keypoints.shape[1] :]),
            keypoints_m=_floats(labels.keypoints),
            vertices_m=_floats(labels.vertices),
            root_depth=_floats(labels.keypoints[:, 0, 2]),
            K=_floats(K),
            R_crop_cam=_floats(R_crop_cam),
            rotations=_floats(labels.rotations),
            beta=_floats(beta),
            dataset=torch.tensor(dataset),
            sample=torch.tensor(sample),
            replaced=torch.tensor(replaced),
        )
        return Raw(batch, to_colours(self._spec, drawn, amplitudes), torch.from_numpy(np.array(place)))


def to_tensors(crop: LabelledCrop, image: np.ndarray, dataset: int, index: int, replaced: int) -> Batch:
    """A single sample, its (S, S, 3) float image as of `augment.augment`, and the numbers that `Batch` keeps of it.

    The slow twin of what `BatchMaker` makes of many.
    """
    return Batch(
        image=_floats(image.transpose(2, 0, 1)),
        keypoints=_floats(crop.lixels(crop.keypoints)),
        vertices=_floats(crop.lixels(crop.vertices)),
        keypoints_m=_floats(crop.keypoints),
        vertices_m=_floats(crop.vertices),
        root_depth=torch.tensor(crop.root_depth, dtype=torch.float32),
        K=_floats(crop.K),
        R_crop_cam=_floats(crop.R_crop_cam),
        rotations=_floats(crop.rotations),
        beta=_floats(crop.beta),
        dataset=torch.tensor(dataset),
        sample=torch.tensor(index),
        replaced=torch.tensor(replaced),
    )


def _floats(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(array, np.float32, order="C"))
