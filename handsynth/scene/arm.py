"""The forearm: a surface lofted from the rim of any hand with an open wrist to its elbow.

The wrist bends and deviates against the hand, sections change from the rim's own outline to anthropometric ones, and the forearm
twists as it pronates. Hand frame: MANO's template (fingers along -x, palm towards -y, thumb side +z), so that the forearm runs
along +x.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from handsynth.core.hand import HandModel
from handsynth.core.rotation import rotvec_to_rotmat

SECTIONS = np.array([
    (0.00, 1.00, 1.00, 2.3),
    (0.08, 1.00, 1.03, 2.3),
    (0.20, 1.04, 1.13, 2.2),
    (0.35, 1.15, 1.34, 2.1),
    (0.55, 1.38, 1.68, 2.0),
    (0.75, 1.56, 1.90, 2.0),
    (0.90, 1.52, 1.88, 2.0),
    (1.00, 1.42, 1.76, 2.0),
])  # fmt: skip
"""Place from wrist (0) to elbow (1), breadth and depth over the wrist's own, exponent of the superellipse.

From NASA's Anthropometric Source Book (1978): circumferences of about 16 cm at the wrist, 22 cm at mid forearm and 26 cm at its
thickest. Depths grow more than breadths: muscles lie on flat bones.
"""

BEND_M, BLEND_M = 0.055, 0.035
"""Lengths over which the wrist bends, and over which the rim's own outline gives way to the section [m]."""

BEND_EASE = 0.2
"""Share of BEND_M at either end in which the curvature grows and falls; between, it is even."""

MAX_FLEXION, MAX_DEVIATION = (float(np.deg2rad(limit)) for limit in (70, 35))
"""What a wrist can do, either way [rad]; together (flexion / MAX_FLEXION)^2 + (deviation / MAX_DEVIATION)^2 <= 1. The surface is
sound as far as that.
"""

NEAR_RINGS_M = (0.004, 0.009, 0.015, 0.022, 0.029, 0.036, 0.043, 0.051, 0.061, 0.076)
"""Places of the first rings from the rim [m], dense where the wrist bends; the others divide the rest evenly."""

FAR_RINGS = 6

ELBOW = ((0.016, 0.955), (0.030, 0.85), (0.041, 0.68), (0.048, 0.46))
"""Rings beyond the end [m], and their size over the last one's: a round end, closed by a pole."""

POLE_M = 0.052
"""Place of the pole beyond the end [m]."""

ULNA = (0.0022, 1.30 * np.pi, 0.42, 0.021, 0.010)
"""The knob of the ulna's end, on the back at the little finger's side: height [m], angle and its standard deviation [rad], place
and its standard deviation [m].
"""

GIVE = 0.22
"""Share of the flesh on the inside of the bend that gives way when the wrist bends as far as it goes."""

PALMAR_SHARE = 0.35
"""By how much a section's growth in depth moves it to the palm's side: the back of a forearm is the straighter."""


@dataclass(frozen=True, eq=False)
class Arm:
    """Static arrays of the forearm of one hand model. R rim vertices, N = 2 R vertices a ring, K rings, A = R + K N + 1
    vertices.
    """

    rim: np.ndarray  # (R,) the hand's vertices around the wrist, in the order of its faces' edges
    faces: np.ndarray  # (F, 3) int32 rows of the arm's vertices (rim, rings, pole), counter-clockwise seen from outside
    uv_faces: np.ndarray  # (F, 3) int32 rows of uv
    uv: np.ndarray  # (T, 2) u around, v from the wrist (0) to the pole beyond the elbow (1)
    angle: np.ndarray  # (N,) of each ring vertex about the axis: 0 at the palm's side, pi/2 at the thumb's [rad]
    outline: np.ndarray  # (N, R) the rim's vertices and the middles of its edges, as weights of the vertices
    length_m: float  # rim to end, of the mean shape [m]

    @property
    def num_vertices(self) -> int:
        """A."""
        return len(self.rim) + len(self.places) * len(self.angle) + 1

    @cached_property
    def places(self) -> np.ndarray:
        """(K,) places of the rings from the rim along the axis [m]."""
        return _places(self.length_m)


@dataclass(frozen=True)
class ArmShape:
    """What a person's forearm and its posture are; see `recipe.ArmChoice`. Angles in radians."""

    flexion: float  # of the wrist, positive towards the palm
    deviation: float  # of the wrist, positive towards the thumb
    twist: float  # of the elbow against the wrist, about the forearm's axis
    girth: float  # growth of the sections over the mean's: 1 is the mean forearm


@lru_cache(maxsize=4)
def make_arm(model: HandModel) -> Arm | None:
    """The forearm that fits a hand model; None when its wrist is not one open rim."""
    if model.rim_turns is None:
        return None
    rim, (own, step) = model.rim, model.rim_turns
    count = len(rim)
    angle = np.stack([own, own + step / 2], 1).ravel()
    following = np.roll(np.eye(count), 1, 1)
    outline = np.stack([np.eye(count), (np.eye(count) + following) / 2], 1).reshape(2 * count, count)
    length = model.forearm_length_m
    faces, uv, uv_faces = _sew(count, angle / (2 * np.pi), _places(length) / (length + POLE_M))
    return Arm(rim, faces, uv_faces, uv, angle, outline, length)


def _places(length_m: float) -> np.ndarray:
    """(K,) places of the rings from the rim along the axis [m]; the last are the elbow's."""
    far = np.linspace(NEAR_RINGS_M[-1], length_m, FAR_RINGS + 1)[1:]
    return np.concatenate([NEAR_RINGS_M, far, [length_m + more for more, _ in ELBOW]])


def _sew(count: int, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces (F, 3), texture corners (T, 2) and their faces (F, 3) of rim, rings and pole. `u` (2 count,) along a ring, one
    round.
    """
    around, turn = 2 * count, np.sign(u[1] - u[0])
    v = np.concatenate([[0.0], v])
    rings = [np.arange(count)] + [count + k * around + np.arange(around) for k in range(len(v) - 1)]
    pole = count + (len(v) - 1) * around
    # Texture corners: each ring once more at its start, a whole turn on.
    starts: list[int] = []
    uv: list[tuple[float, float]] = []
    for row, ring in zip(v, rings, strict=True):
        starts.append(len(uv))
        own = u[::2] if len(ring) == count else u
        uv += [(x, row) for x in (*own, own[0] + turn)]
    faces: list[tuple[int, int, int]] = []
    corners: list[tuple[int, int, int]] = []

    def add(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> None:
        faces.append(tuple(int(rings[r][i % len(rings[r])]) if r < len(rings) else pole for r, i in (a, b, c)))  # type: ignore[arg-type]
        corners.append(tuple(starts[r] + i if r < len(rings) else len(uv) + i for r, i in (a, b, c)))  # type: ignore[arg-type]

    # The hand's faces run along the rim's order; the arm's, on its other side, against it.
    for i in range(count):
        add((0, i + 1), (0, i), (1, 2 * i + 1))
        add((0, i), (1, 2 * i), (1, 2 * i + 1))
        add((0, i + 1), (1, 2 * i + 1), (1, 2 * i + 2))
    for r in range(1, len(rings) - 1):
        for i in range(around):
            add((r, i + 1), (r, i), (r + 1, i + 1))
            add((r, i), (r + 1, i), (r + 1, i + 1))
    last = len(rings) - 1
    for i in range(around):
        add((last, i + 1), (last, i), (last + 1, i))
    uv += [(float(u[i] + u[(i + 1) % around] + (turn if i + 1 == around else 0)) / 2, 1.0) for i in range(around)]
    return np.array(faces, np.int32), np.array(uv), np.array(corners, np.int32)


@dataclass(frozen=True, eq=False)
class PosedArms:
    """B forearms in the frame that their hands were posed in [m]: the surface, and the rings that it is made of.

    A point of the ring at place k is centre[:, k] + frame[:, k] @ (x, y, z): x along the forearm, y towards the back of the hand
    and z towards the thumb, both turned with the forearm's twist.
    """

    vertices: np.ndarray  # (B, A, 3): rim, rings, pole
    places: np.ndarray  # (K,) of the rings from the rim, along the axis [m]
    centre: np.ndarray  # (B, K, 3)
    frame: np.ndarray  # (B, K, 3, 3) columns: the ring's own x, y, z
    outline: np.ndarray  # (B, K, N, 2) y and z of the ring's vertices in its frame [m]


def pose_arms(arm: Arm, rim: np.ndarray, rotation: np.ndarray, shapes: Sequence[ArmShape]) -> PosedArms:
    """Forearms of posed hands.

    Args:
        arm: the model's.
        rim: (B, R, 3) posed rim vertices [m], any frame; the first R vertices of the forearms are these.
        rotation: (B, 3, 3) from the hand's frame to that one.
        shapes: B forearms.
    """
    batch = len(rim)
    flexion, deviation, twist, girth = (
        np.array([getattr(shape, name) for shape in shapes]) for name in ("flexion", "deviation", "twist", "girth")
    )
    middle = rim.mean(1, keepdims=True)
    local = (rim - middle) @ rotation  # in the hand's frame
    half = np.ptp(local, axis=1)[:, 1:] / 2  # (B, 2) depth and breadth of this wrist
    places = arm.places
    step = np.diff(places, prepend=0)
    share = np.minimum(places / arm.length_m, 1.0)
    scale = np.ones(len(places))
    scale[-len(ELBOW) :] = [size for _, size in ELBOW]

    breadth, depth, power = (np.interp(share, SECTIONS[:, 0], SECTIONS[:, k]) for k in (1, 2, 3))  # (K,)
    breadth, depth = (1 + (grown - 1) * girth[:, None] for grown in (breadth, depth))  # (B, K)
    cos, sin = np.cos(arm.angle), np.sin(arm.angle)
    exponent = 2 / power[:, None]
    # Coordinates apart, (B, K, N) each: long rows are quick.
    y = depth[..., None] * (-np.sign(cos) * np.abs(cos) ** exponent) - PALMAR_SHARE * (depth[..., None] - 1)
    z = breadth[..., None] * (np.sign(sin) * np.abs(sin) ** exponent)
    knob = _ulna(arm.angle, places)
    y, z = y * (half[:, :1] * scale)[..., None] - knob * cos, z * (half[:, 1:] * scale)[..., None] + knob * sin

    # The rim's outline lies in no plane; what it has along x goes with it.
    fade = smooth(places / BLEND_M)[:, None]
    own_x, own_y, own_z = np.moveaxis(arm.outline @ local, -1, 0)[:, :, None]  # (B, 1, N)
    y, z = (1 - fade) * own_y + fade * y, (1 - fade) * own_z + fade * z
    x = (1 - smooth(places / BEND_M))[:, None] * own_x

    # Flesh gives way on the inside of the bend, where it would swell into the crease.
    bent = np.sqrt(flexion * flexion + deviation * deviation)
    inside_y, inside_z = (towards[:, None, None] for towards in (-flexion, deviation) / np.maximum(bent, 1e-9))
    give = GIVE * np.minimum(bent / MAX_FLEXION, 1)[:, None] * _give(places)
    less = give[..., None] * np.maximum(y * inside_y + z * inside_z, 0)  # of how far it is towards it
    y, z = y - less * inside_y, z - less * inside_z

    # The axis turns from the hand's +x to the forearm's direction over BEND_M, sections also about the axis.
    bend = np.stack([np.zeros(batch), -deviation, -flexion], 1)  # (B, 3) rotation vector
    turned = rotvec_to_rotmat(bend[:, None] * bend_share(places)[:, None])  # (B, K, 3, 3)
    half_way = rotvec_to_rotmat(bend[:, None] * bend_share(places - step / 2)[:, None])
    roll = twist[:, None] * smooth((share - 0.05) / 0.95)
    frame = rotation[:, None] @ turned @ rotvec_to_rotmat(roll[..., None] * np.array([1.0, 0.0, 0.0]))
    centre = np.cumsum(half_way[..., 0] * step[:, None], 1) @ rotation.swapaxes(-1, -2) + middle  # (B, K, 3)
    rings = (frame @ np.stack([x, y, z], 2)).swapaxes(-1, -2) + centre[:, :, None]
    pole = centre[:, -1] + frame[:, -1, :, 0] * (POLE_M - ELBOW[-1][0])
    vertices = np.concatenate([rim, rings.reshape(batch, -1, 3), pole[:, None]], 1)
    return PosedArms(vertices, places, centre, frame, np.stack([y, z], -1))


def _give(places: np.ndarray) -> np.ndarray:
    """(K,) where on the way flesh gives way, up to 1: from the bend's middle on, and less towards the forearm's belly."""
    return smooth((places - 0.010) / 0.022) * (1 - smooth((places - 0.045) / 0.10))


def _ulna(angle: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(K, N) how far the ulna's end stands out [m]."""
    height, middle, width, place, reach = ULNA
    away = (angle - middle + np.pi) % (2 * np.pi) - np.pi
    return height * np.exp(-0.5 * (away / width) ** 2) * np.exp(-0.5 * ((places - place) / reach) ** 2)[:, None]


def bend_share(places: np.ndarray) -> np.ndarray:
    """Share of the wrist's bend that lies before some places [m]: 0 at the rim, 1 from BEND_M on."""
    t = np.clip(places / BEND_M, 0, 1)
    t, late = np.minimum(t, 1 - t), t > 0.5
    half = np.where(t < BEND_EASE, t * t / (2 * BEND_EASE), t - BEND_EASE / 2) / (1 - BEND_EASE)
    return np.where(late, 1 - half, half)


def bend_rate(places: np.ndarray) -> np.ndarray:
    """Share of the wrist's bend that a metre of the axis takes at some places [1/m]: its curvature over the angle."""
    t = np.clip(places / BEND_M, 0, 1)
    return np.minimum(np.minimum(t, 1 - t) / BEND_EASE, 1) / ((1 - BEND_EASE) * BEND_M)


def smooth(x: np.ndarray) -> np.ndarray:
    """0 before 0, 1 after 1, with zero slope at both."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
