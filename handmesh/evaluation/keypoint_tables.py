"""Keypoint tables: what a set of labels calls wrist, knuckle or tip, as a sparse linear map from vertices; read, written, fitted.

Sets of labels mean different points by one name: centres of joints, or what a person sees on the skin. A net that is right about
the mesh is then wrong by the difference, on every hand. A table moves each keypoint to where the set has it, and nothing else: its
rows are convex combinations of vertices, found on a few labelled hands and drawn towards the hand model's own keypoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.optimize import nnls

from handmesh.data.photos import KEYPOINTS
from handmesh.keypoints import keypoint_regressor
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.files import write_file
from handsynth.core.hand import HandModel

TABLES = Path(__file__).parents[1] / "keypoint_tables"
"""Those that come with the package."""

RADIUS_M = 0.03
"""A keypoint is made of vertices of its own part of the hand, no farther from the model's own keypoint."""

PRIOR_HANDS = 10.0
"""So many hands' worth of labels speak for the model's own keypoints, where labels are people's or a method's."""

ROUNDS = 5
"""Hands are laid upon their labels by the keypoints of the round before."""

FOLDS = 5
"""Parts of the hands that are left out in turn, so that a table can be evaluated on hands that it was not fitted on."""

_SUM_WEIGHT = 1e3  # of the row that makes weights add up to 1
_RIDGE = 1e-3  # of hands' sizes: among equal combinations, the one of many small weights
_LEAST = 1e-3  # weights below are dropped


@dataclass(frozen=True, eq=False)
class KeypointTable:
    """The keypoints of a set of labels, of one hand model."""

    name: str
    matrix: np.ndarray  # (21, V), FreiHAND's order; rows add up to 1
    hand: str  # digest of the hand model
    about: str  # what it was fitted on


def list_tables() -> list[str]:
    """Names of the tables that come with the package."""
    return sorted(path.stem for path in TABLES.glob("*.yaml"))


def load_table(name_or_path: str, hand: HandModel) -> KeypointTable:
    """A shipped table by name, or a file that `save_table` wrote.

    Raises UsageError when there is none, or it is of another hand; HandsynthError when it is damaged.
    """
    path = Path(name_or_path)
    if name_or_path in list_tables():
        path = TABLES / f"{name_or_path}.yaml"
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(list_tables())
        raise UsageError(
            f"keypoints {name_or_path}: neither a table that comes with the package ({known}) nor a readable file ({error})"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise HandsynthError(f"{path} is no YAML ({' '.join(str(error).split())[:80]})") from None
    try:
        rows, digest, name, about = value["keypoints"], str(value["hand"]), str(value["name"]), str(value.get("about", ""))
        matrix = _matrix(rows, hand.num_vertices) if digest == hand.digest else None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise HandsynthError(f"{path} is no table of keypoints ({' '.join(str(error).split())[:80]})") from None
    if matrix is None:
        raise UsageError(f"{path} is for another hand ({digest:.12}) than {hand.name!r} ({hand.digest:.12})")
    return KeypointTable(name, matrix, digest, about)


def save_table(path: Path, table: KeypointTable) -> None:
    """Writes a table as YAML: for each keypoint its vertices and their weights. Raises HandsynthError when it cannot be written."""
    rows = [{int(v): round(float(row[v]), 4) for v in np.flatnonzero(row)} for row in table.matrix]
    value = {"name": table.name, "hand": table.hand, "about": table.about, "keypoints": rows}
    try:
        write_file(path, yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=130).encode())
    except OSError as error:
        raise HandsynthError(f"{path} cannot be written: {error.strerror}") from None


def fit_table(
    name: str,
    hand: HandModel,
    vertices: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    labelled: np.ndarray,
    about: str = "",
    prior_hands: float = PRIOR_HANDS,
) -> KeypointTable:
    """The table that takes N meshes to their labels, after each mesh is laid upon its labels by a similarity.

    Args:
        name: of the table.
        hand: of the meshes.
        vertices: N times (V, D), D 2 for labels in images (projected vertices [px]) or 3.
        labels: N times (21, D), in the unit of the vertices.
        labelled: (N, 21) bool, which count.
        about: what it is fitted on, kept with the table.
        prior_hands: so many hands' worth of labels speak for the model's own keypoints.

    Raises UsageError for fewer than two hands.
    """
    if len(vertices) < 2:
        raise UsageError(f"a table of keypoints needs at least two labelled hands, there are {len(vertices)}")
    own = keypoint_regressor(hand)
    near = _candidates(hand, own)
    template = hand.v_template / np.ptp(hand.v_template, axis=0).max()
    matrix = own
    for _ in range(ROUNDS):
        laid = [_laid(v, matrix @ v, y, use) for v, y, use in zip(vertices, labels, labelled, strict=True)]
        matrix = np.zeros_like(own)
        for k in range(KEYPOINTS):
            hands = [(v[near[k]].T, y[k]) for (v, y), use in zip(laid, labelled, strict=True) if use[k]]
            left = [a for a, _ in hands]
            right = [b for _, b in hands]
            prior = np.sqrt(prior_hands) * template[near[k]].T
            left += [prior, _SUM_WEIGHT * np.ones((1, len(near[k]))), _RIDGE * np.eye(len(near[k]))]
            right += [np.sqrt(prior_hands) * (own[k] @ template), np.full(1, _SUM_WEIGHT), np.zeros(len(near[k]))]
            weights, _ = nnls(np.concatenate(left), np.concatenate(right))
            weights[weights < _LEAST] = 0
            matrix[k, near[k]] = weights / weights.sum()
    return KeypointTable(name, matrix, hand.digest, about)


def adapted(
    hand: HandModel, vertices: Sequence[np.ndarray], labels: Sequence[np.ndarray], labelled: np.ndarray
) -> list[np.ndarray]:
    """(21, V) for each of N hands: the table that is fitted on the hands of the other folds. Arguments as of `fit_table`."""
    fold = np.arange(len(vertices)) % FOLDS
    tables = {}
    for k in set(fold.tolist()):
        rows = np.flatnonzero(fold != k).tolist()
        tables[k] = fit_table("", hand, [vertices[r] for r in rows], [labels[r] for r in rows], labelled[rows]).matrix
    return [tables[k] for k in fold.tolist()]


def _matrix(rows: Any, num_vertices: int) -> np.ndarray:
    """Rows of a file -> (21, V). Raises ValueError or TypeError for anything else."""
    if not isinstance(rows, list) or len(rows) != KEYPOINTS:
        raise ValueError(f"expected {KEYPOINTS} keypoints")
    matrix = np.zeros((KEYPOINTS, num_vertices))
    for k, row in enumerate(rows):
        for vertex, weight in row.items():
            if type(vertex) is not int or not 0 <= vertex < num_vertices or not -10 <= float(weight) <= 10:
                raise ValueError(f"keypoint {k}: vertex {vertex!r:.20}, weight {weight!r:.20}")
            matrix[k, vertex] = float(weight)
    if np.abs(matrix.sum(1) - 1).max() > 0.02:
        raise ValueError("weights of a keypoint do not add up to 1")
    return matrix / matrix.sum(1, keepdims=True)


def _candidates(hand: HandModel, own: np.ndarray) -> list[np.ndarray]:
    """For each keypoint the vertices that it may be made of."""
    joint = hand.weights.argmax(1)
    places = own @ hand.v_template
    found = []
    for k in range(KEYPOINTS):
        mine = np.unique(joint[own[k] > 0])  # the joints whose skin its own vertices lie on
        family = {*mine, *hand.parents[mine], *np.flatnonzero(np.isin(hand.parents, mine))}
        near = np.linalg.norm(hand.v_template - places[k], axis=1) < RADIUS_M
        near &= np.isin(joint, list(family))
        found.append(np.flatnonzero(near | (own[k] > 0)))
    return found


def _laid(vertices: np.ndarray, keypoints: np.ndarray, labels: np.ndarray, use: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices laid upon labels by the similarity of labelled keypoints, and labels; both about their middle, in hands' sizes."""
    mean_k, mean_l = keypoints[use].mean(0), labels[use].mean(0)
    k, target = keypoints[use] - mean_k, labels[use] - mean_l
    u, values, vt = np.linalg.svd(k.T @ target)
    turn = np.ones(len(values))
    turn[-1] = np.sign(np.linalg.det(u @ vt))
    scale = (values * turn).sum() / max((k**2).sum(), 1e-12)
    size = np.ptp(labels[use], axis=0).max()
    return scale * (vertices - mean_k) @ (u * turn) @ vt / size, (labels - mean_l) / size
