"""Where the time of a sample goes: each stage of the pipeline run over batches and timed by itself."""

import contextlib
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from handsynth.annotate import annotate
from handsynth.assets.backgrounds import crop_background, read_usable
from handsynth.core.sample import Sample
from handsynth.core.shard import write_shard
from handsynth.encode import encode_jpeg, encode_passes, encode_sample
from handsynth.pipeline import Studio
from handsynth.recipe.sampling import RecipeSampler


class Stopwatch:
    """CPU and wall time of named blocks, by block."""

    def __init__(self) -> None:
        self.times: dict[str, list[tuple[float, float]]] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.times.setdefault(name, []).append((time.process_time() - cpu, time.perf_counter() - wall))


def time_stages(studio: Studio, sampler: RecipeSampler, batches: list[list[int]], scratch: Path) -> list[dict[str, Any]]:
    """One row for each stage: median over the batches of sample numbers, the first of which warms up.

    Batches go through all stages one after another, so a machine that slows down slows all stages alike. A stage finds the cache
    warmer here than between the other stages of one sample.
    """
    spec, library, clock = studio.spec, studio.library, Stopwatch()
    size, faces, tips = spec.image_size, studio.surface.closed_faces, library.hand.fingertip_table
    for indices in batches:
        with clock("recipe"):
            recipes = [sampler.sample(i) for i in indices]
        with clock("pose"):
            hands = studio.poses.pose(recipes, size)
        with clock("texture"):
            albedos = studio.textures.albedos(np.array([r.alpha for r in recipes]))
        with clock("background"):
            read = [read_usable(library.backgrounds, r.background.index)[0] for r in recipes]
            behind = [crop_background(picture, vars(r.background), size) for picture, r in zip(read, recipes, strict=True)]
        rows = range(len(indices))
        with clock("render"):
            views = (studio._view(recipes[k], hands, k, albedos[k], behind[k]) for k in rows)
            layers = [studio.renderer.render(view, spec.passes) for view in views]
        with clock("composite"):
            pictures = [studio.compositor.composite(layers[k].encoded, behind[k], recipes[k].sensor) for k in rows]
        with clock("annotate"):
            labels = [annotate(recipes[k], hands, k, faces, size, studio.dataset, tips) for k in rows]
        with clock("encode"):
            members = []
            for k in rows:
                jpg = encode_jpeg(pictures[k], recipes[k].sensor.jpeg_quality)
                passes = encode_passes(layers[k], spec.passes)
                members.append(encode_sample(Sample(labels[k], jpg, layers[k].mask, hands.vertices[k], passes)))
        with clock("tar"):
            write_shard(scratch / "stage.tar", zip(indices, members, strict=True))

    table: list[dict[str, Any]] = []
    for stage, found in clock.times.items():
        cpu, wall = (1e3 * statistics.median(t[which] for t in found[1:]) / len(batches[0]) for which in (0, 1))
        table.append({"stage": stage, "cpu_ms_per_sample": cpu, "wall_ms_per_sample": wall})
    cpu, wall = (sum(row[key] for row in table) for key in ("cpu_ms_per_sample", "wall_ms_per_sample"))
    table.append({"stage": "sum", "cpu_ms_per_sample": cpu, "wall_ms_per_sample": wall})
    return [row | {"cpu_share_percent": 100 * row["cpu_ms_per_sample"] / cpu} for row in table]
