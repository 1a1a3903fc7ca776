"""The figure of bench_generate: where the time of a sample goes, and the rates of whole pipelines."""

from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure


def plot_generate(path: Path, stages: list[dict[str, Any]], pipelines: list[dict[str, Any]]) -> None:
    """Draws the tables of stages and pipelines side by side into `path`."""
    figure = Figure(figsize=(13, 0.6 + 0.42 * len(pipelines)), layout="constrained")
    left, right = figure.subplots(1, 2)

    bars = list(dict.fromkeys(_label(row) for row in stages))
    start = dict.fromkeys(bars, 0.0)
    colours = colormaps["tab10"].colors
    for number, stage in enumerate(dict.fromkeys(row["stage"] for row in stages if row["stage"] != "sum")):
        widths = {_label(row): row["cpu_ms_per_sample"] for row in stages if row["stage"] == stage}
        left.barh(bars, [widths[b] for b in bars], left=[start[b] for b in bars], color=colours[number % 10], label=stage)
        start = {b: start[b] + widths[b] for b in bars}
    left.set(xlabel="CPU ms per sample", title="Stages")
    left.legend(fontsize="small", loc="upper right", bbox_to_anchor=(1, -0.12), ncols=5)
    left.invert_yaxis()

    names, rates = [_label(row) for row in pipelines], [row["samples_per_cpu_s"] for row in pipelines]
    drawn = right.barh(names, rates, color=["tab:gray" if "naive" in n or "careful" in n else "tab:blue" for n in names])
    right.bar_label(drawn, fmt="%.3g", padding=3)
    right.set(xlabel="samples per CPU second", title="Whole pipelines", xscale="log")
    right.margins(x=0.15)
    right.invert_yaxis()
    figure.savefig(path, dpi=120)


def _label(row: dict[str, Any]) -> str:
    return f"{row['pipeline']} ({row['textures']})"
