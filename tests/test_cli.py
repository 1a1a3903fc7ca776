"""The command line: what it prints where, its exit codes, and one sentence for whatever a user gets wrong."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import pytest
from tiny import dataset_bytes
from tiny import handsynth as run_handsynth

from handsynth.cli import main as cli
from handsynth.core.index import index_bytes
from handsynth.core.shard import shard_name
from handsynth.dataset.sidecars import SIDECAR_DIR
from handsynth.recipe.spec import SHIPPED, parse_spec, spec_text


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch, capsys) -> Callable[..., Ended]:
    """Runs `handsynth ...` in this process, errors and exit codes included."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["handsynth", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture
def fails(command) -> Callable[..., str]:
    """Runs a command that must fail with an exit code and one sentence on stderr, nothing on stdout; returns the sentence."""

    def run(code: int, *arguments: object) -> str:
        ended = command(*arguments)
        lines = [line for line in ended.err.splitlines() if "samples/s" not in line and not line.startswith("skipped ")]
        assert ended.code == code, ended.err
        assert ended.out == ""
        assert len(lines) == 1, ended.err
        assert lines[0].startswith("handsynth: ")
        return lines[0]

    return run


@pytest.fixture(scope="module")
def made(tiny_world, tmp_path_factory) -> Path:
    """Samples 0:8 of the tiny spec in two shards, with every pass."""
    out = tmp_path_factory.mktemp("cli") / "out"
    tiny_world.generate(out, "0:8", passes="depth, parts, normal, uv")
    return out


def test_help_is_quick_to_load_and_complete():
    """`--help` lists every command and imports none of the modules that render."""
    code = "import sys; from handsynth import cli; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("numpy", "scipy", "cv2", "moderngl", "matplotlib", "joblib", "torch") if f"'{name}'" in loaded]
    shown = run_handsynth("--help")
    assert shown.returncode == 0
    commands = ("doctor", "assets", "plan", "recipe", "preview", "generate", "verify", "show", "replay", "stats")
    assert all(name in shown.stdout for name in commands)


@pytest.mark.parametrize(("name", "samples"), [("manorender", 57280), ("angrender", 71424)])
def test_plan_counts(command, name, samples):
    """`plan --json` says the paper's counts, and shards that hold them."""
    plan = json.loads(command("plan", name, "--json").out)
    assert plan["samples"] == samples
    assert plan["shards"] == -(-samples // plan["shard_size"])
    some = json.loads(command("plan", name, "--json", "--samples", 100, "--shard-size", 7, "--passes", "depth,uv").out)
    assert (some["samples"], some["shards"], some["passes"]) == (100, 15, ["depth", "uv"])
    assert f"{samples:,} samples" in command("plan", name).out


def test_plan_prints_a_spec_to_copy(command, tmp_path):
    """What `plan --yaml` prints is a spec file that works."""
    for name in SHIPPED:
        assert command("plan", name, "--yaml").out == spec_text(name)
    mine = tmp_path / "mine.yaml"
    mine.write_text(command("plan", "default", "--yaml").out.replace("samples: 100000", "samples: 5"))
    assert json.loads(command("plan", mine, "--json").out)["samples"] == parse_spec(mine.read_text(), "mine").samples == 5


def test_angrender_prints_each_position_once(command, tmp_path):
    """`recipe angrender --indices 0:71424:32`: elevations -60..+90 and azimuths 0..355 in steps of 5, each of 2,232 pairs once."""
    ended = command("recipe", "angrender", "--indices", "0:71424:32", "--hand", "toy", "--assets", tmp_path)
    recipes = [json.loads(line) for line in ended.out.splitlines()]
    assert [r["index"] for r in recipes] == list(range(0, 71424, 32))
    positions = [(r["camera"]["elevation_deg"], r["camera"]["azimuth_deg"]) for r in recipes]
    assert len(positions) == 2232
    assert set(positions) == {(e, a) for e in range(-60, 91, 5) for a in range(0, 360, 5)}


def test_a_reader_that_stops_early_is_no_error():
    """`handsynth recipe ... | head -1` ends quietly."""
    piped = f"{sys.executable} -m handsynth recipe angrender --hand toy | head -1"
    ended = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(ended.stdout)["index"] == 0
    assert ended.stderr == ""


def test_generate_verify_replay_stats(command, tiny_world, tmp_path):
    """The round trip: results on stdout, progress on stderr, and a fault makes exit code 1."""
    out = tmp_path / "out"
    options = (tiny_world.spec_path, out, "--samples", 6, "--shard-size", 4, "--assets", tiny_world.assets)
    ended = command("generate", *options)
    assert (ended.code, ended.out) == (0, f"{out}: 2 of 2 shards made now (6 samples), complete\n")
    assert "6/6 samples" in ended.err
    again = json.loads(command("generate", *options, "--json").out)
    assert (again["made"], again["complete"]) == (0, True)

    checked = command("verify", out, "--replay", 2)
    assert (checked.code, checked.out) == (0, f"{out}: 6 samples checked, 6 silhouettes compared, 2 replayed, no faults\n")
    assert json.loads(command("verify", out, "--json").out)["faults"] == []
    index = json.loads(out.joinpath("index.json").read_bytes())["shards"][1]["last"]
    replayed = command("replay", out, index)
    assert replayed.code == 0
    assert "the same OpenGL driver: equal jpg, json, mask.png, vertices.npy; different none" in replayed.out
    assert json.loads(command("replay", out, index, "--json").out)["different"] == []
    stats = json.loads(command("stats", out, "--json").out)
    assert (stats["samples"], stats["shards"]) == (6, 2)
    assert "samples  6" in command("stats", out).out

    (out / shard_name(1)).write_bytes(b"")
    for arguments in (("verify", out), ("verify", out, "--json")):
        found = command(*arguments)
        assert found.code == 1
        assert shard_name(1) in found.out
        assert found.err == ""


def test_a_dataset_made_elsewhere_is_checked_where_its_assets_lie(command, made, tiny_world, tmp_path):
    """`verify` and `replay` take --hand, --textures, --backgrounds and --device; what cannot be checked is a note on stderr."""
    out = Path(shutil.copytree(made, tmp_path / "out"))
    shutil.copytree(tiny_world.images, tmp_path / "images")
    shutil.rmtree(out / SIDECAR_DIR)
    index = json.loads((out / "index.json").read_bytes())
    index["spec"].update(hand="/gone/hand.npz", textures="/gone/skin.npz", backgrounds="/gone/images")
    (out / "index.json").write_bytes(index_bytes(index))
    here = ("--hand", "toy", "--textures", tiny_world.folder / "skin.npz", "--backgrounds", tmp_path / "images", "--device", "cpu")
    for arguments in (("verify", out, "--replay", 2), ("replay", out, 3)):
        ended = command(*arguments, *here)
        assert (ended.code, ended.err) == (0, ""), ended.err
        assert command(*arguments).code == 3
    index["assets"]["hand"] = "0" * 64
    (out / "index.json").write_bytes(index_bytes(index))
    ended = command("verify", out)
    assert "note: labels were not posed again and no silhouette was compared" in ended.err
    assert json.loads(command("verify", out, "--json").out)["notes"]


def test_preview_draws_on_a_device(command, tiny_world, tmp_path):
    options = (tiny_world.spec_path, tmp_path / "sheet.png", "-n", 1, "--assets", tiny_world.assets, "--device")
    assert command("preview", *options, "cpu").code == 0
    ended = command("preview", *options, "4321")
    assert ended.code == 3
    assert "there is no EGL device 4321" in ended.err


def test_show_draws_every_pass(command, made, tmp_path):
    """`show` writes one row: image, labels, mask and each pass, twice as large; the name is made from the index."""
    assert command("show", made, 5, "--save", tmp_path / "five.png").code == 0
    assert cv2.imread(str(tmp_path / "five.png")).shape == (128, 7 * 128, 3)


def test_preview_writes_a_sheet(command, tiny_world, tmp_path):
    sheet = tmp_path / "new folder" / "sheet.jpg"
    ended = command("preview", tiny_world.spec_path, sheet, "-n", 4, "--assets", tiny_world.assets)
    assert (ended.code, ended.out) == (0, f"4 samples of tiny in {sheet}\n")
    assert cv2.imread(str(sheet)).shape[0] == 2 * 64 + 3 * 6


def test_assets_say_where_to_get_them(command, tmp_path):
    """`assets list` and `doctor` name every external asset with its licence, its site and the command that prepares it."""
    listed = json.loads(command("assets", "list", "--json", "--assets", tmp_path).out)
    assert {"mano", "html", "coco"} <= {asset["name"] for asset in listed}
    assert all(asset["licence"] and asset["site"].startswith("http") for asset in listed)
    text = command("assets", "list", "--assets", tmp_path).out
    assert "handsynth assets prepare --mano" in text
    assert command("assets", "check", "--assets", tmp_path).code == 0


def test_doctor_finds_what_is_needed(command, tmp_path):
    """With OpenGL here doctor ends well; `--json` says of each thing whether it is good and needed."""
    checks = {check["name"]: check for check in json.loads(command("doctor", "--json", "--assets", tmp_path).out)}
    assert checks["opengl"]["good"]
    assert checks["embedded hand"]["good"]
    assert not checks["mano"]["needed"]
    assert "OpenGL" in checks["opengl"]["detail"]


@pytest.mark.parametrize("renderer", ["moderngl", "pyrender"])
def test_without_egl_the_package_to_install_is_named(tiny_world, tmp_path, renderer):
    """Where EGL finds no driver: exit code 3, one sentence, the packages; and no dataset is begun under its name."""
    env = {"__EGL_VENDOR_LIBRARY_FILENAMES": "/dev/null", "EGL_PLATFORM": "surfaceless"}
    out = tmp_path / "out"
    ended = run_handsynth(
        "generate", tiny_world.spec_path, out, "--renderer", renderer, "--assets", tiny_world.assets,
        env=os.environ | env,
    )  # fmt: skip
    assert ended.returncode == 3, ended.stderr
    assert "apt-get install -y libegl1" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert dataset_bytes(out) == {}


def test_doctor_without_opengl(command, monkeypatch, tmp_path):
    """Without OpenGL `doctor` says what to install and ends with exit code 3."""
    import moderngl

    def none(**_: object) -> None:
        raise Exception("libEGL.so not loaded")

    monkeypatch.setattr(moderngl, "create_context", none)
    ended = command("doctor", "--assets", tmp_path)
    assert ended.code == 3
    assert "MISS  opengl" in ended.out
    assert "apt-get install -y libegl1" in ended.out


USAGE = {
    "unknown spec": (("plan", "manorendr"), "did you mean 'manorender'"),
    "spec that is not there": (("plan", "mine.yaml"), "mine.yaml cannot be read"),
    "malformed indices": (("recipe", "angrender", "--indices", "5"), "--indices must be A:B or A:B:STEP"),
    "indices beyond the end": (("recipe", "angrender", "--indices", "0:99999999"), "beyond the spec's 71424 samples"),
    "too many samples": (("plan", "angrender", "--samples", "99999999"), "more than the spec's 71424"),
    "samples and indices": (("plan", "angrender", "--samples", "5", "--indices", "0:5"), "exclude each other"),
    "no samples": (("plan", "angrender", "--samples", "0"), "--samples must be at least 1"),
    "unknown pass": (("plan", "angrender", "--passes", "depth,smell"), "passes must be among depth, parts, normal, uv"),
    "no shard size": (("plan", "angrender", "--shard-size", "0"), "shard_size must be between"),
    "yaml of a file": (("plan", "mine.yaml", "--yaml"), "prints a shipped spec"),
    "plot of random cameras": (("plan", "manorender", "--plot", "plot.png"), "--plot is for grids"),
    "plot of no format": (("plan", "angrender", "--plot", "plot.xyz"), "ends in .png, .jpg"),
    "preview of no format": (("preview", "angrender", "sheet"), "ends in .png, .jpg"),
    "show of no format": (("show", ".", "1", "--save", "a.txt"), "ends in .png, .jpg"),
    "unknown renderer": (("generate", "angrender", "OUT", "--renderer", "blender"), "renderer must be moderngl or pyrender"),
    "negative seed": (("generate", "angrender", "OUT", "--seed", "-1"), "seed must be a whole number from 0"),
    "rank beyond nodes": (("generate", "angrender", "OUT", "--nnodes", "2", "--node-rank", "2"), "below --nnodes 2"),
    "unknown backend": (("generate", "angrender", "OUT", "--backend", "slurm"), "--backend is loky or dask, not 'slurm'"),
    "dask without a scheduler": (("generate", "angrender", "OUT", "--backend", "dask"), "--scheduler ADDRESS go together"),
    "a scheduler without dask": (("generate", "angrender", "OUT", "--scheduler", "tcp://h:1"), "--scheduler ADDRESS go together"),
    "jobs of a cluster": (
        ("generate", "angrender", "OUT", "--backend", "dask", "--scheduler", "tcp://h:1", "--jobs", "2"), "leave it out",
    ),
    "no derivatives of what": (
        ("generate", "angrender", "OUT", "--hand", "toy", "--exclude-no-derivatives"), "is about the licences of COCO",
    ),
    "preview on no device": (("preview", "angrender", "a.png", "--device", "cuda"), "--device is auto, cpu, gpu"),
    "replay on no device": (("replay", ".", "1", "--device", "cuda"), "--device is auto, cpu, gpu"),
    "verify on no device": (("verify", ".", "--device", "cuda"), "--device is auto, cpu, gpu"),
    "an address of no kind": (("verify", "nope://bucket/x"), "nope://bucket/x is neither a folder nor an address"),
    "nothing to prepare": (("assets", "prepare"), "say what to prepare"),
    "pose prior alone": (("assets", "prepare", "--html", "x", "--pose-prior", "x.npz"), "goes with --mano"),
}  # fmt: skip


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_is_exit_code_two(fails, case, tmp_path, monkeypatch):
    """Each mistake: exit code 2, one sentence that says what to type, and nothing made."""
    monkeypatch.chdir(tmp_path)
    arguments, message = USAGE[case]
    assert message in fails(2, *arguments)
    assert list(tmp_path.iterdir()) == []


MALFORMED = {
    "no arguments": ("generate",),
    "no such command": ("nonsense",),
    "no jobs": ("generate", "angrender", "OUT", "--jobs", "0"),
    "no number": ("replay", "OUT", "x"),
    "no such option": ("plan", "--x"),
}


@pytest.mark.parametrize("arguments", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_command_line_is_exit_code_two(command, arguments, tmp_path, monkeypatch):
    """What the parser itself refuses ends with exit code 2 and usage on stderr."""
    monkeypatch.chdir(tmp_path)
    ended = command(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Usage: handsynth" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_missing_assets_are_exit_code_three(fails, tmp_path, tiny_world):
    """MANO, HTML, hands, skins and folders that are not here: exit code 3, where to get them and what to type."""
    out = tmp_path / "out"
    message = fails(3, "generate", "angrender", out, "--hand", "mano", "--assets", tmp_path / "none")
    assert "mano.is.tue.mpg.de" in message
    assert "handsynth assets prepare --mano mano_v1_2.zip" in message
    assert str(tmp_path / "none" / "mano" / "hand.npz") in message
    message = fails(3, "generate", "angrender", out, "--hand", "toy", "--textures", "html", "--assets", tmp_path / "none")
    assert "handtracker.mpi-inf.mpg.de" in message
    assert "handsynth assets prepare --html" in message
    assert "no hand is called 'foot'" in fails(3, "generate", "angrender", out, "--hand", "foot")
    assert "no skin is called 'fur'" in fails(3, "generate", "angrender", out, "--hand", "toy", "--textures", "fur")
    assert "does not exist" in fails(3, "generate", "angrender", out, "--hand", "toy", "--backgrounds", tmp_path / "nowhere")
    for bad in (tiny_world.spec_path, tiny_world.folder / "skin.npz"):
        assert str(bad) in fails(3, "generate", "angrender", out, "--hand", bad)
    assert str(tiny_world.spec_path) in fails(3, "generate", "angrender", out, "--hand", "toy", "--textures", tiny_world.spec_path)
    assert not out.exists()


def test_samples_and_datasets_that_are_not_there(fails, made, tmp_path):
    assert "holds no sample 999: its selection is '0:8', its last index 7" in fails(
        2, "show", made, 999, "--save", tmp_path / "a.png"
    )
    assert "holds no sample 999" in fails(2, "replay", made, 999)
    for command in ("verify", "stats"):
        assert "holds no index.json" in fails(1, command, tmp_path)
        assert "holds no index.json" in fails(1, command, tmp_path / "nowhere")
    assert "index.json" in fails(1, "verify", made / shard_name(0))


def test_another_dataset_in_out_is_exit_code_two(fails, command, made, tiny_world, tmp_path):
    out = Path(shutil.copytree(made, tmp_path / "out"))
    before = dataset_bytes(out)
    message = fails(2, "generate", tiny_world.spec_path, out, "--seed", 3, "--indices", "0:8", "--assets", tiny_world.assets)
    assert "holds another dataset" in message
    assert "--overwrite" in message
    assert dataset_bytes(out) == before


def test_a_file_that_cannot_be_written_is_one_sentence(fails, made, tmp_path):
    """An image that cannot be saved where it should go: its path and why."""
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in fails(1, "show", made, 1, "--save", tmp_path / "file" / "a.png")
