"""A link's skin with texture coordinates, and the files that draw it: GLB with the texture inside, OBJ beside a PNG."""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import trimesh
from scipy.spatial import cKDTree

from handmesh.robot.links import Piece
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.images import ImageError, decode_image
from handsynth.core.mesh import vertex_normals

SHIPPED_SKIN = Path(__file__).parent / "skin.jpg"
"""In the embedded hand's layout; made by scripts/build_robot_skin.py."""


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed surface whose vertices are there once for each side of a texture's seam."""

    vertices: np.ndarray  # (N, 3) [m]
    normals: np.ndarray  # (N, 3) unit vectors
    uv: np.ndarray  # (N, 2) in [0, 1], v up
    faces: np.ndarray  # (F, 3)

    def mirrored(self) -> "Surface":
        """In x = 0."""
        flip = np.array([-1.0, 1.0, 1.0])
        return replace(self, vertices=self.vertices * flip, normals=self.normals * flip, faces=self.faces[:, ::-1])

    def turned(self, axes: np.ndarray) -> "Surface":
        """In a frame whose axes are the columns of (3, 3) `axes`."""
        return replace(self, vertices=self.vertices @ axes, normals=self.normals @ axes)


def textured_surface(textured: Piece, plain: Piece, shell: trimesh.Trimesh) -> Surface:
    """A closed link with texture coordinates.

    Args:
        textured: the link's skin with coordinates, as `cut_textured` gives it.
        plain: the same as of `cut_links`.
        shell: `plain` closed: its faces come first.

    What closes the shell has the coordinates of the nearest vertex of the skin.
    """
    uv = textured.uv if textured.uv is not None else np.zeros((0, 2))
    points = np.asarray(shell.vertices)
    normals = vertex_normals(points, np.asarray(shell.faces))
    at = cKDTree(points).query(textured.vertices)[1]
    closing = np.asarray(shell.faces)[len(plain.faces) :]
    used, faces = np.unique(closing, return_inverse=True)
    nearest = cKDTree(textured.vertices).query(points[used])[1]
    return Surface(
        np.concatenate([textured.vertices, points[used]]),
        np.concatenate([normals[at], normals[used]]),
        np.concatenate([uv, uv[nearest]]),
        np.concatenate([textured.faces, faces.reshape(-1, 3) + len(textured.vertices)]),
    )


def read_texture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 sRGB. Raises UsageError when there is no such file, HandsynthError when it is no image."""
    try:
        return decode_image(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist: give an image in the hand's texture layout") from None
    except (ImageError, OSError) as error:
        raise HandsynthError(f"{path} cannot be read as an image: {error}") from None


def glb(surface: Surface, texture: np.ndarray) -> bytes:
    """The surface with its texture, (H, W, 3) uint8, as a binary glTF: y of the file is the link's y."""
    from PIL import Image

    # A JPEG that trimesh takes over as it is: as PNG each link would carry a megabyte.
    held = io.BytesIO()
    Image.fromarray(texture).save(held, "JPEG", quality=90)
    material = trimesh.visual.material.PBRMaterial(
        name="skin", baseColorTexture=Image.open(held), metallicFactor=0.0, roughnessFactor=0.6
    )
    visual = trimesh.visual.TextureVisuals(uv=surface.uv, material=material)
    mesh = trimesh.Trimesh(surface.vertices, surface.faces, vertex_normals=surface.normals, visual=visual, process=False)
    data = mesh.export(file_type="glb", include_normals=True)
    assert isinstance(data, bytes)
    return data


def obj(surface: Surface) -> bytes:
    """The surface as OBJ with texture coordinates, for MJCF, whose textures are files of their own."""
    lines = [f"v {x:.8f} {y:.8f} {z:.8f}" for x, y, z in surface.vertices]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in surface.uv]
    lines += [f"vn {x:.5f} {y:.5f} {z:.5f}" for x, y, z in surface.normals]
    lines += [f"f {a}/{a}/{a} {b}/{b}/{b} {c}/{c}/{c}" for a, b, c in surface.faces + 1]
    return ("\n".join(lines) + "\n").encode()


def png(texture: np.ndarray) -> bytes:
    """(H, W, 3) uint8 sRGB as PNG, the only kind of image that MuJoCo reads everywhere."""
    import cv2

    return bytes(cv2.imencode(".png", texture[..., ::-1])[1])
