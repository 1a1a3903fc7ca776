"""Faults: what a render farm meets, done to a small dataset, and what is lost of it. Rows also run, with few trials, in the tests.

    python benchmarks/faults.py                 every row, some minutes; results/faults-<machine>-<commit>.csv
    python benchmarks/faults.py killed clock    some rows, printed only
    python benchmarks/faults.py --memory        50,000 samples in one worker; results/faults_memory-<machine>-<commit>.csv

A shard is lost when it lies damaged under its own name at any time, or when it is not there, byte for byte, after the same command
was given again.
"""

import argparse
import builtins
import contextlib
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
os.environ.setdefault("HANDSYNTH_CACHE", str(ROOT / "build" / "test-cache"))
os.environ["HANDSYNTH_ASSETS"] = str(ROOT / "build" / "no-assets")

from common import print_table, provenance, results_path, write_csv  # noqa: E402
from dying import make_or_crash, make_slowly  # noqa: E402
from object_store import object_store  # noqa: E402
from tiny import World, dataset_bytes, make_world  # noqa: E402

from handsynth.core import files as files_module  # noqa: E402
from handsynth.core.errors import HandsynthError  # noqa: E402
from handsynth.dataset import generate as generate_module  # noqa: E402
from handsynth.dataset.folder import open_folder  # noqa: E402
from handsynth.dataset.generate import RunConfig, ShardTask, make_shard  # noqa: E402
from handsynth.dataset.verify import verify  # noqa: E402
from handsynth.recipe.spec import spec_to_dict  # noqa: E402
from handsynth.render.gl import GlRenderer  # noqa: E402

CHOSEN = "0:24"
"""Six shards of four samples."""

Outcome = tuple[int, int, str]
"""Trials, shards lost, what happened."""


class Bench:
    """A tiny world, the right bytes of its dataset, and a new folder for each trial."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = make_world(folder / "world")
        self.count = 0
        self.world.generate(self.new(), CHOSEN)
        self.reference = dataset_bytes(self.out)

    def new(self) -> Path:
        """The next trial's folder, `out` from then on."""
        self.count += 1
        self.out = self.folder / f"out{self.count}"
        return self.out

    def damaged(self) -> int:
        """Files that lie in `out` under their own names with other bytes than they should have."""
        found = dataset_bytes(self.out) if self.out.exists() else {}
        return sum(data != self.reference.get(name) for name, data in found.items())

    def end(self) -> int:
        """Gives the command (again), and counts what is then missing or wrong."""
        self.world.generate(self.out, CHOSEN)
        found = dataset_bytes(self.out)
        return sum(found.get(name) != data for name, data in self.reference.items())


def _killed_runs(bench: Bench, kind: str, *more: object) -> list[dict[str, Any]]:
    script = ROOT / "tests" / "killed_runs.py"
    folder = bench.new()
    done = subprocess.run([sys.executable, script, kind, folder, *map(str, more)], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def killed(bench: Bench, trials: int) -> Outcome:
    """SIGKILL at a random moment, each run going on where the last one was killed."""
    lines = _killed_runs(bench, "moments", trials)
    lost = sum(len(line["damaged"]) for line in lines) + (len(lines[-1]["files"]) != 9) + len(lines[-1]["leftovers"])
    return sum(not line["ended"] for line in lines), lost, "the last run ends with the right bytes"


def killed_between(bench: Bench, trials: int) -> Outcome:
    """SIGKILL before and after each sync and rename of a run, and inside a shard."""
    lines = _killed_runs(bench, "points")
    lost = sum(len(line["damaged"]) for line in lines) + sum(len(line["files"]) != 3 for line in lines[1::2])
    return len(lines) // 2, lost, "the next run ends with the right bytes"


def raced(bench: Bench, trials: int) -> Outcome:
    """Three nodes, each started twice, all six at the same time."""
    lines = _killed_runs(bench, "nodes", 6)
    lost = sum(len(line["damaged"]) + (len(line["files"]) != 9) + len(line["leftovers"]) for line in lines)
    return len(lines), lost, "one whole shard each, one index"


def cluster(bench: Bench, trials: int, workers: int = 3) -> Outcome:
    """A worker of a Dask cluster is killed in the middle of a run."""
    from distributed import LocalCluster

    lost = 0

    def kill(out: Path) -> None:
        while not any(out.glob("shard-*")):
            time.sleep(0.01)
        os.kill(random.choice(list(running.workers.values())).pid, signal.SIGKILL)

    options: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with LocalCluster(n_workers=workers, **options) as running, mock.patch.object(generate_module, "make_shard", make_slowly):
        for _ in range(trials):
            killer = threading.Thread(target=kill, args=[bench.new()])
            killer.start()
            bench.world.generate(bench.out, CHOSEN, run=RunConfig(scheduler=running.scheduler_address))
            killer.join()
            lost += sum(dataset_bytes(bench.out).get(name) != data for name, data in bench.reference.items())
    return trials, lost, f"the same run ends with the right bytes ({workers} workers)"


def crashed(bench: Bench, trials: int) -> Outcome:
    """One shard ends its worker by a crash in native code, each time."""
    lost = 0
    for _ in range(trials):
        bench.new()
        with mock.patch.object(generate_module, "make_shard", make_or_crash):
            message = _sentence(lambda: bench.world.generate(bench.out, CHOSEN, run=RunConfig(jobs=2)))
        lost += "1 of 6 shards could not be made, shard-000001.tar" not in message
        lost += bench.damaged() + (len(dataset_bytes(bench.out)) != 5) + bench.end()
    return trials, lost, "tried again alone, reported by name; the other 5 shards made"


def _sentence(work: Callable[[], object]) -> str:
    """What the error of `work` says; empty when there is none."""
    try:
        work()
    except HandsynthError as error:
        return str(error)
    return ""


@contextlib.contextmanager
def _mounted(folder: Path, *options: str) -> Iterator[bool]:
    """A small file system of its own at `folder`, and whether there is one: mounting takes root."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    real = bool(shutil.which("mount")) and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield real
    finally:
        if real:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _failing_sync(number: int, after: int) -> Any:
    """A disk whose sync fails with `number` from the call `after` on."""
    calls, sync = 0, os.fsync

    def fsync(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(number, os.strerror(number))
        sync(handle)

    return mock.patch.object(os, "fsync", fsync)


def full(bench: Bench, trials: int) -> Outcome:
    """The disk is full: a real one of 250 kB where mounting is allowed."""
    lost = 0
    for trial in range(trials):
        with _mounted(bench.new(), "size=250k") as real:
            with contextlib.nullcontext() if real else _failing_sync(errno.ENOSPC, 1 + trial):
                message = _sentence(lambda: bench.world.generate(bench.out, CHOSEN))
            lost += "is full: free some space" not in message
            lost += bench.damaged() + len(list(bench.out.rglob(".tmp-*")))
            if real:
                subprocess.run(["mount", "-o", "remount,size=4m", str(bench.out)], check=True)
            lost += bench.end()
    return trials, lost, f"one sentence, whole shards; with room it goes on ({'tmpfs' if real else 'injected'})"


def quota(bench: Bench, trials: int) -> Outcome:
    """The user's quota is used up (EDQUOT, injected)."""
    lost = 0
    for trial in range(trials):
        bench.new()
        with _failing_sync(errno.EDQUOT, 1 + trial % 12):
            lost += "is full: free some space" not in _sentence(lambda: bench.world.generate(bench.out, CHOSEN))
        lost += bench.damaged() + len(list(bench.out.rglob(".tmp-*"))) + bench.end()
    return trials, lost, "one sentence, whole shards; with room it goes on"


def read_only(bench: Bench, trials: int) -> Outcome:
    """The folder becomes read-only half-way."""
    lost = 0
    opened = builtins.open

    def refuse(path: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if "w" in mode:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(path, mode, *rest, **more)

    for _ in range(trials):
        with _mounted(bench.new(), "size=4m") as real:
            bench.world.generate(bench.out, CHOSEN)
            for name in ("shard-000003.tar", "index.json"):
                (bench.out / name).unlink()
            if real:
                subprocess.run(["mount", "-o", "remount,ro", str(bench.out)], check=True)
            with contextlib.nullcontext() if real else mock.patch.object(files_module, "open", refuse, create=True):
                lost += "Read-only file system" not in _sentence(lambda: bench.world.generate(bench.out, CHOSEN))
            if real:
                subprocess.run(["mount", "-o", "remount,rw", str(bench.out)], check=True)
            lost += bench.damaged() + bench.end()
    return trials, lost, f"one sentence; once writable it goes on ({'tmpfs' if real else 'injected'})"


def rotten_background(bench: Bench, trials: int) -> Outcome:
    """A background image turns bad half-way: the next one takes its place, which sample and index record."""
    lost = replaced = 0
    for trial in range(trials):
        world = World(Path(shutil.copytree(bench.world.folder, bench.folder / f"rotting{trial}")))
        image, shards = world.images / f"image{trial % 4}.png", []

        def make(task: ShardTask, image: Path = image, shards: list[int] = shards) -> Any:
            shards.append(task.number)
            if len(shards) == 3:
                data = image.read_bytes()
                image.write_bytes(data[:60] + bytes(len(data) - 72) + data[-12:])
            return make_shard(task)

        with mock.patch.object(generate_module, "make_shard", make):
            summary = world.generate(bench.new(), CHOSEN)
        index = json.loads((bench.out / "index.json").read_bytes())
        replaced += index["replaced_backgrounds"]
        lost += (not summary["complete"]) + len(verify(bench.out, world.assets).faults)
    return trials, lost, f"{replaced} samples show the next image and say so; verify finds no fault"


def empty_image(bench: Bench, trials: int) -> Outcome:
    """The driver returns an empty image."""
    lost = 0
    render = GlRenderer.render_many
    for trial in range(trials):
        drawn = 0

        def forgetful(self: GlRenderer, views: Any, passes: Any, last: int = 3 * trial) -> Any:
            nonlocal drawn
            layers = render(self, views, passes)
            if drawn <= last < drawn + len(layers):
                layers[last - drawn].encoded[:] = 0
            drawn += len(layers)
            return layers

        bench.new()
        with mock.patch.object(GlRenderer, "render_many", forgetful):
            message = _sentence(lambda: bench.world.generate(bench.out, CHOSEN))
        lost += f"sample {3 * trial}: the renderer" not in message or "returned an empty image" not in message
        lost += bench.damaged() + bench.end()
    return trials, lost, "one sentence names sample and driver; the same command goes on"


CLOCKS = """
import random, sys, time
rng = random.Random(int(sys.argv.pop(1)))
time.time = lambda: rng.uniform(-1e9, 4e9)
time.time_ns = lambda: int(time.time() * 1e9)
from handsynth.cli.main import main
main()
"""


def clock(bench: Bench, trials: int) -> Outcome:
    """The clock jumps by decades at every look, in other time zones and locales."""
    lost = 0
    for trial in range(trials):
        env = os.environ | {"TZ": ("UTC", "Pacific/Kiritimati", "America/St_Johns")[trial % 3], "PYTHONUTF8": "0"}
        env |= {"LC_ALL": ("C", "tr_TR.UTF-8", "de_DE.UTF-8", "C.UTF-8")[trial % 4], "PYTHONHASHSEED": str(trial)}
        arguments = ["generate", bench.world.spec_path, bench.new(), "--indices", CHOSEN, "--assets", bench.world.assets]
        command = [sys.executable, "-c", CLOCKS, str(trial), *map(str, arguments)]
        subprocess.run(command, env=env, check=True, capture_output=True)
        lost += sum(dataset_bytes(bench.out).get(name) != data for name, data in bench.reference.items())
    return trials, lost, "the right bytes"


def flipped(bench: Bench, trials: int) -> Outcome:
    """One byte anywhere in a dataset, hidden files too, is another."""
    lost, rng = 0, random.Random(0)
    bench.new()
    bench.end()
    right = {path: path.read_bytes() for path in bench.out.rglob("*") if path.is_file()}
    for _ in range(trials):
        path = rng.choice(sorted(right))
        data = bytearray(right[path])
        data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        path.write_bytes(data)
        found: list[str] = []
        message = _sentence(lambda found=found: found.extend(verify(bench.out, bench.world.assets).faults))  # type: ignore[misc]
        lost += not (found or message) or any(
            path.name.split(".")[0] not in sentence for sentence in [*found, *filter(None, [message])]
        )
        bench.end()
        lost += sum(path.read_bytes() != data for path, data in right.items())
    return trials, lost, "verify finds and names the file, generate restores it"


def dropped(bench: Bench, trials: int, every: int = 10) -> Outcome:
    """An S3-compatible server drops one request in ten, half of them after it obeyed."""
    lost, place = 0, open_folder
    with object_store(every) as (env, counts), mock.patch.dict(os.environ, env):
        for trial in range(trials):
            address = f"s3://bucket/trial{trial}"
            bench.world.generate(address, CHOSEN)
            folder = place(address)
            lost += sum(folder.read(name) != data for name, data in bench.reference.items())
            lost += len(verify(address, bench.world.assets).faults)
    return trials, lost, f"the right bytes; {counts['dropped']} of {counts['requests']} requests dropped"


ROWS: dict[str, tuple[Callable[[Bench, int], Outcome], int]] = {
    "killed": (killed, 100), "killed between": (killed_between, 1), "raced": (raced, 1), "cluster": (cluster, 5),
    "crashed": (crashed, 3), "full": (full, 3), "quota": (quota, 12), "read-only": (read_only, 3),
    "rotten background": (rotten_background, 4), "empty image": (empty_image, 6), "clock": (clock, 6),
    "flipped": (flipped, 200), "dropped": (dropped, 5),
}  # fmt: skip
"""Name -> what is done, and how often in the table."""


def memory(bench: Bench, samples: int, shard: int = 500) -> list[dict[str, Any]]:
    """Makes shards in this process, one after another, and reads its memory after each tenth; the shards are deleted."""
    spec = bench.world.spec(samples=samples, shard_size=shard)
    dataset = generate_module.dataset_identity(spec, generate_module.library_of(spec, bench.world.assets).digests)
    rows, spec_json, start = [], json.dumps(spec_to_dict(spec)), time.monotonic()
    for number in range(samples // shard):
        indices = tuple(range(number * shard, (number + 1) * shard))
        made = make_shard(ShardTask(number, indices, spec_json, str(bench.world.assets), str(bench.folder / "memory"), dataset))
        (bench.folder / "memory" / made.info.name).unlink()
        if number % max(1, samples // shard // 20) == 0 or number == samples // shard - 1:
            pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
            row = {"samples": indices[-1] + 1, "resident_MB": pages * os.sysconf("SC_PAGESIZE") / 2**20}
            rows.append(row | {"open_files": len(os.listdir("/proc/self/fd")), "wall_s": time.monotonic() - start})
            print(rows[-1], file=sys.stderr)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="some rows only, and no file")
    parser.add_argument("--memory", type=int, nargs="?", const=50_000, help="so many samples in one worker instead")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, open(os.devnull, "w", encoding="utf-8") as quiet:
        bench = Bench(Path(folder))
        if chosen.memory:
            (bench.folder / "memory").mkdir()
            write_csv(results_path("faults_memory"), memory(bench, chosen.memory), provenance())
            return
        table = []
        for name in chosen.rows or ROWS:
            run, trials = ROWS[name]
            start = time.monotonic()
            with contextlib.redirect_stderr(quiet):
                trials, lost, outcome = run(bench, trials)
            what = " ".join((run.__doc__ or "").split()).rstrip(".")
            table.append({"fault": what, "trials": trials, "shards_lost": lost, "outcome": outcome})
            table[-1]["wall_s"] = time.monotonic() - start
            print(table[-1], file=sys.stderr)
    print_table("faults", table)
    if not chosen.rows:
        write_csv(results_path("faults"), table, provenance())


if __name__ == "__main__":
    main()
