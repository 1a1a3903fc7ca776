"""The square crop that a net sees: one affine warp moves image, camera and points together, and it can be undone.

A crop has a camera of its own. Turning the image by an angle is turning the camera about its optical axis, so points go with it:
X_crop = R_crop_cam X_cam, and a left hand, shown as a right one, is a mirror image in the same matrix. K of the crop then projects
X_crop to where the image shows them. Pixels count from the corner of the top-left one, as everywhere.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from handmesh.data.shards import Record
from handmesh.lixels import depth_to_lixels, lixels_to_depth, lixels_to_pixels, pixels_to_lixels
from handsynth.core.camera import project
from handsynth.core.mirror import MIRROR_POINT, mirrored

BOX_MARGIN = 1.25
"""Side of the crop over that of the tight box (Moon and Lee 2020)."""

_TO_CORNER = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # pixels counted from the first one's centre -> from its corner
_TO_CENTRE = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])


@dataclass(frozen=True, eq=False)
class Crop:
    """A square image of a right hand with its camera."""

    image: np.ndarray  # (side, side, 3) uint8, sRGB
    K: np.ndarray  # (3, 3) of the crop [px]
    R_crop_cam: np.ndarray  # (3, 3) camera frame of the image -> that of the crop; orthogonal, a mirror for left hands

    @property
    def side(self) -> int:
        """Of the image [px]."""
        return len(self.image)


@dataclass(frozen=True, eq=False)
class LabelledCrop(Crop):
    """The same with labels."""

    keypoints: np.ndarray  # (21, 3) crop's camera frame [m]
    vertices: np.ndarray  # (V, 3) crop's camera frame [m]
    rotations: np.ndarray  # (16, 3, 3) as of `Record`, of the right hand and into the crop's camera frame
    beta: np.ndarray  # (S,)

    @property
    def root_depth(self) -> float:
        """Depth of the wrist [m]."""
        return float(self.keypoints[0, 2])

    def lixels(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) points in the crop's camera frame [m] -> (N, 3) lixels."""
        xy = pixels_to_lixels(project(points, self.K), self.side)
        return np.concatenate([xy, depth_to_lixels(points[:, 2:] - self.root_depth)], 1)


def square_box(bbox: np.ndarray, width: int, height: int) -> tuple[np.ndarray, float]:
    """(4,) tight box [px] -> (2,) centre and side of the square about it, BOX_MARGIN larger. Clipped to the image first."""
    left, top, right, bottom = bbox.tolist()  # single numbers are quicker in Python than in numpy
    left, right = min(max(left, 0), width), min(max(right, 0), width)
    top, bottom = min(max(top, 0), height), min(max(bottom, 0), height)
    return np.array([(left + right) / 2, (top + bottom) / 2]), BOX_MARGIN * max(right - left, bottom - top, 1.0)


def crop_affine(centre: np.ndarray, box_side: float, angle: float, side: int) -> np.ndarray:
    """(3, 3) affine from pixels of the image to those of the crop.

    Args:
        centre: (2,) of the box [px].
        box_side: of the box [px].
        angle: by which the image turns, from x (right) towards y (down) [rad].
        side: of the crop [px].
    """
    return _affine(centre, box_side, _turn(angle), side)


def shrink(A: np.ndarray, width: int, height: int, least: int = 0, most: int = 64) -> tuple[int, np.ndarray]:
    """How often an image is halved before the (3, 3) affine `A` warps it, and the affine from the halved one.

    An image that would shrink to half or less is halved by areas first, as bilinear sampling would skip pixels of it. `least` and
    `most` are for who has no other halved ones.
    """
    count = 0
    while count < most and (count < least or _area(A) <= 0.25) and min(width, height) > 1:
        A = A @ np.diag([width / (width // 2), height / (height // 2), 1.0])
        count, width, height = count + 1, width // 2, height // 2
    return count, A


def halve(image: np.ndarray) -> np.ndarray:
    """(H, W, C) uint8 -> (H // 2, W // 2, C), by areas."""
    return cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)


def centre_to_centre(A: np.ndarray) -> np.ndarray:
    """(3, 3) affine between pixels counted from the corners of images -> the same, counted from their first pixels' centres."""
    return _TO_CENTRE @ A @ _TO_CORNER


def warp(image: np.ndarray, A: np.ndarray, side: int, out: np.ndarray | None = None) -> np.ndarray:
    """(H, W, 3) uint8 and a (3, 3) affine into a square of `side` pixels -> (side, side, 3) uint8; bilinear, black outside.

    It is halved first as often as `shrink` says; what is made lies in `out` where that is given. OpenCV warps four channels faster
    than three: an image that has a fourth saves a pass, and loses it here.
    """
    count, A = shrink(A, image.shape[1], image.shape[0])
    for _ in range(count):
        image = halve(image)
    return warp_halved(image, A, side, out)


def warp_halved(image: np.ndarray, A: np.ndarray, side: int, out: np.ndarray | None = None) -> np.ndarray:
    """`warp` of an image that needs no halving."""
    # OpenCV counts from the centre of the top-left pixel.
    padded = image if image.shape[2] == 4 else cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    warped = cv2.warpAffine(padded, centre_to_centre(A)[:2], (side, side), flags=cv2.INTER_LINEAR)
    return cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB, dst=out)


class Placed(NamedTuple):
    """Where a crop lies, before any pixel is touched."""

    A: np.ndarray  # (3, 3) affine from pixels of the image, mirrored first when it shows a left hand, to those of the crop
    K: np.ndarray  # (3, 3) of the crop [px]
    R_crop_cam: np.ndarray  # (3, 3) as in `Crop`


def place_crop(
    width: int, height: int, K: np.ndarray, hand_side: str, bbox: np.ndarray, side: int, scale: float = 1.0, angle: float = 0.0
) -> Placed:
    """Where the crop about a hand lies in an image of that size; the other arguments are those of `crop_hand`."""
    R = _turn(angle)
    R_crop_cam = R
    if hand_side == "left":
        x0, y0, x1, y1 = bbox
        K, bbox = mirrored(K, width), np.array([width - x1, y0, width - x0, y1])
        R_crop_cam = R @ np.diag(MIRROR_POINT)
    centre, box_side = square_box(bbox, width, height)
    A = _affine(centre, box_side * scale, R, side)
    return Placed(A, A @ K @ R.T, R_crop_cam)


def crop_hand(
    image: np.ndarray, K: np.ndarray, hand_side: str, bbox: np.ndarray, side: int, scale: float = 1.0, angle: float = 0.0
) -> Crop:
    """The square crop about a hand; an image of a left hand is mirrored first.

    Args:
        image: (H, W, 3) uint8, sRGB.
        K: (3, 3) of the image [px].
        hand_side: "right" or "left".
        bbox: (4,) x0, y0, x1, y1 tight about the hand [px].
        side: of the crop [px].
        scale: multiplies the side of the box, so that the hand gets smaller as it grows.
        angle: by which the image turns, from x (right) towards y (down) [rad].
    """
    placed = place_crop(image.shape[1], image.shape[0], K, hand_side, bbox, side, scale, angle)
    pixels = crop_pixels(image, hand_side, placed, np.empty((side, side, 3), np.uint8))
    return Crop(image=pixels, K=placed.K, R_crop_cam=placed.R_crop_cam)


def crop_pixels(image: np.ndarray, hand_side: str, placed: Placed, out: np.ndarray) -> np.ndarray:
    """Fills `out`, (side, side, 3) uint8, with the crop that `place_crop` placed in an image as of `warp`, and returns it."""
    return warp(cv2.flip(image, 1) if hand_side == "left" else image, placed.A, len(out), out)


def place_record(record: Record, side: int, scale: float = 1.0, angle: float = 0.0) -> Placed:
    """Where the crop of a sample lies, as of `place_crop`."""
    height, width = record.image.shape[:2]
    return place_crop(width, height, record.K, record.side, record.bbox, side, scale, angle)


def make_crop(record: Record, side: int, scale: float = 1.0, angle: float = 0.0) -> LabelledCrop:
    """The crop of a sample, as of `crop_hand`, with its labels."""
    return label_crop(crop_hand(record.image, record.K, record.side, record.bbox, side, scale, angle), record)


def label_crop(crop: Crop, record: Record) -> LabelledCrop:
    """A crop of a sample with the sample's labels in its frame."""
    R, rotations = crop.R_crop_cam, record.rotations
    if record.side == "left":  # M R M of every joint; the root's first M is in R_crop_cam
        rotations = rotations * MIRROR_POINT
        rotations[1:] *= MIRROR_POINT[:, None]
    rotations = np.concatenate([R @ rotations[:1], rotations[1:]])
    return LabelledCrop(crop.image, crop.K, R, record.keypoints @ R.T, record.vertices @ R.T, rotations, record.beta)


class CropLabels(NamedTuple):
    """Labels of B crops: fields of `LabelledCrop` with a leading axis, and lixels. V vertices."""

    keypoints: np.ndarray  # (B, 21, 3)
    vertices: np.ndarray  # (B, V, 3)
    rotations: np.ndarray  # (B, 16, 3, 3)
    lixels: np.ndarray  # (B, 21 + V, 3) of keypoints and vertices


def label_crops(
    keypoints: np.ndarray,
    vertices: np.ndarray,
    rotations: np.ndarray,
    left: np.ndarray,
    K: np.ndarray,
    R_crop_cam: np.ndarray,
    side: int,
) -> CropLabels:
    """Labels of the crops of B samples at once: what `label_crop` and `LabelledCrop.lixels` make of each, to the bit.

    Args:
        keypoints: (B, 21, 3) as of `Record`.
        vertices: (B, V, 3) as of `Record`.
        rotations: (B, 16, 3, 3) as of `Record`.
        left: (B,) bool, whether a sample is a left hand.
        K: (B, 3, 3) of the crops [px].
        R_crop_cam: (B, 3, 3) as in `Crop`.
        side: of the crops [px].
    """
    back = R_crop_cam.swapaxes(1, 2)
    keypoints, vertices, turned = keypoints @ back, vertices @ back, rotations.copy()
    turned[left] *= MIRROR_POINT
    turned[left, 1:] *= MIRROR_POINT[:, None]
    turned[:, 0] = R_crop_cam @ turned[:, 0]
    points = np.concatenate([keypoints, vertices], 1)
    xy = pixels_to_lixels(project(points, K), side)
    depth = depth_to_lixels(points[..., 2:] - keypoints[:, :1, 2:])
    return CropLabels(keypoints, vertices, turned, np.concatenate([xy, depth], 2))


def lixels_to_camera(lixels: np.ndarray, root_depth: np.ndarray, K: np.ndarray, R_crop_cam: np.ndarray, side: int) -> np.ndarray:
    """Undoes crop and lixels: where a net's points lie before the sample's own camera, mirrored back for left hands.

    Args:
        lixels: (..., N, 3).
        root_depth: (...,) depth of the wrist [m].
        K: (..., 3, 3) of the crop [px].
        R_crop_cam: (..., 3, 3) as in `Crop`.
        side: of the crop [px].

    Returns:
        (..., N, 3) camera frame of the sample [m].
    """
    depth = np.asarray(root_depth)[..., None, None] + lixels_to_depth(lixels[..., 2:])
    xy = lixels_to_pixels(lixels[..., :2], side)
    rays = np.concatenate([xy, np.ones_like(depth)], -1) @ np.swapaxes(np.linalg.inv(K), -1, -2)
    return (rays * depth) @ R_crop_cam


def _turn(angle: float) -> np.ndarray:
    """(3, 3) rotation about the optical axis, from x (right) towards y (down)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _affine(centre: np.ndarray, box_side: float, R: np.ndarray, side: int) -> np.ndarray:
    """`crop_affine` with the turn as a matrix."""
    A = side / box_side * R
    A[:2, 2] = side / 2 - A[:2, :2] @ centre
    A[2, 2] = 1
    return A


def _area(A: np.ndarray) -> float:
    """What a (3, 3) affine makes of a pixel's area."""
    (a, b, _), (c, d, _), _ = A.tolist()
    return abs(a * d - b * c)
