"""How well a hand-landmark detector trained on photographs does on our images: whether it finds the hand, and where it sees it.

It runs MediaPipe's Hands as it comes (one image at a time, default thresholds, nothing tuned) over the shards of finished
datasets. MediaPipe 0.10.21 needs numpy < 2, so it lives in an environment of its own, and this file reads shards with tarfile
and json alone; it imports nothing of handsynth:

    handsynth generate angrender out/ang --samples 300
    python -m venv .detector && .detector/bin/pip install mediapipe==0.10.21
    .detector/bin/python benchmarks/bench_detector.py out/ang

The hand's size is the longer side of `bbox_xyxy`; an image's error is the mean distance of the 21 landmarks, divided by that
size, over images in which a hand was found. Nothing shows the detector which hand to look for: what it finds elsewhere in
the image counts as found, with the large error that it has.

`--variants out/variants` reads what detector_variants.py made instead, and gives one row to each thing that was switched on alone.
"""

import argparse
import csv
import io
import itertools
import json
import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import print_table, provenance, results_path, write_csv
from detector_variants import LIKE, VARIANTS, folder_of
from PIL import Image

BANDS: dict[str, list[float]] = {
    "elevation_deg": [-90, -60, -30, 0, 30, 60, 91],
    "azimuth_deg": list(range(0, 361, 45)),
    "hand_brightness_of_255": [0, 60, 90, 120, 150, 256],
    "background_brightness_of_255": [0, 60, 90, 120, 150, 256],
    "hand_size_of_image_percent": [0, 50, 60, 70, 80, 101],
    "keypoints_visible": [0, 10, 13, 16, 19, 22],
}
"""Edges of the bands by which results are separated; each band holds its lower edge."""

NAMES = ["wrist"] + [f"{finger}{k}" for finger in ("thumb", "index", "middle", "ring", "pinky") for k in ("1", "2", "3", "_tip")]
"""The 21 points: FreiHAND's order, which is MediaPipe's too."""


def read_samples(dataset: Path) -> Iterator[dict[str, bytes]]:
    """Members of each sample of a dataset's shards, by extension."""
    shards = sorted(dataset.glob("shard-*.tar"))
    if not shards:
        sys.exit(f"{dataset} holds no shard: make one with `handsynth generate angrender {dataset} --samples 300`")
    for shard in shards:
        with tarfile.open(shard) as tar:
            key, members = None, {}
            for entry in tar:
                stem, _, extension = entry.name.partition(".")
                if key is not None and stem != key:
                    yield members
                    members = {}
                key = stem
                members[extension] = tar.extractfile(entry).read()  # type: ignore[union-attr]
            if members:
                yield members


class Detector:
    """MediaPipe's Hands for single images: at most one hand, thresholds as they come."""

    def __init__(self) -> None:
        os.environ.setdefault("GLOG_minloglevel", "2")
        try:
            import mediapipe
        except ImportError:
            sys.exit("this Python has no mediapipe: python -m venv .detector && .detector/bin/pip install mediapipe==0.10.21")
        self.name = f"mediapipe {mediapipe.__version__} Hands"
        self._hands = mediapipe.solutions.hands.Hands(static_image_mode=True, max_num_hands=1)

    def landmarks(self, image: np.ndarray) -> np.ndarray | None:
        """(H, W, 3) uint8 RGB -> (21, 2) pixels, or None when it finds no hand."""
        found = self._hands.process(image).multi_hand_landmarks
        if not found:
            return None
        height, width = image.shape[:2]
        return np.array([[point.x * width, point.y * height] for point in found[0].landmark])


def examine(members: dict[str, bytes], detector: Detector) -> dict[str, Any]:
    """One sample: what the bands need, whether it was found, and each landmark's offset over the hand's size."""
    labels = json.loads(members["json"])
    image = np.array(Image.open(io.BytesIO(members["jpg"])).convert("RGB"))
    mask = np.array(Image.open(io.BytesIO(members["mask.png"]))) > 127
    grey = image @ [0.299, 0.587, 0.114]
    box = np.array(labels["bbox_xyxy"])
    size = (box[2:] - box[:2]).max()
    landmarks = detector.landmarks(image)
    offsets = None if landmarks is None else (landmarks - np.array(labels["keypoints_xy"])) / size
    camera = labels["recipe"]["camera"]
    return {
        "index": labels["index"],
        "elevation_deg": camera["elevation_deg"],
        "azimuth_deg": camera["azimuth_deg"] % 360,
        "hand_brightness_of_255": float(grey[mask].mean()),
        "background_brightness_of_255": float(grey[~mask].mean()),
        "hand_size_of_image_percent": 100 * float(size) / labels["image_size"],
        "keypoints_visible": sum(labels["keypoints_visible"]),
        "found": int(landmarks is not None),
        "error_percent": None if offsets is None else 100 * float(np.linalg.norm(offsets, axis=1).mean()),
        "offsets": offsets,
    }


def summary(group: str, band: str, samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Share found and error of some samples."""
    errors = [s["error_percent"] for s in samples if s["found"]]
    return {
        "group": group,
        "band": band,
        "samples": len(samples),
        "found_percent": 100 * len(errors) / len(samples),
        "error_median_percent": float(np.median(errors)) if errors else float("nan"),
        "error_p90_percent": float(np.percentile(errors, 90)) if errors else float("nan"),
    }


def by_band(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Summary of all samples, and of those in each band that is not empty."""
    rows = [summary("all", "", samples)]
    for group, edges in BANDS.items():
        for low, high in itertools.pairwise(edges):
            chosen = [s for s in samples if low <= s[group] < high]
            if chosen:
                rows.append(summary(group, f"{low} to {high}", chosen))
    return rows


def by_keypoint(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Median error of each landmark over the images in which a hand was found."""
    offsets = np.array([s["offsets"] for s in samples if s["found"]]).reshape(-1, 21, 2)
    if not len(offsets):
        return []
    median = 100 * np.median(np.linalg.norm(offsets, axis=-1), 0)
    return [
        {"group": "keypoint", "band": name, "samples": len(offsets), "found_percent": 100.0,
         "error_median_percent": float(m), "error_p90_percent": float(p)}
        for name, m, p in zip(NAMES, median, 100 * np.percentile(np.linalg.norm(offsets, axis=-1), 90, 0), strict=True)
    ]  # fmt: skip


def flat(sample: dict[str, Any]) -> dict[str, Any]:
    """A sample as one row of a CSV: the offsets in columns of their own, empty where nothing was found."""
    row = {key: value for key, value in sample.items() if key != "offsets"}
    for k, name in enumerate(NAMES):
        for axis, letter in enumerate("xy"):
            offset = None if sample["offsets"] is None else 100 * float(sample["offsets"][k, axis])
            row[f"{name}_d{letter}_percent"] = offset
    return row


def examined(dataset: Path, detector: Detector, limit: int | None = None) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The samples of a dataset, or its first so many, and what is to be said of it beside them."""
    found = [examine(members, detector) for members in itertools.islice(read_samples(dataset), limit)]
    index_path = dataset / "index.json"
    index = json.loads(index_path.read_text(encoding="utf-8")) if index_path.exists() else {}
    about = {"spec": index.get("name", dataset.name), "dataset": index.get("dataset", "unfinished")[:16]}
    return found, {"detector": detector.name} | about


def variant_rows(root: Path, path: Path, detector: Detector, limit: int | None = None) -> None:
    """A row for each variant of `root`, added to the CSV at `path` as it is found; those that stand there already are kept."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    for name, changes in VARIANTS.items():
        folder = folder_of(root, name)
        if not (folder / "index.json").exists() or any(row["variant"] == name for row in rows):
            continue
        found, about = examined(folder, detector, limit)
        whole = {key: value for key, value in summary("all", "", found).items() if key not in ("group", "band")}
        made = "; ".join(f"{key}: {LIKE}'s" if value is None else f"{key}: {value}" for key, value in changes.items())
        rows.append({"variant": name, "changes": made} | whole | provenance(**about))
        write_csv(path, rows, {})
        print_table(name, [{"variant": name} | whole])
    if not rows:
        sys.exit(f"{root} holds no variant: make them with `python benchmarks/detector_variants.py {root}`")


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a hand-landmark detector over finished datasets.")
    parser.add_argument("datasets", nargs="*", type=Path, help="folders made by `handsynth generate`")
    parser.add_argument("--variants", type=Path, help="folder made by detector_variants.py: a row for each of its datasets")
    parser.add_argument("--samples", type=int, help="look at the first so many of each dataset only")
    parser.add_argument("--per-sample", type=Path, help="folder for one more CSV of each dataset: a row for each sample")
    parser.add_argument("--out", type=Path, help="folder of the CSV files (benchmarks/results)")
    options = parser.parse_args()
    if not options.datasets and not options.variants:
        parser.error("give folders made by `handsynth generate`, or --variants FOLDER")
    detector = Detector()

    def place(name: str) -> Path:
        path = results_path(f"detector_{name}")
        return (options.out / path.name) if options.out else path

    if options.variants:
        variant_rows(options.variants, place("variants"), detector, options.samples)
    for dataset in options.datasets:
        found, about = examined(dataset, detector, options.samples)
        rows = by_band(found) + by_keypoint(found)
        print_table(f"{dataset} ({about['spec']}): {detector.name}", rows)
        write_csv(place(about["spec"]), rows, provenance(**about))
        if options.per_sample:
            write_csv(options.per_sample / f"{dataset.name}.csv", [flat(s) for s in found], {})


if __name__ == "__main__":
    main()
