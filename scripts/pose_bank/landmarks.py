"""Named places on the skin (the pad of the thumb, the index finger's thumbward side), to bring into contact."""

import numpy as np

from handsynth.core.conventions import FINGER_JOINTS, FINGERS
from handsynth.core.hand import HandModel

SIDES = {"pad": (1, -1), "back": (1, 1), "thumbward": (0, 1), "littleward": (0, -1)}
"""Direction of a place from the bone: which row of `joint_axes`, and its sign."""

ALONG = {1: 0.55, 2: 0.5, 3: 0.55}
"""How far along its phalanx a place lies: near the middle, where pads and the flat of a finger are."""

PALM_DEPTH_M, PALM_BACK = 0.02, 0.5
"""The palm's places lie below the knuckles and half a phalanx towards the wrist; the depth only has to reach the skin."""


class Landmarks:
    """Vertices of named places: `finger[phalanx].side`, as in index3.pad, `finger.tip`, or `palm.finger`."""

    def __init__(self, model: HandModel) -> None:
        """Finds all places on the flat hand."""
        self.vertex: dict[str, int] = {}
        joints, tips = model.rest_joints, dict(zip(FINGERS, model.v_template[model.fingertips], strict=True))
        owner = model.weights.argmax(1)
        for finger, members in FINGER_JOINTS.items():
            ends = [*joints[list(members)], tips[finger]]
            for k, joint in enumerate(members, 1):
                own = np.flatnonzero(owner == joint)
                bone = ends[k] - ends[k - 1]
                middle = ends[k - 1] + ALONG[k] * bone
                arm = np.linalg.norm(np.cross(model.v_template[own] - ends[k - 1], bone), axis=1)
                radius = np.median(arm) / np.linalg.norm(bone)
                for side, (row, sign) in SIDES.items():
                    at = middle + sign * radius * model.joint_axes[joint, row]
                    self.vertex[f"{finger}{k}.{side}"] = int(own[np.linalg.norm(model.v_template[own] - at, axis=1).argmin()])
            if finger != "thumb":
                at = joints[members[0]] - PALM_DEPTH_M * model.joint_axes[members[0], 1] - PALM_BACK * (ends[1] - ends[0])
                own = np.flatnonzero((owner == 0) & (model.v_template[:, 1] < joints[members[0], 1]))
                self.vertex[f"palm.{finger}"] = int(own[np.linalg.norm(model.v_template[own] - at, axis=1).argmin()])
            # A tip that touches does so with its pulp, between the very end and the pad.
            at = 0.5 * (tips[finger] + model.v_template[self.vertex[f"{finger}3.pad"]])
            own = np.flatnonzero(owner == members[2])
            self.vertex[f"{finger}.tip"] = int(own[np.linalg.norm(model.v_template[own] - at, axis=1).argmin()])

    def __getitem__(self, place: str) -> int:
        """Vertex of a place. Raises KeyError naming the known ones."""
        if place not in self.vertex:
            raise KeyError(f"no place {place!r} on the hand; known: {', '.join(sorted(self.vertex))}")
        return self.vertex[place]
