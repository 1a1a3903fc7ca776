"""sRGB (IEC 61966-2-1): the curve between values as files hold them and linear light, in the one place that knows its numbers."""

import numpy as np

FOOT = 0.04045
"""sRGB values up to this lie on the straight foot of the curve."""

SLOPE, OFFSET, POWER = 12.92, 0.055, 2.4
"""sRGB s is s / SLOPE on the foot, and ((s + OFFSET) / (1 + OFFSET)) ** POWER above it."""


def srgb_to_linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB values in [0, 1] -> linear light in [0, 1], same shape, float64."""
    srgb = np.asarray(srgb, np.float64)
    return np.where(srgb <= FOOT, srgb / SLOPE, ((srgb + OFFSET) / (1 + OFFSET)) ** POWER)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] -> sRGB values in [0, 1], same shape, float64."""
    linear = np.asarray(linear, np.float64)
    foot = FOOT / SLOPE
    return np.where(linear <= foot, linear * SLOPE, (1 + OFFSET) * np.maximum(linear, foot) ** (1 / POWER) - OFFSET)


def srgb_value_to_linear(srgb: float) -> float:
    """`srgb_to_linear` of one number, in a hundredth of the time."""
    return srgb / SLOPE if srgb <= FOOT else ((srgb + OFFSET) / (1 + OFFSET)) ** POWER


def bright_to_srgb_levels(linear: np.ndarray) -> np.ndarray:
    """Linear light above the curve's foot (0.0031) -> sRGB in 0..255, in place: for large float32 arrays. Returns its argument."""
    np.power(linear, linear.dtype.type(1 / POWER), out=linear)
    linear *= linear.dtype.type(255 * (1 + OFFSET))
    linear -= linear.dtype.type(255 * OFFSET)
    return linear


LINEAR_OF_BYTE = srgb_to_linear(np.arange(256) / 255).astype(np.float32)
"""Linear light of each sRGB byte."""


def every_fourth(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> every fourth pixel of every fourth row, from the first on: enough for means. A copy; channel by channel, which
    takes a third of what copying pixels does.
    """
    few = image[::4, ::4]
    found = np.empty(few.shape, few.dtype)
    for channel in range(few.shape[-1]):
        found[..., channel] = few[..., channel]
    return found
