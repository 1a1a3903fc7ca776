"""What is released: wheel and source distribution hold what they need and nothing else, and work where nothing else is."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from tiny import load_script

from handsynth.core.shard import read_shard

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture(scope="module")
def release():
    return load_script("release")


def copy_of_the_tree(folder: Path) -> Path:
    """What is in the repository or about to be, without what is ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in names:
        if name and (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return copy_of_the_tree(tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def built(release, tree, tmp_path_factory) -> tuple[Path, Path, list[str]]:
    """Wheel, source distribution, and how the latter's wheel differs."""
    place = tmp_path_factory.mktemp("built")
    return release.build_both(Path(shutil.copytree(tree, place / "source", symlinks=True)), place / "dist")


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_nothing_else(release, tree, built):
    """Every file of both packages, byte for byte, licences and entry points."""
    assert list(release.wheel_faults(built[0], tree)) == []
    assert built[0].name == f"handsynth-{VERSION}-py3-none-any.whl"


@pytest.mark.slow
def test_the_source_distribution_builds_the_same_wheel(release, built):
    assert built[2] == []
    assert list(release.sdist_faults(built[1])) == []


@pytest.mark.slow
def test_a_file_that_no_pattern_takes_along_is_named(release, tree, tmp_path):
    """Package data of a new kind, which the wheel lacks, and a file of tests, which is in none."""
    source = Path(shutil.copytree(tree, tmp_path / "source", symlinks=True))
    (source / "handsynth" / "dataset" / "page.html.j2").write_text("a template")
    shutil.rmtree(source / "handmesh" / "weights" / "lite-fast-128")  # the largest files: this build is quick
    wheel = release.build(Path(shutil.copytree(source, tmp_path / "build", symlinks=True)), tmp_path / "dist", "wheel")
    found = list(release.wheel_faults(wheel, source))
    assert found == ["handsynth/dataset/page.html.j2 is not in the wheel: see package-data in pyproject.toml"]
    (source / "handsynth" / "dataset" / "page.html.j2").unlink()
    (source / "handsynth" / "doctor.py").unlink()
    assert list(release.wheel_faults(wheel, source)) == ["handsynth/doctor.py is in the wheel"]


def closure(extras: set[str]) -> set[str]:
    """Names of all distributions that pip would bring with handsynth[extras]; they are installed here."""
    todo, found = [("handsynth", frozenset(extras))], set()
    while todo:
        name, wanted = todo.pop()
        if (name, wanted) in found:
            continue
        found.add((name, wanted))
        lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"] if name == "handsynth" else None
        needed = (
            [*lines["dependencies"], *(line for extra in wanted for line in lines["optional-dependencies"][extra])]
            if lines
            else metadata.distribution(name).requires or []
        )
        for requirement in map(Requirement, needed):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ["", *wanted]):
                todo.append((re.sub(r"[-_.]+", "-", requirement.name).lower(), frozenset(requirement.extras)))
    return {name for name, _ in found} - {"handsynth"}


class Installed:
    """A new environment that holds the wheel and links to what it asks for, and nothing else of this one's."""

    def __init__(self, folder: Path, wheel: Path, extras: set[str]) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        subprocess.run(
            [sys.executable, "-m", "pip", "-q", "--python", str(self.python), "install", "--no-index", "--no-deps", str(wheel)],
            check=True,
        )
        self.site = next((folder / "lib").glob("python*/site-packages"))
        for name in closure(extras):
            package = metadata.distribution(name)
            for top in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
                if not (self.site / top).exists():
                    (self.site / top).symlink_to(package.locate_file(top))

    def run(self, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """A program of the wheel, from a folder of its own, without the checkout on any path."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        command = [self.python.parent / program, *map(str, arguments)]
        return subprocess.run(command, cwd=self.elsewhere, env=env, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Installed:
    return Installed(tmp_path_factory.mktemp("env") / "env", built[0], set())


@pytest.mark.slow
def test_handsynth_works_where_only_its_requirements_are(installed):
    """Preview, 32 samples by two workers, verified, exported; from another folder, without torch."""
    where = installed.run("python", "-c", "import handsynth, importlib.util as u; print(handsynth.__file__, u.find_spec('torch'))")
    assert where.stdout.split() == [str(installed.site / "handsynth" / "__init__.py"), "None"], where.stderr
    assert installed.run("handsynth", "--version").stdout == f"handsynth {VERSION}\n"
    for command in (
        "preview default sheet.png -n 4",
        "generate default OUT --samples 32 --jobs 2 --shard-size 16",
        "verify OUT --replay 1",
        "export coco OUT COCO",
        "export freihand OUT FREIHAND",
    ):
        ended = installed.run("handsynth", *command.split())
        assert ended.returncode == 0, f"{command}: {ended.stderr}"
    assert (installed.elsewhere / "sheet.png").stat().st_size > 10_000
    assert len(json.loads((installed.elsewhere / "COCO" / "annotations.json").read_text())["images"]) == 32


@pytest.mark.slow
def test_handmesh_says_what_to_install(installed):
    """Without torch: one sentence."""
    ended = installed.run("handmesh", "nets")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == "handmesh: torch is not installed: pip install 'handsynth[train]'\n"
    assert installed.run("handmesh", "--version").stdout == f"handmesh {VERSION}\n"


@pytest.mark.slow
def test_handmesh_predicts_where_its_requirements_are(built, installed, tmp_path):
    """With the weights of the wheel, on an image made there."""
    if not (shard := installed.elsewhere / "OUT" / "shard-000000.tar").exists():
        installed.run("handsynth", "generate", "default", "OUT", "--samples", 4, "--shard-size", 4)
    env = Installed(tmp_path / "env", built[0], {"train"})
    (env.elsewhere / "hand.jpg").write_bytes(next(iter(read_shard(shard)))[1]["jpg"])
    ended = env.run("handmesh", "predict", "hand.jpg", "--out", "found")
    assert ended.returncode == 0, ended.stderr
    assert list((env.elsewhere / "found").glob("*.obj"))


def test_version_changelog_and_citation_agree(release):
    """The version is pyproject.toml's; the others say the same, and the day."""
    assert list(release.version_faults(ROOT)) == []
    for program in ("handsynth", "handmesh"):
        ended = subprocess.run([sys.executable, "-m", program, "--version"], capture_output=True, text=True, check=True)
        assert ended.stdout.startswith(f"{program} ")
    stated = [
        path for folder in ("handsynth", "handmesh") for path in (ROOT / folder).rglob("*.py") if f'"{VERSION}"' in path.read_text()
    ]
    assert stated == []  # in one place alone


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        ("CHANGELOG.md", f"## {VERSION} (", "## 9.9.9 (", "CHANGELOG.md begins with"),
        ("CHANGELOG.md", f"## {VERSION} (", "## Unreleased (", "CHANGELOG.md begins with"),
        ("CITATION.cff", f"version: {VERSION}", "version: 9.9.9", "CITATION.cff has version 9.9.9"),
        ("CITATION.cff", "date-released: ", "date-released: 2000-01-01 #", "CITATION.cff was released on 2000-01-01"),
        ("pyproject.toml", f'version = "{VERSION}"', 'version = "new one"', "'new one' is no version"),
    ],
)
def test_a_version_that_is_forgotten_somewhere_is_named(release, tmp_path, file, old, new, fault):
    for name in ("CHANGELOG.md", "CITATION.cff", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    assert any(fault in found for found in release.version_faults(tmp_path))


def test_weights_without_a_card_are_named(release, tmp_path):
    assert list(release.weights_faults(ROOT)) == []
    (tmp_path / "handmesh" / "weights" / "new").mkdir(parents=True)
    assert list(release.weights_faults(tmp_path)) == ["handmesh/weights/new has no CARD.md"]


def test_the_citation_has_what_the_format_asks_for():
    """Citation File Format 1.2.0: its required keys, and the paper."""
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert found["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(found)
    (paper,) = found["references"]
    assert {"type", "title", "authors"} <= set(paper)
    assert paper["title"] == "Lightweight Estimation of Hand Mesh and Biomechanically Feasible Kinematic Parameters"


def test_workflows_and_forms_are_sound():
    """YAML with what GitHub asks for; the tests run .ci/run, and no workflow may write."""
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        found = yaml.safe_load(path.read_text())
        assert {"name", "jobs", True} <= set(found)  # YAML 1.1 reads "on" as true
        assert found["permissions"] == {"contents": "read"}
        assert all({"runs-on", "steps"} <= set(job) for job in found["jobs"].values())
        assert "twine upload" not in path.read_text()
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "test.yml").read_text()
    forms = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
    assert len(forms) == 2
    for path in forms:
        found = yaml.safe_load(path.read_text())
        assert {"name", "description", "body"} <= set(found)
        named = [field["id"] for field in found["body"] if field["type"] != "markdown"]
        assert len(named) == len(set(named))
        assert all(field["attributes"].get("label") or field["type"] == "markdown" for field in found["body"])


def test_the_release_script_publishes_nothing():
    """It says so, and has no word of an upload."""
    text = (ROOT / "scripts" / "release.py").read_text()
    assert "twine" not in re.sub(r'""".*?"""', "", text, count=1, flags=re.DOTALL)
    assert "push" not in text
