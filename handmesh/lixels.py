"""The frame that the mesh nets predict in: lixels, 64 to the side of the crop and 64 to 0.3 m of depth about the wrist.

A lixel ("line pixel") is one bin of a 1-D heatmap (Moon and Lee 2020). x and y are pixels of the crop times 64 / side; z is the
depth behind the wrist, -0.15 m at 0 and +0.15 m at 64. All three run over [0, 64); outside lies outside the heatmaps. Every net
and every crop size speaks in these units, whatever number of bins it has inside. The functions take numpy arrays and tensors.
"""

from typing import Any

Array = Any  # numpy array or tensor, out as it came in

LIXELS = 64
"""Lixels along each axis (Moon and Lee 2020, hand setting)."""

HALF_DEPTH_M = 0.15
"""Depth from the wrist to either end of the z axis [m]: their `bbox_3d_size` of 0.3 m for FreiHAND."""

LIXEL_DEPTH_M = 2 * HALF_DEPTH_M / LIXELS
"""Depth of one z lixel [m], 4.6875 mm."""


def pixels_to_lixels(xy_px: Array, side_px: float) -> Array:
    """Pixels of a square crop, (0, 0) at its corner -> x or y lixels. Where bins lie in them: `nets.lixel.Binned`."""
    return xy_px * (LIXELS / side_px)


def lixels_to_pixels(lixels: Array, side_px: float) -> Array:
    """x or y lixels -> pixels of a square crop of that side."""
    return lixels * (side_px / LIXELS)


def depth_to_lixels(depth_m: Array) -> Array:
    """Depth behind the wrist along the optical axis [m] -> z lixels."""
    return depth_m / LIXEL_DEPTH_M + LIXELS / 2


def lixels_to_depth(lixels: Array) -> Array:
    """Z lixels -> depth behind the wrist along the optical axis [m]."""
    return (lixels - LIXELS / 2) * LIXEL_DEPTH_M
