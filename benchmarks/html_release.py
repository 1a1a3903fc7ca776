"""A file of HTML's structure and size, without HTML: the embedded skin laid out as its release lays out textures.

HTML (Qian et al., ECCV 2020) may not be passed on, but what a texture costs depends on its size, not on its colours.
"""

import pickle
from pathlib import Path

import cv2
import numpy as np

from handsynth.assets.skins.html import SIDE
from handsynth.assets.skins.skin import SkinModel
from handsynth.scene.texture import gutter_map

USED = 206_330
"""Texels of HTML's hand: model.pkl holds 3 * 206,330 = 618,990 values, and as many for each of 101 components."""


def write_html_release(skin: SkinModel, folder: Path) -> tuple[Path, Path]:
    """Writes model_sr/model.pkl and uvs_right.pkl of a release below `folder`, and returns where they are.

    The skin's texture is scaled into a corner of the 1024 x 1024 map, so large that about as many texels are used as HTML has.
    Components are float32, which makes a model.pkl of 250 MB.
    """
    shown = gutter_map(skin.texels, skin.size)
    used = np.zeros(skin.size**2, np.uint8)
    used[skin.texels] = 1
    corner = min(SIDE, round(skin.size * (USED / len(skin.texels)) ** 0.5))
    mask = cv2.resize(used.reshape(skin.size, -1), (corner, corner), interpolation=cv2.INTER_NEAREST)
    row, column = np.nonzero(mask)

    def stretched(values: np.ndarray) -> np.ndarray:
        """(U, 3) of the skin's texels -> (3 * used,) in the file's order: one colour after another."""
        image = cv2.resize(values[shown].reshape(skin.size, skin.size, 3), (corner, corner), interpolation=cv2.INTER_LINEAR)
        return image[row, column].T.ravel()

    basis = np.empty((3 * len(row), len(skin.components)), np.float32)
    for k, component in enumerate(skin.components):
        basis[:, k] = stretched(component.astype(np.float32))
    texels = column * SIDE + row  # the file's maps are transposed
    index_map = np.concatenate([texels + colour * SIDE**2 for colour in range(3)])
    scale = corner / SIDE
    uv = np.stack([skin.uv[:, 0] * scale, 1 - (1 - skin.uv[:, 1]) * scale], 1)
    base = folder / "TextureBasis"
    model, layout = base / "model_sr" / "model.pkl", base / "uvs_right.pkl"
    model.parent.mkdir(parents=True)
    model.write_bytes(pickle.dumps({"mean": stretched(skin.mean), "basis": basis, "index_map": index_map}, protocol=3))
    layout.write_bytes(pickle.dumps({"verts_uvs": uv, "faces_uvs": skin.uv_faces}, protocol=3))
    return model, layout
