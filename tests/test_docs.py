"""The documentation: every command and block of Python runs as it stands or says what it needs; the site builds, and is quiet."""

import base64
import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest
from chromium import DESKTOP, PHONE
from doc_blocks import NEEDS, ROOT, blocks_of, run, run_page
from tiny import load_script

DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
RUN_ELSEWHERE = {"api.md"}
"""Pages whose examples need clips: tests/handmesh/test_runtime.py runs it."""

NOTEBOOK = DOCS / "notebook.ipynb"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Twelve samples of `default` and the first one's image: what pages other than the tour begin with."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("handsynth", ["generate", "default", "data/mine", "--samples", "12"], patch) == 0
    with tarfile.open(folder / "data" / "mine" / "shard-000000.tar") as shard:
        (folder / "photo.jpg").write_bytes(shard.extractfile(shard.next()).read())
    return folder


@pytest.mark.slow
def test_the_tour_runs_from_nothing(tmp_path, monkeypatch):
    """In an empty folder, in the page's order: a dataset, a page about it, a mesh of its first image, a net."""
    monkeypatch.chdir(tmp_path)
    names = run_page(DOCS / "tour.md", monkeypatch)
    assert names["vertices"].shape == (778, 3)
    for path in ("sheet.png", "sample.png", "report.html", "runs/first/curves.png", "runs/first/weights.safetensors"):
        assert (tmp_path / path).stat().st_size > 1000, path
    assert list((tmp_path / "found").glob("*.obj"))


@pytest.mark.parametrize("page", [name for name in PAGES if name not in {"tour.md", *RUN_ELSEWHERE}])
def test_the_page_runs(made, tmp_path, monkeypatch, page):
    """All its blocks but those that say what they need, beside a dataset and an image."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    run_page(DOCS / page, monkeypatch)


@pytest.mark.parametrize("page", PAGES)
def test_nothing_hides_from_being_run(page):
    """Every fenced block is commands, Python, a file, or an output without commands; what is not run says what it needs."""
    for block in blocks_of(DOCS / page):
        where = f"{page}:{block.line}"
        assert block.language in ("sh", "python", "yaml", "text"), where
        assert block.language in ("sh", "python") or not re.search(r"^\s*(handsynth|handmesh|pip) ", block.text, re.MULTILINE), (
            where
        )
        assert not block.title or block.title.startswith(NEEDS) or re.fullmatch(r"[\w.-]+\.\w+", block.title), where


def test_a_command_that_fails_is_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("```sh\nhandsynth verify nothing\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md:2: handsynth verify nothing"):
        run_page(page, monkeypatch)
    page.write_text('```sh title="Needs MANO, which is licensed"\nhandsynth verify nothing\n```\n')
    run_page(page, monkeypatch)
    page.write_text("```python\nvalue = 1\n```\n\n```python\nassert value == 2\n```\n")
    with pytest.raises(AssertionError):
        run_page(page, monkeypatch)


def test_the_notebook_runs_top_to_bottom(tmp_path, monkeypatch):
    """Its cells run in order in an empty folder, and show what is committed: as many texts and images from each cell."""
    monkeypatch.chdir(tmp_path)
    kept = json.loads(NOTEBOOK.read_text("utf-8"))
    done = load_script("run_notebook").run(kept)

    def kinds(notebook):
        return [[output["output_type"] for output in cell.get("outputs", ())] for cell in notebook["cells"]]

    assert kinds(done) == kinds(kept)
    assert sum(map(len, kinds(kept))) >= 8


def test_the_notebook_reads_well_where_it_lies():
    """Outputs are those of one run from the top; images are small; each cell has the identity that the format asks for."""
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    images = [base64.b64decode(o["data"]["image/jpeg"]) for cell in code for o in cell["outputs"] if "data" in o]
    assert images
    assert sum(map(len, images)) < 500_000
    assert len({cell["id"] for cell in cells}) == len(cells)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("material", reason="pip install '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    assert list(load_script("release").docs_faults(ROOT, out)) == []
    return out


def test_a_link_that_leads_nowhere_stops_a_release(tmp_path):
    pytest.importorskip("mkdocs", reason="pip install '.[docs]'")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Page\n[gone](gone.md)\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: test\n")
    found = list(load_script("release").docs_faults(tmp_path, tmp_path / "site"))
    assert any("gone.md" in line for line in found)


def test_the_site_builds_strictly_and_names_every_page(site):
    """Without a warning; pages that lie elsewhere are there, with their images, and the reference has shapes of fields."""
    for page in [*PAGES, "conventions.md", "results.md", "licence-table.md", "notebook.md"]:
        assert (site / page.replace(".md", ".html")).exists(), page
    reference = (site / "reference.html").read_text("utf-8")
    assert "FreiHAND's order: wrist, then thumb to pinky" in reference
    assert "handmesh.estimation.hands.load" in reference
    assert "visible_share" in (site / "conventions.html").read_text("utf-8")
    assert (site / "images" / "notebook-0.jpeg").stat().st_size > 1000
    assert (site / "images" / "robots.webp").exists()
    for path in site.glob("*.html"):
        outer = re.findall(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="(?:https?:)?//[^"]*"', path.read_text("utf-8"))
        assert not outer, f"{path.name}: {outer}"


def test_pages_are_quiet_and_fit_on_a_phone(browser, site):
    """No request to anywhere, no error, nothing to scroll sideways, at both widths; images are found."""
    wrongs: list[str] = []
    for width, height in (DESKTOP, PHONE):
        context = browser.new_context(viewport={"width": width, "height": height})
        page = context.new_page()
        page.on("request", lambda request, found=wrongs: found.append(request.url) if request.url.startswith("http") else None)
        page.on("pageerror", lambda error, found=wrongs: found.append(str(error)))
        for name in ("index", "nets", "dataset", "robots", "notebook"):
            page.goto((site / f"{name}.html").as_uri())
            wide = page.evaluate("document.documentElement.scrollWidth")
            wrongs += [f"{name} is {wide} px wide on {width}"] if wide > width else []
            broken = page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
            wrongs += [f"{name}: {source}" for source in broken]
        context.close()
    assert wrongs == []
