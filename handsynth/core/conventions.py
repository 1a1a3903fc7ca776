"""Orders, names, tables and versions that every dataset shares: the constants behind CONVENTIONS.md."""

from handsynth.core.errors import HandsynthError

SCHEMA = "handsynth/3"
"""Name and version of the sample schema that is written. CONVENTIONS.md says what each version changed."""

READABLE_SCHEMAS = ("handsynth/1", "handsynth/2", SCHEMA)
"""Schemas that are read, oldest first. Datasets of an older one are trained on, verified and shown, never continued or replayed."""

GENERATOR_VERSION = 7
"""Version of the code that makes samples: part of a dataset's identity, and recorded in its index.

To be raised with every change after which an unchanged spec, on unchanged assets, gives another recipe, label or pixel: in
sampling, posing, texturing, rendering, compositing, annotating or encoding. A dataset that was begun before the change is then
neither continued nor replayed by code after it. The painted skin and the scenes have versions of their own, which their digests
hold: PAINTER_VERSION in assets/skins/painter/basis.py, VERSION in assets/backgrounds/procedural/scenes.py.
tests/test_golden.py fails when one of the three was forgotten.
"""


def check_schema(schema: object, where: str) -> None:
    """Raises HandsynthError when the schema of a dataset or of its labels, read at `where`, is none of READABLE_SCHEMAS."""
    if schema not in READABLE_SCHEMAS:
        raise HandsynthError(f"{where}: schema is {schema!r:.60}, this version reads {', '.join(READABLE_SCHEMAS)}")


JOINT_NAMES = (
    "wrist",
    "index1", "index2", "index3",
    "middle1", "middle2", "middle3",
    "pinky1", "pinky2", "pinky3",
    "ring1", "ring2", "ring3",
    "thumb1", "thumb2", "thumb3",
)  # fmt: skip
"""The 16 joints of the kinematic tree in MANO's order (Romero et al. 2017): pinky comes before ring."""

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
"""Parent of each joint in MANO's order; -1 marks the root."""

FINGER_JOINTS = {"index": (1, 2, 3), "middle": (4, 5, 6), "pinky": (7, 8, 9), "ring": (10, 11, 12), "thumb": (13, 14, 15)}
"""Joints of each finger, from the palm outwards, in MANO's order."""

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
"""Order of the fingers in keypoints and in fingertip tables."""

KEYPOINT_NAMES = (
    "wrist",
    "thumb1", "thumb2", "thumb3", "thumb_tip",
    "index1", "index2", "index3", "index_tip",
    "middle1", "middle2", "middle3", "middle_tip",
    "ring1", "ring2", "ring3", "ring_tip",
    "pinky1", "pinky2", "pinky3", "pinky_tip",
)  # fmt: skip
"""The 21 evaluated points in FreiHAND's order (Zimmermann et al. 2019)."""

KEYPOINT_SOURCE = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
"""Keypoint k is row KEYPOINT_SOURCE[k] of [16 joints, then tips of thumb, index, middle, ring, pinky]."""

KEYPOINT_PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
"""Bones of the 21 keypoints, for drawing and for bone lengths."""

FINGERTIP_TABLES = {
    "freihand": (744, 320, 443, 555, 672),
    "smplx": (744, 320, 443, 554, 671),
    "manopth": (745, 317, 444, 556, 673),
}
"""Tip vertices of MANO's right hand (thumb, index, middle, ring, pinky), by the project that uses them.

`freihand` is `lmb-freiburg/freihand:utils/mano_utils.py` and our default; a hand of another topology brings its own table.
"""

ARM_PART = 17
"""The forearm's value in the parts pass, after those of the 16 joints, each of which is its number plus one."""

CLOTHING_PART = 18
"""The value in the parts pass of whatever is worn and has a surface of its own: sleeve, watch, bracelet, rings."""

OBJECT_PART = 19
"""The value in the parts pass of what the hand holds."""

OTHER_HAND_PART = 20
"""The value in the parts pass of another hand than the labelled one, with its forearm and all that it wears."""

OCCLUDER_PART = 21
"""The value in the parts pass of a thing between the camera and the hand, which nobody holds."""

OTHER_PARTS = (ARM_PART, CLOTHING_PART, OBJECT_PART, OTHER_HAND_PART, OCCLUDER_PART)
"""Values in the parts pass of what stands beside the hand."""

CLOTHING = ("bracelet", "glove", "rings", "sleeve", "varnish", "watch")
"""What may be worn, by its name in specs, recipes and labels."""

WORN_ON_FOREARM = ("sleeve", "watch", "bracelet")
"""What takes a forearm to be worn on."""

TEXTURE_CLOTHING = ("glove", "varnish")
"""What is a layer of the hand's own texture: it is part of the hand in mask and passes. The others are CLOTHING_PART."""

KEYPOINT_PARTS = (
    (0, ARM_PART - 1, CLOTHING_PART - 1),
    (0, 13, 14, 15), (13, 14, 15), (13, 14, 15), (13, 14, 15),
    (0, 1, 2, 3), (1, 2, 3), (1, 2, 3), (1, 2, 3),
    (0, 4, 5, 6), (4, 5, 6), (4, 5, 6), (4, 5, 6),
    (0, 10, 11, 12), (10, 11, 12), (10, 11, 12), (10, 11, 12),
    (0, 7, 8, 9), (7, 8, 9), (7, 8, 9), (7, 8, 9),
)  # fmt: skip
"""Parts (joints that move the surface) in whose flesh each keypoint lies: its finger's, of a finger's first the palm's too, of the
wrist the palm and the forearm, which is the part after the joints, and what is worn on it, the part after that."""

VISIBLE_TOLERANCE_M = 0.02
"""A keypoint is visible when no surface of its own parts lies more than this in front of it [m].

Joints lie inside the flesh: half a finger is about 8 mm and half a palm about 15 mm thick. Tips lie on the skin, and seen from
behind have 12 to 18 mm of their own phalanx in front.
"""

OCCLUDER_GAP_M = 0.001
"""A keypoint is hidden when a surface of any other part lies more than this in front of it [m]: another finger, however thin, hides
what touches its back. Below this it is a matter of where in its pixel the keypoint lies."""

DEPTH_UNIT_M = 1e-4
"""One grey level of a 16-bit depth image [m]; 0 means background."""

LABEL_GRID_M = 1e-6
"""Labels in metres are rounded to this grid, so that last-bit differences between processors never reach a file."""
