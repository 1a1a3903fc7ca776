"""What an evaluation leaves: a table for the eye, files for machines, and images: curves of correct keypoints, errors by group."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from handmesh.evaluation.scores import HEADINGS, TITLES, Evaluated, column, correct_share
from handmesh.metrics import AUC_LIMIT_MM, AUC_STEPS
from handmesh.nets.counting import aligned_columns
from handsynth.core.errors import HandsynthError
from handsynth.core.files import write_file

_GROUP_METRICS = ("mpjpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm", "f_at_5", "f_at_15")
_PLOTS = {"view": "error_by_view.png", "pose": "error_by_pose.png", "visible": "error_by_visibility.png"}


def metrics_table(rows: list[dict[str, Any]]) -> str:
    """Two tables: every predictor over all hands, then the net over every group beside the others' PA-MPJPE.

    `rows` as of `scores.group_rows`, that of all hands first.
    """
    first = [[f"{rows[0]['hands']} hands", *HEADINGS.values(), ""]]
    requested = [who for who in TITLES if column(who, "pa_mpjpe_mm") in rows[0]]
    first += [[TITLES[who], *(_cell(name, rows[0][column(who, name)]) for name in HEADINGS), ""] for who in requested]
    others = [who for who in requested if who != "net"]
    second = [["group", "hands", *(HEADINGS[name] for name in _GROUP_METRICS), *(f"{TITLES[k]}: PA-MPJPE" for k in others), ""]]
    shown = [*_GROUP_METRICS, *(column(who, "pa_mpjpe_mm") for who in others)]
    for row in rows:
        group = "all" if row["kind"] == "all" else f"{row['kind']}: {row['name']}"
        second.append([group, str(row["hands"]), *(_cell(name, row[name]) for name in shown), ""])
    return f"{aligned_columns(first)}\n\n{aligned_columns(second)}"


def scores_line(scores: Mapping[str, float]) -> str:
    """All metrics of one predictor, in a line."""
    return ", ".join(f"{heading} {_cell(name, scores[name])}" for name, heading in HEADINGS.items())


def write_report(
    out: Path,
    summary: dict[str, Any],
    evaluated: Mapping[str, Evaluated],
    per_hand: Mapping[str, Sequence[Any] | np.ndarray],
    title: str,
) -> None:
    """Writes metrics.json, metrics.csv (a row a group), errors.csv (a row a hand), pck.png and error_by_*.png.

    Args:
        out: folder, made if need be.
        summary: goes into metrics.json; its `groups` are rows as of `scores.group_rows`.
        evaluated: by predictor.
        per_hand: columns of errors.csv, N values each.
        title: above the images.

    Raises HandsynthError when something cannot be written.
    """
    rows = summary["groups"]
    lines = [[f"{v:.6g}" if isinstance(v, float) else v for v in row.values()] for row in rows]
    columns = [[f"{v:.6g}" if isinstance(v, float) else v for v in column] for column in per_hand.values()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_file(out / "metrics.json", json.dumps(summary, indent=1).encode() + b"\n")
        write_file(out / "metrics.csv", csv_bytes([list(rows[0]), *lines]))
        write_file(out / "errors.csv", csv_bytes([list(per_hand), *zip(*columns, strict=True)]))
        plot_pck(out / "pck.png", evaluated, title)
        for kind, name in _PLOTS.items():
            plot_groups(out / name, rows, kind, title)
    except OSError as error:
        raise HandsynthError(f"{out} cannot be written: {error.strerror}; --out DIR writes elsewhere") from None


def _cell(metric: str, value: float) -> str:
    return f"{value:.2f}" if metric.endswith("_mm") else f"{value:.3f}"


def csv_bytes(lines: Sequence[Sequence[Any]]) -> bytes:
    """Rows of cells as a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


_COLOURS = {"net": "#0b6e99", "fitted": "#2a9d5c", "mean_hand": "#d08c00", "mean_of_hands": "#7a3e9d"}
_MARKERS = {"fitted": "o", "mean_hand": "s", "mean_of_hands": "D"}
_AXES = {
    "view": "angle between palm normal and camera [deg]",
    "pose": "bend of the four fingers' joints, on average [deg]",
    "visible": "share of the 21 keypoints that can be seen [%]",
}


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
    figure = Figure(figsize=(7.5, 5), dpi=150)  # of no backend: the caller's, and its figures, stay as they are
    axes = figure.subplots()
    axes.set_title(title, fontsize=11)
    axes.set(xlabel=x, ylabel=y)
    axes.grid(color="#e0e0e0", zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _finish(path: Path, figure: Figure, axes: Axes, columns: int) -> None:
    axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns, frameon=False)
    figure.savefig(path, bbox_inches="tight")
