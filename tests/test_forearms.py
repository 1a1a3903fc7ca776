"""Hands with forearms before the camera: masks, depth, seams, sides; on the embedded hand and the toy hand."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from rasteriser import rasterise
from test_render import NAMES, dilated, flipped, iou, moved_by

from handsynth.assets.skins.skin import SkinModel
from handsynth.core.camera import project, resized
from handsynth.core.conventions import ARM_PART
from handsynth.core.errors import UsageError
from handsynth.core.hand import HandModel, load_hand, pose_hand
from handsynth.core.locations import EMBEDDED
from handsynth.core.mesh import vertex_normals
from handsynth.core.mirror import mirror_points
from handsynth.core.rotation import rotvec_to_rotmat
from handsynth.core.toy import toy_hand
from handsynth.recipe.recipe import ARM_VARIANTS, ArmChoice, Recipe
from handsynth.recipe.samplers import camera_matrices
from handsynth.render.gl import GlRenderer
from handsynth.render.layers import Layers, View
from handsynth.scene.arm import ArmShape, pose_arms
from handsynth.scene.assemble import SceneStage
from handsynth.scene.pose import CameraHands, PoseStage
from handsynth.scene.spheres import arm_spheres
from handsynth.scene.upper_arm import whole_faces

SIZE = 256
ARM_IOU, ARM_DEPTH_M = 0.995, 0.0005
EVERYTHING = (*NAMES, "amodal")


@dataclass(frozen=True, eq=False)
class Armed:
    """24 recipes with forearms, posed and placed before the camera, and drawn."""

    recipes: list[Recipe]
    poses: PoseStage
    scenes: SceneStage
    hands: CameraHands
    albedos: np.ndarray
    views: list[View]
    layers: list[Layers]


def draw_arm(rng: np.random.Generator) -> ArmChoice:
    flexion, deviation, twist, girth = rng.uniform([-60, -30, -60, 0.7], [60, 20, 60, 1.3]).tolist()
    return ArmChoice(flexion, deviation, twist, girth, int(rng.integers(ARM_VARIANTS)), *rng.uniform(0, 1, 3).tolist(), 3.0)


@pytest.fixture(scope="module", params=["toy", "embedded"])
def armed(request, stage) -> Armed:
    hand = toy_hand() if request.param == "toy" else load_hand(EMBEDDED / "hand.npz")
    rng = np.random.default_rng(3)
    recipes = [replace(r, arm=draw_arm(rng)) for r in stage.recipes[:24]]
    return arrange(hand, recipes, stage.generator.renderer)


def arrange(hand: HandModel, recipes: list[Recipe], renderer: GlRenderer) -> Armed:
    skin = smooth_skin(hand)
    poses = PoseStage(hand)
    scenes, hands = SceneStage(poses, skin), poses.pose(recipes, SIZE)
    albedo = np.concatenate([skin.mean.reshape(skin.size, skin.size, 3), np.full((skin.size, skin.size, 1), 255)], -1)
    albedos = np.tile(albedo.astype(np.uint8), (len(recipes), 1, 1, 1))
    views = scenes.views(recipes, hands, albedos, scenes.arm_albedos(recipes, albedos), np.full((len(recipes), 3), 0.4))
    return Armed(recipes, poses, scenes, hands, albedos, views, renderer.render_many(views, EVERYTHING))


def smooth_skin(hand: HandModel) -> SkinModel:
    """One colour, so that what differs between hand and forearm is the shading."""
    size = 64
    colours = np.tile(np.array([[200, 150, 130]], np.float32), (size * size, 1))
    components, texels = np.zeros((1, size * size, 3), np.float32), np.arange(size * size, dtype=np.int32)
    return SkinModel("plain", "test", size, colours, components, texels, hand.uv, hand.uv_faces)


def alone(view: View, number: int) -> View:
    return replace(view, meshes=(view.meshes[number],))


def test_the_mask_is_what_the_forearm_leaves_of_the_hand(armed, stage):
    """A pixel is the hand's where the hand, drawn alone, is nearer than the forearm drawn alone; some forearms hide much."""
    render, hidden = stage.generator.renderer.render, 0
    for view, found in zip(armed.views, armed.layers, strict=True):
        hand, arm = (render(alone(view, k), ("depth",)).depth for k in (0, 1))
        hand, arm = (np.where(depth > 0, depth, np.inf) for depth in (hand, arm))
        clear = ~np.isclose(hand, arm, rtol=0, atol=1e-5) | np.isinf(hand)
        np.testing.assert_array_equal(found.mask[clear], (hand < arm)[clear])
        assert (~clear).sum() < 40  # along the rim, which both have
        nearer = np.minimum(hand, arm)
        stray = ~np.isclose(found.depth, np.where(np.isfinite(nearer), nearer, 0), rtol=0, atol=1e-5)
        assert stray.sum() <= 2  # corners are moved to 1/256 px of the target, which holds one mesh or both
        hidden += (found.amodal & ~found.mask).sum() > 0.1 * found.amodal.sum()
    assert hidden >= 2


def test_passes_tell_hand_and_forearm_apart(armed):
    """Parts are the forearm's just where depth is and the mask is not; texture coordinates are the hand's alone."""
    shown = 0
    for found in armed.layers:
        np.testing.assert_array_equal(found.parts == ARM_PART, (found.depth > 0) & ~found.mask)
        np.testing.assert_array_equal((found.parts > 0) & (found.parts < ARM_PART), found.mask)
        np.testing.assert_array_equal(found.uv[..., 2] == 65535, found.mask)
        assert not found.uv[~found.mask].any()
        np.testing.assert_array_equal(found.normal.any(-1), found.depth > 0)
        shown += (found.parts == ARM_PART).sum()
    assert shown > 500 * len(armed.layers)


def test_amodal_is_the_whole_hand_hidden_or_not(armed, stage):
    """It is the silhouette of the hand with a closed wrist, as a bare one is drawn, and holds the mask; bare, it is the mask."""
    for row, (view, found) in enumerate(zip(armed.views, armed.layers, strict=True)):
        assert not (found.mask & ~found.amodal).any()
        bare = replace(view, meshes=(replace(view.meshes[0], layout=armed.scenes.bare),))
        whole = stage.generator.renderer.render(bare, ("amodal",))
        np.testing.assert_array_equal(whole.amodal, whole.mask)
        assert iou(found.amodal, whole.mask) > 0.99, row  # the cap is flat, and an uneven rim is not


def test_agrees_with_pyrender_on_forearms(armed, pyrender_renderer):
    """Mask and amodal mask by IoU, depth of everything, on every view; a moved principal point is noticed."""
    for view, found in zip(armed.views, armed.layers, strict=True):
        other = pyrender_renderer.render(view, ("depth", "amodal"))
        assert iou(found.mask, other.mask) > ARM_IOU or (found.mask != other.mask).sum() <= 3
        assert iou(found.amodal, other.amodal) > ARM_IOU
        assert iou(found.depth > 0, other.depth > 0) > ARM_IOU
        both = (found.depth > 0) & (other.depth > 0)
        assert np.median(np.abs(found.depth - other.depth)[both]) < ARM_DEPTH_M
    assert iou(found.mask, pyrender_renderer.render(moved_by(view, 1, 0)).mask) < ARM_IOU


@pytest.mark.parametrize("k", [0, 5, 13])
def test_forearms_agree_with_the_slow_twin(armed, k):
    """At 96 x 96 pixels: depth and parts of the nearer of two rasterised meshes."""
    size, view = 96, armed.views[k]
    view = replace(view, K=resized(view.K, size / SIZE))
    found = GlRenderer(size).render(view, ("depth", "parts"))
    slow = [rasterise(mesh.layout, mesh.vertices, mesh.normals, view.K, size) for mesh in view.meshes]
    hand, arm = (np.where(raster.depth > 0, raster.depth, np.inf) for raster in slow)
    nearer = np.minimum(hand, arm)
    assert ((found.depth > 0) != np.isfinite(nearer)).sum() <= 4
    both = (found.depth > 0) & np.isfinite(nearer)
    assert (np.abs(found.depth - nearer)[both] > 2e-5).mean() < 0.02
    assert (found.parts != np.where(hand <= arm, slow[0].parts, slow[1].parts))[both].mean() < 0.02


def test_no_background_shows_between_hand_and_forearm(armed):
    """Every pixel near a rim vertex that faces the camera and lies well inside the silhouette is opaque, and shows either."""
    rim, looked_at = armed.poses.arm.rim, 0
    for row, (view, found) in enumerate(zip(armed.views, armed.layers, strict=True)):
        # What hand and forearm cover together, holes closed: a gap of less than 5 pixels at the rim would be one.
        shape = found.depth > 0
        closed = ~dilated(~dilated(shape, 2), 2)
        inside = ~dilated(~closed, 3)
        xy = np.floor(project(armed.hands.vertices[row, rim].astype(float), view.K)).astype(int)
        facing = armed.hands.normals[row, rim, 2] < -0.5
        near = np.zeros_like(shape)
        for x, y in xy[facing & ((xy >= 0) & (xy < SIZE)).all(1)]:
            near[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4] = True
        assert (found.encoded[near & inside, 3] == 255).all()
        assert shape[near & inside].all()
        looked_at += (near & inside).sum()
    assert looked_at > 1000


def test_forearms_lit_at_corners_look_as_if_each_pixel_were(armed, stage):
    """Within a level or two almost everywhere; what a highlight is off by is not seen."""
    for view in armed.views[:12]:
        arm = view.meshes[-1]
        assert arm.layout.material == "smooth skin"
        slow = replace(view, meshes=(view.meshes[0], replace(arm, layout=replace(arm.layout, material="skin"))))
        found, expected = (stage.generator.renderer.render(v, ("parts",)) for v in (view, slow))
        on_arm = expected.parts == ARM_PART
        away = np.abs(found.encoded[..., :3].astype(int) - expected.encoded[..., :3])[on_arm]
        if len(away):
            assert away.mean() < 1.5
            assert np.percentile(away, 99) <= 8


def test_shading_goes_on_over_the_seam(armed):
    """Hand and forearm have one colour here: across the rim the image changes no more than over as many pixels elsewhere."""
    at_seam, within = [], []
    for found in armed.layers:
        light = (found.encoded[..., :3] / 255.0).mean(-1) ** 2
        arm, hand = found.parts == ARM_PART, found.parts == 1
        smooth = ~dilated(found.encoded[..., 3] < 255, 2)
        step = np.abs(light[:, 1:] - light[:, :-1])
        flat = np.abs(np.diff(found.depth, axis=1)) < 0.003
        usable = smooth[:, 1:] & smooth[:, :-1] & flat
        at_seam.append(step[usable & ((arm[:, 1:] & hand[:, :-1]) | (hand[:, 1:] & arm[:, :-1]))])
        within.append(step[usable & hand[:, 1:] & hand[:, :-1]])
    at_seam, within = np.concatenate(at_seam), np.concatenate(within)
    assert len(at_seam) > 150
    assert np.median(at_seam) < 2 * np.median(within)
    assert np.percentile(at_seam, 95) < 2 * np.percentile(within, 95)


def test_the_order_of_meshes_does_not_matter_for_the_image(armed, stage):
    """The forearm first: the same image but for blue's lowest bit, depth and parts; mask and amodal mask are then the forearm's."""
    for view, found in zip(armed.views[:8], armed.layers, strict=False):
        other = stage.generator.renderer.render(replace(view, meshes=view.meshes[::-1]), EVERYTHING)
        # At the rim both have the same depth, and the first one drawn stays.
        difference = np.abs(found.encoded.astype(int) - other.encoded)
        assert difference[..., [0, 1, 3]].any(-1).sum() <= 60
        assert (difference > 1).any(-1).sum() <= 60
        assert difference.max() <= 40
        np.testing.assert_allclose(found.depth, other.depth, atol=1e-5)
        assert (other.mask != (found.parts == ARM_PART)).sum() <= 20
        assert not (other.mask & ~other.amodal).any()


def test_passes_never_change_an_image_with_forearms(armed, stage):
    for view, found in zip(armed.views[:6], armed.layers, strict=False):
        for names in ((), ("amodal",), ("depth",), ("uv", "parts"), ("amodal", "normal")):
            other = stage.generator.renderer.render(view, names)
            for name in ("encoded", "mask", *names):
                np.testing.assert_array_equal(getattr(found, name), getattr(other, name), f"{name} of {names}")


def test_a_left_hand_with_a_forearm_is_the_mirrored_right_one(armed, stage):
    """Vertices and normals are mirrored exactly, the image but for where pixels are cut."""
    right, left = (armed.poses.pose([replace(r, side=side) for r in armed.recipes], SIZE) for side in ("right", "left"))
    for name in ("arms", "arm_normals"):
        for a, b in zip(getattr(right, name), getattr(left, name), strict=True):
            np.testing.assert_array_equal(mirror_points(a).astype(np.float32), b)
    albedos = armed.scenes.arm_albedos(armed.recipes, armed.albedos)
    recipes = [replace(r, side="right") for r in armed.recipes]
    views = armed.scenes.views(recipes, right, armed.albedos, albedos, np.full((len(recipes), 3), 0.4))
    for view in views[:8]:
        straight, mirror = (stage.generator.renderer.render(v, ("amodal",)) for v in (view, flipped(view, SIZE)))
        assert iou(straight.mask, mirror.mask[:, ::-1]) > 0.995 or (straight.mask != mirror.mask[:, ::-1]).sum() <= 3
        inside = ~dilated(straight.encoded[..., 3] < 255, 2)
        assert np.abs(straight.encoded.astype(int) - mirror.encoded[:, ::-1])[inside].mean() < 0.5


def test_forearms_are_posed_in_the_hand_frame_and_moved_by_the_camera(armed):
    """The pose stage gives what pose_hand and pose_arms give in the world, moved by T_cam_world; the rim is the hand's."""
    poses, hand = armed.poses, armed.poses.model
    right = poses.pose([replace(r, side="right") for r in armed.recipes], SIZE)
    for row, recipe in enumerate(armed.recipes):
        theta = np.reshape(recipe.theta, (16, 3))
        vertices = pose_hand(hand, theta, recipe.beta, recipe.trans).vertices
        choice = recipe.arm
        shape = ArmShape(*np.deg2rad([choice.flexion_deg, choice.deviation_deg, choice.twist_deg]), choice.girth)
        arm = pose_arms(poses.arm, vertices[None, poses.arm.rim], rotvec_to_rotmat(theta[None, 0]), [shape]).vertices[0]
        _, T = camera_matrices(recipe.camera)
        np.testing.assert_allclose(right.arms[row][: poses.arm.num_vertices], arm @ T[:3, :3].T + T[:3, 3], atol=2e-6)
        np.testing.assert_array_equal(right.arms[row][: len(poses.arm.rim)], right.vertices[row, poses.arm.rim])


def test_rim_normals_are_those_of_the_sewn_surface(armed):
    """Hand and forearm as one mesh give the normals of both, at the rim the same ones."""
    poses = armed.poses
    rim, count = poses.arm.rim, poses.model.num_vertices
    right = poses.pose([replace(r, side="right") for r in armed.recipes[:6]], SIZE)
    faces = np.concatenate([[*rim], np.arange(len(right.arms[0]) - len(rim)) + count])[whole_faces(poses.arm)]
    for row in range(6):
        points = np.concatenate([right.vertices[row], right.arms[row][len(rim) :]]).astype(float)
        normals = vertex_normals(points, np.concatenate([poses.model.faces, faces]))
        np.testing.assert_allclose(right.normals[row], normals[:count], atol=0.02)  # the label grid moves small faces
        np.testing.assert_allclose(right.arm_normals[row][len(rim) :], normals[count:], atol=0.02)
        np.testing.assert_array_equal(right.arm_normals[row][: len(rim)], right.normals[row, rim])


def test_a_bare_hand_beside_forearms_is_as_it_was(armed, stage):
    """In a mixed batch each sample has the bytes that it has alone: labels, normals, image and mask."""
    bare = [replace(r, arm=None) if k % 2 else r for k, r in enumerate(armed.recipes)]
    mixed = armed.poses.pose(bare, SIZE)
    none = armed.poses.pose([replace(r, arm=None) for r in bare], SIZE)
    for row, recipe in enumerate(bare):
        np.testing.assert_array_equal(mixed.vertices[row], none.vertices[row])
        single = armed.poses.pose([recipe], SIZE)
        np.testing.assert_array_equal(mixed.normals[row], single.normals[0])
        assert (mixed.arms[row] is None) == (recipe.arm is None)
        if recipe.arm:
            np.testing.assert_array_equal(mixed.arms[row], single.arms[0])
            np.testing.assert_array_equal(mixed.arm_normals[row], single.arm_normals[0])
        else:
            np.testing.assert_array_equal(mixed.normals[row], none.normals[row])
    ambient = np.full((len(bare), 3), 0.4)
    views = armed.scenes.views(bare, mixed, armed.albedos, armed.scenes.arm_albedos(bare, armed.albedos), ambient)
    together = stage.generator.renderer.render_many(views)
    for view, found in zip(views, together, strict=True):
        again = stage.generator.renderer.render(view)
        np.testing.assert_array_equal(found.encoded, again.encoded)
        np.testing.assert_array_equal(found.mask, again.mask)


def test_what_reaches_behind_the_camera_is_cut_off_there(armed, stage):
    """A forearm whose elbow is behind the camera is drawn as far as the near plane, and nothing else changes."""
    view, found = armed.views[0], armed.layers[0]
    hand, arm = view.meshes
    vertices = arm.vertices.copy()
    far = np.arange(len(vertices)) > len(vertices) // 2
    vertices[far] = [0.02, 0.3, -0.2]
    other = stage.generator.renderer.render(replace(view, meshes=(hand, replace(arm, vertices=vertices))), ("depth", "amodal"))
    np.testing.assert_array_equal(other.amodal, found.amodal)
    assert (other.depth[other.depth > 0] >= 0.05 - 1e-4).all()
    assert other.mask.any()


def test_spheres_of_the_forearm_lie_inside_it(armed):
    """On its axis, as thick as its flesh at most."""
    arms = np.array(armed.hands.arms)[:, : armed.poses.arm.num_vertices]
    centres, radii = arm_spheres(armed.poses.arm, arms)
    nearest = np.linalg.norm(centres[:, :, None] - arms[:, None], axis=-1).min(-1)
    assert (radii < nearest).all()
    assert (radii > 0.5 * nearest).all()


def test_a_hand_without_an_open_wrist_gets_no_forearm(armed):
    """One sentence names the hand and the setting."""
    poses = PoseStage(armed.poses.model)
    poses.arm = None
    with pytest.raises(UsageError, match=r"no open wrist.*arm\.probability"):
        poses.pose(armed.recipes[:1], SIZE)
