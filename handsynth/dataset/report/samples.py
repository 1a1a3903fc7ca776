"""Which samples of a dataset its page shows, by what they can be found, and what is shown of each."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from handsynth.core.conventions import CLOTHING
from handsynth.core.grouping import divide, flexion_deg, view_angles_deg
from handsynth.core.page.gallery import gallery_item
from handsynth.core.sample import decode_npy
from handsynth.dataset.columns import Stored
from handsynth.dataset.report.tone import GROUPS, MeanColour, tone_groups, typology_angle_deg
from handsynth.image.encode import encode_jpeg

SPREAD, OF_EACH = 192, 6
"""The page shows so many samples evenly spread over the dataset, and at least so many of each value that can be chosen."""

THUMB_PX = 192
"""No image in the page is larger; smaller ones are the dataset's own bytes."""

TITLES = {
    "view": "View", "pose": "Pose", "tone": "Skin tone", "visible": "Keypoints seen", "light": "Light on the hand", "held": "Holds",
    "second": "Second hand", "occluder": "Before the hand", "worn": "Wears", "side": "Side",
}  # fmt: skip
"""What can be chosen, as people read it."""

BRIGHTNESS = {"dim": 90.0, "medium": 150.0, "bright": 256.0}
"""Light on the hand by its mean sRGB level in the image, 0 to 255: each reaches to this."""

NOTHING = "nothing"

PLACES = ("none", "beside", "before", "behind")
"""Where a second hand is: nearer to the camera or farther away than the labelled one where their boxes overlap, else beside it."""


def place_of_second(labels: Mapping[str, Any]) -> str:
    """Of the nearest other hand, one of PLACES."""
    others = labels.get("hands") or ()
    if not others:
        return PLACES[0]
    wrist = np.array(labels["keypoints_cam"][0])
    other = min(others, key=lambda hand: float(np.linalg.norm(np.array(hand["keypoints_cam"][0]) - wrist)))
    (x0, y0, x1, y1), (u0, v0, u1, v1) = labels["bbox_xyxy"], other["bbox_xyxy"]
    if min(x1, u1) <= max(x0, u0) or min(y1, v1) <= max(y0, v0):
        return PLACES[1]
    nearer = np.mean(np.array(other["keypoints_cam"])[:, 2]) < np.mean(np.array(labels["keypoints_cam"])[:, 2])
    return PLACES[2] if nearer else PLACES[3]


def facets_of(sample: Stored, tone: MeanColour | None) -> dict[str, list[str]]:
    """By what a sample can be found: the values that it has of each of TITLES; without a skin there is no tone."""
    labels = sample.labels
    keypoints = np.array(labels["keypoints_cam"])[None]
    seen = np.array([np.mean(np.array(labels["keypoints_visible"]) > 0)])
    groups = divide(view_angles_deg(keypoints, np.array([labels["side"] == "left"])), flexion_deg(keypoints), seen)
    found = {kind: [names[int(number[0])]] for kind, (number, names) in groups.items()}
    if tone is not None and len(sample.recipe.alpha) == len(tone.components):
        found["tone"] = tone_groups(typology_angle_deg(tone(np.array([sample.recipe.alpha]))))
    level = sample.hand_brightness
    if np.isfinite(level):
        found["light"] = [next(name for name, limit in BRIGHTNESS.items() if level < limit)]
    held = labels.get("object")
    found["held"] = [held["kind"] if held else NOTHING]
    occluder = labels.get("occluder")
    found["occluder"] = [occluder["kind"] if occluder else NOTHING]
    found["second"] = [place_of_second(labels)]
    found["worn"] = list(labels.get("clothing") or [NOTHING])
    found["side"] = [labels["side"]]
    return found


class Picker:
    """Chooses samples for the page while a dataset is read once, and counts what could be chosen."""

    def __init__(self, total: int) -> None:
        """`total` is the number of samples."""
        self._wanted = set(np.linspace(0, total - 1, min(total, SPREAD)).round().astype(int).tolist())
        self._position = 0
        self._kept: Counter[tuple[str, str]] = Counter()
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in TITLES}

    def takes(self, facets: Mapping[str, list[str]]) -> bool:
        """Counts the next sample, and says whether the page shows it."""
        pairs = [(name, value) for name, values in facets.items() for value in values]
        for name, value in pairs:
            self.counts[name][value] += 1
        taken = self._position in self._wanted or any(self._kept[pair] < OF_EACH for pair in pairs)
        self._kept.update(pairs if taken else ())
        self._position += 1
        return taken

    def facets(self) -> dict[str, dict[str, int]]:
        """{facet: {value: how many samples of the dataset have it}}, in the order of their scales, else the most frequent first."""
        return {name: _ordered(name, counts) for name, counts in self.counts.items() if counts}


def _ordered(name: str, counts: Counter[str]) -> dict[str, int]:
    none = np.zeros(0)
    scales = {kind: names for kind, (_, names) in divide(none, none, none).items()}
    scales |= {"tone": list(GROUPS), "light": list(BRIGHTNESS), "worn": [NOTHING, *CLOTHING], "second": list(PLACES)}
    values = scales.get(name) or [value for value, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]
    return {value: counts[value] for value in values if counts[value]}


def item_of(sample: Stored, facets: Mapping[str, list[str]]) -> dict[str, Any]:
    """One sample for the page. Raises HandsynthError when its vertices are damaged or missing."""
    labels, camera = sample.labels, sample.recipe.camera
    seen = sum(value > 0 for value in labels["keypoints_visible"])
    worn = ", ".join(name for name in facets["worn"] if name != NOTHING)
    held = "" if facets["held"] == [NOTHING] else f", holding {facets['held'][0]}"
    about = f"{labels['side']} hand, {facets['pose'][0]}, seen from {facets['view'][0]}, {seen} of 21 keypoints seen{held}"
    if facets["second"] != [PLACES[0]]:
        about += f", a second hand {facets['second'][0]} it"
    if facets["occluder"] != [NOTHING]:
        about += f", {facets['occluder'][0]} before it"
    arm, box, side = labels.get("arm"), labels["bbox_xyxy"], labels["image_size"]
    background = labels.get("background") or {}
    facts = [
        ("Side", labels["side"]),
        ("View", f"{facets['view'][0]} from the palm's normal"),
        ("Pose", f"{facets['pose'][0]} bend; row {sample.recipe.pose.bank_index} of the bank"),
        ("Keypoints seen", f"{seen} of 21"),
        ("Hand in the image", f"{max(box[2] - box[0], box[3] - box[1]):.0f} px of {side} px"),
        (
            "Camera",
            f"{camera.distance_m:.2f} m away, elevation {camera.elevation_deg:.0f} deg, azimuth {camera.azimuth_deg:.0f} deg",
        ),
        ("Skin tone", facets["tone"][0] if "tone" in facets else "not known here"),
        ("Lamps", _lamps(sample)),
        ("Wears", worn or NOTHING),
        ("Holds", facets["held"][0]),
        ("Second hand", facets["second"][0]),
        ("Before the hand", facets["occluder"][0]),
        ("Forearm", f"wrist bent {arm['flexion_deg']:.0f} deg to the palm" if arm else "none"),
        ("Background", f"{background.get('name', 'not known')} ({background.get('licence', 'licence not known')})"),
    ]
    vertices = decode_npy(sample.members.get("vertices.npy", b""), f"{sample.where}, vertices")
    return gallery_item(
        f"Sample {labels['index']}", about, _thumb(sample), side, np.array(labels["K"]), np.array(labels["keypoints_cam"]),
        labels["keypoints_visible"], vertices, facets, facts, outline=mask_outline(sample.mask),
    )  # fmt: skip


def _lamps(sample: Stored) -> str:
    lights = [f"{light.temperature_k:.0f} K" for light in sample.recipe.lights if light.temperature_k]
    measured = "a measured environment" if sample.recipe.environment else ""
    return ", ".join(filter(None, [measured, *lights])) or "ambient light alone"


def _thumb(sample: Stored) -> bytes:
    if sample.image.shape[0] <= THUMB_PX:
        return sample.members["jpg"]
    return encode_jpeg(cv2.resize(sample.image, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA), 85)


def mask_outline(mask: np.ndarray) -> str:
    """(H, W) bool -> the outlines as the path of an SVG [px; corner of the top-left pixel is (0, 0)]."""
    outlines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    found = (cv2.approxPolyDP(outline, 0.7, True)[:, 0] + 0.5 for outline in outlines if len(outline) > 3)
    return "".join("M" + "L".join(f"{x:g} {y:g}" for x, y in points) + "Z" for points in found)
