"""The upper arm: a closed surface that begins within the elbow of a forearm and leaves it bent, in a short sleeve further on."""

from functools import lru_cache

import numpy as np

from handsynth.scene.arm import ELBOW, Arm, PosedArms

AROUND = 16
"""Vertices of a ring."""

RINGS = (
    (-0.026, 0.45, False),
    (-0.012, 0.78, False),
    (0.010, 0.97, False),
    (0.045, 1.03, False),
    (0.125, 1.10, False),
    (0.126, 1.20, True),
    (0.255, 1.26, True),
    (0.285, 1.08, True),
    (0.300, 0.62, True),
)
"""Places from the elbow's middle along the upper arm [m], sizes over the elbow's, and whether the short sleeve is there."""

POLES_M = (-0.032, 0.304)
"""Places of the ends, each closed by a pole."""

ROUND_M = 0.09
"""Place from which on the section is round: the elbow's is flat."""

SKIN_FROM_M = 0.03
"""Its skin is the forearm's, mirrored at so much before the elbow."""

NUM_VERTICES = len(RINGS) * AROUND + 2


def _faces() -> np.ndarray:
    """(F, 3) rows of rings, then of both poles; counter-clockwise seen from outside where rings turn from y to z about x."""
    found = []
    first, last = len(RINGS) * AROUND, len(RINGS) * AROUND + 1
    for i in range(AROUND):
        j = (i + 1) % AROUND
        found.append((first, j, i))
        for r in range(len(RINGS) - 1):
            a, b, c, d = r * AROUND + i, r * AROUND + j, (r + 1) * AROUND + i, (r + 1) * AROUND + j
            found += [(a, b, d), (a, d, c)]
        found.append((last, (len(RINGS) - 1) * AROUND + i, (len(RINGS) - 1) * AROUND + j))
    return np.array(found, np.int32)


FACES = _faces()


@lru_cache(maxsize=8)
def whole_faces(arm: Arm) -> np.ndarray:
    """(F, 3) int32 faces of forearm and upper arm, whose vertices follow the forearm's."""
    return np.concatenate([arm.faces, (FACES[:, ::-1] if _turns_back(arm) else FACES) + arm.num_vertices]).astype(np.int32)


def _turns_back(arm: Arm) -> bool:
    """Whether a forearm is inside out: it follows its hand's faces, whichever way they are wound."""
    return bool(arm.angle[1] < arm.angle[0])


def pose_upper_arms(arm: Arm, posed: PosedArms, elbow: np.ndarray, thicker: np.ndarray) -> np.ndarray:
    """(B, NUM_VERTICES, 3) upper arms of posed forearms, in their frame [m].

    Args:
        arm: the model's.
        posed: B forearms.
        elbow: (B,) angle of the elbow, 0 is straight [rad]. It bends towards the thumb of a forearm that is not twisted, half-way
            between pronation and supination.
        thicker: (B,) what clothing adds to the radius [m].
    """
    ring = len(arm.places) - len(ELBOW) - 1  # the one at the elbow
    frame, outline = posed.frame[:, ring], posed.outline[:, ring]  # (B, 3, 3), (B, N, 2)
    low, high = outline.min(1), outline.max(1)
    radius, middle = (high - low) / 2, (high + low) / 2  # (B, 2)
    cos, sin, zero = np.cos(elbow), np.sin(elbow), np.zeros(len(elbow))
    ahead = np.stack([cos, zero, sin], 1)
    across = np.stack([-sin, zero, cos], 1)
    places, sizes = (np.array(column) for column in list(zip(*RINGS, strict=True))[:2])
    turn = 2 * np.pi * np.arange(AROUND) / AROUND
    round_share = np.clip(places / ROUND_M, 0, 1)[:, None]
    mean = radius.mean(1)[:, None, None]
    y, z = (sizes[:, None] * ((1 - round_share) * radius[:, k, None, None] + round_share * mean) for k in (0, 1))  # (B, R, 1)
    more = thicker[:, None, None] * np.minimum(sizes, 1)[:, None]
    y, z = (y + more) * np.cos(turn), (z + more) * np.sin(turn)
    start = np.stack([zero, middle[:, 0], middle[:, 1]], 1)
    up = np.array([0.0, 1.0, 0.0])
    rings = (
        start[:, None, None]
        + places[:, None, None] * ahead[:, None, None]
        + y[..., None] * up
        + z[..., None] * across[:, None, None]
    )
    poles = start[:, None] + np.array(POLES_M)[:, None] * ahead[:, None]
    inner = np.concatenate([rings.reshape(len(elbow), -1, 3), poles], 1)
    return posed.centre[:, [ring]] + inner @ frame.swapaxes(-1, -2)


def upper_rings(vertices: np.ndarray) -> np.ndarray:
    """(B, NUM_VERTICES, 3) upper arms -> (B, R, AROUND, 3) their rings in order, poles as rings too."""
    batch, poles = len(vertices), np.repeat(vertices[:, -2:, None], AROUND, 2)
    return np.concatenate([poles[:, :1], vertices[:, :-2].reshape(batch, -1, AROUND, 3), poles[:, 1:]], 1)


def texture_corners(arm: Arm, total_m: float, sleeved: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(T, 2) u around and v along in the forearm's texture of a length, and (F, 3) rows of them for the upper arm's faces.

    The sleeve's colour is at the texture's end, v = 1; `sleeved`: all of it has that colour.
    """
    places = np.array([POLES_M[0], *(place for place, _, _ in RINGS), POLES_M[1]])
    sleeve = np.array([False, *(worn for _, _, worn in RINGS), True])
    v = np.where(sleeve | sleeved, 1.0, (arm.length_m - SKIN_FROM_M - np.abs(places)) / total_m)
    u = 0.5 - np.arange(AROUND + 1) / AROUND  # from the back to the thumb; the forearm's is 0 at the palm's side
    uv = [(x, v[r + 1]) for r in range(len(RINGS)) for x in u] + [(x, end) for end in (v[0], v[-1]) for x in u]
    wide, corners = AROUND + 1, []
    for i in range(AROUND):
        last = (len(RINGS) - 1) * wide
        corners.append((len(RINGS) * wide + i, i + 1, i))
        for r in range(len(RINGS) - 1):
            a, c = r * wide + i, (r + 1) * wide + i
            corners += [(a, a + 1, c + 1), (a, c + 1, c)]
        corners.append(((len(RINGS) + 1) * wide + i, last + i, last + i + 1))
    found = np.array(corners, np.int32)
    return np.array(uv), found[:, ::-1] if _turns_back(arm) else found
