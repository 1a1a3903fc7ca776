"""The pipeline on one screen: what a worker holds open, and how a batch of recipes becomes samples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from handsynth.annotate import annotate
from handsynth.assets.backgrounds.open import read_usable
from handsynth.assets.library import Library, open_library
from handsynth.assets.skins.skin import shrink_skin
from handsynth.core.errors import HandsynthError
from handsynth.core.mirror import mirrored
from handsynth.core.sample import CLIP_PASSES, FLOW, PASSES, SCENE, Sample
from handsynth.image.composite import CompositeStage, Moment, mean_light
from handsynth.image.crop import Surroundings, crop_background, cut_surroundings, see_surroundings
from handsynth.image.encode import codecs
from handsynth.image.motion import image_motion
from handsynth.profile import OFF, Profile
from handsynth.recipe.moments import exposure_shares, far_homography, moment_at, turn_since_facing
from handsynth.recipe.recipe import BATCH, BackgroundChoice, Recipe
from handsynth.recipe.samplers import camera_matrices
from handsynth.recipe.spec import DatasetSpec, dataset_identity
from handsynth.render.context import AUTO, find_device
from handsynth.render.layers import Layers, Renderer, View
from handsynth.scene.assemble import InSight, SceneStage, widest
from handsynth.scene.company import gather, surroundings
from handsynth.scene.pose import CameraHands, PoseStage
from handsynth.scene.sky import ambient_skies
from handsynth.scene.texture import TextureStage, texture_size
from handsynth.scene.wear.dress import WornMesh
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

    def __init__(self, spec: DatasetSpec, library: Library, device: str = AUTO) -> None:
        """See Stages."""
        super().__init__(spec, library, device)
        self._around: tuple[BackgroundChoice, _Around] | None = None

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
        rendered = tuple(name for name in spec.passes if name in PASSES or name in CLIP_PASSES)
        with profile.stage("pose"):
            company = gather(batch, size)
            people = company.recipes
            posed = self._pose(people)
            hands, worn = posed.hands, posed.worn
            seen = self.scenes.in_sight(people, hands, worn, size)
            beside = surroundings(company, hands, worn, library.hand)
            exposures = self._pose_exposures(batch, seen)
            after = self._pose([moment_at(recipe, 1) for recipe in batch]) if FLOW in rendered else None
        with profile.stage("texture"):
            albedos = self.textures.albedos(np.array([r.alpha for r in people]))
            arm_albedos = self.scenes.arm_albedos(people, albedos, seen)
        with profile.stage("background"):
            behind, lighting, used = zip(*(self._background(recipe) for recipe in batch), strict=True)
            ambient = ambient_colors(batch, lighting)
            skies = ambient_skies(batch, lighting, ambient, library.environments)
        with profile.stage("render"):
            views = self.scenes.views(batch, hands, albedos, arm_albedos, ambient, worn, skies, seen, company)
            lit = [
                _Lit(albedos[row], arm_albedos[row], _painted(view, worn[row]), ambient[row], skies[row], seen[row])
                for row, view in enumerate(views)
            ]
            if after is not None:
                views = [_moved(*pair) for pair in zip(views, self._views(after, lit), strict=True)]
            layers = self.renderer.render_many(views, rendered)
            if after is not None:
                layers = [self._with_far_flow(*one) for one in zip(layers, batch, strict=True)]
            moments = self._render_exposures(exposures, lit)
        for recipe, layer in zip(batch, layers, strict=True):
            if not layer.encoded.any():  # a mask may be: where a forearm hides the whole hand
                raise HandsynthError(f"sample {recipe.index}: the renderer ({self.driver}) returned an empty image")
        with profile.stage("composite"):
            motions = [
                image_motion(recipe.motion, hands.keypoints[row], hands.K[row]) if recipe.motion else None
                for row, recipe in enumerate(batch)
            ]
            images = self.compositor.composite(layers, behind, [recipe.sensor for recipe in batch], motions, moments)
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

    def _background(self, recipe: Recipe) -> tuple[np.ndarray, np.ndarray, int]:
        """The square behind the hand, the one that lights it, and the number of the image that they were cut from.

        Clips keep what is about the square, which lights all of them as it was cut.
        """
        if recipe.clip is None:
            square, used = self.background(recipe)
            return square, square, used
        around = self._surroundings(recipe)
        return self._seen_from(recipe, around), around.square, around.used

    def _surroundings(self, recipe: Recipe) -> "_Around":
        """What is about a clip's square, kept from frame to frame."""
        if self._around is None or self._around[0] != recipe.background:
            image, used = read_usable(self.library.backgrounds, recipe.background.index)
            box, size = vars(recipe.background), self.spec.image_size
            found = _Around(cut_surroundings(image, box, size), crop_background(image, box, size), used)
            self._around = recipe.background, found
        return self._around[1]

    def _seen_from(self, recipe: Recipe, around: "_Around") -> np.ndarray:
        """What is behind the hand of a clip's frame, or of a moment of it."""
        size = self.spec.image_size
        homography = far_homography(labelled_K(recipe, size), turn_since_facing(recipe).T)
        return see_surroundings(around.surroundings, homography, size)

    def _pose(self, recipes: Sequence[Recipe]) -> "_Posed":
        """Hands with what they wear and hold."""
        hands = self.poses.pose(recipes, self.spec.image_size)
        pairs = zip(self.scenes.dress.worn(recipes, hands), self.scenes.things.held(recipes, hands), strict=True)
        return _Posed(recipes, hands, [clothes + things for clothes, things in pairs])

    def _pose_exposures(self, batch: Sequence[Recipe], seen: list[InSight]) -> list[tuple[list[int], "_Posed"]]:
        """Rows of the batch, and the other moments at which light falls on these frames of clips, some at a time.

        What of an arm is `seen` in a frame becomes what is seen in any of its moments.
        """
        pairs = [
            (row, moment_at(recipe, share))
            for row, recipe in enumerate(batch)
            for share in (exposure_shares(recipe.clip) if recipe.clip else ())
            if share
        ]
        found = []
        for start in range(0, len(pairs), BATCH):
            rows, recipes = (list(column) for column in zip(*pairs[start : start + BATCH], strict=True))
            posed = self._pose(recipes)
            for row, own in zip(rows, self.scenes.in_sight(recipes, posed.hands, posed.worn, self.spec.image_size), strict=True):
                seen[row] = widest([seen[row], own])
            found.append((rows, posed))
        return found

    def _render_exposures(self, exposures: Sequence[tuple[list[int], "_Posed"]], lit: Sequence["_Lit"]) -> dict[int, list[Moment]]:
        """Row of the batch -> its frame's other moments, rendered as the frame is, and what is behind."""
        found: dict[int, list[Moment]] = {}
        for rows, posed in exposures:
            layers = self.renderer.render_many(self._views(posed, [lit[row] for row in rows]))
            for row, recipe, layer in zip(rows, posed.recipes, layers, strict=True):
                found.setdefault(row, []).append((layer, self._seen_from(recipe, self._surroundings(recipe))))
        return found

    def _views(self, posed: "_Posed", frames: Sequence["_Lit"]) -> list[View]:
        """Moments of frames as they are drawn: each in the skin, paint and light of its frame."""
        worn = [tuple(map(_as_painted, own, frame.painted)) for own, frame in zip(posed.worn, frames, strict=True)]
        return self.scenes.views(
            posed.recipes,
            posed.hands,
            [frame.albedo for frame in frames],
            [frame.arm_albedo for frame in frames],
            np.array([frame.ambient for frame in frames]),
            worn,
            [frame.sky for frame in frames],
            [frame.seen for frame in frames],
        )

    def _with_far_flow(self, layer: Layers, recipe: Recipe) -> Layers:
        """The flow of what is far away added to that of meshes; NaN everywhere where no frame follows."""
        flow, clip = layer.flow, recipe.clip
        assert flow is not None
        assert clip is not None
        if clip.last:
            return replace(layer, flow=np.full_like(flow, np.nan))
        turn = turn_since_facing(moment_at(recipe, 1)) @ turn_since_facing(recipe).T
        far = far_flow(far_homography(labelled_K(recipe, len(flow)), turn), len(flow))
        return replace(layer, flow=np.where(np.isnan(flow), far, flow))


@dataclass(frozen=True, eq=False)
class _Around:
    """The background of a clip."""

    surroundings: Surroundings
    square: np.ndarray  # as it was cut
    used: int  # number of its image


class _Posed(NamedTuple):
    """Some recipes as they stand before their cameras."""

    recipes: Sequence[Recipe]
    hands: CameraHands
    worn: list[tuple[WornMesh, ...]]


class _Lit(NamedTuple):
    """A frame's looks, which its other moments share."""

    albedo: np.ndarray
    arm_albedo: np.ndarray | None
    painted: list[np.ndarray]  # albedos of what is worn and held
    ambient: np.ndarray
    sky: np.ndarray | None
    seen: InSight


def _moved(view: View, after: View) -> View:
    """A view that knows where its vertices are at the next frame, as another has them."""
    meshes = zip(view.meshes, after.meshes, strict=True)
    return replace(view, meshes=tuple(replace(mesh, moved=other.vertices) for mesh, other in meshes))


def _painted(view: View, worn: tuple[WornMesh, ...]) -> list[np.ndarray]:
    """Albedos of what a view's first hand, whose meshes come first, wears and holds."""
    return [mesh.albedo for mesh in view.meshes[1 : 1 + len(worn)]]


def _as_painted(thing: WornMesh, albedo: np.ndarray) -> WornMesh:
    """A thing whose paint is there already."""
    return replace(thing, paint=lambda *_: albedo)


def labelled_K(recipe: Recipe, size: int) -> np.ndarray:
    """(3, 3) K of a recipe's camera, as labels have it: of a left hand that of the mirrored image."""
    K = camera_matrices(recipe.camera)[0]
    return mirrored(K, size) if recipe.side == "left" else K


def far_flow(homography: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 2) float32 how far a homography (3, 3) moves the centres of pixels [px]."""
    x, y = np.meshgrid(*[np.arange(size) + 0.5] * 2)
    there = np.stack([x, y, np.ones_like(x)], -1) @ homography.T
    return (there[..., :2] / there[..., 2:] - np.stack([x, y], -1)).astype(np.float32)


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
