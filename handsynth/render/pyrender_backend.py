"""The second renderer: pyrender, for its physically based shading and as the oracle of the tests. Same geometry, slower."""

import os
from collections.abc import Sequence

import numpy as np

from handsynth.core.errors import AssetError, UsageError
from handsynth.core.harmonics import split
from handsynth.render.context import INSTALL_HINT, prepare_environment
from handsynth.render.layers import CLOTH, HEADROOM, LACQUER, LEATHER, METAL, PLASTIC, RENDER_VERSION, SKIN, Layers, Mesh, View
from handsynth.render.projection import FAR_M, NEAR_M

GL_FROM_CV = np.array([1.0, -1.0, -1.0], np.float32)
"""OpenCV camera frame (y down, z forward) to OpenGL's (y up, z backward)."""

ROUGHNESS = {"skin": 0.55, "smooth skin": 0.55, "cloth": 1.0}
"""Of each material that has one."""

_KNOWN = np.array([METAL, LACQUER, PLASTIC, LEATHER, CLOTH, SKIN])
FINISHES = np.zeros((256, 3), np.uint8)
"""Of each finish, what glTF has in the green and blue of a texture: roughness and metalness."""
FINISHES[:, 1] = np.rint(255 * np.interp(np.arange(256), _KNOWN, [0.3, 0.15, 0.35, 0.6, 1.0, ROUGHNESS["skin"]]))
FINISHES[:, 2] = np.rint(255 * np.interp(np.arange(256), _KNOWN[:2], [1.0, 0.0]))


class PyrenderRenderer:
    """Draws with pyrender's OffscreenRenderer. Keep exactly one per process: deleting any ends EGL for all of them."""

    def __init__(self, image_size: int, device: int = 0) -> None:
        """Makes the context on an EGL device. Raises AssetError without EGL."""
        prepare_environment()
        os.environ |= {"PYOPENGL_PLATFORM": "egl", "EGL_DEVICE_ID": str(device)}
        import pyrender

        self._pyrender, self._size = pyrender, image_size
        try:
            self._renderer = pyrender.OffscreenRenderer(image_size, image_size)
        except Exception as error:
            raise AssetError(f"pyrender finds no OpenGL through EGL ({error}); {INSTALL_HINT}") from None
        self.driver = f"handsynth's textures {RENDER_VERSION}; pyrender {pyrender.__version__}; {_gl_string()}"

    def render_many(self, views: Sequence[View], passes: tuple[str, ...] = ()) -> list[Layers]:
        """Draws some views."""
        return [self.render(view, passes) for view in views]

    def render(self, view: View, passes: tuple[str, ...] = ()) -> Layers:
        """Draws one view. See Renderer.render; of the passes, pyrender can draw depth and amodal."""
        if set(passes) - {"depth", "amodal"}:
            raise UsageError("the pyrender backend draws the depth pass only: use --renderer moderngl for the others")
        pyrender = self._pyrender
        import trimesh

        ambient, directions, colors = np.asarray(view.ambient), view.light_directions, view.light_colors
        if view.sky is not None:  # of which pyrender can show orders 0 and 1
            ambient, *lamp = split(view.sky)
            directions, colors = np.vstack([directions, lamp[0]]), np.vstack([colors, lamp[1]])
        scene = pyrender.Scene(bg_color=[0, 0, 0, 0], ambient_light=ambient)
        nodes = [scene.add(self._mesh(mesh, view.is_left)) for mesh in view.meshes]
        for direction, color in zip(directions * GL_FROM_CV, colors, strict=True):
            strength = float(np.max(color))
            light = pyrender.DirectionalLight(color=color / max(strength, 1e-6), intensity=np.pi * strength)
            scene.add(light, pose=trimesh.geometry.align_vectors([0, 0, 1], direction))
        fx, fy, cx, cy = view.K[0, 0], view.K[1, 1], view.K[0, 2], view.K[1, 2]
        scene.add(pyrender.IntrinsicsCamera(fx, fy, cx, cy, znear=NEAR_M, zfar=FAR_M))
        color, _ = self._renderer.render(scene, flags=pyrender.RenderFlags.RGBA)
        # Its antialiased depth belongs to the first of four samples; only drawn as a segmentation does it belong to the centre.
        owner, depth = self._segment(scene, nodes)
        # pyrender writes (linear colour)^(1/2.2), premultiplied: back to our encoding.
        coverage = color[..., 3:].astype(np.float32) / 255
        straight = color[..., :3] / 255 / np.maximum(coverage, 1 / 255)
        root = np.sqrt(np.clip(straight, 0, 1) ** 2.2 / HEADROOM) * coverage
        encoded = np.round(255 * np.concatenate([root, coverage], -1)).astype(np.uint8)
        whole, mask = slice(0, self._size), owner == 1
        found = {"depth": depth, "amodal": mask}
        if "amodal" in passes and len(nodes) > 1:
            for node in nodes[1:]:
                scene.remove_node(node)
            inside = scene.add(self._mesh(view.meshes[0], not view.is_left))  # so that an opening hides nothing
            found["amodal"] = self._segment(scene, [nodes[0], inside])[0] > 0
        return Layers(encoded, mask, (whole, whole), **{name: found[name] for name in passes})

    def _mesh(self, mesh: Mesh, is_left: bool):
        """A mesh as pyrender takes it."""
        pyrender, layout = self._pyrender, mesh.layout
        texture = pyrender.Texture(source=np.ascontiguousarray(mesh.albedo[..., :3]), source_channels="RGB")  # it turns rows itself
        if layout.material in ROUGHNESS:
            look = {"metallicFactor": 0.0, "roughnessFactor": ROUGHNESS[layout.material]}
        else:
            finish = FINISHES[mesh.albedo[..., 3]]
            look = {"metallicRoughnessTexture": pyrender.Texture(source=finish, source_channels="RGB")}
        material = pyrender.MetallicRoughnessMaterial(baseColorTexture=texture, **look)
        primitive = pyrender.Primitive(
            positions=mesh.vertices[layout.corner_vertex] * GL_FROM_CV,
            normals=mesh.normals[layout.corner_vertex] * GL_FROM_CV,
            texcoord_0=layout.corner_uv * [1, -1] + [0, 1],
            indices=layout.triangles[:, ::-1] if is_left else layout.triangles,
            material=material,
            mode=pyrender.GLTF.TRIANGLES,
        )
        return pyrender.Mesh([primitive])

    def _segment(self, scene, nodes: list) -> tuple[np.ndarray, np.ndarray]:
        """Number of the node, from 1, and depth [m] at pixel centres; 0 for background."""
        numbers = {node: (number, number, number) for number, node in enumerate(nodes, 1)}
        color, depth = self._renderer.render(scene, flags=self._pyrender.RenderFlags.SEG, seg_node_map=numbers)
        return color[..., 0], depth


def _gl_string() -> str:
    """Renderer and version of the current context."""
    from OpenGL import GL

    name, version = GL.glGetString(GL.GL_RENDERER), GL.glGetString(GL.GL_VERSION)
    return f"{name.decode() if name else 'unknown'}; OpenGL {version.decode() if version else 'unknown'}"
