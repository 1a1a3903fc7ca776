"""How far a hand of revolute joints is from the paper's hand, whose axis-angles add up: over the bank, and over feasible poses.

    python benchmarks/joint_coordinates.py [--every 1]

Poses are projected to the 23 degrees of freedom first, so that what Z drops is not counted; shape is the mean one. For each finger:

* `mcp_residual`: rotation between the knuckle's sum of axis-angles and the nearest of two revolute joints (the thumb has no such
  knuckle).
* `tip_total`: distance between the fingertip of rigid links turned by revolute joints and that of the paper's hand (its keypoint).
  It has two parts: `tip_revolute`, rigid links turned by revolute joints against rigid links turned by sums, and `tip_skin`, rigid
  links turned by sums against the skin, which skinning and pose blend shapes deform.
* `beyond_limits`: share of the poses, out of those within the limits of the angles, whose joint coordinates leave the same limits
  by more than 0.5 degrees.

"bank": the embedded bank's 895 poses. "uniform": 2,000 poses uniform within the limits, far more extreme than any hand's.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import print_table, provenance, results_path, write_csv

import handsynth
from handmesh.kinematics.dof import DOFS, dof_limits, embed, hand_dof_matrix, project
from handmesh.kinematics.joint_coordinates import KNUCKLE_NAMES, revolute_kinematics, rigid_keypoints, to_joint_coordinates
from handsynth.core.conventions import FINGERS, KEYPOINT_NAMES
from handsynth.core.hand import HandModel, pose_hand
from handsynth.core.named_hands import open_hand
from handsynth.core.rotation import rotvec_to_rotmat

UNIFORM_POSES = 2000
TOLERANCE_DEG = 0.5


def compare(hand: HandModel, angles: np.ndarray, poses: str) -> list[dict[str, Any]]:
    """(N, 23) angles [rad] -> a row for each finger."""
    beta, theta = np.zeros(hand.num_shapes), embed(angles, hand_dof_matrix(hand))
    whole = np.concatenate([np.zeros((len(angles), 1, 3)), theta], 1)
    paper = np.concatenate([pose_hand(hand, block, beta).keypoints for block in np.array_split(whole, len(whole) // 128 + 1)])
    sums = rigid_keypoints(hand, beta, rotvec_to_rotmat(theta))
    coordinates, residual = to_joint_coordinates(angles)
    revolute = revolute_kinematics(hand, beta, coordinates)
    inside, within = (_within(values, dof_limits(hand.joint_limits)) for values in (angles, coordinates))
    rows = []
    for finger in FINGERS:
        tip = KEYPOINT_NAMES.index(f"{finger}_tip")
        own = [k for k, dof in enumerate(DOFS) if dof.finger == finger]
        knuckle = residual[:, KNUCKLE_NAMES.index(f"{finger}_mcp")] if f"{finger}_mcp" in KNUCKLE_NAMES else np.zeros(len(angles))
        row: dict[str, Any] = {"poses": poses, "hands": len(angles), "finger": finger}
        row |= _mean_and_max("mcp_residual", knuckle, "deg")
        for name, a, b in (("total", revolute, paper), ("revolute", revolute, sums), ("skin", sums, paper)):
            row |= _mean_and_max(f"tip_{name}", 1000 * np.linalg.norm(a[:, tip] - b[:, tip], axis=-1), "mm")
        feasible = inside[:, own].all(1)
        beyond = 100 * (~within[:, own].all(1) & feasible).sum() / max(feasible.sum(), 1)
        rows.append(row | {"feasible_hands": int(feasible.sum()), "beyond_limits_percent": beyond})
    return rows


def _mean_and_max(name: str, values: np.ndarray, unit: str) -> dict[str, float]:
    return {f"{name}_mean_{unit}": float(values.mean()), f"{name}_max_{unit}": float(values.max())}


def _within(values: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """(N, 23) whether each value lies within its limits, or hardly beyond."""
    slack = np.deg2rad(TOLERANCE_DEG)
    return (values >= limits[:, 0] - slack) & (values <= limits[:, 1] + slack)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="only each N-th pose, to see that it runs")
    parser.add_argument("--out", type=Path, help="CSV to write [results/joint_coordinates-MACHINE-COMMIT.csv]")
    arguments = parser.parse_args()
    hand = open_hand("embedded")
    theta = np.load(Path(handsynth.__file__).parent / "assets" / "embedded" / "poses.npz")["theta"].astype(np.float64)
    limits = dof_limits(hand.joint_limits)
    uniform = np.random.default_rng(0).uniform(limits[:, 0], limits[:, 1], (UNIFORM_POSES, len(limits)))
    rows = compare(hand, project(theta, hand_dof_matrix(hand))[:: arguments.every], "bank")
    rows += compare(hand, uniform[:: arguments.every], "uniform")
    print_table("Revolute joints against sums of axis-angles", rows)
    path = arguments.out or results_path("joint_coordinates")
    write_csv(path, rows, provenance())
    print(f"\n{path}")


if __name__ == "__main__":
    main()
