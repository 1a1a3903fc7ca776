"""Into which groups hands fall: from where they are seen, how bent their fingers are, how much of them is visible.

View and pose come from the true keypoints in the camera frame, so that any dataset that has those can be divided, whatever it
knows of recipes and pose parameters; bins include their lower end. Evaluations and the pages about datasets divide alike.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from handsynth.core.conventions import FINGERS, KEYPOINT_NAMES

VIEW_EDGES_DEG = (0, 30, 60, 90, 120, 150, 180)
FLEXION_EDGES_DEG = (0, 30, 50, 180)
POSES = ("extended", "half bent", "bent")
"""Names of the bins of flexion. A flat hand has 6 degrees, a fist 80; of the embedded hand's 895 poses a quarter is extended, a
quarter bent."""
VISIBLE_EDGES = (0, 0.25, 0.5, 0.75, 1)

_PALM = [KEYPOINT_NAMES.index(name) for name in ("wrist", "index1", "pinky1")]
_CHAINS = [
    [KEYPOINT_NAMES.index(name) for name in ("wrist", f"{f}1", f"{f}2", f"{f}3", f"{f}_tip")] for f in FINGERS if f != "thumb"
]


def view_angles_deg(keypoints: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Angle between the palm's normal and the direction from the palm to the camera [deg].

    0 when the camera looks straight into the palm, 90 at the hand's edge, fingertips or wrist, 180 at its back. The palm is the
    triangle of wrist and the first joints of index and little finger.

    Args:
        keypoints: (N, 21, 3) camera frame [m].
        left: (N,) whether the hand is a left one.
    """
    wrist, index, pinky = (keypoints[:, k] for k in _PALM)
    normal = np.cross(index - wrist, pinky - wrist) * np.where(left, -1, 1)[:, None]
    to_camera = -(wrist + index + pinky) / 3
    return angles_deg(normal, to_camera)


def flexion_deg(keypoints: np.ndarray) -> np.ndarray:
    """(N, 21, 3) keypoints -> (N,) bend from bone to bone, the mean over the three joints of four fingers [deg].

    The thumb is left out: it bends across the palm, and its angles say little of how closed a hand is.
    """
    bones = np.diff(keypoints[:, _CHAINS], axis=2)  # (N, 4, 4, 3)
    return angles_deg(bones[:, :, :-1], bones[:, :, 1:]).mean((1, 2))


def angles_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., 3) and (..., 3) vectors -> (...) angles between them, 0 to 180 deg."""
    return np.rad2deg(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)))


def bins(values: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """(N,) values -> (N,) number of the bin that each falls into; lower ends belong to a bin, and the last upper end too."""
    return np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 2)


def divide(view_deg: np.ndarray, bend_deg: np.ndarray, visible: np.ndarray) -> dict[str, tuple[np.ndarray, list[str]]]:
    """N hands by view, pose and visibility: {"view", "pose", "visible": (N,) number of each hand's group, names of all groups}.

    Args:
        view_deg: (N,) as of `view_angles_deg`.
        bend_deg: (N,) as of `flexion_deg`.
        visible: (N,) share of the keypoints that can be seen, 0 to 1; those all of whose keypoints are seen are a group.
    """
    views, bends = _names(VIEW_EDGES_DEG, " deg"), _names(FLEXION_EDGES_DEG, " deg")
    views[0], views[-1] = f"palm {views[0]}", f"back {views[-1]}"
    shares = [*_names(tuple(round(100 * edge) for edge in VISIBLE_EDGES), " %"), "all"]
    return {
        "view": (bins(view_deg, VIEW_EDGES_DEG), views),
        "pose": (bins(bend_deg, FLEXION_EDGES_DEG), [f"{a} {b}" for a, b in zip(POSES, bends, strict=True)]),
        "visible": (np.where(visible == 1, len(shares) - 1, bins(visible, VISIBLE_EDGES)), shares),
    }


def _names(edges: Sequence[int], unit: str) -> list[str]:
    return [f"{a}-{b}{unit}" for a, b in pairwise(edges)]
