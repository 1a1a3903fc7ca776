"""The pipeline on one screen: what a worker holds open, and how a batch of recipes becomes samples."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from handsynth.annotate import annotate
from handsynth.assets.backgrounds.open import read_usable
from handsynth.assets.library import Library, open_library
from handsynth.assets.skins.skin import shrink_skin
from handsynth.core.errors import HandsynthError
from handsynth.core.sample import PASSES, SCENE, Sample
from handsynth.image.composite import CompositeStage, mean_light
from handsynth.image.crop import crop_background
from handsynth.image.encode import codecs
from handsynth.image.motion import image_motion
from handsynth.profile import OFF, Profile
from handsynth.recipe.recipe import BATCH, Recipe
from handsynth.recipe.spec import DatasetSpec, dataset_identity
from handsynth.render.context import AUTO, find_device
from handsynth.render.layers import Renderer
from handsynth.scene.assemble import SceneStage
from handsynth.scene.company import gather, surroundings
from handsynth.scene.pose import PoseStage
from handsynth.scene.sky import ambient_skies
from handsynth.scene.texture import TextureStage, texture_size
from handsynth.visibility import beside_hand


class Stages:
    """What a worker keeps for its life: the library's arrays, the stages, one OpenGL context."""

    def __init__(self, spec: DatasetSpec, library: Library, device: str = AUTO) -> None:
        """Opens everything, with OpenGL on `device` (see find_device); raises AssetError when OpenGL or an asset is missing."""
        self.spec, self.library = spec, library
        self.dataset = dataset_identity(spec, library.digests)
        skin = shrink_skin(library.skin, texture_size(library.skin.size, spec.image_size))
        self.poses, self.textures, self.compositor = PoseStage(library.hand), TextureStage(skin), CompositeStage()
        self.scenes = SceneStage(self.poses, skin, library.objects.of_name)
        self.renderer = _make_renderer(spec, find_device(device))
        self.driver = f"{self.renderer.driver}; {codecs()}"
        """On equal ones, equal recipes give equal bytes: what draws, and what encodes."""

    def background(self, recipe: Recipe) -> tuple[np.ndarray, int]:
        """The square behind the hand, and the number of the image that it was cut from. The image, however large, is let go."""
        image, used = read_usable(self.library.backgrounds, recipe.background.index)
        return crop_background(image, vars(recipe.background), self.spec.image_size), used


class Generator(Stages):
    """Makes samples of single hands."""

    def make_samples(self, recipes: Sequence[Recipe]) -> Iterator[Sample]:
        """Yields the samples of some recipes, in order."""
        for samples in self.make_batches(recipes):
            yield from samples

    def make_batches(self, recipes: Sequence[Recipe], profile: Profile = OFF) -> Iterator[list[Sample]]:
        """Yields the samples of some recipes, in order, BATCH at a time: pose -> texture -> render -> composite -> annotate.

        A batch passes through one stage after the other, which finds its own code and tables in the processor's cache.
        """
        for start in range(0, len(recipes), BATCH):
            yield self._make_batch(recipes[start : start + BATCH], profile)

    def _make_batch(self, batch: Sequence[Recipe], profile: Profile) -> list[Sample]:
        spec, library, size = self.spec, self.library, self.spec.image_size
        rendered = tuple(name for name in spec.passes if name in PASSES)
        with profile.stage("pose"):
            company = gather(batch, size)
            people = company.recipes
            hands = self.poses.pose(people, size)
            pairs = zip(self.scenes.dress.worn(people, hands), self.scenes.things.held(people, hands), strict=True)
            worn = [clothes + things for clothes, things in pairs]
            seen = self.scenes.in_sight(people, hands, worn, size)
            beside = surroundings(company, hands, worn, library.hand)
        with profile.stage("texture"):
            albedos = self.textures.albedos(np.array([r.alpha for r in people]))
            arm_albedos = self.scenes.arm_albedos(people, albedos, seen)
        with profile.stage("background"):
            behind, used = zip(*(self.background(recipe) for recipe in batch), strict=True)
            ambient = ambient_colors(batch, behind)
            skies = ambient_skies(batch, behind, ambient, library.environments)
        with profile.stage("render"):
            views = self.scenes.views(batch, hands, albedos, arm_albedos, ambient, worn, skies, seen, company)
            layers = self.renderer.render_many(views, rendered)
        for recipe, layer in zip(batch, layers, strict=True):
            if not layer.encoded.any():  # a mask may be: where a forearm hides the whole hand
                raise HandsynthError(f"sample {recipe.index}: the renderer ({self.driver}) returned an empty image")
        with profile.stage("composite"):
            motions = [
                image_motion(recipe.motion, hands.keypoints[row], hands.K[row]) if recipe.motion else None
                for row, recipe in enumerate(batch)
            ]
            images = self.compositor.composite(layers, behind, [recipe.sensor for recipe in batch], motions)
        with profile.stage("annotate"):
            backgrounds = [
                library.backgrounds.label(number) | {"replaced": number != recipe.background.index}
                for recipe, number in zip(batch, used, strict=True)
            ]
            labels = annotate(
                batch, hands, library.hand, size, self.dataset, ambient, backgrounds, beside, skies, company, self.scenes.things
            )
        passes = [{name: getattr(layer, name) for name in rendered} for layer in layers]
        scenes = [
            beside_hand(library.hand, hands.arms[row], beside[row]) if SCENE in spec.passes else None for row in range(len(batch))
        ]
        return [
            Sample(labels[row], images[row], layers[row].mask, hands.vertices[row], passes[row], scenes[row])
            for row in range(len(batch))
        ]


def ambient_colors(recipes: Sequence[Recipe], behind: Sequence[np.ndarray]) -> np.ndarray:
    """(B, 3) ambient light, linear RGB times intensity, before B backgrounds, whose mean colour it takes in part.

    Rounded to 1e-4, so that decoders of backgrounds that differ in a few pixels seldom give another label.
    """
    own = np.array([recipe.ambient.color for recipe in recipes])
    share = np.array([[recipe.ambient.background_tint] for recipe in recipes])
    light = np.array([mean_light(image) for image in behind])
    tint = light / np.maximum(light.mean(1, keepdims=True), 1e-3) * own.mean(1, keepdims=True)
    return np.round(own + share * (tint - own), 4) + 0.0


def library_of(spec: DatasetSpec, assets: Path) -> Library:
    """The library that a spec names."""
    holds = spec.held.probability > 0
    objects = spec.objects if holds or spec.occluder.probability > 0 else "shapes"
    source = spec.hand, spec.textures, spec.backgrounds, assets
    return open_library(*source, spec.exclude_no_derivatives, spec.annotations, spec.environments, holds, objects)


def _make_renderer(spec: DatasetSpec, device: int) -> Renderer:
    """The backend that the spec names, on an EGL device."""
    if spec.renderer == "pyrender":
        from handsynth.render.pyrender_backend import PyrenderRenderer

        return PyrenderRenderer(spec.image_size, device)
    from handsynth.render.gl import GlRenderer

    return GlRenderer(spec.image_size, device)
