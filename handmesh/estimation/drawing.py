"""Meshes drawn over images, for people: shaded, half transparent, coloured by uncertainty; outlines, skeletons, sheets.

A small z-buffer in numpy, which needs no OpenGL: every triangle's pixels are listed at once and the nearest wins. Images are
(H, W, 3) uint8 sRGB, pixels count from the corner of the top-left one, and nothing is drawn into the arrays that are given.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from handsynth.core.camera import project, resized
from handsynth.core.conventions import KEYPOINT_PARENTS
from handsynth.core.mesh import vertex_normals

SKIN = (120, 190, 255)
"""RGB of a mesh that shows no uncertainty: far from skin, so that it is seen on one."""

OUTLINE = (255, 225, 60)
"""RGB of `draw_outline`."""

FINGER_COLOURS = ((255, 255, 255), (255, 96, 80), (255, 190, 60), (110, 220, 90), (80, 170, 255), (200, 120, 255))
"""RGB of wrist, thumb, index, middle, ring and pinky."""

_NEAR_M = 1e-3  # triangles with a corner nearer than this to the camera's plane are not drawn
_TO_LIGHT = np.array([-0.35, -0.6, -0.72])  # over the camera's left shoulder; unit length to two digits
_AMBIENT = 0.35
_MAX_RASTER = 1024  # longest side of the mesh's raster [px]; larger meshes are drawn at this size and enlarged
_FINE = 4  # bits behind the point of OpenCV's drawing coordinates
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_mesh(
    image: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    K: np.ndarray,
    std_mm: np.ndarray | None = None,
    *,
    zoom: float = 1.0,
    opacity: float = 0.8,
    limits_mm: tuple[float, float] | None = None,
) -> np.ndarray:
    """The mesh over the image, nearest surface first, with smooth shading.

    Faces may wind either way, so a mirrored hand needs no care. What lies behind the camera or outside the image is left out.

    Args:
        image: (H, W, 3) uint8.
        vertices: (V, 3) camera frame [m].
        faces: (F, 3).
        K: (3, 3) [px].
        std_mm: (V,) uncertainty of each vertex [mm], shown as colour (`legend` explains it); None draws in one colour.
        zoom: the image is enlarged by this first, and the mesh drawn at the larger size.
        opacity: of the mesh, in [0, 1].
        limits_mm: ends of the colour scale [mm]; None takes `spread_limits`.

    Returns:
        (zoom H, zoom W, 3) uint8.
    """
    canvas, K = _enlarged(image, K, zoom)
    colour = np.broadcast_to(SKIN, vertices.shape) if std_mm is None else spread_colours(std_mm, limits_mm)
    region, layer, alpha = _raster(vertices, faces, K, colour, canvas.shape[:2])
    if layer.size:
        share = opacity * alpha[..., None]
        canvas[region] = np.round(canvas[region] * (1 - share) + layer * opacity).astype(np.uint8)
    return canvas


def draw_meshes(
    image: np.ndarray,
    meshes: Sequence[np.ndarray],
    faces: np.ndarray,
    K: np.ndarray,
    stds_mm: Sequence[np.ndarray] | None = None,
    *,
    zoom: float = 1.0,
    limits_mm: tuple[float, float] | None = None,
) -> np.ndarray:
    """Several meshes of the same faces over an image, the farthest first; other arguments as of `draw_mesh`."""
    canvas, K = _enlarged(image, K, zoom)
    for k in sorted(range(len(meshes)), key=lambda k: -float(np.median(meshes[k][:, 2]))):
        canvas = draw_mesh(canvas, meshes[k], faces, K, None if stds_mm is None else stds_mm[k], limits_mm=limits_mm)
    return canvas


def draw_skeletons(image: np.ndarray, skeletons: Sequence[np.ndarray], *, zoom: float = 1.0) -> np.ndarray:
    """Several hands' (21, 2) keypoints over an image, the first lowest, as of `draw_skeleton`."""
    canvas, _ = _enlarged(image, np.eye(3), zoom)
    for points in skeletons:
        canvas = draw_skeleton(canvas, points * zoom)
    return canvas


def draw_outline(
    image: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    K: np.ndarray,
    *,
    zoom: float = 1.0,
    colour: tuple[int, int, int] = OUTLINE,
) -> np.ndarray:
    """The silhouette of a mesh as a line over the image: of the truth, beside a prediction. Arguments as of `draw_mesh`."""
    canvas, _ = _enlarged(image, K, zoom)
    mask = mesh_mask(vertices, faces, resized(K, zoom), canvas.shape[1], canvas.shape[0])
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, colour, _thickness(canvas), cv2.LINE_AA)
    return canvas


def draw_skeleton(image: np.ndarray, keypoints_xy: np.ndarray, *, zoom: float = 1.0) -> np.ndarray:
    """(21, 2) keypoints in FreiHAND's order [px] as bones and dots over the image, each finger in its colour."""
    canvas, _ = _enlarged(image, np.eye(3), zoom)
    # OpenCV counts from the centre of the top-left pixel; its integers overflow far outside the image.
    far = 4 * max(canvas.shape[:2])
    points = np.round((np.clip(keypoints_xy * zoom, -far, far) - 0.5) * (1 << _FINE)).astype(int).tolist()
    thick = _thickness(canvas)
    for k, parent in enumerate(KEYPOINT_PARENTS):
        if parent >= 0:
            cv2.line(canvas, points[parent], points[k], FINGER_COLOURS[(k + 3) // 4], thick, cv2.LINE_AA, _FINE)
    for k, point in enumerate(points):
        cv2.circle(canvas, point, 3 * thick << _FINE, FINGER_COLOURS[(k + 3) // 4], cv2.FILLED, cv2.LINE_AA, _FINE)
    return canvas


def mesh_mask(vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, width: int, height: int) -> np.ndarray:
    """(height, width) bool: the pixels whose centre is on the mesh, as the datasets' masks have it; rounder beyond 1,024 px."""
    region, _, alpha = _raster(vertices, faces, K, np.zeros(vertices.shape), (height, width), 1.0)
    mask = np.zeros((height, width), bool)
    mask[region] = alpha >= 0.5
    return mask


def spread_limits(std_mm: np.ndarray) -> tuple[float, float]:
    """Ends of a colour scale that shows the differences within (...,) uncertainties [mm]: nearly all of them, in round figures."""
    known = std_mm[np.isfinite(std_mm)]
    low, high = np.percentile(known, [2, 98]) if known.size else (0.0, 1.0)
    step = 10.0 ** np.floor(np.log10(max(high - low, 1e-2 * high, 1e-3)))
    low, high = np.floor(low / step) * step, np.ceil(high / step) * step
    return float(low), float(max(high, low + step))


def spread_colours(std_mm: np.ndarray, limits_mm: tuple[float, float] | None = None) -> np.ndarray:
    """(N,) uncertainties [mm] -> (N, 3) uint8 RGB: blue at the lower limit and below, red at the upper one and above, or NaN."""
    low, high = limits_mm or spread_limits(std_mm)
    share = np.clip((np.nan_to_num(std_mm, nan=np.inf) - low) / (high - low), 0, 1)
    # A map of hues, because the shading takes the lightness; its ends, nearly black, are left out.
    return cv2.applyColorMap(np.round(20 + 215 * share).astype(np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]


def legend(width: int, limits_mm: tuple[float, float]) -> np.ndarray:
    """(h, width, 3) strip that explains the colours of uncertainty, to go below an image of that width."""
    scale = float(np.clip(width / 640, 0.35, 1.5))
    height, margin = round(46 * scale), round(12 * scale)
    strip = np.full((height, width, 3), 24, np.uint8)
    ramp = spread_colours(np.linspace(*limits_mm, max(width - 2 * margin, 1)), limits_mm)
    strip[round(8 * scale) : round(20 * scale), margin : margin + len(ramp)] = ramp
    middle = "standard deviation" if width >= 320 else "std"
    for text, place in ((f"{limits_mm[0]:g} mm", 0.0), (middle, 0.5), (f"{limits_mm[1]:g} mm", 1.0)):
        (wide, _), _ = cv2.getTextSize(text, _FONT, 0.55 * scale, 1)
        at = round(margin + place * (len(ramp) - wide)), round(38 * scale)
        cv2.putText(strip, text, at, _FONT, 0.55 * scale, (235, 235, 235), 1, cv2.LINE_AA)
    return strip


def sheet(tiles: Sequence[np.ndarray], columns: int, titles: Sequence[str] = (), gap: int = 4) -> np.ndarray:
    """Images in rows of `columns`, in reading order, on dark ground; each in the middle of a cell as large as the largest.

    Args:
        tiles: (h, w, 3) uint8 each, sizes may differ.
        columns: images in a row.
        titles: written above the columns, if any.
        gap: between cells and around them [px].
    """
    if not tiles:
        raise ValueError("a sheet needs at least one image")
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    rows = -(-len(tiles) // columns)
    scale = float(np.clip(width / 400, 0.35, 1.0))
    top = gap + (round(30 * scale) if titles else 0)
    page = np.full((top + rows * (height + gap), gap + columns * (width + gap), 3), 24, np.uint8)
    for column, title in enumerate(titles):
        at = gap + column * (width + gap) + round(4 * scale), round(22 * scale)
        cv2.putText(page, title, at, _FONT, 0.65 * scale, (235, 235, 235), 1, cv2.LINE_AA)
    for k, tile in enumerate(tiles):
        row, column = divmod(k, columns)
        y = top + row * (height + gap) + (height - tile.shape[0]) // 2
        x = gap + column * (width + gap) + (width - tile.shape[1]) // 2
        page[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return page


def _enlarged(image: np.ndarray, K: np.ndarray, zoom: float) -> tuple[np.ndarray, np.ndarray]:
    """A copy of the image at `zoom` times its size, and its camera."""
    if zoom == 1:
        return np.array(image), K
    size = round(image.shape[1] * zoom), round(image.shape[0] * zoom)
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA), resized(K, zoom)


def _thickness(canvas: np.ndarray) -> int:
    """Of lines that are seen on a canvas of that size."""
    return max(1, round(max(canvas.shape[:2]) / 300))


def _raster(
    vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, colour: np.ndarray, shape: tuple[int, int], fine: float = 2.0
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Draws a mesh in (V, 3) colours on nothing, with `fine` samples along a pixel's side, fewer when it is large.

    Returns:
        Rows and columns of the image that the mesh may touch, and in there (h, w, 3) its colour times its coverage, 0-255,
        and (h, w) its coverage, 0-1.
    """
    empty = (slice(0, 0), slice(0, 0)), np.zeros((0, 0, 3)), np.zeros((0, 0))
    good = np.isfinite(vertices).all(1) & (vertices[:, 2] > _NEAR_M)
    faces = faces[good[faces].all(1)]
    used = np.unique(faces)
    if not len(used):
        return empty
    xy = np.zeros((len(vertices), 2))
    xy[used] = project(vertices[used], K)
    limit = np.array(shape[::-1])
    low, high = np.clip(np.floor(xy[used].min(0)), 0, limit).astype(int), np.clip(np.ceil(xy[used].max(0)), 0, limit).astype(int)
    size = high - low
    if not size.all():
        return empty
    fine = min(fine, _MAX_RASTER / size.max())
    width, height = np.maximum(np.round(size * fine), 1).astype(int)
    triangle, pixel, share, depth = _fragments((xy - low) * ([width, height] / size), vertices[:, 2], faces, width, height)

    nearest = np.full(height * width, np.inf)
    np.minimum.at(nearest, pixel, depth)
    won = depth == nearest[pixel]
    triangle, pixel, share = triangle[won], pixel[won], share[won]
    shaded = _shading(vertices, faces)[triangle][..., None] * colour[faces[triangle]]  # (N, 3 corners, 3)
    layer, alpha = np.zeros((height * width, 3), np.float32), np.zeros(height * width, np.float32)
    layer[pixel], alpha[pixel] = (share[..., None] * shaded).sum(1), 1
    layer, alpha = layer.reshape(height, width, 3), alpha.reshape(height, width)
    how = cv2.INTER_AREA if fine > 1 else cv2.INTER_LINEAR
    layer, alpha = (cv2.resize(a, (int(size[0]), int(size[1])), interpolation=how) for a in (layer, alpha))
    return (slice(low[1], high[1]), slice(low[0], high[0])), layer, alpha


def _fragments(
    xy: np.ndarray, depth: np.ndarray, faces: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every pixel centre of every triangle, (V, 2) projected and (V,) deep, in a raster of that size.

    Returns:
        (N,) row of `faces`, (N,) flat pixel, (N, 3) perspective-correct weights of the corners, (N,) depth.
    """
    corners = xy[faces]  # (F, 3, 2)
    low = np.clip(np.ceil(corners.min(1) - 0.5), 0, [width, height]).astype(int)
    high = np.clip(np.ceil(corners.max(1) - 0.5), 0, [width, height]).astype(int)
    wide, tall = np.maximum(high - low, 0).T
    area = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    count = np.where(np.abs(area) > 1e-12, wide * tall, 0)
    triangle = np.repeat(np.arange(len(faces)), count)
    place = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count, count)  # within the triangle's box
    x, y = low[triangle, 0] + place % wide[triangle], low[triangle, 1] + place // wide[triangle]
    to_corner = corners[triangle] - np.stack([x + 0.5, y + 0.5], -1)[:, None]
    weights = np.stack([_cross(to_corner[:, (k + 1) % 3], to_corner[:, (k + 2) % 3]) for k in range(3)], -1) / area[triangle, None]
    inside = (weights >= 0).all(1)
    triangle, weights, pixel = triangle[inside], weights[inside], (y * width + x)[inside]
    over_depth = weights / depth[faces[triangle]]  # 1 / depth is linear on the screen
    inverse = over_depth.sum(1)
    return triangle, pixel, over_depth / inverse[:, None], 1 / inverse


def _shading(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, 3) light on the corners of each face, in [0, 1], whichever of its sides is seen."""
    corners, normals = vertices[faces], vertex_normals(vertices, faces)[faces]
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    seen = np.where((outward * corners[:, 0]).sum(-1) > 0, -1.0, 1.0)  # the camera is at the origin
    return _AMBIENT + (1 - _AMBIENT) * np.clip(seen[:, None] * (normals @ _TO_LIGHT), 0, 1)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """z of the cross product of (..., 2) vectors."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
