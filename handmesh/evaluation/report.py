"""What an evaluation leaves: a table for the eye, files for machines, images."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from handmesh.evaluation.plots import plot_groups, plot_pck
from handmesh.evaluation.scores import HEADINGS, TITLES, Evaluated, column
from handmesh.nets.summary import aligned_columns
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
        write_file(out / "metrics.csv", _csv([list(rows[0]), *lines]))
        write_file(out / "errors.csv", _csv([list(per_hand), *zip(*columns, strict=True)]))
        plot_pck(out / "pck.png", evaluated, title)
        for kind, name in _PLOTS.items():
            plot_groups(out / name, rows, kind, title)
    except OSError as error:
        raise HandsynthError(f"{out} cannot be written: {error.strerror}; --out DIR writes elsewhere") from None


def _cell(metric: str, value: float) -> str:
    return f"{value:.2f}" if metric.endswith("_mm") else f"{value:.3f}"


def _csv(lines: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()
