"""What stands before the camera: a batch of posed hands, their forearms and skins -> the views that a renderer draws."""

from collections.abc import Sequence

import numpy as np

from handsynth.assets.skins.skin import SkinModel
from handsynth.recipe.recipe import Recipe
from handsynth.render.layers import Mesh, View
from handsynth.scene.arm import Arm
from handsynth.scene.arm_skin import ArmSkin, ArmTexture
from handsynth.scene.layouts import arm_layout, hand_layout
from handsynth.scene.pose import CameraHands, PoseStage
from handsynth.scene.spheres import arm_spheres, make_spheres, sphere_centres


class SceneStage:
    """Keeps the layouts of one hand model in one skin, and of its forearm."""

    def __init__(self, poses: PoseStage, skin: SkinModel) -> None:
        """`skin` as hands are drawn with it: of the size of their albedos."""
        self._hand, self._arm, self._skin = poses.model, poses.arm, skin
        self._spheres = make_spheres(self._hand)
        self.bare = hand_layout(self._hand, skin.uv, skin.uv_faces)
        if self._arm is not None:
            self.open = hand_layout(self._hand, skin.uv, skin.uv_faces, with_arm=True)
            self.arm = arm_layout(self._hand, self._arm)
        self._arm_texture: ArmTexture | None = None  # patterns take a third of a second, which bare hands need not wait for

    def arm_albedos(self, recipes: Sequence[Recipe], albedos: np.ndarray) -> list[np.ndarray | None]:
        """(B, A, A, 4) albedos of hands -> those of their forearms, None for bare wrists."""
        found: list[np.ndarray | None] = [None] * len(recipes)
        choices = {row: recipe.arm for row, recipe in enumerate(recipes) if recipe.arm is not None}
        if choices:
            skins = [ArmSkin(arm.variant, arm.mottling, arm.veins, arm.hair, arm.tan) for arm in choices.values()]
            if self._arm_texture is None:
                skin = self._skin
                self._arm_texture = ArmTexture(self._required_arm(), self._hand.faces, skin.uv, skin.uv_faces, skin.size)
            rows = list(choices)
            for row, image in zip(rows, self._arm_texture.albedos(albedos, rows, skins), strict=True):
                found[row] = image
        return found

    def views(
        self,
        recipes: Sequence[Recipe],
        hands: CameraHands,
        albedos: np.ndarray,
        arm_albedos: Sequence[np.ndarray | None],
        ambient: np.ndarray,
    ) -> list[View]:
        """The batch as a renderer takes it: a hand, and where there is one its forearm.

        Args:
            recipes: B.
            hands: the same, posed.
            albedos: (B, A, A, 4) of the hands.
            arm_albedos: of `arm_albedos`.
            ambient: (B, 3) ambient light, linear RGB.
        """
        centres = sphere_centres(self._spheres, hands.joints, hands.vertices[:, self._hand.fingertips])
        arms = self._arm_spheres(hands)
        views = []
        for row, recipe in enumerate(recipes):
            vertices, normals, image = hands.arms[row], hands.arm_normals[row], arm_albedos[row]
            spheres, radius = centres[row], self._spheres.radius
            if vertices is None or normals is None or image is None:
                meshes: tuple[Mesh, ...] = (Mesh(self.bare, hands.vertices[row], hands.normals[row], albedos[row]),)
            else:
                hand = Mesh(self.open, hands.vertices[row], hands.normals[row], albedos[row])
                meshes = hand, Mesh(self.arm, vertices, normals, image)
                spheres, radius = np.concatenate([spheres, arms[row][0]]), np.concatenate([radius, arms[row][1]])
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
            )
            views.append(view)
        return views

    def _arm_spheres(self, hands: CameraHands) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Row -> centres and radii of the shading spheres of its forearm."""
        found = {row: arm for row, arm in enumerate(hands.arms) if arm is not None}
        if not found:
            return {}
        return dict(zip(found, zip(*arm_spheres(self._required_arm(), np.array(list(found.values()))), strict=True), strict=True))

    def _required_arm(self) -> Arm:
        assert self._arm is not None  # the pose stage refuses recipes with one
        return self._arm
