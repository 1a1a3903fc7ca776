"""Verify: a dataset against its index, its labels against their geometry, its geometry against its pixels."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from handsynth.annotate import label_hands
from handsynth.assets.objects.own import open_objects
from handsynth.core.camera import project
from handsynth.core.conventions import (
    ARM_PART,
    CLOTHING_PART,
    DEPTH_UNIT_M,
    JOINT_NAMES,
    OBJECT_PART,
    OCCLUDER_GAP_M,
    OCCLUDER_PART,
    OTHER_HAND_PART,
    OTHER_PARTS,
    READABLE_SCHEMAS,
    SCHEMA,
    TEXTURE_CLOTHING,
    VISIBLE_TOLERANCE_M,
)
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.hand import HandModel
from handsynth.core.index import is_crowd, read_index
from handsynth.core.named_hands import find_hand, open_hand
from handsynth.core.sample import FLOW, SCENE, SCENE_FACES, SCENE_VERTICES, decode_labels, decode_npy
from handsynth.core.shard import Members, read_shard, shard_name
from handsynth.dataset.crowd_checks import CrowdChecks
from handsynth.dataset.folder import Folder, open_folder
from handsynth.dataset.hand_checks import (
    POSED_M,
    REPROJECTION_PX,
    STRAY_PIXELS,
    STRAY_SHARE,
    check_hand_against,
    check_keypoints,
    check_light,
    check_pose,
    check_projections,
)
from handsynth.dataset.replay import Here, replay
from handsynth.dataset.selection import parse_selection
from handsynth.dataset.sidecars import disagreements
from handsynth.dataset.silhouette import silhouette
from handsynth.image.encode import chroma_of, decode_flow, decode_jpeg, decode_png
from handsynth.recipe.moments import moment_at
from handsynth.recipe.others import hand_recipes
from handsynth.recipe.recipe import Recipe, recipe_from_dict
from handsynth.recipe.spec import recorded_identity, spec_from_dict
from handsynth.scene.arm import make_arm
from handsynth.scene.company import Company, gather, surroundings
from handsynth.scene.held.things import Things
from handsynth.scene.pose import CameraHands, PoseStage
from handsynth.scene.wear.dress import Dress
from handsynth.visibility import Surface, beside_hand, clearance, front_at_pixels, fronts, keypoint_clearance, visible_share

SILHOUETTES = 256
"""So many samples, evenly spread, are posed anew and have their mask compared with a silhouette drawn from vertices.npy."""

OTHER_DEPTH_M, OTHER_DEPTH_SHARE = 0.001, 0.02
"""So much may the depth of so many pixels of forearm and clothing be away from that of their geometry, where they are seen edge-on
[m]."""

SHARE_ERROR, SHARE_OF_PIXELS = 0.001, 0.05
"""visible_share must be this near to what geometry gives, and to what mask and amodal have, which it counts on a lattice."""

FLOW_PX, FLOW_SHARE = 0.1, 0.02
"""The pass flow must take what pixels show so near to where the next frame has it, but for this share of them, where OpenGL's
corners, moved by 1/256 px, show another face [px]."""

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
    poses = None if hand is None else PoseStage(hand)
    things = None if hand is None else _find_things(hand, index, out, here, findings)
    crowds = CrowdChecks(index, poses, things) if is_crowd(index) else None
    stride = max(1, len(expected) // SILHOUETTES)
    position = 0
    before: dict[str, Any] | None = None  # labels of the sample before
    for number, entry in enumerate(index["shards"]):
        if findings.full:
            break
        wanted = expected[position : position + entry["count"]]
        for k, (where, members) in enumerate(_read_checked(folder, number, entry, wanted, findings)):
            try:
                if crowds is not None:
                    again = (position + k) % stride == 0
                    findings.silhouettes += crowds.check(members, where, wanted[k] if k < len(wanted) else -1, again)
                    findings.samples += 1
                    continue
                read = _check_sample(members, where, index, wanted[k] if k < len(wanted) else -1)
                _check_clip(read.labels, before, index["spec"].get("sequence"), where)
                before = read.labels
                if poses is not None and things is not None and _is_known(read, things) and (position + k) % stride == 0:
                    check_pose(read.labels, read.vertices, poses.model, where)
                    others = _pose_others(read, poses, things, where)
                    _check_silhouette(read, poses.model, others, where)
                    _check_visibility(read, poses.model, others, where)
                    if read.scene is not None:
                        _check_scene(read, poses.model, others, where)
                    if FLOW in read.layers:
                        _check_flow(read, poses, where)
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


def _find_things(hand: HandModel, index: dict[str, Any], out: Path | str, here: Here, findings: Findings) -> Things:
    """What knows the shapes of what is held; where the dataset's own objects are not on this machine, a note says so."""
    digest = index["assets"].get("objects")
    if digest is None:
        return Things(hand)
    named = here.objects or index["spec"].get("objects", "shapes")
    try:
        found = open_objects(Path(named))
    except AssetError as error:
        if here.objects is not None:
            raise
        findings.notes.append(f"samples with things of the user's were not posed again, give --objects: {error}")
        return Things(hand)
    if found.digest != digest:
        if here.objects is not None:
            raise UsageError(f"--objects {named} are not the things that {out} shows: give those")
        findings.notes.append(f"samples with things of the user's were not posed again, give --objects: {named} holds others")
        return Things(hand)
    return Things(hand, found.of_name)


def _is_known(read: "_Read", things: Things) -> bool:
    """Whether the shapes of what the sample shows are known here."""
    shown = (read.labels.get("object"), read.labels.get("occluder"), *(hand["object"] for hand in read.labels.get("hands") or ()))
    return all(thing is None or things.knows(thing["shape"]) for thing in shown)


def _check_index(index: dict[str, Any], out: Folder, findings: Findings) -> Sequence[int]:
    """Identity, counts and stray files; returns the indices that the dataset must hold."""
    try:
        values = index["spec"]
        if index["schema"] != SCHEMA:  # its grid may be one that is no longer taken; what is needed here is what follows
            values = {key: values[key] for key in ("name", "samples", "passes")}
        spec = spec_from_dict(values, f"{out}/index.json")
        expected = parse_selection(index["selection"]).indices(spec.samples, spec.together)
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


@dataclass(frozen=True, eq=False)
class _Read:
    """A sample that was read."""

    labels: dict[str, Any]
    mask: np.ndarray  # (H, W) bool
    vertices: np.ndarray  # (V, 3) float32
    layers: dict[str, np.ndarray]  # passes, as they are stored
    scene: tuple[np.ndarray, np.ndarray] | None  # (N, 3) and (F, 4), where the dataset has them

    @property
    def has_arm(self) -> bool:
        """Whether its labels name a forearm."""
        return self.labels.get("arm") is not None

    @property
    def has_clothing(self) -> bool:
        """Whether its labels name clothing with a surface of its own."""
        return bool(set(self.labels.get("clothing") or ()) - set(TEXTURE_CLOTHING))

    @property
    def holds(self) -> bool:
        """Whether its labels name something that is held."""
        return self.labels.get("object") is not None

    @property
    def others(self) -> list[int]:
        """Values of the parts pass beside those of the hand."""
        found = {
            ARM_PART: self.has_arm,
            CLOTHING_PART: self.has_clothing,
            OBJECT_PART: self.holds,
            OTHER_HAND_PART: bool(self.labels.get("hands")),
            OCCLUDER_PART: self.labels.get("occluder") is not None,
        }
        return [part for part, there in found.items() if there]


def _check_sample(members: Members, where: str, index: dict[str, Any], number: int) -> _Read:
    """Labels against geometry and pixels. Raises HandsynthError."""
    labels = decode_labels(members, where, index)
    if labels["dataset"] != index["dataset"] or labels["index"] != number:
        raise HandsynthError(f"{where}: belongs to another dataset or is another sample ({labels['index']!r:.20})")
    size = labels["image_size"]
    image = decode_jpeg(members.get("jpg", b""), where)
    mask = decode_png(members.get("mask.png", b""), f"{where}, mask")
    if image.shape != (size, size, 3) or mask.shape != (size, size) or not np.isin(mask, (0, 255)).all():
        raise HandsynthError(f"{where}: image {image.shape} or mask {mask.shape} is not {size} px wide, or the mask is not 0/255")
    vertices = decode_npy(members.get("vertices.npy", b""), f"{where}, vertices")
    if vertices.shape != (index["num_vertices"], 3) or vertices.dtype != np.float32 or not np.isfinite(vertices).all():
        raise HandsynthError(f"{where}: vertices.npy is not {index['num_vertices']} finite float32 points")
    if vertices[:, 2].min() <= 0:
        raise HandsynthError(f"{where}: vertices lie behind the camera")

    outline = check_projections(labels, vertices, index["fingertips"], where)
    for number, other in enumerate(labels.get("hands") or ()):
        check_keypoints(labels | other, f"{where}, other hand {number}")
    keypoints, xy = np.array(labels["keypoints_cam"]), np.array(labels["keypoints_xy"])
    rows, columns = np.nonzero(mask)
    low, high = outline.min(0) - 1, outline.max(0) + 1
    if not len(rows) or columns.min() < low[0] or columns.max() + 1 > high[0] or rows.min() < low[1] or rows.max() + 1 > high[1]:
        raise HandsynthError(f"{where}: the mask is empty or leaves the vertices' bounds")
    visible = np.array(labels["keypoints_visible"], bool)
    passes = [name for name in index["spec"]["passes"] if name != SCENE]
    layers = {name: decode_png(members.get(f"{name}.png", b""), f"{where}, {name}") for name in passes}
    scene = _read_scene(members, where) if SCENE in index["spec"]["passes"] else None
    read = _Read(labels, mask > 0, vertices, layers, scene)
    _check_passes(read, where)
    if labels["schema"] == SCHEMA:
        recipe = recipe_from_dict(labels["recipe"], where, len(labels["beta"]))
        if (chroma := chroma_of(members["jpg"], where)) != recipe.sensor.chroma:
            raise HandsynthError(f"{where}: the JPEG's chroma is {chroma}, the recipe's {recipe.sensor.chroma}")
        _check_against_recipe(read, recipe, where)
        check_light(labels, recipe, where)
    if "depth" in layers:
        _check_visible(layers["depth"], layers.get("parts"), xy, keypoints[:, 2], visible, labels["schema"], where)
    return read


def _read_scene(members: Members, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The mesh of what stands beside the hand, whose faces name vertices that are there. Raises HandsynthError."""
    vertices, faces = (decode_npy(members.get(name, b""), f"{where}, {name}") for name in (SCENE_VERTICES, SCENE_FACES))
    if vertices.ndim != 2 or vertices.shape[1] != 3 or vertices.dtype != np.float32 or not np.isfinite(vertices).all():
        raise HandsynthError(f"{where}: {SCENE_VERTICES} is not a list of finite float32 points")
    if faces.ndim != 2 or faces.shape[1] != 4 or faces.dtype != np.int32:
        raise HandsynthError(f"{where}: {SCENE_FACES} is not a list of four int32 each")
    if len(faces) and (faces[:, :3].min() < 0 or faces[:, :3].max() >= len(vertices)):
        raise HandsynthError(f"{where}: {SCENE_FACES} names vertices that {SCENE_VERTICES} does not have")
    return vertices, faces


def _check_scene(read: _Read, hand: HandModel, others: "_Others", where: str) -> None:
    """`scene` is the mesh of what the recipe names."""
    assert read.scene is not None
    (vertices, faces), (points, corners) = read.scene, beside_hand(hand, others.arm, others.beside)
    if not np.array_equal(faces, corners) or vertices.shape != points.shape or (np.abs(vertices - points) > POSED_M).any():
        raise HandsynthError(f"{where}: {SCENE_VERTICES} and {SCENE_FACES} are not what stands beside the hand by the recipe")


def _check_against_recipe(read: _Read, recipe: Recipe, where: str) -> None:
    """The labels name what the recipe does, and visible_share agrees with mask and amodal; nothing hides a bare hand."""
    labels = read.labels
    check_hand_against(labels, recipe, where)
    if labels["hands"] is None or len(labels["hands"]) != len(recipe.others):
        raise HandsynthError(f"{where}: hands are not the {len(recipe.others)} others of the recipe")
    for number, (own, other) in enumerate(zip(labels["hands"], hand_recipes(recipe, labels["image_size"]), strict=True)):
        check_hand_against(own, other, f"{where}, other hand {number}")
        if own["visible_share"] is None or not 0 <= own["visible_share"] <= 1:
            raise HandsynthError(f"{where}, other hand {number}: visible_share is {own['visible_share']!r:.20}, expected 0 to 1")
    if (labels["occluder"] is None) != (recipe.occluder is None):
        raise HandsynthError(f"{where}: occluder is not that of the recipe")
    share = labels["visible_share"]
    if share is None or not 0 <= share <= 1 or (share != 1 and not read.others):
        raise HandsynthError(f"{where}: visible_share is {share!r:.20}, expected {'0 to 1' if read.others else '1'}")
    if "amodal" in read.layers:
        pixels = read.mask.sum() / (read.layers["amodal"] > 0).sum()
        if abs(pixels - share) > SHARE_OF_PIXELS:
            raise HandsynthError(f"{where}: visible_share is {share}, mask and amodal give {pixels:.4f}")


CONSTANT = ("side", "image_size", "K", "beta", "clothing", "ambient_used", "background")
"""What no frame of a clip has otherwise than the frame before it; nor the recipe's skin and sensor, but for its noise."""


def _check_clip(labels: dict[str, Any], before: dict[str, Any] | None, sequence: dict[str, Any] | None, where: str) -> None:
    """`clip` follows from the index; and a frame goes on where the one before it, whose labels are `before`, leads to."""
    frames = sequence["frames"] if sequence else 0
    clip = labels.get("clip")
    if not frames:
        if clip is not None:
            raise HandsynthError(f"{where}: clip is {clip!r:.60}, and the dataset has no clips")
        return
    assert sequence is not None
    number, frame = divmod(labels["index"], frames)
    expected = {"number": number, "frame": frame, "time_s": round(frame / sequence["fps"], 6)}
    recipe = recipe_from_dict(labels["recipe"], where, len(labels["beta"]))
    own = recipe.clip
    if clip != expected or own is None or {name: getattr(own, name) for name in expected} != expected:
        raise HandsynthError(f"{where}: clip is {clip!r:.80}, expected {expected}")
    if own.last != (frame == frames - 1):
        raise HandsynthError(f"{where}: clip.last of the recipe is {own.last}")
    if before is None or not frame or before["index"] != labels["index"] - 1:
        return
    earlier = recipe_from_dict(before["recipe"], where, len(labels["beta"]))
    for name in CONSTANT:
        if labels[name] != before[name]:
            raise HandsynthError(f"{where}: {name} is not that of the frame before, in the same clip")
    sensors = (replace(one.sensor, noise_key=0) for one in (recipe, earlier))
    if recipe.alpha != earlier.alpha or recipe.held != earlier.held or recipe.worn != earlier.worn or len(set(sensors)) > 1:
        raise HandsynthError(f"{where}: skin, clothing, object or sensor are not those of the frame before, in the same clip")
    assert earlier.clip is not None  # or it would have been a fault
    after = earlier.clip.after
    if (after.theta, after.trans, after.camera) != (recipe.theta, recipe.trans, recipe.camera):
        raise HandsynthError(f"{where}: hand or camera are not where the frame before leads to")


def _check_flow(read: _Read, poses: PoseStage, where: str) -> None:
    """The pass flow at the pixels of the hand's vertices, against where the recipe has the same places of the surface next."""
    recipe = recipe_from_dict(read.labels["recipe"], where, poses.model.num_shapes)
    flow = decode_flow(read.layers[FLOW])
    if recipe.clip is None or recipe.clip.last:
        if not np.isnan(flow).all():
            raise HandsynthError(f"{where}: pass flow has movements, and no frame follows")
        return
    again = poses.pose([moment_at(recipe, 1)], len(flow))
    vertices, K = read.vertices.astype(np.float64), np.array(read.labels["K"])
    pixels = np.unique(np.floor(project(vertices, K)).astype(int), axis=0)
    pixels = pixels[((pixels >= 0) & (pixels < len(flow))).all(1)]
    pixels = pixels[read.mask[pixels[:, 1], pixels[:, 0]]]
    _, face = front_at_pixels(vertices, poses.model.closed_faces, K, pixels)
    pixels, face = pixels[face >= 0], face[face >= 0]
    if not len(pixels):
        return
    corners = poses.model.closed_faces[face]
    xy = project(vertices, K)[corners]  # (P, 3, 2)
    centre = pixels + 0.5
    b, c = np.linalg.solve((xy[:, 1:] - xy[:, :1]).swapaxes(1, 2), (centre - xy[:, 0])[..., None])[..., 0].T
    shares = np.stack([1 - b - c, b, c], 1) / vertices[corners, 2]  # linear on the screen; on the surface they sum to 1
    shares /= shares.sum(1, keepdims=True)
    there = project((shares[..., None] * again.vertices[0].astype(np.float64)[corners]).sum(1), K)
    error = np.linalg.norm(flow[pixels[:, 1], pixels[:, 0]] - (there - centre), axis=1)
    wrong = ~(error <= FLOW_PX)
    if wrong.sum() > STRAY_PIXELS + FLOW_SHARE * len(pixels):
        raise HandsynthError(
            f"{where}: pass flow is not the movement until the next frame ({wrong.sum()} of {len(pixels)} pixels differ)"
        )


_PASS_TYPES: dict[str, tuple[type, tuple[int, ...]]] = {
    "depth": (np.uint16, ()), "parts": (np.uint8, ()), "normal": (np.uint8, (3,)), "uv": (np.uint16, (3,)),
    "amodal": (np.uint8, ()), FLOW: (np.uint16, (3,)),
}  # fmt: skip
"""Type and channels of each pass."""

NORMAL_LENGTH = 0.02
"""Normals may be so much longer or shorter than 1: three components in steps of 2/255, rounded or cut off."""


def _check_passes(read: _Read, where: str) -> None:
    """Type and shape of each pass; that it covers the mask's pixels, and others only where forearm or clothing may be; and that its
    values can be true.
    """
    mask, z, seen = read.mask, read.vertices[:, 2], None
    for name, layer in read.layers.items():
        dtype, channels = _PASS_TYPES[name]
        if layer.dtype != dtype or layer.shape != mask.shape + channels:
            raise HandsynthError(f"{where}: pass {name} has shape {layer.shape} and type {layer.dtype}")
        if name == FLOW:  # of everything
            if (layer[..., 2] > 1).any() or layer[layer[..., 2] == 0].any():
                raise HandsynthError(f"{where}: pass flow: its third channel is not 0 or 1, or there are movements where it is 0")
            continue
        covered = layer.reshape(*mask.shape, -1).any(2)
        if ((covered != mask) & (mask | (not read.others or name == "uv"))).any():
            raise HandsynthError(f"{where}: pass {name} and the mask differ in {(covered != mask).sum()} pixels")
        if name in ("depth", "parts", "normal"):
            other, seen = seen, (name, covered)
            if other is not None and (other[1] != covered).any():
                raise HandsynthError(f"{where}: passes {other[0]} and {name} cover different pixels")
        values, wrong = layer[mask], ""
        if name == "depth" and (values.min() < z.min() / DEPTH_UNIT_M - 1 or values.max() > z.max() / DEPTH_UNIT_M + 1):
            wrong = f"{values.min()}..{values.max()} leaves the depths of the vertices"
        if name == "parts" and values.max() > len(JOINT_NAMES):
            wrong = f"{values.max()} is no part of a hand: it has {len(JOINT_NAMES)}"
        beside = layer[covered & ~mask]
        if name == "parts" and not np.isin(beside, read.others).all():
            value = beside[~np.isin(beside, read.others)][0]
            wrong = f"{value} beside the mask, where only {' and '.join(map(str, read.others))} may be"
        if name == "amodal" and (layer[covered] != 255).any():
            wrong = f"it holds {layer[covered].min()}, not 0 and 255"
        if name == "normal":
            length = np.linalg.norm(layer[covered] / 127.5 - 1, axis=1)
            if np.abs(length - 1).max() > NORMAL_LENGTH:
                wrong = f"{length[np.abs(length - 1).argmax()]:.2f} is the length of a normal, not 1"
        if name == "uv" and (values[:, 2] != 65535).any():
            wrong = f"its third channel holds {values[:, 2].min()} on the hand, not 65535"
        if wrong:
            raise HandsynthError(f"{where}: pass {name}: {wrong}")


def _check_visible(
    depth: np.ndarray, parts: np.ndarray | None, xy: np.ndarray, z: np.ndarray, visible: np.ndarray, schema: str, where: str
) -> None:
    """What the passes show in front of each keypoint agrees with keypoints_visible; one grey level of depth is free.

    OpenGL moves corners by 1/256 px, so a pixel whose centre lies on an outline may show what lies beyond it: a label is wrong when
    its pixel contradicts it and each of the eight around as well. Without the parts pass, what hides is not known to be another
    part: then only what no part could explain is wrong.

    Args:
        depth: (H, W) uint16, of the pass.
        parts: (H, W) uint8, of the pass; None without it.
        xy: (21, 2) [px].
        z: (21,) depths of the keypoints [m].
        visible: (21,) bool.
        schema: of the labels.
        where: names the sample in errors.
    """
    size = len(depth)
    inside = np.asarray(((xy >= 0) & (xy < size)).all(1))
    around = np.stack(np.meshgrid((-1, 0, 1), (-1, 0, 1)), -1).reshape(-1, 1, 2)
    column, row = np.moveaxis(np.clip(np.floor(np.where(inside[:, None], xy, 0)).astype(int) + around, 0, size - 1), -1, 0)
    front = np.where(depth[row, column] > 0, depth[row, column] * DEPTH_UNIT_M, np.inf)  # (9, 21)
    if parts is None and schema != READABLE_SCHEMAS[0]:
        most, least = front + VISIBLE_TOLERANCE_M - z, front + OCCLUDER_GAP_M - z
    else:
        part = np.maximum(parts[row, column], 1) - 1 if parts is not None else np.zeros_like(row)
        most = least = clearance(z, front, part, schema)
    disproved = np.where(visible, (most < -DEPTH_UNIT_M).all(0), (least > DEPTH_UNIT_M).all(0))
    wrong = np.flatnonzero(inside & disproved)
    if len(wrong):
        passes = "depth pass" if parts is None else "depth and parts passes"
        raise HandsynthError(f"{where}: keypoints_visible disagrees with the {passes} at keypoint {wrong[0]}")


@dataclass(frozen=True, eq=False)
class _Others:
    """What stands beside a hand before its camera."""

    arm: np.ndarray | None = None  # (A, 3) float32 the forearm
    beside: Sequence[Surface] = ()

    def __bool__(self) -> bool:
        return self.arm is not None or bool(self.beside)


def _pose_others(read: _Read, poses: PoseStage, things: Things, where: str) -> _Others:
    """All that the recipe names beside the hand, before the same camera; the labels of other hands are checked on the way."""
    if not read.others:
        return _Others()
    recipe, size = recipe_from_dict(read.labels["recipe"], where, poses.model.num_shapes), read.labels["image_size"]
    company = gather([recipe], size)
    again = poses.pose(company.recipes, size)
    if np.abs(again.vertices[0] - read.vertices).max() > POSED_M:
        raise HandsynthError(f"{where}: the recipe does not give the vertices, so that forearm and clothing cannot be checked")
    if read.labels["object"] != things.object_label(recipe, again.T_cam_world[0]):
        raise HandsynthError(f"{where}: object is not where the recipe has it")
    if read.labels.get("occluder") != things.occluder_label(recipe, again.T_cam_world[0]):
        raise HandsynthError(f"{where}: occluder is not where the recipe has it")
    pairs = zip(_dress(poses.model).worn(company.recipes, again), things.held(company.recipes, again), strict=True)
    beside = surroundings(company, again, [clothes + held for clothes, held in pairs], poses.model)
    if len(company.recipes) > 1:
        _check_other_hands(read.labels, company, again, beside, poses.model, things, where)
    return _Others(again.arms[0], beside[0])


@lru_cache(maxsize=2)
def _dress(hand: HandModel) -> Dress:
    """What hands of a model may wear."""
    return Dress(hand, make_arm(hand))


def _check_other_hands(
    labels: Mapping[str, Any],
    company: Company,
    again: CameraHands,
    beside: Sequence[Sequence[Surface]],
    hand: HandModel,
    things: Things,
    where: str,
) -> None:
    """`hands` are the hands of the recipe, posed and seen as their labels have it: all of these follow from it."""
    expected = label_hands(company.recipes, again, hand, labels["image_size"], beside, things)[1:]
    for number, (own, right) in enumerate(zip(labels["hands"], expected, strict=True)):
        name = f"{where}, other hand {number}"
        check_pose(own | {"T_cam_world": labels["T_cam_world"]}, again.vertices[1 + number], hand, name)
        if np.abs(np.array(own["bbox_xyxy"]) - right["bbox_xyxy"]).max() > REPROJECTION_PX:
            raise HandsynthError(f"{name}: bbox_xyxy does not bound the projected vertices")
        if abs(own["visible_share"] - right["visible_share"]) > SHARE_ERROR:
            raise HandsynthError(f"{name}: visible_share is {own['visible_share']}, geometry gives {right['visible_share']}")
        wrong = np.flatnonzero(np.array(own["keypoints_visible"]) != right["keypoints_visible"])
        if len(wrong):
            raise HandsynthError(f"{name}: keypoints_visible is wrong at keypoint {wrong[0]}")
        if own["object"] != right["object"]:
            raise HandsynthError(f"{name}: object is not where the recipe has it")


def _check_silhouette(read: _Read, hand: HandModel, others: _Others, where: str) -> None:
    """The mask against the pixel centres that triangles cover, and what forearm and clothing change in the passes.

    The mask is the hand's silhouette but for what they hide; `amodal` is all of it; and beside the mask there are forearm and
    clothing where the passes show them, at their depth.
    """
    labels, mask, vertices = read.labels, read.mask, read.vertices.astype(np.float64)
    K, size = np.array(labels["K"]), labels["image_size"]

    def compare(found: np.ndarray, drawn: np.ndarray, what: str) -> None:
        if (drawn != found).sum() > STRAY_PIXELS + STRAY_SHARE * drawn.sum():
            raise HandsynthError(f"{where}: {what} do not cover the same pixels ({(drawn != found).sum()} differ)")

    if not others:
        compare(mask, silhouette(project(vertices, K), hand.closed_faces, size), "mask and projected vertices")
        return
    arms = None if others.arm is None else others.arm[None].astype(np.float64)
    one = vertices[None], arms, hand, K[None], np.array([labels["side"] == "left"]), size, [others.beside]
    nearest = {part: layer[0] for part, layer in fronts(*one).items()}
    own, before = nearest[0], np.maximum.reduce([nearest[part] for part in OTHER_PARTS])
    compare(mask, (own > 0) & (own >= before), "mask and what forearm and clothing leave of the projected vertices")
    if "amodal" in read.layers:
        compare(read.layers["amodal"] > 0, own > 0, "pass amodal and projected vertices")
    for name in ("depth", "parts", "normal"):
        if name in read.layers:
            covered = read.layers[name].reshape(size, size, -1).any(2)
            compare(covered & ~mask, before > own, f"pass {name} beside the mask and the projected forearm and clothing")
    if "parts" in read.layers:
        for part, what in zip(OTHER_PARTS, ("forearm", "clothing", "object", "other hand", "occluder"), strict=True):
            others_nearest = np.maximum.reduce([layer for other, layer in nearest.items() if other != part])
            compare(read.layers["parts"] == part, nearest[part] > others_nearest, f"pass parts and the projected {what}")
    if "depth" in read.layers:
        both = (read.layers["depth"] > 0) & ~mask & (before > own)
        error = np.abs(read.layers["depth"][both] * DEPTH_UNIT_M - 1 / before[both])
        if (error > OTHER_DEPTH_M).sum() > STRAY_PIXELS + OTHER_DEPTH_SHARE * both.sum():
            raise HandsynthError(
                f"{where}: pass depth is not that of forearm and clothing ({(error > OTHER_DEPTH_M).sum()} pixels differ)"
            )
    share = float(visible_share(*one)[0])
    if abs(share - labels["visible_share"]) > SHARE_ERROR:
        raise HandsynthError(f"{where}: visible_share is {labels['visible_share']}, geometry gives {share:.4f}")


def _check_visibility(read: _Read, hand: HandModel, others: _Others, where: str) -> None:
    """keypoints_visible against the surface in front of each keypoint, computed anew."""
    labels = read.labels
    keypoints, xy = np.array(labels["keypoints_cam"]), np.array(labels["keypoints_xy"])
    K, size = np.array(labels["K"]), labels["image_size"]
    one = keypoints, xy, read.vertices, hand, K, size, labels["schema"], others.arm, [others.beside]
    inside, clear = keypoint_clearance(*one)
    visible = np.array(labels["keypoints_visible"], bool)
    wrong = np.flatnonzero((visible != (inside & (clear >= 0))) & (np.abs(clear) > 1e-6))
    if len(wrong):
        raise HandsynthError(f"{where}: keypoints_visible is wrong at keypoint {wrong[0]}")


def _replay_some(out: Path | str, indices: Sequence[int], count: int, assets: Path, here: Here, findings: Findings) -> None:
    """Replays `count` samples, evenly spread."""
    count = min(count, len(indices))
    chosen = [indices[k * len(indices) // count] for k in range(count)]
    for sample_index, result in zip(chosen, replay(out, chosen, assets, here), strict=True):
        findings.replayed += 1
        if not result.faithful:
            findings.add(f"sample {sample_index} made again differs in {', '.join(result.different)}")
