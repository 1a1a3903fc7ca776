"""How much of a tube that leads away from the hand the image can show: so much is drawn and painted of forearms and sleeves.

What is left out lies wholly beyond the image, so that no pixel depends on it.
"""

import numpy as np

from handsynth.render.projection import NEAR_M

MARGIN_PX = 2.0
"""Beyond the image's borders, what filters there may see."""


def rings_in_sight(rings: np.ndarray, K: np.ndarray, image_size: int) -> np.ndarray:
    """(B,) how many rings of B tubes, from the first on, hold all of their surfaces that the image can show; 0 for none.

    Args:
        rings: (B, R, N, 3) vertices in the order of the tube, camera frame [m].
        K: (B, 3, 3) without skew [px].
        image_size: side of the image [px].
    """
    points = np.ascontiguousarray(np.moveaxis(rings, -1, 0), np.float32)
    near = (points[2] < NEAR_M).any(-1)  # such rings may be anywhere
    depth = np.maximum(points[2], np.float32(NEAR_M))
    seen = np.ones((len(K), rings.shape[1] - 1), bool)
    for k in range(2):
        focal, centre = (K[:, k, column, None].astype(np.float32) for column in (k, 2))
        places = points[k] / depth
        low, high = places.min(-1) * focal + centre, places.max(-1) * focal + centre  # (B, R)
        low[near], high[near] = -np.inf, np.inf
        # Between two rings the surface lies in the box around both.
        seen &= np.minimum(low[:, 1:], low[:, :-1]) < image_size + MARGIN_PX
        seen &= np.maximum(high[:, 1:], high[:, :-1]) > -MARGIN_PX
    last = rings.shape[1] - np.argmax(seen[:, ::-1], 1)
    return np.where(seen.any(1), last, 0)
