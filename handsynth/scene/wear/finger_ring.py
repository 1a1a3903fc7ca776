"""Finger rings: a band around a first phalanx, round and just wider than the posed finger, at times with a stone."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse.csgraph

from handsynth.core.conventions import FINGER_JOINTS, FINGERS
from handsynth.core.hand import HandModel
from handsynth.recipe.wear import RingChoice
from handsynth.render.layers import LACQUER, METAL
from handsynth.scene.wear.tube import Layout, Sewing, dots

AROUND, PROFILE = 28, 6
FACETS = 8
"""Vertices around the band, of its section, and sides of a stone."""

PLACES = np.linspace(0.50, 0.85, 8)
"""Shares of the phalanx at which the finger's section is known: before lies the web, beyond the knuckle."""

PHALANX = {finger: (chain[:2] if finger != "thumb" else chain[1:]) for finger, chain in FINGER_JOINTS.items()}
"""Joints at both ends of the first phalanx; a thumb's chain begins with its metacarpal."""

WEB = 1.08
"""A section this much wider than the one at the knuckle takes in some of the web, or another finger."""

SINK_M = 0.0002
"""How far flesh may rise through the band: fingers are soft."""


class FingerRings:
    """Rings for one hand model."""

    def __init__(self, model: HandModel) -> None:
        self._model = model
        self.layout = _layout()
        self.num_vertices = int(self.layout.faces.max()) + 1
        # Without a stone all of that hides inside the band.
        self._plain = replace(self.layout, unseen=np.arange(self.num_vertices) >= AROUND * PROFILE)
        sections = [_sections(model, finger) for finger in FINGERS]
        self._corners = np.array([[vertices for vertices, _ in row] for row in sections])  # (5, len(PLACES), AROUND, 4)
        self._weights = np.array([[weights for _, weights in row] for row in sections])
        angle = 2 * np.pi * np.arange(AROUND) / AROUND
        waves = np.stack([np.ones_like(angle), *(f(k * angle) * 2**0.5 for k in (1, 2) for f in (np.cos, np.sin))])
        self._angle, self._oval = angle, waves.T @ waves / AROUND

    def vertices(self, choices: Sequence[RingChoice], hands: np.ndarray, joints: np.ndarray) -> np.ndarray:
        """Rings of posed hands.

        Args:
            choices: B rings.
            hands: (B, V, 3) posed vertices [m], the hand of each ring.
            joints: (B, J, 3) posed joints, same frame.

        Returns:
            (B, V', 3) vertices of the rings, same frame.
        """
        ends = np.array([PHALANX[c.finger] for c in choices])
        rows = np.arange(len(choices))[:, None]
        bone = joints[rows[:, 0], ends[:, 1]] - joints[rows[:, 0], ends[:, 0]]
        length = np.sqrt((bone * bone).sum(-1, keepdims=True))
        axis = bone / length
        width, thick, stone, share = (
            np.array([getattr(c, name) for c in choices])[:, None] for name in ("width_m", "thickness_m", "stone_m", "share")
        )
        # The skin in the middle of the band and at both of its edges.
        place = share + 0.4 * width / length * np.array([-1.0, 0.0, 1.0])
        nearest = np.clip(np.rint((place - PLACES[0]) / (PLACES[1] - PLACES[0])).astype(int), 0, len(PLACES) - 1)
        fingers = np.array([FINGERS.index(c.finger) for c in choices])[:, None]
        weights = self._weights[fingers, nearest]  # (B, 3, AROUND, 4)
        corners = self._corners[fingers, nearest]
        skin = sum(hands[rows[:, :, None], corners[..., k]] * weights[..., k, None] for k in range(4))  # (B, 3, AROUND, 3)
        centre = skin[:, 1].mean(1)
        first = skin[:, 1, 0] - centre  # the palm's side
        first -= (first * axis).sum(-1, keepdims=True) * axis
        palm = first / np.linalg.norm(first, axis=-1, keepdims=True)
        side = np.cross(axis, palm)
        away = skin - centre[:, None, None]
        y, z = dots(away, palm[:, None, None]), dots(away, side[:, None, None])
        radius = np.sqrt(y * y + z * z)
        # The oval that just clears the skin: points of the skin keep their angle, or nearly so.
        oval = np.matmul(radius[:, 1, None], self._oval)[:, 0]  # hand by hand: the same in any batch
        oval = oval + (radius.max(1) - oval).max(1, keepdims=True) - SINK_M

        cos, sin = np.cos(self._angle), np.sin(self._angle)
        out = cos[:, None] * palm[:, None] + sin[:, None] * side[:, None]  # (B, AROUND, 3)
        profile = 2 * np.pi * (np.arange(PROFILE) + 0.5) / PROFILE
        across, along = np.cos(profile) / np.cos(np.pi / PROFILE), np.sin(profile)
        # A band tapers towards the palm's side, the more so one that carries a stone.
        taper = 1 - (0.10 + 0.25 * (stone > 0)) * (0.5 + 0.5 * cos)
        middle = centre[:, None] + (oval + thick / 2)[..., None] * out
        band = (
            middle[:, :, None]
            + (thick / 2)[..., None, None] * across[:, None] * out[:, :, None]
            + (width / 2 * taper)[..., None, None] * along[:, None] * axis[:, None, None]
        )
        # The stone stands on the back: a setting, the girdle, the table; without one all of it hides inside the band.
        foot = centre - (oval[:, AROUND // 2] + thick[:, 0] / 2)[:, None] * palm
        facet = 2 * np.pi * np.arange(FACETS) / FACETS
        flat = np.cos(facet)[:, None] * axis[:, None] - np.sin(facet)[:, None] * side[:, None]
        levels = ((-0.05, 0.42), (0.26, 0.50), (0.44, 0.30))
        rings = [
            foot[:, None] + (stone * high)[..., None] * -palm[:, None] + (stone * wide)[..., None] * flat for high, wide in levels
        ]
        return np.concatenate([band.reshape(len(choices), -1, 3), *rings], 1)

    def piece(self, choice: RingChoice) -> Layout:
        """As it is drawn."""
        return self.layout if choice.stone_m > 0 else self._plain

    @staticmethod
    def albedo(choice: RingChoice) -> np.ndarray:
        """(16, 16, 4) uint8 sRGB: metal below, the stone above."""
        image = np.full((16, 16, 4), LACQUER, np.uint8)
        image[8:] = (*choice.colour, METAL)
        image[:8, :, :3] = choice.stone
        facets = np.arange(16)[None] % 4 < 2
        image[2:6, :, :3] = np.where(
            facets[..., None], np.minimum(np.array(choice.stone) + 24, 255), np.array(choice.stone) * 3 // 4
        )
        return image


def _sections(model: HandModel, finger: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sections at PLACES; where a plane still cuts the web, and with it other fingers, the next section that is free of it."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    girth = 0.0
    for share in PLACES[::-1]:
        vertices, weights = _section(model, finger, share)
        points = (model.v_template[vertices] * weights[..., None]).sum(1)
        size = float(np.linalg.norm(points - points.mean(0), axis=1).max())
        if not found:
            girth = size
        found.append((vertices, weights) if size < WEB * girth else found[-1])
    return found[::-1]


def _section(model: HandModel, finger: str, share: float) -> tuple[np.ndarray, np.ndarray]:
    """(AROUND, 4) vertices and weights of points where a plane cuts the resting finger, at equal steps from the palm's side.

    Each lies on an edge of the section's polygon, so on the skin, and moves with it.
    """
    start, end = (model.rest_joints[j] for j in PHALANX[finger])
    axis = (end - start) / np.linalg.norm(end - start)
    place = start + share * (end - start)
    height = (model.v_template - place) @ axis
    cut = _nearest_loop(model, height, place)
    t = height[cut[:, 0]] / (height[cut[:, 0]] - height[cut[:, 1]])
    points = model.v_template[cut[:, 0]] * (1 - t)[:, None] + model.v_template[cut[:, 1]] * t[:, None]
    # Flexion turns the finger to the palm about row 0 of its axes: the palm's side lies across both.
    palm = np.cross(model.joint_axes[PHALANX[finger][1], 0], axis)
    palm /= np.linalg.norm(palm)
    side = np.cross(axis, palm)
    away = points - points.mean(0)
    turn = np.arctan2(away @ side, away @ palm) % (2 * np.pi)
    order = np.argsort(turn)
    turn = np.concatenate([turn[order][-1:] - 2 * np.pi, turn[order], turn[order][:1] + 2 * np.pi])
    order = np.concatenate([order[-1:], order, order[:1]])
    angle = 2 * np.pi * np.arange(AROUND) / AROUND
    after = np.searchsorted(turn, angle, side="right")
    before = after - 1
    part = (angle - turn[before]) / (turn[after] - turn[before])
    a, b = order[before], order[after]
    vertices = np.concatenate([cut[a], cut[b]], 1)
    weights = np.stack([(1 - part) * (1 - t[a]), (1 - part) * t[a], part * (1 - t[b]), part * t[b]], 1)
    return vertices, weights


def _nearest_loop(model: HandModel, height: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(C, 2) edges that the plane height = 0 cuts, of that loop among the hand's whose middle is nearest to `place`."""
    below = height < 0
    edges: dict[tuple[int, int], int] = {}
    pairs = []
    for face in model.faces.tolist():
        crossed = [tuple(sorted((face[k], face[k - 1]))) for k in range(3) if below[face[k]] != below[face[k - 1]]]
        if crossed:
            pairs.append([edges.setdefault((a, b), len(edges)) for a, b in crossed])
    cut, (first, second) = np.array(list(edges)), np.array(pairs).T
    graph = scipy.sparse.coo_matrix((np.ones(len(pairs)), (first, second)), shape=(len(cut), len(cut)))
    _, loop = scipy.sparse.csgraph.connected_components(graph, directed=False)
    middles = model.v_template[cut].mean(1)
    away = [np.linalg.norm(middles[loop == k].mean(0) - place) for k in range(loop.max() + 1)]
    return cut[loop == int(np.argmin(away))]


def _layout() -> Layout:
    band = np.arange(AROUND * PROFILE).reshape(AROUND, -1)
    stone = band.size + np.arange(3 * FACETS).reshape(3, -1)
    sewing = Sewing()
    sewing.tube(np.concatenate([band, band[:1]]), np.linspace(0.05, 0.45, AROUND + 1))
    sewing.tube(stone[:2], [0.3, 0.45])
    sewing.tube(stone[1:], [0.62, 0.85])
    sewing.polygon(stone[2], np.tile([[0.5, 0.95]], (FACETS, 1)))
    return sewing.layout()
