"""What must hold before a release: checks it all, builds wheel and source distribution, and publishes nothing.

    python scripts/release.py             # of the commit that is checked out; exit code 1 where something is missing
    python scripts/release.py --out dist  # and keeps what was built

Version, changelog and citation agree; nothing is uncommitted; licence and number tables are up to date; the documentation builds
without a warning; the wheel holds every file of the packages and nothing else, and the source distribution builds the same one.
Afterwards: git tag, twine, by hand.
"""

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parents[1]
PACKAGES = ("handsynth", "handmesh")
LARGEST_WHEEL = 100 << 20  # the Python Package Index takes no larger file


def version_of(folder: Path) -> str:
    """The version, which pyproject.toml alone decides."""
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def version_faults(folder: Path) -> Iterator[str]:
    """Where changelog and citation say otherwise than pyproject.toml."""
    version = version_of(folder)
    try:
        Version(version)
    except InvalidVersion:
        yield f"{version!r} is no version"
    headings = re.findall(r"^## (.+)$", (folder / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    if not headings or not re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", headings[0]):
        yield f"CHANGELOG.md begins with {headings[:1]}, expected '## {version} (date)'"
    citation = yaml.safe_load((folder / "CITATION.cff").read_text(encoding="utf-8"))
    if citation.get("version") != version:
        yield f"CITATION.cff has version {citation.get('version')}, pyproject.toml {version}"
    if headings and str(citation.get("date-released")) not in headings[0]:
        yield f"CITATION.cff was released on {citation.get('date-released')}, CHANGELOG.md says {headings[0]}"


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def tree_faults() -> Iterator[str]:
    """What is not committed, and a tag that is another commit's."""
    if changes := git("status", "--porcelain").splitlines():
        yield f"{len(changes)} uncommitted changes, the first: {changes[0]}"
    tag = f"v{version_of(ROOT)}"
    if tag in git("tag").split() and git("rev-list", "-n1", tag) != git("rev-parse", "HEAD"):
        yield f"{tag} is another commit: raise the version"


def script_faults(script: str) -> Iterator[str]:
    """What a script that checks the README has to say."""
    done = subprocess.run([sys.executable, f"scripts/{script}", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        yield from done.stderr.splitlines() or [f"scripts/{script} --check ended with {done.returncode}"]


def docs_faults(folder: Path, out: Path) -> Iterator[str]:
    """What the strict build of a folder's documentation, into `out`, complains about."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # the theme's own notice
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        # Quiet builds let warnings pass, so what is no complaint is left out here.
        wrong = [line for line in done.stderr.splitlines() if line and not line.startswith("INFO")]
        yield from wrong or [f"mkdocs build --strict ended with {done.returncode}"]


def weights_faults(folder: Path) -> Iterator[str]:
    """Shipped weights without a card, or whose card does not say how they were trained."""
    for path in sorted((folder / "handmesh" / "weights").iterdir()):
        if path.is_dir() and not (path / "CARD.md").is_file():
            yield f"{path.relative_to(folder)} has no CARD.md"


def committed(folder: Path) -> Path:
    """The files of HEAD, in a new folder."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        extract(tar, folder)
    return folder


def extract(tar: tarfile.TarFile, folder: Path) -> None:
    """Unpacks an archive; Python before 3.11.4 has no filters of what is in it."""
    tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
    tar.extractall(folder)


def build(source: Path, out: Path, what: str) -> Path:
    """Builds "wheel" or "sdist" of the sources in a folder, which is left with setuptools' files in it. Needs no network."""
    out.mkdir(parents=True, exist_ok=True)
    code = f"from setuptools import build_meta; print(build_meta.build_{what}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the {what} cannot be built: {done.stderr[-500:]}")
    return out / done.stdout.split()[-1]


def build_both(source: Path, out: Path) -> tuple[Path, Path, list[str]]:
    """Wheel and source distribution of a folder, and the ways in which the latter builds another wheel."""
    wheel, sdist = build(source, out, "wheel"), build(source, out, "sdist")
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(sdist) as tar:
            extract(tar, Path(place))
        again = build(next(Path(place).iterdir()), Path(place, "dist"), "wheel")
        first, second = contents(wheel), contents(again)
    return wheel, sdist, [f"{name} differs in the wheel that {sdist.name} builds" for name in sorted(different(first, second))]


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def different(first: dict[str, bytes], second: dict[str, bytes]) -> set[str]:
    return {name for name in first | second if first.get(name) != second.get(name)}


def wheel_faults(wheel: Path, source: Path) -> Iterator[str]:
    """Files of the packages that the wheel lacks or has otherwise, what else it holds, and its size."""
    expected = {
        path.relative_to(source).as_posix(): path.read_bytes()
        for package in PACKAGES
        for path in sorted((source / package).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    found = contents(wheel)
    about = {name: data for name, data in found.items() if ".dist-info/" in name}
    code = {name: data for name, data in found.items() if name not in about}
    for name in sorted(different(expected, code)):
        if name in expected and name in code:
            yield f"{name} is another file in the wheel"
        else:
            yield f"{name} is {'not in the wheel: see package-data in pyproject.toml' if name in expected else 'in the wheel'}"
    for name in ("licenses/LICENSE", "licenses/LICENCES.md", "entry_points.txt"):
        if not any(path.endswith(f".dist-info/{name}") for path in about):
            yield f"the wheel has no {name}"
    if wheel.stat().st_size > LARGEST_WHEEL:
        yield f"the wheel has {wheel.stat().st_size >> 20} MiB, the index takes {LARGEST_WHEEL >> 20}"


def sdist_faults(sdist: Path) -> Iterator[str]:
    """What does not belong into a source distribution: it builds the wheel, and is no copy of the repository."""
    with tarfile.open(sdist) as tar:
        names = [name.partition("/")[2] for name in tar.getnames()]
    kept = {"pyproject.toml", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "LICENCES.md", "MANIFEST.in", "PKG-INFO"}
    for name in names:
        if name not in kept | {"", "setup.cfg"} and name.partition("/")[0].removesuffix(".egg-info") not in PACKAGES:
            yield f"{name} is in {sdist.name}"
    for name in sorted(kept):
        if name not in names:
            yield f"{name} is not in {sdist.name}"


def build_faults(out: Path) -> Iterator[str]:
    """Of what is built of HEAD."""
    with tempfile.TemporaryDirectory() as place:
        source = committed(Path(place, "source"))
        wheel, sdist, differences = build_both(source, out)
        shutil.rmtree(source / "build", ignore_errors=True)
        yield from differences
        yield from wheel_faults(wheel, committed(Path(place, "clean")))
        yield from sdist_faults(sdist)


def main() -> int:
    parser = argparse.ArgumentParser(description="checks before a release")
    parser.add_argument("--out", type=Path, help="folder that keeps wheel and source distribution")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as place:
        checks: dict[str, Callable[[], Iterator[str]]] = {
            "version, changelog, citation": lambda: version_faults(ROOT),
            "everything is committed": tree_faults,
            "licences": lambda: script_faults("licences.py"),
            "the README's numbers": lambda: script_faults("readme_numbers.py"),
            "documentation": lambda: docs_faults(ROOT, Path(place, "site")),
            "weights have cards": lambda: weights_faults(ROOT),
            "wheel and source distribution": lambda: build_faults(out or Path(place)),
        }
        wrong = False
        for name, check in checks.items():
            faults = list(check())
            wrong |= bool(faults)
            print(f"{'FAIL' if faults else 'ok  '}  {name}", *(f"      {fault}" for fault in faults), sep="\n", flush=True)
    print(f"{'not ready' if wrong else 'ready'}: {version_of(ROOT)}. Nothing was published.")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
