"""Plans: what a dataset will cost, and where its cameras stand, before anything is made."""

from pathlib import Path
from typing import Any

import numpy as np

from handsynth.core.errors import UsageError
from handsynth.core.hand import pose_hand
from handsynth.core.rotation import rotmat_to_rotvec
from handsynth.core.sample import CLIP_PASSES, PASSES, SCENE
from handsynth.dataset.selection import Selection, Shards
from handsynth.dataset.statistics import plot_cameras
from handsynth.generator import library_of
from handsynth.recipe.samplers import UPRIGHT
from handsynth.recipe.spec import DatasetSpec

BYTES_PER_PIXEL = {"image": 0.36, "depth": 0.16, "parts": 0.05, "normal": 0.30, "uv": 0.57, "amodal": 0.02, "flow": 1.2}
"""Size of encoded images, measured on 256 samples of manorender at 256 x 256."""

BYTES_PER_SAMPLE = 18_200
"""JSON, mask, vertices and tar headers of one sample of a 778-vertex hand."""

BYTES_OF_SCENE = 34_000
"""The mesh of a forearm."""

SECONDS_PER_SAMPLE = {"image": 0.012, "depth": 0.005, "parts": 0.002, "normal": 0.004, "uv": 0.006, "amodal": 0.001, "flow": 0.012}
"""On one core of an AMD EPYC (Zen 3) without a GPU, at 256 x 256; `benchmarks/bench_generate.py` measures yours."""


def estimate(spec: DatasetSpec, selection: Selection) -> dict[str, Any]:
    """Counts (exact) and cost (rough) of a dataset."""
    indices = selection.indices(spec.samples, spec.together)
    samples = len(indices)
    height = spec.crowd.height if spec.is_crowd else spec.image_size
    pixels = spec.image_size * height
    hands = mean_hands(spec)
    layers = ("image", *(name for name in spec.passes if name in PASSES or name in CLIP_PASSES))
    each = BYTES_PER_SAMPLE * hands + BYTES_OF_SCENE * (SCENE in spec.passes)
    size = samples * (each + pixels * sum(BYTES_PER_PIXEL[name] for name in layers))
    seconds = samples * hands * pixels / 256**2 * sum(SECONDS_PER_SAMPLE[name] for name in layers)
    return {
        "name": spec.name,
        "samples": samples,
        "shards": len(Shards(indices, spec.shard_size // spec.together * spec.together)),
        "shard_size": spec.shard_size,
        "image_size": spec.image_size,
        "image_height": height,
        "passes": list(spec.passes),
        "seed": spec.seed,
        "bytes_estimate": int(size),
        "core_hours_estimate": round(seconds / 3600, 3),
    }


def mean_hands(spec: DatasetSpec) -> float:
    """How many hands an image shows, in the mean."""
    return (1 - spec.crowd.empty) * sum(spec.crowd.hands) / 2 if spec.is_crowd else 1.0


def plot_plan(path: Path, spec: DatasetSpec, assets: Path) -> None:
    """Draws the grid's camera positions around the upright hand (Figure 4A). Raises UsageError when there is no grid."""
    if spec.camera.order != "grid":
        raise UsageError(f"spec {spec.name} draws its cameras at random: --plot is for grids, such as angrender")
    library = library_of(spec, assets)
    theta = np.zeros((library.hand.num_joints, 3))
    theta[0] = rotmat_to_rotvec(UPRIGHT)
    posed = pose_hand(library.hand, theta, np.zeros(library.hand.num_shapes))
    plot_cameras(path, spec, posed.vertices, library.hand.faces)
