"""The OpenGL renderer: moderngl on EGL; colour, coverage, mask and every pass from one draw at twice the resolution."""

from importlib import metadata, resources
from typing import Any

import cv2
import moderngl
import numpy as np

from handsynth.core.camera import project
from handsynth.core.hand import HandModel
from handsynth.render.context import driver_name, make_context
from handsynth.render.layers import HEADROOM, Layers, View
from handsynth.render.projection import clip_from_camera
from handsynth.render.surface import Surface

FINE = 2
"""Samples per pixel along each axis. They lie at pixel centres and half-way between: the sample at a centre decides mask and
passes, and OpenCV's pyrDown, a filter [1 4 6 4 1] / 16 along both axes centred on it, antialiases the picture like a lens
of half a pixel's blur. On a CPU this is quicker than multisampling, and texture and highlights are antialiased too."""

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
        corners = len(surface.corner_vertex)
        self._stream = ctx.buffer(reserve=corners * 24, dynamic=True)
        self._stream_host = np.zeros((corners, 6), np.float32)
        uv = ctx.buffer(np.ascontiguousarray(surface.corner_uv))
        foreign = ctx.buffer(_foreign_bits(model, surface))
        triangles = ctx.buffer(np.ascontiguousarray(surface.triangles))
        content = [
            (self._stream, "3f 3f", "in_position", "in_normal"), (uv, "2f", "in_uv"), (foreign, "2u4", "in_foreign"),
        ]  # fmt: skip
        self._draws = {}
        for with_passes in (False, True):
            program: Any = ctx.program(_shader("hand.vert", with_passes), _shader("hand.frag", with_passes))
            program["headroom"].value = HEADROOM
            program["albedo"].value = 0
            if with_passes:
                program["triangle_part"].value = 1
            self._draws[with_passes] = ctx.vertex_array(program, content, index_buffer=triangles)

        self._albedo = ctx.texture((texture_size, texture_size), 4)
        self._albedo.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self._parts = ctx.texture((len(surface.triangles), 1), 1, surface.triangle_part.tobytes(), alignment=1)
        self._parts.filter = (moderngl.NEAREST, moderngl.NEAREST)

        self._targets: dict[tuple[int, bool], moderngl.Framebuffer] = {}
        ctx.enable(moderngl.DEPTH_TEST | moderngl.CULL_FACE)

    def render(self, view: View, passes: tuple[str, ...] = ()) -> Layers:
        """Draws one view. See Renderer.render. Works beside other renderers in the process: OpenGL knows one current context."""
        with self._ctx:
            return self._render(view, passes)

    def _render(self, view: View, passes: tuple[str, ...]) -> Layers:
        """Draws one view on the current context."""
        self._upload_corners(view)
        x, y, side = self._window(view)
        target = self._target(side, bool(passes))
        # Sample k of a row lies at pixel position k / FINE + 1/2, so that sample FINE i is the centre of pixel i.
        fine = np.diag([FINE, FINE, 1.0]) @ (view.K - [[0, 0, x], [0, 0, y], [0, 0, 0]])
        fine[:2, 2] -= FINE / 2 - 0.5
        self._ctx.front_face = "ccw" if view.is_left else "cw"

        draw = self._draws[bool(passes)]
        self._set_uniforms(draw.program, view, clip_from_camera(fine, FINE * side))
        self._albedo.write(view.albedo)
        self._albedo.use(0)
        self._parts.use(1)
        target.use()
        target.clear()
        draw.render()
        window = (slice(y, y + side), slice(x, x + side))
        samples = np.frombuffer(target.read(components=4), np.uint8).reshape(FINE * side, FINE * side, 4)
        filtered = cv2.pyrDown(samples, borderType=cv2.BORDER_REPLICATE)
        layers = {"encoded": filtered, "mask": samples[::FINE, ::FINE, 3] > 0}
        layers |= _read_passes(target, FINE * side, passes)
        return Layers(**{name: self._placed(layer, window) for name, layer in layers.items()})

    def _placed(self, layer: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
        """A layer of the window in a picture that is empty elsewhere."""
        whole = np.zeros((self._size, self._size, *layer.shape[2:]), layer.dtype)
        whole[window] = layer
        return whole

    def _target(self, side: int, with_passes: bool) -> moderngl.Framebuffer:
        """The framebuffer for a window of `side` pixels, made on first use."""
        found = self._targets.get((side, with_passes))
        if found is None:
            square = (FINE * side, FINE * side)
            attachments: list[moderngl.Texture | moderngl.Renderbuffer] = [self._ctx.renderbuffer(square, 4)]
            if with_passes:
                attachments += [self._ctx.renderbuffer(square, 4, dtype="f4"), self._ctx.renderbuffer(square, 4)]
            found = self._ctx.framebuffer(attachments, self._ctx.depth_renderbuffer(square))
            self._targets[side, with_passes] = found
        return found

    def _set_uniforms(self, program: Any, view: View, clip: np.ndarray) -> None:
        """Camera, lights and shading spheres of one view."""
        surface = self._surface
        program["clip_from_camera"].write(np.ascontiguousarray(clip.T))
        spheres = np.zeros((MAX_SPHERES, 4), np.float32)
        count = len(surface.sphere_radius)
        spheres[:count, :3], spheres[:count, 3] = view.spheres, surface.sphere_radius
        program["num_spheres"].value = count
        program["spheres"].write(spheres)
        lights = np.zeros((2, 3, 3), np.float32)
        num_lights = len(view.light_directions)
        if num_lights:
            lights[0, :num_lights], lights[1, :num_lights] = view.light_directions, view.light_colors
        program["light_directions"].write(lights[0])
        program["light_colors"].write(lights[1])
        program["ambient"].write(np.asarray(view.ambient, np.float32))
        program["up"].write(np.asarray(view.up, np.float32))

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


def _read_passes(target: moderngl.Framebuffer, side: int, passes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Depth, parts, normals and texture coordinates at pixel centres."""
    found: dict[str, np.ndarray] = {}
    if "depth" in passes or "uv" in passes:
        geometry = np.frombuffer(target.read(components=4, attachment=1, dtype="f4"), np.float32)
        geometry = geometry.reshape(side, side, 4)[::FINE, ::FINE]
        found["depth"] = geometry[..., 0]
        found["uv"] = np.round(np.clip(geometry[..., 1:], 0, 1) * 65535).astype(np.uint16)
    if "parts" in passes or "normal" in passes:
        labels = np.frombuffer(target.read(components=4, attachment=2), np.uint8).reshape(side, side, 4)[::FINE, ::FINE]
        found["normal"], found["parts"] = labels[..., :3], labels[..., 3]
    return {name: found[name] for name in passes}


def _shader(name: str, with_passes: bool = False) -> str:
    """Text of a shader that ships with the package."""
    text = (resources.files("handsynth.render") / "shaders" / name).read_text()
    return text.replace("#version 330 core\n", "#version 330 core\n#define PASSES\n", 1) if with_passes else text


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
