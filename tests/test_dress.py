"""Dressed hands before the camera: drawn where their geometry is, hiding what is behind, each by its own recipe alone."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from rasteriser import rasterise
from test_forearms import draw_arm, smooth_skin
from test_render import dilated, iou

from handsynth.core.camera import resized
from handsynth.core.conventions import ARM_PART, CLOTHING_PART
from handsynth.core.hand import load_hand
from handsynth.core.locations import EMBEDDED
from handsynth.core.mirror import mirror_points
from handsynth.core.toy import toy_hand
from handsynth.generator import Generator
from handsynth.recipe.recipe import Recipe
from handsynth.recipe.wardrobe import (
    beside_sleeve,
    sample_bracelet,
    sample_glove,
    sample_rings,
    sample_sleeve,
    sample_varnish,
    sample_watch,
)
from handsynth.recipe.wear import Worn
from handsynth.render.gl import GlRenderer
from handsynth.render.layers import CLOTH, LACQUER, LEATHER, METAL, PLASTIC, Layers, View
from handsynth.scene.arm import Arm
from handsynth.scene.assemble import ALL, SceneStage
from handsynth.scene.layouts import worn_layout
from handsynth.scene.pose import CameraHands, PoseStage
from handsynth.scene.wear.contact import ArmContact
from handsynth.scene.wear.dress import WornMesh
from handsynth.scene.wear.finger_ring import PHALANX

SIZE = 256
EVERYTHING = ("depth", "parts", "normal", "uv", "amodal")


@dataclass(frozen=True, eq=False)
class Dressed:
    """24 recipes with forearms that wear everything by turns, placed before the camera and drawn."""

    recipes: list[Recipe]
    poses: PoseStage
    scenes: SceneStage
    hands: CameraHands
    worn: list[tuple[WornMesh, ...]]
    views: list[View]
    layers: list[Layers]

    @property
    def arm(self) -> Arm:
        assert self.poses.arm is not None
        return self.poses.arm


def dress(seed: int, length: float) -> Worn:
    """Two of three wear a sleeve, every other one a watch or a bracelet, and rings; every third varnish or a glove."""
    rng = np.random.default_rng(seed)
    sleeve = sample_sleeve(rng, length) if seed % 3 else None
    watch, bracelet = (sample_watch(rng), None) if seed % 2 else (None, sample_bracelet(rng))
    if sleeve is not None:
        watch, bracelet = watch and beside_sleeve(sleeve, watch), bracelet and beside_sleeve(sleeve, bracelet)
    varnish, glove = sample_varnish(rng) if seed % 3 == 1 else None, sample_glove(rng) if seed % 6 == 2 else None
    return Worn(sleeve, watch, bracelet, sample_rings(rng) if seed % 2 else (), varnish, glove)


def draw(scenes: SceneStage, recipes: list[Recipe], hands: CameraHands) -> tuple[list[tuple[WornMesh, ...]], list[View]]:
    worn = scenes.dress.worn(recipes, hands)
    albedos = np.full((len(recipes), 64, 64, 4), (200, 150, 130, 255), np.uint8)
    arms = scenes.arm_albedos(recipes, albedos)
    return worn, scenes.views(recipes, hands, albedos, arms, np.full((len(recipes), 3), 0.4), worn)


@pytest.fixture(scope="module", params=["toy", "embedded"])
def dressed(request, stage) -> Dressed:
    hand = toy_hand() if request.param == "toy" else load_hand(EMBEDDED / "hand.npz")
    rng = np.random.default_rng(3)
    poses = PoseStage(hand)
    assert poses.arm is not None
    recipes = [
        replace(r, arm=draw_arm(rng), worn=dress(k, poses.arm.length_m)) for k, r in enumerate(stage.recipes[:24])
    ]  # fmt: skip
    scenes, hands = SceneStage(poses, smooth_skin(hand)), poses.pose(recipes, SIZE)
    worn, views = draw(scenes, recipes, hands)
    return Dressed(recipes, poses, scenes, hands, worn, views, stage.generator.renderer.render_many(views, EVERYTHING))


def kinds(recipe: Recipe) -> int:
    """How many surfaces a recipe's clothing has."""
    worn = recipe.worn
    assert worn is not None
    return sum(thing is not None for thing in (worn.sleeve, worn.watch, worn.bracelet)) + len(worn.rings)


def test_everything_that_a_recipe_names_has_one_surface(dressed):
    """On the label grid, in the camera frame, near its hand; all of a kind share their faces."""
    for row, recipe in enumerate(dressed.recipes):
        assert len(dressed.worn[row]) == kinds(recipe)
        whole = np.concatenate([dressed.hands.vertices[row], dressed.hands.arms[row]])
        for thing in dressed.worn[row]:
            assert thing.vertices.dtype == thing.normals.dtype == np.float32
            np.testing.assert_allclose(np.round(thing.vertices * 1e6), thing.vertices * 1e6, atol=0.1)
            assert (thing.vertices.min(0) > whole.min(0) - 0.06).all()
            assert (thing.vertices.max(0) < whole.max(0) + 0.06).all()
    faces = {id(thing.faces) for things in dressed.worn for thing in things}
    assert len(faces) <= 5  # of bracelets with beads and without, two


def test_passes_show_what_is_worn(dressed):
    """Parts are CLOTHING_PART just where a worn surface, drawn slowly, is nearer than hand and forearm."""
    shown = 0
    for k in (1, 2, 3, 5, 10):
        size, view = 96, dressed.views[k]
        view = replace(view, K=resized(view.K, size / SIZE))
        found = GlRenderer(size).render(view, ("depth", "parts"))
        slow = [rasterise(mesh.layout, mesh.vertices, mesh.normals, view.K, size) for mesh in view.meshes]
        depth = np.stack([np.where(raster.depth > 0, raster.depth, np.inf) for raster in slow])
        nearer, nearest = depth.min(0), depth.argmin(0)
        assert ((found.depth > 0) != np.isfinite(nearer)).sum() <= 8
        both = (found.depth > 0) & np.isfinite(nearer)
        assert (np.abs(found.depth - nearer)[both] > 2e-5).mean() < 0.02
        parts = np.take_along_axis(np.stack([raster.parts for raster in slow]), nearest[None], 0)[0]
        assert (found.parts != parts)[both].mean() < 0.02
        shown += (found.parts == CLOTHING_PART).sum()
    assert shown > 500


def test_the_mask_is_the_hand_and_nothing_that_is_worn(dressed):
    for found in dressed.layers:
        np.testing.assert_array_equal((found.parts > 0) & (found.parts < ARM_PART), found.mask)
        np.testing.assert_array_equal(found.uv[..., 2] == 65535, found.mask)
        assert not (found.mask & ~found.amodal).any()


def test_amodal_is_not_changed_by_what_is_worn(dressed, stage):
    """The whole of the hand, as without clothes."""
    for view, found in zip(dressed.views[:12], dressed.layers, strict=False):
        bare = stage.generator.renderer.render(replace(view, meshes=(view.meshes[0], view.meshes[-1])), ("amodal",))
        np.testing.assert_array_equal(found.amodal, bare.amodal)


def test_a_stone_that_is_none_is_not_drawn(dressed, stage):
    """It hides in its band: with it the image shows nothing else."""
    fewer = 0
    for row, (recipe, view) in enumerate(zip(dressed.recipes, dressed.views, strict=True)):
        whole, kind = {}, dressed.scenes.dress._ring
        for ring in recipe.worn.rings:
            drawn, _ = kind.layout(ring, PHALANX[ring.finger][0])
            whole[drawn] = worn_layout(dressed.poses.model, kind.maker.layout, PHALANX[ring.finger][0], "finished")
            fewer += len(whole[drawn].triangles) > len(drawn.triangles)
            assert (len(whole[drawn].triangles) == len(drawn.triangles)) == (ring.stone_m > 0)
        meshes = tuple(replace(mesh, layout=whole.get(mesh.layout, mesh.layout)) for mesh in view.meshes)
        other = stage.generator.renderer.render(replace(view, meshes=meshes), ("parts",))
        np.testing.assert_array_equal(other.parts, dressed.layers[row].parts)
    assert fewer > 5


def test_no_light_comes_through_a_sleeve(dressed, stage):
    """With the forearm in a sleeve left out of the drawing, the silhouette is that of the whole forearm and its sleeve: no pixel
    within shows the background. Nothing of it is seen from outside either.
    """
    looked_at = 0
    for row, (recipe, view) in enumerate(zip(dressed.recipes, dressed.views, strict=True)):
        if recipe.worn.sleeve is None:
            continue
        found = dressed.layers[row]
        whole = replace(view.meshes[-1], layout=dressed.scenes._arm_layout(None, True, False)[0])
        other = stage.generator.renderer.render(replace(view, meshes=(*view.meshes[:-1], whole)), ("depth", "parts"))
        assert len(view.meshes[-1].layout.triangles) < len(whole.layout.triangles)
        assert ((other.depth > 0) != (found.depth > 0)).sum() <= 2, row
        assert (other.parts != found.parts).sum() <= 4, row
        # Nor is anything of the texture that is not painted.
        albedo = view.meshes[-1].albedo.copy()
        albedo[dressed.scenes._rows_shown(recipe, ALL) :] = 0
        dark = replace(view, meshes=(*view.meshes[:-1], replace(view.meshes[-1], albedo=albedo)))
        np.testing.assert_array_equal(stage.generator.renderer.render(dark).encoded, found.encoded)
        looked_at += 1
    assert looked_at >= 12


def test_what_lies_beyond_the_image_is_neither_drawn_nor_painted_and_no_pixel_shows_it(dressed, stage):
    """Arms and sleeves that leave the image, as hands come nearer and move to its borders: fewer triangles, the same image."""
    scenes, fewer, cut = dressed.scenes, 0, set()
    albedos = np.full((len(dressed.recipes), 64, 64, 4), (200, 150, 130, 255), np.uint8)
    for zoom, shift in ((1.0, (0, 0)), (2.0, (0, 0)), (1.0, (90, -60)), (0.5, (-50, 70))):
        K = dressed.hands.K.copy()
        K[:, [0, 1], [0, 1]] *= zoom
        K[:, :2, 2] += shift
        hands = replace(dressed.hands, K=K)
        seen = scenes.in_sight(dressed.recipes, hands, dressed.worn, SIZE)
        light = np.full((len(dressed.recipes), 3), 0.4)
        painted = scenes.arm_albedos(dressed.recipes, albedos.copy(), seen)
        whole = scenes.arm_albedos(dressed.recipes, albedos.copy())
        views = scenes.views(dressed.recipes, hands, albedos, painted, light, dressed.worn, None, seen)
        others = scenes.views(dressed.recipes, hands, albedos, whole, light, dressed.worn)
        for one, other, shown in zip(views, others, seen, strict=True):
            found, expected = (stage.generator.renderer.render(view, ("depth", "parts")) for view in (one, other))
            assert (found.mask != expected.mask).sum() <= 2
            assert ((found.depth > 0) != (expected.depth > 0)).sum() <= 2
            assert (found.parts != expected.parts).sum() <= 4
            away = np.abs(found.encoded.astype(int) - expected.encoded).max(-1)
            assert (away > 3).sum() <= 12
            fewer += sum(len(mesh.layout.triangles) for mesh in other.meshes) - sum(
                len(mesh.layout.triangles) for mesh in one.meshes
            )
            cut |= {("arm", shown.arm), ("sleeve", shown.sleeve)}
    assert fewer > 0
    assert len(cut) > 6


def test_agrees_with_pyrender_on_clothes(dressed, pyrender_renderer):
    """Mask, silhouette and depth of everything."""
    for view, found in zip(dressed.views[:12], dressed.layers, strict=False):
        other = pyrender_renderer.render(view, ("depth",))
        assert iou(found.mask, other.mask) > 0.99 or (found.mask != other.mask).sum() <= 5
        assert iou(found.depth > 0, other.depth > 0) > 0.99
        both = (found.depth > 0) & (other.depth > 0)
        assert np.median(np.abs(found.depth - other.depth)[both]) < 0.0005


def test_a_left_hand_wears_the_mirrored_things(dressed):
    """Vertices and normals are mirrored, to the last bit."""
    pair = []
    for side in ("right", "left"):
        recipes = [replace(r, side=side) for r in dressed.recipes[:12]]
        pair.append(dressed.scenes.dress.worn(recipes, dressed.poses.pose(recipes, SIZE)))
    for right, left in zip(*pair, strict=True):
        for a, b in zip(right, left, strict=True):
            np.testing.assert_allclose(mirror_points(a.vertices), b.vertices, atol=2e-6)
            np.testing.assert_allclose(mirror_points(a.normals), b.normals, atol=2e-3)


def test_a_sample_has_the_same_bytes_in_any_batch(dressed, stage):
    """Vertices, normals, albedos and images of each sample alone, and in another order, are those of the batch."""
    order = np.random.default_rng(0).permutation(len(dressed.recipes))[:9]
    for rows in ([int(k)] for k in order[:5]), [order.tolist()]:
        for batch in rows:
            recipes = [dressed.recipes[k] for k in batch]
            worn, views = draw(dressed.scenes, recipes, dressed.poses.pose(recipes, SIZE))
            for k, things, view in zip(batch, worn, views, strict=True):
                for again, first in zip(things, dressed.worn[k], strict=True):
                    assert again.layout is first.layout
                    np.testing.assert_array_equal(again.vertices, first.vertices)
                    np.testing.assert_array_equal(again.normals, first.normals)
                for again, first in zip(view.meshes, dressed.views[k].meshes, strict=True):
                    np.testing.assert_array_equal(again.albedo, first.albedo)
                np.testing.assert_array_equal(stage.generator.renderer.render(view).encoded, dressed.layers[k].encoded)


def test_a_renderer_keeps_few_layouts(dressed):
    """However many samples there are: one for each kind, finger, and number of rings of the forearm that a sleeve leaves."""
    layouts = {mesh.layout for view in dressed.views for mesh in view.meshes}
    again = draw(dressed.scenes, dressed.recipes, dressed.hands)[1]
    assert layouts == {mesh.layout for view in again for mesh in view.meshes}
    assert len(layouts) <= 4 + 8 + 2 * len(dressed.arm.places)


def test_metal_mirrors_lights_and_cloth_does_not(dressed, stage):
    """One sleeve in every finish before one lamp: the smoother, the more its brightest pixels stand out; with no lamp, none do."""
    view = next(v for r, v in zip(dressed.recipes, dressed.views, strict=True) if r.worn.sleeve is not None)
    sleeve = view.meshes[1]
    layout = replace(sleeve.layout, material="finished")
    peaks = []
    for finish in (CLOTH, LEATHER, PLASTIC, LACQUER, METAL):
        albedo = np.full((8, 8, 4), (90, 90, 90, finish), np.uint8)
        shown = replace(sleeve, layout=layout, albedo=albedo)
        lamp = replace(view, meshes=(shown,), light_directions=np.array([[0.0, 0.0, -1.0]]), light_colors=np.full((1, 3), 0.8))
        found = stage.generator.renderer.render(lamp)
        inside = ~dilated(~found.mask, 2)
        light = (found.encoded[..., 1][inside] / 255.0) ** 2
        peaks.append(np.percentile(light, 99) / np.median(light))
    assert peaks[0] < 1.6
    assert peaks[0] < peaks[1] < peaks[2] < peaks[3] < peaks[4]


def test_skin_is_darker_beside_what_is_worn(dressed):
    """Deep in a sleeve, at straps and rings; where nothing is worn, and at the rim, where the hand begins, it keeps its bytes."""
    plain = np.full((192, 96, 4), (200, 150, 130, 255), np.uint8)
    contact, length = ArmContact(dressed.arm), dressed.arm.length_m
    rng = np.random.default_rng(1)
    for paint, choice, first, last in (
        (contact.below_sleeve, replace(sample_sleeve(rng, length), cuff_m=0.02, ease_m=0.005), 0.02, 0.05),
        (contact.below_watch, replace(sample_watch(rng), place_m=0.035, width_m=0.02), 0.02, 0.05),
        (contact.below_bracelet, replace(sample_bracelet(rng), place_m=0.035, slack_m=0.0, tilt_rad=0.0), 0.03, 0.04),
    ):
        albedo = plain.copy()
        paint(albedo, choice)
        place = (np.arange(192) + 0.5) * (length + 0.052) / 192
        near = (place > first) & (place < last)
        assert albedo[near][..., :3].mean() < 0.85 * plain[..., :3].mean(), paint.__name__
        assert (albedo <= plain).all()
        assert (albedo[..., 3] == 255).all()
        np.testing.assert_array_equal(albedo[place > 0.2], plain[place > 0.2])
        assert np.abs(albedo[0].astype(int) - plain[0]).max() <= 4
        assert (albedo[near][..., 0] / 200 >= albedo[near][..., 1] / 150 - 0.02).all()  # what is left is redder


def test_layers_are_drawn_with_a_skin_that_knows_their_finish(dressed):
    """Hands with varnish or gloves, and no others."""
    for recipe, view in zip(dressed.recipes, dressed.views, strict=True):
        layered = recipe.worn.varnish is not None or recipe.worn.glove is not None
        assert (view.meshes[0].layout.material == "layered skin") == layered


def test_without_varnish_a_layered_skin_is_skin(dressed, stage):
    """Opaque texels are shaded as by the plain material, but for the last bit."""
    for view in dressed.views[:6]:
        pair = []
        for material in ("skin", "layered skin"):
            hand = view.meshes[0]
            albedo = hand.albedo.copy()
            albedo[..., 3] = 255
            mesh = replace(hand, layout=replace(hand.layout, material=material), albedo=albedo)
            pair.append(stage.generator.renderer.render(replace(view, meshes=(mesh,))).encoded.astype(int))
        assert np.abs(pair[0] - pair[1]).max() <= 1


def test_nothing_worn_leaves_a_batch_as_it_was(dressed, stage):
    """Undressed recipes beside dressed ones have the bytes that they have alone."""
    bare = [replace(r, worn=None) if k % 2 else r for k, r in enumerate(dressed.recipes[:8])]
    hands = dressed.poses.pose(bare, SIZE)
    mixed = draw(dressed.scenes, bare, hands)[1]
    for k in range(1, 8, 2):
        alone = draw(dressed.scenes, [bare[k]], dressed.poses.pose([bare[k]], SIZE))[1][0]
        render = stage.generator.renderer.render
        np.testing.assert_array_equal(render(mixed[k]).encoded, render(alone).encoded)
        assert len(mixed[k].meshes) == 2


def test_rings_and_varnish_need_no_forearm(dressed, stage):
    """A bare wrist with rings, varnish and a glove: drawn, its cap included."""
    rng = np.random.default_rng(2)
    worn = Worn(rings=sample_rings(rng), varnish=sample_varnish(rng), glove=sample_glove(rng))
    recipe = replace(dressed.recipes[0], arm=None, worn=worn)
    things, (view,) = draw(dressed.scenes, [recipe], dressed.poses.pose([recipe], SIZE))
    assert len(view.meshes) == 1 + len(things[0]) == 1 + len(worn.rings)
    found = stage.generator.renderer.render(view, EVERYTHING)
    assert found.mask.sum() > 1000


def test_generated_samples_wear_what_their_recipes_say(stage):
    """Through the whole generator: the same bytes one by one and together; undressed, another image and the same vertices."""
    length = stage.generator.poses.arm.length_m
    rng = np.random.default_rng(5)
    recipes = [replace(r, arm=draw_arm(rng), worn=dress(k, length)) for k, r in enumerate(stage.recipes[:7])]
    generator: Generator = stage.generator
    together = list(generator.make_samples(recipes))
    undressed = list(generator.make_samples([replace(r, worn=None) for r in recipes]))
    for recipe, first, bare in zip(recipes, together, undressed, strict=True):
        (alone,) = generator.make_samples([recipe])
        np.testing.assert_array_equal(first.image, alone.image)
        np.testing.assert_array_equal(first.mask, alone.mask)
        assert first.labels == alone.labels
        np.testing.assert_array_equal(first.vertices, bare.vertices)
        assert (first.image != bare.image).any()
        for name, layer in first.passes.items():
            np.testing.assert_array_equal(layer, alone.passes[name])
