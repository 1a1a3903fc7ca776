"""Keypoints from vertices as one matrix, for nets and losses."""

import dataclasses

import numpy as np

from handsynth.core.conventions import KEYPOINT_SOURCE
from handsynth.core.hand import HandModel

PALM_KEYPOINTS = (0, 1, 5, 9, 13, 17)
"""Keypoints that keep their distances in every pose: the wrist and the first joint of each finger, in FreiHAND's order."""


def keypoint_regressor(hand: HandModel) -> np.ndarray:
    """(21, V) matrix R with keypoints = R @ vertices, FreiHAND's order: `core.hand.keypoints_from_vertices` as a product.

    The rows of the joints are the model's own regressor, those of the tips pick the vertices of its fingertip table. Rows sum
    to 1, so R may be applied in any affine frame: lixels or camera space.
    """
    tips = np.zeros((len(hand.fingertips), hand.num_vertices))
    tips[np.arange(len(tips)), hand.fingertips] = 1
    return np.concatenate([hand.J_regressor, tips])[list(KEYPOINT_SOURCE)]


def keypoint_hand(hand: HandModel) -> HandModel:
    """The hand with no vertices but those that its keypoints are made of, and no faces: the same keypoints, a sixth of the work."""
    used = np.flatnonzero(keypoint_regressor(hand).any(0))
    return dataclasses.replace(
        hand,
        v_template=hand.v_template[used], shapedirs=hand.shapedirs[used], posedirs=hand.posedirs[used],
        weights=hand.weights[used], J_regressor=hand.J_regressor[:, used], fingertips=np.searchsorted(used, hand.fingertips),
        faces=hand.faces[:0], uv_faces=hand.uv_faces[:0],
    )  # fmt: skip
