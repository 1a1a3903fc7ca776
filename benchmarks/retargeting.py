"""What retargeting loses by estimation, and how our least squares and dex-retargeting compare: a rendered clip to robot hands.

    python benchmarks/retargeting.py render CLIP [--frames 60]        a clip of gestures: images, labels.json, keypoints.npy
    .detector/bin/python benchmarks/mediapipe_predictions.py CLIP/labels.json CLIP/mediapipe.json     (see that file)
    python benchmarks/retargeting.py measure CLIP DESCRIPTIONS        DESCRIPTIONS: a checkout of dex-urdf's robots/hands

Figures are distances of the robot's fingertip vectors from those at dex-retargeting's own optimum on the true keypoints [mm].
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import print_table, provenance, results_path, write_csv
from PIL import Image

from handmesh.device import pick_device
from handmesh.estimation.estimate import Estimator, View
from handmesh.kinematics.dof import embed, hand_dof_matrix
from handmesh.kinematics.joint_coordinates import from_joint_coordinates
from handmesh.robot.description import read_description
from handmesh.robot.dex import dex_retarget
from handmesh.robot.gestures import named_gestures
from handmesh.robot.kinematics import RobotHand
from handmesh.robot.retarget import retarget, robot_vectors
from handmesh.robot.task import make_task, named_config
from handmesh.robot.wrist_frame import to_wrist_frame
from handmesh.run_folder import load_run
from handmesh.shipped import find_run
from handsynth.core.named_hands import open_hand

ROBOTS, SAMPLE, SIDE_PX = ("allegro", "shadow", "leap"), 7, 256


def render(folder: Path, frames: int) -> None:
    """A hand that goes through gestures before a fixed camera."""
    from handsynth.core.locations import assets_dir
    from handsynth.generator import Generator, library_of
    from handsynth.recipe.samplers import RecipeSampler
    from handsynth.recipe.spec import load_spec

    spec = dataclasses.replace(load_spec("manorender"), image_size=SIDE_PX)
    library = library_of(spec, assets_dir())
    first = RecipeSampler(spec, library).sample(SAMPLE)
    hand = open_hand("embedded")
    poses = np.stack([pose for _, pose in named_gestures(hand)])
    keys = poses[np.random.default_rng(0).permutation(len(poses))[: frames // 12 + 2]]
    at = np.linspace(0, len(keys) - 1, frames)
    before = np.minimum(at.astype(int), len(keys) - 2)
    share = (at - before)[:, None]
    share = share**2 * (3 - 2 * share)
    angles = from_joint_coordinates(keys[before] * (1 - share) + keys[before + 1] * share).values
    theta = embed(angles, hand_dof_matrix(hand))
    start = np.asarray(first.theta, np.float64).reshape(16, 3)
    recipes = [dataclasses.replace(first, theta=_like(first.theta, np.concatenate([start[:1], one]))) for one in theta]
    folder.mkdir(parents=True, exist_ok=True)
    images, rows, keypoints = [], [], []
    for k, sample in enumerate(Generator(spec, library).make_samples(recipes)):
        Image.fromarray(sample.image).save(folder / f"{k:04d}.png")
        points = np.asarray(sample.labels["keypoints_cam"], np.float64)
        keypoints.append(points)
        x0, y0, x1, y1 = (float(value) for value in sample.labels["bbox_xyxy"])
        images.append({"id": k, "file_name": f"{k:04d}.png", "K": np.asarray(sample.labels["K"]).tolist()})
        rows.append({"id": k, "image_id": k, "side": sample.labels["side"], "bbox": [x0, y0, x1 - x0, y1 - y0]})
    (folder / "labels.json").write_text(json.dumps({"images": images, "annotations": rows}), encoding="utf-8")
    np.save(folder / "keypoints.npy", np.stack(keypoints))


def _like(value: Any, array: np.ndarray) -> Any:
    """The array in the shape and type of a recipe's own."""
    return array.reshape(np.shape(value)) if isinstance(value, np.ndarray) else tuple(array.reshape(-1).tolist())


def measure(folder: Path, descriptions: Path) -> list[dict[str, Any]]:
    """A row for each robot and input."""
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    side = labels["annotations"][0]["side"]
    true = np.load(folder / "keypoints.npy")
    inputs = {"true keypoints": true, "handmesh": _estimated(folder, labels)}
    found = folder / "mediapipe.json"
    if found.exists():
        rows = {
            row["annotation_id"]: np.reshape(row["keypoints_3d"], (21, 3)) for row in json.loads(found.read_text(encoding="utf-8"))
        }
        inputs["mediapipe"] = np.stack([rows.get(k, np.full((21, 3), np.nan)) for k in range(len(true))])
    results = []
    for name in ROBOTS:
        config, inside = named_config(name, "vector", side)
        task = make_task(config)
        robot = RobotHand(read_description(descriptions / inside), task.joints)
        reference = robot_vectors(robot, task, dex_retarget(robot, task, to_wrist_frame(true, side)))[:, task.tips]
        for method in ("own", "dex"):
            for what, points in inputs.items():
                seen = np.isfinite(points).all((1, 2))
                keypoints = to_wrist_frame(points[seen], side)
                begin = time.process_time()
                free = (retarget if method == "own" else dex_retarget)(robot, task, keypoints)
                rate = seen.sum() / (time.process_time() - begin)
                apart = 1000 * np.linalg.norm(robot_vectors(robot, task, free)[:, task.tips] - reference[seen], axis=-1)
                results.append(
                    {
                        "robot": name, "method": method, "input": what, "frames": int(seen.sum()), "of": len(true),
                        "median_mm": float(np.median(apart)), "p95_mm": float(np.quantile(apart, 0.95)),
                        "frames_per_cpu_s": round(float(rate)),
                    }
                )  # fmt: skip
    return results


def _estimated(folder: Path, labels: dict[str, Any]) -> np.ndarray:
    """(T, 21, 3) by the shipped net, each image with its labelled box and camera [m]."""
    device = pick_device("cpu")
    run = load_run(find_run(None), device)
    estimator = Estimator(run.net, run.hand, run.spec.side, device)
    found = []
    for image, row in zip(labels["images"], labels["annotations"], strict=True):
        x, y, width, height = row["bbox"]
        pixels = np.asarray(Image.open(folder / image["file_name"]))
        box = np.array([x, y, x + width, y + height])
        found.append(estimator([View(pixels, np.array(image["K"]), row["side"], box)])[0].keypoints)
    return np.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("render", "measure"))
    parser.add_argument("clip", type=Path)
    parser.add_argument("descriptions", type=Path, nargs="?")
    parser.add_argument("--frames", type=int, default=60)
    given = parser.parse_args()
    if given.what == "render":
        render(given.clip, given.frames)
    else:
        rows = measure(given.clip, given.descriptions)
        write_csv(results_path("retargeting"), rows, provenance())
        print_table("fingertip vectors against dex-retargeting on true keypoints", rows)


if __name__ == "__main__":
    main()
