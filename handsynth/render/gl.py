"""The OpenGL renderer: moderngl on EGL; colour, coverage, mask and every pass from one draw at twice the resolution."""

import math
from importlib import metadata, resources
from typing import Any

import cv2
import moderngl
import numpy as np

from handsynth.core.camera import projected_bounds
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

PASS_TARGETS = ((1, "f4"), (2, "nu2"), (4, "f1"))
"""Components and type of the targets that hold passes: depth; texture coordinates; normal and part (locations in hand.frag)."""

PIXELS = 2
"""Goes up with each change that moves a pixel, and is part of the driver's name: a replay then expects labels alone to agree."""

MAX_SPHERES = 64
"""Bits in a corner's set of foreign spheres."""


class GlRenderer:
    """Draws one hand model on one context. Vertices, texture and uniforms are streamed; everything else is uploaded once."""

    def __init__(self, model: HandModel, surface: Surface, texture_size: int, image_size: int, device: int = 0) -> None:
        """Makes the context (raises AssetError without one) and allocates every buffer."""
        self._ctx = make_context(device)
        self.driver = f"handsynth's shaders {PIXELS}; moderngl {metadata.version('moderngl')}; {driver_name(self._ctx)}"
        self._surface, self._size = surface, image_size
        ctx = self._ctx
        corners = len(surface.corner_vertex)
        self._corners = np.empty((2, corners, 3), np.float32)  # positions and normals
        self._rim_next = np.roll(np.arange(len(surface.rim)), -1)
        self._streams = [ctx.buffer(reserve=corners * 12, dynamic=True) for _ in self._corners]
        self._content = [
            (self._streams[0], "3f", "in_position"),
            (self._streams[1], "3f", "in_normal"),
            (ctx.buffer(np.ascontiguousarray(surface.corner_uv)), "2f", "in_uv"),
            (ctx.buffer(_foreign_bits(model, surface)), "2u4", "in_foreign"),
        ]
        self._triangles = ctx.buffer(np.ascontiguousarray(surface.triangles))
        self._spheres = np.empty((len(surface.sphere_radius), 4), np.float32)
        self._spheres[:, 3] = surface.sphere_radius
        self._draws: dict[tuple[int, bool], moderngl.VertexArray] = {}

        self._albedo = ctx.texture((texture_size, texture_size), 4)
        self._albedo.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self._parts = ctx.texture((len(surface.triangles), 1), 1, surface.triangle_part.tobytes(), alignment=1)
        self._parts.filter = (moderngl.NEAREST, moderngl.NEAREST)

        self._targets: dict[tuple[int, int, bool], moderngl.Framebuffer] = {}
        self._samples = np.empty((FINE * image_size) ** 2 * 4, np.uint8)  # read back into the same memory each time
        ctx.enable(moderngl.DEPTH_TEST | moderngl.CULL_FACE)

    def render(self, view: View, passes: tuple[str, ...] = ()) -> Layers:
        """Draws one view. See Renderer.render. Works beside other renderers in the process: OpenGL knows one current context."""
        with self._ctx:
            return self._render(view, passes)

    def _render(self, view: View, passes: tuple[str, ...]) -> Layers:
        """Draws one view on the current context."""
        x, y, width, height = self._window(view)
        target = self._target(width, height, bool(passes))
        # Sample k of a row lies at pixel position k / FINE + 1/2, so that sample FINE i is the centre of pixel i.
        fine = np.diag([FINE, FINE, 1.0]) @ (view.K - [[0, 0, x], [0, 0, y], [0, 0, 0]])
        fine[:2, 2] -= FINE / 2 - 0.5

        self._upload_corners(view)
        draw = self._draw(max(1, len(view.light_directions)), bool(passes))
        self._set_uniforms(draw.program, view, clip_from_camera(fine, FINE * width, FINE * height))
        self._albedo.write(view.albedo)
        self._albedo.use(0)
        self._parts.use(1)
        self._ctx.front_face = "ccw" if view.is_left else "cw"
        target.use()
        target.clear()
        draw.render()

        samples = self._samples[: FINE * FINE * width * height * 4].reshape(FINE * height, FINE * width, 4)
        target.read_into(samples, components=4)
        filtered = cv2.pyrDown(samples, borderType=cv2.BORDER_REPLICATE)
        layers = {"encoded": filtered, "mask": samples[::FINE, ::FINE, 3] > 0} | _read_passes(target, passes)
        window = (slice(y, y + height), slice(x, x + width))
        return Layers(**{name: self._placed(layer, window) for name, layer in layers.items()})

    def _placed(self, layer: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
        """A layer of the window in a picture that is empty elsewhere."""
        whole = np.zeros((self._size, self._size, *layer.shape[2:]), layer.dtype)
        whole[window] = layer
        return whole

    def _draw(self, lights: int, with_passes: bool) -> moderngl.VertexArray:
        """The program for so many lights, made on first use, with its buffers."""
        found = self._draws.get((lights, with_passes))
        if found is None:
            spheres = range(len(self._spheres))
            defines = {"LIGHTS": lights, "SPHERES": len(spheres), "EACH_SPHERE(f)": " ".join(f"f({s})" for s in spheres)}
            if with_passes:
                defines["PASSES"] = ""
            program: Any = self._ctx.program(_shader("hand.vert", defines), _shader("hand.frag", defines))
            program["albedo"].value = 0
            if with_passes:
                program["triangle_part"].value = 1
            found = self._draws[lights, with_passes] = self._ctx.vertex_array(program, self._content, self._triangles)
        return found

    def _target(self, width: int, height: int, with_passes: bool) -> moderngl.Framebuffer:
        """The framebuffer for a window of so many pixels, made on first use."""
        found = self._targets.get((width, height, with_passes))
        if found is None:
            samples = (FINE * width, FINE * height)
            attachments: list[moderngl.Texture | moderngl.Renderbuffer] = [self._ctx.renderbuffer(samples, 4)]
            if with_passes:
                attachments += [self._ctx.renderbuffer(samples, n, dtype=dtype) for n, dtype in PASS_TARGETS]
            found = self._ctx.framebuffer(attachments, self._ctx.depth_renderbuffer(samples))
            self._targets[width, height, with_passes] = found
        return found

    def _set_uniforms(self, program: Any, view: View, clip: np.ndarray) -> None:
        """Camera, lights and shading spheres of one view."""
        self._spheres[:, :3] = view.spheres
        lights = np.zeros((2, max(1, len(view.light_directions)), 3), np.float32)
        if len(view.light_directions):
            lights[0], lights[1] = view.light_directions, view.light_colors
        lights[1] /= HEADROOM
        program["clip_from_camera"].write(np.ascontiguousarray(clip.T))
        program["spheres"].write(self._spheres)
        program["light_directions"].write(lights[0])
        program["light_colors"].write(lights[1])
        program["ambient_color"].write((np.asarray(view.ambient) / HEADROOM).astype(np.float32))
        program["up"].write(np.asarray(view.up, np.float32))

    def _window(self, view: View) -> tuple[int, int, int, int]:
        """Left, top, width and height [px] of a target that just holds the hand: clearing, reading and filtering cost by area."""
        size, step = self._size, max(1, self._size // WINDOW_STEPS)
        left, top, right, bottom = projected_bounds(view.vertices, view.K)

        def span(low: float, high: float) -> tuple[int, int]:
            first = min(max(math.floor(low) - 1, 0), size - 1)
            last = min(max(math.ceil(high) + 1, first + 1), size)
            length = min(size, -(-(last - first) // step) * step)
            return min(first, size - length), length

        (x, width), (y, height) = span(left, right), span(top, bottom)
        return x, y, width, height

    def _upload_corners(self, view: View) -> None:
        """Streams positions and normals; the cap's corners share one normal, that of its plane, bulged a little."""
        surface, corners = self._surface, self._corners
        np.take(view.vertices, surface.corner_vertex, 0, out=corners[0], mode="clip")
        np.take(view.normals, surface.corner_vertex, 0, out=corners[1], mode="clip")
        rim = view.vertices[surface.rim].astype(np.float64)
        radial = rim - rim.mean(0)
        # Newell's normal of the rim's polygon: the sum of the cross products of neighbours.
        products = radial[self._rim_next].T @ radial
        normal = np.array([products[1, 2] - products[2, 1], products[2, 0] - products[0, 2], products[0, 1] - products[1, 0]])
        normal /= np.linalg.norm(normal) * (-1 if view.is_left else 1)
        bulged = normal + 0.6 * radial / np.linalg.norm(radial, axis=1, keepdims=True)
        corners[1, -surface.num_cap_corners :] = bulged / np.linalg.norm(bulged, axis=1, keepdims=True)
        for stream, values in zip(self._streams, corners, strict=True):
            stream.write(values)


def _read_passes(target: moderngl.Framebuffer, passes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Depth, parts, normals and texture coordinates at pixel centres."""

    def read(attachment: int, dtype: Any) -> np.ndarray:
        components, name = PASS_TARGETS[attachment - 1]
        data = target.read(components=components, attachment=attachment, dtype=name, alignment=1)
        return np.frombuffer(data, dtype).reshape(target.height, target.width, components)[::FINE, ::FINE]

    found: dict[str, np.ndarray] = {}
    if "depth" in passes:
        found["depth"] = read(1, np.float32)[..., 0]
    if "parts" in passes or "normal" in passes or "uv" in passes:
        labels = read(3, np.uint8)
        found["normal"], found["parts"] = labels[..., :3], labels[..., 3]
    if "uv" in passes:
        on_hand = np.where(found["parts"] > 0, np.uint16(65535), np.uint16(0))
        found["uv"] = np.concatenate([read(2, np.uint16), on_hand[..., None]], -1)
    return {name: found[name] for name in passes}


def _shader(name: str, defines: dict[str, Any]) -> str:
    """Text of a shader that ships with the package, with some macros defined."""
    version, text = (resources.files("handsynth.render") / "shaders" / name).read_text().split("\n", 1)
    return "\n".join([version, *(f"#define {key} {value}" for key, value in defines.items()), text])


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
