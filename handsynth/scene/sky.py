"""Ambient light by direction: what environment map and background let fall on a hand, as a sky (see core.harmonics)."""

from collections.abc import Sequence

import cv2
import numpy as np

from handsynth.assets.environments.folder import Environments
from handsynth.assets.environments.light_map import map_rotation
from handsynth.core.colour import LINEAR_OF_BYTE, every_fourth
from handsynth.core.errors import HandsynthError
from handsynth.core.harmonics import TERMS, sky_weights, turned
from handsynth.recipe.moments import turn_since_facing
from handsynth.recipe.recipe import Recipe

FROM_ABOVE = 0.35
"""How much more light than the mean comes to a surface that faces up, and less to one that faces down, where no map says it."""

BEHIND_CAMERA = 0.7
"""Contrast of the light from behind the camera, where the background is mirrored."""

_CELLS, _PARTS = 16, 8  # cells to a side of the image, and points to a side of each cell


def _surroundings() -> np.ndarray:
    """(8, CELLS^2) orders 1 and 2 of a sky, of what each cell of a background is brighter than its mean.

    The image is laid over the half-sphere that the camera looks at, its middle in the middle, its borders at the sides, each cell
    over as large a part (Shirley and Chiu's map of a square to a disc), and mirrored behind the camera, as Khan et al. do
    (Image-Based Material Editing, SIGGRAPH 2006).
    """
    place = (np.arange(_CELLS * _PARTS) + 0.5) * (2 / (_CELLS * _PARTS)) - 1
    a, b = (side.ravel() for side in np.meshgrid(place, place))  # right and down
    wide = np.abs(a) > np.abs(b)
    radius = np.where(wide, a, b)
    angle = np.where(wide, np.pi / 4 * b / a, np.pi / 2 - np.pi / 4 * a / b)
    across = radius * np.sqrt(2 - radius * radius)  # equal areas of the disc become equal areas of the half-sphere
    directions = np.stack([across * np.cos(angle), across * np.sin(angle), 1 - radius * radius], -1)
    angles = np.full(len(directions), 2 * np.pi / len(directions))
    weights = sky_weights(directions, angles) + BEHIND_CAMERA * sky_weights(directions * [1, 1, -1], angles)
    return weights[1:].reshape(TERMS - 1, _CELLS, _PARTS, _CELLS, _PARTS).sum((2, 4)).reshape(TERMS - 1, -1)


_WEIGHTS = _surroundings()


def background_sky(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 sRGB behind a hand -> (9, 3) the light of surroundings that look like it, camera frame."""
    light = cv2.LUT(every_fourth(image), LINEAR_OF_BYTE)
    mean = np.array(cv2.mean(light)[:3])
    cells = cv2.resize(light, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    return np.concatenate([mean[None], _WEIGHTS @ (cells - mean)])


def ambient_skies(
    recipes: Sequence[Recipe], behind: Sequence[np.ndarray], ambient: np.ndarray, environments: Environments | None
) -> list[np.ndarray | None]:
    """The sky of each recipe whose ambient light has directions, camera frame; None for the others.

    Rounded to 1e-4, like `ambient`, which is its order 0.

    Args:
        recipes: B.
        behind: B (H, W, 3) uint8 sRGB backgrounds, of clips as they were cut.
        ambient: (B, 3) linear RGB, mixed of the recipe's own light and the background's.
        environments: what recipes refer to.
    """
    skies: list[np.ndarray | None] = []
    for recipe, image, mean in zip(recipes, behind, ambient, strict=True):
        skies.append(_sky(recipe, image, mean, environments) if recipe.ambient.order else None)
    return skies


def _sky(recipe: Recipe, image: np.ndarray, mean: np.ndarray, environments: Environments | None) -> np.ndarray:
    """One of them: the environment's light, and in part `background_tint` the background's at the same brightness."""
    own, share, up = np.array(recipe.ambient.color), recipe.ambient.background_tint, np.array(recipe.ambient.up_cam)
    around = background_sky(image)
    if recipe.clip is not None:
        around = turned(around, turn_since_facing(recipe))
    sky = share * around * (own.mean() / max(around[0].mean(), 1e-3))
    plain = mean
    if (choice := recipe.environment) is not None:
        if environments is None or choice.index >= len(environments):
            count = 0 if environments is None else len(environments)
            raise HandsynthError(f"sample {recipe.index}: its recipe names environment {choice.index}, of {count} that there are")
        measured = environments.maps[choice.index].sky * choice.intensity
        sky += (1 - share) * turned(measured, map_rotation(up, choice.yaw_deg))
        plain = sky[0] - (1 - share) * measured[0]
    sky[1:4] += FROM_ABOVE * np.outer(up, plain)
    sky[0] = mean
    return np.round(sky, 4) + 0.0
