"""What a mesh must be before it is fitted: one sentence when it is not, and no guess."""

from collections.abc import Sequence

import numpy as np

from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import HandModel

SIZE_RANGE = (0.4, 2.0)
"""Size of a mesh against the flat template's, at least and at most: feasible hands of any pose and shape have 0.6 to 1.3."""

LONGEST_EDGE = 5.0
"""Mean edge against the template's at equal size: noise of 5 mm makes it 2.7 at most, another order of vertices 6 and more."""

LEAST_VOLUME = 0.1
"""Enclosed volume against the template's at equal size: posed hands have 0.6 and more, with 5 mm of noise too."""

_BLOCK = 256  # hands at a time: bounds the memory
_UNITS = ((1000, "millimetres"), (100, "centimetres"), (10, "decimetres"))


class MirroredError(UsageError):
    """A mesh is a hand of the other side: its faces, as the model has them, look inwards. `what` names it."""

    def __init__(self, message: str, what: str = "") -> None:
        super().__init__(message)
        self.what = what


def check_arrays(hand: HandModel, vertices: np.ndarray, names: Sequence[str] | None = None) -> None:
    """Raises UsageError when (N, V, 3) is not the shape of meshes of this hand, HandsynthError when a number is not finite."""
    if vertices.ndim != 3 or vertices.shape[2] != 3:
        raise UsageError(f"vertices have shape {vertices.shape}: give (hands, {hand.num_vertices}, 3)")
    if vertices.shape[1] != hand.num_vertices:
        raise UsageError(
            f"the mesh has {vertices.shape[1]} vertices, hand model {hand.name!r} has {hand.num_vertices}: "
            "give the model that it was made with"
        )
    for n in np.flatnonzero(~np.isfinite(vertices).all((1, 2))).tolist():
        bad = int((~np.isfinite(vertices[n]).all(1)).sum())
        raise HandsynthError(f"{_name(names, n)}: {bad} of {hand.num_vertices} vertices hold NaN or infinity")


def check_mesh(hand: HandModel, vertices: np.ndarray, names: Sequence[str] | None = None) -> None:
    """Raises in one sentence when a mesh cannot be a right hand of this model in metres.

    Args:
        hand: the model whose order of vertices the meshes should have.
        vertices: (N, V, 3) [m], any pose and place.
        names: (N,) of the meshes in messages; None: "hand 0", ...

    Raises:
        UsageError: another vertex count or order, another unit; MirroredError: a left hand.
        HandsynthError: NaN, infinity, a collapsed or flat mesh.
    """
    vertices = np.asarray(vertices, np.float64)
    check_arrays(hand, vertices, names)
    for start in range(0, len(vertices), _BLOCK):
        block = vertices[start : start + _BLOCK]
        size = _spread(block) / _spread(hand.v_template)
        safe = np.maximum(size, 1e-12)
        edge = _mean_edge(hand, block) / _mean_edge(hand, hand.v_template) / safe
        volume = _volume(hand, block) / _volume(hand, hand.v_template) / safe**3
        for n in range(len(block)):
            _check_one(_name(names, start + n), float(size[n]), float(edge[n]), float(volume[n]))


def _name(names: Sequence[str] | None, n: int) -> str:
    return f"hand {n}" if names is None else names[n]


def _check_one(what: str, size: float, edge: float, volume: float) -> None:
    if size < 1e-6:
        raise HandsynthError(f"{what}: all vertices lie in one point")
    if not SIZE_RANGE[0] < size < SIZE_RANGE[1]:
        unit = next((f": it looks like {name}, divide by {k}" for k, name in _UNITS if 0.4 * k < size < 2 * k), "")
        raise UsageError(f"{what} is {size:.3g} times as large as a hand in metres{unit}")
    if edge > LONGEST_EDGE:
        raise UsageError(f"{what}: neighbouring vertices lie {edge:.0f} times too far apart: its vertices are in another order")
    if volume < -LEAST_VOLUME:
        raise MirroredError(f"{what} is mirrored, a left hand: mirror it to a right one first (core.mirror.mirror_points)", what)
    if volume < LEAST_VOLUME:
        raise HandsynthError(f"{what} is flat or folded into itself: it encloses {volume:.2f} of a hand's volume")


def _spread(vertices: np.ndarray) -> np.ndarray:
    """(..., V, 3) -> (...) root mean square distance from the mean."""
    centred = vertices - vertices.mean(-2, keepdims=True)
    return np.sqrt((centred**2).sum(-1).mean(-1))


def _mean_edge(hand: HandModel, vertices: np.ndarray) -> np.ndarray:
    """(..., V, 3) -> (...) mean length of the faces' edges."""
    corners = vertices[..., hand.faces, :]
    return np.linalg.norm(corners - np.roll(corners, 1, axis=-2), axis=-1).mean((-2, -1))


def _volume(hand: HandModel, vertices: np.ndarray) -> np.ndarray:
    """(..., V, 3) -> (...) signed volume between the faces and the mean vertex; positive when they face outwards."""
    a, b, c = np.moveaxis(vertices[..., hand.faces, :] - vertices.mean(-2)[..., None, None, :], -2, 0)
    return (np.cross(a, b) * c).sum((-2, -1)) / 6
