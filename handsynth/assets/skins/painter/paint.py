"""Many painted hands: all layers of a population, and their colours on any range of texels."""

from dataclasses import dataclass

import numpy as np

from handsynth.assets.skins.painter.complexion import complexion_layers, palm_skin
from handsynth.assets.skins.painter.creases import crease_layers
from handsynth.assets.skins.painter.frames import hand_frames
from handsynth.assets.skins.painter.marks import mark_layers
from handsynth.assets.skins.painter.nails import nail_layers, nail_masks
from handsynth.assets.skins.painter.people import draw_people
from handsynth.assets.skins.painter.pigments import absorbance_to_srgb
from handsynth.assets.skins.painter.surface import Surface, rasterise_surface
from handsynth.core.hand import HandModel

SEED = 20240611
"""Seed of every pattern and every person of the embedded skin."""


@dataclass(frozen=True, eq=False)
class Population:
    """N painted hands on U texels, kept as K layers: a texel's absorbance is the sum of pattern times a person's share."""

    surface: Surface
    patterns: np.ndarray  # (K, U) float32
    absorbance: np.ndarray  # (3, N, K) float32 red, green, blue

    def paint(self, first: int, last: int) -> np.ndarray:
        """(N, last - first, 3) float32 sRGB 0..255 of all hands on the texels first..last."""
        colours = np.stack([shares @ self.patterns[:, first:last] for shares in self.absorbance], -1)
        return absorbance_to_srgb(colours)


def paint_population(hand: HandModel, size: int, count: int, seed: int = SEED) -> Population:
    """Paints `count` people's skin on a hand, at `size` x `size` texels of its own layout.

    Raises AssetError when the hand has no texture coordinates.
    """
    surface = rasterise_surface(hand, size)
    frames = hand_frames(hand, surface)
    rng = np.random.default_rng(seed)
    people = draw_people(count, rng)
    nails = nail_masks(frames)
    palm = palm_skin(frames, rng)
    layers = complexion_layers(frames, palm, nails.plate, people, rng)
    layers += nail_layers(frames, nails, people, rng)
    layers += crease_layers(frames, palm, nails.plate, people, rng)
    layers += mark_layers(frames, palm, nails.plate, people, rng)
    patterns = np.stack([layer.pattern for layer in layers]).astype(np.float32)
    absorbance = np.stack([layer.absorbance for layer in layers], -1).transpose(1, 0, 2)
    return Population(surface, patterns, np.ascontiguousarray(absorbance, np.float32))
