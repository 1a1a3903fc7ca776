"""Several processes that train one net: torchrun's ranks, or the single process that is rank 0 of 1."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from handmesh.device import pick_device


@dataclass(frozen=True)
class Ranks:
    """This process among all."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this one writes files and talks."""
        return self.rank == 0

    def cores(self) -> int:
        """Cores of this machine for each of its ranks."""
        here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(here // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)

    def wrap(self, net: nn.Module) -> nn.Module:
        """The net as every rank trains it: gradients averaged, batch norm over all GPUs."""
        if self.world == 1:
            return net
        if self.device.type == "cuda":
            net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
        return DistributedDataParallel(net, device_ids=[self.device] if self.device.type == "cuda" else None)

    def total(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all ranks."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def same_buffers(self, net: nn.Module) -> None:
        """Gives every rank the running statistics of rank 0, which are those that are saved."""
        if self.world > 1:
            for buffer in net.buffers():
                distributed.broadcast(buffer, 0)

    def wait(self) -> None:
        """Until every rank is here."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def open_ranks(device: str) -> Iterator[Ranks]:
    """The ranks that `torchrun` started (its environment variables say so), or this process alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = pick_device(device)
    if world == 1:
        yield Ranks(0, 1, chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Ranks(distributed.get_rank(), world, chosen)
        distributed.barrier()  # a rank that leaves while another still talks to it may be aborted
    finally:
        distributed.destroy_process_group()
