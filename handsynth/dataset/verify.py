"""Verify: a dataset against its index, its labels against their geometry, its geometry against its pixels."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from handsynth.annotate import depth_at_pixels
from handsynth.core.camera import project, transform
from handsynth.core.conventions import DEPTH_UNIT_M, SCHEMA, VISIBLE_TOLERANCE_M
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.hand import HandModel, keypoints_from_vertices, mirror_points, mirror_theta, pose_hand
from handsynth.core.index import read_index
from handsynth.core.named_hands import find_hand, open_hand
from handsynth.core.sample import decode_labels, decode_npy
from handsynth.core.shard import Members, read_shard, shard_name
from handsynth.dataset.folder import Folder, open_folder
from handsynth.dataset.replay import Here, replay
from handsynth.dataset.selection import parse_selection
from handsynth.dataset.sidecars import disagreements
from handsynth.dataset.silhouette import silhouette
from handsynth.image.encode import decode_jpeg, decode_png
from handsynth.recipe.spec import recorded_identity, spec_from_dict
from handsynth.render.surface import make_surface

REPROJECTION_PX = 0.01
"""keypoints_cam through K must land this near keypoints_xy; labels are rounded to 1e-6 m and 1e-4 px."""

POSED_M = 5e-6
"""Labels posed anew must give the vertices to this [m]; both are rounded to 1e-6."""

SILHOUETTES = 256
"""So many samples, evenly spread, are posed anew and have their mask compared with a silhouette drawn from vertices.npy."""

STRAY_PIXELS, STRAY_SHARE = 4, 0.002
"""So many pixels, and this share of the hand's, may differ between the two: OpenGL snaps vertices to 1/256 px."""

MAX_FAULTS = 100
"""After so many faults the search stops."""


@dataclass
class Findings:
    """What verify found."""

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what could not be checked here, and why
    samples: int = 0
    silhouettes: int = 0
    replayed: int = 0

    def add(self, fault: str) -> None:
        """Records a fault."""
        self.faults.append(fault)

    @property
    def full(self) -> bool:
        """Whether enough faults were found to stop."""
        return len(self.faults) >= MAX_FAULTS


def verify(out: Path | str, assets: Path, replays: int = 0, here: Here = Here()) -> Findings:
    """Checks a whole dataset, in a folder or behind an address; every fault becomes one sentence that names shard and sample.

    With `replays` N, N samples are made again and compared: bytes on the driver of their shard, labels and vertices on another.
    Poses and silhouettes need the dataset's hand: where it is not found, a note says so. Raises HandsynthError when there is no
    readable index at all, UsageError when the hand or the assets given are not the dataset's.
    """
    folder = open_folder(out)
    index = read_index(folder)
    findings = Findings()
    expected = _check_index(index, folder, findings)
    hand = _find_hand(index, folder, assets, here, findings)
    faces = None if hand is None else closed_faces(hand)
    stride = max(1, len(expected) // SILHOUETTES)
    position = 0
    for number, entry in enumerate(index["shards"]):
        if findings.full:
            break
        wanted = expected[position : position + entry["count"]]
        for k, (where, members) in enumerate(_read_checked(folder, number, entry, wanted, findings)):
            try:
                labels, mask, vertices = _check_sample(members, where, index, wanted[k] if k < len(wanted) else -1)
                if hand is not None and faces is not None and (position + k) % stride == 0:
                    _check_pose(labels, vertices, hand, where)
                    _check_silhouette(vertices, faces, mask, labels, where)
                    findings.silhouettes += 1
                findings.samples += 1
            except HandsynthError as error:
                findings.add(str(error))
            if findings.full:
                break
        position += entry["count"]
    if replays and not findings.faults:
        _replay_some(out, expected, replays, assets, here, findings)
    return findings


def _find_hand(index: dict[str, Any], out: Folder, assets: Path, here: Here, findings: Findings) -> HandModel | None:
    """The dataset's hand; None with a note where it is not on this machine."""
    if here.hand is not None:
        given = open_hand(here.hand, assets)
        if given.digest != index["assets"].get("hand"):
            raise UsageError(f"--hand {here.hand} is not the hand {index.get('hand')!r} that {out} shows: give that one")
        return given
    try:
        return find_hand(index, out, assets=assets)
    except AssetError as error:
        findings.notes.append(f"labels were not posed again and no silhouette was compared: {error}")
        return None


def _check_index(index: dict[str, Any], out: Folder, findings: Findings) -> Sequence[int]:
    """Identity, counts and stray files; returns the indices that the dataset must hold."""
    try:
        values = index["spec"]
        if index["schema"] != SCHEMA:  # its grid may be one that is no longer taken; what is needed here is what follows
            values = {key: values[key] for key in ("name", "samples", "passes")}
        spec = spec_from_dict(values, f"{out}/index.json")
        expected = parse_selection(index["selection"]).indices(spec.samples)
        entries = [(e["name"], e["count"], e["bytes"], e["sha256"]) for e in index["shards"]]
        if recorded_identity(index) != index["dataset"]:
            findings.add("index.json: the dataset's identity does not follow from its spec and assets")
    except (KeyError, TypeError, AttributeError, UsageError) as error:
        raise HandsynthError(f"{out}/index.json is damaged: {error!r:.200}") from None
    if (
        not all(type(tip) is int and 0 <= tip < index["num_vertices"] for tip in index["fingertips"])
        or len(index["fingertips"]) != 5
    ):
        raise HandsynthError(f"{out}/index.json is damaged: fingertips {index['fingertips']!r:.60}")
    names = [name for name, *_ in entries]
    if names != [shard_name(k) for k in range(len(names))]:
        findings.add(f"index.json: shards are not named {shard_name(0)} and on without gaps")
    if not all(isinstance(c, int) and c >= 0 for _, c, *_ in entries) or sum(c for _, c, *_ in entries) != len(expected):
        raise HandsynthError(f"{out}/index.json: its shards do not hold {len(expected)} samples in all")
    for stray in sorted({name for name in out.list() if name.endswith(".tar") and name[0] != "."} - set(names)):
        findings.add(f"{stray} lies in the folder but not in index.json: it is no part of the dataset, delete it")
    for sentence in disagreements(out, index):
        findings.add(sentence)
    return expected


def _read_checked(
    out: Folder, number: int, entry: dict[str, Any], wanted: Sequence[int], findings: Findings
) -> Iterator[tuple[str, Members]]:
    """Yields the samples of a shard whose bytes are those of the index; otherwise records the fault."""
    name = shard_name(number)
    try:
        data = out.read(name)
    except OSError as error:
        findings.add(f"{name} cannot be read: {error.strerror or error}")
        return
    if len(data) != entry["bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
        findings.add(f"{name} has other bytes than index.json says: run `handsynth generate` again to repair it")
        return
    found = []
    try:
        for sample_index, members in read_shard(data):
            found.append(sample_index)
            yield f"{name}, sample {sample_index}", members
    except HandsynthError as error:
        findings.add(f"{name}: {error}")
        return
    if found != list(wanted):
        missing = sorted(set(wanted) - set(found))[:3]
        findings.add(f"{name} holds other samples than its place in the dataset asks for (first missing: {missing})")


def _check_sample(
    members: Members, where: str, index: dict[str, Any], number: int
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Labels against geometry and pixels: returns labels, (H, W) bool mask and (V, 3) vertices. Raises HandsynthError."""
    labels = decode_labels(members, where, index)
    if labels["dataset"] != index["dataset"] or labels["index"] != number:
        raise HandsynthError(f"{where}: belongs to another dataset or is another sample ({labels['index']!r:.20})")
    size, K = labels["image_size"], np.array(labels["K"])
    image = decode_jpeg(members.get("jpg", b""), where)
    mask = decode_png(members.get("mask.png", b""), f"{where}, mask")
    if image.shape != (size, size, 3) or mask.shape != (size, size) or not np.isin(mask, (0, 255)).all():
        raise HandsynthError(f"{where}: image {image.shape} or mask {mask.shape} is not {size} px wide, or the mask is not 0/255")
    vertices = decode_npy(members.get("vertices.npy", b""), f"{where}, vertices")
    if vertices.shape != (index["num_vertices"], 3) or vertices.dtype != np.float32 or not np.isfinite(vertices).all():
        raise HandsynthError(f"{where}: vertices.npy is not {index['num_vertices']} finite float32 points")
    if vertices[:, 2].min() <= 0:
        raise HandsynthError(f"{where}: vertices lie behind the camera")

    keypoints, xy = np.array(labels["keypoints_cam"]), np.array(labels["keypoints_xy"])
    error_px = np.abs(project(keypoints, K) - xy).max()
    if error_px > REPROJECTION_PX:
        raise HandsynthError(f"{where}: keypoints_cam projects {error_px:.3f} px away from keypoints_xy")
    if np.abs(keypoints[4::4] - vertices[index["fingertips"]]).max() > 2e-6:
        raise HandsynthError(f"{where}: fingertips are not the vertices of table {labels['fingertip_table']!r}")
    outline = project(vertices.astype(np.float64), K)
    if np.abs(np.concatenate([outline.min(0), outline.max(0)]) - labels["bbox_xyxy"]).max() > REPROJECTION_PX:
        raise HandsynthError(f"{where}: bbox_xyxy does not bound the projected vertices")
    rows, columns = np.nonzero(mask)
    low, high = outline.min(0) - 1, outline.max(0) + 1
    if not len(rows) or columns.min() < low[0] or columns.max() + 1 > high[0] or rows.min() < low[1] or rows.max() + 1 > high[1]:
        raise HandsynthError(f"{where}: the mask is empty or leaves the vertices' bounds")
    visible = np.array(labels["keypoints_visible"], bool)
    if (visible & ((xy < 0) | (xy >= size)).any(1)).any():
        raise HandsynthError(f"{where}: a keypoint outside the image is called visible")
    for name in index["spec"]["passes"]:
        layer = decode_png(members.get(f"{name}.png", b""), f"{where}, {name}")
        if layer.shape[:2] != (size, size):
            raise HandsynthError(f"{where}: pass {name} has shape {layer.shape}")
        if name == "depth":
            _check_depth(layer, xy, keypoints, visible, where)
    return labels, mask > 0, vertices


def _check_depth(layer: np.ndarray, xy: np.ndarray, keypoints: np.ndarray, visible: np.ndarray, where: str) -> None:
    """A keypoint is visible exactly when the depth image has nothing nearer in front of it; one grey level of slack."""
    inside = ((xy >= 0) & (xy < len(layer))).all(1)
    column, row = np.floor(xy[inside]).astype(int).T
    depth = layer[row, column] * DEPTH_UNIT_M
    gap = np.where(depth == 0, np.inf, depth + VISIBLE_TOLERANCE_M - keypoints[inside, 2])
    wrong = (visible[inside] != (gap >= 0)) & (np.abs(gap) > DEPTH_UNIT_M)
    if wrong.any():
        first = np.flatnonzero(inside)[wrong][0]
        raise HandsynthError(f"{where}: keypoints_visible disagrees with the depth pass at keypoint {first}")


def _check_pose(labels: dict[str, Any], vertices: np.ndarray, hand: HandModel, where: str) -> None:
    """theta, beta, trans and T_cam_world, posed anew, give the vertices; the vertices give the keypoints."""
    theta, trans, is_left = np.array(labels["theta"]).reshape(-1, 3), np.array(labels["trans"]), labels["side"] == "left"
    if is_left:
        theta, trans = mirror_theta(theta), mirror_points(trans)
    world = pose_hand(hand, theta, np.array(labels["beta"]), trans).vertices
    posed = transform(np.array(labels["T_cam_world"]), mirror_points(world) if is_left else world)
    if np.abs(posed - vertices).max() > POSED_M:
        raise HandsynthError(f"{where}: theta, beta, trans, side and T_cam_world do not give the vertices")
    keypoints = keypoints_from_vertices(hand, vertices.astype(np.float64))
    if np.abs(keypoints - np.array(labels["keypoints_cam"])).max() > POSED_M:
        raise HandsynthError(f"{where}: keypoints_cam are not those of the vertices")


def _check_silhouette(vertices: np.ndarray, faces: np.ndarray, mask: np.ndarray, labels: dict[str, Any], where: str) -> None:
    """The mask against the pixel centres that triangles cover, and visibility against depths computed anew."""
    K = np.array(labels["K"])
    drawn = silhouette(project(vertices.astype(np.float64), K), faces, labels["image_size"])
    if (drawn != mask).sum() > STRAY_PIXELS + STRAY_SHARE * drawn.sum():
        raise HandsynthError(f"{where}: mask and projected vertices do not cover the same pixels ({(drawn != mask).sum()} differ)")
    size, keypoints, points = labels["image_size"], np.array(labels["keypoints_cam"]), np.array(labels["keypoints_xy"])
    inside = ((points >= 0) & (points < size)).all(1)
    depth = depth_at_pixels(vertices.astype(np.float64), faces, K, np.floor(np.where(inside[:, None], points, 0)))
    gap = depth + VISIBLE_TOLERANCE_M - keypoints[:, 2]
    wrong = (np.array(labels["keypoints_visible"], bool) != (inside & (gap >= 0))) & (np.abs(gap) > 1e-6)
    if wrong.any():
        raise HandsynthError(f"{where}: keypoints_visible is wrong at keypoint {np.flatnonzero(wrong)[0]}")


def closed_faces(hand: HandModel) -> np.ndarray:
    """(F + cap, 3) faces of the hand with its wrist closed, as it is drawn."""
    return make_surface(hand, np.zeros((1, 2)), np.zeros_like(hand.faces)).closed_faces


def _replay_some(out: Path | str, indices: Sequence[int], count: int, assets: Path, here: Here, findings: Findings) -> None:
    """Replays `count` samples, evenly spread."""
    count = min(count, len(indices))
    chosen = [indices[k * len(indices) // count] for k in range(count)]
    for sample_index, result in zip(chosen, replay(out, chosen, assets, here), strict=True):
        findings.replayed += 1
        if not result.faithful:
            findings.add(f"sample {sample_index} made again differs in {', '.join(result.different)}")
