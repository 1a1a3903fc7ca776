"""Crowds against their index, geometry and pixels: every hand of an image as `verify` checks a single one, and what hides it."""

from functools import cached_property
from typing import Any

import numpy as np

from handsynth.core.errors import HandsynthError
from handsynth.core.sample import decode_labels, decode_npy
from handsynth.core.shard import Members
from handsynth.crowd_labels import CrowdLabeller, hand_pixels
from handsynth.dataset.hand_checks import (
    POSED_M,
    STRAY_PIXELS,
    STRAY_SHARE,
    check_hand_against,
    check_light,
    check_pose,
    check_projections,
)
from handsynth.image.encode import chroma_of, decode_jpeg, decode_png
from handsynth.recipe.crowd import CrowdRecipe, crowd_recipe_from_dict
from handsynth.recipe.recipe import Recipe
from handsynth.scene.held.things import Things
from handsynth.scene.pose import PoseStage
from handsynth.scene.wear.dress import Dress

BORDER_SHARE = 0.05
"""So many of the pixels along the outline of what hides a hand may differ besides: a pixel is covered when half of it is."""

SHARE_ERROR = 0.001
"""visible_share must be this near to what geometry gives, and bounds within a pixel."""


class CrowdChecks:
    """Checks the samples of one dataset."""

    def __init__(self, index: dict[str, Any], poses: PoseStage | None, things: Things | None) -> None:
        """`poses` and `things`: of the dataset's hand; None where it is not on this machine."""
        self._index, self._poses, self._things = index, poses, things
        spec = index["spec"]
        self._size = int(spec["image_size"]), int(spec["crowd"]["height"])

    def check(self, members: Members, where: str, number: int, again: bool) -> int:
        """One sample. With `again`, its hands are posed anew where this is possible; returns how many were.

        Raises HandsynthError.
        """
        labels = decode_labels(members, where, self._index)
        if labels["dataset"] != self._index["dataset"] or labels["index"] != number:
            raise HandsynthError(f"{where}: belongs to another dataset or is another sample ({labels['index']!r:.20})")
        width, height = self._size
        if labels["image_size"] != [width, height]:
            raise HandsynthError(f"{where}: image_size is {labels['image_size']}, its dataset's is {[width, height]}")
        count, image = len(labels["hands"]), decode_jpeg(members.get("jpg", b""), where)
        mask = decode_png(members.get("mask.png", b""), f"{where}, mask")
        if image.shape != (height, width, 3) or mask.shape != (height, width) or mask.dtype != np.uint8:
            raise HandsynthError(f"{where}: image {image.shape} or mask {mask.shape} is not {width} x {height} pixels")
        if mask.max() > count:
            raise HandsynthError(f"{where}: the mask holds {mask.max()}, and labels {count} hands")
        vertices = decode_npy(members.get("vertices.npy", b""), f"{where}, vertices")
        shape = count, self._index["num_vertices"], 3
        if vertices.shape != shape or vertices.dtype != np.float32 or not np.isfinite(vertices).all():
            raise HandsynthError(f"{where}: vertices.npy is not {shape} finite float32 numbers")
        if count and vertices[..., 2].min() <= 0:
            raise HandsynthError(f"{where}: vertices lie behind the camera")
        recipe = crowd_recipe_from_dict(labels["recipe"], where, self._index["num_shapes"], width)
        self._check_scene(labels, recipe, members, where)
        for k, (hand, own) in enumerate(zip(labels["hands"], recipe.hands, strict=True)):
            _check_hand(labels | hand, own, vertices[k], mask == k + 1, self._index["fingertips"], f"{where}, hand {k}")
        if self._poses is None or not again or not self._knows(recipe):
            return 0
        self._check_again(labels, recipe, vertices, mask, where)
        return count

    def _knows(self, recipe: CrowdRecipe) -> bool:
        """Whether the shapes of everything that is held, or stands about, are here."""
        held = [layer.held.shape for layer in recipe.layers if layer.held]
        return self._things is not None and all(self._things.knows(shape) for shape in held)

    def _check_scene(self, labels: dict[str, Any], recipe: CrowdRecipe, members: Members, where: str) -> None:
        """What all hands of an image share."""
        if len(recipe.hands) != len(labels["hands"]):
            raise HandsynthError(f"{where}: the recipe has {len(recipe.hands)} hands, the labels {len(labels['hands'])}")
        focal, (width, height) = recipe.scene.camera.focal_px, self._size
        if labels["K"] != [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]:
            raise HandsynthError(f"{where}: K is not that of the recipe")
        if (chroma := chroma_of(members["jpg"], where)) != recipe.scene.sensor.chroma:
            raise HandsynthError(f"{where}: the JPEG's chroma is {chroma}, the recipe's {recipe.scene.sensor.chroma}")
        check_light(labels, recipe.scene, where)

    @cached_property
    def _labeller(self) -> CrowdLabeller:
        assert self._poses is not None
        assert self._things is not None
        return CrowdLabeller(self._poses, Dress(self._poses.model, self._poses.arm), self._things, self._size)

    def _check_again(self, labels: dict[str, Any], recipe: CrowdRecipe, vertices: np.ndarray, mask: np.ndarray, where: str) -> None:
        """Hands posed anew, from labels and from the recipe; what hides them, and where they are in the mask."""
        posed = self._labeller.pose([recipe])
        for k, hand in enumerate(labels["hands"]):
            check_pose(labels | hand, vertices[k], self._labeller.model, f"{where}, hand {k}")
            if np.abs(posed.stacks[0][k].vertices - vertices[k]).max() > POSED_M:
                raise HandsynthError(f"{where}, hand {k}: the recipe does not give the vertices")
        again = self._labeller.hand_labels(posed)[0]
        for k, (hand, other) in enumerate(zip(labels["hands"], again, strict=True)):
            for name in ("keypoints_visible", "object"):
                if hand[name] != other[name]:
                    raise HandsynthError(f"{where}, hand {k}: {name} is not what geometry gives")
            if abs(hand["visible_share"] - other["visible_share"]) > SHARE_ERROR:
                raise HandsynthError(
                    f"{where}, hand {k}: visible_share is {hand['visible_share']}, geometry gives {other['visible_share']}"
                )
            boxes = [value["bbox_visible_xyxy"] for value in (hand, other)]
            if (boxes[0] is None) != (boxes[1] is None) or (boxes[0] and np.abs(np.subtract(*boxes)).max() > 1):
                raise HandsynthError(f"{where}, hand {k}: bbox_visible_xyxy is {boxes[0]}, geometry gives {boxes[1]}")
            (x, y), _, seen, before = hand_pixels(posed.stacks[0], k, self._labeller.model, self._size)
            drawn = np.zeros(mask.shape, bool)
            drawn[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
            outline = np.abs(np.diff(before.astype(np.int8), axis=0)).sum() + np.abs(np.diff(before.astype(np.int8), axis=1)).sum()
            stray, most = ((mask == k + 1) != drawn).sum(), STRAY_PIXELS + STRAY_SHARE * drawn.sum() + BORDER_SHARE * outline
            if stray > most:
                raise HandsynthError(f"{where}, hand {k}: mask and geometry do not cover the same pixels ({stray} differ)")


def _check_hand(
    labels: dict[str, Any], recipe: Recipe, vertices: np.ndarray, mask: np.ndarray, fingertips: list[int], where: str
) -> None:
    """One hand: `labels` are its own and the image's, `mask` (H, W) where it is seen."""
    outline = check_projections(labels, vertices, fingertips, where)
    check_hand_against(labels, recipe, where)
    box, share = labels["bbox_visible_xyxy"], labels["visible_share"]
    if share is None or not 0 <= share <= 1 or (box is None) != (share == 0):
        raise HandsynthError(f"{where}: visible_share is {share!r:.20}, bbox_visible_xyxy {box}")
    rows, columns = np.nonzero(mask)
    if box is None:
        if len(rows) > STRAY_PIXELS:
            raise HandsynthError(f"{where}: the mask shows it, and visible_share is 0")
        return
    width, height = labels["image_size"]
    low, high = np.maximum(outline.min(0) - 1, 0), np.minimum(outline.max(0) + 1, (width, height))
    if (np.array(box[:2]) < low).any() or (np.array(box[2:]) > high).any() or box[0] >= box[2] or box[1] >= box[3]:
        raise HandsynthError(f"{where}: bbox_visible_xyxy leaves the image or bbox_xyxy")
    if len(rows) and (
        columns.min() < box[0] - 1 or rows.min() < box[1] - 1 or columns.max() >= box[2] + 1 or rows.max() >= box[3] + 1
    ):
        raise HandsynthError(f"{where}: the mask leaves bbox_visible_xyxy")
