"""Crops for telling left hands from right ones: upright, about a hand's box, as a detector's box and direction allow.

Which side a hand has is hard to see at any turn and size, and much easier once it stands upright: thumb to the left and back of the
hand, or the other way round.
"""

import numpy as np

from handmesh.data.crop import BOX_MARGIN, crop_affine, warp
from handmesh.data.detection import DetectionShards, LabelledHand, chances, coloured
from handmesh.detection_maps import SIDE_PX
from handsynth.core.rng import stream

BOX_STD, ANGLE_STD_DEG = 0.06, 20.0
"""How far detectors are off: edges of boxes over the longer side, and directions."""


def upright(image: np.ndarray, box: np.ndarray, angle: float, side: int = SIDE_PX) -> np.ndarray:
    """(H, W, 3) uint8 image, (4,) box [px] and direction as of `Detection` -> (side, side, 3), the hand pointing up."""
    size = BOX_MARGIN * float((box[2:] - box[:2]).max())
    return warp(image, crop_affine((box[:2] + box[2:]) / 2, max(size, 1.0), -angle, side), side)


class SideDraws:
    """Training crops by number, see `data.detection.Draws`; hands that hardly show are left out.

    Args:
        parts: datasets of crowds or of single hands.
        weights: how often each sample of it is drawn, any positive numbers.
        seed: of the run.
    """

    LEAST_PX = 16
    """Longer side of a hand."""

    def __init__(self, parts: list[DetectionShards], weights: list[float], seed: int) -> None:
        self.parts, self.seed = parts, seed
        self._chances = chances(parts, weights)

    def sample(self, number: int, side: int) -> tuple[np.ndarray, bool]:
        """(side, side, 3) uint8, and whether it is a left hand."""
        rng = stream(self.seed, number, "side")
        while True:
            part = self.parts[int(rng.choice(len(self.parts), p=self._chances))]
            labelled = part.read(int(rng.integers(len(part))))
            hands = [hand for hand in labelled.hands if is_usable(hand)]
            if hands:
                break
        hand = hands[int(rng.integers(len(hands)))]
        box, angle = box_and_angle(hand)
        box = box + rng.normal(0, BOX_STD, 4) * (box[2:] - box[:2]).max()
        crop = upright(labelled.image, box, angle + np.radians(ANGLE_STD_DEG) * rng.normal(), side)
        flips = bool(rng.random() < 0.5)
        crop = coloured(rng, np.ascontiguousarray(crop[:, ::-1]) if flips else crop)
        return crop, hand.is_left != flips


def is_usable(hand: LabelledHand) -> bool:
    """Whether enough of it is seen, and is large enough, to tell its side."""
    return hand.is_clear and float(np.ptp(hand.outline, axis=0).max()) >= SideDraws.LEAST_PX


def box_and_angle(hand: LabelledHand) -> tuple[np.ndarray, float]:
    """(4,) tight box [px], and the direction from wrist to middle knuckle, clockwise from upright [rad]."""
    box = np.concatenate([hand.outline.min(0), hand.outline.max(0)])
    return box, float(np.arctan2(hand.ray[0], -hand.ray[1]))


def usable_crops(data: DetectionShards, most: int, side: int = SIDE_PX) -> tuple[list[np.ndarray], np.ndarray]:
    """Crops about true boxes of the first hands of a dataset, `most` or a few more, and whether each is of a left hand."""
    crops: list[np.ndarray] = []
    left: list[bool] = []
    for position in range(len(data)):
        labelled = data.read(position)
        for hand in filter(is_usable, labelled.hands):
            crops.append(upright(labelled.image, *box_and_angle(hand), side))
            left.append(hand.is_left)
        if len(crops) >= most:
            break
    return crops, np.array(left, bool)
