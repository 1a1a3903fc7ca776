"""Two baselines that make the same samples: the pipeline as most people write it, and the same after a day with a profiler.

*Naive*: one sample at a time and the obvious call for each job: a float64 einsum over the texture's basis, a new trimesh, Mesh
and Scene for each image, Pillow, PNG, np.savez, tarfile. The renderer is kept (a new one for each image would halve the
speed again). *Careful*: the basis is float32 and one matrix-vector product, images are JPEG by Pillow, masks are packed lightly.

Either holds the basis as a whole image for each component (`whole_map`), its gaps filled, or for the used texels alone, as
HTML's file does: less to add up, and dark seams where filtering reaches beyond them.
"""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image, ImageFilter

from handsynth.assets.library import Library
from handsynth.assets.skins.skin import SkinModel
from handsynth.core.camera import project, transform
from handsynth.core.conventions import VISIBLE_TOLERANCE_M
from handsynth.core.hand import keypoints_from_vertices, pose_hand
from handsynth.core.mirror import MIRROR, mirror_points, mirrored
from handsynth.recipe.recipe import BackgroundChoice, Recipe, SensorChoice
from handsynth.recipe.samplers import camera_matrices
from handsynth.render.pyrender_backend import GL_FROM_CV
from handsynth.scene.layouts import hand_layout
from handsynth.scene.texture import gutter_map

JPEG_QUALITY = 95


class NaivePipeline:
    """As most people write it."""

    dtype: type = np.float64

    def __init__(
        self, library: Library, skin: SkinModel, size: int, renderer, backgrounds: dict[int, Path], whole_map: bool = True
    ) -> None:
        """`renderer` is a pyrender.OffscreenRenderer of `size` pixels, `skin` has its texture's own resolution."""
        import pyrender

        self.library, self.size, self._renderer, self._pyrender = library, size, renderer, pyrender
        self.layout = hand_layout(library.hand, skin.uv, skin.uv_faces)
        self.backgrounds, self.side = backgrounds, skin.size
        self.texels = np.arange(skin.size**2) if whole_map else skin.texels
        shown = gutter_map(skin.texels, skin.size) if whole_map else slice(None)
        self.mean = skin.mean[shown].astype(self.dtype)
        self.basis = np.empty((len(skin.components), len(self.texels), 3), self.dtype)
        for row, component in zip(self.basis, skin.components, strict=True):
            row[:] = component[shown]

    def write(self, recipes: Sequence[Recipe], path: Path) -> None:
        """Makes the samples of `recipes` and writes them as a tar."""
        with tarfile.open(path, "w") as tar:
            for recipe in recipes:
                for extension, data in self.make_sample(recipe).items():
                    entry = tarfile.TarInfo(f"{recipe.index:09d}.{extension}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))

    def make_sample(self, recipe: Recipe) -> dict[str, bytes]:
        """File extension -> bytes: image, mask and labels."""
        model = self.library.hand
        posed = pose_hand(model, np.array(recipe.theta).reshape(-1, 3), np.array(recipe.beta), np.array(recipe.trans))
        K, T = camera_matrices(recipe.camera)
        vertices = transform(T, posed.vertices)
        if recipe.side == "left":
            vertices, K, T = mirror_points(vertices), mirrored(K, self.size), MIRROR @ T @ MIRROR
        keypoints = keypoints_from_vertices(model, vertices)
        values = self.skin(np.array(recipe.alpha, self.dtype))
        texture = np.zeros((self.side**2, 3), np.uint8)
        texture[self.texels] = np.clip(values, 0, 255).astype(np.uint8)

        color, depth = self._render(vertices, texture.reshape(self.side, self.side, 3), K, recipe)
        image = self._background(recipe.background)
        hand = Image.fromarray(color)
        image.paste(hand, mask=hand.getchannel("A"))
        image = self._sensor(image, recipe.sensor)

        xy = project(keypoints, K)
        column, row = np.clip(xy.astype(int), 0, self.size - 1).T
        visible = (depth[row, column] == 0) | (depth[row, column] + VISIBLE_TOLERANCE_M >= keypoints[:, 2])
        npz = io.BytesIO()
        np.savez(
            npz, K=K, T_cam_world=T, theta=recipe.theta, beta=recipe.beta, keypoints_cam=keypoints, keypoints_xy=xy,
            keypoints_visible=visible, vertices=vertices.astype(np.float32),
        )  # fmt: skip
        return self.encode(image, Image.fromarray((depth > 0).astype(np.uint8) * 255)) | {"npz": npz.getvalue()}

    def skin(self, alpha: np.ndarray) -> np.ndarray:
        """(C,) -> (U, 3) colours of the texels."""
        return np.einsum("c,cuk->uk", alpha, self.basis) + self.mean

    def encode(self, image: Image.Image, mask: Image.Image) -> dict[str, bytes]:
        """PNG, as Pillow and imageio write it."""
        return {"png": _saved(image, "PNG"), "mask.png": _saved(mask, "PNG")}

    def _background(self, choice: BackgroundChoice) -> Image.Image:
        """A square of an image file."""
        image = Image.open(self.backgrounds[choice.index])
        side = round(choice.scale * min(image.size))
        left, top = round(choice.x * (image.width - side)), round(choice.y * (image.height - side))
        square = image.crop((left, top, left + side, top + side)).resize((self.size, self.size), Image.Resampling.BILINEAR)
        return square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if choice.flip else square

    def _sensor(self, image: Image.Image, sensor: SensorChoice) -> Image.Image:
        """Gains, blur and noise."""
        values = np.array(image).astype(self.dtype) * (np.array(sensor.gains) ** (1 / 2.2)).astype(self.dtype)
        if sensor.blur_px > 0:
            blurred = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(sensor.blur_px))
            values = np.array(blurred).astype(self.dtype)
        noise = np.random.default_rng(sensor.noise_key).standard_normal(values.shape, self.dtype)
        return Image.fromarray(np.clip(values + 255 * sensor.noise * noise, 0, 255).astype(np.uint8))

    def _render(self, vertices: np.ndarray, texture: np.ndarray, K: np.ndarray, recipe: Recipe):
        """Colour and depth of one hand by pyrender's usual calls."""
        pyrender, layout = self._pyrender, self.layout
        # Corners of the texture layout: trimesh wants one texture coordinate for each vertex.
        image = Image.fromarray(texture)
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=image, metallicFactor=0.0, roughnessFactor=0.6)
        visual = trimesh.visual.TextureVisuals(uv=layout.corner_uv * [1, -1] + [0, 1], material=material)
        faces = layout.triangles[:, ::-1] if recipe.side == "left" else layout.triangles
        mesh = trimesh.Trimesh(vertices[layout.corner_vertex] * GL_FROM_CV, faces, visual=visual, process=False)
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


class CarefulPipeline(NaivePipeline):
    """What a profiler shows first is repaired."""

    dtype = np.float32

    def skin(self, alpha: np.ndarray) -> np.ndarray:
        """One matrix-vector product."""
        return (alpha @ self.basis.reshape(len(alpha), -1)).reshape(-1, 3) + self.mean

    def encode(self, image: Image.Image, mask: Image.Image) -> dict[str, bytes]:
        """JPEG, and a mask that is packed quickly."""
        return {"jpg": _saved(image, "JPEG", quality=JPEG_QUALITY), "mask.png": _saved(mask, "PNG", compress_level=1)}


def background_files(library: Library, recipes: Sequence[Recipe], folder: Path) -> dict[int, Path]:
    """Writes the backgrounds of some recipes as the JPEG files that such a pipeline reads."""
    files = {recipe.background.index: folder / f"{recipe.background.index}.jpg" for recipe in recipes}
    for index, path in files.items():
        Image.fromarray(library.backgrounds.read(index)).save(path, quality=90)
    return files


def _saved(image: Image.Image, form: str, **settings: int) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **settings)
    return data.getvalue()
