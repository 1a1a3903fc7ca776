"""The learning rate at each step: a pure function of the settings."""

import math

from handmesh.settings.ik import IKSpec
from handmesh.settings.mesh import TrainSpec


def learning_rate(spec: TrainSpec | IKSpec, step: int, steps_per_epoch: int) -> float:
    """Rate of step `step` of the whole run, counted from 0.

    "step": `decay` once for every milestone reached; epochs count from 1, so milestone 28 changes the 28th epoch (section 4).
    "cosine": half a cosine from `lr` to 0 over the run (Loshchilov and Hutter 2017). "linear": a straight line to 0, which leaves
    more for the last epochs. All grow linearly over `warmup_steps`.
    """
    warm = min((step + 1) / (spec.warmup_steps + 1), 1.0)
    if spec.schedule == "step":
        epoch = step // steps_per_epoch + 1
        return spec.lr * warm * spec.decay ** sum(epoch >= milestone for milestone in spec.milestones)
    done = step / (spec.epochs * steps_per_epoch)
    return spec.lr * warm * (1 - done if spec.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done)))
