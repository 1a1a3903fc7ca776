"""The page about a dataset: gallery, hand in 3-D, coverage, card, and what verify found."""

import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from handsynth.assets.library import open_skin
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.hand import HandModel
from handsynth.core.index import is_crowd, read_index
from handsynth.core.named_hands import find_hand, open_poses
from handsynth.core.page.gallery import packed_faces
from handsynth.core.page.render import number, options, write_page
from handsynth.core.poses import PoseBank
from handsynth.dataset.columns import Columns, read_stored
from handsynth.dataset.folder import open_folder
from handsynth.dataset.plan import estimate
from handsynth.dataset.report.coverage import camera_charts, look_charts, pose_charts
from handsynth.dataset.report.licences import forbidden_by
from handsynth.dataset.report.samples import TITLES, Picker, facets_of, item_of
from handsynth.dataset.report.tone import MeanColour
from handsynth.dataset.selection import parse_selection
from handsynth.dataset.statistics import summarise
from handsynth.dataset.verify import Findings
from handsynth.recipe.spec import spec_from_dict

TEMPLATE = Path(__file__).parent / "dataset.html"

COVERAGE = {
    "Views": ("sphere", "cameras", "distance"),
    "Poses": ("joints", "poses"),
    "Skin and light": ("tones", "brightness", "lamps", "warmth"),
    "Visibility and things": ("visibility", "things", "hidden", "size"),
    "Held things and second hands": ("object", "hiding", "occluder", "second", "second_place"),
}
"""Charts of each heading of the page."""

BESIDE = ("Poses", "Visibility and things")
"""Headings whose first chart is tall: the others stand in a column beside it."""


def write_dataset_report(path: Path, out: Path | str, assets: Path, findings: Findings | None) -> dict[str, Any]:
    """Writes the page about a dataset in a folder or behind an address; every sample is read once.

    Args:
        path: the page's file (see core.page.render.check_report).
        out: the dataset.
        assets: the user's asset folder: with the dataset's hand, poses and skin here, meshes are surfaces, angles have limits
            and hands have tones; what is missing is named in the page.
        findings: of `verify`; None where it was not run.

    Returns the numbers of `collect_stats`. Raises HandsynthError when the dataset is empty, a sample is damaged or the page
    cannot be written.
    """
    folder = open_folder(out)
    index = read_index(folder)
    if not index["samples"] or not index["shards"]:
        raise HandsynthError(f"{folder} holds no sample: there is nothing to report")
    if is_crowd(index):
        raise UsageError(f"{folder} is a crowd: pages are about datasets of one hand an image; `handsynth stats` without --report")
    missing: list[str] = []
    hand, bank, tone = _assets_here(index, folder, assets, missing)
    found, picker, items, start = Columns(), Picker(index["samples"]), [], time.perf_counter()
    for sample in read_stored(folder, index):
        found.add(sample)
        facets = facets_of(sample, tone)
        if picker.takes(facets):
            items.append(item_of(sample, facets))
    if not found.recipes:
        raise HandsynthError(f"{folder} holds no sample: there is nothing to report")
    rate = len(found.recipes) / (time.perf_counter() - start)
    stats = summarise(index, found)
    data = {
        "charts": [*camera_charts(found, hand), *pose_charts(found, hand, bank), *look_charts(found, tone)],
        "gallery": {"items": items, "total": stats["samples"], "facets": options(picker.facets(), TITLES), "predicted": False},
        "faces": "" if hand is None else packed_faces(hand.faces),
    }
    write_page(path, TEMPLATE, _values(index, str(folder), stats, found, findings, missing, rate), data)
    return stats


def _assets_here(
    index: dict[str, Any], folder: object, assets: Path, missing: list[str]
) -> tuple[HandModel | None, PoseBank | None, MeanColour | None]:
    """Those of the dataset's assets that are on this machine; a sentence for each other."""
    wanted, spec = index["assets"], index["spec"]
    try:
        hand = find_hand(index, folder, assets=assets)
    except AssetError as error:
        missing.append(f"Meshes are shown as points, and joint angles and skin tones are left out: {error}.")
        return None, None, None
    bank, tone = None, None
    with suppress(AssetError):
        bank = open_poses(str(spec.get("hand", "auto")), assets)
    if bank is None or bank.digest != wanted.get("poses"):
        missing.append("The pose space is left out: the dataset's bank of poses is not on this machine.")
        bank = None
    with suppress(AssetError):
        source = open_skin(str(spec.get("textures", "auto")), hand, assets)
        tone = MeanColour.of(source.make()) if source.digest == wanted.get("skin") else None
    if tone is None:
        missing.append("Skin tones are left out: the dataset's skin is not on this machine.")
    return hand, bank, tone


def _values(
    index: dict[str, Any],
    source: str,
    stats: dict[str, Any],
    found: Columns,
    findings: Findings | None,
    missing: list[str],
    rate: float,
) -> dict[str, Any]:
    """What the template shows."""
    side = index["spec"].get("image_size", found.labels[0]["image_size"])
    sides = stats["sides"]
    tiles = [
        ("Samples", number(stats["samples"]), ""),
        ("Image", f"{side} \u00d7 {side}", "px"),
        ("Left / right", f"{number(sides.get('left', 0))} / {number(sides.get('right', 0))}", ""),
        ("Poses of the bank", number(stats["bank_poses"]), ""),
        ("Backgrounds", number(stats["backgrounds"]), ""),
        ("Keypoints seen", f"{100 * found.of('keypoints_visible').mean():.0f}", "%"),
        ("Size", number(stats["bytes"] / 1e6), "MB"),
    ]
    return {
        "title": f"{index['name']}: dataset report",
        "kind": "Dataset report",
        "heading": index["name"],
        "lead": f"{number(stats['samples'])} labelled hand images in {source}",
        "sections": [("samples", "Samples"), ("coverage", "Coverage"), ("card", "Dataset card"), ("checks", "Checks")],
        "tiles": tiles,
        "coverage": COVERAGE,
        "beside": BESIDE,
        "missing": missing,
        "card": _card(index, source, stats, rate),
        "licences": _licences(index, found),
        "spec": yaml.safe_dump(index["spec"], sort_keys=False, allow_unicode=True),
        "findings": findings,
        "footer": "This page holds images and meshes made from the assets above: their terms hold for it too.",
    }


def _card(index: dict[str, Any], source: str, stats: dict[str, Any], rate: float) -> list[tuple[str, str]]:
    """Names and values of the dataset card."""
    spec = index["spec"]
    unknown = "not known"
    by = f"handsynth {index.get('handsynth', unknown)}, generator version {index.get('generator_version', unknown)}"
    of = f"{number(spec.get('samples', stats['samples']))} samples, seed {spec.get('seed', 0)}"
    size, count = stats["bytes"], stats["samples"]
    tips = index.get("fingertip_table", unknown)
    rows = [
        ("Name", index["name"]),
        ("Place", source),
        ("Identity", index["dataset"]),
        ("Schema", index["schema"]),
        ("Made by", by),
        ("Selection", f"{index['selection']} of the spec's {of}"),
        ("Files", f"{stats['shards']} shards, {number(size / 1e6)} MB, {number(size / count / 1000)} kB a sample"),
        ("Passes", ", ".join(spec.get("passes", ())) or "image, mask, labels and vertices alone"),
        ("Hand", f"{index.get('hand', unknown)}, {index['num_vertices']} vertices, fingertips of {tips}"),
        ("Assets", "; ".join(f"{name} {str(digest)[:16]}" for name, digest in sorted(index["assets"].items()))),
        ("Backgrounds replaced", f"{number(index.get('replaced_backgrounds', 0))} (those drawn could not be read)"),
        *(("Driver", str(driver)) for driver in index["drivers"]),
    ]
    with suppress(HandsynthError, KeyError, TypeError, AttributeError):  # an older schema's spec may be none of today's
        hours = estimate(spec_from_dict(spec, "index.json"), parse_selection(index["selection"]))["core_hours_estimate"]
        made = f"about {number(60 * hours, 2)} core minutes to make on a CPU, as handsynth plan estimates"
        rows.append(("Speed", f"{made}; read at {number(round(rate))} samples a second for this page"))
    return rows


def _licences(index: dict[str, Any], found: Columns) -> list[tuple[str, str, str, str]]:
    """Part, licence, samples, what it forbids: of each asset, and of each licence that backgrounds have of their own."""
    total = number(len(found.labels))
    rows = [(name, licence, total, forbidden_by(licence)) for name, licence in sorted(index.get("licences", {}).items())]
    own = Counter(labels["background"]["licence"] for labels in found.labels if labels["background"])
    if len(own) > 1 or set(own) - {licence for _, licence, *_ in rows}:
        rows += [("a background's own", licence, number(count), forbidden_by(licence)) for licence, count in own.most_common()]
    return rows
