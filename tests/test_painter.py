"""The painted skin: natural colours for draws of N(0, 1), anatomy in its place, no seams, the cache."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from handsynth.assets.skins.painter.basis import embedded_skin, make_skin, principal_components, skin_identity, skin_path
from handsynth.assets.skins.painter.frames import Frames, hand_frames
from handsynth.assets.skins.painter.nails import nail_masks
from handsynth.assets.skins.painter.paint import paint_population
from handsynth.assets.skins.painter.surface import Surface, rasterise_layout, rasterise_surface
from handsynth.assets.skins.skin import SkinModel
from handsynth.core.errors import AssetError
from handsynth.core.hand import HandModel, load_hand
from handsynth.core.locations import EMBEDDED
from handsynth.core.toy import toy_hand
from handsynth.scene.texture import TextureStage

SIZE = 160


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return load_hand(EMBEDDED / "hand.npz")


@pytest.fixture(scope="module")
def frames(hand: HandModel) -> Frames:
    return hand_frames(hand, rasterise_surface(hand, SIZE))


@pytest.fixture(scope="module")
def skin(hand: HandModel) -> SkinModel:
    return make_skin(hand, SIZE)


@pytest.fixture(scope="module")
def draws(skin: SkinModel) -> np.ndarray:
    """(200, U, 3) sRGB of random draws on the used texels."""
    alpha = np.random.default_rng(7).normal(size=(200, len(skin.components)))
    images = TextureStage(skin).albedos(alpha)
    return images.reshape(200, -1, 4)[:, skin.texels, :3].astype(np.float32)


def lightness(srgb: np.ndarray) -> np.ndarray:
    """(..., 3) sRGB 0..255 -> (...) CIELAB L*."""
    x = srgb / 255.0
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    y = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


def test_rasterised_layout_gives_back_texture_coordinates(hand: HandModel) -> None:
    """The barycentric coordinates of each used texel, put into the UVs, give that texel's own centre."""
    face, barycentric = rasterise_layout(hand.uv, hand.uv_faces, SIZE)
    texels = np.flatnonzero(face >= 0)
    uv = np.einsum("uk,ukc->uc", barycentric[texels], hand.uv[hand.uv_faces[face[texels]]])
    rows, columns = np.divmod(texels, SIZE)
    centre = np.stack([(columns + 0.5) / SIZE, 1 - (rows + 0.5) / SIZE], 1)
    assert np.abs(uv - centre).max() < 1e-5
    assert barycentric[texels].min() >= -1e-5


def test_components_have_unit_deviation() -> None:
    """Projected on the basis, the painted hands have coefficients of mean 0, deviation 1, uncorrelated."""
    population = paint_population(toy_hand(), 40, 150)
    mean, basis = principal_components(population, 30)
    colours = population.paint(0, len(mean)).reshape(150, -1)
    basis = basis.reshape(30, -1).astype(np.float64)
    alpha = (colours - mean.reshape(-1)) @ basis.T / np.square(basis).sum(1)
    assert np.abs(alpha.mean(0)).max() < 0.01
    assert np.abs(np.cov(alpha.T) - np.eye(30)).max() < 0.02


def test_draws_have_colours_of_skin(draws: np.ndarray) -> None:
    """Red >= green >= blue on nearly every texel of every draw: no green, purple or grey hands."""
    red, green, blue = np.moveaxis(draws, -1, 0)
    assert ((red >= green) & (green >= blue)).mean(1).min() > 0.97


def test_draws_reach_from_very_light_to_very_dark(draws: np.ndarray, frames: Frames) -> None:
    """The backs of 200 hands span L* 35 to 75 and more, and all but a few lie within 20..90."""
    back = (frames.palmar < -0.7) & (frames.hand_body > 0.9)
    tone = lightness(draws[:, back].mean(1))
    assert tone.min() < 35
    assert tone.max() > 75
    assert ((tone > 20) & (tone < 90)).mean() > 0.97


def test_palms_of_dark_hands_are_paler_than_their_backs(draws: np.ndarray, frames: Frames) -> None:
    """Below L* 45 the palm is at least 5 L* lighter than the back, every time."""
    back = (frames.palmar < -0.7) & (frames.hand_body > 0.9)
    palm = (frames.palmar > 0.7) & (frames.hand_body > 0.9)
    on_back, on_palm = (lightness(draws[:, part].mean(1)) for part in (back, palm))
    dark = on_back < 45
    assert dark.sum() > 10
    assert (on_palm - on_back)[dark].min() > 5


@pytest.mark.parametrize("which", ["embedded", "toy"])
def test_nails_lie_on_the_backs_of_the_finger_ends(which: str, hand: HandModel) -> None:
    """Each finger has a nail on its last bone and its dorsal side, about as large as a nail, and there is none elsewhere."""
    model = hand if which == "embedded" else toy_hand()
    frames = hand_frames(model, rasterise_surface(model, SIZE))
    plate = nail_masks(frames).plate > 0.5
    owned = np.zeros(len(plate), bool)
    for finger in frames.fingers:
        mine = plate & (finger.last > 0.5)
        owned |= mine
        assert mine.sum() > 10, finger.name
        assert finger.palmar[mine].max() < 0.5
        assert finger.palmar[mine].mean() < -0.4
        assert 0.007 < np.ptp(finger.along[mine]) < 0.017
        assert 0.005 < np.ptp(finger.across[mine]) < 0.017
    assert np.array_equal(owned, plate)


def test_colours_run_on_across_seams(draws: np.ndarray, frames: Frames) -> None:
    """Texels equally near on the hand differ equally in colour, whether a cut of the layout parts them or not."""
    position, texels = frames.surface.position, frames.surface.texels
    pairs = cKDTree(position).query_pairs(0.0012, output_type="ndarray")
    distance = np.linalg.norm(position[pairs[:, 0]] - position[pairs[:, 1]], axis=1)
    rows, columns = np.divmod(texels[pairs], SIZE)
    parted = np.hypot(np.ptp(rows, 1), np.ptp(columns, 1)) > 10
    assert parted.sum() > 50
    colour = draws[:20]
    difference = np.abs(colour[:, pairs[:, 0]] - colour[:, pairs[:, 1]]).mean((0, 2))
    per_metre = [difference[part].sum() / distance[part].sum() for part in (parted, ~parted)]
    assert per_metre[0] < 1.5 * per_metre[1]


def test_no_dark_gutter(skin: SkinModel) -> None:
    """No unused texel of the mean is darker or lighter than all used ones: nothing black comes near a chart's edge."""
    image = TextureStage(skin).albedos(np.zeros((1, len(skin.components))))[0, ..., :3].reshape(-1, 3)
    used = image[skin.texels]
    assert (image >= used.min(0)).all()
    assert (image <= used.max(0)).all()


def test_same_seed_same_skin(hand: HandModel) -> None:
    """Painting twice gives equal arrays; another seed gives others."""
    first, second = (paint_population(toy_hand(), 48, 12) for _ in range(2))
    assert np.array_equal(first.patterns, second.patterns)
    assert np.array_equal(first.absorbance, second.absorbance)
    assert not np.array_equal(first.absorbance, paint_population(toy_hand(), 48, 12, seed=1).absorbance)


def test_cache_is_keyed_by_the_hand_and_survives_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call reads the first one's file, a damaged file is made again, another hand or size has another name."""
    monkeypatch.setenv("HANDSYNTH_CACHE", str(tmp_path))
    monkeypatch.setattr("handsynth.assets.skins.painter.basis.PEOPLE", 110)
    hand = toy_hand()
    first = embedded_skin(hand, 40)
    path = skin_path(hand, 40)
    written = path.stat().st_mtime_ns
    again = embedded_skin(hand, 40)
    assert path.stat().st_mtime_ns == written
    assert np.array_equal(first.components, again.components)
    path.write_bytes(b"damaged")
    assert np.array_equal(embedded_skin(hand, 40).mean, first.mean)
    moved = replace(hand, v_template=hand.v_template * 1.01)
    assert len({skin_identity(hand, 40), skin_identity(hand, 41), skin_identity(moved, 40)}) == 3


def test_hand_without_texture_coordinates_is_refused() -> None:
    """The message names the hand and what it lacks."""
    bare = replace(toy_hand(), uv=np.zeros((0, 2)), uv_faces=np.zeros((0, 3), np.int32))
    with pytest.raises(AssetError, match="'toy' has no texture coordinates"):
        make_skin(bare, 32)


def test_wrist_rim_is_plain(frames: Frames, draws: np.ndarray) -> None:
    """Beside the rim, where a cap will take over its colours, the skin varies less than on the back as a whole."""
    rim = (frames.away_from_rim < 0.05) & (frames.palmar < -0.5)
    back = (frames.palmar < -0.5) & (frames.away_from_rim > 0.5)
    assert rim.sum() > 10
    assert np.median(draws[:, rim].std(1)) < np.median(draws[:, back].std(1))


def test_surface_covers_the_hand(frames: Frames) -> None:
    """Normals are unit and the rows of the skinning weights sum to 1."""
    surface: Surface = frames.surface
    assert np.allclose(np.linalg.norm(surface.normal, axis=1), 1, atol=1e-5)
    assert np.allclose(surface.weights.sum(1), 1, atol=1e-4)
