"""Datasets for the detector's benchmark: AngRender as it is, and with each thing alone that specs can switch on.

    python benchmarks/detector_variants.py out/variants            # with handsynth's Python
    .detector/bin/python benchmarks/bench_detector.py --variants out/variants

A run that was stopped goes on where it was. What a version's specs do not know is left out, with a line that says so.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ARM = {"arm.probability": 1.0}

VARIANTS: dict[str, dict[str, Any]] = {
    "bare": {},
    "arm": ARM,
    "sleeve": ARM | {"wear.sleeve": 1.0},
    "watch": ARM | {"wear.watch": 1.0},
    "bracelet": ARM | {"wear.bracelet": 1.0},
    "rings": {"wear.rings": 1.0},
    "varnish": {"wear.varnish": 1.0},
    "glove": {"wear.glove": 1.0},
    "sky": {"light.ambient_order": 2},
    "background out of focus": {"sensor.background_defocus_probability": 1.0},
    "hand out of focus": {"sensor.hand_defocus_probability": 1.0},
    "motion": {"motion.probability": 1.0},
    "vignetting": {"sensor.vignetting_probability": 1.0},
    "enlarged": {"sensor.enlarging_probability": 1.0},
    "read noise": {"sensor.read_noise_probability": 1.0},
    "fine chroma": {"sensor.fine_chroma_probability": 1.0},
    "everything": {"arm": None, "wear": None, "light": None, "sensor": None, "motion": None},
}
"""Name of each row -> what it changes in AngRender's spec: values of keys, or None for the whole section that `default` has."""

BASE, LIKE = "angrender", "default"


def folder_of(root: Path, name: str) -> Path:
    """Where the dataset of a variant lies."""
    return root / name.replace(" ", "-")


def changed(spec: dict[str, Any], changes: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """A spec's plain values with some changed; those of `like` where a change is None.

    Raises KeyError naming the first key that the spec does not know; whole sections that neither knows are left out.
    """
    found = json.loads(json.dumps(spec))
    for key, value in changes.items():
        if value is None:
            if key in like:
                found[key] = like[key]
            continue
        *sections, last = key.split(".")
        owner = found
        for section in sections:
            owner = owner[section] if section in owner else {}
        if last not in owner:
            raise KeyError(key)
        owner[last] = value
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the datasets of the detector's benchmark.")
    parser.add_argument("out", type=Path, help="folder for a spec and a dataset of each variant")
    parser.add_argument("--samples", type=int, default=300, help="samples of each (300)")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, help="some variants alone")
    options = parser.parse_args()
    from handsynth.recipe.spec import load_spec

    base, like = (dataclasses.asdict(load_spec(name)) for name in (BASE, LIKE))
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only or VARIANTS:
        try:
            spec = changed(base, VARIANTS[name], like)
        except KeyError as error:
            print(f"{name}: left out, this version's specs do not know {error.args[0]}", file=sys.stderr)
            continue
        folder = folder_of(options.out, name)
        path = folder.with_suffix(".yaml")
        path.write_text(json.dumps(spec | {"name": BASE}), encoding="utf-8")  # JSON is YAML; equal names draw equal hands
        command = [sys.executable, "-m", "handsynth", "generate", str(path), str(folder), "--samples", str(options.samples)]
        subprocess.run([*command, "--jobs", "1"], check=True)


if __name__ == "__main__":
    main()
