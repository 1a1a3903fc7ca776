"""The embedded hand: MANO's counts and layout, a sound surface, bends that keep their flesh, a texture without overlaps."""

import dataclasses
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest

from handsynth.core.conventions import FINGER_JOINTS, FINGERS, PARENTS
from handsynth.core.hand import HandModel, load_hand, pose_hand
from handsynth.core.locations import EMBEDDED
from handsynth.core.mesh import boundary_loop, face_normals

LONG_FINGERS = ("index", "middle", "ring", "pinky")


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return load_hand(EMBEDDED / "hand.npz")


def bend(hand: HandModel, angles: Mapping[int, tuple[float, float, float]]) -> np.ndarray:
    """(V, 3) hand with joint -> (flexion, abduction, twist) in degrees, one axis per joint."""
    theta = np.zeros((16, 3))
    for joint, degrees in angles.items():
        theta[joint] = np.radians(degrees) @ hand.joint_axes[joint]
    return pose_hand(hand, theta, np.zeros(hand.num_shapes)).vertices


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Volume [m3] of a mesh with one hole, closed by a fan."""
    loop = boundary_loop(faces)
    cap = np.stack([np.roll(loop, -1), loop, np.full(len(loop), len(vertices))], 1)
    points = np.concatenate([vertices, vertices[loop].mean(0, keepdims=True)])
    a, b, c = points[np.concatenate([faces, cap])].transpose(1, 0, 2)
    return float(np.einsum("fa,fa->", np.cross(a, b), c) / 6)


def fist(hand: HandModel) -> np.ndarray:
    angles = {j: (d, 0.0, 0.0) for f in LONG_FINGERS for j, d in zip(FINGER_JOINTS[f], (80, 90, 60), strict=True)}
    return bend(hand, angles)


def test_counts_are_manos(hand):
    assert (hand.num_vertices, len(hand.faces), hand.num_joints, hand.num_shapes) == (778, 1538, 16, 10)
    assert hand.posedirs.shape == (778, 3, 135)
    assert tuple(hand.parents) == PARENTS
    assert (hand.name, hand.fingertip_table) == ("embedded", "embedded")
    assert "CC0" in hand.licence
    assert "CC0" in (EMBEDDED / "LICENSE-hand.txt").read_text()


def test_surface_is_one_disc_with_a_rim_of_sixteen(hand):
    """Every vertex is used, each edge has one or two faces, and V - E + F = 1: one connected sheet with one hole, no handle."""
    edges = np.sort(np.concatenate([hand.faces[:, [0, 1]], hand.faces[:, [1, 2]], hand.faces[:, [2, 0]]]), 1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    assert len(np.unique(hand.faces)) == hand.num_vertices
    assert set(count) == {1, 2}
    assert (count == 1).sum() == len(boundary_loop(hand.faces)) == 16
    assert hand.num_vertices - len(unique) + len(hand.faces) == 1
    reached, frontier = {0}, [0]
    neighbours: dict[int, set[int]] = {}
    for a, b in unique.tolist():
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    while frontier:
        new = neighbours[frontier.pop()] - reached
        reached |= new
        frontier += new
    assert len(reached) == hand.num_vertices


def test_faces_are_wound_outwards_and_none_is_degenerate(hand):
    """Each inner edge is run through once each way, the volume is positive, and no triangle is a needle."""
    directed = np.concatenate([hand.faces[:, [0, 1]], hand.faces[:, [1, 2]], hand.faces[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)
    assert 1.5e-4 < volume(hand.v_template, hand.faces) < 6e-4  # an adult's hand displaces about 0.35 litres
    corner = hand.v_template[hand.faces]
    longest = np.linalg.norm(corner - np.roll(corner, 1, 1), axis=2).max(1)
    assert (np.linalg.norm(face_normals(hand.v_template, hand.faces), axis=1) > 0.04 * longest**2).all()


def test_frame_and_size_are_manos(hand):
    """Fingers along -x, thumb at +z, palm down, and an adult's length from wrist to middle fingertip."""
    joints, tips = hand.rest_joints, dict(zip(FINGERS, hand.v_template[hand.fingertips], strict=True))
    assert np.abs(joints[0] - [0.0957, 0.0064, 0.0062]).max() < 2e-3
    assert 0.175 < np.linalg.norm(tips["middle"] - joints[0]) < 0.195
    assert all((tips[f] - joints[0])[0] < -0.12 for f in LONG_FINGERS)
    across = [joints[FINGER_JOINTS[f][0], 2] for f in ("thumb", *LONG_FINGERS)]
    assert all(a > b for a, b in pairwise(across))
    assert tips["thumb"][1] < joints[0][1]


def test_tips_are_the_ends_of_their_fingers(hand):
    """A tip vertex lies on the pad: within 5 mm of its finger's end along the last bone, on the palm's side of the end."""
    for finger, tip in zip(FINGERS, hand.fingertips, strict=True):
        last = FINGER_JOINTS[finger][2]
        own = hand.v_template[hand.weights.argmax(1) == last]
        axis = hand.joint_axes[last, 2]
        end = own[(own @ axis).argmax()]
        assert hand.v_template[tip] @ axis > end @ axis - 0.005
        assert (hand.v_template[tip] - end) @ hand.joint_axes[last, 1] < -0.003
        assert hand.weights[tip, last] > 0.9


def test_rows_sum_to_one_and_joints_lie_inside(hand):
    assert np.abs(hand.weights.sum(1) - 1).max() < 1e-5
    assert np.abs(hand.J_regressor.sum(1) - 1).max() < 1e-5
    assert hand.weights.min() >= 0
    assert (hand.J_regressor > 0).sum(1).max() < 40
    # The solid angle of the surface seen from a point inside is 4 pi; the wrist's open end takes a part of the wrist's.
    for joint in hand.rest_joints[1:]:
        a, b, c = (hand.v_template[hand.faces] - joint).transpose(1, 0, 2)
        la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
        numerator = np.einsum("fa,fa->f", a, np.cross(b, c))
        denominator = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
        assert 2 * np.arctan2(numerator, denominator).sum() > 3.4 * np.pi


def test_axes_are_frames_that_bend_the_right_way(hand):
    """Flexion takes fingertips to the palm (-y), abduction to the thumb (+z); the thumb flexes across the palm (-z)."""
    identity = np.broadcast_to(np.eye(3), (16, 3, 3))
    assert np.abs(hand.joint_axes @ hand.joint_axes.transpose(0, 2, 1) - identity).max() < 1e-5
    assert np.linalg.det(hand.joint_axes).min() > 0.99
    for finger, tip in zip(FINGERS, hand.fingertips, strict=True):
        for k, joint in enumerate(FINGER_JOINTS[finger]):
            moved = bend(hand, {joint: (30, 0, 0)})[tip] - hand.v_template[tip]
            if finger == "thumb":
                assert moved[2] < -0.004
            else:
                assert moved[1] < -0.008
            if k == 0 and finger != "thumb":
                assert (bend(hand, {joint: (0, 15, 0)})[tip] - hand.v_template[tip])[2] > 0.01


def test_limits_hold_the_relaxed_pose(hand):
    """Ranges are not empty and contain zero; each relaxed joint's axis-angle, seen in its own axes, lies within them."""
    assert (hand.joint_limits[0] == 0).all()
    assert (hand.joint_limits[..., 0] <= 0).all()
    assert (hand.joint_limits[1:, :, 1] > 0).all()
    relaxed = np.einsum("jka,ja->jk", hand.joint_axes[1:], hand.hands_mean)
    slack = np.radians(1.0)  # axis-angle against successive angles
    assert (relaxed > hand.joint_limits[1:, :, 0] - slack).all()
    assert (relaxed < hand.joint_limits[1:, :, 1] + slack).all()
    assert np.degrees(relaxed[[0, 3, 6, 9], 0]).min() > 5


def test_a_fist_keeps_its_flesh(hand):
    """A fist's volume is within 7 % of rest (skin cannot bulge where fingers meet the palm), and nearer than plain blending's."""
    plain = dataclasses.replace(hand, posedirs=np.zeros_like(hand.posedirs))
    rest = volume(hand.v_template, hand.faces)
    kept, blended = (volume(fist(h), hand.faces) / rest - 1 for h in (hand, plain))
    assert abs(kept) < 0.07
    assert abs(kept) < 0.8 * abs(blended)


@pytest.mark.parametrize("finger", FINGERS)
def test_each_bend_loses_less_flesh_than_blending(hand, finger):
    """At each joint bent alone to its limit (90 degrees at most) the correctives keep more of the volume."""
    plain = dataclasses.replace(hand, posedirs=np.zeros_like(hand.posedirs))
    rest = volume(hand.v_template, hand.faces)
    for joint in FINGER_JOINTS[finger]:
        degrees = min(90.0, np.degrees(hand.joint_limits[joint, 0, 1]))
        kept, blended = (abs(volume(bend(h, {joint: (degrees, 0, 0)}), hand.faces) / rest - 1) for h in (hand, plain))
        assert kept < blended
        assert kept < 0.03


@pytest.mark.parametrize("finger", LONG_FINGERS)
def test_bent_knuckles_are_as_thick_as_straight_ones(hand, finger):
    """At 90 degrees the middle joint's back stays at least nine tenths as far from the joint as at rest; blending loses more."""
    joint = FINGER_JOINTS[finger][1]
    around = hand.v_template - hand.rest_joints[joint]
    near = (np.abs(around @ hand.joint_axes[joint, 2]) < 0.004) & (hand.weights[:, list(FINGER_JOINTS[finger])].sum(1) > 0.9)
    back = near & (around @ hand.joint_axes[joint, 1] > 0.5 * np.linalg.norm(around, axis=1))
    thickness = np.linalg.norm(around[back], axis=1).mean()
    plain = dataclasses.replace(hand, posedirs=np.zeros_like(hand.posedirs))
    bent, blended = (
        np.linalg.norm(bend(h, {joint: (90, 0, 0)})[back] - hand.rest_joints[joint], axis=1).mean() / thickness
        for h in (hand, plain)
    )
    assert bent > 0.9
    assert bent > blended


def test_correctives_are_local(hand):
    """A joint's correctives move nothing on the tips of other fingers and nothing on the rim."""
    per_joint = np.abs(hand.posedirs.reshape(778, 3, 15, 9)).max((1, 3))
    assert per_joint[boundary_loop(hand.faces)].max() == 0
    for finger, members in FINGER_JOINTS.items():
        others = [t for f, t in zip(FINGERS, hand.fingertips, strict=True) if f != finger]
        assert per_joint[np.ix_(others, [j - 1 for j in members])].max() < 1e-4


def test_shapes_are_hands(hand):
    """Over 400 draws of beta the length varies by about a centimetre, no face flips, and bones stay between sane bounds."""
    beta = np.random.default_rng(5).normal(size=(400, 10))
    posed = pose_hand(hand, np.zeros((400, 16, 3)), beta)
    lengths = np.linalg.norm(posed.vertices[:, hand.fingertips[2]] - posed.joints[:, 0], axis=1)
    assert 0.008 < lengths.std() < 0.016
    assert 0.13 < lengths.min() < lengths.max() < 0.235
    normals, rest = face_normals(posed.vertices, hand.faces), face_normals(hand.v_template, hand.faces)
    assert ((normals * rest).sum(-1) > 0).mean() > 0.999
    deviation = np.sqrt((hand.shapedirs**2).sum(1).mean(0))
    assert (np.diff(deviation) < 1e-4).all()  # in falling order, as components are
    for members in FINGER_JOINTS.values():
        for a, b in pairwise(members):
            bone = np.linalg.norm(posed.joints[:, a] - posed.joints[:, b], axis=1)
            assert 0.009 < bone.min() < bone.max() < 0.062


def test_texture_layout_covers_the_square_once(hand):
    """All coordinates lie in the unit square, no face is flipped, and no pixel centre lies in two faces."""
    size = 512
    assert hand.uv.min() >= 0
    assert hand.uv.max() <= 1
    hits = np.zeros((size, size), int)
    for corner in hand.uv[hand.uv_faces] * size:
        low, high = np.floor(corner.min(0)).astype(int), np.ceil(corner.max(0)).astype(int) + 1
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        inside = np.ones(x.shape, bool)
        for k in range(3):
            (ax, ay), (bx, by) = corner[k], corner[(k + 1) % 3]
            inside &= (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0
        a, b, c = corner
        assert (b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0] > 0
        hits[low[1] : high[1], low[0] : high[0]] += inside[: size - low[1], : size - low[0]]
    assert hits.max() == 1
    assert (hits > 0).mean() > 0.5


def test_seams_are_few(hand):
    """Two islands, back and palm: only the side line is doubled."""
    assert len(hand.uv) - hand.num_vertices < 170

    parent = np.arange(len(hand.uv))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for a, b, c in hand.uv_faces:
        parent[root(a)] = root(b)
        parent[root(b)] = root(c)
    sides = {root(i) for i in range(len(hand.uv))}
    assert len(sides) == 2
