"""Run under torchrun by test_train.py: trains, and writes which samples this rank saw and what it ends with.

torchrun --nproc-per-node 2 two_ranks.py SHARDS RUN
"""

import json
import sys
from pathlib import Path

import torch
from test_train import SPEC

from handmesh.data.dataset import HandDataset
from handmesh.data.sampler import Draw
from handmesh.data.shards import ShardDataset
from handmesh.training.loop import HowRun, Part, Training
from handmesh.training.ranks import open_ranks
from handsynth.core.toy import toy_hand

shards, out = map(Path, sys.argv[1:])
torch.set_num_threads(1)
seen: list[list[int]] = [[], []]
read = HandDataset.raw


def noted(self, wanted):
    for one in wanted:
        if isinstance(one, Draw):
            seen[one.turn].append(one.position)
    return read(self, wanted)


HandDataset.raw = noted  # type: ignore[method-assign]
with open_ranks("cpu") as ranks:
    data = ShardDataset(shards)
    training = Training(SPEC, [Part(data, 1.0)], [data], toy_hand(), out, ranks, HowRun(workers=0))
    training.run()
    sums = {name: tensor.double().sum().item() for name, tensor in training.net.state_dict().items()}
    out.with_name(f"rank{ranks.rank}.json").write_text(json.dumps({"seen": seen, "weights": sums}))
