"""Keypoint tables: a known convention is found again, nothing is invented where labels agree, and files are read or refused."""

import dataclasses

import numpy as np
import pytest
import yaml
from hands import draw_feasible, hand_of

from handmesh.evaluation.keypoint_tables import KeypointTable, adapted, fit_table, list_tables, load_table, save_table
from handmesh.keypoints import keypoint_regressor
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.toy import toy_hand

HAND = hand_of("embedded")
OWN = keypoint_regressor(HAND)


def other_convention() -> np.ndarray:
    """(21, V) keypoints on the skin: vertices of the same part, 4 mm or more from the model's own, in any direction."""
    rng, matrix = np.random.default_rng(5), np.zeros_like(OWN)
    joint = HAND.weights.argmax(1)
    for k, place in enumerate(OWN @ HAND.v_template):
        away = np.linalg.norm(HAND.v_template - place, axis=1)
        away[~np.isin(joint, joint[OWN[k] > 0]) | (away < 0.004)] = np.inf
        matrix[k, rng.choice(np.flatnonzero(away < away.min() + 0.005))] = 1
    return matrix


def labelled_hands(matrix: np.ndarray, count: int, space: bool, noise_mm: float = 0.0):
    """Meshes as a net gives them, and labels in a frame and of a size of their own."""
    rng = np.random.default_rng(0)
    meshes = draw_feasible(HAND, count).posed.vertices
    labels = 1.7 * (matrix @ meshes) + rng.normal(size=(count, 1, 3)) + rng.normal(0, 1.7e-3 * noise_mm, (count, 21, 3))
    meshes, labels = (meshes, labels) if space else (meshes[..., :2], labels[..., :2])
    return list(meshes), list(labels), np.ones((count, 21), bool)


def offsets_mm(matrix: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(21,) distances between the keypoints of two tables, on a hand at rest."""
    return 1000 * np.linalg.norm((matrix - other) @ HAND.v_template, axis=1)


@pytest.mark.parametrize("space", [True, False])
def test_a_convention_is_found_again(space):
    """Of 120 hands in any pose, 4 mm of noise on each label: of a centimetre between the conventions, a third is left."""
    matrix = other_convention()
    assert offsets_mm(OWN, matrix).mean() > 9
    found = fit_table("back", HAND, *labelled_hands(matrix, 120, space, noise_mm=4.0)).matrix
    assert offsets_mm(found, matrix).mean() < 3.3
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(1), 1)


def test_where_labels_agree_keypoints_stay():
    found = fit_table("own", HAND, *labelled_hands(OWN, 30, space=True)).matrix
    assert offsets_mm(found, OWN).max() < 0.5


def test_hands_that_are_not_labelled_do_not_count():
    vertices, labels, use = labelled_hands(other_convention(), 40, space=True)
    use[:20, 3:] = False
    spoilt = [np.where(u[:, None], y, 1e3) for y, u in zip(labels, use, strict=True)]
    np.testing.assert_array_equal(
        fit_table("a", HAND, vertices, spoilt, use).matrix, fit_table("a", HAND, vertices, labels, use).matrix
    )


def test_a_hand_is_evaluated_by_a_table_of_others():
    """Labels of one hand that are beside themselves change the tables of all but its own fold."""
    vertices, labels, use = labelled_hands(other_convention(), 10, space=True)
    before = adapted(HAND, vertices, labels, use)
    labels[3] = labels[3] + np.random.default_rng(1).normal(0, 0.05, (21, 3))
    after = adapted(HAND, vertices, labels, use)
    changed = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert changed == [k not in (3, 8) for k in range(10)]


def test_one_hand_is_too_few():
    with pytest.raises(UsageError, match="at least two labelled hands, there are 1"):
        fit_table("one", HAND, *labelled_hands(OWN, 1, space=True))


def test_files_hold_what_was_fitted(tmp_path):
    table = fit_table("mine", HAND, *labelled_hands(other_convention(), 20, space=True), "20 hands")
    save_table(tmp_path / "mine.yaml", table)
    read = load_table(str(tmp_path / "mine.yaml"), HAND)
    assert (read.name, read.about, read.hand) == ("mine", "20 hands", HAND.digest)
    assert offsets_mm(read.matrix, table.matrix).max() < 0.05
    with pytest.raises(UsageError, match="is for another hand"):
        load_table(str(tmp_path / "mine.yaml"), toy_hand())


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([], "is no table of keypoints"), ({"name": "a"}, "is no table of keypoints"), ("a: [", "is no YAML"),
        ({"keypoints": [{0: 1.0}] * 20}, "expected 21 keypoints"), ({"keypoints": [{0: 0.5}] * 21}, "do not add up to 1"),
        ({"keypoints": [{10**6: 1.0}] * 21}, "vertex 1000000"), ({"keypoints": [{0: float("nan")}] * 21}, "vertex 0, weight nan"),
    ],
)  # fmt: skip
def test_bad_tables_get_one_sentence(tmp_path, value, sentence):
    base = {"name": "a", "hand": HAND.digest}
    value = base | value if isinstance(value, dict) and "keypoints" in value else value
    (tmp_path / "bad.yaml").write_text(value if isinstance(value, str) else yaml.safe_dump(value))
    with pytest.raises(HandsynthError, match=sentence):
        load_table(str(tmp_path / "bad.yaml"), HAND)


def test_an_unknown_table_names_those_there_are():
    with pytest.raises(UsageError, match="neither a table that comes with the package"):
        load_table("nowhere", HAND)


def test_shipped_tables_are_of_the_embedded_hand():
    assert "mediapipe" in list_tables()
    for name in list_tables():
        table = load_table(name, HAND)
        assert isinstance(table, KeypointTable)
        assert offsets_mm(table.matrix, OWN).max() < 30
        assert dataclasses.asdict(table)["about"]
