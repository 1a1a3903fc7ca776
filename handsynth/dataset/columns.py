"""A dataset read sample by sample, and what statistics and pages need of all of them, as arrays."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from handsynth.core.sample import decode_labels
from handsynth.core.shard import Members
from handsynth.dataset.folder import Folder, read_samples
from handsynth.image.encode import decode_jpeg, decode_png
from handsynth.recipe.recipe import Recipe, recipe_from_dict


@dataclass(frozen=True, eq=False)
class Stored:
    """One sample as it lies in its shard, decoded."""

    where: str  # for messages
    members: Members
    labels: dict[str, Any]
    recipe: Recipe
    image: np.ndarray  # (H, W, 3) uint8 sRGB
    mask: np.ndarray  # (H, W) bool

    @property
    def hand_brightness(self) -> float:
        """Mean sRGB level of what is seen of the hand, 0 to 255; NaN where nothing is."""
        return float(self.image[self.mask].mean()) if self.mask.any() else float("nan")


def read_stored(folder: Folder, index: dict[str, Any]) -> Iterator[Stored]:
    """Every sample of a dataset. Raises HandsynthError naming shard and sample where one is damaged or lacks an image."""
    for entry in index["shards"]:
        for number, members in read_samples(folder, entry["name"]):
            where = f"{entry['name']}, sample {number}"
            labels = decode_labels(members, where, index)
            yield Stored(
                where,
                members,
                labels,
                recipe_from_dict(labels["recipe"], where, len(labels["beta"])),
                decode_jpeg(members.get("jpg", b""), where),
                decode_png(members.get("mask.png", b""), f"{where}, mask") > 0,
            )


@dataclass
class Columns:
    """Values of N samples."""

    labels: list[dict[str, Any]] = field(default_factory=list)  # without the recipe
    recipes: list[Recipe] = field(default_factory=list)
    mask_share: list[float] = field(default_factory=list)
    hand_brightness: list[float] = field(default_factory=list)  # mean sRGB level, 0 to 255; NaN where no pixel is the hand's

    def add(self, sample: Stored) -> None:
        """Takes what is needed of one more."""
        self.labels.append({key: sample.labels.get(key) for key in _KEPT})
        self.recipes.append(sample.recipe)
        self.mask_share.append(float(sample.mask.mean()))
        self.hand_brightness.append(sample.hand_brightness)

    def of(self, name: str) -> np.ndarray:
        """A label of all samples, stacked."""
        return np.array([labels[name] for labels in self.labels])

    def camera(self, name: str) -> np.ndarray:
        """(N,) of a number of the recipes' cameras."""
        return np.array([getattr(recipe.camera, name) for recipe in self.recipes])

    @property
    def hand_px(self) -> np.ndarray:
        """(N,) the longer side of the hand's box [px]."""
        box = self.of("bbox_xyxy")
        return (box[:, 2:] - box[:, :2]).max(1)

    @property
    def visible_share(self) -> np.ndarray:
        """Of the samples whose schema has it."""
        return np.array([labels["visible_share"] for labels in self.labels if labels["visible_share"] is not None])


_KEPT = (
    "index", "side", "image_size", "keypoints_cam", "keypoints_visible", "visible_share", "bbox_xyxy", "background", "arm",
    "clothing", "object", "occluder", "hands",
)  # fmt: skip
