"""The architecture: what may import what, what stays out until it is needed, and that these tests can fail."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "cv2", "moderngl", "OpenGL", "pyrender", "trimesh", "scipy", "matplotlib", "numpy", "yaml", "joblib", "PIL")


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running `code`."""
    ask = "\nimport sys; sys.stderr.write('\\nMODULES ' + ' '.join({m.partition('.')[0] for m in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code + ask], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(run.stderr.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize("code", ["import handsynth", "import handsynth.cli.main", "import handsynth.core"])
def test_imports_are_light(code):
    """Neither the package nor its command line loads numpy, OpenCV, OpenGL or torch."""
    assert not loaded_after(code) & set(HEAVY)


def test_help_is_light():
    """`handsynth --help`, and that of every command, is printed without any heavy module."""
    code = """
import handsynth.cli.main
for arguments in (["--help"], ["generate", "--help"], ["assets", "--help"]):
    try:
        handsynth.cli.main.make_app()(arguments)
    except SystemExit:
        pass
"""
    assert not loaded_after(code) & set(HEAVY)


def test_lightness_can_fail():
    """The way of asking notices a heavy import."""
    assert "cv2" in loaded_after("import handsynth.image.encode")


def test_rendering_never_loads_torch():
    """The modules behind `generate` run where torch is not installed."""
    modules = ("dataset.generate", "dataset.verify", "dataset.plan", "render.gl", "render.pyrender_backend")
    code = "; ".join(f"import handsynth.{module}" for module in modules)
    found = loaded_after(code)
    assert not found & {"torch", "torchvision", "smplx", "handmesh"}
    assert {"cv2", "moderngl"} <= found


def test_nothing_but_its_own_choice_loads_smplx(tmp_path):
    """An IK net is trained and used where smplx is not installed; --layer smplx says what it needs, and under which licence."""
    code = f"""
import sys
sys.modules["smplx"] = None  # an import of it fails as if it were not installed
import pkgutil
import handmesh, handsynth
from handmesh.cli.main import make_app
for package in (handsynth, handmesh):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            __import__(module.name)
train = ["train", "ik", "ik-demo", "--hand", "toy", "--epochs", "1", "--epoch-hands", "64", "--device", "cpu", "--out"]
make_app()(train + [{str(tmp_path / "own")!r}], standalone_mode=False)
try:
    make_app()(train + [{str(tmp_path / "smplx")!r}, "--layer", "smplx"], standalone_mode=False)
except Exception as error:
    sys.stderr.write(f"ENDED {{type(error).__name__}} {{error}}")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    expected = "ENDED AssetError smplx is not installed: pip install 'handsynth[mano]' (its licence is non-commercial)"
    assert run.stderr.endswith(expected), run.stderr
    assert (tmp_path / "own" / "weights.safetensors").exists()


def test_plots_leave_the_callers_matplotlib_alone(tmp_path):
    """Drawing switches no backend and opens no figure of the caller's: pyplot, which keeps both, is never loaded."""
    code = f"""
import sys
from pathlib import Path
import matplotlib
import numpy as np
matplotlib.use("svg")
from handmesh.evaluation.report import plot_groups, plot_pck
from handmesh.evaluation.scores import Evaluated
from handmesh.training.record import plot_curves
from handsynth.core.toy import toy_hand
from handsynth.dataset.statistics import plot_cameras
from handsynth.recipe.spec import load_spec
out = Path({str(tmp_path)!r})
ones = np.ones((2, 21))
net = Evaluated(dict.fromkeys(("pa_auc_joints", "auc_joints"), np.ones(2)), ones, ones)
plot_pck(out / "pck.png", {{"net": net}}, "title")
plot_groups(out / "groups.png", [dict(kind="view", name="0-30 deg", hands=2, pa_mpjpe_mm=1.0)], "view", "title")
plot_curves(out / "curves.png", [dict(epoch=1.0, lr=1.0, train_loss=1.0, val_mpjpe_mm=1.0)])
plot_cameras(out / "cameras.png", load_spec("angrender"), toy_hand().v_template, toy_hand().faces)
sys.stderr.write(f"BACKEND {{matplotlib.get_backend()}} PYPLOT {{'matplotlib.pyplot' in sys.modules}}")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stderr.endswith("BACKEND svg PYPLOT False")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cameras.png", "curves.png", "groups.png", "pck.png"]


def test_no_module_keeps_global_figures():
    """None imports pyplot, inside functions or out."""
    pyplot = re.compile(r"^\s*(import|from) [^#\n]*\bpyplot\b", re.MULTILINE)
    assert not [path for path in sources("handsynth", "handmesh", "benchmarks") if pyplot.search(path.read_text("utf-8"))]
    assert pyplot.search("    from matplotlib import pyplot as plt")
    assert pyplot.search("import matplotlib.pyplot")


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("handsynth", "handmesh", include_external_packages=True, cache_dir=None)


EXCEPTIONS = {
    "handsynth.core.images": {"PIL", "simplejpeg"},
    "handsynth.core.locations": {"platformdirs"},
    "handsynth.core.page.render": {"jinja2"},
}
"""Modules of the core that need more than numpy, and what; the contract in pyproject.toml gives the reasons."""


def test_core_imports_numpy_and_the_standard_library_only(graph):
    """Read from the sources, so that imports inside functions count too; nothing else in the core leads to Pillow."""
    core = {"handsynth.core", *graph.find_descendants("handsynth.core")}
    for module in core:
        imported = graph.find_modules_directly_imported_by(module)
        outside = {name.partition(".")[0] for name in imported} - {"handsynth", "numpy", *sys.stdlib_module_names}
        assert outside == EXCEPTIONS.get(module, set()), module
        assert "handsynth.core.images" not in imported, module


def test_where_assets_lie_is_known_in_one_place(graph):
    """Neither package but core.locations asks the platform or the environment, or names the folder of the embedded files."""
    assert graph.find_modules_that_directly_import("platformdirs") == {"handsynth.core.locations"}
    package, folder = r'resources\.files\("handsynth"\)', r'"embedded" /|/ "embedded"'
    named = re.compile(f"{package}|{folder}|environ.*HANDSYNTH_(ASSETS|CACHE)")
    found = {str(path.relative_to(ROOT)) for path in sources("handsynth", "handmesh") if named.search(path.read_text("utf-8"))}
    assert found == {"handsynth/core/locations.py"}


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_text_files_are_utf8_whatever_the_locale():
    """Every text file that is opened, read or written names its encoding."""
    without = []
    for path in sources("handsynth", "handmesh", "scripts", "benchmarks"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call) and opens_text(call) and not any(word.arg == "encoding" for word in call.keywords):
                without.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert without == []
    assert opens_text(ast.parse("open(path)", mode="eval").body)
    assert not opens_text(ast.parse("open(path, 'rb')", mode="eval").body)


def opens_text(call: ast.AST) -> bool:
    assert isinstance(call, ast.Call)
    if isinstance(call.func, ast.Attribute):
        return call.func.attr in ("read_text", "write_text")
    mode = "".join(ast.unparse(value) for value in [*call.args[1:2], *(word.value for word in call.keywords if word.arg == "mode")])
    return isinstance(call.func, ast.Name) and call.func.id == "open" and "b" not in mode


def test_no_dependency_is_undeclared(graph):
    """Whatever the package imports is named in pyproject.toml, or comes with what is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = project["dependencies"] + extras["farm"] + extras["exr"] + extras["report"]
    names = {"".join(c if c.isalnum() or c in "-_" else " " for c in text).split()[0].lower() for text in declared}
    module_of = {"opencv-python-headless": "cv2", "pillow": "PIL", "pyyaml": "yaml", "openexr": "OpenEXR"}
    known = {module_of.get(name, name) for name in names} | {"OpenGL", "mpl_toolkits"}  # with pyrender and matplotlib
    modules = [m for m in graph.modules if m.startswith("handsynth")]
    imported = {name.partition(".")[0] for m in modules for name in graph.find_modules_directly_imported_by(m)}
    assert imported - set(sys.stdlib_module_names) - {"handsynth"} <= known


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on the packages in `folder`, by the contracts of its pyproject.toml."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env={"PYTHONPATH": str(folder), "PATH": ""}, check=False
    )


def test_contracts_hold():
    run = lint_imports(ROOT)
    assert run.returncode == 0, run.stdout
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert f"{len(contracts)} kept, 0 broken" in run.stdout


VIOLATIONS = {
    "torch in a stage": ("handsynth/scene/texture.py", "import torch", "neither the trainer nor torch"),
    "the trainer in the generator": ("handsynth/scene/pose.py", "import handmesh", "neither the trainer nor torch"),
    "smplx beside its choice": ("handmesh/kinematics/fit.py", "import smplx", "smplx, whose licence is non-commercial"),
    "another way to smplx": ("handmesh/kinematics/fit.py", "from handmesh.kinematics import smplx_layer", "One module may choose"),
    "OpenCV in the core": ("handsynth/core/mesh.py", "import cv2", "numpy and nothing else"),
    "the trainer past the entrance": ("handmesh/data.py", "from handsynth.recipe import spec", "One entrance"),
    "a stage above its layer": ("handsynth/scene/pose.py", "from handsynth import generator", "Layers"),
    "a stage beside its own": ("handsynth/annotate.py", "from handsynth.image import crop", "Layers"),
    "a renderer in a scene": ("handsynth/scene/texture.py", "from handsynth.render import gl", "no renderer"),
    "a recipe in the renderer": ("handsynth/render/layers.py", "from handsynth.recipe import recipe", "Renderers see arrays"),
    "a module without a layer": ("handsynth/utils.py", "", "Layers"),
}


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    """The sources and their contracts, elsewhere."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in ("handsynth", "handmesh"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("*.npz", "__pycache__"))
    return folder


def test_the_copy_is_clean_and_the_entrance_is_open(copied):
    """What follows is due to the planted lines alone, and handmesh may use handsynth.core."""
    path = copied / "handmesh" / "data.py"
    path.write_text("from handsynth.core import camera, shard\n")
    try:
        run = lint_imports(copied)
    finally:
        path.unlink()
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_planted_violation_is_reported(copied, name):
    """Each contract breaks when a line is added that it forbids."""
    file, line, contract = VIOLATIONS[name]
    path = copied / file
    before = path.read_text() if path.exists() else None
    path.write_text(f"{before or ''}\n{line}\n")
    try:
        run = lint_imports(copied)
    finally:
        path.write_text(before) if before is not None else path.unlink()
    assert run.returncode != 0
    broken = [text for text in run.stdout.splitlines() if " BROKEN" in text]
    assert any(contract in text for text in broken), run.stdout
