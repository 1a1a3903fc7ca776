"""Stage 4, composite: a rendered hand over a background in linear light, then through the sensor."""

from collections.abc import Sequence

import cv2
import numpy as np

from handsynth.core.colour import LINEAR_OF_BYTE
from handsynth.image.sensor import LIGHT, ROOT, Scale, Sensor, scale_for
from handsynth.recipe.recipe import SensorChoice
from handsynth.render.layers import HEADROOM, Layers

LIGHT_OF_ENCODED = np.square(np.arange(256, dtype=np.float32) / 255) * np.float32(HEADROOM)
"""Linear light of each byte of `Layers.encoded` where coverage is 1."""

# Codes of each byte of a background and of `Layers.encoded` in both scales; as uint16, for which OpenCV's look-up is quicker.
_BEHIND, _FRONT = (
    {scale: scale.encode(light[None])[0].view(np.uint16) for scale in (LIGHT, ROOT)} for light in (LINEAR_OF_BYTE, LIGHT_OF_ENCODED)
)


class CompositeStage:
    """Puts hands over backgrounds and through a sensor."""

    def __init__(self) -> None:
        """Makes the sensor, with its noise field."""
        self._sensor = Sensor()
        self._codes = np.empty((0, 0, 3), np.int16)  # kept from image to image, so that it stays in the processor's cache

    def composite(
        self, layers: Sequence[Layers], backgrounds: Sequence[np.ndarray], sensors: Sequence[SensorChoice]
    ) -> list[np.ndarray]:
        """B rendered hands over B (H, W, 3) uint8 sRGB backgrounds -> B (H, W, 3) uint8 sRGB images.

        Light adds up linearly, is blurred and takes its noise, and is encoded once. Without gains, blur and noise, coverage 0 gives
        the background and coverage 1 the hand, exactly.
        """
        images = []
        for layer, background, sensor in zip(layers, backgrounds, sensors, strict=True):
            if self._codes.shape != background.shape:
                self._codes = np.empty(background.shape, np.int16)
            scale = scale_for(sensor)
            _lay_over(self._codes, layer, background, scale)
            images.append(self._sensor.develop(self._codes, scale, sensor))
        return images


def _lay_over(codes: np.ndarray, layer: Layers, background: np.ndarray, scale: Scale) -> None:
    """Fills (H, W, 3) int16 `codes` with one hand over one background."""
    cv2.LUT(background, _BEHIND[scale], dst=codes.view(np.uint16))
    hand = layer.encoded[layer.window]
    front = cv2.LUT(cv2.cvtColor(hand, cv2.COLOR_RGBA2RGB), _FRONT[scale]).view(np.int16)
    words = hand.view("<u4")[..., 0]  # coverage is the highest byte
    cv2.copyTo(front, (words >= 255 << 24).view(np.uint8), codes[layer.window])
    _mix_border(codes, layer, background, (words - np.uint32(1 << 24)) < 254 << 24, scale)


def _mix_border(codes: np.ndarray, layer: Layers, background: np.ndarray, mixed: np.ndarray, scale: Scale) -> None:
    """Where a pixel of the window shows both, light adds up: `mixed`. Of the three channels one row after the other, for speed."""
    rows, columns = layer.window
    row, column = np.divmod(np.flatnonzero(mixed), mixed.shape[1])
    if not len(row):
        return
    pixel = (row + rows.start) * codes.shape[1] + (column + columns.start)
    place = 3 * pixel + np.arange(3)[:, None]  # (3, N)
    hand = np.take(layer.encoded.view("<u4").reshape(-1), pixel, mode="clip").view(np.uint8).reshape(-1, 4)
    hand = np.ascontiguousarray(hand.T)
    share = hand[3] * np.float32(1 / 255)
    # Encoded values are coverage times the square root of light: squared, they must be divided by coverage once.
    light = cv2.LUT(hand[:3], LIGHT_OF_ENCODED) / share
    light += (1 - share) * cv2.LUT(np.take(background.reshape(-1), place, mode="clip"), LINEAR_OF_BYTE)
    codes.reshape(-1)[place] = scale.encode(light)


def mean_light(background: np.ndarray) -> np.ndarray:
    """(3,) mean linear light of an sRGB image, on every fourth pixel."""
    return np.array(cv2.mean(cv2.LUT(np.ascontiguousarray(background[::4, ::4]), LINEAR_OF_BYTE))[:3])
