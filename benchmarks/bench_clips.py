"""What clips cost: CPU time of a frame, blurred or sharp, with flow or without, beside single images of the same spec.

    python benchmarks/bench_clips.py

Pipelines run in one process with one thread per library, in turn, see bench_generate.py.
"""

import argparse
import dataclasses
import functools
from pathlib import Path

from bench_generate import one_thread_each
from common import RESULTS, print_table, provenance, results_path, round_robin, write_csv

STILLS = "single images"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time frames of clips beside single images.")
    parser.add_argument("--clips", type=int, default=10, help="clips of each pipeline in a round, and as many single images (10)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds, after one that warms up (7)")
    parser.add_argument("--hand", help="auto, mano, embedded, toy, or a prepared .npz")
    parser.add_argument("--textures", help="auto, html, embedded, or a prepared .npz")
    parser.add_argument("--backgrounds", help="folder of images; or: scenes")
    parser.add_argument("--quick", action="store_true", help="one clip, once: shows that it runs, measures nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV file (benchmarks/results)")
    options = parser.parse_args()
    if options.quick:
        options.clips, options.repeats = 1, 1
    one_thread_each()
    import cv2

    from handsynth.core.locations import assets_dir
    from handsynth.core.sample import FLOW
    from handsynth.dataset.generate import make_members
    from handsynth.generator import Generator, library_of
    from handsynth.recipe.samplers import RecipeSampler
    from handsynth.recipe.spec import SequenceSpec, load_spec

    cv2.setNumThreads(1)
    given = {key: getattr(options, key) for key in ("hand", "textures", "backgrounds") if getattr(options, key)}
    clips = dataclasses.replace(load_spec("clips"), **given)
    samples = options.clips * clips.together
    clips = dataclasses.replace(clips, samples=samples)
    sharp = dataclasses.replace(clips, sequence=dataclasses.replace(clips.sequence, shutter=(0.0, 0.0)))
    specs = {
        "clips": clips,
        "clips, sharp": sharp,
        "clips, with flow": dataclasses.replace(clips, passes=(FLOW,)),
        STILLS: dataclasses.replace(clips, sequence=SequenceSpec()),
    }
    library = library_of(clips, assets_dir())
    library.prepare(print)
    exposures = {name: 1.0 for name in specs}

    def run(sampler: RecipeSampler, generator: Generator) -> None:
        for _ in make_members(sampler, generator, range(samples)):
            pass

    runs, driver = {}, ""
    for name, spec in specs.items():
        sampler, generator = RecipeSampler(spec, library), Generator(spec, library)
        driver = generator.driver
        made = sampler.sample_many(range(samples))
        exposures[name] = sum(recipe.clip.exposures if recipe.clip else 1 for recipe in made) / samples
        runs[name] = functools.partial(run, sampler, generator)
    times = round_robin(runs, options.repeats)
    rows = [
        {
            "pipeline": name, "samples": samples, "rounds": options.repeats, "exposures_per_sample": exposures[name],
            "cpu_ms_per_sample": 1e3 * cpu / samples, "wall_ms_per_sample": 1e3 * wall / samples,
            "cpu_time_over_single_images": cpu / times[STILLS][0],
        }
        for name, (cpu, wall) in times.items()
    ]  # fmt: skip
    print_table("clips, CPU of this process", rows)
    write_csv(options.out / results_path("clips").name, rows, provenance(hand=library.hand.name, driver=driver))


if __name__ == "__main__":
    main()
