"""Is the generator slower than an older commit? Both make the same specs' samples in turn, each from its own tree.

    python benchmarks/bench_against.py a4cc3ef

The older commit is checked out into a temporary worktree and run by this interpreter, with its own modules first in the path. Every
turn is a new process with one thread per library, which warms up and then measures its CPU time from sample number to closed tar;
the turns of a round follow one another, so that a machine that slows down slows both. What counts is the ratio of the medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from common import RESULTS, print_table, provenance, results_path, write_csv

ROOT = Path(__file__).parents[1]
SPECS = ("angrender", "manorender")
WARM_UP = 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commit", help="the older commit")
    parser.add_argument("--samples", type=int, default=768, help="of each spec and turn, spread evenly over it (768)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (7)")
    parser.add_argument("--hand", help="auto, mano, embedded, toy, or a prepared .npz")
    parser.add_argument("--textures", help="auto, html, embedded, or a prepared .npz")
    parser.add_argument("--backgrounds", help="folder of images; or: scenes")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV file (benchmarks/results)")
    parser.add_argument("--measure", metavar="TREE", help=argparse.SUPPRESS)  # the inner process, which gets a spec as its commit
    options = parser.parse_args()
    given = {key: getattr(options, key) for key in ("hand", "textures", "backgrounds") if getattr(options, key)}
    if options.measure:
        print(json.dumps(measure(Path(options.measure), options.commit, options.samples, given)))
        return
    times: dict[str, dict[str, list[float]]] = {spec: {"older": [], "this": []} for spec in SPECS}
    with worktree(options.commit) as older:
        for round_number in range(options.rounds):
            for spec in SPECS:
                trees = [("older", older), ("this", ROOT)]
                for who, tree in trees if round_number % 2 else reversed(trees):
                    times[spec][who].append(turn(tree, spec, options.samples, given))
    rows = []
    for spec, both in times.items():
        older_ms, this_ms = (statistics.median(both[who]) for who in ("older", "this"))
        range_ms = {f"{who}_{name}_ms": fold(both[who]) for who in both for name, fold in (("least", min), ("most", max))}
        medians = {"older_cpu_ms_per_sample": older_ms, "cpu_ms_per_sample": this_ms, "ratio": this_ms / older_ms}
        rows.append({"spec": spec} | medians | range_ms)
    print_table(f"CPU of one sample, {options.commit} and this commit", rows)
    write_csv(
        options.out / results_path("against").name,
        rows,
        provenance(older=options.commit, samples=options.samples, rounds=options.rounds),
    )


class worktree:
    """A temporary checkout of a commit."""

    def __init__(self, commit: str) -> None:
        self.commit = commit

    def __enter__(self) -> Path:
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name) / "tree"
        subprocess.run(
            ["git", "worktree", "add", "--detach", str(self.path), self.commit], cwd=ROOT, check=True, capture_output=True
        )
        return self.path

    def __exit__(self, *_: Any) -> None:
        subprocess.run(["git", "worktree", "remove", "--force", str(self.path)], cwd=ROOT, check=False, capture_output=True)
        self._folder.cleanup()


def turn(tree: Path, spec: str, samples: int, given: dict[str, str]) -> float:
    """CPU milliseconds of a sample in a new process that imports the packages of `tree`."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1") | {"LP_NUM_THREADS": "0"}
    command = [sys.executable, __file__, spec, "--measure", str(tree), "--samples", str(samples)]
    command += [word for key, value in given.items() for word in (f"--{key}", value)]
    done = subprocess.run(
        command, env=os.environ | threads | {"PYTHONPATH": str(tree)}, cwd=tree, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{tree} cannot be measured: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(tree: Path, spec_name: str, samples: int, given: dict[str, str]) -> float:
    """CPU milliseconds of a sample, by the packages of this process's path, which are those of `tree`."""
    import cv2

    import handsynth

    assert Path(handsynth.__file__).is_relative_to(tree)
    cv2.setNumThreads(1)
    make, indices = _maker(tree, spec_name, given, samples)
    with tempfile.TemporaryDirectory() as folder:
        make(indices[:WARM_UP], Path(folder) / "shard-000000.tar")
        start = time.process_time()
        make(indices, Path(folder) / "shard-000001.tar")
        return 1e3 * (time.process_time() - start) / len(indices)


def _maker(
    tree: Path, spec_name: str, given: dict[str, str], samples: int
) -> tuple[Callable[[Sequence[int], Path], None], list[int]]:
    """What makes a shard of some samples, with the modules' names of either layout."""
    import dataclasses

    from handsynth.core.shard import write_shard
    from handsynth.recipe.spec import load_spec

    # Looked up in the tree: where a module is missing there, an editable installation would find that of the other tree.
    if (tree / "handsynth" / "generator.py").exists():
        from handsynth.dataset.generate import make_members
        from handsynth.generator import Generator, library_of
        from handsynth.recipe.samplers import RecipeSampler
    else:  # up to a4cc3ef
        from handsynth.farm import make_members
        from handsynth.pipeline import Studio as Generator
        from handsynth.pipeline import library_of
        from handsynth.recipe.sampling import RecipeSampler
    spec = dataclasses.replace(load_spec(spec_name), **given)  # type: ignore[arg-type]
    library = library_of(spec, Path(os.environ.get("HANDSYNTH_ASSETS", "no-assets")))
    generator, sampler = Generator(spec, library), RecipeSampler(spec, library)

    def make(indices: Sequence[int], path: Path) -> None:
        def members() -> Iterator[tuple[int, dict[str, bytes]]]:
            for sample, encoded in make_members(sampler, generator, indices):
                yield sample.index, encoded

        write_shard(path, members())

    return make, [k * spec.samples // samples for k in range(samples)]


if __name__ == "__main__":
    main()
