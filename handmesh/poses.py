"""Poses to train IK nets on, and others to validate on."""

import re
from collections import Counter

import numpy as np

from handsynth.core.errors import AssetError
from handsynth.core.poses import PoseBank


def split_poses(poses: PoseBank, every: int = 10) -> tuple[PoseBank, PoseBank]:
    """Poses to train on and to validate on: every tenth gesture is held out, all its variants together ("fist 1", "fist 2", ...).

    Raises AssetError when there is only one pose.
    """
    stems = [re.sub(r"[\s_]*\d+$", "", name) for name in poses.names]
    sizes = Counter(stems)
    # A stem that a tenth of the bank shares is a way to count poses ("random 17"), no gesture.
    gestures = [stem if sizes[stem] < len(stems) / every else name for stem, name in zip(stems, poses.names, strict=True)]
    order = list(dict.fromkeys(gestures))
    if len(order) < 2:
        raise AssetError("the pose bank holds one pose, none is left to validate on: give another with --poses")
    held = set(order[every // 2 :: every] or order[-1:])
    kept = np.array([gesture in held for gesture in gestures])
    return poses.rows(np.flatnonzero(~kept)), poses.rows(np.flatnonzero(kept))
