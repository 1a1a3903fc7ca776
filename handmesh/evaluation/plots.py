"""Images of an evaluation: curves of correct keypoints, and errors over view, pose and visibility."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from handmesh.evaluation.scores import TITLES, Evaluated, column
from handmesh.metrics import AUC_LIMIT_MM, AUC_STEPS

_COLOURS = {"net": "#0b6e99", "fitted": "#2a9d5c", "mean_hand": "#d08c00", "mean_of_hands": "#7a3e9d"}
_MARKERS = {"fitted": "o", "mean_hand": "s", "mean_of_hands": "D"}
_AXES = {
    "view": "angle between palm normal and camera [deg]",
    "pose": "bend of the four fingers' joints, on average [deg]",
    "visible": "share of the 21 keypoints that can be seen [%]",
}


def correct_share(errors_mm: np.ndarray, thresholds_mm: np.ndarray) -> np.ndarray:
    """(N, P) errors and (T,) thresholds [mm] -> (T,) share of all points whose error is at most the threshold."""
    return np.searchsorted(np.sort(errors_mm.ravel()), thresholds_mm, "right") / errors_mm.size


def plot_pck(path: Path, evaluated: Mapping[str, Evaluated], title: str) -> None:
    """Share of keypoints over the error allowed: the net's aligned and as they stand, all others' aligned."""
    thresholds = np.linspace(0, AUC_LIMIT_MM, AUC_STEPS)
    figure, axes = _figure(title, "error allowed [mm]", "keypoints within it [%]")

    def draw(name: str, errors: np.ndarray, metric: str, line: str, how: str) -> None:
        area = evaluated[name].scores[metric].mean()
        share = 100 * correct_share(errors, thresholds)
        axes.plot(thresholds, share, line, color=_COLOURS[name], label=f"{TITLES[name]}, {how}: area {area:.3f}")

    for name, found in evaluated.items():
        draw(name, found.pa_joint_errors_mm, "pa_auc_joints", "-", "aligned")
    draw("net", evaluated["net"].joint_errors_mm, "auc_joints", "--", "not aligned")
    axes.set(xlim=(0, AUC_LIMIT_MM), ylim=(0, 100))
    _finish(path, figure, axes, 2)


def plot_groups(path: Path, rows: list[dict[str, Any]], kind: str, title: str) -> None:
    """Bars of the net's PA-MPJPE over the groups of one kind, and what the others score there.

    Args:
        path: PNG to write.
        rows: as of `group_rows`; those of other kinds are passed over.
        kind: "view", "pose" or "visible".
        title: above the image.
    """
    rows = [row for row in rows if row["kind"] == kind]
    figure, axes = _figure(title, _AXES[kind], "PA-MPJPE [mm]")
    axes.grid(False, axis="x")
    x = np.arange(len(rows))
    axes.bar(x, [row["pa_mpjpe_mm"] for row in rows], 0.6, color=_COLOURS["net"], label=TITLES["net"], zorder=2)
    for name, marker in _MARKERS.items():
        if column(name, "pa_mpjpe_mm") not in rows[0]:
            continue
        values = [row[column(name, "pa_mpjpe_mm")] for row in rows]
        axes.plot(x, values, marker, color=_COLOURS[name], markeredgecolor="white", markersize=8, label=TITLES[name], zorder=3)
    names = [row["name"].removesuffix(" deg").removesuffix(" %") for row in rows]
    hands = [f"{row['hands']} hand" + "s" * (row["hands"] > 1) for row in rows]
    axes.set_xticks(x, [f"{name}\n{count}" for name, count in zip(names, hands, strict=True)], fontsize=9)
    axes.set_xlim(-0.6, max(len(rows), 3) - 0.4)
    _finish(path, figure, axes, 3)


def _figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(7.5, 5), dpi=150)
    axes.set_title(title, fontsize=11)
    axes.set(xlabel=x, ylabel=y)
    axes.grid(color="#e0e0e0", zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _finish(path: Path, figure: Figure, axes: Axes, columns: int) -> None:
    axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns, frameon=False)
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)
