"""Recipes of crowds: images of any number of hands of different people, each a recipe of its own before the image's one camera."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from handsynth.core.errors import HandsynthError
from handsynth.recipe.held import ObjectChoice
from handsynth.recipe.recipe import (
    Ambient,
    BackgroundChoice,
    CameraChoice,
    EnvironmentChoice,
    Light,
    MotionChoice,
    PoseChoice,
    Recipe,
    SensorChoice,
    recipe_from_dict,
)
from handsynth.recipe.spec import MAX_HANDS, DatasetSpec

MAX_ARMS, MAX_THINGS = 2, 3
"""Of these beside the hands, at most."""

SHARED = ("index", "lights", "ambient", "background", "sensor", "environment")
"""Fields of a Recipe that all of an image share; recipes of hands are stored without them."""


@dataclass(frozen=True)
class Thing:
    """A thing that nobody holds, in front of the background."""

    held: ObjectChoice  # in a world of its own
    camera: CameraChoice
    defocus_px: float = 0.0


@dataclass(frozen=True)
class CrowdRecipe:
    """One image, decided. Everything stands before one camera: all focal lengths and principal points are equal.

    The image is the middle of a square canvas as wide as it is, so that its principal point is the canvas's.
    """

    scene: Recipe  # what all share: light, background, sensor, camera's shake; its own hand is nobody's, and is not shown
    hands: tuple[Recipe, ...]  # that are labelled; the index, light and background of each are those of the scene
    arms: tuple[Recipe, ...] = ()  # of hands that are outside the image
    things: tuple[Thing, ...] = ()

    @property
    def index(self) -> int:
        """Number of the sample in its spec."""
        return self.scene.index

    @property
    def layers(self) -> tuple[Recipe, ...]:
        """What is drawn: hands, then arms whose hand is outside, then things, each as the recipe of a hand."""
        things = (
            replace(self.scene, camera=t.camera, held=t.held, sensor=replace(self.scene.sensor, hand_defocus_px=t.defocus_px))
            for t in self.things
        )
        return (*self.hands, *self.arms, *things)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `crowd_recipe_from_dict` is the inverse. What a recipe does not have is left out."""
        scene = self.scene.to_dict()
        values = {name: scene[name] for name in SHARED if name in scene} | {"focal_px": self.scene.camera.focal_px}
        values |= {"shake": scene["motion"]} if self.scene.motion else {}
        values |= {name: [_own(hand) for hand in found] for name in ("hands", "arms") if (found := getattr(self, name))}
        things = [vars(t) | {"held": vars(t.held), "camera": vars(t.camera)} for t in self.things]
        return values | ({"things": things} if things else {})


def _own(hand: Recipe) -> dict[str, Any]:
    """What the recipe of one hand has that is not the image's."""
    values = {key: value for key, value in hand.to_dict().items() if key not in SHARED}
    return values | {"defocus_px": hand.sensor.hand_defocus_px}


def nobody(
    index: int,
    shapes: int,
    camera: CameraChoice,
    lights: tuple[Light, ...],
    ambient: Ambient,
    background: BackgroundChoice,
    sensor: SensorChoice,
    environment: EnvironmentChoice | None = None,
    motion: MotionChoice | None = None,
) -> Recipe:
    """A scene: the recipe of a hand of `shapes` shape coefficients that is not shown."""
    zeros, pose = (0.0,) * 48, PoseChoice(0, 0, {})
    hand = (index, "right", zeros, (0.0,) * shapes, (0.0, 0.0, 0.0), (), pose)
    return Recipe(*hand, camera, lights, ambient, background, sensor, environment=environment, motion=motion)


def scene_camera(focal_px: float, side: int) -> CameraChoice:
    """The image's camera on a canvas of a side [px], at its place in the world of a scene."""
    return CameraChoice(0.0, 0.0, 0.0, 1.0, (0.0, 0.0, 0.0), focal_px, (side / 2, side / 2))


def crowd_recipe_from_dict(values: Any, where: str, num_shapes: int, side: int) -> CrowdRecipe:
    """Plain values -> CrowdRecipe of hands of `num_shapes` shape coefficients on a canvas of a side [px], every key and type
    checked. Raises HandsynthError.
    """
    if not isinstance(values, dict):
        raise HandsynthError(f"{where}: the recipe must be a mapping of keys to values, found {values!r:.60}")
    known = {*SHARED, "focal_px", "shake", "hands", "arms", "things"}
    if unknown := sorted(set(values) - known, key=str):
        raise HandsynthError(f"{where}: unknown key {unknown[0]!r:.60} of the recipe; known here: {', '.join(sorted(known))}")
    lists = {}
    for name, most in (("hands", MAX_HANDS), ("arms", MAX_ARMS), ("things", MAX_THINGS)):
        found = values.get(name, [])
        if not isinstance(found, list) or len(found) > most or not all(isinstance(value, dict) for value in found):
            raise HandsynthError(f"{where}: {name} of the recipe must be a list of {most} at most, found {found!r:.60}")
        lists[name] = found
    shared = {key: value for key, value in values.items() if key in SHARED}
    template = {
        "side": "right", "theta": [0.0] * 48, "beta": [0.0] * num_shapes, "trans": [0.0] * 3, "alpha": [],
        "pose": vars(PoseChoice(0, 0, {})),
        "camera": vars(scene_camera(values.get("focal_px", 0), side)),
    }  # fmt: skip
    shake = {"motion": values["shake"]} if "shake" in values else {}
    scene = recipe_from_dict(template | shared | shake, where, num_shapes)

    def built(own: Mapping[str, Any], name: str) -> Recipe:
        both = sorted(set(own) & {*SHARED})
        if both:
            raise HandsynthError(f"{where}: {both[0]} is the image's, and {name} of the recipe has it too")
        defocus = {"hand_defocus_px": own.get("defocus_px", 0.0)}
        whole = {key: value for key, value in own.items() if key != "defocus_px"} | shared | {"sensor": shared["sensor"] | defocus}
        recipe = recipe_from_dict(whole, f"{where}, {name}", num_shapes)
        if (recipe.camera.focal_px, recipe.camera.principal_xy) != (scene.camera.focal_px, scene.camera.principal_xy):
            raise HandsynthError(f"{where}: {name} of the recipe has another camera than the image")
        return recipe

    hands, arms = (tuple(built(own, f"{name[:-1]} {k}") for k, own in enumerate(lists[name])) for name in ("hands", "arms"))
    things = []
    for k, own in enumerate(lists["things"]):
        if set(own) != {f.name for f in fields(Thing)}:
            raise HandsynthError(f"{where}: thing {k} of the recipe has the keys {', '.join(map(str, own)):.80}")
        recipe = built(template | {key: own[key] for key in own}, f"thing {k}")
        assert recipe.held is not None  # null is no mapping
        things.append(Thing(recipe.held, recipe.camera, recipe.sensor.hand_defocus_px))
    return CrowdRecipe(scene, hands, arms, tuple(things))


def any_recipe_from_dict(values: Any, where: str, num_shapes: int, spec: DatasetSpec) -> Recipe | CrowdRecipe:
    """Of a sample of a dataset that the spec describes."""
    if spec.is_crowd:
        return crowd_recipe_from_dict(values, where, num_shapes, spec.image_size)
    return recipe_from_dict(values, where, num_shapes)
