"""The skin model: a mean texture and its principal components on the used texels, with the layout that carries them."""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import scipy.sparse

from handsynth.core.arrays import read_typed
from handsynth.core.errors import AssetError


@dataclass(frozen=True, eq=False)
class SkinModel:
    """A PCA texture: colour of the used texels = clip(mean + alpha . components, 0, 255), alpha ~ N(0, 1).

    U used texels, C components, T texture coordinates, F faces of the hand that the layout was made for.
    """

    name: str
    licence: str
    size: int  # side of the square texture [px]
    mean: np.ndarray  # (U, 3) float32, sRGB 0..255
    components: np.ndarray  # (C, U, 3) float32 (or float16), sRGB levels per standard deviation of alpha
    texels: np.ndarray  # (U,) int32 row-major index of each used texel in the (size, size) image, row 0 at the top
    uv: np.ndarray  # (T, 2) float32 texture coordinates in [0, 1], v up
    uv_faces: np.ndarray  # (F, 3) int32 rows of `uv`, aligned with the hand's faces

    def __post_init__(self) -> None:
        """Raises AssetError naming the first array whose shape, type or content cannot be a skin."""
        check_skin(self)


def check_skin(skin: SkinModel) -> None:
    """Raises AssetError naming the first array whose shape or content cannot be a skin."""
    where = f"skin model {skin.name!r}"
    if skin.size < 1:
        raise AssetError(f"{where}: size is {skin.size}, expected at least 1")
    used, count, num_uv, num_f = len(skin.texels), len(skin.components), len(skin.uv), len(skin.uv_faces)
    expected = {"mean": (used, 3), "components": (count, used, 3), "texels": (used,), "uv": (num_uv, 2), "uv_faces": (num_f, 3)}
    for name, shape in expected.items():
        found = getattr(skin, name)
        if found.shape != shape:
            raise AssetError(f"{where}: {name} has shape {found.shape}, expected {shape}")
        if not found.size:
            raise AssetError(f"{where}: {name} is empty")
        if found.dtype.kind == "f":
            _check_finite(where, name, found)
    for name, limit in (("texels", skin.size**2), ("uv_faces", num_uv)):
        found = getattr(skin, name)
        if found.min() < 0 or found.max() >= limit:
            raise AssetError(f"{where}: {name} points outside its {limit} entries")
    if len(np.unique(skin.texels)) != used:
        raise AssetError(f"{where}: texels names a texel twice")
    if skin.uv.min() < -1e-6 or skin.uv.max() > 1 + 1e-6:
        raise AssetError(f"{where}: uv leaves [0, 1]")


def _check_finite(where: str, name: str, values: np.ndarray) -> None:
    """Raises AssetError on NaN or infinity; row by row, so that a big basis needs no mask of its own size."""
    if not all(np.isfinite(row).all() for row in values):
        raise AssetError(f"{where}: {name} holds NaN or infinity")


def layout_fits(faces: np.ndarray, uv_faces: np.ndarray) -> bool:
    """Whether a texture layout, (F, 3) rows of texture coordinates, was made for these (F, 3) faces in this order.

    It was when every texture coordinate belongs to one vertex, however many coordinates a vertex has at seams.
    """
    if faces.shape != uv_faces.shape:
        return False
    pairs = np.unique(np.stack([uv_faces.ravel(), faces.ravel()], -1), axis=0)
    return len(pairs) == len(np.unique(uv_faces))


def shrink_skin(skin: SkinModel, size: int) -> SkinModel:
    """The skin with a texture of `size` x `size`, at most its own: each texel is the mean of the used ones that it covers.

    That is linear, so mean + alpha . components of the small model is the mean of the big texture before its clip to 0..255.
    """
    if size == skin.size:
        return skin
    texels, cover = texel_cover(skin.texels, skin.size, size)
    mean, *components = (averaged(cover, values) for values in (skin.mean, *skin.components))
    return replace(skin, size=size, mean=mean, components=np.stack(components), texels=texels)


def texel_cover(texels: np.ndarray, size: int, smaller: int) -> tuple[np.ndarray, scipy.sparse.csr_matrix]:
    """Which texels of a smaller square image cover some used ones, (U,) row-major indices of a `size` x `size` image.

    Returns:
        (W,) int32 row-major indices in the smaller image, and the (W, U) areas that each shares with each used texel, in
        whole numbers, so that sums of float16 or float32 colours are exact in float64: the same on every processor.
    """

    def cells(place: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """The two cells of the smaller grid that a row or column may lie in, and its length in each, in 1 / `size` of a cell."""
        start = place * smaller
        cell = start // size
        own = np.minimum(smaller, (cell + 1) * size - start)
        return (cell, own), (cell + 1, smaller - own)

    rows, columns = (cells(place) for place in np.divmod(texels.astype(np.int64), size))
    shares = [(row * smaller + column, high * wide) for row, high in rows for column, wide in columns]
    target, area = (np.concatenate(part) for part in zip(*shares, strict=True))
    source = np.tile(np.arange(len(texels)), len(shares))
    target, area, source = (part[area > 0] for part in (target, area, source))
    covering, row = np.unique(target, return_inverse=True)
    cover = scipy.sparse.csr_matrix((area.astype(np.float64), (row, source)), shape=(len(covering), len(texels)))
    return covering.astype(np.int32), cover


def averaged(cover: scipy.sparse.csr_matrix, values: np.ndarray) -> np.ndarray:
    """(U, 3) colours of used texels -> (W, 3) float32, the mean over what each texel covers (see texel_cover)."""
    return ((cover @ values.astype(np.float64)) / (cover @ np.ones((cover.shape[1], 1)))).astype(np.float32)


_TEXT = ("name", "licence")
_INTEGER = ("texels", "uv_faces")


def load_skin(path: Path) -> SkinModel:
    """Reads a plain `.npz` written by `save_skin`; no pickle is ever run. Raises AssetError when it is not a skin."""
    kinds = {f.name: str if f.name in _TEXT else np.int32 if f.name in _INTEGER else np.float32 for f in fields(SkinModel)}
    values = read_typed(path, kinds | {"size": np.float64}, "a skin model")
    size = values["size"]
    if size.size != 1 or not float(size.item()).is_integer():
        raise AssetError(f"{path}: size is no single whole number")
    return SkinModel(**values | {"size": int(size.item())})


def save_skin(path: Path, skin: SkinModel) -> None:
    """Writes the skin as a compressed `.npz` of plain arrays; `components` keep their type (float16 halves the file)."""
    values: dict[str, np.ndarray] = {}
    for f in fields(SkinModel):
        value = getattr(skin, f.name)
        if f.name in (*_TEXT, "size"):
            values[f.name] = np.array(value)
        elif f.name in _INTEGER:
            values[f.name] = value.astype(np.int32)
        else:
            values[f.name] = value if f.name == "components" else value.astype(np.float32)
    np.savez_compressed(path, **values)  # type: ignore[arg-type]
