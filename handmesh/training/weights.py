"""What becomes of weights besides their gradients: where they begin, which decay, the running mean that is validated and saved."""

import copy
import hashlib
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from handmesh.run_files import WEIGHTS
from handmesh.shipped import is_shipped
from handsynth.core.errors import UsageError

_AVERAGED_BUFFERS = ("running_mean", "running_var")  # batch norm's, which go with the weights; others belong to either net alone


def parameter_groups(net: nn.Module, decay_norms: bool) -> list[dict[str, object]]:
    """AdamW's groups: one, or with `decay_norms` off a second one of norms and biases, whose weights do not decay.

    Decay draws what multiplies and shifts towards zero; only for matrices and kernels is that towards a simpler function.
    """
    if decay_norms:
        return [{"params": list(net.parameters())}]
    matrices = [parameter for parameter in net.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in net.parameters() if parameter.ndim <= 1]
    return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]


Net = TypeVar("Net", bound=nn.Module)


class RunningMean(Generic[Net]):
    """The exponential mean of a net's weights over its steps, in evaluation mode (Polyak and Juditsky 1992).

    Early it follows more closely: after step n with the decay (n + 1) / (n + 10) at most, so that it forgets where the net began.

    Args:
        net: whose weights are followed.
        decay: share of the mean that a step keeps.
    """

    def __init__(self, net: Net, decay: float) -> None:
        self.decay = decay
        self.net: Net = copy.deepcopy(net).eval().requires_grad_(False)
        self._mean = _averaged(self.net)

    @torch.no_grad()
    def update(self, net: Net, step: int) -> None:
        """Takes in the weights that step `step` (counted from 0) of the run has given."""
        keep = min(self.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(self._mean, _averaged(net), 1 - keep)


def _averaged(net: nn.Module) -> list[Tensor]:
    buffers = [value for name, value in net.named_buffers() if name.rpartition(".")[2] in _AVERAGED_BUFFERS]
    return [*(parameter.data for parameter in net.parameters()), *buffers]


def weights_of(run: Path) -> dict[str, str]:
    """Name and digest of a run's weights, as other runs' config.yaml has them. Raises UsageError where there are none."""
    try:
        digest = hashlib.sha256((run / WEIGHTS).read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{run}: {WEIGHTS} cannot be read: {error.strerror}") from None
    return {"run": run.name if is_shipped(run) else str(run.absolute()), "sha256": digest}
