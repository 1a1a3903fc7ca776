"""The OpenGL renderer: moderngl on EGL; colour, coverage, mask and every pass from one draw at twice the resolution."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata, resources
from typing import Any

import cv2
import moderngl
import numpy as np

from handsynth.core.camera import projected_bounds
from handsynth.render.context import driver_name, make_context
from handsynth.render.layers import CLOTH, HEADROOM, LACQUER, RENDER_VERSION, Layers, Layout, View
from handsynth.render.projection import NEAR_M, clip_from_camera

FINE = 2
"""Samples per pixel along each axis. They lie at pixel centres and half-way between: the sample at a centre decides mask and
passes, and OpenCV's pyrDown, a filter [1 4 6 4 1] / 16 along both axes centred on it, antialiases the image like a lens
of half a pixel's blur. On a CPU this is quicker than multisampling, and texture and highlights are antialiased too."""

WINDOW_STEPS = 16
"""Targets come in multiples of 1/16 of the image's side."""

PASS_TARGETS = ((1, "f4"), (2, "nu2"), (4, "f1"))
"""Components and type of the targets that hold passes: depth; texture coordinates; normal and part (locations in shaders)."""

FLOW_TARGET = (2, "f4")
"""The target after those, where it is asked for."""

AMODAL, FLOW = "amodal", "flow"
"""The pass that needs none of those targets, but where there are several meshes one of its own, the last: see _draw_whole."""

BLUE, ALPHA = 2, 3

_Part = tuple[int, int, int, int]
"""Left, top, width and height of a part of a target [samples]."""

MOST_LIGHTS = 3
"""So many light what is lit at corners, black ones too: these cost next to nothing there, and it takes one program, not three."""

MOST_UNROLLED = 40
"""A loop over so many spheres is written out: it is the quicker, but a driver on a CPU compiles that of two hands for a second."""

SPHERE_STEP = 10
"""Finished things, wherever they are worn, take spheres from the first on, so many at a time: then they share programs."""

MATERIALS: dict[str, tuple[str, ...]] = {
    "skin": ("SKIN",),
    "smooth skin": ("CORNERS",),
    "layered skin": ("SKIN", "FINISHED"),
    "cloth": ("MATT",),
    "finished": ("FINISHED",),
}
"""What the shaders are told of each material of a layout."""


@dataclass(frozen=True, eq=False)
class _Uploaded:
    """A layout on the context."""

    corners: moderngl.Buffer  # positions and normals, streamed
    moved: moderngl.Buffer  # positions at the next frame, streamed where flow is asked for
    content: list[tuple[Any, ...]]  # buffers as a vertex array takes them
    triangles: moderngl.Buffer
    parts: moderngl.Texture
    shaded_by: tuple[int, ...]  # the spheres that shade any corner


class GlRenderer:
    """Draws meshes on one context. Vertices, textures and uniforms are streamed; layouts are uploaded once."""

    def __init__(self, image_size: int, device: int = 0) -> None:
        """Makes the context; raises AssetError without one."""
        self._ctx = make_context(device)
        self.driver = f"handsynth's shaders {RENDER_VERSION}; moderngl {metadata.version('moderngl')}; {driver_name(self._ctx)}"
        self._size = image_size
        self._layouts: dict[Layout, _Uploaded] = {}
        self._programs: dict[tuple[Any, ...], Any] = {}
        self._draws: dict[tuple[Layout, tuple[Any, ...]], moderngl.VertexArray] = {}
        self._albedos: dict[tuple[Layout, tuple[int, ...]], moderngl.Texture] = {}
        self._targets: dict[tuple[int, int, bool, bool, bool], moderngl.Framebuffer] = {}
        self._samples = np.empty((FINE * image_size) ** 2 * 4, np.uint8)  # read back into the same memory each time
        self._ctx.enable(moderngl.DEPTH_TEST | moderngl.CULL_FACE)

    def render(self, view: View, passes: tuple[str, ...] = ()) -> Layers:
        """Draws one view. See Renderer.render."""
        return self.render_many([view], passes)[0]

    def render_many(self, views: Sequence[View], passes: tuple[str, ...] = ()) -> list[Layers]:
        """Draws some views. Works beside other renderers in the process: OpenGL knows one current context."""
        K = np.array([view.K for view in views])
        corners, windows, held = self._place(views, K)
        # Sample k of a row lies at pixel position k / FINE + 1/2, so that sample FINE i is the centre of pixel i.
        fine = K.copy()
        fine[:, :2, 2] -= windows[:, :2]
        fine[:, :2] *= FINE
        fine[:, :2, 2] -= FINE / 2 - 0.5
        clip = clip_from_camera(fine, FINE * windows[:, 2], FINE * windows[:, 3])
        columns = np.ascontiguousarray(clip.swapaxes(1, 2))  # as OpenGL wants them
        with self._ctx:
            rows = zip(views, corners, windows.tolist(), held.tolist(), columns, strict=True)
            return [self._render(*one, passes) for one in rows]

    def _place(self, views: Sequence[View], K: np.ndarray) -> tuple[list[list[np.ndarray]], np.ndarray, np.ndarray]:
        """Corners (C, 6) of each mesh of each view; and `_windows`.

        Hands of one layout are placed together, all else mesh by mesh.
        """
        corners: list[list[np.ndarray]] = [[] for _ in views]
        bounds = np.tile([np.inf, np.inf, -np.inf, -np.inf], (len(views), 1))
        alike: dict[Layout, list[tuple[int, int]]] = {}
        beside: list[np.ndarray] = []
        of_view: list[int] = []
        for row, view in enumerate(views):
            corners[row] = [np.empty(0)] * len(view.meshes)
            for number, mesh in enumerate(view.meshes):
                if number == 0 or len(mesh.layout.cap_rim):
                    alike.setdefault(mesh.layout, []).append((row, number))
                    continue
                corners[row][number] = np.take(np.concatenate([mesh.vertices, mesh.normals], 1), mesh.layout.corner_vertex, 0)
                beside.append(mesh.vertices)
                of_view.append(row)
        for layout, places in alike.items():
            meshes = [views[row].meshes[number] for row, number in places]
            rows = [row for row, _ in places]
            vertices, normals = np.array([mesh.vertices for mesh in meshes]), np.array([mesh.normals for mesh in meshes])
            is_left = np.array([views[row].is_left != layout.turned for row in rows])
            arrays = corner_arrays(layout, vertices, normals, is_left)
            for (row, number), array in zip(places, arrays, strict=True):
                corners[row][number] = array
            own = self._bounds(vertices, K[rows])
            np.minimum.at(bounds[:, :2], rows, own[:, :2])
            np.maximum.at(bounds[:, 2:], rows, own[:, 2:])
        if beside:
            own = self._bounds_beside(beside, K[of_view])
            np.minimum.at(bounds[:, :2], of_view, own[:, :2])
            np.maximum.at(bounds[:, 2:], of_view, own[:, 2:])
        return corners, *self._windows(bounds)

    def _bounds_beside(self, meshes: Sequence[np.ndarray], K: np.ndarray) -> np.ndarray:
        """The same as `_bounds` of N meshes (V, 3) of different lengths, (N, 3, 3) -> (N, 4)."""
        start = np.cumsum([0, *(len(vertices) for vertices in meshes[:-1])])
        x, y, z = np.ascontiguousarray(np.concatenate(meshes).T)
        near = np.minimum.reduceat(z, start) < NEAR_M
        if near.any():
            z = np.maximum(z, np.float32(NEAR_M))
        places = x / z, y / z
        least, most = (np.stack([extreme.reduceat(at, start) for at in places], 1) for extreme in (np.minimum, np.maximum))
        focal, centre = K[:, [0, 1], [0, 1]], K[:, :2, 2]
        bounds = np.concatenate([least * focal + centre, most * focal + centre], 1)
        bounds[near] = (0, 0, self._size, self._size)
        return bounds

    def _bounds(self, vertices: np.ndarray, K: np.ndarray) -> np.ndarray:
        """(B, V, 3) [m], (B, 3, 3) -> (B, 4) left, top, right, bottom [px]; the image's, of what reaches behind the near plane."""
        near = vertices[..., 2].min(1) < NEAR_M
        if near.any():
            vertices = np.where(near[:, None, None], np.float32(1), vertices)
        bounds = projected_bounds(vertices, K)
        bounds[near] = (0, 0, self._size, self._size)
        return bounds

    def _windows(self, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, 4) left, top, right, bottom -> left, top, width and height [px] of targets that hold this, and of the part that does.
        Clearing costs by the target's area, reading and filtering by the part's.
        """
        size, step = self._size, max(1, self._size // WINDOW_STEPS)
        first = np.clip(np.floor(bounds[:, :2]).astype(int) - 1, 0, size - 1)
        last = np.clip(np.ceil(bounds[:, 2:]).astype(int) + 1, first + 1, size)
        length = np.minimum(size, -(-(last - first) // step) * step)
        return np.concatenate([np.minimum(first, size - length), length], 1), np.concatenate([first, last - first], 1)

    def _render(
        self,
        view: View,
        corners: list[np.ndarray],
        window: tuple[int, int, int, int],
        held: tuple[int, int, int, int],
        clip: np.ndarray,
        passes: tuple[str, ...],
    ) -> Layers:
        """Draws one view on the current context; `corners`, `window` and `held` see _place, `clip` (4, 4) by columns."""
        x, y, width, height = window
        shown = tuple(name for name in passes if name != AMODAL)
        several, with_flow = len(view.meshes) > 1, FLOW in passes
        with_whole, with_passes = several and AMODAL in passes, bool({*shown} - {FLOW})
        target = self._target(width, height, with_passes, with_flow, with_whole)
        self._ctx.front_face = "ccw" if view.is_left else "cw"
        target.use()
        target.clear()
        if with_whole:
            _let_through(target, whole=False)
        uniforms, spheres = _uniforms(view, clip)
        if with_flow:
            uniforms |= {
                "pinhole": _floats(view.K[[0, 1], [0, 1]], view.K[:2, 2]),
                "sample_place": _floats([FINE, x + 0.5, y + 0.5]),
            }
        ready: dict[int, np.ndarray] = {}  # programs that have them, and the spheres that they have
        for number, (mesh, array) in enumerate(zip(view.meshes, corners, strict=True)):
            uploaded = self._upload(mesh.layout)
            uploaded.corners.write(array)
            if with_flow:
                assert mesh.moved is not None  # who asks for flow has moved the meshes
                uploaded.moved.write(np.take(mesh.moved, mesh.layout.corner_vertex, 0))
            draw = self._draw(mesh.layout, view, (with_passes, with_flow, with_whole), int(number == 0) if several else None)
            program: Any = draw.program
            if program.glo not in ready:
                lights = _lights_drawn(mesh.layout.material, view)
                for name, values in uniforms.items():
                    program[name].write(values[:lights] if name.startswith("light_") else values)
            own = spheres if mesh.spheres is None else mesh.spheres
            if uploaded.shaded_by and ready.get(program.glo) is not own:
                program["spheres"].write(_those_of(own, uploaded.shaded_by))
            ready[program.glo] = own
            texture = self._albedo(mesh.layout, mesh.albedo.shape)
            texture.write(mesh.albedo)
            texture.use(0)
            if with_passes:
                uploaded.parts.use(1)
            draw.render()

        whole = (slice(y, y + height), slice(x, x + width))
        left, top, width, height = held
        box = (slice(top, top + height), slice(left, left + width))
        part = (FINE * (left - x), FINE * (top - y), FINE * width, FINE * height)  # of the target
        encoded = np.zeros((self._size, self._size, 4), np.uint8)
        samples = self._samples[: FINE * FINE * width * height * 4].reshape(FINE * height, FINE * width, 4)
        target.read_into(samples, part, components=4)
        cv2.pyrDown(samples, encoded[box], borderType=cv2.BORDER_REPLICATE)
        centres = samples[::FINE, ::FINE]
        if several:
            mask = np.bitwise_and(centres[..., BLUE], 1).view(bool)
        else:
            mask = centres[..., ALPHA] > 0
        layers = {"mask": mask} | _read_passes(target, part, shown, mask)
        if with_whole:
            layers[AMODAL] = self._draw_whole(target, part, view, corners[0], (with_passes, with_flow, True))
        placed = {name: self._placed(layer, box) for name, layer in layers.items()}
        if with_flow:
            placed[FLOW][~self._placed(centres[..., ALPHA] > 0, box)] = np.nan
        if AMODAL in passes:
            placed.setdefault(AMODAL, placed["mask"])
        return Layers(encoded, window=whole, **placed)

    def _draw_whole(
        self, target: moderngl.Framebuffer, part: _Part, view: View, corners: np.ndarray, targets: tuple[bool, bool, bool]
    ) -> np.ndarray:
        """Every pixel of a part that the first mesh covers, seen or not. Both sides count, so that an opening hides nothing."""
        layout = view.meshes[0].layout
        draw = self._draw(layout, view, targets, 1)
        self._upload(layout).corners.write(corners)
        _let_through(target, whole=True)
        self._ctx.disable(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        draw.render()
        self._ctx.enable(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        last = len(target.color_attachments) - 1
        _let_through(target)
        return _read(target, part, last, 1, "f1", np.uint8)[..., 0] > 0

    def _placed(self, layer: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
        """A layer of the window in an image that is empty elsewhere."""
        whole = np.zeros((self._size, self._size, *layer.shape[2:]), layer.dtype)
        whole[window] = layer
        return whole

    def _upload(self, layout: Layout) -> _Uploaded:
        """The buffers of a layout, made on first use."""
        found = self._layouts.get(layout)
        if found is None:
            ctx = self._ctx
            corners = ctx.buffer(reserve=len(layout.corner_vertex) * 24, dynamic=True)
            parts = ctx.texture((len(layout.triangles), 1), 1, layout.triangle_part.tobytes(), alignment=1)
            parts.filter = (moderngl.NEAREST, moderngl.NEAREST)
            moved = ctx.buffer(reserve=len(layout.corner_vertex) * 12, dynamic=True)
            content = [
                (corners, "3f 3f", "in_position", "in_normal"),
                (ctx.buffer(np.ascontiguousarray(layout.corner_uv)), "2f", "in_uv"),
                (ctx.buffer(np.ascontiguousarray(layout.foreign)), "2u4", "in_foreign"),
            ]
            bits = np.bitwise_or.reduce(layout.foreign).astype("<u4").view(np.uint8)
            shaded_by = tuple(np.flatnonzero(np.unpackbits(bits, bitorder="little")).tolist())
            is_thing = layout.material == "finished"
            if shaded_by and (2 * len(shaded_by) > shaded_by[-1] + 1 or is_thing):
                # Bits decide all the same; so layouts share programs.
                count = shaded_by[-1] + 1
                up = -count % (4 if count > MOST_UNROLLED else SPHERE_STEP if is_thing else 1)
                shaded_by = tuple(range(count + up))
            found = _Uploaded(corners, moved, content, ctx.buffer(np.ascontiguousarray(layout.triangles)), parts, shaded_by)
            self._layouts[layout] = found
        return found

    def _draw(self, layout: Layout, view: View, targets: tuple[bool, bool, bool], own: int | None) -> moderngl.VertexArray:
        """The buffers of a layout before the program that draws it in a view, made on first use. See _program."""
        uploaded = self._upload(layout)
        lights, has_sky = _lights_drawn(layout.material, view), view.sky is not None
        key = (layout.material, lights, has_sky, uploaded.shaded_by, targets, own)
        found = self._draws.get((layout, key))
        if found is None:
            if key not in self._programs:
                self._programs[key] = self._program(*key)
            moved = [(uploaded.moved, "3f", "in_moved")] if targets[1] else []
            found = self._ctx.vertex_array(self._programs[key], uploaded.content + moved, uploaded.triangles)
            self._draws[layout, key] = found
        return found

    def _program(
        self,
        material: str,
        lights: int,
        has_sky: bool,
        shaded_by: tuple[int, ...],
        targets: tuple[bool, bool, bool],
        own: int | None,
    ) -> Any:
        """The program of a material for so many lights, with or without a sky, and these of a view's spheres.

        `targets`: whether there are those of passes, of flow and of the whole of the first mesh. `own`: 1 for the first of several
        meshes, 0 for another, None for one that is alone.
        """
        with_passes, with_flow, with_whole = targets
        defines: dict[str, Any] = {"LIGHTS": lights, "SPHERES": max(1, len(shaded_by))}
        is_loop = len(shaded_by) > MOST_UNROLLED
        if not is_loop:
            defines["EACH_SPHERE(f)"] = " ".join(f"f({number}, {s})" for number, s in enumerate(shaded_by))
        defines |= dict.fromkeys(MATERIALS[material], "") | {"CLOTH": CLOTH / 255, "LACQUER": LACQUER / 255}
        defines["AMBIENT"] = "smooth" if has_sky else "flat"
        if has_sky:
            defines["SKY"] = ""
        if with_passes:
            defines["PASSES"] = ""
        if own is not None:
            defines["OWN"] = float(own)
        if with_whole:
            defines["WHOLE"] = 1 + with_passes * len(PASS_TARGETS) + with_flow
        if with_flow:
            defines["FLOW"] = 1 + with_passes * len(PASS_TARGETS)
        program: Any = self._ctx.program(*(_shader(("skin.glsl", name), defines) for name in ("mesh.vert", "surface.frag")))
        program["albedo"].value = 0
        if is_loop:
            program["shading"].value = len(shaded_by)
        if with_passes:
            program["triangle_part"].value = 1
        return program

    def _albedo(self, layout: Layout, shape: tuple[int, ...]) -> moderngl.Texture:
        """The texture that a layout's albedos of a shape are streamed to, made on first use.

        None is written twice in a view: that would make the driver draw at once what it has gathered.
        """
        found = self._albedos.get((layout, shape))
        if found is None:
            found = self._albedos[layout, shape] = self._ctx.texture((shape[1], shape[0]), 4)
            found.filter = (moderngl.LINEAR, moderngl.LINEAR)
        return found

    def _target(self, width: int, height: int, with_passes: bool, with_flow: bool, with_whole: bool) -> moderngl.Framebuffer:
        """The framebuffer for a window of so many pixels, made on first use."""
        key = (width, height, with_passes, with_flow, with_whole)
        found = self._targets.get(key)
        if found is None:
            samples = (FINE * width, FINE * height)
            kinds = [(4, "f1"), *PASS_TARGETS * with_passes, *[FLOW_TARGET] * with_flow, *[(1, "f1")] * with_whole]
            attachments = [self._ctx.renderbuffer(samples, components, dtype=dtype) for components, dtype in kinds]
            found = self._ctx.framebuffer(attachments, self._ctx.depth_renderbuffer(samples))
            self._targets[key] = found
        return found


def _let_through(target: moderngl.Framebuffer, whole: bool | None = None) -> None:
    """What draws write: all but the last attachment, or that one alone, or everything."""
    rest, last = (whole is not True,) * 4, (whole is not False,) * 4
    target.color_mask = (*[rest] * (len(target.color_attachments) - 1), last)  # type: ignore[assignment]  # its stub knows one


def corner_arrays(layout: Layout, vertices: np.ndarray, normals: np.ndarray, is_left: np.ndarray) -> np.ndarray:
    """Positions and normals of the corners of B meshes: (B, V, 3) each, (B,) bool -> (B, C, 6) float32.

    A cap's corners share one normal, that of its plane, bulged a little.
    """
    corners = np.take(np.concatenate([vertices, normals], -1), layout.corner_vertex, 1, mode="clip")
    if not len(layout.cap_rim):
        return corners
    rim = vertices[:, layout.cap_rim].astype(np.float64)
    radial = rim - rim.mean(1, keepdims=True)
    # Newell's normal of the rim's polygon: the sum of the cross products of neighbours.
    products = np.roll(radial, -1, 1).swapaxes(1, 2) @ radial
    normal = np.stack([products[:, i, j] - products[:, j, i] for i, j in ((1, 2), (2, 0), (0, 1))], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) * np.where(is_left, -1, 1)[:, None]
    bulged = normal[:, None] + 0.6 * radial / np.linalg.norm(radial, axis=-1, keepdims=True)
    corners[:, -len(layout.cap_rim) :, 3:] = bulged / np.linalg.norm(bulged, axis=-1, keepdims=True)
    return corners


def _lights_drawn(material: str, view: View) -> int:
    """How many lights a material is drawn with in a view."""
    count = max(1, len(view.light_directions))
    return max(count, MOST_LIGHTS) if "SKIN" not in MATERIALS[material] and "FINISHED" not in MATERIALS[material] else count


def _uniforms(view: View, clip: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Camera and lights of one view, by their names in the shaders, and its (S, 4) shading spheres; as the driver takes them.

    Of the lights, black ones that make up MOST_LIGHTS follow.
    """
    count = len(view.light_directions)
    lights = np.zeros((2, max(MOST_LIGHTS, count), 3), np.float32)
    if count:
        lights[0, :count], lights[1, :count] = view.light_directions, view.light_colors
    lights[1] /= HEADROOM
    spheres = np.empty((len(view.spheres), 4), np.float32)
    spheres[:, :3], spheres[:, 3] = view.spheres, view.sphere_radius
    found = {"clip_from_camera": clip, "light_directions": lights[0], "light_colors": lights[1]}
    if view.sky is not None:
        return found | {"sky_light": (view.sky / HEADROOM).astype(np.float32)}, spheres
    ambient = (np.asarray(view.ambient) / HEADROOM).astype(np.float32)
    return found | {"ambient_color": ambient, "up": np.asarray(view.up, np.float32)}, spheres


def _those_of(spheres: np.ndarray, numbers: tuple[int, ...]) -> np.ndarray:
    """(N, 4) those of some spheres (S, 4) that have N ascending numbers; what is beyond the last has no size."""
    if len(numbers) == len(spheres):
        return spheres
    found = np.zeros((len(numbers), 4), np.float32)
    there = bisect_left(numbers, len(spheres))
    found[:there] = spheres[list(numbers[:there])]
    return found


def _read(target: moderngl.Framebuffer, part: _Part, attachment: int, components: int, name: str, dtype: Any) -> np.ndarray:
    """What an attachment holds at pixel centres of a part."""
    data = target.read(part, components=components, attachment=attachment, dtype=name, alignment=1)
    return np.frombuffer(data, dtype).reshape(part[3], part[2], components)[::FINE, ::FINE]


def _read_passes(target: moderngl.Framebuffer, part: _Part, passes: tuple[str, ...], mask: np.ndarray) -> dict[str, np.ndarray]:
    """Depth, parts, normals and texture coordinates at pixel centres of a part; these of the pixels of `mask` alone."""
    found: dict[str, np.ndarray] = {}
    if "depth" in passes:
        found["depth"] = _read(target, part, 1, *PASS_TARGETS[0], np.float32)[..., 0]
    if "parts" in passes or "normal" in passes:
        labels = _read(target, part, 3, *PASS_TARGETS[2], np.uint8)
        found["normal"], found["parts"] = labels[..., :3], labels[..., 3]
    if "uv" in passes:
        on_first = np.where(mask, np.uint16(65535), np.uint16(0))
        found["uv"] = np.concatenate([_read(target, part, 2, *PASS_TARGETS[1], np.uint16), on_first[..., None]], -1)
    if FLOW in passes:
        place = 1 + len(PASS_TARGETS) * bool({*passes} - {FLOW})
        found[FLOW] = _read(target, part, place, *FLOW_TARGET, np.float32).copy()
    return {name: found[name] for name in passes}


def _floats(*values: Any) -> np.ndarray:
    """Numbers as a uniform takes them."""
    return np.concatenate(values).astype(np.float32)


def _shader(names: Sequence[str], defines: dict[str, Any]) -> str:
    """Texts that ship with the package as one shader, with some macros defined."""
    return "\n".join(["#version 330 core", *(f"#define {key} {value}" for key, value in defines.items()), *map(_text, names)])


@lru_cache(maxsize=8)
def _text(name: str) -> str:
    """A file of shaders: read once, for there are many programs."""
    return (resources.files("handsynth.render") / "shaders" / name).read_text(encoding="utf-8")
