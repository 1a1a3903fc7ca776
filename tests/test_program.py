"""Both programs from outside: Ctrl-C, versions, tracebacks on demand, users without a home, other locales."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

INTERRUPTED = """
import os, signal, sys
when, how = sys.argv[1:3]
class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == when:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000): pass
            except KeyboardInterrupt:
                if how == "converted":
                    raise ImportError(name + " failed to import") from None
                raise
sys.meta_path.insert(0, Interrupt())
sys.argv = sys.argv[3:]
program = sys.argv[0]
__import__(program + ".cli.main")
sys.modules[program + ".cli.main"].main()
"""


def run(*command: object, code: str = "", **more: object) -> subprocess.CompletedProcess[str]:
    """A program by name, or `code` with arguments, in a process of its own."""
    head = ["-c", code] if code else ["-m"]
    return subprocess.run(
        [sys.executable, *head, *map(str, command)], capture_output=True, text=True, timeout=120, check=False, **more
    )


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("typer", "handsynth doctor"),
        ("yaml", "handsynth doctor"),
        ("yaml", "handsynth plan angrender"),
        ("numpy", "handsynth recipe angrender --hand toy"),
        ("cv2", "handsynth preview angrender sheet.png --hand toy"),
        ("joblib", "handsynth generate angrender OUT"),
        ("numpy", "handsynth verify OUT"),
        ("yaml", "handsynth assets list"),
        ("typer", "handmesh nets"),
        ("torch", "handmesh nets"),
        ("torch", "handmesh train mesh demo --data A --val B --out OUT"),
        ("numpy", "handmesh kinematics fit A --out OUT"),
    ],
)
@pytest.mark.parametrize("how", ["raised", "converted"])
def test_ctrl_c_while_modules_are_imported_is_one_line(tmp_path, module, command, how):
    """In any command of either program, also where a library turns it into another error: exit code 130 and one line."""
    ended = run(module, how, *command.split(), code=INTERRUPTED, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    program = command.split()[0]
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", f"{program}: stopped\n")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_the_middle_of_results_is_one_line():
    command = [sys.executable, "-m", "handsynth", "recipe", "manorender", "--hand", "toy"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(2)
    assert process.communicate(timeout=60)[1] == "handsynth: stopped\n"
    assert process.returncode == 130


IN_A_CALLBACK = """
import os, signal, time
from handsynth.core.program import run_program
class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000): pass
def command():
    Dying()
    time.sleep(20)
run_program("handsynth", command)
"""


def test_ctrl_c_in_a_callback_is_not_lost():
    """Python prints and forgets an error in a destructor: Ctrl-C there ends the program all the same."""
    ended = run(code=IN_A_CALLBACK)
    assert (ended.returncode, ended.stderr) == (130, "handsynth: stopped\n")


@pytest.mark.parametrize("program", ["handsynth", "handmesh"])
def test_the_version_is_that_of_the_package(program):
    """One line on stdout, as pyproject.toml has it, and without any heavy module."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    ended = run(program, "--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{program} {version}\n", "")


FAILING = {
    "handsynth": ("plan", "manorendr"),
    "handmesh": ("kinematics", "export", "a.urdf", "--format", "urdf", "--run", "a", "--hand", "b"),
}


@pytest.mark.parametrize("program", FAILING)
def test_tracebacks_are_shown_on_demand(program):
    """With --debug before the command or HANDSYNTH_DEBUG=1 the traceback comes before the same sentence; exit codes stay."""
    plain = run(program, *FAILING[program])
    assert (plain.returncode, len(plain.stderr.splitlines())) == (2, 1)
    by_flag = run(program, "--debug", *FAILING[program])
    by_variable = run(program, *FAILING[program], env=os.environ | {"HANDSYNTH_DEBUG": "1"})
    for ended in (by_flag, by_variable):
        assert ended.returncode == 2
        assert ended.stderr.startswith("Traceback")
        assert ended.stderr.endswith(plain.stderr)
    assert run(program, *FAILING[program], env=os.environ | {"HANDSYNTH_DEBUG": "0"}).stderr == plain.stderr


def test_a_traceback_shows_what_an_error_stands_for():
    """The cause that a sentence hides is the one that a report of a fault needs."""
    code = """
from handsynth.core.errors import HandsynthError
from handsynth.core.program import run_program
def command():
    try:
        open("/nonexistent/hidden cause")
    except OSError:
        raise HandsynthError("cannot read it") from None
run_program("handsynth", command)
"""
    ended = run(code=code, env=os.environ | {"HANDSYNTH_DEBUG": "1"})
    assert ended.returncode == 1
    assert "/nonexistent/hidden cause" in ended.stderr
    assert ended.stderr.endswith("handsynth: cannot read it\n")


@pytest.mark.parametrize("error", ["RuntimeError", "HandsynthError"])
def test_no_traceback_shows_a_secret(error):
    """Neither that of an error nobody expected nor one that was wanted."""
    code = f"""
import sys
from handsynth.core.errors import HandsynthError
from handsynth.core.program import run_program
def command():
    raise {error}(sys.argv[1])
run_program("handsynth", command)
"""
    ended = run("s3://key:hunter2secret@bucket", code=code, env=os.environ | {"HANDSYNTH_DEBUG": "1"})
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "s3://***@bucket" in ended.stderr
    assert "hunter2secret" not in ended.stderr


NOBODY = """
import os, pwd, sys
def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown
program = sys.argv[1]
sys.argv = sys.argv[1:]
__import__(program + ".cli.main")
sys.modules[program + ".cli.main"].main()
"""


def without_home(*command: object, **env: str) -> subprocess.CompletedProcess[str]:
    """As in a container that was started with --user: no HOME, and no entry for the user in passwd."""
    names = ("HOME", "HANDSYNTH_CACHE", "HANDSYNTH_ASSETS", "XDG_CACHE_HOME", "XDG_DATA_HOME")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    return run(*command, code=NOBODY, env=clean | {"PYTHONPATH": str(ROOT)} | env)


def test_without_a_home_what_needs_no_cache_works(tiny_world, tmp_path):
    """Plans, recipes, lists, and datasets of files that are there."""
    assert without_home("handsynth", "plan", "angrender").returncode == 0
    assert without_home("handsynth", "recipe", "angrender", "--indices", "0:2").stdout.count("\n") == 2
    assert "missing" in without_home("handsynth", "assets", "check").stdout
    made = without_home("handsynth", "generate", tiny_world.spec_path, tmp_path / "out", "--samples", "4")
    assert made.returncode == 0, made.stderr
    assert without_home("handsynth", "verify", tmp_path / "out", "--replay", "1").returncode == 0


HOMES = {"none": {}, "not writable": {"HOME": "/dev/null/home"}, "not readable": {"HOME": "/" + "x" * 300}}


@pytest.mark.parametrize("home", HOMES)
def test_a_cache_that_cannot_be_is_said_at_once(tmp_path, home):
    """Before anything is painted: exit code 3, one sentence with HANDSYNTH_CACHE; doctor says the same; with it set, it works."""
    env: dict[str, str] = HOMES[home]
    for command in (("generate", "angrender", tmp_path / "out", "--samples", 2), ("preview", "angrender", tmp_path / "sheet.png")):
        ended = without_home("handsynth", *command, **env)
        assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (3, "", 1), ended.stderr
        assert "set HANDSYNTH_CACHE to a folder" in ended.stderr
    assert not list(tmp_path.glob("*.tar"))
    doctor = without_home("handsynth", "doctor", **env)
    assert doctor.returncode == 3
    (line,) = [line for line in doctor.stdout.splitlines() if "cache" in line]
    assert line.startswith("MISS  cache: ")
    assert "set HANDSYNTH_CACHE" in line
    prepared = without_home("handsynth", "assets", "prepare", "--mano", "mano_v1_2.zip", **env)
    assert (prepared.returncode, len(prepared.stderr.splitlines())) == (3, 1)
    assert "HANDSYNTH_ASSETS" in prepared.stderr
    good = without_home("handsynth", "doctor", **env, HANDSYNTH_CACHE=str(tmp_path / "cache"))
    assert "ok    cache" in good.stdout


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_any_locale_prints_any_name(tmp_path, locale):
    """A name beyond ASCII in a message is no traceback where the terminal cannot show it."""
    env = os.environ | {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    ended = run("handsynth", "plan", "angrender", "--plot", tmp_path / "Кисть.png", env=env)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "camera positions drawn in" in ended.stdout
