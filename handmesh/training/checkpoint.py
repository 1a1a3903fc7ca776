"""Checkpoints: weights, Adam's moments and progress in one safetensors file, so that they can never disagree."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim import Optimizer

from handmesh.run_folder import fill, read_tensors
from handsynth.core.errors import HandsynthError
from handsynth.core.files import write_atomically

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class Progress:
    """Where a training stands."""

    epoch: int = 0  # counted from 0; the one that is under way
    step: int = 0  # of that epoch, the next to be done
    steps_done: int = 0  # of the whole run
    sums: dict[str, float] = field(default_factory=dict)  # of this epoch so far
    history: list[dict[str, float]] = field(default_factory=list)  # one row an epoch: what metrics.csv shows


def save_checkpoint(path: Path, net: nn.Module, optimizer: Optimizer, progress: Progress) -> None:
    """Writes everything that `load_checkpoint` needs to go on as if never stopped."""
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    for k, parameter in enumerate(_parameters(optimizer)):
        state = optimizer.state.get(parameter, {})
        for moment in _MOMENTS:
            if moment in state:
                tensors[f"adam.{k}.{moment}"] = state[moment]
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomically(path, lambda temporary: save_file(plain, temporary, {"progress": json.dumps(asdict(progress))}))


def load_checkpoint(path: Path, net: nn.Module, optimizer: Optimizer) -> Progress:
    """Puts a checkpoint into net and optimizer. Raises HandsynthError when it is damaged, UsageError when it is another net's."""
    tensors, metadata = read_tensors(path)
    try:
        progress = Progress(**json.loads(metadata["progress"]))
    except (KeyError, TypeError, ValueError):
        raise HandsynthError(f"{path} is damaged: it does not say how far the training was") from None
    fill(net, {name[4:]: value for name, value in tensors.items() if name.startswith("net.")}, path)
    for k, parameter in enumerate(_parameters(optimizer)):
        if f"adam.{k}.{_MOMENTS[0]}" not in tensors:
            continue
        state: dict[str, Any] = {"step": torch.tensor(float(progress.steps_done), device=parameter.device)}
        for moment in _MOMENTS:
            # As Adam lays it out itself: in the memory format of its parameter.
            state[moment] = torch.zeros_like(parameter, memory_format=torch.preserve_format).copy_(tensors[f"adam.{k}.{moment}"])
        optimizer.state[parameter] = state
    return progress


def _parameters(optimizer: Optimizer) -> list[torch.nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
