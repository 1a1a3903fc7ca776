"""Skin tones: the individual typology angle of a hand's mean albedo, and its usual six groups."""

from dataclasses import dataclass

import numpy as np

from handsynth.assets.skins.skin import SkinModel
from handsynth.core.colour import srgb_to_linear

GROUPS = {"very light": 55.0, "light": 41.0, "intermediate": 28.0, "tan": 10.0, "brown": -30.0, "dark": -90.0}
"""Name -> least angle [deg], as in Del Bino and Bernerd 2013."""

_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
_WHITE = _XYZ.sum(1)  # D65, as sRGB has it


@dataclass(frozen=True, eq=False)
class MeanColour:
    """The mean colour of a hand's whole skin, which is linear in its coefficients."""

    mean: np.ndarray  # (3,) sRGB 0..255
    components: np.ndarray  # (C, 3)

    @classmethod
    def of(cls, skin: SkinModel) -> "MeanColour":
        """Of a skin model."""
        return cls(skin.mean.mean(0, dtype=np.float64), skin.components.mean(1, dtype=np.float64))

    def __call__(self, alpha: np.ndarray) -> np.ndarray:
        """(N, C) coefficients -> (N, 3) sRGB 0..255."""
        return np.clip(self.mean + np.asarray(alpha) @ self.components, 0, 255)


def typology_angle_deg(srgb: np.ndarray) -> np.ndarray:
    """(N, 3) sRGB 0..255 -> (N,) arctan((L* - 50) / b*) of CIELAB [deg]: above 55 very light, below -30 dark."""
    xyz = srgb_to_linear(np.asarray(srgb) / 255) @ _XYZ.T / _WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness, b = 116 * f[:, 1] - 16, 200 * (f[:, 1] - f[:, 2])
    return np.rad2deg(np.arctan2(lightness - 50, np.maximum(b, 1e-6)))


def tone_groups(angle_deg: np.ndarray) -> list[str]:
    """(N,) angles -> names of GROUPS."""
    names, least = list(GROUPS), np.array(list(GROUPS.values()))
    return [names[k] for k in np.minimum((np.asarray(angle_deg)[:, None] <= least).sum(1), len(names) - 1)]
