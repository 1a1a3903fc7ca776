"""Charts of what a dataset covers: cameras, joints, poses, tones, light, size, visibility."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from handsynth.core.anatomy import JOINT_LIMITS_DEG
from handsynth.core.conventions import CLOTHING, JOINT_NAMES, KEYPOINT_NAMES
from handsynth.core.hand import HandModel, pose_hand
from handsynth.core.page.charts import Chart, bars, heat, histogram, ranges, sphere
from handsynth.core.page.gallery import packed_mesh
from handsynth.core.poses import PoseBank
from handsynth.core.rotation import rotmat_to_rotvec
from handsynth.dataset.columns import Columns
from handsynth.dataset.report.tone import GROUPS, MeanColour, tone_groups, typology_angle_deg
from handsynth.recipe.samplers import UPRIGHT

SPHERE_POINTS = 3000
"""So many cameras at most are drawn about the hand."""

BEYOND_DEG = 0.5
"""An angle that lies farther than this beyond its limit is counted."""


def camera_charts(found: Columns, hand: HandModel | None) -> Iterator[Chart]:
    """Where cameras stand, how far, and how large the hand is."""
    elevation, azimuth = found.camera("elevation_deg"), found.camera("azimuth_deg") % 360
    e, a = np.deg2rad(elevation), np.deg2rad(azimuth)
    directions = np.stack([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)], 1)
    some = np.linspace(0, len(e) - 1, min(len(e), SPHERE_POINTS)).round().astype(int)
    text = f"{len(some):,} camera positions as directions from the upright hand: blue from above, orange from below."
    yield sphere("sphere", "Cameras about the hand", directions[some], text, "" if hand is None else _upright(hand))
    cells = (np.linspace(0, 360, 25), np.linspace(-90, 90, 19))
    hit = np.histogram2d(azimuth, elevation, cells)[0] > 0
    text = f"Samples in cells of 15 by 10 deg; {100 * hit.mean():.0f} % of the cells hold at least one."
    yield heat(
        "cameras", "Elevation and azimuth of the cameras", azimuth, elevation, cells, ("azimuth [deg]", "elevation [deg]"), text
    )
    distance = found.camera("distance_m")
    yield histogram("distance", "Distance of the camera", distance, "distance [m]", _edges(distance, 24))
    share, axis = 100 * found.hand_px / found.of("image_size"), "share of the image's side [%]"
    top = max(100.0, 5 * np.ceil(np.percentile(share, 99) / 5))
    yield histogram("size", "Size in the image: longer side of the hand's box", share, axis, np.arange(0, top + 1, 5))


def _upright(hand: HandModel) -> str:
    """The flat hand, upright about the world's origin and 0.9 large, packed."""
    theta = np.zeros((hand.num_joints, 3))
    theta[0] = rotmat_to_rotvec(UPRIGHT)
    vertices = pose_hand(hand, theta, np.zeros(hand.num_shapes)).vertices
    vertices = vertices - (vertices.min(0) + vertices.max(0)) / 2
    return packed_mesh(vertices * (0.45 / np.abs(vertices).max()), np.zeros(3))


def _edges(values: np.ndarray, count: int) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return np.linspace(low, high if high > low else low + 1, count + 1)


def pose_charts(found: Columns, hand: HandModel | None, bank: PoseBank | None) -> Iterator[Chart]:
    """Joint angles against their limits, and the poses against those of the bank; what is not on this machine is left out."""
    theta = np.array([recipe.theta for recipe in found.recipes]).reshape(len(found.recipes), -1, 3)
    if hand is not None:
        labels, limits, angles = joint_angles(hand, theta)
        beyond = 100 * ((angles < limits[:, 0] - BEYOND_DEG) | (angles > limits[:, 1] + BEYOND_DEG)).mean()
        text = f"{len(labels)} degrees of freedom; {beyond:.1f} % of all angles lie more than {BEYOND_DEG} deg beyond a limit."
        quantiles = np.percentile(angles, (0, 5, 50, 95, 100), axis=0).T
        yield ranges("joints", "Joint angles and their limits", labels, limits, quantiles, "angle [deg]", text)
    if bank is not None:
        flat = bank.theta.reshape(len(bank.theta), -1)
        centre = flat.mean(0)
        _, strength, axes = np.linalg.svd(flat - centre, full_matrices=False)
        explained = 100 * (strength[:2] ** 2).sum() / max((strength**2).sum(), 1e-12)
        places, known = (theta[:, 1:].reshape(len(theta), -1) - centre) @ axes[:2].T, (flat - centre) @ axes[:2].T
        both = np.concatenate([places, known])
        edges = (_edges(both[:, 0], 36), _edges(both[:, 1], 36))
        used = len({recipe.pose.bank_index for recipe in found.recipes})
        text = (
            f"Finger angles along the bank's two main directions, which hold {explained:.0f} % of its variance. Orange dots are "
            f"the bank's poses, of which {used:,} of {len(flat):,} are used."
        )
        names = ("first principal component [rad]", "second principal component [rad]")
        x, y = places[:, 0], places[:, 1]
        yield heat("poses", "Pose space", x, y, edges, names, text, points=known, points_name="pose of the bank")


def joint_angles(hand: HandModel, theta: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Angles of the 23 degrees of freedom about a hand's own axes.

    Args:
        hand: the model, with its axes and limits.
        theta: (N, 16, 3) axis-angles of right hands relative to the flat hand [rad].

    Returns:
        names (23,), limits (23, 2) and angles (N, 23) [deg]; the wrist, which turns the whole hand, is left out.
    """
    free = [(j, a) for j, axes in enumerate(JOINT_LIMITS_DEG) for a, (least, greatest) in enumerate(axes) if j and least < greatest]
    free = sorted(free, key=lambda pair: (not JOINT_NAMES[pair[0]].startswith("thumb"), pair))
    names = [f"{JOINT_NAMES[joint]} {('flexion', 'abduction', 'twist')[axis]}" for joint, axis in free]
    limits = np.array([hand.joint_limits[joint, axis] for joint, axis in free])
    angles = np.stack([theta[:, joint] @ hand.joint_axes[joint, axis] for joint, axis in free], 1)
    return names, np.rad2deg(limits), np.rad2deg(angles)


def look_charts(found: Columns, tone: MeanColour | None) -> Iterator[Chart]:
    """Skin tones, lamps, brightness, visibility, and what is worn and held."""
    alphas = [recipe.alpha for recipe in found.recipes]
    if tone is not None and all(len(alpha) == len(tone.components) for alpha in alphas):
        yield _tones(tone(np.array(alphas)))
    yield from _lamps(found)
    level = np.array(found.hand_brightness)
    if np.isfinite(level).any():
        axis = "mean sRGB level, 0 to 255"
        yield histogram("brightness", "Brightness of the hand", level[np.isfinite(level)], axis, np.arange(0, 257, 8.0))
    seen = 100 * (found.of("keypoints_visible") > 0).mean(0)
    order = np.argsort(seen, kind="stable")
    names = [KEYPOINT_NAMES[k] for k in order]
    text = (
        f"{names[0]} is seen least, in {seen.min():.0f} % of samples, {names[-1]} most, in {seen.max():.0f} %; "
        f"on average {seen.mean():.0f} %."
    )
    yield bars("visibility", "Visibility by keypoint", names, seen[order].tolist(), "samples in which it is seen [%]", text)
    if len(found.visible_share):
        hidden, axis = 100 * (1 - found.visible_share), "hidden share of the silhouette [%]"
        yield histogram("hidden", "Part of the hand that something hides", hidden, axis, np.arange(0, 101, 5.0))
    things = _things(found)
    if things:
        shares = [100 * number / len(found.recipes) for number in things.values()]
        text = f"Share of the samples that show each; {_largest(list(things), shares)}"
        counts = list(things.values())
        yield bars("things", "What else is in the images", list(things), shares, "samples [%]", text, counts=counts)
    for label, title in (("object", "Things held"), ("occluder", "Things before the hand")):
        yield from _kinds(found, label, title)
    yield from _seconds(found)
    yield from _hiding(found)


def _tones(colours: np.ndarray) -> Chart:
    """(N, 3) mean colours of the hands [sRGB 0..255]."""
    groups = np.array(tone_groups(typology_angle_deg(colours)))
    there = [name for name in GROUPS if (groups == name).any()]
    means = [colours[groups == name].mean(0).round().astype(int) for name in there]
    counts = [int((groups == name).sum()) for name in there]
    shares = [100 * count / len(groups) for count in counts]
    text = f"By the individual typology angle of the hand's mean albedo, whose mean the bars show; {_largest(there, shares)}"
    rgb = [f"rgb({r},{g},{b})" for r, g, b in means]
    return bars("tones", "Skin tones", there, shares, "samples [%]", text, colours=rgb, counts=counts)


def _lamps(found: Columns) -> Iterator[Chart]:
    """Directions and temperatures, where there are lamps."""
    main = [max(recipe.lights, key=lambda light: sum(light.color)).direction_cam for recipe in found.recipes if recipe.lights]
    if main:
        x, y, z = np.array(main).T
        right, up = np.rad2deg(np.arctan2(x, -z)), np.rad2deg(np.arcsin(np.clip(-y, -1, 1)))
        behind = 100 * (np.abs(right) > 90).mean()
        text = f"0 deg is where the camera stands; {behind:.0f} % of the strongest lamps shine from behind the hand."
        cells = (np.linspace(-180, 180, 25), np.linspace(-90, 90, 19))
        yield heat("lamps", "Where the strongest lamp stands", right, up, cells, ("to the right [deg]", "up [deg]"), text)
    warmth = np.array([light.temperature_k for recipe in found.recipes for light in recipe.lights if light.temperature_k])
    if len(warmth):
        edges = _edges(warmth, 24)
        yield histogram("warmth", "Colour temperature of the lamps", warmth, "temperature [K]", edges, "lamps")


def _things(found: Columns) -> dict[str, int]:
    """How many samples show an arm, each thing that is worn, a thing held or before the hand, a second hand."""
    worn = Counter(name for labels in found.labels for name in labels["clothing"] or ())
    things = {"forearm": sum(labels["arm"] is not None for labels in found.labels)} | {name: worn[name] for name in CLOTHING}
    things |= {name: int(there.sum()) for name, there in _company(found).items()}
    return {name: number for name, number in things.items() if number}


def _company(found: Columns) -> dict[str, np.ndarray]:
    """(N,) which samples have what may hide the hand, beside what it wears."""
    keys = {"held thing": "object", "second hand": "hands", "thing before it": "occluder"}
    return {name: np.array([bool(labels[key]) for labels in found.labels]) for name, key in keys.items()}


def _kinds(found: Columns, label: str, title: str) -> Iterator[Chart]:
    """Kinds of things, and of what shape most of them are, where there are any."""
    things = [labels[label] for labels in found.labels if labels[label]]
    if things:
        kinds = dict(Counter(thing["kind"] for thing in things).most_common())
        shapes = Counter(thing["shape"] for thing in things)
        name, number = shapes.most_common(1)[0]
        text = f"{len(things):,} things of {len(shapes)} shapes; the most frequent is {name}, {100 * number / len(things):.0f} %."
        shares = [100 * count / len(things) for count in kinds.values()]
        yield bars(label, title, list(kinds), shares, "share of them [%]", text, counts=list(kinds.values()))


def _seconds(found: Columns) -> Iterator[Chart]:
    """How near second hands come, and where in the image they are, seen from the labelled one, where there are any."""
    pairs = [(labels, other) for labels in found.labels for other in labels["hands"] or ()]
    if not pairs:
        return
    first = np.array([labels["keypoints_cam"] for labels, _ in pairs])
    second = np.array([other["keypoints_cam"] for _, other in pairs])
    gap = 1000 * np.array([np.linalg.norm(a[:, None] - b, axis=-1).min() for a, b in zip(first, second, strict=True)])
    axis = "smallest distance between keypoints [mm]"
    yield histogram("second", "How near second hands are", gap, axis, np.arange(0, max(50.0, gap.max()) + 10, 10), "second hands")
    boxes, others = (np.array([hand["bbox_xyxy"] for hand in hands]) for hands in zip(*pairs, strict=True))
    size = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True)
    right, down = ((others[:, :2] + others[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2 / size).T
    one_side = 100 * np.mean([labels["side"] == other["side"] for labels, other in pairs])
    text = f"Middle of its box from that of the labelled hand's, in sizes of the latter; {one_side:.0f} % are of the same side."
    cells = (np.linspace(-2, 2, 21), np.linspace(-2, 2, 21))
    places = np.clip(right, -1.99, 1.99), np.clip(-down, -1.99, 1.99)
    yield heat("second_place", "Where second hands are in the image", *places, cells, ("to the right", "up"), text)


def _hiding(found: Columns) -> Iterator[Chart]:
    """How much of the hand is hidden, by what is there, where anything is."""
    if len(found.visible_share) != len(found.labels):
        return
    company = {name: there for name, there in _company(found).items() if there.any()}
    alone = ~np.any(list(company.values()), axis=0) if company else np.zeros(0, bool)
    rows = ({"none of them": alone} if alone.any() else {}) | company
    if company:
        hidden = [100 * float(1 - found.visible_share[there].mean()) for there in rows.values()]
        text = "Mean hidden share of the silhouette, of the samples that have each, whatever else they have."
        counts = [int(there.sum()) for there in rows.values()]
        yield bars("hiding", "What hides the hand", list(rows), hidden, "hidden share [%]", text, counts=counts)


def _largest(names: list[str], shares: list[float]) -> str:
    k = int(np.argmax(shares))
    return f"the largest is {names[k]}, {shares[k]:.0f} %."
