"""What an evaluation leaves: a table for the eye, files for machines, pictures."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from handmesh.evaluation.plots import plot_groups, plot_pck
from handmesh.evaluation.scores import HEADINGS, TITLES, Judged
from handmesh.nets.summary import aligned_columns
from handsynth.core.errors import HandsynthError
from handsynth.core.shard import write_file

_GROUP_METRICS = ("mpjpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm", "f_at_5", "f_at_15")
_PLOTS = {"view": "error_by_view.png", "pose": "error_by_pose.png", "visible": "error_by_visibility.png"}


def metrics_table(rows: list[dict[str, Any]]) -> str:
    """Two tables: the net and the constant hands over all hands, then the net over every group beside their PA-MPJPE."""
    overall = next(row for row in rows if row["kind"] == "all")
    first = [[f"{overall['hands']} hands", *HEADINGS.values(), ""]]
    first += [[title, *(_cell(name, overall[key][name]) for name in HEADINGS), ""] for key, title in TITLES.items()]
    constants = [key for key in TITLES if key != "net"]
    second = [["group", "hands", *(HEADINGS[name] for name in _GROUP_METRICS), *(f"{TITLES[k]}: PA-MPJPE" for k in constants), ""]]
    for row in rows:
        own = [_cell(name, row["net"][name]) for name in _GROUP_METRICS]
        theirs = [_cell("pa_mpjpe_mm", row[k]["pa_mpjpe_mm"]) for k in constants]
        group = "all" if row["kind"] == "all" else f"{row['kind']}: {row['name']}"
        second.append([group, str(row["hands"]), *own, *theirs, ""])
    return f"{aligned_columns(first)}\n\n{aligned_columns(second)}"


def scores_line(scores: Mapping[str, float]) -> str:
    """All metrics of one predictor, in a line."""
    return ", ".join(f"{heading} {_cell(name, scores[name])}" for name, heading in HEADINGS.items())


def write_report(
    out: Path, summary: dict[str, Any], judged: Mapping[str, Judged], per_hand: Mapping[str, Sequence[Any] | np.ndarray], title: str
) -> None:
    """Writes metrics.json, metrics.csv (a row a group), errors.csv (a row a hand), pck.png and error_by_*.png.

    Args:
        out: folder, made if need be.
        summary: goes into metrics.json; its `groups` are rows as of `scores.group_rows`.
        judged: by predictor.
        per_hand: columns of errors.csv, N values each.
        title: above the pictures.

    Raises HandsynthError when something cannot be written.
    """
    rows = summary["groups"]
    header = ["kind", "name", "hands", *(name if key == "net" else f"{key}_{name}" for key in TITLES for name in HEADINGS)]
    lines = [[r["kind"], r["name"], r["hands"], *(f"{r[key][name]:.6g}" for key in TITLES for name in HEADINGS)] for r in rows]
    columns = [[f"{v:.6g}" if isinstance(v, float) else v for v in column] for column in per_hand.values()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_file(out / "metrics.json", json.dumps(summary, indent=1).encode() + b"\n")
        write_file(out / "metrics.csv", _csv([header, *lines]))
        write_file(out / "errors.csv", _csv([list(per_hand), *zip(*columns, strict=True)]))
        plot_pck(out / "pck.png", judged, title)
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
