"""Generation: the same bytes however it is run, whole shards whatever happens, and nobody's files lost."""

import builtins
import contextlib
import dataclasses
import errno
import gc
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
from tiny import World, dataset_bytes, odd_wrists
from tiny import handsynth as run_handsynth

from handsynth.assets.skins.skin import load_skin, save_skin
from handsynth.core import files as files_module
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.files import temporary_name
from handsynth.core.hand import save_hand
from handsynth.core.index import canonical_json, read_index
from handsynth.core.shard import read_shard, shard_name
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


def slurm(rank: int, count: int, **more: str) -> dict[str, str]:
    """The environment of a task of an array, as `sbatch --array=0-N` makes it."""
    own = {"ID": str(rank), "COUNT": str(count), "MIN": "0", "MAX": str(count - 1), "STEP": "1"} | more
    return os.environ | {f"SLURM_ARRAY_TASK_{name}": value for name, value in own.items()}


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_slurm_array_makes_a_dataset(tiny_world, tmp_path, reference, by_hand):
    """`scripts/generate.slurm` as SLURM runs it: each task is a node, by its rank in the array, or by the one that is given."""
    root = Path(__file__).parents[1]
    for rank in (1, 0):
        env = slurm(0, 1) if by_hand else slurm(rank, 2)
        env |= {"SLURM_SUBMIT_DIR": str(root), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        given = ["--nnodes", "2", "--node-rank", str(rank)] if by_hand else []
        script = root / "scripts" / "generate.slurm"
        command = ["bash", script, tiny_world.spec_path, tmp_path / "out", "--indices", "0:12", "--json", *given]
        done = subprocess.run([*command, "--assets", tiny_world.assets], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (json.loads(done.stdout)["made"], json.loads(done.stdout)["complete"]) == ((2, True) if rank == 0 else (1, False))
    assert dataset_bytes(tmp_path / "out") == reference


def test_slurm_is_looked_at_on_demand_only(tiny_world, tmp_path, reference):
    """In a task of an array that does something else, such as trying seeds, each run makes its whole dataset."""
    options = ("--indices", "0:12", "--assets", tiny_world.assets)
    done = run_handsynth("generate", tiny_world.spec_path, tmp_path / "out", *options, env=slurm(3, 16))
    assert done.returncode == 0, done.stderr
    assert dataset_bytes(tmp_path / "out") == reference


@pytest.mark.parametrize(
    ("env", "options", "message"),
    [
        (dict(os.environ), (), "no task of a SLURM array (SLURM_ARRAY_TASK_ID is '')"),
        (slurm(1, 16, MIN="1", MAX="16"), (), "counts from 1 by 1"),
        (slurm(4, 4, MAX="6", STEP="2"), (), "counts from 0 by 2"),
        (slurm(7, 2, MIN="3", MAX="7"), (), "sbatch --array=0-1"),
        (slurm(5, 3), (), "this is task 5 of an array of 3"),
        (slurm(0, 2, ID="x"), (), "SLURM_ARRAY_TASK_ID is 'x'"),
        (slurm(0, 2), ("--nnodes", "2"), "give neither of them, or both"),
    ],
)
def test_an_array_that_is_none_is_refused(tiny_world, tmp_path, env, options, message):
    """Ranks count from 0 without gaps: anything else would leave shards unmade, and is exit code 2 in one sentence."""
    done = run_handsynth("generate", tiny_world.spec_path, tmp_path / "out", "--slurm", *options, env=env)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def begin(world: World, out: Path, jobs: int) -> subprocess.Popen[str]:
    """A run of ten shards in a process group of its own."""
    command = [sys.executable, "-m", "handsynth", "generate", world.spec_path, out, "--jobs", str(jobs), "--assets", world.assets]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def start(world: World, out: Path, jobs: int) -> subprocess.Popen[str]:
    """The same, as soon as its first shard lies there."""
    process = begin(world, out, jobs)
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


@pytest.mark.parametrize("victim", ["all", "parent"])
def test_killed_with_its_workers_it_leaves_whole_shards(tiny_world, tmp_path, whole, victim):
    """SIGKILL to the whole run, or to its parent, whose workers end with it: whole shards, and the same command goes on."""
    out = tmp_path / "out"
    process = start(tiny_world, out, 2)
    if victim == "all":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate(timeout=120)
    only_whole_shards_then_all(tiny_world, out, process, whole)


def test_killed_workers_are_replaced_and_the_run_says_so(tiny_world, tmp_path, whole):
    """SIGKILL to every worker, as for lack of memory, before a shard is there: one line on stderr, and the run makes all of it."""
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "handsynth",
        "generate",
        tiny_world.spec_path,
        out,
        "--jobs",
        "2",
        "--assets",
        tiny_world.assets,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(lambda: len(workers_of(process.pid)) == 2 or process.poll() is not None)
    for pid in workers_of(process.pid):
        os.kill(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    lines = [line for line in err.splitlines() if "samples/s" not in line]
    assert lines == ["a worker died: what was begun is made again, one shard at a time"]
    assert shards_of(out) == whole


def test_workers_leave_ctrl_c_to_the_run(tiny_world, tmp_path, whole):
    """SIGINT to the workers alone, from their first moment on: they go on without a word, and the run ends well."""
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "handsynth",
        "generate",
        tiny_world.spec_path,
        out,
        "--jobs",
        "2",
        "--assets",
        tiny_world.assets,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    sent = 0
    while process.poll() is None:
        for pid in workers_of(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
                sent += 1
        time.sleep(0.05)
    _, err = process.communicate()
    assert (process.returncode, [line for line in err.splitlines() if "samples/s" not in line]) == (0, [])
    assert sent > 5
    assert shards_of(out) == whole


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


SYSTEM_FILES = (
    "lost+found/", ".DS_Store", "._.DS_Store", "Thumbs.db", "desktop.ini", ".snapshot/", ".Trash-1000/", ".nfs000123",
    "System Volume Information/", "$RECYCLE.BIN/", "@eaDir/", ".directory",
)  # fmt: skip


def test_what_systems_put_into_folders_is_no_file_of_the_user(tiny_world, tmp_path, reference):
    """A new disk, a mounted share or a folder that a file manager has shown counts as empty, and nothing of it is touched."""
    for name in SYSTEM_FILES:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).write_text("theirs")
    tiny_world.generate(tmp_path)
    visible = {name: b"theirs" for name in SYSTEM_FILES if name[0] not in "." and not name.endswith("/")}
    assert dataset_bytes(tmp_path) == reference | visible
    assert verify(tmp_path, tiny_world.assets).faults == []
    assert all((tmp_path / name).exists() for name in SYSTEM_FILES)
    for other in (".git", "DS_Store", "Thumbs.db.jpg", ".snapshot.tar"):
        folder = tmp_path / "folders" / other
        folder.mkdir(parents=True)
        (folder / other).touch()
        with pytest.raises(UsageError, match="holds other files"):
            tiny_world.generate(folder)


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
        with pytest.raises(HandsynthError, match=r"cannot be (listed|written to) .*name another folder"):
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

    monkeypatch.setattr(files_module, "open", refuse, raising=False)
    with pytest.raises(HandsynthError, match=r"cannot be written to .Read-only file system.: name another folder"):
        tiny_world.generate(tmp_path / "out")
    assert dataset_bytes(tmp_path / "out") == {}


@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_of_the_cache_name_the_cache(tiny_world, tmp_path, monkeypatch, jobs):
    """A cache that cannot be written to is found before anything is painted, and OUT is not blamed for it."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("HANDSYNTH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(AssetError, match="HANDSYNTH_CACHE") as raised:
        tiny_world.generate(tmp_path / "out", textures="embedded", run=RunConfig(jobs=jobs))
    assert str(tmp_path / "out") not in str(raised.value)
    assert dataset_bytes(tmp_path / "out") == {}


def test_a_full_cache_names_the_cache(tiny_world, tmp_path, monkeypatch):
    """The disk of the cache fills up while a worker paints: the sentence is about the cache."""
    monkeypatch.setenv("HANDSYNTH_CACHE", str(tmp_path / "cache"))

    def full(path: Path, skin: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("handsynth.assets.skins.painter.basis.make_skin", lambda *_: None)
    monkeypatch.setattr("handsynth.assets.skins.painter.basis.save_skin", full)
    with pytest.raises(AssetError, match=r"the cache .*No space left.*HANDSYNTH_CACHE"):
        tiny_world.generate(tmp_path / "out", textures="embedded")


def test_errors_of_other_files_are_not_blamed_on_the_folder(tiny_world, tmp_path, monkeypatch):
    """An OSError of something else, in the middle of a shard, stays what it is; the shard's folder is left clean."""

    def broken(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/dev/dri/card0")

    monkeypatch.setattr(generate_module, "encode_samples", broken)
    with pytest.raises(PermissionError, match="/dev/dri/card0"):
        tiny_world.generate(tmp_path / "out")
    assert dataset_bytes(tmp_path / "out") == {}
    assert not list((tmp_path / "out").rglob(".tmp-*"))


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


@pytest.mark.parametrize("kind", ["closed", "two holes", "folded"])
def test_a_hand_that_no_forearm_fits_is_made_without_and_said_once(tiny_world, tmp_path, capsys, kind):
    """A spec that asks for forearms makes the bytes of one that does not, but for what names the spec, and says so in one line."""
    hand = odd_wrists()[kind]
    skin = dataclasses.replace(load_skin(tiny_world.folder / "skin.npz"), uv_faces=hand.uv_faces)
    save_hand(tmp_path / "odd.npz", hand)
    save_skin(tmp_path / "skin.npz", skin)
    made = {}
    for probability in (1.0, 0.0):
        out = tmp_path / str(probability)
        assets = {"hand": tmp_path / "odd.npz", "textures": tmp_path / "skin.npz"}
        wear = "{sleeve: 0.5, watch: 1.0, varnish: 0.5}" if probability else "{varnish: 0.5}"
        tiny_world.generate(out, passes="depth, parts, amodal", arm=f"{{probability: {probability}}}", wear=wear, **assets)
        notes = [line for line in capsys.readouterr().err.splitlines() if "forearm" in line]
        note = "the hand 'toy' has no open wrist that a forearm fits: it is made without, and without sleeve, and without watch"
        assert notes == ([note] if probability else [])
        assert verify(out, tiny_world.assets).faults == []
        made[probability] = [members for path in sorted(out.glob("*.tar")) for _, members in read_shard(path)]
    for one, other in zip(made[1.0], made[0.0], strict=True):
        labels, others = (json.loads(members["json"]) | {"dataset": ""} for members in (one, other))
        assert labels == others
        assert labels["arm"] is None
        assert set(labels["clothing"]) <= {"varnish"}
        assert one | {"json": b""} == other | {"json": b""}


def test_forearms_do_not_change_the_hands(tiny_world, tmp_path):
    """With them and without: the same vertices, keypoints, boxes and silhouettes, and without them the bytes of a spec that never
    heard of any."""
    made = []
    for number, changes in enumerate(({"arm": "{probability: 0.7}"}, {"arm": "{probability: 0.0, hair: [0.1, 0.2]}"}, {})):
        out = tmp_path / str(number)
        tiny_world.generate(out, passes="amodal", **changes)
        made.append([members for path in sorted(out.glob("*.tar")) for _, members in read_shard(path)])
    assert made[1] == made[2]
    with_arm = 0
    for one, other in zip(made[0], made[1], strict=True):
        labels, bare = (json.loads(members["json"]) for members in (one, other))
        same = set(bare) - {"dataset", "recipe", "arm", "visible_share", "keypoints_visible"}
        assert {key: labels[key] for key in same} == {key: bare[key] for key in same}
        assert one["vertices.npy"] == other["vertices.npy"]
        if labels["arm"] is None:
            assert one["jpg"] == other["jpg"]
        with_arm += labels["arm"] is not None
    assert 0 < with_arm < 12


def test_clothing_does_not_change_the_hands(tiny_world, tmp_path):
    """With it and without: the same vertices, keypoints, boxes, silhouettes and forearms; who wears nothing has the same image, and
    what only lies on the skin hides nothing."""
    made, arm = [], "{probability: 0.7}"
    for number, wear in enumerate(("{sleeve: 0.5, watch: 0.3, rings: 0.4, varnish: 0.3, glove: 0.1}", "{}")):
        out = tmp_path / str(number)
        tiny_world.generate(out, passes="parts, amodal", arm=arm, wear=wear)
        made.append([members for path in sorted(out.glob("*.tar")) for _, members in read_shard(path)])
    seen: set[tuple[str, ...]] = set()
    for one, other in zip(*made, strict=True):
        labels, bare = (json.loads(members["json"]) for members in (one, other))
        hidden = {"visible_share", "keypoints_visible"}
        same = set(bare) - {"dataset", "recipe", "clothing"} - hidden
        assert {key: labels[key] for key in same} == {key: bare[key] for key in same}
        assert all(a <= b for a, b in zip(labels["keypoints_visible"], bare["keypoints_visible"], strict=True))
        assert labels["visible_share"] <= bare["visible_share"]
        assert one["vertices.npy"] == other["vertices.npy"]
        assert one["amodal.png"] == other["amodal.png"]
        assert (one["jpg"] == other["jpg"]) == (labels["clothing"] == [])
        if set(labels["clothing"]) <= {"glove", "varnish"}:
            assert {key: labels[key] for key in hidden} == {key: bare[key] for key in hidden}
            assert (one["mask.png"], one["parts.png"]) == (other["mask.png"], other["parts.png"])
        seen.add(tuple(labels["clothing"]))
    assert len(seen) > 3
    assert () in seen


def test_garbage_is_looked_for_as_before_when_a_shard_is_made(tiny_world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """While samples are made, what was there before is set aside; afterwards it is not, unless it was already."""
    seen, make = [], generate_module.encode_samples

    def encode(samples):
        seen.append(gc.get_freeze_count())
        return make(samples)

    monkeypatch.setattr(generate_module, "encode_samples", encode)
    tiny_world.generate(tmp_path / "one", "0:2")
    assert min(seen) > 1000
    assert gc.get_freeze_count() == 0
    gc.freeze()
    try:
        tiny_world.generate(tmp_path / "two", "0:2")
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()
