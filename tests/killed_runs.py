"""Run by test_generate.py in a process of its own: makes a small dataset in forked children and kills them with SIGKILL.

A fork starts with everything imported, so that twenty killed runs take seconds. Prints one JSON line for each kill.

    python killed_runs.py moments FOLDER [N]   N (20) random moments of a run, each run going on where the last one was killed
    python killed_runs.py points FOLDER        before and after each sync and rename of a run, and while a shard is being written
    python killed_runs.py nodes FOLDER [N]     nobody is killed: three nodes, each started twice, N (2) at once in random order
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tiny import World, dataset_bytes, make_world

from handsynth.dataset import generate as generate_module


def in_child(work: Callable[[], object], delay_s: float | None = None) -> bool:
    """Does `work` in a forked process, killed after `delay_s`; returns whether it ended by itself, without error."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    if delay_s is not None:
        time.sleep(delay_s)
        os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1] == 0


def report(out: Path, reference: dict[str, bytes], **more: Any) -> None:
    """Prints what lies in the folder: the files under their own names, and those among them that are not whole."""
    found = dataset_bytes(out) if out.exists() else {}
    damaged = [name for name, data in found.items() if data != reference.get(name)]
    print(json.dumps({"files": sorted(found), "damaged": damaged} | more), flush=True)


def kill_at_random_moments(world: World, folder: Path, times: int = 20) -> None:
    def run(out: Path) -> Callable[[], object]:
        return lambda: world.generate(out, "0:24", shard_size=3)

    start = time.monotonic()
    assert in_child(run(folder / "whole"))
    duration, reference = time.monotonic() - start, dataset_bytes(folder / "whole")
    rng, out = random.Random(2), folder / "killed"
    killed = 0
    while killed < times:
        ended = in_child(run(out), rng.uniform(0, duration))
        report(out, reference, ended=ended)
        killed += not ended
        if ended:
            shutil.rmtree(out)
    assert in_child(run(out))
    report(out, reference, ended=True, leftovers=leftovers(out))


def leftovers(out: Path) -> list[str]:
    return [str(path.relative_to(out)) for path in out.rglob(".tmp-*")]


def kill_at_every_point(world: World, folder: Path) -> None:
    """The generator's own steps, with rendering replaced by fixed bytes: killed at call n of os.fsync or os.replace, or sample
    n.
    """
    sample = SimpleNamespace(labels={"background": {"replaced": False}}, index=0)
    generator = SimpleNamespace(
        make_batches=lambda recipes, _: iter([[SimpleNamespace(**vars(sample) | {"index": r})] for r in recipes]),
        dataset="",
        driver="none",
    )
    identity = generate_module.dataset_identity(world.spec(), generate_module.library_of(world.spec(), world.assets).digests)
    generator.dataset = identity
    generate_module._worker_state = lambda *_: (SimpleNamespace(sample_many=list), generator)
    steps = {"fsync": os.fsync, "replace": os.replace}

    def encode(samples: list[Any]) -> list[dict[str, bytes]]:
        return [{"json": random.Random(sample.index).randbytes(1 << 20)} for sample in samples]  # larger than the file's buffer

    generate_module.encode_samples = encode

    def run(out: Path, name: str = "", last: int = -1, *, after: bool = False) -> None:
        calls = 0

        def wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
            def step(*arguments: Any) -> Any:
                nonlocal calls
                if calls == last and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                result = original(*arguments)
                if calls == last:
                    os.kill(os.getpid(), signal.SIGKILL)
                calls += 1
                return result

            return step

        if name == "sample":
            generate_module.encode_samples = wrapped(encode)
        elif name:
            setattr(os, name, wrapped(steps[name]))
        world.generate(out, "0:8")

    assert in_child(lambda: run(folder / "whole"))
    reference = dataset_bytes(folder / "whole")
    # A plan, two shards with a note each and an index: six files, each synced and renamed; eight samples.
    points = [(name, n, after) for name in ("fsync", "replace") for n in range(6) for after in (False, True)]
    points += [("sample", n, True) for n in range(0, 8, 3)]
    for name, n, after in points:
        out = folder / f"killed-{name}-{n}-{after}"
        ended = in_child(lambda o=out, m=name, k=n, a=after: run(o, m, k, after=a))
        report(out, reference, point=[name, n, after], ended=ended)
        assert in_child(lambda o=out: run(o))
        report(out, reference, point=[name, n, after], ended=True, leftovers=leftovers(out))


def race_nodes(world: World, folder: Path, at_once: int = 2) -> None:
    def node(out: Path, rank: int) -> Callable[[], object]:
        return lambda: world.generate(out, "0:24", shard_size=3, run=generate_module.RunConfig(nnodes=3, node_rank=rank))

    assert in_child(lambda: world.generate(folder / "whole", "0:24", shard_size=3))
    reference = dataset_bytes(folder / "whole")
    for seed in range(3):
        ranks = [0, 1, 2] * 2
        random.Random(seed).shuffle(ranks)
        out = folder / f"raced-{seed}"
        with ThreadPoolExecutor(at_once) as pool:
            ended = list(pool.map(in_child, [node(out, rank) for rank in ranks]))
        report(out, reference, ended=all(ended), ranks=ranks, leftovers=leftovers(out))


if __name__ == "__main__":
    kind, target = sys.argv[1], Path(sys.argv[2])
    modes = {"moments": kill_at_random_moments, "points": kill_at_every_point, "nodes": race_nodes}
    modes[kind](make_world(target / "world"), target, *map(int, sys.argv[3:]))
