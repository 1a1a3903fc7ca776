"""What stands before the camera: a batch of posed hands, their forearms, skins and clothes -> the views that a renderer draws."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from handsynth.assets.objects.shapes import SHAPE_OF_NAME, Shape
from handsynth.assets.skins.skin import SkinModel
from handsynth.recipe.recipe import Recipe
from handsynth.recipe.wear import SleeveChoice
from handsynth.render.layers import Layout, Mesh, View
from handsynth.scene.arm import POLE_M, Arm
from handsynth.scene.arm_skin import ALONG, SHIRT_COLOURS, ArmSkin, ArmTexture
from handsynth.scene.company import SHADING, Company, Layouts, nearest_spheres
from handsynth.scene.held.things import Things
from handsynth.scene.layouts import arm_layout, hand_layout
from handsynth.scene.pose import CameraHands, PoseStage, sleeve_thickness
from handsynth.scene.sight import rings_in_sight
from handsynth.scene.spheres import ARM_SPHERES, arm_spheres, make_spheres, sphere_centres
from handsynth.scene.upper_arm import upper_rings
from handsynth.scene.wear.dress import Dress, WornMesh

DRAWN_RINGS = (4, 8, 12, 14, 16)
"""Forearms that leave the image are drawn up to one of so many rings, so that there are few layouts."""


@dataclass(frozen=True)
class InSight:
    """What the image can show of an arm and its sleeve: rings from the hand on; None for all of it."""

    arm: int | None = None
    sleeve: int | None = None


ALL = InSight()


def widest(every: Sequence[InSight]) -> InSight:
    """What is in sight of any of them."""

    def most(counts: list[int | None]) -> int | None:
        return None if None in counts else max(count for count in counts if count is not None)

    return InSight(most([one.arm for one in every]), most([one.sleeve for one in every]))


def shirt_colour(recipe: Recipe) -> tuple[int, int, int]:
    """Of what an upper arm is in: the sleeve that the forearm is in, or a short one."""
    if recipe.worn is not None and recipe.worn.sleeve is not None:
        return recipe.worn.sleeve.colour
    return SHIRT_COLOURS[recipe.arm.shirt if recipe.arm else 0]


class SceneStage:
    """Keeps the layouts of one hand model in one skin, and of its forearm."""

    def __init__(self, poses: PoseStage, skin: SkinModel, shapes: Mapping[str, Shape] = SHAPE_OF_NAME) -> None:
        """`skin` as hands are drawn with it: of the size of their albedos; `shapes` of things, by name."""
        self._hand, self._arm, self._skin = poses.model, poses.arm, skin
        self._spheres = make_spheres(self._hand)
        self.things = Things(self._hand, shapes)
        self.dress = Dress(self._hand, self._arm, skin)
        self._layouts: dict[tuple[str | int | None, ...], Layout] = {}
        self._shared: Layouts | None = None
        self._arm_texture: ArmTexture | None = None  # patterns take a third of a second, which bare hands need not wait for

    def in_sight(
        self, recipes: Sequence[Recipe], hands: CameraHands, worn: Sequence[tuple[WornMesh, ...]], image_size: int
    ) -> list[InSight]:
        """What images of a side [px] can show of the arms of B posed hands, and of their sleeves."""
        found = [ALL] * len(hands.arms)
        rows = [row for row, vertices in enumerate(hands.arms) if vertices is not None]
        if not rows:
            return found
        arm, K = self._required_arm(), hands.K[rows]
        vertices = np.array([hands.arms[row] for row in rows])
        rim, pole = len(arm.rim), arm.num_vertices - 1
        first = vertices[:, None, np.arange(len(arm.angle)) % rim]
        tube = np.concatenate([first, vertices[:, rim:pole].reshape(len(rows), len(arm.places), -1, 3)], 1)
        rings = rings_in_sight(tube, K, image_size) - 1  # the rim is none of them
        upper = rings_in_sight(upper_rings(vertices[:, pole + 1 :]), K, image_size)
        for row, count, beyond in zip(rows, rings.tolist(), upper.tolist(), strict=True):
            if not beyond and count <= DRAWN_RINGS[-1]:
                found[row] = InSight(next(drawn for drawn in DRAWN_RINGS if drawn >= count))
        sleeved = [row for row in rows if recipes[row].worn and recipes[row].worn.sleeve]  # type: ignore[union-attr]
        sleeves = self.dress.sleeves_in_sight([worn[row][0] for row in sleeved], hands.K[sleeved], image_size)
        for row, count in zip(sleeved, sleeves, strict=True):
            found[row] = replace(found[row], sleeve=count)
        return found

    def arm_albedos(
        self, recipes: Sequence[Recipe], albedos: np.ndarray, seen: Sequence[InSight] | None = None
    ) -> list[np.ndarray | None]:
        """(B, A, A, 4) albedos of hands -> those of their forearms, None for bare wrists. Layers that are worn are laid upon
        both, on the hands' in place. `seen`: of `in_sight`; what is not is not painted.
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
            shown = [self._rows_shown(recipes[row], ALL if seen is None else seen[row]) for row in rows]
            for row, image in zip(rows, self._arm_texture.albedos(albedos, rows, skins, shown), strict=True):
                found[row] = image
        self.dress.paint(recipes, albedos, found)
        return found

    def _rings_drawn(self, sleeve: SleeveChoice | None, seen: InSight) -> int | None:
        """How many rings of a forearm are drawn: those that lie neither beyond the image nor in a sleeve; None for all."""
        counts = [seen.arm, None if sleeve is None else self.dress.rings_shown(sleeve)]
        return min((count for count in counts if count is not None), default=None)

    def _rows_shown(self, recipe: Recipe, seen: InSight) -> int:
        """How many rows of its forearm's texture are seen of what is drawn."""
        rings = self._rings_drawn(recipe.worn.sleeve if recipe.worn else None, seen)
        if rings is None:
            return ALONG
        arm = self._required_arm()
        end = arm.places[rings - 1]
        return int(np.ceil(end / (arm.length_m + POLE_M) * ALONG)) + 2

    def views(
        self,
        recipes: Sequence[Recipe],
        hands: CameraHands,
        albedos: Sequence[np.ndarray] | np.ndarray,
        arm_albedos: Sequence[np.ndarray | None],
        ambient: np.ndarray,
        worn: Sequence[tuple[WornMesh, ...]] = (),
        skies: Sequence[np.ndarray | None] | None = None,
        seen: Sequence[InSight] | None = None,
        company: Company | None = None,
    ) -> list[View]:
        """The batch as a renderer takes it: hands, what they wear, and where there is one their forearms.

        Args:
            recipes: B.
            hands: the same, posed; with `company` its R hands.
            albedos: (R, A, A, 4) of the hands.
            arm_albedos: of `arm_albedos`.
            ambient: (B, 3) ambient light, linear RGB.
            worn: of the dress; without it nothing is.
            skies: of scene.sky; None for plain ambient light.
            seen: of `in_sight`; without it arms and sleeves are drawn whole.
            company: which hands share an image; without it none do.
        """
        people = recipes if company is None else company.recipes
        centres = sphere_centres(self._spheres, hands.joints, hands.vertices[:, self._hand.fingertips])
        arms = self._arm_spheres(hands)
        drawn = []
        for row, recipe in enumerate(people):
            shown = ALL if seen is None else seen[row]
            meshes = self._meshes(row, recipe, hands, albedos[row], arm_albedos[row], worn[row] if worn else (), shown)
            spheres, radius = centres[row], self._spheres.radius
            if row in arms:
                thicker = sleeve_thickness(recipe) if worn else 0.0
                spheres, radius = np.concatenate([spheres, arms[row][0]]), np.concatenate([radius, arms[row][1] + thicker])
            drawn.append((meshes, spheres, radius))
        views = []
        for image, recipe in enumerate(recipes):
            meshes, spheres, radius = drawn[image]
            if company is not None and len(company.rows[image]) > 1:
                meshes = self._together(company.rows[image], drawn, hands.is_left)
            view = View(
                meshes=meshes,
                spheres=spheres,
                sphere_radius=radius,
                K=hands.K[image],
                light_directions=np.array([light.direction_cam for light in recipe.lights]).reshape(-1, 3),
                light_colors=np.array([light.color for light in recipe.lights]).reshape(-1, 3),
                ambient=ambient[image],
                up=np.array(recipe.ambient.up_cam),
                is_left=bool(hands.is_left[image]),
                sky=None if skies is None else skies[image],
            )
            views.append(view)
        return views

    def _meshes(
        self,
        row: int,
        recipe: Recipe,
        hands: CameraHands,
        albedo: np.ndarray,
        arm_albedo: np.ndarray | None,
        things: tuple[WornMesh, ...],
        shown: InSight,
    ) -> tuple[Mesh, ...]:
        """One hand, what it wears and holds, and its forearm."""
        vertices, normals = hands.arms[row], hands.arm_normals[row]
        gloved = recipe.worn is not None and recipe.worn.glove is not None
        layered = gloved or (recipe.worn is not None and recipe.worn.varnish is not None)
        clothes = [thing.mesh() for thing in things[shown.sleeve is not None :]]
        if shown.sleeve is not None:  # it is the first
            clothes.insert(0, self.dress.sleeve_mesh(things[0], shown.sleeve))
        with_arm = vertices is not None and normals is not None and arm_albedo is not None
        hand = Mesh(self._hand_layout(with_arm, layered), hands.vertices[row], hands.normals[row], albedo)
        if vertices is None or normals is None or arm_albedo is None:
            return hand, *clothes
        sleeve = recipe.worn.sleeve if clothes and recipe.worn is not None else None
        layout, end = self._arm_layout(self._rings_drawn(sleeve, shown), shown.arm is None, gloved)  # nails are the hand's
        return hand, *clothes, Mesh(layout, vertices[:end], normals[:end], arm_albedo)

    def _together(
        self, rows: Sequence[int], drawn: Sequence[tuple[tuple[Mesh, ...], np.ndarray, np.ndarray]], is_left: np.ndarray
    ) -> tuple[Mesh, ...]:
        """Meshes of the hands of one image, the labelled one's first; each hand is shaded by its own flesh and that near it."""
        if self._shared is None:
            self._shared = Layouts(len(self._spheres.radius) + len(ARM_SPHERES))
        found: list[Mesh] = []
        centres, radii = [drawn[row][1] for row in rows], [drawn[row][2] for row in rows]
        for place, row in enumerate(rows):
            spheres = np.zeros((self._shared.own_spheres + SHADING, 4), np.float32)
            spheres[: len(centres[place]), :3], spheres[: len(centres[place]), 3] = centres[place], radii[place]
            spheres[-SHADING:, :3], spheres[-SHADING:, 3] = nearest_spheres(centres, radii, place)
            turned = bool(is_left[row] != is_left[rows[0]])
            found += [replace(m, layout=self._shared.of(m.layout, place, turned), spheres=spheres) for m in drawn[row][0]]
        return tuple(found)

    @property
    def nobodys_spheres(self) -> int:
        """How many shading spheres a hand has that is not there, before what it would hold."""
        return len(self._spheres.radius)

    @property
    def bare(self) -> Layout:
        """Of a hand without a forearm."""
        return self._hand_layout(False, False)

    def _hand_layout(self, with_arm: bool, layered: bool) -> Layout:
        """Of a hand. `layered`: something is worn that is painted on the skin."""
        skin = self._skin
        return self._layout(("hand", with_arm, layered), lambda: hand_layout(self._hand, skin.uv, skin.uv_faces, with_arm))

    def _arm_layout(self, rings: int | None, with_upper: bool, layered: bool) -> tuple[Layout, int | None]:
        """Of a forearm's first `rings` and maybe the upper arm; and how many vertices it uses. None for all."""
        hand, arm = self._hand, self._required_arm()
        key = ("arm", rings, with_upper, layered)
        end = None if with_upper or rings is None else len(arm.rim) + rings * len(arm.angle)
        return self._layout(key, lambda: arm_layout(hand, arm, rings, with_upper)), end

    def _layout(self, key: tuple[str | int | None, ...], make: Callable[[], Layout]) -> Layout:
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
