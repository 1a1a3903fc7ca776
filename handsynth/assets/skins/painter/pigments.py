"""Colour of skin from what it holds: absorbances of melanin, blood and the like, and how they turn into sRGB.

Skin reflects exp(-absorbance) of the light, so pigments add up as absorbances, and a layer of paint is a pattern times
an absorbance per colour channel.
"""

import numpy as np

from handsynth.core.colour import bright_to_srgb_levels

_SKIN_LAB = np.array([
    (88, 6, 11), (82, 7.5, 13.5), (76, 9, 16), (70, 10.5, 18.5), (63, 11.5, 20.5), (55, 12.5, 21.5), (46, 13, 21.5), (38, 13, 19.5),
    (30, 11.5, 16), (22, 9.5, 12.5),
])  # fmt: skip
"""CIELAB (D65) of the back of the hand, from very light to very dark.

Chosen to follow the banana-shaped locus that colorimetry of skin finds over the six classes of the individual
typology angle: redness and yellowness rise with pigment to about L* = 50 and fall again below.
"""

# Absorbance (red, green, blue) of one unit of each pigment: differences of CIELAB colours about light-brown skin.
MELANIN = np.array([0.82, 1.0, 1.11])  # main axis of _SKIN_LAB's absorbances
BLOOD = np.array([0.02, 0.20, 0.19])  # 3 L* darker, 6 a* redder
DEEP_VEIN = np.array([0.25, 0.13, 0.05])  # blood seen through the dermis: 4 L* darker, 4 a* greener, 4 b* bluer
CAROTENE = np.array([0.0, 0.025, 0.17])  # 4 b* yellower
PALLOR = np.array([-0.13, -0.21, -0.32])  # keratin or pressed skin: 5 L* lighter, 3 b* less yellow
FURROW = np.array([0.85, 1.05, 1.1])  # bottom of a crease, where skin is darker and a little redder


def tone_absorbance(lightness: np.ndarray) -> np.ndarray:
    """(...) CIELAB L* of the back of the hand -> (..., 3) absorbance in linear red, green, blue."""
    table = -np.log(lab_to_linear(_SKIN_LAB))
    order = np.argsort(_SKIN_LAB[:, 0])
    return np.stack([np.interp(lightness, _SKIN_LAB[order, 0], table[order, c]) for c in range(3)], -1)


def absorbance_to_srgb(absorbance: np.ndarray) -> np.ndarray:
    """(..., 3) absorbance -> float32 sRGB in 0..255; overwrites its argument when that is float32."""
    linear = np.asarray(absorbance, np.float32)
    np.negative(linear, out=linear)
    np.exp(linear, out=linear)
    np.clip(linear, 0.0, 1.0, out=linear)
    return bright_to_srgb_levels(linear)  # skin never reaches the curve's foot


def lab_to_linear(lab: np.ndarray) -> np.ndarray:
    """(..., 3) CIELAB under D65 -> linear sRGB, 0..1 inside the gamut."""
    lightness, a, b = np.moveaxis(np.asarray(lab, float), -1, 0)
    fy = (lightness + 16) / 116
    f = np.stack([fy + a / 500, fy, fy - b / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.95047, 1.0, 1.08883]
    to_rgb = np.array([
        (3.2404542, -1.5371385, -0.4985314), (-0.9692660, 1.8760108, 0.0415560), (0.0556434, -0.2040259, 1.0572252),
    ])  # fmt: skip
    return xyz @ to_rgb.T
