"""Labels of one hand against its geometry: what `verify` checks of any hand, alone or in a crowd."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from handsynth.core.camera import project, transform
from handsynth.core.errors import HandsynthError
from handsynth.core.hand import HandModel, keypoints_from_vertices, pose_hand
from handsynth.core.mirror import mirror_points, mirror_theta
from handsynth.core.sample import ARM_ANGLES
from handsynth.recipe.recipe import Recipe

REPROJECTION_PX = 0.01
"""keypoints_cam through K must land this near keypoints_xy; labels are rounded to 1e-6 m and 1e-4 px."""

POSED_M = 5e-6
"""Labels posed anew must give the vertices to this [m]; both are rounded to 1e-6."""

AMBIENT_ERROR = 0.0002
"""A background lends the ambient light its colour and no brightness; values are rounded to 1e-4."""

STRAY_PIXELS, STRAY_SHARE = 4, 0.002
"""So many pixels, and this share of the hand's, may differ between the two: OpenGL snaps vertices to 1/256 px."""


def check_keypoints(labels: Mapping[str, Any], where: str) -> None:
    """Keypoints of one hand in image and space agree; visible ones are in the image. `labels` have the image's K and image_size."""
    xy = np.array(labels["keypoints_xy"])
    error_px = np.abs(project(np.array(labels["keypoints_cam"]), np.array(labels["K"])) - xy).max()
    if error_px > REPROJECTION_PX:
        raise HandsynthError(f"{where}: keypoints_cam projects {error_px:.3f} px away from keypoints_xy")
    if (np.array(labels["keypoints_visible"], bool) & ((xy < 0) | (xy >= labels["image_size"])).any(1)).any():
        raise HandsynthError(f"{where}: a keypoint outside the image is called visible")


def check_projections(labels: Mapping[str, Any], vertices: np.ndarray, fingertips: Sequence[int], where: str) -> np.ndarray:
    """Keypoints, their projections and box against vertices; returns these projected (V, 2) [px]. Raises HandsynthError.

    Args:
        labels: with the image's K and image_size.
        vertices: (V, 3) camera frame [m].
        fingertips: rows of these.
        where: names the sample in errors.
    """
    check_keypoints(labels, where)
    if np.abs(np.array(labels["keypoints_cam"])[4::4] - vertices[list(fingertips)]).max() > 2e-6:
        raise HandsynthError(f"{where}: fingertips are not the vertices of table {labels['fingertip_table']!r}")
    outline = project(vertices.astype(np.float64), np.array(labels["K"]))
    if np.abs(np.concatenate([outline.min(0), outline.max(0)]) - labels["bbox_xyxy"]).max() > REPROJECTION_PX:
        raise HandsynthError(f"{where}: bbox_xyxy does not bound the projected vertices")
    return outline


def check_hand_against(labels: Mapping[str, Any], recipe: Recipe, where: str) -> None:
    """Side, `arm`, `clothing` and whether there is an `object` are those of the recipe."""
    if labels["side"] != recipe.side:
        raise HandsynthError(f"{where}: side is {labels['side']!r:.20}, not that of the recipe")
    if labels["arm"] != (recipe.arm and {name: getattr(recipe.arm, name) for name in ARM_ANGLES}):
        raise HandsynthError(f"{where}: arm is not that of the recipe")
    if labels["clothing"] != (recipe.worn.clothing if recipe.worn else []):
        raise HandsynthError(f"{where}: clothing is {labels['clothing']!r:.60}, not that of the recipe")
    if (labels["object"] is None) != (recipe.held is None):
        raise HandsynthError(f"{where}: object is not that of the recipe")


def check_pose(labels: Mapping[str, Any], vertices: np.ndarray, hand: HandModel, where: str) -> None:
    """theta, beta, trans and T_cam_world, posed anew, give the vertices; the vertices give the keypoints."""
    theta, trans, is_left = np.array(labels["theta"]).reshape(-1, 3), np.array(labels["trans"]), labels["side"] == "left"
    if is_left:
        theta, trans = mirror_theta(theta), mirror_points(trans)
    world = pose_hand(hand, theta, np.array(labels["beta"]), trans).vertices
    posed = transform(np.array(labels["T_cam_world"]), mirror_points(world) if is_left else world)
    if np.abs(posed - vertices).max() > POSED_M:
        raise HandsynthError(f"{where}: theta, beta, trans, side and T_cam_world do not give the vertices")
    keypoints = keypoints_from_vertices(hand, vertices.astype(np.float64))
    if np.abs(keypoints - np.array(labels["keypoints_cam"])).max() > POSED_M:
        raise HandsynthError(f"{where}: keypoints_cam are not those of the vertices")


def check_light(labels: dict[str, Any], recipe: Recipe, where: str) -> None:
    """`sky_used` is there where the recipe's ambient light has directions, its order 0 is `ambient_used`; no light was added."""
    if ("sky_used" in labels) != (recipe.ambient.order > 0):
        raise HandsynthError(f"{where}: sky_used is {'missing' if recipe.ambient.order else 'there'}, against the recipe")
    used = labels["ambient_used"]
    if used is None or ("sky_used" in labels and labels["sky_used"][0] != used):
        raise HandsynthError(f"{where}: ambient_used is {used!r:.60}, not the light of the sample")
    if np.mean(used) > np.mean(recipe.ambient.color) + AMBIENT_ERROR:
        raise HandsynthError(f"{where}: ambient_used is brighter than the recipe's ambient light")
