"""Trainings killed with SIGKILL at each file that they write, in a process of its own, for test_train.py and test_ik_net.py.

A fork starts with everything imported, so that twenty killed runs take seconds; this process itself trains nothing, as threads do
not survive a fork. For each n the n-th rename of a run is where it dies; the run is then resumed. Prints one JSON line for each.

    python killed_training.py mesh FOLDER SHARDS
    python killed_training.py ik FOLDER
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handmesh.run_files import CHECKPOINT, CONFIG, HAND, WEIGHTS
from handmesh.run_folder import read_tensors
from handmesh.training import loop, record
from handsynth.core.files import write_atomically

Train = Callable[[Path, bool], Any]
RESULTS = (WEIGHTS, "metrics.csv")
RUN_FILES = {CONFIG, HAND, WEIGHTS, CHECKPOINT, "metrics.csv", "curves.png"}
"""What every training writes, beside TensorBoard's folder."""


def killed_everywhere(*arguments: object) -> list[dict[str, Any]]:
    """What killed_training.py prints: one row for each point at which a training was killed and then resumed."""
    script = Path(__file__)
    tests = [str(script.parent), str(script.parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*tests, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, str(script), *map(str, arguments)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_nothing_is_lost(rows: list[dict[str, Any]], written: set[str]) -> None:
    """Wherever it died, no checkpoint is ahead of the weights, and the resumed run ends with the bytes of an unharmed one."""
    assert {row["file"] for row in rows} == written | {None}  # None: after the last of them
    for row in rows:
        assert row["checkpoint"] <= row["weights"], row
        assert row["resumed"], row
        assert row["same"], row
        assert set(row["files"]) == {*written, "tensorboard"}, row  # nothing half-written stays


def in_child(work: Callable[[], object]) -> bool:
    """Does `work` in a forked process; returns whether it ended by itself, without error."""
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def dies_at(call: int, after: bool, work: Callable[[], object], note: Path) -> None:
    """Does `work` until its rename number `call`, before or after which it dies; `note` tells which file that was."""
    replace, calls = os.replace, 0

    def dying(source: Path, target: Path) -> None:
        nonlocal calls
        if calls == call:
            note.write_text(Path(target).name)
            if after:
                replace(source, target)
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1
        replace(source, target)

    os.replace = dying  # type: ignore[assignment]
    work()


def epochs_of(out: Path) -> dict[str, int]:
    """How many epochs the checkpoint says are done, and of how many the weights are."""
    done, weights = 0, 0
    if (out / CHECKPOINT).exists():
        done = json.loads(read_tensors(out / CHECKPOINT)[1]["progress"])["epoch"]
    if (out / WEIGHTS).exists():
        weights = json.loads(read_tensors(out / WEIGHTS)[1]["handmesh"])["epoch"]
    return {"checkpoint": done, "weights": weights}


def kill_everywhere(train: Train, folder: Path) -> None:
    assert in_child(lambda: train(folder / "whole", False))
    whole = {name: (folder / "whole" / name).read_bytes() for name in RESULTS}
    call, after, ended = 0, False, False
    while not ended:
        out, note = folder / f"killed-{call}-{after}", folder / f"note-{call}-{after}"
        ended = in_child(lambda c=call, a=after, o=out, n=note: dies_at(c, a, lambda: train(o, False), n))
        epochs = epochs_of(out)
        resumed = ended or in_child(lambda o=out: train(o, True))
        found = {name: (out / name).read_bytes() for name in RESULTS if (out / name).exists()}
        report = {"file": note.read_text() if note.exists() else None, "after": after, "resumed": resumed, "same": found == whole}
        print(json.dumps(report | epochs | {"files": sorted(path.name for path in out.iterdir())}), flush=True)
        if report["file"] == CHECKPOINT and not after:
            after = True  # nothing but this rename lies between before and after it
        else:
            call, after = call + 1, False


def main(kind: str, folder: Path, *shards: str) -> None:
    import torch.utils.tensorboard

    # Images are not the subject, and take most of the time.
    record.plot_curves = lambda path, *_: path.write_bytes(b"drawn")
    loop.draw_validation = lambda path, *_: write_atomically(path, lambda temporary: temporary.write_bytes(b"drawn"))
    torch.set_num_threads(1)
    if kind == "mesh":
        from test_train import SPEC, train

        one = dataclasses.replace(SPEC, epochs=1)  # of three steps: a checkpoint at the last, and one when the epoch is done
        kill_everywhere(lambda out, resume: train(Path(shards[0]), out, one, resume=resume, checkpoint_every=3), folder)
    else:
        from test_ik_net import CPU, SPEC, data_of

        from handmesh.training.ik_loop import train_ik

        one, data = dataclasses.replace(SPEC, epochs=1, epoch_hands=160), data_of("toy")
        kill_everywhere(lambda out, resume: train_ik(one, data, out, CPU, resume), folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
