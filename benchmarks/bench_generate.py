"""How fast one core makes samples: stages, whole pipelines beside two plain baselines, two workers, start-up and memory.

    python benchmarks/bench_generate.py --html
    python benchmarks/bench_generate.py --against a4cc3ef        # in turn with an older commit, see older_commit.py

Pipelines run in one process with one thread per library, variants round-robin, so that a machine that slows down slows all of
them alike: the ratios can be trusted more than the milliseconds. CPU time is what a busy machine distorts least.
"""

import argparse
import dataclasses
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import RESULTS, counted, print_table, provenance, results_path, round_robin, write_csv

PLAIN, WITH_PASSES = "angrender", "angrender with passes"
NAIVE, CAREFUL = "naive", "careful"
PAGE_MB = resource.getpagesize() / 1e6
TITLES = {
    "stages": "stages, CPU of this process", "pipelines": "whole pipelines on one core", "workers": "generate --jobs",
    "start": "start-up and memory", "against": "this commit and an older one, CPU and wall of one sample",
    "against_stages": "stages of both, CPU of one sample",
}  # fmt: skip


def one_thread_each() -> None:
    """One thread per library, as in a worker. The settings are read when numpy and Mesa are loaded, so nothing may be before."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    os.environ["LP_NUM_THREADS"] = "0"  # Mesa rasterises in the calling thread


def resident_mb() -> float:
    """Memory of this process that is in RAM, shared library pages included."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * PAGE_MB


class Bench:
    """One texture: what is made once, imports, library, generators; how long that took; and the pipelines."""

    def __init__(self, given: dict[str, str]) -> None:
        """`given`: hand, textures, backgrounds of the spec."""
        started, cpu = time.perf_counter(), time.process_time()
        import cv2

        from handsynth.core.locations import assets_dir
        from handsynth.generator import Generator, library_of
        from handsynth.recipe.samplers import RecipeSampler
        from handsynth.recipe.spec import load_spec

        cv2.setNumThreads(1)
        imported = time.perf_counter()
        self.given = given
        self._spec = lambda name, passes=(): dataclasses.replace(load_spec(name), passes=passes, **given)
        self.library = library_of(self._spec(PLAIN), assets_dir())
        self.library.prepare(print)
        prepared = time.perf_counter()
        self._make_generator = lambda spec: (RecipeSampler(spec, self.library), Generator(spec, self.library))
        self.sampler, self.generator = self._make_generator(self._spec(PLAIN))
        next(self.generator.make_samples([self.sampler.sample(0)]))
        done = time.perf_counter()
        self.start = {
            "import_wall_s": imported - started,
            "library_wall_s": prepared - imported,
            "generator_and_first_sample_wall_s": done - prepared,
            "all_wall_s": done - started,
            "all_cpu_s": time.process_time() - cpu,
        }
        self.profiles: dict[str, list[Any]] = {}

    def indices(self, count: int, spec) -> list[int]:
        """So many sample numbers, spread evenly over a spec."""
        from handsynth.dataset.selection import Selection

        return list(Selection(samples=count).indices(spec.samples))

    def memory(self, samples: int, scratch: Path) -> dict[str, float]:
        """Memory of a worker after a shard; to be called before anything else is made."""
        self._run(PLAIN, self.sampler, self.generator, self.indices(samples, self.generator.spec), scratch / "first.tar")
        self.profiles.clear()
        return {"resident_MB": resident_mb(), "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6}

    def _run(self, name: str, sampler, generator, indices: list[int], path: Path) -> None:
        """From sample numbers to a closed tar, as a worker does it, and profiled."""
        from handsynth.core.shard import write_shard
        from handsynth.dataset.generate import make_members
        from handsynth.profile import Profile

        profile = Profile()
        with profile.stage("write"):
            write_shard(path, ((sample.index, members) for sample, members in make_members(sampler, generator, indices, profile)))
        profile.samples = len(indices)
        self.profiles.setdefault(name, []).append(profile)

    def ours(self, samples: int, scratch: Path) -> dict[str, Callable[[], None]]:
        """Our pipelines by name."""
        from handsynth.core.sample import PASSES

        runs: dict[str, Callable[[], None]] = {}
        for name, spec in {
            PLAIN: self._spec("angrender"), "manorender": self._spec("manorender"),
            WITH_PASSES: self._spec("angrender", tuple(PASSES)),
        }.items():  # fmt: skip
            sampler, generator = (self.sampler, self.generator) if name == PLAIN else self._make_generator(spec)
            runs[name] = functools.partial(
                self._run, name, sampler, generator, self.indices(samples, spec), scratch / f"{name}.tar"
            )
        return runs

    def baselines(self, samples: int, native, renderer, scratch: Path) -> dict[str, Callable[[], None]]:
        """The baselines by name, on AngRender. `native` is the skin at its own resolution, `renderer` pyrender's."""
        from naive import CarefulPipeline, NaivePipeline, background_files

        indices, size = self.indices(samples, self.generator.spec), self.generator.spec.image_size
        files = background_files(self.library, [self.sampler.sample(i) for i in indices], scratch)

        def run(pipeline, path: Path) -> None:
            pipeline.write([self.sampler.sample(i) for i in indices], path)

        runs: dict[str, Callable[[], None]] = {}
        for kind, cls in ((NAIVE, NaivePipeline), (CAREFUL, CarefulPipeline)):
            for whole_map in (True, False):
                name = kind if whole_map else f"{kind}, used texels alone"
                pipeline = cls(self.library, native, size, renderer, files, whole_map=whole_map)
                runs[name] = functools.partial(run, pipeline, scratch / f"{name}.tar")
        return runs

    def stage_rows(self) -> list[dict[str, Any]]:
        """Median of each stage over the runs that count."""
        from handsynth.profile import STAGES

        rows: list[dict[str, Any]] = []
        for name, profiles in self.profiles.items():
            seconds = [(p.cpu_s, p.wall_s) for p in counted(profiles)]
            samples = profiles[0].samples
            found = {s: [1e3 * statistics.median(both[k][s] for both in seconds) / samples for k in (0, 1)] for s in STAGES}
            found["sum"] = [sum(column) for column in zip(*found.values(), strict=True)]
            for stage, (cpu, wall) in found.items():
                row = {"pipeline": name, "stage": stage, "cpu_ms_per_sample": cpu, "wall_ms_per_sample": wall}
                rows.append(row | {"cpu_share_percent": 100 * cpu / found["sum"][0]})
        return rows


def worker_rows(given: dict[str, str], samples: int, repeats: int, scratch: Path) -> list[dict[str, Any]]:
    """`handsynth generate --jobs 1` and `--jobs 2` in turn, as processes of their own.

    The rate is that of workers at work, start-up and the last one's lonely end left out; `wall_s` is the whole command.
    """
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    options = [word for key, value in given.items() for word in (f"--{key}", value)]
    for _ in range(repeats):
        for jobs, runs in found.items():
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                command = [sys.executable, "-m", "handsynth", "generate", PLAIN, folder, "--jobs", jobs, "--samples", samples]
                command += ["--shard-size", max(1, samples // 8), "--profile", "--json", *options]
                start = time.perf_counter()
                done = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE)
                wall = time.perf_counter() - start
            profile = json.loads(done.stdout)["profile"]
            runs.append({"wall_s": wall} | {key: value for key, value in profile.items() if key != "stages"})
    rows: list[dict[str, Any]] = []
    for jobs, runs in found.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        cpu, wall = middle["cpu_ms_per_sample"], middle["wall_ms_per_sample"]
        row = {"pipeline": PLAIN, "jobs": jobs, "samples": samples, "rounds": repeats, "wall_s": middle["wall_s"]}
        row |= {"start_cpu_s": middle["start_cpu_s"], "cpu_ms_per_sample": cpu, "wall_ms_per_sample": wall}
        row |= {"samples_per_cpu_s": 1e3 / cpu, "samples_per_wall_s": 1e3 * jobs / wall}
        rows.append(row)
    for kind in ("cpu", "wall"):  # as often as one job: 2 when the workers do not stand in each other's way
        key = f"{kind}_ms_per_sample"
        for row in rows:
            row[f"{kind}_speed_over_one_job"] = row["jobs"] * rows[0][key] / row[key]
    return rows


def pipeline_rows(times: dict[str, tuple[float, float]], counts: dict[str, int], repeats: int) -> list[dict[str, Any]]:
    """Rates of whole pipelines, and their ratios to both baselines."""
    cpu, wall = ({name: both[k] / counts[name] for name, both in times.items()} for k in (0, 1))
    return [
        {"pipeline": name, "samples": counts[name], "rounds": repeats,
         "cpu_ms_per_sample": 1e3 * cpu[name], "wall_ms_per_sample": 1e3 * wall[name],
         "samples_per_cpu_s": 1 / cpu[name], "samples_per_wall_s": 1 / wall[name],
         **{f"{kind}_speed_over_{base}": per[base] / per[name]
            for base in (NAIVE, CAREFUL) for kind, per in (("cpu", cpu), ("wall", wall))}}
        for name in times
    ]  # fmt: skip


def compare_with(options: argparse.Namespace, given: dict[str, str]) -> None:
    """The tables of `--against`, and this commit's with one and two workers."""
    from older_commit import compare

    pipelines, stages = compare(options.against, options.samples, options.repeats, given, options.own_environment)
    print_table(TITLES["against"], pipelines)
    with tempfile.TemporaryDirectory() as folder:
        workers = worker_rows(given, options.worker_samples, options.worker_repeats, Path(folder))
    origin = provenance(older=options.against, own_environment=options.own_environment)
    for name, rows in {"against": pipelines, "against_stages": stages, "workers": workers}.items():
        if name != "against":
            print_table(TITLES[name], rows)
        write_csv(options.out / results_path(f"generate_{name}").name, rows, origin)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the generator on one core and on two.")
    parser.add_argument("--samples", type=int, default=256, help="samples of each of our pipelines in a round (256)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds, after one that warms up (7)")
    parser.add_argument("--worker-samples", type=int, default=4096, help="samples of each run with one and two workers (4096)")
    parser.add_argument("--worker-repeats", type=int, default=3, help="runs of each (3)")
    parser.add_argument("--html", action="store_true", help="again with a texture of HTML's structure and size (6 GB of memory)")
    parser.add_argument("--hand", help="auto, mano, embedded, toy, or a prepared .npz")
    parser.add_argument("--textures", help="auto, html, embedded, or a prepared .npz")
    parser.add_argument("--backgrounds", help="folder of images; or: scenes")
    parser.add_argument("--against", metavar="COMMIT", help="compare with this older commit; then no baselines run")
    parser.add_argument("--own-environment", action="store_true", help="install the older commit with its own dependencies")
    parser.add_argument("--quick", action="store_true", help="a few samples, once: shows that it runs, measures nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV files (benchmarks/results)")
    options = parser.parse_args()
    if options.quick:
        options.samples, options.repeats, options.worker_samples, options.worker_repeats = 8, 1, 8, 1
    few = min(options.samples, max(2, options.samples // 16))  # of the baselines, which take so much longer

    one_thread_each()
    given = {key: getattr(options, key) for key in ("hand", "textures", "backgrounds") if getattr(options, key)}
    if options.against:
        compare_with(options, given)
        return
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TITLES if not name.startswith("against")}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        bench = Bench(given)
        tables["start"].append(bench.start | bench.memory(options.samples, scratch))
        from handsynth.render.pyrender_backend import PyrenderRenderer

        # One for all, because deleting any of pyrender's ends EGL for the process; its constructor knows what pyrender needs.
        renderer = PyrenderRenderer(bench.generator.spec.image_size)._renderer
        skins = [(bench.library.skin.name, bench, bench.library.skin)]
        if options.html:
            from html_release import write_html_release

            from handsynth.assets.skins.html import prepare_html, read_html

            files = write_html_release(bench.library.skin, scratch / "HTML_release_both_hands")
            prepared = prepare_html(scratch / "HTML_release_both_hands", scratch / "assets").paths[0]
            skins.append(("html-sized", Bench(given | {"textures": str(prepared)}), read_html(*files, size=1024)))
        for textures, one, native in skins:
            runs = one.ours(options.samples, scratch)
            counts = dict.fromkeys(runs, options.samples)
            runs |= one.baselines(few, native, renderer, scratch)
            times = round_robin(runs, options.repeats)
            found = {
                "stages": one.stage_rows(),
                "pipelines": pipeline_rows(times, dict.fromkeys(runs, few) | counts, options.repeats),
                "workers": worker_rows(one.given, options.worker_samples, options.worker_repeats, scratch),
            }
            for name, rows in found.items():
                tables[name] += [{"textures": textures} | row for row in rows]
            runs.clear()  # the naive basis alone has 2.5 GB

    origin = provenance(hand=bench.generator.library.hand.name, driver=bench.generator.renderer.driver)
    for name, rows in tables.items():
        print_table(TITLES[name], rows)
        write_csv(options.out / results_path(f"generate_{name}").name, rows, origin)
    from generate_figure import plot_generate

    plot_generate(options.out / results_path("generate_pipelines").with_suffix(".png").name, tables["stages"], tables["pipelines"])


if __name__ == "__main__":
    main()
