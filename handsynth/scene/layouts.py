"""Hand, forearm and clothes as a renderer draws them: corners split at seams, triangles in drawing order, the wrist's cap."""

import numpy as np
import scipy.sparse.csgraph

from handsynth.core.conventions import ARM_PART, CLOTHING_PART, OBJECT_PART
from handsynth.core.hand import HandModel
from handsynth.core.mesh import cap_fan
from handsynth.render.layers import Layout
from handsynth.scene.arm import POLE_M, Arm
from handsynth.scene.arm_skin import ALONG, SHIRT_ROWS
from handsynth.scene.spheres import ARM_JOINT, ARM_SPHERES, MAX_SPHERES, foreign_bits, make_spheres
from handsynth.scene.upper_arm import texture_corners, whole_faces
from handsynth.scene.wear import tube


def hand_layout(model: HandModel, uv: np.ndarray, uv_faces: np.ndarray, with_arm: bool = False) -> Layout:
    """A hand whose wrist a cap closes, or that is open where a forearm follows.

    Args:
        model: the hand.
        uv: (T, 2) texture coordinates, v up.
        uv_faces: (F, 3) rows of `uv`, aligned with `model.faces`.
        with_arm: whether a forearm follows, whose spheres then shade the fingers.
    """
    corner_vertex, corner_uv, triangles, parts = _split(model.faces, uv, uv_faces, model.parts)
    cap_rim = np.zeros(0, np.intp) if with_arm else model.rim
    if len(cap_rim):  # a hand without a hole has none
        fan = cap_fan(len(cap_rim))
        # One texture coordinate for the whole cap: a fan across the atlas would cross foreign islands.
        at_rim = corner_uv[np.flatnonzero(corner_vertex == cap_rim[0])[0]]
        triangles = np.concatenate([triangles, fan + len(corner_vertex)])
        parts = np.concatenate([parts, np.zeros(len(fan), int)])
        corner_vertex = np.concatenate([corner_vertex, cap_rim])
        corner_uv = np.concatenate([corner_uv, np.tile(at_rim, (len(cap_rim), 1))])
    return Layout(
        corner_vertex=corner_vertex.astype(np.int32),
        corner_uv=corner_uv.astype(np.float32),
        foreign=foreign_bits(model, _sphere_parts(model, with_arm), model.weights.argmax(1)[corner_vertex]),
        triangles=triangles.astype(np.int32),
        triangle_part=(parts + 1).astype(np.uint8),
        cap_rim=cap_rim,
    )


def arm_layout(model: HandModel, arm: Arm, rings: int | None = None, with_upper: bool = True) -> Layout:
    """An arm, its texture arm_skin's. Of the forearm the first `rings` from the rim on, where a sleeve hides the others; the upper
    arm is then in its colour. `with_upper`: False where the image shows no upper arm.
    """
    upper, upper_faces = texture_corners(arm, arm.length_m + POLE_M, rings is not None)
    faces, uv_faces = whole_faces(arm), np.concatenate([arm.uv_faces, upper_faces + len(arm.uv)])
    uv = np.concatenate([arm.uv, upper]) * [1, -1] + [0, 1]  # v up, as hands have it
    end = arm.num_vertices if rings is None else len(arm.rim) + rings * len(arm.angle)
    kept = np.flatnonzero((faces < end).all(1) | (faces >= arm.num_vertices).all(1) & with_upper)
    corner_vertex, corner_uv, triangles, _ = _split(faces[kept], uv, uv_faces[kept], np.zeros(len(kept), int))
    # Rows of the texture are places from the wrist on, the first lies at the rim: between rows 0 and ALONG nothing repeats.
    shirt = corner_uv[:, 1] == 1
    shirt &= corner_vertex >= arm.num_vertices
    corner_uv[:, 1] = np.minimum(corner_uv[:, 1] + 0.5 / ALONG, 1 - np.where(shirt, 0.5, SHIRT_ROWS + 0.5) / ALONG)
    foreign = foreign_bits(model, _sphere_parts(model, True), np.full(len(corner_vertex), ARM_JOINT))
    return _of_one_part(corner_vertex, corner_uv, triangles, foreign, ARM_PART, "smooth skin")


def worn_layout(model: HandModel, piece: tube.Layout, joint: int, material: str, end: int | None = None) -> Layout:
    """A thing that is worn where `joint` moves the flesh; like that, it is shaded by the other parts of the hand. Of its vertices
    the first `end`.
    """
    kept = np.ones(len(piece.faces), bool) if end is None else (piece.faces < end).all(1)
    if piece.unseen is not None:
        kept &= ~piece.unseen[piece.faces].all(1)
    faces, uv_faces = piece.faces[kept], piece.uv_faces[kept]
    corner_vertex, corner_uv, triangles, _ = _split(faces, piece.uv, uv_faces, np.zeros(len(faces), int))
    foreign = foreign_bits(model, _sphere_parts(model, False), np.full(len(corner_vertex), joint))
    return _of_one_part(corner_vertex, corner_uv, triangles, foreign, CLOTHING_PART, material)


def held_layout(model: HandModel, faces: np.ndarray, uv: np.ndarray, part: int = OBJECT_PART) -> Layout:
    """A held thing, whose vertices have one (V, 2) texture coordinate each, v up; every part of the hand shades it."""
    spheres = _sphere_parts(model, False)
    bits = np.packbits(np.arange(MAX_SPHERES) < len(spheres), bitorder="little").view("<u4").astype(np.uint32)
    corner_vertex, triangles, _ = _in_drawing_order(np.arange(len(uv)), faces, np.zeros(len(faces), int))
    corner_uv, foreign = uv[corner_vertex] * [1, -1] + [0, 1], np.tile(bits, (len(corner_vertex), 1))
    return _of_one_part(corner_vertex, corner_uv, triangles, foreign, part, "finished")


def _of_one_part(
    corner_vertex: np.ndarray, corner_uv: np.ndarray, triangles: np.ndarray, foreign: np.ndarray, part: int, material: str
) -> Layout:
    """A layout without a cap, all of whose triangles have one value in the parts pass."""
    return Layout(
        corner_vertex=corner_vertex.astype(np.int32),
        corner_uv=corner_uv.astype(np.float32),
        foreign=foreign,
        triangles=triangles.astype(np.int32),
        triangle_part=np.full(len(triangles), part, np.uint8),
        cap_rim=np.zeros(0, np.intp),
        material=material,
    )


def _sphere_parts(model: HandModel, with_arm: bool) -> np.ndarray:
    """(S,) joint of each of a view's shading spheres: the hand's, then the forearm's."""
    hand = make_spheres(model).bone_start
    return np.concatenate([hand, np.full(len(ARM_SPHERES), ARM_JOINT)]) if with_arm else hand


def _split(
    faces: np.ndarray, uv: np.ndarray, uv_faces: np.ndarray, parts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (C,) and texture coordinates (C, 2), v down, of corners; triangles of them (F, 3), and their parts (F,)."""
    # Pairs as one number each, in the order of the pairs: numpy sorts rows five times as long.
    pairs = faces.ravel().astype(np.int64) << 32 | uv_faces.ravel()
    found, triangles = np.unique(pairs, return_inverse=True)
    corners, triangles, parts = _in_drawing_order(np.stack([found >> 32, found & 0xFFFFFFFF], 1), triangles.reshape(-1, 3), parts)
    return corners[:, 0], uv[corners[:, 1]] * [1, -1] + [0, 1], triangles, parts


def _in_drawing_order(corners: np.ndarray, triangles: np.ndarray, parts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners, triangles and their parts, neighbours next to each other: drivers keep few shaded corners at a time."""
    a, b = triangles.ravel(), np.roll(triangles, 1, 1).ravel()
    graph = scipy.sparse.csr_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), shape=(len(corners),) * 2)
    order = scipy.sparse.csgraph.reverse_cuthill_mckee(graph, symmetric_mode=True)
    triangles = np.argsort(order)[triangles]
    first = np.argsort(triangles.min(1), kind="stable")
    return corners[order], triangles[first], parts[first]
