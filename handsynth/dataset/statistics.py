"""Images and figures about datasets: contact sheets, camera plots, and the numbers of `stats`."""

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from handsynth.core.conventions import (
    ARM_PART,
    CLOTHING,
    CLOTHING_PART,
    FINGER_JOINTS,
    FINGERS,
    OBJECT_PART,
    OCCLUDER_PART,
    OTHER_HAND_PART,
)
from handsynth.core.errors import AssetError
from handsynth.core.files import replacing
from handsynth.core.index import is_crowd, read_index
from handsynth.core.sample import CLIP_PASSES, FLOW, PASSES, Sample, decode_labels
from handsynth.dataset.columns import Columns, read_stored
from handsynth.dataset.draw import FINGER_COLORS, draw_labels
from handsynth.dataset.folder import Folder, open_folder, read_samples
from handsynth.dataset.replay import find_sample
from handsynth.image.encode import decode_flow, decode_jpeg, decode_png
from handsynth.recipe.crowd import crowd_recipe_from_dict
from handsynth.recipe.spec import DatasetSpec, grid_axes

_PART_COLORS = np.zeros((256, 3), np.uint8)
_PART_COLORS[1] = (200, 180, 160)
_PART_COLORS[ARM_PART], _PART_COLORS[CLOTHING_PART], _PART_COLORS[OBJECT_PART] = (120, 110, 105), (40, 120, 120), (150, 70, 150)
_PART_COLORS[OTHER_HAND_PART], _PART_COLORS[OCCLUDER_PART] = (90, 90, 150), (200, 60, 40)
for _finger, _joints in FINGER_JOINTS.items():
    for _k, _joint in enumerate(_joints):
        _PART_COLORS[_joint + 1] = np.array(FINGER_COLORS[FINGERS.index(_finger) + 1]) * (1 - 0.25 * _k)

STRIP = 10
"""Frames of a clip on a still sheet."""

GAP = 6
"""Width of the lines between the images of a contact sheet [px]."""


def contact_sheet(samples: list[Sample], zoom: int = 2) -> np.ndarray:
    """Samples -> one RGB image: each pair of rows shows images as they are, and beside them others with labels drawn.

    Half of the samples are clean and half have their labels drawn, in a chequered order, so that both can be evaluated.
    """
    columns = max(1, int(np.ceil(np.sqrt(len(samples)))))
    return _sheet([_tile(sample, (k // columns + k % columns) % 2 > 0, zoom) for k, sample in enumerate(samples)], columns)


def film_strips(samples: list[Sample], frames: int, zoom: int = 1) -> np.ndarray:
    """Samples of whole clips of so many frames -> one RGB image: a clip a row, STRIP frames of it evenly apart, clean."""
    shown = np.linspace(0, frames - 1, min(STRIP, frames)).round().astype(int).tolist()
    tiles = [_tile(samples[start + k], False, zoom) for start in range(0, len(samples), frames) for k in shown]
    return _sheet(tiles, len(shown))


def moving_sheet(samples: list[Sample], frames: int, zoom: int = 1) -> list[np.ndarray]:
    """Samples of whole clips of so many frames -> the frames of one animation: a contact sheet of clips that move together."""
    return [contact_sheet(samples[frame::frames], zoom) for frame in range(frames)]


def _tile(sample: Sample, with_labels: bool, zoom: int) -> np.ndarray:
    """One image of a sheet."""
    if with_labels:
        return draw_labels(sample.image, sample.labels, sample.mask, zoom)
    return np.repeat(np.repeat(sample.image, zoom, 0), zoom, 1) if zoom > 1 else sample.image


def _sheet(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    """Images of one size, in rows."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 255, np.uint8)
    for k, tile in enumerate(tiles):
        y, x = (GAP + (k // columns) * (height + GAP)), (GAP + (k % columns) * (width + GAP))
        sheet[y : y + height, x : x + width] = tile
    return sheet


def sample_sheet(out: Path | str, index: int, zoom: int = 2) -> np.ndarray:
    """One stored sample as a row: the image, its labels, its mask, and the passes that it has."""
    where, members = find_sample(out, index)
    labels = decode_labels(members, where, read_index(open_folder(out)))
    image = decode_jpeg(members.get("jpg", b""), where)
    mask = decode_png(members.get("mask.png", b""), f"{where}, mask")
    numbered = "keypoints_xy" not in labels  # a crowd's
    tiles = [draw_labels(image, labels, mask if numbered else mask > 0, zoom)]
    grey = mask * np.uint8(255 // max(len(labels["hands"]), 1)) if numbered else mask
    layers = [image, np.repeat(grey[..., None], 3, 2)]
    for name in (*PASSES, *CLIP_PASSES):
        if f"{name}.png" in members:
            layers.append(_viewable(name, decode_png(members[f"{name}.png"], where)))
    tiles += [np.repeat(np.repeat(layer, zoom, 0), zoom, 1) for layer in layers]
    return np.concatenate([tiles[1], tiles[0], *tiles[2:]], 1)


def _viewable(name: str, layer: np.ndarray) -> np.ndarray:
    """A pass as an RGB image for people."""
    if name == "depth":
        hand = layer > 0
        low, high = (int(layer[hand].min()), int(layer[hand].max())) if hand.any() else (0, 1)
        grey = np.where(hand, 255 - 200 * (layer.astype(float) - low) / max(high - low, 1), 0)
        return np.repeat(grey.astype(np.uint8)[..., None], 3, 2)
    if name == FLOW:
        return _flow_colors(decode_flow(layer))
    if name == "parts":
        return _PART_COLORS[layer]
    if name == "amodal":
        return np.repeat(layer[..., None], 3, 2)
    return layer if layer.dtype == np.uint8 else (layer >> 8).astype(np.uint8)


def _flow_colors(flow: np.ndarray) -> np.ndarray:
    """(H, W, 2) movement [px] -> RGB: its direction as hue, its length as saturation up to the longest; grey where unknown."""
    known = np.isfinite(flow).all(-1)
    x, y = np.moveaxis(np.where(known[..., None], flow, 0), -1, 0)
    length = np.hypot(x, y)
    hue = np.rint(np.rad2deg(np.arctan2(y, x)) % 360 / 2).astype(np.uint8) % 180
    levels = np.rint(255 * length / max(float(length.max()), 1.0)).astype(np.uint8)
    colors = cv2.cvtColor(np.stack([hue, levels, np.full_like(hue, 255)], -1), cv2.COLOR_HSV2RGB)
    return np.where(known[..., None], colors, np.uint8(128))


def save_animation(path: Path, frames: list[np.ndarray], fps: float) -> None:
    """Writes RGB images of one size that follow each other, for ever where the format can; the suffix chooses it, see ANIMATED.

    Raises AssetError when OpenCV has no codec for .mp4.
    """
    import imageio.v3 as iio

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        if path.suffix.lower() == ".mp4":
            _write_mp4(temporary, frames, fps)
            return
        quality: dict[str, Any] = {"quality": 80, "method": 4} if path.suffix.lower() == ".webp" else {}
        how: dict[str, Any] = {"extension": path.suffix.lower(), "plugin": "pillow", "duration": 1000 / fps, "loop": 0} | quality
        iio.imwrite(temporary, np.stack(frames), **how)


def _write_mp4(path: Path, frames: list[np.ndarray], fps: float) -> None:
    """H.264 where OpenCV has it, else MPEG-4; of even sides, which both need."""
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    if not writer.isOpened():
        raise AssetError("OpenCV cannot write MP4 here: name the sheet .webp or .gif")
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[:height, :width, ::-1]))
    writer.release()


ANIMATED = (".webp", ".gif", ".mp4")
"""Suffixes of files that move."""


def save_image(path: Path, image: np.ndarray) -> None:
    """Writes an RGB image; the suffix chooses the format."""
    import imageio.v3 as iio

    path.parent.mkdir(parents=True, exist_ok=True)
    quality: dict[str, Any] = {"quality": 92} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    iio.imwrite(path, image, **quality)


def plot_cameras(path: Path, spec: DatasetSpec, hand_vertices: np.ndarray, faces: np.ndarray) -> None:
    """Draws the camera positions of a grid on the unit sphere around the upright hand: the paper's Figure 4A.

    Args:
        path: image to write.
        spec: one whose camera order is "grid".
        hand_vertices: (V, 3) the upright hand in the world [m].
        faces: (F, 3).
    """
    from matplotlib.figure import Figure  # without pyplot, whose state is the caller's
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    elevations, azimuths = (np.deg2rad(a) for a in grid_axes(spec.camera))
    e, a = (g.ravel() for g in np.meshgrid(elevations, azimuths, indexing="ij"))
    # matplotlib's z is up, the world's y is up: (x, y, z) -> (z, x, y).
    sphere = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], 1)
    hand = (hand_vertices - (hand_vertices.min(0) + hand_vertices.max(0)) / 2)[:, [2, 0, 1]]
    hand = hand * (0.42 / np.abs(hand).max())
    normals = np.cross(hand[faces[:, 1]] - hand[faces[:, 0]], hand[faces[:, 2]] - hand[faces[:, 0]])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    shade = 0.55 + 0.45 * np.clip(normals @ np.array([0.75, 0.45, 0.5]), 0, 1)

    figure = Figure(figsize=(7.2, 6.4), dpi=150)
    axes: Any = figure.add_subplot(projection="3d", computed_zorder=False)
    view = np.array(
        [np.cos(np.deg2rad(18)) * np.cos(np.deg2rad(35)), np.cos(np.deg2rad(18)) * np.sin(np.deg2rad(35)), np.sin(np.deg2rad(18))]
    )
    behind = sphere @ view < 0
    for chosen, alpha, order in ((behind, 0.25, 0), (~behind, 0.95, 2)):
        dots = axes.scatter(
            *sphere[chosen].T, c=np.rad2deg(e[chosen]), s=7, cmap="viridis", vmin=-60, vmax=90, alpha=alpha, zorder=order
        )
    skin = np.clip(np.array([0.86, 0.66, 0.55]) * shade[:, None], 0, 1)
    axes.add_collection3d(Poly3DCollection(hand[faces], facecolors=skin, edgecolors=skin, linewidths=0.2, zorder=1))
    axes.set_box_aspect((1, 1, 1))
    axes.set(xlim=(-0.75, 0.75), ylim=(-0.75, 0.75), zlim=(-0.75, 0.75))
    axes.view_init(elev=18, azim=35)
    axes.set_axis_off()
    bar = figure.colorbar(dots, ax=axes, shrink=0.6, pad=0.02)
    bar.set_label("elevation [deg]")
    axes.set_title(f"{spec.name}: {len(elevations)} elevations x {len(azimuths)} azimuths = {len(e)} camera positions", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight")


def collect_stats(out: Path | str) -> dict[str, Any]:
    """What a dataset holds, in numbers: views, sizes, visibility, forearms, clothing, brightness, poses, backgrounds, light.

    Reads every sample.
    """
    folder = open_folder(out)
    index = read_index(folder)
    if is_crowd(index):
        return _crowd_stats(folder, index)
    found = Columns()
    for sample in read_stored(folder, index):
        found.add(sample)
    return summarise(index, found)


QUANTILES_PERCENT = (0, 5, 50, 95, 100)


def summarise(index: dict[str, Any], found: Columns) -> dict[str, Any]:
    """The numbers of `stats` from a dataset's index and its samples."""
    columns = {
        **{name: found.camera(name) for name in ("elevation_deg", "azimuth_deg", "distance_m")},
        "hand_px": found.hand_px,
        "mask_share": np.array(found.mask_share),
        "visible": found.of("keypoints_visible").mean(1),
        "visible_share": found.visible_share,
        "hand_brightness": np.array(found.hand_brightness),
    } if found.recipes else {}  # fmt: skip
    clothing = Counter(name for labels in found.labels for name in labels["clothing"] or ())
    objects, occluders = (Counter(labels[key]["kind"] for labels in found.labels if labels[key]) for key in ("object", "occluder"))
    others = [other for labels in found.labels for other in labels["hands"] or ()]
    columns |= {"other_hands_visible_share": np.array([other["visible_share"] for other in others])}
    recipes = found.recipes
    return _summary(index, len(recipes)) | {
        "clips": len({recipe.clip.number for recipe in recipes if recipe.clip}),
        "sides": dict(Counter(recipe.side for recipe in recipes)),
        "arms": sum(labels["arm"] is not None for labels in found.labels),
        "clothing": {name: clothing[name] for name in CLOTHING},
        "objects": dict(sorted(objects.items())),
        "other_hands": dict(sorted(Counter(other["side"] for other in others).items())),
        "occluders": dict(sorted(occluders.items())),
        "bank_poses": len({recipe.pose.bank_index for recipe in recipes}),
        "backgrounds": len({recipe.background.index for recipe in recipes}),
        "environments": len({recipe.environment.index for recipe in recipes if recipe.environment}),
        **_quantiles(columns),
    }


def _summary(index: dict[str, Any], samples: int) -> dict[str, Any]:
    """What there is of a dataset."""
    return {
        "name": index["name"],
        "dataset": index["dataset"],
        "samples": samples,
        "shards": len(index["shards"]),
        "bytes": sum(entry["bytes"] for entry in index["shards"]),
    }


def _quantiles(columns: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """Of each column that holds anything."""
    finite = {name: values[np.isfinite(values)] for name, values in columns.items()}
    found = {name: np.round(np.percentile(v, QUANTILES_PERCENT), 3).tolist() for name, v in finite.items() if len(v)}
    return {"quantiles_percent": list(QUANTILES_PERCENT)} | found


def _crowd_stats(folder: Folder, index: dict[str, Any]) -> dict[str, Any]:
    """What images of crowds hold: how many hands, how large, how much of each is seen, and what is there besides."""
    columns: dict[str, list[float]] = {k: [] for k in ("distance_m", "hand_px", "hand_share", "visible", "visible_share")}
    hands: Counter[int] = Counter()
    sides: Counter[str] = Counter()
    clothing: Counter[str] = Counter()
    cut = hidden = arms = arms_alone = things = 0
    for entry in index["shards"]:
        for number, members in read_samples(folder, entry["name"]):
            where = f"{entry['name']}, sample {number}"
            labels = decode_labels(members, where, index)
            width, height = labels["image_size"]
            recipe = crowd_recipe_from_dict(labels["recipe"], where, index["num_shapes"], width)
            hands[len(labels["hands"])] += 1
            arms_alone, things = arms_alone + len(recipe.arms), things + len(recipe.things)
            for hand in labels["hands"]:
                left, top, right, bottom = hand["bbox_xyxy"]
                length = max(right - left, bottom - top)
                columns["hand_px"].append(length)
                columns["hand_share"].append(length / height)
                columns["distance_m"].append(hand["keypoints_cam"][0][2])
                columns["visible"].append(float(np.mean(hand["keypoints_visible"])))
                columns["visible_share"].append(hand["visible_share"])
                sides[hand["side"]] += 1
                clothing.update(hand["clothing"])
                arms += hand["arm"] is not None
                cut += left < 0 or top < 0 or right > width or bottom > height
                hidden += hand["bbox_visible_xyxy"] is None
    return _summary(index, sum(hands.values())) | {
        "hands": {str(count): hands[count] for count in sorted(hands)},
        "sides": dict(sides),
        "cut": cut,
        "hidden": hidden,
        "arms": arms,
        "arms_alone": arms_alone,
        "things": things,
        "clothing": {name: clothing[name] for name in CLOTHING},
        **_quantiles({name: np.array(values) for name, values in columns.items()}),
    }
