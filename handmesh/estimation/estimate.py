"""One step of prediction without files: images and boxes in, hands before the images' cameras out.

How far the wrist is, when nothing but the image says so: where the predicted palm is as large as that of the mean hand. A net that
predicts pixels and depths relative to the wrist leaves one number free, the wrist's depth z: its points lie on the lines
offsets + z * rays, and the hand grows with z. (Where one bone's length is known, `evaluation.challenge` uses it.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from handmesh.data.crop import BOX_MARGIN, Crop, crop_hand, lixels_to_camera
from handmesh.estimation.backends import Net
from handmesh.keypoints import PALM_KEYPOINTS, keypoint_regressor
from handmesh.lixels import LIXEL_DEPTH_M, lixels_to_pixels
from handsynth.core.camera import project
from handsynth.core.errors import UsageError
from handsynth.core.hand import HandModel, pose_hand

NEAREST_M = 0.05
"""Least distance of the hand's nearest point from the camera's plane that a solution may have [m]."""

LOOSE = 0.07
"""Share of a box's longer side by which it may be other than that of the hand found in it."""

_SPECK = 0.03
"""Share of the image that a hand takes at least: one that is smaller has been missed."""


@dataclass(frozen=True, eq=False)
class View:
    """An image, its camera, and the hand in it that is requested."""

    image: np.ndarray  # (H, W, 3) uint8, sRGB
    K: np.ndarray  # (3, 3) [px]
    side: str  # "right" or "left"
    box: np.ndarray | None = None  # (4,) x0, y0, x1, y1 tight about the hand [px]; None: somewhere in the image, not small
    turn: float = 0.0  # by which the image is turned about the box before the net sees it, from x towards y [rad]


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a net says of a view. Camera frame of the view [m]; for a left hand the faces wind the other way."""

    vertices: np.ndarray  # (V, 3)
    keypoints: np.ndarray  # (21, 3) regressed from the vertices
    std_mm: np.ndarray  # (V,) one standard deviation of each vertex's place: root of the sum of the three axes' variances
    root_depth: float  # of the wrist [m]


class Estimator:
    """A net with its hand, ready for images.

    Args:
        net: that takes crops; see `backends`.
        hand: that the net was trained on.
        side: S, of the crops [px].
    """

    def __init__(self, net: Net, hand: HandModel, side: int) -> None:
        self.net, self.hand, self.side = net, hand, side
        self.regressor = keypoint_regressor(hand)
        self.palm_m = mean_palm(hand)

    def __call__(self, views: Sequence[View], root_depth: float | None = None) -> list[Estimate]:
        """Estimates, all views as one batch. A root depth [m] overrides the one that gives the hand the mean hand's palm."""
        if not views:
            return []
        crops = [crop_of(view, self.side) for view in views]
        lixels, std = self.net(np.stack([crop.image for crop in crops]))
        return [place(lixels[k], std[k], crop, self.regressor, self.palm_m, root_depth) for k, crop in enumerate(crops)]

    def find(
        self, views: Sequence[View], root_depth: float | None = None, followed: Sequence[bool] | None = None
    ) -> tuple[list[View], list[Estimate]]:
        """Views with the boxes of the last look, and their estimates.

        A view without a box, and one whose box is other than the hand's by more than LOOSE of its longer side, is looked at again
        about the hand that was found. Boxes that people or detectors give are loose: on the 73 development photographs, whose
        boxes are a fifth wider than the hand, that takes the mean 2-D error from 11.3 to 9.8 % of the hand's size; on held-out
        hands it takes boxes 1.3 times as long as the hand's from 9.4 to 9.0 mm, and exact boxes stay at 9.0 mm (lite-fast-128).
        Views that are `followed`, whose box is about the hand of the frame before, are looked at once: of a video time counts.
        """
        views, estimates = list(views), self(views, root_depth)
        once = followed or [False] * len(views)
        new = {k: focused(view, estimates[k]) for k, view in enumerate(views) if view.box is None or not once[k]}
        again = [k for k, view in new.items() if (given := views[k].box) is None or _is_loose(given, view.box)]
        if again:
            for k, estimate in zip(again, self([new[k] for k in again], root_depth), strict=True):
                views[k], estimates[k] = new[k], estimate
        return views, estimates


def _is_loose(given: np.ndarray, found: np.ndarray | None) -> bool:
    """Whether the longer sides of two boxes differ by more than LOOSE."""
    if found is None:
        return False
    ratio = float((found[2:] - found[:2]).max() / (given[2:] - given[:2]).max())
    return not 1 - LOOSE <= ratio <= 1 / (1 - LOOSE)


def focused(view: View, estimate: Estimate) -> View:
    """The view with the box of the hand found in it; the view itself where that is behind the camera, outside or a speck."""
    if estimate.vertices[:, 2].min() <= 0:
        return view
    size = np.array(view.image.shape[1::-1])
    xy = np.clip(project(estimate.vertices, view.K), 0, size)
    box = np.concatenate([xy.min(0), xy.max(0)])
    return replace(view, box=box) if (box[2:] - box[:2]).min() > _SPECK * size.max() else view


def mean_palm(hand: HandModel) -> float:
    """`palm_size` of the mean shape in the mean pose [m]; poses change it by 2 % through the skin, shapes by 5 %."""
    theta = np.concatenate([np.zeros((1, 3)), hand.hands_mean])
    return float(palm_size(pose_hand(hand, theta, np.zeros(hand.num_shapes)).keypoints))


def tight_box(view: View) -> np.ndarray:
    """(4,) the view's box, or for a whole image the one whose crop is the square about it.

    Raises UsageError when the box lies outside the image.
    """
    size = np.array(view.image.shape[1::-1])
    if view.box is None:
        half = size.max() / 2 / BOX_MARGIN
        return np.concatenate([size / 2 - half, size / 2 + half])
    if (view.box[2:] <= 0).any() or (view.box[:2] >= size).any():
        text = " ".join(f"{value:g}" for value in view.box)
        raise UsageError(f"the box {text} lies outside the image of {size[0]} x {size[1]} px")
    return view.box


def crop_of(view: View, side: int) -> Crop:
    """The crop that a net sees, made as training makes it, without labels."""
    # A left hand's image is mirrored first, so that it turns the other way.
    angle = -view.turn if view.side == "left" else view.turn
    return crop_hand(view.image, view.K, view.side, tight_box(view), side, angle=angle)


def place(
    lixels: np.ndarray, std: np.ndarray, crop: Crop, regressor: np.ndarray, palm_m: float, root_depth: float | None = None
) -> Estimate:
    """Undoes crop and lixels for one hand: (V, 3) vertices and their (V, 3) standard deviations in lixels -> where they are.

    Args:
        lixels: (V, 3) vertices.
        std: (V, 3) one standard deviation along x, y and z [lixels].
        crop: that the net has seen.
        regressor: (21, V) from vertices to keypoints.
        palm_m: `palm_size` that the hand shall have, unless its depth is given [m].
        root_depth: of the wrist [m]; None solves it.
    """

    def at(depth: float) -> np.ndarray:
        return lixels_to_camera(lixels, np.array(depth), crop.K, crop.R_crop_cam, crop.side)

    if root_depth is None:
        offsets = at(0.0)  # points are linear in the wrist's depth, and so are keypoints
        root_depth = float(solve_root_depth(regressor @ offsets, regressor @ (at(1.0) - offsets), palm_m))
    vertices = at(root_depth)
    # A lixel of x or y is side / 64 pixels of the crop, depth / f metres each; one of z is 4.6875 mm everywhere.
    across = lixels_to_pixels(std[:, :2], crop.side) * np.abs(vertices[:, 2:]) / np.diag(crop.K)[:2]
    along = std[:, 2:] * LIXEL_DEPTH_M
    std_mm = 1000 * np.linalg.norm(np.concatenate([across, along], 1), axis=1)
    return Estimate(vertices, regressor @ vertices, std_mm, root_depth)


def palm_size(keypoints: np.ndarray) -> np.ndarray:
    """(..., 21, 3) keypoints -> (...,) root mean square distance of the palm's from their centre, in the same unit.

    Six points rather than 20 bones: an error of prediction adds to every squared length, so long distances suffer least. Over the
    embedded hand's 895 poses in random turns, 0.6 m away, the depth of perfect predictions is wrong by 5 % (root mean square)
    at the mean shape and 11 % at random ones; with all bones instead, by 6 % and 13 %.
    """
    return np.sqrt(_mean_square(_centred(keypoints)))


def solve_root_depth(offsets: np.ndarray, rays: np.ndarray, size_m: float) -> np.ndarray:
    """Depth z of the wrist at which the palm has a given size: the greater root of a quadratic equation.

    Args:
        offsets: (..., 21, 3) keypoints for a wrist at depth 0, camera frame [m].
        rays: (..., 21, 3) by how much they move per metre of the wrist's depth.
        size_m: `palm_size` [m].

    Returns:
        (...,) [m]. A palm that is larger than `size_m` at any depth gets that at which it is least; no point gets nearer to the
        camera than NEAREST_M.
    """
    a, b = _centred(rays), _centred(offsets)
    # mean |a z + b|^2 = size^2
    aa, ab, bb = np.maximum(_mean_square(a), 1e-12), (a * b).sum(-1).mean(-1), _mean_square(b)
    z = (-ab + np.sqrt(np.maximum(ab**2 - aa * (bb - size_m**2), 0))) / aa
    return np.maximum(z, NEAREST_M - offsets[..., 2].min(-1))


def _centred(points: np.ndarray) -> np.ndarray:
    """The palm's of (..., 21, 3) points, from their centre."""
    palm = points[..., PALM_KEYPOINTS, :]
    return palm - palm.mean(-2, keepdims=True)


def _mean_square(points: np.ndarray) -> np.ndarray:
    return (points**2).sum(-1).mean(-1)
