"""The texture stage: skin coefficients alpha -> albedo images, many at once, by one matrix product on the used texels."""

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from handsynth.assets.skins.skin import SkinModel
from handsynth.core.errors import UsageError
from handsynth.recipe.recipe import BATCH

STEP = 1 / 64
"""Alpha and basis are rounded to this grid. Then every product and partial sum is a multiple of 1/4096 of a level, exact
in float32 up to 4096 levels, so that an image's bytes depend neither on its batch nor on the BLAS, its threads or the
processor. It costs 0.1 level."""

TEXELS_PER_PIXEL = 1.5
"""Side of a texture over the side of an image, at most. In 256 x 256 images a texel of HTML then covers 1.1 mm of skin, about
as much as a pixel does and as a texel of the embedded skin. Finer ones are not seen: they cost time, and alias, for there is no
mip chain. At a ratio of 1 close-ups are visibly softer."""


def texture_size(skin_size: int, image_size: int) -> int:
    """Side of the texture [px] that images of `image_size` pixels are drawn with, from a skin of `skin_size`."""
    return min(skin_size, round(TEXELS_PER_PIXEL * image_size))


class TextureStage:
    """Turns alpha into albedo for one skin; made once per worker and kept, for it holds the whole basis as float32.

    Equal to clip(round(mean + sum_c alpha_c component_c), 0, 255) on the used texels, all terms on the grid of STEP; every
    other texel takes the colour of the nearest used one, so that filtering never reaches over a chart's edge into nothing.
    """

    def __init__(self, skin: SkinModel) -> None:
        """Lays out the basis of `skin` for the product."""
        self.size = skin.size
        self.num_components = len(skin.components)
        used = len(skin.texels)
        # The mean is one more component whose coefficient is 1.
        self._basis = np.empty((self.num_components + 1, 3 * used), np.float32)
        for row, component in zip(self._basis, skin.components, strict=False):
            row[:] = component.reshape(-1)
        self._basis[-1] = skin.mean.reshape(-1)
        self._basis *= 1 / STEP
        np.rint(self._basis, out=self._basis)
        self._basis *= STEP
        self._source = gutter_map(skin.texels, skin.size).astype(np.intp)
        self._levels = np.empty((BATCH, 3 * used), np.float32)

    def albedos(self, alpha: np.ndarray) -> np.ndarray:
        """(B, C) coefficients [standard deviations] -> (B, size, size, 4) uint8 sRGB and 255, row 0 at the top.

        Four bytes a texel are gathered as one word, and uploaded without conversion.

        Raises UsageError when alpha has another number of coefficients than the skin.
        """
        alpha = np.asarray(alpha)
        if alpha.ndim != 2 or alpha.shape[1] != self.num_components:
            raise UsageError(f"alpha has shape {alpha.shape}, expected (B, {self.num_components}): one row per image")
        rows = np.ones((len(alpha), self.num_components + 1), np.float32)
        rows[:, :-1] = np.rint(alpha / STEP) * STEP
        images = np.empty((len(alpha), self.size, self.size, 4), np.uint8)
        # The hands of one person share a skin: of 67 hands in 64 images, 3 would take a third of the time of 64.
        first_of = {row.tobytes(): number for number, row in reversed([*enumerate(rows)])}
        same = [first_of[row.tobytes()] for row in rows]
        own = [number for number, first in enumerate(same) if number == first]
        for start in range(0, len(own), BATCH):
            some = own[start : start + BATCH]
            self._fill(rows[some], [images[number] for number in some])
        for number, first in enumerate(same):
            if number != first:
                images[number] = images[first]
        return images

    def _fill(self, rows: np.ndarray, images: Sequence[np.ndarray]) -> None:
        """(at most BATCH, C + 1) coefficients -> as many images, in place."""
        levels = np.matmul(rows, self._basis, out=self._levels[: len(rows)])
        # OpenCV rounds and saturates in one vectorised pass; numpy needs three.
        colours = cv2.add(levels, 0.0, dtype=cv2.CV_8U)  # type: ignore[call-overload]  # its stub knows no scalars
        for row, image in zip(colours, images, strict=True):
            words = cv2.cvtColor(row.reshape(1, -1, 3), cv2.COLOR_RGB2RGBA).view(np.uint32).reshape(-1)
            np.take(words, self._source, mode="clip", out=image.view(np.uint32).reshape(-1))


def gutter_map(texels: np.ndarray, size: int) -> np.ndarray:
    """(U,) row-major index of the used texels -> (size * size,) int32: which used texel each texel of the image shows.

    A used texel shows itself, any other its nearest used one.
    """
    rank = np.full(size * size, -1, np.int32)
    rank[texels] = np.arange(len(texels), dtype=np.int32)
    unused = (rank < 0).reshape(size, size)
    row, column = distance_transform_edt(unused, return_distances=False, return_indices=True)
    return rank.reshape(size, size)[row, column].reshape(-1)
