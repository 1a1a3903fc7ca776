"""Table 4 on synthetic hands: IK nets of 45 and 23 angles, post-optimisation, and known shape, on poses that no net was trained on.

    python benchmarks/table4.py RUNS                                # trains what is missing, evaluates noisy meshes: two CSVs
    python benchmarks/table4.py RUNS --mesh-run RUN --data SHARDS   # and a mesh net's own output on held-out data of splits.py

The bank's poses are split by gesture as in `splits.py`. Noisy meshes are held-out poses in random shapes with the noise of a mesh
net: a part for each joint that skinning carries to the vertices, and a part of each vertex's own, measured when a mesh net is
given. A dagger marks known shape. What a row leaves over another, hand by hand, has a 95 % interval (paired bootstrap). The second
file has times on one thread, Gauss-Newton beside Adam on the same hands.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import paired_interval, print_table, provenance, results_path, round_robin, write_csv
from splits import split_bank

from handmesh.data.augment import NO_AUGMENTATION
from handmesh.data.dataset import HandDataset
from handmesh.data.shards import ShardDataset
from handmesh.evaluation.inference import predict_dataset
from handmesh.keypoints import keypoint_regressor
from handmesh.kinematics.dof import hand_dof_matrix, project
from handmesh.kinematics.energy import EnergySettings
from handmesh.kinematics.fit import BESIDE_IK_NET, OF_A_NET, PREDICTED, AngleSolver, FitResult, fit_hands
from handmesh.kinematics.ik_net import IKRun, load_ik_run
from handmesh.metrics import align_similarity, evaluate_hands, mean_error_mm, point_errors_mm
from handmesh.run_folder import load_run
from handsynth.core.hand import HandModel, load_hand, pose_hand
from handsynth.core.locations import EMBEDDED
from handsynth.core.mirror import mirror_left
from handsynth.core.poses import PoseBank, load_poses, save_poses

NETS = {
    "ik-45": ("--dof", "45"),
    "ik-45-known": ("--dof", "45", "--known-shape"),
    "ik-23": ("--dof", "23"),
    "ik-23-known": ("--dof", "23", "--known-shape"),
}
"""Runs and their flags."""

PAPER = {
    "Baseline IK": ("45+10", (7.1, 7.3, 0.686, 0.979)),
    "Baseline IK †": ("45", (4.8, 5.1, 0.817, 0.918)),
    "Our IK": ("23+10", (7.4, 7.6, 0.668, 0.978)),
    "Our IK + Post Opt.": ("23+10", (6.9, 7.0, 0.706, 0.980)),
    "Our IK †": ("23", (4.8, 5.0, 0.831, 0.998)),
    "Our IK + Post Opt. †": ("23", (3.7, 3.8, 0.919, 0.999)),
}
"""Table 4: PA-MPJPE, PA-MPVPE [mm], F@5, F@15, of real images (FreiHAND)."""

OVER = {
    "Our IK + Post Opt.": "Our IK", "Our IK + Post Opt., start only": "Our IK", "Our IK + Adam": "Our IK",
    "Our IK + Post Opt. †": "Our IK †", "Our IK + Adam †": "Our IK †",
}  # fmt: skip
"""Rows with post-optimisation, and what it starts from."""

METRICS = ("pa_mpjpe_mm", "pa_mpvpe_mm", "f_at_5", "f_at_15")
ITERATIONS = 20
PART_MM, VERTEX_MM = 4.0, 1.0
"""Noise where no mesh net is given, per coordinate: of a joint's part, of a vertex. Of the size of the paper's 7 mm."""

WHITE_MM = 5.0
"""Independent noise of a vertex's coordinate in the comparison of the solvers, as their settings have it."""


class Meshes(NamedTuple):
    """N hands as a mesh net sees them and as they are; right hands [m]."""

    source: str
    vertices: np.ndarray  # (N, V, 3) given
    true_vertices: np.ndarray  # (N, V, 3)
    beta: np.ndarray  # (N, S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the IK runs")
    parser.add_argument("--preset", default="ik-cpu")
    parser.add_argument("--hands", type=int, default=1000, help="noisy meshes")
    parser.add_argument("--mesh-run", type=Path, help="run of a mesh net")
    parser.add_argument("--data", type=Path, help="held-out dataset for the mesh net")
    options = parser.parse_args()
    if (options.mesh_run is None) != (options.data is None):
        parser.error("--mesh-run and --data go together")
    torch.set_num_threads(1)

    hand, banks = load_hand(EMBEDDED / "hand.npz"), split_bank(load_poses(EMBEDDED / "poses.npz"))
    runs = _trained(options.runs, banks["train"], options.preset)
    part_mm, vertex_mm, sources = PART_MM, VERTEX_MM, []
    if options.mesh_run:
        predicted = _predicted(options.mesh_run, options.data, hand)
        part_mm, vertex_mm = measure_noise(hand, predicted.vertices, predicted.true_vertices)
        sources.append(predicted)
    sources.insert(0, _noisy(hand, banks["heldout"], options.hands, part_mm, vertex_mm))

    rows = [row for meshes in sources for row in _evaluate(hand, meshes, runs)]
    origin = provenance(
        torch=torch.__version__, preset=options.preset, part_noise_mm=part_mm, vertex_noise_mm=vertex_mm, iterations=ITERATIONS
    )
    write_csv(results_path("table4"), rows, origin)
    print_table(f"Table 4, noise of {part_mm:.1f} mm a part and {vertex_mm:.1f} mm a vertex", rows)
    times = _times(hand, _noisy(hand, banks["heldout"], 256, 0.0, WHITE_MM), runs["ik-23"])
    write_csv(results_path("table4_time"), times, origin)
    print_table(f"One thread, meshes with {WHITE_MM:g} mm of independent noise on each coordinate", times)


def _trained(folder: Path, bank: PoseBank, preset: str) -> dict[str, IKRun]:
    """Trains what is missing on the training poses, and opens all."""
    folder.mkdir(parents=True, exist_ok=True)
    save_poses(folder / "poses.npz", bank)
    for name, flags in NETS.items():
        command = [sys.executable, "-m", "handmesh", "train", "ik", preset, "--hand", "embedded", "--poses", folder / "poses.npz"]
        subprocess.run([*map(str, command), *flags, "--out", str(folder / name), "--resume"], check=True)
    return {name: load_ik_run(folder / name) for name in NETS}


def _noisy(hand: HandModel, bank: PoseBank, count: int, part_mm: float, vertex_mm: float) -> Meshes:
    """Held-out poses in random shapes, with noise."""
    rng = np.random.default_rng(0)
    theta = bank.theta[rng.integers(len(bank.theta), size=count)]
    beta = rng.normal(size=(count, hand.num_shapes))
    true = pose_hand(hand, np.concatenate([rng.normal(0, 1, (count, 1, 3)), theta], 1), beta).vertices
    noise = hand.weights @ rng.normal(0, part_mm / 1000, (count, hand.num_joints, 3))
    noise += rng.normal(0, vertex_mm / 1000, true.shape)
    return Meshes("noisy meshes", true + noise, true, beta)


def measure_noise(hand: HandModel, vertices: np.ndarray, true_vertices: np.ndarray) -> tuple[float, float]:
    """Standard deviations [mm] per coordinate of what skinning explains of a mesh net's error, and of the rest, after alignment."""
    residual = align_similarity(vertices, true_vertices) - true_vertices
    parts = np.linalg.pinv(hand.weights) @ residual
    return 1000 * float(parts.std()), 1000 * float((residual - hand.weights @ parts).std())


def _predicted(run: Path, folder: Path, hand: HandModel) -> Meshes:
    """A mesh net's output on a dataset, and the shapes in its labels."""
    opened, data = load_run(run, torch.device("cpu")), ShardDataset(folder, hand)
    samples = HandDataset([data], opened.spec.side, NO_AUGMENTATION)
    found = predict_dataset(opened.net, samples, hand.faces, 16, 0, torch.device("cpu"), bar=True)
    labels = [data.labels(k) for k in range(len(data))]
    vertices, true = (mirror_left(v, [label["side"] for label in labels]) for v in (found.vertices, found.true_vertices))
    return Meshes("mesh net", vertices, true, np.array([label["beta"] for label in labels]))


def _evaluate(hand: HandModel, meshes: Meshes, runs: dict[str, IKRun]) -> list[dict[str, Any]]:
    """The six rows, and what they are to be compared with."""
    keypoints = keypoint_regressor(hand) @ meshes.vertices
    guesses = {name: _guess(run, keypoints, meshes.beta) for name, run in runs.items()}

    def alone(name: str) -> np.ndarray:
        theta, beta = guesses[name]
        return pose_hand(hand, theta, beta).vertices

    def refined(name: str, settings: EnergySettings = BESIDE_IK_NET, **how: Any) -> np.ndarray:
        theta, beta = guesses[name]
        angles = project(theta[:, 1:], hand_dof_matrix(hand))
        how |= {"frozen_shape": runs[name].spec.known_shape, "iterations": ITERATIONS, "check": False}
        return fit_hands(hand, meshes.vertices, keypoints, angles, beta, settings=settings, **how).vertices

    candidates: dict[str, Callable[[], np.ndarray]] = {
        "the mesh itself": lambda: meshes.vertices,
        "Baseline IK": lambda: alone("ik-45"),
        "Baseline IK †": lambda: alone("ik-45-known"),
        "Our IK": lambda: alone("ik-23"),
        "Our IK + Post Opt.": lambda: refined("ik-23"),
        "Our IK †": lambda: alone("ik-23-known"),
        "Our IK + Post Opt. †": lambda: refined("ik-23-known"),
        "Our IK + Post Opt., start only": lambda: refined("ik-23", OF_A_NET),
        "Our IK + Adam": lambda: refined("ik-23", method="adam"),
        "Our IK + Adam †": lambda: refined("ik-23-known", method="adam"),
        "Post Opt. without IK": lambda: AngleSolver(hand, iterations=ITERATIONS)(meshes.vertices, predicted=True).vertices,
    }
    true_keypoints = keypoint_regressor(hand) @ meshes.true_vertices
    rows, errors = [], {}
    for name, make in candidates.items():
        vertices = make()
        aligned = align_similarity(keypoint_regressor(hand) @ vertices, true_keypoints)
        errors[name] = point_errors_mm(aligned, true_keypoints).mean(1)
        less = paired_interval(errors[name] - errors[OVER[name]]) if name in OVER else ("", "", "")
        scores = evaluate_hands(keypoint_regressor(hand) @ vertices, vertices, true_keypoints, meshes.true_vertices)
        dofs, printed = PAPER.get(name, ("", ("", "", "", "")))
        row = {"meshes": meshes.source, "hands": len(vertices), "row": name, "dof": dofs, **{m: scores[m] for m in METRICS}}
        row |= dict(zip(("over_ik_alone_mm", "interval_low_mm", "interval_high_mm"), less, strict=True))
        rows.append(row | {f"paper_{metric}": value for metric, value in zip(METRICS, printed, strict=True)})
    return rows


def _guess(run: IKRun, keypoints: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 16, 3) theta and (N, S) beta of an IK net alone."""
    with torch.inference_mode():
        given = torch.tensor(beta, dtype=torch.float32) if run.spec.known_shape else None
        found = run.net(torch.tensor(keypoints, dtype=torch.float32), given)
        return run.net.theta(found.pose).double().numpy(), found.beta.double().numpy()


def _times(hand: HandModel, meshes: Meshes, run: IKRun) -> list[dict[str, Any]]:
    """Milliseconds of CPU time a hand at batch 1 and 256, all stages in turn, and how near the vertices then are to the truth."""
    solver = AngleSolver(hand, run.net, iterations=ITERATIONS, noise_m=PREDICTED.noise_m)
    rows = []
    for batch, repeats in ((1, 20), (256, 3)):
        vertices, true = meshes.vertices[:batch], meshes.true_vertices[:batch]
        keypoints = keypoint_regressor(hand) @ vertices
        theta, beta = _guess(run, keypoints, meshes.beta[:batch])
        angles = project(theta[:, 1:], hand_dof_matrix(hand))
        refine = partial(fit_hands, hand, vertices, keypoints, angles, beta, settings=PREDICTED, check=False)
        stages: dict[str, Callable[[], Any]] = {
            "IK net": partial(_guess, run, keypoints, beta),
            "20 iterations of Gauss-Newton": refine,
            "20 iterations of Adam": partial(refine, method="adam"),
            "IK net and Gauss-Newton": partial(solver, vertices, predicted=True),
        }
        for name, (cpu, wall) in round_robin(stages, repeats).items():
            found = stages[name]()
            error = mean_error_mm(found.vertices, true) if isinstance(found, FitResult) else float("nan")
            times = {"cpu_ms_per_hand": 1000 * cpu / batch, "wall_ms_per_hand": 1000 * wall / batch}
            rows.append({"stage": name, "batch": batch, **times, "hands_per_cpu_s": batch / cpu, "mpvpe_mm": error})
    return rows


if __name__ == "__main__":
    main()
