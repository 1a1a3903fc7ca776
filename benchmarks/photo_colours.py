"""What colours and sharpness of an image do to a net: errors on labelled photographs as they are, and as other cameras show them.

    python benchmarks/photo_colours.py PHOTOS.json [--runs RUN ...]

Every crop that a net sees is made grey, paler, more colourful, flatter, steeper, blurred or sharpened first. What that costs is
what the net makes of something that says nothing of the hand. Errors are in per cent of the hand's size, with 95 % intervals over
hands of what a change costs (paired bootstrap); results/photo_colours.csv.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import paired_interval, print_table, provenance, results_path, write_csv

from handmesh.data.photos import Photo, read_photos
from handmesh.data.tones import retoned, sharpened, tone
from handmesh.estimation.backends import open_net
from handmesh.estimation.estimate import Estimator
from handmesh.estimation.photos import estimate_photos, found_of
from handmesh.evaluation.photo_scores import scores

Look = Callable[[np.ndarray], np.ndarray]
"""(S, S, 3) float32 in [0, 1] -> the same."""


def toned(colour: float, contrast: float) -> Look:
    """Colours and contrast times these."""
    return lambda image: retoned(image, tone(colour, contrast))


LOOKS: dict[str, Look] = {
    "as they are": lambda image: image,
    "grey": toned(0.0, 1.0),
    "half the colour": toned(0.5, 1.0),
    "1.5 times the colour": toned(1.5, 1.0),
    "0.6 times the contrast": toned(1.0, 0.6),
    "1.6 times the contrast": toned(1.0, 1.6),
    "blurred by a pixel": lambda image: sharpened(image, -1.0),
    "sharpened": lambda image: sharpened(image, 1.0),
    "sharpened twice as much": lambda image: sharpened(image, 2.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="labels, COCO-style")
    parser.add_argument("--runs", nargs="+", help="runs or names of shipped weights [the default]")
    options = parser.parse_args()
    photos = read_photos(options.photos)
    rows = [row for run in options.runs or [None] for row in rows_of(run, photos)]
    write_csv(results_path("photo_colours"), rows, provenance())
    print_table("2-D error [% of the hand's size] and PCK [%]", rows)


def rows_of(run: str | None, photos: list[Photo]) -> Iterator[dict[str, Any]]:
    """A row for each look."""
    opened = open_net(run)
    plain: np.ndarray | None = None
    for name, look in LOOKS.items():
        estimator = Estimator(lambda crops, look=look: opened.net(shown(crops, look)), opened.hand, opened.side)  # type: ignore[misc]
        found = scores(photos, found_of(*estimate_photos(estimator, photos)))
        errors = np.array([100 * row["error_2d"] for row in found])
        plain = errors if plain is None else plain
        cost, low, high = paired_interval(errors - plain)
        who = {"weights": run or "default", "look": name, "hands": len(photos)}
        yield who | {
            "median": float(np.median(errors)), "mean": float(errors.mean()),
            "pck_0.1": 100 * float(np.mean([row["pck_0.1"] for row in found])),
            "cost": cost, "interval_low": low, "interval_high": high,
        }  # fmt: skip


def shown(crops: np.ndarray, look: Look) -> np.ndarray:
    """(B, S, S, 3) uint8 crops, each as `look` shows it."""
    return np.stack([(255 * look(crop.astype(np.float32) / 255) + 0.5).astype(np.uint8) for crop in crops])


if __name__ == "__main__":
    main()
