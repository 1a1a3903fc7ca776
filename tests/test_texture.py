"""The texture stage: PCA textures in batches, on used texels only, with the gutter filled."""

import numpy as np
import pytest

from handsynth.assets.skins.skin import SkinModel, shrink_skin
from handsynth.core.errors import UsageError
from handsynth.scene.texture import STEP, TextureStage, gutter_map, texture_size

SIZE = 24


@pytest.fixture(scope="module")
def skin() -> SkinModel:
    """A skin of noise on two islands, strong enough that many colours leave 0..255."""
    rng = np.random.default_rng(3)
    used = np.zeros((SIZE, SIZE), bool)
    used[3:11, 2:9] = used[12:22, 10:20] = True
    texels = np.flatnonzero(used).astype(np.int32)
    return SkinModel(
        name="noise",
        licence="none",
        size=SIZE,
        mean=rng.uniform(40, 215, (len(texels), 3)).astype(np.float32),
        components=rng.normal(0, 25, (101, len(texels), 3)).astype(np.float32),
        texels=texels,
        uv=np.zeros((3, 2), np.float32),
        uv_faces=np.array([[0, 1, 2]], np.int32),
    )


def slow_albedo(skin: SkinModel, alpha: np.ndarray) -> np.ndarray:
    """The definition, for one alpha, texel by texel in float64: the readable twin of TextureStage."""

    def on_grid(x: np.ndarray) -> np.ndarray:
        return np.rint(x.astype(np.float64) / STEP) * STEP

    colours = on_grid(skin.mean) + sum(on_grid(a) * on_grid(c) for a, c in zip(alpha, skin.components, strict=True))
    colours = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
    rows, columns = np.divmod(skin.texels, skin.size)
    image = np.full((skin.size, skin.size, 4), 255, np.uint8)
    for r in range(skin.size):
        for c in range(skin.size):
            nearest = np.argmin((rows - r) ** 2 + (columns - c) ** 2)
            image[r, c, :3] = colours[nearest]
    return image


def test_batch_equals_slow_twin(skin: SkinModel) -> None:
    """On every used texel the batched product is the definition, to the last bit, although a part of it is clipped."""
    alpha = np.random.default_rng(0).normal(size=(5, 101))
    images = TextureStage(skin).albedos(alpha)
    expected = np.stack([slow_albedo(skin, a) for a in alpha])
    used = np.zeros((SIZE, SIZE), bool)
    used.reshape(-1)[skin.texels] = True
    assert np.array_equal(images[:, used], expected[:, used])
    assert (expected[:, used] == 0).any()
    assert (expected[:, used] == 255).any()


def test_gutter_takes_a_nearest_used_texel(skin: SkinModel) -> None:
    """Every texel shows a used one, itself where used, and no other used texel is nearer."""
    source = gutter_map(skin.texels, SIZE)
    assert np.array_equal(source[skin.texels], np.arange(len(skin.texels)))
    rows, columns = np.divmod(np.arange(SIZE * SIZE), SIZE)
    used_rows, used_columns = rows[skin.texels], columns[skin.texels]
    distance = np.hypot(rows[:, None] - used_rows, columns[:, None] - used_columns)
    assert np.allclose(distance[np.arange(SIZE * SIZE), source], distance.min(1))


def test_bytes_do_not_depend_on_the_batch(skin: SkinModel) -> None:
    """An image is the same alone, at any place of any batch, and in a batch longer than one product."""
    alpha = np.random.default_rng(1).normal(size=(70, 101))
    stage = TextureStage(skin)
    together = stage.albedos(alpha)
    assert np.array_equal(together, stage.albedos(alpha[::-1])[::-1])
    for i in (0, 31, 32, 69):
        assert np.array_equal(together[i], stage.albedos(alpha[i : i + 1])[0])
    assert stage.albedos(alpha[:0]).shape == (0, SIZE, SIZE, 4)


def test_hands_of_one_skin_are_drawn_once_and_painted_apart(skin: SkinModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second hand of a person takes no product of its own; what is then painted on it stays off the first."""
    alpha = np.random.default_rng(2).normal(size=(3, 101))
    stage, made = TextureStage(skin), []
    whole = stage.albedos(alpha)
    product = stage._fill
    monkeypatch.setattr(stage, "_fill", lambda rows, images: (made.append(len(rows)), product(rows, images)))
    images = stage.albedos(alpha[[0, 1, 0, 2, 1, 0]])
    assert made == [3]
    assert np.array_equal(images, whole[[0, 1, 0, 2, 1, 0]])
    images[2] = 7
    assert np.array_equal(images[[0, 5]], whole[[0, 0]])


def test_zero_alpha_is_the_mean(skin: SkinModel) -> None:
    """alpha = 0 gives the mean texture within half a level."""
    image = TextureStage(skin).albedos(np.zeros((1, 101)))[0].reshape(-1, 4)
    assert np.abs(image[skin.texels, :3] - skin.mean).max() <= 0.5 + STEP


def test_wrong_number_of_coefficients_is_refused(skin: SkinModel) -> None:
    """The message names the shape that was given and the one expected."""
    with pytest.raises(UsageError, match=r"\(2, 10\), expected \(B, 101\)"):
        TextureStage(skin).albedos(np.zeros((2, 10)))


def test_a_texture_is_no_finer_than_its_image_shows():
    """HTML's 512 and 1024 become 384 for images of 256 px and stay for large ones; the embedded skin's 256 stays."""
    assert [texture_size(skin, 256) for skin in (1024, 512, 384, 256)] == [384, 384, 384, 256]
    assert [texture_size(512, image) for image in (64, 256, 342, 512, 1024)] == [96, 384, 512, 512, 512]


@pytest.mark.parametrize("size", [24, 18, 16, 12, 7, 1])
def test_a_shrunk_skin_is_the_mean_of_what_each_texel_covers(skin: SkinModel, size: int):
    """By areas of used texels alone, drawn at the common multiple of both sizes: no colour from outside the charts gets in."""
    small = shrink_skin(skin, size)
    used = np.zeros(SIZE**2)
    used[skin.texels] = 1

    def stretched(values: np.ndarray) -> np.ndarray:
        """One value a texel -> its sum over each texel of the smaller image."""
        image = np.kron(values.reshape(SIZE, SIZE), np.ones((size, size)))
        return image.reshape(size, SIZE, size, SIZE).sum((1, 3)).ravel()

    area = stretched(used)
    np.testing.assert_array_equal(small.texels, np.flatnonzero(area))
    for big, found in ((skin.mean, small.mean), (skin.components[7], small.components[7])):
        whole = np.zeros((SIZE**2, 3))
        whole[skin.texels] = big
        expected = np.stack([stretched(whole[:, k]) for k in range(3)], 1)[small.texels] / area[small.texels, None]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert (small.size, small.uv is skin.uv) == (size, True)
