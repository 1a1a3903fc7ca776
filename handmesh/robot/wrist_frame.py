"""The wrist's frame in which robot hands are retargeted: x out of the palm, z from the wrist to the middle finger, right-handed.

It is that of dex-retargeting and dex-urdf: on a right hand y points from the little finger to the thumb, on a left one from the
thumb to the little finger.
"""

import numpy as np

from handsynth.core.errors import HandsynthError

_PLANE = (0, 5, 9)  # wrist and the knuckles of index and middle finger, FreiHAND's order
_FLAT = 1e-6  # area of their triangle [m^2], below which it has no plane


def wrist_axes(keypoints: np.ndarray, side: str) -> np.ndarray:
    """Axes of the wrist's frame in the keypoints' frame.

    Args:
        keypoints: (..., 21, 3) [m], FreiHAND's order, any frame.
        side: "right" or "left".

    Returns:
        (..., 3, 3) rotation matrices, the axes in their columns. Raises HandsynthError where wrist and knuckles lie on a line.
    """
    wrist, index, middle = np.moveaxis(np.asarray(keypoints, np.float64)[..., _PLANE, :], -2, 0)
    along = middle - wrist
    normal = np.cross(index - middle, along)  # of a right hand out of the palm: index is on the thumb's side
    if not (np.linalg.norm(normal, axis=-1) > _FLAT).all():
        raise HandsynthError("wrist, index and middle knuckle lie on a line, or are not finite: these keypoints are no hand's")
    x, z = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (normal if side == "right" else -normal, along))
    return np.stack([x, np.cross(z, x), z], -1)


def to_wrist_frame(keypoints: np.ndarray, side: str) -> np.ndarray:
    """(..., 21, 3) keypoints [m] in any frame -> in the wrist's own, the wrist at its origin. Errors as of `wrist_axes`."""
    keypoints = np.asarray(keypoints, np.float64)
    return (keypoints - keypoints[..., :1, :]) @ wrist_axes(keypoints, side)
