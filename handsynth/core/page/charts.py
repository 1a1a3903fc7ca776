"""Charts of a page, as plain values that page.js draws: each has a title, a sentence that says the same in words, and units."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from handsynth.core.page.render import number

Chart = dict[str, Any]
"""`id`, `kind`, `title`, `text` and what the kind needs."""


def bars(
    name: str, title: str, labels: Sequence[str], values: Sequence[float], axis: str, text: str, *, colours: Sequence[str] = (),
    others: Mapping[str, Sequence[float | None]] = {}, series: str = "", counts: Sequence[int] = (),
) -> Chart:  # fmt: skip
    """Horizontal bars, the first on top.

    Args:
        name: of the element in the page.
        title: above it.
        labels: of the bars.
        values: their lengths.
        axis: what they measure, with its unit in brackets.
        text: the chart in a sentence.
        colours: of each bar; none: the page's own.
        others: marks at other lengths on the same bars, by name.
        series: name of the bars, where there are marks.
        counts: hands or samples behind each bar.
    """
    return {
        "id": name, "kind": "bars", "title": title, "text": text, "labels": list(labels), "values": _rounded(values), "axis": axis,
        "colours": list(colours), "others": {key: _rounded(value) for key, value in others.items()}, "series": series,
        "counts": list(counts),
    }  # fmt: skip


def histogram(name: str, title: str, values: np.ndarray, axis: str, edges: np.ndarray, what: str = "samples") -> Chart:
    """Shares of the values between edges; those beyond the last edges count for the outermost bins. `axis` ends in "[unit]"."""
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    unit = axis.rpartition("[")[2].rstrip("]") if "[" in axis else ""
    return {
        "id": name, "kind": "histogram", "title": title, "text": quantiles_text(values, unit, what), "edges": _rounded(edges),
        "shares": _rounded(100 * counts / max(len(values), 1)), "axis": axis, "share_axis": f"{what} [%]",
    }  # fmt: skip


def quantiles_text(values: np.ndarray, unit: str, what: str) -> str:
    """Median and the middle nine tenths, in words."""
    low, middle, high = np.percentile(values, (5, 50, 95))
    unit = f" {unit}" if unit else ""
    return f"Median {number(middle)}{unit}; 90 % of {what} lie between {number(low)} and {number(high)}{unit}."


def heat(
    name: str, title: str, x: np.ndarray, y: np.ndarray, edges: tuple[np.ndarray, np.ndarray], axes: tuple[str, str], text: str,
    *, points: np.ndarray | None = None, points_name: str = "", square: bool = False,
) -> Chart:  # fmt: skip
    """How many samples fall into each cell of two axes; with points over it where there are others to compare with.

    Args:
        name: of the element in the page.
        title: above it.
        x: (N,) values.
        y: (N,) values.
        edges: of the cells along x and y.
        axes: what they are, with units in brackets.
        text: the chart in a sentence.
        points: (P, 2).
        points_name: what those are.
        square: whether both axes have one scale.
    """
    counts = np.histogram2d(x, y, edges)[0].T.astype(int)
    return {
        "id": name, "kind": "heat", "title": title, "text": text, "x": _rounded(edges[0]), "y": _rounded(edges[1]),
        "counts": counts.tolist(), "axes": list(axes), "points": [] if points is None else np.round(points, 3).T.tolist(),
        "points_name": points_name, "square": square,
    }  # fmt: skip


def ranges(name: str, title: str, labels: Sequence[str], limits: np.ndarray, quantiles: np.ndarray, axis: str, text: str) -> Chart:
    """For each label the allowed range, (L, 2), and what is taken of it: (L, 5), least, 5 %, median, 95 %, greatest."""
    return {
        "id": name, "kind": "ranges", "title": title, "text": text, "labels": list(labels),
        "limits": np.round(limits, 1).tolist(), "quantiles": np.round(quantiles, 1).tolist(), "axis": axis,
    }  # fmt: skip


Curve = tuple[str, Any, Any, str]
"""Name, x, y, and the line's style: "", "dash" or "dot"."""


def lines(name: str, title: str, series: Sequence[Curve], axes: tuple[str, str], text: str) -> Chart:
    """Curves over one axis; `axes` are those of x and y, with units in brackets."""
    drawn = [{"name": key, "x": _rounded(x), "y": _rounded(y), "dash": dash} for key, x, y, dash in series]
    return {"id": name, "kind": "lines", "title": title, "text": text, "series": drawn, "axes": list(axes)}


def sphere(name: str, title: str, directions: np.ndarray, text: str, mesh: str = "") -> Chart:
    """Where cameras stand about a hand: (N, 3) unit vectors, y up, and the hand as of `gallery.packed_mesh`, largest size 1."""
    points = np.round(np.asarray(directions) * 1000).astype(int)
    return {"id": name, "kind": "sphere", "title": title, "text": text, "points": points.ravel().tolist(), "mesh": mesh}


def _rounded(values: Any) -> list[Any]:
    """To five digits: enough for a screen. What is not known stays None."""
    return [None if value is None or not np.isfinite(value) else float(f"{value:.5g}") for value in values]
