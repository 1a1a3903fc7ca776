"""The OpenGL renderer: moderngl on EGL; colour and coverage in one antialiased draw, mask and passes at pixel centres."""

from importlib import metadata, resources

import moderngl
import numpy as np

from handsynth.core.camera import project
from handsynth.core.hand import HandModel
from handsynth.render.context import driver_name, make_context
from handsynth.render.layers import HEADROOM, Layers, View
from handsynth.render.projection import clip_from_camera
from handsynth.render.surface import Surface

SAMPLES = 4
"""Samples per pixel of the antialiased draw; every driver that OpenGL 3.3 allows has four."""

WINDOW_STEPS = 16
"""Targets come in multiples of 1/16 of the picture's side."""

MAX_SPHERES = 64
"""Size of the sphere array in hand.vert."""


class GlRenderer:
    """Draws one hand model on one context. Vertices, texture and uniforms are streamed; everything else is uploaded once."""

    def __init__(self, model: HandModel, surface: Surface, texture_size: int, image_size: int, device: int = 0) -> None:
        """Makes the context (raises AssetError without one), compiles the shaders and allocates every buffer."""
        self._ctx = make_context(device)
        self.driver = f"moderngl {metadata.version('moderngl')}; {driver_name(self._ctx)}"
        self._surface, self._size = surface, image_size
        ctx = self._ctx
        self._color_program = ctx.program(_shader("hand.vert"), _shader("hand.frag"))
        self._pass_program = ctx.program(_shader("passes.vert"), _shader("passes.frag"))
        self._mask_program = ctx.program(_shader("passes.vert"), _shader("mask.frag"))

        corners = len(surface.corner_vertex)
        self._stream = ctx.buffer(reserve=corners * 24, dynamic=True)
        self._stream_host = np.zeros((corners, 6), np.float32)
        uv = ctx.buffer(np.ascontiguousarray(surface.corner_uv))
        foreign = ctx.buffer(_foreign_bits(model, surface))
        triangles = ctx.buffer(np.ascontiguousarray(surface.triangles))
        stream = (self._stream, "3f 3f", "in_position", "in_normal")
        self._color_draw = ctx.vertex_array(
            self._color_program, [stream, (uv, "2f", "in_uv"), (foreign, "2u4", "in_foreign")], index_buffer=triangles
        )
        self._pass_draw = ctx.vertex_array(self._pass_program, [stream, (uv, "2f", "in_uv")], index_buffer=triangles)
        self._mask_draw = ctx.vertex_array(self._mask_program, [(self._stream, "3f 12x", "in_position")], index_buffer=triangles)

        self._albedo = ctx.texture((texture_size, texture_size), 4)
        self._albedo.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self._parts = ctx.texture((len(surface.triangles), 1), 1, surface.triangle_part.tobytes(), alignment=1)
        self._parts.filter = (moderngl.NEAREST, moderngl.NEAREST)

        self._targets: dict[int, _Targets] = {}
        self._color_program["headroom"].value = HEADROOM
        ctx.enable(moderngl.DEPTH_TEST | moderngl.CULL_FACE)

    def render(self, view: View, passes: tuple[str, ...] = ()) -> Layers:
        """Draws one view. See Renderer.render. Works beside other renderers in the process: OpenGL knows one current context."""
        with self._ctx:
            return self._render(view, passes)

    def _render(self, view: View, passes: tuple[str, ...]) -> Layers:
        """Draws one view on the current context."""
        ctx, surface = self._ctx, self._surface
        self._upload_corners(view)
        x, y, side = self._window(view)
        if side not in self._targets:
            self._targets[side] = _Targets(ctx, side)
        targets = self._targets[side]
        K = view.K - [[0, 0, x], [0, 0, y], [0, 0, 0]]
        clip = np.ascontiguousarray(clip_from_camera(K, side).T)
        ctx.front_face = "ccw" if view.is_left else "cw"

        program = self._color_program
        program["clip_from_camera"].write(clip)
        spheres = np.zeros((MAX_SPHERES, 4), np.float32)
        count = len(surface.sphere_radius)
        spheres[:count, :3], spheres[:count, 3] = view.spheres, surface.sphere_radius
        program["num_spheres"].value = count
        program["spheres"].write(spheres)
        lights = np.zeros((2, 3, 3), np.float32)
        num_lights = len(view.light_directions)
        if num_lights:
            lights[0, :num_lights], lights[1, :num_lights] = view.light_directions, view.light_colors
        program["num_lights"].value = num_lights
        program["light_directions"].write(lights[0])
        program["light_colors"].write(lights[1])
        program["ambient"].write(np.asarray(view.ambient, np.float32))
        program["up"].write(np.asarray(view.up, np.float32))
        self._albedo.write(view.albedo)
        self._albedo.use(0)
        targets.multisampled.use()
        targets.multisampled.clear()
        self._color_draw.render()
        ctx.copy_framebuffer(targets.resolved, targets.multisampled)
        encoded = np.zeros((self._size, self._size, 4), np.uint8)
        window = (slice(y, y + side), slice(x, x + side))
        encoded[window] = np.frombuffer(targets.resolved.read(components=4), np.uint8).reshape(side, side, 4)
        mask = np.zeros((self._size, self._size), bool)
        mask[window] = self._render_mask(clip, targets)
        return Layers(encoded, mask, **(self._render_passes(clip, targets, window, passes) if passes else {}))

    def _window(self, view: View) -> tuple[int, int, int]:
        """Left, top and side [px] of the smallest square target that holds the hand: clearing and resolving cost by area."""
        xy = project(view.vertices, view.K)
        low = np.clip(np.floor(xy.min(0)) - 1, 0, self._size - 1).astype(int)
        high = np.clip(np.ceil(xy.max(0)) + 1, low + 1, self._size).astype(int)
        step = max(1, self._size // WINDOW_STEPS)
        side = min(self._size, int(-(-(high - low).max() // step)) * step)
        x, y = np.minimum(low, self._size - side)
        return int(x), int(y), side

    def _upload_corners(self, view: View) -> None:
        """Streams positions and normals; the cap's corners share one normal, that of its plane, bulged a little."""
        surface, host = self._surface, self._stream_host
        host[:, :3] = view.vertices[surface.corner_vertex]
        host[:, 3:] = view.normals[surface.corner_vertex]
        rim = view.vertices[surface.rim].astype(np.float64)
        x, y, z = rim.T
        nx, ny, nz = np.roll(rim, -1, 0).T
        normal = np.array([(ny * z - nz * y).sum(), (nz * x - nx * z).sum(), (nx * y - ny * x).sum()])
        normal = -normal if view.is_left else normal
        radial = rim - rim.mean(0)
        bulged = normal / np.linalg.norm(normal) + 0.6 * radial / np.linalg.norm(radial, axis=1, keepdims=True)
        host[-surface.num_cap_corners :, 3:] = bulged / np.linalg.norm(bulged, axis=1, keepdims=True)
        self._stream.write(host)

    def _render_mask(self, clip: np.ndarray, targets: "_Targets") -> np.ndarray:
        """(side, side) bool: the pixel's centre is on the hand. Coverage, of four samples only, would be 1/8 px too wide."""
        self._mask_program["clip_from_camera"].write(clip)
        targets.mask.use()
        targets.mask.clear()
        self._mask_draw.render()
        return np.frombuffer(targets.mask.read(components=1, alignment=1), np.uint8).reshape(targets.side, targets.side) > 0

    def _render_passes(
        self, clip: np.ndarray, targets: "_Targets", window: tuple[slice, slice], passes: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        """Depth, parts, normals and texture coordinates at pixel centres."""
        self._pass_program["clip_from_camera"].write(clip)
        self._parts.use(0)
        target = targets.passes
        target.use()
        target.clear()
        self._pass_draw.render()
        side = targets.side
        found: dict[str, np.ndarray] = {}
        if "depth" in passes or "uv" in passes:
            geometry = np.frombuffer(target.read(components=4, attachment=0, dtype="f4"), np.float32).reshape(side, side, 4)
            found["depth"] = geometry[..., 0]
            found["uv"] = np.round(np.clip(geometry[..., 1:], 0, 1) * 65535).astype(np.uint16)
        if "parts" in passes or "normal" in passes:
            labels = np.frombuffer(target.read(components=4, attachment=1), np.uint8).reshape(side, side, 4)
            found["normal"], found["parts"] = labels[..., :3], labels[..., 3]
        layers = {}
        for name in passes:
            layers[name] = np.zeros((self._size, self._size, *found[name].shape[2:]), found[name].dtype)
            layers[name][window] = found[name]
        return layers


class _Targets:
    """Framebuffers of one size: the antialiased one, the one it is resolved into, those of the mask and of the passes."""

    def __init__(self, ctx: moderngl.Context, side: int) -> None:
        square = (side, side)
        self.side = side
        depth = ctx.depth_renderbuffer(square, samples=SAMPLES)
        self.multisampled = ctx.framebuffer([ctx.renderbuffer(square, 4, samples=SAMPLES)], depth)
        self.resolved = ctx.framebuffer([ctx.renderbuffer(square, 4)])
        self.mask = ctx.framebuffer([ctx.renderbuffer(square, 1)])  # without depth: whatever is hit is hand
        attachments = [ctx.texture(square, 4, dtype="f4"), ctx.texture(square, 4)]
        self.passes = ctx.framebuffer(attachments, ctx.depth_renderbuffer(square))


def _shader(name: str) -> str:
    """Text of a shader that ships with the package."""
    return (resources.files("handsynth.render") / "shaders" / name).read_text()


def _foreign_bits(model: HandModel, surface: Surface) -> np.ndarray:
    """(C, 2) uint32: bit s says that sphere s belongs to a part that is neither the corner's own nor its neighbour."""
    related = np.eye(model.num_joints, dtype=bool)
    for j, parent in enumerate(model.parents):
        if parent >= 0:
            related[j, parent] = related[parent, j] = True
    foreign = ~related[surface.corner_part][:, surface.sphere_part]  # (C, S)
    padded = np.zeros((len(foreign), MAX_SPHERES), bool)
    padded[:, : foreign.shape[1]] = foreign
    return np.packbits(padded, axis=1, bitorder="little").view("<u4").astype(np.uint32)
