"""How fast the differentiable hand is beside smplx's, forward and with gradients: what a step of IK training waits for.

    python benchmarks/bench_hand_layer.py

One thread, CPU time. `whole` is the embedded hand, `keypoints` the few of its vertices that keypoints are made of, on which IK nets
train.
"""

import argparse
import functools
from pathlib import Path

import torch
from common import RESULTS, print_table, provenance, results_path, round_robin, write_csv

from handmesh.keypoints import keypoint_hand
from handmesh.kinematics.hand_layer import HandLayer
from handmesh.kinematics.smplx_layer import SmplxLayer
from handsynth.core.named_hands import open_hand

BATCHES = (1, 32, 256)


def forward(layer: HandLayer, theta: torch.Tensor, beta: torch.Tensor, repeats: int) -> None:
    with torch.no_grad():
        for _ in range(repeats):
            layer(theta, beta)


def backward(layer: HandLayer, theta: torch.Tensor, beta: torch.Tensor, repeats: int) -> None:
    for _ in range(repeats):
        leaves = [value.clone().requires_grad_() for value in (theta, beta)]
        layer(*leaves).keypoints.square().sum().backward()


def measure(repeats: int) -> list[dict]:
    """Rows of the table."""
    hand, rows = open_hand("embedded"), []
    for name, model in (("whole", hand), ("keypoints", keypoint_hand(hand))):
        layers = {"own": HandLayer(model), "smplx": SmplxLayer(model)}
        for batch in BATCHES:
            generator = torch.Generator().manual_seed(0)
            theta = 0.5 * torch.randn(batch, 16, 3, generator=generator)
            beta = torch.randn(batch, hand.num_shapes, generator=generator)
            for what, work in (("forward", forward), ("with gradients", backward)):
                inner = max(1, 256 // batch)
                runs = {key: functools.partial(work, layer, theta, beta, inner) for key, layer in layers.items()}
                seconds = {key: cpu / inner for key, (cpu, _) in round_robin(runs, repeats).items()}
                own, smplx = 1e3 * seconds["own"], 1e3 * seconds["smplx"]
                row = {
                    "hand": name,
                    "batch": batch,
                    "what": what,
                    "own_cpu_ms": own,
                    "smplx_cpu_ms": smplx,
                    "times_as_fast": smplx / own,
                }
                rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="our differentiable hand beside smplx's")
    parser.add_argument("--quick", action="store_true", help="one round: shows that it runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the CSV")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(1 if arguments.quick else 15)
    print_table("One differentiable hand layer beside the other", rows)
    write_csv(arguments.out / results_path("hand_layer").name, rows, provenance(torch=torch.__version__))


if __name__ == "__main__":
    main()
