"""Crops for a second look at what a detector has found: is it a hand, and which? Upright, about a box, as box and direction allow.

Which side a hand has is hard to see at any turn and size, and much easier once it stands upright: thumb to the left and back of the
hand, or the other way round. What is no hand are boxes anywhere in the image, parts of hands and boxes much too wide, and what a
detector has taken for one.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from handmesh.data.crop import BOX_MARGIN, crop_affine, warp
from handmesh.data.detection import DetectionShards, LabelledHand, LabelledImage, chances
from handmesh.data.tones import coloured
from handmesh.detection_maps import SIDE_PX, Found, intersections, overlaps
from handsynth.core.rng import stream

BOX_STD, ANGLE_STD_DEG = 0.06, 20.0
"""How far detectors are off: edges of boxes over the longer side, and directions."""


def upright(image: np.ndarray, box: np.ndarray, angle: float, side: int = SIDE_PX) -> np.ndarray:
    """(H, W, 3) uint8 image, (4,) box [px] and direction as of `Detection` -> (side, side, 3), the hand pointing up."""
    size = BOX_MARGIN * float((box[2:] - box[:2]).max())
    return warp(image, crop_affine((box[:2] + box[2:]) / 2, max(size, 1.0), -angle, side), side)


class Crop(NamedTuple):
    """What a second look sees, and should say."""

    image: np.ndarray  # (S, S, 3) uint8, sRGB
    is_left: bool
    is_hand: bool


Place = tuple[np.ndarray, float, bool]
"""(4,) box [px], direction as of `Detection`, whether it is of a left hand."""

Finder = Callable[[np.ndarray], Found]
"""(H, W, 3) uint8 sRGB -> what a detector finds in it, however unsure."""


class SideDraws:
    """Training crops by number, see `data.detection.Draws`; hands that hardly show are neither hands nor anything else.

    Args:
        parts: datasets of crowds or of single hands.
        weights: how often each sample of it is drawn, any positive numbers.
        seed: of the run.
        detector: what finds hands in an image, and much that is none; None: boxes are drawn.
    """

    LEAST_PX = 16
    """Longer side of a hand."""

    NO_HAND = 1 / 3
    """Share of the crops that show none."""

    MISTAKEN = 0.6
    """Share of these that are a detector's mistakes, where it makes one."""

    def __init__(self, parts: list[DetectionShards], weights: list[float], seed: int, detector: Finder | None = None) -> None:
        self.parts, self.seed, self.detector = parts, seed, detector
        self._chances = chances(parts, weights)

    def sample(self, number: int, side: int) -> Crop:
        """That crop, of `side` pixels."""
        rng = stream(self.seed, number, "side")
        is_hand = bool(rng.random() >= self.NO_HAND)
        found = None
        while found is None:
            part = self.parts[int(rng.choice(len(self.parts), p=self._chances))]
            labelled = part.read(int(rng.integers(len(part))))
            if is_hand:
                found = _a_hand(rng, labelled)
            else:
                found = self._mistake(rng, labelled) or no_hand(rng, labelled)
        box, angle, is_left = found
        crop = upright(labelled.image, box, angle, side)
        flips = bool(rng.random() < 0.5)
        crop = coloured(rng, np.ascontiguousarray(crop[:, ::-1]) if flips else crop)
        return Crop(crop, is_hand and is_left != flips, is_hand)

    def _mistake(self, rng: np.random.Generator, labelled: LabelledImage) -> Place | None:
        """What the detector takes for a hand, and is none; None where it makes no mistake, or where boxes are drawn."""
        if self.detector is None or rng.random() >= self.MISTAKEN:
            return None
        found, hands = self.detector(labelled.image), boxes_of(labelled)
        wrong = [k for k, box in enumerate(found.boxes) if is_nothing(box, *hands)]
        if not wrong:
            return None
        chosen = wrong[int(rng.integers(len(wrong)))]
        return found.boxes[chosen], float(found.angles[chosen]), False


def _a_hand(rng: np.random.Generator, labelled: LabelledImage) -> Place | None:
    """One of the hands, as a detector might have found it."""
    hands = [hand for hand in labelled.hands if is_usable(hand)]
    if not hands:
        return None
    hand = hands[int(rng.integers(len(hands)))]
    box, angle = box_and_angle(hand)
    box = box + rng.normal(0, BOX_STD, 4) * (box[2:] - box[:2]).max()
    return box, angle + np.radians(ANGLE_STD_DEG) * rng.normal(), hand.is_left


FAR = 0.25
"""Greatest overlap (intersection over union) of what is no hand with a hand."""

TRIES = 20
"""Boxes that are drawn in an image, in search of one without a hand."""


def no_hand(rng: np.random.Generator, labelled: LabelledImage) -> Place | None:
    """A box that is no hand's: half of them near one, a part of it or much wider; None where none is found."""
    size = np.array(labelled.image.shape[1::-1], np.float64)
    boxes, usable = boxes_of(labelled)
    for _ in range(TRIES):
        if len(boxes) and rng.random() < 0.5:
            near = boxes[int(rng.integers(len(boxes)))]
            sides = near[2:] - near[:2]
            longest = float(sides.max()) * np.exp(rng.uniform(np.log(0.2), np.log(2.5)))
            centre = (near[:2] + near[2:]) / 2 + rng.uniform(-0.75, 0.75, 2) * sides
        else:
            longest = np.exp(rng.uniform(np.log(SideDraws.LEAST_PX), np.log(float(size.max()))))
            centre = rng.uniform(0, 1, 2) * size
        shape = np.exp(rng.uniform(-0.4, 0.4, 2))
        half = longest / 2 * shape / shape.max()
        box = np.concatenate([np.clip(centre - half, 0, size), np.clip(centre + half, 0, size)])
        if is_nothing(box, boxes, usable):
            return box, float(rng.uniform(-np.pi, np.pi)), False
    return None


def is_nothing(box: np.ndarray, boxes: np.ndarray, usable: np.ndarray) -> bool:
    """Whether a box is large enough to be looked at, far from every hand, and not within one that hardly shows.

    Args:
        box: (4,) [px].
        boxes: (N, 4) of all hands of the image, as of `boxes_of`.
        usable: (N,) bool, of these hands.
    """
    area = float((box[2:] - box[:2]).prod())
    if (box[2:] - box[:2]).max() < SideDraws.LEAST_PX or area <= 0:
        return False
    return not ((overlaps(box, boxes) >= FAR).any() or (intersections(box, boxes[~usable]) >= FAR * area).any())


def boxes_of(labelled: LabelledImage) -> tuple[np.ndarray, np.ndarray]:
    """(N, 4) tight boxes of all hands of an image [px], and (N,) whether each is usable."""
    boxes = np.reshape([box_and_angle(hand)[0] for hand in labelled.hands], (-1, 4))
    return boxes, np.array([is_usable(hand) for hand in labelled.hands], bool)


def is_usable(hand: LabelledHand) -> bool:
    """Whether enough of it is seen, and is large enough, to tell its side."""
    return hand.is_clear and float(np.ptp(hand.outline, axis=0).max()) >= SideDraws.LEAST_PX


def box_and_angle(hand: LabelledHand) -> tuple[np.ndarray, float]:
    """(4,) tight box [px], and the direction from wrist to middle knuckle, clockwise from upright [rad]."""
    box = np.concatenate([hand.outline.min(0), hand.outline.max(0)])
    return box, float(np.arctan2(hand.ray[0], -hand.ray[1]))


def usable_crops(data: DetectionShards, most: int, side: int = SIDE_PX) -> list[Crop]:
    """Crops about true boxes of the first hands of a dataset, `most` or a few more, and about one box without a hand an image."""
    crops: list[Crop] = []
    hands = 0
    for position in range(len(data)):
        labelled = data.read(position)
        places = [(*box_and_angle(hand), hand.is_left) for hand in labelled.hands if is_usable(hand)]
        crops += [Crop(upright(labelled.image, box, angle, side), is_left, True) for box, angle, is_left in places]
        if nothing := no_hand(stream(0, position, "no hand"), labelled):
            crops.append(Crop(upright(labelled.image, *nothing[:2], side), False, False))
        hands += len(places)
        if hands >= most:
            break
    return crops
