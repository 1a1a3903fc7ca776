"""Stage 4, composite: a rendered hand over a background in linear light, then through the sensor."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np

from handsynth.core.colour import LINEAR_OF_BYTE, every_fourth
from handsynth.image.lens import defocus
from handsynth.image.motion import ImageMotion, smear
from handsynth.image.resample import enlarge, shrink, source_side
from handsynth.image.scales import LIGHT, ROOT, Scale
from handsynth.image.sensor import Sensor, scale_for
from handsynth.recipe.recipe import SensorChoice
from handsynth.render.layers import HEADROOM, Layers

LIGHT_OF_ENCODED = np.square(np.arange(256, dtype=np.float32) / 255) * np.float32(HEADROOM)
"""Linear light of each byte of `Layers.encoded` where coverage is 1."""

# Codes of each byte of a background and of `Layers.encoded` in both scales; as uint16, for which OpenCV's look-up is quicker.
_BEHIND, _FRONT = (
    {scale: scale.encode(light[None])[0].view(np.uint16) for scale in (LIGHT, ROOT)} for light in (LINEAR_OF_BYTE, LIGHT_OF_ENCODED)
)

_FRONT_AND_COVERAGE = np.stack([_FRONT[LIGHT]] * 3 + [np.rint(np.arange(256) / 255 * LIGHT.white).astype(np.uint16)], 1)[None]


@dataclass(frozen=True, eq=False)
class StackedLayer:
    """A rendered view, how far it is out of focus, and how it moves."""

    layer: Layers
    defocus_px: float = 0.0
    motion: ImageMotion | None = None

    @property
    def own_motion(self) -> ImageMotion | None:
        """Its own; not the camera's."""
        return None if self.motion is None or self.motion.whole else self.motion

    @property
    def is_soft(self) -> bool:
        """Whether its outline is blurred before it is laid over anything."""
        return self.defocus_px > 0 or self.own_motion is not None

    def smaller(self, side: int) -> "StackedLayer":
        """The same on fewer pixels."""
        scale = side / len(self.layer.encoded)
        return StackedLayer(_smaller(self.layer, side), self.defocus_px * scale, self.motion and self.motion.scaled(scale))


Moment = tuple[Layers, np.ndarray]
"""A rendered view and what is behind it, at one moment of an exposure."""

_Exposure = tuple[Sequence[StackedLayer], np.ndarray]
"""Layers, the farthest first, and what is behind them, at one moment."""


class CompositeStage:
    """Puts hands over backgrounds and through a sensor."""

    def __init__(self) -> None:
        """Makes the sensor, with its noise field."""
        self._sensor = Sensor()
        self._buffer: np.ndarray = np.empty(0, np.int16)  # kept from image to image, so that it stays in the processor's cache

    def composite(
        self,
        layers: Sequence[Layers],
        backgrounds: Sequence[np.ndarray],
        sensors: Sequence[SensorChoice],
        motions: Sequence[ImageMotion | None],
        moments: Mapping[int, Sequence[Moment]] = MappingProxyType({}),
    ) -> list[np.ndarray]:
        """B rendered hands over B (H, W, 3) uint8 sRGB backgrounds -> B (H, W, 3) uint8 sRGB images.

        Light adds up linearly, is blurred and takes its noise, and is encoded once. Without gains, blur and noise, coverage 0 gives
        the background and coverage 1 the hand, exactly. What is out of focus, or moves, is blurred before it is laid over what is
        behind, so that neither leaks into the other.

        Of an image whose row is in `moments` light falls at these as well, and as much at each.
        """
        images = []
        for row, (layer, background, sensor, motion) in enumerate(zip(layers, backgrounds, sensors, motions, strict=True)):
            every = [(layer, background), *moments.get(row, ())]
            images.append(
                self._take([([StackedLayer(one, sensor.hand_defocus_px, motion)], behind) for one, behind in every], sensor)
            )
        return images

    def stack(
        self,
        layers: Sequence[StackedLayer],
        background: np.ndarray,
        sensor: SensorChoice,
        shake: ImageMotion | None = None,
    ) -> np.ndarray:
        """Any number of layers, the farthest first, over one background, as `composite` does one; the sensor's `hand_defocus_px`
        does not count. `shake`: how the camera moves, where no layer says it.
        """
        return self._take([(layers, background)], sensor, shake)

    def _take(self, exposures: Sequence[_Exposure], sensor: SensorChoice, shake: ImageMotion | None = None) -> np.ndarray:
        """One image: the mean of moments. See `stack`."""
        side, scale = len(exposures[0][1]), 1.0
        if (small := source_side(side, sensor.source_scale)) < side:
            scale = small / side
            exposures = [([one.smaller(small) for one in layers], shrink(background, small)) for layers, background in exposures]
            shake = shake and shake.scaled(scale)
        whole = next((one.motion for layers, _ in exposures for one in layers if one.motion and one.motion.whole), shake)
        image = self._develop(exposures, sensor, sensor.background_defocus_px * scale, whole)
        return image if small == side else enlarge(image, side, sensor.enlarging)

    def _develop(
        self, exposures: Sequence[_Exposure], sensor: SensorChoice, behind_px: float, whole: ImageMotion | None
    ) -> np.ndarray:
        """One image, all of one size; `behind_px`: radius of the disc of the background; `whole`: motion of the camera."""
        first = exposures[0][0]
        soft = whole or behind_px > 0 or len(exposures) > 1 or len(first) > 1 or any(one.is_soft for one in first)
        scale = LIGHT if soft else scale_for(sensor)
        if len(exposures) == 1:
            return self._sensor.develop(self._expose(*exposures[0], scale, behind_px, whole), scale, sensor)
        total = np.zeros(exposures[0][1].shape, np.float32)  # whole numbers, whose sums are exact
        for layers, background in exposures:
            cv2.accumulate(self._expose(layers, background, scale, behind_px, whole).view(np.uint16), total)
        codes = np.rint(total * np.float32(1 / len(exposures))).astype(np.int16)
        return self._sensor.develop(codes, scale, sensor)

    def _expose(
        self, layers: Sequence[StackedLayer], background: np.ndarray, scale: Scale, behind_px: float, whole: ImageMotion | None
    ) -> np.ndarray:
        """(H, W, 3) int16 codes of the light of one moment, valid until the next call."""
        if self._buffer.size < background.size:
            self._buffer = np.empty(background.size, np.int16)
        codes: np.ndarray = self._buffer[: background.size].reshape(background.shape)
        cv2.LUT(background, _BEHIND[scale], dst=codes.view(np.uint16))
        if behind_px > 0:
            codes[:] = defocus(codes, behind_px, cv2.BORDER_REFLECT)
        for number, one in enumerate(layers):
            if one.is_soft:
                _lay_soft(codes, one.layer, one.defocus_px, one.own_motion)
            else:
                _lay_over(codes, one.layer, None if behind_px > 0 or number else background, scale)
        if whole:
            codes[:] = smear(codes, whole, slice(0, len(codes)), slice(0, codes.shape[1]))
        return codes


def _smaller(layer: Layers, side: int) -> Layers:
    """The colours and coverage of a rendered view on fewer pixels."""
    scale = side / len(layer.encoded)
    rows, columns = (slice(max(0, int(part.start * scale) - 1), min(side, int(part.stop * scale) + 2)) for part in layer.window)
    return replace(layer, encoded=shrink(layer.encoded, side), window=(rows, columns))


def _lay_over(codes: np.ndarray, layer: Layers, background: np.ndarray | None, scale: Scale) -> None:
    """Lays one hand over (H, W, 3) int16 `codes` of what is behind; `background` has its bytes, where the codes are no more."""
    hand = layer.encoded[layer.window]
    front = cv2.LUT(cv2.cvtColor(hand, cv2.COLOR_RGBA2RGB), _FRONT[scale]).view(np.int16)
    words = hand.view("<u4")[..., 0]  # coverage is the highest byte
    cv2.copyTo(front, (words >= 255 << 24).view(np.uint8), codes[layer.window])
    _mix_border(codes, layer, background, (words - np.uint32(1 << 24)) < 254 << 24, scale)


def _mix_border(codes: np.ndarray, layer: Layers, background: np.ndarray | None, mixed: np.ndarray, scale: Scale) -> None:
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
    if background is None:
        behind = np.take(codes.reshape(-1), place) * np.float32(1 / LIGHT.white)
    else:
        behind = cv2.LUT(np.take(background.reshape(-1), place, mode="clip"), LINEAR_OF_BYTE)
    light += (1 - share) * behind
    codes.reshape(-1)[place] = scale.encode(light)


def _lay_soft(codes: np.ndarray, layer: Layers, defocus_px: float, motion: ImageMotion | None) -> None:
    """Lays a hand that is out of focus or moves over (H, W, 3) int16 `codes` of LIGHT of what is behind.

    Its light, times coverage, and its coverage spread alike, and then hide as much of the background as they cover.
    """
    reach = math.ceil(2 * defocus_px + (motion.reach(*layer.window) / 2 if motion else 0)) + 2
    rows, columns = (
        slice(max(part.start - reach, 0), min(part.stop + reach, side))
        for part, side in zip(layer.window, codes.shape[:2], strict=True)
    )
    front = _times_coverage(layer.encoded[rows, columns])
    if defocus_px > 0:
        front = defocus(front, defocus_px, cv2.BORDER_REPLICATE)
    if motion:
        front = smear(front, motion, rows, columns)
    behind = codes[rows, columns]
    seen_through = cv2.merge([LIGHT.white - front[..., 3]] * 3)
    cv2.multiply(behind, seen_through, dst=behind, scale=1 / LIGHT.white)  # one rounding to float32, alike everywhere
    cv2.add(behind, cv2.cvtColor(front.view(np.uint16), cv2.COLOR_RGBA2RGB).view(np.int16), dst=behind)


def _times_coverage(hand: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8 of `Layers.encoded` -> (H, W, 4) int16 codes of LIGHT: light times coverage, and coverage."""
    codes = cv2.LUT(hand, _FRONT_AND_COVERAGE)
    words = np.ascontiguousarray(hand).view("<u4").reshape(-1)
    mixed = np.flatnonzero((words - np.uint32(1 << 24)) < 254 << 24)
    if not len(mixed):
        return codes.view(np.int16)
    colours = words[mixed].view(np.uint8).reshape(-1, 4)
    light = LIGHT_OF_ENCODED[colours[:, :3]] * (np.float32(255) / colours[:, 3:])
    codes.reshape(-1, 4)[mixed, :3] = LIGHT.encode(light).view(np.uint16)
    return codes.view(np.int16)


def mean_light(background: np.ndarray) -> np.ndarray:
    """(3,) mean linear light of an sRGB image, on every fourth pixel."""
    return np.array(cv2.mean(cv2.LUT(every_fourth(background), LINEAR_OF_BYTE))[:3])
