"""Stage 4, composite: a rendered hand over a background in linear light, then what a sensor does to the picture."""

import cv2
import numpy as np

from handsynth.recipe.recipe import SensorChoice
from handsynth.render.layers import HEADROOM


def _srgb_to_linear(srgb: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, values in [0, 1]."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, values in [0, 1]."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055)


LINEAR_OF_BYTE = _srgb_to_linear(np.arange(256) / 255).astype(np.float32)
"""Linear light of each sRGB byte."""

_TABLE = 4095
BYTE_OF_LINEAR = np.round(255 * _linear_to_srgb((np.arange(_TABLE + 1) / _TABLE) ** 2)).astype(np.uint8)
"""sRGB byte of linear light (k / 4095)^2: square-root spacing keeps the error under half a byte step in the shadows too."""

_NOISE_SIDE = 1024


def _noise_field() -> np.ndarray:
    """(1024, 1024, 3) standard normal noise, cut at random places for each picture: drawing it anew costs a millisecond."""
    rng = np.random.Generator(np.random.Philox(20240229))
    return rng.standard_normal((_NOISE_SIDE, _NOISE_SIDE, 3), np.float32)


class CompositeStage:
    """Puts hands over backgrounds and through a sensor. Holds the noise field."""

    def __init__(self) -> None:
        """Draws the noise field (the same on every machine)."""
        self._noise = _noise_field()

    def composite(self, encoded: np.ndarray, background: np.ndarray, sensor: SensorChoice) -> np.ndarray:
        """(H, W, 4) encoded layers over (H, W, 3) uint8 sRGB -> (H, W, 3) uint8 sRGB picture.

        Coverage 0 gives the background and coverage 1 the hand, exactly; between them light adds up linearly.
        """
        gains = np.array(sensor.gains, np.float32)
        tables = LINEAR_OF_BYTE[:, None] * gains  # (256, 3) linear light of each background byte behind this sensor
        rows, columns = _covered_box(encoded[..., 3])
        codes = np.sqrt(np.clip(tables, 0, 1))
        picture = cv2.LUT(background, BYTE_OF_LINEAR[np.round(codes * _TABLE).astype(np.int32)][:, None])
        if rows.stop > rows.start:
            hand = encoded[rows, columns].astype(np.float32) * np.float32(1 / 255)
            coverage = hand[..., 3:]
            behind = background[rows, columns]
            light = np.stack([tables[:, c][behind[..., c]] for c in range(3)], -1)
            # `hand` is coverage times the square root of light: squared, it must be divided by coverage once.
            front = hand[..., :3] ** 2 * (HEADROOM * gains) / np.maximum(coverage, 1 / 255)
            linear = front + (1 - coverage) * light
            picture[rows, columns] = encode_srgb(linear)
        if sensor.blur_px > 0:
            picture = cv2.GaussianBlur(picture, (0, 0), sensor.blur_px, borderType=cv2.BORDER_REFLECT)
        if sensor.noise > 0:
            picture = self._add_noise(picture, sensor)
        return picture

    def _add_noise(self, picture: np.ndarray, sensor: SensorChoice) -> np.ndarray:
        """Adds noise whose place in the field is named by the recipe's key; wraps around the field's edges."""
        height, width = picture.shape[:2]
        room_y, room_x = max(_NOISE_SIDE - height, 1), max(_NOISE_SIDE - width, 1)
        y, x = sensor.noise_key % room_y, sensor.noise_key // room_y % room_x
        field = self._noise[y : y + height, x : x + width]
        if field.shape[:2] != (height, width):
            field = np.resize(self._noise, (height, width, 3))
        noisy = picture.astype(np.float32) + np.float32(255 * sensor.noise) * field
        return np.clip(noisy + 0.5, 0, 255).astype(np.uint8)


def encode_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] (clipped) -> sRGB bytes, by table."""
    return BYTE_OF_LINEAR[(np.sqrt(np.clip(linear, 0, 1)) * _TABLE + 0.5).astype(np.int32)]


def mean_light(background: np.ndarray) -> np.ndarray:
    """(3,) mean linear light of an sRGB picture, on every fourth pixel."""
    return LINEAR_OF_BYTE[background[::4, ::4]].mean((0, 1))


def _covered_box(coverage: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold any coverage."""
    rows, columns = np.flatnonzero(coverage.any(1)), np.flatnonzero(coverage.any(0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
