"""The toy hand: a palm and five fingers made of tubes, licence-free, for tests and examples that need no file."""

from functools import lru_cache

import numpy as np

from handsynth.core.anatomy import joint_axes, joint_limits
from handsynth.core.conventions import FINGER_JOINTS, FINGERS, PARENTS
from handsynth.core.hand import HandModel

# First joint (x, z), heading in the xz-plane [deg, 0 is -x, positive to the thumb's side], bones and radius [m].
# Round figures of an adult hand 18 cm long.
_FINGER_SHAPE = {
    "thumb": ((0.065, 0.030), 45.0, (0.042, 0.033, 0.028), 0.0110),
    "index": ((0.000, 0.026), 6.0, (0.040, 0.025, 0.022), 0.0085),
    "middle": ((-0.004, 0.004), 0.0, (0.045, 0.029, 0.023), 0.0085),
    "ring": ((0.002, -0.017), -6.0, (0.041, 0.027, 0.023), 0.0080),
    "pinky": ((0.014, -0.036), -13.0, (0.032, 0.020, 0.020), 0.0070),
}
_WRIST_X, _KNUCKLES_X = 0.090, -0.008  # the palm's two ends [m]
# Sections of the palm: place between wrist (0) and knuckles (1), half width and half height [m].
_PALM_SECTIONS = (
    (-0.08, 0.028, 0.019), (0.0, 0.028, 0.018), (0.3, 0.034, 0.017), (0.7, 0.040, 0.014), (1.0, 0.041, 0.011),
)  # fmt: skip
_AROUND_PALM, _AROUND_FINGER = 12, 8  # vertices of a ring
_BLEND = 0.3  # skinning blends over this share of a bone on both sides of a joint

_SHAPES = (
    {"length": 0.05, "breadth": 0.05, "radius": 0.05},  # size
    {"fingers": 0.05}, {"radius": 0.08}, {"breadth": 0.06}, {"palm": 0.05},
    {"thumb": 0.06}, {"index": 0.05}, {"middle": 0.05}, {"ring": 0.05}, {"pinky": 0.06},
)  # fmt: skip
"""What one standard deviation of each beta adds to which proportion (share of the mean)."""


class _Tubes:
    """Collects rings of vertices into closed or open tubes, with faces and a texture cell for each."""

    def __init__(self) -> None:
        self.vertices: list[np.ndarray] = []
        self.faces: list[tuple[int, int, int]] = []
        self.uv: list[tuple[float, float]] = []
        self.uv_faces: list[tuple[int, int, int]] = []

    def add(
        self, rings: np.ndarray, poles: tuple[np.ndarray | None, np.ndarray], cell: tuple[float, float]
    ) -> tuple[np.ndarray, int]:
        """Adds (R, N, 3) rings, closed by poles at the start (None leaves it open) and the end.

        The tube is unrolled into the texture's columns cell[0]..cell[1]. Returns (R, N) vertex indices and the end pole's.
        """
        count, around = rings.shape[:2]
        index = len(self.vertices) + np.arange(count * around).reshape(count, around)
        self.vertices += list(rings.reshape(-1, 3))
        columns, rows = np.linspace(*cell, around + 1), np.linspace(0.04, 0.96, count + 2)
        uv_index = len(self.uv) + np.arange(count * (around + 1)).reshape(count, around + 1)
        self.uv += [(u, v) for v in rows[1:-1] for u in columns]
        for r in range(count - 1):
            for a in range(around):
                b = (a + 1) % around
                self.faces += [(index[r, a], index[r, b], index[r + 1, b]), (index[r, a], index[r + 1, b], index[r + 1, a])]
                s, t = uv_index[r], uv_index[r + 1]
                self.uv_faces += [(s[a], s[a + 1], t[a + 1]), (s[a], t[a + 1], t[a])]
        end = -1
        for pole, ring, uv_ring, v in ((poles[0], index[0], uv_index[0], rows[0]), (poles[1], index[-1], uv_index[-1], rows[-1])):
            if pole is None:
                continue
            end = len(self.vertices)
            self.vertices.append(pole)
            for a in range(around):
                b, corner = (a + 1) % around, len(self.uv)
                self.uv.append((float(columns[a] + columns[a + 1]) / 2, float(v)))
                first = pole is poles[0]
                self.faces.append((ring[b], ring[a], end) if first else (ring[a], ring[b], end))
                self.uv_faces.append((uv_ring[a + 1], uv_ring[a], corner) if first else (uv_ring[a], uv_ring[a + 1], corner))
        return index, end


def _ring(center: np.ndarray, along: np.ndarray, half_width: float, half_height: float, around: int) -> np.ndarray:
    """(around, 3) points of an ellipse across `along` (horizontal), whose mean is `center`; counter-clockwise seen from its tip."""
    angle = 2 * np.pi * np.arange(around) / around
    across = np.cross(along, [0.0, 1.0, 0.0])
    return center + half_width * np.cos(angle)[:, None] * across - half_height * np.sin(angle)[:, None] * np.array([0.0, 1.0, 0.0])


def _build(shape: dict[str, float]) -> tuple[_Tubes, np.ndarray, np.ndarray, list[int]]:
    """Builds the hand with its proportions changed by `shape` (share of the mean).

    Returns the tubes, (16, V) joint regressor, (V, 16) skinning weights, and the tip vertices in FINGERS' order.
    """
    scale = {key: 1.0 + shape.get(key, 0.0) for key in ("length", "breadth", "radius", "fingers", "palm", *FINGERS)}
    tubes, tips = _Tubes(), []
    regressor: dict[int, np.ndarray] = {}
    weights: list[np.ndarray] = []

    palm_length = (_WRIST_X - _KNUCKLES_X) * scale["length"] * scale["palm"]
    rest = np.eye(len(PARENTS))
    rings = []
    for t, half_width, half_height in _PALM_SECTIONS:
        center = np.array([_WRIST_X - t * palm_length, 0.0, -0.004 * t])
        rings.append(
            _ring(center, np.array([-1.0, 0.0, 0.0]), half_width * scale["breadth"], half_height * scale["radius"], _AROUND_PALM)
        )
    end_pole = rings[-1].mean(0) + np.array([-0.006, 0.0, 0.0])
    index, _ = tubes.add(np.array(rings), (None, end_pole), (0.02, 0.32))
    regressor[0] = index[1]
    weights += [rest[0]] * (index.size + 1)

    for k, finger in enumerate(FINGERS):
        (x, z), heading, bones, radius = _FINGER_SHAPE[finger]
        radius = radius * scale["radius"]
        along = np.array([-np.cos(np.deg2rad(heading)), 0.0, np.sin(np.deg2rad(heading))])
        start = np.array([_WRIST_X - (_WRIST_X - x) * scale["length"] * scale["palm"], 0.0, z * scale["breadth"]])
        lengths = np.array(bones) * scale["length"] * scale["fingers"] * scale[finger]
        nodes = np.concatenate([[0.0], np.cumsum(lengths)])  # where the joints and the tip lie along the finger
        stops = [
            -0.4 * lengths[0],
            0.0,
            nodes[1] / 2,
            nodes[1],
            (nodes[1] + nodes[2]) / 2,
            nodes[2],
            nodes[3] - 1.6 * radius,
            nodes[3] - 0.4 * radius,
        ]
        widths = [0.8, 1.1, 1.0, 1.02, 0.95, 0.97, 0.9, 0.62]
        rings = [
            _ring(start + s * along, along, w * radius, w * radius, _AROUND_FINGER) for s, w in zip(stops, widths, strict=True)
        ]
        left = 0.34 + 0.13 * k
        index, tip = tubes.add(
            np.array(rings), (start + (stops[0] - 0.4 * radius) * along, start + nodes[3] * along), (left, left + 0.11)
        )
        chain = FINGER_JOINTS[finger]
        for joint, ring in zip(chain, (1, 3, 5), strict=True):
            regressor[joint] = index[ring]
        per_ring = [_along_weights(s, nodes, lengths, chain) for s in stops]
        weights += [w for w in per_ring for _ in range(_AROUND_FINGER)] + [rest[0], rest[chain[2]]]
        tips.append(tip)

    matrix = np.zeros((len(PARENTS), len(tubes.vertices)))
    for joint, ring_index in regressor.items():
        matrix[joint, ring_index] = 1.0 / len(ring_index)
    return tubes, matrix, np.array(weights), tips


def _along_weights(s: float, nodes: np.ndarray, lengths: np.ndarray, chain: tuple[int, ...]) -> np.ndarray:
    """(16,) skinning weights at `s` along a finger: each joint fades in linearly about its place."""
    row = np.zeros(len(PARENTS))
    row[0] = 1.0
    for k, joint in enumerate(chain):
        reach = _BLEND * lengths[k]
        share = float(np.clip((s - nodes[k] + reach) / (2 * reach), 0.0, 1.0))
        row *= 1.0 - share
        row[joint] += share
    return row


@lru_cache(maxsize=1)
def toy_hand() -> HandModel:
    """The toy hand: 391 vertices in six tubes, a wrist rim of 12, 10 shape components, MANO's frame and joint order.

    Built from numbers in this file, the same on every machine. Its pose blend shapes are small fixed noise, so that
    tests of posing exercise them.
    """
    tubes, regressor, weights, tips = _build({})
    vertices = np.array(tubes.vertices)
    shapedirs = np.stack([np.array(_build(shape)[0].vertices) - vertices for shape in _SHAPES], -1)
    posedirs = np.random.default_rng(0).normal(0.0, 2e-5, (*vertices.shape, 9 * (len(PARENTS) - 1)))
    axes = joint_axes(regressor @ vertices)
    return HandModel(
        name="toy",
        licence="Apache-2.0",
        v_template=vertices,
        shapedirs=shapedirs,
        posedirs=posedirs,
        J_regressor=regressor,
        weights=weights,
        parents=np.array(PARENTS),
        faces=np.array(tubes.faces, np.int32),
        hands_mean=0.2 * axes[1:, 0],  # every joint a little bent
        fingertips=np.array(tips),
        fingertip_table="toy",
        joint_axes=axes,
        joint_limits=joint_limits(),
        uv=np.array(tubes.uv),
        uv_faces=np.array(tubes.uv_faces, np.int32),
    )


def toy_poses() -> np.ndarray:
    """(6, 15, 3) axis-angle relative to the flat hand [rad]: flat, relaxed, spread, pointing, hook, fist."""
    axes = toy_hand().joint_axes[1:]
    bend = np.zeros((6, 15, 3))  # flexion, abduction, twist of each joint
    fingers = [j - 1 for f in ("index", "middle", "ring", "pinky") for j in FINGER_JOINTS[f]]
    bend[1, :, 0] = 0.3
    for finger, angle in (("index", 0.15), ("ring", -0.12), ("pinky", -0.25), ("thumb", 0.3)):
        bend[2, FINGER_JOINTS[finger][0] - 1, 1] = angle
    bend[3, fingers[3:], 0] = 1.2
    bend[4, [j for j in fingers if j % 3], 0] = 1.1  # all but the knuckles
    bend[5, fingers, 0] = 1.3
    bend[[3, 5], FINGER_JOINTS["thumb"][0] - 1, :2] = (0.5, -0.3)
    return np.einsum("njk,jkc->njc", bend, axes)
