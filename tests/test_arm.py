"""The forearm: one surface with any hand, sound at every bend, and skin that goes on from the hand's."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from licensed_files import mano_arrays, smplx_arrays

from handsynth.assets.hands.mano import ManoArrays, hand_from_arrays
from handsynth.assets.skins.painter.surface import rasterise_surface
from handsynth.core.hand import HandModel, load_hand, pose_hand
from handsynth.core.locations import EMBEDDED_HAND
from handsynth.core.mesh import face_normals
from handsynth.core.rotation import rotvec_to_rotmat
from handsynth.core.toy import toy_hand
from handsynth.scene.arm import (
    BEND_M,
    ELBOW,
    MAX_DEVIATION,
    MAX_FLEXION,
    Arm,
    ArmShape,
    PosedArms,
    bend_rate,
    bend_share,
    make_arm,
    pose_arms,
)
from handsynth.scene.arm_skin import ALONG, AROUND, ArmSkin, ArmTexture
from handsynth.scene.texture import gutter_map
from handsynth.scene.upper_arm import NUM_VERTICES, pose_upper_arms, whole_faces


def rebuilt_mano() -> HandModel:
    """A tube with MANO's counts."""
    arrays = smplx_arrays(mano_arrays())
    kept = {name: np.asarray(arrays[name]) for name in ManoArrays.__dataclass_fields__ if name != "side"}
    return hand_from_arrays(ManoArrays(side="right", **kept))


HANDS = {"toy": toy_hand, "rebuilt MANO": rebuilt_mano, "embedded": lambda: load_hand(EMBEDDED_HAND)}
REST = ArmShape(0.0, 0.0, 0.0, 1.0)
LIMITS = [
    ArmShape(float(MAX_FLEXION * np.cos(a)), float(MAX_DEVIATION * np.sin(a)), twist, girth)
    for a in np.linspace(0, 2 * np.pi, 16, endpoint=False)
    for twist, girth in ((0.0, 1.0), (1.4, 0.6), (-1.4, 1.5))
]
"""The greatest bend in every direction, with the forearm twisted and thin or thick."""


@pytest.fixture(params=HANDS, scope="module")
def hand(request) -> HandModel:
    return HANDS[request.param]()


@pytest.fixture(scope="module")
def arm(hand) -> Arm:
    found = make_arm(hand)
    assert found is not None
    return found


def posed_rims(hand: HandModel, arm: Arm, count: int, seed: int = 0) -> np.ndarray:
    """Rims of hands of all shapes."""
    beta = np.random.default_rng(seed).normal(size=(count, hand.num_shapes)).clip(-2, 2)
    if hand.name == "mano":
        beta[:, 1:] = 0  # the rebuilt file's other components are noise
    return pose_hand(hand, np.zeros((count, hand.num_joints, 3)), beta).vertices[:, arm.rim]


def outward(hand: HandModel) -> float:
    """1 where a hand's faces look outward; -1 for the rebuilt MANO tube, which is inside out: arms follow their hand."""
    a, b, c = hand.v_template[hand.faces].swapaxes(0, 1)
    return float(np.sign((np.cross(a, b) * c).sum()))


def upright(count: int) -> np.ndarray:
    return np.tile(np.eye(3), (count, 1, 1))


def test_hand_and_arm_are_one_closed_surface(hand, arm):
    """Every edge is run through once in either direction, when the arm's first vertices are the hand's rim."""
    joined = np.concatenate([arm.rim, hand.num_vertices + np.arange(arm.faces.max() + 1 - len(arm.rim))])
    faces = np.concatenate([hand.faces, joined[arm.faces]])
    edges = [(int(f[k]), int(f[(k + 1) % 3])) for f in faces for k in range(3)]
    assert len(set(edges)) == len(edges)
    assert {(b, a) for a, b in edges} == set(edges)


def test_the_first_vertices_are_the_rim(hand, arm):
    """To the last bit: a renderer may draw hand and arm apart, and no gap opens."""
    rim = posed_rims(hand, arm, len(LIMITS))
    posed = pose_arms(arm, rim, upright(len(LIMITS)), LIMITS)
    assert np.array_equal(posed.vertices[:, : len(arm.rim)], rim)


def test_every_face_looks_outward_and_every_ring_lies_beyond_the_last(hand, arm):
    """At the greatest bend, of any shape: no ring runs through its neighbour, and no face is turned over."""
    rim = posed_rims(hand, arm, len(LIMITS))
    posed = pose_arms(arm, rim, upright(len(LIMITS)), LIMITS)
    batch, count, around = len(LIMITS), len(arm.rim), len(arm.angle)
    first = (arm.outline @ rim)[:, None]
    rings = np.concatenate([first, posed.vertices[:, count:-1].reshape(batch, -1, around, 3)], 1)
    ahead = posed.frame[:, :, None, :, 0]
    assert ((rings[:, 1:] - rings[:, :-1]) * ahead).sum(-1).min() > 2e-4
    normals = face_normals(posed.vertices, arm.faces) * outward(hand)
    middles = posed.vertices[:, arm.faces].mean(2)
    centres = np.concatenate([rim.mean(1, keepdims=True), posed.centre], 1)
    # A face between two rings looks away from the axis; the elbow's end, along it.
    for k in range(len(posed.places) - len(ELBOW)):
        rows = (arm.faces.max(1) < count + (k + 1) * around) & (arm.faces.max(1) >= count + k * around)
        away = middles[:, rows] - centres[:, [k]]
        along = posed.frame[:, k, :, 0][:, None]
        away = away - (away * along).sum(-1, keepdims=True) * along
        assert ((normals[:, rows] * away).sum(-1) > 0).all(), k


def upper_arms(hand: HandModel, arm: Arm, elbows: list[float], thicker: float = 0.0) -> tuple[PosedArms, np.ndarray]:
    """Forearms at rest, with upper arms at some angles [deg]."""
    rim = posed_rims(hand, arm, len(elbows))
    posed = pose_arms(arm, rim, upright(len(elbows)), [REST] * len(elbows))
    return posed, pose_upper_arms(arm, posed, np.deg2rad(elbows), np.full(len(elbows), thicker))


def test_upper_arms_are_closed_and_look_outward(hand, arm):
    """Alone and with the forearm, whose vertices come first; every edge is run through once in either direction."""
    posed, upper = upper_arms(hand, arm, [0.0, 60.0, 130.0], 0.01)
    faces = whole_faces(arm)
    own = faces[faces.min(1) >= arm.num_vertices] - arm.num_vertices
    assert upper.shape[1] == NUM_VERTICES == own.max() + 1
    np.testing.assert_array_equal(faces[: len(arm.faces)], arm.faces)
    assert posed.vertices.shape[1] == arm.num_vertices
    edges = [(int(f[k]), int(f[(k + 1) % 3])) for f in own for k in range(3)]
    assert len(set(edges)) == len(edges)
    assert {(b, a) for a, b in edges} == set(edges)
    a, b, c = (upper - upper.mean(1, keepdims=True))[:, own].transpose(2, 0, 1, 3)
    volume = (np.cross(a, b) * c).sum((-1, -2)) / 6 * outward(hand)
    assert (volume > 0.0005).all()
    assert (volume < 0.006).all()


def test_elbows_bend_as_far_as_they_are_bent(hand, arm):
    """The upper arm's axis makes the given angle with the forearm's, towards the thumb; it begins within the forearm and goes on
    25 to 35 cm beyond the elbow.
    """
    elbows = [0.0, 40.0, 90.0, 130.0]
    posed, upper = upper_arms(hand, arm, elbows)
    ring = len(arm.places) - len(ELBOW) - 1
    ends = upper[:, -2:] - posed.centre[:, [ring]]
    axis = ends[:, 1] - ends[:, 0]
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    ahead, thumb = posed.frame[:, ring, :, 0], posed.frame[:, ring, :, 2]
    np.testing.assert_allclose(np.rad2deg(np.arctan2((axis * thumb).sum(-1), (axis * ahead).sum(-1))), elbows, atol=1e-6)
    assert (np.linalg.norm(ends[:, 0], axis=-1) < 0.05).all()
    assert ((np.linalg.norm(ends[:, 1], axis=-1) > 0.25) & (np.linalg.norm(ends[:, 1], axis=-1) < 0.35)).all()


def test_the_inside_of_a_bent_wrist_does_not_swell(hand, arm):
    """Bent as far as it goes, to palm or back, the flesh on the inside turns no farther than the forearm itself, but for the
    slope that it has on a straight wrist and three degrees.
    """
    rim = posed_rims(hand, arm, 1)
    for flexion, side in ((MAX_FLEXION, 0.0), (-MAX_FLEXION, np.pi)):
        column = int(np.abs((arm.angle - side + np.pi) % (2 * np.pi) - np.pi).argmin())
        steepest = []
        for angle in (0.0, flexion):
            posed = pose_arms(arm, rim, upright(1), [replace(REST, flexion=float(angle))])
            line = posed.vertices[0, len(arm.rim) : -1].reshape(len(arm.places), -1, 3)[:10, column]
            step = np.diff(line, axis=0)
            turned = np.rad2deg(np.arctan2(-step[:, 1], step[:, 0])) * (1 if side == 0 else -1)
            steepest.append(turned.max())
        assert steepest[1] - np.rad2deg(MAX_FLEXION) < max(steepest[0], 0) + 3


def test_it_moves_with_the_hand(hand, arm):
    """A turned hand has the same forearm, turned."""
    rim = posed_rims(hand, arm, 4)
    turn = rotvec_to_rotmat(np.random.default_rng(1).normal(size=(4, 3)))
    plain = pose_arms(arm, rim, upright(4), LIMITS[5:9])
    turned = pose_arms(arm, rim @ turn.swapaxes(1, 2) + 0.3, turn, LIMITS[5:9])
    np.testing.assert_allclose(turned.vertices, plain.vertices @ turn.swapaxes(1, 2) + 0.3, atol=1e-12)
    np.testing.assert_allclose(turned.centre, plain.centre @ turn.swapaxes(1, 2) + 0.3, atol=1e-12)


def test_the_wrist_bends_as_far_as_it_is_bent(hand, arm):
    """Beyond the wrist the axis makes the given angles with the hand's: flexion towards the palm, deviation to the thumb."""
    rim = posed_rims(hand, arm, 2)
    shapes = [ArmShape(0.7, 0.0, 0.0, 1.0), ArmShape(0.0, 0.4, 0.0, 1.0)]
    ahead = pose_arms(arm, rim, upright(2), shapes).frame[:, -1, :, 0]
    # Flexed towards the palm, the hand's palm turns to the forearm, which leaves on the palm's side.
    np.testing.assert_allclose(ahead[0], [np.cos(0.7), -np.sin(0.7), 0], atol=1e-12)
    np.testing.assert_allclose(ahead[1], [np.cos(0.4), 0, np.sin(0.4)], atol=1e-12)


def test_the_bend_is_the_integral_of_its_rate():
    places = np.linspace(0, BEND_M * 1.2, 4001)
    rate = bend_rate(places)
    integral = np.concatenate([[0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(places))])
    np.testing.assert_allclose(bend_share(places), integral, atol=1e-6)


def test_girth_scales_the_growth_alone(hand, arm):
    """The wrist keeps the hand's own size; the forearm's belly grows."""
    rim = posed_rims(hand, arm, 1)
    thin, thick = (pose_arms(arm, rim, upright(1), [replace(REST, girth=g)]).outline[0] for g in (0.6, 1.4))
    width = [np.ptp(o, axis=1) for o in (thin, thick)]
    np.testing.assert_allclose(width[0][0], width[1][0], rtol=0.03)
    assert (width[1][-8] > 1.2 * width[0][-8]).all()


def test_a_hand_without_one_open_rim_has_no_arm():
    """Closed, with two holes, or with an outline that no section could follow."""
    toy = toy_hand()
    rim = make_arm(toy).rim
    lid = [(rim[0], rim[k + 1], rim[k]) for k in range(1, len(rim) - 1)]
    assert make_arm(replace(toy, faces=np.concatenate([toy.faces, np.array(lid, np.int32)]), uv_faces=toy.uv_faces[:0])) is None
    assert make_arm(replace(toy, faces=toy.faces[:-1], uv_faces=toy.uv_faces[:-1])) is None
    swapped = toy.v_template.copy()
    swapped[rim[[0, 4]]] = swapped[rim[[4, 0]]]
    assert make_arm(replace(toy, v_template=swapped)) is None


SIZE = 256


@pytest.fixture(scope="module", params=["toy", "embedded"])
def skinned(request) -> tuple[HandModel, Arm, ArmTexture]:
    hand = HANDS[request.param]()
    arm = make_arm(hand)
    return hand, arm, ArmTexture(arm, hand.faces, hand.uv, hand.uv_faces, SIZE)


@lru_cache(maxsize=2)
def places_of_texels(name: str) -> np.ndarray:
    """(SIZE, SIZE, 3) point of the resting hand that each texel shows; texels of the gutter show the nearest's."""
    surface = rasterise_surface(HANDS[name](), SIZE)
    return surface.position[gutter_map(surface.texels, SIZE)].reshape(SIZE, SIZE, 3)


def smooth_albedos(hand: HandModel, count: int) -> np.ndarray:
    """Albedos whose colours change slowly over the hand, across the texture's seams too."""
    place = places_of_texels(hand.name) * 12
    image = np.full((count, SIZE, SIZE, 4), 255, np.uint8)
    for k in range(count):
        image[k, ..., :3] = np.rint(130 + 40 * np.sin(place + k))
    return image


SKINS = [ArmSkin(k % 6, 0.2 * k, 0.3 * k, 0.4 * k, 2.0 * k - 4) for k in range(4)]


def test_the_skin_begins_with_the_colours_of_the_rim(skinned):
    """Within two levels, at every rim vertex, however much hair, veins and tan there is."""
    hand, arm, texture = skinned
    hands = smooth_albedos(hand, 4)
    arms = texture.albedos(hands, range(len(SKINS)), SKINS)
    corner_of = dict(zip(hand.faces.ravel().tolist(), hand.uv_faces.ravel().tolist(), strict=True))
    for k, vertex in enumerate(arm.rim.tolist()):
        u, v = hand.uv[corner_of[vertex]]
        at_hand = hands[:, min(int((1 - v) * SIZE), SIZE - 1), min(int(u * SIZE), SIZE - 1), :3].astype(int)
        column = int(np.floor(arm.angle[2 * k] / (2 * np.pi) * AROUND)) % AROUND
        assert np.abs(arms[:, 0, column, :3] - at_hand).max() <= 2, vertex


def test_the_skin_goes_on_without_a_step(skinned):
    """From row to row near the wrist colours change little: a seam would be a jump."""
    rows = skinned[2].albedos(smooth_albedos(skinned[0], 4), range(len(SKINS)), SKINS)[:, :6, :, :3].astype(int)
    assert np.abs(np.diff(rows, axis=1)).mean() < 4


def test_arm_textures_depend_on_their_own_hand_alone(skinned):
    """Alone, in any batch and made twice: the same bytes, opaque."""
    _, _, texture = skinned
    hands = np.random.default_rng(3).integers(0, 256, (4, SIZE, SIZE, 4), np.uint8)
    together = texture.albedos(hands, range(len(SKINS)), SKINS)
    assert together.shape == (4, ALONG, AROUND, 4)
    assert (together[..., 3] == 255).all()
    for k in range(4):
        assert np.array_equal(texture.albedos(hands, [k], SKINS[k : k + 1])[0], together[k])
    dark = texture.albedos(hands, range(len(SKINS)), [replace(s, tan=s.tan + 10) for s in SKINS])
    assert dark[:, 60:, :, :3].mean() < together[:, 60:, :, :3].mean() - 5
