"""Fuzzing: mutated inputs for every reader of foreign bytes. Each must be read, or refused in one sentence, in bounds.

    python scripts/fuzz.py                           10,000 inputs for each reader; the table goes to benchmarks/results
    python scripts/fuzz.py shard image --inputs 500 --json
    python scripts/fuzz.py shard --only 1234         one input again, with its traceback

A reader's inputs are read one after another in a process of its own, whose address space is limited (RLIMIT_AS) and whose every
opened file, started program and connection is seen by an audit hook. Input k of a reader is the same on every machine.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "handmesh"), str(ROOT / "benchmarks")]
os.environ.setdefault("HANDSYNTH_CACHE", str(ROOT / "build" / "test-cache"))
os.environ["HANDSYNTH_ASSETS"] = str(ROOT / "build" / "no-assets")

from fuzz_readers import WORLD, Reader, make_readers  # noqa: E402

from handsynth.core.errors import HandsynthError  # noqa: E402

MEMORY_BOUND_MB = 1024
"""Room that a reader may claim beyond what it starts with: three times an image of the largest size that is accepted."""

TIME_BOUND_S = 5.0
"""CPU time of one input. The slowest of good inputs take 0.1 s."""

HANG_S = 60.0
"""Wall time after which a silent process is ended, and its input called a hang; other work on the machine makes this long."""

QUICK = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Files that are synced a hundred thousand times are best kept in memory."""

EXAMPLES = 20
"""So many inputs of each kind of fault are shown."""

FAULTS = ("traceback", "not one sentence", "too slow", "too much memory", "left the folder", "ran code", "hang", "crash")


@dataclass
class Watch:
    """What the audit hook saw since the last input. Only while `folder` is set."""

    folder: str = ""
    opened: str = ""  # the first path outside the folder
    ran: str = ""  # the first program, connection or named class

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.folder:
            return
        if event in _RUNNING:
            self.ran = self.ran or f"{event} {arguments!r:.80}"
        elif event in _TOUCHING:
            path = arguments[0]
            if isinstance(path, str | bytes | os.PathLike):
                place = os.path.realpath(os.fsdecode(path))
                if not place.startswith((self.folder, *_KNOWN_PLACES)):
                    self.opened = self.opened or f"{event} {place:.80}"


_RUNNING = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "pickle.find_class"}
_TOUCHING = {"open", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.listdir"}

# What libraries read for themselves: their own files and the machine's description. Ours: the cache, and the world drawn in.
_KNOWN_PLACES = tuple(
    os.path.realpath(place)
    for place in (sys.prefix, sys.base_prefix, ROOT, WORLD, "/proc", "/sys", "/dev/null", "/dev/dri", "/usr")
)


def examine(reader: Reader, number: int, folder: Path, watch: Watch) -> dict[str, Any]:
    """Reads input `number`; returns its outcome: "read", "refused" or one of FAULTS, and its message."""
    data = reader.mutate(random.Random(f"{reader.name} {number}"))
    watch.folder, watch.opened, watch.ran = str(folder), "", ""
    start, outcome, message = time.process_time(), "read", ""
    try:
        message = reader.read(data, folder) or ""
        if "memory" in message.lower():
            outcome = "too much memory"
    except HandsynthError as error:
        outcome, message = "refused", str(error)
        if "\n" in message or not message:
            outcome = "not one sentence"
        chain: BaseException | None = error
        while chain is not None:
            if isinstance(chain, MemoryError):
                outcome = "too much memory"
            chain = chain.__context__
    except MemoryError:
        outcome = "too much memory"
    except BaseException as error:
        watch.folder = ""  # the traceback's own lines are read from files
        outcome, message = "traceback", "".join(traceback.format_exception(error)[-3:])
    finally:
        watch.folder = ""
    seconds = time.process_time() - start
    if seconds > TIME_BOUND_S:
        outcome = "too slow"
    if watch.opened:
        outcome, message = "left the folder", watch.opened
    if watch.ran:
        outcome, message = "ran code", watch.ran
    return {"number": number, "outcome": outcome, "message": message[:2000], "seconds": seconds}


def child(reader: Reader, numbers: range, pipe: int, folder: Path) -> None:
    """Examines inputs and writes a line for each."""
    watch = Watch()
    sys.addaudithook(watch)
    status = Path("/proc/self/statm").read_text(encoding="utf-8").split()
    room = int(status[0]) * resource.getpagesize() + (MEMORY_BOUND_MB << 20)
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # decoders in C complain of what they read
    os.dup2(1, 2)
    with open(pipe, "w", encoding="utf-8", buffering=1) as lines:
        for number in numbers:
            found = examine(reader, number, folder, watch)
            found["memory_MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            lines.write(json.dumps(found) + "\n")


def fuzz(reader: Reader, inputs: int) -> dict[str, Any]:
    """Reads `inputs` mutated inputs in child processes; returns a row of the table and, under "examples", some of each fault."""
    counts: collections.Counter[str] = collections.Counter()
    examples: dict[str, list[dict[str, Any]]] = {}
    slowest, memory, start, done = 0.0, [0.0, 0.0], time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=QUICK) as name:
        folder = Path(os.path.realpath(name))
        reader.prepare(folder)
        while done < inputs:
            for found in _lines(reader, range(done, inputs), folder):
                counts[found["outcome"]] += 1
                if found["outcome"] in FAULTS and counts[found["outcome"]] <= EXAMPLES:
                    examples.setdefault(found["outcome"], []).append(found)
                slowest = max(slowest, found.get("seconds", 0.0))
                if "memory_MB" in found:
                    memory = [memory[0] or found["memory_MB"], max(memory[1], found["memory_MB"])]
                done = found["number"] + 1
    row = {"reader": reader.name, "inputs": inputs, "read": counts["read"], "refused": counts["refused"]}
    row |= {fault.replace(" ", "_"): counts[fault] for fault in FAULTS}
    row |= {"slowest_s": slowest, "time_bound_s": TIME_BOUND_S, "memory_growth_MB": memory[1] - memory[0]}
    row |= {"memory_bound_MB": MEMORY_BOUND_MB, "wall_s": time.monotonic() - start}
    return {"row": row, "examples": examples}


def _lines(reader: Reader, numbers: range, folder: Path) -> Iterator[dict[str, Any]]:
    """Outcomes of a child, until it is done, or dies, or is silent for too long."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(out)
            child(reader, numbers, into, folder)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(into)
    number, outcome = numbers.start, "crash"
    with open(out, "rb", buffering=0) as pipe:
        rest = b""
        while True:
            if not select.select([pipe], [], [], HANG_S)[0]:
                outcome = "hang"
                os.kill(pid, signal.SIGKILL)
                break
            block = pipe.read(1 << 16)
            if not block:
                break
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                found = json.loads(line)
                number = found["number"] + 1
                yield found
    status = os.waitpid(pid, 0)[1]
    if os.waitstatus_to_exitcode(status) == 1:
        raise RuntimeError(f"input {number} of {reader.name} could not be made")
    if number < numbers.stop:
        yield {"number": number, "outcome": outcome, "message": f"wait status {status}"}


def main(readers: dict[str, Reader] | None = None, arguments: list[str] | None = None) -> int:
    """Fuzzes the readers that are named and prints a table; exit code 1 when any has a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--only", type=int, help="read this input in this process and print what happens")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON and write no file")
    chosen = parser.parse_args(arguments)
    known = readers or make_readers()
    if unknown := set(chosen.readers) - set(known):
        parser.error(f"unknown reader {', '.join(unknown)}: there are {', '.join(known)}")
    names = chosen.readers or list(known)
    if chosen.only is not None:
        for name in names:
            with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
                known[name].prepare(Path(folder))
                data = known[name].mutate(random.Random(f"{name} {chosen.only}"))
                print(f"{name} {chosen.only}: {len(data)} bytes, {data[:200]!r}")
                with contextlib.suppress(SystemExit):
                    print(known[name].read(data, Path(folder)))
        return 0
    found = []
    for name in names:
        found.append(fuzz(known[name], chosen.inputs))
        print(found[-1]["row"], file=sys.stderr, flush=True)
    rows = [one["row"] for one in found]
    if chosen.json:
        print(json.dumps(found, indent=1))
    else:
        from common import print_table, provenance, results_path, write_csv

        print_table("fuzzing", [{key: value for key, value in row.items() if not key.endswith("bound_s")} for row in rows])
        for one in found:
            for fault, examples in one["examples"].items():
                for example in examples:
                    print(f"\n{one['row']['reader']} {example['number']}: {fault}\n{example['message']}")
        write_csv(results_path("fuzz"), rows, provenance())
    return 1 if any(one["examples"] for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
