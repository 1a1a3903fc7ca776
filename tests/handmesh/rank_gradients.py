"""Run by test_train.py, alone or under torchrun: the gradients of one step on a batch of five, as the first rank has them.

python rank_gradients.py SHARDS OUT        torchrun --nproc-per-node 2 rank_gradients.py SHARDS OUT
"""

import dataclasses
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from test_train import SPEC

from handmesh.data.sampler import EpochBatches
from handmesh.data.shards import ShardDataset
from handmesh.training.loop import HowRun, Part, Training
from handmesh.training.ranks import open_ranks
from handsynth.core.toy import toy_hand

shards, out = map(Path, sys.argv[1:])
torch.set_num_threads(1)
with open_ranks("cpu") as ranks:
    data, spec = ShardDataset(shards), dataclasses.replace(SPEC, batch=5, clip=1e9)
    training = Training(spec, [Part(data, 1.0)], [data], toy_hand(), out.with_suffix(".run"), ranks, HowRun(workers=0))
    training.net.eval()  # statistics of a batch are a rank's own on a CPU; what is shared out is not
    (raw, *_) = training.loader(EpochBatches([12], [1.0], 5, 0, 0, ranks.rank, ranks.world))
    training.step(raw, 5, 0.0)
    figures, _, fine = training.step.read()
    assert fine
    if ranks.first:
        gradients = {name: p.grad.contiguous() for name, p in training.net.named_parameters() if p.grad is not None}
        save_file(gradients | {f"figure {name}": torch.tensor(value) for name, value in figures.items()}, out)
