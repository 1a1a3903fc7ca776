"""Generation: the same bytes however it is run, whole shards whatever happens, and nobody's files lost."""

import builtins
import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import World, dataset_bytes
from tiny import handsynth as run_handsynth

from handsynth.core import shard as shard_module
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.shard import canonical_json, read_index, shard_name, temporary_name
from handsynth.dataset import generate as generate_module
from handsynth.dataset.generate import RunConfig, ShardTask, make_shard, plan_shards
from handsynth.dataset.selection import Selection
from handsynth.dataset.sidecars import PLAN, SIDECAR_DIR
from handsynth.dataset.verify import verify
from handsynth.recipe.spec import load_spec, spec_to_dict


@pytest.fixture(scope="module")
def reference(tiny_world, tmp_path_factory) -> dict[str, bytes]:
    """Bytes of samples 0:12 of the tiny spec, made in one go."""
    out = tmp_path_factory.mktemp("reference") / "out"
    tiny_world.generate(out)
    return dataset_bytes(out)


def test_shards_are_filled_in_order():
    """Every selected index stands in exactly one shard, in order; all shards but the last are full."""
    spec = load_spec("angrender")
    selection = Selection(slice_text="0:71424:557")
    shards = plan_shards(spec, selection)
    assert [i for shard in shards for i in shard] == list(selection.indices(spec.samples))
    assert {len(shard) for shard in shards[:-1]} <= {spec.shard_size}
    assert len(plan_shards(spec, Selection())) == 140


def test_the_index_tells_the_truth(tiny_world, tmp_path, reference):
    """Counts, bytes, hashes, first and last of every shard, spec, assets and licences are those of what lies there."""
    summary = tiny_world.generate(tmp_path / "out")
    assert summary == {"dataset": summary["dataset"], "shards": 3, "made": 3, "samples": 12, "complete": True}
    index = read_index(tmp_path / "out")
    assert dataset_bytes(tmp_path / "out") == reference
    assert index["samples"] == sum(entry["count"] for entry in index["shards"]) == 12
    assert [(e["first"], e["last"]) for e in index["shards"]] == [(0, 3), (4, 7), (8, 11)]
    assert [e["bytes"] for e in index["shards"]] == [len(reference[e["name"]]) for e in index["shards"]]
    assert index["spec"] == json.loads(json.dumps(spec_to_dict(tiny_world.spec())))
    assert set(index["licences"]) == {"hand", "skin", "backgrounds"}
    assert len(index["drivers"]) == 1
    assert verify(tmp_path / "out", tiny_world.assets).faults == []


def test_any_order_and_any_worker_make_the_same_shards(tiny_world, tmp_path, reference):
    """Shards made last to first, each by a worker that knows nothing of the others, have the same bytes."""
    shards = plan_shards(tiny_world.spec(), Selection(slice_text="0:12"))
    spec_json, dataset = json.dumps(spec_to_dict(tiny_world.spec())), json.loads(reference["index.json"])["dataset"]
    for number in reversed(range(len(shards))):
        make_shard(ShardTask(number, shards[number], spec_json, str(tiny_world.assets), str(tmp_path), dataset))
        assert (tmp_path / shard_name(number)).read_bytes() == reference[shard_name(number)]


def test_jobs_never_change_a_byte(tiny_world, tmp_path):
    """`generate angrender OUT --indices 0:71424:557` with one job and with two: the same SHA-256 for every shard."""
    options = [
        "--indices", "0:71424:557", "--shard-size", 32, "--hand", "toy", "--textures", tiny_world.folder / "skin.npz",
        "--backgrounds", tiny_world.images, "--assets", tiny_world.assets, "--json",
    ]  # fmt: skip
    for jobs in (1, 2):
        made = run_handsynth("generate", "angrender", tmp_path / f"jobs{jobs}", *options, "--jobs", jobs)
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout) | {"dataset": ""} == {
            "dataset": "",
            "shards": 5,
            "made": 5,
            "samples": 129,
            "complete": True,
        }
    assert dataset_bytes(tmp_path / "jobs1") == dataset_bytes(tmp_path / "jobs2")


@pytest.mark.parametrize("ranks", [(0, 1), (1, 0)])
def test_nodes_in_any_order_end_with_the_same_dataset(tiny_world, tmp_path, reference, ranks):
    """Two nodes that share a folder make each shard once; whoever is last writes the index, with the same bytes."""
    out = tmp_path / "out"
    summaries = [tiny_world.generate(out, run=RunConfig(nnodes=2, node_rank=rank)) for rank in ranks]
    assert [s["complete"] for s in summaries] == [False, True]
    assert sum(s["made"] for s in summaries) == 3
    assert dataset_bytes(out) == reference


def test_a_worker_may_be_anywhere(tiny_world, tmp_path, reference, monkeypatch):
    """Paths that were given relative to the folder of the command are found by a worker in another one."""

    def elsewhere(work, tasks, *_):
        for task in tasks:
            with contextlib.chdir("/"):
                result = work(task)
            yield task, result

    generate_module._worker_state.cache_clear()
    monkeypatch.chdir(tiny_world.folder)
    monkeypatch.setattr(generate_module, "run_in_workers", elsewhere)
    spec, out = tiny_world.spec(textures="skin.npz", backgrounds="images"), Path(os.path.relpath(tmp_path / "out"))
    generate_module.generate(spec, out, Selection(slice_text="0:12"), RunConfig(), Path("assets"))
    assert shards_of(tmp_path / "out") == {name: data for name, data in reference.items() if name.endswith(".tar")}


def test_a_finished_dataset_is_left_as_it_is(tiny_world, tmp_path):
    """The same command again makes nothing and touches no shard."""
    out = tmp_path / "out"
    tiny_world.generate(out)
    before = {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in out.glob("*.tar")}
    assert tiny_world.generate(out)["made"] == 0
    assert {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in out.glob("*.tar")} == before


@pytest.mark.parametrize(
    "damage", ["shard gone", "shard cut", "byte flipped", "note gone", "note damaged", "index gone", "leftover"]
)
def test_the_same_command_mends(tiny_world, tmp_path, reference, damage):
    """Whatever of a dataset is lost or damaged, the same command makes that again, and no more than that."""
    out = tmp_path / "out"
    tiny_world.generate(out)
    path, (note,) = out / shard_name(1), (out / SIDECAR_DIR).glob(f"{shard_name(1)}.*json")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    leftover = temporary_name(path).with_name(temporary_name(path).name.replace(f"-{os.getpid()}-", "-999999999-"))
    {
        "shard gone": path.unlink,
        "shard cut": lambda: path.write_bytes(data[:-512]),
        "byte flipped": lambda: path.write_bytes(data),
        "note gone": note.unlink,
        "note damaged": lambda: note.write_bytes(b'{"name": 1'),
        "index gone": (out / "index.json").unlink,
        "leftover": lambda: leftover.write_bytes(b"half"),
    }[damage]()
    assert tiny_world.generate(out)["made"] == (0 if damage in ("index gone", "leftover") else 1)
    assert dataset_bytes(out) == reference
    assert not list(out.rglob(".tmp-*"))


def killed_runs(kind: str, folder: Path) -> list[dict]:
    script = Path(__file__).with_name("killed_runs.py")
    done = subprocess.run([sys.executable, script, kind, folder], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path):
    """After SIGKILL at 20 random moments only whole shards lie under their names, and the last run ends with the same bytes."""
    lines = killed_runs("moments", tmp_path)
    assert sum(not line["ended"] for line in lines) == 20
    assert all(line["damaged"] == [] for line in lines)
    assert lines[-1]["files"] == ["index.json", *map(shard_name, range(8))]
    assert lines[-1]["leftovers"] == []


def test_killed_at_every_step_it_ends_with_the_same_bytes(tmp_path):
    """The same before and after each sync and each rename of a run, and in the middle of a shard: no step is a weak one."""
    lines = killed_runs("points", tmp_path)
    assert [line["ended"] for line in lines] == [False, True] * (len(lines) // 2)
    assert len(lines) == 2 * (2 * 6 * 2 + 3)
    assert all(line["damaged"] == [] for line in lines)
    assert all(line["files"] == ["index.json", shard_name(0), shard_name(1)] and line["leftovers"] == [] for line in lines[1::2])


def test_nodes_that_race_leave_one_whole_dataset(tmp_path):
    """Three nodes, each started twice, in any order and some at once: the bytes that one process gives, and no leftover."""
    lines = killed_runs("nodes", tmp_path)
    assert len(lines) == 3
    for line in lines:
        assert line["ended"]
        assert line["files"] == ["index.json", *map(shard_name, range(8))]
        assert (line["damaged"], line["leftovers"]) == ([], [])


def test_a_slurm_array_makes_a_dataset(tiny_world, tmp_path, reference):
    """`scripts/generate.slurm` as SLURM runs it: each array task is a node that knows its rank from the environment."""
    root = Path(__file__).parents[1]
    for rank in (1, 0):
        env = os.environ | {
            "SLURM_ARRAY_TASK_ID": str(rank), "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_SUBMIT_DIR": str(root),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip
        command = [
            "bash",
            root / "scripts" / "generate.slurm",
            tiny_world.spec_path,
            tmp_path / "out",
            "--indices",
            "0:12",
            "--json",
        ]
        done = subprocess.run([*command, "--assets", tiny_world.assets], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (json.loads(done.stdout)["made"], json.loads(done.stdout)["complete"]) == ((2, True) if rank == 0 else (1, False))
    assert dataset_bytes(tmp_path / "out") == reference


def start(world: World, out: Path, jobs: int) -> subprocess.Popen[str]:
    """A run of ten shards in a process group of its own, as soon as its first shard lies there."""
    command = [sys.executable, "-m", "handsynth", "generate", world.spec_path, out, "--jobs", str(jobs), "--assets", world.assets]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(lambda: any(out.glob("shard-*.tar")) or process.poll() is not None)
    return process


def wait_until(condition) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("nothing happened for a minute")


def workers_of(pid: int) -> list[int]:
    """Living loky workers of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == pid and fields[0] != "Z" and b"popen_loky" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def shards_of(out: Path) -> dict[str, bytes]:
    """Bytes of the shards that lie under their names; the selection's text stands in the index only."""
    return {name: data for name, data in dataset_bytes(out).items() if name.endswith(".tar")}


@pytest.fixture(scope="module")
def whole(tiny_world, tmp_path_factory) -> dict[str, bytes]:
    """Bytes of all shards of the tiny spec."""
    out = tmp_path_factory.mktemp("whole") / "out"
    tiny_world.generate(out, None)
    return shards_of(out)


def only_whole_shards_then_all(world, out, process, whole):
    """After a run was stopped: no worker lives, only whole shards lie in `out`, and the same command ends with every byte."""
    wait_until(lambda: not workers_of(process.pid))
    assert shards_of(out).items() <= whole.items()
    world.generate(out, None)
    assert {k: v for k, v in dataset_bytes(out).items() if k != "index.json"} == {
        k: v for k, v in whole.items() if k != "index.json"
    }
    assert not list(out.rglob(".tmp-*"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted_it_stops_with_one_sentence_and_whole_shards(tiny_world, tmp_path, whole, jobs):
    """Ctrl-C reaches every process of the run: exit code 130, one sentence, whole shards, and the same command goes on."""
    out = tmp_path / "out"
    process = start(tiny_world, out, jobs)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    if process.returncode != 0:  # it had not just ended by itself
        assert process.returncode == 130, err
        assert [line for line in err.splitlines() if "samples/s" not in line] == [
            "handsynth: stopped; whole shards are kept, the same command goes on"
        ]
    only_whole_shards_then_all(tiny_world, out, process, whole)


@pytest.mark.parametrize("victim", ["all", "parent", "worker"])
def test_workers_killed_leave_whole_shards(tiny_world, tmp_path, whole, victim):
    """SIGKILL to the whole run, to its parent, or to a worker (as for lack of memory): whole shards, and the run goes on."""
    out = tmp_path / "out"
    process = start(tiny_world, out, 2)
    if victim == "all":
        os.killpg(process.pid, signal.SIGKILL)
    elif victim == "parent":
        process.kill()
    else:
        for pid in workers_of(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    if victim == "worker" and process.returncode != 0:
        assert process.returncode == 1
        sentences = [line for line in err.splitlines() if line.startswith("handsynth: ")]
        assert len(sentences) == 1
        assert "a worker was killed" in sentences[0]
        assert "Traceback" not in err
    only_whole_shards_then_all(tiny_world, out, process, whole)


def test_another_dataset_is_never_touched(tiny_world, tmp_path, reference):
    """A folder with another seed's dataset, or selection: refused, saying what differs, and not a byte is changed."""
    out = tmp_path / "out"
    tiny_world.generate(out)
    (out / "my notes.txt").write_text("mine")
    for message, arguments in {"spec.seed 0, not 1": {"seed": 1}, "selection '0:12', not '0:8'": {"selection": "0:8"}}.items():
        with pytest.raises(UsageError, match=f"holds another dataset .{message}.*--overwrite"):
            tiny_world.generate(out, **arguments)
        assert dataset_bytes(out) == reference | {"my notes.txt": b"mine"}
    tiny_world.generate(out, "0:4", run=RunConfig(overwrite=True), seed=1)
    found = dataset_bytes(out)
    assert set(found) == {"index.json", shard_name(0), "my notes.txt"}
    assert found["my notes.txt"] == b"mine"
    assert verify(out, tiny_world.assets).faults == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_refused(tiny_world, tmp_path, overwrite):
    """Photographs, or anything that is no dataset, stay as they are, --overwrite or not."""
    (tmp_path / "holiday.jpg").write_bytes(b"jpeg")
    with pytest.raises(UsageError, match="holds other files and is no dataset"):
        tiny_world.generate(tmp_path, run=RunConfig(overwrite=overwrite))
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize("plan", [b"", b"[]", b"null", b'{"spec": 3, "assets": []}', b"[" * 100_000, b"\xff\xfe"])
def test_a_damaged_plan_is_another_dataset(tiny_world, tmp_path, reference, plan):
    """A plan that cannot be read is refused in a sentence, and replaced on demand."""
    out = tmp_path / "out"
    (out / SIDECAR_DIR).mkdir(parents=True)
    (out / PLAN).write_bytes(plan)
    with pytest.raises(UsageError, match=r"holds another dataset .*--overwrite"):
        tiny_world.generate(out)
    tiny_world.generate(out, run=RunConfig(overwrite=True))
    assert dataset_bytes(out) == reference


def test_a_file_where_the_folder_should_be(tiny_world, tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(UsageError, match="is a file: name a folder"):
        tiny_world.generate(tmp_path / "file")
    for out in (tmp_path / "file" / "out", tmp_path / ("x" * 300)):
        with pytest.raises(HandsynthError, match=r"cannot be written to .*name another folder"):
            tiny_world.generate(out)
    assert (tmp_path / "file").read_bytes() == b"mine"


@contextlib.contextmanager
def small_disk(folder: Path, monkeypatch) -> Iterator[None]:
    """A file system of 300 kB at `folder`: a real one where mounting is allowed, else writes past that size fail as if."""
    folder.mkdir()
    mount = shutil.which("mount")
    if mount and os.geteuid() == 0:
        if (
            subprocess.run([mount, "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], capture_output=True, check=False).returncode
            == 0
        ):
            try:
                yield
            finally:
                subprocess.run(["umount", "-l", folder], check=True)
            return
    sync = os.fsync

    def fsync(handle: int) -> None:
        if sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) > 300_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    yield


def test_a_full_disk_loses_nothing(tiny_world, tmp_path, reference, monkeypatch):
    """On a full disk the run ends with one sentence, whole shards and no leftovers; with more room the same command goes on."""
    disk = tmp_path / "disk"
    with small_disk(disk, monkeypatch):
        ballast = disk / "ballast"
        out = disk / "out"
        (out / SIDECAR_DIR).mkdir(parents=True)
        ballast.write_bytes(bytes(300_000 - 20_000 - len(reference[shard_name(0)])))
        with pytest.raises(HandsynthError, match=r"the disk of .* is full: free some space .*run the same command"):
            tiny_world.generate(out)
        assert not list(out.rglob(".tmp-*"))
        assert dataset_bytes(out).items() <= reference.items()
        ballast.unlink()
        monkeypatch.undo()
        tiny_world.generate(out)
        assert dataset_bytes(out) == reference


def test_a_read_only_folder_is_one_sentence(tiny_world, tmp_path, monkeypatch):
    """Where nothing may be written, the run says so at once."""
    opened = builtins.open

    def refuse(path, mode="r", *rest, **more):
        if "w" in mode:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(path, mode, *rest, **more)

    monkeypatch.setattr(shard_module, "open", refuse, raising=False)
    with pytest.raises(HandsynthError, match=r"cannot be written to .Read-only file system.: name another folder"):
        tiny_world.generate(tmp_path / "out")
    assert dataset_bytes(tmp_path / "out") == {}


def test_errors_of_workers_keep_their_kind(tiny_world, tmp_path):
    """What a worker cannot do is the same sentence and exit code as in one process."""
    world = World(shutil.copytree(tiny_world.folder, tmp_path / "world", ignore=shutil.ignore_patterns("toy", "embedded", "out*")))
    for image in world.images.iterdir():
        image.write_bytes(image.read_bytes()[:-30] + b"x" * 18 + image.read_bytes()[-12:])
    with pytest.raises(AssetError, match=r"none of 4 backgrounds .* can be read"):
        world.generate(tmp_path / "out", run=RunConfig(jobs=2))
    assert dataset_bytes(tmp_path / "out") == {}


def test_nothing_of_how_it_is_run_is_in_the_plan(tiny_world, tmp_path):
    """Jobs, nodes and ranks leave no trace in plan or index."""
    out = tmp_path / "out"
    tiny_world.generate(out, "0:4", run=RunConfig(jobs=2, nnodes=1))
    text = (out / PLAN).read_bytes() + (out / "index.json").read_bytes()
    assert not any(word in text for word in (b"jobs", b"nnodes", b"node_rank", b"overwrite"))
    assert canonical_json(json.loads((out / PLAN).read_bytes())) == (out / PLAN).read_bytes()
