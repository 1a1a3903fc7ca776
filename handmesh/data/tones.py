"""Colours, contrast and sharpness of an image as other cameras and other light show them, in numpy: of crops, and of whole images.

What is drawn for crops is in `augment`, the torch twin of it in `colours`. Nothing here needs scipy: to find hands in an image need
not wait for that.
"""

import cv2
import numpy as np
import simplejpeg

_LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of r, g and b in a grey image (ITU-R BT.601)."""


def apply_gains(image: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8 image, (3,) float32 gains -> (S, S, 3) float32: clip(image / 255 * gains, 0, 1).

    A byte has 256 values, so a table of them does for all pixels, to the bit. Channels lie one after the other, as nets want them.
    """
    tables = np.clip(np.arange(256, dtype=np.float32) / 255 * gains[:, None], 0, 1)
    planes = np.empty((3, *image.shape[:2]), np.float32)
    for channel, table, plane in zip(cv2.split(image), tables, planes, strict=True):
        cv2.LUT(channel, table, plane)
    return planes.transpose(1, 2, 0)


def tone(colour: float, contrast: float) -> np.ndarray:
    """(3, 4) float32 affine map of r, g, b, 1: the distance from grey times `colour`, that from the middle times `contrast`."""
    turn = colour * np.eye(3) + (1 - colour) * _LUMA
    return np.concatenate([contrast * turn, np.full((3, 1), 0.5 - 0.5 * contrast)], 1).astype(np.float32)


def retoned(image: np.ndarray, tone: np.ndarray) -> np.ndarray:
    """(S, S, 3) float32 in [0, 1] by a (3, 4) affine map of its colours, kept in [0, 1]."""
    return np.clip(cv2.transform(image, tone), 0, 1)


BLUR = np.array([1, 4, 6, 4, 1], np.float32) / 16
"""Binomial filter with a standard deviation of one pixel."""


def sharpened(image: np.ndarray, amount: float) -> np.ndarray:
    """(S, S, 3) float32 in [0, 1] plus `amount` of what `BLUR` takes away of it: -1 blurs, 0 leaves it, 1 sharpens."""
    blurred = cv2.sepFilter2D(image, -1, BLUR, BLUR, borderType=cv2.BORDER_REFLECT_101)
    return np.clip(image + np.float32(amount) * (image - blurred), 0, 1)


def coloured(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """An image as other cameras and other light might have shown it: (H, W, 3) uint8 -> the same.

    Detectors learn from these. Beside gains and tones as crops have them, of other ranges: brightness that all channels share, a
    gamma, lower resolution, noise and JPEG.
    """
    draws = rng.random(6)
    if draws[0] < 0.2:
        if rng.random() < 0.5:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6))
        else:
            share = rng.uniform(0.35, 0.8)
            small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
            image = cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    gains = np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.08, 3))
    levels = np.linspace(0, 1, 256)[:, None] * gains
    levels = np.clip(levels, 0, 1) ** np.exp(rng.normal(0, 0.2))
    contrast, colour = np.exp(rng.normal(0, 0.15)), 1.0
    if draws[1] < 0.4:
        colour = 0.0 if draws[2] < 0.15 else rng.uniform(0.3, 1.3)
    floats = retoned(cv2.LUT(image, levels.astype(np.float32).reshape(256, 1, 3)), tone(colour, contrast))
    if draws[3] < 0.2:
        floats = np.clip(floats + rng.normal(0, rng.uniform(1, 9) / 255, image.shape), 0, 1)
    image = (255 * floats + 0.5).astype(np.uint8)
    if draws[4] < 0.25:
        data = simplejpeg.encode_jpeg(np.ascontiguousarray(image), int(rng.integers(25, 90)), "RGB", "420")
        image = simplejpeg.decode_jpeg(data, "RGB")
    return image
