"""Registration: another hand's keypoints are found on this hand's skin, in poses and shapes that were not registered."""

import dataclasses

import numpy as np
import pytest
from hands import hand_of
from typer.testing import CliRunner

from handmesh.cli.main import make_app
from handmesh.evaluation.keypoint_tables import load_table
from handmesh.evaluation.registration import register, table_of_hand
from handmesh.keypoints import keypoint_regressor
from handsynth.core.errors import UsageError
from handsynth.core.hand import HandModel, pose_hand, save_hand

HAND = hand_of("embedded")


@pytest.fixture(scope="module")
def disguised() -> tuple[HandModel, np.ndarray]:
    """The embedded hand with another shape, other joints and tips, its vertices in another order -> and where each went."""
    rng = np.random.default_rng(0)
    order = rng.permutation(HAND.num_vertices)
    where = np.argsort(order)
    regressor = HAND.J_regressor.copy()
    for row in regressor:
        near = np.flatnonzero(np.linalg.norm(HAND.v_template - row @ HAND.v_template, axis=1) < 0.02)
        row *= 0.5
        np.add.at(row, rng.choice(near, 4), 0.125)
    tips = [np.flatnonzero(np.linalg.norm(HAND.v_template - HAND.v_template[t], axis=1) < 0.012)[0] for t in HAND.fingertips]
    rest = HAND.v_template + HAND.shapedirs @ rng.normal(size=HAND.num_shapes)
    other = dataclasses.replace(
        HAND, name="disguised", v_template=rest[order], shapedirs=HAND.shapedirs[order], posedirs=HAND.posedirs[order],
        J_regressor=regressor[:, order], weights=HAND.weights[order], faces=where[HAND.faces].astype(np.int32),
        fingertips=where[tips],
    )  # fmt: skip
    return other, where


def poses(count: int) -> np.ndarray:
    """(N, 16, 3) bent fingers."""
    theta = np.random.default_rng(1).normal(0, 0.3, (count, 16, 3))
    theta[:, 0] = 0
    theta[:, 1:] += HAND.hands_mean
    return theta


def test_a_disguised_hands_keypoints_are_found_on_poses_and_shapes_that_were_not_registered(disguised):
    other, where = disguised
    table = table_of_hand(HAND, other, "disguised")
    posed = pose_hand(other, poses(20), np.random.default_rng(2).normal(size=(20, 10)))
    skin = posed.vertices[:, where]  # in this hand's order, as a perfect net finds it
    tables = keypoint_regressor(HAND), table.matrix
    off = [1000 * np.linalg.norm(matrix @ skin - posed.keypoints, axis=2).mean() for matrix in tables]
    assert off[0] > 5
    assert off[1] < 3
    assert off[1] < 0.5 * off[0]


def test_registered_vertices_lie_where_they_are_on_the_other_skin(disguised):
    other, where = disguised
    theta = poses(4)
    posed = pose_hand(other, theta, np.zeros((4, 10))).vertices
    found = register(HAND, other, theta, posed)
    off = 1000 * np.linalg.norm(found - posed[:, where], axis=2)
    unmoved = 1000 * np.linalg.norm(pose_hand(HAND, theta, np.zeros((4, 10))).vertices - posed[:, where], axis=2)
    assert off.mean() < 1
    assert off.mean() < 0.4 * unmoved.mean()


def test_a_hand_registered_to_itself_keeps_its_keypoints():
    table = table_of_hand(HAND, HAND, "own")
    moved = np.linalg.norm((table.matrix - keypoint_regressor(HAND)) @ HAND.v_template, axis=1)
    assert 1000 * moved.max() < 0.5


def test_a_hand_of_other_joints_is_refused():
    parents = HAND.parents.copy()
    parents[4] = 1
    with pytest.raises(UsageError, match="has other joints than 'embedded'"):
        table_of_hand(HAND, dataclasses.replace(HAND, name="other", parents=parents), "other")


def test_the_command_writes_a_table_that_evaluations_take(disguised, tmp_path):
    save_hand(tmp_path / "hand.npz", disguised[0])
    out = CliRunner().invoke(make_app(), ["convert", "keypoints", str(tmp_path / "hand.npz"), str(tmp_path / "theirs.yaml")])
    assert out.exit_code == 0, out.output
    assert "keypoints move by" in " ".join(out.output.split())
    table = load_table(str(tmp_path / "theirs.yaml"), HAND)
    assert table.name == "theirs"
    assert "disguised" in table.about
