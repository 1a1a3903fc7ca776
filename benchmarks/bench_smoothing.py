"""What the filter of followed hands does, on rendered clips whose truth is known: how much jitter it leaves, and how far it lags.

    for seed in $(seq 921 928); do handsynth generate clips out/clips-$seed --seed $seed; done
    python benchmarks/bench_smoothing.py out/clips-* [--out DIR]

The first box of each hand is the true one, and the net looks once at each frame: the filter gets the hands as they were fitted.

`smoothing`: errors of accelerations and of places. `smoothing_lag`: how far a hand is behind one that is not filtered, along the
way of the truth. What does not change of a hand is averaged (its shape), and that alone moves its depth; so the filtered hand is
compared both with the hand as fitted and with one of which nothing but the shape is averaged. The direction is any, across the line
of sight, along it, or any of keypoints about the wrist. `behind_mm` is the mean over frames and keypoints, with its 95 % interval
(clips are drawn again); `behind_weighted_mm` weights frames by speed; `lag_ms` is the delay that explains the distances best.
Negative: ahead.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import RESULTS, paired_interval, print_table, provenance, results_path, write_csv

import handmesh
from handmesh.data.shards import ShardDataset
from handmesh.estimation.backends import Opened, open_net
from handmesh.estimation.smoothing import Cutoffs, Smoother
from handmesh.kinematics.linear import HandState, linear_hand
from handsynth.core.mirror import mirror_left

AS_FITTED, SHAPE, FILTERED = "as fitted", "shape averaged", "filtered"
FILTERS = {SHAPE: Cutoffs(1e3, 1e3, 1e3, 1e3, 0.0), FILTERED: Cutoffs()}
COMPARED = ((SHAPE, AS_FITTED), (FILTERED, AS_FITTED), (FILTERED, SHAPE))
DIRECTIONS = ("all", "across the line of sight", "line of sight", "about the wrist")


class Clip(NamedTuple):
    """A hand to be followed, with its truth."""

    images: Sequence[np.ndarray]
    keypoints: np.ndarray  # (N, 21, 3) camera frame [m]
    K: np.ndarray  # (3, 3) of all frames [px]
    side: str
    box: np.ndarray  # (4,) of the first frame [px]
    fps: float


def read_clips(folder: str) -> Iterator[Clip]:
    """The clips of a dataset."""
    data = ShardDataset(folder)
    labels = [data.labels(k) for k in range(len(data))]
    if any(label.get("clip") is None for label in labels):
        raise SystemExit(f"{folder} holds no clips")
    for number in sorted({label["clip"]["number"] for label in labels}):
        rows = [k for k, label in enumerate(labels) if label["clip"]["number"] == number]
        rows.sort(key=lambda k: labels[k]["clip"]["frame"])
        records = [data.read(k) for k in rows]
        seconds = labels[rows[-1]]["clip"]["time_s"] - labels[rows[0]]["clip"]["time_s"]
        keypoints, first = np.stack([record.keypoints for record in records]), records[0]
        images = [record.image for record in records]
        yield Clip(images, keypoints, first.K, first.side, first.bbox, (len(rows) - 1) / seconds)


def follow(opened: Opened, clip: Clip) -> dict[str, np.ndarray]:
    """(N, 21, 3) keypoints [m] of the clip's hand as fitted and by each filter; NaN from where it was lost."""
    hands = handmesh.Hands(opened, mode="video", smooth=False, fps=clip.fps)
    linear = linear_hand(opened.hand)
    filters = {name: Smoother(opened.hand, cutoffs) for name, cutoffs in FILTERS.items()}
    made = {name: np.full(clip.keypoints.shape, np.nan) for name in (AS_FITTED, *FILTERS)}
    for k, image in enumerate(clip.images):
        seen = hands(image, K=clip.K, boxes=None if k else [clip.box], sides=clip.side)
        if len(seen) != 1 or (fit := seen[0].fit) is None or seen[0].track != 1:
            break
        made[AS_FITTED][k] = seen[0].keypoints
        for name, smoother in filters.items():
            state = smoother(HandState(fit.rotation, fit.translation, fit.angles, fit.beta), seen[0].std_mm, 1 / clip.fps)
            made[name][k] = mirror_left(linear.points(state)[1], [clip.side])[0]
    return made


def behind(shown: np.ndarray, beside: np.ndarray, truth: np.ndarray, fps: float, direction: str) -> tuple[np.ndarray, np.ndarray]:
    """How far `shown` is behind `beside` along the way of the truth [m], and the truth's speed [m/s].

    Args:
        shown: (N, P, 3) points of a clip, camera frame [m].
        beside: (N, P, 3), not filtered.
        truth: (N, P, 3).
        fps: frames a second.
        direction: of `DIRECTIONS`; of the distance and of the way alike.

    Returns:
        (N, P) and (N, P).
    """
    if direction == "about the wrist":
        shown, beside, truth = (points - points[:, :1] for points in (shown, beside, truth))
    distance, way = beside - shown, np.gradient(truth, axis=0) * fps
    if direction in DIRECTIONS[1:3]:
        ray = truth / np.linalg.norm(truth, axis=-1, keepdims=True)
        along = [(vector * ray).sum(-1, keepdims=True) * ray for vector in (distance, way)]
        distance, way = along if direction == "line of sight" else (distance - along[0], way - along[1])
    speed = np.linalg.norm(way, axis=-1)
    return (distance * way).sum(-1) / np.maximum(speed, 1e-9), speed


def lag(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """What `behind` found in each clip, as columns of the table."""
    distance, speed = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))
    _, low, high = paired_interval(np.array([1000 * pair[0].mean() for pair in pairs]))
    return {
        "behind_mm": float(1000 * distance.mean()),
        "low_mm": low,
        "high_mm": high,
        "behind_weighted_mm": float(1000 * (distance * speed).sum() / speed.sum()),
        "lag_ms": float(1000 * (distance * speed).sum() / (speed**2).sum()),
        "speed_m_s": float(speed.mean()),
    }


def acceleration_error(points: np.ndarray, truth: np.ndarray, fps: float) -> np.ndarray:
    """(N, P, 3) [m] -> (N - 2, P) distances of accelerations [m/s2]."""
    return fps**2 * np.linalg.norm(np.diff(points - truth, n=2, axis=0), axis=-1)


def tables(clips: Iterable[Clip], opened: Opened) -> dict[str, list[dict[str, Any]]]:
    """Both tables; a clip whose hand was lost counts up to there."""
    found: list[tuple[Clip, dict[str, np.ndarray]]] = []
    lost = 0
    for clip in clips:
        made = follow(opened, clip)
        good = int(np.isfinite(made[AS_FITTED]).all((1, 2)).sum())
        lost += len(clip.images) - good
        if good > 2:
            found.append((clip._replace(keypoints=clip.keypoints[:good]), {name: points[:good] for name, points in made.items()}))

    def mean(measure: Any, name: str) -> float:
        return float(np.concatenate([measure(made[name], clip.keypoints, clip.fps).ravel() for clip, made in found]).mean())

    def about(points: np.ndarray) -> np.ndarray:
        return points - points[:, :1]

    errors = {
        "acceleration_error_m_s2": acceleration_error,
        "acceleration_error_about_wrist_m_s2": lambda points, truth, fps: acceleration_error(about(points), about(truth), fps),
        "error_mm": lambda points, truth, _: 1000 * np.linalg.norm(points - truth, axis=-1),
        "mpjpe_mm": lambda points, truth, _: 1000 * np.linalg.norm(about(points) - about(truth), axis=-1),
    }
    frames = sum(len(clip.keypoints) for clip, _ in found)
    smoothing = [
        {"hand": name, "clips": len(found), "frames": frames, "lost": lost} | {key: mean(one, name) for key, one in errors.items()}
        for name in (AS_FITTED, *FILTERS)
    ]
    lags = [
        {"hand": name, "beside": beside, "direction": direction}
        | lag([behind(made[name], made[beside], clip.keypoints, clip.fps, direction) for clip, made in found])
        for name, beside in COMPARED
        for direction in DIRECTIONS
    ]
    return {"smoothing": smoothing, "smoothing_lag": lags}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", help="datasets of handsynth's clips")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    clips = (clip for folder in options.clips for clip in read_clips(folder))
    for name, rows in tables(clips, open_net(None)).items():
        print_table(name, rows)
        write_csv(options.out / results_path(name).name, rows, provenance())


if __name__ == "__main__":
    main()
