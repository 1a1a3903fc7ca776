"""The 33 grasps of the GRASP taxonomy (Feix et al. 2016), each around things of several sizes, as designs.

Precision grasps are held by a ball between the pads of the thumb and the fingers, power grasps by a bar or a ball in the palm.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from handsynth.core.hand import HandModel
from pose_bank.design import OUT, ROUND, SIDE, Design
from pose_bank.landmarks import Landmarks
from pose_bank.target import Target

PADS = tuple(f"{finger}{k}.pad" for finger in ("index", "middle", "ring", "pinky") for k in (1, 2, 3))
THUMB_PADS = ("thumb2.pad", "thumb3.pad")


Thing = Callable[[np.ndarray], np.ndarray]
"""Signed distance of (N, 3) points to something held: (N,) [m]."""


class Palm:
    """Where held things lie: a frame on the skin of the flat hand's palm."""

    def __init__(self, model: HandModel, places: Landmarks) -> None:
        """Takes the frame from the knuckles and the palm's skin below them."""
        skin = model.v_template[[places[f"palm.{f}"] for f in ("index", "middle", "ring", "pinky")]]
        self.across = skin[0] - skin[3]
        self.across /= np.linalg.norm(self.across)
        self.out = np.cross(self.across, [-1.0, 0.0, 0.0])  # away from the palm
        self.out *= -np.sign(self.out[1]) / np.linalg.norm(self.out)
        self.along = np.cross(self.out, self.across)  # to the fingers
        self.along *= -np.sign(self.along[0])
        self.middle = skin.mean(0)

    def bar(self, radius: float, forward: float, tilt_deg: float) -> Thing:
        """Signed distance to a round bar across the palm.

        Args:
            radius: of the bar [m].
            forward: shift to the fingers [m].
            tilt_deg: turn in the plane of the palm; positive moves the thumb's end towards the fingers.
        """
        tilt = np.radians(tilt_deg)
        axis = np.cos(tilt) * self.across + np.sin(tilt) * self.along
        centre = self.middle + forward * self.along + radius * self.out

        def distance(points: np.ndarray) -> np.ndarray:
            arm = points - centre
            return np.linalg.norm(arm - (arm @ axis)[..., None] * axis, axis=-1) - radius

        return distance

    def ball(self, radius: float, forward: float) -> Thing:
        """Signed distance to a ball in the palm; the same words as for a bar."""
        centre = self.middle + forward * self.along + radius * self.out
        return lambda points: np.linalg.norm(points - centre, axis=-1) - radius


WRAPPED = Design("", ROUND, (48, 50), (52, 52), (54, 52), (56, 48))

TWO, THREE, FOUR = (("index", "middle", "ring", "pinky")[:n] for n in (2, 3, 4))
ON_INDEX, ON_MIDDLE = ((("thumb3.pad", f"{finger}3.pad"),) for finger in ("index", "middle"))
TIP_TO_TIP = (("thumb.tip", "index.tip"),)

PRECISION: tuple[tuple[Design, tuple[float, ...]], ...] = (
    (Design("palmar pinch", ROUND, (44, 34), (22, 26), (20, 24), (16, 22), ON_INDEX), (2, 5, 9)),
    (Design("tip pinch", ROUND, (48, 60), (30, 36), (30, 34), (26, 30), TIP_TO_TIP), (0, 1, 3)),
    (Design("inferior pincer", ROUND, (54, 16), (40, 40), (44, 46), (44, 46), ON_INDEX), (2, 4, 6)),
    (Design("prismatic 2 finger", ROUND, (46, 34, -2), (48, 36, 2), (34, 40), (32, 38), ON_INDEX, team=TWO), (4, 8, 12)),
    (Design("prismatic 3 finger", ROUND, (46, 32, -3), (48, 34), (50, 36, 2), (40, 40), ON_MIDDLE, team=THREE), (3, 7, 12)),
    (Design("prismatic 4 finger", ROUND, (44, 30, -3), (46, 32), (48, 34, 2), (50, 34, 8), ON_MIDDLE, team=FOUR), (3, 8, 14)),
    (Design("tripod", ROUND, (42, 40, 4), (44, 42, -2), (56, 64), (58, 64), ON_INDEX, team=TWO), (9, 13, 17)),
    (Design("quadpod", ROUND, (40, 38, 5), (42, 40), (42, 42, -6), (54, 62), ON_MIDDLE, team=THREE), (10, 15, 20)),
    (Design("sphere 3 finger", ROUND, (34, 38, 10), (38, 40, -4), (52, 58), (56, 60), ON_MIDDLE, team=TWO), (18, 23, 28)),
    (Design("sphere 4 finger", ROUND, (32, 38, 10), (34, 40), (34, 40, -8), (50, 54), ON_MIDDLE, team=THREE), (20, 25, 30)),
    (Design("precision sphere", ROUND, (28, 38, 12), (30, 40, 2), (30, 40, -6), (28, 38, -14), ON_MIDDLE, team=FOUR), (22, 28, 34)),
    (
        Design("precision disk", (-4, 22, 8, 2, 14), (20, 34, 18), (22, 36, 3), (22, 36, -10), (20, 34, -20), ON_MIDDLE, team=FOUR),
        (32, 38, 44),
    ),
    (
        Design("writing tripod", ROUND, (50, 34), (52, 44), (56, 60), (58, 60), (*TIP_TO_TIP, ("thumb3.pad", "middle3.thumbward"))),
        (3, 4, 5),
    ),
    (Design("tripod variation", ROUND, (40, 34), (44, 44), (50, 56), (52, 56), TIP_TO_TIP), (3, 6, 9)),
    (
        Design(
            "lateral tripod", (24, 8, 4, 20, 26), (50, 60), (50, 58), (58, 66), (60, 66), (("thumb3.pad", "middle2.thumbward"),)
        ),
        (2, 3, 5),
    ),
    (Design("lateral", SIDE, (44, 62), (52, 70), (56, 72), (58, 70), (("thumb3.pad", "index2.thumbward"),)), (0, 1.5, 3)),
    (
        Design("adduction grip", OUT, (8, 12, -4), (8, 12, 3), (24, 30), (28, 30), (("index2.littleward", "middle2.thumbward"),)),
        (0, 3, 4.5),
    ),
    (Design("parallel extension", ROUND, (58, 4, -4), (60, 4), (60, 4, 4), (60, 4, 9), ON_MIDDLE, team=FOUR), (8, 13, 18)),
    (Design("extension type", ROUND, (46, 8), (46, 8), (48, 8), (48, 8), (("thumb3.pad", "middle2.pad"),), team=FOUR), (8, 14, 20)),
    (Design("ventral", SIDE, (56, 74), (62, 80), (64, 82), (64, 80), (("thumb3.pad", "index2.back"),)), (0, 1.5, 3)),
    (Design("ring", ROUND, (46, 56), (30, 34), (28, 32), (24, 28), ON_INDEX), (14, 20, 26)),
    (
        Design("stick", (20, 10, 4, 14, 14), (44, 70), (56, 76), (60, 78), (60, 74), (("thumb3.pad", "index2.thumbward"),)),
        (4, 5.5, 7),
    ),
)
"""(posture, radii of what is held [mm])."""

Held = tuple[Design, str, tuple[float, ...], float, float, tuple[str, ...]]

POWER: tuple[Held, ...] = (
    (replace(WRAPPED, name="large diameter", thumb=(6, 34, 10, 8, 18)), "bar", (34, 40, 46), 4, 12, PADS + THUMB_PADS),
    (replace(WRAPPED, name="medium wrap"), "bar", (20, 25, 30), 2, 14, PADS + THUMB_PADS),
    (replace(WRAPPED, name="small diameter", thumb=(24, 22, 8, 24, 34)), "bar", (12, 15, 18), 2, 14, PADS + THUMB_PADS),
    (replace(WRAPPED, name="adducted thumb", thumb=SIDE), "bar", (12, 15, 18), 2, 24, PADS + THUMB_PADS),
    (replace(WRAPPED, name="light tool", thumb=SIDE), "bar", (7, 9, 11), 2, 18, PADS + THUMB_PADS),
    (replace(WRAPPED, name="index finger extension", index=(24, 6), thumb=SIDE), "bar", (9, 12, 15), 0, 30, PADS[3:] + THUMB_PADS),
    (replace(WRAPPED, name="fixed hook", thumb=OUT), "bar", (8, 11, 14), 22, 0, PADS),
    (replace(WRAPPED, name="palmar", thumb=(16, 2, 4, 10, 14)), "bar", (10, 14), 16, 0, PADS),
    (replace(WRAPPED, name="power sphere", thumb=(4, 34, 8, 6, 18), index=(34, 40, 12), middle=(38, 42, 3), ring=(38, 42, -6),
             pinky=(36, 40, -14)), "ball", (30, 36, 42), 6, 0, PADS + THUMB_PADS),
    (replace(WRAPPED, name="power disk", thumb=(-6, 16, 4, 2, 20), index=(16, 54, 16), middle=(18, 58, 3), ring=(18, 58, -8),
             pinky=(16, 54, -18)), "ball", (46, 54), 8, 0, tuple(p for p in PADS if "3" in p) + THUMB_PADS[1:]),
    (replace(WRAPPED, name="distal", index=(20, 40), middle=(30, 54), ring=(40, 60), pinky=(44, 60), thumb=(16, 22, 8, 14, 30)),
     "bar", (9, 13), 34, 0, ("index2.pad", "middle2.pad", "ring2.pad", "thumb2.pad")),
)  # fmt: skip
"""(posture, kind of thing, its radii [mm], shift to the fingers [mm], tilt [deg], places that touch it)."""


def grasp_wishes(model: HandModel, places: Landmarks) -> list[tuple[str, list[Target]]]:
    """(name, one target per size) of every grasp."""
    palm, out = Palm(model, places), []
    for design, radii in PRECISION:
        out.append((design.name, [replace(design, ball=r).target() for r in radii]))
    for design, kind, radii, forward, tilt, grip in POWER:
        targets = []
        for r in radii:
            thing = palm.ball(r * 1e-3, forward * 1e-3) if kind == "ball" else palm.bar(r * 1e-3, forward * 1e-3, tilt)
            targets.append(replace(design.target(), object=thing, grip=grip))
        out.append((design.name, targets))
    return out
