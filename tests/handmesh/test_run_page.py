"""Pages about runs: errors worst first, quiet in a real browser, two runs compared, refused in one sentence."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from chromium import PHONE, opened
from untrained import write_untrained

from handmesh.data.shards import ShardDataset
from handmesh.evaluation.page import read_compared
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.toy import toy_hand

BROKEN_NUMBERS = """[...document.querySelectorAll('td')].filter(cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return /^[\\d.,]+$/.test(cell.textContent) && range.getClientRects().length > 1;
}).map(cell => cell.textContent)"""
"""Numbers of tables that are written over several lines."""


def handmesh(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "handmesh", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def folder(hand_shards, tmp_path_factory) -> Path:
    """An untrained run `run`, evaluated into `first`, then again with a page that compares both."""
    folder = tmp_path_factory.mktemp("run")
    write_untrained(folder / "run", toy_hand())
    (folder / "run" / "metrics.csv").write_text(
        "epoch,val_mpjpe_mm,val_pa_mpjpe_mm,train_mpjpe_mm\n1,30,20,31\n2,25,15,26\n2,24,14,\n"
    )
    command = ("evaluate", folder / "run", "--data", hand_shards, "--device", "cpu", "--out")
    first = handmesh(*command, folder / "first")
    assert first.returncode == 0, first.stderr
    page = folder / "page.html"
    second = handmesh(*command, folder / "second", "--report", page, "--compare", folder / "first")
    assert second.returncode == 0, second.stderr
    assert second.stderr.splitlines()[-1] == f"{page}: written"
    assert second.stdout.partition("\n\n/")[0] == first.stdout.partition("\n\n/")[0]
    return folder


@pytest.fixture(scope="module")
def data(folder) -> dict:
    text = (folder / "page.html").read_text("utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_charts_are_those_of_the_evaluation_worst_first(folder, data):
    """Every bar is a number of metrics.json, in falling order; the same run compared with itself lies on its own bars."""
    metrics = json.loads((folder / "second" / "metrics.json").read_text())
    charts = {chart["id"]: chart for chart in data["charts"]}
    joints = {row["name"]: row["pa_mpjpe_mm"] for row in metrics["joints"]}
    assert len(joints) == 21
    assert np.mean(list(joints.values())) == pytest.approx(metrics["groups"][0]["pa_mpjpe_mm"])
    assert np.mean([row["mpjpe_mm"] for row in metrics["joints"]]) == pytest.approx(metrics["groups"][0]["mpjpe_mm"])
    for kind in ("joints", "view", "pose", "visible"):
        rows = joints if kind == "joints" else {r["name"]: r["pa_mpjpe_mm"] for r in metrics["groups"] if r["kind"] == kind}
        chart = charts[kind]
        assert chart["values"] == sorted(chart["values"], reverse=True)
        assert dict(zip(chart["labels"], chart["values"], strict=True)) == pytest.approx(rows, rel=1e-4)
        ours = [values for name, values in chart["others"].items() if name in ("run", "run, aligned")]
        assert ours == [chart["values"]]
        assert "[mm]" in chart["axis"]
    share = charts["pck"]["series"][0]
    assert share["y"] == sorted(share["y"])
    assert [series["y"] for series in charts["training"]["series"]] == [[31, 26, None], [30, 25, 24], [20, 15, 14]]


def test_the_gallery_begins_with_the_worst_hands(folder, data):
    """Errors fall along the gallery, and are those of errors.csv; each hand has its prediction beside it."""
    with open(folder / "second" / "errors.csv", encoding="utf-8", newline="") as file:
        errors = {f"Sample {row['index']}": float(row["pa_mpjpe_mm"]) for row in csv.DictReader(file)}
    items = data["gallery"]["items"]
    shown = [errors[item["title"].partition(":")[0]] for item in items]
    assert shown == sorted(errors.values(), reverse=True)
    assert [item["corner"] for item in items] == [f"{error:.1f} mm" for error in shown]
    assert all("predicted" in item for item in items)


def test_the_page_is_quiet_filters_and_turns(browser, folder, data):
    """No message, no request; a filter shows the hands that have the value; prediction and truth turn."""
    items = data["gallery"]["items"]
    for size in ((1280, 800), PHONE):
        with opened(browser, folder / "page.html", size) as found:
            page = found.page
            found.see_all()
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
            assert page.evaluate(BROKEN_NUMBERS) == []
            value = items[0]["facets"]["side"][0]
            page.select_option("select[name=side]", value)
            assert found.text("#count").startswith(f"{sum(value in item['facets']['side'] for item in items)} of the {len(items)}")
            canvas = page.locator("#hand")
            canvas.scroll_into_view_if_needed()
            before = canvas.screenshot()
            canvas.press("ArrowLeft")
            page.wait_for_timeout(100)
            turned = canvas.screenshot()
            page.click("[data-show=predicted]")
            page.wait_for_timeout(100)
            assert len({before, turned, canvas.screenshot()}) == 3
            assert "of 12 hands this run is better on 0 %, worse on 0 %" in found.text(".compared")
            assert found.wrongs == []


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (lambda out: (out / "metrics.json").unlink(), UsageError, "holds no metrics.json: give --compare a folder"),
        (lambda out: (out / "errors.csv").unlink(), UsageError, "holds no errors.csv: give --compare a folder"),
        (lambda out: (out / "metrics.json").write_text("{"), HandsynthError, "is damaged"),
        (lambda out: (out / "metrics.json").write_text("[]"), HandsynthError, "is damaged"),
        (lambda out: (out / "errors.csv").write_text("index\n1\n"), HandsynthError, "is damaged"),
        (lambda out: _rename(out), UsageError, "was evaluated on other datasets"),
    ],
)
def test_a_folder_that_cannot_be_compared_is_named(folder, hand_shards, tmp_path, spoil, kind, message):
    """One sentence that says what to give."""
    for name in ("metrics.json", "errors.csv"):
        (tmp_path / name).write_bytes((folder / "first" / name).read_bytes())
    assert read_compared(tmp_path, [ShardDataset(hand_shards)]).errors_mm
    spoil(tmp_path)
    with pytest.raises(kind, match=message) as raised:
        read_compared(tmp_path, [ShardDataset(hand_shards)])
    assert "\n" not in str(raised.value)


def _rename(out: Path) -> None:
    metrics = json.loads((out / "metrics.json").read_text())
    metrics["datasets"][0]["identity"] = "0" * 64
    (out / "metrics.json").write_text(json.dumps(metrics))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--report", "page.txt"), "give a name that ends in .html"),
        (("--compare", "first"), "--compare is shown in a page: add --report FILE.html"),
    ],
)
def test_wrong_options_are_refused_before_the_work(folder, hand_shards, options, message, tmp_path):
    ended = handmesh("evaluate", folder / "run", "--data", hand_shards, "--device", "cpu", "--out", tmp_path / "out", *options)
    assert ended.returncode == 2, ended.stderr
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
