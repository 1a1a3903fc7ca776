"""This commit's generator in turn with an older one's, each from its own tree: what `bench_generate.py --against COMMIT` measures.

The older commit is checked out into a temporary worktree. Every turn is a new process with one thread per library, which warms up
and then makes a shard, from sample numbers to closed tar; the turns of a round follow one another, so that a machine that slows
down slows both. What counts is the ratio of the medians of CPU seconds: wall time is what a machine that is shared distorts.
"""

import argparse
import dataclasses
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

ROOT = Path(__file__).parents[1]
PIPELINES = ("angrender", "manorender", "angrender with passes", "default")
PASSES = ("depth", "parts", "normal", "uv")
WARM_UP = 96
OLDER, THIS = "older", "this"


def compare(
    commit: str, samples: int, rounds: int, given: dict[str, str], own_environment: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of two tables: one of each pipeline, and one of each of its stages.

    Args:
        commit: the older one.
        samples: of each pipeline and turn, spread evenly over its spec.
        rounds: turns of each.
        given: hand, textures, backgrounds of the specs.
        own_environment: install the older commit with its own dependencies; else both run in this environment.
    """
    found: dict[str, dict[str, list[dict[str, Any]]]] = {name: {OLDER: [], THIS: []} for name in PIPELINES}
    with Worktree(commit, own_environment) as older:
        trees = [(OLDER, older.path, older.python), (THIS, ROOT, sys.executable)]
        for round_number in range(rounds):
            for name, both in found.items():
                for who, tree, python in trees if round_number % 2 else reversed(trees):
                    both[who].append(_turn(python, tree, name, samples, given))
    pipelines: list[dict[str, Any]] = []
    stages: list[dict[str, Any]] = []
    for name, both in found.items():
        row: dict[str, Any] = {"pipeline": name, "samples": samples, "rounds": rounds}
        for kind in ("cpu", "wall"):
            for who, turns in both.items():
                times = [turn[f"{kind}_ms"] for turn in turns]
                row |= {f"{who}_{kind}_ms_per_sample": statistics.median(times), f"{who}_{kind}_least_ms": min(times)}
            row[f"{kind}_speed_over_older"] = row[f"{OLDER}_{kind}_ms_per_sample"] / row[f"{THIS}_{kind}_ms_per_sample"]
        pipelines.append(row)
        for stage in both[THIS][0]["stages"]:
            cpu = {who: statistics.median(turn["stages"][stage] for turn in turns) for who, turns in both.items()}
            stages.append({"pipeline": name, "stage": stage} | {f"{who}_cpu_ms_per_sample": ms for who, ms in cpu.items()})
    plain = pipelines[0]
    for row in pipelines:  # of one run: what passes, arms and clothes cost
        for who in (OLDER, THIS):
            row[f"{who}_rate_over_{PIPELINES[0]}"] = plain[f"{who}_cpu_ms_per_sample"] / row[f"{who}_cpu_ms_per_sample"]
    return pipelines, stages


class Worktree:
    """A temporary checkout of a commit, and the interpreter that runs it."""

    def __init__(self, commit: str, own_environment: bool) -> None:
        self.commit, self._own, self.python = commit, own_environment, sys.executable

    def __enter__(self) -> "Worktree":
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name) / "tree"
        add = ["git", "worktree", "add", "--detach", str(self.path), self.commit]
        done = subprocess.run(add, cwd=ROOT, check=False, capture_output=True, text=True)
        if done.returncode:
            self._folder.cleanup()
            sys.exit(f"--against {self.commit}: {done.stderr.strip().splitlines()[-1]}")
        if self._own:
            environment = Path(self._folder.name) / "environment"
            subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
            self.python = str(environment / "bin" / "python")
            subprocess.run([self.python, "-m", "pip", "install", "--quiet", str(self.path)], check=True)
        return self

    def __exit__(self, *_: Any) -> None:
        subprocess.run(["git", "worktree", "remove", "--force", str(self.path)], cwd=ROOT, check=False, capture_output=True)
        self._folder.cleanup()


def _turn(python: str, tree: Path, pipeline: str, samples: int, given: dict[str, str]) -> dict[str, Any]:
    """Milliseconds of a sample, CPU, wall and by stage, in a new process that imports the packages of `tree`."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1") | {"LP_NUM_THREADS": "0"}
    command = [python, __file__, str(tree), pipeline, str(samples), json.dumps(given)]
    environment = os.environ | threads | {"PYTHONPATH": str(tree)}
    done = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{tree} cannot be measured: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def _cpu_s() -> float:
    """User and system seconds of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def measure(tree: Path, pipeline: str, samples: int, given: dict[str, str]) -> dict[str, Any]:
    """What `_turn` returns, by the packages of this process's path, which are those of `tree`."""
    import cv2

    import handsynth

    assert Path(handsynth.__file__).is_relative_to(tree)
    from handsynth.profile import STAGES, Profile

    cv2.setNumThreads(1)
    make, indices = _maker(tree, pipeline, given, samples)
    with tempfile.TemporaryDirectory() as folder:
        make(indices[:WARM_UP], Path(folder) / "shard-000000.tar", Profile())
        profile, cpu, wall = Profile(), _cpu_s(), time.perf_counter()
        make(indices, Path(folder) / "shard-000001.tar", profile)
        cpu, wall = _cpu_s() - cpu, time.perf_counter() - wall
    stages = {stage: 1e3 * profile.cpu_s[stage] / len(indices) for stage in STAGES}
    return {"cpu_ms": 1e3 * cpu / len(indices), "wall_ms": 1e3 * wall / len(indices), "stages": stages}


def _maker(
    tree: Path, pipeline: str, given: dict[str, str], samples: int
) -> tuple[Callable[[Sequence[int], Path, Any], None], list[int]]:
    """What makes a shard of some samples, with the modules' names of either layout."""
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
    name, _, with_passes = pipeline.partition(" ")
    spec = dataclasses.replace(load_spec(name), passes=PASSES if with_passes else (), **given)  # type: ignore[arg-type]
    library = library_of(spec, Path(os.environ.get("HANDSYNTH_ASSETS", "no-assets")))
    generator, sampler = Generator(spec, library), RecipeSampler(spec, library)

    def make(indices: Sequence[int], path: Path, profile: Any) -> None:
        def members() -> Iterator[tuple[int, dict[str, bytes]]]:
            for sample, encoded in make_members(sampler, generator, indices, profile):
                yield sample.index, encoded

        with profile.stage("write"):
            write_shard(path, members())

    return make, [k * spec.samples // samples for k in range(samples)]


def main() -> None:
    """The inner process."""
    parser = argparse.ArgumentParser()
    for name in ("tree", "pipeline", "samples", "given"):
        parser.add_argument(name)
    options = parser.parse_args()
    print(json.dumps(measure(Path(options.tree), options.pipeline, int(options.samples), json.loads(options.given))))


if __name__ == "__main__":
    main()
