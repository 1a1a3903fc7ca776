"""How a pose holds a thing: the place, turn and size at which it lies between palm and fingers, found by search.

A thing is held when the hand's surface reaches into it, and it into the hand, by MAX_DEPTH_M at most, when two regions of the
palmar side at least touch it, and when they press against each other.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from handsynth.assets.objects.shapes import Shape
from handsynth.assets.objects.solid import Solid
from handsynth.core.conventions import FINGER_JOINTS, FINGERS
from handsynth.core.hand import HandModel, pose_hand
from handsynth.core.mesh import vertex_normals
from handsynth.core.rotation import rotmat_to_rotvec, rotvec_to_rotmat

MAX_DEPTH_M = 0.0035
"""Flesh gives way by so much where something is held firmly."""

TOUCH_M = 0.0018
"""What is nearer than this touches."""

THIN_SHARE = 0.5
"""Of a thin thing's thickness, at most so much may be in the flesh: nothing may come out on its other side."""

LEAST_SCORE = 4.3
"""Placements below this look precarious: a stick between two stretched fingers has 4."""

MAX_RESULTANT = 0.7
"""Length of the mean of the contacts' normals: 0 for two that press against each other, 0.7 for two at a right angle."""

STEP_M = 0.0025
MARGIN_M = 0.010
"""Nodes of the field around a hand, and how far it reaches beyond the hand."""

SAMPLE_M = 0.005
"""Distance between the points of a thing's surface that are looked up."""

SEEDS, KEPT, CHILDREN, ROUNDS = 200, 4, 10, 24
"""Places looked at first; of these the ones that are improved, each by so many variations, in so many rounds."""

HOPELESS_ROUND, HOPELESS_SCORE = 6, 2.2
"""What is not better after so many rounds is given up."""

SEARCHES = 3
"""Searches before a pose is taken not to hold a shape: one finds half to two thirds of what three find."""

PALM = len(FINGERS)
"""Number of the palm among regions; those before are fingers."""

WEIGHTS = np.array([1.5, 1.0, 1.0, 0.8, 0.7, 0.9])
"""What a touch of each region is worth."""


@dataclass(frozen=True)
class Placement:
    """Where a thing lies in the frame of a hand that is neither turned nor shifted, of the mean shape: x -> R (s x) + t."""

    rotvec: np.ndarray  # (3,) [rad]
    offset: np.ndarray  # (3,) [m]
    scale: float
    score: float


class PalmarRegions:
    """Which vertices lie on the palmar side of each finger and of the palm; the sides of fingers count."""

    def __init__(self, model: HandModel) -> None:
        normals = vertex_normals(model.v_template, model.faces)
        joint = model.weights.argmax(1)
        self.of_vertex = np.full(model.num_vertices, -1)
        for number, finger in enumerate(FINGERS):
            for j in FINGER_JOINTS[finger]:
                flexion, _, bone = model.joint_axes[j]
                palmar = normals @ np.cross(flexion, bone) > -0.15
                self.of_vertex[(joint == j) & palmar] = number
        self.of_vertex[(joint == 0) & (normals @ [0.0, -1.0, 0.0] > 0.4)] = PALM
        corner = self.of_vertex[model.closed_faces]
        self.of_face = np.where((corner[:, 0] == corner[:, 1]) | (corner[:, 0] == corner[:, 2]), corner[:, 0], corner[:, 1])
        self.of_point = np.concatenate([self.of_vertex, self.of_face])
        self._corners = np.ascontiguousarray(model.closed_faces.T, np.intp)  # (3, F)
        rows, columns = model.closed_faces.ravel(), np.repeat(np.arange(len(model.closed_faces)), 3)
        self.faces_around = csr_matrix((np.ones(len(rows)), (rows, columns)), (model.num_vertices, len(model.closed_faces)))

    def corners_of(self, vertices: np.ndarray) -> list[np.ndarray]:
        """(V, 3) vertices -> the first, second and third corner of every face of the closed hand, (F, 3) each."""
        return [np.take(vertices, corner, 0) for corner in self._corners]


class HandSurface:
    """Vertices and middles of triangles of one posed hand, with normals and regions, for distances from them."""

    def __init__(
        self,
        model: HandModel,
        regions: PalmarRegions,
        vertices: np.ndarray,
        within: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """`vertices` (V, 3) [m]; `within`: the axes (3, 3), as columns, of a box beyond which the surface does not matter, and the
        least and greatest (3,) that points of it have along these.
        """
        a, b, c = regions.corners_of(vertices)
        normals = _cross(b - a, c - a)
        self.vertices = vertices
        self._points = np.concatenate([vertices, (a + b + c) / 3])
        self._normals = np.concatenate([regions.faces_around @ normals, normals])
        self._regions = regions.of_point
        if within is not None:
            axes, low, high = within
            along = axes.T @ self._points.T
            inside = [(least <= row) & (row <= most) for row, least, most in zip(along, low, high, strict=True)]
            near = np.flatnonzero(inside[0] & inside[1] & inside[2])
            if len(near):
                self._points, self._normals, self._regions = (
                    np.take(values, near, 0) for values in (self._points, self._normals, self._regions)
                )
        self._normals /= np.maximum(np.sqrt(_dots(self._normals, self._normals)), 1e-12)[:, None]
        # It is searched but a few times: to build it balanced and compact takes longer than that saves.
        self._tree = cKDTree(self._points, leafsize=32, compact_nodes=False, balanced_tree=False)

    def signed_distance(self, points: np.ndarray, farthest_m: float = np.inf) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N, 3) -> (N,) distance [m], negative in the flesh; (N, 3) normal and (N,) region of the nearest surface.

        Beyond `farthest_m` the distance is infinite, and normal and region are those of any.
        """
        distance, nearest = self._tree.query(points, distance_upper_bound=farthest_m)
        nearest = np.minimum(nearest, len(self._points) - 1)
        normals = np.take(self._normals, nearest, 0)
        outside = _dots(points - np.take(self._points, nearest, 0), normals) >= 0
        return np.where(outside | np.isinf(distance), distance, -distance), normals, self._regions[nearest]

    def pads(self) -> dict[int, np.ndarray]:
        """Region -> (N, 3) its vertices."""
        count = len(self.vertices)
        return {r: self.vertices[self._regions[:count] == r] for r in range(PALM + 1)}

    def palm_normal(self) -> np.ndarray:
        """Mean normal of the palm."""
        mean = self._normals[self._regions == PALM].mean(0)
        return mean / np.linalg.norm(mean)


class HandField(HandSurface):
    """The same on a grid, for many points: of the mean shape, neither turned nor shifted."""

    def __init__(self, model: HandModel, regions: PalmarRegions, theta: np.ndarray) -> None:
        """`theta` (15, 3) of the fingers."""
        vertices = pose_hand(model, np.concatenate([np.zeros((1, 3)), theta]), np.zeros(model.num_shapes)).vertices
        super().__init__(model, regions, vertices)
        self._origin = vertices.min(0) - MARGIN_M
        shape = np.ceil((vertices.max(0) + MARGIN_M - self._origin) / STEP_M).astype(int) + 1
        nodes = self._origin + STEP_M * np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1).reshape(-1, 3)
        distance, nearest = self._tree.query(nodes)
        inside = ((nodes - self._points[nearest]) * self._normals[nearest]).sum(1) < 0
        self._distance = np.where(inside, -distance, distance).astype(np.float32).reshape(shape)
        self._nearest = nearest.astype(np.int32).reshape(shape)
        self._of_nearest = self._normals.astype(np.float32), self._regions.astype(np.int8)

    def look_up(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(..., 3) -> distance [m] (MARGIN_M where the grid ends), normal (..., 3) and region (-1: none) of the nearest place."""
        x, y, z = place = np.moveaxis((points - self._origin) / STEP_M, -1, 0)
        distance = map_coordinates(self._distance, place, order=1, mode="constant", cval=MARGIN_M)
        a, b, c = self._nearest.shape
        node = (_node(x, a) * b + _node(y, b)) * c + _node(z, c)
        nearest = self._nearest.ravel()[node]
        normals, regions = self._of_nearest
        return distance, normals[nearest], regions[nearest]


def _node(place: np.ndarray, count: int) -> np.ndarray:
    """Numbers of the nearest nodes along one axis of a grid."""
    return np.clip((place + 0.5).astype(np.int32), 0, count - 1)


@dataclass(frozen=True, eq=False)
class SurfaceSamples:
    """Points spread over a solid's surface."""

    points: np.ndarray  # (N, 3) [m]
    normals: np.ndarray  # (N, 3)

    @cached_property
    def box(self) -> np.ndarray:
        """(2, 3) the least and the greatest place of any point [m]."""
        return np.array([self.points.min(0), self.points.max(0)])

    @cached_property
    def thickness(self) -> float:
        """Shortest side of the box [m]."""
        return float((self.box[1] - self.box[0]).min())


@lru_cache(maxsize=256)
def surface_samples(solid: Solid) -> SurfaceSamples:
    """Points of a solid's surface, SAMPLE_M apart where that makes neither few nor many."""
    corners = solid.vertices[solid.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    rng = np.random.Generator(np.random.Philox(7))
    count = int(np.clip(area.sum() / SAMPLE_M**2, 160, 420))
    # Stratified in area, so that no part goes without.
    at = (np.arange(count) + rng.random(count)) / count * area.sum()
    face = np.minimum(np.searchsorted(np.cumsum(area), at), len(area) - 1)
    a, b = rng.random((2, count))
    a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
    share = np.stack([1 - a - b, a, b], 1)[..., None]
    return SurfaceSamples((corners[face] * share).sum(1), (solid.normals[solid.faces[face]] * share).sum(1))


def search(field: HandField, shape: Shape, samples: SurfaceSamples, rng: np.random.Generator) -> Placement | None:
    """The best placement of a shape in a hand, or None when the pose does not hold it."""
    rotation, offset, scale = _seeds(field, shape, samples.points, rng)
    thickness = samples.thickness
    score, _ = _rate(field, samples, thickness, rotation, offset, scale)
    best = np.argsort(-score, kind="stable")[:KEPT]
    rotation, offset, scale, score = rotation[best], offset[best], scale[best], score[best]
    low, high = shape.scale
    for k in range(ROUNDS):
        if k == HOPELESS_ROUND and score.max() < HOPELESS_SCORE:
            return None
        width = 0.9**k
        turn = rotvec_to_rotmat(rng.normal(0, 0.22 * width, (KEPT, CHILDREN, 3)))
        shift = rng.normal(0, 0.006 * width, (KEPT, CHILDREN, 3))
        grow = np.exp(rng.normal(0, 0.07 * width, (KEPT, CHILDREN)))
        tried_r = (turn @ rotation[:, None]).reshape(-1, 3, 3)
        tried_t = (offset[:, None] + shift).reshape(-1, 3)
        tried_s = np.clip(scale[:, None] * grow, low, high).reshape(-1)
        tried, _ = _rate(field, samples, thickness, tried_r, tried_t, tried_s)
        pick = tried.reshape(KEPT, CHILDREN).argmax(1) + CHILDREN * np.arange(KEPT)
        better = tried[pick] > score
        rotation = np.where(better[:, None, None], tried_r[pick], rotation)
        offset = np.where(better[:, None], tried_t[pick], offset)
        scale, score = np.where(better, tried_s[pick], scale), np.where(better, tried[pick], score)
    _, held = _rate(field, samples, thickness, rotation, offset, scale)
    score = np.where(held, score, -np.inf)
    k = int(score.argmax())
    if not held[k]:
        return None
    placement = Placement(rotmat_to_rotvec(rotation[k]), offset[k], float(scale[k]), float(score[k]))
    return placement if exact_depth(field, samples.points, placement) <= depth_limit(thickness * placement.scale) else None


def depth_limit(thickness: np.ndarray | float) -> np.ndarray:
    """How deep a thing of a thickness [m] may reach into the flesh, or it into the thing [m]."""
    return np.minimum(MAX_DEPTH_M, THIN_SHARE * np.asarray(thickness))


def exact_depth(field: HandField, points: np.ndarray, placement: Placement) -> float:
    """How deep the points of a thing's surface reach into the flesh at most [m]."""
    moved = (placement.scale * points) @ rotvec_to_rotmat(placement.rotvec).T + placement.offset
    return max(0.0, -float(field.signed_distance(moved)[0].min()))


def _rate(
    field: HandField,
    samples: SurfaceSamples,
    thickness: float,
    rotation: np.ndarray,
    offset: np.ndarray,
    scale: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """(B,) how well each placement is held, and (B,) whether it is."""
    points, normals = samples.points, samples.normals
    moved = scale[:, None, None] * (points @ rotation.swapaxes(1, 2)) + offset[:, None]
    distance, hand_normal, region = field.look_up(moved)
    against = ((normals @ rotation.swapaxes(1, 2)) * hand_normal).sum(-1) < -0.45
    deepest = 1e3 * np.maximum(-distance.min(1), 0)  # [mm]
    closeness = np.where(against, np.exp(-((np.maximum(distance, 0) / 0.003) ** 2)), 0)
    place = np.empty((len(scale), PALM + 1), int)
    for r in range(PALM + 1):
        there = closeness * (region == r)
        place[:, r] = there.argmax(1)
    touch = np.where(np.take_along_axis(region, place, 1) == np.arange(PALM + 1), np.take_along_axis(closeness, place, 1), 0)
    pressing = np.take_along_axis(hand_normal, place[..., None], 1)  # (B, R, 3)
    resultant = np.linalg.norm((touch[..., None] * pressing).sum(1), axis=1) / np.maximum(touch.sum(1), 0.5)
    value = (touch @ WEIGHTS) * (1.15 - resultant**2)
    limit = 1e3 * depth_limit(thickness * scale)
    value -= 0.35 * np.maximum(deepest - 0.45 * limit, 0) ** 2 + 0.02 * (np.maximum(-1e3 * distance, 0) ** 2).mean(1)
    touching = touch > np.exp(-((TOUCH_M / 0.003) ** 2))
    held = (
        (value > LEAST_SCORE)
        & (deepest < limit)
        & (touching.sum(1) >= 2)
        & (resultant < MAX_RESULTANT)
        & touching[:, [0, PALM]].any(1)
    )
    return value, held


def _seeds(
    field: HandField, shape: Shape, points: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(B, 3, 3), (B, 3), (B,) places to begin with: between thumb and fingers, and before the palm."""
    pads = {r: p.mean(0) if len(p) else field.vertices.mean(0) for r, p in field.pads().items()}
    tips = {r: p[np.argsort(((p - pads[PALM]) ** 2).sum(1))[-max(3, len(p) // 3) :]].mean(0) if len(p) else pads[r]
            for r, p in field.pads().items() if r < PALM}  # fmt: skip
    normal = field.palm_normal()
    across = pads[1] - pads[4]
    axes = [across, normal, tips[0] - tips[1], pads[2] - pads[PALM], np.cross(across, normal)]
    centres = [
        (tips[0] + tips[1]) / 2, (tips[0] + (tips[1] + tips[2]) / 2) / 2, (tips[0] + tips[1] + tips[2] + tips[3]) / 4,
        np.mean([*tips.values(), pads[PALM]], axis=0), (np.mean([pads[1], pads[2], pads[3]], axis=0) + pads[PALM]) / 2,
    ]  # fmt: skip
    centres += [pads[PALM] + d * normal for d in (0.012, 0.025, 0.04)]
    extent = np.ptp(points, axis=0)
    long = int(extent.argmax())
    axis = _unit(np.array(axes)[rng.integers(len(axes), size=SEEDS)] + rng.normal(0, 1e-3, (SEEDS, 3)))
    other = _unit(np.cross(axis, rng.normal(size=(SEEDS, 3))))
    frame = np.stack([axis, other, np.cross(axis, other)], 2)
    # The thing's longest axis lies along the frame's first more often than another.
    first = np.where(rng.random(SEEDS) < 0.7, long, rng.integers(3, size=SEEDS))
    turn = frame @ np.eye(3)[(first[:, None] + np.arange(3)) % 3]
    turn = rotvec_to_rotmat(rng.normal(0, 0.15, (SEEDS, 3))) @ turn
    smallest, largest = np.log(shape.scale)
    scale = np.exp(rng.uniform(smallest, largest, SEEDS))
    slide = rng.uniform(-0.4, 0.4, SEEDS) * extent[long] * scale
    centre = np.array(centres)[rng.integers(len(centres), size=SEEDS)] + rng.normal(0, 0.006, (SEEDS, 3))
    return turn, centre + slide[:, None] * turn[:, :, long], scale


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 3) and (N, 3) -> (N, 3): numpy's takes three times as long."""
    (ax, ay, az), (bx, by, bz) = a.T, b.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], 1)


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 3) and (N, 3) -> (N,): numpy's sums over so short rows are slow."""
    return np.asarray(a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def holdings(model: HandModel, theta: np.ndarray, shapes: tuple[Shape, ...], seed: int) -> Iterator[tuple[int, Placement]]:
    """(number of the shape, placement) of every shape that one pose (15, 3) holds."""
    field = HandField(model, PalmarRegions(model), theta)
    for number, shape in enumerate(shapes):
        rng = np.random.Generator(np.random.Philox(key=(seed << 32) + number))
        samples = surface_samples(shape.solid)
        for _ in range(SEARCHES):
            if (found := search(field, shape, samples, rng)) is not None:
                yield number, found
                break


def refit(
    model: HandModel, regions: PalmarRegions, vertices: np.ndarray, growth: float, root: np.ndarray,
    samples: SurfaceSamples, placement: Placement,
) -> Placement | None:  # fmt: skip
    """A placement of the mean hand for one of another shape in the same pose: pushed out of the flesh, made a little smaller.

    Args:
        model: the hand.
        regions: of it.
        vertices: (V, 3) of the hand, neither turned nor shifted [m].
        growth: size of the hand over the mean one's.
        root: (3,) its wrist joint [m].
        samples: of the thing's surface.
        placement: in the mean hand.

    Returns:
        The placement in this hand, or None when it is no longer held: where the flesh is entered by more than MAX_DEPTH_M,
        fewer than two regions are near, or less than SMALLEST_REFIT of its size is left.
    """
    rotation = rotvec_to_rotmat(placement.rotvec)
    offset = root + growth * (placement.offset - model.rest_joints[0])
    scale = growth * placement.scale
    moved = scale * samples.points @ rotation.T + offset
    low, high = scale * samples.box
    middle = offset @ rotation
    surface = HandSurface(model, regions, vertices, (rotation, middle + low - FLESH_M, middle + high + FLESH_M))
    limit = float(depth_limit(samples.thickness * scale))
    own, rows = samples.points @ rotation.T, np.arange(len(moved))
    places, first = moved, np.zeros(len(moved))  # when all were looked up, and how far from the hand they were then
    for _ in range(REFIT_ROUNDS):
        distance, normal, region = surface.signed_distance(moved[rows], FLESH_M)
        if len(rows) == len(moved):
            places, first = moved, np.minimum(distance, FLESH_M)
        deep = np.maximum(-distance - 0.6 * limit, 0)
        if -distance.min(initial=np.inf) <= limit:
            close = np.flatnonzero(distance < REFIT_TOUCH_M)
            near = close[_dots(samples.normals[rows[close]] @ rotation.T, normal[close]) < 0]
            if len(set(region[near].tolist()) - {-1}) < 2:
                return None
            return Placement(placement.rotvec, offset, scale, placement.score)
        push = (deep[:, None] * normal).sum(0) / deep.sum()
        offset = offset + push * deep.max()
        # Where flesh presses from both sides, pushing is in vain.
        scale *= 1 - 0.6 * (1 - math.sqrt(push @ push)) * deep.max() / (samples.thickness * scale)
        if scale < SMALLEST_REFIT * growth * placement.scale:  # of a thin thing in deep flesh it would even become negative
            return None
        # Points that were farther from the hand than they have come since do not touch it.
        moved = scale * own + offset
        way = moved - places
        rows = np.flatnonzero(first < REFIT_TOUCH_M + np.sqrt(_dots(way, way).max()))
    return None


REFIT_ROUNDS, REFIT_TOUCH_M, SMALLEST_REFIT = 12, 0.004, 0.5
"""How often a thing is pushed at most, how near it must stay to what holds it, and the least share of its size that is left."""

FLESH_M = 0.03
"""No place in a hand is so far from its surface: what is, is outside."""
