"""The second renderer: pyrender, for its physically based shading and as the oracle of the tests. Same geometry, slower."""

import os
from collections.abc import Sequence

import numpy as np

from handsynth.core.errors import AssetError, UsageError
from handsynth.render.context import INSTALL_HINT, prepare_environment
from handsynth.render.layers import HEADROOM, RENDER_VERSION, Layers, View
from handsynth.render.projection import FAR_M, NEAR_M
from handsynth.render.surface import Surface

GL_FROM_CV = np.array([1.0, -1.0, -1.0], np.float32)
"""OpenCV camera frame (y down, z forward) to OpenGL's (y up, z backward)."""


class PyrenderRenderer:
    """Draws with pyrender's OffscreenRenderer. Keep exactly one per process: deleting any ends EGL for all of them."""

    def __init__(self, surface: Surface, image_size: int, device: int = 0) -> None:
        """Makes the context on an EGL device. Raises AssetError without EGL."""
        prepare_environment()
        os.environ |= {"PYOPENGL_PLATFORM": "egl", "EGL_DEVICE_ID": str(device)}
        import pyrender

        self._pyrender, self._surface, self._size = pyrender, surface, image_size
        try:
            self._renderer = pyrender.OffscreenRenderer(image_size, image_size)
        except Exception as error:
            raise AssetError(f"pyrender finds no OpenGL through EGL ({error}); {INSTALL_HINT}") from None
        self.driver = f"handsynth's textures {RENDER_VERSION}; pyrender {pyrender.__version__}; {_gl_string()}"

    def render_many(self, views: Sequence[View], passes: tuple[str, ...] = ()) -> list[Layers]:
        """Draws some views."""
        return [self.render(view, passes) for view in views]

    def render(self, view: View, passes: tuple[str, ...] = ()) -> Layers:
        """Draws one view. See Renderer.render; of the passes, pyrender can draw depth."""
        if set(passes) - {"depth"}:
            raise UsageError("the pyrender backend draws the depth pass only: use --renderer moderngl for the others")
        pyrender, surface = self._pyrender, self._surface
        import trimesh

        faces = surface.triangles[:, ::-1] if view.is_left else surface.triangles
        texture = pyrender.Texture(source=np.ascontiguousarray(view.albedo[::-1, :, :3]), source_channels="RGB")
        material = pyrender.MetallicRoughnessMaterial(baseColorTexture=texture, metallicFactor=0.0, roughnessFactor=0.55)
        mesh = pyrender.Primitive(
            positions=view.vertices[surface.corner_vertex] * GL_FROM_CV,
            normals=view.normals[surface.corner_vertex] * GL_FROM_CV,
            texcoord_0=surface.corner_uv * [1, -1] + [0, 1],
            indices=faces,
            material=material,
            mode=pyrender.GLTF.TRIANGLES,
        )
        scene = pyrender.Scene(bg_color=[0, 0, 0, 0], ambient_light=np.asarray(view.ambient))
        node = scene.add(pyrender.Mesh([mesh]))
        for direction, color in zip(view.light_directions * GL_FROM_CV, view.light_colors, strict=True):
            strength = float(np.max(color))
            light = pyrender.DirectionalLight(color=color / max(strength, 1e-6), intensity=np.pi * strength)
            scene.add(light, pose=trimesh.geometry.align_vectors([0, 0, 1], direction))
        fx, fy, cx, cy = view.K[0, 0], view.K[1, 1], view.K[0, 2], view.K[1, 2]
        scene.add(pyrender.IntrinsicsCamera(fx, fy, cx, cy, znear=NEAR_M, zfar=FAR_M))
        color, _ = self._renderer.render(scene, flags=pyrender.RenderFlags.RGBA)
        # Its antialiased depth belongs to the first of four samples; only drawn as a segmentation does it belong to the centre.
        _, depth = self._renderer.render(scene, flags=pyrender.RenderFlags.SEG, seg_node_map={node: (255, 255, 255)})
        # pyrender writes (linear colour)^(1/2.2), premultiplied: back to our encoding.
        coverage = color[..., 3:].astype(np.float32) / 255
        straight = color[..., :3] / 255 / np.maximum(coverage, 1 / 255)
        root = np.sqrt(np.clip(straight, 0, 1) ** 2.2 / HEADROOM) * coverage
        encoded = np.round(255 * np.concatenate([root, coverage], -1)).astype(np.uint8)
        whole = slice(0, self._size)
        return Layers(encoded, depth > 0, (whole, whole), depth=depth if "depth" in passes else None)


def _gl_string() -> str:
    """Renderer and version of the current context."""
    from OpenGL import GL

    name, version = GL.glGetString(GL.GL_RENDERER), GL.glGetString(GL.GL_VERSION)
    return f"{name.decode() if name else 'unknown'}; OpenGL {version.decode() if version else 'unknown'}"
