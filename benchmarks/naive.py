"""The baseline: the same samples by a plain pipeline, as most people write it first. Small, fair, and nothing tuned.

The renderer is kept (making one for each picture would halve the speed again). The rest is the obvious call for each job: one
sample at a time, a float64 einsum for the skin, a new trimesh, Mesh and Scene for each picture, Pillow, np.savez, tarfile.
"""

import io
import tarfile
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from handsynth.assets.library import Library
from handsynth.core.camera import project, transform
from handsynth.core.conventions import VISIBLE_TOLERANCE_M
from handsynth.core.hand import keypoints_from_vertices, pose_hand
from handsynth.recipe.priors import camera_matrices
from handsynth.recipe.recipe import Recipe
from handsynth.recipe.spec import DatasetSpec
from handsynth.render.pyrender_backend import GL_FROM_CV
from handsynth.render.surface import make_surface


class NaivePipeline:
    """Makes right hands of one spec."""

    def __init__(self, spec: DatasetSpec, library: Library, renderer, scratch: Path) -> None:
        """`renderer` is a pyrender.OffscreenRenderer. Writes some backgrounds as JPEG files into `scratch`."""
        import pyrender

        self.spec, self.library, self._renderer, self._pyrender = spec, library, renderer, pyrender
        skin = library.skin
        self.surface = make_surface(library.hand, skin.uv, skin.uv_faces)
        # The whole picture of each component, as the published texture models store it.
        self.mean = np.zeros((skin.size**2, 3))
        self.mean[skin.texels] = skin.mean
        self.components = np.zeros((len(skin.components), skin.size**2, 3))
        self.components[:, skin.texels] = skin.components
        self.backgrounds = [scratch / f"{k}.jpg" for k in range(min(64, len(library.backgrounds)))]
        for k, path in enumerate(self.backgrounds):
            Image.fromarray(library.backgrounds.read(k)).save(path, quality=90)

    def write(self, recipes: list[Recipe], path: Path) -> None:
        """Makes the samples of `recipes` and writes them as a tar."""
        with tarfile.open(path, "w") as tar:
            for recipe in recipes:
                for extension, data in self._make_sample(recipe).items():
                    entry = tarfile.TarInfo(f"{recipe.index:09d}.{extension}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))

    def _make_sample(self, recipe: Recipe) -> dict[str, bytes]:
        model, size = self.library.hand, self.spec.image_size
        posed = pose_hand(model, np.array(recipe.theta).reshape(-1, 3), np.array(recipe.beta), np.array(recipe.trans))
        K, T = camera_matrices(recipe.camera)
        vertices = transform(T, posed.vertices)
        keypoints = keypoints_from_vertices(model, vertices)
        skin = np.einsum("c,cuk->uk", np.array(recipe.alpha), self.components) + self.mean
        texture = np.clip(skin, 0, 255).astype(np.uint8).reshape(self.library.skin.size, -1, 3)

        color, depth = self._render(vertices, texture, K, recipe)
        mask = depth > 0
        picture = np.where(mask[..., None], color[..., :3], self._background(recipe)).astype(np.float64)
        picture *= np.array(recipe.sensor.gains) ** (1 / 2.2)
        rng = np.random.default_rng(recipe.sensor.noise_key)
        picture += rng.normal(0, 255 * recipe.sensor.noise, picture.shape)
        rgb = np.clip(picture, 0, 255).astype(np.uint8)

        xy = project(keypoints, K)
        column, row = np.clip(xy.astype(int), 0, size - 1).T
        visible = (depth[row, column] == 0) | (depth[row, column] + VISIBLE_TOLERANCE_M >= keypoints[:, 2])
        jpg, png, npz = io.BytesIO(), io.BytesIO(), io.BytesIO()
        Image.fromarray(rgb).save(jpg, "JPEG", quality=recipe.sensor.jpeg_quality)
        Image.fromarray(mask.astype(np.uint8) * 255).save(png, "PNG")
        np.savez(
            npz, K=K, T_cam_world=T, theta=recipe.theta, beta=recipe.beta, keypoints_cam=keypoints, keypoints_xy=xy,
            keypoints_visible=visible, vertices=vertices.astype(np.float32),
        )  # fmt: skip
        return {"jpg": jpg.getvalue(), "mask.png": png.getvalue(), "npz": npz.getvalue()}

    def _background(self, recipe: Recipe) -> np.ndarray:
        """(size, size, 3) crop of a picture file."""
        choice, size = recipe.background, self.spec.image_size
        picture = Image.open(self.backgrounds[choice.index % len(self.backgrounds)])
        side = round(choice.scale * min(picture.size))
        left, top = round(choice.x * (picture.width - side)), round(choice.y * (picture.height - side))
        return np.array(picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BILINEAR))

    def _render(self, vertices: np.ndarray, texture: np.ndarray, K: np.ndarray, recipe: Recipe):
        """Colour and depth of one hand by pyrender's usual calls."""
        pyrender, surface = self._pyrender, self.surface
        # Corners of the texture layout: trimesh wants one texture coordinate for each vertex.
        visual = trimesh.visual.TextureVisuals(uv=surface.corner_uv * [1, -1] + [0, 1], image=Image.fromarray(texture))
        mesh = trimesh.Trimesh(vertices[surface.corner_vertex] * GL_FROM_CV, surface.triangles, visual=visual, process=False)
        scene = pyrender.Scene(bg_color=[0, 0, 0, 0], ambient_light=np.array(recipe.ambient.color))
        scene.add(pyrender.Mesh.from_trimesh(mesh))
        for light in recipe.lights:
            backward = np.array(light.direction_cam) * GL_FROM_CV
            side = np.cross([0.123, 0.987, 0.1], backward)
            side /= np.linalg.norm(side)
            pose = np.eye(4)
            pose[:3, :3] = np.stack([side, np.cross(backward, side), backward], 1)
            color = np.array(light.color)
            scene.add(pyrender.DirectionalLight(color=color / color.max(), intensity=float(np.pi * color.max())), pose=pose)
        scene.add(pyrender.IntrinsicsCamera(K[0, 0], K[1, 1], K[0, 2], K[1, 2], znear=0.05, zfar=15.0))
        return self._renderer.render(scene, flags=pyrender.RenderFlags.RGBA)
