"""Where a training stands: its checkpoint, the learning rate of each step, and whether a run folder may be gone on with.

A checkpoint holds weights, Adam's moments and progress in one safetensors file, so that they can never disagree.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn
from torch.optim import Optimizer

from handmesh.run_files import CONFIG, LEFTOVERS, read_config
from handmesh.run_folder import fill, read_tensors
from handmesh.settings.detector import SPECS
from handmesh.settings.ik import IKSpec
from handmesh.settings.mesh import TrainSpec, spec_to_dict
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.files import check_out_folder, write_file

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class Progress:
    """Where a training stands."""

    epoch: int = 0  # counted from 0; the one that is under way
    step: int = 0  # of that epoch, the next to be done
    steps_done: int = 0  # of the whole run
    sums: dict[str, float] = field(default_factory=dict)  # of this epoch so far
    history: list[dict[str, float]] = field(default_factory=list)  # one row an epoch: what metrics.csv shows
    seconds: float = 0.0  # used so far, of a training that fits into minutes
    planned: int = 0  # steps of the whole run, of such a training; 0 before the first plan


def save_checkpoint(path: Path, nets: Mapping[str, nn.Module], optimizer: Optimizer, progress: Progress) -> None:
    """Writes everything that `load_checkpoint` needs to go on as if never stopped; `nets` by name, the trained one as "net"."""
    tensors = {f"{key}.{name}": value for key, net in nets.items() for name, value in net.state_dict().items()}
    for k, parameter in enumerate(_parameters(optimizer)):
        state = optimizer.state.get(parameter, {})
        for moment in _MOMENTS:
            if moment in state:
                tensors[f"adam.{k}.{moment}"] = state[moment]
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, save(plain, {"progress": json.dumps(asdict(progress))}))  # `save_file` would hide why a disk refuses


def load_checkpoint(path: Path, nets: Mapping[str, nn.Module], optimizer: Optimizer) -> Progress:
    """Puts a checkpoint into nets and optimizer. Raises HandsynthError when it is damaged, UsageError when it is another net's."""
    tensors, metadata = read_tensors(path)
    try:
        progress = Progress(**json.loads(metadata["progress"]))
    except (KeyError, TypeError, ValueError):
        raise HandsynthError(f"{path} is damaged: it does not say how far the training was") from None
    for key, net in nets.items():
        fill(net, {name.removeprefix(f"{key}."): value for name, value in tensors.items() if name.startswith(f"{key}.")}, path)
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


def check_folder(out: Path, config: dict[str, Any], resume: bool) -> None:
    """Raises UsageError unless `out` is free, or holds the run of `config` that is to be gone on with.

    HandsynthError, too, when nothing can be written there.
    """
    check_out_folder(out)
    if not (out / CONFIG).exists():
        if out.exists() and any(not path.match(LEFTOVERS) for path in out.iterdir()):
            raise UsageError(f"{out} is not empty{' and holds no run to go on with' if resume else ''}: give --out another folder")
        return
    if not resume:
        raise UsageError(f"{out} already holds a run: --resume goes on with it, or give --out another folder")
    before = read_config(out, config.get("kind", "mesh"))
    for name, then, now in _differences(before, config):
        way = "the version of the package that ships it" if name == "detector" else "the same settings"
        raise UsageError(f"{out} was started with {name} {then!r:.60}, this command has {now!r:.60}: resume with {way}")


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Settings that decide the weights and are not the same; folders may have moved."""
    training = before.get("training")
    then = _with_defaults(training if isinstance(training, dict) else {}, now.get("kind", "mesh"))
    pairs = [(key, then.get(key), value) for key, value in now["training"].items()]
    pairs += [(key, then.get(key, 0), 0) for key in ("first_epochs", "early_side")]  # crops of another size: no longer
    pairs += [(key, before.get(key, {}).get("digest"), now[key]["digest"]) for key in ("hand", "poses") if key in now]
    pairs.append(("start", *(c.get("start", {}).get("sha256") for c in (before, now))))
    if "detector" in before and "detector" in now:  # earlier versions did not note it
        pairs.append(("detector", *(c["detector"].get("sha256") for c in (before, now))))
    for key in ("datasets", "validation"):
        held, this = ([[d.get("identity"), d.get("weight"), d.get("samples")] for d in c.get(key) or []] for c in (before, now))
        pairs.append((key, held, this))
    return [pair for pair in pairs if pair[1] != pair[2]]


def _with_defaults(training: dict[str, Any], kind: str) -> dict[str, Any]:
    """Settings of a run of whatever version: keys that it did not know have had their defaults all along."""
    defaults = spec_to_dict({"ik": IKSpec, **SPECS}.get(kind, TrainSpec)())
    nested = {key: value | training.get(key, {}) for key, value in defaults.items() if isinstance(value, dict)}
    return defaults | training | nested


def learning_rate(spec: TrainSpec | IKSpec, step: int, steps_per_epoch: float) -> float:
    """Rate of step `step` of the whole run, counted from 0.

    "step": `decay` once for every milestone reached; epochs count from 1, so milestone 28 changes the 28th epoch (section 4).
    "cosine": half a cosine from `lr` to 0 over the run (Loshchilov and Hutter 2017). "linear": a straight line to 0, which leaves
    more for the last epochs. All grow linearly over `warmup_steps`.
    """
    warm = min((step + 1) / (spec.warmup_steps + 1), 1.0)
    if spec.schedule == "step":
        epoch = int(step // steps_per_epoch) + 1
        return spec.lr * warm * spec.decay ** sum(epoch >= milestone for milestone in spec.milestones)
    done = min(step / (spec.epochs * steps_per_epoch), 1.0)
    return spec.lr * warm * (1 - done if spec.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done)))
