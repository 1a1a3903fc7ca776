"""The OpenGL renderer: moderngl on EGL; colour, coverage, mask and every pass from one draw at twice the resolution."""

from collections.abc import Sequence
from importlib import metadata, resources
from typing import Any

import cv2
import moderngl
import numpy as np

from handsynth.core.camera import projected_bounds
from handsynth.core.hand import HandModel
from handsynth.render.context import driver_name, make_context
from handsynth.render.layers import HEADROOM, RENDER_VERSION, Layers, View
from handsynth.render.projection import clip_from_camera
from handsynth.render.spheres import foreign_bits, make_spheres
from handsynth.render.surface import Surface, corner_arrays

FINE = 2
"""Samples per pixel along each axis. They lie at pixel centres and half-way between: the sample at a centre decides mask and
passes, and OpenCV's pyrDown, a filter [1 4 6 4 1] / 16 along both axes centred on it, antialiases the image like a lens
of half a pixel's blur. On a CPU this is quicker than multisampling, and texture and highlights are antialiased too."""

WINDOW_STEPS = 16
"""Targets come in multiples of 1/16 of the image's side."""

PASS_TARGETS = ((1, "f4"), (2, "nu2"), (4, "f1"))
"""Components and type of the targets that hold passes: depth; texture coordinates; normal and part (locations in hand.frag)."""


class GlRenderer:
    """Draws one hand model on one context. Vertices, texture and uniforms are streamed; everything else is uploaded once."""

    def __init__(self, model: HandModel, surface: Surface, texture_size: int, image_size: int, device: int = 0) -> None:
        """Makes the context (raises AssetError without one) and allocates every buffer."""
        self._ctx = make_context(device)
        self.driver = f"handsynth's shaders {RENDER_VERSION}; moderngl {metadata.version('moderngl')}; {driver_name(self._ctx)}"
        self._surface, self._size = surface, image_size
        ctx, spheres = self._ctx, make_spheres(model)
        self._corners = ctx.buffer(reserve=len(surface.corner_vertex) * 24, dynamic=True)
        self._content = [
            (self._corners, "3f 3f", "in_position", "in_normal"),
            (ctx.buffer(np.ascontiguousarray(surface.corner_uv)), "2f", "in_uv"),
            (ctx.buffer(foreign_bits(model, spheres, surface.corner_part)), "2u4", "in_foreign"),
        ]
        self._triangles = ctx.buffer(np.ascontiguousarray(surface.triangles))
        self._spheres = np.empty((len(spheres.radius), 4), np.float32)
        self._spheres[:, 3] = spheres.radius
        self._draws: dict[tuple[int, bool], moderngl.VertexArray] = {}

        self._albedo = ctx.texture((texture_size, texture_size), 4)
        self._albedo.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self._parts = ctx.texture((len(surface.triangles), 1), 1, surface.triangle_part.tobytes(), alignment=1)
        self._parts.filter = (moderngl.NEAREST, moderngl.NEAREST)

        self._targets: dict[tuple[int, int, bool], moderngl.Framebuffer] = {}
        self._samples = np.empty((FINE * image_size) ** 2 * 4, np.uint8)  # read back into the same memory each time
        ctx.enable(moderngl.DEPTH_TEST | moderngl.CULL_FACE)

    def render(self, view: View, passes: tuple[str, ...] = ()) -> Layers:
        """Draws one view. See Renderer.render."""
        return self.render_many([view], passes)[0]

    def render_many(self, views: Sequence[View], passes: tuple[str, ...] = ()) -> list[Layers]:
        """Draws some views. Works beside other renderers in the process: OpenGL knows one current context."""
        vertices = np.array([view.vertices for view in views])
        normals = np.array([view.normals for view in views])
        K = np.array([view.K for view in views])
        corners = corner_arrays(self._surface, vertices, normals, np.array([view.is_left for view in views]))
        windows = self._windows(vertices, K)
        # Sample k of a row lies at pixel position k / FINE + 1/2, so that sample FINE i is the centre of pixel i.
        fine = K.copy()
        fine[:, :2, 2] -= windows[:, :2]
        fine[:, :2] *= FINE
        fine[:, :2, 2] -= FINE / 2 - 0.5
        clip = clip_from_camera(fine, FINE * windows[:, 2], FINE * windows[:, 3])
        columns = np.ascontiguousarray(clip.swapaxes(1, 2))  # as OpenGL wants them
        with self._ctx:
            return [self._render(*one, passes) for one in zip(views, corners, windows.tolist(), columns, strict=True)]

    def _render(
        self, view: View, corners: np.ndarray, window: tuple[int, int, int, int], clip: np.ndarray, passes: tuple[str, ...]
    ) -> Layers:
        """Draws one view on the current context; `corners` (C, 6), `window` see _windows, `clip` (4, 4) by columns."""
        x, y, width, height = window
        target = self._target(width, height, bool(passes))
        self._corners.write(corners)
        draw = self._draw(max(1, len(view.light_directions)), bool(passes))
        self._set_uniforms(draw.program, view, clip)
        self._albedo.write(view.albedo)
        self._albedo.use(0)
        self._parts.use(1)
        self._ctx.front_face = "ccw" if view.is_left else "cw"
        target.use()
        target.clear()
        draw.render()

        samples = self._samples[: FINE * FINE * width * height * 4].reshape(FINE * height, FINE * width, 4)
        target.read_into(samples, components=4)
        box = (slice(y, y + height), slice(x, x + width))
        encoded = np.zeros((self._size, self._size, 4), np.uint8)
        cv2.pyrDown(samples, encoded[box], borderType=cv2.BORDER_REPLICATE)
        layers = {"mask": samples[::FINE, ::FINE, 3] > 0} | _read_passes(target, passes)
        return Layers(encoded, window=box, **{name: self._placed(layer, box) for name, layer in layers.items()})

    def _placed(self, layer: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
        """A layer of the window in an image that is empty elsewhere."""
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
        program["clip_from_camera"].write(clip)
        program["spheres"].write(self._spheres)
        program["light_directions"].write(lights[0])
        program["light_colors"].write(lights[1])
        program["ambient_color"].write((np.asarray(view.ambient) / HEADROOM).astype(np.float32))
        program["up"].write(np.asarray(view.up, np.float32))

    def _windows(self, vertices: np.ndarray, K: np.ndarray) -> np.ndarray:
        """(B, V, 3) [m], (B, 3, 3) -> (B, 4) left, top, width and height [px] of targets that just hold the hands.

        Clearing, reading and filtering cost by area.
        """
        size, step = self._size, max(1, self._size // WINDOW_STEPS)
        bounds = projected_bounds(vertices, K)
        first = np.clip(np.floor(bounds[:, :2]).astype(int) - 1, 0, size - 1)
        last = np.clip(np.ceil(bounds[:, 2:]).astype(int) + 1, first + 1, size)
        length = np.minimum(size, -(-(last - first) // step) * step)
        return np.concatenate([np.minimum(first, size - length), length], 1)


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
    version, text = (resources.files("handsynth.render") / "shaders" / name).read_text(encoding="utf-8").split("\n", 1)
    return "\n".join([version, *(f"#define {key} {value}" for key, value in defines.items()), text])
