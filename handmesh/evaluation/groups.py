"""The groups of an evaluation's tables: all hands, each dataset, and those of `core.grouping`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from handsynth.core.grouping import divide


@dataclass(frozen=True, eq=False)
class Group:
    """Some of N hands."""

    kind: str  # "all", "dataset", "view", "pose", "visible"
    name: str  # "30-60 deg", ...
    members: np.ndarray  # (N,) bool


def make_groups(
    dataset: np.ndarray, dataset_names: Sequence[str], view_deg: np.ndarray, bend_deg: np.ndarray, visible: np.ndarray
) -> list[Group]:
    """All hands, then each dataset where there are several, then views, poses and visibility; groups of no hand are left out.

    Args:
        dataset: (N,) number of each hand's dataset.
        dataset_names: of all datasets.
        view_deg: (N,) as of `view_angles_deg`.
        bend_deg: (N,) as of `flexion_deg`.
        visible: (N,) share of the keypoints that can be seen, 0 to 1; those all of whose keypoints are seen are a group.
    """
    divisions: list[tuple[str, np.ndarray, Sequence[str]]] = [
        ("all", np.zeros(len(dataset), int), ["all"]),
        *((kind, number, names) for kind, (number, names) in divide(view_deg, bend_deg, visible).items()),
    ]
    if len(dataset_names) > 1:
        divisions.insert(1, ("dataset", dataset, dataset_names))
    groups = [Group(kind, name, number == k) for kind, number, names in divisions for k, name in enumerate(names)]
    return [group for group in groups if group.members.any()]
