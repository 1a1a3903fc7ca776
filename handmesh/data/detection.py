"""Images of any number of hands for training a detector: read from shards of crowds and of single hands, zoomed, turned, coloured.

A hand's box bounds all of it that is within the image, hidden or not: what crops of mesh nets are made about. Boxes of turned
images are about the turned outline, not about the turned box. Hands that are hardly to be seen, and those that are smaller than a
detector is to find, are neither hands nor background: nothing is learned there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import simplejpeg

from handmesh.data.shards import index_shard
from handmesh.data.tones import coloured
from handmesh.detection_maps import GREY, SMALLEST_PX, Maps, encode
from handsynth.core.camera import project
from handsynth.core.errors import HandsynthError
from handsynth.core.index import is_crowd, read_index
from handsynth.core.rng import stream
from handsynth.core.sample import decode_labels, decode_npy

LEAST_SEEN = 0.35
"""Share of a hand's outline that is to be seen of hands that count."""

LEAST_INSIDE = 0.35
"""Share of a hand's box that an augmented image leaves of hands that count."""

FORESHORTENED = 0.3
"""From wrist to middle knuckle hands point clearly when that is so long on the image, over the longer side of the box."""


class LabelledHand(NamedTuple):
    """A hand of an image."""

    outline: np.ndarray  # (M, 2) convex, of all of it within the image, hidden or not [px]
    is_left: bool
    ray: np.ndarray  # (2,) from wrist to middle knuckle [px]
    is_clear: bool  # whether enough of it is seen


class LabelledImage(NamedTuple):
    """An image with all its hands."""

    image: np.ndarray  # (H, W, 3) uint8, sRGB
    hands: tuple[LabelledHand, ...]
    where: str  # for messages


class Hands(NamedTuple):
    """Hands of an image as a detector should find them. N hands."""

    boxes: np.ndarray  # (N, 4) x0, y0, x1, y1 within the image [px]
    left: np.ndarray  # (N,) bool
    directions: np.ndarray  # (N, 2) from wrist to middle knuckle, of length 1, or less where it is seen from its end
    ignored: np.ndarray  # (M, 4) boxes of hands that do not count


class TrueHands(NamedTuple):
    """Hands of an image as detectors are evaluated on them. N hands."""

    boxes: np.ndarray  # (N, 4) [px]
    left: np.ndarray  # (N,) bool
    angles: np.ndarray  # (N,) from upright to the direction from wrist to middle knuckle, clockwise [rad]; NaN: not to be told
    ignored: np.ndarray  # (M, 4) of hands that do not count


class DetectionShards:
    """A dataset's images by position, of crowds or of single hands. Files are read anew at each request, outlines kept.

    Raises HandsynthError when the index is missing, damaged or of another schema, or a shard is bad (named).
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.index = read_index(self.folder)
        self.identity: str = self.index["dataset"]
        self.name: str = self.index["name"]
        self._crowd = is_crowd(self.index)
        tables = [index_shard(self.folder / entry["name"], entry["count"]) for entry in self.index["shards"]]
        if not tables:
            raise HandsynthError(f"{folder} holds no samples")
        self._table = np.concatenate([np.insert(table, 0, k, axis=1) for k, table in enumerate(tables)])
        self._hands: dict[int, tuple[LabelledHand, ...]] = {}

    def __len__(self) -> int:
        return len(self._table)

    def read(self, position: int) -> LabelledImage:
        """Image and hands. Raises HandsynthError naming shard and sample when they are damaged."""
        shard, index, *members = self._table[position].tolist()
        path = self.folder / self.index["shards"][shard]["name"]
        where = f"{path}, sample {index}"
        try:
            with open(path, "rb", buffering=0) as file:

                def member(k: int) -> bytes:
                    file.seek(members[2 * k])
                    return file.read(members[2 * k + 1])

                image = simplejpeg.decode_jpeg(member(0), "RGB")
                if position not in self._hands:
                    labels = decode_labels({"json": member(1)}, where, self.index)
                    self._hands[position] = self._labelled(labels, decode_npy(member(2), where), image.shape[:2])
        except (OSError, ValueError) as error:
            raise HandsynthError(f"{where}: cannot be read: {' '.join(str(error).split())[:100]}") from None
        return LabelledImage(image, self._hands[position], where)

    def _labelled(self, labels: dict[str, Any], vertices: np.ndarray, size: tuple[int, ...]) -> tuple[LabelledHand, ...]:
        hands: list[dict[str, Any]] = labels["hands"] if self._crowd else [labels, *(labels.get("hands") or [])]
        K = np.array(labels["K"], np.float64)
        meshes = list(vertices) if self._crowd else [vertices]
        corners = np.array([[0, 0], [size[1], 0], [size[1], size[0]], [0, size[0]]], np.float32)
        made = []
        for k, hand in enumerate(hands):
            if k < len(meshes):
                points = project(np.maximum(meshes[k], (-np.inf, -np.inf, 1e-3)), K)
            else:  # another hand's mesh is not in the shards
                x0, y0, x1, y1 = hand["bbox_xyxy"]
                points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
            hull = cv2.convexHull(points.astype(np.float32))[:, 0]
            _, inside = cv2.intersectConvexConvex(hull, corners)
            if inside is None:
                continue
            wrist, knuckle = np.array(hand["keypoints_xy"], np.float64)[[0, 9]]
            whole = np.ptp(hull, axis=0).prod()
            share = np.ptp(inside[:, 0], axis=0).prod() / max(float(whole), 1e-6)
            seen = 1.0 if hand.get("visible_share") is None else float(hand["visible_share"])
            is_clear = seen >= LEAST_SEEN and share >= LEAST_INSIDE
            made.append(LabelledHand(inside[:, 0].astype(np.float64), hand["side"] == "left", knuckle - wrist, bool(is_clear)))
        return tuple(made)


def hands_of(labelled: LabelledImage, A: np.ndarray, height: int, width: int) -> Hands:
    """The hands of an image after a (2, 3) affine map of it to one of such a size; a mirror makes left hands of right ones."""
    flips = float(np.linalg.det(A[:, :2])) < 0
    boxes, left, directions, ignored = [], [], [], []
    for hand in labelled.hands:
        points = hand.outline @ A[:, :2].T + A[:, 2]
        low, high = points.min(0), points.max(0)
        inner = np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height))
        sides = inner[1] - inner[0]
        if (sides <= 0).any():
            continue
        box = np.concatenate(inner)
        share = float(sides.prod() / max((high - low).prod(), 1e-6))
        if not hand.is_clear or share < LEAST_INSIDE or sides.max() < SMALLEST_PX:
            ignored.append(box)
            continue
        ray = A[:, :2] @ hand.ray
        length = float(np.linalg.norm(ray))
        boxes.append(box)
        left.append(hand.is_left != flips)
        directions.append(ray / max(length, 1e-6) * min(1.0, length / (FORESHORTENED * float((high - low).max()))))
    return Hands(np.reshape(boxes, (-1, 4)), np.array(left, bool), np.reshape(directions, (-1, 2)), np.reshape(ignored, (-1, 4)))


def draw_affine(rng: np.random.Generator, labelled: LabelledImage, height: int, width: int) -> np.ndarray:
    """A (2, 3) affine map from an image to one of such a size: about one of its hands at any size, or with all of it."""
    image_height, image_width = labelled.image.shape[:2]
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 0.25 else 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if rng.random() < 0.5:
        turn = turn @ np.diag([-1.0, 1.0])
    size = np.array([width, height], np.float64)
    whole = float(np.min(size / (image_width, image_height)))
    hands = [hand for hand in labelled.hands if hand.is_clear]
    if hands and rng.random() < 0.65:
        outline = hands[rng.integers(len(hands))].outline
        low, high = outline.min(0), outline.max(0)
        target = float(size.min()) * np.exp(rng.uniform(np.log(0.2), np.log(1.25)))
        scale = float(np.clip(target / max(float((high - low).max()), 1.0), 0.4 * whole, max(3.0, whole)))
        centre, half = (low + high) / 2, scale * float((high - low).max()) / 2
        place = [rng.uniform(half, side - half) if side > 2 * half else side / 2 + rng.uniform(-0.15, 0.15) * side for side in size]
    else:
        scale = whole * np.exp(rng.uniform(np.log(0.6), np.log(1.5)))
        centre = np.array([image_width, image_height]) / 2
        place = (size / 2 + rng.uniform(-0.2, 0.2, 2) * size).tolist()
    A = scale * turn
    return np.concatenate([A, (np.array(place) - A @ centre)[:, None]], 1)


def chances(parts: Sequence[DetectionShards], weights: Sequence[float]) -> np.ndarray:
    """With which probability a sample comes from each dataset, where each of its samples has its weight."""
    each = np.array(weights) * [len(part) for part in parts]
    found: np.ndarray = each / each.sum()
    return found


class Draws:
    """Training samples by number: which image of which dataset, and how it is augmented, follow from seed and number alone.

    Args:
        parts: the datasets.
        weights: how often each sample of it is drawn, any positive numbers.
        seed: of the run.
    """

    def __init__(self, parts: list[DetectionShards], weights: list[float], seed: int) -> None:
        self.parts, self.seed = parts, seed
        self._chances = chances(parts, weights)

    def sample(self, number: int, height: int, width: int) -> tuple[np.ndarray, Maps]:
        """(H, W, 3) uint8 and what its maps should say."""
        rng = stream(self.seed, number, "detector")
        part = self.parts[int(rng.choice(len(self.parts), p=self._chances))]
        labelled = part.read(int(rng.integers(len(part))))
        A = draw_affine(rng, labelled, height, width)
        image, inner = labelled.image, A.copy()
        while abs(np.linalg.det(inner[:, :2])) <= 0.25 and min(image.shape[:2]) > 1:  # bilinear sampling would skip pixels
            halved = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
            inner[:, :2] = inner[:, :2] @ np.diag(np.array(image.shape[1::-1]) / halved.shape[1::-1])
            image = halved
        inner[:, 2] += inner[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts from the centre of the top-left pixel
        image = cv2.warpAffine(image, inner, (width, height), flags=cv2.INTER_LINEAR, borderValue=(GREY,) * 3)
        hands = hands_of(labelled, A, height, width)
        return coloured(rng, image), encode(hands.boxes, hands.left, hands.directions, hands.ignored, height, width)


def true_hands(labelled: LabelledImage, side: int) -> TrueHands:
    """The hands of an image that is seen at `side` pixels of its longer side; boxes in its own pixels."""
    height, width = labelled.image.shape[:2]
    scale = side / max(height, width)
    hands = hands_of(labelled, scale * np.eye(2, 3), *(int(np.ceil(scale * length)) for length in (height, width)))
    clear = np.linalg.norm(hands.directions, axis=1) >= 0.99
    angles = np.where(clear, np.arctan2(hands.directions[:, 0], -hands.directions[:, 1]), np.nan)
    return TrueHands(hands.boxes / scale, hands.left, angles, hands.ignored / scale)
