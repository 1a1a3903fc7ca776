"""The page about a run: errors by joint, view, pose and visibility, the worst hands with image and mesh, curves, a second run."""

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from handmesh.data.shards import ShardDataset
from handmesh.evaluation.evaluate import Evaluation
from handmesh.evaluation.scores import HEADINGS, TITLES, column
from handmesh.run_folder import Run
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.page.charts import Chart, Curve, bars, histogram, lines
from handsynth.core.page.gallery import gallery_item, packed_faces
from handsynth.core.page.render import number, options, write_page

TEMPLATE = Path(__file__).parent / "run.html"

WORST, SPREAD = 60, 60
"""The page shows so many of the worst hands, and so many spread evenly over the others."""

KINDS = {"dataset": "dataset", "view": "view", "pose": "pose", "visible": "visibility"}
"""Kinds of groups, as people read them."""

FACETS = {"error": "PA-MPJPE", "view": "View", "pose": "Pose", "visible": "Keypoints seen", "side": "Side", "dataset": "Dataset"}
"""By what hands can be found in the page."""

ERROR_EDGES_MM = (0, 5, 10, 15, 20, 30, 50)
"""Bins of PA-MPJPE to choose from; the last has no end."""

EQUAL_MM = 0.005
"""Errors that differ by less are called equal: errors.csv has six digits, the page shows hundredths."""

_MAIN = "pa_mpjpe_mm"


@dataclass(frozen=True, eq=False)
class Compared:
    """An earlier evaluation, of another run on the same data."""

    name: str
    summary: dict[str, Any]
    errors_mm: dict[tuple[str, int], float]  # PA-MPJPE by dataset and sample

    @property
    def groups(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Rows by kind and name."""
        return {(row["kind"], row["name"]): row for row in self.summary["groups"]}


def read_compared(folder: Path, parts: Sequence[ShardDataset]) -> Compared:
    """The folder that `handmesh evaluate` wrote for another run.

    Raises UsageError when the folder is none or was evaluated on other datasets than `parts`, HandsynthError when it is damaged.
    """
    path = folder / "metrics.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        with open(folder / "errors.csv", encoding="utf-8", newline="") as file:
            errors = {(row["dataset"], int(row["index"])): float(row[_MAIN]) for row in csv.DictReader(file)}
        identities = [found["identity"] for found in summary["datasets"]]
        for row in (*summary["groups"], *summary.get("joints", ())):
            float(row[_MAIN]), str(row["name"])
        name = Path(str(summary.get("run", folder))).name[:40]
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder} holds no {Path(error.filename).name}: give --compare a folder that `handmesh evaluate` wrote for another run"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HandsynthError(f"{path} or errors.csv beside it is damaged ({error!r:.80}): evaluate that run again") from None
    if sorted(identities) != sorted(part.identity for part in parts):
        names = ", ".join(str(found.get("name")) for found in summary["datasets"])
        raise UsageError(f"{folder} was evaluated on other datasets ({names}): evaluate that run with the same --data first")
    return Compared(name, summary, errors)


def write_run_page(path: Path, run: Run, parts: Sequence[ShardDataset], found: Evaluation, compared: Compared | None) -> None:
    """Writes the page about a run's evaluation.

    Args:
        path: the page's file (see core.page.render.check_report).
        run: the net.
        parts: the datasets that were evaluated.
        found: of `evaluate_run` on those.
        compared: an evaluation of another run on the same data.

    Raises HandsynthError when a shown sample is damaged or the page cannot be written.
    """
    charts = [_joints(found, compared), *_groups(found, compared), _hands(found), *_curves(found, compared, run)]
    items, counts = _gallery(found, parts)
    data = {
        "charts": charts,
        "gallery": {"items": items, "total": len(found.per_hand["index"]), "facets": options(counts, FACETS), "predicted": True},
        "faces": packed_faces(run.hand.faces),
    }
    write_page(path, TEMPLATE, _values(found, parts, run, compared), data)


def _joints(found: Evaluation, compared: Compared | None) -> Chart:
    rows = sorted(found.summary["joints"], key=lambda row: -row[_MAIN])
    others = {"not aligned, wrist at its true depth": [row["mpjpe_mm"] for row in rows]}
    if compared and "joints" in compared.summary:
        theirs = {row["name"]: row[_MAIN] for row in compared.summary["joints"]}
        others |= {f"{compared.name}, aligned": [theirs.get(row["name"]) for row in rows]}
    text = f"Worst: {rows[0]['name']}, {number(rows[0][_MAIN])} mm; best: {rows[-1]['name']}, {number(rows[-1][_MAIN])} mm."
    values = [row[_MAIN] for row in rows]
    names = [row["name"] for row in rows]
    return bars("joints", "Error by joint", names, values, "mean error [mm]", text, others=others, series="aligned")


def _groups(found: Evaluation, compared: Compared | None) -> list[Chart]:
    charts = []
    for kind, what in KINDS.items():
        rows = sorted((row for row in found.summary["groups"] if row["kind"] == kind), key=lambda row: -row[_MAIN])
        if not rows:
            continue
        others: dict[str, list[float | None]] = {TITLES["mean_hand"]: [row[column("mean_hand", _MAIN)] for row in rows]}
        if compared:
            theirs = compared.groups
            others = {compared.name: [theirs.get((kind, row["name"]), {}).get(_MAIN) for row in rows], **others}
        text = f"Worst: {rows[0]['name']}, {number(rows[0][_MAIN])} mm over {number(rows[0]['hands'])} hands."
        names, values, hands = [row["name"] for row in rows], [row[_MAIN] for row in rows], [row["hands"] for row in rows]
        charts.append(
            bars(kind, f"Error by {what}", names, values, "PA-MPJPE [mm]", text, others=others, series="this run", counts=hands)
        )
    return charts


def _hands(found: Evaluation) -> Chart:
    errors = np.array(found.per_hand[_MAIN])
    top = max(10.0, float(np.ceil(np.percentile(errors, 99))))
    return histogram("spread", "Errors of single hands", errors, "PA-MPJPE [mm]", np.linspace(0, top, 26), "hands")


def _curves(found: Evaluation, compared: Compared | None, run: Run) -> list[Chart]:
    pck = found.summary["pck"]
    x = pck["error_mm"]
    series: list[Curve] = [
        ("aligned", x, [100 * share for share in pck["pa_share"]], ""),
        ("not aligned", x, [100 * share for share in pck["share"]], "dash"),
    ]
    theirs = compared.summary.get("pck") if compared else None
    if compared and theirs:
        series.append((f"{compared.name}, aligned", theirs["error_mm"], [100 * share for share in theirs["pa_share"]], "dot"))
    at = {limit: 100 * pck["pa_share"][limit] for limit in (5, 15)}
    text = f"{at[5]:.0f} % of the aligned keypoints lie within 5 mm, {at[15]:.0f} % within 15 mm of the truth."
    charts = [lines("pck", "Correct keypoints", series, ("error allowed [mm]", "keypoints within it [%]"), text)]
    history = _history(run.folder / "metrics.csv")
    names = {"train_mpjpe_mm": "MPJPE, training", "val_mpjpe_mm": "MPJPE, validation", "val_pa_mpjpe_mm": "PA-MPJPE, validation"}
    drawn: list[Curve] = [
        (title, history["epoch"], history[key], "dash" if key.startswith("train") else "")
        for key, title in names.items()
        if key in history and "epoch" in history
    ]
    if drawn:
        last = f"{len(history['epoch'])} epochs; at the end {drawn[-1][0]} is {number(drawn[-1][2][-1])} mm."
        charts.append(lines("training", "Training", drawn, ("epoch", "error [mm]"), last))
    return charts


def _history(path: Path) -> dict[str, list[float]]:
    """Columns of a run's metrics.csv, NaN where a row has no value; empty where it has none that can be read."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {key: [float(row[key] or "nan") for row in rows] for key in (rows[0] if rows else ())}
    except (OSError, ValueError, TypeError):
        return {}


def _gallery(found: Evaluation, parts: Sequence[ShardDataset]) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
    """The hands that are shown, the worst first, and how many of all have each value that can be chosen."""
    errors = np.array(found.per_hand[_MAIN])
    order = np.argsort(-errors, kind="stable")
    rest = order[WORST:]
    shown = [*order[:WORST], *rest[np.linspace(0, len(rest) - 1, min(len(rest), SPREAD)).round().astype(int)]]
    facets = [_facets(found, k) for k in range(len(errors))]
    counts: dict[str, Counter[str]] = {name: Counter(value for facet in facets for value in facet[name]) for name in FACETS}
    scales = {name: [group.name for group in found.hands.groups if group.kind == name] for name in KINDS}
    scales |= {"error": _error_names(), "side": ["left", "right"]}
    ordered = {name: {value: counts[name][value] for value in scale if counts[name][value]} for name, scale in scales.items()}
    ordered = {name: ordered[name] for name in FACETS}
    return [_item(found, parts, int(k), facets[k]) for k in shown], ordered


def _error_names() -> list[str]:
    return [*(f"{a}-{b} mm" for a, b in pairwise(ERROR_EDGES_MM)), f"over {ERROR_EDGES_MM[-1]} mm"]


def _facets(found: Evaluation, k: int) -> dict[str, list[str]]:
    names = {kind: [group.name for group in found.hands.groups if group.kind == kind and group.members[k]] for kind in KINDS}
    names["dataset"] = [str(found.per_hand["dataset"][k])]
    names["side"] = [found.hands.labels[k]["side"]]
    names["error"] = [_error_names()[int(np.searchsorted(ERROR_EDGES_MM, found.per_hand[_MAIN][k], "right")) - 1]]
    return names


def _item(found: Evaluation, parts: Sequence[ShardDataset], k: int, facets: Mapping[str, list[str]]) -> dict[str, Any]:
    hands, labels = found.hands, found.hands.labels[k]
    record = parts[hands.dataset[k]].read(int(hands.position[k]))
    error = found.per_hand[_MAIN][k]
    view, pose = ((facets[kind] or ["not known"])[0] for kind in ("view", "pose"))
    seen = sum(value > 0 for value in labels["keypoints_visible"])
    about = f"{labels['side']} hand, {pose}, seen from {view}, {seen} of 21 keypoints seen, PA-MPJPE {error:.1f} mm"
    worst = int(found.evaluated["net"].pa_joint_errors_mm[k].argmax())
    facts = [
        ("PA-MPJPE", f"{error:.2f} mm"),
        ("MPJPE", f"{found.per_hand['mpjpe_mm'][k]:.2f} mm"),
        ("PA-MPVPE", f"{found.per_hand['pa_mpvpe_mm'][k]:.2f} mm"),
        ("Worst joint", f"{found.summary['joints'][worst]['name']}, {found.evaluated['net'].pa_joint_errors_mm[k, worst]:.1f} mm"),
        ("View", f"{found.per_hand['view_angle_deg'][k]:.0f} deg from the palm's normal"),
        ("Bend of the fingers", f"{found.per_hand['flexion_deg'][k]:.0f} deg"),
        ("Keypoints seen", f"{seen} of 21"),
        ("Sample", f"{labels['index']} of {found.per_hand['dataset'][k]}"),
    ]
    item = gallery_item(
        f"Sample {labels['index']}: {error:.1f} mm", about, _thumb(record.image), record.image.shape[1], record.K, record.keypoints,
        labels["keypoints_visible"], record.vertices, facets, facts, predicted=(hands.keypoints[k], hands.vertices[k]),
    )  # fmt: skip
    return item | {"corner": f"{error:.1f} mm"}


def _thumb(image: np.ndarray) -> bytes:
    """The image as JPEG, at most 192 px or half of that too large."""
    step = max(1, image.shape[0] // 192)
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image[::step, ::step]), 85, "RGB"))


def _values(found: Evaluation, parts: Sequence[ShardDataset], run: Run, compared: Compared | None) -> dict[str, Any]:
    """What the template shows."""
    rows = found.summary["groups"]
    first = rows[0]
    who = [name for name in TITLES if column(name, _MAIN) in first]
    table = [[TITLES[name], *(_cell(metric, first[column(name, metric)]) for metric in HEADINGS)] for name in who]
    if compared:
        theirs = compared.groups[("all", "all")]
        table.insert(1, [compared.name, *(_cell(metric, theirs[metric]) for metric in HEADINGS)])
    ranked = sorted((row for row in rows if row["kind"] in KINDS), key=lambda row: -row[_MAIN])
    shown = ("mpjpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm", "f_at_5", "f_at_15")
    groups = [
        [f"{KINDS[row['kind']]}: {row['name']}", number(row["hands"]), *(_cell(metric, row[metric]) for metric in shown)]
        for row in ranked
    ]
    names = ", ".join(part.name for part in parts)
    training = run.config.get("training") or {}
    card = [
        ("Run", str(run.folder)),
        ("Net", f"{run.spec.net}, crops of {run.spec.side} px"),
        ("Hand", f"{run.hand.name}, {run.hand.num_vertices} vertices; {run.hand.licence}"),
        *((f"Dataset {part.name}", f"{part.source}, identity {part.identity[:16]}, {number(len(part))} samples") for part in parts),
        *(
            (f"Licence of {part.name}'s {name}", str(text))
            for part in parts
            for name, text in part.index.get("licences", {}).items()
        ),
        ("Trained on", _trained_on(run.config.get("datasets"))),
        ("Left out", f"{number(found.summary['left_out'])} damaged samples"),
    ]
    return {
        "title": f"{run.spec.net} on {names}: evaluation",
        "kind": "Evaluation report",
        "heading": f"{run.spec.net} on {names}",
        "lead": f"{number(first['hands'])} hands, crops about the labels' boxes, the wrist at its true depth",
        "sections": [("errors", "Errors"), ("hands", "Hands"), ("curves", "Curves"), ("tables", "Tables"), ("run", "The run")],
        "tiles": [
            ("PA-MPJPE", f"{first['pa_mpjpe_mm']:.2f}", "mm"), ("MPJPE", f"{first['mpjpe_mm']:.2f}", "mm"),
            ("PA-MPVPE", f"{first['pa_mpvpe_mm']:.2f}", "mm"), ("F-score at 5 mm", f"{first['f_at_5']:.3f}", ""),
            ("F-score at 15 mm", f"{first['f_at_15']:.3f}", ""), ("Hands", number(first["hands"]), ""),
        ],
        "comparison": _comparison(found, compared) if compared else "",
        "predictors": table,
        "metrics": list(HEADINGS.values()),
        "groups": groups,
        "group_metrics": [HEADINGS[metric] for metric in shown],
        "card": card,
        "training": json.dumps(training, indent=1, default=str),
        "footer": "This page holds images and meshes of the datasets above: their licences hold for it too.",
    }  # fmt: skip


def _trained_on(datasets: Any) -> str:
    """What a run's settings have of its data, which earlier versions wrote otherwise."""
    entries = datasets if isinstance(datasets, list) else []
    named = [f"{entry.get('name')} ({number(entry.get('samples', 0))} samples)" for entry in entries if isinstance(entry, dict)]
    return ", ".join(named) or "not recorded"


def _comparison(found: Evaluation, compared: Compared) -> str:
    """Two runs on the same hands, in a sentence."""
    mine, theirs = found.summary["groups"][0][_MAIN], compared.groups[("all", "all")][_MAIN]
    keys = zip(*(found.per_hand[name] for name in ("dataset", "index", _MAIN)), strict=True)
    pairs = np.array(
        [(error, compared.errors_mm[(name, index)]) for name, index, error in keys if (name, index) in compared.errors_mm]
    )
    text = f"PA-MPJPE is {mine:.2f} mm here and {theirs:.2f} mm for {compared.name}"
    if not len(pairs):
        return f"{text}."
    gain = pairs[:, 1] - pairs[:, 0]
    better, worse = (100 * (sign * gain > EQUAL_MM).mean() for sign in (1, -1))
    middle = f"the median hand gains {np.median(gain):+.2f} mm"
    return f"{text}; of {number(len(pairs))} hands this run is better on {better:.0f} %, worse on {worse:.0f} %, and {middle}."


def _cell(metric: str, value: float) -> str:
    return f"{value:.2f}" if metric.endswith("_mm") else f"{value:.3f}"
