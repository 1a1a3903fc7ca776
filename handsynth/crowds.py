"""Crowds through the pipeline: every hand, arm and thing of an image is a layer, drawn alone and painted over what is farther."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np  # before OpenCV, which prints a text of its own when it is stopped (Ctrl-C) while it imports numpy

# isort: split
import cv2

from handsynth.assets.library import Library
from handsynth.core.camera import projected_bounds
from handsynth.core.errors import HandsynthError
from handsynth.core.sample import Sample
from handsynth.crowd_labels import CrowdLabeller, Layer, PosedCrowds, painted, taken
from handsynth.generator import Generator, Stages, ambient_colors
from handsynth.image.composite import StackedLayer
from handsynth.image.motion import image_motion
from handsynth.profile import OFF, Profile
from handsynth.recipe.crowd import CrowdRecipe
from handsynth.recipe.crowd_sampler import CrowdSampler
from handsynth.recipe.recipe import Recipe
from handsynth.recipe.samplers import RecipeSampler
from handsynth.recipe.spec import DatasetSpec
from handsynth.render.context import AUTO
from handsynth.render.layers import Layers, Mesh, View
from handsynth.scene.sky import ambient_skies
from handsynth.scene.wear.dress import WornMesh

IMAGES = 10
"""Images that pass through the stages together: about as many hands as a batch of single ones."""

TEXELS_PER_PIXEL = 3.5
"""Textures are halved while they have so many texels or more for each pixel of what they lie on: there is no mip chain."""

COVERED = 128
"""Coverage, of 255, from which on a pixel shows the layer and not what is behind it."""

_FAR_AWAY = 1e4
"""Where the shading spheres of hands are that are not there [m]."""


class CrowdGenerator(Stages):
    """Makes images of crowds."""

    def __init__(self, spec: DatasetSpec, library: Library, device: str = AUTO) -> None:
        """See Stages."""
        super().__init__(spec, library, device)
        self.labeller = CrowdLabeller(self.poses, self.scenes.dress, self.scenes.things, (spec.image_size, spec.crowd.height))

    def make_samples(self, recipes: Sequence[CrowdRecipe]) -> Iterator[Sample]:
        """Yields the samples of some recipes, in order."""
        for samples in self.make_batches(recipes):
            yield from samples

    def make_batches(self, recipes: Sequence[CrowdRecipe], profile: Profile = OFF) -> Iterator[list[Sample]]:
        """Yields the samples of some recipes, in order, IMAGES at a time."""
        for start in range(0, len(recipes), IMAGES):
            yield self._make_batch(recipes[start : start + IMAGES], profile)

    def _make_batch(self, batch: Sequence[CrowdRecipe], profile: Profile) -> list[Sample]:
        spec, library, side = self.spec, self.library, self.spec.image_size
        rows = slice((side - spec.crowd.height) // 2, (side + spec.crowd.height) // 2)  # of the canvas
        scenes = [crowd.scene for crowd in batch]
        with profile.stage("pose"):
            posed = self.labeller.pose(batch)
            stacks = posed.stacks
        with profile.stage("background"):
            behind, used = zip(*(self.background(scene) for scene in scenes), strict=True)
            ambient = ambient_colors(scenes, behind)
            skies = ambient_skies(scenes, behind, ambient, library.environments)
        image_of = np.repeat(np.arange(len(batch)), [len(stack) for stack in stacks]).tolist()
        views = self._views(posed, [ambient[image] for image in image_of], [skies[image] for image in image_of], profile)
        with profile.stage("render"):
            drawn = iter(self.renderer.render_many(views) if views else [])
            layers = [[next(drawn) for _ in stack] for stack in stacks]
        with profile.stage("composite"):
            images, masks = [], []
            for crowd, stack, own, image in zip(batch, stacks, layers, behind, strict=True):
                if not all(layer.encoded.any() for layer in own[: len(crowd.hands)]):
                    raise HandsynthError(f"sample {crowd.index}: the renderer ({self.driver}) returned an empty image of a hand")
                images.append(self._composed(crowd, stack, own, image)[rows])
                masks.append(_numbers(stack, own, len(crowd.hands), side)[rows])
        with profile.stage("annotate"):
            backgrounds = [
                library.backgrounds.label(number) | {"replaced": number != scene.background.index}
                for scene, number in zip(scenes, used, strict=True)
            ]
            labels = self.labeller.labels(posed, self.dataset, ambient, backgrounds, skies)
        empty = np.empty((0, library.hand.num_vertices, 3), np.float32)
        vertices = [np.array([s.vertices for s in stack[: len(crowd.hands)]]) for crowd, stack in zip(batch, stacks, strict=True)]
        return [
            Sample(labels[row], images[row], masks[row], vertices[row] if len(vertices[row]) else empty, {})
            for row in range(len(batch))
        ]

    def _views(
        self,
        posed: PosedCrowds,
        ambient: Sequence[np.ndarray],
        skies: Sequence[np.ndarray | None],
        profile: Profile,
    ) -> list[View]:
        """Every layer as a renderer takes it: hands and arms, and the things that nobody holds."""
        recipes, hands, worn = posed.recipes, posed.hands, posed.worn
        rows = [row for row, recipe in enumerate(recipes) if recipe.alpha]
        found: dict[int, View] = {}
        if rows:
            bodies, own = [recipes[row] for row in rows], taken(hands, np.array(rows))
            clothes, light = [worn[row] for row in rows], np.array([ambient[row] for row in rows])
            with profile.stage("texture"):
                seen = self.scenes.in_sight(bodies, own, clothes, self.spec.image_size)
                albedos = self.textures.albedos(np.array([recipe.alpha for recipe in bodies]))
                arm_albedos = self.scenes.arm_albedos(bodies, albedos, seen)
            with profile.stage("render"):
                views = self.scenes.views(bodies, own, albedos, arm_albedos, light, clothes, [skies[row] for row in rows], seen)
            found = dict(zip(rows, views, strict=True))
        for row, recipe in enumerate(recipes):
            if row not in found:
                found[row] = self._thing(recipe, worn[row], hands.K[row], ambient[row], skies[row])
        return [_coarse(found[row]) for row in range(len(recipes))]

    def _thing(
        self, recipe: Recipe, worn: tuple[WornMesh, ...], K: np.ndarray, ambient: np.ndarray, sky: np.ndarray | None
    ) -> View:
        """A thing alone."""
        spheres = self.scenes.nobodys_spheres
        return View(
            meshes=tuple(mesh.mesh() for mesh in worn),
            spheres=np.full((spheres, 3), _FAR_AWAY),
            sphere_radius=np.full(spheres, 1e-3),
            K=K,
            light_directions=np.array([light.direction_cam for light in recipe.lights]).reshape(-1, 3),
            light_colors=np.array([light.color for light in recipe.lights]).reshape(-1, 3),
            ambient=ambient,
            up=np.array(recipe.ambient.up_cam),
            is_left=False,
            sky=sky,
        )

    def _composed(self, crowd: CrowdRecipe, stack: Sequence[Layer], layers: Sequence[Layers], behind: np.ndarray) -> np.ndarray:
        """The image on its canvas."""
        stacked = []
        for k in painted(stack):
            recipe, keypoints = stack[k].recipe, stack[k].keypoints
            motion = image_motion(recipe.motion, keypoints, stack[k].K) if recipe.motion else None
            stacked.append(StackedLayer(layers[k], recipe.sensor.hand_defocus_px, motion))
        scene = crowd.scene
        K = np.diag([scene.camera.focal_px, scene.camera.focal_px, 1.0])
        shake = image_motion(scene.motion, np.zeros((21, 3)), K) if scene.motion else None
        return self.compositor.stack(stacked, behind, scene.sensor, shake)


def _numbers(stack: Sequence[Layer], layers: Sequence[Layers], hands: int, side: int) -> np.ndarray:
    """(side, side) uint8: 1 + the number of the hand that a pixel shows, 0 elsewhere."""
    found = np.zeros((side, side), np.uint8)
    for k in painted(stack):
        found[layers[k].encoded[..., 3] >= COVERED] = 0
        if k < hands:
            found[layers[k].mask] = k + 1
    return found


def _coarse(view: View) -> View:
    """A view whose textures are no finer than it can show; an arm's are never fine, and have colours that must not mix."""
    first = view.meshes[0]
    if not first.vertices[:, 2].min() > 0:
        return view
    left, top, right, bottom = projected_bounds(first.vertices.astype(np.float64), view.K).tolist()
    length = max(right - left, bottom - top)
    halvings = int(max(0, np.floor(np.log2(max(first.albedo.shape) / (TEXELS_PER_PIXEL * length)) + 1)))
    if not halvings:
        return view
    return replace(
        view, meshes=tuple(mesh if mesh.layout.material == "smooth skin" else _halved(mesh, halvings) for mesh in view.meshes)
    )


def _halved(mesh: Mesh, times: int) -> Mesh:
    height, width = (max(1, side >> times) for side in mesh.albedo.shape[:2])
    return replace(mesh, albedo=cv2.resize(mesh.albedo, (width, height), interpolation=cv2.INTER_AREA))


class AnySampler(Protocol):
    """RecipeSampler or CrowdSampler."""

    def sample(self, index: int) -> Any:
        """The recipe of sample `index`."""

    def sample_many(self, indices: Sequence[int]) -> Any:
        """The recipes of some samples."""


class AnyGenerator(Protocol):
    """Generator or CrowdGenerator; recipes are those of the sampler of the same spec."""

    spec: DatasetSpec
    library: Library
    dataset: str
    driver: str

    def make_samples(self, recipes: Any) -> Iterator[Sample]:
        """Yields the samples of some recipes, in order."""

    def make_batches(self, recipes: Any, profile: Profile = OFF) -> Iterator[list[Sample]]:
        """Yields the samples of some recipes, in order, some at a time."""


def open_sampler(spec: DatasetSpec, library: Library) -> AnySampler:
    """What decides the samples of a spec."""
    return CrowdSampler(spec, library) if spec.is_crowd else RecipeSampler(spec, library)


def open_generator(spec: DatasetSpec, library: Library, device: str = AUTO) -> AnyGenerator:
    """What makes the samples of a spec. Raises AssetError when OpenGL or an asset is missing."""
    return CrowdGenerator(spec, library, device) if spec.is_crowd else Generator(spec, library, device)
