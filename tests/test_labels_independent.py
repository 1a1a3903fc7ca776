"""Labels hold without our code: read with tarfile, json, numpy and Pillow, drawn anew by pyrender, and nothing else.

Nothing of handsynth is imported here. Hand, forearm and clothing are drawn from `vertices.npy`, the faces of the hand's file, and
the pass `scene`; that `scene` is what the recipe names is what `handsynth verify` checks. Each check also runs on labels made wrong
on purpose, and must notice.
"""

import io
import json
import os
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PROJECTION_PX = 0.01
LEAST_IOU = 0.99
LEAST_PARTS = 0.99
FOREARM, CLOTHING, OBJECT, OTHER_HAND, OCCLUDER = range(17, 22)  # in parts
SHARE = 0.03  # visible_share is counted on a lattice of pixels
DEPTH_M = 0.0005
GREY_LEVEL_M = 1e-4  # of the depth pass
SAMPLES = {"toy": 48, "embedded": 200, "together": 200}


@dataclass(frozen=True, eq=False)
class Read:
    """One sample as an external reader sees it."""

    key: str
    labels: dict
    vertices: np.ndarray  # (V, 3) camera frame [m]
    mask: np.ndarray  # (H, W) bool, what is seen of the hand
    depth: np.ndarray  # (H, W) [m], 0 = background
    parts: np.ndarray  # (H, W) 1 + joint that moves the surface most, 17 and on = FOREARM and on, 0 = background
    amodal: np.ndarray  # (H, W) bool, the whole hand
    beside: tuple[np.ndarray, np.ndarray]  # (N, 3) [m] and (F, 4): what is drawn beside the hand; the last column is its part

    @property
    def K(self) -> np.ndarray:
        return np.array(self.labels["K"])


@dataclass(frozen=True, eq=False)
class Whole:
    """A whole dataset, and the surface of its hand."""

    name: str
    index: dict
    samples: list[Read]
    faces: np.ndarray
    parts: np.ndarray  # (F,) as in the parts pass
    cap: np.ndarray  # (R - 2, 3) a fan over the open wrist

    def meshes(self, sample: Read) -> list[tuple[np.ndarray, np.ndarray, int]]:
        """Everything before the camera: vertices, faces and part."""
        vertices, faces = sample.beside
        found = [(sample.vertices, self.faces[self.parts == part], int(part)) for part in np.unique(self.parts)]
        found += [(vertices, faces[faces[:, 3] == part, :3], int(part)) for part in np.unique(faces[:, 3])]
        return found if has_arm(sample) else [*found, (sample.vertices, self.cap, 1)]


def image(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def fan_over_hole(faces: np.ndarray) -> np.ndarray:
    """(R - 2, 3) faces over the one hole of a mesh."""
    edges = {(int(f[k]), int(f[(k + 1) % 3])) for f in faces for k in range(3)}
    following = {a: b for a, b in edges if (b, a) not in edges}
    rim = [next(iter(following))]
    while following[rim[-1]] != rim[0]:
        rim.append(following[rim[-1]])
    assert len(rim) == len(following)
    return np.array([(rim[0], rim[k + 1], rim[k]) for k in range(1, len(rim) - 1)])


def read_dataset(name: str, folder: Path, hand_file: Path) -> Whole:
    index = json.loads((folder / "index.json").read_text())
    samples = []
    for shard in index["shards"]:
        files: dict[str, dict[str, bytes]] = {}
        with tarfile.open(folder / shard["name"]) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                files.setdefault(key, {})[extension] = tar.extractfile(member).read()
        for key, found in files.items():
            vertices = np.load(io.BytesIO(found["vertices.npy"]))
            depth = image(found["depth.png"]) * index["conventions"]["depth_unit_m"]
            layers = image(found["mask.png"]) > 0, depth, image(found["parts.png"]), image(found["amodal.png"]) > 0
            beside = tuple(np.load(io.BytesIO(found[f"scene.{name}.npy"])) for name in ("vertices", "faces"))
            samples.append(Read(key, json.loads(found["json"]), vertices.astype(float), *layers, beside))
    hand = np.load(hand_file)
    faces = hand["faces"]
    return Whole(name, index, samples, faces, hand["weights"][faces].sum(1).argmax(1) + 1, fan_over_hole(faces))


@pytest.fixture(scope="module", params=["toy", "embedded", "together"])
def whole(request) -> Whole:
    made = request.getfixturevalue(f"{request.param}_dataset")
    return read_dataset(request.param, made.folder, made.hand_file)


@pytest.fixture(scope="module")
def draw(pyrender_renderer):
    """([(vertices, faces, part), ...], K, size) -> (size, size) parts and depth [m] at pixel centres, 0 = background.

    Both sides of every face are drawn. pyrender's images have four samples in a pixel, of which its depth takes the first; drawn as
    a segmentation they have one, in the middle. (The fixture `pyrender_renderer` is there so that no renderer is deleted while
    another works.)
    """
    os.environ["PYOPENGL_PLATFORM"] = "egl"
    import pyrender

    renderer = pyrender.OffscreenRenderer(64, 64)
    KEPT.append(renderer)

    def drawn(meshes: list, K: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        renderer.viewport_width = renderer.viewport_height = size
        scene, colors = pyrender.Scene(), {}
        for vertices, faces, part in meshes:
            opengl = (vertices * [1, -1, -1]).astype(np.float32)  # y up, z backward
            both = np.concatenate([faces, faces[:, ::-1]])
            primitive = pyrender.Primitive(positions=opengl, indices=both, mode=pyrender.GLTF.TRIANGLES)
            colors[scene.add(pyrender.Mesh([primitive]))] = (part, part, part)
        scene.add(pyrender.IntrinsicsCamera(K[0, 0], K[1, 1], K[0, 2], K[1, 2], znear=0.05, zfar=15))
        color, depth = renderer.render(scene, flags=pyrender.RenderFlags.SEG, seg_node_map=colors)
        return np.where(depth > 0, color[..., 0], 0), depth

    return drawn


KEPT: list = []


def project(points: np.ndarray, K: np.ndarray) -> np.ndarray:
    xyz = points @ K.T
    return xyz[:, :2] / xyz[:, 2:]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def projections_agree(sample: Read, index: dict) -> bool:
    """keypoints_cam, and the fingertips among the vertices, project onto keypoints_xy."""
    xy = np.array(sample.labels["keypoints_xy"])
    tips = sample.vertices[index["fingertips"]]
    keypoints = np.abs(project(np.array(sample.labels["keypoints_cam"]), sample.K) - xy).max()
    return max(keypoints, np.abs(project(tips, sample.K) - xy[4::4]).max()) <= PROJECTION_PX


def box_bounds(sample: Read) -> bool:
    """bbox_xyxy is the bounds of the projected vertices."""
    xy = project(sample.vertices, sample.K)
    return np.abs(np.array(sample.labels["bbox_xyxy"]) - [*xy.min(0), *xy.max(0)]).max() <= PROJECTION_PX


def visibility_agrees(sample: Read, index: dict) -> bool:
    """Visible exactly when in the image and what the passes show in front of the keypoint does not hide it; one grey level is free.

    The keypoint's own parts may lie as far in front as the tolerance, any other part no farther than the occluder's gap.
    """
    stated, size = index["conventions"], sample.labels["image_size"]
    for k, (x, y) in enumerate(sample.labels["keypoints_xy"]):
        visible = sample.labels["keypoints_visible"][k] == 1
        if not (0 <= x < size and 0 <= y < size):
            if visible:
                return False
            continue
        depth, part = sample.depth[int(y), int(x)], int(sample.parts[int(y), int(x)]) - 1
        if part < 0:  # background
            if not visible:
                return False
            continue
        free = stated["visible_tolerance_m"] if part in stated["keypoint_parts"][k] else stated["occluder_gap_m"]
        hidden_by = sample.labels["keypoints_cam"][k][2] - depth - free
        if visible != (hidden_by <= 0) and abs(hidden_by) > GREY_LEVEL_M:
            return False
    return True


def test_the_dataset_is_large_enough(whole):
    """200 samples of the embedded hand; right and left hands, with forearms and without, every index once."""
    assert len(whole.samples) == whole.index["samples"] == SAMPLES[whole.name]
    assert {sample.labels["side"] for sample in whole.samples} == {"right", "left"}
    assert len({sample.labels["index"] for sample in whole.samples}) == len(whole.samples)
    assert 0.7 < np.mean([has_arm(sample) for sample in whole.samples]) < 1


def test_points_project_onto_their_labels(whole):
    """keypoints_cam and vertices.npy project through K onto keypoints_xy within 0.01 px."""
    for sample in whole.samples:
        assert sample.vertices.shape == (whole.index["num_vertices"], 3)
        assert projections_agree(sample, whole.index), sample.key


def test_boxes_bound_the_projected_vertices(whole):
    for sample in whole.samples:
        assert box_bounds(sample), sample.key


def test_masks_parts_and_depths_are_those_of_an_independent_rendering(whole, draw):
    """On every sample, hand, forearm and clothing drawn together: the IoU of mask and of amodal is at least 0.99, depth is right
    within 0.5 mm at the median, and parts on 99 % of the pixels that are more than one pixel from a border of any two.
    """
    for sample in whole.samples:
        size = sample.labels["image_size"]
        parts, depth = draw(whole.meshes(sample), sample.K, size)
        alone = draw([(sample.vertices, whole.faces, 1)], sample.K, size)[0]
        assert iou(sample.amodal, alone > 0) >= LEAST_IOU, sample.key
        assert mask_agrees(sample, parts), sample.key
        assert depth_agrees(sample, depth), sample.key
        assert parts_agree(sample, parts), sample.key


def mask_agrees(sample: Read, parts: np.ndarray) -> bool:
    return iou(sample.mask, (parts > 0) & (parts < FOREARM)) >= LEAST_IOU


def depth_agrees(sample: Read, depth: np.ndarray) -> bool:
    both = (sample.depth > 0) & (depth > 0)
    return iou(sample.depth > 0, depth > 0) >= LEAST_IOU and np.median(np.abs(sample.depth - depth)[both]) < DEPTH_M


def parts_agree(sample: Read, parts: np.ndarray) -> bool:
    padded = np.pad(parts, 1, mode="edge")
    around = [padded[r : r + len(parts), c : c + len(parts)] for r in range(3) for c in range(3)]
    inner = np.all([one == parts for one in around], 0) & (parts > 0)
    return inner.sum() > 100 and np.mean((sample.parts == parts)[inner]) >= LEAST_PARTS


def has_arm(sample: Read) -> bool:
    return sample.labels["arm"] is not None


def is_dressed(sample: Read) -> bool:
    """Whether it wears anything with a surface of its own: a glove and nail varnish are layers of the hand's."""
    return bool(set(sample.labels["clothing"]) - {"glove", "varnish"})


def layers_agree(sample: Read) -> bool:
    """The mask is what parts show of the hand, within amodal; the rest of what depth shows is what `scene` has beside it."""
    hand, other = (sample.parts > 0) & (sample.parts < FOREARM), sample.parts >= FOREARM
    if (hand != sample.mask).any() or ((sample.depth > 0) != (hand | other)).any():
        return False
    if not set(np.unique(sample.parts[other])) <= set(np.unique(sample.beside[1][:, 3])):
        return False
    return not (sample.mask & ~sample.amodal).any() and (other[sample.amodal & ~sample.mask]).all()


def share_agrees(sample: Read) -> bool:
    """visible_share is what mask and amodal say; 1 where nothing is beside the hand."""
    share = sample.labels["visible_share"]
    return abs(share - sample.mask.sum() / sample.amodal.sum()) <= SHARE and (len(sample.beside[1]) > 0 or share == 1)


def test_layers_agree_with_each_other_and_with_what_is_seen_of_the_hand(whole):
    """On every sample; forearms and clothing are those that labels name; of some hands a tenth or more is hidden."""
    for sample in whole.samples:
        assert layers_agree(sample), sample.key
        assert share_agrees(sample), sample.key
        assert has_arm(sample) == (FOREARM in sample.beside[1][:, 3]), sample.key
        assert is_dressed(sample) == (CLOTHING in sample.beside[1][:, 3]), sample.key
    assert 0.3 < np.mean([(sample.parts == CLOTHING).any() for sample in whole.samples]) < 0.9
    assert min(sample.labels["visible_share"] for sample in whole.samples) < 0.9


def test_masks_are_those_of_a_finer_rendering(whole, draw):
    """Drawn five times as large, more than half of a pixel is hand where the mask says so: IoU at least 0.99 again."""
    fine = 5
    for sample in whole.samples[::8]:
        size = sample.labels["image_size"]
        depth = draw([(sample.vertices, whole.faces, 1)], np.diag([fine, fine, 1]) @ sample.K, fine * size)[1]
        share = (depth > 0).reshape(size, fine, size, fine).mean((1, 3))
        assert iou(sample.amodal, share > 0.5) >= LEAST_IOU, sample.key


def test_visible_is_what_the_passes_say(whole):
    """On every sample. Some keypoints are hidden by another part that lies within the tolerance of depth alone."""
    hidden = hidden_by_part = 0
    for sample in whole.samples:
        assert visibility_agrees(sample, whole.index), sample.key
        visible, xy = np.array(sample.labels["keypoints_visible"]), np.array(sample.labels["keypoints_xy"])
        column, row = xy.astype(int).clip(0, len(sample.mask) - 1).T
        gap = np.array(sample.labels["keypoints_cam"])[:, 2] - np.where(sample.mask, sample.depth, np.inf)[row, column]
        hidden += (visible == 0).sum()
        hidden_by_part += ((visible == 0) & (gap < whole.index["conventions"]["visible_tolerance_m"])).sum()
    assert hidden > len(whole.samples), "something is hidden"
    assert hidden_by_part > 0, "something is hidden by its part"


def test_every_check_notices_a_fault(whole, draw):
    """Labels wrong by little more than the tolerance fail the check that they belong to."""
    sample = min((s for s in whole.samples if not has_arm(s)), key=lambda s: s.mask.sum())
    labels, index = sample.labels, whole.index

    def changed(name: str, change: float) -> Read:
        return replace(sample, labels=labels | {name: (np.array(labels[name]) + change).tolist()})

    assert not projections_agree(changed("keypoints_xy", 0.02), index)
    assert not projections_agree(replace(sample, vertices=sample.vertices + np.array([1e-4, 0, 0])), index)
    assert not box_bounds(changed("bbox_xyxy", 0.02))
    flat = replace(sample, parts=np.where(sample.mask, 16, 0))
    assert not visibility_agrees(flat, index), "everything is the thumb's"
    inverted = [1 - v for v in labels["keypoints_visible"]]
    assert not visibility_agrees(replace(sample, labels=labels | {"keypoints_visible": inverted}), index)
    parts, depth = draw(whole.meshes(sample), sample.K, labels["image_size"])
    assert not mask_agrees(replace(sample, mask=np.roll(sample.mask, 1, 1)), parts)
    assert not depth_agrees(replace(sample, depth=sample.depth + 0.001 * (sample.depth > 0)), depth)
    assert not parts_agree(replace(sample, parts=np.where(sample.parts == 1, 2, sample.parts)), parts)


def test_every_check_of_forearms_notices_a_fault(whole, draw):
    """On the hand of which most is hidden."""
    sample = min(whole.samples, key=lambda s: s.labels["visible_share"])
    assert not share_agrees(replace(sample, labels=sample.labels | {"visible_share": sample.labels["visible_share"] + 0.05}))
    assert not layers_agree(replace(sample, mask=sample.amodal))
    assert not layers_agree(replace(sample, amodal=sample.mask & (np.arange(len(sample.mask)) % 2 > 0)))
    assert not layers_agree(replace(sample, parts=np.minimum(sample.parts, 16)))
    vertices, faces = sample.beside
    assert not layers_agree(replace(sample, beside=(vertices, faces[:0])))
    # With a forearm elsewhere, everything is drawn with it, and passes no longer agree.
    moved = replace(sample, beside=(vertices + np.float32([0.01, 0, -0.01]), faces))
    parts, depth = draw(whole.meshes(moved), sample.K, len(sample.mask))
    assert not mask_agrees(sample, parts)
    assert not (depth_agrees(sample, depth) and parts_agree(sample, parts))


OWN_KEYS = {
    "side", "theta", "beta", "trans", "keypoints_cam", "keypoints_xy", "keypoints_visible", "visible_share", "bbox_xyxy", "arm",
    "clothing", "object",
}  # fmt: skip


def others_of(sample: Read) -> list[Read]:
    """Each other hand of an image as a sample of its own; of its surface what `scene` has, with its forearm and all it wears."""
    vertices, faces = sample.beside
    own = vertices[np.unique(faces[faces[:, 3] == OTHER_HAND, :3])]
    return [replace(sample, labels=sample.labels | hand, vertices=own.astype(float)) for hand in sample.labels["hands"]]


def other_hand_agrees(other: Read) -> bool:
    """Its keypoints project onto their labels, and its fingertips are points of its surface, within its box."""
    xy, size = np.array(other.labels["keypoints_xy"]), other.labels["image_size"]
    keypoints = np.array(other.labels["keypoints_cam"])
    tips = np.abs(keypoints[4::4, None] - other.vertices).max(-1).min(1)
    left, top, right, bottom = other.labels["bbox_xyxy"]
    inside = (xy >= [left, top]).all() and (xy <= [right, bottom]).all()
    seen = np.array(other.labels["keypoints_visible"], bool)
    in_image = ((xy >= 0) & (xy < size)).all(1)
    return bool(
        np.abs(project(keypoints, other.K) - xy).max() <= PROJECTION_PX and tips.max() < 2e-6 and inside and in_image[seen].all()
    )


def other_hand_is_seen(other: Read, index: dict) -> bool:
    """Its visible keypoints are where the passes show it, or so near behind what they show that this does not hide them; where they
    show anything else than it farther in front, and where they show it farther in front than any flesh, keypoints are hidden.
    """
    stated, size = index["conventions"], other.labels["image_size"]
    for (x, y), (_, _, z), visible in zip(
        other.labels["keypoints_xy"], other.labels["keypoints_cam"], other.labels["keypoints_visible"], strict=True
    ):
        if not (0 <= x < size and 0 <= y < size):
            continue
        depth, part = other.depth[int(y), int(x)], other.parts[int(y), int(x)]
        gap = z - depth if part else -np.inf
        most, least = stated["visible_tolerance_m"], stated["occluder_gap_m"]
        most = most if part == OTHER_HAND else least
        if (visible and gap > most + GREY_LEVEL_M) or (not visible and gap < least - GREY_LEVEL_M):
            return False
    return True


@pytest.fixture(scope="module")
def together(together_dataset) -> Whole:
    return read_dataset("together", together_dataset.folder, together_dataset.hand_file)


def test_other_hands_are_labelled_as_completely_as_the_first(together):
    """`labels | hands[k]` are labels of another hand: of both sides, beside the first of either, seen and hidden."""
    others = [other for sample in together.samples for other in others_of(sample)]
    assert len(others) > 80
    for sample in together.samples:
        assert all(set(hand) == OWN_KEYS for hand in sample.labels["hands"])
        assert bool(sample.labels["hands"]) == (OTHER_HAND in sample.beside[1][:, 3]), sample.key
        assert (sample.labels["occluder"] is not None) == (OCCLUDER in sample.beside[1][:, 3]), sample.key
        assert (sample.labels["object"] is not None) == (OBJECT in sample.beside[1][:, 3]), sample.key
    for other in others:
        assert other_hand_agrees(other), other.key
        assert other_hand_is_seen(other, together.index), other.key
    sides = {(sample.labels["side"], hand["side"]) for sample in together.samples for hand in sample.labels["hands"]}
    assert len(sides) == 4
    shares = [other.labels["visible_share"] for other in others]
    assert min(shares) < 0.5 < max(shares)
    shown = [{part for part in (OBJECT, OTHER_HAND, OCCLUDER) if (sample.parts == part).any()} for sample in together.samples]
    assert len(set(map(frozenset, shown))) >= 6, "they come together and apart"


def test_every_check_of_other_hands_notices_a_fault(together):
    """Labels wrong by little more than the tolerance, or of another hand."""
    every = [other for sample in together.samples for other in others_of(sample)]
    first, *others = [other for other in every if sum(other.labels["keypoints_visible"]) > 11]
    for key, change in (("keypoints_xy", 0.02), ("keypoints_cam", 1e-5), ("bbox_xyxy", 1000)):
        wrong = first.labels | {key: (np.array(first.labels[key]) + change).tolist()}
        assert not other_hand_agrees(replace(first, labels=wrong)), key
    assert not other_hand_agrees(replace(first, labels=first.labels | {"hands": []}, vertices=others[0].vertices))
    assert not other_hand_is_seen(replace(first, labels=first.labels | {"keypoints_visible": [0] * 21}), together.index)
    assert not other_hand_is_seen(replace(first, parts=np.where(first.parts > 0, OCCLUDER, 0)), together.index)
