"""A run evaluated on datasets: every sample predicted, scored, and grouped by view, pose and visibility."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handmesh.data.augment import NO_AUGMENTATION
from handmesh.data.dataset import HandDataset
from handmesh.data.shards import ShardDataset
from handmesh.evaluation.groups import Group, make_groups
from handmesh.evaluation.inference import Predicted, axis_ratios, point_ratios, predict_dataset
from handmesh.evaluation.scores import Evaluated, correct_share, evaluate_all, group_rows
from handmesh.kinematics.fit import AngleSolver
from handmesh.kinematics.mesh_angles import about_solver
from handmesh.metrics import AUC_LIMIT_MM
from handmesh.run_folder import Run
from handsynth.core.conventions import KEYPOINT_NAMES
from handsynth.core.grouping import flexion_deg, view_angles_deg
from handsynth.core.hand import HandModel
from handsynth.core.mirror import mirror_left

COLUMNS = ("mpjpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm")
"""Metrics of a single hand that errors.csv lists."""


PCK_MM = np.arange(0, AUC_LIMIT_MM + 1)
"""Errors allowed in the curve of correct keypoints that metrics.json keeps [mm]."""


@dataclass(frozen=True, eq=False)
class Hands:
    """The N hands that were evaluated, in their order."""

    dataset: np.ndarray  # (N,) number of each hand's dataset
    position: np.ndarray  # (N,) of its sample in that dataset
    labels: list[dict[str, Any]]
    keypoints: np.ndarray  # (N, 21, 3) predicted, camera frame [m]
    vertices: np.ndarray  # (N, V, 3) predicted, camera frame [m]
    groups: list[Group]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was found."""

    summary: dict[str, Any]  # JSON-able; `groups` are rows as of `scores.group_rows`, `joints` the net's errors by keypoint
    evaluated: dict[str, Evaluated]  # by the keys of `scores.TITLES`
    per_hand: dict[str, Any]  # columns of errors.csv
    point_ratios: tuple[np.ndarray, np.ndarray]  # (21, 3), (V, 3) errors over the net's standard deviations, point by point
    hands: Hands


def evaluate_run(
    run: Run,
    parts: Sequence[ShardDataset],
    batch: int,
    workers: int,
    device: torch.device,
    skip_bad: bool,
    solver: AngleSolver | None = None,
) -> Evaluation:
    """Predicts every sample of the datasets and evaluates that: crops about the labels' boxes, the wrist at its true depth.

    With a solver, the hands of 23 angles that it finds for the predicted meshes are evaluated too.

    Raises HandsynthError at a damaged sample unless `skip_bad`, which leaves it out.
    """
    data = HandDataset(parts, run.spec.side, NO_AUGMENTATION, skip_bad=skip_bad)
    predicted = predict_dataset(run.net, data, run.hand.faces, batch, workers, device, bar=True)
    found = evaluate_predicted(predicted, parts, run.hand, solver)
    return replace(found, summary={"run": str(run.folder), "net": run.spec.net, **found.summary})


def evaluate_predicted(
    predicted: Predicted, parts: Sequence[ShardDataset], hand: HandModel, solver: AngleSolver | None = None
) -> Evaluation:
    """Evaluates predictions for the samples of `parts`; a sample that stood in for a damaged one counts once."""
    numbers = np.stack([predicted.dataset, predicted.sample], 1)
    once = np.sort(np.unique(numbers, axis=0, return_index=True)[1])
    dataset, sample = numbers[once].T
    true_keypoints, true_vertices = predicted.true_keypoints[once], predicted.true_vertices[once]
    positions = [{int(index): position for position, index in enumerate(part.indices())} for part in parts]
    position = np.array([positions[d][int(s)] for d, s in zip(dataset, sample, strict=True)])
    labels = [parts[d].labels(p) for d, p in zip(dataset, position.tolist(), strict=True)]
    sides = [found["side"] for found in labels]
    points = {"net": (predicted.keypoints[once], predicted.vertices[once])}
    if solver:
        points["fitted"] = _fit(solver, predicted.vertices[once], sides)
    evaluated = evaluate_all(points, true_keypoints, true_vertices, hand)
    visible = np.array([np.mean(np.array(found["keypoints_visible"]) > 0) for found in labels])
    view = view_angles_deg(true_keypoints, np.array([side == "left" for side in sides]))
    bend = flexion_deg(true_keypoints)
    names = [part.name for part in parts]
    groups = make_groups(dataset, names, view, bend, visible)
    squares = [part[once] for part in predicted.squares_over_variance]
    summary = {
        "datasets": [
            {"folder": part.source, "name": part.name, "identity": part.identity, "hands": int((dataset == d).sum())}
            for d, part in enumerate(parts)
        ],
        "left_out": len(numbers) - len(once) + sum(_lost(part) for part in parts),
        **({"kinematics": about_solver(solver)} if solver else {}),
        "error_over_std": {"keypoints": axis_ratios(squares[0]).tolist(), "vertices": axis_ratios(squares[1]).tolist()},
        "groups": group_rows(evaluated, groups),
        "joints": _joint_rows(evaluated["net"]),
        "pck": {
            "error_mm": PCK_MM.tolist(),
            "share": correct_share(evaluated["net"].joint_errors_mm, PCK_MM).tolist(),
            "pa_share": correct_share(evaluated["net"].pa_joint_errors_mm, PCK_MM).tolist(),
        },
    }
    per_hand = {
        "dataset": [names[d] for d in dataset],
        "index": sample.tolist(),
        **{name: evaluated["net"].scores[name].tolist() for name in COLUMNS},
        "view_angle_deg": view.tolist(),
        "flexion_deg": bend.tolist(),
        "visible_share": visible.tolist(),
    }
    ratios = point_ratios(squares[0]), point_ratios(squares[1])
    return Evaluation(summary, evaluated, per_hand, ratios, Hands(dataset, position, labels, *points["net"], groups))


def _joint_rows(net: Evaluated) -> list[dict[str, Any]]:
    """A net's mean errors by keypoint, in FreiHAND's order."""
    errors, aligned = net.joint_errors_mm.mean(0), net.pa_joint_errors_mm.mean(0)
    return [{"name": name, "mpjpe_mm": float(errors[k]), "pa_mpjpe_mm": float(aligned[k])} for k, name in enumerate(KEYPOINT_NAMES)]


def _fit(solver: AngleSolver, vertices: np.ndarray, sides: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(N, 21, 3) keypoints and (N, V, 3) vertices of the feasible hands nearest to predicted meshes, vertices alike."""
    fit = solver(mirror_left(vertices, sides), predicted=True)
    return mirror_left(fit.keypoints, sides), mirror_left(fit.vertices, sides)


def default_folder(run: Path, parts: Sequence[ShardDataset]) -> Path:
    """RUN/evaluation-NAME, of the datasets' names."""
    return run / ("evaluation-" + re.sub(r"[^A-Za-z0-9._+-]", "_", "+".join(part.name for part in parts)))


def _lost(part: ShardDataset) -> int:
    """Samples of the shards that could not be read."""
    return sum(entry["count"] for entry in part.index["shards"] if entry["name"] in part.bad_shards)
