"""HTML as the user has it: a PCA texture's model.pkl and uvs_right.pkl -> a plain skin model on its used texels.

Format: Qian, Wang, Mueller, Bernard, Golyanik, Theobalt, "HTML: A Parametric Hand Texture Model", ECCV 2020
(https://handtracker.mpi-inf.mpg.de/projects/HandTextureModel).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from handsynth.assets.manifest import Prepared, record_prepared
from handsynth.assets.release import release_file
from handsynth.assets.skins.skin import SkinModel, averaged, layout_fits, save_skin, texel_cover
from handsynth.core.errors import AssetError, UsageError
from handsynth.core.files import write_atomically
from handsynth.core.hand import load_hand
from handsynth.core.unpickle import read_pickle

LICENCE = "HTML: non-commercial research only, no redistribution"
LIMIT_BYTES = 2_000_000_000  # model.pkl has 250 MB in float32, 500 MB in float64
SIDE = 1024  # of the model's own texture [px]
DEFAULT_SIZE = 512
"""Side of the prepared texture [px]; a generator shrinks it to what its images can show (see texture.texture_size)."""

_MODELS = ("TextureBasis/model_sr/model.pkl", "model_sr/model.pkl", "TextureBasis/model_wosr/model.pkl", "model_wosr/model.pkl")
_LAYOUTS = ("uvs_right.pkl", "uvs.pkl", "uvs_left.pkl")  # uvs.pkl: the first release's right hand
_FACES = 1538  # MANO's


def read_html(model_pkl: Path, uvs_pkl: Path, size: int = DEFAULT_SIZE) -> SkinModel:
    """Reads HTML's model and layout, without running them, and brings the texture to `size`.

    Smaller sizes average the used texels of each square block. That is linear, so mean + alpha . components of the small
    model is the average of the big texture before its clip to 0..255.

    Raises AssetError for anything that is no such file, naming the array of wrong shape or with NaN.
    """
    if size < 1 or SIDE % size:
        raise UsageError(f"texture size {size} does not divide {SIDE}; give 1024, 512, 256 or 128")
    uv, uv_faces = read_layout(uvs_pkl)
    arrays = read_pickle(model_pkl, "HTML", ("mean", "basis", "index_map"), LIMIT_BYTES)
    mean, basis, index_map = (arrays[name].squeeze() for name in ("mean", "basis", "index_map"))
    count = mean.size
    for name, found, shape in (("mean", mean, (count,)), ("basis", basis, (count, -1)), ("index_map", index_map, (count,))):
        if found.ndim != len(shape) or found.shape[0] != count or not found.size:
            raise AssetError(f"{model_pkl}: {name} has shape {found.shape}, expected {str(shape).replace('-1', 'C')}")
    order, texels = _texel_order(model_pkl, index_map)

    blocks, cover = texel_cover(texels, SIDE, size)

    def reduce(name: str, values: np.ndarray) -> np.ndarray:
        """(3 used,) values in the file's order -> (U, 3) of the small texture."""
        values = values[order].reshape(-1, 3)
        if not np.isfinite(values).all():
            raise AssetError(f"{model_pkl}: {name} holds NaN or infinity")
        return averaged(cover, values)

    # One component at a time: the basis alone has 250 to 500 MB.
    components = np.stack([reduce("basis", basis[:, k]) for k in range(basis.shape[1])])
    return SkinModel(
        name="html",
        licence=LICENCE,
        size=size,
        mean=reduce("mean", mean),
        components=components,
        texels=blocks,
        uv=uv.astype(np.float32),
        uv_faces=uv_faces.astype(np.int32),
    )


def _texel_order(path: Path, index_map: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each value of the file belongs in the image.

    The file scatters into a flat (3, 1024, 1024) array that is then transposed to (row, column, colour): flat index
    colour * 1024**2 + column * 1024 + row.

    Returns the file's order sorted by texel and colour, (3 used,), and the row-major index of each texel, (used,).
    """
    flat = index_map.astype(np.int64)
    if index_map.dtype.kind == "f" and (flat != index_map).any():
        raise AssetError(f"{path}: index_map holds fractions, expected indices")
    if flat.min() < 0 or flat.max() >= 3 * SIDE**2:
        raise AssetError(f"{path}: index_map points outside the {SIDE} x {SIDE} texture")
    colour, column, row = flat // SIDE**2, flat // SIDE % SIDE, flat % SIDE
    key = (row * SIDE + column) * 3 + colour
    order = np.argsort(key, kind="stable")
    triples = key[order]
    if len(triples) % 3 or (triples.reshape(-1, 3) != triples[::3, None] // 3 * 3 + np.arange(3)).any():
        raise AssetError(f"{path}: index_map does not name each texel once in each of the three colours")
    return order, triples[::3] // 3


def read_layout(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(T, 2) texture coordinates, v up, and (1538, 3) rows of them."""
    arrays = read_pickle(path, "HTML", ("verts_uvs", "faces_uvs"), LIMIT_BYTES)
    uv, uv_faces = arrays["verts_uvs"], arrays["faces_uvs"]
    if uv.ndim != 2 or uv.shape[1] != 2:
        raise AssetError(f"{path}: verts_uvs has shape {uv.shape}, expected (T, 2)")
    if uv_faces.shape != (_FACES, 3):
        raise AssetError(f"{path}: faces_uvs has shape {uv_faces.shape}, expected ({_FACES}, 3)")
    return uv, uv_faces


def prepare_html(source: Path, assets: Path, size: int = DEFAULT_SIZE) -> Prepared:
    """Converts HTML once into a plain file, `html/skin.npz`, with components in float16.

    Args:
        source: the folder HTML_release_both_hands, the zip of it, or model.pkl inside the folder.
        assets: the user's asset folder; a hand that `prepare_mano` left there decides between the right and left layout.
        size: side of the texture [px], a divisor of 1024.

    Raises AssetError when the source holds no readable HTML, or none whose layout fits the prepared hand.
    """
    notes: list[str] = []
    hand = assets / "mano" / "hand.npz"
    faces = load_hand(hand).faces if hand.is_file() else None
    # A model file lies two folders below TextureBasis's layouts: TextureBasis/model_sr/model.pkl.
    above = source.absolute().parent.parent if source.name == "model.pkl" and source.is_file() else source
    with release_file(source, _MODELS, LIMIT_BYTES) as model:
        if model is None:
            raise AssetError(f"{source} holds no model_sr/model.pkl; give the folder HTML_release_both_hands or its zip")
        for name in _LAYOUTS:
            with release_file(above, (f"TextureBasis/{name}", name), LIMIT_BYTES) as layout:
                if layout is not None and (faces is None or layout_fits(faces, read_layout(layout.path)[1])):
                    skin = read_html(model.path, layout.path, size)
                    break
        else:
            fitting = "" if faces is None else f" that fits {hand}"
            raise AssetError(f"{above} holds no uvs_right.pkl{fitting}; give the folder HTML_release_both_hands or its zip")
    if "model_wosr" in model.name:
        notes.append("model_sr (shading removed) is not there: model_wosr was taken, whose shading adds to the renderer's")

    packed = replace(skin, components=skin.components.astype(np.float16))
    rounding = max(float(np.abs(a - b).max()) for a, b in zip(skin.components, packed.components, strict=True))
    notes.append(
        f"{len(skin.texels):,} texels of {size} x {size}; {len(skin.components)} components, rounded by {rounding:.2g} at most"
    )
    path = assets / "html" / "skin.npz"
    write_atomically(path, lambda p: save_skin(p, packed))
    record_prepared(path, "html", source)
    return Prepared(paths=(path,), notes=tuple(notes))
