"""Table 2's columns of cost: parameters and MACs of every net beside the printed ones, and the time of one image on a CPU.

    python benchmarks/table2.py [--repeats 20] [--threads 1]

All nets are held at once and run in turn, so that a machine that slows down slows all of them. One 256 x 256 image, 778
vertices, float32, plain PyTorch: nothing fused, nothing compiled. Weights are random: time does not depend on them. One thread by
default, which measures the nets; several measure how well the machine's other cores were free. CPU time is this process's; where it
is much less than wall time (one thread), the machine was busy with something else.
"""

import argparse
from functools import partial
from typing import Any

import numpy as np
import torch
from common import print_table, provenance, results_path, round_robin, write_csv

from handmesh.nets.counting import IMAGE_SIZE, NUM_KEYPOINTS, NUM_VERTICES, summarise
from handmesh.nets.registry import create_net, list_nets

BASELINE = "i2l-resnet50"


def measure(repeats: int) -> list[dict[str, Any]]:
    """One row for each net: counts, printed counts, median times and how often the baseline's time they go into."""
    image = torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    regressor = np.zeros((NUM_KEYPOINTS, NUM_VERTICES))
    nets = {info.name: create_net(info.name, regressor, pretrained=False).eval() for info in list_nets()}
    with torch.inference_mode():
        times = round_robin({name: partial(net, image) for name, net in nets.items()}, repeats)
    rows = []
    for info in list_nets():
        counts, (cpu, wall) = summarise(info), times[info.name]
        rows.append(
            {
                "net": info.name,
                "parameters_millions": round(counts["parameters"] / 1e6, 3),
                "printed_parameters_millions": info.paper_millions or "",
                "gmacs_as_paper_counts": round(counts["gmacs_paper"], 2),
                "printed_gmacs": info.paper_gmacs or "",
                "gmacs_true": round(counts["gmacs_true"], 2),
                "wall_ms": wall * 1e3,
                "cpu_ms": cpu * 1e3,
                "times_faster_by_wall": times[BASELINE][1] / wall,
                "times_faster_by_cpu": times[BASELINE][0] / cpu,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="rounds, after one that warms up")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = measure(arguments.repeats)
    print_table(f"Table 2, one image on {arguments.threads} thread(s)", rows)
    path = results_path(f"table2-{arguments.threads}thread")
    write_csv(path, rows, provenance(threads=arguments.threads, repeats=arguments.repeats, torch=torch.__version__))
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
