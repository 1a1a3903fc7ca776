"""Stage 5, annotate: labels from geometry alone, never from rendered pixels, so that they are equal on every machine."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from handsynth.core.camera import project, projected_bounds
from handsynth.core.conventions import SCHEMA
from handsynth.core.hand import HandModel
from handsynth.core.mirror import mirror_points, mirror_theta
from handsynth.core.sample import ARM_ANGLES
from handsynth.recipe.recipe import Recipe
from handsynth.scene.held.things import object_label
from handsynth.scene.pose import CameraHands
from handsynth.visibility import Worn, keypoint_clearance, visible_share


def _by_arms(arms: Sequence[np.ndarray | None]) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Rows of a batch with a bare wrist, and those with a forearm with the forearms' (N, A, 3) vertices; what there are of both."""
    with_arm = np.array([arm is not None for arm in arms], bool)
    bare, own = np.flatnonzero(~with_arm), np.flatnonzero(with_arm)
    groups: list[tuple[np.ndarray, np.ndarray | None]] = [(bare, None)] if len(bare) else []
    return groups + ([(own, np.array([arms[int(row)] for row in own]))] if len(own) else [])


def annotate(
    recipes: Sequence[Recipe],
    hands: CameraHands,
    model: HandModel,
    size: int,
    dataset: str,
    ambient: np.ndarray,
    backgrounds: Sequence[dict[str, Any]],
    worn: Worn = (),
    skies: Sequence[np.ndarray | None] | None = None,
) -> list[dict[str, Any]]:
    """Labels of a batch: the fields of core.sample.FIELDS as plain values, for each sample.

    Args:
        recipes: their decisions.
        hands: the same, posed.
        model: the hand that was posed.
        size: side of the image [px].
        dataset: identity of the dataset.
        ambient: (B, 3) ambient light as rendered, linear RGB.
        backgrounds: what is known of each image behind a hand, see FIELDS.
        worn: surfaces of what each hand wears; nothing where no hand wears anything.
        skies: (9, 3) ambient light by direction as rendered; None where it has none.
    """
    vertices, keypoints, K = hands.vertices.astype(np.float64), hands.keypoints, np.round(hands.K, 6)
    xy = np.round(project(keypoints, K), 4)
    visible, shares = np.empty((len(recipes), 21), bool), np.ones(len(recipes))
    worn = worn or [()] * len(recipes)
    for rows, arms in _by_arms(hands.arms):
        dressed = [worn[row] for row in rows]
        inside, clear = keypoint_clearance(keypoints[rows], xy[rows], vertices[rows], model, K[rows], size, SCHEMA, arms, dressed)
        visible[rows] = inside & (clear >= 0)
        if arms is None:  # nothing hides a bare hand: only what it wears
            rows = rows[[bool(surfaces) for surfaces in dressed]]
            dressed = [worn[row] for row in rows]
        if len(rows):
            shares[rows] = visible_share(vertices[rows], arms, model, K[rows], hands.is_left[rows], size, dressed)
    theta, trans = np.array([r.theta for r in recipes]).reshape(len(recipes), -1, 3), np.array([r.trans for r in recipes])
    theta[hands.is_left], trans[hands.is_left] = mirror_theta(theta[hands.is_left]), mirror_points(trans[hands.is_left])
    columns = {
        "K": K,
        "T_cam_world": np.round(hands.T_cam_world, 9),
        "theta": theta.reshape(len(recipes), -1) + 0.0,
        "trans": trans + 0.0,
        "keypoints_cam": np.round(keypoints, 6),
        "keypoints_xy": xy,
        "keypoints_visible": visible.astype(int),
        "visible_share": np.round(shares, 4),
        "bbox_xyxy": np.round(projected_bounds(vertices, K), 4),
        "ambient_used": ambient,
    }
    same = {"schema": SCHEMA, "dataset": dataset, "image_size": size, "fingertip_table": model.fingertip_table}
    labels = []
    skies = [None] * len(recipes) if skies is None else skies
    lists = (column.tolist() for column in columns.values())
    for row, (recipe, background, sky, *values) in enumerate(zip(recipes, backgrounds, skies, *lists, strict=True)):
        own = {"index": recipe.index, "side": recipe.side, "beta": list(recipe.beta), "recipe": recipe.to_dict()}
        own["clothing"] = recipe.worn.clothing if recipe.worn else []
        own["object"] = object_label(model, recipe, hands.T_cam_world[row])
        own["arm"] = recipe.arm and {name: getattr(recipe.arm, name) for name in ARM_ANGLES}
        own |= {} if sky is None else {"sky_used": sky.tolist()}
        labels.append(same | own | {"background": background} | dict(zip(columns, values, strict=True)))
    return labels
