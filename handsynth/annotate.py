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
from handsynth.scene.company import Company
from handsynth.scene.held.things import Things
from handsynth.scene.pose import CameraHands
from handsynth.visibility import Beside, keypoint_clearance, visible_share


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
    beside: Beside = (),
    skies: Sequence[np.ndarray | None] | None = None,
    company: Company | None = None,
    things: Things | None = None,
) -> list[dict[str, Any]]:
    """Labels of a batch: the fields of core.sample.FIELDS as plain values, for each sample.

    Args:
        recipes: their decisions, B.
        hands: the same, posed; with `company` its R hands.
        model: the hand that was posed.
        size: side of the image [px].
        dataset: identity of the dataset.
        ambient: (B, 3) ambient light as rendered, linear RGB.
        backgrounds: what is known of each image behind a hand, see FIELDS.
        beside: surfaces beside each hand, see scene.company; nothing where no hand has any.
        skies: (9, 3) ambient light by direction as rendered; None where it has none.
        company: which hands share an image; without it none do.
        things: what knows the shapes of what is held; without it those of the package.
    """
    things = Things(model) if things is None else things
    people = recipes if company is None else company.recipes
    of_hands = label_hands(people, hands, model, size, beside, things)
    same = {"schema": SCHEMA, "dataset": dataset, "image_size": size, "fingertip_table": model.fingertip_table}
    K, T, light = np.round(hands.K, 6).tolist(), np.round(hands.T_cam_world, 9).tolist(), ambient.tolist()
    labels = []
    for image, (recipe, background) in enumerate(zip(recipes, backgrounds, strict=True)):
        own = {"index": recipe.index, "K": K[image], "T_cam_world": T[image], "ambient_used": light[image]}
        sky = None if skies is None else skies[image]
        own |= {} if sky is None else {"sky_used": sky.tolist()}
        own |= {"clip": {name: getattr(recipe.clip, name) for name in ("number", "frame", "time_s")}} if recipe.clip else {}
        others = [] if company is None else [of_hands[row] for row in company.rows[image][1:]]
        own |= {"hands": others, "occluder": things.occluder_label(recipe, hands.T_cam_world[image])}
        labels.append(same | own | of_hands[image] | {"background": background, "recipe": recipe.to_dict()})
    return labels


def label_hands(
    recipes: Sequence[Recipe], hands: CameraHands, model: HandModel, size: int, beside: Beside, things: Things
) -> list[dict[str, Any]]:
    """What labels say of each of R hands: the fields of core.sample.HAND_KEYS. See `annotate`."""
    vertices, keypoints, K = hands.vertices.astype(np.float64), hands.keypoints, np.round(hands.K, 6)
    xy = np.round(project(keypoints, K), 4)
    visible, shares = np.empty((len(recipes), 21), bool), np.ones(len(recipes))
    beside = beside or [()] * len(recipes)
    for rows, arms in _by_arms(hands.arms):
        around = [beside[row] for row in rows]
        inside, clear = keypoint_clearance(keypoints[rows], xy[rows], vertices[rows], model, K[rows], size, SCHEMA, arms, around)
        visible[rows] = inside & (clear >= 0)
        if arms is None:  # nothing hides a bare hand: only what is beside it
            rows = rows[[bool(surfaces) for surfaces in around]]
            around = [beside[row] for row in rows]
        if len(rows):
            shares[rows] = visible_share(vertices[rows], arms, model, K[rows], hands.is_left[rows], size, around)
    theta, trans = np.array([r.theta for r in recipes]).reshape(len(recipes), -1, 3), np.array([r.trans for r in recipes])
    theta[hands.is_left], trans[hands.is_left] = mirror_theta(theta[hands.is_left]), mirror_points(trans[hands.is_left])
    columns = {
        "theta": theta.reshape(len(recipes), -1) + 0.0,
        "trans": trans + 0.0,
        "keypoints_cam": np.round(keypoints, 6),
        "keypoints_xy": xy,
        "keypoints_visible": visible.astype(int),
        "visible_share": np.round(shares, 4),
        "bbox_xyxy": np.round(projected_bounds(vertices, K), 4),
    }
    labels = []
    for row, (recipe, *values) in enumerate(zip(recipes, *(column.tolist() for column in columns.values()), strict=True)):
        own = {"side": recipe.side, "beta": list(recipe.beta), "clothing": recipe.worn.clothing if recipe.worn else []}
        own["object"] = things.object_label(recipe, hands.T_cam_world[row])
        own["arm"] = recipe.arm and {name: getattr(recipe.arm, name) for name in ARM_ANGLES}
        labels.append(own | dict(zip(columns, values, strict=True)))
    return labels
