"""Parameters and multiply-accumulates of a net, per module, counted as the paper counts and truly; and the tables that show them.

Both counts follow ptflops (flops-counter.pytorch), the tool that the paper names: a convolution costs one MAC per weight and
position plus one per output for its bias, batch norm 2 per element, ReLU and pooling 1 per element.

* *As the paper counts*: ptflops up to 0.7.0. It looks at modules alone, so Swish, sigmoid and softmax are free, and it lets a
  transposed convolution cost a multiplication by every weight at every *output*: four times too many at stride 2.
* *Truly*: every operation that runs, whatever module or function calls it. Transposed convolutions count at their inputs, as
  in ptflops since 0.7.5; matrix products count; activations, softmax, means and products of maps are 1 per element. Additions
  alone, exponentials and copies stay uncounted.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from handmesh.nets.registry import NetInfo, create_net

MODULES = ("pose_backbone", "pose_decoder", "aggregation", "mesh_backbone", "mesh_decoder")
"""The five modules of Table 1, in its order."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
_POOLS = (nn.MaxPool2d, nn.AdaptiveAvgPool2d)
_aten = torch.ops.aten
_NORMS = {
    _aten.native_batch_norm, _aten._native_batch_norm_legit, _aten._native_batch_norm_legit_no_training, _aten.cudnn_batch_norm,
}  # fmt: skip
_PER_OUTPUT = {
    _aten.relu, _aten.relu_, _aten.silu, _aten.silu_, _aten.hardswish, _aten.hardswish_, _aten.hardsigmoid, _aten.sigmoid,
    _aten.sigmoid_, _aten._softmax, _aten.mul, _aten.mul_, _aten.div, _aten.pow,
}  # fmt: skip
_PER_INPUT = {_aten.mean, _aten.max_pool2d_with_indices, _aten._adaptive_avg_pool2d}


@dataclass(frozen=True)
class Cost:
    """What one module (or a whole net) holds and does for one image."""

    parameters: int
    macs_paper: int
    macs_true: int


class _TrueMacs(TorchDispatchMode):
    """Adds up the MACs of every operation under the module that is at work."""

    def __init__(self) -> None:
        super().__init__()
        self.macs: Counter[str] = Counter()
        self.module = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.macs[self.module] += _operation_macs(func.overloadpacket, args, out)
        return out


def _operation_macs(operation: Any, args: tuple, out: Any) -> int:
    """MACs of one aten operation."""
    if operation is _aten.convolution:
        data, weight, bias, transposed = args[0], args[1], args[2], args[6]
        places = data if transposed else out
        per_place = weight[0].numel() * weight.shape[0]  # every weight once, and ...
        return places.shape[0] * math.prod(places.shape[2:]) * per_place + (out.numel() if bias is not None else 0)
    if operation in (_aten.mm, _aten.bmm):
        return args[0].numel() * args[1].shape[-1]
    if operation in (_aten.addmm, _aten.baddbmm):
        return args[1].numel() * args[2].shape[-1] + out.numel()
    if operation in _NORMS:
        return 2 * args[0].numel()
    if operation in _PER_OUTPUT:
        return out.numel()
    if operation in _PER_INPUT:
        return args[0].numel()
    return 0


def _paper_macs(module: nn.Module, data: Tensor, out: Tensor) -> int:
    """MACs of one leaf module by the rules of ptflops 0.7.0."""
    if isinstance(module, _CONVOLUTIONS):
        weights = math.prod(module.kernel_size) * module.in_channels * module.out_channels // module.groups
        bias = out.numel() if module.bias is not None else 0
        return out.shape[0] * math.prod(out.shape[2:]) * weights + bias
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return 2 * data.numel()
    if isinstance(module, nn.ReLU):
        return out.numel()
    if isinstance(module, _POOLS):
        return data.numel()
    return 0


def count(net: nn.Module, image_size: int = 256, modules: Iterable[str] = MODULES) -> dict[str, Cost]:
    """Costs of each named child of `net`, and of the whole under "total", for one (1, 3, image_size, image_size) image.

    The net is run once, in evaluation mode, on whatever device it is; on torch's "meta" device that takes no arithmetic at all.
    """
    paper: Counter[str] = Counter()
    names, mode = tuple(modules), _TrueMacs()
    handles = []
    for name in names:
        child = net.get_submodule(name)

        def enter(*_: Any, name: str = name) -> None:
            mode.module = name

        def leave(*_: Any) -> None:
            mode.module = ""

        handles += [child.register_forward_pre_hook(enter), child.register_forward_hook(leave)]
        for leaf in child.modules():
            if not any(leaf.children()):

                def add(leaf: nn.Module, data: Any, out: Tensor, name: str = name) -> None:
                    paper[name] += _paper_macs(leaf, data[0], out)

                handles.append(leaf.register_forward_hook(add))
    was_training, device = net.training, next(net.parameters()).device
    net.eval()
    try:
        with torch.no_grad(), mode:
            net(torch.zeros(1, 3, image_size, image_size, device=device))
    finally:
        net.train(was_training)
        for handle in handles:
            handle.remove()
    costs = {n: Cost(sum(p.numel() for p in net.get_submodule(n).parameters()), paper[n], mode.macs[n]) for n in names}
    costs["total"] = Cost(sum(p.numel() for p in net.parameters()), sum(paper.values()), sum(mode.macs.values()))
    return costs


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
