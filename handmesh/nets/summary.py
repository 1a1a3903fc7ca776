"""What `handmesh nets` prints: the counts of each net beside the figures that the paper prints."""

from typing import Any

import numpy as np
import torch

from handmesh.nets.counting import MODULES, count
from handmesh.nets.registry import NetInfo, create_net

NUM_KEYPOINTS, NUM_VERTICES, IMAGE_SIZE = 21, 778, 256
"""The paper's hand and image, for which Tables 1 and 2 count."""


def summarise(info: NetInfo) -> dict[str, Any]:
    """Counts of a net and of its modules for one image of the paper's size, JSON-able; `paper` holds what the paper prints.

    `parameters` is a number of weights; GMACs are 1e9 multiply-accumulates. The net is built without memory or arithmetic.
    """
    with torch.device("meta"):
        net = create_net(info.name, np.zeros((NUM_KEYPOINTS, NUM_VERTICES)), pretrained=False)
        costs = count(net, IMAGE_SIZE)
    rows = {
        name: {"name": name, "parameters": c.parameters, "gmacs_paper": c.macs_paper / 1e9, "gmacs_true": c.macs_true / 1e9}
        for name, c in costs.items()
    }
    paper = {
        "gmacs": info.paper_gmacs,
        "parameters_millions": info.paper_millions,
        "module_gmacs": dict(zip(MODULES, info.paper_module_gmacs, strict=True)) if info.paper_module_gmacs else None,
    }
    return {
        **rows["total"], "name": info.name, "title": info.title, "modules": [rows[name] for name in MODULES],
        "vertices": NUM_VERTICES, "keypoints": NUM_KEYPOINTS, "image_size": IMAGE_SIZE, "paper": paper, "remark": info.remark,
    }  # fmt: skip


def net_table(nets: list[dict[str, Any]]) -> str:
    """One line for each net."""
    lines = [[*_COLUMNS, ""]]
    for net in nets:
        paper, title = net["paper"], net["title"] + (f" ({net['remark']})" if net["remark"] else "")
        lines.append([*_cells(net, paper["parameters_millions"], paper["gmacs"]), title])
    return f"{aligned_columns(lines)}\n{_FOOT}"


def module_table(net: dict[str, Any]) -> str:
    """One line for each module of a net."""
    paper = net["paper"]
    lines = [[*_COLUMNS, ""]]
    for row in net["modules"]:
        lines.append([*_cells(row, None, (paper["module_gmacs"] or {}).get(row["name"])), ""])
    lines.append([*_cells({**net, "name": "total"}, paper["parameters_millions"], paper["gmacs"]), net["remark"] or ""])
    return f"{net['name']}: {net['title']}\n{aligned_columns(lines)}\n{_FOOT}"


_COLUMNS = ("", "parameters [M]", "printed", "GMACs as the paper counts", "printed", "true GMACs")
_FOOT = (
    f"One {IMAGE_SIZE} x {IMAGE_SIZE} image, {NUM_VERTICES} vertices, {NUM_KEYPOINTS} keypoints. The paper's count lets a "
    "transposed convolution cost its outputs, four times the truth; printed: Tables 1 and 2."
)


def _cells(row: dict[str, Any], printed_millions: float | None, printed_gmacs: float | None) -> list[str]:
    """A line of figures, each beside the one that the paper prints."""
    printed = ["-" if value is None else f"{value:.2f}" for value in (printed_millions, printed_gmacs)]
    millions, as_paper, true = f"{row['parameters'] / 1e6:.3f}", f"{row['gmacs_paper']:.2f}", f"{row['gmacs_true']:.2f}"
    return [row["name"], millions, printed[0], as_paper, printed[1], true]


def aligned_columns(lines: list[list[str]]) -> str:
    """Lines of cells as columns of equal width: names and remarks (first and last) to the left, figures to the right."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    text = []
    for first, *figures, last in lines:
        cells = [first.ljust(widths[0]), *(f.rjust(w) for f, w in zip(figures, widths[1:-1], strict=True)), last]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)
