"""Folders: a dataset in an object store is made, repaired and verified as on a disk, also where requests are dropped."""

import os
import re
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import object_store
from tiny import dataset_bytes
from tiny import handsynth as run_handsynth

from handsynth.core import remote
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.index import read_index
from handsynth.core.secrets import hide_secrets
from handsynth.core.shard import shard_name
from handsynth.dataset.folder import Folder, LocalFolder, open_folder
from handsynth.dataset.generate import RunConfig, ShardTask
from handsynth.dataset.replay import replay
from handsynth.dataset.sidecars import PLAN, SIDECAR_DIR
from handsynth.dataset.statistics import collect_stats
from handsynth.dataset.verify import verify

DROP_EVERY = 10


@pytest.fixture(scope="module")
def reference(tiny_world, tmp_path_factory) -> dict[str, bytes]:
    """Bytes of samples 0:12 on a disk."""
    out = tmp_path_factory.mktemp("reference") / "out"
    tiny_world.generate(out)
    return dataset_bytes(out)


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    """The environment of a server that drops one request in ten."""
    with object_store(DROP_EVERY) as (env, counts), pytest.MonkeyPatch.context() as patch:
        for key, value in env.items():
            patch.setenv(key, value)
        yield env
    assert counts["dropped"] > counts["requests"] / DROP_EVERY / 4 > 1


@pytest.fixture(params=["disk", "memory", "s3"])
def where(request, tmp_path) -> str:
    """A new place of each kind."""
    if request.param == "s3":
        request.getfixturevalue("store")
    return {"disk": str(tmp_path / "out"), "memory": f"memory://{uuid.uuid4()}/out", "s3": f"s3://bucket/{uuid.uuid4()}/out"}[
        request.param
    ]


def visible(folder: Folder) -> dict[str, bytes]:
    return {name: folder.read(name) for name in folder.list() if not name.startswith(".")}


def test_a_folder_gives_back_what_was_written(where):
    """Listing, reading, writing, replacing and removing mean the same everywhere."""
    folder = open_folder(where)
    assert folder.list() == folder.list("sub") == {}
    folder.remove("nothing")
    folder.write("b", b"12345")
    folder.write("sub/c", b"")
    folder.write("b", b"123")
    info = folder.write_shard("a.tar", [(0, {"jpg": b"x"})])
    assert folder.list("sub") == {"c": 0}
    listed = folder.list()
    assert list(listed) == ["a.tar", "b", "sub"]
    assert (listed["a.tar"], listed["b"]) == (info.bytes, 3) == (len(folder.read("a.tar")), len(folder.read("b")))
    folder.remove("b")
    assert "b" not in open_folder(folder.address).list()
    with pytest.raises(FileNotFoundError):
        folder.read("b")


def test_a_dataset_is_the_same_everywhere(tiny_world, where, reference):
    """Made, left alone, verified, replayed and counted: as on a disk."""
    assert tiny_world.generate(where)["complete"]
    assert visible(open_folder(where)) == reference
    assert tiny_world.generate(where)["made"] == 0
    findings = verify(where, tiny_world.assets, replays=2)
    assert (findings.faults, findings.samples, findings.replayed) == ([], 12, 2)
    assert collect_stats(where)["samples"] == 12
    assert replay(where, [3], tiny_world.assets)[0].faithful


@pytest.mark.parametrize("damage", ["shard gone", "shard cut", "sidecar gone", "index gone", "plan cut"])
def test_the_same_command_mends_everywhere(tiny_world, where, reference, damage):
    """What verify names, or what is missing, is made again and nothing else."""
    tiny_world.generate(where)
    folder = open_folder(where)
    name = shard_name(1)
    sidecar = next(file for file in folder.list(SIDECAR_DIR) if file.startswith(name))
    if damage == "shard cut":
        folder.write(name, folder.read(name)[:-512])
    elif damage == "plan cut":
        folder.write(PLAN, folder.read(PLAN)[:-1])
    else:
        folder.remove({"shard gone": name, "sidecar gone": f"{SIDECAR_DIR}/{sidecar}", "index gone": "index.json"}[damage])
    if damage != "index gone":
        found = verify(where, tiny_world.assets).faults
        assert found
        assert all((PLAN if damage == "plan cut" else name) in fault for fault in found)
    assert tiny_world.generate(where)["made"] == (0 if damage in ("index gone", "plan cut") else 1)
    assert visible(folder) == reference
    assert verify(where, tiny_world.assets).faults == []


def test_another_dataset_is_refused_and_replaced_everywhere(tiny_world, where, reference):
    """Other files and other datasets stay; --overwrite replaces a dataset, from one node, and leaves other files."""
    folder = open_folder(where)
    tiny_world.generate(where, seed=1)
    folder.write("mine.txt", b"mine")
    with pytest.raises(UsageError, match=r"holds another dataset .spec.seed 1, not 0"):
        tiny_world.generate(where)
    with pytest.raises(UsageError, match="a node that starts later would delete"):
        tiny_world.generate(where, run=RunConfig(nnodes=2, overwrite=True))
    tiny_world.generate(where, run=RunConfig(overwrite=True))
    assert visible(folder) == reference | {"mine.txt": b"mine"}
    for name in ["index.json", PLAN]:
        folder.remove(name)
    with pytest.raises(UsageError, match="holds other files and is no dataset"):
        tiny_world.generate(where)


def test_the_commands_take_an_address(tiny_world, store, reference):
    """Two workers make a dataset in a store that drops requests; verify, show, stats and replay read it there."""
    address = f"s3://bucket/{uuid.uuid4()}"
    env = os.environ | store
    assets = ["--assets", tiny_world.assets]
    made = run_handsynth("generate", tiny_world.spec_path, address, "--indices", "0:12", "--jobs", 2, *assets, env=env)
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith(f"{address}: 3 of 3 shards made now (12 samples), complete")
    assert visible(open_folder(address)) == reference
    checked = run_handsynth("verify", address, *assets, env=env)
    assert (checked.returncode, checked.stdout) == (
        0, f"{address}: 12 samples checked, 12 silhouettes compared, 0 replayed, no faults\n",
    )  # fmt: skip


class Failing:
    """A file system whose requests fail so often before they are answered."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error = failures, error

    def cat_file(self, path: str) -> bytes:
        self.failures -= 1
        if self.failures >= 0:
            raise self.error
        return b"answer"


@pytest.fixture
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.001)


@pytest.mark.parametrize("error", [ConnectionError("dropped"), RuntimeError(), TimeoutError("late\nand\nlong"), ValueError("odd")])
def test_a_request_is_repeated_and_then_given_up(impatient, error):
    """Failures short of the limit are not seen; then one sentence says the address, the reason and what to do."""
    folder = open_folder("memory://a")
    folder._files = Failing(remote.TRIES - 1, error)
    assert folder.read("x") == b"answer"
    folder._files = Failing(remote.TRIES, error)
    with pytest.raises(HandsynthError, match=r"memory://a cannot be read \(.*\): check address.* run the same command") as raised:
        folder.read("x")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("error", [FileNotFoundError("x"), PermissionError("no")])
def test_an_answer_is_not_asked_for_again(error):
    """That a file is not there, or not ours, is an answer."""
    folder = open_folder("memory://a")
    folder._files = files = Failing(2, error)
    with pytest.raises((FileNotFoundError, HandsynthError)):
        folder.read("x")
    assert files.failures == 1


def test_a_bucket_that_does_not_exist(tiny_world, store):
    """What cannot be written to is reported before anything is made."""
    with pytest.raises(HandsynthError, match=r"s3://nobody/set cannot be written to .*bucket"):
        tiny_world.generate("s3://nobody/set")
    with pytest.raises(HandsynthError, match=r"s3://nobody/set holds no index\.json"):
        read_index(open_folder("s3://nobody/set"))


@pytest.mark.parametrize(
    ("address", "message", "kind"),
    [
        ("nope://bucket/x", "Protocol not known: nope", UsageError),
        ("://a/b", "neither a folder nor an address", UsageError),
        ("s3://", "neither a folder nor an address", UsageError),
        ("a b://c", "neither a folder nor an address", UsageError),
        ("ftp://127.0.0.1:1/x", "cannot be opened", HandsynthError),
    ],
)
def test_addresses_that_lead_nowhere(address, message, kind):
    with pytest.raises(kind, match=message) as raised:
        open_folder(address)
    assert "\n" not in str(raised.value)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(AssetError, match=r"s3:// needs a library .*pip install 'handsynth\[farm\]'"):
        open_folder("s3://bucket/x")


SECRETS = {
    "ftp://me:hunter2secret@127.0.0.1:1/x": "ftp://***@127.0.0.1:1/x",
    "s3://AKIAKEY:abc/de+f==hunter2secret@bucket/a@b": "s3://***@b",  # what stands before the last "@" may be the secret
    "memory://bucket/x?token=hunter2secret&sig=hunter2secret": "memory://bucket/x?***",
    "memory://bucket/folder@2024/x": "memory://bucket/folder@2024/x",
}


@pytest.mark.parametrize(("address", "shown"), SECRETS.items())
def test_secrets_of_an_address_are_never_shown(address, shown):
    """Users, passwords and queries are hidden; the rest of an address is shown as it is."""
    assert hide_secrets(f"see {address}: it is") == f"see {shown}: it is"
    assert "hunter2secret" not in str(HandsynthError(f"cannot open {address}"))


def test_secrets_are_looked_for_in_time():
    """A word of a million letters costs no more than as many short words, and an address beside it is found."""
    start = time.process_time()
    text = hide_secrets("x" * 1_000_000 + " s3://" + "k" * 1_000_000 + ":hunter2secret@bucket")
    assert time.process_time() - start < 5
    assert text == "x" * 1_000_000 + " s3://***@bucket"
    assert hide_secrets("a-very-long-kind-of-address+s3://key:hunter2secret@b") == "a-very-long-kind-of-address+s3://***@b"


def test_a_library_that_repeats_a_secret_is_not_passed_on(impatient):
    """Messages of libraries have no address around what they quote; it is known from the address that was opened."""
    folder = open_folder("memory://AKIAKEY:hunter2secret@bucket/x?token=abcdef123")
    errors = (
        'Invalid bucket name "AKIAKEY:hunter2secret@bucket"',
        "no such url: /x?token=abcdef123",
        "key hunter2secret is unknown",
    )
    for text in errors:
        folder._files = Failing(remote.TRIES, RuntimeError(text))
        with pytest.raises(HandsynthError, match=r"\*\*\*") as raised:
            folder.read("x")
        assert not re.search("hunter2|abcdef123", str(raised.value) + str(folder))


def test_no_command_prints_or_writes_a_secret(tiny_world, tmp_path):
    """Neither stdout, stderr, a traceback that was wanted, nor what is written or handed to a cluster holds the secret."""
    address = f"ftp://me:hunter2secret@127.0.0.1:1/{tmp_path.name}?token=hunter2secret"
    options = (tiny_world.spec_path, address, "--assets", tiny_world.assets)
    for arguments in (("generate", *options), ("verify", address), ("--debug", "stats", address), ("show", address, 1)):
        ended = run_handsynth(*arguments)
        assert ended.returncode != 0
        assert "ftp://***@127.0.0.1:1" in ended.stderr
        assert "hunter2" not in ended.stdout + ended.stderr
    assert "Traceback" in run_handsynth("--debug", "stats", address).stderr
    task = ShardTask(0, (0,), "", "", address, "")
    assert "hunter2" not in repr(task)


def test_a_finished_dataset_holds_no_secret(tiny_world, capsys):
    """Made at an address with a secret: no file of it, and nothing that is printed, says it."""
    address = f"memory://me:hunter2secret@bucket/{uuid.uuid4()}?token=hunter2secret"
    tiny_world.generate(address, "0:4")
    folder = open_folder(address)
    data = [folder.read(f"{sub}{name}") for sub in ("", f"{SIDECAR_DIR}/") for name in folder.list(sub) if name != SIDECAR_DIR]
    assert len(data) == 4
    assert not any(b"hunter2" in each for each in data)
    with pytest.raises(UsageError, match=r"memory://\*\*\*@bucket") as raised:
        replay(address, [99], tiny_world.assets)
    assert "hunter2" not in str(raised.value) + "".join(capsys.readouterr())


def test_paths_and_file_addresses_are_local(tmp_path):
    for where in (tmp_path, str(tmp_path), f"file://{tmp_path}"):
        assert open_folder(where) == LocalFolder(tmp_path)
    assert open_folder(Path("a")).address == str(Path("a").absolute())
    assert str(open_folder(Path("a"))) == "a"
