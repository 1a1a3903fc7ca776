"""Synthetic data for the trainer's benchmarks: a training and a held-out split that share nothing but the hand model.

    python benchmarks/splits.py DATA      # makes what is missing; each dataset is an ordinary `handsynth generate`

The bank's poses are split by gesture, so that no held-out pose is a variant of one that was trained on; the painted scenes are
split in two, and the base has some of the training ones; shapes, skins, lights and cameras are drawn with other seeds and, in the
held-out split, from wider ranges.
"""

import argparse
import dataclasses
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import yaml

from handsynth.assets.backgrounds.procedural.scenes import Scenes
from handsynth.core.hand import load_hand, save_hand
from handsynth.core.locations import EMBEDDED
from handsynth.core.poses import PoseBank, load_poses, save_poses
from handsynth.recipe.spec import BackgroundSpec, CameraSpec, DatasetSpec, LightSpec, PoseSpec, SensorSpec, load_spec

IMAGE_SIZE = 160
"""Enough for crops of 128 px: the hand's box with its margin is 100 to 160 px wide."""

BASE_POSES = 100
"""Poses of the base set, spread evenly over the training gestures."""

BASE_SCENES = 4
"""One of so many training scenes lies behind the base set."""

SIZES = {
    "base": 12000, "default": 57280, "manorender": 57280, "angrender": 28640, "validation": 1000, "heldout": 1000, "blended": 14320,
    "basetest": 1000, "viewtest": 1000, "posetest": 1000, "scenetest": 1000,
}  # fmt: skip
"""Samples of each dataset. default, manorender, angrender and blended are spread evenly over the shipped specs' own samples.

1,000 hands for validation: of 256 the standard error of PA-MPJPE was 0.3 mm, and their calibration 5 % off on others.
"""

MAIN = ("manorender", "angrender", "validation", "heldout")
"""What most benchmarks need. Of the others, blended is manorender with fingers between two poses, default has arms and all else,
scenetest is default of the held-out poses and scenes, and basetest, viewtest and posetest are the base's world with gestures, views
and poses that the base has not."""

DATA_HELP = "folder of the datasets, 2.4 GB"
"""What a benchmark says of the folder that `make_splits` fills."""


def held_out(name: str) -> bool:
    """Whether a pose of the bank is kept for the held-out split: a fifth of the gestures, all variants of one together."""
    gesture = name if name.startswith("random") else re.sub(r" \d+$", "", name)
    return hashlib.sha256(gesture.encode()).digest()[0] % 5 == 0


def split_bank(bank: PoseBank) -> dict[str, PoseBank]:
    """The bank's training and held-out poses, and the base's few: training poses spread evenly over the gestures."""
    rows = {
        "train": [k for k, name in enumerate(bank.names) if not held_out(name)],
        "heldout": [k for k, name in enumerate(bank.names) if held_out(name)],
    }
    rows["base"] = rows["train"][:: len(rows["train"]) // BASE_POSES][:BASE_POSES]
    return {key: PoseBank(bank.theta[r], tuple(bank.names[k] for k in r)) for key, r in rows.items()}


def specs() -> dict[str, tuple[DatasetSpec, str, str]]:
    """Each dataset: its spec, the poses that it draws from and the scenes behind it."""
    base = DatasetSpec(  # a world of its own style: few gestures, a cone of views, even light, a clean camera
        name="base", samples=SIZES["base"], seed=1, beta_std=0.7, alpha_std=0.6,
        pose=PoseSpec(bank_poses=BASE_POSES, swap_probability=0.0),
        camera=CameraSpec(elevation_deg=(0, 50), azimuth_deg=(-60, 60), roll_std_deg=15, fill=(0.55, 0.8)),
        light=LightSpec(temperature_k=(4500, 6000), ambient=(0.4, 0.6), total=(1.2, 1.6)),
        sensor=SensorSpec(exposure_stops=(-0.1, 0.1), white_balance=0.02, noise=(0.0, 0.004)),
    )  # fmt: skip
    everywhere = dataclasses.replace(base.camera, elevation_deg=(-90, 90), azimuth_deg=(0, 360))
    spread = PoseSpec(swap_probability=0.5, interpolation_probability=0.3)
    heldout = DatasetSpec(
        name="heldout", samples=SIZES["heldout"], seed=2, beta_std=1.2,
        pose=PoseSpec(swap_probability=0.2),
        camera=CameraSpec(roll_std_deg=60, distance_m=(0.4, 1.1), fill=(0.45, 0.85), offset=0.7),
        light=LightSpec(temperature_k=(2600, 9000), ambient=(0.2, 0.7), total=(0.8, 2.1)),
        background=BackgroundSpec(scale=(0.35, 1.0)), sensor=SensorSpec(exposure_stops=(-0.5, 0.5), noise=(0.0, 0.02)),
    )  # fmt: skip
    manorender = load_spec("manorender")
    blended = dataclasses.replace(
        manorender, name="blended", pose=dataclasses.replace(manorender.pose, interpolation_probability=0.3)
    )
    validation = dataclasses.replace(heldout, name="validation", samples=SIZES["validation"], seed=3)
    return {
        "base": (base, "base", "base"),
        "basetest": (_tests(base, "basetest", 4, pose=PoseSpec(swap_probability=0.0)), "heldout", "heldout"),
        "viewtest": (_tests(base, "viewtest", 5, camera=everywhere), "base", "heldout"),
        "posetest": (_tests(base, "posetest", 6, pose=spread), "heldout", "heldout"),
        "scenetest": (_tests(load_spec("default"), "scenetest", 7), "heldout", "heldout"),
        "default": (load_spec("default"), "train", "train"),
        "manorender": (manorender, "train", "train"),
        "blended": (blended, "train", "train"),
        "angrender": (load_spec("angrender"), "train", "train"),
        "validation": (validation, "heldout", "heldout"),
        "heldout": (heldout, "heldout", "heldout"),
    }


def _tests(spec: DatasetSpec, name: str, seed: int, **changes: PoseSpec | CameraSpec) -> DatasetSpec:
    """A test set: the spec under another name and seed, but for what is named."""
    return dataclasses.replace(spec, name=name, samples=SIZES[name], seed=seed, **changes)  # type: ignore[arg-type]


def make_splits(data: Path, jobs: int, names: Sequence[str] = MAIN, sizes: Mapping[str, int] = SIZES) -> dict[str, Path]:
    """Makes each of the datasets that is missing under `data`, with so many samples -> folder of each."""
    hand, scenes = load_hand(EMBEDDED / "hand.npz"), Scenes()
    for name, bank in split_bank(load_poses(EMBEDDED / "poses.npz")).items():
        folder = data / "hands" / name
        folder.mkdir(parents=True, exist_ok=True)
        save_hand(folder / "hand.npz", hand)
        save_poses(folder / "poses.npz", bank)
    for name, first, step in (("train", 0, 2), ("heldout", 1, 2), ("base", 0, 2 * BASE_SCENES)):
        folder = data / "scenes" / name
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(first, len(scenes), step):
            path = folder / f"scene-{k:03d}.jpg"
            if not path.exists():
                iio.imwrite(path, np.asarray(scenes.read(k)), quality=95)
    return {name: make_set(data, *specs()[name], sizes[name], jobs) for name in names}


def make_set(data: Path, spec: DatasetSpec, poses: str, backgrounds: str, samples: int, jobs: int) -> Path:
    """Makes (or goes on with) a dataset of a spec, from poses and scenes that are there -> its folder, of the spec's name."""
    folder, file = data / spec.name, data / f"{spec.name}.yaml"
    file.write_text(yaml.safe_dump(_plain(dataclasses.replace(spec, image_size=IMAGE_SIZE)), sort_keys=False), encoding="utf-8")
    fewer = [] if spec.samples == samples else ["--samples", str(samples)]
    hand_file, images = data / "hands" / poses / "hand.npz", data / "scenes" / backgrounds
    subprocess.run(
        [sys.executable, "-m", "handsynth", "generate", file, folder, *fewer, "--hand", hand_file, "--backgrounds", images,
         "--jobs", str(jobs)], check=True,
    )  # fmt: skip
    return folder


def _plain(spec: DatasetSpec) -> dict[str, object]:
    """The spec as YAML writes it, lists for tuples."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(v) for key, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, tuple | list) else value

    return plain(dataclasses.asdict(spec))  # type: ignore[return-value]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help=DATA_HELP)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    make_splits(arguments.data, arguments.jobs)
