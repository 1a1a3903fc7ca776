"""HTML as users have it, and the skin model that it becomes."""

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from licensed_files import html_arrays, mano_arrays, write_html, write_mano

from handsynth.assets.hands.mano import prepare_mano
from handsynth.assets.skins.html import prepare_html, read_html
from handsynth.assets.skins.skin import SkinModel, load_skin, save_skin
from handsynth.core.errors import AssetError, UsageError


@pytest.fixture(scope="module")
def contents() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return html_arrays()


@pytest.fixture(scope="module")
def release(tmp_path_factory, contents) -> Path:
    folder = tmp_path_factory.mktemp("html") / "HTML_release_both_hands"
    write_html(folder, *contents)
    return folder


def paths(release: Path) -> tuple[Path, Path]:
    return release / "TextureBasis" / "model_sr" / "model.pkl", release / "TextureBasis" / "uvs_right.pkl"


def official_texture(model: dict[str, np.ndarray], values: np.ndarray) -> np.ndarray:
    """(1024, 1024, 3) image as the release's own code assembles it."""
    flat = np.zeros(3 * 1024 * 1024)
    flat[model["index_map"]] = values
    return flat.reshape(3, 1024, 1024).transpose(2, 1, 0)


def skin_texture(skin: SkinModel, alpha: np.ndarray) -> np.ndarray:
    """(size, size, 3) image of a skin model, unclipped, black elsewhere."""
    image = np.zeros((skin.size**2, 3))
    image[skin.texels] = skin.mean + np.tensordot(alpha, skin.components, 1)
    return image.reshape(skin.size, skin.size, 3)


def test_full_size_is_the_official_texture(release, contents):
    """At 1024 the image for any alpha is the one that the release's code assembles."""
    model, _ = contents
    skin = read_html(*paths(release), size=1024)
    alpha = np.random.default_rng(0).normal(size=101)
    expected = official_texture(model, model["mean"] + model["basis"] @ alpha)
    np.testing.assert_allclose(skin_texture(skin, alpha), expected, atol=1e-3)
    assert len(skin.texels) == len(model["mean"]) // 3


@pytest.mark.parametrize("size", [512, 256])
def test_smaller_is_the_mean_of_used_texels(release, contents, size):
    """A smaller texture is the mean over each block's used texels, for any alpha, with blocks of no used texel left out."""
    model, _ = contents
    skin = read_html(*paths(release), size=size)
    alpha = np.random.default_rng(1).normal(size=101)
    big = official_texture(model, model["mean"] + model["basis"] @ alpha)
    used = official_texture(model, np.ones(len(model["mean"])))
    f = 1024 // size
    total, count = (a.reshape(size, f, size, f, 3).sum((1, 3)) for a in (big, used))
    expected = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    np.testing.assert_allclose(skin_texture(skin, alpha), expected, atol=1e-3)
    np.testing.assert_array_equal(skin.texels, np.flatnonzero(count[..., 0]))


def test_layout_is_the_files_own(release, contents):
    """Texture coordinates and their faces come over as they are: v = 0 is the bottom of the image in both."""
    _, uvs = contents
    skin = read_html(*paths(release))
    np.testing.assert_allclose(skin.uv, uvs["verts_uvs"], atol=1e-6)
    np.testing.assert_array_equal(skin.uv_faces, uvs["faces_uvs"])


def test_prepare_writes_a_skin_that_loads(release, tmp_path):
    """The prepared file is plain, within float16's rounding of the model, and the note says how much that is."""
    prepared = prepare_html(release, tmp_path)
    skin, exact = load_skin(prepared.paths[0]), read_html(*paths(release))
    assert skin.components.dtype == np.float32
    assert np.abs(skin.components - exact.components).max() <= np.abs(exact.components).max() / 2048
    np.testing.assert_array_equal(skin.mean, exact.mean)
    np.testing.assert_array_equal(skin.texels, exact.texels)
    assert (skin.name, skin.size) == ("html", 512)
    assert "research" in skin.licence
    assert any("rounded" in note for note in prepared.notes)


def test_prepare_from_zip_folder_and_file(release, tmp_path):
    """The zip, each folder on the way and the file itself give the same skin."""
    archive = shutil.make_archive(str(tmp_path / "html"), "zip", release.parent)
    sources = (release, release.parent, release / "TextureBasis", paths(release)[0], Path(archive))
    means = {load_skin(prepare_html(s, tmp_path / f"a{k}").paths[0]).mean.tobytes() for k, s in enumerate(sources)}
    assert len(means) == 1


def test_first_release_names_its_layout_otherwise(tmp_path, contents):
    """The first release's uvs.pkl serves when there is no uvs_right.pkl."""
    write_html(tmp_path / "html", *contents, layout="uvs.pkl")
    assert load_skin(prepare_html(tmp_path / "html", tmp_path / "assets").paths[0]).uv_faces.shape == (1538, 3)


def test_shading_kept_is_second_choice_and_said(release, tmp_path):
    """Without model_sr, model_wosr is taken, and the user is informed."""
    shutil.copytree(release, tmp_path / "html")
    basis = tmp_path / "html" / "TextureBasis"
    (basis / "model_sr").rename(basis / "model_wosr")
    assert any("model_wosr" in note for note in prepare_html(tmp_path / "html", tmp_path / "assets").notes)


def test_layout_must_fit_the_prepared_hand(release, tmp_path):
    """A layout made for faces in another order is refused once MANO is prepared; the fitting one is taken."""
    arrays = mano_arrays()
    write_mano(tmp_path / "MANO_RIGHT.pkl", arrays | {"f": arrays["f"][::-1].copy()})
    prepare_mano(tmp_path / "MANO_RIGHT.pkl", tmp_path / "other")
    with pytest.raises(AssetError, match="fits"):
        prepare_html(release, tmp_path / "other")
    write_mano(tmp_path / "MANO_RIGHT.pkl", arrays)
    prepare_mano(tmp_path / "MANO_RIGHT.pkl", tmp_path / "same")
    prepare_html(release, tmp_path / "same")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("basis", lambda a: a[:-1]),
        ("basis", lambda a: a[:, 0]),
        ("index_map", lambda a: a[:-3]),
        ("index_map", lambda a: a + 3 * 1024**2),
        ("index_map", lambda a: a - a.max() - 1),
        ("index_map", lambda a: np.where(np.arange(len(a)) == 0, a[1], a)),
        ("mean", lambda a: a * np.nan),
        ("basis", lambda a: np.where(np.arange(a.shape[1]) == 70, np.inf, a)),
    ],
)
def test_bad_model_arrays_are_named(tmp_path, contents, name, change):
    """A model array of wrong shape, with NaN, or an index outside or twice, is an AssetError that names file and array."""
    model, uvs = contents
    write_html(tmp_path, model | {name: change(model[name])}, uvs)
    with pytest.raises(AssetError, match=rf"model\.pkl: {name} "):
        read_html(*paths(tmp_path))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("verts_uvs", lambda a: a[:, :1], "verts_uvs has shape"),
        ("faces_uvs", lambda a: a[:-1], "faces_uvs has shape"),
        ("faces_uvs", lambda a: a + 5000, "uv_faces points outside"),
        ("verts_uvs", lambda a: a * np.nan, "uv holds NaN"),
        ("verts_uvs", lambda a: a * 2, "uv leaves"),
    ],
)
def test_bad_layouts_are_named(tmp_path, contents, name, change, message):
    """A layout of wrong shape, with NaN, or pointing outside is an AssetError that says so."""
    model, uvs = contents
    write_html(tmp_path, model, uvs | {name: change(uvs[name])})
    with pytest.raises(AssetError, match=message):
        read_html(*paths(tmp_path))


def test_bad_sources_and_sizes(tmp_path, release):
    """A source without HTML, without a layout, a hostile model and a size that does not divide each get one sentence."""
    with pytest.raises(AssetError, match="holds no"):
        prepare_html(tmp_path, tmp_path / "assets")
    with pytest.raises(AssetError, match="does not exist"):
        prepare_html(tmp_path / "nowhere", tmp_path / "assets")
    shutil.copytree(release, tmp_path / "html")
    (tmp_path / "html" / "TextureBasis" / "uvs_right.pkl").unlink()
    with pytest.raises(AssetError, match=r"uvs_right\.pkl"):
        prepare_html(tmp_path / "html", tmp_path / "assets")
    with pytest.raises(UsageError, match="512"):
        read_html(*paths(release), size=500)
    hostile = tmp_path / "hostile" / "TextureBasis" / "model_sr" / "model.pkl"
    hostile.parent.mkdir(parents=True)
    hostile.write_bytes(pickle.dumps({"mean": pytest.raises}, 4))
    shutil.copy(paths(release)[1], hostile.parent.parent)
    with pytest.raises(AssetError, match="refused"):
        prepare_html(tmp_path / "hostile", tmp_path / "assets")
    assert not (tmp_path / "assets").exists()


def small_skin() -> SkinModel:
    rng = np.random.default_rng(0)
    return SkinModel(
        name="small", licence="none", size=8, mean=rng.uniform(0, 255, (10, 3)).astype(np.float32),
        components=rng.normal(size=(4, 10, 3)).astype(np.float32), texels=np.arange(10, 20, dtype=np.int32),
        uv=rng.uniform(size=(5, 2)).astype(np.float32), uv_faces=np.array([[0, 1, 2], [2, 3, 4]], np.int32),
    )  # fmt: skip


def test_saved_skin_comes_back(tmp_path):
    """save_skin and load_skin keep every array exactly."""
    skin = small_skin()
    save_skin(tmp_path / "skin.npz", skin)
    back = load_skin(tmp_path / "skin.npz")
    for name in SkinModel.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(back, name), getattr(skin, name), err_msg=name)


@pytest.mark.parametrize("name", ["mean", "components", "texels", "uv", "uv_faces"])
def test_bad_skin_arrays_are_named(name):
    """A skin's array of wrong shape, empty, with NaN or pointing outside is an AssetError that names it."""
    skin = small_skin()
    value = getattr(skin, name)
    with pytest.raises(AssetError, match=f"{name} has shape" if name != "texels" else "has shape"):
        replace(skin, **{name: value[..., :-1]})
    with pytest.raises(AssetError):
        replace(skin, **{name: value[:0]})
    broken = value.copy()
    broken.flat[0] = np.nan if value.dtype.kind == "f" else 999
    with pytest.raises(AssetError, match=f"{name} holds NaN" if value.dtype.kind == "f" else f"{name} points outside"):
        replace(skin, **{name: broken})


def test_damaged_skin_file_is_an_asset_error(tmp_path):
    """A truncated or foreign file, or one with objects, ends in an AssetError naming the file."""
    path = tmp_path / "skin.npz"
    save_skin(path, small_skin())
    raw = path.read_bytes()
    for content in (raw[: len(raw) // 2], b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(AssetError, match=r"skin\.npz"):
            load_skin(path)
    save_skin(path, small_skin())
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | {"size": np.array(np.nan)}))
    with pytest.raises(AssetError, match=r"skin\.npz: size is no single whole number"):
        load_skin(path)
    np.savez(path, name=np.array([None]))
    with pytest.raises(AssetError, match=r"skin\.npz"):
        load_skin(path)
