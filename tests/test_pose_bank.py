"""The embedded bank of poses: inside human ranges, natural, diverse, and no finger in another one on the posed mesh.

Overlaps are measured here by winding numbers of closed parts, another way than that of the script that made the bank.
"""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from handsynth.core.conventions import FINGER_JOINTS
from handsynth.core.hand import load_hand, pose_hand
from handsynth.core.locations import EMBEDDED
from handsynth.core.mesh import vertex_normals
from handsynth.core.poses import load_poses

LONG = ("index", "middle", "ring", "pinky")
FINGER_BOUND_M, PALM_BOUND_M = 0.0023, 0.0033
"""The bank's own bounds are 2 mm and 3 mm; the rest is float32 and how a cut-off part is closed."""

SUBSET = 7
"""Every seventh pose is tested on the mesh: 128 of them."""


@pytest.fixture(scope="module")
def hand():
    return load_hand(EMBEDDED / "hand.npz")


@pytest.fixture(scope="module")
def bank():
    return load_poses(EMBEDDED / "poses.npz")


@pytest.fixture(scope="module")
def angles(hand, bank):
    """(895, 16, 3) flexion, abduction, twist [deg]: intrinsic rotations about the joint's own axes."""
    axes = hand.joint_axes[1:]
    local = axes @ Rotation.from_rotvec(bank.theta.reshape(-1, 3)).as_matrix().reshape(-1, 15, 3, 3) @ np.swapaxes(axes, 1, 2)
    found = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_euler("XYZ", degrees=True).reshape(-1, 15, 3)
    return np.concatenate([np.zeros((len(found), 1, 3)), found], 1)


@pytest.fixture(scope="module")
def posed(hand, bank):
    return posed_hand(hand, bank.theta)


def posed_hand(hand, theta):
    theta = np.concatenate([np.zeros((len(theta), 1, 3)), theta], 1)
    return pose_hand(hand, theta, np.zeros(hand.num_shapes))


def category(name):
    return name.partition(":")[0].split(" ")[0]


def closed_part(hand, joints):
    """Faces of a part, then fans (a, b, -1 - loop) over its open edges, one loop per connected rim."""
    faces = hand.faces[np.isin(hand.parts, joints)]
    edges = {(int(a), int(b)) for f in faces for a, b in zip(f, np.roll(f, -1), strict=True)}
    rim = [e for e in edges if e[::-1] not in edges]
    loops = trimesh.graph.connected_components(np.array(rim), nodes=np.unique(rim), min_len=1)
    return faces, [[(b, a) for a, b in rim if a in set(loop)] for loop in loops]


def winding_number(points, triangles):
    """(P, 3), (F, 3, 3) -> (P,) how often the surface wraps around each point (Van Oosterom and Strackee 1983)."""
    a, b, c = (triangles[None, :, k] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(x, axis=-1) for x in (a, b, c))
    top = (a * np.cross(b, c)).sum(-1)
    bottom = la * lb * lc + (a * b).sum(-1) * lc + (a * c).sum(-1) * lb + (b * c).sum(-1) * la
    return np.arctan2(top, bottom).sum(-1) / (2 * np.pi)


def depth(vertices, rows, part):
    """Greatest depth [m] of vertices `rows` inside a closed part."""
    faces, loops = part
    skin = vertices[faces]
    points = vertices[rows]
    points = points[((points > skin.min((0, 1))) & (points < skin.max((0, 1)))).all(1)]
    if not len(points):
        return 0.0
    caps = [[(vertices[a], vertices[b], vertices[[e[0] for e in loop]].mean(0)) for a, b in loop] for loop in loops]
    closed = np.concatenate([skin, *(np.array(c) for c in caps)])
    points = points[winding_number(points, closed) > 0.5]
    if not len(points):
        return 0.0
    pairs = np.repeat(points, len(skin), 0), np.tile(skin, (len(points), 1, 1))
    nearest = trimesh.triangles.closest_point(pairs[1], pairs[0])
    return float(np.linalg.norm(pairs[0] - nearest, axis=1).reshape(len(points), -1).min(1).max())


class Overlaps:
    """Depths of fingers in fingers, and of fingertips in the palm (which the ball of the thumb belongs to)."""

    def __init__(self, hand):
        thumb = FINGER_JOINTS["thumb"]
        owner = hand.weights.argmax(1)
        bodies = {f: m if f != "thumb" else m[1:] for f, m in FINGER_JOINTS.items()}
        self.parts = {f: closed_part(hand, m) for f, m in bodies.items()}
        self.palm = closed_part(hand, (0, thumb[0]))
        self.outer = {f: np.flatnonzero(np.isin(owner, m[1:])) for f, m in FINGER_JOINTS.items()}
        self.tips = np.flatnonzero(np.isin(owner, [FINGER_JOINTS[f][2] for f in LONG]))

    def __call__(self, vertices):
        fingers = max(depth(vertices, rows, part) for f, rows in self.outer.items() for g, part in self.parts.items() if f != g)
        return fingers, depth(vertices, self.tips, self.palm)


def test_there_are_895_finite_poses_with_their_own_names(bank):
    assert bank.theta.shape == (895, 15, 3)
    assert np.isfinite(bank.theta).all()
    assert bank.names[0] == "flat"
    assert not bank.theta[0].any()
    assert len(set(bank.names)) == len(bank.names)


def test_every_category_is_there_and_every_grasp_of_the_taxonomy(bank):
    found = {
        c: sum(category(n) == c for n in bank.names)
        for c in ("gesture", "count", "letter", "relaxed", "grasp", "between", "random")
    }
    assert min(found.values()) >= 40, found
    kinds = {n.partition(": ")[2].rsplit(" ", 1)[0] for n in bank.names if category(n) == "grasp"}
    assert len(kinds) == 33
    letters = {n.split()[1] for n in bank.names if category(n) == "letter"}
    assert letters >= set("ABCDEFGHIKLMNORSTUVWXY")


def test_every_joint_stays_within_its_limits(hand, angles):
    low, high = np.degrees(hand.joint_limits[..., 0]), np.degrees(hand.joint_limits[..., 1])
    assert (angles >= low - 0.1).all()
    assert (angles <= high + 0.1).all()


def test_no_finger_runs_through_another_one_or_the_palm(hand, bank, posed):
    overlaps = Overlaps(hand)
    for k in range(0, len(bank.names), SUBSET):
        finger, palm = overlaps(posed.vertices[k])
        assert finger <= FINGER_BOUND_M, f"{bank.names[k]}: a finger lies {finger * 1e3:.1f} mm deep in another one"
        assert palm <= PALM_BOUND_M, f"{bank.names[k]}: a fingertip lies {palm * 1e3:.1f} mm deep in the palm"


def test_the_overlap_test_can_fail(hand):
    """A middle finger turned into the index finger, and fingers bent through the palm, are found."""
    axes, overlaps = hand.joint_axes, Overlaps(hand)
    crossed, through = np.zeros((15, 3)), np.zeros((15, 3))
    crossed[FINGER_JOINTS["middle"][0] - 1] = 0.5 * axes[FINGER_JOINTS["middle"][0], 1]
    for f in LONG:
        first, second, third = FINGER_JOINTS[f]
        through[[first - 1, second - 1, third - 1]] = np.array([[1.5], [1.8], [1.0]]) * axes[[first, second, third], 0]
    vertices = posed_hand(hand, np.stack([crossed, through])).vertices
    assert overlaps(vertices[0])[0] > 2 * FINGER_BOUND_M
    assert overlaps(vertices[1])[1] > 2 * PALM_BOUND_M


@pytest.mark.parametrize(
    ("pose", "finger"),
    [
        ("gesture: OK 1", "index"),
        ("gesture: pinch 1", "index"),
        ("letter: F 1", "index"),
        ("gesture: pinch middle 1", "middle"),
        ("count: seven, thumb to ring 1", "ring"),
        ("count: six, thumb to pinky 1", "pinky"),
        ("grasp: tip pinch 1", "index"),
    ],
)
def test_in_a_pinch_the_thumb_meets_the_finger_pad_to_pad(hand, bank, posed, pose, finger):
    """Skin touches within 1.5 mm, and there the thumb's skin faces the finger's."""
    vertices = posed.vertices[bank.names.index(pose)]
    thumb = np.flatnonzero(hand.weights.argmax(1) == FINGER_JOINTS["thumb"][2])
    faces = hand.faces[hand.parts == FINGER_JOINTS[finger][2]]
    pairs = np.repeat(vertices[thumb], len(faces), 0), np.tile(vertices[faces], (len(thumb), 1, 1))
    gap = np.linalg.norm(pairs[0] - trimesh.triangles.closest_point(pairs[1], pairs[0]), axis=1).reshape(len(thumb), -1)
    assert gap.min() < 0.0015
    normals = vertex_normals(vertices, hand.faces)
    near = gap < gap.min() + 0.004
    one, other = normals[thumb[near.any(1)]].mean(0), normals[faces[near.any(0)]].mean((0, 1))
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) < -0.5


def test_the_thumb_of_a_fist_lies_outside(hand, bank, posed):
    """It is farther from the palm (-y) than the middle phalanx of the index finger, over which it closes."""
    for name in ("gesture: fist 1", "gesture: tight fist 1", "letter: S 1"):
        k = bank.names.index(name)
        index = posed.vertices[k][hand.weights.argmax(1) == FINGER_JOINTS["index"][1]]
        assert posed.vertices[k][hand.fingertips[0], 1] < index[:, 1].mean(), name


def test_the_last_joint_follows_the_middle_one(bank, angles):
    """The last joint is near two thirds of the middle one, as tendons tie them, wherever no contact bends it otherwise."""
    natural = np.array([category(n) in ("relaxed", "random", "between") for n in bank.names])
    for f in LONG:
        _, middle, last = FINGER_JOINTS[f]
        free = natural & (angles[:, middle, 0] < 100)
        rest = angles[free, last, 0] - 2 / 3 * angles[free, middle, 0]
        assert np.abs(rest).mean() < 6
        assert np.corrcoef(angles[free, middle, 0], angles[free, last, 0])[0, 1] > 0.93


def test_neighbours_bend_together_and_bent_knuckles_do_not_spread(bank, angles):
    random = np.array([category(n) == "random" for n in bank.names])
    first = np.array([FINGER_JOINTS[f][0] for f in LONG])
    together = np.corrcoef(angles[random][:, first, 0].T)
    assert min(together[k, k + 1] for k in range(3)) > 0.25
    flexion, abduction = angles[random][:, first, 0], np.abs(angles[random][:, first, 1])
    assert abduction[flexion > 65].mean() < 0.7 * abduction[flexion < 20].mean()


def test_the_bank_spreads_widely(bank, angles, posed, hand):
    """Every finger uses most of its range, no pose comes twice, and it takes many components to describe them."""
    for f, members in FINGER_JOINTS.items():
        for j in members[:2]:
            low, high = np.degrees(hand.joint_limits[j, 0])
            used = np.ptp(np.quantile(angles[:, j, 0], [0.005, 0.995]))
            assert used > 0.75 * (high - max(low, -10)), f"{f}, joint {j}: {used:.0f} degrees of {high - low:.0f}"
    points = posed.keypoints.reshape(len(bank.theta), -1)
    apart = np.sqrt(np.maximum((points**2).sum(1)[:, None] + (points**2).sum(1) - 2 * points @ points.T, 0) / 21)
    assert apart[np.triu_indices(len(points), 1)].mean() > 0.025  # [m] per keypoint, root mean square
    assert (apart + np.eye(len(points))).min() > 0.0004
    spectrum = (
        np.linalg.svd(bank.theta.reshape(len(bank.theta), -1) - bank.theta.reshape(len(bank.theta), -1).mean(0), compute_uv=False)
        ** 2
    )
    assert (np.cumsum(spectrum) / spectrum.sum() < 0.95).sum() >= 8
