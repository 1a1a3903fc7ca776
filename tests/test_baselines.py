"""The benchmark's baselines make the samples that we make, and its file of HTML's size is one that our reader takes for HTML's."""

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from handsynth.assets.skins.html import read_html
from handsynth.assets.skins.skin import SkinModel
from handsynth.render.pyrender_backend import PyrenderRenderer

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def naive(monkeypatch: pytest.MonkeyPatch):
    """The baselines as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import naive

    return naive


@pytest.mark.parametrize("whole_map", [True, False])
@pytest.mark.parametrize("kind", ["NaivePipeline", "CarefulPipeline"])
def test_baselines_make_our_samples(naive, kind, whole_map, stage, pyrender_renderer: PyrenderRenderer, tmp_path):
    """From the same recipes: labels equal to their rounding, masks and images alike but for shading and noise."""
    recipes = stage.recipes[:12]
    # Backgrounds here are noise, of which JPEG files would keep little.
    files = {recipe.background.index: tmp_path / f"{recipe.background.index}.png" for recipe in recipes}
    for index, path in files.items():
        Image.fromarray(stage.library.backgrounds.read(index)).save(path)
    size, renderer = stage.spec.image_size, pyrender_renderer._renderer
    pipeline = getattr(naive, kind)(stage.library, stage.library.skin, size, renderer, files, whole_map)
    pipeline.write(recipes, tmp_path / "baseline.tar")
    with tarfile.open(tmp_path / "baseline.tar") as tar:
        found = [(entry.name, tar.extractfile(entry).read()) for entry in tar]  # type: ignore[union-attr]
    differences = []
    for number, (recipe, sample) in enumerate(zip(recipes, stage.generator.make_samples(recipes), strict=True)):
        members = {name.split(".", 1)[1]: data for name, data in found[3 * number : 3 * number + 3]}
        assert all(name.startswith(f"{recipe.index:09d}.") for name, _ in found[3 * number : 3 * number + 3])
        labels = np.load(io.BytesIO(members["npz"]))
        np.testing.assert_allclose(labels["vertices"], sample.vertices, atol=2e-6)
        for name, tolerance in {"K": 1e-5, "T_cam_world": 1e-8, "keypoints_cam": 2e-6, "keypoints_xy": 1e-2}.items():
            np.testing.assert_allclose(labels[name], sample.labels[name], atol=tolerance, err_msg=name)
        mask = np.array(Image.open(io.BytesIO(members["mask.png"]))) > 0
        assert (mask & sample.mask).sum() / (mask | sample.mask).sum() > 0.95
        image = np.array(Image.open(io.BytesIO(members.get("png") or members["jpg"])))
        ours, theirs = (cv2.GaussianBlur(p.astype(np.float32), (0, 0), 3) for p in (sample.image, image))
        differences.append(np.abs(ours - theirs).mean())
    assert np.mean(differences) < 6  # grey levels
    assert np.max(differences) < 12


def test_the_html_sized_release_is_read_as_html(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """It holds as many values as HTML's, and each face finds the colours it had, in the corner that they were scaled into."""
    monkeypatch.syspath_prepend(str(FOLDER))
    from html_release import USED, write_html_release

    side = 256
    row, column = np.divmod(np.arange(side**2), side)
    inside = np.flatnonzero((row > 20) & (row < 230) & (column > 30) & (column < 200)).astype(np.int32)
    ramp = np.stack([row, column, 255 - row], -1)[inside].astype(np.float32)
    rng = np.random.default_rng(0)
    uv, uv_faces = rng.uniform(0.2, 0.7, (800, 2)).astype(np.float32), rng.integers(0, 800, (1538, 3)).astype(np.int32)
    skin = SkinModel("ramp", "none", side, ramp, np.stack([ramp, 2 * ramp]), inside, uv, uv_faces)
    back = read_html(*write_html_release(skin, tmp_path), size=1024)
    assert len(back.texels) == pytest.approx(USED, rel=0.02)
    assert back.components.shape == (2, len(back.texels), 3)

    def colours(model: SkinModel, values: np.ndarray) -> np.ndarray:
        image = np.zeros((model.size**2, 3), np.float32)
        image[model.texels] = values
        x, y = (model.uv * [1, -1] + [0, 1]).T * model.size
        return image.reshape(model.size, model.size, 3)[y.astype(int), x.astype(int)]

    np.testing.assert_array_equal(back.uv_faces, uv_faces)
    np.testing.assert_allclose(colours(back, back.mean), colours(skin, ramp), atol=1.1)
    np.testing.assert_allclose(colours(back, back.components[1]), colours(skin, 2 * ramp), atol=2.2)
