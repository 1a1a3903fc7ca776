"""Stage 4, composite: a rendered hand over a background in linear light, then what a sensor does to the image."""

from collections.abc import Sequence

import cv2
import numpy as np

from handsynth.recipe.recipe import SensorChoice
from handsynth.render.layers import HEADROOM, Layers


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

_LIGHT_OF_ENCODED = np.square(np.arange(256, dtype=np.float32) / 255) * np.float32(HEADROOM)
"""Linear light of each byte of `Layers.encoded` where coverage is 1."""

_NOISE_SIDE = 1024


_NOISE_LEVELS = 32.0
"""Grey levels of the noise field to one standard deviation; +-4 deviations fit a byte around 128."""


def _noise_field() -> np.ndarray:
    """(1024, 1024, 3) normal noise as bytes, cut at random places for each image: drawing it anew costs a millisecond."""
    rng = np.random.Generator(np.random.Philox(20240229))
    noise = rng.standard_normal((_NOISE_SIDE, _NOISE_SIDE, 3), np.float32)
    return np.clip(np.round(128 + _NOISE_LEVELS * noise), 0, 255).astype(np.uint8)


class CompositeStage:
    """Puts hands over backgrounds and through a sensor. Holds the noise field."""

    def __init__(self) -> None:
        """Draws the noise field (the same on every machine)."""
        self._noise = _noise_field()

    def composite(
        self, layers: Sequence[Layers], backgrounds: Sequence[np.ndarray], sensors: Sequence[SensorChoice]
    ) -> list[np.ndarray]:
        """B rendered hands over B (H, W, 3) uint8 sRGB backgrounds -> B (H, W, 3) uint8 sRGB images.

        Coverage 0 gives the background and coverage 1 the hand, exactly; between them light adds up linearly.
        """
        gains = np.array([sensor.gains for sensor in sensors], np.float32)[:, None]
        # Linear light of each background byte behind its sensor, and of each encoded one: (B, 256, 3).
        behind, front = LINEAR_OF_BYTE[:, None] * gains, _LIGHT_OF_ENCODED[:, None] * gains
        tables = zip(behind, front, encode_srgb(behind), encode_srgb(front), strict=True)
        over = map(_over, layers, backgrounds, tables)
        return [self._develop(image, sensor) for image, sensor in zip(over, sensors, strict=True)]

    def _develop(self, image: np.ndarray, sensor: SensorChoice) -> np.ndarray:
        """Blur and noise of the sensor."""
        if sensor.blur_px > 0:
            image = cv2.GaussianBlur(image, (0, 0), sensor.blur_px, borderType=cv2.BORDER_REFLECT)
        if sensor.noise > 0:
            image = self._add_noise(image, sensor)
        return image

    def _add_noise(self, image: np.ndarray, sensor: SensorChoice) -> np.ndarray:
        """Adds noise whose place in the field is named by the recipe's key; wraps around the field's edges."""
        height, width = image.shape[:2]
        room_y, room_x = max(_NOISE_SIDE - height, 1), max(_NOISE_SIDE - width, 1)
        y, x = sensor.noise_key % room_y, sensor.noise_key // room_y % room_x
        field = self._noise[y : y + height, x : x + width]
        if field.shape[:2] != (height, width):
            field = np.resize(self._noise, (height, width, 3))
        amplitude = 255 * sensor.noise / _NOISE_LEVELS
        return cv2.addWeighted(image, 1, field, amplitude, -128 * amplitude)


def _over(layer: Layers, background: np.ndarray, tables: tuple[np.ndarray, ...]) -> np.ndarray:
    """One hand over one background. `tables`: linear light of background and encoded bytes, and their sRGB bytes, (256, 3) each."""
    behind_light, front_light, behind_byte, front_byte = (table[:, None] for table in tables)
    image = cv2.LUT(background, behind_byte)
    rows, columns = layer.window
    hand = layer.encoded[layer.window]
    coverage = cv2.extractChannel(hand, 3)
    front = cv2.LUT(cv2.cvtColor(hand, cv2.COLOR_RGBA2RGB), front_byte)
    cv2.copyTo(front, cv2.inRange(coverage, 255, 255), image[layer.window])  # type: ignore[call-overload]  # its stub knows no scalars
    # The border, where hand and background mix, as places in the whole image.
    row, column = np.divmod(np.flatnonzero((coverage - np.uint8(1)) < 254), coverage.shape[1])
    if len(row):
        place = (row + rows.start) * background.shape[1] + (column + columns.start)
        hand = layer.encoded.reshape(-1, 4)[place]
        share = hand[:, 3:] / np.float32(255)
        # Encoded values are coverage times the square root of light: squared, they must be divided by coverage once.
        light = cv2.LUT(hand[:, None, :3], front_light)[:, 0] / share
        light += (1 - share) * cv2.LUT(background.reshape(-1, 1, 3)[place], behind_light)[:, 0]
        image.reshape(-1, 3)[place] = encode_srgb(light)
    return image


def encode_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] (clipped) -> sRGB bytes, by table."""
    place = np.sqrt(np.clip(linear, 0, 1)) * _TABLE + 0.5
    return np.take(BYTE_OF_LINEAR, place.astype(np.intp), mode="clip")


def mean_light(background: np.ndarray) -> np.ndarray:
    """(3,) mean linear light of an sRGB image, on every fourth pixel."""
    return np.array(cv2.mean(cv2.LUT(np.ascontiguousarray(background[::4, ::4]), LINEAR_OF_BYTE))[:3])
