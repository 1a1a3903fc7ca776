"""How well and how fast 23 degrees of freedom fit the embedded bank's 895 poses of 45: shape known, turn and place free.

python benchmarks/fit_bank.py [--threads 1]       # writes the distribution as CSV and as an image beside it
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from common import print_table, provenance, results_path, write_csv

import handsynth
from handmesh.kinematics.fit import fit_hands
from handmesh.kinematics.report import error_summary, plot_errors
from handsynth.core.hand import pose_hand
from handsynth.core.named_hands import open_hand


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    hand = open_hand("embedded")
    with np.load(Path(handsynth.__file__).parent / "assets" / "embedded" / "poses.npz", allow_pickle=False) as bank:
        theta = bank["theta"].astype(np.float64)
    theta = np.concatenate([np.zeros((len(theta), 1, 3)), theta], 1)
    beta = np.zeros((len(theta), hand.num_shapes))
    posed = [pose_hand(hand, *blocks) for blocks in zip(np.array_split(theta, 8), np.array_split(beta, 8), strict=True)]
    vertices, keypoints = (np.concatenate([getattr(p, name) for p in posed]) for name in ("vertices", "keypoints"))

    start, cpu = time.perf_counter(), time.process_time()
    fit = fit_hands(hand, vertices, keypoints, beta=beta, frozen_shape=True)
    seconds = {"wall_s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}
    rows = [{**error_summary(fit), **seconds}]
    path = results_path("fit_bank")
    write_csv(path, rows, provenance(torch=torch.__version__, threads=options.threads))
    plot_errors(fit, path.with_suffix(".png"), f"{len(theta)} poses of the embedded bank, 45 angles fitted by 23")
    print_table("Distance of the fitted hands from the bank's", rows)


if __name__ == "__main__":
    main()
