"""The detector on held-out crowds and on labelled photographs: average precision, sides, false hands, time; others beside it.

    handsynth generate crowd out/crowd-heldout --samples 600 --seed 902
    python benchmarks/bench_detection.py --data out/crowd-heldout [--photos LABELS.json] [--detector hand_landmarker.task]
        [--runs RUN ...] [--negatives DIR] [--out DIR]

Sizes are the longer side of a hand's box over the image's. --negatives takes images without hands. MediaPipe's model needs its
package in this environment. Scores from which on a hand counts are 0.4 (our own) and what MediaPipe returns.
"""

import argparse
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, print_table, provenance, results_path, write_csv

from handmesh.data.detection import DetectionShards, TrueHands
from handmesh.data.photos import read_photos
from handmesh.estimation.detect import LEAST, Detector, HandDetector, open_detector
from handmesh.estimation.detector_scores import score_detector
from handmesh.evaluation.detection import crowd_truth, photo_truth
from handmesh.run_files import DETECTOR, SIDE
from handmesh.shipped import find_run
from handmesh.sources import find_sources, read_image

SIZES = (0.0, 0.1, 0.2, 0.4, 0.7, 10.0)
"""Of hands over their image, between groups."""

REPEATS = 30
"""Looks at one image, for the time of one."""

Truth = list[tuple[np.ndarray, TrueHands]]


def by_size(truth: Truth) -> dict[str, Truth]:
    """The same images with the hands of one size alone; the others do not count."""
    groups: dict[str, Truth] = {"all": truth}
    for low, high in pairwise(SIZES):
        some: Truth = []
        for image, hands in truth:
            sizes = (hands.boxes[:, 2:] - hands.boxes[:, :2]).max(1, initial=0) / max(image.shape[:2])
            chosen = (sizes >= low) & (sizes < high)
            ignored = np.concatenate([hands.ignored, hands.boxes[~chosen]])
            some.append((image, TrueHands(hands.boxes[chosen], hands.left[chosen], hands.angles[chosen], ignored)))
        if any(len(hands.boxes) for _, hands in some):
            groups[f"size {low:g} to {min(high, 1):g}"] = some
    return groups


def milliseconds(detector: Detector, image: np.ndarray) -> float:
    """CPU time of one look at an image."""
    detector(image)
    started = time.process_time()
    for _ in range(REPEATS):
        detector(image)
    return 1000 * (time.process_time() - started) / REPEATS


def rows_of(name: str, detector: Detector, threshold: float, sets: dict[str, Truth]) -> Iterable[dict[str, Any]]:
    """A row for each set and size of hands."""
    for where, truth in sets.items():
        cpu_ms = milliseconds(detector, truth[0][0])
        seen = {id(image): detector(image) for image, _ in truth}  # once, for all groups
        for group, part in by_size(truth).items():
            scores = score_detector(lambda image: seen[id(image)], part, threshold).to_dict()  # noqa: B023
            yield {"detector": name, "data": where, "group": group, **scores, "cpu_ms": cpu_ms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], help="held-out dataset; may be repeated")
    parser.add_argument("--photos", type=Path, help="labelled photographs")
    parser.add_argument("--negatives", type=Path, help="folder of images without hands")
    parser.add_argument("--runs", nargs="*", default=[None], help="of train detector [the shipped one]")
    parser.add_argument("--detector", type=Path, help="MediaPipe's hand_landmarker.task")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    opened = {str(run or "shipped"): HandDetector(find_run(run, DETECTOR), 0.05, 1, find_run(None, SIDE)) for run in options.runs}
    side = next(iter(opened.values())).side
    sets: dict[str, Truth] = {}
    for folder in options.data:
        part = DetectionShards(folder)
        sets[f"{part.name} (held out)"] = list(crowd_truth(part, side))
    if options.photos:
        sets[options.photos.stem] = list(photo_truth(read_photos(options.photos)))
    if options.negatives:
        nothing = TrueHands(np.empty((0, 4)), np.empty(0, bool), np.empty(0), np.empty((0, 4)))
        sets["without hands"] = [(read_image(source.path)[0], nothing) for source in find_sources([options.negatives])]
    rows = [row for name, detector in opened.items() for row in rows_of(name, detector, LEAST, sets)]
    if options.detector:
        other = open_detector(options.detector)
        assert other is not None
        rows += rows_of("mediapipe", other, 0.0, sets)
    print_table("detection", rows)
    write_csv(options.out / results_path("detection").name, rows, provenance())


if __name__ == "__main__":
    main()
