"""The OpenGL renderer: against pyrender, against a rasteriser in numpy, and what its images promise."""

from dataclasses import replace
from itertools import combinations

import cv2
import numpy as np
import pytest
import trimesh
from rasteriser import rasterise

from handsynth.core.camera import project, resized, unproject
from handsynth.core.errors import UsageError
from handsynth.core.harmonics import light_on
from handsynth.core.mesh import vertex_normals
from handsynth.core.mirror import mirror_points, mirrored
from handsynth.core.sample import PASSES
from handsynth.render.gl import GlRenderer
from handsynth.render.layers import HEADROOM, Layers, Layout, Mesh, View

LEAST_IOU = 0.99
DEPTH_M = 0.0005

SLITS = 0.003
"""Share of the mask's pixels that a gap between two fingers may cross between their centres."""

NAMES = tuple(PASSES)


@pytest.fixture(scope="module")
def layers(stage):
    """Every view with all passes."""
    return [stage.generator.renderer.render(view, NAMES) for view in stage.views]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / max((a | b).sum(), 1)


def test_agrees_with_pyrender(stage, layers, pyrender_renderer):
    """Mask IoU of at least 0.99 and depth within 0.5 mm at the median on every view, right and left; coverage likewise."""
    for view, found in zip(stage.views, layers, strict=True):
        other = pyrender_renderer.render(view, ("depth",))
        both = found.mask & other.mask
        assert iou(found.mask, other.mask) >= LEAST_IOU
        assert np.median(np.abs(found.depth - other.depth)[both]) < DEPTH_M
        # pyrender's four samples lie elsewhere in the pixel: borders differ by a sample or two, areas do not.
        ours, theirs = (layer.encoded[..., 3].astype(float) / 255 for layer in (found, other))
        assert abs(ours.sum() / theirs.sum() - 1) < 0.005
        assert (ours != theirs)[~dilated(border(found.mask), 2)].sum() <= SLITS * found.mask.sum()


def border(mask: np.ndarray) -> np.ndarray:
    """Pixels with a neighbour on the other side."""
    return dilated(mask, 1) & dilated(~mask, 1)


def dilated(mask: np.ndarray, radius: int) -> np.ndarray:
    return cv2.dilate(mask.view(np.uint8), np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)) > 0


def test_pyrender_comparison_can_fail(stage, layers, pyrender_renderer):
    """A principal point one pixel off is seen."""
    k = next(k for k, found in enumerate(layers) if found.mask.sum() < 9000)
    assert iou(layers[k].mask, pyrender_renderer.render(moved_by(stage.views[k], 1, 0)).mask) < LEAST_IOU


def test_pyrender_draws_depth_only(stage, pyrender_renderer):
    with pytest.raises(UsageError, match="moderngl"):
        pyrender_renderer.render(stage.views[0], ("depth", "uv"))


@pytest.mark.parametrize("k", [0, 3, 8, 21])
def test_agrees_with_the_slow_twin(stage, k):
    """Mask, depth, parts, texture coordinates and normals are those of a rasteriser in numpy, at 96 x 96 pixels.

    OpenGL places corners on a grid of 1/256 px, so single pixels of edges may belong to the neighbouring triangle.
    """
    size, view = 96, stage.views[k]
    view = replace(view, K=resized(view.K, size / stage.spec.image_size))
    (hand,) = view.meshes
    small = GlRenderer(size)
    found = small.render(view, NAMES)
    slow = rasterise(hand.layout, hand.vertices, hand.normals, view.K, size)
    assert (found.mask != (slow.depth > 0)).sum() <= 3
    both = found.mask & (slow.depth > 0)
    skin = both & ~cap_pixels(stage, slow)

    def share(wrong: np.ndarray, of: np.ndarray = both) -> float:
        return (wrong & of).sum() / of.sum()

    assert share(np.abs(found.depth - slow.depth) > 2e-5) < 0.01
    assert share(found.parts != slow.parts) < 0.01
    assert share((np.abs(found.uv[..., :2] / 65535 - slow.uv) > 1e-3).any(-1), skin) < 0.02
    assert share((np.abs(found.normal / 255 * 2 - 1 - slow.normal) > 0.03).any(-1), skin) < 0.02


def cap_pixels(stage, slow) -> np.ndarray:
    """Pixels that show the cap, whose shading normals are its own: all its corners have one texture coordinate."""
    u, v = stage.generator.scenes.bare.corner_uv[-1]
    return (np.abs(slow.uv - [u, 1 - v]) < 1e-6).all(-1)


def test_every_image_tells_the_same_mask(layers):
    """Mask, depth, parts and the texture pass's third channel cover the same pixels; elsewhere every pass is 0."""
    for found in layers:
        np.testing.assert_array_equal(found.mask, found.depth > 0)
        np.testing.assert_array_equal(found.mask, found.parts > 0)
        np.testing.assert_array_equal(found.mask, found.uv[..., 2] == 65535)
        for name in NAMES:
            assert not getattr(found, name)[~found.mask].any(), name


def test_coverage_is_nothing_off_the_hand_and_everything_on_it(layers):
    """More than a pixel outside the mask all four channels are 0, more than a pixel inside coverage is 255."""
    for found in layers:
        assert not found.encoded[~dilated(found.mask, 2)].any()
        assert (found.encoded[~dilated(~found.mask, 2), 3] < 255).sum() <= SLITS * found.mask.sum()


def test_passes_never_change_the_image(stage, layers):
    """Each of the sixteen sets of passes gives the same image, mask and passes, byte by byte."""
    for k in (1, 6):
        for names in (names for n in range(5) for names in combinations(NAMES, n)):
            found = stage.generator.renderer.render(stage.views[k], names)
            for name in ("encoded", "mask", *names):
                np.testing.assert_array_equal(getattr(found, name), getattr(layers[k], name), f"{name} of {names}")
            assert all(getattr(found, name) is None for name in set(NAMES) - set(names))


def test_what_is_not_read_holds_nothing(stage, monkeypatch):
    """Reading the whole target instead of its part that holds the hand gives the same image, mask and passes."""
    views = [*stage.views[:12], moved_by(stage.views[0], 90, -70)]
    found = stage.generator.renderer.render_many(views, NAMES)
    windows, smaller = GlRenderer._windows, []

    def whole(self, bounds):
        targets, parts = windows(self, bounds)
        smaller.extend(parts[:, 2:].prod(1) < targets[:, 2:].prod(1))
        return targets, targets

    monkeypatch.setattr(GlRenderer, "_windows", whole)
    for one, other in zip(found, stage.generator.renderer.render_many(views, NAMES), strict=True):
        for name in ("encoded", "mask", *NAMES):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    assert sum(smaller) > len(views) / 2


def test_normals_face_the_camera(stage, layers):
    """Decoded normals are unit vectors, turned towards the camera but at silhouettes, and agree with the slope of depth."""
    for view, found in zip(stage.views[:16], layers[:16], strict=True):
        rows, columns = np.nonzero(~dilated(~found.mask, 4))
        normal = found.normal[rows, columns] / 255 * 2 - 1
        assert np.abs(np.linalg.norm(normal, axis=1) - 1).max() < 0.02

        def surface_point(row, column, depth=found.depth, K=view.K):
            return unproject(np.stack([column + 0.5, row + 0.5], -1), depth[row, column].astype(float), K)

        point = surface_point(rows, columns)
        facing = -(normal * point).sum(1) / np.linalg.norm(point, axis=1)
        assert (facing > 0).mean() > 0.98
        across = surface_point(rows, columns + 1) - surface_point(rows, columns - 1)
        along = surface_point(rows + 1, columns) - surface_point(rows - 1, columns)
        slope = -np.cross(across, along)  # x right times y down points away from the camera
        slope /= np.linalg.norm(slope, axis=1, keepdims=True)
        assert np.median((slope * normal).sum(1)) > np.cos(np.deg2rad(15))


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_marked_vertex_lands_on_its_projected_pixel(stage, side):
    """A red dot painted on a black texture at a vertex's coordinates shows where K projects that vertex, if it is seen."""
    layout, texture = stage.generator.scenes.bare, 1024
    renderer = GlRenderer(stage.spec.image_size)
    seams = np.bincount(layout.corner_vertex, minlength=stage.library.hand.num_vertices) > 1
    shown = 0
    for k in np.flatnonzero(stage.hands.is_left == (side == "left"))[:6]:
        view = stage.views[k]
        view = replace(view, light_directions=np.zeros((0, 3)), light_colors=np.zeros((0, 3)), ambient=np.ones(3))
        (hand,) = view.meshes
        black = np.zeros((texture, texture, 4), np.uint8)
        depth = renderer.render(replace(view, meshes=(replace(hand, albedo=black),)), ("depth",)).depth
        xy = project(hand.vertices.astype(float), view.K)
        column, row = np.floor(xy).astype(int).T
        seen = (np.abs(depth[row, column] - hand.vertices[:, 2]) < 0.001) & (hand.normals[:, 2] < -0.7) & ~seams
        for vertex in np.flatnonzero(seen)[::8]:
            corner = np.flatnonzero(layout.corner_vertex == vertex)[0]
            u, v = np.floor(layout.corner_uv[corner] * texture).astype(int)
            albedo = np.zeros((texture, texture, 4), np.uint8)
            albedo[v - 4 : v + 5, u - 4 : u + 5] = (255, 0, 0, 255)
            encoded = renderer.render(replace(view, meshes=(replace(hand, albedo=albedo),))).encoded.astype(float)
            red = np.clip(encoded[..., 0] - encoded[..., 1] - 15, 0, None)  # the antialiasing filter spreads a small dot
            assert red.sum() > 0, f"vertex {vertex} does not show"
            rows, columns = np.nonzero(red)
            centre = np.average(np.stack([columns, rows], 1) + 0.5, axis=0, weights=red[rows, columns])
            assert np.abs(centre - xy[vertex]).max() < 1.5, f"vertex {vertex}"
            shown += 1
    assert shown > 15


def test_a_left_hand_is_the_flipped_image(stage):
    """Hand, lights and camera mirrored give the image mirrored: winding, cap and textures hold for left hands too."""
    for view in (view for view in stage.views[:12] if not view.is_left):
        flip = flipped(view, stage.spec.image_size)
        straight, mirror = (stage.generator.renderer.render(v) for v in (view, flip))
        assert iou(straight.mask, mirror.mask[:, ::-1]) > 0.999
        inside = ~dilated(~straight.mask, 2)
        difference = np.abs(straight.encoded.astype(int) - mirror.encoded[:, ::-1])[inside]
        # Relief comes from differences within blocks of 2 x 2 pixels, which the flip cuts otherwise.
        assert difference.mean() < 0.5
        assert np.percentile(difference, 99) <= 6


def flipped(view: View, size: int) -> View:
    """Everything in the view of a right hand, its lights and its camera mirrored."""
    meshes = [
        replace(mesh, **{name: mirror_points(getattr(mesh, name)).astype(np.float32) for name in ("vertices", "normals")})
        for mesh in view.meshes
    ]
    return replace(
        view,
        meshes=tuple(meshes),
        spheres=mirror_points(view.spheres),
        light_directions=mirror_points(view.light_directions),
        up=mirror_points(view.up),
        K=mirrored(view.K, size),
        is_left=True,
    )


def moved_by(view: View, dx: int, dy: int) -> View:
    """The view with its principal point moved [px]."""
    return replace(view, K=view.K + np.array([[0, 0, dx], [0, 0, dy], [0, 0, 0]]))


def test_a_hand_that_leaves_the_image_is_cut_off(stage, layers):
    """Moving the principal point by whole pixels moves the image; what leaves it is gone, far out nothing is left."""
    view, whole = stage.views[2], layers[2]
    for dx, dy in ((-97, 0), (60, 110), (0, -150)):
        shifted = stage.generator.renderer.render(moved_by(view, dx, dy), ("depth",))
        moved = np.zeros_like(whole.mask)
        size = len(moved)
        to, of = (
            (slice(max(dy, 0), size + min(dy, 0)), slice(max(dx, 0), size + min(dx, 0))),
            (slice(max(-dy, 0), size + min(-dy, 0)), slice(max(-dx, 0), size + min(-dx, 0))),
        )
        moved[to] = whole.mask[of]
        assert (shifted.mask != moved).sum() <= 3  # float32 positions shift by some 1e-5 px
        np.testing.assert_array_equal(shifted.mask, shifted.depth > 0)
    assert not stage.generator.renderer.render(moved_by(view, 1000, 0)).mask.any()


def test_renderers_may_live_side_by_side(stage, layers, pyrender_renderer):
    """A second OpenGL renderer and pyrender at work leave the first one's images alone."""
    second = GlRenderer(stage.spec.image_size)
    pyrender_renderer.render(stage.views[1])
    for renderer in (stage.generator.renderer, second):
        np.testing.assert_array_equal(renderer.render(stage.views[0]).encoded, layers[0].encoded)


def test_the_surface_is_closed(stage):
    """Every edge of the drawn surface belongs to two triangles, once in each direction, and normals point outwards."""
    faces = stage.closed_faces
    edges = {(int(a), int(b)) for f in faces for a, b in ((f[0], f[1]), (f[1], f[2]), (f[2], f[0]))}
    assert len(edges) == 3 * len(faces)
    assert all((b, a) in edges for a, b in edges)
    hand = stage.library.hand
    grown = hand.v_template + 1e-4 * vertex_normals(hand.v_template, hand.faces)
    assert 0 < volume(hand.v_template, faces) < volume(grown, faces)


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Of a closed surface; positive when faces are counter-clockwise seen from outside."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return (a * np.cross(b, c)).sum() / 6


@pytest.fixture(scope="module")
def ball(stage) -> View:
    """A white ball of 0.1 m before the camera of a view, without a lamp."""
    mesh = trimesh.creation.icosphere(4, 0.05)
    count, faces = len(mesh.vertices), mesh.faces.astype(np.int32)
    far, white = np.ones((count, 2), np.uint32), np.full((4, 4, 4), 255, np.uint8)
    layout = Layout(
        np.arange(count, dtype=np.int32),
        np.zeros((count, 2), np.float32),
        far,
        faces,
        np.ones(len(faces), np.uint8),
        np.zeros(0, int),
    )
    normals = mesh.vertices.astype(np.float32) / np.float32(0.05)
    place = mesh.vertices.astype(np.float32) + np.array([0, 0, 0.6], np.float32)
    nothing, K = np.zeros((0, 3)), np.array([[1100.0, 0, 128], [0, 1100, 128], [0, 0, 1]])
    spheres = np.full((33, 3), 1e3), np.full(33, 1e-3)  # far away
    return View((Mesh(layout, place, normals, white),), *spheres, K, nothing, nothing, np.ones(3), np.zeros(3), False)


def a_sky(seed: int, size: float) -> np.ndarray:
    """(9, 3) with another bright side for each colour."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(0.5, 0.8, (1, 3)), rng.normal(0, size, (8, 3))])


def light_of(layers: Layers, inside: np.ndarray) -> np.ndarray:
    return np.square(layers.encoded[inside][:, :3] / 255) * HEADROOM


@pytest.mark.parametrize("seed", range(6))
def test_a_sky_lights_each_pixel_by_its_normal(stage, ball, seed):
    """The image is what core.harmonics says of the pixels' normals, and the mirrored share that skin has of it."""
    sky = a_sky(seed, 0.3)
    found = stage.generator.renderer.render(replace(ball, sky=sky), ("normal", "depth"))
    inside = ~dilated(~found.mask, 3)
    row, column = np.nonzero(inside)
    point = unproject(np.stack([column + 0.5, row + 0.5], -1), found.depth[inside].astype(float), ball.K)
    normal = (point - [0, 0, 0.6]) / np.linalg.norm(point - [0, 0, 0.6], axis=1, keepdims=True)
    grazing = 1 + (normal * point).sum(1, keepdims=True) / np.linalg.norm(point, axis=1, keepdims=True)
    expected = np.minimum(light_on(sky, normal) * (1 + 0.6 * (0.028 + 0.486 * grazing**5)), HEADROOM)
    assert np.abs(light_of(found, inside) - expected).max() < 0.03
    assert expected.std() > 0.1


def test_a_sky_of_one_colour_is_the_ambient_light(stage, ball):
    """Orders 0 and 1 along `up` are the plain ambient light but for its shine; order 0 alone is the same in all directions."""
    up, color = np.array([0.0, -0.8, 0.6]), np.array([0.5, 0.6, 0.7])
    sky = np.zeros((9, 3))
    sky[0], sky[1:4] = 0.85 * color, 0.3 * up[:, None] * color
    render = stage.generator.renderer.render
    plain, harmonic = render(replace(ball, ambient=color, up=up)), render(replace(ball, sky=sky))
    inside = ~dilated(~plain.mask, 8)
    assert np.abs(light_of(plain, inside) - light_of(harmonic, inside)).max() < 0.015
    sky[1:4] = 0
    assert np.ptp(render(replace(ball, sky=sky)).encoded[inside], axis=0).max() <= 2


def test_both_renderers_show_a_sky(ball, stage, pyrender_renderer):
    """pyrender has its orders 0 and 1: the bright side is the same one, and as bright."""
    color = np.array([0.6, 0.5, 0.4])
    for side in ([0.6, 0, -0.2], [-0.6, 0.1, 0], [0, -0.5, -0.3], [0, 0.5, -0.1]):
        sky = np.concatenate([color[None], np.outer(side, color), np.zeros((5, 3))])
        ours, theirs = (r.render(replace(ball, sky=sky)) for r in (stage.generator.renderer, pyrender_renderer))
        inside = ~dilated(~ours.mask, 12)
        a, b = (light_of(layers, inside) for layers in (ours, theirs))
        assert np.corrcoef(a.sum(1), b.sum(1))[0, 1] > 0.8
        np.testing.assert_allclose(a.mean(0), b.mean(0), rtol=0.15)


def test_both_renderers_have_textures_the_right_way_up(stage, ball, pyrender_renderer):
    """Row 0 of a texture is v = 0: a ball whose v grows downwards is red above and blue below."""
    (mesh,) = ball.meshes
    v = (mesh.vertices[:, 1] / 0.05 + 1) / 2
    albedo = np.zeros((8, 8, 4), np.uint8)
    albedo[:4], albedo[4:] = (255, 0, 0, 255), (0, 0, 255, 255)
    layout = replace(mesh.layout, corner_uv=np.stack([np.full_like(v, 0.5), v], -1))
    view = replace(ball, meshes=(replace(mesh, layout=layout, albedo=albedo),))
    for renderer in (stage.generator.renderer, pyrender_renderer):
        encoded = renderer.render(view).encoded.astype(int)
        rows = np.nonzero(encoded[..., 3].any(1))[0]
        above, below = encoded[rows[0] + 10], encoded[rows[-1] - 10]
        assert above[:, 0].sum() > 2 * above[:, 2].sum()
        assert below[:, 2].sum() > 2 * below[:, 0].sum()
