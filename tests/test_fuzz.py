"""Fuzzing, a bounded sample: every reader of foreign bytes reads or refuses; and what is looked for would be found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


def run(*command: object) -> list[dict]:
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=500, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_every_reader_reads_or_refuses():
    """No traceback, no code run, no path outside the folder, no hang, and no more time and memory than stated."""
    found = run(SCRIPTS / "fuzz.py", "--inputs", 30, "--json")
    names = [one["row"]["reader"] for one in found]
    assert names == [
        "pickle",
        "npz",
        "release",
        "image",
        "animation",
        "video",
        "mesh",
        "objects",
        "model",
        "coco",
        "photos",
        "photo sets",
        "keypoints",
        "environment",
        "spec",
        "recipe",
        "shard",
        "index",
        "sidecar",
        "robot",
        "correspondences",
        "motion",
    ]
    for one in found:
        assert one["examples"] == {}, one
        assert one["row"]["read"] + one["row"]["refused"] == 30
    assert sum(one["row"]["refused"] for one in found) > 100


PLANTED = """
import ctypes, os, sys, time
sys.path.insert(0, {scripts!r})
import fuzz
from fuzz_readers import Reader
from handsynth.core.errors import AssetError, HandsynthError

fuzz.HANG_S, fuzz.TIME_BOUND_S, fuzz.MEMORY_BOUND_MB = 6.0, 0.5, 200

def swallowed(data, folder):
    try:
        bytearray(1 << 30)
    except MemoryError as error:
        raise AssetError("damaged") from None

def busy(data, folder):
    end = time.process_time() + 0.55  # on a busy machine many times as long
    while time.process_time() < end:
        pass

def refuse(data, folder):
    raise HandsynthError("two\\nlines" if data[0] % 2 else "one line")

reads = {{
    "traceback": lambda data, folder: {{}}["x"],
    "not one sentence": refuse,
    "too slow": busy,
    "too much memory": swallowed,
    "left the folder": lambda data, folder: open("/etc/hostname").close(),
    "ran code": lambda data, folder: os.system("true"),
    "hang": lambda data, folder: time.sleep(60),
    "crash": lambda data, folder: ctypes.string_at(0),
    "nothing": lambda data, folder: (folder / "x").write_bytes(data) and None,
}}
readers = {{name: Reader(name, lambda rng: rng.randbytes(8), read) for name, read in reads.items()}}
fuzz.main(readers, ["--inputs", "2", "--json"])
"""


@pytest.mark.slow
def test_each_fault_would_be_found(tmp_path):
    """A reader planted with each fault is found out; one without is not."""
    script = tmp_path / "planted.py"
    script.write_text(PLANTED.format(scripts=str(SCRIPTS)))
    for one in run(script):
        name = one["row"]["reader"]
        assert set(one["examples"]) == ({name} if name != "nothing" else set()), one
