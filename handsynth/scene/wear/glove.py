"""Gloves without fingers: a layer of cloth or leather on the albedos of hand and forearm, as thin as the skin that it lies on."""

import numpy as np

from handsynth.assets.skins.skin import SkinModel
from handsynth.core.hand import HandModel
from handsynth.recipe.wear import GloveChoice
from handsynth.render.layers import CLOTH, LEATHER
from handsynth.scene.arm import POLE_M, Arm
from handsynth.scene.arm_skin import ALONG, AROUND
from handsynth.scene.wear.cloth import SIZE, grain, words
from handsynth.scene.wear.texels import find_texels

FINISH = {"cloth": CLOTH, "leather": LEATHER}

EDGE_M = 0.0035
"""Length of the hems at fingers and cuff, which are darker [m]."""


class Gloves:
    """Paints gloves on one hand in one texture layout, and on its forearm."""

    def __init__(self, model: HandModel, skin: SkinModel, arm: Arm | None) -> None:
        _, start, length = find_texels(model, skin).phalanges()
        self._start, self._length = start.astype(np.float32), length.astype(np.float32)
        self._place = np.zeros(0) if arm is None else (np.arange(ALONG) + 0.5) * (arm.length_m + POLE_M) / ALONG
        self._size = skin.size

    def paint(self, hand: np.ndarray, arm: np.ndarray | None, choice: GloveChoice) -> None:
        """Lays a glove upon a (size, size, 4) albedo and the (ALONG, AROUND, 4) one of its forearm, if it has one, both uint8, in
        place; alpha is the finish, see render.layers.

        The forearm's is made before, from the bare hand: it continues what lies at the rim.
        """
        table = words(np.array(choice.colour, np.int32) * np.arange(320)[:, None] >> 8, FINISH[choice.material])
        weave = grain()[choice.grain] >> (3 if choice.material == "cloth" else 4)
        inside = choice.reach * self._length - self._start  # way to the hem at the fingers, negative beyond it
        self._lay(hand, inside.reshape(self._size, -1), weave, table)
        if arm is not None:
            self._lay(arm, np.broadcast_to((choice.cuff_m - self._place)[:, None], (ALONG, AROUND)), weave, table)

    @staticmethod
    def _lay(albedo: np.ndarray, inside: np.ndarray, weave: np.ndarray, table: np.ndarray) -> None:
        height, width = inside.shape
        tiled = np.tile(weave, (-(-height // SIZE), -(-width // SIZE)))[:height, :width]
        shade = np.where(inside < EDGE_M, 202, 252) + tiled
        np.copyto(albedo.view(np.uint32)[..., 0], table[shade], where=inside > 0)
