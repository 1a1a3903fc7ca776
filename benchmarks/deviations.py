"""Errors of a mesh net over its standard deviations, with one factor for each axis and with one for each vertex and axis.

    python benchmarks/deviations.py RUN --calibration SHARDS ... --heldout SHARDS ...

Both sets of factors, of the heatmaps' own widths, are found on the calibration sets and tried on each held-out one. A ratio is a
root mean square in which hands count alike, with a 95 % interval (bootstrap over hands); `gain` is by how much the mean
log-likelihood of a coordinate rises over one factor for each axis [nats], under normal distributions, with an interval over hands;
results/deviations.csv.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import paired_interval, print_table, provenance, results_path, write_csv

from handmesh.data.augment import NO_AUGMENTATION
from handmesh.data.dataset import HandDataset
from handmesh.data.shards import ShardDataset
from handmesh.device import pick_device
from handmesh.evaluation.inference import axis_ratios, point_ratios, predict_dataset
from handmesh.run_folder import load_run
from handmesh.shipped import find_run

AXES, POINTS = "each axis", "each vertex and axis"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run, or name of shipped weights")
    parser.add_argument("--calibration", type=Path, nargs="+", required=True)
    parser.add_argument("--heldout", type=Path, nargs="+", required=True)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    run = load_run(find_run(options.run), pick_device(options.device))
    run.net.mesh_decoder.head.std_scale.fill_(1)  # type: ignore[operator, union-attr]

    def squares(*folders: Path) -> np.ndarray:
        data = HandDataset([ShardDataset(folder, run.hand) for folder in folders], run.spec.side, NO_AUGMENTATION)
        return predict_dataset(run.net, data, run.hand.faces, 32, 0, pick_device(options.device), bar=True).squares_over_variance[1]

    known = squares(*options.calibration)
    factors = {AXES: axis_ratios(known), POINTS: point_ratios(known)}
    rows = [row for folder in options.heldout for row in rows_of(folder.name, squares(folder), factors, len(known))]
    write_csv(results_path("deviations"), rows, provenance(torch=torch.__version__, device=options.device))
    print_table("Errors over standard deviations of vertices", rows)


def rows_of(name: str, squares: np.ndarray, factors: dict[str, np.ndarray], calibrated_on: int) -> Iterator[dict[str, Any]]:
    """Rows of a held-out set.

    Args:
        name: of the set.
        squares: (N, V, 3) squares of errors over variances before calibration, NaN for what heatmaps cannot show.
        factors: of the standard deviations, (3,) or (V, 3), by what has one.
        calibrated_on: so many hands.
    """
    for each, factor in factors.items():
        ratios = axis_ratios(squares / factor**2)
        means = np.nanmean(squares / factor**2, 1)  # (N, 3)
        gained = log_likelihood(squares, factor) - log_likelihood(squares, factors[AXES])
        for k, axis in enumerate("xyz"):
            _, *interval = paired_interval(means[np.isfinite(means[:, k]), k])
            gain, low, high = paired_interval(gained[np.isfinite(gained[:, k]), k])
            yield {
                "a factor for": each, "set": name, "hands": len(squares), "calibrated_on": calibrated_on, "axis": axis,
                "error_over_std": float(ratios[k]), "interval_low": interval[0] ** 0.5, "interval_high": interval[1] ** 0.5,
                "gain_nats": gain, "gain_low": low, "gain_high": high,
            }  # fmt: skip


def log_likelihood(squares: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """(N, V, 3) squares over variances, a factor of the deviations -> (N, 3) mean of a coordinate [nats], but for a constant."""
    logarithm = np.broadcast_to(np.log(factor), squares.shape)
    return np.asarray(-np.nanmean(np.where(np.isnan(squares), np.nan, logarithm + squares / factor**2 / 2), 1))


if __name__ == "__main__":
    main()
