"""Labels of crowds, from geometry alone: each hand's own, and what the people before it leave of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from handsynth.annotate import label_hands
from handsynth.core.camera import projected_bounds
from handsynth.core.conventions import SCHEMA
from handsynth.core.hand import HandModel
from handsynth.recipe.crowd import CrowdRecipe
from handsynth.recipe.recipe import Recipe
from handsynth.scene.held.things import Things
from handsynth.scene.pose import CameraHands, PoseStage
from handsynth.scene.wear.dress import Dress, WornMesh
from handsynth.visibility import Surface, covered_pixels, seen_pixels


@dataclass(frozen=True, eq=False)
class Layer:
    """One hand with its arm and what it wears, or a thing, before the camera of its canvas."""

    recipe: Recipe
    vertices: np.ndarray | None  # (V, 3) of the hand [m]; None for a thing
    arm: np.ndarray | None
    surfaces: Sequence[Surface]
    keypoints: np.ndarray  # (21, 3) [m]; of a thing nobody's
    K: np.ndarray  # (3, 3) [px]
    is_left: bool

    @property
    def depth(self) -> float:
        """By which layers are painted, the farthest first [m]."""
        return self.recipe.camera.distance_m

    def bounds(self) -> np.ndarray:
        """(4,) left, top, right, bottom of all of it [px]."""
        meshes = [points for points in (self.vertices, self.arm, *(s.vertices for s in self.surfaces)) if points is not None]
        found = np.array([projected_bounds(np.maximum(points, (-np.inf, -np.inf, 0.02)), self.K) for points in meshes])
        return np.concatenate([found[:, :2].min(0), found[:, 2:].max(0)])


def painted(layers: Sequence[Layer]) -> list[int]:
    """Numbers of the layers as they are painted: the farthest first, and of two as far the first."""
    return sorted(range(len(layers)), key=lambda k: (-layers[k].depth, k))


@dataclass(frozen=True, eq=False)
class PosedCrowds:
    """Some images whose hands are posed."""

    batch: Sequence[CrowdRecipe]
    recipes: Sequence[Recipe]  # of the layers of all images, one image after the other
    hands: CameraHands  # of these, before the cameras of their canvases; of no layers the scenes', which are nobody's
    worn: Sequence[tuple[WornMesh, ...]]  # what each wears and holds
    stacks: Sequence[Sequence[Layer]]  # of each image, in the order of CrowdRecipe.layers


class CrowdLabeller:
    """Poses and labels crowds of one hand model."""

    def __init__(self, poses: PoseStage, dress: Dress, things: Things, size: tuple[int, int]) -> None:
        """`size`: width and height of the images [px]; canvases are squares of that width."""
        self.model, self._poses, self._dress, self._things, self._size = poses.model, poses, dress, things, size

    def pose(self, batch: Sequence[CrowdRecipe]) -> PosedCrowds:
        """Every hand, arm and thing of some images before its camera."""
        recipes = [layer for crowd in batch for layer in crowd.layers]
        hands = self._poses.pose(recipes or [crowd.scene for crowd in batch], self._size[0])
        clothes, things = self._dress.worn(recipes, hands), self._things.held(recipes, hands)
        worn = [one + other for one, other in zip(clothes, things, strict=True)]
        stacks, row = [], 0
        for crowd in batch:
            own = []
            for number, recipe in enumerate(crowd.layers):
                is_thing = number >= len(crowd.hands) + len(crowd.arms)
                where = hands.keypoints[row], hands.K[row], bool(hands.is_left[row])
                own.append(Layer(recipe, None if is_thing else hands.vertices[row], hands.arms[row], worn[row], *where))
                row += 1
            stacks.append(own)
        return PosedCrowds(batch, recipes, hands, worn, stacks)

    def hand_labels(self, posed: PosedCrowds) -> list[list[dict[str, Any]]]:
        """Labels of each hand of each image: the keys of core.sample.CROWD_HAND_KEYS."""
        starts = np.cumsum([0, *map(len, posed.stacks)]).tolist()
        rows = [start + k for start, crowd in zip(starts[:-1], posed.batch, strict=True) for k in range(len(crowd.hands))]
        if not rows:
            return [[] for _ in posed.batch]
        hands, worn = taken(posed.hands, np.array(rows)), [posed.worn[row] for row in rows]
        alone = label_hands([posed.recipes[row] for row in rows], hands, self.model, self._size[0], worn, self._things)
        T_cam_world = np.round(hands.T_cam_world, 9).tolist()
        each = iter([labels | {"T_cam_world": T} for labels, T in zip(alone, T_cam_world, strict=True)])
        return [
            [_beside(next(each), stack, k, self.model, self._size) for k in range(len(crowd.hands))]
            for crowd, stack in zip(posed.batch, posed.stacks, strict=True)
        ]

    def labels(
        self,
        posed: PosedCrowds,
        dataset: str,
        ambient: np.ndarray,
        backgrounds: Sequence[dict[str, Any]],
        skies: Sequence[np.ndarray | None],
    ) -> list[dict[str, Any]]:
        """Labels of B images: the fields of core.sample.CROWD_FIELDS.

        Args:
            posed: the images.
            dataset: identity of the dataset.
            ambient: (B, 3) ambient light as rendered, linear RGB.
            backgrounds: what is known of each background, see FIELDS.
            skies: (9, 3) ambient light by direction as rendered; None where it has none.
        """
        (width, height), found = self._size, []
        for row, (crowd, hands, sky) in enumerate(zip(posed.batch, self.hand_labels(posed), skies, strict=True)):
            focal = crowd.scene.camera.focal_px
            labels = {
                "schema": SCHEMA,
                "index": crowd.index,
                "dataset": dataset,
                "image_size": [width, height],
                "K": [[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]],
                "fingertip_table": self.model.fingertip_table,
                "ambient_used": ambient[row].tolist(),
                "background": backgrounds[row],
                "recipe": crowd.to_dict(),
                "hands": hands,
            }
            found.append(labels | ({} if sky is None else {"sky_used": sky.tolist()}))
        return found


def taken(hands: CameraHands, rows: np.ndarray) -> CameraHands:
    """Some of the hands, for labels: without the axes of their arms."""
    arrays = {
        name: getattr(hands, name)[rows] for name in ("vertices", "normals", "joints", "keypoints", "K", "T_cam_world", "is_left")
    }
    arms, normals = (tuple(values[row] for row in rows) for values in (hands.arms, hands.arm_normals))
    return CameraHands(**arrays, arms=arms, arm_normals=normals, posed_arms=None)


def _beside(alone: dict[str, Any], layers: Sequence[Layer], number: int, model: HandModel, size: tuple[int, int]) -> dict[str, Any]:
    """Labels of one hand of an image, from those that it has alone on its canvas."""
    width, height = size
    down = (width - height) / 2
    labels = dict(alone)
    labels["keypoints_xy"] = [[x, round(y - down, 4) + 0.0] for x, y in alone["keypoints_xy"]]
    left, top, right, bottom = alone["bbox_xyxy"]
    labels["bbox_xyxy"] = [left, round(top - down, 4) + 0.0, right, round(bottom - down, 4) + 0.0]
    (x0, y0), whole, seen, before = hand_pixels(layers, number, model, size)
    labels["keypoints_visible"] = [
        int(visible and 0 <= y < height and not before[int(y) - y0, int(x) - x0])
        for (x, y), visible in zip(labels["keypoints_xy"], alone["keypoints_visible"], strict=True)
    ]
    count = int(whole.sum())
    labels["visible_share"] = round(int(seen.sum()) / count, 4) if count else 1.0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    labels["bbox_visible_xyxy"] = None
    if len(rows):
        box = x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1
        labels["bbox_visible_xyxy"] = [float(value) for value in box]
    return labels


def hand_pixels(
    layers: Sequence[Layer], number: int, model: HandModel, size: tuple[int, int]
) -> tuple[tuple[int, int], np.ndarray, np.ndarray, np.ndarray]:
    """The pixels around one hand of an image: what is seen of it, whose centres lie where.

    Returns:
        Column and row of the first pixel of the part of the image that holds the hand; and three (H, W) bool of that part: pixels
        on the hand, hidden or not; those that are seen of it; and those that nearer layers cover.
    """
    width, height = size
    layer, down = layers[number], (width - height) / 2
    assert layer.vertices is not None  # a thing has no such pixels
    bounds = projected_bounds(layer.vertices.astype(np.float64), layer.K) - (0, down, 0, down)
    low = np.clip(np.floor(bounds[:2]), 0, (width - 1, height - 1)).astype(int)
    high = np.clip(np.ceil(bounds[2:]), low + 1, size).astype(int)
    side = int((high - low).max())
    part = slice(0, high[1] - low[1]), slice(0, high[0] - low[0])
    K = layer.K - [[0, 0, low[0]], [0, 0, low[1] + down], [0, 0, 0]]
    arms = None if layer.arm is None else layer.arm[None].astype(np.float64)
    one = layer.vertices[None].astype(np.float64), arms, model, K[None], np.array([layer.is_left]), side, [layer.surfaces]
    whole, seen = (pixels[0][part] for pixels in seen_pixels(*one))
    before = np.zeros(whole.shape, bool)
    order = painted(layers)
    for k in order[order.index(number) + 1 :]:
        other = layers[k]
        far = other.bounds() - (0, down, 0, down)
        if (far[:2] < high).all() and (far[2:] > low).all():
            before |= covered_pixels(other.vertices, other.arm, model, K, side, other.surfaces)[part]
    x, y = low.tolist()
    return (x, y), whole, seen & ~before, before
