"""Nail varnish: a layer of colour on the nail plates of a hand's albedo."""

import numpy as np

from handsynth.assets.skins.painter.nails import nail_masks
from handsynth.assets.skins.painter.noise import rough_noise
from handsynth.assets.skins.skin import SkinModel
from handsynth.core.hand import HandModel
from handsynth.recipe.wear import VarnishChoice
from handsynth.render.layers import LACQUER, SKIN
from handsynth.scene.wear.texels import find_texels

SEED = 20_261_209

FREE_EDGE = (238, 234, 226)
"""What French nails have at their ends."""


class Varnish:
    """Paints the nails of one hand in one texture layout."""

    def __init__(self, model: HandModel, skin: SkinModel) -> None:
        """Finds the nails; a hand whose fingers are too thin for nails has none, and nothing is painted."""
        texels = find_texels(model, skin)
        masks = nail_masks(texels.frames)
        chips = rough_noise(texels.frames.surface.position, 0.0035, np.random.default_rng(SEED)) + 1.2 * masks.free_edge
        fields = texels.spread(masks.plate, masks.free_edge, np.clip(0.25 * chips + 0.5, 0, 1))
        self._texels = np.flatnonzero(fields[0] > 1 / 512)
        self._plate, self._edge, self._chips = np.rint(fields[:, self._texels] * 256).astype(np.int32)

    def paint(self, albedo: np.ndarray, choice: VarnishChoice) -> None:
        """Lays the varnish upon a (size, size, 4) uint8 albedo of skin, in place; its alpha is the finish, see render.layers."""
        layer = self._plate
        if choice.worn:
            left = round(256 * (1.25 - 0.6 * choice.worn))  # what chips reach this level of is gone
            layer = layer * np.clip((left - self._chips) * 8, 0, 256) >> 8
        cover = layer * round(256 * choice.opacity) >> 8
        flat = albedo.reshape(-1, 4)
        colours = _mixed(flat[self._texels, :3].astype(np.int32), choice.colour, cover)
        if choice.style == "french":
            colours = _mixed(colours, FREE_EDGE, self._edge * 15 >> 4)
        flat[self._texels, :3] = colours
        flat[self._texels, 3] = SKIN + ((LACQUER - SKIN) * layer >> 8)  # however thin it is, it shines


def _mixed(colours: np.ndarray, paint: tuple[int, int, int], cover: np.ndarray) -> np.ndarray:
    """(N, 3) colours moved to `paint` by (N,) shares in 1/256."""
    return colours + ((np.array(paint, np.int32) - colours) * cover[:, None] >> 8)
