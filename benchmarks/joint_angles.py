"""Joint angles of a mesh net's meshes: fits that start from the mesh itself, and fits that start from an IK net.

    python benchmarks/joint_angles.py HELDOUT ... [--run RUN] [--ik IK_RUN]

Hands of datasets that `splits.py` makes of its held-out poses, in those that the IK net has not seen either: whole poses of the
bank, of gestures that its training kept apart.
Errors are against the angles of the true mesh, with a 95 % interval over hands of what the IK net gains; a fit is unsteady when
3e-5 m of noise on each coordinate move one of its angles by more than 0.3 degrees; results/joint_angles.csv.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import paired_interval, print_table, provenance, results_path, write_csv
from splits import split_bank

from handmesh.data.shards import ShardDataset
from handmesh.estimation.backends import NONE, OWN, open_net
from handmesh.estimation.estimate import Estimator, View
from handmesh.estimation.first_guess import open_guess
from handmesh.kinematics.fit import AngleSolver, FitResult, std_weights
from handmesh.metrics import align_similarity, point_errors_mm
from handmesh.training.ik_hands import split_poses
from handsynth.core.mirror import mirror_left
from handsynth.core.named_hands import open_poses

MOVED_M, STEADY_DEG = 3e-5, 0.3
"""Noise on each coordinate of the meshes [m], and by how much no angle of a steady fit changes then."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("heldout", type=Path, nargs="+", help="of splits.py: heldout, validation, or such with other seeds")
    parser.add_argument("--run", help="mesh net: run or name of shipped weights [the default]")
    parser.add_argument("--ik", default=OWN, help="run of train ik, or name of shipped weights")
    options = parser.parse_args()
    opened = open_net(options.run)
    estimator = Estimator(opened.net, opened.hand, opened.side)
    unseen = set(split_poses(open_poses("embedded"))[1].names)
    true, found, stds = (np.concatenate(each) for each in zip(*meshes(options.heldout, estimator, unseen), strict=True))
    angles = AngleSolver(opened.hand)(true, predicted=False).angles
    solvers = {"the mesh": NONE, "the IK net": options.ik}
    fits = {name: _fit(AngleSolver(opened.hand, open_guess(ik, opened.hand)), found, stds) for name, ik in solvers.items()}
    rows = list(rows_of(fits, angles, true))
    write_csv(results_path("joint_angles"), rows, provenance())
    print_table("Joint angles of a net's meshes", rows)


def meshes(
    folders: list[Path], estimator: Estimator, unseen: set[str], batch: int = 32
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """True and found vertices of right hands, (B, V, 3) each [m], and (B, V) deviations [mm], of hands in poses of these names."""
    names = split_bank(open_poses("embedded"))["heldout"].names
    for data in map(ShardDataset, folders):
        poses = [data.labels(k)["recipe"]["pose"] for k in range(len(data))]
        chosen = [k for k, pose in enumerate(poses) if not pose["fingers"] and names[pose["bank_index"]] in unseen]
        for start in range(0, len(chosen), batch):
            records = [data.read(k) for k in chosen[start : start + batch]]
            sides = [record.side for record in records]
            estimates = estimator([View(record.image, record.K, record.side, record.bbox) for record in records])
            true, found = (np.stack([each.vertices for each in every]) for every in (records, estimates))
            yield mirror_left(true, sides), mirror_left(found, sides), np.stack([each.std_mm for each in estimates])


def _fit(solver: AngleSolver, vertices: np.ndarray, stds: np.ndarray) -> tuple[FitResult, FitResult]:
    """Fits to meshes, and to the same moved a little."""
    noise = np.random.default_rng(0).normal(0, MOVED_M, vertices.shape)
    first, second = (solver(each, std_weights(stds), predicted=True) for each in (vertices, vertices + noise))
    return first, second


def rows_of(fits: dict[str, tuple[FitResult, FitResult]], angles: np.ndarray, true: np.ndarray) -> Iterator[dict[str, Any]]:
    """A row for each start.

    Args:
        fits: by where they start; gains are over the first.
        angles: (N, 23) of the true meshes [rad].
        true: (N, V, 3) these [m].
    """
    plain: np.ndarray | None = None
    for name, (fit, moved) in fits.items():
        errors = np.rad2deg(np.abs(fit.angles - angles))
        each = errors.mean(1)
        plain = each if plain is None else plain
        gain, low, high = paired_interval(plain - each)
        aligned = point_errors_mm(align_similarity(fit.vertices, true), true)
        changes = np.rad2deg(np.abs(fit.angles - moved.angles)).max(1)
        yield {
            "start": name, "hands": len(true), "angle_error_deg": float(each.mean()),
            "angle_error_median_deg": float(np.median(errors)), "gain_deg": gain, "interval_low": low, "interval_high": high,
            "pa_mpvpe_mm": float(aligned.mean()), "unsteady_percent": 100 * float((changes > STEADY_DEG).mean()),
            "iterations": float(fit.iterations.mean()),
        }  # fmt: skip


if __name__ == "__main__":
    main()
