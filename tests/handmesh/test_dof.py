"""The 23 degrees of freedom: the paper's matrix, its order, its signs by geometry, and its limits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import handsynth
from handmesh.kinematics import dof
from handsynth.core.errors import AssetError
from handsynth.core.hand import HandModel, load_hand, pose_hand
from handsynth.core.toy import toy_hand

EMBEDDED = Path(handsynth.__file__).parent / "assets" / "embedded"

# MobileHand's table, as published: angles, MANO's joint, column of the 45, its axis, limits [deg].
# "y" is the template's y axis, (child, parent) the flexion axis across that bone, "x" and "z" the template's axes.
PUBLISHED = (
    (0, 1, 0, "y", (-20, 30)), (1, 1, 0, (1, 0), (-10, 90)), (2, 2, 3, (2, 1), (-1, 90)), (3, 3, 6, (3, 2), (-1, 90)),
    (4, 4, 9, "y", (-20, 10)), (5, 4, 9, (4, 0), (-10, 90)), (6, 5, 12, (5, 4), (-1, 90)), (7, 6, 15, (6, 5), (-1, 90)),
    (8, 10, 27, "y", (-20, 10)), (9, 10, 27, (10, 0), (-10, 90)),
    (10, 11, 30, (11, 10), (-1, 90)), (11, 12, 33, (12, 11), (-1, 90)),
    (12, 7, 18, "y", (-30, 20)), (13, 7, 18, (7, 0), (-10, 90)), (14, 8, 21, (8, 7), (-1, 90)), (15, 9, 24, (9, 8), (-1, 90)),
    (16, 13, 36, "x", (-45, 45)), (17, 13, 36, "y", (-45, 45)), (18, 13, 36, "z", (-45, 45)),
    (19, 14, 39, "x", (-45, 45)), (20, 14, 39, "y", (-45, 45)), (21, 14, 39, "z", (-45, 45)),
    (22, 15, 42, "nail", (-1, 90)),
)  # fmt: skip
FINGER_OF_JOINT = {1: "index", 4: "middle", 10: "ring", 7: "pinky", 13: "thumb"}
NAIL = np.array([[0.0, 0.003, 0.004], [0.0, 0.009, -0.003]])


@pytest.fixture(scope="module")
def embedded() -> HandModel:
    return load_hand(EMBEDDED / "hand.npz")


def published_matrix(rest: np.ndarray, nail: np.ndarray) -> np.ndarray:
    """Z as MobileHand's code writes it, with its arctangents: the slow twin."""

    def joint(child: int, parent: int, phi: float = 0.0) -> np.ndarray:
        bone = rest[child] - rest[parent]
        theta = np.arctan(bone[2] / bone[0])
        return np.array([-np.sin(theta) * np.cos(phi), np.sin(phi), np.cos(theta) * np.cos(phi)])

    template = {"x": np.array([1, 0, 0]), "y": np.array([0, 1, 0]), "z": np.array([0, 0, 1])}
    across = nail[0] - nail[1]
    matrix = np.zeros((23, 45))
    for angles, _, column, axis, _ in PUBLISHED:
        if isinstance(axis, tuple):
            row = joint(*axis)
        else:
            row = joint(15, 14, np.arctan(across[1] / across[2])) if axis == "nail" else template[axis]
        matrix[angles, column : column + 3] = row
    return matrix


def test_matrix_is_the_published_one(embedded):
    """Entry by entry, in MANO's columns, for two skeletons and a nail."""
    for rest in (toy_hand().rest_joints, embedded.rest_joints):
        np.testing.assert_allclose(dof.dof_matrix(rest, NAIL), published_matrix(rest, NAIL), atol=1e-12)


def test_rows_are_orthonormal(embedded):
    """Z Z^T = I to 1e-12, from rest joints and from a model's stored float32 axes."""
    for matrix in (dof.dof_matrix(embedded.rest_joints), dof.hand_dof_matrix(embedded), dof.hand_dof_matrix(toy_hand())):
        assert matrix.shape == (23, 45)
        assert np.abs(matrix @ matrix.T - np.eye(23)).max() < 1e-12


def test_a_hand_that_brings_the_construction_has_the_papers_matrix():
    """For axes made by MobileHand's rule (toy hand, MANO) the model's own axes and its rest joints give the same Z."""
    hand = toy_hand()
    np.testing.assert_allclose(dof.hand_dof_matrix(hand), dof.dof_matrix(hand.rest_joints), atol=1e-12)


def test_names_order_and_limits_are_the_papers():
    limits = np.rad2deg(dof.dof_limits())
    for (angles, node, _, axis, limit), entry in zip(PUBLISHED, dof.DOFS, strict=True):
        first = max(j for j in FINGER_OF_JOINT if j <= node)
        assert entry.node == node
        assert entry.finger == FINGER_OF_JOINT[first]
        if entry.finger != "thumb":
            assert entry.motion == ("abduction" if axis == "y" else "flexion")
            assert entry.joint == ("mcp", "pip", "dip")[node - first]
        np.testing.assert_allclose(limits[angles], limit, atol=1e-9)
    assert len(set(dof.DOF_NAMES)) == 23
    assert dof.DOF_NAMES[:3] == ("index_mcp_abduction", "index_mcp_flexion", "index_pip_flexion")
    assert dof.DOF_NAMES[-1] == "thumb_ip_flexion"


def test_limits_of_a_hand_follow_the_axes_sign(embedded):
    """The least is below the greatest, also where angles turns against the model's axis, and zero lies within."""
    limits = dof.dof_limits(embedded.joint_limits)
    assert (limits[:, 0] < limits[:, 1]).all()
    assert (limits[:, 0] <= 0).all()
    for k, entry in enumerate(dof.DOFS):
        low, high = embedded.joint_limits[entry.node, entry.row]
        np.testing.assert_allclose(limits[k], (low, high) if entry.sign > 0 else (-high, -low))


def test_project_inverts_embed_and_drops_the_rest(embedded):
    """project(embed(angles)) = angles, embed(project(.)) is the nearest feasible pose: the residual is orthogonal to Z."""
    rng = np.random.default_rng(0)
    matrix = dof.hand_dof_matrix(embedded)
    angles, theta = rng.normal(size=(4, 2, 23)), rng.normal(size=(4, 2, 15, 3))
    np.testing.assert_allclose(dof.project(dof.embed(angles, matrix), matrix), angles, atol=1e-12)
    rest = theta - dof.embed(dof.project(theta, matrix), matrix)
    assert np.abs(dof.project(rest, matrix)).max() < 1e-12
    assert np.abs(rest).max() > 0.1


def moved(hand: HandModel, matrix: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat and turned vertices when one angles is 30 degrees."""
    angles = np.zeros((2, 23))
    angles[1, index] = np.deg2rad(30)
    theta = np.concatenate([np.zeros((2, 1, 3)), dof.embed(angles, matrix)], 1)
    posed = pose_hand(hand, theta, np.zeros((2, hand.num_shapes))).vertices
    return posed[0], posed[1]


def last_part(hand: HandModel, finger: str) -> np.ndarray:
    """(V,) vertices that a finger's last joint moves."""
    node = max(d.node for d in dof.DOFS if d.finger == finger)
    return hand.weights[:, node] > 0.5


@pytest.mark.parametrize("of", ["own", "rest joints"])
def test_positive_flexion_bends_to_the_palm(embedded, of):
    """Of every finger joint: the fingertip goes down (-y); the thumb's goes down or to the fingers (-z)."""
    matrix = dof.hand_dof_matrix(embedded) if of == "own" else dof.dof_matrix(embedded.rest_joints)
    for k, entry in enumerate(dof.DOFS):
        if entry.motion == "flexion":
            flat, bent = moved(embedded, matrix, k)
            _, down, aside = (bent - flat)[last_part(embedded, entry.finger)].mean(0)
            assert (down if entry.finger != "thumb" else down + aside) < -2e-3, entry.name


@pytest.mark.parametrize("of", ["own", "rest joints"])
def test_positive_abduction_moves_to_the_thumb(embedded, of):
    """Of every knuckle: the fingertip goes to the thumb's side (+z)."""
    matrix = dof.hand_dof_matrix(embedded) if of == "own" else dof.dof_matrix(embedded.rest_joints)
    for k, entry in enumerate(dof.DOFS):
        if entry.motion == "abduction" and entry.finger != "thumb":
            flat, turned = moved(embedded, matrix, k)
            assert (turned - flat)[last_part(embedded, entry.finger)].mean(0)[2] > 0.02, entry.name


def test_own_axes_lose_less_of_the_bank(embedded):
    """Why the model's own axes rule: over the embedded bank they drop a fraction of the rotation that MobileHand's drop."""
    theta = np.load(EMBEDDED / "poses.npz")["theta"].astype(float)
    dropped = []
    for matrix in (dof.hand_dof_matrix(embedded), dof.dof_matrix(embedded.rest_joints)):
        rest = theta - dof.embed(dof.project(theta, matrix), matrix)
        dropped.append(np.rad2deg(np.linalg.norm(rest, axis=-1)).mean())
    assert dropped[0] < 0.5 < 4 < dropped[1]


def test_axes_that_are_no_frame_are_refused():
    hand = toy_hand()
    with pytest.raises(AssetError, match="joint_axes are not orthonormal"):
        dof.hand_dof_matrix(replace(hand, joint_axes=1.1 * hand.joint_axes))
