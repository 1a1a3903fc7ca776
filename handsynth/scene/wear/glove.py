"""Gloves without fingers: a layer of cloth or leather on the albedos of hand and forearm, as thin as the skin that it lies on."""

from dataclasses import replace

import numpy as np

from handsynth.assets.skins.painter.frames import hand_frames
from handsynth.assets.skins.painter.surface import rasterise_surface
from handsynth.assets.skins.skin import SkinModel
from handsynth.core.hand import HandModel
from handsynth.recipe.wear import GloveChoice
from handsynth.scene.arm import POLE_M, Arm
from handsynth.scene.arm_skin import ALONG, AROUND
from handsynth.scene.texture import gutter_map
from handsynth.scene.wear.cloth import SIZE, grain, words

EDGE_M = 0.0035
"""Length of the hems at fingers and cuff, which are darker [m]."""


class Gloves:
    """Paints gloves on one hand in one texture layout, and on its forearm."""

    def __init__(self, model: HandModel, skin: SkinModel, arm: Arm) -> None:
        surface = rasterise_surface(replace(model, uv=skin.uv.astype(np.float64), uv_faces=skin.uv_faces), skin.size)
        frames = hand_frames(model, surface)
        # How far along its phalanx each texel lies: below 0 on palm and back. A thumb's chain begins with its metacarpal.
        start = np.full(len(surface.texels), -1.0)
        length = np.full(len(surface.texels), 0.03)
        for finger in frames.fingers:
            first, last = finger.joints[:2] if finger.name != "thumb" else finger.joints[1:]
            mine = finger.member > 0.5
            start[mine], length[mine] = finger.along[mine] - first, last - first
        fields = np.zeros((2, skin.size * skin.size))
        fields[:, surface.texels] = start, length
        self._start, self._length = fields[:, skin.texels[gutter_map(skin.texels, skin.size)]].astype(np.float32)
        self._place = (np.arange(ALONG) + 0.5) * (arm.length_m + POLE_M) / ALONG
        self._size = skin.size

    def paint(self, hand: np.ndarray, arm: np.ndarray, choice: GloveChoice) -> None:
        """Lays a glove upon a (size, size, 4) albedo and the (ALONG, AROUND, 4) one of its forearm, both uint8, in place.

        The forearm's is made before, from the bare hand: it continues what lies at the rim.
        """
        table = words(np.array(choice.colour, np.int32) * np.arange(320)[:, None] >> 8)
        weave = grain()[choice.grain] >> (3 if choice.material == "cloth" else 4)
        inside = choice.reach * self._length - self._start  # way to the hem at the fingers, negative beyond it
        self._lay(hand, inside.reshape(self._size, -1), weave, table)
        self._lay(arm, np.broadcast_to((choice.cuff_m - self._place)[:, None], (ALONG, AROUND)), weave, table)

    @staticmethod
    def _lay(albedo: np.ndarray, inside: np.ndarray, weave: np.ndarray, table: np.ndarray) -> None:
        height, width = inside.shape
        tiled = np.tile(weave, (-(-height // SIZE), -(-width // SIZE)))[:height, :width]
        shade = np.where(inside < EDGE_M, 202, 252) + tiled
        np.copyto(albedo.view(np.uint32)[..., 0], table[shade], where=inside > 0)
