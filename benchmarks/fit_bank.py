"""How well and how fast 23 degrees of freedom fit the embedded bank's 895 poses of 45: shape known, turn and place free.

python benchmarks/fit_bank.py       # writes the distribution as CSV and as an image beside it
"""

import argparse
import time
from pathlib import Path

import numpy as np
from common import print_table, provenance, results_path, write_csv

import handsynth
from handmesh.kinematics.fit import FitResult, fit_hands
from handsynth.core.hand import pose_hand
from handsynth.core.named_hands import open_hand

QUANTILES = (0.5, 0.9, 0.99, 1.0)


def mean_errors_mm(fit: FitResult) -> np.ndarray:
    """(N,) mean distance of each hand's vertices from its targets [mm]."""
    return 1000 * fit.vertex_errors_m.mean(1)


def error_summary(fit: FitResult) -> dict[str, float]:
    """Distribution over hands of the mean vertex error and the mean keypoint error [mm], and the iterations taken."""
    out: dict[str, float] = {"hands": len(fit.angles), "iterations_mean": float(fit.iterations.mean())}
    for name, errors in (("vertices", mean_errors_mm(fit)), ("keypoints", 1000 * fit.keypoint_errors_m.mean(1))):
        out[f"{name}_mean_mm"] = float(errors.mean())
        out |= {f"{name}_p{100 * q:g}_mm": float(np.quantile(errors, q)) for q in QUANTILES}
    return out


def plot_errors(fit: FitResult, path: Path, title: str) -> None:
    """Writes a PNG: how many hands have which mean vertex error, and the share of hands below each error."""
    from matplotlib.figure import Figure  # slow to import, and needed only here

    errors = np.sort(mean_errors_mm(fit))
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(errors, bins=40, color="#8fb3d9", edgecolor="white", linewidth=0.5)
    axes.set_xlabel("mean distance of a hand's vertices from their targets [mm]")
    axes.set_ylabel("hands")
    axes.set_xlim(left=0)
    share = axes.twinx()
    share.plot(errors, np.arange(1, len(errors) + 1) / len(errors), color="#27415f", linewidth=1.6)
    share.set_ylim(0, 1.02)
    share.set_ylabel("share of hands below")
    for q in (0.5, 0.99):
        value = float(np.quantile(errors, q))
        share.plot([value, value], [0, q], color="#27415f", linewidth=0.8, linestyle=":")
        share.annotate(f"{q:.0%}: {value:.2f} mm", (value, q), xytext=(6, -12), textcoords="offset points", fontsize=9)
    axes.set_title(title)
    figure.savefig(path, dpi=120, format="png")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
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
    write_csv(path, rows, provenance())
    plot_errors(fit, path.with_suffix(".png"), f"{len(theta)} poses of the embedded bank, 45 angles fitted by 23")
    print_table("Distance of the fitted hands from the bank's", rows)


if __name__ == "__main__":
    main()
