"""What stands before the camera: a batch of posed hands, their forearms, skins and clothes -> the views that a renderer draws."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from handsynth.assets.skins.skin import SkinModel
from handsynth.recipe.recipe import Recipe
from handsynth.render.layers import Layout, Mesh, View
from handsynth.scene.arm import POLE_M, Arm
from handsynth.scene.arm_skin import ALONG, SHIRT_COLOURS, ArmSkin, ArmTexture
from handsynth.scene.layouts import arm_layout, hand_layout
from handsynth.scene.pose import CameraHands, PoseStage
from handsynth.scene.spheres import arm_spheres, make_spheres, sphere_centres
from handsynth.scene.wear.dress import Dress, WornMesh


def shirt_colour(recipe: Recipe) -> tuple[int, int, int]:
    """Of what an upper arm is in: the sleeve that the forearm is in, or a short one."""
    if recipe.worn is not None and recipe.worn.sleeve is not None:
        return recipe.worn.sleeve.colour
    return SHIRT_COLOURS[recipe.arm.shirt if recipe.arm else 0]


class SceneStage:
    """Keeps the layouts of one hand model in one skin, and of its forearm."""

    def __init__(self, poses: PoseStage, skin: SkinModel) -> None:
        """`skin` as hands are drawn with it: of the size of their albedos."""
        self._hand, self._arm, self._skin = poses.model, poses.arm, skin
        self._spheres = make_spheres(self._hand)
        self.dress = Dress(self._hand, self._arm, skin)
        self._layouts: dict[tuple[str, int | None, bool], Layout] = {}
        self._arm_texture: ArmTexture | None = None  # patterns take a third of a second, which bare hands need not wait for

    def arm_albedos(self, recipes: Sequence[Recipe], albedos: np.ndarray) -> list[np.ndarray | None]:
        """(B, A, A, 4) albedos of hands -> those of their forearms, None for bare wrists. Layers that are worn are laid upon
        both, on the hands' in place.
        """
        found: list[np.ndarray | None] = [None] * len(recipes)
        choices = {row: recipe.arm for row, recipe in enumerate(recipes) if recipe.arm is not None}
        if choices:
            skins = [
                ArmSkin(arm.variant, arm.mottling, arm.veins, arm.hair, arm.tan, shirt_colour(recipes[row]))
                for row, arm in choices.items()
            ]
            if self._arm_texture is None:
                skin = self._skin
                self._arm_texture = ArmTexture(self._required_arm(), self._hand.faces, skin.uv, skin.uv_faces, skin.size)
            rows = list(choices)
            shown = [self._rows_shown(recipes[row]) for row in rows]
            for row, image in zip(rows, self._arm_texture.albedos(albedos, rows, skins, shown), strict=True):
                found[row] = image
        self.dress.paint(recipes, albedos, found)
        return found

    def _rows_shown(self, recipe: Recipe) -> int:
        """How many rows of its forearm's texture a sleeve leaves to be seen."""
        if recipe.worn is None or recipe.worn.sleeve is None:
            return ALONG
        arm = self._required_arm()
        end = arm.places[self.dress.rings_shown(recipe.worn.sleeve) - 1]
        return int(np.ceil(end / (arm.length_m + POLE_M) * ALONG)) + 2

    def views(
        self,
        recipes: Sequence[Recipe],
        hands: CameraHands,
        albedos: np.ndarray,
        arm_albedos: Sequence[np.ndarray | None],
        ambient: np.ndarray,
        worn: Sequence[tuple[WornMesh, ...]] = (),
        skies: Sequence[np.ndarray | None] | None = None,
    ) -> list[View]:
        """The batch as a renderer takes it: a hand, what it wears, and where there is one its forearm.

        Args:
            recipes: B.
            hands: the same, posed.
            albedos: (B, A, A, 4) of the hands.
            arm_albedos: of `arm_albedos`.
            ambient: (B, 3) ambient light, linear RGB.
            worn: of the dress; without it nothing is.
            skies: of scene.sky; None for plain ambient light.
        """
        centres = sphere_centres(self._spheres, hands.joints, hands.vertices[:, self._hand.fingertips])
        arms = self._arm_spheres(hands)
        views = []
        for row, recipe in enumerate(recipes):
            vertices, normals, image = hands.arms[row], hands.arm_normals[row], arm_albedos[row]
            spheres, radius = centres[row], self._spheres.radius
            layered = recipe.worn is not None and (recipe.worn.varnish is not None or recipe.worn.glove is not None)
            clothes = [thing.mesh() for thing in worn[row]] if worn else []
            if vertices is None or normals is None or image is None:
                hand = Mesh(self._hand_layout(False, layered), hands.vertices[row], hands.normals[row], albedos[row])
                meshes = hand, *clothes
            else:
                hand = Mesh(self._hand_layout(True, layered), hands.vertices[row], hands.normals[row], albedos[row])
                sleeve = recipe.worn.sleeve if clothes and recipe.worn is not None else None
                rings = None if sleeve is None else self.dress.rings_shown(sleeve)
                meshes = hand, *clothes, Mesh(self._arm_layout(rings, layered), vertices, normals, image)
                thicker = 0.0 if sleeve is None else sleeve.ease_m + 0.5 * sleeve.fold_m
                spheres, radius = np.concatenate([spheres, arms[row][0]]), np.concatenate([radius, arms[row][1] + thicker])
            view = View(
                meshes=meshes,
                spheres=spheres,
                sphere_radius=radius,
                K=hands.K[row],
                light_directions=np.array([light.direction_cam for light in recipe.lights]).reshape(-1, 3),
                light_colors=np.array([light.color for light in recipe.lights]).reshape(-1, 3),
                ambient=ambient[row],
                up=np.array(recipe.ambient.up_cam),
                is_left=bool(hands.is_left[row]),
                sky=None if skies is None else skies[row],
            )
            views.append(view)
        return views

    @property
    def bare(self) -> Layout:
        """Of a hand without a forearm."""
        return self._hand_layout(False, False)

    def _hand_layout(self, with_arm: bool, layered: bool) -> Layout:
        """Of a hand. `layered`: something is worn that is painted on the skin."""
        skin = self._skin
        return self._layout(("hand", with_arm, layered), lambda: hand_layout(self._hand, skin.uv, skin.uv_faces, with_arm))

    def _arm_layout(self, rings: int | None, layered: bool) -> Layout:
        """Of a forearm's first `rings`, None for all."""
        return self._layout(("arm", rings, layered), lambda: arm_layout(self._hand, self._required_arm(), rings))

    def _layout(self, key: tuple[str, int | None, bool], make: Callable[[], Layout]) -> Layout:
        """A layout that is made once: renderers know it by identity."""
        found = self._layouts.get(key)
        if found is None:
            found = make()
            found = self._layouts[key] = replace(found, material="layered skin") if key[-1] else found
        return found

    def _arm_spheres(self, hands: CameraHands) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Row -> centres and radii of the shading spheres of its forearm."""
        found = {row: arm for row, arm in enumerate(hands.arms) if arm is not None}
        if not found:
            return {}
        return dict(zip(found, zip(*arm_spheres(self._required_arm(), np.array(list(found.values()))), strict=True), strict=True))

    def _required_arm(self) -> Arm:
        assert self._arm is not None  # the pose stage refuses recipes with one
        return self._arm
