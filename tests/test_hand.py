"""The hand model: theorems of posing, mirroring and anatomy, and parity with smplx on the same arrays."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from licensed_files import left_mano_arrays, mano_arrays, smplx_arrays

from handsynth.assets.hands.mano import ManoArrays, hand_from_arrays, mirror_arrays
from handsynth.core.anatomy import joint_axes, joint_limits
from handsynth.core.conventions import FINGER_JOINTS, FINGERS, KEYPOINT_NAMES, PARENTS
from handsynth.core.errors import AssetError
from handsynth.core.hand import BankHands, HandModel, load_hand, pose_hand, pose_points, save_hand, turn_joints
from handsynth.core.locations import EMBEDDED
from handsynth.core.mesh import boundary_loop, vertex_normals
from handsynth.core.mirror import mirror_points, mirror_theta
from handsynth.core.rotation import rotvec_to_rotmat
from handsynth.core.toy import toy_hand, toy_poses


def _rebuilt_mano() -> HandModel:
    arrays = smplx_arrays(mano_arrays())
    kept = {name: np.asarray(arrays[name]) for name in ManoArrays.__dataclass_fields__ if name != "side"}
    return hand_from_arrays(ManoArrays(side="right", **kept))


HANDS = {"toy": toy_hand, "rebuilt MANO": _rebuilt_mano}
if (EMBEDDED / "hand.npz").is_file():
    HANDS["embedded"] = lambda: load_hand(EMBEDDED / "hand.npz")


@pytest.fixture(params=HANDS, scope="module")
def hand(request) -> HandModel:
    return HANDS[request.param]()


@pytest.fixture(params=[name for name in HANDS if name != "rebuilt MANO"], scope="module")
def fingered_hand(request) -> HandModel:
    """A hand with fingers: the rebuilt MANO file is a tube."""
    return HANDS[request.param]()


def draw(hand: HandModel, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(count, 16, 3) theta and (count, S) beta at random, with global rotations up to half a turn."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(0, 0.5, (count, 16, 3))
    theta[:, 0] = rng.uniform(-np.pi, np.pi, (count, 3)) / np.sqrt(3)
    return theta, rng.normal(size=(count, hand.num_shapes))


def test_zero_pose_is_the_template(hand):
    """Zero theta and beta give the template and its regressed joints."""
    posed = pose_hand(hand, np.zeros((16, 3)), np.zeros(hand.num_shapes))
    np.testing.assert_allclose(posed.vertices, hand.v_template, atol=1e-6)
    np.testing.assert_allclose(posed.joints, hand.J_regressor @ hand.v_template, atol=1e-12)


def test_global_rotation_turns_everything_about_the_wrist(hand):
    """theta[0] turns every point rigidly about the wrist, which stays."""
    theta, beta = draw(hand, 4)
    still = theta.copy()
    still[:, 0] = 0
    turned, before = pose_hand(hand, theta, beta), pose_hand(hand, still, beta)
    rotation = rotvec_to_rotmat(theta[:, 0])
    wrist = before.joints[:, :1]
    # Stored weights and regressors sum to 1 only in float32, hence a micrometre where they enter.
    for name, atol in (("joints", 1e-12), ("vertices", 1e-6), ("keypoints", 1e-6)):
        expected = (getattr(before, name) - wrist) @ rotation.swapaxes(1, 2) + wrist
        np.testing.assert_allclose(getattr(turned, name), expected, atol=atol)


def test_turn_joints_is_its_slow_twin(hand):
    """Joint after joint from the wrist outwards, whatever leading axes the rotations have."""
    rng = np.random.default_rng(2)
    rotmat = rotvec_to_rotmat(rng.normal(0, 0.8, (2, 3, 16, 3)))
    rest = hand.rest_joints + rng.normal(0, 0.01, (2, 3, 16, 3))
    rotation, joints = turn_joints(hand, rotmat, rest)
    expected_rotation, expected = rotmat.copy(), rest.copy()
    for j, parent in enumerate(PARENTS[1:], 1):
        expected_rotation[..., j, :, :] = expected_rotation[..., parent, :, :] @ rotmat[..., j, :, :]
        bone = rest[..., j, :] - rest[..., parent, :]
        expected[..., j, :] = expected[..., parent, :] + np.einsum("...ij,...j->...i", expected_rotation[..., parent, :, :], bone)
    np.testing.assert_allclose(rotation, expected_rotation, atol=1e-12)
    np.testing.assert_allclose(joints, expected, atol=1e-12)


def test_pose_keeps_bone_lengths(hand):
    """No theta changes the distance between a joint and its parent; beta does."""
    theta, beta = draw(hand, 8)
    child, parent = np.arange(1, 16), np.array(PARENTS[1:])

    def bones(turns, shape):
        joints = pose_hand(hand, turns, shape).joints
        return np.linalg.norm(joints[:, child] - joints[:, parent], axis=-1)

    np.testing.assert_allclose(bones(theta, beta), bones(np.zeros_like(theta), beta), atol=1e-12)
    assert np.abs(bones(theta, beta) - bones(theta, 0 * beta)).max() > 1e-4


def test_batches_are_single_poses(hand):
    """Any leading axes, also none, give what each pose gives alone; trans adds."""
    theta, beta = draw(hand, 6)
    whole = pose_hand(hand, theta.reshape(2, 3, 16, 3), beta.reshape(2, 3, -1), np.ones((2, 3, 3)))
    for i in range(6):
        alone = pose_hand(hand, theta[i], beta[i])
        np.testing.assert_allclose(whole.vertices.reshape(6, -1, 3)[i], alone.vertices + 1, atol=1e-12)
        np.testing.assert_allclose(whole.keypoints.reshape(6, 21, 3)[i], alone.keypoints + 1, atol=1e-12)
    shared = pose_hand(hand, theta, beta[0])
    np.testing.assert_allclose(shared.vertices[3], pose_hand(hand, theta[3], beta[0]).vertices, atol=1e-12)


def test_hands_of_a_bank_are_single_poses_to_the_last_digit(hand):
    """Also where the pose is kept from another shape."""
    theta, beta = draw(hand, 3)
    theta[:, 0] = 0
    hands = BankHands(hand, theta[:, 1:])
    for row in (0, 1, 0, 2, 1):
        for shape in beta:
            np.testing.assert_array_equal(hands.vertices(row, shape), pose_hand(hand, theta[row], shape).vertices)


def test_some_points_are_those_of_the_whole_hand(hand):
    rng = np.random.default_rng(6)
    theta, beta = rng.normal(0, 0.4, (4, hand.num_joints, 3)), rng.normal(0, 1, (4, hand.num_shapes))
    whole = pose_hand(hand, theta, beta)
    points, joints = pose_points(hand, theta, beta, hand.fingertips)
    np.testing.assert_allclose(points, whole.vertices[:, hand.fingertips], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(joints, whole.joints)


def test_rows_sum_to_one(hand):
    """Skinning weights of a vertex and regressor weights of a joint sum to one; weights are not negative."""
    np.testing.assert_allclose(hand.weights.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(hand.J_regressor.sum(1), 1, atol=1e-5)
    assert hand.weights.min() >= 0


def test_mirror_is_its_own_inverse(hand):
    """Mirrored twice, a pose and its points are themselves."""
    theta, beta = draw(hand, 3)
    vertices = pose_hand(hand, theta, beta).vertices
    np.testing.assert_array_equal(mirror_theta(mirror_theta(theta)), theta)
    np.testing.assert_array_equal(mirror_points(mirror_points(vertices)), vertices)


def test_mirror_commutes_with_posing():
    """The left hand's arrays posed by the mirrored theta give the mirror image of the right hand posed by theta."""
    right = _rebuilt_mano()
    arrays = left_mano_arrays(mano_arrays(), faulty=False)
    left = replace(right, v_template=arrays["v_template"], shapedirs=smplx_arrays(arrays)["shapedirs"], posedirs=arrays["posedirs"])
    theta, beta = draw(right, 5)
    a, b = pose_hand(left, mirror_theta(theta), beta), pose_hand(right, theta, beta)
    for name in ("vertices", "joints", "keypoints"):
        np.testing.assert_allclose(getattr(a, name), mirror_points(getattr(b, name)), atol=1e-12)


def test_keypoints_are_joints_and_tips(hand):
    """In the rest pose, keypoints are the rest joints and the tip vertices, in FreiHAND's order.

    To 1e-9 m: skinning weights kept as float32 sum to 1 within 1e-7.
    """
    points = pose_hand(hand, np.zeros((16, 3)), np.zeros(hand.num_shapes)).keypoints
    for finger, chain in FINGER_JOINTS.items():
        for k, joint in enumerate(chain):
            np.testing.assert_allclose(points[KEYPOINT_NAMES.index(f"{finger}{k + 1}")], hand.rest_joints[joint], atol=1e-9)
    tips = [points[KEYPOINT_NAMES.index(f"{finger}_tip")] for finger in FINGERS]
    np.testing.assert_allclose(tips, hand.v_template[hand.fingertips], atol=1e-9)


def _smplx_layer(folder: Path, arrays: dict[str, np.ndarray], side: str):
    """smplx's MANO on these arrays, flat hand, all 45 angles, float64."""
    smplx = pytest.importorskip("smplx")
    torch = pytest.importorskip("torch")
    (folder / f"MANO_{side.upper()}.pkl").write_bytes(pickle.dumps(arrays))
    return smplx.MANO(
        str(folder),
        is_rhand=side == "right",
        use_pca=False,
        flat_hand_mean=True,
        dtype=torch.float64,
        num_betas=10,
        create_transl=False,
    )


def _arrays_of(hand: HandModel) -> dict[str, np.ndarray]:
    """A hand's content under MANO's names."""
    kintree = np.array([[p % 2**32 for p in hand.parents], range(16)], np.int64)
    return {
        "v_template": hand.v_template, "shapedirs": hand.shapedirs, "posedirs": hand.posedirs, "J_regressor": hand.J_regressor,
        "weights": hand.weights, "f": hand.faces, "kintree_table": kintree, "J": hand.rest_joints,
        "hands_mean": hand.hands_mean.ravel(), "hands_components": np.eye(45),
    }  # fmt: skip


def _smplx_points(layer, theta: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posed vertices and the 16 joints of a smplx layer."""
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        out = layer(
            betas=torch.from_numpy(beta),
            global_orient=torch.from_numpy(theta[:, 0]),
            hand_pose=torch.from_numpy(theta[:, 1:].reshape(-1, 45)),
        )
    return out.vertices.numpy(), out.joints.numpy()[:, :16]


def test_equals_smplx_right(hand, tmp_path):
    """Posed vertices and joints equal smplx's MANO layer on the same arrays to 1e-6 m, in the same order of joints."""
    layer = _smplx_layer(tmp_path, _arrays_of(hand), "right")
    theta, beta = draw(hand, 16, seed=1)
    vertices, joints = _smplx_points(layer, theta, beta)
    posed = pose_hand(hand, theta, beta)
    np.testing.assert_allclose(posed.vertices, vertices, atol=1e-6, rtol=0)
    np.testing.assert_allclose(posed.joints, joints, atol=1e-6, rtol=0)


def test_equals_smplx_left(hand, tmp_path):
    """A left hand by mirroring at the border equals smplx's MANO layer on the left hand's own arrays to 1e-6 m."""
    arrays = _arrays_of(hand)
    left = mirror_arrays(
        ManoArrays("right", *(arrays[n] for n in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f")),
                   arrays["hands_mean"], arrays["hands_components"], np.zeros((1, 45)))
    )  # fmt: skip
    mirrored = {
        name: getattr(left, name) for name in ("v_template", "shapedirs", "posedirs", "f", "hands_mean", "hands_components")
    }
    layer = _smplx_layer(tmp_path, arrays | mirrored, "left")
    theta, beta = draw(hand, 16, seed=2)
    vertices, joints = _smplx_points(layer, mirror_theta(theta), beta)
    posed = pose_hand(hand, theta, beta)
    np.testing.assert_allclose(mirror_points(posed.vertices), vertices, atol=1e-6, rtol=0)
    np.testing.assert_allclose(mirror_points(posed.joints), joints, atol=1e-6, rtol=0)


def test_smplx_parity_can_fail(tmp_path):
    """The comparison sees a millimetre: another order of joints, or a pose feature left out, breaks it."""
    hand = toy_hand()
    layer = _smplx_layer(tmp_path, _arrays_of(replace(hand, posedirs=np.zeros_like(hand.posedirs))), "right")
    theta, beta = draw(hand, 2)
    vertices, _ = _smplx_points(layer, theta, beta)
    assert np.abs(pose_hand(hand, theta, beta).vertices - vertices).max() > 1e-5


def turned_tip(hand: HandModel, finger: str, joint: int, axis: int) -> np.ndarray:
    """(3,) how a finger's tip moves when one of its joints turns by 0.3 rad about one of its axes [m]."""
    theta = np.zeros((16, 3))
    theta[joint] = 0.3 * hand.joint_axes[joint, axis]
    tip = hand.fingertips[FINGERS.index(finger)]
    beta = np.zeros(hand.num_shapes)
    return pose_hand(hand, theta, beta).vertices[tip] - pose_hand(hand, np.zeros((16, 3)), beta).vertices[tip]


def test_positive_flexion_bends_to_the_palm(fingered_hand):
    """A positive turn about any flexion axis lowers a finger's tip (-y), and brings the thumb's down or to the fingers (-z)."""
    for finger, chain in FINGER_JOINTS.items():
        for joint in chain:
            moved = turned_tip(fingered_hand, finger, joint, 0)
            assert (moved[1] if finger != "thumb" else moved[1] + moved[2]) < -1e-3, (finger, joint)


def test_positive_abduction_moves_to_the_thumb(fingered_hand):
    """A positive turn about a knuckle's abduction axis moves the finger's tip to the thumb's side (+z)."""
    for finger, chain in FINGER_JOINTS.items():
        if finger != "thumb" or fingered_hand.name == "toy":  # a hand may have its own idea of the thumb's saddle joint
            assert turned_tip(fingered_hand, finger, chain[0], 1)[2] > 1e-3, finger


def test_axes_are_right_handed_frames():
    """Each joint's axes are a rotation: flexion x abduction = twist, along the bone that leads to it, seen from above."""
    hand = toy_hand()
    axes = joint_axes(hand.rest_joints)
    np.testing.assert_allclose(axes @ axes.swapaxes(1, 2), np.broadcast_to(np.eye(3), (16, 3, 3)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(axes), 1, atol=1e-12)
    for j in [*range(1, 13), 15]:
        bone = (hand.rest_joints[j] - hand.rest_joints[PARENTS[j]]) * [1, 0, 1]
        np.testing.assert_allclose(axes[j, 2], bone / np.linalg.norm(bone), atol=1e-12)


def test_thumbnail_rolls_the_last_revolute_joint():
    """The thumb's last flexion axis runs from one side of the nail to the other, seen along the thumb."""
    rest = toy_hand().rest_joints
    for roll in (-80, -45, 0, 30):
        sides = np.array([[0.0, np.sin(np.deg2rad(roll)), np.cos(np.deg2rad(roll))], [0.0, 0.0, 0.0]])
        flexion = joint_axes(rest, sides)[15, 0]
        assert np.rad2deg(np.arcsin(flexion[1])) == pytest.approx(roll)
        np.testing.assert_allclose(flexion @ joint_axes(rest, sides)[15, 2], 0, atol=1e-12)


def test_limits_leave_23_degrees_of_freedom():
    """Without the wrist, 23 of the 45 angles can move, and each of those ranges holds the flat hand."""
    limits = joint_limits()
    free = limits[1:, :, 1] > limits[1:, :, 0]
    assert free.sum() == 23
    assert (limits[..., 0] <= 0).all()
    assert (limits[..., 1] >= 0).all()


def test_mesh_is_open_only_at_the_wrist(hand):
    """One boundary loop, and no part of it far from the wrist."""
    rim = hand.v_template[boundary_loop(hand.faces)]
    assert np.linalg.norm(rim - hand.rest_joints[0], axis=1).max() < 0.06


def test_closed_faces_have_parts_and_no_hole(hand):
    """The model's faces come first, then the cap, which is the wrist's; every edge has two faces, one in each direction."""
    faces = hand.closed_faces
    np.testing.assert_array_equal(faces[: len(hand.faces)], hand.faces)
    np.testing.assert_array_equal(hand.closed_parts[: len(hand.faces)], hand.parts)
    assert (len(faces), hand.closed_parts[len(hand.faces) :].any()) == (len(hand.closed_parts), False)
    assert set(faces[len(hand.faces) :].ravel()) == set(boundary_loop(hand.faces)) == set(hand.rim)
    edges = [(int(a), int(b)) for f in faces for a, b in ((f[0], f[1]), (f[1], f[2]), (f[2], f[0]))]
    assert len(set(edges)) == len(edges)
    assert {(b, a) for a, b in edges} == set(edges)


def test_tips_face_outwards(fingered_hand):
    """At each fingertip vertex, the normal points away from the finger's last joint."""
    hand = fingered_hand
    last = hand.rest_joints[[FINGER_JOINTS[f][2] for f in FINGERS]]
    normals = vertex_normals(hand.v_template, hand.faces)[hand.fingertips]
    assert (np.sum(normals * (hand.v_template[hand.fingertips] - last), -1) > 0).all()


def test_toy_hand_is_a_hand():
    """A few hundred vertices but not 778, fingers along -x, thumb on +z, a layout in [0, 1] without mirrored faces."""
    hand = toy_hand()
    assert 300 <= hand.num_vertices <= 600
    assert hand.num_shapes == 10
    assert (hand.v_template[hand.fingertips, 0] < hand.rest_joints[0, 0]).all()
    assert np.argmax(hand.v_template[hand.fingertips, 2]) == 0
    a, b, c = hand.uv[hand.uv_faces].transpose(1, 0, 2)
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert area.min() > 0
    assert 0 <= hand.uv.min() < hand.uv.max() <= 1
    assert toy_poses().shape[1:] == (15, 3)


def test_toy_layout_has_no_overlaps():
    """No point of the texture lies in two of the toy hand's faces."""
    hand = toy_hand()
    points = np.random.default_rng(0).uniform(size=(4000, 2))
    a, b, c = (hand.uv[hand.uv_faces[:, k]][:, None] for k in range(3))

    def side(p, q):
        return (q - p)[..., 0] * (points - p)[..., 1] - (q - p)[..., 1] * (points - p)[..., 0]

    inside = (side(a, b) > 0) & (side(b, c) > 0) & (side(c, a) > 0)
    assert inside.sum(0).max() == 1


def test_saved_hand_comes_back(tmp_path, hand):
    """save_hand and load_hand keep every array to float32, and every index exactly."""
    save_hand(tmp_path / "hand.npz", hand)
    back = load_hand(tmp_path / "hand.npz")
    for name in HandModel.__dataclass_fields__:
        before, after = getattr(hand, name), getattr(back, name)
        if isinstance(before, str):
            assert before == after
        else:
            np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "name", ["v_template", "shapedirs", "posedirs", "J_regressor", "weights", "joint_axes", "joint_limits", "hands_mean"]
)
def test_bad_arrays_are_named(name):
    """A wrong shape or a NaN ends in an AssetError that names the array."""
    hand = toy_hand()
    value = getattr(hand, name).copy()
    with pytest.raises(AssetError, match=f"{name} has shape"):
        replace(hand, **{name: value[:, :2] if name == "v_template" else value[:-1]})
    value.flat[0] = np.nan
    with pytest.raises(AssetError, match=f"{name} holds NaN"):
        replace(hand, **{name: value})


def test_damaged_hand_file_is_an_asset_error(tmp_path):
    """A truncated or foreign file, or one with objects, ends in an AssetError naming the file."""
    path = tmp_path / "hand.npz"
    save_hand(path, toy_hand())
    raw = path.read_bytes()
    for content in (raw[: len(raw) // 2], b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(AssetError, match=r"hand\.npz"):
            load_hand(path)
    np.savez(path, v_template=np.array([None]))
    with pytest.raises(AssetError, match=r"hand\.npz"):
        load_hand(path)
