"""The embedded skin: principal components over several hundred painted hands, made once and kept in the cache."""

import hashlib
import os
from pathlib import Path

import numpy as np

from handsynth.assets.skins.painter.paint import SEED, Population, paint_population
from handsynth.assets.skins.skin import SkinModel, load_skin, save_skin
from handsynth.assets.store import make_cached
from handsynth.core.errors import AssetError
from handsynth.core.hand import HandModel
from handsynth.core.locations import cache_dir

PAINTER_VERSION = 2
"""Goes up whenever the painter would paint otherwise: it names the cached file and is part of a dataset's identity."""

DEFAULT_SIZE = 256
"""Side of the texture [px]: one texel to a millimetre of the embedded hand, which is what a pixel of a 256 x 256 image shows."""

LICENCE = "Apache-2.0 (painted by handsynth)"

COMPONENTS = 101
"""As many as HTML's texture model has."""

PEOPLE = 400
_BLOCK = 4096  # texels painted at a time: 400 people's colours on them are 20 MB


def embedded_skin(hand: HandModel, size: int = DEFAULT_SIZE) -> SkinModel:
    """Skin painted for `hand`, from the cache or made now (some seconds).

    Raises AssetError when the hand has no texture coordinates, or when the cache cannot be written to. A damaged file in it is
    made again.
    """
    path = skin_path(hand, size)
    if os.path.exists(path):
        try:
            return load_skin(path)
        except AssetError:
            pass  # made again below
    make_cached(path, lambda temporary: save_skin(temporary, make_skin(hand, size)))
    return load_skin(path)


def skin_identity(hand: HandModel, size: int = DEFAULT_SIZE) -> str:
    """SHA-256 in hexadecimal of all that decides the painted skin: painter, seed, counts, size and the hand's arrays."""
    digest = hashlib.sha256(f"painter {PAINTER_VERSION} {SEED} {PEOPLE} {COMPONENTS} {size}".encode())
    arrays = (hand.v_template, hand.J_regressor, hand.weights, hand.faces, hand.fingertips, hand.joint_axes, hand.uv, hand.uv_faces)
    for array in arrays:
        # float32 is what a hand's file holds, so that a hand just built and one just read agree.
        plain = np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else np.int64)
        digest.update(f"{plain.shape}".encode() + plain.tobytes())
    return digest.hexdigest()


def skin_path(hand: HandModel, size: int = DEFAULT_SIZE) -> Path:
    """File of the cache that holds this skin."""
    return cache_dir() / "skins" / f"painted-{hand.name}-{size}-{skin_identity(hand, size)[:16]}.npz"


def make_skin(hand: HandModel, size: int = DEFAULT_SIZE, people: int = PEOPLE, components: int = COMPONENTS) -> SkinModel:
    """Paints `people` hands and reduces them to a mean and `components` principal components of unit deviation."""
    population = paint_population(hand, size, people)
    mean, basis = principal_components(population, components)
    return SkinModel(
        name=f"painted-{hand.name}",
        licence=LICENCE,
        size=size,
        mean=mean,
        components=basis,
        texels=population.surface.texels,
        uv=hand.uv.astype(np.float32),
        uv_faces=hand.uv_faces.astype(np.int32),
    )


def principal_components(population: Population, count: int) -> tuple[np.ndarray, np.ndarray]:
    """PCA of a population through its N x N Gram matrix, painting texels block by block, twice.

    Returns:
        (U, 3) float32 mean; (count, U, 3) float16 components, scaled so that coefficients over the population have
        deviation 1. Signs are fixed by each component's most extreme person, so that equal populations give equal bases.
    """
    people, texels = population.absorbance.shape[1], population.patterns.shape[1]
    blocks = [(first, min(first + _BLOCK, texels)) for first in range(0, texels, _BLOCK)]
    mean = np.empty((texels, 3), np.float32)
    gram = np.zeros((people, people))
    for first, last in blocks:
        colours = population.paint(first, last)
        mean[first:last] = colours.mean(0, dtype=np.float64)
        centred = (colours - mean[first:last]).reshape(people, -1).astype(np.float64)
        gram += centred @ centred.T
    vectors = np.linalg.eigh(gram).eigenvectors[:, ::-1][:, :count]  # strongest first; unit columns
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(count)])
    # Unit columns turn the data into components of length sqrt(eigenvalue); divided by sqrt(N - 1), into deviations.
    project = (vectors / np.sqrt(people - 1)).T.astype(np.float32)  # (count, N)
    basis = np.empty((count, texels, 3), np.float16)
    for first, last in blocks:
        basis[:, first:last] = (project @ (population.paint(first, last) - mean[first:last]).reshape(people, -1)).reshape(
            count, -1, 3
        )
    return mean, basis
