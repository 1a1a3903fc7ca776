"""Labels hold without our code: read with tarfile, json, numpy and Pillow, drawn anew by pyrender, and nothing else.

Nothing of handsynth is imported here. Each check also runs on labels made wrong on purpose, and must notice.

Nine hands in ten have forearms, whose shape only the generator knows: labels hold three angles of it, no vertices. Of a forearm,
what can be checked is checked: it is there for those hands alone, begins at the wrist, hides the hand where it lies in front of it
and nowhere else. That its pixels and depths are those of the forearm that the recipe names is what `handsynth verify` checks.
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
FOREARM = 17
SHARE = 0.03  # visible_share is counted on a lattice of pixels
DEPTH_M = 0.0005
GREY_LEVEL_M = 1e-4  # of the depth pass
POSED = 32


@dataclass(frozen=True, eq=False)
class Read:
    """One sample as an external reader sees it."""

    key: str
    labels: dict
    vertices: np.ndarray  # (V, 3) camera frame [m]
    mask: np.ndarray  # (H, W) bool, what is seen of the hand
    depth: np.ndarray  # (H, W) [m], 0 = background
    parts: np.ndarray  # (H, W) 1 + joint that moves the surface most, 17 = forearm, 0 = background
    amodal: np.ndarray  # (H, W) bool, the whole hand

    @property
    def K(self) -> np.ndarray:
        return np.array(self.labels["K"])


@dataclass(frozen=True, eq=False)
class Whole:
    """A whole dataset, and the faces of its hand."""

    index: dict
    samples: list[Read]
    faces: np.ndarray


def image(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def read_dataset(folder: Path, hand_file: Path) -> Whole:
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
            samples.append(Read(key, json.loads(found["json"]), vertices.astype(float), *layers))
    return Whole(index, samples, np.load(hand_file)["faces"])


@pytest.fixture(scope="module", params=["toy", "embedded"])
def whole(request) -> Whole:
    made = request.getfixturevalue(f"{request.param}_dataset")
    return read_dataset(made.folder, made.hand_file)


@pytest.fixture(scope="module")
def draw(pyrender_renderer):
    """(vertices, faces, K, size) -> (size, size) depth at pixel centres, 0 = background.

    The wrist is open, so both sides of every face are drawn. pyrender's images have four samples in a pixel, of which
    its depth takes the first; drawn as a segmentation they have one, in the middle. (The fixture `pyrender_renderer` is
    there so that no renderer is deleted while another works.)
    """
    os.environ["PYOPENGL_PLATFORM"] = "egl"
    import pyrender

    renderer = pyrender.OffscreenRenderer(64, 64)
    KEPT.append(renderer)

    def depth_of(vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, size: int, inside: bool = True) -> np.ndarray:
        renderer.viewport_width = renderer.viewport_height = size
        both = np.concatenate([faces, faces[:, ::-1]]) if inside else faces
        opengl = (vertices * [1, -1, -1]).astype(np.float32)  # y up, z backward
        scene = pyrender.Scene()
        node = scene.add(pyrender.Mesh([pyrender.Primitive(positions=opengl, indices=both, mode=pyrender.GLTF.TRIANGLES)]))
        scene.add(pyrender.IntrinsicsCamera(K[0, 0], K[1, 1], K[0, 2], K[1, 2], znear=0.05, zfar=15))
        return renderer.render(scene, flags=pyrender.RenderFlags.SEG, seg_node_map={node: (255, 255, 255)})[1]

    return depth_of


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
    """At least 32 samples, right and left hands, every index once."""
    assert len(whole.samples) == whole.index["samples"] >= POSED
    assert {sample.labels["side"] for sample in whole.samples} == {"right", "left"}
    assert len({sample.labels["index"] for sample in whole.samples}) == len(whole.samples)


def test_points_project_onto_their_labels(whole):
    """keypoints_cam and vertices.npy project through K onto keypoints_xy within 0.01 px."""
    for sample in whole.samples:
        assert sample.vertices.shape == (whole.index["num_vertices"], 3)
        assert projections_agree(sample, whole.index), sample.key


def test_boxes_bound_the_projected_vertices(whole):
    for sample in whole.samples:
        assert box_bounds(sample), sample.key


def test_masks_and_depths_are_those_of_an_independent_rendering(whole, draw):
    """On every sample the IoU of amodal is at least 0.99, of a bare hand's mask too, and depth within 0.5 mm at the median.

    Depths are compared where the independent rendering shows the skin's outside: through the open wrist it sees the inside,
    where ours shows the cap, and from straight below that can be most of the image.
    """
    for sample in whole.samples:
        depth = draw(sample.vertices, whole.faces, sample.K, sample.labels["image_size"])
        assert iou(sample.amodal, depth > 0) >= LEAST_IOU, sample.key
        assert has_arm(sample) or iou(sample.mask, depth > 0) >= LEAST_IOU, sample.key
        outward = whole.faces[:, ::-1] if sample.labels["side"] == "left" else whole.faces
        outside = draw(sample.vertices, outward, sample.K, sample.labels["image_size"], inside=False)
        both = sample.mask & (outside > 0) & (outside == depth)
        assert both.any(), sample.key
        assert np.median(np.abs(sample.depth - depth)[both]) < DEPTH_M, sample.key


def has_arm(sample: Read) -> bool:
    return sample.labels["arm"] is not None


def layers_agree(sample: Read) -> bool:
    """The mask is what parts show of the hand, within amodal; the rest of what depth shows is forearm, of hands that have one."""
    hand, forearm = (sample.parts > 0) & (sample.parts < FOREARM), sample.parts == FOREARM
    if (hand != sample.mask).any() or ((sample.depth > 0) != (hand | forearm)).any():
        return False
    if not has_arm(sample):
        return not forearm.any() and (sample.amodal == sample.mask).all()
    return not (sample.mask & ~sample.amodal).any() and (forearm[sample.amodal & ~sample.mask]).all()


def forearm_hides_what_it_is_before(sample: Read, alone: np.ndarray) -> bool:
    """Where a hand is hidden, something nearer than the hand drawn `alone` is seen, on 99 % of those pixels at least."""
    drawn = sample.amodal & (alone > 0)
    hidden = drawn & ~sample.mask
    return not hidden.any() or np.mean((sample.depth - alone)[hidden] <= DEPTH_M) >= 0.99


def share_agrees(sample: Read) -> bool:
    """visible_share is what mask and amodal say; 1 without a forearm."""
    share = sample.labels["visible_share"]
    return abs(share - sample.mask.sum() / sample.amodal.sum()) <= SHARE and (has_arm(sample) or share == 1)


def test_forearms_are_seen_where_they_are_and_hide_what_lies_behind(whole, draw):
    """On every sample; most hands have one, and of some a tenth or more is hidden."""
    for sample in whole.samples:
        assert layers_agree(sample), sample.key
        assert share_agrees(sample), sample.key
        alone = draw(sample.vertices, whole.faces, sample.K, sample.labels["image_size"])
        assert forearm_hides_what_it_is_before(sample, alone), sample.key
    assert 0.7 < np.mean([has_arm(sample) for sample in whole.samples]) < 1
    assert min(sample.labels["visible_share"] for sample in whole.samples) < 0.9


def test_masks_are_those_of_a_finer_rendering(whole, draw):
    """Drawn five times as large, more than half of a pixel is hand where the mask says so: IoU at least 0.99 again."""
    fine = 5
    for sample in whole.samples[::4]:
        size = sample.labels["image_size"]
        depth = draw(sample.vertices, whole.faces, np.diag([fine, fine, 1]) @ sample.K, fine * size)
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
    depth = draw(sample.vertices, whole.faces, sample.K, labels["image_size"])
    assert iou(np.roll(sample.mask, 1, 1), depth > 0) < LEAST_IOU
    assert np.median(np.abs(sample.depth + 0.001 - depth)[sample.mask & (depth > 0)]) > DEPTH_M


def test_every_check_of_forearms_notices_a_fault(whole, draw):
    """On the hand of which most is hidden."""
    sample = min(whole.samples, key=lambda s: s.labels["visible_share"])
    assert not share_agrees(replace(sample, labels=sample.labels | {"visible_share": sample.labels["visible_share"] + 0.05}))
    assert not layers_agree(replace(sample, mask=sample.amodal))
    assert not layers_agree(replace(sample, amodal=sample.mask & (np.arange(len(sample.mask)) % 2 > 0)))
    assert not layers_agree(replace(sample, parts=np.minimum(sample.parts, 16)))
    assert not layers_agree(replace(sample, labels=sample.labels | {"arm": None}))
    alone = draw(sample.vertices, whole.faces, sample.K, sample.labels["image_size"])
    assert not forearm_hides_what_it_is_before(replace(sample, depth=sample.depth + 0.3), alone)
