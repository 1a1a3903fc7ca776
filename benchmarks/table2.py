"""Table 2's columns of cost: parameters and MACs of every net beside the printed ones, and the time of one image on a CPU.

    python benchmarks/table2.py [--repeats 20] [--threads 1] [--quick]

All nets are held at once and run in turn, so that a machine that slows down slows all of them. One 256 x 256 image, 778
vertices, float32, plain PyTorch: nothing fused, nothing compiled. Weights are random: time does not depend on them. One thread by
default, which measures the nets; several measure how well the machine's other cores were free. CPU time is this process's; where it
is much less than wall time (one thread), the machine was busy with something else.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, print_table, provenance, results_path, round_robin, write_csv

from handmesh.nets.counting import IMAGE_SIZE, NUM_KEYPOINTS, NUM_VERTICES, summarise
from handmesh.nets.registry import create_net, list_nets

BASELINE = "i2l-resnet50"


def measure(repeats: int, side: int) -> list[dict[str, Any]]:
    """One row for each net: counts, printed counts, median times of an image of `side` px, and what they are of the baseline's."""
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
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
                "side_px": side,
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
    parser.add_argument("--quick", action="store_true", help="one round of an image of 64 px, to see that it runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    repeats, side = (1, 64) if arguments.quick else (arguments.repeats, IMAGE_SIZE)
    rows = measure(repeats, side)
    print_table(f"Table 2, one image on {arguments.threads} thread(s)", rows)
    path = arguments.out / results_path(f"table2-{arguments.threads}thread").name
    write_csv(path, rows, provenance(threads=arguments.threads, repeats=repeats, torch=torch.__version__))
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
