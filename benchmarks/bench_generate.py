"""How fast one core makes samples: a table of the stages, whole pipelines against a plain baseline, start-up and memory.

    python benchmarks/bench_generate.py

Everything runs in one process with one thread per library, variants round-robin, so that a machine that slows down slows all of
them alike: the ratios can be trusted more than the milliseconds. CPU time is what a busy machine distorts least.
"""

import argparse
import dataclasses
import functools
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from common import RESULTS, print_table, provenance, results_path, round_robin, write_csv

BASELINE = "angrender by the plain baseline"
PAGE_MB = resource.getpagesize() / 1e6


def one_thread_each() -> None:
    """One thread per library, as in a worker. The settings are read when numpy and Mesa are loaded, so nothing may be before."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    os.environ["LP_NUM_THREADS"] = "0"  # Mesa rasterises in the calling thread


def resident_mb() -> float:
    """Memory of this process that is in RAM, shared library pages included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_MB


class Bench:
    """Everything that is made once: imports, library, studios. Keeps how long that took."""

    def __init__(self, options: argparse.Namespace) -> None:
        started, cpu = time.perf_counter(), time.process_time()
        import cv2

        from handsynth.assets.store import assets_dir
        from handsynth.pipeline import Studio, library_of
        from handsynth.recipe.sampling import RecipeSampler
        from handsynth.recipe.spec import load_spec

        cv2.setNumThreads(1)
        imported = time.perf_counter()
        given = {key: getattr(options, key) for key in ("hand", "textures", "backgrounds") if getattr(options, key)}
        self._spec = lambda name, passes=(): dataclasses.replace(load_spec(name), passes=passes, **given)
        self._library = library_of(self._spec("angrender"), assets_dir())
        self._library.prepare(print)
        prepared = time.perf_counter()
        self._make_studio = lambda spec: (RecipeSampler(spec, self._library), Studio(spec, self._library))
        self.sampler, self.studio = self._make_studio(self._spec("angrender"))
        next(self.studio.make_samples([self.sampler.sample(0)]))
        done = time.perf_counter()
        self.start = {
            "import_wall_s": imported - started,
            "library_wall_s": prepared - imported,
            "studio_and_first_sample_wall_s": done - prepared,
            "all_wall_s": done - started,
            "all_cpu_s": time.process_time() - cpu,
        }

    def indices(self, count: int) -> list[int]:
        """So many sample numbers, spread evenly over AngRender."""
        from handsynth.selection import Selection

        return list(Selection(samples=count).indices(self.studio.spec.samples))

    def memory(self) -> dict[str, float]:
        """Memory of a worker after a shard of AngRender; to be called before the baseline is made."""
        return {"resident_MB": resident_mb(), "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6}

    def pipelines(self, samples: int, naive_samples: int, scratch: Path) -> dict[str, tuple[int, Any]]:
        """Whole pipelines, from sample number to closed tar: name -> (samples of a round, function)."""
        from handsynth.core.sample import PASSES
        from handsynth.core.shard import write_shard
        from handsynth.encode import encode_sample

        def run(sampler, studio, indices: list[int], path: Path) -> None:
            made = studio.make_samples([sampler.sample(i) for i in indices])
            write_shard(path, ((sample.index, encode_sample(sample)) for sample in made))

        def run_naive(pipeline, sampler, indices: list[int], path: Path) -> None:
            pipeline.write([sampler.sample(i) for i in indices], path)

        found: dict[str, tuple[int, Any]] = {}
        every, few = self.indices(samples), self.indices(naive_samples)
        for name in ("angrender", "manorender"):
            sampler, studio = (self.sampler, self.studio) if name == "angrender" else self._make_studio(self._spec(name))
            numbers = [i * studio.spec.samples // self.studio.spec.samples for i in every]
            found[f"{name}, mask, labels, vertices"] = samples, functools.partial(run, sampler, studio, numbers, scratch / name)
        sampler, studio = self._make_studio(self._spec("angrender", tuple(PASSES)))
        found[f"angrender and {', '.join(PASSES)}"] = samples, functools.partial(run, sampler, studio, every, scratch / "passes")
        pipeline = self._naive(scratch)
        found[BASELINE] = naive_samples, functools.partial(run_naive, pipeline, self.sampler, few, scratch / "naive")
        return found

    def _naive(self, scratch: Path):
        """The baseline, with a renderer of its own."""
        from naive import NaivePipeline

        from handsynth.render.pyrender_backend import PyrenderRenderer

        spec = self.studio.spec
        kept = PyrenderRenderer(self.studio.surface, spec.image_size)._renderer  # its constructor knows what pyrender needs
        return NaivePipeline(spec, self._library, kept, scratch)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the generator on one core.")
    parser.add_argument("--samples", type=int, default=256, help="samples of each pipeline in a round (256)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds, after one that warms up (7)")
    parser.add_argument("--hand", help="auto, mano, embedded, toy, or a prepared .npz")
    parser.add_argument("--textures", help="auto, html, embedded, or a prepared .npz")
    parser.add_argument("--backgrounds", help="folder of pictures; or: scenes")
    parser.add_argument("--quick", action="store_true", help="a few samples, once: shows that it runs, measures nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV files (benchmarks/results)")
    options = parser.parse_args()
    samples, repeats, naive = (8, 1, 2) if options.quick else (options.samples, options.repeats, max(8, options.samples // 16))

    one_thread_each()
    bench = Bench(options)
    from stages import time_stages

    from handsynth.pipeline import BATCH

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        batch = min(BATCH, samples)
        numbers = bench.indices(batch * (1 + repeats * max(1, samples // batch)))
        # Every batch holds samples from all over the grid, so that batches differ by the machine alone.
        step = len(numbers) // batch
        stages = time_stages(bench.studio, bench.sampler, [numbers[k::step][:batch] for k in range(step)], scratch)
        memory = bench.memory()
        pipelines = bench.pipelines(samples, naive, scratch)
        times = round_robin({name: run for name, (_, run) in pipelines.items()}, repeats)

    per_sample = {name: tuple(t / pipelines[name][0] for t in both) for name, both in times.items()}
    base_cpu, base_wall = per_sample[BASELINE]
    rates = [
        {"pipeline": name, "samples": pipelines[name][0], "rounds": repeats,
         "cpu_ms_per_sample": 1e3 * cpu, "wall_ms_per_sample": 1e3 * wall,
         "samples_per_cpu_s": 1 / cpu, "samples_per_wall_s": 1 / wall,
         "cpu_speed_over_baseline": base_cpu / cpu, "wall_speed_over_baseline": base_wall / wall}
        for name, (cpu, wall) in per_sample.items()
    ]  # fmt: skip
    start = [bench.start | memory]
    origin = provenance(hand=bench.studio.library.hand.name, driver=bench.studio.renderer.driver)
    tables = {"stages": stages, "pipelines": rates, "start": start}
    for name, rows in tables.items():
        print_table({"stages": "stages of angrender", "pipelines": "whole pipelines on one core", "start": "start-up"}[name], rows)
        write_csv(options.out / results_path(f"generate_{name}").name, rows, origin)


if __name__ == "__main__":
    main()
