"""The README: its numbers are those of benchmarks/results, and what it promises is there."""

import csv
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from doc_blocks import blocks_of, check
from tiny import load_script

from handsynth.core.hand import load_hand
from handsynth.core.locations import EMBEDDED

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def numbers():
    return load_script("readme_numbers")


@pytest.fixture
def results(tmp_path) -> Path:
    return Path(shutil.copytree(ROOT / "benchmarks" / "results", tmp_path / "results"))


def change(path: Path, **values: str) -> None:
    """Sets columns in every row of a CSV."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | values for row in rows)


def test_the_numbers_are_those_of_the_results(numbers):
    """As scripts/readme_numbers.py would write them now."""
    readme = (ROOT / "README.md").read_text()
    assert numbers.with_table(readme) == readme, "python scripts/readme_numbers.py"


def test_a_newer_result_makes_the_table_stale(numbers, results):
    """A CSV of a later day counts in the place of the older one, and the README that has the older figure differs."""
    readme = (ROOT / "README.md").read_text()
    old = next(path for path in results.glob("table4_time-*.csv"))
    new = Path(shutil.copy(old, results / "table4_time-amd-epyc-abcdef0.csv"))
    change(new, hands_per_cpu_s="1234.5", date="2999-01-01", commit="abcdef0")
    found = numbers.with_table(readme, results)
    assert found != readme
    assert "| 1234 hands/s | `python benchmarks/table4.py` | abcdef0, 2999-01-01 |" in found
    assert numbers.with_table(found, results) == found


@pytest.mark.parametrize("fault", ["missing", "twice", "other machine", "row gone", "no place"])
def test_what_cannot_be_written_is_named(numbers, results, fault):
    readme, files = (ROOT / "README.md").read_text(), sorted(results.glob("loader-*.csv"))
    path = max(files, key=lambda file: file.read_text().split(",")[-1])  # the newest: rows end with their day
    if fault == "missing":
        for file in files:
            file.unlink()
    elif fault == "twice":
        shutil.copy(path, results / "loader-amd-epyc-abcdef0.csv")
    elif fault == "other machine":
        change(path, cpu="Abacus 2")
    elif fault == "row gone":
        change(path, variant="else")
    else:
        readme = readme.replace(numbers.END, "")
    expected = {
        "missing": r"has no loader-\*.csv: run its benchmark",
        "twice": "has 2 files loader-",
        "other machine": "several machines: AMD EPYC, Abacus 2|several machines: Abacus 2, AMD EPYC",
        "row gone": "loader has 0 rows with",
        "no place": "README.md has no place for the table",
    }
    with pytest.raises(SystemExit, match=expected[fault]):
        numbers.with_table(readme, results)


def test_plots_beside_results_are_no_results(numbers, results):
    """Only the CSV files of that very benchmark count: generate_start is not generate."""
    assert list(results.glob("loader-*.png"))
    with pytest.raises(SystemExit, match="has no generate-"):
        numbers.Results("generate", results)


def test_what_the_readme_shows_in_python_runs(embedded_dataset, tmp_path, monkeypatch, capsys):
    """As it stands, on a dataset and on an image of it: the sample's vertices are where its keypoints are, and hands are found."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(embedded_dataset.folder, tmp_path / "data" / "mine")
    with tarfile.open(tmp_path / "data" / "mine" / "shard-000000.tar") as shard:
        first = shard.next()
        (tmp_path / "photo.jpg").write_bytes(shard.extractfile(first).read())
    names: dict = {}
    blocks = [block for block in blocks_of(ROOT / "README.md") if block.language == "python"]
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block.text, "README.md", "exec"), names)
    assert names["image"].size == names["mask"].size
    tips = load_hand(EMBEDDED / "hand.npz").fingertips
    np.testing.assert_allclose(names["pixels"][tips, :2], np.array(names["labels"]["keypoints_xy"])[4::4], atol=0.01)
    assert len(blocks[0].text.strip().splitlines()) <= 11
    assert "(778, 3)" in capsys.readouterr().out


PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_those_of_the_programs(page):
    """Each command of the pages has a program, options and scripts that exist, whether it is run in a test or not."""
    assert check(ROOT / page) or page not in ("README.md", "docs/robots.md")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("handsynth generatte default out", "generatte"),
        ("handmesh predict --detektor x", "detektor"),
        ("pip install '.[preddict]'", "preddict"),
        ("python scripts/nothing.py", r"there is no scripts/nothing\.py"),
        ("handsynth plan", "(?i)spec"),
    ],
)
def test_commands_that_do_not_exist_are_noticed(tmp_path, line, complaint):
    (tmp_path / "page.md").write_text(f"# A page\n    {line}\n")
    with pytest.raises(AssertionError, match=complaint):
        check(tmp_path / "page.md")


def test_links_of_the_pages_lead_somewhere():
    """Files and folders that README, CONTRIBUTING and CHANGELOG link to exist."""
    for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text()):
            assert target.startswith("https://") or (ROOT / target).exists(), f"{page}: {target}"
