"""What retargeting loses by estimation, and how our least squares and dex-retargeting compare: rendered clips to robot hands.

    python benchmarks/retargeting.py render CLIPS [--clips 12] [--seed 21]    spec clips: images, labels.json, keypoints.npy
    .detector/bin/python benchmarks/mediapipe_predictions.py CLIPS/labels.json CLIPS/mediapipe.json     (see that file)
    python benchmarks/retargeting.py measure CLIPS DESCRIPTIONS [--run RUN]    DESCRIPTIONS: a checkout of dex-urdf's robots/hands

Figures are distances of the robot's fingertip vectors from those at dex-retargeting's own optimum on the true keypoints [mm], each
clip by itself. Views are from before the palm, on the back, or from the side: 60 degrees about the palm's normal, and the rest.
"""

import argparse
import dataclasses
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import print_table, provenance, results_path, write_csv
from PIL import Image

from handmesh.estimation.backends import open_net
from handmesh.estimation.estimate import Estimator, View
from handmesh.robot.description import read_description
from handmesh.robot.dex import dex_retarget
from handmesh.robot.kinematics import RobotHand
from handmesh.robot.retarget import retarget, robot_vectors
from handmesh.robot.task import make_task, named_config
from handmesh.robot.wrist_frame import to_wrist_frame, wrist_axes
from handmesh.shipped import find_run

ROBOTS = ("allegro", "shadow", "leap")
METHODS = {"own": retarget, "dex": dex_retarget}
FACING = 0.5  # cosine between the palm's normal and the way to the camera, beyond which a view is the palm's or the back's
RESAMPLED = 2000  # sets of clips, for intervals of medians


def render(folder: Path, clips: int, seed: int) -> None:
    """Clips of the spec `clips`, a frame an image."""
    from handsynth.core.locations import assets_dir
    from handsynth.generator import Generator, library_of
    from handsynth.recipe.samplers import RecipeSampler
    from handsynth.recipe.spec import load_spec

    spec = load_spec("clips")
    spec = dataclasses.replace(spec, samples=clips * spec.together, seed=seed)
    library = library_of(spec, assets_dir())
    library.prepare(print)
    recipes = RecipeSampler(spec, library).sample_many(range(spec.samples))
    folder.mkdir(parents=True, exist_ok=True)
    images, rows, keypoints = [], [], []
    for k, sample in enumerate(Generator(spec, library).make_samples(recipes)):
        name = f"{k:04d}.png"
        Image.fromarray(sample.image).save(folder / name)
        keypoints.append(np.asarray(sample.labels["keypoints_cam"], np.float64))
        x0, y0, x1, y1 = (float(value) for value in sample.labels["bbox_xyxy"])
        images.append({"id": k, "file_name": name, "K": np.asarray(sample.labels["K"]).tolist(), "clip": k // spec.together})
        rows.append({"id": k, "image_id": k, "side": sample.labels["side"], "bbox": [x0, y0, x1 - x0, y1 - y0]})
    (folder / "labels.json").write_text(json.dumps({"images": images, "annotations": rows}), encoding="utf-8")
    np.save(folder / "keypoints.npy", np.stack(keypoints))


def measure(
    folder: Path, descriptions: Path, run: str | None, robots: list[str], methods: list[str], most: int | None
) -> list[dict[str, Any]]:
    """A row for each robot, method, input and view, over the first `most` clips."""
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    clips = np.array([image["clip"] for image in labels["images"]])
    count = len(clips) if most is None else int((clips < most).sum())
    labels = {key: rows[:count] for key, rows in labels.items()}
    clips, sides = clips[:count], np.array([row["side"] for row in labels["annotations"]])
    true = np.load(folder / "keypoints.npy")[:count]
    inputs = {"true keypoints": true, "handmesh": _estimated(folder, labels, run)}
    found = folder / "mediapipe.json"
    if found.exists():
        rows = {row["annotation_id"]: row["keypoints_3d"] for row in json.loads(found.read_text(encoding="utf-8"))}
        inputs["mediapipe"] = np.array([np.reshape(rows.get(k, np.full(63, np.nan)), (21, 3)) for k in range(count)])
    views, results = _views(true, sides), []
    for name in robots:
        reference = _tips(name, dex_retarget, true, sides, clips, descriptions)
        for method, (what, points) in itertools.product(methods, inputs.items()):
            if method == "dex" and what == "true keypoints":
                continue
            tips, rate = _tips(name, METHODS[method], points, sides, clips, descriptions)
            apart = 1000 * np.linalg.norm(tips - reference[0], axis=-1)
            for view, of in views.items():
                seen = of & np.isfinite(apart).all(1)
                about = {
                    "robot": name,
                    "method": method,
                    "input": what,
                    "view": view,
                    "frames": int(seen.sum()),
                    "of": int(of.sum()),
                }
                results.append(about | _figures(apart[seen], clips[seen]) | {"frames_per_cpu_s": round(rate)})
            if what == "handmesh" and "mediapipe" in inputs:
                seen = np.isfinite(inputs["mediapipe"]).all((1, 2))
                about = about | {"view": "all that mediapipe finds", "frames": int(seen.sum()), "of": count}
                results.append(about | _figures(apart[seen], clips[seen]) | {"frames_per_cpu_s": round(rate)})
            print(f"{name}: {what} by {method}", flush=True)
    return results


def _views(true: np.ndarray, sides: np.ndarray) -> dict[str, np.ndarray]:
    """Frames of each view, (T,) truth values."""
    normals = np.stack([wrist_axes(points, side)[:, 0] for points, side in zip(true, sides, strict=True)])
    middles = true.mean(1)
    facing = -(normals * middles).sum(1) / np.linalg.norm(middles, axis=1)
    palm, back = facing > FACING, facing < -FACING
    return {"all": np.ones(len(true), bool), "palm": palm, "side": ~palm & ~back, "back": back}


def _tips(
    name: str, solve: Any, points: np.ndarray, sides: np.ndarray, clips: np.ndarray, descriptions: Path
) -> tuple[np.ndarray, float]:
    """(T, tips, 3) the robot's fingertip vectors [m], NaN where there are no keypoints, and frames a CPU second."""
    found: np.ndarray | None = None
    seconds, seen = 0.0, np.isfinite(points).all((1, 2))
    for side in np.unique(sides):
        config, inside = named_config(name, "vector", side)
        task = make_task(config)
        robot = RobotHand(read_description(descriptions / inside), task.joints)
        if found is None:
            found = np.full((len(points), len(task.tips), 3), np.nan)
        for clip in np.unique(clips):
            rows = np.flatnonzero((clips == clip) & (sides == side) & seen)
            if len(rows):
                keypoints = to_wrist_frame(points[rows], side)
                begin = time.process_time()
                free = solve(robot, task, keypoints)
                seconds += time.process_time() - begin
                found[rows] = robot_vectors(robot, task, free)[:, task.tips]
    assert found is not None
    return found, seen.sum() / max(seconds, 1e-9)


def _figures(apart: np.ndarray, clips: np.ndarray) -> dict[str, float]:
    """Median of (T, tips) distances with its 95 % interval, by drawing clips again, and percentiles [mm]."""
    if not len(apart):
        return dict.fromkeys(("median_mm", "low_mm", "high_mm", "p75_mm", "p95_mm", "within_10mm_percent"), float("nan"))
    rng, groups = np.random.default_rng(0), [apart[clips == clip] for clip in np.unique(clips)]
    drawn = (np.concatenate([groups[k] for k in rng.integers(len(groups), size=len(groups))]) for _ in range(RESAMPLED))
    low = high = float("nan")  # of one or two clips no interval is worth its name
    if len(groups) > 2:
        low, high = np.quantile([np.median(each) for each in drawn], [0.025, 0.975])
    return {
        "median_mm": float(np.median(apart)), "low_mm": float(low), "high_mm": float(high),
        "p75_mm": float(np.quantile(apart, 0.75)), "p95_mm": float(np.quantile(apart, 0.95)),
        "within_10mm_percent": 100 * float((apart <= 10).mean()),
    }  # fmt: skip


def _estimated(folder: Path, labels: dict[str, Any], path: str | None) -> np.ndarray:
    """(T, 21, 3) by a net, each image by itself, with its labelled box and camera [m]."""
    opened = open_net(path, "cpu", "auto", 1)
    estimator = Estimator(opened.net, opened.hand, opened.side)
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
    parser.add_argument("folder", type=Path, metavar="CLIPS")
    parser.add_argument("descriptions", type=Path, nargs="?", help="to measure: a checkout of dex-urdf's robots/hands")
    parser.add_argument("--clips", type=int, help="to render (12), or to measure (all)")
    parser.add_argument("--seed", type=int, default=21, help="to render (21)")
    parser.add_argument("--out", type=Path, help="CSV file [benchmarks/results]")
    parser.add_argument("--run", help="net to measure: a run, or a name of `handmesh weights list` [shipped weights]")
    parser.add_argument("--robots", nargs="+", choices=ROBOTS, default=["allegro", "shadow"], metavar="NAME", help="to measure")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="own|dex", help="to measure")
    given = parser.parse_args()
    if given.what == "render":
        render(given.folder, given.clips or 12, given.seed)
        return
    if given.descriptions is None:
        parser.error("measure needs DESCRIPTIONS: a checkout of dex-urdf's robots/hands")
    rows = measure(given.folder, given.descriptions, given.run, given.robots, given.methods, given.clips)
    write_csv(given.out or results_path("retargeting"), rows, provenance(net=str(find_run(given.run).name)))
    print_table("fingertip vectors against dex-retargeting on true keypoints", rows)


if __name__ == "__main__":
    main()
