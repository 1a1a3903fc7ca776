"""Where the texels of a hand's skin lie on the hand: what varnish, gloves and the shade of rings are painted by."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from handsynth.assets.skins.painter.frames import Frames, hand_frames
from handsynth.assets.skins.painter.surface import rasterise_surface
from handsynth.assets.skins.skin import SkinModel
from handsynth.core.conventions import FINGERS
from handsynth.core.hand import HandModel
from handsynth.scene.texture import gutter_map


@dataclass(frozen=True, eq=False)
class Texels:
    """One hand in one texture layout."""

    frames: Frames  # of the texels that the hand's surface covers, in words of anatomy
    source: np.ndarray  # (size * size,) which of the skin's used texels each texel shows
    texels: np.ndarray  # (U,) the used ones, row-major
    size: int

    def spread(self, *fields: np.ndarray, elsewhere: float = 0.0) -> np.ndarray:
        """(K, size * size) of K fields of the frames' texels; those outside the charts show their nearest used one, as in
        TextureStage.
        """
        whole = np.full((len(fields), self.size * self.size), elsewhere)
        whole[:, self.frames.surface.texels] = fields
        return whole[:, self.texels[self.source]]

    def phalanges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(size * size,) each: number of the finger, -1 on palm and back; way beyond its first phalanx' beginning, negative before
        it, and that phalanx' length [m].
        """
        count = len(self.frames.surface.texels)
        number, start, length = np.full(count, -1.0), np.full(count, -1.0), np.full(count, 0.03)
        for finger in self.frames.fingers:
            # A thumb's chain begins with its metacarpal.
            first, last = finger.joints[:2] if finger.name != "thumb" else finger.joints[1:]
            mine = finger.member > 0.5
            number[mine], start[mine], length[mine] = FINGERS.index(finger.name), finger.along[mine] - first, last - first
        found = self.spread(number, start, length)
        return found[0].astype(int), found[1], found[2]


@lru_cache(maxsize=2)
def find_texels(model: HandModel, skin: SkinModel) -> Texels:
    """The texels of a skin on a hand. It takes half a second."""
    surface = rasterise_surface(replace(model, uv=skin.uv.astype(np.float64), uv_faces=skin.uv_faces), skin.size)
    return Texels(hand_frames(model, surface), gutter_map(skin.texels, skin.size), skin.texels, skin.size)
